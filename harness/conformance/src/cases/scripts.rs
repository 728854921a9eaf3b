//! Script rules that are policy or consensus for what a wallet makes: minimal IF, clean stacks, low S, key paths, P2SH.
//! The whole machine is tested elsewhere; here a node is shown to use it, with its flags and its words.

use elements::hashes::sha256;
use elements::opcodes::all::{
    OP_CAT, OP_CHECKSIG, OP_CSV, OP_DROP, OP_ELSE, OP_ENDIF, OP_EQUAL, OP_IF, OP_SHA256,
};
use elements::schnorr::TapTweak as _;
use elements::script::Builder;
use elements::secp256k1_zkp::{Message, SECP256K1};
use elements::sighash::{Prevouts, SighashCache};
use elements::{Address, AddressParams, SchnorrSighashType, Script};

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Trial, Verdict};
use crate::tx::{Coin, Draft, FEE, Key};

pub(super) const CASES: &[Case] = &[
    case!(
        "script/v0",
        Shared,
        "P2WSH: minimal IF, clean stack, script that does not match, false, Elements' own opcodes",
        v0
    ),
    case!(
        "script/signatures",
        Shared,
        "high S, wrong sighash types, empty and broken signatures",
        signatures
    ),
    case!(
        "script/csv",
        Shared,
        "OP_CHECKSEQUENCEVERIFY before, at and after its depth",
        csv
    ),
    case!(
        "script/key-path",
        Shared,
        "taproot key path, right and wrong",
        key_path
    ),
    case!("script/p2sh", Shared, "P2SH-P2WPKH and P2PKH", p2sh),
];

fn failed(what: &str) -> (String, String) {
    let reason = format!("mempool-script-verify-flag-failed ({what})");
    let error = format!("-26: {reason}");
    (reason, error)
}

/// Notes that `draft` fails with the script error `what`.
async fn fails(t: &mut Trial<'_>, label: &str, draft: &Draft, what: &str) -> Step<()> {
    let (reason, error) = failed(what);
    let verdict = Verdict::Refused {
        reason: &reason,
        error: &error,
    };
    t.verdict(label, draft, verdict).await
}

async fn p2wsh(t: &mut Trial<'_>, script: &Script) -> Step<Coin> {
    let wanted = Wanted {
        script: script.to_v0_p2wsh(),
        value: 50_000,
        blinder: None,
    };
    Ok(t.lab.fund(&mut t.random, &[wanted]).await?.remove(0))
}

fn spend(t: &Trial<'_>, coin: &Coin) -> Draft {
    let key = &t.lab.key;
    Draft::spending(&[coin])
        .pay(key.script(), coin.value() - FEE, t.lab.lbtc)
        .fee(FEE, t.lab.lbtc)
}

async fn v0(t: &mut Trial<'_>) -> Step<()> {
    let branch = Builder::new()
        .push_opcode(OP_IF)
        .push_int(1)
        .push_opcode(OP_ELSE)
        .push_int(0)
        .push_opcode(OP_ENDIF)
        .into_script();
    let coin = p2wsh(t, &branch).await?;
    let with = |t: &Trial<'_>, coin: &Coin, stack: &[&[u8]], script: &Script| {
        let mut draft = spend(t, coin);
        let mut all: Vec<Vec<u8>> = stack.iter().map(|item| item.to_vec()).collect();
        all.push(script.to_bytes());
        draft.set_witness(0, &all);
        draft
    };
    fails(
        t,
        "IF on 2",
        &with(t, &coin, &[&[2]], &branch),
        "OP_IF/NOTIF argument must be minimal",
    )
    .await?;
    fails(
        t,
        "IF on a zero byte",
        &with(t, &coin, &[&[0]], &branch),
        "OP_IF/NOTIF argument must be minimal",
    )
    .await?;
    fails(
        t,
        "false at the end",
        &with(t, &coin, &[&[]], &branch),
        "Script evaluated without error but finished with a false/empty top stack element",
    )
    .await?;
    fails(
        t,
        "an item too many",
        &with(t, &coin, &[&[1], &[1]], &branch),
        "Stack size must be exactly one after execution",
    )
    .await?;
    fails(
        t,
        "an item too few",
        &with(t, &coin, &[], &branch),
        "Invalid OP_IF construction",
    )
    .await?;
    let other = Builder::new().push_int(1).into_script();
    fails(
        t,
        "another script",
        &with(t, &coin, &[], &other),
        "Witness program hash mismatch",
    )
    .await?;
    fails(
        t,
        "no witness",
        &spend(t, &coin),
        "Witness program was passed an empty witness",
    )
    .await?;
    t.verdict(
        "IF on 1",
        &with(t, &coin, &[&[1]], &branch),
        Verdict::Accepted,
    )
    .await?;

    let hash = sha256::Hash::hash(b"cats").to_byte_array();
    let cat = Builder::new()
        .push_opcode(OP_CAT)
        .push_opcode(OP_SHA256)
        .push_slice(&hash)
        .push_opcode(OP_EQUAL)
        .into_script();
    let coin = p2wsh(t, &cat).await?;
    fails(
        t,
        "OP_CAT of the wrong words",
        &with(t, &coin, &[b"do", b"gs"], &cat),
        "Script evaluated without error but finished with a false/empty top stack element",
    )
    .await?;
    t.verdict(
        "OP_CAT, which Elements has",
        &with(t, &coin, &[b"ca", b"ts"], &cat),
        Verdict::Accepted,
    )
    .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn signatures(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let coin = t
        .lab
        .fund(&mut t.random, &[Wanted::explicit(&key, 50_000)])
        .await?
        .remove(0);
    let draft = spend(t, &coin);
    let public = key.public().serialize().to_vec();
    let good = key.sign(draft.digest(0, &key.script_code()));
    let with = |signature: Vec<u8>| {
        let mut draft = draft.clone();
        draft.set_witness(0, &[signature, public.clone()]);
        draft
    };
    let high = {
        let message = Message::from_digest(draft.digest(0, &key.script_code()));
        let compact = SECP256K1
            .sign_ecdsa(&message, &key.secret)
            .serialize_compact();
        let s = elements::secp256k1_zkp::SecretKey::from_slice(&compact[32..])
            .expect("s is a scalar")
            .negate();
        let mut twin = compact;
        twin[32..].copy_from_slice(&s.secret_bytes());
        let mut der = elements::secp256k1_zkp::ecdsa::Signature::from_compact(&twin)
            .expect("s is in range")
            .serialize_der()
            .to_vec();
        der.push(1);
        der
    };
    fails(
        t,
        "high S",
        &with(high),
        "Non-canonical signature: S value is unnecessarily high",
    )
    .await?;
    let mut unknown = good.clone();
    *unknown.last_mut().expect("it has a type") = 0x05;
    fails(
        t,
        "a sighash type that is none",
        &with(unknown),
        "Signature hash type missing or not understood",
    )
    .await?;
    let mut none = good.clone();
    *none.last_mut().expect("it has a type") = 0x02;
    fails(
        t,
        "signed with another sighash type",
        &with(none),
        "Signature must be zero for failed CHECK(MULTI)SIG operation",
    )
    .await?;
    fails(
        t,
        "an empty signature",
        &with(Vec::new()),
        "Script evaluated without error but finished with a false/empty top stack element",
    )
    .await?;
    fails(
        t,
        "a signature of one byte",
        &with(vec![1]),
        "Non-canonical DER signature",
    )
    .await?;
    fails(
        t,
        "a signature cut short",
        &with(good[..good.len() - 3].to_vec()),
        "Non-canonical DER signature",
    )
    .await?;
    t.verdict("a good signature", &with(good), Verdict::Accepted)
        .await?;

    let script = Builder::new()
        .push_slice(&key.public().serialize_uncompressed())
        .push_opcode(OP_CHECKSIG)
        .into_script();
    let coin = p2wsh(t, &script).await?;
    let mut draft = spend(t, &coin);
    let signature = key.sign(draft.digest(0, &script));
    draft.set_witness(0, &[signature, script.to_bytes()]);
    fails(
        t,
        "an uncompressed key in a witness",
        &draft,
        "Using non-compressed keys in segwit",
    )
    .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn csv(t: &mut Trial<'_>) -> Step<()> {
    let script = Builder::new()
        .push_int(3)
        .push_opcode(OP_CSV)
        .push_opcode(OP_DROP)
        .push_int(1)
        .into_script();
    let coin = p2wsh(t, &script).await?;
    let with = |t: &Trial<'_>, sequence: u32, version: u32| {
        let mut draft = spend(t, &coin).sequence(sequence).version(version);
        draft.set_witness(0, &[script.to_bytes()]);
        draft
    };
    let unmet = "Locktime requirement not satisfied";
    let early = Verdict::Refused {
        reason: "non-BIP68-final",
        error: "-26: non-BIP68-final",
    };
    t.verdict("1 deep, sequence 3", &with(t, 3, 2), early)
        .await?;
    fails(t, "sequence 1", &with(t, 1, 2), unmet).await?;
    t.lab.mine(1).await?;
    t.verdict("2 deep, sequence 3", &with(t, 3, 2), early)
        .await?;
    t.lab.mine(1).await?;
    fails(t, "sequence 2", &with(t, 2, 2), unmet).await?;
    t.verdict("a sequence of time", &with(t, 3 | 1 << 22, 2), early)
        .await?;
    fails(
        t,
        "a sequence that is switched off",
        &with(t, 0xffff_fffe, 2),
        unmet,
    )
    .await?;
    fails(t, "version 1", &with(t, 3, 1), unmet).await?;
    t.verdict("3 deep, sequence 3", &with(t, 3, 2), Verdict::Accepted)
        .await?;
    t.lab.mine(1).await?;
    Ok(())
}

async fn key_path(t: &mut Trial<'_>) -> Step<()> {
    let (key, stranger) = (Key::new(&mut t.random), Key::new(&mut t.random));
    let (internal, _) = key.public().x_only_public_key();
    let script = Script::new_v1_p2tr(SECP256K1, internal, None);
    for confidential in [false, true] {
        let label = |text: &str| {
            format!(
                "{}: {text}",
                if confidential {
                    "confidential"
                } else {
                    "explicit"
                }
            )
        };
        let wanted = Wanted {
            script: script.clone(),
            value: 50_000,
            blinder: confidential.then(|| key.blinder()),
        };
        let coin = t.lab.fund(&mut t.random, &[wanted]).await?.remove(0);
        let draft = match confidential {
            false => spend(t, &coin),
            true => Draft::spending(&[&coin])
                .pay_blinded(key.script(), 50_000 - FEE, t.lab.lbtc, key.blinder())
                .fee(FEE, t.lab.lbtc)
                .blind(&mut t.random),
        };
        let genesis = t.lab.genesis;
        let signed = |by: &Key, genesis| {
            let outputs = [coin.txout.clone()];
            let digest = SighashCache::new(&draft.tx)
                .taproot_key_spend_signature_hash(
                    0,
                    &Prevouts::All(&outputs),
                    SchnorrSighashType::Default,
                    genesis,
                )
                .expect("the input is there");
            let pair = by.keypair().tap_tweak(SECP256K1, None).to_inner();
            let signature = SECP256K1
                .sign_schnorr_no_aux_rand(&Message::from_digest(digest.to_byte_array()), &pair);
            let mut draft = draft.clone();
            draft.set_witness(0, &[signature.as_ref().to_vec()]);
            draft
        };
        let other_chain = "11".repeat(32).parse().expect("hexadecimal digits");
        fails(
            t,
            &label("signed by a stranger"),
            &signed(&stranger, genesis),
            "Invalid Schnorr signature",
        )
        .await?;
        fails(
            t,
            &label("signed for another chain"),
            &signed(&key, other_chain),
            "Invalid Schnorr signature",
        )
        .await?;
        let mut long = signed(&key, genesis);
        let mut bytes = long.tx.input[0].witness.script_witness.to_vec().remove(0);
        bytes.push(0);
        long.set_witness(0, &[bytes.clone()]);
        fails(
            t,
            &label("a zero sighash type"),
            &long,
            "Invalid Schnorr signature hash type",
        )
        .await?;
        bytes.pop();
        bytes.pop();
        long.set_witness(0, &[bytes]);
        fails(
            t,
            &label("63 bytes"),
            &long,
            "Invalid Schnorr signature size",
        )
        .await?;
        t.verdict(&label("good"), &signed(&key, genesis), Verdict::Accepted)
            .await?;
    }
    t.lab.mine(1).await?;
    Ok(())
}

async fn p2sh(t: &mut Trial<'_>) -> Step<()> {
    let key = Key::new(&mut t.random);
    let public = elements::bitcoin::PublicKey::new(key.public());
    let nested = Address::p2shwpkh(&public, None, &AddressParams::ELEMENTS).script_pubkey();
    let legacy = Address::p2pkh(&public, None, &AddressParams::ELEMENTS).script_pubkey();
    let wanted = |script: &Script| Wanted {
        script: script.clone(),
        value: 50_000,
        blinder: None,
    };
    let coins = t
        .lab
        .fund(&mut t.random, &[wanted(&nested), wanted(&legacy)])
        .await?;
    let mut draft = spend(t, &coins[0]).sign(0, &key);
    let redeem = key.script();
    t.verdict(
        "P2SH-P2WPKH without its script",
        &draft,
        Verdict::Refused {
            reason: "bad-txns-nonstandard-inputs",
            error: "-26: bad-txns-nonstandard-inputs",
        },
    )
    .await?;
    draft.tx.input[0].script_sig = Builder::new().push_slice(redeem.as_bytes()).into_script();
    t.verdict("P2SH-P2WPKH", &draft, Verdict::Accepted).await?;
    let mut draft = spend(t, &coins[1]);
    let digest =
        SighashCache::new(&draft.tx).legacy_sighash(0, &legacy, elements::EcdsaSighashType::All);
    let sign = |by: &Key| {
        Builder::new()
            .push_slice(&by.sign(digest.to_byte_array()))
            .push_slice(&key.public().serialize())
            .into_script()
    };
    let stranger = Key::new(&mut t.random);
    draft.tx.input[0].script_sig = sign(&stranger);
    fails(
        t,
        "P2PKH signed by a stranger",
        &draft,
        "Signature must be zero for failed CHECK(MULTI)SIG operation",
    )
    .await?;
    draft.tx.input[0].script_sig = sign(&key);
    t.verdict("P2PKH", &draft, Verdict::Accepted).await?;
    t.lab.mine(1).await?;
    Ok(())
}
