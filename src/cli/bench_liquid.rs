//! `swaprig bench liquid`: a Liquid node and its index, without the rest of a world.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use swaprig_harness::electrs::ScriptHash;
use swaprig_harness::elementsd::{AddressPair, AssetAmount, FAUCET};
use swaprig_harness::process::Usage;
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Sat};
use swaprig_harness::world::{Binaries, Liquid, WAIT};

use super::bench::{megabytes, millis};
use super::stats::Samples;

/// How many blocks `mine_1000` mines.
const BLOCKS: BlockDelta = BlockDelta(1_000);
/// How many payments `sends_500` makes.
const SENDS: u32 = 500;
/// How many payments go into a block: a mempool takes no chain of more than 25 that spend each other.
const SENDS_PER_BLOCK: u32 = 25;
/// What each of them pays.
const AMOUNT: Sat = Sat(10_000);
/// The wallet that is paid.
const PAYEE: &str = "payee";
/// How long one part of a run may take.
const PART: Duration = Duration::from_secs(300);

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Measures `runs` times; then, once, `soak` explicit payments.
pub(super) async fn liquid(
    runs: u32,
    soak: u32,
    base: &Path,
    binaries: &Binaries,
    samples: &mut Samples,
) -> Outcome {
    for _ in 0..runs {
        one(base, binaries, samples).await?;
    }
    if soak > 0 {
        let dir = RunDir::numbered(base, Keep::OnFailure)?;
        let chain = start(binaries, &dir).await?;
        let started = Instant::now();
        payments(&chain, soak, false).await?;
        samples.add("soak", "ms", millis(started.elapsed()));
        samples.add("soak_rss", "MB", megabytes(resident(&chain)));
        chain.stop(Deadline::after(WAIT)).await;
        dir.succeed();
    }
    Ok(())
}

async fn start(binaries: &Binaries, dir: &RunDir) -> Result<Liquid, Box<dyn std::error::Error>> {
    let deadline = Deadline::after(WAIT);
    let chain = Liquid::start(binaries, &[PAYEE.to_owned()], dir.path(), deadline).await?;
    chain.barrier(deadline).await?;
    Ok(chain)
}

async fn one(base: &Path, binaries: &Binaries, samples: &mut Samples) -> Outcome {
    let dir = RunDir::numbered(base, Keep::OnFailure)?;
    let started = Instant::now();
    let chain = start(binaries, &dir).await?;
    samples.add("ready", "ms", millis(started.elapsed()));

    let started = Instant::now();
    chain.mine(BLOCKS, Deadline::after(PART)).await?;
    samples.add("mine_1000", "ms", millis(started.elapsed()));
    samples.add("rss_1000_blocks", "MB", megabytes(resident(&chain)));

    samples.add(
        "tx_to_subscriber",
        "ms",
        millis(to_subscriber(&chain).await?),
    );

    let started = Instant::now();
    payments(&chain, SENDS, true).await?;
    samples.add("sends_500", "ms", millis(started.elapsed()));
    chain.stop(Deadline::after(WAIT)).await;
    dir.succeed();
    Ok(())
}

/// From the call that mines a payment to the push of the index to whoever has subscribed to its script.
async fn to_subscriber(chain: &Liquid) -> Result<Duration, Box<dyn std::error::Error>> {
    const STATUS: &str = "blockchain.scripthash.subscribe";
    let deadline = Deadline::after(PART);
    let elementsd = chain.elementsd();
    let AddressPair { explicit, .. } = elementsd.rpc().new_address(PAYEE, deadline).await?;
    let index = chain.index().ok_or("a bench without an index")?;
    let mut client = index.client(deadline).await?;
    let hash = ScriptHash::of(explicit.script_pubkey().as_bytes()).to_string();
    client.call(STATUS, json!([hash]), deadline).await?;
    let (amount, rpc) = (AssetAmount::sat(AMOUNT), elementsd.rpc());
    rpc.send_to_address(FAUCET, &explicit, amount, deadline)
        .await?;
    // The mempool is told first.
    index.poke();
    client.pushed(STATUS, deadline).await?;
    let miner = rpc.new_address(FAUCET, deadline).await?.explicit;
    let started = Instant::now();
    rpc.generate(BlockDelta(1), &miner, deadline).await?;
    index.poke();
    client.pushed(STATUS, deadline).await?;
    Ok(started.elapsed())
}

/// Makes payments and checks that the payee has all of them.
async fn payments(chain: &Liquid, count: u32, confidential: bool) -> Outcome {
    let rpc = chain.elementsd().rpc();
    let deadline = Deadline::after(PART.max(Duration::from_millis(100) * count));
    let held = async || -> Result<u64, Box<dyn std::error::Error>> {
        let balances = rpc.balances(PAYEE, deadline).await?;
        let amount = AssetAmount::sat(AMOUNT);
        Ok(balances.get(&amount.asset).copied().unwrap_or(0))
    };
    let before = held().await?;
    let addresses = rpc.new_address(PAYEE, deadline).await?;
    let address = match confidential {
        true => addresses.confidential,
        false => addresses.explicit,
    };
    for sent in 1..=count {
        let amount = AssetAmount::sat(AMOUNT);
        rpc.send_to_address(FAUCET, &address, amount, deadline)
            .await?;
        if sent % SENDS_PER_BLOCK == 0 || sent == count {
            chain.mine(BlockDelta(1), deadline).await?;
        }
    }
    let (after, due) = (held().await?, before + u64::from(count) * AMOUNT.0);
    match after == due {
        true => Ok(()),
        false => Err(format!("the payee has {after} sat and should have {due}").into()),
    }
}

/// Bytes that both processes hold.
fn resident(chain: &Liquid) -> u64 {
    let used = chain
        .processes()
        .filter_map(|process| Usage::of(process.pid()));
    used.fold(Usage::default(), Usage::and).rss
}
