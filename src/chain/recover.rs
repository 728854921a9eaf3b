//! What the chain and the seed tell of swaps when the store is lost.

use bitcoin::ScriptBuf;
use elements::Transaction;
use swaprig_units::{Height, Sat, Units};

use super::ledger::{Ledger, Tagged};
use super::swap_chain::Recovered;
use crate::swap::{FundingTx, neutral_txid};

/// The fundings in `ledger`, the oldest first, those in the mempool last.
pub(super) fn fundings(ledger: &Ledger) -> Vec<Recovered> {
    let mut all: Vec<(Option<Height>, Recovered)> = ledger
        .fundings()
        .filter_map(|(tagged, height)| Some((height, read(tagged)?)))
        .collect();
    all.sort_by_key(|(height, one)| {
        let height = height.unwrap_or(Height(u32::MAX));
        (height, one.tag.index, one.funding.txid)
    });
    all.into_iter().map(|(_, one)| one).collect()
}

/// `None` for a transaction that is not made as our fundings are.
fn read(tagged: &Tagged) -> Option<Recovered> {
    let transaction: Transaction = elements::encode::deserialize(&tagged.transaction).ok()?;
    let locked = transaction.output.first()?;
    let second = transaction.output.get(1);
    let fee = second.filter(|output| output.script_pubkey == locked.script_pubkey);
    let fee_value = match fee {
        Some(output) => output.value.explicit()?,
        None => 0,
    };
    Some(Recovered {
        tag: tagged.tag,
        asset: locked.asset.explicit()?.into(),
        amount: Units(locked.value.explicit()?),
        fee_value: Sat(fee_value),
        script: ScriptBuf::from(locked.script_pubkey.to_bytes()),
        funding: FundingTx {
            txid: neutral_txid(transaction.txid()),
            vout: 0,
            fee_vout: fee.map(|_| 1),
            raw: elements::encode::serialize_hex(&transaction),
        },
    })
}
