//! Agreeing and paying: the request, the checks of what comes back, and the payment.

use swaprig_proto::loops::{self, Loop, LoopInRequest, LoopOutRequest};
use swaprig_units::Height;

use super::super::drive::{Step, call, now};
use super::super::{Reason, Refusal, StoreError};
use super::check::{self, Against};
use super::policy::CLAIM_VSIZE;
use super::record::{Mode, Offer, Prepay, Record, Stage};
use super::{LoopError, Looper};
use crate::failpoint::boundary;
use crate::lightning::{Outgoing, Route};
use crate::swap::Depth;

impl Looper {
    /// From a wish to something that is paid for or locked; a refusal that does not pass ends it.
    pub(super) async fn agree(&self, record: &mut Record) -> Result<Step, LoopError> {
        let done = match record.ask.mode {
            Mode::Out => self.agree_out(record).await,
            Mode::OutPlain => self.agree_plain(record).await,
            Mode::In => self.agree_in(record).await,
        };
        match done {
            Err(LoopError::Refused(refusal)) if !refusal.reason.may_pass() => {
                self.end(record, Stage::Refused, refusal)
            }
            other => other,
        }
    }

    async fn agree_out(&self, record: &mut Record) -> Result<Step, LoopError> {
        let told = self.told(record).await?;
        self.agreed(record, &told)?;
        self.judged(record, check::is_open(&told))?;
        self.affordable_claim(record).await?;
        self.pay(record).await?;
        Ok(Step::Moved)
    }

    async fn agree_plain(&self, record: &mut Record) -> Result<Step, LoopError> {
        let told = self.told(record).await?;
        let offer = self.agreed(record, &told)?;
        self.judged(record, check::is_open(&told))?;
        self.affordable_claim(record).await?;
        let depth = self.locked_depth(record).await?;
        if let (Some(prepay), None) = (&offer.prepay, depth) {
            return self.prepay(record, prepay).await;
        }
        self.ready_to_pay(record, depth).await?;
        self.pay(record).await?;
        Ok(Step::Moved)
    }

    async fn agree_in(&self, record: &mut Record) -> Result<Step, LoopError> {
        if record.ask.payment_request.is_none() {
            if !record.ask.external {
                // Before anybody is asked for anything. The exact sum is known later.
                self.dry_run(record).await?;
            }
            let wanted = record.ask.amount.to_msat();
            let Some(wanted) = wanted else {
                let seen = format!("{} does not fit", record.ask.amount);
                return self.judged(record, Err(Refusal::new(Reason::InvoiceAmount, seen)));
            };
            let description = format!("loop:{}", record.ask.id);
            let expiry = self.config.policy.invoice_expiry;
            let lightning = &self.config.lightning;
            let (invoice, hash) = lightning.invoice(wanted, &description, expiry).await?;
            record.ask.payment_request = Some(invoice);
            record.ask.payment_hash = Some(hash);
            self.store.update(record)?;
            boundary("loops.invoice-stored");
        }
        let told = self.told(record).await?;
        self.agreed(record, &told)?;
        self.judged(record, check::is_open(&told))?;
        let tip = self.chain.tip().await?;
        let time = self.in_time(record, tip);
        self.judged(record, time)?;
        self.write_rescue(record)?;
        record.stage = Stage::Funding;
        record.refusal = None;
        self.store.update(record)?;
        boundary("loops.funding-entered");
        Ok(Step::Moved)
    }

    /// The server's words: those of the request at first, later those of the loop.
    async fn told(&self, record: &mut Record) -> Result<Loop, LoopError> {
        let ask = &record.ask;
        if let Some(offer) = &record.offer {
            let direction = ask.mode.direction();
            return Ok(self
                .server
                .get(direction, offer.payment_hash, call())
                .await?);
        }
        let (key, id) = (ask.key.to_string(), Some(ask.id));
        let max_fee = Some(ask.caps.swap_fee.0.min(loops::MOST_SAT));
        let answer = match ask.mode {
            Mode::Out | Mode::OutPlain => {
                let request = LoopOutRequest {
                    pubkey: key,
                    amount: ask.amount.0,
                    payment_hash: ask.payment_hash.map(|hash| hash.to_string()),
                    invoice_first: ask.mode == Mode::Out,
                    internal_key: ask.internal,
                    confirmations: ask.confirmations,
                    publication_deadline: ask.publication_deadline.map(|height| height.0),
                    max_fee,
                };
                self.server.loop_out(&request, id, call()).await
            }
            Mode::In => {
                let request = LoopInRequest {
                    pubkey: key,
                    payment_request: ask.payment_request.clone().unwrap_or_default(),
                    internal_key: ask.internal,
                    max_fee,
                };
                self.server.loop_in(&request, id, call()).await
            }
        };
        boundary("loops.answered");
        match answer {
            Ok(told) => Ok(told),
            Err(error) if error.is_transient() => Err(error.into()),
            // It reserved nothing, and says so for good.
            Err(error) => {
                let refusal = Refusal::new(Reason::ServerRefused, error.to_string());
                self.judged(record, Err(refusal))
            }
        }
    }

    /// Checks the server's words and stores what is new in them.
    fn agreed(&self, record: &mut Record, told: &Loop) -> Result<Offer, LoopError> {
        let against = Against {
            ask: &record.ask,
            offer: record.offer.as_ref(),
            contract: record.contract.as_ref(),
            policy: &self.config.policy,
            network: self.config.bitcoin.network,
            now: now(),
        };
        let checked = check::reply(&against, told);
        let (offer, contract) = self.judged(record, checked)?;
        if record.offer.as_ref() == Some(&offer) && record.contract == contract {
            return Ok(offer);
        }
        let before = (record.offer.replace(offer.clone()), record.contract);
        record.contract = contract;
        match self.store.update(record) {
            Ok(()) => {
                boundary("loops.agreed");
                Ok(offer)
            }
            Err(StoreError::ReusedHash) => {
                (record.offer, record.contract) = before;
                let seen = offer.payment_hash.to_string();
                self.judged(record, Err(Refusal::new(Reason::ReusedHash, seen)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a claim now would cost no more than it may.
    async fn affordable_claim(&self, record: &mut Record) -> Result<(), LoopError> {
        let rate = self.chain.fee_rate(record.ask.conf_target).await;
        let (fee, cap) = (rate.fee(CLAIM_VSIZE as usize), record.ask.caps.miner_fee);
        let refusal = || {
            let seen = format!("the claim would cost {fee} now, the most is {cap}");
            Refusal::new(Reason::MinerFeeAboveCap, seen)
        };
        let judged = (fee <= cap).then_some(()).ok_or_else(refusal);
        self.judged(record, judged)
    }

    /// How deep the coins are locked that were agreed; `None` when nothing of the kind is to be seen.
    async fn locked_depth(&self, record: &Record) -> Result<Option<Depth>, LoopError> {
        let (Some(taproot), Some(contract)) = (record.taproot(), record.contract) else {
            return Ok(None);
        };
        let outputs = self.outputs(&taproot?, record.ask.since).await?;
        let is_it = |output: &&super::plan::Output| {
            output.coin.value == contract.value && output.spent.is_none()
        };
        let depths = outputs.iter().filter(is_it).map(|output| output.depth);
        Ok(depths.min_by_key(|depth| match depth {
            Depth::Block(height) => height.0,
            Depth::Mempool | Depth::Unseen => u32::MAX,
        }))
    }

    /// Whether coins that are locked first can be paid for: deep enough, and with the time that a payment may take.
    async fn ready_to_pay(
        &self,
        record: &mut Record,
        depth: Option<Depth>,
    ) -> Result<(), LoopError> {
        let tip = self.chain.tip().await?;
        let time = self.in_time(record, tip);
        self.judged(record, time)?;
        let wanted = record.ask.confirmations.max(1);
        let judged = match depth {
            None => Err(Refusal::new(
                Reason::NotFunded,
                "nothing of the agreed value is locked",
            )),
            Some(depth) if depth.confirmations(tip) < wanted => {
                let seen = format!("{} of {wanted}", depth.confirmations(tip));
                Err(Refusal::new(Reason::TooFewConfirmations, seen))
            }
            Some(_) => Ok(()),
        };
        self.judged(record, judged)
    }

    fn in_time(&self, record: &Record, tip: Height) -> Result<(), Refusal> {
        let Some(contract) = &record.contract else {
            let seen = "the server does not say what the coins are locked with";
            return Err(Refusal::new(Reason::MalformedReply, seen));
        };
        check::time(&self.config.policy, &record.ask, contract, tip)
    }

    fn route(&self, record: &Record) -> Route {
        let cltv = check::max_total_cltv(&self.config.policy, record.ask.mode);
        Route::new(record.ask.caps.routing_fee, cltv)
    }

    /// Sends the payment, unless it was sent before.
    async fn pay(&self, record: &mut Record) -> Result<(), LoopError> {
        let Some(offer) = record.offer.clone() else {
            return Err(StoreError::Row("it is to be paid and has no offer".into()).into());
        };
        let lightning = &self.config.lightning;
        let known = lightning.outgoing(offer.payment_hash).await?;
        if matches!(known, Outgoing::Unknown | Outgoing::Failed) {
            let margin = self.config.policy.invoice_margin;
            let left = offer.expires_at.saturating_sub(now().as_secs());
            if left < margin.as_secs() {
                let seen = format!("{left} s are left to pay it");
                return self.judged(record, Err(Refusal::new(Reason::InvoiceExpired, seen)));
            }
        }
        self.write_rescue(record)?;
        record.stage = Stage::Paying;
        record.attempts += 1;
        record.refusal = None;
        self.store.update(record)?;
        boundary("loops.paying-stored");
        match known {
            Outgoing::Unknown | Outgoing::Failed => {
                let route = self.route(record);
                lightning.pay(&offer.payment_request, &route).await?;
                boundary("loops.payment-sent");
            }
            // It was sent by somebody with this node: it is ours all the same.
            Outgoing::Pending | Outgoing::Succeeded(_) => {}
        }
        Ok(())
    }

    /// Pays a payment again that failed: a new route has another offset, and may be held long enough.
    pub(super) async fn pay_again(&self, record: &mut Record) -> Result<Step, LoopError> {
        let done = async {
            let told = self.told(record).await?;
            self.agreed(record, &told)?;
            self.judged(record, check::is_open(&told))?;
            if record.ask.mode == Mode::OutPlain {
                let depth = self.locked_depth(record).await?;
                self.ready_to_pay(record, depth).await?;
            }
            self.pay(record).await
        };
        match done.await {
            Ok(()) => Ok(Step::Moved),
            Err(LoopError::Refused(refusal)) if !refusal.reason.may_pass() => {
                self.end(record, Stage::PaymentFailed, refusal)
            }
            Err(error) => Err(error),
        }
    }

    /// Pays what is to be paid before the funding, once.
    async fn prepay(&self, record: &Record, prepay: &Prepay) -> Result<Step, LoopError> {
        let lightning = &self.config.lightning;
        match lightning.outgoing(prepay.payment_hash).await? {
            Outgoing::Unknown => {
                let route = self.route(record);
                lightning.pay(&prepay.payment_request, &route).await?;
                Ok(Step::Moved)
            }
            Outgoing::Pending => Ok(Step::Waiting("the prepayment is on its way".into())),
            Outgoing::Succeeded(_) => Ok(Step::Waiting("prepaid, nothing is locked yet".into())),
            Outgoing::Failed => {
                let refusal = Refusal::new(Reason::PrepayInvoice, "its payment failed");
                Err(refusal.into())
            }
        }
    }

    /// Asks what the coins are locked with, once the server holds the payment. A contract that is not right, or comes too late, is
    /// never relied on: the preimage stays secret and the payment comes back.
    pub(super) async fn ask_contract(
        &self,
        record: &mut Record,
        tip: Height,
    ) -> Result<Step, LoopError> {
        let told = self.told(record).await?;
        let judged = match self.agreed(record, &told) {
            Ok(_) if record.contract.is_none() => {
                return Ok(Step::Waiting("the server to hold the payment".into()));
            }
            Ok(_) => self.in_time(record, tip).map_err(LoopError::from),
            Err(error) => Err(error),
        };
        match judged {
            Ok(()) => {
                self.write_rescue(record)?;
                boundary("loops.contract-stored");
                Ok(Step::Moved)
            }
            Err(LoopError::Refused(refusal)) if !refusal.reason.may_pass() => {
                self.end(record, Stage::Lapsing, refusal)
            }
            Err(error) => Err(error),
        }
    }
}
