//! Scripts that mostly work: built piece by piece, each tried on the stack that the pieces before it left.
//!
//! At the end the script compares that stack with constants, so that a single wrong element, in either interpreter,
//! turns the verdict.

use fastrand::Rng;
use swaprig_script::{BitcoinChecker, Flags, SigVersion, evaluate};

/// What surrounds a program.
pub struct Place<'a> {
    pub checker: BitcoinChecker<'a, 'a>,
    pub version: SigVersion,
    pub flags: Flags,
}

/// Code that leaves one true element, if `initial` is on the stack when it begins and nothing was spoilt.
pub fn random(initial: Vec<Vec<u8>>, place: &Place<'_>, rng: &mut Rng) -> Vec<u8> {
    let mut code = Vec::new();
    let mut stack = initial;
    for _ in 0..rng.usize(1..16) {
        let piece = piece(stack.len(), place, rng);
        match evaluate(
            &piece,
            stack.clone(),
            place.version,
            place.flags,
            &place.checker,
        ) {
            Ok(next) => {
                stack = next;
                code.extend(piece);
            }
            // A few failing pieces stay, since failing alike matters as well.
            Err(_) if rng.u16(..80) == 0 => code.extend(piece),
            Err(_) => {}
        }
    }
    finish(&mut code, stack, rng);
    code
}

/// Compares what is left with constants.
fn finish(code: &mut Vec<u8>, mut stack: Vec<Vec<u8>>, rng: &mut Rng) {
    if rng.u8(..10) == 0 {
        // The last element decides by itself.
        return;
    }
    code.push(OP_DEPTH);
    code.extend(number(stack.len() as i64));
    code.push(OP_NUMEQUALVERIFY);
    while let Some(top) = stack.pop() {
        code.extend(push(&top));
        code.push(OP_EQUALVERIFY);
    }
    code.push(OP_1);
}

const OP_1: u8 = 0x51;
const OP_DEPTH: u8 = 0x74;
const OP_EQUALVERIFY: u8 = 0x88;
const OP_NUMEQUALVERIFY: u8 = 0x9d;

/// One to a few instructions that belong together.
fn piece(depth: usize, place: &Place<'_>, rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..100) {
        0..12 => number(small(rng)),
        12..18 => push(&random_bytes(rng)),
        // Comparison and arithmetic on numbers that are near each other.
        18..38 => {
            let mut code = number(small(rng));
            code.extend(number(small(rng)));
            if rng.bool() {
                code.extend(number(small(rng)));
                code.push(0xa5);
            } else {
                code.push(rng.u8(0x93..=0xa4));
            }
            code
        }
        38..44 => {
            let mut code = number(small(rng));
            code.push(rng.u8(0x8b..=0x92));
            code
        }
        44..62 => vec![rng.u8(0x6b..=0x88)],
        62..68 => vec![rng.u8(0xa6..=0xaa)],
        68..74 => {
            // PICK and ROLL.
            let mut code = number(rng.i64(0..=depth as i64));
            code.push(rng.u8(0x79..=0x7a));
            code
        }
        74..82 => conditional(depth, place, rng),
        82..86 => {
            // To the alternative stack and back.
            let mut code = vec![0x6b];
            code.extend(piece(depth.saturating_sub(1), place, rng));
            code.push(0x6c);
            code
        }
        86..92 => lock(rng),
        92..94 => vec![rng.u8(0xb0..=0xb9)],
        94..95 => vec![0xab],
        95..97 => vec![0x61; rng.usize(1..30)],
        _ => vec![rng.u8(..)],
    }
}

fn conditional(depth: usize, place: &Place<'_>, rng: &mut Rng) -> Vec<u8> {
    let mut code = match rng.u8(..8) {
        0..6 => number(rng.i64(0..2)),
        6 => Vec::new(),
        _ => push(&random_bytes(rng)),
    };
    code.push(rng.u8(0x63..=0x64));
    code.extend(piece(depth, place, rng));
    for _ in 0..rng.usize(..3) {
        code.push(0x67);
        code.extend(piece(depth, place, rng));
    }
    code.push(0x68);
    code
}

/// CHECKLOCKTIMEVERIFY or CHECKSEQUENCEVERIFY, near what a transaction may have.
fn lock(rng: &mut Rng) -> Vec<u8> {
    let mut code = number(lock_number(rng));
    code.push(rng.u8(0xb1..=0xb2));
    if rng.u8(..4) != 0 {
        code.push(0x75);
    }
    code
}

/// A value for locks: nLockTime, nSequence, and the operands of the opcodes that check them.
pub fn lock_number(rng: &mut Rng) -> i64 {
    let base = *rng
        .choice(&[
            0,
            0,
            16,
            144,
            0xffff,
            1 << 22,
            (1 << 22) + 144,
            (1 << 31) + 16,
            500_000_000,
            1_700_000_000,
            0xffff_ffff,
            0x1_0000_0000,
        ])
        .expect("not empty");
    base + rng.i64(-2..=2)
}

fn small(rng: &mut Rng) -> i64 {
    match rng.u8(..10) {
        0..7 => rng.i64(-3..=4),
        7 => rng.i64(-300..=300),
        8 => *rng
            .choice(&[
                0x7f,
                0x80,
                0xff,
                0x100,
                0x7fff,
                0x8000,
                0x7fff_ffff,
                -0x7fff_ffff,
            ])
            .expect("not empty"),
        _ => rng.i64(-0x8000_0000..=0x8000_0000),
    }
}

fn random_bytes(rng: &mut Rng) -> Vec<u8> {
    let length = match rng.u8(..40) {
        0 => rng.usize(515..=522),
        1 => rng.usize(70..=80),
        2 => rng.usize(250..=260),
        _ => rng.usize(..8),
    };
    (0..length)
        .map(|_| match rng.u8(..6) {
            0 => rng.u8(..),
            edge => [0, 1, 0x7f, 0x80, 0xff][usize::from(edge) - 1],
        })
        .collect()
}

/// A push of a number, in one of the ways there are.
pub fn number(number: i64) -> Vec<u8> {
    match number {
        0 => vec![0],
        -1 => vec![0x4f],
        1..=16 => vec![0x50 + number as u8],
        _ => {
            let mut bytes = Vec::new();
            let mut rest = number.unsigned_abs();
            while rest > 0 {
                bytes.push(rest as u8);
                rest >>= 8;
            }
            if bytes[bytes.len() - 1] & 0x80 != 0 {
                bytes.push(0);
            }
            if number < 0 {
                let last = bytes.len() - 1;
                bytes[last] |= 0x80;
            }
            push(&bytes)
        }
    }
}

/// A push of bytes, by the shortest opcode that carries a length.
pub fn push(data: &[u8]) -> Vec<u8> {
    let mut script = match data.len() {
        length @ 0..=75 => vec![length as u8],
        length @ 76..=255 => vec![0x4c, length as u8],
        length => {
            let length = u16::try_from(length)
                .expect("test data is small")
                .to_le_bytes();
            vec![0x4d, length[0], length[1]]
        }
    };
    script.extend_from_slice(data);
    script
}
