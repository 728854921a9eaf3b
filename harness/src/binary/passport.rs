//! The passport of a run: which programs it used, so that nobody takes one for another.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::{Binary, Flavour, Kind, Origin, Provenance, Role};

/// Which program played each role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Passport(Vec<Stamp>);

/// One role of a passport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The role.
    pub role: Role,
    /// Whose program played it.
    pub kind: Kind,
    /// The program's file.
    pub path: PathBuf,
    /// What it says it is.
    pub version: String,
    /// Which of several implementations, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavour: Option<Flavour>,
    /// How it was found.
    pub origin: Origin,
    /// Where it was downloaded from, if this tool did that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

impl From<&Binary> for Stamp {
    fn from(binary: &Binary) -> Self {
        Stamp {
            role: binary.role,
            kind: binary.kind,
            path: binary.path.clone(),
            version: binary.version.text.clone(),
            flavour: binary.version.flavour,
            origin: binary.origin,
            provenance: binary.provenance.clone(),
        }
    }
}

impl Passport {
    /// Its stamps, sorted by role.
    pub fn stamps(&self) -> &[Stamp] {
        &self.0
    }

    /// The stamp of `role`.
    pub fn of(&self, role: Role) -> Option<&Stamp> {
        self.0.iter().find(|stamp| stamp.role == role)
    }

    /// Adds what another world used; the same program is listed once.
    pub fn merge(&mut self, other: &Passport) {
        for stamp in &other.0 {
            if !self.0.contains(stamp) {
                self.0.push(stamp.clone());
            }
        }
        self.0.sort_by_key(|stamp| stamp.role);
    }
}

impl<'a> FromIterator<&'a Binary> for Passport {
    fn from_iter<I: IntoIterator<Item = &'a Binary>>(binaries: I) -> Self {
        let mut passport = Passport::default();
        passport.merge(&Passport(binaries.into_iter().map(Stamp::from).collect()));
        passport
    }
}

/// One line: `bitcoind 29.4.3 (knots) · ldk-server bundled`.
impl fmt::Display for Passport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, stamp) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { " · " };
            write!(f, "{separator}{stamp}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.flavour) {
            (Kind::Bundled, _) => write!(f, "{} bundled", self.role),
            (Kind::Upstream, Some(Flavour::Knots)) => {
                write!(f, "{} {} (knots)", self.role, self.version)
            }
            (Kind::Upstream, Some(Flavour::Core) | None) => {
                write!(f, "{} {}", self.role, self.version)
            }
        }
    }
}
