//! The index: which transactions touch a script, in the chain and in the mempool, and what of it is unspent.
//!
//! It asks nobody. What it is given it takes in as a whole ([`Index::apply`]), so that nobody sees half a
//! reorganisation; a block that is taken out leaves nothing behind.

mod mempool;
mod query;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};

use bitcoin::{BlockHash, OutPoint, Txid};

use crate::chain::{Block, Chain, Output, ScriptHash, Tx};
use mempool::Mempool;
pub(crate) use query::{HistoryItem, Tip};

/// A block of the best chain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hash: BlockHash,
    header: Box<[u8]>,
    txids: Box<[Txid]>,
}

/// A transaction of the best chain and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Confirmed {
    tx: Tx,
    height: u32,
    position: u32,
}

/// The index of one chain.
pub(crate) struct Index {
    chain: &'static dyn Chain,
    blocks: Vec<Entry>,
    confirmed: HashMap<Txid, Confirmed>,
    /// Outputs that a transaction of the chain spends.
    spent: HashMap<OutPoint, Txid>,
    /// Height and position of the transactions that touch a script, in their order.
    history: HashMap<ScriptHash, Vec<(u32, u32)>>,
    mempool: Mempool,
    /// Counts the changes; see [`Index::touched_since`].
    version: u64,
    touched: HashMap<ScriptHash, u64>,
}

/// A change of the node's best chain and mempool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Update {
    /// How many of the blocks stay, from the first one on.
    pub(crate) keep: usize,
    /// What comes after them.
    pub(crate) blocks: Vec<Block>,
    /// The mempool after that; `None` when it was not looked at.
    pub(crate) mempool: Option<MempoolUpdate>,
}

/// The node's mempool.
#[derive(Debug, Clone, Default)]
pub(crate) struct MempoolUpdate {
    /// All there is.
    pub(crate) txids: HashSet<Txid>,
    /// Those of them that the index does not have in its own mempool.
    pub(crate) new: Vec<Tx>,
}

/// A change that does not fit what the index holds: it was made for another state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block {0} does not follow the block before it")]
pub(crate) struct DoesNotFollow(pub usize);

impl Index {
    /// An index without any block.
    pub(crate) fn new(chain: &'static dyn Chain) -> Self {
        Index {
            chain,
            blocks: Vec::new(),
            confirmed: HashMap::new(),
            spent: HashMap::new(),
            history: HashMap::new(),
            mempool: Mempool::default(),
            version: 0,
            touched: HashMap::new(),
        }
    }

    /// Takes a change in. Gives how many transactions of the mempool have to wait for a later look, because what they
    /// spend is not known yet.
    ///
    /// # Errors
    /// When the blocks do not follow each other; nothing is changed then.
    pub(crate) fn apply(&mut self, update: Update) -> Result<usize, DoesNotFollow> {
        let Update {
            keep,
            blocks,
            mempool,
        } = update;
        let mut prev = keep
            .checked_sub(1)
            .map(|last| self.blocks.get(last).map(|block| block.hash));
        for (i, block) in blocks.iter().enumerate() {
            if prev.is_some_and(|prev| prev != Some(block.prev)) {
                return Err(DoesNotFollow(keep + i));
            }
            prev = Some(Some(block.hash));
        }
        self.version += 1;
        while self.blocks.len() > keep {
            self.disconnect();
        }
        for block in blocks {
            self.connect(block);
        }
        Ok(mempool.map_or(0, |mempool| self.set_mempool(mempool)))
    }

    fn connect(&mut self, block: Block) {
        let height = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        let is_indexed = height > 0 || self.chain.spends_genesis();
        let txids = block.txs.iter().map(|tx| tx.txid).collect();
        for (position, tx) in block.txs.into_iter().enumerate().filter(|_| is_indexed) {
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            self.confirm(tx, height, position);
        }
        self.blocks.push(Entry {
            hash: block.hash,
            header: block.header,
            txids,
        });
    }

    fn confirm(&mut self, tx: Tx, height: u32, position: u32) {
        let txid = tx.txid;
        if self.confirmed.contains_key(&txid) {
            // The same coinbase twice, which only the early main chain has. The first one stands.
            return;
        }
        self.leave_mempool(&txid);
        for spent in &tx.inputs {
            if let Some(other) = self.mempool.spender(spent) {
                self.drop_from_mempool(other);
            }
            self.spent.insert(*spent, txid);
        }
        let children: Vec<Txid> = self.mempool.children(&tx).collect();
        for script in self.scripts(&tx) {
            self.history
                .entry(script)
                .or_default()
                .push((height, position));
            self.touch(script);
        }
        let place = Confirmed {
            tx,
            height,
            position,
        };
        self.confirmed.insert(txid, place);
        self.touch_heights_of(&children);
    }

    /// Takes the last block out.
    fn disconnect(&mut self) {
        let Some(block) = self.blocks.pop() else {
            return;
        };
        let height = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        for (position, txid) in block.txids.iter().enumerate().rev() {
            let own = |place: &Confirmed| {
                place.height == height && usize::try_from(place.position) == Ok(position)
            };
            let Some(Confirmed { tx, .. }) =
                self.confirmed.get(txid).filter(|place| own(place)).cloned()
            else {
                continue;
            };
            for script in self.scripts(&tx) {
                if let Some(places) = self.history.get_mut(&script) {
                    places.pop();
                    if places.is_empty() {
                        self.history.remove(&script);
                    }
                }
                self.touch(script);
            }
            for spent in &tx.inputs {
                self.spent.remove(spent);
            }
            self.confirmed.remove(txid);
            let children: Vec<Txid> = self.mempool.children(&tx).collect();
            self.touch_heights_of(&children);
        }
    }

    /// The scripts that `tx` pays to or spends from, each once.
    fn scripts(&self, tx: &Tx) -> BTreeSet<ScriptHash> {
        let spent = tx.inputs.iter().filter_map(|spent| self.output(spent));
        let made = tx.outputs.iter();
        spent
            .chain(made)
            .filter_map(|output| output.script)
            .collect()
    }

    /// An output of the chain or the mempool, spent or not.
    fn output(&self, outpoint: &OutPoint) -> Option<&Output> {
        let tx = self.tx(&outpoint.txid)?;
        tx.outputs.get(usize::try_from(outpoint.vout).ok()?)
    }

    fn touch(&mut self, script: ScriptHash) {
        self.touched.insert(script, self.version);
    }

    /// Marks the scripts of mempool transactions whose height (0 or -1) may be another one, because a transaction that
    /// they spend from is.
    fn touch_heights_of(&mut self, txids: &[Txid]) {
        let scripts: Vec<ScriptHash> = txids
            .iter()
            .flat_map(|txid| self.mempool.scripts(txid).iter().copied())
            .collect();
        for script in scripts {
            self.touch(script);
        }
    }
}
