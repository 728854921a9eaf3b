//! The swap server's gRPC and REST services, and the process around them.
//!
//! It turns messages into calls of the engine and back. Nothing else of the server knows protobuf or HTTP.

mod admin;
mod convert;
mod process;
pub mod rest;
mod serve;
mod swaps;

pub use process::{ServerArgs, ServerError, run};
pub use serve::{Server, log};
