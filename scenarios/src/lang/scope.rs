//! What a step of a file can refer to: the parties of the world, the names that other steps bind, the inputs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swaprig_harness::proxy::Link;
use swaprig_harness::server::ServerSpec;

use super::chains::Chains;
use super::problem::Span;
use super::reference::Reference;
use super::types::Type;

/// What is known in one file, or in one use of a fragment, when a step of it is read.
#[derive(Debug, Default)]
pub struct Scope {
    /// The Lightning nodes of the world; `None` when the world could not be read, so that nothing is said of them.
    pub parties: Option<Vec<String>>,
    /// Its other chains and their wallets; `None` when they could not be read.
    pub chains: Option<Chains>,
    /// The proxies of the world; `None` when they could not be read.
    pub proxies: Option<Vec<Link>>,
    /// The servers of the file; `None` when they could not be read.
    pub servers: Option<Vec<String>>,
    /// What is known of them; nothing when they could not be read.
    pub specs: Arc<[ServerSpec]>,
    /// Every name that some step of the file binds, and every output of a fragment under the name of its use: `ab.channel`.
    pub names: BTreeMap<String, Name>,
    /// The inputs that stand for a value of the file; their places in steps hold that value when the step is read.
    pub inputs: BTreeSet<String>,
}

/// A name that a step binds.
#[derive(Debug)]
pub struct Name {
    /// The step, as messages number it; of a step inside a block `3.2`.
    pub place: String,
    /// Where the name is given.
    pub span: Span,
    /// The name of the step, such as `invoice`.
    pub by: String,
    /// What stands behind it.
    pub kind: NameKind,
    /// What it is called in the whole plan, in which every name is there once.
    pub target: Reference,
    pub(super) state: Cell<State>,
}

/// What stands behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A value of that type.
    Value(Type),
    /// The outputs of a fragment, each of which has a name of its own.
    Outputs,
    /// The step is not known, so that nothing is said of it.
    Unknown,
}

/// Whether the step that is being read can use a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is bound by a later step, or by this one.
    Later,
    /// It can.
    Now,
    /// It is bound by a step that runs at the same time.
    Beside,
    /// It is bound by a step that was started and not awaited.
    Started,
    /// It can only be read inside the step that binds it.
    Inside(Private),
}

/// Why a name does not leave the step in which it is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Private {
    /// It is repeated: every round has its own.
    Times,
    /// It must fail.
    Fails,
    /// It runs at an event.
    On,
}

impl Private {
    /// The key that makes it so.
    pub(super) fn key(self) -> &'static str {
        match self {
            Private::Times => "times",
            Private::Fails => "fails",
            Private::On => "on",
        }
    }
}

impl Name {
    /// Whether the step that is being read can use it.
    pub(super) fn is_readable(&self) -> bool {
        self.state.get() == State::Now
    }
}

impl Scope {
    /// Sets the state of every name that is given within `span`. What is private to a step stays so.
    pub(super) fn mark(&self, span: &Span, state: State) {
        for name in self.names.values() {
            let within = span.start <= name.span.start && name.span.end <= span.end;
            if within && !matches!(name.state.get(), State::Inside(_)) {
                name.state.set(state);
            }
        }
    }

    /// The names that can be used, with what they stand for.
    pub(super) fn readable(&self) -> impl Iterator<Item = (&str, &Name)> {
        self.names
            .iter()
            .filter(|(_, name)| name.is_readable())
            .map(|(name, bound)| (name.as_str(), bound))
    }
}
