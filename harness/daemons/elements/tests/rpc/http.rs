//! Requests that are wrong, hostile or merely unusual. None of them may stop the node.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::client::{TestNode, authorized_head, read_answer};

/// The node still answers.
fn alive(node: &TestNode) {
    assert_eq!(node.ok("getblockcount", json!([])), json!(0));
}

#[test]
fn bodies_that_are_no_request() {
    let node = TestNode::start();
    let deep = "[".repeat(100_000);
    let nested = format!(
        "{{\"method\":\"help\",\"params\":{}{}}}",
        "[".repeat(600),
        "]".repeat(600)
    );
    let cases: &[(&[u8], u16, i64, &str)] = &[
        (b"", 500, -32700, "Parse error"),
        (b"{", 500, -32700, "Parse error"),
        (b"{\"method\":\"getblockcount\"", 500, -32700, "Parse error"),
        (
            b"{\"method\":\"getblockcount\"}x",
            500,
            -32700,
            "Parse error",
        ),
        (b"\xff\xfe", 500, -32700, "Parse error"),
        (b"1", 500, -32700, "Top-level object parse error"),
        (
            b"\"getblockcount\"",
            500,
            -32700,
            "Top-level object parse error",
        ),
        (b"{}", 400, -32600, "Missing method"),
        (b"{\"method\":1}", 400, -32600, "Method must be a string"),
        (
            b"{\"method\":\"help\",\"params\":1}",
            400,
            -32600,
            "Params must be an array or object",
        ),
        (b"{\"method\":\"nosuch\"}", 404, -32601, "Method not found"),
        (deep.as_bytes(), 500, -32700, "Parse error"),
        (nested.as_bytes(), 500, -32700, "Parse error"),
    ];
    for (body, status, code, message) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let (found, answer) = node.post("/", body);
        assert_eq!(found, *status, "{shown}");
        assert_eq!(answer["error"]["code"], json!(code), "{shown}");
        assert_eq!(answer["error"]["message"], json!(message), "{shown}");
        assert!(answer["result"].is_null());
    }
    alive(&node);
}

#[test]
fn parameters_by_position_and_name() {
    let node = TestNode::start();
    let genesis = "00902a6b70c2ca83b5d9c815d96a0e2f4202179316970d14ea1847dae5b1ca21";
    assert_eq!(node.ok("getblockhash", json!([0])), json!(genesis));
    assert_eq!(
        node.ok("getblockhash", json!({"height": 0})),
        json!(genesis)
    );
    let by_alias = node.ok("getblock", json!({"blockhash": genesis, "verbose": 0}));
    let by_name = node.ok("getblock", json!({"verbosity": 0, "blockhash": genesis}));
    assert_eq!(by_alias, by_name);
    let cases = [
        ("getblockhash", json!([]), -1, "getblockhash height\n"),
        ("getblockhash", json!([1, 2]), -1, "getblockhash height\n"),
        (
            "getblockhash",
            json!({"hight": 1}),
            -8,
            "Unknown named parameter hight",
        ),
        (
            "getblockhash",
            json!(["0"]),
            -1,
            "JSON value is not an integer as expected",
        ),
        (
            "getblockhash",
            json!([0.5]),
            -1,
            "JSON integer out of range",
        ),
        (
            "getblockhash",
            json!([1e30]),
            -1,
            "JSON integer out of range",
        ),
        ("getblockhash", json!([-1]), -8, "Block height out of range"),
        ("getblockhash", json!([1]), -8, "Block height out of range"),
        (
            "getblock",
            json!([1]),
            -1,
            "JSON value is not a string as expected",
        ),
        (
            "getblock",
            json!(["00"]),
            -8,
            "blockhash must be of length 64 (not 2, for '00')",
        ),
        ("getblock", json!(["0".repeat(64)]), -5, "Block not found"),
        (
            "getblockheader",
            json!(["0".repeat(64)]),
            -5,
            "Block not found",
        ),
        (
            "getrawtransaction",
            json!(["0".repeat(64)]),
            -5,
            "No such mempool or blockchain transaction. Use gettransaction for wallet transactions.",
        ),
        (
            "sendrawtransaction",
            json!([1]),
            -3,
            "Expected type string, got number",
        ),
        (
            "sendrawtransaction",
            json!(["zz"]),
            -22,
            "TX decode failed. Make sure the tx has at least one input.",
        ),
        (
            "testmempoolaccept",
            json!([[]]),
            -8,
            "Array must contain between 1 and 25 transactions.",
        ),
        (
            "generatetoaddress",
            json!([1, "nowhere"]),
            -5,
            "Error: Invalid address",
        ),
        (
            "createrawtransaction",
            json!([[], [{"nowhere": 1}]]),
            -5,
            "Invalid Bitcoin address: nowhere",
        ),
        (
            "createrawtransaction",
            json!([[], [{"fee": "x"}]]),
            -3,
            "Invalid amount",
        ),
        (
            "createrawtransaction",
            json!([[], [{"fee": 22000000}]]),
            -3,
            "Amount out of range",
        ),
        (
            "getnewaddress",
            json!([]),
            -18,
            "No wallet is loaded. Load a wallet using loadwallet or create a new one with createwallet. (Note: A default wallet is no longer automatically created)",
        ),
        (
            "setmocktime",
            json!([-1]),
            -8,
            "Mocktime cannot be negative: -1.",
        ),
    ];
    for (method, params, code, message) in cases {
        let found = node.fails(method, params.clone());
        assert_eq!(found, (code, message.to_owned()), "{method} {params}");
    }
    assert_eq!(
        node.ok("estimatesmartfee", json!([6])),
        json!({"errors": ["Insufficient data or no feerate found"], "blocks": 0})
    );
}

#[test]
fn batches_and_ids() {
    let node = TestNode::start();
    let (status, answer) = node.post(
        "/",
        br#"[{"method":"getblockcount","id":1},{"method":"nosuch","id":[2]},3,{"jsonrpc":"2.0","method":"getblockhash","params":{"height":9},"id":null}]"#,
    );
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!([
            {"result": 0, "error": null, "id": 1},
            {"result": null, "error": {"code": -32601, "message": "Method not found"}, "id": [2]},
            {"result": null, "error": {"code": -32600, "message": "Invalid Request object"}, "id": null},
            {"result": null, "error": {"code": -8, "message": "Block height out of range"}, "id": null},
        ])
    );
    assert_eq!(node.post("/", b"[]"), (200, json!([])));
    let large = format!("[{}1]", "1,".repeat(20_000));
    let (status, answer) = node.post("/", large.as_bytes());
    assert_eq!((status, answer.as_array().unwrap().len()), (200, 20_001));
}

#[test]
fn strangers_and_wrong_doors() {
    let node = TestNode::start();
    for authorization in ["Basic eDp5", "Basic", "Bearer x", "Basic ===", ""] {
        let (status, body) = node.post_as(authorization, "/", b"{\"method\":\"stop\"}");
        assert_eq!((status, body.as_str()), (401, ""), "{authorization}");
    }
    let right = "Basic dXNlcjpzZWNyZXQ=";
    assert_eq!(node.post_as(right, "/nowhere", b"{}").0, 404);
    let (status, answer) = node.call_at("/wallet/nobody", "getbalance", json!([]));
    assert_eq!(status, 500);
    assert_eq!(answer["error"]["code"], json!(-18));
    let mut stream = node.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
        .unwrap();
    let (status, body) = read_answer(&mut stream);
    assert_eq!(
        (status, body.as_str()),
        (405, "JSONRPC server handles only POST requests")
    );
    alive(&node);
}

#[test]
fn pipelined_chunked_and_endless() {
    let node = TestNode::start();
    let body = r#"{"method":"getblockcount","id":1}"#;
    let request = authorized_head("/", &format!("Content-Length: {}", body.len())) + body;
    // Three requests before the first answer, on one connection.
    let mut stream = node.connect();
    stream.write_all(request.repeat(3).as_bytes()).unwrap();
    for _ in 0..3 {
        let (status, text) = read_answer(&mut stream);
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &answer["result"]), (200, &json!(0)));
    }
    // In chunks, a byte each.
    let mut stream = node.connect();
    let mut request = authorized_head("/", "Transfer-Encoding: chunked");
    for byte in body.chars() {
        request += &format!("1\r\n{byte}\r\n");
    }
    stream
        .write_all((request + "0\r\n\r\n").as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut stream).0, 200);
    // Larger than allowed: said, and in chunks.
    let said = authorized_head("/", "Content-Length: 99999999");
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    let mut stream = node.connect();
    stream
        .write_all(authorized_head("/", "Transfer-Encoding: chunked").as_bytes())
        .unwrap();
    for _ in 0..40 {
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let mut stream = node.connect();
    stream.write_all(said.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).0, 413);
    // A head that does not end, and one that is no HTTP.
    let endless = authorized_head("/", &format!("X: {}", "y".repeat(1_000_000)));
    for bytes in [
        endless.as_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\0\0",
    ] {
        let mut stream = node.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    alive(&node);
}

#[test]
fn clients_that_are_silent_do_not_keep_others_out() {
    let node = TestNode::start();
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = node.connect();
            stream.write_all(b"POST / HTTP/1.1\r\nHost").unwrap();
            stream
        })
        .collect();
    alive(&node);
    drop(silent);
    alive(&node);
}

#[test]
fn a_body_of_the_largest_size_is_read() {
    let node = TestNode::start();
    let padding = " ".repeat(0x0200_0000 - 100);
    let body = format!("{{\"method\":\"getblockcount\",{padding}\"id\":1}}");
    let (status, answer) = node.post("/", body.as_bytes());
    assert_eq!((status, &answer["result"]), (200, &json!(0)));
}
