//! A block as the node keeps it: parsed once, its transactions shared.

use std::sync::Arc;

use elements::encode::{VarInt, serialize};
use elements::{Block, BlockExtData, BlockHash, BlockHeader, Transaction, Txid};

/// A block with what was computed about it. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    pub(crate) hash: BlockHash,
    pub(crate) header: BlockHeader,
    pub(crate) transactions: Vec<Arc<Transaction>>,
    pub(crate) txids: Vec<Txid>,
    pub(crate) median_time_past: u32,
    pub(crate) sequence: u64,
}

impl StoredBlock {
    /// The block's hash.
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// The header, with its dynafed parameters and signature.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// The height, which is also in the header.
    pub fn height(&self) -> u32 {
        self.header.height
    }

    /// The transactions, the coinbase first.
    pub fn transactions(&self) -> &[Arc<Transaction>] {
        &self.transactions
    }

    /// The transactions' ids, in the same order.
    pub fn txids(&self) -> &[Txid] {
        &self.txids
    }

    /// The median of the times of this block and the ten before it, Unix seconds.
    pub fn median_time_past(&self) -> u32 {
        self.median_time_past
    }

    /// The work of this block and all before it: one for each signed block.
    pub fn chain_work(&self) -> u64 {
        u64::from(self.header.height) + 1
    }

    /// Blocks received before this one.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The block in its consensus form.
    pub fn to_block(&self) -> Block {
        Block {
            header: self.header.clone(),
            txdata: self.transactions.iter().map(|tx| (**tx).clone()).collect(),
        }
    }

    /// Bytes of the block as it is sent.
    pub fn size(&self) -> usize {
        self.overhead() + self.transactions.iter().map(|tx| tx.size()).sum::<usize>()
    }

    /// Weight of the block: header and count four times but for the signature, transactions by their weight.
    pub fn weight(&self) -> usize {
        4 * self.overhead() - 3 * self.signature_size()
            + self
                .transactions
                .iter()
                .map(|tx| tx.weight())
                .sum::<usize>()
    }

    /// Bytes of the block without its signature and the witnesses of its transactions.
    pub fn stripped_size(&self) -> usize {
        let stripped = |tx: &Arc<Transaction>| (tx.weight() - tx.size()) / 3;
        self.overhead() - self.signature_size()
            + self.transactions.iter().map(stripped).sum::<usize>()
    }

    /// Bytes of the header's witness, which counts as one.
    fn signature_size(&self) -> usize {
        match &self.header.ext {
            BlockExtData::Dynafed {
                signblock_witness, ..
            } => serialize(signblock_witness).len(),
            BlockExtData::Proof { .. } => 0,
        }
    }

    fn overhead(&self) -> usize {
        serialize(&self.header).len() + VarInt(self.transactions.len() as u64).size()
    }
}
