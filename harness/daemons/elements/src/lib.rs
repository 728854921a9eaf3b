//! The bundled Elements node: a regtest chain behind the JSON-RPC of elementsd.
//!
//! [`node`] is the chain itself: parameters, blocks, validation, mempool. It knows nothing of JSON, sockets or wallets.
//! [`wallet`] follows it and spends; [`rpc`] is elementsd's methods over both; [`http`] brings the requests.

pub mod http;
pub mod node;
pub mod rpc;
pub mod wallet;
