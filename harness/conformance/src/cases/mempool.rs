//! Transactions against each other: double spends, replacement by BIP125, chains of unconfirmed ones.

use serde_json::json;

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Trial, Verdict};
use crate::tx::{Coin, Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "mempool/double-spend",
        Shared,
        "a second spend of what a final transaction spends",
        double_spend
    ),
    case!(
        "mempool/replace",
        Shared,
        "replacement: fee and feerate too low, enough, and what becomes of the replaced one",
        replace
    ),
    case!(
        "mempool/replace-chain",
        Shared,
        "replacing a parent with its children; new unconfirmed inputs; spending what is replaced",
        replace_chain
    ),
    case!(
        "mempool/too-many",
        Shared,
        "a chain longer than 25, and a replacement of more than 100",
        too_many
    ),
    case!(
        "mempool/weight",
        Shared,
        "a confidential transaction counts by its discounted size",
        weight
    ),
];

async fn coins(t: &mut Trial<'_>, count: usize) -> Step<(Key, Vec<Coin>)> {
    let key = Key::new(&mut t.random);
    let wanted = vec![Wanted::explicit(&key, 100_000); count];
    Ok((key, t.lab.fund(&mut t.random, &wanted).await?))
}

fn paying(t: &Trial<'_>, key: &Key, coins: &[&Coin], fee: u64) -> Draft {
    let total: u64 = coins.iter().map(|coin| coin.value()).sum();
    Draft::spending(coins)
        .pay(key.script(), total - fee, t.lab.lbtc)
        .fee(fee, t.lab.lbtc)
}

async fn double_spend(t: &mut Trial<'_>) -> Step<()> {
    let (key, coins) = coins(t, 1).await?;
    let first = paying(t, &key, &[&coins[0]], FEE)
        .sequence(0xffff_fffe)
        .sign(0, &key);
    let second = paying(t, &key, &[&coins[0]], 10 * FEE).sign(0, &key);
    t.send(&first).await?;
    let conflict = Verdict::Refused {
        reason: "txn-mempool-conflict",
        error: "-26: txn-mempool-conflict",
    };
    t.verdict("while the first one waits", &second, conflict)
        .await?;
    t.lab.mine(1).await?;
    let spent = Verdict::Refused {
        reason: "missing-inputs",
        error: "-25: bad-txns-inputs-missingorspent",
    };
    t.verdict("after it is confirmed", &second, spent).await
}

async fn replace(t: &mut Trial<'_>) -> Step<()> {
    let (key, coins) = coins(t, 1).await?;
    let with_fee = |t: &Trial<'_>, fee| paying(t, &key, &[&coins[0]], fee).sign(0, &key);
    let first = with_fee(t, FEE);
    t.send(&first).await?;
    let rate = "-26: insufficient fee, rejecting replacement <hash>; new feerate N BTC/kvB <= old feerate N BTC/kvB";
    let refused = |error| Verdict::Refused {
        reason: "insufficient fee",
        error,
    };
    t.verdict("a lower fee", &with_fee(t, FEE - 500), refused(rate))
        .await?;
    let mut same = paying(t, &key, &[&coins[0]], FEE);
    same.tx.lock_time = elements::LockTime::from_consensus(1);
    t.verdict("the same fee", &same.sign(0, &key), refused(rate))
        .await?;
    let little = "-26: insufficient fee, rejecting replacement <hash>, not enough additional fees to relay; N < N";
    t.verdict("one satoshi more", &with_fee(t, FEE + 1), refused(little))
        .await?;
    let better = with_fee(t, 2 * FEE);
    t.verdict("twice the fee", &better, Verdict::Accepted)
        .await?;
    let pool = t.node("getrawmempool", json!([])).await?;
    t.expect_json("only the second one waits", &pool, &json!([better.txid()]));
    let gone = t.reply("getrawtransaction", json!([first.txid()])).await?;
    t.expect("the first one is gone", crate::observe::told(&gone), "HTTP 500, -5: No such mempool or blockchain transaction. Use gettransaction for wallet transactions.");
    let tested = t.node("testmempoolaccept", json!([[better.hex()]])).await?;
    t.expect_json(
        "the second one again",
        &tested[0]["reject-reason"],
        &json!("txn-already-in-mempool"),
    );
    let mut witness = better.clone();
    witness.tx.input[0].witness.script_witness = elements::Witness::from_slice(&[vec![1_u8]]);
    let tested = t
        .node("testmempoolaccept", json!([[witness.hex()]]))
        .await?;
    t.expect_json(
        "with another witness",
        &tested[0]["reject-reason"],
        &json!("txn-same-nonwitness-data-in-mempool"),
    );
    t.lab.mine(1).await?;
    Ok(())
}

async fn replace_chain(t: &mut Trial<'_>) -> Step<()> {
    let (key, coins) = coins(t, 3).await?;
    let parent = paying(t, &key, &[&coins[0]], FEE).sign(0, &key);
    t.send(&parent).await?;
    let child = paying(t, &key, &[&parent.coin(0)], 10 * FEE).sign(0, &key);
    t.send(&child).await?;
    let less = "-26: insufficient fee, rejecting replacement <hash>, less fees than conflicting txs; N < N";
    t.verdict(
        "more than the parent, less than both",
        &paying(t, &key, &[&coins[0]], 5 * FEE).sign(0, &key),
        Verdict::Refused {
            reason: "insufficient fee",
            error: less,
        },
    )
    .await?;
    let own = paying(t, &key, &[&coins[0], &child.coin(0)], 30 * FEE).sign_all(&key);
    t.verdict("spending what it replaces", &own, Verdict::Refused {
        reason: "bad-txns-spends-conflicting-tx",
        error: "-26: bad-txns-spends-conflicting-tx, <hash> spends conflicting transaction <hash>",
    })
    .await?;
    let aside = paying(t, &key, &[&coins[1]], FEE).sign(0, &key);
    t.send(&aside).await?;
    let adds = paying(t, &key, &[&coins[0], &aside.coin(0)], 30 * FEE).sign_all(&key);
    t.verdict("a new unconfirmed input", &adds, Verdict::Refused {
        reason: "replacement-adds-unconfirmed",
        error: "-26: replacement-adds-unconfirmed, replacement <hash> adds unconfirmed input, idx 1",
    })
    .await?;
    let both = paying(t, &key, &[&coins[0], &coins[2]], 30 * FEE).sign_all(&key);
    t.verdict("a new confirmed input", &both, Verdict::Accepted)
        .await?;
    let pool = t.node("getrawmempool", json!([])).await?;
    t.expect(
        "parent and child are gone",
        pool.as_array().map_or(0, Vec::len).to_string(),
        "2",
    );
    t.verdict(
        "the child of the replaced one",
        &child,
        Verdict::Refused {
            reason: "missing-inputs",
            error: "-25: bad-txns-inputs-missingorspent",
        },
    )
    .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn too_many(t: &mut Trial<'_>) -> Step<()> {
    let (key, coins) = coins(t, 1).await?;
    let mut tip = coins[0].clone();
    for _ in 0..25 {
        let next = paying(t, &key, &[&tip], 500).sign(0, &key);
        t.send(&next).await?;
        tip = next.coin(0);
    }
    let next = paying(t, &key, &[&tip], 500).sign(0, &key);
    t.verdict(
        "the 26th of a chain",
        &next,
        Verdict::Refused {
            reason: "too-long-mempool-chain",
            error: "-26: too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]",
        },
    )
    .await?;
    t.lab.mine(1).await?;
    t.verdict("once the others are confirmed", &next, Verdict::Accepted)
        .await?;
    t.lab.mine(1).await?;

    // Five parents with 21 transactions each: 105 that one replacement would drop.
    let (key, parents) = self::coins(t, 5).await?;
    for coin in &parents {
        let mut tip = coin.clone();
        for _ in 0..21 {
            let next = paying(t, &key, &[&tip], 500).sign(0, &key);
            t.send(&next).await?;
            tip = next.coin(0);
        }
    }
    let all: Vec<&Coin> = parents.iter().collect();
    t.verdict("a replacement of 105", &paying(t, &key, &all, 300_000).sign_all(&key), Verdict::Refused {
        reason: "too many potential replacements",
        error: "-26: too many potential replacements, rejecting replacement <hash>; too many potential replacements (105 > 100)\n",
    })
    .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn weight(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::confidential(&key, 100_000)])
        .await?
        .remove(0);
    let lbtc = t.lab.lbtc;
    let with_fee = |t: &mut Trial<'_>, fee: u64| {
        Draft::spending(&[&coin])
            .pay_blinded(key.script(), 50_000, lbtc, key.blinder())
            .pay_blinded(key.script(), 50_000 - fee, lbtc, key.blinder())
            .fee(fee, lbtc)
            .blind(&mut t.random)
            .sign(0, &key)
    };
    let sample = with_fee(t, 100);
    let needed = u64::try_from(sample.tx.discount_vsize().div_ceil(10)).expect("small");
    t.holds(
        "its range proofs are not what it pays for",
        sample.tx.discount_vsize() * 5 < sample.tx.vsize(),
    );
    let short = with_fee(t, needed - 2);
    t.verdict(
        "two satoshi less",
        &short,
        Verdict::Refused {
            reason: "min relay fee not met",
            error: &format!(
                "-26: min relay fee not met, {} < {}",
                needed - 2,
                short.tx.discount_vsize().div_ceil(10)
            ),
        },
    )
    .await?;
    let enough = with_fee(t, needed + 1);
    let tested = t.node("testmempoolaccept", json!([[enough.hex()]])).await?;
    t.holds(
        "vsize is the full one",
        tested[0]["vsize"] == json!(enough.tx.vsize()),
    );
    t.verdict("that much", &enough, Verdict::Accepted).await?;
    let entry = t.node("getmempoolentry", json!([enough.txid()])).await?;
    t.shape("its entry", &entry, &["vsize: number"]);
    t.see(
        "its entry counts",
        if entry["vsize"] == json!(enough.tx.vsize()) {
            "the full size"
        } else {
            "the discounted size"
        },
    );
    t.lab.mine(1).await?;
    Ok(())
}
