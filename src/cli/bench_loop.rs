//! `swaprig bench swap --direction loop-out` and `loop-in`: loops through the swap server, in a world of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::Address;
use bitcoin::secp256k1::SecretKey;
use bitcoin::secp256k1::rand::{RngCore as _, thread_rng};
use clap::ValueEnum;
use futures_util::future::try_join_all;
use swaprig::client::rest::{RestError, Updates};
use swaprig::lightning::{Outgoing, Received, Route};
use swaprig::swap::{FeeRate, taproot};
use swaprig_harness::binary::Settings;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat, PaymentHash, Preimage, Sat};
use swaprig_harness::world::Binaries;
use swaprig_proto::loops::{
    Direction, InternalKeyChoice, Loop, LoopInRequest, LoopOutRequest, State,
};
use uuid::Uuid;

use super::bench::millis;
use super::bench_loop_desk::{AMOUNT, LoopDesk, fresh_key, locked, public};
use super::bench_market::{
    BoxError, CALLERS, ONE_BY_ONE, SIDE_BY_SIDE, WARM, cold, in_lanes, one_by_one, per_second,
    soon, tell_side_by_side, until,
};
use super::stats::Samples;

/// How many loops each caller makes.
const OF_EACH: u32 = 20;
/// What the client's claims pay.
const RATE: FeeRate = FeeRate(2_000);
/// What the payments of loops out may cost, and for how many blocks they may lock coins: enough for the server to lock for them.
const ROUTE: (Msat, BlockDelta) = (Msat(10_000), BlockDelta(200));
/// How often a client looks whether its payment was given back, while the server tells nothing.
const LOOK: Duration = Duration::from_millis(500);

/// Which swaps are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Which {
    /// Lightning for Liquid
    LnToLiquid,
    /// Lightning for Bitcoin
    LoopOut,
    /// Bitcoin for Lightning
    LoopIn,
}

/// Measures loops in one direction `runs` times.
pub(super) async fn loops(
    direction: Direction,
    runs: u32,
    base: &Path,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), BoxError> {
    for _ in 0..runs {
        one(direction, base, settings, binaries, samples).await?;
    }
    Ok(())
}

async fn one(
    direction: Direction,
    base: &Path,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), BoxError> {
    let (_empty, cold) = cold(settings)?;
    let started = Instant::now();
    let desk = LoopDesk::open(base, &cold, binaries, 1).await?;
    claimed(&desk, direction, true).await?;
    samples.add("claimed_cold", "ms", millis(started.elapsed()));

    if direction == Direction::Out {
        desk.stock(SIDE_BY_SIDE + WARM).await?;
    }
    for _ in 0..WARM {
        let taken = claimed(&desk, direction, true).await?;
        samples.add("create_to_claimed", "ms", millis(taken));
    }
    let one = async || claimed(&desk, direction, false).await.map(drop);
    let taken = in_lanes(SIDE_BY_SIDE, one, desk.keep_mining()).await?;
    tell_side_by_side(samples, taken);
    creates(&desk, direction, samples).await?;
    desk.world.finish().await?;
    Ok(())
}

async fn creates(
    desk: &LoopDesk,
    direction: Direction,
    samples: &mut Samples,
) -> Result<(), BoxError> {
    let at_once = CALLERS * OF_EACH;
    if direction == Direction::Out {
        // The change of the loops before counts as coins, and is too small for a loop.
        let change = 1 + WARM + SIDE_BY_SIDE;
        desk.stock(change + ONE_BY_ONE + at_once + CALLERS).await?;
    }
    one_by_one(samples, async || {
        let order = Order::new(desk, direction).await?;
        let started = Instant::now();
        order.make(desk).await?;
        Ok(started.elapsed())
    })
    .await?;

    // The clients' own invoices are not part of it.
    let mut orders = Vec::new();
    for _ in 0..at_once {
        orders.push(Order::new(desk, direction).await?);
    }
    let started = Instant::now();
    let each = usize::try_from(OF_EACH)?;
    let all = orders.chunks(each).map(|orders| async move {
        for order in orders {
            order.make(desk).await?;
        }
        Ok::<_, BoxError>(())
    });
    try_join_all(all).await?;
    let rate = per_second(at_once, started.elapsed());
    samples.add("creates_per_second_16", "1/s", rate);
    Ok(())
}

/// What a client asks for.
enum Order {
    Out(SecretKey, Preimage),
    In(SecretKey, String),
}

impl Order {
    async fn new(desk: &LoopDesk, direction: Direction) -> Result<Order, BoxError> {
        if direction == Direction::Out {
            let mut preimage = [0; 32];
            thread_rng().fill_bytes(&mut preimage);
            return Ok(Order::Out(fresh_key(), Preimage(preimage)));
        }
        let price = Msat(AMOUNT * 1_000);
        let invoice = desk
            .node
            .invoice(price, "loop in", Duration::from_secs(3_600));
        Ok(Order::In(fresh_key(), invoice.await?.0))
    }

    /// Makes the loop; a refusal that passes is answered with the same order, as a client does.
    async fn make(&self, desk: &LoopDesk) -> Result<Loop, BoxError> {
        let key = Uuid::new_v4();
        until("the loop to be made", async || {
            match self.ask(desk, key).await {
                Ok(made) => Ok(Ok(made)),
                Err(error) if error.is_transient() => Ok(Err(error.to_string())),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn ask(&self, desk: &LoopDesk, request_key: Uuid) -> Result<Loop, RestError> {
        match self {
            Order::Out(key, preimage) => {
                let request = LoopOutRequest {
                    pubkey: public(key).to_string(),
                    amount: AMOUNT,
                    payment_hash: Some(preimage.payment_hash().to_string()),
                    invoice_first: true,
                    internal_key: InternalKeyChoice::Musig2,
                    confirmations: 1,
                    publication_deadline: None,
                    max_fee: None,
                };
                desk.rest
                    .loop_out(&request, Some(request_key), soon())
                    .await
            }
            Order::In(key, invoice) => {
                let request = LoopInRequest {
                    pubkey: public(key).to_string(),
                    payment_request: invoice.clone(),
                    internal_key: InternalKeyChoice::Musig2,
                    max_fee: None,
                };
                desk.rest.loop_in(&request, Some(request_key), soon()).await
            }
        }
    }
}

/// One loop, from the call until the server says that it is claimed and the client has its payment; `mines`: blocks come when
/// they are waited for.
async fn claimed(desk: &LoopDesk, direction: Direction, mines: bool) -> Result<Duration, BoxError> {
    let order = Order::new(desk, direction).await?;
    let started = Instant::now();
    let made = order.make(desk).await?;
    let mut updates = desk
        .rest
        .updates(direction, hash_of(&made)?, soon())
        .await?;
    let blocks = match (mines, direction) {
        (false, _) => 0,
        (true, Direction::Out) => 1,
        (true, Direction::In) => made.confirmations,
    };
    match &order {
        Order::Out(key, preimage) => {
            pay_until_locked(desk, &made, &mut updates).await?;
            desk.mine_some(blocks).await?;
            let made = told(&mut updates, |made| made.state == State::Funded).await?;
            let (coins, to) = (locked(&made, key)?, &desk.destination);
            let claim = taproot::claim(&coins, preimage, key, to, RATE, &mut thread_rng())?;
            desk.send(&claim).await?;
        }
        Order::In(..) => {
            let to = made
                .address
                .as_ref()
                .ok_or("a loop in without an address")?;
            let to = to.parse::<Address<_>>()?.assume_checked();
            let bitcoind = desk.world.bitcoind();
            bitcoind.send(&to, Sat(made.amount + made.fee)).await?;
            desk.mine_some(blocks).await?;
            // The server's claim.
            told(&mut updates, |made| made.spend.is_some()).await?;
        }
    }
    desk.mine_some(blocks.min(1)).await?;
    told(&mut updates, |made| made.state == State::Claimed).await?;
    paid(desk, &order, &made).await?;
    Ok(started.elapsed())
}

impl LoopDesk {
    async fn mine_some(&self, blocks: u32) -> Result<(), BoxError> {
        match blocks {
            0 => Ok(()),
            _ => self.mine(blocks).await.map(drop),
        }
    }
}

fn hash_of(made: &Loop) -> Result<PaymentHash, BoxError> {
    Ok(made.payment_hash.parse()?)
}

/// Pays a loop out, again when the payment was given back: it may not have lapsed late enough.
async fn pay_until_locked(
    desk: &LoopDesk,
    made: &Loop,
    updates: &mut Updates,
) -> Result<(), BoxError> {
    let route = Route::new(ROUTE.0, ROUTE.1);
    loop {
        desk.node.pay(&made.payment_request, &route).await?;
        loop {
            match updates.next(Deadline::after(LOOK)).await {
                Ok(Some(made)) if made.funding.is_some() => return sent(desk, &made).await,
                Ok(Some(made)) if made.state == State::Created => {}
                Ok(told) => return Err(format!("a loop was not locked: {told:?}").into()),
                Err(RestError::TimedOut { .. }) => {
                    if desk.node.outgoing(hash_of(made)?).await? == Outgoing::Failed {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Waits until a loop's funding, which is told when it is signed, can get into a block, or is in one.
async fn sent(desk: &LoopDesk, made: &Loop) -> Result<(), BoxError> {
    let funding = made.funding.as_ref().ok_or("a loop without a funding")?;
    let rpc = desk.world.bitcoind().rpc();
    until("the funding to be sent", async || {
        let known = [
            funding.txid.clone().into(),
            funding.vout.into(),
            true.into(),
        ];
        let output: serde_json::Value = rpc.call("gettxout", &known, soon()).await?;
        Ok(match output.is_null() {
            true => Err(format!("{} is not there", funding.txid)),
            false => Ok(()),
        })
    })
    .await
}

/// Waits until the server tells what is wanted.
async fn told(updates: &mut Updates, wanted: impl Fn(&Loop) -> bool) -> Result<Loop, BoxError> {
    let mut last = None;
    while let Some(made) = updates.next(soon()).await? {
        if wanted(&made) {
            return Ok(made);
        }
        if matches!(made.state, State::Failed | State::Refunded) {
            return Err(format!("a loop ended as {made:?}").into());
        }
        last = Some(made);
    }
    Err(format!("the server told no more after {last:?}").into())
}

/// Waits until the Lightning payment has arrived.
async fn paid(desk: &LoopDesk, order: &Order, made: &Loop) -> Result<(), BoxError> {
    let hash = hash_of(made)?;
    until("the payment to arrive", async || {
        let arrived = match order {
            Order::Out(..) => matches!(desk.node.outgoing(hash).await?, Outgoing::Succeeded(_)),
            Order::In(..) => matches!(desk.node.received(hash).await?, Received::Yes(_)),
        };
        Ok(match arrived {
            true => Ok(()),
            false => Err("not yet".into()),
        })
    })
    .await
}
