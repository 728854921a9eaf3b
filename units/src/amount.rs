//! Money: satoshi and millisatoshi. Never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{UnitError, grouped, split, whole};

/// An amount in satoshi.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sat(pub u64);

/// An amount in millisatoshi, the unit of Lightning payments (BOLT 2).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Msat(pub u64);

const MSAT_PER_SAT: u64 = 1_000;
const MSAT_PER_BTC: u64 = 100_000_000_000;
const UNITS: &str = "`sat`, `msat` or `btc`";

impl Sat {
    /// The same amount in satoshi as the `bitcoin` crate has it.
    pub fn to_amount(self) -> bitcoin::Amount {
        bitcoin::Amount::from_sat(self.0)
    }

    /// The sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Sat) -> Option<Sat> {
        self.0.checked_add(other.0).map(Sat)
    }

    /// The difference, or `None` when it would be negative.
    pub fn checked_sub(self, other: Sat) -> Option<Sat> {
        self.0.checked_sub(other.0).map(Sat)
    }

    /// The same amount in millisatoshi, or `None` when it does not fit.
    pub fn to_msat(self) -> Option<Msat> {
        self.0.checked_mul(MSAT_PER_SAT).map(Msat)
    }
}

impl From<bitcoin::Amount> for Sat {
    fn from(amount: bitcoin::Amount) -> Self {
        Sat(amount.to_sat())
    }
}

impl Msat {
    /// The whole satoshis in it, the rest cut off.
    pub fn floor_sat(self) -> Sat {
        Sat(self.0 / MSAT_PER_SAT)
    }

    /// The whole satoshis that hold it: a rest counts as one more.
    pub fn ceil_sat(self) -> Sat {
        Sat(self.0.div_ceil(MSAT_PER_SAT))
    }

    /// The sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Msat) -> Option<Msat> {
        self.0.checked_add(other.0).map(Msat)
    }

    /// The difference, or `None` when it would be negative.
    pub fn checked_sub(self, other: Msat) -> Option<Msat> {
        self.0.checked_sub(other.0).map(Msat)
    }
}

/// Reads `"1_000 sat"`, `"1 msat"` or `"0.5 btc"`. A number without a unit is an error that shows the text to type.
impl FromStr for Msat {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text);
        let per_unit = match unit {
            "msat" => 1,
            "sat" | "sats" => MSAT_PER_SAT,
            "btc" | "BTC" => MSAT_PER_BTC,
            "" => {
                return Err(UnitError::MissingUnit {
                    suggestion: format!("{} sat", text.trim()),
                });
            }
            other => {
                return Err(UnitError::UnknownUnit {
                    unit: other.to_owned(),
                    expected: UNITS,
                });
            }
        };
        let shown = text.trim();
        let (int, fraction) = number.split_once('.').unwrap_or((&number, ""));
        let too_large = || UnitError::TooLarge {
            number: shown.to_owned(),
        };
        let mut msat = whole(int, shown)?
            .checked_mul(per_unit)
            .ok_or_else(too_large)?;
        let mut place = per_unit;
        for digit in fraction.bytes() {
            place /= 10;
            if place == 0 || !digit.is_ascii_digit() {
                return Err(UnitError::NotANumber {
                    number: shown.to_owned(),
                });
            }
            msat = msat
                .checked_add(u64::from(digit - b'0') * place)
                .ok_or_else(too_large)?;
        }
        Ok(Msat(msat))
    }
}

/// Reads what [`Msat`] reads, when it is a whole number of satoshis.
impl FromStr for Sat {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let Msat(msat) = text.parse()?;
        if msat % MSAT_PER_SAT != 0 {
            return Err(UnitError::FractionOfASatoshi { msat });
        }
        Ok(Sat(msat / MSAT_PER_SAT))
    }
}

impl fmt::Display for Sat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sat", grouped(self.0))
    }
}

/// Whole satoshis are shown as `sat`, anything else as `msat`.
impl fmt::Display for Msat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(MSAT_PER_SAT) {
            self.floor_sat().fmt(f)
        } else {
            write!(f, "{} msat", grouped(self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_carry_their_unit() {
        let cases: &[(&str, Result<u64, &str>)] = &[
            ("50_000 sat", Ok(50_000_000)),
            ("1 msat", Ok(1)),
            ("0.5 btc", Ok(50_000_000_000)),
            ("0.00000000001 btc", Ok(1)),
            (
                "0.000000000001 btc",
                Err("`0.000000000001 btc` is not a whole number"),
            ),
            ("50000", Err("it has no unit; write \"50000 sat\"")),
            ("5 sats", Ok(5_000)),
            (
                "5 ltc",
                Err("`ltc` is not a unit of it; use `sat`, `msat` or `btc`"),
            ),
            (
                "-5 sat",
                Err("`-5 sat` is not a unit of it; use `sat`, `msat` or `btc`"),
            ),
            ("", Err("it has no unit; write \" sat\"")),
            (
                "99999999999999999999 sat",
                Err("`99999999999999999999 sat` is too large"),
            ),
        ];
        for (text, expected) in cases {
            let got = text.parse::<Msat>().map(|m| m.0).map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        }
        assert_eq!(
            "1500 msat".parse::<Sat>(),
            Err(UnitError::FractionOfASatoshi { msat: 1500 })
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(n in 0..u64::MAX / MSAT_PER_SAT) {
            prop_assert_eq!(Sat(n).to_string().parse::<Sat>(), Ok(Sat(n)));
            prop_assert_eq!(Msat(n).to_string().parse::<Msat>(), Ok(Msat(n)));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Msat>();
            let _ = text.parse::<Sat>();
        }
    }
}
