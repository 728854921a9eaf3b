//! Ports: taken between claim and bind, and shared by nobody.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use swaprig_harness::binary::Binary;
use swaprig_harness::bitcoind::FIRST_BLOCKS;
use swaprig_harness::ldk_server::LdkServer;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height};
use swaprig_harness::world::{Binaries, WorldErrorKind};
use swaprig_harness::{StartError, World};

use crate::support::processes::{Fake, ports_below};
use crate::support::sandbox::Sandbox;
use crate::support::{self, SOON, assert_says};
use crate::{failure, only, world_of};

/// Takes the ports of a [`Fake::waiting`] daemon that runs in `home`, `thefts` times, each between its claim and its
/// bind; lets it go unharmed after that. Never ends by itself.
async fn steal_ports(
    home: PathBuf,
    read: fn(&Path) -> u16,
    thefts: usize,
    stolen: &RefCell<Vec<TcpListener>>,
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

fn ports_of(stolen: &RefCell<Vec<TcpListener>>) -> Vec<u16> {
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

/// A world of a bitcoind alone, its RPC address, and a Lightning node for it that lets others look at its configuration
/// first.
async fn bitcoind_and_patience(real: &Binaries, sandbox: &Sandbox) -> (World, String, Binary) {
    let world = world_of(only(real.bitcoind.clone()), sandbox);
    let world = world.start().await.unwrap();
    let rpc = world.bitcoind().rpc_address();
    (world, rpc, Fake::waiting(support::ldk_server(real)))
}

#[tokio::test]
async fn a_lightning_node_that_loses_a_port_gets_others() {
    let Some(real) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let (world, rpc, patient) = bitcoind_and_patience(&real, &sandbox).await;
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
    let (world, rpc, patient) = bitcoind_and_patience(&real, &sandbox).await;
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
