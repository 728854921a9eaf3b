//! Consensus rules about blocks: alone, in their place, and against the coins.

use std::sync::Arc;

use elements::{Script, Transaction, TxOut, Witness, Wtxid};

use super::amounts::{self, AmountMap};
use super::coins::{Changes, CoinSet};
use super::merkle::{merkle_root, witness_commitment, witness_merkle_root};
use super::params::{MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT, Params};
use super::rejection::Rejection;
use super::script_kind::{legacy_sigops, sigop_cost};
use super::stored_block::StoredBlock;
use super::{ChainConstants, Coin, scripts, tx_check};

/// `OP_RETURN`, a push of 36 bytes, and the mark of a witness commitment.
pub(crate) const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
/// Blocks between two halvings of the subsidy.
const HALVING_INTERVAL: u32 = 150;

/// What can be said of a block alone (`CheckBlock`), but for its header.
pub(crate) fn alone(block: &StoredBlock) -> Result<(), Rejection> {
    let txids: Vec<_> = block
        .txids
        .iter()
        .map(|txid| txid.to_byte_array())
        .collect();
    let (root, mutated) = merkle_root(&txids);
    if block.header.merkle_root.to_byte_array() != root {
        return Err(Rejection::with(
            "bad-txnmrklroot",
            "hashMerkleRoot mismatch",
        ));
    }
    if mutated {
        return Err(Rejection::with(
            "bad-txns-duplicate",
            "duplicate transaction",
        ));
    }
    if block.transactions.is_empty() || block.stripped_size() as u64 * 4 > MAX_BLOCK_WEIGHT {
        return Err(Rejection::with("bad-blk-length", "size limits failed"));
    }
    let coinbases = block.transactions.iter().map(|tx| tx.is_coinbase());
    if !block.transactions[0].is_coinbase() {
        return Err(Rejection::with(
            "bad-cb-missing",
            "first tx is not coinbase",
        ));
    }
    if coinbases.skip(1).any(|coinbase| coinbase) {
        return Err(Rejection::with("bad-cb-multiple", "more than one coinbase"));
    }
    for (tx, txid) in block.transactions.iter().zip(&block.txids) {
        tx_check::shape(tx).map_err(|error| {
            Rejection::with(
                error.reason,
                format!("Transaction check failed (tx hash {txid}) "),
            )
        })?;
    }
    let sigops: u64 = block.transactions.iter().map(|tx| legacy_sigops(tx)).sum();
    match sigops * 4 > MAX_BLOCK_SIGOPS_COST {
        true => Err(Rejection::with(
            "bad-blk-sigops",
            "out-of-bounds SigOpCount",
        )),
        false => Ok(()),
    }
}

/// What can be said of a block on its parent, without coins (`ContextualCheckBlock`). `median_time` is the parent's.
pub(crate) fn in_place(block: &StoredBlock, median_time: u32) -> Result<(), Rejection> {
    let height = block.height();
    if !block
        .transactions
        .iter()
        .all(|tx| tx_check::is_final(tx, height, median_time))
    {
        return Err(Rejection::with(
            "bad-txns-nonfinal",
            "non-final transaction",
        ));
    }
    let coinbase = &block.transactions[0];
    if !coinbase.input[0]
        .script_sig
        .as_bytes()
        .starts_with(&height_push(height))
    {
        return Err(Rejection::with(
            "bad-cb-height",
            "block height mismatch in coinbase",
        ));
    }
    let witness = &coinbase.input[0].witness;
    let extra = [
        witness.amount_rangeproof.is_empty(),
        witness.inflation_keys_rangeproof.is_empty(),
    ];
    if extra.contains(&false) || !witness.pegin_witness.is_empty() {
        return Err(Rejection::with(
            "bad-cb-witness",
            "Coinbase has invalid input witness data.",
        ));
    }
    match commitment(coinbase) {
        Some(output) => {
            let items: Vec<&[u8]> = witness.script_witness.iter().collect();
            let [reserved] = items[..] else {
                return Err(bad_nonce());
            };
            if reserved.len() != 32 {
                return Err(bad_nonce());
            }
            let root = witness_merkle_root(block.transactions.iter().map(|tx| &**tx));
            if output.script_pubkey.as_bytes()[6..38] != witness_commitment(root, reserved) {
                let details = "ContextualCheckBlock : witness merkle commitment mismatch";
                return Err(Rejection::with("bad-witness-merkle-match", details));
            }
        }
        None if block.transactions.iter().any(|tx| tx.has_witness()) => {
            let details = "ContextualCheckBlock : unexpected witness data found";
            return Err(Rejection::with("unexpected-witness", details));
        }
        None => {}
    }
    match block.weight() as u64 > MAX_BLOCK_WEIGHT {
        true => Err(Rejection::with(
            "bad-blk-weight",
            "ContextualCheckBlock : weight limit failed",
        )),
        false => Ok(()),
    }
}

/// The output of a coinbase that commits to witnesses.
fn commitment(coinbase: &Transaction) -> Option<&TxOut> {
    let is_commitment =
        |script: &Script| script.len() >= 38 && script.as_bytes().starts_with(&COMMITMENT_PREFIX);
    let mut outputs = coinbase.output.iter().rev();
    outputs.find(|output| is_commitment(&output.script_pubkey))
}

/// Gives a coinbase that commits to witnesses and has none itself the usual one, as elementsd does with blocks that are
/// submitted (`UpdateUncommittedBlockStructures`).
pub(crate) fn complete(coinbase: &mut Transaction) {
    if commitment(coinbase).is_some()
        && !coinbase.has_witness()
        && let Some(input) = coinbase.input.first_mut()
    {
        input.witness.script_witness = Witness::from(vec![vec![0; 32]]);
    }
}

fn bad_nonce() -> Rejection {
    Rejection::with(
        "bad-witness-nonce-size",
        "ContextualCheckBlock : invalid witness reserved value size",
    )
}

/// A height as the beginning of a coinbase's scriptSig.
pub(crate) fn height_push(height: u32) -> Vec<u8> {
    elements::script::Builder::new()
        .push_int(i64::from(height))
        .into_script()
        .into_bytes()
}

/// The subsidy of a block, satoshi of the policy asset.
pub(crate) fn subsidy(params: &Params, height: u32) -> u64 {
    params
        .con_block_subsidy
        .checked_shr(height / HALVING_INTERVAL)
        .unwrap_or(0)
}

/// The main chain below a block that is to be connected.
pub(crate) struct Below<'a, 'f> {
    pub(crate) params: &'a Params,
    pub(crate) constants: &'a ChainConstants,
    pub(crate) coins: &'a CoinSet,
    /// The parent's median time.
    pub(crate) median_time: u32,
    /// The median time of the main chain's block at a height.
    pub(crate) median_time_at: &'f dyn Fn(u32) -> u32,
    /// Whether a transaction's scripts and amounts were found right before.
    pub(crate) is_verified: &'f dyn Fn(&Wtxid) -> bool,
}

/// Checks a block against the coins (`ConnectBlock`) and answers what it changes.
pub(crate) fn connect<'a>(
    block: &StoredBlock,
    below: &Below<'a, '_>,
) -> Result<Changes<'a>, Rejection> {
    let mut changes = Changes::new(below.coins);
    let mut reward = AmountMap::new();
    let mut sigops = 0;
    for (tx, txid) in block.transactions.iter().zip(&block.txids) {
        let coins = spent(tx, &changes)?;
        if !tx.is_coinbase() {
            let verified = (below.is_verified)(&tx.wtxid());
            let fees = transaction(tx, &coins, block.height(), below, verified)?;
            for (asset, fee) in fees {
                if !amounts::add(&mut reward, asset, fee) {
                    return Err(Rejection::new("bad-txns-accumulated-fee-outofrange"));
                }
            }
        }
        sigops += sigop_cost(tx, coins.iter().map(|coin| &coin.output));
        if sigops > MAX_BLOCK_SIGOPS_COST {
            return Err(Rejection::new("bad-blk-sigops"));
        }
        changes.apply(tx, *txid, block.height());
    }
    if !amounts::add(
        &mut reward,
        below.constants.policy_asset,
        subsidy(below.params, block.height()),
    ) {
        return Err(Rejection::new("bad-blockreward-outofrange"));
    }
    match amounts::coinbase_fits(&block.transactions[0], &reward) {
        true => Ok(changes),
        false => Err(Rejection::new("bad-cb-amount")),
    }
}

/// The coins that a transaction spends; none for a coinbase.
fn spent(tx: &Transaction, changes: &Changes<'_>) -> Result<Vec<Coin>, Rejection> {
    if tx.is_coinbase() {
        return Ok(Vec::new());
    }
    tx_check::no_pegins(tx)?;
    let coins = tx
        .input
        .iter()
        .map(|input| changes.get(&input.previous_output).cloned());
    coins.collect::<Option<_>>().ok_or_else(|| {
        Rejection::with(
            "bad-txns-inputs-missingorspent",
            "CheckTxInputs: inputs missing/spent",
        )
    })
}

fn transaction(
    tx: &Arc<Transaction>,
    coins: &[Coin],
    height: u32,
    below: &Below<'_, '_>,
    verified: bool,
) -> Result<AmountMap, Rejection> {
    let fees = tx_check::inputs(tx, coins, height, below.constants.policy_asset, verified)?;
    let heights: Vec<u32> = coins.iter().map(|coin| coin.height).collect();
    if !tx_check::sequence_locks_allow(
        tx,
        &heights,
        height,
        below.median_time,
        below.median_time_at,
    ) {
        return Err(Rejection::new("bad-txns-nonfinal"));
    }
    if !verified {
        let outputs: Vec<TxOut> = coins.iter().map(|coin| coin.output.clone()).collect();
        scripts::in_block(tx, &outputs, below.constants.genesis_hash)?;
    }
    Ok(fees)
}
