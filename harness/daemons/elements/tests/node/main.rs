//! The node's core through its public face.

mod common;

mod assets;
mod blocks;
mod confidential;
mod htlc;
mod mutated;
mod random;
mod reorgs;
mod snapshots;
mod submitted;
mod verdicts;
