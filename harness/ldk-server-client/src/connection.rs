//! One HTTP/2 connection to a server, made again when it breaks.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription, ClientConfig, RootCertStore};

use crate::error::{BoxError, ClientError};

pub(crate) type RequestBody = Full<Bytes>;

const ALPN_H2: &[u8] = b"h2";

pub(crate) struct Connection {
    address: String,
    server_name: ServerName<'static>,
    connector: TlsConnector,
    sender: tokio::sync::Mutex<Option<SendRequest<RequestBody>>>,
}

impl Connection {
    pub(crate) fn new(address: String, tls_cert_pem: &[u8]) -> Result<Self, ClientError> {
        let mut config = trusting_only(tls_cert_pem).map_err(ClientError::Config)?;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        let server_name = server_name(&address).map_err(ClientError::Config)?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self {
            address,
            server_name,
            connector,
            sender: tokio::sync::Mutex::new(None),
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request and returns when the response headers are there.
    ///
    /// If the connection turns out to be dead before anything of the request was written, the request goes out once
    /// more on a new connection. Otherwise the server may have acted on it, and the failure is the caller's to judge.
    pub(crate) async fn send(
        &self,
        method: &'static str,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, ClientError> {
        let unsent = match self.sender(method).await?.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(mut error) => match error.take_message() {
                Some(unsent) => unsent,
                None => {
                    return Err(self.transport(
                        method,
                        "sending the request",
                        error.into_error().into(),
                    ));
                }
            },
        };
        *self.sender.lock().await = None;
        let mut sender = self.sender(method).await?;
        sender.send_request(unsent).await.map_err(|error| {
            self.transport(
                method,
                "sending the request on a new connection",
                error.into(),
            )
        })
    }

    /// A handle to the present connection, or to a new one if there is none that is alive.
    async fn sender(&self, method: &'static str) -> Result<SendRequest<RequestBody>, ClientError> {
        let mut sender = self.sender.lock().await;
        if let Some(alive) = sender.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(alive.clone());
        }
        // Boxed because it is rare and large: every call, and every future that makes calls, would carry it.
        let fresh = Box::pin(self.connect(method)).await?;
        *sender = Some(fresh.clone());
        Ok(fresh)
    }

    async fn connect(&self, method: &'static str) -> Result<SendRequest<RequestBody>, ClientError> {
        let tcp = TcpStream::connect(&self.address)
            .await
            .map_err(|error| self.transport(method, "connecting", error.into()))?;
        // A request is one small write; waiting to fill a packet would cost more than the call.
        tcp.set_nodelay(true)
            .map_err(|error| self.transport(method, "connecting", error.into()))?;
        let tls = self
            .connector
            .connect(self.server_name.clone(), tcp)
            .await
            .map_err(|error| self.explain_handshake(method, error))?;
        self.require_h2(&tls)?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .map_err(|error| self.transport(method, "starting HTTP/2", error.into()))?;
        // Its failure shows in every request that is under way, so there is nothing to report here.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn require_h2(&self, tls: &TlsStream<TcpStream>) -> Result<(), ClientError> {
        match tls.get_ref().1.alpn_protocol() {
            Some(ALPN_H2) => Ok(()),
            _ => Err(self.no_h2()),
        }
    }

    fn no_h2(&self) -> ClientError {
        self.incompatible(
            "it does not offer HTTP/2 (ALPN h2), so it has the REST API from before April 2026",
        )
    }

    fn explain_handshake(&self, method: &'static str, error: std::io::Error) -> ClientError {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                self.no_h2()
            }
            Some(rustls::Error::InvalidMessage(_)) => self.incompatible(
                "it does not speak TLS, so it has the plain HTTP API from before January 2026",
            ),
            Some(rustls::Error::InvalidCertificate(_)) => self.transport(
                method,
                "verifying the server's certificate against its tls.crt",
                error.into(),
            ),
            _ => self.transport(method, "the TLS handshake", error.into()),
        }
    }

    fn transport(
        &self,
        method: &'static str,
        doing: &'static str,
        source: BoxError,
    ) -> ClientError {
        ClientError::Transport {
            method,
            address: self.address.clone(),
            doing,
            source,
        }
    }

    fn incompatible(&self, difference: &str) -> ClientError {
        ClientError::Incompatible {
            address: self.address.clone(),
            difference: difference.to_owned(),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// TLS settings with the certificates in `pem` as the only roots. The server's certificate signs itself, so it is
/// trust anchor and end entity at once.
fn trusting_only(pem: &[u8]) -> Result<ClientConfig, BoxError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|error| format!("tls.crt is not PEM: {error}"))?)?;
    }
    if roots.is_empty() {
        return Err("tls.crt holds no certificate".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The name to find in the certificate: the host of the address. Every server's certificate names `localhost` and
/// `127.0.0.1`.
fn server_name(address: &str) -> Result<ServerName<'static>, BoxError> {
    let (host, _port) = address
        .rsplit_once(':')
        .ok_or_else(|| format!("the address {address:?} is not host:port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(ServerName::try_from(host.to_owned())
        .map_err(|error| format!("the address {address:?}: {error}"))?)
}
