//! Which program plays each daemon's role: found, provisioned or bundled, with its version and its passport.
//!
//! Only this module reads the environment for that (see [`Settings::from_env`]). It starts no daemon: a [`Binary`] is a
//! program with its leading arguments, ready to be given to a driver.

mod passport;
mod pins;
mod progress;
mod provision;
mod resolve;
mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod version;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

pub use passport::{Passport, Stamp};
pub use pins::{Archive, Debian, Pins, PinsError};
pub use progress::{Progress, Quiet, Stderr, Total};
pub use provision::{Package, Provenance, ProvisionError};
pub use resolve::{ResolveError, Tried, Unusable, find, resolve};
pub use settings::{Environment, Settings};
pub use version::{Flavour, Requirement, Version};

pub(crate) use provision::cached_bitcoind;
pub(crate) use resolve::find_with_account;

/// What a daemon is to the world, whichever program plays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The Bitcoin node.
    Bitcoind,
    /// A Lightning node with the ldk-server API.
    LdkServer,
    /// The Liquid node.
    Elementsd,
    /// An Electrum server on the Bitcoin chain.
    Electrs,
    /// An Electrum server on the Liquid chain.
    ElectrsLiquid,
}

impl Role {
    /// Every role, in the order in which passports list them.
    pub const ALL: [Role; 5] = [
        Role::Bitcoind,
        Role::LdkServer,
        Role::Elementsd,
        Role::Electrs,
        Role::ElectrsLiquid,
    ];

    /// Its name: that of the program on `PATH` and of the command-line flag.
    pub fn name(self) -> &'static str {
        match self {
            Role::Bitcoind => "bitcoind",
            Role::LdkServer => "ldk-server",
            Role::Elementsd => "elementsd",
            Role::Electrs => "electrs",
            Role::ElectrsLiquid => "electrs-liquid",
        }
    }

    /// What its program may be called on `PATH`. Blockstream's electrs has one name for every chain it is built for.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Role::Bitcoind => &["bitcoind"],
            Role::LdkServer => &["ldk-server"],
            Role::Elementsd => &["elementsd"],
            Role::Electrs => &["electrs"],
            Role::ElectrsLiquid => &["electrs-liquid", "electrs"],
        }
    }

    /// The subcommand of `swaprig daemon` that plays it. The Bitcoin node is always a real one.
    pub fn bundled(self) -> Option<&'static str> {
        match self {
            Role::Bitcoind => None,
            Role::LdkServer => Some("ldk-server"),
            Role::Elementsd => Some("elements"),
            Role::Electrs | Role::ElectrsLiquid => Some("electrum"),
        }
    }

    /// The environment variable that names its program.
    pub fn variable(self) -> &'static str {
        match self {
            Role::Bitcoind => "BITCOIND_EXE",
            Role::LdkServer => "LDK_SERVER_EXE",
            Role::Elementsd => "ELEMENTSD_EXE",
            Role::Electrs => "ELECTRS_EXE",
            Role::ElectrsLiquid => "ELECTRS_LIQUID_EXE",
        }
    }

    /// The command-line flag that names its program.
    pub fn flag(self) -> &'static str {
        match self {
            Role::Bitcoind => "--bitcoind",
            Role::LdkServer => "--ldk-server",
            Role::Elementsd => "--elementsd",
            Role::Electrs => "--electrs",
            Role::ElectrsLiquid => "--electrs-liquid",
        }
    }

    /// The versions that will do.
    pub fn requirement(self) -> Requirement {
        match self {
            Role::Bitcoind => Requirement {
                role: self,
                core: 28,
                knots: 29,
            },
            Role::Elementsd => Requirement {
                role: self,
                core: 23,
                knots: 23,
            },
            Role::LdkServer | Role::Electrs | Role::ElectrsLiquid => Requirement {
                role: self,
                core: 0,
                knots: 0,
            },
        }
    }

    /// Whether a bundled daemon can play it.
    pub fn has_bundled(self) -> bool {
        self.bundled().is_some()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Whose program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The project's that gives the role its name.
    Upstream,
    /// Ours, a subcommand of `swaprig`.
    Bundled,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Upstream => "upstream",
            Kind::Bundled => "bundled",
        })
    }
}

/// What `--daemons` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// Upstream's where found, bundled where not.
    #[default]
    Auto,
    /// Upstream's or none.
    Upstream,
    /// Bundled wherever there is one; the Bitcoin node is real all the same.
    Bundled,
}

impl Choice {
    /// Every choice.
    pub const ALL: [Choice; 3] = [Choice::Auto, Choice::Upstream, Choice::Bundled];

    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Auto => "auto",
            Choice::Upstream => "upstream",
            Choice::Bundled => "bundled",
        }
    }
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Choice::ALL.into_iter().find(|choice| choice.name() == text);
        found.ok_or_else(|| format!("`{text}` is none of auto, upstream, bundled"))
    }
}

/// How a program was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A flag on the command line named it.
    Flag,
    /// An environment variable named it.
    Environment,
    /// It is on `PATH`.
    Path,
    /// An earlier run put it into the tool cache.
    Cache,
    /// This run put it into the tool cache.
    Provisioned,
    /// It is part of `swaprig`.
    Bundled,
}

impl Origin {
    /// What to call it in a message about `role`.
    pub fn describe(self, role: Role) -> &'static str {
        match self {
            Origin::Flag => role.flag(),
            Origin::Environment => role.variable(),
            Origin::Path => "PATH",
            Origin::Cache => "cache",
            Origin::Provisioned => "provisioned",
            Origin::Bundled => "bundled",
        }
    }
}

/// A program that can play a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The role.
    pub role: Role,
    /// Whose it is.
    pub kind: Kind,
    /// The file that it is about, for people. Not always the one to start: see `program`.
    pub path: PathBuf,
    /// The file to execute: `path`, or a dynamic loader that is told to load it.
    pub program: PathBuf,
    /// Arguments that come before the daemon's own.
    pub args: Vec<OsString>,
    /// What it says it is.
    pub version: Version,
    /// How it was found.
    pub origin: Origin,
    /// Where it was downloaded from, if this tool did that.
    pub provenance: Option<Provenance>,
}

impl Binary {
    /// Whether it is Bitcoin Knots, whose mempool policy differs from Core's unless it gets `-corepolicy=1`.
    pub fn is_knots(&self) -> bool {
        self.version.flavour == Some(Flavour::Knots)
    }

    /// All arguments of a start: the leading ones, then `own`.
    pub fn with_args(&self, own: impl IntoIterator<Item = impl Into<OsString>>) -> Vec<OsString> {
        self.args
            .iter()
            .cloned()
            .chain(own.into_iter().map(Into::into))
            .collect()
    }
}
