//! The seam between the interpreter and a transaction: signature hashes, locktime, sequence.

use std::sync::LazyLock;

use bitcoin::secp256k1::{
    Message, PublicKey, Secp256k1, VerifyOnly, XOnlyPublicKey, ecdsa, schnorr,
};

use crate::{Chain, Flags, ScriptError};

/// Which rules a script runs under (BIP143's and BIP342's "signature version").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigVersion {
    /// Bare scripts and P2SH redeem scripts.
    Legacy,
    /// P2WPKH and P2WSH.
    WitnessV0,
    /// Taproot leaves of the chain's tapscript version.
    Tapscript,
}

/// What a taproot signature commits to beside the transaction (BIP341 and BIP342).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaprootContext {
    /// The annex, with its `0x50`, if the witness has one.
    pub annex: Option<Vec<u8>>,
    /// Script path: the leaf hash, and the position of the last CODESEPARATOR executed (`0xffff_ffff` if none).
    pub leaf: Option<([u8; 32], u32)>,
}

/// One input of a transaction, as the interpreter sees it.
///
/// An implementation gives hashes and fields; the checks themselves are provided, the same on both chains.
pub trait Checker {
    /// The chain whose opcodes, leaf versions and tagged hashes apply.
    fn chain(&self) -> Chain;

    /// The hash an ECDSA signature with this hash type byte signs, in a legacy or segwit v0 script.
    ///
    /// Any byte is a hash type here. `script_code` begins after the last CODESEPARATOR executed, and, in a legacy
    /// script, lacks the signature itself.
    fn ecdsa_sighash(
        &self,
        script_code: &[u8],
        hash_type: u8,
        version: SigVersion,
        flags: Flags,
    ) -> [u8; 32];

    /// The hash a Schnorr signature with this hash type signs; `None` if the hash type is not valid for the input.
    fn taproot_sighash(&self, hash_type: u8, context: &TaprootContext) -> Option<[u8; 32]>;

    /// The transaction's version.
    fn transaction_version(&self) -> u32;

    /// The transaction's nLockTime: a block height below 500,000,000, else seconds since 1970.
    fn lock_time(&self) -> u32;

    /// The input's nSequence.
    fn sequence(&self) -> u32;

    /// Whether `signature`, whose last byte is the hash type, is good under `key` (`CheckECDSASignature`).
    fn check_ecdsa(
        &self,
        signature: &[u8],
        key: &[u8],
        script_code: &[u8],
        version: SigVersion,
        flags: Flags,
    ) -> bool {
        let Some(key) = parse_public_key(key) else {
            return false;
        };
        let Some((hash_type, der)) = signature.split_last() else {
            return false;
        };
        let Ok(mut signature) = ecdsa::Signature::from_der_lax(der) else {
            return false;
        };
        let hash = self.ecdsa_sighash(script_code, *hash_type, version, flags);
        // libsecp256k1 takes only low S; whether a high one is allowed is a matter of LOW_S.
        signature.normalize_s();
        SECP.verify_ecdsa(&Message::from_digest(hash), &signature, &key)
            .is_ok()
    }

    /// Whether `signature` (64 bytes, or 65 with a hash type) is good under `key` (`CheckSchnorrSignature`).
    ///
    /// # Errors
    /// The size of the signature, its hash type, or the signature itself.
    fn check_schnorr(
        &self,
        signature: &[u8],
        key: &[u8; 32],
        context: &TaprootContext,
    ) -> Result<(), ScriptError> {
        let (signature, hash_type) = match signature.len() {
            64 => (signature, 0),
            65 if signature[64] == 0 => return Err(ScriptError::SchnorrSigHashtype),
            65 => (&signature[..64], signature[64]),
            _ => return Err(ScriptError::SchnorrSigSize),
        };
        let hash = self
            .taproot_sighash(hash_type, context)
            .ok_or(ScriptError::SchnorrSigHashtype)?;
        let signature =
            schnorr::Signature::from_slice(signature).map_err(|_| ScriptError::SchnorrSig)?;
        let key = XOnlyPublicKey::from_slice(key).map_err(|_| ScriptError::SchnorrSig)?;
        SECP.verify_schnorr(&signature, &Message::from_digest(hash), &key)
            .map_err(|_| ScriptError::SchnorrSig)
    }

    /// Whether the transaction is locked at least until `wanted` (BIP65).
    fn check_lock_time(&self, wanted: i64) -> bool {
        let actual = i64::from(self.lock_time());
        // Heights compare with heights, times with times.
        (actual < LOCKTIME_THRESHOLD) == (wanted < LOCKTIME_THRESHOLD)
            && wanted <= actual
            // A final input switches nLockTime off.
            && self.sequence() != u32::MAX
    }

    /// Whether the input is locked at least for `wanted`, which has no disable bit (BIP112).
    fn check_sequence(&self, wanted: i64) -> bool {
        let actual = i64::from(self.sequence());
        if self.transaction_version() < 2 || actual & SEQUENCE_DISABLE != 0 {
            return false;
        }
        let mask = SEQUENCE_TYPE | SEQUENCE_MASK;
        let (actual, wanted) = (actual & mask, wanted & mask);
        (actual < SEQUENCE_TYPE) == (wanted < SEQUENCE_TYPE) && wanted <= actual
    }
}

pub(crate) static SECP: LazyLock<Secp256k1<VerifyOnly>> =
    LazyLock::new(Secp256k1::verification_only);

const LOCKTIME_THRESHOLD: i64 = 500_000_000;
pub(crate) const SEQUENCE_DISABLE: i64 = 1 << 31;
const SEQUENCE_TYPE: i64 = 1 << 22;
const SEQUENCE_MASK: i64 = 0xffff;

/// A public key as consensus takes it: compressed, uncompressed or hybrid, with the length its first byte calls for.
fn parse_public_key(key: &[u8]) -> Option<PublicKey> {
    let length = match key.first()? {
        2 | 3 => 33,
        4 | 6 | 7 => 65,
        _ => return None,
    };
    (key.len() == length)
        .then(|| PublicKey::from_slice(key).ok())
        .flatten()
}
