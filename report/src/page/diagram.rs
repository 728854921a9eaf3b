//! The sequence diagram: a list of rows on a grid, a column for each lane. It needs no script to be read.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use swaprig_record::{Event, PaymentState};

use super::model::Model;
use super::plan::Row;
use super::{labels, words};

/// How many rows of a long diagram are at its beginning; the others are at its end, where failures are.
const AT_BEGINNING: usize = 60;

/// An arrow of the diagram: whose, to whom. Lanes by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrow {
    pub from: usize,
    pub to: usize,
    /// It answers another one.
    pub back: bool,
}

/// Where a row stands on the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Arrow(Arrow),
    /// On one lane.
    Lane(usize),
    /// On the link between two lanes.
    Link(usize, usize),
    /// Over all lanes.
    Wide,
}

/// The diagram, and the rules of the style sheet that its places need.
pub(super) struct Drawn {
    pub markup: Markup,
    pub style: String,
}

/// Draws the rows that `budget` bytes of markup have room for.
pub(super) fn draw(model: &mut Model<'_>, budget: usize) -> Drawn {
    let mut places = BTreeSet::new();
    let (head, tail, left_out) = within_budget(model, budget, &mut places);
    let at_beginning = model.rows.len().min(AT_BEGINNING);
    let rows = std::mem::take(&mut model.rows);
    model.set_anchors(
        rows[..at_beginning]
            .iter()
            .chain(&rows[at_beginning + left_out..]),
    );
    model.rows = rows;
    let lanes = &model.lanes;
    let markup = html! {
        section #diagram aria-labelledby="h-diagram" {
            h2 #h-diagram { "What happened, in order" }
            p.hint { "Time runs down, in seconds since the run began. " span.js { "“log” opens the log lines of whoever is concerned at that moment." } }
            div.tools.js role="group" aria-label="Rows to show" { (toggles()) }
            div.seq {
                ol.lanes aria-label="Lanes" {
                    @for lane in &lanes.lanes {
                        li { b { (lane.name) } @if !lane.what.is_empty() { span { (lane.what) } } }
                    }
                }
                ol.rows aria-label="Events" {
                    (PreEscaped(head))
                    @if left_out > 0 {
                        li.row.wide.cut { div.lb { (words::count(left_out as u64, "row")) " left out here, because the page would be too large. The record has all of them." } }
                    }
                    (PreEscaped(tail))
                }
            }
        }
    };
    Drawn {
        markup,
        style: style(lanes.len(), &places),
    }
}

fn toggles() -> Markup {
    let kinds = [
        ("call", "calls"),
        ("pay", "payments"),
        ("tx", "transactions"),
        ("block", "blocks"),
        ("state", "states"),
        ("look", "observations"),
        ("proc", "processes"),
    ];
    html! {
        @for (kind, name) in kinds {
            label { input type="checkbox" checked[kind != "look"] data-kind=(kind); " " (name) }
        }
    }
}

/// Draws rows from the end backwards, and a few at the beginning, until the budget is used up.
fn within_budget(
    model: &Model<'_>,
    budget: usize,
    places: &mut BTreeSet<(usize, usize)>,
) -> (String, String, usize) {
    let rows = model.rows.as_slice();
    let at_beginning = rows.len().min(AT_BEGINNING);
    let (head, mut tail) = rows.split_at(at_beginning);
    let head: Vec<String> = (head.iter())
        .map(|row| draw_row(model, row, places).into_string())
        .collect();
    let mut used: usize = head.iter().map(String::len).sum();
    let mut drawn = Vec::new();
    for row in tail.iter().rev() {
        let markup = draw_row(model, row, places).into_string();
        used += markup.len();
        if used > budget {
            break;
        }
        drawn.push(markup);
    }
    drawn.reverse();
    let left_out = tail.len() - drawn.len();
    tail = &tail[left_out..];
    let head = grouped(model, &rows[..at_beginning], &head);
    (head, grouped(model, tail, &drawn), left_out)
}

/// Folds what happened inside of fragments that passed, which mostly set the stage.
fn grouped(model: &Model<'_>, rows: &[Row], drawn: &[String]) -> String {
    let mut text = String::with_capacity(drawn.iter().map(|row| row.len() + 16).sum());
    let mut at = 0;
    while at < rows.len() {
        text.push_str(&drawn[at]);
        let inside = fragment(model, &rows[at..]);
        at += 1;
        if inside > 0 {
            let rows = html! {
                li.fold {
                    details {
                        summary { (words::count(inside as u64, "row")) " of what happened inside" }
                        ol.rows { (PreEscaped(drawn[at..at + inside].concat())) }
                    }
                }
            };
            text.push_str(&rows.0);
            at += inside;
        }
    }
    text
}

/// How many rows are inside of the fragment whose step's head is the first of `rows`: 0 when it is none that passed.
fn fragment(model: &Model<'_>, rows: &[Row]) -> usize {
    let step = (rows.first().and_then(Row::n))
        .and_then(|n| model.steps.binary_search_by_key(&n, |step| step.n).ok())
        .map(|at| &model.steps[at])
        .filter(|step| step.began.key == "use" && step.depth() == 0 && !step.failed());
    let Some((end, _)) = step.and_then(|step| step.done) else {
        return 0;
    };
    let is_inside = |row: &&Row| row.n().is_some_and(|n| n < end);
    rows[1..].iter().take_while(is_inside).count()
}

fn draw_row(model: &Model<'_>, row: &Row, places: &mut BTreeSet<(usize, usize)>) -> Markup {
    let Some(n) = row.n() else { return html! {} };
    let line = &model.contents.lines[n];
    if let Event::Step(_) = &line.event {
        return labels::step_head(model, n);
    }
    let place = place(model, row);
    let label = labels::label(model, row);
    let time = match row {
        Row::Asked(_) => match &line.event {
            Event::Call(call) => line.t.saturating_sub(call.took_us),
            _ => line.t,
        },
        _ => line.t,
    };
    let id = match row {
        Row::Answered(_) => None,
        _ => Some(format!("e{n}")),
    };
    let name = |lane: usize| &*model.lanes.lanes[lane].name;
    let (class, mark) = classes(place, places);
    let (from, to, lane) = match place {
        Place::Arrow(arrow) => (Some(name(arrow.from)), Some(name(arrow.to)), None),
        Place::Link(a, b) => (None, None, Some(format!("{},{}", name(a), name(b)))),
        Place::Lane(lane) => (None, None, Some(name(lane).to_owned())),
        Place::Wide => (None, None, None),
    };
    html! {
        li id=[id] class={ "row " (label.kind) (class) } data-n=(n) data-t=(time) data-from=[from] data-to=[to] data-lane=[lane.as_deref()]
            data-part=[matches!(row, Row::Answered(_)).then_some("answer")] {
            time { (words::moment(time)) }
            div.lb {
                @if let (Some(from), Some(to)) = (from, to) { span.who { (from) " → " (to) ": " } }
                @else if let Some(lane) = &lane { span.who { (lane.replace(',', "–")) ": " } }
                (label.text)
                @if place != Place::Wide { " " a.lg.js href="#logs" { "log" } }
            }
            @if let Some(mark) = mark { i class=(mark) aria-hidden="true" {} }
            @if let Some(more) = label.more { div.more { (more) } }
        }
    }
}

/// The classes of a row and of its mark on the lanes.
fn classes(place: Place, places: &mut BTreeSet<(usize, usize)>) -> (String, Option<String>) {
    match place {
        Place::Arrow(Arrow { from, to, back }) => {
            let (a, b) = (from.min(to), from.max(to));
            places.insert((a, b));
            let head = if from < to { "r" } else { "l" };
            let dash = if back { " bk" } else { "" };
            (format!(" q{a}-{b}"), Some(format!("ar {head}{dash}")))
        }
        Place::Link(from, to) => {
            let (a, b) = (from.min(to), from.max(to));
            places.insert((a, b));
            (format!(" q{a}-{b}"), Some("lk".to_owned()))
        }
        Place::Lane(lane) => {
            places.insert((lane, lane));
            (format!(" note q{lane}-{lane}"), Some("dot".to_owned()))
        }
        Place::Wide => (" wide".to_owned(), None),
    }
}

fn place(model: &Model<'_>, row: &Row) -> Place {
    let Some(n) = row.n() else { return Place::Wide };
    if let Some(arrow) = arrow(model, row) {
        return Place::Arrow(arrow);
    }
    let lanes = &model.lanes;
    let on = |lane: Option<usize>| lane.map_or(Place::Wide, Place::Lane);
    match &model.contents.lines[n].event {
        Event::Call(call) => on(lanes.of_name(&call.to)),
        Event::Payment(payment) => on(lanes.of_name(&payment.node)),
        Event::Channel(channel) => match channel.peer.as_deref().and_then(|p| lanes.of_name(p)) {
            Some(peer) if channel.state == "ready" => {
                let own = lanes.of_name(&channel.node);
                own.map_or(Place::Wide, |own| Place::Link(own, peer))
            }
            _ => on(lanes.of_name(&channel.node)),
        },
        Event::Swap(swap) => on(lanes.of_name(&swap.party)),
        Event::Invoice(invoice) => on(lanes.of_name(&invoice.payee)),
        Event::Tx(tx) => on(lanes.of_chain(tx.chain)),
        Event::Htlc(htlc) => on(lanes.of_chain(htlc.chain)),
        Event::Block(block) | Event::Orphaned(block) => on(lanes.of_chain(block.chain)),
        Event::Blocks(blocks) => on(lanes.of_chain(blocks.chain)),
        Event::Confirmed(seen) => on(lanes.of_chain(seen.chain)),
        Event::Dropped(gone) => on(lanes.of_chain(gone.chain)),
        Event::Fault(fault) => match fault.link.split_once("->") {
            Some((from, to)) => match (lanes.of_name(from), lanes.of_name(to)) {
                (Some(from), Some(to)) if from != to => Place::Link(from, to),
                (Some(lane), _) | (_, Some(lane)) => Place::Lane(lane),
                _ => Place::Wide,
            },
            None => on(lanes.of_name(&fault.link)),
        },
        Event::Started(_) | Event::Exited(_) => match row {
            Row::Processes(all) if all.len() == 1 => match &model.contents.lines[n].event {
                Event::Started(started) => on(lanes.of_name(&started.name)),
                Event::Exited(exited) => on(lanes.of_name(&exited.name)),
                _ => Place::Wide,
            },
            _ => Place::Wide,
        },
        _ => Place::Wide,
    }
}

/// The arrow of a row, if it is one: a call and its answer; a payment that goes out, and its outcome on the way back; a
/// transaction of somebody who is known.
pub(super) fn arrow(model: &Model<'_>, row: &Row) -> Option<Arrow> {
    let lanes = &model.lanes;
    let n = row.n()?;
    let (from, to, back) = match &model.contents.lines[n].event {
        Event::Call(call) => {
            let (from, to) = (lanes.of_name(&call.from)?, lanes.of_name(&call.to)?);
            match row {
                Row::Answered(_) => (to, from, true),
                _ => (from, to, false),
            }
        }
        Event::Payment(payment) => {
            let node = lanes.of_name(&payment.node)?;
            let other = lanes.of_name(model.other(&payment.node, &payment.hash)?)?;
            match payment.state {
                PaymentState::Sent => (node, other, false),
                PaymentState::Succeeded | PaymentState::Failed => (other, node, true),
                // Of a payment whose sending nobody told, its arrival is what one sees.
                _ if model.arrivals.contains(&n) => (other, node, false),
                PaymentState::Held | PaymentState::Received | PaymentState::Forwarded => {
                    return None;
                }
            }
        }
        Event::Tx(tx) => {
            let at = model.txs.find(tx.chain, &tx.txid)?;
            let from = lanes.of_name(model.txs.sender(at)?)?;
            (from, lanes.of_chain(tx.chain)?, false)
        }
        _ => return None,
    };
    (from != to).then_some(Arrow { from, to, back })
}

/// The rules that put rows on their lanes. `q2-4` is what lies between lanes 2 and 4, counted from 0.
fn style(lanes: usize, places: &BTreeSet<(usize, usize)>) -> String {
    let mut style = format!(".seq{{--lanes:{}}}\n", lanes.max(1));
    for &(a, b) in places {
        // Half a lane on either side: from the middle of one to the middle of the other.
        let (first, end, spans) = (a + 2, b + 3, b - a + 1);
        let _ = writeln!(
            style,
            ".q{a}-{b}>i{{grid-column:{first}/{end};margin-inline:calc(50%/{spans})}}"
        );
        let is_left = a + b < lanes;
        let label = match (a == b, is_left) {
            (true, _) => note_columns(a, lanes),
            (false, true) => {
                let half = lanes - a;
                format!("grid-column:{first}/-1;margin-left:calc(50%/{half})")
            }
            (false, false) => {
                let half = b + 1;
                format!("grid-column:2/{end};justify-self:end;margin-right:calc(50%/{half})")
            }
        };
        let _ = writeln!(style, ".q{a}-{b}>.lb,.q{a}-{b}>.more{{{label}}}");
    }
    style
}

/// A note stands over its lane and those beside it.
fn note_columns(lane: usize, lanes: usize) -> String {
    match lane {
        0 => format!("grid-column:2/{};justify-self:start", 2 + lanes.min(2)),
        _ if lane + 1 == lanes => format!("grid-column:{}/-1;justify-self:end", lane + 1),
        _ => format!("grid-column:{}/{};justify-self:center", lane + 1, lane + 4),
    }
}
