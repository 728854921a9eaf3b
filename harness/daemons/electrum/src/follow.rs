//! Keeps the index at the node's best chain and mempool.
//!
//! It asks the node many times a second, and, where the node can hold a call until a block comes, has one such call
//! under way as well. A look that finds something new is followed by another at once.

use std::sync::{Arc, RwLock};
use std::time::Duration;

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
/// The same when it does not.
const INTERVAL_WITHOUT_WAIT: Duration = Duration::from_millis(5);
/// What each transaction in the mempool adds: a look reads all their ids.
const INTERVAL_PER_TX: Duration = Duration::from_micros(10);
/// How long after a look that failed the next one is.
const INTERVAL_WHILE_DOWN: Duration = Duration::from_millis(100);
/// How long the node is asked to hold a call. Its own limit on idle connections is 30 s.
const HOLD: Duration = Duration::from_secs(10);
/// Blocks that are taken in at once, so that a long chain is never held twice.
const BLOCKS_AT_ONCE: usize = 200;

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
    };
    loop {
        let looked = follower.look().await;
        follower.report(looked.as_ref().err());
        let pause = match looked {
            Ok(true) | Err(FollowError::Changing(_)) => continue,
            Ok(false) => {
                let base = match waits.is_finished() {
                    true => INTERVAL_WITHOUT_WAIT,
                    false => INTERVAL,
                };
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
        let best = self.best().await?;
        let tip = self.shared.read(|index| index.tip().map(|tip| tip.hash));
        let mut update = match tip == Some(best) {
            true => Update {
                keep: self.shared.read(Index::block_count),
                ..Update::default()
            },
            false => self.new_blocks(best).await?,
        };
        let reaches_tip = match update.blocks.last() {
            Some(last) => last.hash == best,
            None => tip == Some(best) || update.keep > 0,
        };
        if reaches_tip {
            let mempool = self.mempool(&update).await?;
            // A block that came meanwhile may have taken transactions out of the mempool: neither would have them.
            if self.best().await? != best {
                return Err(FollowError::Changing(format!(
                    "{best} is no longer its tip"
                )));
            }
            update.mempool = mempool;
        }
        self.take_in(update, reaches_tip)
    }

    fn take_in(&self, update: Update, reaches_tip: bool) -> Result<bool, FollowError> {
        let blocks = self.shared.read(Index::block_count);
        let is_change =
            update.keep != blocks || !update.blocks.is_empty() || update.mempool.is_some();
        if is_change {
            let left = self.shared.apply(update)?;
            if left > 0 {
                debug!("{left} transactions of the mempool spend what is not known yet");
            }
        }
        let version = self.shared.read(Index::version);
        if reaches_tip && *self.shared.version.borrow() == 0 {
            info!("The index has reached the node's tip");
        }
        if reaches_tip || *self.shared.version.borrow() != 0 {
            self.shared.version.send_if_modified(|told| {
                let is_new = *told != version;
                *told = version;
                is_new
            });
        }
        Ok(is_change)
    }

    /// The blocks from where the index and the node's best chain part, up to `best` or as many as are taken in at once.
    async fn new_blocks(&mut self, best: BlockHash) -> Result<Update, FollowError> {
        let mut keep = self.shared.read(Index::block_count);
        // Down to the last block that both have. The node may have fewer than we do.
        while let Some(height) = keep.checked_sub(1) {
            let own = self.shared.read(|index| index.block_hash(height));
            match self.hash_at(height).await {
                Ok(hash) if Some(hash) == own => break,
                Ok(_) | Err(FollowError::Node(NodeError::Refused { .. })) => keep = height,
                Err(error) => return Err(error),
            }
        }
        let mut blocks: Vec<Block> = Vec::new();
        let last = |index: &Index| keep.checked_sub(1).and_then(|at| index.block_hash(at));
        let mut prev = self.shared.read(last);
        while prev != Some(best) && blocks.len() < BLOCKS_AT_ONCE {
            let hash = match self.hash_at(keep + blocks.len()).await {
                Ok(hash) => hash,
                Err(FollowError::Node(refused @ NodeError::Refused { .. })) => {
                    return Err(FollowError::Changing(refused.to_string()));
                }
                Err(error) => return Err(error),
            };
            let block = self.block(hash).await?;
            if prev.is_some_and(|prev| prev != block.prev) {
                return Err(FollowError::Changing(format!(
                    "{hash} follows another block"
                )));
            }
            prev = Some(hash);
            blocks.push(block);
        }
        Ok(Update {
            keep,
            blocks,
            mempool: None,
        })
    }

    /// The node's mempool with what of it is new after `update`; `None` when it is what the index has.
    async fn mempool(&mut self, update: &Update) -> Result<Option<MempoolUpdate>, FollowError> {
        let listed = self.node.call("getrawmempool", &json!([])).await?;
        let malformed = FollowError::Malformed("getrawmempool");
        let Value::Array(listed) = listed else {
            return Err(malformed);
        };
        let ids = listed.iter().map(|id| id.as_str()?.parse::<Txid>().ok());
        let txids: std::collections::HashSet<Txid> = ids.collect::<Option<_>>().ok_or(malformed)?;
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
        for txid in unknown {
            // A block that is taken out gives its transactions back.
            let known = self.shared.read(|index| index.tx(&txid).cloned());
            match known {
                Some(tx) => new.push(tx),
                None => new.extend(self.tx(txid).await?),
            }
        }
        Ok(Some(MempoolUpdate { txids, new }))
    }

    async fn best(&mut self) -> Result<BlockHash, FollowError> {
        let hash = self.node.call("getbestblockhash", &json!([])).await?;
        parse(&hash).ok_or(FollowError::Malformed("getbestblockhash"))
    }

    async fn hash_at(&mut self, height: usize) -> Result<BlockHash, FollowError> {
        let hash = self.node.call("getblockhash", &json!([height])).await?;
        parse(&hash).ok_or(FollowError::Malformed("getblockhash"))
    }

    async fn block(&mut self, hash: BlockHash) -> Result<Block, FollowError> {
        let block = self.node.call("getblock", &json!([hash, 0])).await?;
        let bytes = bytes(&block).ok_or(FollowError::Malformed("getblock"))?;
        let block = self.shared.chain.block(&bytes)?;
        match block.hash == hash {
            true => Ok(block),
            false => Err(FollowError::Malformed("getblock")),
        }
    }

    /// A transaction of the mempool; `None` when it has left meanwhile.
    async fn tx(&mut self, txid: Txid) -> Result<Option<Tx>, FollowError> {
        match self.node.call("getrawtransaction", &json!([txid])).await {
            Ok(tx) => {
                let bytes = bytes(&tx).ok_or(FollowError::Malformed("getrawtransaction"))?;
                Ok(Some(self.shared.chain.tx(&bytes)?))
            }
            Err(NodeError::Refused { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn parse(hash: &Value) -> Option<BlockHash> {
    hash.as_str()?.parse().ok()
}

fn bytes(hex: &Value) -> Option<Vec<u8>> {
    Vec::from_hex(hex.as_str()?).ok()
}
