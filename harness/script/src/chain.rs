//! What differs between Bitcoin's script and Elements', apart from the signature hash.

use bitcoin::hashes::{Hash, HashEngine, sha256};

use crate::ScriptError;
use crate::checker::SigVersion;
use crate::opcode::*;

/// The chain whose rules a script is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chain {
    /// Bitcoin, as Bitcoin Core 31 has it.
    Bitcoin,
    /// Elements, as Elements Core 23 has it.
    Elements,
}

impl Chain {
    /// The taproot leaf version of tapscript: `0xc0` on Bitcoin (BIP342), `0xc4` on Elements.
    pub fn tapscript_leaf(self) -> u8 {
        match self {
            Chain::Bitcoin => 0xc0,
            Chain::Elements => 0xc4,
        }
    }

    /// A leaf version with a meaning on the chain that this interpreter does not have.
    pub(crate) fn unknown_leaf(self, version: u8) -> Option<&'static str> {
        (self == Chain::Elements && version == 0xbe).then_some("Simplicity leaf 0xbe")
    }

    /// Whether an opcode makes a tapscript succeed wherever it stands (`IsOpSuccess`).
    pub(crate) fn is_op_success(self, op: u8) -> bool {
        let everywhere = matches!(op, 80 | 98 | 137..=138 | 141..=142 | 149..=151);
        match self {
            Chain::Bitcoin => {
                everywhere || matches!(op, 126..=129 | 131..=134 | 152..=153 | 187..=254)
            }
            Chain::Elements => everywhere || matches!(op, 187..=191 | 229..=254),
        }
    }

    /// Whether an opcode fails a script even where it is not executed (CVE-2010-5137).
    pub(crate) fn is_disabled(self, op: u8) -> bool {
        let everywhere = matches!(op, OP_2MUL | OP_2DIV | OP_MUL | OP_DIV | OP_MOD);
        everywhere || (self == Chain::Bitcoin && elements_string_opcode(op).is_some())
    }

    /// An opcode that the chain would execute and this interpreter cannot.
    pub(crate) fn unknown_opcode(self, op: u8, version: SigVersion) -> Option<&'static str> {
        if self == Chain::Bitcoin {
            return None;
        }
        let everywhere = elements_string_opcode(op).or(match op {
            0xc0 => Some("OP_DETERMINISTICRANDOM"),
            0xc1 => Some("OP_CHECKSIGFROMSTACK"),
            0xc2 => Some("OP_CHECKSIGFROMSTACKVERIFY"),
            0xc3 => Some("OP_SUBSTR_LAZY"),
            _ => None,
        });
        // Outside tapscript the rest are bad opcodes on Elements too.
        let tapscript_only = usize::from(op)
            .checked_sub(0xc4)
            .filter(|_| version == SigVersion::Tapscript)
            .and_then(|i| TAPSCRIPT_OPCODES.get(i).copied());
        everywhere.or(tapscript_only)
    }

    /// A hasher with a BIP340 tag already in it; `name` is Bitcoin's.
    pub(crate) fn tagged(self, name: &str) -> sha256::HashEngine {
        let tag = match self {
            Chain::Bitcoin => sha256::Hash::hash(name.as_bytes()),
            Chain::Elements => sha256::Hash::hash(format!("{name}/elements").as_bytes()),
        };
        let mut engine = sha256::Hash::engine();
        engine.input(tag.as_byte_array());
        engine.input(tag.as_byte_array());
        engine
    }

    /// IF or NOTIF on an empty stack: Core changed the name of this error after the version Elements 23 is made from.
    pub(crate) fn empty_if(self) -> ScriptError {
        match self {
            Chain::Bitcoin => ScriptError::InvalidStackOperation,
            Chain::Elements => ScriptError::UnbalancedConditional,
        }
    }

    /// A number too long, or not minimal where it must be; Core named it later too.
    pub(crate) fn bad_number(self) -> ScriptError {
        match self {
            Chain::Bitcoin => ScriptError::ScriptNum,
            Chain::Elements => ScriptError::UnknownError,
        }
    }

    /// An empty public key in tapscript; renamed likewise.
    pub(crate) fn empty_tapscript_key(self) -> ScriptError {
        match self {
            Chain::Bitcoin => ScriptError::TapscriptEmptyPubkey,
            Chain::Elements => ScriptError::PubkeyType,
        }
    }
}

/// Opcodes that Bitcoin disabled and Elements brought back.
fn elements_string_opcode(op: u8) -> Option<&'static str> {
    Some(match op {
        OP_CAT => "OP_CAT",
        OP_SUBSTR => "OP_SUBSTR",
        OP_LEFT => "OP_LEFT",
        OP_RIGHT => "OP_RIGHT",
        OP_INVERT => "OP_INVERT",
        OP_AND => "OP_AND",
        OP_OR => "OP_OR",
        OP_XOR => "OP_XOR",
        OP_LSHIFT => "OP_LSHIFT",
        OP_RSHIFT => "OP_RSHIFT",
        _ => return None,
    })
}

/// Elements' tapscript opcodes from `0xc4` on.
const TAPSCRIPT_OPCODES: [&str; 33] = [
    "OP_SHA256INITIALIZE",
    "OP_SHA256UPDATE",
    "OP_SHA256FINALIZE",
    "OP_INSPECTINPUTOUTPOINT",
    "OP_INSPECTINPUTASSET",
    "OP_INSPECTINPUTVALUE",
    "OP_INSPECTINPUTSCRIPTPUBKEY",
    "OP_INSPECTINPUTSEQUENCE",
    "OP_INSPECTINPUTISSUANCE",
    "OP_PUSHCURRENTINPUTINDEX",
    "OP_INSPECTOUTPUTASSET",
    "OP_INSPECTOUTPUTVALUE",
    "OP_INSPECTOUTPUTNONCE",
    "OP_INSPECTOUTPUTSCRIPTPUBKEY",
    "OP_INSPECTVERSION",
    "OP_INSPECTLOCKTIME",
    "OP_INSPECTNUMINPUTS",
    "OP_INSPECTNUMOUTPUTS",
    "OP_TXWEIGHT",
    "OP_ADD64",
    "OP_SUB64",
    "OP_MUL64",
    "OP_DIV64",
    "OP_NEG64",
    "OP_LESSTHAN64",
    "OP_LESSTHANOREQUAL64",
    "OP_GREATERTHAN64",
    "OP_GREATERTHANOREQUAL64",
    "OP_SCRIPTNUMTOLE64",
    "OP_LE64TOSCRIPTNUM",
    "OP_LE32TOLE64",
    "OP_ECMULSCALARVERIFY",
    "OP_TWEAKVERIFY",
];
