//! Drives a swap step by step until it is over, and looks again when something may have changed.

use std::time::Duration;

use futures_util::FutureExt as _;
use swaprig_harness::time::{Deadline, Observation, TimedOut};
use uuid::Uuid;

/// How long one question to a server, a node or an index may take.
const CALL: Duration = Duration::from_secs(20);
/// The first pause between two looks; it grows to the policy's.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// What one step of a swap came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was done: look again at once.
    Moved,
    /// Nothing can be done now.
    Waiting(String),
    /// Nothing more is to be done.
    Over,
}

/// Takes steps until there are none left. Between two looks it waits with `wake`, which returns when something may have changed,
/// but not longer than a pause that grows to `poll`: there may be news of which nobody tells.
///
/// # Errors
/// Those of a step; and [`TimedOut`] with what is waited for.
pub(super) async fn drive<E: From<TimedOut>>(
    what: String,
    deadline: Deadline,
    poll: Duration,
    mut wake: impl AsyncFnMut(),
    mut step: impl AsyncFnMut() -> Result<Step, E>,
) -> Result<(), E> {
    let mut pause = FIRST_PAUSE;
    let mut looks = 0;
    loop {
        looks += 1;
        let reason = match step().await? {
            Step::Over => return Ok(()),
            Step::Moved if !deadline.has_passed() => {
                pause = FIRST_PAUSE;
                continue;
            }
            Step::Moved => "something was just done".into(),
            Step::Waiting(reason) => reason,
        };
        if deadline.has_passed() {
            return Err(timed_out(what, deadline, looks, reason).into());
        }
        tracing::debug!("waiting for {what}: {reason}");
        let _ = deadline.at_most(pause).bound(wake()).await;
        pause = (pause * 3 / 2).min(poll);
    }
}

/// Drives all of `ids` side by side, and tells how each ended.
pub(super) async fn drive_all<F: Future>(
    ids: impl IntoIterator<Item = Uuid>,
    one: impl Fn(Uuid) -> F,
) -> Vec<(Uuid, F::Output)> {
    let each = ids
        .into_iter()
        .map(|id| one(id).map(move |ended| (id, ended)));
    futures_util::future::join_all(each).await
}

fn timed_out(what: String, deadline: Deadline, attempts: u32, reason: String) -> TimedOut {
    TimedOut {
        what,
        waited: deadline.elapsed(),
        attempts,
        observations: vec![Observation {
            at: deadline.elapsed(),
            reason,
            looks: 1,
        }],
        cut_short: false,
    }
}

/// The time that one question has.
pub(super) fn call() -> Deadline {
    Deadline::after(CALL)
}

/// The time since 1970: an invoice expires by the wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "an invoice expires at a time of day (BOLT 11)"
)]
pub(super) fn now() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}
