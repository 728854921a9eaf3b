//! Starting the engine, and stopping it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::cell::Cells;
use super::observe::StalePayments;
use super::{Engine, locked};
use crate::chain::bitcoin::{Bitcoin, BitcoinChain, BitcoinError, BitcoinSettings, BitcoinSource};
use crate::chain::{
    ChainEvent, FeePolicy, Index, IndexSettings, Liquid, Seed, SeedError, SwapChain, Wallet,
    WalletError, WalletSettings,
};
use crate::config::Config;
use crate::lightning::{LdkServer, LdkServerConfig, LightningNode, SetupError};
use crate::store::{Store, StoreError, StoredEffect};
use crate::swap::{ChainName, FeeRate, KeyError, SwapSeed, Tips};
use swaprig_units::Height;

/// How long work that has begun may take when the engine stops; what is not done then is done after the next start.
const STOP: Duration = Duration::from_secs(5);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory cannot be made.
    #[error("{path}: {source}")]
    Directory {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The mnemonic.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The wallet's cache.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The Bitcoin wallet.
    #[error(transparent)]
    Bitcoin(#[from] BitcoinError),
    /// The store has swaps on a chain that is not configured.
    #[error(
        "the store has {swaps} swaps on {chain} that are not over: configure {chain} again, or they are lost"
    )]
    Chain {
        /// Which.
        chain: ChainName,
        /// How many.
        swaps: usize,
    },
    /// The seed gives no keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The index's address.
    #[error("electrum_url: {0}")]
    Index(String),
    /// The Lightning node's address or certificate.
    #[error(transparent)]
    Lightning(#[from] SetupError),
    /// A port cannot be had.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// What for.
        what: &'static str,
        /// Where.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metrics cannot be served.
    #[error("metrics_listen: {0}")]
    Metrics(String),
}

/// What the chains tell.
type Sources = Vec<(ChainName, mpsc::Receiver<ChainEvent>)>;

async fn start_liquid(
    config: &Config,
    url: &str,
    seed: &Seed,
) -> Result<(Arc<Liquid>, mpsc::Receiver<ChainEvent>), StartError> {
    let index = Index::new(IndexSettings::new(url))
        .map_err(|error| StartError::Index(error.to_string()))?;
    let network = config.network();
    let settings = WalletSettings {
        network,
        dir: config.wallet_dir.clone(),
        fees: FeePolicy {
            rate: FeeRate(config.fee_rate),
            ..FeePolicy::default()
        },
    };
    let wallet = Wallet::open(seed, settings, index.clone()).await?;
    // For whoever keeps the books: it sees everything and can spend nothing.
    let path = config.data_dir.join("descriptor.txt");
    std::fs::write(&path, wallet.descriptor() + "\n").map_err(|source| StartError::Directory {
        path: path.display().to_string(),
        source,
    })?;
    let most = FeeRate(config.max_fee_rate);
    Ok(Liquid::start(index, wallet, network.address_params(), most))
}

async fn start_bitcoin(
    config: &Config,
    source: BitcoinSource,
    seed: &Seed,
) -> Result<(Arc<Bitcoin>, mpsc::Receiver<ChainEvent>), StartError> {
    let network = config.loops.network;
    let settings = BitcoinSettings {
        network,
        source,
        dir: config.wallet_dir.join("bitcoin"),
        birthday: config.loops.birthday,
        fees: config.loops.fees.clone(),
    };
    let (chain, events) = BitcoinChain::open(settings, seed).await?;
    // For whoever keeps the books: they see everything and can spend nothing.
    let text = chain.descriptors().join("\n") + "\n";
    let path = config.data_dir.join("bitcoin-descriptors.txt");
    std::fs::write(&path, text).map_err(|source| StartError::Directory {
        path: path.display().to_string(),
        source,
    })?;
    Ok((Bitcoin::new(chain, network), events))
}

impl Engine {
    /// Opens the store and the wallet, and begins to follow the chains. What was left undone is done as soon as the daemons
    /// answer; until then [`Engine::readiness`] says what is waited for.
    ///
    /// # Errors
    ///
    /// When what is this server's own cannot be opened. Daemons that do not answer are no error.
    pub async fn start(config: Config) -> Result<Arc<Engine>, StartError> {
        std::fs::create_dir_all(&config.data_dir).map_err(|source| StartError::Directory {
            path: config.data_dir.display().to_string(),
            source,
        })?;
        let seed = match config.seed_file.exists() {
            true => Seed::read(&config.seed_file)?,
            false => Seed::generate(&config.seed_file)?,
        };
        let store = Store::open(&config.store)?;
        let network = config.network();
        let keys = SwapSeed::from_signer(&seed.signer(network))?;
        let mut chains: BTreeMap<ChainName, Arc<dyn SwapChain>> = BTreeMap::new();
        let mut sources = Vec::new();
        let mut liquid = None;
        if let Some(url) = &config.electrum_url {
            let (started, events) = start_liquid(&config, url, &seed).await?;
            chains.insert(ChainName::Liquid, started.clone());
            sources.push((ChainName::Liquid, events));
            liquid = Some(started);
        }
        let mut bitcoin = None;
        if let Some(source) = config.loops.source.clone() {
            let (started, events) = start_bitcoin(&config, source, &seed).await?;
            chains.insert(ChainName::Bitcoin, started.clone());
            sources.push((ChainName::Bitcoin, events));
            bitcoin = Some(started);
        }
        let node = LdkServer::new(&LdkServerConfig {
            address: config.ldk_address.clone(),
            certificate: config.ldk_cert.clone(),
            credential: config.ldk_credential.clone(),
        })?;
        for chain in [ChainName::Liquid, ChainName::Bitcoin] {
            let unsettled = store.unsettled()?;
            let on_chain = unsettled
                .iter()
                .filter(|stored| stored.swap.terms.chain == chain);
            let swaps = on_chain.count();
            if swaps > 0 && !chains.contains_key(&chain) {
                return Err(StartError::Chain { chain, swaps });
            }
        }
        let paused: HashSet<_> = store.paused()?.into_iter().collect();
        let mut sales = store.sales()?;
        for sale in &config.sell {
            if !sales.iter().any(|own| own.asset == sale.asset) {
                sales.push(*sale);
            }
        }
        let next_index = AtomicU32::new(store.next_index()?);
        let engine = Arc::new(Engine {
            keys,
            store,
            node: Arc::new(node) as Arc<dyn LightningNode>,
            chains,
            liquid,
            bitcoin,
            cells: Cells::default(),
            requests: Mutex::new(HashMap::new()),
            entering: Mutex::new(HashMap::new()),
            next_index,
            tips: watch::Sender::new(None),
            receivable: AtomicU64::new(0),
            paused: Mutex::new(paused),
            sales: Mutex::new(sales),
            deciding: tokio::sync::Mutex::default(),
            unready: watch::Sender::new(Some("it is starting".into())),
            stopping: watch::Sender::new(false),
            broken: watch::Sender::new(None),
            tasks: Mutex::new(JoinSet::new()),
            resync: watch::Sender::new(0),
            stale_payments: StalePayments::default(),
            looking_at_payments: tokio::sync::Mutex::default(),
            config,
        });
        let running = engine.clone();
        engine.spawn_vital(
            "following the chains",
            async move { running.run(sources).await },
        );
        Ok(engine)
    }

    async fn run(self: Arc<Self>, sources: Sources) {
        let mut pause = Duration::from_millis(50);
        while let Err(reason) = self.catch_up().await {
            tracing::warn!(%reason, "not ready yet");
            let unready = self.unready.send_replace(Some(reason.clone()));
            drop(unready);
            self.pause(pause).await;
            if self.is_stopping() {
                return;
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        if let Some(liquid) = self.liquid.clone() {
            let keeper = self.clone();
            self.spawn_vital("keeping the Liquid wallet", async move {
                keeper.keep_liquid(liquid).await
            });
        }
        if let Some(bitcoin) = self.bitcoin.clone() {
            let keeper = self.clone();
            self.spawn_vital("keeping the Bitcoin wallet", async move {
                keeper.keep_bitcoin(bitcoin).await
            });
        }
        self.unready.send_replace(None);
        let deposit = self.liquid.as_ref();
        let deposit = deposit.and_then(|liquid| liquid.deposit_address().ok());
        tracing::info!(
            swaps = self.cells.all().len(),
            // A new desk's first need; without one the wallet says why when GetInventory asks for it.
            deposit_address = deposit.map(|address| address.to_string()),
            bitcoin_deposit_address = self.bitcoin_deposit(),
            "ready"
        );
        for (chain, events) in sources {
            let looker = self.clone();
            self.spawn(async move { looker.look_at_chain_of_all(chain, true).await });
            let follower = self.clone();
            self.spawn_vital("following a chain", async move {
                follower.follow_chain(chain, events).await;
            });
        }
        self.follow_payments().await;
    }

    fn bitcoin_deposit(&self) -> Option<String> {
        let address = self.bitcoin.as_ref()?.chain().deposit_address().ok()?;
        Some(address.to_string())
    }

    /// Everything that must be known before the first swap: both heights, the coins, and the swaps that are under way.
    async fn catch_up(self: &Arc<Self>) -> Result<(), String> {
        let mut heights = BTreeMap::new();
        for (name, chain) in &self.chains {
            let tip = chain.tip().await.map_err(|error| error.to_string())?;
            let seen = self.store.cursor(name.word());
            let seen = seen.map_err(|error| error.to_string())?;
            if let Some(seen) = seen.filter(|seen| tip < *seen) {
                return Err(format!(
                    "the source of {name} is at {tip}, and this server has seen {seen}: it lags, or its chain is another one"
                ));
            }
            heights.insert(*name, tip);
        }
        let height = |name| heights.get(&name).copied().unwrap_or(Height(0));
        let info = self.node.info().await.map_err(|error| error.to_string())?;
        self.tips.send_replace(Some(Tips {
            liquid: height(ChainName::Liquid),
            bitcoin: height(ChainName::Bitcoin),
            lightning: info.height,
        }));
        for chain in self.chains.values() {
            chain.sync().await.map_err(|error| error.to_string())?;
        }
        if self.cells.all().is_empty() {
            self.recover().await.map_err(|error| error.to_string())?;
            self.load().await.map_err(|error| error.to_string())?;
        }
        for (name, chain) in &self.chains {
            let cells = self.cells.on(*name);
            let scripts = cells.iter().map(|cell| cell.watch()).collect();
            let watched = chain.watch(scripts).await;
            watched.map_err(|error| error.to_string())?;
        }
        self.try_refresh_lightning()
            .await
            .map_err(|error| error.to_string())
    }

    /// Takes what the store has under way into memory, and goes on with it.
    async fn load(self: &Arc<Self>) -> Result<(), StoreError> {
        let mut effects: HashMap<_, Vec<StoredEffect>> = HashMap::new();
        for effect in self.store.pending_effects()? {
            effects.entry(effect.swap).or_default().push(effect);
        }
        let unsettled = self.store.unsettled()?;
        let coins = self.store.coins()?;
        for stored in &unsettled {
            let of_swap = coins.get(&stored.swap.id).map(Vec::as_slice);
            let of_swap = of_swap.unwrap_or_default();
            let outpoints: Vec<_> = of_swap.iter().map(|coin| coin.outpoint).collect();
            let chain = self.chain(stored.swap.terms.chain);
            chain.take_stored(stored.swap.id, &outpoints);
        }
        for stored in unsettled {
            let pending = effects.remove(&stored.swap.id).unwrap_or_default();
            self.adopt(stored, pending);
        }
        Ok(())
    }

    /// Ends what runs. What is not done after a few seconds is done after the next start: nothing is lost.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *locked(&self.tasks));
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP, all).await.is_err() {
            tracing::warn!("some work did not end in time; it is taken up at the next start");
        }
    }
}
