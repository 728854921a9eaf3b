//! The table of steps, and the list of faults.

use maud::{Markup, html};
use swaprig_record::Event;

use super::labels::outcome;
use super::model::Model;
use super::{sources, words};

/// How many steps the table has: a step that is repeated thousands of times is one to look up in the record.
const STEPS: usize = 250;

pub(super) fn section(model: &Model<'_>) -> Markup {
    let longest = (model.steps.iter())
        .filter_map(|step| Some(step.done?.1.took_us))
        .max()
        .unwrap_or(1)
        .max(1);
    let left_out = model.steps.len().saturating_sub(STEPS);
    html! {
        section #steps aria-labelledby="h-steps" {
            h2 #h-steps { "Steps" }
            @if model.steps.is_empty() { p { "No step began." } }
            @else {
                @if left_out > 0 { p.hint { "The last " (STEPS) " of " (words::grouped(model.steps.len() as u64)) " steps; the record has all of them." } }
                table.steps {
                    thead { tr { th scope="col" { "Step" } th scope="col" { "What" } th scope="col" { "Source" } th scope="col" { "Began" } th scope="col" { "Outcome" } th scope="col" { "Share of the longest" } } }
                    tbody {
                        @for step in &model.steps[left_out..] {
                            @let (class, outcome) = outcome(step);
                            tr class=(class) {
                                th scope="row" { a href=(model.href(step.n)) { (step.began.step) } }
                                td.what { code { (step.began.text) }
                                    @if let Some(reason) = &step.began.fails { " " span.dim { "must fail: " (reason) } } }
                                td.at { (sources::link(model, &step.began.file, step.began.line)) }
                                td.num { (words::moment(step.t)) }
                                td { (outcome) }
                                td.bar { @if let Some((_, done)) = step.done { (bar(done.took_us, longest)) } }
                            }
                        }
                    }
                }
            }
            (faults(model))
        }
    }
}

fn bar(took: u64, longest: u64) -> Markup {
    let width = (took * 100).div_ceil(longest).min(100);
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" { rect width=(width) height="8" {} }
    }
}

fn faults(model: &Model<'_>) -> Markup {
    let faults: Vec<_> = (model.contents.lines.iter().enumerate())
        .filter_map(|(n, line)| match &line.event {
            Event::Fault(fault) => Some((n, line.t, fault)),
            _ => None,
        })
        .collect();
    html! {
        h3 #faults { "Faults that were put on links" }
        @if faults.is_empty() { p { "None." } }
        @else {
            table {
                thead { tr { th scope="col" { "At" } th scope="col" { "Link" } th scope="col" { "What is done to it" } } }
                tbody {
                    @for (n, t, fault) in faults.iter().take(200) {
                        tr { td.num { a href=(model.href(*n)) { (words::moment(*t)) } } td { (fault.link) } td { (fault.what) } }
                    }
                }
            }
            @if faults.len() > 200 { p.hint { "The first 200 of " (faults.len()) "." } }
        }
    }
}
