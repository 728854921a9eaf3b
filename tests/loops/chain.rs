//! Bitcoin as the swap server and its client see it, over both sources: the wallet's coins and fundings here, and what is watched.

mod scene;
mod watch;

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Instant;

use bitcoin::{OutPoint, Transaction};
use swaprig::chain::BroadcastError;
use swaprig::chain::bitcoin::{BitcoinEvent, Standing};
use swaprig::swap::Depth;
use swaprig_harness::time::{Probe, poll_until};
use swaprig_harness::units::Sat;
use swaprig_harness::world::Chain;

use crate::served::soon;
use scene::{Kind, RATE, Scene, all_confirmed, coins, funded, lock, reorg, tag, told, worth};

async fn deposits_fund_and_the_seed_brings_them_back(kind: Kind) {
    let Some(scene) = Scene::new(kind).await else {
        return;
    };
    let (chain, _events) = scene.open("wallet").await;
    let deposit = chain.deposit_address().unwrap();
    assert_eq!(
        chain.deposit_address().unwrap(),
        deposit,
        "showing one costs none"
    );
    scene.pay(&deposit, 2_000_000).await;
    coins(&chain, "a deposit in the mempool", |coins| {
        worth(coins) == [(2_000_000, None)]
    })
    .await;
    let outputs = [lock(0, 100_000)];
    let short = chain.select(&outputs, RATE, &HashSet::new()).unwrap_err();
    assert_eq!(
        (short.available, short.elsewhere),
        (Sat(0), Sat(2_000_000)),
        "confirmed coins only"
    );
    let height = scene.mine(1).await;
    coins(&chain, "a deposit in a block", |coins| {
        worth(coins) == [(2_000_000, Some(height))]
    })
    .await;
    assert_ne!(chain.deposit_address().unwrap(), deposit);

    // Eight coins, so that fundings need not wait for each other's change.
    let all: Vec<OutPoint> = chain.coins().iter().map(|coin| coin.outpoint).collect();
    let made = chain.fan_out(&all, 8, Sat(200_000), RATE).unwrap();
    assert_eq!(
        (made.pieces, made.outpoints().collect::<Vec<_>>()),
        (8, all.clone())
    );
    chain.broadcast(&made.transaction).await.unwrap();
    let too_much = chain.fan_out(&all, 1, Sat(3_000_000), RATE);
    assert!(too_much.is_err(), "{too_much:?}");
    scene.mine(1).await;
    coins(&chain, "eight coins and a rest", |coins| {
        let pieces = coins.iter().filter(|coin| coin.value == Sat(200_000));
        all_confirmed(coins) && pieces.count() == 8 && coins.len() == 9
    })
    .await;

    // Five at once, of different coins; none of them uses another's change.
    let mut reserved = HashSet::new();
    let fundings: Vec<Transaction> = (1..=5)
        .map(|index| funded(&chain, index, 150_000, &mut reserved))
        .collect();
    assert_eq!(reserved.len(), 5);
    let sent = fundings.iter().map(|funding| chain.broadcast(funding));
    for sent in futures_util::future::join_all(sent).await {
        sent.unwrap();
    }
    // Sent twice is as good as sent once.
    chain.broadcast(&fundings[0]).await.unwrap();
    for funding in &fundings {
        let standing = chain.standing(funding).await.unwrap();
        let wanted = Standing {
            depth: Depth::Mempool,
            conflicted: false,
        };
        assert_eq!(standing, wanted);
    }
    // Rebuilt after it was sent, it is the same.
    let outpoints: Vec<OutPoint> = fundings[0]
        .input
        .iter()
        .map(|input| input.previous_output)
        .collect();
    let outputs = fundings[0].output[..2].to_vec();
    assert_eq!(
        chain.fund(&outpoints, outputs, 1, RATE).unwrap(),
        fundings[0]
    );
    let height = scene.mine(1).await;
    coins(&chain, "the change of all fundings", |coins| {
        all_confirmed(coins) && coins.len() == 9
    })
    .await;
    let found = chain.coins().to_vec();

    // A wallet that has only the seed finds every coin and every funding.
    let (again, _) = scene.open("restored").await;
    coins(&again, "the same coins", |coins| {
        coins
            .iter()
            .map(|coin| (coin.outpoint, coin.height))
            .eq(found.iter().map(|coin| (coin.outpoint, coin.height)))
    })
    .await;
    let recovered = again.recover();
    let indexes: Vec<u32> = recovered.iter().map(|one| one.tag.index).collect();
    assert_eq!(indexes, [1, 2, 3, 4, 5]);
    for (one, funding) in recovered.iter().zip(&fundings) {
        assert_eq!(
            (&*one.transaction, one.depth),
            (funding, Depth::Block(height))
        );
        assert_eq!(one.tag, tag(one.tag.index));
    }
    assert_eq!(chain.recover(), recovered);
    scene.world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_fund_htlcs_and_the_seed_brings_them_back_from_bitcoind() {
    deposits_fund_and_the_seed_brings_them_back(Kind::Node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_fund_htlcs_and_the_seed_brings_them_back_from_electrum() {
    deposits_fund_and_the_seed_brings_them_back(Kind::Electrum).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_funding_whose_coins_were_spent_by_another_is_known_as_such() {
    for kind in [Kind::Node, Kind::Electrum] {
        let Some(scene) = Scene::new(kind).await else {
            return;
        };
        let (chain, _events) = scene.open("wallet").await;
        scene.stock(&chain, 1, 300_000).await;
        let loser = funded(&chain, 1, 100_000, &mut HashSet::new());
        let winner = funded(&chain, 2, 120_000, &mut HashSet::new());
        let standing = async |depth, conflicted| {
            let wanted = Standing { depth, conflicted };
            let what = format!("a funding that is {wanted:?}");
            let seen = poll_until::<_, Infallible, _>(what, soon(), || async {
                match chain.standing(&loser).await {
                    Ok(seen) if seen == wanted => Probe::Ready(()),
                    other => Probe::Pending(format!("{other:?}")),
                }
            });
            seen.await.unwrap_or_else(|error| panic!("{error}"));
        };
        standing(Depth::Unseen, false).await;
        chain.broadcast(&winner).await.unwrap();
        // In the mempool it may still be replaced.
        assert!(!chain.standing(&loser).await.unwrap().conflicted);
        scene.mine(1).await;
        standing(Depth::Unseen, true).await;
        let error = chain.broadcast(&loser).await.unwrap_err();
        assert!(
            matches!(error, BroadcastError::MissingInputs { .. }),
            "{error}"
        );
        // Its block is replaced: nothing is lost yet.
        reorg(&scene, 1, 2).await;
        standing(Depth::Unseen, false).await;
        scene.world.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_blocks_at_once_are_caught_up_with_and_an_address_is_given_out_once() {
    let Some(scene) = Scene::new(Kind::Node).await else {
        return;
    };
    let (chain, events) = scene.open("wallet").await;
    scene.stock(&chain, 1, 300_000).await;
    let (given, coins_before) = (chain.fresh_address().unwrap(), chain.coins());
    drop((chain, events));
    scene.mine(1_000).await;
    let began = Instant::now();
    let (chain, mut events) = scene.open("wallet").await;
    assert_eq!(chain.coins(), coins_before, "as it was left");
    let tip = scene.world.bitcoind().height().await.unwrap();
    told(&mut events, BitcoinEvent::Tip(tip)).await;
    println!("1000 blocks caught up with in {:?}", began.elapsed());
    assert_eq!(chain.tip().await.unwrap(), tip);
    assert_ne!(chain.fresh_address().unwrap(), given);
    // A database that cannot be read is begun anew.
    drop((chain, events));
    std::fs::write(
        scene.sandbox.path().join("wallet/bdk.sqlite"),
        "no database",
    )
    .unwrap();
    let (chain, _events) = scene.open("wallet").await;
    coins(&chain, "the coins again", |coins| coins == *coins_before).await;
    scene.world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fee_rate_is_always_had_and_never_beyond_the_bounds() {
    for kind in [Kind::Node, Kind::Electrum] {
        let Some(scene) = Scene::new(kind).await else {
            return;
        };
        let (chain, mut events) = scene.open("wallet").await;
        let first = scene.world.bitcoind().height().await.unwrap();
        told(&mut events, BitcoinEvent::Tip(first)).await;
        // A new regtest knows no rates, and neither does a source that is not there.
        assert_eq!(chain.fee_rate(2).await, chain.fees().fallback);
        let (node, index) = (scene.world.bitcoind(), scene.world.index(Chain::Bitcoin));
        match index {
            // An index may end by itself when its node does.
            Ok(index) => drop(index.kill().await),
            Err(_) => drop(node.kill().await),
        }
        assert_eq!(chain.fee_rate(2).await, chain.fees().fallback);
        match index {
            Ok(index) => index.restart(soon()).await.unwrap(),
            Err(_) => node.restart(soon()).await.unwrap(),
        }
        scene.world.finish().await.unwrap();
    }
}
