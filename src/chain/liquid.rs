//! Liquid as swaps see it: the index, the watcher and the wallet together, and whose the wallet's coins are.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::ScriptBuf;
use bitcoin::secp256k1::SecretKey;
use elements::encode::{deserialize, serialize_hex};
use elements::hex::decode_to_vec;
use elements::secp256k1_zkp::rand::thread_rng;
use elements::{Address, AddressParams, AssetId, Script, Transaction};
use futures_util::future::BoxFuture;
use swaprig_units::{Height, Sat, Units};
use tokio::sync::mpsc;

use super::coins::{Coin, Needs, Selection, select};
use super::fan_out::{FanOut, FanOutError, Split};
use super::index::{BroadcastError, Index, IndexError};
use super::observe::observe;
use super::reservations::Reservations;
use super::swap_chain::{
    AnyError, ChainEvent, Lock, Rates, Recovered, Shortage, Signed, Sums, SwapChain, Watch, Way,
};
use super::wallet::{Wallet, WalletError};
use super::watcher::{WatchEvent, Watcher};
use crate::store::ReservedCoin;
use crate::swap::{
    self, ChainName, ChainState, FeeRate, FundingTx, Htlc, Locked, Swap, SwapId, Terms,
    liquid_outpoint, neutral_outpoint, neutral_txid,
};

/// How many coins one transaction makes ready at most.
const MOST_PIECES: u64 = 200;
/// How many coins one transaction that makes others ready spends at most.
const MOST_COINS: usize = 60;
/// Of each coin that is made, rather too much; virtual bytes.
const PIECE_VSIZE: usize = 80;
/// Into how many coins what there is of an asset is split when the configuration names no size.
const PIECES: u64 = 16;
/// Of a funding with one input and with change, rather too much; virtual bytes.
const FUNDING_VSIZE: usize = 450;
/// Of each input, rather too much; virtual bytes.
const INPUT_VSIZE: usize = 80;
/// Events that wait to be taken; those of the watcher are merged there when there are more.
const EVENTS: usize = 16;

/// Whose the coins are.
#[derive(Debug, Default)]
struct Inventory {
    coins: Reservations<Coin>,
    /// Splits of which nobody knows whether they were sent.
    unsure: Vec<FanOut>,
}

/// Liquid, with the server's wallet on it.
pub struct Liquid {
    index: Index,
    wallet: Wallet,
    watcher: Watcher,
    params: &'static AddressParams,
    most: FeeRate,
    inventory: Mutex<Inventory>,
}

impl fmt::Debug for Liquid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liquid").finish_non_exhaustive()
    }
}

impl Liquid {
    /// Begins to watch. `most` is what a late refund pays at most.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        index: Index,
        wallet: Wallet,
        params: &'static AddressParams,
        most: FeeRate,
    ) -> (Arc<Liquid>, mpsc::Receiver<ChainEvent>) {
        let (watcher, mut seen) = Watcher::start(&index);
        let (told, events) = mpsc::channel(EVENTS);
        tokio::spawn(async move {
            while let Some(event) = seen.recv().await {
                let event = match event {
                    WatchEvent::Tip(height) => ChainEvent::Tip(height),
                    WatchEvent::Changed(script) => {
                        ChainEvent::Changed(ScriptBuf::from(script.into_bytes()))
                    }
                    WatchEvent::Lost => ChainEvent::Lost,
                    WatchEvent::Reconnected => ChainEvent::Reconnected,
                };
                if told.send(event).await.is_err() {
                    return;
                }
            }
        });
        let liquid = Liquid {
            index,
            wallet,
            watcher,
            params,
            most,
            inventory: Mutex::default(),
        };
        (Arc::new(liquid), events)
    }

    fn locked(&self) -> MutexGuard<'_, Inventory> {
        // Nothing in there panics half-way.
        self.inventory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Its wallet.
    pub fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// A confidential address for whoever asks where to send coins.
    ///
    /// # Errors
    /// As [`Wallet::deposit_address`].
    pub fn deposit_address(&self) -> Result<Address, WalletError> {
        self.wallet.deposit_address()
    }

    /// How addresses are written.
    pub fn params(&self) -> &'static AddressParams {
        self.params
    }

    fn lbtc(&self) -> AssetId {
        self.wallet.policy_asset()
    }

    fn needs(&self, terms: &Terms) -> Needs {
        Needs::of(terms, self.lbtc(), self.wallet.fees())
    }

    /// The coins of a swap, as they are to be spent; the same each time.
    fn selected(&self, swap: SwapId, terms: &Terms) -> Result<Selection, Shortage> {
        let inventory = self.locked();
        let coins = inventory.coins.of_swap(swap);
        select(coins, &self.needs(terms), &HashSet::new())
    }

    /// The most that could be locked of an asset, with `fee_value` of L-BTC beside it.
    pub fn most(&self, asset: AssetId, fee_value: Sat) -> Units {
        let inventory = self.locked();
        let free = |asset: AssetId| {
            let coins = inventory.coins.untaken();
            let free = coins.filter(move |coin| coin.explicit && coin.asset == asset);
            free.fold((0_u64, 0_u64), |(sum, count), coin| {
                (sum + coin.value.0, count + 1)
            })
        };
        let rate = self.wallet.fees().rate;
        let (lbtc, coins) = free(self.lbtc());
        let fees = rate.fee(FUNDING_VSIZE).0 + rate.fee(INPUT_VSIZE).0 * coins + fee_value.0;
        let left = lbtc.saturating_sub(fees);
        match asset == self.lbtc() {
            true => Units(left),
            false if left > 0 => Units(free(asset).0),
            false => Units(0),
        }
    }

    /// What there is of each asset.
    pub fn sums(&self) -> BTreeMap<AssetId, Sums> {
        self.locked().coins.sums(|coin| coin.asset)
    }

    /// Returns when the index says that something of the wallet's is another.
    pub async fn changed(&self) {
        self.wallet.changed().await;
    }

    /// Makes explicit coins of the sizes that swaps need out of confidential ones; a size of 0 leaves it to the wallet.
    pub async fn make_coins_ready(&self, sizes: &[(AssetId, u64)]) {
        let unsure = std::mem::take(&mut self.locked().unsure);
        for made in unsure {
            if let Err(error) = self.send_split(&made).await {
                tracing::warn!(%error, "a split was sent again and not taken");
            }
        }
        for (asset, size) in sizes {
            let planned = {
                let mut inventory = self.locked();
                let planned = self.plan(&inventory, *asset, *size);
                if let Some(Ok(made)) = &planned {
                    inventory.take_for_split(made);
                }
                planned
            };
            match planned {
                None => {}
                Some(Ok(made)) => match self.send_split(&made).await {
                    Ok(()) => {
                        tracing::info!(%asset, txid = %made.transaction.txid(), coins = made.pieces, "coins are made ready for swaps")
                    }
                    Err(error) => {
                        tracing::warn!(%asset, %error, "no coins could be made ready for swaps")
                    }
                },
                Some(Err(error)) => {
                    tracing::debug!(%asset, %error, "no coins can be made ready for swaps")
                }
            }
        }
    }

    /// The transaction that makes the confidential coins of an asset usable; `None` when there are none.
    fn plan(
        &self,
        inventory: &Inventory,
        asset: AssetId,
        size: u64,
    ) -> Option<Result<FanOut, FanOutError>> {
        let blinded = inventory
            .coins
            .untaken()
            .filter(|coin| coin.asset == asset && !coin.explicit);
        let mut coins: Vec<Coin> = blinded.take(MOST_COINS).cloned().collect();
        if coins.is_empty() {
            return None;
        }
        let sum: u64 = coins.iter().map(|coin| coin.value.0).sum();
        let size = match size {
            0 => (sum / PIECES).max(1),
            size => size,
        };
        let count = (sum / size).clamp(1, MOST_PIECES);
        if asset != self.lbtc() {
            coins.extend(self.coin_for_fee(inventory));
        }
        let split = Split {
            asset,
            count: usize::try_from(count).unwrap_or(1),
            size: Units(size),
        };
        Some(self.wallet.fan_out(coins, &self.with_change(split)))
    }

    /// What the fee of a split leaves of L-BTC stays one explicit coin: blinded, it would be split next, into ever smaller ones.
    fn with_change(&self, split: Split) -> Vec<Split> {
        let change = Split {
            asset: self.lbtc(),
            count: 1,
            size: Units(u64::MAX),
        };
        match split.asset == change.asset {
            true => vec![split],
            false => vec![split, change],
        }
    }

    /// The smallest coin of L-BTC that surely pays the fee of a split.
    fn coin_for_fee(&self, inventory: &Inventory) -> Option<Coin> {
        let enough = self.wallet.fees().rate.fee(MOST_COINS * 100 + 40_000);
        let lbtc = inventory
            .coins
            .untaken()
            .filter(|coin| coin.asset == self.lbtc());
        let enough = lbtc.filter(|coin| coin.value.0 >= enough.0);
        enough.min_by_key(|coin| coin.value).cloned()
    }

    /// Splits what is free of an asset; the coins are taken until the wallet shows that they are spent.
    ///
    /// # Errors
    /// When not enough is free.
    pub fn plan_split(
        &self,
        asset: AssetId,
        size: Units,
        count: u32,
    ) -> Result<FanOut, FanOutError> {
        let mut inventory = self.locked();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let wanted = size.0.saturating_mul(count as u64);
        // L-BTC pays the fee, too.
        let enough = match asset == self.lbtc() {
            true => {
                let rate = self.wallet.fees().rate;
                let fee = rate.fee(count * PIECE_VSIZE + MOST_COINS * 100);
                wanted.saturating_add(fee.0)
            }
            false => wanted,
        };
        let mut of_asset: Vec<&Coin> = inventory
            .coins
            .untaken()
            .filter(|coin| coin.asset == asset)
            .collect();
        of_asset.sort_by_key(|coin| std::cmp::Reverse(coin.value));
        let mut coins: Vec<Coin> = Vec::new();
        let mut sum = 0_u64;
        for coin in of_asset.into_iter().take(MOST_COINS) {
            if sum >= enough {
                break;
            }
            sum += coin.value.0;
            coins.push(coin.clone());
        }
        if sum <= wanted && (sum < wanted || asset == self.lbtc()) {
            return Err(FanOutError::TooLittle);
        }
        if asset != self.lbtc() {
            coins.extend(self.coin_for_fee(&inventory));
        }
        let split = Split { asset, count, size };
        let made = self.wallet.fan_out(coins, &self.with_change(split))?;
        // All of them or none: the operator counts on them.
        let pieces = made.transaction.output.iter().filter(|output| {
            output.asset.explicit() == Some(asset) && output.value.explicit() == Some(size.0)
        });
        if pieces.count() < count {
            return Err(FanOutError::TooLittle);
        }
        inventory.take_for_split(&made);
        Ok(made)
    }

    /// Sends what splits coins. A refusal frees them again; without an answer it is sent again when the index is back.
    ///
    /// # Errors
    /// As [`Index::broadcast`].
    pub async fn send_split(&self, made: &FanOut) -> Result<(), BroadcastError> {
        let sent = self.index.broadcast(&made.transaction).await;
        let mut inventory = self.locked();
        match &sent {
            // The wallet will show that coins are spent.
            Ok(_) | Err(BroadcastError::MissingInputs { .. }) => {}
            Err(BroadcastError::Rejected { .. }) => {
                let outpoints = made
                    .coins
                    .iter()
                    .map(|coin| neutral_outpoint(coin.outpoint));
                inventory.coins.release_split(outpoints);
            }
            Err(BroadcastError::Unreachable(_)) => inventory.unsure.push(made.clone()),
        }
        sent.map(drop)
    }
}

impl Inventory {
    fn take_for_split(&mut self, made: &FanOut) {
        let outpoints = made
            .coins
            .iter()
            .map(|coin| neutral_outpoint(coin.outpoint));
        self.coins.take_for_split(outpoints);
    }
}

/// A transaction as it is stored; `None` when it is none.
fn transaction_of(raw: &str) -> Option<Transaction> {
    deserialize(&decode_to_vec(raw).ok()?).ok()
}

impl SwapChain for Liquid {
    fn name(&self) -> ChainName {
        ChainName::Liquid
    }

    fn tip(&self) -> BoxFuture<'_, Result<Height, IndexError>> {
        Box::pin(async { Ok(self.index.tip().await?.height) })
    }

    fn watch(&self, scripts: Vec<Watch>) -> BoxFuture<'_, Result<(), IndexError>> {
        let scripts = scripts.into_iter();
        let scripts: Vec<Script> = scripts
            .map(|watch| Script::from(watch.script.into_bytes()))
            .collect();
        Box::pin(self.watcher.watch(scripts))
    }

    fn unwatch(&self, script: ScriptBuf) -> BoxFuture<'_, ()> {
        Box::pin(self.watcher.unwatch(Script::from(script.into_bytes())))
    }

    fn observe<'a>(
        &'a self,
        swap: &'a Swap,
    ) -> BoxFuture<'a, Result<Option<ChainState>, IndexError>> {
        Box::pin(observe(&self.index, swap))
    }

    fn broadcast<'a>(&'a self, raw: &'a str) -> BoxFuture<'a, Result<(), BroadcastError>> {
        Box::pin(async move {
            let transaction = transaction_of(raw).ok_or_else(|| BroadcastError::Rejected {
                text: "it is no transaction".to_owned(),
            })?;
            self.index.broadcast(&transaction).await.map(drop)
        })
    }

    fn lock(&self, terms: &Terms) -> Lock {
        let htlc = Htlc::of(terms);
        Lock {
            script: ScriptBuf::from(htlc.script_pubkey().into_bytes()),
            address: htlc.address(self.params).to_string(),
            witness_script: format!("{:x}", htlc.witness_script()),
        }
    }

    fn spend(
        &self,
        swap: &Swap,
        way: Way,
        key: &SecretKey,
        to: &str,
        rate: FeeRate,
    ) -> Result<Signed, AnyError> {
        let funding = swap.funding.as_ref().ok_or("nothing is locked")?;
        let locked = Locked::of(&swap.terms, self.lbtc(), funding);
        let to: Address = to.parse()?;
        let mut rng = thread_rng();
        let made = match way {
            Way::Claim(preimage) => swap::claim(&locked, &preimage, key, &to, rate, &mut rng),
            Way::Refund => swap::refund(&locked, key, &to, rate, &mut rng),
        };
        let transaction = made?;
        Ok(Signed {
            txid: neutral_txid(transaction.txid()),
            raw: serialize_hex(&transaction),
        })
    }

    fn rates(&self) -> Rates {
        Rates {
            first: self.wallet.fees().rate,
            most: self.most,
        }
    }

    fn fresh_address(&self) -> Result<String, AnyError> {
        Ok(self.wallet.fresh_address()?.to_string())
    }

    fn reserve(&self, swap: SwapId, terms: &Terms) -> Result<Vec<ReservedCoin>, Shortage> {
        let mut inventory = self.locked();
        let (coins, taken) = inventory.coins.for_choice();
        let taken = taken.into_iter().map(liquid_outpoint).collect();
        let coins = select(coins, &self.needs(terms), &taken)?.coins;
        Ok(inventory.coins.take(swap, coins))
    }

    fn take_stored(&self, swap: SwapId, outpoints: &[bitcoin::OutPoint]) {
        self.locked().coins.take_stored(swap, outpoints);
    }

    fn fund(&self, swap: SwapId, terms: &Terms, index: u32) -> Result<FundingTx, Shortage> {
        let coins = self.selected(swap, terms)?;
        Ok(self.wallet.fund(&coins, terms, index).1)
    }

    fn spent(&self, swap: SwapId) {
        self.locked().coins.spent(swap);
    }

    fn release(&self, swap: SwapId) {
        self.locked().coins.release(swap);
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), AnyError>> {
        Box::pin(async {
            self.wallet.sync().await?;
            self.locked().coins.refresh(self.wallet.coins());
            Ok(())
        })
    }

    fn recover(&self) -> Vec<Recovered> {
        self.wallet.recover()
    }

    fn is_used(&self) -> bool {
        self.wallet.transactions() > 0
    }
}
