//! The client of loops against the real server: both ways, together and by script, taken back, and killed at every boundary.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcoin::Network;
use serde_json::Value;
use swaprig::chain::bitcoin::{BitcoinFees, BitcoinSettings, BitcoinSource};
use swaprig::client::Seed;
use swaprig::client::loops::{Caps, Config, Looper, Mode, Policy, Record, Stage, Wish};
use swaprig::lightning::{Outgoing, Received};
use swaprig_harness::bitcoind::{PASSWORD, USER};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{Height, Msat, PaymentHash, Sat};
use swaprig_proto::loops::InternalKeyChoice;
use uuid::Uuid;

use crate::desk::{Desk, soon};
use crate::support::sandbox::Sandbox;

const AMOUNT: Sat = Sat(50_000);
const CAPS: Caps = Caps {
    swap_fee: Sat(10_000),
    miner_fee: Sat(5_000),
    routing_fee: Msat(10_000),
    prepay: Sat(0),
};
/// Between two looks of the miner; longer than most steps of a client take.
const BLOCK: Duration = Duration::from_millis(50);

fn source(desk: &Desk) -> String {
    let address = desk.world.bitcoind().rpc_address();
    format!("http://{USER}:{PASSWORD}@{address}")
}

async fn looper(desk: &Desk, dir: &Path) -> Looper {
    let config = Config {
        server: format!("http://{}", desk.server().address()),
        lightning: desk.node("client"),
        bitcoin: BitcoinSettings {
            network: Network::Regtest,
            source: BitcoinSource::parse(&source(desk), None).unwrap(),
            dir: dir.join("wallet"),
            birthday: Height(0),
            fees: BitcoinFees::default(),
        },
        dir: dir.to_owned(),
        policy: Policy {
            depth: 1,
            poll: Duration::from_millis(50),
            ..Policy::default()
        },
        seed: Seed::from_bytes([3; 32]),
    };
    let looper = Looper::open(config).await.unwrap();
    looper.chain().sync().await.unwrap();
    looper
}

fn wish(mode: Mode) -> Wish {
    Wish {
        id: None,
        mode,
        amount: AMOUNT,
        caps: CAPS,
        internal: InternalKeyChoice::Musig2,
        confirmations: 1,
        publication: None,
        conf_target: 6,
        destination: None,
        cooperative: true,
        external: false,
    }
}

/// Mines a block whenever something waits for one.
async fn mine_on_demand(desk: &Desk) {
    let mut clock = tokio::time::interval(BLOCK);
    loop {
        clock.tick().await;
        let rpc = desk.world.bitcoind().rpc();
        let waiting: Vec<String> = rpc.call("getrawmempool", &[], soon()).await.unwrap();
        if !waiting.is_empty() {
            desk.mine(1).await;
        }
    }
}

/// Drives a loop to its end while blocks come.
async fn drive(desk: &Desk, looper: &Looper, wish: &Wish) -> Record {
    let id = looper.wished(wish).await.unwrap().ask.id;
    tokio::select! {
        ended = looper.run(id, soon()) => {
            ended.unwrap_or_else(|error| panic!("{error}\n{:#?}", looper.status(id)))
        }
        () = mine_on_demand(desk) => unreachable!(),
    }
}

fn hash_of(record: &Record) -> PaymentHash {
    record.offer.as_ref().unwrap().payment_hash
}

/// What the client's wallet has.
fn balance(looper: &Looper) -> u64 {
    looper.chain().coins().iter().map(|coin| coin.value.0).sum()
}

async fn give_coins(desk: &Desk, looper: &Looper, sat: u64) {
    let to = looper.chain().deposit_address().unwrap();
    desk.pay(&to, sat).await;
    desk.mine(1).await;
    looper.chain().sync().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_loops_out_together_by_script_and_with_the_servers_preimage() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let looper = looper(&desk, dir.path()).await;
    let scripted = Wish {
        cooperative: false,
        ..wish(Mode::Out)
    };
    let unspendable = Wish {
        internal: InternalKeyChoice::Unspendable,
        ..wish(Mode::Out)
    };
    let all = [
        (wish(Mode::Out), true),
        (scripted, false),
        (unspendable, false),
        (wish(Mode::OutPlain), true),
    ];
    let mut expected = 0;
    for (wish, together) in all {
        let ended = drive(&desk, &looper, &wish).await;
        assert_eq!(ended.stage, Stage::Claimed, "{ended:#?}");
        let spend = ended.spends.last().unwrap();
        assert_eq!(spend.cooperative, together, "{ended:#?}");
        let paid = desk.node("client").outgoing(hash_of(&ended)).await;
        let preimage = ended.preimage.unwrap();
        desk.until("the payment to be taken", async || match &paid {
            Ok(Outgoing::Succeeded(shown)) if *shown == preimage => Ok(()),
            other => match desk.node("client").outgoing(hash_of(&ended)).await {
                Ok(Outgoing::Succeeded(shown)) if shown == preimage => Ok(()),
                later => Err(format!("{other:?} {later:?}")),
            },
        })
        .await;
        looper.chain().sync().await.unwrap();
        expected += AMOUNT.0 - spend.fee.0;
        assert_eq!(balance(&looper), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_loops_in_and_takes_back_what_is_not_paid() {
    let Some(desk) = Desk::open(&["--loop-in-confirmations", "1"]).await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let looper = looper(&desk, dir.path()).await;
    give_coins(&desk, &looper, 400_000).await;
    let ended = drive(&desk, &looper, &wish(Mode::In)).await;
    assert_eq!(ended.stage, Stage::Paid, "{ended:#?}");
    let received = desk.node("client").received(hash_of(&ended)).await;
    assert_eq!(received.unwrap(), Received::Yes(AMOUNT.to_msat().unwrap()));
    looper.chain().sync().await.unwrap();
    let contract = ended.contract.unwrap();
    assert_eq!(contract.value.0, AMOUNT.0 + ended.offer.unwrap().fee.0);
    let left = 400_000 - contract.value.0 - ended.funding.unwrap().fee.0;
    assert_eq!(balance(&looper), left);

    // Somebody else sends a satoshi too little: it comes back, with the server's signature, long before the timeout.
    let external = Wish {
        external: true,
        ..wish(Mode::In)
    };
    let id = looper.wished(&external).await.unwrap().ask.id;
    let agreed = looper
        .run_until(id, soon(), |record| record.contract.is_some())
        .await
        .unwrap();
    let to = agreed.address(Network::Regtest).unwrap();
    desk.pay(&to, agreed.contract.unwrap().value.0 - 1).await;
    let ended = drive(
        &desk,
        &looper,
        &Wish {
            id: Some(id),
            ..external.clone()
        },
    )
    .await;
    assert_eq!(ended.stage, Stage::Refunded, "{ended:#?}");
    let spend = ended.spends.last().unwrap();
    assert!(spend.cooperative, "{ended:#?}");
    looper.chain().sync().await.unwrap();
    let back = agreed.contract.unwrap().value.0 - 1 - spend.fee.0;
    assert_eq!(balance(&looper), left + back);

    // Given up before anything is sent.
    let id = looper.wished(&external).await.unwrap().ask.id;
    looper
        .run_until(id, soon(), |record| record.contract.is_some())
        .await
        .unwrap();
    looper.give_up(id).unwrap();
    let ended = looper.run(id, soon()).await.unwrap();
    assert_eq!(ended.stage, Stage::Refused, "{ended:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_comes_back_by_itself_when_the_server_is_gone() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let looper = looper(&desk, dir.path()).await;
    give_coins(&desk, &looper, 400_000).await;
    let id = looper.wished(&wish(Mode::In)).await.unwrap().ask.id;
    let agreed = looper
        .run_until(id, soon(), |record| record.contract.is_some())
        .await
        .unwrap();
    desk.server().kill().await;
    let timeout = agreed.contract.unwrap().timeout;
    let sent = looper.run_until(id, Deadline::after(Duration::from_secs(3)), |record| {
        record.stage == Stage::Refunding
    });
    assert!(sent.await.is_err(), "it waits");
    let tip = looper.chain().tip().await.unwrap();
    desk.mine(timeout.0 - tip.0).await;
    let ended = drive(
        &desk,
        &looper,
        &Wish {
            id: Some(id),
            ..wish(Mode::In)
        },
    )
    .await;
    assert_eq!(ended.stage, Stage::Refunded, "{ended:#?}");
    assert!(!ended.spends.last().unwrap().cooperative);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rescue_file_alone_takes_a_loop_in_back() {
    let Some(desk) = Desk::open(&[]).await else {
        return;
    };
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("client");
    let looper = looper(&desk, &dir).await;
    give_coins(&desk, &looper, 400_000).await;
    let id = looper.wished(&wish(Mode::In)).await.unwrap().ask.id;
    let sent = |record: &Record| record.funding.is_some();
    let funded = looper.run_until(id, soon(), sent).await.unwrap();
    desk.server().kill().await;
    let (file, contract) = (looper.rescue_path(id), funded.contract.unwrap());
    let raw = bitcoin::consensus::encode::deserialize_hex(&funded.funding.unwrap().raw);
    // Sent already, or not yet.
    let _ = desk.send(&raw.unwrap()).await;
    drop(looper);
    let tip = desk.mine(1).await;
    let to = desk.destination().await;
    let to = bitcoin::Address::from_script(&to, Network::Regtest).unwrap();
    let (shown, source) = (to.to_string(), source(&desk));
    let command = ["client", "rescue-loop", file.to_str().unwrap()];
    let flags = ["--bitcoin", &source, "--to", &shown];
    let words = [command.as_slice(), &flags].concat();
    let early = sandbox.swaprig(&words).await.code(3);
    assert!(early.stderr.contains("non-final"), "{early:?}");
    desk.mine(contract.timeout.0 - tip.0).await;
    sandbox.swaprig(&words).await.code(0);
    desk.mine(1).await;
    let back = desk.outputs_to(&to).await;
    assert_eq!(back.len(), 1);
    // 138 virtual bytes at 5 sat each, or 126 to a shorter address.
    let fee = contract.value.0 - back[0].1.0;
    assert!((600..=700).contains(&fee), "{fee}");
    sandbox.swaprig(&words).await.code(4);
}

/// The words that run a command of the client in `dir`.
fn words(desk: &Desk, dir: &Path, command: &[&str]) -> Vec<String> {
    let node = desk.world.node("client").unwrap();
    let storage = node.tls_cert().parent().unwrap().to_owned();
    let flags = [
        ("--server", format!("http://{}", desk.server().address())),
        ("--bitcoin", source(desk)),
        ("--ldk-address", node.grpc_address()),
        ("--ldk-dir", storage.display().to_string()),
        ("--dir", dir.display().to_string()),
        ("--depth", "1".into()),
        ("--within", "50 s".into()),
    ];
    let flags = flags
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value]);
    let command = ["client"].iter().chain(command).map(ToString::to_string);
    command.chain(flags).chain(["--json".to_owned()]).collect()
}

/// Kills a command at each of its boundaries, and runs it again: it ends each time, and `pays` once.
async fn killed_at_every_boundary(command: &[&str], end: &str, args: &[&str]) {
    let Some(desk) = Desk::open(args).await else {
        return;
    };
    let desk = Arc::new(desk);
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("client");
    {
        // Of the same seed and directory as the commands.
        let shown = sandbox
            .swaprig(&words(&desk, &dir, &["wallet"]))
            .await
            .code(0);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        let to: bitcoin::Address<_> = shown["address"].as_str().unwrap().parse().unwrap();
        let to = to.assume_checked();
        for _ in 0..20 {
            desk.pay(&to, GIVEN).await;
        }
        desk.mine(1).await;
    }
    let miner = {
        let desk = desk.clone();
        tokio::spawn(async move { mine_on_demand(&desk).await })
    };
    for boundary in 1..40 {
        let id = Uuid::new_v4().to_string();
        let named: Vec<&str> = command
            .iter()
            .copied()
            .chain(["--request-id", &id])
            .collect();
        let run = words(&desk, &dir, &named);
        let kill = ["--failpoint".to_owned(), format!("abort:{boundary}")];
        let first: Vec<String> = run.iter().cloned().chain(kill).collect();
        let done = sandbox.swaprig(&first).await;
        let survived = done.exit.status.code() == Some(0);
        if !survived {
            assert!(done.stderr.contains("failpoint"), "{boundary} {done:?}");
            sandbox.swaprig(&run).await.code(0);
        }
        let at = dir.display().to_string();
        let shown = ["client", "status", &id, "--json", "--dir", &at];
        let shown = sandbox.swaprig(&shown).await.code(0);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(shown["stage"], end, "boundary {boundary}: {shown:#}");
        if survived {
            // Fewer would mean that boundaries were lost.
            assert!(boundary > 7, "{boundary}");
            // Whatever was done twice would be missed, or be too much.
            desk.mine(1).await;
            let all = ["client", "list", "--json", "--dir", &at];
            let all = sandbox.swaprig(&all).await.code(0);
            let all: Vec<Value> = serde_json::from_str(&all.stdout).unwrap();
            assert_eq!(all.len(), boundary);
            let wallet = words(&desk, &dir, &["wallet"]);
            let wallet = sandbox.swaprig(&wallet).await.code(0);
            let wallet: Value = serde_json::from_str(&wallet.stdout).unwrap();
            let expected = all.iter().fold(GIVEN * 20, |sum, one| {
                let sat = |name: &str| one[name].as_u64().unwrap_or(0);
                match one["direction"].as_str() {
                    Some("out") => sum + sat("amount") - sat("spend_fee_sat"),
                    _ => sum - sat("locked_sat") - sat("funding_fee_sat"),
                }
            });
            assert_eq!(wallet["confirmed_sat"].as_u64(), Some(expected));
            miner.abort();
            return;
        }
    }
    panic!("it never came to its end undisturbed");
}

/// One of the coins that the client begins with.
const GIVEN: u64 = 100_000;
const TERMS: [&str; 4] = ["--amount", "50_000 sat", "--max-swap-fee", "10_000 sat"];

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_out_that_is_killed_at_every_boundary_is_claimed() {
    let command = [&["loop-out"], TERMS.as_slice()].concat();
    killed_at_every_boundary(&command, "claimed", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_that_is_killed_at_every_boundary_is_paid() {
    let command = [&["loop-in"], TERMS.as_slice()].concat();
    killed_at_every_boundary(&command, "paid", &["--loop-in-confirmations", "1"]).await;
}
