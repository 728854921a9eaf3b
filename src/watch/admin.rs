//! What the operator asks for.

use std::sync::Arc;

use elements::{AssetId, Txid};
use swaprig_units::{Msat, Units};

use super::cell::{Cell, View};
use super::{ApplyError, Engine, locked};
use crate::chain::bitcoin::BitcoinError;
use crate::chain::{BroadcastError, FanOutError, Sums, WalletError};
use crate::config::Sale;
use crate::store::StoreError;
use crate::swap::{Asset, Event, Phase, SwapId};

/// Why the operator did not get it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The asset is not on sale.
    #[error("asset {0} is not on sale here")]
    NotSold(AssetId),
    /// No such swap.
    #[error("there is no swap {0}")]
    NoSuchSwap(SwapId),
    /// Not enough free coins, or too many pieces.
    #[error("it cannot be split: {0}")]
    Shortage(#[source] FanOutError),
    /// It would be unsafe, or is impossible.
    #[error("{0}")]
    Refused(String),
    /// The chain could not be asked.
    #[error("{0}")]
    Unreachable(String),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The wallet failed.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The Bitcoin wallet failed.
    #[error(transparent)]
    Bitcoin(#[from] BitcoinError),
}

/// What the server has.
#[derive(Debug, Clone)]
pub struct Stocks {
    /// Of each asset on sale, and of each other that the wallet has.
    pub assets: Vec<Stock>,
    /// A confidential address on Liquid that nothing was paid to yet; empty without Liquid.
    pub deposit_address: String,
    /// An address on Bitcoin, and what is there; `None` without loops.
    pub bitcoin: Option<(String, Stock)>,
    /// Swaps that are not over, without the loops in that nothing was locked for.
    pub in_flight: u32,
    /// The price of the unpaid ones.
    pub exposure: Msat,
}

/// What the server has of an asset, in its smallest parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// Which.
    pub asset: Asset,
    /// Usable now.
    pub free: u64,
    /// In how many coins.
    pub free_coins: u32,
    /// Taken by swaps, not in a block yet.
    pub reserved: u64,
    /// In HTLCs.
    pub locked: u64,
    /// Not usable yet.
    pub pending: u64,
    /// Whether no new swaps of it are made.
    pub paused: bool,
}

impl Engine {
    /// What the server has, and where to send more.
    ///
    /// # Errors
    ///
    /// When the wallet's cache fails.
    pub fn inventory(&self) -> Result<Stocks, AdminError> {
        let (deposit_address, mut sums) = match &self.liquid {
            Some(liquid) => (liquid.deposit_address()?.to_string(), liquid.sums()),
            None => Default::default(),
        };
        for sale in locked(&self.sales).iter() {
            sums.entry(sale.asset).or_default();
        }
        let load = self.exposure();
        let paused = locked(&self.paused).clone();
        let stock = |asset: Asset, sums: Sums, paused| Stock {
            asset,
            free: sums.free,
            free_coins: u32::try_from(sums.free_coins).unwrap_or(u32::MAX),
            reserved: sums.reserved,
            locked: self.locked_in_htlcs(asset),
            pending: sums.pending,
            paused,
        };
        Ok(Stocks {
            assets: sums
                .into_iter()
                .map(|(asset, sums)| stock(asset.into(), sums, paused.contains(&asset)))
                .collect(),
            bitcoin: match &self.bitcoin {
                None => None,
                Some(bitcoin) => {
                    let address = bitcoin.chain().deposit_address()?.to_string();
                    Some((address, stock(Asset::Bitcoin, bitcoin.sums(), false)))
                }
            },
            deposit_address,
            in_flight: load.in_flight,
            exposure: load.exposed,
        })
    }

    fn locked_in_htlcs(&self, asset: Asset) -> u64 {
        let mut sum = 0_u64;
        for cell in self.cells.all() {
            let view = cell.view.borrow();
            let swap = &view.swap;
            let open = swap.terms.direction.is_out()
                && match swap.phase {
                    Phase::Funding
                    | Phase::Confirmed
                    | Phase::PaymentHeld
                    | Phase::Paid
                    | Phase::Cancelling
                    | Phase::Refunding => true,
                    Phase::Paying
                    | Phase::Reserved
                    | Phase::AwaitingPrepay
                    | Phase::AwaitingPayment
                    | Phase::AwaitingFunding
                    | Phase::Building
                    | Phase::Claimed
                    | Phase::Refunded
                    | Phase::Failed(_) => false,
                };
            if open && swap.terms.asset == asset {
                sum += swap.terms.amount.0;
            }
            if open && asset == Asset::Liquid(self.config.lbtc) {
                sum += swap.terms.fee_value.0;
            }
        }
        sum
    }

    /// Pauses or resumes an asset, or all.
    ///
    /// # Errors
    ///
    /// When it is not on sale, or the store fails.
    pub async fn set_paused(
        self: &Arc<Self>,
        asset: Option<AssetId>,
        paused: bool,
    ) -> Result<(), AdminError> {
        let assets: Vec<AssetId> = match asset {
            Some(asset) if self.sale(asset).is_none() => {
                return Err(AdminError::NotSold(asset));
            }
            Some(asset) => vec![asset],
            None => locked(&self.sales).iter().map(|sale| sale.asset).collect(),
        };
        let engine = self.clone();
        self.decide(async move {
            for asset in assets {
                engine.store.set_paused(asset, paused).await?;
                let mut now = locked(&engine.paused);
                match paused {
                    true => now.insert(asset),
                    false => now.remove(&asset),
                };
                tracing::info!(%asset, paused, "the operator has decided");
            }
            Ok(())
        })
        .await
    }

    /// Runs a decision to its end, also when the operator goes, and one after the other: what is stored last is what counts in memory.
    async fn decide(
        self: &Arc<Self>,
        decision: impl Future<Output = Result<(), AdminError>> + Send + 'static,
    ) -> Result<(), AdminError> {
        let engine = self.clone();
        let decided = self.beside(async move {
            let _one_at_a_time = engine.deciding.lock().await;
            decision.await
        });
        let stopping = || AdminError::Unreachable("the server is stopping".into());
        decided.await.ok_or_else(stopping)?
    }

    /// Puts an asset on sale, or changes how it is sold.
    ///
    /// # Errors
    ///
    /// When the store fails; nothing has changed then.
    pub async fn set_sale(self: &Arc<Self>, sale: Sale) -> Result<(), AdminError> {
        let engine = self.clone();
        self.decide(async move {
            engine.store.set_sale(sale).await?;
            {
                let mut sales = locked(&engine.sales);
                sales.retain(|own| own.asset != sale.asset);
                sales.push(sale);
            }
            tracing::info!(asset = %sale.asset, price_msat = sale.price_msat, "the operator has set a price");
            engine.look_at_wallets();
            Ok(())
        })
        .await
    }

    /// Splits what is free of an asset into coins of one size.
    ///
    /// # Errors
    ///
    /// When not enough is free or the chain refuses; nothing was sent then.
    pub async fn split(&self, asset: AssetId, size: Units, count: u32) -> Result<Txid, AdminError> {
        let liquid = self.liquid.as_ref().ok_or(AdminError::NotSold(asset))?;
        let made = liquid
            .plan_split(asset, size, count)
            .map_err(|error| match error {
                FanOutError::Wallet(error) => AdminError::Wallet(error),
                error => AdminError::Shortage(error),
            })?;
        match liquid.send_split(&made).await {
            Ok(()) => Ok(made.transaction.txid()),
            Err(BroadcastError::Rejected { text, .. }) => Err(AdminError::Refused(format!(
                "the chain refuses the split: {text}"
            ))),
            Err(error) => Err(AdminError::Unreachable(format!(
                "the Liquid index: {error}"
            ))),
        }
    }

    /// Takes a swap's coins back, if that is safe.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub async fn force_refund(self: &Arc<Self>, id: SwapId) -> Result<View, AdminError> {
        if let Some(reason) = &*self.unready.borrow() {
            return Err(AdminError::Unreachable(reason.clone()));
        }
        let Some(cell) = self.cells.get(id) else {
            return match self.view(id)? {
                None => Err(AdminError::NoSuchSwap(id)),
                Some(view) => Err(AdminError::Refused(format!(
                    "swap {id} is over: {:?}; there is nothing to take back",
                    view.swap.phase
                ))),
            };
        };
        let engine = self.clone();
        // To its end, also when the operator goes.
        let refunded = self.beside(async move { engine.refund_by_force(&cell).await });
        refunded
            .await
            .ok_or_else(|| AdminError::Unreachable("the server is stopping".into()))??;
        self.view(id)?.ok_or(AdminError::NoSuchSwap(id))
    }

    async fn refund_by_force(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<(), AdminError> {
        // What was seen a moment ago is not enough for this.
        self.look_at_chain(cell).await;
        if let Err(error) = self.ask_for_payment(cell).await {
            return Err(AdminError::Unreachable(error.to_string()));
        }
        let mut state = cell.state.lock().await;
        let observation = self.observation(&state).ok_or_else(|| {
            AdminError::Unreachable(
                "the chain could not be asked whether the coins are still there".into(),
            )
        })?;
        let asked = Event::ForceRefund(observation);
        let applied = self.apply_locked(cell, &mut state, &asked, None).await;
        applied.map_err(|error| match error {
            ApplyError::Refused(refused) => AdminError::Refused(refused.to_string()),
            ApplyError::Halted => AdminError::Refused(error.to_string()),
            ApplyError::Store(error) => AdminError::Store(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    /// An engine whose daemons do not answer: what the operator decides does not need them.
    async fn alone(dir: &std::path::Path) -> Arc<Engine> {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (dir.join("tls.crt"), dir.join("api_key"));
        std::fs::write(&certificate, own.cert.pem()).unwrap();
        std::fs::write(&key, [7; 32]).unwrap();
        let settings = Settings {
            data_dir: Some(dir.join("desk")),
            electrum_url: Some("tcp://127.0.0.1:1".into()),
            ldk_address: Some("127.0.0.1:1".into()),
            ldk_cert: Some(certificate),
            ldk_credential: Some(key),
            ..Settings::default()
        };
        Engine::start(settings.check().unwrap()).await.unwrap()
    }

    fn sale(byte: u8) -> Sale {
        Sale {
            asset: AssetId::from_byte_array([byte; 32]),
            price_msat: 1_000,
            min: 1,
            max: None,
            coin: 0,
        }
    }

    /// Asks, and hangs up before there is an answer.
    fn hang_up<T>(asked: impl Future<Output = T>) {
        use futures_util::FutureExt as _;
        assert!(Box::pin(asked).now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_decision_whose_caller_is_gone_is_in_memory_as_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let engine = alone(dir.path()).await;
        let (first, second) = (sale(1), sale(2));
        hang_up(engine.set_sale(first));
        // What is decided after it waits for it.
        engine.set_sale(second).await.unwrap();
        assert_eq!(engine.sale(first.asset), Some(first));
        assert!(engine.store.sales().unwrap().contains(&first));

        hang_up(engine.set_paused(Some(first.asset), true));
        hang_up(engine.set_paused(Some(second.asset), true));
        engine.set_paused(Some(second.asset), false).await.unwrap();
        assert!(locked(&engine.paused).contains(&first.asset));
        assert!(!locked(&engine.paused).contains(&second.asset));
        assert_eq!(engine.store.paused().unwrap(), [first.asset]);

        hang_up(engine.set_paused(None, true));
        engine.set_paused(Some(second.asset), false).await.unwrap();
        assert!(locked(&engine.paused).contains(&first.asset));
        assert_eq!(engine.store.paused().unwrap(), [first.asset]);
        engine.stop().await;
    }
}
