//! Starts, watches and stops real Bitcoin and Lightning daemons on regtest; knows nothing of swaps.
//!
//! A [`World`] is the way in: a bitcoind, some Lightning nodes, one run directory.
//!
//! ```no_run
//! use swaprig_harness::World;
//! use swaprig_harness::units::{BlockDelta, Msat, Sat};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let world = World::builder().lightning(["alice", "bob"]).start().await?;
//! world.open_usable_channel("alice", "bob", Sat(1_000_000)).await?;
//! let paid = world.pay_and_settle("alice", "bob", Msat(10_000_000)).await?;
//! assert!(paid.preimage.is_some());
//! world.mine(BlockDelta(1)).await?;
//! world.finish().await?; // without it, as after a panic, the run directory stays and its path is printed
//! # Ok(())
//! # }
//! ```
//!
//! A test suite of another package sets `SWAPRIG_EXE` to the `swaprig` executable, which holds the bundled daemons, or
//! has upstream's on its `PATH`.

pub mod binary;
pub mod bitcoind;
mod daemon;
pub mod doctor;
pub mod electrs;
pub mod elementsd;
pub mod grpc;
pub mod http;
pub mod ldk_server;
pub mod port;
pub mod process;
pub mod proxy;
pub mod run_dir;
pub mod server;
pub mod template;
pub mod time;
pub mod world;

pub use daemon::StartError;
pub use swaprig_units as units;
pub use world::{World, WorldError};

/// An error and what caused it, on one line, each part once.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
