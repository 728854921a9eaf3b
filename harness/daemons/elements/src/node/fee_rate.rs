//! Fee rates, with elementsd's rounding and wording.

use std::fmt;

/// Satoshi for every 1,000 virtual bytes, as `CFeeRate` of Bitcoin Core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeeRate(u64);

impl FeeRate {
    /// A rate of `sat` satoshi for every 1,000 virtual bytes.
    pub const fn from_sat_per_kvb(sat: u64) -> Self {
        FeeRate(sat)
    }

    /// The rate at which `fee` (satoshi) pays for `vsize` virtual bytes, rounded down; zero for no bytes.
    pub fn paid(fee: u64, vsize: u64) -> Self {
        let rate = (u128::from(fee) * 1000).checked_div(u128::from(vsize));
        FeeRate(u64::try_from(rate.unwrap_or(0)).unwrap_or(u64::MAX))
    }

    /// Satoshi for every 1,000 virtual bytes.
    pub const fn sat_per_kvb(self) -> u64 {
        self.0
    }

    /// The fee in satoshi for `vsize` virtual bytes, rounded up.
    pub fn fee(self, vsize: u64) -> u64 {
        let fee = (u128::from(self.0) * u128::from(vsize)).div_ceil(1000);
        u64::try_from(fee).unwrap_or(u64::MAX)
    }
}

/// As in elementsd's messages: `0.00000100 BTC/kvB`, whatever the asset is called.
impl fmt::Display for FeeRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:08} BTC/kvB",
            self.0 / 100_000_000,
            self.0 % 100_000_000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::FeeRate;

    #[test]
    fn fees_round_up_and_rates_round_down() {
        let rate = FeeRate::from_sat_per_kvb(100);
        assert_eq!(
            (
                rate.fee(0),
                rate.fee(1),
                rate.fee(191),
                rate.fee(200),
                rate.fee(201)
            ),
            (0, 1, 20, 20, 21)
        );
        assert_eq!(FeeRate::paid(20, 191).sat_per_kvb(), 104);
        assert_eq!(FeeRate::paid(20, 0), FeeRate::default());
        assert_eq!(FeeRate::from_sat_per_kvb(u64::MAX).fee(u64::MAX), u64::MAX);
        assert_eq!(rate.to_string(), "0.00000100 BTC/kvB");
    }
}
