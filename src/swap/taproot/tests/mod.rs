//! Tests of the HTLC on Bitcoin: tables and properties. What they share is here.

mod contract;
mod independent;
mod reply;
mod signing;
mod spends;

use bitcoin::secp256k1::{PublicKey, SECP256K1, SecretKey};
use bitcoin::{Address, Network, OutPoint, Script, ScriptBuf, Transaction, Txid};
use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use proptest::prelude::*;
use swaprig_script::{BitcoinSpends, Flags};
use swaprig_units::{Height, PaymentHash, Preimage, Sat};

use super::*;
use crate::swap::musig::{PartialSignature, PublicNonce, Session, answer};
use crate::swap::{FeeRate, SpendError};

const PREIMAGE: Preimage = Preimage([7; 32]);
const CLAIMER: u8 = 1;
const REFUNDER: u8 = 2;
const RATE: FeeRate = FeeRate(1_000);
const R: [u8; 32] = [0x77; 32];

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).expect("in range")
}

fn public(byte: u8) -> PublicKey {
    secret(byte).public_key(SECP256K1)
}

/// Always the same one: a test that fails fails again.
fn rng() -> StdRng {
    StdRng::seed_from_u64(7)
}

fn htlc() -> Htlc {
    Htlc {
        payment_hash: PREIMAGE.payment_hash(),
        claimer: public(CLAIMER),
        refunder: public(REFUNDER),
        timeout: Height(1_000_000),
    }
}

fn both() -> [InternalKey; 2] {
    [InternalKey::Musig2, InternalKey::Unspendable { r: R }]
}

fn taproot(internal: InternalKey) -> Taproot {
    Taproot::new(htlc(), internal).expect("an output")
}

fn outpoint(byte: u8) -> OutPoint {
    OutPoint::new(
        Txid::from_raw_hash(bitcoin::hashes::Hash::from_byte_array([byte; 32])),
        3,
    )
}

fn locked(internal: InternalKey, values: &[u64]) -> Locked {
    let coins = (1..).map(outpoint).zip(values.iter().copied().map(Sat));
    Locked {
        taproot: taproot(internal),
        coins: coins.collect(),
    }
}

fn p2tr() -> ScriptBuf {
    let (key, _) = public(3).x_only_public_key();
    ScriptBuf::new_p2tr(SECP256K1, key, None)
}

fn p2wpkh() -> ScriptBuf {
    let key = bitcoin::CompressedPublicKey(public(3));
    Address::p2wpkh(&key, Network::Regtest).script_pubkey()
}

fn claimed(locked: &Locked, to: &Script, rate: FeeRate) -> Result<Transaction, SpendError> {
    claim(locked, &PREIMAGE, &secret(CLAIMER), to, rate, &mut rng())
}

fn refunded(locked: &Locked, to: &Script, rate: FeeRate) -> Result<Transaction, SpendError> {
    refund(locked, &secret(REFUNDER), to, rate, &mut rng())
}

/// The two sign together: the claimer asks, the refunder answers, once for each input.
fn together(locked: &Locked, to: &Script, rate: FeeRate) -> Result<Transaction, SpendError> {
    let mut tx = cooperative(locked, to, rate)?;
    let signers = locked.taproot.signers().expect("it has a key");
    for input in 0..tx.input.len() {
        let sighash = cooperative_sighash(locked, &tx, input).expect("it is the spend");
        let session = Session::begin(&signers, &secret(CLAIMER), sighash, &mut rng());
        let session = session.expect("a signer");
        let (nonce, partial) = answer(
            &signers,
            &secret(REFUNDER),
            &session.nonce(),
            sighash,
            &mut rng(),
        )
        .expect("a signer");
        let signature = session.finish(&nonce, &partial).expect("a signature");
        finish_cooperative(&mut tx, input, &signature);
    }
    Ok(tx)
}

/// What the interpreter with Bitcoin Core's rules says of every input.
fn verdict(tx: &Transaction, locked: &Locked) -> Result<(), swaprig_script::ScriptError> {
    let spent = locked.outputs();
    let spends = BitcoinSpends::new(tx, &spent)?;
    (0..tx.input.len()).try_for_each(|input| spends.verify(input, Flags::BITCOIN_STANDARD))
}

fn any_key() -> impl Strategy<Value = PublicKey> {
    // Keys of either parity.
    any::<[u8; 32]>().prop_filter_map("in range", |bytes| {
        let secret = SecretKey::from_slice(&bytes).ok()?;
        Some(secret.public_key(SECP256K1))
    })
}

fn any_internal() -> impl Strategy<Value = InternalKey> {
    let r = any::<[u8; 32]>().prop_filter("in range", |r| SecretKey::from_slice(r).is_ok());
    prop_oneof![
        Just(InternalKey::Musig2),
        r.prop_map(|r| InternalKey::Unspendable { r }),
    ]
}

fn any_taproot() -> impl Strategy<Value = Taproot> {
    let parts = (
        any::<[u8; 32]>(),
        any_key(),
        any_key(),
        1..500_000_000_u32,
        any_internal(),
    );
    parts.prop_map(|(hash, claimer, refunder, timeout, internal)| {
        let htlc = Htlc {
            payment_hash: PaymentHash(hash),
            claimer,
            refunder,
            timeout: Height(timeout),
        };
        Taproot::new(htlc, internal).expect("an output")
    })
}
