//! The swap server's side of Liquid over real daemons: deposits, explicit coins, fundings, what is seen of them, and what the
//! seed alone brings back.

mod support;

use std::collections::HashSet;
use std::path::Path;

use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use elements::{Address, AssetId, OutPoint, Script, Transaction};
use lwk_common::{DescriptorBlindingKey, Singlesig, singlesig_desc};
use lwk_wollet::WolletDescriptor;
use swaprig::chain::{
    BroadcastError, Coin, FanOut, FanOutError, FeePolicy, Index, IndexSettings, Needs, Network,
    Seed, Selection, Split, Wallet, WalletSettings, WatchEvent, Watcher, observe, select,
};
use swaprig::swap::{
    ChainName, ChainSpend, Depth, Direction, FeeRate, FundingTx, Htlc, Locked, Phase, Spend, Swap,
    Terms, claim, liquid_outpoint, liquid_txid, neutral_txid,
};
use swaprig_harness::World;
use swaprig_harness::elementsd::{AssetAmount, FAUCET, lbtc};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat, Units};
use swaprig_harness::world::{Chain, Recipient};
use tokio::sync::mpsc;

use support::sandbox::Sandbox;

fn soon() -> Deadline {
    Deadline::after(support::SOON)
}

async fn world() -> Option<World> {
    let builder = support::world()?.indexes([Chain::Liquid]);
    Some(builder.liquid().start().await.unwrap())
}

fn index_of(world: &World) -> Index {
    let address = world.index(Chain::Liquid).unwrap().electrum_address();
    Index::new(IndexSettings::new(format!("tcp://{address}"))).unwrap()
}

async fn wallet(seed: &Seed, dir: &Path, index: &Index) -> Wallet {
    let settings = WalletSettings {
        network: Network::default_regtest(),
        dir: dir.to_owned(),
        fees: FeePolicy::default(),
    };
    Wallet::open(seed, settings, index.clone()).await.unwrap()
}

/// Syncs until the coins are as `wanted`.
async fn synced(wallet: &Wallet, what: &str, wanted: impl Fn(&[Coin]) -> bool) {
    let seen = poll_until::<_, std::convert::Infallible, _>(what, soon(), || async {
        if let Err(error) = wallet.sync().await {
            return Probe::Pending(error.to_string());
        }
        let coins = wallet.coins();
        match wanted(&coins) {
            true => Probe::Ready(()),
            false => Probe::Pending(format!("{:?}", worth(&coins))),
        }
    });
    seen.await.unwrap_or_else(|error| panic!("{error}"));
}

fn worth(coins: &[Coin]) -> Vec<(u64, bool, Option<Height>)> {
    coins
        .iter()
        .map(|coin| (coin.value.0, coin.explicit, coin.height))
        .collect()
}

/// How many confirmed explicit coins there are of `asset`.
fn explicit(coins: &[Coin], asset: AssetId) -> usize {
    let is_it = |coin: &&Coin| coin.explicit && coin.height.is_some() && coin.asset == asset;
    coins.iter().filter(is_it).count()
}

fn total(coins: &[Coin], asset: AssetId) -> u64 {
    let own = coins.iter().filter(|coin| coin.asset == asset);
    own.map(|coin| coin.value.0).sum()
}

fn needs(asset: AssetId, amount: u64, fee_value: u64) -> Needs {
    Needs {
        asset,
        amount: Units(amount),
        fee_value: Sat(fee_value),
        policy_asset: lbtc(),
        fees: FeePolicy::default(),
    }
}

fn key(byte: u8) -> PublicKey {
    SecretKey::from_slice(&[byte; 32])
        .unwrap()
        .public_key(&Secp256k1::new())
}

fn terms(needs: &Needs, hash: u8) -> Terms {
    Terms {
        chain: ChainName::Liquid,
        direction: Direction::Out,
        asset: needs.asset.into(),
        amount: needs.amount,
        fee_value: needs.fee_value,
        price: Msat(1_000),
        prepay: Msat(0),
        payment_hash: PaymentHash([hash; 32]),
        claimer: key(7),
        refunder: key(8),
        timeout: Height(2_000),
        claim_window: BlockDelta(10),
        min_confirmations: 2,
        funding_window: BlockDelta(10),
        made_at: Height(1),
        refund_window: BlockDelta(0),
        finality: 0,
        internal: None,
        routing: None,
    }
}

fn swap(index: u32, terms: Terms, funding: FundingTx) -> Swap {
    Swap {
        phase: Phase::Funding,
        funding: Some(funding),
        ..Swap::new(index, terms)
    }
}

fn chosen(wallet: &Wallet, needs: &Needs) -> Selection {
    select(&wallet.coins(), needs, &HashSet::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn funded(wallet: &Wallet, needs: &Needs, index: u8) -> (Transaction, Swap) {
    let (terms, selection) = (terms(needs, index), chosen(wallet, needs));
    let (transaction, funding) = wallet.fund(&selection, &terms, u32::from(index));
    let again = wallet.fund(&selection, &terms, u32::from(index));
    assert_eq!(
        (&transaction, &funding),
        (&again.0, &again.1),
        "it is the same each time"
    );
    let size = u64::try_from(transaction.vsize()).unwrap();
    let paid = transaction.all_fees()[&lbtc()];
    assert!(paid >= size.div_ceil(10), "{paid} sat for {size} vB");
    (transaction, swap(u32::from(index), terms, funding))
}

async fn pay(world: &World, wallet: &Wallet, amount: AssetAmount) {
    pay_to(world, wallet.fresh_address().unwrap(), amount).await;
}

async fn pay_to(world: &World, address: Address, amount: AssetAmount) {
    let to = Recipient::Address(address);
    world.fund_liquid(&to, amount, soon()).await.unwrap();
}

async fn mine(world: &World) -> Height {
    world.mine_liquid(BlockDelta(1)).await.unwrap()
}

async fn send(index: &Index, fan_out: &FanOut) {
    index
        .broadcast(&fan_out.transaction)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deposits_fund_htlcs_to_the_last_satoshi_and_the_seed_brings_them_back() {
    let Some(world) = world().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let seed = Seed::generate(&sandbox.path().join("seed")).unwrap();
    let index = index_of(&world);
    let wallet = wallet(&seed, &sandbox.path().join("one"), &index).await;
    let gold = deposit(&world, &wallet).await;
    split(&world, &wallet, &index, gold).await;

    let mut swaps = Vec::new();
    for (number, needs) in [(1, needs(lbtc(), 150_000, 0)), (2, needs(gold, 25, 500))] {
        let (transaction, swap) = funded(&wallet, &needs, number);
        index.broadcast(&transaction).await.unwrap();
        // Sent twice is as good as sent once.
        index.broadcast(&transaction).await.unwrap();
        let seen = observe(&index, &swap).await.unwrap().unwrap();
        assert_eq!(
            (seen.funding, seen.conflicted, seen.spend),
            (Depth::Mempool, false, None)
        );
        let height = mine(&world).await;
        let seen = observe(&index, &swap).await.unwrap().unwrap();
        assert_eq!(seen.funding, Depth::Block(height));
        let gone: HashSet<_> = transaction
            .input
            .iter()
            .map(|input| input.previous_output)
            .collect();
        synced(&wallet, "the change of a funding", |coins| {
            coins
                .iter()
                .all(|coin| !gone.contains(&coin.outpoint) && coin.height.is_some())
        })
        .await;
        swaps.push(swap);
    }
    assert_eq!(total(&wallet.coins(), gold), 75);

    swaps.extend(drain(&world, &wallet, &index, gold).await);
    recovers(&seed, &sandbox.path().join("two"), &index, &swaps).await;
    world.finish().await.unwrap();
}

/// A million satoshi and a hundred of an issued asset arrive.
async fn deposit(world: &World, wallet: &Wallet) -> AssetId {
    pay(world, wallet, AssetAmount::sat(Sat(1_000_000))).await;
    let gold = world
        .issue_asset(FAUCET, 1_000, 1, true, soon())
        .await
        .unwrap()
        .asset;
    mine(world).await;
    let hundred = AssetAmount {
        asset: gold,
        parts: 100,
    };
    pay(world, wallet, hundred).await;
    mine(world).await;
    synced(wallet, "both deposits", |coins| {
        coins.len() == 2
            && coins
                .iter()
                .all(|coin| !coin.explicit && coin.height.is_some())
    })
    .await;
    gold
}

/// Explicit coins of both.
async fn split(world: &World, wallet: &Wallet, index: &Index, gold: AssetId) {
    let splits = [
        Split {
            asset: lbtc(),
            count: 4,
            size: Units(200_000),
        },
        Split {
            asset: gold,
            count: 20,
            size: Units(10),
        },
    ];
    let none = select(&wallet.coins(), &needs(gold, 1, 0), &HashSet::new()).unwrap_err();
    assert_eq!((none.available, none.elsewhere), (Units(0), Units(100)));
    let made = wallet.fan_out(wallet.coins().to_vec(), &splits).unwrap();
    assert_eq!(made.pieces, 14);
    send(index, &made).await;
    mine(world).await;
    synced(wallet, "the explicit coins", |coins| {
        explicit(coins, lbtc()) == 4 && explicit(coins, gold) == 10 && coins.len() == 15
    })
    .await;
}

/// All that is left is made explicit and locked, and then nothing is left.
async fn drain(world: &World, wallet: &Wallet, index: &Index, gold: AssetId) -> Vec<Swap> {
    // Everything that is confidential becomes explicit: nothing comes back to balance it.
    let splits = [Split {
        asset: lbtc(),
        count: 99,
        size: Units(60_000),
    }];
    let hidden: Vec<Coin> = wallet
        .coins()
        .iter()
        .filter(|coin| !coin.explicit)
        .cloned()
        .collect();
    assert_eq!(hidden.len(), 1);
    let made = wallet.fan_out(hidden, &splits).unwrap();
    send(index, &made).await;
    mine(world).await;
    let is_explicit = |coins: &[Coin]| {
        coins
            .iter()
            .all(|coin| coin.explicit && coin.height.is_some())
    };
    synced(wallet, "nothing but explicit coins", is_explicit).await;

    let (rest_of_gold, mut swaps) = (needs(gold, 75, 500), Vec::new());
    let (transaction, swap) = funded(wallet, &rest_of_gold, 3);
    index.broadcast(&transaction).await.unwrap();
    swaps.push(swap);
    mine(world).await;
    synced(wallet, "no gold", |coins| {
        total(coins, gold) == 0 && is_explicit(coins)
    })
    .await;

    let left = total(&wallet.coins(), lbtc());
    let short = select(&wallet.coins(), &needs(lbtc(), left, 0), &HashSet::new()).unwrap_err();
    let fee = short.wanted.0 - left;
    let (transaction, swap) = funded(wallet, &needs(lbtc(), left - fee, 0), 4);
    assert_eq!(transaction.output.len(), 3, "no change");
    index.broadcast(&transaction).await.unwrap();
    swaps.push(swap);
    mine(world).await;
    synced(wallet, "no coins at all", <[Coin]>::is_empty).await;
    swaps
}

/// A wallet that has only the seed finds every funding.
async fn recovers(seed: &Seed, dir: &Path, index: &Index, swaps: &[Swap]) {
    let again = wallet(seed, dir, index).await;
    again.sync().await.unwrap();
    let found = again.recover();
    assert_eq!(found.len(), swaps.len(), "{found:?}");
    for (found, swap) in found.iter().zip(swaps) {
        let terms = &swap.terms;
        assert_eq!(Some(&found.funding), swap.funding.as_ref());
        assert_eq!(
            (found.tag.index, found.tag.timeout, found.tag.claimer),
            (swap.index, terms.timeout, terms.claimer)
        );
        assert_eq!(
            (found.asset, found.amount, found.fee_value),
            (terms.asset, terms.amount, terms.fee_value)
        );
        assert_eq!(
            found.script.as_bytes(),
            Htlc::of(terms).script_pubkey().as_bytes()
        );
    }
    // What was scanned is there when it is opened again, and no address is given out twice.
    let given = again.fresh_address().unwrap();
    let (height, transactions) = (again.height(), again.transactions());
    drop(again);
    let reopened = wallet(seed, dir, index).await;
    assert_eq!(
        (reopened.height(), reopened.transactions()),
        (height, transactions)
    );
    assert_eq!(reopened.recover(), found);
    assert_ne!(reopened.fresh_address().unwrap(), given);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_seen_with_its_preimage_also_when_it_takes_only_a_part() {
    let Some(world) = world().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let seed = Seed::generate(&sandbox.path().join("seed")).unwrap();
    let index = index_of(&world);
    let wallet = wallet(&seed, &sandbox.path().join("wallet"), &index).await;
    let gold = deposit(&world, &wallet).await;
    split(&world, &wallet, &index, gold).await;
    let preimage = Preimage([3; 32]);
    let secret = SecretKey::from_slice(&[7; 32]).unwrap();
    let mut reserved = HashSet::new();
    // Of the second one only the L-BTC is claimed; then the rest, too.
    for (number, is_partly) in [(1, false), (2, true)] {
        let selection = wallet.select(gold, Units(10), Sat(900), &reserved).unwrap();
        reserved.extend(selection.outpoints());
        let terms = Terms {
            payment_hash: preimage.payment_hash(),
            ..terms(&needs(gold, 10, 900), 0)
        };
        let (transaction, funding) = wallet.fund(&selection, &terms, number);
        index.broadcast(&transaction).await.unwrap();
        mine(&world).await;
        let locked = Locked::of(&terms, lbtc(), &funding);
        let fee_output = OutPoint::new(liquid_txid(funding.txid), funding.fee_vout.unwrap());
        let of_both = if is_partly {
            locked.clone().without(liquid_outpoint(funding.outpoint()))
        } else {
            locked
        };
        let to = wallet.fresh_address().unwrap();
        let rng = &mut elements::secp256k1_zkp::rand::thread_rng();
        let claim = claim(&of_both, &preimage, &secret, &to, FeeRate::MIN_RELAY, rng).unwrap();
        assert!(
            claim
                .input
                .iter()
                .any(|input| input.previous_output == fee_output)
        );
        index.broadcast(&claim).await.unwrap();
        let swap = swap(number, terms, funding);
        let seen = observe(&index, &swap)
            .await
            .unwrap()
            .unwrap()
            .spend
            .unwrap();
        let wanted = ChainSpend {
            txid: neutral_txid(claim.txid()),
            spend: Spend::Claim(preimage),
            depth: Depth::Mempool,
            whole: !is_partly,
        };
        assert_eq!(seen, wanted);
        let depth = Depth::Block(mine(&world).await);
        let seen = observe(&index, &swap).await.unwrap().unwrap();
        assert_eq!(seen.spend, Some(ChainSpend { depth, ..wanted }));
        assert!(matches!(seen.funding, Depth::Block(_)) && !seen.conflicted);
        synced(&wallet, "what was claimed", |coins| {
            coins.iter().any(|coin| {
                coin.outpoint.txid == claim.txid() && coin.height.is_some() && !coin.explicit
            })
        })
        .await;
    }
    world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_cache_is_scanned_anew_and_an_address_is_given_out_once() {
    let Some(world) = world().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let seed = Seed::generate(&sandbox.path().join("seed")).unwrap();
    let (index, dir) = (index_of(&world), sandbox.path().join("wallet"));
    let first = wallet(&seed, &dir, &index).await;
    pay(&world, &first, AssetAmount::sat(Sat(5_000))).await;
    mine(&world).await;
    synced(&first, "a deposit", |coins| {
        coins.len() == 1 && coins[0].height.is_some()
    })
    .await;
    let given = first.fresh_address().unwrap();
    // What comes to nothing takes no address.
    let too_large = [Split {
        asset: lbtc(),
        count: 1,
        size: Units(6_000_000),
    }];
    let nothing = first.fan_out(Vec::new(), &too_large).unwrap_err();
    assert!(matches!(nothing, FanOutError::TooLittle), "{nothing}");
    let (coins, next) = (first.coins(), first.fresh_address().unwrap());
    let at = |address: &Address| (0..9).position(|at| descriptor_address(&seed, at) == *address);
    assert_eq!((at(&given), at(&next)), (Some(1), Some(2)));
    drop(first);
    for entry in std::fs::read_dir(dir.join("lwk")).unwrap() {
        std::fs::write(entry.unwrap().path(), "half of it").unwrap();
    }
    let again = wallet(&seed, &dir, &index).await;
    assert!(again.coins().is_empty());
    again.sync().await.unwrap();
    assert_eq!(again.coins(), coins);
    assert_eq!(at(&again.fresh_address().unwrap()), Some(3));
    // Another seed finds nothing of it.
    drop(again);
    let other = Seed::generate(&sandbox.path().join("other")).unwrap();
    let stranger = wallet(&other, &dir, &index).await;
    stranger.sync().await.unwrap();
    assert!(stranger.coins().is_empty());
    world.finish().await.unwrap();
}

/// What LWK's own signer and descriptor say that address `at` of a seed is.
fn descriptor_address(seed: &Seed, at: u32) -> Address {
    let network = Network::default_regtest();
    let signer = seed.signer(network);
    let text = singlesig_desc(&signer, Singlesig::Tr, DescriptorBlindingKey::Slip77).unwrap();
    let descriptor: WolletDescriptor = text.parse().unwrap();
    descriptor.address(at, network.address_params()).unwrap()
}

/// The next event that is `wanted`; others are passed over.
async fn told(events: &mut mpsc::Receiver<WatchEvent>, wanted: WatchEvent) {
    let heard = soon().bound(async {
        let mut passed = Vec::new();
        loop {
            match events.recv().await {
                Some(event) if event == wanted => return Ok(()),
                Some(event) => passed.push(event),
                None => return Err(passed),
            }
        }
    });
    match heard.await {
        Some(Ok(())) => {}
        Some(Err(passed)) => panic!("the watcher ended; {wanted:?} was not among {passed:?}"),
        None => panic!("{wanted:?} was not told"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_tells_of_payments_blocks_reorganisations_and_of_an_index_that_comes_back() {
    let Some(world) = world().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let seed = Seed::generate(&sandbox.path().join("seed")).unwrap();
    let index = index_of(&world);
    let wallet = wallet(&seed, &sandbox.path().join("wallet"), &index).await;
    let (watcher, mut events) = Watcher::start(&index);
    told(&mut events, WatchEvent::Tip(Height(1))).await;
    let address = wallet.fresh_address().unwrap();
    let script = address.script_pubkey();
    watcher.watch(many(&script)).await.unwrap();
    pay_to(&world, address, AssetAmount::sat(Sat(9_000))).await;
    let changed = || WatchEvent::Changed(script.clone());
    told(&mut events, changed()).await;
    assert_eq!(
        index.history(&script).await.unwrap()[0].depth,
        Depth::Mempool
    );
    mine(&world).await;
    told(&mut events, changed()).await;
    told(&mut events, WatchEvent::Tip(Height(2))).await;
    synced(&wallet, "a confirmed deposit", |coins| {
        worth(coins) == [(9_000, false, Some(Height(2)))]
    })
    .await;

    // The block is replaced by two without the payment.
    let tip = world
        .reorg_liquid(BlockDelta(1), BlockDelta(2), true, soon())
        .await
        .unwrap();
    told(&mut events, changed()).await;
    told(&mut events, WatchEvent::Tip(tip.height)).await;
    assert_eq!(
        index.history(&script).await.unwrap()[0].depth,
        Depth::Mempool
    );
    synced(&wallet, "an unconfirmed deposit", |coins| {
        worth(coins) == [(9_000, false, None)]
    })
    .await;

    let server = world.index(Chain::Liquid).unwrap();
    server.kill().await;
    told(&mut events, WatchEvent::Lost).await;
    assert!(wallet.sync().await.is_err());
    assert!(index.tip().await.is_err());
    server.restart(soon()).await.unwrap();
    told(&mut events, WatchEvent::Reconnected).await;
    let height = mine(&world).await;
    told(&mut events, changed()).await;
    synced(&wallet, "a deposit in another block", |coins| {
        worth(coins) == [(9_000, false, Some(height))]
    })
    .await;
    assert_eq!(index.tip().await.unwrap().height, height);
    world.finish().await.unwrap();
}

/// A thousand scripts, one of them `script`.
fn many(script: &Script) -> Vec<Script> {
    let others = (0..999_u32).map(|number| Script::from(number.to_be_bytes().to_vec()));
    others.chain([script.clone()]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_funding_whose_coins_were_spent_by_another_is_known_as_such() {
    let Some(world) = world().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let seed = Seed::generate(&sandbox.path().join("seed")).unwrap();
    let index = index_of(&world);
    let wallet = wallet(&seed, &sandbox.path().join("wallet"), &index).await;
    let address = wallet.fresh_address().unwrap().to_unconfidential();
    pay_to(&world, address, AssetAmount::sat(Sat(100_000))).await;
    mine(&world).await;
    synced(&wallet, "an explicit deposit", |coins| {
        explicit(coins, lbtc()) == 1
    })
    .await;
    let (_, mut loser) = funded(&wallet, &needs(lbtc(), 60_000, 0), 1);
    let (winner, _) = funded(&wallet, &needs(lbtc(), 50_000, 0), 2);
    let (late, _) = funded(&wallet, &needs(lbtc(), 60_000, 0), 1);
    let unseen = observe(&index, &loser).await.unwrap().unwrap();
    assert_eq!((unseen.funding, unseen.conflicted), (Depth::Unseen, false));
    index.broadcast(&winner).await.unwrap();
    // In the mempool it may still be replaced.
    assert!(!observe(&index, &loser).await.unwrap().unwrap().conflicted);
    mine(&world).await;
    let seen = observe(&index, &loser).await.unwrap().unwrap();
    assert_eq!((seen.funding, seen.conflicted), (Depth::Unseen, true));
    let error = index.broadcast(&late).await.unwrap_err();
    assert!(
        matches!(error, BroadcastError::MissingInputs { .. }),
        "{error}"
    );
    loser.funding = None;
    assert_eq!(observe(&index, &loser).await.unwrap(), None);
    world.finish().await.unwrap();
}
