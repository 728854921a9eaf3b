//! Throws hostile requests at a swap server: wrong, mutated and random messages, frames, headers and connections.
//!
//!     cargo build && cargo run --example fuzz_swap_server -- --seconds 60 --seed 7
//!
//! An undocumented answer, a hang, a panic or a change of the server's state ends it, with the seed and the request. The world
//! that it needs it starts by itself, from the `swaprig` beside it.

#[path = "../tests/swap_api/attack.rs"]
mod attack;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use swaprig_harness::binary::Settings;
use swaprig_harness::world::{Chain, World};

use attack::{Target, known, random};

/// How often the server's health is looked at, in attacks.
const LOOK: u64 = 200;
const USAGE: &str = "usage: fuzz_swap_server [--seconds N] [--seed N]";

/// `swaprig` of the same build: examples stand one directory below it.
fn swaprig() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let dir = own.parent().and_then(|dir| dir.parent());
    let exe = dir
        .map(|dir| dir.join("swaprig"))
        .filter(|exe| exe.exists());
    exe.ok_or_else(|| {
        format!(
            "there is no `swaprig` for {}: run `cargo build` first",
            own.display()
        )
    })
}

#[tokio::main]
async fn main() -> Result<(), String> {
    let (mut seconds, mut seed) = (10, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value: u64 = arguments
            .next()
            .and_then(|value| value.parse().ok())
            .ok_or(USAGE)?;
        match name.as_str() {
            "--seconds" => seconds = value,
            "--seed" => seed = value,
            _ => return Err(USAGE.into()),
        }
    }
    let exe = swaprig()?;
    let settings = Settings {
        self_exe: Some(exe.clone()),
        ..Settings::from_env()
    };
    let world = World::builder()
        .settings(settings)
        .lightning(["seller"])
        .liquid();
    let world = world
        .indexes([Chain::Liquid])
        .start()
        .await
        .map_err(|error| error.to_string())?;
    let dir = world.dir().join("swap");
    std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let mut target = Target::start(world, &exe, &dir).await;
    let before = target.state().await?;
    let memory = target.memory();
    let mut rng = StdRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut slowest = Duration::ZERO;
    let mut attacks = 0;
    let mut all = known()
        .into_iter()
        .chain(std::iter::repeat_with(|| random(&mut rng)));
    while Instant::now() < end {
        let attack = all.next().ok_or("there is always another")?;
        let begun = Instant::now();
        let mut answered = attack.on(&mut target).await;
        slowest = slowest.max(begun.elapsed());
        attacks += 1;
        if answered.is_ok() && attacks % LOOK == 0 {
            answered = target.still_serves().await;
        }
        answered.map_err(|error| format!("seed {seed}, attack {attacks}: {error}\n{attack:?}"))?;
    }
    target.still_serves().await?;
    let after = target.state().await?;
    if after != before {
        return Err(format!(
            "seed {seed}: the state has changed\nfrom {before}\nto   {after}"
        ));
    }
    let megabytes = |bytes: Option<u64>| bytes.map_or(0, |bytes| bytes >> 20);
    println!(
        "{attacks} attacks, {} requests in {seconds} s, seed {seed}: nothing undocumented; the slowest took {slowest:?}; memory {} MB, then {} MB",
        target.sent,
        megabytes(memory),
        megabytes(target.memory()),
    );
    target.stop().await
}
