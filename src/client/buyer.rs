//! The buyer's steps, in order, and what drives them. Claiming is `claiming`'s matter, checking `check`'s.

use swaprig_harness::time::Deadline;
use swaprig_proto::v1;
use uuid::Uuid;

use super::check::{self, Against, Seen};
use super::drive::{Step, call, drive, drive_all, now};
use super::record::{Offer, Prepay, Record, Request, Stage};
use super::server::Server;
use super::source::Source;
use super::store::Store;
use super::{BuyError, Config, Reason, Refusal, Rescue, StoreError, Wish};
use crate::failpoint::boundary;
use crate::lightning::{Outgoing, Route};
use crate::swap::{Htlc, Locked};

/// How often a payment that failed is sent again while the swap can still be paid.
const ATTEMPTS: u32 = 5;

/// A buyer. Several swaps may be driven at once.
#[derive(Debug)]
pub struct Buyer {
    pub(super) config: Config,
    pub(super) store: Store<Record>,
    pub(super) source: Source,
    server: Server,
}

impl Buyer {
    /// Opens the store. Connects to nobody yet. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be opened, the server's address is none, or the rules let nothing be paid.
    pub fn open(config: Config) -> Result<Self, BuyError> {
        std::fs::create_dir_all(&config.dir).map_err(|source| super::RescueError::File {
            path: config.dir.clone(),
            source,
        })?;
        config.policy.needed_blocks()?;
        let store = Store::open(&config.dir.join(super::STORE))?;
        let server = Server::new(&config.server, config.witness.clone())?;
        let source = Source::new(&config.electrum);
        Ok(Buyer {
            config,
            store,
            source,
            server,
        })
    }

    /// All its swaps, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<Record>, BuyError> {
        Ok(self.store.all()?)
    }

    /// A swap, by the name of its request or the server's.
    ///
    /// # Errors
    /// When there is none.
    pub fn status(&self, id: Uuid) -> Result<Record, BuyError> {
        self.store.get(id)?.ok_or(BuyError::NoSuchSwap(id))
    }

    /// Stores a wish and asks the server for it. The same wish, by its name, is asked for again and is the same swap.
    ///
    /// # Errors
    /// When the server does not answer (the wish is stored; drive it on), makes no such swap, or tells nonsense.
    pub async fn create(&self, wish: &Wish) -> Result<Record, BuyError> {
        let mut record = self.wished(wish)?;
        if record.swap_id.is_none() && !record.stage.is_final() {
            self.ask(&mut record).await?;
        }
        Ok(record)
    }

    /// The stored swap of a wish, made when there is none. The server is not asked.
    ///
    /// # Errors
    /// When the store fails, or the name was used for another wish.
    pub fn wished(&self, wish: &Wish) -> Result<Record, BuyError> {
        let request_id = wish.request_id.unwrap_or_else(Uuid::new_v4);
        if let Some(record) = self.store.get(request_id)? {
            let Request {
                asset,
                amount,
                max_price,
                ..
            } = record.request;
            return match (asset, amount, max_price) == (wish.asset, wish.amount, wish.max_price) {
                true => Ok(record),
                false => Err(BuyError::OtherWish(request_id)),
            };
        }
        let (seed, policy) = (&self.config.seed, &self.config.policy);
        let record = self.store.insert(|key_index| Record {
            key_index,
            request: Request {
                request_id,
                asset: wish.asset,
                amount: wish.amount,
                claimer: seed.claim_pubkey(key_index),
                min_confirmations: policy.min_confirmations.max(1),
                max_price: wish.max_price,
            },
            swap_id: None,
            offer: None,
            stage: Stage::Created,
            attempts: 0,
            prepaying: false,
            preimage: None,
            claims: Vec::new(),
            refusal: None,
            version: 0,
        })?;
        boundary("client.requested");
        Ok(record)
    }

    async fn ask(&self, record: &mut Record) -> Result<(), BuyError> {
        let answer = self.server.create(&record.request, call()).await;
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) if error.is_transient() => return Err(error.into()),
            // It reserved nothing, and says so for good.
            Err(error) => {
                let refusal = Refusal::new(Reason::ServerRefused, error.to_string());
                self.refuse(record, &refusal)?;
                return Err(error.into());
            }
        };
        boundary("client.created");
        let named = check::identity(&self.against(record), &reply);
        record.swap_id = Some(self.judged(record, named)?);
        self.store.update(record)?;
        boundary("client.named");
        Ok(())
    }

    fn against<'a>(&'a self, record: &'a Record) -> Against<'a> {
        let chains = self.config.chains;
        Against {
            request: &record.request,
            swap_id: record.swap_id,
            policy: &self.config.policy,
            params: chains.params,
            lbtc: chains.lbtc,
            bitcoin: chains.bitcoin,
            now: now(),
        }
    }

    /// Notes a refusal, without ending the swap.
    fn judged<T>(&self, record: &mut Record, judged: Result<T, Refusal>) -> Result<T, BuyError> {
        judged.map_err(|refusal| match self.note(record, &refusal) {
            Ok(()) => refusal.into(),
            Err(error) => error.into(),
        })
    }

    fn note(&self, record: &mut Record, refusal: &Refusal) -> Result<(), StoreError> {
        if record.refusal.as_ref() == Some(refusal) {
            return Ok(());
        }
        record.refusal = Some(refusal.clone());
        self.store.update(record)
    }

    fn refuse(&self, record: &mut Record, refusal: &Refusal) -> Result<(), StoreError> {
        record.stage = Stage::Refused;
        record.refusal = Some(refusal.clone());
        self.store.update(record)
    }

    /// Checks everything: the server's reply, the chain by the buyer's own source, the time that is left. Pays nothing.
    ///
    /// # Errors
    /// [`BuyError::Refused`] with the first rule that is broken; see [`Reason::may_pass`].
    pub async fn verify(&self, id: Uuid) -> Result<Offer, BuyError> {
        let mut record = self.status(id)?;
        self.verify_record(&mut record).await
    }

    async fn verify_record(&self, record: &mut Record) -> Result<Offer, BuyError> {
        let offer = self.read_offer(record).await?;
        self.verify_chain(record, &offer).await?;
        if record.refusal.take().is_some() {
            self.store.update(record)?;
        }
        Ok(offer)
    }

    /// Asks the server and checks and stores its words.
    async fn read_offer(&self, record: &mut Record) -> Result<Offer, BuyError> {
        if record.swap_id.is_none() {
            self.ask(record).await?;
        }
        let Some(swap_id) = record.swap_id else {
            return Err(BuyError::NotNow {
                stage: record.stage,
                what: "the server has not answered yet",
            });
        };
        let reply: v1::Swap = self.server.get(swap_id, call()).await?;
        let checked = check::reply(&self.against(record), &reply);
        let offer = self.judged(record, checked)?;
        if let Some(before) = &record.offer
            && !before.agrees_with(&offer)
        {
            let seen = "invoice, key, timeout or funding differ from the first reply";
            let refusal = Refusal::new(Reason::TermsChanged, seen);
            return self.judged(record, Err(refusal));
        }
        if record.offer.as_ref() != Some(&offer) {
            let before = record.offer.replace(offer.clone());
            match self.store.update(record) {
                Ok(()) => {}
                Err(StoreError::ReusedHash) => {
                    record.offer = before;
                    let seen = offer.payment_hash.to_string();
                    return self.judged(record, Err(Refusal::new(Reason::ReusedHash, seen)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(offer)
    }

    async fn verify_chain(&self, record: &mut Record, offer: &Offer) -> Result<(), BuyError> {
        let script = offer.script.to_v0_p2wsh();
        let view = self.source.view(&script, call()).await?;
        let time = check::time(&self.config.policy, offer, view.tip);
        self.judged(record, time)?;
        let found = offer.funding.as_ref().and_then(|f| view.find(f.txid));
        let mut block = None;
        if let Some((funding, height)) = offer
            .funding
            .as_ref()
            .zip(found.and_then(|found| found.block))
        {
            if !self.source.proves(funding.txid, height, call()).await? {
                let seen = format!("{} in block {}", funding.txid, height.0);
                return self.judged(record, Err(Refusal::new(Reason::BadProof, seen)));
            }
            block = Some(height);
        }
        let outpoints = offer.funding.iter().flat_map(|funding| funding.outpoints());
        let spends = outpoints.filter_map(|outpoint| {
            let spender = view.spender(outpoint)?;
            Some((outpoint.vout, spender.transaction.txid()))
        });
        let mut transaction = found.map(|found| found.transaction.clone());
        if let Some(funding) = &offer.funding
            && transaction.is_none()
        {
            // It may exist and pay to something else.
            transaction = self.source.transaction(funding.txid, call()).await?;
        }
        let seen = Seen {
            tip: view.tip,
            transaction,
            block,
            spends: spends.collect(),
        };
        let checked = check::chain(&self.against(record), offer, &seen);
        self.judged(record, checked)
    }

    /// Checks everything once more and sends the payment, unless it was sent before. Returns when it is on its way; how it
    /// ends, [`Buyer::claim`] or [`Buyer::run`] see.
    ///
    /// # Errors
    /// [`BuyError::Refused`]; then nothing was paid by this call.
    pub async fn pay(&self, id: Uuid) -> Result<Record, BuyError> {
        let mut record = self.status(id)?;
        match record.stage {
            Stage::Created => self.pay_record(&mut record).await?,
            Stage::Paying => {
                self.settle(&mut record).await?;
            }
            Stage::Claiming | Stage::Claimed => {}
            Stage::Refused | Stage::PaymentFailed | Stage::Lost => {
                return Err(BuyError::NotNow {
                    stage: record.stage,
                    what: "it is not to be paid any more",
                });
            }
        }
        Ok(record)
    }

    async fn pay_record(&self, record: &mut Record) -> Result<(), BuyError> {
        let offer = self.verify_record(record).await?;
        let lightning = &self.config.lightning;
        let known = lightning.outgoing(offer.payment_hash).await?;
        self.write_rescue(record, &offer)?;
        boundary("client.rescue-written");
        record.stage = Stage::Paying;
        record.attempts += 1;
        self.store.update(record)?;
        boundary("client.paying-stored");
        match known {
            Outgoing::Unknown | Outgoing::Failed => {
                lightning.pay(&offer.invoice, &self.route()).await?;
                boundary("client.payment-sent");
            }
            // It was sent by somebody with this node: it is ours all the same.
            Outgoing::Pending | Outgoing::Succeeded(_) => {}
        }
        Ok(())
    }

    fn route(&self) -> Route {
        let policy = &self.config.policy;
        Route::new(policy.max_routing_fee, policy.max_total_cltv)
    }

    pub(super) fn locked(&self, record: &Record, offer: &Offer) -> Locked {
        let outpoints = offer.funding.iter().flat_map(|funding| funding.outpoints());
        let lbtc = self.config.chains.lbtc;
        let values = [
            (record.request.asset, record.request.amount.0),
            (lbtc, offer.fee_value.0),
        ];
        let coin = |(outpoint, (asset, value))| crate::swap::Coin {
            outpoint,
            asset,
            value,
        };
        Locked {
            htlc: Htlc {
                payment_hash: offer.payment_hash,
                claimer: record.request.claimer,
                refunder: offer.refunder,
                timeout: offer.timeout,
            },
            lbtc,
            coins: outpoints.zip(values).map(coin).collect(),
        }
    }

    fn write_rescue(&self, record: &Record, offer: &Offer) -> Result<(), BuyError> {
        let request_id = record.request.request_id;
        let funding = offer.funding.as_ref();
        let rescue = Rescue::new(
            (request_id, offer.swap_id),
            self.config.seed.claim_key(record.key_index),
            record.preimage,
            &self.locked(record, offer),
            funding.map(|f| f.raw.clone()).unwrap_or_default(),
            &self.config.destination,
        );
        rescue.write(&Rescue::path(&self.config.dir, request_id))?;
        Ok(())
    }

    /// Asks the node what became of the payment; sends it (again) only when the node says that nothing of it is on its way.
    async fn settle(&self, record: &mut Record) -> Result<Step, BuyError> {
        let Some(offer) = record.offer.clone() else {
            return Err(StoreError::Row("it is being paid and has no offer".into()).into());
        };
        let lightning = &self.config.lightning;
        match lightning.outgoing(offer.payment_hash).await? {
            Outgoing::Pending => Ok(Step::Waiting("the payment is on its way".into())),
            Outgoing::Succeeded(preimage) => {
                record.preimage = Some(preimage);
                record.stage = Stage::Claiming;
                self.store.update(record)?;
                boundary("client.preimage-latched");
                self.write_rescue(record, &offer)?;
                Ok(Step::Moved)
            }
            Outgoing::Failed if record.attempts >= ATTEMPTS => {
                record.stage = Stage::PaymentFailed;
                self.store.update(record)?;
                Ok(Step::Over)
            }
            Outgoing::Failed => self.pay_again(record, true).await,
            Outgoing::Unknown => self.pay_again(record, false).await,
        }
    }

    async fn pay_again(&self, record: &mut Record, failed: bool) -> Result<Step, BuyError> {
        match self.pay_record(record).await {
            Ok(()) => Ok(Step::Moved),
            Err(BuyError::Refused(refusal)) if !refusal.reason.may_pass() => {
                let expired = record
                    .offer
                    .as_ref()
                    .is_some_and(|offer| offer.expires_at < now().as_secs());
                // A payment of which the node knows nothing may be an order that it has not read yet, until the invoice
                // has expired and it would take it no more.
                if !failed && !expired {
                    return Ok(Step::Waiting(format!("not paid again: {refusal}")));
                }
                record.stage = Stage::PaymentFailed;
                self.note(record, &refusal)?;
                self.store.update(record)?;
                Ok(Step::Over)
            }
            Err(error) => Err(error),
        }
    }

    /// Pays what is to be paid before the funding, once.
    async fn prepay(&self, record: &mut Record, prepay: &Prepay) -> Result<Step, BuyError> {
        let lightning = &self.config.lightning;
        match lightning.outgoing(prepay.payment_hash).await? {
            Outgoing::Unknown => {
                record.prepaying = true;
                self.store.update(record)?;
                boundary("client.prepaying-stored");
                lightning.pay(&prepay.invoice, &self.route()).await?;
                Ok(Step::Moved)
            }
            Outgoing::Pending => Ok(Step::Waiting("the prepayment is on its way".into())),
            Outgoing::Succeeded(_) => Ok(Step::Waiting("prepaid, nothing is locked yet".into())),
            Outgoing::Failed => {
                record.stage = Stage::PaymentFailed;
                self.store.update(record)?;
                Ok(Step::Over)
            }
        }
    }

    /// One step of a swap, whatever it is that comes next.
    async fn advance(&self, id: Uuid) -> Result<Step, BuyError> {
        let mut record = self.status(id)?;
        match record.stage {
            Stage::Created => self.advance_created(&mut record).await,
            Stage::Paying => self.settle(&mut record).await,
            Stage::Claiming => self.claim_record(&mut record).await,
            Stage::Claimed | Stage::Refused | Stage::PaymentFailed | Stage::Lost => Ok(Step::Over),
        }
    }

    async fn advance_created(&self, record: &mut Record) -> Result<Step, BuyError> {
        let done = async {
            let offer = self.read_offer(record).await?;
            if let Some(prepay) = &offer.prepay {
                return self.prepay(record, prepay).await;
            }
            self.pay_record(record).await.map(|()| Step::Moved)
        };
        match done.await {
            Err(BuyError::Refused(refusal)) if !refusal.reason.may_pass() => {
                self.refuse(record, &refusal)?;
                Ok(Step::Over)
            }
            other => other,
        }
    }

    /// Drives a swap until nothing more is to be done: verified, paid, claimed, the claim deep enough; or refused.
    ///
    /// # Errors
    /// [`BuyError::TimedOut`] with what it waits for; it goes on when it is driven again. Errors of the buyer's own node and
    /// index are waited out; those that are told at once are the store's, and what the server says for good.
    pub async fn run(&self, id: Uuid, deadline: Deadline) -> Result<Record, BuyError> {
        let mut wakes = self.config.lightning.events();
        let wake = async || {
            wakes.next().await;
        };
        let poll = self.config.policy.poll;
        let step = async || match self.advance(id).await {
            Err(error) if is_worth_waiting(&error) => {
                Ok(Step::Waiting(swaprig_harness::error_chain(&error)))
            }
            other => other,
        };
        drive(format!("swap {id} to end"), deadline, poll, wake, step).await?;
        self.status(id)
    }

    /// Drives all swaps that are not over, side by side, and tells how each ended.
    ///
    /// # Errors
    /// When the store cannot be read; the errors of single swaps are told with them.
    pub async fn resume_all(
        &self,
        deadline: Deadline,
    ) -> Result<Vec<(Uuid, Result<Record, BuyError>)>, BuyError> {
        let open = self.list()?.into_iter().filter(|r| !r.stage.is_final());
        let ids = open.map(|record| record.request.request_id);
        Ok(drive_all(ids, |id| self.run(id, deadline)).await)
    }
}

/// What the buyer's own node or index says now is no reason to leave a swap: a payment that it refuses is looked at again,
/// a claim is due whatever it says.
fn is_worth_waiting(error: &BuyError) -> bool {
    error.is_transient() || matches!(error, BuyError::Lightning(_) | BuyError::Source(_))
}
