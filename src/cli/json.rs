//! A run as one JSON object.

use serde_json::{Value, json};
use swaprig_scenarios::run::{Failure, Outcome, Verdict};

use super::run::Report;

/// Raise it when a field changes its meaning or goes.
const VERSION: u32 = 1;

/// The whole run. Times are in seconds.
pub(super) fn report(report: &Report) -> Value {
    json!({
        "version": VERSION,
        "passport": report.passport,
        "seed": report.seed,
        "seconds": report.took.as_secs_f64(),
        "tally": report.tally,
        "kept": report.kept,
        "scenarios": report.outcomes.iter().map(outcome).collect::<Vec<_>>(),
    })
}

fn outcome(outcome: &Outcome) -> Value {
    let detail = match &outcome.verdict {
        Verdict::Passed | Verdict::Interrupted => Value::Null,
        Verdict::Skipped(why) => json!({ "why": why }),
        Verdict::Failed(found) | Verdict::Broken(found) | Verdict::Flaky(found) => failure(found),
        Verdict::KnownFailure {
            issue,
            failure: found,
        } => {
            let mut detail = failure(found);
            detail["issue"] = json!(issue);
            detail
        }
    };
    json!({
        "id": outcome.id,
        "path": outcome.path,
        "case": outcome.case,
        "round": outcome.round,
        "attempts": outcome.attempts,
        "outcome": outcome.verdict.word(),
        "seconds": outcome.took.as_secs_f64(),
        "steps": outcome.steps,
        "steps_planned": outcome.steps_planned,
        "dir": outcome.dir,
        "record": outcome.record,
        "report": super::failure::page(outcome),
        "failure": detail,
    })
}

fn failure(failure: &Failure) -> Value {
    let place = failure.problem.as_ref().map(|problem| {
        let (line, column) = problem.position();
        json!({ "line": line, "column": column })
    });
    json!({
        "step": failure.step,
        "step_place": failure.place,
        "title": failure.failure.title,
        "seen": failure.failure.seen,
        "why": failure.failure.why,
        "money": failure.money.as_ref().map(ToString::to_string),
        "place": place,
    })
}
