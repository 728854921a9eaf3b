//! Scripts: assembly, types, addresses, descriptors.

use elements::secp256k1_zkp::{PublicKey, ecdsa};
use elements::{Address, AddressParams, Script};

use super::hex;
use super::opcode_names::opcode_name;
use crate::rpc::json::Object;

/// The name elementsd has for a kind of output script, and its address if there is one.
pub(crate) struct Destination {
    /// `type` in the answers.
    pub kind: &'static str,
    /// The unconfidential address.
    pub address: Option<Address>,
}

/// One step through a script.
enum Step<'s> {
    Push(&'s [u8]),
    Op(u8),
    Broken,
}

/// The pushes and opcodes of a script, up to the first push that goes past its end.
struct Steps<'s> {
    rest: &'s [u8],
}

impl<'s> Iterator for Steps<'s> {
    type Item = Step<'s>;

    fn next(&mut self) -> Option<Step<'s>> {
        let (&code, rest) = self.rest.split_first()?;
        let length_bytes = match code {
            0x4c => 1,
            0x4d => 2,
            0x4e => 4,
            0..=0x4b => 0,
            _ => {
                self.rest = rest;
                return Some(Step::Op(code));
            }
        };
        self.rest = &[];
        let Some((length, rest)) = rest.split_at_checked(length_bytes) else {
            return Some(Step::Broken);
        };
        let length = match length_bytes {
            0 => usize::from(code),
            _ => length
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        };
        let Some((data, rest)) = rest.split_at_checked(length) else {
            return Some(Step::Broken);
        };
        self.rest = rest;
        Some(Step::Push(data))
    }
}

fn steps(script: &Script) -> Steps<'_> {
    Steps {
        rest: script.as_bytes(),
    }
}

/// `ScriptToAsmStr`: with `signatures` what looks like one gets its sighash type written out.
pub(crate) fn asm(script: &Script, signatures: bool) -> String {
    let signatures = signatures && !script.is_op_return();
    let words: Vec<String> = steps(script)
        .map(|step| match step {
            Step::Push(data) if data.len() <= 4 => script_number(data).to_string(),
            Step::Push(data) if signatures => signature(data).unwrap_or_else(|| hex(data)),
            Step::Push(data) => hex(data),
            Step::Op(code) => opcode_name(code).to_owned(),
            Step::Broken => "[error]".to_owned(),
        })
        .collect();
    words.join(" ")
}

/// A number on the stack: little-endian, the highest bit is the sign.
fn script_number(data: &[u8]) -> i64 {
    let Some((&last, low)) = data.split_last() else {
        return 0;
    };
    let magnitude = low.iter().rev().fold(i64::from(last & 0x7f), |sum, byte| {
        sum << 8 | i64::from(*byte)
    });
    if last & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

fn signature(data: &[u8]) -> Option<String> {
    let (sighash, der) = data.split_last()?;
    let base = match sighash & 0x7f {
        1 => "ALL",
        2 => "NONE",
        3 => "SINGLE",
        _ => return None,
    };
    ecdsa::Signature::from_der(der).ok()?;
    let suffix = if sighash & 0x80 == 0 {
        ""
    } else {
        "|ANYONECANPAY"
    };
    Some(format!("{}[{base}{suffix}]", hex(der)))
}

/// What kind of output script this is.
pub(crate) fn script_type(script: &Script) -> Destination {
    let bytes = script.as_bytes();
    let address = || Address::from_script(script, None, &AddressParams::ELEMENTS);
    let (kind, address) = if bytes == [0x51] {
        // So long as -anyonecanspendaremine is on, as it is by default on custom chains.
        ("true", None)
    } else if bytes.is_empty() {
        ("fee", None)
    } else if script.is_p2sh() {
        ("scripthash", address())
    } else if script.is_v0_p2wpkh() {
        ("witness_v0_keyhash", address())
    } else if script.is_v0_p2wsh() {
        ("witness_v0_scripthash", address())
    } else if script.is_v1_p2tr() {
        ("witness_v1_taproot", address())
    } else if script.is_witness_program() {
        match bytes[0] {
            0 => ("nonstandard", None),
            _ => ("witness_unknown", address()),
        }
    } else if is_null_data(script) {
        ("nulldata", None)
    } else if public_key(script).is_some() {
        ("pubkey", None)
    } else if script.is_p2pkh() {
        ("pubkeyhash", address())
    } else if multisig(script).is_some() {
        ("multisig", None)
    } else {
        ("nonstandard", None)
    };
    Destination { kind, address }
}

fn is_null_data(script: &Script) -> bool {
    let Some((0x6a, rest)) = script.as_bytes().split_first() else {
        return false;
    };
    Steps { rest }.all(|step| match step {
        Step::Push(_) => true,
        Step::Op(code) => code <= 0x60,
        Step::Broken => false,
    })
}

/// The key of a pay-to-pubkey script; it need not be a point of the curve.
fn public_key(script: &Script) -> Option<&[u8]> {
    let (key, checksig) = match script.as_bytes() {
        [0x21, rest @ ..] if rest.len() == 34 => rest.split_at(33),
        [0x41, rest @ ..] if rest.len() == 66 => rest.split_at(65),
        _ => return None,
    };
    (checksig == [0xac] && has_key_size(key)).then_some(key)
}

fn has_key_size(key: &[u8]) -> bool {
    match key.first() {
        Some(2 | 3) => key.len() == 33,
        Some(4 | 6 | 7) => key.len() == 65,
        _ => false,
    }
}

/// How many signatures of which keys a bare multisig script wants.
fn multisig(script: &Script) -> Option<(u8, Vec<&[u8]>)> {
    let mut steps: Vec<Step<'_>> = steps(script).take(24).collect();
    let small = |step: Step<'_>| match step {
        Step::Op(code @ 0x51..=0x60) => Some(code - 0x50),
        _ => None,
    };
    let Some(Step::Op(0xae)) = steps.pop() else {
        return None;
    };
    let total = steps.pop().and_then(small)?;
    let mut steps = steps.into_iter();
    let required = steps.next().and_then(small)?;
    let keys: Vec<&[u8]> = steps
        .map(|step| match step {
            Step::Push(key) if has_key_size(key) => Some(key),
            _ => None,
        })
        .collect::<Option<_>>()?;
    (keys.len() == usize::from(total) && required <= total).then_some((required, keys))
}

/// The descriptor that elementsd infers for a script of which it knows no keys, with its checksum.
pub(crate) fn inferred_descriptor(script: &Script) -> String {
    describe(script, &script_type(script))
}

fn describe(script: &Script, destination: &Destination) -> String {
    descriptor_with_checksum(&descriptor(script, destination))
}

fn descriptor(script: &Script, destination: &Destination) -> String {
    let keys_are_valid = |keys: &[&[u8]]| keys.iter().all(|key| PublicKey::from_slice(key).is_ok());
    if let Some(key) = public_key(script).filter(|key| keys_are_valid(&[key])) {
        return format!("pk({})", hex(key));
    }
    if let Some((required, keys)) = multisig(script).filter(|(_, keys)| keys_are_valid(keys)) {
        let keys: Vec<String> = keys.iter().map(|key| hex(key)).collect();
        return format!("multi({required},{})", keys.join(","));
    }
    match &destination.address {
        Some(address) => format!("addr({address})"),
        None => format!("raw({})", hex(script.as_bytes())),
    }
}

/// A descriptor with its checksum (BIP 380).
pub(crate) fn descriptor_with_checksum(descriptor: &str) -> String {
    const INPUT: &str = "0123456789()[],'/*abcdefgh@:$%{}\
        IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~\
        ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ";
    const OUTPUT: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u64; 5] = [
        0xf5_dee5_1989,
        0xa9_fdca_3312,
        0x1b_ab10_e32d,
        0x37_06b1_677a,
        0x64_4d62_6ffd,
    ];
    let step = |sum: u64, symbol: u64| {
        let mut next = (sum & 0x7_ffff_ffff) << 5 ^ symbol;
        for (bit, generator) in GENERATOR.iter().enumerate() {
            if sum >> 35 >> bit & 1 == 1 {
                next ^= generator;
            }
        }
        next
    };
    let mut sum = 1;
    let (mut group, mut grouped) = (0, 0);
    for c in descriptor.chars() {
        let Some(at) = INPUT.find(c) else {
            return descriptor.to_owned();
        };
        let at = at as u64;
        sum = step(sum, at & 31);
        group = group * 3 + (at >> 5);
        grouped += 1;
        if grouped == 3 {
            sum = step(sum, group);
            (group, grouped) = (0, 0);
        }
    }
    if grouped > 0 {
        sum = step(sum, group);
    }
    for _ in 0..8 {
        sum = step(sum, 0);
    }
    sum ^= 1;
    let checksum: String = (0..8)
        .map(|at| char::from(OUTPUT[(sum >> (5 * (7 - at)) & 31) as usize]))
        .collect();
    format!("{descriptor}#{checksum}")
}

/// The `scriptPubKey` object of outputs.
pub(crate) fn script_pub_key(script: &Script) -> Object {
    let destination = script_type(script);
    let mut out = Object::new();
    out.put("asm", asm(script, false));
    out.put("desc", describe(script, &destination));
    out.put("hex", hex(script.as_bytes()));
    if let Some(address) = &destination.address {
        out.put("address", address.to_string());
    }
    out.put("type", destination.kind);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        Script::from(super::super::from_hex(text).unwrap())
    }

    #[test]
    fn assembly() {
        let cases = [
            ("", ""),
            ("51", "1"),
            ("00", "0"),
            ("4f60", "-1 16"),
            ("6a", "OP_RETURN"),
            ("520101", "2 1"),
            ("0181", "-1"),
            ("0400000080", "0"),
            ("05ffffffff7f", "ffffffff7f"),
            ("76a914", "OP_DUP OP_HASH160 [error]"),
            ("4c", "[error]"),
            ("4d0100", "[error]"),
            ("4effffffff00", "[error]"),
            (
                "b1b2ba",
                "OP_CHECKLOCKTIMEVERIFY OP_CHECKSEQUENCEVERIFY OP_CHECKSIGADD",
            ),
            (
                "c1e4e5ff",
                "OP_CHECKSIGFROMSTACK OP_TWEAKVERIFY OP_UNKNOWN OP_INVALIDOPCODE",
            ),
        ];
        for (hex, text) in cases {
            assert_eq!(asm(&script(hex), false), text, "{hex}");
        }
    }

    #[test]
    fn types() {
        let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let cases = [
            ("", "fee"),
            ("51", "true"),
            ("6a", "nulldata"),
            ("6a0401020304", "nulldata"),
            ("6a04010203", "nonstandard"),
            (
                "a914000000000000000000000000000000000000000087",
                "scripthash",
            ),
            (
                "76a914000000000000000000000000000000000000000088ac",
                "pubkeyhash",
            ),
            (
                "00140000000000000000000000000000000000000000",
                "witness_v0_keyhash",
            ),
            (
                "00204ae81572f06e1b88fd5ced7a1a000945432e83e1551e6f721ee9c00b8cc33260",
                "witness_v0_scripthash",
            ),
            ("0003000000", "nonstandard"),
            ("5203000000", "witness_unknown"),
            (&format!("21{key}ac"), "pubkey"),
            (&format!("5121{key}51ae"), "multisig"),
            (&format!("5221{key}51ae"), "nonstandard"),
            ("ac", "nonstandard"),
        ];
        for (hex, kind) in cases {
            assert_eq!(script_type(&script(hex)).kind, kind, "{hex}");
        }
    }

    #[test]
    fn checksums_of_descriptors() {
        // BIP 380 and elementsd.
        assert_eq!(
            descriptor_with_checksum("raw(deadbeef)"),
            "raw(deadbeef)#89f8spxm"
        );
        assert_eq!(descriptor_with_checksum("raw(51)"), "raw(51)#8lvh9jxk");
        assert_eq!(descriptor_with_checksum("raw()"), "raw()#58lrscpx");
    }
}
