//! The index, of one script hash: histories, their order and status, coins, balances, notifications.

use elements::Script;
use elements::hashes::sha256;
use serde_json::{Value, json};
use swaprig_harness::time::{Deadline, Probe, poll_until};

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Stop, Trial, text};
use crate::tx::{Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "index/history",
        Shared,
        "get_history: confirmed ones by height, unconfirmed ones last; status hash",
        history
    ),
    case!(
        "index/subscribe",
        Shared,
        "scripthash.subscribe: a notification for the mempool and one for the block",
        subscribe
    ),
    case!(
        "index/headers",
        Shared,
        "headers.subscribe: every new tip is told",
        headers
    ),
    case!("index/coins", Shared, "listunspent and get_balance", coins),
    case!(
        "index/broadcast",
        Shared,
        "transaction.broadcast and transaction.get",
        broadcast
    ),
    case!(
        "index/unindexed",
        Shared,
        "OP_RETURN and fee outputs are not indexed",
        unindexed
    ),
];

/// The name of a script in the protocol: its SHA256, backwards.
pub(super) fn script_hash(script: &Script) -> String {
    let mut hash = sha256::Hash::hash(script.as_bytes()).to_byte_array();
    hash.reverse();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until the history of `hash` has `count` entries and all of them are confirmed, or the last one is not.
pub(super) async fn wait_for_history(
    t: &mut Trial<'_>,
    hash: &str,
    count: usize,
    confirmed: bool,
) -> Step<Value> {
    let deadline = Deadline::after(std::time::Duration::from_secs(30));
    let poke = t.lab.poke.clone();
    let index = tokio::sync::Mutex::new(t.index().await?);
    let what = format!(
        "the index to have {count} transactions, {}",
        if confirmed {
            "confirmed"
        } else {
            "the last one not"
        }
    );
    let found = poll_until(what, deadline, || async {
        (poke.0)();
        let answer = index
            .lock()
            .await
            .ask("blockchain.scripthash.get_history", json!([hash]))
            .await;
        let history = match answer {
            Ok(Ok(history)) => history,
            Ok(Err(error)) => return Probe::Pending(error.to_string()),
            Err(error) => return Probe::Fatal(error),
        };
        let entries = history.as_array().cloned().unwrap_or_default();
        let last_is_confirmed = entries
            .last()
            .is_some_and(|last| last["height"].as_i64().is_some_and(|height| height > 0));
        if entries.len() == count && last_is_confirmed == confirmed {
            Probe::Ready(history)
        } else {
            Probe::Pending(history.to_string())
        }
    });
    found.await.map_err(|error| Stop(error.to_string()))
}

/// The status of a history, as the protocol defines it.
fn status(history: &Value) -> String {
    let entries = history.as_array().into_iter().flatten();
    let line: String = entries
        .map(|entry| format!("{}:{}:", text(&entry["tx_hash"]), entry["height"]))
        .collect();
    sha256::Hash::hash(line.as_bytes()).to_string()
}

fn paying(t: &Trial<'_>, coin: &crate::tx::Coin, script: Script) -> Draft {
    Draft::spending(&[coin])
        .pay(script, coin.value() - FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc)
}

async fn history(t: &mut Trial<'_>) -> Step<()> {
    let (key, other) = (Key::new(&mut t.random), Key::new(&mut t.random));
    let hash = script_hash(&key.script());
    let none = t
        .indexed("blockchain.scripthash.get_history", json!([hash]))
        .await?;
    t.expect_json("of an unknown script", &none, &json!([]));
    let status_of_none = t
        .indexed("blockchain.scripthash.subscribe", json!([hash]))
        .await?;
    t.expect_json("its status", &status_of_none, &Value::Null);

    let coins = t
        .lab
        .fund(
            &mut t.random,
            &[
                Wanted::explicit(&key, 100_000),
                Wanted::confidential(&key, 90_000),
            ],
        )
        .await?;
    let funded = t.lab.height().await?;
    let first = wait_for_history(t, &hash, 1, true).await?;
    t.holds(
        "two outputs of one transaction are one entry, at their height",
        first[0]["height"] == json!(funded),
    );
    t.holds(
        "its id",
        first[0]["tx_hash"] == json!(coins[0].outpoint.txid.to_string()),
    );
    t.shape(
        "a confirmed entry",
        &first,
        &["[].tx_hash: string", "[].height: number"],
    );

    let spend = paying(t, &coins[0], other.script()).sign(0, &key);
    t.send(&spend).await?;
    let second = wait_for_history(t, &hash, 2, false).await?;
    t.shape(
        "an unconfirmed entry",
        &second[1],
        &["tx_hash: string", "height: number", "fee: number"],
    );
    t.expect_json("its height", &second[1]["height"], &json!(0));
    t.expect_json("its fee", &second[1]["fee"], &json!(FEE));
    let told = t
        .indexed("blockchain.scripthash.subscribe", json!([hash]))
        .await?;
    t.expect(
        "status with an unconfirmed one",
        text(&told),
        status(&second),
    );

    // A transaction whose input is itself unconfirmed has height -1.
    let back = paying(t, &spend.coin(0), key.script()).sign(0, &other);
    t.send(&back).await?;
    let third = wait_for_history(t, &hash, 3, false).await?;
    let entry = third
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["tx_hash"] == json!(back.txid()));
    t.expect_json(
        "with an unconfirmed parent",
        &entry.cloned().unwrap_or_default()["height"],
        &json!(-1),
    );
    let mempool = t
        .ask_index("blockchain.scripthash.get_mempool", json!([hash]))
        .await?;
    t.see("get_mempool", crate::observe::told_by_index(&mempool));
    t.lab.mine(1).await?;
    let all = wait_for_history(t, &hash, 3, true).await?;
    let heights: Vec<i64> = all
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["height"].as_i64())
        .map(|height| height - i64::from(funded))
        .collect();
    t.expect("heights", format!("{heights:?}"), "[0, 1, 1]");
    // Blockstream's electrs gives those of one block in any order.
    let has = |draft: &Draft| {
        all.as_array().is_some_and(|all| {
            all[1..]
                .iter()
                .any(|entry| entry["tx_hash"] == json!(draft.txid()))
        })
    };
    t.holds("both of one block", has(&spend) && has(&back));
    let told = t
        .indexed("blockchain.scripthash.subscribe", json!([hash]))
        .await?;
    t.expect("status", text(&told), status(&all));
    Ok(())
}

async fn subscribe(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let hash = script_hash(&key.script());
    let before = t
        .indexed("blockchain.scripthash.subscribe", json!([hash]))
        .await?;
    t.expect_json("nothing yet", &before, &Value::Null);
    let coins = t
        .lab
        .fund_unconfirmed(&mut t.random, &[Wanted::explicit(&key, 50_000)])
        .await?;
    let own = hash.clone();
    let unconfirmed = t
        .notified("blockchain.scripthash.subscribe", move |params| {
            params[0] == json!(own)
        })
        .await?;
    t.shape("a notification", &unconfirmed, &["[]: string"]);
    let line = format!("{}:0:", coins[0].outpoint.txid);
    t.expect(
        "its status",
        text(&unconfirmed[1]),
        sha256::Hash::hash(line.as_bytes()).to_string(),
    );
    t.lab.mine(1).await?;
    let height = t.lab.height().await?;
    let line = format!("{}:{height}:", coins[0].outpoint.txid);
    let wanted = sha256::Hash::hash(line.as_bytes()).to_string();
    let own = json!([hash, wanted]);
    let confirmed = t
        .notified("blockchain.scripthash.subscribe", move |params| {
            *params == own
        })
        .await?;
    t.holds("another one for the block", confirmed[1] != unconfirmed[1]);
    let ended = t
        .ask_index("blockchain.scripthash.unsubscribe", json!([hash]))
        .await?;
    t.see(
        "unsubscribe",
        match &ended {
            Ok(value) => value.to_string(),
            Err(_) => crate::observe::told_by_index(&ended),
        },
    );
    Ok(())
}

async fn headers(t: &mut Trial<'_>) -> Step<()> {
    t.lab.index_follows().await?;
    let tip = t.indexed("blockchain.headers.subscribe", json!([])).await?;
    t.shape("the tip", &tip, &["hex: string", "height: number"]);
    let height = t.lab.height().await?;
    t.holds("its height", tip["height"] == json!(height));
    for n in 1..=2 {
        let block = t.lab.mine(1).await?.remove(0);
        let height = t.lab.height().await?;
        let told = t
            .notified("blockchain.headers.subscribe", move |params| {
                params[0]["height"] == json!(height)
            })
            .await?;
        let header = t.node("getblockheader", json!([block, false])).await?;
        t.holds(
            format!("block {n}: its header is the node's"),
            told[0]["hex"] == header,
        );
        if n == 1 {
            t.shape(
                "a notification",
                &told,
                &["[].hex: string", "[].height: number"],
            );
        }
    }
    Ok(())
}

async fn coins(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let hash = script_hash(&key.script());
    let coins = t
        .lab
        .fund(
            &mut t.random,
            &[
                Wanted::explicit(&key, 100_000),
                Wanted::confidential(&key, 90_000),
            ],
        )
        .await?;
    wait_for_history(t, &hash, 1, true).await?;
    for method in [
        "blockchain.scripthash.listunspent",
        "blockchain.scripthash.get_balance",
    ] {
        let answer = t.ask_index(method, json!([hash])).await?;
        t.see(
            format!("{method} ends"),
            crate::observe::told_by_index(&answer),
        );
        if let Ok(answer) = answer {
            t.shape(method, &answer, &[]);
        }
    }
    let spend = paying(t, &coins[0], key.script()).sign(0, &key);
    t.send(&spend).await?;
    wait_for_history(t, &hash, 2, false).await?;
    let listed = t
        .ask_index("blockchain.scripthash.listunspent", json!([hash]))
        .await?;
    if let Ok(listed) = listed {
        let mut all: Vec<String> = listed
            .as_array()
            .into_iter()
            .flatten()
            .map(|coin| {
                let name = if coin["tx_hash"] == json!(spend.txid()) {
                    "the change"
                } else {
                    "the confidential one"
                };
                format!(
                    "{name} at height {}",
                    if coin["height"] == json!(0) {
                        "0"
                    } else {
                        "of its block"
                    }
                )
            })
            .collect();
        all.sort();
        t.expect(
            "coins after a spend",
            all.join(", "),
            "the change at height 0, the confidential one at height of its block",
        );
    }
    t.lab.mine(1).await?;
    Ok(())
}

async fn broadcast(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::confidential(&key, 100_000)])
        .await?
        .remove(0);
    let draft = Draft::spending(&[&coin])
        .pay_blinded(key.script(), 50_000, t.lab.lbtc, key.blinder())
        .pay_blinded(key.script(), 50_000 - FEE, t.lab.lbtc, key.blinder())
        .fee(FEE, t.lab.lbtc)
        .blind(&mut t.random)
        .sign(0, &key);
    let txid = t
        .indexed("blockchain.transaction.broadcast", json!([draft.hex()]))
        .await?;
    t.holds("it answers with the id", txid == json!(draft.txid()));
    let pool = t.node("getrawmempool", json!([])).await?;
    t.expect_json("the node has it", &pool, &json!([draft.txid()]));
    let hash = script_hash(&key.script());
    wait_for_history(t, &hash, 2, false).await?;
    let got = t
        .indexed("blockchain.transaction.get", json!([draft.txid()]))
        .await?;
    t.holds("transaction.get, unconfirmed", got == json!(draft.hex()));
    t.lab.mine(1).await?;
    wait_for_history(t, &hash, 2, true).await?;
    let got = t
        .indexed("blockchain.transaction.get", json!([draft.txid()]))
        .await?;
    t.holds("transaction.get, confirmed", got == json!(draft.hex()));
    let got = t
        .indexed("blockchain.transaction.get", json!([draft.txid(), false]))
        .await?;
    t.holds("transaction.get, not verbose", got == json!(draft.hex()));
    let verbose = t
        .ask_index("blockchain.transaction.get", json!([draft.txid(), true]))
        .await?;
    t.see(
        "transaction.get, verbose",
        crate::observe::told_by_index(&verbose),
    );
    let again = t
        .ask_index("blockchain.transaction.broadcast", json!([draft.hex()]))
        .await?;
    t.see("the same one again", crate::observe::told_by_index(&again));
    Ok(())
}

async fn unindexed(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 50_000)])
        .await?
        .remove(0);
    let data = Script::new_op_return(b"not indexed");
    let draft = Draft::spending(&[&coin])
        .pay(data.clone(), 0, t.lab.lbtc)
        .pay(key.script(), 50_000 - FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc)
        .sign(0, &key);
    t.send(&draft).await?;
    t.lab.mine(1).await?;
    wait_for_history(t, &script_hash(&key.script()), 2, true).await?;
    for (label, script) in [("OP_RETURN", data), ("the fee output", Script::new())] {
        let found = t
            .indexed(
                "blockchain.scripthash.get_history",
                json!([script_hash(&script)]),
            )
            .await?;
        t.expect_json(format!("history of {label}"), &found, &json!([]));
    }
    Ok(())
}
