//! The head of the page, what a passing run opens with, and what ran it.

use maud::{Markup, html};

use super::model::Model;
use super::{money, words};

/// Title, verdict and the way to each part.
pub(super) fn header(model: &Model<'_>, sections: &[(&str, &str)]) -> Markup {
    let began = &model.contents.began;
    let (class, word) = verdict(model);
    html! {
        header {
            p class={ "verdict " (class) } { (word) }
            h1 { (began.scenario) }
            p.title { (began.title) }
            nav aria-label="Parts of this page" {
                @for (id, name) in sections { a href={ "#" (id) } { (name) } " " }
            }
        }
    }
}

/// Class and word of the verdict.
pub(super) fn verdict(model: &Model<'_>) -> (&'static str, &'static str) {
    match model.verdict() {
        "passed" => ("ok", "Passed"),
        "failed" => ("bad", "Failed"),
        "broken" => ("bad", "Could not run"),
        "interrupted" => ("open", "Interrupted"),
        _ => ("open", "Cut short"),
    }
}

pub(super) fn section(model: &Model<'_>) -> Markup {
    let began = &model.contents.began;
    let failed = model.steps.iter().filter(|step| step.failed()).count() as u64;
    let steps = model.steps.len() as u64;
    let swaps = balance_of_events(model);
    html! {
        section #summary aria-labelledby="h-summary" {
            h2 #h-summary { "Summary" }
            dl.facts {
                dt { "Verdict" } dd { (verdict(model).1) " after " (words::took(model.took()))
                    @if model.ended.is_none() { ". The record has no end: the run was killed, or is still running." } }
                dt { "Steps" } dd { (words::count(steps, "step")) @if failed > 0 { ", " (failed) " failed" } }
                dt { "On the chains" } dd { (swaps) }
                dt { "Money" } dd { (money::line(model)) @let balance = money::balance(model); @if !balance.is_empty() { br; span.dim { (balance) } } }
                dt { "Seed" } dd { code { (began.seed) } }
                dt { "Run" } dd { "round " (began.round) ", try " (began.attempt) ", begun " (crate::utc(began.unix_ms)) }
                dt { "Machine" } dd { (machine(model)) }
                @if !model.passed() { } @else if !began.again.is_empty() { dt { "Again" } dd { (command(&began.again)) } }
            }
            (passport(model))
        }
    }
}

fn balance_of_events(model: &Model<'_>) -> String {
    let mut parts = vec![words::count(model.txs.all.len() as u64, "transaction")];
    let htlcs = &model.txs.htlcs;
    if !htlcs.is_empty() {
        parts.push(words::count(htlcs.len() as u64, "HTLC"));
    }
    let ends = |wanted: fn(&super::chain::Path) -> bool| {
        let is_spent = |info: &&super::chain::HtlcInfo<'_>| info.spent.iter().any(|s| wanted(&s.1));
        htlcs.iter().filter(is_spent).count()
    };
    let claimed = ends(|path| matches!(path, super::chain::Path::Claim(_)));
    let refunded = ends(|path| matches!(path, super::chain::Path::Refund));
    for (number, word) in [(claimed, "claimed"), (refunded, "refunded")] {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    parts.join(", ")
}

fn machine(model: &Model<'_>) -> String {
    let machine = &model.contents.began.machine;
    let mut text = format!(
        "{}, {}",
        machine.system,
        words::count(machine.cores.into(), "core")
    );
    if let Some(load) = machine.load_milli {
        text.push_str(&format!(", load {}.{:02}", load / 1000, load / 10 % 100));
    }
    text.push_str(&format!(
        ", {} at once",
        words::count(machine.jobs.into(), "scenario")
    ));
    text
}

/// Which programs played the daemons.
fn passport(model: &Model<'_>) -> Markup {
    let began = &model.contents.began;
    html! {
        h3 #passport { "Passport" }
        p { "swaprig " (began.swaprig) @if began.daemons.is_empty() { "; no daemon is named." } }
        @if !began.daemons.is_empty() {
            table {
                thead { tr { th scope="col" { "Role" } th scope="col" { "Kind" } th scope="col" { "Version" } } }
                tbody {
                    @for daemon in &began.daemons { tr { th scope="row" { (daemon.role) } td { (daemon.kind) } td { (daemon.version) } } }
                }
            }
        }
    }
}

/// A command line that can be copied.
pub(super) fn command(line: &str) -> Markup {
    html! {
        span.command { code { (line) } button.js.copy type="button" data-copy=(line) { "Copy" } }
    }
}
