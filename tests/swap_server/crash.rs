//! The server is killed at every boundary between two effects, one after the other, and every swap still ends as it should.
//!
//! The boundaries are not listed here: the server counts them, and the test goes on until one more is not reached.

use std::sync::Arc;
use std::time::Duration;

use swaprig::client::{BuyError, Stage};
use swaprig::lightning::{Outgoing, Received, Route};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat};
use swaprig_proto::v1::SwapStatus;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::desk::{Desk, Plan, soon};

const AMOUNT: u64 = 20_000;
/// More boundaries than this are not on the way of a single swap.
const MOST: u64 = 200;
/// So often the timeout is reached in one world: each block is a second later than half of the eleven before it, and after some
/// 40,000 of them the next would be two hours in the future, which a node refuses.
const A_WORLD_LASTS: u64 = 12;

/// Starts the server again whenever it is dead, as a supervisor does, until `enough` is told; it runs then.
fn supervise(desk: &Arc<Desk>, mut enough: oneshot::Receiver<()>) -> JoinHandle<()> {
    let desk = desk.clone();
    tokio::spawn(async move {
        loop {
            let running = desk.server().running();
            tokio::select! {
                biased;
                _ = running.exited() => desk.server().restart(soon()).await.unwrap(),
                _ = &mut enough => return,
            }
        }
    })
}

/// What the server wrote when it died at a failpoint.
fn last_words(desk: &Desk, said: &str) -> Option<String> {
    let log = desk.log();
    let is_it = |line: &&str| line.starts_with("failpoint ") && line.contains(said);
    let line = log.lines().rev().find(is_it);
    line.map(str::to_owned)
}

/// Runs `flow` once, kills the server where `failpoint` says, and gives what it wrote then.
async fn killed_once(
    desk: &Arc<Desk>,
    failpoint: &str,
    said: &str,
    flow: &impl AsyncFn(&Desk),
) -> Option<String> {
    std::fs::write(desk.dir().join("failpoint"), failpoint).unwrap();
    desk.server().restart(soon()).await.unwrap();
    let (tell, enough) = oneshot::channel();
    let supervisor = supervise(desk, enough);
    flow(desk).await;
    tell.send(()).unwrap();
    supervisor.await.unwrap();
    // It may have died when all was over, and nobody is there any more to start it. It dies once only: this one lives.
    desk.server().restart(soon()).await.unwrap();
    desk.money_is_conserved().await;
    last_words(desk, said)
}

/// Runs `flow` once for each boundary that the server passes in it, and kills the server there. Their order differs a little
/// from run to run, so that one can be passed over: those of `wanted` are gone to by their names then.
async fn killed_everywhere(
    plan: &Plan,
    flow: impl AsyncFn(&Desk),
    wanted: &[&str],
) -> Option<Vec<String>> {
    let mut desk = Arc::new(Desk::open(plan.clone()).await?);
    let mut died_at = Vec::new();
    for failpoint in 1.. {
        assert!(
            failpoint < MOST,
            "the server passes more than {MOST} boundaries: {died_at:?}"
        );
        if failpoint % A_WORLD_LASTS == 0 {
            desk = Arc::new(Desk::open(plan.clone()).await?);
        }
        let said = format!("failpoint {failpoint}: ");
        match killed_once(&desk, &format!("abort:{failpoint}"), &said, &flow).await {
            Some(words) => died_at.push(words),
            None => break,
        }
    }
    for name in wanted {
        if !died_at.iter().any(|words| words.ends_with(name)) {
            let words = killed_once(&desk, &format!("abort-at:{name}"), name, &flow).await;
            died_at.push(words.unwrap_or_else(|| panic!("never {name}: {died_at:?}")));
        }
    }
    Some(died_at)
}

/// Repeats what a dead server left unanswered.
async fn insist<T>(
    desk: &Desk,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, BuyError>,
) -> T {
    desk.until(what, async || match ask().await {
        Ok(done) => Ok(done),
        Err(error) if error.is_transient() => Err(error.to_string()),
        Err(error) => panic!("{what}: {error}\n{}", desk.log_tail()),
    })
    .await
}

/// A buyer pays and claims, whatever happens to the server.
async fn bought(desk: &Desk) {
    let buyer = desk.buyer(&Uuid::new_v4().to_string()).await;
    let wish = Desk::wish(AMOUNT);
    let id = wish.request_id.unwrap();
    let made = insist(desk, "the swap to be made", async || {
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
    let plan = Plan {
        stock: 3_000_000,
        coin: 60_000,
        channel: 5_000_000,
        ..Plan::default()
    };
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
    let Some(died_at) = killed_everywhere(&plan, bought, &wanted).await else {
        return;
    };
    println!("{} boundaries:\n{}", died_at.len(), died_at.join("\n"));
}

/// Nobody pays in time; somebody tries too late. The server takes its coins back, whatever happens to it.
async fn taken_back(desk: &Desk) {
    let request = Desk::request(AMOUNT);
    let swap = desk
        .until("the swap to be made", async || {
            let answer = desk.swaps().await.create_swap(request.clone()).await;
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
    let plan = Plan {
        stock: 3_000_000,
        coin: 60_000,
        channel: 5_000_000,
        ..Plan::default()
    };
    let wanted = [
        "before failing the payment",
        "before the refund",
        "before sending the spend",
    ];
    let Some(died_at) = killed_everywhere(&plan, taken_back, &wanted).await else {
        return;
    };
    println!("{} boundaries:\n{}", died_at.len(), died_at.join("\n"));
}

/// The planted bug: the funding is sent before anything is stored. The checks above must not hold then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_before_it_stores_is_found_out() {
    let Some(desk) = Desk::open(Plan::default()).await else {
        return;
    };
    std::fs::write(desk.dir().join("failpoint"), "fund-before-store").unwrap();
    desk.server().restart(soon()).await.unwrap();
    let request = Desk::request(AMOUNT);
    let died = desk.swaps().await.create_swap(request.clone()).await;
    assert!(died.is_err(), "{died:?}");
    desk.server().running().exited().await;
    desk.server().restart(soon()).await.unwrap();
    let answer = desk.swaps().await.create_swap(request).await.unwrap();
    let swap = answer.into_inner().swap.unwrap();
    desk.mine(1).await;
    desk.swap_is(&swap.swap_id, SwapStatus::Funded).await;
    // One request, and two fundings on the chain.
    let fundings = desk.fundings().await;
    assert_eq!(fundings, 2, "the bug is not there any more");
}
