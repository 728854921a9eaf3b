//! How worlds end when nobody ends them in order, and that they keep out of each other's way while they live.

use swaprig_harness::World;
use swaprig_harness::binary::Binary;
use swaprig_harness::bitcoind::FIRST_BLOCKS;
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Height};
use swaprig_harness::world::Binaries;

use crate::support::processes::{is_gone, ports_below, ports_fall_silent};
use crate::support::sandbox::Sandbox;
use crate::support::{self, SOON, assert_says};
use crate::world_of;

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
        // The test runner may have left the line unfinished.
        println!("\npid {}", world.bitcoind().running().pid());
        println!("pid {}", world.nodes()[0].running().pid());
        panic!("the world is round");
    }
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("runs");
    let own = std::env::current_exe().unwrap();
    let test = "ends::a_test_that_panics_leaves_its_directory_and_no_process";
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
        ldk_server: Some(Binary {
            program: "sh".into(),
            args,
            ..node.clone()
        }),
        ..Binaries::clone(&real)
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
