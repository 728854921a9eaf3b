//! What the chain shows of a swap, looked up anew each time: nothing is remembered, so that a reorganisation changes the answer.

use elements::encode::deserialize;
use elements::hex::decode_to_vec;
use elements::{OutPoint, Script, Transaction};

use super::index::{HistoryItem, Index, IndexError};
use crate::swap::{
    ChainSpend, ChainState, Depth, FundingTx, Htlc, Spend, Swap, classify, liquid_outpoint,
    liquid_txid, neutral_txid,
};

/// What the index shows of the funding of `swap` and of its HTLC; `None` as long as no funding is signed.
///
/// # Errors
///
/// When the index does not answer, or answers with nonsense: nothing is known then.
pub async fn observe(index: &Index, swap: &Swap) -> Result<Option<ChainState>, IndexError> {
    let Some(funding) = &swap.funding else {
        return Ok(None);
    };
    let htlc = Htlc::of(&swap.terms);
    let history = index.history(&htlc.script_pubkey()).await?;
    let funded_by = liquid_txid(funding.txid);
    let own = history.iter().find(|item| item.txid == funded_by);
    let depth = own.map_or(Depth::Unseen, |item| item.depth);
    let others: Vec<HistoryItem> = history
        .iter()
        .copied()
        .filter(|item| item.txid != funded_by)
        .collect();
    let spend = spend(index, &htlc, funding, &others).await?;
    // A spend of it shows that nothing else spent its inputs.
    let conflicted =
        depth == Depth::Unseen && spend.is_none() && is_conflicted(index, funding).await?;
    Ok(Some(ChainState {
        outputs: Vec::new(),
        funding: depth,
        conflicted,
        spend,
    }))
}

/// The spend of the HTLC, of those in `others` the one that is in a block, and rather that of the asset than of the L-BTC.
async fn spend(
    index: &Index,
    htlc: &Htlc,
    funding: &FundingTx,
    others: &[HistoryItem],
) -> Result<Option<ChainSpend>, IndexError> {
    if others.is_empty() {
        return Ok(None);
    }
    let mut outputs = vec![liquid_outpoint(funding.outpoint())];
    outputs.extend(
        funding
            .fee_vout
            .map(|vout| OutPoint::new(liquid_txid(funding.txid), vout)),
    );
    let txids: Vec<_> = others.iter().map(|item| item.txid).collect();
    let transactions = index.transactions(&txids).await?;
    let mut spent = vec![false; outputs.len()];
    let mut found: Option<(u8, ChainSpend)> = None;
    for (item, transaction) in others.iter().zip(&transactions) {
        let is_in_block = matches!(item.depth, Depth::Block(_));
        for (at, output) in outputs.iter().enumerate() {
            let Some(kind) = classify(htlc, transaction, *output) else {
                continue;
            };
            spent[at] = true;
            let rank = rank(is_in_block, at == 0, kind);
            if found.as_ref().is_none_or(|(best, _)| rank > *best) {
                let spend = ChainSpend {
                    txid: neutral_txid(item.txid),
                    spend: kind,
                    depth: item.depth,
                    whole: false,
                };
                found = Some((rank, spend));
            }
        }
    }
    let whole = spent.iter().all(|spent| *spent);
    Ok(found.map(|(_, spend)| ChainSpend { whole, ..spend }))
}

/// Which of several spends is told.
fn rank(is_in_block: bool, is_asset: bool, kind: Spend) -> u8 {
    // With both in the mempool, the one that shows the preimage.
    let is_claim = matches!(kind, Spend::Claim(_));
    u8::from(is_in_block) * 4 + u8::from(is_asset) * 2 + u8::from(is_claim)
}

/// Whether a transaction in a block spends an input of the funding, which is neither in a block nor in the mempool.
async fn is_conflicted(index: &Index, funding: &FundingTx) -> Result<bool, IndexError> {
    let malformed = |why: String| IndexError::Malformed {
        method: "the stored funding".to_owned(),
        why,
    };
    let raw = decode_to_vec(&funding.raw).map_err(|error| malformed(error.to_string()))?;
    let transaction: Transaction =
        deserialize(&raw).map_err(|error| malformed(error.to_string()))?;
    for input in &transaction.input {
        let coin = input.previous_output;
        let source = match index.transaction(coin.txid).await {
            Ok(source) => source,
            // The coin is gone from the chain together with the funding: nobody spent it.
            Err(IndexError::Refused { .. }) => continue,
            Err(error) => return Err(error),
        };
        let Some(output) = source.output.get(coin.vout as usize) else {
            continue;
        };
        if is_spent_by_other(index, &output.script_pubkey, coin, funding).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn is_spent_by_other(
    index: &Index,
    script: &Script,
    coin: OutPoint,
    funding: &FundingTx,
) -> Result<bool, IndexError> {
    let history = index.history(script).await?;
    let funded_by = liquid_txid(funding.txid);
    let is_candidate = |item: &&HistoryItem| {
        matches!(item.depth, Depth::Block(_)) && item.txid != coin.txid && item.txid != funded_by
    };
    let txids: Vec<_> = history
        .iter()
        .filter(is_candidate)
        .map(|item| item.txid)
        .collect();
    let transactions = index.transactions(&txids).await?;
    Ok(transactions.iter().any(|transaction| {
        let mut inputs = transaction.input.iter();
        inputs.any(|input| input.previous_output == coin)
    }))
}
