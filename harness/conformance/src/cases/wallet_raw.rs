//! The wallet's part in raw transactions: fund, blind, sign, unblind; partially signed ones where the node has them.

use serde_json::{Value, json};

use super::case;
use crate::Case;
use crate::observe::told;
use crate::trial::{Step, Trial, text};
use crate::tx::Key;

pub(super) const CASES: &[Case] = &[
    case!(
        "wallet-raw/steps",
        Fresh,
        "create, fund, blind, sign, send, one by one",
        steps
    ),
    case!(
        "wallet-raw/unblind",
        Shared,
        "unblindrawtransaction by the receiver and by a stranger",
        unblind
    ),
    case!(
        "wallet-raw/mistakes",
        Shared,
        "signing what is not the wallet's, funding too much, blinding what cannot be blinded",
        mistakes
    ),
    case!(
        "wallet-raw/psbt",
        Shared,
        "partially signed transactions, which only other people's tests use",
        psbt
    ),
];

async fn steps(t: &mut Trial<'_>) -> Step<()> {
    let wallet = t.lab.faucet.clone();
    let key = Key::new(&mut t.random);
    for (label, to) in [
        ("explicit", key.address()),
        ("confidential", key.confidential_address()),
    ] {
        let created = t
            .node(
                "createrawtransaction",
                json!([[], [{to.to_string(): 0.25}]]),
            )
            .await?;
        let funded = t
            .wallet(&wallet, "fundrawtransaction", json!([created]))
            .await?;
        t.shape(
            &format!("{label}: fundrawtransaction"),
            &funded,
            &["hex: string", "fee: number", "changepos: number"],
        );
        let blinded = t
            .wallet_reply(&wallet, "blindrawtransaction", json!([funded["hex"]]))
            .await?;
        t.see(format!("{label}: blindrawtransaction"), told(&blinded));
        let Ok(blinded) = blinded.result else {
            continue;
        };
        let signed = t
            .wallet(&wallet, "signrawtransactionwithwallet", json!([blinded]))
            .await?;
        t.shape(
            &format!("{label}: signrawtransactionwithwallet"),
            &signed,
            &["hex: string", "complete: bool"],
        );
        t.expect_json(
            format!("{label}: complete"),
            &signed["complete"],
            &json!(true),
        );
        let tested = t
            .node("testmempoolaccept", json!([[signed["hex"]]]))
            .await?;
        t.expect_json(
            format!("{label}: testmempoolaccept"),
            &tested[0]["allowed"],
            &json!(true),
        );
        let sent = t
            .reply("sendrawtransaction", json!([signed["hex"]]))
            .await?;
        t.expect(
            format!("{label}: sendrawtransaction"),
            told(&sent),
            "HTTP 200, a result",
        );
        let decoded = t
            .node("decoderawtransaction", json!([signed["hex"]]))
            .await?;
        let hidden = decoded["vout"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|out| out["valuecommitment"].is_string())
            .count();
        t.see(format!("{label}: blinded outputs"), hidden.to_string());
    }
    t.lab.mine(1).await?;
    Ok(())
}

async fn unblind(t: &mut Trial<'_>) -> Step<()> {
    let faucet = t.lab.faucet.clone();
    t.node(
        "createwallet",
        json!(["unblinds", false, false, "", false, true]),
    )
    .await?;
    let to = t.wallet("unblinds", "getnewaddress", json!([])).await?;
    let txid = t.wallet(&faucet, "sendtoaddress", json!([to, 1.5])).await?;
    let hex = t.node("getrawtransaction", json!([txid])).await?;
    let own = t
        .wallet("unblinds", "unblindrawtransaction", json!([hex]))
        .await?;
    t.shape("by the receiver", &own, &["hex: string"]);
    let values = |decoded: &Value| -> Vec<String> {
        let outputs = decoded["vout"].as_array().cloned().unwrap_or_default();
        outputs
            .iter()
            .map(|out| out["value"].to_string())
            .filter(|value| value == "1.5")
            .collect()
    };
    let decoded = t.node("decoderawtransaction", json!([own["hex"]])).await?;
    t.expect(
        "the receiver sees its amount",
        values(&decoded).len().to_string(),
        "1",
    );
    let plain = t.node("decoderawtransaction", json!([hex])).await?;
    t.expect("others do not", values(&plain).len().to_string(), "0");
    t.node(
        "createwallet",
        json!(["stranger", false, false, "", false, true]),
    )
    .await?;
    let other = t
        .wallet_reply("stranger", "unblindrawtransaction", json!([hex]))
        .await?;
    t.see("by a stranger", told(&other));
    t.lab.mine(1).await?;
    Ok(())
}

async fn mistakes(t: &mut Trial<'_>) -> Step<()> {
    let wallet = t.lab.faucet.clone();
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(
            &mut t.random,
            &[crate::lab::Wanted::explicit(&key, 100_000)],
        )
        .await?
        .remove(0);
    let to = key.address().to_string();
    let foreign = t.node("createrawtransaction", json!([[{"txid": coin.outpoint.txid.to_string(), "vout": coin.outpoint.vout}], [{to.as_str(): 0.00098}, {"fee": 0.00002}]])).await?;
    let signed = t
        .wallet_reply(&wallet, "signrawtransactionwithwallet", json!([foreign]))
        .await?;
    t.see("signing a stranger's coin", told(&signed));
    if let Ok(signed) = signed.result {
        t.shape(
            "signing a stranger's coin",
            &signed,
            &["complete: bool", "errors[].error: string"],
        );
        t.expect_json("it is not complete", &signed["complete"], &json!(false));
        t.see("why", text(&signed["errors"][0]["error"]));
    }
    let missing = t
        .node(
            "createrawtransaction",
            json!([[{"txid": "77".repeat(32), "vout": 0}], [{to.as_str(): 1}]]),
        )
        .await?;
    let signed = t
        .wallet_reply(&wallet, "signrawtransactionwithwallet", json!([missing]))
        .await?;
    t.see("signing what does not exist", told(&signed));
    if let Ok(signed) = signed.result {
        t.see("why it is not signed", text(&signed["errors"][0]["error"]));
    }
    let large = t
        .node(
            "createrawtransaction",
            json!([[], [{to.as_str(): 20_999_999}]]),
        )
        .await?;
    let funded = t
        .wallet_reply(&wallet, "fundrawtransaction", json!([large]))
        .await?;
    t.expect(
        "funding more than there is",
        told(&funded),
        "HTTP 500, -4: Insufficient funds",
    );
    let blinded = t
        .wallet_reply(&wallet, "blindrawtransaction", json!([foreign]))
        .await?;
    t.see("blinding what has nothing to blind", told(&blinded));
    let hidden = t.node("createrawtransaction", json!([[{"txid": coin.outpoint.txid.to_string(), "vout": coin.outpoint.vout}], [{key.confidential_address().to_string(): 0.00098}, {"fee": 0.00002}]])).await?;
    let blinded = t
        .wallet_reply(&wallet, "blindrawtransaction", json!([hidden]))
        .await?;
    t.see("blinding a single output", told(&blinded));
    let none = t
        .wallet_reply(&wallet, "fundrawtransaction", json!([]))
        .await?;
    t.see("funding nothing", told(&none));
    Ok(())
}

async fn psbt(t: &mut Trial<'_>) -> Step<()> {
    let wallet = t.lab.faucet.clone();
    let to = t.lab.key.address().to_string();
    let made = t
        .reply("createpsbt", json!([[], [{to.as_str(): 1}]]))
        .await?;
    t.see("createpsbt", told(&made));
    let made = match made.result {
        Ok(made) => made,
        Err(_) => json!("cHNl"),
    };
    for (method, params) in [
        ("decodepsbt", json!([made])),
        ("analyzepsbt", json!([made])),
        ("walletprocesspsbt", json!([made])),
        ("finalizepsbt", json!([made])),
        ("walletcreatefundedpsbt", json!([[], [{to.as_str(): 1}]])),
    ] {
        let reply = t.wallet_reply(&wallet, method, params).await?;
        t.see(method, told(&reply));
    }
    let pegin = t
        .wallet_reply(&wallet, "getpeginaddress", json!([]))
        .await?;
    t.see("getpeginaddress", told(&pegin));
    Ok(())
}
