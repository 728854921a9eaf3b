//! Blinded amounts and assets: true ones pass, every lie is found.

use elements::confidential::{Nonce, Value};
use elements::secp256k1_zkp::rand::{SeedableRng, rngs::StdRng};
use elements::secp256k1_zkp::{PublicKey, Secp256k1, SecretKey};
use elements::{OutPoint, RangeProof, SurjectionProof, Transaction, TxOut};
use swaprig_elements::node::{FeeRate, Node};

use crate::assets::explicit_secrets;
use crate::common::{FEE, fund, node, output, spend, wsh_true};

const VALUE: u64 = 1_000_000;

/// Two blinded outputs and a fee.
pub(crate) fn blinded(node: &Node, from: OutPoint, fee: u64, seed: u64) -> Transaction {
    let secp = Secp256k1::new();
    let key = PublicKey::from_secret_key(&secp, &SecretKey::from_slice(&[3; 32]).unwrap());
    let lbtc = node.policy_asset();
    let mut tx = spend(node, from, VALUE, fee, 0xffff_ffff);
    tx.output[0].value = Value::Explicit(VALUE - fee - 300_000);
    tx.output.insert(0, output(lbtc, 300_000, wsh_true()));
    for output in &mut tx.output[..2] {
        output.nonce = Nonce::Confidential(key);
    }
    let spent = explicit_secrets(lbtc, VALUE);
    tx.blind(&mut StdRng::seed_from_u64(seed), &secp, &[spent], false)
        .unwrap();
    tx
}

#[test]
fn discounted_fees() {
    let mut node = node();
    let coins = fund(&mut node, 2, VALUE);
    let probe = blinded(&node, coins[0], FEE, 1);
    let fee = FeeRate::from_sat_per_kvb(100).fee(probe.discount_vsize() as u64);
    assert!(
        fee < FeeRate::from_sat_per_kvb(100).fee(probe.vsize() as u64) / 5,
        "the discount is large"
    );
    let message = format!("min relay fee not met, {} < {fee}", fee - 1);
    assert_eq!(
        node.accept(blinded(&node, coins[0], fee - 1, 2), None)
            .unwrap_err()
            .message,
        message
    );
    let txid = node.accept(blinded(&node, coins[0], fee, 3), None).unwrap();
    let entry = node.mempool().get(&txid).unwrap();
    assert_eq!((entry.fee, entry.vsize), (fee, entry.tx.vsize() as u64));
    assert_eq!(entry.discount_vsize, entry.tx.discount_vsize() as u64);
    // Blocks take it at the discounted rate too.
    node.generate(1, &wsh_true()).unwrap();
    assert!(node.mempool().is_empty());
    assert!(
        node.coin(&OutPoint::new(txid, 1))
            .unwrap()
            .output
            .value
            .is_confidential()
    );
}

type Lie = Box<dyn Fn(&mut Transaction, &Transaction)>;

#[test]
fn lies() {
    let mut node = node();
    let coins = fund(&mut node, 2, VALUE);
    let honest = blinded(&node, coins[0], FEE, 1);
    let other = blinded(&node, coins[1], FEE, 2);
    let table: Vec<(&str, Lie)> = vec![
        (
            "no range proof",
            Box::new(|tx, _| tx.output[0].witness.rangeproof = RangeProof::EMPTY),
        ),
        (
            "another range proof",
            Box::new(|tx, other| {
                tx.output[0].witness.rangeproof = other.output[0].witness.rangeproof.clone();
            }),
        ),
        (
            "a range proof on an explicit value",
            Box::new(|tx, other| {
                tx.output[2].witness.rangeproof = other.output[0].witness.rangeproof.clone();
            }),
        ),
        (
            "a surjection proof on an explicit asset",
            Box::new(|tx, other| {
                tx.output[2].witness.surjection_proof =
                    other.output[0].witness.surjection_proof.clone();
            }),
        ),
        (
            "no surjection proof",
            Box::new(|tx, _| tx.output[1].witness.surjection_proof = SurjectionProof::EMPTY),
        ),
        (
            "another surjection proof",
            Box::new(|tx, other| {
                tx.output[1].witness.surjection_proof =
                    other.output[1].witness.surjection_proof.clone();
            }),
        ),
        (
            "another amount",
            Box::new(|tx, other| tx.output[0].value = other.output[0].value),
        ),
        (
            "another asset",
            Box::new(|tx, other| tx.output[0].asset = other.output[0].asset),
        ),
        (
            "another script",
            Box::new(|tx, _| {
                tx.output[0].script_pubkey = elements::Script::from(vec![0x51]);
            }),
        ),
        (
            "a higher fee",
            Box::new(|tx, _| tx.output[2].value = Value::Explicit(FEE + 1)),
        ),
        (
            "swapped outputs",
            Box::new(|tx, _| {
                let [one, two, ..] = &mut tx.output[..] else {
                    unreachable!()
                };
                std::mem::swap(&mut one.value, &mut two.value);
            }),
        ),
    ];
    for (what, lie) in table {
        let mut tx = honest.clone();
        lie(&mut tx, &other);
        assert_eq!(
            node.accept(tx.clone(), None).unwrap_err().reason,
            "bad-txns-in-ne-out",
            "{what}"
        );
        assert_eq!(
            node.generate_block(&wsh_true(), vec![tx])
                .unwrap_err()
                .reason,
            "bad-txns-in-ne-out",
            "{what}"
        );
    }
    node.accept(honest, None).unwrap();
    node.generate_block(&wsh_true(), vec![other]).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    assert!(node.mempool().is_empty());
}

#[test]
fn blinded_tokens_of_nothing_cannot_be_made() {
    // A spendable explicit zero, in a block so that relay does not get in the way.
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let mut tx = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    tx.output.push(output(node.policy_asset(), 0, wsh_true()));
    assert_eq!(
        node.generate_block(&wsh_true(), vec![tx])
            .unwrap_err()
            .reason,
        "bad-txns-in-ne-out"
    );
}

#[test]
fn a_blinded_coin_is_spent_with_its_secrets() {
    let secp = Secp256k1::new();
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let tx = blinded(&node, coins[0], FEE, 1);
    let txid = node.accept(tx.clone(), None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    let secrets = tx.output[0]
        .unblind(&secp, SecretKey::from_slice(&[3; 32]).unwrap())
        .unwrap();
    assert_eq!(
        (secrets.value, secrets.asset),
        (300_000, node.policy_asset())
    );
    let key = PublicKey::from_secret_key(&secp, &SecretKey::from_slice(&[4; 32]).unwrap());
    let mut on = spend(&node, OutPoint::new(txid, 0), 300_000, FEE, 0xffff_ffff);
    on.output[0].nonce = Nonce::Confidential(key);
    on.blind(&mut StdRng::seed_from_u64(5), &secp, &[secrets], false)
        .unwrap();
    node.accept(on, None).unwrap();
    // Explicit again: what is left of the blinding factors goes into an output of nothing that can be spent by nobody,
    // which is not possible here, so it is refused.
    let open = spend(&node, OutPoint::new(txid, 0), 300_000, 2 * FEE, 0xffff_ffff);
    assert_eq!(
        node.accept(open, None).unwrap_err().reason,
        "txn-mempool-conflict"
    );
    assert!(
        node.mempool()
            .iter()
            .all(|entry| entry.tx.output.iter().any(TxOut::is_fee))
    );
}
