//! Stepping into a scenario: its world is handed over before it ends, where the scenario stops or has failed.
//! What is done with it is up to whoever asked for it.

use std::fmt;

use swaprig_harness::World;
use tokio::sync::Notify;

use super::outcome::{StepRecord, Verdict};
use super::step::BoxFuture;
use crate::lang::{Bindings, Plan, PlannedStep};

/// Who steps in, and where.
pub trait StepIn: fmt::Debug + Send + Sync {
    /// Where the scenario goes no further, if it comes that far.
    fn stop(&self) -> Option<&Stop>;

    /// Called with the world as long as it stands, wherever the scenario goes no further. The world is ended when this
    /// returns, or earlier, at an interrupt: then the future is dropped.
    fn stay<'a>(&'a self, stay: Stay<'a>) -> BoxFuture<'a, ()>;
}

/// Where a scenario goes no further. What runs beside is then dropped where it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Before the step at this place (`3.2`) begins, for the first time where it is done several times.
    Before(String),
    /// After it has been done, as often as the file says.
    After(String),
}

/// A world that stands where its scenario goes no further.
#[derive(Debug, Clone, Copy)]
pub struct Stay<'a> {
    /// The world.
    pub world: &'a World,
    /// The scenario.
    pub plan: &'a Plan,
    /// What its steps have bound.
    pub bindings: &'a Bindings,
    /// The steps that have ended.
    pub steps: &'a [StepRecord],
    /// Why it goes no further.
    pub reached: Reached<'a>,
}

/// Why a scenario goes no further.
#[derive(Debug, Clone, Copy)]
pub enum Reached<'a> {
    /// It is where it was to stop.
    Stop(&'a Stop),
    /// Its last step has been done.
    End,
    /// It failed.
    Failure(&'a Verdict),
}

/// Notices that a scenario has come to its stop.
#[derive(Debug)]
pub(super) struct Gate<'p> {
    stop: Option<&'p Stop>,
    reached: Notify,
}

impl<'p> Gate<'p> {
    pub(super) fn new(step_in: Option<&'p dyn StepIn>) -> Self {
        Gate {
            stop: step_in.and_then(StepIn::stop),
            reached: Notify::new(),
        }
    }

    /// Waits until the stop is reached; forever when there is none.
    pub(super) async fn reached(&self) -> &'p Stop {
        self.reached.notified().await;
        match self.stop {
            Some(stop) => stop,
            None => std::future::pending().await,
        }
    }

    /// Goes on, unless the scenario is to stop before `step`.
    pub(super) async fn before(&self, step: &PlannedStep) {
        let is_here = matches!(self.stop, Some(Stop::Before(place)) if *place == step.place);
        self.pass(is_here).await;
    }

    /// Goes on, unless the scenario is to stop after `step`.
    pub(super) async fn after(&self, step: &PlannedStep) {
        let is_here = matches!(self.stop, Some(Stop::After(place)) if *place == step.place);
        self.pass(is_here).await;
    }

    async fn pass(&self, is_here: bool) {
        if is_here {
            self.reached.notify_one();
            // Whoever waits for it drops this.
            std::future::pending::<()>().await;
        }
    }
}

impl Plan {
    /// The step at the place `3.2`, or the one that gives this name with `as`; of several with that name the outermost.
    /// `None`: there is no such step, or it is not clear which is meant.
    pub fn find_step(&self, wanted: &str) -> Option<&PlannedStep> {
        let all = self.all_steps();
        if let Some(step) = all.iter().find(|step| step.place == wanted) {
            return Some(step);
        }
        let named = |step: &&PlannedStep| step.given_name() == Some(wanted);
        let depth = |step: &PlannedStep| step.place.matches('.').count();
        let outermost = all.iter().copied().filter(named).map(depth).min()?;
        let mut found = all
            .iter()
            .filter(|step| named(step) && depth(step) == outermost);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Every step, those inside of another after it.
    pub fn all_steps(&self) -> Vec<&PlannedStep> {
        fn collect<'p>(steps: &'p [PlannedStep], all: &mut Vec<&'p PlannedStep>) {
            for step in steps {
                all.push(step);
                collect(step.inner(), all);
            }
        }
        let mut all = Vec::new();
        collect(&self.steps, &mut all);
        all
    }
}

impl PlannedStep {
    /// The name that its `as` gives, as its file has it.
    pub fn given_name(&self) -> Option<&str> {
        let key = self.keys.iter().find(|key| key.name == "as")?;
        let text = self.source.text().get(key.value.clone())?;
        Some(text.trim_matches(['"', '\'']))
    }
}
