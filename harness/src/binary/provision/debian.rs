//! Debian's package of a Bitcoin node, with every library it needs, in a directory of its own.
//!
//! The machine's apt does the work, as an ordinary user: it is given its own lists, cache and package status, so it
//! neither reads nor changes what is installed. Everything else is the machine's own setting: mirror, proxy, keys. The
//! program comes from a newer Debian than the machine may be, so it is started with the loader and the C library that
//! came with it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::apt_sources::{Mirror, mirrors, without_credentials};
use super::apt_text::{configuration, deb_name, foreign_libraries, percent, planned, status};
use super::manifest::{Layout, Manifest, ManifestError, file_sha256};
use super::{CachedBitcoind, Package, Provenance, Source, Staging};
use crate::binary::{Debian, Flavour, Pins, Total, Version};
use crate::process::{RunError, Said, run_to_end, run_watching};

/// Where Debian keeps the keys of its archive.
const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

#[derive(Debug, thiserror::Error)]
pub(super) enum DebianError {
    #[error("this is no machine of the Debian family: `{0}` is not on PATH")]
    NoApt(&'static str),
    #[error("the apt sources in {} name no Debian mirror", .0.display())]
    NoMirror(PathBuf),
    #[error("there is none for {0}")]
    NoPlatform(String),
    #[error(
        "this machine has no key for {mirror} {suite} (apt: NO_PUBKEY {key}); a newer debian-archive-keyring has it: \
         `sudo apt-get install debian-archive-keyring`, from a newer release if need be"
    )]
    NoKey {
        mirror: String,
        suite: String,
        key: String,
    },
    #[error("`apt-get {what}` failed for {mirror}{said}")]
    Apt {
        what: &'static str,
        mirror: String,
        said: String,
    },
    #[error("apt did not say what {package} needs; it said: {said}")]
    NoClosure { package: String, said: String },
    #[error("apt did not download {0}")]
    NotDownloaded(String),
    #[error("could not unpack {file}{said}")]
    Unpack { file: String, said: String },
    #[error("the package's loader {0} is missing")]
    NoLoader(String),
    #[error("it does not find all libraries: {0}")]
    Libraries(String),
    #[error("the cache directory's path {} has a double quote or a line break, which apt cannot take", .0.display())]
    Unquotable(PathBuf),
    #[error("no mirror could be used: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    AllMirrors(Vec<DebianError>),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("could not write to the cache: {0}")]
    Io(#[from] io::Error),
}

/// What Debian calls this machine's architecture, and where its libraries and loader lie.
struct Architecture {
    name: &'static str,
    triplet: &'static str,
    loader: &'static str,
}

impl Architecture {
    fn of_this_machine() -> Option<Self> {
        match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => Some(Architecture {
                name: "amd64",
                triplet: "x86_64-linux-gnu",
                loader: "ld-linux-x86-64.so.2",
            }),
            ("linux", "aarch64") => Some(Architecture {
                name: "arm64",
                triplet: "aarch64-linux-gnu",
                loader: "ld-linux-aarch64.so.1",
            }),
            _ => None,
        }
    }
}

/// Downloads, verifies (that is apt's part), unpacks and tries the package.
pub(super) fn get(source: &Source<'_>) -> Result<CachedBitcoind, DebianError> {
    let architecture =
        Architecture::of_this_machine().ok_or_else(|| DebianError::NoPlatform(Pins::platform()))?;
    let tool = |name| {
        source
            .settings
            .environment
            .on_path(name)
            .ok_or(DebianError::NoApt(name))
    };
    let (apt_get, dpkg_deb) = (tool("apt-get")?, tool("dpkg-deb")?);
    let pins = &source.settings.pins.bitcoind.debian;
    let candidates = mirrors(&source.settings.environment.apt_dir);
    if candidates.is_empty() {
        return Err(DebianError::NoMirror(
            source.settings.environment.apt_dir.clone(),
        ));
    }
    let mut failures = Vec::new();
    for mirror in candidates {
        let shown = without_credentials(&mirror.uri);
        let work = source.staging("apt")?;
        let apt = Apt {
            source,
            pins,
            architecture: &architecture,
            apt_get: &apt_get,
            mirror,
            shown,
            work,
        };
        match apt.update() {
            Ok(()) => return apt.provision(&dpkg_deb),
            // Another mirror may do better.
            Err(error @ (DebianError::Apt { .. } | DebianError::NoKey { .. })) => {
                failures.push(error)
            }
            Err(error) => return Err(error),
        }
    }
    if failures.len() == 1 {
        Err(failures.remove(0))
    } else {
        Err(DebianError::AllMirrors(failures))
    }
}

/// An apt of our own, in a directory that goes when it is done.
struct Apt<'a> {
    source: &'a Source<'a>,
    pins: &'a Debian,
    architecture: &'a Architecture,
    apt_get: &'a Path,
    mirror: Mirror,
    /// The mirror's address for people.
    shown: String,
    work: Staging,
}

impl Apt<'_> {
    fn provision(&self, dpkg_deb: &Path) -> Result<CachedBitcoind, DebianError> {
        match self.install(dpkg_deb, &self.pins.assumed) {
            // Debian may have come to need one of the packages that were left out.
            Err(DebianError::Libraries(missing)) => {
                let note =
                    format!("bitcoind: the package also needs {missing}; taking all dependencies");
                self.source.progress.note(&note);
                self.install(dpkg_deb, &[])
            }
            done => done,
        }
    }

    /// Reads the mirror's package index.
    fn update(&self) -> Result<(), DebianError> {
        self.configure(&self.pins.assumed)?;
        let what = format!(
            "bitcoind: reading Debian's package index ({}, {})",
            self.shown, self.pins.suite
        );
        let mut command = self.apt_get();
        // Without it, a mirror that cannot be reached is a warning.
        command.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        let output = self.watched(command, &what)?;
        let text = format!("{}{}", text(&output.stdout), text(&output.stderr));
        if let Some((_, rest)) = text.split_once("NO_PUBKEY ") {
            let key = rest
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            return Err(DebianError::NoKey {
                mirror: self.shown.clone(),
                suite: self.pins.suite.clone(),
                key,
            });
        }
        self.successful("update", &output)
    }

    fn install(&self, dpkg_deb: &Path, assumed: &[String]) -> Result<CachedBitcoind, DebianError> {
        self.configure(assumed)?;
        let mut closure = self.closure()?;
        let debs = self.work.path.join("debs");
        self.download(&mut closure, &debs)?;
        let staging = self.source.staging("debian")?;
        for package in &closure {
            self.unpack(dpkg_deb, &debs.join(deb_name(package)), &staging.path)?;
        }
        let layout = self.layout(&staging.path)?;
        self.check_libraries(&layout, &staging.path)?;
        let package = &closure[0];
        let name = format!(
            "knots-{}-{}",
            package.version.replace(':', "_"),
            Pins::platform()
        );
        let provenance = Provenance::Debian {
            mirror: self.shown.clone(),
            suite: self.pins.suite.clone(),
            packages: closure,
        };
        let requirement = crate::binary::Role::Bitcoind.requirement();
        let fits = |v: &Version| v.flavour == Some(Flavour::Knots) && requirement.accepts(v);
        let expected = (fits, requirement.to_string());
        let manifest = Manifest::of_tried(&staging.path, name, layout, provenance, expected)?;
        Ok(self.source.publish(staging, manifest)?)
    }

    /// Writes the configuration, the source and the package status that make this apt our own.
    fn configure(&self, assumed: &[String]) -> Result<(), DebianError> {
        let work = &self.work.path;
        let quotable = work
            .to_str()
            .filter(|path| !path.contains(['"', '\n', '\\']));
        let dir = quotable.ok_or_else(|| DebianError::Unquotable(work.clone()))?;
        for sub in ["state", "lists/partial", "cache/archives/partial", "debs"] {
            std::fs::create_dir_all(work.join(sub))?;
        }
        std::fs::write(
            work.join("apt.conf"),
            configuration(dir, self.architecture.name),
        )?;
        std::fs::write(work.join("status"), status(assumed, self.architecture.name))?;
        let Debian {
            suite, component, ..
        } = self.pins;
        let arch = self.architecture.name;
        // A source that names no key is verified with the keys that the machine trusts for every source.
        let own_keyring = self.mirror.keyring.clone().filter(|file| file.exists());
        let keyring = own_keyring.or_else(|| {
            KEYRINGS
                .iter()
                .map(PathBuf::from)
                .find(|file| file.exists())
        });
        let signed_by = keyring.map_or(String::new(), |file| {
            format!(" signed-by={}", file.display())
        });
        let line = format!(
            "deb [arch={arch}{signed_by}] {} {suite} {component}\n",
            self.mirror.uri
        );
        std::fs::write(work.join("sources.list"), line)?;
        Ok(())
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new(self.apt_get);
        command
            .env("LC_ALL", "C")
            .current_dir(self.work.path.join("debs"));
        command
            .arg("-q")
            .arg("-c")
            .arg(self.work.path.join("apt.conf"));
        command
    }

    /// The package and everything it needs, itself first; hashes are not known yet.
    fn closure(&self) -> Result<Vec<Package>, DebianError> {
        let package = &self.pins.package;
        let mut command = self.apt_get();
        command.args(["-s", "install", package]);
        let output = run_to_end(command, self.source.deadline.remaining())?;
        self.successful("-s install", &output)?;
        let stdout = text(&output.stdout);
        let mut closure: Vec<_> = stdout.lines().filter_map(planned).collect();
        match closure.iter().position(|p| p.name == *package) {
            Some(place) => closure[..=place].rotate_right(1),
            None => {
                let said = stdout.lines().last().unwrap_or("nothing").to_owned();
                return Err(DebianError::NoClosure {
                    package: package.clone(),
                    said,
                });
            }
        }
        Ok(closure)
    }

    fn download(&self, closure: &mut [Package], debs: &Path) -> Result<(), DebianError> {
        let mut command = self.apt_get();
        command
            .arg("download")
            .args(closure.iter().map(|p| format!("{}={}", p.name, p.version)));
        let what = format!(
            "bitcoind: downloading {} {}",
            closure[0].name, closure[0].version
        );
        let output = self.watched(command, &what)?;
        self.successful("download", &output)?;
        for package in closure {
            let name = deb_name(package);
            let file = debs.join(&name);
            package.sha256 = file_sha256(&file).map_err(|_| DebianError::NotDownloaded(name))?;
        }
        Ok(())
    }

    fn unpack(&self, dpkg_deb: &Path, deb: &Path, into: &Path) -> Result<(), DebianError> {
        let mut command = Command::new(dpkg_deb);
        command.arg("-x").arg(deb).arg(into);
        let output = run_to_end(command, self.source.deadline.remaining())?;
        if output.status.success() {
            return Ok(());
        }
        let said = Said(&text(&output.stderr)).to_string();
        Err(DebianError::Unpack {
            file: deb.display().to_string(),
            said,
        })
    }

    /// Where the parts lie in the unpacked tree. Libraries are below `usr`, since Debian merged `/lib` into it.
    fn layout(&self, dir: &Path) -> Result<Layout, DebianError> {
        let libraries = PathBuf::from("usr/lib").join(self.architecture.triplet);
        let loader = libraries.join(self.architecture.loader);
        if !dir.join(&loader).exists() {
            return Err(DebianError::NoLoader(loader.display().to_string()));
        }
        Ok(Layout {
            program: "usr/bin/bitcoind".into(),
            loader: Some((loader, libraries)),
        })
    }

    /// Asks the loader which libraries it would load: all must come from the tree. One of the machine's own would be of
    /// another release than the C library beside it.
    fn check_libraries(&self, layout: &Layout, dir: &Path) -> Result<(), DebianError> {
        let (loader, args) = layout.start(dir);
        let mut command = Command::new(loader);
        let (program, options) = args
            .split_last()
            .expect("a program is started through the loader");
        command.args(options).arg("--list").arg(program);
        let output = run_to_end(command, self.source.deadline.remaining())?;
        let missing = foreign_libraries(&text(&output.stdout), dir);
        if !missing.is_empty() {
            return Err(DebianError::Libraries(missing.join(", ")));
        }
        if !output.status.success() {
            let said = Said(&text(&output.stderr)).to_string();
            return Err(DebianError::Libraries(format!(
                "the loader ended with {}{said}",
                output.status
            )));
        }
        Ok(())
    }

    /// Runs an apt-get that reports how far it is on standard output.
    fn watched(&self, mut command: Command, what: &str) -> Result<Output, DebianError> {
        command.args(["-o", "APT::Status-Fd=1"]);
        let progress = self.source.progress;
        progress.begin(what, Total::Percent);
        let output = run_watching(command, self.source.deadline.remaining(), &mut |line| {
            if let Some(percent) = percent(line) {
                progress.at(percent);
            }
        });
        let done = output.as_ref().is_ok_and(|output| output.status.success());
        progress.end(if done { "done" } else { "failed" });
        Ok(output?)
    }

    fn successful(&self, what: &'static str, output: &Output) -> Result<(), DebianError> {
        if output.status.success() {
            return Ok(());
        }
        let stderr = text(&output.stderr);
        let telling: Vec<_> = stderr
            .lines()
            .filter(|l| l.starts_with("E:") || l.starts_with("Err"))
            .collect();
        let told = if telling.is_empty() {
            stderr.clone()
        } else {
            telling.join("\n")
        };
        Err(DebianError::Apt {
            what,
            mirror: self.shown.clone(),
            said: Said(&told).to_string(),
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
