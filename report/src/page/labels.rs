//! What the rows of the diagram say.

use maud::{Markup, html};
use swaprig_record::{Call, Event, Payment, PaymentState, StepOutcome, Tx};

use super::lanes::title;
use super::model::{Model, Step};
use super::plan::Row;
use super::{sources, words};

/// The words of a row.
pub(super) struct Label {
    /// The kind of row: its colour, and what hides it.
    pub kind: &'static str,
    pub text: Markup,
    /// What is unfolded.
    pub more: Option<Markup>,
}

impl Label {
    fn new(kind: &'static str, text: Markup) -> Self {
        Label {
            kind,
            text,
            more: None,
        }
    }
}

/// A step's head, over all lanes.
pub(super) fn step_head(model: &Model<'_>, n: usize) -> Markup {
    let Ok(at) = model.steps.binary_search_by_key(&n, |step| step.n) else {
        return html! {};
    };
    let step = &model.steps[at];
    let (class, outcome) = outcome(step);
    html! {
        li id={ "e" (n) } class={ "row step " (class) " d" (step.depth().min(3)) } data-n=(n) data-t=(step.t) {
            time { (words::moment(step.t)) }
            div.lb {
                b.no { (step.began.step) } " "
                code { (step.began.text) } " "
                span.meta {
                    span.out { (outcome) }
                    " · " (sources::link(model, &step.began.file, step.began.line))
                    " · " a.lg.js href="#logs" { "log" }
                }
            }
        }
    }
}

/// How a step ended: class and words.
pub(super) fn outcome(step: &Step<'_>) -> (&'static str, String) {
    match step.done {
        None => ("open", "did not end".to_owned()),
        Some((_, done)) => {
            let took = words::took(done.took_us);
            match done.outcome {
                StepOutcome::Passed => ("ok", format!("✓ {took}")),
                StepOutcome::FailedAsExpected => ("ok", format!("✓ failed as it must, {took}")),
                StepOutcome::Failed => ("bad", format!("✗ failed after {took}")),
            }
        }
    }
}

pub(super) fn label(model: &Model<'_>, row: &Row) -> Label {
    let Some(n) = row.n() else {
        return Label::new("", html! {});
    };
    match row {
        Row::Looks(all) => return looks(model, all),
        Row::Processes(all) => return processes(model, all),
        Row::EmptyBlocks(all) => return empty_blocks(model, all),
        _ => {}
    }
    let line = &model.contents.lines[n];
    match &line.event {
        Event::Call(call) => call_label(row, call),
        Event::Payment(payment) => Label::new("pay", payment_text(payment)),
        Event::Tx(tx) => Label::new("tx", tx_text(model, tx)),
        Event::Block(block) => Label::new("block", block_text(model, row, block.height, block.txs)),
        Event::Orphaned(block) => Label::new(
            "block gone",
            html! { "Block " (words::grouped(block.height.into())) " is no longer in the chain" },
        ),
        Event::Confirmed(seen) => Label::new(
            "block",
            html! { (tx_link(model, seen.chain, &seen.txid)) " is in block " (words::grouped(seen.height.into())) },
        ),
        Event::Dropped(gone) => Label::new(
            "tx fault",
            html! { (tx_link(model, gone.chain, &gone.txid)) " is gone: neither in a block nor waiting for one" },
        ),
        Event::Htlc(htlc) => Label::new(
            "state",
            html! {
                a href={ "#htlc-" (n) } { "HTLC " (model.txs.htlc_name(htlc)) }
                " agreed on" @if let Some(value) = htlc.value { ": " (model.amount(value, htlc.chain, htlc.asset.as_deref())) }
                ", timeout " (words::grouped(htlc.timeout.into()))
            },
        ),
        _ => other_label(model, n),
    }
}

fn other_label(model: &Model<'_>, n: usize) -> Label {
    match &model.contents.lines[n].event {
        Event::Invoice(invoice) => Label::new(
            "pay",
            html! {
                "invoice" @if let Some(msat) = invoice.amount_msat { " over " (words::msat(msat)) }
                ", hash " code title=(invoice.hash) { (words::short(&invoice.hash)) }
            },
        ),
        Event::Channel(channel) => Label::new(
            "state",
            html! {
                "channel" @if let Some(peer) = &channel.peer { " with " (peer) } ": " b { (channel.state) }
                @if let Some(reason) = &channel.reason { ", " (reason) }
            },
        ),
        Event::Swap(swap) => Label::new(
            "state",
            html! {
                "swap " code title=(swap.swap) { (words::short(&swap.swap)) } " "
                @if let Some(before) = &swap.before { (before) " → " } b { (swap.state) }
            },
        ),
        Event::Fault(fault) if fault.what == "heal" => Label::new(
            "healed",
            html! { b { "healed" } ": no fault on " (fault.link) " any more" },
        ),
        Event::Fault(fault) => Label::new(
            "fault",
            html! { b { "fault" } " on " (fault.link) ": " (fault.what) },
        ),
        Event::Money(_) => Label::new(
            "fault",
            html! { b { "Money is not conserved. " } a href="#money" { "The balances" } },
        ),
        Event::Done(done) => {
            let failure = done.failure.as_ref();
            let must = done.outcome == StepOutcome::FailedAsExpected;
            Label::new(
                if must { "state must" } else { "fault end" },
                html! {
                    "step " (done.step) @if must { " failed, as it must: " } @else { " failed: " }
                    b { @if let Some(failure) = failure { (words::readable(&failure.title)) } }
                    @if let Some(seen) = failure.and_then(|failure| failure.seen.as_ref()) { "; last seen: " (seen) }
                },
            )
        }
        Event::Stands(stands) => Label::new(
            "proc",
            html! {
                "The world stands: "
                @for (at, party) in stands.parties.iter().enumerate() { @if at > 0 { ", " } (party.name) }
            },
        ),
        Event::Ended(ended) => Label::new(
            if ended.verdict == "passed" {
                "end ok"
            } else {
                "fault end"
            },
            html! { "The run ends: " b { (ended.verdict) } ", " (words::took(ended.took_us)) },
        ),
        _ => Label::new("", html! {}),
    }
}

fn call_label(row: &Row, call: &Call) -> Label {
    // Method names are long and their ends are what differs.
    let (path, method) = match call.method.split_once(' ') {
        Some(_) => ("", &*call.method),
        None => call.method.rsplit_once('/').unwrap_or(("", &call.method)),
    };
    let error = call.error.as_ref();
    let text = match row {
        Row::Asked(_) => html! { b title=(path) { (method) } " …" },
        Row::Answered(_) => html! {
            "answer to " b title=(path) { (method) } " after " (words::took(call.took_us))
            @if let Some(error) = error { ": " strong.err { (error) } }
        },
        _ => html! {
            b title=(path) { (method) } " " span.dim { (words::took(call.took_us)) }
            @if let Some(error) = error { " " strong.err { "✗ " (error) } }
        },
    };
    let show_request = !matches!(row, Row::Answered(_)) && !call.request.is_empty();
    let show_reply = !matches!(row, Row::Asked(_)) && !call.reply.is_empty();
    let more = (show_request || show_reply).then(|| {
        let what = match (show_request, show_reply) {
            (true, true) => "request and answer",
            (true, false) => "request",
            _ => "answer",
        };
        html! {
            details {
                summary { (what) }
                @if show_request { pre { (pretty(&call.request)) } }
                @if show_request && show_reply { p.dim { "answered:" } }
                @if show_reply { pre { (pretty(&call.reply)) } }
            }
        }
    });
    Label {
        kind: if error.is_some() { "call bad" } else { "call" },
        text,
        more,
    }
}

fn payment_text(payment: &Payment) -> Markup {
    let amount = payment.amount_msat.map(words::msat).unwrap_or_default();
    html! {
        @match payment.state {
            PaymentState::Sent => { b { "pays " (amount) } }
            PaymentState::Held => { b { "holds " (amount) } @if let Some(height) = payment.claim_deadline { ", lets go at Bitcoin height " (words::grouped(height.into())) } }
            PaymentState::Received => { b { "received " (amount) } }
            PaymentState::Succeeded => { b { "paid" } ", the preimage comes back" @if let Some(fee) = payment.fee_msat { "; fee " (words::msat(fee)) } }
            PaymentState::Failed => { strong.err { "✗ payment failed" } }
            PaymentState::Forwarded => { "forwarded " (amount) }
        }
        " " code title=(payment.hash) { (words::short(&payment.hash)) }
    }
}

fn tx_text(model: &Model<'_>, tx: &Tx) -> Markup {
    let what = (model.txs.find(tx.chain, &tx.txid)).map(|at| model.txs.what(at));
    html! {
        a href={ "#tx-" (tx.txid) } { (words::short(&tx.txid)) }
        " " b { (what.unwrap_or_default()) }
    }
}

fn block_text(model: &Model<'_>, row: &Row, height: u32, txs: u32) -> Markup {
    let took_in = match row {
        Row::Block(_, took_in) => took_in.as_slice(),
        _ => &[],
    };
    html! {
        b { "Block " (words::grouped(height.into())) }
        @if txs > 0 { " " span.dim { (words::count(txs.into(), "tx")) } }
        @for (at, n) in took_in.iter().take(4).enumerate() {
            @if let Event::Confirmed(seen) = &model.contents.lines[*n].event {
                @if at == 0 { ": " } @else { ", " } (tx_link(model, seen.chain, &seen.txid))
            }
        }
        @if took_in.len() > 4 { " and " (took_in.len() - 4) " more" }
    }
}

/// A link to a transaction's box, with what it is.
pub(super) fn tx_link(model: &Model<'_>, chain: swaprig_record::Chain, txid: &str) -> Markup {
    match model.txs.find(chain, txid) {
        Some(at) => {
            let what = model.txs.what(at);
            html! {
                a href={ "#tx-" (txid) } title={ (title(chain)) " transaction " (txid) } { (words::short(txid)) }
                @if what != "transaction" { " (" (what) ")" }
            }
        }
        None => html! { code title=(txid) { (words::short(txid)) } },
    }
}

fn empty_blocks(model: &Model<'_>, all: &[usize]) -> Label {
    let heights = |n: &usize| match &model.contents.lines[*n].event {
        Event::Block(block) => Some((block.height, block.height)),
        Event::Blocks(blocks) => Some((blocks.from, blocks.to)),
        _ => None,
    };
    let first = all.first().and_then(heights).map_or(0, |heights| heights.0);
    let last = all.last().and_then(heights).map_or(0, |heights| heights.1);
    let number: u64 = (all.iter().filter_map(heights))
        .map(|(from, to)| u64::from(to.saturating_sub(from)) + 1)
        .sum();
    let text = html! {
        @if number == 1 { b { "Block " (words::grouped(first.into())) } }
        @else { b { "Blocks " (words::grouped(first.into())) " to " (words::grouped(last.into())) } " " span.dim { (words::grouped(number)) " empty ones" } }
    };
    Label::new("block", text)
}

fn looks(model: &Model<'_>, all: &[usize]) -> Label {
    let seen = |n: &usize| match &model.contents.lines[*n].event {
        Event::Seen(seen) => Some(seen),
        _ => None,
    };
    let Some(last) = all.last().and_then(seen) else {
        return Label::new("look", html! {});
    };
    // Of the step that failed they are what one came for.
    let is_failing = model
        .failing()
        .is_some_and(|step| step.began.step == last.step);
    Label {
        kind: if is_failing { "look keep" } else { "look" },
        text: html! { "waits for " (last.wait) ", sees: " b { (last.seen) } },
        more: (all.len() > 1).then(|| {
            html! {
                details {
                    summary { (words::count(all.len() as u64, "observation")) }
                    ol.looks { @for look in all.iter().rev().take(50).rev().filter_map(seen) { li { (words::took(look.after_ms * 1000)) ": " (look.seen) } } }
                }
            }
        }),
    }
}

fn processes(model: &Model<'_>, all: &[usize]) -> Label {
    let one = |n: usize| match &model.contents.lines[n].event {
        Event::Started(started) => html! {
            b { (started.name) } " started, process " (started.pid)
        },
        Event::Exited(exited) => html! { b { (exited.name) } " ended: " (exited.how) },
        _ => html! {},
    };
    let names = |wanted: fn(&Event) -> Option<&str>| -> String {
        let events = all.iter().map(|n| &model.contents.lines[*n].event);
        events
            .filter_map(wanted)
            .take(12)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let started = names(|event| match event {
        Event::Started(started) => Some(&started.name),
        _ => None,
    });
    let ended = names(|event| match event {
        Event::Exited(exited) => Some(&exited.name),
        _ => None,
    });
    match all {
        [n] => Label::new("proc", one(*n)),
        _ => Label {
            kind: "proc",
            text: html! {
                @if !started.is_empty() { (started) " started" @if !ended.is_empty() { "; " } }
                @if !ended.is_empty() { (ended) " ended" }
            },
            more: Some(html! {
                details {
                    summary { "when and how" }
                    ul { @for n in all { li { (words::moment(model.contents.lines[*n].t)) " " (one(*n)) } } }
                }
            }),
        },
    }
}

/// JSON with a line for each member; text that is cut in the middle is laid out as far as it goes.
pub(super) fn pretty(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth.min(20)));
    };
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if quoted {
            text.push(c);
            (quoted, escaped) = (c != '"' || escaped, c == '\\' && !escaped);
            continue;
        }
        match c {
            '{' | '[' => {
                text.push(c);
                if !matches!(chars.peek(), Some('}' | ']')) {
                    depth += 1;
                    line(&mut text, depth);
                }
            }
            '}' | ']' => {
                if !text.ends_with(['{', '[']) {
                    depth = depth.saturating_sub(1);
                    line(&mut text, depth);
                }
                text.push(c);
            }
            ',' => {
                text.push(c);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            '"' => {
                text.push(c);
                quoted = true;
            }
            c if c.is_whitespace() => {}
            c => text.push(c),
        }
    }
    text
}
