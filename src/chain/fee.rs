//! What transactions pay.

use swaprig_units::Sat;

/// A fee rate, in satoshi per 1,000 virtual bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeeRate(pub u64);

impl FeeRate {
    /// The least that Elements relays: 0.1 sat/vB.
    pub const MIN_RELAY: FeeRate = FeeRate(100);

    /// The fee of `vsize` virtual bytes, rounded up.
    pub fn fee(self, vsize: usize) -> Sat {
        let vsize = u64::try_from(vsize).unwrap_or(u64::MAX);
        Sat(self.0.saturating_mul(vsize).div_ceil(1_000))
    }

    /// Reads what `estimatefee` says: coins per 1,000 virtual bytes, with eight decimals. `None` for what is no amount.
    pub(super) fn from_coins_per_kvb(coins: f64) -> Option<FeeRate> {
        // A JSON number: eight decimals are exact for any rate there is.
        let text = format!("{coins:.8}");
        let (whole, decimals) = text.split_once('.')?;
        let (whole, decimals) = (whole.parse::<u64>().ok()?, decimals.parse::<u64>().ok()?);
        whole
            .checked_mul(100_000_000)?
            .checked_add(decimals)
            .map(FeeRate)
    }
}

/// How the wallet pays for transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeePolicy {
    /// The rate of fundings and fan-outs.
    pub rate: FeeRate,
    /// The least L-BTC that is worth an output; less goes to the fee.
    pub dust: Sat,
}

impl Default for FeePolicy {
    /// The least that is relayed, and the dust of a taproot output at Elements' default dust rate of 3 sat/vB: 145 vB.
    fn default() -> Self {
        FeePolicy {
            rate: FeeRate::MIN_RELAY,
            dust: Sat(435),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_is_rounded_up_and_a_rate_read_exactly() {
        assert_eq!(FeeRate::MIN_RELAY.fee(1_000), Sat(100));
        assert_eq!(FeeRate::MIN_RELAY.fee(1_001), Sat(101));
        assert_eq!(FeeRate::from_coins_per_kvb(0.000_001), Some(FeeRate(100)));
        assert_eq!(
            FeeRate::from_coins_per_kvb(0.123_456_78),
            Some(FeeRate(12_345_678))
        );
        assert_eq!(FeeRate::from_coins_per_kvb(f64::NAN), None);
    }
}
