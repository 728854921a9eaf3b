//! Keys: BIP 32 for spending, SLIP-77 for blinding.

use std::collections::HashMap;

use elements::bitcoin::NetworkKind;
use elements::bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use elements::hashes::{Hash as _, HashEngine as _, HmacEngine, sha256, sha512};
use elements::secp256k1_zkp::{All, PublicKey, Secp256k1, SecretKey};
use elements::{Address, AddressParams, Script};

/// Kinds of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum AddressType {
    /// Pay to a key's hash.
    Legacy,
    /// Segregated witness inside pay-to-script-hash.
    P2shSegwit,
    /// Segregated witness, version 0.
    Bech32,
}

impl AddressType {
    /// The descriptor of a wallet's addresses of this kind: purpose (BIP 43) and the function around the key.
    fn purpose(self) -> u32 {
        match self {
            AddressType::Legacy => 44,
            AddressType::P2shSegwit => 49,
            AddressType::Bech32 => 84,
        }
    }

    pub(crate) fn descriptor(self, key: &str) -> String {
        match self {
            AddressType::Legacy => format!("pkh({key})"),
            AddressType::P2shSegwit => format!("sh(wpkh({key}))"),
            AddressType::Bech32 => format!("wpkh({key})"),
        }
    }
}

/// Where in the wallet a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KeyOrigin {
    pub kind: AddressType,
    /// Change, or an address that was given out.
    pub change: bool,
    pub index: u32,
}

impl KeyOrigin {
    /// The path below the master key, as elementsd writes it.
    pub(crate) fn path(self) -> String {
        format!(
            "{}'/1'/0'/{}/{}",
            self.kind.purpose(),
            u32::from(self.change),
            self.index
        )
    }
}

/// A wallet's keys and the scripts they make.
#[derive(Clone)]
pub(crate) struct Keys {
    seed: [u8; 32],
    master: Xpriv,
    fingerprint: [u8; 4],
    blinding: [u8; 32],
    branches: HashMap<(AddressType, bool), Branch>,
    scripts: HashMap<Script, KeyOrigin>,
}

#[derive(Clone)]
struct Branch {
    private: Xpriv,
    account: Xpub,
    next: u32,
}

impl Keys {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        // A hash is a valid seed but for one in 2^127.
        let master = Xpriv::new_master(NetworkKind::Test, &seed)
            .expect("a seed of 32 bytes makes a master key");
        let secp = elements::bitcoin::secp256k1::Secp256k1::new();
        Keys {
            seed,
            fingerprint: master.fingerprint(&secp).to_bytes(),
            blinding: slip77_master(&seed),
            master,
            branches: HashMap::new(),
            scripts: HashMap::new(),
        }
    }

    pub(crate) fn seed(&self) -> [u8; 32] {
        self.seed
    }

    /// How many keys each branch has given out.
    pub(crate) fn used(&self) -> impl Iterator<Item = (AddressType, bool, u32)> {
        self.branches
            .iter()
            .map(|((kind, change), branch)| (*kind, *change, branch.next))
    }

    fn branch(&mut self, secp: &Secp256k1<All>, kind: AddressType, change: bool) -> &mut Branch {
        let master = self.master;
        self.branches.entry((kind, change)).or_insert_with(|| {
            let hardened = |index| ChildNumber::Hardened { index };
            let account = [hardened(kind.purpose()), hardened(1), hardened(0)];
            let derive = |from: &Xpriv, path: &[ChildNumber]| {
                from.derive_priv(secp, &path)
                    .expect("private keys derive at any index")
            };
            let account = derive(&master, &account);
            Branch {
                private: derive(
                    &account,
                    &[ChildNumber::Normal {
                        index: u32::from(change),
                    }],
                ),
                account: Xpub::from_priv(secp, &account),
                next: 0,
            }
        })
    }

    /// The next unused address, without a blinding key.
    pub(crate) fn next_address(
        &mut self,
        secp: &Secp256k1<All>,
        kind: AddressType,
        change: bool,
    ) -> Address {
        let branch = self.branch(secp, kind, change);
        let index = branch.next;
        branch.next += 1;
        let origin = KeyOrigin {
            kind,
            change,
            index,
        };
        let key = self.private_key(secp, origin).public_key(secp);
        let address = address(kind, &key);
        self.scripts.insert(address.script_pubkey(), origin);
        address
    }

    /// The private key at an origin.
    pub(crate) fn private_key(&self, secp: &Secp256k1<All>, origin: KeyOrigin) -> SecretKey {
        let index = ChildNumber::Normal {
            index: origin.index,
        };
        let branch = self.branches.get(&(origin.kind, origin.change));
        branch
            .and_then(|branch| branch.private.derive_priv(secp, &[index]).ok())
            .map(|key| key.private_key)
            .expect("origins come from branches that are there")
    }

    /// The public descriptor that an origin belongs to, without checksum.
    pub(crate) fn parent_descriptor(&self, origin: KeyOrigin) -> Option<String> {
        let branch = self.branches.get(&(origin.kind, origin.change))?;
        let key = format!(
            "[{}/{}'/1'/0']{}/{}/*",
            self.fingerprint(),
            origin.kind.purpose(),
            branch.account,
            u32::from(origin.change)
        );
        Some(origin.kind.descriptor(&key))
    }

    /// The master key's fingerprint in hexadecimal.
    pub(crate) fn fingerprint(&self) -> String {
        self.fingerprint
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Where a script's key is, if it is one of ours.
    pub(crate) fn origin(&self, script: &Script) -> Option<KeyOrigin> {
        self.scripts.get(script).copied()
    }

    /// The key that outputs to a script are blinded with: any script has one.
    pub(crate) fn blinding_key(&self, script: &Script) -> SecretKey {
        let mac = hmac_sha256(&self.blinding, script.as_bytes());
        SecretKey::from_slice(&mac).expect("a hash is a valid key but for one in 2^127")
    }

    /// The public half of [`Keys::blinding_key`].
    pub(crate) fn blinding_pubkey(&self, secp: &Secp256k1<All>, script: &Script) -> PublicKey {
        self.blinding_key(script).public_key(secp)
    }
}

/// The unconfidential address of a key.
fn address(kind: AddressType, key: &PublicKey) -> Address {
    let key = elements::bitcoin::PublicKey::new(*key);
    let params = &AddressParams::ELEMENTS;
    match kind {
        AddressType::Legacy => Address::p2pkh(&key, None, params),
        AddressType::P2shSegwit => Address::p2shwpkh(&key, None, params),
        AddressType::Bech32 => Address::p2wpkh(&key, None, params),
    }
}

/// The master blinding key of a seed (SLIP-77, which takes its node from SLIP-21).
fn slip77_master(seed: &[u8]) -> [u8; 32] {
    let root = hmac_sha512(b"Symmetric key seed", seed);
    let node = hmac_sha512(&root[..32], b"\0SLIP-0077");
    let mut master = [0; 32];
    master.copy_from_slice(&node[32..]);
    master
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::HashEngine>::new(key);
    engine.input(message);
    engine.finalize().to_byte_array()
}

fn hmac_sha512(key: &[u8], message: &[u8]) -> [u8; 64] {
    let mut engine = HmacEngine::<sha512::HashEngine>::new(key);
    engine.input(message);
    engine.finalize().to_byte_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blinding_keys_are_those_of_slip77() {
        // The vector of SLIP-77: the seed of "all all all … all".
        let seed = crate::rpc::encode::from_hex(
            "c76c4ac4f4e4a00d6b274d5c39c700bb4a7ddc04fbc6f78e85ca75007b5b495f74a9043eeb77bdd53aa6fc3a0e31462270316fa04b8c19114c8798706cd02ac8",
        )
        .unwrap();
        assert_eq!(
            crate::rpc::encode::hex(&slip77_master(&seed)),
            "6c2de18eabeff3f7822bc724ad482bef0557f3e1c1e1c75b7a393a5ced4de616"
        );
    }

    #[test]
    fn addresses_are_distinct_and_found_again() {
        let secp = Secp256k1::new();
        let mut keys = Keys::new([7; 32]);
        let kinds = [
            AddressType::Legacy,
            AddressType::P2shSegwit,
            AddressType::Bech32,
        ];
        let mut seen = std::collections::HashSet::new();
        for kind in kinds {
            for change in [false, true] {
                for index in 0..3 {
                    let script = keys.next_address(&secp, kind, change).script_pubkey();
                    assert!(seen.insert(script.clone()));
                    assert_eq!(
                        keys.origin(&script),
                        Some(KeyOrigin {
                            kind,
                            change,
                            index
                        })
                    );
                }
            }
        }
        let mut again = Keys::new([7; 32]);
        let script = again
            .next_address(&secp, AddressType::Bech32, false)
            .script_pubkey();
        assert!(seen.contains(&script));
    }
}
