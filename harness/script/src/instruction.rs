//! Reading a script instruction by instruction, and the questions that need no more than that.

use crate::opcode::*;

/// An opcode with what it pushes (empty for one that is not a push).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction<'a> {
    pub(crate) op: u8,
    pub(crate) push: &'a [u8],
}

/// A push that runs over the end of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

/// A script read from a position on. After an error the position stays where the bad instruction began.
#[derive(Clone)]
pub(crate) struct Instructions<'a> {
    script: &'a [u8],
    position: usize,
}

impl<'a> Instructions<'a> {
    pub(crate) fn new(script: &'a [u8]) -> Self {
        Instructions {
            script,
            position: 0,
        }
    }

    /// Where the next instruction begins.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    fn read(&self) -> Result<(Instruction<'a>, usize), Truncated> {
        let rest = &self.script[self.position..];
        let op = *rest.first().ok_or(Truncated)?;
        let rest = &rest[1..];
        let little_endian = |bytes: usize| {
            let bytes = rest.get(..bytes).ok_or(Truncated)?;
            Ok(bytes
                .iter()
                .rev()
                .fold(0usize, |n, byte| n << 8 | usize::from(*byte)))
        };
        let (prefix, length) = match op {
            0..OP_PUSHDATA1 => (0, usize::from(op)),
            OP_PUSHDATA1 => (1, little_endian(1)?),
            OP_PUSHDATA2 => (2, little_endian(2)?),
            OP_PUSHDATA4 => (4, little_endian(4)?),
            _ => (0, 0),
        };
        let push = rest[prefix..].get(..length).ok_or(Truncated)?;
        Ok((
            Instruction { op, push },
            self.position + 1 + prefix + length,
        ))
    }

    fn pass(&mut self, bytes: usize) {
        self.position += bytes;
    }
}

impl<'a> Iterator for Instructions<'a> {
    type Item = Result<Instruction<'a>, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.script.len() {
            return None;
        }
        Some(self.read().map(|(instruction, next)| {
            self.position = next;
            instruction
        }))
    }
}

/// Whether a script is pushes only, `OP_RESERVED` counting as one.
pub(crate) fn is_push_only(script: &[u8]) -> bool {
    Instructions::new(script).all(|i| i.is_ok_and(|i| i.op <= OP_16))
}

/// `HASH160 <20 bytes> EQUAL`, in exactly these bytes.
pub(crate) fn is_p2sh(script: &[u8]) -> bool {
    script.len() == 23 && script[..2] == [OP_HASH160, 20] && script[22] == OP_EQUAL
}

/// The version and program of a witness program (BIP141).
pub(crate) fn witness_program(script: &[u8]) -> Option<(u8, &[u8])> {
    let (version, length) = match script {
        [version, length, ..] => (*version, usize::from(*length)),
        _ => return None,
    };
    let version = match version {
        OP_0 => 0,
        OP_1..=OP_16 => version - OP_1 + 1,
        _ => return None,
    };
    let fits = (4..=42).contains(&script.len()) && length + 2 == script.len();
    fits.then(|| (version, &script[2..]))
}

/// The bytes that push `data`, as Core writes them: not the shortest for numbers.
pub(crate) fn push(data: &[u8]) -> Vec<u8> {
    let length = data.len();
    let mut script = match length {
        0..0x4c => vec![length as u8],
        0x4c..=0xff => vec![OP_PUSHDATA1, length as u8],
        0x100..=0xffff => [&[OP_PUSHDATA2][..], &(length as u16).to_le_bytes()].concat(),
        _ => [&[OP_PUSHDATA4][..], &(length as u32).to_le_bytes()].concat(),
    };
    script.extend_from_slice(data);
    script
}

/// The script without any `pattern` that begins where an instruction does, and whether there was one (`FindAndDelete`).
pub(crate) fn find_and_delete(script: &[u8], pattern: &[u8]) -> (Vec<u8>, bool) {
    let mut kept = Vec::with_capacity(script.len());
    let mut found = false;
    let mut instructions = Instructions::new(script);
    let mut copied = 0;
    loop {
        kept.extend_from_slice(&script[copied..instructions.position()]);
        while !pattern.is_empty() && script[instructions.position()..].starts_with(pattern) {
            instructions.pass(pattern.len());
            found = true;
        }
        copied = instructions.position();
        if !matches!(instructions.next(), Some(Ok(_))) {
            break;
        }
    }
    kept.extend_from_slice(&script[copied..]);
    (kept, found)
}
