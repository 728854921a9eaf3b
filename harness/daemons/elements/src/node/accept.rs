//! May a transaction enter the mempool? (`MemPoolAccept` of elementsd, in its order and its words.)

use std::collections::BTreeSet;
use std::sync::Arc;

use elements::{OutPoint, Transaction, TxOut, Txid};

use super::amounts;
use super::mempool::{Mempool, MempoolEntry, signals_replaceability};
use super::params::{MAX_BLOCK_SIGOPS_COST, MAX_MONEY};
use super::rejection::Rejection;
use super::script_kind::sigop_cost;
use super::{Coin, FeeRate, Node, replace, scripts, standard, tx_check};

/// Smaller transactions are not relayed (CVE-2017-12842), in bytes without witnesses.
const MIN_SIZE: u64 = 82;
const MAX_SIGOPS_COST: u64 = MAX_BLOCK_SIGOPS_COST / 5;
/// `-bytespersigop`.
const BYTES_PER_SIGOP: u64 = 20;
/// A child of a parent with as many descendants as are allowed may still come if it is this small (CPFP carve-out).
const CARVE_OUT_VSIZE: u64 = 10_000;

/// A transaction that may enter, and what it drives out.
pub(crate) struct Plan {
    pub(crate) entry: MempoolEntry,
    pub(crate) replaced: BTreeSet<Txid>,
}

/// What the fee is measured against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fees {
    /// The relay rate.
    Relay,
    /// Nothing: the transaction comes back from a block.
    Any,
}

/// The node's chain, with a mempool that may be another than the node's.
pub(crate) struct Judge<'a> {
    pub(crate) node: &'a Node,
    pub(crate) pool: &'a Mempool,
}

impl Judge<'_> {
    /// Everything that is asked of a transaction, scripts last.
    pub(crate) fn judge(&self, tx: &Arc<Transaction>, fees: Fees) -> Result<Plan, Rejection> {
        let node = self.node;
        self.alone(tx)?;
        let height = node.tip().height + 1;
        let median_time = node.median_time_at(node.tip().height);
        if !tx_check::is_final(tx, height, median_time) {
            return Err(Rejection::new("non-final"));
        }
        let (txid, wtxid) = (tx.txid(), tx.wtxid());
        if let Some(entry) = self.pool.get(&txid) {
            let same = entry.wtxid == wtxid;
            let reason = if same {
                "txn-already-in-mempool"
            } else {
                "txn-same-nonwitness-data-in-mempool"
            };
            return Err(Rejection::new(reason));
        }
        let conflicts = self.conflicts(tx)?;
        tx_check::no_pegins(tx)?;
        let coins = self.coins(tx, txid)?;
        let as_if_mined: Vec<u32> = coins.iter().map(|coin| coin.height.min(height)).collect();
        let median_time_at = |height| node.median_time_at(height);
        if !tx_check::sequence_locks_allow(tx, &as_if_mined, height, median_time, median_time_at) {
            return Err(Rejection::new("non-BIP68-final"));
        }
        let verified = node.verified.contains(&wtxid);
        let paid = tx_check::inputs(tx, &coins, height, node.policy_asset(), verified)?;
        if paid.values().any(|fee| *fee > MAX_MONEY) {
            return Err(Rejection::new("bad-block-total-fee-outofrange"));
        }
        let outputs: Vec<TxOut> = coins.iter().map(|coin| coin.output.clone()).collect();
        if !node.params.accept_non_std_txn {
            standard::issuance_proofs(tx)?;
            standard::inputs(tx, outputs.iter())?;
            standard::witnesses(tx, outputs.iter())?;
        }
        let fee = paid.get(&node.policy_asset()).copied().unwrap_or(0);
        let mut entry = self.entry(tx, sigop_cost(tx, outputs.iter()), fee);
        entry.spends_coinbase = coins.iter().any(|coin| coin.coinbase);
        if entry.sigop_cost > MAX_SIGOPS_COST {
            return Err(Rejection::with(
                "bad-txns-too-many-sigops",
                entry.sigop_cost,
            ));
        }
        if fees == Fees::Relay {
            self.fee_rate(&entry)?;
        }
        self.chain_limits(&entry, &conflicts)?;
        let replaced = replace::check(
            self.pool,
            &entry,
            &conflicts,
            node.params.incremental_relay_fee,
        )?;
        if !verified {
            scripts::in_mempool(tx, &outputs, node.genesis_hash())?;
        }
        Ok(Plan { entry, replaced })
    }

    /// What can be said without looking at the chain.
    fn alone(&self, tx: &Transaction) -> Result<(), Rejection> {
        tx_check::shape(tx)?;
        if tx.is_coinbase() {
            return Err(Rejection::new("coinbase"));
        }
        let (params, constants) = (&self.node.params, &self.node.constants);
        if !params.accept_non_std_txn {
            standard::transaction(tx, params, constants)?;
        }
        if !params.accept_unlimited_issuances {
            standard::issuances_in_range(tx)?;
        }
        match tx_check::stripped_size(tx) < MIN_SIZE {
            true => Err(Rejection::new("tx-size-small")),
            false => Ok(()),
        }
    }

    /// Waiting transactions that spend the same outputs. All must have said that they may be replaced.
    fn conflicts(&self, tx: &Transaction) -> Result<BTreeSet<Txid>, Rejection> {
        let spenders = tx
            .input
            .iter()
            .filter_map(|input| self.pool.spender_of(&input.previous_output));
        let conflicts: BTreeSet<Txid> = spenders.collect();
        let replaceable = |txid| {
            self.pool
                .get(txid)
                .is_some_and(|entry| signals_replaceability(&entry.tx))
        };
        match conflicts.iter().all(replaceable) {
            true => Ok(conflicts),
            false => Err(Rejection::new("txn-mempool-conflict")),
        }
    }

    /// The coins that a transaction spends, of the chain or of the mempool.
    fn coins(&self, tx: &Transaction, txid: Txid) -> Result<Vec<Coin>, Rejection> {
        let coins = tx
            .input
            .iter()
            .map(|input| self.coin(&input.previous_output));
        match coins.collect::<Option<Vec<_>>>() {
            Some(coins) => Ok(coins),
            None if self.node.has_coin_of(tx, txid) => Err(Rejection::new("txn-already-known")),
            None => Err(Rejection::missing_inputs()),
        }
    }

    fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        self.pool
            .coin(outpoint)
            .or_else(|| self.node.coin(outpoint).cloned())
    }

    fn entry(&self, tx: &Arc<Transaction>, sigop_cost: u64, fee: u64) -> MempoolEntry {
        let by_sigops = sigop_cost * BYTES_PER_SIGOP;
        let weight = tx.weight() as u64;
        let vsize = weight.max(by_sigops).div_ceil(4);
        // Elements takes the discount off whichever is greater.
        let discount = weight.saturating_sub(tx.discount_weight() as u64);
        let discounted = weight
            .max(by_sigops)
            .saturating_sub(discount)
            .div_ceil(4)
            .max(1);
        MempoolEntry {
            txid: tx.txid(),
            wtxid: tx.wtxid(),
            tx: Arc::clone(tx),
            time: self.node.now(),
            height: self.node.tip().height,
            fee,
            vsize,
            discount_vsize: if self.node.params.accept_discount_ct {
                discounted
            } else {
                vsize
            },
            weight,
            sigop_cost,
            spends_coinbase: false,
            sequence: 0,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
        }
    }

    fn fee_rate(&self, entry: &MempoolEntry) -> Result<(), Rejection> {
        let params = &self.node.params;
        // Relay measures the discount without sigops.
        let size = match params.accept_discount_ct {
            true => entry.tx.discount_vsize() as u64,
            false => entry.vsize,
        };
        let wanted = params.min_relay_fee.fee(size);
        match entry.fee < wanted {
            true => Err(Rejection::with(
                "min relay fee not met",
                format!("{} < {wanted}", entry.fee),
            )),
            false => Ok(()),
        }
    }

    /// How many waiting transactions may hang together.
    fn chain_limits(
        &self,
        entry: &MempoolEntry,
        conflicts: &BTreeSet<Txid>,
    ) -> Result<(), Rejection> {
        let params = &self.node.params;
        let mut limits = Limits {
            ancestors: params.limit_ancestor_count,
            ancestor_vsize: params.limit_ancestor_size,
            descendants: params.limit_descendant_count,
            descendant_vsize: params.limit_descendant_size,
        };
        if let (1, Some(conflict)) = (conflicts.len(), conflicts.first()) {
            // A replacement takes the place of what it replaces.
            limits.descendants += 1;
            limits.descendant_vsize += self.pool.vsize_with_descendants(conflict);
        }
        let ancestors = match self.pool.ancestors_within(entry, limits) {
            Ok(ancestors) => ancestors,
            Err(error) => {
                let carve_out = Limits {
                    ancestors: 2,
                    descendants: limits.descendants + 1,
                    descendant_vsize: limits.descendant_vsize + CARVE_OUT_VSIZE,
                    ..limits
                };
                let small = entry.vsize <= CARVE_OUT_VSIZE;
                match self.pool.ancestors_within(entry, carve_out) {
                    Ok(ancestors) if small => ancestors,
                    _ => return Err(Rejection::with("too-long-mempool-chain", error)),
                }
            }
        };
        match ancestors.intersection(conflicts).next() {
            Some(conflict) => {
                let details = format!("{} spends conflicting transaction {conflict}", entry.txid);
                Err(Rejection::with("bad-txns-spends-conflicting-tx", details))
            }
            None => Ok(()),
        }
    }
}

/// How many waiting transactions may hang together, and how large they may be.
#[derive(Clone, Copy)]
struct Limits {
    ancestors: u64,
    ancestor_vsize: u64,
    descendants: u64,
    descendant_vsize: u64,
}

impl Mempool {
    /// An output of a waiting transaction, spent or not. Those that nobody can ever spend are none: elementsd has them as
    /// coins until they are mined, and then fails to mine what spends them.
    pub(crate) fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        let output = self
            .get(&outpoint.txid)?
            .tx
            .output
            .get(outpoint.vout as usize)?;
        if amounts::is_unspendable(&output.script_pubkey) {
            return None;
        }
        let output = TxOut {
            witness: elements::TxOutWitness::default(),
            ..output.clone()
        };
        Some(Coin {
            output,
            height: Coin::MEMPOOL_HEIGHT,
            coinbase: false,
        })
    }

    fn vsize_with_descendants(&self, txid: &Txid) -> u64 {
        self.vsize_of(&self.descendants(txid)) + self.get(txid).map_or(0, |entry| entry.vsize)
    }

    fn vsize_of(&self, txids: &BTreeSet<Txid>) -> u64 {
        txids
            .iter()
            .filter_map(|txid| self.get(txid))
            .map(|entry| entry.vsize)
            .sum()
    }

    /// The ancestors that a new entry would have, if the limits allow it. Walks as elementsd does, so that of several
    /// limits the same one is named.
    fn ancestors_within(
        &self,
        entry: &MempoolEntry,
        limits: Limits,
    ) -> Result<BTreeSet<Txid>, String> {
        let mut staged = BTreeSet::new();
        for input in &entry.tx.input {
            let parent = input.previous_output.txid;
            if self.contains(&parent) {
                staged.insert(parent);
            }
            if staged.len() as u64 + 1 > limits.ancestors {
                let limit = limits.ancestors;
                return Err(format!("too many unconfirmed parents [limit: {limit}]"));
            }
        }
        let mut ancestors = BTreeSet::new();
        let mut vsize = entry.vsize;
        while let Some(stage) = staged.pop_first() {
            ancestors.insert(stage);
            let Some(ancestor) = self.get(&stage) else {
                continue;
            };
            vsize += ancestor.vsize;
            let descendants = self.descendants(&stage);
            let with_descendants = ancestor.vsize + self.vsize_of(&descendants) + entry.vsize;
            if with_descendants > limits.descendant_vsize {
                let limit = limits.descendant_vsize;
                return Err(format!(
                    "exceeds descendant size limit for tx {stage} [limit: {limit}]"
                ));
            }
            // The ancestor itself and the new entry count too.
            if descendants.len() as u64 + 2 > limits.descendants {
                let limit = limits.descendants;
                return Err(format!(
                    "too many descendants for tx {stage} [limit: {limit}]"
                ));
            }
            if vsize > limits.ancestor_vsize {
                let limit = limits.ancestor_vsize;
                return Err(format!("exceeds ancestor size limit [limit: {limit}]"));
            }
            for parent in ancestor
                .parents
                .difference(&ancestors)
                .copied()
                .collect::<Vec<_>>()
            {
                staged.insert(parent);
                if (staged.len() + ancestors.len()) as u64 + 1 > limits.ancestors {
                    let limit = limits.ancestors;
                    return Err(format!("too many unconfirmed ancestors [limit: {limit}]"));
                }
            }
        }
        Ok(ancestors)
    }
}

/// Whether a fee is above what its sender would pay at most for so many virtual bytes, not discounted. A rate of zero is
/// no limit.
pub(crate) fn fee_is_too_high(fee: u64, vsize: u64, max_fee_rate: Option<FeeRate>) -> bool {
    let max = max_fee_rate.map_or(0, |rate| rate.fee(vsize));
    max > 0 && fee > max
}
