//! Follows a bitcoind in a thread of its own: each block and the mempool, into the wallet and the watched scripts.
//!
//! One pass reads blocks up to the node's last one and then the mempool as it is on top of that block. Nothing is locked while
//! the node is asked.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bdk_bitcoind_rpc::bitcoincore_rpc::{self, RpcApi as _};
use bdk_bitcoind_rpc::{BitcoindRpcErrorExt as _, BlockEvent, Emitter, NO_EXPECTED_MEMPOOL_TXS};
use bitcoin::{Block, BlockHash, ScriptBuf, Transaction, Txid};
use serde_json::Value;
use swaprig_units::Height;
use tokio::sync::oneshot;

use super::rpc::{Rpc, index_error};
use super::settings::NodeSettings;
use super::{BitcoinEvent, Inner, lock};
use crate::chain::index::{IndexError, malformed, pause};
use crate::chain::watcher::Outbox;
use crate::swap::Depth;

/// How often the mempool is looked at. A pass that takes longer is followed by a longer pause.
const POLL: Duration = Duration::from_millis(20);
/// How much longer than a pass the pause after it is: on a large mempool passes take long.
const REST: u32 = 2;
/// How long the node is asked to wait for a block.
const LONG_POLL: Duration = Duration::from_secs(5);
/// After so many blocks the wallet is written down while it catches up.
const SAVE_EVERY: usize = 500;
/// How often a pass begins anew because the chain moved on meanwhile.
const ATTEMPTS: usize = 20;

/// What the follower is asked for.
pub(super) enum Request {
    /// These scripts are watched, with the heights since when they are of interest. Answered when they have been looked for.
    Watch(Vec<(ScriptBuf, Height)>, Answer),
    /// Answered after the next look at everything.
    Look(Answer),
    /// Look now.
    Wake,
}

/// To whoever asked.
pub(super) type Answer = oneshot::Sender<Result<(), IndexError>>;

/// Why a pass came to nothing.
enum Failure {
    /// The node does not answer, or with nonsense.
    Lost(IndexError),
    /// The node has fewer blocks than were seen and is catching up, or they change under our hands.
    Behind(String),
}

impl From<bitcoincore_rpc::Error> for Failure {
    fn from(error: bitcoincore_rpc::Error) -> Self {
        Failure::Lost(index_error("a look at the chain", error))
    }
}

pub(super) struct Follower {
    inner: Arc<Inner>,
    rpc: Arc<Rpc>,
    asked: mpsc::Receiver<Request>,
    events: tokio::sync::mpsc::Sender<BitcoinEvent>,
    outbox: Outbox<ScriptBuf>,
    emitter: Option<Emitter<Arc<Rpc>>>,
    /// Scripts that were not looked for yet.
    pending: Vec<(ScriptBuf, Height)>,
    waiting: Vec<Answer>,
    /// The transactions of the mempool, with hashes of the scripts that they pay and the outputs that they spend, so that those
    /// are found that have to do with a script that is watched later.
    mempool: HashMap<Txid, Box<[u64]>>,
    hasher: RandomState,
    /// The last block that was told.
    told: Option<BlockHash>,
    /// Whether the wallet may hold for unconfirmed what left the mempool unseen.
    is_doubtful: bool,
    /// Whether the wallet holds what was not written down.
    is_unwritten: bool,
}

/// Starts to follow the node; ends when all senders of requests are gone.
pub(super) fn start(
    inner: &Arc<Inner>,
    node: &NodeSettings,
    rpc: &Arc<Rpc>,
    events: tokio::sync::mpsc::Sender<BitcoinEvent>,
) -> std::io::Result<Arc<mpsc::Sender<Request>>> {
    let (requests, asked) = mpsc::channel();
    let requests = Arc::new(requests);
    let follower = Follower {
        inner: Arc::clone(inner),
        rpc: Arc::clone(rpc),
        asked,
        events,
        outbox: Outbox::default(),
        emitter: None,
        pending: Vec::new(),
        waiting: Vec::new(),
        mempool: HashMap::new(),
        hasher: RandomState::new(),
        told: None,
        is_doubtful: true,
        is_unwritten: false,
    };
    let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
    named("bitcoin-follower").spawn(move || follower.run())?;
    let rpc = Rpc::new(node, LONG_POLL + node.timeout);
    let waker = Arc::downgrade(&requests);
    named("bitcoin-blocks").spawn(move || wake_at_blocks(&rpc, &waker))?;
    Ok(requests)
}

/// Wakes the follower as soon as there is a block, which it would see a poll later otherwise.
fn wake_at_blocks(rpc: &Rpc, waker: &Weak<mpsc::Sender<Request>>) {
    // Nothing comes through here: it only bounds a pause.
    let (_never, pauses) = mpsc::channel::<()>();
    let mut failed = 0;
    loop {
        let waited = rpc.wait_for_block(LONG_POLL);
        let Some(requests) = waker.upgrade() else {
            return;
        };
        match waited {
            Ok(()) => {
                failed = 0;
                let _ = requests.send(Request::Wake);
            }
            Err(_) => {
                drop(requests);
                failed += 1;
                let _ = pauses.recv_timeout(pause(failed));
            }
        }
    }
}

impl Follower {
    fn run(mut self) {
        let mut failed = 0;
        // Whether `Lost` was told, or nothing yet.
        let mut was_lost = false;
        loop {
            let began = Instant::now();
            let (rest, answer) = match self.pass() {
                Ok(()) => {
                    failed = 0;
                    if std::mem::take(&mut was_lost) {
                        self.outbox.add(BitcoinEvent::Reconnected);
                    }
                    (POLL.max(began.elapsed() * REST), Ok(()))
                }
                Err(Failure::Behind(why)) => {
                    tracing::debug!(why, "bitcoind is behind");
                    let error = IndexError::Unreachable(why);
                    lock(&self.inner.state).view = Err(error.clone());
                    (POLL.max(began.elapsed() * REST), Err(error))
                }
                Err(Failure::Lost(error)) => {
                    if !std::mem::replace(&mut was_lost, true) {
                        tracing::warn!(%error, "bitcoind is lost");
                        self.outbox.add(BitcoinEvent::Lost);
                    }
                    lock(&self.inner.state).view = Err(error.clone());
                    self.emitter = None;
                    self.is_doubtful = true;
                    failed += 1;
                    (pause(failed), Err(error))
                }
            };
            self.outbox.deliver_now(&self.events);
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(answer.clone());
            }
            // Only now: nobody has to wait for the disk.
            if std::mem::take(&mut self.is_unwritten)
                && let Err(error) = self.inner.save()
            {
                tracing::error!(%error, "the wallet cannot be written down; what it saw is read again after a restart");
                self.is_unwritten = true;
            }
            if !self.wait(Instant::now() + rest, answer.is_err()) {
                return;
            }
        }
    }

    /// Until `until`, or until somebody asks for something; only until then when `is_lost`. False when nobody is there any more.
    fn wait(&mut self, until: Instant, is_lost: bool) -> bool {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut next = match self.asked.recv_timeout(left) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            };
            // All that were asked meanwhile are done in one pass.
            while let Some(request) = next {
                self.take(request);
                next = self.asked.try_recv().ok();
            }
            if !is_lost {
                return true;
            }
            if let Err(error) = &lock(&self.inner.state).view {
                for waiting in self.waiting.drain(..) {
                    let _ = waiting.send(Err(error.clone()));
                }
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Wake => {}
            Request::Look(answer) => self.waiting.push(answer),
            Request::Watch(scripts, answer) => {
                let mut state = lock(&self.inner.state);
                for (script, since) in scripts {
                    if state.watched.watch(script.clone()) {
                        self.pending.push((script, since));
                    }
                }
                self.waiting.push(answer);
            }
        }
    }

    /// Brings wallet and watch to where the node is.
    fn pass(&mut self) -> Result<(), Failure> {
        for _ in 0..ATTEMPTS {
            let Some((best, mempool)) = self.rpc.look()? else {
                continue;
            };
            self.catch_up(best)?;
            let tip = self.tip();
            if tip.1 != best {
                if self.rpc.best()? == best {
                    self.fall_back()?;
                }
                continue;
            }
            // First what is in the mempool no more: a node with an index of all transactions still knows what a block took from it.
            self.read_mempool(mempool)?;
            self.look_for_pending(tip)?;
            self.tell(tip);
            return Ok(());
        }
        Err(Failure::Behind(
            "bitcoind's chain changes all the time".to_owned(),
        ))
    }

    /// The last block that the wallet has.
    fn tip(&self) -> (Height, BlockHash) {
        let checkpoint = lock(&self.inner.state).vault.wallet.latest_checkpoint();
        (Height(checkpoint.height()), checkpoint.hash())
    }

    /// Takes in all blocks up to the node's last one, which is `best` now.
    fn catch_up(&mut self, best: BlockHash) -> Result<(), Failure> {
        if self.emitter.is_some() && self.tip().1 == best {
            return Ok(());
        }
        let mut emitter = match self.emitter.take() {
            Some(emitter) => emitter,
            None => {
                let checkpoint = lock(&self.inner.state).vault.wallet.latest_checkpoint();
                let there = u32::try_from(self.rpc.get_block_count()?).unwrap_or(u32::MAX);
                let start = self.inner.settings.birthday.0.min(there);
                Emitter::new(
                    Arc::clone(&self.rpc),
                    checkpoint,
                    start,
                    NO_EXPECTED_MEMPOOL_TXS,
                )
            }
        };
        let mut connected = 0;
        while let Some(event) = emitter.next_block()? {
            self.connect(&event)?;
            connected += 1;
            if connected % SAVE_EVERY == 0 {
                self.inner.save().map_err(unsaved)?;
            }
        }
        self.emitter = Some(emitter);
        self.is_unwritten = true;
        lock(&self.inner.state).vault.count();
        Ok(())
    }

    /// Takes back the blocks that the node does not have any more, without others in their place: it lost them when it was killed, or
    /// they were declared invalid.
    fn fall_back(&mut self) -> Result<(), Failure> {
        let said: Value = self.rpc.call("getblockchaininfo", &[])?;
        let (blocks, headers) = (said["blocks"].as_u64(), said["headers"].as_u64());
        if blocks < headers {
            let why = format!("bitcoind has the blocks up to {blocks:?} of {headers:?} only");
            return Err(Failure::Behind(why));
        }
        let checkpoint = lock(&self.inner.state).vault.wallet.latest_checkpoint();
        for one in checkpoint.iter() {
            let known = match self.rpc.get_block_header_info(&one.hash()) {
                Err(error) if error.is_not_found_error() => continue,
                known => known?,
            };
            if known.confirmations >= 0 {
                self.emitter = None;
                return self.take_back(Height(one.height()));
            }
        }
        let why = "bitcoind knows none of the blocks that were seen: it is of another chain";
        Err(Failure::Lost(IndexError::Unreachable(why.to_owned())))
    }

    fn take_back(&mut self, height: Height) -> Result<(), Failure> {
        let mut state = lock(&self.inner.state);
        for txid in state.watched.rollback(height) {
            self.mempool.remove(&txid);
        }
        drop(state);
        self.is_doubtful = true;
        self.inner.shorten(height).map_err(unsaved)
    }

    fn connect(&mut self, event: &BlockEvent<Block>) -> Result<(), Failure> {
        let (height, below) = (event.block_height(), event.connected_to());
        let mut state = lock(&self.inner.state);
        let state = &mut *state;
        if below.height < state.vault.wallet.latest_checkpoint().height() {
            // Where these are is seen again in the mempool or in a later block.
            for txid in state.watched.rollback(Height(below.height)) {
                self.mempool.remove(&txid);
            }
            self.is_doubtful = true;
        }
        let applied = state
            .vault
            .wallet
            .apply_block_connected_to(&event.block, height, below);
        applied.map_err(|error| Failure::Lost(malformed("getblock", error.to_string())))?;
        for transaction in &event.block.txdata {
            state.watched.see(transaction, Depth::Block(Height(height)));
        }
        self.is_unwritten = true;
        Ok(())
    }

    /// Looks for the scripts that are new in the blocks since they are of interest, and in the mempool as it is on top of `tip`.
    fn look_for_pending(&mut self, tip: (Height, BlockHash)) -> Result<(), Failure> {
        // A script may have been given up meanwhile.
        let state = lock(&self.inner.state);
        self.pending
            .retain(|(script, _)| state.watched.is_watched(script));
        drop(state);
        let Some(since) = self.pending.iter().map(|(_, since)| *since).min() else {
            return Ok(());
        };
        let mut below: Option<BlockHash> = None;
        for height in since.0..=tip.0.0 {
            let (hash, block) = self.rpc.block_at(Height(height))?;
            if below.is_some_and(|below| below != block.header.prev_blockhash)
                || (height == tip.0.0 && hash != tip.1)
            {
                return Err(Failure::Behind(format!("block {height} was replaced")));
            }
            below = Some(hash);
            let mut state = lock(&self.inner.state);
            for transaction in &block.txdata {
                state.watched.see(transaction, Depth::Block(Height(height)));
            }
        }
        self.look_in_mempool()?;
        let mut state = lock(&self.inner.state);
        let found = self.pending.drain(..).map(|(script, _)| script);
        state.ready.extend(found);
        Ok(())
    }

    /// Looks in what was read of the mempool for transactions that pay the pending scripts, and then for those that spend.
    fn look_in_mempool(&mut self) -> Result<(), Failure> {
        let paying = self
            .pending
            .iter()
            .map(|(script, _)| self.hasher.hash_one(script));
        self.see_again(&paying.collect())?;
        let state = lock(&self.inner.state);
        let scripts = self.pending.iter().map(|(script, _)| script);
        let outpoints = state.watched.outpoints(scripts);
        let spending = outpoints.map(|outpoint| self.hasher.hash_one(outpoint));
        let spending = spending.collect();
        drop(state);
        self.see_again(&spending)
    }

    fn see_again(&self, hashes: &HashSet<u64>) -> Result<(), Failure> {
        if hashes.is_empty() {
            return Ok(());
        }
        let is_it = |own: &[u64]| own.iter().any(|hash| hashes.contains(hash));
        let txids: Vec<Txid> = self
            .mempool
            .iter()
            .filter(|(_, own)| is_it(own))
            .map(|(txid, _)| *txid)
            .collect();
        let found = self.rpc.mempool_transactions(&txids)?;
        let mut state = lock(&self.inner.state);
        for transaction in found.iter().flatten() {
            state.watched.see(transaction, Depth::Mempool);
        }
        Ok(())
    }

    /// Takes in what the mempool holds now.
    fn read_mempool(&mut self, there: Vec<Txid>) -> Result<(), Failure> {
        let there: HashSet<Txid> = there.into_iter().collect();
        let new = there
            .iter()
            .filter(|txid| !self.mempool.contains_key(*txid));
        let new: Vec<Txid> = new.copied().collect();
        let gone = self.mempool.keys().filter(|txid| !there.contains(*txid));
        let gone: HashSet<Txid> = gone.copied().collect();
        if new.is_empty() && gone.is_empty() && !self.is_doubtful {
            return Ok(());
        }
        let found = self.rpc.mempool_transactions(&new)?;
        let found: Vec<(Txid, Transaction)> = new
            .into_iter()
            .zip(found)
            .filter_map(|(txid, one)| Some((txid, one?)))
            .collect();
        self.take_mempool(&there, &found, gone);
        Ok(())
    }

    fn take_mempool(
        &mut self,
        there: &HashSet<Txid>,
        found: &[(Txid, Transaction)],
        mut gone: HashSet<Txid>,
    ) {
        for txid in &gone {
            self.mempool.remove(txid);
        }
        for (txid, transaction) in found {
            let paid = transaction.output.iter();
            let paid = paid.map(|output| self.hasher.hash_one(&output.script_pubkey));
            let spent = transaction.input.iter();
            let spent = spent.map(|input| self.hasher.hash_one(input.previous_output));
            self.mempool.insert(*txid, paid.chain(spent).collect());
        }
        let mut state = lock(&self.inner.state);
        let state = &mut *state;
        state.watched.leave_mempool(&gone);
        // A transaction may come before the one whose output it spends.
        for _ in 0..2 {
            for (_, transaction) in found {
                state.watched.see(transaction, Depth::Mempool);
            }
        }
        if std::mem::take(&mut self.is_doubtful) {
            let missing = state.vault.unconfirmed().into_iter();
            gone.extend(missing.filter(|txid| !there.contains(txid)));
        }
        let now = state.vault.now();
        let wallet = &mut state.vault.wallet;
        gone.retain(|txid| wallet.tx_graph().get_tx(*txid).is_some());
        if !gone.is_empty() {
            wallet.apply_evicted_txs(gone.into_iter().map(|txid| (txid, now)));
        }
        let now = state.vault.now();
        let seen = found
            .iter()
            .map(|(_, transaction)| (transaction.clone(), now));
        state.vault.wallet.apply_unconfirmed_txs(seen);
        if state.vault.wallet.staged().is_some() {
            state.vault.count();
            self.is_unwritten = true;
        }
    }

    /// Makes known what was seen.
    fn tell(&mut self, tip: (Height, BlockHash)) {
        let mut state = lock(&self.inner.state);
        state.view = Ok(tip.0);
        // The scripts first: whoever looks at everything at a new tip finds them told.
        for script in state.watched.take_changed() {
            self.outbox.add(BitcoinEvent::Changed(script));
        }
        if self.told.replace(tip.1) != Some(tip.1) {
            self.outbox.add(BitcoinEvent::Tip(tip.0));
        }
    }
}

fn unsaved(error: super::BitcoinError) -> Failure {
    Failure::Lost(malformed("the wallet's database", error.to_string()))
}
