//! gRPC over TLS, before a server that speaks a little of ldk-server's API, with its credential and all.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ldk_server_client::events::{ChannelStateChanged, Event, EventEnvelope, event_envelope};
use ldk_server_client::{
    ClientError, Config, Credential, Detected, EventStream, LdkServerClient, api, types,
};
use ldk_server_protos::auth::{ApiKey, HmacScope};
use ldk_server_protos::grpc;
use swaprig_harness::proxy::{
    Calls, Code, Failure, FaultError, FieldValue, Grpc, Proxy, TamperError, Tls, Upstream,
    ldk_server_descriptors,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{soon, until, waits};

const KEY: [u8; 32] = [5; 32];

/// A server whose height is the number of calls that it has carried out, and whose streams tell three payments.
struct Server {
    dir: tempfile::TempDir,
    address: String,
    calls: Arc<AtomicU64>,
    open: Arc<AtomicU64>,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let network = dir.path().join("regtest");
        std::fs::create_dir(&network).unwrap();
        std::fs::write(network.join("api_key"), KEY).unwrap();
        std::fs::write(dir.path().join("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(dir.path().join("tls.key"), key.serialize_pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let calls = Arc::new(AtomicU64::new(0));
        let open = Arc::new(AtomicU64::new(0));
        tokio::spawn(serve(
            listener,
            acceptor(dir.path()),
            calls.clone(),
            open.clone(),
        ));
        Server {
            open,
            dir,
            address,
            calls,
        }
    }

    async fn proxy(&self) -> Proxy {
        let upstream = Upstream::Grpc(Grpc {
            address: self.address.clone(),
            tls: Some(Tls {
                certificate: self.dir.path().join("tls.crt"),
                key: self.dir.path().join("tls.key"),
            }),
            api: ldk_server_descriptors().clone(),
        });
        Proxy::start("client->server", upstream).await.unwrap()
    }

    /// A client that knows nothing of proxies: it trusts the server's certificate alone.
    fn client(&self, address: &str) -> LdkServerClient {
        let Detected::Ready(credential) = Credential::detect(self.dir.path(), "regtest").unwrap()
        else {
            panic!("the key is there");
        };
        let config = Config {
            address: address.to_owned(),
            tls_cert_pem: std::fs::read(self.dir.path().join("tls.crt")).unwrap(),
            credential,
        };
        LdkServerClient::new(config).unwrap()
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

fn acceptor(dir: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(dir.join("tls.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap();
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    calls: Arc<AtomicU64>,
    open: Arc<AtomicU64>,
) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (tls, calls, open) = (tls.clone(), calls.clone(), open.clone());
        open.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let Ok(tls) = tls.accept(tcp).await else {
                return;
            };
            let answer = service_fn(move |request| answer(request, calls.clone()));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(tls), answer).await;
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

type Answer =
    Response<StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>>;

async fn answer(request: Request<Incoming>, calls: Arc<AtomicU64>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let auth = head.headers["x-auth"].to_str().unwrap();
    let key = ApiKey::from_bytes(KEY);
    let (code, messages) = match key.verify(HmacScope::TimestampAndBody, auth, now, &body) {
        Err(_) => ("16", Vec::new()),
        Ok(()) if head.uri.path() == "/api.LightningNode/GetNodeInfo" => {
            let height = u32::try_from(calls.fetch_add(1, Ordering::Relaxed) + 1).unwrap();
            let info = api::GetNodeInfoResponse {
                node_id: "me".into(),
                current_best_block: Some(types::BestBlock {
                    height,
                    ..Default::default()
                }),
                ..Default::default()
            };
            ("0", vec![grpc::encode_message(&info)])
        }
        Ok(()) => ("9", ["one", "two", "three"].map(event).to_vec()),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    trailers.insert("grpc-message", "the%20end".parse().unwrap());
    // All messages in one piece of data, cut where no message ends.
    let all = messages.concat();
    let mut frames: Vec<_> = all
        .chunks(7)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = Response::new(StreamBody::new(stream::iter(frames)));
    let kind = grpc::CONTENT_TYPE.parse().unwrap();
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

fn event(channel: &str) -> Bytes {
    let change = ChannelStateChanged {
        channel_id: channel.to_owned(),
        ..Default::default()
    };
    grpc::encode_message(&EventEnvelope {
        event: Some(event_envelope::Event::ChannelStateChanged(change)),
    })
}

async fn height(client: &LdkServerClient) -> Result<u32, ClientError> {
    let info = client.get_node_info(api::GetNodeInfoRequest {});
    let info = soon("an answer", info).await?;
    Ok(info.current_best_block.unwrap().height)
}

/// The channels of the events of a stream, up to its end, and how it ended.
async fn told(stream: &mut EventStream) -> (Vec<String>, ClientError) {
    let mut channels = Vec::new();
    loop {
        match soon("an event", stream.next()).await {
            Ok(Some(Event::ChannelStateChanged(change))) => channels.push(change.channel_id),
            Ok(other) => panic!("{other:?}"),
            Err(error) => return (channels, error),
        }
    }
}

#[tokio::test]
async fn calls_streams_and_trailers_pass_for_a_client_that_knows_no_proxy() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let client = server.client(&proxy.address());
    assert_eq!(height(&client).await.unwrap(), 1);
    assert_eq!(height(&client).await.unwrap(), 2);
    let mut stream = client.subscribe_events().await.unwrap();
    let (channels, end) = told(&mut stream).await;
    assert_eq!(channels, ["one", "two", "three"]);
    // The status was in the trailers.
    assert!(
        matches!(&end, ClientError::Status { code: Code::FailedPrecondition, message, .. } if message == "the end"),
        "{end:?}"
    );
}

#[tokio::test]
async fn the_next_calls_fail_with_a_status_before_or_after_they_are_carried_out() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let client = server.client(&proxy.address());
    let calls = || Calls::of("GetNodeInfo");
    let down = Failure::Status(Code::Unavailable, "50% off".into());
    let fault = proxy.fail(calls().next(2), down, false).unwrap();
    for _ in 0..2 {
        let error = height(&client).await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Status { code: Code::Unavailable, message, .. } if message == "50% off"),
            "{error:?}"
        );
    }
    assert_eq!((fault.hits(), server.calls()), (2, 0));
    assert_eq!(height(&client).await.unwrap(), 1);
    proxy.fail(calls().next(1), Failure::Closed, true).unwrap();
    let error = height(&client).await.unwrap_err();
    assert!(matches!(error, ClientError::Transport { .. }), "{error:?}");
    // It was carried out, and the connection is as good as before.
    assert_eq!(height(&client).await.unwrap(), 3);

    let of_http = proxy.fail(calls(), Failure::Http(500), false);
    assert!(matches!(of_http, Err(FaultError::NoSuchFailure { .. })));
    let unknown = proxy.fail(Calls::of("GetNode"), Failure::Closed, false);
    assert!(matches!(
        unknown,
        Err(FaultError::Tamper(TamperError::NoMethod { .. }))
    ));
}

#[tokio::test]
async fn a_field_of_an_answer_and_of_one_event_is_another_one() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let client = server.client(&proxy.address());
    let lie = |method: &str, next, field: &str, value| {
        proxy.tamper(Calls::of(method).next(next), Some(field), value)
    };
    let fault = lie(
        "GetNodeInfo",
        1,
        "current_best_block.height",
        FieldValue::Integer(4_000_000),
    );
    assert_eq!(height(&client).await.unwrap(), 4_000_000);
    assert_eq!(height(&client).await.unwrap(), 2);
    assert_eq!(fault.unwrap().hits(), 1);

    let forged = FieldValue::Text("forged".repeat(50));
    lie(
        "SubscribeEvents",
        2,
        "channel_state_changed.channel_id",
        forged,
    )
    .unwrap();
    let (channels, _) = told(&mut client.subscribe_events().await.unwrap()).await;
    assert_eq!(
        channels,
        ["forged".repeat(50), "forged".repeat(50), "three".into()]
    );

    let wrong = lie("GetNodeInfo", 1, "node_id", FieldValue::Integer(1));
    assert!(matches!(
        wrong,
        Err(FaultError::Tamper(TamperError::WrongValue { .. }))
    ));
}

#[tokio::test]
async fn answers_and_events_are_late_or_held_as_long_as_asked() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let client = server.client(&proxy.address());
    let ms = Duration::from_millis;
    proxy
        .delay(Calls::of("GetNodeInfo").next(1), ms(40), ms(40))
        .unwrap();
    let started = Instant::now();
    height(&client).await.unwrap();
    assert!(started.elapsed() >= ms(80), "{:?}", started.elapsed());
    proxy.heal();

    proxy.freeze(Calls::of("GetNodeInfo")).unwrap();
    let mut frozen = Box::pin(height(&client));
    assert!(waits(&mut frozen).await);
    until("the call to be carried out", || server.calls() == 2).await;
    // Others pass on the same connection.
    told(&mut client.subscribe_events().await.unwrap()).await;
    proxy.thaw(None);
    assert_eq!(frozen.await.unwrap(), 2);

    proxy.partition();
    let mut held = Box::pin(height(&client));
    assert!(waits(&mut held).await);
    assert_eq!(server.calls(), 2, "it must not arrive");
    proxy.heal();
    assert_eq!(held.await.unwrap(), 3);
}

#[tokio::test]
async fn a_dropped_connection_is_made_again_by_the_next_call() {
    let server = Server::start().await;
    let proxy = server.proxy().await;
    let client = server.client(&proxy.address());
    assert_eq!(height(&client).await.unwrap(), 1);
    proxy.partition();
    let mut held = Box::pin(height(&client));
    assert!(waits(&mut held).await);
    proxy.drop_connections();
    assert!(matches!(held.await, Err(ClientError::Transport { .. })));
    let is_left = || server.open.load(Ordering::Relaxed) == 0;
    until("the server to be left", is_left).await;
    proxy.heal();
    assert_eq!(height(&client).await.unwrap(), 2);

    // So is one whose proxy ends while an answer is held.
    proxy.freeze(Calls::all()).unwrap();
    let mut held = Box::pin(height(&client));
    assert!(waits(&mut held).await);
    proxy.end().await;
    assert!(matches!(held.await, Err(ClientError::Transport { .. })));
    until("the server to be left", is_left).await;
}
