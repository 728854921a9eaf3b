//! Another asset than L-BTC from its issue to its claim, reorganisations on the way, and a claim against a refund.

use std::time::Duration;

use bitcoin::hashes::{Hash as _, sha256};
use elements::secp256k1_zkp::rand::thread_rng;
use elements::{AddressParams, AssetId};
use futures_util::StreamExt as _;
use serde_json::json;
use swaprig::chain::Seed;
use swaprig::client::{Stage, Wish};
use swaprig::swap::{Coin, FeeRate, Htlc, Locked, SwapSeed, claim};
use swaprig_harness::elementsd::{FAUCET, lbtc};
use swaprig_harness::process::Stopped;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Height, Msat, Units};
use swaprig_proto::v1::{self, SwapPhase, SwapStatus};
use tokio::task::JoinHandle;
use tonic::Code;
use uuid::Uuid;

use crate::asked::{create, refused};
use crate::desk::{Desk, Plan, free, soon};

/// Millisatoshi for a part of the asset.
const ASSET_PRICE: u64 = 1_000;
const AMOUNT: u64 = 5_000;

/// Issues an asset, puts it on sale, and gives the server some.
pub(crate) async fn asset_on_sale(desk: &Desk, parts: u64) -> AssetId {
    let issued = desk
        .world
        .issue_asset(FAUCET, 1_000_000, 0, false, soon())
        .await
        .unwrap();
    desk.mine(1).await;
    sell(desk, issued.asset).await;
    desk.deposit(issued.asset, parts).await;
    issued.asset
}

pub(crate) async fn sell(desk: &Desk, asset: AssetId) {
    let sale = v1::SetSaleRequest {
        asset_id: asset.to_string(),
        price_msat_per_unit: ASSET_PRICE,
        ..Default::default()
    };
    desk.admin().set_sale(sale).await.unwrap();
}

pub(crate) fn request_of(asset: AssetId, amount: u64) -> v1::CreateSwapRequest {
    v1::CreateSwapRequest {
        asset_id: asset.to_string(),
        ..Desk::request(amount)
    }
}

pub(crate) fn wish_of(asset: AssetId) -> Wish {
    Wish {
        request_id: Some(Uuid::new_v4()),
        asset,
        amount: Units(AMOUNT),
        max_price: Msat(AMOUNT * ASSET_PRICE),
    }
}

/// Every status that the server tells of a swap, until the stream ends.
async fn statuses(desk: &Desk, id: &str) -> JoinHandle<Vec<SwapStatus>> {
    let request = v1::SubscribeSwapRequest { swap_id: id.into() };
    let mut stream = desk
        .swaps()
        .subscribe_swap(request)
        .await
        .unwrap()
        .into_inner();
    tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(update) = stream.next().await {
            let status = update.unwrap().swap.unwrap().status();
            if seen.last() != Some(&status) {
                seen.push(status);
            }
        }
        seen
    })
}

/// A server that is asked to stop tells those who listen, and does not wait for them to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_subscriptions_at_once() {
    let Some(desk) = Desk::open(Plan::default()).await else {
        return;
    };
    let swap_id = create(&desk, &Desk::request(AMOUNT)).await.unwrap().swap_id;
    let request = v1::SubscribeSwapRequest { swap_id };
    let stream = desk.swaps().subscribe_swap(request).await.unwrap();
    let mut stream = stream.into_inner();
    assert!(stream.message().await.unwrap().unwrap().swap.is_some());
    let server = desk.world.server("desk").unwrap();
    let (stopped, end) = tokio::join!(server.stop(soon()), async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    });
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert!(end.message().contains("stops"), "{end}");
    assert_eq!(stopped, Stopped::Terminated);
}

/// The last block is gone, and what was in it waits for the next one.
async fn last_block_is_gone(desk: &Desk) {
    let one = BlockDelta(1);
    desk.world
        .reorg_liquid(one, one, true, soon())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asset_is_sold_to_who_has_no_l_btc_whatever_is_reorganised() {
    let plan = Plan {
        channel: 3_000_000,
        ..Plan::default()
    };
    let Some(desk) = Desk::open(plan).await else {
        return;
    };
    let asset = asset_on_sale(&desk, 100_000).await;
    let too_much = create(&desk, &request_of(asset, 100_001)).await;
    refused(
        too_much,
        Code::FailedPrecondition,
        &format!("of {asset} are wanted"),
    );
    let buyer = desk.buyer("buyer").await;
    let wish = wish_of(asset);
    let id = wish.request_id.unwrap();
    let swap_id = buyer
        .create(&wish)
        .await
        .unwrap()
        .swap_id
        .unwrap()
        .to_string();
    let told = statuses(&desk, &swap_id).await;
    desk.mine(2).await;
    let swap = desk.swap_is(&swap_id, SwapStatus::Funded).await;
    assert_eq!(swap.htlc.as_ref().unwrap().fee_value_sat, 100);
    // The funding's blocks are undone, and made again.
    desk.world
        .reorg_liquid(BlockDelta(2), BlockDelta(2), true, soon())
        .await
        .unwrap();
    desk.swap_is(&swap_id, SwapStatus::Created).await;
    desk.mine(2).await;
    desk.swap_is(&swap_id, SwapStatus::Funded).await;
    buyer.pay(id).await.unwrap();
    paid_and_not_refunded(&desk, &swap_id).await;
    desk.until("the claim to be sent", async || {
        match buyer.claim(id).await {
            Ok(record) if !record.claims.is_empty() => Ok(()),
            Ok(record) => Err(format!("{:?}", record.stage)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    desk.mine(1).await;
    let claimed = desk.swap_is(&swap_id, SwapStatus::Claimed).await;
    // The claim's block is undone, and made again.
    last_block_is_gone(&desk).await;
    let undone = desk.swap_is(&swap_id, SwapStatus::Funded).await;
    assert_eq!(undone.phase(), SwapPhase::Paid);
    desk.mine(1).await;
    let again = desk.swap_is(&swap_id, SwapStatus::Claimed).await;
    assert_eq!(
        (&again.claim_txid, &again.preimage),
        (&claimed.claim_txid, &claimed.preimage)
    );
    let preimage = elements::hex::decode_to_vec(&again.preimage).unwrap();
    assert_eq!(
        sha256::Hash::hash(&preimage).to_string(),
        again.payment_hash
    );
    desk.mine(2).await;
    let record = buyer
        .run(id, Deadline::after(Duration::from_secs(20)))
        .await
        .unwrap();
    assert_eq!(record.stage, Stage::Claimed);
    let rpc = desk.world.liquid().unwrap().elementsd().rpc();
    assert_eq!(rpc.balances("buyer", soon()).await.unwrap()[&asset], AMOUNT);
    let told = soon()
        .bound(told)
        .await
        .expect("the stream ends when the swap is final")
        .unwrap();
    use SwapStatus::{Claimed, Created, Funded};
    assert_eq!(
        told,
        [Created, Funded, Created, Funded, Claimed, Funded, Claimed]
    );
    // Of what is final one message is told.
    assert_eq!(statuses(&desk, &swap_id).await.await.unwrap(), [Claimed]);
    without_l_btc_nothing_is_sold(&desk, asset).await;
    desk.mine(1).await;
    desk.money_is_conserved().await;
}

async fn paid_and_not_refunded(desk: &Desk, swap_id: &str) {
    desk.until("the payment to be taken", async || {
        match desk
            .swap(swap_id)
            .await
            .map_err(|status| status.to_string())?
            .phase()
        {
            SwapPhase::Paid => Ok(()),
            phase => Err(format!("{phase:?}")),
        }
    })
    .await;
    let force = v1::ForceRefundRequest {
        swap_id: swap_id.into(),
    };
    let forced = desk.admin().force_refund(force).await;
    refused(forced, Code::FailedPrecondition, "the payment was taken");
}

/// The fee and the subsidy are L-BTC: without, an asset that is there cannot be sold either.
async fn without_l_btc_nothing_is_sold(desk: &Desk, asset: AssetId) {
    desk.until("all L-BTC to be sold", async || {
        let request = v1::GetOfferRequest {
            asset_id: lbtc().to_string(),
        };
        let offer = desk
            .swaps()
            .get_offer(request)
            .await
            .map_err(|status| status.to_string())?;
        let offer = offer.into_inner().offer.unwrap();
        if offer.max_amount >= offer.min_amount {
            create(desk, &Desk::request(offer.max_amount))
                .await
                .map_err(|status| status.to_string())?;
        }
        desk.mine(1).await;
        match free(
            &desk.stocks().await.map_err(|status| status.to_string())?,
            lbtc(),
        ) {
            0..100 => Ok(()),
            free => Err(format!("{free} are left")),
        }
    })
    .await;
    let before = desk.all_swaps().await.len();
    assert!(free(&desk.stocks().await.unwrap(), asset) > AMOUNT);
    let answer = create(desk, &request_of(asset, AMOUNT)).await;
    refused(
        answer,
        Code::FailedPrecondition,
        &format!("of {} are wanted", lbtc()),
    );
    assert_eq!(desk.all_swaps().await.len(), before);
}

/// The claim of somebody who has the preimage and the key, of the point that requests name: the generator, whose key is 1.
fn claim_of(desk: &Desk, swap: &v1::Swap, to: &elements::Address) -> String {
    let seed = Seed::read(&desk.dir().join("seed")).unwrap();
    let seed = SwapSeed::from_seed(&seed.bytes(), false).unwrap();
    let hash: swaprig_harness::units::PaymentHash = swap.payment_hash.parse().unwrap();
    let mut keys = (0..100).map(|index| seed.keys(index).unwrap());
    let keys = keys
        .find(|keys| keys.preimage.payment_hash() == hash)
        .unwrap();
    let (htlc, funding) = (swap.htlc.as_ref().unwrap(), swap.funding.as_ref().unwrap());
    let locked = Locked {
        htlc: Htlc {
            payment_hash: hash,
            claimer: htlc.claim_pubkey.parse().unwrap(),
            refunder: htlc.refund_pubkey.parse().unwrap(),
            timeout: Height(htlc.timeout),
        },
        lbtc: lbtc(),
        coins: vec![Coin {
            outpoint: elements::OutPoint::new(funding.txid.parse().unwrap(), funding.vout),
            asset: lbtc(),
            value: swap.amount,
        }],
    };
    let mut one = [0; 32];
    one[31] = 1;
    let key = bitcoin::secp256k1::SecretKey::from_slice(&one).unwrap();
    let made = claim(
        &locked,
        &keys.preimage,
        &key,
        to,
        FeeRate(1_000),
        &mut thread_rng(),
    );
    elements::encode::serialize_hex(&made.unwrap())
}

/// At the timeout the server sends its refund, and the block has the claim: the chain decides. The other swap is refunded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_timeout_the_chain_decides_between_claim_and_refund() {
    let Some(desk) = Desk::open(Plan::default()).await else {
        return;
    };
    let raced = create(&desk, &Desk::request(20_000)).await.unwrap();
    let unpaid = create(&desk, &Desk::request(30_000)).await.unwrap();
    desk.mine(1).await;
    for swap in [&raced, &unpaid] {
        desk.swap_is(&swap.swap_id, SwapStatus::Funded).await;
    }
    let rpc = desk.world.liquid().unwrap().elementsd().rpc();
    let pair = rpc.new_address("buyer", soon()).await.unwrap();
    assert_eq!(pair.explicit.params, &AddressParams::ELEMENTS);
    let claim = claim_of(&desk, &raced, &pair.explicit);
    let timeout = raced.htlc.as_ref().unwrap().timeout;
    let at = desk.swap(&raced.swap_id).await.unwrap().liquid_height;
    desk.mine(timeout - at - 1).await;
    let early = desk.swap(&raced.swap_id).await.unwrap();
    assert!(
        early.refund_txid.is_empty(),
        "one block too early: {early:?}"
    );
    desk.mine(1).await;
    desk.until("both refunds to be sent", async || {
        let waiting = rpc
            .mempool(soon())
            .await
            .map_err(|error| error.to_string())?;
        match waiting.len() {
            2 => Ok(()),
            count => Err(format!("{count} transactions wait")),
        }
    })
    .await;
    let raw = [json!(pair.explicit.to_string()), json!([claim])];
    let _: serde_json::Value = rpc.call("generateblock", &raw, soon()).await.unwrap();
    desk.world.liquid_barrier(soon()).await.unwrap();
    let claimed = desk.swap_is(&raced.swap_id, SwapStatus::Claimed).await;
    assert!(
        !claimed.claim_txid.is_empty() && !claimed.refund_txid.is_empty(),
        "{claimed:?}"
    );
    // Nobody paid for it: the operator is told.
    desk.until("the alarm", async || {
        match desk.log().contains("claimed_unpaid") {
            true => Ok(()),
            false => Err(String::new()),
        }
    })
    .await;
    desk.mine(1).await;
    let refunded = desk.swap_is(&unpaid.swap_id, SwapStatus::Refunded).await;
    assert!(refunded.claim_txid.is_empty(), "{refunded:?}");
    let refund = refunded.refund_txid.parse().unwrap();
    let depth = desk
        .world
        .liquid_confirmations(refund, soon())
        .await
        .unwrap();
    assert_eq!(
        depth,
        Some(1),
        "the refund that is told is not the one on the chain"
    );
    desk.mine(2).await;
    desk.swap_is(&raced.swap_id, SwapStatus::Claimed).await;
    let force = v1::ForceRefundRequest {
        swap_id: raced.swap_id.clone(),
    };
    let forced = desk.admin().force_refund(force).await;
    refused(forced, Code::FailedPrecondition, "is over");
    desk.money_is_conserved().await;
}
