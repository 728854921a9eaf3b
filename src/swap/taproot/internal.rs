//! The internal key of an HTLC on Bitcoin: what spends it without showing a script, if anything does (BIP 341).

use bitcoin::secp256k1::{PublicKey, SECP256K1, Scalar, XOnlyPublicKey};
use elements::secp256k1_zkp::rand::{CryptoRng, RngCore};
use serde::{Deserialize, Serialize};

use super::TaprootError;
use crate::swap::musig::Aggregate;

/// The x coordinate of H: SHA-256 of the uncompressed generator (BIP 341). Nobody knows its logarithm.
const H: [u8; 32] = [
    0x50, 0x92, 0x9b, 0x74, 0xc1, 0xa0, 0x49, 0x54, 0xb7, 0x8b, 0x4b, 0x60, 0x35, 0xe9, 0x7a, 0x5e,
    0x07, 0x8a, 0x5a, 0x0f, 0x28, 0xec, 0x96, 0xd5, 0x47, 0xbf, 0xee, 0x9a, 0xce, 0x80, 0x3a, 0xc0,
];

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

    /// What was asked for, with a fresh `r` where it takes one.
    pub fn draw<R: RngCore + CryptoRng>(choice: InternalChoice, rng: &mut R) -> InternalKey {
        match choice {
            InternalChoice::Musig2 => InternalKey::Musig2,
            InternalChoice::Unspendable => InternalKey::Unspendable {
                r: bitcoin::secp256k1::SecretKey::new(rng).secret_bytes(),
            },
        }
    }

    /// The key itself, between the two plain keys.
    pub(super) fn key(
        &self,
        claimer: &PublicKey,
        refunder: &PublicKey,
    ) -> Result<XOnlyPublicKey, TaprootError> {
        match self {
            InternalKey::Musig2 => Ok(Aggregate::of(&[*claimer, *refunder])?.key()),
            InternalKey::Unspendable { r } => {
                let scalar = Scalar::from_be_bytes(*r).map_err(|_| TaprootError::Tweak)?;
                if scalar == Scalar::ZERO {
                    return Err(TaprootError::Tweak);
                }
                let h = XOnlyPublicKey::from_slice(&H).expect("H is on the curve");
                let (key, _) = h
                    .add_tweak(SECP256K1, &scalar)
                    .map_err(|_| TaprootError::Tweak)?;
                Ok(key)
            }
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
