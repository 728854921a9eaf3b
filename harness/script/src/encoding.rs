//! How signatures, keys and pushes must be encoded, under the flags that ask for it.

use bitcoin::secp256k1::ecdsa;

use crate::opcode::*;
use crate::{Chain, Flags, ScriptError, SigVersion};

/// BIP66, BIP62's low S, and the hash types that have a name; an empty signature is always well encoded.
pub(crate) fn check_signature(
    signature: &[u8],
    flags: Flags,
    chain: Chain,
) -> Result<(), ScriptError> {
    let Some((hash_type, der)) = signature.split_last() else {
        return Ok(());
    };
    if flags.intersects(Flags::DERSIG | Flags::LOW_S | Flags::STRICTENC) && !is_strict_der(der) {
        return Err(ScriptError::SigDer);
    }
    if flags.contains(Flags::LOW_S) && !has_low_s(der) {
        return Err(ScriptError::SigHighS);
    }
    if flags.contains(Flags::STRICTENC) && !is_defined_hash_type(*hash_type, flags, chain) {
        return Err(ScriptError::SigHashtype);
    }
    Ok(())
}

/// STRICTENC, and in segwit v0 WITNESS_PUBKEYTYPE.
pub(crate) fn check_public_key(
    key: &[u8],
    flags: Flags,
    version: SigVersion,
) -> Result<(), ScriptError> {
    let compressed = matches!((key.first(), key.len()), (Some(2 | 3), 33));
    let uncompressed = matches!((key.first(), key.len()), (Some(4), 65));
    if flags.contains(Flags::STRICTENC) && !compressed && !uncompressed {
        return Err(ScriptError::PubkeyType);
    }
    let witness = version == SigVersion::WitnessV0 && flags.contains(Flags::WITNESS_PUBKEYTYPE);
    if witness && !compressed {
        return Err(ScriptError::WitnessPubkeyType);
    }
    Ok(())
}

/// Whether a push of `data` by `op` could not have been shorter.
pub(crate) fn is_minimal_push(op: u8, data: &[u8]) -> bool {
    match data {
        [] => op == OP_0,
        [1..=16 | 0x81] => false,
        _ => match data.len() {
            0..=0x4b => usize::from(op) == data.len(),
            0x4c..=0xff => op == OP_PUSHDATA1,
            0x100..=0xffff => op == OP_PUSHDATA2,
            _ => true,
        },
    }
}

fn is_defined_hash_type(hash_type: u8, flags: Flags, chain: Chain) -> bool {
    let mut output = hash_type & !0x80;
    if chain == Chain::Elements && flags.contains(Flags::SIGHASH_RANGEPROOF) {
        output &= !0x40;
    }
    (1..=3).contains(&output)
}

/// BIP66's grammar, the hash type byte already taken off.
fn is_strict_der(der: &[u8]) -> bool {
    if !(8..=72).contains(&der.len()) || der[0] != 0x30 || usize::from(der[1]) != der.len() - 2 {
        return false;
    }
    let Some(rest) = der_integer(&der[2..]) else {
        return false;
    };
    der_integer(rest) == Some(&[])
}

/// Takes one DER integer that is not negative and not padded; gives what follows it.
fn der_integer(der: &[u8]) -> Option<&[u8]> {
    let (head, rest) = der.split_at_checked(2)?;
    let (value, rest) = rest.split_at_checked(usize::from(head[1]))?;
    let padded = value.len() > 1 && value[0] == 0 && value[1] & 0x80 == 0;
    let negative = *value.first()? & 0x80 != 0;
    (head[0] == 0x02 && !padded && !negative).then_some(rest)
}

fn has_low_s(der: &[u8]) -> bool {
    let Ok(signature) = ecdsa::Signature::from_der_lax(der) else {
        return false;
    };
    let mut normalized = signature;
    normalized.normalize_s();
    normalized == signature
}
