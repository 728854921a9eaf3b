//! Making blocks: which waiting transactions go in, the coinbase, the header.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use elements::confidential::{Asset, Nonce, Value};
use elements::encode::serialize;
use elements::opcodes::all::OP_RETURN;
use elements::script::Builder;
use elements::{
    AssetId, AssetIssuance, Block, BlockHash, BlockHeader, LockTime, OutPoint, Script, Sequence,
    Transaction, TxIn, TxInWitness, TxMerkleNode, TxOut, TxOutWitness, Txid, Witness,
};

use super::block_check::{COMMITMENT_PREFIX, height_push, subsidy};
use super::mempool::{Mempool, MempoolEntry};
use super::merkle::{merkle_root, witness_commitment, witness_merkle_root};
use super::params::{MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT, Params};
use super::rejection::Rejection;
use super::stored_block::StoredBlock;
use super::{Node, headers, tx_check};

/// Weight and sigops kept for header and coinbase.
const RESERVED_WEIGHT: u64 = 4_000;
const RESERVED_SIGOPS: u64 = 400;
/// Packages that do not fit before the search ends.
const MAX_FAILURES: u32 = 1_000;

/// The place of a new block.
struct Place {
    parent: BlockHash,
    height: u32,
    median_time: u32,
}

impl Node {
    fn place_on(&self, parent: &BlockHash) -> Result<Place, Rejection> {
        let block = self
            .block(parent)
            .ok_or_else(|| Rejection::new("prev-blk-not-found"))?;
        let height = block
            .height()
            .checked_add(1)
            .ok_or_else(|| Rejection::new("bad-header-height"))?;
        Ok(Place {
            parent: *parent,
            height,
            median_time: block.median_time_past(),
        })
    }

    /// One block on the tip with what waits in the mempool, connected.
    pub(crate) fn mine(&mut self, script: &Script) -> Result<BlockHash, Rejection> {
        let place = self.place_on(&self.tip().hash)?;
        let reserved =
            4 * serialize(&headers::current_params(&self.dynafed, place.height)).len() as u64;
        let chosen = Selection::new(&self.mempool, &self.params, RESERVED_WEIGHT + reserved + 74)
            .choose(&place, &self.mempool);
        let fees = chosen
            .iter()
            .filter_map(|txid| self.mempool.get(txid))
            .map(|entry| entry.fee)
            .sum();
        let transactions = chosen.iter().filter_map(|txid| self.mempool.get(txid));
        let transactions = transactions.map(|entry| Arc::clone(&entry.tx)).collect();
        self.add(&place, script, fees, transactions)
    }

    /// One block with these transactions on any block; nobody gets their fees.
    pub(crate) fn mine_exactly(
        &mut self,
        parent: &BlockHash,
        script: &Script,
        txs: Vec<Transaction>,
    ) -> Result<BlockHash, Rejection> {
        let place = self.place_on(parent)?;
        self.add(&place, script, 0, txs.into_iter().map(Arc::new).collect())
    }

    /// Makes a block, checks it, keeps it, and switches to it if it is the best. A block on the tip that is wrong leaves
    /// no trace, as with elementsd.
    fn add(
        &mut self,
        place: &Place,
        script: &Script,
        fees: u64,
        transactions: Vec<Arc<Transaction>>,
    ) -> Result<BlockHash, Rejection> {
        let block = self.assemble(place, script, fees, &transactions);
        self.check_without_coins(&block)?;
        let hash = block.hash;
        if place.parent == self.tip().hash {
            let changes = self.changes_on_tip(&block)?.finish();
            self.keep(block);
            self.join(hash, changes);
            return Ok(hash);
        }
        self.keep(block);
        match self.consider(hash).into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(hash),
        }
    }

    fn assemble(
        &self,
        place: &Place,
        script: &Script,
        fees: u64,
        transactions: &[Arc<Transaction>],
    ) -> StoredBlock {
        let reward = fees.saturating_add(subsidy(&self.params, place.height));
        let time = self.now().max(u64::from(place.median_time) + 1);
        let time = u32::try_from(time).unwrap_or(u32::MAX);
        // The same block twice would be no new block; then the number in the coinbase grows.
        let mut nonce = 1;
        loop {
            let mut coinbase = coinbase(place.height, nonce, self.policy_asset(), reward, script);
            commit_to_witnesses(&mut coinbase, transactions, self.policy_asset());
            let coinbase = Arc::new(coinbase);
            let all: Vec<_> = std::iter::once(&coinbase)
                .chain(transactions)
                .cloned()
                .collect();
            let txids: Vec<Txid> = all.iter().map(|tx| tx.txid()).collect();
            let leaves: Vec<_> = txids.iter().map(|txid| txid.to_byte_array()).collect();
            let header = BlockHeader {
                version: headers::version(place.height),
                prev_blockhash: place.parent,
                merkle_root: TxMerkleNode::from_byte_array(merkle_root(&leaves).0),
                time,
                height: place.height,
                ext: headers::signed(&self.dynafed, place.height),
            };
            let block = self.prepare_shared(header, all, txids);
            if self.block(&block.hash).is_none() {
                return block;
            }
            nonce += 1;
        }
    }

    /// A block in its consensus form, as [`Node::prepare_shared`].
    pub(crate) fn prepare(&self, block: Block) -> StoredBlock {
        let txids = block.txdata.iter().map(Transaction::txid).collect();
        let transactions = block.txdata.into_iter().map(Arc::new).collect();
        self.prepare_shared(block.header, transactions, txids)
    }
}

/// The coinbase, without commitment. Nothing is paid to nobody: zero goes to `OP_RETURN`.
fn coinbase(height: u32, nonce: i64, asset: AssetId, reward: u64, script: &Script) -> Transaction {
    let mut script_sig = height_push(height);
    // Always as a push of bytes, also where an opcode would do.
    script_sig.extend(
        Builder::new()
            .push_scriptint(nonce)
            .into_script()
            .into_bytes(),
    );
    let nobody = || Builder::new().push_opcode(OP_RETURN).into_script();
    let input = TxIn {
        previous_output: OutPoint::null(),
        is_pegin: false,
        script_sig: Script::from(script_sig),
        sequence: Sequence::MAX,
        asset_issuance: AssetIssuance::null(),
        witness: TxInWitness {
            script_witness: Witness::from(vec![vec![0; 32]]),
            ..TxInWitness::default()
        },
    };
    let output = explicit(
        asset,
        reward,
        if reward == 0 {
            nobody()
        } else {
            script.clone()
        },
    );
    Transaction {
        version: 2,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![output],
    }
}

fn explicit(asset: AssetId, value: u64, script_pubkey: Script) -> TxOut {
    TxOut {
        asset: Asset::Explicit(asset),
        value: Value::Explicit(value),
        nonce: Nonce::Null,
        script_pubkey,
        witness: TxOutWitness::default(),
    }
}

/// Adds the output that commits to all witnesses. It is there when the root is computed, for outputs have witnesses too.
fn commit_to_witnesses(
    coinbase: &mut Transaction,
    transactions: &[Arc<Transaction>],
    asset: AssetId,
) {
    coinbase.output.push(explicit(asset, 0, Script::new()));
    let all = std::iter::once(&*coinbase).chain(transactions.iter().map(|tx| &**tx));
    let commitment = witness_commitment(witness_merkle_root(all), &[0; 32]);
    if let Some(output) = coinbase.output.last_mut() {
        output.script_pubkey = Script::from([&COMMITMENT_PREFIX[..], &commitment].concat());
    }
}

/// A transaction with the ancestors that are not in the block yet.
#[derive(Clone, Copy, Default)]
struct Package {
    fee: u64,
    vsize: u64,
    discount_vsize: u64,
    sigop_cost: u64,
}

impl Package {
    fn add(&mut self, entry: &MempoolEntry) {
        self.fee += entry.fee;
        self.vsize += entry.vsize;
        self.discount_vsize += entry.discount_vsize;
        self.sigop_cost += entry.sigop_cost;
    }
}

/// How much a package is wanted: the lower of its own rate and the one with its ancestors, of discounted bytes.
#[derive(PartialEq, Eq)]
struct Score {
    fee: u64,
    size: u64,
    txid: Txid,
    /// A package whose ancestors went in since has a newer one.
    version: u32,
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        let rate = |a: &Score, b: &Score| u128::from(a.fee) * u128::from(b.size);
        rate(self, other)
            .cmp(&rate(other, self))
            .then_with(|| other.txid.cmp(&self.txid))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Choosing transactions by the fee rate of packages, the best first.
struct Selection<'a> {
    params: &'a Params,
    packages: HashMap<Txid, (Package, u32)>,
    heap: BinaryHeap<Score>,
    weight: u64,
    sigop_cost: u64,
    inside: HashSet<Txid>,
}

impl<'a> Selection<'a> {
    fn new(pool: &Mempool, params: &'a Params, weight: u64) -> Self {
        let mut selection = Selection {
            params,
            packages: HashMap::new(),
            heap: BinaryHeap::new(),
            weight,
            sigop_cost: RESERVED_SIGOPS,
            inside: HashSet::new(),
        };
        pool.iter().for_each(|entry| selection.update(pool, entry));
        selection
    }

    /// Computes a transaction's package anew.
    fn update(&mut self, pool: &Mempool, entry: &MempoolEntry) {
        let mut package = Package::default();
        package.add(entry);
        let outside = |txid: &Txid| !self.inside.contains(txid);
        for ancestor in pool
            .ancestors(&entry.txid)
            .iter()
            .filter(|txid| outside(txid))
        {
            if let Some(ancestor) = pool.get(ancestor) {
                package.add(ancestor);
            }
        }
        let version = self
            .packages
            .get(&entry.txid)
            .map_or(0, |(_, version)| version + 1);
        self.packages.insert(entry.txid, (package, version));
        let alone = (entry.fee, entry.discount_vsize);
        let together = (package.fee, package.discount_vsize);
        let rate = |a: (u64, u64), b: (u64, u64)| u128::from(a.0) * u128::from(b.1);
        let (fee, size) = if rate(alone, together) > rate(together, alone) {
            together
        } else {
            alone
        };
        self.heap.push(Score {
            fee,
            size,
            txid: entry.txid,
            version,
        });
    }

    /// The chosen transactions, parents before children.
    fn choose(mut self, place: &Place, pool: &Mempool) -> Vec<Txid> {
        let mut chosen = Vec::new();
        let mut failures = 0;
        while let Some(score) = self.heap.pop() {
            let Some((package, version)) = self.packages.get(&score.txid).copied() else {
                continue;
            };
            if version != score.version || self.inside.contains(&score.txid) {
                continue;
            }
            // Everything else pays less.
            let min = self.params.block_min_fee;
            if package.fee < min.fee(package.discount_vsize) {
                break;
            }
            let fits = self.weight + 4 * package.vsize < MAX_BLOCK_WEIGHT - 4_000
                && self.sigop_cost + package.sigop_cost < MAX_BLOCK_SIGOPS_COST;
            if !fits {
                failures += 1;
                if failures > MAX_FAILURES {
                    break;
                }
                continue;
            }
            let mut members: BTreeSet<Txid> = pool.ancestors(&score.txid);
            members.insert(score.txid);
            members.retain(|txid| !self.inside.contains(txid));
            let mut entries: Vec<_> = members.iter().filter_map(|txid| pool.get(txid)).collect();
            if !entries
                .iter()
                .all(|entry| tx_check::is_final(&entry.tx, place.height, place.median_time))
            {
                continue;
            }
            entries.sort_by_key(|entry| entry.sequence);
            self.take(pool, &entries);
            chosen.extend(entries.iter().map(|entry| entry.txid));
        }
        chosen
    }

    fn take(&mut self, pool: &Mempool, entries: &[&MempoolEntry]) {
        for entry in entries {
            self.weight += entry.weight;
            self.sigop_cost += entry.sigop_cost;
            self.inside.insert(entry.txid);
        }
        let descendants: BTreeSet<Txid> = entries
            .iter()
            .flat_map(|entry| pool.descendants(&entry.txid))
            .collect();
        for txid in descendants
            .iter()
            .filter(|txid| !self.inside.contains(*txid))
            .copied()
            .collect::<Vec<_>>()
        {
            if let Some(entry) = pool.get(&txid) {
                self.update(pool, entry);
            }
        }
    }
}
