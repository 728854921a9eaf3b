//! The two leaves of an HTLC on Bitcoin, built and read back (BIP 342).

use bitcoin::opcodes::all::{
    OP_CHECKSIG, OP_CHECKSIGVERIFY, OP_CLTV, OP_EQUALVERIFY, OP_PUSHNUM_1, OP_PUSHNUM_16,
    OP_SHA256, OP_SIZE,
};
use bitcoin::script::{Builder, Instruction, read_scriptint};
use bitcoin::{Script, ScriptBuf, XOnlyPublicKey};
use swaprig_units::{Height, PaymentHash};

use crate::swap::ParseError;

/// Locktimes from here on are times, not heights (BIP 65).
const FIRST_TIME: u32 = 500_000_000;

/// `OP_SIZE <32> OP_EQUALVERIFY OP_SHA256 <payment hash> OP_EQUALVERIFY <claimer> OP_CHECKSIG`: 73 bytes.
pub(super) fn claim_leaf(payment_hash: PaymentHash, claimer: XOnlyPublicKey) -> ScriptBuf {
    Builder::new()
        .push_opcode(OP_SIZE)
        .push_int(32)
        .push_opcode(OP_EQUALVERIFY)
        .push_opcode(OP_SHA256)
        .push_slice(payment_hash.0)
        .push_opcode(OP_EQUALVERIFY)
        .push_x_only_key(&claimer)
        .push_opcode(OP_CHECKSIG)
        .into_script()
}

/// `<refunder> OP_CHECKSIGVERIFY <timeout> OP_CHECKLOCKTIMEVERIFY`: 39 bytes for timeouts of three bytes.
pub(super) fn timeout_leaf(refunder: XOnlyPublicKey, timeout: Height) -> ScriptBuf {
    Builder::new()
        .push_x_only_key(&refunder)
        .push_opcode(OP_CHECKSIGVERIFY)
        .push_int(i64::from(timeout.0))
        .push_opcode(OP_CLTV)
        .into_script()
}

/// Reads [`claim_leaf`] back, and nothing else.
pub(super) fn read_claim(script: &Script) -> Result<(PaymentHash, XOnlyPublicKey), ParseError> {
    let instructions = instructions(script)?;
    let hash = pushed(&instructions, 4)?;
    let hash = PaymentHash(hash.try_into().map_err(|_| ParseError::Instruction(4))?);
    let claimer = key(&instructions, 6)?;
    same(script, &claim_leaf(hash, claimer), &instructions)?;
    Ok((hash, claimer))
}

/// Reads [`timeout_leaf`] back, and nothing else.
pub(super) fn read_timeout(script: &Script) -> Result<(XOnlyPublicKey, Height), ParseError> {
    let instructions = instructions(script)?;
    let refunder = key(&instructions, 0)?;
    let timeout = height(instructions.get(2))?;
    same(script, &timeout_leaf(refunder, timeout), &instructions)?;
    Ok((refunder, timeout))
}

/// Whether that is a height, of the kind that the script can ask for.
pub(super) fn is_height(timeout: Height) -> bool {
    (1..FIRST_TIME).contains(&timeout.0)
}

fn instructions(script: &Script) -> Result<Vec<Instruction<'_>>, ParseError> {
    let all = script.instructions_minimal().collect::<Result<_, _>>();
    all.map_err(|_| ParseError::Instruction(0))
}

fn pushed<'a>(instructions: &'a [Instruction<'a>], at: usize) -> Result<&'a [u8], ParseError> {
    let instruction = instructions.get(at).and_then(Instruction::push_bytes);
    instruction
        .map(bitcoin::script::PushBytes::as_bytes)
        .ok_or(ParseError::Instruction(at))
}

fn key(instructions: &[Instruction<'_>], at: usize) -> Result<XOnlyPublicKey, ParseError> {
    XOnlyPublicKey::from_slice(pushed(instructions, at)?).map_err(|_| ParseError::Key(at))
}

fn height(instruction: Option<&Instruction<'_>>) -> Result<Height, ParseError> {
    let (first, last) = (OP_PUSHNUM_1.to_u8(), OP_PUSHNUM_16.to_u8());
    let number = match instruction {
        Some(Instruction::PushBytes(bytes)) => {
            read_scriptint(bytes.as_bytes()).map_err(|_| ParseError::Timeout)?
        }
        Some(Instruction::Op(op)) if (first..=last).contains(&op.to_u8()) => {
            i64::from(op.to_u8() - first + 1)
        }
        Some(Instruction::Op(_)) | None => return Err(ParseError::Instruction(2)),
    };
    let height = u32::try_from(number).map(Height).ok();
    height
        .filter(|height| is_height(*height))
        .ok_or(ParseError::Timeout)
}

/// Whether `script` is `built`, and where it begins to be another.
fn same(script: &Script, built: &Script, found: &[Instruction<'_>]) -> Result<(), ParseError> {
    if script == built {
        return Ok(());
    }
    let agree = built.instructions().zip(found);
    let agree = agree.take_while(|(ours, theirs)| ours.as_ref() == Ok(*theirs));
    Err(ParseError::Instruction(agree.count()))
}
