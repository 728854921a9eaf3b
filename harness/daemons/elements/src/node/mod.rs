//! The chain of the bundled Elements node: blocks, coins, mempool, and every rule about them.
//!
//! Synchronous and without I/O but for the clock: whoever serves it owns it behind one lock. Not here: JSON, keys, wallets,
//! peers, peg-ins and peg-outs, votes on the federation's parameters.
//!
//! No input makes it panic. What it does not support it refuses, and says so.

mod fee_rate;
mod mempool;
mod params;
mod rejection;
mod stored_block;

use std::collections::HashMap;
use std::sync::Arc;

use elements::{AssetId, Block, BlockHash, OutPoint, Script, Transaction, TxOut, Txid, Wtxid};

pub use fee_rate::FeeRate;
pub use mempool::{Mempool, MempoolEntry, signals_replaceability};
pub use params::{
    COIN, COINBASE_MATURITY, ChainConstants, EPOCH_LENGTH, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT,
    MAX_MONEY, PARENT_GENESIS_HASH, PEGIN_CONFIRMATION_DEPTH, Params,
};
pub use rejection::Rejection;
pub use stored_block::StoredBlock;

/// The end of the main chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: u32,
}

/// An unspent output of the main chain (or, with `height` [`Coin::MEMPOOL_HEIGHT`], of the mempool).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coin {
    /// The output; its proofs are not kept.
    pub output: TxOut,
    /// The height of the block that made it.
    pub height: u32,
    /// Whether a coinbase made it.
    pub coinbase: bool,
}

impl Coin {
    /// The height of coins that no block has made yet.
    pub const MEMPOOL_HEIGHT: u32 = 0x7fff_ffff;
}

/// A transaction, and where it was found.
#[derive(Clone, Debug)]
pub struct FoundTransaction {
    /// The transaction.
    pub tx: Arc<Transaction>,
    /// The block of the main chain that holds it; none for the mempool.
    pub block: Option<BlockHash>,
}

/// What `testmempoolaccept` tells of one transaction.
#[derive(Clone, Debug)]
pub struct TestAccept {
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// Sizes and fee if it would be accepted. None when judging ended before it, because one before it was refused.
    pub verdict: Option<Result<Accepted, Rejection>>,
}

/// Sizes and fee of a transaction that would be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Virtual size, not discounted.
    pub vsize: u64,
    /// Virtual size with the discount of ELIP 200.
    pub discount_vsize: u64,
    /// Fee in satoshi of the policy asset.
    pub fee: u64,
}

/// What became of a block that was submitted and is valid so far as was looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is on the main chain now (`submitblock` answers null).
    Connected,
    /// It is kept on a side branch, not yet wholly checked (`"inconclusive"`).
    SideBranch,
    /// It was known and valid (`"duplicate"`).
    Duplicate,
    /// It was known and invalid (`"duplicate-invalid"`).
    DuplicateInvalid,
    /// It was known, and is on a side branch (`"duplicate-inconclusive"`).
    DuplicateInconclusive,
}

/// Why a transaction left the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A block has it.
    Block,
    /// A block has another spend of one of its inputs, or of an ancestor's.
    Conflict,
    /// Another transaction paid more for one of its inputs, or of an ancestor's.
    Replaced,
    /// After a reorganisation it is not valid any more.
    Reorg,
}

/// What happened, in order: wallets and subscribers follow these.
#[derive(Clone, Debug)]
pub enum Event {
    /// A block joined the main chain at its end.
    Connected(Arc<StoredBlock>),
    /// The block at the end of the main chain left it. Its transactions, if still valid, are `Accepted` afterwards.
    Disconnected(Arc<StoredBlock>),
    /// A transaction entered the mempool.
    Accepted(Arc<Transaction>),
    /// A transaction left the mempool.
    Removed(Arc<Transaction>, Removal),
}

/// A snapshot that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not one of ours, or of another version.
    #[error("not a snapshot of this version of the bundled Elements node")]
    Format,
    /// Cut short, or changed.
    #[error("the snapshot is damaged: its checksum does not match")]
    Checksum,
    /// It was made with other parameters.
    #[error("the snapshot is of chain {found} with other parameters than these of {wanted}")]
    Params {
        /// The chain's name in the snapshot.
        found: String,
        /// The chain's name wanted.
        wanted: String,
    },
    /// A block or transaction in it is refused.
    #[error("the snapshot holds something invalid: {0}")]
    Invalid(String),
}

/// The node. Cheap to clone: blocks and transactions are shared, so that a clone serves as a checkpoint to revert to.
#[derive(Clone)]
pub struct Node {
    params: Params,
    constants: ChainConstants,
    blocks: HashMap<BlockHash, Arc<StoredBlock>>,
    mempool: Mempool,
}

/// Starting, parameters, time.
impl Node {
    /// A node whose chain is the genesis block alone.
    ///
    /// # Errors
    /// If the parameters contradict each other, in words for whoever set them.
    pub fn new(params: Params) -> Result<Self, String> {
        todo!()
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
    pub fn now(&self) -> u64 {
        todo!()
    }

    /// Sets the node's time, Unix seconds; with none it follows the machine's clock again (`setmocktime 0`).
    pub fn set_mock_time(&mut self, time: Option<u64>) {
        todo!()
    }
}

/// Looking at blocks, transactions and coins.
impl Node {
    /// The end of the main chain.
    pub fn tip(&self) -> Tip {
        todo!()
    }

    /// The block of the main chain at a height.
    pub fn block_hash(&self, height: u32) -> Option<BlockHash> {
        todo!()
    }

    /// A block by its hash, side branches and invalid ones included.
    pub fn block(&self, hash: &BlockHash) -> Option<&Arc<StoredBlock>> {
        self.blocks.get(hash)
    }

    /// How deep a known block is in the main chain: 1 for the tip, -1 for a block of a side branch. None if unknown.
    pub fn confirmations(&self, hash: &BlockHash) -> Option<i64> {
        todo!()
    }

    /// The block after this one, if both are on the main chain.
    pub fn next_block_hash(&self, hash: &BlockHash) -> Option<BlockHash> {
        todo!()
    }

    /// The ends of all branches, the main chain's first, with what is known of each: for `getchaintips`.
    pub fn chain_tips(&self) -> Vec<(Tip, BranchStatus)> {
        todo!()
    }

    /// A transaction of the mempool or the main chain.
    pub fn transaction(&self, txid: &Txid) -> Option<FoundTransaction> {
        todo!()
    }

    /// A coin of the main chain; the mempool plays no part.
    pub fn coin(&self, outpoint: &OutPoint) -> Option<&Coin> {
        todo!()
    }

    /// A coin as the mempool leaves it: outputs of waiting transactions are coins, outputs that they spend are not.
    pub fn coin_with_mempool(&self, outpoint: &OutPoint) -> Option<Coin> {
        todo!()
    }

    /// All coins of the main chain, in no order.
    pub fn coins(&self) -> impl Iterator<Item = (&OutPoint, &Coin)> {
        std::iter::empty()
    }

    /// The transactions that wait for a block.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// The full dynafed parameters in force: signblockscript, fedpeg program and script, extension space.
    pub fn dynafed_params(&self) -> &elements::dynafed::FullParams {
        todo!()
    }

    /// What happened since the last call, in order. Call it after every change, or it grows.
    pub fn take_events(&mut self) -> Vec<Event> {
        todo!()
    }
}

/// What is known of a branch, in the words of `getchaintips`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchStatus {
    /// The main chain.
    Active,
    /// Wholly checked, not the main chain now.
    ValidFork,
    /// Not wholly checked yet.
    ValidHeaders,
    /// Refused, or invalidated by `invalidateblock`.
    Invalid,
}

/// Transactions.
impl Node {
    /// `sendrawtransaction`: accepts a transaction into the mempool. One that waits already is accepted again.
    /// With `max_fee_rate` none or zero no fee is too high.
    ///
    /// # Errors
    /// The words and codes of elementsd.
    pub fn accept(
        &mut self,
        tx: Transaction,
        max_fee_rate: Option<FeeRate>,
    ) -> Result<Txid, Rejection> {
        todo!()
    }

    /// `testmempoolaccept`: what [`Node::accept`] would say. More than one transaction are judged in turn, each as
    /// though those before it had been accepted, up to the first that is refused.
    pub fn test_accept(
        &self,
        txs: &[Transaction],
        max_fee_rate: Option<FeeRate>,
    ) -> Vec<TestAccept> {
        todo!()
    }
}

/// Blocks.
impl Node {
    /// `generatetoaddress`: mines `n` blocks with what waits in the mempool; fees go to `script`.
    ///
    /// # Errors
    /// If a block cannot be made: the clock is set so far back that no time fits.
    pub fn generate(&mut self, n: u32, script: &Script) -> Result<Vec<BlockHash>, Rejection> {
        todo!()
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
        todo!()
    }

    /// Mines `n` blocks on `parent`, the first with these transactions, without touching what waits in the mempool:
    /// a branch. The chain switches to it when it is the longer one.
    ///
    /// # Errors
    /// If the parent is not known or is invalid, or a transaction may not be in the block.
    pub fn generate_on(
        &mut self,
        parent: &BlockHash,
        n: u32,
        script: &Script,
        txs: Vec<Transaction>,
    ) -> Result<Vec<BlockHash>, Rejection> {
        todo!()
    }

    /// `submitblock`.
    ///
    /// # Errors
    /// What is wrong with the block.
    pub fn submit_block(&mut self, block: Block) -> Result<Submitted, Rejection> {
        todo!()
    }

    /// `invalidateblock`: this block and those after it do not count any more. False if the block is not known.
    pub fn invalidate(&mut self, hash: &BlockHash) -> bool {
        todo!()
    }

    /// `reconsiderblock`: this block, those before and after it count again. False if the block is not known.
    pub fn reconsider(&mut self, hash: &BlockHash) -> bool {
        todo!()
    }
}

/// Snapshots.
impl Node {
    /// The node's whole state as bytes for a file.
    pub fn snapshot(&self) -> Vec<u8> {
        todo!()
    }

    /// The node of a snapshot.
    ///
    /// # Errors
    /// See [`SnapshotError`]. With `wanted`, a snapshot of other parameters is refused.
    pub fn restore(snapshot: &[u8], wanted: Option<&Params>) -> Result<Self, SnapshotError> {
        todo!()
    }
}
