//! How the harness itself fails, over real processes: daemons that are missing, wrong, dead, deaf or robbed of their
//! ports; places that cannot be written to; tests that panic. What each message says is part of the product.

#[path = "harness_failures/ends.rs"]
mod ends;
#[path = "harness_failures/ports.rs"]
mod ports;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use swaprig_harness::binary::{Binary, Quiet, ResolveError, Role, Settings, resolve};
use swaprig_harness::bitcoind::FIRST_BLOCKS;
use swaprig_harness::ldk_server::LdkServer;
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Height};
use swaprig_harness::world::{Binaries, Builder, WorldErrorKind};
use swaprig_harness::{StartError, World};

use support::processes::{Fake, is_gone};
use support::sandbox::Sandbox;
use support::{assert_says, file_says};

/// A script that ends before it is ready.
const DIES: &str = "echo 'Error: the disk is made of cheese' >&2; echo pretending; exit 3";
/// A script that never becomes ready, and says which process it is.
const HANGS: &str = "echo $$ > pid; echo waiting for nothing; exec sleep 600";

/// A world of `binaries` in `sandbox`, with nothing cached and nothing from the environment.
fn world_of(binaries: Binaries, sandbox: &Sandbox) -> Builder {
    World::builder()
        .binaries(Arc::new(binaries))
        .settings(Settings::default())
        .run_dir_in(sandbox.path().join("runs"))
}

fn only(bitcoind: Binary) -> Binaries {
    Binaries::only(bitcoind)
}

/// What a world's failed start says, and the directory that it says it in.
async fn failure(builder: Builder) -> (WorldErrorKind, PathBuf, String) {
    let error = builder.start().await.map(drop).unwrap_err();
    let text = error.to_string();
    (error.kind, error.dir, text)
}

fn pid_in(path: &Path) -> u32 {
    std::fs::read_to_string(path)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn a_missing_bitcoind_is_an_account_of_where_it_was_looked_for() {
    let error = resolve(Role::Bitcoind, &Settings::default(), &Quiet).unwrap_err();
    assert!(
        matches!(error, ResolveError::NothingFound { .. }),
        "{error}"
    );
    assert_says(
        &error.to_string(),
        &[
            "no bitcoind was found",
            "--bitcoind",
            "BITCOIND_EXE",
            "PATH",
            "cache",
            "what to do:",
        ],
    );
}

#[tokio::test]
async fn a_bitcoind_of_the_wrong_version_is_refused_before_it_is_started() {
    let sandbox = Sandbox::new();
    let old = "echo 'Bitcoin Core daemon version v27.2.0'; echo asked \"$@\" >> \"$0.asked\"";
    let old = sandbox.script("bitcoind", old).await;
    let settings = Settings {
        bitcoind: Some(old.clone()),
        ..Settings::default()
    };
    let (kind, _, text) = failure(
        World::builder()
            .settings(settings)
            .run_dir_in(sandbox.path().join("runs")),
    )
    .await;
    assert!(
        matches!(kind, WorldErrorKind::Start(StartError::Binary(_))),
        "{text}"
    );
    let path = old.to_str().unwrap();
    assert_says(
        &text,
        &[
            path,
            "is Bitcoin Core 27.2.0",
            "Bitcoin Core ≥ 28",
            "--bitcoind",
        ],
    );
    let asked = std::fs::read_to_string(sandbox.path().join("bitcoind.asked")).unwrap();
    assert_eq!(asked, "asked --version\n");
}

#[tokio::test]
async fn a_bitcoind_that_ends_at_once_is_told_with_its_status_and_its_words() {
    let sandbox = Sandbox::new();
    let started = Instant::now();
    let (kind, dir, text) = failure(world_of(only(Fake::bitcoind(DIES)), &sandbox)).await;
    // Not a timeout: the end of the process ends the wait.
    assert!(started.elapsed() < Duration::from_secs(30), "{text}");
    assert!(
        matches!(kind, WorldErrorKind::Start(StartError::Exited { .. })),
        "{text}"
    );
    let logs = [
        dir.join("bitcoind.stdout.log"),
        dir.join("bitcoind.stderr.log"),
    ];
    assert_says(
        &text,
        &[
            "bitcoind exited with status 3",
            "command: sh -c",
            "-datadir=",
            "Error: the disk is made of cheese",
            "pretending",
            logs[0].to_str().unwrap(),
            logs[1].to_str().unwrap(),
            &format!("run directory: {}", dir.display()),
        ],
    );
    assert!(logs.iter().all(|log| log.exists()));
}

#[tokio::test]
async fn an_ldk_server_that_ends_at_once_is_told_and_takes_the_world_with_it() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let binaries = Binaries {
        ldk_server: Some(Fake::ldk_server(DIES)),
        ..Binaries::clone(&real)
    };
    let (kind, dir, text) = failure(world_of(binaries, &sandbox).lightning(["alice"])).await;
    assert!(
        matches!(kind, WorldErrorKind::Start(StartError::Exited { .. })),
        "{text}"
    );
    assert_says(
        &text,
        &[
            "alice exited with status 3",
            "alice/ldk-server.toml",
            "Error: the disk is made of cheese",
            dir.join("alice.stdout.log").to_str().unwrap(),
            dir.join("alice.stderr.log").to_str().unwrap(),
            &format!("run directory: {}", dir.display()),
        ],
    );
    let said = std::fs::read_to_string(dir.join("bitcoind.stdout.log")).unwrap();
    assert_says(&said, &["Shutdown: done"]);
}

#[tokio::test]
async fn a_daemon_that_hangs_is_given_up_at_the_deadline_and_killed() {
    let sandbox = Sandbox::new();
    let started = Instant::now();
    let builder = world_of(only(Fake::bitcoind(HANGS)), &sandbox);
    let (kind, dir, text) = failure(builder.within(Duration::from_secs(1))).await;
    // Another deadline than the given one would be a minute.
    assert!(started.elapsed() < Duration::from_secs(30), "{text}");
    let WorldErrorKind::Start(StartError::TimedOut { timeout, .. }) = kind else {
        panic!("not a timeout: {text}");
    };
    assert!(timeout.attempts > 3, "{text}");
    assert_says(
        &text,
        &[
            "bitcoind is not ready: waited",
            "for bitcoind to answer getblockchaininfo",
            &format!("({} looks)", timeout.attempts),
            "last seen: ",
            "waiting for nothing",
            dir.join("bitcoind.stdout.log").to_str().unwrap(),
            dir.join("bitcoind.stderr.log").to_str().unwrap(),
            &format!("run directory: {}", dir.display()),
        ],
    );
    assert!(is_gone(pid_in(&dir.join("bitcoind/pid"))));
}

#[tokio::test]
async fn a_lightning_node_that_hangs_is_given_up_at_the_deadline_and_killed() {
    let sandbox = Sandbox::new();
    let deadline = Deadline::after(Duration::from_secs(1));
    let fake = Fake::ldk_server(HANGS);
    let error = LdkServer::start(&fake, "alice", sandbox.path(), "127.0.0.1:1", deadline).await;
    let text = error.map(drop).unwrap_err().to_string();
    let logs = sandbox.path().join("alice.stdout.log");
    assert_says(
        &text,
        &[
            "for alice to answer GetNodeInfo",
            "looks)",
            "last seen: ",
            logs.to_str().unwrap(),
        ],
    );
    assert!(is_gone(pid_in(&sandbox.path().join("alice/pid"))));
}

#[tokio::test]
async fn places_that_cannot_be_written_to_are_named() {
    let sandbox = Sandbox::new();
    let fake = || only(Fake::bitcoind(DIES));
    // A file where a directory should be stops root as well.
    let file = sandbox.file("file", "");
    let (kind, _, text) = failure(world_of(fake(), &sandbox).run_dir_in(&file)).await;
    assert!(matches!(kind, WorldErrorKind::RunDir(_)), "{text}");
    assert_says(
        &text,
        &[
            "could not make a run directory in",
            file.to_str().unwrap(),
            "--run-dir",
        ],
    );

    let run = || RunDir::numbered(&sandbox.path().join("taken"), Keep::OnFailure).unwrap();
    let dir = run();
    let home = dir.path().join("bitcoind");
    std::fs::write(&home, "").unwrap();
    let (_, _, text) = failure(world_of(fake(), &sandbox).run_dir(dir)).await;
    assert_says(
        &text,
        &["could not write", home.to_str().unwrap(), "run directory: "],
    );

    let dir = run();
    std::fs::create_dir_all(dir.path().join("bitcoind.stderr.log")).unwrap();
    let (_, _, text) = failure(world_of(fake(), &sandbox).run_dir(dir)).await;
    assert_says(
        &text,
        &[
            "could not open the error log for bitcoind",
            "command: sh",
            "run directory: ",
        ],
    );
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_named() {
    let sandbox = Sandbox::new();
    let mut fake = Fake::bitcoind(DIES);
    fake.program = sandbox.path().join("nowhere/bitcoind");
    let (_, _, text) = failure(world_of(only(fake.clone()), &sandbox)).await;
    assert_says(
        &text,
        &[
            "could not start the program for bitcoind",
            fake.program.to_str().unwrap(),
            "run directory: ",
        ],
    );
}

/// A way to spoil the cached blocks in a directory.
type Spoil = fn(&Path);

/// Several, by what is found afterwards.
const SPOILS: &[(&str, Spoil)] = &[
    ("an index of garbage", |entry| {
        for name in ["blocks/index/CURRENT", "chainstate/CURRENT"] {
            std::fs::write(entry.join(name), "garbage").unwrap();
        }
    }),
    ("a wallet of garbage", |entry| {
        let wallets = support::files_called("wallet.dat", entry);
        assert!(!wallets.is_empty());
        for wallet in wallets {
            std::fs::write(wallet, "garbage").unwrap();
        }
    }),
    ("an empty directory", |entry| {
        std::fs::remove_dir_all(entry).unwrap();
        std::fs::create_dir(entry).unwrap();
    }),
    ("a file", |entry| {
        std::fs::remove_dir_all(entry).unwrap();
        std::fs::write(entry, "garbage").unwrap();
    }),
];

#[tokio::test]
async fn spoilt_cached_blocks_are_mined_anew() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let cache = sandbox.path().join("cache");
    let start = || {
        let settings = Settings {
            cache_dir: Some(cache.clone()),
            ..Settings::default()
        };
        world_of(only(real.bitcoind.clone()), &sandbox)
            .settings(settings)
            .start()
    };
    let entries = || {
        let entries = std::fs::read_dir(cache.join("chains")).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    start().await.unwrap().finish().await.unwrap();
    assert_eq!(entries().len(), 1);
    for (how, spoil) in SPOILS {
        spoil(&entries()[0]);
        let world = start()
            .await
            .unwrap_or_else(|error| panic!("{how}: {error}"));
        assert_eq!(
            world.mine(BlockDelta(1)).await.unwrap(),
            Height(FIRST_BLOCKS.0 + 1),
            "{how}"
        );
        world.finish().await.unwrap();
        // The entry is whole again, and nothing else is left behind.
        assert_eq!(entries().len(), 1, "{how}: {:?}", entries());
        assert!(entries()[0].join("blocks/index").is_dir(), "{how}");
        assert!(
            !support::files_called("wallet.dat", &entries()[0]).is_empty(),
            "{how}"
        );
    }
    let world = start().await.unwrap();
    let said = std::fs::read_to_string(world.dir().join("bitcoind.stdout.log")).unwrap();
    // One start of the node, so the blocks came from the cache.
    assert_eq!(said.matches("Done loading").count(), 1, "{said}");
    world.finish().await.unwrap();
}

#[tokio::test]
async fn skipping_is_said_aloud() {
    let sandbox = Sandbox::new();
    let own = std::env::current_exe().unwrap();
    let test = "ends::four_worlds_at_once_do_not_collide";
    // As `cargo test` runs it: without `--nocapture`.
    let started = sandbox.start(own, &["--exact", test], &[("RUN_LDK_E2E", Some("0"))]);
    file_says(started.stderr(), "SKIPPED").await;
    let done = started.done().await.code(0);
    assert_says(&done.stderr, &[test, "RUN_LDK_E2E=0"]);
}
