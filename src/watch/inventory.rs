//! The wallet's coins and whose they are: each belongs to at most one swap or one split.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use elements::{AssetId, OutPoint};

use super::{Engine, locked};
use crate::chain::{BroadcastError, Coin};
use crate::swap::SwapId;

/// Who has a coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Swap(SwapId),
    /// A transaction that splits or gathers coins.
    Split,
}

/// The coins as the wallet saw them last, and who has taken which.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    coins: HashMap<OutPoint, Coin>,
    taken: HashMap<OutPoint, Owner>,
    /// The coins of swaps, with what is needed to spend them, also when the wallet no longer shows them.
    of_swaps: HashMap<SwapId, Vec<Coin>>,
}

impl Inventory {
    /// What the wallet shows now.
    pub(super) fn refresh(&mut self, coins: Vec<Coin>) {
        self.coins = coins.into_iter().map(|coin| (coin.outpoint, coin)).collect();
        // A split is over when the wallet shows that its coins are spent; those of swaps stay theirs until they are settled.
        let coins = &self.coins;
        self.taken.retain(|outpoint, owner| match owner {
            Owner::Split => coins.contains_key(outpoint),
            Owner::Swap(_) => true,
        });
    }

    /// Confirmed explicit coins that nobody has taken.
    pub(super) fn free(&self) -> Vec<Coin> {
        let free = self.coins.values().filter(|coin| {
            coin.explicit && coin.height.is_some() && !self.taken.contains_key(&coin.outpoint)
        });
        free.cloned().collect()
    }

    /// Confirmed coins of any kind that nobody has taken.
    pub(super) fn untaken(&self) -> Vec<Coin> {
        let free = self.coins.values();
        let free = free.filter(|coin| coin.height.is_some() && !self.taken.contains_key(&coin.outpoint));
        free.cloned().collect()
    }

    pub(super) fn take(&mut self, swap: SwapId, coins: &[Coin]) {
        for coin in coins {
            self.taken.insert(coin.outpoint, Owner::Swap(swap));
        }
        self.of_swaps.insert(swap, coins.to_vec());
    }

    pub(super) fn take_for_split(&mut self, coins: impl IntoIterator<Item = OutPoint>) {
        for outpoint in coins {
            self.taken.insert(outpoint, Owner::Split);
        }
    }

    pub(super) fn release_split(&mut self, coins: impl IntoIterator<Item = OutPoint>) {
        for outpoint in coins {
            if self.taken.get(&outpoint) == Some(&Owner::Split) {
                self.taken.remove(&outpoint);
            }
        }
    }

    /// The coins of a swap are taken, and known to the store only by their outpoints.
    pub(super) fn take_stored(&mut self, swap: SwapId, outpoints: &[OutPoint]) {
        let coins = outpoints.iter().filter_map(|outpoint| self.coins.get(outpoint));
        let coins: Vec<Coin> = coins.cloned().collect();
        for outpoint in outpoints {
            self.taken.insert(*outpoint, Owner::Swap(swap));
        }
        self.of_swaps.insert(swap, coins);
    }

    pub(super) fn of_swap(&self, swap: SwapId) -> Vec<Coin> {
        self.of_swaps.get(&swap).cloned().unwrap_or_default()
    }

    pub(super) fn release(&mut self, swap: SwapId) {
        self.of_swaps.remove(&swap);
        self.taken.retain(|_, owner| *owner != Owner::Swap(swap));
    }

    /// Of each asset: free value, free coins, reserved value, value that cannot be used yet.
    pub(super) fn sums(&self) -> BTreeMap<AssetId, [u64; 4]> {
        let mut sums: BTreeMap<AssetId, [u64; 4]> = BTreeMap::new();
        for coin in self.coins.values() {
            let [free, count, reserved, pending] = sums.entry(coin.asset).or_default();
            match self.taken.get(&coin.outpoint) {
                Some(Owner::Swap(_)) => *reserved += coin.value,
                Some(Owner::Split) => *pending += coin.value,
                None if coin.explicit && coin.height.is_some() => {
                    *free += coin.value;
                    *count += 1;
                }
                None => *pending += coin.value,
            }
        }
        sums
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges; nothing is decided by them")]
    pub(super) fn tell_numbers(&self, lbtc: AssetId) {
        for (asset, [free, count, reserved, _]) in self.sums() {
            let name = match asset == lbtc {
                true => "lbtc".to_owned(),
                false => asset.to_string(),
            };
            metrics::gauge!("swaprig_free_amount", "asset" => name.clone()).set(free as f64);
            metrics::gauge!("swaprig_free_coins", "asset" => name.clone()).set(count as f64);
            metrics::gauge!("swaprig_reserved_amount", "asset" => name).set(reserved as f64);
        }
    }
}

impl Engine {
    /// Keeps the inventory as the wallet shows it, and fans out what is not usable for swaps.
    pub(super) async fn keep_inventory(self: Arc<Self>) {
        while !self.is_stopping() {
            if let Err(error) = self.sync_inventory().await {
                tracing::warn!(%error, "the wallet could not be brought up to date");
                self.pause(Duration::from_secs(1)).await;
                continue;
            }
            self.fan_out().await;
            tokio::select! {
                () = self.resync.notified() => {}
                () = self.pause(Duration::from_secs(600)) => {}
            }
        }
    }

    pub(super) async fn sync_inventory(&self) -> Result<(), crate::chain::WalletError> {
        self.wallet.sync().await?;
        let coins = self.wallet.coins()?;
        locked(&self.inventory).refresh(coins);
        Ok(())
    }

    /// Makes explicit coins of the sizes that swaps need out of confidential and large ones.
    async fn fan_out(&self) {
        for sale in &self.config.sell {
            let coins = locked(&self.inventory).untaken();
            let plan = match self.wallet.fan_out(&coins, sale.asset, sale.coin) {
                Ok(Some(plan)) => plan,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(asset = %sale.asset, %error, "no coins could be made ready for swaps");
                    continue;
                }
            };
            let spent: Vec<OutPoint> = plan.input.iter().map(|input| input.previous_output).collect();
            locked(&self.inventory).take_for_split(spent.iter().copied());
            match self.index.broadcast(&plan).await {
                Ok(txid) => tracing::info!(asset = %sale.asset, %txid, "coins are made ready for swaps"),
                Err(error) => {
                    tracing::warn!(asset = %sale.asset, %error, "coins for swaps could not be made ready");
                    // A refusal says that nothing was sent; otherwise the wallet will show what happened.
                    if matches!(error, BroadcastError::Rejected { .. }) {
                        locked(&self.inventory).release_split(spent);
                    }
                }
            }
        }
    }
}
