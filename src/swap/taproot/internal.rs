//! The internal key of an HTLC on Bitcoin: what spends it without showing a script, if anything does (BIP 341).

use serde::{Deserialize, Serialize};

/// What is asked for, by name; what it comes to is an [`InternalKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InternalChoice {
    /// The two together can spend by one signature.
    Musig2,
    /// Nobody can; only the scripts spend.
    Unspendable,
}

/// The internal key, by what it is made of. As JSON `"musig2"` or `{"unspendable": {"r": "64 hexadecimal digits"}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InternalKey {
    /// The aggregate of the claimer's key and the refunder's, in this order and not sorted (BIP 327).
    Musig2,
    /// H + r·G, where H is the point of BIP 341 that nobody knows the logarithm of. `r` is published, so that everybody can
    /// see that it is this point, and random, so that nobody who was not told can.
    Unspendable {
        /// 32 bytes, big-endian, below the order of the group and not zero.
        #[serde(with = "hex32")]
        r: [u8; 32],
    },
}

impl InternalKey {
    /// What it was asked for as.
    pub fn choice(&self) -> InternalChoice {
        match self {
            InternalKey::Musig2 => InternalChoice::Musig2,
            InternalKey::Unspendable { .. } => InternalChoice::Unspendable,
        }
    }
}

/// 32 bytes as 64 hexadecimal digits.
mod hex32 {
    use bitcoin::hex::{DisplayHex as _, FromHex as _};
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        bytes: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&bytes.to_lower_hex_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        <[u8; 32]>::from_hex(&text).map_err(de::Error::custom)
    }
}
