//! `swaprig client` as a process: killed at every boundary between two of its effects, it pays once and claims.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use swaprig_harness::units::PaymentHash;
use uuid::Uuid;

use crate::seller::{PRICE, preimage_of};
use crate::support::sandbox::Sandbox;
use crate::swap::{AMOUNT, Market, soon};

/// Longer than most steps of the buyer's take, so that it sees the states in between.
const BLOCK: Duration = Duration::from_millis(30);

/// The flags that describe the buyer, its rules apart.
fn flags(market: &Market) -> Vec<String> {
    let node = market.world.node("buyer").unwrap();
    let storage = node.tls_cert().parent().unwrap().to_owned();
    let pairs = [
        ("--server", market.address.clone()),
        ("--electrum", market.electrum()),
        ("--ldk-address", node.grpc_address()),
        ("--ldk-dir", storage.display().to_string()),
        ("--to", market.destination.to_string()),
        ("--dir", market.dir.path().display().to_string()),
        ("--within", "50 s".into()),
    ];
    let words = pairs
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value]);
    words.chain(["--json".to_owned()]).collect()
}

fn buy(market: &Market, id: Uuid) -> Vec<String> {
    let amount = AMOUNT.to_string();
    let price = PRICE.to_string();
    let (id, buy) = (id.to_string(), "buy");
    let words = [
        "client",
        buy,
        "--amount",
        &amount,
        "--max-price",
        &price,
        "--request-id",
        &id,
    ];
    let words = words.into_iter().map(str::to_owned);
    words.chain(flags(market)).collect()
}

/// What the world does while buyers come and go: funds confirm, payments are taken, claims confirm.
async fn play(market: &Market, id: Uuid) {
    let hash: PaymentHash = preimage_of(&id.to_string()).payment_hash();
    // Blocks of Liquid come by the clock.
    let mut clock = tokio::time::interval(BLOCK);
    loop {
        clock.tick().await;
        if market.seller.has(&id.to_string()) {
            market.mine(1).await;
            market.seller.funded_one(&id.to_string());
            market.seller.take_if_held(&id.to_string(), hash).await;
        }
    }
}

fn stage(json: &str) -> String {
    let value: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
    value["stage"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_boundary_it_pays_once_and_claims() {
    let Some(market) = Market::open().await else {
        return;
    };
    let market = Arc::new(market);
    let sandbox = Sandbox::new();
    let mut swaps = 0;
    let end = soon();
    for boundary in 1.. {
        assert!(!end.has_passed(), "{boundary} boundaries took too long");
        let id = Uuid::new_v4();
        let world = {
            let market = market.clone();
            tokio::spawn(async move { play(&market, id).await })
        };
        let mut words = buy(&market, id);
        words.extend(["--failpoint".to_owned(), format!("abort:{boundary}")]);
        let done = sandbox.swaprig(&words).await;
        swaps += 1;
        let survived = done.exit.status.code() == Some(0);
        if !survived {
            assert!(done.stderr.contains("failpoint"), "{done:?}");
            sandbox.swaprig(&buy(&market, id)).await.code(0);
        }
        world.abort();
        let words = ["client", "status", &id.to_string(), "--json", "--dir"];
        let dir = market.dir.path().display().to_string();
        let words: Vec<&str> = words.into_iter().chain([dir.as_str()]).collect();
        let shown = sandbox.swaprig(&words).await.code(0);
        assert_eq!(stage(&shown.stdout), "claimed");
        assert_eq!(market.payments().await, swaps, "boundary {boundary}");
        if survived {
            // Fewer would mean that boundaries were lost.
            assert!(boundary > 8, "{boundary}");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_and_words_say_what_became_of_it() {
    let Some(market) = Market::open().await else {
        return;
    };
    let sandbox = Sandbox::new();
    let dir = market.dir.path().display().to_string();
    let nothing = Uuid::nil().to_string();
    let missing = ["client", "status", &nothing, "--dir", &dir];
    let missing = sandbox.swaprig(&missing).await.code(4);
    assert!(
        missing.stderr.contains("no purchase and no loop"),
        "{missing:?}"
    );
    let id = Uuid::new_v4();
    let mut words = buy(&market, id);
    let price = words.iter().position(|word| word == "--max-price").unwrap();
    words[price + 1] = "59_999 sat".into();
    words.retain(|word| word != "--json");
    let refused = sandbox.swaprig(&words).await.code(1);
    assert!(refused.stdout.contains("AMOUNT_ABOVE_CAP"), "{refused:?}");
    let bad = sandbox
        .swaprig(&["client", "buy", "--amount", "5"])
        .await
        .code(2);
    assert!(bad.stderr.contains("5 units"), "{bad:?}");
    let all = sandbox
        .swaprig(&["client", "list", "--dir", &dir, "--json"])
        .await
        .code(0);
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    assert_eq!(all[0]["stage"], "refused");
    assert_eq!(all[0]["refusal"]["reason"], "AMOUNT_ABOVE_CAP");
    assert_eq!(market.payments().await, 0);
    let words = ["client", "resume"].map(str::to_owned).into_iter();
    let words: Vec<String> = words.chain(flags(&market)).collect();
    let none = sandbox.swaprig(&words).await.code(0);
    assert_eq!(none.stdout.trim(), "[]");
}
