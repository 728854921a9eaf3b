//! Calls that the node holds until a block comes.

use serde_json::{Value, json};

use super::case;
use crate::Case;
use crate::observe::told;
use crate::trial::{Step, Trial};

pub(super) const CASES: &[Case] = &[
    case!(
        "wait/time",
        Fresh,
        "waitfornewblock and its kin answer the tip when their time is over",
        time
    ),
    case!(
        "wait/blocks",
        Fresh,
        "waitfornewblock and its kin answer when the block comes",
        blocks
    ),
];

/// Milliseconds that no wait should need.
const LONG: u64 = 30_000;

async fn tip(t: &Trial<'_>) -> Step<Value> {
    let hash = t.node("getbestblockhash", json!([])).await?;
    Ok(json!({"hash": hash, "height": t.lab.height().await?}))
}

async fn time(t: &mut Trial<'_>) -> Step<()> {
    t.lab.mine(1).await?;
    let tip = tip(t).await?;
    let (hash, height) = (tip["hash"].clone(), t.lab.height().await?);
    let other = "11".repeat(32);
    for (label, method, params) in [
        ("no block", "waitfornewblock", json!([20])),
        ("less than no time", "waitfornewblock", json!([-1])),
        ("a block that is not", "waitforblock", json!([other, 20])),
        ("the tip", "waitforblock", json!([hash, LONG])),
        ("the tip, by height", "waitforblockheight", json!([height])),
        (
            "a lower one",
            "waitforblockheight",
            json!([height - 1, LONG]),
        ),
        (
            "a higher one",
            "waitforblockheight",
            json!([height + 1, 20]),
        ),
    ] {
        let answer = t.node(method, params).await?;
        t.expect_json(format!("{method}: {label}"), &answer, &tip);
    }
    for (label, method, params) in [
        ("a word", "waitfornewblock", json!(["soon"])),
        ("too many", "waitfornewblock", json!([1, 2])),
        ("nothing", "waitforblock", json!([])),
        ("short", "waitforblock", json!(["00", 1])),
        ("nothing", "waitforblockheight", json!([])),
        ("a word", "waitforblockheight", json!(["next", 1])),
    ] {
        let reply = t.reply(method, params).await?;
        t.see(format!("{method}: {label}"), told(&reply));
    }
    Ok(())
}

/// Calls `method` and mines, one block after the other, until it has answered. Nobody can know when the node has begun
/// to wait.
async fn while_mining(t: &Trial<'_>, method: &str, params: Value) -> Step<Value> {
    let held = t.node(method, params);
    let mut held = std::pin::pin!(held);
    let address = t.lab.key.address().to_string();
    loop {
        let mut mined = std::pin::pin!(t.node("generatetoaddress", json!([1, address])));
        let answer = tokio::select! {
            answer = &mut held => Some(answer),
            mined = &mut mined => mined.map(|_| None)?,
        };
        if let Some(answer) = answer {
            // A call that is given up may still mine its block later, beside what comes next.
            mined.await?;
            return answer;
        }
    }
}

async fn blocks(t: &mut Trial<'_>) -> Step<()> {
    t.lab.mine(1).await?;
    let before = t.lab.height().await?;
    let answer = while_mining(t, "waitfornewblock", json!([LONG])).await?;
    let height = answer["height"].as_u64().unwrap_or_default();
    t.holds("waitfornewblock: a later one", height > u64::from(before));
    t.shape(
        "waitfornewblock",
        &answer,
        &["hash: string", "height: number"],
    );
    let wanted = t.lab.height().await? + 2;
    let answer = while_mining(t, "waitforblockheight", json!([wanted, LONG])).await?;
    let height = answer["height"].as_u64().unwrap_or_default();
    t.holds(
        "waitforblockheight: high enough",
        height >= u64::from(wanted),
    );
    // A block that is taken away makes another one the tip, too.
    let before = tip(t).await?;
    let first = t.lab.mine(2).await?.remove(0);
    let (held, undone) = tokio::join!(
        t.node("waitforblock", json!([before["hash"], LONG])),
        t.node("invalidateblock", json!([first])),
    );
    undone?;
    // How high that is depends on how long the calls above took.
    t.holds("waitforblock: the tip of before", held? == before);
    Ok(())
}
