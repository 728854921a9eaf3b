//! What one caller may take: bytes, headers, time, connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swaprig::api::rest::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::requests::out;
use super::service::{Service, soon};

/// Sends bytes and reads until the server closes the connection.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has heard enough closes before all is written.
    let _ = stream.write_all(bytes).await;
    read(&mut stream).await
}

async fn read(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let ended = soon().bound(stream.read_to_end(&mut answer)).await;
    let _ = ended.expect("the server closes it");
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(body: &str, more: &str) -> String {
    let length = body.len();
    format!(
        "POST /loop/out HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_body_may_have_16_kib_and_no_more() {
    let service = Service::start(Limits::default()).await;
    let good = serde_json::to_string(&out(1)).unwrap();
    let most = Limits::default().body;
    let padded = |length: usize| format!("{good}{}", " ".repeat(length - good.len()));
    let answer = service.post("/loop/out", padded(most + 1)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["type"], "urn:swaprig:problem:too-large");
    assert_eq!(service.desk.len(), 0);
    assert_eq!(service.post("/loop/out", padded(most)).await.status, 200);
    // Of a size that nobody has said, too.
    let mut chunked = b"POST /loop/out HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend(b"1000\r\n");
        chunked.extend([b' '; 0x1000]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let answer = raw(service.address, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    service.stop().await;
}

#[tokio::test]
async fn heads_have_limits() {
    let service = Service::start(Limits::default()).await;
    let long = format!("x-long: {}\r\n", "a".repeat(20_000));
    let answer = raw(service.address, post("{}", &long).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = raw(service.address, post("{}", &many).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let answer = raw(service.address, path.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    service.stop().await;
}

#[tokio::test]
async fn slow_callers_are_let_go() {
    let limits = Limits {
        head_time: Duration::from_millis(100),
        body_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let service = Service::start(limits).await;
    let begun = Instant::now();
    // A head that does not end, a body that does not come, a connection on which nothing is said.
    let answer = raw(service.address, b"GET /health HTTP/1.1\r\nhost:").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    let whole = post("{}", "");
    let answer = raw(service.address, &whole.as_bytes()[..whole.len() - 1]).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("problem:slow-request"), "{answer}");
    assert_eq!(raw(service.address, b"").await, "");
    assert!(begun.elapsed() < Duration::from_secs(10));
    service.stop().await;
}

#[tokio::test]
async fn requests_that_take_too_long_are_answered() {
    let limits = Limits {
        request_time: Duration::from_millis(50),
        ..Limits::default()
    };
    let (address, stopping, ended) = super::service::start(Arc::new(never::Never), limits).await;
    let client = swaprig::client::rest::RestClient::new(&address.to_string()).unwrap();
    let error = client.health(soon()).await.unwrap_err();
    assert_eq!(
        error.problem().map(|problem| problem.status),
        Some(503),
        "{error}"
    );
    stopping.send_replace(true);
    soon().bound(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_goes() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let service = Service::start(limits).await;
    let first = TcpStream::connect(service.address).await.unwrap();
    let _second = TcpStream::connect(service.address).await.unwrap();
    let mut third = TcpStream::connect(service.address).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    third.write_all(request).await.unwrap();
    let mut byte = [0; 1];
    let early = swaprig_harness::time::Deadline::after(Duration::from_millis(100));
    assert!(
        early.bound(third.read(&mut byte)).await.is_none(),
        "it was answered"
    );
    drop(first);
    let answer = read(&mut third).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    service.stop().await;
}

#[tokio::test]
async fn idle_and_half_said_requests_do_not_hold_the_end_up() {
    let limits = Limits {
        stop_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let service = Service::start(limits).await;
    let _idle = TcpStream::connect(service.address).await.unwrap();
    let mut half = TcpStream::connect(service.address).await.unwrap();
    half.write_all(b"POST /loop/out HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    // Both are accepted before this is answered.
    assert_eq!(service.get("/health").await.status, 200);
    let begun = Instant::now();
    service.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// A desk that never answers.
mod never {
    use std::future::pending;

    use bitcoin::Transaction;
    use futures_util::stream::BoxStream;
    use swaprig::api::rest::{Cosigned, Desk, InWanted, LoopError, OutWanted, Place};
    use swaprig_proto::loops::{Direction, Loop, Quote, State, Terms};
    use swaprig_units::{Height, PaymentHash, Preimage, Sat};

    type Answer<T> = Result<T, LoopError>;

    pub(super) struct Never;

    #[tonic::async_trait]
    impl Desk for Never {
        async fn health(&self) -> Answer<Height> {
            pending().await
        }
        async fn terms(&self, _: Direction) -> Answer<Terms> {
            pending().await
        }
        async fn quote(&self, _: Direction, _: Sat, _: Option<u32>) -> Answer<Quote> {
            pending().await
        }
        async fn loop_out(&self, _: OutWanted) -> Answer<Loop> {
            pending().await
        }
        async fn loop_in(&self, _: InWanted) -> Answer<Loop> {
            pending().await
        }
        async fn find(&self, _: Direction, _: PaymentHash) -> Answer<Option<Loop>> {
            pending().await
        }
        async fn page(
            &self,
            _: Direction,
            _: Option<State>,
            _: Option<Place>,
            _: u32,
        ) -> Answer<Vec<Loop>> {
            pending().await
        }
        async fn updates(
            &self,
            _: Direction,
            _: PaymentHash,
        ) -> Answer<Option<BoxStream<'static, Loop>>> {
            pending().await
        }
        async fn show_preimage(&self, _: PaymentHash, _: Preimage) -> Answer<Loop> {
            pending().await
        }
        async fn cosign(
            &self,
            _: Direction,
            _: PaymentHash,
            _: Transaction,
            _: [u8; 66],
        ) -> Answer<Cosigned> {
            pending().await
        }
        async fn cancel(&self, _: PaymentHash) -> Answer<Loop> {
            pending().await
        }
    }
}
