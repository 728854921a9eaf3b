//! What a wallet has: its transactions, and which of their outputs it can spend now.
//!
//! Coins are kept by asset and value, so that neither a balance nor a choice of coins walks the history.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use elements::confidential::{AssetBlindingFactor, ValueBlindingFactor};
use elements::secp256k1_zkp::{All, Secp256k1};
use elements::{
    Address, AddressParams, AssetEntropy, AssetId, OutPoint, Script, Transaction, TxOut,
    TxOutSecrets, Txid,
};

use super::ChainFacts;
use super::keys::{AddressType, KeyOrigin, Keys};
use crate::node::{COINBASE_MATURITY, Event, Node, StoredBlock};

/// Where a wallet's transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// In a block of the main chain.
    Confirmed {
        block: elements::BlockHash,
        height: u32,
        /// Its position in the block.
        index: usize,
        /// The block's time, Unix seconds.
        time: u32,
    },
    /// In the mempool.
    Waiting,
    /// In neither: replaced, conflicted, or a coinbase of a block that is gone.
    Gone,
}

/// A transaction that pays to the wallet or spends from it.
#[derive(Debug, Clone)]
pub(crate) struct WalletTx {
    pub tx: Arc<Transaction>,
    pub status: Status,
    /// When the wallet first saw it, Unix seconds.
    pub received: u64,
    /// Position in the order in which transactions became known.
    pub order: u64,
    /// What is known of its outputs, by position: the wallet's own, and those that it made.
    pub secrets: HashMap<u32, TxOutSecrets>,
    /// Comments of whoever sent it.
    pub comments: Vec<(&'static str, String)>,
}

impl WalletTx {
    fn is_active(&self) -> bool {
        self.status != Status::Gone
    }
}

/// An output of the wallet.
#[derive(Debug, Clone)]
pub(crate) struct Coin {
    pub outpoint: OutPoint,
    pub output: TxOut,
    pub secrets: TxOutSecrets,
    pub origin: KeyOrigin,
    coinbase: bool,
    class: Option<Class>,
}

/// How far a coin can be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Class {
    /// In a block.
    Confirmed,
    /// The wallet's own change, waiting.
    Change,
    /// Somebody's payment, waiting.
    Pending,
    /// A coinbase output that is too young.
    Immature,
}

/// Satoshi by asset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub trusted: BTreeMap<AssetId, u64>,
    pub pending: BTreeMap<AssetId, u64>,
    pub immature: BTreeMap<AssetId, u64>,
}

/// A wallet.
#[derive(Clone)]
pub(crate) struct Wallet {
    pub(super) keys: Keys,
    facts: ChainFacts,
    /// Whether it was made without keys.
    pub blank: bool,
    /// When it was made, Unix seconds.
    pub created: u64,
    labels: HashMap<Script, String>,
    txs: HashMap<Txid, WalletTx>,
    by_order: BTreeMap<u64, Txid>,
    next_order: u64,
    coins: HashMap<OutPoint, Coin>,
    /// Transactions of the wallet that spend its coins.
    spenders: HashMap<OutPoint, Vec<Txid>>,
    index: BTreeMap<(Class, AssetId), BTreeSet<(u64, OutPoint)>>,
    /// Coinbase outputs by height, while they are too young.
    young: BTreeMap<u32, Vec<OutPoint>>,
    tip_height: u32,
    /// The entropy of every asset that one of its transactions issued.
    issued: HashMap<AssetId, AssetEntropy>,
    /// What is in the outputs of a transaction that the wallet has made and is about to send.
    expected: Option<(Txid, HashMap<u32, TxOutSecrets>)>,
    now: u64,
}

/// Finding and knowing.
impl Wallet {
    pub(super) fn new(
        seed: [u8; 32],
        facts: ChainFacts,
        blank: bool,
        now: u64,
        tip_height: u32,
    ) -> Self {
        Wallet {
            keys: Keys::new(seed),
            facts,
            blank,
            created: now,
            labels: HashMap::new(),
            txs: HashMap::new(),
            by_order: BTreeMap::new(),
            next_order: 0,
            coins: HashMap::new(),
            spenders: HashMap::new(),
            index: BTreeMap::new(),
            young: BTreeMap::new(),
            tip_height,
            issued: HashMap::new(),
            expected: None,
            now,
        }
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// A new address, confidential if asked for.
    pub(crate) fn new_address(
        &mut self,
        secp: &Secp256k1<All>,
        kind: AddressType,
        change: bool,
        blinded: bool,
    ) -> Address {
        let address = self.keys.next_address(secp, kind, change);
        if !blinded {
            return address;
        }
        let key = self.keys.blinding_pubkey(secp, &address.script_pubkey());
        address.to_confidential(key)
    }

    /// The label of a script's address.
    pub(crate) fn label(&self, script: &Script) -> Option<&str> {
        self.labels.get(script).map(String::as_str)
    }

    /// Gives a script's address a label.
    pub(crate) fn set_label(&mut self, script: Script, label: String) {
        self.labels.insert(script, label);
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = (&Script, &str)> {
        self.labels
            .iter()
            .map(|(script, label)| (script, label.as_str()))
    }

    /// The transaction of an id, if it is the wallet's.
    pub(crate) fn tx(&self, txid: &Txid) -> Option<&WalletTx> {
        self.txs.get(txid)
    }

    /// All transactions, the latest known first.
    pub(crate) fn latest_txs(&self) -> impl Iterator<Item = (&Txid, &WalletTx)> {
        self.by_order
            .values()
            .rev()
            .filter_map(|txid| self.txs.get_key_value(txid))
    }

    /// How many transactions there are.
    pub(crate) fn tx_count(&self) -> usize {
        self.txs.len()
    }

    /// One of the wallet's outputs, spent or not.
    pub(crate) fn coin(&self, outpoint: &OutPoint) -> Option<&Coin> {
        self.coins.get(outpoint)
    }

    /// How deep a transaction is: 0 while it waits, negative when it is gone.
    pub(crate) fn depth(&self, tx: &WalletTx) -> i64 {
        match tx.status {
            Status::Confirmed { height, .. } => i64::from(self.tip_height) - i64::from(height) + 1,
            Status::Waiting => 0,
            Status::Gone => -1,
        }
    }

    /// Whether it spends a coin of the wallet.
    pub(crate) fn is_from_me(&self, tx: &Transaction) -> bool {
        tx.input
            .iter()
            .any(|input| self.coins.contains_key(&input.previous_output))
    }

    /// Other transactions of the wallet that spend the same coins.
    pub(crate) fn conflicts(&self, txid: &Txid, tx: &Transaction) -> BTreeSet<Txid> {
        tx.input
            .iter()
            .filter_map(|input| self.spenders.get(&input.previous_output))
            .flatten()
            .copied()
            .filter(|other| other != txid)
            .collect()
    }

    /// The entropy of an asset that the wallet issued.
    pub(crate) fn issued(&self) -> &HashMap<AssetId, AssetEntropy> {
        &self.issued
    }

    /// The wallet's money.
    pub(crate) fn balance(&self) -> Balance {
        let mut balance = Balance::default();
        for ((class, asset), coins) in &self.index {
            let map = match class {
                Class::Confirmed | Class::Change => &mut balance.trusted,
                Class::Pending => &mut balance.pending,
                Class::Immature => &mut balance.immature,
            };
            let sum: u64 = coins.iter().map(|(value, _)| value).sum();
            if sum > 0 {
                *map.entry(*asset).or_insert(0) += sum;
            }
        }
        balance
    }

    /// Coins that may be spent or soon may be, without the too young: confirmed ones, change and payments that wait.
    pub(crate) fn unspent(&self) -> impl Iterator<Item = (&Coin, bool)> {
        self.index
            .iter()
            .filter(|((class, _), _)| *class != Class::Immature)
            .flat_map(|((class, _), coins)| coins.iter().map(move |entry| (class, entry)))
            .filter_map(|(class, (_, outpoint))| {
                Some((self.coins.get(outpoint)?, *class != Class::Pending))
            })
    }

    /// Spendable coins of an asset, the most valuable first: those in blocks, or the wallet's own change that waits.
    pub(super) fn spendable(
        &self,
        asset: AssetId,
        confirmed: bool,
    ) -> impl DoubleEndedIterator<Item = (u64, OutPoint)> {
        let class = if confirmed {
            Class::Confirmed
        } else {
            Class::Change
        };
        let coins = self.index.get(&(class, asset));
        coins.into_iter().flatten().rev().copied()
    }

    /// The least valuable confirmed coin that alone is worth `value` of an asset.
    pub(super) fn smallest_above(&self, asset: AssetId, value: u64) -> Option<(u64, OutPoint)> {
        let first = OutPoint::new(Txid::from_byte_array([0; 32]), 0);
        let coins = self.index.get(&(Class::Confirmed, asset))?;
        coins.range((value, first)..).next().copied()
    }
}

/// Following the chain.
impl Wallet {
    /// Takes in what happened.
    pub(super) fn follow(&mut self, secp: &Secp256k1<All>, event: &Event) {
        match event {
            Event::Connected(block) => self.connect(secp, block),
            Event::Disconnected(block) => self.disconnect(block),
            Event::Accepted(tx) => {
                self.take_in(secp, tx, tx.txid(), Status::Waiting);
            }
            Event::Removed(tx, removal) => {
                // A transaction that a block has is `Connected` already, or will be.
                if *removal != crate::node::Removal::Block {
                    self.drop_waiting(&tx.txid());
                }
            }
        }
    }

    /// Sets the wallet's time, Unix seconds, for what it sees from now on.
    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// Looks through the whole chain and the mempool again.
    pub(crate) fn rescan(&mut self, secp: &Secp256k1<All>, node: &Node) {
        let known: Vec<Txid> = self.txs.keys().copied().collect();
        for txid in known {
            self.change_status(&txid, Status::Gone);
        }
        let tip = node.tip();
        for height in 0..=tip.height {
            let block = node.block_hash(height).and_then(|hash| node.block(&hash));
            if let Some(block) = block {
                self.connect(secp, &Arc::clone(block));
            }
        }
        for entry in node.mempool().iter() {
            self.take_in(secp, &entry.tx, entry.txid, Status::Waiting);
        }
    }

    fn connect(&mut self, secp: &Secp256k1<All>, block: &StoredBlock) {
        self.tip_height = block.height();
        self.now = u64::from(block.header().time).max(self.now);
        let both = block.txids().iter().zip(block.transactions());
        for (index, (txid, tx)) in both.enumerate() {
            let status = Status::Confirmed {
                block: block.hash(),
                height: block.height(),
                index,
                time: block.header().time,
            };
            self.take_in(secp, tx, *txid, status);
        }
        self.ripen();
    }

    fn disconnect(&mut self, block: &StoredBlock) {
        for txid in block.txids() {
            if self.txs.contains_key(txid) {
                self.change_status(txid, Status::Gone);
            }
        }
        self.tip_height = block.height().saturating_sub(1);
        // Those that had just become old enough are too young again.
        let boundary = (self.tip_height + 1).saturating_sub(COINBASE_MATURITY);
        let outpoints = self.young.get(&boundary).cloned().unwrap_or_default();
        for outpoint in outpoints {
            self.classify(&outpoint);
        }
    }

    fn drop_waiting(&mut self, txid: &Txid) {
        let is_waiting = self
            .txs
            .get(txid)
            .is_some_and(|tx| tx.status == Status::Waiting);
        if is_waiting {
            self.change_status(txid, Status::Gone);
        }
    }

    /// Coinbase outputs become old enough.
    fn ripen(&mut self) {
        let boundary = self.tip_height.saturating_sub(COINBASE_MATURITY);
        let outpoints = self.young.get(&boundary).cloned().unwrap_or_default();
        for outpoint in outpoints {
            self.classify(&outpoint);
        }
    }

    /// Looks at a transaction, and keeps it if it is about the wallet.
    fn take_in(
        &mut self,
        secp: &Secp256k1<All>,
        tx: &Arc<Transaction>,
        txid: Txid,
        status: Status,
    ) {
        if !self.txs.contains_key(&txid) {
            let mine: Vec<(u32, KeyOrigin)> = (0u32..)
                .zip(&tx.output)
                .filter_map(|(vout, output)| Some((vout, self.keys.origin(&output.script_pubkey)?)))
                .collect();
            if mine.is_empty() && !self.is_from_me(tx) {
                return;
            }
            self.learn(secp, tx, txid, &mine);
        }
        self.change_status(&txid, status);
    }

    fn learn(
        &mut self,
        secp: &Secp256k1<All>,
        tx: &Arc<Transaction>,
        txid: Txid,
        mine: &[(u32, KeyOrigin)],
    ) {
        let mut secrets = HashMap::new();
        for (vout, origin) in mine {
            let Some(output) = tx.output.get(*vout as usize) else {
                continue;
            };
            // An output blinded with another key cannot be spent: its value is not known.
            let Some(known) = self
                .expected_secrets(&txid, *vout)
                .or_else(|| self.open(secp, output))
            else {
                continue;
            };
            secrets.insert(*vout, known);
            let outpoint = OutPoint::new(txid, *vout);
            let mut output = output.clone();
            output.witness = elements::TxOutWitness::empty();
            let coin = Coin {
                outpoint,
                output,
                secrets: known,
                origin: *origin,
                coinbase: tx.is_coinbase(),
                class: None,
            };
            self.coins.insert(outpoint, coin);
        }
        for input in &tx.input {
            self.spenders
                .entry(input.previous_output)
                .or_default()
                .push(txid);
            if input.has_issuance() && input.asset_issuance.asset_blinding_nonce.is_null() {
                let contract = input.asset_issuance.asset_entropy.into_contract_hash();
                let entropy = AssetId::generate_asset_entropy(input.previous_output, contract);
                self.issued.insert(AssetId::from_entropy(entropy), entropy);
            }
        }
        let order = self.next_order;
        self.next_order += 1;
        self.by_order.insert(order, txid);
        let tx = WalletTx {
            tx: Arc::clone(tx),
            status: Status::Gone,
            received: self.now,
            order,
            secrets,
            comments: Vec::new(),
        };
        self.txs.insert(txid, tx);
    }

    /// Remembers what a transaction that the wallet made pays to others, and comments on it.
    pub(crate) fn annotate(
        &mut self,
        txid: &Txid,
        secrets: &HashMap<u32, TxOutSecrets>,
        comments: Vec<(&'static str, String)>,
    ) {
        if let Some(tx) = self.txs.get_mut(txid) {
            tx.secrets.extend(secrets);
            tx.comments = comments;
        }
    }

    /// Remembers what is in the outputs of a transaction that the wallet is about to send.
    pub(crate) fn expect(&mut self, txid: Txid, secrets: &HashMap<u32, TxOutSecrets>) {
        self.expected = Some((txid, secrets.clone()));
    }

    /// Forgets it again.
    pub(crate) fn expect_nothing(&mut self) {
        self.expected = None;
    }

    fn expected_secrets(&self, txid: &Txid, vout: u32) -> Option<TxOutSecrets> {
        let (expected, secrets) = self.expected.as_ref()?;
        secrets.get(&vout).filter(|_| expected == txid).copied()
    }

    /// What an output to one of the wallet's scripts is worth, if that can be known.
    pub(crate) fn open(&self, secp: &Secp256k1<All>, output: &TxOut) -> Option<TxOutSecrets> {
        if let (Some(asset), Some(value)) = (output.asset.explicit(), output.value.explicit()) {
            return Some(explicit_secrets(asset, value));
        }
        let key = self.keys.blinding_key(&output.script_pubkey);
        output.unblind(secp, key).ok()
    }

    /// A transaction goes somewhere else, and its coins with it.
    fn change_status(&mut self, txid: &Txid, status: Status) {
        let Some(tx) = self.txs.get_mut(txid) else {
            return;
        };
        tx.status = status;
        let tx = Arc::clone(&tx.tx);
        for input in &tx.input {
            self.classify(&input.previous_output);
        }
        for vout in 0..u32::try_from(tx.output.len()).unwrap_or(u32::MAX) {
            self.classify(&OutPoint::new(*txid, vout));
        }
    }

    /// Moves a coin to where it belongs now.
    fn classify(&mut self, outpoint: &OutPoint) {
        let class = self.class_of(outpoint);
        let Some(coin) = self.coins.get_mut(outpoint) else {
            return;
        };
        if coin.class == class {
            return;
        }
        let (asset, entry) = (coin.secrets.asset, (coin.secrets.value, *outpoint));
        let before = std::mem::replace(&mut coin.class, class);
        if let Some(before) = before
            && let Some(coins) = self.index.get_mut(&(before, asset))
        {
            coins.remove(&entry);
        }
        if let Some(class) = class {
            self.index.entry((class, asset)).or_default().insert(entry);
        }
    }

    /// None for a coin that is spent, worth nothing, or of a transaction that is gone.
    fn class_of(&mut self, outpoint: &OutPoint) -> Option<Class> {
        let coin = self.coins.get(outpoint)?;
        let tx = self.txs.get(&outpoint.txid)?;
        let is_spent = self.spenders.get(outpoint).is_some_and(|spenders| {
            let spends = |txid| self.txs.get(txid).is_some_and(WalletTx::is_active);
            spenders.iter().any(spends)
        });
        if is_spent || coin.secrets.value == 0 {
            return None;
        }
        match tx.status {
            Status::Gone => None,
            Status::Waiting if self.is_trusted(&tx.tx) => Some(Class::Change),
            Status::Waiting => Some(Class::Pending),
            Status::Confirmed { height, .. } if coin.coinbase => {
                let outpoints = self.young.entry(height).or_default();
                if !outpoints.contains(outpoint) {
                    outpoints.push(*outpoint);
                }
                // elementsd's wallet waits one block longer than consensus would.
                if self.tip_height >= height.saturating_add(COINBASE_MATURITY) {
                    Some(Class::Confirmed)
                } else {
                    Some(Class::Immature)
                }
            }
            Status::Confirmed { .. } => Some(Class::Confirmed),
        }
    }

    /// Whether a waiting transaction spends the wallet's coins alone, and those of trusted transactions.
    pub(crate) fn is_trusted(&self, tx: &Transaction) -> bool {
        let mut open: Vec<&Transaction> = vec![tx];
        let mut seen: HashSet<Txid> = HashSet::new();
        while let Some(tx) = open.pop() {
            for input in &tx.input {
                let parent = self.txs.get(&input.previous_output.txid);
                let Some(parent) = parent.filter(|parent| {
                    parent.is_active() && self.coins.contains_key(&input.previous_output)
                }) else {
                    return false;
                };
                if parent.status == Status::Waiting && seen.insert(input.previous_output.txid) {
                    open.push(&parent.tx);
                }
            }
        }
        true
    }

    /// The policy asset of the chain.
    pub(crate) fn policy_asset(&self) -> AssetId {
        self.facts.policy_asset
    }
}

/// The unconfidential address of a script, if it has one.
pub(crate) fn address_of(script: &Script) -> Option<Address> {
    Address::from_script(script, None, &AddressParams::ELEMENTS)
}

/// What an output without commitments is worth.
pub(crate) fn explicit_secrets(asset: AssetId, value: u64) -> TxOutSecrets {
    TxOutSecrets::new(
        asset,
        AssetBlindingFactor::zero(),
        value,
        ValueBlindingFactor::zero(),
    )
}
