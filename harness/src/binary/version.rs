//! What a program says it is (`--version`), whether that will do, and remembering it from run to run.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Role;
use crate::process::{RunError, run_to_end};

/// How long a program may take to say its version. A cold disk and a loaded machine together need a few seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Which implementation of the Bitcoin node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Bitcoin Core.
    Core,
    /// Bitcoin Knots.
    Knots,
}

/// A program's version, from its own mouth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The numbers as it prints them, such as `29.4.3`.
    pub text: String,
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// Which Bitcoin node; nothing for other roles.
    pub flavour: Option<Flavour>,
}

impl Version {
    /// Finds the version in what `--version` printed: Core says `Bitcoin Core daemon version v29.4.0` (28 and earlier:
    /// `Bitcoin Core version v28.1.0`), Knots `Bitcoin Knots daemon version v29.4.3.knots20260508`, ldk-server
    /// `ldk-server 0.1.0 (7f3276a)`, Elements Core `Elements Core version v23.3.1` (as Bitcoin Core, "daemon" from some
    /// version on). romanz's electrs says `electrs 0.11.1` or `v0.11.1`; Blockstream's and those made from it say
    /// `Electrum Rust Server 0.4.1`, with a word in front of it or none.
    pub fn parse(role: Role, output: &str) -> Option<Self> {
        let line = output
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())?;
        match role {
            Role::Bitcoind => {
                let flavour = match line {
                    _ if line.starts_with("Bitcoin Core ") => Flavour::Core,
                    _ if line.starts_with("Bitcoin Knots ") => Flavour::Knots,
                    _ => return None,
                };
                // Other tools of the same projects say "RPC client" and "wallet utility".
                let (before, numbers) = line.split_once("version v")?;
                let daemon = before.ends_with("daemon ") || before.split_whitespace().count() == 2;
                if daemon {
                    Version::from_numbers(numbers, Some(flavour))
                } else {
                    None
                }
            }
            Role::LdkServer => Version::from_numbers(line.strip_prefix("ldk-server ")?, None),
            Role::Elementsd => {
                let rest = line.strip_prefix("Elements Core ")?;
                let rest = rest.strip_prefix("daemon ").unwrap_or(rest);
                Version::from_numbers(rest.strip_prefix("version v")?, None)
            }
            Role::Electrs => {
                let rest = line.strip_prefix("electrs ").unwrap_or(line);
                Version::from_numbers(rest.strip_prefix('v').unwrap_or(rest), None)
            }
            Role::ElectrsLiquid => {
                let (_, numbers) = line.split_once("Electrum Rust Server ")?;
                Version::from_numbers(numbers, None)
            }
        }
    }

    /// The version of a `swaprig` executable, from what its `--version` printed.
    pub(crate) fn parse_swaprig(output: &str) -> Option<Self> {
        Version::from_numbers(output.lines().next()?.strip_prefix("swaprig ")?, None)
    }

    /// `29.4.3.knots20260508` is `29.4.3`, `0.1.0-rc1 (abc)` is `0.1.0`.
    pub(crate) fn from_numbers(text: &str, flavour: Option<Flavour>) -> Option<Self> {
        let word = text.split_whitespace().next()?;
        let mut numbers = Vec::new();
        for part in word.split('.') {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            let Ok(number) = part[..digits].parse::<u32>() else {
                break;
            };
            numbers.push(number);
            if digits < part.len() {
                break;
            }
        }
        let text = numbers
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(".");
        Some(Version {
            text,
            major: *numbers.first()?,
            minor: *numbers.get(1)?,
            flavour,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flavour {
            Some(Flavour::Core) => write!(f, "Bitcoin Core {}", self.text),
            Some(Flavour::Knots) => write!(f, "Bitcoin Knots {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// The first version of romanz's electrs that needs Bitcoin Core 31: it fetches blocks by a part of the REST API that
/// older nodes and Knots 29 do not have (`/rest/blockpart`).
const ELECTRS_BELOW: (u32, u32) = (0, 12);

/// The versions of a role that will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    pub(super) role: Role,
    /// The first major version of Bitcoin Core, or of a role that has one implementation.
    pub(super) core: u32,
    /// The first major version of Bitcoin Knots.
    pub(super) knots: u32,
}

impl Requirement {
    /// Whether `version` will do.
    pub fn accepts(self, version: &Version) -> bool {
        match version.flavour {
            None if self.role == Role::Electrs => (version.major, version.minor) < ELECTRS_BELOW,
            Some(Flavour::Core) | None => version.major >= self.core,
            Some(Flavour::Knots) => version.major >= self.knots,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            Role::Bitcoind => write!(
                f,
                "Bitcoin Core ≥ {} or Bitcoin Knots ≥ {}",
                self.core, self.knots
            ),
            Role::LdkServer => f.write_str("any ldk-server with the gRPC API"),
            Role::Elementsd => write!(f, "Elements Core ≥ {}", self.core),
            Role::Electrs => {
                let (major, minor) = ELECTRS_BELOW;
                write!(
                    f,
                    "romanz's electrs < {major}.{minor}, which is the first to need Bitcoin Core 31,"
                )
            }
            Role::ElectrsLiquid => f.write_str("Blockstream's electrs, built for Liquid"),
        }
    }
}

/// Why a program's version is not known.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It did not run to its end.
    #[error(transparent)]
    Run(#[from] AskRunError),
    /// It failed.
    #[error("`{command}` ended with {status}{said}")]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it said, after a colon.
        said: String,
    },
    /// It is one of the same name that was built for another chain.
    #[error("is not built for Liquid: its --help names no network `liquidregtest`")]
    NotForLiquid,
    /// It is something else.
    #[error("`{command}` does not say that it is {expected}; it says: {said}")]
    Other {
        /// The command line.
        command: String,
        /// The role.
        expected: &'static str,
        /// Its first line.
        said: String,
    },
}

/// Whether the program at `path`, a Blockstream's electrs, knows Liquid's networks. Its version does not tell.
fn is_for_liquid(path: &Path) -> Result<bool, AskError> {
    let mut command = Command::new(path);
    command.arg("--help");
    let output = run_to_end(command, ANSWER_WITHIN).map_err(AskRunError)?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("liquidregtest"))
}

/// A program that was asked for its version and did not run to its end.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AskRunError(RunError);

/// Runs `command` (which ends in `--version`) and reads the answer.
pub(super) fn ask(
    command: Command,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<Version>,
) -> Result<Version, AskError> {
    let shown = command.get_program().to_string_lossy().into_owned() + " … --version";
    let output = run_to_end(command, ANSWER_WITHIN).map_err(AskRunError)?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = crate::process::Said(&stderr).to_string();
        return Err(AskError::Failed {
            command: shown,
            status: output.status,
            said,
        });
    }
    parse(&stdout).ok_or_else(|| {
        let said = stdout
            .lines()
            .next()
            .unwrap_or("nothing")
            .chars()
            .take(120)
            .collect();
        AskError::Other {
            command: shown,
            expected,
            said,
        }
    })
}

/// What `path --version` said when the file was as it is now, remembered in the cache directory.
#[derive(Serialize, Deserialize)]
struct Memory {
    path: PathBuf,
    /// Device, inode, size in bytes, and time of the last change in seconds and nanoseconds.
    file: (u64, u64, u64, i64, i64),
    version: Version,
}

/// The version of the program at `path` that is to play `role`; see [`of_file`].
pub(super) fn of_role(
    role: Role,
    path: &Path,
    cache_dir: Option<&Path>,
) -> Result<Version, AskError> {
    let check = |version| match role {
        Role::ElectrsLiquid if !is_for_liquid(path)? => Err(AskError::NotForLiquid),
        _ => Ok(version),
    };
    let parse = |text: &str| Version::parse(role, text);
    of_file(path, cache_dir, role.name(), parse, check)
}

/// The version of the program at `path`: remembered if the file has not changed, else asked for and remembered. A cache
/// that cannot be read or written only costs the time to ask.
///
/// A script that starts something else is known by its own file: replacing what it starts goes unnoticed.
pub(super) fn of_file(
    path: &Path,
    cache_dir: Option<&Path>,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<Version>,
    check: impl Fn(Version) -> Result<Version, AskError>,
) -> Result<Version, AskError> {
    let memory = cache_dir.and_then(|dir| Some((memory_file(dir, expected, path), stat(path)?)));
    if let Some((file, now)) = &memory
        && let Some(version) = recall(file, path, *now)
    {
        return Ok(version);
    }
    let mut command = Command::new(path);
    command.arg("--version");
    let version = check(ask(command, expected, parse)?)?;
    if let Some((file, now)) = memory {
        let known = Memory {
            path: path.to_owned(),
            file: now,
            version: version.clone(),
        };
        let _ = remember(&file, &known);
    }
    Ok(version)
}

type Stat = (u64, u64, u64, i64, i64);

fn stat(path: &Path) -> Option<Stat> {
    let meta = path.metadata().ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
    ))
}

fn memory_file(cache_dir: &Path, expected: &str, path: &Path) -> PathBuf {
    use bitcoin::hashes::{Hash as _, sha256};
    let hash = sha256::Hash::hash(path.as_os_str().as_encoded_bytes()).to_string();
    cache_dir
        .join("versions")
        .join(format!("{expected}-{}.json", &hash[..16]))
}

fn recall(file: &Path, path: &Path, now: Stat) -> Option<Version> {
    let known: Memory = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    (known.path == path && known.file == now).then_some(known.version)
}

fn remember(file: &Path, known: &Memory) -> std::io::Result<()> {
    let dir = file.parent().expect("it lies in `versions`");
    std::fs::create_dir_all(dir)?;
    let mut new = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer(&mut new, known)?;
    new.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        let read = |role, text| Version::parse(role, text).map(|v| (v.text, v.major, v.flavour));
        let core = Some(Flavour::Core);
        let knots = Some(Flavour::Knots);
        let cases = [
            (
                Role::Bitcoind,
                "Bitcoin Core daemon version v29.4.0\nCopyright",
                Some(("29.4.0", 29, core)),
            ),
            (
                Role::Bitcoind,
                "Bitcoin Core version v28.1.0\n",
                Some(("28.1.0", 28, core)),
            ),
            (
                Role::Bitcoind,
                "Bitcoin Core version v0.21.1\n",
                Some(("0.21.1", 0, core)),
            ),
            (
                Role::Bitcoind,
                "Bitcoin Core daemon version v30.0.0rc1-ab12",
                Some(("30.0.0", 30, core)),
            ),
            (
                Role::Bitcoind,
                "Bitcoin Knots daemon version v29.4.3.knots20260508\n",
                Some(("29.4.3", 29, knots)),
            ),
            (
                Role::Bitcoind,
                "Bitcoin Core RPC client version v29.4.0\n",
                None,
            ),
            (Role::Bitcoind, "Elements Core version v23.3.1\n", None),
            (Role::Bitcoind, "", None),
            (
                Role::LdkServer,
                "ldk-server 0.1.0 (7f3276a)\n",
                Some(("0.1.0", 0, None)),
            ),
            (Role::LdkServer, "ldk-server-cli 0.1.0\n", None),
            (
                Role::Elementsd,
                "Elements Core version v23.4.0rc3\nCopyright",
                Some(("23.4.0", 23, None)),
            ),
            (
                Role::Elementsd,
                "Elements Core daemon version v29.4.1\n",
                Some(("29.4.1", 29, None)),
            ),
            (
                Role::Elementsd,
                "Elements Core RPC client version v23.3.1\n",
                None,
            ),
            (Role::Elementsd, "Bitcoin Core version v28.1.0\n", None),
            (Role::Electrs, "electrs 0.11.1\n", Some(("0.11.1", 0, None))),
            (Role::Electrs, "v0.11.1\n", Some(("0.11.1", 0, None))),
            (Role::Electrs, "Electrum Rust Server 0.4.1\n", None),
            (
                Role::ElectrsLiquid,
                "Electrum Rust Server 0.4.1\n",
                Some(("0.4.1", 0, None)),
            ),
            (
                Role::ElectrsLiquid,
                "Mempool Electrum Rust Server 3.3.0-dev\n",
                Some(("3.3.0", 3, None)),
            ),
            (Role::ElectrsLiquid, "electrs 0.11.1\n", None),
        ];
        for (role, text, expected) in cases {
            let expected = expected.map(|(t, m, f)| (t.to_owned(), m, f));
            assert_eq!(read(role, text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_will_do() {
        let will_do = |text: &str| {
            let version = Version::parse(Role::Bitcoind, text).unwrap();
            Role::Bitcoind.requirement().accepts(&version)
        };
        assert!(will_do("Bitcoin Core version v28.0.0"));
        assert!(!will_do("Bitcoin Core version v27.2.0"));
        assert!(!will_do("Bitcoin Core version v0.28.0"));
        assert!(will_do(
            "Bitcoin Knots daemon version v29.0.0.knots20250101"
        ));
        assert!(!will_do(
            "Bitcoin Knots daemon version v28.1.0.knots20250101"
        ));
    }
}
