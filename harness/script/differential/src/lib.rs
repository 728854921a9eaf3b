//! Holds `swaprig-script`'s Bitcoin instance to Bitcoin Core's own consensus library: the same spend to both, the same verdict wanted.

pub mod compare;
pub mod generate;
mod program;
mod sign;
