//! The wallet: what the seed owns on Liquid. LWK derives, scans and unblinds; this keeps the coins and signs.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use elements::{Address, AssetId, BlockHeader, OutPoint, Script, Transaction};
use lwk_common::{DescriptorBlindingKey, Singlesig, singlesig_desc};
use lwk_wollet::blocking::BlockchainBackend as _;
use lwk_wollet::{Chain, FileStore, Network, Wollet, WolletBuilder, WolletDescriptor};
use swaprig_units::{Height, Sat, Units};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

use super::coins::{Coin, Needs, Reselect, Selection, reselect, select};
use super::fan_out::{self, FanOut, FanOutError, Split};
use super::fee::FeePolicy;
use super::funding;
use super::index::{Index, IndexError};
use super::keys::Keys;
use super::ledger::Ledger;
use super::recover;
use super::scan::{Backend, Histories};
use super::seed::Seed;
use super::swap_chain::{Recovered, Shortage};
use super::watcher::{WatchEvent, Watcher};
use crate::swap::{FundingTx, Terms};

/// How many swaps in a row send their change to the same script, so that the wallet's scripts stay few.
const SWAPS_PER_CHANGE_SCRIPT: u32 = 16;
/// How many scripts receive change, in turn. They all lie in [`ALWAYS_SCANNED`]: a scan that skipped one would take its coins
/// for unspent, or not see them at all.
const CHANGE_SCRIPTS: u32 = 64;
/// How many addresses of each chain every scan looks at, at least.
const ALWAYS_SCANNED: u32 = 100;
const _: () = assert!(CHANGE_SCRIPTS <= ALWAYS_SCANNED);
/// Scans that LWK keeps each in a file before it merges them.
const MERGE_AFTER: usize = 64;

/// Which wallet, and where its cache is.
#[derive(Debug, Clone)]
pub struct WalletSettings {
    /// The network, with its L-BTC and its genesis hash.
    pub network: Network,
    /// A directory for what was scanned; made when it is missing. It can be lost: it is scanned again.
    pub dir: PathBuf,
    /// How fundings and fan-outs pay.
    pub fees: FeePolicy,
}

/// What goes wrong with a wallet.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The index does not answer. Ask again later.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index is behind what the wallet has seen: it is catching up, or the chain was shortened. Nothing is changed.
    #[error("the index is at height {} and the wallet at {}: it has to catch up first", index.0, wallet.0)]
    Behind {
        /// The index's tip.
        index: Height,
        /// The wallet's.
        wallet: Height,
    },
    /// The cache could not be read or written.
    #[error("the wallet's cache in {}", dir.display())]
    Cache {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// LWK fails.
    #[error("the wallet cannot be scanned")]
    Lwk(#[source] Box<lwk_wollet::Error>),
}

impl From<lwk_wollet::Error> for WalletError {
    fn from(error: lwk_wollet::Error) -> Self {
        WalletError::Lwk(Box::new(error))
    }
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// The tip that it was scanned to.
    pub tip: Height,
    /// Whether any transaction of the wallet is new, moved or gone.
    pub changed: bool,
}

struct State {
    wollet: Wollet,
    ledger: Ledger,
    coins: Arc<Vec<Coin>>,
}

/// What the index said of the wallet's scripts since the last scan.
#[derive(Default)]
struct Stale {
    scripts: Mutex<HashSet<Script>>,
    came: Notify,
}

struct Shared {
    settings: WalletSettings,
    descriptor: WolletDescriptor,
    keys: Keys,
    index: Index,
    watcher: Watcher,
    stale: Arc<Stale>,
    /// Never held across the network.
    state: Mutex<State>,
    /// The index of the next address to be given out.
    next_address: Mutex<u32>,
    /// The address that is shown for deposits, and its index.
    deposit: Mutex<Option<(u32, Address)>>,
    /// One scan at a time; holds what it knows of the histories.
    scan: Arc<tokio::sync::Mutex<Histories>>,
}

/// The wallet. Cheap to clone; all clones are one wallet.
#[derive(Clone)]
pub struct Wallet(Arc<Shared>);

impl std::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wallet({})", self.0.settings.dir.display())
    }
}

impl Wallet {
    /// Opens the wallet of `seed` as it was scanned last. Reaches for nothing: [`sync`](Wallet::sync) it before its coins are used.
    ///
    /// # Errors
    ///
    /// When the cache cannot be read or made.
    pub async fn open(
        seed: &Seed,
        settings: WalletSettings,
        index: Index,
    ) -> Result<Wallet, WalletError> {
        let signer = seed.signer(settings.network);
        let descriptor = singlesig_desc(&signer, Singlesig::Tr, DescriptorBlindingKey::Slip77)
            .map_err(lwk_wollet::Error::Generic)?;
        let descriptor: WolletDescriptor = descriptor.parse()?;
        let keys = Keys::new(seed, settings.network);
        let (dir, network, own) = (settings.dir.clone(), settings.network, descriptor.clone());
        let (state, next_address) = blocking(move || restore(&dir, network, &own)).await?;
        let (watcher, events) = Watcher::start(&index);
        let stale = Arc::new(Stale::default());
        tokio::spawn(note_changes(events, Arc::clone(&stale)));
        Ok(Wallet(Arc::new(Shared {
            settings,
            descriptor,
            keys,
            index,
            watcher,
            stale,
            state: Mutex::new(state),
            next_address: Mutex::new(next_address),
            deposit: Mutex::new(None),
            scan: Arc::default(),
        })))
    }

    /// Brings the wallet up to what the index shows. Costs what has changed, not what there is. Several at once wait for each other.
    ///
    /// # Errors
    ///
    /// When the index does not answer or is behind; nothing is changed then.
    pub async fn sync(&self) -> Result<Synced, WalletError> {
        let mut histories = Arc::clone(&self.0.scan).lock_owned().await;
        let stale = std::mem::take(&mut *lock(&self.0.stale.scripts));
        for script in stale {
            histories.remove(&script);
        }
        let tip = self.0.index.header_of_tip().await?;
        let known = self.height();
        if tip.height + 1 < known.0 {
            return Err(WalletError::Behind {
                index: Height(tip.height),
                wallet: known,
            });
        }
        let (own, runtime) = (self.clone(), Handle::current());
        // The guard goes along: when nobody waits for this any more, the scan still ends before the next one.
        blocking(move || own.scan(runtime, &mut histories, tip)).await
    }

    /// Scans from a snapshot, without the lock, and applies what was found.
    fn scan(
        &self,
        runtime: Handle,
        histories: &mut Histories,
        tip: BlockHeader,
    ) -> Result<Synced, WalletError> {
        let height = Height(tip.height);
        let snapshot = lock(&self.0.state).wollet.state();
        // Everything that was given out, however little of it was used.
        let to = ALWAYS_SCANNED.max(*lock(&self.0.next_address));
        let mut backend = Backend {
            runtime,
            index: &self.0.index,
            watcher: &self.0.watcher,
            histories: Mutex::new(histories),
            failed: Mutex::new(None),
            tip,
        };
        let found = backend.full_scan_to_index(&snapshot, to);
        let failed = backend
            .failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match (found, failed) {
            (Ok(None), _) => Ok(Synced {
                tip: height,
                changed: false,
            }),
            (Ok(Some(update)), _) => self.apply(update, height),
            (Err(_), Some(error)) => Err(error.into()),
            (Err(error), None) => Err(error.into()),
        }
    }

    fn apply(&self, update: lwk_wollet::Update, tip: Height) -> Result<Synced, WalletError> {
        let mut state = lock(&self.0.state);
        let state = &mut *state;
        let changed = !update.txid_height_new.is_empty() || !update.txid_height_delete.is_empty();
        state.ledger.apply(&update);
        if changed {
            state.coins = Arc::new(state.ledger.unspent());
        }
        state.wollet.apply_update(update)?;
        let unused = state.wollet.address(None)?.index();
        let mut next = lock(&self.0.next_address);
        *next = unused.max(*next);
        Ok(Synced { tip, changed })
    }

    /// Returns when the index says that something of the wallet's is new. There may be false alarms; call it again after each
    /// [`sync`](Wallet::sync).
    pub async fn changed(&self) {
        self.0.stale.came.notified().await;
    }

    /// The height that it was scanned to.
    pub fn height(&self) -> Height {
        Height(lock(&self.0.state).wollet.tip().height())
    }

    /// How many transactions of the wallet's are in the mempool or in blocks.
    pub fn transactions(&self) -> usize {
        lock(&self.0.state).ledger.len()
    }

    /// The unspent coins as of the last scan, in the order of their outpoints.
    pub fn coins(&self) -> Arc<Vec<Coin>> {
        Arc::clone(&lock(&self.0.state).coins)
    }

    /// L-BTC.
    pub fn policy_asset(&self) -> AssetId {
        *self.0.settings.network.policy_asset()
    }

    /// Its CT descriptor (ELIP 150): whoever has it sees all that the wallet has, and can spend nothing.
    pub fn descriptor(&self) -> String {
        self.0.descriptor.to_string()
    }

    /// How it pays.
    pub fn fees(&self) -> FeePolicy {
        self.0.settings.fees
    }

    /// A confidential address that was never given out before, by this wallet and its cache.
    ///
    /// # Errors
    ///
    /// When it cannot be noted down that it was given out.
    pub fn fresh_address(&self) -> Result<Address, WalletError> {
        self.take_address().map(|(_, address)| address)
    }

    fn take_address(&self) -> Result<(u32, Address), WalletError> {
        let mut next = lock(&self.0.next_address);
        let at = *next;
        let address = self.address(at)?;
        self.given_out(&mut next, 1)?;
        Ok((at, address))
    }

    /// A confidential address for whoever asks where to send coins: the same one until a coin came to it or to a later one.
    /// Each address that is given out is scanned from then on, so that showing one must cost none.
    ///
    /// # Errors
    ///
    /// As [`fresh_address`](Wallet::fresh_address).
    pub fn deposit_address(&self) -> Result<Address, WalletError> {
        let unused = lock(&self.0.state).wollet.address(None)?.index();
        let mut shown = lock(&self.0.deposit);
        match &*shown {
            Some((at, address)) if *at >= unused => Ok(address.clone()),
            Some(_) | None => Ok(shown.insert(self.take_address()?).1.clone()),
        }
    }

    fn address(&self, at: u32) -> Result<Address, WalletError> {
        let params = self.0.settings.network.address_params();
        Ok(self.0.descriptor.address(at, params)?)
    }

    /// Notes down that `count` more addresses are given out.
    fn given_out(&self, next: &mut u32, count: u32) -> Result<(), WalletError> {
        let dir = &self.0.settings.dir;
        write_next(dir, *next + count).map_err(|source| WalletError::Cache {
            dir: dir.clone(),
            source,
        })?;
        *next += count;
        Ok(())
    }

    /// Where the change of the funding of swap `index` goes, explicit. The same each time.
    pub fn change_script(&self, index: u32) -> Script {
        let at = index / SWAPS_PER_CHANGE_SCRIPT % CHANGE_SCRIPTS;
        self.0
            .descriptor
            .script_pubkey(Chain::Internal, at)
            .expect("a descriptor with a wildcard has a script for each index")
    }

    /// The coins for a funding; see [`select`].
    ///
    /// # Errors
    ///
    /// When there are not enough.
    pub fn select(
        &self,
        asset: AssetId,
        amount: Units,
        fee_value: Sat,
        reserved: &HashSet<OutPoint>,
    ) -> Result<Selection, Shortage> {
        let needs = Needs {
            asset,
            amount,
            fee_value,
            policy_asset: self.policy_asset(),
            fees: self.fees(),
        };
        select(&self.coins(), &needs, reserved)
    }

    /// The selection that was made for `terms` when `outpoints` were reserved; see [`reselect`].
    ///
    /// # Errors
    ///
    /// When they are not all there any more.
    pub fn reselect(
        &self,
        terms: &Terms,
        outpoints: &HashSet<OutPoint>,
    ) -> Result<Selection, Reselect> {
        let needs = Needs::of(terms, self.policy_asset(), self.fees());
        reselect(&self.coins(), &needs, outpoints)
    }

    /// The signed transaction that locks what `terms` say in their HTLC, and what is stored of it. The same for the same
    /// arguments.
    pub fn fund(
        &self,
        selection: &Selection,
        terms: &Terms,
        index: u32,
    ) -> (Transaction, FundingTx) {
        let change = self.change_script(index);
        let mut transaction =
            funding::unsigned(selection, terms, index, &change, self.policy_asset());
        self.0.keys.sign(&mut transaction, &selection.coins);
        let described = funding::described(&transaction, terms);
        (transaction, described)
    }

    /// The signed transaction that makes explicit coins of `coins`, which are confirmed; see [`Split`].
    ///
    /// # Errors
    ///
    /// When `coins` do not suffice for a single piece and the fee, and when no address can be taken.
    pub fn fan_out(&self, coins: Vec<Coin>, splits: &[Split]) -> Result<FanOut, FanOutError> {
        let mut next = lock(&self.0.next_address);
        let to = self.address(*next)?.to_unconfidential().script_pubkey();
        let rest = self.address(*next + 1)?;
        let mut made =
            fan_out::unsigned(coins, splits, &to, &rest, self.policy_asset(), self.fees())?;
        // Only now: attempts that come to nothing take no addresses, or a scan by the seed alone would stop at the gap.
        self.given_out(&mut next, 2)?;
        self.0.keys.sign(&mut made.transaction, &made.coins);
        Ok(made)
    }

    /// All fundings of swaps that this seed ever sent and that are still in the mempool or in a block, spent or not, the oldest first.
    /// [`sync`](Wallet::sync) first.
    pub fn recover(&self) -> Vec<Recovered> {
        recover::fundings(&lock(&self.0.state).ledger)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("the runtime ends: {error}"),
        },
    }
}

async fn note_changes(mut events: mpsc::Receiver<WatchEvent>, stale: Arc<Stale>) {
    while let Some(event) = events.recv().await {
        match event {
            WatchEvent::Changed(script) => {
                lock(&stale.scripts).insert(script);
            }
            // What changed while the index was away is told as `Changed`.
            WatchEvent::Tip(_) | WatchEvent::Lost | WatchEvent::Reconnected => {}
        }
        stale.came.notify_one();
    }
}

/// What was scanned before, and the index of the next address. A cache that cannot be read, or is another seed's, is begun anew.
fn restore(
    dir: &Path,
    network: Network,
    descriptor: &WolletDescriptor,
) -> Result<(State, u32), WalletError> {
    let failed = |source| WalletError::Cache {
        dir: dir.to_owned(),
        source,
    };
    let cache = dir.join("lwk");
    let state = match read_cache(&cache, network, descriptor.clone()) {
        Err(WalletError::Lwk(error)) => {
            tracing::warn!(%error, cache = %cache.display(), "the wallet's cache cannot be read and is scanned anew");
            std::fs::remove_dir_all(&cache).map_err(failed)?;
            read_cache(&cache, network, descriptor.clone())
        }
        read => read,
    }?;
    let unused = state.wollet.address(None)?.index();
    let next_address = read_next(dir).map_err(failed)?.max(unused);
    Ok((state, next_address))
}

fn read_cache(
    cache: &Path,
    network: Network,
    descriptor: WolletDescriptor,
) -> Result<State, WalletError> {
    let store = FileStore::new(cache.to_owned()).map_err(|source| WalletError::Cache {
        dir: cache.to_owned(),
        source,
    })?;
    let wollet = WolletBuilder::new(network, descriptor)
        .with_updates_store(Arc::new(store))
        .with_merge_threshold(Some(MERGE_AFTER))
        .build()?;
    let mut ledger = Ledger::default();
    for update in wollet.updates()? {
        ledger.apply(&update);
    }
    Ok(State {
        coins: Arc::new(ledger.unspent()),
        wollet,
        ledger,
    })
}

fn next_path(dir: &Path) -> PathBuf {
    dir.join("next-address")
}

fn read_next(dir: &Path) -> std::io::Result<u32> {
    match std::fs::read_to_string(next_path(dir)) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let path = next_path(dir);
            std::io::Error::other(format!(
                "{} holds no number; remove it to go on behind the last used address",
                path.display()
            ))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn write_next(dir: &Path, next: u32) -> std::io::Result<()> {
    let new = dir.join("next-address.new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(next.to_string().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, next_path(dir))
}
