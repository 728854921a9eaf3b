//! The files that the daemon leaves for its clients and for its next start: API key, mnemonic, TLS certificate.
//!
//! Names, places, contents and modes are upstream's.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use ldk_node::bip39::Mnemonic;
use ldk_node::bitcoin::Network;
use ldk_server_protos::auth::{API_KEY_LEN, ApiKey};
use log::info;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Config, Tls};

/// What a file must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The process: enough for coins that are worth nothing.
    Process,
    /// The machine.
    Machine,
}

impl Durability {
    pub(crate) fn for_network(network: Network) -> Self {
        match network {
            Network::Regtest => Self::Process,
            Network::Bitcoin | Network::Testnet | Network::Testnet4 | Network::Signet => {
                Self::Machine
            }
        }
    }
}

/// Reads `<network>/api_key`, or makes a new one.
pub(crate) fn api_key(config: &Config) -> anyhow::Result<ApiKey> {
    let path = config.network_dir().join("api_key");
    let bytes = match read_if_exists(&path)? {
        Some(bytes) => <[u8; API_KEY_LEN]>::try_from(bytes.as_slice()).map_err(|_| {
            anyhow!(
                "{} has {} bytes instead of {API_KEY_LEN}",
                path.display(),
                bytes.len()
            )
        })?,
        None => {
            let mut bytes = [0; API_KEY_LEN];
            default_provider()
                .secure_random
                .fill(&mut bytes)
                .map_err(|_| anyhow!("no random bytes from the system"))?;
            write_new(
                &path,
                &bytes,
                0o400,
                Durability::for_network(config.network),
            )?;
            bytes
        }
    };
    Ok(ApiKey::from_bytes(bytes))
}

/// Reads `keys_mnemonic`, or makes a new one.
pub(crate) fn mnemonic(config: &Config) -> anyhow::Result<Mnemonic> {
    let path = config.storage_dir.join("keys_mnemonic");
    match read_if_exists(&path)? {
        Some(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            // The parser's error would repeat words of the secret.
            Mnemonic::from_str(text.trim())
                .map_err(|_| anyhow!("{} holds no BIP 39 mnemonic", path.display()))
        }
        None => {
            let mnemonic = ldk_node::generate_entropy_mnemonic(None);
            write_new(
                &path,
                format!("{mnemonic}\n").as_bytes(),
                0o600,
                Durability::for_network(config.network),
            )?;
            info!(
                "Generated a new mnemonic at {}; whoever loses it loses the on-chain funds",
                path.display()
            );
            Ok(mnemonic)
        }
    }
}

/// Reads the certificate and its key, or makes new ones, and gives TLS settings that offer HTTP/2 only.
pub(crate) fn tls(config: &Config) -> anyhow::Result<Arc<ServerConfig>> {
    let Tls {
        cert_path,
        key_path,
        hosts,
    } = &config.tls;
    let cert_path = cert_path
        .clone()
        .unwrap_or_else(|| config.storage_dir.join("tls.crt"));
    let key_path = key_path
        .clone()
        .unwrap_or_else(|| config.storage_dir.join("tls.key"));
    if read_if_exists(&cert_path)?.is_none() {
        let (cert, key) = self_signed(hosts)?;
        let durability = Durability::for_network(config.network);
        // A crash between the two leaves a key without a certificate, which is of no use to anybody.
        if key_path.exists() {
            fs::remove_file(&key_path)
                .with_context(|| format!("cannot replace {}", key_path.display()))?;
        }
        write_new(&key_path, key.as_bytes(), 0o400, durability)?;
        write_new(&cert_path, cert.as_bytes(), 0o644, durability)?;
    }
    let certificates = CertificateDer::pem_file_iter(&cert_path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{} holds no certificate", cert_path.display()))?;
    let key = PrivateKeyDer::from_pem_file(&key_path)
        .with_context(|| format!("{} holds no private key", key_path.display()))?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .with_context(|| {
            format!(
                "{} and {} do not fit",
                cert_path.display(),
                key_path.display()
            )
        })?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(tls))
}

/// A P-256 certificate that signs itself. It is not marked as an authority: a client that has it as its only root
/// would then refuse it as the server's own.
fn self_signed(hosts: &[String]) -> anyhow::Result<(String, String)> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    names.extend(
        hosts
            .iter()
            .filter(|host| !["localhost", "127.0.0.1"].contains(&host.as_str()))
            .cloned(),
    );
    let mut params = CertificateParams::new(names)
        .context("`tls.hosts` holds a name that no certificate can have")?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn read_if_exists(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, content: &[u8], mode: u32, durability: Durability) -> anyhow::Result<()> {
    let write = || {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(mode)
            .open(path)?;
        file.write_all(content)?;
        // The mode given at creation is narrowed by the umask.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        match durability {
            Durability::Process => Ok(()),
            Durability::Machine => file.sync_all(),
        }
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        fs::create_dir_all(dir.join("regtest")).unwrap();
        let path = dir.join("config.toml");
        let text = format!(
            "[node]\nnetwork = \"regtest\"\n[storage.disk]\ndir_path = {dir:?}\n\
             [bitcoind]\nrpc_address = \"127.0.0.1:1\"\nrpc_user = \"u\"\nrpc_password = \"p\"\n"
        );
        fs::write(&path, text).unwrap();
        Config::load(&path).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_made_once_with_upstreams_names_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let key = api_key(&config).unwrap();
        let words = mnemonic(&config).unwrap();
        tls(&config).unwrap();
        let certificate = fs::read(dir.path().join("tls.crt")).unwrap();

        assert_eq!(
            fs::read(dir.path().join("regtest/api_key")).unwrap().len(),
            32
        );
        assert_eq!(words.word_count(), 24);
        for (name, expected) in [
            ("regtest/api_key", 0o400),
            ("keys_mnemonic", 0o600),
            ("tls.key", 0o400),
            ("tls.crt", 0o644),
        ] {
            assert_eq!(mode(&dir.path().join(name)), expected, "{name}");
        }

        assert!(api_key(&config).unwrap() == key);
        assert_eq!(mnemonic(&config).unwrap(), words);
        tls(&config).unwrap();
        assert_eq!(fs::read(dir.path().join("tls.crt")).unwrap(), certificate);
    }

    #[test]
    fn a_damaged_file_is_named_and_a_secret_is_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        fs::write(dir.path().join("regtest/api_key"), [1; 31]).unwrap();
        let message = format!("{:#}", api_key(&config).unwrap_err());
        assert!(
            message.ends_with("regtest/api_key has 31 bytes instead of 32"),
            "{message}"
        );
        fs::write(dir.path().join("keys_mnemonic"), "hunter2 hunter2").unwrap();
        let message = format!("{:#}", mnemonic(&config).unwrap_err());
        assert!(
            message.ends_with("keys_mnemonic holds no BIP 39 mnemonic"),
            "{message}"
        );
    }

    #[test]
    fn a_key_without_its_certificate_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        fs::write(dir.path().join("tls.key"), "left by a crash").unwrap();
        tls(&config).unwrap();
        assert!(
            fs::read_to_string(dir.path().join("tls.key"))
                .unwrap()
                .contains("PRIVATE KEY")
        );
    }
}
