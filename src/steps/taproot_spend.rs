//! Spending an HTLC on Bitcoin, rightly or not: what the node says to it is the step's outcome.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Keypair, Message, SECP256K1, SecretKey};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TapLeafHash};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, ScriptBuf, Sequence, TapSighash, TapSighashType, Transaction, TxIn, TxOut, Txid,
    Witness,
};
use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use serde_json::json;
use swaprig_harness::elementsd::FAUCET;
use swaprig_record::Chain;
use swaprig_scenarios::run::{Run, StepFailure};
use swaprig_units::{Height, Sat};

use super::taproot::Paid;
use super::{BitcoinHtlc, HtlcTransaction, Purse, SpendPath};
use crate::swap::musig::{Session, answer};
use crate::swap::taproot::{Locked, cooperative_sighash, finish_cooperative};

/// What is asked for, apart from the HTLC.
pub(super) struct Wanted {
    pub(super) to: Purse,
    pub(super) path: SpendPath,
    /// What is shown as the preimage.
    pub(super) preimage: Vec<u8>,
    /// Who signs, alone; who should when it is left out.
    pub(super) key: Option<SecretKey>,
    pub(super) locktime: Height,
    pub(super) sequence: u32,
    pub(super) fee: Sat,
}

/// Makes the transaction and sends it.
pub(super) async fn spend(
    htlc: &BitcoinHtlc,
    wanted: &Wanted,
    run: &Run<'_>,
) -> Result<HtlcTransaction, StepFailure> {
    let coins = coins(htlc.paid(run.world, run.deadline).await?)?;
    let locked = Locked {
        taproot: htlc.taproot.clone(),
        coins: coins
            .iter()
            .map(|coin| (coin.outpoint, coin.value))
            .collect(),
    };
    let mut transaction = unsigned(&locked, wanted, script_of(&wanted.to, run).await?)?;
    match wanted.path {
        SpendPath::Claim => {
            let key = signer(wanted, htlc.claimer_key, "claimer")?;
            by_script(&locked, &mut transaction, &key, Some(&wanted.preimage));
        }
        SpendPath::Refund => {
            let key = signer(wanted, htlc.refunder_key, "refunder")?;
            by_script(&locked, &mut transaction, &key, None);
        }
        SpendPath::Cooperative => match wanted.key {
            Some(key) => alone(&locked, &mut transaction, &key),
            None => together(htlc, &locked, &mut transaction, run)?,
        },
    }
    let rpc = run.world.bitcoind().rpc();
    let hex = [json!(serialize_hex(&transaction))];
    let sent = rpc.call::<Txid>("sendrawtransaction", &hex, run.deadline);
    let txid = sent.await.map_err(|error| run.world.error(error))?;
    let chain = Chain::Bitcoin;
    Ok(HtlcTransaction { txid, chain })
}

/// What is to be spent: what is unspent, or everything when nothing is.
fn coins(paid: Vec<Paid>) -> Result<Vec<Paid>, StepFailure> {
    if paid.is_empty() {
        return Err(StepFailure::refused("nothing was paid into the HTLC").at("spend"));
    }
    let any_unspent = paid.iter().any(|paid| paid.spent.is_none());
    let wanted = paid.into_iter();
    Ok(wanted
        .filter(|paid| paid.spent.is_none() || !any_unspent)
        .collect())
}

async fn script_of(to: &Purse, run: &Run<'_>) -> Result<ScriptBuf, StepFailure> {
    let world = run.world;
    let address = match to.0.as_str() {
        FAUCET => {
            let address = world.bitcoind().rpc().new_address(run.deadline).await;
            address.map_err(|error| world.error(error))?
        }
        node => {
            let address = world.node(node)?.new_address().await;
            address.map_err(|error| world.error(error))?
        }
    };
    Ok(address.script_pubkey())
}

fn unsigned(
    locked: &Locked,
    wanted: &Wanted,
    script_pubkey: ScriptBuf,
) -> Result<Transaction, StepFailure> {
    let values = locked.coins.iter().map(|(_, value)| value.0);
    let sum = Sat(values.fold(0, u64::saturating_add));
    let Some(left) = sum.checked_sub(wanted.fee) else {
        let title = format!("the HTLC has {sum} for a fee of {}", wanted.fee);
        return Err(StepFailure::refused(title).why("ask for a smaller `fee`"));
    };
    let input = |(outpoint, _): &(bitcoin::OutPoint, Sat)| TxIn {
        previous_output: *outpoint,
        sequence: Sequence(wanted.sequence),
        ..TxIn::default()
    };
    Ok(Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_consensus(wanted.locktime.0),
        input: locked.coins.iter().map(input).collect(),
        output: vec![TxOut {
            value: Amount::from_sat(left.0),
            script_pubkey,
        }],
    })
}

fn signer(wanted: &Wanted, known: Option<SecretKey>, who: &str) -> Result<SecretKey, StepFailure> {
    wanted.key.or(known).ok_or_else(|| {
        let title = format!("the {who}'s key is somebody else's");
        let why = "say with which key to sign: key = \"$me\"";
        StepFailure::refused(title).why(why)
    })
}

/// Signs every input and shows the leaf, with a preimage or without. Whether that is right is the node's to say.
fn by_script(
    locked: &Locked,
    transaction: &mut Transaction,
    key: &SecretKey,
    preimage: Option<&[u8]>,
) {
    let info = locked.taproot.spend_info();
    let (leaf, control) = match preimage {
        Some(_) => (&info.claim_leaf, &info.claim_control),
        None => (&info.timeout_leaf, &info.timeout_control),
    };
    let leaf_hash = TapLeafHash::from_script(leaf, LeafVersion::TapScript);
    let outputs = locked.outputs();
    for input in 0..transaction.input.len() {
        let sighash = SighashCache::new(&*transaction)
            .taproot_script_spend_signature_hash(
                input,
                &Prevouts::All(&outputs),
                leaf_hash,
                TapSighashType::Default,
            )
            .expect("there is an output for each input");
        let mut stack = vec![signed(sighash, key)];
        stack.extend(preimage.map(<[u8]>::to_vec));
        stack.push(leaf.to_bytes());
        stack.push(control.serialize());
        transaction.input[input].witness = Witness::from_slice(&stack);
    }
}

fn signed(sighash: TapSighash, key: &SecretKey) -> Vec<u8> {
    let keypair = Keypair::from_secret_key(SECP256K1, key);
    let message = Message::from_digest(sighash.to_byte_array());
    let signature = SECP256K1.sign_schnorr_no_aux_rand(&message, &keypair);
    signature.as_ref().to_vec()
}

/// One signs for both, which no node may take.
fn alone(locked: &Locked, transaction: &mut Transaction, key: &SecretKey) {
    for input in 0..transaction.input.len() {
        let sighash = cooperative_sighash(locked, transaction, input).expect("it spends these");
        transaction.input[input].witness = Witness::from_slice(&[signed(sighash, key)]);
    }
}

/// The claimer asks, the refunder answers, once for each input.
fn together(
    htlc: &BitcoinHtlc,
    locked: &Locked,
    transaction: &mut Transaction,
    run: &Run<'_>,
) -> Result<(), StepFailure> {
    let (Some(claimer), Some(refunder)) = (htlc.claimer_key, htlc.refunder_key) else {
        let title = "the two cannot sign together: one of the keys is somebody else's";
        return Err(StepFailure::refused(title).at("path"));
    };
    let Some(signers) = htlc.taproot.signers() else {
        let title = "the two cannot sign together: nobody has the internal key of this HTLC";
        let why = "it was made with internal = \"unspendable\"";
        return Err(StepFailure::refused(title).why(why).at("path"));
    };
    let rng = &mut StdRng::from_seed(run.random.bytes());
    let fail = |error| StepFailure::refused(format!("the two cannot sign together: {error}"));
    for input in 0..transaction.input.len() {
        let sighash = cooperative_sighash(locked, transaction, input).expect("it spends these");
        let session = Session::begin(&signers, &claimer, sighash, rng).map_err(fail)?;
        let answered = answer(&signers, &refunder, &session.nonce(), sighash, rng);
        let (nonce, partial) = answered.map_err(fail)?;
        let signature = session.finish(&nonce, &partial).map_err(fail)?;
        finish_cooperative(transaction, input, &signature);
    }
    Ok(())
}
