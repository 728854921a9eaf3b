//! The Electrum index of Liquid: what the chain is asked and told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use elements::encode::{deserialize, serialize_hex};
use elements::hashes::sha256;
use elements::hex::{DisplayHex as _, decode_to_vec};
use elements::{BlockHash, BlockHeader, Script, Transaction, Txid};
use serde_json::{Value, json};
use swaprig_units::Height;

use super::connection::{BadUrl, CallError, Connection, Endpoint};
use super::fee::rate_from_coins;
use crate::swap::{Depth, FeeRate};

/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// First pause between two attempts to connect; the next ones double.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Questions that are sent at once at most, so that none of many waits longer than the timeout for its turn.
const BATCH: usize = 500;

/// How an index is reached.
#[derive(Debug, Clone)]
pub struct IndexSettings {
    /// `tcp://HOST:PORT`, or `ssl://HOST:PORT` with a certificate of a public authority.
    pub url: String,
    /// How long one call, or an attempt to connect, may take.
    pub timeout: Duration,
    /// Connections that calls are spread over: a server works on one call of a connection after the other.
    pub connections: usize,
}

impl IndexSettings {
    /// Five connections and ten seconds.
    pub fn new(url: impl Into<String>) -> Self {
        IndexSettings {
            url: url.into(),
            timeout: Duration::from_secs(10),
            connections: 5,
        }
    }
}

/// Why the index gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It cannot be reached, or was lost over the call. Ask again later.
    #[error("the index cannot be reached: {0}")]
    Unreachable(String),
    /// It refuses the call.
    #[error("the index refuses {method}: {text}")]
    Refused {
        /// What was called.
        method: String,
        /// Its words.
        text: String,
    },
    /// Its answer makes no sense.
    #[error("the index answered {method} with something else: {why}")]
    Malformed {
        /// What was called.
        method: String,
        /// What is wrong.
        why: String,
    },
}

/// Why a transaction was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    /// The node refuses it, as it is now: for good, or until the chain or the mempool is another.
    #[error("the node refuses the transaction: {text}")]
    Rejected {
        /// Its words.
        text: String,
    },
    /// An input does not exist or is spent; also said of a transaction whose outputs are all spent already.
    #[error("an input of the transaction is missing or spent: {text}")]
    MissingInputs {
        /// The node's words.
        text: String,
    },
    /// Nobody knows whether it was sent. Sending it again is harmless.
    #[error("not known whether the transaction was sent: {0}")]
    Unreachable(String),
}

/// The last block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
}

/// A transaction that has to do with a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryItem {
    /// Which.
    pub txid: Txid,
    /// In the mempool or in a block.
    pub depth: Depth,
}

/// A connection that is made when it is needed.
#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    /// Failed attempts in a row, when the last one was, and why it failed.
    failed: Option<(u32, Instant, String)>,
}

struct Pool {
    endpoint: Endpoint,
    settings: IndexSettings,
    slots: Vec<tokio::sync::Mutex<Slot>>,
    /// Questions in flight per slot.
    busy: Vec<AtomicUsize>,
    last_tip: Mutex<Option<Tip>>,
}

/// An Electrum index. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Index(Arc<Pool>);

impl Index {
    /// An index that is connected to at the first call.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn new(settings: IndexSettings) -> Result<Index, BadUrl> {
        let count = settings.connections.max(1);
        Ok(Index(Arc::new(Pool {
            endpoint: settings.url.parse()?,
            settings,
            slots: (0..count).map(|_| Default::default()).collect(),
            busy: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            last_tip: Mutex::new(None),
        })))
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    pub(super) fn timeout(&self) -> Duration {
        self.0.settings.timeout
    }

    /// The last block.
    ///
    /// # Errors
    ///
    /// As all calls: see [`IndexError`].
    pub async fn tip(&self) -> Result<Tip, IndexError> {
        let header = self.header_of_tip().await?;
        let tip = Tip {
            height: Height(header.height),
            hash: header.block_hash(),
        };
        *self
            .0
            .last_tip
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(tip);
        Ok(tip)
    }

    /// The tip when it was last asked for or heard of.
    pub fn last_tip(&self) -> Option<Tip> {
        *self
            .0
            .last_tip
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn header_of_tip(&self) -> Result<BlockHeader, IndexError> {
        const METHOD: &str = "blockchain.headers.subscribe";
        let said = self.call(METHOD, json!([])).await?;
        header(METHOD, &said["hex"])
    }

    /// The headers of blocks, in the order of `heights`.
    ///
    /// # Errors
    ///
    /// As all calls; when there is no block so high, too.
    pub async fn headers(&self, heights: &[Height]) -> Result<Vec<BlockHeader>, IndexError> {
        const METHOD: &str = "blockchain.block.header";
        let params = heights.iter().map(|height| json!([height.0]));
        let said = self.batch(METHOD, params.collect()).await?;
        said.iter().map(|said| header(METHOD, said)).collect()
    }

    /// The transaction called `txid`, from the chain or the mempool.
    ///
    /// # Errors
    ///
    /// As all calls; [`IndexError::Refused`] when the index does not know it.
    pub async fn transaction(&self, txid: Txid) -> Result<Transaction, IndexError> {
        let mut all = self.transactions(&[txid]).await?;
        Ok(all.pop().expect("one for each"))
    }

    /// Transactions, in the order of `txids`. Each is checked to be the one that was asked for.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Index::transaction).
    pub async fn transactions(&self, txids: &[Txid]) -> Result<Vec<Transaction>, IndexError> {
        const METHOD: &str = "blockchain.transaction.get";
        let params = txids.iter().map(|txid| json!([txid.to_string()]));
        let said = self.batch(METHOD, params.collect()).await?;
        let read = |(txid, said): (&Txid, &Value)| {
            let transaction: Transaction = decoded(METHOD, said)?;
            if transaction.txid() != *txid {
                let why = format!("{} for {txid}", transaction.txid());
                return Err(malformed(METHOD, why));
            }
            Ok(transaction)
        };
        txids.iter().zip(&said).map(read).collect()
    }

    /// The transactions that fund or spend outputs of `script`, confirmed ones first, in the order of the chain.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub async fn history(&self, script: &Script) -> Result<Vec<HistoryItem>, IndexError> {
        let mut all = self.histories(std::slice::from_ref(script)).await?;
        Ok(all.pop().expect("one for each"))
    }

    /// The history of each script, in the order of `scripts`.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub async fn histories(&self, scripts: &[Script]) -> Result<Vec<Vec<HistoryItem>>, IndexError> {
        const METHOD: &str = "blockchain.scripthash.get_history";
        let params = scripts.iter().map(|script| json!([script_hash(script)]));
        let said = self.batch(METHOD, params.collect()).await?;
        said.iter().map(|said| history(METHOD, said)).collect()
    }

    /// Sends `transaction` to the network. One that is known already counts as sent.
    ///
    /// # Errors
    ///
    /// See [`BroadcastError`].
    pub async fn broadcast(&self, transaction: &Transaction) -> Result<Txid, BroadcastError> {
        let txid = transaction.txid();
        let text = txid.to_string();
        self.send(serialize_hex(transaction), &text).await?;
        Ok(txid)
    }

    /// Sends the transaction called `txid`, in hexadecimal.
    pub(super) async fn send(&self, transaction: String, txid: &str) -> Result<(), BroadcastError> {
        let params = json!([transaction]);
        match self.call("blockchain.transaction.broadcast", params).await {
            Ok(said) if said.as_str() == Some(txid) => Ok(()),
            Ok(said) => Err(BroadcastError::Unreachable(format!(
                "the index answered {said} to {txid}"
            ))),
            Err(IndexError::Refused { text, .. }) => verdict(text),
            Err(error) => Err(BroadcastError::Unreachable(error.to_string())),
        }
    }

    /// What the node thinks a transaction has to pay to be in one of the next `blocks` blocks; `None` when it does not say.
    ///
    /// # Errors
    ///
    /// As all calls.
    pub async fn fee_rate(&self, blocks: u32) -> Result<Option<FeeRate>, IndexError> {
        const METHOD: &str = "blockchain.estimatefee";
        let said = self.call(METHOD, json!([blocks])).await?;
        let coins = said
            .as_f64()
            .ok_or_else(|| malformed(METHOD, said.to_string()))?;
        Ok((coins > 0.0).then(|| rate_from_coins(coins)).flatten())
    }

    pub(super) async fn call(&self, method: &str, params: Value) -> Result<Value, IndexError> {
        let mut all = self.batch(method, vec![params]).await?;
        Ok(all.pop().expect("one for each"))
    }

    /// Asks `method` once for each of `params`; the first error is the error of all.
    pub(super) async fn batch(
        &self,
        method: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Value>, IndexError> {
        let mut all = Vec::with_capacity(params.len());
        let mut params = params.into_iter().peekable();
        while params.peek().is_some() {
            let chunk: Vec<_> = params
                .by_ref()
                .take(BATCH)
                .map(|one| (method, one))
                .collect();
            let (at, connection) = self.connection().await?;
            let _busy = Busy::new(&self.0.busy[at]);
            for answer in connection.batch(chunk).await {
                all.push(answer.map_err(|error| match error {
                    CallError::Lost(why) => IndexError::Unreachable(why),
                    CallError::Refused { message } => IndexError::Refused {
                        method: method.to_owned(),
                        text: message,
                    },
                })?);
            }
        }
        Ok(all)
    }

    /// The least busy connection, made anew when it was lost.
    async fn connection(&self) -> Result<(usize, Arc<Connection>), IndexError> {
        let pool = &*self.0;
        let at = (0..pool.slots.len()).min_by_key(|at| pool.busy[*at].load(Ordering::Relaxed));
        let at = at.expect("there is at least one");
        let _busy = Busy::new(&pool.busy[at]);
        let mut slot = pool.slots[at].lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|own| !own.is_lost()) {
            return Ok((at, Arc::clone(connection)));
        }
        if let Some((times, when, why)) = &slot.failed
            && when.elapsed() < pause(*times)
        {
            return Err(IndexError::Unreachable(why.clone()));
        }
        match Connection::open(&pool.endpoint, pool.settings.timeout).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *slot = Slot {
                    connection: Some(Arc::clone(&connection)),
                    failed: None,
                };
                Ok((at, connection))
            }
            Err(error) => {
                let times = slot.failed.as_ref().map_or(0, |(times, ..)| *times) + 1;
                let why = error.to_string();
                slot.failed = Some((times, Instant::now(), why.clone()));
                Err(IndexError::Unreachable(why))
            }
        }
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({})", self.0.endpoint)
    }
}

/// Counts a question while it is in flight.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Busy(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long to wait after so many failed attempts in a row.
pub(super) fn pause(times: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(10));
    doubled.min(LONGEST_PAUSE)
}

/// What Electrum calls a script: its SHA-256, byte-reversed.
pub(super) fn script_hash(script: &Script) -> String {
    let mut hash = sha256::Hash::hash(script.as_bytes()).to_byte_array();
    hash.reverse();
    hash.to_lower_hex_string()
}

pub(super) fn malformed(method: &str, why: impl Into<String>) -> IndexError {
    IndexError::Malformed {
        method: method.to_owned(),
        why: why.into(),
    }
}

fn decoded<T: elements::encode::Decodable>(method: &str, said: &Value) -> Result<T, IndexError> {
    let text = said.as_str().ok_or_else(|| malformed(method, "no text"))?;
    let bytes = decode_to_vec(text).map_err(|error| malformed(method, error.to_string()))?;
    deserialize(&bytes).map_err(|error| malformed(method, error.to_string()))
}

/// Reads a header of Liquid.
pub(super) fn header(method: &str, said: &Value) -> Result<BlockHeader, IndexError> {
    decoded(method, said)
}

fn history(method: &str, said: &Value) -> Result<Vec<HistoryItem>, IndexError> {
    let items = said
        .as_array()
        .ok_or_else(|| malformed(method, "no list"))?;
    let read = |item: &Value| {
        let txid = item["tx_hash"].as_str().and_then(|txid| txid.parse().ok());
        let height = item["height"].as_i64();
        // 0: in the mempool; -1: there, with an input that is there, too.
        let depth = height.and_then(|height| match height {
            -1 | 0 => Some(Depth::Mempool),
            _ => u32::try_from(height)
                .ok()
                .map(|height| Depth::Block(Height(height))),
        });
        match (txid, depth) {
            (Some(txid), Some(depth)) => Ok(HistoryItem { txid, depth }),
            _ => Err(malformed(method, item.to_string())),
        }
    };
    items.iter().map(read).collect()
}

/// What the node's words on a transaction mean. They are those of `sendrawtransaction`, and indexes wrap them each in
/// their own way, so that parts are looked for.
pub(super) fn verdict(text: String) -> Result<(), BroadcastError> {
    const KNOWN: [&str; 5] = [
        "txn-already-in-mempool",
        "txn-already-known",
        "already in block chain",
        "already in utxo set",
        "already in mempool",
    ];
    const MISSING: [&str; 3] = ["missingorspent", "missing inputs", "missing-inputs"];
    // The index could not ask its node.
    const UNKNOWN: [&str; 8] = [
        "cannot be reached",
        "connection refused",
        "timed out",
        "timeout",
        "warming up",
        "loading block index",
        "busy",
        "work queue",
    ];
    let lower = text.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
    if says(&KNOWN) {
        Ok(())
    } else if says(&MISSING) {
        Err(BroadcastError::MissingInputs { text })
    } else if says(&UNKNOWN) {
        Err(BroadcastError::Unreachable(text))
    } else {
        Err(BroadcastError::Rejected { text })
    }
}

#[cfg(test)]
mod tests;
