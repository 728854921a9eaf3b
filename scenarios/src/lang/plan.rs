//! What a checked file becomes: plans that can be run without asking the file again, one for every case.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::problem::{Problem, Source, Span};
use super::reference::Reference;
use super::step::AnyStep;
use super::world::WorldPlan;

/// A scenario, or one case of it, ready to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it shows, in one line.
    pub title: String,
    /// Words to select it by.
    pub tags: Vec<String>,
    /// Programs that must be on PATH.
    pub needs: Vec<String>,
    /// What must be started.
    pub world: WorldPlan,
    /// What must be done, in order.
    pub steps: Vec<PlannedStep>,
    /// It fails, and why that is no news.
    pub known_failure: Option<KnownFailure>,
    /// The file it came from.
    pub source: Source,
    /// The case of the file that this is; `None` when the file has no cases.
    pub case: Option<String>,
    pub(super) id: String,
    /// The keys of the file that are the same in every case, as [`Plan::expanded`] writes them.
    pub(super) header: String,
}

/// What a step of a plan does.
#[derive(Debug, Clone)]
pub enum Action {
    /// One step of the registry.
    Step(Arc<dyn AnyStep>),
    /// Steps one after the other, of a fragment (`use`) or of the file itself (`steps`).
    Steps(Vec<PlannedStep>),
    /// Steps that start at the same time.
    Together(Vec<PlannedStep>),
    /// The end of a step that was started under that name.
    Await(String),
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
    /// The place in the list of the file's steps, from 1, of it or of what it is inside of.
    pub number: usize,
    /// Its place, such as `3`; inside of another step `3.2`.
    pub place: String,
    /// The key that says what it does, such as `pay` or `together`.
    pub key: String,
    /// What it does.
    pub action: Action,
    /// The name for what it makes, unlike every other name of the plan.
    pub bind: Option<String>,
    /// How long it may take, as the file says it or as the step does; `None`: what is left of the world's deadline.
    pub within: Option<Duration>,
    /// It must fail, and its reason must contain this text.
    pub fails: Option<String>,
    /// How often it is done, one after the other.
    pub times: u32,
    /// It runs beside those after it, until the step that awaits this name.
    pub start: Option<String>,
    /// It runs beside those after it, as soon as this `expect` sees what it expects.
    pub on: Option<Box<PlannedStep>>,
    /// The file it is in, which is a fragment when `used` is not empty.
    pub source: Source,
    /// Where it is in that file.
    pub span: Span,
    /// Where its keys are, each with its value.
    pub keys: Vec<KeySpan>,
    /// Where the fragments that it is in are used, from the inside out.
    pub used: Arc<[Site]>,
    /// What each name that it can refer to is called in the whole plan.
    pub names: Arc<BTreeMap<String, Reference>>,
    /// Whether it stands in a list of steps that run one after the other.
    pub(super) is_in_sequence: bool,
    /// Its keys as [`Plan::expanded`] writes them, those of the steps inside it apart.
    pub(super) text: Vec<(String, String)>,
}

/// A place in a file.
#[derive(Debug, Clone)]
pub struct Site {
    /// The file.
    pub source: Source,
    /// The place.
    pub span: Span,
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

/// How a place in a fragment is tied to the step that uses the fragment.
pub(super) const USED_HERE: &str = "in a fragment that is used here";

impl PlannedStep {
    /// Where the value of a key is; the place of the whole step when it has no such key.
    pub fn value_span(&self, key: &str) -> Span {
        let found = self.keys.iter().find(|span| span.name == key);
        found.map_or(self.span.clone(), |span| span.value.clone())
    }

    /// The key that says what it does, such as `pay` or `together`.
    pub fn name(&self) -> &str {
        &self.key
    }

    /// The steps inside it.
    pub fn inner(&self) -> &[PlannedStep] {
        match &self.action {
            Action::Step(_) | Action::Await(_) => &[],
            Action::Steps(steps) | Action::Together(steps) => steps,
        }
    }

    /// Its text, as it is in its file.
    pub fn source_text(&self) -> &str {
        self.source
            .text()
            .get(self.span.clone())
            .unwrap_or_default()
    }

    /// A problem at the value of `key`, for what goes wrong while it runs.
    pub fn problem(&self, key: &str, title: impl Into<String>) -> Problem {
        let mut problem = Problem::new(&self.source, self.value_span(key), title);
        for site in self.used.iter() {
            problem.note(&site.source, site.span.clone(), USED_HERE, "");
        }
        problem
    }
}

impl Plan {
    /// The name that does not depend on how it was selected: `lightning/pay`, and of a case `lightning/pay#small`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A problem at a place of the file, for what goes wrong while it runs.
    pub fn problem(&self, span: Span, title: impl Into<String>) -> Problem {
        Problem::new(&self.source, span, title)
    }

    /// The text of a step, as it is in its file.
    pub fn step_text<'s>(&self, step: &'s PlannedStep) -> &'s str {
        step.source_text()
    }
}
