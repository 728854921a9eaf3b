//! Proxies in a world of real daemons, from Rust: who goes through them, what is refused, and that they end with it.

mod support;

use std::convert::Infallible;
use std::net::TcpStream;
use std::time::Duration;

use swaprig_harness::bitcoind::Rpc;
use swaprig_harness::proxy::{Calls, Failure, FieldValue, Link};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Msat, Sat};
use swaprig_harness::world::WorldErrorKind;

fn link(from: &str, to: &str) -> Link {
    Link::new(from, to)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_goes_through_the_proxies_and_they_end_with_the_world() {
    let Some(builder) = support::world() else {
        return;
    };
    let links = [
        link("alice", "bob"),
        link("bob", "bitcoind"),
        link("harness", "bitcoind"),
        link("harness", "alice"),
    ];
    let world = builder
        .lightning(["alice", "bob"])
        .proxies(links.clone())
        .start()
        .await
        .unwrap();
    assert_eq!(world.proxies().count(), links.len());
    world
        .open_usable_channel("alice", "bob", Sat(1_000_000))
        .await
        .unwrap();
    world
        .pay_and_settle("alice", "bob", Msat(10_000_000))
        .await
        .unwrap();

    // Each of them is what its caller speaks through, and nobody else.
    let rpc = world.proxy(&links[2]).unwrap();
    let fault = rpc.fail(
        Calls::all().next(1),
        Failure::Error("no luck".into()),
        false,
    );
    let refused = world.bitcoind().tip().await.unwrap_err();
    assert!(refused.to_string().contains("no luck"), "{refused}");
    let direct = Rpc::new("bitcoind", port(&world.bitcoind().rpc_address()));
    let soon = || Deadline::after(support::SOON);
    assert_eq!(
        direct.tip(soon()).await.unwrap(),
        world.bitcoind().tip().await.unwrap()
    );
    assert_eq!(fault.unwrap().hits(), 1);

    let api = world.proxy(&links[3]).unwrap();
    let lie = FieldValue::Integer(7);
    let field = Some("current_best_block.height");
    api.tamper(Calls::of("GetNodeInfo").next(1), field, lie)
        .unwrap();
    let alice = world.node("alice").unwrap();
    assert_eq!(alice.info().await.unwrap().height.0, 7);
    assert_ne!(alice.info().await.unwrap().height.0, 7);

    // A daemon that is started again goes through them as before, and a cut link is in nobody's way when it ends.
    world.node("alice").unwrap().restart(soon()).await.unwrap();
    api.tamper(
        Calls::of("GetNodeInfo").next(1),
        field,
        FieldValue::Integer(8),
    )
    .unwrap();
    assert_eq!(
        world.node("alice").unwrap().info().await.unwrap().height.0,
        8
    );
    let peers = world.proxy(&links[0]).unwrap();
    assert_eq!(world.peer_address("alice", "bob").unwrap(), peers.address());
    let bob = world.peer_address("bob", "alice").unwrap();
    assert_eq!(
        bob,
        alice.p2p_address(),
        "the other way round there is none"
    );
    let late = peers
        .delay(Calls::all(), Duration::from_millis(1), Duration::ZERO)
        .unwrap();
    // Alice may have come back by herself; what she is connected by from now on is late.
    peers.drop_connections();
    let bob = world.node("bob").unwrap();
    // As long as she has not noticed the cut, she takes herself for connected, and connects no more.
    let noticed = poll_until::<_, Infallible, _>("alice to notice the cut", soon(), || async {
        let connected = alice.connected_peers().await.unwrap();
        match connected.is_empty() || late.hits() > 0 {
            true => Probe::Ready(()),
            false => Probe::Pending("she is connected".to_owned()),
        }
    });
    noticed.await.unwrap();
    alice
        .connect(bob.node_id(), &peers.address(), true)
        .await
        .unwrap();
    let passed = poll_until::<_, Infallible, _>("something to be late", soon(), || async {
        match late.hits() {
            0 => Probe::Pending("nothing has passed".to_owned()),
            _ => Probe::Ready(()),
        }
    });
    passed.await.unwrap();

    let error = world.proxy(&link("bob", "alice")).unwrap_err();
    assert!(
        error.to_string().contains("proxies = [\"bob->alice\"]"),
        "{error}"
    );
    let addresses: Vec<String> = world.proxies().map(|(_, proxy)| proxy.address()).collect();
    for (_, proxy) in world.proxies() {
        proxy.partition();
    }
    world.finish().await.unwrap();
    for address in addresses {
        assert!(
            TcpStream::connect(&address).is_err(),
            "{address} still listens"
        );
    }
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_cut_proxy_falls_behind_and_catches_up() {
    let Some(builder) = support::world() else {
        return;
    };
    let links = [link("alice", "bitcoind")];
    let world = builder
        .lightning(["alice"])
        .proxies(links.clone())
        .start()
        .await
        .unwrap();
    let before = world.mine(BlockDelta(1)).await.unwrap();
    let proxy = world.proxy(&links[0]).unwrap();
    proxy.partition();
    let deadline = Deadline::after(Duration::from_secs(3));
    let error = world
        .mine_within(BlockDelta(1), deadline)
        .await
        .unwrap_err();
    let WorldErrorKind::TimedOut(timeout) = &error.kind else {
        panic!("{error}")
    };
    let seen = timeout.last_reason().unwrap_or_default();
    assert!(seen.contains(&before.0.to_string()), "{seen}");
    proxy.heal();
    world.barrier(Deadline::after(support::SOON)).await.unwrap();
    world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_cannot_be_is_refused_before_anything_starts() {
    let Some(builder) = support::world() else {
        return;
    };
    let error = builder
        .lightning(["alice"])
        .proxies([link("alice", "zoe")])
        .start()
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("has no `zoe`"), "{error}");
    assert!(error.logs.is_empty());
}
