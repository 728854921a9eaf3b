//! What can be read off a swap: for its buyer, for the engine that performs effects, for messages. Nothing here changes one.

use super::machine::{
    FORGET_AFTER, claims, is_backed, is_gone, is_locked_for, lost, pay_by, pays, spends_back, takes,
};
use super::state::{ChainState, Direction, Effect, Event, Payment, Phase, Status, Swap, Tips};

/// Where a swap is, for its buyer. What is being cancelled or taken back is still locked: it counts as funded, though
/// nothing is taken for it after `pay_by`.
pub fn status(swap: &Swap) -> Status {
    match swap.phase {
        Phase::Reserved
        | Phase::AwaitingPrepay
        | Phase::AwaitingPayment
        | Phase::AwaitingFunding
        | Phase::Building
        | Phase::Funding => Status::Created,
        Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paying
        | Phase::Paid
        | Phase::Cancelling
        | Phase::Refunding => Status::Funded,
        Phase::Claimed => Status::Claimed,
        Phase::Refunded => Status::Refunded,
        Phase::Failed(_) => Status::Failed,
    }
}

/// Whether nothing can happen to a swap any more, if no reorganisation is deeper than `final_depth` blocks of its chain. A payment
/// that is being taken must have arrived, too, or count as lost. Coins that only the client can take back are not waited for
/// for ever.
pub fn is_final(swap: &Swap, tips: Tips, final_depth: u32) -> bool {
    match swap.phase {
        Phase::Failed(_) => true,
        Phase::Claimed | Phase::Refunded => {
            let deep = swap.spend.as_ref().is_some_and(|spend| {
                spend.depth.confirmations(tips.of(swap.terms.chain)) >= final_depth.max(1)
            });
            // What is held for a refund that was not yet final is given back first; what is held for a claim is taken, or has gone.
            let open = swap.terms.direction == Direction::OutHeld
                && !swap.never_settle
                && !swap.settle_tried
                && !swap.paid
                && !is_gone(swap, tips);
            // A payment on its way ends one way or the other.
            deep && !open && !pays(swap) && (!takes(swap) || lost(swap.held_until, tips))
        }
        Phase::Cancelling if !swap.terms.direction.is_out() => {
            let forget = swap.terms.timeout.0.saturating_add(FORGET_AFTER.0);
            tips.of(swap.terms.chain).0 >= forget
        }
        Phase::Reserved
        | Phase::AwaitingPrepay
        | Phase::AwaitingPayment
        | Phase::AwaitingFunding
        | Phase::Building
        | Phase::Funding
        | Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paying
        | Phase::Paid
        | Phase::Cancelling
        | Phase::Refunding => false,
    }
}

/// Whether a client was told where to lock coins and has not locked what was agreed: nothing of the server's is at stake, and it costs
/// the client nothing either, so that anybody can have as many as it is let.
pub fn is_unfunded(swap: &Swap) -> bool {
    let waits = matches!(swap.phase, Phase::AwaitingFunding | Phase::Funding);
    waits && !swap.terms.direction.is_out() && swap.funding.is_none()
}

/// Whether coins of the server are reserved or locked for a swap, or will be paid for those of a client, so that it counts against
/// what may be at stake.
pub fn is_exposed(swap: &Swap) -> bool {
    match swap.phase {
        _ if is_unfunded(swap) => false,
        // Of coins that are the client's only what was paid for them.
        Phase::Cancelling => swap.terms.direction.is_out(),
        Phase::Reserved
        | Phase::AwaitingPrepay
        | Phase::AwaitingPayment
        | Phase::AwaitingFunding
        | Phase::Building
        | Phase::Funding
        | Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paying
        | Phase::Paid
        | Phase::Refunding => true,
        Phase::Claimed | Phase::Refunded | Phase::Failed(_) => false,
    }
}

/// Whether an effect that was asked for earlier is still to be done. It must be asked right before doing it, with the swap as
/// it is stored then, and no event of this swap may come between asking and doing: an effect that waited may have become
/// wrong. [`Effect::ClaimPayment`] asks [`may_claim`], too.
pub fn is_due(swap: &Swap, effect: &Effect) -> bool {
    match effect {
        Effect::MakeInvoice => swap.phase == Phase::Reserved,
        Effect::SignFunding => swap.phase == Phase::Building,
        Effect::BroadcastFunding => {
            swap.funding.is_some() && !matches!(swap.phase, Phase::Failed(_))
        }
        Effect::ClaimPayment => takes(swap),
        // One that lapses too early is given back, and may be made again.
        Effect::FailPayment if swap.phase == Phase::AwaitingPayment => true,
        Effect::FailPayment => swap.never_settle && !swap.settle_tried,
        Effect::PayInvoice => pays(swap),
        Effect::Claim => claims(swap) && swap.phase == Phase::Paid,
        Effect::Refund => spends_back(swap) && swap.phase == Phase::Refunding,
        // Those of a payment that was held first, also when its funding was given up.
        Effect::ReleaseCoins => match swap.phase {
            Phase::Cancelling => swap.terms.direction == Direction::OutHeld,
            _ => matches!(swap.phase, Phase::Failed(_)),
        },
        Effect::Alarm(_) => true,
    }
}

/// Whether [`Effect::ClaimPayment`] may be done with what the node shows at that moment: only a hold whose lapse is stored
/// may be claimed. Otherwise an effect that waited could take a second payment, made after the first had lapsed, and the
/// swap would count it as lost when the first was.
pub fn may_claim(swap: &Swap, payment: Payment) -> bool {
    match payment {
        Payment::Held { until } => takes(swap) && Some(until) <= swap.held_until,
        Payment::Absent | Payment::Succeeded | Payment::Sent(_) => false,
    }
}

/// Whether [`Effect::BroadcastFunding`] may be done with what the node shows at that moment: a payment that was held when the funding
/// was signed may have gone since, and whoever has the preimage would then have the coins for nothing.
pub fn may_fund(swap: &Swap, payment: Payment, tips: Tips) -> bool {
    is_backed(swap, payment, tips)
}

/// Whether [`Effect::PayInvoice`] may be done at these heights, and with what the chain shows at that moment: later the server could not
/// be sure to claim in time, and what was locked may have gone since.
pub fn may_pay(swap: &Swap, chain: &ChainState, tips: Tips) -> bool {
    let in_time = tips.of(swap.terms.chain).max(tips.lightning) < pay_by(&swap.terms);
    pays(swap) && in_time && is_locked_for(swap, chain, tips)
}

/// Whether the server may sign together with the client, which then has the coins: the client's own once the payment arrived,
/// and those that the server will never pay for.
pub fn may_cosign(swap: &Swap) -> bool {
    match swap.terms.direction {
        Direction::Out | Direction::OutHeld => swap.paid,
        Direction::In => swap.never_settle && !swap.paid,
    }
}

/// Whether the timeout, and so the HTLC, is what it will be.
pub fn has_fixed_timeout(swap: &Swap) -> bool {
    match swap.terms.direction {
        Direction::Out | Direction::In => true,
        Direction::OutHeld => swap.funding.is_some() || swap.phase == Phase::Building,
    }
}

impl Event {
    /// What to call it, in messages and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Event::InvoiceMade { .. } => "invoice made",
            Event::Prepaid => "prepaid",
            Event::CreationFailed(_) => "creation failed",
            Event::FundingSigned(_) => "funding signed",
            Event::Observed(_) => "observed",
            Event::SpendSigned(_) => "spend signed",
            Event::PreimageShown(..) => "preimage shown",
            Event::CancelAsked(_) => "cancel asked",
            Event::ForceRefund(_) => "force refund",
        }
    }
}

impl Phase {
    /// What to call it, in messages and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Reserved => "Reserved",
            Phase::AwaitingPrepay => "AwaitingPrepay",
            Phase::AwaitingPayment => "AwaitingPayment",
            Phase::AwaitingFunding => "AwaitingFunding",
            Phase::Building => "Building",
            Phase::Funding => "Funding",
            Phase::Confirmed => "Confirmed",
            Phase::PaymentHeld => "PaymentHeld",
            Phase::Paying => "Paying",
            Phase::Paid => "Paid",
            Phase::Cancelling => "Cancelling",
            Phase::Refunding => "Refunding",
            Phase::Claimed => "Claimed",
            Phase::Refunded => "Refunded",
            Phase::Failed(_) => "Failed",
        }
    }

    /// The word for it in the store and in metrics; it never changes, because what was stored is read by later versions.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Reserved => "reserved",
            Phase::AwaitingPrepay => "awaiting_prepay",
            Phase::AwaitingPayment => "awaiting_payment",
            Phase::AwaitingFunding => "awaiting_funding",
            Phase::Building => "building",
            Phase::Funding => "funding",
            Phase::Confirmed => "confirmed",
            Phase::PaymentHeld => "payment_held",
            Phase::Paying => "paying",
            Phase::Paid => "paid",
            Phase::Cancelling => "cancelling",
            Phase::Refunding => "refunding",
            Phase::Claimed => "claimed",
            Phase::Refunded => "refunded",
            Phase::Failed(_) => "failed",
        }
    }
}
