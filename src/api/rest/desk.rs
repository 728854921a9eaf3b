//! What the REST API asks of whoever makes loops, in types that were checked. It knows no HTTP.

use bitcoin::Transaction;
use futures_util::stream::BoxStream;
use swaprig_proto::loops::{Direction, Loop, Quote, State, Terms};
use swaprig_units::{Height, PaymentHash, Preimage, Sat};
use uuid::Uuid;

pub use crate::watch::{InWanted, OutWanted};

/// The server's half of a key-path spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosigned {
    /// The server's public nonce.
    pub nonce: [u8; 66],
    /// Its partial signature.
    pub partial_signature: [u8; 32],
}

/// A place in the list of loops: behind the loop that was made at this time and has this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// Of that loop.
    pub id: Uuid,
}

/// Why something was not done. Each has one HTTP status; only [`LoopError::Internal`] is one of the server's own fault.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// Something that was sent is wrong, and will be wrong again: 400.
    #[error("{param}: {reason}")]
    Param {
        /// Its name in the API, such as `amount`.
        param: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// There is no such loop: 404.
    #[error("there is no loop {way} with payment_hash {1}", way = .0.word())]
    Unknown(Direction, PaymentHash),
    /// Another request had the key: 409.
    #[error("idempotency-key: {0} was used by another request; draw a new one for another loop")]
    KeyConflict(Uuid),
    /// Another loop has, or had, the payment hash: 409.
    #[error("payment_hash: {0} belongs to another loop; never use a preimage twice")]
    HashUsed(PaymentHash),
    /// The loop is not where this can be done: 409.
    #[error("{0}")]
    WrongState(String),
    /// The loop ended before it was agreed: 409.
    #[error("{0}")]
    Failed(String),
    /// Not enough coins or Lightning capacity is free: 409.
    #[error("{0}")]
    Shortage(String),
    /// Too many loops are in flight: 429.
    #[error("{0}")]
    Busy(String),
    /// A daemon does not answer, or new loops are paused, or the server stops: 503.
    #[error("{0}")]
    NotReady(String),
    /// Its disk or its keys failed: 500.
    #[error("{0}")]
    Internal(String),
}

/// Whoever makes loops. Every method may be dropped when its caller goes: what must be finished is not done in its future.
#[tonic::async_trait]
pub trait Desk: Send + Sync + 'static {
    /// The Bitcoin height when loops can be made, and otherwise [`LoopError::NotReady`].
    async fn health(&self) -> Result<Height, LoopError>;

    /// What is offered in a direction now.
    async fn terms(&self, direction: Direction) -> Result<Terms, LoopError>;

    /// What a loop would cost now. `confirmations` is asked for by a loop out alone.
    async fn quote(
        &self,
        direction: Direction,
        amount: Sat,
        confirmations: Option<u32>,
    ) -> Result<Quote, LoopError>;

    /// Makes a loop out. The same `request` with the same `fingerprint` gives the loop that there is, as it is now; with another
    /// one [`LoopError::KeyConflict`].
    async fn loop_out(&self, wanted: OutWanted) -> Result<Loop, LoopError>;

    /// Makes a loop in, on the same conditions.
    async fn loop_in(&self, wanted: InWanted) -> Result<Loop, LoopError>;

    /// The loop with a payment hash, as it is now; `None` when there is none in this direction.
    async fn find(
        &self,
        direction: Direction,
        hash: PaymentHash,
    ) -> Result<Option<Loop>, LoopError>;

    /// At most `size` loops, the newest first, beginning behind `after`.
    async fn page(
        &self,
        direction: Direction,
        state: Option<State>,
        after: Option<Place>,
        size: u32,
    ) -> Result<Vec<Loop>, LoopError>;

    /// A loop as it is now, and again whenever it changes; the stream ends when it is final. A slow reader sees the newest
    /// state, not each one. `None` when there is no such loop in this direction.
    async fn updates(
        &self,
        direction: Direction,
        hash: PaymentHash,
    ) -> Result<Option<BoxStream<'static, Loop>>, LoopError>;

    /// The client shows the preimage of a loop out: the server settles the payment that it holds.
    /// [`LoopError::WrongState`] when it holds none.
    async fn show_preimage(&self, hash: PaymentHash, preimage: Preimage)
    -> Result<Loop, LoopError>;

    /// The server's half of a key-path spend. [`LoopError::WrongState`] when it might lose by it.
    async fn cosign(
        &self,
        direction: Direction,
        hash: PaymentHash,
        transaction: Transaction,
        nonce: [u8; 66],
    ) -> Result<Cosigned, LoopError>;

    /// The client gives a loop in up: the server never pays its invoice. [`LoopError::WrongState`] when it has tried.
    async fn cancel(&self, hash: PaymentHash) -> Result<Loop, LoopError>;
}
