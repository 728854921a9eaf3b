//! MuSig2 (BIP 327) of two signers in one round: one asks with a nonce, the other answers with a nonce and its partial
//! signature. Nothing here is stored, sent or looked up, and it knows nothing of swaps.
//!
//! A secret nonce that signs twice gives the key away. None outlives what it is for: that of who answers lives within
//! [`answer`]; that of who asks lives in a [`Session`], which cannot be copied and which its end consumes.
//!
//! The curve is the `musig2` crate's, which has a secp256k1 of its own beside the one of `bitcoin`: keys, nonces and
//! signatures cross as bytes, here and nowhere else, and a finished signature is verified on this side.

use std::fmt;
use std::str::FromStr;

use bitcoin::TapSighash;
use bitcoin::hashes::Hash as _;
use bitcoin::hex::{DisplayHex as _, FromHex as _};
use bitcoin::secp256k1::{Message, PublicKey, SECP256K1, SecretKey, XOnlyPublicKey, schnorr};
use elements::secp256k1_zkp::rand::{CryptoRng, RngCore};
use musig2::secp::{MaybeScalar, Point, Scalar};
use musig2::{AggNonce, CompactSignature, KeyAggContext, LiftedSignature, PubNonce, SecNonce};
use serde::{Deserialize, Serialize};

/// Why there is no key, no nonce or no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MusigError {
    /// The keys come to no key; nobody can find such keys, short of none at all.
    #[error("the public keys cannot be aggregated")]
    Aggregate,
    /// The tweak comes to no key; that happens to one tree in 2^128.
    #[error("the aggregate key cannot be tweaked")]
    Tweak,
    /// The secret key is of none of the signers, or there are not two of them.
    #[error("the secret key is not that of one of two signers")]
    Signer,
    /// Not two points of the curve in 66 bytes.
    #[error("a public nonce has 132 hexadecimal digits that are two points of secp256k1")]
    Nonce,
    /// Not a scalar in 32 bytes.
    #[error("a partial signature has 64 hexadecimal digits that are a scalar of secp256k1")]
    Encoding,
    /// The other signer's part is not for these keys, this message and these nonces.
    #[error("the partial signature does not verify")]
    Partial,
    /// The sum is no signature, though its parts are; cannot be.
    #[error("the signature does not verify under the aggregate key")]
    Signature,
}

/// The key of several signers (`KeyAgg` of BIP 327), as it is or tweaked.
#[derive(Debug, Clone)]
pub struct Aggregate {
    context: KeyAggContext,
}

impl Aggregate {
    /// Of plain keys in the order given: another order is another key.
    ///
    /// # Errors
    /// [`MusigError::Aggregate`].
    pub fn of(keys: &[PublicKey]) -> Result<Aggregate, MusigError> {
        if keys.is_empty() {
            return Err(MusigError::Aggregate);
        }
        let context = KeyAggContext::new(keys.iter().map(point));
        let context = context.map_err(|_| MusigError::Aggregate)?;
        Ok(Aggregate { context })
    }

    /// The output key of taproot with this as the internal key (BIP 341).
    ///
    /// # Errors
    /// [`MusigError::Tweak`].
    pub fn with_taproot_tweak(self, merkle_root: &[u8; 32]) -> Result<Aggregate, MusigError> {
        let context = self.context.with_taproot_tweak(merkle_root);
        let context = context.map_err(|_| MusigError::Tweak)?;
        Ok(Aggregate { context })
    }

    /// What signatures verify under.
    pub fn key(&self) -> XOnlyPublicKey {
        let point: Point = self.context.aggregated_pubkey();
        XOnlyPublicKey::from_slice(&point.serialize_xonly()).expect("a point that is not infinity")
    }

    /// The one of the two signers that does not have this key.
    fn other(&self, key: &SecretKey) -> Result<Point, MusigError> {
        let own = point(&key.public_key(SECP256K1));
        match self.context.pubkeys() {
            [first, other] if *first == own => Ok(*other),
            [other, second] if *second == own => Ok(*other),
            _ => Err(MusigError::Signer),
        }
    }

    /// `NonceGen` of BIP 327 with everything that is known: even where the random bytes repeat, nonces for another message
    /// or another nonce of the other signer are others.
    fn secret_nonce<R: RngCore + CryptoRng>(
        &self,
        key: &SecretKey,
        sighash: TapSighash,
        session: &[u8],
        rng: &mut R,
    ) -> SecNonce {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        SecNonce::build_with_seckey(seed, scalar(key))
            .with_aggregated_pubkey(self.context.aggregated_pubkey::<Point>())
            .with_message(sighash.as_byte_array())
            .with_extra_input(&session)
            .build()
    }

    fn sign(
        &self,
        key: &SecretKey,
        nonce: SecNonce,
        sum: &AggNonce,
        sighash: TapSighash,
    ) -> Result<MaybeScalar, MusigError> {
        musig2::sign_partial(
            &self.context,
            scalar(key),
            nonce,
            sum,
            sighash.as_byte_array(),
        )
        .map_err(|_| MusigError::Signer)
    }
}

/// What a signer shows of its nonce: two points, 66 bytes, shown as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicNonce(PubNonce);

/// A signer's part of a signature: a scalar, 32 bytes, shown as hexadecimal digits. Without the other part it is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartialSignature(MaybeScalar);

/// Who asks: holds the secret nonce until the answer comes. Not to be written down; lost with the process, begun anew.
pub struct Session {
    aggregate: Aggregate,
    key: SecretKey,
    other: Point,
    nonce: SecNonce,
    sighash: TapSighash,
}

impl Session {
    /// Draws a nonce for one signature of `sighash`.
    ///
    /// # Errors
    /// [`MusigError::Signer`].
    pub fn begin<R: RngCore + CryptoRng>(
        aggregate: &Aggregate,
        key: &SecretKey,
        sighash: TapSighash,
        rng: &mut R,
    ) -> Result<Session, MusigError> {
        Ok(Session {
            aggregate: aggregate.clone(),
            key: *key,
            other: aggregate.other(key)?,
            nonce: aggregate.secret_nonce(key, sighash, b"ask", rng),
            sighash,
        })
    }

    /// What the other signer is asked with.
    pub fn nonce(&self) -> PublicNonce {
        PublicNonce(self.nonce.public_nonce())
    }

    /// The signature, from the other signer's answer. It verifies under [`Aggregate::key`].
    ///
    /// # Errors
    /// [`MusigError::Partial`] when the answer is none to this; then a new session may ask again.
    pub fn finish(
        self,
        nonce: &PublicNonce,
        partial: &PartialSignature,
    ) -> Result<schnorr::Signature, MusigError> {
        let sum = AggNonce::sum([self.nonce.public_nonce(), nonce.0.clone()]);
        let message = self.sighash.as_byte_array();
        let context = &self.aggregate.context;
        musig2::verify_partial(context, partial.0, &sum, self.other, &nonce.0, message)
            .map_err(|_| MusigError::Partial)?;
        let own = self
            .aggregate
            .sign(&self.key, self.nonce, &sum, self.sighash)?;
        let lifted: LiftedSignature =
            musig2::aggregate_partial_signatures(context, &sum, [own, partial.0], message)
                .map_err(|_| MusigError::Signature)?;
        let compact: CompactSignature = lifted.compact();
        let signature = schnorr::Signature::from_slice(&compact.serialize())
            .map_err(|_| MusigError::Signature)?;
        SECP256K1
            .verify_schnorr(
                &signature,
                &Message::from_digest(*message),
                &self.aggregate.key(),
            )
            .map_err(|_| MusigError::Signature)?;
        Ok(signature)
    }
}

/// Who answers: draws a nonce, signs with it and forgets it. The same question gets another answer each time.
///
/// # Errors
/// [`MusigError::Signer`].
pub fn answer<R: RngCore + CryptoRng>(
    aggregate: &Aggregate,
    key: &SecretKey,
    asked: &PublicNonce,
    sighash: TapSighash,
    rng: &mut R,
) -> Result<(PublicNonce, PartialSignature), MusigError> {
    aggregate.other(key)?;
    let session = [b"answer".as_slice(), &asked.0.serialize()].concat();
    let nonce = aggregate.secret_nonce(key, sighash, &session, rng);
    let public = nonce.public_nonce();
    let sum = AggNonce::sum([asked.0.clone(), public.clone()]);
    let partial = aggregate.sign(key, nonce, &sum, sighash)?;
    Ok((PublicNonce(public), PartialSignature(partial)))
}

fn point(key: &PublicKey) -> Point {
    Point::from_slice(&key.serialize()).expect("a public key is a point")
}

fn scalar(key: &SecretKey) -> Scalar {
    Scalar::from_slice(&key.secret_bytes()).expect("a secret key is a scalar")
}

impl PublicNonce {
    /// From the 66 bytes (BIP 327).
    ///
    /// # Errors
    /// [`MusigError::Nonce`].
    pub fn from_bytes(bytes: &[u8; 66]) -> Result<PublicNonce, MusigError> {
        let nonce = PubNonce::from_bytes(bytes);
        nonce.map(PublicNonce).map_err(|_| MusigError::Nonce)
    }

    /// The 66 bytes (BIP 327).
    pub fn to_bytes(&self) -> [u8; 66] {
        self.0.serialize()
    }
}

impl PartialSignature {
    /// The 32 bytes (BIP 327).
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.serialize()
    }
}

impl FromStr for PublicNonce {
    type Err = MusigError;

    fn from_str(text: &str) -> Result<Self, MusigError> {
        let bytes = <[u8; 66]>::from_hex(text).map_err(|_| MusigError::Nonce)?;
        PublicNonce::from_bytes(&bytes)
    }
}

impl FromStr for PartialSignature {
    type Err = MusigError;

    fn from_str(text: &str) -> Result<Self, MusigError> {
        let bytes = <[u8; 32]>::from_hex(text).map_err(|_| MusigError::Encoding)?;
        let scalar = MaybeScalar::from_slice(&bytes);
        scalar
            .map(PartialSignature)
            .map_err(|_| MusigError::Encoding)
    }
}

impl fmt::Display for PublicNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.to_bytes().as_hex())
    }
}

impl fmt::Display for PartialSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.to_bytes().as_hex())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.aggregate.key())
            .field("sighash", &self.sighash)
            .finish_non_exhaustive()
    }
}

macro_rules! text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = MusigError;

            fn try_from(text: String) -> Result<Self, MusigError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}

text!(PublicNonce);
text!(PartialSignature);
