//! Choosing coins of one asset.

use elements::{AssetId, OutPoint};

use super::coins::Wallet;
use crate::node::{Mempool, Params};

/// Inputs that one transaction may have: more would make it too heavy to be relayed.
const MAX_INPUTS: usize = 1_400;

/// Coins worth at least `target` of an asset, none of them in `taken`: one coin in a block if there is one that is
/// enough, otherwise few large ones, and waiting change last. None if there is not enough.
pub(super) fn select(
    wallet: &Wallet,
    mempool: &Mempool,
    params: &Params,
    asset: AssetId,
    target: u64,
    taken: &[OutPoint],
) -> Option<Vec<(u64, OutPoint)>> {
    if target == 0 {
        return Some(Vec::new());
    }
    let one = wallet.smallest_above(asset, target);
    if let Some(coin) = one.filter(|(_, outpoint)| !taken.contains(outpoint)) {
        return Some(vec![coin]);
    }
    // Change that waits behind too many others would be refused.
    let can_follow = |outpoint: &OutPoint| {
        let txid = &outpoint.txid;
        let ancestors = mempool.ancestors(txid).len() as u64 + 2;
        let fits =
            |txid| mempool.descendants(txid).len() as u64 + 2 <= params.limit_descendant_count;
        ancestors <= params.limit_ancestor_count
            && fits(txid)
            && mempool.ancestors(txid).iter().all(fits)
    };
    let confirmed = wallet.spendable(asset, true);
    let change = wallet
        .spendable(asset, false)
        .filter(|(_, outpoint)| can_follow(outpoint));
    let mut chosen = Vec::new();
    let mut sum = 0u64;
    for (value, outpoint) in confirmed.chain(change).take(MAX_INPUTS) {
        if taken.contains(&outpoint) {
            continue;
        }
        chosen.push((value, outpoint));
        sum = sum.saturating_add(value);
        if sum >= target {
            return Some(chosen);
        }
    }
    None
}
