//! Moving, copying and comparing stack elements.

use super::Machine;
use crate::number::{self, ARITHMETIC_BYTES};
use crate::opcode::*;
use crate::{Checker, Flags, ScriptError};

impl<C: Checker> Machine<'_, C> {
    pub(super) fn need(&self, elements: usize) -> Result<(), ScriptError> {
        match self.stack.len() >= elements {
            true => Ok(()),
            false => Err(ScriptError::InvalidStackOperation),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Vec<u8>, ScriptError> {
        self.stack.pop().ok_or(ScriptError::InvalidStackOperation)
    }

    /// The element `depth` from the top, which is 1.
    pub(super) fn peek(&self, depth: usize) -> Result<&[u8], ScriptError> {
        let at = self.stack.len().checked_sub(depth);
        at.and_then(|at| self.stack.get(at))
            .map(Vec::as_slice)
            .ok_or(ScriptError::InvalidStackOperation)
    }

    pub(super) fn number_at(&self, depth: usize, max_bytes: usize) -> Result<i64, ScriptError> {
        let minimal = self.run.flags.contains(Flags::MINIMALDATA);
        number::decode(self.peek(depth)?, minimal, max_bytes)
            .ok_or_else(|| self.run.checker.chain().bad_number())
    }

    pub(super) fn push_number(&mut self, number: i64) {
        self.stack.push(number::encode(number));
    }

    pub(super) fn push_bool(&mut self, value: bool) {
        self.stack.push(if value { vec![1] } else { Vec::new() });
    }

    /// Takes the top off if it is true.
    pub(super) fn verify_top(&mut self, error: ScriptError) -> Result<(), ScriptError> {
        if !number::is_true(self.peek(1)?) {
            return Err(error);
        }
        self.stack.pop();
        Ok(())
    }

    pub(super) fn stack_op(&mut self, op: u8) -> Result<(), ScriptError> {
        let size = self.stack.len();
        match op {
            OP_TOALTSTACK => {
                let top = self.pop()?;
                self.alt.push(top);
            }
            OP_FROMALTSTACK => {
                let top = self.alt.pop();
                self.stack
                    .push(top.ok_or(ScriptError::InvalidAltstackOperation)?);
            }
            OP_2DROP => {
                self.need(2)?;
                self.stack.truncate(size - 2);
            }
            OP_2DUP => self.copy(2, 2)?,
            OP_3DUP => self.copy(3, 3)?,
            OP_2OVER => self.copy(4, 2)?,
            OP_2ROT => self.rotate(6, 2)?,
            OP_2SWAP => self.rotate(4, 2)?,
            OP_IFDUP => {
                if number::is_true(self.peek(1)?) {
                    self.copy(1, 1)?;
                }
            }
            OP_DEPTH => self.push_number(size as i64),
            OP_DROP => {
                self.pop()?;
            }
            OP_DUP => self.copy(1, 1)?,
            OP_NIP => {
                self.need(2)?;
                self.stack.remove(size - 2);
            }
            OP_OVER => self.copy(2, 1)?,
            OP_PICK | OP_ROLL => self.pick(op)?,
            OP_ROT => self.rotate(3, 1)?,
            OP_SWAP => self.rotate(2, 1)?,
            OP_TUCK => {
                self.need(2)?;
                self.stack.insert(size - 2, self.stack[size - 1].clone());
            }
            OP_SIZE => {
                let length = self.peek(1)?.len();
                self.push_number(length as i64);
            }
            OP_EQUAL | OP_EQUALVERIFY => {
                self.need(2)?;
                let equal = self.pop()? == self.pop()?;
                self.push_bool(equal);
                if op == OP_EQUALVERIFY {
                    self.verify_top(ScriptError::EqualVerify)?;
                }
            }
            _ => return Err(ScriptError::BadOpcode),
        }
        Ok(())
    }

    /// Copies `count` elements that begin `depth` from the top onto the top.
    fn copy(&mut self, depth: usize, count: usize) -> Result<(), ScriptError> {
        self.need(depth)?;
        let start = self.stack.len() - depth;
        self.stack.extend_from_within(start..start + count);
        Ok(())
    }

    /// Moves the lower `count` of the `depth` top elements onto the top.
    fn rotate(&mut self, depth: usize, count: usize) -> Result<(), ScriptError> {
        self.need(depth)?;
        let start = self.stack.len() - depth;
        self.stack[start..].rotate_left(count);
        Ok(())
    }

    fn pick(&mut self, op: u8) -> Result<(), ScriptError> {
        self.need(2)?;
        let depth = self.number_at(1, ARITHMETIC_BYTES)?;
        self.pop()?;
        let at = usize::try_from(depth)
            .ok()
            .and_then(|depth| self.stack.len().checked_sub(depth + 1))
            .ok_or(ScriptError::InvalidStackOperation)?;
        let element = match op {
            OP_ROLL => self.stack.remove(at),
            _ => self.stack[at].clone(),
        };
        self.stack.push(element);
        Ok(())
    }
}
