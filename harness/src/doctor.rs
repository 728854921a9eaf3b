//! What `swaprig doctor` tells: whether worlds can start here, with which programs, and what would help.
//!
//! Every line is the result of a look just taken, or absent. Looking changes nothing; [`fix`] downloads what is missing.

mod json;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::binary::{
    Binary, Kind, Origin, Progress, ResolveError, Role, Settings, Tried, cached_bitcoind,
    find_with_account, resolve,
};
use crate::port::PortClaim;
use crate::run_dir;

/// The beginning of 2026. No clock that goes right shows an earlier time to this program.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);
/// A world with two Lightning nodes uses less than half of this.
const MEMORY_PER_WORLD: u64 = 400 << 20;
/// Below this, a download or a run of all scenarios may not fit. In bytes.
const SCARCE: u64 = 500 << 20;

/// What was found on this machine.
#[derive(Debug)]
pub struct Report {
    /// Each role, in the order of passports.
    pub roles: Vec<RoleReport>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory, where the system tells.
    pub memory: Option<Memory>,
    /// The things that are in order: "ports", "disk", "clock".
    pub in_order: Vec<&'static str>,
    /// The things that are not, each with what to do.
    pub troubles: Vec<String>,
    /// Run directories that lie about.
    pub leftovers: Option<Leftovers>,
}

/// What was found for one role.
#[derive(Debug)]
pub struct RoleReport {
    /// The role.
    pub role: Role,
    /// The program, or why there is none.
    pub found: Result<Binary, ResolveError>,
    /// What was looked at in vain before it was found.
    pub passed_over: Vec<Tried>,
    /// For a downloaded program: whether it still is what was downloaded.
    pub intact: Option<Result<bool, String>>,
}

/// Memory of the machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What new programs can have without swapping.
    pub available: u64,
}

/// Run directories of failed, kept or unfinished runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// Where they are.
    pub dir: PathBuf,
    /// How many.
    pub runs: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Looks at this machine. `runs_dir` is where run directories are made.
pub fn examine(settings: &Settings, runs_dir: &Path) -> Report {
    let mut report = Report {
        roles: Role::ALL
            .into_iter()
            .map(|role| role_report(role, settings))
            .collect(),
        cores: cores(),
        memory: memory(),
        in_order: Vec::new(),
        troubles: Vec::new(),
        leftovers: leftovers(runs_dir),
    };
    report.record("ports", ports());
    let mut dirs = settings.cache_dir.as_deref().into_iter().chain([runs_dir]);
    report.record("disk", dirs.try_for_each(space));
    report.record("clock", clock());
    report
}

/// Gets whatever is missing and can be downloaded; gives the outcome for each role.
pub fn fix(
    settings: &Settings,
    progress: &dyn Progress,
) -> Vec<(Role, Result<Binary, ResolveError>)> {
    Role::ALL
        .into_iter()
        .map(|role| (role, resolve(role, settings, progress)))
        .collect()
}

impl Report {
    /// Whether every role has an undamaged program and nothing else is in the way.
    pub fn is_ready(&self) -> bool {
        self.troubles.is_empty() && self.roles.iter().all(RoleReport::is_usable)
    }

    /// How many worlds at a time this machine carries.
    pub fn suggested_jobs(&self) -> usize {
        jobs(self.cores, self.memory)
    }

    fn record(&mut self, what: &'static str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.in_order.push(what),
            Err(trouble) => self.troubles.push(format!("{what}: {trouble}")),
        }
    }
}

/// How many worlds at a time this machine carries now.
pub fn suggested_jobs() -> usize {
    jobs(cores(), memory())
}

fn jobs(cores: usize, memory: Option<Memory>) -> usize {
    let by_memory = memory.map_or(u64::MAX, |memory| memory.available / MEMORY_PER_WORLD);
    usize::try_from(by_memory)
        .unwrap_or(usize::MAX)
        .min(cores)
        .max(1)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl RoleReport {
    /// Whether a world can use it.
    pub fn is_usable(&self) -> bool {
        self.found.is_ok() && !matches!(self.intact, Some(Ok(false) | Err(_)))
    }
}

fn role_report(role: Role, settings: &Settings) -> RoleReport {
    let (found, passed_over) = find_with_account(role, settings);
    let is_cached = found
        .as_ref()
        .is_ok_and(|binary| binary.origin == Origin::Cache);
    let cached = settings.cache_dir.as_deref().filter(|_| is_cached);
    let cached = cached.and_then(|dir| cached_bitcoind(dir, &settings.pins));
    let intact = cached.map(|cached| cached.is_intact().map_err(|error| error.to_string()));
    RoleReport {
        role,
        found,
        passed_over,
        intact,
    }
}

/// Linux tells both numbers in `/proc/meminfo`, in KiB.
fn memory() -> Option<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    Some(Memory {
        total: field("MemTotal")?,
        available: field("MemAvailable")?,
    })
}

/// Claims a port and gives it back.
fn ports() -> Result<(), String> {
    PortClaim::new()
        .map(drop)
        .map_err(|error| crate::error_chain(&error))
}

/// Whether `dir`, or what there is of the path to it, can be written to and has room.
fn space(dir: &Path) -> Result<(), String> {
    let there = std::path::absolute(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let there = there
        .ancestors()
        .find(|dir| dir.exists())
        .unwrap_or(Path::new("/"));
    let shown = there.display();
    if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() {
        return Err(format!(
            "{shown} is not writable, and {} is to be there",
            dir.display()
        ));
    }
    let stat = rustix::fs::statvfs(there).map_err(|error| format!("{shown}: {error}"))?;
    match stat.f_bavail.saturating_mul(stat.f_frsize) {
        free if free < SCARCE => Err(format!(
            "only {} left in {shown}; make room or choose another place",
            Size(free)
        )),
        _ => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the wall clock itself is what is looked at"
)]
fn clock() -> Result<(), String> {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(now) if now >= EARLIEST => Ok(()),
        _ => Err(
            "it shows a time before 2026; certificates and blocks would be refused: set it".into(),
        ),
    }
}

/// The run directories in `runs_dir` that no process uses, if there are any.
fn leftovers(runs_dir: &Path) -> Option<Leftovers> {
    let mut runs = run_dir::runs_in(runs_dir);
    runs.retain(|run| !run_dir::is_in_use(run));
    if runs.is_empty() {
        return None;
    }
    let bytes = runs.iter().map(|run| size_on_disk(run)).sum();
    Some(Leftovers {
        dir: runs_dir.to_owned(),
        runs: runs.len(),
        bytes,
    })
}

/// A run directory that [`clean`] looked at.
#[derive(Debug)]
pub struct Cleaned {
    /// Which.
    pub dir: PathBuf,
    /// What it occupied, in bytes.
    pub bytes: u64,
    /// Whether it is gone; `false`: a process uses it.
    pub deleted: io::Result<bool>,
}

/// Deletes the run directories in `runs_dir` that no process uses.
pub fn clean(runs_dir: &Path) -> Vec<Cleaned> {
    let runs = run_dir::runs_in(runs_dir).into_iter();
    let clean = |dir: PathBuf| Cleaned {
        bytes: size_on_disk(&dir),
        deleted: run_dir::delete_unused(&dir),
        dir,
    };
    runs.map(clean).collect()
}

impl fmt::Display for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dir, size) = (self.dir.display(), Size(self.bytes));
        match &self.deleted {
            Ok(true) => write!(f, "deleted {dir} ({size})"),
            Ok(false) => write!(f, "left {dir} ({size}): a process uses it"),
            Err(error) => write!(f, "could not delete {dir}: {error}"),
        }
    }
}

/// What a directory tree occupies. Files that go away meanwhile count nothing.
fn size_on_disk(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        // st_blocks counts units of 512 bytes, whatever the file system's own (POSIX, sys/stat.h).
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            open.extend(
                std::fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
    }
    bytes
}

/// Bytes, for people.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Size(bytes) = *self;
        match bytes {
            0..1_000_000 => write!(f, "{} kB", bytes.div_ceil(1000)),
            1_000_000..1_000_000_000 => write!(f, "{} MB", bytes / 1_000_000),
            _ => write!(
                f,
                "{}.{} GB",
                bytes / 1_000_000_000,
                bytes / 100_000_000 % 10
            ),
        }
    }
}

/// The report as `swaprig doctor` prints it, without a last line break.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unusable: Vec<_> = self
            .roles
            .iter()
            .filter(|r| !r.is_usable())
            .map(|r| r.role.name())
            .collect();
        match (unusable.as_slice(), self.troubles.as_slice()) {
            ([], []) => write!(f, "Ready: worlds can start.")?,
            ([], _) => write!(f, "Not ready: see below.")?,
            (names, _) => write!(f, "Not ready: no usable {}.", names.join(", "))?,
        }
        for role in &self.roles {
            write!(f, "\n{role}")?;
        }
        let cores = if self.cores == 1 { "core" } else { "cores" };
        write!(f, "\n{:<16}{} {cores}", "machine", self.cores)?;
        if let Some(Memory { total, available }) = self.memory {
            write!(f, ", {} ({} free)", Size(total), Size(available))?;
        }
        write!(f, " → --jobs {}", self.suggested_jobs())?;
        if !self.in_order.is_empty() {
            write!(f, "; {} ok", self.in_order.join(", "))?;
        }
        for trouble in &self.troubles {
            write!(f, "\n{:<16}{trouble}", "trouble")?;
        }
        if let Some(Leftovers { dir, runs, bytes }) = &self.leftovers {
            let noun = if *runs == 1 { "run" } else { "runs" };
            let (size, dir) = (Size(*bytes), dir.display());
            write!(
                f,
                "\n{:<16}{size} in {runs} kept or unfinished {noun}   {dir}   (`swaprig doctor --clean` deletes them)",
                "leftovers"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for RoleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.role.name();
        let binary = match &self.found {
            Ok(binary) => binary,
            // The account below says where it was looked for.
            Err(error) => {
                let text = error.to_string().replace("\n  ", "\n                  ");
                return write!(f, "{name:<16}missing   {text}");
            }
        };
        let path = binary.path.display();
        if binary.kind == Kind::Bundled {
            let reasons = self
                .passed_over
                .iter()
                .map(|tried| format!("{} {}", tried.place, tried.found));
            return write!(
                f,
                "{name:<16}bundled   {}",
                reasons.collect::<Vec<_>>().join("; ")
            );
        }
        let origin = binary.origin.describe(binary.role);
        write!(f, "{name:<16}{}   {origin}", binary.version)?;
        match &self.intact {
            Some(Ok(true)) => write!(f, ", sha256 ok")?,
            Some(Ok(false)) => write!(f, ", DAMAGED: delete it, then `swaprig doctor --fix`")?,
            Some(Err(error)) => write!(f, ", UNREADABLE: {error}")?,
            None => {}
        }
        if let Some(provenance) = &binary.provenance {
            write!(f, "   {provenance}")?;
        }
        write!(f, "   {path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binary::{Quiet, testing};

    fn lines(report: &Report) -> Vec<String> {
        report.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_machine_that_has_everything_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        let bitcoind = testing::program(&dir.path().join("bin/bitcoind"), testing::KNOTS);
        let mut settings = testing::settings(dir.path());
        settings.self_exe = Some(testing::program(
            &dir.path().join("swaprig"),
            "swaprig 0.1.0",
        ));
        let report = examine(&settings, &dir.path().join("runs"));
        let lines = lines(&report);
        assert!(report.is_ready());
        assert_eq!(lines[0], "Ready: worlds can start.");
        assert_eq!(
            lines[1],
            format!(
                "bitcoind        Bitcoin Knots 29.4.3   PATH   {}",
                bitcoind.display()
            )
        );
        assert!(
            lines[2].starts_with("ldk-server      bundled   ")
                && lines[2].contains("LDK_SERVER_EXE not set")
        );
        for (line, name) in lines[3..6]
            .iter()
            .zip(["elementsd", "electrs", "electrs-liquid"])
        {
            assert!(line.starts_with(&format!("{name:<16}bundled   ")), "{line}");
        }
        assert!(
            lines[6].ends_with("; ports, disk, clock ok"),
            "{}",
            lines[6]
        );
        assert_eq!(lines.len(), 7);
        assert!(!dir.path().join("runs").exists());
    }

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let report = examine(&testing::settings(dir.path()), dir.path());
        let text = report.to_string();
        assert!(!report.is_ready());
        assert!(
            text.starts_with(
                "Not ready: no usable bitcoind, ldk-server, elementsd, electrs, electrs-liquid.\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("`swaprig doctor --fix` downloads it"),
            "{text}"
        );
        let offline = Settings {
            offline: true,
            ..testing::settings(dir.path())
        };
        assert!(
            fix(&offline, &Quiet)
                .iter()
                .all(|(_, outcome)| outcome.is_err())
        );
    }

    #[test]
    fn runs_that_were_kept_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        for run in ["1/alice", "41/bob", "not-a-run"] {
            std::fs::create_dir_all(dir.path().join(run)).unwrap();
        }
        std::fs::write(dir.path().join("41/bob/log"), vec![1; 300_000]).unwrap();
        let found = leftovers(dir.path()).unwrap();
        assert_eq!(found.runs, 2);
        assert!((300_000..600_000).contains(&found.bytes), "{}", found.bytes);
        assert_eq!(leftovers(&dir.path().join("not-a-run")), None);
    }

    #[test]
    fn a_place_that_cannot_be_written_to_is_trouble() {
        let error = space(Path::new("/proc/nowhere/runs")).unwrap_err();
        assert!(error.contains("/proc"), "{error}");
    }

    #[test]
    fn sizes_are_rounded_for_people() {
        let shown = [1, 312_400_000, 7_650_000_000].map(|bytes| Size(bytes).to_string());
        assert_eq!(shown, ["1 kB", "312 MB", "7.6 GB"]);
    }
}
