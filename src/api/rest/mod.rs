//! Loop out and loop in over HTTP: JSON in, JSON or problem+json out. How loops are made it does not know.

mod desk;
mod engine;
mod openapi;
mod problem;
mod read;
mod routes;
mod serve;

pub use desk::{Cosigned, Desk, InWanted, LoopError, OutWanted, Place};
pub use engine::Loops;
pub use openapi::document;
pub use problem::Kind;
pub use serve::{Limits, serve};

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::watch;

/// What every handler has.
#[derive(Clone)]
struct Rest {
    desk: Arc<dyn Desk>,
    /// Says when the server stops.
    stopping: watch::Receiver<bool>,
    limits: Limits,
    /// The OpenAPI document as JSON.
    document: Bytes,
}
