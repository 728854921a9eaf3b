//! Value in is value out, per asset, explicit and committed; and every proof says what it has to.

use elements::confidential::{Asset, AssetBlindingFactor, Nonce, Value, ValueBlindingFactor};
use elements::secp256k1_zkp::SECP256K1;
use elements::{AssetId, RangeProof, SurjectionProof};

use super::case;
use super::issuance::issue;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Trial, Verdict};
use crate::tx::{Coin, Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "amounts/explicit",
        Shared,
        "explicit values that do not add up, in one asset and across two",
        explicit
    ),
    case!(
        "amounts/confidential",
        Shared,
        "committed values that do not add up; proofs that are missing, swapped or altered",
        confidential
    ),
    case!(
        "amounts/mixed",
        Shared,
        "explicit into confidential and back, two assets in one transaction",
        mixed
    ),
    case!(
        "amounts/second-asset",
        Shared,
        "dust and fees in another asset than L-BTC",
        second_asset
    ),
];

/// What the node says to every kind of imbalance.
const IMBALANCE: Verdict<'static> = Verdict::Refused {
    reason: "bad-txns-in-ne-out",
    error: "-26: bad-txns-in-ne-out, value in != value out",
};

/// `sendrawtransaction` alone looks for this one, before anything else.
const UNBLINDED: Verdict<'static> = Verdict::Refused {
    reason: "allowed",
    error: "-25: Transaction output has nonce, but is not blinded. Did you forget to call blindrawtransaction, or rawblindrawtransaction?",
};

async fn explicit(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 100_000)])
        .await?
        .remove(0);
    let lbtc = t.lab.lbtc;
    let paying = |value: u64, asset: AssetId| {
        Draft::spending(&[&coin])
            .pay(key.script(), value, asset)
            .fee(FEE, lbtc)
            .sign(0, &key)
    };
    t.verdict(
        "one satoshi more than there is",
        &paying(100_000 - FEE + 1, lbtc),
        IMBALANCE,
    )
    .await?;
    t.verdict(
        "one satoshi less than there is",
        &paying(100_000 - FEE - 1, lbtc),
        IMBALANCE,
    )
    .await?;
    let other: AssetId = "11".repeat(32).parse().expect("hexadecimal digits");
    t.verdict(
        "out of another asset",
        &paying(100_000 - FEE, other),
        IMBALANCE,
    )
    .await?;
    let mut both = paying(100_000 - FEE, lbtc);
    both.tx.output.insert(0, both.tx.output[0].clone());
    both.tx.output[0].asset = Asset::Explicit(other);
    t.verdict(
        "and some of an asset that nobody put in",
        &both.sign(0, &key),
        IMBALANCE,
    )
    .await?;
    let mut proof = paying(100_000 - FEE, lbtc);
    let random = &mut t.random;
    let blinded = Draft::spending(&[&coin])
        .pay_blinded(key.script(), 100_000 - FEE, lbtc, key.blinder())
        .fee(FEE, lbtc)
        .blind(random);
    proof.tx.output[0].witness = blinded.tx.output[0].witness.clone();
    t.verdict("an explicit output with proofs", &proof, IMBALANCE)
        .await?;
    let mut nonce = paying(100_000 - FEE, lbtc);
    nonce.tx.output[0].nonce = Nonce::Confidential(key.blinder());
    t.verdict(
        "an explicit output with a nonce",
        &nonce.sign(0, &key),
        UNBLINDED,
    )
    .await?;
    Ok(())
}

/// What a case does to a good transaction.
type Change = &'static dyn Fn(&mut Draft);

async fn confidential(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coins = t
        .lab
        .fund(
            &mut t.random,
            &[
                Wanted::confidential(&key, 100_000),
                Wanted::confidential(&key, 50_000),
            ],
        )
        .await?;
    let lbtc = t.lab.lbtc;
    let good = Draft::spending(&[&coins[0]])
        .pay_blinded(key.script(), 60_000, lbtc, key.blinder())
        .pay_blinded(key.script(), 40_000 - FEE, lbtc, key.blinder())
        .fee(FEE, lbtc)
        .blind(&mut t.random);
    let broken = |change: &dyn Fn(&mut Draft)| {
        let mut draft = good.clone();
        change(&mut draft);
        draft.sign(0, &key)
    };
    let cases: &[(&str, Change)] = &[
        ("an altered range proof", &|draft| {
            alter_range_proof(draft, 0)
        }),
        ("an altered surjection proof", &|draft| {
            alter_surjection_proof(draft, 0)
        }),
        ("no range proof", &|draft| {
            draft.tx.output[0].witness.rangeproof = RangeProof::EMPTY
        }),
        ("no surjection proof", &|draft| {
            draft.tx.output[0].witness.surjection_proof = SurjectionProof::EMPTY
        }),
        ("another output's range proof", &|draft| {
            draft.tx.output[0].witness.rangeproof = draft.tx.output[1].witness.rangeproof.clone();
        }),
        ("another output's surjection proof", &|draft| {
            draft.tx.output[0].witness.surjection_proof =
                draft.tx.output[1].witness.surjection_proof.clone();
        }),
        ("another value commitment", &|draft| {
            draft.tx.output[0].value = draft.tx.output[1].value
        }),
        ("another asset commitment", &|draft| {
            draft.tx.output[0].asset = draft.tx.output[1].asset
        }),
        ("an explicit value with a committed asset", &|draft| {
            draft.tx.output[0].value = Value::Explicit(60_000);
            draft.tx.output[0].nonce = Nonce::Null;
        }),
        ("a committed value with an explicit asset", &|draft| {
            draft.tx.output[0].asset = Asset::Explicit(draft.coins[0].asset());
        }),
        ("one satoshi more of a fee", &|draft| {
            draft.tx.output[2].value = Value::Explicit(FEE + 1)
        }),
    ];
    // Elements remembers a range proof by itself and its commitment, without the script it was made for, so that this one
    // has to be new to the node.
    let mut other_script = broken(&|_| ());
    other_script.tx.output[0].script_pubkey =
        elements::Script::new_v0_wsh(&elements::WScriptHash::hash_script(&key.script()));
    t.verdict(
        "a script that the range proof does not know",
        &other_script.sign(0, &key),
        IMBALANCE,
    )
    .await?;
    for (label, change) in cases {
        t.verdict(label, &broken(*change), IMBALANCE).await?;
    }
    // Proofs for one satoshi more than went in, each of them true.
    let inflated = inflate(t, &coins[1], &key);
    t.verdict("true proofs of too large a sum", &inflated, IMBALANCE)
        .await?;
    let mut nonce = good.clone();
    nonce.tx.output[0].nonce = Nonce::Null;
    t.verdict(
        "no nonce, so that only the sender knows",
        &nonce.sign(0, &key),
        Verdict::Accepted,
    )
    .await?;
    t.lab.mine(1).await?;
    Ok(())
}

/// A transaction with one hidden output that is a satoshi larger than it may be.
fn inflate(t: &mut Trial<'_>, coin: &Coin, key: &Key) -> Draft {
    let lbtc = t.lab.lbtc;
    let mut draft = Draft::spending(&[coin])
        .pay_blinded(key.script(), coin.value() - FEE, lbtc, key.blinder())
        .fee(FEE, lbtc);
    let value = coin.value() - FEE + 1;
    let asset_bf = AssetBlindingFactor::new(&mut t.random);
    // The factor that would balance the sum, if the values did.
    let value_bf = ValueBlindingFactor::last(
        SECP256K1,
        value,
        asset_bf,
        &[coin.secrets.value_blind_inputs()],
        &[(
            FEE,
            AssetBlindingFactor::zero(),
            ValueBlindingFactor::zero(),
        )],
    );
    let secrets = elements::TxOutSecrets::new(lbtc, asset_bf, value, value_bf);
    let ephemeral = elements::secp256k1_zkp::SecretKey::new(&mut t.random);
    let output = elements::TxOut::with_txout_secrets(
        &mut t.random,
        SECP256K1,
        key.script(),
        key.blinder(),
        ephemeral,
        secrets,
        &[coin.secrets],
    );
    draft.tx.output[0] = output.expect("the value can be proven, which is the point");
    draft.sign(0, key)
}

fn alter_range_proof(draft: &mut Draft, index: usize) {
    let mut bytes = draft.tx.output[index].witness.rangeproof.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let altered =
        RangeProof::from_slice(&bytes).expect("its length is right, and nothing else is looked at");
    draft.tx.output[index].witness.rangeproof = altered;
}

fn alter_surjection_proof(draft: &mut Draft, index: usize) {
    let mut bytes = draft.tx.output[index].witness.surjection_proof.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let altered = SurjectionProof::from_slice(&bytes)
        .expect("its length is right, and nothing else is looked at");
    draft.tx.output[index].witness.surjection_proof = altered;
}

async fn mixed(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let lbtc = t.lab.lbtc;
    let (gold, coin) = issue(t, &key, 1_000).await?;
    let coins = t
        .lab
        .fund(&mut t.random, &[Wanted::confidential(&key, 100_000)])
        .await?;
    let both = Draft::spending(&[&coins[0], &coin])
        .pay_blinded(key.script(), 50_000 - FEE, lbtc, key.blinder())
        .pay(key.script(), 50_000, lbtc)
        .pay_blinded(key.script(), 400, gold, key.blinder())
        .pay_blinded(key.script(), 600, gold, key.blinder())
        .fee(FEE, lbtc)
        .blind(&mut t.random)
        .sign_all(&key);
    t.verdict("two assets, explicit and hidden", &both, Verdict::Accepted)
        .await?;
    t.lab.mine(1).await?;
    let swapped = |a: u64, b: u64| {
        Draft::spending(&[&both.coin(0), &both.coin(2)])
            .pay(key.script(), a, gold)
            .pay(key.script(), b - FEE, lbtc)
            .fee(FEE, lbtc)
            .sign_all(&key)
    };
    // A hidden input cannot be spent into explicit outputs alone: its factors have to go somewhere.
    t.verdict(
        "hidden into explicit alone",
        &swapped(400, 50_000 - FEE),
        IMBALANCE,
    )
    .await?;
    let back = Draft::spending(&[&both.coin(0), &both.coin(2)])
        .pay(key.script(), 400, gold)
        .pay(key.script(), 50_000 - 2 * FEE - 1_000, lbtc)
        .pay_blinded(key.script(), 1_000, lbtc, key.blinder())
        .fee(FEE, lbtc)
        .blind(&mut t.random)
        .sign_all(&key);
    t.verdict(
        "hidden into explicit, with a hidden rest",
        &back,
        Verdict::Accepted,
    )
    .await?;
    let exchanged = Draft::spending(&[&both.coin(1), &both.coin(3)])
        .pay_blinded(key.script(), 50_000, gold, key.blinder())
        .pay_blinded(key.script(), 600 - 100, lbtc, key.blinder())
        .fee(100, lbtc);
    // Blinding balances the factors; that the amounts are exchanged is for the node to find.
    let exchanged = exchanged.blind(&mut t.random).sign_all(&key);
    t.verdict("the amounts of two assets exchanged", &exchanged, IMBALANCE)
        .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn second_asset(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let lbtc = t.lab.lbtc;
    let (gold, coin) = issue(t, &key, 1_000_000).await?;
    let money = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 100_000)])
        .await?
        .remove(0);
    let only = Draft::spending(&[&coin])
        .pay(key.script(), 900_000, gold)
        .fee(100_000, gold)
        .sign(0, &key);
    let needed = only.tx.discount_vsize().div_ceil(10);
    t.verdict(
        "a fee in the other asset alone",
        &only,
        Verdict::Refused {
            reason: "min relay fee not met",
            error: &format!("-26: min relay fee not met, 0 < {needed}"),
        },
    )
    .await?;
    let both = Draft::spending(&[&coin, &money])
        .pay(key.script(), 1, gold)
        .pay(key.script(), 999_899, gold)
        .pay(key.script(), 100_000 - FEE, lbtc)
        .fee(100, gold)
        .fee(FEE, lbtc)
        .sign_all(&key);
    t.verdict(
        "one unit, and fees in both assets",
        &both,
        Verdict::Accepted,
    )
    .await?;
    let block = t.lab.mine(1).await?.remove(0);
    let block = t.node("getblock", serde_json::json!([block, 2])).await?;
    t.see(
        "outputs of its coinbase",
        block["tx"][0]["vout"]
            .as_array()
            .map_or(0, Vec::len)
            .to_string(),
    );
    let coinbase = block["tx"][0]["vout"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for (index, output) in coinbase.iter().enumerate() {
        t.see(
            format!("coinbase output {index}"),
            format!("{} {}", output["value"], output["scriptPubKey"]["type"]),
        );
    }
    Ok(())
}
