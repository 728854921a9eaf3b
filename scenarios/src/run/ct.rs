//! CT descriptors (ELIP 150): which outputs on Liquid are a wallet's, and what its blinded ones hold.

use std::collections::HashMap;
use std::fmt;

use elements::secp256k1_zkp::{All, Secp256k1, SecretKey};
use elements::{Script, TxOut};
use elements_miniscript::confidential::bare::tweak_private_key;
use elements_miniscript::confidential::{Descriptor as CtDescriptor, Key};
use elements_miniscript::descriptor::DescriptorSecretKey;
use elements_miniscript::{Descriptor, DescriptorPublicKey};
use swaprig_harness::elementsd::AssetAmount;

/// How many addresses of each chain of a descriptor may follow each other without a coin.
const GAP: u32 = 1_000;

/// A wallet as its CT descriptor describes it: every chain of it (`<0;1>`), and the key that reads what is blinded.
pub(crate) struct Wallet {
    chains: Vec<Addresses>,
    key: Key,
    secp: Secp256k1<All>,
}

/// The addresses of one chain, as far as they had to be derived.
struct Addresses {
    descriptor: Descriptor<DescriptorPublicKey>,
    known: HashMap<Script, u32>,
    /// How many were derived.
    derived: u32,
    /// One above the last that was met.
    used: u32,
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chains = self.chains.iter().map(|chain| chain.derived);
        f.debug_list().entries(chains).finish()
    }
}

impl Wallet {
    /// Reads a descriptor; an error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parsed = text.trim().parse::<CtDescriptor<DescriptorPublicKey>>();
        let CtDescriptor { key, descriptor } = parsed.map_err(|error| error.to_string())?;
        if private_key(&key).is_none() {
            return Err(
                "its blinding key is a public one, so that nobody can read what is blinded"
                    .to_owned(),
            );
        }
        let chains = descriptor.into_single_descriptors();
        let chains = chains.map_err(|error| error.to_string())?;
        let chains = chains.into_iter().map(|descriptor| Addresses {
            descriptor,
            known: HashMap::new(),
            derived: 0,
            used: 0,
        });
        Ok(Wallet {
            chains: chains.collect(),
            key,
            secp: Secp256k1::new(),
        })
    }

    /// Whether a script is one of its addresses.
    pub(crate) fn owns(&mut self, script: &Script) -> bool {
        self.chains.iter_mut().any(|chain| chain.owns(script))
    }

    /// What one of its blinded outputs holds; `None` when it was blinded with another key.
    pub(crate) fn unblind(&self, output: &TxOut) -> Option<AssetAmount> {
        let key = match private_key(&self.key)? {
            Blinding::Master => match &self.key {
                Key::Slip77(master) => master.blinding_private_key(&output.script_pubkey),
                _ => return None,
            },
            Blinding::View(key) => tweak_private_key(&self.secp, &output.script_pubkey, &key),
        };
        let secrets = output.unblind(&self.secp, key).ok()?;
        Some(AssetAmount {
            asset: secrets.asset,
            parts: secrets.value,
        })
    }
}

/// The key that reads what is blinded.
enum Blinding {
    /// Derived from a master key for each script (SLIP 77).
    Master,
    /// One view key, tweaked by the script (ELIP 150, ELIP 151).
    View(SecretKey),
}

fn private_key(key: &Key) -> Option<Blinding> {
    match key {
        Key::Slip77(_) => Some(Blinding::Master),
        Key::View(DescriptorSecretKey::Single(key)) => Some(Blinding::View(key.key.inner)),
        Key::View(DescriptorSecretKey::XPrv(key)) => Some(Blinding::View(key.xkey.private_key)),
        Key::View(DescriptorSecretKey::MultiXPrv(_)) | Key::Bare(_) => None,
    }
}

impl Addresses {
    /// Looks among those that are known, then among those that are not, up to the gap.
    fn owns(&mut self, script: &Script) -> bool {
        while !self.known.contains_key(script) {
            let end = match self.descriptor.has_wildcard() {
                true => self.used + GAP,
                false => 1,
            };
            if self.derived >= end {
                return false;
            }
            // Every index of a descriptor without hardened steps has its script, and one with them does not parse.
            if let Ok(one) = self.descriptor.at_derivation_index(self.derived) {
                self.known.insert(one.script_pubkey(), self.derived);
            }
            self.derived += 1;
        }
        let index = self.known.get(script).copied().unwrap_or(0);
        self.used = self.used.max(index + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The account key of BIP 84's test vectors, in the form of test networks, and the blinding key of SLIP 77's.
    const XPUB: &str = "tpubDC8msFGeGuwnKG9Upg7DM2b4DaRqg3CUZa5g8v2SRQ6K4NSkxUgd7HsL2XVWbVm39yBA4LAxysQAm397zwQSQoQgewGiYZqrA9DsP4zbQ1M";
    const SLIP77: &str = "b2396b3ee20509cdb64fe24180a14a72dbd671728eaa49bac69d2bdecb5f5a04";

    fn text(end: &str) -> String {
        format!("ct(slip77({SLIP77}),elwpkh({XPUB}{end}))")
    }

    fn script(descriptor: &str, chain: usize, index: u32) -> Script {
        let parsed: CtDescriptor<DescriptorPublicKey> = descriptor.parse().unwrap();
        let chains = parsed.descriptor.into_single_descriptors().unwrap();
        let one = chains[chain].at_derivation_index(index).unwrap();
        one.script_pubkey()
    }

    #[test]
    fn what_is_no_descriptor_or_cannot_be_read_is_told() {
        let public = "ct(0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798,elwpkh(0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798))";
        for (text, why) in [
            ("", ""),
            (
                "elwpkh(0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798)",
                "CT",
            ),
            (&format!("{}#qqqqqqqq", text("/<0;1>/*")), "checksum"),
            (public, "nobody can read what is blinded"),
        ] {
            let error = Wallet::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn both_chains_are_known_up_to_the_gap_after_the_last_used_address() {
        let both = text("/<0;1>/*");
        let mut wallet = Wallet::parse(&both).unwrap();
        assert!(!wallet.owns(&script(&both, 1, GAP)));
        assert!(wallet.owns(&script(&both, 0, 3)));
        assert!(wallet.owns(&script(&both, 1, 700)));
        // The address in use moved the gap.
        assert!(wallet.owns(&script(&both, 1, 700 + GAP)));
        assert!(!wallet.owns(&script(&both, 0, 4 + GAP)));
        assert!(!wallet.owns(&Script::new()));
    }

    #[test]
    fn a_descriptor_of_one_address_has_one() {
        let one = text("/0/7");
        let mut wallet = Wallet::parse(&one).unwrap();
        assert!(wallet.owns(&script(&text("/<0;1>/*"), 0, 7)));
        assert!(!wallet.owns(&script(&text("/<0;1>/*"), 0, 8)));
    }
}
