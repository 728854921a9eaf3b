//! Bitcoin Core's published vectors, read from the package that carries Core's source.

#[path = "../../tests/common/asm.rs"]
mod asm;

use std::collections::HashMap;
use std::path::Path;

use asm::parse_script;
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::key::UntweakedPublicKey;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::taproot::{LeafVersion, TaprootBuilder};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use serde_json::Value;
use swaprig_script::{BitcoinSpends, Flags, ScriptError};

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CORE_TEST_DATA")).join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn parse_flags(names: &str) -> Flags {
    names
        .split(',')
        .filter(|name| !name.is_empty() && *name != "NONE")
        .fold(Flags::NONE, |flags, name| {
            flags | Flags::from_name(name).unwrap_or_else(|| panic!("unknown flag {name}"))
        })
}

/// Core's `SCRIPT_ERR_*` names, where the vectors use them.
fn expected_error(name: &str) -> ScriptError {
    use ScriptError::*;
    match name {
        "BAD_OPCODE" => BadOpcode,
        "CLEANSTACK" => CleanStack,
        "DISABLED_OPCODE" => DisabledOpcode,
        "DISCOURAGE_UPGRADABLE_NOPS" => DiscourageUpgradableNops,
        "DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM" => DiscourageUpgradableWitnessProgram,
        "EQUALVERIFY" => EqualVerify,
        "EVAL_FALSE" => EvalFalse,
        "INVALID_ALTSTACK_OPERATION" => InvalidAltstackOperation,
        "INVALID_STACK_OPERATION" => InvalidStackOperation,
        "MINIMALDATA" => MinimalData,
        "MINIMALIF" => MinimalIf,
        "NEGATIVE_LOCKTIME" => NegativeLocktime,
        "NULLFAIL" => SigNullFail,
        "NUMEQUALVERIFY" => NumEqualVerify,
        "OP_COUNT" => OpCount,
        "OP_RETURN" => OpReturn,
        "PUBKEYTYPE" => PubkeyType,
        "PUBKEY_COUNT" => PubkeyCount,
        "PUSH_SIZE" => PushSize,
        "SCRIPTNUM" => ScriptNum,
        "SCRIPT_SIZE" => ScriptSize,
        "SIG_COUNT" => SigCount,
        "SIG_DER" => SigDer,
        "SIG_HASHTYPE" => SigHashtype,
        "SIG_HIGH_S" => SigHighS,
        "SIG_NULLDUMMY" => SigNullDummy,
        "SIG_PUSHONLY" => SigPushOnly,
        "STACK_SIZE" => StackSize,
        "TAPSCRIPT_EMPTY_PUBKEY" => TapscriptEmptyPubkey,
        "UNBALANCED_CONDITIONAL" => UnbalancedConditional,
        "UNSATISFIED_LOCKTIME" => UnsatisfiedLocktime,
        "VERIFY" => Verify,
        "WITNESS_MALLEATED" => WitnessMalleated,
        "WITNESS_MALLEATED_P2SH" => WitnessMalleatedP2sh,
        "WITNESS_PROGRAM_MISMATCH" => WitnessProgramMismatch,
        "WITNESS_PROGRAM_WITNESS_EMPTY" => WitnessProgramWitnessEmpty,
        "WITNESS_PROGRAM_WRONG_LENGTH" => WitnessProgramWrongLength,
        "WITNESS_PUBKEYTYPE" => WitnessPubkeyType,
        "WITNESS_UNEXPECTED" => WitnessUnexpected,
        other => panic!("unknown error name {other}"),
    }
}

/// The two transactions of `script_tests.json`: one that makes the output, one that spends it.
fn spend(script_sig: ScriptBuf, witness: Witness, spent: &TxOut) -> Transaction {
    let transaction = |previous_output, script_sig, witness, output| Transaction {
        version: Version::ONE,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output,
            script_sig,
            sequence: Sequence::MAX,
            witness,
        }],
        output: vec![output],
    };
    let credit = transaction(
        OutPoint::null(),
        ScriptBuf::from_bytes(vec![0, 0]),
        Witness::new(),
        spent.clone(),
    );
    let output = TxOut {
        value: spent.value,
        script_pubkey: ScriptBuf::new(),
    };
    transaction(
        OutPoint::new(credit.compute_txid(), 0),
        script_sig,
        witness,
        output,
    )
}

struct TestWitness {
    items: Vec<Vec<u8>>,
    amount: Amount,
    output_key: Option<[u8; 32]>,
}

/// The first element of a vector: witness items, some of them words for parts of a taproot output, then the amount.
fn parse_witness(items: &[Value]) -> TestWitness {
    let (amount, items) = items.split_last().expect("an amount at least");
    let mut parsed = TestWitness {
        items: Vec::new(),
        amount: Amount::from_btc(amount.as_f64().expect("a number")).expect("an amount"),
        output_key: None,
    };
    let mut control = None;
    for item in items {
        let item = item.as_str().expect("witness items are strings");
        if let Some(script) = item.strip_prefix("#SCRIPT#") {
            let script = ScriptBuf::from_bytes(parse_script(script));
            let internal: UntweakedPublicKey =
                "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0"
                    .parse()
                    .expect("BIP341's point without a known key");
            let info = TaprootBuilder::new()
                .add_leaf(0, script.clone())
                .expect("one leaf")
                .finalize(&Secp256k1::new(), internal)
                .expect("a whole tree");
            parsed.output_key = Some(info.output_key().to_x_only_public_key().serialize());
            control = info.control_block(&(script.clone(), LeafVersion::TapScript));
            parsed.items.push(script.into_bytes());
        } else if item == "#CONTROLBLOCK#" {
            let control = control.as_ref().expect("the script comes first");
            parsed.items.push(control.serialize());
        } else {
            parsed.items.push(asm::unhex(item));
        }
    }
    parsed
}

#[test]
fn script_tests() {
    let mut failures = Vec::new();
    let mut count = 0;
    for test in vectors("script_tests.json").as_array().expect("a list") {
        let fields = test.as_array().expect("a list of lists");
        if fields.len() < 4 {
            continue;
        }
        count += 1;
        let (witness, rest) = match fields[0].as_array() {
            Some(items) => (parse_witness(items), &fields[1..]),
            None => (parse_witness(&[Value::from(0)]), &fields[..]),
        };
        let text = |i: usize| rest[i].as_str().expect("a string");
        let script_pubkey = match witness.output_key {
            Some(key) => [&[0x51, 32], &key[..]].concat(),
            None => parse_script(text(1)),
        };
        let spent = TxOut {
            value: witness.amount,
            script_pubkey: ScriptBuf::from_bytes(script_pubkey),
        };
        let mut flags = parse_flags(text(2));
        if flags.contains(Flags::CLEANSTACK) {
            flags = flags | Flags::P2SH | Flags::WITNESS;
        }
        let script_sig = ScriptBuf::from_bytes(parse_script(text(0)));
        let tx = spend(script_sig, Witness::from_slice(&witness.items), &spent);
        let spent = [spent];
        let verdict = BitcoinSpends::new(&tx, &spent)
            .expect("one input, one output")
            .verify(0, flags);
        let expected = match text(3) {
            "OK" => Ok(()),
            name => Err(expected_error(name)),
        };
        if verdict != expected {
            failures.push(format!("{test}: {verdict:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 1_200, "only {count} vectors were found");
}

/// A transaction with the outputs it spends and a set of flags, from `tx_valid.json` or `tx_invalid.json`.
struct TxVector {
    tx: Transaction,
    spent: Vec<TxOut>,
    flags: Flags,
}

fn tx_vectors(name: &str) -> Vec<(String, TxVector)> {
    let all = vectors(name);
    all.as_array()
        .expect("a list")
        .iter()
        .filter(|test| test[0].is_array() && test[2] != "BADTX")
        .map(|test| (test.to_string(), tx_vector(test)))
        .collect()
}

fn tx_vector(test: &Value) -> TxVector {
    let tx: Transaction = deserialize_hex(test[1].as_str().expect("hex")).expect("a transaction");
    let outputs: HashMap<OutPoint, TxOut> = test[0]
        .as_array()
        .expect("a list")
        .iter()
        .map(|output| {
            let txid: Txid = output[0].as_str().expect("hex").parse().expect("a txid");
            // -1 stands for the last number there is.
            let vout = output[1].as_i64().expect("a number") as u32;
            let script = parse_script(output[2].as_str().expect("a script"));
            let value = output.get(3).map_or(0, |n| n.as_u64().expect("satoshis"));
            (
                OutPoint::new(txid, vout),
                TxOut {
                    value: Amount::from_sat(value),
                    script_pubkey: ScriptBuf::from_bytes(script),
                },
            )
        })
        .collect();
    let spent = tx
        .input
        .iter()
        .map(|input| outputs[&input.previous_output].clone())
        .collect();
    TxVector {
        tx,
        spent,
        flags: parse_flags(test[2].as_str().expect("flags")),
    }
}

fn verify_all(vector: &TxVector, flags: Flags) -> Result<(), ScriptError> {
    let spends = BitcoinSpends::new(&vector.tx, &vector.spent)?;
    (0..vector.spent.len()).try_for_each(|i| spends.verify(i, flags))
}

#[test]
fn tx_valid() {
    let vectors = tx_vectors("tx_valid.json");
    assert!(vectors.len() > 110, "only {} vectors", vectors.len());
    for (text, vector) in vectors {
        // The vector names the flags under which it would not be valid.
        let flags = Flags::from_bits(!vector.flags.bits());
        assert_eq!(verify_all(&vector, flags), Ok(()), "{text}");
        assert_eq!(verify_all(&vector, Flags::NONE), Ok(()), "{text}");
    }
}

#[test]
fn tx_invalid() {
    let vectors = tx_vectors("tx_invalid.json");
    assert!(vectors.len() > 60, "only {} vectors", vectors.len());
    for (text, vector) in vectors {
        assert!(verify_all(&vector, vector.flags).is_err(), "{text}");
    }
}

#[test]
fn bip341_key_path_spends() {
    let all = vectors("bip341_wallet_vectors.json");
    let tests = all["keyPathSpending"].as_array().expect("a list");
    assert!(!tests.is_empty());
    for test in tests {
        let tx = test["auxiliary"]["fullySignedTx"].as_str().expect("hex");
        let spent: Vec<TxOut> = test["given"]["utxosSpent"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|output| TxOut {
                value: Amount::from_sat(output["amountSats"].as_u64().expect("satoshis")),
                script_pubkey: ScriptBuf::from_bytes(asm::unhex(
                    output["scriptPubKey"].as_str().expect("hex"),
                )),
            })
            .collect();
        let mut vector = TxVector {
            tx: deserialize_hex(tx).expect("a transaction"),
            spent,
            flags: Flags::BITCOIN_STANDARD,
        };
        assert_eq!(verify_all(&vector, vector.flags), Ok(()));
        // Taproot signatures commit to every output spent.
        vector.spent[0].value += Amount::ONE_SAT;
        assert!(verify_all(&vector, vector.flags).is_err());
    }
}
