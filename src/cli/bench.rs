//! `swaprig bench`: measures, and judges nothing. Build with `--release` before quoting a figure.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use swaprig_harness::binary::{Settings, Stderr};
use swaprig_harness::process::Usage;
use swaprig_harness::run_dir::{Keep, RunDir, RunDirSettings};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat, Sat};
use swaprig_harness::world::{Binaries, Chain, Needs, WAIT};
use swaprig_harness::{World, WorldError};
use swaprig_proto::loops::Direction;
use swaprig_scenarios::run::Oracle;

use super::bench_loop::Which;
use super::exit::complain;
use super::stats::Samples;
use super::{
    DaemonFlags, Exit, RUNS, bench_liquid, bench_loop, bench_proxy, bench_record, bench_swap,
    runtime,
};

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// What to measure
    name: Bench,
    /// How often
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Of `liquid`: how many payments to make besides, once and without blinding [default: 0]; of `swap`: how many swaps, once,
    /// to see the server's memory by [default: 1000]
    #[arg(long, value_name = "N")]
    soak: Option<u32>,
    /// Of `swap`: which swaps; loops are not soaked
    #[arg(long, value_enum, default_value = "ln-to-liquid")]
    direction: Which,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemons: DaemonFlags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bench {
    /// A bitcoind and two Lightning nodes, from nothing to a settled payment
    World,
    /// The money oracle, in a world of 300 blocks with a channel
    Oracle,
    /// What a proxy adds to one call, for each kind of proxy; a run is 100 calls of each, with and without
    Proxy,
    /// A Liquid node and its index, without the rest of a world
    Liquid,
    /// The swap server and the buyer's library
    Swap,
    /// The event record: one event, and a scenario with and without
    Record,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Bench::World => "world",
            Bench::Oracle => "oracle",
            Bench::Proxy => "proxy",
            Bench::Liquid => "liquid",
            Bench::Swap => "swap",
            Bench::Record => "record",
        }
    }
}

const SIZE: Sat = Sat(1_000_000);
const AMOUNT: Msat = Msat(50_000_000);
/// The length of the chain that the oracle is measured on.
const BLOCKS: u32 = 300;

pub(super) fn bench(args: &BenchArgs) -> Exit {
    let settings = args.daemons.settings();
    let needs = match args.name {
        Bench::Liquid => Needs::of(false, true, &[Chain::Liquid].into()),
        Bench::Swap if args.direction != Which::LnToLiquid => Needs::of(true, false, &[].into()),
        Bench::Swap | Bench::Record => Needs::of(true, true, &[Chain::Liquid].into()),
        Bench::World | Bench::Oracle | Bench::Proxy => Needs::of(true, false, &[].into()),
    };
    let binaries = match Binaries::resolve(&settings, &needs, &Stderr::default()) {
        Ok(binaries) => Arc::new(binaries),
        Err(error) => {
            complain(&error);
            return Exit::Environment;
        }
    };
    let mut samples = Samples::default();
    // Inside the runtime's own threads, as a scenario runs.
    let measured = runtime().block_on(async {
        match args.name {
            Bench::World => worlds(args.runs, &settings, &binaries, &mut samples).await,
            Bench::Oracle => oracle(args.runs, &settings, &binaries, &mut samples).await,
            Bench::Liquid => {
                let base = RunDirSettings::from_env(Path::new(RUNS)).base;
                bench_liquid::liquid(
                    args.runs,
                    args.soak.unwrap_or(0),
                    &base,
                    &binaries,
                    &mut samples,
                )
                .await
            }
            Bench::Swap => {
                let base = RunDirSettings::from_env(Path::new(RUNS)).base;
                let looped = match args.direction {
                    Which::LnToLiquid => None,
                    Which::LoopOut => Some(Direction::Out),
                    Which::LoopIn => Some(Direction::In),
                };
                let (runs, samples) = (args.runs, &mut samples);
                match looped {
                    Some(way) => {
                        bench_loop::loops(way, runs, &base, &settings, &binaries, samples).await
                    }
                    None => {
                        let counts = (runs, args.soak.unwrap_or(bench_swap::SOAK));
                        bench_swap::swaps(counts, &base, &settings, &binaries, samples).await
                    }
                }
            }
            Bench::Record => {
                let base = RunDirSettings::from_env(Path::new(RUNS)).base;
                bench_record::record(args.runs, &base, &settings, &binaries, &mut samples).await
            }
            Bench::Proxy => bench_proxy::calls(args.runs, &settings, &binaries, &mut samples).await,
        }
    });
    if let Err(error) = measured {
        complain(&*error);
        return Exit::Environment;
    }
    let passport = binaries.passport();
    let name = args.name.name();
    if args.json {
        let figures = samples.figures(name, args.runs, &passport);
        match serde_json::to_string(&figures) {
            Ok(text) => println!("{text}"),
            Err(error) => complain(&error),
        }
    } else {
        println!(
            "bench {name}, {} runs   {passport}\n{}",
            args.runs,
            samples.table()
        );
    }
    Exit::Passed
}

async fn worlds(
    runs: u32,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), Box<dyn std::error::Error>> {
    let base = RunDirSettings::from_env(Path::new(RUNS)).base;
    // The first world warms what the others find warm: the cached blocks, the files of the programs.
    one(&base, settings, binaries, false).await?;
    for _ in 0..runs {
        let warm = one(&base, settings, binaries, false).await?;
        samples.add("usable", "ms", millis(warm.usable));
        samples.add("paid", "ms", millis(warm.paid));
        samples.add("teardown", "ms", millis(warm.teardown));
        samples.add("harness_cpu", "%", warm.harness_cpu);
        samples.add("harness_rss", "MB", megabytes(warm.harness_rss));
        samples.add("world_rss", "MB", megabytes(warm.world_rss));
        let cold = one(&base, settings, binaries, true).await?;
        samples.add("usable_cold", "ms", millis(cold.usable));
    }
    Ok(())
}

/// What a step costs more because the oracle looks after it.
async fn oracle(
    runs: u32,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), Box<dyn std::error::Error>> {
    let builder = World::builder()
        .lightning(["alice", "bob"])
        .settings(settings.clone());
    let world = builder
        .binaries(binaries.clone())
        .run_dir_in(RUNS)
        .start()
        .await?;
    world.open_usable_channel("alice", "bob", SIZE).await?;
    let height = world.bitcoind().height().await?;
    world
        .mine(BlockDelta(BLOCKS.saturating_sub(height.0)))
        .await?;
    let mut oracle = Oracle::default();
    for _ in 0..runs {
        let started = Instant::now();
        oracle.check(&world, Deadline::after(WAIT)).await?;
        samples.add("check", "ms", millis(started.elapsed()));
    }
    world.finish().await?;
    Ok(())
}

/// One world from nothing to a settled payment.
struct Measured {
    usable: Duration,
    paid: Duration,
    teardown: Duration,
    /// The harness's part of all processor time, in per cent.
    harness_cpu: f64,
    /// Bytes.
    harness_rss: u64,
    world_rss: u64,
}

async fn one(
    base: &Path,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    cold: bool,
) -> Result<Measured, WorldError> {
    // A cold world has an empty cache of its own, which it fills as the first world on a machine does.
    let empty = cold.then(tempfile::tempdir).and_then(Result::ok);
    let cache_dir = empty
        .as_ref()
        .map(|dir| dir.path().to_owned())
        .or_else(|| settings.cache_dir.clone());
    let settings = Settings {
        cache_dir,
        ..settings.clone()
    };
    let dir = RunDir::numbered(base, Keep::OnFailure).map_err(|error| WorldError {
        kind: error.into(),
        dir: base.to_owned(),
        logs: Vec::new(),
    })?;

    let own_before = Usage::of_self();
    let started = Instant::now();
    let builder = World::builder()
        .lightning(["alice", "bob"])
        .settings(settings)
        .binaries(binaries.clone());
    let world = builder.run_dir(dir).start().await?;
    world.open_usable_channel("alice", "bob", SIZE).await?;
    let usable = started.elapsed();

    let sent = Instant::now();
    world.pay_and_settle("alice", "bob", AMOUNT).await?;
    let paid = sent.elapsed();

    let daemons = world.usage();
    let own = Usage::of_self();
    let ended = Instant::now();
    world.finish().await?;
    let teardown = ended.elapsed();

    let own_cpu = own.cpu.saturating_sub(own_before.cpu).as_secs_f64();
    let all_cpu = own_cpu + daemons.cpu.as_secs_f64();
    let harness_cpu = if all_cpu > 0.0 {
        100.0 * own_cpu / all_cpu
    } else {
        0.0
    };
    Ok(Measured {
        usable,
        paid,
        teardown,
        harness_cpu,
        harness_rss: own.rss,
        world_rss: daemons.rss,
    })
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
