//! The HTTP side: connections, headers, passwords, bodies. Everything that a client may send or withhold is bounded.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use elements::hashes::{Hash as _, HashEngine as _, HmacEngine, sha256};
use elements::hex::DisplayHex as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::{debug, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::rpc::{self, Shared, Step, Work};

/// The largest body, bytes: Bitcoin Core's `MAX_SIZE`.
const MAX_BODY: usize = 0x0200_0000;
/// The largest head of a request, bytes (`MAX_HEADERS_SIZE`).
const MAX_HEAD: usize = 8192;
/// How long a client may take for the head of a request, and be silent between two (`-rpcservertimeout`).
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Clients at once. More are turned away.
const MAX_CONNECTIONS: usize = 256;
/// Requests that work at once; they queue for the node's lock anyway.
const MAX_WORKERS: usize = 16;
/// Requests that wait for a block at once, far fewer than connections. More are turned away, as elementsd does whose
/// threads are all busy.
const MAX_WAITERS: usize = 64;
/// How long clients may take to receive what is under way when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Who may call.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Users with their passwords: the cookie, or `-rpcuser` and `-rpcpassword`.
    pub passwords: Vec<(String, String)>,
    /// `-rpcauth`: user, salt, and HMAC-SHA256 of the password under the salt, in hexadecimal.
    pub hashed: Vec<(String, String, String)>,
}

impl Credentials {
    fn allow(&self, header: Option<&HeaderValue>) -> bool {
        let Some((user, password)) = header.and_then(basic) else {
            return false;
        };
        let plain = self.passwords.iter();
        let mut plain = plain.filter(|(name, _)| *name == user);
        let mut hashed = self.hashed.iter().filter(|(name, _, _)| *name == user);
        plain.any(|(_, wanted)| equal(wanted.as_bytes(), password.as_bytes()))
            || hashed.any(|(_, salt, wanted)| {
                let mut engine = HmacEngine::<sha256::HashEngine>::new(salt.as_bytes());
                engine.input(password.as_bytes());
                let mac = engine.finalize().to_byte_array().to_lower_hex_string();
                equal(mac.as_bytes(), wanted.as_bytes())
            })
    }
}

/// User and password of a header.
fn basic(header: &HeaderValue) -> Option<(String, String)> {
    let encoded = header.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Compares in a time that does not depend on where the difference is.
fn equal(left: &[u8], right: &[u8]) -> bool {
    let differences = left
        .iter()
        .zip(right)
        .fold(0, |sum, (left, right)| sum | (left ^ right));
    left.len() == right.len() && differences == 0
}

/// Serves until `is_stopping` becomes true, and then lets the answers under way go out.
pub async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    credentials: Credentials,
    mut is_stopping: watch::Receiver<bool>,
) {
    let service = Arc::new(Service {
        shared,
        credentials,
        workers: Semaphore::new(MAX_WORKERS),
        waiters: Semaphore::new(MAX_WAITERS),
        is_stopping: is_stopping.clone(),
    });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping(&mut is_stopping) => break,
            // Forgets connections that have ended.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if connections.len() >= MAX_CONNECTIONS => {
                warn!("Turned a client away: there are {MAX_CONNECTIONS} already");
            }
            Ok((stream, _)) => {
                connections.spawn(handle(stream, Arc::clone(&service), is_stopping.clone()));
            }
            // A client that went away again, or no free descriptor: either way the next one may succeed.
            Err(error) => {
                debug!("Cannot accept a connection: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        debug!("Some clients did not finish within {DRAIN_TIMEOUT:?}");
    }
}

/// Returns once the server is to stop.
pub(crate) async fn stopping(is_stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which happens at the end of the process only.
    let _ = is_stopping.wait_for(|is_stopping| *is_stopping).await;
}

async fn handle(stream: TcpStream, service: Arc<Service>, mut is_stopping: watch::Receiver<bool>) {
    // Answers are small; waiting to fill a packet would cost more than the call.
    if let Err(error) = stream.set_nodelay(true) {
        debug!("Cannot set TCP_NODELAY: {error}");
    }
    let respond = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.respond(request).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD.max(8192))
            .half_close(true)
            // electrs looks for `Content-Length` in these very letters, as Elements writes it.
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), respond)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping(&mut is_stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!("A connection ended: {error}");
    }
}

struct Service {
    shared: Arc<Shared>,
    credentials: Credentials,
    workers: Semaphore,
    waiters: Semaphore,
    is_stopping: watch::Receiver<bool>,
}

/// Where a request goes.
enum Route {
    Root,
    Wallet(String),
}

impl Service {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(route) = route(request.uri().path()) else {
            return plain(StatusCode::NOT_FOUND, "");
        };
        if request.method() != Method::POST {
            return plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "JSONRPC server handles only POST requests",
            );
        }
        let header = request.headers().get(AUTHORIZATION);
        if !self.credentials.allow(header) {
            if header.is_some() {
                warn!("ThreadRPCServer incorrect password attempt");
            }
            let mut response = plain(StatusCode::UNAUTHORIZED, "");
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"jsonrpc\""),
            );
            return response;
        }
        let body = request.into_body();
        if body.size_hint().lower() > MAX_BODY as u64 {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "");
        }
        let body = Limited::new(body, MAX_BODY).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "");
            }
            Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, ""),
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, ""),
        };
        let wallet = match route {
            Route::Root => None,
            Route::Wallet(name) => Some(name),
        };
        let answer = match self.work(wallet, body).await {
            Ok(answer) => answer,
            Err(response) => return *response,
        };
        let status =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Full::new(Bytes::from(answer.body)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// Has a request worked on, and waits between its steps where a call asks for that; nobody works meanwhile.
    async fn work(
        &self,
        wallet: Option<String>,
        body: Bytes,
    ) -> Result<rpc::Answer, Box<Response<Full<Bytes>>>> {
        let mut next: Box<dyn FnOnce() -> Work + Send> = Box::new(move || Work::new(wallet, &body));
        let mut is_stopping = self.is_stopping.clone();
        loop {
            let Ok(permit) = self.workers.acquire().await else {
                return Err(Box::new(plain(StatusCode::SERVICE_UNAVAILABLE, "")));
            };
            let shared = Arc::clone(&self.shared);
            let step = tokio::task::spawn_blocking(move || {
                let mut work = next();
                (work.step(&shared), work)
            });
            let Ok((step, work)) = step.await else {
                return Err(Box::new(plain(StatusCode::INTERNAL_SERVER_ERROR, "")));
            };
            drop(permit);
            let wait = match step {
                Step::Done(answer) => return Ok(answer),
                Step::Wait(wait) => wait,
            };
            let Ok(_place) = self.waiters.try_acquire() else {
                let words = "Work queue depth exceeded";
                return Err(Box::new(plain(StatusCode::SERVICE_UNAVAILABLE, words)));
            };
            wait.over(&mut is_stopping).await;
            next = Box::new(move || work);
        }
    }
}

fn route(path: &str) -> Option<Route> {
    if path == "/" {
        return Some(Route::Root);
    }
    path.strip_prefix("/wallet/")
        .map(|name| Route::Wallet(percent_decoded(name)))
}

/// A name in a path; what is no escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| after.split_at_checked(2))
            .flatten()
            .and_then(|(digits, after)| {
                let digits = std::str::from_utf8(digits).ok()?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
                Some((byte, after))
            });
        let (byte, after) = escaped.unwrap_or((byte, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(credentials: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(credentials))).unwrap()
    }

    #[test]
    fn who_may_call() {
        let credentials = Credentials {
            passwords: vec![("user".to_owned(), "pass:word".to_owned())],
            // `share/rpcauth/rpcauth.py` of Bitcoin Core writes such lines.
            hashed: vec![("alice".to_owned(), "salt".to_owned(), {
                let mut engine = HmacEngine::<sha256::HashEngine>::new(b"salt");
                engine.input(b"secret");
                engine.finalize().to_byte_array().to_lower_hex_string()
            })],
        };
        let cases = [
            ("user:pass:word", true),
            ("user:pass", false),
            ("user:", false),
            ("user", false),
            ("alice:secret", true),
            ("alice:salt", false),
            ("bob:secret", false),
            ("", false),
        ];
        for (text, allowed) in cases {
            assert_eq!(credentials.allow(Some(&header(text))), allowed, "{text}");
        }
        assert!(!credentials.allow(None));
        let junk = HeaderValue::from_static("Basic \x7e\x7e\x7e");
        assert!(!credentials.allow(Some(&junk)));
        assert!(!Credentials::default().allow(Some(&header(":"))));
    }

    #[test]
    fn names_in_paths() {
        for (path, name) in [
            ("/wallet/", Some("")),
            ("/wallet/alice", Some("alice")),
            ("/wallet/a%20b%2Fc", Some("a b/c")),
            ("/wallet/%", Some("%")),
            ("/wallet/%+1", Some("%+1")),
            ("/wallet", None),
            ("/rest/tx", None),
        ] {
            let found = match route(path) {
                Some(Route::Wallet(name)) => Some(name),
                Some(Route::Root) | None => None,
            };
            assert_eq!(found.as_deref(), name, "{path}");
        }
    }
}
