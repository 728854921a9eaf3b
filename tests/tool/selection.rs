//! Which scenarios are run, and in which order.

use std::collections::BTreeSet;

use serde_json::Value;

use super::support::assert_says;
use super::support::sandbox::Done;
use super::{FAILS, MINES, Sandbox, four, listed, sandbox, scenario};

#[tokio::test]
async fn selections_narrow_what_is_listed() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    for (flags, expected) in [
        (&["-t", "fast"] as &[&str], &["all/a", "all/b"] as &[&str]),
        (
            &["--tag", "fast", "--tag", "slow"],
            &["all/a", "all/b", "all/sub/d"],
        ),
        (&["-t", "fast", "--skip-tag", "slow"], &["all/a"]),
        (&["-k", "SUB/"], &["all/sub/c", "all/sub/d"]),
        (&["-k", "looks", "--skip-tag", "slow"], &["all/sub/c"]),
    ] {
        assert_eq!(listed(&sandbox, flags).await, expected, "{flags:?}");
    }
}

#[tokio::test]
async fn shards_are_disjoint_and_together_they_are_everything() {
    let sandbox = Sandbox::new();
    let all: BTreeSet<String> = (0..40).map(|n| format!("all/s{n}")).collect();
    for id in &all {
        sandbox.file(&format!("{id}.scenario.toml"), &scenario("x", "", MINES));
    }
    let mut seen = Vec::new();
    for part in 1..=4 {
        let shard = listed(&sandbox, &["--partition", &format!("hash:{part}/4")]).await;
        assert!((3..20).contains(&shard.len()), "{shard:?}");
        seen.extend(shard);
    }
    assert_eq!(seen.len(), all.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    for wrong in ["2/4", "hash:0/4", "hash:5/4"] {
        let done = sandbox
            .swaprig(&["list", "all", "--partition", wrong])
            .await
            .code(2);
        assert_says(&done.stderr, &["--partition", "hash:"]);
    }
}

#[tokio::test]
async fn an_empty_selection_is_four_and_says_what_took_what_away() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    for command in ["run", "list"] {
        let done = sandbox
            .swaprig(&[command, "all", "-t", "slow", "-k", "alpha"])
            .await
            .code(4);
        assert_says(
            &done.stderr,
            &[
                "nothing is selected",
                "4 scenarios found; --tag slow leaves 2; -k alpha leaves 0",
            ],
        );
        let done = sandbox.swaprig(&[command, "all", "--failed"]).await.code(4);
        assert_says(&done.stderr, &["--failed: no run is recorded in"]);
    }
    assert!(!sandbox.path().join(".swaprig").exists());
}

#[tokio::test]
async fn what_failed_is_run_again_until_it_passes() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    four(&sandbox);
    let fails = sandbox.file("all/b.scenario.toml", &scenario("Beta", "", FAILS));
    sandbox.swaprig(&["run", "all"]).await.code(1);
    assert_eq!(listed(&sandbox, &["--failed"]).await, ["all/b"]);
    let done = sandbox.swaprig(&["run", "all", "--failed"]).await.code(1);
    assert_says(&done.stdout, &["1 failed of 1 run"]);
    std::fs::write(fails, scenario("Beta", "", MINES)).unwrap();
    sandbox.swaprig(&["run", "all", "--failed"]).await.code(0);
    let done = sandbox.swaprig(&["run", "all", "--failed"]).await.code(4);
    assert_says(
        &done.stderr,
        &["--failed (all of the last run passed) leaves 0"],
    );
}

/// The ids in the order in which a run of one world at a time told them.
fn order(done: &Done) -> Vec<String> {
    let passes = done
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("PASS "));
    passes
        .map(|rest| rest.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_seed_brings_an_order_again() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    four(&sandbox);
    let run = ["run", "all", "--jobs", "1"];
    let plain = sandbox.swaprig(&run).await.code(0);
    assert_eq!(order(&plain), ["all/a", "all/b", "all/sub/c", "all/sub/d"]);
    let shuffled = |seed: &'static str| {
        let args = [&run as &[&str], &["--shuffle", "--seed", seed]].concat();
        let sandbox = &sandbox;
        async move { sandbox.swaprig(&args).await.code(0) }
    };
    let (one, again, other) = (
        shuffled("2").await,
        shuffled("2").await,
        shuffled("3").await,
    );
    assert_says(&one.stdout, &["seed 2"]);
    assert_eq!(order(&one), order(&again));
    assert_ne!(order(&one), order(&other));
    assert_ne!(order(&one), order(&plain));
}

#[tokio::test]
async fn times_are_scaled_for_slow_machines() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let file = sandbox.file("fails.scenario.toml", &scenario("x", "", FAILS));
    let run = [
        "run",
        file.to_str().unwrap(),
        "--json",
        "--timeout-scale",
        "5",
    ];
    let done = sandbox.swaprig(&run).await.code(1);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let waited = report["scenarios"][0]["steps"][1]["seconds"]
        .as_f64()
        .unwrap();
    assert!((0.9..5.0).contains(&waited), "waited {waited} s");
    for wrong in ["0", "-1", "nan", "inf", "x"] {
        let flag = format!("--timeout-scale={wrong}");
        let done = sandbox
            .swaprig(&["run", "fails.scenario.toml", &flag])
            .await
            .code(2);
        assert_says(&done.stderr, &["0.01 to 1000"]);
    }
}
