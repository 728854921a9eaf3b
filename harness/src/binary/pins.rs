//! `daemons.lock`: what may be downloaded, by version and SHA-256.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

/// The file as this build was made with.
const EMBEDDED: &str = include_str!("../../../daemons.lock");

/// What may be downloaded.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// The Bitcoin node.
    pub bitcoind: BitcoindPins,
}

/// Where the Bitcoin node comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitcoindPins {
    /// The version of the archives, such as `29.4`.
    pub version: String,
    /// The release archives by platform, such as `x86_64-linux`.
    pub archive: BTreeMap<String, Archive>,
    /// The Debian package.
    pub debian: Debian,
}

/// A release archive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Where it lies.
    pub url: String,
    /// Its hash, in lower-case hex.
    pub sha256: String,
}

/// A Debian package that is taken where the archive's host cannot be reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// The suite that carries it.
    pub suite: String,
    /// The component.
    pub component: String,
    /// Its name.
    pub package: String,
    /// Packages that count as installed, because running the program does not need them.
    pub assumed: Vec<String>,
}

/// A pin file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("daemons.lock: {0}")]
pub struct PinsError(String);

impl Pins {
    /// The pins of this build.
    pub fn embedded() -> Arc<Self> {
        static PINS: OnceLock<Arc<Pins>> = OnceLock::new();
        PINS.get_or_init(|| Arc::new(Pins::parse(EMBEDDED).expect("a test parses it")))
            .clone()
    }

    /// Reads the text of a `daemons.lock`.
    ///
    /// # Errors
    /// When it is no such text, or a hash in it is not 64 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, PinsError> {
        let pins: Pins = toml::from_str(text).map_err(|e| PinsError(e.to_string()))?;
        for (platform, archive) in &pins.bitcoind.archive {
            let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            if archive.sha256.len() != 64 || !archive.sha256.chars().all(digit) {
                let hash = &archive.sha256;
                return Err(PinsError(format!(
                    "{platform}: `{hash}` is no SHA-256 in lower-case hex"
                )));
            }
        }
        Ok(pins)
    }

    /// The platform of this build as the file names it, such as `aarch64-macos`.
    pub fn platform() -> String {
        format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_platform_has_an_archive() {
        let pins = Pins::embedded();
        for platform in [
            "x86_64-linux",
            "aarch64-linux",
            "x86_64-macos",
            "aarch64-macos",
        ] {
            let archive = &pins.bitcoind.archive[platform];
            assert!(archive.url.starts_with("https://"), "{archive:?}");
            assert!(
                archive
                    .url
                    .contains(&format!("bitcoin-{}-", pins.bitcoind.version)),
                "{archive:?}"
            );
        }
    }

    #[test]
    fn a_hash_that_is_none_is_refused() {
        let text = EMBEDDED.replacen("sha256 = \"e15b", "sha256 = \"E15b", 1);
        let error = Pins::parse(&text).unwrap_err().to_string();
        assert!(
            error.contains("x86_64-linux") && error.contains("E15b"),
            "{error}"
        );
    }
}
