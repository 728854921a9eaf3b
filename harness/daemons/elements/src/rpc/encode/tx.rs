//! Transactions.

use std::collections::BTreeMap;

use elements::confidential::{Asset, Nonce, Value};
use elements::encode::{Encodable, serialize};
use elements::hashes::sha256d;
use elements::{AssetId, OutPoint, Transaction, TxIn, TxOut, fast_merkle_root};

use super::{encode_hex, hex, script};
use crate::rpc::amount;
use crate::rpc::json::{Json, Object};

/// `TxToUniv`: a transaction in full; with `include_hex` its encoding, too.
pub(crate) fn transaction(tx: &Transaction, accept_discount_ct: bool, include_hex: bool) -> Object {
    with_prevouts(tx, accept_discount_ct, include_hex, |_| None)
}

/// As [`transaction`]; inputs get the `prevout` that is found for them.
pub(super) fn with_prevouts(
    tx: &Transaction,
    accept_discount_ct: bool,
    include_hex: bool,
    prevout: impl Fn(&OutPoint) -> Option<Object>,
) -> Object {
    let mut out = Object::new();
    out.put("txid", tx.txid().to_string());
    out.put("hash", tx.wtxid().to_string());
    out.put("wtxid", tx.wtxid().to_string());
    out.put("withash", witness_only_hash(tx));
    out.put("version", tx.version);
    out.put("size", tx.size());
    out.put("vsize", tx.vsize());
    out.put("weight", tx.weight());
    if accept_discount_ct {
        out.put("discountvsize", tx.discount_vsize());
        out.put("discountweight", tx.discount_weight());
    }
    out.put("locktime", tx.lock_time.to_consensus_u32());
    let coinbase = tx.is_coinbase();
    let inputs = tx.input.iter().map(|input| {
        let prevout = prevout(&input.previous_output);
        self::input(input, coinbase, prevout)
    });
    out.put("vin", inputs.collect::<Vec<_>>());
    let outputs = tx.output.iter().enumerate();
    let outputs = outputs.map(|(index, output)| self::output(index, output));
    out.put("vout", outputs.collect::<Vec<_>>());
    out.put("fee", fees(tx));
    if include_hex {
        out.put("hex", encode_hex(tx));
    }
    out
}

/// Fees by asset id, in the order of the ids' bytes.
fn fees(tx: &Transaction) -> Json {
    let mut fees: BTreeMap<[u8; 32], (AssetId, u64)> = BTreeMap::new();
    for output in tx.output.iter().filter(|output| output.is_fee()) {
        if let (Some(asset), Some(value)) = (output.asset.explicit(), output.value.explicit()) {
            let entry = fees.entry(asset.to_byte_array()).or_insert((asset, 0));
            entry.1 = entry.1.saturating_add(value);
        }
    }
    let mut out = Object::new();
    for (asset, fee) in fees.into_values() {
        out.put(&asset.to_string(), amount::to_json(fee));
    }
    out.into()
}

fn hash_of<T: Encodable>(value: &T) -> [u8; 32] {
    sha256d::Hash::hash(&serialize(value)).to_byte_array()
}

/// `withash`: a Merkle root over the witnesses alone.
fn witness_only_hash(tx: &Transaction) -> String {
    let root = |leaves: &[[u8; 32]]| fast_merkle_root(leaves).to_parts().0;
    let inputs: Vec<[u8; 32]> = tx
        .input
        .iter()
        .map(|input| {
            let empty = elements::TxInWitness::empty();
            // A coinbase's witness is not committed to.
            let witness = if input.previous_output.is_null() {
                &empty
            } else {
                &input.witness
            };
            root(&[
                hash_of(&witness.amount_rangeproof),
                hash_of(&witness.inflation_keys_rangeproof),
                hash_of(&witness.script_witness),
                hash_of(&witness.pegin_witness),
            ])
        })
        .collect();
    let outputs: Vec<[u8; 32]> = tx
        .output
        .iter()
        .map(|output| {
            root(&[
                hash_of(&output.witness.surjection_proof),
                hash_of(&output.witness.rangeproof),
            ])
        })
        .collect();
    let mut hash = root(&[root(&inputs), root(&outputs)]);
    hash.reverse();
    hex(&hash)
}

fn input(input: &TxIn, coinbase: bool, prevout: Option<Object>) -> Json {
    let mut out = Object::new();
    if coinbase {
        out.put("coinbase", hex(input.script_sig.as_bytes()));
    } else {
        out.put("txid", input.previous_output.txid.to_string());
        out.put("vout", input.previous_output.vout);
        let mut script_sig = Object::new();
        script_sig.put("asm", script::asm(&input.script_sig, true));
        script_sig.put("hex", hex(input.script_sig.as_bytes()));
        out.put("scriptSig", script_sig);
        out.put("is_pegin", input.is_pegin);
    }
    if let Some(prevout) = prevout {
        out.put("prevout", prevout);
    }
    out.put("sequence", input.sequence.0);
    if !input.witness.script_witness.is_empty() {
        let items = input.witness.script_witness.iter().map(hex);
        out.put("txinwitness", items.collect::<Vec<_>>());
    }
    if input.has_issuance() {
        out.put("issuance", issuance(input));
    }
    out.into()
}

fn issuance(input: &TxIn) -> Json {
    let issuance = &input.asset_issuance;
    let nonce = &issuance.asset_blinding_nonce;
    let is_new = nonce.is_null();
    let entropy = if is_new {
        let contract = issuance.asset_entropy.into_contract_hash();
        AssetId::generate_asset_entropy(input.previous_output, contract)
    } else {
        issuance.asset_entropy
    };
    let reversed = |mut bytes: [u8; 32]| {
        bytes.reverse();
        hex(&bytes)
    };
    let mut out = Object::new();
    out.put("assetBlindingNonce", reversed(nonce.to_byte_array()));
    out.put("assetEntropy", reversed(entropy.to_byte_array()));
    out.put("isreissuance", !is_new);
    if is_new {
        let confidential = issuance.amount.is_confidential();
        let token = AssetId::reissuance_token_from_entropy(entropy, confidential);
        out.put("token", token.to_string());
    }
    out.put("asset", AssetId::from_entropy(entropy).to_string());
    for (value, key) in [
        (issuance.amount, "assetamount"),
        (issuance.inflation_keys, "tokenamount"),
    ] {
        match value {
            Value::Null => {}
            Value::Explicit(sat) => out.put(key, amount::to_json(sat)),
            Value::Confidential(_) => {
                out.put(&format!("{key}commitment"), encode_hex(&value));
            }
        }
    }
    out.into()
}

fn output(index: usize, output: &TxOut) -> Json {
    let mut out = Object::new();
    match output.value {
        Value::Explicit(sat) => out.put("value", amount::to_json(sat)),
        Value::Null | Value::Confidential(_) => {
            if let Some(range) = Range::of(&output.witness.rangeproof.to_vec()) {
                range.put(&mut out);
            }
            if !output.witness.surjection_proof.is_empty() {
                let proof = output.witness.surjection_proof.to_vec();
                out.put("surjectionproof", hex(&proof));
            }
            out.put("valuecommitment", commitment_hex(&output.value));
        }
    }
    match output.asset {
        Asset::Explicit(asset) => out.put("asset", asset.to_string()),
        Asset::Null | Asset::Confidential(_) => {
            out.put("assetcommitment", commitment_hex(&output.asset));
        }
    }
    out.put("commitmentnonce", commitment_hex(&output.nonce));
    out.put(
        "commitmentnonce_fully_valid",
        matches!(output.nonce, Nonce::Confidential(_)),
    );
    out.put("n", index);
    out.put(
        "scriptPubKey",
        script::script_pub_key(&output.script_pubkey),
    );
    out.into()
}

/// A commitment's bytes; nothing for null, which elementsd keeps as an empty string of bytes.
pub(crate) fn commitment_hex<T: Encodable>(value: &T) -> String {
    let text = encode_hex(value);
    if text == "00" { String::new() } else { text }
}

/// What a range proof tells anybody.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    /// -1 for a proof of an exact value.
    exponent: i32,
    bits: u32,
    minimum: u64,
    maximum: u64,
}

impl Range {
    /// Reads the header of a proof (`secp256k1_rangeproof_info`); none when it is not one.
    fn of(proof: &[u8]) -> Option<Self> {
        let (&first, rest) = proof.split_first()?;
        if proof.len() < 65 || first & 0x80 != 0 {
            return None;
        }
        let (has_range, has_minimum) = (first & 0x40 != 0, first & 0x20 != 0);
        let (exponent, bits, rest) = if has_range {
            let (&mantissa, rest) = rest.split_first()?;
            (i32::from(first & 0x1f), u32::from(mantissa) + 1, rest)
        } else {
            (-1, 0, rest)
        };
        if exponent > 18 || bits > 64 {
            return None;
        }
        let mut span = match bits {
            0 => 0,
            bits => u64::MAX >> (64 - bits),
        };
        for _ in 0..exponent.max(0) {
            span = span.checked_mul(10)?;
        }
        let minimum = match rest.first_chunk::<8>() {
            Some(bytes) if has_minimum => u64::from_be_bytes(*bytes),
            None if has_minimum => return None,
            _ => 0,
        };
        Some(Range {
            exponent,
            bits,
            minimum,
            maximum: span.checked_add(minimum)?,
        })
    }

    fn put(&self, out: &mut Object) {
        if self.exponent == -1 {
            out.put("value", amount::to_json(self.minimum));
        } else {
            out.put("value-minimum", amount::to_json(self.minimum));
            out.put("value-maximum", amount::to_json(self.maximum));
        }
        out.put("ct-exponent", self.exponent);
        out.put("ct-bits", self.bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_range_proofs() {
        let proof = |head: &[u8]| {
            let mut bytes = head.to_vec();
            bytes.resize(100, 0);
            bytes
        };
        // The usual one: exponent 0, 52 bits, minimum 1.
        assert_eq!(
            Range::of(&proof(&[0x60, 51, 0, 0, 0, 0, 0, 0, 0, 1])),
            Some(Range {
                exponent: 0,
                bits: 52,
                minimum: 1,
                maximum: 1 << 52,
            })
        );
        // An exact value.
        assert_eq!(
            Range::of(&proof(&[0x20, 0, 0, 0, 0, 0, 0, 0, 7])),
            Some(Range {
                exponent: -1,
                bits: 0,
                minimum: 7,
                maximum: 7,
            })
        );
        for head in [
            &[0x80, 0][..],
            &[0x7f, 51],
            &[0x60, 64],
            &[0x52, 63],
            &[0x60, 63, 0xff],
        ] {
            assert_eq!(Range::of(&proof(head)), None, "{head:?}");
        }
        assert_eq!(Range::of(&[]), None);
        assert_eq!(Range::of(&[0x60]), None);
    }
}
