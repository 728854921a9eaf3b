//! The part of the index that is not in a block yet.

use std::collections::{BTreeSet, HashMap};

use bitcoin::{OutPoint, Txid};

use super::{Index, MempoolUpdate};
use crate::chain::{ScriptHash, Tx};

/// A transaction that waits for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) tx: Tx,
    /// Satoshi.
    pub(super) fee: u64,
    /// The scripts that it touches, each once.
    scripts: Box<[ScriptHash]>,
}

/// The transactions that wait for a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mempool {
    txs: HashMap<Txid, Waiting>,
    spent: HashMap<OutPoint, Txid>,
    history: HashMap<ScriptHash, BTreeSet<Txid>>,
}

impl Mempool {
    pub(super) fn get(&self, txid: &Txid) -> Option<&Waiting> {
        self.txs.get(txid)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.txs.values()
    }

    pub(super) fn len(&self) -> usize {
        self.txs.len()
    }

    /// Which transaction spends an output.
    pub(super) fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.spent.get(outpoint).copied()
    }

    /// The transactions that touch a script.
    pub(super) fn touching(&self, script: &ScriptHash) -> impl Iterator<Item = &Waiting> {
        let txids = self.history.get(script).into_iter().flatten();
        txids.filter_map(|txid| self.txs.get(txid))
    }

    /// The scripts that a transaction touches.
    pub(super) fn scripts(&self, txid: &Txid) -> &[ScriptHash] {
        self.txs.get(txid).map_or(&[], |waiting| &waiting.scripts)
    }

    /// The transactions that spend an output of `tx`.
    pub(super) fn children<'m>(&'m self, tx: &'m Tx) -> impl Iterator<Item = Txid> + 'm {
        let outputs = 0..u32::try_from(tx.outputs.len()).unwrap_or(u32::MAX);
        outputs.filter_map(|vout| {
            let outpoint = OutPoint {
                txid: tx.txid,
                vout,
            };
            self.spender(&outpoint)
        })
    }

    fn insert(&mut self, waiting: Waiting) {
        let txid = waiting.tx.txid;
        for spent in &waiting.tx.inputs {
            self.spent.insert(*spent, txid);
        }
        for script in &waiting.scripts {
            self.history.entry(*script).or_default().insert(txid);
        }
        self.txs.insert(txid, waiting);
    }

    fn remove(&mut self, txid: &Txid) -> Option<Waiting> {
        let waiting = self.txs.remove(txid)?;
        for spent in &waiting.tx.inputs {
            if self.spender(spent) == Some(*txid) {
                self.spent.remove(spent);
            }
        }
        for script in &waiting.scripts {
            if let Some(txids) = self.history.get_mut(script) {
                txids.remove(txid);
                if txids.is_empty() {
                    self.history.remove(script);
                }
            }
        }
        Some(waiting)
    }
}

impl Index {
    /// Makes the mempool what the node's is. Gives how many of its transactions spend something unknown.
    pub(super) fn set_mempool(&mut self, update: MempoolUpdate) -> usize {
        let gone: Vec<Txid> = self
            .mempool
            .txs
            .keys()
            .filter(|txid| !update.txids.contains(*txid))
            .copied()
            .collect();
        for txid in gone {
            self.leave_mempool(&txid);
        }
        // Parents may stand behind their children.
        let mut waiting: Vec<Tx> = update.new;
        waiting.retain(|tx| update.txids.contains(&tx.txid));
        loop {
            let before = waiting.len();
            let mut left = Vec::new();
            for tx in waiting {
                left.extend(self.enter_mempool(tx));
            }
            waiting = left;
            if waiting.is_empty() || waiting.len() == before {
                return waiting.len();
            }
        }
    }

    /// Takes a transaction into the mempool; gives it back when it spends something unknown.
    fn enter_mempool(&mut self, tx: Tx) -> Option<Tx> {
        let is_known =
            self.confirmed.contains_key(&tx.txid) || self.mempool.get(&tx.txid).is_some();
        if is_known {
            return None;
        }
        let mut spent = 0u64;
        for outpoint in &tx.inputs {
            let Some(output) = self.output(outpoint) else {
                return Some(tx);
            };
            spent = spent.saturating_add(output.amount.sat().unwrap_or(0));
        }
        let made = tx.outputs.iter().filter_map(|output| output.amount.sat());
        let made = made.fold(0, u64::saturating_add);
        let fee = tx.fee.unwrap_or_else(|| spent.saturating_sub(made));
        let scripts: Box<[ScriptHash]> = self.scripts(&tx).into_iter().collect();
        // The node has replaced whatever spends the same.
        for outpoint in &tx.inputs {
            if let Some(other) = self.mempool.spender(outpoint) {
                self.drop_from_mempool(other);
            }
        }
        let children: Vec<Txid> = self.mempool.children(&tx).collect();
        for script in &scripts {
            self.touch(*script);
        }
        self.mempool.insert(Waiting { tx, fee, scripts });
        self.touch_heights_of(&children);
        None
    }

    /// Takes one transaction out of the mempool; what spends from it stays.
    pub(super) fn leave_mempool(&mut self, txid: &Txid) {
        let Some(gone) = self.mempool.remove(txid) else {
            return;
        };
        for script in &gone.scripts {
            self.touch(*script);
        }
        let children: Vec<Txid> = self.mempool.children(&gone.tx).collect();
        self.touch_heights_of(&children);
    }

    /// Takes a transaction out of the mempool with all that depend on it.
    pub(super) fn drop_from_mempool(&mut self, txid: Txid) {
        let mut doomed = vec![txid];
        while let Some(txid) = doomed.pop() {
            if let Some(waiting) = self.mempool.get(&txid) {
                doomed.extend(self.mempool.children(&waiting.tx));
            }
            self.leave_mempool(&txid);
        }
    }
}
