//! The server process, and raw requests to it.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ldk_server_client::{Config, Credential, Detected, LdkServerClient, api};
use ldk_server_protos::auth::{ApiKey, HmacScope};
use ldk_server_protos::grpc::{self, Code};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

pub(crate) const CONFIG_VARIABLE: &str = "SWAPRIG_TEST_SERVE_CONFIG";
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) dir: TempDir,
    pub(crate) address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is what some tests are about.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the harness's process supervision is above this crate"
)]
pub(crate) fn spawn(config: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "serve_as_child", "--nocapture", "--quiet"])
        .env(CONFIG_VARIABLE, config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a credential is bound to the time of day"
)]
fn seconds_since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A port that was free a moment ago; nothing else here listens on ports that it did not get from the kernel.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub(crate) fn config_text(dir: &Path, api_port: u16) -> String {
    // Nothing listens on port 1: there is no bitcoind.
    format!(
        "[node]\nnetwork = \"regtest\"\ngrpc_service_address = \"127.0.0.1:{api_port}\"\n\
         [storage.disk]\ndir_path = {dir:?}\n\
         [bitcoind]\nrpc_address = \"127.0.0.1:1\"\nrpc_user = \"u\"\nrpc_password = \"p\"\n"
    )
}

impl Server {
    pub(crate) async fn start() -> (Self, LdkServerClient) {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, config_text(dir.path(), port)).unwrap();
        let mut server = Self {
            child: spawn(&config),
            dir,
            address: format!("127.0.0.1:{port}"),
        };
        let client = tokio::time::timeout(LIMIT, server.ready())
            .await
            .expect("the server did not become ready");
        (server, client)
    }

    pub(crate) async fn ready(&mut self) -> LdkServerClient {
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        loop {
            pause.tick().await;
            assert_eq!(
                self.child.try_wait().unwrap(),
                None,
                "the server ended: {}",
                self.stderr()
            );
            let Ok(tls_cert_pem) = std::fs::read(self.dir.path().join("tls.crt")) else {
                continue;
            };
            let Detected::Ready(credential) =
                Credential::detect(self.dir.path(), "regtest").unwrap()
            else {
                continue;
            };
            let config = Config {
                address: self.address.clone(),
                tls_cert_pem,
                credential,
            };
            // The certificate may be half written.
            let Ok(client) = LdkServerClient::new(config) else {
                continue;
            };
            if client
                .get_node_info(api::GetNodeInfoRequest {})
                .await
                .is_ok()
            {
                return client;
            }
        }
    }

    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    pub(crate) fn key(&self) -> ApiKey {
        let bytes = std::fs::read(self.dir.path().join("regtest/api_key")).unwrap();
        ApiKey::from_bytes(bytes.try_into().unwrap())
    }

    /// Sends a request just as it is, and gives the HTTP status and the headers of the answer.
    pub(crate) async fn raw(&self, request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap) {
        let pem = std::fs::read(self.dir.path().join("tls.crt")).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&pem).unwrap())
            .unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let rest = body.collect().await.unwrap();
        let mut headers = parts.headers;
        headers.extend(rest.trailers().cloned().unwrap_or_default());
        (parts.status, headers)
    }

    /// The status of a call with these differences from a good one.
    pub(crate) async fn status(&self, call: Call<'_>) -> (Code, String) {
        let now = seconds_since_epoch();
        let timestamp = now.checked_add_signed(call.clock_offset).unwrap();
        let auth = match call.auth {
            Some(auth) => auth.to_owned(),
            None => self.key().x_auth(
                HmacScope::TimestampAndBody,
                timestamp,
                call.signed.unwrap_or(call.body),
            ),
        };
        let mut request = Request::builder()
            .method(call.http_method)
            .uri(format!("https://localhost{}", call.path));
        request = request
            .header("content-type", call.content_type)
            .header("x-auth", auth);
        if let Some((name, value)) = call.header {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::copy_from_slice(call.body));
        let (status, headers) = self.raw(request.body(body).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers.get("content-type").unwrap(), grpc::CONTENT_TYPE);
        let code = Code::parse(headers.get("grpc-status").unwrap().as_bytes()).unwrap();
        let message = headers
            .get("grpc-message")
            .map(|value| grpc::percent_decode(value.as_bytes()));
        (code, message.unwrap_or_default())
    }

    pub(crate) async fn wait_for_end(&mut self) -> ExitStatus {
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        let ended = async {
            loop {
                pause.tick().await;
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
            }
        };
        tokio::time::timeout(LIMIT, ended)
            .await
            .expect("the server did not end")
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) http_method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
    /// What the HMAC covers, if not the body.
    pub(crate) signed: Option<&'a [u8]>,
    /// The whole `x-auth`, if not a good one.
    pub(crate) auth: Option<&'a str>,
    pub(crate) clock_offset: i64,
    pub(crate) header: Option<(&'a str, &'a str)>,
}

/// A public key that is nobody's here: the generator of secp256k1.
pub(crate) const SOME_NODE: &str =
    "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

pub(crate) const EMPTY_FRAME: &[u8] = &[0, 0, 0, 0, 0];

pub(crate) const GOOD: Call<'static> = Call {
    http_method: "POST",
    path: "/api.LightningNode/GetNodeInfo",
    content_type: "application/grpc+proto",
    body: EMPTY_FRAME,
    signed: None,
    auth: None,
    clock_offset: 0,
    header: None,
};
