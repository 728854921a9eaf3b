//! The state machine as Mermaid diagrams, one for each direction, drawn from the machine itself: it is told a table of events, in
//! every state that it can get into by them, and every change of phase is an edge. `docs/swap/states-*.mmd` are the committed
//! copies.

mod events;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use swaprig_units::{Height, Preimage};

use super::machine::step;
use super::state::{FundingTx, Phase, Swap, Tips};
use super::view::is_final;
use events::{Told, events};

/// The diagram of all that can happen to `starts`, swaps of one direction that were just made. Their terms decide what there is to
/// see: with a prepay there is the phase that waits for it.
pub fn mermaid(starts: &[Swap], funding: &FundingTx, preimage: Preimage) -> String {
    let mut drawing = Drawing::default();
    for start in starts {
        drawing.explore(start, &events(start, funding, preimage));
    }
    drawing.text()
}

#[derive(Default)]
struct Drawing {
    names: BTreeMap<usize, &'static str>,
    starts: BTreeSet<usize>,
    edges: BTreeMap<(usize, usize), Vec<&'static str>>,
    /// Where nothing more happens once time has passed.
    ends: BTreeSet<usize>,
}

impl Drawing {
    fn explore(&mut self, start: &Swap, events: &[Told]) {
        self.starts.insert(place(&start.phase));
        let mut known = Vec::new();
        let mut queue = VecDeque::from([start.clone()]);
        while let Some(swap) = queue.pop_front() {
            if known.contains(&swap) {
                continue;
            }
            self.names.insert(place(&swap.phase), swap.phase.name());
            if is_final(&swap, END_OF_TIME, 1) {
                self.ends.insert(place(&swap.phase));
            }
            for told in events.iter().filter(|told| (told.comes)(&swap)) {
                if let Ok(next) = step(&swap, &told.event) {
                    self.edge(&swap.phase, &next.swap.phase, told);
                    queue.push_back(next.swap);
                }
            }
            known.push(swap);
        }
    }

    fn edge(&mut self, from: &Phase, to: &Phase, told: &Told) {
        if place(from) == place(to) {
            return;
        }
        let settled = |phase: &Phase| matches!(phase, Phase::Claimed | Phase::Refunded);
        // A block that is undone undoes what it did; what else was seen then only says where that leads.
        let label = match settled(from) && !settled(to) {
            true => "reorganisation",
            false => told.name,
        };
        let labels = self.edges.entry((place(from), place(to))).or_default();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }

    fn text(&self) -> String {
        let mut text = String::from("stateDiagram-v2\n");
        for start in &self.starts {
            text += &format!("    [*] --> {}\n", self.names[start]);
        }
        for ((from, to), labels) in &self.edges {
            let (from, to) = (self.names[from], self.names[to]);
            let mut labels = labels.clone();
            labels.sort_unstable();
            text += &format!("    {from} --> {to}: {}\n", labels.join(" / "));
        }
        for end in &self.ends {
            let name = self.names[end];
            let when = match name {
                "Cancelling" => "a week after the timeout",
                _ => "deep enough",
            };
            text += &format!("    {name} --> [*]: {when}\n");
        }
        text
    }
}

/// Heights at which nothing is waited for any more.
const END_OF_TIME: Tips = Tips {
    liquid: Height(u32::MAX - 1),
    bitcoin: Height(u32::MAX - 1),
    lightning: Height(u32::MAX - 1),
};

/// The order in which phases are drawn.
fn place(phase: &Phase) -> usize {
    match phase {
        Phase::Reserved => 0,
        Phase::AwaitingPrepay => 1,
        Phase::AwaitingPayment => 2,
        Phase::AwaitingFunding => 3,
        Phase::Building => 4,
        Phase::Funding => 5,
        Phase::Confirmed => 6,
        Phase::PaymentHeld => 7,
        Phase::Paying => 8,
        Phase::Paid => 9,
        Phase::Cancelling => 10,
        Phase::Refunding => 11,
        Phase::Claimed => 12,
        Phase::Refunded => 13,
        Phase::Failed(_) => 14,
    }
}
