//! The block tree: which branch is the main chain, joining and leaving it, and what that does to the mempool.

use std::collections::HashSet;
use std::sync::Arc;

use elements::{BlockHash, BlockHeader, Transaction, Txid};

use super::accept::{Fees, Judge, Plan};
use super::block_check::{self, Below};
use super::coins;
use super::mempool::Mempool;
use super::params::COINBASE_MATURITY;
use super::rejection::Rejection;
use super::stored_block::StoredBlock;
use super::{Event, Node, Record, Removal, Standing, headers, tx_check};

/// Transactions whose proofs and signatures are remembered as good; beyond that all are forgotten.
const MAX_VERIFIED: usize = 50_000;
/// How long a transaction may wait, in seconds (`-mempoolexpiry`, two weeks).
const MEMPOOL_EXPIRY: u64 = 336 * 60 * 60;
/// `invalidateblock` gives the mempool back the transactions of so many blocks, as elementsd does.
const READMITTED_BLOCKS: usize = 10;

impl Node {
    /// The median time of the main chain's block at a height, of the tip above it.
    pub(crate) fn median_time_at(&self, height: u32) -> u32 {
        let hash = self.main.get(height as usize).or(self.main.last());
        hash.and_then(|hash| self.blocks.get(hash))
            .map_or(0, |record| record.block.median_time_past)
    }

    /// The median of the times of a new block and the ten before it.
    fn median_time_past(&self, time: u32, parent: &BlockHash) -> u32 {
        let mut times = vec![time];
        let mut next = *parent;
        while let (Some(record), true) = (self.blocks.get(&next), times.len() < 11) {
            times.push(record.block.header.time);
            next = record.block.header.prev_blockhash;
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// A block as it is kept, not kept yet.
    pub(crate) fn prepare_shared(
        &self,
        header: BlockHeader,
        transactions: Vec<Arc<Transaction>>,
        txids: Vec<Txid>,
    ) -> StoredBlock {
        StoredBlock {
            hash: header.block_hash(),
            median_time_past: self.median_time_past(header.time, &header.prev_blockhash),
            txids,
            header,
            transactions,
            sequence: self.blocks.len() as u64,
        }
    }

    /// Checks of a block all that can be checked without coins.
    pub(crate) fn check_without_coins(&self, block: &StoredBlock) -> Result<(), Rejection> {
        let parent = self
            .blocks
            .get(&block.header.prev_blockhash)
            .ok_or_else(|| Rejection::new("prev-blk-not-found"))?;
        if parent.standing.is_invalid() {
            return Err(Rejection::new("bad-prevblk"));
        }
        let (height, median_time) = (parent.block.height(), parent.block.median_time_past);
        headers::check(
            &block.header,
            height,
            median_time,
            self.now(),
            &self.dynafed,
        )?;
        block_check::alone(block)?;
        block_check::in_place(block, median_time)
    }

    /// Keeps a block that was checked without coins.
    pub(crate) fn keep(&mut self, block: StoredBlock) {
        let record = Record {
            block: Arc::new(block),
            standing: Standing::Unchecked,
            undo: None,
        };
        self.blocks.insert(record.block.hash, record);
    }

    /// Checks a block on the tip against the coins.
    pub(crate) fn changes_on_tip(
        &self,
        block: &StoredBlock,
    ) -> Result<coins::Changes<'_>, Rejection> {
        let below = Below {
            params: &self.params,
            constants: &self.constants,
            coins: &self.coins,
            median_time: self.median_time_at(self.tip().height),
            median_time_at: &|height| self.median_time_at(height),
            is_verified: &|wtxid| self.verified.contains(wtxid),
        };
        block_check::connect(block, &below)
    }

    /// Makes a kept block the tip; its parent is the tip now.
    pub(crate) fn connect(&mut self, hash: BlockHash) -> Result<(), Rejection> {
        let Some(block) = self.block(&hash).map(Arc::clone) else {
            return Ok(());
        };
        let changes = self.changes_on_tip(&block)?.finish();
        self.join(hash, changes);
        Ok(())
    }

    /// Makes a kept and checked block the tip.
    pub(crate) fn join(&mut self, hash: BlockHash, changes: coins::Finished) {
        let Some(record) = self.blocks.get_mut(&hash) else {
            return;
        };
        let (changed, undo) = changes;
        record.standing = Standing::Valid;
        record.undo = Some(Arc::new(undo));
        let block = Arc::clone(&record.block);
        coins::commit(&mut self.coins, changed);
        self.main.push(hash);
        self.tx_index
            .extend(block.txids.iter().map(|txid| (*txid, hash)));
        self.events.push(Event::Connected(Arc::clone(&block)));
        self.clear_mempool_of(&block);
    }

    /// Takes the tip off the main chain and answers its transactions but the coinbase. The genesis block stays.
    fn disconnect(&mut self) -> Vec<Arc<Transaction>> {
        if self.main.len() < 2 {
            return Vec::new();
        }
        let Some(hash) = self.main.pop() else {
            return Vec::new();
        };
        let Some(record) = self.blocks.get_mut(&hash) else {
            return Vec::new();
        };
        let block = Arc::clone(&record.block);
        let undo = record.undo.take().unwrap_or_default();
        let transactions = block.transactions.iter().map(|tx| &**tx);
        coins::revert(&mut self.coins, transactions.zip(&block.txids), &undo);
        self.events.push(Event::Disconnected(Arc::clone(&block)));
        block.transactions.iter().skip(1).cloned().collect()
    }

    /// Makes the longest valid branch the main chain, the first received of equals. Answers the blocks that turned out
    /// to be invalid, and why.
    pub(crate) fn activate_best(&mut self) -> Vec<(BlockHash, Rejection)> {
        let mut failed = Vec::new();
        let mut returned = Vec::new();
        while let Some(path) = self.path_to_best() {
            while self.main.len() > path.fork_height + 1 {
                // Older blocks' transactions go before younger ones'.
                let mut transactions = self.disconnect();
                transactions.append(&mut returned);
                returned = transactions;
            }
            for hash in path.blocks {
                if let Err(error) = self.connect(hash) {
                    self.mark_invalid(&hash);
                    failed.push((hash, error));
                    break;
                }
            }
        }
        self.refill_mempool(returned);
        failed
    }

    /// The way from the main chain to the best branch; none if the tip is the best.
    fn path_to_best(&self) -> Option<Path> {
        let candidates = self
            .blocks
            .values()
            .filter(|record| !record.standing.is_invalid());
        let best = candidates.max_by_key(|record| {
            (
                record.block.height(),
                std::cmp::Reverse(record.block.sequence),
            )
        })?;
        let mut blocks = Vec::new();
        let mut next = &best.block;
        while self.main.get(next.height() as usize) != Some(&next.hash) {
            blocks.push(next.hash);
            next = &self.blocks.get(&next.header.prev_blockhash)?.block;
        }
        let fork_height = next.height() as usize;
        blocks.reverse();
        (!blocks.is_empty() || fork_height + 1 < self.main.len()).then_some(Path {
            fork_height,
            blocks,
        })
    }

    /// Joins a kept block to the tip, or switches to its branch if that is the longer one now.
    pub(crate) fn consider(&mut self, hash: BlockHash) -> Vec<(BlockHash, Rejection)> {
        let Some(record) = self.blocks.get(&hash) else {
            return Vec::new();
        };
        if record.block.header.prev_blockhash == self.tip().hash {
            // The usual case, without a look at all blocks.
            let Err(error) = self.connect(hash) else {
                return Vec::new();
            };
            self.mark_invalid(&hash);
            return vec![(hash, error)];
        }
        match record.block.height() > self.tip().height {
            true => self.activate_best(),
            false => Vec::new(),
        }
    }

    /// This block and all that follow it are invalid.
    pub(crate) fn mark_invalid(&mut self, hash: &BlockHash) {
        for hash in self.with_descendants(hash) {
            if let Some(record) = self.blocks.get_mut(&hash) {
                record.standing = Standing::Invalid {
                    was_valid: match record.standing {
                        Standing::Valid => true,
                        Standing::Unchecked => false,
                        Standing::Invalid { was_valid } => was_valid,
                    },
                };
            }
        }
    }

    /// A block and all that follow it.
    pub(crate) fn with_descendants(&self, hash: &BlockHash) -> HashSet<BlockHash> {
        let mut found = HashSet::from([*hash]);
        let mut blocks: Vec<_> = self.blocks.values().map(|record| &record.block).collect();
        blocks.sort_unstable_by_key(|block| block.height());
        for block in blocks {
            if found.contains(&block.header.prev_blockhash) {
                found.insert(block.hash);
            }
        }
        found
    }

    /// `invalidateblock`, see [`Node::invalidate`].
    pub(crate) fn invalidate_block(&mut self, hash: &BlockHash) {
        let height = self
            .blocks
            .get(hash)
            .map_or(0, |record| record.block.height()) as usize;
        if self.main.get(height) == Some(hash) {
            let mut disconnected = 0;
            while self.main.len() > height.max(1) {
                let transactions = self.disconnect();
                disconnected += 1;
                let back = if disconnected <= READMITTED_BLOCKS {
                    transactions
                } else {
                    Vec::new()
                };
                self.refill_mempool(back);
            }
        }
        self.mark_invalid(hash);
        self.activate_best();
    }

    /// What a block confirmed leaves the mempool, and what it made impossible.
    fn clear_mempool_of(&mut self, block: &StoredBlock) {
        if self.mempool.is_empty() {
            return;
        }
        for (tx, txid) in block.transactions.iter().zip(&block.txids) {
            if let Some(entry) = self.mempool.remove(txid) {
                self.events.push(Event::Removed(entry.tx, Removal::Block));
            }
            let conflicts: Vec<_> = tx
                .input
                .iter()
                .filter_map(|input| self.mempool.spender_of(&input.previous_output))
                .collect();
            for conflict in conflicts {
                self.remove_with_descendants(&conflict, Removal::Conflict);
            }
        }
    }

    /// Takes a transaction and all that depend on it out of the mempool.
    pub(crate) fn remove_with_descendants(&mut self, txid: &Txid, why: Removal) {
        let mut leaving: Vec<_> = self
            .mempool
            .descendants(txid)
            .into_iter()
            .chain([*txid])
            .collect();
        leaving.sort_by_key(|txid| {
            self.mempool
                .get(txid)
                .map(|entry| std::cmp::Reverse(entry.sequence))
        });
        for txid in leaving {
            if let Some(entry) = self.mempool.remove(&txid) {
                self.events.push(Event::Removed(entry.tx, why));
            }
        }
    }

    /// After blocks were disconnected: their transactions wait again if they may, and before what waited already. What
    /// is not possible any more leaves.
    fn refill_mempool(&mut self, returned: Vec<Arc<Transaction>>) {
        let waiting = std::mem::take(&mut self.mempool);
        self.mempool = waiting.emptied();
        for tx in returned {
            let plan = Judge {
                node: self,
                pool: &self.mempool,
            }
            .judge(&tx, Fees::Any);
            if let Ok(plan) = plan {
                self.enter(plan);
            }
        }
        for entry in waiting.into_entries() {
            match self.may_still_wait(&entry.tx) {
                true => self.mempool.insert(entry),
                false => self.events.push(Event::Removed(entry.tx, Removal::Reorg)),
            }
        }
        self.expire();
    }

    /// Inputs, locks and maturity of a transaction that waited before a reorganisation.
    fn may_still_wait(&self, tx: &Transaction) -> bool {
        let tip = self.tip();
        let median_time = self.median_time_at(tip.height);
        let free = tx
            .input
            .iter()
            .all(|input| self.mempool.spender_of(&input.previous_output).is_none());
        if !free
            || self.mempool.contains(&tx.txid())
            || !tx_check::is_final(tx, tip.height + 1, median_time)
        {
            return false;
        }
        let coin = |outpoint| {
            self.mempool
                .coin(outpoint)
                .or_else(|| self.coin(outpoint).cloned())
        };
        let coins = tx.input.iter().map(|input| coin(&input.previous_output));
        let Some(coins) = coins.collect::<Option<Vec<_>>>() else {
            return false;
        };
        let heights: Vec<u32> = coins
            .iter()
            .map(|coin| coin.height.min(tip.height + 1))
            .collect();
        let mature = |coin: &super::Coin| {
            !coin.coinbase || tip.height + 1 >= coin.height + COINBASE_MATURITY
        };
        let at = |height| self.median_time_at(height);
        coins.iter().all(mature)
            && tx_check::sequence_locks_allow(tx, &heights, tip.height + 1, median_time, at)
    }

    /// Lets a judged transaction into the mempool.
    pub(crate) fn enter(&mut self, plan: Plan) {
        for txid in &plan.replaced {
            self.remove_with_descendants(txid, Removal::Replaced);
        }
        if self.verified.len() >= MAX_VERIFIED {
            self.verified.clear();
        }
        self.verified.insert(plan.entry.wtxid);
        self.events
            .push(Event::Accepted(Arc::clone(&plan.entry.tx)));
        self.mempool.insert(plan.entry);
    }

    /// Transactions that waited too long leave, which elementsd looks at when another one enters.
    pub(crate) fn expire(&mut self) {
        let oldest = self.now().saturating_sub(MEMPOOL_EXPIRY);
        let old: Vec<_> = self
            .mempool
            .iter()
            .filter(|entry| entry.time < oldest)
            .map(|entry| entry.txid)
            .collect();
        for txid in old {
            self.remove_with_descendants(&txid, Removal::Expired);
        }
    }
}

/// From the main chain to another tip.
struct Path {
    /// The height of the last common block.
    fork_height: usize,
    /// The blocks after it, in order.
    blocks: Vec<BlockHash>,
}

impl Mempool {
    /// The same mempool without entries; numbers go on.
    fn emptied(&self) -> Mempool {
        Mempool::starting_at(self.sequence())
    }
}
