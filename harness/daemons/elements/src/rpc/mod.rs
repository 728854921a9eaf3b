//! The JSON-RPC of elementsd: which methods there are, and how a request becomes an answer.
//!
//! Held to Elements Core 23.4. Knows no sockets; [`crate::http`] brings the requests.

pub mod amount;
mod args;
mod chain;
mod control;
pub(crate) mod encode;
pub mod error;
pub mod json;
mod mempool;
mod methods;
mod raw;
mod request;
mod state;
mod wait;
mod wallet;

pub use request::{Answer, Step, Work, answer};
pub use state::{Shared, State};
pub use wait::Wait;

/// 32 bytes in hexadecimal.
pub(crate) fn seed_from_hex(text: &str) -> Option<[u8; 32]> {
    encode::from_hex(text)?.try_into().ok()
}
