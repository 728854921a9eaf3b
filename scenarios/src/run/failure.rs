//! How a step fails, by what it says about the scenario: it went wrong, it took too long, or the machine did.

use std::fmt;

use swaprig_harness::time::{TimedOut, WaitError};
use swaprig_harness::world::WorldErrorKind;
use swaprig_harness::{WorldError, error_chain};

use crate::lang::BindingError;

/// Why a step did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What went wrong, one lowercase fragment.
    pub title: String,
    /// What was seen last, where something was looked at.
    pub seen: Option<String>,
    /// Why, where it is known, in a sentence; more lines of it below.
    pub why: Option<String>,
    /// The key of the step that the caret stands under; the step's first when it is `None`.
    pub key: Option<&'static str>,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Somebody refused, or something else happened than expected. What `fails` can expect.
    Refused,
    /// It did not happen in time.
    TimedOut,
    /// A daemon did not start or broke down: the machine's fault, or a bug, and no verdict on the scenario.
    Broken,
}

impl StepFailure {
    /// A step that cannot do what it says, because of `title`.
    pub fn refused(title: impl Into<String>) -> Self {
        StepFailure {
            kind: FailureKind::Refused,
            title: title.into(),
            seen: None,
            why: None,
            key: None,
        }
    }

    /// The same, with the reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// The same, with the caret under the value of `key`.
    #[must_use]
    pub fn at(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    /// Something that was looked at until time was up.
    pub fn timed_out(title: impl Into<String>, timeout: &TimedOut) -> Self {
        let looks = match timeout.observations.last() {
            Some(last) if timeout.observations.len() == 1 => {
                format!("{} looks, no change", last.looks)
            }
            Some(_) => format!("{} looks", timeout.attempts),
            None => "no look came to an end".to_owned(),
        };
        let seen = timeout
            .last_reason()
            .map_or(looks.clone(), |reason| format!("{reason} ({looks})"));
        let earlier = timeout.observations.len().saturating_sub(1);
        let before: Vec<_> = timeout
            .observations
            .iter()
            .take(earlier)
            .map(|o| format!("+{:.1?} {}", o.at, o.reason))
            .collect();
        StepFailure {
            kind: FailureKind::TimedOut,
            title: title.into(),
            seen: Some(seen),
            why: (!before.is_empty()).then(|| format!("before: {}", before.join("; "))),
            key: None,
        }
    }

    /// Whether `text`, which a scenario gave with `fails`, is this failure's reason. Time running out is none.
    pub fn is_reason(&self, text: &str) -> bool {
        let wanted = text.to_lowercase();
        let said = [Some(&self.title), self.why.as_ref()];
        self.kind == FailureKind::Refused
            && said
                .into_iter()
                .flatten()
                .any(|said| said.to_lowercase().contains(&wanted))
    }

    /// Whether any part of it contains `text`, whatever its kind: how a known failure is told.
    pub fn says(&self, text: &str) -> bool {
        let wanted = text.to_lowercase();
        let said = [Some(&self.title), self.seen.as_ref(), self.why.as_ref()];
        said.into_iter()
            .flatten()
            .any(|said| said.to_lowercase().contains(&wanted))
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if let Some(seen) = &self.seen {
            write!(f, "; last seen: {seen}")?;
        }
        if let Some(why) = &self.why {
            write!(f, " ({why})")?;
        }
        Ok(())
    }
}

impl std::error::Error for StepFailure {}

impl From<BindingError> for StepFailure {
    fn from(error: BindingError) -> Self {
        StepFailure::refused(error.to_string())
    }
}

impl From<WorldError> for StepFailure {
    fn from(error: WorldError) -> Self {
        error.kind.into()
    }
}

impl From<WorldErrorKind> for StepFailure {
    fn from(kind: WorldErrorKind) -> Self {
        match kind {
            WorldErrorKind::TimedOut(timeout) => StepFailure::timed_out(
                format!("waited {:.1?} for {}", timeout.waited, timeout.what),
                &timeout,
            ),
            WorldErrorKind::Start(error) => broken("a daemon did not start", error_chain(&error)),
            WorldErrorKind::RunDir(error) => {
                broken("the run directory cannot be used", error_chain(&error))
            }
            WorldErrorKind::Bitcoind(error) => StepFailure::refused(error_chain(&error)),
            WorldErrorKind::Index(error) => StepFailure::refused(error_chain(&error)),
            WorldErrorKind::Node(error) => StepFailure::refused(error_chain(&error)),
            other @ (WorldErrorKind::NoSuchNode { .. }
            | WorldErrorKind::Setup(_)
            | WorldErrorKind::Ruled(_)) => StepFailure::refused(other.to_string()),
        }
    }
}

impl<E: Into<StepFailure>> From<WaitError<E>> for StepFailure {
    fn from(error: WaitError<E>) -> Self {
        match error {
            WaitError::TimedOut(timeout) => WorldErrorKind::TimedOut(timeout).into(),
            WaitError::Fatal(error) => error.into(),
        }
    }
}

fn broken(title: &str, why: String) -> StepFailure {
    StepFailure {
        kind: FailureKind::Broken,
        why: Some(why),
        ..StepFailure::refused(title)
    }
}
