//! Keeps the index at the node's best chain and mempool.
//!
//! It asks the node many times a second, and, where the node can hold a call until a block comes, has one such call
//! under way as well. A look that finds something new is followed by another at once.

use std::collections::HashSet;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use bitcoin::hex::FromHex as _;
use bitcoin::{BlockHash, Txid};
use log::{debug, info, warn};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::chain::{Block, Chain, CodecError, Tx};
use crate::index::{Index, MempoolUpdate, Update};
use crate::node::{Connection, Node, NodeError};

/// How long after a look the next one is, when the node itself tells of new blocks.
const INTERVAL: Duration = Duration::from_millis(15);
/// The same when it does not, right after something was new; from look to look it grows by a quarter up to
/// [`LONGEST_WITHOUT_WAIT`].
const SHORTEST_WITHOUT_WAIT: Duration = Duration::from_millis(4);
/// See [`SHORTEST_WITHOUT_WAIT`].
const LONGEST_WITHOUT_WAIT: Duration = Duration::from_millis(10);
/// What each transaction in the mempool adds: a look reads all their ids.
const INTERVAL_PER_TX: Duration = Duration::from_micros(10);
/// How long after a look that failed the next one is.
const INTERVAL_WHILE_DOWN: Duration = Duration::from_millis(100);
/// How long the node is asked to hold a call. Its own limit on idle connections is 30 s.
const HOLD: Duration = Duration::from_secs(10);
/// Blocks that are taken in at once, so that a long chain is never held twice.
const BLOCKS_AT_ONCE: usize = 500;
/// Blocks that are fetched in the first request; each may have megabytes.
const BLOCKS_A_REQUEST: usize = 4;
/// As long as one request brings less than so many bytes, the next one is for twice as many blocks.
const LITTLE: usize = 256 * 1024;
/// Transactions that are fetched in one request.
const TXS_A_REQUEST: usize = 50;
/// A block that comes so soon after another one is one of many: they are taken in together, once none has come for
/// [`SETTLED`], so that whoever mines them has the node to himself.
const SOON_AFTER: Duration = Duration::from_millis(30);
/// See [`SOON_AFTER`].
const SETTLED: Duration = Duration::from_millis(3);
/// How long that may put them off.
const MAX_SETTLING: Duration = Duration::from_millis(200);

/// What sessions and the follower share.
pub(crate) struct Shared {
    pub(crate) chain: &'static dyn Chain,
    pub(crate) index: RwLock<Index>,
    /// The index's version; 0 until it has reached the node's tip for the first time.
    pub(crate) version: watch::Sender<u64>,
    /// Makes the follower look now.
    pub(crate) nudge: Notify,
}

impl Shared {
    pub(crate) fn new(chain: &'static dyn Chain) -> Arc<Self> {
        Arc::new(Shared {
            chain,
            index: RwLock::new(Index::new(chain)),
            version: watch::channel(0).0,
            nudge: Notify::new(),
        })
    }

    /// Reads the index. Nobody who holds it waits for anything.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        // A panic ends the process, so a poisoned lock is never met.
        let index = self.index.read();
        read(&index.unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn apply(&self, update: Update) -> Result<usize, FollowError> {
        let index = self.index.write();
        let mut index = index.unwrap_or_else(std::sync::PoisonError::into_inner);
        index
            .apply(update)
            .map_err(|e| FollowError::Changing(e.to_string()))
    }
}

/// Why a look brought nothing.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("the node's answer to {0} has not the form that it should have")]
    Malformed(&'static str),
    /// The chain changed while it was read: the next look sees it whole.
    #[error("the node's chain changed while it was read: {0}")]
    Changing(String),
}

/// Follows the node for as long as the process lives.
pub(crate) async fn follow(node: Node, shared: Arc<Shared>) {
    let (told, mut tip) = watch::channel(None);
    let waits = tokio::spawn(wait_for_blocks(node.clone(), told));
    let mut follower = Follower {
        node: Connection::new(node),
        shared,
        is_down: false,
        last_block: None,
    };
    let mut quiet = SHORTEST_WITHOUT_WAIT;
    loop {
        let looked = follower.look().await;
        follower.report(looked.as_ref().err());
        let pause = match looked {
            Ok(true) => {
                quiet = SHORTEST_WITHOUT_WAIT;
                continue;
            }
            Err(FollowError::Changing(_)) => SETTLED,
            Ok(false) => {
                let base = match waits.is_finished() {
                    true => quiet,
                    false => INTERVAL,
                };
                quiet = (quiet * 5 / 4).min(LONGEST_WITHOUT_WAIT);
                let waiting = follower.shared.read(Index::waiting_count);
                base + INTERVAL_PER_TX * u32::try_from(waiting).unwrap_or(u32::MAX)
            }
            Err(_) => INTERVAL_WHILE_DOWN,
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = follower.shared.nudge.notified() => {}
            Ok(()) = tip.changed() => {}
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a daemon is no test: it waits for nobody's deadline here"
)]
async fn sleep(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// Has the node hold a call until a block comes, again and again; ends when the node cannot do that.
async fn wait_for_blocks(node: Node, tell: watch::Sender<Option<Value>>) {
    let mut connection = Connection::new(node);
    let hold = u64::try_from(HOLD.as_millis()).unwrap_or(u64::MAX);
    let params = json!([hold]);
    loop {
        let held = connection.call_within("waitfornewblock", &params, HOLD * 3);
        match held.await {
            Ok(tip) => {
                let tip = Some(tip);
                tell.send_if_modified(|last| {
                    let is_new = *last != tip;
                    *last = tip;
                    is_new
                });
            }
            Err(error) if error.is_passing() => sleep(INTERVAL_WHILE_DOWN).await,
            Err(error) => {
                debug!("The node does not tell of new blocks, so it is asked more often: {error}");
                return;
            }
        }
    }
}

struct Follower {
    node: Connection,
    shared: Arc<Shared>,
    is_down: bool,
    /// When the last block was taken in.
    last_block: Option<Instant>,
}

/// What the node has at one moment.
struct View {
    best: BlockHash,
    mempool: HashSet<Txid>,
}

impl Follower {
    fn report(&mut self, error: Option<&FollowError>) {
        match error {
            None => self.is_down = false,
            Some(error @ FollowError::Changing(_)) => debug!("{error}"),
            Some(error) if self.is_down => debug!("Still no view of the chain: {error}"),
            Some(error) => {
                warn!("Cannot follow the chain: {error}");
                self.is_down = true;
            }
        }
    }

    /// Looks at the node once and takes in what is new. Says whether anything was.
    async fn look(&mut self) -> Result<bool, FollowError> {
        let mut view = self.view().await?;
        let (tip, count) = self
            .shared
            .read(|index| (index.tip().map(|tip| tip.hash), index.block_count()));
        let mut update = Update {
            keep: count,
            ..Update::default()
        };
        let mut reached = tip;
        if tip != Some(view.best) {
            view = self.settled(view).await?;
            update = self.new_blocks(view.best).await?;
            let last = update.blocks.last().map(|block| block.hash);
            reached = last.or_else(|| {
                let below = update.keep.checked_sub(1)?;
                self.shared.read(|index| index.block_hash(below))
            });
            // Another look: what the blocks have taken out of the mempool is gone from it only now.
            view = self.view().await?;
            self.last_block = Some(Instant::now());
        }
        let reaches_tip = reached == Some(view.best);
        if reaches_tip {
            update.mempool = self.mempool(view.mempool, &update).await?;
        } else if update.keep < count {
            // What these blocks give back to the mempool would be nowhere.
            let why = format!("{} is its tip by now", view.best);
            return Err(FollowError::Changing(why));
        }
        self.take_in(update, reaches_tip)
    }

    /// The view once no more blocks come, if they do in quick succession.
    async fn settled(&mut self, mut view: View) -> Result<View, FollowError> {
        let started = Instant::now();
        let is_one_of_many = |last: Instant| started.duration_since(last) < SOON_AFTER;
        if !self.last_block.is_some_and(is_one_of_many) {
            return Ok(view);
        }
        while started.elapsed() < MAX_SETTLING {
            sleep(SETTLED).await;
            let later = self.view().await?;
            if later.best == view.best {
                return Ok(later);
            }
            view = later;
        }
        Ok(view)
    }

    fn take_in(&self, update: Update, reaches_tip: bool) -> Result<bool, FollowError> {
        let size = |index: &Index| (index.block_count(), index.waiting_count());
        let before = self.shared.read(size);
        let mut is_change = update.keep != before.0 || !update.blocks.is_empty();
        if is_change || update.mempool.is_some() {
            let new = update
                .mempool
                .as_ref()
                .map_or(0, |mempool| mempool.new.len());
            let left = self.shared.apply(update)?;
            if left > 0 {
                debug!("{left} transactions of the mempool spend what is not known yet");
            }
            is_change |= new > left || self.shared.read(size) != before;
        }
        let version = self.shared.read(Index::version);
        let was_ready = *self.shared.version.borrow() != 0;
        if reaches_tip && !was_ready {
            info!("The index has reached the node's tip");
        }
        if reaches_tip || was_ready {
            self.shared.version.send_if_modified(|told| {
                let is_new = *told != version;
                *told = version;
                is_new
            });
        }
        Ok(is_change)
    }

    /// The mempool and then the best block: when that is the one that the index has, the mempool is the one above it.
    async fn view(&mut self) -> Result<View, FollowError> {
        let calls = [
            ("getrawmempool", json!([])),
            ("getbestblockhash", json!([])),
        ];
        let mut answers = self.node.batch(&calls).await?.into_iter();
        let mut next = || {
            let missing = FollowError::Malformed("getbestblockhash");
            answers.next().ok_or(missing)?.map_err(FollowError::from)
        };
        let (mempool, best) = (next()?, next()?);
        let ids = mempool.as_array().and_then(|ids| {
            let ids = ids.iter().map(|id| id.as_str()?.parse::<Txid>().ok());
            ids.collect::<Option<_>>()
        });
        Ok(View {
            best: parse(&best).ok_or(FollowError::Malformed("getbestblockhash"))?,
            mempool: ids.ok_or(FollowError::Malformed("getrawmempool"))?,
        })
    }

    /// The blocks from where the index and the node's best chain part, up to `best` or as many as are taken in at once.
    async fn new_blocks(&mut self, best: BlockHash) -> Result<Update, FollowError> {
        let (tip, count) = self
            .shared
            .read(|index| (index.tip().map(|tip| tip.hash), index.block_count()));
        // Mostly it is the one after ours.
        let [block] = &self.blocks(&[best]).await?[..] else {
            return Err(FollowError::Malformed("getblock"));
        };
        if tip == Some(block.prev) {
            return Ok(Update {
                keep: count,
                blocks: vec![block.clone()],
                mempool: None,
            });
        }
        let keep = self.common(count).await?;
        let last = |index: &Index| keep.checked_sub(1).and_then(|at| index.block_hash(at));
        let mut prev = self.shared.read(last);
        let mut hashes = self.hashes_from(keep).await?;
        if let Some(at) = hashes.iter().position(|hash| *hash == best) {
            hashes.truncate(at + 1);
        }
        if prev == Some(best) {
            hashes.clear();
        }
        let mut blocks = Vec::new();
        let (mut rest, mut count) = (&hashes[..], BLOCKS_A_REQUEST);
        while !rest.is_empty() {
            let (some, later) = rest.split_at(count.min(rest.len()));
            rest = later;
            let fetched = self.blocks(some).await?;
            let txs = fetched.iter().flat_map(|block| &block.txs);
            count = match txs.map(|tx| tx.raw.len()).sum::<usize>() < LITTLE {
                true => count * 2,
                false => BLOCKS_A_REQUEST,
            };
            for block in fetched {
                if prev.is_some_and(|prev| prev != block.prev) {
                    let why = format!("{} follows another block", block.hash);
                    return Err(FollowError::Changing(why));
                }
                prev = Some(block.hash);
                blocks.push(block);
            }
        }
        Ok(Update {
            keep,
            blocks,
            mempool: None,
        })
    }

    /// How many blocks the index has in common with the node's best chain, which may be shorter.
    async fn common(&mut self, mut count: usize) -> Result<usize, FollowError> {
        while let Some(height) = count.checked_sub(1) {
            let own = self.shared.read(|index| index.block_hash(height));
            match self.node.call("getblockhash", &json!([height])).await {
                Ok(hash) if parse(&hash) == own => break,
                Ok(_) | Err(NodeError::Refused { .. }) => count = height,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(count)
    }

    /// The hashes of the node's best chain from a height on, at most [`BLOCKS_AT_ONCE`].
    async fn hashes_from(&mut self, height: usize) -> Result<Vec<BlockHash>, FollowError> {
        let heights = height..height + BLOCKS_AT_ONCE;
        let calls: Vec<_> = heights.map(|at| ("getblockhash", json!([at]))).collect();
        let answers = self.node.batch(&calls).await?;
        // Beyond the tip it refuses.
        let hashes = answers.into_iter().map_while(Result::ok);
        let hashes = hashes.map(|hash| parse(&hash));
        hashes
            .collect::<Option<_>>()
            .ok_or(FollowError::Malformed("getblockhash"))
    }

    async fn blocks(&mut self, hashes: &[BlockHash]) -> Result<Vec<Block>, FollowError> {
        let calls: Vec<_> = hashes
            .iter()
            .map(|hash| ("getblock", json!([hash, 0])))
            .collect();
        self.node.renew();
        let answers = self.node.batch(&calls).await?;
        let mut blocks = Vec::new();
        for (answer, hash) in answers.into_iter().zip(hashes) {
            let bytes = bytes(&answer?).ok_or(FollowError::Malformed("getblock"))?;
            let block = self.shared.chain.block(&bytes)?;
            if block.hash != *hash {
                return Err(FollowError::Malformed("getblock"));
            }
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// What of the node's mempool is new after `update`; `None` when it is what the index has.
    async fn mempool(
        &mut self,
        txids: HashSet<Txid>,
        update: &Update,
    ) -> Result<Option<MempoolUpdate>, FollowError> {
        let (unknown, is_same) = self.shared.read(|index| {
            let is_new = |txid: &&Txid| !index.is_waiting(txid);
            let unknown: Vec<Txid> = txids.iter().filter(is_new).copied().collect();
            let is_same = unknown.is_empty()
                && txids.len() == index.waiting_count()
                && update.keep == index.block_count()
                && update.blocks.is_empty();
            (unknown, is_same)
        });
        if is_same {
            return Ok(None);
        }
        let mut new = Vec::new();
        let mut wanted = Vec::new();
        for txid in unknown {
            // A block that is taken out gives its transactions back.
            match self.shared.read(|index| index.tx(&txid).cloned()) {
                Some(tx) => new.push(tx),
                None => wanted.push(("getrawtransaction", json!([txid]))),
            }
        }
        for some in wanted.chunks(TXS_A_REQUEST) {
            self.node.renew();
            for answer in self.node.batch(some).await? {
                match answer {
                    Ok(tx) => new.push(self.tx(&tx)?),
                    // It has left the mempool meanwhile.
                    Err(NodeError::Refused { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(Some(MempoolUpdate { txids, new }))
    }

    fn tx(&self, hex: &Value) -> Result<Tx, FollowError> {
        let bytes = bytes(hex).ok_or(FollowError::Malformed("getrawtransaction"))?;
        Ok(self.shared.chain.tx(&bytes)?)
    }
}

fn parse(hash: &Value) -> Option<BlockHash> {
    hash.as_str()?.parse().ok()
}

fn bytes(hex: &Value) -> Option<Vec<u8>> {
    Vec::from_hex(hex.as_str()?).ok()
}
