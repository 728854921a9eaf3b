//! How much a server sells at once, and to whom not: limits, pauses, what the operator may not force, and daemons that are gone.

use std::time::Duration;

use swaprig_harness::elementsd::lbtc;
use swaprig_harness::time::Deadline;
use swaprig_proto::v1::{self, FailureReason, SwapStatus};
use tonic::{Code, Status};

use crate::asked::{at_once, coins_of, create, refused, settled};
use crate::desk::{Desk, PRICE, Plan, pause, soon};

const AMOUNT: u64 = 20_000;

fn code<T>(answer: &Result<T, Status>) -> Code {
    answer.as_ref().err().map_or(Code::Ok, Status::code)
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
