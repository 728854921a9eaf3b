//! The wallet's keys: BIP-86 accounts of the seed, and how they sign.

use std::fmt;

use bitcoin::bip32::{ChildNumber, DerivationPath, Xpriv};
use elements::schnorr::TapTweak as _;
use elements::secp256k1_zkp::{All, Keypair, Message, Secp256k1};
use elements::sighash::{Prevouts, SighashCache};
use elements::{BlockHash, SchnorrSig, SchnorrSighashType, Transaction, TxOut};
use lwk_wollet::{Chain, Network};

use super::coins::Coin;
use super::seed::Seed;

/// Which of the wallet's keys: `m/86'/COIN'/0'/chain/index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyPath {
    /// 0 for addresses that are given out, 1 for what comes back.
    pub(super) chain: Chain,
    pub(super) index: u32,
}

/// The keys. Never shown.
pub(super) struct Keys {
    secp: Secp256k1<All>,
    external: Xpriv,
    internal: Xpriv,
    genesis: BlockHash,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    pub(super) fn new(seed: &Seed, network: Network) -> Self {
        let secp = Secp256k1::new();
        let coin = if network.is_mainnet() { 1776 } else { 1 };
        let kind = if network.is_mainnet() {
            bitcoin::NetworkKind::Main
        } else {
            bitcoin::NetworkKind::Test
        };
        let master = Xpriv::new_master(kind, &seed.bytes()).expect("64 bytes are a seed");
        let of = |chain: u32| {
            let hardened = |number| ChildNumber::Hardened { index: number };
            let path: DerivationPath = [
                hardened(86),
                hardened(coin),
                hardened(0),
                ChildNumber::Normal { index: chain },
            ]
            .as_slice()
            .into();
            master.derive_priv(&secp, &path).expect("a child key")
        };
        Keys {
            external: of(0),
            internal: of(1),
            genesis: network.genesis_hash(),
            secp,
        }
    }

    fn keypair(&self, path: KeyPath) -> Keypair {
        let chain = match path.chain {
            Chain::External => &self.external,
            Chain::Internal => &self.internal,
        };
        let child = ChildNumber::Normal { index: path.index };
        let key = chain
            .derive_priv(&self.secp, &[child])
            .expect("a child key");
        let pair = Keypair::from_secret_key(&self.secp, &key.private_key);
        pair.tap_tweak(&self.secp, None).to_inner()
    }

    /// Signs all inputs of `transaction`, which spend `coins` in this order. The signatures are the same each time.
    pub(super) fn sign(&self, transaction: &mut Transaction, coins: &[Coin]) {
        assert_eq!(
            transaction.input.len(),
            coins.len(),
            "an input for each coin"
        );
        let spent: Vec<&TxOut> = coins.iter().map(|coin| &coin.output).collect();
        let mut cache = SighashCache::new(&*transaction);
        let sign = |(at, coin): (usize, &Coin)| {
            let hash = cache
                .taproot_key_spend_signature_hash(
                    at,
                    &Prevouts::All(&spent),
                    SchnorrSighashType::Default,
                    self.genesis,
                )
                .expect("all spent outputs are there");
            let message = Message::from_digest(elements::hashes::Hash::to_byte_array(hash));
            let pair = self.keypair(coin.path);
            let sig = SchnorrSig {
                sig: self.secp.sign_schnorr_no_aux_rand(&message, &pair),
                hash_ty: SchnorrSighashType::Default,
            };
            sig.to_vec()
        };
        let signatures: Vec<_> = coins.iter().enumerate().map(sign).collect();
        for (input, signature) in transaction.input.iter_mut().zip(signatures) {
            input.witness.script_witness = vec![signature].into();
        }
    }
}
