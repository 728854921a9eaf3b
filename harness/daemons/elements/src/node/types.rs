//! What the node tells of its chain: small types without behaviour.

use std::sync::Arc;

use elements::{BlockHash, Transaction, TxOut, Txid, Wtxid};

use super::rejection::Rejection;
use super::stored_block::StoredBlock;

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
    /// The block that holds it, which may have left the main chain; none for the mempool.
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
    /// It was known, and is on a side branch, not yet wholly checked (`"duplicate"` too).
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
    /// It waited for two weeks of the node's clock, or an ancestor did (`-mempoolexpiry`).
    Expired,
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

/// What is known of a branch, in the words of `getchaintips`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BranchStatus {
    /// The main chain.
    Active,
    /// Wholly checked once, not the main chain now.
    ValidFork,
    /// Not wholly checked yet.
    ValidHeaders,
    /// Refused, or invalidated by `invalidateblock`.
    Invalid,
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
