//! Bitcoin as the swap server and its client see it: the wallet's coins, fundings, and what is watched, over both sources.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Instant;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use bitcoin::transaction::Version;
use bitcoin::{
    Address, Amount, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, WScriptHash,
    Witness,
};
use swaprig::chain::bitcoin::{
    BitcoinChain, BitcoinEvent, BitcoinFees, BitcoinSettings, BitcoinSource, BtcCoin, Standing,
};
use swaprig::chain::{BroadcastError, IndexError, Seed};
use swaprig::swap::{Depth, FeeRate, Tag};
use swaprig_harness::World;
use swaprig_harness::bitcoind::{PASSWORD, USER};
use swaprig_harness::proxy::{Calls, Failure, Proxy, Upstream};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height, PaymentHash, Sat};
use swaprig_harness::world::Chain;
use tokio::sync::mpsc;

use crate::support;
use crate::support::sandbox::Sandbox;

/// Two satoshi per virtual byte.
const RATE: FeeRate = FeeRate(2_000);

type Events = mpsc::Receiver<BitcoinEvent>;

fn soon() -> Deadline {
    Deadline::after(support::SOON)
}

/// What the chain is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Electrum,
}

/// A world, and a seed whose wallets lie in the sandbox.
struct Scene {
    world: World,
    sandbox: Sandbox,
    seed: Seed,
    kind: Kind,
}

impl Scene {
    async fn new(kind: Kind) -> Option<Scene> {
        let builder = support::world()?;
        let builder = match kind {
            Kind::Node => builder,
            Kind::Electrum => builder.indexes([Chain::Bitcoin]),
        };
        let world = builder.start().await.unwrap();
        let sandbox = Sandbox::new();
        let seed = Seed::generate(&sandbox.path().join("seed")).unwrap();
        Some(Scene {
            world,
            sandbox,
            seed,
            kind,
        })
    }

    fn settings(&self, dir: &str) -> BitcoinSettings {
        let source = match self.kind {
            Kind::Node => {
                let address = self.world.bitcoind().rpc_address();
                format!("http://{USER}:{PASSWORD}@{address}")
            }
            Kind::Electrum => {
                let address = self.world.index(Chain::Bitcoin).unwrap().electrum_address();
                format!("tcp://{address}")
            }
        };
        BitcoinSettings {
            network: Network::Regtest,
            source: BitcoinSource::parse(&source, None).unwrap(),
            dir: self.sandbox.path().join(dir),
            birthday: Height(0),
            fees: BitcoinFees::default(),
        }
    }

    async fn open(&self, dir: &str) -> (BitcoinChain, Events) {
        BitcoinChain::open(self.settings(dir), &self.seed)
            .await
            .unwrap()
    }

    async fn mine(&self, blocks: u32) -> Height {
        self.world.mine(BlockDelta(blocks)).await.unwrap()
    }

    async fn pay(&self, address: &Address, amount: u64) {
        self.world
            .bitcoind()
            .send(address, Sat(amount))
            .await
            .unwrap();
    }

    /// The wallet gets so many confirmed coins of this size.
    async fn stock(&self, chain: &BitcoinChain, count: usize, size: u64) {
        for _ in 0..count {
            self.pay(&chain.fresh_address().unwrap(), size).await;
        }
        let height = self.mine(1).await;
        coins(chain, "confirmed deposits", |coins| {
            let is_one = |coin: &&BtcCoin| coin.height == Some(height) && coin.value == Sat(size);
            coins.iter().filter(is_one).count() == count
        })
        .await;
    }
}

/// Waits until the coins are as `wanted`.
async fn coins(chain: &BitcoinChain, what: &str, wanted: impl Fn(&[BtcCoin]) -> bool) {
    let seen = poll_until::<_, Infallible, _>(what, soon(), || async {
        let coins = chain.coins();
        match wanted(&coins) {
            true => Probe::Ready(()),
            false => Probe::Pending(format!("{:?}", worth(&coins))),
        }
    });
    seen.await.unwrap_or_else(|error| panic!("{error}"));
}

fn worth(coins: &[BtcCoin]) -> Vec<(u64, Option<Height>)> {
    coins
        .iter()
        .map(|coin| (coin.value.0, coin.height))
        .collect()
}

fn all_confirmed(coins: &[BtcCoin]) -> bool {
    coins.iter().all(|coin| coin.height.is_some())
}

/// Waits for an event; others are passed over.
async fn told(events: &mut Events, wanted: BitcoinEvent) {
    let mut passed = Vec::new();
    let heard = soon().bound(async {
        loop {
            match events.recv().await {
                Some(event) if event == wanted => return true,
                Some(event) => passed.push(event),
                None => return false,
            }
        }
    });
    let heard = heard.await;
    assert_eq!(heard, Some(true), "{wanted:?} was not told, but {passed:?}");
}

/// Waits until `script` has one output that is `depth` deep, and is spent as `spent` says.
async fn is_seen(chain: &BitcoinChain, script: &ScriptBuf, depth: Depth, spent: Option<Depth>) {
    let what = format!("an output at {depth:?}, spent {spent:?}");
    let seen = poll_until::<_, Infallible, _>(what, soon(), || async {
        let found = chain.outputs(script).await;
        match found.as_deref() {
            Ok([one])
                if one.depth == depth && one.spent_by.as_ref().map(|spend| spend.1) == spent =>
            {
                Probe::Ready(())
            }
            other => Probe::Pending(format!("{other:?}")),
        }
    });
    seen.await.unwrap_or_else(|error| panic!("{error}"));
}

/// What everybody can spend who shows `secret`.
fn open_script(secret: u8) -> ScriptBuf {
    bitcoin::script::Builder::new()
        .push_opcode(bitcoin::opcodes::all::OP_DROP)
        .push_int(i64::from(secret % 16) + 1)
        .into_script()
}

/// An output that [`taken`] can spend: it stands for an HTLC here, whose spends the tests of taproot make.
fn lock(secret: u8, value: u64) -> TxOut {
    let hash = WScriptHash::hash(open_script(secret).as_bytes());
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey: ScriptBuf::new_p2wsh(&hash),
    }
}

/// Spends a [`lock`].
fn taken(secret: u8, outpoint: OutPoint, value: u64, to: &ScriptBuf) -> Transaction {
    let mut witness = Witness::new();
    witness.push([1; 32]);
    witness.push(open_script(secret));
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: outpoint,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness,
        }],
        output: vec![TxOut {
            value: Amount::from_sat(value - 1_000),
            script_pubkey: to.clone(),
        }],
    }
}

fn tag(index: u32) -> Tag {
    let key = SecretKey::from_slice(&[7; 32]).unwrap();
    Tag {
        index,
        timeout: Height(500),
        claimer: PublicKey::from_secret_key(&Secp256k1::new(), &key),
        payment_hash: Some(PaymentHash([9; 32])),
    }
}

/// A funding of `value`, built twice.
fn funded(
    chain: &BitcoinChain,
    index: u32,
    value: u64,
    reserved: &mut HashSet<OutPoint>,
) -> Transaction {
    let secret = u8::try_from(index).unwrap();
    let outputs = vec![lock(secret, value), tag(index).bitcoin_output()];
    let chosen = chain.select(&outputs, RATE, reserved).unwrap();
    let mut outpoints: Vec<OutPoint> = chosen.outpoints().collect();
    let transaction = chain
        .fund(&outpoints, outputs.clone(), index, RATE)
        .unwrap();
    outpoints.reverse();
    let again = chain
        .fund(&outpoints, outputs.clone(), index, RATE)
        .unwrap();
    assert_eq!(transaction, again, "it is the same each time");
    let paid: u64 = chosen.coins.iter().map(|coin| coin.value.0).sum::<u64>()
        - transaction
            .output
            .iter()
            .map(|output| output.value.to_sat())
            .sum::<u64>();
    assert_eq!(Sat(paid), chosen.fee);
    let least = RATE.fee(transaction.vsize());
    assert!(
        chosen.fee >= least,
        "{paid} sat for {} vB",
        transaction.vsize()
    );
    let has_change = transaction.output.len() > outputs.len();
    assert_eq!(has_change, chosen.change > Sat(0));
    assert!(!has_change || chosen.fee == least, "no satoshi too many");
    reserved.extend(outpoints);
    transaction
}

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

/// Replaces the last `depth` blocks by `blocks` empty ones; gives the new height.
async fn reorg(scene: &Scene, depth: u32, blocks: u32) -> Height {
    let (depth, blocks) = (BlockDelta(depth), BlockDelta(blocks));
    scene
        .world
        .reorg(depth, blocks, true, soon())
        .await
        .unwrap()
        .height
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
        // A new regtest knows no rates, and neither does a node that is not there.
        assert_eq!(chain.fee_rate(2).await, chain.fees().fallback);
        scene.world.bitcoind().kill().await;
        assert_eq!(chain.fee_rate(2).await, chain.fees().fallback);
        scene.world.bitcoind().restart(soon()).await.unwrap();
        scene.world.finish().await.unwrap();
    }
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
