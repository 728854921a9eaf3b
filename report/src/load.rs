//! Finding records and logs of runs below directories.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use swaprig_record::{FILE_NAME, ReadError};

use crate::brief::{Brief, Verdict, brief};
use crate::run_log::{RunLog, RunLogError, is_run_log, read_run_log};

/// What was found.
#[derive(Debug, Default)]
pub struct Loaded {
    /// One for each run, however often its record is there, by the time of their beginnings.
    pub briefs: Vec<Brief>,
    /// The logs of runs, by their beginnings.
    pub logs: Vec<RunLog>,
    /// Files that look like records and are none.
    pub troubles: Vec<(PathBuf, Trouble)>,
    /// Runs whose logs are gone, though later ones are there: what is left of them is a choice, no sample.
    pub remnants: Vec<Brief>,
}

/// Why a file was passed over.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Record(#[from] ReadError),
    #[error(transparent)]
    RunLog(#[from] RunLogError),
    #[error("could not read it: {0}")]
    Io(#[from] io::Error),
}

impl Trouble {
    /// Whether the file is something else, and not a record that cannot be read.
    pub fn is_other_file(&self) -> bool {
        let Trouble::Record(error) = self else {
            return false;
        };
        match error {
            ReadError::File { source, .. } => matches!(**source, ReadError::NoRecord),
            error => matches!(error, ReadError::NoRecord),
        }
    }
}

/// Reads what is in `roots`, files and directories of any depth: everything called `*.jsonl`.
///
/// # Errors
/// When a root, or a directory in it, cannot be looked at.
pub fn load<'a>(roots: impl IntoIterator<Item = &'a Path>) -> io::Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut found = Found::default();
    for root in roots {
        let meta = std::fs::metadata(root)?;
        if meta.is_dir() {
            found.directory(root, None, &mut loaded)?;
        } else {
            found.file(root, None, &mut loaded);
        }
    }
    loaded.logs.sort_by_key(|log| log.began.unix_ms);
    loaded.logs.dedup();
    for (brief, logged_from) in found.briefs.into_values() {
        match logged_from {
            Some(from) if brief.unix_ms < from => loaded.remnants.push(brief),
            _ => loaded.briefs.push(brief),
        }
    }
    loaded.briefs.sort_by_key(|brief| brief.unix_ms);
    Ok(loaded)
}

/// What one run is: scenario, round, attempt, seed and beginning.
type Identity = (String, u32, u32, u64, u64);

/// Briefs by what they are, each with the beginning of the oldest log that is kept with it.
#[derive(Default)]
struct Found {
    briefs: BTreeMap<Identity, (Brief, Option<u64>)>,
}

impl Found {
    /// `logged_from`: since when the records around are all told by logs.
    fn directory(
        &mut self,
        dir: &Path,
        logged_from: Option<u64>,
        loaded: &mut Loaded,
    ) -> io::Result<()> {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            // Links are not followed: a loop of them would have no end.
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|is| is == "jsonl") {
                files.push(path);
            }
        }
        files.sort();
        directories.sort();
        let logs_before = loaded.logs.len();
        files.retain(|path| !log(path, loaded));
        let own = loaded.logs[logs_before..].iter();
        let logged_from = own.map(|log| log.began.unix_ms).min().or(logged_from);
        for path in &files {
            self.file(path, logged_from, loaded);
        }
        for path in &directories {
            self.directory(path, logged_from, loaded)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, logged_from: Option<u64>, loaded: &mut Loaded) {
        if log(path, loaded) {
            return;
        }
        match brief(path) {
            Ok(brief) => {
                let (scenario, round, attempt, seed, unix_ms) = brief.identity();
                let key = (scenario.to_owned(), round, attempt, seed, unix_ms);
                // Of two copies the one that is whole, and then the one in a run directory: the logs are beside it.
                let is_better = self.briefs.get(&key).is_none_or(|(known, _)| {
                    let whole = known.verdict == Verdict::Cut || brief.verdict != Verdict::Cut;
                    let has_logs = path.file_name().is_some_and(|name| name == FILE_NAME);
                    whole && (has_logs || known.verdict == Verdict::Cut)
                });
                if is_better {
                    self.briefs.insert(key, (brief, logged_from));
                }
            }
            Err(error) => loaded.troubles.push((path.to_owned(), error.into())),
        }
    }
}

/// Whether the file is the log of a run; then it was read.
fn log(path: &Path, loaded: &mut Loaded) -> bool {
    let is_log = || -> io::Result<bool> {
        let mut start = Vec::new();
        BufReader::new(File::open(path)?.take(16)).read_until(b'\n', &mut start)?;
        Ok(is_run_log(&start))
    };
    match is_log() {
        Ok(true) => {}
        Ok(false) => return false,
        Err(error) => {
            loaded.troubles.push((path.to_owned(), error.into()));
            return true;
        }
    }
    let read = File::open(path).map_err(RunLogError::from);
    match read.and_then(|file| read_run_log(BufReader::new(file))) {
        Ok(log) => loaded.logs.push(log),
        Err(error) => loaded.troubles.push((path.to_owned(), error.into())),
    }
    true
}
