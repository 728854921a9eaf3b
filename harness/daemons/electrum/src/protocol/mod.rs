//! The Electrum protocol, 1.4 to 1.6: what a line of a client asks for and what it is answered.
//!
//! <https://electrum-protocol.readthedocs.io/>. It knows no sockets.

mod args;
mod chain_methods;
mod script_methods;
mod server_methods;
mod tx_methods;

use std::collections::HashMap;
use std::sync::Arc;

use bitcoin::BlockHash;
use bitcoin::hashes::sha256;
use bytes::BytesMut;
use serde_json::{Value, json};

use crate::chain::ScriptHash;
use crate::follow::Shared;
use crate::index::Tip;
use crate::node::{Calls, NodeError};
use args::Args;

/// Requests in one JSON array.
const MAX_BATCH: usize = 1_000;
/// Bytes of answers to one JSON array; what would go beyond is refused.
const MAX_BATCH_ANSWER: usize = 16 * 1024 * 1024;
/// Scripts that one client may subscribe to.
const MAX_SUBSCRIPTIONS: usize = 20_000;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32, u32);

impl Version {
    const V1_6: Version = Version(1, 6, 0);
    /// Those that this server speaks, in their order. There is no 1.5.
    const SPOKEN: [(Version, &'static str); 4] = [
        (Version(1, 4, 0), "1.4"),
        (Version(1, 4, 1), "1.4.1"),
        (Version(1, 4, 2), "1.4.2"),
        (Version::V1_6, "1.6"),
    ];

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse::<u32>().ok());
        let mut next = || numbers.next().unwrap_or(Some(0));
        let version = Version(next()?, next()?, next()?);
        numbers.next().is_none().then_some(version)
    }
}

/// An error as a client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: i64,
    message: String,
}

impl Refusal {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Refusal {
            code,
            message: message.into(),
        }
    }

    fn parse(why: impl std::fmt::Display) -> Self {
        Refusal::new(-32700, format!("parse error: {why}"))
    }

    fn invalid_request(why: &str) -> Self {
        Refusal::new(-32600, format!("invalid request: {why}"))
    }

    fn unknown_method(method: &str) -> Self {
        let shown: String = method.chars().take(80).collect();
        Refusal::new(-32601, format!("unknown method `{shown}`"))
    }

    fn invalid_params(why: impl std::fmt::Display) -> Self {
        Refusal::new(-32602, format!("invalid params: {why}"))
    }

    /// What was asked for is not there, or cannot be done now.
    fn bad_request(why: impl Into<String>) -> Self {
        Refusal::new(1, why)
    }

    fn to_json(&self) -> Value {
        json!({ "code": self.code, "message": self.message })
    }
}

impl From<NodeError> for Refusal {
    fn from(error: NodeError) -> Self {
        match error {
            // The node's own words; electrs gives this code with them, too.
            NodeError::Refused { message, .. } => Refusal::new(2, message),
            NodeError::Unreachable { .. } => Refusal::new(-32603, error.to_string()),
        }
    }
}

type Answer = Result<Value, Refusal>;

/// What a server knows beside its index.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: Calls,
    pub(crate) banner: String,
    pub(crate) port: u16,
}

/// One client.
pub(crate) struct Session {
    server: Arc<Server>,
    version: Option<Version>,
    /// The tip that it was told of last, if it wants to be told.
    headers: Option<BlockHash>,
    scripts: HashMap<ScriptHash, Option<sha256::Hash>>,
    /// The version of the index that it was told of last.
    seen: u64,
    is_over: bool,
}

impl Session {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Session {
            server,
            version: None,
            headers: None,
            scripts: HashMap::new(),
            seen: 0,
            is_over: false,
        }
    }

    /// Whether the connection is to be closed once the client has heard what there is for it.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether it is to be told of changes.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.headers.is_some() || !self.scripts.is_empty()
    }

    /// Answers one line, which may hold a request or an array of them.
    pub(crate) async fn line(&mut self, line: &[u8], out: &mut BytesMut) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        // serde_json refuses what is nested deeper than 128.
        match serde_json::from_slice::<Value>(line) {
            Err(error) => push(out, &answer(&Value::Null, Err(Refusal::parse(error)))),
            Ok(Value::Array(requests)) => self.batch(requests, out).await,
            Ok(request) => {
                let answer = self.request(request).await;
                push(out, &answer);
            }
        }
    }

    async fn batch(&mut self, requests: Vec<Value>, out: &mut BytesMut) {
        if requests.is_empty() || requests.len() > MAX_BATCH {
            let why = format!("a batch holds 1 to {MAX_BATCH} requests");
            let refused = Err(Refusal::invalid_request(&why));
            return push(out, &answer(&Value::Null, refused));
        }
        let mut separator = &b"["[..];
        let start = out.len();
        for request in requests {
            let text = match out.len() - start < MAX_BATCH_ANSWER {
                true => self.request(request).await,
                false => {
                    let id = request.get("id").cloned().unwrap_or_default();
                    let why = "the answers to this batch are too large together";
                    answer(&id, Err(Refusal::bad_request(why)))
                }
            };
            out.extend_from_slice(separator);
            out.extend_from_slice(text.to_string().as_bytes());
            separator = b",";
            // Other clients have their turn.
            tokio::task::yield_now().await;
        }
        out.extend_from_slice(b"]\n");
    }

    async fn request(&mut self, request: Value) -> Value {
        let Value::Object(mut request) = request else {
            let refused = Err(Refusal::invalid_request("it is no object"));
            return answer(&Value::Null, refused);
        };
        let id = match request.remove("id") {
            Some(id @ (Value::Number(_) | Value::String(_) | Value::Null)) => id,
            Some(_) => {
                let refused = Refusal::invalid_request("`id` is neither a number nor a text");
                return answer(&Value::Null, Err(refused));
            }
            None => {
                return answer(
                    &Value::Null,
                    Err(Refusal::invalid_request("it has no `id`")),
                );
            }
        };
        let Some(Value::String(method)) = request.remove("method") else {
            return answer(&id, Err(Refusal::invalid_request("it has no `method`")));
        };
        let params = request.remove("params").unwrap_or_default();
        let result = self.call(&method, params).await;
        answer(&id, result)
    }

    async fn call(&mut self, method: &str, params: Value) -> Answer {
        if method == "server.version" {
            return self.negotiate(params);
        }
        let args = |names: &'static [&'static str]| Args::read(params, names);
        let is_1_6 = self.version >= Some(Version::V1_6);
        match method {
            "server.banner" => args(&[]).map(|_| json!(self.server.banner)),
            "server.donation_address" => args(&[]).map(|_| json!("")),
            "server.features" => args(&[]).and_then(|_| self.features()),
            "server.peers.subscribe" => args(&[]).map(|_| json!([])),
            "server.ping" => args(&[]).map(|_| Value::Null),
            "blockchain.block.header" => self.block_header(&args(&["height", "cp_height"])?),
            "blockchain.block.headers" => {
                self.block_headers(&args(&["start_height", "count", "cp_height"])?)
            }
            "blockchain.estimatefee" => self.estimate_fee(&args(&["number", "mode"])?).await,
            "blockchain.headers.subscribe" => args(&[]).and_then(|_| self.subscribe_headers()),
            "blockchain.relayfee" if !is_1_6 => {
                args(&[])?;
                self.relay_fee().await
            }
            "blockchain.scripthash.get_balance" => self.balance(&args(&["scripthash"])?),
            "blockchain.scripthash.get_history" => self.history(&args(&["scripthash"])?),
            "blockchain.scripthash.get_mempool" => self.mempool(&args(&["scripthash"])?),
            "blockchain.scripthash.listunspent" => self.list_unspent(&args(&["scripthash"])?),
            "blockchain.scripthash.subscribe" => self.subscribe(&args(&["scripthash"])?),
            "blockchain.scripthash.unsubscribe" => self.unsubscribe(&args(&["scripthash"])?),
            "blockchain.transaction.broadcast" => self.broadcast(&args(&["raw_tx"])?).await,
            "blockchain.transaction.broadcast_package" if is_1_6 => {
                self.broadcast_package(&args(&["raw_txs", "verbose"])?)
                    .await
            }
            "blockchain.transaction.get" => self.transaction(&args(&["tx_hash", "verbose"])?).await,
            "blockchain.transaction.get_merkle" => self.merkle(&args(&["tx_hash", "height"])?),
            "blockchain.transaction.id_from_pos" => {
                self.id_from_pos(&args(&["height", "tx_pos", "merkle"])?)
            }
            "mempool.get_fee_histogram" => args(&[]).map(|_| self.fee_histogram()),
            "mempool.get_info" if is_1_6 => {
                args(&[])?;
                self.mempool_info().await
            }
            "blockchain.relayfee" => Err(Refusal::new(
                -32601,
                "`blockchain.relayfee` is no method of protocol 1.6; `mempool.get_info` tells it",
            )),
            "mempool.get_info" | "blockchain.transaction.broadcast_package" => Err(Refusal::new(
                -32601,
                format!(
                    "`{method}` is a method of protocol 1.6, which server.version did not ask for"
                ),
            )),
            unknown => Err(Refusal::unknown_method(unknown)),
        }
    }

    /// Writes what has changed since the client was told last.
    pub(crate) fn notify(&mut self, out: &mut BytesMut) {
        let shared = self.server.shared.clone();
        shared.read(|index| {
            if let (Some(told), Some(tip)) = (&mut self.headers, index.tip())
                && *told != tip.hash
            {
                *told = tip.hash;
                let header = header_json(tip);
                push(
                    out,
                    &notification("blockchain.headers.subscribe", json!([header])),
                );
            }
            for (script, told) in &mut self.scripts {
                if !index.touched_since(script, self.seen) {
                    continue;
                }
                let status = index.status(script);
                if *told != status {
                    *told = status;
                    let params = json!([script.to_string(), status_json(status)]);
                    push(
                        out,
                        &notification("blockchain.scripthash.subscribe", params),
                    );
                }
            }
            self.seen = index.version();
        });
    }
}

fn answer(id: &Value, result: Answer) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(refusal) => json!({ "jsonrpc": "2.0", "id": id, "error": refusal.to_json() }),
    }
}

fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

fn push(out: &mut BytesMut, message: &Value) {
    out.extend_from_slice(message.to_string().as_bytes());
    out.extend_from_slice(b"\n");
}

fn header_json(tip: Tip<'_>) -> Value {
    json!({ "height": tip.height, "hex": hex(tip.header) })
}

fn status_json(status: Option<sha256::Hash>) -> Value {
    status.map_or(Value::Null, |status| json!(status.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    use bitcoin::hex::DisplayHex as _;
    bytes.to_lower_hex_string()
}

#[cfg(test)]
mod tests;
