//! The drivers over real processes: what bitcoind is started with and does, and the first path over Lightning, a channel
//! from Alice to Bob, an invoice of Bob's, a payment. What each side says is looked at separately, because each knows
//! only its own.

mod support;

use std::collections::HashMap;

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{Address, Network};
use serde_json::{Value, json};
use swaprig_harness::ldk_server::{Direction, InvoiceRequest, PaymentStatus, RouteLimits};
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Height, Msat, Sat};
use swaprig_harness::world::{CHANNEL_DEPTH, INVOICE_EXPIRY, WAIT};
use swaprig_scenarios::lang;
use swaprig_scenarios::run::{FailureKind, Steps as _};
use swaprig_scenarios::steps::{
    Expect, Fund, MakeInvoice, Mine, Observable, OpenChannel, Operand, Pay,
};

const SIZE: Sat = Sat(1_000_000);
const AMOUNT: Msat = Msat(50_000_000);
/// The reward of each of the first blocks of regtest.
const REWARD: Sat = Sat(50 * 100_000_000);

/// The keys and values of `bitcoin.conf`. A key that stands twice fails the test.
fn settings_of(conf: &str) -> HashMap<&str, &str> {
    let mut settings = HashMap::new();
    for line in conf.lines().filter(|line| !line.is_empty()) {
        if line.starts_with(['#', '[']) {
            continue;
        }
        let (key, value) = line.split_once('=').expect("a line is `key=value`");
        assert_eq!(settings.insert(key, value), None, "{key} stands twice");
    }
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bitcoind_runs_on_a_generated_configuration() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder.start().await.unwrap();
    let conf = std::fs::read_to_string(world.bitcoind().dir().join("bitcoin.conf")).unwrap();
    let settings = settings_of(&conf);
    assert_eq!((settings["regtest"], settings["server"]), ("1", "1"));
    assert_eq!(settings["txindex"], "1");
    assert!(settings["fallbackfee"].parse::<f64>().unwrap() > 0.0);
    let address = |port: &str| format!("127.0.0.1:{port}");
    assert_eq!(address(settings["rpcport"]), world.bitcoind().rpc_address());
    assert_eq!(address(settings["port"]), world.bitcoind().p2p_address());
    assert_eq!(settings["bind"], world.bitcoind().p2p_address());
    assert_eq!(
        (settings["rpcbind"], settings["rpcallowip"]),
        ("127.0.0.1", "127.0.0.1")
    );
    assert!(!settings["rpcuser"].is_empty() && !settings["rpcpassword"].is_empty());
    // It says of itself that it follows them.
    let rpc = world.bitcoind().rpc();
    let deadline = Deadline::after(WAIT);
    let chain: Value = rpc.call("getblockchaininfo", &[], deadline).await.unwrap();
    assert_eq!(
        (&chain["chain"], &chain["initialblockdownload"]),
        (&json!("regtest"), &json!(false))
    );
    let indexes: Value = rpc.call("getindexinfo", &[], deadline).await.unwrap();
    assert!(indexes["txindex"].is_object(), "{indexes}");
    world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bitcoind_mines_exactly_and_its_wallet_pays() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder.start().await.unwrap();
    let (node, deadline) = (world.bitcoind(), Deadline::after(WAIT));
    let rpc = node.rpc();
    // The first of 101 rewards has matured.
    assert_eq!(node.height().await.unwrap(), Height(101));
    assert_eq!(rpc.balance(deadline).await.unwrap(), REWARD);

    for (blocks, height) in [(1, 102), (7, 109), (250, 359)] {
        let count = async || -> u32 { rpc.call("getblockcount", &[], deadline).await.unwrap() };
        let before = count().await;
        let hashes = node.generate(BlockDelta(blocks), deadline).await.unwrap();
        assert_eq!(
            (hashes.len(), count().await - before),
            (blocks as usize, blocks)
        );
        let tip = node.tip().await.unwrap();
        assert_eq!(
            (tip.height, Some(&tip.hash)),
            (Height(height), hashes.last())
        );
    }

    // Nobody's address, so that what it receives is not the wallet's.
    let script = bitcoin::ScriptBuf::new_p2wsh(&bitcoin::WScriptHash::all_zeros());
    let stranger = Address::from_script(&script, Network::Regtest).unwrap();
    let amount = Sat(123_456_789);
    let txid = node.send(&stranger, amount).await.unwrap();
    assert!(world.is_in_mempool(txid).await.unwrap());
    world.mine(BlockDelta(1)).await.unwrap();
    assert!(!world.is_in_mempool(txid).await.unwrap());
    let sent: Value = rpc
        .call("getrawtransaction", &[json!(txid), json!(true)], deadline)
        .await
        .unwrap();
    assert_eq!(sent["confirmations"], json!(1));
    let outputs = sent["vout"].as_array().unwrap();
    let paid = outputs
        .iter()
        .find(|out| out["scriptPubKey"]["address"] == json!(stranger));
    assert_eq!(paid.unwrap()["value"].to_string(), "1.23456789");
    world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_are_taken_away_and_given_back_and_nodes_follow() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder.lightning(["alice"]).start().await.unwrap();
    let (node, deadline) = (world.bitcoind(), Deadline::after(WAIT));
    let alice = world.node("alice").unwrap();
    assert_eq!(world.mine(BlockDelta(3)).await.unwrap(), Height(104));
    let old = node.tip().await.unwrap();
    assert_eq!(alice.info().await.unwrap().block_hash, old.hash);

    let block_103 = async || {
        let hash = node
            .rpc()
            .call("getblockhash", &[json!(103)], deadline)
            .await;
        hash.unwrap()
    };
    let third = block_103().await;
    world.invalidate(third).await.unwrap();
    assert_eq!(node.height().await.unwrap(), Height(102));
    // A longer branch takes over, for everybody.
    assert_eq!(world.mine(BlockDelta(3)).await.unwrap(), Height(105));
    let new = node.tip().await.unwrap();
    assert_eq!(alice.info().await.unwrap().block_hash, new.hash);

    // The old branch is valid again, and shorter.
    node.rpc().reconsider_block(third, deadline).await.unwrap();
    assert_eq!(node.tip().await.unwrap(), new);
    let fork = block_103().await;
    world.invalidate(fork).await.unwrap();
    assert_eq!(node.tip().await.unwrap(), old);
    // A Lightning node does not go back to less work, so nobody waits for it here.
    node.rpc().reconsider_block(fork, deadline).await.unwrap();
    assert_eq!(world.barrier(deadline).await.unwrap(), new);
    world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_were_killed_come_back_on_their_data() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder.lightning(["alice"]).start().await.unwrap();
    let (node, deadline) = (world.bitcoind(), Deadline::after(WAIT));
    let alice = world.node("alice").unwrap();
    world.mine(BlockDelta(4)).await.unwrap();
    // Only what is on the disk outlives a SIGKILL; a stop writes everything down.
    node.stop(deadline).await;
    node.restart(deadline).await.unwrap();
    assert_eq!(node.height().await.unwrap(), Height(105));
    let (id, pid) = (alice.node_id(), alice.running().pid());
    alice.kill().await;
    assert!(!alice.is_running() && support::processes::is_gone(pid));
    alice.restart(deadline).await.unwrap();
    assert_ne!(alice.running().pid(), pid);
    assert_eq!(alice.info().await.unwrap().node_id, id);
    node.kill().await;
    node.restart(deadline).await.unwrap();
    // It pays and mines as before, and the node finds it again.
    world.fund("alice", Sat(1_000_000)).await.unwrap();
    world.mine(BlockDelta(1)).await.unwrap();
    world
        .wait_spendable("alice", Sat(1_000_000), deadline)
        .await
        .unwrap();
    world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_opened_and_an_invoice_is_paid() {
    let Some(builder) = support::world() else {
        return;
    };
    let sandbox = support::sandbox::Sandbox::new();
    let dir = RunDir::numbered(sandbox.path(), Keep::Always).unwrap();
    let builder = builder.lightning(["alice", "bob"]).run_dir(dir);
    let world = builder.start().await.unwrap();
    let deadline = Deadline::after(WAIT);
    let (alice, bob) = (world.node("alice").unwrap(), world.node("bob").unwrap());

    // Two identities, both at bitcoind's tip, before anything is done.
    let tip = world.barrier(deadline).await.unwrap();
    assert_ne!(alice.node_id(), bob.node_id());
    assert_eq!(tip.height, Height(101));
    for node in [alice, bob] {
        assert_eq!(node.node_id().serialize().len(), 33);
        let info = node.info().await.unwrap();
        assert_eq!((info.height, info.block_hash), (tip.height, tip.hash));
        assert!(
            node.new_address()
                .await
                .unwrap()
                .to_string()
                .starts_with("bcrt1")
        );
    }
    let mut ports = support::processes::ports_below(world.dir());
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 6);
    assert_ne!(alice.dir(), bob.dir());

    world.fund("alice", Sat(2_000_000)).await.unwrap();
    world.fund("bob", Sat(200_000)).await.unwrap();
    world.mine(BlockDelta(1)).await.unwrap();
    world
        .wait_spendable("alice", Sat(2_000_000), deadline)
        .await
        .unwrap();
    world
        .wait_spendable("bob", Sat(200_000), deadline)
        .await
        .unwrap();

    let channel = world
        .open_channel("alice", "bob", SIZE, None, false, deadline)
        .await
        .unwrap();
    world.mine(CHANNEL_DEPTH).await.unwrap();
    world.wait_usable(&channel, deadline).await.unwrap();
    let ours = world.channel_of("alice", &channel).await.unwrap().unwrap();
    let theirs = world.channel_of("bob", &channel).await.unwrap().unwrap();
    assert_eq!(ours.channel_id, theirs.channel_id);
    assert_eq!((ours.size, theirs.size), (SIZE, SIZE));
    assert_eq!(
        (ours.counterparty, theirs.counterparty),
        (bob.node_id(), alice.node_id())
    );

    let request = InvoiceRequest {
        amount: Some(AMOUNT),
        description: "tea".into(),
        expiry: INVOICE_EXPIRY,
    };
    let invoice = bob.invoice(&request).await.unwrap();
    let said = ldk_server_client::api::DecodeInvoiceRequest {
        invoice: invoice.bolt11.clone(),
    };
    let said = bob.client().decode_invoice(said).await.unwrap();
    assert_eq!(said.destination, bob.node_id().to_string());
    assert_eq!(
        (said.amount_msat, said.expiry),
        (Some(AMOUNT.0), INVOICE_EXPIRY.as_secs())
    );
    assert_eq!(said.payment_hash, invoice.hash.to_string());

    alice
        .pay(&invoice.bolt11, None, RouteLimits::default())
        .await
        .unwrap();
    let sent = world
        .wait_settled("alice", invoice.hash, Direction::Outbound, deadline)
        .await
        .unwrap();
    let received = world
        .wait_settled("bob", invoice.hash, Direction::Inbound, deadline)
        .await
        .unwrap();
    assert_eq!(
        (sent.status, received.status),
        (PaymentStatus::Succeeded, PaymentStatus::Succeeded)
    );
    assert_eq!((sent.amount, received.amount), (Some(AMOUNT), Some(AMOUNT)));
    // A direct peer takes no fee, and the preimage proves the payment.
    assert_eq!(sent.fee.unwrap_or_default(), Msat(0));
    let preimage = sent.preimage.expect("the payer learns the preimage");
    assert_eq!(
        sha256::Hash::hash(&preimage.0).to_byte_array(),
        invoice.hash.0
    );

    let after = world.channel_of("alice", &channel).await.unwrap().unwrap();
    assert_eq!(ours.outbound.checked_sub(after.outbound), Some(AMOUNT));
    let gained = bob.balances().await.unwrap().lightning;
    assert_eq!(Msat(gained.0 * 1_000), AMOUNT);

    // What everybody said stays readable when that was asked for.
    let logs = world.logs();
    let kept = world.finish().await.unwrap().unwrap();
    assert_eq!(logs.len(), 3);
    for (name, logs) in &logs {
        assert!(
            logs.stdout.starts_with(&kept) && logs.last_line().is_some(),
            "{name}"
        );
    }
    assert_ne!(logs[1].1, logs[2].1);
}

/// What a scenario file says, said from Rust: the same structs, the same waits, the same failures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_the_language_run_from_rust() {
    let Some(builder) = support::world() else {
        return;
    };
    let world = builder.lightning(["alice", "bob"]).start().await.unwrap();
    let fund = |party: &str, amount| world.step(Fund::new(party, amount));
    fund("alice", Sat(2_000_000)).await.unwrap();
    fund("bob", Sat(100_000)).await.unwrap();
    world.step(Mine::new(BlockDelta(1))).await.unwrap();
    let open = OpenChannel::new("bob", "alice", Sat(1_000_000));
    let channel = world.step(open).await.unwrap();
    let mined = world.step(Mine::new(CHANNEL_DEPTH)).await.unwrap();
    assert_eq!(mined.height, Height(108));
    world
        .wait_usable(&channel.opened, Deadline::after(WAIT))
        .await
        .unwrap();

    let invoice = MakeInvoice {
        amount: Some(AMOUNT.into()),
        ..MakeInvoice::new("bob")
    };
    let invoice = world.step(invoice).await.unwrap();
    let paid = world
        .step(Pay::new(invoice.clone(), "alice"))
        .await
        .unwrap();
    assert_eq!(
        paid.preimage.map(|preimage| preimage.payment_hash()),
        Some(invoice.hash)
    );

    let again = world.step(Pay::new(invoice, "alice")).await.unwrap_err();
    assert_eq!(again.kind, FailureKind::Refused);
    let height =
        Expect::new(Observable::Height).is(Operand::Value(lang::Value::Height(Height(108))));
    world.step(height).await.unwrap();
    world.finish().await.unwrap();
}
