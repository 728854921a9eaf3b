//! What `http` and `grpc` have in common: asking once or until the answer is as expected, and reading the answer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use swaprig_harness::time::{Deadline, Probe, WaitError, poll_until};

use super::calls::Calls;
use super::{FailureKind, StepFailure};
use crate::lang::{JsonPath, Taken, Value, typed};

/// What is left of a step's time for ending what has not ended by itself, and for saying so: a tenth, or less.
const RESERVE: Duration = Duration::from_millis(500);

/// How many characters of what a program said a message shows.
const SHOWN: usize = 400;

/// A deadline that leaves the reserve.
pub(super) fn before(deadline: Deadline) -> Deadline {
    let remaining = deadline.remaining();
    deadline.at_most(remaining.saturating_sub(RESERVE.min(remaining / 10)))
}

/// The end of a text, short enough for a message.
pub(super) fn cut(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SHOWN);
    let end: String = text.chars().skip(skipped).collect();
    match skipped {
        0 => end,
        _ => format!("…{end}"),
    }
}

/// What must be at a place of an answer.
pub(super) type Wanted<'e> = (&'e JsonPath, Json);

/// An answer that is not what was expected: what is wrong with it, and the key that says so.
pub(super) struct Unexpected {
    pub(super) what: String,
    pub(super) seen: String,
    pub(super) key: &'static str,
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// Nobody could be asked, so far.
    Not(String),
    /// The server gave an error in place of an answer.
    Said(String),
    /// It did not come in time.
    Late(String),
    /// There never will be one.
    Never(String),
}

/// A question to a server.
pub(super) struct Ask {
    /// Where the calls are recorded, and as what.
    pub(super) calls: Calls,
    pub(super) method: String,
    pub(super) request: String,
    /// What is asked and where, for messages.
    pub(super) place: String,
    /// The key at fault when there is no answer.
    pub(super) key: &'static str,
    pub(super) deadline: Deadline,
}

impl Unanswered {
    fn why(&self) -> &str {
        match self {
            Unanswered::Not(why)
            | Unanswered::Said(why)
            | Unanswered::Late(why)
            | Unanswered::Never(why) => why,
        }
    }
}

impl Ask {
    /// Sends, and records what came back; `text` is an answer's text.
    async fn recorded<T>(
        &self,
        text: &impl Fn(&T) -> String,
        sent: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        let started = Instant::now();
        let answer = sent.await;
        let said = answer.as_ref().map(text);
        let said = said.as_deref().map_err(|none| none.why());
        self.calls
            .answered(&self.method, &self.request, started, said);
        answer
    }

    /// Asks once.
    pub(super) async fn once<T, F>(
        &self,
        send: impl Fn(Deadline) -> F,
        text: impl Fn(&T) -> String,
        judge: impl Fn(&T) -> Result<(), Unexpected>,
    ) -> Result<T, StepFailure>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        let place = &self.place;
        let sent = self.recorded(&text, send(before(self.deadline)));
        let answer = sent.await.map_err(|none| {
            let (kind, title) = match none {
                Unanswered::Late(why) => (FailureKind::TimedOut, format!("{place}: {why}")),
                Unanswered::Said(why) => {
                    (FailureKind::Refused, format!("{place} failed with {why}"))
                }
                Unanswered::Not(why) | Unanswered::Never(why) => {
                    (FailureKind::Refused, format!("{place}: {why}"))
                }
            };
            StepFailure {
                kind,
                ..StepFailure::refused(title).at(self.key)
            }
        })?;
        match judge(&answer) {
            Ok(()) => Ok(answer),
            Err(wrong) => {
                let title = format!(
                    "{place} was answered with {}, expected {}",
                    wrong.seen, wrong.what
                );
                Err(StepFailure::refused(title).at(wrong.key))
            }
        }
    }

    /// Asks until the answer is as expected.
    pub(super) async fn again<T, F>(
        &self,
        send: impl Fn(Deadline) -> F,
        text: impl Fn(&T) -> String,
        judge: impl Fn(&T) -> Result<(), Unexpected>,
    ) -> Result<T, StepFailure>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        let (place, deadline) = (&self.place, self.deadline);
        // The wait cuts a look that is under way when time is up, and keeps what it saw before.
        let later = Deadline::after(deadline.remaining() + RESERVE);
        let last = Mutex::new(("an answer".to_owned(), self.key));
        let expect = |what: &str, key: &'static str| {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = (what.to_owned(), key);
        };
        let (send, text, judge, expect) = (&send, &text, &judge, &expect);
        let seen = poll_until(place, deadline, || async move {
            match self.recorded(text, send(later)).await {
                Ok(answer) => match judge(&answer) {
                    Ok(()) => Probe::Ready(answer),
                    Err(wrong) => {
                        expect(&wrong.what, wrong.key);
                        Probe::Pending(wrong.seen)
                    }
                },
                Err(Unanswered::Never(why)) => Probe::Fatal(StepFailure::refused(why).at(self.key)),
                Err(Unanswered::Not(why) | Unanswered::Said(why) | Unanswered::Late(why)) => {
                    expect("an answer", self.key);
                    Probe::Pending(why)
                }
            }
        });
        match seen.await {
            Ok(answer) => Ok(answer),
            Err(WaitError::Fatal(failure)) => Err(failure),
            Err(WaitError::TimedOut(timeout)) => {
                let (what, key) = last.into_inner().unwrap_or_else(PoisonError::into_inner);
                let title = format!("{place} did not give {what} within {:.1?}", timeout.waited);
                Err(StepFailure::timed_out(title, &timeout).at(key))
            }
        }
    }
}

/// Holds an answer, whose text is `body`, against what must be in it.
pub(super) fn judge_json(
    whole: &Json,
    body: &str,
    wanted: &[Wanted<'_>],
) -> Result<(), Unexpected> {
    for (path, wanted) in wanted {
        let found = path.find(whole);
        if !found.is_some_and(|found| same(found, wanted)) {
            return Err(Unexpected {
                what: format!("{path} to be {wanted}"),
                seen: match found {
                    Some(found) => cut(&found.to_string()),
                    None => format!("nothing there in {}", cut(body)),
                },
                key: "expect",
            });
        }
    }
    Ok(())
}

/// What is kept of an answer, whose text is `body`.
pub(super) fn taken(
    take: &Taken,
    whole: &Json,
    body: &str,
) -> Result<Vec<(String, Value)>, StepFailure> {
    let refused = |title: String| {
        StepFailure {
            seen: Some(cut(body)),
            ..StepFailure::refused(title)
        }
        .at("take")
    };
    let take = take.0.iter().map(|(name, ty, path)| {
        let found = path
            .find(whole)
            .ok_or_else(|| refused(format!("the answer has nothing at {path}")))?;
        let value = typed(found, *ty)
            .ok_or_else(|| refused(format!("{path} is {found}, not {}", ty.a_name())))?;
        Ok((name.clone(), value))
    });
    take.collect()
}

/// Whether two JSON values are the same; 1 and 1.0 are.
fn same(a: &Json, b: &Json) -> bool {
    a == b
        || a.is_number() && b.is_number() && a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())
}
