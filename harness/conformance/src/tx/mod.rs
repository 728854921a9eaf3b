//! Transactions that the cases spend: keys, coins, drafts and HTLCs. Built here and not by a node, so that both kinds of
//! daemons are given the very same ones.

mod draft;
mod htlc;
mod keys;

pub use draft::{Coin, Draft};
pub use htlc::{Htlc, Spend};
pub use keys::{Key, Seeded};

/// What a transaction of the cases pays, in satoshi, unless the case is about fees: more than the relay fee of the
/// largest one, also where confidential outputs count in full.
pub const FEE: u64 = 2_000;
