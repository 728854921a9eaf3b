//! Other programs in a world, and worlds that stay.

use std::collections::BTreeSet;

use serde_json::Value;

use super::support::sandbox::Done;
use super::support::{self, assert_says};
use super::{Sandbox, sandbox};

#[tokio::test]
async fn another_program_runs_in_a_world_of_its_own() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    // Nothing of this repository is in sight: an empty directory, the executable, a shell.
    let script = r#"
        set -e
        [ "$(. "$SWAPRIG_ENV_FILE"; echo "$SWAPRIG_ALICE_P2P")" = "$SWAPRIG_ALICE_P2P" ]
        [ -s "$SWAPRIG_DAVE_2_TLS_CERT" ] && [ -d "$SWAPRIG_RUN_DIR" ]
        [ "${#SWAPRIG_ALICE_NODE_ID}" = 66 ]
        [ -s "${SWAPRIG_ALICE_API_KEY_FILE:-$SWAPRIG_ALICE_MACAROON_FILE}" ]
        [ "${#SWAPRIG_ALICE_API_KEY}" = 64 ] || [ -n "$SWAPRIG_ALICE_MACAROON" ]
        echo "$SWAPRIG_BITCOIND_RPC_URL $SWAPRIG_BITCOIND_RPC_USER $SWAPRIG_BITCOIND_RPC_PASSWORD"
        echo "$SWAPRIG_BITCOIND_P2P $SWAPRIG_ALICE_GRPC $SWAPRIG_DAVE_2_GRPC"
        exit "$1""#;
    let exec = |code: &'static str| {
        let args = [
            "exec",
            "--lightning",
            "alice,dave-2",
            "--",
            "sh",
            "-c",
            script,
            "sh",
            code,
        ];
        let sandbox = &sandbox;
        async move { sandbox.swaprig(&args).await }
    };
    let done = exec("0").await.code(0);
    assert_eq!(done.stderr, "");
    let words: Vec<&str> = done.stdout.split_whitespace().collect();
    assert_eq!(words.len(), 6, "{}", done.stdout);
    assert!(words[0].starts_with("http://127.0.0.1:"));
    let distinct: BTreeSet<_> = [words[0], words[3], words[4], words[5]].into();
    assert_eq!(distinct.len(), 4, "{}", done.stdout);
    assert!(!sandbox.first_run().exists());

    let done = exec("37").await.code(37);
    assert_says(
        &done.stderr,
        &[&format!("kept {}", sandbox.first_run().display())],
    );
    assert!(sandbox.first_run().join("alice.stdout.log").exists());
    let bitcoin = ["exec", "--preset", "bitcoin"];
    for (command, code) in [
        (&["--", "sh", "-c", "kill -9 $$"] as &[&str], 137),
        (&["--", "/nowhere/program"], 127),
        (&["--", "/"], 126),
    ] {
        sandbox
            .swaprig(&[&bitcoin as &[&str], command].concat())
            .await
            .code(code);
    }
    for wrong in [
        &["exec"] as &[&str],
        &["exec", "--preset", "moon", "--", "true"],
        &["exec", "--lightning", "Alice", "--", "true"],
        &["exec", "--lightning", "bitcoind", "--", "true"],
    ] {
        let done = sandbox.swaprig(wrong).await.code(2);
        assert!(!done.stderr.is_empty());
    }
    let nowhere = ["exec", "--bitcoind", "/nowhere/bitcoind", "--", "true"];
    sandbox.swaprig(&nowhere).await.code(3);
}

/// A world of `up` in a sandbox.
async fn up(sandbox: &Sandbox, flags: &[&str]) -> support::sandbox::Started {
    let args = [&["up"], flags].concat();
    let up = sandbox.start(support::sandbox::swaprig(), &args, &[]);
    support::file_says(up.stdout(), "ready;").await;
    up
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn signals_reach_the_program_and_the_world_ends_with_it() {
    use rustix::process::Signal;
    for (signal, name, code) in [(Signal::TERM, "TERM", 41), (Signal::INT, "INT", 42)] {
        let Some(sandbox) = sandbox().await else {
            return;
        };
        let script =
            format!("trap 'exit {code}' {name}; echo waiting; while :; do sleep 0.05; done");
        let args = ["exec", "--preset", "bitcoin", "--", "sh", "-c", &script];
        let exec = sandbox.start(support::sandbox::swaprig(), &args, &[]);
        support::file_says(exec.stdout(), "waiting").await;
        // To this one process, not to its group as a terminal would.
        let pid = i32::try_from(exec.running().pid()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal)
            .unwrap();
        exec.done().await.code(code);
        support::processes::no_process_left(&sandbox.first_run()).await;
        let log = std::fs::read_to_string(sandbox.first_run().join("bitcoind.stdout.log"));
        assert_says(&log.unwrap(), &["Shutdown: done"]);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_standing_world_does_what_other_terminals_ask() {
    use rustix::process::Signal;
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let done = sandbox.swaprig(&["status"]).await.code(3);
    assert_says(
        &done.stderr,
        &["no world is up in this directory", "swaprig up"],
    );
    let world = up(&sandbox, &["--channels"]).await;
    let text = std::fs::read_to_string(world.stdout()).unwrap();
    assert_says(
        &text,
        &[
            "world 1",
            "SWAPRIG_BITCOIND_RPC_URL=http://127.0.0.1:",
            ". .swaprig/up/1.env",
        ],
    );
    let env = std::fs::read_to_string(sandbox.path().join(".swaprig/up/1.env")).unwrap();
    assert_says(
        &env,
        &[
            "export SWAPRIG_ALICE_GRPC='127.0.0.1:",
            "export SWAPRIG_ENV_FILE='",
        ],
    );

    let json = |done: Done| serde_json::from_str::<Value>(&done.stdout).unwrap();
    let before = json(sandbox.swaprig(&["status", "--json"]).await.code(0));
    let height = before["height"].as_u64().unwrap();
    assert_eq!(before["nodes"][0]["usable_channels"], 1, "{before:#}");
    let done = sandbox.swaprig(&["mine", "3"]).await.code(0);
    assert_eq!(done.stdout.trim(), format!("height {}", height + 3));
    let done = sandbox.swaprig(&["fund", "bob", "0.5 btc"]).await.code(0);
    assert_says(
        &done.stdout,
        &[
            "bob has 50_000_000 sat more",
            &format!("block {}", height + 4),
        ],
    );
    let done = sandbox
        .swaprig(&["pay", "alice", "bob", "10_000sat"])
        .await
        .code(0);
    assert_says(&done.stdout, &["alice paid bob 10_000 sat"]);
    let after = json(sandbox.swaprig(&["status", "--json"]).await.code(0));
    let of = |status: &Value, key: &str| status["nodes"][1][key].as_u64().unwrap();
    assert_eq!(
        of(&after, "onchain_sat") - of(&before, "onchain_sat"),
        50_000_000
    );
    assert_eq!(
        of(&after, "lightning_sat") - of(&before, "lightning_sat"),
        10_000
    );
    let done = sandbox.swaprig(&["status"]).await.code(0);
    assert_says(
        &done.stdout,
        &[
            "bitcoind  height ",
            "alice     height ",
            "1 of 1 channels usable",
        ],
    );

    for (refused, why) in [
        (
            ["pay", "alice", "carol", "1 sat"],
            "no Lightning node called `carol`",
        ),
        (["pay", "alice", "bob", "1 btc"], "alice"),
    ] {
        let done = sandbox.swaprig(&refused).await.code(1);
        assert_says(&done.stderr, &[why]);
    }
    sandbox.swaprig(&["fund", "bob", "5"]).await.code(2);
    sandbox.swaprig(&["mine", "--world", "2"]).await.code(2);

    let logs = sandbox.swaprig(&["logs"]).await.code(0);
    assert_says(&logs.stdout, &["bitcoind | ", "alice    | "]);
    sandbox.swaprig(&["logs", "carol"]).await.code(2);
    let follow = sandbox.start(
        support::sandbox::swaprig(),
        &["logs", "-f", "bitcoind"],
        &[],
    );
    sandbox.swaprig(&["mine"]).await.code(0);
    support::file_says(follow.stdout(), &format!("height={}", height + 5)).await;

    world.running().signal(Signal::INT);
    world.done().await.code(0);
    follow.done().await.code(0);
    assert_eq!(
        std::fs::read_dir(sandbox.path().join(".swaprig/up"))
            .unwrap()
            .count(),
        0
    );
    assert!(!sandbox.first_run().exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn two_worlds_at_once_do_not_see_each_other() {
    use rustix::process::Signal;
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let flags = ["--preset", "bitcoin"];
    let (one, two) = tokio::join!(up(&sandbox, &flags), up(&sandbox, &flags));
    let done = sandbox.swaprig(&["mine"]).await.code(2);
    assert_says(
        &done.stderr,
        &["worlds 1, 2 are up; choose one with --world"],
    );
    sandbox
        .swaprig(&["mine", "5", "--world", "2"])
        .await
        .code(0);
    for (world, height) in [("1", 101), ("2", 106)] {
        let done = sandbox.swaprig(&["status", "--world", world]).await.code(0);
        assert_eq!(done.stdout.trim(), format!("bitcoind  height {height}"));
    }
    // One that is killed leaves its files, and they mislead nobody.
    let (first, other) = match std::fs::read_to_string(one.stdout())
        .unwrap()
        .contains("world 1")
    {
        true => (one, two),
        false => (two, one),
    };
    first.running().signal(Signal::KILL);
    first.done().await;
    let done = sandbox.swaprig(&["mine"]).await.code(0);
    assert_eq!(done.stdout.trim(), "height 107");
    let again = up(&sandbox, &flags).await;
    assert_says(
        &std::fs::read_to_string(again.stdout()).unwrap(),
        &["world 1"],
    );
    again.running().signal(Signal::TERM);
    again.done().await.code(143);
    other.running().signal(Signal::INT);
    other.done().await.code(0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_standing_world_takes_faults_on_its_links() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let _world = up(
        &sandbox,
        &["--proxy", "alice->bob", "--proxy", "harness->bitcoind"],
    )
    .await;
    let fault = |step: &'static str| {
        let sandbox = &sandbox;
        async move { sandbox.swaprig(&["fault", step]).await }
    };
    fault("{ partition = \"alice->bob\" }").await.code(0);
    fault("{ heal = \"alice->bob\" }").await.code(0);
    // It is a step like in a file, and told what is wrong with it like in a file.
    let done = fault("{ partition = \"bob->bitcoind\" }").await.code(1);
    assert_says(
        &done.stderr,
        &["\"bob->bitcoind\" is not a proxy of this world", "add it"],
    );
    let done = fault("{ heel = \"alice->bob\" }").await.code(1);
    assert_says(&done.stderr, &["did you mean `heal`?"]);

    // What others are given of bitcoind is the proxy, so that the fault meets them.
    fault("{ fail = \"harness->bitcoind\", rpc = \"getrawmempool\", next = 1, message = \"come back later\" }").await.code(0);
    let look = "{ expect = \"mempool\", is = 0 }";
    let done = fault(look).await.code(1);
    assert_says(&done.stderr, &["come back later"]);
    fault(look).await.code(0);
}
