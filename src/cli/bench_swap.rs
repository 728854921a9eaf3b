//! `swaprig bench swap`: the swap server and the buyer's library, in a world of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use elements::AssetId;
use futures_util::future::try_join_all;
use swaprig::client::{Buyer, Stage};
use swaprig_harness::binary::Settings;
use swaprig_harness::elementsd::lbtc;
use swaprig_harness::world::Binaries;
use swaprig_proto::v1::swap_service_client::SwapServiceClient;
use swaprig_proto::v1::{CreateSwapRequest, SubscribeSwapRequest, SwapStatus};
use tonic::transport::Channel;
use uuid::Uuid;

use super::bench::{megabytes, millis};
use super::bench_desk::{AMOUNT, COIN, Desk, wish};
use super::bench_market::{
    BoxError, CALLERS, ONE_BY_ONE, SIDE_BY_SIDE, WARM, cold, in_lanes, one_by_one, per_second,
    soon, stocks, tell_side_by_side, until,
};
use super::stats::Samples;

/// How many swaps each caller makes of L-BTC and of another asset.
const OF_LBTC: u32 = 20;
const OF_ASSET: u32 = 10;
/// Swaps before the server's memory is looked at first, and between that and the last look.
const SETTLED_IN: u32 = 100;
pub(super) const SOAK: u32 = 1_000;
/// A key that nobody has to have: the generator of secp256k1.
const CLAIM_KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// Measures `runs` times; then, once, the server's memory over `soak` swaps.
pub(super) async fn swaps(
    (runs, soak): (u32, u32),
    base: &Path,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), BoxError> {
    for _ in 0..runs {
        one(base, settings, binaries, samples).await?;
    }
    match soak {
        0 => Ok(()),
        _ => soaked(soak, base, settings, binaries, samples).await,
    }
}

async fn one(
    base: &Path,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), BoxError> {
    let (_empty, cold) = cold(settings)?;
    let started = Instant::now();
    let desk = Desk::open(base, &cold, binaries, 1).await?;
    let buyer = desk.buyer().await?;
    claimed(&desk, &buyer).await?;
    samples.add("claimed_cold", "ms", millis(started.elapsed()));

    desk.stock(lbtc(), COIN, SIDE_BY_SIDE + WARM).await?;
    for _ in 0..WARM {
        let taken = claimed(&desk, &buyer).await?;
        samples.add("create_to_claimed", "ms", millis(taken));
    }
    let taken = side_by_side(&desk, &buyer, SIDE_BY_SIDE).await?;
    tell_side_by_side(samples, taken);

    creates(&desk, samples).await?;
    drop(buyer);
    desk.world.finish().await?;
    Ok(())
}

async fn creates(desk: &Desk, samples: &mut Samples) -> Result<(), BoxError> {
    let at_once = CALLERS * OF_LBTC;
    desk.stock(lbtc(), COIN, ONE_BY_ONE + at_once).await?;
    let mut client = desk.swaps()?;
    // The connection is not part of a call.
    create(&mut client, lbtc()).await?;
    one_by_one(samples, async || create(&mut client, lbtc()).await).await?;

    let rate = callers(desk, lbtc(), OF_LBTC).await?;
    samples.add("creates_per_second_16", "1/s", rate);

    desk.mine(1).await?;
    let asset = desk.stock_asset(CALLERS * OF_ASSET + CALLERS).await?;
    let rate = callers(desk, asset, OF_ASSET).await?;
    samples.add("asset_creates_per_second_16", "1/s", rate);
    Ok(())
}

/// Swaps in a second when [`CALLERS`] make `each` at once.
async fn callers(desk: &Desk, asset: AssetId, each: u32) -> Result<f64, BoxError> {
    let mut clients = Vec::new();
    for _ in 0..CALLERS {
        let mut client = desk.swaps()?;
        client.get_offer(offer_of(asset)).await?;
        clients.push(client);
    }
    let started = Instant::now();
    let all = clients.into_iter().map(|mut client| async move {
        for _ in 0..each {
            create(&mut client, asset).await?;
        }
        Ok::<_, BoxError>(())
    });
    try_join_all(all).await?;
    Ok(per_second(CALLERS * each, started.elapsed()))
}

fn offer_of(asset: AssetId) -> swaprig_proto::v1::GetOfferRequest {
    swaprig_proto::v1::GetOfferRequest {
        asset_id: asset.to_string(),
    }
}

/// One CreateSwap that does not wait for confirmations.
async fn create(
    client: &mut SwapServiceClient<Channel>,
    asset: AssetId,
) -> Result<Duration, BoxError> {
    let request = CreateSwapRequest {
        request_id: Uuid::new_v4().to_string(),
        asset_id: asset.to_string(),
        amount: AMOUNT,
        claim_pubkey: CLAIM_KEY.into(),
        min_confirmations: 1,
        max_total_price_msat: 0,
        wait_for_confirmations: false,
    };
    let started = Instant::now();
    let answer = client.create_swap(request).await?;
    let taken = started.elapsed();
    let swap = answer.into_inner().swap.unwrap_or_default();
    match swap.funding {
        Some(_) => Ok(taken),
        None => Err(format!("swap {} was answered without a funding", swap.swap_id).into()),
    }
}

/// One swap, from the call until the server says that it is claimed.
async fn claimed(desk: &Desk, buyer: &Buyer) -> Result<Duration, BoxError> {
    let started = Instant::now();
    let made = wish(buyer).await?;
    let id = made.request.request_id;
    let swap_id = made.swap_id.ok_or("the server gave the swap no name")?;
    let bought = async {
        let record = buyer.run(id, soon()).await?;
        match record.stage {
            Stage::Claimed => Ok(()),
            stage => Err(BoxError::from(format!(
                "the swap ended as {}",
                stage.name()
            ))),
        }
    };
    let mined = async {
        desk.mine(2).await?;
        let claim = || Ok(buyer.status(id)?.claims.last().map(|claim| claim.txid));
        desk.sent("the claim", claim).await?;
        desk.mine(1).await
    };
    let told = async {
        let request = SubscribeSwapRequest {
            swap_id: swap_id.to_string(),
        };
        let mut updates = desk.swaps()?.subscribe_swap(request).await?.into_inner();
        while let Some(update) = updates.message().await? {
            if update
                .swap
                .is_some_and(|swap| swap.status() == SwapStatus::Claimed)
            {
                return Ok(started.elapsed());
            }
        }
        Err("the server told the end before the claim".into())
    };
    let ((), (), taken) = tokio::try_join!(bought, mined, told)?;
    Ok(taken)
}

/// Makes, pays and claims `count` swaps side by side, and mines all the time.
async fn side_by_side(desk: &Desk, buyer: &Buyer, count: u32) -> Result<Duration, BoxError> {
    let one = async || {
        let made = wish(buyer).await?;
        let record = buyer.run(made.request.request_id, soon()).await?;
        match record.stage {
            Stage::Claimed => Ok(()),
            stage => Err(format!("a swap ended as {}", stage.name()).into()),
        }
    };
    in_lanes(count, one, desk.keep_mining()).await
}

/// Many swaps through one server: what it holds more of memory after them, and that it holds nothing else.
async fn soaked(
    count: u32,
    base: &Path,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), BoxError> {
    let desk = Desk::open(base, settings, binaries, SETTLED_IN + count).await?;
    let buyer = desk.buyer().await?;
    side_by_side(&desk, &buyer, SETTLED_IN).await?;
    nothing_is_left(&desk).await?;
    let before = desk.resident()?;
    side_by_side(&desk, &buyer, count).await?;
    nothing_is_left(&desk).await?;
    let after = desk.resident()?;
    samples.add("server_rss_100", "MB", megabytes(before));
    let growth = megabytes(after) - megabytes(before);
    let name = match count {
        SOAK => "server_rss_growth_1000",
        _ => "server_rss_growth",
    };
    samples.add(name, "MB", growth);
    drop(buyer);
    desk.world.finish().await?;
    Ok(())
}

/// Waits until no swap is under way and no coin is reserved or locked: every swap was claimed and confirmed.
async fn nothing_is_left(desk: &Desk) -> Result<(), BoxError> {
    desk.mine(3).await?;
    until("every reservation to be released", async || {
        let stocks = stocks(&desk.world).await?;
        let held: u64 = stocks
            .assets
            .iter()
            .map(|stock| stock.reserved + stock.locked)
            .sum();
        let (swaps, msat) = (stocks.swaps_in_flight, stocks.exposure_msat);
        Ok(match (held, swaps, msat) {
            (0, 0, 0) => Ok(()),
            _ => Err(format!(
                "{held} reserved or locked, {swaps} swaps in flight, {msat} msat exposed"
            )),
        })
    })
    .await
}
