//! Locks on whole transactions: nLockTime by height and by time, relative locks of BIP68, coinbase maturity.

use elements::{OutPoint, Sequence};
use serde_json::json;

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Stop, Trial, Verdict, sat, text};
use crate::tx::{Coin, Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "lock/height",
        Shared,
        "nLockTime by height: ahead, at the tip, switched off by final sequences",
        height
    ),
    case!(
        "lock/time",
        Shared,
        "nLockTime by time is held to the median of eleven blocks",
        time
    ),
    case!(
        "lock/relative",
        Shared,
        "BIP68 by blocks and by time",
        relative
    ),
    case!(
        "lock/coinbase",
        Shared,
        "a coinbase matures after 100 blocks",
        coinbase
    ),
];

const NON_FINAL: Verdict<'static> = Verdict::Refused {
    reason: "non-final",
    error: "-26: non-final",
};
const NON_BIP68: Verdict<'static> = Verdict::Refused {
    reason: "non-BIP68-final",
    error: "-26: non-BIP68-final",
};

async fn draft(t: &mut Trial<'_>) -> Step<(Key, Draft)> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 50_000)])
        .await?
        .remove(0);
    let draft = Draft::spending(&[&coin])
        .pay(key.script(), 50_000 - FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc);
    Ok((key, draft))
}

async fn height(t: &mut Trial<'_>) -> Step<()> {
    let (key, draft) = draft(t).await?;
    let tip = t.lab.height().await?;
    let at = |height: u32, sequence: u32| {
        draft
            .clone()
            .lock_time(height)
            .sequence(sequence)
            .sign(0, &key)
    };
    t.verdict("two blocks ahead", &at(tip + 2, 0), NON_FINAL)
        .await?;
    t.verdict("one block ahead", &at(tip + 1, 0), NON_FINAL)
        .await?;
    t.verdict(
        "one block ahead, sequence fffffffe",
        &at(tip + 1, 0xffff_fffe),
        NON_FINAL,
    )
    .await?;
    let ignored = at(tip + 100, 0xffff_ffff);
    let tested = t
        .node("testmempoolaccept", json!([[ignored.hex()]]))
        .await?;
    t.expect_json(
        "far ahead with final sequences",
        &tested[0]["allowed"],
        &json!(true),
    );
    t.verdict("at the tip", &at(tip, 0xffff_fffe), Verdict::Accepted)
        .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn time(t: &mut Trial<'_>) -> Step<()> {
    let (key, draft) = draft(t).await?;
    let tip = t.node("getblockchaininfo", json!([])).await?;
    let median = tip["mediantime"]
        .as_u64()
        .and_then(|time| u32::try_from(time).ok());
    let median = median.ok_or_else(|| Stop(format!("mediantime is {}", tip["mediantime"])))?;
    let at = |time: u32| {
        draft
            .clone()
            .lock_time(time)
            .sequence(0xffff_fffe)
            .sign(0, &key)
    };
    t.verdict("a day ahead", &at(median + 86_400), NON_FINAL)
        .await?;
    t.verdict("at the median", &at(median), NON_FINAL).await?;
    t.verdict(
        "a second before the median",
        &at(median - 1),
        Verdict::Accepted,
    )
    .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn relative(t: &mut Trial<'_>) -> Step<()> {
    let (key, draft) = draft(t).await?;
    let with = |sequence: u32, version: u32| {
        draft
            .clone()
            .sequence(sequence)
            .version(version)
            .sign(0, &key)
    };
    t.verdict("50 blocks, 1 deep", &with(50, 2), NON_BIP68)
        .await?;
    t.verdict("2 blocks, 1 deep", &with(2, 2), NON_BIP68)
        .await?;
    t.verdict("512 seconds", &with(1 | 1 << 22, 2), NON_BIP68)
        .await?;
    for (label, sequence, version) in [
        ("50 blocks, version 1", 50, 1),
        ("50 blocks, switched off", 50 | 1 << 31, 2),
    ] {
        let tested = t
            .node(
                "testmempoolaccept",
                json!([[with(sequence, version).hex()]]),
            )
            .await?;
        t.expect_json(label, &tested[0]["allowed"], &json!(true));
    }
    let parent = with(Sequence::ENABLE_RBF_NO_LOCKTIME.0, 2);
    t.send(&parent).await?;
    let child = Draft::spending(&[&parent.coin(0)])
        .pay(key.script(), 50_000 - 2 * FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc);
    t.verdict(
        "1 block on an unconfirmed one",
        &child.clone().sequence(1).sign(0, &key),
        NON_BIP68,
    )
    .await?;
    t.lab.mine(1).await?;
    t.verdict(
        "1 block, 1 deep",
        &child.sequence(1).sign(0, &key),
        Verdict::Accepted,
    )
    .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn coinbase(t: &mut Trial<'_>) -> Step<()> {
    let (key, draft) = draft(t).await?;
    t.send(&draft.sign(0, &key)).await?;
    let block = t.lab.mine(1).await?.remove(0);
    let block = t.node("getblock", json!([block, 2])).await?;
    let txid = &block["tx"][0]["txid"];
    let value = sat(&block["tx"][0]["vout"][0]["value"])?;
    t.expect("it has the fee", value.to_string(), FEE.to_string());
    let txid = text(txid)
        .parse()
        .map_err(|_| Stop(format!("{txid} is no id")))?;
    let coin = Coin::explicit(
        OutPoint::new(txid, 0),
        t.lab.key.script(),
        value,
        t.lab.lbtc,
    );
    let spend = Draft::spending(&[&coin])
        .pay(key.script(), value - 500, t.lab.lbtc)
        .fee(500, t.lab.lbtc)
        .sign(0, &t.lab.key);
    let early = |depth: u32| {
        format!(
            "-26: bad-txns-premature-spend-of-coinbase, tried to spend coinbase at depth {depth}"
        )
    };
    let reason = "bad-txns-premature-spend-of-coinbase";
    t.verdict(
        "1 deep",
        &spend,
        Verdict::Refused {
            reason,
            error: &early(1),
        },
    )
    .await?;
    t.lab.mine(98).await?;
    t.verdict(
        "99 deep",
        &spend,
        Verdict::Refused {
            reason,
            error: &early(99),
        },
    )
    .await?;
    t.lab.mine(1).await?;
    t.verdict("100 deep", &spend, Verdict::Accepted).await?;
    t.lab.mine(1).await?;
    Ok(())
}
