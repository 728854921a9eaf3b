//! How the harness itself fails, over real processes: daemons that are missing, wrong, dead, deaf or robbed of their
//! ports; places that cannot be written to; tests that panic. What each message says is part of the product.

mod support;

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use swaprig_harness::binary::{Binary, Quiet, ResolveError, Role, Settings, resolve};
use swaprig_harness::bitcoind::FIRST_BLOCKS;
use swaprig_harness::ldk_server::LdkServer;
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height};
use swaprig_harness::world::{Binaries, Builder, WorldErrorKind};
use swaprig_harness::{StartError, World};

use support::processes::{Fake, is_gone, ports_below, ports_fall_silent};
use support::sandbox::Sandbox;
use support::{SOON, assert_says, file_says};

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
    Binaries {
        bitcoind,
        ldk_server: None,
    }
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
        bitcoind: real.bitcoind.clone(),
        ldk_server: Some(Fake::ldk_server(DIES)),
    };
    let (kind, dir, text) = failure(world_of(binaries, &sandbox).lightning(["alice", "bob"])).await;
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

/// Takes the ports of a [`Fake::waiting`] daemon that runs in `home`, `thefts` times, each between its claim and its
/// bind; lets it go unharmed after that. Never ends by itself.
async fn steal_ports(
    home: PathBuf,
    read: fn(&Path) -> u16,
    thefts: usize,
    stolen: &std::cell::RefCell<Vec<TcpListener>>,
) -> Infallible {
    loop {
        let started = home.join("started");
        let seen = poll_until::<_, Infallible, _>("a start", Deadline::after(SOON), || async {
            match started.exists() {
                true => Probe::Ready(()),
                false => Probe::Pending("not started".to_owned()),
            }
        });
        seen.await.unwrap();
        std::fs::remove_file(started).unwrap();
        if stolen.borrow().len() < thefts {
            let thief = TcpListener::bind((Ipv4Addr::LOCALHOST, read(&home))).unwrap();
            stolen.borrow_mut().push(thief);
        }
        std::fs::write(home.join("go"), "").unwrap();
    }
}

fn ports_of(stolen: &std::cell::RefCell<Vec<TcpListener>>) -> Vec<u16> {
    stolen
        .borrow()
        .iter()
        .map(|thief| thief.local_addr().unwrap().port())
        .collect()
}

/// The ports of `bitcoin.conf` are in the order in which it has them: RPC, then peer-to-peer.
fn rpc_port(home: &Path) -> u16 {
    ports_below(home)[0]
}

fn bitcoin_p2p_port(home: &Path) -> u16 {
    ports_below(home)[1]
}

/// Those of `ldk-server.toml`: peer-to-peer, then its API.
fn lightning_p2p_port(home: &Path) -> u16 {
    ports_below(home)[0]
}

fn grpc_port(home: &Path) -> u16 {
    ports_below(home)[1]
}

#[tokio::test]
async fn a_bitcoind_that_loses_a_port_gets_others() {
    let Some(real) = support::binaries().await else {
        return;
    };
    for read in [rpc_port, bitcoin_p2p_port] {
        let sandbox = Sandbox::new();
        let stolen = Default::default();
        let world = world_of(only(Fake::waiting(&real.bitcoind)), &sandbox).start();
        let home = sandbox.path().join("runs/1/bitcoind");
        let world = tokio::select! {
            world = world => world.unwrap(),
            never = steal_ports(home, read, 1, &stolen) => match never {},
        };
        let stolen = ports_of(&stolen);
        assert_eq!(stolen.len(), 1);
        assert!(!ports_below(world.dir()).contains(&stolen[0]));
        assert_eq!(
            world.mine(BlockDelta(1)).await.unwrap(),
            Height(FIRST_BLOCKS.0 + 1)
        );
        world.finish().await.unwrap();
    }
}

#[tokio::test]
async fn a_bitcoind_that_loses_its_port_every_time_is_given_up() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let stolen = Default::default();
    let failed = failure(world_of(only(Fake::waiting(&real.bitcoind)), &sandbox));
    let home = sandbox.path().join("runs/1/bitcoind");
    let (kind, dir, text) = tokio::select! {
        failed = failed => failed,
        never = steal_ports(home, rpc_port, usize::MAX, &stolen) => match never {},
    };
    assert!(
        matches!(
            kind,
            WorldErrorKind::Start(StartError::PortsLost { attempts: 3, .. })
        ),
        "{text}"
    );
    let stolen = ports_of(&stolen);
    assert_eq!(stolen.len(), 3);
    assert_says(
        &text,
        &[
            "bitcoind lost its port to another program 3 times",
            &stolen[2].to_string(),
            dir.join("bitcoind.stdout.log").to_str().unwrap(),
            "exited with status 1",
            "Unable to bind",
            &format!("run directory: {}", dir.display()),
        ],
    );
}

#[tokio::test]
async fn a_lightning_node_that_loses_a_port_gets_others() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let world = world_of(only(real.bitcoind.clone()), &sandbox)
        .start()
        .await
        .unwrap();
    let rpc = world.bitcoind().rpc_address();
    let patient = Fake::waiting(support::ldk_server(&real));
    for (name, read) in [
        ("alice", grpc_port as fn(&Path) -> u16),
        ("bob", lightning_p2p_port),
    ] {
        let stolen = Default::default();
        let start = LdkServer::start(&patient, name, sandbox.path(), &rpc, Deadline::after(SOON));
        let node = tokio::select! {
            node = start => node.unwrap(),
            never = steal_ports(sandbox.path().join(name), read, 1, &stolen) => match never {},
        };
        let stolen = ports_of(&stolen);
        assert_eq!(stolen.len(), 1);
        assert!(!ports_below(node.dir()).contains(&stolen[0]));
        assert_eq!(node.info().await.unwrap().height, Height(FIRST_BLOCKS.0));
        node.stop(Deadline::after(SOON)).await;
    }
    world.finish().await.unwrap();
}

#[tokio::test]
async fn a_lightning_node_that_loses_its_port_every_time_is_given_up() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let world = world_of(only(real.bitcoind.clone()), &sandbox)
        .start()
        .await
        .unwrap();
    let rpc = world.bitcoind().rpc_address();
    let patient = Fake::waiting(support::ldk_server(&real));
    let stolen = Default::default();
    let start = LdkServer::start(
        &patient,
        "alice",
        sandbox.path(),
        &rpc,
        Deadline::after(SOON),
    );
    let error = tokio::select! {
        node = start => node.map(drop).unwrap_err(),
        never = steal_ports(sandbox.path().join("alice"), grpc_port, usize::MAX, &stolen) => match never {},
    };
    let text = error.to_string();
    assert!(
        matches!(error, StartError::PortsLost { attempts: 3, .. }),
        "{text}"
    );
    let last = ports_of(&stolen)[2].to_string();
    let log = sandbox.path().join("alice.stderr.log");
    assert_says(
        &text,
        &["alice lost its port", &last, log.to_str().unwrap()],
    );
    world.finish().await.unwrap();
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

/// Ways to spoil cached blocks.
const SPOILS: &[(&str, fn(&Path))] = &[
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_world_that_is_dropped_leaves_its_directory_and_no_process() {
    let Some(builder) = support::world() else {
        return;
    };
    let sandbox = Sandbox::new();
    let builder = builder.run_dir_in(sandbox.path());
    let world = builder.lightning(["alice", "bob"]).start().await.unwrap();
    let nodes = world.nodes().iter().map(|node| node.running().pid());
    let pids: Vec<_> = nodes.chain([world.bitcoind().running().pid()]).collect();
    let (dir, ports) = (world.dir().to_owned(), ports_below(world.dir()));
    assert!(pids.iter().all(|pid| !is_gone(*pid)));
    assert_eq!((pids.len(), ports.len()), (3, 6));
    drop(world);
    // Killed and reaped before `drop` returns, so there is nothing to wait for.
    let left: Vec<_> = pids.into_iter().filter(|pid| !is_gone(*pid)).collect();
    assert_eq!(left, Vec::<u32>::new());
    ports_fall_silent(&ports).await;
    assert!(dir.join("alice.stdout.log").exists() && dir.join("bitcoind.stdout.log").exists());
}

/// Names the directory that the panicking half of the next test runs its world in.
const PANICS_IN: &str = "SWAPRIG_TEST_PANICS_IN";

/// Plays both parts: as a test it runs itself again, and is then told where to start a world and panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "the variable by which a test calls itself"
)]
async fn a_test_that_panics_leaves_its_directory_and_no_process() {
    let Some(builder) = support::world() else {
        return;
    };
    if let Some(dir) = std::env::var_os(PANICS_IN) {
        let world = builder
            .run_dir_in(dir)
            .lightning(["alice"])
            .start()
            .await
            .unwrap();
        println!("pid {}", world.bitcoind().running().pid());
        println!("pid {}", world.nodes()[0].running().pid());
        panic!("the world is round");
    }
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("runs");
    let own = std::env::current_exe().unwrap();
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    let test = if test == "main" {
        "a_test_that_panics_leaves_its_directory_and_no_process"
    } else {
        &test
    };
    let args = ["--exact", test, "--nocapture"];
    let done = sandbox
        .start(own, &args, &[(PANICS_IN, dir.to_str())])
        .done()
        .await
        .code(101);
    assert_says(
        &done.stderr,
        &["the world is round", "was killed without a stop; its log: "],
    );
    assert_says(
        &done.stderr,
        &[dir.join("1/bitcoind.stdout.log").to_str().unwrap()],
    );
    let pids = done
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("pid "));
    let pids: Vec<u32> = pids.map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2, "{}", done.stdout);
    assert!(pids.iter().all(|pid| is_gone(*pid)));
    assert!(dir.join("1/alice.stdout.log").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_worlds_at_once_do_not_collide() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let start = || {
        let builder = World::builder()
            .binaries(real.clone())
            .settings(support::settings());
        let dir = RunDir::numbered(&sandbox.path().join("runs"), Keep::OnFailure).unwrap();
        builder.lightning(["alice"]).run_dir(dir).start()
    };
    let (a, b, c, d) = tokio::try_join!(start(), start(), start(), start()).unwrap();
    let worlds = [a, b, c, d];
    let mut ports: Vec<u16> = worlds
        .iter()
        .flat_map(|world| ports_below(world.dir()))
        .collect();
    assert_eq!(ports.len(), 16);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 16);
    // Each has a chain of its own.
    for (blocks, world) in (1..).zip(&worlds) {
        let reached = world.mine(BlockDelta(blocks)).await.unwrap();
        assert_eq!(reached, Height(FIRST_BLOCKS.0 + blocks));
    }
    for world in worlds {
        assert_eq!(world.finish().await.unwrap(), None);
    }
    assert_eq!(
        std::fs::read_dir(sandbox.path().join("runs"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_by_itself_fails_the_end_of_its_world() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let node = support::ldk_server(&real);
    // The real node, and the end of it when a file appears.
    let script =
        r#""$@" & while [ ! -e die ]; do sleep 0.01; done; echo 'out of luck' >&2; exit 9"#;
    let mut args = vec![
        "-c".into(),
        script.into(),
        "sh".into(),
        node.program.clone().into(),
    ];
    args.extend(node.args.iter().cloned());
    // A process in the background has no standard input, and the bundled node ends when that ends.
    let detached = node.kind == swaprig_harness::binary::Kind::Bundled;
    args.extend(detached.then(|| "--detached".into()));
    let binaries = Binaries {
        bitcoind: real.bitcoind.clone(),
        ldk_server: Some(Binary {
            program: "sh".into(),
            args,
            ..node.clone()
        }),
    };
    let world = world_of(binaries, &sandbox)
        .lightning(["alice"])
        .start()
        .await
        .unwrap();
    let (dir, alice) = (
        world.dir().to_owned(),
        world.node("alice").unwrap().running(),
    );
    std::fs::write(dir.join("alice/die"), "").unwrap();
    let exit = Deadline::after(SOON).bound(alice.exited()).await.unwrap();
    assert_eq!(exit.status.code(), Some(9));
    let text = world.finish().await.unwrap_err().to_string();
    assert_says(
        &text,
        &[
            "alice exited with status 9",
            "out of luck",
            "run directory: ",
        ],
    );
    assert!(dir.join("alice.stderr.log").exists());
}

#[tokio::test]
async fn skipping_is_said_aloud() {
    let sandbox = Sandbox::new();
    let own = std::env::current_exe().unwrap();
    let test = "four_worlds_at_once_do_not_collide";
    // As `cargo test` runs it: without `--nocapture`.
    let started = sandbox.start(own, &["--exact", test], &[("RUN_LDK_E2E", Some("0"))]);
    file_says(started.stderr(), "SKIPPED").await;
    let done = started.done().await.code(0);
    assert_says(&done.stderr, &[test, "RUN_LDK_E2E=0"]);
}
