//! Running the scripts of a transaction's inputs, with elementsd's words for failures.

use elements::{BlockHash, Transaction, TxOut};
use swaprig_script::{ElementsSpends, Flags};

use super::rejection::Rejection;

/// As relay asks.
pub(crate) fn in_mempool(
    tx: &Transaction,
    spent: &[TxOut],
    genesis: BlockHash,
) -> Result<(), Rejection> {
    verify(tx, spent, genesis, Flags::ELEMENTS_STANDARD)
}

/// As a block asks.
pub(crate) fn in_block(
    tx: &Transaction,
    spent: &[TxOut],
    genesis: BlockHash,
) -> Result<(), Rejection> {
    verify(tx, spent, genesis, Flags::ELEMENTS_CONSENSUS)
}

fn verify(
    tx: &Transaction,
    spent: &[TxOut],
    genesis: BlockHash,
    flags: Flags,
) -> Result<(), Rejection> {
    // Elements Core 23 counts P2SH alone as mandatory, so that it speaks of the mempool even where a block failed.
    let failed = |error| Rejection::new(format!("mempool-script-verify-flag-failed ({error})"));
    let spends = ElementsSpends::new(tx, spent, genesis).map_err(failed)?;
    (0..tx.input.len()).try_for_each(|index| spends.verify(index, flags).map_err(failed))
}
