//! Wallets end to end: sends, assets, reorganisations, raw transactions, endurance.

use serde_json::{Value, json};

use crate::client::{NOBODY, TestNode};

fn string(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn a_confidential_send_arrives() {
    let node = TestNode::funded();
    node.ok("createwallet", json!(["other"]));
    let (_, answer) = node.call_at("/wallet/other", "getnewaddress", json!(["rent"]));
    let address = string(&answer["result"]);
    assert!(address.starts_with("el1qq"), "{address}");
    let (code, _) = node.fails("getbalance", json!([]));
    assert_eq!(code, -19, "there are two wallets");
    let (status, answer) = node.call_at("/wallet/w", "sendtoaddress", json!([address, 1.5]));
    assert_eq!(status, 200, "{answer}");
    let txid = string(&answer["result"]);
    let other = |method: &str, params: Value| {
        node.call_at("/wallet/other", method, params).1["result"].clone()
    };
    assert_eq!(
        other("getbalances", json!([]))["mine"]["untrusted_pending"]["bitcoin"],
        json!(1.5)
    );
    node.mine(1);
    assert_eq!(other("getbalance", json!([])), json!({"bitcoin": 1.5}));
    let coin = other("listunspent", json!([]))[0].clone();
    assert_eq!(
        (&coin["label"], &coin["amount"], &coin["safe"]),
        (&json!("rent"), &json!(1.5), &json!(true))
    );
    assert_eq!(string(&coin["assetcommitment"]).len(), 66);
    assert_ne!(string(&coin["amountblinder"]), "0".repeat(64));
    // Two blinded outputs and the fee, which is for the size that is sent.
    let tx = node.ok("getrawtransaction", json!([txid, true]));
    let outputs = tx["vout"].as_array().unwrap();
    let blinded = outputs
        .iter()
        .filter(|output| output.get("valuecommitment").is_some());
    assert_eq!((blinded.count(), outputs.len()), (2, 3));
    let fee = (tx["fee"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .as_f64()
        .unwrap()
        * 1e8)
        .round();
    let vsize = tx["vsize"].as_f64().unwrap();
    assert!(
        (vsize / 10.0..vsize / 10.0 + 2.0).contains(&fee),
        "{fee} for {vsize}"
    );
    for output in outputs
        .iter()
        .filter(|output| output.get("valuecommitment").is_some())
    {
        assert_eq!(
            (&output["ct-exponent"], &output["ct-bits"]),
            (&json!(0), &json!(52))
        );
    }
    // The one who sent it knows what was sent.
    let (_, sent) = node.call_at("/wallet/w", "gettransaction", json!([txid]));
    assert_eq!(sent["result"]["amount"], json!({"bitcoin": -1.5}));
    assert_eq!(sent["result"]["details"][0]["amount"], json!(-1.5));
}

#[test]
fn all_kinds_of_addresses_receive_and_spend() {
    let node = TestNode::funded();
    for kind in ["legacy", "p2sh-segwit", "bech32", "blech32"] {
        let address = node.address_of(kind);
        let info = node.ok("getaddressinfo", json!([address]));
        assert_eq!(
            (&info["ismine"], &info["address"]),
            (&json!(true), &json!(address))
        );
        let unconfidential = string(&info["unconfidential"]);
        let confidential = string(&info["confidential"]);
        for to in [unconfidential, confidential] {
            let txid = node.ok("sendtoaddress", json!([to, 3]));
            node.mine(1);
            let coins = node.ok("listunspent", json!([1, 9_999_999, [to]]));
            let coin = coins
                .as_array()
                .unwrap()
                .iter()
                .find(|coin| coin["txid"] == txid)
                .unwrap();
            let raw = node.ok("createrawtransaction", json!([
                [{"txid": coin["txid"], "vout": coin["vout"]}], [{ NOBODY: 2.999 }, {"fee": 0.001}]]));
            let raw = node.ok("blindrawtransaction", json!([raw]));
            let signed = node.ok("signrawtransactionwithwallet", json!([raw]));
            assert_eq!(signed["complete"], json!(true), "{kind} {signed}");
            node.ok("sendrawtransaction", json!([signed["hex"]]));
            node.mine(1);
        }
    }
}

#[test]
fn assets_are_issued_traded_and_reissued() {
    let node = TestNode::funded();
    for blind in [false, true] {
        let issued = node.ok("issueasset", json!([1000, 1, blind]));
        let (asset, token) = (string(&issued["asset"]), string(&issued["token"]));
        let tx = node.ok("getrawtransaction", json!([issued["txid"], true]));
        let issuance = &tx["vin"][0]["issuance"];
        assert_eq!(
            (&issuance["asset"], &issuance["token"]),
            (&issued["asset"], &issued["token"])
        );
        assert_eq!(issuance["assetEntropy"], issued["entropy"]);
        node.mine(1);
        assert_eq!(node.balance(&asset), "1000.0");
        assert_eq!(node.balance(&token), "1.0");
        // To somebody else, confidential, by its id.
        let to = "el1qqf7dhc8nc2m93y7ecj7kx60ddz6c3pcrpkdy7xpj8dy4ynfhsj0snxtqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
        let nowhere = node.fails("sendtoaddress", json!([to, 1]));
        assert_eq!(nowhere.0, -5);
        node.ok(
            "sendtoaddress",
            json!([NOBODY, 250.5, "", "", false, null, null, null, null, asset]),
        );
        node.mine(1);
        assert_eq!(node.balance(&asset), "749.5");
        let (code, message) = node.fails(
            "sendtoaddress",
            json!([NOBODY, 750, "", "", false, null, null, null, null, asset]),
        );
        assert_eq!((code, message.as_str()), (-6, "Insufficient funds"));
        node.ok("reissueasset", json!([asset, 10]));
        node.mine(1);
        assert_eq!(
            (node.balance(&asset), node.balance(&token)),
            ("759.5".to_owned(), "1.0".to_owned())
        );
        let (code, message) = node.fails("reissueasset", json!([token, 10]));
        assert_eq!(
            (code, message.as_str()),
            (
                -4,
                "Asset given is a reissuance token type and can not be reissued."
            )
        );
    }
}

#[test]
fn reorganisations_undo_and_redo() {
    let node = TestNode::funded();
    let before = node.balance("bitcoin");
    let txid = node.ok("sendtoaddress", json!([NOBODY, 2]));
    let after = node.balance("bitcoin");
    let block = node.mine(1).remove(0);
    let depth = || node.ok("gettransaction", json!([txid]))["confirmations"].clone();
    assert_eq!(depth(), json!(1));
    node.ok("invalidateblock", json!([block]));
    assert_eq!(
        (depth(), node.ok("getrawmempool", json!([]))),
        (json!(0), json!([txid]))
    );
    assert_eq!(node.balance("bitcoin"), after);
    node.ok("reconsiderblock", json!([block]));
    assert_eq!(
        (depth(), node.ok("getrawmempool", json!([]))),
        (json!(1), json!([]))
    );
    // A branch without it switches; the transaction waits again.
    let parent = node.ok("getblockheader", json!([block]))["previousblockhash"].clone();
    node.ok("sim_generate_on", json!([parent, 2, NOBODY]));
    assert_eq!(
        (depth(), node.balance("bitcoin")),
        (json!(0), after.clone())
    );
    node.mine(1);
    assert_eq!((depth(), node.balance("bitcoin")), (json!(1), after));
    // Back to before all of it.
    let snapshot = node.ok("sim_snapshot", json!([]));
    node.ok("sendtoaddress", json!([NOBODY, 5]));
    node.mine(3);
    node.ok("sim_revert", json!([snapshot]));
    assert_eq!(node.ok("getblockcount", json!([])), json!(4));
    assert_eq!(depth(), json!(1));
    assert_ne!(node.balance("bitcoin"), before);
}

#[test]
fn fund_blind_sign_and_send() {
    let node = TestNode::funded();
    let mine = node.address_of("blech32");
    let raw = node.ok("createrawtransaction", json!([[], [{ &mine: 7 }]]));
    let funded = node.ok("fundrawtransaction", json!([raw, {"changePosition": 0}]));
    assert_eq!(funded["changepos"], json!(0));
    let (code, message) = node.fails("sendrawtransaction", json!([funded["hex"]]));
    assert_eq!(code, -25, "{message}");
    let blinded = node.ok("blindrawtransaction", json!([funded["hex"]]));
    let opened = node.ok("unblindrawtransaction", json!([blinded]));
    let opened = node.ok("decoderawtransaction", json!([opened["hex"]]));
    assert_eq!(opened["vout"][1]["value"], json!(7.0));
    let signed = node.ok("signrawtransactionwithwallet", json!([blinded]));
    assert_eq!(signed["complete"], json!(true));
    let verdict = node.ok("testmempoolaccept", json!([[signed["hex"]]]));
    assert_eq!(verdict[0]["allowed"], json!(true), "{verdict}");
    assert_eq!(verdict[0]["fees"]["base"], funded["fee"]);
    let txid = node.ok("sendrawtransaction", json!([signed["hex"]]));
    assert_eq!(
        node.ok("gettxout", json!([txid, 1]))["confirmations"],
        json!(0)
    );
    node.mine(1);
    let coins = node.ok("listunspent", json!([1, 99, [mine]]));
    assert_eq!(coins.as_array().unwrap().len(), 1);
    assert_eq!(
        (&coins[0]["txid"], &coins[0]["amount"]),
        (&txid, &json!(7.0))
    );
}

#[test]
fn many_sends_stay_exact() {
    let node = TestNode::funded();
    let kept = node.address_of("blech32");
    let mut paid_fees = 0;
    for round in 0..12 {
        for _ in 0..5 {
            let txid = node.ok("sendtoaddress", json!([kept, 0.001]));
            let tx = node.ok("gettransaction", json!([txid]));
            let fee = tx["fee"]["bitcoin"].as_f64().unwrap();
            paid_fees -= (fee * 1e8).round() as i64;
        }
        if round % 3 == 2 {
            node.mine(1);
        }
    }
    node.mine(1);
    let total = node.ok("getbalance", json!([]))["bitcoin"]
        .as_f64()
        .unwrap();
    let total = (total * 1e8).round() as i64;
    assert_eq!(total, 2_100_000_000_000_000 - 100_000 - paid_fees);
}

#[test]
fn every_kind_of_coin_can_issue() {
    for kind in ["legacy", "p2sh-segwit", "bech32"] {
        let node = TestNode::funded();
        let address = node.address_of(kind);
        let info = node.ok("getaddressinfo", json!([address]));
        let coin = string(&info["unconfidential"]);
        node.ok("sendtoaddress", json!([coin, 1]));
        node.mine(1);
        // The least valuable coin that is enough is this one.
        let issued = node.ok("issueasset", json!([5, 0, true]));
        let tx = node.ok("getrawtransaction", json!([issued["txid"], true]));
        let spent = node.ok("getrawtransaction", json!([tx["vin"][0]["txid"], true]));
        let vout = tx["vin"][0]["vout"].as_u64().unwrap() as usize;
        assert_eq!(spent["vout"][vout]["scriptPubKey"]["address"], json!(coin));
    }
}
