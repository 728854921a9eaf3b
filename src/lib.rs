//! The swap services of swaprig: the server that sells Liquid assets for Lightning payments, and the buyer's side.
//!
//! [`swap`] is the protocol, without input or output. The other modules are adapters around it.

pub mod api;
pub mod chain;
pub mod client;
pub mod config;
pub mod failpoint;
pub mod lightning;
pub mod steps;
pub mod store;
pub mod swap;
pub mod watch;
