//! Performing effects: each is tried until it is done, and may be done twice.

use std::sync::Arc;
use std::time::Duration;

use swaprig_units::{BlockDelta, Height, PaymentHash};

use super::cell::{Cell, State};
use super::{ApplyError, Engine};
use crate::chain::{BroadcastError, Way, bid};
use crate::lightning::{LightningError, Outgoing, Route};
use crate::store::StoredEffect;
use crate::swap::{
    self, Direction, Effect, Event, FailureReason, Swap, Terms, is_due, may_claim, may_fund,
    may_pay,
};

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the making of an invoice is tried before the swap fails: nothing is lost by that.
const INVOICE_ATTEMPTS: u32 = 3;
/// After how many blocks in vain the fee of a refund or a claim is doubled.
const DOUBLE_AFTER: u32 = 10;
/// How many blocks before the timeout a claim bids all that it may.
const URGENT: u32 = 6;

/// What came of an attempt.
enum Attempt {
    /// It is done, and this has happened by it.
    Done(Option<Event>),
    /// Not done; try again.
    Again(String),
}

impl Engine {
    /// Performs an effect beside.
    pub(super) fn perform(self: &Arc<Self>, cell: &Arc<Cell>, effect: StoredEffect) {
        let (engine, cell) = (self.clone(), cell.clone());
        self.spawn(async move { engine.perform_until_done(&cell, &effect).await });
    }

    async fn perform_until_done(self: &Arc<Self>, cell: &Arc<Cell>, effect: &StoredEffect) {
        let mut pause = FIRST_PAUSE;
        for attempt in 1_u32.. {
            crate::failpoint::boundary(name_of(&effect.effect).0);
            match self.attempt(cell, &effect.effect, attempt).await {
                Attempt::Done(event) => {
                    crate::failpoint::boundary(name_of(&effect.effect).1);
                    return self.finish(cell, effect, event).await;
                }
                Attempt::Again(reason) => {
                    metrics::counter!("swaprig_effect_retries_total").increment(1);
                    tracing::warn!(swap = %cell.id, effect = ?effect.effect, attempt, %reason, "not done, trying again");
                }
            }
            self.pause(pause).await;
            if self.is_stopping() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn finish(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        effect: &StoredEffect,
        event: Option<Event>,
    ) {
        let mut state = cell.state.lock().await;
        if effect.effect == Effect::PayInvoice {
            // A look at the payment that began before this may show what was before it.
            state.orders += 1;
        }
        let applied = match &event {
            Some(event) => {
                self.apply_locked(cell, &mut state, event, Some(effect))
                    .await
            }
            None => Err(ApplyError::Halted),
        };
        // Without an event, or with one that came too late to mean anything, it is still done.
        if applied.is_err() && !state.halted {
            state.pending.remove(&effect.effect);
            // Who waits for it waits for what was done, not for the note of it: without one it is done again.
            cell.show(&state, self.height_of(&state.swap));
            if let Err(error) = self.store.effect_done(effect.id).await {
                tracing::error!(swap = %cell.id, %error, "an effect that was done is not stored as done; it will be done again");
            }
        }
        drop(state);
        if matches!(
            effect.effect,
            Effect::ClaimPayment | Effect::FailPayment | Effect::PayInvoice
        ) {
            self.stale_payments.add(cell.hash);
        }
    }

    async fn attempt(self: &Arc<Self>, cell: &Arc<Cell>, effect: &Effect, attempt: u32) -> Attempt {
        let (swap, payment) = {
            let state = cell.state.lock().await;
            (state.swap.clone(), state.payment)
        };
        // It waited, and may have become wrong meanwhile.
        if !is_due(&swap, effect) {
            return Attempt::Done(None);
        }
        match effect {
            Effect::MakeInvoice => self.make_invoices(&swap, attempt).await,
            Effect::SignFunding => self.sign_funding(&swap),
            Effect::BroadcastFunding => self.broadcast_funding(cell, &swap).await,
            // Another payment than the one for which it was decided is not taken.
            Effect::ClaimPayment if !may_claim(&swap, payment) => Attempt::Done(None),
            Effect::ClaimPayment => {
                let preimage = match (swap.preimage, self.keys.keys(swap.index)) {
                    (Some(preimage), _) => preimage,
                    (None, Ok(keys)) => keys.preimage,
                    (None, Err(error)) => return Attempt::Again(error.to_string()),
                };
                done_or_again(self.node.claim(preimage, swap.terms.price).await)
            }
            Effect::FailPayment => done_or_again(self.node.fail(swap.terms.payment_hash).await),
            Effect::PayInvoice => self.pay_invoice(cell, &swap).await,
            Effect::Claim => match swap.preimage {
                Some(preimage) => self.spend(cell, &swap, Way::Claim(preimage)).await,
                None => Attempt::Done(None),
            },
            Effect::Refund => self.spend(cell, &swap, Way::Refund).await,
            // The store and the engine do these themselves.
            Effect::ReleaseCoins | Effect::Alarm(_) => Attempt::Done(None),
        }
    }

    async fn make_invoices(&self, swap: &Swap, attempt: u32) -> Attempt {
        match self.invoices(swap).await {
            Ok(event) => Attempt::Done(Some(event)),
            Err(error) if error.is_transient() && attempt < INVOICE_ATTEMPTS => {
                Attempt::Again(error.to_string())
            }
            Err(error) => {
                tracing::error!(swap = %swap.id, %error, "no invoice could be made");
                Attempt::Done(Some(Event::CreationFailed(FailureReason::Invoice)))
            }
        }
    }

    pub(super) async fn invoices(&self, swap: &Swap) -> Result<Event, LightningError> {
        let terms = &swap.terms;
        let description = format!("swap:{}", swap.id);
        let expiry = self.config.invoice_expiry;
        let hash = terms.payment_hash;
        let invoice = self
            .node
            .hold_invoice(hash, terms.price, &description, expiry);
        let invoice = invoice.await?;
        let prepay = match terms.prepay.0 {
            0 => None,
            _ => {
                let description = format!("prepay:{}", swap.id);
                let (prepay, _) = self
                    .node
                    .invoice(terms.prepay, &description, expiry)
                    .await?;
                Some(prepay)
            }
        };
        Ok(Event::InvoiceMade { invoice, prepay })
    }

    fn sign_funding(&self, swap: &Swap) -> Attempt {
        let chain = self.chain(swap.terms.chain);
        match chain.fund(swap.id, &swap.terms, swap.index) {
            Ok(funding) => Attempt::Done(Some(Event::FundingSigned(funding))),
            Err(error) => {
                tracing::error!(swap = %swap.id, %error, "the funding cannot be made");
                Attempt::Done(Some(Event::CreationFailed(FailureReason::Funding)))
            }
        }
    }

    async fn broadcast_funding(self: &Arc<Self>, cell: &Arc<Cell>, swap: &Swap) -> Attempt {
        let Some(funding) = &swap.funding else {
            return Attempt::Done(None);
        };
        // For a payment that was held first: whether it still is, the node is asked right before.
        if swap.terms.direction == Direction::OutHeld {
            if let Err(error) = self.ask_for_payment(cell).await {
                return Attempt::Again(error.to_string());
            }
            let state = cell.state.lock().await;
            let Some(tips) = *self.tips.borrow() else {
                return Attempt::Again("the heights are not known yet".into());
            };
            // It is asked for again when another payment is held.
            if !may_fund(&state.swap, state.payment, tips) {
                return Attempt::Done(None);
            }
        }
        let chain = self.chain(swap.terms.chain);
        // What follows of it is told by the watcher.
        if let Err(error) = chain.watch(vec![cell.watch()]).await {
            return Attempt::Again(error.to_string());
        }
        match chain.broadcast(&funding.raw).await {
            Ok(()) => Attempt::Done(None),
            // Spent inputs: by this very funding, or the chain will show by what. Either way sending again does not help.
            Err(
                BroadcastError::Rejected { text, .. } | BroadcastError::MissingInputs { text, .. },
            ) => {
                tracing::warn!(swap = %cell.id, %text, "the funding is refused");
                self.look_at_chain(cell).await;
                match cell.view.borrow().funding_depth {
                    Some(swap::Depth::Unseen) | None => Attempt::Again(text),
                    Some(_) => Attempt::Done(None),
                }
            }
            Err(error) => Attempt::Again(error.to_string()),
        }
    }

    /// Sends the server's payment, if there is still time and it was not sent before.
    async fn pay_invoice(self: &Arc<Self>, cell: &Arc<Cell>, swap: &Swap) -> Attempt {
        let (Some(invoice), Some(routing)) = (&swap.invoice, swap.terms.routing) else {
            return Attempt::Done(None);
        };
        let outgoing = self.node.outgoing(swap.terms.payment_hash).await;
        // What it is paid for may have gone since that was decided.
        self.look_at_chain(cell).await;
        let may = {
            let state = cell.state.lock().await;
            let tips = *self.tips.borrow();
            match (&state.chain, tips) {
                (Some(chain), Some(tips)) => may_pay(&state.swap, chain, tips),
                _ => false,
            }
        };
        match outgoing {
            Ok(Outgoing::Unknown) if may => {
                let route = Route::new(routing.max_fee, routing.max_total_cltv);
                done_or_again(self.node.pay(invoice, &route).await)
            }
            // It is too late, or it was sent: how it stands is told by the node.
            Ok(_) => Attempt::Done(None),
            Err(error) => Attempt::Again(error.to_string()),
        }
    }

    /// The planted bug of the crash test: the invoice is paid before it is stored that it is, and the server dies then.
    pub(super) async fn pay_before_store(&self, swap: &Swap) {
        let (Some(invoice), Some(routing)) = (&swap.invoice, swap.terms.routing) else {
            return;
        };
        let route = Route::new(routing.max_fee, routing.max_total_cltv);
        if self.node.pay(invoice, &route).await.is_ok() {
            eprintln!("failpoint: {} is paid and not stored", swap.id);
            std::process::abort();
        }
    }

    /// Signs what spends the HTLC with the fee that its age asks for, stores its id, and sends it.
    async fn spend(self: &Arc<Self>, cell: &Arc<Cell>, swap: &Swap, way: Way) -> Attempt {
        let chain = self.chain(swap.terms.chain);
        let tip = self.height_of(swap);
        let (to, since) = {
            let mut state = cell.state.lock().await;
            let since = match (way, state.spend_sent) {
                (Way::Refund, _) => swap.terms.timeout,
                (Way::Claim(_), Some((first, _))) => first,
                (Way::Claim(_), None) => tip,
            };
            state.spend_sent = Some((since, tip));
            let to = match &state.spend_to {
                Some(address) => address.clone(),
                None => match chain.fresh_address() {
                    Ok(address) => state.spend_to.insert(address).clone(),
                    Err(error) => return Attempt::Again(error.to_string()),
                },
            };
            (to, since)
        };
        let key = match self.keys.keys(swap.index) {
            Ok(keys) => keys.key,
            Err(error) => return Attempt::Again(error.to_string()),
        };
        let rates = chain.rates();
        let rate = match is_urgent(swap, way, tip) {
            true => rates.most,
            false => bid(rates, since, tip, DOUBLE_AFTER),
        };
        let signed = match chain.spend(swap, way, &key, &to, rate) {
            Ok(signed) => signed,
            Err(error) => return Attempt::Again(error.to_string()),
        };
        // Stored before it is sent, so that the spend that is then seen is known to be our own.
        let event = Event::SpendSigned(signed.txid);
        if let Err(error) = self.apply(cell, &event, None).await {
            tracing::warn!(swap = %cell.id, %error, ?way, "the spend is not sent");
            return Attempt::Done(None);
        }
        crate::failpoint::boundary("before sending the spend");
        match chain.broadcast(&signed.raw).await {
            Ok(()) => Attempt::Done(None),
            // It is spent, or not yet final where the chain is: the next look says which.
            Err(
                BroadcastError::Rejected { text, .. } | BroadcastError::MissingInputs { text, .. },
            ) => {
                tracing::warn!(swap = %cell.id, %text, ?way, "the spend is refused");
                self.look_at_chain(cell).await;
                Attempt::Done(None)
            }
            Err(error) => Attempt::Again(error.to_string()),
        }
    }

    /// Whether a refund or a claim was sent so lately that sending it again is of no use yet.
    pub(super) fn spend_is_recent(&self, state: &State) -> bool {
        let BlockDelta(interval) = self.config.refund_interval;
        let tip = self.height_of(&state.swap);
        state
            .spend_sent
            .is_some_and(|(_, sent)| tip.0 >= sent.0 && tip.0 - sent.0 < interval)
    }

    /// The hash of a swap's prepay invoice.
    pub(super) fn prepay_hash(swap: &Swap) -> Option<PaymentHash> {
        let invoice: lightning_invoice::Bolt11Invoice =
            swap.prepay_invoice.as_ref()?.parse().ok()?;
        Some(PaymentHash(*invoice.payment_hash().as_ref()))
    }
}

fn done_or_again(result: Result<(), LightningError>) -> Attempt {
    match result {
        Ok(()) => Attempt::Done(None),
        Err(error) => Attempt::Again(error.to_string()),
    }
}

/// Whether a spend bids all that it may: a claim near the timeout, from which on the other one can spend, and a refund that has
/// used up half of the time until the payment lapses that is held for it.
fn is_urgent(swap: &Swap, way: Way, tip: Height) -> bool {
    let Terms {
        timeout,
        refund_window,
        ..
    } = swap.terms;
    match (way, swap.terms.direction) {
        (Way::Claim(_), _) => tip.0.saturating_add(URGENT) >= timeout.0,
        (Way::Refund, Direction::OutHeld) => tip.0 >= timeout.0.saturating_add(refund_window.0 / 2),
        (Way::Refund, Direction::Out | Direction::In) => false,
    }
}

/// The boundaries before and after an effect.
fn name_of(effect: &Effect) -> (&'static str, &'static str) {
    match effect {
        Effect::MakeInvoice => ("before making the invoice", "after making the invoice"),
        Effect::SignFunding => ("before signing the funding", "after signing the funding"),
        Effect::BroadcastFunding => ("before sending the funding", "after sending the funding"),
        Effect::ClaimPayment => ("before claiming the payment", "after claiming the payment"),
        Effect::FailPayment => ("before failing the payment", "after failing the payment"),
        Effect::PayInvoice => ("before paying the invoice", "after paying the invoice"),
        Effect::Claim => ("before the claim", "after the claim"),
        Effect::Refund => ("before the refund", "after the refund"),
        Effect::ReleaseCoins | Effect::Alarm(_) => ("before nothing", "after nothing"),
    }
}
