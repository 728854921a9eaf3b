//! Whether a scriptSig and a witness may spend an output: legacy, P2SH, segwit v0, taproot (`VerifyScript`).

use std::cmp::Ordering;

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::{Parity, Scalar, XOnlyPublicKey};

use crate::checker::SECP;
use crate::instruction::{Instructions, is_p2sh, is_push_only, push, witness_program};
use crate::machine::{self, MAX_ELEMENT_BYTES, MAX_STACK, Run};
use crate::number::is_true;
use crate::opcode::*;
use crate::{Chain, Checker, Flags, ScriptError, SigVersion, TaprootContext};

/// The first byte of an annex (BIP341).
const ANNEX_TAG: u8 = 0x50;
/// What a tapscript's witness pays for beside its size (BIP342).
const WEIGHT_OFFSET: i64 = 50;
const NO_CODE_SEPARATOR: u32 = u32::MAX;
const CONTROL_BASE: usize = 33;
const CONTROL_NODE: usize = 32;
const CONTROL_MAX_NODES: usize = 128;

/// Whether `script_sig` and `witness` may spend an output with `script_pubkey`, under the rules in `flags`, in the
/// input that `checker` knows.
///
/// The same verdict as Bitcoin Core's or Elements' `VerifyScript`, whichever chain the checker names.
///
/// # Errors
/// The first rule that is broken, in the node's own words.
pub fn verify<C: Checker>(
    script_sig: &[u8],
    script_pubkey: &[u8],
    witness: &[Vec<u8>],
    flags: Flags,
    checker: &C,
) -> Result<(), ScriptError> {
    let with_p2sh = flags.contains(Flags::P2SH);
    let with_witness = flags.contains(Flags::WITNESS);
    if (with_witness && !with_p2sh) || (flags.contains(Flags::CLEANSTACK) && !with_witness) {
        return Err(ScriptError::Flags);
    }
    if flags.contains(Flags::SIGPUSHONLY) && !is_push_only(script_sig) {
        return Err(ScriptError::SigPushOnly);
    }
    let mut stack = Vec::new();
    run_legacy(script_sig, &mut stack, flags, checker)?;
    let after_sig = stack.clone();
    run_legacy(script_pubkey, &mut stack, flags, checker)?;
    must_be_true(&stack)?;

    let mut is_witness = false;
    if with_witness && let Some((version, program)) = witness_program(script_pubkey) {
        is_witness = true;
        // Anything else would let others change the transaction's id.
        if !script_sig.is_empty() {
            return Err(ScriptError::WitnessMalleated);
        }
        verify_program(witness, version, program, false, flags, checker)?;
        stack.truncate(1);
    }

    if with_p2sh && is_p2sh(script_pubkey) {
        if !is_push_only(script_sig) {
            return Err(ScriptError::SigPushOnly);
        }
        stack = after_sig;
        // An empty stack would have failed at HASH160 above.
        let redeem = stack.pop().ok_or(ScriptError::EvalFalse)?;
        run_legacy(&redeem, &mut stack, flags, checker)?;
        must_be_true(&stack)?;
        if with_witness && let Some((version, program)) = witness_program(&redeem) {
            is_witness = true;
            if script_sig != push(&redeem) {
                return Err(ScriptError::WitnessMalleatedP2sh);
            }
            verify_program(witness, version, program, true, flags, checker)?;
            stack.truncate(1);
        }
    }

    if flags.contains(Flags::CLEANSTACK) && stack.len() != 1 {
        return Err(ScriptError::CleanStack);
    }
    if with_witness && !is_witness && !witness.is_empty() {
        return Err(ScriptError::WitnessUnexpected);
    }
    Ok(())
}

fn must_be_true(stack: &[Vec<u8>]) -> Result<(), ScriptError> {
    match stack.last() {
        Some(top) if is_true(top) => Ok(()),
        _ => Err(ScriptError::EvalFalse),
    }
}

fn run_legacy<C: Checker>(
    script: &[u8],
    stack: &mut Vec<Vec<u8>>,
    flags: Flags,
    checker: &C,
) -> Result<(), ScriptError> {
    machine::run(
        script,
        stack,
        Run {
            checker,
            flags,
            version: SigVersion::Legacy,
            context: NO_TAPROOT,
            weight_left: 0,
        },
    )
}

const NO_TAPROOT: TaprootContext = TaprootContext {
    annex: None,
    leaf: None,
};

fn verify_program<C: Checker>(
    witness: &[Vec<u8>],
    version: u8,
    program: &[u8],
    in_p2sh: bool,
    flags: Flags,
    checker: &C,
) -> Result<(), ScriptError> {
    match (version, program.len()) {
        (0, 32) => verify_p2wsh(witness, program, flags, checker),
        (0, 20) => {
            if witness.len() != 2 {
                return Err(ScriptError::WitnessProgramMismatch);
            }
            let script = [
                &[OP_DUP, OP_HASH160, 20][..],
                program,
                &[OP_EQUALVERIFY, OP_CHECKSIG],
            ]
            .concat();
            run_witness_v0(&script, witness, flags, checker)
        }
        (0, _) => Err(ScriptError::WitnessProgramWrongLength),
        (1, 32) if !in_p2sh => {
            let program = program.try_into().expect("32 bytes");
            verify_taproot(witness, program, flags, checker)
        }
        // Pay-to-anchor: an output that anyone may spend, which is no misuse of a version kept for upgrades.
        (1, 2) if !in_p2sh && checker.chain() == Chain::Bitcoin && program == ANCHOR => Ok(()),
        _ if flags.contains(Flags::DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM) => {
            Err(ScriptError::DiscourageUpgradableWitnessProgram)
        }
        _ => Ok(()),
    }
}

/// The program of a pay-to-anchor output, which Core 28 and later do not discourage.
const ANCHOR: [u8; 2] = [0x4e, 0x73];

fn verify_p2wsh<C: Checker>(
    witness: &[Vec<u8>],
    program: &[u8],
    flags: Flags,
    checker: &C,
) -> Result<(), ScriptError> {
    let Some((script, stack)) = witness.split_last() else {
        return Err(ScriptError::WitnessProgramWitnessEmpty);
    };
    if sha256::Hash::hash(script).as_byte_array() != program {
        return Err(ScriptError::WitnessProgramMismatch);
    }
    run_witness_v0(script, stack, flags, checker)
}

fn run_witness_v0<C: Checker>(
    script: &[u8],
    stack: &[Vec<u8>],
    flags: Flags,
    checker: &C,
) -> Result<(), ScriptError> {
    run_witness(
        script,
        stack,
        Run {
            checker,
            flags,
            version: SigVersion::WitnessV0,
            context: NO_TAPROOT,
            weight_left: 0,
        },
    )
}

/// Runs a script from a witness, which must leave exactly one true element.
fn run_witness<C: Checker>(
    script: &[u8],
    stack: &[Vec<u8>],
    run: Run<'_, C>,
) -> Result<(), ScriptError> {
    if stack.iter().any(|item| item.len() > MAX_ELEMENT_BYTES) {
        return Err(ScriptError::PushSize);
    }
    let mut stack = stack.to_vec();
    machine::run(script, &mut stack, run)?;
    if stack.len() != 1 {
        return Err(ScriptError::CleanStack);
    }
    must_be_true(&stack)
}

fn verify_taproot<C: Checker>(
    witness: &[Vec<u8>],
    program: &[u8; 32],
    flags: Flags,
    checker: &C,
) -> Result<(), ScriptError> {
    if !flags.contains(Flags::TAPROOT) {
        return Ok(());
    }
    let (stack, annex) = match witness {
        [] => return Err(ScriptError::WitnessProgramWitnessEmpty),
        [rest @ .., annex] if !rest.is_empty() && annex.first() == Some(&ANNEX_TAG) => {
            (rest, Some(annex.clone()))
        }
        stack => (stack, None),
    };
    let (control, script, stack) = match stack {
        [signature] => {
            let context = TaprootContext { annex, leaf: None };
            return checker.check_schnorr(signature, program, &context);
        }
        [stack @ .., script, control] => (control, script, stack),
        // An annex alone is not taken off, so one element at least is left.
        [] => return Err(ScriptError::WitnessProgramWitnessEmpty),
    };
    let leaf = check_commitment(control, script, program, checker.chain())?;
    let version = control[0] & 0xfe;
    if let Some(name) = checker.chain().unknown_leaf(version) {
        return Err(ScriptError::NotKnown(name));
    }
    if version != checker.chain().tapscript_leaf() {
        return match flags.contains(Flags::DISCOURAGE_UPGRADABLE_TAPROOT_VERSION) {
            true => Err(ScriptError::DiscourageUpgradableTaprootVersion),
            false => Ok(()),
        };
    }
    if let Some(verdict) = op_success(script, flags, checker.chain()) {
        return verdict;
    }
    if stack.len() > MAX_STACK {
        return Err(ScriptError::StackSize);
    }
    let run = Run {
        checker,
        flags,
        version: SigVersion::Tapscript,
        context: TaprootContext {
            annex,
            leaf: Some((leaf, NO_CODE_SEPARATOR)),
        },
        weight_left: serialized_size(witness) + WEIGHT_OFFSET,
    };
    run_witness(script, stack, run)
}

/// The verdict of an `OP_SUCCESSx`, or of a script that cannot be read before one; `None` if it must be run.
fn op_success(script: &[u8], flags: Flags, chain: Chain) -> Option<Result<(), ScriptError>> {
    for instruction in Instructions::new(script) {
        match instruction {
            Err(_) => return Some(Err(ScriptError::BadOpcode)),
            Ok(i) if chain.is_op_success(i.op) => {
                return Some(match flags.contains(Flags::DISCOURAGE_OP_SUCCESS) {
                    true => Err(ScriptError::DiscourageOpSuccess),
                    false => Ok(()),
                });
            }
            Ok(_) => {}
        }
    }
    None
}

/// Checks that the output key commits to the script; gives the leaf's hash.
fn check_commitment(
    control: &[u8],
    script: &[u8],
    program: &[u8; 32],
    chain: Chain,
) -> Result<[u8; 32], ScriptError> {
    let nodes = match control.len().checked_sub(CONTROL_BASE) {
        Some(path) if path % CONTROL_NODE == 0 && path / CONTROL_NODE <= CONTROL_MAX_NODES => {
            &control[CONTROL_BASE..]
        }
        _ => return Err(ScriptError::TaprootWrongControlSize),
    };
    let leaf = leaf_hash(control[0] & 0xfe, script, chain);
    let internal = &control[1..CONTROL_BASE];
    let mut root = leaf;
    for node in nodes.chunks_exact(CONTROL_NODE) {
        let mut engine = chain.tagged("TapBranch");
        let (first, second) = match root.as_slice().cmp(node) {
            Ordering::Less => (&root[..], node),
            _ => (node, &root[..]),
        };
        engine.input(first);
        engine.input(second);
        root = sha256::Hash::from_engine(engine).to_byte_array();
    }
    let mut engine = chain.tagged("TapTweak");
    engine.input(internal);
    engine.input(&root);
    let tweak = sha256::Hash::from_engine(engine).to_byte_array();
    match is_tweaked(program, internal, tweak, control[0] & 1) {
        true => Ok(leaf),
        false => Err(ScriptError::WitnessProgramMismatch),
    }
}

fn leaf_hash(version: u8, script: &[u8], chain: Chain) -> [u8; 32] {
    let mut engine = chain.tagged("TapLeaf");
    engine.input(&[version]);
    engine.input(&compact_size(script.len()));
    engine.input(script);
    sha256::Hash::from_engine(engine).to_byte_array()
}

fn is_tweaked(output: &[u8; 32], internal: &[u8], tweak: [u8; 32], parity: u8) -> bool {
    let keys = XOnlyPublicKey::from_slice(output).and_then(|output| {
        let internal = XOnlyPublicKey::from_slice(internal)?;
        Ok((output, internal))
    });
    let (Ok((output, internal)), Ok(tweak), Ok(parity)) =
        (keys, Scalar::from_be_bytes(tweak), Parity::from_u8(parity))
    else {
        return false;
    };
    internal.tweak_add_check(&SECP, &output, parity, tweak)
}

/// How many bytes the witness takes in a transaction.
fn serialized_size(witness: &[Vec<u8>]) -> i64 {
    let items: usize = witness
        .iter()
        .map(|item| compact_size(item.len()).len() + item.len())
        .sum();
    (compact_size(witness.len()).len() + items) as i64
}

fn compact_size(size: usize) -> Vec<u8> {
    bitcoin::consensus::serialize(&bitcoin::VarInt::from(size))
}
