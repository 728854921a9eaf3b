//! createrawtransaction: what it makes of its parameters, byte by byte.

use serde_json::json;

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Trial, Verdict, text};
use crate::tx::{Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "raw/create",
        Shared,
        "createrawtransaction in the form that callers use, and its mistakes",
        create
    ),
    case!(
        "raw/anyone",
        Shared,
        "an output that asks for no signature is spent by an unsigned transaction",
        anyone
    ),
];

async fn create(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 100_000)])
        .await?
        .remove(0);
    let (txid, vout) = (coin.outpoint.txid.to_string(), coin.outpoint.vout);
    let input = json!([{"txid": txid, "vout": vout}]);
    let to = key.address().to_string();
    let outputs = json!([{to.as_str(): 0.00098}, {"fee": 0.00002}]);
    let made = text(
        &t.node("createrawtransaction", json!([input, outputs]))
            .await?,
    );
    let own = Draft::spending(&[&coin])
        .pay(key.script(), 98_000, t.lab.lbtc)
        .fee(2_000, t.lab.lbtc);
    let decoded = t.node("decoderawtransaction", json!([made])).await?;
    t.shape("decoded", &decoded, &[]);
    for (label, at) in [("version", "version"), ("nLockTime", "locktime")] {
        t.see(label, decoded[at].to_string());
    }
    t.see("sequence", decoded["vin"][0]["sequence"].to_string());
    let same = own.clone().sequence(0xffff_ffff);
    t.holds("it is what we would make", made == same.hex());
    for (label, params) in [
        ("with nLockTime", json!([input, outputs, 7])),
        ("replaceable", json!([input, outputs, 0, true])),
        (
            "a sequence",
            json!([[{"txid": txid, "vout": vout, "sequence": 5}], outputs]),
        ),
        (
            "outputs as an object",
            json!([input, {to.as_str(): 0.00098}]),
        ),
        (
            "asset beside the address",
            json!([input, [{to.as_str(): 0.00098, "asset": t.lab.lbtc.to_string()}]]),
        ),
        (
            "asset by label",
            json!([input, [{to.as_str(): 0.00098, "asset": "bitcoin"}]]),
        ),
        ("data", json!([input, [{"data": "00ff"}]])),
        (
            "a confidential address",
            json!([input, [{key.confidential_address().to_string(): 0.00098}]]),
        ),
        ("amount as text", json!([input, [{to.as_str(): "0.00098"}]])),
        ("nothing", json!([])),
        ("inputs alone", json!([input])),
        ("an input without an id", json!([[{"vout": 0}], outputs])),
        (
            "an input without an index",
            json!([[{"txid": txid}], outputs]),
        ),
        (
            "a negative index",
            json!([[{"txid": txid, "vout": -1}], outputs]),
        ),
        (
            "an id that is none",
            json!([[{"txid": "zz", "vout": 0}], outputs]),
        ),
        ("a negative amount", json!([input, [{to.as_str(): -1}]])),
        (
            "too precise an amount",
            json!([input, [{to.as_str(): "0.000000001"}]]),
        ),
        (
            "an unknown asset label",
            json!([input, [{to.as_str(): 1, "asset": "gold"}]]),
        ),
        (
            "data that is no hexadecimal",
            json!([input, [{"data": "zz"}]]),
        ),
        ("a negative nLockTime", json!([input, outputs, -1])),
        ("no inputs and no outputs", json!([[], []])),
    ] {
        let reply = t.reply("createrawtransaction", params).await?;
        t.see(label, crate::observe::told(&reply));
        let Ok(made) = reply.result else { continue };
        let decoded = t.reply("decoderawtransaction", json!([made])).await?;
        let Ok(decoded) = decoded.result else {
            t.see(format!("{label}: decoded"), crate::observe::told(&decoded));
            continue;
        };
        let outputs = decoded["vout"].as_array().cloned().unwrap_or_default();
        let outputs: Vec<String> = outputs
            .iter()
            .map(|out| {
                format!(
                    "{} {} {}",
                    out["value"],
                    out["scriptPubKey"]["type"],
                    if out["commitmentnonce"] == json!("") {
                        "without a nonce"
                    } else {
                        "with a nonce"
                    }
                )
            })
            .collect();
        t.see(
            format!("{label}: made"),
            format!(
                "locktime {}, sequence {}, {}",
                decoded["locktime"],
                decoded["vin"][0]["sequence"],
                outputs.join("; ")
            ),
        );
    }
    t.verdict("signed by us", &same.sign(0, &key), Verdict::Accepted)
        .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn anyone(t: &mut Trial<'_>) -> Step<()> {
    let anyone = elements::Script::from(vec![0x51]);
    let wanted = Wanted {
        script: anyone,
        value: 50_000,
        blinder: None,
    };
    let coin = t.lab.fund(&mut t.random, &[wanted]).await?.remove(0);
    let key = Key::new(&mut t.random);
    let spend = Draft::spending(&[&coin])
        .pay(key.script(), 50_000 - FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc);
    t.verdict("unsigned", &spend, Verdict::Accepted).await?;
    t.lab.mine(1).await?;
    Ok(())
}
