//! What is watched, over both sources: through the mempool, blocks, reorganisations and the death of the source.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Instant;

use bitcoin::{Address, Network, OutPoint};
use swaprig::chain::bitcoin::{BitcoinChain, BitcoinEvent, BitcoinSource, Standing};
use swaprig::chain::{BroadcastError, IndexError};
use swaprig::swap::Depth;
use swaprig_harness::bitcoind::{PASSWORD, USER};
use swaprig_harness::proxy::{Calls, Failure, Proxy, Upstream};
use swaprig_harness::time::{Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height, Sat};

use super::scene::{Kind, Scene, coins, funded, is_seen, lock, reorg, taken, told};
use crate::served::soon;

async fn the_watch_follows(kind: Kind) {
    let Some(scene) = Scene::new(kind).await else {
        return;
    };
    let (chain, mut events) = scene.open("wallet").await;
    let first = scene.world.bitcoind().height().await.unwrap();
    told(&mut events, BitcoinEvent::Tip(first)).await;
    assert_eq!(chain.tip().await.unwrap(), first);
    scene.stock(&chain, 2, 300_000).await;
    let script = lock(1, 0).script_pubkey;
    chain.watch([(script.clone(), first)]).await.unwrap();
    assert_eq!(chain.outputs(&script).await.unwrap(), []);
    let changed = || BitcoinEvent::Changed(script.clone());

    // In the mempool, then in a block.
    let funding = funded(&chain, 1, 100_000, &mut HashSet::new());
    chain.broadcast(&funding).await.unwrap();
    told(&mut events, changed()).await;
    is_seen(&chain, &script, Depth::Mempool, None).await;
    let height = scene.mine(1).await;
    told(&mut events, changed()).await;
    told(&mut events, BitcoinEvent::Tip(height)).await;
    is_seen(&chain, &script, Depth::Block(height), None).await;

    // Its block is replaced: back to the mempool, and into another one.
    let tip = reorg(&scene, 1, 2).await;
    told(&mut events, changed()).await;
    told(&mut events, BitcoinEvent::Tip(tip)).await;
    is_seen(&chain, &script, Depth::Mempool, None).await;
    let height = scene.mine(1).await;
    is_seen(&chain, &script, Depth::Block(height), None).await;

    // Spent in the mempool, in a block, and, after a reorganisation of that, in the mempool again.
    let to = chain.fresh_address().unwrap().script_pubkey();
    let outpoint = OutPoint::new(funding.compute_txid(), 0);
    let spend = taken(1, outpoint, 100_000, &to);
    chain.broadcast(&spend).await.unwrap();
    told(&mut events, changed()).await;
    is_seen(&chain, &script, Depth::Block(height), Some(Depth::Mempool)).await;
    let spent = scene.mine(1).await;
    is_seen(
        &chain,
        &script,
        Depth::Block(height),
        Some(Depth::Block(spent)),
    )
    .await;
    let found = chain.outputs(&script).await.unwrap();
    assert_eq!(
        (found[0].outpoint, found[0].value),
        (outpoint, Sat(100_000))
    );
    assert_eq!(*found[0].spent_by.clone().unwrap().0, spend);
    coins(&chain, "what was claimed", |coins| {
        coins
            .iter()
            .any(|coin| coin.value == Sat(99_000) && coin.height == Some(spent))
    })
    .await;
    reorg(&scene, 1, 2).await;
    is_seen(&chain, &script, Depth::Block(height), Some(Depth::Mempool)).await;
    coins(&chain, "the claim back in the mempool", |coins| {
        coins
            .iter()
            .any(|coin| coin.value == Sat(99_000) && coin.height.is_none())
    })
    .await;

    // A block is declared invalid and none comes in its place.
    if kind == Kind::Node {
        let height = scene.mine(1).await;
        told(&mut events, BitcoinEvent::Tip(height)).await;
        let tip = scene.world.bitcoind().tip().await.unwrap();
        scene.world.invalidate(tip.hash).await.unwrap();
        told(&mut events, BitcoinEvent::Tip(Height(height.0 - 1))).await;
    }

    // Begun anew, and watched as late as that, everything is seen as it is.
    let last = scene.mine(1).await;
    is_seen(
        &chain,
        &script,
        Depth::Block(height),
        Some(Depth::Block(last)),
    )
    .await;
    chain.unwatch(&script).await;
    drop((chain, events));
    let (chain, mut events) = scene.open("wallet").await;
    chain.watch([(script.clone(), first)]).await.ok();
    is_seen(
        &chain,
        &script,
        Depth::Block(height),
        Some(Depth::Block(last)),
    )
    .await;
    told(&mut events, BitcoinEvent::Tip(last)).await;
    scene.world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watch_follows_bitcoind_through_mempool_blocks_and_reorganisations() {
    the_watch_follows(Kind::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watch_follows_electrum_through_mempool_blocks_and_reorganisations() {
    the_watch_follows(Kind::Electrum).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_and_comes_back_is_followed_from_where_it_is() {
    let Some(scene) = Scene::new(Kind::Node).await else {
        return;
    };
    // It is not there at the start.
    let bitcoind = scene.world.bitcoind();
    let first = bitcoind.height().await.unwrap();
    bitcoind.kill().await;
    let (chain, mut events) = scene.open("wallet").await;
    told(&mut events, BitcoinEvent::Lost).await;
    let (early, late) = (lock(1, 0).script_pubkey, lock(2, 0).script_pubkey);
    assert!(matches!(chain.tip().await, Err(IndexError::Unreachable(_))));
    assert!(chain.watch([(early.clone(), first)]).await.is_err());
    assert!(chain.outputs(&early).await.is_err());
    bitcoind.restart(soon()).await.unwrap();
    told(&mut events, BitcoinEvent::Reconnected).await;
    assert_eq!(chain.outputs(&early).await.unwrap(), []);
    let refused = chain.outputs(&late).await.unwrap_err();
    assert!(matches!(refused, IndexError::Refused { .. }), "{refused}");

    // It forgets its mempool, and everybody with it.
    scene.stock(&chain, 2, 300_000).await;
    let funding = funded(&chain, 1, 100_000, &mut HashSet::new());
    chain.broadcast(&funding).await.unwrap();
    is_seen(&chain, &early, Depth::Mempool, None).await;
    bitcoind.kill().await;
    told(&mut events, BitcoinEvent::Lost).await;
    assert!(chain.outputs(&early).await.is_err(), "nobody knows now");
    assert!(matches!(
        chain.broadcast(&funding).await,
        Err(BroadcastError::Unreachable(_))
    ));
    bitcoind.restart(soon()).await.unwrap();
    told(&mut events, BitcoinEvent::Reconnected).await;
    chain.sync().await.unwrap();
    let is_kept = bitcoind
        .rpc()
        .mempool(soon())
        .await
        .unwrap()
        .contains(&funding.compute_txid());
    let standing = chain.standing(&funding).await.unwrap();
    let wanted = if is_kept {
        Depth::Mempool
    } else {
        Depth::Unseen
    };
    assert_eq!(
        standing,
        Standing {
            depth: wanted,
            conflicted: false
        }
    );
    assert_eq!(
        chain.outputs(&early).await.unwrap().len(),
        usize::from(is_kept)
    );

    // Sent again it is there, for one who watches only now, too.
    chain.broadcast(&funding).await.unwrap();
    let script = lock(1, 0).script_pubkey;
    chain.unwatch(&script).await;
    chain.watch([(script.clone(), first)]).await.unwrap();
    assert_eq!(
        chain.outputs(&script).await.unwrap()[0].depth,
        Depth::Mempool
    );
    let height = scene.mine(1).await;
    is_seen(&chain, &early, Depth::Block(height), None).await;
    scene.world.finish().await.unwrap();
}

/// While the node is away a payment that was in the mempool, and interested nobody, comes into a block and becomes of interest. The node
/// has an index of all transactions: asked for one that is in no mempool it tells it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_block_took_from_the_mempool_is_in_the_block_for_one_who_watches_late() {
    let Some(scene) = Scene::new(Kind::Node).await else {
        return;
    };
    let bitcoind = scene.world.bitcoind();
    let upstream = Upstream::JsonRpc(bitcoind.rpc_address());
    let proxy = Proxy::start("harness->bitcoind", upstream).await.unwrap();
    let mut settings = scene.settings("wallet");
    let source = format!("http://{USER}:{PASSWORD}@{}", proxy.address());
    settings.source = BitcoinSource::parse(&source, None).unwrap();
    let (chain, mut events) = BitcoinChain::open(settings, &scene.seed).await.unwrap();
    let first = chain.sync().await.unwrap();
    scene.stock(&chain, 1, 300_000).await;
    let script = lock(1, 0).script_pubkey;
    let funding = funded(&chain, 1, 100_000, &mut HashSet::new());
    chain.broadcast(&funding).await.unwrap();
    chain.sync().await.unwrap();

    proxy.fail(Calls::all(), Failure::Closed, false).unwrap();
    told(&mut events, BitcoinEvent::Lost).await;
    assert!(chain.watch([(script.clone(), first)]).await.is_err());
    let height = scene.mine(1).await;
    proxy.heal();
    told(&mut events, BitcoinEvent::Reconnected).await;
    chain.sync().await.unwrap();
    let found = chain.outputs(&script).await.unwrap();
    let depths: Vec<Depth> = found.iter().map(|one| one.depth).collect();
    assert_eq!(depths, [Depth::Block(height)]);
    scene.world.finish().await.unwrap();
}

/// Prints how long it takes from a broadcast, and from a block, to the event and to the state that it tells of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_at_once() {
    for kind in [Kind::Node, Kind::Electrum] {
        let Some(scene) = Scene::new(kind).await else {
            return;
        };
        let (chain, mut events) = scene.open("wallet").await;
        let script = chain.fresh_address().unwrap().script_pubkey();
        let address = Address::from_script(&script, Network::Regtest).unwrap();
        let first = scene.world.bitcoind().height().await.unwrap();
        told(&mut events, BitcoinEvent::Tip(first)).await;
        chain.watch([(script.clone(), first)]).await.unwrap();
        let (mut sent, mut mined) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            scene.pay(&address, 10_000).await;
            let began = Instant::now();
            told(&mut events, BitcoinEvent::Changed(script.clone())).await;
            sent.push(began.elapsed());
            let rpc = scene.world.bitcoind();
            rpc.generate(BlockDelta(1), soon()).await.unwrap();
            let began = Instant::now();
            let height = rpc.height().await.unwrap();
            told(&mut events, BitcoinEvent::Tip(height)).await;
            mined.push(began.elapsed());
        }
        for (what, times) in [("a payment", &mut sent), ("a block", &mut mined)] {
            times.sort();
            println!(
                "{kind:?}: {what} is told after {:?} (median), {:?} (most)",
                times[5], times[9]
            );
            assert!(times[5] < std::time::Duration::from_secs(2), "{times:?}");
        }
        scene.world.finish().await.unwrap();
    }
}

async fn an_output_is_told_without_a_watch(kind: Kind) {
    let Some(scene) = Scene::new(kind).await else {
        return;
    };
    let (chain, _events) = scene.open("wallet").await;
    scene.stock(&chain, 2, 300_000).await;
    let script = lock(1, 0).script_pubkey;
    let funding = funded(&chain, 1, 100_000, &mut HashSet::new());
    let outpoint = OutPoint::new(funding.compute_txid(), 0);
    let holds = async |what: &str, wanted: Option<Sat>| {
        let seen = poll_until::<_, Infallible, _>(what, soon(), || async {
            match chain.output(outpoint, &script).await {
                Ok(found) if found == wanted => Probe::Ready(()),
                other => Probe::Pending(format!("{other:?}")),
            }
        });
        seen.await.unwrap_or_else(|error| panic!("{error}"));
    };
    let value = Some(Sat(100_000));
    assert_eq!(chain.output(outpoint, &script).await.unwrap(), None);
    chain.broadcast(&funding).await.unwrap();
    holds("it in the mempool", value).await;
    scene.mine(1).await;
    holds("it in a block", value).await;
    let other = lock(2, 0).script_pubkey;
    assert_eq!(chain.output(outpoint, &other).await.unwrap(), None);
    let beside = OutPoint::new(outpoint.txid, 7);
    assert_eq!(chain.output(beside, &script).await.unwrap(), None);
    // A spend that waits may be replaced; one in a block is the end.
    let to = chain.fresh_address().unwrap().script_pubkey();
    let spend = taken(1, outpoint, 100_000, &to);
    chain.broadcast(&spend).await.unwrap();
    holds("it while its spend waits", value).await;
    scene.mine(1).await;
    holds("its end", None).await;
    if kind == Kind::Node {
        let unwatched = chain.outputs(&script).await.unwrap_err().to_string();
        assert!(unwatched.contains("is not watched"), "{unwatched}");
    }
    scene.world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_is_told_by_bitcoind_without_a_watch() {
    an_output_is_told_without_a_watch(Kind::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_is_told_by_electrum_without_a_watch() {
    an_output_is_told_without_a_watch(Kind::Electrum).await;
}
