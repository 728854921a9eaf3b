//! Assets besides L-BTC: issued in a raw transaction and by the wallet, explicit and blinded, and issued again.

use elements::confidential::Value;
use elements::{AssetEntropy, AssetId, AssetIssuance, ContractHash};
use serde_json::json;

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::observe::told;
use crate::trial::{Step, Trial, Verdict, sat, text};
use crate::tx::{Coin, Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "issuance/raw",
        Shared,
        "an issuance in a transaction that no wallet made",
        raw
    ),
    case!(
        "issuance/wallet",
        Shared,
        "issueasset, explicit and blinded, with and without a token",
        wallet
    ),
    case!(
        "issuance/again",
        Shared,
        "reissueasset with the token",
        again
    ),
];

/// A transaction in which `coin` issues `amount` of a new asset to `key`.
fn draft(t: &Trial<'_>, key: &Key, coin: &Coin, amount: u64) -> (AssetId, Draft) {
    let entropy =
        AssetId::generate_asset_entropy(coin.outpoint, ContractHash::from_byte_array([0; 32]));
    let asset = AssetId::from_entropy(entropy);
    let mut draft = Draft::spending(&[coin])
        .pay(key.script(), amount, asset)
        .pay(key.script(), coin.value() - FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc);
    draft.tx.input[0].asset_issuance = AssetIssuance {
        amount: Value::Explicit(amount),
        asset_entropy: AssetEntropy::from_byte_array([0; 32]),
        ..AssetIssuance::default()
    };
    (asset, draft)
}

/// Issues `amount` of a new asset to `key`, confirmed.
pub(super) async fn issue(t: &mut Trial<'_>, key: &Key, amount: u64) -> Step<(AssetId, Coin)> {
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(key, 100_000)])
        .await?
        .remove(0);
    let (asset, draft) = draft(t, key, &coin, amount);
    let draft = draft.sign(0, key);
    t.send(&draft).await?;
    t.lab.mine(1).await?;
    Ok((asset, draft.coin(0)))
}

async fn raw(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 100_000)])
        .await?
        .remove(0);
    let (asset, good) = draft(t, &key, &coin, 1_000);
    let imbalance = Verdict::Refused {
        reason: "bad-txns-in-ne-out",
        error: "-26: bad-txns-in-ne-out, value in != value out",
    };
    let mut more = good.clone();
    more.tx.output[0].value = Value::Explicit(1_001);
    t.verdict("more than is issued", &more.sign(0, &key), imbalance)
        .await?;
    let mut other = good.clone();
    other.tx.output[0].asset = elements::confidential::Asset::Explicit(
        "22".repeat(32).parse().expect("hexadecimal digits"),
    );
    t.verdict(
        "another asset than is issued",
        &other.sign(0, &key),
        imbalance,
    )
    .await?;
    let mut none = good.clone();
    none.tx.input[0].asset_issuance = AssetIssuance::default();
    t.verdict("nothing is issued", &none.sign(0, &key), imbalance)
        .await?;
    let signed = good.sign(0, &key);
    t.verdict("1,000 units", &signed, Verdict::Accepted).await?;
    let shown = t
        .node("getrawtransaction", json!([signed.txid(), true]))
        .await?;
    t.shape(
        "its input",
        &shown["vin"][0],
        &[
            "issuance.assetamount: number",
            "issuance.asset: string",
            "issuance.assetEntropy: string",
        ],
    );
    t.holds(
        "its asset",
        shown["vin"][0]["issuance"]["asset"] == json!(asset.to_string()),
    );
    t.lab.mine(1).await?;
    let sent = Draft::spending(&[&signed.coin(0), &signed.coin(1)])
        .pay(key.script(), 600, asset)
        .pay_blinded(key.script(), 400, asset, key.blinder())
        .pay(key.script(), 100_000 - 2 * FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc)
        .blind(&mut t.random)
        .sign_all(&key);
    t.verdict("spent, in part hidden", &sent, Verdict::Accepted)
        .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn wallet(t: &mut Trial<'_>) -> Step<()> {
    let wallet = t.lab.faucet.clone();
    for (label, params) in [
        ("explicit, no token", json!([1000, 0, false])),
        ("explicit, a token", json!([5, 1, false])),
        ("blinded, no token", json!([7, 0, true])),
        ("blinded, a token", json!([7, 2])),
        ("a token alone", json!([0, 1, false])),
    ] {
        let issued = t
            .wallet_reply(&wallet, "issueasset", params.clone())
            .await?;
        t.expect(
            format!("{label}: ends"),
            told(&issued),
            "HTTP 200, a result",
        );
        let Ok(issued) = issued.result else { continue };
        t.shape(
            &format!("{label}: answer"),
            &issued,
            &[
                "txid: string",
                "vin: number",
                "entropy: string",
                "asset: string",
                "token: string",
            ],
        );
        t.lab.mine(1).await?;
        let shown = t
            .node("getrawtransaction", json!([issued["txid"], true]))
            .await?;
        let vin = issued["vin"].as_u64().unwrap_or_default();
        let input = &shown["vin"][usize::try_from(vin).unwrap_or_default()];
        t.shape(&format!("{label}: issuance"), &input["issuance"], &[]);
        let balances = t.wallet(&wallet, "getbalance", json!([])).await?;
        let (asset, token) = (text(&issued["asset"]), text(&issued["token"]));
        for (what, id, expected) in [("asset", asset, &params[0]), ("token", token, &params[1])] {
            let has = match &balances[&id] {
                serde_json::Value::Null => 0,
                amount => sat(amount)?,
            };
            let expected = expected.as_u64().unwrap_or_default() * 100_000_000;
            t.expect(
                format!("{label}: balance of the {what}"),
                has.to_string(),
                expected.to_string(),
            );
        }
        let listed = t
            .wallet_reply(&wallet, "listissuances", json!([issued["asset"]]))
            .await?;
        t.see(format!("{label}: listissuances"), told(&listed));
        if let Ok(listed) = listed.result {
            t.shape(&format!("{label}: listissuances"), &listed, &[]);
        }
    }
    Ok(())
}

async fn again(t: &mut Trial<'_>) -> Step<()> {
    let wallet = t.lab.faucet.clone();
    for (label, params) in [
        ("explicit", json!([10, 1, false])),
        ("blinded", json!([10, 1, true])),
    ] {
        let issued = t.wallet(&wallet, "issueasset", params).await?;
        t.lab.mine(1).await?;
        let more = t
            .wallet_reply(&wallet, "reissueasset", json!([issued["asset"], 5]))
            .await?;
        t.see(format!("{label}: reissueasset"), told(&more));
        if let Ok(more) = more.result {
            t.shape(
                &format!("{label}: answer"),
                &more,
                &["txid: string", "vin: number"],
            );
            t.lab.mine(1).await?;
            let balance = t.wallet(&wallet, "getbalance", json!([])).await?;
            let has = sat(&balance[text(&issued["asset"])])?;
            t.expect(format!("{label}: balance"), has.to_string(), "1500000000");
        }
    }
    Ok(())
}
