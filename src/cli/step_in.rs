//! Stepping into a scenario: its world stands where the scenario stops or has failed, as a world of `up` does.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ratatui::crossterm::terminal;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::stdio::stdin;
use rustix::termios::QueueSelector;
use swaprig_harness::World;
use swaprig_harness::binary::Passport;
use swaprig_harness::time::{Deadline, Probe, WaitError, poll_until};
use swaprig_harness::world::WAIT;
use swaprig_scenarios::lang::{Entity, Plan, PlannedStep, Value};
use swaprig_scenarios::run::{
    BoxFuture, Failure, Outcome, Reached, Stay, StepIn, Stop, Verdict, Watch,
};

use super::exit::complain;
use super::failure::Screen;
use super::run::outcome_text;
use super::select::count;
use super::terminal::{Lines, Plain};
use super::up::{Claim, Standing, UP, serve, tell, ways_in};

/// How long one wait for a person lasts; then the next begins.
const LOOK: Duration = Duration::from_secs(3600);
/// How many of the steps to come are shown.
const NEXT_SHOWN: usize = 3;
/// Columns of a step's text where there is no terminal.
const STEP_SHOWN: usize = 100;
/// Columns before it.
const BEFORE_STEP: usize = 18;

/// What both ways of stepping in say.
#[derive(Debug)]
pub(super) struct Scene {
    pub passport: Passport,
    pub seed: u64,
    pub lines: Lines,
    started: Instant,
}

impl Scene {
    pub(super) fn new(passport: Passport, seed: u64, lines: Lines) -> Self {
        Scene {
            passport,
            seed,
            lines,
            started: Instant::now(),
        }
    }

    /// Where the scenario stands, what it has done and bound, and what comes next.
    async fn text(&self, stay: &Stay<'_>, round: u32) -> String {
        let mut text = self.head(stay, round);
        let mut line = |name: &str, mut lines: Vec<String>| {
            if lines.is_empty() {
                lines.push("nothing".to_owned());
            }
            for (at, line) in lines.iter().enumerate() {
                let name = if at == 0 { name } else { "" };
                let _ = write!(text, "\n  {name:<9} {line}");
            }
        };
        line("done", done(stay));
        line("bound", bound(stay).await);
        line("next", next(stay));
        text
    }

    fn head(&self, stay: &Stay<'_>, round: u32) -> String {
        let (plan, seconds) = (stay.plan, self.started.elapsed().as_secs_f64());
        let of = plan.steps.len();
        match stay.reached {
            Reached::Stop(Stop::After(place)) => {
                format!(
                    "{}   after step {place} of {of}   {seconds:.2} s",
                    plan.id()
                )
            }
            Reached::Stop(Stop::Before(place)) => {
                format!(
                    "{}   before step {place} of {of}   {seconds:.2} s",
                    plan.id()
                )
            }
            Reached::End => format!("{}   after all {of} steps   {seconds:.2} s", plan.id()),
            Reached::Failure(verdict) => match failure_of(verdict) {
                Some((word, failure)) => Screen {
                    word,
                    plan,
                    outcome: &outcome(stay, round, self.started),
                    failure,
                    passport: &self.passport,
                    seed: self.seed,
                    stands: true,
                }
                .text(),
                None => plan.id().to_owned(),
            },
        }
    }
}

fn failure_of(verdict: &Verdict) -> Option<(&'static str, &Failure)> {
    match verdict {
        Verdict::Failed(failure) => Some(("FAIL", failure)),
        Verdict::Broken(failure) => Some(("ERROR", failure)),
        _ => None,
    }
}

/// The scenario as it is now; its verdict is told beside it.
fn outcome(stay: &Stay<'_>, round: u32, started: Instant) -> Outcome {
    Outcome {
        id: stay.plan.id().to_owned(),
        case: stay.plan.case.clone(),
        path: stay.plan.source.path().to_owned(),
        round,
        steps_planned: stay.plan.steps.len(),
        steps: stay.steps.to_vec(),
        attempts: 1,
        took: started.elapsed(),
        record: None,
        dir: Some(stay.world.dir().to_owned()),
        verdict: Verdict::Interrupted,
    }
}

fn is_done(stay: &Stay<'_>, step: &PlannedStep) -> bool {
    let failed = match stay.reached {
        Reached::Failure(verdict) => {
            failure_of(verdict).and_then(|(_, failure)| failure.place.as_ref())
        }
        Reached::Stop(_) | Reached::End => None,
    };
    // What contains the failed step has ended with it.
    let holds_failed = failed.is_some_and(|place| {
        let rest = place.strip_prefix(step.place.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    !holds_failed && stay.steps.iter().any(|record| record.place == step.place)
}

/// The steps that have been done; those inside of another only while that has not.
fn done(stay: &Stay<'_>) -> Vec<String> {
    fn collect(stay: &Stay<'_>, steps: &[PlannedStep], lines: &mut Vec<String>) {
        for step in steps {
            match is_done(stay, step) {
                true => lines.push(step_line(step)),
                false => collect(stay, step.inner(), lines),
            }
        }
    }
    let mut lines = Vec::new();
    collect(stay, &stay.plan.steps, &mut lines);
    lines
}

/// The first of the steps that the scenario would do now.
fn next(stay: &Stay<'_>) -> Vec<String> {
    fn collect<'p>(stay: &Stay<'_>, steps: &'p [PlannedStep], left: &mut Vec<&'p PlannedStep>) {
        for step in steps {
            if is_done(stay, step) {
                continue;
            }
            let begun = |inner: &PlannedStep| is_done(stay, inner);
            match step.inner().iter().any(begun) {
                true => collect(stay, step.inner(), left),
                false => left.push(step),
            }
        }
    }
    let mut left = Vec::new();
    collect(stay, &stay.plan.steps, &mut left);
    let mut lines: Vec<String> = left
        .iter()
        .take(NEXT_SHOWN)
        .map(|step| step_line(step))
        .collect();
    if left.len() > NEXT_SHOWN {
        lines.push(format!("and {} more", left.len() - NEXT_SHOWN));
    }
    lines
}

/// A step with its place, on one line.
fn step_line(step: &PlannedStep) -> String {
    let words: Vec<&str> = step.source_text().split_whitespace().collect();
    let text = words.join(" ");
    let room = match std::io::stderr().is_terminal() {
        true => terminal::size().map_or(STEP_SHOWN, |(columns, _)| {
            usize::from(columns).saturating_sub(BEFORE_STEP)
        }),
        false => STEP_SHOWN,
    };
    let cut: String = match text.chars().count() > room {
        true => text
            .chars()
            .take(room.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => text,
    };
    format!("{:<5} {cut}", step.place)
}

/// What the steps have bound, with the values of all fields now.
async fn bound(stay: &Stay<'_>) -> Vec<String> {
    let deadline = Deadline::after(WAIT);
    let mut lines = Vec::new();
    for (name, value) in stay.bindings.values() {
        let Value::Entity(entity) = value else {
            lines.push(format!("${name} = {value}"));
            continue;
        };
        lines.push(format!("${name}: {}", entity.entity_type().name));
        for field in entity.entity_type().all_fields() {
            let value = match entity.field(field.name) {
                Some(value) => Some(value.to_string()),
                None if field.live => looked_up(&**entity, field.name, stay.world, deadline).await,
                None => None,
            };
            if let Some(value) = value {
                lines.push(format!("  .{} = {value}", field.name));
            }
        }
    }
    lines
}

/// The value of a field that changes with time, or why it cannot be told.
async fn looked_up(
    entity: &dyn Entity,
    field: &str,
    world: &World,
    deadline: Deadline,
) -> Option<String> {
    match deadline.bound(entity.look(field, world)).await {
        Some(Ok(value)) => value.map(|value| value.to_string()),
        Some(Err(failure)) => Some(format!("? ({failure})")),
        None => Some("? (no answer)".to_owned()),
    }
}

/// The world of `up --scenario`: it stands at the stop, at the end or at a failure, until it is interrupted.
#[derive(Debug)]
pub(super) struct Until {
    pub claim: Claim,
    pub stop: Option<Stop>,
    pub scene: Scene,
    /// Whether it came to stand.
    pub stood: AtomicBool,
    /// Whether that was at a failure, which has then been told.
    pub told: AtomicBool,
}

impl StepIn for Until {
    fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    fn stay<'a>(&'a self, stay: Stay<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let failed = matches!(stay.reached, Reached::Failure(_));
            self.stood.store(true, Ordering::Relaxed);
            self.told.store(failed, Ordering::Relaxed);
            let scene = self.scene.text(&stay, 1).await;
            let ready = |standing: &Standing| tell(standing, stay.world, Some(&scene));
            let served = serve(stay.world, &self.claim, ready).await;
            let Err(error) = served;
            complain(&error);
        })
    }
}

/// What `run --step-in` does with the worlds of scenarios that fail; it also tells outcomes.
pub(super) struct OnFailure {
    to: Plain,
    pub scene: Scene,
    round: AtomicU32,
    /// Whether the failure of the scenario that runs has been told.
    told: AtomicBool,
}

impl std::fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnFailure").finish_non_exhaustive()
    }
}

impl OnFailure {
    pub(super) fn new(to: Plain, scene: Scene) -> Self {
        OnFailure {
            to,
            scene,
            round: AtomicU32::new(1),
            told: AtomicBool::new(false),
        }
    }

    async fn stand(&self, stay: &Stay<'_>) -> std::io::Result<()> {
        let text = self
            .scene
            .text(stay, self.round.load(Ordering::Relaxed))
            .await;
        self.scene.lines.say(&text);
        self.told.store(true, Ordering::Relaxed);
        let claim = Claim::new(Path::new(UP))?;
        let ready = |standing: &Standing| {
            let number = standing.number;
            let ways = ways_in(standing);
            self.scene.lines.say(&format!(
                "\nworld {number} stands; in another terminal, in this directory:\n{ways}\n\
                 Enter ends it and goes on, Ctrl-C ends the run"
            ));
        };
        tokio::select! {
            served = serve(stay.world, &claim, ready) => match served { Err(error) => Err(error) },
            entered = entered() => entered,
        }
    }
}

impl StepIn for OnFailure {
    fn stop(&self) -> Option<&Stop> {
        None
    }

    fn stay<'a>(&'a self, stay: Stay<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Reached::Failure(verdict) = stay.reached else {
                return;
            };
            let known = stay.plan.known_failure.as_ref();
            let is_known =
                |failure: &Failure| known.is_some_and(|known| failure.failure.says(&known.matches));
            if failure_of(verdict).is_some_and(|(_, failure)| is_known(failure)) {
                return;
            }
            if let Err(error) = self.stand(&stay).await {
                complain(&error);
            }
        })
    }
}

impl Watch for OnFailure {
    fn started(&self, _: &Plan, round: u32) {
        self.round.store(round, Ordering::Relaxed);
        self.told.store(false, Ordering::Relaxed);
    }

    fn finished(&self, plan: &Plan, outcome: &Outcome) {
        if !self.told.load(Ordering::Relaxed) {
            return self.to.finished(plan, outcome);
        }
        let text = outcome_text(plan, outcome, &self.scene.passport, self.scene.seed);
        // The whole screen has been shown while the world stood.
        self.scene
            .lines
            .say(text.lines().next().unwrap_or_default());
    }
}

/// Why nobody can step in here, if so: somebody must be there to end the world again.
pub(super) fn nobody_there() -> Option<String> {
    let missing = match (
        std::io::stdin().is_terminal(),
        std::io::stderr().is_terminal(),
    ) {
        (true, true) => return None,
        (false, _) => "standard input",
        (true, false) => "standard error",
    };
    Some(format!(
        "--step-in needs a terminal, and {missing} is none; `swaprig up --scenario FILE` stops at a failure without one"
    ))
}

/// Waits for Enter or Ctrl-D on the terminal.
async fn entered() -> std::io::Result<()> {
    // What was typed while the scenario ran is no answer.
    rustix::termios::tcflush(stdin(), QueueSelector::IFlush)?;
    // Not with tokio's standard input: that waits in a thread which nothing ends but a line.
    let typed = || async {
        let mut input = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
        match rustix::event::poll(&mut input, Some(&Timespec::default())) {
            Ok(0) => Probe::Pending("nothing typed".to_owned()),
            // The line is read away, so that it does not answer for the next world.
            Ok(_) => match rustix::io::read(stdin(), &mut [0; 4096]) {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::Fatal(error.into()),
            },
            Err(error) => Probe::Fatal(error.into()),
        }
    };
    loop {
        match poll_until("Enter", Deadline::after(LOOK), typed).await {
            Ok(()) => return Ok(()),
            Err(WaitError::Fatal(error)) => return Err(error),
            Err(WaitError::TimedOut(_)) => {}
        }
    }
}

/// Where the scenario is to stop, by what the command line says.
///
/// # Errors
/// What is wrong, with the steps that there are.
pub(super) fn stop_at(
    plan: &Plan,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<Option<Stop>, String> {
    let Some(wanted) = after.or(before) else {
        return Ok(None);
    };
    let Some(step) = plan.find_step(wanted) else {
        let steps = plan.all_steps();
        let has = match steps.iter().any(|step| step.given_name() == Some(wanted)) {
            true => "several steps",
            false => "no step",
        };
        let mut text = format!(
            "{} has {has} `{wanted}`; write the place of a step, or the name that its `as` gives:",
            plan.id()
        );
        for step in &steps {
            let _ = write!(text, "\n  {}", step_line(step));
        }
        return Err(text);
    };
    let place = step.place.clone();
    Ok(Some(match after {
        Some(_) => Stop::After(place),
        None => Stop::Before(place),
    }))
}

/// Why a path does not name one scenario.
pub(super) fn not_one(plans: &[std::sync::Arc<Plan>]) -> String {
    let mut text = format!(
        "{} are selected; choose one:",
        count(plans.len(), "scenario")
    );
    for plan in plans {
        let _ = write!(text, "\n  {}", plan.id());
    }
    text
}
