//! JSON-RPC over HTTP, before a server that keeps every byte it hears.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use swaprig_harness::proxy::{Calls, Code, Failure, FaultError, FieldValue, Proxy, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{soon, until, waits};

/// Answers each request as `answer` says, which gets its bytes; connections stay open.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start(answer: fn(&str) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(AtomicUsize::new(0));
        let (all, connections) = (requests.clone(), open.clone());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (all, open) = (all.clone(), connections.clone());
                open.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    while let Some(request) = message(&mut socket).await {
                        let answer = answer(&request);
                        all.lock().unwrap().push(request);
                        if answer.is_empty() || socket.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Server {
            address,
            requests,
            open,
        }
    }

    async fn proxy(&self) -> Proxy {
        let upstream = Upstream::JsonRpc(self.address.to_string());
        Proxy::start("client->server", upstream).await.unwrap()
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Reads one message with a `Content-Length`, byte by byte; `None` at the end of the connection.
async fn message(socket: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length:")?
            .trim()
            .parse()
            .ok()
    });
    let mut body = vec![0; length.unwrap_or(0)];
    socket.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

fn post(body: &str) -> String {
    format!(
        "POST /wallet/x HTTP/1.1\r\nHOST:  127.0.0.1\r\nx-Odd :1\r\ncontent-LENGTH: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Server:  odd \r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn body_of(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

/// Answers every call with what bitcoind's `getblockchaininfo` has, in an unusual order and with an unusual number.
fn info(request: &str) -> String {
    let call: Value = serde_json::from_str(body_of(request)).unwrap();
    let one = |call: &Value| {
        format!(
            "{{\"result\":{{\"z\":0.10000000,\"blocks\":101,\"a\":[{{\"height\":1}}]}},\"error\":null,\"id\":{}}}",
            call["id"]
        )
    };
    match &call {
        Value::Array(calls) => ok(&format!(
            "[{}]",
            calls.iter().map(one).collect::<Vec<_>>().join(", ")
        )),
        call => ok(&one(call)),
    }
}

pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn of(proxy: &Proxy) -> Self {
        Client(TcpStream::connect(proxy.address()).await.unwrap())
    }

    pub(super) async fn ask(&mut self, request: &str) -> Option<String> {
        self.0.write_all(request.as_bytes()).await.unwrap();
        soon("an answer", message(&mut self.0)).await
    }

    async fn call(&mut self, method: &str) -> Option<(String, Value)> {
        let asked = post(&json!({ "method": method, "id": 7 }).to_string());
        let answer = self.ask(&asked).await?;
        let status = answer.split(' ').nth(1).unwrap().to_owned();
        let body = serde_json::from_str(body_of(&answer)).unwrap_or_default();
        Some((status, body))
    }
}

#[tokio::test]
async fn without_a_fault_every_byte_passes() {
    let server = Server::start(info).await;
    let proxy = server.proxy().await;
    // A fault of another method changes nothing for this one.
    for fault in [false, true] {
        if fault {
            let other = Calls::of("other");
            proxy.fail(other.clone(), Failure::Closed, false).unwrap();
            proxy
                .tamper(other, Some("blocks"), FieldValue::Integer(1))
                .unwrap();
        }
        let mut client = Client::of(&proxy).await;
        for body in [
            "{ \"id\" :1, \"method\":\"getblockchaininfo\" }",
            "[ {\"method\":\"a\",\"id\":\"x\"} ,{\"method\":\"b\",\"id\":null}]",
        ] {
            let asked = post(body);
            let answer = client.ask(&asked).await.unwrap();
            assert_eq!(server.requests().pop().unwrap(), asked);
            assert_eq!(answer, info(&asked));
        }
    }
}

#[tokio::test]
async fn the_next_calls_of_a_method_fail_and_no_others() {
    let server = Server::start(info).await;
    let proxy = server.proxy().await;
    let mut client = Client::of(&proxy).await;
    let error = Failure::Error("out of luck".into());
    let fault = proxy.fail(Calls::of("a").next(2), error, false).unwrap();
    assert_eq!(client.call("b").await.unwrap().0, "200");
    for _ in 0..2 {
        let (status, body) = client.call("a").await.unwrap();
        let error = json!({ "code": -1, "message": "out of luck" });
        assert_eq!(status, "500");
        assert_eq!(body, json!({ "result": null, "error": error, "id": 7 }));
    }
    assert_eq!(client.call("a").await.unwrap().0, "200");
    assert_eq!((fault.hits(), server.requests().len()), (2, 2));

    proxy
        .fail(Calls::of("a").next(1), Failure::Http(503), true)
        .unwrap();
    assert_eq!(client.call("a").await.unwrap().0, "503");
    assert_eq!(server.requests().len(), 3, "the server carried it out");

    proxy
        .fail(Calls::all().next(1), Failure::Closed, false)
        .unwrap();
    assert_eq!(client.call("b").await, None);
    let mut client = Client::of(&proxy).await;
    assert_eq!(client.call("b").await.unwrap().0, "200");

    let status = Failure::Status(Code::Internal, String::new());
    let refused = proxy.fail(Calls::all(), status, false);
    assert!(matches!(refused, Err(FaultError::NoSuchFailure { .. })));
}

#[tokio::test]
async fn a_lie_is_told_once_and_then_the_truth() {
    let server = Server::start(info).await;
    let proxy = server.proxy().await;
    let mut client = Client::of(&proxy).await;
    let once = Calls::of("a").next(1);
    let lie = FieldValue::Integer(7);
    let fault = proxy.tamper(once, Some("a.0.height"), lie).unwrap();
    let height = |body: &Value| body.pointer("/result/a/0/height").cloned();
    assert_eq!(height(&client.call("b").await.unwrap().1), Some(json!(1)));
    let (_, told) = client.call("a").await.unwrap();
    assert_eq!(height(&told), Some(json!(7)));
    assert_eq!(told["result"]["blocks"], 101);
    assert_eq!(height(&client.call("a").await.unwrap().1), Some(json!(1)));
    assert_eq!(fault.hits(), 1);
    // Without a field it is the whole result; a field that is not there is none.
    proxy
        .tamper(Calls::of("a").next(1), None, FieldValue::Text("x".into()))
        .unwrap();
    let missing = proxy
        .tamper(Calls::of("b"), Some("blokcs"), FieldValue::Flag(true))
        .unwrap();
    assert_eq!(client.call("a").await.unwrap().1["result"], "x");
    assert_eq!(client.call("b").await.unwrap().1["result"]["blocks"], 101);
    assert_eq!(missing.hits(), 0);
}

#[tokio::test]
async fn answers_are_late_or_held_as_long_as_asked() {
    let server = Server::start(info).await;
    let proxy = server.proxy().await;
    let mut client = Client::of(&proxy).await;
    let ms = Duration::from_millis;
    proxy.delay(Calls::of("a").next(1), ms(50), ms(60)).unwrap();
    let started = Instant::now();
    client.call("b").await.unwrap();
    client.call("a").await.unwrap();
    assert!(started.elapsed() >= ms(110), "{:?}", started.elapsed());
    proxy.heal();

    proxy.freeze(Calls::of("a")).unwrap();
    let mut frozen = Box::pin(client.call("a"));
    assert!(waits(&mut frozen).await);
    let arrived = server.requests().len();
    let mut other = Client::of(&proxy).await;
    other.call("b").await.unwrap();
    proxy.thaw(Some("a"));
    frozen.await.unwrap();
    assert_eq!(server.requests().len(), arrived + 1);

    proxy.partition();
    let mut held = Box::pin(other.call("b"));
    assert!(waits(&mut held).await);
    assert_eq!(server.requests().len(), arrived + 1, "it must not arrive");
    proxy.heal();
    held.await.unwrap();
}

#[tokio::test]
async fn whoever_closes_a_connection_is_heard_at_the_other_end() {
    // The server closes before an answer; the client sees the end.
    let closes = Server::start(|_| String::new()).await;
    let proxy = closes.proxy().await;
    assert_eq!(Client::of(&proxy).await.call("a").await, None);

    // A client that goes away before an answer is gone for the server, too.
    let never = Server::start(|_| "HTTP/1.1 100 Continue\r\n\r\n".to_owned()).await;
    let proxy = never.proxy().await;
    let mut client = Client::of(&proxy).await;
    client
        .0
        .write_all(post("{\"method\":\"a\"}").as_bytes())
        .await
        .unwrap();
    until("the request to arrive", || never.requests().len() == 1).await;
    drop(client);
    until("the server to be left", || {
        never.open.load(Ordering::Relaxed) == 0
    })
    .await;

    // What is no HTTP closes both.
    let server = Server::start(info).await;
    let proxy = server.proxy().await;
    let mut client = Client::of(&proxy).await;
    client
        .0
        .write_all(b"\x16\x03\x01 hello\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(soon("the end", message(&mut client.0)).await, None);
    assert!(server.requests().is_empty());
}
