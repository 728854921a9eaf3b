//! A server that answers as a test says, over TLS and HTTP/2.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ldk_server_client::{ClientError, Config, Credential, LdkServerClient, api};
use ldk_server_protos::Message;
use ldk_server_protos::auth::{ApiKey, HmacScope};
use ldk_server_protos::grpc::{self, Code};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// A request as the fake server saw it.
pub(crate) struct Seen {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct Fake {
    pub(crate) listener: TcpListener,
    pub(crate) tls: TlsAcceptor,
    pub(crate) cert_pem: Vec<u8>,
}

impl Fake {
    pub(crate) async fn new(alpn: &[&[u8]]) -> Self {
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

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn client(&self) -> LdkServerClient {
        self.client_with(Credential::ApiKey(key()))
    }

    pub(crate) fn client_with(&self, credential: Credential) -> LdkServerClient {
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
    pub(crate) async fn serve_one(
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

/// Runs the server's part and the client's part side by side, neither for ever.
pub(crate) async fn both<S, C>(
    server: impl Future<Output = S>,
    client: impl Future<Output = C>,
) -> (S, C) {
    let joined = async { tokio::join!(server, client) };
    tokio::time::timeout(Duration::from_secs(20), joined)
        .await
        .expect("one of the two got stuck")
}

pub(crate) fn key() -> ApiKey {
    ApiKey::from_bytes([5; 32])
}

/// A response body made of these frames.
pub(crate) struct Frames(pub(crate) VecDeque<Frame<Bytes>>);

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

pub(crate) fn respond(frames: impl IntoIterator<Item = Frame<Bytes>>) -> Response<Frames> {
    let body = Frames(frames.into_iter().collect());
    Response::builder()
        .header("content-type", grpc::CONTENT_TYPE)
        .body(body)
        .unwrap()
}

pub(crate) fn ok(message: &impl Message) -> Response<Frames> {
    respond([
        Frame::data(grpc::encode_message(message)),
        Frame::trailers(status(Code::Ok, "")),
    ])
}

pub(crate) fn status(code: Code, message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", code.as_u8().to_string().parse().unwrap());
    headers.insert(
        "grpc-message",
        grpc::percent_encode(message).parse().unwrap(),
    );
    headers
}

/// A failure as servers send it: status and text in the headers, no body.
pub(crate) fn refuse(code: Code, message: &str) -> Response<Frames> {
    let mut response = respond([]);
    response.headers_mut().extend(status(code, message));
    response
}

pub(crate) fn info(node_id: &str) -> api::GetNodeInfoResponse {
    api::GetNodeInfoResponse {
        node_id: node_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn ask(client: &LdkServerClient) -> Result<String, ClientError> {
    client
        .get_node_info(api::GetNodeInfoRequest {})
        .await
        .map(|info| info.node_id)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a credential is bound to the time of day"
)]
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(crate) fn verify(seen: &Seen, scope: HmacScope) -> bool {
    let header = seen.headers.get("x-auth").unwrap().to_str().unwrap();
    key().verify(scope, header, now(), &seen.body).is_ok()
}
