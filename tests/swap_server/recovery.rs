//! What the server knows again after a loss: of its store, of its wallet's cache, of the index's last blocks.

use std::time::Duration;

use swaprig::client::{Buyer, Stage};
use swaprig::lightning::{Outgoing, Received};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::PaymentHash;
use swaprig_harness::world::Program;
use swaprig_proto::v1::{self, SwapStatus};
use tonic::Code;
use uuid::Uuid;

use crate::asked::{create, in_store, refused};
use crate::asset::{asset_on_sale, request_of, wish_of};
use crate::desk::{Desk, Plan, soon};
use crate::support;

const AMOUNT: u64 = 20_000;

/// What the server knew is gone; its seed is not.
async fn everything_but_the_seed_is_lost(desk: &Desk) {
    for entry in std::fs::read_dir(desk.dir()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("swaps.") {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::remove_dir_all(desk.dir().join("wallet")).unwrap();
}

/// The swap has its name and its terms.
async fn found_again(desk: &Desk, before: &v1::Swap) {
    let swaps = desk.all_swaps().await;
    let same = swaps
        .iter()
        .find(|swap| swap.payment_hash == before.payment_hash);
    let same = same.unwrap_or_else(|| panic!("{before:?} is not found: {swaps:?}"));
    assert_eq!(same.swap_id, before.swap_id);
    assert_eq!(same.htlc, before.htlc);
    assert_eq!(
        (&same.asset_id, same.amount),
        (&before.asset_id, before.amount)
    );
    assert_eq!(same.total_price_msat, before.total_price_msat);
    let outpoint = |swap: &v1::Swap| {
        let funding = swap.funding.clone().unwrap();
        (funding.txid, funding.vout, funding.fee_vout)
    };
    assert_eq!(outpoint(same), outpoint(before));
}

/// A swap of the buyer's, funded twice over.
async fn funded(desk: &Desk, buyer: &Buyer, wish: swaprig::client::Wish) -> (Uuid, v1::Swap) {
    let made = buyer.create(&wish).await.unwrap();
    desk.mine(2).await;
    let id = made.swap_id.unwrap().to_string();
    (
        wish.request_id.unwrap(),
        desk.swap_is(&id, SwapStatus::Funded).await,
    )
}

async fn claims(desk: &Desk, buyer: &Buyer, id: Uuid) {
    desk.until("the buyer to have claimed", async || {
        desk.mine(1).await;
        let budget = Deadline::after(Duration::from_millis(300));
        match buyer.run(id, budget).await {
            Ok(record) if record.stage == Stage::Claimed => Ok(()),
            Ok(record) => Err(format!("{:?}", record.stage)),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_store_is_made_again_from_seed_and_chain() {
    let Some(desk) = Desk::open(Plan::default()).await else {
        return;
    };
    let asset = asset_on_sale(&desk, 100_000).await;
    let buyer = desk.buyer("buyer").await;
    let node = desk.node("buyer");
    // Two that nobody pays, one that is paid, one whose payment is held, one that is just made.
    let unpaid = create(&desk, &Desk::request(AMOUNT)).await.unwrap();
    let unpaid_asset = create(&desk, &request_of(asset, 4_000)).await.unwrap();
    let (paid_id, paid) = funded(&desk, &buyer, Desk::wish(AMOUNT)).await;
    buyer.pay(paid_id).await.unwrap();
    let hash: PaymentHash = paid.payment_hash.parse().unwrap();
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
    let (held_id, held) = funded(&desk, &buyer, wish_of(asset)).await;
    let waiting = create(&desk, &Desk::request(AMOUNT)).await.unwrap();
    desk.mine(1).await;
    desk.swap_is(&waiting.swap_id, SwapStatus::Funded).await;
    let pending = "SELECT COUNT(*) FROM effects WHERE state = 'pending'";
    desk.until("everything to be done", async || {
        match in_store(&desk, pending, []) {
            0 => Ok(()),
            count => Err(format!("{count} effects wait")),
        }
    })
    .await;
    // It dies when it sees the payment, and before it stores anything of it.
    std::fs::write(desk.dir().join("failpoint"), "abort:1").unwrap();
    desk.server().restart(soon()).await.unwrap();
    let next_index = in_store(&desk, "SELECT MAX(swap_index) + 1 FROM swaps", []);
    buyer.pay(held_id).await.unwrap();
    soon()
        .bound(desk.server().running().exited())
        .await
        .expect("the server sees the payment");
    let held_hash: PaymentHash = held.payment_hash.parse().unwrap();
    assert_eq!(node.outgoing(held_hash).await.unwrap(), Outgoing::Pending);
    everything_but_the_seed_is_lost(&desk).await;
    desk.server().restart(soon()).await.unwrap();
    assert_eq!(desk.all_swaps().await.len(), 5);
    let again = [&unpaid, &unpaid_asset, &paid, &held, &waiting];
    for swap in again {
        found_again(&desk, swap).await;
    }
    // The held payment is taken, although the asset's sale was forgotten with the store.
    desk.until("the held payment to be taken", async || {
        match node
            .outgoing(held_hash)
            .await
            .map_err(|error| error.to_string())?
        {
            Outgoing::Succeeded(_) => Ok(()),
            other => Err(format!("{other:?}\n{}", desk.log_tail())),
        }
    })
    .await;
    // No index twice, also not when the server is killed before it makes its next swap.
    desk.server().kill().await;
    desk.server().restart(soon()).await.unwrap();
    let new = create(&desk, &Desk::request(AMOUNT)).await.unwrap();
    let index = in_store(
        &desk,
        "SELECT swap_index FROM swaps WHERE id = ?1",
        [&new.swap_id],
    );
    assert!(index >= next_index + 500, "{index} after {next_index}");
    the_buyer_claims_what_it_paid(&desk, &buyer, &[(paid_id, &paid), (held_id, &held)]).await;
    nobody_pays_the_others(&desk, &[&unpaid, &unpaid_asset, &waiting]).await;
    desk.money_is_conserved().await;
}

async fn the_buyer_claims_what_it_paid(desk: &Desk, buyer: &Buyer, swaps: &[(Uuid, &v1::Swap)]) {
    for (id, swap) in swaps {
        claims(desk, buyer, *id).await;
        let claimed = desk.swap_is(&swap.swap_id, SwapStatus::Claimed).await;
        assert!(claimed.refund_txid.is_empty(), "{claimed:?}");
    }
}

async fn nobody_pays_the_others(desk: &Desk, swaps: &[&v1::Swap]) {
    let mut last = 0;
    for swap in swaps {
        let swap = desk.swap_is(&swap.swap_id, SwapStatus::Funded).await;
        last = last.max(swap.htlc.unwrap().timeout);
    }
    let at = desk.swap(&swaps[0].swap_id).await.unwrap().liquid_height;
    desk.mine(last - at).await;
    for swap in swaps {
        let name = &swap.swap_id;
        desk.until("the refund", async || {
            desk.mine(1).await;
            match desk
                .swap(name)
                .await
                .map_err(|status| status.to_string())?
                .status()
            {
                SwapStatus::Refunded => Ok(()),
                status => Err(format!("{status:?}")),
            }
        })
        .await;
    }
    desk.mine(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_make_the_server_lose_its_way_is_refused() {
    let Some(desk) = Desk::open(Plan::default()).await else {
        return;
    };
    a_second_server_is_refused(&desk).await;
    an_index_that_lags_is_waited_for(&desk).await;
}

/// It says why, and harms nothing.
async fn a_second_server_is_refused(desk: &Desk) {
    let spec = desk.server().running().spec().clone();
    let mut args = spec.args;
    for flag in ["--listen", "--admin-listen"] {
        let at = args.iter().position(|arg| arg == flag).unwrap();
        args[at + 1] = "127.0.0.1:0".into();
    }
    let program = Program {
        program: spec.program,
        args,
        env: Vec::new(),
    };
    let ended = desk
        .world
        .run(program, Deadline::after(support::SOON))
        .await
        .unwrap();
    let exit = ended.exit.expect("it ends by itself");
    assert!(!exit.status.success(), "{exit:?}");
    assert!(
        ended.stderr.contains("is used by another swap server"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("swaps.db"), "{}", ended.stderr);
    create(desk, &Desk::request(AMOUNT)).await.unwrap();
}

/// A server that has seen more blocks than its index has makes no swaps until it catches up.
async fn an_index_that_lags_is_waited_for(desk: &Desk) {
    let swap = create(desk, &Desk::request(AMOUNT)).await.unwrap();
    desk.server().kill().await;
    let store = rusqlite::Connection::open(desk.dir().join("swaps.db")).unwrap();
    let ahead = "UPDATE cursors SET height = height + 5 WHERE chain = 'liquid'";
    assert_eq!(store.execute(ahead, []).unwrap(), 1);
    drop(store);
    let request = Desk::request(AMOUNT);
    let refusal = async {
        let status = desk
            .until(
                "the server to say that its index lags",
                async || match create(desk, &request).await {
                    Err(status) if status.message().contains("it lags") => Ok(status),
                    Err(status) => Err(status.to_string()),
                    Ok(swap) => panic!("a swap was made: {swap:?}"),
                },
            )
            .await;
        // What is stored can be asked for all the while.
        let known = desk.swap(&swap.swap_id).await.unwrap();
        assert_eq!(known.invoice, swap.invoice);
        desk.mine(5).await;
        status
    };
    let (restarted, refusal) = futures_util::join!(desk.server().restart(soon()), refusal);
    restarted.unwrap();
    refused::<()>(Err(refusal), Code::Unavailable, "this server has seen");
    create(desk, &request).await.unwrap();
    desk.swap_is(&swap.swap_id, SwapStatus::Funded).await;
}
