//! Making swaps: one for each request id, however often it is asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitcoin::secp256k1::PublicKey;
use elements::AssetId;
use swaprig_units::{Height, Msat, Units};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::cell::{Cell, View};
use super::{Engine, locked};
use crate::chain::Shortage;
use crate::store::{Created, NewSwap, ReservedCoin, StoreError, StoredEffect, StoredSwap};
use crate::swap::{Effect, FailureReason, Htlc, KeyError, Phase, Swap, SwapId, Terms};

/// Of a funding with one input and with change, rather too much; virtual bytes.
const FUNDING_VSIZE: usize = 450;
/// Of each input, rather too much; virtual bytes.
const INPUT_VSIZE: usize = 80;

/// A swap that somebody wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The caller's key.
    pub request_id: Uuid,
    /// SHA-256 of what was asked for.
    pub fingerprint: [u8; 32],
    /// What is wanted.
    pub asset: AssetId,
    /// How much.
    pub amount: Units,
    /// The buyer's key.
    pub claimer: PublicKey,
    /// At least 1.
    pub min_confirmations: u32,
    /// The most that the buyer would pay.
    pub max_price: Option<Msat>,
    /// Whether to answer only when the funding has its confirmations.
    pub wait: bool,
}

/// What is on sale at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Of one smallest part of the asset, millisatoshi.
    pub price_msat: u64,
    /// The smallest amount.
    pub least: Units,
    /// The largest amount; less than `least` when nothing can be sold.
    pub most: Units,
    /// Whether no new swaps of it are made.
    pub paused: bool,
}

/// Why no swap was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// It is not on sale.
    #[error("asset {0} is not on sale here")]
    NotSold(AssetId),
    /// Less than the smallest amount.
    #[error("amount: {amount} is less than {least}, the least that is sold")]
    TooSmall {
        /// What was asked for.
        amount: u64,
        /// The least.
        least: u64,
    },
    /// More than one swap may have.
    #[error("amount: {amount} is more than {most}, the most that one swap may have")]
    TooLarge {
        /// What was asked for.
        amount: u64,
        /// The most.
        most: u64,
    },
    /// More confirmations than the server waits for.
    #[error("min_confirmations: {wanted} is more than {most}, the most that this server waits for")]
    TooManyConfirmations {
        /// What was asked for.
        wanted: u32,
        /// The most.
        most: u32,
    },
    /// The buyer would not pay that much.
    #[error("max_total_price_msat: the price is {price}, more than {most}")]
    PriceTooHigh {
        /// What it costs.
        price: Msat,
        /// What the buyer would pay.
        most: Msat,
    },
    /// The price is no number of millisatoshi.
    #[error("amount: its price is beyond all numbers")]
    PriceOverflow,
    /// The key is not on the curve.
    #[error("claim_pubkey: is no point of secp256k1")]
    BadKey,
    /// Another request had the id.
    #[error("request_id: {0} was used by another request")]
    RequestConflict(Uuid),
    /// Not enough free coins.
    #[error("not enough is free: {0}")]
    Shortage(#[from] Shortage),
    /// Lightning cannot receive the price.
    #[error("the price is {price}, and Lightning can receive {receivable} at most now")]
    NoCapacity {
        /// What it costs.
        price: Msat,
        /// What can be received.
        receivable: Msat,
    },
    /// Too many swaps at once.
    #[error("{in_flight} swaps are in flight, the most that this server has at once")]
    TooMany {
        /// How many.
        in_flight: u32,
    },
    /// Unpaid swaps are worth too much.
    #[error("unpaid swaps are worth {exposed} already, and at most {most} may be")]
    TooExposed {
        /// What they are worth.
        exposed: Msat,
        /// The most.
        most: Msat,
    },
    /// The operator has paused it.
    #[error("new swaps of {0} are paused")]
    Paused(AssetId),
    /// The server stops.
    #[error("the server is stopping")]
    Stopping,
    /// The server cannot make swaps yet.
    #[error("the server is not ready: {0}")]
    NotReady(String),
    /// It failed before it was funded.
    #[error("swap {id} failed before it was funded ({reason:?}); ask again with a new request_id")]
    Failed {
        /// Which.
        id: SwapId,
        /// Why.
        reason: FailureReason,
    },
    /// It takes longer than the server lets a caller wait.
    #[error("swap {id} goes on, but takes longer than a caller may wait; ask GetSwap")]
    TimedOut {
        /// Which.
        id: SwapId,
    },
    /// The seed has no key for it.
    #[error(transparent)]
    Keys(KeyError),
    /// The disk failed.
    #[error(transparent)]
    Store(StoreError),
}

/// The place of a swap that is being made among those that count against the limits.
struct Place<'a> {
    engine: &'a Engine,
    request_id: Uuid,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        locked(&self.engine.entering).remove(&self.request_id);
    }
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::RequestConflict { request_id } => CreateError::RequestConflict(request_id),
            error => CreateError::Store(error),
        }
    }
}

impl Engine {
    /// What would be sold of an asset now; `None` when it is not on sale.
    pub fn offer(&self, asset: AssetId) -> Option<Offer> {
        let sale = self.sale(asset)?;
        let fee_value = self.config.fee_value(asset);
        let needs = self.needs(asset, Units(0), fee_value);
        let fee = |vsize| needs.fees.rate.fee(vsize).0;
        let free = locked(&self.inventory).most(&needs, fee(FUNDING_VSIZE), fee(INPUT_VSIZE));
        let receivable = Units(self.receivable.load(Ordering::Relaxed) / sale.price_msat);
        let most = free
            .min(receivable)
            .min(sale.max.map_or(Units(u64::MAX), Units));
        Some(Offer {
            price_msat: sale.price_msat,
            least: self.config.least(&sale),
            most,
            paused: locked(&self.paused).contains(&asset),
        })
    }

    /// Makes a swap, or finds the one that the same request made. Returns when the funding is sent, or confirmed when that is
    /// wanted.
    ///
    /// # Errors
    ///
    /// Why there is no swap; after [`CreateError::Failed`] and [`CreateError::TimedOut`] there is one.
    pub async fn create(self: &Arc<Self>, wanted: Wanted) -> Result<View, CreateError> {
        let wait = wanted.wait;
        // Beside, so that it ends also when the caller goes: half a swap would keep its coins and be nobody's.
        let (tell, made) = oneshot::channel();
        let engine = self.clone();
        self.spawn(async move {
            // An error: the caller is gone, and finds the swap by its request.
            let _ = tell.send(engine.one_for_each_request(&wanted).await);
        });
        let made = made.await.map_err(|_| CreateError::Stopping)?;
        self.answer(made?, wait).await
    }

    async fn one_for_each_request(
        self: &Arc<Self>,
        wanted: &Wanted,
    ) -> Result<SwapId, CreateError> {
        let lock = {
            let mut requests = locked(&self.requests);
            requests.entry(wanted.request_id).or_default().clone()
        };
        let made = {
            let _one_at_a_time = lock.lock().await;
            self.find_or_make(wanted).await
        };
        let mut requests = locked(&self.requests);
        // This one and the map: nobody else waits.
        if Arc::strong_count(&lock) <= 2 {
            requests.remove(&wanted.request_id);
        }
        made
    }

    async fn find_or_make(self: &Arc<Self>, wanted: &Wanted) -> Result<SwapId, CreateError> {
        if let Some(id) = self
            .store
            .by_request(wanted.request_id, &wanted.fingerprint)?
        {
            return Ok(id);
        }
        let price = self.check(wanted)?;
        let _place = self.enter(wanted.request_id, price)?;
        if crate::failpoint::funds_before_store() {
            self.fund_before_store(wanted, price).await;
        }
        let swap = self.draft(wanted, price)?;
        let id = swap.id;
        let coins = self.reserve(&swap)?;
        let made = self.store_new(wanted, swap, coins).await;
        if !matches!(made, Ok(made) if made == id) {
            locked(&self.inventory).release(id);
        }
        made
    }

    /// Refuses what cannot be sold; reserves nothing.
    fn check(&self, wanted: &Wanted) -> Result<Msat, CreateError> {
        if self.is_stopping() {
            return Err(CreateError::Stopping);
        }
        let asset = wanted.asset;
        let sale = self.sale(asset).ok_or(CreateError::NotSold(asset))?;
        if locked(&self.paused).contains(&asset) {
            return Err(CreateError::Paused(asset));
        }
        if let Some(reason) = &*self.unready.borrow() {
            return Err(CreateError::NotReady(reason.clone()));
        }
        let least = self.config.least(&sale);
        let amount = wanted.amount.0;
        if wanted.amount < least {
            return Err(CreateError::TooSmall {
                amount,
                least: least.0,
            });
        }
        if let Some(most) = sale.max.filter(|most| amount > *most) {
            return Err(CreateError::TooLarge { amount, most });
        }
        let most = self.config.max_confirmations;
        if wanted.min_confirmations > most {
            let wanted = wanted.min_confirmations;
            return Err(CreateError::TooManyConfirmations { wanted, most });
        }
        let price = amount.checked_mul(sale.price_msat).map(Msat);
        let price = price.ok_or(CreateError::PriceOverflow)?;
        if let Some(most) = wanted.max_price.filter(|most| price > *most) {
            return Err(CreateError::PriceTooHigh { price, most });
        }
        let receivable = Msat(self.receivable.load(Ordering::Relaxed));
        if price > receivable {
            return Err(CreateError::NoCapacity { price, receivable });
        }
        Ok(price)
    }

    /// Lets a swap in within the limits, those that are being made at the same time counted.
    fn enter(&self, request_id: Uuid, price: Msat) -> Result<Place<'_>, CreateError> {
        let mut entering = locked(&self.entering);
        let (Msat(exposed), in_flight) = self.exposure();
        let others = entering
            .values()
            .fold(0, |sum: u64, one| sum.saturating_add(one.0));
        let exposed = exposed.saturating_add(others);
        let in_flight = in_flight.saturating_add(u32::try_from(entering.len()).unwrap_or(u32::MAX));
        if in_flight >= self.config.max_in_flight {
            return Err(CreateError::TooMany { in_flight });
        }
        if let Some(most) = self.config.max_exposure
            && exposed.saturating_add(price.0) > most.0
        {
            let exposed = Msat(exposed);
            return Err(CreateError::TooExposed { exposed, most });
        }
        entering.insert(request_id, price);
        Ok(Place {
            engine: self,
            request_id,
        })
    }

    /// The swap as it begins, with an index that no swap has had.
    fn draft(&self, wanted: &Wanted, price: Msat) -> Result<Swap, CreateError> {
        let index = self.next_index.fetch_add(1, Ordering::SeqCst);
        let keys = self.keys.keys(index).map_err(CreateError::Keys)?;
        let made_at = self.liquid_height();
        let timeout = made_at.checked_add(self.config.refund_delta);
        let payment_hash = keys.preimage.payment_hash();
        Ok(Swap {
            id: SwapId::of(payment_hash),
            index,
            terms: Terms {
                asset: wanted.asset,
                amount: wanted.amount,
                fee_value: self.config.fee_value(wanted.asset),
                price,
                prepay: self.config.prepay,
                payment_hash,
                claimer: wanted.claimer,
                refunder: keys.refunder(),
                timeout: timeout.unwrap_or(Height(u32::MAX)),
                claim_window: self.config.claim_window,
                min_confirmations: wanted.min_confirmations,
                funding_window: self.config.funding_window,
                made_at,
            },
            phase: Phase::Reserved,
            invoice: None,
            prepay_invoice: None,
            funding: None,
            never_settle: false,
            settle_tried: false,
            held_until: None,
            paid: false,
            spend: None,
            refund: None,
        })
    }

    /// Takes coins for a swap, in memory; the store does so for good.
    fn reserve(&self, swap: &Swap) -> Result<Vec<ReservedCoin>, CreateError> {
        let coins = locked(&self.inventory).choose(swap.id, &self.needs_of(&swap.terms))?;
        let coins = coins.iter().map(|coin| ReservedCoin {
            outpoint: coin.outpoint,
            asset: coin.asset,
            value: coin.value.0,
        });
        Ok(coins.collect())
    }

    async fn store_new(
        self: &Arc<Self>,
        wanted: &Wanted,
        swap: Swap,
        coins: Vec<ReservedCoin>,
    ) -> Result<SwapId, CreateError> {
        let htlc = Htlc::of(&swap.terms);
        let id = swap.id;
        crate::failpoint::boundary("before storing the swap");
        let created = self.store.create(NewSwap {
            swap: swap.clone(),
            request_id: wanted.request_id,
            fingerprint: wanted.fingerprint,
            coins,
            effects: vec![Effect::MakeInvoice],
            witness_script: format!("{:x}", htlc.witness_script()),
            address: htlc.address(self.params).to_string(),
        });
        let effects = match created.await? {
            Created::Existing(id) => return Ok(id),
            Created::New(effects) => effects,
        };
        crate::failpoint::boundary("after storing the swap");
        metrics::counter!("swaprig_swaps_created_total").increment(1);
        let now = crate::store::now_millis();
        let stored = StoredSwap {
            swap,
            request_id: wanted.request_id,
            created_at: now,
            updated_at: now,
        };
        {
            // In one step, so that it is counted once at every moment.
            let mut entering = locked(&self.entering);
            self.adopt(stored, effects);
            entering.remove(&wanted.request_id);
        }
        Ok(id)
    }

    /// Takes a stored swap into memory and performs what is to be done for it.
    pub(super) fn adopt(
        self: &Arc<Self>,
        stored: StoredSwap,
        effects: Vec<StoredEffect>,
    ) -> Arc<Cell> {
        let pending = effects.iter().map(|effect| effect.effect.clone()).collect();
        let cell = Arc::new(Cell::new(
            stored,
            pending,
            self.liquid_height(),
            self.params,
        ));
        self.cells.add(&cell);
        for effect in effects {
            self.perform(&cell, effect);
        }
        cell
    }

    /// Waits until there is something to answer with.
    async fn answer(&self, id: SwapId, wait: bool) -> Result<View, CreateError> {
        // Until then a swap that is stored is not in memory, and nothing is done for it.
        let mut unready = self.unready.subscribe();
        let ready = unready.wait_for(Option::is_none);
        if !matches!(
            tokio::time::timeout(self.config.create_timeout, ready).await,
            Ok(Ok(_))
        ) {
            let reason = self.unready.borrow().clone();
            return Err(CreateError::NotReady(reason.unwrap_or_default()));
        }
        let view = match self.subscribe(id) {
            None => self.view(id)?,
            Some(mut changes) => {
                let answered = changes.wait_for(|view| view.answers(wait));
                let answered = async {
                    tokio::select! {
                        answered = answered => answered.ok().map(|view| view.clone()),
                        () = self.stopped() => None,
                    }
                };
                match tokio::time::timeout(self.config.create_timeout, answered).await {
                    Ok(Some(view)) => Some(view),
                    // It became final meanwhile, or the server stops.
                    Ok(None) if self.is_stopping() => return Err(CreateError::Stopping),
                    Ok(None) => self.view(id)?,
                    Err(_) => return Err(CreateError::TimedOut { id }),
                }
            }
        };
        let view = view.ok_or(CreateError::Store(StoreError::SwapNotFound))?;
        match view.swap.phase {
            Phase::Failed(reason) => Err(CreateError::Failed { id, reason }),
            _ => Ok(view),
        }
    }

    /// The planted bug of the crash test: the funding is on its way before anything is stored, and the server dies then.
    async fn fund_before_store(&self, wanted: &Wanted, price: Msat) {
        let Ok(swap) = self.draft(wanted, price) else {
            return;
        };
        if self.reserve(&swap).is_err() {
            return;
        }
        let coins = locked(&self.inventory).of_swap(swap.id, &self.needs_of(&swap.terms));
        let (Ok(coins), Ok(_)) = (coins, self.invoices(&swap).await) else {
            return;
        };
        let (transaction, _) = self.wallet.fund(&coins, &swap.terms, swap.index);
        if self.index.broadcast(&transaction).await.is_ok() {
            eprintln!("failpoint: {} is sent and not stored", transaction.txid());
            std::process::abort();
        }
    }
}
