//! The client against servers that are old, odd, broken or gone.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ldk_server_client::{ClientError, Config, Credential, LdkServerClient, api};
use ldk_server_protos::auth::{ApiKey, HmacScope};
use ldk_server_protos::grpc::{self, Code};
use ldk_server_protos::macaroon::Macaroon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

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
        let cert_pem = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem().into_bytes();
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
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
        Self { listener, tls: TlsAcceptor::from(Arc::new(config)), cert_pem }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    fn client(&self) -> LdkServerClient {
        self.client_with(Credential::ApiKey(key()))
    }

    fn client_with(&self, credential: Credential) -> LdkServerClient {
        let address = self.address().to_string();
        let client = LdkServerClient::new(Config { address, tls_cert_pem: self.cert_pem.clone(), credential }).unwrap();
        client.with_timeout(Duration::from_secs(10))
    }

    /// Accepts one connection and serves it until it ends or the sender is dropped.
    async fn serve_one(
        &self,
        answer: impl Fn(Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> oneshot::Sender<()> {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let tls = self.tls.accept(tcp).await.unwrap();
        let answer = Arc::new(answer);
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = Arc::clone(&answer);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(answer(Seen { headers: parts.headers, body }))
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

fn ok(message: &impl ldk_server_protos::Message) -> Response<Body> {
    frames(vec![Frame::data(grpc::encode_message(message)), Frame::trailers(status(Code::Ok, ""))])
}

fn frames(frames: Vec<Frame<Bytes>>) -> Response<Body> {
    let body = StreamBody::new(Frames(frames.into_iter()));
    Response::builder().header("content-type", grpc::CONTENT_TYPE).body(body.boxed()).unwrap()
}

/// The one implementation of `Stream` that these tests need.
struct Frames(std::vec::IntoIter<Frame<Bytes>>);

impl futures_core::Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next().map(Ok))
    }
}
