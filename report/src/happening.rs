//! What happened beside the steps, in words that are the same in every run that goes the same way: no ids, no amounts that
//! fees decide, no polls. This is what two runs are compared by.

use std::collections::{HashMap, HashSet};

use swaprig_record::{Call, Chain, Contents, Event, PaymentState, Tx};

use crate::plain::plain;
use crate::steps::Steps;

/// How often something must happen to be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Counts {
    /// As often as in the other run: the second payment is another one than the first.
    EachTime,
    /// At all: somebody asks until there is an answer, and how often is chance.
    Once,
    /// As often, unless the one it is about came further: who looks may miss a state that does not last.
    Passing(String),
}

/// Something that happened in a step.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    /// What, without anything that always differs.
    pub what: String,
    pub counts: Counts,
    /// In which step, or after which.
    pub step: usize,
}

/// What happened while there were steps, in order.
pub(crate) fn happenings(contents: &Contents, steps: &Steps<'_>) -> Vec<Happening> {
    let names = Names::of(contents);
    let mut found = Vec::new();
    // A call that the harness repeats within a step counts once in it.
    let mut calls: HashSet<(usize, String)> = HashSet::new();
    let first = contents
        .lines
        .iter()
        .position(|line| matches!(line.event, Event::Step(_)));
    let is_end = |event: &Event| matches!(event, Event::Done(_) | Event::Step(_));
    let last = contents.lines.iter().rposition(|line| is_end(&line.event));
    let (Some(first), Some(last)) = (first, last) else {
        return found;
    };
    // A record that is cut ends in the middle of a step, and all of it counts.
    let is_open = steps.list.iter().any(|step| step.done.is_none());
    let end = if is_open {
        contents.lines.len()
    } else {
        last + 1
    };
    let mut begun = 0;
    for at in first..end {
        begun += usize::from(matches!(contents.lines[at].event, Event::Step(_)));
        let step = steps.of_line[at].unwrap_or(begun.saturating_sub(1));
        let Some((what, counts)) = names.told(&contents.lines[at].event) else {
            continue;
        };
        let is_call = matches!(contents.lines[at].event, Event::Call(_));
        if is_call && counts == Counts::EachTime && !calls.insert((step, what.clone())) {
            continue;
        }
        found.push(Happening { what, counts, step });
    }
    found
}

/// What transactions are for.
struct Names<'a> {
    /// HTLCs by address.
    htlcs: HashMap<&'a str, String>,
    /// Funding outputs of channels, `TXID:VOUT`.
    channels: HashSet<&'a str>,
    /// Outputs of HTLCs, by transaction and index.
    locked: HashMap<(&'a str, u32), String>,
    /// What each transaction is, by its id.
    txs: HashMap<&'a str, String>,
}

impl<'a> Names<'a> {
    fn of(contents: &'a Contents) -> Self {
        let mut names = Names {
            htlcs: HashMap::new(),
            channels: HashSet::new(),
            locked: HashMap::new(),
            txs: HashMap::new(),
        };
        for line in &contents.lines {
            match &line.event {
                Event::Htlc(htlc) => {
                    let name = htlc.name.as_deref().unwrap_or("a swap");
                    names
                        .htlcs
                        .insert(&htlc.address, format!("the HTLC of {name}"));
                }
                Event::Channel(channel) => names.channels.extend(channel.funding.as_deref()),
                _ => {}
            }
        }
        let txs = || {
            contents.lines.iter().filter_map(|line| match &line.event {
                Event::Tx(tx) => Some(tx),
                _ => None,
            })
        };
        for tx in txs() {
            for (vout, output) in (0..).zip(&tx.outputs) {
                let address = output.address.as_deref();
                if let Some(name) = address.and_then(|address| names.htlcs.get(address)) {
                    names.locked.insert((&tx.txid, vout), name.clone());
                }
            }
        }
        for tx in txs() {
            let role = names.role(tx);
            names.txs.insert(&tx.txid, role);
        }
        names
    }

    /// What `tx` is for, or else what kinds of outputs it has.
    fn role(&self, tx: &Tx) -> String {
        let chain = tx.chain.name();
        for input in &tx.inputs {
            if let Some(htlc) = self.locked.get(&(input.txid.as_str(), input.vout)) {
                // BIP 199: the claim shows a preimage of 32 bytes, the refund none. The last element is the script.
                let shown = input
                    .witness
                    .split_last()
                    .map_or(&[][..], |(_, shown)| shown);
                let kind = match shown.iter().any(|element| element.len() == 64) {
                    true => "claim",
                    false if shown.is_empty() => "co-operative spend",
                    false => "refund",
                };
                return format!("the {kind} of {htlc} on {chain}");
            }
            let outpoint = format!("{}:{}", input.txid, input.vout);
            if self.channels.contains(outpoint.as_str()) {
                return format!("the close of a channel on {chain}");
            }
        }
        for vout in 0..u32::try_from(tx.outputs.len()).unwrap_or(u32::MAX) {
            if let Some(htlc) = self.locked.get(&(tx.txid.as_str(), vout)) {
                return format!("the funding of {htlc} on {chain}");
            }
            if self
                .channels
                .contains(format!("{}:{vout}", tx.txid).as_str())
            {
                return format!("the funding of a channel on {chain}");
            }
        }
        // How many outputs there are depends on the coins that a wallet chose: change or none.
        let mut kinds: Vec<&str> = tx
            .outputs
            .iter()
            .map(|output| output.kind.as_str())
            .collect();
        kinds.retain(|kind| *kind != "fee");
        kinds.sort_unstable();
        kinds.dedup();
        format!("a transaction to {} on {chain}", kinds.join(" and "))
    }

    fn tx(&self, chain: Chain, txid: &str) -> String {
        let known = self.txs.get(txid).cloned();
        known.unwrap_or_else(|| format!("a transaction on {}", chain.name()))
    }

    /// An event in words, and how often it must happen; `None` for what says nothing about how a run goes, or is looked at
    /// elsewhere.
    fn told(&self, event: &Event) -> Option<(String, Counts)> {
        use Counts::{EachTime, Once, Passing};
        let told = match event {
            Event::Tx(tx) => (format!("{} is seen", self.tx(tx.chain, &tx.txid)), EachTime),
            Event::Confirmed(done) => (
                format!("{} is confirmed", self.tx(done.chain, &done.txid)),
                EachTime,
            ),
            Event::Dropped(gone) => (
                format!("{} is dropped", self.tx(gone.chain, &gone.txid)),
                EachTime,
            ),
            Event::Orphaned(block) => (
                format!("a block of {} is orphaned", block.chain.name()),
                EachTime,
            ),
            Event::Htlc(htlc) => {
                let name = htlc.name.as_deref().unwrap_or("a swap");
                let chain = htlc.chain.name();
                (
                    format!("the HTLC of {name} is agreed on for {chain}"),
                    EachTime,
                )
            }
            Event::Invoice(invoice) => (format!("{} makes an invoice", invoice.payee), EachTime),
            Event::Call(call) => called(call),
            Event::Payment(payment) => (
                format!("{}: payment {}", payment.node, payment_state(payment.state)),
                Passing(format!("payments of {}", payment.node)),
            ),
            Event::Channel(channel) => {
                let reason = channel.reason.as_deref().map(plain);
                let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
                let (node, state) = (&channel.node, &channel.state);
                (
                    format!("{node}: channel {state}{reason}"),
                    Passing(format!("channels of {node}")),
                )
            }
            Event::Swap(swap) => (
                format!("{}: swap is {}", swap.party, plain(&swap.state)),
                Passing(format!("swaps of {}", swap.party)),
            ),
            Event::Money(money) if !money.conserved => {
                ("not everything that exists has an owner".to_owned(), Once)
            }
            Event::Fault(fault) => (format!("{}: {}", fault.link, plain(&fault.what)), EachTime),
            Event::Started(started) => (format!("{} is started", started.name), EachTime),
            Event::Exited(exited) => (format!("{} ends: {}", exited.name, exited.how), EachTime),
            Event::Began(_)
            | Event::Stands(_)
            | Event::Step(_)
            | Event::Seen(_)
            | Event::Done(_)
            | Event::Block(_)
            | Event::Blocks(_)
            | Event::Money(_)
            | Event::Ended(_) => return None,
        };
        Some(told)
    }
}

/// The harness calls when a step says so; a party calls when it likes.
fn called(call: &Call) -> (String, Counts) {
    let counts = match call.from.as_str() {
        "harness" => Counts::EachTime,
        _ => Counts::Once,
    };
    let method = plain(&call.method);
    let how = match &call.error {
        Some(error) => format!("fails: {}", plain(error)),
        None => "is answered".to_owned(),
    };
    (
        format!("{} → {} {method} {how}", call.from, call.to),
        counts,
    )
}

fn payment_state(state: PaymentState) -> &'static str {
    match state {
        PaymentState::Sent => "sent",
        PaymentState::Held => "held",
        PaymentState::Received => "received",
        PaymentState::Succeeded => "succeeded",
        PaymentState::Failed => "failed",
        PaymentState::Forwarded => "forwarded",
    }
}
