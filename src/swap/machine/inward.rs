//! The table of [`Direction::In`](crate::swap::Direction): the client locks coins, the server pays its invoice and claims.
//!
//! The client's coins are never at the server's mercy: it claims only with the preimage that it has paid for, and what it does
//! not pay for the client takes back, at the timeout, or before with the server's signature. That is given only after
//! `never_settle` was stored, which after a payment was tried needs that it failed for good.

use bitcoin::OutPoint;

use super::{
    Refused, UNSENT_MARGIN, funded, funding_deadline, is_confirmed, not_now, pay_by, pays,
};
use crate::swap::state::{
    ChainState, Depth, Direction, Effect, FailureReason, FundingTx, Observation, Output, Payment,
    Phase, Sent, Swap, Tips,
};

pub(super) fn observed(swap: &mut Swap, seen: &Observation) -> Result<Vec<Effect>, Refused> {
    let chain = seen.chain.as_ref().ok_or(Refused::NoChain)?;
    bind(swap, seen, chain);
    if let Some(funding) = &swap.funding {
        let bound = bound(chain, funding.outpoint());
        return Ok(funded(swap, seen, &bound));
    }
    let tip = seen.tips.of(swap.terms.chain);
    let wrong = chain
        .outputs
        .iter()
        .any(|output| output.depth.confirmations(tip) >= swap.terms.min_confirmations.max(1));
    let over = tip >= funding_deadline(&swap.terms);
    swap.never_settle |= wrong || over;
    swap.spend = None;
    swap.phase = match (chain.outputs.is_empty(), swap.never_settle) {
        (true, true) => Phase::Failed(FailureReason::NotFunded),
        (true, false) => Phase::AwaitingFunding,
        // What was paid is not what was agreed: it is the client's to take back.
        (false, true) => Phase::Cancelling,
        (false, false) => Phase::Funding,
    };
    Ok(Vec::new())
}

/// Chooses the output that counts, as long as nothing was paid for it: the first one of exactly the agreed amount. Another one,
/// and one of another amount, is never claimed; who paid it takes it back. What was paid for stays chosen as long as the chain has
/// it: only when a reorganisation took it away another one of the same amount takes its place.
fn bind(swap: &mut Swap, seen: &Observation, chain: &ChainState) {
    let bound = swap.funding.as_ref().map(FundingTx::outpoint);
    let fixed = swap.settle_tried || swap.paid;
    let is_there = |at: OutPoint| chain.outputs.iter().any(|output| output.outpoint == at);
    if fixed && bound.is_none_or(is_there) {
        return;
    }
    let is_agreed = |output: &&Output| output.value == swap.terms.amount;
    let tip = seen.tips.of(swap.terms.chain);
    let agreed = chain.outputs.iter().filter(is_agreed);
    // The deepest; of equals the first.
    let chosen = agreed.min_by_key(|output| {
        let depth = match output.depth {
            Depth::Block(_) => output.depth.confirmations(tip).saturating_add(1),
            Depth::Mempool => 1,
            Depth::Unseen => 0,
        };
        (std::cmp::Reverse(depth), output.outpoint)
    });
    match chosen {
        Some(chosen) if bound != Some(chosen.outpoint) => {
            swap.funding = Some(FundingTx {
                txid: chosen.outpoint.txid,
                vout: chosen.outpoint.vout,
                fee_vout: None,
                raw: String::new(),
            });
        }
        None if !fixed => swap.funding = None,
        Some(_) | None => {}
    }
}

/// Whether the output that counts is there, deep enough and unspent.
pub(super) fn is_locked(swap: &Swap, tips: Tips, chain: &ChainState) -> bool {
    let tip = tips.of(swap.terms.chain);
    chain.funding.confirmations(tip) >= swap.terms.min_confirmations.max(1) && chain.spend.is_none()
}

/// What the chain shows of the output that counts.
pub(super) fn bound(chain: &ChainState, outpoint: OutPoint) -> ChainState {
    let found = chain
        .outputs
        .iter()
        .find(|output| output.outpoint == outpoint);
    ChainState {
        outputs: Vec::new(),
        funding: found.map_or(Depth::Unseen, |output| output.depth),
        conflicted: false,
        spend: found.and_then(|output| output.spend.clone()),
    }
}

/// Decides, once for all, for paying or against it; or leaves it open.
pub(super) fn latch(swap: &mut Swap, seen: &Observation, chain: &ChainState) {
    if let Payment::Sent(Sent::Succeeded(preimage)) = seen.payment {
        swap.preimage = Some(preimage);
    }
    if swap.paid || swap.never_settle {
        return;
    }
    let tip = seen.tips.of(swap.terms.chain);
    let late = tip.max(seen.tips.lightning) >= pay_by(&swap.terms);
    if swap.settle_tried {
        // A payment that was never sent is not sent any more when it is late.
        let unsent = pay_by(&swap.terms).0.saturating_add(UNSENT_MARGIN.0);
        let over = seen.payment == Payment::Sent(Sent::Failed)
            || (tip.0 >= unsent && seen.payment == Payment::Absent);
        swap.never_settle = pays(swap) && over;
        return;
    }
    let unconfirmed = !matches!(chain.funding, Depth::Block(_));
    if chain.spend.is_some() || late || (unconfirmed && tip >= funding_deadline(&swap.terms)) {
        swap.never_settle = true;
    } else if is_confirmed(swap, seen, chain) {
        swap.settle_tried = true;
    }
}

/// The client wants no more of it. Before the payment was tried that is its right; after it, only a payment that failed ends it.
pub(super) fn cancel_asked(swap: &mut Swap, seen: &Observation) -> Result<Vec<Effect>, Refused> {
    if swap.terms.direction != Direction::In || swap.settle_tried || swap.paid {
        return Err(not_now(swap, "cancel asked"));
    }
    swap.never_settle = true;
    observed(swap, seen)
}
