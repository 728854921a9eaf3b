//! The stack machine: runs one script (`EvalScript`).

mod arithmetic;
mod crypto;
#[cfg(feature = "test-hooks")]
pub mod planted;
mod stack;

use crate::checker::SEQUENCE_DISABLE;
use crate::encoding::is_minimal_push;
use crate::instruction::{Instruction, Instructions};
use crate::number::{self, LOCKTIME_BYTES};
use crate::opcode::*;
use crate::{Checker, Flags, ScriptError, SigVersion, TaprootContext};

const MAX_SCRIPT_BYTES: usize = 10_000;
pub(crate) const MAX_ELEMENT_BYTES: usize = 520;
pub(crate) const MAX_STACK: usize = 1_000;
const MAX_OPS: usize = 201;

/// What running a script needs beside the stack.
pub(crate) struct Run<'a, C> {
    pub(crate) checker: &'a C,
    pub(crate) flags: Flags,
    pub(crate) version: SigVersion,
    /// Tapscript: what signatures commit to; the machine keeps the CODESEPARATOR position in it.
    pub(crate) context: TaprootContext,
    /// Tapscript: how much signature checking the witness's weight still pays for (BIP342).
    pub(crate) weight_left: i64,
}

/// Runs `script` on `stack`.
pub(crate) fn run<C: Checker>(
    script: &[u8],
    stack: &mut Vec<Vec<u8>>,
    run: Run<'_, C>,
) -> Result<(), ScriptError> {
    let limited = run.version != SigVersion::Tapscript;
    if limited && script.len() > MAX_SCRIPT_BYTES {
        return Err(ScriptError::ScriptSize);
    }
    let mut machine = Machine {
        script,
        stack,
        alt: Vec::new(),
        conditions: Conditions::default(),
        code_start: 0,
        op_count: 0,
        run,
    };
    machine.run()
}

/// Runs `script` on `stack` by the rules of `version`, and gives the stack it leaves.
///
/// Only with the feature `test-hooks`. Signatures in tapscript are paid for without limit, and are those of a key path.
///
/// # Errors
/// The first rule that is broken.
#[cfg(feature = "test-hooks")]
pub fn evaluate<C: Checker>(
    script: &[u8],
    mut stack: Vec<Vec<u8>>,
    version: SigVersion,
    flags: Flags,
    checker: &C,
) -> Result<Vec<Vec<u8>>, ScriptError> {
    let context = TaprootContext {
        annex: None,
        leaf: None,
    };
    let options = Run {
        checker,
        flags,
        version,
        context,
        weight_left: i64::MAX,
    };
    run(script, &mut stack, options)?;
    Ok(stack)
}

struct Machine<'a, C> {
    script: &'a [u8],
    stack: &'a mut Vec<Vec<u8>>,
    alt: Vec<Vec<u8>>,
    conditions: Conditions,
    /// Where the script code begins: after the last CODESEPARATOR executed.
    code_start: usize,
    op_count: usize,
    run: Run<'a, C>,
}

/// The nested IFs: how many, and which is the first not taken. A script can open thousands of them.
#[derive(Default)]
struct Conditions {
    depth: usize,
    first_false: Option<usize>,
}

impl Conditions {
    fn all_true(&self) -> bool {
        self.first_false.is_none()
    }

    fn push(&mut self, taken: bool) {
        if !taken && self.first_false.is_none() {
            self.first_false = Some(self.depth);
        }
        self.depth += 1;
    }

    fn toggle(&mut self) -> Option<()> {
        let top = self.depth.checked_sub(1)?;
        match self.first_false {
            None => self.first_false = Some(top),
            Some(first) if first == top => self.first_false = None,
            // An outer branch is not taken: this one does not matter.
            Some(_) => {}
        }
        Some(())
    }

    fn pop(&mut self) -> Option<()> {
        self.depth = self.depth.checked_sub(1)?;
        if self.first_false == Some(self.depth) {
            self.first_false = None;
        }
        Some(())
    }
}

impl<C: Checker> Machine<'_, C> {
    fn run(&mut self) -> Result<(), ScriptError> {
        let mut instructions = Instructions::new(self.script);
        let mut index: u32 = 0;
        while let Some(instruction) = instructions.next() {
            let instruction = instruction.map_err(|_| ScriptError::BadOpcode)?;
            self.step(instruction, instructions.position(), index)?;
            if self.stack.len() + self.alt.len() > MAX_STACK {
                return Err(ScriptError::StackSize);
            }
            index += 1;
        }
        match self.conditions.depth {
            0 => Ok(()),
            _ => Err(ScriptError::UnbalancedConditional),
        }
    }

    /// One instruction; `next` is where the following one begins, `index` counts instructions.
    fn step(
        &mut self,
        Instruction { op, push }: Instruction<'_>,
        next: usize,
        index: u32,
    ) -> Result<(), ScriptError> {
        if push.len() > MAX_ELEMENT_BYTES {
            return Err(ScriptError::PushSize);
        }
        if self.run.version != SigVersion::Tapscript && op > OP_16 {
            self.count_ops(1)?;
        }
        if self.run.checker.chain().is_disabled(op) {
            return Err(ScriptError::DisabledOpcode);
        }
        let const_script = self.run.version == SigVersion::Legacy
            && self.run.flags.contains(Flags::CONST_SCRIPTCODE);
        if op == OP_CODESEPARATOR && const_script {
            return Err(ScriptError::OpCodeSeparator);
        }
        let executed = self.conditions.all_true();
        if executed && op <= OP_PUSHDATA4 {
            if self.run.flags.contains(Flags::MINIMALDATA) && !is_minimal_push(op, push) {
                return Err(ScriptError::MinimalData);
            }
            self.stack.push(push.to_vec());
        } else if executed || (OP_IF..=OP_ENDIF).contains(&op) {
            self.execute(op, executed, next, index)?;
            #[cfg(feature = "test-hooks")]
            planted::apply(op, self.stack);
        }
        Ok(())
    }

    fn count_ops(&mut self, ops: usize) -> Result<(), ScriptError> {
        self.op_count += ops;
        match self.op_count > MAX_OPS {
            true => Err(ScriptError::OpCount),
            false => Ok(()),
        }
    }

    fn execute(
        &mut self,
        op: u8,
        executed: bool,
        next: usize,
        index: u32,
    ) -> Result<(), ScriptError> {
        match op {
            OP_1NEGATE | OP_1..=OP_16 => {
                self.push_number(i64::from(op) - i64::from(OP_1 - 1));
                Ok(())
            }
            OP_NOP => Ok(()),
            OP_IF | OP_NOTIF => self.branch(op, executed),
            OP_ELSE => self
                .conditions
                .toggle()
                .ok_or(ScriptError::UnbalancedConditional),
            OP_ENDIF => self
                .conditions
                .pop()
                .ok_or(ScriptError::UnbalancedConditional),
            OP_VERIFY => self.verify_top(ScriptError::Verify),
            OP_RETURN => Err(ScriptError::OpReturn),
            OP_CHECKLOCKTIMEVERIFY if self.run.flags.contains(Flags::CHECKLOCKTIMEVERIFY) => {
                self.check_lock_time()
            }
            OP_CHECKSEQUENCEVERIFY if self.run.flags.contains(Flags::CHECKSEQUENCEVERIFY) => {
                self.check_sequence()
            }
            OP_CHECKLOCKTIMEVERIFY | OP_CHECKSEQUENCEVERIFY => Ok(()),
            OP_NOP1 | OP_NOP4..=OP_NOP10 => {
                match self.run.flags.contains(Flags::DISCOURAGE_UPGRADABLE_NOPS) {
                    true => Err(ScriptError::DiscourageUpgradableNops),
                    false => Ok(()),
                }
            }
            OP_TOALTSTACK..=OP_TUCK | OP_SIZE | OP_EQUAL | OP_EQUALVERIFY => self.stack_op(op),
            OP_1ADD..=OP_1SUB
            | OP_NEGATE..=OP_0NOTEQUAL
            | OP_ADD..=OP_SUB
            | OP_BOOLAND..=OP_WITHIN => self.arithmetic_op(op),
            OP_RIPEMD160..=OP_HASH256 => self.hash_op(op),
            OP_CODESEPARATOR => {
                self.code_start = next;
                if let Some((_, position)) = &mut self.run.context.leaf {
                    *position = index;
                }
                Ok(())
            }
            OP_CHECKSIG | OP_CHECKSIGVERIFY => self.check_sig_op(op),
            OP_CHECKSIGADD if self.run.version == SigVersion::Tapscript => self.check_sig_add(),
            OP_CHECKMULTISIG | OP_CHECKMULTISIGVERIFY => self.check_multisig_op(op),
            _ => Err(
                match self
                    .run
                    .checker
                    .chain()
                    .unknown_opcode(op, self.run.version)
                {
                    Some(name) => ScriptError::NotKnown(name),
                    None => ScriptError::BadOpcode,
                },
            ),
        }
    }

    fn branch(&mut self, op: u8, executed: bool) -> Result<(), ScriptError> {
        let mut taken = false;
        if executed {
            let empty = self.run.checker.chain().empty_if();
            let condition = self.stack.pop().ok_or(empty)?;
            let minimal = matches!(condition[..], [] | [1]);
            match self.run.version {
                SigVersion::Tapscript if !minimal => return Err(ScriptError::TapscriptMinimalIf),
                SigVersion::WitnessV0 if !minimal && self.run.flags.contains(Flags::MINIMALIF) => {
                    return Err(ScriptError::MinimalIf);
                }
                _ => {}
            }
            taken = number::is_true(&condition) != (op == OP_NOTIF);
        }
        self.conditions.push(taken);
        Ok(())
    }

    fn check_lock_time(&mut self) -> Result<(), ScriptError> {
        let wanted = self.number_at(1, LOCKTIME_BYTES)?;
        if wanted < 0 {
            return Err(ScriptError::NegativeLocktime);
        }
        match self.run.checker.check_lock_time(wanted) {
            true => Ok(()),
            false => Err(ScriptError::UnsatisfiedLocktime),
        }
    }

    fn check_sequence(&mut self) -> Result<(), ScriptError> {
        let wanted = self.number_at(1, LOCKTIME_BYTES)?;
        if wanted < 0 {
            return Err(ScriptError::NegativeLocktime);
        }
        match wanted & SEQUENCE_DISABLE != 0 || self.run.checker.check_sequence(wanted) {
            true => Ok(()),
            false => Err(ScriptError::UnsatisfiedLocktime),
        }
    }
}
