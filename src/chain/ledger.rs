//! The wallet's coins, kept from what each scan finds: LWK sets explicit outputs apart and reads every transaction anew to
//! list them.

use std::collections::{BTreeMap, HashMap};

use bitcoin::bip32::ChildNumber;
use elements::{OutPoint, Script, Transaction, TxOutWitness, Txid};
use lwk_wollet::Update;
use swaprig_units::{Height, Units};

use super::coins::Coin;
use super::keys::KeyPath;
use crate::swap::{Tag, read_tag};

/// A transaction of the wallet, as far as it matters.
#[derive(Debug)]
struct Record {
    spends: Vec<OutPoint>,
    /// Its outputs that are the wallet's; their height is not kept up.
    coins: Vec<Coin>,
}

/// A transaction that has a tag.
#[derive(Debug, Clone)]
pub(super) struct Tagged {
    pub(super) tag: Tag,
    pub(super) transaction: Transaction,
}

/// All transactions that have to do with the wallet, and the coins that are left of them.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    paths: HashMap<Script, KeyPath>,
    records: HashMap<Txid, Record>,
    /// Of those that are in the mempool or in a block.
    heights: HashMap<Txid, Option<Height>>,
    /// All that spend an output, whether they are in the mempool or a block or no more.
    spenders: HashMap<OutPoint, Vec<Txid>>,
    unspent: BTreeMap<OutPoint, Coin>,
    tagged: HashMap<Txid, Tagged>,
}

impl Ledger {
    /// Takes in what a scan found.
    pub(super) fn apply(&mut self, update: &Update) {
        for (chain, child, script, _) in &update.scripts_with_blinding_pubkey {
            if let ChildNumber::Normal { index } = child {
                let path = KeyPath {
                    chain: *chain,
                    index: *index,
                };
                self.paths.insert(script.clone(), path);
            }
        }
        let secrets: HashMap<_, _> = update.new_txs.unblinds.iter().copied().collect();
        for (txid, transaction) in &update.new_txs.txs {
            self.record(*txid, transaction, &secrets);
        }
        for txid in &update.txid_height_delete {
            self.heights.remove(txid);
        }
        for (txid, height) in &update.txid_height_new {
            self.heights.insert(*txid, height.map(Height));
        }
        let new = update.txid_height_new.iter().map(|(txid, _)| txid);
        for txid in new.chain(&update.txid_height_delete) {
            self.settle(txid);
        }
    }

    fn record(
        &mut self,
        txid: Txid,
        transaction: &Transaction,
        secrets: &HashMap<OutPoint, elements::TxOutSecrets>,
    ) {
        let own = |(vout, output): (usize, &elements::TxOut)| {
            let outpoint = OutPoint::new(txid, u32::try_from(vout).ok()?);
            let secrets = *secrets.get(&outpoint)?;
            Some(Coin {
                outpoint,
                asset: secrets.asset,
                value: Units(secrets.value),
                explicit: output.asset.is_explicit() && output.value.is_explicit(),
                height: None,
                path: *self.paths.get(&output.script_pubkey)?,
                output: elements::TxOut {
                    witness: TxOutWitness::default(),
                    ..output.clone()
                },
                secrets,
            })
        };
        let coins = transaction
            .output
            .iter()
            .enumerate()
            .filter_map(own)
            .collect();
        let spends: Vec<OutPoint> = transaction
            .input
            .iter()
            .map(|input| input.previous_output)
            .collect();
        for outpoint in &spends {
            let spenders = self.spenders.entry(*outpoint).or_default();
            if !spenders.contains(&txid) {
                spenders.push(txid);
            }
        }
        let tag = transaction
            .output
            .iter()
            .find_map(|output| read_tag(&output.script_pubkey));
        if let Some(tag) = tag {
            let transaction = transaction.clone();
            self.tagged.insert(txid, Tagged { tag, transaction });
        }
        self.records.insert(txid, Record { spends, coins });
    }

    /// Sets right what `txid` has to do with: its outputs, and those that it spends.
    fn settle(&mut self, txid: &Txid) {
        let Some(record) = self.records.get(txid) else {
            return;
        };
        let own = record.coins.iter().map(|coin| coin.outpoint);
        let touched: Vec<OutPoint> = own.chain(record.spends.iter().copied()).collect();
        for outpoint in touched {
            match self.coin(&outpoint) {
                Some(coin) => self.unspent.insert(outpoint, coin),
                None => self.unspent.remove(&outpoint),
            };
        }
    }

    /// The coin at `outpoint`, if it is the wallet's, there, and not spent.
    fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        let height = *self.heights.get(&outpoint.txid)?;
        let spenders = self.spenders.get(outpoint);
        if spenders.is_some_and(|all| all.iter().any(|txid| self.heights.contains_key(txid))) {
            return None;
        }
        let coins = &self.records.get(&outpoint.txid)?.coins;
        let coin = coins.iter().find(|coin| coin.outpoint == *outpoint)?;
        Some(Coin {
            height,
            ..coin.clone()
        })
    }

    /// The unspent coins, in the order of their outpoints.
    pub(super) fn unspent(&self) -> Vec<Coin> {
        self.unspent.values().cloned().collect()
    }

    /// How many transactions are known.
    pub(super) fn len(&self) -> usize {
        self.heights.len()
    }

    /// The transactions with a tag that are in the mempool or a block and spend a coin of the wallet: what others write
    /// into theirs counts for nothing.
    pub(super) fn fundings(&self) -> impl Iterator<Item = (&Tagged, Option<Height>)> {
        self.tagged.iter().filter_map(|(txid, tagged)| {
            let height = *self.heights.get(txid)?;
            let is_own = |outpoint: &OutPoint| {
                let record = self.records.get(&outpoint.txid);
                record.is_some_and(|record| {
                    record.coins.iter().any(|coin| coin.outpoint == *outpoint)
                })
            };
            let spends = &self.records.get(txid)?.spends;
            spends.iter().any(is_own).then_some((tagged, height))
        })
    }
}
