//! How a loop is ordered: what was asked for is checked, and becomes the terms of a swap.

use std::sync::Arc;

use bitcoin::secp256k1::PublicKey;
use lightning_invoice::Bolt11Invoice;
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Sat, Units};
use uuid::Uuid;

use super::terms::{LoopTerms, ppm};
use super::{CreateError, Engine, LoopError, View, wrong};
use crate::lightning::Outgoing;
use crate::swap::taproot::{InternalChoice, InternalKey, Taproot};
use crate::swap::{Asset, ChainName, Direction, Phase, Routing, Swap, SwapId, Terms};
use crate::watch::Load;
use crate::watch::create::{Order, Request};

/// A loop out that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutWanted {
    /// The caller's key: two requests that have the same are one.
    pub request: Option<Uuid>,
    /// SHA-256 of what was asked for.
    pub fingerprint: [u8; 32],
    /// The client's key, with which it claims.
    pub pubkey: PublicKey,
    /// What is locked on chain. Not more than there will ever be.
    pub amount: Sat,
    /// The client's; `None`: the server chooses the preimage, and locks coins before it is paid.
    pub payment_hash: Option<PaymentHash>,
    /// The internal key of the output.
    pub internal: InternalChoice,
    /// The depth at which it counts as funded; at least 1.
    pub confirmations: u32,
    /// Until when the funding may wait.
    pub publication_deadline: Option<Height>,
    /// The most that the client would pay on top.
    pub max_fee: Option<Sat>,
}

/// A loop in that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InWanted {
    /// The caller's key: two requests that have the same are one.
    pub request: Option<Uuid>,
    /// SHA-256 of what was asked for.
    pub fingerprint: [u8; 32],
    /// The client's key, with which it refunds.
    pub pubkey: PublicKey,
    /// The client's invoice.
    pub payment_request: String,
    /// The internal key of the output.
    pub internal: InternalChoice,
    /// The most that the client would pay on top.
    pub max_fee: Option<Sat>,
}

impl Request {
    /// With a key of its own when the caller has none.
    fn of(key: Option<Uuid>, fingerprint: [u8; 32]) -> Request {
        Request {
            id: key.unwrap_or_else(Uuid::new_v4),
            fingerprint,
        }
    }
}

/// A loop out as it was checked.
struct Out {
    wanted: OutWanted,
    request: Request,
    terms: LoopTerms,
}

/// A loop in as it was checked.
struct In {
    wanted: InWanted,
    request: Request,
    terms: LoopTerms,
    hash: PaymentHash,
    amount: Sat,
    price: Msat,
}

impl Order for Out {
    fn request(&self) -> Request {
        self.request
    }

    fn check(&self, engine: &Engine) -> Result<Msat, CreateError> {
        engine.is_ready()?;
        let price = self.terms.fee(self.wanted.amount).0;
        let price = price
            .checked_add(self.wanted.amount.0)
            .and_then(|price| price.checked_mul(1_000))
            .map(Msat)
            .ok_or(CreateError::PriceOverflow)?;
        // What is paid in advance is a part of it.
        let price = match self.wanted.payment_hash {
            Some(_) => price,
            None => Msat(price.0.saturating_sub(engine.config.prepay.0)),
        };
        engine.can_receive(price)?;
        Ok(price)
    }

    fn draft(&self, engine: &Engine, index: u32, price: Msat) -> Result<Swap, CreateError> {
        let (config, wanted) = (&engine.config, &self.wanted);
        let keys = engine.keys.keys(index).map_err(CreateError::Keys)?;
        let made_at = engine.height(ChainName::Bitcoin);
        let window = wanted
            .publication_deadline
            .map_or(u32::MAX, |deadline| deadline.0.saturating_sub(made_at.0));
        let terms = Terms {
            chain: ChainName::Bitcoin,
            direction: match wanted.payment_hash {
                Some(_) => Direction::OutHeld,
                None => Direction::Out,
            },
            asset: Asset::Bitcoin,
            amount: Units(wanted.amount.0),
            fee_value: Sat(0),
            price,
            prepay: match wanted.payment_hash {
                Some(_) => Msat(0),
                None => config.prepay,
            },
            payment_hash: wanted
                .payment_hash
                .unwrap_or_else(|| keys.preimage.payment_hash()),
            claimer: wanted.pubkey,
            refunder: keys.public(),
            timeout: Height(made_at.0.saturating_add(config.loops.delta.0)),
            claim_window: config.loops.claim_window,
            refund_window: config.loops.refund_window,
            min_confirmations: wanted.confirmations,
            finality: config.loops.final_confirmations,
            funding_window: BlockDelta(config.loops.funding_window.0.min(window)),
            made_at,
            internal: Some(internal(wanted.internal, keys.r)),
            routing: None,
        };
        checked(index, terms)
    }
}

impl Order for In {
    fn request(&self) -> Request {
        self.request
    }

    fn check(&self, engine: &Engine) -> Result<Msat, CreateError> {
        engine.is_ready()?;
        Ok(self.price)
    }

    fn load(&self, _: Msat) -> Load {
        Load {
            unfunded: 1,
            ..Load::default()
        }
    }

    fn draft(&self, engine: &Engine, index: u32, price: Msat) -> Result<Swap, CreateError> {
        let loops = &engine.config.loops;
        let keys = engine.keys.keys(index).map_err(CreateError::Keys)?;
        let made_at = engine.height(ChainName::Bitcoin);
        let locked = self.amount.0.saturating_add(self.terms.fee(self.amount).0);
        let terms = Terms {
            chain: ChainName::Bitcoin,
            direction: Direction::In,
            asset: Asset::Bitcoin,
            amount: Units(locked),
            fee_value: Sat(0),
            price,
            prepay: Msat(0),
            payment_hash: self.hash,
            claimer: keys.public(),
            refunder: self.wanted.pubkey,
            timeout: Height(made_at.0.saturating_add(loops.delta.0)),
            claim_window: loops.in_claim_window(),
            refund_window: BlockDelta(0),
            min_confirmations: loops.in_confirmations,
            finality: loops.final_confirmations,
            funding_window: loops.funding_window,
            made_at,
            internal: Some(internal(self.wanted.internal, keys.r)),
            routing: Some(Routing {
                max_fee: Msat(
                    ppm(self.amount, loops.in_routing_ppm)
                        .0
                        .saturating_mul(1_000),
                ),
                max_total_cltv: loops.in_max_cltv,
            }),
        };
        let swap = checked(index, terms)?;
        Ok(Swap {
            invoice: Some(self.wanted.payment_request.clone()),
            ..swap
        })
    }
}

fn internal(choice: InternalChoice, r: [u8; 32]) -> InternalKey {
    match choice {
        InternalChoice::Musig2 => InternalKey::Musig2,
        InternalChoice::Unspendable => InternalKey::Unspendable { r },
    }
}

/// A swap whose terms lead to an HTLC: with some keys there is no internal key.
fn checked(index: u32, terms: Terms) -> Result<Swap, CreateError> {
    match Taproot::of(&terms) {
        Ok(_) => Ok(Swap::new(index, terms)),
        Err(_) => Err(CreateError::BadKey),
    }
}

impl Engine {
    /// Makes a loop out, or finds the one that the same request made. It answers when the invoice is there, and in the mode in
    /// which coins are locked first, when they are sent.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn loop_out(self: &Arc<Self>, wanted: OutWanted) -> Result<View, LoopError> {
        let request = Request::of(wanted.request, wanted.fingerprint);
        if let Some(made) = self.made_before(request).await? {
            return Ok(made);
        }
        // Until then it knows neither its coins nor its channels, and would say that the amount is wrong.
        self.is_ready()?;
        let terms = self.loop_out_terms()?;
        terms.offers(wanted.amount)?;
        terms.waits_for(wanted.confirmations)?;
        terms.costs_at_most(wanted.amount, wanted.max_fee)?;
        if let Some(deadline) = wanted.publication_deadline
            && deadline <= terms.height
        {
            let tip = terms.height;
            let reason = format!("{deadline} is not above {tip}, where the chain is");
            return Err(wrong("publication_deadline", reason));
        }
        match wanted.payment_hash {
            Some(hash) => self.is_unused(hash).await?,
            // Coins that cost nothing to lock would soon all be locked.
            None if !self.config.loops.coins_first && self.config.prepay.0 == 0 => {
                return Err(wrong(
                    "invoice_first",
                    "must be true: this server locks no coins before it is paid",
                ));
            }
            None => {}
        }
        let order = Out {
            wanted,
            request,
            terms,
        };
        let id = self.order(order).await?;
        Ok(self.answer(id, false).await?)
    }

    /// Makes a loop in, or finds the one that the same request made.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn loop_in(self: &Arc<Self>, wanted: InWanted) -> Result<View, LoopError> {
        let request = Request::of(wanted.request, wanted.fingerprint);
        if let Some(made) = self.made_before(request).await? {
            return Ok(made);
        }
        self.is_ready()?;
        let terms = self.loop_in_terms()?;
        let invoice = wanted.payment_request.parse::<Bolt11Invoice>();
        let invoice = invoice
            .map_err(|error| wrong("payment_request", format!("is no BOLT 11 invoice: {error}")))?;
        let price = self.payable(&invoice).await?;
        let amount = price.ceil_sat();
        terms.offers(amount).map_err(|error| match error {
            LoopError::Param { reason, .. } => wrong("payment_request", reason),
            error => error,
        })?;
        terms.costs_at_most(amount, wanted.max_fee)?;
        let hash = PaymentHash(*invoice.payment_hash().as_ref());
        self.is_unused(hash).await?;
        let order = In {
            wanted,
            request,
            terms,
            hash,
            amount,
            price,
        };
        let id = self.order(order).await?;
        let made = self.answer(id, false).await?;
        let engine = self.clone();
        // Before the client knows where to pay to.
        self.beside(async move { engine.begin_to_watch(id).await })
            .await;
        Ok(made)
    }

    async fn begin_to_watch(self: &Arc<Self>, id: SwapId) {
        let Some(cell) = self.cells.get(id) else {
            return;
        };
        let chain = self.chain(ChainName::Bitcoin);
        if let Err(error) = chain.watch(vec![cell.watch()]).await {
            tracing::warn!(swap = %id, %error, "the HTLC is watched as soon as the chain is back");
        }
        self.look_at_chain(&cell).await;
    }

    /// What an invoice asks for that the server can pay.
    async fn payable(&self, invoice: &Bolt11Invoice) -> Result<Msat, LoopError> {
        let bad = |reason: String| Err(wrong("payment_request", reason));
        let network = self.config.loops.network;
        if invoice.network() != network {
            return bad(format!("is for {}; this is {network}", invoice.network()));
        }
        let Some(price) = invoice.amount_milli_satoshis() else {
            return bad("has no amount; ask for one".into());
        };
        if invoice.is_expired() {
            return bad("has expired; make another".into());
        }
        let delta = invoice.min_final_cltv_expiry_delta();
        let most = self.config.loops.in_max_cltv;
        if delta > u64::from(most.0) {
            return bad(format!(
                "asks for a final CLTV of {delta} blocks, and at most {most} are offered"
            ));
        }
        let payee = invoice.get_payee_pub_key();
        if payee == self.node.info().await?.node_id {
            return bad("is the server's own node's".into());
        }
        Ok(Msat(price))
    }

    async fn made_before(self: &Arc<Self>, request: Request) -> Result<Option<View>, LoopError> {
        let found = self.store.by_request(request.id, &request.fingerprint);
        let Some(id) = found.map_err(CreateError::from)? else {
            return Ok(None);
        };
        match self.view(id)? {
            Some(view) if matches!(view.swap.phase, Phase::Failed(_)) => Ok(Some(view)),
            // Who asks again before the first answer gets one that is as complete.
            _ => Ok(Some(self.answer(id, false).await?)),
        }
    }

    /// Whether nothing was ever paid, or asked for, under a hash.
    async fn is_unused(&self, hash: PaymentHash) -> Result<(), LoopError> {
        let used = self.store.by_hash(hash)?.is_some()
            || self.node.asked(hash).await?.is_some()
            || self.node.outgoing(hash).await? != Outgoing::Unknown;
        match used {
            true => Err(LoopError::HashUsed(hash)),
            false => Ok(()),
        }
    }
}
