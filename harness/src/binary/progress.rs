//! Telling a person how a long step goes: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Instant;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What a step's progress is counted in, and how much there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// This many bytes.
    Bytes(u64),
    /// A hundred per cent.
    Percent,
    /// Nobody knows.
    Unknown,
}

/// Somebody who watches long steps. Steps do not nest: one ends before the next begins.
pub trait Progress: Sync {
    /// A step begins, such as "downloading bitcoin-29.4".
    fn begin(&self, what: &str, total: Total);
    /// So much of it is done, in the unit of its total.
    fn at(&self, done: u64);
    /// It has ended, well or badly.
    fn end(&self, outcome: &str);
    /// Something worth a line of its own.
    fn note(&self, line: &str);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str, _: Total) {}
    fn at(&self, _: u64) {}
    fn end(&self, _: &str) {}
    fn note(&self, _: &str) {}
}

/// Standard error: a bar if that is a terminal, plain lines if not.
#[derive(Debug, Default)]
pub struct Stderr {
    step: Mutex<Option<Step>>,
}

#[derive(Debug)]
struct Step {
    what: String,
    total: Total,
    began: Instant,
    bar: Option<ProgressBar>,
    /// Quarters of a plain step that were told.
    quarters: u64,
}

impl Stderr {
    /// A watcher with no step yet.
    pub fn new() -> Self {
        Stderr::default()
    }

    fn step(&self) -> std::sync::MutexGuard<'_, Option<Step>> {
        self.step
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Progress for Stderr {
    fn begin(&self, what: &str, total: Total) {
        let bar = std::io::stderr().is_terminal().then(|| bar(what, total));
        if bar.is_none() {
            eprintln!("{what}{}", Amount(total));
        }
        *self.step() = Some(Step {
            what: what.into(),
            total,
            began: Instant::now(),
            bar,
            quarters: 0,
        });
    }

    fn at(&self, done: u64) {
        let mut step = self.step();
        let Some(step) = step.as_mut() else { return };
        if let Some(bar) = &step.bar {
            bar.set_position(done);
            return;
        }
        let all = match step.total {
            Total::Bytes(bytes) => bytes,
            Total::Percent => 100,
            Total::Unknown => return,
        };
        let quarters = (done * 4).checked_div(all).unwrap_or(0);
        // The end has a line of its own, and a step of less than a few seconds needs no more than that.
        if quarters > step.quarters && quarters < 4 && step.began.elapsed().as_secs() >= 3 {
            step.quarters = quarters;
            eprintln!("{}: {} %", step.what, quarters * 25);
        }
    }

    fn end(&self, outcome: &str) {
        let Some(step) = self.step().take() else {
            return;
        };
        if let Some(bar) = step.bar {
            bar.finish_and_clear();
        }
        eprintln!(
            "{}: {outcome} ({:.1} s)",
            step.what,
            step.began.elapsed().as_secs_f64()
        );
    }

    fn note(&self, line: &str) {
        match self.step().as_ref().and_then(|step| step.bar.as_ref()) {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

/// `, 48 MiB`, or nothing.
struct Amount(Total);

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Total::Bytes(bytes) => write!(f, ", {}", HumanBytes(bytes)),
            Total::Percent | Total::Unknown => Ok(()),
        }
    }
}

fn bar(what: &str, total: Total) -> ProgressBar {
    let (length, template) = match total {
        Total::Bytes(bytes) => (
            Some(bytes),
            "{msg}  {wide_bar}  {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
        ),
        Total::Percent => (Some(100), "{msg}  {wide_bar}  {percent} %  {elapsed}"),
        Total::Unknown => (None, "{msg}  {spinner}  {elapsed}"),
    };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    bar.set_style(
        ProgressStyle::with_template(template).expect("the templates above are well-formed"),
    );
    bar.set_message(what.to_owned());
    if total == Total::Unknown {
        // indicatif's own thread turns it, and ends with the bar.
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
    }
    bar
}
