//! The money oracle notices a theft and names the output. The theft is a step of this test's own, which shows also how
//! another crate adds steps to the language.

mod support;

use swaprig_harness::bitcoind::Tip;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Sat};
use swaprig_harness::world::WAIT;
use swaprig_scenarios::lang::Party;
use swaprig_scenarios::run::{Oracle, Outcome, Run, Step, StepFailure, Verdict};
use swaprig_scenarios::step;
use swaprig_scenarios::steps::core_steps;

step! {
    /// Sends coins of a party to a key that nobody has.
    pub struct Steal("steal") -> () {
        /// Whose coins.
        steal: Party,
        /// How many.
        amount: Sat,
    } optional {}
}

/// A P2WPKH of all zeros: whose hash that is, nobody knows.
const NOBODY: &str = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202";

impl Step for Steal {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let address = NOBODY
            .parse::<bitcoin::Address<_>>()
            .unwrap()
            .assume_checked();
        let node = run.world.node(&self.steal.0)?;
        let sent = node.send_onchain(&address, self.amount).await;
        sent.map(drop)
            .map_err(|error| run.world.error(error).into())
    }
}

async fn outcome_of(text: &str) -> Outcome {
    let mut registry = core_steps().unwrap();
    registry.add::<Steal>().unwrap();
    support::run::outcome_of(text, &registry).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_theft_is_noticed_and_its_output_is_named() {
    if !support::runs() {
        return;
    }
    let outcome = outcome_of(
        r#"
title = "A thief"
world = { preset = "lightning" }
steps = [
  { fund = "alice", amount = "1_000_000 sat" },
  { mine = 1 },
  { steal = "alice", amount = "123_456 sat" },
  { mine = 1 },
  { expect = "height", at_least = 1 },
]
"#,
    )
    .await;
    let Verdict::Failed(failure) = &outcome.verdict else {
        panic!("{:?}", outcome.verdict)
    };
    assert_eq!(failure.step, Some(4), "{}", failure.failure);
    let title = &failure.failure.title;
    assert!(title.contains("nobody owns 123_456 sat"), "{title}");
    // The output itself, and no other one.
    assert_eq!(title.matches("(123_456 sat)").count(), 1, "{title}");
    assert_eq!(
        failure.money.as_ref().map(|sheet| sheet.height.0),
        Some(102)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_satoshi_is_accounted_for_through_channels_and_a_reorganisation() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder.lightning(["alice", "bob"]).start().await.unwrap();
    let mut oracle = Oracle::default();
    let deadline = Deadline::after(WAIT);
    let at_start = oracle.check(&world, deadline).await.unwrap().unwrap();
    assert_eq!(at_start.supply, Sat(101 * 50 * 100_000_000));

    let channel = world
        .open_usable_channel("alice", "bob", Sat(1_000_000))
        .await
        .unwrap();
    let open = oracle.check(&world, deadline).await.unwrap().unwrap();
    assert!(
        open.books
            .contains(&("channels".to_owned(), Sat(1_000_000))),
        "{open}"
    );

    // On its way, a transaction is nobody's yet: nothing is told.
    world.fund("bob", Sat(50_000)).await.unwrap();
    assert_eq!(oracle.check(&world, deadline).await.unwrap(), None);
    let height = world.mine(BlockDelta(1)).await.unwrap();
    let Tip { hash, .. } = world.bitcoind().tip().await.unwrap();
    assert_eq!(
        oracle
            .check(&world, deadline)
            .await
            .unwrap()
            .map(|sheet| sheet.height),
        Some(height)
    );

    // Another chain takes its place; its blocks hold the same transaction.
    world.invalidate(hash).await.unwrap();
    world.mine(BlockDelta(2)).await.unwrap();
    let after = oracle.check(&world, deadline).await.unwrap().unwrap();
    assert_eq!(after.height.0, height.0 + 1);

    let view = world.channel_of("alice", &channel).await.unwrap().unwrap();
    world.node("bob").unwrap().kill().await;
    assert_eq!(oracle.check(&world, deadline).await.unwrap(), None);
    world
        .node("alice")
        .unwrap()
        .force_close_channel(&view)
        .await
        .unwrap();
    world.node("bob").unwrap().restart(deadline).await.unwrap();
    world.finish().await.unwrap();
}
