//! The search for a role's program, and the account of it when it fails.
//!
//! Command-line flag → environment → `PATH` → tool cache → provisioning (the Bitcoin node) → bundled → an error that
//! lists everything tried. What was named and cannot be used is an error at once, never passed over; what merely lies
//! on `PATH` and cannot be used is passed over aloud.

use std::fmt;
use std::path::{Path, PathBuf};

use super::provision::{self, CachedBitcoind, ProvisionError, cached_bitcoind};
use super::version::{self, AskError};
use super::{Binary, Choice, Kind, Origin, Progress, Requirement, Role, Settings, Version};

/// A place that was looked at in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The place, such as `PATH`.
    pub place: String,
    /// What was there instead.
    pub found: String,
}

/// Why a file cannot play a role.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// It cannot be looked at.
    #[error("cannot be looked at: {0}")]
    Unreadable(std::io::Error),
    /// It is a directory or a device.
    #[error("is not a file")]
    NotAFile,
    /// This user may not execute it.
    #[error("is not executable by this user (chmod +x?)")]
    NotExecutable,
    /// It does not tell its version.
    #[error("does not tell its version: {0}")]
    Silent(#[source] AskError),
    /// It is electrs, and for another chain.
    #[error(transparent)]
    NotForLiquid(AskError),
    /// Its version will not do.
    #[error("is {found}, but {needed} is needed")]
    WrongVersion {
        /// Its version.
        found: Version,
        /// What will do.
        needed: Requirement,
    },
}

/// Why a role has no program.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// A program was named that cannot be used.
    #[error("{} names {}, which {why}; {}", origin.describe(*role), path.display(), other_choice(*role, *origin))]
    Unusable {
        /// The role.
        role: Role,
        /// Who named it: a flag or the environment.
        origin: Origin,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: Unusable,
    },
    /// `--daemons bundled` and a flag that names a program contradict each other.
    #[error(
        "{} {} contradicts --daemons bundled; leave one of them out", role.flag(), path.display()
    )]
    Contradiction {
        /// The role.
        role: Role,
        /// The file that the flag named.
        path: PathBuf,
    },
    /// The executable with the bundled daemons cannot be used.
    #[error(
        "the bundled {role} cannot be started: {} {why}; set SWAPRIG_EXE to the swaprig executable",
        path.display()
    )]
    NoSwaprig {
        /// The role.
        role: Role,
        /// The executable.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: Unusable,
    },
    /// Nothing was found anywhere.
    #[error("no {role} was found{}\n  what to do: {}", Account(tried), advice.join("; or "))]
    NothingFound {
        /// The role.
        role: Role,
        /// Where it was looked for, in order.
        tried: Vec<Tried>,
        /// What would help: alternatives, the easiest first.
        advice: Vec<String>,
    },
}

fn other_choice(role: Role, origin: Origin) -> String {
    let named = origin.describe(role);
    match role {
        Role::Bitcoind => format!(
            "let {named} name a bitcoind ({}), or leave it out to have one found or downloaded",
            role.requirement()
        ),
        Role::LdkServer => {
            format!("let {named} name an ldk-server, or leave it out to run the bundled one")
        }
        Role::Elementsd | Role::Electrs | Role::ElectrsLiquid => format!(
            "let {named} name {}, or leave it out to run the bundled one",
            role.requirement()
        ),
    }
}

/// What was tried, one place a line.
struct Account<'a>(&'a [Tried]);

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .0
            .iter()
            .map(|tried| tried.place.chars().count())
            .max()
            .unwrap_or(0);
        for Tried { place, found } in self.0 {
            write!(f, "\n  {place:width$}  {found}")?;
        }
        Ok(())
    }
}

/// Finds the program for `role`, downloading a Bitcoin node if there is none. Blocks; when nothing has to be downloaded
/// and the program was seen before, for well under a millisecond.
///
/// # Errors
/// When a program that was named cannot be used, or none was found: with everything tried, and what to do.
pub fn resolve(
    role: Role,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Binary, ResolveError> {
    Search {
        role,
        settings,
        tried: Vec::new(),
    }
    .run(Some(progress))
}

/// Like [`resolve`], and never downloads.
///
/// # Errors
/// As [`resolve`].
pub fn find(role: Role, settings: &Settings) -> Result<Binary, ResolveError> {
    Search {
        role,
        settings,
        tried: Vec::new(),
    }
    .run(None)
}

/// Like [`find`], and tells what was looked at in vain before something was found.
pub(crate) fn find_with_account(
    role: Role,
    settings: &Settings,
) -> (Result<Binary, ResolveError>, Vec<Tried>) {
    let mut search = Search {
        role,
        settings,
        tried: Vec::new(),
    };
    let found = search.run(None);
    (found, search.tried)
}

struct Search<'a> {
    role: Role,
    settings: &'a Settings,
    tried: Vec<Tried>,
}

impl Search<'_> {
    fn run(&mut self, download: Option<&dyn Progress>) -> Result<Binary, ResolveError> {
        let Search { role, settings, .. } = *self;
        if settings.choice == Choice::Bundled && role.has_bundled() {
            if let Some(path) = settings.flag(role) {
                return Err(ResolveError::Contradiction {
                    role,
                    path: path.to_owned(),
                });
            }
            self.in_vain("upstream", "ruled out by --daemons bundled");
        } else {
            if let Some(named) = self.named()? {
                return Ok(named);
            }
            if let Some(found) = self.on_path(download) {
                return Ok(found);
            }
            if let Some(cached) = self.in_cache(download) {
                return Ok(cached);
            }
        }
        if let Some(bundled) = self.bundled()? {
            return Ok(bundled);
        }
        let advice = self.advice(download.is_some());
        Err(ResolveError::NothingFound {
            role,
            tried: self.tried.clone(),
            advice,
        })
    }

    fn in_vain(&mut self, place: impl Into<String>, found: impl Into<String>) {
        self.tried.push(Tried {
            place: place.into(),
            found: found.into(),
        });
    }

    /// What a flag or, without one, the environment names.
    fn named(&mut self) -> Result<Option<Binary>, ResolveError> {
        let Search { role, settings, .. } = *self;
        let (path, origin) = match (settings.flag(role), settings.variable(role)) {
            (Some(path), _) => (path, Origin::Flag),
            (None, Some(path)) => (path, Origin::Environment),
            (None, None) => {
                self.in_vain(role.flag(), "not given");
                self.in_vain(role.variable(), "not set");
                return Ok(None);
            }
        };
        let unusable = |why| ResolveError::Unusable {
            role,
            origin,
            path: path.to_owned(),
            why,
        };
        // Daemons run in directories of their own.
        let path = std::path::absolute(path).map_err(|e| unusable(Unusable::Unreadable(e)))?;
        self.upstream(&path, origin).map(Some).map_err(unusable)
    }

    fn on_path(&mut self, download: Option<&dyn Progress>) -> Option<Binary> {
        let Search { role, settings, .. } = *self;
        let directories = &settings.environment.path;
        for name in role.names() {
            for dir in directories {
                let path = dir.join(name);
                let why = match self.upstream(&path, Origin::Path) {
                    Ok(binary) => return Some(binary),
                    Err(Unusable::Missing) => continue,
                    Err(why) => why,
                };
                let found = format!("{} {why}", path.display());
                if let Some(progress) = download {
                    progress.note(&format!("{role}: {found}; looking further"));
                }
                self.in_vain("PATH", found);
            }
        }
        let count = directories.len();
        let names = role.names().join("` or `");
        self.in_vain(
            "PATH",
            format!("no usable `{names}` in its {count} directories"),
        );
        None
    }

    /// The file at `path`, if it can play the role.
    fn upstream(&self, path: &Path, origin: Origin) -> Result<Binary, Unusable> {
        let role = self.role;
        executable(path)?;
        let cache_dir = self.settings.cache_dir.as_deref();
        let version = version::of_role(role, path, cache_dir).map_err(|error| match error {
            AskError::NotForLiquid => Unusable::NotForLiquid(error),
            other => Unusable::Silent(other),
        })?;
        let needed = role.requirement();
        if !needed.accepts(&version) {
            return Err(Unusable::WrongVersion {
                found: version,
                needed,
            });
        }
        Ok(Binary {
            role,
            kind: Kind::Upstream,
            path: path.to_owned(),
            program: path.to_owned(),
            args: Vec::new(),
            version,
            origin,
            provenance: None,
        })
    }

    /// The Bitcoin node of the tool cache, downloaded into it if need and permission be.
    fn in_cache(&mut self, download: Option<&dyn Progress>) -> Option<Binary> {
        let Search { role, settings, .. } = *self;
        if role != Role::Bitcoind {
            return None;
        }
        let Some(cache_dir) = &settings.cache_dir else {
            self.in_vain(
                "cache",
                "none: SWAPRIG_CACHE_DIR, XDG_CACHE_HOME and HOME are all unset",
            );
            return None;
        };
        if let Some(cached) = cached_bitcoind(cache_dir, &settings.pins) {
            return Some(cached.into_binary(Origin::Cache));
        }
        self.in_vain("cache", format!("no bitcoind in {}", cache_dir.display()));
        let progress = match download {
            _ if settings.offline => {
                self.in_vain("download", "ruled out by --offline");
                return None;
            }
            None => {
                self.in_vain("download", "not now");
                return None;
            }
            Some(progress) => progress,
        };
        match provision::bitcoind(cache_dir, settings, progress) {
            Ok(provisioned) => Some(CachedBitcoind::into_binary(
                provisioned,
                Origin::Provisioned,
            )),
            Err(ProvisionError::Sources(failures)) => {
                self.tried.extend(failures);
                None
            }
            Err(error) => {
                self.in_vain("download", error.to_string());
                None
            }
        }
    }

    fn bundled(&mut self) -> Result<Option<Binary>, ResolveError> {
        let Search { role, settings, .. } = *self;
        let Some(subcommand) = role.bundled() else {
            return Ok(None);
        };
        if settings.choice == Choice::Upstream {
            self.in_vain("bundled", "ruled out by --daemons upstream");
            return Ok(None);
        }
        let Some(path) = &settings.self_exe else {
            self.in_vain(
                "bundled",
                "this program is not swaprig, and SWAPRIG_EXE is not set",
            );
            return Ok(None);
        };
        let no_swaprig = |why| ResolveError::NoSwaprig {
            role,
            path: path.clone(),
            why,
        };
        let path = std::path::absolute(path).map_err(|e| no_swaprig(Unusable::Unreadable(e)))?;
        executable(&path).map_err(no_swaprig)?;
        let version = self
            .swaprig_version(&path)
            .map_err(|e| no_swaprig(Unusable::Silent(e)))?;
        Ok(Some(Binary {
            role,
            kind: Kind::Bundled,
            path: path.clone(),
            program: path,
            args: ["daemon", subcommand].map(Into::into).to_vec(),
            version,
            origin: Origin::Bundled,
            provenance: None,
        }))
    }

    /// The version of the executable at `path`; this process knows its own.
    fn swaprig_version(&self, path: &Path) -> Result<Version, AskError> {
        if std::env::current_exe().is_ok_and(|own| own == path) {
            let own = Version::from_numbers(env!("CARGO_PKG_VERSION"), None);
            return Ok(own.expect("cargo's versions are three numbers"));
        }
        version::of_file(
            path,
            self.settings.cache_dir.as_deref(),
            "swaprig",
            Version::parse_swaprig,
            Ok,
        )
    }

    fn advice(&self, downloads: bool) -> Vec<String> {
        let Search { role, settings, .. } = *self;
        match role {
            Role::Bitcoind => {
                let own = format!(
                    "install {} and put `bitcoind` on PATH or its path into {}",
                    role.requirement(),
                    role.variable()
                );
                match (settings.offline, &settings.cache_dir) {
                    (true, _) => vec![
                        "run once without --offline to have it downloaded".into(),
                        own,
                    ],
                    (false, None) => {
                        vec![
                            "set SWAPRIG_CACHE_DIR to have it downloaded there".into(),
                            own,
                        ]
                    }
                    (false, Some(_)) if downloads => vec![own],
                    (false, Some(_)) => vec!["`swaprig doctor --fix` downloads it".into(), own],
                }
            }
            Role::LdkServer | Role::Elementsd | Role::Electrs | Role::ElectrsLiquid => {
                match settings.choice {
                    Choice::Upstream => vec![
                        format!("build upstream's and put its path into {}", role.variable()),
                        "leave out --daemons upstream to run the bundled one".into(),
                    ],
                    Choice::Auto | Choice::Bundled => {
                        vec!["set SWAPRIG_EXE to the swaprig executable, which contains one".into()]
                    }
                }
            }
        }
    }
}

/// Checks that this user can execute the file at `path`.
pub(super) fn executable(path: &Path) -> Result<(), Unusable> {
    let meta = path.metadata().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Unusable::Missing,
        _ => Unusable::Unreadable(error),
    })?;
    if !meta.is_file() {
        return Err(Unusable::NotAFile);
    }
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).map_err(|_| Unusable::NotExecutable)
}
