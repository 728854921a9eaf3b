//! Many scenarios, some of them at once.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use swaprig_harness::binary::Settings;
use swaprig_harness::run_dir::RunDir;
use swaprig_harness::world::Binaries;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::outcome::{Failure, Outcome, Verdict};
use super::scenario::{self, Ran};
use super::{FailureKind, StepFailure};
use crate::lang::{Plan, PlannedStep};

/// What is told while scenarios run. Called from several tasks; it must not block.
pub trait Watch: Send + Sync {
    /// A scenario begins with its world.
    fn started(&self, plan: &Plan, round: u32);
    /// A step of it begins.
    fn step(&self, plan: &Plan, round: u32, step: &PlannedStep);
    /// It has an outcome.
    fn finished(&self, plan: &Plan, outcome: &Outcome);
}

/// Ends everything that runs, early and in order.
#[derive(Debug, Clone)]
pub struct Interrupt {
    raised: watch::Receiver<bool>,
}

impl Interrupt {
    /// An interrupt, and what raises it when `true` is sent.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, raised) = watch::channel(false);
        (sender, Interrupt { raised })
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        *self.raised.borrow()
    }

    /// `work`, or `None` when the interrupt comes first; `work` is dropped then.
    pub(super) async fn unless<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut raised = self.raised.clone();
        let interrupted = async move {
            if raised.wait_for(|raised| *raised).await.is_err() {
                // Nobody is left who could raise it.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = interrupted => None,
            done = work => Some(done),
        }
    }
}

/// How to run.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// How many worlds at once.
    pub jobs: NonZeroUsize,
    /// How often each scenario.
    pub rounds: u32,
    /// Which programs the worlds use.
    pub binaries: Arc<Binaries>,
    /// Where the cached blocks are.
    pub settings: Settings,
}

/// Runs `plans`, each in a world and a directory of its own below `dir`; the outcomes are in the order of the plans,
/// round by round. After an interrupt the rest is not begun.
pub async fn run_all(
    plans: Vec<Arc<Plan>>,
    run: RunSettings,
    dir: &RunDir,
    watch: Arc<dyn Watch>,
    interrupt: Interrupt,
) -> Vec<Outcome> {
    let places = Arc::new(Semaphore::new(run.jobs.get()));
    let mut tasks = JoinSet::new();
    let rounds =
        (1..=run.rounds).flat_map(|round| plans.iter().map(move |plan| (round, plan.clone())));
    let mut outcomes = Vec::new();
    for (index, (round, plan)) in rounds.enumerate() {
        let place = interrupt.unless(places.clone().acquire_owned()).await;
        let Some(Ok(place)) = place else { break };
        let nested = dir.nested(&if run.rounds > 1 {
            format!("{round}/{}", plan.id())
        } else {
            plan.id().to_owned()
        });
        let (run, watch, interrupt) = (run.clone(), watch.clone(), interrupt.clone());
        tasks.spawn(async move {
            let _place = place;
            watch.started(&plan, round);
            let started = Instant::now();
            let ran = match nested {
                Ok(dir) if lacks_lightning(&plan, &run) => {
                    dir.succeed();
                    Ran {
                        steps: Vec::new(),
                        dir: None,
                        verdict: Verdict::Skipped("needs ldk-server".to_owned()),
                    }
                }
                Ok(dir) => guarded(plan.clone(), round, run, dir, watch.clone(), interrupt).await,
                Err(error) => {
                    let failure = StepFailure {
                        kind: FailureKind::Broken,
                        ..StepFailure::refused(error.to_string())
                    };
                    Ran {
                        steps: Vec::new(),
                        dir: None,
                        verdict: without_step(failure),
                    }
                }
            };
            let outcome = Outcome {
                id: plan.id().to_owned(),
                case: plan.case.clone(),
                path: plan.source.path().to_owned(),
                round,
                steps_planned: plan.steps.len(),
                steps: ran.steps,
                took: started.elapsed(),
                dir: ran.dir,
                verdict: ran.verdict,
            };
            watch.finished(&plan, &outcome);
            (index, outcome)
        });
    }
    while let Some(joined) = tasks.join_next().await {
        outcomes.push(
            joined.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic())),
        );
    }
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn lacks_lightning(plan: &Plan, run: &RunSettings) -> bool {
    !plan.world.lightning.is_empty() && run.binaries.ldk_server.is_none()
}

/// Runs one scenario in a task of its own, so that a panic in a step is its failure and nobody else's.
async fn guarded(
    plan: Arc<Plan>,
    round: u32,
    run: RunSettings,
    dir: RunDir,
    watch: Arc<dyn Watch>,
    interrupt: Interrupt,
) -> Ran {
    let path = dir.path().to_owned();
    let task = tokio::spawn(async move {
        let begin = |step: &PlannedStep| watch.step(&plan, round, step);
        scenario::run(&plan, run, dir, &begin, &interrupt).await
    });
    task.await.unwrap_or_else(|panicked| {
        let panic = panicked.into_panic();
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let title = format!("a step panicked: {text}");
        let failure = StepFailure {
            kind: FailureKind::Broken,
            ..StepFailure::refused(title)
        };
        Ran {
            steps: Vec::new(),
            dir: Some(path),
            verdict: without_step(failure),
        }
    })
}

fn without_step(failure: StepFailure) -> Verdict {
    let (last_words, logs) = (Vec::new(), Vec::new());
    Verdict::Broken(Box::new(Failure {
        step: None,
        place: None,
        failure,
        problem: None,
        last_words,
        logs,
    }))
}
