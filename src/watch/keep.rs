//! Keeping the wallets: their coins as the chains show them, and coins that are ready for swaps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use elements::AssetId;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

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
        let ready = || async { liquid.make_coins_ready(&self.coin_sizes()).await }.boxed();
        let told = || liquid.changed().boxed();
        self.keep(&*liquid, ready, told).await;
    }

    /// Keeps Bitcoin's coins as the wallet shows them, and the fee rate as it is estimated.
    pub(super) async fn keep_bitcoin(self: Arc<Self>, bitcoin: Arc<Bitcoin>) {
        let ready = || {
            let ready = async {
                bitcoin.estimate().await;
                if self.config.loops.coin.0 > 0 {
                    bitcoin.make_coins_ready(self.config.loops.coin).await;
                }
            };
            ready.boxed()
        };
        // Its blocks are told to the engine, which has the wallets looked at then.
        let told = || std::future::pending().boxed();
        self.keep(&*bitcoin, ready, told).await;
    }

    /// Looks at a wallet whenever it may have changed, which `told` may say besides, and then gets its coins `ready`.
    async fn keep<'a>(
        &self,
        chain: &dyn SwapChain,
        ready: impl Fn() -> BoxFuture<'a, ()>,
        told: impl Fn() -> BoxFuture<'a, ()>,
    ) {
        let mut resync = self.resync.subscribe();
        while !self.is_stopping() {
            let started = Instant::now();
            if let Err(error) = chain.sync().await {
                let name = chain.name().title();
                tracing::warn!(%error, "the {name} wallet could not be brought up to date");
                self.pause(Duration::from_secs(1)).await;
                continue;
            }
            ready().await;
            // Each funding changes the wallet; in between they have the processor for themselves.
            self.pause(started.elapsed().saturating_mul(REST)).await;
            tokio::select! {
                _ = resync.changed() => {}
                () = told() => {}
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
