//! The table of [`Direction::Out`](crate::swap::Direction): the server's preimage, coins locked before they are paid for.
//!
//! To take a payment gives the preimage away, so it is done only while the buyer still has time to claim. To take coins back is
//! decided before, and for ever: what is held after that is failed.

use super::{End, funding_deadline, held_again, is_confirmed, lapses, pay_by, settled};
use crate::swap::state::{ChainState, Depth, Observation, Payment, Spend, Swap};

/// Decides, once for all, for taking the payment or against it; or leaves it open.
pub(super) fn latch(swap: &mut Swap, seen: &Observation, chain: &ChainState) {
    if swap.settle_tried || swap.paid || swap.never_settle {
        held_again(swap, seen);
        return;
    }
    let tip = seen.tips.of(swap.terms.chain);
    let spent_by = chain.spend.as_ref().map(|spend| spend.spend);
    let claimed = settled(swap, chain) == Some(End::Claimed);
    let in_block = matches!(chain.funding, Depth::Block(_));
    // A buyer that has the coins has what it pays for, though nobody gave it the preimage: no window is left to keep.
    let open = is_confirmed(swap, seen, chain) && tip < pay_by(&swap.terms);
    if spent_by == Some(Spend::Refund) {
        swap.never_settle = true;
    } else if let (true, Payment::Held { until }) = (open || claimed, seen.payment)
        && !lapses(until, seen.tips)
    {
        swap.settle_tried = true;
        swap.held_until = Some(until);
    } else if !claimed
        && (tip >= pay_by(&swap.terms) || (!in_block && tip >= funding_deadline(&swap.terms)))
    {
        swap.never_settle = true;
    }
}
