//! Coins of the server: one funding for a request, none in two transactions, none left over when a swap is refused or fails.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use elements::encode::deserialize;
use elements::hex::decode_to_vec;
use elements::{OutPoint, Transaction};
use futures_util::future::join_all;
use rusqlite::{Connection, OpenFlags, Params};
use swaprig::chain::{
    FeePolicy, Index, IndexSettings, Network, Seed, Split, Wallet, WalletSettings,
};
use swaprig::lightning::Route;
use swaprig_harness::elementsd::lbtc;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat, Units};
use swaprig_proto::v1::{self, FailureReason, SwapPhase, SwapStatus};
use tonic::{Code, Status};

use crate::desk::{Desk, PRICE, Plan, free, pause, soon};

const AMOUNT: u64 = 20_000;

/// A number out of the server's store, which is only read.
pub(crate) fn in_store(desk: &Desk, query: &str, params: impl Params) -> i64 {
    let path: PathBuf = desk.dir().join("swaps.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
        .query_row(query, params, |row| row.get(0))
        .unwrap()
}

/// How many coins a swap has; released ones are not its own.
pub(crate) fn coins_of(desk: &Desk, swap: &str) -> i64 {
    let query = "SELECT COUNT(*) FROM reservations WHERE swap_id = ?1 AND state <> 'released'";
    in_store(desk, query, [swap])
}

pub(crate) async fn create(
    desk: &Desk,
    request: &v1::CreateSwapRequest,
) -> Result<v1::Swap, Status> {
    let answer = desk.swaps().create_swap(request.clone()).await?;
    Ok(answer.into_inner().swap.unwrap())
}

/// What the server has of L-BTC, once nothing of it waits for a block or is reserved.
async fn settled(desk: &Desk) -> v1::Inventory {
    let lbtc = lbtc().to_string();
    desk.until("all coins to be free", async || {
        let stocks = desk.stocks().await.map_err(|status| status.to_string())?;
        let stock = stocks.assets.into_iter().find(|one| one.asset_id == lbtc);
        match stock {
            Some(stock) if stock.pending + stock.reserved == 0 => Ok(stock),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// As many callers as there are requests, each with a connection of its own, all at once.
async fn at_once(desk: &Desk, requests: &[v1::CreateSwapRequest]) -> Vec<Result<v1::Swap, Status>> {
    join_all(requests.iter().map(|request| create(desk, request))).await
}

fn transaction(swap: &v1::Swap) -> Transaction {
    let raw = &swap.funding.as_ref().unwrap().transaction;
    deserialize(&decode_to_vec(raw).unwrap()).unwrap()
}

/// What all of them spend; no coin twice.
fn spent_once<'a>(swaps: impl IntoIterator<Item = &'a v1::Swap>) -> HashSet<OutPoint> {
    let mut all = HashSet::new();
    for swap in swaps {
        for input in transaction(swap).input {
            let coin = input.previous_output;
            assert!(all.insert(coin), "{coin} is in two transactions");
        }
    }
    all
}

fn code<T>(answer: &Result<T, Status>) -> Code {
    answer.as_ref().err().map_or(Code::Ok, Status::code)
}

/// The answer is a refusal that says so.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, says: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(says), "{says}: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_one_swap_and_one_funding() {
    let Some(desk) = Desk::open(Plan::default()).await else {
        return;
    };
    let request = Desk::request(AMOUNT);
    let answers = at_once(&desk, &vec![request.clone(); 100]).await;
    let told = answers.into_iter().map(|answer| {
        let swap = answer.unwrap();
        (swap.swap_id, swap.invoice, swap.funding.unwrap().txid)
    });
    let told: HashSet<_> = told.collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let (id, _, txid) = told.into_iter().next().unwrap();
    desk.mine(1).await;
    assert_eq!(desk.fundings().await, 1);
    assert_eq!(coins_of(&desk, &id), 1);
    // Later, too, and whether it waits or not.
    let waiting = v1::CreateSwapRequest {
        wait_for_confirmations: true,
        ..request.clone()
    };
    let again = create(&desk, &waiting).await.unwrap();
    assert_eq!(again.funding.unwrap().txid, txid);
    another_body_is_refused(&desk, &request).await;
    what_is_wrong_changes_nothing(&desk).await;
    callers_that_go_leave_nothing_half_done(&desk).await;
    desk.mine(1).await;
    desk.money_is_conserved().await;
}

async fn another_body_is_refused(desk: &Desk, request: &v1::CreateSwapRequest) {
    let before = desk.stocks().await.unwrap();
    for other in [
        v1::CreateSwapRequest {
            amount: AMOUNT + 1,
            ..request.clone()
        },
        v1::CreateSwapRequest {
            min_confirmations: 2,
            ..request.clone()
        },
        v1::CreateSwapRequest {
            max_total_price_msat: u64::MAX,
            ..request.clone()
        },
        v1::CreateSwapRequest {
            claim_pubkey: "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
                .into(),
            ..request.clone()
        },
    ] {
        let answer = create(desk, &other).await;
        refused(answer, Code::AlreadyExists, "was used by another request");
    }
    assert_eq!(desk.stocks().await.unwrap(), before);
    assert_eq!(desk.all_swaps().await.len(), 1);
}

/// The price, its cap, its overflow, and what is not sold.
async fn what_is_wrong_changes_nothing(desk: &Desk) {
    let before = desk.stocks().await.unwrap();
    let dear = v1::SetSaleRequest {
        asset_id: "60".repeat(32),
        price_msat_per_unit: u64::MAX,
        ..Default::default()
    };
    desk.admin().set_sale(dear.clone()).await.unwrap();
    let request = || Desk::request(AMOUNT);
    let capped = |most| v1::CreateSwapRequest {
        max_total_price_msat: most,
        ..request()
    };
    let price = AMOUNT * PRICE;
    refused(
        create(desk, &capped(price - 1)).await,
        Code::InvalidArgument,
        "max_total_price_msat",
    );
    let overflowing = v1::CreateSwapRequest {
        asset_id: dear.asset_id,
        ..request()
    };
    refused(
        create(desk, &overflowing).await,
        Code::InvalidArgument,
        "beyond all numbers",
    );
    let unknown = v1::CreateSwapRequest {
        asset_id: "61".repeat(32),
        ..request()
    };
    refused(create(desk, &unknown).await, Code::NotFound, "not on sale");
    let deep = v1::CreateSwapRequest {
        min_confirmations: 7,
        ..request()
    };
    refused(
        create(desk, &deep).await,
        Code::InvalidArgument,
        "min_confirmations",
    );
    let no_point = v1::CreateSwapRequest {
        claim_pubkey: format!("02{}", "f".repeat(64)),
        ..request()
    };
    refused(
        create(desk, &no_point).await,
        Code::InvalidArgument,
        "claim_pubkey",
    );
    let unpayable = v1::CreateSwapRequest {
        amount: 990_000,
        ..request()
    };
    refused(
        create(desk, &unpayable).await,
        Code::FailedPrecondition,
        "Lightning can receive",
    );
    let after = desk.stocks().await.unwrap();
    assert_eq!(free(&after, lbtc()), free(&before, lbtc()));
    assert_eq!(desk.all_swaps().await.len(), 1);
    // Exactly the price is enough.
    assert_eq!(
        create(desk, &capped(price)).await.unwrap().total_price_msat,
        price
    );
}

/// Callers cut off at any moment: each swap that was begun goes on, and no coin is lost to none.
async fn callers_that_go_leave_nothing_half_done(desk: &Desk) {
    let requests: Vec<_> = (0..6).map(|_| Desk::request(AMOUNT)).collect();
    let cut_off = requests.iter().enumerate().map(async |(at, request)| {
        let patience = Duration::from_millis(2 + 4 * at as u64);
        let made = Deadline::after(patience).bound(create(desk, request)).await;
        made.is_some()
    });
    join_all(cut_off).await;
    desk.until("every swap that was begun to be funded", async || {
        let swaps = desk.all_swaps().await;
        match swaps.iter().find(|swap| swap.funding.is_none()) {
            None => Ok(()),
            Some(swap) => Err(format!("{} is {:?}", swap.swap_id, swap.phase())),
        }
    })
    .await;
    // They find them again; those whose request never arrived are made now.
    let found = at_once(desk, &requests).await;
    let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
    spent_once(&found);
    let swaps = desk.all_swaps().await;
    assert_eq!(swaps.len(), 8);
    let kept = in_store(
        desk,
        "SELECT COUNT(*) FROM reservations WHERE state <> 'released'",
        [],
    );
    assert_eq!(usize::try_from(kept).unwrap(), spent_once(&swaps).len());
    desk.mine(1).await;
    // What is neither locked nor paid as a fee is free again: fees are 100 sat for 1,000 vB.
    let locked = AMOUNT * 8;
    let left = settled(desk).await.free;
    assert!(
        left + locked + 2_000 > 1_000_000 && left + locked < 1_000_000,
        "{left}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_sold_to_the_last_satoshi_and_no_more() {
    let plan = Plan {
        stock: 300_000,
        coin: 60_000,
        ..Plan::default()
    };
    let Some(desk) = Desk::open(plan).await else {
        return;
    };
    let stocks = desk.stocks().await.unwrap();
    let affordable = stocks.assets[0].free_coins as usize;
    assert_eq!(affordable, 5, "{stocks:?}");
    let requests: Vec<_> = (0..12).map(|_| Desk::request(50_000)).collect();
    let answers = at_once(&desk, &requests).await;
    let sold: Vec<_> = answers.iter().flatten().collect();
    assert_eq!(sold.len(), affordable);
    for refusal in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
        assert!(
            refusal.message().contains("not enough is free"),
            "{refusal}"
        );
    }
    let spent = spent_once(sold.iter().copied());
    assert_eq!(spent.len(), affordable);
    // Of the refused ones the store knows nothing.
    assert_eq!(in_store(&desk, "SELECT COUNT(*) FROM reservations", []), 5);
    assert_eq!(in_store(&desk, "SELECT COUNT(*) FROM swaps", []), 5);
    assert_eq!(in_store(&desk, "SELECT COUNT(*) FROM request_ids", []), 5);
    desk.mine(1).await;
    assert_eq!(desk.fundings().await, affordable);
    the_last_satoshi(&desk).await;
    desk.mine(1).await;
    desk.money_is_conserved().await;
}

/// Everything that is left goes into one funding without change.
async fn the_last_satoshi(desk: &Desk) {
    let left = settled(desk).await.free;
    // Its refusal says what the fee of all coins would be.
    let refusal = create(desk, &Desk::request(left)).await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    let text = refusal.message().replace(['_', ','], "");
    let numbers: Vec<u64> = text
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    let fee = numbers.first().unwrap_or_else(|| panic!("{refusal}")) - left;
    assert_eq!(numbers.get(1), Some(&left), "{refusal}");
    let over = Desk::request(left - fee + 1);
    refused(
        create(desk, &over).await,
        Code::FailedPrecondition,
        "not enough is free",
    );
    let last = create(desk, &Desk::request(left - fee)).await.unwrap();
    let outputs = transaction(&last).output;
    // The HTLC, what is said of it, and the fee; nothing comes back.
    assert_eq!(outputs.len(), 3, "{outputs:?}");
    desk.mine(1).await;
    let stocks = desk.stocks().await.unwrap();
    assert_eq!(free(&stocks, lbtc()), 0, "{stocks:?}");
    let request = v1::GetOfferRequest {
        asset_id: lbtc().to_string(),
    };
    let offer = desk
        .swaps()
        .get_offer(request)
        .await
        .unwrap()
        .into_inner()
        .offer
        .unwrap();
    assert!(offer.max_amount < offer.min_amount, "{offer:?}");
    refused(
        create(desk, &Desk::request(1_000)).await,
        Code::FailedPrecondition,
        "not enough is free",
    );
}

/// Exactly `wanted` of `count` swaps of `amount` are made, and the others are refused for a reason that `says` something.
async fn so_many(
    desk: &Desk,
    count: usize,
    amount: u64,
    wanted: usize,
    says: &str,
) -> Vec<v1::Swap> {
    let requests: Vec<_> = (0..count).map(|_| Desk::request(amount)).collect();
    let answers = at_once(desk, &requests).await;
    let codes: Vec<_> = answers.iter().map(code).collect();
    let (made, refusals): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), wanted, "{codes:?}");
    for refusal in refusals {
        refused(refusal, Code::ResourceExhausted, says);
    }
    made.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_pauses_and_daemons_that_are_gone() {
    // Three swaps of 20,000 sat may be unpaid at once, and nine in flight.
    let exposure = (3 * AMOUNT * PRICE + 10_000_000).to_string();
    let args = [
        "--max-in-flight",
        "9",
        "--max-exposure-msat",
        &exposure,
        "--create-timeout-seconds",
        "3",
    ];
    let plan = Plan {
        args: args.map(String::from).to_vec(),
        coin: 50_000,
        ..Plan::default()
    };
    let Some(desk) = Desk::open(plan).await else {
        return;
    };
    so_many(&desk, 12, AMOUNT, 3, "unpaid swaps are worth").await;
    let waiting = a_wait_that_is_too_long(&desk).await;
    the_node_is_gone(&desk).await;
    the_index_is_gone(&desk).await;
    // Three, one that was waited for, one without an index: four more.
    so_many(&desk, 12, 1_000, 4, "swaps are in flight").await;
    paused_also_after_a_restart(&desk, &waiting).await;
    coins_are_split(&desk).await;
    forced_refunds_are_refused(&desk, &waiting).await;
    desk.mine(1).await;
    desk.money_is_conserved().await;
}

/// The caller is told that it took too long, or goes; the swap goes on.
async fn a_wait_that_is_too_long(desk: &Desk) -> v1::CreateSwapRequest {
    let request = Desk::request(1_000);
    let waiting = v1::CreateSwapRequest {
        wait_for_confirmations: true,
        ..request.clone()
    };
    // This one goes, as soon as its swap is there.
    let gone = Deadline::after(Duration::from_secs(1))
        .bound(create(desk, &waiting))
        .await;
    assert!(gone.is_none(), "{gone:?}");
    refused(
        create(desk, &waiting).await,
        Code::DeadlineExceeded,
        "ask GetSwap",
    );
    let swap = create(desk, &request).await.unwrap();
    assert_eq!(swap.status(), SwapStatus::Created);
    // Who waits while the block comes has its answer then.
    let (funded, ()) = futures_util::join!(create(desk, &waiting), async {
        pause(Duration::from_millis(300)).await;
        desk.mine(1).await;
    });
    let funded = funded.unwrap();
    assert_eq!(
        (funded.status(), &funded.swap_id),
        (SwapStatus::Funded, &swap.swap_id)
    );
    request
}

/// Without a Lightning node no invoice: the swap fails and its coins are free.
async fn the_node_is_gone(desk: &Desk) {
    desk.mine(1).await;
    let before = settled(desk).await.free;
    let seller = desk.world.node("seller").unwrap();
    seller.kill().await;
    let request = Desk::request(1_000);
    refused(
        create(desk, &request).await,
        Code::Aborted,
        "failed before it was funded",
    );
    refused(
        create(desk, &request).await,
        Code::Aborted,
        "failed before it was funded",
    );
    let failed = desk
        .all_swaps()
        .await
        .into_iter()
        .find(|swap| swap.request_id == request.request_id);
    let failed = failed.unwrap();
    assert_eq!(failed.status(), SwapStatus::Failed);
    assert_eq!(failed.failure_reason(), FailureReason::Invoice);
    assert_eq!(coins_of(desk, &failed.swap_id), 0);
    assert_eq!(settled(desk).await.free, before);
    let force = v1::ForceRefundRequest {
        swap_id: failed.swap_id,
    };
    let forced = desk.admin().force_refund(force).await;
    refused(forced, Code::FailedPrecondition, "is over");
    desk.node_is_back("seller").await;
}

/// Without an index nothing is sent; it is sent when the index is back.
async fn the_index_is_gone(desk: &Desk) {
    let index = desk.world.liquid().unwrap().index().unwrap();
    index.kill().await;
    let request = Desk::request(1_000);
    let answer = desk
        .until(
            "the swap to be made without an index",
            async || match create(desk, &request).await {
                // The node has just come back, and may not be heard of yet.
                Err(status) if status.code() == Code::FailedPrecondition => Err(status.to_string()),
                answer => Ok(answer),
            },
        )
        .await;
    refused(answer, Code::DeadlineExceeded, "goes on");
    index.restart(soon()).await.unwrap();
    let swap = desk
        .until("the funding to be sent", async || {
            let swap = create(desk, &request).await;
            swap.map_err(|status| status.to_string())
        })
        .await;
    desk.mine(1).await;
    desk.swap_is(&swap.swap_id, SwapStatus::Funded).await;
}

async fn paused_also_after_a_restart(desk: &Desk, old: &v1::CreateSwapRequest) {
    let asset_id = lbtc().to_string();
    let unknown = v1::PauseSwapsRequest {
        asset_id: "61".repeat(32),
    };
    refused(
        desk.admin().pause_swaps(unknown).await,
        Code::NotFound,
        "not on sale",
    );
    let open = desk
        .all_swaps()
        .await
        .into_iter()
        .find(|swap| swap.status() == SwapStatus::Created);
    let pause = v1::PauseSwapsRequest {
        asset_id: asset_id.clone(),
    };
    for _ in 0..2 {
        desk.admin().pause_swaps(pause.clone()).await.unwrap();
    }
    let new = Desk::request(1_000);
    refused(create(desk, &new).await, Code::Unavailable, "are paused");
    let before = desk.all_swaps().await;
    // Killed, not stopped.
    desk.server().kill().await;
    desk.server().restart(soon()).await.unwrap();
    refused(create(desk, &new).await, Code::Unavailable, "are paused");
    let identity = |swap: &v1::Swap| {
        let swap = swap.clone();
        (
            swap.swap_id,
            swap.invoice,
            swap.htlc,
            swap.funding.map(|funding| funding.transaction),
        )
    };
    let after = desk.all_swaps().await;
    let same = before.iter().map(identity).eq(after.iter().map(identity));
    assert!(same, "{before:?}\n{after:?}");
    assert!(
        desk.stocks()
            .await
            .unwrap()
            .assets
            .iter()
            .any(|one| one.paused && one.asset_id == asset_id)
    );
    // What was made goes on, and is found by its request.
    desk.mine(1).await;
    desk.swap_is(&open.unwrap().swap_id, SwapStatus::Funded)
        .await;
    create(desk, old).await.unwrap();
    desk.admin()
        .resume_swaps(v1::ResumeSwapsRequest { asset_id })
        .await
        .unwrap();
    refused(
        create(desk, &new).await,
        Code::ResourceExhausted,
        "in flight",
    );
}

async fn coins_are_split(desk: &Desk) {
    let split = |coin_amount, coins| v1::SplitCoinsRequest {
        asset_id: lbtc().to_string(),
        coin_amount,
        coins,
    };
    let too_much = desk.admin().split_coins(split(1_000_000, 4)).await;
    refused(too_much, Code::FailedPrecondition, "cannot be split");
    let before = desk.stocks().await.unwrap().assets[0].free_coins;
    desk.admin().split_coins(split(7_000, 12)).await.unwrap();
    desk.mine(1).await;
    desk.until("the pieces to be free", async || {
        let stock = &desk
            .stocks()
            .await
            .map_err(|status| status.to_string())?
            .assets[0];
        match stock.free_coins >= before + 10 && stock.pending == 0 {
            true => Ok(()),
            false => Err(format!("{stock:?}")),
        }
    })
    .await;
}

async fn forced_refunds_are_refused(desk: &Desk, request: &v1::CreateSwapRequest) {
    let force = async |swap_id: &str| {
        let request = v1::ForceRefundRequest {
            swap_id: swap_id.into(),
        };
        desk.admin().force_refund(request).await
    };
    let funded = create(desk, request).await.unwrap();
    let timeout = funded.htlc.as_ref().unwrap().timeout;
    let early = force(&funded.swap_id).await;
    refused(
        early,
        Code::FailedPrecondition,
        &format!("from Liquid height {timeout} on"),
    );
    refused(
        force(&uuid::Uuid::new_v4().to_string()).await,
        Code::NotFound,
        "there is no swap",
    );
    refused(force("nonsense").await, Code::InvalidArgument, "swap_id");
    let seller = desk.world.node("seller").unwrap();
    seller.kill().await;
    refused(
        force(&funded.swap_id).await,
        Code::Unavailable,
        "Lightning node",
    );
    desk.node_is_back("seller").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepayment_comes_before_the_funding() {
    let args = ["--prepay-msat", "5000", "--invoice-expiry-seconds", "10"];
    let plan = Plan {
        args: args.map(String::from).to_vec(),
        ..Plan::default()
    };
    let Some(desk) = Desk::open(plan).await else {
        return;
    };
    let swap = create(&desk, &Desk::request(AMOUNT)).await.unwrap();
    let unpaid = create(&desk, &Desk::request(AMOUNT)).await.unwrap();
    for swap in [&swap, &unpaid] {
        assert_eq!(swap.phase(), SwapPhase::AwaitingPrepay);
        assert!(
            swap.funding.is_none() && !swap.prepay_invoice.is_empty(),
            "{swap:?}"
        );
        assert!(coins_of(&desk, &swap.swap_id) > 0);
        let force = v1::ForceRefundRequest {
            swap_id: swap.swap_id.clone(),
        };
        let forced = desk.admin().force_refund(force).await;
        refused(forced, Code::FailedPrecondition, "nothing was ever locked");
    }
    prepay(&desk, &swap).await;
    desk.until("the prepaid swap to be sent", async || {
        match desk
            .swap(&swap.swap_id)
            .await
            .map_err(|status| status.to_string())?
            .phase()
        {
            SwapPhase::Funding => Ok(()),
            phase => Err(format!("{phase:?}")),
        }
    })
    .await;
    desk.mine(1).await;
    desk.swap_is(&swap.swap_id, SwapStatus::Funded).await;
    let failed = desk.swap_is(&unpaid.swap_id, SwapStatus::Failed).await;
    assert_eq!(failed.failure_reason(), FailureReason::Prepay);
    assert_eq!(coins_of(&desk, &unpaid.swap_id), 0);
    desk.mine(1).await;
    assert_eq!(desk.fundings().await, 1);
    desk.money_is_conserved().await;
}

/// The coins of a swap that is not signed yet are spent by somebody else who has the seed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_funding_that_the_chain_refuses_fails_and_lets_go_of_its_coins() {
    let args = ["--prepay-msat", "5000"];
    let plan = Plan {
        args: args.map(String::from).to_vec(),
        coin: 300_000,
        ..Plan::default()
    };
    let Some(desk) = Desk::open(plan).await else {
        return;
    };
    let swap = create(&desk, &Desk::request(AMOUNT)).await.unwrap();
    let reserved = reserved_by(&desk, &swap.swap_id);
    let seed = Seed::read(&desk.dir().join("seed")).unwrap();
    let address = desk
        .world
        .liquid()
        .unwrap()
        .index()
        .unwrap()
        .electrum_address();
    let index = Index::new(IndexSettings::new(format!("tcp://{address}"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let settings = WalletSettings {
        network: Network::default_regtest(),
        dir: dir.path().to_owned(),
        fees: FeePolicy::default(),
    };
    let wallet = Wallet::open(&seed, settings, index.clone()).await.unwrap();
    wallet.sync().await.unwrap();
    let coins = wallet.coins();
    let coins = coins
        .iter()
        .filter(|coin| coin.outpoint == reserved)
        .cloned()
        .collect();
    let split = Split {
        asset: lbtc(),
        count: 1,
        size: Units(1_000),
    };
    let stolen = wallet.fan_out(coins, &[split]).unwrap();
    index.broadcast(&stolen.transaction).await.unwrap();
    // It waits in the mempool when the funding is sent, and is in a block only then.
    prepay(&desk, &swap).await;
    desk.until("the funding to be refused", async || {
        match desk.log().contains("the funding is refused") {
            true => Ok(()),
            false => Err(desk.log_tail()),
        }
    })
    .await;
    assert_eq!(coins_of(&desk, &swap.swap_id), 1);
    desk.mine(1).await;
    let failed = desk.swap_is(&swap.swap_id, SwapStatus::Failed).await;
    assert_eq!(failed.failure_reason(), FailureReason::Funding);
    assert_eq!(coins_of(&desk, &swap.swap_id), 0);
    settled(&desk).await;
    assert_eq!(desk.fundings().await, 0);
    desk.money_is_conserved().await;
}

fn reserved_by(desk: &Desk, swap: &str) -> OutPoint {
    let path = desk.dir().join("swaps.db");
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let query = "SELECT outpoint FROM reservations WHERE swap_id = ?1";
    let text: String = connection
        .query_row(query, [swap], |row| row.get(0))
        .unwrap();
    text.parse().unwrap()
}

async fn prepay(desk: &Desk, swap: &v1::Swap) {
    let route = Route::new(Msat(1_000), BlockDelta(200));
    desk.node("buyer")
        .pay(&swap.prepay_invoice, &route)
        .await
        .unwrap();
}
