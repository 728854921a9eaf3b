//! The client's own rules of loops: how long anything may be locked, when a preimage may be shown, and what is bid.

use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use swaprig_units::{BlockDelta, Height, Sat};

use super::super::policy::Bid;
use crate::swap::FeeRate;

/// What Bitcoin's nodes relay by default: one satoshi for a virtual byte.
pub(super) const MIN_RELAY: FeeRate = FeeRate(1_000);
/// Size of a claim by script with one input to P2TR, virtual bytes.
pub(super) const CLAIM_VSIZE: u64 = 155;
/// Size of a refund by script with one input to P2TR, virtual bytes.
pub(super) const REFUND_VSIZE: u64 = 138;

/// A client's rules. None of them is ever taken from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The most blocks for which a payment may be locked that the server holds. It must be longer than the coins are, because the
    /// server gives it back only when it has its coins again; and the payer has the money back by then at the latest.
    pub max_held_cltv: BlockDelta,
    /// The most blocks for which a payment may be locked that the server takes with its own preimage.
    pub max_plain_cltv: BlockDelta,
    /// Blocks that must be left until the timeout when the preimage is shown; and, with the server's preimage, after the payment took as
    /// long as it may.
    pub claim_margin: BlockDelta,
    /// How often a payment that failed is sent again.
    pub attempts: u32,
    /// How many blocks the server may take to lock coins, if it was not allowed more.
    pub publication: BlockDelta,
    /// In: the most blocks for which the client's coins may be locked.
    pub max_lock: BlockDelta,
    /// In: blocks that must be left until the timeout when the client locks its coins, or the server could not pay in time.
    pub min_lock: BlockDelta,
    /// The only node that is paid; `None`: any.
    pub payee: Option<PublicKey>,
    /// How long an invoice must still be payable.
    pub invoice_margin: Duration,
    /// In: how long the client's invoice can be paid.
    pub invoice_expiry: Duration,
    /// So many blocks before the timeout a claim begins to bid more than the cap on its fee.
    pub rises_for: BlockDelta,
    /// What it bids at the timeout.
    pub urgent_rate: FeeRate,
    /// Confirmations after which a claim or a refund counts as done.
    pub depth: u32,
    /// How long the server has for its signature before the client goes on alone.
    pub cooperation: Duration,
    /// And how many blocks.
    pub cooperation_blocks: BlockDelta,
    /// The longest pause between two looks while nothing happens.
    pub poll: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            max_held_cltv: BlockDelta(288),
            max_plain_cltv: BlockDelta(64),
            claim_margin: BlockDelta(20),
            attempts: 10,
            publication: BlockDelta(12),
            max_lock: BlockDelta(1_008),
            min_lock: BlockDelta(24),
            payee: None,
            invoice_margin: Duration::from_secs(10),
            invoice_expiry: Duration::from_secs(24 * 60 * 60),
            rises_for: BlockDelta(12),
            urgent_rate: FeeRate(500_000),
            depth: 3,
            cooperation: Duration::from_secs(30),
            cooperation_blocks: BlockDelta(2),
            poll: Duration::from_secs(1),
        }
    }
}

impl Policy {
    /// What is bid for a claim: what the network asks, as far as the cap on the fee goes, and more and more as the timeout nears.
    pub fn claim_rate(&self, estimate: FeeRate, cap: Sat, tip: Height, timeout: Height) -> FeeRate {
        let bid = Bid {
            first: estimate.min(capped(cap, CLAIM_VSIZE)),
            cap: self.urgent_rate,
            rises_for: self.rises_for,
        };
        bid.at(tip, timeout)
    }

    /// What is bid for a refund: what the network asks, and after the timeout more and more, up to the cap on the fee; there is no hurry.
    pub fn refund_rate(
        &self,
        estimate: FeeRate,
        cap: Sat,
        tip: Height,
        timeout: Height,
    ) -> FeeRate {
        let cap = capped(cap, REFUND_VSIZE);
        let bid = Bid {
            first: estimate.min(cap),
            cap,
            rises_for: self.rises_for,
        };
        bid.at(tip, Height(timeout.0.saturating_add(self.rises_for.0)))
    }

    /// Blocks that must be left until the timeout when a payment is sent that the server takes with its own preimage: it could take
    /// it at the last moment.
    pub fn needed(&self) -> BlockDelta {
        let needed = self.max_plain_cltv.0.saturating_add(self.claim_margin.0);
        BlockDelta(needed)
    }
}

/// The rate at which a transaction of that size pays the cap; never less than is relayed: whoever has shown a preimage must bid.
fn capped(cap: Sat, vsize: u64) -> FeeRate {
    FeeRate(cap.0.saturating_mul(1_000) / vsize).max(MIN_RELAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_claim_bids_the_estimate_below_the_cap_and_rises_to_the_urgent_rate() {
        let policy = Policy::default();
        let cap = Sat(1_550);
        let timeout = Height(200);
        let at = |estimate, tip| {
            policy
                .claim_rate(FeeRate(estimate), cap, Height(tip), timeout)
                .0
        };
        assert_eq!(at(3_000, 100), 3_000);
        assert_eq!(at(30_000, 100), 10_000, "the cap on the fee");
        assert_eq!(at(3_000, 188), 3_000);
        assert_eq!(at(3_000, 194), 3_000 + (500_000 - 3_000) / 2);
        assert_eq!(at(3_000, 200), 500_000);
        assert_eq!(at(3_000, 999), 500_000);
        let none = policy.claim_rate(FeeRate(5_000), Sat(0), Height(1), timeout);
        assert_eq!(none, MIN_RELAY, "once shown, something is always bid");
    }

    #[test]
    fn a_refund_never_bids_above_the_cap() {
        let policy = Policy::default();
        let timeout = Height(200);
        let at = |tip| {
            policy
                .refund_rate(FeeRate(2_000), Sat(1_380), Height(tip), timeout)
                .0
        };
        assert_eq!(
            (at(100), at(200), at(206), at(212)),
            (2_000, 2_000, 6_000, 10_000)
        );
        assert_eq!(at(9_999), 10_000);
    }

    proptest! {
        #[test]
        fn a_later_bid_is_never_lower(estimate in 0..1_000_000u64, cap in 0..1_000_000u64, tip in 0..2_000u32) {
            let policy = Policy::default();
            let claim = |tip| policy.claim_rate(FeeRate(estimate), Sat(cap), Height(tip), Height(1_000));
            let refund = |tip| policy.refund_rate(FeeRate(estimate), Sat(cap), Height(tip), Height(1_000));
            prop_assert!(claim(tip) <= claim(tip + 1));
            prop_assert!(refund(tip) <= refund(tip + 1));
        }
    }
}
