//! What came out of a scenario.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use swaprig_harness::process::LogFiles;

use super::{Sheet, StepFailure};
use crate::lang::Problem;

/// One run of one scenario.
#[derive(Debug)]
pub struct Outcome {
    /// The scenario, or the case of it, by its stable name.
    pub id: String,
    /// The case of the file that it is.
    pub case: Option<String>,
    /// Its file, as it was selected.
    pub path: PathBuf,
    /// Which of several runs of it, from 1.
    pub round: u32,
    /// How many steps it has.
    pub steps_planned: usize,
    /// The steps that were begun and have ended, in the order of their ends, each step inside of another, too; in the last
    /// attempt, where there were several.
    pub steps: Vec<StepRecord>,
    /// How often it was tried.
    pub attempts: u32,
    /// How long it took, from the start of the world to its end.
    pub took: Duration,
    /// The event record of the attempt that decided it.
    pub record: Option<PathBuf>,
    /// The run directory, where it was kept.
    pub dir: Option<PathBuf>,
    /// What came out.
    pub verdict: Verdict,
}

/// A step that has ended.
#[derive(Debug, Clone, Serialize)]
pub struct StepRecord {
    /// The place in the list of the file's steps, from 1, of it or of what it is inside of.
    pub number: usize,
    /// Its place, such as `3`; inside of another step `3.2`.
    pub place: String,
    /// The name of the step.
    pub name: String,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e6)
}

/// What came out of a scenario.
#[derive(Debug)]
pub enum Verdict {
    /// Every step did what it says.
    Passed,
    /// A step did not: a verdict on what was tested.
    Failed(Box<Failure>),
    /// The world could not be set up or broke down: no verdict on what was tested.
    Broken(Box<Failure>),
    /// It failed, and passed when it was tried again: what the first attempt said.
    Flaky(Box<Failure>),
    /// It failed as the file says it does.
    KnownFailure {
        /// Where that is written down, as the file says it.
        issue: String,
        /// What it said.
        failure: Box<Failure>,
    },
    /// It cannot run here, and why.
    Skipped(String),
    /// It was ended from outside before it had an outcome.
    Interrupted,
}

impl Verdict {
    /// One word for it, as reports write it.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::Broken(_) => "broken",
            Verdict::Flaky(_) => "flaky",
            Verdict::KnownFailure { .. } => "known",
            Verdict::Skipped(_) => "skipped",
            Verdict::Interrupted => "interrupted",
        }
    }
}

/// Everything known of a failure, for a report to choose from.
#[derive(Debug)]
pub struct Failure {
    /// The step that failed, by its place in the list of the file's steps; `None` when the world did not come up or down.
    pub step: Option<usize>,
    /// The whole place of it, such as `3` or `3.2`.
    pub place: Option<String>,
    /// What went wrong.
    pub failure: StepFailure,
    /// The same at its place in the file.
    pub problem: Option<Problem>,
    /// Who held what when it was last told exactly.
    pub money: Option<Sheet>,
    /// What the daemons said last, a line each.
    pub last_words: Vec<(String, String)>,
    /// All logs.
    pub logs: Vec<(String, LogFiles)>,
}

/// How many outcomes there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub broken: usize,
    pub flaky: usize,
    pub known: usize,
    pub skipped: usize,
    pub interrupted: usize,
}

impl Tally {
    /// Counts `outcomes`.
    pub fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut tally = Tally::default();
        for outcome in outcomes {
            match outcome.verdict {
                Verdict::Passed => tally.passed += 1,
                Verdict::Failed(_) => tally.failed += 1,
                Verdict::Broken(_) => tally.broken += 1,
                Verdict::Flaky(_) => tally.flaky += 1,
                Verdict::KnownFailure { .. } => tally.known += 1,
                Verdict::Skipped(_) => tally.skipped += 1,
                Verdict::Interrupted => tally.interrupted += 1,
            }
        }
        tally
    }

    /// All of them.
    pub fn total(self) -> usize {
        let judged = self.passed + self.failed + self.broken + self.flaky + self.known;
        judged + self.skipped + self.interrupted
    }
}
