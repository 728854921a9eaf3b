//! The server is killed at every boundary between two effects, one after the other, and every loop still ends as it should: claimed
//! or taken back, never both, with every coin where its end asks for it.
//!
//! The boundaries are not listed here: the server counts them, and the test goes on until one more is not reached.

use std::time::Duration;

use bitcoin::secp256k1::rand::thread_rng;
use swaprig::client::rest::RestError;
use swaprig::lightning::{LightningNode, Outgoing, Received, Route};
use swaprig::swap::taproot;
use swaprig_harness::units::{BlockDelta, Msat, Preimage};
use swaprig_proto::loops::{
    Direction, InternalKeyChoice, Loop, LoopInRequest, LoopOutRequest, State,
};
use uuid::Uuid;

use crate::desk::{Desk, hash_of, public, secret, soon};
use crate::flows::{KEY, RATE, locked, spend_together};
use crate::served;

const AMOUNT: u64 = 50_000;
/// So many loops are made in one world: then the channels have no more to give.
const A_WORLD_LASTS: u64 = 40;
/// As short as they may be: whoever waits for a timeout mines so many blocks.
const SHORT: &[&str] = &[
    "--loop-delta-blocks",
    "80",
    "--loop-in-max-cltv",
    "45",
    "--loop-funding-blocks",
    "10",
    "--loop-in-confirmations",
    "1",
];

/// Does `flow` once for each boundary that the server passes in it, and kills the server there.
async fn killed_everywhere(flow: impl AsyncFn(&Desk) -> Loop, wanted: &[&str]) {
    let killed = async |desk: &Desk, failpoint: &str| {
        let before = desk.books().await;
        let ended = desk.while_it_dies(failpoint, flow(desk)).await;
        // A server that lives again sees the same end, and the money is where that says.
        let still = desk.state_is(&ended, ended.state).await;
        let balanced = desk.balance(&before, &still).await;
        balanced.unwrap_or_else(|wrong| {
            let died = desk.last_words("");
            panic!("{failpoint}, {died:?}: {wrong}\n{}", desk.log_tail())
        });
    };
    // `None`: there are no end-to-end tests here, which was said.
    let _ = served::killed_everywhere(
        async || Desk::open(SHORT).await,
        A_WORLD_LASTS,
        killed,
        wanted,
    )
    .await;
}

fn fresh_preimage() -> Preimage {
    let mut bytes = [0; 32];
    let (left, right) = bytes.split_at_mut(16);
    left.copy_from_slice(Uuid::new_v4().as_bytes());
    right.copy_from_slice(Uuid::new_v4().as_bytes());
    Preimage(bytes)
}

fn out_request(preimage: Option<Preimage>) -> LoopOutRequest {
    LoopOutRequest {
        pubkey: public(KEY).to_string(),
        amount: AMOUNT,
        payment_hash: preimage.map(|preimage| preimage.payment_hash().to_string()),
        invoice_first: preimage.is_some(),
        internal_key: InternalKeyChoice::Musig2,
        confirmations: 1,
        publication_deadline: None,
        max_fee: Some(10_000),
    }
}

async fn ordered_out(desk: &Desk, preimage: Option<Preimage>) -> Loop {
    let (key, request) = (Uuid::new_v4(), out_request(preimage));
    let made = desk
        .insist("the loop to be made", RestError::is_transient, async || {
            desk.rest().loop_out(&request, Some(key), soon()).await
        })
        .await;
    assert!(!made.payment_request.is_empty(), "{made:?}");
    made
}

/// Waits for a state, and mines whenever a transaction waits for that.
async fn mined_until(desk: &Desk, made: &Loop, state: State) -> Loop {
    let rpc = desk.world.bitcoind().rpc();
    desk.until(state.word(), async || {
        if !rpc.mempool(soon()).await.unwrap().is_empty() {
            desk.mine(1).await;
        }
        let found = desk.rest().get(made.direction, hash_of(made), soon()).await;
        let found = found.map_err(|error| error.to_string())?;
        match found.state == state {
            true => Ok(found),
            false => Err(format!("{found:?}")),
        }
    })
    .await
}

/// Waits until the client's payment has come to an end.
async fn payment_ended(desk: &Desk, made: &Loop) -> Outgoing {
    let client = desk.node("client");
    desk.until("the payment to end", async || {
        match client.outgoing(hash_of(made)).await {
            Ok(ended @ (Outgoing::Succeeded(_) | Outgoing::Failed)) => Ok(ended),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// Pays what the loop asks for; the payment is held, or settled at once.
async fn pay(desk: &Desk, made: &Loop) {
    let client = desk.node("client");
    let route = Route::new(Msat(10_000), BlockDelta(200));
    client.pay(&made.payment_request, &route).await.unwrap();
}

/// The client claims by script.
async fn claim(desk: &Desk, made: &Loop, preimage: &Preimage) {
    let to = desk.destination().await;
    let key = secret(KEY);
    let claim = taproot::claim(&locked(made), preimage, &key, &to, RATE, &mut thread_rng());
    desk.send(&claim.unwrap()).await.unwrap();
}

/// The client pays first, and claims with its own preimage.
async fn looped_out(desk: &Desk) -> Loop {
    let preimage = fresh_preimage();
    let made = ordered_out(desk, Some(preimage)).await;
    desk.pay_until_locked(&made).await;
    let made = mined_until(desk, &made, State::Funded).await;
    claim(desk, &made, &preimage).await;
    let ended = payment_ended(desk, &made).await;
    assert_eq!(ended, Outgoing::Succeeded(preimage));
    let made = mined_until(desk, &made, State::Claimed).await;
    desk.mine(2).await;
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_anywhere_still_loops_out() {
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
    killed_everywhere(looped_out, &wanted).await;
}

/// The client pays and does not claim.
async fn not_claimed(desk: &Desk) -> Loop {
    let made = ordered_out(desk, Some(fresh_preimage())).await;
    desk.pay_until_locked(&made).await;
    let made = mined_until(desk, &made, State::Funded).await;
    let tip = desk.world.bitcoind().height().await.unwrap();
    desk.mine(made.cltv_expiry.unwrap() - tip.0).await;
    let made = mined_until(desk, &made, State::Refunded).await;
    desk.mine(2).await;
    assert_eq!(payment_ended(desk, &made).await, Outgoing::Failed);
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_anywhere_still_takes_back_what_nobody_claims() {
    let wanted = [
        "before the refund",
        "before sending the spend",
        "after the refund",
        "before failing the payment",
        "after failing the payment",
    ];
    killed_everywhere(not_claimed, &wanted).await;
}

/// The server locks first; the client pays for the preimage, and claims with it.
async fn looped_out_plain(desk: &Desk) -> Loop {
    let made = ordered_out(desk, None).await;
    let made = mined_until(desk, &made, State::Funded).await;
    pay(desk, &made).await;
    let Outgoing::Succeeded(preimage) = payment_ended(desk, &made).await else {
        panic!("the payment failed: {made:?}\n{}", desk.log_tail());
    };
    claim(desk, &made, &preimage).await;
    let made = mined_until(desk, &made, State::Claimed).await;
    desk.mine(2).await;
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_locks_first_and_is_killed_anywhere_still_loops_out() {
    let wanted = [
        "before sending the funding",
        "after sending the funding",
        "before claiming the payment",
        "after claiming the payment",
    ];
    killed_everywhere(looped_out_plain, &wanted).await;
}

async fn ordered_in(desk: &Desk, payment_request: String) -> Loop {
    let request = LoopInRequest {
        pubkey: public(KEY).to_string(),
        payment_request,
        internal_key: InternalKeyChoice::Musig2,
        max_fee: Some(10_000),
    };
    let key = Uuid::new_v4();
    let made = desk
        .insist("the loop to be made", RestError::is_transient, async || {
            desk.rest().loop_in(&request, Some(key), soon()).await
        })
        .await;
    let to = made.address.as_ref().unwrap();
    let to = to.parse::<bitcoin::Address<_>>().unwrap().assume_checked();
    desk.pay(&to, made.amount + made.fee).await;
    made
}

/// The client locks, the server pays and claims.
async fn looped_in(desk: &Desk) -> Loop {
    let client = desk.node("client");
    let (amount, expiry) = (Msat(AMOUNT * 1_000), Duration::from_secs(3_600));
    let (invoice, hash) = client.invoice(amount, "loop in", expiry).await.unwrap();
    let made = ordered_in(desk, invoice).await;
    let made = mined_until(desk, &made, State::Claimed).await;
    let received = client.received(hash).await.unwrap();
    assert_eq!(received, Received::Yes(amount));
    desk.mine(2).await;
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_anywhere_still_loops_in() {
    let wanted = [
        "before paying the invoice",
        "after paying the invoice",
        "before the claim",
        "before sending the spend",
        "after the claim",
    ];
    killed_everywhere(looped_in, &wanted).await;
}

/// The client's node gives the payment back, and the client takes its coins back together with the server.
async fn not_taken(desk: &Desk) -> Loop {
    let client = desk.node("client");
    let hash = fresh_preimage().payment_hash();
    let (amount, expiry) = (Msat(AMOUNT * 1_000), Duration::from_secs(3_600));
    let invoice = client.hold_invoice(hash, amount, "loop in", expiry);
    let made = ordered_in(desk, invoice.await.unwrap()).await;
    mined_until(desk, &made, State::Funded).await;
    let made = given_up(desk, &made, client.as_ref()).await;
    desk.until("the server's signature", async || {
        spend_together(desk, &made).await
    })
    .await;
    let made = mined_until(desk, &made, State::Refunded).await;
    assert_eq!(client.received(hash).await.unwrap(), Received::No);
    desk.mine(2).await;
    made
}

/// The client's node fails whatever comes, until the server says that it pays no more.
async fn given_up(desk: &Desk, made: &Loop, client: &dyn LightningNode) -> Loop {
    let hash = hash_of(made);
    desk.until("the server to give up", async || {
        let held = client.held().await.map_err(|error| error.to_string())?;
        if held.contains_key(&hash) {
            client.fail(hash).await.map_err(|error| error.to_string())?;
        }
        let found = desk.rest().get(Direction::In, hash, soon()).await;
        let found = found.map_err(|error| error.to_string())?;
        match found.phase == "cancelling" {
            true => Ok(found),
            false => Err(format!("{found:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_anywhere_still_gives_up_what_it_cannot_pay() {
    let wanted = ["before paying the invoice", "after paying the invoice"];
    killed_everywhere(not_taken, &wanted).await;
}

/// The planted bug: the funding is sent before anything is stored, and the server dies then.
async fn funded_too_early(
    preimage: Option<Preimage>,
) -> Option<(Desk, crate::books::Books, LoopOutRequest, Uuid)> {
    let desk = Desk::open(SHORT).await?;
    let before = desk.books().await;
    desk.restart_with("fund-before-store").await;
    let (key, request) = (Uuid::new_v4(), out_request(preimage));
    let died = desk.rest().loop_out(&request, Some(key), soon()).await;
    assert!(died.is_err(), "{died:?}");
    desk.server().running().exited().await;
    desk.mine(1).await;
    desk.server().restart(soon()).await.unwrap();
    Some((desk, before, request, key))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_locks_before_it_stores_is_found_out() {
    let Some((desk, before, request, key)) = funded_too_early(None).await else {
        return;
    };
    let made = desk.rest().loop_out(&request, Some(key), soon()).await;
    let made = mined_until(&desk, &made.unwrap(), State::Funded).await;
    pay(&desk, &made).await;
    let Outgoing::Succeeded(preimage) = payment_ended(&desk, &made).await else {
        panic!("the payment failed: {made:?}");
    };
    claim(&desk, &made, &preimage).await;
    let made = mined_until(&desk, &made, State::Claimed).await;
    // One request, and two fundings on the chain.
    let found = desk.balance(&before, &made).await.unwrap_err();
    assert!(found.contains("the server's coins spent"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_locks_before_it_is_paid_is_found_out() {
    let preimage = fresh_preimage();
    let Some((desk, before, _, _)) = funded_too_early(Some(preimage)).await else {
        return;
    };
    // It finds on the chain what it did, and tells the client all that it needs to claim, though nobody has paid.
    let hash = preimage.payment_hash();
    let made = desk
        .until("the server to find what it has locked", async || {
            let found = desk.rest().get(Direction::Out, hash, soon()).await;
            let found = found.map_err(|error| error.to_string())?;
            match found.state {
                State::Funded => Ok(found),
                _ => Err(format!("{found:?}")),
            }
        })
        .await;
    claim(&desk, &made, &preimage).await;
    let made = mined_until(&desk, &made, State::Claimed).await;
    let found = desk.balance(&before, &made).await.unwrap_err();
    assert!(found.contains("Lightning"), "{found}");
}

/// A server that dies when it pays, and is away until it is too late to pay: what the client has, and what the books say.
async fn died_paying(failpoint: &str) -> Option<(Loop, Result<(), String>)> {
    let desk = Desk::open(SHORT).await?;
    let before = desk.books().await;
    desk.restart_with(failpoint).await;
    let client = desk.node("client");
    let (amount, expiry) = (Msat(AMOUNT * 1_000), Duration::from_secs(3_600));
    let (invoice, hash) = client.invoice(amount, "loop in", expiry).await.unwrap();
    let made = ordered_in(&desk, invoice).await;
    desk.mine(1).await;
    desk.server().running().exited().await;
    desk.until("the payment to arrive", async || {
        match client.received(hash).await {
            Ok(Received::Yes(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let tip = desk.world.bitcoind().height().await.unwrap();
    // Some blocks before the timeout: it may not pay any more, and may still claim.
    desk.mine(made.cltv_expiry.unwrap() - 10 - tip.0).await;
    desk.server().restart(soon()).await.unwrap();
    let made = desk
        .loop_is(&made, "a decision", |made| {
            made.spend.is_some() || made.phase == "cancelling"
        })
        .await;
    if made.phase == "cancelling" {
        spend_together(&desk, &made).await.unwrap();
    } else {
        assert!(spend_together(&desk, &made).await.is_err());
    }
    desk.mine(1).await;
    let made = desk
        .loop_is(&made, "the end", |made| {
            matches!(made.state, State::Claimed | State::Refunded)
        })
        .await;
    let balanced = desk.balance(&before, &made).await;
    Some((made, balanced))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_pays_before_it_stores_is_found_out() {
    let Some((made, balanced)) = died_paying("abort-at:after paying the invoice").await else {
        return;
    };
    assert_eq!((made.state, balanced), (State::Claimed, Ok(())));
    // With the bug the client has its coins back, and has been paid.
    let (made, balanced) = died_paying("pay-before-store").await.unwrap();
    assert_eq!(made.state, State::Refunded);
    let found = balanced.unwrap_err();
    assert!(found.contains("Lightning"), "{found}");
}
