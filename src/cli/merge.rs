//! `swaprig report --merge`: what several shards left, as the result of one run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use swaprig_report::{Brief, CaseState, Loaded, Merged, MergedCase, merge};
use swaprig_scenarios::run::Tally;

use super::Exit;
use super::github::{GitHub, When};
use super::pages::{self, PAGE};
use super::record::{Case, Programs, Run, State, Told};
use super::run::{shown, summary};
use super::terminal::Lines;
use super::{exit::complain, junit};

/// What is made of the shards, and where.
pub(super) struct Wanted<'a> {
    pub junit: Option<&'a Path>,
    pub html: Option<&'a Path>,
    pub github: When,
    pub json: bool,
}

/// Tells what the shards in `loaded` brought together, and ends as one run would have.
pub(super) fn merged(loaded: Loaded, wanted: &Wanted<'_>) -> Exit {
    let merged = merge(loaded);
    let lines = Lines::new(wanted.json);
    let tally = tally(&merged);
    let mut run = run(&merged);
    if let Some(html) = wanted.html {
        write_pages(html, &merged, &mut run);
    }
    if wanted.json {
        match serde_json::to_string_pretty(&merged) {
            Ok(text) => println!("{text}"),
            Err(error) => complain(&error),
        }
    }
    for (case, told) in merged.cases.iter().zip(&run.cases) {
        lines.say(&text(case, told));
    }
    for remark in &merged.remarks {
        eprintln!("swaprig: {remark}");
    }
    let totals = match merged.shards {
        0 | 1 => summary(tally, run.took),
        shards => format!(
            "{} in the longest of {shards} shards",
            summary(tally, run.took)
        ),
    };
    lines.say(&totals);
    let mut is_written = true;
    if let Some(html) = wanted.html {
        let index = pages::index_of(&run, &totals, |case| {
            Some(pages::link(html, case.page.as_deref()?))
        });
        is_written &= pages::write_index(html, &index).is_ok();
    }
    if let Some(path) = wanted.junit {
        is_written &= junit::write_said(path, &run).is_ok();
    }
    tell_github(wanted.github, &run, &totals, lines);
    match Exit::of(tally, merged.allow_flaky, merged.require_all) {
        Exit::Passed if !is_written => Exit::Environment,
        exit => exit,
    }
}

fn tell_github(when: When, run: &Run, totals: &str, lines: Lines) {
    let Some(github) = GitHub::from_env(when) else {
        return;
    };
    for line in github.annotations(run) {
        lines.say(&line);
    }
    if let Err(error) = github.summarize(run, totals) {
        complain(&error);
    }
}

/// Writes a page for each run that has a record, and says where it is.
fn write_pages(html: &Path, merged: &Merged, run: &mut Run) {
    for (case, told) in merged.cases.iter().zip(&mut run.cases) {
        let Some(brief) = &case.brief else { continue };
        let out = pages::beside(html, &told.id, told.round);
        if pages::write(&brief.record, dir_of(&brief.record), &out).is_ok() {
            told.page = Some(out);
        }
    }
}

/// The directory of a record.
pub(super) fn dir_of(record: &Path) -> &Path {
    record.parent().unwrap_or(Path::new("."))
}

fn tally(merged: &Merged) -> Tally {
    let mut tally = Tally::default();
    for case in &merged.cases {
        let count = match case.state {
            CaseState::Passed => &mut tally.passed,
            CaseState::Failed => &mut tally.failed,
            CaseState::Broken => &mut tally.broken,
            CaseState::Flaky => &mut tally.flaky,
            CaseState::Known(_) => &mut tally.known,
            CaseState::Skipped(_) => &mut tally.skipped,
            CaseState::Interrupted | CaseState::NotBegun => &mut tally.interrupted,
        };
        *count += 1;
    }
    tally
}

/// The same as reports are written from.
fn run(merged: &Merged) -> Run {
    let daemons = merged.daemons.iter();
    let texts = daemons.clone().map(|daemon| match daemon.kind.as_str() {
        "bundled" => format!("{} bundled", daemon.role),
        _ => format!("{} {}", daemon.role, daemon.version),
    });
    let texts: Vec<String> = texts.collect();
    let properties =
        daemons.map(|daemon| (format!("{}.version", daemon.role), daemon.version.clone()));
    let seeds: Vec<String> = merged.seeds.iter().map(ToString::to_string).collect();
    let is_twice = |case: &MergedCase| {
        let same = merged
            .cases
            .iter()
            .filter(|other| (other.round, &other.scenario) == (case.round, &case.scenario));
        same.count() > 1
    };
    let cases = merged.cases.iter().map(|case| Case {
        // Shards with seeds of their own may have run the same scenario.
        id: match is_twice(case) {
            true => format!("{} (seed {})", case.scenario, case.seed),
            false => case.scenario.clone(),
        },
        title: case.title.clone(),
        path: PathBuf::from(&case.path),
        round: case.round,
        took: Duration::from_micros(case.took_us),
        attempts: case.attempts,
        state: state(case),
        page: case.brief.as_ref().and_then(page_beside),
    });
    Run {
        cases: cases.collect(),
        programs: Programs {
            text: texts.join(" · "),
            properties: properties.collect(),
        },
        seed: seeds.join(", "),
        took: Duration::from_millis(merged.took_ms),
        allow_flaky: merged.allow_flaky,
    }
}

/// The page that a failure left beside its record.
fn page_beside(brief: &Brief) -> Option<PathBuf> {
    let page = dir_of(&brief.record).join(PAGE);
    (brief.verdict != swaprig_report::Verdict::Passed && page.is_file()).then_some(page)
}

fn state(case: &MergedCase) -> State {
    let told = || case.brief.as_ref().map(told).unwrap_or_default();
    match &case.state {
        CaseState::Passed => State::Passed,
        CaseState::Failed => State::Failed(told()),
        CaseState::Broken => State::Broken(told()),
        CaseState::Flaky => State::Flaky(told()),
        CaseState::Known(issue) => State::Known {
            issue: issue.clone(),
            told: told(),
        },
        CaseState::Skipped(why) => State::Skipped(why.clone()),
        CaseState::Interrupted => State::Interrupted,
        CaseState::NotBegun => State::Waiting,
    }
}

/// A failure, from the end of its record.
fn told(brief: &Brief) -> Told {
    // `╭─[scenarios/a.scenario.toml:11:5]`
    let place = brief.problem.as_deref().and_then(|problem| {
        let frame = problem.split_once("─[")?.1.split_once(']')?.0;
        let mut parts = frame.rsplitn(3, ':');
        let (column, line) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((line, column))
    });
    Told {
        title: brief.first_line().unwrap_or_default(),
        text: screen("FAIL", brief, None),
        step: brief.step.clone(),
        place,
        attachments: vec![brief.record.clone()],
    }
}

/// A failure on one screen, as far as a record tells it.
pub(super) fn screen(word: &str, brief: &Brief, page: Option<&Path>) -> String {
    let round = match brief.round {
        1 => String::new(),
        round => format!(" (round {round})"),
    };
    let step = brief.step.as_ref().map(|step| format!("   step {step}"));
    let mut lines = vec![format!(
        "{word} {}{round}{}   {:.2} s",
        brief.scenario,
        step.unwrap_or_default(),
        brief.took_us as f64 / 1e6
    )];
    match &brief.problem {
        Some(problem) => lines.push(problem.trim_end().to_owned()),
        None => lines.extend(brief.first_line().map(|line| format!("  × {line}"))),
    }
    let mut line = |name: &str, value: &str| {
        for (at, part) in value.lines().enumerate() {
            let name = if at == 0 { name } else { "" };
            lines.push(format!("  {name:<9} {part}"));
        }
    };
    if let Some(why) = brief
        .failure
        .as_ref()
        .and_then(|failure| failure.why.as_ref())
    {
        line("why", why);
    }
    for (process, words) in &brief.last_words {
        line(process, words);
    }
    line("record", &shown(&brief.record));
    if let Some(page) = page {
        line("report", &shown(page));
    }
    line("again", &brief.again);
    lines.join("\n")
}

/// The line, or the screen, that tells a case.
fn text(case: &MergedCase, told: &Case) -> String {
    let (name, seconds) = (told.name(), told.took.as_secs_f64());
    let screen = |word: &str| match &case.brief {
        Some(brief) => screen(word, brief, told.page.as_deref()),
        None => format!("{word} {name}   its record is missing   {seconds:.2} s"),
    };
    match &case.state {
        CaseState::Passed => format!("PASS {name}   {seconds:.2} s"),
        CaseState::Skipped(why) => format!("SKIP {name}   {why}"),
        CaseState::NotBegun => format!("STOP {name}   not begun: its shard was ended before"),
        CaseState::Interrupted => format!("STOP {name}   interrupted after {seconds:.2} s"),
        CaseState::Known(issue) => format!("KNOWN {name}   {issue}   {seconds:.2} s"),
        CaseState::Failed => screen("FAIL"),
        CaseState::Broken => screen("ERROR"),
        CaseState::Flaky => format!(
            "{}\n  flaky     it passed when it was tried again, attempt {}",
            screen("FLAKY"),
            case.attempts
        ),
    }
}
