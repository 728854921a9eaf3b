//! Many scenarios, some of them at once.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use swaprig_harness::World;
use swaprig_harness::binary::{Role, Settings};
use swaprig_harness::run_dir::RunDir;
use swaprig_harness::time::Waiting;
use swaprig_harness::world::Binaries;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::outcome::{Failure, Outcome, Verdict};
use super::scenario::{self, Ran};
use super::telling::Telling;
use super::{FailureKind, Random, StepFailure, StepIn};
use crate::lang::{KnownFailure, Plan, PlannedStep, Problem};

/// What is told while scenarios run. Called from several tasks; it must not block.
pub trait Watch: Send + Sync {
    /// A scenario begins with its world.
    fn started(&self, _plan: &Plan, _round: u32) {}
    /// Its world stands.
    fn stands(&self, _plan: &Plan, _round: u32, _world: &World) {}
    /// A step of it begins.
    fn step(&self, _plan: &Plan, _round: u32, _step: &PlannedStep) {}
    /// A step, by its place, waits for something and has seen something else than before.
    fn waits(&self, _plan: &Plan, _round: u32, _step: &str, _waiting: Waiting<'_>) {}
    /// An attempt has ended. Its world is gone, its directory is still there; whatever is made of it is made now.
    fn ended(&self, _plan: &Plan, _ended: &RunEnded<'_>) {}
    /// It has an outcome.
    fn finished(&self, _plan: &Plan, _outcome: &Outcome) {}
}

/// Tells all of them, in their order.
pub struct Watches(pub Vec<Arc<dyn Watch>>);

impl Watch for Watches {
    fn started(&self, plan: &Plan, round: u32) {
        self.0.iter().for_each(|to| to.started(plan, round));
    }

    fn stands(&self, plan: &Plan, round: u32, world: &World) {
        self.0.iter().for_each(|to| to.stands(plan, round, world));
    }

    fn step(&self, plan: &Plan, round: u32, step: &PlannedStep) {
        self.0.iter().for_each(|to| to.step(plan, round, step));
    }

    fn waits(&self, plan: &Plan, round: u32, step: &str, waiting: Waiting<'_>) {
        let tell = |to: &Arc<dyn Watch>| to.waits(plan, round, step, waiting);
        self.0.iter().for_each(tell);
    }

    fn ended(&self, plan: &Plan, ended: &RunEnded<'_>) {
        self.0.iter().for_each(|to| to.ended(plan, ended));
    }

    fn finished(&self, plan: &Plan, outcome: &Outcome) {
        self.0.iter().for_each(|to| to.finished(plan, outcome));
    }
}

/// An attempt at a scenario that has ended.
#[derive(Debug, Clone, Copy)]
pub struct RunEnded<'a> {
    /// Which of several runs of the scenario, from 1.
    pub round: u32,
    /// Which attempt of this run, from 1.
    pub attempt: u32,
    /// Its event record; `None` when nothing is recorded.
    pub record: Option<&'a Path>,
    /// Its directory, which is deleted after this when the attempt has passed and is not to be kept.
    pub dir: &'a Path,
    /// What came out of it.
    pub verdict: &'a Verdict,
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
    pub async fn unless<T>(&self, work: impl Future<Output = T>) -> Option<T> {
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
    /// How often a scenario that did not pass is tried again. One that passes then is [`Verdict::Flaky`].
    pub retries: u32,
    /// What every deadline and every `within` is multiplied by.
    pub timeout_scale: f64,
    /// What everything random comes from.
    pub seed: u64,
    /// Which programs the worlds use.
    pub binaries: Arc<Binaries>,
    /// Where the cached blocks are.
    pub settings: Settings,
    /// Where event records are written, in a directory for every scenario; `None`: nowhere.
    pub records: Option<PathBuf>,
    /// Who is given the world of a scenario that goes no further, before it is ended.
    pub step_in: Option<Arc<dyn StepIn>>,
}

impl RunSettings {
    /// A time from a scenario file, on this machine.
    pub(super) fn scaled(&self, time: Duration) -> Duration {
        Duration::try_from_secs_f64(time.as_secs_f64() * self.timeout_scale).unwrap_or(time)
    }
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
        let name = if run.rounds > 1 {
            format!("{round}/{}", plan.id())
        } else {
            plan.id().to_owned()
        };
        let (run, watch, interrupt) = (run.clone(), watch.clone(), interrupt.clone());
        let dir = dir.clone();
        tasks.spawn(async move {
            let _place = place;
            watch.started(&plan, round);
            let started = Instant::now();
            let (ran, attempts) = Attempts {
                plan: &plan,
                round,
                run: &run,
                watch: &watch,
                interrupt: &interrupt,
            }
            .run(&dir, &name)
            .await;
            let outcome = Outcome {
                id: plan.id().to_owned(),
                case: plan.case.clone(),
                path: plan.source.path().to_owned(),
                round,
                steps_planned: plan.steps.len(),
                steps: ran.steps,
                attempts,
                took: started.elapsed(),
                record: ran.record,
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

/// A daemon of the plan's world that is not to be had here.
fn lacking(plan: &Plan, run: &RunSettings) -> Option<Role> {
    let needs = plan.world.needs();
    let mut roles = needs.roles();
    roles.find(|role| run.binaries.of(*role).is_none())
}

/// One scenario, until it has passed or been tried often enough.
struct Attempts<'a> {
    plan: &'a Arc<Plan>,
    round: u32,
    run: &'a RunSettings,
    watch: &'a Arc<dyn Watch>,
    interrupt: &'a Interrupt,
}

impl Attempts<'_> {
    /// Gives also how often it was tried.
    async fn run(&self, dir: &RunDir, name: &str) -> (Ran, u32) {
        if let Some(role) = lacking(self.plan, self.run) {
            let verdict = Verdict::Skipped(format!("needs {role}"));
            return (Ran::nowhere(verdict), 0);
        }
        let path = &self.run.settings.environment;
        let missing = |name: &&String| path.on_path(name).is_none();
        if let Some(name) = self.plan.needs.iter().find(missing) {
            let verdict = Verdict::Skipped(format!("needs {name}, which is not on PATH"));
            return (Ran::nowhere(verdict), 0);
        }
        let mut first: Option<(Option<PathBuf>, Box<Failure>)> = None;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut ran = match dir.nested(name) {
                Ok(dir) => self.guarded(attempts, dir).await,
                Err(error) => Ran::nowhere(broken(error.to_string())),
            };
            if let Some(known) = &self.plan.known_failure {
                ran.verdict = known_verdict(self.plan, known, ran.verdict);
                return (ran, attempts);
            }
            match ran.verdict {
                Verdict::Failed(failure) | Verdict::Broken(failure)
                    if attempts <= self.run.retries =>
                {
                    first.get_or_insert((ran.dir, failure));
                }
                Verdict::Passed => {
                    // What the first attempt left says more than what a success left.
                    if let Some((dir, failure)) = first {
                        (ran.dir, ran.verdict) = (dir, Verdict::Flaky(failure));
                    }
                    return (ran, attempts);
                }
                _ => return (ran, attempts),
            }
        }
    }

    /// Runs the scenario in a task of its own, so that a panic in a step is its failure and nobody else's.
    async fn guarded(&self, attempt: u32, dir: RunDir) -> Ran {
        let path = dir.path().to_owned();
        let (plan, run) = (self.plan.clone(), self.run.clone());
        let (round, interrupt) = (self.round, self.interrupt.clone());
        let telling = match Telling::new(&plan, round, attempt, self.watch, &run) {
            Ok(telling) => telling,
            Err(error) => {
                let text = format!(
                    "the event record cannot be made: {error}; choose another place with --records, or do without: --no-record"
                );
                return Ran::nowhere(broken(text));
            }
        };
        let task = tokio::spawn(async move {
            let stream = format!("{} {round} {attempt}", plan.id());
            let random = Random::new(run.seed, &stream);
            scenario::run(&plan, &run, &random, dir, &telling, &interrupt).await
        });
        task.await.unwrap_or_else(|panicked| {
            let panic = panicked.into_panic();
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Ran {
                dir: Some(path),
                ..Ran::nowhere(broken(format!("a step panicked: {text}")))
            }
        })
    }
}

impl Ran {
    fn nowhere(verdict: Verdict) -> Self {
        Ran {
            steps: Vec::new(),
            record: None,
            dir: None,
            verdict,
        }
    }
}

fn broken(title: String) -> Verdict {
    let failure = StepFailure {
        kind: FailureKind::Broken,
        ..StepFailure::refused(title)
    };
    Verdict::Broken(Box::new(without_step(failure, None)))
}

/// What `verdict` means for a scenario that is known to fail.
fn known_verdict(plan: &Plan, known: &KnownFailure, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Failed(failure) | Verdict::Broken(failure)
            if failure.failure.says(&known.matches) =>
        {
            Verdict::KnownFailure {
                issue: known.issue.clone(),
                failure,
            }
        }
        Verdict::Passed => {
            let title = format!("it passed, and is a known failure ({})", known.issue);
            let mut problem = plan.problem(known.span.clone(), title.clone());
            problem
                .label("no longer so")
                .help("remove `known_failure`, and close the issue if this is all of it");
            let failure = without_step(StepFailure::refused(title), Some(problem));
            Verdict::Failed(Box::new(failure))
        }
        other => other,
    }
}

fn without_step(failure: StepFailure, problem: Option<Problem>) -> Failure {
    Failure {
        step: None,
        place: None,
        failure,
        problem,
        money: None,
        last_words: Vec::new(),
        logs: Vec::new(),
    }
}
