//! Transactions that wait for a block. Holds them and their relations; what may enter is decided in `accept`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use elements::{OutPoint, Transaction, Txid, Wtxid};

use super::fee_rate::FeeRate;

/// A transaction in the mempool.
#[derive(Clone, Debug)]
pub struct MempoolEntry {
    /// The transaction.
    pub tx: Arc<Transaction>,
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// When it was accepted, Unix seconds of the node's clock.
    pub time: u64,
    /// The chain's height when it was accepted.
    pub height: u32,
    /// The fee in satoshi of the policy asset.
    pub fee: u64,
    /// Virtual size, sigops counted, not discounted.
    pub vsize: u64,
    /// Virtual size with the discount of ELIP 200, which relay and mining rates go by with `-acceptdiscountct`.
    pub discount_vsize: u64,
    /// Weight.
    pub weight: u64,
    /// Cost of signature checks.
    pub sigop_cost: u64,
    /// Whether it spends a coinbase output.
    pub spends_coinbase: bool,
    /// Order of acceptance.
    pub sequence: u64,
    /// Transactions of the mempool whose outputs it spends.
    pub parents: BTreeSet<Txid>,
    /// Transactions of the mempool that spend its outputs.
    pub children: BTreeSet<Txid>,
}

impl MempoolEntry {
    /// Whether one of its inputs signals BIP 125 replaceability.
    pub fn signals_replaceability(&self) -> bool {
        signals_replaceability(&self.tx)
    }

    /// The fee rate by virtual size, without discount.
    pub fn fee_rate(&self) -> FeeRate {
        FeeRate::paid(self.fee, self.vsize)
    }
}

/// Whether one of the inputs signals BIP 125 replaceability.
pub fn signals_replaceability(tx: &Transaction) -> bool {
    tx.input.iter().any(|input| input.sequence.0 <= 0xffff_fffd)
}

/// The transactions that wait for a block.
#[derive(Clone, Debug, Default)]
pub struct Mempool {
    entries: HashMap<Txid, MempoolEntry>,
    spenders: HashMap<OutPoint, Txid>,
    order: BTreeMap<u64, Txid>,
    next_sequence: u64,
}

impl Mempool {
    /// How many transactions wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of a transaction.
    pub fn get(&self, txid: &Txid) -> Option<&MempoolEntry> {
        self.entries.get(txid)
    }

    /// Whether a transaction waits.
    pub fn contains(&self, txid: &Txid) -> bool {
        self.entries.contains_key(txid)
    }

    /// All entries, in the order of acceptance: parents before children.
    pub fn iter(&self) -> impl Iterator<Item = &MempoolEntry> {
        self.order
            .values()
            .filter_map(|txid| self.entries.get(txid))
    }

    /// The waiting transaction that spends an output.
    pub fn spender_of(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.spenders.get(outpoint).copied()
    }

    /// Waiting transactions that this one depends on, itself not included.
    pub fn ancestors(&self, txid: &Txid) -> BTreeSet<Txid> {
        let parents = self
            .entries
            .get(txid)
            .map(|entry| entry.parents.clone())
            .unwrap_or_default();
        self.closure(parents, |entry| &entry.parents)
    }

    /// Waiting transactions that depend on this one, itself not included.
    pub fn descendants(&self, txid: &Txid) -> BTreeSet<Txid> {
        let children = self
            .entries
            .get(txid)
            .map(|entry| entry.children.clone())
            .unwrap_or_default();
        self.closure(children, |entry| &entry.children)
    }

    /// `bip125-replaceable`: it or a waiting ancestor signals.
    pub fn is_bip125_replaceable(&self, txid: &Txid) -> bool {
        let signals = |txid: &Txid| {
            self.get(txid)
                .is_some_and(MempoolEntry::signals_replaceability)
        };
        signals(txid) || self.ancestors(txid).iter().any(signals)
    }

    /// Virtual bytes of all, not discounted: `bytes` of `getmempoolinfo`.
    pub fn total_vsize(&self) -> u64 {
        self.entries.values().map(|entry| entry.vsize).sum()
    }

    /// Fees of all, satoshi of the policy asset.
    pub fn total_fee(&self) -> u64 {
        self.entries.values().map(|entry| entry.fee).sum()
    }

    /// The next order of acceptance, `mempool_sequence` of `getrawmempool`.
    pub fn sequence(&self) -> u64 {
        self.next_sequence
    }

    /// An empty mempool whose order of acceptance goes on from `sequence`.
    pub(crate) fn starting_at(sequence: u64) -> Self {
        Mempool {
            next_sequence: sequence,
            ..Mempool::default()
        }
    }

    /// The entries, parents before children.
    pub(crate) fn into_entries(mut self) -> Vec<MempoolEntry> {
        let order = std::mem::take(&mut self.order);
        order
            .values()
            .filter_map(|txid| self.entries.remove(txid))
            .collect()
    }

    /// All that can be reached from `found` by `next`, `found` included.
    pub(crate) fn closure<'a>(
        &'a self,
        mut found: BTreeSet<Txid>,
        next: impl Fn(&'a MempoolEntry) -> &'a BTreeSet<Txid>,
    ) -> BTreeSet<Txid> {
        let mut open: Vec<Txid> = found.iter().copied().collect();
        while let Some(txid) = open.pop() {
            let Some(entry) = self.entries.get(&txid) else {
                continue;
            };
            open.extend(
                next(entry)
                    .iter()
                    .copied()
                    .filter(|near| found.insert(*near)),
            );
        }
        found
    }

    /// Adds an entry; its parents, children and sequence are filled in here. It must not conflict with one that waits.
    pub(crate) fn insert(&mut self, mut entry: MempoolEntry) {
        let txid = entry.txid;
        entry.sequence = self.next_sequence;
        self.next_sequence += 1;
        let spent = entry.tx.input.iter().map(|input| input.previous_output);
        entry.parents = spent
            .clone()
            .map(|out| out.txid)
            .filter(|parent| self.contains(parent))
            .collect();
        self.spenders.extend(spent.map(|out| (out, txid)));
        let outputs = 0..u32::try_from(entry.tx.output.len()).unwrap_or(u32::MAX);
        entry.children = outputs
            .filter_map(|vout| self.spender_of(&OutPoint::new(txid, vout)))
            .collect();
        for parent in &entry.parents {
            if let Some(parent) = self.entries.get_mut(parent) {
                parent.children.insert(txid);
            }
        }
        for child in &entry.children {
            if let Some(child) = self.entries.get_mut(child) {
                child.parents.insert(txid);
            }
        }
        self.order.insert(entry.sequence, txid);
        self.entries.insert(txid, entry);
    }

    /// Takes one entry out; those that depend on it stay.
    pub(crate) fn remove(&mut self, txid: &Txid) -> Option<MempoolEntry> {
        let entry = self.entries.remove(txid)?;
        self.order.remove(&entry.sequence);
        for input in &entry.tx.input {
            if self.spenders.get(&input.previous_output) == Some(txid) {
                self.spenders.remove(&input.previous_output);
            }
        }
        for parent in &entry.parents {
            if let Some(parent) = self.entries.get_mut(parent) {
                parent.children.remove(txid);
            }
        }
        for child in &entry.children {
            if let Some(child) = self.entries.get_mut(child) {
                child.parents.remove(txid);
            }
        }
        Some(entry)
    }
}
