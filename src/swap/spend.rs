//! Claims and refunds: signed transactions that spend an HTLC's outputs. Nothing is sent or looked up here.
//!
//! Sizes in discounted virtual bytes (Elements counts a confidential output like an explicit one), to a P2TR address, for
//! timeouts of three bytes; to P2WPKH 12 less for each output:
//!
//! |               | claim | refund |
//! |---------------|-------|--------|
//! | L-BTC         |   233 |    224 |
//! | another asset, with a remainder of L-BTC | 409 | 392 |
//! | another asset, all of the L-BTC to the fee | 331 | 314 |

use bitcoin::secp256k1::{self, Message, PublicKey, SecretKey};
use elements::secp256k1_zkp::rand::{CryptoRng, RngCore};
use elements::sighash::SighashCache;
use elements::{
    Address, AssetId, BlindError, EcdsaSighashType, LockTime, OutPoint, Sequence, Transaction,
    TxIn, TxInWitness, TxOut, TxOutSecrets, confidential,
};
use swaprig_units::{Preimage, Sat};

use super::htlc::{Htlc, explicit, liquid_outpoint, liquid_txid};
use super::state::{FundingTx, Terms};

/// A signature with a low R and a low S, and its hash type, is never longer.
const SIGNATURE_SIZE: usize = 71;

/// What a confidential output of L-BTC is at least worth. Nodes refuse none, but spending less costs more than it brings.
const CONFIDENTIAL_DUST: u64 = 100;

/// What a fee is computed with: satoshi for 1,000 discounted virtual bytes (`Transaction::discount_vsize`; ELIP 200).
/// Liquid's nodes relay from 100 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeeRate(pub u64);

impl FeeRate {
    /// What Liquid's nodes relay by default.
    pub const MIN_RELAY: FeeRate = FeeRate(100);

    /// The fee for a size in discounted virtual bytes, rounded up; as large as can be when it does not fit.
    pub fn fee(self, discount_vsize: usize) -> Sat {
        let product = u128::from(self.0) * discount_vsize as u128;
        Sat(u64::try_from(product.div_ceil(1_000)).unwrap_or(u64::MAX))
    }
}

/// An explicit output of an HTLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// Of which asset.
    pub asset: AssetId,
    /// How much of it.
    pub value: u64,
}

/// What a claim or a refund spends: all outputs of one HTLC that are unspent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The contract.
    pub htlc: Htlc,
    /// The asset that fees are paid in.
    pub lbtc: AssetId,
    /// Its outputs: of L-BTC and of at most one other asset.
    pub coins: Vec<Coin>,
}

impl Locked {
    /// What `funding` locks.
    pub fn of(terms: &Terms, lbtc: AssetId, funding: &FundingTx) -> Locked {
        let mut coins = vec![Coin {
            outpoint: liquid_outpoint(funding.outpoint()),
            asset: terms.asset.on_liquid(),
            value: terms.amount.0,
        }];
        coins.extend(funding.fee_vout.map(|vout| Coin {
            outpoint: OutPoint::new(liquid_txid(funding.txid), vout),
            asset: lbtc,
            value: terms.fee_value.0,
        }));
        Locked {
            htlc: Htlc::of(terms),
            lbtc,
            coins,
        }
    }

    /// The same without an output that is spent already.
    pub fn without(mut self, spent: OutPoint) -> Locked {
        self.coins.retain(|coin| coin.outpoint != spent);
        self
    }

    /// The outputs, in the order of a spend's inputs; for who checks signatures or amounts.
    pub fn outputs(&self) -> Vec<TxOut> {
        let script = self.htlc.script_pubkey();
        let output = |coin: &Coin| explicit(coin.asset, coin.value, script.clone());
        self.coins.iter().map(output).collect()
    }

    fn sum(&self, of_lbtc: bool) -> u64 {
        let coins = self.coins.iter();
        coins
            .filter(|coin| (coin.asset == self.lbtc) == of_lbtc)
            .fold(0, |sum: u64, coin| sum.saturating_add(coin.value))
    }
}

/// Why there is no such spend.
#[derive(Debug, thiserror::Error)]
pub enum SpendError {
    /// There is nothing to spend.
    #[error("no output of the HTLC is left to spend")]
    Nothing,
    /// More than one asset beside L-BTC.
    #[error("the outputs of the HTLC are of more than one asset beside L-BTC")]
    Assets,
    /// The preimage does not belong to the HTLC.
    #[error("the preimage is not the HTLC's")]
    Preimage,
    /// The key does not belong to the HTLC.
    #[error("the secret key is not that of the HTLC's {0}")]
    Key(&'static str),
    /// There is less L-BTC than the fee.
    #[error("the fee of {fee} is more than the {available} of L-BTC that is locked")]
    FeeAboveValue {
        /// The fee at the asked rate.
        fee: Sat,
        /// The L-BTC that is locked.
        available: Sat,
    },
    /// What remained of L-BTC would be too little to be worth an output.
    #[error("{left} would be left, which is dust: less than {dust}")]
    Dust {
        /// What remained.
        left: Sat,
        /// What an output must have.
        dust: Sat,
    },
    /// The outputs cannot be blinded.
    #[error("the outputs cannot be blinded: {0}")]
    Blind(BlindError),
}

/// The smallest output of L-BTC that a spend makes: what nodes relay by default (3 sat for a byte of an explicit output and of
/// the input that spends it), and 100 sat where it is confidential, which nodes do not look at.
pub fn dust(destination: &Address) -> Sat {
    if destination.is_blinded() {
        return Sat(CONFIDENTIAL_DUST);
    }
    let script = destination.script_pubkey();
    let output = elements::encode::serialize(&explicit(AssetId::LIQUID_BTC, 0, script.clone()));
    let input = if script.is_witness_program() { 67 } else { 148 };
    Sat(3 * (output.len() as u64 + input))
}

/// The claim: spends with the preimage and the claimer's key. Signals that it may be replaced (BIP 125).
///
/// All goes to `destination`, confidential or not. The fee comes out of the L-BTC; a remainder of L-BTC beside another
/// asset goes to `destination` in an output of its own, or to the fee when it would be dust.
///
/// # Errors
/// Why it cannot be made; nothing is spent then.
pub fn claim<R: RngCore + CryptoRng>(
    locked: &Locked,
    preimage: &Preimage,
    key: &SecretKey,
    destination: &Address,
    rate: FeeRate,
    rng: &mut R,
) -> Result<Transaction, SpendError> {
    if preimage.payment_hash() != locked.htlc.payment_hash {
        return Err(SpendError::Preimage);
    }
    let choice = [preimage.0.to_vec(), vec![1]];
    check_key(key, &locked.htlc.claimer, "claimer")?;
    let tx = unsigned(locked, LockTime::ZERO, Sequence(0xffff_fffd));
    let mut tx = pay_out(locked, tx, &choice, destination, rate)?;
    blind(locked, &mut tx, destination, rng)?;
    sign(locked, &mut tx, key, &choice);
    Ok(tx)
}

/// The refund: spends with the refunder's key. No block takes it before the one after the timeout's. Everything else as
/// [`claim`] does it. It signals that it may be replaced (BIP 125), for a later one
/// with a higher fee.
///
/// # Errors
/// Why it cannot be made; nothing is spent then.
pub fn refund<R: RngCore + CryptoRng>(
    locked: &Locked,
    key: &SecretKey,
    destination: &Address,
    rate: FeeRate,
    rng: &mut R,
) -> Result<Transaction, SpendError> {
    let choice = [Vec::new()];
    check_key(key, &locked.htlc.refunder, "refunder")?;
    let timeout = LockTime::from_consensus(locked.htlc.timeout.0);
    let tx = unsigned(locked, timeout, Sequence(0xffff_fffd));
    let mut tx = pay_out(locked, tx, &choice, destination, rate)?;
    blind(locked, &mut tx, destination, rng)?;
    sign(locked, &mut tx, key, &choice);
    Ok(tx)
}

fn check_key(key: &SecretKey, wanted: &PublicKey, whose: &'static str) -> Result<(), SpendError> {
    match key.public_key(secp256k1::SECP256K1) == *wanted {
        true => Ok(()),
        false => Err(SpendError::Key(whose)),
    }
}

fn unsigned(locked: &Locked, lock_time: LockTime, sequence: Sequence) -> Transaction {
    let input = |coin: &Coin| TxIn {
        previous_output: coin.outpoint,
        sequence,
        ..TxIn::default()
    };
    Transaction {
        version: 2,
        lock_time,
        input: locked.coins.iter().map(input).collect(),
        output: Vec::new(),
    }
}

/// Gives the transaction its outputs, explicit still; the discounted size does not change when they are blinded.
fn pay_out(
    locked: &Locked,
    mut tx: Transaction,
    choice: &[Vec<u8>],
    destination: &Address,
    rate: FeeRate,
) -> Result<Transaction, SpendError> {
    if locked.coins.is_empty() {
        return Err(SpendError::Nothing);
    }
    let others = || locked.coins.iter().filter(|coin| coin.asset != locked.lbtc);
    let other = others().next().map(|coin| coin.asset);
    if others().any(|coin| Some(coin.asset) != other) {
        return Err(SpendError::Assets);
    }
    for input in 0..tx.input.len() {
        witness(locked, &mut tx, input, &[0; SIGNATURE_SIZE], choice);
    }
    let script = destination.script_pubkey();
    let available = Sat(locked.sum(true));
    let asset_output = other.map(|asset| explicit(asset, locked.sum(false), script.clone()));
    let outputs = |left: u64, fee: Sat| {
        let remainder = (left != 0).then(|| explicit(locked.lbtc, left, script.clone()));
        let fee = TxOut::new_fee(fee.0, locked.lbtc);
        let outputs = asset_output.clone().into_iter().chain(remainder);
        outputs.chain([fee]).collect::<Vec<TxOut>>()
    };
    // Values have one size; any will do to measure.
    tx.output = outputs(1, available);
    let fee = rate.fee(tx.discount_vsize());
    let left = available.checked_sub(fee);
    if let Some(left) = left.filter(|left| *left >= dust(destination)) {
        tx.output = outputs(left.0, fee);
        return Ok(tx);
    }
    if asset_output.is_none() {
        return Err(match left {
            Some(left) if left.0 != 0 => SpendError::Dust {
                left,
                dust: dust(destination),
            },
            Some(_) | None => SpendError::FeeAboveValue { fee, available },
        });
    }
    tx.output = outputs(0, available);
    let fee = rate.fee(tx.discount_vsize());
    match fee <= available && available.0 != 0 {
        true => Ok(tx),
        false => Err(SpendError::FeeAboveValue { fee, available }),
    }
}

/// Blinds every output but the fee, when the destination is confidential. The inputs are explicit, so that the blinding of
/// the last output can be chosen to balance those of the others; it may be the only one.
fn blind<R: RngCore + CryptoRng>(
    locked: &Locked,
    tx: &mut Transaction,
    destination: &Address,
    rng: &mut R,
) -> Result<(), SpendError> {
    let Some(blinder) = destination.blinding_pubkey else {
        return Ok(());
    };
    for output in tx.output.iter_mut().filter(|output| !output.is_fee()) {
        // Where `Transaction::blind` looks for the key.
        output.nonce = confidential::Nonce::Confidential(blinder);
    }
    let secrets = |coin: &Coin| {
        TxOutSecrets::new(
            coin.asset,
            confidential::AssetBlindingFactor::zero(),
            coin.value,
            confidential::ValueBlindingFactor::zero(),
        )
    };
    let spent: Vec<TxOutSecrets> = locked.coins.iter().map(secrets).collect();
    tx.blind(rng, secp256k1::SECP256K1, &spent, false)
        .map(drop)
        .map_err(SpendError::Blind)
}

fn sign(locked: &Locked, tx: &mut Transaction, key: &SecretKey, choice: &[Vec<u8>]) {
    let script = locked.htlc.witness_script();
    for (input, coin) in locked.coins.iter().enumerate() {
        let value = confidential::Value::Explicit(coin.value);
        let hash =
            SighashCache::new(&*tx).segwitv0_sighash(input, &script, value, EcdsaSighashType::All);
        let message = Message::from_digest(hash.to_byte_array());
        // A low R keeps the size that the fee was computed for.
        let signature = secp256k1::SECP256K1.sign_ecdsa_low_r(&message, key);
        let mut bytes = signature.serialize_der().to_vec();
        bytes.push(EcdsaSighashType::All.as_u32() as u8);
        witness(locked, tx, input, &bytes, choice);
    }
}

fn witness(
    locked: &Locked,
    tx: &mut Transaction,
    input: usize,
    signature: &[u8],
    choice: &[Vec<u8>],
) {
    let mut stack = vec![signature.to_vec()];
    stack.extend_from_slice(choice);
    stack.push(locked.htlc.witness_script().into_bytes());
    tx.input[input].witness = TxInWitness {
        script_witness: elements::Witness::from_slice(&stack),
        ..TxInWitness::empty()
    };
}
