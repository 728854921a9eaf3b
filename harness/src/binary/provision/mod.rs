//! Getting a Bitcoin node into the tool cache, without root.
//!
//! First the official release archive, pinned by hash; where that cannot be had on a Debian-family machine, Debian's
//! package. One process at a time does it, under a lock that dies with it; others wait and use the result. A directory
//! appears in the cache in one step, complete and tried, so a process that is killed at any point leaves nothing that
//! a later one could take for a daemon.

mod apt_sources;
mod apt_text;
mod archive;
mod debian;
mod lock;
mod manifest;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use manifest::{CachedBitcoind, cached_bitcoind};

use self::manifest::Manifest;
use super::version::AskError;
use super::{Progress, Settings, Tried, Version};
use crate::time::Deadline;

/// Names of directories that are being filled. Whoever holds the lock may delete them.
const STAGING_PREFIX: &str = ".staging-";

/// Where a downloaded program came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// A release archive, verified against its pin.
    Archive {
        /// Where it lay.
        url: String,
        /// Its hash, in lower-case hex.
        sha256: String,
    },
    /// Packages of the Debian archive, verified by apt against the archive's signing keys.
    Debian {
        /// The mirror.
        mirror: String,
        /// The suite.
        suite: String,
        /// The program's package, then those that it needs.
        packages: Vec<Package>,
    },
}

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; `all` fits every machine.
    pub architecture: String,
    /// The hash of its file, in lower-case hex.
    pub sha256: String,
}

/// One line for people: what it was verified against.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Provenance::Archive { url, .. } => {
                write!(
                    f,
                    "{}, pinned by SHA-256",
                    url.rsplit('/').next().unwrap_or(url)
                )
            }
            Provenance::Debian {
                suite, packages, ..
            } => {
                let count = packages.len().saturating_sub(1);
                match packages.first() {
                    Some(Package { name, version, .. }) => {
                        write!(f, "Debian {suite} {name} {version} with {count} libraries")
                    }
                    None => write!(f, "Debian {suite}"),
                }
            }
        }
    }
}

/// Why there is no daemon in the cache after all.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Another process held the lock for too long.
    #[error(
        "waited {waited:.0?} for another process{owner} that is downloading; if that one hangs, end it \
         (the lock is {})", lock.display()
    )]
    Busy {
        /// The lock file.
        lock: PathBuf,
        /// How long.
        waited: std::time::Duration,
        /// ` (pid N)`, if known.
        owner: String,
    },
    /// The cache directory cannot be used.
    #[error("could not {doing} {}: {source}; set SWAPRIG_CACHE_DIR to a writable directory", path.display())]
    Cache {
        /// The step that failed, such as "create".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Every source failed: what was tried, and how each ended.
    #[error("no source could be used: {}", list(.0))]
    Sources(Vec<Tried>),
}

fn list(tried: &[Tried]) -> String {
    tried
        .iter()
        .map(|t| format!("{}: {}", t.place, t.found))
        .collect::<Vec<_>>()
        .join("; ")
}

impl ProvisionError {
    fn cache(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| ProvisionError::Cache {
            doing,
            path,
            source,
        }
    }
}

/// A program that was unpacked but does not work.
#[derive(Debug, thiserror::Error)]
enum Defect {
    #[error("what was downloaded does not run here: {0}")]
    DoesNotRun(#[from] AskError),
    #[error("what was downloaded is {found}, not {expected}")]
    WrongVersion { found: Version, expected: String },
}

/// Gets a Bitcoin node into `cache_dir`. Another process that is at it is waited for, and its result used.
pub(super) fn bitcoind(
    cache_dir: &Path,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<CachedBitcoind, ProvisionError> {
    let deadline = Deadline::after(settings.provision_within);
    let home = cache_dir.join("bitcoind");
    std::fs::create_dir_all(&home).map_err(ProvisionError::cache("create", &home))?;
    let _lock = lock::acquire(&home.join(".lock"), deadline, progress)?;
    // Whoever held it before may have done the work.
    if let Some(done) = cached_bitcoind(cache_dir, &settings.pins) {
        return Ok(done);
    }
    sweep(&home);
    let source = Source {
        home: &home,
        settings,
        deadline,
        progress,
    };
    let mut failures = Vec::new();
    for (place, get) in SOURCES {
        match get(&source) {
            Ok(got) => {
                // Nobody will continue what is left of another source's download.
                let _ = std::fs::remove_dir_all(home.join(archive::DOWNLOADS));
                return Ok(got);
            }
            Err(failure) => {
                let found = failure.to_string();
                progress.note(&format!("bitcoind: {place}: {found}"));
                failures.push(Tried {
                    place: (*place).into(),
                    found,
                });
            }
        }
    }
    Err(ProvisionError::Sources(failures))
}

type Get = fn(&Source<'_>) -> Result<CachedBitcoind, Box<dyn std::error::Error>>;

/// Where a node can come from, in order of preference.
const SOURCES: &[(&str, Get)] = &[
    ("release archive", |source| Ok(archive::get(source)?)),
    ("Debian package", |source| Ok(debian::get(source)?)),
];

/// What every way to get a node needs. Exists only under the lock.
struct Source<'a> {
    /// The directory of all cached Bitcoin nodes.
    home: &'a Path,
    settings: &'a Settings,
    deadline: Deadline,
    progress: &'a dyn Progress,
}

impl Source<'_> {
    /// A fresh directory to be filled. Its name is this process's own: a helper of a process that was killed may write
    /// to the old one for another moment.
    fn staging(&self, name: &str) -> io::Result<Staging> {
        let path = self
            .home
            .join(format!("{STAGING_PREFIX}{name}-{}", std::process::id()));
        if path.exists() {
            std::fs::remove_dir_all(&path)?;
        }
        std::fs::create_dir(&path)?;
        Ok(Staging { path })
    }

    /// Gives a filled and tried directory its name in the cache.
    fn publish(&self, staging: Staging, manifest: Manifest) -> io::Result<CachedBitcoind> {
        let place = self.home.join(&manifest.name);
        manifest.write(&staging.path)?;
        if place.exists() {
            // It was not accepted as it is, or this would not be running.
            let old = self.staging("replaced")?;
            std::fs::rename(&place, old.path.join("old"))?;
        }
        std::fs::rename(&staging.path, &place)?;
        Ok(CachedBitcoind {
            dir: place,
            manifest,
        })
    }
}

/// A directory that is being filled; deleted unless it was published.
struct Staging {
    path: PathBuf,
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After a publication there is nothing left under this name. What cannot be deleted goes in the next sweep.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Deletes what processes that were killed left behind. What cannot be deleted now is in nobody's way.
fn sweep(home: &Path) {
    for entry in std::fs::read_dir(home).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(STAGING_PREFIX.as_bytes())
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
