//! What a run that did not pass opens with: what was expected, what was seen instead, and what to read next.

use maud::{Markup, html};
use swaprig_record::{Event, Line};

use super::logs::{Level, Lines, LogLine};
use super::model::{Model, Step};
use super::{labels, plan, sources, summary, words};

/// How many of the last observations are shown.
const LOOKS: usize = 30;

/// How many events before the failure are shown.
const EVENTS: usize = 12;

/// How many log lines of a party are shown.
const LINES: usize = 8;

pub(super) fn section(model: &Model<'_>, lines: &Lines<'_>) -> Markup {
    let step = model.failing();
    let failure = model.failure();
    let ended = model.ended;
    html! {
        section #failure aria-labelledby="h-failure" {
            h2 #h-failure {
                @match failure {
                    Some(failure) => { (words::readable(&failure.title)) },
                    None => { @if ended.is_none() { "The record stops here: the run was killed, or is still running" } @else { "The run did not pass" } },
                }
            }
            @if let Some(step) = step { (where_it_failed(model, step)) }
            @if let Some(failure) = failure.filter(|failure| words::readable(&failure.title) != failure.title) {
                details { summary { "The whole message" } pre.whole { (failure.title) } }
            }
            dl.facts.big {
                @if let Some(step) = step {
                    @let wait = step.seen.last().map(|(_, _, seen)| &seen.wait);
                    dt { "Expected" } dd { @match wait { Some(wait) => (wait), None => { code { (step.began.text) } } } " within " (words::within(step.began.within_ms)) }
                }
                dt { "Last observed" } dd { (last_seen(model, step)) }
                @if let Some(why) = failure.and_then(|failure| failure.why.as_ref()) { dt { "Why" } dd.why { (why) } }
                @if !model.contents.began.again.is_empty() { dt { "Run it again" } dd { (summary::command(&model.contents.began.again)) } }
            }
            (excerpt(model, step))
            @if let Some(step) = step { (history(step)) }
            (read_next(model, lines, step))
        }
    }
}

fn where_it_failed(model: &Model<'_>, step: &Step<'_>) -> Markup {
    let (_, outcome) = labels::outcome(step);
    html! {
        p.where {
            "Step " a href=(model.href(step.n)) { b { (step.began.step) } } ", " code { (step.began.key) } ", " (outcome)
            ", begun at " (words::moment(step.t)) " s, " (sources::link(model, &step.began.file, step.began.line))
        }
    }
}

fn last_seen(model: &Model<'_>, step: Option<&Step<'_>>) -> Markup {
    let told = model.failure().and_then(|failure| failure.seen.clone());
    let looked = step.and_then(|step| step.seen.last());
    html! {
        @match (told, looked) {
            (Some(seen), _) => b { (seen) },
            (None, Some((_, _, seen))) => b { (seen.seen) },
            (None, None) => "nothing: it did not wait for anything",
        }
        @if let Some((_, _, seen)) = looked { span.dim { ", unchanged since " (words::took(seen.after_ms * 1000)) " of waiting" } }
    }
}

/// The lines of the scenario, as the command line draws them where the record has that.
fn excerpt(model: &Model<'_>, step: Option<&Step<'_>>) -> Markup {
    let drawn = (model.ended.and_then(|ended| ended.problem.as_deref())).and_then(place);
    let own = || {
        let began = step?.began;
        sources::excerpt(model, &began.file, began.line, began.column)
    };
    html! {
        @match (drawn, own()) {
            (Some(place), _) => pre.place tabindex="0" aria-label="The place in the scenario" { (place) },
            (None, Some(excerpt)) => (excerpt),
            (None, None) => {},
        }
    }
}

/// The drawing without its first lines, which say what the page has said already.
fn place(problem: &str) -> Option<&str> {
    let frame = problem.find("╭─[")?;
    let start = problem[..frame].rfind('\n').map_or(0, |end| end + 1);
    Some(&problem[start..])
}

fn history(step: &Step<'_>) -> Markup {
    let skipped = step.seen.len().saturating_sub(LOOKS);
    html! {
        @if !step.seen.is_empty() {
            h3 { "What was seen while waiting" }
            @if skipped > 0 { p.hint { "The last " (LOOKS) " of " (step.seen.len()) " different observations." } }
            div.scroll tabindex="0" role="region" aria-label="Observations" {
            table.looks {
                thead { tr { th scope="col" { "At" } th scope="col" { "After" } th scope="col" { "Waiting for" } th scope="col" { "Seen" } } }
                tbody {
                    @for (_, t, seen) in &step.seen[skipped..] {
                        tr { td.num { (words::moment(*t)) } td.num { (words::took(seen.after_ms * 1000)) } td { (seen.wait) } td { (seen.seen) } }
                    }
                }
            }
            }
        }
    }
}

fn read_next(model: &Model<'_>, lines: &Lines<'_>, step: Option<&Step<'_>>) -> Markup {
    let end = moment(model, step);
    let parties = concerned(model, step);
    let start = step.map_or(end.saturating_sub(5_000_000), |step| step.t);
    html! {
        h3 { "What to read next" }
        ul.next {
            @for party in &parties {
                li.js { a.tolog href="#logs" data-t=(end) data-lane=(party) { "The log of " (party) " around " (words::moment(end)) " s" } }
            }
            li.js { a.tolog href="#logs" data-t=(start) { "All logs from the beginning of the step, " (words::moment(start)) " s" } }
            @if let Some(step) = step { li { a href=(model.href(step.n)) { "The step in the diagram" } } }
            @if let Some(previous) = &lines.previous { li { "The last run of it that passed: " code { (previous) } @if !lines.record.is_empty() { "; " (summary::command(&format!("swaprig report {previous} {}", lines.record))) } } }
            @else { li { "How it differs from the last run that passed: " (summary::command(&format!("swaprig report {}", model.contents.began.scenario))) } }
            @if !lines.dir.is_empty() { li { "The run's directory: " code { (lines.dir) } } }
        }
        (last_events(model, end))
        (excerpts(lines, &parties, start, end))
        (last_words(model))
    }
}

/// What a node on regtest says at level ERROR all the time, because blocks without fees give no estimate; it falls back.
const NOISE: &str = "Failed to retrieve fee rate estimates";

/// When it failed: the end of the step, or of the run.
fn moment(model: &Model<'_>, step: Option<&Step<'_>>) -> u64 {
    let done = step.and_then(|step| step.done).map(|(n, _)| n);
    let last = || model.contents.lines.len().saturating_sub(1);
    model
        .contents
        .lines
        .get(done.unwrap_or_else(last))
        .map_or(0, |line| line.t)
}

/// The parties that the failure is about: those that the step or the failure names, or that something happened to during the
/// step.
fn concerned<'a>(model: &'a Model<'_>, step: Option<&Step<'_>>) -> Vec<&'a str> {
    let failure = model.failure();
    let mut text = String::new();
    if let Some(failure) = failure {
        text.push_str(&failure.title);
        text.push_str(failure.why.as_deref().unwrap_or_default());
    }
    if let Some(step) = step {
        text.push_str(&step.began.text);
        for (_, _, seen) in &step.seen {
            text.push_str(&seen.wait);
        }
    }
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric() && c != '-')
        .collect();
    let lanes = || model.lanes.lanes.iter().map(|lane| &*lane.name);
    let mut found: Vec<&str> = lanes().filter(|name| words.contains(name)).collect();
    let chain =
        |name: &&str| text.to_lowercase().contains(&name.to_lowercase()) && !found.contains(name);
    let chains: Vec<&str> = lanes()
        .filter(|name| ["Bitcoin", "Liquid"].contains(name))
        .filter(chain)
        .collect();
    found.extend(chains);
    if let Some(step) = step {
        for line in model.contents.lines[step.n..].iter() {
            let name = match &line.event {
                Event::Swap(swap) => &swap.party,
                Event::Call(call) => &call.to,
                _ => continue,
            };
            let lane = lanes().find(|lane| lane == name);
            found.extend(lane.filter(|lane| !found.contains(lane)));
        }
    }
    // A swap's server is what most steps of swaps are about, though they name it by their swap alone.
    if found.is_empty() {
        let servers = model
            .lanes
            .lanes
            .iter()
            .filter(|lane| lane.what == "server");
        found.extend(servers.map(|lane| &*lane.name));
    }
    found.truncate(4);
    found
}

fn last_events(model: &Model<'_>, end: u64) -> Markup {
    let failed = (model.failing().and_then(|step| step.done)).map(|(n, _)| n);
    let rows: Vec<_> = (model.rows.iter())
        .filter(|row| !matches!(row, plan::Row::Looks(_) | plan::Row::Answered(_)))
        .filter_map(|row| Some((row.n()?, row)))
        .filter(|(n, _)| {
            let line = &model.contents.lines[*n];
            line.t <= end
                && !matches!(line.event, Event::Step(_) | Event::Ended(_))
                && Some(*n) != failed
        })
        .collect();
    let last = &rows[rows.len().saturating_sub(EVENTS)..];
    html! {
        @if !last.is_empty() {
            h3 { "The last events before it" }
            ol.events {
                @for (n, row) in last {
                    @let line = &model.contents.lines[*n];
                    li { a.num href=(model.href(*n)) { (words::moment(line.t)) } " " (heights(line)) " " @let label = labels::label(model, row); (label.text) @if let Some(more) = label.more { (more) } }
                }
            }
        }
    }
}

fn heights(line: &Line) -> Markup {
    html! {
        span.dim {
            @if let Some(height) = line.liquid { "L " (words::grouped(height.into())) " " }
            @if let Some(height) = line.bitcoin { "B " (words::grouped(height.into())) }
        }
    }
}

/// Warnings and errors of everybody during the step, and what the parties that are concerned said last before the failure.
fn excerpts(lines: &Lines<'_>, parties: &[&str], start: u64, end: u64) -> Markup {
    let (start, end) = (signed(start) - 500_000, signed(end));
    let is_noise = |line: &&LogLine<'_>| line.words().contains(NOISE);
    let within = |line: &&LogLine<'_>| line.t >= start && line.t <= end && !is_noise(line);
    let warnings = distinct(
        lines
            .all
            .iter()
            .filter(within)
            .filter(|line| line.level >= Level::Warn),
    );
    html! {
        @if !warnings.is_empty() {
            h3 { "Warnings and errors during the step" }
            pre.log tabindex="0" aria-label="Warnings and errors" { @for (line, times) in &warnings { (log_line(lines, line, *times)) } }
        }
        @for party in parties {
            @let own = distinct(lines.of_lane(party).filter(|line| line.t <= end && line.level > Level::Debug && !is_noise(line)));
            @if !own.is_empty() {
                h3 { "What " (party) " said last" }
                pre.log tabindex="0" aria-label={ "Last lines of " (party) } { @for (line, times) in &own[own.len().saturating_sub(LINES)..] { (log_line(lines, line, *times)) } }
            }
        }
    }
}

fn signed(t: u64) -> i64 {
    i64::try_from(t).unwrap_or(i64::MAX)
}

/// Lines of different words, the last ones, with how often each was said.
fn distinct<'a, 'b>(lines: impl Iterator<Item = &'b LogLine<'a>>) -> Vec<(&'b LogLine<'a>, usize)>
where
    'a: 'b,
{
    let mut found: Vec<(&LogLine<'_>, usize)> = Vec::new();
    for line in lines {
        let same = found
            .iter()
            .position(|(other, _)| other.who == line.who && other.words() == line.words());
        let times = same.map_or(0, |at| found.remove(at).1);
        found.push((line, times + 1));
        if found.len() > 2 * LINES {
            found.remove(0);
        }
    }
    found
}

fn log_line(lines: &Lines<'_>, line: &LogLine<'_>, times: usize) -> Markup {
    html! {
        span class=(line.level.class()) {
            span.dim { (words::moment(u64::try_from(line.t).unwrap_or(0))) " " } b { (lines.who[line.who].name) } " "
            (line.level.name()) " " (line.words()) @if times > 1 { span.dim { " (" (times) " times)" } }
        } "\n"
    }
}

fn last_words(model: &Model<'_>) -> Markup {
    let last_words = model.ended.map_or(&[][..], |ended| &ended.last_words);
    html! {
        @if !last_words.is_empty() {
            details {
                summary { "The last line of each process" }
                dl.facts { @for (party, line) in last_words { dt { (party) } dd.id { (line) } } }
            }
        }
    }
}
