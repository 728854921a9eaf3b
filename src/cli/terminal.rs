//! What a run says without a terminal: one line for each outcome.

use swaprig_harness::binary::Passport;
use swaprig_scenarios::lang::Plan;
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
    pub(super) lines: Lines,
    pub(super) passport: Passport,
    pub(super) seed: u64,
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

impl Plain {
    /// What an outcome comes to, in words.
    pub(super) fn text(&self, plan: &Plan, outcome: &Outcome) -> String {
        outcome_text(plan, outcome, &self.passport, self.seed)
    }
}

impl Watch for Plain {
    fn finished(&self, plan: &Plan, outcome: &Outcome) {
        self.lines.say(&self.text(plan, outcome));
    }
}
