//! The wallet's keys: the BIP-86 account of the seed, and how they sign.

use std::fmt;

use bdk_wallet::KeychainKind;
use bitcoin::bip32::{ChildNumber, DerivationPath, Xpriv, Xpub};
use bitcoin::key::TapTweak as _;
use bitcoin::secp256k1::{All, Keypair, Message, Secp256k1};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::{Network, NetworkKind, TapSighashType, Transaction, TxOut, Witness, taproot};

use super::super::seed::Seed;

/// The keys. Never shown.
pub(super) struct Keys {
    secp: Secp256k1<All>,
    account: Xpriv,
    /// Fingerprint of the seed's first key and the path to the account, as descriptors write them.
    origin: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

fn chain_of(keychain: KeychainKind) -> u32 {
    match keychain {
        KeychainKind::External => 0,
        KeychainKind::Internal => 1,
    }
}

/// Why a derivation does not fail.
const HAS_CHILD: &str = "a key has a child at every index, but for one in 2^127";

impl Keys {
    pub(super) fn new(seed: &Seed, network: Network) -> Self {
        let secp = Secp256k1::new();
        let kind = NetworkKind::from(network);
        let coin = u32::from(!kind.is_mainnet());
        let master = Xpriv::new_master(kind, &seed.bytes()).expect("64 bytes are a seed");
        let hardened = |index| ChildNumber::Hardened { index };
        let path: DerivationPath = [hardened(86), hardened(coin), hardened(0)]
            .as_slice()
            .into();
        let account = master.derive_priv(&secp, &path).expect(HAS_CHILD);
        Keys {
            origin: format!("[{}/86'/{coin}'/0']", master.fingerprint(&secp)),
            account,
            secp,
        }
    }

    /// The descriptors (BIP-386) of the addresses that are given out and of those for change, without secrets.
    pub(super) fn descriptors(&self) -> [String; 2] {
        let account = Xpub::from_priv(&self.secp, &self.account);
        [KeychainKind::External, KeychainKind::Internal]
            .map(|one| format!("tr({}{account}/{}/*)", self.origin, chain_of(one)))
    }

    fn keypair(&self, (keychain, index): (KeychainKind, u32)) -> Keypair {
        let path = [chain_of(keychain), index].map(|index| ChildNumber::Normal { index });
        let key = self
            .account
            .derive_priv(&self.secp, &path)
            .expect(HAS_CHILD);
        let pair = Keypair::from_secret_key(&self.secp, &key.private_key);
        pair.tap_tweak(&self.secp, None).to_keypair()
    }

    /// Signs all inputs of `transaction`, which spend these outputs in this order. The signatures are the same each time.
    pub(super) fn sign(
        &self,
        transaction: &mut Transaction,
        coins: &[((KeychainKind, u32), TxOut)],
    ) {
        assert_eq!(
            transaction.input.len(),
            coins.len(),
            "an input for each coin"
        );
        let spent: Vec<&TxOut> = coins.iter().map(|(_, output)| output).collect();
        let mut cache = SighashCache::new(&*transaction);
        let sign = |(at, (path, _)): (usize, &((KeychainKind, u32), TxOut))| {
            let kind = TapSighashType::Default;
            let hash = cache
                .taproot_key_spend_signature_hash(at, &Prevouts::All(&spent), kind)
                .expect("there is an output for each input, as was just asserted");
            let message = Message::from(hash);
            taproot::Signature {
                signature: self
                    .secp
                    .sign_schnorr_no_aux_rand(&message, &self.keypair(*path)),
                sighash_type: kind,
            }
        };
        let signatures: Vec<_> = coins.iter().enumerate().map(sign).collect();
        for (input, signature) in transaction.input.iter_mut().zip(signatures) {
            input.witness = Witness::p2tr_key_spend(&signature);
        }
    }
}
