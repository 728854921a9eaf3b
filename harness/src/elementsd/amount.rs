//! Amounts as the JSON of elementsd has them, exactly, and what an amount is of.

use std::collections::BTreeMap;
use std::fmt;

use elements::AssetId;
use serde_json::Value;

/// Parts of one coin, of bitcoin and of issued assets alike.
const PARTS: u64 = 100_000_000;
/// The name that Elements gives the policy asset (`dumpassetlabels`).
pub(super) const POLICY_LABEL: &str = "bitcoin";
/// The policy asset of `liquidregtest`.
pub const LBTC: &str = "5ac9f65c0efcc4775e0baec4ec03abdde22473cd3cf33c0419ca290e0751b225";

/// The policy asset of `liquidregtest`, L-BTC, in which fees are paid.
pub fn lbtc() -> AssetId {
    LBTC.parse()
        .expect("the constant has 64 hexadecimal digits")
}

/// An amount of one asset, in its smallest parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AssetAmount {
    /// Of what.
    pub asset: AssetId,
    /// How many parts; of L-BTC satoshis.
    pub parts: u64,
}

impl AssetAmount {
    /// An amount of L-BTC.
    pub fn sat(sat: swaprig_units::Sat) -> Self {
        AssetAmount {
            asset: lbtc(),
            parts: sat.0,
        }
    }
}

impl fmt::Display for AssetAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.asset == lbtc() {
            swaprig_units::Sat(self.parts).fmt(f)
        } else {
            write!(f, "{} of {}", swaprig_units::Units(self.parts), self.asset)
        }
    }
}

/// Amounts of several assets.
pub type Amounts = BTreeMap<AssetId, u64>;

/// `123` parts as elementsd wants them: `0.00000123`. A text, because a float is not exact in every language.
pub fn decimal(parts: u64) -> String {
    format!("{}.{:08}", parts / PARTS, parts % PARTS)
}

/// The parts in an amount of elementsd's JSON. A number of JSON has up to 17 exact digits, and no amount of Elements has
/// more than 16 (MAX_MONEY, Elements `consensus/amount.h`).
pub fn parts(value: &Value) -> Option<u64> {
    let text = match value {
        // serde_json writes small ones as 1e-8.
        Value::Number(number) => format!("{:.8}", number.as_f64()?),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    if fraction.len() > 8 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<8}").parse().ok()?;
    whole.checked_mul(PARTS)?.checked_add(fraction)
}

/// Reads `{ "bitcoin": 1.5, "ASSET": 2 }`.
pub(super) fn amounts(value: &Value) -> Option<Amounts> {
    let mut out = Amounts::new();
    for (name, amount) in value.as_object()? {
        let asset = match name.as_str() {
            POLICY_LABEL => lbtc(),
            id => id.parse().ok()?,
        };
        out.insert(asset, parts(amount)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_both_ways() {
        for (text, expected) in [
            ("0.00000001", Some(1)),
            ("1e-8", Some(1)),
            ("20999999.999", Some(2_099_999_999_900_000)),
            ("20999999.99999999", Some(2_099_999_999_999_999)),
            ("21000000", Some(2_100_000_000_000_000)),
            ("0", Some(0)),
            ("\"1.5\"", Some(150_000_000)),
            ("\"0.000000001\"", None),
            ("-1", None),
            ("null", None),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parts(&value), expected, "{text}");
        }
        for n in [0, 1, 99_999_999, 100_000_000, 2_099_999_999_999_999] {
            let value: Value = serde_json::from_str(&decimal(n)).unwrap();
            assert_eq!(parts(&value), Some(n));
            assert_eq!(parts(&Value::String(decimal(n))), Some(n));
        }
    }

    #[test]
    fn balances_name_the_policy_asset_by_its_label() {
        let gold = "00".repeat(31) + "01";
        let value = serde_json::json!({ "bitcoin": 1.5, &gold: 7e-8 });
        let read = amounts(&value).unwrap();
        assert_eq!(read[&lbtc()], 150_000_000);
        assert_eq!(read[&gold.parse().unwrap()], 7);
        assert_eq!(amounts(&serde_json::json!({ "silver": 1 })), None);
    }
}
