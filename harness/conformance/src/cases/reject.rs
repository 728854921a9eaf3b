//! Every reason for which a node refuses a transaction that a swap could meet, except those of scripts, locks, amounts
//! and the mempool's other transactions, which have files of their own.

use elements::confidential::{Asset, Value};
use elements::opcodes::all::{OP_CHECKMULTISIG, OP_RETURN};
use elements::script::Builder;
use elements::{Script, TxOut};
use serde_json::json;

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Trial, Verdict};
use crate::tx::{Coin, Draft, FEE, Key, Seeded};

pub(super) const CASES: &[Case] = &[
    case!(
        "reject/fees",
        Shared,
        "no fee, too little of it, in another asset, too much of it",
        fees
    ),
    case!(
        "reject/outputs",
        Shared,
        "dust, worthless, unspendable and non-standard outputs",
        outputs
    ),
    case!(
        "reject/inputs",
        Shared,
        "inputs that do not exist, stand twice, or are not signed",
        inputs
    ),
    case!(
        "reject/form",
        Shared,
        "transactions that are none: no inputs, no outputs, junk behind, version, size",
        form
    ),
    case!(
        "reject/again",
        Shared,
        "a transaction that is in the mempool or in a block already",
        again
    ),
];

const MIN_FEE: &str = "min relay fee not met";

/// A key and a coin of 100,000 sat that it owns.
async fn coin(t: &mut Trial<'_>) -> Step<(Key, Coin)> {
    let key = Key::new(&mut t.random);
    let coins = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 100_000)])
        .await?;
    Ok((key, coins.into_iter().next().expect("one was asked for")))
}

/// What the node wants for relaying it: 0.1 sat for each discounted virtual byte, rounded up (`CFeeRate::GetFee`).
fn relay_fee(draft: &Draft) -> u64 {
    u64::try_from(draft.tx.discount_vsize().div_ceil(10)).expect("a transaction is small")
}

async fn fees(t: &mut Trial<'_>) -> Step<()> {
    let (key, coin) = coin(t).await?;
    let lbtc = t.lab.lbtc;
    let paying = |fee: u64| {
        Draft::spending(&[&coin])
            .pay(key.script(), 100_000 - fee, lbtc)
            .fee(fee, lbtc)
            .sign(0, &key)
    };
    let none = Draft::spending(&[&coin])
        .pay(key.script(), 100_000, lbtc)
        .sign(0, &key);
    let refused = |fee: u64, draft: &Draft| format!("-26: {MIN_FEE}, {fee} < {}", relay_fee(draft));
    t.verdict(
        "no fee output",
        &none,
        Verdict::Refused {
            reason: MIN_FEE,
            error: &refused(0, &none),
        },
    )
    .await?;
    t.verdict(
        "1 sat",
        &paying(1),
        Verdict::Refused {
            reason: MIN_FEE,
            error: &refused(1, &paying(1)),
        },
    )
    .await?;
    let enough = relay_fee(&paying(10));
    let short = paying(enough - 1);
    t.verdict(
        "one less than needed",
        &short,
        Verdict::Refused {
            reason: MIN_FEE,
            error: &refused(enough - 1, &short),
        },
    )
    .await?;
    let much = paying(90_000);
    let tested = t
        .node("testmempoolaccept", json!([[much.hex()], 0.000_01]))
        .await?;
    t.expect_json(
        "more than the caller allows",
        &tested[0]["reject-reason"],
        &json!("max-fee-exceeded"),
    );
    t.expect_reply(
        "more than the caller allows, sent",
        "sendrawtransaction",
        json!([much.hex(), 0.000_01]),
        "HTTP 500, -25: Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
    )
    .await?;
    let mut zero = paying(FEE);
    zero.tx.output.push(TxOut::new_fee(0, lbtc));
    let zero = zero.sign(0, &key);
    t.verdict(
        "a second fee output, of nothing",
        &zero,
        Verdict::Refused {
            reason: "bad-txns-fee-outofrange",
            error: "-26: bad-txns-fee-outofrange",
        },
    )
    .await?;
    let twice = Draft::spending(&[&coin])
        .fee(FEE, lbtc)
        .pay(key.script(), 100_000 - 2 * FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    let tested = t.node("testmempoolaccept", json!([[twice.hex()]])).await?;
    t.expect_json(
        "two fee outputs, one of them first",
        &tested[0]["allowed"],
        &json!(true),
    );
    t.expect(
        "their sum counts",
        crate::trial::sat(&tested[0]["fees"]["base"])?.to_string(),
        (2 * FEE).to_string(),
    );
    t.verdict("exactly what is needed", &paying(enough), Verdict::Accepted)
        .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn outputs(t: &mut Trial<'_>) -> Step<()> {
    let (key, coin) = coin(t).await?;
    let lbtc = t.lab.lbtc;
    let with = |script: Script, value: u64| {
        Draft::spending(&[&coin])
            .pay(script, value, lbtc)
            .pay(key.script(), 100_000 - value - FEE, lbtc)
            .fee(FEE, lbtc)
            .sign(0, &key)
    };
    let refused = |reason: &'static str, error: &'static str| Verdict::Refused { reason, error };
    let dust = refused("dust", "-26: dust");
    t.verdict("1 sat", &with(key.script(), 1), dust).await?;
    t.verdict("nothing, to a key", &with(key.script(), 0), dust)
        .await?;
    let unknown = Builder::new().push_int(2).push_int(3).into_script();
    t.verdict(
        "to a script of no known kind",
        &with(unknown, 1_000),
        refused("scriptpubkey", "-26: scriptpubkey"),
    )
    .await?;
    let anyone = Script::from(vec![0x51]);
    let tested = t
        .node("testmempoolaccept", json!([[with(anyone, 1_000).hex()]]))
        .await?;
    t.see("to OP_TRUE", tested[0]["reject-reason"].to_string());
    let tested = t
        .node(
            "testmempoolaccept",
            json!([[with(Script::new_op_return(&[7; 5_000]), 0).hex()]]),
        )
        .await?;
    t.expect(
        "OP_RETURN of 5,000 bytes",
        format!("{} {}", tested[0]["allowed"], tested[0]["reject-reason"]),
        "true null",
    );
    let two = Draft::spending(&[&coin])
        .pay(Script::new_op_return(b"one"), 0, lbtc)
        .pay(Script::new_op_return(b"two"), 0, lbtc)
        .pay(key.script(), 100_000 - FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    let tested = t.node("testmempoolaccept", json!([[two.hex()]])).await?;
    t.see(
        "two OP_RETURN outputs",
        format!("{} {}", tested[0]["allowed"], tested[0]["reject-reason"]),
    );
    let burnt = with(Script::new_op_return(b"burnt"), 1_000);
    let tested = t.node("testmempoolaccept", json!([[burnt.hex()]])).await?;
    t.see(
        "coins to OP_RETURN",
        format!("{} {}", tested[0]["allowed"], tested[0]["reject-reason"]),
    );
    let public = key.public().serialize();
    let bare = Builder::new()
        .push_int(1)
        .push_slice(&public)
        .push_int(1)
        .push_opcode(OP_CHECKMULTISIG)
        .into_script();
    let tested = t
        .node("testmempoolaccept", json!([[with(bare, 1_000).hex()]]))
        .await?;
    t.see(
        "to a bare multisig",
        format!("{} {}", tested[0]["allowed"], tested[0]["reject-reason"]),
    );
    let future = Builder::new()
        .push_int(3)
        .push_slice(&[7; 32])
        .into_script();
    let tested = t
        .node("testmempoolaccept", json!([[with(future, 1_000).hex()]]))
        .await?;
    t.see(
        "to a witness version of the future",
        format!("{} {}", tested[0]["allowed"], tested[0]["reject-reason"]),
    );
    let mut large = with(key.script(), 1_000);
    large.tx.output[0].value = Value::Explicit(2_100_000_000_000_001);
    t.verdict(
        "more than there can be",
        &large.sign(0, &key),
        refused("bad-txns-vout-toolarge", "-26: bad-txns-vout-toolarge"),
    )
    .await?;
    let mut null = with(key.script(), 1_000);
    null.tx.output[0].value = Value::Null;
    note_ends(t, "a null amount", &null.sign(0, &key).hex()).await?;
    let mut null = with(key.script(), 1_000);
    null.tx.output[0].asset = Asset::Null;
    note_ends(t, "a null asset", &null.sign(0, &key).hex()).await?;
    t.verdict(
        "100 sat to a key",
        &with(key.script(), 100),
        Verdict::Accepted,
    )
    .await?;
    t.lab.mine(1).await?;
    Ok(())
}

/// Notes how both calls end, whatever they say.
async fn note_ends(t: &mut Trial<'_>, label: &str, hex: &str) -> Step<()> {
    let tested = t.reply("testmempoolaccept", json!([[hex]])).await?;
    let said = match &tested.result {
        Ok(answer) => format!("{} {}", answer[0]["allowed"], answer[0]["reject-reason"]),
        Err(_) => crate::observe::told(&tested),
    };
    t.see(format!("{label}: testmempoolaccept"), said);
    let sent = t.reply("sendrawtransaction", json!([hex])).await?;
    t.see(
        format!("{label}: sendrawtransaction"),
        crate::observe::told(&sent),
    );
    Ok(())
}

async fn inputs(t: &mut Trial<'_>) -> Step<()> {
    let (key, coin) = coin(t).await?;
    let lbtc = t.lab.lbtc;
    let spend = |coins: &[&Coin]| {
        let total: u64 = coins.iter().map(|coin| coin.value()).sum();
        Draft::spending(coins)
            .pay(key.script(), total - FEE, lbtc)
            .fee(FEE, lbtc)
    };
    let refused = |reason: &'static str, error: &'static str| Verdict::Refused { reason, error };
    let mut missing = coin.clone();
    missing.outpoint.vout = 77;
    t.verdict(
        "an output that does not exist",
        &spend(&[&missing]).sign(0, &key),
        refused("missing-inputs", "-25: bad-txns-inputs-missingorspent"),
    )
    .await?;
    let mut missing = coin.clone();
    missing.outpoint.txid = "77".repeat(32).parse().expect("hexadecimal digits");
    t.verdict(
        "a transaction that does not exist",
        &spend(&[&missing]).sign(0, &key),
        refused("missing-inputs", "-25: bad-txns-inputs-missingorspent"),
    )
    .await?;
    t.verdict(
        "the same one twice",
        &spend(&[&coin, &coin]).sign_all(&key),
        refused(
            "bad-txns-inputs-duplicate",
            "-26: bad-txns-inputs-duplicate",
        ),
    )
    .await?;
    let hash_mismatch = "mempool-script-verify-flag-failed (Witness program hash mismatch)";
    let unsigned = spend(&[&coin]);
    t.verdict(
        "not signed",
        &unsigned,
        Verdict::Refused {
            reason: hash_mismatch,
            error: &format!("-26: {hash_mismatch}"),
        },
    )
    .await?;
    let stranger = Key::new(&mut Seeded::new("a stranger"));
    t.verdict(
        "signed by a stranger",
        &unsigned.clone().sign(0, &stranger),
        refused(
            "mempool-script-verify-flag-failed (Script failed an OP_EQUALVERIFY operation)",
            "-26: mempool-script-verify-flag-failed (Script failed an OP_EQUALVERIFY operation)",
        ),
    )
    .await?;
    let mut altered = unsigned.clone().sign(0, &key);
    altered.tx.output[0].value = Value::Explicit(100_000 - FEE - 1);
    altered.tx.output[1].value = Value::Explicit(FEE + 1);
    t.verdict("changed after it was signed", &altered, refused(
        "mempool-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)",
        "-26: mempool-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)",
    ))
    .await?;
    let mut with_sig = unsigned.clone().sign(0, &key);
    with_sig.tx.input[0].script_sig = Builder::new().push_int(1).into_script();
    t.verdict(
        "a scriptSig beside the witness",
        &with_sig,
        refused(
            "mempool-script-verify-flag-failed (Witness requires empty scriptSig)",
            "-26: mempool-script-verify-flag-failed (Witness requires empty scriptSig)",
        ),
    )
    .await?;
    let mut not_pushed = unsigned.clone();
    not_pushed.tx.input[0].script_sig = Builder::new().push_opcode(OP_RETURN).into_script();
    t.verdict(
        "a scriptSig that does not only push",
        &not_pushed,
        refused("scriptsig-not-pushonly", "-26: scriptsig-not-pushonly"),
    )
    .await?;
    Ok(())
}

async fn form(t: &mut Trial<'_>) -> Step<()> {
    let (key, coin) = coin(t).await?;
    let lbtc = t.lab.lbtc;
    let good = Draft::spending(&[&coin])
        .pay(key.script(), 100_000 - FEE, lbtc)
        .fee(FEE, lbtc);
    let mut empty = good.clone();
    empty.tx.output.clear();
    note_ends(t, "no outputs", &empty.hex()).await?;
    let mut empty = good.clone();
    empty.tx.input.clear();
    note_ends(t, "no inputs", &empty.hex()).await?;
    let signed = good.clone().sign(0, &key);
    note_ends(t, "a byte too many", &format!("{}00", signed.hex())).await?;
    let hex = signed.hex();
    note_ends(t, "a byte too few", &hex[..hex.len() - 2]).await?;
    note_ends(t, "capital letters", &hex.to_uppercase()).await?;
    let mut coinbase = good.clone();
    coinbase.tx.input[0].previous_output = elements::OutPoint::null();
    note_ends(t, "a coinbase", &coinbase.hex()).await?;
    let refused = |reason: &'static str, error: &'static str| Verdict::Refused { reason, error };
    t.lab.mine(1).await?;

    let (key, coin) = self::coin(t).await?;
    let good = Draft::spending(&[&coin])
        .pay(key.script(), 100_000 - FEE, lbtc)
        .fee(FEE, lbtc);
    for (version, verdict) in [
        (0, refused("version", "-26: version")),
        (4, refused("version", "-26: version")),
    ] {
        t.verdict(
            &format!("version {version}"),
            &good.clone().version(version).sign(0, &key),
            verdict,
        )
        .await?;
    }
    let tested = t
        .node(
            "testmempoolaccept",
            json!([[good.clone().version(3).sign(0, &key).hex()]]),
        )
        .await?;
    t.see(
        "version 3",
        format!("{} {}", tested[0]["allowed"], tested[0]["reject-reason"]),
    );
    let tested = t
        .node(
            "testmempoolaccept",
            json!([[good.clone().version(1).sign(0, &key).hex()]]),
        )
        .await?;
    t.see(
        "version 1",
        format!("{} {}", tested[0]["allowed"], tested[0]["reject-reason"]),
    );
    let mut large = Draft::spending(&[&coin]);
    for _ in 0..1_600 {
        large = large.pay(key.script(), 50, lbtc);
    }
    let large = large
        .pay(key.script(), 100_000 - 80_000 - 12_000, lbtc)
        .fee(12_000, lbtc)
        .sign(0, &key);
    t.verdict(
        "larger than standard",
        &large,
        refused("tx-size", "-26: tx-size"),
    )
    .await?;
    let two = good.clone().sign(0, &key).hex();
    let reply = t.reply("testmempoolaccept", json!([[two, two]])).await?;
    t.see(
        "the same one twice in testmempoolaccept",
        crate::observe::told(&reply),
    );
    Ok(())
}

async fn again(t: &mut Trial<'_>) -> Step<()> {
    let (key, coin) = coin(t).await?;
    let lbtc = t.lab.lbtc;
    let draft = Draft::spending(&[&coin])
        .pay(key.script(), 100_000 - FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    t.send(&draft).await?;
    t.verdict(
        "in the mempool",
        &draft,
        Verdict::Refused {
            reason: "txn-already-in-mempool",
            error: "accepted",
        },
    )
    .await?;
    t.lab.mine(1).await?;
    t.verdict(
        "in a block",
        &draft,
        Verdict::Refused {
            reason: "txn-already-known",
            error: "-27: Transaction already in block chain",
        },
    )
    .await?;
    let next = draft.coin(0);
    let spend = Draft::spending(&[&next])
        .pay(key.script(), next.value() - FEE, lbtc)
        .fee(FEE, lbtc)
        .sign(0, &key);
    t.send(&spend).await?;
    t.lab.mine(1).await?;
    t.verdict(
        "in a block, its output spent",
        &draft,
        Verdict::Refused {
            reason: "missing-inputs",
            error: "-25: bad-txns-inputs-missingorspent",
        },
    )
    .await?;
    Ok(())
}
