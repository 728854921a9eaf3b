//! The engine behind the REST API. **The one place to fill in:** what the engine can do with loops stands behind these methods.

use bitcoin::Transaction;
use futures_util::stream::BoxStream;
use swaprig_proto::loops::{Direction, Loop, Quote, State, Terms};
use swaprig_units::{Height, PaymentHash, Preimage, Sat};

use super::desk::{Cosigned, Desk, InWanted, LoopError, OutWanted, Place};
use crate::watch::Engine;

/// The truth of an engine that makes no loops.
fn none<T>() -> Result<T, LoopError> {
    Err(LoopError::NotReady("this server makes no loops".into()))
}

#[tonic::async_trait]
impl Desk for Engine {
    async fn health(&self) -> Result<Height, LoopError> {
        none()
    }

    async fn terms(&self, _: Direction) -> Result<Terms, LoopError> {
        none()
    }

    async fn quote(&self, _: Direction, _: Sat, _: Option<u32>) -> Result<Quote, LoopError> {
        none()
    }

    async fn loop_out(&self, _: OutWanted) -> Result<Loop, LoopError> {
        none()
    }

    async fn loop_in(&self, _: InWanted) -> Result<Loop, LoopError> {
        none()
    }

    async fn find(&self, _: Direction, _: PaymentHash) -> Result<Option<Loop>, LoopError> {
        none()
    }

    async fn page(
        &self,
        _: Direction,
        _: Option<State>,
        _: Option<Place>,
        _: u32,
    ) -> Result<Vec<Loop>, LoopError> {
        none()
    }

    async fn updates(
        &self,
        _: Direction,
        _: PaymentHash,
    ) -> Result<Option<BoxStream<'static, Loop>>, LoopError> {
        none()
    }

    async fn show_preimage(&self, _: PaymentHash, _: Preimage) -> Result<Loop, LoopError> {
        none()
    }

    async fn cosign(
        &self,
        _: Direction,
        _: PaymentHash,
        _: Transaction,
        _: [u8; 66],
    ) -> Result<Cosigned, LoopError> {
        none()
    }

    async fn cancel(&self, _: PaymentHash) -> Result<Loop, LoopError> {
        none()
    }
}
