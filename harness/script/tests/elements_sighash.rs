//! Elements' signature hashes, held to those of another library.
//!
//! `data/elements_sighash.json` was made once: six random transactions (explicit and confidential outputs; issuances, one of
//! them reissuable, one blinded), built with the `elements` crate and real range and surjection proofs; for each input the hashes
//! that libwally (`wallycore` 1.5.6 of the Python package index, `tx_get_input_signature_hash`) computes. libwally has
//! SIGHASH_RANGEPROOF for segwit v0 only. Left out: legacy SIGHASH_SINGLE beyond the first input, where libwally blanks the
//! other outputs as Bitcoin does (value -1) and Elements, as the `elements` crate, writes an empty Elements output.

use bitcoin::hashes::{Hash, HashEngine, sha256};
use elements::encode::deserialize;
use elements::sighash::SighashCache;
use elements::{BlockHash, EcdsaSighashType, Transaction, TxOut};
use serde_json::Value;
use swaprig_script::{Checker, ElementsSpends, Flags, SigVersion, TaprootContext};

const VECTORS: &str = include_str!("data/elements_sighash.json");

#[test]
fn hashes_are_libwallys() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).expect("JSON");
    let mut count = 0;
    for vector in &vectors {
        let tx: Transaction = decode(&vector["transaction"]);
        let spent: Vec<TxOut> = vector["spent"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|output| TxOut {
                asset: decode(&output["asset"]),
                value: decode(&output["value"]),
                script_pubkey: decode(&output["script_pubkey"]),
                ..TxOut::default()
            })
            .collect();
        let genesis: BlockHash = text(&vector["genesis"]).parse().expect("a block hash");
        let spends = ElementsSpends::new(&tx, &spent, genesis).expect("one output for each input");
        let script = unhex(text(&vector["script"]));
        for wanted in vector["hashes"].as_array().expect("a list") {
            assert_eq!(
                hash(&spends, &script, wanted).map(|hash| hex(&hash)),
                Some(text(&wanted["hash"]).to_owned()),
                "{wanted}"
            );
            count += 1;
        }
    }
    assert!(count > 500, "only {count} hashes");
}

fn hash(spends: &ElementsSpends<'_>, script: &[u8], wanted: &Value) -> Option<[u8; 32]> {
    let index = wanted["input"].as_u64().expect("a number") as usize;
    let hash_type = wanted["hash_type"].as_u64().expect("a number") as u8;
    let checker = spends.input(index).expect("the input exists");
    let annex = wanted.get("annex").map(|annex| unhex(text(annex)));
    let ecdsa =
        |version| Some(checker.ecdsa_sighash(script, hash_type, version, Flags::ELEMENTS_STANDARD));
    let taproot = |leaf| checker.taproot_sighash(hash_type, &TaprootContext { annex, leaf });
    match text(&wanted["kind"]) {
        "legacy" => ecdsa(SigVersion::Legacy),
        "v0" => ecdsa(SigVersion::WitnessV0),
        "taproot" => taproot(None),
        "tapscript" => taproot(Some((leaf_hash(script), u32::MAX))),
        other => panic!("unknown kind {other}"),
    }
}

/// The leaf hash that libwally takes: Elements' tag, but Bitcoin's tapscript version also on Elements, where it is `0xc4`.
/// That version is tested with the spends in `htlc.rs`.
fn leaf_hash(script: &[u8]) -> [u8; 32] {
    let tag = sha256::Hash::hash(b"TapLeaf/elements");
    let mut engine = sha256::Hash::engine();
    engine.input(&tag[..]);
    engine.input(&tag[..]);
    engine.input(&[0xc0, u8::try_from(script.len()).expect("short")]);
    engine.input(script);
    sha256::Hash::from_engine(engine).to_byte_array()
}

/// Every hash type with a name, also as the `elements` crate computes it: that fills the gap the vectors leave.
///
/// Not with an issuance: the crate then signs an outpoint with the issuance's bit in it. Elements and libwally do not.
#[test]
fn legacy_hashes_are_the_elements_crates() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).expect("JSON");
    for vector in &vectors {
        let tx: Transaction = decode(&vector["transaction"]);
        if tx.input.iter().any(elements::TxIn::has_issuance) {
            continue;
        }
        let spent = vec![TxOut::default(); tx.input.len()];
        let genesis = BlockHash::from_byte_array([0; 32]);
        let spends = ElementsSpends::new(&tx, &spent, genesis).expect("one for each input");
        let script = elements::Script::from(unhex(text(&vector["script"])));
        for index in 0..tx.input.len() {
            let checker = spends.input(index).expect("the input exists");
            // The crate hashes the number one once more where there is no output for SIGHASH_SINGLE.
            let types: &[u8] = match index < tx.output.len() {
                true => &[1, 2, 3, 0x81, 0x82, 0x83],
                false => &[1, 2, 0x81, 0x82],
            };
            for hash_type in types {
                let theirs = SighashCache::new(&tx).legacy_sighash(
                    index,
                    &script,
                    EcdsaSighashType::from_u32(u32::from(*hash_type)),
                );
                let ours = checker.ecdsa_sighash(
                    script.as_bytes(),
                    *hash_type,
                    SigVersion::Legacy,
                    Flags::ELEMENTS_STANDARD,
                );
                assert_eq!(ours, theirs.to_byte_array(), "{index} {hash_type:#x}");
            }
        }
    }
}

/// The range-proof bit means nothing before dynamic federations: the proofs are not covered, the byte is signed as it is.
#[test]
fn without_its_flag_rangeproof_is_only_a_byte() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).expect("JSON");
    let mut tx: Transaction = decode(&vectors[1]["transaction"]);
    let spent = vec![TxOut::default(); tx.input.len()];
    let with_proofs = tx.output.iter().position(|o| !o.witness.is_empty());
    let with_proofs = with_proofs.expect("a confidential output");
    let hashes = |tx: &Transaction| {
        let spends = ElementsSpends::new(tx, &spent, BlockHash::from_byte_array([0; 32]))
            .expect("one for each input");
        let checker = spends.input(0).expect("the input exists");
        [SigVersion::Legacy, SigVersion::WitnessV0].map(|version| {
            [Flags::ELEMENTS_STANDARD, Flags::BITCOIN_CONSENSUS]
                .map(|flags| checker.ecdsa_sighash(&[0x51], 0x41, version, flags))
        })
    };
    let before = hashes(&tx);
    tx.output[with_proofs].witness = elements::TxOutWitness::default();
    for (before, after) in before.iter().zip(hashes(&tx)) {
        assert_ne!(before[0], after[0], "with the flag the proofs are covered");
        assert_eq!(before[1], after[1], "without it they are not");
    }
}

fn decode<T: elements::encode::Decodable>(value: &Value) -> T {
    deserialize(&unhex(text(value))).expect("a vector decodes")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
