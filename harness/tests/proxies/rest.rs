//! HTTP with JSON as bodies: calls by method and path, events as they happen.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use swaprig_harness::proxy::{Calls, Failure, FaultError, FieldValue, Proxy, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::json_rpc::{Client, Server, body_of, ok};
use super::{soon, waits};

async fn proxy(server: &Server) -> Proxy {
    let upstream = Upstream::Http(server.address.to_string());
    Proxy::start("client->server", upstream).await.unwrap()
}

fn request(call: &str) -> String {
    format!("{call} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}")
}

/// Answers with an order, in an unusual order of its fields and with an unusual number.
fn order(request: &str) -> String {
    let path = request.split(' ').nth(1).unwrap();
    ok(&format!(
        "{{\"sat\": 7.0, \"path\":{path:?},  \"legs\":[{{\"at\":1}}]}}"
    ))
}

async fn told(client: &mut Client, call: &str) -> Value {
    let answer = client.ask(&request(call)).await.unwrap();
    serde_json::from_str(body_of(&answer)).unwrap()
}

#[tokio::test]
async fn without_a_fault_of_its_own_a_call_passes_byte_for_byte() {
    let server = Server::start(order).await;
    let proxy = proxy(&server).await;
    let mut client = Client::of(&proxy).await;
    for call in ["POST /orders?now=1", "GET /orders/7"] {
        let asked = request(call);
        assert_eq!(client.ask(&asked).await.unwrap(), order(&asked));
        assert_eq!(server.requests().pop().unwrap(), asked);
        // From here on there is one, of another call.
        let other = Calls::of("POST /orders/*");
        proxy.fail(other.clone(), Failure::Closed, false).unwrap();
        let lie = FieldValue::Integer(1);
        proxy.tamper(other, Some("sat"), lie).unwrap();
    }
}

#[tokio::test]
async fn a_lie_is_told_of_the_calls_whose_path_it_names() {
    let server = Server::start(order).await;
    let proxy = proxy(&server).await;
    let mut client = Client::of(&proxy).await;
    let one = Calls::of("GET /orders/*");
    let lie = proxy.tamper(
        one.clone().next(1),
        Some("legs.0.at"),
        FieldValue::Integer(9),
    );
    let lie = lie.unwrap();
    assert_eq!(told(&mut client, "GET /orders").await["legs"][0]["at"], 1);
    assert_eq!(told(&mut client, "PUT /orders/7").await["legs"][0]["at"], 1);
    let answer = told(&mut client, "GET /orders/7?now=1").await;
    let path = "/orders/7?now=1";
    assert_eq!(
        answer,
        json!({ "sat": 7.0, "path": path, "legs": [{ "at": 9 }] })
    );
    assert_eq!(told(&mut client, "GET /orders/8").await["legs"][0]["at"], 1);
    assert_eq!(lie.hits(), 1);

    // What is not there is not told, unless it is to be added.
    let text = || FieldValue::Text("x".into());
    let absent = proxy.tamper(one.clone(), Some("memo"), text()).unwrap();
    assert_eq!(told(&mut client, "GET /orders/7").await.get("memo"), None);
    assert_eq!(absent.hits(), 0);
    proxy.heal();
    let added = proxy.tamper_or_add(one.clone(), "memo", text()).unwrap();
    assert_eq!(told(&mut client, "GET /orders/7").await["memo"], "x");
    assert_eq!(added.hits(), 1);
    // Without a field it is the whole body.
    proxy
        .tamper(one, None, FieldValue::Json(json!([1])))
        .unwrap();
    assert_eq!(told(&mut client, "GET /orders/7").await, json!([1]));
}

#[tokio::test]
async fn calls_fail_and_are_late_and_held() {
    let server = Server::start(order).await;
    let proxy = proxy(&server).await;
    let mut client = Client::of(&proxy).await;
    let post = || Calls::of("POST /orders");
    let fault = proxy
        .fail(post().next(1), Failure::Http(503), true)
        .unwrap();
    let answer = client.ask(&request("POST /orders")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!((server.requests().len(), fault.hits()), (1, 1));

    let ms = Duration::from_millis;
    proxy.delay(post().next(1), ms(40), ms(50)).unwrap();
    let started = Instant::now();
    client.ask(&request("GET /orders")).await.unwrap();
    client.ask(&request("POST /orders")).await.unwrap();
    assert!(started.elapsed() >= ms(90), "{:?}", started.elapsed());

    proxy.freeze(post()).unwrap();
    let asked = request("POST /orders");
    let mut frozen = Box::pin(client.ask(&asked));
    assert!(waits(&mut frozen).await);
    proxy.thaw(Some("POST /orders"));
    frozen.await.unwrap();
    assert_eq!(server.requests().len(), 4, "it was carried out");

    let error = Failure::Error("no".into());
    let refused = proxy.fail(post(), error, false);
    assert!(matches!(refused, Err(FaultError::NoSuchFailure { .. })));
    let refused = proxy.freeze(Calls::of("post /orders"));
    assert!(matches!(refused, Err(FaultError::Call(_))));
}

/// An answer without an end must not be waited for.
#[tokio::test]
async fn events_pass_as_they_happen_and_a_partition_holds_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream::Http(listener.local_addr().unwrap().to_string());
    let proxy = Proxy::start("client->server", upstream).await.unwrap();
    proxy
        .tamper(Calls::all(), Some("sat"), FieldValue::Flag(true))
        .unwrap();
    let mut client = Client::of(&proxy).await.0;
    client
        .write_all(request("GET /events").as_bytes())
        .await
        .unwrap();
    let (mut server, _) = soon("a connection", listener.accept()).await.unwrap();
    let mut asked = vec![0; request("GET /events").len()];
    soon("the request", server.read_exact(&mut asked))
        .await
        .unwrap();
    let head =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut heard = vec![0; head.len()];
    for event in [&head[..], b"7\r\n: one\n\n\r\n", b"7\r\n: two\n\n\r\n"] {
        server.write_all(event).await.unwrap();
        let heard = &mut heard[..event.len()];
        soon("an event", client.read_exact(heard)).await.unwrap();
        assert_eq!(heard, event);
    }
    proxy.partition();
    server.write_all(b"7\r\n").await.unwrap();
    let mut held = Box::pin(client.read_exact(&mut heard[..3]));
    assert!(waits(&mut held).await);
    proxy.heal();
    soon("the event", held).await.unwrap();
    // Who goes away is gone at the other end.
    drop(client);
    let end = soon("the end", server.read(&mut asked)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}
