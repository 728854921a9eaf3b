//! One connection to an Electrum server: many requests in flight at once, and what the server says unasked.
//!
//! `electrum-client` reads only while a call waits, so that a notification is seen late, and parses Bitcoin's headers; this
//! one reads all the time. The protocol is a JSON-RPC message per line.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;

/// Longest line that is read: the largest transaction of a block, in hexadecimal, and then some.
const LONGEST_LINE: u64 = 16 << 20;
/// The versions of the protocol that are spoken.
const VERSIONS: [&str; 2] = ["1.4", "1.6"];

/// Where an Electrum server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

/// An address of an index that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of an Electrum server; write tcp://HOST:PORT or ssl://HOST:PORT")]
pub struct BadUrl(pub String);

impl std::str::FromStr for Endpoint {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let tls = match scheme {
            "tcp" => false,
            "ssl" => true,
            _ => return Err(bad()),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains('/') {
            return Err(bad());
        }
        Ok(Endpoint {
            host: host.to_owned(),
            port: port.parse().map_err(|_| bad())?,
            tls,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "ssl" } else { "tcp" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// Nothing came back: not known whether the server did what it was asked for.
    #[error("{0}")]
    Lost(String),
    /// The server says no.
    #[error("{message}")]
    Refused {
        /// Its words.
        message: String,
    },
}

/// What the server said unasked, the last word on each matter only, so that a slow listener costs no memory.
#[derive(Debug, Default)]
pub(super) struct News {
    said: Mutex<Said>,
    pub(super) came: Notify,
}

/// What was said since it was last taken.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The last header notification's parameter.
    pub(super) tip: Option<Value>,
    /// The last status of each script hash.
    pub(super) changed: HashMap<String, Option<String>>,
}

impl News {
    /// What was said since the last time.
    pub(super) fn take(&self) -> Said {
        std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, method: &str, params: &Value) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match method {
            "blockchain.headers.subscribe" => said.tip = params.get(0).cloned(),
            "blockchain.scripthash.subscribe" => {
                let Some(hash) = params[0].as_str() else {
                    return;
                };
                let status = params[1].as_str().map(str::to_owned);
                said.changed.insert(hash.to_owned(), status);
            }
            _ => return,
        }
        drop(said);
        self.came.notify_one();
    }
}

type Answer = Result<Value, CallError>;
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection. When it is lost, it stays lost: make another.
pub(super) struct Connection {
    next_id: AtomicU64,
    waiting: Waiting,
    writer: tokio::sync::Mutex<Writer>,
    timeout: Duration,
    reader: AbortHandle,
    /// Turns to the reason when the connection is lost.
    lost: watch::Receiver<Option<String>>,
    pub(super) news: Arc<News>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Connection {
    /// Connects and says hello. `timeout` bounds this and every call.
    pub(super) async fn open(endpoint: &Endpoint, timeout: Duration) -> Result<Self, CallError> {
        let opened = tokio::time::timeout(timeout, Self::open_now(endpoint, timeout)).await;
        opened.unwrap_or_else(|_| {
            Err(CallError::Lost(format!(
                "{endpoint} did not answer in {timeout:?}"
            )))
        })
    }

    async fn open_now(endpoint: &Endpoint, timeout: Duration) -> Result<Self, CallError> {
        let failed = |error: std::io::Error| CallError::Lost(format!("{endpoint}: {error}"));
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
        let stream = stream.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let connection = if endpoint.tls {
            let name = ServerName::try_from(endpoint.host.clone())
                .map_err(|error| CallError::Lost(format!("{endpoint}: {error}")))?;
            let connector = tokio_rustls::TlsConnector::from(Arc::new(tls_config()));
            let stream = connector.connect(name, stream).await.map_err(failed)?;
            let (read, write) = tokio::io::split(stream);
            Connection::over(read, Box::new(write), timeout)
        } else {
            let (read, write) = stream.into_split();
            Connection::over(read, Box::new(write), timeout)
        };
        let hello = json!([concat!("swaprig ", env!("CARGO_PKG_VERSION")), VERSIONS]);
        connection.call("server.version", hello).await?;
        Ok(connection)
    }

    fn over(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: Writer,
        timeout: Duration,
    ) -> Self {
        let waiting = Waiting::default();
        let news = Arc::new(News::default());
        let (lose, lost) = watch::channel(None);
        let (own_waiting, own_news) = (Arc::clone(&waiting), Arc::clone(&news));
        let reader = tokio::spawn(async move {
            let reason = read_all(read, &own_waiting, &own_news).await;
            lose.send_replace(Some(reason.clone()));
            // Whoever asks from here on sees `lost`; whoever waits is told.
            let left = std::mem::take(&mut *lock(&own_waiting));
            for asker in left.into_values() {
                let _ = asker.send(Err(CallError::Lost(reason.clone())));
            }
        });
        Connection {
            next_id: AtomicU64::new(0),
            waiting,
            writer: tokio::sync::Mutex::new(write),
            timeout,
            reader: reader.abort_handle(),
            lost,
            news,
        }
    }

    /// Whether it is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.borrow().is_some()
    }

    /// Returns why, when it is lost.
    pub(super) async fn until_lost(&self) -> String {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the connection was given up".to_owned(),
        }
    }

    /// Asks one thing.
    pub(super) async fn call(&self, method: &str, params: Value) -> Answer {
        let mut answers = self.batch(vec![(method, params)]).await;
        answers.pop().expect("as many answers as questions")
    }

    /// Asks many things at once; as many answers, in their order. The timeout is that of all of them.
    pub(super) async fn batch(&self, calls: Vec<(&str, Value)>) -> Vec<Answer> {
        let mut lines = Vec::new();
        let mut receivers = Vec::with_capacity(calls.len());
        for (method, params) in calls {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            lock(&self.waiting).insert(id, sender);
            let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
            lines.extend_from_slice(request.to_string().as_bytes());
            lines.push(b'\n');
            receivers.push((
                Forget {
                    id,
                    waiting: &self.waiting,
                },
                receiver,
            ));
        }
        let until = tokio::time::Instant::now() + self.timeout;
        let sent = tokio::time::timeout_at(until, self.send(&lines)).await;
        let failure = match sent {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(reason),
            Err(_) => Some(format!("nothing could be sent in {:?}", self.timeout)),
        };
        let mut answers = Vec::with_capacity(receivers.len());
        for (_forget, receiver) in receivers {
            if let Some(reason) = &failure {
                answers.push(Err(CallError::Lost(reason.clone())));
                continue;
            }
            answers.push(match tokio::time::timeout_at(until, receiver).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(CallError::Lost("the connection was given up".to_owned())),
                Err(_) => Err(CallError::Lost(format!("no answer in {:?}", self.timeout))),
            });
        }
        answers
    }

    async fn send(&self, lines: &[u8]) -> Result<(), String> {
        let mut writer = self.writer.lock().await;
        // Checked after the askers are on the list: the reader tells whoever is there when it ends.
        if let Some(reason) = self.lost.borrow().clone() {
            return Err(reason);
        }
        let written = async {
            writer.write_all(lines).await?;
            writer.flush().await
        };
        written.await.map_err(|error| error.to_string())
    }
}

/// Takes a question off the list when nobody waits for its answer any more.
struct Forget<'a> {
    id: u64,
    waiting: &'a Waiting,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.waiting).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads until nothing more comes, and tells why.
async fn read_all(read: impl AsyncRead + Unpin, waiting: &Waiting, news: &News) -> String {
    let mut reader = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await;
        match read {
            Ok(0) => return "the server closed the connection".to_owned(),
            Ok(_) if line.last() != Some(&b'\n') => {
                return format!(
                    "the server sent half a line, or one of more than {LONGEST_LINE} bytes"
                );
            }
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
        let Ok(message) = serde_json::from_slice::<Value>(&line) else {
            return "the server sent a line that is not JSON".to_owned();
        };
        if let Some(id) = message["id"].as_u64() {
            if let Some(asker) = lock(waiting).remove(&id) {
                let _ = asker.send(answer(message));
            }
        } else if let Some(method) = message["method"].as_str() {
            news.add(method, &message["params"]);
        }
    }
}

fn answer(mut message: Value) -> Answer {
    match message.get("error") {
        None | Some(Value::Null) => Ok(message["result"].take()),
        Some(error) => {
            let message = error["message"].as_str().or(error.as_str());
            Err(CallError::Refused {
                message: message.map_or_else(|| error.to_string(), str::to_owned),
            })
        }
    }
}

/// Names ring as its provider: in a program with two of them rustls panics.
fn tls_config() -> rustls::ClientConfig {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_scheme_host_and_port() {
        let endpoint: Endpoint = "ssl://liquid.example:50002".parse().unwrap();
        assert_eq!(
            (endpoint.host.as_str(), endpoint.port, endpoint.tls),
            ("liquid.example", 50_002, true)
        );
        for good in ["tcp://127.0.0.1:1", "ssl://a:2"] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "127.0.0.1:1",
            "http://a:1",
            "tcp://a",
            "tcp://a:99999",
            "tcp://:1",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
