//! Performing effects: each is tried until it is done, and may be done twice.

use std::sync::Arc;
use std::time::Duration;

use elements::encode::deserialize;

use elements::Transaction;
use elements::secp256k1_zkp::rand::thread_rng;
use swaprig_units::{BlockDelta, Height, PaymentHash};

use super::cell::{Cell, State};
use super::{ApplyError, Engine, locked};
use crate::chain::BroadcastError;
use crate::lightning::LightningError;
use crate::store::StoredEffect;
use crate::swap::{
    self, Effect, Event, FailureReason, FeeRate, FundingTx, Locked, Swap, is_due, may_claim,
};

/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the making of an invoice is tried before the swap fails: nothing is lost by that.
const INVOICE_ATTEMPTS: u32 = 3;
/// After how many blocks in vain the fee of a refund is doubled.
const DOUBLE_AFTER: u32 = 10;

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
            cell.show(&state, self.liquid_height());
            if let Err(error) = self.store.effect_done(effect.id).await {
                tracing::error!(swap = %cell.id, %error, "an effect that was done is not stored as done; it will be done again");
            }
        }
        drop(state);
        if matches!(effect.effect, Effect::ClaimPayment | Effect::FailPayment) {
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
                let keys = match self.keys.keys(swap.index) {
                    Ok(keys) => keys,
                    Err(error) => return Attempt::Again(error.to_string()),
                };
                done_or_again(self.node.claim(keys.preimage, swap.terms.price).await)
            }
            Effect::FailPayment => done_or_again(self.node.fail(swap.terms.payment_hash).await),
            Effect::Refund => self.refund(cell, &swap).await,
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
        let coins = locked(&self.inventory).of_swap(swap.id, &self.needs_of(&swap.terms));
        match coins {
            Ok(coins) => {
                let (_, funding) = self.wallet.fund(&coins, &swap.terms, swap.index);
                Attempt::Done(Some(Event::FundingSigned(funding)))
            }
            Err(error) => {
                tracing::error!(swap = %swap.id, %error, "the funding cannot be made");
                Attempt::Done(Some(Event::CreationFailed(FailureReason::Funding)))
            }
        }
    }

    async fn broadcast_funding(self: &Arc<Self>, cell: &Arc<Cell>, swap: &Swap) -> Attempt {
        let Some(transaction) = swap.funding.as_ref().and_then(transaction_of) else {
            return Attempt::Done(None);
        };
        // What follows of it is told by the watcher.
        if let Err(error) = self.watcher.watch([cell.script.clone()]).await {
            return Attempt::Again(error.to_string());
        }
        match self.index.broadcast(&transaction).await {
            Ok(_) => Attempt::Done(None),
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

    /// Signs the refund with the fee that its age asks for, stores its id, and sends it.
    async fn refund(self: &Arc<Self>, cell: &Arc<Cell>, swap: &Swap) -> Attempt {
        let Some(funding) = &swap.funding else {
            return Attempt::Done(None);
        };
        let tip = self.liquid_height();
        let destination = {
            let mut state = cell.state.lock().await;
            state.refund_sent = Some(tip);
            match &state.refund_to {
                Some(address) => address.clone(),
                None => match self.wallet.fresh_address() {
                    Ok(address) => state.refund_to.insert(address).clone(),
                    Err(error) => return Attempt::Again(error.to_string()),
                },
            }
        };
        let key = match self.keys.keys(swap.index) {
            Ok(keys) => keys.refund_key,
            Err(error) => return Attempt::Again(error.to_string()),
        };
        let rate = FeeRate(self.refund_rate(tip, swap.terms.timeout));
        let locked = Locked::of(&swap.terms, self.config.lbtc, funding);
        let made = swap::refund(&locked, &key, &destination, rate, &mut thread_rng());
        let transaction = match made {
            Ok(transaction) => transaction,
            Err(error) => return Attempt::Again(error.to_string()),
        };
        // Stored before it is sent, so that the spend that is then seen is known to be our own.
        let signed = Event::RefundSigned(transaction.txid());
        if let Err(error) = self.apply(cell, &signed, None).await {
            tracing::warn!(swap = %cell.id, %error, "the refund is not sent");
            return Attempt::Done(None);
        }
        crate::failpoint::boundary("before sending the refund");
        match self.index.broadcast(&transaction).await {
            Ok(_) => Attempt::Done(None),
            // It is spent, or not yet final where the index is: the next look says which.
            Err(
                BroadcastError::Rejected { text, .. } | BroadcastError::MissingInputs { text, .. },
            ) => {
                tracing::warn!(swap = %cell.id, %text, "the refund is refused");
                self.look_at_chain(cell).await;
                Attempt::Done(None)
            }
            Err(error) => Attempt::Again(error.to_string()),
        }
    }

    /// Doubles with every few blocks in vain.
    fn refund_rate(&self, tip: Height, timeout: Height) -> u64 {
        let late = tip.0.saturating_sub(timeout.0) / DOUBLE_AFTER;
        let factor = 1_u64.checked_shl(late.min(32)).unwrap_or(u64::MAX);
        let rate = self.config.fee_rate.saturating_mul(factor);
        rate.min(self.config.max_fee_rate)
    }

    /// Whether the refund was sent so lately that sending it again is of no use yet.
    pub(super) fn refund_is_recent(&self, state: &State) -> bool {
        let BlockDelta(interval) = self.config.refund_interval;
        let tip = self.liquid_height();
        state
            .refund_sent
            .is_some_and(|sent| tip.0 >= sent.0 && tip.0 - sent.0 < interval)
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

/// The funding transaction as it was stored.
pub(super) fn transaction_of(funding: &FundingTx) -> Option<Transaction> {
    let bytes = elements::hex::decode_to_vec(&funding.raw).ok()?;
    deserialize(&bytes).ok()
}

/// The boundaries before and after an effect.
fn name_of(effect: &Effect) -> (&'static str, &'static str) {
    match effect {
        Effect::MakeInvoice => ("before making the invoice", "after making the invoice"),
        Effect::SignFunding => ("before signing the funding", "after signing the funding"),
        Effect::BroadcastFunding => ("before sending the funding", "after sending the funding"),
        Effect::ClaimPayment => ("before claiming the payment", "after claiming the payment"),
        Effect::FailPayment => ("before failing the payment", "after failing the payment"),
        Effect::Refund => ("before the refund", "after the refund"),
        Effect::ReleaseCoins | Effect::Alarm(_) => ("before nothing", "after nothing"),
    }
}
