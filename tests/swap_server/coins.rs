//! Coins of the server: one funding for a request, none in two transactions, none left over when a swap is refused or fails.

use std::collections::HashSet;
use std::time::Duration;

use elements::encode::deserialize;
use elements::hex::decode_to_vec;
use elements::{OutPoint, Transaction};
use futures_util::future::join_all;
use swaprig::chain::{
    FeePolicy, Index, IndexSettings, Network, Seed, Split, Wallet, WalletSettings,
};
use swaprig::lightning::Route;
use swaprig_harness::elementsd::lbtc;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat, Units};
use swaprig_proto::v1::{self, FailureReason, SwapPhase, SwapStatus};
use tonic::Code;

use crate::asked::{at_once, coins_of, create, in_store, refused, settled, store};
use crate::desk::{Desk, PRICE, Plan, free};

const AMOUNT: u64 = 20_000;

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
    let connection = store(desk);
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
