//! Every HTLC as a card, and every transaction as a box: its outputs, and how each was spent.

use maud::{Markup, html};
use swaprig_record::{Chain, Input, Output};

use super::chain::{HtlcInfo, Path, TxInfo, ends};
use super::lanes::title;
use super::model::Model;
use super::words;

/// Outputs of a box that are shown without unfolding: a wallet that makes coins ready makes dozens.
const OUTPUTS: usize = 6;

/// All HTLCs, and the boxes that `budget` bytes of markup have room for.
pub(super) fn section(model: &Model<'_>, budget: usize) -> Markup {
    let (boxes, left_out) = boxes(model, budget);
    html! {
        section #transactions aria-labelledby="h-transactions" {
            h2 #h-transactions { "HTLCs and transactions" }
            @if !model.txs.htlcs.is_empty() {
                div.cards { @for info in model.txs.htlcs.iter().take(40) { (card(model, info)) } }
                @if model.txs.htlcs.len() > 40 { p.hint { "The first 40 of " (model.txs.htlcs.len()) " HTLCs." } }
            }
            @if model.txs.all.is_empty() { p { "No transaction was seen." } }
            @if left_out > 0 { p.hint { (words::count(left_out as u64, "transaction")) " that concern no HTLC and no channel are left out here, because the page would be too large. The record has them." } }
            div.boxes { @for drawn in &boxes { (drawn) } }
        }
    }
}

/// Boxes in the order of their transactions; when there is no room for all, those that concern HTLCs and channels go first.
fn boxes(model: &Model<'_>, budget: usize) -> (Vec<Markup>, usize) {
    let all = &model.txs.all;
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|at| (!matters(&all[*at]), std::cmp::Reverse(*at)));
    let mut drawn: Vec<(usize, Markup)> = Vec::new();
    let mut used = 0;
    for at in order {
        let markup = tx_box(model, at);
        used += markup.0.len();
        if used > budget {
            break;
        }
        drawn.push((at, markup));
    }
    drawn.sort_by_key(|(at, _)| *at);
    let left_out = all.len() - drawn.len();
    (
        drawn.into_iter().map(|(_, markup)| markup).collect(),
        left_out,
    )
}

fn matters(info: &TxInfo<'_>) -> bool {
    !info.funds.is_empty()
        || !info.spends.is_empty()
        || info.opens.is_some()
        || info.closes.is_some()
}

fn card(model: &Model<'_>, info: &HtlcInfo<'_>) -> Markup {
    let htlc = info.htlc;
    let txs = &model.txs;
    html! {
        article.card id={ "htlc-" (info.n) } {
            h3 { "HTLC " (info.name()) " " span.dim { "on " (title(htlc.chain)) } }
            ol.flow {
                @if info.funded.is_empty() { li.not { "not funded" } }
                @for (at, vout) in &info.funded {
                    li { "funded by " (link(model, htlc.chain, &txs.all[*at].tx.txid)) " with " (value(model, htlc.chain, &txs.all[*at].tx.outputs[*vout]))
                        (standing(model, &txs.all[*at])) @if is_wrong(info, &txs.all[*at].tx.outputs[*vout]) { " " strong.err { "✗ not what was agreed on" } } }
                }
                @for (at, path) in &info.spent {
                    li class=(path_class(path)) { (path_words(path)) " by " (link(model, htlc.chain, &txs.all[*at].tx.txid)) (standing(model, &txs.all[*at])) }
                }
                @if !info.funded.is_empty() && info.spent.is_empty() { li.not { "not spent in this run" } }
            }
            dl.facts {
                @if let Some(value) = htlc.value { dt { "Agreed" } dd { (model.amount(value, htlc.chain, htlc.asset.as_deref())) } }
                dt { "Timeout" } dd { "height " (words::grouped(htlc.timeout.into())) }
                @if let Some(claimer) = &htlc.claimer { dt { "Claimer" } dd { (claimer) } }
                @if let Some(refunder) = &htlc.refunder { dt { "Refunder" } dd { (refunder) } }
                dt { "Hash" } dd.id { (htlc.hash) }
                dt { "Address" } dd.id { (htlc.address) }
                @for (_, path) in &info.spent { @if let Path::Claim(preimage) = path { dt { "Preimage" } dd.id { (preimage) } } }
            }
        }
    }
}

/// Whether an output has less or something else in it than was agreed on, as far as both are known.
fn is_wrong(info: &HtlcInfo<'_>, output: &Output) -> bool {
    let other_asset = match (&info.htlc.asset, &output.asset) {
        (Some(agreed), Some(found)) => agreed != found,
        _ => false,
    };
    let less = match (info.htlc.value, output.value) {
        (Some(agreed), Some(found)) => found < agreed,
        _ => false,
    };
    // What pays for the claim may stand beside another asset, at the same address.
    less && !other_asset
}

fn path_class(path: &Path) -> &'static str {
    match path {
        Path::Claim(_) => "ok",
        Path::Refund => "bad",
        Path::Cooperative | Path::Unknown => "",
    }
}

fn path_words(path: &Path) -> &'static str {
    match path {
        Path::Claim(_) => "claimed with the preimage",
        Path::Refund => "refunded after the timeout",
        Path::Cooperative => "spent co-operatively, with one signature",
        Path::Unknown => "spent",
    }
}

/// The same without a link.
fn standing_words(info: &TxInfo<'_>) -> String {
    match info.confirmed.last() {
        Some((_, height)) => format!(", block {}", words::grouped((*height).into())),
        None if info.dropped => ", gone".to_owned(),
        None => ", unconfirmed".to_owned(),
    }
}

fn standing(model: &Model<'_>, info: &TxInfo<'_>) -> Markup {
    html! {
        @if let Some((n, height)) = info.confirmed.last() { ", " a href=(model.href(*n)) { "block " (words::grouped((*height).into())) } }
        @else if info.dropped { ", " strong.err { "gone" } }
        @else { ", unconfirmed" }
    }
}

fn link(model: &Model<'_>, chain: Chain, txid: &str) -> Markup {
    match model.txs.find(chain, txid) {
        Some(_) => html! { a.id href={ "#tx-" (txid) } title=(txid) { (words::short(txid)) } },
        None => html! { code title=(txid) { (words::short(txid)) } },
    }
}

fn value(model: &Model<'_>, chain: Chain, output: &Output) -> String {
    match (output.value, output.asset.as_deref()) {
        (Some(value), asset) => model.amount(value, chain, asset),
        (None, Some(asset)) => format!("a blinded amount of {}", model.asset(asset)),
        (None, None) if chain == Chain::Liquid => "blinded amount and asset".to_owned(),
        (None, None) => "an amount that is not told".to_owned(),
    }
}

fn tx_box(model: &Model<'_>, at: usize) -> Markup {
    let info = &model.txs.all[at];
    let tx = info.tx;
    let name = model.named(&tx.txid);
    html! {
        details.txbox id={ "tx-" (tx.txid) } open[matters(info)] {
            summary {
                span class={ "chain " (tx.chain.name()) } { (title(tx.chain)) } " "
                code { (words::short(&tx.txid)) } @if let Some(name) = name { " " b { (name) } }
                " " (model.txs.what(at)) span.dim { (standing_words(info)) }
            }
            dl.facts {
                dt { "Id" } dd.id { (tx.txid) }
                dt { "Size" } dd { (words::grouped(tx.vsize)) " vB" @if let Some(fee) = tx.fee_sat { ", fee " (words::grouped(fee)) " sat" (rate(fee, tx.vsize)) } }
                @if tx.lock_time > 0 { dt { "Lock time" } dd { (words::grouped(tx.lock_time.into())) } }
                dt { "First seen" } dd { a href=(model.href(info.n)) { (words::moment(info.t)) " s" } @if let Some(by) = model.txs.sender(at) { ", by " (by) } }
                @if !info.confirmed.is_empty() { dt { "In block" } dd { @for (n, height) in &info.confirmed { a href=(model.href(*n)) { (words::grouped((*height).into())) } " " } } }
            }
            div.io {
                div {
                    h3.io { (words::count(tx.inputs.len() as u64, "input")) }
                    ul { @for (number, input) in tx.inputs.iter().enumerate().take(OUTPUTS) { li { (input_line(model, info, number, input)) } } }
                    @if tx.inputs.len() > OUTPUTS { details { summary { (tx.inputs.len() - OUTPUTS) " more" } ul { @for (number, input) in tx.inputs.iter().enumerate().skip(OUTPUTS).take(100) { li { (input_line(model, info, number, input)) } } } } }
                }
                div {
                    h3.io { (words::count(tx.outputs.len() as u64, "output")) }
                    (outputs(model, info))
                }
            }
        }
    }
}

fn rate(fee: u64, vsize: u64) -> String {
    match (fee * 100).checked_div(vsize) {
        Some(rate) => format!(" ({}.{:02} sat/vB)", rate / 100, rate % 100),
        None => String::new(),
    }
}

fn input_line(model: &Model<'_>, info: &TxInfo<'_>, number: usize, input: &Input) -> Markup {
    let chain = info.tx.chain;
    let parent = model.txs.find(chain, &input.txid);
    let output = parent.and_then(|at| model.txs.all[at].tx.outputs.get(input.vout as usize));
    let spend = info.spends.iter().find(|spend| spend.input == number);
    html! {
        (link(model, chain, &input.txid)) ":" (input.vout)
        @if let Some(output) = output { " " (value(model, chain, output)) }
        @if let Some(spend) = spend {
            " " b class=(path_class(&spend.path)) { "HTLC " (model.txs.htlcs[spend.htlc].name()) " " (path_words(&spend.path)) }
            @if let Path::Claim(preimage) = &spend.path { " " code title=(preimage) { (words::short(preimage)) } }
        }
    }
}

/// Outputs that have a name come first, then as many others as are worth reading.
fn outputs(model: &Model<'_>, info: &TxInfo<'_>) -> Markup {
    let named = |vout: usize| {
        info.funds.iter().any(|(funds, _)| *funds == vout)
            || info.opens.is_some_and(|(opens, _)| opens == vout)
    };
    let mut order: Vec<usize> = (0..info.tx.outputs.len()).collect();
    order.sort_by_key(|vout| !named(*vout));
    let (shown, folded) = order.split_at(order.len().min(OUTPUTS));
    let shown = {
        let mut shown = shown.to_vec();
        shown.sort_unstable();
        shown
    };
    html! {
        ul { @for vout in shown { li { (output_line(model, info, vout)) } } }
        @if !folded.is_empty() {
            details { summary { (folded.len()) " more" } ul { @for vout in folded.iter().take(100) { li { (output_line(model, info, *vout)) } } } }
        }
    }
}

fn output_line(model: &Model<'_>, info: &TxInfo<'_>, vout: usize) -> Markup {
    let (tx, output) = (info.tx, &info.tx.outputs[vout]);
    let htlc = info.funds.iter().find(|(funds, _)| *funds == vout);
    let opens = info.opens.filter(|(opens, _)| *opens == vout);
    let spenders = model.txs.spenders(tx.chain, &tx.txid, vout);
    html! {
        span.vout { (vout) } " "
        @if output.kind == "fee" { "fee " (value(model, tx.chain, output)) }
        @else {
            (value(model, tx.chain, output)) " "
            @if let Some((_, at)) = htlc {
                @let known = &model.txs.htlcs[*at];
                a href={ "#htlc-" (known.n) } { b { "HTLC " (known.name()) } }
                span.dim { ", hash " (words::short(&known.htlc.hash)) ", timeout " (words::grouped(known.htlc.timeout.into())) }
            }
            @if let Some((_, channel)) = opens { b { "channel " (ends(channel)) } }
            @match &output.address {
                Some(address) => { " " code.addr title=(address) { (short_address(address)) } },
                None => { " " span.dim { (output.kind) } },
            }
            (spent(model, tx.chain, &output.kind, spenders))
        }
    }
}

fn spent(model: &Model<'_>, chain: Chain, kind: &str, spenders: &[(usize, usize)]) -> Markup {
    html! {
        @if spenders.is_empty() { @if kind != "nulldata" { " " span.dim { "unspent" } } }
        @for (at, input) in spenders {
            @let spender = &model.txs.all[*at];
            " → " @match spender.spends.iter().find(|spend| spend.input == *input) {
                Some(spend) => { b class=(path_class(&spend.path)) { (path_words(&spend.path)) } " in " },
                None => { "spent by " },
            }
            (link(model, chain, &spender.tx.txid)) @if spender.dropped { " (gone)" }
        }
    }
}

/// The two ends of an address, which are what people compare.
fn short_address(address: &str) -> String {
    match (
        address.get(..8),
        address
            .len()
            .checked_sub(6)
            .and_then(|at| address.get(at..)),
    ) {
        (Some(head), Some(tail)) if address.len() > 20 => format!("{head}…{tail}"),
        _ => address.to_owned(),
    }
}
