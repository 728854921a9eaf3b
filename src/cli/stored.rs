//! The records that are kept from run to run: where they are, how many of them, which is the newest.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use swaprig_report::{Brief, RunLine, Verdict, brief};

use super::{BaseFlag, RUNS, exit::complain};

/// Where the command line keeps its records, unless told otherwise.
const RECORDS: &str = ".swaprig/records";
/// The directory of records in a directory of runs that somebody chose.
const IN_RUNS: &str = "records";
/// How many records of a scenario are kept, whatever came out.
const NEWEST: usize = 10;
/// How many failures are kept beside them, so that many passes do not push a rare failure out.
const FAILURES: usize = 5;
/// How many logs of runs are kept: what a table of flakes counts.
const LOGS: usize = 200;
/// What the log of a run is called before its time.
const LOG_PREFIX: &str = "run-";

/// Where records are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run directories")]
pub(super) struct RecordsFlag {
    /// Where event records are kept [default: .swaprig/records; with --run-dir or SWAPRIG_RUN_DIR, `records` in it]
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
}

impl RecordsFlag {
    pub(super) fn dir(&self, base: &BaseFlag) -> PathBuf {
        let dir = self.records.clone();
        dir.unwrap_or_else(|| records_of(&base.settings().base))
    }
}

/// Where the records of runs in `base` are kept.
pub(super) fn records_of(base: &Path) -> PathBuf {
    match base == Path::new(RUNS) {
        true => RECORDS.into(),
        false => base.join(IN_RUNS),
    }
}

/// The log of the run that goes on. It is made with its first line, so that a run which cannot begin leaves none. What
/// cannot be written is said once, and ends the log.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    state: Mutex<LogState>,
}

#[derive(Debug)]
enum LogState {
    Unmade,
    Open(std::fs::File),
    Ended,
}

impl Log {
    /// The log in `records` of a run that begins at `unix_ms`.
    pub(super) fn new(records: &Path, unix_ms: u64) -> Self {
        let name = format!("{LOG_PREFIX}{unix_ms}-{}.jsonl", std::process::id());
        Log {
            path: records.join(name),
            state: Mutex::new(LogState::Unmade),
        }
    }

    /// Appends `line`, whole.
    pub(super) fn write(&self, line: &RunLine) {
        let Ok(mut text) = serde_json::to_vec(line) else {
            return;
        };
        text.push(b'\n');
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.append(&mut state, &text) {
            let path = self.path.display();
            eprintln!("swaprig: the log of this run, {path}, cannot be written: {error}");
            *state = LogState::Ended;
        }
    }

    fn append(&self, state: &mut LogState, text: &[u8]) -> io::Result<()> {
        if matches!(state, LogState::Unmade) {
            std::fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
            *state = LogState::Open(std::fs::File::create(&self.path)?);
        }
        match state {
            LogState::Open(file) => file.write_all(text),
            LogState::Unmade | LogState::Ended => Ok(()),
        }
    }
}

/// The records of `scenario` in `records`, the newest first.
fn records(records: &Path, scenario: &str) -> io::Result<Vec<PathBuf>> {
    let dir = match std::fs::read_dir(records.join(scenario)) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in dir {
        let path = entry?.path();
        if path.extension().is_some_and(|is| is == "jsonl") {
            found.push((order(&path), path));
        }
    }
    found.sort();
    found.reverse();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The numbers in the name of a record or a log: when, which round, which attempt.
fn order(path: &Path) -> Vec<u64> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let numbers = name.split('-').filter_map(|part| part.parse().ok());
    numbers.collect()
}

/// What the records of `scenario` say, the newest first. A record that cannot be read is said, and passed over.
pub(super) fn briefs(dir: &Path, scenario: &str) -> io::Result<impl Iterator<Item = Brief>> {
    let records = records(dir, scenario)?.into_iter();
    Ok(records.filter_map(|path| match brief(&path) {
        Ok(brief) => Some(brief),
        Err(error) => {
            complain(&error);
            None
        }
    }))
}

/// The scenarios that have records in `dir`.
pub(super) fn known_scenarios(dir: &Path) -> Vec<String> {
    let mut known = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(inner) = open.pop() {
        let mut has_records = false;
        for entry in std::fs::read_dir(&inner).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                has_records |= path.extension().is_some_and(|is| is == "jsonl");
            }
        }
        let id = inner.strip_prefix(dir).unwrap_or(&inner);
        // The logs of runs lie above all scenarios.
        if has_records && !id.as_os_str().is_empty() {
            known.push(id.to_string_lossy().into_owned());
        }
    }
    known.sort();
    known
}

/// Deletes what is too old of the records of `scenarios` and of the logs. A table of flakes counts logs, so that keeping
/// failures longer than passes makes no scenario look worse than it is.
pub(super) fn rotate<'a>(
    dir: &Path,
    scenarios: impl IntoIterator<Item = &'a str>,
) -> io::Result<()> {
    for scenario in scenarios {
        let all = records(dir, scenario)?;
        if all.len() <= NEWEST {
            continue;
        }
        let verdicts = all.iter().map(|path| brief(path).ok().map(|it| it.verdict));
        let verdicts: Vec<Option<Verdict>> = verdicts.collect();
        for (path, _) in all.iter().zip(kept(&verdicts)).filter(|(_, kept)| !kept) {
            std::fs::remove_file(path)?;
            // Its page, if somebody had one made.
            let _ = std::fs::remove_file(path.with_extension("html"));
        }
    }
    let mut logs = logs(dir)?;
    logs.sort_by_cached_key(|path| std::cmp::Reverse(order(path)));
    for log in logs.into_iter().skip(LOGS) {
        std::fs::remove_file(log)?;
    }
    Ok(())
}

fn logs(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_log = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(LOG_PREFIX) && name.ends_with(".jsonl") && path.is_file()
    };
    let entries = std::fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    Ok(paths.filter(is_log).collect())
}

/// Which of the records with these verdicts, the newest first, are kept: the newest, some more failures, and a pass to
/// compare them with.
fn kept(verdicts: &[Option<Verdict>]) -> Vec<bool> {
    let (mut failures, mut passes) = (0, 0);
    let verdicts = verdicts.iter().enumerate();
    let keep = verdicts.map(|(age, verdict)| {
        let is_rare = match verdict {
            Some(Verdict::Failed | Verdict::Broken) => {
                failures += usize::from(age >= NEWEST);
                failures <= FAILURES
            }
            Some(Verdict::Passed) => {
                passes += 1;
                passes == 1
            }
            Some(Verdict::Interrupted | Verdict::Cut) | None => false,
        };
        age < NEWEST || is_rare
    });
    keep.collect()
}

/// What all records take up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub records: usize,
    pub bytes: u64,
}

/// Whether this program gave a file its name: a record, its page, or the log of a run.
fn is_own(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (stem, kind) = name.rsplit_once('.').unwrap_or((&name, ""));
    let (stem, numbers) = match stem.strip_prefix(LOG_PREFIX) {
        Some(rest) if kind == "jsonl" => (rest, 2),
        _ => (stem, 3),
    };
    let parts: Vec<&str> = stem.split('-').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    matches!(kind, "jsonl" | "html") && parts.len() == numbers && parts.iter().all(is_number)
}

/// The files below `dir` that [`is_own`], and the directories on the way, the inner ones first.
fn own_files(dir: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    let mut at = 0;
    while let Some(inner) = dirs.get(at) {
        at += 1;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(inner).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => found.push(entry.path()),
                Ok(kind) if kind.is_file() && is_own(&entry.path()) => files.push(entry.path()),
                _ => {}
            }
        }
        dirs.extend(found);
    }
    dirs.reverse();
    (files, dirs)
}

/// What the records in `dir` take up, with their pages and the logs of runs.
pub(super) fn extent(dir: &Path) -> Extent {
    let (files, _) = own_files(dir);
    let sizes = files.iter().filter_map(|path| path.metadata().ok());
    let is_record = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".jsonl") && !name.starts_with(LOG_PREFIX)
    };
    Extent {
        bytes: sizes.map(|meta| meta.len()).sum(),
        records: files.iter().filter(is_record).count(),
    }
}

/// Deletes all records in `dir`, and nothing else.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    let (files, dirs) = own_files(dir);
    for file in files {
        std::fs::remove_file(file)?;
    }
    for dir in dirs {
        // One that holds something of somebody else stays.
        let _ = std::fs::remove_dir(dir);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_failure_and_a_rare_pass_outlast_what_is_common() {
        use Verdict::{Failed, Interrupted, Passed};
        let kept_of = |verdicts: Vec<Verdict>| {
            let verdicts: Vec<Option<Verdict>> = verdicts.into_iter().map(Some).collect();
            let kept = kept(&verdicts);
            let kept = kept.iter().enumerate().filter(|(_, kept)| **kept);
            kept.map(|(age, _)| age).collect::<Vec<usize>>()
        };
        let newest: Vec<usize> = (0..10).collect();
        assert_eq!(kept_of(vec![Passed; 10]), newest);
        assert_eq!(kept_of(vec![Passed; 30]), newest);
        let mut rare = vec![Passed; 30];
        rare[20] = Failed;
        rare[25] = Interrupted;
        assert_eq!(kept_of(rare), [newest.as_slice(), &[20]].concat());
        let mut broken_since = vec![Failed; 30];
        broken_since[22] = Passed;
        broken_since[23] = Passed;
        let more = [10, 11, 12, 13, 14, 22];
        assert_eq!(kept_of(broken_since), [newest.as_slice(), &more].concat());
    }

    #[test]
    fn names_order_by_time_and_not_by_letters() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["999-1-1", "1000-1-1", "1000-10-1", "1000-2-2", "1000-2-1"];
        for name in names {
            let path = dir.path().join(format!("a#b/{name}.jsonl"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = records(dir.path(), "a#b").unwrap();
        let found: Vec<_> = found.iter().map(|path| path.file_stem().unwrap()).collect();
        let expected = ["1000-10-1", "1000-2-2", "1000-2-1", "1000-1-1", "999-1-1"];
        assert_eq!(found, expected);
        assert!(records(dir.path(), "none").unwrap().is_empty());
        assert_eq!(extent(dir.path()).records, 5);
        // What is not a record stays, whatever directory was named.
        let other = dir.path().join("a#b/thesis.html");
        std::fs::write(&other, "").unwrap();
        std::fs::write(dir.path().join("run-1-2.jsonl"), "").unwrap();
        clear(dir.path()).unwrap();
        assert_eq!(extent(dir.path()), Extent::default());
        assert!(other.is_file() && !dir.path().join("run-1-2.jsonl").exists());
    }
}
