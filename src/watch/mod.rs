//! The engine: turns what is observed into transitions, stores them with their effects, and performs the effects.
//!
//! It decides nothing itself: `crate::swap::step` does. Every effect is stored before it is performed and may be performed
//! twice. A swap whose transition could not be stored is left alone until the server starts again.

mod admin;
mod alarm;
mod cell;
mod create;
mod effects;
mod keep;
mod loops;
mod observe;
mod recover;
mod serve;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use elements::AssetId;
use swaprig_units::{Height, Msat};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::chain::bitcoin::Bitcoin;
use crate::chain::{Liquid, SwapChain};
use crate::config::{Config, Sale};
use crate::lightning::LightningNode;
use crate::store::{Coins, Store, StoreError, StoredEffect, StoredSwap};
use crate::swap::{
    ChainName, Effect, Event, Kind, Phase, Refused, Status, Swap, SwapId, SwapSeed, Tips,
    is_exposed, is_final, is_unfunded, step,
};
use cell::{Cell, Cells, State};
use observe::StalePayments;

pub use admin::{AdminError, Stock, Stocks};
pub use cell::View;
pub use create::{CreateError, Offer, Wanted};
pub use loops::{Cosigned, InWanted, LoopError, LoopQuote, LoopTerms, OutWanted};
pub use serve::StartError;

/// The server's heart. One per store.
pub struct Engine {
    config: Config,
    store: Store,
    node: Arc<dyn LightningNode>,
    /// The chains that swaps are made on.
    chains: BTreeMap<ChainName, Arc<dyn SwapChain>>,
    /// One of them, for what only Liquid has.
    liquid: Option<Arc<Liquid>>,
    /// One of them, for what only Bitcoin has.
    bitcoin: Option<Arc<Bitcoin>>,
    keys: SwapSeed,
    cells: Cells,
    /// One lock for each request id that is being made: who comes second finds the first one's swap.
    requests: Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>,
    /// What was let in and is not in `cells` yet, by its request: it counts against the limits.
    entering: Mutex<HashMap<Uuid, Load>>,
    next_index: AtomicU32,
    /// The heights; `None` until all chains were heard of.
    tips: watch::Sender<Option<Tips>>,
    /// What Lightning can receive in one payment, millisatoshi, as of the last look.
    receivable: AtomicU64,
    paused: Mutex<HashSet<AssetId>>,
    /// What is on sale now.
    sales: Mutex<Vec<Sale>>,
    /// Held while the operator's decision is stored and taken into `paused` or `sales`.
    deciding: tokio::sync::Mutex<()>,
    /// Why no new swaps can be made yet; `None` when they can.
    unready: watch::Sender<Option<String>>,
    stopping: watch::Sender<bool>,
    /// The part that has panicked.
    broken: watch::Sender<Option<&'static str>>,
    tasks: Mutex<JoinSet<()>>,
    /// Counts the times that the wallets should be looked at again.
    resync: watch::Sender<u64>,
    stale_payments: StalePayments,
    /// Held while payments are looked at, so that an older look never replaces a newer one.
    looking_at_payments: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.store.path())
            .finish_non_exhaustive()
    }
}

/// Why an event brought nothing.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("nothing is done with this swap before the server is started again: the store failed")]
    Halted,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What swaps are to the limits.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// The price of those that are neither paid nor over.
    exposed: Msat,
    /// How many there are for which something of the server's is taken, or will be.
    in_flight: u32,
    /// How many more there are whose clients have not locked what they are to lock.
    unfunded: u32,
}

impl Load {
    fn of(swap: &Swap) -> Load {
        let (in_flight, unfunded) = (is_exposed(swap), is_unfunded(swap));
        // Of coins that are a client's nothing is at stake before they are paid for.
        let at_stake = swap.terms.direction.is_out() || swap.settle_tried;
        Load {
            exposed: match in_flight && at_stake && !swap.paid {
                true => swap.terms.price,
                false => Msat(0),
            },
            in_flight: in_flight.into(),
            unfunded: unfunded.into(),
        }
    }

    fn and(self, other: Load) -> Load {
        Load {
            exposed: Msat(self.exposed.0.saturating_add(other.exposed.0)),
            in_flight: self.in_flight.saturating_add(other.in_flight),
            unfunded: self.unfunded.saturating_add(other.unfunded),
        }
    }
}

/// What nothing in here can break half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what came of a swap that is over.
fn tell_end(swap: &Swap) {
    let terms = &swap.terms;
    let kind = terms.kind().word();
    metrics::counter!("swaprig_swaps_ended_total", "kind" => kind, "phase" => swap.phase.word())
        .increment(1);
    if terms.chain != ChainName::Bitcoin {
        return;
    }
    let (locked, price) = (terms.amount.0, terms.price.floor_sat().0);
    match swap.phase {
        // What it cost to send and to route is not known here.
        Phase::Claimed if swap.paid => {
            metrics::counter!("swaprig_loop_fees_sat_total", "kind" => kind)
                .increment(locked.abs_diff(price));
        }
        Phase::Refunded if terms.direction.is_out() => {
            metrics::counter!("swaprig_reclaimed_sat_total", "kind" => kind).increment(locked);
        }
        _ => {}
    }
}

impl Engine {
    /// How it is configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How an asset is sold now; `None` when it is not.
    pub(super) fn sale(&self, asset: AssetId) -> Option<Sale> {
        locked(&self.sales)
            .iter()
            .find(|sale| sale.asset == asset)
            .copied()
    }

    /// All heights; `None` before it has seen them.
    pub fn tips(&self) -> Option<Tips> {
        *self.tips.borrow()
    }

    /// The height of a chain that it has reached; 0 before it has seen one.
    pub fn height(&self, chain: ChainName) -> Height {
        self.tips.borrow().map_or(Height(0), |tips| tips.of(chain))
    }

    /// A chain that swaps are on: none is made, and none is loaded, on one that is not configured.
    fn chain(&self, name: ChainName) -> &dyn SwapChain {
        let chain = self.chains.get(&name).map(Arc::as_ref);
        chain.expect("swaps are on configured chains only")
    }

    fn height_of(&self, swap: &Swap) -> Height {
        self.height(swap.terms.chain)
    }

    /// Whether it makes swaps now, as a channel.
    pub fn readiness(&self) -> watch::Receiver<Option<String>> {
        self.unready.subscribe()
    }

    /// A swap as it is now.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn view(&self, id: SwapId) -> Result<Option<View>, StoreError> {
        if let Some(cell) = self.cells.get(id) {
            let mut view = cell.view.borrow().clone();
            view.height = self.height_of(&view.swap);
            return Ok(Some(view));
        }
        Ok(self.store.swap(id)?.map(|stored| self.view_of(stored)))
    }

    fn view_of(&self, stored: StoredSwap) -> View {
        View {
            funding_depth: None,
            height: self.height_of(&stored.swap),
            lock: self.chain(stored.swap.terms.chain).lock(&stored.swap.terms),
            request_id: stored.request_id,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            swap: stored.swap,
            unanswered: false,
        }
    }

    /// A page of swaps of a kind, newest first.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn page(
        &self,
        kind: Kind,
        wanted: Option<Status>,
        after: Option<(i64, SwapId)>,
        size: u32,
    ) -> Result<Vec<View>, StoreError> {
        let page = self.store.page(kind, wanted, after, size)?;
        let views = page
            .into_iter()
            .map(|stored| match self.cells.get(stored.swap.id) {
                Some(cell) => cell.view.borrow().clone(),
                None => self.view_of(stored),
            });
        Ok(views.collect())
    }

    /// The changes of a swap; `None` when nothing can happen to it any more. The sender goes when it is final.
    pub fn subscribe(&self, id: SwapId) -> Option<watch::Receiver<View>> {
        Some(self.cells.get(id)?.view.subscribe())
    }

    /// Applies an event: stores the transition with its effects, then lets them be performed.
    async fn apply(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        event: &Event,
        done: Option<&StoredEffect>,
    ) -> Result<(), ApplyError> {
        let mut state = cell.state.lock().await;
        self.apply_locked(cell, &mut state, event, done).await
    }

    async fn apply_locked(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        state: &mut State,
        event: &Event,
        done: Option<&StoredEffect>,
    ) -> Result<(), ApplyError> {
        if state.halted {
            return Err(ApplyError::Halted);
        }
        let transition = step(&state.swap, event)?;
        if let Some(done) = done {
            state.pending.remove(&done.effect);
        }
        let signed = state.swap.funding.is_none() && transition.swap.funding.is_some();
        let mut coins = match signed {
            true => Coins::Spent,
            false => Coins::Keep,
        };
        let mut effects = Vec::new();
        for effect in transition.effects {
            match effect {
                Effect::ReleaseCoins => coins = Coins::Release,
                Effect::Alarm(alarm) => self.alarm(cell, state, alarm),
                Effect::Refund | Effect::Claim if self.spend_is_recent(state) => {}
                effect if state.pending.contains(&effect) => {}
                effect => effects.push(effect),
            }
        }
        // At a new tip, what was seen before it does not say that a spend is as deep as it seems: it may be gone.
        let is_seen = transition.swap.funding.is_none()
            || state.looked_at >= self.height_of(&transition.swap);
        let settled = is_seen && self.is_settled(&transition.swap);
        let changed = transition.swap != state.swap;
        if !changed && effects.is_empty() && done.is_none() && !settled {
            cell.show(state, self.height_of(&state.swap));
            return Ok(());
        }
        let terms = &transition.swap.terms;
        let relocked = (*terms != state.swap.terms).then(|| self.chain(terms.chain).lock(terms));
        if crate::failpoint::pays_before_store() && effects.contains(&Effect::PayInvoice) {
            self.pay_before_store(&transition.swap).await;
        }
        crate::failpoint::boundary("before storing a transition");
        let stored = self
            .store
            .update(
                &transition.swap,
                settled,
                effects,
                done.map(|done| done.id),
                coins,
                relocked.clone(),
            )
            .await;
        let stored = stored.inspect_err(|error| {
            state.halted = true;
            tracing::error!(swap = %cell.id, %error, "the swap is left alone: its transition was not stored");
        })?;
        crate::failpoint::boundary("after storing a transition");
        self.settle_in_memory(cell, state, transition.swap, coins, settled);
        if let Some(lock) = relocked {
            cell.relock(&self.cells, lock);
        }
        for effect in stored {
            state.pending.insert(effect.effect.clone());
            self.perform(cell, effect);
        }
        cell.show(state, self.height_of(&state.swap));
        if settled {
            self.forget(cell);
        }
        Ok(())
    }

    fn settle_in_memory(
        &self,
        cell: &Cell,
        state: &mut State,
        next: Swap,
        coins: Coins,
        settled: bool,
    ) {
        let before = std::mem::replace(&mut state.swap, next);
        state.updated_at = crate::store::now_millis();
        if before.phase != state.swap.phase {
            let phase = &state.swap.phase;
            tracing::info!(swap = %cell.id, before = ?before.phase, now = ?phase, "swap");
            metrics::counter!("swaprig_transitions_total", "phase" => phase.word()).increment(1);
        }
        if settled {
            tell_end(&state.swap);
        }
        let chain = self.chain(state.swap.terms.chain);
        if coins == Coins::Release {
            chain.release(cell.id);
        } else if settled {
            chain.spent(cell.id);
        }
    }

    /// Whether nothing can happen to it any more, however the chain is reorganised within reason.
    fn is_settled(&self, swap: &Swap) -> bool {
        match *self.tips.borrow() {
            Some(tips) => is_final(swap, tips, self.config.finality(swap.terms.chain)),
            None => false,
        }
    }

    /// Lets go of a swap that is final.
    fn forget(self: &Arc<Self>, cell: &Arc<Cell>) {
        self.cells.remove(cell);
        let (engine, name, script) = (self.clone(), cell.chain, cell.lock().script);
        self.spawn(async move { engine.chain(name).unwatch(script).await });
        self.look_at_wallets();
    }

    /// Runs something beside; it ends with the engine.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = locked(&self.tasks);
        // What has ended is let go of, so that their number does not grow.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Runs something beside and waits for what comes of it: it goes on to its end also when the caller goes. Whoever stores a
    /// transition must come to take it into memory as well. `None` when the engine ends first.
    async fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        self.spawn(async move {
            // An error: the caller is gone.
            let _ = tell.send(work.await);
        });
        told.await.ok()
    }

    /// Runs something beside without which the server is of no use: when it panics, the server ends, and whoever watches over it
    /// starts it again.
    fn spawn_vital(
        self: &Arc<Self>,
        what: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let engine = self.clone();
        self.spawn(async move {
            let work = std::panic::AssertUnwindSafe(work);
            if futures_util::FutureExt::catch_unwind(work).await.is_err() {
                tracing::error!(what, "a part of the server has panicked; it ends");
                engine.broken.send_replace(Some(what));
            }
        });
    }

    /// Returns when a part of the server is broken beyond repair, and which.
    pub async fn broken(&self) -> &'static str {
        let mut broken = self.broken.subscribe();
        let part = broken.wait_for(Option::is_some).await;
        part.ok().and_then(|part| *part).unwrap_or("the engine")
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// A pause that ends early when the engine stops.
    async fn pause(&self, time: Duration) {
        // Either way it is over.
        let _ = tokio::time::timeout(time, self.stopped()).await;
    }

    /// Returns when the engine stops.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.subscribe();
        async move {
            // An error: the engine is gone, which is a stop, too.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }

    /// What all swaps in memory are to the limits.
    fn exposure(&self) -> Load {
        let cells = self.cells.all();
        let loads = cells.iter().map(|cell| Load::of(&cell.view.borrow().swap));
        loads.fold(Load::default(), Load::and)
    }
}
