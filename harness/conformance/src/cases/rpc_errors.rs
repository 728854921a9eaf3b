//! Calls that cannot be carried out: HTTP status, code and message, as callers match on them.

use serde_json::{Value, json};

use super::case;
use crate::Case;
use crate::observe::told;
use crate::trial::{Step, Trial};

pub(super) const CASES: &[Case] = &[
    case!(
        "error/lookup",
        Shared,
        "blocks and transactions that do not exist",
        lookup
    ),
    case!(
        "error/parameters",
        Shared,
        "parameters that are missing, too many or of the wrong type",
        parameters
    ),
    case!(
        "error/addresses",
        Shared,
        "addresses that are none, or another network's",
        addresses
    ),
    case!(
        "error/wallets",
        Shared,
        "wallets that do not exist, and calls that need one",
        wallets
    ),
    case!(
        "error/protocol",
        Shared,
        "requests that are no calls: method, version, authorization, batch",
        protocol
    ),
];

/// Notes how each of the calls ends. `None`: it is only compared, not expected.
async fn table(t: &mut Trial<'_>, calls: &[(&str, &str, Value, Option<&str>)]) -> Step<()> {
    for (label, method, params, expected) in calls {
        let reply = t.reply(method, params.clone()).await?;
        let label = format!("{method}: {label}");
        match expected {
            Some(expected) => t.expect(label, told(&reply), expected),
            None => t.see(label, told(&reply)),
        }
    }
    Ok(())
}

const NOTHING: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

async fn lookup(t: &mut Trial<'_>) -> Step<()> {
    let tip = t.node("getbestblockhash", json!([])).await?;
    let no_tx = "HTTP 500, -5: No such mempool or blockchain transaction. Use gettransaction for wallet transactions.";
    table(
        t,
        &[
            (
                "unknown",
                "getblock",
                json!([NOTHING]),
                Some("HTTP 500, -5: Block not found"),
            ),
            (
                "unknown",
                "getblockheader",
                json!([NOTHING]),
                Some("HTTP 500, -5: Block not found"),
            ),
            (
                "too high",
                "getblockhash",
                json!([1_000_000]),
                Some("HTTP 500, -8: Block height out of range"),
            ),
            (
                "negative",
                "getblockhash",
                json!([-1]),
                Some("HTTP 500, -8: Block height out of range"),
            ),
            (
                "unknown",
                "getrawtransaction",
                json!([NOTHING]),
                Some(no_tx),
            ),
            (
                "unknown, verbose",
                "getrawtransaction",
                json!([NOTHING, true]),
                Some(no_tx),
            ),
            (
                "not in the block",
                "getrawtransaction",
                json!([NOTHING, true, tip]),
                None,
            ),
            (
                "unknown block",
                "getrawtransaction",
                json!([NOTHING, true, NOTHING]),
                None,
            ),
            (
                "unknown",
                "getmempoolentry",
                json!([NOTHING]),
                Some("HTTP 500, -5: Transaction not in mempool"),
            ),
            ("unknown", "getmempoolancestors", json!([NOTHING]), None),
            (
                "unknown",
                "invalidateblock",
                json!([NOTHING]),
                Some("HTTP 500, -5: Block not found"),
            ),
            (
                "unknown",
                "reconsiderblock",
                json!([NOTHING]),
                Some("HTTP 500, -5: Block not found"),
            ),
            ("unknown", "gettxoutproof", json!([[NOTHING]]), None),
            ("unknown", "getblockstats", json!([NOTHING]), None),
        ],
    )
    .await
}

async fn parameters(t: &mut Trial<'_>) -> Step<()> {
    let to = t.lab.key.address().to_string();
    let long = "zz".repeat(32);
    table(
        t,
        &[
            (
                "unknown",
                "nosuchmethod",
                json!([]),
                Some("HTTP 404, -32601: Method not found"),
            ),
            ("empty name", "", json!([]), None),
            ("nothing", "getblockhash", json!([]), None),
            ("a string", "getblockhash", json!(["1"]), None),
            ("null", "getblockhash", json!([null]), None),
            ("too many", "getblockhash", json!([1, 2]), None),
            ("a fraction", "getblockhash", json!([1.5]), None),
            (
                "beyond 32 bits",
                "getblockhash",
                json!([99_999_999_999_u64]),
                None,
            ),
            ("nothing", "getblock", json!([]), None),
            ("a number", "getblock", json!([1]), None),
            ("short", "getblock", json!(["00"]), None),
            ("no hexadecimal digits", "getblock", json!([long]), None),
            (
                "verbosity a word",
                "getblock",
                json!([NOTHING, "loud"]),
                None,
            ),
            ("short", "getblockheader", json!(["00"]), None),
            ("nothing", "getrawtransaction", json!([]), None),
            ("short", "getrawtransaction", json!(["00"]), None),
            (
                "no hexadecimal digits",
                "getrawtransaction",
                json!([long]),
                None,
            ),
            (
                "verbose a word",
                "getrawtransaction",
                json!([NOTHING, "yes"]),
                None,
            ),
            ("nothing", "sendrawtransaction", json!([]), None),
            ("a number", "sendrawtransaction", json!([7]), None),
            (
                "junk",
                "sendrawtransaction",
                json!(["zz"]),
                Some("HTTP 500, -22: TX decode failed. Make sure the tx has at least one input."),
            ),
            ("empty", "sendrawtransaction", json!([""]), None),
            (
                "cut short",
                "sendrawtransaction",
                json!(["0200000000"]),
                None,
            ),
            (
                "maxfeerate a word",
                "sendrawtransaction",
                json!(["00", "high"]),
                None,
            ),
            (
                "maxfeerate negative",
                "sendrawtransaction",
                json!(["00", -1]),
                None,
            ),
            ("nothing", "testmempoolaccept", json!([]), None),
            ("a string", "testmempoolaccept", json!(["00"]), None),
            ("an empty list", "testmempoolaccept", json!([[]]), None),
            ("a number in it", "testmempoolaccept", json!([[1]]), None),
            ("junk in it", "testmempoolaccept", json!([["zz"]]), None),
            ("nothing", "decoderawtransaction", json!([]), None),
            ("junk", "decoderawtransaction", json!(["zz"]), None),
            ("nothing", "gettxout", json!([]), None),
            ("index a word", "gettxout", json!([NOTHING, "x"]), None),
            ("index negative", "gettxout", json!([NOTHING, -1]), None),
            ("nothing", "estimatesmartfee", json!([]), None),
            ("zero", "estimatesmartfee", json!([0]), None),
            ("too far", "estimatesmartfee", json!([100_000]), None),
            (
                "mode unknown",
                "estimatesmartfee",
                json!([2, "hopeful"]),
                None,
            ),
            ("nothing", "generatetoaddress", json!([]), None),
            ("a word", "generatetoaddress", json!(["one", to]), None),
            ("no address", "generatetoaddress", json!([1]), None),
            ("negative", "generatetoaddress", json!([-1, to]), None),
            ("nothing", "generateblock", json!([]), None),
            (
                "unknown transaction",
                "generateblock",
                json!([to, [NOTHING]]),
                None,
            ),
            ("junk", "generateblock", json!([to, ["zz"]]), None),
            ("nothing", "invalidateblock", json!([]), None),
            ("short", "invalidateblock", json!(["00"]), None),
            ("nothing", "setmocktime", json!([]), None),
            ("a word", "setmocktime", json!(["noon"]), None),
            ("negative", "setmocktime", json!([-1]), None),
            ("nothing", "scantxoutset", json!([]), None),
            ("action unknown", "scantxoutset", json!(["begin"]), None),
            (
                "bad descriptor",
                "scantxoutset",
                json!(["start", ["addr(x)"]]),
                None,
            ),
            ("nothing", "submitblock", json!([]), None),
            ("junk", "submitblock", json!(["zz"]), None),
            ("nothing", "getmempoolentry", json!([]), None),
            (
                "named",
                "getblockhash",
                json!({"height": 0}),
                Some("HTTP 200, a result"),
            ),
            (
                "named and unknown",
                "getblockhash",
                json!({"depth": 0}),
                None,
            ),
            (
                "named",
                "getblock",
                json!({"blockhash": NOTHING, "verbosity": 1}),
                Some("HTTP 500, -5: Block not found"),
            ),
            ("parameters a word", "getblockcount", json!("x"), None),
            ("parameters null", "getblockcount", Value::Null, None),
        ],
    )
    .await
}

async fn addresses(t: &mut Trial<'_>) -> Step<()> {
    let wallet = t.lab.faucet.clone();
    let bad = [
        ("a word", "nobody".to_owned()),
        ("empty", String::new()),
        (
            "Bitcoin's regtest",
            "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".into(),
        ),
        (
            "Liquid's",
            "ex1q7gkeyjut0mrxc3j0kjlt7rmcnvsh0gt45d3fud".into(),
        ),
        ("a broken checksum", {
            let mut text = t.lab.key.address().to_string();
            let last = if text.ends_with('q') { 'p' } else { 'q' };
            text.pop();
            text.push(last);
            text
        }),
    ];
    for (label, address) in bad {
        let sent = t
            .wallet_reply(&wallet, "sendtoaddress", json!([address, 1]))
            .await?;
        t.see(format!("sendtoaddress to {label}"), told(&sent));
        table(
            t,
            &[
                (label, "generatetoaddress", json!([1, address]), None),
                (
                    label,
                    "createrawtransaction",
                    json!([[], [{address.as_str(): 1}]]),
                    None,
                ),
            ],
        )
        .await?;
        let told = t.reply("validateaddress", json!([address])).await?;
        t.see(
            format!("validateaddress of {label}"),
            told.result
                .map_or_else(|error| error.message, |told| told.to_string()),
        );
    }
    Ok(())
}

async fn wallets(t: &mut Trial<'_>) -> Step<()> {
    let missing = t
        .wallet_reply("nosuchwallet", "getbalance", json!([]))
        .await?;
    t.expect(
        "a wallet that is not loaded",
        told(&missing),
        "HTTP 500, -18: Requested wallet does not exist or is not loaded",
    );
    let other = t
        .wallet_reply("nosuchwallet", "getblockcount", json!([]))
        .await?;
    t.see(
        "a call that needs no wallet, of one that is not loaded",
        told(&other),
    );
    let wallet = t.lab.faucet.clone();
    // A rescan looks whether its heights exist first.
    t.lab.mine(6).await?;
    for (label, method, params) in [
        ("unknown type", "getnewaddress", json!(["", "p2pk"])),
        ("a number as label", "getnewaddress", json!([7])),
        ("nothing", "sendtoaddress", json!([])),
        (
            "no amount",
            "sendtoaddress",
            json!([t.lab.key.address().to_string()]),
        ),
        (
            "zero",
            "sendtoaddress",
            json!([t.lab.key.address().to_string(), 0]),
        ),
        (
            "negative",
            "sendtoaddress",
            json!([t.lab.key.address().to_string(), -1]),
        ),
        (
            "nine decimals",
            "sendtoaddress",
            json!([t.lab.key.address().to_string(), "0.000000001"]),
        ),
        (
            "a word",
            "sendtoaddress",
            json!([t.lab.key.address().to_string(), "some"]),
        ),
        (
            "more than there is",
            "sendtoaddress",
            json!([t.lab.key.address().to_string(), 20_999_999]),
        ),
        (
            "more than there can be",
            "sendtoaddress",
            json!([t.lab.key.address().to_string(), 22_000_000]),
        ),
        (
            "dust",
            "sendtoaddress",
            json!([t.lab.key.address().to_string(), "0.00000001"]),
        ),
        (
            "unknown asset",
            "sendtoaddress",
            json!([
                t.lab.key.address().to_string(),
                1,
                "",
                "",
                false,
                true,
                1,
                "unset",
                false,
                NOTHING
            ]),
        ),
        (
            "asset that is none",
            "sendtoaddress",
            json!([
                t.lab.key.address().to_string(),
                1,
                "",
                "",
                false,
                true,
                1,
                "unset",
                false,
                "gold"
            ]),
        ),
        ("unknown", "gettransaction", json!([NOTHING])),
        ("nothing", "gettransaction", json!([])),
        (
            "not of this wallet",
            "dumpprivkey",
            json!([t.lab.key.address().to_string()]),
        ),
        (
            "not of this wallet",
            "dumpblindingkey",
            json!([t.lab.key.confidential_address().to_string()]),
        ),
        (
            "without a blinding key",
            "dumpblindingkey",
            json!([t.lab.key.address().to_string()]),
        ),
        ("no address", "getaddressinfo", json!(["nobody"])),
        (
            "asset unknown",
            "getbalance",
            json!(["*", 1, false, false, NOTHING]),
        ),
        ("account", "getbalance", json!(["alice"])),
        ("nothing", "issueasset", json!([])),
        ("nothing to issue", "issueasset", json!([0, 0])),
        ("negative", "issueasset", json!([-1, 0])),
        ("unknown asset", "reissueasset", json!([NOTHING, 1])),
        ("junk", "signrawtransactionwithwallet", json!(["zz"])),
        ("junk", "blindrawtransaction", json!(["zz"])),
        ("junk", "unblindrawtransaction", json!(["zz"])),
        ("junk", "fundrawtransaction", json!(["zz"])),
        ("backwards", "rescanblockchain", json!([5, 1])),
        ("too high", "rescanblockchain", json!([1_000_000])),
    ] {
        let reply = t.wallet_reply(&wallet, method, params).await?;
        t.see(format!("{method}: {label}"), told(&reply));
    }
    table(
        t,
        &[
            ("unknown", "loadwallet", json!(["nosuchwallet"]), None),
            ("again", "loadwallet", json!([wallet]), None),
            (
                "again",
                "createwallet",
                json!([wallet, false, false, "", false, true]),
                None,
            ),
            ("nothing", "createwallet", json!([]), None),
            ("unknown", "unloadwallet", json!(["nosuchwallet"]), None),
        ],
    )
    .await
}

async fn protocol(t: &mut Trial<'_>) -> Step<()> {
    let node = t.lab.node.clone();
    let call = r#"{"id":1,"method":"getblockhash","params":[0]}"#;
    let longest = format!(
        r#"{{"id":1,"method":"getblockhash","params":{}0{}}}"#,
        "[".repeat(400),
        "]".repeat(400)
    );
    let bodies = [
        ("no JSON", "hello"),
        ("empty", ""),
        ("a list of nothing", "[]"),
        ("a number", "7"),
        ("a string", "\"x\""),
        ("no method", r#"{"id":1,"params":[]}"#),
        ("method a number", r#"{"id":1,"method":7,"params":[]}"#),
        ("no parameters", r#"{"id":1,"method":"getbestblockhash"}"#),
        ("no id", r#"{"method":"getblockhash","params":[0]}"#),
        (
            "id a string",
            r#"{"id":"x","method":"getblockhash","params":[0]}"#,
        ),
        (
            "version 1.0",
            r#"{"jsonrpc":"1.0","id":1,"method":"getblockhash","params":[0]}"#,
        ),
        (
            "version 2.0",
            r#"{"jsonrpc":"2.0","id":1,"method":"getblockhash","params":[0]}"#,
        ),
        (
            "a batch",
            r#"[{"id":1,"method":"getblockhash","params":[0]},{"id":2,"method":"nosuch","params":[]}]"#,
        ),
        ("nested too deeply", &longest),
    ];
    for (label, body) in bodies {
        let (status, text) = node
            .post("/", body.to_owned())
            .await
            .map_err(crate::trial::Stop)?;
        // Messages of parsers are theirs; status and envelope are what a caller sees.
        t.see(label, format!("HTTP {status} {}", envelope(&text)));
    }
    for (label, authorization) in [
        ("no authorization", None),
        ("a wrong password", Some("Basic eDp5")),
    ] {
        let (status, _) = node
            .post_as(authorization, call.to_owned())
            .await
            .map_err(crate::trial::Stop)?;
        t.expect(label, format!("HTTP {status}"), "HTTP 401");
    }
    let (status, _) = node
        .post("/nowhere", call.to_owned())
        .await
        .map_err(crate::trial::Stop)?;
    t.see("another path", format!("HTTP {status}"));
    Ok(())
}

/// An answer without what only this run knows.
fn envelope(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => crate::observe::mask(&value.to_string()),
        Err(_) if text.trim().is_empty() => "nothing".into(),
        Err(_) => "text".into(),
    }
}
