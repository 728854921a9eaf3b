//! Signing inputs that spend the wallet's coins.

use std::collections::HashMap;

use elements::script::Builder;
use elements::secp256k1_zkp::{All, Message, PublicKey, Secp256k1, SecretKey};
use elements::sighash::SighashCache;
use elements::{
    BlockHash, EcdsaSighashType, OutPoint, Script, Transaction, TxOut, Witness, opcodes,
};
use swaprig_script::{Checker as _, ElementsSpends, Flags, SigVersion};

use super::coins::Wallet;
use super::keys::AddressType;

/// An input that was not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignFailure {
    /// Its position.
    pub index: usize,
    /// elementsd's words.
    pub error: &'static str,
}

/// Signs every input whose key the wallet has. `coins` are the outputs that the inputs spend; inputs that have a
/// witness or a script already are left alone.
pub(crate) fn sign_all(
    wallet: &Wallet,
    secp: &Secp256k1<All>,
    tx: &mut Transaction,
    coins: &HashMap<OutPoint, TxOut>,
    sighash: EcdsaSighashType,
) -> Vec<SignFailure> {
    let mut failures = Vec::new();
    for index in 0..tx.input.len() {
        let Some(input) = tx.input.get(index) else {
            break;
        };
        if !input.script_sig.is_empty() || !input.witness.script_witness.is_empty() {
            continue;
        }
        let Some(coin) = coins.get(&input.previous_output) else {
            failures.push(SignFailure {
                index,
                error: "Input not found or already spent",
            });
            continue;
        };
        let script = coin.script_pubkey.clone();
        if script.as_bytes() == [0x51] {
            // Anyone can spend it.
            continue;
        }
        if !sign(wallet, secp, tx, index, coin, sighash) {
            let error = if script.is_witness_program() {
                "Witness program hash mismatch"
            } else {
                "Unable to sign input, invalid stack size (possibly missing key)"
            };
            failures.push(SignFailure { index, error });
        }
    }
    failures
}

/// False when the wallet does not have the key, or cannot sign in this way.
fn sign(
    wallet: &Wallet,
    secp: &Secp256k1<All>,
    tx: &mut Transaction,
    index: usize,
    coin: &TxOut,
    sighash: EcdsaSighashType,
) -> bool {
    let Some(origin) = wallet.keys().origin(&coin.script_pubkey) else {
        return false;
    };
    let key = wallet.keys().private_key(secp, origin);
    let public = key.public_key(secp);
    let code = pay_to_key_hash(&public);
    let hash = match origin.kind {
        AddressType::Legacy => legacy_sighash(tx, index, &code, sighash),
        AddressType::Bech32 | AddressType::P2shSegwit => {
            let mut cache = SighashCache::new(&*tx);
            let hash = cache.segwitv0_sighash(index, &code, coin.value, sighash);
            Some(hash.to_byte_array())
        }
    };
    let Some(hash) = hash else {
        return false;
    };
    let signature = signature(secp, &key, hash, sighash);
    let Some(input) = tx.input.get_mut(index) else {
        return false;
    };
    let public = public.serialize();
    match origin.kind {
        AddressType::Legacy => {
            input.script_sig = Builder::new()
                .push_slice(&signature)
                .push_slice(&public)
                .into_script();
        }
        AddressType::Bech32 => {
            input.witness.script_witness = Witness::from_slice(&[&signature[..], &public]);
        }
        AddressType::P2shSegwit => {
            input.script_sig = Builder::new()
                .push_slice(witness_program(&public).as_bytes())
                .into_script();
            input.witness.script_witness = Witness::from_slice(&[&signature[..], &public]);
        }
    }
    true
}

/// What a signature outside segregated witness commits to. Not by the `elements` crate, which marks inputs that issue by
/// a bit of their output's number; consensus does so in transactions, but not here.
fn legacy_sighash(
    tx: &Transaction,
    index: usize,
    code: &Script,
    sighash: EcdsaSighashType,
) -> Option<[u8; 32]> {
    // The coins play no part in it.
    let coins = vec![TxOut::default(); tx.input.len()];
    let genesis = BlockHash::from_byte_array([0; 32]);
    let spends = ElementsSpends::new(tx, &coins, genesis).ok()?;
    let input = spends.input(index).ok()?;
    let sighash = sighash.as_u32().to_le_bytes()[0];
    Some(input.ecdsa_sighash(code.as_bytes(), sighash, SigVersion::Legacy, Flags::NONE))
}

fn signature(
    secp: &Secp256k1<All>,
    key: &SecretKey,
    hash: [u8; 32],
    sighash: EcdsaSighashType,
) -> Vec<u8> {
    let message = Message::from_digest(hash);
    let mut signature = secp
        .sign_ecdsa_low_r(&message, key)
        .serialize_der()
        .to_vec();
    // Every type of signature hash fits one byte.
    signature.push(sighash.as_u32().to_le_bytes()[0]);
    signature
}

/// What a key's signature in version 0 of segregated witness commits to.
fn pay_to_key_hash(key: &PublicKey) -> Script {
    let key = elements::bitcoin::PublicKey::new(*key);
    Script::new_p2pkh(&key.pubkey_hash())
}

/// The version 0 program of a key.
pub(crate) fn witness_program(key: &[u8; 33]) -> Script {
    use elements::hashes::hash160;
    Builder::new()
        .push_opcode(opcodes::all::OP_PUSHBYTES_0)
        .push_slice(&hash160::Hash::hash(key).to_byte_array())
        .into_script()
}
