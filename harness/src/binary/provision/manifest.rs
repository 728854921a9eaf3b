//! What lies in a directory of the cache, written beside it before it appears.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use serde::{Deserialize, Serialize};

use super::{Defect, Provenance};
use crate::binary::version::{AskError, ask};
use crate::binary::{Binary, Kind, Origin, Pins, Role, Version};

const FILE: &str = "manifest.json";
/// Raised when an older directory must not be used any more.
const FORMAT: u32 = 1;

/// The description of a cached Bitcoin node. Paths are relative to its directory, which can be moved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// The directory's name.
    pub(super) name: String,
    /// What the program said when it was tried.
    pub(crate) version: Version,
    layout: Layout,
    /// Size of the program in bytes: a cheap check for a file that was cut.
    size: u64,
    /// The program's own hash, for a thorough check.
    sha256: String,
    /// Where it came from.
    pub(crate) provenance: Provenance,
}

/// Where things lie in a directory of the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Layout {
    /// The program.
    pub(super) program: PathBuf,
    /// The dynamic loader to start it with and the directory of its libraries, where the machine's own do not fit.
    pub(super) loader: Option<(PathBuf, PathBuf)>,
}

impl Layout {
    /// The file to execute, and the arguments before the program's own.
    pub(super) fn start(&self, dir: &Path) -> (PathBuf, Vec<std::ffi::OsString>) {
        let program = dir.join(&self.program);
        match &self.loader {
            None => (program, Vec::new()),
            Some((loader, libraries)) => {
                let libraries = dir.join(libraries);
                (
                    dir.join(loader),
                    vec!["--library-path".into(), libraries.into(), program.into()],
                )
            }
        }
    }

    fn ask_version(&self, dir: &Path) -> Result<Version, AskError> {
        let (program, args) = self.start(dir);
        let mut command = Command::new(program);
        command.args(args).arg("--version");
        ask(command, Role::Bitcoind.name(), |text| {
            Version::parse(Role::Bitcoind, text)
        })
    }
}

impl Manifest {
    /// Tries what was unpacked in `dir` and describes it. `expected` tells the version that it must have, and how to
    /// say that.
    pub(super) fn of_tried(
        dir: &Path,
        name: String,
        layout: Layout,
        provenance: Provenance,
        expected: (impl Fn(&Version) -> bool, String),
    ) -> Result<Self, ManifestError> {
        let version = layout.ask_version(dir).map_err(Defect::from)?;
        let (fits, expected) = expected;
        if !fits(&version) {
            return Err(Defect::WrongVersion {
                found: version,
                expected,
            }
            .into());
        }
        let program = dir.join(&layout.program);
        let size = program.metadata()?.len();
        let sha256 = file_sha256(&program)?;
        Ok(Manifest {
            format: FORMAT,
            name,
            version,
            layout,
            size,
            sha256,
            provenance,
        })
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        std::fs::write(dir.join(FILE), serde_json::to_vec_pretty(self)?)
    }

    /// The manifest in `dir`, if it is one and the program is there in its full size.
    fn read(dir: &Path) -> Option<Self> {
        let manifest: Manifest =
            serde_json::from_slice(&std::fs::read(dir.join(FILE)).ok()?).ok()?;
        let size = dir.join(&manifest.layout.program).metadata().ok()?.len();
        (manifest.format == FORMAT && manifest.size == size).then_some(manifest)
    }
}

/// Why a directory could not be described.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    #[error(transparent)]
    Defect(#[from] Defect),
    #[error("could not read what was unpacked: {0}")]
    Io(#[from] io::Error),
}

/// A Bitcoin node in the tool cache.
#[derive(Debug, Clone)]
pub(crate) struct CachedBitcoind {
    pub(crate) dir: PathBuf,
    pub(crate) manifest: Manifest,
}

impl CachedBitcoind {
    /// The program, ready to be started.
    pub(crate) fn into_binary(self, origin: Origin) -> Binary {
        let (program, args) = self.manifest.layout.start(&self.dir);
        Binary {
            role: Role::Bitcoind,
            kind: Kind::Upstream,
            path: self.dir.join(&self.manifest.layout.program),
            program,
            args,
            version: self.manifest.version,
            origin,
            provenance: Some(self.manifest.provenance),
        }
    }

    /// Whether the program is, byte for byte, the one that was put there. Reads all of it.
    pub(crate) fn is_intact(&self) -> io::Result<bool> {
        Ok(file_sha256(&self.dir.join(&self.manifest.layout.program))? == self.manifest.sha256)
    }
}

/// The Bitcoin node in `cache_dir` that `pins` allow: the pinned release, else the latest Debian package.
pub(crate) fn cached_bitcoind(cache_dir: &Path, pins: &Pins) -> Option<CachedBitcoind> {
    let platform = Pins::platform();
    let entries = std::fs::read_dir(cache_dir.join("bitcoind")).ok()?;
    // A cache may be shared between machines: the directories' names end in their platform.
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|n| !n.starts_with('.') && n.ends_with(&platform))
        })
        .filter_map(|entry| {
            Some(CachedBitcoind {
                manifest: Manifest::read(&entry.path())?,
                dir: entry.path(),
            })
        })
        .filter(|cached| {
            Role::Bitcoind
                .requirement()
                .accepts(&cached.manifest.version)
        })
        .collect();
    let pinned = pins.bitcoind.archive.get(&platform);
    found.retain(|cached| match &cached.manifest.provenance {
        Provenance::Archive { sha256, .. } => pinned.is_some_and(|pin| pin.sha256 == *sha256),
        Provenance::Debian { .. } => true,
    });
    found.into_iter().max_by_key(|cached| {
        let Manifest {
            version,
            provenance,
            name,
            ..
        } = &cached.manifest;
        let is_pinned = matches!(provenance, Provenance::Archive { .. });
        (is_pinned, version.major, version.minor, name.clone())
    })
}

/// The SHA-256 of a file, in lower-case hex.
pub(super) fn file_sha256(path: &Path) -> io::Result<String> {
    let mut engine = sha256::HashEngine::default();
    hash_into(&mut engine, &mut File::open(path)?)?;
    Ok(sha256::Hash::from_engine(engine).to_string())
}

/// Feeds everything that `reader` has to `engine`; gives the number of bytes.
pub(super) fn hash_into(
    engine: &mut sha256::HashEngine,
    reader: &mut impl io::Read,
) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(total);
        }
        engine.input(&buffer[..count]);
        total += count as u64;
    }
}
