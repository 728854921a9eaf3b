//! The block ruler: the heights of both chains that count, with what happened and what is due at them, and the clock beside
//! them. What lies between is compressed, and the ruler says by how much.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use swaprig_record::{Chain, Event, PaymentState};

use super::chain::{HtlcInfo, Path};
use super::lanes::title;
use super::model::Model;
use super::words;

/// How many heights of a chain are drawn one by one.
const HEIGHTS: usize = 80;

/// How many marks a height has: of many swaps at once, one height is the timeout of dozens.
const MARKS: usize = 6;

/// Something at a height, or at a moment.
struct Mark {
    class: &'static str,
    text: Markup,
}

/// What is known of a height.
#[derive(Default)]
struct Height {
    /// It is a block of this run, with this event.
    block: Option<usize>,
    marks: Vec<Mark>,
}

pub(super) fn section(model: &Model<'_>) -> Markup {
    let chains = [Chain::Liquid, Chain::Bitcoin].map(|chain| (chain, heights(model, chain)));
    html! {
        section #ruler aria-labelledby="h-ruler" {
            h2 #h-ruler { "Heights and deadlines" }
            p.hint { "Filled: a block of this run. Hollow: a height that was not reached. Long stretches are compressed, as they say." }
            div.rulers {
                @for (chain, heights) in &chains {
                    @if !heights.is_empty() { (ruler(model, title(*chain), heights)) }
                }
                (clock(model))
            }
        }
    }
}

fn ruler(model: &Model<'_>, name: &str, heights: &BTreeMap<u32, Height>) -> Markup {
    let left_out = heights.len().saturating_sub(HEIGHTS);
    let shown: Vec<_> = (heights.iter()).skip(left_out).collect();
    html! {
        div {
            h3 { (name) }
            @if left_out > 0 { p.hint { "The last " (HEIGHTS) " heights that count." } }
            ol.ruler {
                @for (at, (height, what)) in shown.iter().enumerate() {
                    @let before = at.checked_sub(1).map(|at| *shown[at].0);
                    @if let Some(gap) = before.map(|before| **height - before - 1).filter(|gap| *gap > 0) {
                        li class={ "gap g" (gap.ilog10().min(4)) } { span { "⋮ " (words::count(gap.into(), "block")) " not drawn" } }
                    }
                    li class={ (if what.block.is_some() { "has" } else { "not" }) (if what.marks.is_empty() { "" } else { " marked" }) } {
                        @if let Some(n) = what.block { a href=(model.href(n)) { (words::grouped((**height).into())) } }
                        @else { span { (words::grouped((**height).into())) } }
                        @for mark in what.marks.iter().take(MARKS) { " " span class={ "mark " (mark.class) } { (mark.text) } }
                        @if what.marks.len() > MARKS { " and " (words::grouped((what.marks.len() - MARKS) as u64)) " more" }
                    }
                }
            }
        }
    }
}

/// The heights of a chain that count: blocks with something in them, the first and the last one, and what is due.
fn heights(model: &Model<'_>, chain: Chain) -> BTreeMap<u32, Height> {
    let mut heights: BTreeMap<u32, Height> = BTreeMap::new();
    let mut blocks: BTreeMap<u32, usize> = BTreeMap::new();
    let mut held = BTreeSet::new();
    for (n, line) in model.contents.lines.iter().enumerate() {
        match &line.event {
            Event::Block(block) if block.chain == chain => {
                blocks.insert(block.height, n);
            }
            Event::Blocks(many) if many.chain == chain => {
                blocks.insert(many.from, n);
                blocks.insert(many.to, n);
            }
            Event::Orphaned(block) if block.chain == chain => {
                let text = html! { a href=(model.href(n)) { "block taken away" } };
                let mark = Mark { class: "bad", text };
                heights.entry(block.height).or_default().marks.push(mark);
            }
            Event::Payment(payment)
                if payment.state == PaymentState::Held && chain == Chain::Bitcoin =>
            {
                if let Some(height) = payment.claim_deadline {
                    let text = html! { a href=(model.href(n)) { (payment.node) " lets go of " (words::short(&payment.hash)) } };
                    let mark = Mark { class: "due", text };
                    // A payment that is tried again is held again.
                    if held.insert((height, &payment.hash)) {
                        heights.entry(height).or_default().marks.push(mark);
                    }
                }
            }
            _ => {}
        }
    }
    for info in &model.txs.htlcs {
        if info.htlc.chain == chain {
            mark_htlc(model, info, &mut heights);
        }
    }
    mark_transactions(model, chain, &mut heights);
    if blocks.is_empty() && heights.is_empty() {
        return heights;
    }
    // Few blocks are all drawn; of many, those with something in them and both ends.
    let few = blocks.len() <= 40;
    let ends = [blocks.keys().next(), blocks.keys().last()].map(|end| end.copied());
    for (height, n) in &blocks {
        if few || heights.contains_key(height) || ends.contains(&Some(*height)) {
            heights.entry(*height).or_default().block = Some(*n);
        }
    }
    heights
}

fn mark_htlc(model: &Model<'_>, info: &HtlcInfo<'_>, heights: &mut BTreeMap<u32, Height>) {
    let mut mark = |height: u32, class: &'static str, text: Markup| {
        let marks = &mut heights.entry(height).or_default().marks;
        marks.push(Mark { class, text });
    };
    let name = info.name();
    let txid = |at: usize| &*model.txs.all[at].tx.txid;
    for (at, _) in &info.funded {
        if let Some((_, height)) = model.txs.all[*at].confirmed.last() {
            mark(
                *height,
                "tx",
                html! { a href={ "#tx-" (txid(*at)) } { (name) " funded" } },
            );
        }
    }
    for (at, path) in &info.spent {
        let verb = match path {
            Path::Claim(_) => "claimed",
            Path::Refund => "refunded",
            Path::Cooperative | Path::Unknown => "spent",
        };
        if let Some((_, height)) = model.txs.all[*at].confirmed.last() {
            let class = if verb == "refunded" { "bad" } else { "ok" };
            mark(
                *height,
                class,
                html! { a href={ "#tx-" (txid(*at)) } { (name) " " (verb) } },
            );
        }
    }
    mark(
        info.htlc.timeout,
        "due",
        html! { a href={ "#htlc-" (info.n) } { (name) " timeout: refund possible" } },
    );
}

/// Channels that opened and closed.
fn mark_transactions(model: &Model<'_>, chain: Chain, heights: &mut BTreeMap<u32, Height>) {
    for (at, info) in model.txs.all.iter().enumerate() {
        let is_plain = info.opens.is_none() && info.closes.is_none();
        if info.tx.chain != chain || is_plain {
            continue;
        }
        if let Some((_, height)) = info.confirmed.last() {
            let text = html! { a href={ "#tx-" (info.tx.txid) } { (model.txs.what(at)) } };
            let mark = Mark { class: "tx", text };
            heights.entry(*height).or_default().marks.push(mark);
        }
    }
}

/// What is due by the clock: invoices.
fn clock(model: &Model<'_>) -> Markup {
    let mut moments: Vec<(u64, &'static str, Markup)> = Vec::new();
    let end = model.contents.lines.last().map_or(0, |line| line.t);
    moments.push((0, "has", html! { "the run begins" }));
    moments.push((end, "has", html! { "the run ends" }));
    let mut invoices = 0_usize;
    for (n, line) in model.contents.lines.iter().enumerate() {
        if let Event::Invoice(invoice) = &line.event {
            invoices += 1;
            let name = words::short(&invoice.hash);
            let since = invoice
                .expires_unix_ms
                .saturating_sub(model.contents.began.unix_ms);
            if invoices <= 20 {
                moments.push((
                    line.t,
                    "has",
                    html! { a href=(model.href(n)) { "invoice " (name) " made" } },
                ));
                let over = since.saturating_mul(1000) <= end;
                let class = if over { "has" } else { "not" };
                let text = html! { span.mark.due { "invoice " (name) " expires" } };
                moments.push((since.saturating_mul(1000), class, text));
            }
        }
    }
    moments.sort_by_key(|moment| moment.0);
    html! {
        div {
            h3 { "Clock" }
            @if invoices > 20 { p.hint { "The first 20 of " (invoices) " invoices." } }
            ol.ruler {
                @for (at, (t, class, text)) in moments.iter().enumerate() {
                    @let gap = at.checked_sub(1).map_or(0, |before| t - moments[before].0);
                    @if gap > 30_000_000 { li.gap.g2 { span { "⋮ " (words::took(gap)) " not drawn" } } }
                    li class=(class) { span { (words::moment(*t)) " s" } " " (text) }
                }
            }
        }
    }
}
