//! The hostile requests themselves: those that are always sent, and random ones.

use elements::secp256k1_zkp::rand::rngs::StdRng;
use elements::secp256k1_zkp::rand::{Rng as _, RngCore as _};

use super::{ADMIN, Attack, GRPC, METHODS, MOST_BYTES, Method, SWAP, frame};

/// Attacks that are always the same: one of each known kind.
pub(crate) fn known() -> Vec<Attack> {
    let mut all = Vec::new();
    for (number, method) in METHODS.iter().enumerate() {
        let fair = (method.fair)();
        all.push(Attack::Request(number, fair.clone()));
        all.push(Attack::Request(number, vec![0xff; 12]));
        // A text field that is no UTF-8, a length beyond the end, a group without an end, a field of number 0.
        for bytes in [&b"\x0a\x02\xff\xfe"[..], b"\x0a\x7f", b"\x0b", b"\x00\x00"] {
            all.push(Attack::Request(number, bytes.to_vec()));
        }
        // An unknown field as large as is taken, and one byte more.
        for size in [MOST_BYTES, MOST_BYTES + 1, 5 << 20] {
            all.push(Attack::Request(number, unknown_field(size)));
        }
        all.push(Attack::Request(number, text_field(MOST_BYTES - 4)));
        all.extend(
            bodies(&fair)
                .into_iter()
                .map(|body| Attack::Body(number, body)),
        );
        all.extend(heads(number, method));
    }
    for service in [SWAP, ADMIN] {
        all.extend(raw().into_iter().map(|bytes| Attack::Raw(service, bytes)));
    }
    all
}

/// A message of this size with nothing but a field that nobody knows.
fn unknown_field(size: usize) -> Vec<u8> {
    // Field 2000, bytes: a tag of two bytes, a length of one to four.
    let mut message = prost_varint((2000 << 3) | 2);
    for length_bytes in 1..=4 {
        let rest = size.saturating_sub(message.len() + length_bytes);
        let length = prost_varint(rest);
        if length.len() == length_bytes {
            message.extend(length);
            message.resize(size, b'x');
            return message;
        }
    }
    unreachable!("four bytes are enough for a length below 256 MB")
}

/// A message whose first field is a text of this size.
fn text_field(size: usize) -> Vec<u8> {
    let mut message = vec![0x0a];
    message.extend(prost_varint(size));
    message.resize(message.len() + size, b'a');
    message
}

fn prost_varint(number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(number as u64, &mut bytes);
    bytes
}

fn bodies(fair: &[u8]) -> Vec<Vec<u8>> {
    let whole = frame(fair);
    vec![
        Vec::new(),
        vec![0],
        vec![0, 0, 0, 0],
        // More declared than is there, and less.
        [&[0, 0, 0, 1, 0][..], fair].concat(),
        [&[0, 0, 0, 0, 1][..], b"xyz"].concat(),
        [&[0][..], &u32::MAX.to_be_bytes(), fair].concat(),
        // Said to be compressed, by nothing that was named; an unknown flag.
        [&[1][..], &whole[1..]].concat(),
        [&[7][..], &whole[1..]].concat(),
        // Two requests, and one with something after it.
        [&whole[..], &whole].concat(),
        [&whole[..], b"\x00"].concat(),
    ]
}

fn heads(number: usize, method: &Method) -> Vec<Attack> {
    let path = method.path();
    let head = |verb: &str, path: &str, headers: &[(&str, &[u8])]| {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        Attack::Head(number, verb.to_owned(), path.to_owned(), headers.collect())
    };
    let long = vec![b'a'; 60_000];
    let mut all = vec![
        head("POST", &path, &[]),
        head("POST", &path, &[("content-type", b"application/json")]),
        head("POST", &path, &[("content-type", b"application/grpc-web")]),
        head(
            "POST",
            &path,
            &[
                ("content-type", b"application/grpc+json"),
                ("te", b"trailers"),
            ],
        ),
        head("GET", &path, GRPC),
        head("DELETE", &path, GRPC),
        head("CONNECT", &path, GRPC),
        head("POST", &format!("{path}x"), GRPC),
        head("POST", &format!("{path}/"), GRPC),
        head("POST", "/", GRPC),
        head(
            "POST",
            "/ln_liquid_swap.v1.SwapService/../AdminService/PauseSwaps",
            GRPC,
        ),
        head("POST", "/ln_liquid_swap.v2.SwapService/GetSwap", GRPC),
        head("POST", "/grpc.health.v1.Health/Break", GRPC),
    ];
    // What one listener serves the other does not.
    let other = match method.service {
        ADMIN => "/ln_liquid_swap.v1.SwapService/GetSwap",
        _ => "/ln_liquid_swap.v1.AdminService/PauseSwaps",
    };
    all.push(head("POST", other, GRPC));
    for (name, value) in [
        ("grpc-timeout", &b"nonsense"[..]),
        ("grpc-timeout", b"0n"),
        ("grpc-timeout", b"99999999999999H"),
        ("grpc-encoding", b"gzip"),
        ("grpc-encoding", b"\xff\xfe"),
        ("grpc-accept-encoding", b"nothing,of,this"),
        ("content-length", b"1"),
        ("x-long-bin", b"%%%"),
        ("x-long", &long),
    ] {
        let headers = [GRPC, &[(name, value)]].concat();
        all.push(head("POST", &path, &headers));
    }
    all
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn raw() -> Vec<Vec<u8>> {
    let with_preface = |frames: &[&[u8]]| {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(b"\0\0\0\x04\0\0\0\0\0");
        bytes.extend(frames.concat());
        bytes
    };
    let ping: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";
    let settings: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"POST /ln_liquid_swap.v1.SwapService/GetSwap HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0".to_vec(),
        // The beginning of a handshake of TLS.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        PREFACE[..10].to_vec(),
        PREFACE.to_vec(),
        with_preface(&[]),
        // A frame of 16 MB, of a kind that does not exist, on a stream that cannot be.
        with_preface(&[b"\xff\xff\xff\xee\xff\xff\xff\xff\xff"]),
        // Headers that are no HPACK; data without headers; a continuation of nothing; a window of nothing.
        with_preface(&[b"\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff"]),
        with_preface(&[b"\0\0\x03\0\x01\0\0\0\x03abc"]),
        with_preface(&[b"\0\0\0\x09\x04\0\0\0\x05"]),
        with_preface(&[b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0"]),
        // Settings that are not allowed, a stream that resets itself, and floods.
        with_preface(&[b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\0\0"]),
        with_preface(&[b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\0"]),
        with_preface(&vec![ping; 5_000]),
        with_preface(&vec![settings; 5_000]),
    ]
}

/// A random attack.
pub(crate) fn random(rng: &mut StdRng) -> Attack {
    let number = rng.gen_range(0..METHODS.len());
    let fair = (METHODS[number].fair)();
    match rng.gen_range(0..10) {
        0..=2 => Attack::Request(number, random_bytes(rng, 200)),
        3..=6 => Attack::Request(number, mutated(rng, &fair)),
        7 => {
            let body = match rng.gen_bool(0.5) {
                true => random_bytes(rng, 300),
                false => mutated(rng, &frame(&fair)),
            };
            Attack::Body(number, body)
        }
        8 => {
            let heads = heads(number, &METHODS[number]);
            let chosen = rng.gen_range(0..heads.len());
            heads.into_iter().nth(chosen).expect("it is one of them")
        }
        _ => {
            let known = raw();
            let mut bytes = known[rng.gen_range(0..known.len())].clone();
            bytes.truncate(4_000);
            Attack::Raw([SWAP, ADMIN][rng.gen_range(0..2)], mutated(rng, &bytes))
        }
    }
}

fn random_bytes(rng: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.gen_range(0..most)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Bytes with a few changed, inserted, taken out or repeated.
fn mutated(rng: &mut StdRng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.gen_range(0..6) {
        let at = rng.gen_range(0..=bytes.len());
        match rng.gen_range(0..5) {
            0 if at < bytes.len() => bytes[at] = rng.r#gen(),
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.gen_range(0..8),
            2 => bytes.truncate(at),
            3 => {
                let part = bytes[at..].to_vec();
                bytes.extend(part);
            }
            _ => bytes.insert(at, rng.r#gen()),
        }
    }
    bytes
}
