//! What a client authenticates with, and where a server leaves it.

use std::io;
use std::path::{Path, PathBuf};

use ldk_server_protos::auth::{API_KEY_LEN, ApiKey};
use ldk_server_protos::macaroon::{Macaroon, MacaroonError};

/// What a client authenticates with.
#[derive(Debug, Clone)]
pub enum Credential {
    /// The server's API key: servers up to September 2026, and the bundled daemon.
    ApiKey(ApiKey),
    /// A macaroon: servers since then.
    Macaroon(Macaroon),
}

/// What [`Credential::detect`] found.
#[derive(Debug, Clone)]
pub enum Detected {
    /// The credential is there and complete.
    Ready(Credential),
    /// It is not there yet, or not completely written; says which files were looked at.
    Pending(String),
}

/// A credential file is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An `api_key` file of another size.
    #[error("{} has {len} bytes, an API key has {API_KEY_LEN}: the server is of an unknown version", path.display())]
    ApiKeyLength {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        len: usize,
    },
    /// A macaroon file that is no macaroon.
    #[error("{} holds no macaroon", path.display())]
    Macaroon {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: MacaroonError,
    },
}

impl Credential {
    /// Looks for the credential that a server leaves in its storage directory, once.
    ///
    /// `network` is the name of the directory below: `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`. A
    /// macaroon is preferred: a server that writes one ignores an `api_key` left by its predecessor.
    pub fn detect(storage_dir: &Path, network: &str) -> Result<Detected, CredentialError> {
        let macaroon = storage_dir
            .join(network)
            .join("macaroons")
            .join("admin.macaroon");
        let api_key = storage_dir.join(network).join("api_key");
        if let Some(content) = read(&macaroon)? {
            let text = String::from_utf8_lossy(&content);
            return match Macaroon::parse_hex(&text) {
                Ok(parsed) => Ok(Detected::Ready(Self::Macaroon(parsed))),
                Err(MacaroonError::Truncated(_)) => {
                    Ok(pending(&macaroon, "is not completely written"))
                }
                Err(MacaroonError::NotHex)
                    if text.trim().bytes().all(|byte| byte.is_ascii_hexdigit()) =>
                {
                    Ok(pending(&macaroon, "is not completely written"))
                }
                Err(source) => Err(CredentialError::Macaroon {
                    path: macaroon,
                    source,
                }),
            };
        }
        match read(&api_key)? {
            Some(content) => match <[u8; API_KEY_LEN]>::try_from(content.as_slice()) {
                Ok(key) => Ok(Detected::Ready(Self::ApiKey(ApiKey::from_bytes(key)))),
                Err(_) if content.len() < API_KEY_LEN => {
                    Ok(pending(&api_key, "is not completely written"))
                }
                Err(_) => Err(CredentialError::ApiKeyLength {
                    path: api_key,
                    len: content.len(),
                }),
            },
            None => Ok(Detected::Pending(format!(
                "neither {} nor {} exists",
                api_key.display(),
                macaroon.display()
            ))),
        }
    }
}

impl Credential {
    /// Reads one credential file: 32 bytes are an API key, a text of hexadecimal digits is a macaroon.
    ///
    /// # Errors
    /// When it cannot be read, or is neither.
    pub fn from_file(path: &Path) -> Result<Self, CredentialError> {
        let content = std::fs::read(path).map_err(|source| CredentialError::Read {
            path: path.to_owned(),
            source,
        })?;
        if let Ok(key) = <[u8; API_KEY_LEN]>::try_from(content.as_slice()) {
            return Ok(Self::ApiKey(ApiKey::from_bytes(key)));
        }
        Macaroon::parse_hex(&String::from_utf8_lossy(&content))
            .map(Self::Macaroon)
            .map_err(|source| CredentialError::Macaroon {
                path: path.to_owned(),
                source,
            })
    }
}

fn pending(path: &Path, why: &str) -> Detected {
    Detected::Pending(format!("{} {why}", path.display()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CredentialError> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACAROON: &str = concat!(
        "02010a6c646b2d736572766572020761646d696e2d300002177065726d697373696f6e73203d206e6f64653a72656164",
        "00000620588f73ba7fcdc6a715f9d5eef8ef460db9b87286624ba4e1314a770817c95695",
    );

    fn storage() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let network = dir.path().join("regtest");
        std::fs::create_dir_all(network.join("macaroons")).unwrap();
        (dir, network)
    }

    fn detect(dir: &tempfile::TempDir) -> Result<Detected, CredentialError> {
        Credential::detect(dir.path(), "regtest")
    }

    #[test]
    fn an_api_key_is_taken_when_it_is_complete() {
        let (dir, network) = storage();
        assert!(matches!(detect(&dir), Ok(Detected::Pending(why)) if why.contains("neither")));
        for len in [0, 31] {
            std::fs::write(network.join("api_key"), vec![7; len]).unwrap();
            assert!(
                matches!(detect(&dir), Ok(Detected::Pending(why)) if why.contains("not completely written"))
            );
        }
        std::fs::write(network.join("api_key"), [7; 32]).unwrap();
        assert!(
            matches!(detect(&dir), Ok(Detected::Ready(Credential::ApiKey(key))) if key == ApiKey::from_bytes([7; 32]))
        );
        std::fs::write(network.join("api_key"), [7; 64]).unwrap();
        assert!(matches!(
            detect(&dir),
            Err(CredentialError::ApiKeyLength { len: 64, .. })
        ));
    }

    #[test]
    fn a_macaroon_is_preferred_to_an_api_key() {
        let (dir, network) = storage();
        let path = network.join("macaroons/admin.macaroon");
        std::fs::write(network.join("api_key"), [7; 32]).unwrap();
        for end in [0, 1, 20, 21, MACAROON.len() - 1] {
            std::fs::write(&path, &MACAROON[..end]).unwrap();
            assert!(
                matches!(detect(&dir), Ok(Detected::Pending(_))),
                "cut at {end}"
            );
        }
        std::fs::write(&path, format!("{MACAROON}\n")).unwrap();
        assert!(matches!(
            detect(&dir),
            Ok(Detected::Ready(Credential::Macaroon(_)))
        ));
        std::fs::write(&path, "not a macaroon").unwrap();
        assert!(matches!(
            detect(&dir),
            Err(CredentialError::Macaroon { .. })
        ));
    }

    #[test]
    fn a_file_tells_by_its_content_what_it_is() {
        let (_dir, network) = storage();
        let path = network.join("credential");
        std::fs::write(&path, [7; 32]).unwrap();
        assert!(matches!(
            Credential::from_file(&path),
            Ok(Credential::ApiKey(key)) if key == ApiKey::from_bytes([7; 32])
        ));
        std::fs::write(&path, format!("{MACAROON}\n")).unwrap();
        assert!(matches!(
            Credential::from_file(&path),
            Ok(Credential::Macaroon(_))
        ));
        std::fs::write(&path, [7; 31]).unwrap();
        assert!(matches!(
            Credential::from_file(&path),
            Err(CredentialError::Macaroon { .. })
        ));
        assert!(matches!(
            Credential::from_file(&network.join("none")),
            Err(CredentialError::Read { .. })
        ));
    }

    #[test]
    fn an_unreadable_credential_is_an_error_that_names_the_file() {
        let (dir, network) = storage();
        std::fs::create_dir(network.join("api_key")).unwrap();
        let error = detect(&dir).unwrap_err();
        assert!(error.to_string().contains("regtest/api_key"), "{error}");
    }
}
