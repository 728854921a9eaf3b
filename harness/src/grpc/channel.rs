//! One HTTP/2 connection to a server on this machine, encrypted where a certificate is given.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hyper::body::Body;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) const ALPN_H2: &[u8] = b"h2";

/// What HTTP/2 is spoken over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to `address`, and what drives it. Only the given certificate (PEM) is trusted; without one the
/// connection is not encrypted.
pub(crate) async fn connect<B>(
    address: &str,
    certificate: Option<&Path>,
) -> io::Result<(
    SendRequest<B>,
    impl Future<Output = hyper::Result<()>> + use<B>,
)>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static,
{
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match certificate {
        None => Box::new(tcp),
        Some(certificate) => {
            let host = address.rsplit_once(':').map_or("", |(host, _)| host);
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let config = Arc::new(trusting_only(certificate)?);
            let stream = TlsConnector::from(config).connect(name, tcp).await;
            Box::new(stream.map_err(|error| {
                let (path, why) = (certificate.display(), crate::error_chain(&error));
                let text = format!("no TLS that trusts only {path}: {why}; does it show that one?");
                io::Error::new(error.kind(), text)
            })?)
        }
    };
    http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(io::Error::other)
}

fn trusting_only(path: &Path) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| {
            let error = io::Error::new(io::ErrorKind::InvalidData, error);
            told(&error, &format!("the certificate {}", path.display()))
        })?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

/// The one that this crate brings: a program that uses it may have others, of which rustls would not choose.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(tokio_rustls::rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM file; errors name it, also where it holds none.
pub(crate) fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = std::fs::read(path)
        .map_err(|error| told(&error, &format!("the certificate {}", path.display())))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not a certificate in PEM", path.display()),
        )),
    }
}

/// An error that begins with what it is about.
fn told(error: &io::Error, about: &str) -> io::Error {
    let text = crate::error_chain(error);
    io::Error::new(error.kind(), format!("{about}: {text}"))
}
