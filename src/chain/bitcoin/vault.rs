//! The wallet's transactions and coins: BDK keeps them, in a database.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bdk_wallet::chain::{BlockId, ChainPosition, Merge as _};
use bdk_wallet::rusqlite::Connection;
use bdk_wallet::{AddressInfo, ChangeSet, KeychainKind, PersistedWallet, Wallet, WalletPersister};
use bitcoin::{Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use swaprig_units::{Height, Sat};

use super::funding::BtcCoin;
use super::keys::Keys;
use super::{BitcoinError, State, lock};
use crate::swap::{Depth, Tag};

/// How many addresses beyond the last used one are looked for, at least.
const LOOKAHEAD: u32 = 100;
/// How long a wallet that was closed a moment ago may take to let go of its database: as long as a call of its follower.
const CLOSING: Duration = Duration::from_secs(15);
/// How many swaps in a row send their change to the same script, so that the wallet's scripts stay few.
const SWAPS_PER_CHANGE_SCRIPT: u32 = 16;
/// How many scripts receive change, in turn. All are looked for from the beginning.
const CHANGE_SCRIPTS: u32 = 64;

/// A funding of this seed that was found again. With the keys of the tag's index it gives the HTLC; whoever rebuilds that checks
/// that one of the outputs is its.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtcRecovered {
    /// What the funding says of its swap.
    pub tag: Tag,
    /// It. The HTLC is its first output.
    pub transaction: Arc<Transaction>,
    /// How deep it is.
    pub depth: Depth,
}

/// The wallet's database. Lock it before the vault: what was staged first is written first.
pub(super) struct Store {
    db: Connection,
    /// What could not be written yet.
    unwritten: ChangeSet,
    keys: Arc<Keys>,
}

impl Store {
    /// Writes down what is new of the wallet. Only as long as that is taken off is the wallet locked: a disk may be slow.
    pub(super) fn save(&mut self, state: &Mutex<State>) -> Result<(), BitcoinError> {
        let staged = lock(state).vault.wallet.take_staged();
        self.write(staged)
    }

    fn write(&mut self, staged: Option<ChangeSet>) -> Result<(), BitcoinError> {
        if let Some(staged) = staged {
            self.unwritten.merge(staged);
        }
        if !self.unwritten.is_empty() {
            WalletPersister::persist(&mut self.db, &self.unwritten).map_err(database)?;
            self.unwritten = ChangeSet::default();
        }
        Ok(())
    }

    /// Has the wallet forget the blocks above `height`, which are in no chain any more. BDK only replaces blocks by others: the wallet
    /// is read anew.
    pub(super) fn shorten(
        &mut self,
        state: &mut State,
        height: Height,
    ) -> Result<(), BitcoinError> {
        let vault = &mut state.vault;
        self.write(vault.wallet.take_staged())?;
        let checkpoints = vault.wallet.checkpoints();
        let above = checkpoints.take_while(|one| one.height() > height.0);
        let mut changes = ChangeSet::default();
        changes.local_chain.blocks = above.map(|one| (one.height(), None)).collect();
        WalletPersister::persist(&mut self.db, &changes).map_err(database)?;
        let read = load(&mut self.db, vault.wallet.network(), &self.keys)?;
        vault.wallet = read.ok_or_else(|| BitcoinError::Database("it is empty".to_owned()))?;
        vault.count();
        Ok(())
    }
}

fn database(error: impl std::fmt::Display) -> BitcoinError {
    BitcoinError::Database(error.to_string())
}

/// The wallet.
pub(super) struct Vault {
    pub(super) wallet: PersistedWallet<Connection>,
    coins: Arc<Vec<BtcCoin>>,
    /// What stands for the time at which transactions were seen: only the order matters, and clocks go back.
    clock: u64,
    /// The index of the address that is shown for deposits.
    deposit: Option<u32>,
}

impl Vault {
    /// Opens the wallet in `dir`, or makes it. One that cannot be read, or is another seed's, is begun anew.
    pub(super) fn open(
        dir: &Path,
        network: Network,
        keys: &Arc<Keys>,
    ) -> Result<(Vault, Store), BitcoinError> {
        let path = dir.join("bdk.sqlite");
        let failed = |source| BitcoinError::Directory {
            dir: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        match Vault::read(&path, network, keys) {
            Ok(vault) => Ok(vault),
            // Another process has it open: that one's wallet must stay.
            Err(error @ BitcoinError::Locked { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the wallet's database cannot be read and is made anew");
                for suffix in ["", "-wal", "-shm", "-journal"] {
                    let file = dir.join(format!("bdk.sqlite{suffix}"));
                    match std::fs::remove_file(&file) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(failed(error));
                        }
                        _ => {}
                    }
                }
                Vault::read(&path, network, keys)
            }
        }
    }

    fn read(
        path: &Path,
        network: Network,
        keys: &Arc<Keys>,
    ) -> Result<(Vault, Store), BitcoinError> {
        let mut db = Connection::open(path).map_err(database)?;
        db.busy_timeout(CLOSING).map_err(database)?;
        // Held as long as the wallet is open: two processes on one wallet would spend the same coins.
        let locked = db.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; BEGIN EXCLUSIVE; COMMIT;",
        );
        locked.map_err(|error| match error.sqlite_error_code() {
            Some(bdk_wallet::rusqlite::ErrorCode::DatabaseBusy) => BitcoinError::Locked {
                path: path.to_owned(),
            },
            _ => database(error),
        })?;
        let loaded = load(&mut db, network, keys)?;
        let wallet = match loaded {
            Some(wallet) => wallet,
            None => {
                let [external, internal] = keys.descriptors();
                let created = Wallet::create(external, internal)
                    .network(network)
                    .lookahead(LOOKAHEAD)
                    .create_wallet(&mut db);
                created.map_err(database)?
            }
        };
        let seen = wallet.tx_graph().full_txs();
        let last = seen.filter_map(|node| node.last_seen).max();
        let mut vault = Vault {
            clock: last.unwrap_or_default() + 1,
            wallet,
            coins: Arc::default(),
            deposit: None,
        };
        // Subscribed to and scanned for whether they were used or not.
        let _ = vault
            .wallet
            .reveal_addresses_to(KeychainKind::Internal, CHANGE_SCRIPTS - 1);
        let mut store = Store {
            db,
            unwritten: ChangeSet::default(),
            keys: Arc::clone(keys),
        };
        store.write(vault.wallet.take_staged())?;
        vault.count();
        Ok((vault, store))
    }

    /// What stands for now; later each time.
    pub(super) fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Lists the coins anew.
    pub(super) fn count(&mut self) {
        let coin = |output: bdk_wallet::LocalOutput| BtcCoin {
            outpoint: output.outpoint,
            value: Sat(output.txout.value.to_sat()),
            height: height(&output.chain_position),
            change: output.keychain == KeychainKind::Internal,
            path: (output.keychain, output.derivation_index),
            output: output.txout,
        };
        let mut coins: Vec<BtcCoin> = self.wallet.list_unspent().map(coin).collect();
        coins.sort_by_key(|coin| coin.outpoint);
        self.coins = Arc::new(coins);
    }

    pub(super) fn coins(&self) -> Arc<Vec<BtcCoin>> {
        Arc::clone(&self.coins)
    }

    /// An output that is or was the wallet's, and its key.
    pub(super) fn output(&self, outpoint: OutPoint) -> Option<((KeychainKind, u32), TxOut)> {
        let output = self.wallet.tx_graph().get_txout(outpoint)?;
        let path = self
            .wallet
            .derivation_of_spk(output.script_pubkey.clone())?;
        Some((path, output.clone()))
    }

    /// An address that was never given out. It is to be written down before anybody sees it.
    pub(super) fn fresh(&mut self) -> AddressInfo {
        self.wallet.reveal_next_address(KeychainKind::External)
    }

    /// The address for deposits: the same until a coin came to it or to a later one. It is to be written down, too.
    pub(super) fn deposit(&mut self) -> AddressInfo {
        let index = self.wallet.spk_index();
        let used = index.last_used_index(KeychainKind::External);
        if let Some(shown) = self.deposit
            && used.is_none_or(|used| used < shown)
        {
            return self.wallet.peek_address(KeychainKind::External, shown);
        }
        let fresh = self.fresh();
        self.deposit = Some(fresh.index);
        fresh
    }

    /// Where the change of the funding of swap `index` goes. The same each time.
    pub(super) fn change_script(&self, index: u32) -> ScriptBuf {
        let at = index / SWAPS_PER_CHANGE_SCRIPT % CHANGE_SCRIPTS;
        let address = self.wallet.peek_address(KeychainKind::Internal, at);
        address.script_pubkey()
    }

    /// The transactions of the wallet that are in the mempool, as far as it knows.
    pub(super) fn unconfirmed(&self) -> HashSet<Txid> {
        let all = self.wallet.transactions();
        all.filter(|one| !one.chain_position.is_confirmed())
            .map(|one| one.tx_node.txid)
            .collect()
    }

    /// The block of the chain that a transaction is in, which the wallet knows.
    fn block_of(&self, txid: Txid) -> Option<Height> {
        let chain = self.wallet.local_chain();
        let anchors = self.wallet.tx_graph().get_tx_node(txid)?.anchors.iter();
        let mut blocks = anchors.map(|anchor| anchor.block_id);
        let is_in_chain = |block: &BlockId| {
            let own = chain.get(block.height);
            own.is_some_and(|own| own.hash() == block.hash)
        };
        blocks.find(is_in_chain).map(|block| Height(block.height))
    }

    /// Where a transaction of the wallet's is; `Unseen` for those that it does not know.
    pub(super) fn depth(&self, txid: Txid) -> Depth {
        match self.block_of(txid) {
            Some(height) => Depth::Block(height),
            None if self.wallet.get_tx(txid).is_some() => Depth::Mempool,
            None => Depth::Unseen,
        }
    }

    /// A transaction in a block, other than `transaction`, that spends one of its inputs, as far as the wallet knows: of its own
    /// coins it knows all.
    pub(super) fn conflict(&self, transaction: &Transaction) -> Option<Txid> {
        let own = transaction.compute_txid();
        let graph = self.wallet.tx_graph();
        let inputs = transaction.input.iter();
        let spenders = inputs.flat_map(|input| graph.outspends(input.previous_output));
        let mut others = spenders.copied().filter(|txid| *txid != own);
        others.find(|txid| self.block_of(*txid).is_some())
    }

    /// All fundings of swaps that this seed ever sent, the oldest first, those in the mempool last.
    pub(super) fn recover(&self) -> Vec<BtcRecovered> {
        let mut found = Vec::new();
        for one in self.wallet.transactions() {
            let transaction = &one.tx_node.tx;
            // What others write into theirs counts for nothing.
            let mut inputs = transaction.input.iter();
            let is_own = inputs.any(|input| self.output(input.previous_output).is_some());
            let mut outputs = transaction.output.iter();
            let tag = outputs.find_map(|output| Tag::read(output.script_pubkey.as_bytes()));
            if let Some(tag) = tag.filter(|_| is_own) {
                found.push(BtcRecovered {
                    tag,
                    transaction: Arc::clone(transaction),
                    depth: height(&one.chain_position).map_or(Depth::Mempool, Depth::Block),
                });
            }
        }
        found.sort_by_key(|one| {
            let height = match one.depth {
                Depth::Block(height) => height.0,
                Depth::Mempool | Depth::Unseen => u32::MAX,
            };
            (height, one.tag.index, one.transaction.compute_txid())
        });
        found
    }
}

/// The wallet in `db`; `None` when there is none.
fn load(
    db: &mut Connection,
    network: Network,
    keys: &Keys,
) -> Result<Option<PersistedWallet<Connection>>, BitcoinError> {
    let [external, internal] = keys.descriptors();
    let loaded = Wallet::load()
        .descriptor(KeychainKind::External, Some(external))
        .descriptor(KeychainKind::Internal, Some(internal))
        .check_network(network)
        .lookahead(LOOKAHEAD)
        .load_wallet(db);
    loaded.map_err(database)
}

fn height(position: &ChainPosition<bdk_wallet::chain::ConfirmationBlockTime>) -> Option<Height> {
    position.confirmation_height_upper_bound().map(Height)
}
