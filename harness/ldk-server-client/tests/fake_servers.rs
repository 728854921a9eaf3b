//! The client against servers that are old, odd, broken or gone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ldk_server_client::events::{ChannelStateChanged, Event, EventEnvelope, event_envelope};
use ldk_server_client::{ClientError, Config, Credential, LdkServerClient, api, types};
use ldk_server_protos::Message;
use ldk_server_protos::auth::{ApiKey, HmacScope};
use ldk_server_protos::grpc::{self, Code};
use ldk_server_protos::macaroon::Macaroon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// A request as the fake server saw it.
struct Seen {
    headers: HeaderMap,
    body: Bytes,
}

struct Fake {
    listener: TcpListener,
    tls: TlsAcceptor,
    cert_pem: Vec<u8>,
}

impl Fake {
    async fn new(alpn: &[&[u8]]) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let cert_pem = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem()
            .into_bytes();
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![CertificateDer::from_pem_slice(&cert_pem).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
                )
                .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            listener,
            tls: TlsAcceptor::from(Arc::new(config)),
            cert_pem,
        }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn client(&self) -> LdkServerClient {
        self.client_with(Credential::ApiKey(key()))
    }

    fn client_with(&self, credential: Credential) -> LdkServerClient {
        let address = self.address().to_string();
        let client = LdkServerClient::new(Config {
            address,
            tls_cert_pem: self.cert_pem.clone(),
            credential,
        })
        .unwrap();
        client.with_timeout(Duration::from_secs(10))
    }

    /// Accepts one connection and serves it until it ends or the sender is dropped.
    async fn serve_one(
        &self,
        answer: impl Fn(Seen) -> Response<Frames> + Send + Sync + 'static,
    ) -> oneshot::Sender<()> {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let tls = self.tls.accept(tcp).await.unwrap();
        let answer = Arc::new(answer);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = Arc::clone(&answer);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(answer(Seen {
                    headers: parts.headers,
                    body,
                }))
            }
        });
        let (keep, dropped) = oneshot::channel();
        tokio::spawn(async move {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(tls), service);
            tokio::select! { _ = connection => {}, _ = dropped => {} }
        });
        keep
    }
}

fn key() -> ApiKey {
    ApiKey::from_bytes([5; 32])
}

/// A response body made of these frames.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn respond(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Response<Frames> {
    let body = Frames(frames.into_iter().collect());
    Response::builder()
        .header("content-type", grpc::CONTENT_TYPE)
        .body(body)
        .unwrap()
}

fn ok(message: &impl Message) -> Response<Frames> {
    respond([
        Frame::data(grpc::encode_message(message)),
        Frame::trailers(status(Code::Ok, "")),
    ])
}

fn status(code: Code, message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", code.as_u8().to_string().parse().unwrap());
    headers.insert(
        "grpc-message",
        grpc::percent_encode(message).parse().unwrap(),
    );
    headers
}

/// A failure as servers send it: status and text in the headers, no body.
fn refuse(code: Code, message: &str) -> Response<Frames> {
    let mut response = respond([]);
    response.headers_mut().extend(status(code, message));
    response
}

fn info(node_id: &str) -> api::GetNodeInfoResponse {
    api::GetNodeInfoResponse {
        node_id: node_id.to_owned(),
        ..Default::default()
    }
}

async fn ask(client: &LdkServerClient) -> Result<String, ClientError> {
    client
        .get_node_info(api::GetNodeInfoRequest {})
        .await
        .map(|info| info.node_id)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn verify(seen: &Seen, scope: HmacScope) -> bool {
    let header = seen.headers.get("x-auth").unwrap().to_str().unwrap();
    key().verify(scope, header, now(), &seen.body).is_ok()
}

#[tokio::test]
async fn a_call_is_authenticated_and_answered() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = fake.serve_one(|seen| {
        assert!(verify(&seen, HmacScope::TimestampAndBody));
        assert_eq!(seen.headers.get("te").unwrap(), "trailers");
        assert_eq!(seen.headers.get("grpc-timeout").unwrap(), "10000000u");
        let request =
            api::SignMessageRequest::decode(grpc::decode_unary(&seen.body).unwrap()).unwrap();
        ok(&api::SignMessageResponse {
            signature: format!("signed {:?}", request.message),
        })
    });
    let request = api::SignMessageRequest {
        message: Bytes::from_static(b"hello"),
    };
    let (_server, answer) = tokio::join!(server, client.sign_message(request));
    assert_eq!(answer.unwrap().signature, "signed b\"hello\"");
}

#[tokio::test]
async fn the_first_grpc_servers_are_recognised_once() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let requests = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&requests);
    let server = fake.serve_one(move |seen| {
        *counter.lock().unwrap() += 1;
        if verify(&seen, HmacScope::Timestamp) {
            ok(&info("old"))
        } else {
            refuse(Code::Unauthenticated, "Invalid credentials")
        }
    });
    let (_server, first) = tokio::join!(server, ask(&client));
    assert_eq!(first.unwrap(), "old");
    assert_eq!(*requests.lock().unwrap(), 2);
    assert_eq!(ask(&client).await.unwrap(), "old");
    assert_eq!(*requests.lock().unwrap(), 3);
}

#[tokio::test]
async fn a_wrong_key_is_reported_in_the_servers_words() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = fake.serve_one(|_| refuse(Code::Unauthenticated, "Invalid credentials"));
    let (_server, answer) = tokio::join!(server, ask(&client));
    let error = answer.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unauthenticated));
    assert_eq!(
        error.to_string(),
        format!(
            "GetNodeInfo at {} failed: Invalid credentials (gRPC Unauthenticated (16))",
            fake.address()
        )
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_macaroon_is_bound_to_its_request() {
    const MACAROON: &str =
        "02020161000006200909090909090909090909090909090909090909090909090909090909090909";
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client_with(Credential::Macaroon(Macaroon::parse_hex(MACAROON).unwrap()));
    let server = fake.serve_one(|seen| {
        let macaroon =
            Macaroon::parse_hex(seen.headers.get("macaroon").unwrap().to_str().unwrap()).unwrap();
        let caveat = String::from_utf8(macaroon.caveats().next().unwrap().to_vec()).unwrap();
        let words: Vec<_> = caveat.split(' ').collect();
        assert!(now() - words[2].parse::<u64>().unwrap() < 60);
        assert_eq!(words[..2], ["request", "="]);
        assert_eq!(words[3], "GetNodeInfo");
        // SHA-256 of five zero bytes, the frame of an empty message.
        assert_eq!(
            words[4],
            "8855508aade16ec573d21e6a485dfd0a7624085c1a14b5ecdd6485de0c6839a4"
        );
        assert!(!seen.headers.contains_key("x-auth"));
        ok(&info("new"))
    });
    let (_server, answer) = tokio::join!(server, ask(&client));
    assert_eq!(answer.unwrap(), "new");
}

#[tokio::test]
async fn a_server_that_wants_the_other_credential_is_incompatible() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = fake.serve_one(|_| refuse(Code::Unauthenticated, "Missing macaroon"));
    let (_server, answer) = tokio::join!(server, ask(&client));
    let message = answer.unwrap_err().to_string();
    assert!(
        message.contains(
            "we authenticate with an API key (x-auth), the server answered \"Missing macaroon\""
        ),
        "{message}"
    );
}

#[tokio::test]
async fn a_rest_server_is_named() {
    for alpn in [&[][..], &[b"http/1.1".as_slice()][..]] {
        let fake = Fake::new(alpn).await;
        let client = fake.client();
        let server = async {
            let (tcp, _) = fake.listener.accept().await.unwrap();
            let _ = fake.tls.accept(tcp).await;
        };
        let ((), answer) = tokio::join!(server, ask(&client));
        let error = answer.unwrap_err();
        assert!(
            matches!(error, ClientError::Incompatible { .. }),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains("it has the REST API from before April 2026"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_named() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = async {
        let (mut tcp, _) = fake.listener.accept().await.unwrap();
        let mut ignored = [0; 16];
        tcp.read_exact(&mut ignored).await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        tcp
    };
    let (_tcp, answer) = tokio::join!(server, ask(&client));
    assert!(
        answer
            .unwrap_err()
            .to_string()
            .contains("it does not speak TLS")
    );
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let fake = Fake::new(&[b"h2"]).await;
    let other = Fake::new(&[b"h2"]).await;
    let config = Config {
        address: fake.address().to_string(),
        tls_cert_pem: other.cert_pem.clone(),
        credential: Credential::ApiKey(key()),
    };
    let client = LdkServerClient::new(config).unwrap();
    let server = async {
        let (tcp, _) = fake.listener.accept().await.unwrap();
        let _ = fake.tls.accept(tcp).await;
    };
    let ((), answer) = tokio::join!(server, ask(&client));
    let message = answer.unwrap_err().to_string();
    assert!(
        message.contains("verifying the server's certificate against its tls.crt failed"),
        "{message}"
    );
}

#[tokio::test]
async fn a_broken_connection_is_made_again() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    for name in ["first", "second"] {
        let (server, answer) = tokio::join!(fake.serve_one(move |_| ok(&info(name))), ask(&client));
        assert_eq!(answer.unwrap(), name);
        drop(server);
    }
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_repeated() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = async {
        let (tcp, _) = fake.listener.accept().await.unwrap();
        let mut tls = fake.tls.accept(tcp).await.unwrap();
        // The preface, the settings and the request, and then the server dies.
        let mut seen = Vec::new();
        while !seen.windows(5).any(|bytes| bytes == [0, 0, 0, 0, 0]) || seen.len() < 200 {
            let mut chunk = [0; 4096];
            let read = tls.read(&mut chunk).await.unwrap();
            seen.extend_from_slice(&chunk[..read]);
        }
        drop(tls);
        tokio::time::timeout(Duration::from_millis(300), fake.listener.accept())
            .await
            .is_err()
    };
    let (nobody_came_again, answer) = tokio::join!(server, ask(&client));
    let error = answer.unwrap_err();
    assert!(nobody_came_again);
    assert!(error.is_transient(), "{error:?}");
    assert!(
        error.to_string().contains("sending the request failed"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_there() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    drop(fake);
    let error = ask(&client).await.unwrap_err();
    assert!(error.to_string().ends_with("connecting failed"), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_timeout() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client().with_timeout(Duration::from_millis(100));
    let started = Instant::now();
    // The kernel accepts the connection; nobody answers the handshake.
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn answers_that_are_none() {
    let empty = || Frame::data(grpc::encode_message(&api::GetNodeInfoRequest {}));
    let done = || Frame::trailers(status(Code::Ok, ""));
    let cases: [(
        fn(&dyn Fn() -> Frame<Bytes>, &dyn Fn() -> Frame<Bytes>) -> Response<Frames>,
        &str,
    ); 5] = [
        (
            |_, done| respond([done()]),
            "a gRPC frame starts with 5 bytes, the body has 0",
        ),
        (
            |empty, done| respond([empty(), empty(), done()]),
            "5 bytes follow the gRPC frame",
        ),
        (
            |empty, _| respond([empty()]),
            "the answer has no grpc-status",
        ),
        (
            |_, done| {
                respond([
                    Frame::data(Bytes::from_static(&[0, 0, 0, 0, 1, 0xff])),
                    done(),
                ])
            },
            "failed to decode",
        ),
        (
            |_, _| {
                Response::builder()
                    .status(502)
                    .body(Frames(VecDeque::new()))
                    .unwrap()
            },
            "HTTP 502",
        ),
    ];
    let fake = Fake::new(&[b"h2"]).await;
    for (answer, expected) in cases {
        let client = fake.client();
        let server = fake.serve_one(move |_| answer(&empty, &done));
        let (_server, answer) = tokio::join!(server, ask(&client));
        let error = answer.unwrap_err();
        let chain = format!("{:#}", anyhow::Error::new(error));
        assert!(chain.contains(expected), "{expected}: {chain}");
    }
}

#[tokio::test]
async fn all_pages_are_read() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = fake.serve_one(|seen| {
        let request =
            api::ListPaymentsRequest::decode(grpc::decode_unary(&seen.body).unwrap()).unwrap();
        let page = request.page_token.map_or(0, |token| token[0]);
        let payment = types::Payment {
            id: format!("payment {page}"),
            ..Default::default()
        };
        let next_page_token = (page < 2).then(|| Bytes::from(vec![page + 1]));
        ok(&api::ListPaymentsResponse {
            payments: vec![payment],
            next_page_token,
        })
    });
    let (_server, payments) = tokio::join!(server, client.list_all_payments());
    let ids: Vec<_> = payments
        .unwrap()
        .into_iter()
        .map(|payment| payment.id)
        .collect();
    assert_eq!(ids, ["payment 0", "payment 1", "payment 2"]);
}

#[tokio::test]
async fn a_server_that_repeats_a_page_is_not_asked_for_ever() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let same = || api::ListPaymentsResponse {
        payments: vec![],
        next_page_token: Some(Bytes::from_static(b"x")),
    };
    let (_server, payments) = tokio::join!(
        fake.serve_one(move |_| ok(&same())),
        client.list_all_payments()
    );
    assert!(
        payments
            .unwrap_err()
            .to_string()
            .contains("the same page token twice")
    );
}

#[tokio::test]
async fn events_until_the_server_stops() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let change = ChannelStateChanged {
        channel_id: "c".into(),
        ..Default::default()
    };
    let event = event_envelope::Event::ChannelStateChanged(change.clone());
    let frame = grpc::encode_message(&EventEnvelope { event: Some(event) });
    let server = fake.serve_one(move |_| {
        // Two events in three chunks.
        let both = [&frame[..], &frame[..]].concat();
        let chunks = both
            .chunks(both.len() / 2 - 3)
            .map(|chunk| Frame::data(Bytes::copy_from_slice(chunk)));
        let end = Frame::trailers(status(Code::Unavailable, "server shutting down"));
        respond(chunks.chain([end]).collect::<Vec<_>>())
    });
    let (_server, stream) = tokio::join!(server, client.subscribe_events());
    let mut stream = stream.unwrap();
    for _ in 0..2 {
        assert_eq!(
            stream.next().await.unwrap(),
            Some(Event::ChannelStateChanged(change.clone()))
        );
    }
    let error = stream.next().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert!(error.is_transient());
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test]
async fn what_cannot_be_a_client() {
    let fake = Fake::new(&[b"h2"]).await;
    let new = |address: &str, pem: &[u8]| {
        let credential = Credential::ApiKey(key());
        let config = Config {
            address: address.into(),
            tls_cert_pem: pem.to_vec(),
            credential,
        };
        format!(
            "{:#}",
            anyhow::Error::new(LdkServerClient::new(config).unwrap_err())
        )
    };
    assert!(
        new("127.0.0.1", &fake.cert_pem).contains("the address \"127.0.0.1\" is not host:port")
    );
    assert!(new("127.0.0.1:1", b"").contains("tls.crt holds no certificate"));
    assert!(new("127.0.0.1:1", &fake.cert_pem[..100]).contains("tls.crt"));
}
