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
    /// Serialised: there is one for each swap that ever was, and it takes a fifth of the memory so.
    pub(super) transaction: Box<[u8]>,
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
            let transaction = elements::encode::serialize(transaction).into();
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

#[cfg(test)]
mod tests {
    use elements::confidential::{AssetBlindingFactor, ValueBlindingFactor};
    use elements::{AssetId, BlockHeader, TxIn, TxOut, TxOutSecrets};
    use lwk_wollet::clients::LastUnused;
    use lwk_wollet::{Chain, DownloadTxResult};
    use proptest::prelude::*;

    use super::*;
    use crate::chain::funding::explicit;

    fn own() -> Script {
        Script::from(vec![0x51])
    }

    /// A transaction that spends `inputs` and pays the wallet and somebody else.
    fn transaction(inputs: &[OutPoint], value: u64) -> Transaction {
        let input = |outpoint: &OutPoint| TxIn {
            previous_output: *outpoint,
            ..TxIn::default()
        };
        let output = |script| -> TxOut { explicit(AssetId::LIQUID_BTC, value, script) };
        Transaction {
            version: 2,
            lock_time: elements::LockTime::ZERO,
            input: inputs.iter().map(input).collect(),
            output: vec![output(own()), output(Script::from(vec![0x52]))],
        }
    }

    /// The update of a scan that finds these heights, having found those of `before`.
    fn update(
        all: &[Transaction],
        before: &BTreeMap<usize, Option<u32>>,
        now: &BTreeMap<usize, Option<u32>>,
        downloaded: &mut Vec<usize>,
    ) -> Update {
        let mut new_txs = DownloadTxResult::default();
        for at in now
            .keys()
            .filter(|at| !downloaded.contains(at))
            .copied()
            .collect::<Vec<_>>()
        {
            let (txid, output) = (all[at].txid(), &all[at].output[0]);
            let value = output.value.explicit().unwrap();
            let (asset_bf, value_bf) = (AssetBlindingFactor::zero(), ValueBlindingFactor::zero());
            let secrets = TxOutSecrets::new(AssetId::LIQUID_BTC, asset_bf, value, value_bf);
            new_txs.unblinds.push((OutPoint::new(txid, 0), secrets));
            new_txs.txs.push((txid, all[at].clone()));
            downloaded.push(at);
        }
        let moved = now
            .iter()
            .filter(|(at, height)| before.get(at) != Some(height));
        Update {
            version: 4,
            wollet_status: 0,
            new_txs,
            txid_height_new: moved
                .map(|(at, height)| (all[*at].txid(), *height))
                .collect(),
            txid_height_delete: before
                .keys()
                .filter(|at| !now.contains_key(at))
                .map(|at| all[*at].txid())
                .collect(),
            timestamps: Vec::new(),
            scripts_with_blinding_pubkey: vec![(
                Chain::External,
                ChildNumber::Normal { index: 0 },
                own(),
                None,
            )],
            tip: BlockHeader {
                version: 0,
                prev_blockhash: elements::BlockHash::from_byte_array([0; 32]),
                merkle_root: elements::TxMerkleNode::from_byte_array([0; 32]),
                time: 0,
                height: 0,
                ext: elements::BlockExtData::Proof {
                    challenge: Script::new(),
                    solution: Script::new(),
                },
            },
            unspent: Vec::new(),
            last_unused: LastUnused::default(),
        }
    }

    proptest! {
        /// Whatever comes, goes and moves between blocks: the coins are those of the transactions that are there.
        #[test]
        fn the_coins_follow_the_chain_wherever_it_goes(
            // Each transaction spends the own output of an earlier one, or of one that the wallet never saw.
            parents in proptest::collection::vec(0..8_usize, 1..8),
            scans in proptest::collection::vec(
                proptest::collection::btree_map(0..8_usize, proptest::option::of(1..5_u32), 0..8),
                1..8,
            ),
        ) {
            let mut all: Vec<Transaction> = Vec::new();
            for (number, parent) in parents.iter().enumerate() {
                let unknown = OutPoint::new(Txid::from_byte_array([1; 32]), 0);
                let spent = all.get(*parent).map_or(unknown, |parent| OutPoint::new(parent.txid(), 0));
                all.push(transaction(&[spent], 1_000 + number as u64));
            }
            let mut ledger = Ledger::default();
            let (mut before, mut downloaded) = (BTreeMap::new(), Vec::new());
            for mut now in scans {
                now.retain(|at, _| *at < all.len());
                ledger.apply(&update(&all, &before, &now, &mut downloaded));
                before = now;
                let mut wanted = BTreeMap::new();
                for (at, height) in &before {
                    let outpoint = OutPoint::new(all[*at].txid(), 0);
                    let is_spent = before.keys().any(|other| all[*other].input[0].previous_output == outpoint);
                    if !is_spent {
                        wanted.insert(outpoint, height.map(Height));
                    }
                }
                let found: BTreeMap<_, _> =
                    ledger.unspent().iter().map(|coin| (coin.outpoint, coin.height)).collect();
                prop_assert_eq!(found, wanted);
                prop_assert_eq!(ledger.len(), before.len());
            }
        }
    }
}
