//! Amounts at the edge: decimals with eight places, without a float in between.

use super::error::{RpcError, RpcResult};
use super::json::Json;

/// Satoshi in one unit of an asset, and the decimals of an amount.
const COIN: u64 = 100_000_000;
const DECIMALS: i32 = 8;
/// The most an amount of the policy asset can be, satoshi.
pub const MAX_MONEY: u64 = 21_000_000 * COIN;
/// elementsd parses no number of more digits.
const UPPER_BOUND: i128 = 1_000_000_000_000_000_000;

/// An amount in satoshi as elementsd writes it, always with eight decimals.
pub fn to_json(sat: u64) -> Json {
    Json::Num(format!("{}.{:08}", sat / COIN, sat % COIN))
}

/// As [`to_json`], with a sign.
pub fn signed_to_json(sat: i64) -> Json {
    let Json::Num(text) = to_json(sat.unsigned_abs()) else {
        unreachable!("an amount is a number")
    };
    Json::Num(if sat < 0 { format!("-{text}") } else { text })
}

/// Reads an amount of the policy asset, at most [`MAX_MONEY`].
///
/// # Errors
/// -3 when the value is neither number nor string, no decimal of eight places, or out of range.
pub fn from_json(value: &Json) -> RpcResult<u64> {
    match in_any_asset(value)? {
        sat if sat <= MAX_MONEY => Ok(sat),
        _ => Err(RpcError::wrong_type("Amount out of range")),
    }
}

/// Reads an amount of any asset, which may exceed [`MAX_MONEY`].
///
/// # Errors
/// As [`from_json`], but for the upper limit.
pub fn in_any_asset(value: &Json) -> RpcResult<u64> {
    fixed_point(value, DECIMALS)
}

/// Reads a non-negative decimal of `decimals` places, in units of the last place.
pub fn fixed_point(value: &Json, decimals: i32) -> RpcResult<u64> {
    let (Json::Num(text) | Json::Str(text)) = value else {
        return Err(RpcError::wrong_type("Amount is not a number or string"));
    };
    let amount =
        parse_fixed_point(text, decimals).ok_or_else(|| RpcError::wrong_type("Invalid amount"))?;
    u64::try_from(amount).map_err(|_| RpcError::wrong_type("Amount out of range"))
}

/// `ParseFixedPoint` of Bitcoin Core: a JSON number whose value times 10^decimals is whole and below 10^18.
pub fn parse_fixed_point(text: &str, decimals: i32) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (number, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
        None => (rest, 0),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || leading_zero || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let trimmed = i64::try_from(digits.len() - significant.len()).ok()?;
    let scale = exponent
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(trimmed + i64::from(decimals))?;
    if !(0..=18).contains(&scale) || significant.len() > 18 {
        return None;
    }
    let value = significant.parse::<i128>().ok()? * 10i128.pow(u32::try_from(scale).ok()?);
    if value >= UPPER_BOUND {
        return None;
    }
    let value = i64::try_from(value).ok()?;
    Some(if negative { -value } else { value })
}

/// The digits after an `e`; an exponent of more digits than this cannot be in range.
fn exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i64 = digits.parse().ok()?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals() {
        let cases: [(&str, Option<i64>); 26] = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.00000000", Some(0)),
            ("1", Some(100_000_000)),
            ("0.00000001", Some(1)),
            ("1e-8", Some(1)),
            ("1E-8", Some(1)),
            ("10e-9", Some(1)),
            ("0.000000010000", Some(1)),
            ("20999999.9999", Some(2_099_999_999_990_000)),
            ("21000000", Some(2_100_000_000_000_000)),
            ("1e3", Some(100_000_000_000)),
            ("1e+3", Some(100_000_000_000)),
            ("-1.5", Some(-150_000_000)),
            ("9999999999.99999999", Some(999_999_999_999_999_999)),
            ("10000000000", None),
            ("0.000000001", None),
            ("1e-9", None),
            ("1e99999999999999999999", None),
            ("", None),
            (".1", None),
            ("1.", None),
            ("01", None),
            ("+1", None),
            ("1e", None),
            ("0x1", None),
        ];
        for (text, sat) in cases {
            assert_eq!(parse_fixed_point(text, 8), sat, "{text}");
        }
        assert_eq!(parse_fixed_point("0.123", 3), Some(123));
        assert_eq!(parse_fixed_point("0.1234", 3), None);
    }

    #[test]
    fn what_an_amount_is_refused_with() {
        let cases = [
            (Json::Null, "Amount is not a number or string"),
            (Json::Bool(true), "Amount is not a number or string"),
            (Json::from("abc"), "Invalid amount"),
            (Json::Num("1e-9".to_owned()), "Invalid amount"),
            (Json::Num("-1".to_owned()), "Amount out of range"),
            (
                Json::Num("21000000.00000001".to_owned()),
                "Amount out of range",
            ),
        ];
        for (value, message) in cases {
            assert_eq!(
                from_json(&value),
                Err(RpcError::wrong_type(message)),
                "{value:?}"
            );
        }
    }

    #[test]
    fn amounts_are_written_with_eight_places() {
        for (sat, text) in [
            (0, "0.00000000"),
            (1, "0.00000001"),
            (2_099_999_999_990_000, "20999999.99990000"),
            (u64::MAX, "184467440737.09551615"),
        ] {
            assert_eq!(to_json(sat), Json::Num(text.to_owned()));
        }
        assert_eq!(signed_to_json(-250), Json::Num("-0.00000250".to_owned()));
        assert_eq!(
            signed_to_json(i64::MIN),
            Json::Num("-92233720368.54775808".to_owned())
        );
    }

    proptest! {
        #[test]
        fn written_amounts_read_back(sat in 0u64..=MAX_MONEY) {
            prop_assert_eq!(from_json(&to_json(sat)), Ok(sat));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,30}") {
            let _ = parse_fixed_point(&text, 8);
        }
    }
}
