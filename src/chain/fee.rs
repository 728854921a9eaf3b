//! What transactions pay.

use swaprig_units::Sat;

use crate::swap::FeeRate;

/// Reads what `estimatefee` says: coins per 1,000 virtual bytes, with eight decimals. `None` for what is no amount.
pub(super) fn rate_from_coins(coins: f64) -> Option<FeeRate> {
    // A JSON number: eight decimals are exact for any rate there is.
    let text = format!("{coins:.8}");
    let (whole, decimals) = text.split_once('.')?;
    let (whole, decimals) = (whole.parse::<u64>().ok()?, decimals.parse::<u64>().ok()?);
    whole
        .checked_mul(100_000_000)?
        .checked_add(decimals)
        .map(FeeRate)
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
    fn a_rate_is_read_exactly() {
        assert_eq!(rate_from_coins(0.000_001), Some(FeeRate(100)));
        assert_eq!(rate_from_coins(0.123_456_78), Some(FeeRate(12_345_678)));
        assert_eq!(rate_from_coins(f64::NAN), None);
        assert_eq!(rate_from_coins(-1.0), None);
    }
}
