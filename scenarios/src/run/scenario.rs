//! One scenario, from the start of its world to its end.

use std::path::PathBuf;
use std::time::Instant;

use swaprig_harness::process::LogFiles;
use swaprig_harness::run_dir::RunDir;
use swaprig_harness::time::Deadline;
use swaprig_harness::{World, WorldError};

use super::outcome::{Failure, StepRecord, Verdict};
use super::runner::{Interrupt, RunSettings};
use super::{FailureKind, Run, StepFailure};
use crate::lang::{Bindings, Plan, PlannedStep};

/// How many characters of a log line a message shows.
const LINE_SHOWN: usize = 160;

/// What running a scenario brings, beside its name and its duration.
pub(super) struct Ran {
    pub steps: Vec<StepRecord>,
    pub dir: Option<PathBuf>,
    pub verdict: Verdict,
}

/// Runs `plan` in a fresh world in `dir`. The world is gone when this returns.
pub(super) async fn run(
    plan: &Plan,
    settings: RunSettings,
    dir: RunDir,
    begin: &(dyn Fn(&PlannedStep) + Sync),
    interrupt: &Interrupt,
) -> Ran {
    let deadline = Deadline::after(plan.world.deadline);
    let path = dir.path().to_owned();
    let start = World::builder()
        .lightning(plan.world.lightning.clone())
        .proxies(plan.world.proxies.clone())
        .settings(settings.settings)
        .binaries(settings.binaries)
        .run_dir(dir)
        .within(plan.world.deadline)
        .start();
    let stopped = |steps, verdict| Ran {
        steps,
        dir: Some(path.clone()),
        verdict,
    };
    let world = match interrupt.unless(start).await {
        Some(Ok(world)) => world,
        Some(Err(error)) => return stopped(Vec::new(), broken(error)),
        None => return stopped(Vec::new(), Verdict::Interrupted),
    };
    let mut steps = Vec::new();
    match interrupt
        .unless(run_steps(plan, &world, deadline, begin, &mut steps))
        .await
    {
        Some(Ok(())) => match world.finish().await {
            Ok(dir) => Ran {
                steps,
                dir,
                verdict: Verdict::Passed,
            },
            Err(error) => stopped(steps, broken(error)),
        },
        Some(Err((step, failure))) => {
            let verdict = failed(plan, step, failure, &world);
            world.stop().await;
            stopped(steps, verdict)
        }
        None => {
            world.stop().await;
            stopped(steps, Verdict::Interrupted)
        }
    }
}

async fn run_steps<'p>(
    plan: &'p Plan,
    world: &World,
    deadline: Deadline,
    begin: &(dyn Fn(&PlannedStep) + Sync),
    records: &mut Vec<StepRecord>,
) -> Result<(), (&'p PlannedStep, StepFailure)> {
    let mut bindings = Bindings::default();
    for step in &plan.steps {
        begin(step);
        let started = Instant::now();
        let own = step
            .within
            .map_or(deadline, |within| deadline.at_most(within));
        let run = Run {
            world,
            bindings: &bindings,
            deadline: own,
        };
        // A step keeps to its deadline itself and says what it saw last; this ends one that does not.
        let result = own.bound(step.step.run(&run)).await.unwrap_or_else(|| {
            let title = format!(
                "`{}` was not done within {:.1?}",
                step.step.name(),
                started.elapsed()
            );
            Err(StepFailure {
                kind: FailureKind::TimedOut,
                ..StepFailure::refused(title)
            })
        });
        records.push(StepRecord {
            number: step.number,
            name: step.step.name(),
            took: started.elapsed(),
        });
        let value = judge(step, result).map_err(|failure| (step, failure))?;
        if let (Some(name), Some(value)) = (&step.bind, value) {
            bindings.bind(name, value);
        }
    }
    Ok(())
}

/// Whether the step ended as the file says, `fails` included.
fn judge(
    step: &PlannedStep,
    result: Result<Option<crate::lang::Value>, StepFailure>,
) -> Result<Option<crate::lang::Value>, StepFailure> {
    let Some(reason) = &step.fails else {
        return result;
    };
    match result {
        Ok(_) => {
            let title = format!(
                "`{}` succeeded, and must fail with \"{reason}\"",
                step.step.name()
            );
            Err(StepFailure::refused(title).at("fails"))
        }
        Err(failure) if failure.is_reason(reason) => Ok(None),
        Err(failure) if failure.kind == FailureKind::Refused => {
            let title = format!("`{}` failed, but not with \"{reason}\"", step.step.name());
            Err(StepFailure {
                seen: Some(failure.title),
                why: failure.why,
                ..StepFailure::refused(title).at("fails")
            })
        }
        Err(failure) => Err(failure),
    }
}

fn failed(plan: &Plan, step: &PlannedStep, failure: StepFailure, world: &World) -> Verdict {
    // Without another key the caret stands under what the step is about: the value of the key that names it.
    let span = step.value_span(failure.key.unwrap_or(step.step.name()));
    let mut problem = plan.problem(span, failure.title.clone());
    if let Some(seen) = &failure.seen {
        problem.label(format!("last seen: {seen}"));
    }
    let kind = failure.kind;
    let logs = world.logs();
    let failure = Box::new(Failure {
        step: Some(step.number),
        failure,
        problem: Some(problem),
        last_words: last_words(&logs),
        logs,
    });
    match kind {
        FailureKind::Refused | FailureKind::TimedOut => Verdict::Failed(failure),
        FailureKind::Broken => Verdict::Broken(failure),
    }
}

fn broken(error: WorldError) -> Verdict {
    let failure = StepFailure {
        kind: FailureKind::Broken,
        ..StepFailure::refused("the world did not come up or down").why(error.kind.to_string())
    };
    let logs = error.logs;
    Verdict::Broken(Box::new(Failure {
        step: None,
        failure,
        problem: None,
        last_words: last_words(&logs),
        logs,
    }))
}

/// The last line of each process's output, cut to a length that can be read.
fn last_words(logs: &[(String, LogFiles)]) -> Vec<(String, String)> {
    let last = |(name, logs): &(String, LogFiles)| {
        let line = logs.last_line()?;
        let cut: String = line.chars().take(LINE_SHOWN).collect();
        Some((name.clone(), cut))
    };
    logs.iter().filter_map(last).collect()
}
