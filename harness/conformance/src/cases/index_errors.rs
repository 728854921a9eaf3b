//! The index, asked for what it cannot give: how it says so.

use serde_json::{Value, json};

use super::case;
use crate::Case;
use crate::electrum::Electrum;
use crate::lab::Wanted;
use crate::observe::told_by_index;
use crate::trial::{Step, Trial};
use crate::tx::{Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "index-error/parameters",
        Shared,
        "unknown methods and parameters that are missing or wrong",
        parameters
    ),
    case!(
        "index-error/broadcast",
        Shared,
        "broadcasts that the node refuses",
        broadcast
    ),
    case!(
        "index-error/protocol",
        Shared,
        "lines that are no calls, several calls in one packet, a batch",
        protocol
    ),
];

const NOTHING: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

async fn parameters(t: &mut Trial<'_>) -> Step<()> {
    for (label, method, params) in [
        ("unknown", "nosuch", json!([])),
        ("nothing", "blockchain.scripthash.get_history", json!([])),
        ("short", "blockchain.scripthash.get_history", json!(["00"])),
        (
            "no hexadecimal digits",
            "blockchain.scripthash.get_history",
            json!(["zz".repeat(32)]),
        ),
        ("a number", "blockchain.scripthash.get_history", json!([7])),
        ("nothing", "blockchain.scripthash.subscribe", json!([])),
        ("short", "blockchain.scripthash.subscribe", json!(["00"])),
        ("unknown", "blockchain.transaction.get", json!([NOTHING])),
        ("short", "blockchain.transaction.get", json!(["00"])),
        ("nothing", "blockchain.transaction.get", json!([])),
        (
            "unknown",
            "blockchain.transaction.get_merkle",
            json!([NOTHING, 1]),
        ),
        (
            "no height",
            "blockchain.transaction.get_merkle",
            json!([NOTHING]),
        ),
        ("too high", "blockchain.block.header", json!([1_000_000])),
        ("negative", "blockchain.block.header", json!([-1])),
        ("a word", "blockchain.block.header", json!(["one"])),
        ("nothing", "blockchain.block.header", json!([])),
        ("no count", "blockchain.block.headers", json!([0])),
        (
            "too high",
            "blockchain.transaction.id_from_pos",
            json!([1_000_000, 0]),
        ),
        (
            "position too high",
            "blockchain.transaction.id_from_pos",
            json!([1, 100]),
        ),
        ("nothing", "blockchain.estimatefee", json!([])),
    ] {
        let answer = t.ask_index(method, params).await?;
        t.see(format!("{method}: {label}"), told_by_index(&answer));
        if label != "nothing" || method != "blockchain.estimatefee" {
            t.holds(
                format!("it is an error: {method}: {label}"),
                answer.is_err(),
            );
        }
    }
    Ok(())
}

async fn broadcast(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 100_000)])
        .await?
        .remove(0);
    let lbtc = t.lab.lbtc;
    let paying = |value: u64, fee: u64| {
        Draft::spending(&[&coin])
            .pay(key.script(), value, lbtc)
            .fee(fee, lbtc)
            .sign(0, &key)
    };
    let good = paying(100_000 - FEE, FEE);
    let mut missing = good.clone();
    missing.tx.input[0].previous_output.vout = 99;
    for (label, params, says) in [
        ("junk", json!(["zz"]), "TX decode failed"),
        ("nothing", json!([]), ""),
        ("a number", json!([7]), ""),
        (
            "an imbalance",
            json!([paying(100_000, FEE).hex()]),
            "bad-txns-in-ne-out",
        ),
        (
            "too small a fee",
            json!([paying(99_999, 1).hex()]),
            "min relay fee not met",
        ),
        (
            "a missing input",
            json!([missing.hex()]),
            "bad-txns-inputs-missingorspent",
        ),
    ] {
        let answer = t
            .ask_index("blockchain.transaction.broadcast", params)
            .await?;
        t.see(label, told_by_index(&answer));
        let told = answer
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        t.holds(
            format!("an error that names the node's reason: {label}"),
            !told.is_empty() && told.contains(says),
        );
    }
    t.send(&good).await?;
    let again = t
        .ask_index("blockchain.transaction.broadcast", json!([good.hex()]))
        .await?;
    t.see("in the mempool already", told_by_index(&again));
    t.lab.mine(1).await?;
    let again = t
        .ask_index("blockchain.transaction.broadcast", json!([good.hex()]))
        .await?;
    t.see("in a block already", told_by_index(&again));
    Ok(())
}

async fn protocol(t: &mut Trial<'_>) -> Step<()> {
    let ping =
        |id: u32| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"server.ping","params":[]}}"#);
    let hello =
        r#"{"jsonrpc":"2.0","id":0,"method":"server.version","params":["conformance","1.4"]}"#;
    let mut both = Electrum::connect(&t.lab.index).await?;
    both.raw(&format!("{hello}\n")).await?;
    let first = both.raw(&format!("{}\n{}\n", ping(1), ping(2))).await?;
    let second = both.next_answer().await?;
    t.expect(
        "two calls in one packet",
        format!("{} {}", first["id"], second["id"]),
        "1 2",
    );
    t.shape("an answer", &first, &["id: number", "jsonrpc: string"]);
    let mut text_id = Electrum::connect(&t.lab.index).await?;
    text_id.raw(&format!("{hello}\n")).await?;
    let answer = text_id
        .raw("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"server.ping\",\"params\":[]}\n")
        .await?;
    t.expect_json("an id that is a text", &answer["id"], &json!("x"));
    for (label, line) in [
        ("no JSON", "hello\n".to_owned()),
        ("no method", "{\"id\":1,\"params\":[]}\n".into()),
        ("a number", "7\n".into()),
        ("a batch", format!("[{},{}]\n", ping(1), ping(2))),
        (
            "no parameters",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server.ping\"}\n".into(),
        ),
        (
            "parameters by name",
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server.ping\",\"params\":{}}\n".into(),
        ),
    ] {
        let mut index = Electrum::connect(&t.lab.index).await?;
        index.raw(&format!("{hello}\n")).await?;
        let answer = match index.raw(&line).await {
            Err(_) => "the connection ends".to_owned(),
            Ok(Value::Array(all)) => format!("{} answers in a list", all.len()),
            Ok(answer) if answer["error"].is_null() => "a result".to_owned(),
            Ok(answer) => told_by_index(&Err(answer["error"].clone())),
        };
        t.see(label, answer);
    }
    Ok(())
}
