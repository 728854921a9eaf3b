//! Hostile requests: any bytes, any JSON, and whatever the document can be made to say. No 5xx, no panic, a server that still serves.

use std::sync::Arc;

use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use hyper::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use swaprig::api::rest::{Limits, document};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::generate::Generator;
use super::requests::{into, out, preimage};
use super::schema::Document;
use super::service::{Answer, Service, send, soon};

fn documented() -> Document {
    Document(serde_json::to_value(document()).unwrap())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

/// Runs a property against a service, which must serve and end afterwards.
async fn property<S: Strategy + 'static>(
    strategy: fn() -> S,
    cases: u32,
    holds: impl Fn(&Service, S::Value) -> Result<(), String> + Send + 'static,
) {
    let service = Arc::new(Service::start(Limits::default()).await);
    let tested = service.clone();
    let run = tokio::task::spawn_blocking(move || {
        let run = runner(cases).run(&strategy(), |value| {
            holds(&tested, value).map_err(TestCaseError::fail)
        });
        run.map_err(|error| error.to_string())
    });
    run.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(service.get("/health").await.status, 200);
    let service = Arc::into_inner(service).expect("no case is left");
    service.stop().await;
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(future)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,80}".prop_map(Value::from),
        "[0-9a-f]{60,70}".prop_map(Value::from),
        "(02|03)[0-9a-f]{64}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

const FIELDS: [&str; 14] = [
    "pubkey",
    "amount",
    "payment_hash",
    "invoice_first",
    "internal_key",
    "confirmations",
    "publication_deadline",
    "max_fee",
    "payment_request",
    "preimage",
    "transaction",
    "nonce",
    "other",
    "",
];

/// A good request with some fields changed.
fn bodies() -> impl Strategy<Value = (usize, Value)> {
    let changes = prop::collection::vec((prop::sample::select(&FIELDS[..]), value()), 0..4);
    (0..5_usize, any::<bool>(), changes).prop_map(|(which, fair, changes)| {
        let mut body = match (which, fair) {
            (0, true) => serde_json::to_value(out(1)).unwrap(),
            (1, true) => serde_json::to_value(into(2)).unwrap(),
            _ => serde_json::json!({}),
        };
        for (field, value) in changes {
            body[field] = value;
        }
        (which, body)
    })
}

fn paths() -> [String; 5] {
    let (there, not) = (preimage(1).payment_hash(), preimage(9).payment_hash());
    [
        "/loop/out".into(),
        "/loop/in".into(),
        format!("/loop/out/{there}/preimage"),
        format!("/loop/in/{not}/cosign"),
        format!("/loop/out/{there}/cosign"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_json_gets_a_documented_answer() {
    let document = documented();
    property(bodies, 600, move |service, (which, body)| {
        let path = &paths()[which];
        let answer = wait(service.post(path, body.to_string()));
        document.check(&Method::POST, path, &answer)?;
        match answer.status.is_server_error() {
            true => Err(format!("{answer:?}")),
            false => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_as_a_body_get_a_documented_answer() {
    let document = documented();
    let bytes = || (0..5_usize, prop::collection::vec(any::<u8>(), 0..400));
    property(bytes, 300, move |service, (which, body)| {
        let path = &paths()[which];
        let answer = wait(service.post(path, body));
        document.check(&Method::POST, path, &answer)?;
        match answer.status.as_u16() {
            400 => Ok(()),
            other => Err(format!("{other}: {answer:?}")),
        }
    })
    .await;
}

/// HTTP with something wrong in it, or nothing of it.
fn http() -> impl Strategy<Value = Vec<u8>> {
    let body = serde_json::to_string(&out(1)).unwrap();
    let good = [
        format!("POST /loop/out HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        "GET /loop/out/quote?amount=250000&confirmations=1 HTTP/1.1\r\nhost: x\r\n\r\n".into(),
        "POST /loop/out HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".into(),
        format!("GET /loop/out/{}/events HTTP/1.1\r\nhost: x\r\n\r\n", preimage(1).payment_hash()),
    ];
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    let near = (
        prop::sample::select(good.to_vec()),
        prop::collection::vec(change, 1..8),
    );
    let near = near.prop_map(|(good, changes)| {
        let mut bytes = good.into_bytes();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
        bytes
    });
    prop_oneof![4 => near, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

async fn statuses(service: &Service, bytes: &[u8]) -> Result<Vec<u16>, String> {
    let mut stream = TcpStream::connect(service.address)
        .await
        .map_err(|error| error.to_string())?;
    let _ = stream.write_all(bytes).await;
    // Whoever has said all that it will say gets its answer and the end.
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let ended = soon().bound(stream.read_to_end(&mut answer)).await;
    let _ = ended.ok_or("the connection does not end")?;
    let text = String::from_utf8_lossy(&answer);
    let heads = text.split("HTTP/1.").skip(1);
    Ok(heads
        .filter_map(|head| head.split(' ').nth(1)?.parse().ok())
        .collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_on_the_wire_get_no_5xx() {
    property(http, 600, |service, bytes| {
        let statuses = wait(statuses(service, &bytes))?;
        match statuses.iter().all(|status| *status < 500) {
            true => Ok(()),
            false => Err(format!("{statuses:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_made_from_the_document_get_what_it_says() {
    let service = Service::start(Limits::default()).await;
    let client = service.client();
    let document = documented();
    let mut known = Vec::new();
    for number in 1..=6 {
        let made = match number % 2 {
            0 => client.loop_in(&into(number), None, soon()).await.unwrap(),
            _ => client.loop_out(&out(number), None, soon()).await.unwrap(),
        };
        known.push(made.payment_hash);
    }
    let mut generator = Generator {
        document: &document,
        rng: StdRng::seed_from_u64(1),
        known,
    };
    let mut good = 0;
    for _ in 0..1_500 {
        let request = generator.request();
        let shown = format!("{request:?}");
        let (method, path) = (request.method().clone(), request.uri().to_string());
        if path.ends_with("/events") {
            continue;
        }
        let answer: Answer = send(service.address, request)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{shown}"));
        let documented = document.check(&method, &path, &answer);
        documented.unwrap_or_else(|error| panic!("{error}\n{shown}\n{answer:?}"));
        assert!(!answer.status.is_server_error(), "{shown}\n{answer:?}");
        good += u32::from(answer.status.is_success());
    }
    // Otherwise it is not the API that is tested but its door.
    assert!(good > 300, "only {good} were answered");
    service.stop().await;
}
