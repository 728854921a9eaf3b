//! Numbers on the stack: little-endian, the top bit of the last byte the sign.

/// The most bytes an operand of arithmetic may have.
pub(crate) const ARITHMETIC_BYTES: usize = 4;
/// The most bytes an operand of CHECKLOCKTIMEVERIFY and CHECKSEQUENCEVERIFY may have.
pub(crate) const LOCKTIME_BYTES: usize = 5;

/// Decodes at most `max_bytes`; `None` if there are more, or if `minimal` is asked for and a shorter form exists.
pub(crate) fn decode(bytes: &[u8], minimal: bool, max_bytes: usize) -> Option<i64> {
    if bytes.len() > max_bytes {
        return None;
    }
    let Some((last, lower)) = bytes.split_last() else {
        return Some(0);
    };
    // The last byte may be only a sign if the one before needs its own top bit.
    let needless = last & 0x7f == 0 && lower.last().is_none_or(|before| before & 0x80 == 0);
    if minimal && needless {
        return None;
    }
    let magnitude = lower
        .iter()
        .rev()
        .fold(i64::from(last & 0x7f), |n, byte| n << 8 | i64::from(*byte));
    Some(match last & 0x80 {
        0 => magnitude,
        _ => -magnitude,
    })
}

/// The shortest encoding.
pub(crate) fn encode(number: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        bytes.push(rest as u8);
        rest >>= 8;
    }
    let sign = if number < 0 { 0x80 } else { 0 };
    match bytes.last_mut() {
        Some(last) if *last & 0x80 == 0 => *last |= sign,
        Some(_) => bytes.push(sign),
        None => {}
    }
    bytes
}

/// Whether an element counts as true: any bit set but a lone sign.
pub(crate) fn is_true(element: &[u8]) -> bool {
    match element.split_last() {
        Some((last, lower)) => lower.iter().any(|byte| *byte != 0) || last & 0x7f != 0,
        None => false,
    }
}
