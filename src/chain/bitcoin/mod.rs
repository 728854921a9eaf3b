//! Bitcoin: the wallet's coins, and what is watched there, read from a bitcoind or from an Electrum server.
//!
//! [`BitcoinChain`] asks, sends, listens and owns. It makes transactions from its coins; what is locked in them is others' business.

mod electrum;
mod fee;
mod follower;
mod funding;
mod keys;
mod rpc;
mod settings;
mod swaps;
mod vault;
mod watched;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bdk_wallet::KeychainKind;
use bitcoin::{Address, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use swaprig_units::{Height, Sat};
use tokio::sync::mpsc;

use super::index::{BroadcastError, IndexError};
use super::seed::Seed;
use super::watcher::{EVENTS, WatchEvent};
use super::{BadUrl, wallet::blocking};
use crate::swap::{Depth, FeeRate};
use electrum::Electrum;
use follower::Request;
pub use funding::{BtcCoin, BtcFanOut, BtcSelection, BtcShortage, FundError};
use keys::Keys;
use rpc::Rpc;
pub use settings::{
    BadSource, BitcoinFees, BitcoinSettings, BitcoinSource, NodeAuth, NodeSettings,
};
pub use swaps::{Bitcoin, locked_of};
pub use vault::BtcRecovered;
use vault::{Store, Vault};
pub use watched::Found;
use watched::Watched;

/// What the chain said.
pub type BitcoinEvent = WatchEvent<ScriptBuf>;

/// What goes wrong with the wallet itself.
#[derive(Debug, thiserror::Error)]
pub enum BitcoinError {
    /// Its directory could not be used.
    #[error("the wallet's directory {}", dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the wallet open.
    #[error("another process has the wallet's database {} open", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// Its database could not be read or written.
    #[error("the wallet's database: {0}")]
    Database(String),
    /// The source's address is none.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// No thread could be started.
    #[error("no thread for the chain could be started")]
    Thread(#[source] std::io::Error),
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// In a block, in the mempool, or neither.
    pub depth: Depth,
    /// Whether another transaction in a block spends one of its inputs: it can never be in this chain. Known of the wallet's coins
    /// only.
    pub conflicted: bool,
}

/// What is known, kept up by the source. Never locked across the network.
struct State {
    vault: Vault,
    watched: Watched,
    /// The watched scripts that the chain was looked through for.
    ready: HashSet<ScriptBuf>,
    /// The tip up to which everything else is known; why nothing is, while the source is not there.
    view: Result<Height, IndexError>,
}

struct Inner {
    settings: BitcoinSettings,
    keys: Arc<Keys>,
    /// Locked before `state`, and never waited for with that locked.
    store: Mutex<Store>,
    state: Mutex<State>,
}

impl Inner {
    /// Writes down what is new of the wallet.
    fn save(&self) -> Result<(), BitcoinError> {
        lock(&self.store).save(&self.state)
    }

    /// Has the wallet forget the blocks above `height`.
    fn shorten(&self, height: Height) -> Result<(), BitcoinError> {
        let mut store = lock(&self.store);
        store.shorten(&mut lock(&self.state), height)
    }
}

/// Who knows the chain.
enum Source {
    Node {
        rpc: Arc<Rpc>,
        requests: Arc<std::sync::mpsc::Sender<Request>>,
    },
    Electrum(Electrum),
}

/// Bitcoin, and the wallet on it. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct BitcoinChain(Arc<Handle>);

struct Handle {
    inner: Arc<Inner>,
    source: Source,
}

impl std::fmt::Debug for BitcoinChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BitcoinChain({})", self.0.inner.settings.dir.display())
    }
}

impl BitcoinChain {
    /// Opens the wallet of `seed` as it was left, and begins to follow the chain; the source need not be there yet. What is seen is
    /// told through the receiver, until the last clone is dropped: events that nobody takes are merged, none is lost. The first tip is told
    /// as soon as the source is reached.
    ///
    /// # Errors
    ///
    /// When the directory or the wallet's database cannot be used, or the source's address is none.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn open(
        settings: BitcoinSettings,
        seed: &Seed,
    ) -> Result<(BitcoinChain, mpsc::Receiver<BitcoinEvent>), BitcoinError> {
        let keys = Arc::new(Keys::new(seed, settings.network));
        let opening = move || -> Result<Arc<Inner>, BitcoinError> {
            let (vault, store) = Vault::open(&settings.dir, settings.network, &keys)?;
            let not_yet = IndexError::Unreachable("nothing was read of the chain yet".to_owned());
            let state = State {
                vault,
                watched: Watched::default(),
                ready: HashSet::new(),
                view: Err(not_yet),
            };
            Ok(Arc::new(Inner {
                settings,
                keys,
                store: Mutex::new(store),
                state: Mutex::new(state),
            }))
        };
        let inner = blocking(opening).await?;
        let (events, told) = mpsc::channel(EVENTS);
        let source = match &inner.settings.source {
            BitcoinSource::Node(node) => {
                let rpc = Arc::new(Rpc::new(node, node.timeout));
                let requests = follower::start(&inner, node, &rpc, events);
                Source::Node {
                    rpc,
                    requests: requests.map_err(BitcoinError::Thread)?,
                }
            }
            BitcoinSource::Electrum(index) => {
                Source::Electrum(Electrum::start(&inner, index.clone(), events)?)
            }
        };
        Ok((BitcoinChain(Arc::new(Handle { inner, source })), told))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.inner.state)
    }

    /// Asks the follower for something and waits for its answer.
    async fn ask(
        requests: &std::sync::mpsc::Sender<Request>,
        request: impl FnOnce(follower::Answer) -> Request,
    ) -> Result<(), IndexError> {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let ended = || IndexError::Unreachable("the follower of the chain has ended".to_owned());
        requests.send(request(done)).map_err(|_| ended())?;
        is_done.await.map_err(|_| ended())?
    }

    /// The height of the last block, up to which everything else is known.
    ///
    /// # Errors
    ///
    /// While the source is not there, or behind what was seen of it.
    pub async fn tip(&self) -> Result<Height, IndexError> {
        match &self.0.source {
            Source::Node { .. } => self.state().view.clone(),
            Source::Electrum(electrum) => electrum.tip().await,
        }
    }

    /// Looks at everything now: when this returns, the wallet and the watch are at least as new as the source was at the call.
    ///
    /// # Errors
    ///
    /// While the source is not there, or behind what was seen of it.
    pub async fn sync(&self) -> Result<Height, IndexError> {
        match &self.0.source {
            Source::Node { requests, .. } => Self::ask(requests, Request::Look).await?,
            Source::Electrum(electrum) => electrum.sync().await?,
        }
        self.tip().await
    }

    /// Watches scripts, each with a height below which nothing has to do with it. When this returns, the chain has been looked through
    /// for them from there on, and every later change will be told. Those that are watched already stay. Many at once cost one look.
    ///
    /// # Errors
    ///
    /// When the source is not there: they are watched and looked for as soon as it is back, and [`outputs`](Self::outputs) says when.
    pub async fn watch(
        &self,
        scripts: impl IntoIterator<Item = (ScriptBuf, Height)>,
    ) -> Result<(), IndexError> {
        let scripts: Vec<_> = scripts.into_iter().collect();
        match &self.0.source {
            Source::Node { requests, .. } => {
                Self::ask(requests, |done| Request::Watch(scripts, done)).await
            }
            Source::Electrum(electrum) => electrum.watch(scripts).await,
        }
    }

    /// No longer watches `script`. A change that was seen before may still be told.
    pub async fn unwatch(&self, script: &ScriptBuf) {
        {
            let mut state = self.state();
            state.ready.remove(script);
            state.watched.unwatch(script);
        }
        if let Source::Electrum(electrum) = &self.0.source {
            electrum.unwatch(script).await;
        }
    }

    /// All outputs that were ever paid to `script`, which is watched, since the height that was given, with what spends them.
    ///
    /// # Errors
    ///
    /// While the source is not there, or the chain was not looked through yet; [`IndexError::Refused`] when `script` is not watched.
    pub async fn outputs(&self, script: &ScriptBuf) -> Result<Vec<Found>, IndexError> {
        if let Source::Electrum(electrum) = &self.0.source {
            return electrum.outputs(script).await;
        }
        let state = self.state();
        state.view.clone()?;
        if !state.watched.is_watched(script) {
            return Err(IndexError::Refused {
                method: "outputs".to_owned(),
                text: format!("{script:x} is not watched"),
            });
        }
        if !state.ready.contains(script) {
            let why = "the chain was not looked through for the script yet";
            return Err(IndexError::Unreachable(why.to_owned()));
        }
        Ok(state.watched.outputs(script))
    }

    /// What the output at `outpoint` holds, if it pays `script` and no block has spent it. For scripts that are not watched, too: the
    /// source is asked, no block is read, and nothing is kept.
    ///
    /// # Errors
    ///
    /// While the source is not there.
    pub async fn output(
        &self,
        outpoint: OutPoint,
        script: &ScriptBuf,
    ) -> Result<Option<Sat>, IndexError> {
        let is_left = |found: &Found| {
            let gone = matches!(found.spent_by, Some((_, Depth::Block(_))));
            found.outpoint == outpoint && !gone
        };
        let of = |found: Vec<Found>| {
            let mut found = found.into_iter();
            found.find(is_left).map(|found| found.value)
        };
        match &self.0.source {
            Source::Electrum(electrum) => Ok(of(electrum.outputs(script).await?)),
            Source::Node { rpc, .. } => {
                let watched = self.outputs(script).await;
                if let Some(value) = watched.ok().and_then(of) {
                    return Ok(Some(value));
                }
                let rpc = Arc::clone(rpc);
                let found = blocking(move || rpc.output(outpoint)).await?;
                let found = found.filter(|(_, pays)| pays == script);
                Ok(found.map(|(value, _)| value))
            }
        }
    }

    /// Where `transaction` stands, which spends the wallet's coins or pays a watched script.
    ///
    /// # Errors
    ///
    /// While the source is not there.
    pub async fn standing(&self, transaction: &Transaction) -> Result<Standing, IndexError> {
        if let Source::Electrum(electrum) = &self.0.source {
            return electrum.standing(transaction).await;
        }
        let state = self.state();
        state.view.clone()?;
        let txid = transaction.compute_txid();
        let depth = state.watched.depth(&txid);
        let depth = depth.unwrap_or_else(|| state.vault.depth(txid));
        let conflict = || state.vault.conflict(transaction).is_some();
        Ok(Standing {
            depth,
            conflicted: depth == Depth::Unseen && conflict(),
        })
    }

    /// Sends `transaction` to the network. One that is known already counts as sent. When this returns, the wallet has seen it.
    ///
    /// # Errors
    ///
    /// See [`BroadcastError`].
    pub async fn broadcast(&self, transaction: &Transaction) -> Result<Txid, BroadcastError> {
        match &self.0.source {
            Source::Node { rpc, .. } => {
                let (rpc, own) = (Arc::clone(rpc), transaction.clone());
                blocking(move || rpc.broadcast(&own)).await?;
            }
            Source::Electrum(electrum) => electrum.broadcast(transaction).await?,
        }
        // It is sent, whether it is seen now or later.
        if let Err(error) = self.sync().await {
            tracing::debug!(%error, "a transaction was sent and not seen yet");
        }
        Ok(transaction.compute_txid())
    }

    /// What a transaction should pay to be in one of the next `blocks` blocks, within the bounds that were set. Somebody's word is always
    /// had: at the last, the fallback.
    pub async fn fee_rate(&self, blocks: u32) -> FeeRate {
        let fees = &self.0.inner.settings.fees;
        if let Some(service) = fees.service.clone() {
            match blocking(move || fee::recommended(&service, blocks)).await {
                Ok(rate) => return fees.bounded(Some(rate)),
                Err(error) => tracing::warn!(error, "the fee service does not tell a rate"),
            }
        }
        let estimate = match &self.0.source {
            Source::Node { rpc, .. } => {
                let rpc = Arc::clone(rpc);
                blocking(move || rpc.estimate(blocks)).await
            }
            Source::Electrum(electrum) => electrum.estimate(blocks).await,
        };
        let estimate = estimate.unwrap_or_else(|error| {
            tracing::warn!(%error, "the source does not tell a fee rate");
            None
        });
        fees.bounded(estimate)
    }

    /// The unspent coins, in the order of their outpoints.
    pub fn coins(&self) -> Arc<Vec<BtcCoin>> {
        self.state().vault.coins()
    }

    /// How transactions pay.
    pub fn fees(&self) -> &BitcoinFees {
        &self.0.inner.settings.fees
    }

    /// Chooses confirmed coins that are not in `reserved` for a transaction with `outputs` at `rate`: as few as possible, of those the
    /// smallest that suffice, and rather without change or with change that is worth an output than with a rest that is lost to the
    /// fee. The same coins give the same choice.
    ///
    /// # Errors
    ///
    /// When there are not enough.
    pub fn select(
        &self,
        outputs: &[TxOut],
        rate: FeeRate,
        reserved: &HashSet<OutPoint>,
    ) -> Result<BtcSelection, BtcShortage> {
        self.select_from(&self.coins(), outputs, rate, reserved)
    }

    /// The same of `coins`, as they were seen.
    ///
    /// # Errors
    ///
    /// When there are not enough.
    pub fn select_from(
        &self,
        coins: &[BtcCoin],
        outputs: &[TxOut],
        rate: FeeRate,
        reserved: &HashSet<OutPoint>,
    ) -> Result<BtcSelection, BtcShortage> {
        funding::select(coins, outputs, rate, self.fees().dust, reserved)
    }

    /// The signed transaction that spends `coins` to `outputs`, in their order, at `rate`; the change comes last and goes where that of
    /// the swap `index` goes. The same, to the last byte, each time, whether the coins are spent already or not.
    ///
    /// # Errors
    ///
    /// When a coin was never the wallet's, or they do not suffice.
    pub fn fund(
        &self,
        coins: &[OutPoint],
        outputs: Vec<TxOut>,
        index: u32,
        rate: FeeRate,
    ) -> Result<Transaction, FundError> {
        let (own, change) = {
            let state = self.state();
            (
                known(&state.vault, coins)?,
                state.vault.change_script(index),
            )
        };
        let values = values(&own);
        let transaction = funding::unsigned(&values, outputs, change, rate, self.fees().dust)?;
        Ok(self.signed(transaction, own))
    }

    /// The signed transaction that makes up to `count` coins of `size` of `coins` at `rate`, and one of what is left. Reserve what it spends,
    /// and send it; it can be lost without harm.
    ///
    /// # Errors
    ///
    /// When a coin was never the wallet's, or they do not suffice for a single piece.
    pub fn fan_out(
        &self,
        coins: &[OutPoint],
        count: usize,
        size: Sat,
        rate: FeeRate,
    ) -> Result<BtcFanOut, FundError> {
        let (own, to) = {
            let state = self.state();
            let script = |at| state.vault.change_script(at);
            // The rest is told apart by nothing: both come from here.
            (known(&state.vault, coins)?, (script(0), script(0)))
        };
        let values = values(&own);
        let (transaction, pieces) =
            funding::divided(&values, count, size, to, rate, self.fees().dust)?;
        Ok(BtcFanOut {
            transaction: self.signed(transaction, own),
            pieces,
        })
    }

    fn signed(&self, mut transaction: Transaction, own: Vec<Own>) -> Transaction {
        let mut own = own;
        own.sort_by_key(|own| own.0);
        let coins: Vec<_> = own
            .into_iter()
            .map(|(_, path, output)| (path, output))
            .collect();
        self.0.inner.keys.sign(&mut transaction, &coins);
        transaction
    }

    /// An address that was never given out before. Written down before this returns: do not call it where nothing may block.
    ///
    /// # Errors
    ///
    /// When it cannot be noted down that it was given out.
    pub fn fresh_address(&self) -> Result<Address, BitcoinError> {
        let fresh = self.state().vault.fresh();
        self.0.inner.save()?;
        Ok(fresh.address)
    }

    /// An address for whoever asks where to send coins: the same one until a coin came to it or to a later one.
    ///
    /// # Errors
    ///
    /// As [`fresh_address`](Self::fresh_address).
    pub fn deposit_address(&self) -> Result<Address, BitcoinError> {
        let shown = self.state().vault.deposit();
        self.0.inner.save()?;
        Ok(shown.address)
    }

    /// Where the change of the funding of swap `index` goes. The same each time.
    pub fn change_script(&self, index: u32) -> ScriptBuf {
        self.state().vault.change_script(index)
    }

    /// The descriptors of the addresses that are given out and of those for change, without secrets: whoever has them sees all that the
    /// wallet has.
    pub fn descriptors(&self) -> [String; 2] {
        self.0.inner.keys.descriptors()
    }

    /// All fundings of swaps that this seed ever sent and that are in the mempool or in a block, spent or not, the oldest first.
    /// [`sync`](Self::sync) first.
    pub fn recover(&self) -> Vec<BtcRecovered> {
        self.state().vault.recover()
    }
}

/// An outpoint of the wallet, its key and its output.
type Own = (OutPoint, (KeychainKind, u32), TxOut);

fn known(vault: &Vault, coins: &[OutPoint]) -> Result<Vec<Own>, FundError> {
    let find = |outpoint: &OutPoint| {
        let (path, output) = vault
            .output(*outpoint)
            .ok_or(FundError::Unknown(*outpoint))?;
        Ok((*outpoint, path, output))
    };
    // Twice the same is once.
    let coins: HashSet<OutPoint> = coins.iter().copied().collect();
    coins.iter().map(find).collect()
}

fn values(own: &[Own]) -> Vec<(OutPoint, Sat)> {
    let value = |own: &Own| (own.0, Sat(own.2.value.to_sat()));
    own.iter().map(value).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
