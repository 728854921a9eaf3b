//! JSON-RPC as it is on the wire: status, code and message of every answer, wanted or not. It interprets nothing.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use swaprig_harness::time::Deadline;
use tokio::net::TcpStream;

/// How long a node has for one call. The longest of them mines a hundred blocks.
const CALL: Duration = Duration::from_secs(60);

/// Where a node is asked, and as whom.
#[derive(Debug, Clone)]
pub struct NodeRpc {
    address: String,
    authorization: String,
}

/// The error of a JSON-RPC answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// As in Bitcoin Core's `rpc/protocol.h`.
    pub code: i64,
    /// The node's words.
    pub message: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The method that was called.
    pub method: String,
    /// The status of HTTP.
    pub status: u16,
    /// The result, or the error.
    pub result: Result<Value, Refused>,
}

/// There was no answer, or it was none of JSON-RPC.
#[derive(Debug, thiserror::Error)]
#[error("{method} brought no answer: {why}")]
pub struct NoAnswer {
    /// The method that was called.
    pub method: String,
    /// What happened.
    pub why: String,
}

impl NodeRpc {
    /// A node at `address` (`127.0.0.1:PORT`).
    pub fn new(address: impl Into<String>, user: &str, password: &str) -> Self {
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        NodeRpc {
            address: address.into(),
            authorization: format!("Basic {token}"),
        }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Calls `method` of the node, or of one of its wallets.
    ///
    /// # Errors
    /// When nothing came back that is an answer of JSON-RPC. An error of the node is no error here.
    pub async fn ask(
        &self,
        wallet: Option<&str>,
        method: &str,
        params: Value,
    ) -> Result<Reply, NoAnswer> {
        let path = wallet.map_or_else(|| "/".to_owned(), |name| format!("/wallet/{name}"));
        let body =
            json!({"jsonrpc": "1.0", "id": "conformance", "method": method, "params": params});
        let no_answer = |why: String| NoAnswer {
            method: method.to_owned(),
            why,
        };
        let (status, text) = self
            .post(&path, body.to_string())
            .await
            .map_err(no_answer)?;
        let answer: Value = serde_json::from_str(&text)
            .map_err(|_| no_answer(format!("HTTP {status} with `{}`", clip(&text))))?;
        let result = match &answer["error"] {
            Value::Null => Ok(answer["result"].clone()),
            error => Err(Refused {
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
            }),
        };
        Ok(Reply {
            method: method.to_owned(),
            status,
            result,
        })
    }

    /// Sends any body and gives the status and the text that came back.
    ///
    /// # Errors
    /// What broke, in words.
    pub async fn post(&self, path: &str, body: String) -> Result<(u16, String), String> {
        self.send(path, body, Some(&self.authorization)).await
    }

    /// As [`NodeRpc::post`], with another authorization, or none.
    ///
    /// # Errors
    /// As there.
    pub async fn post_as(
        &self,
        authorization: Option<&str>,
        body: String,
    ) -> Result<(u16, String), String> {
        self.send("/", body, authorization).await
    }

    async fn send(
        &self,
        path: &str,
        body: String,
        authorization: Option<&str>,
    ) -> Result<(u16, String), String> {
        let exchange = async {
            let stream = TcpStream::connect(&self.address).await?;
            // A request is written in two pieces; without this the second one may wait for the first one's receipt.
            stream.set_nodelay(true)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(connection);
            let mut request = Request::post(path)
                .header("host", &self.address)
                .header("connection", "close")
                .header("content-type", "application/json");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let response = sender
                .send_request(request.body(Full::new(Bytes::from(body)))?)
                .await?;
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await?.to_bytes();
            driver.abort();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((
                status,
                String::from_utf8_lossy(&bytes).into_owned(),
            ))
        };
        match Deadline::after(CALL).bound(exchange).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("nothing within {CALL:?}")),
        }
    }
}

/// The beginning of a text that may be long.
fn clip(text: &str) -> String {
    text.chars().take(200).collect()
}
