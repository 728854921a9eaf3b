//! The state machine as a Mermaid diagram, drawn from the machine itself: it is told a table of events, in every state that it
//! can get into by them, and every change of phase is an edge. `docs/swap/states.mmd` is the committed copy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use swaprig_units::Height;

use super::machine::{funding_deadline, pay_by, step};
use super::state::{
    ChainSpend, ChainState, Depth, Event, FailureReason, FundingTx, Observation, Payment, Phase,
    Spend, Swap, Tips,
};

const WINDOW_OVER: &str = "funding window over";

/// The diagram of all that can happen to `start`, a swap just made. Its terms decide what there is to see: with a prepay
/// there is the phase that waits for it.
pub fn mermaid(start: &Swap, funding: &FundingTx, claim: Spend) -> String {
    let events = events(start, funding, claim);
    let mut edges: BTreeMap<(usize, usize), BTreeSet<usize>> = BTreeMap::new();
    let mut known = vec![start.clone()];
    let mut queue = VecDeque::from([start.clone()]);
    while let Some(swap) = queue.pop_front() {
        for (label, (name, event)) in events.iter().enumerate() {
            // Nothing is on the chain of a swap that has no funding.
            let seen = matches!(event, Event::Observed(_)) && *name != WINDOW_OVER;
            if seen && swap.funding.is_none() {
                continue;
            }
            let Ok(next) = step(&swap, event) else {
                continue;
            };
            let (from, to) = (place(&swap.phase), place(&next.swap.phase));
            if from != to {
                edges.entry((from, to)).or_default().insert(label);
            }
            if !known.contains(&next.swap) {
                known.push(next.swap.clone());
                queue.push_back(next.swap);
            }
        }
    }
    draw(&known, &edges, &events)
}

fn draw(
    known: &[Swap],
    edges: &BTreeMap<(usize, usize), BTreeSet<usize>>,
    events: &[(&'static str, Event)],
) -> String {
    let names: BTreeMap<usize, &str> = known
        .iter()
        .map(|swap| (place(&swap.phase), swap.phase.name()))
        .collect();
    let mut text = String::from("stateDiagram-v2\n    [*] --> Reserved\n");
    for ((from, to), labels) in edges {
        let (from, to) = (names[from], names[to]);
        let settled = |name: &str| matches!(name, "Claimed" | "Refunded");
        let label = |at: &usize| match &events[*at] {
            // A block that is undone undoes what it did; what else was seen then only says where that leads.
            (_, Event::Observed(_)) if settled(from) && !settled(to) => "reorganisation",
            (name, _) => name,
        };
        let labels: BTreeSet<&str> = labels.iter().map(label).collect();
        let labels: Vec<&str> = labels.into_iter().collect();
        text += &format!("    {from} --> {to}: {}\n", labels.join(" / "));
    }
    for name in ["Claimed", "Refunded", "Failed"] {
        text += &format!("    {name} --> [*]: deep enough\n");
    }
    text
}

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

/// What is told, with what it is called. Each observation differs from "nothing new" in what its name says.
fn events(start: &Swap, funding: &FundingTx, claim: Spend) -> Vec<(&'static str, Event)> {
    let terms = &start.terms;
    let early = Height(terms.made_at.0 + terms.min_confirmations);
    let confirmed = Depth::Block(Height(terms.made_at.0 + 1));
    let held = Payment::Held {
        until: Height(1_000),
    };
    let look = |liquid: Height, bitcoin: u32, depth: Depth, spend: Option<Spend>, payment| {
        let bitcoin = Height(bitcoin);
        Observation {
            tips: Tips {
                liquid,
                bitcoin,
                lightning: bitcoin,
            },
            chain: Some(ChainState {
                outputs: Vec::new(),
                funding: depth,
                conflicted: false,
                spend: spend.map(|spend| ChainSpend {
                    txid: funding.txid,
                    spend,
                    depth: Depth::Block(liquid),
                    whole: true,
                }),
            }),
            payment,
        }
    };
    let (absent, timeout) = (Payment::Absent, terms.timeout);
    let late = funding_deadline(terms);
    let mut conflicted = look(early, 500, Depth::Unseen, None, absent);
    if let Some(chain) = &mut conflicted.chain {
        chain.conflicted = true;
    }
    let seen = Event::Observed;
    vec![
        (
            "invoice made",
            Event::InvoiceMade {
                invoice: "invoice".to_owned(),
                prepay: (terms.prepay.0 != 0).then(|| "prepay".to_owned()),
            },
        ),
        ("prepaid", Event::Prepaid),
        (
            "creation failed",
            Event::CreationFailed(FailureReason::Funding),
        ),
        ("funding signed", Event::FundingSigned(funding.clone())),
        (
            "funding in no block",
            seen(look(early, 500, Depth::Mempool, None, absent)),
        ),
        (
            "funding confirmed",
            seen(look(early, 500, confirmed, None, absent)),
        ),
        (
            "payment held",
            seen(look(early, 500, confirmed, None, held)),
        ),
        (
            "payment arrived",
            seen(look(early, 500, confirmed, None, Payment::Succeeded)),
        ),
        (
            WINDOW_OVER,
            seen(look(late, 500, Depth::Mempool, None, absent)),
        ),
        (
            "pay_by reached",
            seen(look(pay_by(terms), 500, confirmed, None, absent)),
        ),
        (
            "timeout reached",
            seen(look(timeout, 500, confirmed, None, absent)),
        ),
        (
            "claim in a block",
            seen(look(early, 500, confirmed, Some(claim), absent)),
        ),
        (
            "refund in a block",
            seen(look(timeout, 500, confirmed, Some(Spend::Refund), absent)),
        ),
        ("inputs spent otherwise", seen(conflicted)),
        (
            "force refund, payment lost",
            Event::ForceRefund(look(timeout, 9_000, confirmed, None, absent)),
        ),
    ]
}
