//! What a run says on a terminal while it goes: one calm line for each running scenario, below the outcomes.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use ratatui::crossterm::terminal;
use swaprig_harness::time::{Deadline, Waiting};
use swaprig_scenarios::lang::{Plan, PlannedStep};
use swaprig_scenarios::run::{Outcome, Watch};

use super::terminal::Plain;

/// How often the lines are drawn.
const REDRAW: Duration = Duration::from_millis(100);
/// What is shown of a wait only after this long: shorter ones would flicker.
const SETTLED: Duration = Duration::from_millis(500);
/// Columns of a terminal that does not tell.
const WIDTH: usize = 80;

/// A line for each running scenario, on standard error.
pub(super) struct Live {
    plain: Plain,
    screen: MultiProgress,
    /// By scenario and round.
    running: Mutex<HashMap<(String, u32), Running>>,
}

struct Running {
    bar: ProgressBar,
    status: Arc<Mutex<Status>>,
}

/// Where a scenario is.
struct Status {
    id: String,
    began: Instant,
    /// Its step and how many there are.
    step: Option<(usize, usize)>,
    /// What the step does, as the file says it.
    doing: String,
    /// The place of the step that waits, what for, what is seen, since when, and until when.
    wait: Option<Wait>,
}

struct Wait {
    step: String,
    what: String,
    seen: String,
    since: Instant,
    deadline: Deadline,
}

impl Status {
    /// One line of at most `width` columns.
    fn line(&self, now: Instant, width: usize) -> String {
        let seconds = now.saturating_duration_since(self.began).as_secs();
        let head = match self.step {
            Some((step, of)) => format!("{}  {step}/{of}  {seconds}s  ", self.id),
            None => format!("{}  {seconds}s  ", self.id),
        };
        let wait = self.wait.as_ref();
        let wait = wait.filter(|wait| now.saturating_duration_since(wait.since) >= SETTLED);
        let text = match wait {
            Some(wait) => {
                let left = wait.deadline.remaining().as_secs();
                // What is left comes first: the end is what a narrow terminal cuts.
                format!("{left}s left for {}: {}", wait.what, wait.seen)
            }
            None => self.doing.clone(),
        };
        cut(&format!("{head}{text}"), width)
    }
}

/// The first `width` characters, the last of which tells when there are more.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    pub(super) fn new(plain: Plain) -> Self {
        Live {
            plain,
            screen: MultiProgress::new(),
            running: Mutex::default(),
        }
    }

    /// Says something above the lines of what runs.
    pub(super) fn say(&self, text: &str) {
        // On one terminal both streams share the screen, and the lines of running scenarios must make room.
        if !std::io::stdout().is_terminal() || self.screen.println(text).is_err() {
            self.screen.suspend(|| self.plain.lines.say(text));
        }
    }

    fn change(&self, plan: &Plan, round: u32, change: impl FnOnce(&mut Status)) {
        let running = lock(&self.running);
        if let Some(running) = running.get(&(plan.id().to_owned(), round)) {
            change(&mut lock(&running.status));
        }
    }
}

impl Watch for Live {
    fn started(&self, plan: &Plan, round: u32) {
        let status = Arc::new(Mutex::new(Status {
            id: plan.id().to_owned(),
            began: Instant::now(),
            step: None,
            doing: "starting the world".to_owned(),
            wait: None,
        }));
        let shown = status.clone();
        let style = ProgressStyle::with_template("  {spinner} {status}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let style = style.with_key(
            "status",
            move |_: &ProgressState, to: &mut dyn std::fmt::Write| {
                let width = terminal::size().map_or(WIDTH, |(columns, _)| columns.into());
                let line = lock(&shown).line(Instant::now(), width.saturating_sub(5));
                let _ = to.write_str(&line);
            },
        );
        // Added before it is set up: a bar on its own draws at once, and its line would stay.
        let bar = self.screen.add(ProgressBar::new_spinner());
        bar.set_style(style);
        bar.enable_steady_tick(REDRAW);
        let running = Running { bar, status };
        lock(&self.running).insert((plan.id().to_owned(), round), running);
    }

    fn step(&self, plan: &Plan, round: u32, step: &PlannedStep) {
        let text = plan.step_text(step);
        let text = text.trim_matches(|c: char| "{} ".contains(c));
        let doing = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.change(plan, round, |status| {
            status.step = Some((step.number, plan.steps.len()));
            status.doing = doing;
            status.wait = None;
        });
    }

    fn waits(&self, plan: &Plan, round: u32, step: &str, waiting: Waiting<'_>) {
        let now = Instant::now();
        self.change(plan, round, |status| {
            // A wait that only sees something else is the same wait.
            let same = status
                .wait
                .take()
                .filter(|wait| wait.step == step && wait.what == waiting.what);
            status.wait = Some(Wait {
                step: step.to_owned(),
                what: waiting.what.to_owned(),
                seen: waiting
                    .seen
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
                since: same.map_or(now, |wait| wait.since),
                deadline: waiting.deadline,
            });
        });
    }

    fn finished(&self, plan: &Plan, outcome: &Outcome) {
        self.say(&self.plain.text(plan, outcome));
        let key = (plan.id().to_owned(), outcome.round);
        if let Some(ended) = lock(&self.running).remove(&key) {
            ended.bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            id: "ln-to-liquid/claim#gold".to_owned(),
            began: Instant::now(),
            step: Some((3, 17)),
            doing: "mine = 2, chain = \"liquid\"".to_owned(),
            wait: None,
        }
    }

    #[test]
    fn a_line_says_where_it_is_and_fits() {
        let status = status();
        let line = status.line(status.began + Duration::from_secs(4), 80);
        assert_eq!(
            line,
            "ln-to-liquid/claim#gold  3/17  4s  mine = 2, chain = \"liquid\""
        );
        for width in 1..40 {
            let line = status.line(status.began, width);
            assert!(
                line.chars().count() <= width && line.ends_with('…'),
                "{line}"
            );
        }
    }

    #[test]
    fn a_wait_is_told_with_the_time_that_is_left_once_it_lasts() {
        let mut status = status();
        let since = status.began;
        status.wait = Some(Wait {
            step: "3".to_owned(),
            what: "$swap.status to be claimed".to_owned(),
            seen: "funded".to_owned(),
            since,
            deadline: Deadline::after(Duration::from_millis(5_900)),
        });
        assert!(status.line(since, 80).contains("mine"));
        let line = status.line(since + SETTLED, 100);
        assert!(
            line.ends_with("5s left for $swap.status to be claimed: funded"),
            "{line}"
        );
    }
}
