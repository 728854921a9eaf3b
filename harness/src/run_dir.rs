//! Run directories: where a world keeps its daemons' data and logs, and whether that outlives the run.
//!
//! A run is numbered (`.swaprig/runs/41`); each world has a directory in it. A directory is deleted by an explicit
//! [`RunDir::succeed`] alone: a failure, a panic, an interrupt or `--keep` leaves it where every message says it is.

use std::io;
use std::path::{Path, PathBuf};

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
}

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
                Ok(()) => return Ok(RunDir { path, keep }),
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
