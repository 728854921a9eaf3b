//! `swaprig run`: scenarios from files, in fresh worlds.

use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use swaprig_harness::binary::{Passport, Settings, Stderr};
use swaprig_harness::doctor::suggested_jobs;
use swaprig_harness::run_dir::RunDir;
use swaprig_harness::time::unix_ms;
use swaprig_harness::world::{Binaries, Needs};
use swaprig_report::flakes as flakes_of;
use swaprig_scenarios::lang::Plan;
use swaprig_scenarios::run::{
    Outcome, Random, RunSettings, StepIn, Tally, Verdict, Watch, Watches, run_all,
};

use super::exit::complain;
use super::failure::Screen;
use super::filter::FilterFlags;
use super::github::{GitHub, When};
use super::live::Live;
use super::pages::Pages;
use super::record::{Recorder, Wanted};
use super::select::{count, selected};
use super::signals::Signals;
use super::step_in::{OnFailure, Scene, nobody_there};
use super::stored::{self, RecordsFlag};
use super::terminal::Lines;
use super::verbose::{Say, Verbose};
use super::{DaemonFlags, Exit, RunDirFlags, flakes, json, runtime};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Scenario files, cases of them (FILE#CASE), or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How many worlds at once; `auto`: as many as cores and free memory allow
    #[arg(long, short, value_name = "auto|N", default_value = "auto")]
    jobs: Jobs,
    /// Run every scenario this often
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Try a scenario that did not pass again, this often. One that passes then is flaky
    #[arg(long, value_name = "N", default_value = "0")]
    retries: u32,
    /// Flaky scenarios do not fail the run
    #[arg(long)]
    allow_flaky: bool,
    /// Where everything random comes from [default: a new one, which is printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run the scenarios in an order that the seed decides
    #[arg(long)]
    shuffle: bool,
    /// Multiply every deadline and every `within` by this, for a slow machine
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = timeout_scale)]
    timeout_scale: f64,
    /// Stop where a scenario fails: its world stands, for `swaprig shell` and the like, until Enter or Ctrl-C is pressed.
    /// Runs one scenario at a time, and only on a terminal
    #[arg(long, conflicts_with = "retries")]
    step_in: bool,
    /// Fail when a scenario cannot run here, instead of skipping it
    #[arg(long)]
    require_all: bool,
    /// Print what the daemons and servers say as they say it, each line under the name of who says it
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    filter: FilterFlags,
    #[command(flatten)]
    reports: ReportFlags,
    #[command(flatten)]
    daemons: DaemonFlags,
    #[command(flatten)]
    run_dir: RunDirFlags,
    #[command(flatten)]
    records: RecordsFlag,
}

impl RunArgs {
    /// How many worlds at once, or why this cannot be run so.
    fn jobs(&self) -> Result<NonZeroUsize, String> {
        match self.jobs {
            jobs if !self.step_in => Ok(jobs.number()),
            Jobs::Exactly(number) if number != NonZeroUsize::MIN => Err(format!(
                "--step-in runs one scenario at a time; leave --jobs {number} out"
            )),
            Jobs::Auto | Jobs::Exactly(_) => match nobody_there() {
                Some(why) => Err(why),
                None => Ok(NonZeroUsize::MIN),
            },
        }
    }
}

/// What is written about a run, and for whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
struct ReportFlags {
    /// Print one JSON object with all outcomes to standard output, and everything else to standard error
    #[arg(long)]
    json: bool,
    /// Write a JUnit report, also when the run is interrupted or cannot begin
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the page of a scenario that is run once; else a table of all, with their pages in a directory beside it.
    /// A failure always leaves its page in its run directory
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Keep no event records, and make no pages from them
    #[arg(long, conflicts_with = "html")]
    no_record: bool,
    /// Annotate files and summarize the step on GitHub; `auto`: where GITHUB_ACTIONS=true
    #[arg(long, value_name = "WHEN", num_args = 0..=1, default_value = "auto", default_missing_value = "always", require_equals = true)]
    github: When,
}

/// How many worlds at once.
#[derive(Debug, Clone, Copy)]
enum Jobs {
    Auto,
    Exactly(NonZeroUsize),
}

impl FromStr for Jobs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Jobs::Auto),
            number => number
                .parse()
                .map(Jobs::Exactly)
                .map_err(|_| "write `auto`, or a number from 1 on"),
        }
    }
}

impl Jobs {
    fn number(self) -> NonZeroUsize {
        match self {
            Jobs::Auto => NonZeroUsize::new(suggested_jobs()).unwrap_or(NonZeroUsize::MIN),
            Jobs::Exactly(number) => number,
        }
    }
}

/// Between a hundredth and a thousand: below, nothing passes; above, a mistake in typing looks like a hang.
pub(super) fn timeout_scale(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(factor) if (0.01..=1000.0).contains(&factor) => Ok(factor),
        _ => Err("write a number from 0.01 to 1000, such as 2.5"),
    }
}

/// What a run brought.
pub(super) struct Report {
    pub outcomes: Vec<Outcome>,
    pub tally: Tally,
    pub passport: Passport,
    pub seed: u64,
    pub took: std::time::Duration,
    /// The run directory, where something in it was kept.
    pub kept: Option<PathBuf>,
}

pub(super) fn run(args: &RunArgs) -> Exit {
    let jobs = match args.jobs() {
        Ok(jobs) => jobs,
        Err(why) => {
            eprintln!("swaprig: {why}");
            return Exit::Usage;
        }
    };
    let place = args.run_dir.settings();
    let mut plans = match selected(&args.paths, &args.filter, &place.base) {
        Ok(plans) => plans,
        Err(exit) => return exit,
    };
    let seed = args.seed.unwrap_or_else(Random::any_seed);
    if args.shuffle {
        Random::new(seed, "order").shuffle(&mut plans);
    }
    let records = (!args.reports.no_record).then(|| args.records.dir(&args.run_dir.base));
    let recorder = recorder(args, &plans, seed, &place.base, records.as_deref());
    let lines = Lines::new(args.reports.json);
    let dir = match RunDir::numbered(&place.base, place.keep) {
        Ok(dir) => dir,
        Err(error) => return cannot_run(args, &recorder, &error, lines),
    };
    let settings = args.daemons.settings();
    let (binaries, missing) = match binaries(&plans, &settings) {
        Ok((binaries, missing)) => (Arc::new(binaries), missing),
        Err(error) => {
            dir.succeed();
            return cannot_run(args, &recorder, &error, lines);
        }
    };
    let passport = binaries.passport();
    recorder.begins(&passport, &plans, args.repeat, args.require_all);
    let shown_dir = shown(dir.path());
    lines.say(&format!(
        "{passport}   seed {seed}   run directory {shown_dir}"
    ));
    if let Some(missing) = missing {
        lines.say(&missing);
    }
    let several = jobs.get() > 1 && plans.len() * args.repeat as usize > 1;
    let watch = watch(args, lines, &passport, seed, several);
    let run = RunSettings {
        jobs,
        rounds: args.repeat,
        retries: args.retries,
        timeout_scale: args.timeout_scale,
        seed,
        binaries,
        settings,
        records: records.clone(),
        step_in: watch.step_in,
    };
    let ids: Vec<String> = plans.iter().map(|plan| plan.id().to_owned()).collect();
    let recorder = Arc::new(recorder);
    let report = runtime().block_on(run_plans(plans, run, dir, watch.to, recorder.clone()));
    let (report, signal) = match report {
        Ok(done) => done,
        Err(error) => return cannot_run(args, &recorder, &error, lines),
    };
    let exit = finish(args, &report, &recorder, signal, lines);
    if let Some(records) = records
        && let Err(error) = stored::rotate(&records, ids.iter().map(String::as_str))
    {
        complain(&error);
    }
    exit
}

/// What is written about the run, and what is known of it before it begins.
fn recorder(
    args: &RunArgs,
    plans: &[Arc<Plan>],
    seed: u64,
    base: &Path,
    records: Option<&Path>,
) -> Recorder {
    let runs = plans.len() * args.repeat as usize;
    let log = records.map(|records| stored::Log::new(records, unix_ms()));
    let wanted = Wanted {
        junit: args.reports.junit.clone(),
        pages: Pages::new(args.reports.html.clone(), runs),
        base: base.to_owned(),
        log,
    };
    Recorder::new(plans, args.repeat, seed, args.allow_flaky, wanted)
}

/// Says why nothing can be run, in the reports too.
fn cannot_run(
    args: &RunArgs,
    recorder: &Recorder,
    why: &(dyn std::error::Error + 'static),
    lines: Lines,
) -> Exit {
    complain(why);
    recorder.cannot_run(&swaprig_harness::error_chain(why));
    let _ = recorder.write();
    tell_github(args, recorder, "the environment could not be set up", lines);
    Exit::Environment
}

fn tell_github(args: &RunArgs, recorder: &Recorder, totals: &str, lines: Lines) {
    let Some(github) = GitHub::from_env(args.reports.github) else {
        return;
    };
    let run = recorder.now();
    for line in github.annotations(&run) {
        lines.say(&line);
    }
    if let Err(error) = github.summarize(&run, totals) {
        complain(&error);
    }
}

/// Who is told what happens, and who steps in.
struct Told {
    to: Vec<Arc<dyn Watch>>,
    step_in: Option<Arc<dyn StepIn>>,
}

/// `several`: whether worlds run side by side.
fn watch(args: &RunArgs, lines: Lines, passport: &Passport, seed: u64, several: bool) -> Told {
    let plain = lines.with_passport(passport.clone(), seed);
    let mut say: Say = Arc::new(move |line| lines.say(line));
    let mut step_in = None::<Arc<dyn StepIn>>;
    let to: Arc<dyn Watch> = match (args.step_in, std::io::stderr().is_terminal()) {
        (true, _) => {
            let scene = Scene::new(passport.clone(), seed, lines);
            let both = Arc::new(OnFailure::new(plain, scene));
            step_in = Some(both.clone());
            both
        }
        (false, true) => {
            let live = Arc::new(Live::new(plain));
            let above = live.clone();
            say = Arc::new(move |line| above.say(line));
            live
        }
        (false, false) => Arc::new(plain),
    };
    let mut all = vec![to];
    if args.verbose {
        // First, so that the last words of a world come before its outcome.
        all.insert(0, Arc::new(Verbose::new(say, several)));
    }
    Told { to: all, step_in }
}

async fn run_plans(
    plans: Vec<Arc<Plan>>,
    run: RunSettings,
    dir: RunDir,
    mut to: Vec<Arc<dyn Watch>>,
    recorder: Arc<Recorder>,
) -> std::io::Result<(Report, Option<Exit>)> {
    let started = Instant::now();
    let (passport, seed) = (run.binaries.passport(), run.seed);
    // Whoever sends a signal may not wait for the daemons to end: what is known is on disk at once.
    let saved = recorder.clone();
    let signals = Signals::listen(move || drop(saved.write()))?;
    // First, so that what is told of an outcome can name the page that was made of it.
    to.insert(0, recorder);
    let watch = Arc::new(Watches(to));
    let outcomes = run_all(plans, run, &dir, watch, signals.interrupt.clone()).await;
    let tally = Tally::of(&outcomes);
    let green = tally.passed + tally.skipped + tally.known == tally.total();
    let path = dir.path().to_owned();
    let kept = if green && signals.exit().is_none() {
        dir.succeed()
    } else {
        Some(path)
    };
    Ok((
        Report {
            outcomes,
            tally,
            passport,
            seed,
            took: started.elapsed(),
            kept,
        },
        signals.exit(),
    ))
}

/// What all worlds together need, and why something is missing if it is. It is looked for only when a world has it.
pub(super) fn binaries(
    plans: &[Arc<Plan>],
    settings: &Settings,
) -> Result<(Binaries, Option<String>), swaprig_harness::StartError> {
    let mut needs = Needs::nothing();
    for plan in plans {
        needs.extend(&plan.world.needs());
    }
    Binaries::resolve_available(settings, &needs, &Stderr::default())
}

fn finish(
    args: &RunArgs,
    report: &Report,
    recorder: &Recorder,
    signal: Option<Exit>,
    lines: Lines,
) -> Exit {
    if args.reports.json {
        println!("{:#}", json::report(report));
    }
    let totals = summary(report.tally, report.took);
    if args.repeat > 1 && report.tally.failed + report.tally.broken + report.tally.flaky > 0 {
        let flakes = flakes_of(&recorder.attempts());
        lines.say(&flakes::table(&flakes));
    }
    lines.say(&totals);
    if let Some(kept) = &report.kept {
        lines.say(&format!("kept {}", kept.display()));
    }
    recorder.over(&totals);
    let written = recorder.write();
    tell_github(args, recorder, &totals, lines);
    match signal {
        Some(signal) => signal,
        None => match Exit::of(report.tally, args.allow_flaky, args.require_all) {
            // A report that was asked for and is not there must not look like a success.
            Exit::Passed if written.is_err() => Exit::Environment,
            exit => exit,
        },
    }
}

/// What came out, on one line.
pub(super) fn summary(tally: Tally, took: std::time::Duration) -> String {
    let mut parts = Vec::new();
    for (n, word) in [
        (tally.failed, "failed"),
        (tally.broken, "broken"),
        (tally.flaky, "flaky"),
        (tally.passed, "passed"),
        (tally.known, "known to fail"),
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
    let runs = count(tally.total(), "run");
    format!("{parts} of {runs}, {:.1} s", took.as_secs_f64())
}

/// The id of an outcome, with its round if that is not the first.
pub(super) fn head(outcome: &Outcome) -> String {
    match outcome.round {
        0 | 1 => outcome.id.clone(),
        round => format!("{} (round {round})", outcome.id),
    }
}

/// The line, or the screen, that tells one outcome.
pub(super) fn outcome_text(
    plan: &Plan,
    outcome: &Outcome,
    passport: &Passport,
    seed: u64,
) -> String {
    let head = head(outcome);
    let seconds = outcome.took.as_secs_f64();
    let (word, failure) = match &outcome.verdict {
        Verdict::Passed => return format!("PASS {head}   {seconds:.2} s"),
        Verdict::Skipped(why) => return format!("SKIP {head}   {why}"),
        Verdict::Interrupted => {
            let mut text = format!("STOP {head}   interrupted after {seconds:.2} s");
            if let Some(page) = super::failure::page(outcome) {
                text += &format!("\n  report    {}", shown(&page));
            }
            return text;
        }
        Verdict::KnownFailure { issue, failure } => {
            let title = &failure.failure.title;
            return format!("KNOWN {head}   {issue}: {title}   {seconds:.2} s");
        }
        Verdict::Failed(failure) => ("FAIL", failure),
        Verdict::Broken(failure) => ("ERROR", failure),
        Verdict::Flaky(failure) => ("FLAKY", failure),
    };
    let screen = Screen {
        word,
        plan,
        outcome,
        failure,
        passport,
        seed,
        stands: false,
    };
    match &outcome.verdict {
        Verdict::Flaky(_) => format!(
            "{}\n  flaky     it passed when it was tried again, attempt {}",
            screen.text(),
            outcome.attempts
        ),
        _ => screen.text(),
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
