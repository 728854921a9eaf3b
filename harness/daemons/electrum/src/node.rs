//! The node's JSON-RPC: one request at a time over a connection that is kept, and calls for clients.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How long the node may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How much of an answer is read: a block of 4 MB has twice as many hexadecimal digits.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Calls for clients at a time. bitcoind has 4 threads for calls by default, and others call it, too.
const CALLS_AT_ONCE: usize = 3;
/// `RPC_IN_WARMUP` in Bitcoin Core's `rpc/protocol.h`.
const IN_WARMUP: i64 = -28;
/// `RPC_METHOD_NOT_FOUND`, there and in the JSON-RPC specification.
const METHOD_NOT_FOUND: i64 = -32601;

/// How this server shows the node who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// `USER:PASSWORD`.
    Cookie(String),
    /// A file that holds it, which the node writes anew each time it starts.
    CookieFile(PathBuf),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Auth::Cookie(_) => f.write_str("Cookie(…)"),
            Auth::CookieFile(path) => write!(f, "CookieFile({})", path.display()),
        }
    }
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The node refused it.
    #[error("{message} (code {code})")]
    Refused {
        /// The node's code.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// The node could not be asked.
    #[error("the node at {address} cannot be asked: {why}")]
    Unreachable {
        /// Its `HOST:PORT`.
        address: String,
        /// What went wrong.
        why: String,
    },
}

impl NodeError {
    /// Whether asking again later may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            NodeError::Refused { code, .. } => *code == IN_WARMUP,
            NodeError::Unreachable { .. } => true,
        }
    }

    /// Whether the node does not know the method.
    pub(crate) fn is_unknown_method(&self) -> bool {
        matches!(self, NodeError::Refused { code, .. } if *code == METHOD_NOT_FOUND)
    }
}

/// Where the node is.
#[derive(Debug, Clone)]
pub struct Node {
    /// `HOST:PORT` of its JSON-RPC.
    pub address: String,
    /// How it is asked.
    pub auth: Auth,
}

/// One connection to the node, made when it is needed.
#[derive(Debug)]
pub(crate) struct Connection {
    node: Node,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    authorization: String,
}

/// Why no answer came.
enum Failure {
    /// The connection was closed, perhaps before the node heard of the call.
    Closed(String),
    /// Something that asking again at once does not help.
    Other(String),
}

fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    error: Option<Refusal>,
}

/// The answer to one of several calls.
#[derive(Deserialize)]
struct Numbered {
    id: usize,
    #[serde(default)]
    result: Value,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    message: String,
}

impl Connection {
    /// A connection that is not open yet.
    pub(crate) fn new(node: Node) -> Self {
        Connection { node, open: None }
    }

    /// Calls a method.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) async fn call(&mut self, method: &str, params: &Value) -> Result<Value, NodeError> {
        self.call_within(method, params, ANSWER_WITHIN).await
    }

    /// Makes the next call over a fresh connection, which is to be done before an answer of more than a few kilobytes.
    /// Elements and older nodes send such an answer in two pieces, and the second one waits until the first is
    /// acknowledged, which takes the kernel 40 ms on a connection that has been in use.
    pub(crate) fn renew(&mut self) {
        self.open = None;
    }

    /// Makes several calls in one request; gives their answers in the same order.
    ///
    /// # Errors
    /// When there are no answers to them all; each has its own refusal.
    pub(crate) async fn batch(
        &mut self,
        calls: &[(&str, Value)],
    ) -> Result<Vec<Result<Value, NodeError>>, NodeError> {
        let call = |(i, (method, params)): (usize, &(&str, Value))| json!({ "jsonrpc": "1.0", "id": i, "method": method, "params": params });
        let body: Value = calls.iter().enumerate().map(call).collect();
        let (status, body) = self.exchange(body.to_string(), ANSWER_WITHIN).await?;
        let unusable = |why: String| NodeError::Unreachable {
            address: self.node.address.clone(),
            why,
        };
        let Ok(mut answers) = serde_json::from_slice::<Vec<Numbered>>(&body) else {
            // A refusal of the whole.
            return Err(match read(status, &body) {
                Ok(Err(Refusal { code, message })) => NodeError::Refused { code, message },
                Ok(Ok(_)) => unusable("it answers many calls with one".to_owned()),
                Err(why) => unusable(why),
            });
        };
        answers.sort_by_key(|answer| answer.id);
        if !answers.iter().map(|answer| answer.id).eq(0..calls.len()) {
            return Err(unusable("it leaves calls without an answer".to_owned()));
        }
        let one = |answer: Numbered| match answer.error {
            Some(Refusal { code, message }) => Err(NodeError::Refused { code, message }),
            None => Ok(answer.result),
        };
        Ok(answers.into_iter().map(one).collect())
    }

    /// Calls a method that may take its time.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) async fn call_within(
        &mut self,
        method: &str,
        params: &Value,
        limit: Duration,
    ) -> Result<Value, NodeError> {
        let call = json!({ "jsonrpc": "1.0", "id": 1, "method": method, "params": params });
        let (status, body) = self.exchange(call.to_string(), limit).await?;
        match read(status, &body) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Refusal { code, message })) => Err(NodeError::Refused { code, message }),
            Err(why) => Err(NodeError::Unreachable {
                address: self.node.address.clone(),
                why,
            }),
        }
    }

    /// Sends a body and gives what comes back.
    async fn exchange(
        &mut self,
        body: String,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), NodeError> {
        let body = Bytes::from(body);
        let was_open = self.open.is_some();
        let answer = match self.send(body.clone(), limit).await {
            // A node closes connections that were idle. Each of our calls may be made twice.
            Err(Failure::Closed(_)) if was_open => self.send(body, limit).await,
            other => other,
        };
        answer.map_err(|failure| NodeError::Unreachable {
            address: self.node.address.clone(),
            why: match failure {
                Failure::Closed(why) | Failure::Other(why) => why,
            },
        })
    }

    async fn send(&mut self, body: Bytes, limit: Duration) -> Result<(StatusCode, Bytes), Failure> {
        // Whatever goes wrong, a half-used connection is not used again.
        let open = self.open.take();
        let work = async {
            let mut open = match open {
                Some(open) if !open.sender.is_closed() => open,
                _ => self.node.connect().await?,
            };
            let (status, body) = open.post(&self.node.address, body).await?;
            Ok::<_, Failure>((open, status, body))
        };
        let done = tokio::time::timeout(limit, work).await;
        let (open, status, body) =
            done.map_err(|_| Failure::Other(format!("no answer within {limit:?}")))??;
        self.open = Some(open);
        Ok((status, body))
    }
}

/// What an answer says: an error of JSON-RPC comes with a status of its own (404, 500).
fn read(status: StatusCode, body: &[u8]) -> Result<Result<Value, Refusal>, String> {
    match serde_json::from_slice::<Answer>(body) {
        Ok(Answer {
            error: Some(error), ..
        }) => Ok(Err(error)),
        Ok(Answer { result, .. }) if status.is_success() => Ok(Ok(result)),
        _ if status == StatusCode::UNAUTHORIZED => {
            Err("it refuses the user and the password".to_owned())
        }
        Ok(_) => Err(format!("HTTP {status}")),
        Err(error) if status.is_success() => Err(format!("its answer is no JSON-RPC: {error}")),
        Err(_) => {
            let said: String = String::from_utf8_lossy(body).chars().take(200).collect();
            Err(format!("HTTP {status}: {said}"))
        }
    }
}

impl Node {
    async fn connect(&self) -> Result<Open, Failure> {
        let cookie = match &self.auth {
            Auth::Cookie(cookie) => cookie.clone(),
            Auth::CookieFile(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?
                .trim()
                .to_owned(),
        };
        let stream = TcpStream::connect(&self.address).await.map_err(other)?;
        stream.set_nodelay(true).map_err(other)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(other)?;
        // It ends with the sender or the socket; the sender's calls tell what went wrong.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Open {
            sender,
            authorization: format!("Basic {}", BASE64_STANDARD.encode(cookie)),
        })
    }
}

impl Open {
    async fn post(&mut self, host: &str, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
        let request = Request::post("/")
            .header(HOST, host)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(other)?;
        let closed = |error: hyper::Error| Failure::Closed(error.to_string());
        self.sender.ready().await.map_err(closed)?;
        let answer = self.sender.send_request(request).await.map_err(closed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER);
        let body = body.collect().await.map_err(other)?;
        Ok((status, body.to_bytes()))
    }
}

/// The calls that clients cause: few at a time, each over a connection of its own (see [`Connection::renew`]).
#[derive(Debug)]
pub(crate) struct Calls {
    node: Node,
    places: Semaphore,
}

impl Calls {
    /// No connection is made before the first call.
    pub(crate) fn new(node: Node) -> Self {
        Calls {
            node,
            places: Semaphore::new(CALLS_AT_ONCE),
        }
    }

    /// Calls a method, after those that came before when there are many.
    ///
    /// # Errors
    /// [`NodeError`].
    pub(crate) async fn call(&self, method: &str, params: &Value) -> Result<Value, NodeError> {
        let _place = self.places.acquire().await;
        Connection::new(self.node.clone())
            .call(method, params)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_say() {
        let said = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            read(status, body.as_bytes()).map(|answer| answer.map_err(|r| (r.code, r.message)))
        };
        assert_eq!(
            said(200, r#"{"result":[1],"error":null,"id":1}"#),
            Ok(Ok(json!([1])))
        );
        assert_eq!(said(200, r#"{"result":null,"id":1}"#), Ok(Ok(Value::Null)));
        let refused = r#"{"result":null,"error":{"code":-5,"message":"no"},"id":1}"#;
        for status in [200, 404, 500] {
            assert_eq!(said(status, refused), Ok(Err((-5, "no".to_owned()))));
        }
        for (status, body, part) in [
            (401, "", "user and the password"),
            (
                503,
                "Work queue depth exceeded",
                "Work queue depth exceeded",
            ),
            (200, "<html>", "no JSON-RPC"),
            (500, "{}", "HTTP 500"),
        ] {
            let error = said(status, body).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
