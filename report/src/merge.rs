//! The outcomes of several shards as those of one run.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use swaprig_record::Daemon;

use crate::brief::{Brief, Verdict};
use crate::load::Loaded;
use crate::run_log::{CaseEnded, RunLog};

/// What all shards together brought.
#[derive(Debug, Clone, Serialize)]
pub struct Merged {
    /// Round by round, in each by name.
    pub cases: Vec<MergedCase>,
    /// How many runs there were; 0 where none left a log.
    pub shards: usize,
    /// How long the longest of them took, in milliseconds: they ran beside each other.
    pub took_ms: u64,
    pub seeds: BTreeSet<u64>,
    /// Which programs were used in any of them.
    pub daemons: Vec<Daemon>,
    /// Whether all shards let flaky ones pass.
    pub allow_flaky: bool,
    /// Whether a shard wanted nothing to be skipped.
    pub require_all: bool,
    /// What somebody should know: scenarios that ran in two shards, shards that were killed.
    pub remarks: Vec<String>,
}

/// One scenario in one round.
#[derive(Debug, Clone, Serialize)]
pub struct MergedCase {
    pub scenario: String,
    pub title: String,
    pub path: String,
    pub round: u32,
    pub seed: u64,
    pub attempts: u32,
    pub took_us: u64,
    pub state: CaseState,
    /// The run that tells: of a flaky one the first that failed, else the last. `None` of one without a record.
    pub brief: Option<Brief>,
}

/// What came out of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "why")]
pub enum CaseState {
    Passed,
    /// Why.
    Skipped(String),
    /// Where the failure is written down.
    Known(String),
    /// It failed, and passed when it was tried again.
    Flaky,
    /// Its shard was ended before it began.
    NotBegun,
    Interrupted,
    /// The world broke down, or the run was killed.
    Broken,
    Failed,
}

/// One run of one scenario with all its tries.
struct Execution {
    briefs: Vec<Brief>,
}

impl Execution {
    fn state(&self) -> CaseState {
        let last = self.briefs.last().map(|brief| brief.verdict);
        match last {
            Some(Verdict::Passed) if self.briefs.len() > 1 => CaseState::Flaky,
            Some(Verdict::Passed) => CaseState::Passed,
            Some(Verdict::Interrupted) => CaseState::Interrupted,
            Some(Verdict::Failed) => CaseState::Failed,
            Some(Verdict::Broken | Verdict::Cut) | None => CaseState::Broken,
        }
    }

    fn case(self) -> MergedCase {
        let state = self.state();
        let attempts = u32::try_from(self.briefs.len()).unwrap_or(u32::MAX);
        let took_us = self.briefs.iter().map(|brief| brief.took_us).sum();
        let tells = match state {
            CaseState::Flaky => self.briefs.into_iter().next(),
            _ => self.briefs.into_iter().last(),
        };
        let tells = tells.expect("an execution is made of a first try");
        MergedCase {
            scenario: tells.scenario.clone(),
            title: tells.title.clone(),
            path: tells.path.split('#').next().unwrap_or_default().to_owned(),
            round: tells.round,
            seed: tells.seed,
            attempts,
            took_us,
            state,
            brief: Some(tells),
        }
    }
}

/// Puts together what shards left.
pub fn merge(loaded: Loaded) -> Merged {
    let Loaded { briefs, logs, .. } = loaded;
    let mut remarks = Vec::new();
    let mut cases: BTreeMap<(u32, String, u64), MergedCase> = BTreeMap::new();
    let (seeds, daemons) = programs(&briefs, &logs);
    let records_ms = briefs
        .iter()
        .map(|brief| brief.unix_ms + brief.took_us / 1_000);
    let records_ms = records_ms.max().unwrap_or(0);
    let first_ms = briefs.iter().map(|brief| brief.unix_ms).min().unwrap_or(0);
    for execution in executions(briefs) {
        let case = execution.case();
        if case
            .brief
            .as_ref()
            .is_some_and(|brief| brief.verdict == Verdict::Cut)
        {
            remarks.push(format!(
                "{}: its record has no end: the shard was killed while it ran",
                named(&case)
            ));
        }
        let key = (case.round, case.scenario.clone(), case.seed);
        match cases.remove(&key) {
            Some(other) => {
                remarks.push(format!(
                    "{} ran in two shards with seed {}; the worse outcome counts",
                    named(&case),
                    case.seed
                ));
                let worse = if case.state > other.state {
                    case
                } else {
                    other
                };
                cases.insert(key, worse);
            }
            None => {
                cases.insert(key, case);
            }
        }
    }
    for log in &logs {
        tell(log, &mut cases);
        if log.took_ms.is_none() {
            remarks.push(format!(
                "the shard with seed {} that began at {} was killed: its log has no end",
                log.began.seed, log.began.unix_ms
            ));
        }
    }
    let logged = logs.iter().map(|log| log.took_ms.unwrap_or(0)).max();
    Merged {
        shards: logs.len(),
        took_ms: logged.unwrap_or(records_ms.saturating_sub(first_ms)),
        seeds,
        daemons,
        allow_flaky: !logs.is_empty() && logs.iter().all(|log| log.began.allow_flaky),
        require_all: logs.iter().any(|log| log.began.require_all),
        cases: cases.into_values().collect(),
        remarks,
    }
}

fn named(case: &MergedCase) -> String {
    match case.round {
        1 => case.scenario.clone(),
        round => format!("{} (round {round})", case.scenario),
    }
}

/// Tries that belong together: a first one, and those after it until the next first one.
fn executions(briefs: Vec<Brief>) -> Vec<Execution> {
    let mut sorted: BTreeMap<(u32, String, u64), Vec<Execution>> = BTreeMap::new();
    for brief in briefs {
        let key = (brief.round, brief.scenario.clone(), brief.seed);
        let of_case = sorted.entry(key).or_default();
        match of_case.last_mut() {
            Some(last) if brief.attempt > 1 => last.briefs.push(brief),
            _ => of_case.push(Execution {
                briefs: vec![brief],
            }),
        }
    }
    sorted.into_values().flatten().collect()
}

/// What a log knows better than records, or alone.
fn tell(log: &RunLog, cases: &mut BTreeMap<(u32, String, u64), MergedCase>) {
    let seed = log.began.seed;
    let ended: BTreeMap<(u32, &str), &CaseEnded> = log
        .cases
        .iter()
        .map(|case| ((case.round, case.scenario.as_str()), case))
        .collect();
    for round in 1..=log.began.rounds {
        for planned in &log.began.cases {
            let ended = ended.get(&(round, planned.id.as_str()));
            let key = (round, planned.id.clone(), seed);
            let state = ended.and_then(|ended| logged_state(ended));
            if let Some(case) = cases.get_mut(&key) {
                // A failure in another shard stays one.
                if let (Some(CaseState::Known(issue)), CaseState::Failed | CaseState::Broken) =
                    (&state, &case.state)
                {
                    case.state = CaseState::Known(issue.clone());
                }
                continue;
            }
            cases.insert(
                key,
                MergedCase {
                    scenario: planned.id.clone(),
                    title: planned.title.clone(),
                    path: planned.path.clone(),
                    round,
                    seed,
                    attempts: ended.map_or(0, |ended| ended.attempts),
                    took_us: ended.map_or(0, |ended| ended.took_us),
                    state: state.unwrap_or(CaseState::NotBegun),
                    brief: None,
                },
            );
        }
    }
}

fn logged_state(ended: &CaseEnded) -> Option<CaseState> {
    let why = || ended.why.clone().unwrap_or_default();
    Some(match ended.outcome.as_str() {
        "passed" => CaseState::Passed,
        "skipped" => CaseState::Skipped(why()),
        "known" => CaseState::Known(why()),
        "flaky" => CaseState::Flaky,
        "interrupted" => CaseState::Interrupted,
        "failed" => CaseState::Failed,
        "broken" => CaseState::Broken,
        _ => return None,
    })
}

fn programs(briefs: &[Brief], logs: &[RunLog]) -> (BTreeSet<u64>, Vec<Daemon>) {
    let seeds = briefs.iter().map(|brief| brief.seed);
    let seeds = seeds.chain(logs.iter().map(|log| log.began.seed)).collect();
    let mut daemons: Vec<Daemon> = Vec::new();
    let used = logs.iter().flat_map(|log| &log.began.daemons);
    for daemon in used.chain(briefs.iter().flat_map(|brief| &brief.daemons)) {
        if !daemons.contains(daemon) {
            daemons.push(daemon.clone());
        }
    }
    (seeds, daemons)
}

#[cfg(test)]
mod tests;
