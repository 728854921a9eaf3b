//! Arithmetic on numbers of at most four bytes; results may be longer.

use super::Machine;
use crate::number::ARITHMETIC_BYTES;
use crate::opcode::*;
use crate::{Checker, ScriptError};

impl<C: Checker> Machine<'_, C> {
    pub(super) fn arithmetic_op(&mut self, op: u8) -> Result<(), ScriptError> {
        match op {
            OP_1ADD..=OP_0NOTEQUAL => self.unary(op),
            OP_WITHIN => self.within(),
            _ => self.binary(op),
        }
    }

    fn unary(&mut self, op: u8) -> Result<(), ScriptError> {
        let a = self.number_at(1, ARITHMETIC_BYTES)?;
        self.pop()?;
        self.push_number(match op {
            OP_1ADD => a + 1,
            OP_1SUB => a - 1,
            OP_NEGATE => -a,
            OP_ABS => a.abs(),
            OP_NOT => i64::from(a == 0),
            OP_0NOTEQUAL => i64::from(a != 0),
            _ => return Err(ScriptError::BadOpcode),
        });
        Ok(())
    }

    fn binary(&mut self, op: u8) -> Result<(), ScriptError> {
        self.need(2)?;
        let a = self.number_at(2, ARITHMETIC_BYTES)?;
        let b = self.number_at(1, ARITHMETIC_BYTES)?;
        self.stack.truncate(self.stack.len() - 2);
        self.push_number(match op {
            OP_ADD => a + b,
            OP_SUB => a - b,
            OP_BOOLAND => i64::from(a != 0 && b != 0),
            OP_BOOLOR => i64::from(a != 0 || b != 0),
            OP_NUMEQUAL | OP_NUMEQUALVERIFY => i64::from(a == b),
            OP_NUMNOTEQUAL => i64::from(a != b),
            OP_LESSTHAN => i64::from(a < b),
            OP_GREATERTHAN => i64::from(a > b),
            OP_LESSTHANOREQUAL => i64::from(a <= b),
            OP_GREATERTHANOREQUAL => i64::from(a >= b),
            OP_MIN => a.min(b),
            OP_MAX => a.max(b),
            _ => return Err(ScriptError::BadOpcode),
        });
        match op {
            OP_NUMEQUALVERIFY => self.verify_top(ScriptError::NumEqualVerify),
            _ => Ok(()),
        }
    }

    /// `x min max`: whether min ≤ x < max.
    fn within(&mut self) -> Result<(), ScriptError> {
        self.need(3)?;
        let x = self.number_at(3, ARITHMETIC_BYTES)?;
        let min = self.number_at(2, ARITHMETIC_BYTES)?;
        let max = self.number_at(1, ARITHMETIC_BYTES)?;
        self.stack.truncate(self.stack.len() - 3);
        self.push_bool((min..max).contains(&x));
        Ok(())
    }
}
