//! Keys from a counter: the same case makes the same keys every time. For regtest alone.

use elements::hashes::sha256;
use elements::secp256k1_zkp::rand::{CryptoRng, Error, RngCore};
use elements::secp256k1_zkp::{Keypair, Message, PublicKey, SECP256K1, SecretKey};
use elements::{Address, AddressParams, Script};

/// Bytes that look random and come from a seed.
#[derive(Debug, Clone)]
pub struct Seeded {
    seed: String,
    counter: u64,
}

impl Seeded {
    /// The bytes of this seed, from the beginning.
    pub fn new(seed: impl Into<String>) -> Self {
        Seeded {
            seed: seed.into(),
            counter: 0,
        }
    }
}

impl RngCore for Seeded {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let input = format!("{}/{}", self.seed, self.counter);
            self.counter += 1;
            let block = sha256::Hash::hash(input.as_bytes()).to_byte_array();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

// What it makes protects nothing; the traits of the libraries ask for this name.
impl CryptoRng for Seeded {}

/// A key that can be paid, and the key that unblinds what it was paid.
#[derive(Debug, Clone)]
pub struct Key {
    /// Signs.
    pub secret: SecretKey,
    /// Unblinds.
    pub blinding: SecretKey,
}

impl Key {
    /// The next key of `random`.
    pub fn new(random: &mut Seeded) -> Self {
        Key {
            secret: SecretKey::new(random),
            blinding: SecretKey::new(random),
        }
    }

    /// The public key of the one that signs.
    pub fn public(&self) -> PublicKey {
        PublicKey::from_secret_key(SECP256K1, &self.secret)
    }

    /// The public key of the one that unblinds.
    pub fn blinder(&self) -> PublicKey {
        PublicKey::from_secret_key(SECP256K1, &self.blinding)
    }

    /// As the key of a taproot output or leaf.
    pub fn keypair(&self) -> Keypair {
        Keypair::from_secret_key(SECP256K1, &self.secret)
    }

    /// Its P2WPKH address without a blinding key.
    pub fn address(&self) -> Address {
        let key = elements::bitcoin::PublicKey::new(self.public());
        Address::p2wpkh(&key, None, &AddressParams::ELEMENTS)
    }

    /// Its P2WPKH address with a blinding key.
    pub fn confidential_address(&self) -> Address {
        self.address().to_confidential(self.blinder())
    }

    /// The script of [`Key::address`].
    pub fn script(&self) -> Script {
        self.address().script_pubkey()
    }

    /// The script that BIP143 signs for P2WPKH.
    pub fn script_code(&self) -> Script {
        let key = elements::bitcoin::PublicKey::new(self.public());
        Address::p2pkh(&key, None, &AddressParams::ELEMENTS).script_pubkey()
    }

    /// A DER signature of `digest` with SIGHASH_ALL behind it.
    pub fn sign(&self, digest: [u8; 32]) -> Vec<u8> {
        let signature = SECP256K1.sign_ecdsa(&Message::from_digest(digest), &self.secret);
        let mut bytes = signature.serialize_der().to_vec();
        bytes.push(1);
        bytes
    }
}
