//! What a loop needs next, decided from its record and from what the client itself sees. Pure: nothing is sent or stored here.

use bitcoin::{OutPoint, Txid};
use swaprig_units::{Height, Preimage};

use super::super::{Reason, Refusal};
use super::Policy;
use super::record::{Coin, Contract, Mode, Record, Stage};
use crate::lightning::Outgoing;
use crate::swap::{Depth, Spend};

/// An output of the contract, as the client's own source shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) coin: Coin,
    pub(super) depth: Depth,
    /// What spends it, and where that is.
    pub(super) spent: Option<(Txid, Spend, Depth)>,
}

impl Output {
    /// How deep a spend by the one with the preimage, by the refunder, or by both is.
    fn spent_in_block(&self) -> Option<Spend> {
        match self.spent {
            Some((_, spend, Depth::Block(_))) => Some(spend),
            _ => None,
        }
    }

    fn spend_depth(&self, tip: Height) -> u32 {
        self.spent
            .map_or(0, |(_, _, depth)| depth.confirmations(tip))
    }
}

/// What the client sees.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The tip of its own source.
    pub(super) tip: Height,
    /// All outputs of the contract.
    pub(super) outputs: Vec<Output>,
    /// Out: where its payment stands.
    pub(super) outgoing: Outgoing,
    /// In: whether the payment has arrived.
    pub(super) received: bool,
    /// In: whether the server says that it is over and will not pay; in the server's words.
    pub(super) over: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask the server again and check everything, then pay.
    Pay,
    /// Ask the server what the coins are locked with.
    AskContract,
    /// Store that the preimage is shown from now on.
    Reveal(Coin),
    /// The payment was taken: store the preimage and the coin.
    Learn(Preimage, Option<Coin>),
    /// The funding is another transaction than before: store which.
    Rebind(Coin),
    /// Sign, send, send again, or outbid what spends this output.
    Spend {
        coin: Coin,
        /// Whether the last one waits in the mempool.
        is_waiting: bool,
    },
    /// Lock the coins.
    Fund,
    /// Store that the payment has arrived.
    NotePaid,
    /// Go to another stage, for a reason if there is one.
    Enter(Stage, Option<Refusal>),
    /// Nothing can be done now.
    Wait(String),
}

fn wait(reason: impl Into<String>) -> Next {
    Next::Wait(reason.into())
}

fn enter(stage: Stage, reason: Reason, seen: impl Into<String>) -> Next {
    Next::Enter(stage, Some(Refusal::new(reason, seen)))
}

/// What comes next. For loops that are agreed and not over.
pub(super) fn next(policy: &Policy, record: &Record, seen: &Seen) -> Next {
    match (record.stage, record.contract) {
        (Stage::Paying, None) => paying_unlocked(policy, record, seen),
        (Stage::Paying, Some(contract)) => paying(policy, record, &contract, seen),
        (Stage::Lapsing, _) => lapsing(seen),
        (Stage::Claiming, Some(contract)) => claiming(policy, record, &contract, seen),
        (Stage::Funding | Stage::Refunding, Some(contract)) => {
            inward(policy, record, &contract, seen)
        }
        (stage, _) => wait(format!(
            "nothing is to be done while it is {}",
            stage.name()
        )),
    }
}

/// The payment failed, or was never sent: again, or never more.
fn unpaid(policy: &Policy, record: &Record, seen: &Seen) -> Next {
    if record.attempts >= policy.attempts {
        let seen = format!("the payment failed {} times", record.attempts);
        return enter(Stage::PaymentFailed, Reason::GivenUp, seen);
    }
    if record.ask.mode == Mode::Out && seen.tip >= record.ask.publish_by {
        let seen = format!("nothing is locked at {}", seen.tip);
        return enter(Stage::PaymentFailed, Reason::NotPublished, seen);
    }
    Next::Pay
}

/// Held by the server, which has not said yet what it locks the coins with.
fn paying_unlocked(policy: &Policy, record: &Record, seen: &Seen) -> Next {
    match seen.outgoing {
        Outgoing::Failed | Outgoing::Unknown => unpaid(policy, record, seen),
        Outgoing::Succeeded(_) => {
            // Nobody but the client knew the preimage; there is nothing to claim and nothing that helps.
            wait("the payment was taken, and nothing is locked")
        }
        Outgoing::Pending if seen.tip >= record.ask.publish_by => {
            let seen = format!("nothing is locked at {}", seen.tip);
            enter(Stage::Lapsing, Reason::NotPublished, seen)
        }
        Outgoing::Pending => Next::AskContract,
    }
}

/// The output that the client claims: of the exact amount and not spent; the deepest, and of equals the first.
fn lockup(contract: &Contract, seen: &Seen) -> Option<Output> {
    let is_it = |output: &&Output| {
        let unspent = output.spent_in_block().is_none();
        output.coin.value == contract.value && output.depth != Depth::Unseen && unspent
    };
    let height = |output: &&Output| match output.depth {
        Depth::Block(height) => height.0,
        Depth::Mempool | Depth::Unseen => u32::MAX,
    };
    let all = seen.outputs.iter().filter(is_it);
    all.min_by_key(|output| (height(output), output.coin.outpoint))
        .copied()
}

/// Why an output that is there is not the one that was agreed.
fn why_not(contract: &Contract, seen: &Seen) -> String {
    let Some(other) = seen.outputs.first() else {
        return "nothing is locked yet".into();
    };
    format!(
        "what is locked in {} is {} or spent, {} was agreed",
        other.coin.outpoint, other.coin.value, contract.value
    )
}

fn paying(policy: &Policy, record: &Record, contract: &Contract, seen: &Seen) -> Next {
    let preimage = match seen.outgoing {
        Outgoing::Failed | Outgoing::Unknown => {
            return match record.ask.mode {
                Mode::Out if seen.outgoing == Outgoing::Unknown => {
                    wait("the node does not know the payment that the server says it holds")
                }
                // Coins that are locked for a payment that is no more are not the client's.
                Mode::Out => enter(
                    Stage::Lapsed,
                    Reason::NotPayable,
                    "the payment came back after the server had fixed the timeout",
                ),
                Mode::OutPlain | Mode::In => unpaid(policy, record, seen),
            };
        }
        Outgoing::Pending => None,
        Outgoing::Succeeded(preimage) => Some(preimage),
    };
    let lockup = lockup(contract, seen);
    if let Some(preimage) = preimage {
        // The server's, or the client's own without its doing: known to others, in either case.
        return Next::Learn(preimage, lockup.map(|output| output.coin));
    }
    if record.ask.mode != Mode::Out {
        return wait("the payment is on its way");
    }
    let left = contract.timeout.0.saturating_sub(seen.tip.0);
    if left < policy.claim_margin.0 {
        let needed = policy.claim_margin.0;
        let seen = format!(
            "{left} blocks are left until {}, {needed} are needed",
            contract.timeout
        );
        return enter(Stage::Lapsing, Reason::RevealTooLate, seen);
    }
    let Some(output) = lockup else {
        return wait(why_not(contract, seen));
    };
    if output.spent.is_some() {
        return wait("something in the mempool spends what was locked");
    }
    let depth = output.depth.confirmations(seen.tip);
    let wanted = record.ask.confirmations.max(1);
    match depth >= wanted {
        true => Next::Reveal(output.coin),
        false => wait(format!("the funding has {depth} of {wanted} confirmations")),
    }
}

fn lapsing(seen: &Seen) -> Next {
    match seen.outgoing {
        Outgoing::Failed | Outgoing::Unknown => Next::Enter(Stage::Lapsed, None),
        Outgoing::Pending => wait("the payment to come back"),
        // Only who knows the preimage can take it: it is not secret any more.
        Outgoing::Succeeded(preimage) => Next::Learn(preimage, None),
    }
}

fn claiming(policy: &Policy, record: &Record, contract: &Contract, seen: &Seen) -> Next {
    let depth = policy.depth.max(1);
    let bound = record.coin.and_then(|coin| {
        let mut all = seen.outputs.iter();
        all.find(|output| output.coin.outpoint == coin.outpoint)
    });
    let Some(output) = bound.filter(|output| output.depth != Depth::Unseen) else {
        return match lockup(contract, seen) {
            Some(other) => Next::Rebind(other.coin),
            None => wait("what was locked is not in the chain any more"),
        };
    };
    let found = output.spend_depth(seen.tip);
    match output.spent {
        Some((_, Spend::Claim(_) | Spend::Cooperative, _)) if found >= depth => {
            Next::Enter(Stage::Claimed, None)
        }
        Some((_, Spend::Claim(_) | Spend::Cooperative, _)) if found > 0 => {
            wait(format!("the claim is {found} of {depth} blocks deep"))
        }
        Some((_, Spend::Refund, _)) if found >= depth => Next::Enter(Stage::Lost, None),
        spent => Next::Spend {
            coin: output.coin,
            is_waiting: matches!(spent, Some((_, Spend::Claim(_) | Spend::Cooperative, _))),
        },
    }
}

/// A loop in whose contract is agreed, until it is paid or all coins are back.
fn inward(policy: &Policy, record: &Record, contract: &Contract, seen: &Seen) -> Next {
    if seen.received && !record.is_paid {
        return Next::NotePaid;
    }
    if record.is_paid {
        return rest(policy, contract, seen);
    }
    if record.stage == Stage::Refunding {
        return refunding(policy, record, seen);
    }
    if seen.tip >= contract.timeout {
        let seen = format!("the timeout {} has passed", contract.timeout);
        return enter(Stage::Refunding, Reason::TimeoutTooNear, seen);
    }
    if record.is_given_up {
        return enter(Stage::Refunding, Reason::GivenUp, "by its owner");
    }
    if let Some(why) = &seen.over {
        return enter(Stage::Refunding, Reason::NotPayable, why.clone());
    }
    if seen.outputs.is_empty() || is_to_be_sent_again(record, seen) {
        return match record.ask.external {
            true => wait(format!("{} to be locked by somebody", contract.value)),
            false => Next::Fund,
        };
    }
    if lockup(contract, seen).is_none() && !seen.outputs.iter().any(|o| o.spent.is_some()) {
        return enter(
            Stage::Refunding,
            Reason::ValueMismatch,
            why_not(contract, seen),
        );
    }
    wait("the server to pay")
}

/// Whether the client's own funding is in neither block nor mempool.
fn is_to_be_sent_again(record: &Record, seen: &Seen) -> bool {
    let Some(funding) = &record.funding else {
        return false;
    };
    let mut all = seen.outputs.iter();
    !all.any(|output| output.coin.outpoint.txid == funding.txid && output.depth != Depth::Unseen)
}

/// What is there beyond what the server was paid with comes back.
fn rest(policy: &Policy, contract: &Contract, seen: &Seen) -> Next {
    let is_claimed = |output: &&Output| matches!(output.spent, Some((_, Spend::Claim(_), _)));
    let claimed = seen.outputs.iter().find(is_claimed).copied();
    let own = claimed.or_else(|| lockup(contract, seen));
    let own = own.map(|output| output.coin.outpoint);
    take_back(policy, seen, own, Stage::Paid)
}

fn refunding(policy: &Policy, record: &Record, seen: &Seen) -> Next {
    if seen.outputs.is_empty() {
        return match record.funding {
            None => Next::Enter(Stage::Refused, None),
            // Somebody may have it: it is sent again, and taken back then.
            Some(_) => Next::Fund,
        };
    }
    if is_to_be_sent_again(record, seen) {
        return Next::Fund;
    }
    take_back(policy, seen, None, Stage::Refunded)
}

/// Takes back all outputs but one, and then ends.
fn take_back(policy: &Policy, seen: &Seen, but: Option<OutPoint>, end: Stage) -> Next {
    let depth = policy.depth.max(1);
    let mut waiting = None;
    let mut claimed = false;
    for output in &seen.outputs {
        if but == Some(output.coin.outpoint) || output.depth == Depth::Unseen {
            continue;
        }
        let found = output.spend_depth(seen.tip);
        match output.spent {
            // The server has paid: the node will tell.
            Some((_, Spend::Claim(_), _)) => {
                claimed |= found >= depth;
                if found < depth {
                    waiting = Some("a claim of the server's to be deep".to_owned());
                }
            }
            Some(_) if found >= depth => {}
            Some(_) if found > 0 => {
                waiting = Some(format!("the refund is {found} of {depth} blocks deep"));
            }
            spent => {
                return Next::Spend {
                    coin: output.coin,
                    is_waiting: spent.is_some(),
                };
            }
        }
    }
    match waiting {
        Some(reason) => Next::Wait(reason),
        None if claimed && end == Stage::Refunded => {
            wait("the server has claimed, and the node does not tell of its payment")
        }
        None => Next::Enter(end, None),
    }
}

#[cfg(test)]
mod tests;
