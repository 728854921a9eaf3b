//! The state machine: what follows from an event, and what is to be done about it. It does nothing itself.
//!
//! An observation is level-triggered: whatever came before, it is answered with the phase that follows from what the swap has
//! latched and from what the chains show, and with all that is needed now. Whoever performs the effects leaves out those that
//! are pending, and asks [`is_due`](super::is_due) right before performing one.
//!
//! What is latched when is the matter of a direction's own table: `out`, `held` and `inward`. All else is the same for all of
//! them. What holds, whatever happens in whatever order:
//! 1. A payment is taken, or made, only after `settle_tried` was stored. From then on the server neither refunds nor agrees to a
//!    refund, unless the payment provably failed; then `never_settle` is stored before. So no swap is both paid and refunded.
//! 2. Nothing that is held is failed after a claim of it was tried.
//! 3. Which of claim and refund counts is decided by the block that has one of them, and undone with that block.
//! 4. Coins are let go only before a funding was signed, or when a block has spent them otherwise; or when the payment that was
//!    held for them lapsed long ago and the chain does not have the funding, so that they are spent otherwise.

mod held;
mod inward;
mod out;

use swaprig_units::{BlockDelta, Height};

pub(super) use held::is_gone;

use super::state::{
    Alarm, ChainName, ChainSpend, ChainState, Depth, Direction, Effect, Event, FailureReason,
    FundingTx, Observation, Payment, Phase, Sent, Spend, Swap, Terms, Tips,
};

/// How many Bitcoin blocks before the node lets a hold lapse it is no longer taken: taking it could come too late, and the
/// swap could then not be refunded without the operator. What lapses can be paid again.
pub const LAPSE_MARGIN: BlockDelta = BlockDelta(2);

/// How many Bitcoin blocks after a hold should have lapsed a payment that did not arrive counts as lost. A day: an HTLC that is
/// settled on the chain takes a while.
pub const LOST_MARGIN: BlockDelta = BlockDelta(144);

/// How many blocks after the last moment to pay a payment that the Lightning node does not know counts as never sent. Until then
/// an order that was given at the last moment may still be on its way to the node.
pub const UNSENT_MARGIN: BlockDelta = BlockDelta(6);

/// How many blocks after its timeout a swap that the client can still take back is watched: a week of Bitcoin's.
pub const FORGET_AFTER: BlockDelta = BlockDelta(1_008);

/// What an event leads to. To be stored whole, before anything of it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The swap from now on.
    pub swap: Swap,
    /// What is to be done, in this order.
    pub effects: Vec<Effect>,
}

/// Why an event changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The event belongs to another phase; when an effect was done twice, this is what its second answer gets.
    #[error("`{event}` does not happen to a swap that is {phase}")]
    NotNow {
        /// What happened.
        event: &'static str,
        /// Where the swap is.
        phase: &'static str,
    },
    /// The invoices that were made are not those that the terms ask for.
    #[error("the terms and the invoices disagree about whether there is a prepay invoice")]
    PrepayInvoice,
    /// The funding that was signed does not have the outputs that the terms ask for.
    #[error(
        "the terms and the funding disagree about whether there is an output with L-BTC for the fee"
    )]
    FeeOutput,
    /// An observation without the chain, though there is a funding to look for.
    #[error("the observation does not say what the chain shows of the funding")]
    NoChain,
    /// Nothing was ever locked, so nothing can be taken back.
    #[error("nothing was ever locked for this swap, so there is nothing to refund")]
    NothingLocked,
    /// It is not the server that locked the coins.
    #[error("the coins are the client's: it takes them back itself")]
    NotOurs,
    /// The preimage is not that of the swap.
    #[error("the preimage is not that of the payment hash")]
    Preimage,
    /// The timeout is not reached.
    #[error("the refund is possible from {chain} height {timeout} on; the chain is at {tip}", chain = chain.title(), timeout = timeout.0, tip = tip.0)]
    BeforeTimeout {
        /// On which chain.
        chain: ChainName,
        /// From when on.
        timeout: Height,
        /// Where the chain is.
        tip: Height,
    },
    /// The funding is in no block.
    #[error("the funding is not in a block, so there is nothing to refund")]
    FundingNotInChain,
    /// The HTLC is being spent or is spent.
    #[error("the HTLC is already spent, or a claim of it waits to be")]
    Spent,
    /// The payment has arrived: the coins are the buyer's.
    #[error("the payment was taken, so the coins are the buyer's to claim")]
    Paid,
    /// A claim of the payment was tried and may yet succeed.
    #[error("the payment may have been taken; it counts as lost when Bitcoin is past height {after} and nothing is held", after = after.0)]
    MayBePaid {
        /// The Bitcoin height after which it counts as lost.
        after: Height,
    },
}

/// What follows from an event.
///
/// # Errors
/// Why nothing does; the swap is as it was then.
pub fn step(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    let mut next = swap.clone();
    let effects = match event {
        Event::InvoiceMade { invoice, prepay } => invoice_made(&mut next, invoice, prepay)?,
        Event::Prepaid => prepaid(&mut next)?,
        Event::CreationFailed(reason) => creation_failed(&mut next, *reason)?,
        Event::FundingSigned(funding) => funding_signed(&mut next, funding)?,
        Event::Observed(observation) => observed(&mut next, observation)?,
        Event::PreimageShown(preimage, observation) => {
            held::preimage_shown(&mut next, *preimage, observation)?
        }
        Event::CancelAsked(observation) => inward::cancel_asked(&mut next, observation)?,
        Event::SpendSigned(txid) => {
            if next.funding.is_none() || !(spends_back(&next) || claims(&next)) {
                return Err(not_now(swap, event.name()));
            }
            next.own_spend = Some(*txid);
            Vec::new()
        }
        Event::ForceRefund(observation) => force_refund(&mut next, observation)?,
    };
    Ok(Transition {
        swap: next,
        effects,
    })
}

fn not_now(swap: &Swap, event: &'static str) -> Refused {
    Refused::NotNow {
        event,
        phase: swap.phase.name(),
    }
}

fn invoice_made(
    swap: &mut Swap,
    invoice: &str,
    prepay: &Option<String>,
) -> Result<Vec<Effect>, Refused> {
    if swap.phase != Phase::Reserved {
        return Err(not_now(swap, "invoice made"));
    }
    if prepay.is_some() != (swap.terms.prepay.0 != 0) {
        return Err(Refused::PrepayInvoice);
    }
    swap.invoice = Some(invoice.to_owned());
    swap.prepay_invoice = prepay.clone();
    if prepay.is_some() {
        swap.phase = Phase::AwaitingPrepay;
        return Ok(Vec::new());
    }
    Ok(ready_to_lock(swap))
}

fn prepaid(swap: &mut Swap) -> Result<Vec<Effect>, Refused> {
    if swap.phase != Phase::AwaitingPrepay {
        return Err(not_now(swap, "prepaid"));
    }
    Ok(ready_to_lock(swap))
}

/// All that is to be had before coins are locked is there, but the payment where that comes first.
fn ready_to_lock(swap: &mut Swap) -> Vec<Effect> {
    match swap.terms.direction {
        Direction::OutHeld => {
            swap.phase = Phase::AwaitingPayment;
            Vec::new()
        }
        Direction::Out | Direction::In => {
            swap.phase = Phase::Building;
            vec![Effect::SignFunding]
        }
    }
}

fn funding_signed(swap: &mut Swap, funding: &FundingTx) -> Result<Vec<Effect>, Refused> {
    if swap.phase != Phase::Building {
        return Err(not_now(swap, "funding signed"));
    }
    if funding.fee_vout.is_some() != (swap.terms.fee_value.0 != 0) {
        return Err(Refused::FeeOutput);
    }
    swap.funding = Some(funding.clone());
    swap.phase = Phase::Funding;
    Ok(vec![Effect::BroadcastFunding])
}

/// Once a payment is to be taken, whoever pays may pay again what had lapsed: the later one counts.
fn held_again(swap: &mut Swap, seen: &Observation) {
    if let (true, Payment::Held { until }) = (swap.settle_tried, seen.payment) {
        swap.held_until = swap.held_until.max(Some(until));
    }
}

/// Before a funding is stored none is sent, so the coins are free again. An invoice that was made is closed: what a buyer
/// who was too quick has paid is given back.
fn creation_failed(swap: &mut Swap, reason: FailureReason) -> Result<Vec<Effect>, Refused> {
    match swap.phase {
        Phase::Reserved | Phase::AwaitingPrepay | Phase::AwaitingPayment | Phase::Building => {}
        Phase::AwaitingFunding
        | Phase::Funding
        | Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paying
        | Phase::Paid
        | Phase::Cancelling
        | Phase::Refunding
        | Phase::Claimed
        | Phase::Refunded
        | Phase::Failed(_) => return Err(not_now(swap, "creation failed")),
    }
    swap.never_settle = true;
    swap.phase = Phase::Failed(reason);
    let mut effects = vec![Effect::ReleaseCoins];
    if swap.invoice.is_some() {
        effects.push(Effect::FailPayment);
    }
    Ok(effects)
}

fn observed(swap: &mut Swap, seen: &Observation) -> Result<Vec<Effect>, Refused> {
    if swap.terms.direction == Direction::In {
        return inward::observed(swap, seen);
    }
    let too_late = seen.tips.of(swap.terms.chain) >= funding_deadline(&swap.terms);
    match swap.phase {
        // A funding that comes late leaves the buyer less time than was agreed: better none.
        Phase::Reserved if too_late => creation_failed(swap, FailureReason::Invoice),
        Phase::AwaitingPrepay if too_late => creation_failed(swap, FailureReason::Prepay),
        Phase::AwaitingPayment if too_late => creation_failed(swap, FailureReason::Payment),
        Phase::Building if too_late => creation_failed(swap, FailureReason::Funding),
        Phase::Reserved => Ok(vec![Effect::MakeInvoice]),
        Phase::AwaitingPrepay => Ok(Vec::new()),
        Phase::AwaitingPayment => Ok(held::awaiting(swap, seen)),
        Phase::Building if swap.terms.direction == Direction::OutHeld => held::building(swap, seen),
        Phase::Building => Ok(vec![Effect::SignFunding]),
        Phase::Failed(_) => failed(swap, seen),
        Phase::AwaitingFunding
        | Phase::Funding
        | Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paying
        | Phase::Paid
        | Phase::Cancelling
        | Phase::Refunding
        | Phase::Claimed
        | Phase::Refunded => {
            let chain = seen.chain.as_ref().ok_or(Refused::NoChain)?;
            Ok(funded(swap, seen, chain))
        }
    }
}

/// A swap that failed stays so, unless a reorganisation brings back a funding that a block had ruled out. Its coins may be
/// in use elsewhere by then, so it is not sent again; only when it is there, it is taken back at the timeout.
fn failed(swap: &mut Swap, seen: &Observation) -> Result<Vec<Effect>, Refused> {
    if let (Some(_), Some(chain)) = (&swap.funding, &seen.chain)
        && !chain.conflicted
        && chain.funding != Depth::Unseen
    {
        return Ok(funded(swap, seen, chain));
    }
    match seen.payment {
        Payment::Held { .. } if !swap.settle_tried => Ok(vec![Effect::FailPayment]),
        Payment::Held { .. } | Payment::Absent | Payment::Succeeded | Payment::Sent(_) => {
            Ok(Vec::new())
        }
    }
}

/// An observation of a swap whose funding is there: latches first, then the phase and what is needed in it.
fn funded(swap: &mut Swap, seen: &Observation, chain: &ChainState) -> Vec<Effect> {
    swap.spend = chain.spend.clone();
    if arrived(seen.payment) {
        swap.paid = true;
    }
    if chain.conflicted && !swap.settle_tried && !swap.paid {
        let fresh = !matches!(swap.phase, Phase::Failed(_));
        swap.never_settle = true;
        swap.phase = Phase::Failed(FailureReason::Funding);
        let mut effects = fail_held(swap, seen);
        effects.extend((fresh && swap.terms.direction.is_out()).then_some(Effect::ReleaseCoins));
        return effects;
    }
    // Even when the payment is now taken because of it: somebody has the preimage whom the server did not give it.
    let leaked = swap.terms.direction == Direction::Out
        && settled(swap, chain) == Some(End::Claimed)
        && !swap.paid
        && !swap.settle_tried;
    let could_settle = !swap.never_settle;
    match swap.terms.direction {
        Direction::Out => out::latch(swap, seen, chain),
        Direction::OutHeld => held::latch(swap, seen, chain),
        Direction::In => inward::latch(swap, seen, chain),
    }
    swap.phase = phase(swap, seen, chain);
    let mut effects = effects(swap, seen, chain);
    // Of a payment that was held first nothing is given up with the funding in sight but a final refund.
    let abandoned = could_settle && swap.never_settle && chain.funding == Depth::Unseen;
    effects.extend(
        (abandoned && swap.terms.direction == Direction::OutHeld).then_some(Effect::ReleaseCoins),
    );
    effects.extend(leaked.then_some(Effect::Alarm(Alarm::ClaimedUnpaid)));
    effects
}

/// Where a swap with a funding is. A function of the latches and the chain, so that what a block did a reorganisation undoes.
fn phase(swap: &Swap, seen: &Observation, chain: &ChainState) -> Phase {
    let tip = seen.tips.of(swap.terms.chain);
    let in_block = matches!(chain.funding, Depth::Block(_));
    let was_refunding = matches!(swap.phase, Phase::Refunding | Phase::Refunded);
    let refunds = spends_back(swap) && ((in_block && tip >= swap.terms.timeout) || was_refunding);
    match settled(swap, chain) {
        Some(End::Claimed) => Phase::Claimed,
        Some(End::Refunded) => Phase::Refunded,
        None if swap.paid => Phase::Paid,
        None if refunds => Phase::Refunding,
        None if swap.never_settle => Phase::Cancelling,
        None if swap.settle_tried => match swap.terms.direction {
            Direction::Out | Direction::OutHeld => Phase::PaymentHeld,
            Direction::In => Phase::Paying,
        },
        None => match is_confirmed(swap, seen, chain) {
            true => Phase::Confirmed,
            false => Phase::Funding,
        },
    }
}

/// What is needed now.
fn effects(swap: &Swap, seen: &Observation, chain: &ChainState) -> Vec<Effect> {
    let open = settled(swap, chain).is_none();
    let in_block = matches!(chain.funding, Depth::Block(_));
    let timed_out = seen.tips.of(swap.terms.chain) >= swap.terms.timeout;
    let mut effects = Vec::new();
    let backed = is_backed(swap, seen.payment, seen.tips);
    if chain.funding == Depth::Unseen && open && !chain.conflicted && backed {
        effects.push(Effect::BroadcastFunding);
    }
    effects.extend(fail_held(swap, seen));
    // Not for coins that the buyer can never have.
    if takes(swap) && matches!(seen.payment, Payment::Held { .. }) && !chain.conflicted {
        effects.push(Effect::ClaimPayment);
    }
    if pays(swap) && seen.payment == Payment::Absent && inward::is_locked(swap, seen.tips, chain) {
        effects.push(Effect::PayInvoice);
    }
    if claims(swap) && open && in_block {
        effects.push(Effect::Claim);
    }
    if spends_back(swap) && open && in_block && timed_out {
        effects.push(Effect::Refund);
    }
    effects.extend(alarms(swap, seen, chain).into_iter().map(Effect::Alarm));
    effects
}

/// Whether it is the server's to lock coins, and they are not locked for a payment that is gone.
pub(super) fn is_backed(swap: &Swap, payment: Payment, tips: Tips) -> bool {
    match swap.terms.direction {
        Direction::Out => true,
        Direction::OutHeld => {
            swap.paid || swap.settle_tried || held::is_backed(swap, payment, tips)
        }
        Direction::In => false,
    }
}

fn alarms(swap: &Swap, seen: &Observation, chain: &ChainState) -> Vec<Alarm> {
    let settled = settled(swap, chain);
    let taken = swap.paid || (swap.settle_tried && !swap.never_settle);
    let timed_out = seen.tips.of(swap.terms.chain) >= swap.terms.timeout;
    let mut alarms = Vec::new();
    if let Some(ChainSpend {
        depth: Depth::Block(_),
        whole: false,
        ..
    }) = chain.spend
    {
        alarms.push(Alarm::PartlySpent);
    }
    if taken && settled.is_none() && timed_out {
        alarms.push(Alarm::PaidUnclaimed);
    }
    if takes(swap) && seen.payment == Payment::Absent && past(swap.held_until, seen.tips) {
        alarms.push(Alarm::PaymentLost);
    }
    if chain.conflicted && taken {
        alarms.push(Alarm::FundingLost);
    }
    if settled == Some(End::Refunded) && taken {
        alarms.push(Alarm::RefundedThoughPaid);
    }
    if held::lapses_unclaimed(swap, seen, settled) {
        alarms.push(Alarm::LapsesUnclaimed);
    }
    if held::is_claimed_unpaid(swap, seen, settled) {
        alarms.push(Alarm::ClaimedUnpaid);
    }
    alarms
}

/// The operator's refund. Everything that the server knows may forbid it; time alone does not allow it.
fn force_refund(swap: &mut Swap, seen: &Observation) -> Result<Vec<Effect>, Refused> {
    if !swap.terms.direction.is_out() {
        return Err(Refused::NotOurs);
    }
    match swap.phase {
        Phase::Reserved
        | Phase::AwaitingPrepay
        | Phase::AwaitingPayment
        | Phase::AwaitingFunding
        | Phase::Building
        | Phase::Failed(_) => {
            return Err(Refused::NothingLocked);
        }
        Phase::Funding
        | Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paying
        | Phase::Paid
        | Phase::Cancelling
        | Phase::Refunding
        | Phase::Claimed
        | Phase::Refunded => {}
    }
    let chain = seen.chain.as_ref().ok_or(Refused::NoChain)?;
    if swap.paid || seen.payment == Payment::Succeeded {
        return Err(Refused::Paid);
    }
    if let Some(spend) = &chain.spend {
        let ours_waits = spend.spend == Spend::Refund && !matches!(spend.depth, Depth::Block(_));
        if !ours_waits {
            return Err(Refused::Spent);
        }
    }
    if !matches!(chain.funding, Depth::Block(_)) {
        return Err(Refused::FundingNotInChain);
    }
    let (timeout, tip) = (swap.terms.timeout, seen.tips.of(swap.terms.chain));
    if tip < timeout {
        let chain = swap.terms.chain;
        return Err(Refused::BeforeTimeout {
            chain,
            timeout,
            tip,
        });
    }
    if takes(swap) && !(seen.payment == Payment::Absent && lost(swap.held_until, seen.tips)) {
        let after = swap
            .held_until
            .and_then(|until| until.checked_add(LOST_MARGIN));
        return Err(Refused::MayBePaid {
            after: after.unwrap_or(Height(u32::MAX)),
        });
    }
    swap.spend = chain.spend.clone();
    // Of a payment that was held first nothing is given back before the refund is final.
    swap.never_settle = swap.settle_tried || swap.terms.direction == Direction::Out;
    swap.phase = Phase::Refunding;
    Ok(effects(swap, seen, chain))
}

/// The height from which on the server takes, or makes, no payment.
pub fn pay_by(terms: &Terms) -> Height {
    Height(terms.timeout.0.saturating_sub(terms.claim_window.0))
}

/// The height at which a funding that is in no block is given up. It can still get into one; it is refunded then.
///
/// Also when a reorganisation took it out of its block: who has not paid by then pays late.
pub fn funding_deadline(terms: &Terms) -> Height {
    Height(terms.made_at.0.saturating_add(terms.funding_window.0))
}

/// Whether the server is taking a payment.
pub(super) fn takes(swap: &Swap) -> bool {
    swap.terms.direction.is_out() && swap.settle_tried && !swap.never_settle && !swap.paid
}

/// Whether the server is making a payment.
pub(super) fn pays(swap: &Swap) -> bool {
    !swap.terms.direction.is_out() && swap.settle_tried && !swap.never_settle && !swap.paid
}

/// Whether the server may claim: it has paid for the preimage.
pub(super) fn claims(swap: &Swap) -> bool {
    !swap.terms.direction.is_out() && swap.paid && swap.preimage.is_some()
}

/// Whether the server may take its coins back at the timeout.
pub(super) fn spends_back(swap: &Swap) -> bool {
    match swap.terms.direction {
        Direction::Out => swap.never_settle && !swap.paid,
        // What is held stays held until the refund is final: nothing needs to be latched before.
        Direction::OutHeld => (swap.never_settle || !swap.settle_tried) && !swap.paid,
        Direction::In => false,
    }
}

/// Whether what the client locked is there, deep enough and unspent, in what the chain shows of all that was paid to the HTLC.
pub(super) fn is_locked_for(swap: &Swap, chain: &ChainState, tips: Tips) -> bool {
    swap.funding.as_ref().is_some_and(|funding| {
        let bound = inward::bound(chain, funding.outpoint());
        inward::is_locked(swap, tips, &bound)
    })
}

fn fail_held(swap: &Swap, seen: &Observation) -> Vec<Effect> {
    match seen.payment {
        Payment::Held { .. } if swap.never_settle && !swap.settle_tried => {
            vec![Effect::FailPayment]
        }
        Payment::Held { .. } | Payment::Absent | Payment::Succeeded | Payment::Sent(_) => {
            Vec::new()
        }
    }
}

fn arrived(payment: Payment) -> bool {
    match payment {
        Payment::Succeeded | Payment::Sent(Sent::Succeeded(_)) => true,
        Payment::Absent | Payment::Held { .. } | Payment::Sent(Sent::Pending | Sent::Failed) => {
            false
        }
    }
}

/// How an HTLC ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The claimer has the coins.
    Claimed,
    /// The refunder has them.
    Refunded,
}

/// The spend that counts: in a block, and of all outputs.
fn settled(swap: &Swap, chain: &ChainState) -> Option<End> {
    let spend = chain.spend.as_ref()?;
    let counts = spend.whole && matches!(spend.depth, Depth::Block(_));
    counts.then_some(match (spend.spend, swap.terms.direction) {
        (Spend::Claim(_), _) => End::Claimed,
        (Spend::Refund, _) => End::Refunded,
        // The server signs together with the client only for whom the coins are by then.
        (Spend::Cooperative, Direction::Out | Direction::OutHeld) => End::Claimed,
        (Spend::Cooperative, Direction::In) => End::Refunded,
    })
}

fn is_confirmed(swap: &Swap, seen: &Observation, chain: &ChainState) -> bool {
    let tip = seen.tips.of(swap.terms.chain);
    chain.funding.confirmations(tip) >= swap.terms.min_confirmations.max(1)
}

fn lapses(until: Height, tips: Tips) -> bool {
    tips.lightning.0.saturating_add(LAPSE_MARGIN.0) >= until.0
}

fn past(until: Option<Height>, tips: Tips) -> bool {
    until.is_some_and(|until| tips.lightning > until)
}

pub(super) fn lost(until: Option<Height>, tips: Tips) -> bool {
    past(until.and_then(|until| until.checked_add(LOST_MARGIN)), tips)
}
