//! What the chain and the seed tell of swaps when the store is lost.

use bitcoin::secp256k1::PublicKey;
use elements::{AssetId, Script, Transaction};
use swaprig_units::{Height, Sat, Units};

use super::ledger::{Ledger, Tagged};
use crate::swap::{Depth, FundingTx, neutral_txid};

/// A funding that was found again. With the keys and the preimage of `index`, it gives the terms of the HTLC; whoever
/// rebuilds them checks that they lead to `lock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// From which the swap's keys and preimage are derived.
    pub index: u32,
    /// The HTLC's timeout.
    pub timeout: Height,
    /// The buyer's key.
    pub claimer: PublicKey,
    /// What is locked.
    pub asset: AssetId,
    /// How much of it.
    pub amount: Units,
    /// L-BTC beside it, for the claim.
    pub fee_value: Sat,
    /// The script of the HTLC's outputs.
    pub lock: Script,
    /// The funding.
    pub funding: FundingTx,
    /// How deep it is.
    pub depth: Depth,
}

/// The fundings in `ledger`, the oldest first, those in the mempool last.
pub(super) fn fundings(ledger: &Ledger) -> Vec<Recovered> {
    let mut all: Vec<Recovered> = ledger
        .fundings()
        .filter_map(|(tagged, height)| read(tagged, height))
        .collect();
    all.sort_by_key(|one| {
        let height = match one.depth {
            Depth::Block(height) => height.0,
            Depth::Mempool | Depth::Unseen => u32::MAX,
        };
        (height, one.index, one.funding.txid)
    });
    all
}

/// `None` for a transaction that is not made as our fundings are.
fn read(tagged: &Tagged, height: Option<Height>) -> Option<Recovered> {
    let tag = &tagged.tag;
    let transaction: Transaction = elements::encode::deserialize(&tagged.transaction).ok()?;
    let locked = transaction.output.first()?;
    let second = transaction.output.get(1);
    let fee = second.filter(|output| output.script_pubkey == locked.script_pubkey);
    let fee_value = match fee {
        Some(output) => output.value.explicit()?,
        None => 0,
    };
    Some(Recovered {
        index: tag.index,
        timeout: tag.timeout,
        claimer: tag.claimer,
        asset: locked.asset.explicit()?,
        amount: Units(locked.value.explicit()?),
        fee_value: Sat(fee_value),
        lock: locked.script_pubkey.clone(),
        funding: FundingTx {
            txid: neutral_txid(transaction.txid()),
            vout: 0,
            fee_vout: fee.map(|_| 1),
            raw: elements::encode::serialize_hex(&transaction),
        },
        depth: height.map_or(Depth::Mempool, Depth::Block),
    })
}
