//! What can be read off a swap: for its buyer, for the engine that performs effects, for messages. Nothing here changes one.

use super::machine::{lost, refunds, takes};
use super::state::{Effect, Event, Payment, Phase, Status, Swap, Tips};

/// Where a swap is, for its buyer. What is being cancelled or taken back is still locked: it counts as funded, though
/// nothing is taken for it after `pay_by`.
pub fn status(swap: &Swap) -> Status {
    match swap.phase {
        Phase::Reserved | Phase::AwaitingPrepay | Phase::Building | Phase::Funding => {
            Status::Created
        }
        Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paid
        | Phase::Cancelling
        | Phase::Refunding => Status::Funded,
        Phase::Claimed => Status::Claimed,
        Phase::Refunded => Status::Refunded,
        Phase::Failed(_) => Status::Failed,
    }
}

/// Whether nothing can happen to a swap any more, if no reorganisation is deeper than `final_depth` blocks of Liquid. A payment
/// that is being taken must have arrived, too, or count as lost.
pub fn is_final(swap: &Swap, tips: Tips, final_depth: u32) -> bool {
    match swap.phase {
        Phase::Failed(_) => true,
        Phase::Claimed | Phase::Refunded => {
            let deep = swap
                .spend
                .as_ref()
                .is_some_and(|spend| spend.depth.confirmations(tips.liquid) >= final_depth.max(1));
            deep && (!takes(swap) || lost(swap.held_until, tips))
        }
        Phase::Reserved
        | Phase::AwaitingPrepay
        | Phase::Building
        | Phase::Funding
        | Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paid
        | Phase::Cancelling
        | Phase::Refunding => false,
    }
}

/// Whether coins of the server are reserved or locked for a swap, so that it counts against what may be at stake.
pub fn is_exposed(swap: &Swap) -> bool {
    match swap.phase {
        Phase::Reserved
        | Phase::AwaitingPrepay
        | Phase::Building
        | Phase::Funding
        | Phase::Confirmed
        | Phase::PaymentHeld
        | Phase::Paid
        | Phase::Cancelling
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
        Effect::FailPayment => swap.never_settle && !swap.settle_tried,
        Effect::Refund => refunds(swap) && swap.phase == Phase::Refunding,
        Effect::ReleaseCoins => matches!(swap.phase, Phase::Failed(_)),
        Effect::Alarm(_) => true,
    }
}

/// Whether [`Effect::ClaimPayment`] may be done with what the node shows at that moment: only a hold whose lapse is stored
/// may be claimed. Otherwise an effect that waited could take a second payment, made after the first had lapsed, and the
/// swap would count it as lost when the first was.
pub fn may_claim(swap: &Swap, payment: Payment) -> bool {
    match payment {
        Payment::Held { until } => takes(swap) && Some(until) <= swap.held_until,
        Payment::Absent | Payment::Succeeded => false,
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
            Event::RefundSigned(_) => "refund signed",
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
            Phase::Building => "Building",
            Phase::Funding => "Funding",
            Phase::Confirmed => "Confirmed",
            Phase::PaymentHeld => "PaymentHeld",
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
            Phase::Building => "building",
            Phase::Funding => "funding",
            Phase::Confirmed => "confirmed",
            Phase::PaymentHeld => "payment_held",
            Phase::Paid => "paid",
            Phase::Cancelling => "cancelling",
            Phase::Refunding => "refunding",
            Phase::Claimed => "claimed",
            Phase::Refunded => "refunded",
            Phase::Failed(_) => "failed",
        }
    }
}
