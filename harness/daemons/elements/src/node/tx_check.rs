//! Consensus rules about one transaction that need no signatures: its shape, its locks, its inputs' maturity, its amounts.

use std::collections::HashSet;

use elements::encode::VarInt;
use elements::{AssetId, Sequence, Transaction, TxOut};

use super::Coin;
use super::amounts::{self, AmountMap};
use super::params::{COINBASE_MATURITY, MAX_BLOCK_WEIGHT, MAX_MONEY};
use super::rejection::Rejection;

/// Below this a locktime is a height, from it on a time.
const LOCKTIME_THRESHOLD: u32 = 500_000_000;

/// Bytes of a transaction without its witnesses.
pub(crate) fn stripped_size(tx: &Transaction) -> u64 {
    // Every byte that is not a witness's weighs four, as all bytes count once in the size. A transaction whose witnesses
    // are all empty is sent without them.
    let (weight, size) = (tx.weight(), tx.size());
    (weight.saturating_sub(size) / 3) as u64
}

/// What can be said of a transaction alone (`CheckTransaction`).
pub(crate) fn shape(tx: &Transaction) -> Result<(), Rejection> {
    if tx.input.is_empty() {
        return Err(Rejection::new("bad-txns-vin-empty"));
    }
    if tx.output.is_empty() {
        return Err(Rejection::new("bad-txns-vout-empty"));
    }
    if tx
        .output
        .iter()
        .any(|output| output.asset.is_null() || output.value.is_null())
    {
        // elementsd cannot even read these.
        return Err(Rejection::new("bad-txns-vout-amount-invalid"));
    }
    if stripped_size(tx) * 4 > MAX_BLOCK_WEIGHT {
        return Err(Rejection::new("bad-txns-oversize"));
    }
    explicit_values(tx)?;
    let mut spent = HashSet::new();
    if !tx
        .input
        .iter()
        .all(|input| spent.insert(input.previous_output))
    {
        return Err(Rejection::new("bad-txns-inputs-duplicate"));
    }
    if tx.is_coinbase() {
        if !(2..=100).contains(&tx.input[0].script_sig.len()) {
            return Err(Rejection::new("bad-cb-length"));
        }
        if tx.output.iter().any(TxOut::is_fee) {
            return Err(Rejection::new("bad-cb-fee"));
        }
    } else if tx.input.iter().any(|input| input.previous_output.is_null()) {
        return Err(Rejection::new("bad-txns-prevout-null"));
    }
    Ok(())
}

fn explicit_values(tx: &Transaction) -> Result<(), Rejection> {
    let mut sum = 0_u64;
    for value in tx
        .output
        .iter()
        .filter_map(|output| output.value.explicit())
    {
        if i64::try_from(value).is_err() {
            return Err(Rejection::new("bad-txns-vout-negative"));
        }
        if value > MAX_MONEY {
            return Err(Rejection::new("bad-txns-vout-toolarge"));
        }
        // Whatever the asset.
        sum += value;
        if sum > MAX_MONEY {
            return Err(Rejection::new("bad-txns-txouttotal-toolarge"));
        }
    }
    Ok(())
}

/// Whether the locktime allows a transaction in a block at `height` whose parent's median time is `median_time`.
pub(crate) fn is_final(tx: &Transaction, height: u32, median_time: u32) -> bool {
    let lock = tx.lock_time.to_consensus_u32();
    let limit = if lock < LOCKTIME_THRESHOLD {
        height
    } else {
        median_time
    };
    lock == 0 || lock < limit || tx.input.iter().all(|input| input.sequence == Sequence::MAX)
}

/// Whether the relative locks of BIP 68 allow a transaction in a block at `height` whose parent's median time is
/// `median_time`. `coin_heights` are those of the spent coins; `median_time_at` gives the median time of the block at a
/// height of the same branch.
pub(crate) fn sequence_locks_allow(
    tx: &Transaction,
    coin_heights: &[u32],
    height: u32,
    median_time: u32,
    median_time_at: impl Fn(u32) -> u32,
) -> bool {
    const DISABLED: u32 = 1 << 31;
    const TIME: u32 = 1 << 22;
    if tx.version < 2 {
        return true;
    }
    tx.input
        .iter()
        .zip(coin_heights)
        .all(|(input, coin_height)| {
            let (sequence, coin_height) = (input.sequence.0, *coin_height);
            let lock = u64::from(sequence & 0xffff);
            if sequence & DISABLED != 0 {
                true
            } else if sequence & TIME != 0 {
                let since = u64::from(median_time_at(coin_height.saturating_sub(1)));
                since + (lock << 9) <= u64::from(median_time)
            } else {
                u64::from(coin_height) + lock <= u64::from(height)
            }
        })
}

/// Maturity, fees and amounts of a transaction with these spent coins in a block at `height` (`CheckTxInputs`). Answers
/// its fees. With `amounts_known` the proofs are not looked at again.
pub(crate) fn inputs(
    tx: &Transaction,
    coins: &[Coin],
    height: u32,
    policy_asset: AssetId,
    amounts_known: bool,
) -> Result<AmountMap, Rejection> {
    for coin in coins.iter().filter(|coin| coin.coinbase) {
        let depth = i64::from(height) - i64::from(coin.height);
        if depth < i64::from(COINBASE_MATURITY) {
            let details = format!("tried to spend coinbase at depth {depth}");
            return Err(Rejection::with(
                "bad-txns-premature-spend-of-coinbase",
                details,
            ));
        }
    }
    let fees = amounts::fees(tx).ok_or_else(|| Rejection::new("bad-txns-fee-outofrange"))?;
    if !amounts_known {
        let spent: Vec<TxOut> = coins.iter().map(|coin| coin.output.clone()).collect();
        amounts::verify(tx, &spent, policy_asset)?;
    }
    Ok(fees)
}

/// Peg-ins are not supported; their witness data on other inputs is against the rules.
pub(crate) fn no_pegins(tx: &Transaction) -> Result<(), Rejection> {
    for input in &tx.input {
        if input.is_pegin {
            return Err(Rejection::not_supported("a peg-in input"));
        }
        if !input.witness.pegin_witness.is_empty() {
            return Err(Rejection::new("extra-pegin-witness"));
        }
    }
    Ok(())
}

/// Bytes of an output as it stands in a transaction.
pub(crate) fn output_size(output: &TxOut) -> u64 {
    let script = output.script_pubkey.len();
    let size = output.asset.encoded_length()
        + output.value.encoded_length()
        + output.nonce.encoded_length()
        + VarInt(script as u64).size()
        + script;
    size as u64
}
