//! Finding an earlier run of the same scenario that passed, among the run directories that are still there.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use swaprig_record::{Event, FILE_NAME, Line};

/// How many earlier runs are looked at.
const LOOKS: usize = 100;

/// What is read of the end of a record. Its last line tells the end of the run, with the last words of each process.
const TAIL: u64 = 1 << 20;

/// The record of the last run before this one that passed. Run directories are numbered: `…/41/lightning/pay` has its
/// predecessors at `…/40/lightning/pay` and so on.
pub(super) fn green(run_dir: &Path) -> Option<PathBuf> {
    let run_dir = run_dir.canonicalize().ok()?;
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u64>().ok();
    let numbered = run_dir
        .ancestors()
        .skip(1)
        .find(|dir| number(dir).is_some())?;
    let (own, within) = (number(numbered)?, run_dir.strip_prefix(numbered).ok()?);
    let all = numbered.parent()?;
    let mut earlier: Vec<u64> = (fs::read_dir(all).ok()?.flatten())
        .filter_map(|entry| number(&entry.path()))
        .filter(|other| *other < own)
        .collect();
    earlier.sort_unstable();
    (earlier.into_iter().rev().take(LOOKS))
        .map(|number| all.join(number.to_string()).join(within).join(FILE_NAME))
        .find(|record| passed(record) == Some(true))
}

/// Whether the run of a record passed, by its last line.
fn passed(record: &Path) -> Option<bool> {
    let mut file = File::open(record).ok()?;
    let start = file.metadata().ok()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut end = Vec::new();
    file.take(TAIL).read_to_end(&mut end).ok()?;
    let line = end
        .split(|byte| *byte == b'\n')
        .rfind(|line| !line.is_empty())?;
    match serde_json::from_slice::<Line>(line).ok()?.event {
        Event::Ended(ended) => Some(ended.verdict == "passed"),
        _ => None,
    }
}
