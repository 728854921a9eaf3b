//! What is known of a run while it goes, so that its reports can be written at any moment: at its end, when a signal
//! ends it, when there was nothing to run it with.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use swaprig_harness::binary::Passport;
use swaprig_harness::time::unix_ms;
use swaprig_report::{
    Attempt, AttemptEnded, CaseEnded, PlannedCase, RUN_LOG_VERSION, RunBegan, RunLine, brief,
};
use swaprig_scenarios::lang::Plan;
use swaprig_scenarios::run::{Failure, Outcome, RunEnded, Verdict, Watch};

use super::exit::complain;
use super::pages::{Pages, index_of, link};
use super::stored::Log;
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
    /// What tells it as a whole, for whoever has to look at it.
    pub page: Option<PathBuf>,
}

impl Case {
    /// Its id, with its round if that is not the first.
    pub(super) fn name(&self) -> String {
        match self.round {
            0 | 1 => self.id.clone(),
            round => format!("{} (round {round})", self.id),
        }
    }
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
    /// The step that failed, by its place.
    pub step: Option<String>,
    /// Line and column in the file, from 1.
    pub place: Option<(usize, usize)>,
    /// Logs that hold something.
    pub attachments: Vec<PathBuf>,
}

/// Which programs were used, as reports tell it.
#[derive(Debug, Clone, Default)]
pub(super) struct Programs {
    /// All on one line.
    pub text: String,
    /// Names and values, such as `bitcoind.version` and `29.4.3`.
    pub properties: Vec<(String, String)>,
}

impl From<&Passport> for Programs {
    fn from(passport: &Passport) -> Self {
        let properties = passport.stamps().iter().flat_map(|stamp| {
            let path = stamp.path.display().to_string();
            [
                (format!("{}.version", stamp.role), stamp.version.clone()),
                (format!("{}.path", stamp.role), path),
            ]
        });
        Programs {
            text: passport.to_string(),
            properties: properties.collect(),
        }
    }
}

/// Everything that reports are written from.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub cases: Vec<Case>,
    pub programs: Programs,
    /// Where everything random came from; of several runs, each one's.
    pub seed: String,
    pub took: Duration,
    /// Whether what is flaky may be.
    pub allow_flaky: bool,
}

/// What is to be written about a run, and where.
#[derive(Debug)]
pub(super) struct Wanted {
    pub junit: Option<PathBuf>,
    pub pages: Pages,
    /// Where runs are kept.
    pub base: PathBuf,
    /// The log of the run, beside its records.
    pub log: Option<Log>,
}

/// Keeps [`Run`] up to date and writes it where it is wanted.
#[derive(Debug)]
pub(super) struct Recorder {
    run: Mutex<Run>,
    /// All tries, for a table of flakes.
    attempts: Mutex<Vec<Attempt>>,
    passport: OnceLock<Passport>,
    seed: u64,
    started: Instant,
    began_unix_ms: u64,
    wanted: Wanted,
}

impl Recorder {
    /// Nothing of `plans` has been run yet.
    pub(super) fn new(
        plans: &[Arc<Plan>],
        rounds: u32,
        seed: u64,
        allow_flaky: bool,
        wanted: Wanted,
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
            page: None,
        });
        Recorder {
            run: Mutex::new(Run {
                cases: cases.collect(),
                programs: Programs::default(),
                seed: seed.to_string(),
                took: Duration::ZERO,
                allow_flaky,
            }),
            attempts: Mutex::default(),
            passport: OnceLock::new(),
            seed,
            started: Instant::now(),
            began_unix_ms: unix_ms(),
            wanted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, line: &RunLine) {
        if let Some(log) = &self.wanted.log {
            log.write(line);
        }
    }

    /// The run begins, with these programs.
    pub(super) fn begins(
        &self,
        passport: &Passport,
        plans: &[Arc<Plan>],
        rounds: u32,
        require_all: bool,
    ) {
        let _ = self.passport.set(passport.clone());
        let allow_flaky = {
            let mut run = self.lock();
            run.programs = passport.into();
            run.allow_flaky
        };
        let daemons = passport
            .stamps()
            .iter()
            .map(|stamp| swaprig_record::Daemon {
                role: stamp.role.to_string(),
                kind: stamp.kind.to_string(),
                version: stamp.version.clone(),
            });
        let cases = plans.iter().map(|plan| PlannedCase {
            id: plan.id().to_owned(),
            title: plan.title.clone(),
            path: plan.source.path().display().to_string(),
        });
        self.log(&RunLine::Run(RunBegan {
            version: RUN_LOG_VERSION,
            swaprig: env!("CARGO_PKG_VERSION").to_owned(),
            unix_ms: self.began_unix_ms,
            seed: self.seed,
            rounds,
            allow_flaky,
            require_all,
            daemons: daemons.collect(),
            cases: cases.collect(),
        }));
    }

    /// The run is over; `totals` is its summary.
    pub(super) fn over(&self, totals: &str) {
        let took = self.started.elapsed().as_millis();
        self.log(&RunLine::Over(u64::try_from(took).unwrap_or(u64::MAX)));
        self.write_index(totals);
    }

    fn write_index(&self, totals: &str) {
        let pages = &self.wanted.pages;
        pages.write_index(|html| {
            index_of(&self.now(), totals, |case| {
                let page = pages.of(&case.id, case.round)?;
                Some(link(html, &page))
            })
        });
    }

    /// All tries so far.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.all_attempts().clone()
    }

    fn all_attempts(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.write_index("the environment could not be set up");
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
        let junit = self.wanted.junit.as_deref();
        let result = junit.map_or(Ok(()), |path| junit::write_said(path, &run));
        let outcomes = run.cases.iter().map(|case| {
            let settled = matches!(
                case.state,
                State::Passed | State::Skipped(_) | State::Known { .. }
            );
            (case.id.clone(), !settled)
        });
        if let Err(error) = history::remember(&self.wanted.base, self.seed, outcomes) {
            complain(&error);
        }
        result
    }

    /// An attempt has ended, and its directory is still there.
    fn attempt_ended(&self, plan: &Plan, ended: &RunEnded<'_>) {
        self.wanted.pages.ended(plan, ended);
        let Some(record) = ended.record else { return };
        match brief(record) {
            Ok(brief) => {
                let attempt = AttemptEnded::of(&brief, is_known(plan, ended.verdict));
                self.log(&RunLine::Attempt(attempt.clone()));
                self.all_attempts().push(attempt);
            }
            Err(error) => complain(&error),
        }
    }

    fn settled(&self, plan: &Plan, outcome: &Outcome) {
        let unset = Passport::default();
        let passport = self.passport.get().unwrap_or(&unset);
        let told = |failure: &Failure| told(plan, outcome, failure, passport, self.seed);
        let state = match &outcome.verdict {
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
        self.log(&RunLine::Case(case_ended(outcome, &state)));
        if let Some(attempt) = self.untold(plan, outcome) {
            self.all_attempts().push(attempt);
        }
        let page =
            failure::page(outcome).or_else(|| self.wanted.pages.of(&outcome.id, outcome.round));
        self.put(plan, outcome.round, |case| {
            case.took = outcome.took;
            case.attempts = outcome.attempts;
            case.page = page.filter(|_| !matches!(state, State::Passed));
            case.state = state;
        });
    }

    /// The try that brought `outcome`, where there is no record that tells of it.
    fn untold(&self, plan: &Plan, outcome: &Outcome) -> Option<Attempt> {
        if outcome.record.is_some() {
            return None;
        }
        let (verdict, failure) = match &outcome.verdict {
            Verdict::Passed => (swaprig_report::Verdict::Passed, None),
            Verdict::Failed(failure) | Verdict::Flaky(failure) => {
                (swaprig_report::Verdict::Failed, Some(failure))
            }
            Verdict::Broken(failure) => (swaprig_report::Verdict::Broken, Some(failure)),
            Verdict::KnownFailure { .. } | Verdict::Skipped(_) | Verdict::Interrupted => {
                return None;
            }
        };
        Some(Attempt {
            scenario: plan.id().to_owned(),
            round: outcome.round,
            attempt: outcome.attempts,
            seed: self.seed,
            unix_ms: unix_ms().saturating_sub(millis(outcome.took)),
            verdict,
            known: false,
            took_us: micros(outcome.took),
            load_milli: None,
            failure: failure.map(|failure| failure.failure.title.clone()),
        })
    }

    fn put(&self, plan: &Plan, round: u32, change: impl FnOnce(&mut Case)) {
        let mut run = self.lock();
        let mut cases = run.cases.iter_mut();
        if let Some(case) = cases.find(|case| case.round == round && case.id == plan.id()) {
            change(case);
        }
    }
}

/// Whether it failed as its file says that it does.
fn is_known(plan: &Plan, verdict: &Verdict) -> bool {
    let (Verdict::Failed(failure) | Verdict::Broken(failure)) = verdict else {
        return false;
    };
    let known = plan.known_failure.as_ref();
    known.is_some_and(|known| failure.failure.says(&known.matches))
}

fn case_ended(outcome: &Outcome, state: &State) -> CaseEnded {
    let why = match state {
        State::Skipped(why) => Some(why.clone()),
        State::Known { issue, .. } => Some(issue.clone()),
        _ => None,
    };
    CaseEnded {
        scenario: outcome.id.clone(),
        round: outcome.round,
        outcome: outcome.verdict.word().to_owned(),
        took_us: micros(outcome.took),
        attempts: outcome.attempts,
        why,
        failure: state.told().map(|told| told.title.clone()),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl State {
    /// What went wrong.
    pub(super) fn told(&self) -> Option<&Told> {
        match self {
            State::Failed(told)
            | State::Broken(told)
            | State::Flaky(told)
            | State::Known { told, .. } => Some(told),
            State::Waiting
            | State::Running
            | State::Passed
            | State::Skipped(_)
            | State::Interrupted => None,
        }
    }
}

impl Watch for Recorder {
    fn started(&self, plan: &Plan, round: u32) {
        self.put(plan, round, |case| case.state = State::Running);
    }

    fn ended(&self, plan: &Plan, ended: &RunEnded<'_>) {
        self.attempt_ended(plan, ended);
    }

    fn finished(&self, plan: &Plan, outcome: &Outcome) {
        self.settled(plan, outcome);
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
        step: failure.place.clone(),
        place: failure.problem.as_ref().map(|problem| problem.position()),
        attachments: files.filter(has_content).cloned().collect(),
    }
}
