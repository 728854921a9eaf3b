//! The first end-to-end path over real processes: a channel from Alice to Bob, an invoice of Bob's, a payment.
//! What each side says is looked at separately, because each knows only its own.

mod support;

use bitcoin::hashes::{Hash as _, sha256};
use swaprig_harness::ldk_server::{Direction, InvoiceRequest, PaymentStatus, RouteLimits};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Msat, Sat};
use swaprig_harness::world::{CHANNEL_DEPTH, INVOICE_EXPIRY, WAIT};

const SIZE: Sat = Sat(1_000_000);
const AMOUNT: Msat = Msat(50_000_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_opened_and_an_invoice_is_paid() {
    let Some(builder) = support::world() else { return };
    let world = builder.lightning(["alice", "bob"]).start().await.unwrap();
    let deadline = Deadline::after(WAIT);
    let (alice, bob) = (world.node("alice").unwrap(), world.node("bob").unwrap());

    // Two identities, both at bitcoind's tip, before anything is done.
    let tip = world.barrier(deadline).await.unwrap();
    assert_ne!(alice.node_id(), bob.node_id());
    assert_eq!(alice.node_id().to_string().len(), 66);
    assert_eq!((alice.info().await.unwrap().height, tip.height.0), (tip.height, 101));
    assert_ne!(alice.p2p_address(), alice.grpc_address());
    assert_ne!(alice.dir(), bob.dir());

    world.fund("alice", Sat(2_000_000)).await.unwrap();
    world.fund("bob", Sat(200_000)).await.unwrap();
    world.mine(BlockDelta(1)).await.unwrap();
    world.wait_spendable("alice", Sat(2_000_000), deadline).await.unwrap();
    world.wait_spendable("bob", Sat(200_000), deadline).await.unwrap();

    let channel = world.open_channel("alice", "bob", SIZE, None, false, deadline).await.unwrap();
    world.mine(CHANNEL_DEPTH).await.unwrap();
    world.wait_usable(&channel, deadline).await.unwrap();
    let ours = world.channel_of("alice", &channel).await.unwrap().unwrap();
    let theirs = world.channel_of("bob", &channel).await.unwrap().unwrap();
    assert_eq!(ours.channel_id, theirs.channel_id);
    assert_eq!((ours.size, theirs.size), (SIZE, SIZE));
    assert_eq!((ours.counterparty, theirs.counterparty), (bob.node_id(), alice.node_id()));

    let request = InvoiceRequest { amount: Some(AMOUNT), description: "tea".into(), expiry: INVOICE_EXPIRY };
    let invoice = bob.invoice(&request).await.unwrap();
    let said = ldk_server_client::api::DecodeInvoiceRequest { invoice: invoice.bolt11.clone() };
    let said = bob.client().decode_invoice(said).await.unwrap();
    assert_eq!(said.destination, bob.node_id().to_string());
    assert_eq!((said.amount_msat, said.expiry), (Some(AMOUNT.0), INVOICE_EXPIRY.as_secs()));
    assert_eq!(said.payment_hash, invoice.hash.to_string());

    alice.pay(&invoice.bolt11, None, RouteLimits::default()).await.unwrap();
    let sent = world.wait_settled("alice", invoice.hash, Direction::Outbound, deadline).await.unwrap();
    let received = world.wait_settled("bob", invoice.hash, Direction::Inbound, deadline).await.unwrap();
    assert_eq!((sent.status, received.status), (PaymentStatus::Succeeded, PaymentStatus::Succeeded));
    assert_eq!((sent.amount, received.amount), (Some(AMOUNT), Some(AMOUNT)));
    // A direct peer takes no fee, and the preimage proves the payment.
    assert_eq!(sent.fee.unwrap_or_default(), Msat(0));
    let preimage = sent.preimage.expect("the payer learns the preimage");
    assert_eq!(sha256::Hash::hash(&preimage.0).to_byte_array(), invoice.hash.0);

    let after = world.channel_of("alice", &channel).await.unwrap().unwrap();
    assert_eq!(ours.outbound.checked_sub(after.outbound), Some(AMOUNT));
    world.finish().await.unwrap();
}
