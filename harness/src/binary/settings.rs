//! What decides which programs are used; the only reader of the environment for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Choice, Pins, Role};

/// How long getting a daemon from the network may take in all, with waiting for another process that does the same.
/// The archive has 50 MB: a connection of half a megabit a second gets there.
const PROVISION_WITHIN: Duration = Duration::from_secs(15 * 60);

/// The choices of whoever runs the tool. `Default` knows of nothing outside itself: no environment, no cache.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--daemons`.
    pub choice: Choice,
    /// `--bitcoind`.
    pub bitcoind: Option<PathBuf>,
    /// `--ldk-server`.
    pub ldk_server: Option<PathBuf>,
    /// `--elementsd`.
    pub elementsd: Option<PathBuf>,
    /// `--electrs`.
    pub electrs: Option<PathBuf>,
    /// `--electrs-liquid`.
    pub electrs_liquid: Option<PathBuf>,
    /// `--offline`: nothing is downloaded.
    pub offline: bool,
    /// The directory that outlives runs and holds downloaded daemons. Without one nothing is downloaded.
    pub cache_dir: Option<PathBuf>,
    /// The `swaprig` executable, which starts the bundled daemons. Without one there are none.
    pub self_exe: Option<PathBuf>,
    /// What the environment names.
    pub environment: Environment,
    /// The limit on provisioning one daemon. Default: 15 minutes.
    pub provision_within: Duration,
    /// What may be downloaded. Default: `daemons.lock`, built in.
    pub pins: Arc<Pins>,
}

/// The part of the environment that matters here.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `BITCOIND_EXE`.
    pub bitcoind: Option<PathBuf>,
    /// `LDK_SERVER_EXE`.
    pub ldk_server: Option<PathBuf>,
    /// `ELEMENTSD_EXE`.
    pub elementsd: Option<PathBuf>,
    /// `ELECTRS_EXE`.
    pub electrs: Option<PathBuf>,
    /// `ELECTRS_LIQUID_EXE`.
    pub electrs_liquid: Option<PathBuf>,
    /// The directories of `PATH`; relative ones are left out.
    pub path: Vec<PathBuf>,
    /// The directory of the machine's own apt sources; `/etc/apt`.
    pub apt_dir: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            choice: Choice::Auto,
            bitcoind: None,
            ldk_server: None,
            elementsd: None,
            electrs: None,
            electrs_liquid: None,
            offline: false,
            cache_dir: None,
            self_exe: None,
            environment: Environment::default(),
            provision_within: PROVISION_WITHIN,
            pins: Pins::embedded(),
        }
    }
}

impl Settings {
    /// The settings that the environment makes: `BITCOIND_EXE`, `LDK_SERVER_EXE` and their like, `PATH`, `SWAPRIG_EXE`, and for the
    /// cache `SWAPRIG_CACHE_DIR`, `XDG_CACHE_HOME` or `HOME`. A variable that is set to nothing counts as unset.
    pub fn from_env() -> Self {
        let path = variable("PATH").unwrap_or_default();
        Settings {
            cache_dir: cache_dir(),
            self_exe: variable("SWAPRIG_EXE").or_else(own_executable),
            environment: Environment {
                bitcoind: variable(Role::Bitcoind.variable()),
                ldk_server: variable(Role::LdkServer.variable()),
                elementsd: variable(Role::Elementsd.variable()),
                electrs: variable(Role::Electrs.variable()),
                electrs_liquid: variable(Role::ElectrsLiquid.variable()),
                path: std::env::split_paths(&path)
                    .filter(|dir| dir.is_absolute())
                    .collect(),
                apt_dir: "/etc/apt".into(),
            },
            ..Settings::default()
        }
    }

    /// What the command line named for `role`.
    pub fn flag(&self, role: Role) -> Option<&Path> {
        match role {
            Role::Bitcoind => self.bitcoind.as_deref(),
            Role::LdkServer => self.ldk_server.as_deref(),
            Role::Elementsd => self.elementsd.as_deref(),
            Role::Electrs => self.electrs.as_deref(),
            Role::ElectrsLiquid => self.electrs_liquid.as_deref(),
        }
    }

    /// What the environment named for `role`.
    pub fn variable(&self, role: Role) -> Option<&Path> {
        match role {
            Role::Bitcoind => self.environment.bitcoind.as_deref(),
            Role::LdkServer => self.environment.ldk_server.as_deref(),
            Role::Elementsd => self.environment.elementsd.as_deref(),
            Role::Electrs => self.environment.electrs.as_deref(),
            Role::ElectrsLiquid => self.environment.electrs_liquid.as_deref(),
        }
    }
}

impl Environment {
    /// The first executable file called `name` on `PATH`.
    pub fn on_path(&self, name: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|dir| dir.join(name))
            .find(|file| super::resolve::executable(file).is_ok())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the environment for binaries"
)]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// `SWAPRIG_CACHE_DIR`, else `swaprig` in the user's cache directory (XDG base directory specification: a relative
/// `XDG_CACHE_HOME` is ignored).
fn cache_dir() -> Option<PathBuf> {
    if let Some(own) = variable("SWAPRIG_CACHE_DIR") {
        return std::path::absolute(own).ok();
    }
    let xdg = variable("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    let base = xdg.or_else(|| {
        variable("HOME")
            .filter(|dir| dir.is_absolute())
            .map(|home| home.join(".cache"))
    });
    base.map(|base| base.join("swaprig"))
}

/// This process's own file, if this process is `swaprig` and not a test or somebody else's program.
fn own_executable() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    // Linux marks a file that a new build has replaced; the new one stands in its place.
    let replaced = own
        .to_str()
        .and_then(|path| path.strip_suffix(" (deleted)"))
        .map(PathBuf::from);
    let own = replaced.unwrap_or(own);
    (own.file_stem()? == "swaprig").then_some(own)
}
