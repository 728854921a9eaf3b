//! The wallet's coins and whose they are: each belongs to at most one swap or one split.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use elements::{AssetId, OutPoint};
use swaprig_units::{Sat, Units};

use super::{Engine, locked};
use crate::chain::{
    BroadcastError, Coin, FanOut, FanOutError, Needs, Selection, Shortage, Split, WalletError,
    select,
};
use crate::swap::{SwapId, Terms};

/// How many coins one transaction makes ready at most.
const MOST_PIECES: u64 = 200;
/// How many coins one transaction that makes others ready spends at most.
const MOST_COINS: usize = 60;
/// Of each coin that is made, rather too much; virtual bytes.
const PIECE_VSIZE: usize = 80;
/// Into how many coins what there is of an asset is split when the configuration names no size.
const PIECES: u64 = 16;
/// How many times as long as a look at the wallet takes it rests before the next one.
const REST: u32 = 2;

/// Who has a coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Swap(SwapId),
    /// A transaction that splits or gathers coins.
    Split,
    /// The funding of a swap that is over, which the wallet may not have seen yet.
    Spent,
}

/// The coins as the wallet saw them last, and who has taken which.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    coins: Arc<Vec<Coin>>,
    taken: HashMap<OutPoint, Owner>,
    /// The coins of swaps, also when the wallet no longer shows them.
    of_swaps: HashMap<SwapId, Vec<Coin>>,
    /// Splits of which nobody knows whether they were sent.
    unsure: Vec<FanOut>,
}

impl Inventory {
    /// What the wallet shows now.
    pub(super) fn refresh(&mut self, coins: Arc<Vec<Coin>>) {
        self.coins = coins;
        // A split is over when the wallet shows that its coins are spent; those of swaps stay theirs until they are settled, and
        // nobody else's after that.
        let shown: HashSet<OutPoint> = self.coins.iter().map(|coin| coin.outpoint).collect();
        self.taken.retain(|outpoint, owner| match owner {
            Owner::Split | Owner::Spent => shown.contains(outpoint),
            Owner::Swap(_) => true,
        });
    }

    /// Chooses coins for a swap, and takes them.
    pub(super) fn choose(&mut self, swap: SwapId, needs: &Needs) -> Result<Vec<Coin>, Shortage> {
        let taken = self.taken.keys().copied().collect();
        let coins = select(&self.coins, needs, &taken)?.coins;
        for coin in &coins {
            self.taken.insert(coin.outpoint, Owner::Swap(swap));
        }
        self.of_swaps.insert(swap, coins.clone());
        Ok(coins)
    }

    /// The most that could be chosen of an asset; each coin costs `per_coin` of L-BTC and the rest `fixed`.
    pub(super) fn most(&self, needs: &Needs, fixed: u64, per_coin: u64) -> Units {
        let free = |asset: AssetId| {
            let free = self
                .untaken()
                .filter(move |coin| coin.explicit && coin.asset == asset);
            free.fold((0_u64, 0_u64), |(sum, count), coin| {
                (sum + coin.value.0, count + 1)
            })
        };
        let (lbtc, coins) = free(needs.policy_asset);
        let fees = fixed + per_coin * coins + needs.fee_value.0;
        let left = lbtc.saturating_sub(fees);
        match needs.asset == needs.policy_asset {
            true => Units(left),
            false if left > 0 => Units(free(needs.asset).0),
            false => Units(0),
        }
    }

    /// Confirmed coins of any kind that nobody has taken.
    pub(super) fn untaken(&self) -> impl Iterator<Item = &Coin> {
        let confirmed = self.coins.iter().filter(|coin| coin.height.is_some());
        confirmed.filter(|coin| !self.taken.contains_key(&coin.outpoint))
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
        let coins = self
            .coins
            .iter()
            .filter(|coin| outpoints.contains(&coin.outpoint));
        let coins: Vec<Coin> = coins.cloned().collect();
        for outpoint in outpoints {
            self.taken.insert(*outpoint, Owner::Swap(swap));
        }
        self.of_swaps.insert(swap, coins);
    }

    /// The coins of a swap, as they are to be spent; the same each time.
    pub(super) fn of_swap(&self, swap: SwapId, needs: &Needs) -> Result<Selection, Shortage> {
        let coins = self
            .of_swaps
            .get(&swap)
            .map(Vec::as_slice)
            .unwrap_or_default();
        select(coins, needs, &HashSet::new())
    }

    /// The swap is over and its funding is in the chain: its coins are nobody's, though the wallet may show them for a while.
    pub(super) fn spent(&mut self, swap: SwapId) {
        for coin in self.of_swaps.remove(&swap).unwrap_or_default() {
            self.taken.insert(coin.outpoint, Owner::Spent);
        }
        // Those that the wallet showed no more when the server started.
        self.taken.retain(|_, owner| *owner != Owner::Swap(swap));
    }

    /// Others may use the coins of the swap.
    pub(super) fn release(&mut self, swap: SwapId) {
        self.of_swaps.remove(&swap);
        self.taken.retain(|_, owner| *owner != Owner::Swap(swap));
    }

    /// Of each asset: free value, free coins, reserved value, value that cannot be used yet.
    pub(super) fn sums(&self) -> BTreeMap<AssetId, [u64; 4]> {
        let mut sums: BTreeMap<AssetId, [u64; 4]> = BTreeMap::new();
        for coin in self.coins.iter() {
            let [free, count, reserved, pending] = sums.entry(coin.asset).or_default();
            match self.taken.get(&coin.outpoint) {
                Some(Owner::Swap(_)) => *reserved += coin.value.0,
                Some(Owner::Split) => *pending += coin.value.0,
                Some(Owner::Spent) => {}
                None if coin.explicit && coin.height.is_some() => {
                    *free += coin.value.0;
                    *count += 1;
                }
                None => *pending += coin.value.0,
            }
        }
        sums
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "gauges; nothing is decided by them"
    )]
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
    /// What a swap's funding needs.
    pub(super) fn needs(&self, asset: AssetId, amount: Units, fee_value: Sat) -> Needs {
        Needs {
            asset,
            amount,
            fee_value,
            policy_asset: self.config.lbtc,
            fees: self.wallet.fees(),
        }
    }

    pub(super) fn needs_of(&self, terms: &Terms) -> Needs {
        self.needs(terms.asset, terms.amount, terms.fee_value)
    }

    /// Keeps the inventory as the wallet shows it, and makes coins ready for swaps.
    pub(super) async fn keep_inventory(self: Arc<Self>) {
        while !self.is_stopping() {
            let started = Instant::now();
            if let Err(error) = self.sync_inventory().await {
                tracing::warn!(%error, "the wallet could not be brought up to date");
                self.pause(Duration::from_secs(1)).await;
                continue;
            }
            self.make_coins_ready().await;
            // Each funding changes the wallet; in between they have the processor for themselves.
            self.pause(started.elapsed().saturating_mul(REST)).await;
            tokio::select! {
                () = self.resync.notified() => {}
                () = self.wallet.changed() => {}
                () = self.pause(Duration::from_secs(600)) => {}
            }
        }
    }

    pub(super) async fn sync_inventory(&self) -> Result<(), WalletError> {
        self.wallet.sync().await?;
        locked(&self.inventory).refresh(self.wallet.coins());
        Ok(())
    }

    /// Makes explicit coins of the sizes that swaps need out of confidential ones.
    async fn make_coins_ready(&self) {
        let unsure = std::mem::take(&mut locked(&self.inventory).unsure);
        for made in unsure {
            if let Err(error) = self.send_split(&made).await {
                tracing::warn!(%error, "a split was sent again and not taken");
            }
        }
        let mut sizes: Vec<(AssetId, u64)> = locked(&self.sales)
            .iter()
            .map(|sale| (sale.asset, sale.coin))
            .collect();
        // Every funding pays its fee in L-BTC, also when that is not on sale.
        if self.sale(self.config.lbtc).is_none() {
            sizes.push((self.config.lbtc, 0));
        }
        for (asset, size) in sizes {
            let planned = {
                let mut inventory = locked(&self.inventory);
                let planned = self.plan(&inventory, asset, size);
                if let Some(Ok(made)) = &planned {
                    inventory.take_for_split(made.outpoints());
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
        if asset != self.config.lbtc {
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
            asset: self.config.lbtc,
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
            .untaken()
            .filter(|coin| coin.asset == self.config.lbtc);
        let enough = lbtc.filter(|coin| coin.value.0 >= enough.0);
        enough.min_by_key(|coin| coin.value).cloned()
    }

    /// Splits what is free of an asset; the coins are taken until the wallet shows that they are spent.
    pub(super) fn plan_split(
        &self,
        asset: AssetId,
        size: Units,
        count: u32,
    ) -> Result<FanOut, FanOutError> {
        let mut inventory = locked(&self.inventory);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let wanted = size.0.saturating_mul(count as u64);
        // L-BTC pays the fee, too.
        let enough = match asset == self.config.lbtc {
            true => {
                let fee = self
                    .wallet
                    .fees()
                    .rate
                    .fee(count * PIECE_VSIZE + MOST_COINS * 100);
                wanted.saturating_add(fee.0)
            }
            false => wanted,
        };
        let mut of_asset: Vec<&Coin> = inventory
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
        if sum <= wanted && (sum < wanted || asset == self.config.lbtc) {
            return Err(FanOutError::TooLittle);
        }
        if asset != self.config.lbtc {
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
        inventory.take_for_split(made.outpoints());
        Ok(made)
    }

    /// Sends what splits coins. A refusal frees them again; without an answer it is sent again when the index is back.
    pub(super) async fn send_split(&self, made: &FanOut) -> Result<(), BroadcastError> {
        let sent = self.index.broadcast(&made.transaction).await;
        let mut inventory = locked(&self.inventory);
        match &sent {
            // The wallet will show that coins are spent.
            Ok(_) | Err(BroadcastError::MissingInputs { .. }) => {}
            Err(BroadcastError::Rejected { .. }) => inventory.release_split(made.outpoints()),
            Err(BroadcastError::Unreachable(_)) => inventory.unsure.push(made.clone()),
        }
        sent.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::chain::{FeePolicy, test_coin};

    /// A swap can be over before the wallet shows that its coins are spent: they are not for another one.
    #[test]
    fn coins_of_a_swap_that_is_over_are_not_taken_again() {
        let lbtc = AssetId::from_byte_array([1; 32]);
        let needs = Needs {
            asset: lbtc,
            amount: Units(500),
            fee_value: Sat(0),
            policy_asset: lbtc,
            fees: FeePolicy::default(),
        };
        let [first, second] = [1, 2].map(|id| SwapId(Uuid::from_u128(id)));
        let coin = test_coin(1, lbtc, 1_000);
        let mut inventory = Inventory::default();
        inventory.refresh(Arc::new(vec![coin.clone()]));
        assert_eq!(inventory.choose(first, &needs), Ok(vec![coin.clone()]));
        inventory.spent(first);
        assert!(inventory.choose(second, &needs).is_err());
        assert_eq!(inventory.sums()[&lbtc], [0; 4]);
        // The wallet has not come so far.
        inventory.refresh(Arc::new(vec![coin.clone()]));
        assert!(inventory.choose(second, &needs).is_err());
        inventory.refresh(Arc::default());
        assert!(inventory.taken.is_empty() && inventory.of_swaps.is_empty());
        // One that was never funded gives its coins back.
        inventory.refresh(Arc::new(vec![coin.clone()]));
        assert_eq!(inventory.choose(first, &needs), Ok(vec![coin.clone()]));
        inventory.release(first);
        assert_eq!(inventory.choose(second, &needs), Ok(vec![coin]));
    }
}
