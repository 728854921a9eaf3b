//! The seed of the wallet: a BIP-39 mnemonic in a file that nobody else may read.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use lwk_signer::SwSigner;
use lwk_signer::bip39::Mnemonic;
use lwk_wollet::Network;

/// Longest seed file that is read, in bytes; 24 words are at most 216.
const LONGEST: u64 = 1024;

/// What all keys of a server are derived from. Never shown by `Debug`.
#[derive(Clone)]
pub struct Seed(Mnemonic);

/// A seed file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// It could not be read or written.
    #[error("the seed file {} could not be {verb}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        verb: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("the seed file {} has mode {mode:04o}: others may read it; run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds no mnemonic. The words are not repeated here.
    #[error("the seed file {} holds no BIP-39 mnemonic in one line: {why}", path.display())]
    NoMnemonic {
        /// The file.
        path: PathBuf,
        /// What is wrong, without its words.
        why: String,
    },
    /// There is a seed already, which is never overwritten.
    #[error("{} is there already and a seed is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

impl Seed {
    /// Reads the mnemonic in the file at `path`: one line, mode 0600 or stricter.
    ///
    /// # Errors
    ///
    /// When it cannot be read, when others may read it, and when it holds no valid English mnemonic.
    pub fn read(path: &Path) -> Result<Seed, SeedError> {
        let failed = |source| SeedError::Io {
            path: path.to_owned(),
            verb: "read",
            source,
        };
        let mut file = fs::File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SeedError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = String::new();
        (&mut file)
            .take(LONGEST)
            .read_to_string(&mut text)
            .map_err(failed)?;
        Seed::parse(&text).map_err(|why| SeedError::NoMnemonic {
            path: path.to_owned(),
            why,
        })
    }

    /// Makes a seed of 24 words from the system's randomness and writes it to a new file at `path`, mode 0600.
    ///
    /// # Errors
    ///
    /// When there is a file already or it cannot be written.
    pub fn generate(path: &Path) -> Result<Seed, SeedError> {
        let seed = Seed(Mnemonic::generate(24).expect("24 is a length that BIP-39 knows"));
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => SeedError::Exists {
                path: path.to_owned(),
            },
            _ => SeedError::Io {
                path: path.to_owned(),
                verb: "written",
                source,
            },
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        writeln!(file, "{}", seed.0).map_err(failed)?;
        // Coins may be sent to it at once: it must outlast a power cut.
        file.sync_all().map_err(failed)?;
        Ok(seed)
    }

    /// Reads a mnemonic; the error does not repeat its words.
    pub fn parse(text: &str) -> Result<Seed, String> {
        let text = text.trim();
        if text.lines().count() > 1 {
            return Err("it has more than one line".to_owned());
        }
        // The library's own message names a word by its place, never by itself.
        let mnemonic = text.parse::<Mnemonic>();
        mnemonic.map(Seed).map_err(|error| error.to_string())
    }

    /// The mnemonic of 24 words that stands for these 32 bytes.
    pub fn from_entropy(entropy: &[u8; 32]) -> Seed {
        Seed(Mnemonic::from_entropy(entropy).expect("32 bytes are a length that BIP-39 knows"))
    }

    /// The 64 bytes of BIP-39 that BIP-32 starts from, without a passphrase. Secret.
    pub fn bytes(&self) -> [u8; 64] {
        self.0.to_seed("")
    }

    /// The wallet's signer on `network`.
    pub fn signer(&self, network: Network) -> SwSigner {
        SwSigner::new_with_network(&self.0.to_string(), network)
            .expect("a mnemonic that was checked has a master key")
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_made_once_read_back_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        let seed = Seed::generate(&path).unwrap();
        assert_eq!(Seed::read(&path).unwrap().bytes(), seed.bytes());
        assert_eq!(format!("{seed:?}"), "Seed(…)");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let again = Seed::generate(&path).unwrap_err();
        assert!(again.to_string().contains("never overwritten"), "{again}");
    }

    #[test]
    fn a_seed_file_that_others_may_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seed");
        Seed::generate(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = Seed::read(&path).unwrap_err().to_string();
        assert!(
            exposed.contains("mode 0640") && exposed.contains("chmod 600"),
            "{exposed}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["", "secretword secretword", "abandon\nabandon"] {
            fs::write(&path, bad).unwrap();
            let error = Seed::read(&path).unwrap_err().to_string();
            assert!(error.contains("no BIP-39 mnemonic"), "{error}");
            assert!(!error.contains("secretword"), "{error}");
        }
        let missing = Seed::read(&dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, SeedError::Io { .. }), "{missing}");
    }
}
