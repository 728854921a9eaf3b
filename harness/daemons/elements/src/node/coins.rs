//! The coins of the main chain, changes to them, and how to take a block's changes back.

use std::collections::HashMap;

use elements::{OutPoint, Transaction, TxOut, TxOutWitness, Txid};

use super::Coin;
use super::amounts::is_unspendable;

/// All unspent outputs of the main chain.
pub(crate) type CoinSet = HashMap<OutPoint, Coin>;

/// The coins that a block spent, in the order in which it spent them.
pub(crate) type Undo = Vec<(OutPoint, Coin)>;

/// Checked changes of a block, and what takes them back.
pub(crate) type Finished = (HashMap<OutPoint, Option<Coin>>, Undo);

/// The coins as a block leaves them, before anybody agreed to it.
pub(crate) struct Changes<'a> {
    base: &'a CoinSet,
    /// What became of each touched coin; none for spent.
    changed: HashMap<OutPoint, Option<Coin>>,
    spent: Undo,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(base: &'a CoinSet) -> Self {
        Changes {
            base,
            changed: HashMap::new(),
            spent: Undo::new(),
        }
    }

    /// An unspent coin.
    pub(crate) fn get(&self, outpoint: &OutPoint) -> Option<&Coin> {
        match self.changed.get(outpoint) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(outpoint),
        }
    }

    /// Spends the inputs of a transaction and adds its outputs. The inputs must have been found before.
    pub(crate) fn apply(&mut self, tx: &Transaction, txid: Txid, height: u32) {
        for input in tx.input.iter().filter(|_| !tx.is_coinbase()) {
            if let Some(coin) = self.get(&input.previous_output).cloned() {
                self.spent.push((input.previous_output, coin));
            }
            self.changed.insert(input.previous_output, None);
        }
        self.changed
            .extend(created(tx, txid, height).map(|(outpoint, coin)| (outpoint, Some(coin))));
    }

    /// The changes, to be made, and what was spent.
    pub(crate) fn finish(self) -> Finished {
        (self.changed, self.spent)
    }
}

/// Makes a block's changes.
pub(crate) fn commit(coins: &mut CoinSet, changed: HashMap<OutPoint, Option<Coin>>) {
    for (outpoint, coin) in changed {
        match coin {
            Some(coin) => coins.insert(outpoint, coin),
            None => coins.remove(&outpoint),
        };
    }
}

/// Takes a block's changes back.
pub(crate) fn revert<'a>(
    coins: &mut CoinSet,
    block: impl Iterator<Item = (&'a Transaction, &'a Txid)>,
    undo: &Undo,
) {
    // What the block made and spent is put back here, and taken away below with all that it made.
    coins.extend(undo.iter().cloned());
    for (tx, txid) in block {
        for (outpoint, _) in created(tx, *txid, 0) {
            coins.remove(&outpoint);
        }
    }
}

/// The coins that a transaction makes: its outputs, but for those that nobody can ever spend.
pub(crate) fn created(
    tx: &Transaction,
    txid: Txid,
    height: u32,
) -> impl Iterator<Item = (OutPoint, Coin)> {
    let coinbase = tx.is_coinbase();
    let spendable = (0_u32..)
        .zip(&tx.output)
        .filter(|(_, output)| !is_unspendable(&output.script_pubkey));
    spendable.map(move |(vout, output)| {
        let output = TxOut {
            witness: TxOutWitness::default(),
            ..output.clone()
        };
        (
            OutPoint::new(txid, vout),
            Coin {
                output,
                height,
                coinbase,
            },
        )
    })
}
