//! Electrum as a source: subscriptions tell what is new, BDK brings the wallet up to it, and scripts are looked up when asked.

use std::collections::HashSet;
use std::sync::Arc;

use bdk_electrum::BdkElectrumClient;
use bdk_electrum::electrum_client::{self, ElectrumApi as _};
use bdk_wallet::KeychainKind;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{ScriptBuf, Transaction, Txid};
use serde_json::{Value, json};
use swaprig_units::Height;
use tokio::sync::mpsc;

use super::watched::Found;
use super::{BitcoinError, BitcoinEvent, Inner, Standing, lock};

use crate::chain::index::{BroadcastError, Index, IndexError, IndexSettings, malformed, pause};
use crate::chain::wallet::blocking;
use crate::chain::watcher::{Outbox, WatchEvent, Watcher};
use crate::swap::{Depth, FeeRate};

/// How many unused addresses in a row end a scan by the seed alone.
const STOP_GAP: usize = 100;
/// Scripts that BDK asks for at once.
const BATCH: usize = 100;

type Client = BdkElectrumClient<electrum_client::Client>;

/// The source. The listener ends when this is dropped.
pub(super) struct Electrum {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
}

struct Shared {
    inner: Arc<Inner>,
    settings: IndexSettings,
    index: Index,
    /// One look at a time; made when it is needed, and anew when it failed.
    client: Arc<tokio::sync::Mutex<Option<Client>>>,
}

impl Electrum {
    /// Starts to listen.
    pub(super) fn start(
        inner: &Arc<Inner>,
        settings: IndexSettings,
        events: mpsc::Sender<BitcoinEvent>,
    ) -> Result<Electrum, BitcoinError> {
        let index = Index::new(settings.clone())?;
        let (watcher, heard) = Watcher::start(&index);
        let watcher = Arc::new(watcher);
        let shared = Arc::new(Shared {
            inner: Arc::clone(inner),
            settings,
            index,
            client: Arc::default(),
        });
        let listener = Listener {
            shared: Arc::clone(&shared),
            watcher: Arc::downgrade(&watcher),
            subscribed: HashSet::new(),
            outbox: Outbox::default(),
            is_stale: true,
            failed: 0,
            tip: None,
        };
        tokio::spawn(listener.run(heard, events));
        Ok(Electrum { shared, watcher })
    }

    pub(super) async fn tip(&self) -> Result<Height, IndexError> {
        const METHOD: &str = "blockchain.headers.subscribe";
        let said = self.shared.index.call(METHOD, json!([])).await?;
        let height = said["height"].as_u64().map(u32::try_from);
        match height {
            Some(Ok(height)) => Ok(Height(height)),
            _ => Err(malformed(METHOD, said.to_string())),
        }
    }

    pub(super) async fn sync(&self) -> Result<(), IndexError> {
        self.shared.sync().await
    }

    pub(super) async fn watch(&self, scripts: Vec<(ScriptBuf, Height)>) -> Result<(), IndexError> {
        {
            let mut state = lock(&self.shared.inner.state);
            for (script, _) in &scripts {
                state.watched.watch(script.clone());
            }
        }
        let scripts = scripts.iter().map(|(script, _)| foreign(script));
        self.watcher.watch(scripts.collect::<Vec<_>>()).await
    }

    pub(super) async fn unwatch(&self, script: &ScriptBuf) {
        self.watcher.unwatch(foreign(script)).await;
    }

    pub(super) async fn outputs(&self, script: &ScriptBuf) -> Result<Vec<Found>, IndexError> {
        // Looked up anew each time: nothing is remembered, so that a reorganisation changes the answer.
        let history = self.history(script).await?;
        let txids: Vec<Txid> = history.iter().map(|(txid, _)| *txid).collect();
        let transactions = self.transactions(&txids).await?;
        let mut watched = super::Watched::default();
        watched.watch(script.clone());
        // The order in the mempool is not that of spending.
        for _ in 0..2 {
            for (transaction, (_, depth)) in transactions.iter().zip(&history) {
                watched.see(transaction, *depth);
            }
        }
        Ok(watched.outputs(script))
    }

    async fn history(&self, script: &ScriptBuf) -> Result<Vec<(Txid, Depth)>, IndexError> {
        let items = self.shared.index.history(&foreign(script)).await?;
        let own = |txid: elements::Txid| {
            let bytes = elements::hashes::Hash::to_byte_array(txid);
            <Txid as bitcoin::hashes::Hash>::from_byte_array(bytes)
        };
        Ok(items
            .iter()
            .map(|item| (own(item.txid), item.depth))
            .collect())
    }

    async fn transactions(&self, txids: &[Txid]) -> Result<Vec<Transaction>, IndexError> {
        const METHOD: &str = "blockchain.transaction.get";
        let params = txids.iter().map(|txid| json!([txid])).collect();
        let said = self.shared.index.batch(METHOD, params).await?;
        let read = |(txid, said): (&Txid, &Value)| {
            let text = said.as_str().ok_or_else(|| malformed(METHOD, "no text"))?;
            let transaction: Transaction =
                deserialize_hex(text).map_err(|error| malformed(METHOD, error.to_string()))?;
            let found = transaction.compute_txid();
            match found == *txid {
                true => Ok(transaction),
                false => Err(malformed(METHOD, format!("{found} for {txid}"))),
            }
        };
        txids.iter().zip(&said).map(read).collect()
    }

    pub(super) async fn standing(&self, transaction: &Transaction) -> Result<Standing, IndexError> {
        let txid = transaction.compute_txid();
        let mut outputs = transaction
            .output
            .iter()
            .map(|output| &output.script_pubkey);
        // Nobody keeps a history of what cannot be spent.
        let script = outputs.find(|script| !script.is_op_return());
        let history = match script {
            Some(script) => self.history(script).await?,
            None => Vec::new(),
        };
        let own = history.iter().find(|(own, _)| *own == txid);
        let depth = own.map_or(Depth::Unseen, |(_, depth)| *depth);
        if depth != Depth::Unseen {
            return Ok(Standing {
                depth,
                conflicted: false,
            });
        }
        self.sync().await?;
        let conflict = lock(&self.shared.inner.state).vault.conflict(transaction);
        Ok(Standing {
            depth,
            conflicted: conflict.is_some(),
        })
    }

    pub(super) async fn broadcast(&self, transaction: &Transaction) -> Result<(), BroadcastError> {
        let txid = transaction.compute_txid().to_string();
        self.shared
            .index
            .send(serialize_hex(transaction), &txid)
            .await
    }

    pub(super) async fn estimate(&self, blocks: u32) -> Result<Option<FeeRate>, IndexError> {
        self.shared.index.fee_rate(blocks).await
    }
}

impl Shared {
    /// Brings the wallet up to what the server shows.
    async fn sync(self: &Arc<Self>) -> Result<(), IndexError> {
        let mut client = Arc::clone(&self.client).lock_owned().await;
        let own = Arc::clone(self);
        // The guard goes along: when nobody waits for this any more, the look still ends before the next one.
        blocking(move || {
            let synced = own.sync_now(&mut client);
            if synced.is_err() {
                *client = None;
            }
            synced
        })
        .await
    }

    fn sync_now(&self, client: &mut Option<Client>) -> Result<(), IndexError> {
        let lost = |error: electrum_client::Error| IndexError::Unreachable(error.to_string());
        let client = match client {
            Some(client) => client,
            None => {
                let config = electrum_client::Config::builder()
                    .timeout(Some(self.settings.timeout))
                    .retry(0)
                    .build();
                let made = electrum_client::Client::from_config(&self.settings.url, config);
                client.insert(BdkElectrumClient::new(made.map_err(lost)?))
            }
        };
        self.fall_back(client)?;
        let mut state = lock(&self.inner.state);
        let now = state.vault.now();
        let wallet = &state.vault.wallet;
        // By the seed alone, nobody knows which addresses were given out.
        let update: bdk_wallet::Update = if wallet.latest_checkpoint().height() == 0 {
            let request = wallet.start_full_scan_at(now);
            drop(state);
            client
                .full_scan(request, STOP_GAP, BATCH, false)
                .map_err(lost)?
                .into()
        } else {
            let request = wallet.start_sync_with_revealed_spks_at(now);
            drop(state);
            client.sync(request, BATCH, false).map_err(lost)?.into()
        };
        let mut state = lock(&self.inner.state);
        let vault = &mut state.vault;
        let applied = vault.wallet.apply_update(update);
        applied.map_err(|error| malformed("the wallet's histories", error.to_string()))?;
        vault.count();
        drop(state);
        self.inner.save().map_err(unsaved)
    }

    /// Takes back the blocks that the server does not have any more, without others in their place: BDK would wait for those.
    fn fall_back(&self, client: &Client) -> Result<(), IndexError> {
        let lost = |error: electrum_client::Error| IndexError::Unreachable(error.to_string());
        let tip = client.inner.block_headers_subscribe().map_err(lost)?.height;
        let checkpoint = lock(&self.inner.state).vault.wallet.latest_checkpoint();
        if u32::try_from(tip).is_ok_and(|tip| tip >= checkpoint.height()) {
            return Ok(());
        }
        for one in checkpoint.iter().filter(|one| one.height() as usize <= tip) {
            let header = client.inner.block_header(one.height() as usize);
            if header.map_err(lost)?.block_hash() == one.hash() {
                let height = Height(one.height());
                return self.inner.shorten(height).map_err(unsaved);
            }
        }
        let why = "the server knows none of the blocks that were seen: it is of another chain";
        Err(IndexError::Unreachable(why.to_owned()))
    }

    /// The scripts of the wallet that can hold coins.
    fn own_scripts(&self) -> Vec<ScriptBuf> {
        let state = lock(&self.inner.state);
        let index = state.vault.wallet.spk_index();
        let all = [KeychainKind::External, KeychainKind::Internal].into_iter();
        let all = all.flat_map(|keychain| index.revealed_keychain_spks(keychain));
        all.map(|(_, script)| script).collect()
    }
}

/// Hears what the server says, keeps the wallet up to it and passes on the rest.
struct Listener {
    shared: Arc<Shared>,
    watcher: std::sync::Weak<Watcher>,
    /// The wallet's scripts that are watched.
    subscribed: HashSet<ScriptBuf>,
    outbox: Outbox<ScriptBuf>,
    /// Whether the wallet has to be brought up.
    is_stale: bool,
    failed: u32,
    /// A tip that is told when the wallet has it.
    tip: Option<Height>,
}

impl Listener {
    async fn run(
        mut self,
        mut heard: mpsc::Receiver<WatchEvent>,
        events: mpsc::Sender<BitcoinEvent>,
    ) {
        loop {
            if self.is_stale && heard.is_empty() && self.watcher.strong_count() > 0 {
                self.bring_up().await;
            }
            self.outbox.deliver_now(&events);
            let next = heard.recv();
            // What failed, or what there was no room for, is tried again.
            let again = self.is_stale || !self.outbox.is_empty();
            let next = match again {
                false => Ok(next.await),
                true => tokio::time::timeout(pause(self.failed.max(1)), next).await,
            };
            match next {
                Err(_) => {}
                Ok(None) => return,
                Ok(Some(event)) => self.hear(event),
            }
        }
    }

    fn hear(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Changed(script) => {
                let script = ScriptBuf::from(script.into_bytes());
                self.is_stale |= self.subscribed.contains(&script);
                if lock(&self.shared.inner.state).watched.is_watched(&script) {
                    self.outbox.add(BitcoinEvent::Changed(script));
                }
            }
            WatchEvent::Tip(height) => {
                self.tip = Some(height);
                self.is_stale = true;
            }
            WatchEvent::Lost => self.outbox.add(BitcoinEvent::Lost),
            WatchEvent::Reconnected => {
                self.is_stale = true;
                self.outbox.add(BitcoinEvent::Reconnected);
            }
        }
    }

    async fn bring_up(&mut self) {
        self.is_stale = false;
        let synced = async {
            self.shared.sync().await?;
            // Once more for those that are new: what came to them before they were watched is not told.
            let own = self.shared.own_scripts().into_iter();
            let new: Vec<ScriptBuf> = own.filter(|one| !self.subscribed.contains(one)).collect();
            if new.is_empty() {
                return Ok(());
            }
            if let Some(watcher) = self.watcher.upgrade() {
                watcher
                    .watch(new.iter().map(foreign).collect::<Vec<_>>())
                    .await?;
            }
            self.subscribed.extend(new);
            self.shared.sync().await
        };
        if let Err(error) = synced.await {
            tracing::debug!(%error, "the wallet could not be brought up");
            self.is_stale = true;
            self.failed += 1;
            return;
        }
        self.failed = 0;
        if let Some(height) = self.tip.take() {
            self.outbox.add(BitcoinEvent::Tip(height));
        }
    }
}

fn unsaved(error: BitcoinError) -> IndexError {
    malformed("the wallet's database", error.to_string())
}

/// A script as the index takes it, which hashes bytes.
fn foreign(script: &ScriptBuf) -> elements::Script {
    elements::Script::from(script.to_bytes())
}
