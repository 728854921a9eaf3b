//! Loops: Bitcoin for Lightning and Lightning for Bitcoin, as their clients ask for them.

mod orders;
mod terms;

use std::sync::Arc;

use bitcoin::secp256k1::rand::thread_rng;
use bitcoin::{OutPoint, Transaction};
use swaprig_units::{PaymentHash, Preimage};

use super::cell::{Cell, View};
use super::create::CreateError;
use super::{ApplyError, Engine};
use crate::chain::bitcoin::Bitcoin;
use crate::lightning::LightningError;
use crate::store::StoreError;
use crate::swap::musig::{self, PartialSignature, PublicNonce};
use crate::swap::taproot::{self, Locked, Taproot};
use crate::swap::{Event, Kind, Observation, Swap, may_cosign};

pub use orders::{InWanted, OutWanted};
pub use terms::{LoopQuote, LoopTerms};

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

impl Engine {
    fn bitcoin(&self) -> Result<&Arc<Bitcoin>, LoopError> {
        self.bitcoin.as_ref().ok_or(LoopError::None)
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
        let not_yet = || {
            later(match kind {
                Kind::LoopIn => {
                    "the loop may still be paid: cancel it, or wait until the payment has failed"
                }
                Kind::LoopOut | Kind::LnToLiquid => {
                    "the payment has not arrived: pay it, or show the preimage"
                }
            })
        };
        // What is not signed for, whatever the chain has, is not looked for there.
        let beside = kind == Kind::LoopIn && swap.settle_tried;
        if !may_cosign(swap) && !beside {
            return Err(not_yet());
        }
        let locked = self.locked_at(swap, input.previous_output).await?;
        // What was paid to the HTLC beside what the server pays for is the client's in any case. What has the agreed amount could
        // yet be what the server pays for, when a reorganisation takes away the other one.
        let agreed = locked
            .coins
            .iter()
            .any(|(_, value)| value.0 == swap.terms.amount.0);
        if !may_cosign(swap) && agreed {
            return Err(not_yet());
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

    /// The output of a swap's HTLC at `outpoint`, as the chain has it. The loop may be over long ago: anybody may ask for its signature
    /// again and again, so nothing is watched for it.
    async fn locked_at(&self, swap: &Swap, outpoint: OutPoint) -> Result<Locked, LoopError> {
        let unreachable =
            |error: crate::chain::IndexError| LoopError::Unreachable(error.to_string());
        let chain = self.bitcoin()?.chain();
        let taproot = Taproot::of(&swap.terms).map_err(|error| later(error.to_string()))?;
        let value = chain.output(outpoint, &taproot.script_pubkey()).await;
        let value = value.map_err(unreachable)?.ok_or_else(|| {
            let reason =
                format!("spends {outpoint}, which is no output of this loop's HTLC, or is spent");
            wrong("transaction", reason)
        })?;
        Ok(Locked {
            taproot,
            coins: vec![(outpoint, value)],
        })
    }
}
