//! Deadlines and polling: the only module that sleeps.
//!
//! One [`Deadline`] is made where a test or a command begins and handed down; a callee may shorten it, never
//! extend it. Waiting only observes: a probe must not change what it looks at. It does not know what is waited for.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First pause between two looks, in a [`poll_until`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause between two looks. Short, because whole worlds start in less than a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How many different observations a timeout tells.
const OBSERVATIONS_KEPT: usize = 8;

/// A point in monotonic time after which a wait is given up, with the budget it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    started: Instant,
    at: Instant,
}

impl Deadline {
    /// The deadline that lies `budget` ahead of now.
    pub fn after(budget: Duration) -> Self {
        let started = Instant::now();
        Deadline {
            started,
            at: started + budget,
        }
    }

    /// The earlier one of this deadline and `budget` from now.
    #[must_use]
    pub fn at_most(self, budget: Duration) -> Self {
        let own = Deadline::after(budget);
        Deadline {
            started: own.started,
            at: own.at.min(self.at),
        }
    }

    /// What is left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The time since it was made.
    pub fn elapsed(self) -> Duration {
        self.started.elapsed()
    }

    /// Returns when it has passed; at once when it has already. For what is late on purpose, never to wait for something.
    pub async fn reach(self) {
        if !self.has_passed() {
            #[expect(clippy::disallowed_methods, reason = "the one module that sleeps")]
            tokio::time::sleep_until(self.at.into()).await;
        }
    }

    /// Runs `work`, or gives `None` when the deadline passes first; `work` is dropped then.
    pub async fn bound<T>(self, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.at.into(), work).await.ok()
    }
}

/// What one look at the world found.
#[derive(Debug)]
pub enum Probe<T, E> {
    /// It is there.
    Ready(T),
    /// Not yet, and what was seen instead: a sentence fragment such as "height 107, waiting for 108".
    Pending(String),
    /// It can never be: stop waiting.
    Fatal(E),
}

/// One observation of a wait: what was seen, from when, and how often in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Time since the wait began.
    pub at: Duration,
    /// The reason a probe gave for not being ready.
    pub reason: String,
    /// Looks that gave this reason, one after the other.
    pub looks: u32,
}

/// A wait that reached its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    /// What was waited for, such as "alice to answer GetNodeInfo".
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// How many looks were finished.
    pub attempts: u32,
    /// The last different observations, oldest first.
    pub observations: Vec<Observation>,
    /// The deadline cut a look short, so the last observation may be older than the timeout.
    pub cut_short: bool,
}

impl TimedOut {
    /// What was seen last, if a look was ever finished.
    pub fn last_reason(&self) -> Option<&str> {
        self.observations.last().map(|o| o.reason.as_str())
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let looks = if self.attempts == 1 { "look" } else { "looks" };
        write!(
            f,
            "waited {:.1?} for {} ({} {looks})",
            self.waited, self.what, self.attempts
        )?;
        match self.last_reason() {
            Some(reason) => write!(f, "; last seen: {reason}")?,
            None => write!(f, "; no look came to an end")?,
        }
        if self.cut_short {
            write!(f, " (the last look was cut at the deadline)")?;
        }
        let earlier = self.observations.len().saturating_sub(1);
        for seen in self.observations.iter().take(earlier) {
            write!(f, "\n  +{:.1?}  {} ({}x)", seen.at, seen.reason, seen.looks)?;
        }
        Ok(())
    }
}

impl std::error::Error for TimedOut {}

/// What a wait has just seen for the first time, or again after something else.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// What is waited for.
    pub what: &'a str,
    /// What was seen instead.
    pub seen: &'a str,
    /// How long it waits already.
    pub waited: Duration,
    /// When it is given up.
    pub deadline: Deadline,
}

/// Who is told of waits. It must not block.
pub type Observer = Arc<dyn Fn(Waiting<'_>) + Send + Sync>;

tokio::task_local! {
    /// Who is told of the waits of this task; `None` inside of a look, whose own waits are part of it.
    static OBSERVER: Option<Observer>;
}

/// Runs `work` and tells `observer` what its waits see. Waits inside of a wait are not told, nor those of tasks that it
/// spawns.
pub async fn observed<T>(observer: Observer, work: impl Future<Output = T>) -> T {
    OBSERVER.scope(Some(observer), work).await
}

/// How a [`poll_until`] fails.
#[derive(Debug, thiserror::Error)]
pub enum WaitError<E> {
    /// The deadline passed.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// A probe said that it can never be.
    #[error("{0}")]
    Fatal(E),
}

/// Looks with `probe` until it is ready, says that it never will be, or `deadline` passes.
///
/// The pause between two looks grows from 2 ms to 50 ms. A look is itself cut at the deadline. There is always at
/// least one look, even when the deadline has passed already.
///
/// # Errors
/// [`WaitError::TimedOut`] with what was seen on the way, [`WaitError::Fatal`] with the probe's own error.
pub async fn poll_until<T, E, F>(
    what: impl Into<String>,
    deadline: Deadline,
    mut probe: impl FnMut() -> F,
) -> Result<T, WaitError<E>>
where
    F: Future<Output = Probe<T, E>>,
{
    let started = Instant::now();
    let what = what.into();
    let observer = OBSERVER.try_with(Clone::clone).ok().flatten();
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    let mut observations: Vec<Observation> = Vec::new();
    let timed_out = |attempts, observations, cut_short, what: String| TimedOut {
        what,
        waited: started.elapsed(),
        attempts,
        observations,
        cut_short,
    };
    loop {
        let look = deadline.bound(OBSERVER.scope(None, probe()));
        match look.await {
            Some(Probe::Ready(value)) => return Ok(value),
            Some(Probe::Fatal(error)) => return Err(WaitError::Fatal(error)),
            Some(Probe::Pending(reason)) => {
                attempts += 1;
                let waited = started.elapsed();
                if observe(&mut observations, waited, reason)
                    && let (Some(observer), Some(seen)) = (&observer, observations.last())
                {
                    observer(Waiting {
                        what: &what,
                        seen: &seen.reason,
                        waited,
                        deadline,
                    });
                }
            }
            None => return Err(timed_out(attempts, observations, true, what).into()),
        }
        #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
        tokio::time::sleep(pause.min(deadline.remaining())).await;
        if deadline.has_passed() {
            return Err(timed_out(attempts, observations, false, what).into());
        }
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// The wall clock, in milliseconds since 1970, UTC. To tell when something was, never to wait or to measure.
pub fn unix_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A pause of a millisecond for code that cannot be async, which is `Drop` alone.
pub(crate) fn block_briefly() {
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    std::thread::sleep(Duration::from_millis(1));
}

/// Adds an observation; whether it differs from the one before.
fn observe(observations: &mut Vec<Observation>, at: Duration, reason: String) -> bool {
    if let Some(last) = observations.last_mut()
        && last.reason == reason
    {
        last.looks += 1;
        return false;
    }
    if observations.len() == OBSERVATIONS_KEPT {
        // The first one tells where the wait began; of the others the oldest goes.
        observations.remove(1);
    }
    observations.push(Observation {
        at,
        reason,
        looks: 1,
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(120))
    }

    #[tokio::test]
    async fn succeeds_late() {
        let looks = Cell::new(0);
        let got = poll_until::<_, (), _>(
            "the fourth look",
            Deadline::after(Duration::from_secs(5)),
            || async {
                looks.set(looks.get() + 1);
                if looks.get() == 4 {
                    Probe::Ready("there")
                } else {
                    Probe::Pending("not yet".into())
                }
            },
        );
        assert_eq!(got.await.unwrap(), "there");
        assert_eq!(looks.get(), 4);
    }

    #[tokio::test]
    async fn a_timeout_tells_what_was_seen() {
        let looks = Cell::new(0);
        // The fourth look hangs, so that a busy machine changes nothing of what was seen before the deadline.
        let deadline = Deadline::after(Duration::from_secs(1));
        let error = poll_until::<(), (), _>("height 3", deadline, || async {
            looks.set(looks.get() + 1);
            if looks.get() == 4 {
                std::future::pending::<()>().await;
            }
            Probe::Pending(format!("height {}", looks.get().min(2)))
        })
        .await
        .unwrap_err();
        let WaitError::TimedOut(timeout) = error else {
            panic!("not a timeout")
        };
        assert_eq!(timeout.last_reason(), Some("height 2"));
        assert_eq!(timeout.observations.len(), 2);
        assert_eq!((timeout.attempts, timeout.cut_short), (3, true));
        let text = timeout.to_string();
        assert!(
            text.contains("for height 3") && text.contains("last seen: height 2"),
            "{text}"
        );
        assert!(text.contains("height 1 (1x)"), "{text}");
    }

    #[tokio::test]
    async fn a_fatal_probe_ends_the_wait_at_once() {
        let deadline = Deadline::after(Duration::from_secs(60));
        let error =
            poll_until::<(), _, _>("anything", deadline, || async { Probe::Fatal("it exited") });
        assert!(matches!(error.await, Err(WaitError::Fatal("it exited"))));
        assert!(deadline.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_hanging_probe_is_cut_at_the_deadline() {
        let error = poll_until::<(), (), _>("an answer", soon(), std::future::pending)
            .await
            .unwrap_err();
        let WaitError::TimedOut(timeout) = error else {
            panic!("not a timeout")
        };
        assert!(timeout.cut_short);
        assert!(timeout.to_string().contains("no look came to an end"));
    }

    #[tokio::test]
    async fn an_observer_is_told_what_changes() {
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let to = told.clone();
        let observer: Observer = Arc::new(move |waiting: Waiting<'_>| {
            let Waiting { what, seen, .. } = waiting;
            to.lock().unwrap().push(format!("{what}: {seen}"));
        });
        let looks = Cell::new(0);
        let wait = poll_until::<_, (), _>("height 2", Deadline::after(WAIT), || async {
            // A wait inside of a look is a part of it.
            let inner =
                poll_until::<(), (), _>("nothing", Deadline::after(Duration::ZERO), || async {
                    Probe::Pending("inner".into())
                });
            let _ = inner.await;
            looks.set(looks.get() + 1);
            match looks.get() {
                1..=3 => Probe::Pending("height 1".into()),
                4 => Probe::Pending("no answer".into()),
                _ => Probe::Ready(()),
            }
        });
        observed(observer, wait).await.unwrap();
        let told = told.lock().unwrap();
        assert_eq!(*told, ["height 2: height 1", "height 2: no answer"]);
    }

    const WAIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_pause_is_capped() {
        let mut stamps = Vec::new();
        let start = tokio::time::Instant::now();
        let looks = std::cell::RefCell::new(&mut stamps);
        let _ =
            poll_until::<(), (), _>("never", Deadline::after(Duration::from_secs(5)), || async {
                looks.borrow_mut().push(start.elapsed());
                if looks.borrow().len() == 40 {
                    Probe::Fatal(())
                } else {
                    Probe::Pending("no".into())
                }
            })
            .await;
        let longest = stamps.windows(2).map(|w| w[1] - w[0]).max().unwrap();
        assert!(
            longest <= LONGEST_PAUSE + Duration::from_millis(2),
            "{longest:?}"
        );
        assert_eq!(stamps.len(), 40);
    }

    #[test]
    fn a_child_deadline_is_never_later() {
        let outer = Deadline::after(Duration::from_secs(1));
        assert!(outer.at_most(Duration::from_secs(60)).remaining() <= Duration::from_secs(1));
        assert!(outer.at_most(Duration::from_millis(10)).remaining() <= Duration::from_millis(10));
    }
}
