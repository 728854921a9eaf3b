//! The swap server's gRPC services, and the process around them.
//!
//! It turns messages into calls of the engine and back. Nothing else knows protobuf or HTTP.

mod admin;
mod convert;
mod process;
mod serve;
mod swaps;

pub use process::{ServerArgs, ServerError, run};
pub use serve::{Server, log};
