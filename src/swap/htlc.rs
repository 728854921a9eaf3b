//! The HTLC of a swap on Liquid: its script, its outputs, and what a spend of it was. Spending it is `spend`'s matter.
//!
//! Witness version 0, because OP_CHECKLOCKTIMEVERIFY (BIP 65) and OP_SHA256 are all it needs:
//!
//! ```text
//! OP_IF
//!     OP_SIZE <32> OP_EQUALVERIFY OP_SHA256 <payment hash> OP_EQUALVERIFY <claimer>
//! OP_ELSE
//!     <timeout> OP_CHECKLOCKTIMEVERIFY OP_DROP <refunder>
//! OP_ENDIF
//! OP_CHECKSIG
//! ```
//!
//! 117 bytes for timeouts of three bytes (32,768 to 8,388,607). OP_SIZE holds the preimage to the 32 bytes that Lightning
//! asks for; without it a claim could show a preimage that no Lightning node takes.

use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::PublicKey;
use elements::opcodes::all::{
    OP_CHECKSIG, OP_CLTV, OP_DROP, OP_ELSE, OP_ENDIF, OP_EQUALVERIFY, OP_IF, OP_PUSHNUM_1,
    OP_PUSHNUM_16, OP_SHA256, OP_SIZE,
};
use elements::script::{Builder, Instruction, read_scriptint};
use elements::{
    Address, AddressParams, AssetId, OutPoint, Script, Transaction, TxOut, TxOutWitness,
    confidential,
};
use swaprig_units::{Height, PaymentHash, Preimage};

use super::state::{FundingTx, Spend, Terms};

/// A transaction's id as the core has it, for both chains, as Elements' own type. The bytes are the same.
pub fn liquid_txid(txid: bitcoin::Txid) -> elements::Txid {
    elements::Txid::from_byte_array(txid.to_byte_array())
}

/// [`liquid_txid`] back.
pub fn neutral_txid(txid: elements::Txid) -> bitcoin::Txid {
    bitcoin::Txid::from_byte_array(txid.to_byte_array())
}

/// An output as Elements' own type.
pub fn liquid_outpoint(outpoint: bitcoin::OutPoint) -> OutPoint {
    OutPoint::new(liquid_txid(outpoint.txid), outpoint.vout)
}

/// [`liquid_outpoint`] back.
pub fn neutral_outpoint(outpoint: OutPoint) -> bitcoin::OutPoint {
    bitcoin::OutPoint::new(neutral_txid(outpoint.txid), outpoint.vout)
}

/// Locktimes from here on are times, not heights (BIP 65).
const FIRST_TIME: u32 = 500_000_000;

/// What the script says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Htlc {
    /// SHA-256 of the preimage.
    pub payment_hash: PaymentHash,
    /// Who can spend it with the preimage.
    pub claimer: PublicKey,
    /// Who can spend it from the timeout on.
    pub refunder: PublicKey,
    /// The height that the block before the refund's block must have; 1 to 499,999,999.
    pub timeout: Height,
}

/// Why a script is not such an HTLC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// An instruction is another one, is missing, is one too many, or pushes in a longer form than it must.
    #[error("instruction {0} of the script is not that of a swap's HTLC")]
    Instruction(usize),
    /// A key is not a compressed public key on secp256k1.
    #[error("instruction {0} of the script is not a compressed public key")]
    Key(usize),
    /// The timeout is not a block height.
    #[error("the timeout of the script is not a block height from 1 to 499999999")]
    Timeout,
}

/// Why a transaction does not fund a swap as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FundingMismatch {
    /// It is another transaction.
    #[error("the funding transaction has another id than the one that was named")]
    Txid,
    /// It has no such output.
    #[error("the funding transaction has no output {0}")]
    NoOutput(u32),
    /// The asset, the amount, the script, or that it is explicit: something of the output is not as agreed.
    #[error("output {0} of the funding transaction is not what was agreed")]
    Output(u32),
    /// The L-BTC for the claim's fee was agreed and no output of its own is named for it, or the other way round.
    #[error("the output with L-BTC for the fee of the claim does not match the terms")]
    FeeOutput,
    /// There is another output with the same script: nobody agreed on it and one spend would not take it.
    #[error("output {0} of the funding transaction has the HTLC's script and was not agreed on")]
    Stray(u32),
}

impl Htlc {
    /// That of a swap.
    pub fn of(terms: &Terms) -> Htlc {
        Htlc {
            payment_hash: terms.payment_hash,
            claimer: terms.claimer,
            refunder: terms.refunder,
            timeout: terms.timeout,
        }
    }

    /// The script that a spend has to show.
    pub fn witness_script(&self) -> Script {
        Builder::new()
            .push_opcode(OP_IF)
            .push_opcode(OP_SIZE)
            .push_int(32)
            .push_opcode(OP_EQUALVERIFY)
            .push_opcode(OP_SHA256)
            .push_slice(&self.payment_hash.0)
            .push_opcode(OP_EQUALVERIFY)
            .push_slice(&self.claimer.serialize())
            .push_opcode(OP_ELSE)
            .push_int(i64::from(self.timeout.0))
            .push_opcode(OP_CLTV)
            .push_opcode(OP_DROP)
            .push_slice(&self.refunder.serialize())
            .push_opcode(OP_ENDIF)
            .push_opcode(OP_CHECKSIG)
            .into_script()
    }

    /// The script of its outputs: P2WSH, version 0 (BIP 141).
    pub fn script_pubkey(&self) -> Script {
        self.witness_script().to_v0_p2wsh()
    }

    /// Its address, unconfidential, because its outputs are explicit.
    pub fn address(&self, params: &'static AddressParams) -> Address {
        Address::p2wsh(&self.witness_script(), None, params)
    }

    /// Reads [`Htlc::witness_script`] back, and nothing else: every push in its shortest form, nothing after it.
    ///
    /// # Errors
    /// Where it is not that script.
    pub fn parse(script: &Script) -> Result<Htlc, ParseError> {
        let instructions: Vec<Instruction<'_>> = script
            .instructions_minimal()
            .collect::<Result<_, _>>()
            .map_err(|_| ParseError::Instruction(0))?;
        let pushed = |at: usize| {
            let instruction = instructions.get(at).ok_or(ParseError::Instruction(at))?;
            instruction.push_bytes().ok_or(ParseError::Instruction(at))
        };
        let key = |at: usize| match pushed(at)? {
            bytes if bytes.len() == 33 => {
                PublicKey::from_slice(bytes).map_err(|_| ParseError::Key(at))
            }
            _ => Err(ParseError::Key(at)),
        };
        let hash = pushed(5)?;
        let found = Htlc {
            payment_hash: PaymentHash(hash.try_into().map_err(|_| ParseError::Instruction(5))?),
            claimer: key(7)?,
            refunder: key(12)?,
            timeout: timeout(instructions.get(9))?,
        };
        let built = found.witness_script();
        if built == *script {
            return Ok(found);
        }
        let same = built
            .instructions()
            .zip(&instructions)
            .take_while(|(ours, theirs)| ours.as_ref() == Ok(*theirs))
            .count();
        Err(ParseError::Instruction(same))
    }
}

fn timeout(instruction: Option<&Instruction<'_>>) -> Result<Height, ParseError> {
    let (first, last) = (OP_PUSHNUM_1.into_u8(), OP_PUSHNUM_16.into_u8());
    let number = match instruction {
        Some(Instruction::PushBytes(bytes)) => {
            read_scriptint(bytes).map_err(|_| ParseError::Timeout)?
        }
        Some(Instruction::Op(op)) if (first..=last).contains(&op.into_u8()) => {
            i64::from(op.into_u8() - first + 1)
        }
        Some(Instruction::Op(_)) | None => return Err(ParseError::Instruction(9)),
    };
    match u32::try_from(number) {
        Ok(height) if (1..FIRST_TIME).contains(&height) => Ok(Height(height)),
        Ok(_) | Err(_) => Err(ParseError::Timeout),
    }
}

/// An explicit output: no commitments, no nonce, no proofs.
pub(super) fn explicit(asset: AssetId, value: u64, script_pubkey: Script) -> TxOut {
    TxOut {
        asset: confidential::Asset::Explicit(asset),
        value: confidential::Value::Explicit(value),
        nonce: confidential::Nonce::Null,
        script_pubkey,
        witness: TxOutWitness::empty(),
    }
}

/// The outputs that lock a swap: the asset, and beside it `lbtc` for the fee of the claim when the terms have that.
pub fn expected_outputs(terms: &Terms, lbtc: AssetId) -> Vec<TxOut> {
    let script = Htlc::of(terms).script_pubkey();
    let mut outputs = vec![explicit(
        terms.asset.on_liquid(),
        terms.amount.0,
        script.clone(),
    )];
    if terms.fee_value.0 != 0 {
        outputs.push(explicit(lbtc, terms.fee_value.0, script));
    }
    outputs
}

/// Whether a transaction locks exactly what was agreed, where `funding` says. It does not ask whether the transaction is
/// valid or in the chain, and `funding.raw` is not read.
///
/// # Errors
/// What differs.
pub fn matches_funding(
    terms: &Terms,
    lbtc: AssetId,
    tx: &Transaction,
    funding: &FundingTx,
) -> Result<(), FundingMismatch> {
    if tx.txid() != liquid_txid(funding.txid) {
        return Err(FundingMismatch::Txid);
    }
    let expected = expected_outputs(terms, lbtc);
    let named: Vec<u32> = [Some(funding.vout), funding.fee_vout]
        .into_iter()
        .flatten()
        .collect();
    if named.len() != expected.len() || funding.fee_vout == Some(funding.vout) {
        return Err(FundingMismatch::FeeOutput);
    }
    for (vout, wanted) in named.iter().zip(&expected) {
        let found = tx.output.get(*vout as usize);
        if found.ok_or(FundingMismatch::NoOutput(*vout))? != wanted {
            return Err(FundingMismatch::Output(*vout));
        }
    }
    let script = Htlc::of(terms).script_pubkey();
    for (vout, output) in (0..).zip(&tx.output) {
        if output.script_pubkey == script && !named.contains(&vout) {
            return Err(FundingMismatch::Stray(vout));
        }
    }
    Ok(())
}

/// How `tx` spends the output `outpoint` of the HTLC; `None` when it does not.
///
/// It reads the witness only and takes its signature for valid, as that of any transaction that a node accepted is. The
/// choice of the branch is read as consensus does, not as policy (BIP 141's MINIMALIF) would: a miner may take any true value.
pub fn classify(htlc: &Htlc, tx: &Transaction, outpoint: OutPoint) -> Option<Spend> {
    let input = tx
        .input
        .iter()
        .find(|input| input.previous_output == outpoint && !input.is_pegin)?;
    let witness = input.witness.script_witness.to_vec();
    let (script, stack) = witness.split_last()?;
    if script.as_slice() != htlc.witness_script().as_bytes() {
        return None;
    }
    match stack {
        [_signature, preimage, choice] if is_true(choice) => {
            let preimage = Preimage(preimage.as_slice().try_into().ok()?);
            (preimage.payment_hash() == htlc.payment_hash).then_some(Spend::Claim(preimage))
        }
        [_signature, choice] if !is_true(choice) => Some(Spend::Refund),
        _ => None,
    }
}

/// Script's truth: anything but zero, of which there is a negative one.
fn is_true(bytes: &[u8]) -> bool {
    match bytes.split_last() {
        Some((last, rest)) => rest.iter().any(|byte| *byte != 0) || !matches!(last, 0 | 0x80),
        None => false,
    }
}
