//! Claims, refunds and co-operative spends on Bitcoin. Nothing is sent or looked up here.
//!
//! Sizes in virtual bytes, for timeouts of three bytes:
//!
//! |                        | to P2TR | to P2WPKH | a further input |
//! |------------------------|---------|-----------|-----------------|
//! | claim, script path     |     155 |       143 |          100.75 |
//! | refund, script path    |     138 |       126 |           84    |
//! | co-operative, key path |     111 |        99 |           57.5  |

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Keypair, Message, PublicKey, SECP256K1, SecretKey, schnorr};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::TapLeafHash;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, OutPoint, Script, ScriptBuf, Sequence, TapSighash, TapSighashType, Transaction, TxIn,
    TxOut, Witness,
};
use elements::secp256k1_zkp::rand::{CryptoRng, RngCore};
use swaprig_units::{Preimage, Sat};

use super::Taproot;
use crate::swap::{FeeRate, SpendError};

/// A Schnorr signature without a hash type: SIGHASH_DEFAULT (BIP 341).
const SIGNATURE_SIZE: usize = 64;

/// What a spend takes: unspent outputs of one HTLC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The contract.
    pub taproot: Taproot,
    /// Its outputs, and what each is worth.
    pub coins: Vec<(OutPoint, Sat)>,
}

/// Why a transaction is not one that the two sign together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTheSpend {
    /// A signature says what all inputs are worth, so that there must be none that is not known.
    #[error("the inputs of the transaction are not the outputs of the HTLC, in their order")]
    Inputs,
    /// There is none with that number.
    #[error("the transaction has no input {0}")]
    NoInput(usize),
}

impl Locked {
    /// The same without an output that is spent already.
    pub fn without(mut self, spent: OutPoint) -> Locked {
        self.coins.retain(|(outpoint, _)| *outpoint != spent);
        self
    }

    /// The outputs, in the order of a spend's inputs; for who checks signatures.
    pub fn outputs(&self) -> Vec<TxOut> {
        let script = self.taproot.script_pubkey();
        let output = |(_, value): &(OutPoint, Sat)| TxOut {
            value: Amount::from_sat(value.0),
            script_pubkey: script.clone(),
        };
        self.coins.iter().map(output).collect()
    }

    fn available(&self) -> Sat {
        let values = self.coins.iter().map(|(_, value)| value.0);
        Sat(values.fold(0, u64::saturating_add))
    }
}

/// The claim: spends with the preimage and the claimer's key, by the script. Signals that it may be replaced (BIP 125).
/// All goes to `destination`, but for the fee of `rate` satoshi for 1,000 virtual bytes.
///
/// # Errors
/// Why it cannot be made; nothing is spent then.
pub fn claim<R: RngCore + CryptoRng>(
    locked: &Locked,
    preimage: &Preimage,
    key: &SecretKey,
    destination: &Script,
    rate: FeeRate,
    rng: &mut R,
) -> Result<Transaction, SpendError> {
    let htlc = locked.taproot.htlc();
    if preimage.payment_hash() != htlc.payment_hash {
        return Err(SpendError::Preimage);
    }
    check_key(key, &htlc.claimer, "claimer")?;
    let path = Path {
        arguments: vec![preimage.0.to_vec()],
        leaf: Some(locked.taproot.claim_script()),
    };
    let mut tx = sized(locked, LockTime::ZERO, &path, destination, rate)?;
    sign(locked, &mut tx, key, &path, rng);
    Ok(tx)
}

/// The refund: spends with the refunder's key, by the script. No block takes it before the one after the timeout's.
/// Everything else as [`claim`] does it.
///
/// # Errors
/// Why it cannot be made; nothing is spent then.
pub fn refund<R: RngCore + CryptoRng>(
    locked: &Locked,
    key: &SecretKey,
    destination: &Script,
    rate: FeeRate,
    rng: &mut R,
) -> Result<Transaction, SpendError> {
    let htlc = locked.taproot.htlc();
    check_key(key, &htlc.refunder, "refunder")?;
    let path = Path {
        arguments: Vec::new(),
        leaf: Some(locked.taproot.timeout_script()),
    };
    let timeout = LockTime::from_consensus(htlc.timeout.0);
    let mut tx = sized(locked, timeout, &path, destination, rate)?;
    sign(locked, &mut tx, key, &path, rng);
    Ok(tx)
}

/// What the two spend together, without signatures: each input is to be signed over [`cooperative_sighash`] with
/// [`Taproot::signers`], and to be given its signature by [`finish_cooperative`]. The fee is for the size it has then.
///
/// # Errors
/// Why it cannot be made.
pub fn cooperative(
    locked: &Locked,
    destination: &Script,
    rate: FeeRate,
) -> Result<Transaction, SpendError> {
    let path = Path {
        arguments: Vec::new(),
        leaf: None,
    };
    let mut tx = sized(locked, LockTime::ZERO, &path, destination, rate)?;
    for input in &mut tx.input {
        input.witness.clear();
    }
    Ok(tx)
}

/// What is signed to spend input `input` of `tx` by the key, computed from what is locked and not from what anybody says.
/// Where the coins go is not looked at; an output of any kind, a locktime or a witness is its author's matter.
///
/// # Errors
/// Where `tx` spends anything else.
pub fn cooperative_sighash(
    locked: &Locked,
    tx: &Transaction,
    input: usize,
) -> Result<TapSighash, NotTheSpend> {
    let spent = tx.input.iter().map(|input| input.previous_output);
    if !spent.eq(locked.coins.iter().map(|(outpoint, _)| *outpoint)) {
        return Err(NotTheSpend::Inputs);
    }
    if input >= tx.input.len() {
        return Err(NotTheSpend::NoInput(input));
    }
    let outputs = locked.outputs();
    SighashCache::new(tx)
        .taproot_key_spend_signature_hash(input, &Prevouts::All(&outputs), TapSighashType::Default)
        .map_err(|_| NotTheSpend::NoInput(input))
}

/// Gives an input its signature, and nothing else.
///
/// # Panics
/// When there is no such input.
pub fn finish_cooperative(tx: &mut Transaction, input: usize, signature: &schnorr::Signature) {
    tx.input[input].witness = Witness::from_slice(&[signature.as_ref()]);
}

/// How an input is spent: what stands between the signature and the leaf, and the leaf, if any.
struct Path<'a> {
    arguments: Vec<Vec<u8>>,
    leaf: Option<&'a ScriptBuf>,
}

impl Path<'_> {
    fn witness(&self, taproot: &Taproot, signature: &[u8]) -> Witness {
        let mut stack = vec![signature.to_vec()];
        stack.extend_from_slice(&self.arguments);
        if let Some(leaf) = self.leaf {
            stack.push(leaf.to_bytes());
            stack.push(taproot.control(leaf).serialize());
        }
        Witness::from_slice(&stack)
    }
}

fn check_key(key: &SecretKey, wanted: &PublicKey, whose: &'static str) -> Result<(), SpendError> {
    match key.public_key(SECP256K1) == *wanted {
        true => Ok(()),
        false => Err(SpendError::Key(whose)),
    }
}

/// The transaction with its output, and with witnesses of the right size; signatures have one size.
fn sized(
    locked: &Locked,
    lock_time: LockTime,
    path: &Path<'_>,
    destination: &Script,
    rate: FeeRate,
) -> Result<Transaction, SpendError> {
    if locked.coins.is_empty() {
        return Err(SpendError::Nothing);
    }
    let witness = path.witness(&locked.taproot, &[0; SIGNATURE_SIZE]);
    let input = |(outpoint, _): &(OutPoint, Sat)| TxIn {
        previous_output: *outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: witness.clone(),
    };
    let available = locked.available();
    let mut tx = Transaction {
        version: Version::TWO,
        lock_time,
        input: locked.coins.iter().map(input).collect(),
        output: vec![TxOut {
            value: Amount::from_sat(available.0),
            script_pubkey: destination.to_owned(),
        }],
    };
    let fee = rate.fee(tx.vsize());
    let dust = Sat(destination.minimal_non_dust().to_sat());
    let left = match available.checked_sub(fee) {
        Some(left) if left.0 != 0 => left,
        Some(_) | None => return Err(SpendError::FeeAboveValue { fee, available }),
    };
    if left < dust {
        return Err(SpendError::Dust { left, dust });
    }
    tx.output[0].value = Amount::from_sat(left.0);
    Ok(tx)
}

fn sign<R: RngCore + CryptoRng>(
    locked: &Locked,
    tx: &mut Transaction,
    key: &SecretKey,
    path: &Path<'_>,
    rng: &mut R,
) {
    let leaf = path.leaf.map(|leaf| {
        let version = bitcoin::taproot::LeafVersion::TapScript;
        TapLeafHash::from_script(leaf, version)
    });
    let keypair = Keypair::from_secret_key(SECP256K1, key);
    let outputs = locked.outputs();
    for input in 0..tx.input.len() {
        let hash = SighashCache::new(&*tx)
            .taproot_signature_hash(
                input,
                &Prevouts::All(&outputs),
                None,
                leaf.map(|leaf| (leaf, u32::MAX)),
                TapSighashType::Default,
            )
            .expect("there is an output for each input");
        let message = Message::from_digest(hash.to_byte_array());
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let signature = SECP256K1.sign_schnorr_with_aux_rand(&message, &keypair, &random);
        tx.input[input].witness = path.witness(&locked.taproot, signature.as_ref());
    }
}
