//! Amounts, heights and hashes as types, with the text forms that scenario files and reports use.
//! No arithmetic that could wrap: additions and subtractions are checked and say so in their type.

mod amount;
mod asset;
mod chain;
mod duration;
mod hash;

pub use amount::{Msat, Sat};
pub use asset::Units;
pub use chain::{BlockDelta, Height};
pub use duration::{parse_duration, show_duration};
pub use hash::{PaymentHash, Preimage};

/// Why a text is not the unit it should be. The text form is a fragment that fits after "is not an amount: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A number without its unit; carries what could be typed instead.
    #[error("it has no unit; write \"{suggestion}\"")]
    MissingUnit { suggestion: String },
    /// A unit that this type does not have.
    #[error("`{unit}` is not a unit of it; use {expected}")]
    UnknownUnit {
        unit: String,
        expected: &'static str,
    },
    /// The part before the unit is not a whole number (`_` may separate digits).
    #[error("`{number}` is not a whole number")]
    NotANumber { number: String },
    /// The number does not fit.
    #[error("`{number}` is too large")]
    TooLarge { number: String },
    /// The amount is not a whole number of the wanted unit.
    #[error("{msat} msat is not a whole number of satoshis")]
    FractionOfASatoshi { msat: u64 },
    /// Not 64 lowercase or uppercase hexadecimal digits.
    #[error("it must be 64 hexadecimal digits")]
    NotHex,
}

/// Splits `"50_000 sat"` into its number and its unit. The unit is empty when there is none.
fn split(text: &str) -> (String, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '_' || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.trim().replace('_', ""), unit.trim())
}

/// Reads a whole number of digits; `shown` is the text the message quotes.
fn whole(digits: &str, shown: &str) -> Result<u64, UnitError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UnitError::NotANumber {
            number: shown.to_owned(),
        });
    }
    digits.parse().map_err(|_| UnitError::TooLarge {
        number: shown.to_owned(),
    })
}

/// `1234567` as `1_234_567`, which can be pasted back into a scenario.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}
