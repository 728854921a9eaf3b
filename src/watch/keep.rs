//! Keeping the wallets: their coins as the chains show them, and coins that are ready for swaps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use elements::AssetId;

use super::{Engine, locked};
use crate::chain::bitcoin::Bitcoin;
use crate::chain::{Liquid, SwapChain};

/// How many times as long as a look at a wallet takes it rests before the next one.
const REST: u32 = 2;
/// How long a wallet is left alone at most when nothing is told.
const LOOK_AFTER: Duration = Duration::from_secs(600);

impl Engine {
    /// Keeps Liquid's coins as the wallet shows them, and makes coins ready for swaps.
    pub(super) async fn keep_liquid(self: Arc<Self>, liquid: Arc<Liquid>) {
        let mut resync = self.resync.subscribe();
        while !self.is_stopping() {
            let started = Instant::now();
            if let Err(error) = liquid.sync().await {
                tracing::warn!(%error, "the Liquid wallet could not be brought up to date");
                self.pause(Duration::from_secs(1)).await;
                continue;
            }
            liquid.make_coins_ready(&self.coin_sizes()).await;
            // Each funding changes the wallet; in between they have the processor for themselves.
            self.pause(started.elapsed().saturating_mul(REST)).await;
            tokio::select! {
                _ = resync.changed() => {}
                () = liquid.changed() => {}
                () = self.pause(LOOK_AFTER) => {}
            }
        }
    }

    /// Keeps Bitcoin's coins as the wallet shows them, and the fee rate as it is estimated.
    pub(super) async fn keep_bitcoin(self: Arc<Self>, bitcoin: Arc<Bitcoin>) {
        let mut resync = self.resync.subscribe();
        while !self.is_stopping() {
            let started = Instant::now();
            if let Err(error) = bitcoin.sync().await {
                tracing::warn!(%error, "the Bitcoin wallet could not be brought up to date");
                self.pause(Duration::from_secs(1)).await;
                continue;
            }
            bitcoin.estimate().await;
            if self.config.loops.coin.0 > 0 {
                bitcoin.make_coins_ready(self.config.loops.coin).await;
            }
            self.pause(started.elapsed().saturating_mul(REST)).await;
            tokio::select! {
                _ = resync.changed() => {}
                () = self.pause(LOOK_AFTER) => {}
            }
        }
    }

    /// Has the wallets looked at soon.
    pub(super) fn look_at_wallets(&self) {
        self.resync
            .send_modify(|times| *times = times.wrapping_add(1));
    }

    /// The assets of which coins are kept ready, and how large each; 0: as the wallet thinks fit.
    fn coin_sizes(&self) -> Vec<(AssetId, u64)> {
        let sales = locked(&self.sales);
        let mut sizes: Vec<(AssetId, u64)> =
            sales.iter().map(|sale| (sale.asset, sale.coin)).collect();
        // Every funding pays its fee in L-BTC, also when that is not on sale.
        if !sales.iter().any(|sale| sale.asset == self.config.lbtc) {
            sizes.push((self.config.lbtc, 0));
        }
        sizes
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "gauges; nothing is decided by them"
    )]
    pub(super) fn tell_stocks(&self) {
        let mut stocks = Vec::new();
        if let Some(liquid) = &self.liquid {
            let of = |asset: AssetId| match asset == self.config.lbtc {
                true => "lbtc".to_owned(),
                false => asset.to_string(),
            };
            let sums = liquid.sums().into_iter();
            stocks.extend(sums.map(|(asset, sums)| (of(asset), sums)));
        }
        if let Some(bitcoin) = &self.bitcoin {
            stocks.push(("btc".to_owned(), bitcoin.sums()));
        }
        for (name, sums) in stocks {
            metrics::gauge!("swaprig_free_amount", "asset" => name.clone()).set(sums.free as f64);
            metrics::gauge!("swaprig_free_coins", "asset" => name.clone())
                .set(sums.free_coins as f64);
            metrics::gauge!("swaprig_reserved_amount", "asset" => name).set(sums.reserved as f64);
        }
    }
}
