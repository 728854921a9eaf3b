//! Pieces of signature hashing that both chains share.

use bitcoin::hashes::{Hash, HashEngine, sha256d};

use crate::instruction::Instructions;
use crate::opcode::OP_CODESEPARATOR;

/// A hash type byte of a legacy or segwit v0 signature, taken apart. Every byte means something.
#[derive(Clone, Copy)]
pub(crate) struct HashType(pub(crate) u8);

impl HashType {
    pub(crate) fn anyone_can_pay(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// Elements: the range and surjection proofs are covered, where the chain allows that.
    pub(crate) fn rangeproof(self) -> bool {
        self.0 & 0x40 != 0
    }

    pub(crate) fn none(self) -> bool {
        self.0 & 0x1f == 2
    }

    pub(crate) fn single(self) -> bool {
        self.0 & 0x1f == 3
    }

    /// The last four bytes of the hashed message.
    pub(crate) fn encoded(self) -> [u8; 4] {
        u32::from(self.0).to_le_bytes()
    }
}

/// What a legacy SIGHASH_SINGLE signs when there is no output beside its input: the number one.
pub(crate) const SINGLE_WITHOUT_OUTPUT: [u8; 32] = {
    let mut one = [0; 32];
    one[0] = 1;
    one
};

/// A legacy script code without its CODESEPARATORs; bytes after a push that runs over the end stay as they are.
pub(crate) fn without_code_separators(script: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(script.len());
    let mut copied = 0;
    let mut instructions = Instructions::new(script);
    while let Some(Ok(instruction)) = instructions.next() {
        if instruction.op == OP_CODESEPARATOR {
            kept.extend_from_slice(&script[copied..instructions.position() - 1]);
            copied = instructions.position();
        }
    }
    kept.extend_from_slice(&script[copied..]);
    kept
}

/// The double SHA256 of what `write` writes.
pub(crate) fn double_sha256(write: impl FnOnce(&mut sha256d_engine::Engine)) -> [u8; 32] {
    let mut engine = sha256d::Hash::engine();
    write(&mut engine);
    sha256d::Hash::from_engine(engine).to_byte_array()
}

/// The engine of [`double_sha256`], by one name.
pub(crate) mod sha256d_engine {
    pub(crate) type Engine = <bitcoin::hashes::sha256d::Hash as bitcoin::hashes::Hash>::Engine;
}

/// `script` with its length before it.
pub(crate) fn write_script(engine: &mut sha256d_engine::Engine, script: &[u8]) {
    write_compact_size(engine, script.len());
    engine.input(script);
}

/// A length as transactions encode it.
pub(crate) fn write_compact_size(engine: &mut sha256d_engine::Engine, size: usize) {
    let size = size as u64;
    match size {
        0..=0xfc => engine.input(&[size as u8]),
        0xfd..=0xffff => {
            engine.input(&[0xfd]);
            engine.input(&(size as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            engine.input(&[0xfe]);
            engine.input(&(size as u32).to_le_bytes());
        }
        _ => {
            engine.input(&[0xff]);
            engine.input(&size.to_le_bytes());
        }
    }
}
