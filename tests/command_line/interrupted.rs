//! How a run ends from outside: by a signal to stop, by a second one, by SIGKILL. Linux tells of any process what it was
//! started with, which is what these tests look at.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::processes::{no_process_left, pids_mentioning, ports_below, ports_fall_silent};
use crate::support::sandbox::{Sandbox, Started};
use crate::support::{assert_says, file_says, files_called};
use crate::{sandbox, scenario};

/// Waits for far longer than the test lives.
const WAITS: &str = "  { mine = 1 },\n  { expect = \"height\", is = 999, within = \"9 min\" },";
/// Less than the 40 s that a daemon is given to end when it is asked to.
const AT_ONCE: Duration = Duration::from_secs(30);

/// A run whose daemons are up and whose scenario waits.
async fn waiting_run(sandbox: &Sandbox) -> (Started, Vec<u16>) {
    let world = "{ preset = \"lightning\", deadline = \"10 min\" }";
    sandbox.file("waits.scenario.toml", &scenario(world, WAITS));
    let run = sandbox.start(
        crate::support::sandbox::swaprig(),
        &["run", "waits.scenario.toml"],
        &[],
    );
    // The first step mined this block, so the world is up.
    file_says(
        &sandbox.first_run().join("waits/bitcoind.stdout.log"),
        "height=102",
    )
    .await;
    let ports = ports_below(&sandbox.first_run());
    assert_eq!(
        (ports.len(), pids_mentioning(&sandbox.first_run()).len()),
        (6, 3)
    );
    (run, ports)
}

/// A run whose bitcoind does not come up. It waits without a child of its own: a shell that forks one is there twice for a
/// moment, and the second one, which nobody ends with the first, would count as a daemon that was left.
async fn starting_run(sandbox: &Sandbox) -> Started {
    let hangs = "[ \"$1\" = --version ] && exec echo 'Bitcoin Core daemon version v99.0.0'
        mkfifo held; echo started; read -r never < held";
    let hangs = sandbox.script("hanging-bitcoind", hangs).await;
    sandbox.file(
        "waits.scenario.toml",
        &scenario(crate::BITCOIN, WAITS.replace("9 min", "9 s").as_str()),
    );
    let args = [
        "run",
        "waits.scenario.toml",
        "--bitcoind",
        hangs.to_str().unwrap(),
    ];
    let run = sandbox.start(crate::support::sandbox::swaprig(), &args, &[]);
    file_says(
        &sandbox.first_run().join("waits/bitcoind.stdout.log"),
        "started",
    )
    .await;
    assert_eq!(pids_mentioning(&sandbox.first_run()).len(), 1);
    run
}

async fn nothing_is_left(dir: &Path, ports: &[u16]) {
    no_process_left(dir).await;
    ports_fall_silent(ports).await;
    // What is needed to find out what happened stays.
    assert!(!files_called("bitcoind.stdout.log", dir).is_empty());
}

#[tokio::test]
async fn a_harness_that_is_killed_takes_its_daemons_with_it() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let (run, ports) = waiting_run(&sandbox).await;
    run.running().signal(Signal::KILL);
    let done = run.done().await;
    assert_eq!(done.exit.status.code(), None);
    nothing_is_left(&sandbox.first_run(), &ports).await;
}

#[tokio::test]
async fn a_harness_that_is_killed_while_a_world_starts_takes_its_daemons_with_it() {
    let sandbox = Sandbox::new();
    let run = starting_run(&sandbox).await;
    run.running().signal(Signal::KILL);
    run.done().await;
    nothing_is_left(&sandbox.first_run(), &[]).await;
}

#[tokio::test]
async fn signals_end_a_run_in_order_and_its_directory_is_named() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let Some(sandbox) = sandbox().await else {
            return;
        };
        let (run, ports) = waiting_run(&sandbox).await;
        run.running().signal(signal);
        let done = run.done().await.code(code);
        let dir = sandbox.first_run();
        assert_says(
            &done.stdout,
            &["STOP waits   interrupted after", "1 interrupted of 1 run"],
        );
        assert_says(&done.stdout, &[&format!("kept {}", dir.display())]);
        assert_says(
            &done.stderr,
            &["swaprig: interrupted; stopping the daemons"],
        );
        // They were stopped, not killed.
        let said = std::fs::read_to_string(dir.join("waits/bitcoind.stdout.log")).unwrap();
        assert_says(&said, &["Shutdown: done"]);
        assert!(!done.stderr.contains("killed"), "{}", done.stderr);
        assert_eq!(pids_mentioning(&dir), Vec::<u32>::new());
        nothing_is_left(&dir, &ports).await;
    }
}

#[tokio::test]
async fn signals_end_the_start_of_a_world_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let sandbox = Sandbox::new();
        let run = starting_run(&sandbox).await;
        let sent = Instant::now();
        run.running().signal(signal);
        let done = run.done().await.code(code);
        assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
        assert_says(
            &done.stdout,
            &[
                "STOP waits",
                &format!("kept {}", sandbox.first_run().display()),
            ],
        );
        assert_eq!(pids_mentioning(&sandbox.first_run()), Vec::<u32>::new());
    }
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_a_daemon_that_does_not_end() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let (run, ports) = waiting_run(&sandbox).await;
    // A stopped process takes note of SIGTERM and does not act on it.
    let alice: PathBuf = sandbox.first_run().join("waits/alice");
    let pids = pids_mentioning(&alice);
    assert_eq!(pids.len(), 1);
    kill_process(
        Pid::from_raw(pids[0].try_into().unwrap()).unwrap(),
        Signal::STOP,
    )
    .unwrap();
    run.running().signal(Signal::INT);
    let sent = Instant::now();
    file_says(run.stderr(), "interrupted; stopping the daemons").await;
    run.running().signal(Signal::INT);
    run.done().await.code(130);
    assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
    nothing_is_left(&sandbox.first_run(), &ports).await;
}
