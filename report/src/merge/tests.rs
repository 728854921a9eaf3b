//! Shards on disk, and the one result they must give.

use std::path::Path;

use super::*;
use crate::load::load;
use crate::run_log::{AttemptEnded, PlannedCase, RunBegan, RunLine};
use crate::testing::Record;

const BEGAN_MS: u64 = 1_767_225_600_000;

/// A record of a scenario's try, in the place where runs put it.
fn record(shard: &Path, id: &str, attempt: u32, end: fn(&Record) -> Record) -> Record {
    let mut record = Record::new(id);
    record.began.attempt = attempt;
    record.began.unix_ms = BEGAN_MS + u64::from(attempt);
    record.step("1", "mine").done();
    let record = end(&record);
    record.write(&shard.join(format!("{id}/{}-1-{attempt}.jsonl", record.began.unix_ms)));
    record
}

fn passed(record: &Record) -> Record {
    record.passed()
}

fn failed(record: &Record) -> Record {
    record.failed("boom")
}

fn cut(record: &Record) -> Record {
    record.clone()
}

fn log(shard: &Path, ids: &[&str], lines: &[RunLine]) {
    let planned = |id: &&str| PlannedCase {
        id: (*id).to_owned(),
        title: format!("Title of {id}"),
        path: format!("{id}.scenario.toml"),
    };
    let began = RunLine::Run(RunBegan {
        version: crate::RUN_LOG_VERSION,
        swaprig: "0.1.0".to_owned(),
        unix_ms: BEGAN_MS,
        seed: 7,
        rounds: 1,
        allow_flaky: false,
        require_all: false,
        daemons: Vec::new(),
        cases: ids.iter().map(planned).collect(),
    });
    let lines = std::iter::once(&began).chain(lines);
    let text: String = lines
        .map(|line| serde_json::to_string(line).unwrap() + "\n")
        .collect();
    std::fs::create_dir_all(shard).unwrap();
    std::fs::write(shard.join("run-1-2.jsonl"), text).unwrap();
}

fn case(id: &str, outcome: &str, why: Option<&str>) -> RunLine {
    RunLine::Case(CaseEnded {
        scenario: id.to_owned(),
        round: 1,
        outcome: outcome.to_owned(),
        took_us: 5,
        attempts: 1,
        why: why.map(str::to_owned),
        failure: None,
    })
}

fn states(merged: &Merged) -> Vec<(&str, CaseState)> {
    let cases = merged.cases.iter();
    cases
        .map(|case| (case.scenario.as_str(), case.state.clone()))
        .collect()
}

#[test]
fn records_alone_make_one_result() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (dir.path().join("1"), dir.path().join("deep/er/2"));
    record(&one, "a", 1, passed);
    let failing = record(&one, "b#x", 1, failed);
    // A copy of a record, as a kept run directory has one, is no second run.
    failing.write(&dir.path().join("runs/1/b#x/record.jsonl"));
    record(&other, "c", 1, failed);
    record(&other, "c", 2, passed);
    record(&other, "d", 1, cut);
    std::fs::write(dir.path().join("other.jsonl"), "{\"x\":1}\n").unwrap();
    let loaded = load([dir.path()]).unwrap();
    assert_eq!(loaded.troubles.len(), 1);
    assert!(loaded.troubles[0].1.is_other_file());
    let merged = merge(loaded);
    let expected = [
        ("a", CaseState::Passed),
        ("b#x", CaseState::Failed),
        ("c", CaseState::Flaky),
        ("d", CaseState::Broken),
    ];
    assert_eq!(states(&merged), expected);
    assert_eq!(merged.cases[2].attempts, 2);
    assert_eq!(
        merged.cases[2].brief.as_ref().map(|brief| brief.attempt),
        Some(1)
    );
    assert_eq!(merged.remarks.len(), 1, "{:?}", merged.remarks);
    assert!(merged.remarks[0].contains("d: its record has no end"));
}

#[test]
fn a_scenario_that_ran_in_two_shards_counts_once_and_with_its_worse_outcome() {
    let dir = tempfile::tempdir().unwrap();
    for (shard, end) in [
        ("1", passed as fn(&Record) -> Record),
        ("2", failed),
        ("3", passed),
    ] {
        let mut again = Record::new("a");
        again.began.unix_ms += shard.parse::<u64>().unwrap();
        end(&again).write(&dir.path().join(shard).join("a.jsonl"));
    }
    let merged = merge(load([dir.path()]).unwrap());
    assert_eq!(states(&merged), [("a", CaseState::Failed)]);
    assert_eq!(merged.remarks.len(), 2);
    assert!(merged.remarks[0].contains("ran in two shards with seed 7"));
    // With another seed it is another run.
    let mut other = Record::new("a");
    other.began.seed = 8;
    other.passed().write(&dir.path().join("4/a.jsonl"));
    let merged = merge(load([dir.path()]).unwrap());
    let expected = [("a", CaseState::Failed), ("a", CaseState::Passed)];
    assert_eq!(states(&merged), expected);
}

#[test]
fn logs_tell_what_records_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let shard = dir.path().join("1");
    record(&shard, "known", 1, failed);
    record(&shard, "fine", 1, passed);
    let lines = [
        case("fine", "passed", None),
        case("known", "known", Some("issue 7")),
        case("skipped", "skipped", Some("needs elementsd")),
        RunLine::Over(1_500),
    ];
    log(&shard, &["fine", "known", "skipped"], &lines);
    let merged = merge(load([dir.path()]).unwrap());
    let expected = [
        ("fine", CaseState::Passed),
        ("known", CaseState::Known("issue 7".to_owned())),
        ("skipped", CaseState::Skipped("needs elementsd".to_owned())),
    ];
    assert_eq!(states(&merged), expected);
    assert_eq!((merged.shards, merged.took_ms), (1, 1_500));
    assert!(merged.remarks.is_empty());
    // A killed shard: one scenario in the middle, one never begun.
    record(&dir.path().join("2"), "cut", 1, cut);
    log(&dir.path().join("2"), &["cut", "never"], &[]);
    let merged = merge(load([dir.path()]).unwrap());
    let told = states(&merged);
    assert!(told.contains(&("cut", CaseState::Broken)), "{told:?}");
    assert!(told.contains(&("never", CaseState::NotBegun)), "{told:?}");
    assert_eq!(merged.remarks.len(), 2, "{:?}", merged.remarks);
}

#[test]
fn what_is_left_of_runs_without_logs_is_no_sample() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = Record::new("a");
    old.began.unix_ms = BEGAN_MS - 1;
    old.failed("boom").write(&dir.path().join("a/old.jsonl"));
    let newer = record(dir.path(), "a", 1, passed);
    let attempt = |known| {
        let brief = Brief::of(Path::new("x"), &newer.contents());
        RunLine::Attempt(AttemptEnded::of(&brief, known))
    };
    log(dir.path(), &["a"], &[attempt(false)]);
    let loaded = load([dir.path()]).unwrap();
    assert_eq!((loaded.briefs.len(), loaded.remnants.len()), (1, 1));
    let table = crate::flakes(&loaded.attempts());
    assert_eq!((table[0].runs, table[0].failures), (1, 0));
    // Nor is a failure that is known.
    log(dir.path(), &["a"], &[attempt(true)]);
    assert!(crate::flakes(&load([dir.path()]).unwrap().attempts()).is_empty());
}

#[test]
fn bad_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load([dir.path().join("none").as_path()]).is_err());
    let mut newer = Record::new("a");
    newer.began.version += 1;
    newer.passed().write(&dir.path().join("newer.jsonl"));
    std::fs::write(dir.path().join("run.jsonl"), "{\"run\":{\"version\":9}}\n").unwrap();
    let loaded = load([dir.path()]).unwrap();
    let told: Vec<String> = loaded
        .troubles
        .iter()
        .map(|(_, why)| why.to_string())
        .collect();
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|why| why.contains("version")), "{told:?}");
    assert!(!loaded.troubles.iter().any(|(_, why)| why.is_other_file()));
}
