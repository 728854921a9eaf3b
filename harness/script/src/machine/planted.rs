//! A bug on request, so that a test of the interpreter can prove that it would notice one.
//!
//! Only with the feature `test-hooks`, which no crate of the workspace switches on.

use std::sync::atomic::{AtomicU16, Ordering};

const NONE: u16 = u16::MAX;
static BROKEN: AtomicU16 = AtomicU16::new(NONE);

/// From now on, wherever opcode `op` leaves true or false on the stack, it leaves the opposite.
pub fn break_opcode(op: u8) {
    BROKEN.store(u16::from(op), Ordering::Relaxed);
}

/// Takes the bug out again.
pub fn mend() {
    BROKEN.store(NONE, Ordering::Relaxed);
}

pub(super) fn apply(op: u8, stack: &mut [Vec<u8>]) {
    if u16::from(op) == BROKEN.load(Ordering::Relaxed)
        && let Some(top) = stack.last_mut()
    {
        *top = if crate::number::is_true(top) {
            Vec::new()
        } else {
            vec![1]
        };
    }
}
