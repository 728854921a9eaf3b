//! Balances over time, by owner and asset, as the money oracle added them up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use maud::{Markup, html};
use swaprig_record::{Event, PaymentState};

use super::model::Model;
use super::words;

/// The points of a curve that is drawn at most.
const POINTS: usize = 200;

/// How many changes are listed.
const CHANGES: usize = 200;

/// What one owner had of one asset: at each sum of the oracle, 0 where it is not named.
#[derive(Debug)]
pub(super) struct Series<'a> {
    owner: &'a str,
    asset: &'a str,
    /// Time and amount, where it changed.
    changes: Vec<(u64, u64)>,
    /// When the first swap was agreed on; the end of the run's first sum where there was none.
    since: u64,
}

impl Series<'_> {
    /// What he had before the first swap.
    fn first(&self) -> u64 {
        let before = self
            .changes
            .iter()
            .take_while(|change| change.0 <= self.since);
        before.last().map_or(0, |change| change.1)
    }

    fn last(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.1)
    }
}

pub(super) fn section(model: &Model<'_>) -> Markup {
    let series = &model.series;
    let first = swap_begins(model).map_or("At first", |_| "Before the first swap");
    html! {
        section #money aria-labelledby="h-money" {
            h2 #h-money { "Money" }
            p { (line(model)) }
            @if !series.is_empty() {
                table.money {
                    thead { tr { th scope="col" { "Who" } th scope="col" { "Of what" } th scope="col" { "Over time" } th.num scope="col" { (first) } th.num scope="col" { "At last" } th.num scope="col" { "Change" } } }
                    tbody {
                        @for one in series {
                            tr {
                                th scope="row" { (one.owner) }
                                td title=(one.asset) { (model.unit(one.asset)) }
                                td.chart { (chart(one, model.took())) }
                                td.num data-label=(first) { (words::grouped(one.first())) }
                                td.num data-label="At last" { (words::grouped(one.last())) }
                                td.num data-label="Change" { (words::change(one.first(), one.last())) }
                            }
                        }
                    }
                }
                (lightning(model))
                details {
                    @let changes = changes(series);
                    summary { @if changes.len() > CHANGES { "The last " (CHANGES) " changes" } @else { "Every change" } }
                    table {
                        thead { tr { th scope="col" { "At" } th scope="col" { "Who" } th.num scope="col" { "Has" } th scope="col" { "Of what" } } }
                        tbody {
                            @for (t, owner, amount, asset) in changes.iter().skip(changes.len().saturating_sub(CHANGES)) {
                                tr { td.num { (words::moment(*t)) } td { (owner) } td.num { (words::grouped(*amount)) } td { (model.unit(asset)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What each node paid and received over its channels: the oracle counts a channel as a whole.
fn lightning(model: &Model<'_>) -> Markup {
    // Paid, fees, received, in millisatoshi.
    let mut nodes: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for line in &model.contents.lines {
        let Event::Payment(payment) = &line.event else {
            continue;
        };
        let (amount, fee) = (
            payment.amount_msat.unwrap_or(0),
            payment.fee_msat.unwrap_or(0),
        );
        let added = match payment.state {
            PaymentState::Succeeded => [amount, fee, 0],
            PaymentState::Received => [0, 0, amount],
            _ => continue,
        };
        let sums = nodes.entry(&payment.node).or_default();
        for (sum, more) in sums.iter_mut().zip(added) {
            *sum = sum.saturating_add(more);
        }
    }
    html! {
        @if !nodes.is_empty() {
            h3 { "Over Lightning" }
            table {
                thead { tr { th scope="col" { "Node" } th.num scope="col" { "Paid" } th.num scope="col" { "Fees" } th.num scope="col" { "Received" } } }
                tbody {
                    @for (node, sums) in &nodes {
                        tr { th scope="row" { (node) } @for sum in sums { td.num { (words::msat(*sum)) } } }
                    }
                }
            }
        }
    }
}

/// Whether money was conserved, in one line, and who has more or less than at first.
pub(super) fn line(model: &Model<'_>) -> Markup {
    let bad = model.money.iter().find(|(_, _, money)| !money.conserved);
    let looks = words::count(model.money.len() as u64, "time");
    html! {
        @match (model.money.is_empty(), bad) {
            (true, _) => { "The money oracle did not look." }
            (_, None) => { "Conserved: everything that exists had an owner, each of the " (looks) " that the oracle looked." }
            (_, Some((n, t, _))) => { strong.err { "Not conserved" } " from " a href=(model.href(*n)) { (words::moment(*t)) " s" } " on." }
        }
    }
}

/// The changes of whom the run is about, as one line: `seller −50 269 sat L-BTC`.
pub(super) fn balance(model: &Model<'_>) -> String {
    let mut parts = Vec::new();
    for one in &model.series {
        if one.first() != one.last() && !["miner", "faucet"].contains(&one.owner) {
            let change = words::change(one.first(), one.last());
            parts.push(format!("{} {change} {}", one.owner, model.unit(one.asset)));
        }
    }
    parts.join(", ")
}

/// Works out who had what when.
pub(super) fn series<'a>(model: &Model<'a>) -> Vec<Series<'a>> {
    let mut series: BTreeMap<(&str, &str), Vec<(u64, u64)>> = BTreeMap::new();
    let first = model.money.first().map_or(0, |(_, t, _)| *t);
    let since = swap_begins(model).unwrap_or(first);
    for (at, (_, t, money)) in model.money.iter().enumerate() {
        // After most steps nobody has more or less than before.
        if at > 0 && model.money[at - 1].2.holdings == money.holdings {
            continue;
        }
        let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for holding in &money.holdings {
            let sum = sums.entry((&holding.owner, &holding.asset)).or_default();
            *sum = sum.saturating_add(holding.amount);
        }
        for (&key, &sum) in &sums {
            let changes = series.entry(key).or_insert_with(|| match at {
                0 => Vec::new(),
                _ => vec![(first, 0)],
            });
            if changes.last().is_none_or(|last| last.1 != sum) {
                changes.push((*t, sum));
            }
        }
        // The oracle adds up one chain at a time: who is not named has nothing only of the assets that are.
        let assets: BTreeSet<&str> = sums.keys().map(|(_, asset)| *asset).collect();
        for (key, changes) in &mut series {
            let is_gone = assets.contains(key.1) && !sums.contains_key(key);
            if is_gone && changes.last().is_some_and(|last| last.1 != 0) {
                changes.push((*t, 0));
            }
        }
    }
    (series.into_iter())
        .map(|((owner, asset), changes)| Series {
            owner,
            asset,
            changes,
            since,
        })
        .collect()
}

/// When the first HTLC was agreed on, or the first swap was told of.
fn swap_begins(model: &Model<'_>) -> Option<u64> {
    let begins = |event: &Event| matches!(event, Event::Htlc(_) | Event::Swap(_));
    let line = (model.contents.lines.iter()).find(|line| begins(&line.event))?;
    Some(line.t)
}

fn changes<'a>(series: &[Series<'a>]) -> Vec<(u64, &'a str, u64, &'a str)> {
    let mut all: Vec<_> = (series.iter())
        .flat_map(|one| (one.changes.iter()).map(|(t, amount)| (*t, one.owner, *amount, one.asset)))
        .collect();
    all.sort_unstable();
    all
}

/// A curve of steps over the time of the run, from 0 to the most that it reached.
fn chart(series: &Series<'_>, took: u64) -> Markup {
    let most = series
        .changes
        .iter()
        .map(|change| change.1)
        .max()
        .unwrap_or(0)
        .max(1);
    let took = took
        .max(series.changes.last().map_or(1, |change| change.0))
        .max(1);
    let x = |t: u64| u128::from(t) * 1000 / u128::from(took);
    let y = |amount: u64| 100 - u128::from(amount) * 96 / u128::from(most);
    let skip = series.changes.len().div_ceil(POINTS).max(1);
    let mut path = String::new();
    for (at, (t, amount)) in series.changes.iter().enumerate() {
        if at == 0 {
            let _ = write!(path, "M{} {}", x(*t), y(*amount));
        } else if at % skip == 0 || at + 1 == series.changes.len() {
            let _ = write!(path, "H{}V{}", x(*t), y(*amount));
        }
    }
    path.push_str("H1000");
    let said = format!(
        "from {} to {}, at most {}",
        words::grouped(series.first()),
        words::grouped(series.last()),
        words::grouped(most)
    );
    html! {
        svg.curve viewBox="0 0 1000 104" preserveAspectRatio="none" role="img" aria-label=(said) {
            path d=(path) vector-effect="non-scaling-stroke" {}
        }
    }
}
