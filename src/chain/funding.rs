//! The transaction that locks what is sold.

use elements::confidential::{Asset, Nonce, Value};
use elements::encode::serialize_hex;
use elements::{AssetId, LockTime, Script, Sequence, Transaction, TxIn, TxOut, TxOutWitness};
use swaprig_units::Sat;

use super::coins::{Coin, Selection};
use crate::swap::{FundingTx, Terms, expected_outputs, neutral_txid, tag_output};

/// The transaction that funds the HTLC of `terms` from the coins of `selection`, not signed yet.
/// The HTLC comes first, then its L-BTC for the claim, the tag, the change and the fee.
pub(super) fn unsigned(
    selection: &Selection,
    terms: &Terms,
    index: u32,
    change: &Script,
    policy_asset: AssetId,
) -> Transaction {
    let mut outputs = expected_outputs(terms, policy_asset);
    outputs.push(tag_output(index, terms, policy_asset));
    for (asset, value) in &selection.change {
        outputs.push(explicit(*asset, value.0, change.clone()));
    }
    outputs.push(explicit(policy_asset, selection.fee.0, Script::new()));
    spend(&selection.coins, outputs)
}

/// A transaction from `coins` to `outputs`, without signatures.
pub(super) fn spend(coins: &[Coin], outputs: Vec<TxOut>) -> Transaction {
    let input = |coin: &Coin| TxIn {
        previous_output: coin.outpoint,
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    Transaction {
        version: 2,
        lock_time: LockTime::ZERO,
        input: coins.iter().map(input).collect(),
        output: outputs,
    }
}

/// An output that everybody can read; the fee when `script` is empty.
pub(super) fn explicit(asset: AssetId, value: u64, script: Script) -> TxOut {
    TxOut {
        asset: Asset::Explicit(asset),
        value: Value::Explicit(value),
        nonce: Nonce::Null,
        script_pubkey: script,
        witness: TxOutWitness::default(),
    }
}

/// What is stored of a funding.
pub(super) fn described(transaction: &Transaction, terms: &Terms) -> FundingTx {
    FundingTx {
        txid: neutral_txid(transaction.txid()),
        vout: 0,
        fee_vout: (terms.fee_value != Sat(0)).then_some(1),
        raw: serialize_hex(transaction),
    }
}
