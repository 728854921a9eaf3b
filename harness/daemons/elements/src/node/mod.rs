//! The chain of the bundled Elements node: blocks, coins, mempool, and every rule about them.
//!
//! Synchronous and without I/O but for the clock: whoever serves it owns it behind one lock. Not here: JSON, keys, wallets,
//! peers, peg-ins and peg-outs, votes on the federation's parameters.
//!
//! No input makes it panic. What it does not support it refuses, and says so.

mod accept;
mod amounts;
mod block_check;
mod chain;
mod coins;
mod decode;
mod fee_rate;
mod genesis;
mod headers;
mod mempool;
mod merkle;
mod miner;
mod params;
mod rejection;
mod replace;
mod script_kind;
mod scripts;
mod snapshot;
mod standard;
mod stored_block;
mod tx_check;
mod types;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use elements::dynafed::FullParams;
use elements::{AssetId, Block, BlockHash, OutPoint, Script, Transaction, Txid, Wtxid};

use accept::{Fees, Judge, fee_is_too_high};

pub use decode::{decode_block, decode_transaction};
pub use fee_rate::FeeRate;
pub use mempool::{Mempool, MempoolEntry, signals_replaceability};
pub use params::{
    COIN, COINBASE_MATURITY, ChainConstants, EPOCH_LENGTH, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT,
    MAX_MONEY, PARENT_GENESIS_HASH, PEGIN_CONFIRMATION_DEPTH, Params,
};
pub use rejection::Rejection;
pub use stored_block::StoredBlock;
pub use types::{
    Accepted, BranchStatus, Coin, Event, FoundTransaction, Removal, SnapshotError, Submitted,
    TestAccept, Tip,
};

/// What is known of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its coins were not looked at: it was never on the main chain.
    Unchecked,
    /// It was on the main chain once.
    Valid,
    /// It is wrong, or follows one that is, or somebody said so.
    Invalid {
        /// Whether it was on the main chain before.
        was_valid: bool,
    },
}

impl Standing {
    fn is_invalid(self) -> bool {
        matches!(self, Standing::Invalid { .. })
    }
}

/// A block of the tree.
#[derive(Clone, Debug)]
struct Record {
    block: Arc<StoredBlock>,
    standing: Standing,
    /// What it spent, while it is on the main chain.
    undo: Option<Arc<coins::Undo>>,
}

/// The node. Cheap to clone: blocks and transactions are shared, so that a clone serves as a checkpoint to revert to.
#[derive(Clone, Debug)]
pub struct Node {
    params: Params,
    constants: ChainConstants,
    dynafed: FullParams,
    blocks: HashMap<BlockHash, Record>,
    /// The main chain by height. Never empty.
    main: Vec<BlockHash>,
    coins: coins::CoinSet,
    /// Blocks by their transactions, as `-txindex` has them: a block that leaves the main chain stays until another one
    /// has the transaction.
    tx_index: HashMap<Txid, BlockHash>,
    mempool: Mempool,
    mock_time: Option<u64>,
    events: Vec<Event>,
    /// Transactions whose scripts (as relay asks) and amounts are known to be good.
    verified: HashSet<Wtxid>,
}

/// Starting, parameters, time.
impl Node {
    /// A node whose chain is the genesis block alone.
    ///
    /// # Errors
    /// If the parameters contradict each other, in words for whoever set them.
    pub fn new(params: Params) -> Result<Self, String> {
        let (genesis, constants) = genesis::genesis(&params)?;
        let mut node = Node {
            params,
            constants,
            dynafed: genesis::first_dynafed_params(),
            blocks: HashMap::new(),
            main: vec![constants.genesis_hash],
            coins: coins::CoinSet::new(),
            tx_index: HashMap::new(),
            mempool: Mempool::default(),
            mock_time: None,
            events: Vec::new(),
            verified: HashSet::new(),
        };
        let block = Arc::new(node.prepare(genesis));
        for (tx, txid) in block.transactions.iter().zip(&block.txids) {
            node.coins.extend(coins::created(tx, *txid, 0));
            node.tx_index.insert(*txid, block.hash);
        }
        node.blocks.insert(
            block.hash,
            Record {
                block,
                standing: Standing::Valid,
                undo: None,
            },
        );
        Ok(node)
    }

    /// What it was made with.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The pegged, policy and subsidy asset.
    pub fn policy_asset(&self) -> AssetId {
        self.constants.policy_asset
    }

    /// The hash of block 0.
    pub fn genesis_hash(&self) -> BlockHash {
        self.constants.genesis_hash
    }

    /// The node's time, Unix seconds: the mock time if one is set.
    #[expect(
        clippy::disallowed_methods,
        reason = "blocks carry the wall clock's time"
    )]
    pub fn now(&self) -> u64 {
        self.mock_time.unwrap_or_else(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| since.as_secs())
        })
    }

    /// Sets the node's time, Unix seconds; with none it follows the machine's clock again (`setmocktime 0`).
    pub fn set_mock_time(&mut self, time: Option<u64>) {
        self.mock_time = time;
    }

    /// The time that was set with [`Node::set_mock_time`].
    pub fn mock_time(&self) -> Option<u64> {
        self.mock_time
    }
}

/// Looking at blocks, transactions and coins.
impl Node {
    /// The end of the main chain.
    pub fn tip(&self) -> Tip {
        let hash = self
            .main
            .last()
            .copied()
            .unwrap_or(self.constants.genesis_hash);
        Tip {
            hash,
            height: u32::try_from(self.main.len().saturating_sub(1)).unwrap_or(u32::MAX),
        }
    }

    /// The block of the main chain at a height.
    pub fn block_hash(&self, height: u32) -> Option<BlockHash> {
        self.main.get(height as usize).copied()
    }

    /// A block by its hash, side branches and invalid ones included.
    pub fn block(&self, hash: &BlockHash) -> Option<&Arc<StoredBlock>> {
        self.blocks.get(hash).map(|record| &record.block)
    }

    /// How deep a known block is in the main chain: 1 for the tip, -1 for a block of a side branch. None if unknown.
    pub fn confirmations(&self, hash: &BlockHash) -> Option<i64> {
        let height = self.block(hash)?.height();
        match self.block_hash(height) == Some(*hash) {
            true => Some(i64::from(self.tip().height) - i64::from(height) + 1),
            false => Some(-1),
        }
    }

    /// The block after this one, if both are on the main chain.
    pub fn next_block_hash(&self, hash: &BlockHash) -> Option<BlockHash> {
        let height = self.block(hash)?.height();
        (self.block_hash(height) == Some(*hash))
            .then(|| self.block_hash(height + 1))
            .flatten()
    }

    /// The ends of all branches, the main chain's first, then the highest first: for `getchaintips`.
    pub fn chain_tips(&self) -> Vec<(Tip, BranchStatus)> {
        let parents: HashSet<_> = self
            .blocks
            .values()
            .map(|record| record.block.header.prev_blockhash)
            .collect();
        let tip = self.tip().hash;
        let ends = self
            .blocks
            .iter()
            .filter(|(hash, _)| **hash == tip || !parents.contains(*hash));
        let mut tips: Vec<_> = ends
            .map(|(hash, record)| {
                let status = match record.standing {
                    _ if *hash == tip => BranchStatus::Active,
                    Standing::Valid => BranchStatus::ValidFork,
                    Standing::Unchecked => BranchStatus::ValidHeaders,
                    Standing::Invalid { .. } => BranchStatus::Invalid,
                };
                (
                    Tip {
                        hash: *hash,
                        height: record.block.height(),
                    },
                    status,
                )
            })
            .collect();
        tips.sort_by_key(|(end, _)| (end.hash != tip, std::cmp::Reverse(end.height), end.hash));
        tips
    }

    /// A transaction of the mempool, the main chain, or a block that was on it.
    pub fn transaction(&self, txid: &Txid) -> Option<FoundTransaction> {
        if let Some(entry) = self.mempool.get(txid) {
            return Some(FoundTransaction {
                tx: Arc::clone(&entry.tx),
                block: None,
            });
        }
        let hash = self.tx_index.get(txid)?;
        let block = self.block(hash)?;
        let index = block.txids.iter().position(|known| known == txid)?;
        Some(FoundTransaction {
            tx: Arc::clone(block.transactions.get(index)?),
            block: Some(*hash),
        })
    }

    /// A coin of the main chain; the mempool plays no part.
    pub fn coin(&self, outpoint: &OutPoint) -> Option<&Coin> {
        self.coins.get(outpoint)
    }

    /// A coin as the mempool leaves it: outputs of waiting transactions are coins, outputs that they spend are not.
    pub fn coin_with_mempool(&self, outpoint: &OutPoint) -> Option<Coin> {
        match self.mempool.spender_of(outpoint) {
            Some(_) => None,
            None => self
                .mempool
                .coin(outpoint)
                .or_else(|| self.coin(outpoint).cloned()),
        }
    }

    /// All coins of the main chain, in no order.
    pub fn coins(&self) -> impl Iterator<Item = (&OutPoint, &Coin)> {
        self.coins.iter()
    }

    /// The transactions that wait for a block.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// The dynafed parameters in force, in full: signblockscript, fedpeg program and script, extension space.
    pub fn dynafed_params(&self) -> &FullParams {
        &self.dynafed
    }

    /// What happened since the last call, in order. Call it after every change, or it grows.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether the main chain has an unspent output of this transaction.
    fn has_coin_of(&self, tx: &Transaction, txid: Txid) -> bool {
        let count = u32::try_from(tx.output.len()).unwrap_or(u32::MAX);
        (0..count).any(|vout| self.coins.contains_key(&OutPoint::new(txid, vout)))
    }
}

/// Transactions.
impl Node {
    /// Accepts a transaction into the mempool: `sendrawtransaction`, but for outputs that still hold a blinding key, which
    /// it refuses beforehand. One that waits already is accepted again. With `max_fee_rate` none or zero no fee is too high.
    ///
    /// # Errors
    /// The words and codes of elementsd.
    pub fn accept(
        &mut self,
        tx: Transaction,
        max_fee_rate: Option<FeeRate>,
    ) -> Result<Txid, Rejection> {
        let txid = tx.txid();
        if self.has_coin_of(&tx, txid) {
            return Err(Rejection::already_in_chain());
        }
        if self.mempool.contains(&txid) {
            return Ok(txid);
        }
        let plan = Judge {
            node: self,
            pool: &self.mempool,
        }
        .judge(&Arc::new(tx), Fees::Relay)?;
        if fee_is_too_high(plan.entry.fee, plan.entry.tx.vsize() as u64, max_fee_rate) {
            return Err(Rejection::max_fee_exceeded());
        }
        self.enter(plan);
        self.expire();
        match self.mempool.contains(&txid) {
            true => Ok(txid),
            // An ancestor's time was over.
            false => Err(Rejection::new("mempool full")),
        }
    }

    /// `testmempoolaccept`: what [`Node::accept`] would say. More than one transaction are judged in turn, each as
    /// though those before it had been accepted, up to the first that is refused.
    pub fn test_accept(
        &self,
        txs: &[Transaction],
        max_fee_rate: Option<FeeRate>,
    ) -> Vec<TestAccept> {
        // A mempool of its own only where there is something to put into it.
        let mut own: Option<Mempool> = None;
        let mut ended = false;
        let mut answers = Vec::new();
        for tx in txs {
            let tx = Arc::new(tx.clone());
            let mut answer = TestAccept {
                txid: tx.txid(),
                wtxid: tx.wtxid(),
                verdict: None,
            };
            if !ended {
                let pool = own.as_ref().unwrap_or(&self.mempool);
                let judged = Judge { node: self, pool }.judge(&tx, Fees::Relay);
                let judged = judged.and_then(|plan| {
                    match fee_is_too_high(plan.entry.fee, plan.entry.vsize, max_fee_rate) {
                        true => Err(Rejection::max_fee_exceeded()),
                        false => Ok(plan),
                    }
                });
                ended = judged.is_err();
                answer.verdict = Some(judged.map(|plan| {
                    let MempoolEntry {
                        vsize,
                        discount_vsize,
                        fee,
                        ..
                    } = plan.entry;
                    if txs.len() > 1 {
                        let pool = own.get_or_insert_with(|| self.mempool.clone());
                        for replaced in &plan.replaced {
                            pool.remove(replaced);
                        }
                        pool.insert(plan.entry);
                    }
                    Accepted {
                        vsize,
                        discount_vsize,
                        fee,
                    }
                }));
            }
            answers.push(answer);
        }
        answers
    }
}

/// Blocks.
impl Node {
    /// `generatetoaddress`: mines `n` blocks with what waits in the mempool; fees go to `script`. Takes about 0.1 ms a
    /// block, so whoever serves others too asks for some thousands at a time.
    ///
    /// # Errors
    /// If a block cannot be made, as when the clock is set so far back that no time fits. Blocks before it stay.
    pub fn generate(&mut self, n: u32, script: &Script) -> Result<Vec<BlockHash>, Rejection> {
        (0..n).map(|_| self.mine(script)).collect()
    }

    /// `generateblock`: mines one block with exactly these transactions after the coinbase. As with elementsd, nobody
    /// gets their fees.
    ///
    /// # Errors
    /// What is wrong with the block (elementsd puts `TestBlockValidity failed: ` before it).
    pub fn generate_block(
        &mut self,
        script: &Script,
        txs: Vec<Transaction>,
    ) -> Result<BlockHash, Rejection> {
        let tip = self.tip().hash;
        self.mine_exactly(&tip, script, txs)
    }

    /// Mines `n` blocks on `parent`, the first with these transactions, without what waits in the mempool: a branch.
    /// The chain switches to it as soon as it is the longer one; only then its transactions are wholly checked.
    ///
    /// # Errors
    /// If the parent is not known or is invalid, or a transaction may not be in the block. Blocks made before stay.
    pub fn generate_on(
        &mut self,
        parent: &BlockHash,
        n: u32,
        script: &Script,
        txs: Vec<Transaction>,
    ) -> Result<Vec<BlockHash>, Rejection> {
        let mut hashes: Vec<BlockHash> = Vec::new();
        let mut txs = Some(txs);
        for _ in 0..n {
            let parent = hashes.last().copied().unwrap_or(*parent);
            hashes.push(self.mine_exactly(&parent, script, txs.take().unwrap_or_default())?);
        }
        Ok(hashes)
    }

    /// `submitblock`.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub fn submit_block(&mut self, mut block: Block) -> Result<Submitted, Rejection> {
        let hash = block.block_hash();
        if let Some(record) = self.blocks.get(&hash) {
            return Ok(match record.standing {
                Standing::Valid => Submitted::Duplicate,
                Standing::Invalid { .. } => Submitted::DuplicateInvalid,
                Standing::Unchecked => Submitted::DuplicateInconclusive,
            });
        }
        if let Some(coinbase) = block.txdata.first_mut() {
            block_check::complete(coinbase);
        }
        let block = self.prepare(block);
        self.check_without_coins(&block)?;
        self.keep(block);
        let failed = self.consider(hash);
        match failed.into_iter().find(|(failed, _)| *failed == hash) {
            Some((_, error)) => Err(error),
            None if self.confirmations(&hash).is_some_and(|depth| depth > 0) => {
                Ok(Submitted::Connected)
            }
            None => Ok(Submitted::SideBranch),
        }
    }

    /// `invalidateblock`: this block and those after it do not count any more. False if the block is not known.
    /// The genesis block cannot be invalidated. As with elementsd, of more than ten blocks that leave the main chain the
    /// older ones' transactions do not return to the mempool.
    pub fn invalidate(&mut self, hash: &BlockHash) -> bool {
        let known = self.blocks.contains_key(hash);
        if known && *hash != self.constants.genesis_hash {
            self.invalidate_block(hash);
        }
        known
    }

    /// `reconsiderblock`: this block, those before and after it count again. False if the block is not known.
    pub fn reconsider(&mut self, hash: &BlockHash) -> bool {
        if !self.blocks.contains_key(hash) {
            return false;
        }
        let mut again = self.with_descendants(hash);
        let mut next = *hash;
        while let Some(record) = self.blocks.get(&next) {
            again.insert(next);
            next = record.block.header.prev_blockhash;
        }
        for hash in again {
            if let Some(record) = self.blocks.get_mut(&hash)
                && let Standing::Invalid { was_valid } = record.standing
            {
                record.standing = if was_valid {
                    Standing::Valid
                } else {
                    Standing::Unchecked
                };
            }
        }
        self.activate_best();
        true
    }
}
