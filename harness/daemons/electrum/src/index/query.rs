//! What can be asked of an index.

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{BlockHash, OutPoint, Txid};

use super::mempool::Waiting;
use super::{Entry, Index};
use crate::chain::{Amount, ScriptHash, Tx};
use crate::merkle;

/// The end of the best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip<'i> {
    /// Its height.
    pub(crate) height: usize,
    /// Its hash.
    pub(crate) hash: BlockHash,
    /// Its header.
    pub(crate) header: &'i [u8],
}

/// A transaction that touches a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryItem {
    /// Its id.
    pub(crate) txid: Txid,
    /// The height of its block; 0 in the mempool, -1 there when it spends from another one of the mempool.
    pub(crate) height: i64,
    /// Its fee in satoshi, in the mempool.
    pub(crate) fee: Option<u64>,
}

/// An output that nothing spends, neither in the chain nor in the mempool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unspent {
    /// Where it is.
    pub(crate) outpoint: OutPoint,
    /// The height of its block, 0 in the mempool.
    pub(crate) height: u32,
    /// What it holds.
    pub(crate) amount: Amount,
}

/// What a script owns, in satoshi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Balance {
    /// In the chain.
    pub(crate) confirmed: u64,
    /// What the mempool adds to that, or takes from it.
    pub(crate) unconfirmed: i128,
}

impl Index {
    /// The end of the best chain; `None` before the first block is known.
    pub(crate) fn tip(&self) -> Option<Tip<'_>> {
        let height = self.blocks.len().checked_sub(1)?;
        let Entry { hash, header, .. } = self.blocks.get(height)?;
        Some(Tip {
            height,
            hash: *hash,
            header,
        })
    }

    /// How many blocks there are, the first one counted.
    pub(crate) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The hash of a block of the best chain.
    pub(crate) fn block_hash(&self, height: usize) -> Option<BlockHash> {
        self.blocks.get(height).map(|block| block.hash)
    }

    /// The header of a block of the best chain.
    pub(crate) fn header(&self, height: usize) -> Option<&[u8]> {
        self.blocks.get(height).map(|block| &*block.header)
    }

    /// The branch that leads from the header at `height` to the root of all headers up to `checkpoint`, and that root.
    pub(crate) fn header_proof(
        &self,
        height: usize,
        checkpoint: usize,
    ) -> Option<(Vec<BlockHash>, BlockHash)> {
        let below = self.blocks.get(..=checkpoint)?;
        let hashes = below.iter().map(|block| block.hash.to_byte_array());
        let (branch, root) = merkle::branch(hashes.collect(), height)?;
        let branch = branch.into_iter().map(BlockHash::from_byte_array);
        Some((branch.collect(), BlockHash::from_byte_array(root)))
    }

    /// The transaction at a place in the best chain, and the branch from it to the root of its block.
    pub(crate) fn tx_proof(&self, height: usize, position: usize) -> Option<(Txid, Vec<Txid>)> {
        let txids = &self.blocks.get(height)?.txids;
        let leaves = txids.iter().map(|txid| txid.to_byte_array()).collect();
        let (branch, _) = merkle::branch(leaves, position)?;
        let branch = branch.into_iter().map(Txid::from_byte_array);
        Some((*txids.get(position)?, branch.collect()))
    }

    /// The height and the position of a transaction of the best chain.
    pub(crate) fn place(&self, txid: &Txid) -> Option<(u32, u32)> {
        let place = self.confirmed.get(txid)?;
        Some((place.height, place.position))
    }

    /// A transaction of the chain or the mempool.
    pub(crate) fn tx(&self, txid: &Txid) -> Option<&Tx> {
        let confirmed = self.confirmed.get(txid).map(|place| &place.tx);
        confirmed.or_else(|| self.mempool.get(txid).map(|waiting| &waiting.tx))
    }

    /// Whether a transaction is in the mempool.
    pub(crate) fn is_waiting(&self, txid: &Txid) -> bool {
        self.mempool.get(txid).is_some()
    }

    /// How many transactions are in the mempool.
    pub(crate) fn waiting_count(&self) -> usize {
        self.mempool.len()
    }

    /// Fee in satoshi and size in vbytes of every transaction in the mempool.
    pub(crate) fn waiting_fees(&self) -> impl Iterator<Item = (u64, u64)> {
        self.mempool.iter().map(|one| (one.fee, one.tx.vsize))
    }

    /// The transactions that touch a script, in the protocol's order: first those of the chain, then
    /// [`Index::waiting`].
    pub(crate) fn history(&self, script: &ScriptHash) -> Vec<HistoryItem> {
        let places = self.history.get(script).into_iter().flatten();
        let confirmed = places.filter_map(|(height, position)| {
            let block = self.blocks.get(usize::try_from(*height).ok()?)?;
            Some(HistoryItem {
                txid: *block.txids.get(usize::try_from(*position).ok()?)?,
                height: i64::from(*height),
                fee: None,
            })
        });
        let mut items: Vec<HistoryItem> = confirmed.collect();
        items.extend(self.waiting(script));
        items
    }

    /// The transactions of the mempool that touch a script: those that spend confirmed outputs alone first, then by
    /// the digits of their ids.
    pub(crate) fn waiting(&self, script: &ScriptHash) -> Vec<HistoryItem> {
        let touching = self.mempool.touching(script);
        let mut items: Vec<HistoryItem> = touching.map(|one| self.item(one)).collect();
        items.sort_by_key(|item| {
            let mut shown = item.txid.to_byte_array();
            shown.reverse();
            (-item.height, shown)
        });
        items
    }

    fn item(&self, waiting: &Waiting) -> HistoryItem {
        let mut spent = waiting.tx.inputs.iter();
        let is_chained = spent.any(|spent| self.is_waiting(&spent.txid));
        HistoryItem {
            txid: waiting.tx.txid,
            height: if is_chained { -1 } else { 0 },
            fee: Some(waiting.fee),
        }
    }

    /// The status of a script as the protocol defines it; `None` when nothing touches it.
    pub(crate) fn status(&self, script: &ScriptHash) -> Option<sha256::Hash> {
        status(&self.history(script))
    }

    /// Whether a change after `version` touched the script.
    pub(crate) fn touched_since(&self, script: &ScriptHash, version: u64) -> bool {
        self.touched.get(script).is_some_and(|at| *at > version)
    }

    /// The number of the last change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The unspent outputs of a script, those of the chain first and in its order.
    pub(crate) fn unspent(&self, script: &ScriptHash) -> Vec<Unspent> {
        let mut found = Vec::new();
        for item in self.history(script) {
            let Some(tx) = self.tx(&item.txid) else {
                continue;
            };
            for (outpoint, amount) in paid_to(tx, script) {
                if self.spent.contains_key(&outpoint) || self.mempool.spender(&outpoint).is_some() {
                    continue;
                }
                found.push(Unspent {
                    outpoint,
                    height: u32::try_from(item.height).unwrap_or(0),
                    amount,
                });
            }
        }
        found
    }

    /// What a script owns; `None` on a chain that hides it.
    pub(crate) fn balance(&self, script: &ScriptHash) -> Option<Balance> {
        if !self.chain.has_balances() {
            return None;
        }
        let (mut confirmed, mut unconfirmed) = (0u64, 0i128);
        for item in self.history(script) {
            let Some(tx) = self.tx(&item.txid) else {
                continue;
            };
            for (outpoint, amount) in paid_to(tx, script) {
                let sat = amount.sat().unwrap_or(0);
                let leaves = self.mempool.spender(&outpoint).is_some();
                if item.fee.is_some() {
                    unconfirmed += if leaves { 0 } else { i128::from(sat) };
                } else if !self.spent.contains_key(&outpoint) {
                    confirmed = confirmed.saturating_add(sat);
                    unconfirmed -= if leaves { i128::from(sat) } else { 0 };
                }
            }
        }
        Some(Balance {
            confirmed,
            unconfirmed,
        })
    }
}

/// The outputs of `tx` that pay to `script`.
fn paid_to(tx: &Tx, script: &ScriptHash) -> impl Iterator<Item = (OutPoint, Amount)> {
    let outputs = tx.outputs.iter().enumerate();
    outputs
        .filter(|(_, output)| output.script.as_ref() == Some(script))
        .filter_map(|(vout, output)| {
            let vout = u32::try_from(vout).ok()?;
            let outpoint = OutPoint {
                txid: tx.txid,
                vout,
            };
            Some((outpoint, output.amount))
        })
}

/// The status of a script with this history.
pub(super) fn status(history: &[HistoryItem]) -> Option<sha256::Hash> {
    use std::fmt::Write as _;
    if history.is_empty() {
        return None;
    }
    let mut text = String::new();
    for item in history {
        let _ = write!(text, "{}:{}:", item.txid, item.height);
    }
    Some(sha256::Hash::hash(text.as_bytes()))
}
