//! The payment hash of BOLT 11 and the preimage that opens it.

use std::fmt;
use std::str::FromStr;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::hex::{DisplayHex as _, FromHex as _};
use serde::{Deserialize, Serialize};

use crate::UnitError;

/// SHA-256 of a [`Preimage`] (BOLT 11, tagged field `p`). Shown as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PaymentHash(pub [u8; 32]);

/// The 32 bytes whose SHA-256 is the payment hash (BOLT 2, `update_fulfill_htlc`). `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Preimage(pub [u8; 32]);

impl Preimage {
    /// The hash that a payment locked to this preimage carries.
    pub fn payment_hash(&self) -> PaymentHash {
        PaymentHash(sha256::Hash::hash(&self.0).to_byte_array())
    }
}

fn from_hex(text: &str) -> Result<[u8; 32], UnitError> {
    <[u8; 32]>::from_hex(text.trim()).map_err(|_| UnitError::NotHex)
}

impl FromStr for PaymentHash {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        from_hex(text).map(PaymentHash)
    }
}

impl FromStr for Preimage {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        from_hex(text).map(Preimage)
    }
}

impl TryFrom<String> for PaymentHash {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl TryFrom<String> for Preimage {
    type Error = UnitError;

    fn try_from(text: String) -> Result<Self, UnitError> {
        text.parse()
    }
}

impl From<PaymentHash> for String {
    fn from(hash: PaymentHash) -> String {
        hash.to_string()
    }
}

impl From<Preimage> for String {
    fn from(preimage: Preimage) -> String {
        preimage.to_string()
    }
}

impl fmt::Display for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0.as_hex())
    }
}

impl fmt::Debug for PaymentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PaymentHash({self})")
    }
}

impl fmt::Display for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0.as_hex())
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Preimage(of {})", self.payment_hash())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_known_preimage() {
        let preimage = Preimage([0; 32]);
        let hash = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        assert_eq!(preimage.payment_hash().to_string(), hash);
        assert_eq!(hash.parse(), Ok(preimage.payment_hash()));
        assert_eq!("66".parse::<PaymentHash>(), Err(UnitError::NotHex));
    }
}
