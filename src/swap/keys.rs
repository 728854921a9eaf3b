//! The server's secrets of a swap, from its seed and the swap's index: nothing but the seed has to be kept safe.
//!
//! BIP 32, hardened all the way, so that no secret of one swap says anything about another:
//!
//! ```text
//! m / 21617' / coin' / (index / 65536)' / (index mod 65536)' / 0'    the server's key in the HTLC
//! m / 21617' / coin' / (index / 65536)' / (index mod 65536)' / 1'    the preimage is SHA-256 of this private key
//! m / 21617' / coin' / (index / 65536)' / (index mod 65536)' / 2'    r of an unspendable internal key is SHA-256 of this one
//! ```
//!
//! `coin` is 1776 on Liquid and 1 elsewhere (SLIP 44). The index takes two levels because a hardened one has 31 bits only.
//! 21617 is 0x5471; no wallet standard has that purpose, so that no wallet on the same seed uses these keys.

use std::fmt;

use bitcoin::NetworkKind;
use bitcoin::bip32::{self, ChildNumber, Xpriv};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{PublicKey, SECP256K1, SecretKey};
use lwk_signer::SwSigner;
use swaprig_units::Preimage;

const PURPOSE: u32 = 21_617;
const COIN_LIQUID: u32 = 1_776;
const COIN_TEST: u32 = 1;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The derivation of BIP 32 found no key; that happens to one index in 2^127.
    #[error("no key can be derived: {0}")]
    Derivation(#[from] bip32::Error),
    /// The signer gave no key.
    #[error("the signer cannot derive the key of the swaps: {0}")]
    Signer(#[from] lwk_signer::SignError),
}

/// The part of the seed that swaps are derived from. `Debug` shows none of it.
#[derive(Clone)]
pub struct SwapSeed {
    base: Xpriv,
}

/// The server's secrets of one swap. `Debug` shows only what the HTLC shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SwapKeys {
    /// What the payment buys.
    pub preimage: Preimage,
    /// The server's key in the HTLC: it takes coins back that the server locked, and claims those of a client.
    pub key: SecretKey,
    /// The published part of an unspendable internal key, so that it is found again with the seed alone.
    pub r: [u8; 32],
}

impl SwapSeed {
    /// From the 64 bytes that a BIP-39 mnemonic and its passphrase give; `liquid`: for the real Liquid, not a test chain.
    ///
    /// # Errors
    /// [`KeyError::Derivation`].
    pub fn from_seed(seed: &[u8; 64], liquid: bool) -> Result<SwapSeed, KeyError> {
        let network = match liquid {
            true => NetworkKind::Main,
            false => NetworkKind::Test,
        };
        let master = Xpriv::new_master(network, seed)?;
        let base = master.derive_priv(SECP256K1, &base_path(liquid))?;
        Ok(SwapSeed { base })
    }

    /// From the signer of the server's wallet.
    ///
    /// # Errors
    /// [`KeyError::Signer`].
    pub fn from_signer(signer: &SwSigner) -> Result<SwapSeed, KeyError> {
        let path = base_path(signer.is_mainnet()).as_slice().to_vec();
        let base = signer.derive_xprv(&path.into())?;
        Ok(SwapSeed { base })
    }

    /// The secrets of the swap with that index.
    ///
    /// # Errors
    /// [`KeyError::Derivation`].
    pub fn keys(&self, index: u32) -> Result<SwapKeys, KeyError> {
        let secret = |which: u32| {
            let path = [
                hardened(index >> 16),
                hardened(index & 0xffff),
                hardened(which),
            ];
            let key = self.base.derive_priv(SECP256K1, &path)?;
            Ok::<SecretKey, KeyError>(key.private_key)
        };
        let preimage = sha256::Hash::hash(&secret(1)?.secret_bytes());
        Ok(SwapKeys {
            preimage: Preimage(preimage.to_byte_array()),
            key: secret(0)?,
            r: sha256::Hash::hash(&secret(2)?.secret_bytes()).to_byte_array(),
        })
    }
}

impl SwapKeys {
    /// The server's key in the HTLC, as others see it.
    pub fn public(&self) -> PublicKey {
        self.key.public_key(SECP256K1)
    }
}

fn base_path(liquid: bool) -> [ChildNumber; 2] {
    let coin = if liquid { COIN_LIQUID } else { COIN_TEST };
    [hardened(PURPOSE), hardened(coin)]
}

/// All numbers here are below 2^31.
fn hardened(number: u32) -> ChildNumber {
    ChildNumber::Hardened { index: number }
}

impl fmt::Debug for SwapSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SwapSeed(secret)")
    }
}

impl fmt::Debug for SwapKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwapKeys")
            .field("payment_hash", &self.preimage.payment_hash())
            .field("key", &self.public())
            .finish_non_exhaustive()
    }
}
