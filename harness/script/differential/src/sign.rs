//! Keys and signatures, good ones and every kind of bad one.

use bitcoin::secp256k1::{Keypair, Message, PublicKey, Secp256k1, SecretKey, SignOnly, ecdsa};
use fastrand::Rng;
use std::sync::LazyLock;

static SECP: LazyLock<Secp256k1<SignOnly>> = LazyLock::new(Secp256k1::signing_only);
static ALL: LazyLock<Secp256k1<bitcoin::secp256k1::All>> = LazyLock::new(Secp256k1::new);

/// The half-order's neighbour: the order itself, to turn a low S into a high one.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// A key pair; a few of them serve all cases, since making one costs as much as a signature.
#[derive(Clone)]
pub struct Key {
    secret: SecretKey,
    public: PublicKey,
    pair: Keypair,
}

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| (1..=24).map(Key::new).collect());

impl Key {
    fn new(number: u8) -> Key {
        let secret = SecretKey::from_slice(&[number; 32]).expect("a small number is a key");
        Key {
            secret,
            public: secret.public_key(&SECP),
            pair: secret.keypair(&SECP),
        }
    }

    pub fn random(rng: &mut Rng) -> Key {
        KEYS[rng.usize(..KEYS.len())].clone()
    }

    /// The key as a script may have it: mostly compressed; sometimes uncompressed, hybrid, or damaged.
    pub fn ecdsa_bytes(&self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = match rng.u8(..20) {
            0..14 => self.public.serialize().to_vec(),
            14..17 => self.public.serialize_uncompressed().to_vec(),
            _ => {
                // Hybrid: the first byte tells the parity of Y as well.
                let mut bytes = self.public.serialize_uncompressed().to_vec();
                bytes[0] = 6 | (bytes[64] & 1);
                bytes
            }
        };
        if rng.u8(..40) == 0 {
            damage(&mut bytes, rng);
        }
        bytes
    }

    pub fn compressed(&self) -> [u8; 33] {
        self.public.serialize()
    }

    pub fn x_only(&self) -> [u8; 32] {
        self.pair.x_only_public_key().0.serialize()
    }

    /// An output key that commits to `tweak`, its parity, and the pair that signs for it.
    pub fn tweaked(&self, tweak: [u8; 32]) -> Option<(Key, u8)> {
        let tweak = bitcoin::secp256k1::Scalar::from_be_bytes(tweak).ok()?;
        let pair = self.pair.add_xonly_tweak(&ALL, &tweak).ok()?;
        let parity = pair.x_only_public_key().1.to_u8();
        let key = Key {
            secret: pair.secret_key(),
            public: pair.public_key(),
            pair,
        };
        Some((key, parity))
    }

    pub fn ecdsa(&self, hash: [u8; 32], hash_type: u8) -> Vec<u8> {
        let signature = SECP.sign_ecdsa(&Message::from_digest(hash), &self.secret);
        let mut bytes = signature.serialize_der().to_vec();
        bytes.push(hash_type);
        bytes
    }

    pub fn schnorr(&self, hash: [u8; 32], hash_type: u8) -> Vec<u8> {
        let signature = SECP.sign_schnorr_no_aux_rand(&Message::from_digest(hash), &self.pair);
        let mut bytes = signature.serialize().to_vec();
        if hash_type != 0 {
            bytes.push(hash_type);
        }
        bytes
    }
}

/// Makes a good ECDSA signature into one that is odd or wrong.
pub fn spoil_ecdsa(signature: &mut Vec<u8>, rng: &mut Rng) {
    match rng.u8(..8) {
        0 => signature.clear(),
        1 => high_s(signature),
        2 => pad_integer(signature),
        3 => {
            // Another hash type byte than the one signed.
            if let Some(last) = signature.last_mut() {
                *last = rng.u8(..);
            }
        }
        4 => {
            let rest = signature.len();
            signature.insert(rng.usize(..=rest), rng.u8(..));
        }
        5 => {
            signature.pop();
        }
        _ => damage(signature, rng),
    }
}

/// Likewise for Schnorr.
pub fn spoil_schnorr(signature: &mut Vec<u8>, rng: &mut Rng) {
    match rng.u8(..6) {
        0 => signature.clear(),
        1 => signature.push(rng.u8(..)),
        2 => signature.push(0),
        3 => {
            signature.pop();
        }
        _ => damage(signature, rng),
    }
}

fn high_s(signature: &mut Vec<u8>) {
    let Some((hash_type, der)) = signature.split_last() else {
        return;
    };
    let Ok(low) = ecdsa::Signature::from_der(der) else {
        return;
    };
    let mut compact = low.serialize_compact();
    let mut borrow = 0i16;
    for i in (0..32).rev() {
        let difference = i16::from(ORDER[i]) - i16::from(compact[32 + i]) - borrow;
        borrow = i16::from(difference < 0);
        compact[32 + i] = difference.rem_euclid(256) as u8;
    }
    if let Ok(high) = ecdsa::Signature::from_compact(&compact) {
        let mut bytes = high.serialize_der().to_vec();
        bytes.push(*hash_type);
        *signature = bytes;
    }
}

/// Puts a needless zero before R: not DER any more, but read by the old parser.
fn pad_integer(signature: &mut Vec<u8>) {
    if signature.len() > 8 {
        signature[1] = signature[1].wrapping_add(1);
        signature[3] = signature[3].wrapping_add(1);
        signature.insert(4, 0);
    }
}

/// Changes one byte.
pub fn damage(bytes: &mut [u8], rng: &mut Rng) {
    if !bytes.is_empty() {
        let at = rng.usize(..bytes.len());
        bytes[at] ^= 1 << rng.u8(..8);
    }
}
