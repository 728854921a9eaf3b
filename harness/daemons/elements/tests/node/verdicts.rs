//! What elementsd says to wrong transactions: the measured table, word for word.

use elements::confidential::Value;
use elements::{LockTime, OutPoint, Script, Transaction, TxOut, Txid};
use swaprig_elements::node::{FeeRate, Node, Params};

use crate::common::{FEE, fund, input, node, output, spend, spend_wsh, tx, with, wsh_true};

const VALUE: u64 = 1_000_000;

/// Both answers: `reject-reason` of `testmempoolaccept`, code and message of `sendrawtransaction`.
fn refused(node: &Node, tx: &Transaction) -> (String, i32, String) {
    let before = node.mempool().len();
    let test = node
        .test_accept(std::slice::from_ref(tx), None)
        .remove(0)
        .verdict
        .unwrap()
        .unwrap_err();
    let sent = node.clone().accept(tx.clone(), None).unwrap_err();
    assert_eq!(test, sent);
    assert_eq!(node.mempool().len(), before);
    (sent.reason, sent.code, sent.message)
}

fn verdict(reason: &str, code: i32, message: &str) -> (String, i32, String) {
    (reason.into(), code, message.into())
}

#[test]
fn value_out_is_not_value_in() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let unequal = verdict(
        "bad-txns-in-ne-out",
        -26,
        "bad-txns-in-ne-out, value in != value out",
    );
    for off in [-1_i64, 1] {
        let mut tx = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
        tx.output[0].value = Value::Explicit((VALUE - FEE).checked_add_signed(off).unwrap());
        assert_eq!(refused(&node, &tx), unequal);
    }
    let mut other_asset = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    other_asset.output[0].asset =
        elements::confidential::Asset::Explicit(elements::AssetId::LIQUID_BTC);
    assert_eq!(refused(&node, &other_asset), unequal);
}

#[test]
fn too_small_a_fee() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let none = tx(
        vec![spend_wsh(coins[0], 0xffff_ffff)],
        vec![output(node.policy_asset(), VALUE, wsh_true())],
    );
    let (reason, code, message) = refused(&node, &none);
    assert_eq!((reason.as_str(), code), ("min relay fee not met", -26));
    assert!(
        message.starts_with("min relay fee not met, 0 < "),
        "{message}"
    );
    let small = spend(&node, coins[0], VALUE, 1, 0xffff_ffff);
    let wanted = FeeRate::from_sat_per_kvb(100).fee(small.vsize() as u64);
    let message = format!("min relay fee not met, 1 < {wanted}");
    assert_eq!(
        refused(&node, &small),
        verdict("min relay fee not met", -26, &message)
    );
}

#[test]
fn dust() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let dust = verdict("dust", -26, "dust");
    for value in [0, 1] {
        let mut tx = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
        tx.output[0].value = Value::Explicit(VALUE - FEE - value);
        tx.output
            .push(output(node.policy_asset(), value, wsh_true()));
        assert_eq!(refused(&node, &tx), dust);
    }
    let mut enough = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    enough.output[0].value = Value::Explicit(VALUE - FEE - 100);
    enough
        .output
        .push(output(node.policy_asset(), 100, wsh_true()));
    node.accept(enough, None).unwrap();
}

#[test]
fn locks() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let mut absolute = spend(&node, coins[0], VALUE, FEE, 0);
    absolute.lock_time = LockTime::from_consensus(node.tip().height + 1);
    assert_eq!(
        refused(&node, &absolute),
        verdict("non-final", -26, "non-final")
    );
    let relative = spend(&node, coins[0], VALUE, FEE, 50);
    assert_eq!(
        refused(&node, &relative),
        verdict("non-BIP68-final", -26, "non-BIP68-final")
    );
}

#[test]
fn unknown_inputs() {
    let mut node = node();
    fund(&mut node, 1, VALUE);
    let nowhere = OutPoint::new(Txid::from_byte_array([7; 32]), 0);
    let tx = spend(&node, nowhere, VALUE, FEE, 0xffff_ffff);
    assert_eq!(
        refused(&node, &tx),
        verdict("missing-inputs", -25, "bad-txns-inputs-missingorspent")
    );
}

#[test]
fn scripts_that_fail() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let key_hash = Script::from_hex_no_prefix(&format!("0014{}", "11".repeat(20))).unwrap();
    let mut pay = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    pay.output[0].script_pubkey = key_hash;
    let txid = node.accept(pay, None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    let mut tx = spend(&node, OutPoint::new(txid, 0), VALUE - FEE, FEE, 0xffff_ffff);
    tx.input = vec![input(OutPoint::new(txid, 0), 0xffff_ffff)];
    let reason = "mempool-script-verify-flag-failed (Witness program hash mismatch)";
    assert_eq!(refused(&node, &tx), verdict(reason, -26, reason));
}

#[test]
fn conflicts_and_replacements() {
    let mut node = node();
    let coins = fund(&mut node, 2, VALUE);
    let first = node
        .accept(spend(&node, coins[0], VALUE, FEE, 0xffff_ffff), None)
        .unwrap();
    let conflict = spend(&node, coins[0], VALUE, 10 * FEE, 0xffff_ffff);
    assert_eq!(
        refused(&node, &conflict),
        verdict("txn-mempool-conflict", -26, "txn-mempool-conflict")
    );
    assert!(node.mempool().contains(&first));
    let old = spend(&node, coins[1], VALUE, FEE, 0xffff_fffd);
    let old_rate = FeeRate::paid(FEE, old.vsize() as u64);
    let replaced = node.accept(old, None).unwrap();
    let lower = spend(&node, coins[1], VALUE, FEE - 1, 0xffff_fffd);
    let rate = FeeRate::paid(FEE - 1, lower.vsize() as u64);
    let txid = lower.txid();
    let message = format!(
        "insufficient fee, rejecting replacement {txid}; new feerate {rate} <= old feerate {old_rate}"
    );
    assert_eq!(
        refused(&node, &lower),
        verdict("insufficient fee", -26, &message)
    );
    let better = node
        .accept(spend(&node, coins[1], VALUE, 2 * FEE, 0xffff_fffd), None)
        .unwrap();
    assert!(!node.mempool().contains(&replaced) && node.mempool().contains(&better));
}

#[test]
fn a_replacement_pays_for_its_own_relay() {
    let mut node = node();
    let coins = fund(&mut node, 2, VALUE);
    node.accept(spend(&node, coins[0], VALUE, FEE, 0xffff_fffd), None)
        .unwrap();
    let more = spend(&node, coins[0], VALUE, FEE + 1, 0xffff_fffd);
    let message = refused(&node, &more).2;
    assert!(
        message.contains("not enough additional fees to relay; 0.00000001 < 0.0000001"),
        "{message}"
    );
    // Larger by an input, at a higher rate than what it conflicts with, but with a child's fee to beat.
    let parent = node.mempool().iter().next().unwrap().txid;
    node.accept(
        spend(
            &node,
            OutPoint::new(parent, 0),
            VALUE - FEE,
            50 * FEE,
            0xffff_fffd,
        ),
        None,
    )
    .unwrap();
    let message = refused(&node, &spend(&node, coins[0], VALUE, 20 * FEE, 0xffff_fffd)).2;
    assert!(
        message.contains("less fees than conflicting txs; 0.0002 < 0.00051"),
        "{message}"
    );
    // A new input that nobody has confirmed.
    let waiting = node
        .accept(spend(&node, coins[1], VALUE, FEE, 0xffff_ffff), None)
        .unwrap();
    let mut adds = spend(&node, coins[0], VALUE, 100 * FEE, 0xffff_fffd);
    adds.input
        .push(spend_wsh(OutPoint::new(waiting, 0), 0xffff_fffd));
    adds.output
        .push(output(node.policy_asset(), VALUE - FEE, wsh_true()));
    let (reason, _, message) = refused(&node, &adds);
    assert_eq!(reason, "replacement-adds-unconfirmed");
    assert!(
        message.ends_with("adds unconfirmed input, idx 1"),
        "{message}"
    );
}

#[test]
fn young_coinbases() {
    let mut node = node();
    fund(&mut node, 1, VALUE);
    let coinbase = node.block(&node.tip().hash).unwrap().txids()[0];
    let tx = spend(&node, OutPoint::new(coinbase, 0), 100_000, FEE, 0xffff_ffff);
    let reason = "bad-txns-premature-spend-of-coinbase";
    let message = format!("{reason}, tried to spend coinbase at depth 1");
    assert_eq!(refused(&node, &tx), verdict(reason, -26, &message));
    node.generate(98, &wsh_true()).unwrap();
    assert_eq!(
        refused(&node, &tx).2,
        format!("{reason}, tried to spend coinbase at depth 99")
    );
    node.generate(1, &wsh_true()).unwrap();
    node.accept(tx, None).unwrap();
}

#[test]
fn fees_above_the_senders_maximum() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let tx = spend(&node, coins[0], VALUE, 500_000, 0xffff_ffff);
    let max = Some(FeeRate::from_sat_per_kvb(10_000));
    let error = node.accept(tx.clone(), max).unwrap_err();
    let message = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)";
    assert_eq!(
        (error.reason.as_str(), error.code, error.message.as_str()),
        ("max-fee-exceeded", -25, message)
    );
    assert_eq!(
        node.test_accept(std::slice::from_ref(&tx), max)[0]
            .verdict
            .clone()
            .unwrap()
            .unwrap_err(),
        error
    );
    assert!(node.mempool().is_empty());
    node.accept(tx, Some(FeeRate::from_sat_per_kvb(0))).unwrap();
}

#[test]
fn the_same_transaction_again() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let tx = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    let txid = node.accept(tx.clone(), None).unwrap();
    assert_eq!(node.accept(tx.clone(), None), Ok(txid));
    let test = node
        .test_accept(std::slice::from_ref(&tx), None)
        .remove(0)
        .verdict
        .unwrap()
        .unwrap_err();
    assert_eq!(test.reason, "txn-already-in-mempool");
    node.generate(1, &wsh_true()).unwrap();
    let error = node.accept(tx.clone(), None).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (-27, "Transaction already in block chain")
    );
    let test = node
        .test_accept(std::slice::from_ref(&tx), None)
        .remove(0)
        .verdict
        .unwrap()
        .unwrap_err();
    assert_eq!(test.reason, "txn-already-known");
}

#[test]
fn long_chains() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let mut from = coins[0];
    for depth in 0..25_u64 {
        let tx = spend(&node, from, VALUE - depth * FEE, FEE, 0xffff_ffff);
        from = OutPoint::new(node.accept(tx, None).unwrap(), 0);
    }
    let (reason, code, message) = refused(
        &node,
        &spend(&node, from, VALUE - 25 * FEE, FEE, 0xffff_ffff),
    );
    assert_eq!((reason.as_str(), code), ("too-long-mempool-chain", -26));
    let expected = "too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]";
    assert_eq!(message, expected);
    assert_eq!(node.mempool().ancestors(&from.txid).len(), 24);
    node.generate(1, &wsh_true()).unwrap();
    assert!(node.mempool().is_empty());
    node.accept(spend(&node, from, VALUE - 25 * FEE, FEE, 0xffff_ffff), None)
        .unwrap();
}

type Spoil = Box<dyn Fn(&mut Transaction)>;

#[test]
fn wrong_shapes() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let good = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    let table: Vec<(&str, Spoil)> = vec![
        ("bad-txns-vin-empty", Box::new(|tx| tx.input.clear())),
        ("bad-txns-vout-empty", Box::new(|tx| tx.output.clear())),
        (
            "bad-txns-vout-negative",
            Box::new(|tx| tx.output[0].value = Value::Explicit(u64::MAX)),
        ),
        (
            "bad-txns-vout-toolarge",
            Box::new(|tx| tx.output[0].value = Value::Explicit(1 << 60)),
        ),
        (
            "bad-txns-txouttotal-toolarge",
            Box::new(|tx| {
                tx.output[0].value = Value::Explicit(2_100_000_000_000_000);
            }),
        ),
        (
            "bad-txns-inputs-duplicate",
            Box::new(|tx| tx.input.push(tx.input[0].clone())),
        ),
        (
            "bad-cb-length",
            Box::new(|tx| tx.input[0].previous_output = OutPoint::null()),
        ),
        (
            "coinbase",
            Box::new(|tx| {
                tx.input[0].previous_output = OutPoint::null();
                tx.input[0].script_sig = Script::from(vec![0x51, 0x51]);
                tx.output.pop();
            }),
        ),
        (
            "bad-txns-prevout-null",
            Box::new(|tx| {
                tx.input.push(tx.input[0].clone());
                tx.input[1].previous_output = OutPoint::null();
            }),
        ),
        ("version", Box::new(|tx| tx.version = 3)),
        (
            "scriptsig-size",
            Box::new(|tx| tx.input[0].script_sig = Script::from(vec![0x51; 1651])),
        ),
        (
            "scriptsig-not-pushonly",
            Box::new(|tx| tx.input[0].script_sig = Script::from(vec![0x75])),
        ),
        (
            "scriptpubkey",
            Box::new(|tx| tx.output[0].script_pubkey = Script::from(vec![0x52])),
        ),
        (
            "multi-op-return",
            Box::new(|tx| {
                let nothing = TxOut {
                    script_pubkey: Script::from(vec![0x6a]),
                    ..tx.output[0].clone()
                };
                tx.output.extend([nothing.clone(), nothing]);
                tx.output[2].value = Value::Explicit(0);
                tx.output[3].value = Value::Explicit(0);
            }),
        ),
        (
            "bad-txns-fee-outofrange",
            Box::new(|tx| {
                let asset = tx.output[0].asset.explicit().unwrap();
                tx.output.push(TxOut::new_fee(0, asset));
            }),
        ),
        (
            "bad-witness-nonstandard",
            Box::new(|tx| {
                tx.input[0].witness.script_witness =
                    elements::Witness::from(vec![vec![0; 81], vec![0x51]]);
            }),
        ),
        (
            "not supported by the bundled node",
            Box::new(|tx| tx.input[0].is_pegin = true),
        ),
    ];
    for (reason, spoil) in table {
        let mut tx = good.clone();
        spoil(&mut tx);
        assert_eq!(refused(&node, &tx).0, reason);
    }
    node.accept(good, None).unwrap();
}

#[test]
fn one_op_return_of_nothing_is_fine() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let mut tx = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    tx.output.push(output(
        node.policy_asset(),
        0,
        Script::from(vec![0x6a, 2, 1, 2]),
    ));
    node.accept(tx, None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    assert!(node.mempool().is_empty());
}

#[test]
fn what_is_not_standard_may_still_be_mined() {
    let mut node = with(Params {
        accept_non_std_txn: true,
        ..Params::liquid_regtest()
    });
    let coins = fund(&mut node, 1, VALUE);
    let mut tx = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    tx.output[0].script_pubkey = Script::from(vec![0x52]);
    tx.version = 3;
    node.accept(tx, None).unwrap();
}
