//! What the page knows of a record: its actors, steps and names, found once.

use std::collections::{HashMap, HashSet};

use swaprig_record::{
    Chain, Contents, Ended, Event, Failure, Money, PartyRole, PaymentState, Seen, StepBegan,
    StepDone, StepOutcome,
};

use super::chain::Txs;
use super::lanes::Lanes;
use super::money::{self, Series};
use super::plan::{self, Row};
use super::words;

/// A record, seen as a page needs it.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub contents: &'a Contents,
    pub lanes: Lanes,
    pub steps: Vec<Step<'a>>,
    pub txs: Txs<'a>,
    /// The sums of the money oracle: event, time, what it said.
    pub money: Vec<(usize, u64, &'a Money)>,
    /// What everybody had when.
    pub series: Vec<Series<'a>>,
    /// The end, if the record has one.
    pub ended: Option<&'a Ended>,
    /// The other end of each payment, by node and hash, where it is known.
    others: HashMap<(&'a str, &'a str), &'a str>,
    /// The rows of the diagram.
    pub rows: Vec<Row>,
    /// The row in which an event is drawn, by the event that the row stands for.
    anchors: HashMap<usize, usize>,
    /// The step that failed.
    failing: Option<usize>,
    /// The events in which payments arrive that nobody was seen to send.
    pub arrivals: HashSet<usize>,
    /// What the scenario calls a value that is too long to be read: `$swap.claim_txid`.
    names: HashMap<&'a str, String>,
}

/// A step, from its beginning to its end.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// The event of its beginning.
    pub n: usize,
    /// When it began, in microseconds.
    pub t: u64,
    pub began: &'a StepBegan,
    /// Its end: event and what is told of it. Absent when the run ended within it.
    pub done: Option<(usize, &'a StepDone)>,
    /// What it saw while it waited: event, time, what.
    pub seen: Vec<(usize, u64, &'a Seen)>,
}

impl Step<'_> {
    pub(super) fn failed(&self) -> bool {
        (self.done).is_some_and(|(_, done)| done.outcome == StepOutcome::Failed)
    }

    /// How deep it stands inside of other steps.
    pub(super) fn depth(&self) -> usize {
        self.began.step.matches('.').count()
    }
}

impl<'a> Model<'a> {
    pub(super) fn of(contents: &'a Contents) -> Self {
        let mut model = Model {
            contents,
            lanes: Lanes::of(contents),
            steps: Vec::new(),
            txs: Txs::of(contents),
            money: Vec::new(),
            series: Vec::new(),
            ended: None,
            others: others(contents),
            arrivals: arrivals(contents),
            rows: plan::rows(contents),
            anchors: HashMap::new(),
            failing: None,
            names: HashMap::new(),
        };
        let mut open: HashMap<&str, usize> = HashMap::new();
        for (n, line) in contents.lines.iter().enumerate() {
            match &line.event {
                Event::Step(began) => {
                    open.insert(&began.step, model.steps.len());
                    model.steps.push(Step {
                        n,
                        t: line.t,
                        began,
                        done: None,
                        seen: Vec::new(),
                    });
                }
                Event::Seen(seen) => {
                    if let Some(&at) = open.get(&*seen.step) {
                        model.steps[at].seen.push((n, line.t, seen));
                    }
                }
                Event::Done(done) => {
                    if let Some(&at) = open.get(&*done.step) {
                        model.steps[at].done = Some((n, done));
                        model.name(at, done);
                    }
                }
                Event::Money(money) => model.money.push((n, line.t, money)),
                Event::Ended(ended) => model.ended = Some(ended),
                _ => {}
            }
        }
        model.name_htlcs();
        model.series = money::series(&model);
        model.failing = model.find_failing();
        model
    }

    /// An HTLC that the record names by its hash alone is called as the step is in which it was agreed on.
    fn name_htlcs(&mut self) {
        for info in &mut self.txs.htlcs {
            let before = self.steps.partition_point(|step| step.n < info.n);
            let near = &self.steps[before.saturating_sub(16)..before];
            let around = |step: &&Step<'_>| step.done.is_none_or(|(end, _)| info.n < end);
            let named = near
                .iter()
                .rev()
                .filter(around)
                .find_map(|step| step.began.name.as_ref());
            if let (None, Some(name)) = (&info.htlc.name, named) {
                info.called = Some(format!("${}", name.replace("__", ".")));
            }
        }
    }

    /// The step that failed: the innermost one of those that did; of a run that was cut short, the one that it was in.
    pub(super) fn failing(&self) -> Option<&Step<'a>> {
        self.failing.map(|at| &self.steps[at])
    }

    /// Says in which rows events are drawn.
    pub(super) fn set_anchors<'r>(&mut self, rows: impl Iterator<Item = &'r Row>) {
        let mut anchors = HashMap::new();
        for row in rows {
            if let Some(n) = row.n() {
                anchors.extend(row.events().into_iter().map(|event| (event, n)));
            }
        }
        self.anchors = anchors;
    }

    /// The place of an event on the page: its row, or the diagram when that is left out.
    pub(super) fn href(&self, n: usize) -> String {
        match self.anchors.get(&n) {
            Some(row) => format!("#e{row}"),
            None => "#diagram".to_owned(),
        }
    }

    fn find_failing(&self) -> Option<usize> {
        if self.passed() {
            return None;
        }
        let named = self.ended.and_then(|ended| ended.step.as_deref());
        let of_name = |step: &Step<'_>| {
            named == Some(&*step.began.step) && (step.failed() || step.done.is_none())
        };
        let failed = || (0..self.steps.len()).filter(|at| self.steps[*at].failed());
        (self.steps.iter().rposition(of_name))
            .or_else(|| failed().max_by_key(|at| self.steps[*at].depth()))
            .or_else(|| self.steps.iter().rposition(|step| step.done.is_none()))
    }

    /// Why the run did not pass, where that is told.
    pub(super) fn failure(&self) -> Option<&'a Failure> {
        if self.passed() {
            return None;
        }
        let of_step = || (self.failing()?.done).and_then(|(_, done)| done.failure.as_ref());
        (self.ended.and_then(|ended| ended.failure.as_ref())).or_else(of_step)
    }

    pub(super) fn passed(&self) -> bool {
        self.verdict() == "passed"
    }

    /// `passed`, `failed`, `broken`, `interrupted`, or `cut short` when the record has no end.
    pub(super) fn verdict(&self) -> &'a str {
        self.ended.map_or("cut short", |ended| &ended.verdict)
    }

    /// How long the run took, in microseconds; as far as it was recorded when it was cut short.
    pub(super) fn took(&self) -> u64 {
        let last = self.contents.lines.last().map_or(0, |line| line.t);
        self.ended.map_or(last, |ended| ended.took_us)
    }

    /// The other end of a payment, as its node or another one tells.
    pub(super) fn other(&self, node: &str, hash: &str) -> Option<&'a str> {
        self.others.get(&(node, hash)).copied()
    }

    /// How a scenario calls `value`, if it was made by one of its steps.
    pub(super) fn named(&self, value: &str) -> Option<&str> {
        self.names.get(value).map(String::as_str)
    }

    /// An amount with its unit. The smallest parts of an asset other than Bitcoin's are `units`.
    pub(super) fn amount(&self, amount: u64, chain: Chain, asset: Option<&str>) -> String {
        let number = words::grouped(amount);
        match (chain, asset) {
            (Chain::Bitcoin, _) => format!("{number} sat"),
            (Chain::Liquid, None) => format!("{number} of a blinded asset"),
            (Chain::Liquid, Some(asset)) => format!("{number} {}", self.unit(asset)),
        }
    }

    /// The unit of an asset: `sat`, `sat L-BTC`, `units of $sold.gold`.
    pub(super) fn unit(&self, asset: &str) -> String {
        match asset {
            "btc" => "sat".to_owned(),
            "lbtc" => "sat L-BTC".to_owned(),
            other => format!("units of {}", self.asset(other)),
        }
    }

    /// The name of an asset.
    pub(super) fn asset(&self, asset: &str) -> String {
        match asset {
            "btc" => "BTC".to_owned(),
            "lbtc" => "L-BTC".to_owned(),
            other => (self.named(other)).map_or_else(|| words::short(other), str::to_owned),
        }
    }

    fn name(&mut self, step: usize, done: &'a StepDone) {
        let step = self.steps[step].began;
        for (field, value) in &done.made {
            if value.len() >= 32 && !value.contains(' ') {
                let Some(name) = &step.name else { continue };
                // What a fragment made is `used__name` inside, `$used.name` for whoever writes scenarios.
                let name = name.replace("__", ".");
                let name = match &**field {
                    "" | "id" => format!("${name}"),
                    field => format!("${name}.{field}"),
                };
                self.names.entry(value).or_insert(name);
            }
        }
    }
}

/// Finds the other end of every payment: as the node says, else a node that tells of the same hash, else the payee of its
/// invoice.
fn others(contents: &Contents) -> HashMap<(&str, &str), &str> {
    let mut payees: HashMap<&str, &str> = HashMap::new();
    let mut tellers: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut others = HashMap::new();
    for line in &contents.lines {
        match &line.event {
            Event::Invoice(invoice) => {
                payees.insert(&invoice.hash, &invoice.payee);
            }
            Event::Payment(payment) => {
                let tellers = tellers.entry(&payment.hash).or_default();
                if !tellers.contains(&&*payment.node) {
                    tellers.push(&payment.node);
                }
                if let Some(peer) = &payment.peer {
                    others.insert((&*payment.node, &*payment.hash), &**peer);
                }
            }
            _ => {}
        }
    }
    for (hash, nodes) in &tellers {
        for node in nodes {
            let teller = nodes.iter().copied().find(|other| other != node);
            let payee = || payees.get(hash).copied().filter(|payee| payee != node);
            if let Some(other) = teller.or_else(payee) {
                others.entry((*node, *hash)).or_insert(other);
            }
        }
    }
    others
}

/// Finds the first sign of each payment at its payee, of those that were not seen to be sent.
fn arrivals(contents: &Contents) -> HashSet<usize> {
    let mut known: HashSet<&str> = HashSet::new();
    let mut arrivals = HashSet::new();
    for (n, line) in contents.lines.iter().enumerate() {
        let Event::Payment(payment) = &line.event else {
            continue;
        };
        match payment.state {
            // It can be tried again.
            PaymentState::Failed => {
                known.remove(&*payment.hash);
            }
            PaymentState::Held | PaymentState::Received if known.insert(&payment.hash) => {
                arrivals.insert(n);
            }
            _ => {
                known.insert(&payment.hash);
            }
        }
    }
    arrivals
}

/// The parties of a record by name, with what they are.
pub(super) fn roles(contents: &Contents) -> impl Iterator<Item = (&str, PartyRole, Option<&str>)> {
    contents
        .lines
        .iter()
        .flat_map(|line| match &line.event {
            Event::Stands(stands) => stands.parties.as_slice(),
            _ => &[],
        })
        .map(|party| (&*party.name, party.role, party.node.as_deref()))
}
