//! What an operator has to look at.

use super::Engine;
use super::cell::{Cell, State};
use crate::swap::Alarm;

impl Engine {
    /// Tells the operator, once for each alarm of a swap and start of the server.
    pub(super) fn alarm(&self, cell: &Cell, state: &mut State, alarm: Alarm) {
        if !state.alarms.insert(alarm) {
            return;
        }
        let (kind, what) = match alarm {
            Alarm::PartlySpent => (
                "partly_spent",
                "one output of the HTLC is spent and the other is not",
            ),
            Alarm::PaidUnclaimed => (
                "paid_unclaimed",
                "it is paid and the timeout is reached, but the coins are not claimed: nothing is refunded by itself",
            ),
            Alarm::PaymentLost => (
                "payment_lost",
                "the payment was to be taken and has lapsed without arriving: force the refund when that is certain",
            ),
            Alarm::FundingLost => (
                "funding_lost",
                "the payment was taken, and the chain can never take the funding: the buyer has to be paid in another way",
            ),
            Alarm::RefundedThoughPaid => (
                "refunded_though_paid",
                "the server has paid and the client took the coins back: the claim came too late",
            ),
            Alarm::LapsesUnclaimed => (
                "lapses_unclaimed",
                "the held payment is about to lapse while the coins can still be claimed: see that the refund gets into a block",
            ),
            Alarm::ClaimedUnpaid => (
                "claimed_unpaid",
                "the buyer claimed although no payment was taken",
            ),
        };
        tracing::error!(swap = %cell.id, alarm = kind, "{what}");
        metrics::counter!("swaprig_alarms_total", "alarm" => kind).increment(1);
    }
}
