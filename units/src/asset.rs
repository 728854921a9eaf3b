//! Amounts of assets other than bitcoin, in the parts that a transaction counts them in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{UnitError, grouped, split, whole};

/// An amount of an issued asset, in its smallest part: what a transaction of Elements holds. Where elementsd shows an
/// asset like a bitcoin, with eight decimals, `100_000_000 units` are its `1.00000000`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Units(pub u64);

impl Units {
    /// The sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Units) -> Option<Units> {
        self.0.checked_add(other.0).map(Units)
    }

    /// The difference, or `None` when it would be negative.
    pub fn checked_sub(self, other: Units) -> Option<Units> {
        self.0.checked_sub(other.0).map(Units)
    }
}

/// Reads `"1_000 units"` or `"1 unit"`.
impl FromStr for Units {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text);
        match unit {
            "unit" | "units" => whole(&number, text.trim()).map(Units),
            "" => Err(UnitError::MissingUnit {
                suggestion: format!("{} units", text.trim()),
            }),
            other => Err(UnitError::UnknownUnit {
                unit: other.to_owned(),
                expected: "`units`",
            }),
        }
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.0 == 1 { "unit" } else { "units" };
        write!(f, "{} {unit}", grouped(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_whole_and_carry_their_name() {
        let cases: &[(&str, Result<u64, &str>)] = &[
            ("7 units", Ok(7)),
            ("1 unit", Ok(1)),
            ("1_000units", Ok(1_000)),
            ("7", Err("it has no unit; write \"7 units\"")),
            ("7 sat", Err("`sat` is not a unit of it; use `units`")),
            ("0.5 units", Err("`0.5 units` is not a whole number")),
            ("", Err("it has no unit; write \" units\"")),
        ];
        for (text, expected) in cases {
            let got = text
                .parse::<Units>()
                .map(|u| u.0)
                .map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(n: u64) {
            prop_assert_eq!(Units(n).to_string().parse::<Units>(), Ok(Units(n)));
        }
    }
}
