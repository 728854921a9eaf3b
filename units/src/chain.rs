//! Positions and distances on a chain, in blocks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{UnitError, split, whole};

const UNITS: &str = "`blocks`";

/// The height of a block; the genesis block has height 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Height(pub u32);

/// A number of blocks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BlockDelta(pub u32);

impl Height {
    /// The height `blocks` later, or `None` when it does not fit.
    pub fn checked_add(self, blocks: BlockDelta) -> Option<Height> {
        self.0.checked_add(blocks.0).map(Height)
    }
}

/// A number of blocks has one unit only, so `"6"` is as clear as `"6 blocks"`.
fn blocks(text: &str) -> Result<u32, UnitError> {
    let (number, unit) = split(text);
    if !matches!(unit, "" | "block" | "blocks") {
        return Err(UnitError::UnknownUnit {
            unit: unit.to_owned(),
            expected: UNITS,
        });
    }
    let shown = text.trim();
    u32::try_from(whole(&number, shown)?).map_err(|_| UnitError::TooLarge {
        number: shown.to_owned(),
    })
}

/// Reads `"6 blocks"`, `"1 block"` or `"6"`.
impl FromStr for BlockDelta {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        blocks(text).map(BlockDelta)
    }
}

/// Reads `"107"` or `"height 107"`.
impl FromStr for Height {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        blocks(text.strip_prefix("height").unwrap_or(text)).map(Height)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "height {}", self.0)
    }
}

impl fmt::Display for BlockDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "1 block"),
            n => write!(f, "{n} blocks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_have_one_unit() {
        let cases: &[(&str, Result<u32, &str>)] = &[
            ("6", Ok(6)),
            ("6 blocks", Ok(6)),
            ("1 block", Ok(1)),
            ("6 sat", Err("`sat` is not a unit of it; use `blocks`")),
            ("blocks", Err("`blocks` is not a whole number")),
            ("4294967296", Err("`4294967296` is too large")),
        ];
        for (text, expected) in cases {
            let got = text
                .parse::<BlockDelta>()
                .map(|b| b.0)
                .map_err(|e| e.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(n: u32) {
            prop_assert_eq!(BlockDelta(n).to_string().parse(), Ok(BlockDelta(n)));
            prop_assert_eq!(Height(n).to_string().parse(), Ok(Height(n)));
        }
    }
}
