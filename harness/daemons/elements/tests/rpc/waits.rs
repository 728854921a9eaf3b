//! Calls that wait for a block: they end when it comes, when their time is over and when the node stops, and keep nobody
//! from being heard.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::client::{TestNode, authorized_head, read_answer};

/// Milliseconds that no wait should need.
const LONG: u64 = 30_000;
/// As many may wait at once.
const MAX_WAITERS: usize = 64;

/// Sends a call and does not read its answer.
fn begin(node: &TestNode, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = node.connect();
    let head = authorized_head("/", &format!("Content-Length: {}", body.len()));
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream
}

fn call(method: &str, params: &Value) -> Value {
    json!({"id": 1, "method": method, "params": params})
}

fn end(mut stream: TcpStream) -> Value {
    let (status, text) = read_answer(&mut stream);
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn they_end_with_the_block() {
    let node = TestNode::funded();
    // By height, so that it does not matter whether the block or the call comes first.
    let held = begin(&node, &call("waitforblockheight", &json!([2, LONG])));
    let batch = json!([
        call("getblockcount", &json!([])),
        call("waitforblockheight", &json!([2])),
        call("waitfornewblock", &json!([1])),
        call("nosuch", &json!([])),
        call("getblockcount", &json!([])),
    ]);
    let batch = begin(&node, &batch);
    let hash = node.mine(1).remove(0);
    let tip = json!({"hash": hash, "height": 2});
    assert_eq!(end(held)["result"], tip);
    let answers = end(batch);
    assert_eq!(answers.as_array().map(Vec::len), Some(5));
    for at in [1, 2] {
        assert_eq!(answers[at]["result"], tip);
    }
    assert_eq!(answers[3]["error"]["code"], json!(-32601));
    assert_eq!(answers[4]["result"], json!(2));
    assert_eq!(node.ok("waitforblock", json!([hash, LONG])), tip);
    // A state that comes back is a change of the tip, too.
    let kept = node.ok("sim_snapshot", json!([]));
    node.mine(1);
    let held = begin(&node, &call("waitforblock", &json!([hash, LONG])));
    node.ok("sim_revert", json!([kept]));
    assert_eq!(end(held)["result"], tip);
}

#[test]
fn they_keep_nobody_out_and_end_with_the_node() {
    let node = TestNode::funded();
    let held: Vec<TcpStream> = (0..MAX_WAITERS)
        .map(|_| begin(&node, &call("waitforblockheight", &json!([2]))))
        .collect();
    // More than there are workers, and the node answers.
    assert_eq!(node.ok("getblockcount", json!([])), json!(1));
    // Once all of those are waiting, one more is one too many.
    let one_more = || {
        let body = call("waitforblockheight", &json!([2, 50]));
        read_answer(&mut begin(&node, &body))
    };
    let refused = (0..100)
        .map(|_| one_more())
        .find(|(status, _)| *status != 200);
    assert_eq!(refused, Some((503, "Work queue depth exceeded".to_owned())));
    node.ok("stop", json!([]));
    for held in held {
        assert_eq!(end(held)["result"]["height"], json!(1));
    }
}
