//! What the chain shows of the scripts that are watched: every output that was ever paid to them, and what spends it. Pure.
//!
//! It holds where each transaction is *now*, in the chain and the mempool as they were read last; a reorganisation takes away.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{OutPoint, ScriptBuf, Transaction, Txid};
use swaprig_units::{Height, Sat};

use crate::swap::Depth;

/// An output that was paid to a watched script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub outpoint: OutPoint,
    /// How much it holds.
    pub value: Sat,
    /// In the mempool or in a block.
    pub depth: Depth,
    /// What spends it, and where that is.
    pub spent_by: Option<(Arc<Transaction>, Depth)>,
}

struct Seen {
    transaction: Arc<Transaction>,
    depth: Depth,
}

/// The scripts, and what is seen of them.
#[derive(Default)]
pub(super) struct Watched {
    scripts: HashSet<ScriptBuf>,
    seen: HashMap<Txid, Seen>,
    /// The outputs of each script, whether their transactions are still there or not.
    paid: HashMap<ScriptBuf, BTreeSet<OutPoint>>,
    owner: HashMap<OutPoint, ScriptBuf>,
    /// What spends an output, whether it is still there or not.
    spenders: HashMap<OutPoint, BTreeSet<Txid>>,
    /// Scripts of which something is another since this was last taken.
    changed: HashSet<ScriptBuf>,
}

impl Watched {
    /// Watches `script`; false when it was watched already.
    pub(super) fn watch(&mut self, script: ScriptBuf) -> bool {
        self.scripts.insert(script)
    }

    /// No longer watches `script`, and forgets what only it was known for.
    pub(super) fn unwatch(&mut self, script: &ScriptBuf) {
        self.scripts.remove(script);
        self.changed.remove(script);
        for outpoint in self.paid.remove(script).unwrap_or_default() {
            self.owner.remove(&outpoint);
            self.spenders.remove(&outpoint);
        }
        let seen = std::mem::take(&mut self.seen);
        let is_kept = |seen: &Seen| !self.touched(&seen.transaction).is_empty();
        self.seen = seen.into_iter().filter(|(_, seen)| is_kept(seen)).collect();
    }

    /// Whether `script` is watched.
    pub(super) fn is_watched(&self, script: &ScriptBuf) -> bool {
        self.scripts.contains(script)
    }

    /// The outputs known of `scripts`, for whoever looks for what spends them.
    pub(super) fn outpoints<'a>(
        &'a self,
        scripts: impl IntoIterator<Item = &'a ScriptBuf>,
    ) -> impl Iterator<Item = OutPoint> {
        let own = |script| self.paid.get(script).into_iter().flatten().copied();
        scripts.into_iter().flat_map(own)
    }

    /// The watched scripts that `transaction` pays or whose outputs it spends.
    fn touched(&self, transaction: &Transaction) -> HashSet<ScriptBuf> {
        let paid = transaction
            .output
            .iter()
            .map(|output| &output.script_pubkey);
        let paid = paid.filter(|script| self.scripts.contains(*script));
        let spent = transaction.input.iter();
        let spent = spent.filter_map(|input| self.owner.get(&input.previous_output));
        paid.chain(spent).cloned().collect()
    }

    /// Takes note of a transaction in the mempool or in a block. One that spends has to come after what it spends.
    pub(super) fn see(&mut self, transaction: &Transaction, depth: Depth) {
        let touched = self.touched(transaction);
        if touched.is_empty() {
            return;
        }
        let txid = transaction.compute_txid();
        let mut is_new = false;
        for (vout, output) in (0..).zip(&transaction.output) {
            if self.scripts.contains(&output.script_pubkey) {
                let (outpoint, script) = (OutPoint { txid, vout }, output.script_pubkey.clone());
                let outputs = self.paid.entry(script.clone()).or_default();
                is_new |= outputs.insert(outpoint);
                self.owner.insert(outpoint, script);
            }
        }
        for input in &transaction.input {
            if self.owner.contains_key(&input.previous_output) {
                let spenders = self.spenders.entry(input.previous_output).or_default();
                is_new |= spenders.insert(txid);
            }
        }
        let before = self.seen.get(&txid).map(|seen| seen.depth);
        if before != Some(depth) || is_new {
            let transaction = Arc::new(transaction.clone());
            self.seen.insert(txid, Seen { transaction, depth });
            self.changed.extend(touched);
        }
    }

    /// The blocks above `height` are no more. Gives the transactions that were in them: they are where they are seen next.
    pub(super) fn rollback(&mut self, height: Height) -> Vec<Txid> {
        self.lose(|_, depth| matches!(depth, Depth::Block(own) if own > height))
    }

    /// These are in the mempool no more; those that are in a block stay.
    pub(super) fn leave_mempool(&mut self, gone: &HashSet<Txid>) {
        self.lose(|txid, depth| depth == Depth::Mempool && gone.contains(txid));
    }

    fn lose(&mut self, is_lost: impl Fn(&Txid, Depth) -> bool) -> Vec<Txid> {
        let lost = self
            .seen
            .iter()
            .filter(|(txid, seen)| is_lost(txid, seen.depth));
        let lost: Vec<Txid> = lost.map(|(txid, _)| *txid).collect();
        for txid in &lost {
            if let Some(seen) = self.seen.remove(txid) {
                let touched = self.touched(&seen.transaction);
                self.changed.extend(touched);
            }
        }
        lost
    }

    /// Where a transaction is that has to do with a watched script; `None` when it is not known.
    pub(super) fn depth(&self, txid: &Txid) -> Option<Depth> {
        self.seen.get(txid).map(|seen| seen.depth)
    }

    /// The outputs of `script`, in their order.
    pub(super) fn outputs(&self, script: &ScriptBuf) -> Vec<Found> {
        let outpoints = self.paid.get(script).into_iter().flatten();
        let found = outpoints.filter_map(|outpoint| {
            let seen = self.seen.get(&outpoint.txid)?;
            let output = seen.transaction.output.get(outpoint.vout as usize)?;
            Some(Found {
                outpoint: *outpoint,
                value: Sat(output.value.to_sat()),
                depth: seen.depth,
                spent_by: self.spender(outpoint),
            })
        });
        found.collect()
    }

    fn spender(&self, outpoint: &OutPoint) -> Option<(Arc<Transaction>, Depth)> {
        let all = self.spenders.get(outpoint).into_iter().flatten();
        let there = all.filter_map(|txid| self.seen.get(txid));
        // Chain and mempool hold one at most; should they ever not, the one in a block counts.
        let best = there.max_by_key(|seen| matches!(seen.depth, Depth::Block(_)))?;
        Some((Arc::clone(&best.transaction), best.depth))
    }

    /// The scripts of which something is another since the last time.
    pub(super) fn take_changed(&mut self) -> HashSet<ScriptBuf> {
        std::mem::take(&mut self.changed)
    }
}
