//! What kind of script an output has, and how many signature checks scripts may cost. Runs no script.

use elements::opcodes::all::{
    OP_CHECKMULTISIG, OP_CHECKMULTISIGVERIFY, OP_CHECKSIG, OP_CHECKSIGFROMSTACK,
    OP_CHECKSIGFROMSTACKVERIFY, OP_CHECKSIGVERIFY,
};
use elements::script::Instruction;
use elements::{Script, Transaction, TxOut};

use super::genesis::op_true;

const OP_1: u8 = 0x51;
const OP_16: u8 = 0x60;
const MAX_KEYS: u64 = 20;

/// The kinds of output script that relay tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScriptKind {
    /// Free coins: custom chains have these as standard (`-anyonecanspendaremine`).
    OpTrue,
    Fee,
    ScriptHash,
    Witness,
    WitnessUnknown,
    NullData,
    Key,
    KeyHash,
    /// `required` of `keys`.
    Multisig {
        required: u64,
        keys: u64,
    },
    NonStandard,
}

impl ScriptKind {
    pub(crate) fn of(script: &Script) -> Self {
        if *script == op_true() {
            ScriptKind::OpTrue
        } else if script.is_empty() {
            ScriptKind::Fee
        } else if script.is_p2sh() {
            ScriptKind::ScriptHash
        } else if let Some((version, program)) = witness_program(script) {
            match (version, program.len()) {
                (0, 20 | 32) | (1, 32) => ScriptKind::Witness,
                (0, _) => ScriptKind::NonStandard,
                _ => ScriptKind::WitnessUnknown,
            }
        } else if script[0] == 0x6a && is_push_only(&script.as_bytes()[1..]) {
            ScriptKind::NullData
        } else if is_pay_to_key(script.as_bytes()) {
            ScriptKind::Key
        } else if script.is_p2pkh() {
            ScriptKind::KeyHash
        } else {
            multisig(script.as_bytes()).unwrap_or(ScriptKind::NonStandard)
        }
    }
}

/// The version and program of a witness output.
pub(crate) fn witness_program(script: &Script) -> Option<(u8, &[u8])> {
    let (version, rest) = script.as_bytes().split_first()?;
    let (length, program) = rest.split_first()?;
    let version = match *version {
        0 => 0,
        version @ OP_1..=OP_16 => version - 0x50,
        _ => return None,
    };
    ((2..=40).contains(&program.len()) && program.len() == usize::from(*length))
        .then_some((version, program))
}

/// Whether a script only pushes.
pub(crate) fn is_push_only(script: &[u8]) -> bool {
    pushes(script).is_some()
}

/// What a script that only pushes pushes last: the redeem script of a P2SH input. None for a script that pushes nothing
/// or does anything else.
pub(crate) fn last_push(script: &Script) -> Option<Script> {
    pushes(script.as_bytes())?.pop().map(Script::from)
}

/// The pushed items, if the script does nothing but push.
fn pushes(script: &[u8]) -> Option<Vec<Vec<u8>>> {
    let script = Script::from(script.to_vec());
    script
        .instructions()
        .map(|instruction| match instruction.ok()? {
            Instruction::PushBytes(bytes) => Some(bytes.to_vec()),
            Instruction::Op(op) => match op.into_u8() {
                0x4f => Some(vec![0x81]),
                0x50 => Some(Vec::new()),
                number @ OP_1..=OP_16 => Some(vec![number - 0x50]),
                _ => None,
            },
        })
        .collect()
}

fn is_key(bytes: &[u8]) -> bool {
    matches!(
        (bytes.first(), bytes.len()),
        (Some(2 | 3), 33) | (Some(4 | 6 | 7), 65)
    )
}

fn is_pay_to_key(script: &[u8]) -> bool {
    matches!(script, [33 | 65, key @ .., 0xac] if key.len() == usize::from(script[0]) && is_key(key))
}

fn multisig(script: &[u8]) -> Option<ScriptKind> {
    let (last, script) = script.split_last()?;
    if *last != OP_CHECKMULTISIG.into_u8() {
        return None;
    }
    let script = Script::from(script.to_vec());
    let items: Vec<_> = script
        .instructions_minimal()
        .collect::<Result<_, _>>()
        .ok()?;
    let [first, keys @ .., last] = items.as_slice() else {
        return None;
    };
    let (required, count) = (key_count(first)?, key_count(last)?);
    let all_keys = keys
        .iter()
        .all(|key| matches!(key, Instruction::PushBytes(bytes) if is_key(bytes)));
    let fits = all_keys && count == keys.len() as u64 && required <= count;
    fits.then_some(ScriptKind::Multisig {
        required,
        keys: count,
    })
}

fn key_count(instruction: &Instruction<'_>) -> Option<u64> {
    let count = match instruction {
        Instruction::Op(op) if (OP_1..=OP_16).contains(&op.into_u8()) => {
            u64::from(op.into_u8() - 0x50)
        }
        Instruction::PushBytes([count]) if *count > 16 => u64::from(*count),
        _ => return None,
    };
    (1..=MAX_KEYS).contains(&count).then_some(count)
}

/// Signature checks in a script; `accurate` counts the keys of a multisignature where they are told.
pub(crate) fn sigops(script: &Script, accurate: bool) -> u64 {
    let mut count = 0;
    let mut last = 0xff;
    for instruction in script.instructions() {
        let Ok(instruction) = instruction else { break };
        let op = instruction.op().map_or(0, |op| op.into_u8());
        let is =
            |ops: &[elements::opcodes::All]| instruction.op().is_some_and(|op| ops.contains(&op));
        if is(&[
            OP_CHECKSIG,
            OP_CHECKSIGVERIFY,
            OP_CHECKSIGFROMSTACK,
            OP_CHECKSIGFROMSTACKVERIFY,
        ]) {
            count += 1;
        } else if is(&[OP_CHECKMULTISIG, OP_CHECKMULTISIGVERIFY]) {
            let told = accurate && (OP_1..=OP_16).contains(&last);
            count += if told {
                u64::from(last - 0x50)
            } else {
                MAX_KEYS
            };
        }
        last = op;
    }
    count
}

/// Signature checks in the scripts that stand in the transaction itself.
pub(crate) fn legacy_sigops(tx: &Transaction) -> u64 {
    let inputs = tx
        .input
        .iter()
        .map(|input| sigops(&input.script_sig, false));
    let outputs = tx
        .output
        .iter()
        .map(|output| sigops(&output.script_pubkey, false));
    inputs.chain(outputs).sum()
}

/// The cost of all signature checks, four for each outside of witnesses.
pub(crate) fn sigop_cost<'a>(tx: &Transaction, spent: impl Iterator<Item = &'a TxOut>) -> u64 {
    let legacy = legacy_sigops(tx) * 4;
    if tx.is_coinbase() {
        return legacy;
    }
    let spends = tx.input.iter().zip(spent).map(|(input, output)| {
        let script = &output.script_pubkey;
        if !script.is_p2sh() {
            return witness_sigops(script, &input.witness.script_witness);
        }
        let redeem = last_push(&input.script_sig);
        let witness = redeem.as_ref().map_or(0, |redeem| {
            witness_sigops(redeem, &input.witness.script_witness)
        });
        redeem.as_ref().map_or(0, |redeem| sigops(redeem, true) * 4) + witness
    });
    legacy + spends.sum::<u64>()
}

fn witness_sigops(script: &Script, witness: &elements::Witness) -> u64 {
    match witness_program(script) {
        Some((0, program)) if program.len() == 20 => 1,
        Some((0, program)) if program.len() == 32 => witness
            .last()
            .map_or(0, |script| sigops(&Script::from(script.to_vec()), true)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(hex: &str) -> Script {
        Script::from_hex_no_prefix(hex).unwrap()
    }

    #[test]
    fn kinds() {
        let key = format!("21{}", "02".repeat(33));
        let table = [
            (String::from("51"), ScriptKind::OpTrue),
            (String::new(), ScriptKind::Fee),
            (format!("a914{}87", "00".repeat(20)), ScriptKind::ScriptHash),
            (format!("0014{}", "00".repeat(20)), ScriptKind::Witness),
            (format!("0020{}", "00".repeat(32)), ScriptKind::Witness),
            (format!("5120{}", "00".repeat(32)), ScriptKind::Witness),
            (
                format!("5220{}", "00".repeat(32)),
                ScriptKind::WitnessUnknown,
            ),
            (format!("0015{}", "00".repeat(21)), ScriptKind::NonStandard),
            (String::from("6a"), ScriptKind::NullData),
            (String::from("6a020102"), ScriptKind::NullData),
            (String::from("6a0201"), ScriptKind::NonStandard),
            (String::from("6aac"), ScriptKind::NonStandard),
            (format!("{key}ac"), ScriptKind::Key),
            (
                format!("76a914{}88ac", "00".repeat(20)),
                ScriptKind::KeyHash,
            ),
            (
                format!("51{key}{key}52ae"),
                ScriptKind::Multisig {
                    required: 1,
                    keys: 2,
                },
            ),
            (format!("53{key}{key}52ae"), ScriptKind::NonStandard),
            (format!("51{key}{key}53ae"), ScriptKind::NonStandard),
            (String::from("ae"), ScriptKind::NonStandard),
            (String::from("52"), ScriptKind::NonStandard),
        ];
        for (hex, kind) in table {
            assert_eq!(ScriptKind::of(&script(&hex)), kind, "{hex}");
        }
    }

    #[test]
    fn signature_checks_are_counted() {
        assert_eq!(sigops(&script("acadc1c2"), false), 4);
        assert_eq!(sigops(&script("52ae"), false), 20);
        assert_eq!(sigops(&script("52ae"), true), 2);
        assert_eq!(sigops(&script("ac4c"), true), 1);
    }
}
