//! The log of one `swaprig run`: what was selected, how each try ended, what came out. It lies beside the records, and says
//! what they cannot: what was skipped or never begun, what is a known failure. It is appended to, so that a run that is
//! killed leaves what was known.

use std::io::BufRead;

use serde::{Deserialize, Serialize};
use swaprig_record::Daemon;

use crate::brief::{Brief, Verdict};

/// The version that is written, and the only one that is read.
pub const RUN_LOG_VERSION: u32 = 1;

/// One line. A reader passes over kinds that it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunLine {
    /// The first line.
    Run(RunBegan),
    /// A try of a scenario has ended.
    Attempt(AttemptEnded),
    /// A scenario has an outcome.
    Case(CaseEnded),
    /// The run is over: how long it took, in milliseconds.
    Over(u64),
}

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunBegan {
    /// [`RUN_LOG_VERSION`].
    pub version: u32,
    /// The version of swaprig.
    pub swaprig: String,
    /// In milliseconds since 1970, UTC.
    pub unix_ms: u64,
    pub seed: u64,
    /// How often each scenario is run.
    pub rounds: u32,
    /// Whether what is flaky may be.
    pub allow_flaky: bool,
    /// Whether what is skipped fails the run.
    pub require_all: bool,
    pub daemons: Vec<Daemon>,
    /// In their order.
    pub cases: Vec<PlannedCase>,
}

/// A scenario that is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedCase {
    pub id: String,
    pub title: String,
    pub path: String,
}

/// A try that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptEnded {
    pub scenario: String,
    pub round: u32,
    pub attempt: u32,
    pub seed: u64,
    pub unix_ms: u64,
    pub verdict: Verdict,
    /// It failed as its file says that it does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    pub took_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_milli: Option<u64>,
    /// Why it did not pass, on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl AttemptEnded {
    /// The try that `brief` tells.
    pub fn of(brief: &Brief, known: bool) -> Self {
        AttemptEnded {
            scenario: brief.scenario.clone(),
            round: brief.round,
            attempt: brief.attempt,
            seed: brief.seed,
            unix_ms: brief.unix_ms,
            verdict: brief.verdict,
            known,
            took_us: brief.took_us,
            load_milli: brief.load_milli,
            failure: brief.first_line(),
        }
    }
}

/// An outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseEnded {
    pub scenario: String,
    pub round: u32,
    /// `passed`, `failed`, `broken`, `flaky`, `known`, `skipped` or `interrupted`.
    pub outcome: String,
    pub took_us: u64,
    pub attempts: u32,
    /// Why it was skipped, or where a known failure is written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What went wrong, on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A log that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct RunLog {
    pub began: RunBegan,
    pub attempts: Vec<AttemptEnded>,
    pub cases: Vec<CaseEnded>,
    /// How long it took, in milliseconds; `None` of a run that was killed.
    pub took_ms: Option<u64>,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RunLogError {
    #[error("could not read the log of a run: {0}")]
    Io(#[from] std::io::Error),
    #[error("the log of a run is damaged in line {line}: {source}")]
    Line {
        line: usize,
        source: serde_json::Error,
    },
    #[error("the log of a run has version {found}; this swaprig reads version {RUN_LOG_VERSION}")]
    Version { found: u64 },
}

/// Whether a file that begins with `line` is the log of a run.
pub fn is_run_log(line: &[u8]) -> bool {
    line.starts_with(b"{\"run\":")
}

/// Reads a log. A last line that was cut short is left out.
///
/// # Errors
/// When it is damaged elsewhere, or of another version.
pub fn read_run_log(source: impl BufRead) -> Result<RunLog, RunLogError> {
    let mut log: Option<RunLog> = None;
    let mut broken: Option<RunLogError> = None;
    for (at, text) in source.lines().enumerate() {
        let text = text?;
        if let Some(error) = broken {
            return Err(error);
        }
        if at == 0 {
            version(&text)?;
        }
        match (serde_json::from_str(&text), &mut log) {
            (Ok(RunLine::Run(began)), None) => {
                log = Some(RunLog {
                    began,
                    attempts: Vec::new(),
                    cases: Vec::new(),
                    took_ms: None,
                });
            }
            (Ok(RunLine::Attempt(attempt)), Some(log)) => log.attempts.push(attempt),
            (Ok(RunLine::Case(case)), Some(log)) => log.cases.push(case),
            (Ok(RunLine::Over(took_ms)), Some(log)) => log.took_ms = Some(took_ms),
            (Ok(_), _) => {}
            (Err(error), Some(_)) if error.to_string().contains("unknown variant") => {}
            (Err(source), _) => {
                broken = Some(RunLogError::Line {
                    line: at + 1,
                    source,
                });
            }
        }
    }
    match (log, broken) {
        (Some(log), _) => Ok(log),
        (None, Some(error)) => Err(error),
        (None, None) => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
    }
}

fn version(text: &str) -> Result<(), RunLogError> {
    let line: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let found = line.and_then(|line| line["run"]["version"].as_u64());
    match found {
        Some(found) if found != u64::from(RUN_LOG_VERSION) => Err(RunLogError::Version { found }),
        _ => Ok(()),
    }
}
