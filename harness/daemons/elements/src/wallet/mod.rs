//! Wallets of the node: keys, coins, spending. They follow the chain by its events and know no JSON.
//!
//! A wallet is what elementsd calls a descriptor wallet. It lives in memory. It is a faucet and a test's purse, and not
//! made for money.

mod blind;
mod coins;
mod keys;
mod plan;
mod select;
mod sign;
mod spend;
mod store;

use std::collections::BTreeMap;

use elements::hashes::sha256;
use elements::secp256k1_zkp::rand::SeedableRng;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use elements::secp256k1_zkp::{All, Secp256k1};
use elements::{AssetId, BlockHash};

pub(crate) use blind::{Blinder, InputSecrets, blinding_key};
pub(crate) use coins::{Coin, Status, Wallet, WalletTx, address_of, explicit_secrets};
pub(crate) use keys::AddressType;
pub(crate) use sign::{sign_all, witness_program};
pub(crate) use spend::{Funded, Issuance, Order, Recipient, STANDS_FOR_ASSET, STANDS_FOR_TOKEN};

use crate::node::{Event, FeeRate, Node};

/// What the command line decides about wallets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `-fallbackfee`; none when there is none, as by default, and then transactions need a fee rate of their own.
    pub fallback_fee: Option<FeeRate>,
    /// `-mintxfee`.
    pub min_tx_fee: FeeRate,
    /// `-maxtxfee`, satoshi.
    pub max_tx_fee: u64,
    /// `-walletrbf`: whether transactions signal that they can be replaced.
    pub signal_rbf: bool,
    /// `-blindedaddresses`: whether new addresses are confidential.
    pub blinded_addresses: bool,
    /// What all keys and blinding factors follow from.
    pub seed: [u8; 32],
}

impl Settings {
    /// elementsd's settings, and a seed.
    pub fn defaults(seed: [u8; 32]) -> Self {
        Settings {
            fallback_fee: None,
            min_tx_fee: FeeRate::from_sat_per_kvb(100),
            max_tx_fee: 10_000_000,
            signal_rbf: true,
            blinded_addresses: true,
            seed,
        }
    }
}

/// What wallets need to know of the chain that never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChainFacts {
    pub policy_asset: AssetId,
    pub genesis_hash: BlockHash,
}

/// All wallets by name.
#[derive(Clone)]
pub struct Wallets {
    pub(crate) settings: Settings,
    facts: ChainFacts,
    pub(crate) secp: Secp256k1<All>,
    pub(crate) rng: StdRng,
    loaded: BTreeMap<String, Wallet>,
    /// Those that were made and are not loaded now.
    unloaded: BTreeMap<String, Wallet>,
}

impl Wallets {
    /// No wallet yet.
    pub fn new(node: &Node, settings: Settings) -> Self {
        let rng = StdRng::from_seed(sha256::Hash::hash(&settings.seed).to_byte_array());
        Wallets {
            facts: ChainFacts {
                policy_asset: node.policy_asset(),
                genesis_hash: node.genesis_hash(),
            },
            secp: Secp256k1::new(),
            rng,
            loaded: BTreeMap::new(),
            unloaded: BTreeMap::new(),
            settings,
        }
    }

    /// Shows an event of the chain to all wallets.
    pub fn follow(&mut self, event: &Event) {
        for wallet in self.loaded.values_mut() {
            wallet.follow(&self.secp, event);
        }
    }

    /// The names of the loaded wallets.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.loaded.keys().map(String::as_str)
    }

    /// Whether a wallet of that name was ever made.
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.loaded.contains_key(name) || self.unloaded.contains_key(name)
    }

    /// Whether a wallet of that name is loaded.
    pub(crate) fn is_loaded(&self, name: &str) -> bool {
        self.loaded.contains_key(name)
    }

    /// A loaded wallet.
    pub(crate) fn get(&self, name: &str) -> Option<&Wallet> {
        self.loaded.get(name)
    }

    /// A loaded wallet, and what it takes to spend from it.
    pub(crate) fn parts(&mut self, name: &str) -> Option<(&mut Wallet, Tools<'_>)> {
        let wallet = self.loaded.get_mut(name)?;
        let tools = Tools {
            settings: &self.settings,
            secp: &self.secp,
            rng: &mut self.rng,
        };
        Some((wallet, tools))
    }

    /// Makes a wallet and loads it. Its keys follow from the seed and its name.
    pub(crate) fn create(&mut self, name: &str, blank: bool, node: &Node) {
        let mut material = self.settings.seed.to_vec();
        material.extend_from_slice(name.as_bytes());
        let seed = sha256::Hash::hash(&material).to_byte_array();
        let wallet = Wallet::new(seed, self.facts, blank, node.now(), node.tip().height);
        self.loaded.insert(name.to_owned(), wallet);
    }

    /// Loads a wallet that was made before; false when there is none. It sees the chain as it is now.
    pub(crate) fn load(&mut self, name: &str, node: &Node) -> bool {
        let Some(mut wallet) = self.unloaded.remove(name) else {
            return false;
        };
        wallet.rescan(&self.secp, node);
        self.loaded.insert(name.to_owned(), wallet);
        true
    }

    /// Stops using a wallet; false when it is not loaded.
    pub(crate) fn unload(&mut self, name: &str) -> bool {
        let Some(wallet) = self.loaded.remove(name) else {
            return false;
        };
        self.unloaded.insert(name.to_owned(), wallet);
        true
    }
}

/// What it takes to spend from a wallet, beside the wallet.
pub(crate) struct Tools<'a> {
    pub settings: &'a Settings,
    pub secp: &'a Secp256k1<All>,
    pub rng: &'a mut StdRng,
}
