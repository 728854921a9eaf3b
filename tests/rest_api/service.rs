//! A REST service over a desk in memory, on a real socket, and plain requests to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use swaprig::api::rest::{Desk, Limits, serve};
use swaprig::client::rest::RestClient;
use swaprig_harness::time::Deadline;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::desk::{MemoryDesk, desk};

/// A service that runs.
pub(crate) struct Service {
    pub(crate) desk: Arc<MemoryDesk>,
    pub(crate) address: SocketAddr,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) ended: JoinHandle<()>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// It has no body, whatever it says.
    pub(crate) to_head: bool,
    pub(crate) kind: String,
    pub(crate) allow: Option<String>,
    pub(crate) body: Bytes,
}

/// Long enough that its end means a fault.
pub(crate) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

impl Service {
    pub(crate) async fn start(limits: Limits) -> Self {
        let desk = desk();
        let (address, stopping, ended) = start(desk.clone(), limits).await;
        Service {
            desk,
            address,
            stopping,
            ended,
        }
    }

    pub(crate) fn client(&self) -> RestClient {
        RestClient::new(&format!("http://{}", self.address)).expect("it is an address")
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Answer {
        send(self.address, request).await.expect("it answers")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Bytes::new());
        self.send(request.expect("it is a path")).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(body.into());
        self.send(request.expect("it is a path")).await
    }

    pub(crate) async fn stop(self) {
        self.stopping.send_replace(true);
        let ended = soon().bound(self.ended).await.expect("it ends");
        ended.expect("it does not panic");
    }
}

pub(crate) async fn start(
    desk: Arc<dyn Desk>,
    limits: Limits,
) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let (stopping, stops) = watch::channel(false);
    let ended = tokio::spawn(serve(listener, desk, limits, stops));
    (address, stopping, ended)
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Of a problem: its `param`.
    pub(crate) fn param(&self) -> Option<String> {
        assert_eq!(self.kind, "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["detail"], problem["message"]);
        Some(problem["param"].as_str()?.to_owned())
    }
}

/// One request over one connection.
pub(crate) async fn send(address: SocketAddr, request: Request<Bytes>) -> Result<Answer, String> {
    let exchange = async {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| text(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| text(&error))?;
        let wire = tokio::spawn(connection);
        let (mut head, body) = request.into_parts();
        let to_head = head.method == Method::HEAD;
        let host = address.to_string().parse().expect("it is a header");
        head.headers.entry("host").or_insert(host);
        let response = sender
            .send_request(Request::from_parts(head, Full::new(body)))
            .await
            .map_err(|error| text(&error))?;
        let (head, body) = response.into_parts();
        let header = |name| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let answer = Answer {
            status: head.status,
            to_head,
            kind: header("content-type").unwrap_or_default(),
            allow: header("allow"),
            body: body
                .collect()
                .await
                .map_err(|error| text(&error))?
                .to_bytes(),
        };
        wire.abort();
        Ok(answer)
    };
    soon()
        .bound(exchange)
        .await
        .unwrap_or_else(|| Err("no answer in time".into()))
}
