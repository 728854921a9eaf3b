//! Finding an earlier run of the same scenario that passed, among the records that are still there.

use std::path::{Path, PathBuf};

use swaprig_record::FILE_NAME;

use crate::{Brief, Verdict, brief};

/// How many earlier runs are looked at.
const LOOKS: usize = 30;

/// The record of the last run before the one of `record` that passed. Records are kept beside each other, by scenario, with
/// numbers that grow in their names; and numbered directories of runs, such as `…/41/lightning/pay`, have their predecessors
/// at `…/40/lightning/pay` and so on.
pub(super) fn green(record: &Path, run_dir: &Path) -> Option<PathBuf> {
    let own = brief(record).ok()?;
    let is_green = |other: &Brief| {
        let is_earlier = other.unix_ms < own.unix_ms || other.record.ends_with(FILE_NAME);
        other.verdict == Verdict::Passed && other.scenario == own.scenario && is_earlier
    };
    let candidates = siblings(record).into_iter().chain(predecessors(run_dir));
    (candidates.filter_map(|path| brief(&path).ok()))
        .find(is_green)
        .map(|brief| brief.record)
}

/// Other records in the same directory, those with the highest numbers first.
fn siblings(record: &Path) -> Vec<PathBuf> {
    let entries = record.parent().and_then(|dir| dir.read_dir().ok());
    let mut found: Vec<PathBuf> = (entries.into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path != record && path.extension().is_some_and(|is| is == "jsonl"))
        .collect();
    // Their first number is the time in milliseconds, which has had as many digits since 2001.
    found.sort();
    found.into_iter().rev().take(LOOKS).collect()
}

/// The records of the same scenario in directories of runs with lower numbers, the highest first.
fn predecessors(run_dir: &Path) -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u64>().ok();
    let found = || {
        let run_dir = run_dir.canonicalize().ok()?;
        let numbered = (run_dir.ancestors().skip(1)).find(|dir| number(dir).is_some())?;
        let (own, within) = (number(numbered)?, run_dir.strip_prefix(numbered).ok()?);
        let all = numbered.parent()?;
        let mut earlier: Vec<u64> = (all.read_dir().ok()?.flatten())
            .filter_map(|entry| number(&entry.path()))
            .filter(|other| *other < own)
            .collect();
        earlier.sort_unstable();
        let record = |number: u64| all.join(number.to_string()).join(within).join(FILE_NAME);
        Some(earlier.into_iter().rev().take(LOOKS).map(record).collect())
    };
    found().unwrap_or_default()
}
