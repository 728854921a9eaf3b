//! Loops: Bitcoin for Lightning and Lightning for Bitcoin, as their clients ask for them.

use std::sync::Arc;

use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::rand::thread_rng;
use bitcoin::{OutPoint, Transaction};
use lightning_invoice::Bolt11Invoice;
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat, Units};
use uuid::Uuid;

use super::cell::{Cell, View};
use super::create::{CreateError, Order};
use super::{ApplyError, Engine};
use crate::chain::bitcoin::Bitcoin;
use crate::lightning::{LightningError, Outgoing};
use crate::store::StoreError;
use crate::swap::musig::{self, PartialSignature, PublicNonce};
use crate::swap::taproot::{self, InternalChoice, InternalKey, Locked, Taproot};
use crate::swap::{
    Asset, ChainName, Direction, Event, Kind, Observation, Phase, Routing, Swap, SwapId, Terms,
    may_cosign,
};

/// Of a loop out's funding, which its client pays for; virtual bytes.
const FUNDING_VSIZE: usize = 240;
/// Of the server's claim of a loop in, which its client pays for; virtual bytes.
const CLAIM_VSIZE: usize = 155;
/// Of a client's own claim, or funding, for its quote; virtual bytes.
const CLIENT_VSIZE: usize = 155;

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

/// What is offered in a direction now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopTerms {
    /// The network.
    pub network: bitcoin::Network,
    /// The height at which this is so.
    pub height: Height,
    /// The smallest amount.
    pub least: Sat,
    /// The largest amount now; less than `least` when nothing can be looped.
    pub most: Sat,
    /// The part of the fee that does not depend on the amount, what the chain costs the server in it.
    pub base_fee: Sat,
    /// The part that does, millionths of the amount.
    pub fee_ppm: u32,
    /// What is paid in advance when the server locks coins first.
    pub prepay: Sat,
    /// Out: the most confirmations that can be asked for. In: what the server waits for.
    pub confirmations: u32,
    /// From the making of a loop to its timeout, at most.
    pub delta: BlockDelta,
}

/// What a loop would cost now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopQuote {
    /// What the client pays on top of the amount.
    pub fee: Sat,
    /// What the client's own transaction would cost.
    pub miner_fee: Sat,
    /// What the rest of the terms are.
    pub terms: LoopTerms,
}

/// The server's half of a key-path spend.
#[derive(Debug, Clone)]
pub struct Cosigned {
    /// The server's public nonce.
    pub nonce: PublicNonce,
    /// Its partial signature.
    pub partial_signature: PartialSignature,
}

/// Why a client of a loop did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// Something that was sent is wrong.
    #[error("{param}: {reason}")]
    Param {
        /// Its name.
        param: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// This server has no Bitcoin.
    #[error("this server makes no loops: it has no bitcoin_url")]
    None,
    /// There is no such loop.
    #[error("there is no such loop")]
    Unknown,
    /// The hash is one of another loop, or of a payment of the server's own.
    #[error("payment_hash: {0} was used before; never use a preimage twice")]
    HashUsed(PaymentHash),
    /// The loop is not where this can be done.
    #[error("{0}")]
    WrongState(String),
    /// It could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The Lightning node or the chain does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LightningError> for LoopError {
    fn from(error: LightningError) -> Self {
        LoopError::Unreachable(error.to_string())
    }
}

fn wrong(param: &'static str, reason: impl Into<String>) -> LoopError {
    LoopError::Param {
        param,
        reason: reason.into(),
    }
}

fn later(reason: impl Into<String>) -> LoopError {
    LoopError::WrongState(reason.into())
}

/// The part of an amount in millionths, rounded up.
fn ppm(amount: Sat, ppm: u32) -> Sat {
    let part = u128::from(amount.0) * u128::from(ppm);
    Sat(u64::try_from(part.div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// A loop out as it was checked.
struct Out {
    wanted: OutWanted,
    request: Uuid,
    terms: LoopTerms,
}

/// A loop in as it was checked.
struct In {
    wanted: InWanted,
    request: Uuid,
    terms: LoopTerms,
    hash: PaymentHash,
    amount: Sat,
    price: Msat,
}

impl LoopTerms {
    fn fee(&self, amount: Sat) -> Sat {
        Sat(self.base_fee.0.saturating_add(ppm(amount, self.fee_ppm).0))
    }
}

impl Order for Out {
    fn request_id(&self) -> Uuid {
        self.request
    }

    fn fingerprint(&self) -> [u8; 32] {
        self.wanted.fingerprint
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
            finality: config.final_confirmations,
            funding_window: BlockDelta(config.loops.funding_window.0.min(window)),
            made_at,
            internal: Some(internal(wanted.internal, keys.r)),
            routing: None,
        };
        checked(index, terms)
    }
}

impl Order for In {
    fn request_id(&self) -> Uuid {
        self.request
    }

    fn fingerprint(&self) -> [u8; 32] {
        self.wanted.fingerprint
    }

    fn check(&self, engine: &Engine) -> Result<Msat, CreateError> {
        engine.is_ready()?;
        Ok(self.price)
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
            finality: engine.config.final_confirmations,
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
    fn bitcoin(&self) -> Result<&Arc<Bitcoin>, LoopError> {
        self.bitcoin.as_ref().ok_or(LoopError::None)
    }

    /// What is offered in a direction now.
    ///
    /// # Errors
    /// [`LoopError::None`].
    pub fn loop_terms(&self, is_out: bool) -> Result<LoopTerms, LoopError> {
        let bitcoin = self.bitcoin()?;
        let loops = &self.config.loops;
        let receivable = Msat(self.receivable.load(std::sync::atomic::Ordering::Relaxed));
        let vsize = if is_out { FUNDING_VSIZE } else { CLAIM_VSIZE };
        let chain_fee = bitcoin.rate().fee(vsize);
        let terms = LoopTerms {
            network: bitcoin.network(),
            height: self.height(ChainName::Bitcoin),
            least: loops.least,
            most: Sat(u64::MAX),
            base_fee: Sat(loops.base_fee.0.saturating_add(chain_fee.0)),
            fee_ppm: loops.fee_ppm,
            prepay: match is_out {
                true => self.config.prepay.ceil_sat(),
                false => Sat(0),
            },
            confirmations: match is_out {
                true => self.config.max_confirmations,
                false => loops.in_confirmations,
            },
            delta: loops.delta,
        };
        let most = loops.most.unwrap_or(Sat(2_100_000_000_000_000));
        let most = match is_out {
            // The client pays its fee over Lightning, too.
            true => {
                let whole = receivable.floor_sat();
                let left = Sat(whole.0.saturating_sub(terms.base_fee.0));
                let left = left.0.saturating_sub(ppm(left, terms.fee_ppm).0);
                most.min(bitcoin.most()).min(Sat(left))
            }
            false => most,
        };
        Ok(LoopTerms { most, ..terms })
    }

    /// What a loop would cost now.
    ///
    /// # Errors
    /// [`LoopError::Param`] for an amount or a number of confirmations that is not offered.
    pub fn loop_quote(
        &self,
        is_out: bool,
        amount: Sat,
        confirmations: u32,
    ) -> Result<LoopQuote, LoopError> {
        self.is_ready()?;
        let terms = self.loop_terms(is_out)?;
        terms.offers(is_out, amount, confirmations)?;
        Ok(LoopQuote {
            fee: terms.fee(amount),
            miner_fee: self.bitcoin()?.rate().fee(CLIENT_VSIZE),
            terms,
        })
    }

    /// Makes a loop out, or finds the one that the same request made. It answers when the invoice is there, and in the mode in
    /// which coins are locked first, when they are sent.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn loop_out(self: &Arc<Self>, wanted: OutWanted) -> Result<View, LoopError> {
        let request = wanted.request.unwrap_or_else(Uuid::new_v4);
        if let Some(made) = self.made_before(request, &wanted.fingerprint).await? {
            return Ok(made);
        }
        // Until then it knows neither its coins nor its channels, and would say that the amount is wrong.
        self.is_ready()?;
        let terms = self.loop_terms(true)?;
        terms.offers(true, wanted.amount, wanted.confirmations)?;
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
        let request = wanted.request.unwrap_or_else(Uuid::new_v4);
        if let Some(made) = self.made_before(request, &wanted.fingerprint).await? {
            return Ok(made);
        }
        self.is_ready()?;
        let terms = self.loop_terms(false)?;
        let invoice = wanted.payment_request.parse::<Bolt11Invoice>();
        let invoice = invoice
            .map_err(|error| wrong("payment_request", format!("is no BOLT 11 invoice: {error}")))?;
        let price = self.payable(&invoice).await?;
        let amount = price.ceil_sat();
        terms
            .offers(false, amount, terms.confirmations)
            .map_err(|error| match error {
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

    async fn made_before(
        self: &Arc<Self>,
        request: Uuid,
        fingerprint: &[u8; 32],
    ) -> Result<Option<View>, LoopError> {
        let found = self.store.by_request(request, fingerprint);
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

    /// The loop with a payment hash.
    ///
    /// # Errors
    /// When the store fails.
    pub fn loop_by_hash(&self, kind: Kind, hash: PaymentHash) -> Result<Option<View>, StoreError> {
        let Some(stored) = self.store.by_hash(hash)? else {
            return Ok(None);
        };
        match stored.swap.terms.kind() == kind {
            true => self.view(stored.swap.id),
            false => Ok(None),
        }
    }

    /// A loop that is not over, as it is now: the chain and the Lightning node are asked anew.
    async fn fresh(
        self: &Arc<Self>,
        kind: Kind,
        hash: PaymentHash,
    ) -> Result<Arc<Cell>, LoopError> {
        let found = self.loop_by_hash(kind, hash)?.ok_or(LoopError::Unknown)?;
        let cell = self.cells.get(found.swap.id);
        let cell = cell.ok_or_else(|| later("the loop is over"))?;
        self.look_at_chain(&cell).await;
        self.ask_for_payment(&cell).await?;
        Ok(cell)
    }

    /// The client shows its preimage: the server takes the payment that it holds, and signs together with the client after.
    ///
    /// # Errors
    /// [`LoopError::Param`] for another preimage, [`LoopError::WrongState`] when the payment cannot be taken: nothing was done.
    pub async fn show_preimage(
        self: &Arc<Self>,
        hash: PaymentHash,
        preimage: Preimage,
    ) -> Result<View, LoopError> {
        if preimage.payment_hash() != hash {
            return Err(wrong("preimage", "is not that of the payment hash"));
        }
        let event = move |observation| Event::PreimageShown(preimage, observation);
        self.tell(Kind::LoopOut, hash, event).await
    }

    /// The client gives a loop in up: from now on it is never paid, and its coins are the client's to take back.
    ///
    /// # Errors
    /// [`LoopError::WrongState`] when it is being paid, or was.
    pub async fn cancel(self: &Arc<Self>, hash: PaymentHash) -> Result<View, LoopError> {
        let found = self.loop_by_hash(Kind::LoopIn, hash)?;
        let found = found.ok_or(LoopError::Unknown)?;
        // Asking twice is no other wish.
        if found.swap.never_settle {
            return Ok(found);
        }
        self.tell(Kind::LoopIn, hash, Event::CancelAsked).await
    }

    /// Tells a loop what its client wants, with everything looked at anew. It is done to its end also when the client goes.
    async fn tell(
        self: &Arc<Self>,
        kind: Kind,
        hash: PaymentHash,
        event: impl FnOnce(Observation) -> Event + Send + 'static,
    ) -> Result<View, LoopError> {
        let engine = self.clone();
        let told = self.beside(async move {
            let cell = engine.fresh(kind, hash).await?;
            engine.tell_now(&cell, event).await?;
            engine.view(cell.id)?.ok_or(LoopError::Unknown)
        });
        told.await.ok_or(CreateError::Stopping)?
    }

    async fn tell_now(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        event: impl FnOnce(Observation) -> Event,
    ) -> Result<(), LoopError> {
        let mut state = cell.state.lock().await;
        let observation = self.observation(&state);
        let observation = observation
            .ok_or_else(|| LoopError::Unreachable("the chain could not be looked at".into()))?;
        let event = event(observation);
        let applied = self.apply_locked(cell, &mut state, &event, None).await;
        applied.map_err(|error| match error {
            ApplyError::Refused(refused) => later(refused.to_string()),
            ApplyError::Halted => LoopError::Unreachable(error.to_string()),
            ApplyError::Store(error) => LoopError::Store(error),
        })
    }

    /// The server's half of a key-path spend (BIP 327) of one output of the HTLC: of a loop out once its payment has arrived, of a
    /// loop in once it is certain that it is never paid. The sighash is computed from what the server itself has seen, and the
    /// nonce is drawn for this call and kept nowhere.
    ///
    /// # Errors
    /// [`LoopError::WrongState`] when the server might lose by it.
    pub async fn cosign(
        self: &Arc<Self>,
        kind: Kind,
        hash: PaymentHash,
        transaction: &Transaction,
        nonce: &PublicNonce,
    ) -> Result<Cosigned, LoopError> {
        let found = self.loop_by_hash(kind, hash)?.ok_or(LoopError::Unknown)?;
        let swap = &found.swap;
        let [input] = transaction.input.as_slice() else {
            return Err(wrong(
                "transaction",
                "must have one input: the output of the HTLC",
            ));
        };
        let outpoint = input.previous_output;
        let locked = self.locked_at(swap, outpoint).await?;
        // What was paid to the HTLC beside what the server pays for is the client's in any case. What has the agreed amount could
        // yet be what the server pays for, when a reorganisation takes away the other one.
        let agreed = locked
            .coins
            .iter()
            .any(|(_, value)| value.0 == swap.terms.amount.0);
        let stray = kind == Kind::LoopIn && swap.settle_tried && !agreed;
        if !may_cosign(swap) && !stray {
            return Err(later(match kind {
                Kind::LoopIn => {
                    "the loop may still be paid: cancel it, or wait until the payment has failed"
                }
                Kind::LoopOut | Kind::LnToLiquid => {
                    "the payment has not arrived: pay it, or show the preimage"
                }
            }));
        }
        let signers = locked.taproot.signers().ok_or_else(|| {
            later("the internal key of this loop is unspendable: spend it by script")
        })?;
        let sighash = taproot::cooperative_sighash(&locked, transaction, 0)
            .map_err(|error| wrong("transaction", error.to_string()))?;
        let keys = self.keys.keys(swap.index).map_err(CreateError::Keys)?;
        let answer = musig::answer(&signers, &keys.key, nonce, sighash, &mut thread_rng());
        let (nonce, partial_signature) =
            answer.map_err(|error| wrong("nonce", error.to_string()))?;
        Ok(Cosigned {
            nonce,
            partial_signature,
        })
    }

    /// The output of a swap's HTLC at `outpoint`, as the chain has it.
    async fn locked_at(&self, swap: &Swap, outpoint: OutPoint) -> Result<Locked, LoopError> {
        let unreachable =
            |error: crate::chain::IndexError| LoopError::Unreachable(error.to_string());
        let chain = self.bitcoin()?.chain();
        let taproot = Taproot::of(&swap.terms).map_err(|error| later(error.to_string()))?;
        let script = taproot.script_pubkey();
        let watched = chain.watch([(script.clone(), swap.terms.made_at)]).await;
        watched.map_err(unreachable)?;
        let outputs = chain.outputs(&script).await.map_err(unreachable)?;
        let found = outputs.iter().find(|found| found.outpoint == outpoint);
        let Some(found) = found else {
            return Err(wrong(
                "transaction",
                format!("spends {outpoint}, which is no output of this loop's HTLC"),
            ));
        };
        Ok(Locked {
            taproot,
            coins: vec![(outpoint, found.value)],
        })
    }
}

impl LoopTerms {
    fn offers(&self, is_out: bool, amount: Sat, confirmations: u32) -> Result<(), LoopError> {
        let (least, most) = (self.least, self.most);
        if amount < least {
            let reason = format!("{amount} is less than {least}, the least that is looped");
            return Err(wrong("amount", reason));
        }
        if amount > most {
            let reason = format!("{amount} is more than {most}, the most that can be looped now");
            return Err(wrong("amount", reason));
        }
        if is_out && !(1..=self.confirmations).contains(&confirmations) {
            let reason = format!("must be 1 to {}", self.confirmations);
            return Err(wrong("confirmations", reason));
        }
        Ok(())
    }

    fn costs_at_most(&self, amount: Sat, most: Option<Sat>) -> Result<(), LoopError> {
        let fee = self.fee(amount);
        match most.filter(|most| fee > *most) {
            Some(most) => Err(wrong(
                "max_fee",
                format!("the fee is {fee}, more than {most}"),
            )),
            None => Ok(()),
        }
    }
}
