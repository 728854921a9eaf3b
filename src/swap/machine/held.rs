//! The table of [`Direction::OutHeld`](crate::swap::Direction): the client's preimage, its payment held before coins are locked.
//!
//! The inequality is the other way round: the payment must outlast the timeout and the refund, for whoever claims at the last
//! moment shows the preimage then. So the timeout is fixed when the payment is held, and what is held is given back only when
//! the refund is final.

use super::{
    End, LAPSE_MARGIN, LOST_MARGIN, Refused, creation_failed, funded, held_again, is_confirmed,
    lapses, not_now, settled,
};
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

/// No funding is signed for a payment that has gone, for another that lapses earlier, or when its time has passed meanwhile.
pub(super) fn building(swap: &mut Swap, seen: &Observation) -> Result<Vec<Effect>, Refused> {
    let fits = match seen.payment {
        Payment::Held { until } => {
            timeout(&swap.terms, until, seen.tips) == Some(swap.terms.timeout)
        }
        Payment::Absent | Payment::Succeeded | Payment::Sent(_) => false,
    };
    match fits {
        true => Ok(vec![Effect::SignFunding]),
        false => creation_failed(swap, FailureReason::Payment),
    }
}

/// Whether a payment is held that lapses so late that the coins can be locked for it: the whole refund window after the timeout,
/// or after now when that is later.
pub(super) fn is_backed(swap: &Swap, payment: Payment, tips: Tips) -> bool {
    let Payment::Held { until } = payment else {
        return false;
    };
    // A funding that was given up, or may be by now, is not sent for another payment.
    if swap.never_settle || is_gone(swap, tips) {
        return false;
    }
    let tip = tips.of(swap.terms.chain).max(tips.lightning);
    let from = swap.terms.timeout.max(tip);
    from.0.saturating_add(swap.terms.refund_window.0) <= until.0
}

/// When what is held lapses, as far as it is known.
fn lapse(swap: &Swap) -> Height {
    let planned = swap
        .terms
        .timeout
        .0
        .saturating_add(swap.terms.refund_window.0);
    swap.held_until.unwrap_or(Height(planned))
}

/// Whether what was held has lapsed so long ago that nobody waits for it any more.
pub(in crate::swap) fn is_gone(swap: &Swap, tips: Tips) -> bool {
    tips.lightning.0 > lapse(swap).0.saturating_add(LOST_MARGIN.0)
}

/// Takes the payment as soon as the preimage is known, and gives it back when the refund is final.
pub(super) fn latch(swap: &mut Swap, seen: &Observation, chain: &ChainState) {
    if let Some(spend) = &chain.spend
        && let Spend::Claim(preimage) = spend.spend
    {
        swap.preimage = Some(preimage);
    }
    if swap.settle_tried || swap.paid || swap.never_settle {
        held_again(swap, seen);
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
        // With a refund of ours on its way the preimage alone does not say who gets the coins: a block does. When there is no time
        // left to wait for more, what the chain shows now has to do; that of the mempool, too.
        let claimed = chain
            .spend
            .as_ref()
            .is_some_and(|spend| spend.spend != Spend::Refund);
        let theirs = claimed && (deep || presses(swap, until, seen.tips));
        if swap.own_spend.is_none() || theirs {
            swap.settle_tried = true;
            swap.held_until = Some(until);
        }
    } else if is_abandoned(swap, seen, chain) {
        swap.never_settle = true;
    }
}

/// Whether the payment has gone and the chain has never taken the funding: nothing is locked and nothing is paid for, so that the
/// coins are better used for something else. Then a block rules the funding out.
fn is_abandoned(swap: &Swap, seen: &Observation, chain: &ChainState) -> bool {
    chain.funding == Depth::Unseen && seen.payment == Payment::Absent && is_gone(swap, seen.tips)
}

/// Whether what is held lapses before another spend could become final.
fn presses(swap: &Swap, until: Height, tips: Tips) -> bool {
    let margin = LAPSE_MARGIN.0.saturating_add(swap.terms.finality);
    tips.lightning.0.saturating_add(margin) >= until.0
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
        let there = is_confirmed(swap, seen, chain) && chain.spend.is_none();
        let in_time = seen.tips.of(swap.terms.chain) < swap.terms.timeout;
        let open = swap.phase == Phase::Confirmed && swap.own_spend.is_none() && in_time;
        let held = match seen.payment {
            Payment::Held { until } => !lapses(until, seen.tips),
            Payment::Absent | Payment::Succeeded | Payment::Sent(_) => false,
        };
        if !(there && open && held) {
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
    let lapsing = presses(swap, lapse(swap), seen.tips);
    let locked = seen
        .chain
        .as_ref()
        .is_some_and(|chain| chain.funding != Depth::Unseen);
    open && lapsing && locked
}

/// Whether the client has the coins and its payment has gone.
pub(super) fn is_claimed_unpaid(swap: &Swap, seen: &Observation, end: Option<End>) -> bool {
    swap.terms.direction == Direction::OutHeld
        && end == Some(End::Claimed)
        && !(swap.paid || swap.settle_tried)
        && seen.payment == Payment::Absent
        && seen.tips.lightning > lapse(swap)
}
