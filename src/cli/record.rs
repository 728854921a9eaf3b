//! What is known of a run while it goes, so that its reports can be written at any moment: at its end, when a signal
//! ends it, when there was nothing to run it with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use swaprig_harness::World;
use swaprig_harness::binary::Passport;
use swaprig_harness::time::Waiting;
use swaprig_scenarios::lang::{Plan, PlannedStep};
use swaprig_scenarios::run::{Failure, Outcome, RunEnded, Verdict, Watch};

use super::exit::complain;
use super::{failure, history, junit};

/// One run of one scenario, as reports tell it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub id: String,
    pub title: String,
    pub path: PathBuf,
    /// Which of several runs of it, from 1.
    pub round: u32,
    pub took: Duration,
    pub attempts: u32,
    pub state: State,
}

/// How it stands with a case.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// It has not begun.
    Waiting,
    Running,
    Passed,
    Skipped(String),
    Interrupted,
    /// A verdict on what was tested.
    Failed(Told),
    /// None, because the world did not come up or broke down.
    Broken(Told),
    Flaky(Told),
    Known {
        issue: String,
        told: Told,
    },
}

/// A failure, in text without colours.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub title: String,
    /// The whole screen.
    pub text: String,
    /// Line and column in the file, from 1.
    pub place: Option<(usize, usize)>,
    /// Logs that hold something.
    pub attachments: Vec<PathBuf>,
}

/// Everything that reports are written from.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub cases: Vec<Case>,
    pub passport: Passport,
    pub seed: u64,
    pub took: Duration,
    /// Whether what is flaky may be.
    pub allow_flaky: bool,
}

/// Keeps [`Run`] up to date and writes it where it is wanted.
#[derive(Debug)]
pub(super) struct Recorder {
    run: Mutex<Run>,
    started: Instant,
    junit: Option<PathBuf>,
    /// Where runs are kept.
    base: PathBuf,
}

impl Recorder {
    /// Nothing of `plans` has been run yet.
    pub(super) fn new(
        plans: &[Arc<Plan>],
        rounds: u32,
        seed: u64,
        allow_flaky: bool,
        junit: Option<PathBuf>,
        base: &Path,
    ) -> Self {
        let cases = (1..=rounds).flat_map(|round| plans.iter().map(move |plan| (round, plan)));
        let cases = cases.map(|(round, plan)| Case {
            id: plan.id().to_owned(),
            title: plan.title.clone(),
            path: plan.source.path().to_owned(),
            round,
            took: Duration::ZERO,
            attempts: 0,
            state: State::Waiting,
        });
        Recorder {
            run: Mutex::new(Run {
                cases: cases.collect(),
                passport: Passport::default(),
                seed,
                took: Duration::ZERO,
                allow_flaky,
            }),
            started: Instant::now(),
            junit,
            base: base.to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which programs are used.
    pub(super) fn uses(&self, passport: &Passport) {
        self.lock().passport = passport.clone();
    }

    /// There is nothing to run with.
    pub(super) fn cannot_run(&self, why: &str) {
        for case in &mut self.lock().cases {
            case.state = State::Broken(Told {
                title: "the environment could not be set up".to_owned(),
                text: why.to_owned(),
                ..Told::default()
            });
        }
    }

    /// What is known now.
    pub(super) fn now(&self) -> Run {
        let mut run = self.lock();
        run.took = self.started.elapsed();
        run.clone()
    }

    /// Writes the report and remembers the outcomes. What cannot be written is said, and the first such error given.
    pub(super) fn write(&self) -> std::io::Result<()> {
        let run = self.now();
        let mut result = Ok(());
        if let Some(path) = &self.junit {
            result = junit::write(path, &run).map_err(|error| {
                std::io::Error::new(
                    error.kind(),
                    format!("could not write {}: {error}", path.display()),
                )
            });
            if let Err(error) = &result {
                complain(error);
            }
        }
        let outcomes = run.cases.iter().map(|case| {
            let settled = matches!(
                case.state,
                State::Passed | State::Skipped(_) | State::Known { .. }
            );
            (case.id.clone(), !settled)
        });
        if let Err(error) = history::remember(&self.base, run.seed, outcomes) {
            complain(&error);
        }
        result
    }

    fn put(&self, plan: &Plan, round: u32, change: impl FnOnce(&mut Case, &Passport)) {
        let mut run = self.lock();
        let Run {
            cases, passport, ..
        } = &mut *run;
        let mut cases = cases.iter_mut();
        if let Some(case) = cases.find(|case| case.round == round && case.id == plan.id()) {
            change(case, passport);
        }
    }
}

/// Tells a [`Recorder`] what it tells `to`.
pub(super) struct Recording {
    pub to: Arc<dyn Watch>,
    pub recorder: Arc<Recorder>,
}

impl Watch for Recording {
    fn started(&self, plan: &Plan, round: u32) {
        self.recorder
            .put(plan, round, |case, _| case.state = State::Running);
        self.to.started(plan, round);
    }

    fn step(&self, plan: &Plan, round: u32, step: &PlannedStep) {
        self.to.step(plan, round, step);
    }

    fn stands(&self, plan: &Plan, round: u32, world: &World) {
        self.to.stands(plan, round, world);
    }

    fn waits(&self, plan: &Plan, round: u32, step: &str, waiting: Waiting<'_>) {
        self.to.waits(plan, round, step, waiting);
    }

    fn ended(&self, plan: &Plan, ended: &RunEnded<'_>) {
        self.to.ended(plan, ended);
    }

    fn finished(&self, plan: &Plan, outcome: &Outcome) {
        let seed = self.recorder.lock().seed;
        self.recorder.put(plan, outcome.round, |case, passport| {
            case.took = outcome.took;
            case.attempts = outcome.attempts;
            let told = |failure: &Failure| told(plan, outcome, failure, passport, seed);
            case.state = match &outcome.verdict {
                Verdict::Passed => State::Passed,
                Verdict::Failed(failure) => State::Failed(told(failure)),
                Verdict::Broken(failure) => State::Broken(told(failure)),
                Verdict::Flaky(failure) => State::Flaky(told(failure)),
                Verdict::KnownFailure { issue, failure } => State::Known {
                    issue: issue.clone(),
                    told: told(failure),
                },
                Verdict::Skipped(why) => State::Skipped(why.clone()),
                Verdict::Interrupted => State::Interrupted,
            };
        });
        self.to.finished(plan, outcome);
    }
}

fn told(plan: &Plan, outcome: &Outcome, failure: &Failure, passport: &Passport, seed: u64) -> Told {
    let files = failure
        .logs
        .iter()
        .flat_map(|(_, logs)| [&logs.stdout, &logs.stderr]);
    let has_content = |path: &&PathBuf| path.metadata().is_ok_and(|meta| meta.len() > 0);
    let screen = failure::Screen {
        word: outcome.verdict.word(),
        plan,
        outcome,
        failure,
        passport,
        seed,
        stands: false,
    };
    Told {
        title: failure.failure.title.clone(),
        text: screen.plain(),
        place: failure.problem.as_ref().map(|problem| problem.position()),
        attachments: files.filter(has_content).cloned().collect(),
    }
}
