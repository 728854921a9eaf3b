//! Looks for new blocks and transactions many times a second and has the node take them in at once.
//!
//! ldk-node asks bitcoind every two seconds, which cannot be changed. bitcoind could hold a request until a block
//! comes, but each such request occupies one of its few RPC threads.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ldk_node::Node;
use log::{debug, warn};
use serde::Deserialize;

use crate::config::Bitcoind;

/// How often bitcoind is asked while nobody asks us.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often it is asked while it does not answer.
const INTERVAL_WHILE_DOWN: Duration = Duration::from_millis(500);

/// How long bitcoind may take for an answer.
const RPC_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the chain must have stood still before the node takes it in. Whoever mines many blocks at once gets them
/// taken in at once: synchronising at each of them made mining a hundred blocks eight times as slow.
const SETTLED: Duration = Duration::from_millis(4);

/// How long the node waits for that at most.
const MAX_SETTLING: Duration = Duration::from_millis(400);

/// How often the node is made to synchronise for one new tip before the watcher waits for its next turn. The node
/// joins a synchronisation that is under way, and that one may have begun before the block came.
const MAX_SYNCS: usize = 5;

/// Makes the watcher look now. Dropping every copy ends it.
#[derive(Clone)]
pub(crate) struct Nudge(SyncSender<()>);

impl Nudge {
    /// Somebody is asking about the chain, so it is worth looking whether it has grown.
    pub(crate) fn look_now(&self) {
        // A full channel means that the watcher is about to look anyway.
        let _ = self.0.try_send(());
    }
}

/// Starts watching on a thread of its own.
pub(crate) fn spawn(node: Arc<Node>, bitcoind: Bitcoind) -> anyhow::Result<Nudge> {
    let (sender, receiver) = sync_channel(1);
    let watcher = Watcher {
        node,
        rpc: Rpc {
            bitcoind,
            connection: None,
        },
        mempool: None,
        is_down: false,
    };
    std::thread::Builder::new()
        .name("watcher".to_owned())
        .spawn(move || watcher.run(&receiver))?;
    Ok(Nudge(sender))
}

struct Watcher {
    node: Arc<Node>,
    rpc: Rpc,
    /// The mempool that the node has seen.
    mempool: Option<MempoolInfo>,
    is_down: bool,
}

impl Watcher {
    fn run(mut self, nudges: &Receiver<()>) {
        loop {
            let interval = if self.is_down {
                INTERVAL_WHILE_DOWN
            } else {
                INTERVAL
            };
            match nudges.recv_timeout(interval) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.look() {
                Ok(()) => self.is_down = false,
                Err(error) if self.is_down => debug!("Still no view of the chain: {error:#}"),
                Err(error) => {
                    warn!("Cannot look for new blocks: {error:#}");
                    self.is_down = true;
                }
            }
        }
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let mut chain = self.rpc.chain()?;
        for _ in 0..MAX_SYNCS {
            if self.has_taken_in(&chain) {
                return Ok(());
            }
            let settled = self.settle(chain)?;
            self.node
                .sync_wallets()
                .context("the node cannot synchronise")?;
            self.mempool = Some(settled.mempool);
            chain = self.rpc.chain()?;
        }
        Ok(())
    }

    fn has_taken_in(&self, chain: &Chain) -> bool {
        let tip = self.node.status().current_best_block.block_hash.to_string();
        tip == chain.best_block_hash && self.mempool.as_ref() == Some(&chain.mempool)
    }

    /// Waits until no more blocks come.
    fn settle(&mut self, mut chain: Chain) -> anyhow::Result<Chain> {
        let started = Instant::now();
        while started.elapsed() < MAX_SETTLING {
            pause();
            let later = self.rpc.chain()?;
            if later.best_block_hash == chain.best_block_hash {
                return Ok(later);
            }
            chain = later;
        }
        Ok(chain)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a daemon is no test: it waits for nobody's deadline here"
)]
fn pause() {
    std::thread::sleep(SETTLED);
}

#[derive(Debug)]
struct Chain {
    best_block_hash: String,
    mempool: MempoolInfo,
}

/// Changes whenever a transaction enters or leaves, up to a replacement by one of the same size and fee.
#[derive(Debug, PartialEq, Deserialize)]
struct MempoolInfo {
    size: u64,
    bytes: u64,
    total_fee: f64,
}

/// JSON-RPC to bitcoind over one connection that is kept.
struct Rpc {
    bitcoind: Bitcoind,
    connection: Option<BufReader<TcpStream>>,
}

#[derive(Deserialize)]
struct Reply {
    id: u64,
    result: serde_json::Value,
    error: Option<serde_json::Value>,
}

impl Rpc {
    fn chain(&mut self) -> anyhow::Result<Chain> {
        let mut results = self
            .batch(&["getbestblockhash", "getmempoolinfo"])?
            .into_iter();
        let mut next = || {
            results
                .next()
                .ok_or_else(|| anyhow!("an answer is missing"))
        };
        Ok(Chain {
            best_block_hash: serde_json::from_value(next()?)?,
            mempool: serde_json::from_value(next()?)?,
        })
    }

    /// The results of calls without parameters, in their order.
    fn batch(&mut self, methods: &[&str]) -> anyhow::Result<Vec<serde_json::Value>> {
        let calls: Vec<_> = methods
            .iter()
            .enumerate()
            .map(|(id, method)| serde_json::json!({"jsonrpc": "1.0", "id": id, "method": method, "params": []}))
            .collect();
        let body = serde_json::Value::Array(calls).to_string();
        let answer = match self.connection.take() {
            // bitcoind closes a connection that was idle for long; asking twice does no harm.
            Some(kept) => self
                .post(kept, &body)
                .or_else(|_| self.connect().and_then(|fresh| self.post(fresh, &body))),
            None => self.connect().and_then(|fresh| self.post(fresh, &body)),
        };
        let answer = answer.with_context(|| {
            format!("bitcoind at {}:{}", self.bitcoind.host, self.bitcoind.port)
        })?;
        let mut replies: Vec<Reply> =
            serde_json::from_slice(&answer).context("bitcoind's answer cannot be read")?;
        replies.sort_by_key(|reply| reply.id);
        replies
            .into_iter()
            .map(|reply| match reply.error {
                None => Ok(reply.result),
                Some(error) => Err(anyhow!("bitcoind answered with the error {error}")),
            })
            .collect()
    }

    fn connect(&self) -> anyhow::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect((self.bitcoind.host.as_str(), self.bitcoind.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RPC_TIMEOUT))?;
        stream.set_write_timeout(Some(RPC_TIMEOUT))?;
        Ok(BufReader::new(stream))
    }

    fn post(
        &mut self,
        mut connection: BufReader<TcpStream>,
        body: &str,
    ) -> anyhow::Result<Vec<u8>> {
        let Bitcoind {
            host,
            port,
            user,
            password,
        } = &self.bitcoind;
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Basic {credentials}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        connection.get_mut().write_all(request.as_bytes())?;
        let answer = read_response(&mut connection)?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

/// The body of a successful HTTP/1.1 response that announces its length, as all of bitcoind's do.
fn read_response(connection: &mut impl BufRead) -> anyhow::Result<Vec<u8>> {
    const MAX_LEN: usize = 1 << 20;
    let mut status = String::new();
    connection.take(MAX_LEN as u64).read_line(&mut status)?;
    ensure!(!status.is_empty(), "the connection was closed");
    let mut length = None;
    loop {
        let mut header = String::new();
        connection.take(MAX_LEN as u64).read_line(&mut header)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(
                value
                    .trim()
                    .parse::<usize>()
                    .context("the length of the answer")?,
            );
        }
    }
    let length = length
        .filter(|length| *length <= MAX_LEN)
        .ok_or_else(|| anyhow!("an answer of unknown or huge length"))?;
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    match status.split_whitespace().nth(1) {
        Some("200") => Ok(body),
        Some("401") => bail!("bitcoind refuses `bitcoind.rpc_user` and `bitcoind.rpc_password`"),
        _ => bail!("HTTP {}: {}", status.trim(), String::from_utf8_lossy(&body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_answers() {
        let read =
            |text: &str| read_response(&mut text.as_bytes()).map_err(|error| format!("{error:#}"));
        let ok =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 4\r\n\r\n[{}]";
        assert_eq!(read(ok), Ok(b"[{}]".to_vec()));
        let cases = [
            ("", "the connection was closed"),
            (
                "HTTP/1.1 200 OK\r\n\r\n",
                "an answer of unknown or huge length",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
                "an answer of unknown or huge length",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
                "failed to fill whole buffer",
            ),
            (
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
                "bitcoind refuses `bitcoind.rpc_user` and `bitcoind.rpc_password`",
            ),
            (
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 24\r\n\r\nWork queue depth exceeded",
                "HTTP HTTP/1.1 503 Service Unavailable: Work queue depth exceede",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(read(text), Err(message.to_owned()));
        }
    }
}
