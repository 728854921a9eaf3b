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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash as _;
    use bitcoin::transaction::Version;
    use bitcoin::{Amount, Sequence, TxIn, TxOut, Witness};
    use proptest::prelude::*;

    use super::*;

    fn script(number: u8) -> ScriptBuf {
        ScriptBuf::from(vec![number])
    }

    /// A transaction that spends `input` and pays `to` and somebody whom nobody watches.
    fn transaction(number: u32, input: OutPoint, to: u8) -> Transaction {
        let output = |script_pubkey, value| TxOut {
            value: Amount::from_sat(value),
            script_pubkey,
        };
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(number),
            input: vec![TxIn {
                previous_output: input,
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![
                output(script(to), u64::from(number)),
                output(script(200), 1),
            ],
        }
    }

    /// Which of them `at` spends: neither a block nor the mempool has it without that one.
    fn parent(all: &[Transaction], at: usize) -> Option<usize> {
        let spent = all[at].input[0].previous_output.txid;
        all.iter().position(|one| one.compute_txid() == spent)
    }

    /// An output, its depth, and what spends it.
    type Expected = (OutPoint, Depth, Option<(Txid, Depth)>);

    /// What is seen of each watched script when the transactions are where `places` says.
    fn wanted(
        all: &[Transaction],
        places: &BTreeMap<usize, Depth>,
        script: &ScriptBuf,
    ) -> Vec<Expected> {
        let mut found = Vec::new();
        for (at, depth) in places {
            let (txid, output) = (all[*at].compute_txid(), &all[*at].output[0]);
            if output.script_pubkey != *script {
                continue;
            }
            let outpoint = OutPoint { txid, vout: 0 };
            let spends = |at: &usize| all[*at].input[0].previous_output == outpoint;
            let spender = places.iter().find(|(at, _)| spends(at));
            let spender = spender.map(|(at, depth)| (all[*at].compute_txid(), *depth));
            found.push((outpoint, *depth, spender));
        }
        found.sort_by_key(|one: &(OutPoint, _, _)| one.0);
        found
    }

    proptest! {
        /// Blocks, reorganisations and the mempool, in any order: what is seen is what is there, and whatever becomes another is told.
        #[test]
        fn what_is_seen_is_what_is_there(
            // Each spends the output of an earlier one, or one that nobody watches, and pays one of four scripts, of which three are watched.
            made in proptest::collection::vec((0..12_usize, 0..4_u8), 1..12),
            // Each round begins with a height that the chain falls back to; then come blocks, and then the mempool.
            rounds in proptest::collection::vec(
                (0..6_u32, proptest::collection::vec(0..12_usize, 0..6), proptest::collection::vec(0..12_usize, 0..6)),
                1..10,
            ),
            late in 0..10_usize,
        ) {
            let mut all: Vec<Transaction> = Vec::new();
            for (number, (parent, to)) in (0..).zip(&made) {
                let unknown = OutPoint { txid: Txid::from_byte_array([9; 32]), vout: number };
                let spent = all.get(*parent).map(|parent| OutPoint { txid: parent.compute_txid(), vout: 0 });
                // No two spend the same: chain and mempool never hold both.
                let is_taken = spent.is_some_and(|spent| all.iter().any(|one| one.input[0].previous_output == spent));
                let input = spent.filter(|_| !is_taken).unwrap_or(unknown);
                all.push(transaction(number, input, *to));
            }
            let is_late = |script: u8, round: usize| script == 2 && round < late;
            let mut watched = Watched::default();
            for number in [0, 1] {
                watched.watch(script(number));
            }
            let mut places: BTreeMap<usize, Depth> = BTreeMap::new();
            let mut tip = 0;
            for (round, (to, mined, waiting)) in rounds.iter().enumerate() {
                let before: Vec<_> = (0..3).map(|number| wanted(&all, &places, &script(number))).collect();
                // Fall back.
                tip = tip.min(*to);
                watched.rollback(Height(tip));
                places.retain(|_, depth| !matches!(depth, Depth::Block(height) if height.0 > tip));
                // Blocks: one for each transaction, the earlier ones first, after what they spend.
                let mut mined = mined.clone();
                mined.sort_unstable();
                for at in mined {
                    let is_in_block = |at: usize| matches!(places.get(&at), Some(Depth::Block(_)));
                    if at >= all.len() || is_in_block(at) || !parent(&all, at).is_none_or(is_in_block) {
                        continue;
                    }
                    tip += 1;
                    places.insert(at, Depth::Block(Height(tip)));
                    watched.see(&all[at], Depth::Block(Height(tip)));
                }
                // The mempool is another.
                let mut waiting = waiting.clone();
                waiting.sort_unstable();
                let mut stay: HashSet<usize> = HashSet::new();
                for at in waiting.into_iter().filter(|at| *at < all.len()) {
                    let is_there = |at: usize| stay.contains(&at) || matches!(places.get(&at), Some(Depth::Block(_)));
                    if parent(&all, at).is_none_or(is_there) {
                        stay.insert(at);
                    }
                }
                let gone: HashSet<Txid> = (0..all.len()).filter(|at| !stay.contains(at)).map(|at| all[at].compute_txid()).collect();
                watched.leave_mempool(&gone);
                places.retain(|at, depth| *depth != Depth::Mempool || stay.contains(at));
                for _ in 0..2 {
                    // In an order that is not that of spending.
                    for at in stay.iter().copied() {
                        let depth = *places.entry(at).or_insert(Depth::Mempool);
                        if depth == Depth::Mempool {
                            watched.see(&all[at], depth);
                        }
                    }
                }
                if round == late {
                    // Watched from here on: everything is looked through.
                    watched.watch(script(2));
                    for _ in 0..2 {
                        for (at, depth) in &places {
                            watched.see(&all[*at], *depth);
                        }
                    }
                }
                let changed = watched.take_changed();
                for number in 0..3_u8 {
                    let own = script(number);
                    if is_late(number, round) {
                        prop_assert_eq!(watched.outputs(&own), []);
                        continue;
                    }
                    let wanted = wanted(&all, &places, &own);
                    let mut seen: Vec<_> = watched.outputs(&own).into_iter().map(|one| {
                        let spent = one.spent_by.map(|(by, depth)| (by.compute_txid(), depth));
                        (one.outpoint, one.depth, spent)
                    }).collect();
                    seen.sort_by_key(|one| one.0);
                    prop_assert_eq!(&seen, &wanted);
                    // What changes in the moment of watching is seen by looking.
                    let is_new = number == 2 && round == late;
                    if !is_new && wanted != before[usize::from(number)] {
                        prop_assert!(changed.contains(&own), "{} is another and not told", number);
                    }
                }
                prop_assert!(!changed.contains(&script(3)));
            }
            for number in 0..3 {
                watched.unwatch(&script(number));
            }
            prop_assert!(watched.seen.is_empty() && watched.owner.is_empty() && watched.spenders.is_empty());
        }
    }
}
