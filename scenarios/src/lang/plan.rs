//! What a checked file becomes: a plan that can be run without asking the file again.

use std::sync::Arc;
use std::time::Duration;

use super::problem::{Problem, Source, Span};
use super::step::AnyStep;
use super::world::WorldPlan;

/// A scenario, ready to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it shows, in one line.
    pub title: String,
    /// Words to select it by.
    pub tags: Vec<String>,
    /// What must be started.
    pub world: WorldPlan,
    /// What must be done, in order.
    pub steps: Vec<PlannedStep>,
    /// It fails, and why that is no news.
    pub known_failure: Option<KnownFailure>,
    /// The file it came from.
    pub source: Source,
}

/// A failure that is known and written down elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFailure {
    /// Where: an address, or `#12`.
    pub issue: String,
    /// A part of what it says.
    pub matches: String,
    /// Where the file says so.
    pub span: Span,
}

/// A step of a plan.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    /// Its place in the file, counted from 1.
    pub number: usize,
    /// The step itself.
    pub step: Arc<dyn AnyStep>,
    /// The name for what it makes.
    pub bind: Option<String>,
    /// How long it may take, as the file says it or as the step does; `None`: what is left of the world's deadline.
    pub within: Option<Duration>,
    /// It must fail, and its reason must contain this text.
    pub fails: Option<String>,
    /// Where it is in the file.
    pub span: Span,
    /// Where its keys are, each with its value.
    pub keys: Vec<KeySpan>,
}

/// Where a key of a step is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpan {
    /// The key.
    pub name: String,
    /// Its place.
    pub key: Span,
    /// The place of its value.
    pub value: Span,
}

impl PlannedStep {
    /// Where the value of a key is; the place of the whole step when it has no such key.
    pub fn value_span(&self, key: &str) -> Span {
        let found = self.keys.iter().find(|span| span.name == key);
        found.map_or(self.span.clone(), |span| span.value.clone())
    }
}

impl Plan {
    /// The name of the scenario that does not depend on how it was selected.
    pub fn id(&self) -> &str {
        self.source.id()
    }

    /// A problem at a place of the file, for what goes wrong while it runs.
    pub fn problem(&self, span: Span, title: impl Into<String>) -> Problem {
        Problem::new(&self.source, span, title)
    }

    /// The text of a step, as it is in the file.
    pub fn step_text(&self, step: &PlannedStep) -> &str {
        self.source
            .text()
            .get(step.span.clone())
            .unwrap_or_default()
    }
}
