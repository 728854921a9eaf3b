//! What a step does: one function over a world.

use std::future::Future;
use std::pin::Pin;

use swaprig_harness::World;
use swaprig_harness::time::Deadline;
use swaprig_harness::world::WAIT;

use super::{Random, StepFailure};
use crate::lang::{
    Arg, BindingError, Bindings, Bound, Entity, Reference, Resolved, StepSpec, Value,
};

/// A boxed future, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A step that can be run, from a file or from Rust: see [`Steps::step`].
pub trait Step: StepSpec {
    /// Does it, and waits for what its documentation says, no longer than [`Run::deadline`].
    fn run(&self, run: &Run<'_>) -> impl Future<Output = Result<Self::Output, StepFailure>> + Send;
}

/// What a running step has at hand.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The daemons.
    pub world: &'a World,
    /// What earlier steps have bound.
    pub bindings: &'a Bindings,
    /// When the step must have ended.
    pub deadline: Deadline,
    /// Where random values come from, so that a seed brings them again.
    pub random: &'a Random,
    /// The name that `as` gives to what the step makes, for messages and for the money oracle's sheets.
    pub name: Option<&'a str>,
}

impl<'a> Run<'a> {
    /// The value of an argument, looked up now where it changes with time.
    ///
    /// # Errors
    /// When it has no value yet or a daemon does not answer.
    pub async fn get<T: Bound>(&self, arg: &Arg<T>) -> Result<T, StepFailure> {
        match arg {
            Arg::Literal(value) => Ok(value.clone()),
            Arg::Reference(reference) => {
                let absent = || BindingError::Absent {
                    reference: reference.clone(),
                };
                let value = self.look(reference).await?.ok_or_else(absent)?;
                Ok(Bindings::take(reference, &value)?)
            }
        }
    }

    /// The value of an argument that may be left out.
    ///
    /// # Errors
    /// As [`Run::get`].
    pub async fn get_optional<T: Bound>(
        &self,
        arg: Option<&Arg<T>>,
    ) -> Result<Option<T>, StepFailure> {
        match arg {
            Some(arg) => self.get(arg).await.map(Some),
            None => Ok(None),
        }
    }

    /// What a reference stands for now; `None` when there is no value yet.
    ///
    /// # Errors
    /// When a daemon does not answer.
    pub async fn look(&self, reference: &Reference) -> Result<Option<Value>, StepFailure> {
        match self.bindings.resolve(reference) {
            Ok(Resolved::Value(value)) => Ok(Some(value)),
            Ok(Resolved::Live { entity, field }) => Entity::look(&*entity, field, self.world).await,
            Err(BindingError::Absent { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Steps for Rust: `world.step(Mine::new(BlockDelta(6))).await?`.
pub trait Steps {
    /// Runs a step as a scenario would, for a minute at most unless the step itself says less.
    fn step<S: Step>(&self, step: S)
    -> impl Future<Output = Result<S::Output, StepFailure>> + Send;
}

impl Steps for World {
    async fn step<S: Step>(&self, step: S) -> Result<S::Output, StepFailure> {
        let bindings = Bindings::default();
        let deadline = Deadline::after(S::WITHIN.unwrap_or(WAIT));
        let random = Random::new(Random::any_seed(), S::NAME);
        step.run(&Run {
            world: self,
            bindings: &bindings,
            deadline,
            random: &random,
            name: None,
        })
        .await
    }
}
