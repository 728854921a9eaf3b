//! The server is killed at every boundary between two effects, one after the other, and every swap still ends as it should.
//!
//! The boundaries are not listed here: the server counts them, and the test goes on until one more is not reached.

use std::time::Duration;

use swaprig::client::{BuyError, Stage};
use swaprig::lightning::{Outgoing, Received, Route};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat};
use swaprig_proto::v1::SwapStatus;
use uuid::Uuid;

use crate::desk::{Desk, Plan, soon};
use crate::served;

const AMOUNT: u64 = 20_000;
/// So often the timeout is reached in one world: each block is a second later than half of the eleven before it, and after some
/// 40,000 of them the next would be two hours in the future, which a node refuses.
const A_WORLD_LASTS: u64 = 12;

/// Does `flow` once for each boundary that the server passes in it, and kills the server there.
async fn killed_everywhere(flow: impl AsyncFn(&Desk), wanted: &[&str]) {
    let plan = Plan {
        stock: 3_000_000,
        coin: 60_000,
        channel: 5_000_000,
        ..Plan::default()
    };
    let killed = async |desk: &Desk, failpoint: &str| {
        desk.while_it_dies(failpoint, flow(desk)).await;
        desk.money_is_conserved().await;
    };
    // `None`: there are no end-to-end tests here, which was said.
    let _ = served::killed_everywhere(
        async || Desk::open(plan.clone()).await,
        A_WORLD_LASTS,
        killed,
        wanted,
    )
    .await;
}

/// A buyer pays and claims, whatever happens to the server.
async fn bought(desk: &Desk) {
    let buyer = desk.buyer(&Uuid::new_v4().to_string()).await;
    let wish = Desk::wish(AMOUNT);
    let id = wish.request_id.unwrap();
    let made = desk
        .insist("the swap to be made", BuyError::is_transient, async || {
            buyer.create(&wish).await
        })
        .await;
    let swap_id = made.swap_id.unwrap().to_string();
    desk.until("the swap to be claimed", async || {
        desk.mine(1).await;
        let budget = Deadline::after(Duration::from_millis(300));
        match buyer.run(id, budget).await {
            Ok(record) if record.stage == Stage::Claimed => Ok(()),
            Ok(record) => Err(format!("{:?}", record.stage)),
            Err(error) if error.is_transient() => Err(error.to_string()),
            Err(error) => panic!("{error}\n{}", desk.log_tail()),
        }
    })
    .await;
    let swap = desk.swap_is(&swap_id, SwapStatus::Claimed).await;
    assert!(swap.refund_txid.is_empty(), "{swap:?}");
    // The server was paid, too: once.
    let hash = swap.payment_hash.parse().unwrap();
    desk.until("the payment to have arrived", async || {
        match desk
            .node("seller")
            .received(hash)
            .await
            .map_err(|error| error.to_string())?
        {
            Received::Yes(_) => Ok(()),
            Received::No => Err("not yet".to_owned()),
        }
    })
    .await;
    desk.mine(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_anywhere_still_sells() {
    let wanted = [
        "before making the invoice",
        "after making the invoice",
        "before signing the funding",
        "after signing the funding",
        "before sending the funding",
        "after sending the funding",
        "before claiming the payment",
        "after claiming the payment",
    ];
    killed_everywhere(bought, &wanted).await;
}

/// Nobody pays in time; somebody tries too late. The server takes its coins back, whatever happens to it.
async fn taken_back(desk: &Desk) {
    let request = Desk::request(AMOUNT);
    let swap = desk
        .until("the swap to be made", async || {
            let answer = desk.swaps().create_swap(request.clone()).await;
            let answer = answer.map_err(|status| status.to_string())?;
            Ok(answer.into_inner().swap.unwrap())
        })
        .await;
    desk.mine(1).await;
    desk.swap_is(&swap.swap_id, SwapStatus::Funded).await;
    let hash = swap.payment_hash.parse().unwrap();
    let pay_by = swap.pay_by_height - swap.liquid_height - 1;
    desk.mine(pay_by).await;
    // Before it has heard of the last block it would take the payment, and rightly.
    desk.until("the server to see that it is too late", async || {
        let seen = desk.swap(&swap.swap_id).await;
        let seen = seen.map_err(|status| status.to_string())?.liquid_height;
        match seen >= swap.pay_by_height {
            true => Ok(()),
            false => Err(format!("it is at {seen}")),
        }
    })
    .await;
    let buyer = desk.node("buyer");
    let route = Route::new(Msat(10_000), BlockDelta(64));
    buyer.pay(&swap.invoice, &route).await.unwrap();
    let timeout = swap.htlc.as_ref().unwrap().timeout;
    desk.until("the late payment to be given back", async || {
        match buyer
            .outgoing(hash)
            .await
            .map_err(|error| error.to_string())?
        {
            Outgoing::Failed => Ok(()),
            Outgoing::Succeeded(_) => panic!("a payment was taken too late: {swap:?}"),
            pending => Err(format!("{pending:?}")),
        }
    })
    .await;
    desk.mine(timeout - swap.pay_by_height).await;
    let refunded = desk
        .until("the swap to be refunded", async || {
            desk.mine(1).await;
            let swap = desk
                .swap(&swap.swap_id)
                .await
                .map_err(|status| status.to_string())?;
            match swap.status() {
                SwapStatus::Refunded => Ok(swap),
                status => Err(format!("{status:?} {:?}", swap.phase())),
            }
        })
        .await;
    assert!(refunded.claim_txid.is_empty(), "{refunded:?}");
    assert_eq!(buyer.outgoing(hash).await.unwrap(), Outgoing::Failed);
    desk.mine(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_anywhere_still_takes_its_coins_back() {
    let wanted = [
        "before failing the payment",
        "before the refund",
        "before sending the spend",
    ];
    killed_everywhere(taken_back, &wanted).await;
}

/// The planted bug: the funding is sent before anything is stored. The checks above must not hold then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_before_it_stores_is_found_out() {
    let Some(desk) = Desk::open(Plan::default()).await else {
        return;
    };
    desk.restart_with("fund-before-store").await;
    let request = Desk::request(AMOUNT);
    let died = desk.swaps().create_swap(request.clone()).await;
    assert!(died.is_err(), "{died:?}");
    desk.server().running().exited().await;
    desk.server().restart(soon()).await.unwrap();
    let answer = desk.swaps().create_swap(request).await.unwrap();
    let swap = answer.into_inner().swap.unwrap();
    desk.mine(1).await;
    desk.swap_is(&swap.swap_id, SwapStatus::Funded).await;
    // One request, and two fundings on the chain.
    let fundings = desk.fundings().await;
    assert_eq!(fundings, 2, "the bug is not there any more");
}
