//! The verdicts that were measured on elementsd (facts page, section 7), by way of HTTP.

use serde_json::{Value, json};

use crate::client::{NOBODY, TestNode};

/// A funded node and the coin of its wallet.
fn funded() -> (TestNode, Value) {
    let node = TestNode::funded();
    let coins = node.ok("listunspent", json!([]));
    assert_eq!(coins.as_array().unwrap().len(), 1);
    (node, coins[0].clone())
}

fn signed(node: &TestNode, inputs: Value, outputs: Value, locktime: u32) -> String {
    let raw = node.ok("createrawtransaction", json!([inputs, outputs, locktime]));
    let signed = node.ok("signrawtransactionwithwallet", json!([raw]));
    assert_eq!(signed["complete"], json!(true), "{signed}");
    signed["hex"].as_str().unwrap().to_owned()
}

/// What both ways of asking say of a transaction.
fn refused(node: &TestNode, raw: &str, reason: &str, code: i64, message: &str) {
    let verdict = node.ok("testmempoolaccept", json!([[raw]]));
    assert_eq!(verdict[0]["allowed"], json!(false), "{verdict}");
    assert_eq!(verdict[0]["reject-reason"], json!(reason));
    let (found, text) = node.fails("sendrawtransaction", json!([raw]));
    assert_eq!((found, text.as_str()), (code, message));
}

#[test]
fn amounts_locks_and_witnesses() {
    let (node, coin) = funded();
    let input = json!({"txid": coin["txid"], "vout": coin["vout"]});
    let to = |value: f64| json!({ NOBODY: value });
    let refuse = |inputs: Value, outputs: Value, locktime, reason, code, message| {
        refused(
            &node,
            &signed(&node, inputs, outputs, locktime),
            reason,
            code,
            message,
        );
    };
    let fee = json!({"fee": 0.001});
    refuse(
        json!([input]),
        json!([to(20_999_999.997), fee]),
        0,
        "bad-txns-in-ne-out",
        -26,
        "bad-txns-in-ne-out, value in != value out",
    );
    refuse(
        json!([input]),
        json!([to(20_999_999.998), {"burn": 0.000_000_01, "asset": "11".repeat(32)}, fee]),
        0,
        "bad-txns-in-ne-out",
        -26,
        "bad-txns-in-ne-out, value in != value out",
    );
    refuse(
        json!([input]),
        json!([to(20_999_999.998_999_99), {"fee": 0.000_000_01}]),
        0,
        "min relay fee not met",
        -26,
        "min relay fee not met, 1 < 20",
    );
    let with_sequence =
        |sequence: u32| json!([{"txid": coin["txid"], "vout": coin["vout"], "sequence": sequence}]);
    refuse(
        with_sequence(0),
        json!([to(20_999_999.998), fee]),
        1000,
        "non-final",
        -26,
        "non-final",
    );
    refuse(
        with_sequence(50),
        json!([to(20_999_999.998), fee]),
        0,
        "non-BIP68-final",
        -26,
        "non-BIP68-final",
    );
    let unsigned = node.ok(
        "createrawtransaction",
        json!([[input], [to(20_999_999.998), fee]]),
    );
    let mismatch = "mempool-script-verify-flag-failed (Witness program hash mismatch)";
    refused(&node, unsigned.as_str().unwrap(), mismatch, -26, mismatch);
    let unknown = json!([{"txid": "22".repeat(32), "vout": 0}]);
    let raw = node.ok("createrawtransaction", json!([unknown, [to(1.0), fee]]));
    refused(
        &node,
        raw.as_str().unwrap(),
        "missing-inputs",
        -25,
        "bad-txns-inputs-missingorspent",
    );
    refuse(
        json!([input]),
        json!([to(20_999_999.997_999_99), { "XBSYj6CMJecriz5U3572ikuxCXF2grfMdH": 0.000_000_01 }, fee]),
        0,
        "dust",
        -26,
        "dust",
    );
}

#[test]
fn conflicts_and_repetitions() {
    let (node, coin) = funded();
    let input =
        |sequence: u32| json!([{"txid": coin["txid"], "vout": coin["vout"], "sequence": sequence}]);
    let pay = |sequence, value: f64, fee: f64| {
        signed(
            &node,
            input(sequence),
            json!([{ NOBODY: value }, {"fee": fee}]),
            0,
        )
    };
    let first = pay(0xffff_fffd, 20_999_999.998, 0.001);
    let txid = node.ok("sendrawtransaction", json!([first]));
    assert_eq!(node.ok("sendrawtransaction", json!([first])), txid, "again");
    let (code, message) = node.fails(
        "sendrawtransaction",
        json!([pay(0xffff_fffd, 20_999_999.998_9, 0.000_1)]),
    );
    assert_eq!(code, -26);
    assert!(
        message.starts_with("insufficient fee, rejecting replacement "),
        "{message}"
    );
    // One that says it will not be replaced replaces one that may be.
    let last = pay(0xffff_ffff, 20_999_999.997, 0.002);
    let last_txid = node.ok("sendrawtransaction", json!([last]));
    assert_eq!(node.ok("getrawmempool", json!([])), json!([last_txid]));
    refused(
        &node,
        &first,
        "txn-mempool-conflict",
        -26,
        "txn-mempool-conflict",
    );
    node.mine(1);
    let (code, message) = node.fails("sendrawtransaction", json!([last]));
    assert_eq!(
        (code, message.as_str()),
        (-27, "Transaction already in block chain")
    );
    assert_eq!(node.balance("bitcoin"), "0.0");
}

#[test]
fn too_much_fee_and_coins_too_young() {
    let (node, coin) = funded();
    let input = json!([{"txid": coin["txid"], "vout": coin["vout"]}]);
    let generous = signed(
        &node,
        input,
        json!([{ NOBODY: 20_999_998.999 }, {"fee": 1}]),
        0,
    );
    refused(
        &node,
        &generous,
        "max-fee-exceeded",
        -25,
        "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
    );
    let txid = node.ok("sendrawtransaction", json!([generous, 0]));
    let address = node.address_of("bech32");
    let block = node.ok("generatetoaddress", json!([1, address]))[0].clone();
    let block = node.ok("getblock", json!([block, 2]));
    assert_eq!(block["tx"][1]["txid"], txid);
    let coinbase = block["tx"][0]["txid"].clone();
    assert_eq!(
        node.ok("getbalances", json!([]))["mine"]["immature"]["bitcoin"],
        json!(1.0)
    );
    let early = signed(
        &node,
        json!([{"txid": coinbase, "vout": 0}]),
        json!([{ NOBODY: 0.999 }, {"fee": 0.001}]),
        0,
    );
    refused(
        &node,
        &early,
        "bad-txns-premature-spend-of-coinbase",
        -26,
        "bad-txns-premature-spend-of-coinbase, tried to spend coinbase at depth 1",
    );
    let (code, message) = node.fails("sendtoaddress", json!([NOBODY, 0.1]));
    assert_eq!((code, message.as_str()), (-6, "Insufficient funds"));
    node.mine(100);
    node.ok("sendtoaddress", json!([NOBODY, 0.1]));
}
