//! What the swap services ask of a Lightning node, asked of two real ones.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use swaprig::lightning::{
    CredentialSource, Held, LdkServer, LdkServerConfig, LightningError, LightningNode, Outgoing,
    Received, Route, SetupError, Wake,
};
use swaprig_harness::World;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat};

use crate::support;

const SIZE: Sat = Sat(1_000_000);
const AMOUNT: Msat = Msat(50_000_500);
/// Fits beside `AMOUNT` into what may be in flight: the first payment's HTLC may not have left the channel yet.
const SMALLER: Msat = Msat(40_000_000);
const EXPIRY: Duration = Duration::from_secs(600);
const ROUTE: u32 = 64;

pub(crate) fn node_of(world: &World, name: &str) -> Arc<dyn LightningNode> {
    let node = world.node(name).unwrap();
    let storage = node.tls_cert().parent().unwrap().to_owned();
    let config = LdkServerConfig::local(&node.grpc_address(), &storage, "regtest");
    Arc::new(LdkServer::new(&config).unwrap())
}

fn route() -> Route {
    Route::new(Msat(1_000), BlockDelta(ROUTE))
}

/// Waits until `look` says what is `wanted`.
async fn until<T, F>(what: &str, wanted: impl Fn(&T) -> bool, mut look: impl FnMut() -> F) -> T
where
    T: std::fmt::Debug,
    F: Future<Output = Result<T, LightningError>>,
{
    let found = poll_until(what, Deadline::after(support::SOON), || {
        let looked = look();
        let wanted = &wanted;
        async move {
            match looked.await {
                Ok(seen) if wanted(&seen) => Probe::Ready(seen),
                Ok(seen) => Probe::Pending(format!("{seen:?}")),
                Err(error) => Probe::Fatal(error),
            }
        }
    });
    found.await.unwrap()
}

async fn wakes_for(wakes: &mut swaprig::lightning::Wakes, hash: PaymentHash) {
    let deadline = Deadline::after(support::SOON);
    loop {
        let wake = deadline.bound(wakes.next()).await;
        if wake.expect("the node tells of the payment") == Wake::Payment(hash) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_is_held_and_taken_or_given_back_and_both_sides_know() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder
        .lightning(["buyer", "seller"])
        .start()
        .await
        .unwrap();
    let (buyer, seller) = (node_of(&world, "buyer"), node_of(&world, "seller"));
    assert_eq!(seller.receivable().await.unwrap(), Msat(0));
    world
        .open_usable_channel("buyer", "seller", SIZE)
        .await
        .unwrap();
    let info = seller.info().await.unwrap();
    let known = world.node("seller").unwrap().node_id();
    assert_eq!(info.node_id, known);
    assert_eq!(info.height, world.bitcoind().height().await.unwrap());
    // Whoever did not open the channel accepts a tenth of it in flight.
    assert_eq!(seller.receivable().await.unwrap(), Msat(100_000_000));

    let (mut ours, mut theirs) = (buyer.events(), seller.events());
    let deadline = Deadline::after(support::SOON);
    for wakes in [&mut ours, &mut theirs] {
        assert_eq!(deadline.bound(wakes.next()).await, Some(Wake::Rescan));
    }
    let preimage = Preimage([7; 32]);
    let hash = preimage.payment_hash();
    let invoice = seller
        .hold_invoice(hash, AMOUNT, "swap:1", EXPIRY)
        .await
        .unwrap();
    assert_eq!(buyer.outgoing(hash).await.unwrap(), Outgoing::Unknown);
    assert_eq!(seller.received(hash).await.unwrap(), Received::No);
    assert!(seller.held().await.unwrap().is_empty());

    buyer.pay(&invoice, &route()).await.unwrap();
    wakes_for(&mut theirs, hash).await;
    let held = until(
        "it to be held",
        |held: &Option<Held>| held.is_some(),
        || async { Ok(seller.held().await?.get(&hash).copied()) },
    )
    .await
    .unwrap();
    assert_eq!(held.amount, Msat(50_000_000), "whole satoshis");
    let (least, most) = (info.height.0 + 42 - 39, info.height.0 + ROUTE - 39);
    assert!((least..=most + 1).contains(&held.until.0), "{held:?}");
    assert_eq!(buyer.outgoing(hash).await.unwrap(), Outgoing::Pending);
    assert_eq!(seller.received(hash).await.unwrap(), Received::No);
    // What is held counts against what may be in flight.
    assert_eq!(seller.receivable().await.unwrap(), Msat(49_999_000));
    // The payer's node never pays a hash twice.
    let again = buyer.pay(&invoice, &route()).await.unwrap_err();
    assert!(matches!(again, LightningError::Refused { .. }), "{again}");

    until(
        "it to be received",
        |seen| *seen == Received::Yes(AMOUNT),
        || async {
            seller.claim(preimage, AMOUNT).await?;
            seller.received(hash).await
        },
    )
    .await;
    wakes_for(&mut ours, hash).await;
    let outgoing = buyer.outgoing(hash).await.unwrap();
    assert_eq!(outgoing, Outgoing::Succeeded(preimage));
    assert!(seller.held().await.unwrap().is_empty());

    let failed = Preimage([8; 32]).payment_hash();
    let invoice = seller
        .hold_invoice(failed, SMALLER, "swap:2", EXPIRY)
        .await
        .unwrap();
    buyer.pay(&invoice, &route()).await.unwrap();
    wakes_for(&mut theirs, failed).await;
    until(
        "it to have failed",
        |seen| *seen == Outgoing::Failed,
        || async {
            seller.fail(failed).await?;
            buyer.outgoing(failed).await
        },
    )
    .await;
    assert_eq!(seller.received(failed).await.unwrap(), Received::No);
    world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_the_route_hold_and_a_node_that_was_away_asks_for_a_rescan() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder
        .lightning(["buyer", "seller"])
        .start()
        .await
        .unwrap();
    let (buyer, seller) = (node_of(&world, "buyer"), node_of(&world, "seller"));
    world
        .open_usable_channel("buyer", "seller", SIZE)
        .await
        .unwrap();
    let (invoice, hash) = seller.invoice(AMOUNT, "prepay", EXPIRY).await.unwrap();
    // The payee's own delta is 42 blocks: with less no route is good enough.
    let short = Route::new(Msat(1_000), BlockDelta(20));
    let refused = buyer.pay(&invoice, &short).await.unwrap_err();
    assert!(
        matches!(refused, LightningError::Refused { .. }),
        "{refused}"
    );
    assert_eq!(buyer.outgoing(hash).await.unwrap(), Outgoing::Failed);
    // One that failed for good may be sent again.
    buyer.pay(&invoice, &route()).await.unwrap();
    until(
        "it to be received",
        |seen| *seen == Received::Yes(AMOUNT),
        || seller.received(hash),
    )
    .await;

    let mut wakes = seller.events();
    let deadline = Deadline::after(support::SOON);
    assert_eq!(deadline.bound(wakes.next()).await, Some(Wake::Rescan));
    let node = world.node("seller").unwrap();
    node.kill().await;
    let away = seller.info().await.unwrap_err();
    assert!(away.is_transient(), "{away}");
    node.restart(deadline).await.unwrap();
    assert_eq!(deadline.bound(wakes.next()).await, Some(Wake::Rescan));
    assert_eq!(seller.received(hash).await.unwrap(), Received::Yes(AMOUNT));
    assert!(seller.info().await.unwrap().height > Height(0));
    world.finish().await.unwrap();
}

#[test]
fn a_node_whose_files_are_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = LdkServerConfig::local("127.0.0.1:1", dir.path(), "regtest");
    let error = LdkServer::new(&config).unwrap_err();
    assert!(
        matches!(&error, SetupError::Certificate { path, .. } if path.starts_with(dir.path())),
        "{error}"
    );
    std::fs::write(dir.path().join("tls.crt"), "no certificate").unwrap();
    let error = LdkServer::new(&config).unwrap_err();
    assert!(
        matches!(&error, SetupError::NoCredential(why) if why.contains("api_key")),
        "{error}"
    );
    let config = LdkServerConfig {
        credential: CredentialSource::File(Path::new("/nowhere/credential").to_owned()),
        ..config
    };
    let error = LdkServer::new(&config).unwrap_err();
    assert!(matches!(error, SetupError::Credential(_)), "{error}");
}
