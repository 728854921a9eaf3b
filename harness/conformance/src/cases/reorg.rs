//! Blocks that are taken away: what becomes of their transactions, and what the index makes of it.

use serde_json::{Value, json};

use super::case;
use super::index::{script_hash, wait_for_history};
use crate::Case;
use crate::lab::Wanted;
use crate::observe::told;
use crate::trial::{Step, Trial, Verdict, text};
use crate::tx::{Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "reorg/invalidate",
        Fresh,
        "invalidateblock takes a spend back into the mempool, reconsiderblock confirms it again",
        invalidate
    ),
    case!(
        "reorg/replaced",
        Fresh,
        "a spend that was mined is unmined and replaced",
        replaced
    ),
    case!(
        "reorg/fork",
        Fresh,
        "a longer branch takes the place of a spend's block",
        fork
    ),
    case!(
        "reorg/submitblock",
        Fresh,
        "a branch brought by submitblock switches the chain",
        submitblock
    ),
    case!("reorg/deep", Fresh, "forty blocks are taken away", deep),
    case!(
        "reorg/coinbase",
        Fresh,
        "a spend of a coinbase whose block goes does not survive",
        coinbase
    ),
];

async fn spend(t: &mut Trial<'_>) -> Step<(Key, Draft)> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 100_000)])
        .await?
        .remove(0);
    let draft = Draft::spending(&[&coin])
        .pay(key.script(), 100_000 - FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc)
        .sign(0, &key);
    Ok((key, draft))
}

async fn confirmations(t: &Trial<'_>, draft: &Draft) -> Step<String> {
    let shown = t
        .reply("getrawtransaction", json!([draft.txid(), true]))
        .await?;
    Ok(match shown.result {
        Ok(shown) => shown
            .get("confirmations")
            .map_or("unconfirmed".into(), Value::to_string),
        Err(refused) => refused.code.to_string(),
    })
}

/// Moves the clock. An empty block is its parent, height and time alone: one with the same three is the block that was
/// declared invalid.
async fn later(t: &Trial<'_>) -> Step<()> {
    let tip = t.node("getblockchaininfo", json!([])).await?;
    let time = tip["mediantime"].as_u64().unwrap_or_default();
    t.node("setmocktime", json!([time + 10_000])).await?;
    Ok(())
}

async fn invalidate(t: &mut Trial<'_>) -> Step<()> {
    let (_, draft) = spend(t).await?;
    t.send(&draft).await?;
    let block = t.lab.mine(1).await?.remove(0);
    t.lab.mine(2).await?;
    t.expect("before", confirmations(t, &draft).await?, "3");
    let height = t.lab.height().await?;
    let answer = t.node("invalidateblock", json!([block])).await?;
    t.expect_json("invalidateblock", &answer, &Value::Null);
    t.expect(
        "the chain is shorter",
        (height - t.lab.height().await?).to_string(),
        "3",
    );
    t.expect("after", confirmations(t, &draft).await?, "unconfirmed");
    let pool = t.node("getrawmempool", json!([])).await?;
    t.expect_json("it waits again", &pool, &json!([draft.txid()]));
    let tips = t.node("getchaintips", json!([])).await?;
    let mut states: Vec<String> = tips
        .as_array()
        .into_iter()
        .flatten()
        .map(|tip| text(&tip["status"]))
        .collect();
    states.sort();
    t.see("tips", states.join(" "));
    let gone = t.node("getblockheader", json!([block])).await?;
    t.expect_json(
        "the block is off the chain",
        &gone["confirmations"],
        &json!(-1),
    );
    t.node("reconsiderblock", json!([block])).await?;
    t.expect(
        "the chain is back",
        t.lab.height().await?.to_string(),
        height.to_string(),
    );
    t.expect(
        "after reconsiderblock",
        confirmations(t, &draft).await?,
        "3",
    );
    t.expect_json(
        "nothing waits",
        &t.node("getrawmempool", json!([])).await?,
        &json!([]),
    );
    Ok(())
}

async fn replaced(t: &mut Trial<'_>) -> Step<()> {
    let (key, draft) = spend(t).await?;
    t.send(&draft).await?;
    let block = t.lab.mine(1).await?.remove(0);
    t.node("invalidateblock", json!([block])).await?;
    let coin = draft.coins[0].clone();
    let other = Draft::spending(&[&coin])
        .pay(key.script(), 100_000 - 4 * FEE, t.lab.lbtc)
        .fee(4 * FEE, t.lab.lbtc)
        .sign(0, &key);
    t.verdict("another spend with a higher fee", &other, Verdict::Accepted)
        .await?;
    let again = t.lab.mine(1).await?.remove(0);
    t.holds("another block", again != block);
    // The index of transactions of the node keeps what it has seen in a block, whatever becomes of the block.
    t.expect(
        "the first one is in no block of the chain",
        confirmations(t, &draft).await?,
        "0",
    );
    t.verdict(
        "and cannot come back",
        &draft,
        Verdict::Refused {
            reason: "missing-inputs",
            error: "-25: bad-txns-inputs-missingorspent",
        },
    )
    .await?;
    t.lab.index_follows().await?;
    let hash = script_hash(&key.script());
    let history = wait_for_history(t, &hash, 2, true).await?;
    t.holds(
        "the index has the second one",
        history[1]["tx_hash"] == json!(other.txid()),
    );
    let unknown = t
        .ask_index("blockchain.transaction.get", json!([draft.txid()]))
        .await?;
    t.holds("and not the first", unknown.is_err());
    // The branch that was declared invalid is as long: nothing switches back by itself.
    t.node("reconsiderblock", json!([block])).await?;
    let tip = text(&t.node("getbestblockhash", json!([])).await?);
    t.see(
        "which of two blocks of one height is the tip",
        if tip == again {
            "the one that was seen to be valid last"
        } else {
            "the one that was first"
        },
    );
    Ok(())
}

async fn fork(t: &mut Trial<'_>) -> Step<()> {
    let (key, draft) = spend(t).await?;
    t.send(&draft).await?;
    let block = t.lab.mine(1).await?.remove(0);
    let height = t.lab.height().await?;
    // The branch is built while the other one is switched off, then both are allowed and the longer one stays.
    t.node("invalidateblock", json!([block])).await?;
    later(t).await?;
    let to = Key::new(&mut t.random).address().to_string();
    let first = t.reply("generateblock", json!([to, []])).await?;
    t.see("an empty block", told(&first));
    let second = t.reply("generateblock", json!([to, []])).await?;
    t.see("and one on top", told(&second));
    t.node("reconsiderblock", json!([block])).await?;
    t.expect(
        "the longer branch stays",
        t.lab.height().await?.to_string(),
        (height + 1).to_string(),
    );
    t.expect(
        "the spend waits",
        confirmations(t, &draft).await?,
        "unconfirmed",
    );
    let tips = t.node("getchaintips", json!([])).await?;
    let mut states: Vec<String> = tips
        .as_array()
        .into_iter()
        .flatten()
        .map(|tip| format!("{} {}", text(&tip["status"]), tip["branchlen"]))
        .collect();
    states.sort();
    t.see("tips", states.join(", "));
    t.lab.index_follows().await?;
    t.lab.mine(1).await?;
    t.expect(
        "it is mined on the branch",
        confirmations(t, &draft).await?,
        "1",
    );
    t.lab.index_follows().await?;
    let history = wait_for_history(t, &script_hash(&key.script()), 2, true).await?;
    t.expect_json(
        "where the index has it",
        &history[1]["height"],
        &json!(height + 2),
    );
    Ok(())
}

async fn submitblock(t: &mut Trial<'_>) -> Step<()> {
    let start = t.lab.mine(1).await?.remove(0);
    let branch = t.lab.mine(3).await?;
    let mut raw = Vec::new();
    for hash in &branch {
        raw.push(text(&t.node("getblock", json!([hash, 0])).await?));
    }
    let again = t.reply("submitblock", json!([raw[0]])).await?;
    t.see(
        "a block of the chain",
        again.result.map_or_else(|e| e.message, |v| v.to_string()),
    );
    t.node("invalidateblock", json!([branch[0]])).await?;
    t.holds(
        "back at the start",
        text(&t.node("getbestblockhash", json!([])).await?) == start,
    );
    later(t).await?;
    t.lab.mine(2).await?;
    let invalid = t.reply("submitblock", json!([raw[0]])).await?;
    t.see(
        "a block that was declared invalid",
        invalid.result.map_or_else(|e| e.message, |v| v.to_string()),
    );
    t.node("reconsiderblock", json!([branch[0]])).await?;
    t.holds(
        "the longer branch is back",
        text(&t.node("getbestblockhash", json!([])).await?) == branch[2],
    );
    let mut broken = raw[2].clone();
    let at = broken.len() - 9;
    broken.replace_range(at..=at, if &broken[at..=at] == "0" { "1" } else { "0" });
    let reply = t.reply("submitblock", json!([broken])).await?;
    t.see("an altered block", told(&reply));
    let orphan = format!("{}{}{}", &raw[1][..8], "11".repeat(32), &raw[1][72..]);
    let reply = t.reply("submitblock", json!([orphan])).await?;
    t.see(
        "a block on nothing",
        reply.result.map_or_else(|e| e.message, |v| v.to_string()),
    );
    Ok(())
}

async fn deep(t: &mut Trial<'_>) -> Step<()> {
    let (_, draft) = spend(t).await?;
    t.send(&draft).await?;
    let first = t.lab.mine(40).await?.remove(0);
    let height = t.lab.height().await?;
    t.node("invalidateblock", json!([first])).await?;
    t.expect(
        "forty fewer",
        (height - t.lab.height().await?).to_string(),
        "40",
    );
    // The node itself gives transactions back only from the last ten blocks.
    t.see(
        "the spend of the first of them",
        confirmations(t, &draft).await?,
    );
    later(t).await?;
    t.lab.mine(41).await?;
    t.lab.index_follows().await?;
    t.expect(
        "a longer chain",
        (t.lab.height().await? - height).to_string(),
        "1",
    );
    t.node("reconsiderblock", json!([first])).await?;
    t.expect(
        "it stays",
        (t.lab.height().await? - height).to_string(),
        "1",
    );
    Ok(())
}

async fn coinbase(t: &mut Trial<'_>) -> Step<()> {
    let (_, draft) = spend(t).await?;
    t.send(&draft).await?;
    let block = t.lab.mine(1).await?.remove(0);
    let full = t.node("getblock", json!([block, 1])).await?;
    let txid = text(&full["tx"][0])
        .parse()
        .map_err(|_| crate::trial::Stop("no coinbase".into()))?;
    let coin = crate::tx::Coin::explicit(
        elements::OutPoint::new(txid, 0),
        t.lab.key.script(),
        FEE,
        t.lab.lbtc,
    );
    t.lab.mine(99).await?;
    let key = Key::new(&mut t.random);
    let spend = Draft::spending(&[&coin])
        .pay(key.script(), FEE - 500, t.lab.lbtc)
        .fee(500, t.lab.lbtc)
        .sign(0, &t.lab.key);
    t.send(&spend).await?;
    let tip = t.node("getbestblockhash", json!([])).await?;
    t.node("invalidateblock", json!([tip])).await?;
    t.expect(
        "one block less, and it is not mature",
        confirmations(t, &spend).await?,
        "-5",
    );
    t.expect_json(
        "nothing waits",
        &t.node("getrawmempool", json!([])).await?,
        &json!([]),
    );
    Ok(())
}
