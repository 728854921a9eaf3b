//! What lines are answered, without a node.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::chain::{Bitcoin, Block, Chain as _};
use crate::index::Update;
use crate::node::{Auth, Node};

/// The first block of regtest.
fn genesis() -> Block {
    let block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    Bitcoin
        .block(&bitcoin::consensus::serialize(&block))
        .unwrap()
}

/// A client of a server that has one block, and whose node is nowhere.
fn session() -> Session {
    let shared = Shared::new(&Bitcoin);
    let update = Update {
        keep: 0,
        blocks: vec![genesis()],
        mempool: None,
    };
    shared.index.write().unwrap().apply(update).unwrap();
    let node = Node {
        address: "127.0.0.1:1".into(),
        auth: Auth::Cookie("a:b".into()),
    };
    Session::new(Arc::new(Server {
        shared,
        node: Calls::new(node),
        banner: "hello".into(),
        port: 1,
    }))
}

async fn said(session: &mut Session, line: &str) -> Value {
    let mut out = BytesMut::new();
    session.line(line.as_bytes(), &mut out).await;
    assert_eq!(out.last(), Some(&b'\n'), "{line}");
    serde_json::from_slice(&out).unwrap()
}

async fn ask(session: &mut Session, method: &str, params: Value) -> Value {
    let line = json!({ "id": 1, "method": method, "params": params });
    said(session, &line.to_string()).await
}

#[tokio::test]
async fn versions_are_agreed_on() {
    let cases = [
        (json!(["x", "1.4"]), Some("1.4")),
        (json!(["x", ["1.4", "1.6"]]), Some("1.6")),
        (json!(["x", ["1.1", "1.4.2"]]), Some("1.4.2")),
        (json!(["x", ["1.4", "2.0"]]), Some("1.6")),
        (json!(["x", ["1.4", "1.5"]]), Some("1.4.2")),
        (json!(["x", ["1.4", "1.6"], "garbage", 9, {}]), Some("1.6")),
        (json!({ "protocol_version": "1.6" }), Some("1.6")),
        (json!([]), Some("1.4")),
        (json!(["x", "1.5"]), None),
        (json!(["x", ["0.8", "1.2"]]), None),
        (json!(["x", ["1.7", "9"]]), None),
    ];
    for (params, agreed) in cases {
        let mut session = session();
        let answer = ask(&mut session, "server.version", params.clone()).await;
        assert_eq!(answer["result"][1].as_str(), agreed, "{params}: {answer}");
        assert_eq!(session.is_over(), agreed.is_none());
        assert_eq!(answer.get("error").is_some(), agreed.is_none());
    }
    for bad in [
        json!(["x", 1.4]),
        json!(["x", ["1.4"]]),
        json!(["x", "one"]),
    ] {
        let answer = ask(&mut session(), "server.version", bad).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
}

#[tokio::test]
async fn some_methods_are_of_one_version() {
    for (version, relay, info) in [("1.4", true, false), ("1.6", false, true)] {
        let mut session = session();
        ask(&mut session, "server.version", json!(["x", version])).await;
        for (method, there) in [("blockchain.relayfee", relay), ("mempool.get_info", info)] {
            let answer = ask(&mut session, method, json!([])).await;
            // Where the method is there, its node is not.
            let code = if there { -32603 } else { -32601 };
            assert_eq!(answer["error"]["code"], code, "{answer}");
        }
        let headers = ask(&mut session, "blockchain.block.headers", json!([0, 9])).await;
        let header = hex(&genesis().header);
        let mut expected = json!({ "count": 1, "max": 2016 });
        match relay {
            true => expected["hex"] = json!(header),
            false => expected["headers"] = json!([header]),
        }
        assert_eq!(headers["result"], expected);
    }
}

#[tokio::test]
async fn mistakes_are_told_by_their_code() {
    let hash = "00".repeat(32);
    let cases = [
        ("{", -32700),
        ("nonsense", -32700),
        (&"[".repeat(100_000), -32700),
        ("[]", -32600),
        ("7", -32600),
        ("{}", -32600),
        (r#"{"id":{},"method":"server.ping"}"#, -32600),
        (r#"{"id":1}"#, -32600),
        (r#"{"id":1,"method":7}"#, -32600),
        (r#"{"method":"server.ping"}"#, -32600),
        (r#"{"id":1,"method":"nosuch"}"#, -32601),
        (r#"{"id":1,"method":"server.ping","params":"x"}"#, -32602),
        (r#"{"id":1,"method":"server.ping","params":[1]}"#, -32602),
        (
            r#"{"id":1,"method":"server.ping","params":{"a":1}}"#,
            -32602,
        ),
        (r#"{"id":1,"method":"blockchain.block.header"}"#, -32602),
        (
            r#"{"id":1,"method":"blockchain.block.header","params":[-1]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"blockchain.block.header","params":[1]}"#,
            1,
        ),
        (
            r#"{"id":1,"method":"blockchain.block.header","params":[0,7]}"#,
            1,
        ),
        (
            r#"{"id":1,"method":"blockchain.block.header","params":[18446744073709551615]}"#,
            1,
        ),
        (
            r#"{"id":1,"method":"blockchain.scripthash.get_history","params":["ab"]}"#,
            -32602,
        ),
        (
            r#"{"id":1,"method":"blockchain.transaction.get","params":[7]}"#,
            -32602,
        ),
        (
            &format!(
                r#"{{"id":1,"method":"blockchain.transaction.get_merkle","params":["{hash}",0]}}"#
            ),
            1,
        ),
        (
            r#"{"id":1,"method":"blockchain.transaction.id_from_pos","params":[0,1]}"#,
            1,
        ),
        (
            r#"{"id":1,"method":"blockchain.transaction.broadcast","params":["00"]}"#,
            -32603,
        ),
    ];
    let mut session = session();
    for (line, code) in cases {
        let answer = said(&mut session, line).await;
        let shown: String = line.chars().take(100).collect();
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|m| !m.is_empty())
        );
        assert!(answer.get("result").is_none());
    }
}

#[tokio::test]
async fn what_is_asked_is_answered() {
    let mut session = session();
    let genesis = genesis();
    let header = hex(&genesis.header);
    let coinbase = genesis.txs[0].txid.to_string();
    let hash = "00".repeat(32);
    let cases = [
        ("server.ping", json!([]), Value::Null),
        ("server.ping", Value::Null, Value::Null),
        ("server.banner", json!({}), json!("hello")),
        ("server.peers.subscribe", json!([]), json!([])),
        ("blockchain.block.header", json!([0]), json!(header)),
        (
            "blockchain.block.header",
            json!({ "height": 0, "cp_height": null }),
            json!(header),
        ),
        (
            "blockchain.headers.subscribe",
            json!([]),
            json!({ "height": 0, "hex": header }),
        ),
        (
            "blockchain.scripthash.subscribe",
            json!([hash]),
            Value::Null,
        ),
        (
            "blockchain.scripthash.unsubscribe",
            json!([hash]),
            json!(true),
        ),
        (
            "blockchain.scripthash.unsubscribe",
            json!([hash]),
            json!(false),
        ),
        (
            "blockchain.scripthash.get_history",
            json!([hash]),
            json!([]),
        ),
        (
            "blockchain.scripthash.listunspent",
            json!([hash]),
            json!([]),
        ),
        (
            "blockchain.scripthash.get_balance",
            json!([hash]),
            json!({ "confirmed": 0, "unconfirmed": 0 }),
        ),
        (
            "blockchain.transaction.id_from_pos",
            json!([0, 0]),
            json!(coinbase),
        ),
        (
            "blockchain.transaction.id_from_pos",
            json!([0, 0, true]),
            json!({ "tx_hash": coinbase, "merkle": [] }),
        ),
        ("mempool.get_fee_histogram", json!([]), json!([])),
    ];
    for (method, params, expected) in cases {
        let answer = ask(&mut session, method, params.clone()).await;
        let whole = json!({ "jsonrpc": "2.0", "id": 1, "result": expected });
        assert_eq!(answer, whole, "{method} {params}");
    }
    let features = ask(&mut session, "server.features", json!([])).await;
    let own = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
    assert_eq!(features["result"]["genesis_hash"], own);
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order() {
    let mut session = session();
    let line = r#"[{"id":"a","method":"server.ping"},7,{"id":2,"method":"nosuch"}]"#;
    let answers = said(&mut session, line).await;
    assert_eq!(
        answers[0],
        json!({ "jsonrpc": "2.0", "id": "a", "result": null })
    );
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(
        (&answers[2]["id"], &answers[2]["error"]["code"]),
        (&json!(2), &json!(-32601))
    );
    let ping = r#"{"id":1,"method":"server.ping"}"#;
    let many = format!("[{}]", vec![ping; MAX_BATCH + 1].join(","));
    assert_eq!(said(&mut session, &many).await["error"]["code"], -32600);
}

/// A batch whose answers would be too large together gets errors from there on, and is bounded.
#[tokio::test]
async fn the_answers_to_a_batch_are_bounded() {
    let mut session = session();
    let mut out = BytesMut::new();
    // The id comes back: half a megabyte each.
    let id = "x".repeat(512 * 1024);
    let request = json!({ "id": id, "method": "server.ping" });
    session.batch(vec![request; 40], &mut out).await;
    let answers: Vec<Value> = serde_json::from_slice(&out).unwrap();
    assert!(answers.first().unwrap().get("result").is_some());
    assert_eq!(answers.last().unwrap()["error"]["code"], 1);
}

proptest! {
    /// Nothing that a client may send ends the server; whatever is not blank gets one line of JSON.
    #[test]
    fn any_line_is_answered(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        method in prop::sample::select(vec![
            "server.version", "server.features", "blockchain.block.header", "blockchain.block.headers",
            "blockchain.headers.subscribe", "blockchain.scripthash.subscribe", "blockchain.scripthash.listunspent",
            "blockchain.transaction.get_merkle", "blockchain.transaction.id_from_pos", "blockchain.scripthash.get_mempool",
        ]),
        params in prop::collection::vec(
            prop_oneof![
                Just(json!(null)), any::<i64>().prop_map(|n| json!(n)), any::<u64>().prop_map(|n| json!(n)),
                any::<f64>().prop_map(|n| json!(n)), "[0-9a-f]{64}".prop_map(|t| json!(t)), ".{0,8}".prop_map(|t| json!(t)),
                Just(json!([])), Just(json!({})), Just(json!(true)), Just(json!(["1.4", "1.6"])),
            ], 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut session = session();
        let line = json!({ "id": 1, "method": method, "params": params }).to_string();
        for line in [bytes, line.into_bytes()] {
            let mut out = BytesMut::new();
            runtime.block_on(session.line(&line, &mut out));
            if line.iter().all(u8::is_ascii_whitespace) {
                prop_assert!(out.is_empty());
            } else {
                prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
                prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            }
        }
    }
}
