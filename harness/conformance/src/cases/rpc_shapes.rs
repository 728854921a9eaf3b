//! The shape of every answer that a caller of the node reads: which fields there are, and of which type.

use serde_json::{Value, json};

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Trial, sat};
use crate::tx::{Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "shape/chain",
        Shared,
        "answers about the chain, the network and the node",
        chain
    ),
    case!(
        "shape/mempool",
        Shared,
        "answers about an unconfirmed transaction",
        mempool
    ),
    case!(
        "shape/transaction",
        Shared,
        "a confirmed transaction, decoded in each way, explicit and confidential",
        transaction
    ),
    case!(
        "shape/outputs",
        Shared,
        "gettxout and scantxoutset",
        outputs
    ),
    case!(
        "shape/addresses",
        Shared,
        "validateaddress and decodescript of each type",
        addresses
    ),
];

async fn chain(t: &mut Trial<'_>) -> Step<()> {
    t.lab.mine(1).await?;
    let tip = t.node("getbestblockhash", json!([])).await?;
    let calls: &[(&str, Value, &[&str])] = &[
        (
            "getblockchaininfo",
            json!([]),
            &[
                "chain: string",
                "blocks: number",
                "bestblockhash: string",
                "mediantime: number",
                "initialblockdownload: bool",
            ],
        ),
        (
            "getnetworkinfo",
            json!([]),
            &[
                "version: number",
                "subversion: string",
                "relayfee: number",
                "incrementalfee: number",
                "warnings: string",
            ],
        ),
        (
            "getsidechaininfo",
            json!([]),
            &[
                "pegged_asset: string",
                "parent_blockhash: string",
                "fedpegscript: string",
                "current_fedpeg_programs: array",
                "current_fedpegscripts: array",
                "pegin_confirmation_depth: number",
            ],
        ),
        ("getblockcount", json!([]), &[".: number"]),
        ("getbestblockhash", json!([]), &[".: string"]),
        (
            "getmempoolinfo",
            json!([]),
            &[
                "size: number",
                "bytes: number",
                "mempoolminfee: number",
                "minrelaytxfee: number",
            ],
        ),
        ("getrawmempool", json!([]), &[".: array"]),
        (
            "estimatesmartfee",
            json!([2]),
            &["errors: array", "blocks: number"],
        ),
        ("getindexinfo", json!([]), &[]),
        (
            "getchaintips",
            json!([]),
            &["[].height: number", "[].hash: string", "[].status: string"],
        ),
        ("getconnectioncount", json!([]), &[]),
        ("getpeerinfo", json!([]), &[]),
        ("getmininginfo", json!([]), &[]),
        ("getblockstats", json!([tip]), &[]),
        ("getchaintxstats", json!([]), &[]),
        ("gettxoutsetinfo", json!([]), &[]),
        ("getrpcinfo", json!([]), &[]),
        ("uptime", json!([]), &[".: number"]),
        ("help", json!([]), &[".: string"]),
        ("getzmqnotifications", json!([]), &[]),
        ("getdeploymentinfo", json!([]), &[]),
    ];
    for (method, params, required) in calls {
        let reply = t.reply(method, params.clone()).await?;
        t.see(format!("{method} ends"), crate::observe::told(&reply));
        if let Ok(answer) = reply.result {
            t.shape(method, &answer, required);
        } else if !required.is_empty() {
            t.expect(format!("{method} answers"), "no", "yes");
        }
    }
    let fee = t.node("estimatesmartfee", json!([6])).await?;
    // `blocks` is 0 at first, and later what was asked for.
    t.expect_json(
        "estimatesmartfee on regtest",
        &fee["errors"],
        &json!(["Insufficient data or no feerate found"]),
    );
    t.holds("it has no feerate", fee["feerate"].is_null());
    let network = t.node("getnetworkinfo", json!([])).await?;
    t.expect_json("relayfee", &network["relayfee"], &json!(0.000_001));
    let pool = t.node("getmempoolinfo", json!([])).await?;
    t.expect_json("mempoolminfee", &pool["mempoolminfee"], &json!(0.000_001));
    t.expect_json("minrelaytxfee", &pool["minrelaytxfee"], &json!(0.000_001));
    Ok(())
}

async fn mempool(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 100_000)])
        .await?
        .remove(0);
    let lbtc = t.lab.lbtc;
    let parent = Draft::spending(&[&coin])
        .pay(key.script(), 100_000 - FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    let tested = t.node("testmempoolaccept", json!([[parent.hex()]])).await?;
    t.shape(
        "testmempoolaccept of a good one",
        &tested,
        &[
            "[].txid: string",
            "[].wtxid: string",
            "[].allowed: bool",
            "[].vsize: number",
            "[].fees.base: number",
        ],
    );
    t.expect(
        "its fee",
        sat(&tested[0]["fees"]["base"])?.to_string(),
        FEE.to_string(),
    );
    t.holds(
        "its vsize",
        tested[0]["vsize"] == json!(parent.tx.vsize())
            || tested[0]["vsize"] == json!(parent.tx.discount_vsize()),
    );
    let bad = Draft::spending(&[&coin])
        .pay(key.script(), 100_000 + FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    let tested = t.node("testmempoolaccept", json!([[bad.hex()]])).await?;
    t.shape(
        "testmempoolaccept of a bad one",
        &tested,
        &["[].allowed: bool", "[].reject-reason: string"],
    );

    t.send(&parent).await?;
    let second = parent.coin(0);
    let child = Draft::spending(&[&second])
        .pay(key.script(), second.value() - FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    t.send(&child).await?;
    let entry = t.node("getmempoolentry", json!([child.txid()])).await?;
    t.shape(
        "getmempoolentry",
        &entry,
        &[
            "vsize: number",
            "time: number",
            "fees.base: number",
            "depends[]: string",
            "bip125-replaceable: bool",
        ],
    );
    t.holds(
        "it depends on its parent",
        entry["depends"] == json!([parent.txid()]),
    );
    t.expect_json("ancestors", &entry["ancestorcount"], &json!(2));
    t.expect(
        "ancestor fees",
        sat(&entry["fees"]["ancestor"])?.to_string(),
        (2 * FEE).to_string(),
    );
    for (method, params) in [
        ("getrawmempool", json!([true])),
        ("getrawmempool", json!([false, true])),
        ("getmempoolancestors", json!([child.txid()])),
        ("getmempooldescendants", json!([parent.txid()])),
    ] {
        let label = format!(
            "{method} {}",
            if params.as_array().is_some_and(|all| all.len() == 2) {
                "with sequence"
            } else {
                "as it is"
            }
        );
        let reply = t.reply(method, params).await?;
        t.see(format!("{label} ends"), crate::observe::told(&reply));
        if let Ok(answer) = reply.result {
            t.shape(&label, &answer, &[]);
        }
    }
    let known = t
        .node("getrawtransaction", json!([child.txid(), true]))
        .await?;
    t.shape(
        "getrawtransaction of an unconfirmed one",
        &known,
        &["vin[].txid: string", "vout[].n: number", "hex: string"],
    );
    t.lab.mine(1).await?;
    Ok(())
}

async fn transaction(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let wanted = [
        Wanted::confidential(&key, 100_000),
        Wanted::explicit(&key, 50_000),
    ];
    let coins = t.lab.fund(&mut t.random, &wanted).await?;
    let lbtc = t.lab.lbtc;
    let draft = Draft::spending(&[&coins[0], &coins[1]])
        .pay_blinded(key.script(), 90_000, lbtc, key.blinder())
        .pay_blinded(key.script(), 20_000, lbtc, key.blinder())
        .pay(elements::Script::new_op_return(b"conformance"), 0, lbtc)
        .pay(key.script(), 40_000 - FEE, lbtc)
        .fee(FEE, lbtc)
        .blind(&mut t.random)
        .sign_all(&key);
    let decoded = t.node("decoderawtransaction", json!([draft.hex()])).await?;
    t.shape(
        "decoderawtransaction",
        &decoded,
        &[
            "txid: string",
            "vsize: number",
            "discountvsize: number",
            "vin[].sequence: number",
            "vout[].valuecommitment: string",
            "fee: object",
        ],
    );
    t.holds("txid", decoded["txid"] == json!(draft.txid()));
    t.holds(
        "wtxid",
        decoded["hash"] == json!(draft.tx.wtxid().to_string()),
    );
    t.holds("size", decoded["size"] == json!(draft.tx.size()));
    t.holds("weight", decoded["weight"] == json!(draft.tx.weight()));
    t.holds("vsize", decoded["vsize"] == json!(draft.tx.vsize()));
    t.holds(
        "discountvsize",
        decoded["discountvsize"] == json!(draft.tx.discount_vsize()),
    );
    t.holds(
        "discountweight",
        decoded["discountweight"] == json!(draft.tx.discount_weight()),
    );
    t.send(&draft).await?;
    let block = t.lab.mine(1).await?.remove(0);
    let shown = t
        .node("getrawtransaction", json!([draft.txid(), true]))
        .await?;
    t.shape(
        "getrawtransaction",
        &shown,
        &[
            "blockhash: string",
            "confirmations: number",
            "blocktime: number",
            "hex: string",
        ],
    );
    t.holds("its bytes", shown["hex"] == json!(draft.hex()));
    t.holds("its block", shown["blockhash"] == json!(block));
    let in_block = t
        .node("getrawtransaction", json!([draft.txid(), true, block]))
        .await?;
    t.shape(
        "getrawtransaction with its block",
        &in_block,
        &["in_active_chain: bool"],
    );
    let raw = t.node("getrawtransaction", json!([draft.txid()])).await?;
    t.holds("raw", raw == json!(draft.hex()));
    for (index, output) in shown["vout"].as_array().into_iter().flatten().enumerate() {
        t.shape(
            &format!("output {index}"),
            output,
            &[
                "scriptPubKey.hex: string",
                "scriptPubKey.asm: string",
                "scriptPubKey.type: string",
            ],
        );
        t.see(
            format!("output {index} type"),
            output["scriptPubKey"]["type"].to_string(),
        );
    }
    let proof = t
        .reply("gettxoutproof", json!([[draft.txid()], block]))
        .await?;
    t.see("gettxoutproof", crate::observe::told(&proof));
    Ok(())
}

async fn outputs(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let wanted = [
        Wanted::explicit(&key, 70_000),
        Wanted::confidential(&key, 80_000),
    ];
    let coins = t.lab.fund(&mut t.random, &wanted).await?;
    for (label, coin) in [("explicit", &coins[0]), ("confidential", &coins[1])] {
        let at = json!([coin.outpoint.txid.to_string(), coin.outpoint.vout]);
        let out = t.node("gettxout", at.clone()).await?;
        let required: &[&str] = &[
            "bestblock: string",
            "confirmations: number",
            "scriptPubKey.hex: string",
            "coinbase: bool",
        ];
        t.shape(&format!("gettxout of an {label} output"), &out, required);
        t.expect_json(
            format!("{label}: confirmations"),
            &out["confirmations"],
            &json!(1),
        );
    }
    t.expect(
        "value",
        sat(&t
            .node(
                "gettxout",
                json!([coins[0].outpoint.txid.to_string(), coins[0].outpoint.vout]),
            )
            .await?["value"])?
        .to_string(),
        "70000",
    );
    let lbtc = t.lab.lbtc;
    let spend = Draft::spending(&[&coins[0]])
        .pay(key.script(), 70_000 - FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    t.send(&spend).await?;
    let (txid, vout) = (coins[0].outpoint.txid.to_string(), coins[0].outpoint.vout);
    let gone = t.node("gettxout", json!([txid, vout])).await?;
    t.expect_json("spent in the mempool", &gone, &Value::Null);
    let there = t.node("gettxout", json!([txid, vout, false])).await?;
    t.holds("and still there without the mempool", there.is_object());
    let new = t.node("gettxout", json!([spend.txid(), 0])).await?;
    t.expect_json("a new one, unconfirmed", &new["confirmations"], &json!(0));
    let fee = t.node("gettxout", json!([spend.txid(), 1])).await?;
    t.see("its fee output, unconfirmed", crate::observe::type_of(&fee));
    t.expect_json(
        "an unknown one",
        &t.node("gettxout", json!(["00".repeat(32), 0])).await?,
        &Value::Null,
    );
    t.lab.mine(1).await?;
    let fee = t.node("gettxout", json!([spend.txid(), 1])).await?;
    t.see("its fee output, confirmed", crate::observe::type_of(&fee));
    let descriptor = format!("addr({})", key.address());
    let scan = t
        .reply("scantxoutset", json!(["start", [descriptor]]))
        .await?;
    t.see("scantxoutset", crate::observe::told(&scan));
    if let Ok(scan) = scan.result {
        t.shape(
            "scantxoutset",
            &scan,
            &[
                "success: bool",
                "height: number",
                "bestblock: string",
                "unspents[].txid: string",
                "unspents[].vout: number",
                "unspents[].height: number",
            ],
        );
        t.see(
            "unspents found",
            scan["unspents"].as_array().map_or(0, Vec::len).to_string(),
        );
    }
    Ok(())
}

async fn addresses(t: &mut Trial<'_>) -> Step<()> {
    for (method, of) in [
        ("validateaddress", t.lab.key.address().to_string()),
        ("decodescript", "51".to_owned()),
    ] {
        let reply = t.reply(method, json!([of])).await?;
        t.see(method, crate::observe::told(&reply));
        if reply.result.is_err() {
            // What follows would only say it again.
            return Ok(());
        }
    }
    let key = Key::new(&mut t.random);
    let public = elements::bitcoin::PublicKey::new(key.public());
    let params = &elements::AddressParams::ELEMENTS;
    let (internal, _) = key.public().x_only_public_key();
    let script = elements::script::Builder::new().push_int(1).into_script();
    let all = [
        ("p2wpkh", key.address()),
        ("p2wpkh blinded", key.confidential_address()),
        ("p2pkh", elements::Address::p2pkh(&public, None, params)),
        (
            "p2pkh blinded",
            elements::Address::p2pkh(&public, Some(key.blinder()), params),
        ),
        (
            "p2sh-p2wpkh",
            elements::Address::p2shwpkh(&public, None, params),
        ),
        (
            "p2sh-p2wpkh blinded",
            elements::Address::p2shwpkh(&public, Some(key.blinder()), params),
        ),
        ("p2wsh", elements::Address::p2wsh(&script, None, params)),
        (
            "p2tr",
            elements::Address::p2tr(
                elements::secp256k1_zkp::SECP256K1,
                internal,
                None,
                None,
                params,
            ),
        ),
        (
            "p2tr blinded",
            elements::Address::p2tr(
                elements::secp256k1_zkp::SECP256K1,
                internal,
                None,
                Some(key.blinder()),
                params,
            ),
        ),
    ];
    for (label, address) in all {
        let script: String = address
            .script_pubkey()
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let reply = t
            .reply("validateaddress", json!([address.to_string()]))
            .await?;
        t.see(
            format!("validateaddress {label} ends"),
            crate::observe::told(&reply),
        );
        if let Ok(told) = reply.result {
            t.shape(
                &format!("validateaddress {label}"),
                &told,
                &["isvalid: bool"],
            );
            t.expect_json(format!("{label} is valid"), &told["isvalid"], &json!(true));
            t.holds(
                format!("{label}: script"),
                told["scriptPubKey"] == json!(script),
            );
            t.holds(
                format!("{label}: without its blinding key"),
                told["unconfidential"] == json!(address.to_unconfidential().to_string()),
            );
        }
        let decoded = t.reply("decodescript", json!([script])).await?;
        t.see(
            format!("decodescript {label}"),
            crate::observe::told(&decoded),
        );
        if let Ok(decoded) = decoded.result {
            t.shape(
                &format!("decodescript {label}"),
                &decoded,
                &["type: string", "asm: string"],
            );
            t.see(
                format!("decodescript {label} type"),
                decoded["type"].to_string(),
            );
        }
    }
    let bad = t.reply("validateaddress", json!(["nobody"])).await?;
    if let Ok(bad) = bad.result {
        t.shape("validateaddress of nothing", &bad, &["isvalid: bool"]);
        t.expect_json("nobody is not valid", &bad["isvalid"], &json!(false));
    }
    Ok(())
}
