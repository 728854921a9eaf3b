//! A thin JSON-RPC client: any method, any wallet, many calls in one request. Each call is bounded by its caller's
//! deadline. The typed clients of Bitcoin do not fit Elements, whose answers have other fields.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::bitcoind::{RpcError, RpcErrorKind};
use crate::time::Deadline;

/// How much of an answer is read: a batch of two thousand blocks has a few megabytes.
const MOST: usize = 256 * 1024 * 1024;

/// One call of a batch.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Its parameters, in their order.
    pub params: Vec<Value>,
}

impl Call {
    /// A call of `method`.
    pub fn new(method: &'static str, params: impl Into<Vec<Value>>) -> Self {
        Call {
            method,
            params: params.into(),
        }
    }
}

/// A client of one node. Every request opens a connection of its own, so it survives a restart of the node.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    instance: String,
    address: String,
    authorization: String,
}

impl Client {
    pub(crate) fn new(instance: &str, port: u16, user: &str, password: &str) -> Self {
        Client {
            instance: instance.to_owned(),
            address: format!("127.0.0.1:{port}"),
            authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An error of this node and method.
    pub(super) fn error(&self, method: &str, kind: RpcErrorKind) -> RpcError {
        RpcError {
            instance: self.instance.clone(),
            method: method.to_owned(),
            kind,
        }
    }

    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        wallet: Option<&str>,
        method: &str,
        params: &[Value],
        deadline: Deadline,
    ) -> Result<T, RpcError> {
        let request = json!({ "jsonrpc": "1.0", "id": 0, "method": method, "params": params });
        let answer = self.post(wallet, method, &request, deadline).await?;
        let result = self.result(method, answer)?;
        serde_json::from_value(result).map_err(|e| self.unreadable(method, &e.to_string()))
    }

    /// Sends all `calls` in one request; gives their results in their order. The first error is the error of all.
    pub(crate) async fn batch(
        &self,
        wallet: Option<&str>,
        calls: &[Call],
        deadline: Deadline,
    ) -> Result<Vec<Value>, RpcError> {
        let Some(first) = calls.first() else {
            return Ok(Vec::new());
        };
        let requests = calls.iter().enumerate().map(|(id, call)| {
            json!({ "jsonrpc": "1.0", "id": id, "method": call.method, "params": call.params })
        });
        let requests = Value::Array(requests.collect());
        let answer = self.post(wallet, first.method, &requests, deadline).await?;
        let Value::Array(answers) = answer else {
            // A request that is refused as a whole is answered with one object.
            let text = "one answer came to many calls";
            return Err(self
                .result(first.method, answer)
                .err()
                .unwrap_or_else(|| self.unreadable(first.method, text)));
        };
        let mut results = vec![None; calls.len()];
        for answer in answers {
            let id = answer["id"]
                .as_u64()
                .and_then(|id| usize::try_from(id).ok());
            let Some(id) = id.filter(|id| *id < calls.len()) else {
                return Err(self.unreadable(first.method, "an answer to no call"));
            };
            results[id] = Some(self.result(calls[id].method, answer)?);
        }
        let all: Option<Vec<Value>> = results.into_iter().collect();
        all.ok_or_else(|| self.unreadable(first.method, "a call of many was not answered"))
    }

    fn unreadable(&self, method: &str, why: &str) -> RpcError {
        let text = format!("its answer cannot be read: {why}");
        self.error(method, RpcErrorKind::Broken(text))
    }

    /// The result in an answer, or the error in it.
    fn result(&self, method: &str, mut answer: Value) -> Result<Value, RpcError> {
        // Not by `answer["error"]`, which panics when an answer is no object.
        let mut taken = |key: &str| answer.get_mut(key).map(Value::take).unwrap_or_default();
        let error = taken("error");
        if error.is_null() {
            return Ok(taken("result"));
        }
        let code = error["code"]
            .as_i64()
            .and_then(|code| i32::try_from(code).ok());
        let message = error["message"].as_str();
        let kind = match (code, message) {
            (Some(code), Some(message)) => RpcErrorKind::Refused {
                code,
                message: message.to_owned(),
            },
            _ => RpcErrorKind::Broken(format!("its error cannot be read: {error}")),
        };
        Err(self.error(method, kind))
    }

    async fn post(
        &self,
        wallet: Option<&str>,
        method: &str,
        body: &Value,
        deadline: Deadline,
    ) -> Result<Value, RpcError> {
        let path = match wallet {
            Some(wallet) => format!("/wallet/{wallet}"),
            None => "/".to_owned(),
        };
        let exchange = self.exchange(&path, body.to_string());
        match deadline.bound(exchange).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(why)) => Err(self.error(method, RpcErrorKind::Broken(why))),
            None => Err(self.error(method, RpcErrorKind::TimedOut(deadline.elapsed()))),
        }
    }

    /// Sends a request; an error says in words what became of it.
    async fn exchange(&self, path: &str, body: String) -> Result<Value, String> {
        let said = |error: &dyn std::error::Error| error.to_string();
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(|e| format!("could not connect to {}: {e}", self.address))?;
        stream.set_nodelay(true).map_err(|e| said(&e))?;
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(|e| crate::error_chain(&e))?;
        let request = hyper::Request::post(path)
            .header(HOST, &self.address)
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| said(&e))?;
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|e| crate::error_chain(&e))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MOST).collect().await;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            serde_json::from_slice(&body).map_err(|_| match status.as_u16() {
                401 => "user or password is wrong (HTTP 401)".to_owned(),
                status => format!("the answer is no JSON (HTTP {status})"),
            })
        };
        // The connection is driven beside the answer, and dropped with it.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = answer.as_mut() => answer,
            ended = connection.as_mut() => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(crate::error_chain(&error)),
            },
        }
    }
}
