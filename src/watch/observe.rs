//! Looking at the chains and at the Lightning node, and telling the swaps what was seen.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use swaprig_units::{Height, PaymentHash};
use tokio::sync::{Notify, mpsc};

use super::cell::{Cell, State};
use super::{ApplyError, Engine, locked};
use crate::chain::ChainEvent;
use crate::lightning::{Held, LightningError, Outgoing, Received, Wake};
use crate::swap::{ChainName, Direction, Effect, Event, Observation, Payment, Phase, Sent, Swap};

/// Parts of a payment may each hold almost a satoshi more than is told; so many parts a payment has at most.
const MOST_PARTS: u64 = 16;
/// Looks at the index side by side.
const LOOKS: usize = 8;
/// Transitions side by side.
const STEPS: usize = 64;

/// Payments that somebody wants to be looked at soon.
#[derive(Debug, Default)]
pub(super) struct StalePayments {
    hashes: Mutex<HashSet<PaymentHash>>,
    came: Notify,
}

impl StalePayments {
    pub(super) fn add(&self, hash: PaymentHash) {
        locked(&self.hashes).insert(hash);
        self.came.notify_one();
    }

    fn take(&self) -> HashSet<PaymentHash> {
        std::mem::take(&mut *locked(&self.hashes))
    }
}

impl Engine {
    /// Follows a chain until the engine stops.
    pub(super) async fn follow_chain(
        self: Arc<Self>,
        chain: ChainName,
        mut events: mpsc::Receiver<ChainEvent>,
    ) {
        let stopped = self.stopped();
        tokio::pin!(stopped);
        let mut tick = self.ticks();
        loop {
            tokio::select! {
                () = &mut stopped => return,
                event = events.recv() => match event {
                    Some(event) => self.on_chain_event(chain, event).await,
                    None => return,
                },
                _ = tick.tick() => {
                    self.look_at_chain_of_all(chain, true).await;
                    self.tell_numbers();
                }
            }
        }
    }

    /// Follows the Lightning node until the engine stops. Payments that changed while others were looked at are looked at
    /// together: the node tells of all that it holds at once, and that takes it the longer the more there is.
    pub(super) async fn follow_payments(self: Arc<Self>) {
        let mut wakes = self.node.events();
        let stopped = self.stopped();
        tokio::pin!(stopped);
        let mut tick = self.ticks();
        loop {
            let mut all = false;
            let mut hashes = HashSet::new();
            let first = tokio::select! {
                () = &mut stopped => return,
                wake = wakes.next() => Some(wake),
                () = self.stale_payments.came.notified() => None,
                _ = tick.tick() => Some(Wake::Rescan),
            };
            let mut next = first;
            while let Some(wake) = next.take().or_else(|| wakes.try_next()) {
                match wake {
                    Wake::Payment(hash) => drop(hashes.insert(hash)),
                    Wake::Rescan => all = true,
                }
            }
            hashes.extend(self.stale_payments.take());
            match all {
                true => self.refresh_lightning().await,
                false => self.look_at_payments(hashes).await,
            }
        }
    }

    fn ticks(&self) -> tokio::time::Interval {
        let mut tick = tokio::time::interval(self.config.poll_interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick
    }

    async fn on_chain_event(self: &Arc<Self>, chain: ChainName, event: ChainEvent) {
        match event {
            ChainEvent::Tip(height) => {
                self.set_height(chain, height);
                self.look_at_wallets();
                if let Err(error) = self.store.set_cursor(chain.word(), height).await {
                    tracing::warn!(%error, %chain, "the height is not stored");
                }
                // Side by side: what they store goes to the disk together.
                let cells = futures_util::stream::iter(self.cells.on(chain));
                cells
                    .for_each_concurrent(STEPS, async |cell| self.step_at_new_tip(cell).await)
                    .await;
            }
            ChainEvent::Changed(script) => {
                if let Some(cell) = self.cells.by_script(chain, script) {
                    let engine = self.clone();
                    self.spawn(async move { engine.look_at_chain(&cell).await });
                }
            }
            ChainEvent::Lost => {
                tracing::warn!(%chain, "the source of the chain is gone; trying to reach it again")
            }
            ChainEvent::Reconnected => {
                tracing::info!(%chain, "the source of the chain is back; looking at everything again");
                self.look_at_wallets();
                let engine = self.clone();
                self.spawn(async move { engine.look_at_chain_of_all(chain, false).await });
            }
        }
    }

    fn set_height(&self, chain: ChainName, height: Height) {
        let gauge = match chain {
            ChainName::Liquid => metrics::gauge!("swaprig_liquid_height"),
            ChainName::Bitcoin => metrics::gauge!("swaprig_bitcoin_height"),
        };
        gauge.set(height.0);
        self.tips.send_modify(|tips| {
            if let Some(tips) = tips {
                match chain {
                    ChainName::Liquid => tips.liquid = height,
                    ChainName::Bitcoin => tips.bitcoin = height,
                }
            }
        });
    }

    fn set_lightning(&self, height: Height) {
        metrics::gauge!("swaprig_lightning_height").set(height.0);
        self.tips.send_modify(|tips| {
            if let Some(tips) = tips {
                tips.lightning = height;
            }
        });
    }

    /// Looks at what a chain shows of its swaps; `unknown_only`: of those that were not looked at since the start.
    pub(super) async fn look_at_chain_of_all(
        self: &Arc<Self>,
        chain: ChainName,
        unknown_only: bool,
    ) {
        let cells = futures_util::stream::iter(self.cells.on(chain));
        cells
            .for_each_concurrent(LOOKS, |cell| async move {
                let wanted = {
                    let state = cell.state.lock().await;
                    is_on_chain(&state.swap) && !(unknown_only && state.chain.is_some())
                };
                if wanted {
                    self.look_at_chain(&cell).await;
                }
            })
            .await;
    }

    /// Looks at what the chain shows of a swap.
    pub(super) async fn look_at_chain(self: &Arc<Self>, cell: &Arc<Cell>) {
        let _one_at_a_time = cell.looking.lock().await;
        let swap = cell.state.lock().await.swap.clone();
        if !is_on_chain(&swap) {
            return;
        }
        // What is looked at from now on is at least as new as this tip.
        let tip = self.height_of(&swap);
        let seen = self.chain(swap.terms.chain).observe(&swap).await;
        if self.cells.get(cell.id).is_none() {
            // It became final while this look waited: to look is to watch, and nobody else would end that.
            self.chain(cell.chain).unwatch(cell.lock().script).await;
            return;
        }
        match seen {
            Ok(chain) => {
                let mut state = cell.state.lock().await;
                state.chain = chain;
                state.looked_at = tip;
                self.step_locked(cell, &mut state).await;
            }
            // The next tick looks again: it is still unknown, or shows what was known before.
            Err(error) => {
                tracing::warn!(swap = %cell.id, %error, "the chain could not be looked at");
                cell.state.lock().await.chain = None;
            }
        }
    }

    async fn step_at_new_tip(self: &Arc<Self>, cell: Arc<Cell>) {
        self.step_with_what_is_known(&cell).await;
        // Deep enough by the tip alone: whether its spend is still in the chain, the chain tells.
        let seems_final = {
            let swap = &cell.view.borrow().swap;
            is_on_chain(swap) && self.is_settled(swap)
        };
        if seems_final {
            let engine = self.clone();
            self.spawn(async move { engine.look_at_chain(&cell).await });
        }
    }

    async fn step_with_what_is_known(self: &Arc<Self>, cell: &Arc<Cell>) {
        let mut state = cell.state.lock().await;
        self.step_locked(cell, &mut state).await;
    }

    /// Tells a swap what is known of it. Does nothing while that is not enough to decide anything by.
    async fn step_locked(self: &Arc<Self>, cell: &Arc<Cell>, state: &mut State) {
        let Some(observation) = self.observation(state) else {
            return;
        };
        let event = Event::Observed(observation);
        match self.apply_locked(cell, state, &event, None).await {
            Ok(()) | Err(ApplyError::Halted | ApplyError::Store(_)) => {}
            Err(ApplyError::Refused(refused)) => {
                tracing::debug!(swap = %cell.id, %refused, "an observation means nothing here");
            }
        }
    }

    pub(super) fn observation(&self, state: &State) -> Option<Observation> {
        let tips = (*self.tips.borrow())?;
        let chain = match (is_on_chain(&state.swap), &state.chain) {
            (true, None) => return None,
            (true, Some(chain)) => Some(chain.clone()),
            (false, _) => None,
        };
        // What the node showed before an order of ours may not be what it shows after.
        let payment = match state.payment {
            Payment::Absent if state.pending.contains(&Effect::PayInvoice) => {
                Payment::Sent(Sent::Pending)
            }
            Payment::Held { .. }
                if state.swap.phase == Phase::AwaitingPayment
                    && state.pending.contains(&Effect::FailPayment) =>
            {
                Payment::Absent
            }
            shown => shown,
        };
        Some(Observation {
            tips,
            chain,
            payment,
        })
    }

    /// Asks the Lightning node for everything that matters.
    pub(super) async fn refresh_lightning(self: &Arc<Self>) {
        if let Err(error) = self.try_refresh_lightning().await {
            tracing::warn!(%error, "the Lightning node could not be looked at");
        }
    }

    pub(super) async fn try_refresh_lightning(self: &Arc<Self>) -> Result<(), LightningError> {
        let info = self.node.info().await?;
        self.set_lightning(info.height);
        let receivable = self.node.receivable().await?;
        self.receivable.store(receivable.0, Ordering::Relaxed);
        let _one_at_a_time = self.looking_at_payments.lock().await;
        let held = self.node.held().await?;
        let cells = futures_util::stream::iter(self.cells.all());
        cells
            .for_each_concurrent(STEPS, async |cell| {
                self.take_payment_or_warn(&cell, &held).await;
                self.look_at_prepay(&cell).await;
                self.give_up_unpaid(&cell).await;
            })
            .await;
        self.fail_strays(&held).await;
        Ok(())
    }

    /// Asks the Lightning node for the payments of these hashes.
    async fn look_at_payments(self: &Arc<Self>, hashes: HashSet<PaymentHash>) {
        let cells: Vec<_> = hashes
            .iter()
            .filter_map(|hash| self.cells.by_hash(*hash))
            .collect();
        // Of no swap, or the prepayment of one.
        if cells.len() < hashes.len() {
            for cell in self.cells.all() {
                let waits = cell.view.borrow().swap.phase == Phase::AwaitingPrepay;
                if waits {
                    self.look_at_prepay(&cell).await;
                }
            }
        }
        if !cells.is_empty() {
            self.look_at_payments_of(cells).await;
        }
    }

    async fn look_at_payments_of(self: &Arc<Self>, cells: Vec<Arc<Cell>>) {
        let _one_at_a_time = self.looking_at_payments.lock().await;
        match self.node.held().await {
            Ok(held) => {
                let cells = futures_util::stream::iter(cells);
                cells
                    .for_each_concurrent(STEPS, async |cell| {
                        self.take_payment_or_warn(&cell, &held).await;
                    })
                    .await;
            }
            Err(error) => {
                tracing::warn!(%error, "{} payments could not be looked at", cells.len())
            }
        }
    }

    /// Asks the Lightning node for the payment of a swap, for whoever must know whether it was asked.
    pub(super) async fn ask_for_payment(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
    ) -> Result<(), LightningError> {
        let _one_at_a_time = self.looking_at_payments.lock().await;
        let held = self.node.held().await?;
        self.take_payment(cell, &held).await
    }

    async fn take_payment_or_warn(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        held: &HashMap<PaymentHash, Held>,
    ) {
        if let Err(error) = self.take_payment(cell, held).await {
            tracing::warn!(swap = %cell.id, %error, "the payment could not be looked at");
        }
    }

    async fn take_payment(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        held: &HashMap<PaymentHash, Held>,
    ) -> Result<(), LightningError> {
        let (settle_tried, direction) = {
            let state = cell.state.lock().await;
            if matches!(
                state.payment,
                Payment::Succeeded | Payment::Sent(Sent::Succeeded(_))
            ) {
                return Ok(());
            }
            (state.swap.settle_tried, state.swap.terms.direction)
        };
        if direction == Direction::In {
            return match settle_tried {
                true => self.take_outgoing(cell).await,
                false => Ok(()),
            };
        }
        // Asked only when it can have arrived: by our own claim.
        let arrived = match settle_tried {
            true => matches!(self.node.received(cell.hash).await?, Received::Yes(_)),
            false => false,
        };
        let mut state = cell.state.lock().await;
        let asked = state.swap.terms.price.floor_sat().0;
        let whole = |held: &&Held| held.amount.floor_sat().0 + MOST_PARTS >= asked;
        state.payment = match held.get(&cell.hash).filter(whole) {
            _ if arrived => Payment::Succeeded,
            Some(held) => Payment::Held { until: held.until },
            None => Payment::Absent,
        };
        self.step_locked(cell, &mut state).await;
        Ok(())
    }

    /// Asks how the server's own payment stands.
    async fn take_outgoing(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<(), LightningError> {
        // An order that is under way now may not be seen by this look.
        let orders = cell.state.lock().await.orders;
        let outgoing = self.node.outgoing(cell.hash).await?;
        let mut state = cell.state.lock().await;
        let ordered = state.orders != orders || state.pending.contains(&Effect::PayInvoice);
        state.payment = match outgoing {
            // Whoever ends the order has it looked at again.
            Outgoing::Unknown if ordered => Payment::Sent(Sent::Pending),
            Outgoing::Unknown => Payment::Absent,
            Outgoing::Pending => Payment::Sent(Sent::Pending),
            Outgoing::Succeeded(preimage) => Payment::Sent(Sent::Succeeded(preimage)),
            Outgoing::Failed => Payment::Sent(Sent::Failed),
        };
        self.step_locked(cell, &mut state).await;
        Ok(())
    }

    /// Gives back what is held under the hash of a swap that is over.
    async fn fail_strays(&self, held: &HashMap<PaymentHash, Held>) {
        for hash in held.keys() {
            if self.cells.by_hash(*hash).is_some() {
                continue;
            }
            let known = self.store.by_hash(*hash);
            let over =
                known.is_ok_and(|found| found.is_some_and(|stored| !stored.swap.settle_tried));
            if over && let Err(error) = self.node.fail(*hash).await {
                tracing::warn!(%hash, %error, "a payment of a swap that is over could not be given back");
            }
        }
    }

    async fn look_at_prepay(self: &Arc<Self>, cell: &Arc<Cell>) {
        let swap = cell.state.lock().await.swap.clone();
        if swap.phase != Phase::AwaitingPrepay {
            return;
        }
        let Some(hash) = Engine::prepay_hash(&swap) else {
            return;
        };
        let event = match self.node.received(hash).await {
            Ok(Received::Yes(_)) => Event::Prepaid,
            Ok(Received::No) if self.invoices_are_over(cell) => {
                Event::CreationFailed(crate::swap::FailureReason::Prepay)
            }
            Ok(Received::No) => return,
            Err(error) => {
                tracing::warn!(swap = %cell.id, %error, "the prepayment could not be looked at");
                return;
            }
        };
        if let Err(error) = self.apply(cell, &event, None).await {
            tracing::debug!(swap = %cell.id, %error, "the prepayment means nothing any more");
        }
    }

    /// Lets go of the coins that wait for a payment which nobody can make any more.
    async fn give_up_unpaid(self: &Arc<Self>, cell: &Arc<Cell>) {
        let waits = {
            let state = cell.state.lock().await;
            state.swap.phase == Phase::AwaitingPayment && state.payment == Payment::Absent
        };
        if !waits || !self.invoices_are_over(cell) {
            return;
        }
        let event = Event::CreationFailed(crate::swap::FailureReason::Payment);
        if let Err(error) = self.apply(cell, &event, None).await {
            tracing::debug!(swap = %cell.id, %error, "the payment is not given up");
        }
    }

    /// Whether nobody can pay the invoices any more, with time for a payment on its way: as long again, a minute at most.
    fn invoices_are_over(&self, cell: &Cell) -> bool {
        let expiry = i64::try_from(self.config.invoice_expiry.as_millis()).unwrap_or(i64::MAX);
        let over = cell.created_at.saturating_add(expiry);
        crate::store::now_millis() > over.saturating_add(expiry.min(60_000))
    }

    fn tell_numbers(&self) {
        let load = self.exposure();
        metrics::gauge!("swaprig_swaps_in_flight").set(load.in_flight);
        metrics::gauge!("swaprig_loops_in_unfunded").set(load.unfunded);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge; nothing is decided by it"
        )]
        metrics::gauge!("swaprig_exposure_msat").set(load.exposed.0 as f64);
        self.tell_stocks();
    }
}

/// Whether there is something of a swap to be looked for on its chain: what the server locked, or what the client is to lock.
fn is_on_chain(swap: &Swap) -> bool {
    swap.funding.is_some() || !swap.terms.direction.is_out()
}
