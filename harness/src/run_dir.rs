//! Run directories: where a world keeps its daemons' data and logs, and whether that outlives the run.
//!
//! A run is numbered (`.swaprig/runs/41`); each world has a directory in it. A directory is deleted by an explicit
//! [`RunDir::succeed`] alone: a failure, a panic, an interrupt or `--keep` leaves it where every message says it is.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What happens to a run's directory when the run has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// It is deleted.
    #[default]
    OnFailure,
    /// It stays.
    Always,
}

/// Where runs are kept and whether they stay, as the environment asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirSettings {
    /// `SWAPRIG_RUN_DIR`, or what the caller says.
    pub base: PathBuf,
    /// `KEEP_E2E_ARTIFACTS=1` keeps the directory of a run that passed.
    pub keep: Keep,
}

impl RunDirSettings {
    /// Reads the environment; `base` stands in for `SWAPRIG_RUN_DIR`.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads these two variables"
    )]
    pub fn from_env(base: &Path) -> Self {
        let named = std::env::var_os("SWAPRIG_RUN_DIR").filter(|dir| !dir.is_empty());
        let keep = std::env::var_os("KEEP_E2E_ARTIFACTS").is_some_and(|keep| keep == "1");
        RunDirSettings {
            base: named.map_or_else(|| base.to_owned(), PathBuf::from),
            keep: if keep { Keep::Always } else { Keep::OnFailure },
        }
    }
}

/// Where worlds run when nobody says: a directory of this user among the temporary files.
pub fn temporary_base() -> PathBuf {
    std::env::temp_dir().join(format!(
        "swaprig-runs-{}",
        rustix::process::getuid().as_raw()
    ))
}

/// A directory of its own for one run or one world in it. A clone is the same directory.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    keep: Keep,
    /// Held while somebody uses the directory; a nested one is covered by the one around it.
    _in_use: Option<Arc<File>>,
}

/// The file in a numbered directory that is locked while a process uses it. The kernel takes the lock away when that
/// process ends, however it does.
const LOCK: &str = ".in-use";

/// Why a run directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make a run directory in {}: {source}; choose another place with --run-dir or SWAPRIG_RUN_DIR", base.display())]
pub struct RunDirError {
    /// Where it was to be made.
    pub base: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl RunDir {
    /// Makes the next numbered directory in `base`, which is made when it is missing. Two processes never get the same.
    ///
    /// # Errors
    /// When `base` cannot be written to.
    pub fn numbered(base: &Path, keep: Keep) -> Result<Self, RunDirError> {
        let error = |source| RunDirError {
            base: base.to_owned(),
            source,
        };
        std::fs::create_dir_all(base).map_err(error)?;
        // Daemons are given absolute paths, whatever their working directory.
        let base = base.canonicalize().map_err(error)?;
        let mut number = 1 + highest_number(&base).map_err(error)?;
        loop {
            let path = base.join(number.to_string());
            match std::fs::create_dir(&path) {
                // A lock that is lost went to `clean`, which has deleted the directory or is about to.
                Ok(()) => match lock(&path) {
                    Ok(Some(lock)) => {
                        return Ok(RunDir {
                            path,
                            keep,
                            _in_use: Some(Arc::new(lock)),
                        });
                    }
                    Ok(None) => number += 1,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => number += 1,
                    Err(e) => return Err(error(e)),
                },
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(e) => return Err(error(e)),
            }
        }
    }

    /// Makes `name` in this directory, kept or deleted as this one is. A name that is taken gets a number.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn nested(&self, name: &str) -> Result<Self, RunDirError> {
        let error = |source| RunDirError {
            base: self.path.clone(),
            source,
        };
        for attempt in 1.. {
            let path = match attempt {
                1 => self.path.join(name),
                n => self.path.join(format!("{name}.{n}")),
            };
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(error)?;
            }
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    return Ok(RunDir {
                        path,
                        keep: self.keep,
                        _in_use: self._in_use.clone(),
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(error(e)),
            }
        }
        unreachable!("the numbers do not end")
    }

    /// Its path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that what was run here has passed: deletes the directory, unless it is to be kept. Gives the path of one
    /// that stays.
    pub fn succeed(self) -> Option<PathBuf> {
        match self.keep {
            Keep::Always => Some(self.path),
            Keep::OnFailure => match std::fs::remove_dir_all(&self.path) {
                Ok(()) => None,
                Err(error) => {
                    eprintln!("swaprig: could not delete {}: {error}", self.path.display());
                    Some(self.path)
                }
            },
        }
    }
}

/// Takes the lock of the run directory `dir`, if nobody has it.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::MetadataExt as _;
    let path = dir.join(LOCK);
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    let file = options.open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Whoever held it may have deleted the directory between the two calls; then the lock is on nothing.
    let (open, named) = (file.metadata()?, path.metadata()?);
    let is_same = (open.dev(), open.ino()) == (named.dev(), named.ino());
    Ok(is_same.then_some(file))
}

/// Whether a process uses the run directory `dir`. One whose lock cannot be looked at counts as used.
pub fn is_in_use(dir: &Path) -> bool {
    match File::open(dir.join(LOCK)) {
        Ok(file) => file.try_lock_shared().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// The numbered directories in `base`, in order.
pub fn runs_in(base: &Path) -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u64>().ok();
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    let mut runs: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| Some((number(&entry.path())?, entry.path())))
        .collect();
    runs.sort();
    runs.into_iter().map(|(_, path)| path).collect()
}

/// Deletes the run directory `dir` unless a process uses it; whether it did.
///
/// # Errors
/// When it cannot be deleted as a whole.
pub fn delete_unused(dir: &Path) -> io::Result<bool> {
    let Some(_lock) = lock(dir)? else {
        return Ok(false);
    };
    std::fs::remove_dir_all(dir)?;
    Ok(true)
}

fn highest_number(base: &Path) -> io::Result<u64> {
    let mut highest = 0;
    for entry in std::fs::read_dir(base)? {
        let number = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        highest = highest.max(number.unwrap_or(0));
    }
    Ok(highest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_up_and_only_success_deletes() {
        let base = tempfile::tempdir().unwrap();
        let first = RunDir::numbered(base.path(), Keep::OnFailure).unwrap();
        let second = RunDir::numbered(base.path(), Keep::OnFailure).unwrap();
        assert!(first.path().ends_with("1") && second.path().ends_with("2"));
        let inner = second.nested("pay").unwrap();
        assert!(second.nested("pay").unwrap().path().ends_with("pay.2"));
        assert_eq!(inner.succeed(), None);
        let kept = second.path().to_owned();
        drop(second);
        assert!(kept.exists());
        assert_eq!(first.succeed(), None);
        assert!(!base.path().join("1").exists());
    }

    #[test]
    fn only_what_nobody_uses_is_deleted() {
        let base = tempfile::tempdir().unwrap();
        let used = RunDir::numbered(base.path(), Keep::OnFailure).unwrap();
        let nested = used.nested("world").unwrap();
        let finished = RunDir::numbered(base.path(), Keep::OnFailure).unwrap();
        let left = finished.path().to_owned();
        drop(finished);
        // One of a version that made no locks.
        std::fs::create_dir(base.path().join("7")).unwrap();
        std::fs::create_dir(base.path().join("other")).unwrap();
        let found = runs_in(&base.path().canonicalize().unwrap());
        assert_eq!(found.len(), 3);
        assert!(is_in_use(used.path()) && !is_in_use(&left));
        drop(used);
        let deleted: Vec<bool> = found
            .iter()
            .map(|dir| delete_unused(dir).unwrap())
            .collect();
        // The world's directory is part of the run's.
        assert_eq!(deleted, [false, true, true]);
        assert!(nested.path().exists() && base.path().join("other").exists());
        drop(nested);
        assert!(delete_unused(&found[0]).unwrap());
    }

    #[test]
    fn kept_on_request() {
        let base = tempfile::tempdir().unwrap();
        let dir = RunDir::numbered(base.path(), Keep::Always).unwrap();
        assert!(dir.succeed().is_some_and(|path| path.exists()));
    }

    #[test]
    fn a_place_that_is_no_directory_is_named() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = RunDir::numbered(&file, Keep::OnFailure)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/file") && error.contains("--run-dir"),
            "{error}"
        );
    }
}
