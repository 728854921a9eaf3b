//! The swap services of swaprig: the server that sells Liquid assets for Lightning payments and loops between Lightning and Bitcoin, and
//! the clients of both.
//!
//! [`swap`] is the protocol, without input or output. The other modules are adapters around it.

// What comes from outside is never unwrapped; what cannot fail says why, in `expect`.
#![cfg_attr(not(test), deny(clippy::unwrap_used))]

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
