//! One scenario, from the start of its world to its end.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use swaprig_harness::process::LogFiles;
use swaprig_harness::run_dir::RunDir;
use swaprig_harness::time::Deadline;
use swaprig_harness::{World, WorldError};

use super::exec::Exec;
use super::oracle::Sheet;
use super::outcome::{Failure, StepRecord, Verdict};
use super::runner::{Interrupt, RunSettings};
use super::step_in::{Reached, Stay};
use super::telling::Telling;
use super::{FailureKind, Random, StepFailure};
use crate::lang::{Plan, PlannedStep};

/// How many characters of a log line a message shows.
const LINE_SHOWN: usize = 160;

/// What running a scenario brings, beside its name and its duration.
pub(super) struct Ran {
    pub steps: Vec<StepRecord>,
    pub record: Option<PathBuf>,
    pub dir: Option<PathBuf>,
    pub verdict: Verdict,
}

/// Runs `plan` in a fresh world in `dir`, and tells about it. The world is gone when this returns.
pub(super) async fn run(
    plan: &Plan,
    settings: &RunSettings,
    random: &Random,
    dir: RunDir,
    telling: &Telling,
    interrupt: &Interrupt,
) -> Ran {
    let started = Instant::now();
    telling.began(settings);
    let path = dir.path().to_owned();
    let Attempt {
        steps,
        passed,
        verdict,
    } = attempt(plan, settings, random, dir, telling, interrupt).await;
    telling.ended(started.elapsed(), &verdict, &path);
    let dir = match passed {
        Some(dir) => dir.succeed(),
        None => Some(path),
    };
    Ran {
        steps,
        record: telling.record.clone(),
        dir,
        verdict,
    }
}

/// What came of a scenario whose world is gone.
struct Attempt {
    steps: Vec<StepRecord>,
    /// Its directory, which nobody needs any more.
    passed: Option<RunDir>,
    verdict: Verdict,
}

impl Attempt {
    fn stopped(steps: Vec<StepRecord>, verdict: Verdict) -> Self {
        Attempt {
            steps,
            passed: None,
            verdict,
        }
    }
}

async fn attempt(
    plan: &Plan,
    settings: &RunSettings,
    random: &Random,
    dir: RunDir,
    telling: &Telling,
    interrupt: &Interrupt,
) -> Attempt {
    let limit = settings.scaled(plan.world.deadline);
    let deadline = Deadline::after(limit);
    let servers = plan.world.servers.iter().cloned();
    let world = servers.fold(World::builder(), |world, server| world.server(server));
    let own = plan.world.books.iter();
    let own = own.filter_map(|books| Some((&books.server, books.lightning.as_ref()?)));
    let start = own
        .fold(world, |world, (server, node)| world.node_of(server, node))
        .lightning(plan.world.lightning.clone())
        .parts(plan.world.liquid.clone(), plan.world.index.clone())
        .proxies(plan.world.proxies.clone())
        .settings(settings.settings.clone())
        .binaries(settings.binaries.clone())
        .run_dir(dir)
        .recorder(telling.recorder.clone())
        .within(limit)
        .start();
    let world = match interrupt.unless(start).await {
        Some(Ok(world)) => world,
        Some(Err(error)) => return Attempt::stopped(Vec::new(), broken(error)),
        None => return Attempt::stopped(Vec::new(), Verdict::Interrupted),
    };
    telling.stands(&world);
    let records = Mutex::default();
    let exec = Exec::new(&world, plan, settings, random, telling, &records);
    let (verdict, stop) = tokio::select! {
        biased;
        stop = exec.gate.reached() => (Verdict::Interrupted, Some(stop)),
        ended = interrupt.unless(exec.list(&plan.steps, deadline)) => {
            let verdict = match ended {
                Some(Ok(())) => Verdict::Passed,
                Some(Err((step, failure))) => failed(step, failure, exec.money(), &world),
                None => Verdict::Interrupted,
            };
            (verdict, None)
        }
    };
    let steps = std::mem::take(&mut *records.lock().unwrap_or_else(PoisonError::into_inner));
    let reached = match (&verdict, stop) {
        (_, Some(stop)) => Some(Reached::Stop(stop)),
        (Verdict::Interrupted, None) => None,
        (Verdict::Passed, None) => Some(Reached::End),
        (verdict, None) => Some(Reached::Failure(verdict)),
    };
    if let (Some(step_in), Some(reached)) = (&settings.step_in, reached) {
        let stay = Stay {
            world: &world,
            plan,
            bindings: &exec.bindings(),
            steps: &steps,
            reached,
        };
        interrupt.unless(step_in.stay(stay)).await;
    }
    if stop.is_none() && !matches!(verdict, Verdict::Passed) {
        world.stop().await;
        return Attempt::stopped(steps, verdict);
    }
    match world.end().await {
        Ok(dir) => Attempt {
            steps,
            passed: Some(dir),
            verdict,
        },
        Err(error) => Attempt::stopped(steps, broken(error)),
    }
}

fn failed(
    step: &PlannedStep,
    failure: StepFailure,
    money: Option<Sheet>,
    world: &World,
) -> Verdict {
    // Without another key the caret stands under what the step is about: the value of the key that names it.
    let key = failure.key.unwrap_or(step.name());
    let mut problem = step.problem(key, failure.title.clone());
    if let Some(seen) = &failure.seen {
        problem.label(format!("last seen: {seen}"));
    }
    let kind = failure.kind;
    let logs = world.logs();
    let failure = Box::new(Failure {
        step: Some(step.number),
        place: Some(step.place.clone()),
        failure,
        problem: Some(problem),
        money,
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
        place: None,
        failure,
        problem: None,
        money: None,
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
