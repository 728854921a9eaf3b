//! Replacement of waiting transactions by ones that pay more (BIP 125, rules 2 to 6; rule 1 is in `accept`).

use std::collections::BTreeSet;

use elements::Txid;

use super::fee_rate::FeeRate;
use super::mempool::{Mempool, MempoolEntry};
use super::params::COIN;
use super::rejection::Rejection;

/// The most transactions that one may drive out.
const MAX_REPLACED: u64 = 100;

/// All that a new entry would drive out: what it conflicts with and what depends on that.
pub(crate) fn check(
    pool: &Mempool,
    entry: &MempoolEntry,
    conflicts: &BTreeSet<Txid>,
    incremental: FeeRate,
) -> Result<BTreeSet<Txid>, Rejection> {
    if conflicts.is_empty() {
        return Ok(BTreeSet::new());
    }
    let txid = entry.txid;
    let direct = || conflicts.iter().filter_map(|txid| pool.get(txid));
    let rate = entry.fee_rate();
    if let Some(old) = direct()
        .map(MempoolEntry::fee_rate)
        .find(|old| rate <= *old)
    {
        let details =
            format!("rejecting replacement {txid}; new feerate {rate} <= old feerate {old}");
        return Err(Rejection::with("insufficient fee", details));
    }
    let count: u64 = conflicts
        .iter()
        .map(|txid| pool.descendants(txid).len() as u64 + 1)
        .sum();
    if count > MAX_REPLACED {
        let details = format!(
            "rejecting replacement {txid}; too many potential replacements ({count} > {MAX_REPLACED})\n"
        );
        return Err(Rejection::with("too many potential replacements", details));
    }
    let replaced = pool.closure(conflicts.clone(), |entry| &entry.children);
    let old_parents: BTreeSet<Txid> = direct()
        .flat_map(|entry| &entry.tx.input)
        .map(|input| input.previous_output.txid)
        .collect();
    let is_new = |parent: &Txid| !old_parents.contains(parent) && pool.contains(parent);
    if let Some(index) = entry
        .tx
        .input
        .iter()
        .position(|input| is_new(&input.previous_output.txid))
    {
        let details = format!("replacement {txid} adds unconfirmed input, idx {index}");
        return Err(Rejection::with("replacement-adds-unconfirmed", details));
    }
    let old_fees: u64 = replaced
        .iter()
        .filter_map(|txid| pool.get(txid))
        .map(|entry| entry.fee)
        .sum();
    if entry.fee < old_fees {
        let (new, old) = (money(entry.fee), money(old_fees));
        let details =
            format!("rejecting replacement {txid}, less fees than conflicting txs; {new} < {old}");
        return Err(Rejection::with("insufficient fee", details));
    }
    let (more, wanted) = (entry.fee - old_fees, incremental.fee(entry.vsize));
    if more < wanted {
        let (more, wanted) = (money(more), money(wanted));
        let details = format!(
            "rejecting replacement {txid}, not enough additional fees to relay; {more} < {wanted}"
        );
        return Err(Rejection::with("insufficient fee", details));
    }
    Ok(replaced)
}

/// Coins with at least two decimals, as elementsd prints amounts in messages.
fn money(sat: u64) -> String {
    let text = format!("{}.{:08}", sat / COIN, sat % COIN);
    let trimmed = text.trim_end_matches('0');
    let decimals = trimmed.len() - trimmed.find('.').unwrap_or(0) - 1;
    format!("{trimmed}{}", "0".repeat(2_usize.saturating_sub(decimals)))
}

#[cfg(test)]
mod tests {
    use super::money;

    #[test]
    fn money_has_at_least_two_decimals() {
        let table = [
            (0, "0.00"),
            (100_000_000, "1.00"),
            (10_000_000, "0.10"),
            (100, "0.000001"),
            (123, "0.00000123"),
        ];
        for (sat, text) in table {
            assert_eq!(money(sat), text);
        }
    }
}
