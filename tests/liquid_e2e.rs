//! Liquid over real processes: a world with it, the faucet, assets, reorganisations, the money oracle, and how a start
//! fails.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use swaprig_harness::binary::{Flavour, Kind, Origin, Quiet, Role, Settings, Version, resolve};
use swaprig_harness::elementsd::{AssetAmount, FAUCET, FREE_COINS, lbtc};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Height, Sat};
use swaprig_harness::world::{Binaries, Chain, Liquid, OUTSIDE, Recipient, liquid_address};
use swaprig_scenarios::lang::{LiquidBooks, ServerBooks, Wallet};
use swaprig_scenarios::run::{LiquidOracle, Outcome, Run, Step, StepFailure, Verdict};
use swaprig_scenarios::step;
use swaprig_scenarios::steps::core_steps;

use support::sandbox::Sandbox;
use support::{SOON, assert_says};

/// A P2WPKH of all zeros: whose hash that is, nobody knows.
const NOBODY: &str = "ert1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq4zf532";

fn soon() -> Deadline {
    Deadline::after(SOON)
}

fn wallet(name: &str) -> Recipient {
    Recipient::Wallet {
        name: name.to_owned(),
        confidential: true,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_every_asset_has_an_owner_through_issues_and_reorganisations() {
    let Some(builder) = support::world() else {
        return;
    };
    let builder = builder.liquid_wallets(["alice", "bob"]);
    let world = builder.indexes([Chain::Bitcoin, Chain::Liquid]).start();
    let world = world.await.unwrap();
    let mut oracle = LiquidOracle::default();
    let at_start = oracle.check(&world, soon()).await.unwrap().unwrap();
    assert_eq!(at_start.height, Height(1));
    assert_eq!(at_start.assets.len(), 1, "{at_start}");
    assert_eq!(at_start.assets[0].supply, Some(FREE_COINS));
    assert_eq!(at_start.assets[0].books, [(FAUCET.to_owned(), FREE_COINS)]);

    let amount = AssetAmount::sat(Sat(50_000));
    world
        .fund_liquid(&wallet("alice"), amount, soon())
        .await
        .unwrap();
    let gold = world
        .issue_asset(FAUCET, 1_000, 1, true, soon())
        .await
        .unwrap();
    // On their way, payments are nobody's yet: nothing is told.
    assert_eq!(oracle.check(&world, soon()).await.unwrap(), None);
    let height = world.mine_liquid(BlockDelta(1)).await.unwrap();
    // The barrier: whoever mined may ask the index at once.
    let index = world.index(Chain::Liquid).unwrap();
    assert_eq!(index.height(soon()).await.unwrap(), height);

    let seven = AssetAmount {
        asset: gold.asset,
        parts: 7,
    };
    world
        .fund_liquid(&wallet("bob"), seven, soon())
        .await
        .unwrap();
    let outside = Recipient::Address(liquid_address(NOBODY).unwrap());
    world
        .fund_liquid(&outside, AssetAmount::sat(Sat(1_000)), soon())
        .await
        .unwrap();
    world.mine_liquid(BlockDelta(1)).await.unwrap();
    let sheet = oracle.check(&world, soon()).await.unwrap().unwrap();
    let of = |asset| {
        sheet
            .assets
            .iter()
            .find(|sheet| sheet.asset == asset)
            .unwrap()
    };
    assert!(
        of(lbtc()).books.contains(&("alice".to_owned(), 50_000)),
        "{sheet}"
    );
    assert!(
        of(lbtc()).books.contains(&(OUTSIDE.to_owned(), 1_000)),
        "{sheet}"
    );
    assert!(
        of(gold.asset).books.contains(&("bob".to_owned(), 7)),
        "{sheet}"
    );
    assert_eq!(of(gold.asset).supply, Some(1_000));
    assert_eq!(of(gold.token).supply, Some(1));

    // The last block goes, and what it held waits again; then it is in another one.
    let tip = world
        .reorg_liquid(BlockDelta(1), BlockDelta(2), true, soon())
        .await
        .unwrap();
    assert_eq!(tip.height, Height(4));
    assert_eq!(oracle.check(&world, soon()).await.unwrap(), None);
    world.mine_liquid(BlockDelta(1)).await.unwrap();
    let after = oracle.check(&world, soon()).await.unwrap().unwrap();
    assert_eq!((after.height, &after.assets), (Height(5), &sheet.assets));

    let error = world
        .reorg_liquid(BlockDelta(5), BlockDelta(6), true, soon())
        .await;
    assert_says(
        &error.unwrap_err().to_string(),
        &["the chain ends at height 5"],
    );
    world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_has_on_liquid_is_counted_by_its_books() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder.liquid_wallets(["alice"]).start().await.unwrap();
    let books = ServerBooks {
        server: "maker".to_owned(),
        liquid: Some(LiquidBooks::Wallet("own".to_owned())),
        ..ServerBooks::default()
    };
    let mut oracle = LiquidOracle::with_servers(&[books]);
    // The server has not made its wallet yet.
    oracle.check(&world, soon()).await.unwrap().unwrap();
    let rpc = world.liquid().unwrap().elementsd().rpc();
    let descriptors = [
        json!("own"),
        json!(false),
        json!(false),
        json!(""),
        json!(false),
        json!(true),
    ];
    let made: Result<Value, _> = rpc.call("createwallet", &descriptors, soon()).await;
    made.unwrap();
    let own = rpc.new_address("own", soon()).await.unwrap().confidential;
    let amount = AssetAmount::sat(Sat(7_000));
    rpc.send_to_address(FAUCET, &own, amount, soon())
        .await
        .unwrap();
    world.mine_liquid(BlockDelta(1)).await.unwrap();
    let sheet = oracle.check(&world, soon()).await.unwrap().unwrap();
    let its = ("maker (wallet:own)".to_owned(), 7_000);
    assert!(sheet.assets[0].books.contains(&its), "{sheet}");
    // Without books it is lost.
    let lost = LiquidOracle::default().check(&world, soon()).await;
    assert_says(
        &lost.unwrap_err().title,
        &["nobody owns 7_000 sat of lbtc", "(blinded)"],
    );
    world.finish().await.unwrap();
}

step! {
    /// Sends coins of a wallet to a key that nobody has, behind the back of the world.
    pub struct Steal("steal") -> () {
        /// Whose coins.
        steal: Wallet,
        /// How many.
        amount: Sat,
    } optional {}
}

impl Step for Steal {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let rpc = run.world.liquid()?.elementsd().rpc();
        let (to, amount) = (
            liquid_address(NOBODY).unwrap(),
            AssetAmount::sat(self.amount),
        );
        let sent = rpc.send_to_address(&self.steal.0, &to, amount, run.deadline);
        sent.await
            .map(drop)
            .map_err(|error| run.world.error(error).into())
    }
}

async fn outcome_of(text: &str) -> Outcome {
    let mut registry = core_steps().unwrap();
    registry.add::<Steal>().unwrap();
    support::run::outcome_of(text, &registry).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_theft_on_liquid_is_noticed_and_named_with_its_asset() {
    if !support::runs() {
        return;
    }
    let outcome = outcome_of(
        r#"
title = "A thief on Liquid"
world = { preset = "liquid" }
steps = [
  { fund_liquid = "alice", amount = "1_000_000 sat" },
  { mine = 1, chain = "liquid" },
  { steal = "alice", amount = "123_456 sat" },
  { mine = 1, chain = "liquid" },
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
    assert_says(
        title,
        &[
            "on Liquid",
            "nobody owns 123_456 sat of lbtc",
            "(123_456 sat of lbtc)",
        ],
    );
}

/// An elementsd that does what `script` says.
fn fake(script: &str) -> swaprig_harness::binary::Binary {
    swaprig_harness::binary::Binary {
        role: Role::Elementsd,
        kind: Kind::Upstream,
        path: "/fake".into(),
        program: "sh".into(),
        args: ["-c", script, "fake"].map(Into::into).to_vec(),
        version: Version {
            text: "99.0".to_owned(),
            major: 99,
            minor: 0,
            flavour: None::<Flavour>,
        },
        origin: Origin::Flag,
        provenance: None,
    }
}

#[tokio::test]
async fn an_elementsd_that_ends_at_once_is_told_with_its_status_and_its_words() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let binaries = Binaries {
        elementsd: Some(fake("echo 'Error: no disk' >&2; exit 3")),
        ..(*real).clone()
    };
    let started = Liquid::start(&binaries, &[], sandbox.path(), soon()).await;
    assert_says(
        &started.map(drop).unwrap_err().to_string(),
        &[
            "elementsd exited with status 3",
            "-chain=liquidregtest",
            "Error: no disk",
        ],
    );
}

#[tokio::test]
async fn a_world_whose_programs_lack_elementsd_says_which() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let started = Liquid::start(
        &real,
        &[],
        sandbox.path(),
        Deadline::after(Duration::from_secs(5)),
    );
    assert_says(
        &started.await.map(drop).unwrap_err().to_string(),
        &["elementsd cannot be started"],
    );
}

#[test]
fn a_missing_elementsd_is_an_account_of_where_it_was_looked_for() {
    let error = resolve(Role::Elementsd, &Settings::default(), &Quiet).unwrap_err();
    assert_says(
        &error.to_string(),
        &[
            "no elementsd was found",
            "--elementsd",
            "ELEMENTSD_EXE",
            "PATH",
            "what to do:",
        ],
    );
}

#[tokio::test]
async fn an_elementsd_of_the_wrong_version_is_refused_before_it_is_started() {
    let sandbox = Sandbox::new();
    for (name, says, parts) in [
        (
            "old",
            "Elements Core version v22.1.1",
            ["is 22.1.1", "Elements Core ≥ 23"],
        ),
        (
            "other",
            "Bitcoin Core version v29.0.0",
            ["does not say that it is", "Bitcoin Core version v29.0.0"],
        ),
    ] {
        let path = sandbox.script(name, &format!("echo '{says}'")).await;
        let settings = Settings {
            elementsd: Some(path.clone()),
            ..Settings::default()
        };
        let error = resolve(Role::Elementsd, &settings, &Quiet)
            .unwrap_err()
            .to_string();
        assert_says(&error, &parts);
        assert_says(&error, &[path.to_str().unwrap(), "--elementsd"]);
    }
}
