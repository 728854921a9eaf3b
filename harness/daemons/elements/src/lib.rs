//! The bundled Elements node: a regtest chain behind the JSON-RPC of elementsd.
//!
//! [`node`] is the chain itself: parameters, blocks, validation, mempool. It knows nothing of JSON, sockets or wallets.
//! [`wallet`] follows it and spends; [`rpc`] is elementsd's methods over both; [`http`] brings the requests; [`options`]
//! are elementsd's; [`run`] is the process.

pub mod http;
mod log;
pub mod node;
pub mod options;
mod process;
pub mod rpc;
mod snapshot;
pub mod wallet;

pub use process::run;
