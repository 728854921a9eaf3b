//! The node's core through its public face.

mod common;

mod blocks;
mod verdicts;
