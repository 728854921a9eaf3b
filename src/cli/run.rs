//! `swaprig run`: scenarios from files, in fresh worlds.

use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use swaprig_harness::binary::{Settings, Stderr};
use swaprig_harness::run_dir::RunDir;
use swaprig_harness::world::Binaries;
use swaprig_scenarios::lang::Plan;
use swaprig_scenarios::run::{Outcome, RunSettings, Tally, Verdict, Watch, run_all};

use super::exit::complain;
use super::select::{count, plans};
use super::signals::Signals;
use super::terminal::{Lines, Live};
use super::{DaemonFlags, Exit, RunDirFlags, failure, json, runtime};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Scenario files, cases of them (FILE#CASE), or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How many worlds at once [default: one for each core]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Run every scenario this often
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Print one JSON object with all outcomes to standard output, and everything else to standard error
    #[arg(long)]
    json: bool,
    /// Fail when a scenario cannot run here, instead of skipping it
    #[arg(long)]
    require_all: bool,
    #[command(flatten)]
    daemons: DaemonFlags,
    #[command(flatten)]
    run_dir: RunDirFlags,
}

/// What a run brought.
pub(super) struct Report {
    pub outcomes: Vec<Outcome>,
    pub tally: Tally,
    pub passport: swaprig_harness::binary::Passport,
    pub took: std::time::Duration,
    /// The run directory, where something in it was kept.
    pub kept: Option<PathBuf>,
}

pub(super) fn run(args: &RunArgs) -> Exit {
    let plans = match plans(&args.paths) {
        Ok(plans) => plans,
        Err(exit) => return exit,
    };
    let settings = args.daemons.settings();
    let place = args.run_dir.settings();
    let dir = match RunDir::numbered(&place.base, place.keep) {
        Ok(dir) => dir,
        Err(error) => {
            complain(&error);
            return Exit::Environment;
        }
    };
    let (binaries, missing) = match binaries(&plans, &settings) {
        Ok((binaries, missing)) => (Arc::new(binaries), missing),
        Err(error) => {
            dir.succeed();
            complain(&error);
            return Exit::Environment;
        }
    };
    let lines = Lines::new(args.json);
    lines.say(&format!(
        "{}   run directory {}",
        binaries.passport(),
        shown(dir.path())
    ));
    if let Some(missing) = missing {
        lines.say(&missing);
    }
    let report = runtime().block_on(run_plans(args, plans, settings, binaries, dir, lines));
    let (report, signal) = match report {
        Ok(done) => done,
        Err(error) => {
            complain(&error);
            return Exit::Environment;
        }
    };
    finish(args, &report, signal, lines)
}

async fn run_plans(
    args: &RunArgs,
    plans: Vec<Arc<Plan>>,
    settings: Settings,
    binaries: Arc<Binaries>,
    dir: RunDir,
    lines: Lines,
) -> std::io::Result<(Report, Option<Exit>)> {
    let started = Instant::now();
    let signals = Signals::listen()?;
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let passport = binaries.passport();
    let run = RunSettings {
        jobs: args.jobs.unwrap_or(cores),
        rounds: args.repeat,
        binaries,
        settings,
    };
    let watch: Arc<dyn Watch> = match std::io::stderr().is_terminal() {
        true => Arc::new(Live::new(lines, passport.clone())),
        false => Arc::new(lines.with_passport(passport.clone())),
    };
    let outcomes = run_all(plans, run, &dir, watch, signals.interrupt.clone()).await;
    let tally = Tally::of(&outcomes);
    let clean = tally.passed + tally.skipped == tally.total() && signals.exit().is_none();
    let path = dir.path().to_owned();
    let kept = if clean { dir.succeed() } else { Some(path) };
    Ok((
        Report {
            outcomes,
            tally,
            passport,
            took: started.elapsed(),
            kept,
        },
        signals.exit(),
    ))
}

/// What all worlds together need, and why the Lightning node is missing if it is. It is looked for only when a world has
/// one.
fn binaries(
    plans: &[Arc<Plan>],
    settings: &Settings,
) -> Result<(Binaries, Option<String>), swaprig_harness::StartError> {
    if plans.iter().all(|plan| plan.world.lightning.is_empty()) {
        return Ok((
            Binaries::resolve(settings, false, &Stderr::default())?,
            None,
        ));
    }
    Binaries::resolve_available(settings, &Stderr::default())
}

fn finish(args: &RunArgs, report: &Report, signal: Option<Exit>, lines: Lines) -> Exit {
    if args.json {
        println!("{:#}", json::report(report));
    }
    lines.say(&summary(report));
    if let Some(kept) = &report.kept {
        lines.say(&format!("kept {}", kept.display()));
    }
    let Tally {
        failed,
        broken,
        skipped,
        ..
    } = report.tally;
    match signal {
        Some(signal) => signal,
        None if failed > 0 => Exit::Failed,
        None if broken > 0 || (skipped > 0 && args.require_all) => Exit::Environment,
        None => Exit::Passed,
    }
}

fn summary(report: &Report) -> String {
    let tally = report.tally;
    let mut parts = Vec::new();
    for (n, word) in [
        (tally.failed, "failed"),
        (tally.broken, "broken"),
        (tally.passed, "passed"),
        (tally.skipped, "skipped"),
        (tally.interrupted, "interrupted"),
    ] {
        if n > 0 {
            parts.push(format!("{n} {word}"));
        }
    }
    let parts = if parts.is_empty() {
        "nothing was run".to_owned()
    } else {
        parts.join(", ")
    };
    format!(
        "{parts} of {}, {:.1} s",
        count(tally.total(), "run"),
        report.took.as_secs_f64()
    )
}

/// The line, or the screen, that tells one outcome.
pub(super) fn outcome_text(
    plan: &Plan,
    outcome: &Outcome,
    passport: &swaprig_harness::binary::Passport,
) -> String {
    let round = if outcome.round > 1 {
        format!(" (round {})", outcome.round)
    } else {
        String::new()
    };
    let head = format!("{}{round}", outcome.id);
    let seconds = outcome.took.as_secs_f64();
    match &outcome.verdict {
        Verdict::Passed => format!("PASS {head}   {seconds:.2} s"),
        Verdict::Skipped(why) => format!("SKIP {head}   {why}"),
        Verdict::Interrupted => format!("STOP {head}   interrupted after {seconds:.2} s"),
        Verdict::Failed(failure) => {
            failure::screen("FAIL", &head, plan, outcome, failure, passport)
        }
        Verdict::Broken(failure) => {
            failure::screen("ERROR", &head, plan, outcome, failure, passport)
        }
    }
}

/// A path as it is typed here: relative to the current directory where it lies below it.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here
        .as_deref()
        .and_then(|here| path.strip_prefix(here).ok());
    below.unwrap_or(path).display().to_string()
}
