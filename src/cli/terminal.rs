//! What a run says while it goes: one calm line for each running scenario on a terminal, plain lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use swaprig_harness::binary::Passport;
use swaprig_scenarios::lang::{Plan, PlannedStep};
use swaprig_scenarios::run::{Outcome, Watch};

use super::run::outcome_text;

/// Where lines for people go: standard output, or standard error when that carries JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    json: bool,
}

/// [`Lines`] that tell outcomes.
#[derive(Debug)]
pub(super) struct Plain {
    lines: Lines,
    passport: Passport,
    seed: u64,
}

impl Lines {
    pub(super) fn new(json: bool) -> Self {
        Lines { json }
    }

    pub(super) fn say(self, text: &str) {
        if self.json {
            eprintln!("{text}")
        } else {
            println!("{text}")
        }
    }

    pub(super) fn with_passport(self, passport: Passport, seed: u64) -> Plain {
        Plain {
            lines: self,
            passport,
            seed,
        }
    }
}

impl Watch for Plain {
    fn started(&self, _: &Plan, _: u32) {}

    fn step(&self, _: &Plan, _: u32, _: &PlannedStep) {}

    fn finished(&self, plan: &Plan, outcome: &Outcome) {
        self.lines
            .say(&outcome_text(plan, outcome, &self.passport, self.seed));
    }
}

/// A line for each running scenario, on standard error, below the outcomes.
pub(super) struct Live {
    plain: Plain,
    screen: MultiProgress,
    /// By scenario and round.
    running: Mutex<HashMap<(String, u32), ProgressBar>>,
}

/// How often the times of the running scenarios are drawn.
const REDRAW: Duration = Duration::from_millis(100);

impl Live {
    pub(super) fn new(plain: Plain) -> Self {
        Live {
            plain,
            screen: MultiProgress::new(),
            running: Mutex::default(),
        }
    }

    fn bar(&self, plan: &Plan, round: u32) -> Option<ProgressBar> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(&(plan.id().to_owned(), round)).cloned()
    }
}

impl Watch for Live {
    fn started(&self, plan: &Plan, round: u32) {
        let style =
            ProgressStyle::with_template("  {spinner} {prefix}  {pos}/{len}  {elapsed}  {msg:.60}");
        // Added before it is set up: a bar on its own draws at once, and its line would stay.
        let bar = self.screen.add(ProgressBar::new(plan.steps.len() as u64));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_prefix(plan.id().to_owned());
        bar.set_message("starting the world");
        bar.enable_steady_tick(REDRAW);
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((plan.id().to_owned(), round), bar);
    }

    fn step(&self, plan: &Plan, round: u32, step: &PlannedStep) {
        if let Some(bar) = self.bar(plan, round) {
            bar.set_position(step.number as u64);
            bar.set_message(
                plan.step_text(step)
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        }
    }

    fn finished(&self, plan: &Plan, outcome: &Outcome) {
        let text = outcome_text(plan, outcome, &self.plain.passport, self.plain.seed);
        // On one terminal both streams share the screen, and the lines of running scenarios must make room.
        if !std::io::stdout().is_terminal() || self.screen.println(&text).is_err() {
            self.screen.suspend(|| self.plain.lines.say(&text));
        }
        let key = (plan.id().to_owned(), outcome.round);
        let ended = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
        if let Some(bar) = ended {
            bar.finish_and_clear();
        }
    }
}
