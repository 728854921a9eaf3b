//! The bundled Elements node: a regtest chain behind the JSON-RPC of elementsd.
//!
//! [`node`] is the chain itself: parameters, blocks, validation, mempool. It knows nothing of JSON, sockets or wallets.

pub mod node;
