//! The engine behind the REST API: what it says of loops, as the API says it.

use std::sync::Arc;

use bitcoin::hex::DisplayHex as _;
use bitcoin::{Transaction, hashes};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use swaprig_proto::loops::{
    self, Direction, Funding, InternalKeyChoice, Loop, Quote, Script, SpendKind, State, Terms,
};
use swaprig_units::{Height, PaymentHash, Preimage, Sat};
use tokio_stream::wrappers::WatchStream;

use super::desk::{Cosigned, Desk, InWanted, LoopError, OutWanted, Place};
use crate::swap::musig::PublicNonce;
use crate::swap::taproot::{InternalChoice, InternalKey, Taproot};
use crate::swap::{
    self, Depth, FailureReason, Kind, Phase, Spend, Status, Swap, SwapId, funding_deadline,
    has_fixed_timeout, is_final,
};
use crate::watch::{self, CreateError, Engine, View};

/// The loops of an engine.
#[derive(Debug, Clone)]
pub struct Loops(pub Arc<Engine>);

fn kind(direction: Direction) -> Kind {
    match direction {
        Direction::Out => Kind::LoopOut,
        Direction::In => Kind::LoopIn,
    }
}

fn state(status: Status) -> State {
    match status {
        Status::Created => State::Created,
        Status::Funded => State::Funded,
        Status::Claimed => State::Claimed,
        Status::Refunded => State::Refunded,
        Status::Failed => State::Failed,
    }
}

fn status(state: State) -> Status {
    match state {
        State::Created => Status::Created,
        State::Funded => Status::Funded,
        State::Claimed => Status::Claimed,
        State::Refunded => Status::Refunded,
        State::Failed => Status::Failed,
    }
}

fn reason(phase: &Phase) -> Option<String> {
    let Phase::Failed(reason) = phase else {
        return None;
    };
    let word = match reason {
        FailureReason::Invoice => "no_invoice",
        FailureReason::Funding => "funding_impossible",
        FailureReason::Prepay => "prepay_not_paid",
        FailureReason::Payment => "payment_not_held_long_enough",
        FailureReason::NotFunded => "not_funded",
    };
    Some(word.to_owned())
}

fn unsigned(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or_default()
}

impl From<watch::LoopError> for LoopError {
    fn from(error: watch::LoopError) -> Self {
        let text = error.to_string();
        match error {
            watch::LoopError::Param { param, reason } => LoopError::Param { param, reason },
            watch::LoopError::None | watch::LoopError::Unreachable(_) => LoopError::NotReady(text),
            watch::LoopError::Unknown => LoopError::WrongState(text),
            watch::LoopError::HashUsed(hash) => LoopError::HashUsed(hash),
            watch::LoopError::WrongState(text) => LoopError::WrongState(text),
            watch::LoopError::Store(_) => LoopError::Internal(text),
            watch::LoopError::Create(error) => created(error),
        }
    }
}

fn created(error: CreateError) -> LoopError {
    let text = error.to_string();
    let param = |param| LoopError::Param {
        param,
        reason: text.clone(),
    };
    match error {
        CreateError::TooSmall { .. }
        | CreateError::TooLarge { .. }
        | CreateError::PriceOverflow => param("amount"),
        CreateError::TooManyConfirmations { .. } => param("confirmations"),
        CreateError::PriceTooHigh { .. } => param("max_fee"),
        CreateError::BadKey => LoopError::Param {
            param: "pubkey",
            reason: "gives no internal key together with the server's; draw another".into(),
        },
        CreateError::RequestConflict(key) => LoopError::KeyConflict(key),
        CreateError::Shortage(_) | CreateError::NoCapacity { .. } => LoopError::Shortage(text),
        CreateError::TooMany { .. }
        | CreateError::TooManyUnfunded { .. }
        | CreateError::TooExposed { .. } => LoopError::Busy(text),
        CreateError::NotSold(_)
        | CreateError::Paused(_)
        | CreateError::Stopping
        | CreateError::NotReady(_)
        | CreateError::TimedOut { .. } => LoopError::NotReady(text),
        CreateError::Failed { .. } => LoopError::Failed(text),
        CreateError::Keys(_) | CreateError::Store(_) => LoopError::Internal(text),
    }
}

fn internal(error: impl std::fmt::Display) -> LoopError {
    LoopError::Internal(error.to_string())
}

fn script(swap: &Swap) -> Option<Script> {
    let taproot = Taproot::of(&swap.terms).ok()?;
    let info = taproot.spend_info();
    Some(Script {
        internal_key: info.internal_key.to_string(),
        tweak: info.r.map(|r| r.to_lower_hex_string()),
        merkle_root: hashes::Hash::as_byte_array(&info.merkle_root).to_lower_hex_string(),
        output_key: info.output_key.to_string(),
        claim_leaf: info.claim_leaf.to_hex_string(),
        timeout_leaf: info.timeout_leaf.to_hex_string(),
    })
}

impl Loops {
    /// A loop as the API shows it.
    fn show(&self, view: &View) -> Loop {
        let swap = &view.swap;
        let terms = &swap.terms;
        let is_out = terms.direction.is_out();
        let asked = terms.price.ceil_sat().0;
        // The client receives the one and gives the other.
        let (amount, given) = match is_out {
            true => (terms.amount.0, asked + terms.prepay.ceil_sat().0),
            false => (asked, terms.amount.0),
        };
        let fixed = has_fixed_timeout(swap);
        let (client, server) = match is_out {
            true => (terms.claimer, terms.refunder),
            false => (terms.refunder, terms.claimer),
        };
        let depth = view.funding_depth.unwrap_or(Depth::Unseen);
        Loop {
            id: swap.id.to_string(),
            payment_hash: terms.payment_hash.to_string(),
            direction: match is_out {
                true => Direction::Out,
                false => Direction::In,
            },
            state: state(swap::status(swap)),
            phase: swap.phase.word().to_owned(),
            reason: reason(&swap.phase),
            amount,
            fee: given.saturating_sub(amount),
            payment_request: swap.invoice.clone().unwrap_or_default(),
            prepay_payment_request: swap.prepay_invoice.clone(),
            pubkey: client.to_string(),
            server_pubkey: server.to_string(),
            invoice_first: is_out.then_some(terms.direction == swap::Direction::OutHeld),
            internal_key: match terms.internal.as_ref().map(InternalKey::choice) {
                Some(InternalChoice::Unspendable) => InternalKeyChoice::Unspendable,
                Some(InternalChoice::Musig2) | None => InternalKeyChoice::Musig2,
            },
            confirmations: terms.min_confirmations,
            cltv_expiry: fixed.then_some(terms.timeout.0),
            address: fixed.then(|| view.lock.address.clone()),
            script: fixed.then(|| script(swap)).flatten(),
            funding: swap.funding.as_ref().map(|funding| Funding {
                txid: funding.txid.to_string(),
                vout: funding.vout,
                confirmations: depth.confirmations(view.height),
            }),
            spend: swap.spend.as_ref().map(|spend| loops::Spend {
                txid: spend.txid.to_string(),
                kind: match spend.spend {
                    Spend::Claim(_) => SpendKind::Claim,
                    Spend::Refund => SpendKind::Refund,
                    Spend::Cooperative => SpendKind::Cooperative,
                },
                confirmations: spend.depth.confirmations(view.height),
            }),
            publication_deadline: is_out.then(|| funding_deadline(terms).0),
            height: Some(view.height.0),
            created_at: unsigned(view.created_at),
            updated_at: unsigned(view.updated_at),
            is_final: self.0.tips().is_some_and(|tips| {
                is_final(swap, tips, self.0.config().finality(swap.terms.chain))
            }),
        }
    }

    fn terms_now(&self, direction: Direction) -> Result<watch::LoopTerms, LoopError> {
        Ok(match direction {
            Direction::Out => self.0.loop_out_terms()?,
            Direction::In => self.0.loop_in_terms()?,
        })
    }
}

#[tonic::async_trait]
impl Desk for Loops {
    async fn health(&self) -> Result<Height, LoopError> {
        let terms = self.terms_now(Direction::Out)?;
        match &*self.0.readiness().borrow() {
            Some(reason) => Err(LoopError::NotReady(reason.clone())),
            None => Ok(terms.height),
        }
    }

    async fn terms(&self, direction: Direction) -> Result<Terms, LoopError> {
        let terms = self.terms_now(direction)?;
        Ok(Terms {
            direction,
            network: terms.network.to_string(),
            height: terms.height.0,
            min_amount: terms.least.0,
            max_amount: terms.most.0,
            base_fee: terms.base_fee.0,
            fee_ppm: terms.fee_ppm,
            prepay: terms.prepay.0,
            max_confirmations: terms.confirmations,
            cltv_delta: terms.delta.0,
            paused: false,
        })
    }

    async fn quote(
        &self,
        direction: Direction,
        amount: Sat,
        confirmations: Option<u32>,
    ) -> Result<Quote, LoopError> {
        let quote = match direction {
            Direction::Out => self.0.loop_out_quote(amount, confirmations.unwrap_or(1))?,
            Direction::In => self.0.loop_in_quote(amount)?,
        };
        Ok(Quote {
            direction,
            amount: amount.0,
            fee: quote.fee.0,
            prepay: quote.terms.prepay.0,
            miner_fee: quote.miner_fee.0,
            confirmations: quote.confirmations,
            cltv_delta: quote.terms.delta.0,
            height: quote.terms.height.0,
        })
    }

    async fn loop_out(&self, wanted: OutWanted) -> Result<Loop, LoopError> {
        Ok(self.show(&self.0.loop_out(wanted).await?))
    }

    async fn loop_in(&self, wanted: InWanted) -> Result<Loop, LoopError> {
        Ok(self.show(&self.0.loop_in(wanted).await?))
    }

    async fn find(
        &self,
        direction: Direction,
        hash: PaymentHash,
    ) -> Result<Option<Loop>, LoopError> {
        let found = self.0.loop_by_hash(kind(direction), hash);
        Ok(found.map_err(internal)?.map(|view| self.show(&view)))
    }

    async fn page(
        &self,
        direction: Direction,
        state: Option<State>,
        after: Option<Place>,
        size: u32,
    ) -> Result<Vec<Loop>, LoopError> {
        let after = after.map(|place| {
            let at = i64::try_from(place.created_at).unwrap_or(i64::MAX);
            (at, SwapId(place.id))
        });
        let page = self.0.page(kind(direction), state.map(status), after, size);
        let page = page.map_err(internal)?;
        Ok(page.iter().map(|view| self.show(view)).collect())
    }

    async fn updates(
        &self,
        direction: Direction,
        hash: PaymentHash,
    ) -> Result<Option<BoxStream<'static, Loop>>, LoopError> {
        let found = self.0.loop_by_hash(kind(direction), hash);
        let Some(view) = found.map_err(internal)? else {
            return Ok(None);
        };
        let only = self.show(&view);
        let shown = self.clone();
        Ok(Some(match self.0.subscribe(view.swap.id) {
            // Nothing can happen to it any more.
            None => futures_util::stream::iter([only]).boxed(),
            Some(changes) => WatchStream::new(changes)
                .map(move |view| shown.show(&view))
                .boxed(),
        }))
    }

    async fn show_preimage(
        &self,
        hash: PaymentHash,
        preimage: Preimage,
    ) -> Result<Loop, LoopError> {
        Ok(self.show(&self.0.show_preimage(hash, preimage).await?))
    }

    async fn cosign(
        &self,
        direction: Direction,
        hash: PaymentHash,
        transaction: Transaction,
        nonce: [u8; 66],
    ) -> Result<Cosigned, LoopError> {
        let nonce = PublicNonce::from_bytes(&nonce).map_err(|error| LoopError::Param {
            param: "nonce",
            reason: error.to_string(),
        })?;
        let signed = self.0.cosign(kind(direction), hash, &transaction, &nonce);
        let signed = signed.await?;
        Ok(Cosigned {
            nonce: signed.nonce.to_bytes(),
            partial_signature: signed.partial_signature.to_bytes(),
        })
    }

    async fn cancel(&self, hash: PaymentHash) -> Result<Loop, LoopError> {
        Ok(self.show(&self.0.cancel(hash).await?))
    }
}
