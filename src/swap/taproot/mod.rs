//! The HTLC of a swap on Bitcoin: a taproot output (BIP 341) with two leaves, and what spends it.

mod internal;

pub use internal::{InternalChoice, InternalKey};
