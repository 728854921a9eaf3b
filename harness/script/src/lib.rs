//! A script interpreter with Bitcoin's and Elements' consensus and policy rules.
//!
//! [`verify`] decides whether a scriptSig and a witness may spend an output, as Bitcoin Core's `VerifyScript` does, for
//! any [`Checker`]: the part that knows the transaction. [`BitcoinSpends`] and [`ElementsSpends`] make checkers for the
//! inputs of a transaction and keep the hashes they share; [`bitcoin_input`] and [`elements_input`] check one input.
//!
//! Of Elements' own features this crate has the signature hashes (with `SIGHASH_RANGEPROOF`), the tagged hashes and the
//! tapscript leaf version. Elements' own opcodes and Simplicity leaves fail with [`ScriptError::NotKnown`] when they are
//! reached, never succeed. The crate does not check amounts, locktimes of the transaction itself, or sigop limits of blocks.

mod bitcoin_spends;
mod chain;
mod checker;
mod elements_spends;
mod encoding;
mod error;
mod flags;
mod instruction;
mod machine;
mod number;
mod opcode;
mod sighash;
mod verify;

pub use bitcoin_spends::{BitcoinChecker, BitcoinSpends, bitcoin_input};
pub use chain::Chain;
pub use checker::{Checker, SigVersion, TaprootContext};
pub use elements_spends::{ElementsChecker, ElementsSpends, elements_input};
pub use error::ScriptError;
pub use flags::Flags;
#[cfg(feature = "test-hooks")]
pub use machine::{evaluate, planted};
pub use verify::verify;
