//! Making swaps: one for each request id, however often it is asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bitcoin::secp256k1::PublicKey;
use elements::AssetId;
use swaprig_units::{BlockDelta, Height, Msat, Units};
use uuid::Uuid;

use super::cell::{Cell, View};
use super::{Engine, Load, locked};
use crate::chain::Shortage;
use crate::store::{Created, NewSwap, ReservedCoin, StoreError, StoredEffect, StoredSwap};
use crate::swap::{
    ChainName, Direction, Effect, FailureReason, KeyError, Phase, Swap, SwapId, Terms,
};

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
    /// Too many clients at once were told where to lock coins.
    #[error(
        "{unfunded} loops in wait for their clients' coins, the most that this server lets wait at once; some will lapse"
    )]
    TooManyUnfunded {
        /// How many.
        unfunded: u32,
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

/// What makes two orders one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// The caller's key.
    pub(super) id: Uuid,
    /// SHA-256 of what was asked for.
    pub(super) fingerprint: [u8; 32],
}

/// What somebody orders: a swap of some kind.
pub(super) trait Order: Send + Sync + 'static {
    /// By whom and for what: who asks twice gets the same swap.
    fn request(&self) -> Request;

    /// Refuses what cannot be made, with the engine as it is at this moment; reserves nothing. What counts against the limits.
    fn check(&self, engine: &Engine) -> Result<Msat, CreateError>;

    /// What the swap is to the limits as it begins.
    fn load(&self, price: Msat) -> Load {
        Load {
            exposed: price,
            in_flight: 1,
            unfunded: 0,
        }
    }

    /// The swap as it begins, with an index that no swap has had.
    fn draft(&self, engine: &Engine, index: u32, price: Msat) -> Result<Swap, CreateError>;
}

impl Order for Wanted {
    fn request(&self) -> Request {
        Request {
            id: self.request_id,
            fingerprint: self.fingerprint,
        }
    }

    fn check(&self, engine: &Engine) -> Result<Msat, CreateError> {
        let asset = self.asset;
        let sale = engine.sale(asset).filter(|_| engine.liquid.is_some());
        let sale = sale.ok_or(CreateError::NotSold(asset))?;
        if locked(&engine.paused).contains(&asset) {
            return Err(CreateError::Paused(asset));
        }
        engine.is_ready()?;
        let least = engine.config.least(&sale);
        let amount = self.amount.0;
        if self.amount < least {
            return Err(CreateError::TooSmall {
                amount,
                least: least.0,
            });
        }
        if let Some(most) = sale.max.filter(|most| amount > *most) {
            return Err(CreateError::TooLarge { amount, most });
        }
        let most = engine.config.max_confirmations;
        if self.min_confirmations > most {
            let wanted = self.min_confirmations;
            return Err(CreateError::TooManyConfirmations { wanted, most });
        }
        let price = amount.checked_mul(sale.price_msat).map(Msat);
        let price = price.ok_or(CreateError::PriceOverflow)?;
        if let Some(most) = self.max_price.filter(|most| price > *most) {
            return Err(CreateError::PriceTooHigh { price, most });
        }
        engine.can_receive(price)?;
        Ok(price)
    }

    fn draft(&self, engine: &Engine, index: u32, price: Msat) -> Result<Swap, CreateError> {
        let config = &engine.config;
        let keys = engine.keys.keys(index).map_err(CreateError::Keys)?;
        let made_at = engine.height(ChainName::Liquid);
        let timeout = made_at.checked_add(config.refund_delta);
        Ok(Swap::new(
            index,
            Terms {
                chain: ChainName::Liquid,
                direction: Direction::Out,
                asset: self.asset.into(),
                amount: self.amount,
                fee_value: config.fee_value(self.asset),
                price,
                prepay: config.prepay,
                payment_hash: keys.preimage.payment_hash(),
                claimer: self.claimer,
                refunder: keys.public(),
                timeout: timeout.unwrap_or(Height(u32::MAX)),
                claim_window: config.claim_window,
                refund_window: BlockDelta(0),
                min_confirmations: self.min_confirmations,
                finality: 0,
                funding_window: config.funding_window,
                made_at,
                internal: None,
                routing: None,
            },
        ))
    }
}

impl Engine {
    /// What would be sold of an asset now; `None` when it is not on sale.
    pub fn offer(&self, asset: AssetId) -> Option<Offer> {
        let sale = self.sale(asset)?;
        let free = self.liquid.as_ref()?;
        let free = free.most(asset, self.config.fee_value(asset));
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
        let id = self.order(wanted).await?;
        self.answer(id, wait).await
    }

    /// Makes the swap that is ordered, or finds the one that the same request made.
    pub(super) async fn order(self: &Arc<Self>, order: impl Order) -> Result<SwapId, CreateError> {
        // Beside, so that it ends also when the caller goes: half a swap would keep its coins and be nobody's.
        let engine = self.clone();
        let made = self.beside(async move { engine.one_for_each_request(&order).await });
        made.await.ok_or(CreateError::Stopping)?
    }

    async fn one_for_each_request(
        self: &Arc<Self>,
        order: &impl Order,
    ) -> Result<SwapId, CreateError> {
        let request = order.request().id;
        let lock = {
            let mut requests = locked(&self.requests);
            requests.entry(request).or_default().clone()
        };
        let made = {
            let _one_at_a_time = lock.lock().await;
            self.find_or_make(order).await
        };
        let mut requests = locked(&self.requests);
        // This one and the map: nobody else waits.
        if Arc::strong_count(&lock) <= 2 {
            requests.remove(&request);
        }
        made
    }

    async fn find_or_make(self: &Arc<Self>, order: &impl Order) -> Result<SwapId, CreateError> {
        let Request { id, fingerprint } = order.request();
        if let Some(id) = self.store.by_request(id, &fingerprint)? {
            return Ok(id);
        }
        if self.is_stopping() {
            return Err(CreateError::Stopping);
        }
        let price = order.check(self)?;
        let _place = self.enter(id, price, order.load(price))?;
        if crate::failpoint::funds_before_store() {
            self.fund_before_store(order, price).await;
        }
        let swap = order.draft(self, self.fresh_index(), price)?;
        let id = swap.id;
        let coins = self.reserve(&swap)?;
        let chain = swap.terms.chain;
        let made = self.store_new(order, swap, coins).await;
        if !matches!(made, Ok(made) if made == id) {
            self.chain(chain).release(id);
        }
        made
    }

    /// An index that no swap has had.
    fn fresh_index(&self) -> u32 {
        self.next_index.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether swaps can be made now.
    pub(super) fn is_ready(&self) -> Result<(), CreateError> {
        match &*self.unready.borrow() {
            Some(reason) => Err(CreateError::NotReady(reason.clone())),
            None => Ok(()),
        }
    }

    /// Whether Lightning can receive that much in one payment.
    pub(super) fn can_receive(&self, price: Msat) -> Result<(), CreateError> {
        let receivable = Msat(self.receivable.load(Ordering::Relaxed));
        match price > receivable {
            true => Err(CreateError::NoCapacity { price, receivable }),
            false => Ok(()),
        }
    }

    /// Lets a swap in within the limits, those that are being made at the same time counted.
    fn enter(&self, request_id: Uuid, price: Msat, load: Load) -> Result<Place<'_>, CreateError> {
        let mut entering = locked(&self.entering);
        let now = entering.values().copied().fold(self.exposure(), Load::and);
        let then = now.and(load);
        if load.in_flight > 0 && then.in_flight > self.config.max_in_flight {
            let in_flight = now.in_flight;
            return Err(CreateError::TooMany { in_flight });
        }
        if load.unfunded > 0 && then.unfunded > self.config.loops.in_max_unfunded {
            let unfunded = now.unfunded;
            return Err(CreateError::TooManyUnfunded { unfunded });
        }
        if let Some(most) = self.config.max_exposure
            && now.exposed.0.saturating_add(price.0) > most.0
        {
            let exposed = now.exposed;
            return Err(CreateError::TooExposed { exposed, most });
        }
        entering.insert(request_id, load);
        Ok(Place {
            engine: self,
            request_id,
        })
    }

    /// Takes coins for a swap that the server locks, in memory; the store does so for good.
    fn reserve(&self, swap: &Swap) -> Result<Vec<ReservedCoin>, CreateError> {
        match swap.terms.direction.is_out() {
            true => Ok(self.chain(swap.terms.chain).reserve(swap.id, &swap.terms)?),
            false => Ok(Vec::new()),
        }
    }

    async fn store_new(
        self: &Arc<Self>,
        order: &impl Order,
        swap: Swap,
        coins: Vec<ReservedCoin>,
    ) -> Result<SwapId, CreateError> {
        let lock = self.chain(swap.terms.chain).lock(&swap.terms);
        let id = swap.id;
        let request = order.request();
        // The client's own invoice needs no making.
        let effects = match swap.phase {
            Phase::Reserved => vec![Effect::MakeInvoice],
            _ => Vec::new(),
        };
        crate::failpoint::boundary("before storing the swap");
        let created = self.store.create(NewSwap {
            swap: swap.clone(),
            request_id: request.id,
            fingerprint: request.fingerprint,
            coins,
            effects,
            witness_script: lock.witness_script,
            address: lock.address,
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
            request_id: request.id,
            created_at: now,
            updated_at: now,
        };
        {
            // In one step, so that it is counted once at every moment.
            let mut entering = locked(&self.entering);
            self.adopt(stored, effects);
            entering.remove(&request.id);
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
        let height = self.height_of(&stored.swap);
        let lock = self.chain(stored.swap.terms.chain).lock(&stored.swap.terms);
        let cell = Arc::new(Cell::new(stored, pending, height, lock));
        self.cells.add(&cell);
        for effect in effects {
            self.perform(&cell, effect);
        }
        cell
    }

    /// Waits until there is something to answer with.
    pub(super) async fn answer(&self, id: SwapId, wait: bool) -> Result<View, CreateError> {
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
    async fn fund_before_store(&self, order: &impl Order, price: Msat) {
        let Ok(swap) = order.draft(self, self.fresh_index(), price) else {
            return;
        };
        if !swap.terms.direction.is_out()
            || self.reserve(&swap).is_err()
            || self.invoices(&swap).await.is_err()
        {
            return;
        }
        let chain = self.chain(swap.terms.chain);
        let Ok(funding) = chain.fund(swap.id, &swap.terms, swap.index) else {
            return;
        };
        if chain.broadcast(&funding.raw).await.is_ok() {
            eprintln!("failpoint: {} is sent and not stored", funding.txid);
            std::process::abort();
        }
    }
}
