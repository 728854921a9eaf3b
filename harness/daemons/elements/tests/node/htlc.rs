//! The six spends of an HTLC, and the locks by themselves.

use elements::confidential::Value;
use elements::hashes::sha256;
use elements::opcodes::all::{
    OP_CHECKSIG, OP_CLTV, OP_CSV, OP_DROP, OP_ELSE, OP_ENDIF, OP_EQUALVERIFY, OP_IF, OP_SHA256,
    OP_SIZE,
};
use elements::script::Builder;
use elements::secp256k1_zkp::{Message, PublicKey, Secp256k1, SecretKey};
use elements::sighash::SighashCache;
use elements::{EcdsaSighashType, LockTime, OutPoint, Script, Transaction, Witness};
use swaprig_elements::node::{Node, Rejection};

use crate::common::{FEE, START, fund, node, spend, wsh_true};

const VALUE: u64 = 1_000_000;
const TIMEOUT: u32 = 20;
const PREIMAGE: [u8; 32] = [9; 32];

fn key(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

fn public(key: &SecretKey) -> Vec<u8> {
    PublicKey::from_secret_key(&Secp256k1::new(), key)
        .serialize()
        .to_vec()
}

/// Claim with the preimage and the first key, refund after [`TIMEOUT`] with the second.
fn htlc() -> Script {
    let hash = sha256::Hash::hash(&PREIMAGE);
    Builder::new()
        .push_opcode(OP_IF)
        .push_opcode(OP_SIZE)
        .push_int(32)
        .push_opcode(OP_EQUALVERIFY)
        .push_opcode(OP_SHA256)
        .push_slice(hash.as_byte_array())
        .push_opcode(OP_EQUALVERIFY)
        .push_slice(&public(&key(1)))
        .push_opcode(OP_ELSE)
        .push_int(i64::from(TIMEOUT))
        .push_opcode(OP_CLTV)
        .push_opcode(OP_DROP)
        .push_slice(&public(&key(2)))
        .push_opcode(OP_ENDIF)
        .push_opcode(OP_CHECKSIG)
        .into_script()
}

/// Pays `script` behind its hash and confirms that.
fn locked(node: &mut Node, script: &Script) -> OutPoint {
    let coin = fund(node, 1, VALUE)[0];
    let mut pay = spend(node, coin, VALUE, FEE, 0xffff_ffff);
    pay.output[0].script_pubkey = script.to_v0_p2wsh();
    let txid = node.accept(pay, None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    OutPoint::new(txid, 0)
}

fn sign(tx: &Transaction, script: &Script, key: &SecretKey) -> Vec<u8> {
    let value = Value::Explicit(VALUE - FEE);
    let hash = SighashCache::new(tx).segwitv0_sighash(0, script, value, EcdsaSighashType::All);
    let message = Message::from_digest(hash.to_byte_array());
    let mut signature = Secp256k1::new()
        .sign_ecdsa(&message, key)
        .serialize_der()
        .to_vec();
    signature.push(1);
    signature
}

fn unlock(node: &Node, from: OutPoint, sequence: u32, lock_time: u32) -> Transaction {
    let mut tx = spend(node, from, VALUE - FEE, FEE, sequence);
    tx.lock_time = LockTime::from_consensus(lock_time);
    tx
}

fn claim(node: &Node, from: OutPoint, preimage: &[u8], by: &SecretKey) -> Transaction {
    let mut tx = unlock(node, from, 0xffff_fffd, 0);
    let signature = sign(&tx, &htlc(), by);
    let witness = vec![signature, preimage.to_vec(), vec![1], htlc().into_bytes()];
    tx.input[0].witness.script_witness = Witness::from(witness);
    tx
}

fn refund(node: &Node, from: OutPoint, lock_time: u32, by: &SecretKey) -> Transaction {
    let mut tx = unlock(node, from, 0xffff_fffd, lock_time);
    let signature = sign(&tx, &htlc(), by);
    tx.input[0].witness.script_witness =
        Witness::from(vec![signature, vec![], htlc().into_bytes()]);
    tx
}

/// The words in brackets.
fn script_error(answer: Result<elements::Txid, Rejection>) -> String {
    let message = answer.unwrap_err().message;
    let inner = message
        .strip_prefix("mempool-script-verify-flag-failed (")
        .expect(&message);
    inner.strip_suffix(')').expect("a bracket").into()
}

#[test]
fn claims() {
    let mut node = node();
    let from = locked(&mut node, &htlc());
    let false_top =
        "Script evaluated without error but finished with a false/empty top stack element";
    let wrong = claim(&node, from, &[8; 32], &key(1));
    assert_eq!(
        script_error(node.accept(wrong, None)),
        "Script failed an OP_EQUALVERIFY operation"
    );
    let long = claim(&node, from, &[9; 33], &key(1));
    assert_eq!(
        script_error(node.accept(long, None)),
        "Script failed an OP_EQUALVERIFY operation"
    );
    let stranger = claim(&node, from, &PREIMAGE, &key(3));
    let error = script_error(node.accept(stranger, None));
    assert_eq!(
        error,
        "Signature must be zero for failed CHECK(MULTI)SIG operation"
    );
    assert_ne!(error, false_top);
    let txid = node
        .accept(claim(&node, from, &PREIMAGE, &key(1)), None)
        .unwrap();
    node.generate(1, &wsh_true()).unwrap();
    assert!(node.coin(&OutPoint::new(txid, 0)).is_some() && node.coin(&from).is_none());
}

#[test]
fn refunds() {
    let mut node = node();
    let from = locked(&mut node, &htlc());
    assert!(node.tip().height < TIMEOUT - 2);
    // Said to be later than it is: the chain knows better. Said to be earlier: the script does.
    let early = node
        .accept(refund(&node, from, TIMEOUT, &key(2)), None)
        .unwrap_err();
    assert_eq!(early.message, "non-final");
    let lying = refund(&node, from, node.tip().height, &key(2));
    assert_eq!(
        script_error(node.accept(lying, None)),
        "Locktime requirement not satisfied"
    );
    node.generate(TIMEOUT - node.tip().height - 1, &wsh_true())
        .unwrap();
    let early = node
        .accept(refund(&node, from, TIMEOUT, &key(2)), None)
        .unwrap_err();
    assert_eq!(
        early.message, "non-final",
        "the next block has the timeout's height, which is not after it"
    );
    node.generate(1, &wsh_true()).unwrap();
    let txid = node
        .accept(refund(&node, from, TIMEOUT, &key(2)), None)
        .unwrap();
    node.generate(1, &wsh_true()).unwrap();
    assert!(node.coin(&OutPoint::new(txid, 0)).is_some());
}

#[test]
fn relative_heights() {
    let mut node = node();
    let script = Builder::new().push_int(5).push_opcode(OP_CSV).into_script();
    let from = locked(&mut node, &script);
    let unlock = |node: &Node, sequence| {
        let mut tx = unlock(node, from, sequence, 0);
        tx.input[0].witness.script_witness = Witness::from(vec![script.to_bytes()]);
        tx
    };
    assert_eq!(
        script_error(node.accept(unlock(&node, 0xffff_fffd), None)),
        "Locktime requirement not satisfied"
    );
    let mut young = unlock(&node, 5);
    young.version = 1;
    assert_eq!(
        script_error(node.accept(young, None)),
        "Locktime requirement not satisfied"
    );
    for _ in 0..4 {
        assert_eq!(
            node.accept(unlock(&node, 5), None).unwrap_err().message,
            "non-BIP68-final"
        );
        node.generate(1, &wsh_true()).unwrap();
    }
    node.accept(unlock(&node, 5), None).unwrap();
}

#[test]
fn relative_times() {
    let mut node = node();
    // So that the block before the funding is not the genesis block, which is an hour older than the clock.
    node.generate(12, &wsh_true()).unwrap();
    let from = fund(&mut node, 1, VALUE)[0];
    // Two units of 512 seconds, measured between median times.
    let tx = spend(&node, from, VALUE, FEE, (1 << 22) | 2);
    assert_eq!(
        node.accept(tx.clone(), None).unwrap_err().message,
        "non-BIP68-final"
    );
    node.set_mock_time(Some(START + 1100));
    node.generate(1, &wsh_true()).unwrap();
    assert_eq!(
        node.accept(tx.clone(), None).unwrap_err().message,
        "non-BIP68-final"
    );
    node.generate(6, &wsh_true()).unwrap();
    node.accept(tx, None).unwrap();
}

#[test]
fn absolute_times_follow_the_median() {
    let mut node = node();
    let from = fund(&mut node, 1, VALUE)[0];
    let later = u32::try_from(START).unwrap() + 600;
    let mut tx = spend(&node, from, VALUE, FEE, 0);
    tx.lock_time = LockTime::from_consensus(later);
    node.set_mock_time(Some(u64::from(later) + 60));
    assert_eq!(
        node.accept(tx.clone(), None).unwrap_err().message,
        "non-final"
    );
    node.generate(6, &wsh_true()).unwrap();
    node.accept(tx, None).unwrap();
}
