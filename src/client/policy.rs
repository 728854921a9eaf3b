//! A buyer's own rules: what it pays at most, how long it lets a payment be locked, and what it bids for its claim.

use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use swaprig_units::{BlockDelta, Height, Msat, Sat};

use crate::swap::{BuyerPolicy, Clocks, FeeRate, PolicyError, SpendError};

/// A buyer's rules. None of them is ever taken from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Confirmations that the funding needs before it is paid; on Liquid two are final but for a fault of the federation.
    pub min_confirmations: u32,
    /// The most Bitcoin blocks for which a payment may lock the buyer's coins. LDK's hold invoices ask for 42.
    pub max_total_cltv: BlockDelta,
    /// The most that the route of a payment may cost.
    pub max_routing_fee: Msat,
    /// Liquid blocks that must be left to claim, after the payment took as long as it may.
    pub claim_margin: BlockDelta,
    /// The most that is paid before anything is locked. Whoever takes that and locks nothing has it.
    pub max_prepay: Msat,
    /// The only node that is paid; `None`: any.
    pub payee: Option<PublicKey>,
    /// How long an invoice must still be payable.
    pub invoice_margin: Duration,
    /// How many blocks the server and the buyer's own source may be apart.
    pub max_height_gap: BlockDelta,
    /// L-BTC that must be locked beside another asset, for the fee of the claim.
    pub min_fee_value: Sat,
    /// What is bid for the claim.
    pub bid: Bid,
    /// Confirmations after which a claim counts as done.
    pub claim_depth: u32,
    /// The longest pause between two looks while nothing happens.
    pub poll: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            min_confirmations: BuyerPolicy::DEFAULT.min_confirmations,
            max_total_cltv: BuyerPolicy::DEFAULT.max_total_cltv,
            max_routing_fee: Msat(10_000),
            claim_margin: BuyerPolicy::DEFAULT.claim_margin,
            max_prepay: Msat(0),
            payee: None,
            invoice_margin: Duration::from_secs(10),
            max_height_gap: BlockDelta(10),
            // The claim of an asset, 481 discounted virtual bytes, at the relay's smallest rate.
            min_fee_value: Sat(49),
            bid: Bid::default(),
            claim_depth: 2,
            poll: Duration::from_secs(1),
        }
    }
}

impl Policy {
    /// Liquid blocks that must be left until the timeout when a payment is sent; see [`BuyerPolicy::needed`].
    ///
    /// # Errors
    /// When these rules let nothing be paid, or do not fit.
    pub fn needed_blocks(&self) -> Result<BlockDelta, PolicyError> {
        let timelock = BuyerPolicy {
            clocks: Clocks::DEFAULT,
            max_total_cltv: self.max_total_cltv,
            claim_margin: self.claim_margin,
            min_confirmations: self.min_confirmations,
        };
        timelock.needed()
    }
}

/// What is bid for a claim, in satoshi for 1,000 discounted virtual bytes: little while there is time, more and more as the
/// timeout nears, up to a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bid {
    /// While there is time.
    pub first: FeeRate,
    /// At the timeout and after it.
    pub cap: FeeRate,
    /// So many blocks before the timeout the bid begins to rise.
    pub rises_for: BlockDelta,
}

impl Default for Bid {
    fn default() -> Self {
        Bid {
            first: FeeRate::MIN_RELAY,
            cap: FeeRate(10_000),
            rises_for: BlockDelta(120),
        }
    }
}

impl Bid {
    /// The bid at a tip. Never less than the first one, never more than the cap, never less at a later tip.
    pub fn at(&self, tip: Height, timeout: Height) -> FeeRate {
        let left = timeout.0.saturating_sub(tip.0);
        let rises_for = self.rises_for.0;
        let cap = self.cap.max(self.first).0;
        if rises_for == 0 && left > 0 {
            return self.first;
        }
        let into = rises_for.saturating_sub(left);
        let span = u128::from(cap - self.first.0);
        let risen = match rises_for {
            0 => span,
            _ => span * u128::from(into) / u128::from(rises_for),
        };
        FeeRate(self.first.0 + u64::try_from(risen).unwrap_or(u64::MAX))
    }
}

/// Signs with `rate`, or with as much as there is, roughly, where that is less; never with less than `least`.
pub(super) fn affordable<T>(
    mut rate: FeeRate,
    least: FeeRate,
    mut sign: impl FnMut(FeeRate) -> Result<T, SpendError>,
) -> Result<T, SpendError> {
    loop {
        match sign(rate) {
            Err(SpendError::FeeAboveValue { .. } | SpendError::Dust { .. }) if rate > least => {
                rate = FeeRate(rate.0 / 2).max(least);
            }
            signed => return signed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_time_that_is_needed_follows_both_clocks() {
        assert_eq!(Policy::default().needed_blocks(), Ok(BlockDelta(1_400)));
        for cltv in [44, u32::MAX] {
            let policy = Policy {
                max_total_cltv: BlockDelta(cltv),
                ..Policy::default()
            };
            assert!(policy.needed_blocks().is_err(), "{cltv}");
        }
    }

    #[test]
    fn the_bid_rises_to_its_cap_at_the_timeout() {
        let bid = Bid {
            first: FeeRate(100),
            cap: FeeRate(1_100),
            rises_for: BlockDelta(10),
        };
        for (tip, rate) in [
            (0, 100),
            (90, 100),
            (91, 200),
            (95, 600),
            (100, 1_100),
            (500, 1_100),
        ] {
            assert_eq!(bid.at(Height(tip), Height(100)), FeeRate(rate), "{tip}");
        }
        let at_once = Bid {
            rises_for: BlockDelta(0),
            ..bid
        };
        assert_eq!(at_once.at(Height(99), Height(100)), FeeRate(100));
        assert_eq!(at_once.at(Height(100), Height(100)), FeeRate(1_100));
    }

    proptest! {
        #[test]
        fn a_later_bid_is_never_lower(first: u32, cap: u32, rises_for: u32, timeout: u32, tip in 0..u32::MAX) {
            let bid = Bid { first: FeeRate(first.into()), cap: FeeRate(cap.into()), rises_for: BlockDelta(rises_for) };
            let (now, next) = (bid.at(Height(tip), Height(timeout)), bid.at(Height(tip + 1), Height(timeout)));
            prop_assert!(now <= next);
            prop_assert!(now >= bid.first && next <= bid.cap.max(bid.first));
        }
    }
}
