//! The table of [`Direction::OutHeld`](crate::swap::Direction): the client's preimage, its payment held before coins are locked.
//!
//! The inequality is the other way round: the payment must outlast the timeout and the refund, for whoever claims at the last
//! moment shows the preimage then. So the timeout is fixed when the payment is held, and what is held is given back only when
//! the refund is final.

use super::{End, LAPSE_MARGIN, Refused, creation_failed, funded, not_now, settled};
use crate::swap::state::{
    ChainState, Depth, Direction, Effect, FailureReason, Observation, Payment, Phase, Spend, Swap,
    Terms, Tips,
};
use swaprig_units::{Height, Preimage};

/// The timeout that a payment allows which lapses at `until`: the refund window before that, and not later than the terms
/// say. `None` when the client had no time to claim then.
pub(super) fn timeout(terms: &Terms, until: Height, tips: Tips) -> Option<Height> {
    let latest = until.0.saturating_sub(terms.refund_window.0);
    let timeout = latest.min(terms.timeout.0);
    // The chain's source and the Lightning node are two views of one chain: the later one counts.
    let tip = tips.of(terms.chain).max(tips.lightning).0;
    let earliest = [terms.min_confirmations.max(1), terms.claim_window.0]
        .iter()
        .fold(tip, |sum: u32, blocks| sum.saturating_add(*blocks));
    (timeout >= earliest).then_some(Height(timeout))
}

/// Nothing is locked before a payment is held that lapses late enough. Another is given back at once: it can be made again, and
/// may lapse later then.
pub(super) fn awaiting(swap: &mut Swap, seen: &Observation) -> Vec<Effect> {
    let Payment::Held { until } = seen.payment else {
        return Vec::new();
    };
    let Some(timeout) = timeout(&swap.terms, until, seen.tips) else {
        return vec![Effect::FailPayment];
    };
    swap.terms.timeout = timeout;
    swap.held_until = Some(until);
    swap.phase = Phase::Building;
    vec![Effect::SignFunding]
}

/// No funding is signed for a payment that has gone.
pub(super) fn building(swap: &mut Swap, seen: &Observation) -> Result<Vec<Effect>, Refused> {
    match seen.payment {
        Payment::Held { .. } => Ok(vec![Effect::SignFunding]),
        Payment::Absent | Payment::Succeeded | Payment::Sent(_) => {
            creation_failed(swap, FailureReason::Payment)
        }
    }
}

/// Takes the payment as soon as the preimage is known, and gives it back when the refund is final.
pub(super) fn latch(swap: &mut Swap, seen: &Observation, chain: &ChainState) {
    if let Some(spend) = &chain.spend
        && let Spend::Claim(preimage) = spend.spend
    {
        swap.preimage = Some(preimage);
    }
    if swap.settle_tried || swap.paid || swap.never_settle {
        return;
    }
    let deep = chain.spend.as_ref().is_some_and(|spend| {
        let tip = seen.tips.of(swap.terms.chain);
        spend.depth.confirmations(tip) >= swap.terms.finality.max(1)
    });
    let end = settled(swap, chain);
    if end == Some(End::Refunded) && deep {
        swap.never_settle = true;
    } else if let (Some(_), Payment::Held { until }) = (swap.preimage, seen.payment) {
        // With a refund of ours on its way the preimage alone does not say who gets the coins: a block does.
        let presses = seen.tips.lightning.0.saturating_add(swap.terms.finality) >= until.0;
        let theirs = end == Some(End::Claimed) && (deep || presses);
        if swap.own_spend.is_none() || theirs {
            swap.settle_tried = true;
            swap.held_until = Some(until);
        }
    }
}

/// The client shows its preimage, so that the server takes the payment and then signs together with it.
pub(super) fn preimage_shown(
    swap: &mut Swap,
    preimage: Preimage,
    seen: &Observation,
) -> Result<Vec<Effect>, Refused> {
    if swap.terms.direction != Direction::OutHeld {
        return Err(not_now(swap, "preimage shown"));
    }
    if preimage.payment_hash() != swap.terms.payment_hash {
        return Err(Refused::Preimage);
    }
    let chain = seen.chain.as_ref().ok_or(Refused::NoChain)?;
    if !(swap.settle_tried || swap.paid) {
        // The coins must be there, and stay there: the client gives its money for them.
        let in_time = seen.tips.of(swap.terms.chain) < swap.terms.timeout;
        let open = swap.phase == Phase::Confirmed && swap.own_spend.is_none() && in_time;
        if !open || !matches!(seen.payment, Payment::Held { .. }) {
            return Err(not_now(swap, "preimage shown"));
        }
    }
    swap.preimage = Some(preimage);
    Ok(funded(swap, seen, chain))
}

/// Whether what is held is about to lapse while the coins can still be claimed.
pub(super) fn lapses_unclaimed(swap: &Swap, seen: &Observation, end: Option<End>) -> bool {
    let open = swap.terms.direction == Direction::OutHeld
        && end.is_none()
        && !swap.paid
        && !swap.never_settle
        && !matches!(swap.phase, Phase::Failed(_));
    let lapsing = swap.held_until.is_some_and(|until| {
        let margin = LAPSE_MARGIN.0.saturating_add(swap.terms.finality);
        seen.tips.lightning.0.saturating_add(margin) >= until.0
    });
    let locked = seen
        .chain
        .as_ref()
        .is_some_and(|chain| chain.funding != Depth::Unseen);
    open && lapsing && locked
}
