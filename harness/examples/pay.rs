//! Boots a world, opens a channel, pays over it. Run it with `SWAPRIG_EXE=target/debug/swaprig cargo run -p
//! swaprig-harness --example pay`, or with upstream's ldk-server on PATH.

use swaprig_harness::World;
use swaprig_harness::units::{Msat, Sat};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let world = World::builder().lightning(["alice", "bob"]).start().await?;
    println!("{} in {}", world.passport(), world.dir().display());

    let channel = world
        .open_usable_channel("alice", "bob", Sat(1_000_000))
        .await?;
    println!("channel of {} funded by {}", channel.size, channel.funding);

    let paid = world
        .pay_and_settle("alice", "bob", Msat(50_000_000))
        .await?;
    println!(
        "paid {} for a fee of {}",
        paid.amount.unwrap_or_default(),
        paid.fee.unwrap_or_default()
    );

    // Stops every daemon and deletes the run directory. After an error or a panic it stays.
    world.finish().await?;
    Ok(())
}
