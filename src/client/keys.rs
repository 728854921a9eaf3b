//! The client's keys: derived from its seed by a swap's index, so that the seed is enough to have them again.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bitcoin::Network;
use bitcoin::bip32::{ChildNumber, Xpriv};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::hex::{DisplayHex as _, FromHex as _};
use bitcoin::secp256k1::{PublicKey, SECP256K1, SecretKey};
use swaprig_units::Preimage;

use crate::chain;

/// `m/7377'`: "sw" in ASCII; hardened, as every key below it.
const PURPOSE: u32 = 0x7377;
/// The branch of the claim keys of LN->Liquid.
const CLAIMS: u32 = 1;
/// Of the keys of loops, which claim or refund.
const LOOPS: u32 = 2;
/// Of the preimages of loops out.
const PREIMAGES: u32 = 3;
/// Of the Bitcoin wallet; index 0.
const WALLET: u32 = 4;
/// Read and written by the owner alone.
const MODE: u32 = 0o600;

/// 32 bytes from which all keys come (BIP 32). `Debug` does not print it.
#[derive(Clone)]
pub struct Seed([u8; 32]);

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The file cannot be read or written.
    #[error("the seed {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("the seed {} can be read by others; `chmod 600` it", path.display())]
    Readable {
        /// The file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("the seed {} is not 64 hexadecimal digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
}

impl Seed {
    /// From 32 bytes that nobody else knows.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Seed(bytes)
    }

    /// A fresh one, that is stored nowhere.
    ///
    /// # Errors
    /// [`SeedError::Random`].
    pub fn random() -> Result<Self, SeedError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|e| SeedError::Random(e.to_string()))?;
        Ok(Seed(bytes))
    }

    /// Reads 64 hexadecimal digits from a file that only its owner can read; makes it, with fresh random bytes, when there
    /// is none.
    ///
    /// # Errors
    /// [`SeedError`].
    pub fn open_or_make(path: &Path) -> Result<Self, SeedError> {
        let failed = |source| SeedError::File {
            path: path.to_owned(),
            source,
        };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let mode = std::fs::metadata(path)
                    .map_err(failed)?
                    .permissions()
                    .mode();
                if mode & 0o077 != 0 {
                    return Err(SeedError::Readable {
                        path: path.to_owned(),
                    });
                }
                let bytes = <[u8; 32]>::from_hex(text.trim());
                bytes.map(Seed).map_err(|_| SeedError::Malformed {
                    path: path.to_owned(),
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let seed = Seed::random()?;
                let text = format!("{}\n", seed.0.to_lower_hex_string());
                write_private(path, text.as_bytes()).map_err(failed)?;
                Ok(seed)
            }
            Err(source) => Err(failed(source)),
        }
    }

    /// The claim key of a swap.
    pub fn claim_key(&self, index: u32) -> SecretKey {
        self.key(CLAIMS, index)
    }

    /// The key of a loop, with which its coins are claimed or refunded.
    pub fn loop_key(&self, index: u32) -> SecretKey {
        self.key(LOOPS, index)
    }

    /// Its public key.
    pub fn loop_pubkey(&self, index: u32) -> PublicKey {
        self.loop_key(index).public_key(SECP256K1)
    }

    /// The preimage of a loop out. A hash, so that who sees it has no key.
    pub fn preimage(&self, index: u32) -> Preimage {
        let secret = self.key(PREIMAGES, index).secret_bytes();
        Preimage(sha256::Hash::hash(&secret).to_byte_array())
    }

    /// The seed of the Bitcoin wallet: a mnemonic of this entropy (BIP 39).
    pub fn wallet(&self) -> chain::Seed {
        let secret = self.key(WALLET, 0).secret_bytes();
        chain::Seed::from_entropy(&sha256::Hash::hash(&secret).to_byte_array())
    }

    /// `m/7377'/branch'/index'`.
    pub(super) fn key(&self, branch: u32, index: u32) -> SecretKey {
        // The network only changes how an extended key is written.
        let master = Xpriv::new_master(Network::Bitcoin, &self.0);
        // Indexes beyond 31 bits wrap into the first half: two billion swaps later.
        let hardened = |n: u32| ChildNumber::Hardened {
            index: n & 0x7fff_ffff,
        };
        let path = [PURPOSE, branch, index].map(hardened);
        let derived = master.and_then(|master| master.derive_priv(SECP256K1, &path));
        derived
            .expect("a hash of the seed is a key, but for one in 2^127")
            .private_key
    }

    /// Its public key.
    pub fn claim_pubkey(&self, index: u32) -> PublicKey {
        self.claim_key(index).public_key(SECP256K1)
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// Writes a whole file that only its owner can read, so that it is there wholly or not at all, also after a power cut.
pub(super) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = parent.join(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    std::fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_made_once_kept_private_and_gives_the_same_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        let made = Seed::open_or_make(&path).unwrap();
        let read = Seed::open_or_make(&path).unwrap();
        assert_eq!(made.claim_pubkey(3), read.claim_pubkey(3));
        assert_ne!(made.claim_pubkey(3), made.claim_pubkey(4));
        assert_eq!(format!("{made:?}"), "Seed(…)");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = Seed::open_or_make(&path).unwrap_err();
        assert!(matches!(error, SeedError::Readable { .. }), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(MODE)).unwrap();
        std::fs::write(&path, "no seed").unwrap();
        let error = Seed::open_or_make(&path).unwrap_err();
        assert!(matches!(error, SeedError::Malformed { .. }), "{error}");
    }

    #[test]
    fn a_key_of_a_known_seed_stays_what_it_is() {
        let seed = Seed::from_bytes([7; 32]);
        assert_eq!(
            seed.claim_pubkey(0).to_string(),
            "0239ab38f428a456c25c013dc2bdd40b18fb1306d5d274ada4313f6f9532abcf73"
        );
        let others = [
            seed.loop_pubkey(0).to_string(),
            seed.loop_pubkey(1).to_string(),
            seed.preimage(0).to_string(),
            seed.preimage(1).to_string(),
        ];
        let known = [
            "020563ff82f5e788c6da2753adc3ab5d7e8e7e0b9947eb594d6fa24ac71e273b6c",
            "02a7f11fea356b612bcd76844d390ed9d2e9f08b92a9f5cb924ff64f15e197b79c",
            "925e4e90ea0c613641d9555e27330d5971fe860404cd567a4a270ffaa6603ae8",
            "f15751910ba6cc893e7a604e4d3eb56520ba30fdde59ac253ffd56f331f6b8cc",
        ];
        assert_eq!(others, known);
        let wallet = "ac28bb07d6375fdfa31584591fbcecb61b091b0809cac2a31939d6509ad4acbe\
                      f4ecabf17897998d7f030bc18c051e27fc7133adfb86dafe3577866aa311b5ec";
        assert_eq!(seed.wallet().bytes().to_lower_hex_string(), wallet);
    }
}
