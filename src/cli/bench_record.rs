//! `swaprig bench record`: what an event costs, and what a scenario costs more because it is recorded.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use swaprig_harness::binary::Settings;
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::world::Binaries;
use swaprig_record::{Chain, Event, Input, Output, Recorder, Seen, StepDone, StepOutcome, Tx};
use swaprig_scenarios::lang::{Plan, Source, check};
use swaprig_scenarios::run::{Interrupt, RunSettings, Verdict, Watch, run_all};

use super::stats::Samples;

/// How many events one sample writes.
const EVENTS: u32 = 3_000;

/// A scenario that fills a record with everything: both chains, channels, payments, waits.
const SCENARIO: &str = r#"
title = "Something of everything"
world = { preset = "ln-liquid" }
steps = [
  { fund = "alice", amount = "2_000_000 sat" },
  { mine = 1 },
  { open_channel = "bob", by = "alice", size = "1_000_000 sat", as = "channel" },
  { mine = 6 },
  { expect = "$channel.state", is = "usable", within = "20 s" },
  { invoice = "bob", amount = "10_000 sat", as = "invoice" },
  { pay = "$invoice", by = "alice" },
  { fund_liquid = "alice", amount = "100_000 sat" },
  { mine = 1, chain = "liquid" },
  { send_liquid = "bob", by = "alice", amount = "40_000 sat" },
  { mine = 1, chain = "liquid" },
  { expect = "liquid_balance", of = "bob", is = "40_000 sat" },
]
"#;

/// Nothing is told.
struct Silent;

impl Watch for Silent {}

pub(super) async fn record(
    runs: u32,
    base: &Path,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), Box<dyn std::error::Error>> {
    let registry = swaprig::steps::all_steps()?;
    let source = Source::new("bench", "bench", SCENARIO);
    let plans = check(&source, &registry).map_err(|problems| format!("{problems:?}"))?;
    let plans: Vec<_> = plans.into_iter().map(Arc::new).collect();
    // The first one warms what the others find warm.
    scenario(&plans, false, base, settings, binaries).await?;
    for _ in 0..runs {
        let dir = RunDir::numbered(base, Keep::OnFailure)?;
        samples.add("event", "us", events(dir.path())?);
        dir.succeed();
        let without = scenario(&plans, false, base, settings, binaries).await?;
        samples.add("scenario_unrecorded", "ms", without);
        let with = scenario(&plans, true, base, settings, binaries).await?;
        samples.add("scenario_recorded", "ms", with);
    }
    Ok(())
}

/// Microseconds for an event, of three kinds in turn.
fn events(dir: &Path) -> std::io::Result<f64> {
    let recorder = Recorder::create(&dir.join("events.jsonl"))?;
    recorder.reached(Chain::Bitcoin, 108);
    let txid = "ab".repeat(32);
    let output = Output {
        value: Some(50_000),
        asset: Some("lbtc".to_owned()),
        address: Some("ert1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnl6shq".to_owned()),
        kind: "witness_v0_keyhash".to_owned(),
    };
    let tx = Tx {
        chain: Chain::Liquid,
        txid: txid.clone(),
        vsize: 233,
        fee_sat: Some(24),
        lock_time: 0,
        inputs: vec![Input {
            txid: txid.clone(),
            vout: 0,
            witness: vec!["00".repeat(71), "02".repeat(33)],
        }],
        outputs: vec![output.clone(), output],
    };
    let seen = Seen {
        step: "3".to_owned(),
        wait: "$swap.status to be claimed".to_owned(),
        seen: "funded".to_owned(),
        after_ms: 12,
    };
    let done = StepDone {
        step: "3".to_owned(),
        outcome: StepOutcome::Passed,
        took_us: 81_852,
        made: vec![("txid".to_owned(), txid)],
        failure: None,
    };
    let started = Instant::now();
    for _ in 0..EVENTS / 3 {
        recorder.record(Event::Tx(Box::new(tx.clone())));
        recorder.record(Event::Seen(seen.clone()));
        recorder.record(Event::Done(done.clone()));
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(EVENTS))
}

/// Milliseconds for one run of the scenario, from the start of its world to its end.
async fn scenario(
    plans: &[Arc<Plan>],
    recorded: bool,
    base: &Path,
    settings: &Settings,
    binaries: &Arc<Binaries>,
) -> Result<f64, Box<dyn std::error::Error>> {
    let dir = RunDir::numbered(base, Keep::OnFailure)?;
    let run = RunSettings {
        jobs: NonZeroUsize::MIN,
        rounds: 1,
        retries: 0,
        timeout_scale: 1.0,
        seed: 1,
        binaries: binaries.clone(),
        settings: settings.clone(),
        records: recorded.then(|| dir.path().join("records")),
        step_in: None,
    };
    let (_raise, interrupt) = Interrupt::new();
    let outcomes = run_all(plans.to_vec(), run, &dir, Arc::new(Silent), interrupt).await;
    for outcome in &outcomes {
        if !matches!(outcome.verdict, Verdict::Passed) {
            return Err(
                format!("the scenario {}: {:?}", outcome.verdict.word(), outcome.dir).into(),
            );
        }
    }
    dir.succeed();
    let took = outcomes
        .first()
        .map(|outcome| outcome.took.as_secs_f64() * 1e3);
    took.ok_or_else(|| "nothing was run".into())
}
