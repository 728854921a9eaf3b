//! The configuration file: upstream's keys, read strictly.
//!
//! A key that upstream knows and this daemon cannot honour is an error, not a silent difference. Nothing is read from
//! the environment or from flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ldk_node::bitcoin::Network;
use ldk_node::lightning::ln::msgs::SocketAddress;
use log::LevelFilter;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Where the API listens unless the file says otherwise; upstream's default.
const DEFAULT_GRPC_SERVICE_ADDRESS: &str = "127.0.0.1:3536";

/// Why a configuration file cannot be used. The texts follow the file's name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    #[error("{0}")]
    Parse(#[from] toml::de::Error),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{key}` = {value:?}: {why}")]
    Value {
        key: &'static str,
        value: String,
        why: String,
    },
    #[error(
        "{0} is not supported by the bundled ldk-server; remove it, or run upstream's ldk-server"
    )]
    Unsupported(&'static str),
}

/// A checked configuration.
#[derive(Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) network: Network,
    pub(crate) listening_addresses: Option<Vec<SocketAddress>>,
    pub(crate) announcement_addresses: Option<Vec<SocketAddress>>,
    pub(crate) alias: Option<String>,
    pub(crate) grpc_service_address: SocketAddr,
    pub(crate) storage_dir: PathBuf,
    pub(crate) bitcoind: Bitcoind,
    pub(crate) log_level: LevelFilter,
    pub(crate) log_file: Option<PathBuf>,
    pub(crate) tls: Tls,
}

/// How to reach bitcoind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bitcoind {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) cert_path: Option<PathBuf>,
    pub(crate) key_path: Option<PathBuf>,
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&std::fs::read_to_string(path)?)
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)?;
        file.refuse_unsupported()?;
        let node = file.node.unwrap_or_default();
        let log = file.log.unwrap_or_default();
        let storage_dir = file
            .storage
            .and_then(|storage| storage.disk)
            .and_then(|disk| disk.dir_path);
        let address = node
            .grpc_service_address
            .unwrap_or_else(|| DEFAULT_GRPC_SERVICE_ADDRESS.to_owned());
        let storage_dir = storage_dir.ok_or(ConfigError::Missing("storage.disk.dir_path"))?;
        let network = node.network.ok_or(ConfigError::Missing("node.network"))?;
        let log_to_file = log.log_to_file.unwrap_or(true);
        let log_file = log_to_file.then(|| {
            log.file
                .unwrap_or_else(|| network_dir(&storage_dir, network).join("ldk-server.log"))
        });
        Ok(Self {
            network,
            listening_addresses: addresses("node.listening_addresses", node.listening_addresses)?,
            announcement_addresses: addresses(
                "node.announcement_addresses",
                node.announcement_addresses,
            )?,
            alias: node.alias.map(alias).transpose()?,
            grpc_service_address: value("node.grpc_service_address", &address)?,
            bitcoind: file
                .bitcoind
                .ok_or(ConfigError::Missing("bitcoind"))?
                .check()?,
            log_level: log
                .level
                .map_or(Ok(LevelFilter::Debug), |level| value("log.level", &level))?,
            log_file,
            tls: file.tls.unwrap_or_default(),
            storage_dir,
        })
    }

    /// The directory that holds everything that belongs to one network.
    pub(crate) fn network_dir(&self) -> PathBuf {
        network_dir(&self.storage_dir, self.network)
    }
}

fn network_dir(storage_dir: &Path, network: Network) -> PathBuf {
    storage_dir.join(match network {
        Network::Bitcoin => "bitcoin",
        Network::Testnet => "testnet",
        Network::Testnet4 => "testnet4",
        Network::Signet => "signet",
        Network::Regtest => "regtest",
    })
}

fn value<T: FromStr<Err: std::fmt::Display>>(
    key: &'static str,
    text: &str,
) -> Result<T, ConfigError> {
    text.parse().map_err(|error: T::Err| ConfigError::Value {
        key,
        value: text.to_owned(),
        why: error.to_string(),
    })
}

fn addresses(
    key: &'static str,
    list: Option<Vec<String>>,
) -> Result<Option<Vec<SocketAddress>>, ConfigError> {
    list.map(|list| {
        list.into_iter()
            .map(|text| {
                SocketAddress::from_str(&text).map_err(|error| ConfigError::Value {
                    key,
                    value: text,
                    why: error.to_string(),
                })
            })
            .collect()
    })
    .transpose()
}

/// BOLT 7: an alias fits into 32 bytes.
fn alias(text: String) -> Result<String, ConfigError> {
    match text.trim().len() {
        0..=32 => Ok(text),
        len => Err(ConfigError::Value {
            key: "node.alias",
            value: text,
            why: format!("an alias has at most 32 bytes, this one has {len}"),
        }),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    node: Option<Node>,
    storage: Option<Storage>,
    bitcoind: Option<BitcoindTable>,
    log: Option<Log>,
    tls: Option<Tls>,
    metrics: Option<Metrics>,
    electrum: Option<IgnoredAny>,
    esplora: Option<IgnoredAny>,
    liquidity: Option<IgnoredAny>,
    probing: Option<IgnoredAny>,
    tor: Option<IgnoredAny>,
    hrn: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    network: Option<Network>,
    listening_addresses: Option<Vec<String>>,
    announcement_addresses: Option<Vec<String>>,
    grpc_service_address: Option<String>,
    alias: Option<String>,
    pathfinding_scores_source_url: Option<IgnoredAny>,
    rgs_server_url: Option<IgnoredAny>,
    async_payments_role: Option<IgnoredAny>,
    enable_zero_fee_commitments: Option<bool>,
    forwarded_payment_tracking_mode: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Storage {
    disk: Option<Disk>,
    postgres: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disk {
    dir_path: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BitcoindTable {
    rpc_address: Option<String>,
    rpc_user: Option<String>,
    rpc_password: Option<String>,
    rest_address: Option<IgnoredAny>,
}

/// The rotation keys are accepted and have no effect: what this daemon writes in a run is small.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    level: Option<String>,
    file: Option<PathBuf>,
    log_to_file: Option<bool>,
    #[serde(rename = "max_size_mb")]
    _max_size_mb: Option<u64>,
    #[serde(rename = "rotation_interval_hours")]
    _rotation_interval_hours: Option<u64>,
    #[serde(rename = "max_files")]
    _max_files: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metrics {
    enabled: Option<bool>,
    #[serde(rename = "poll_metrics_interval")]
    _poll_metrics_interval: Option<u64>,
    #[serde(rename = "username")]
    _username: Option<String>,
    #[serde(rename = "password")]
    _password: Option<String>,
}

impl File {
    fn refuse_unsupported(&self) -> Result<(), ConfigError> {
        let node = self.node.as_ref();
        let present = [
            ("[electrum]", self.electrum.is_some()),
            ("[esplora]", self.esplora.is_some()),
            ("[liquidity]", self.liquidity.is_some()),
            ("[probing]", self.probing.is_some()),
            ("[tor]", self.tor.is_some()),
            ("[hrn]", self.hrn.is_some()),
            (
                "[storage.postgres]",
                self.storage
                    .as_ref()
                    .is_some_and(|storage| storage.postgres.is_some()),
            ),
            (
                "`bitcoind.rest_address`",
                self.bitcoind
                    .as_ref()
                    .is_some_and(|table| table.rest_address.is_some()),
            ),
            (
                "`metrics.enabled`",
                self.metrics
                    .as_ref()
                    .is_some_and(|metrics| metrics.enabled == Some(true)),
            ),
            (
                "`node.pathfinding_scores_source_url`",
                node.is_some_and(|node| node.pathfinding_scores_source_url.is_some()),
            ),
            (
                "`node.rgs_server_url`",
                node.is_some_and(|node| node.rgs_server_url.is_some()),
            ),
            (
                "`node.async_payments_role`",
                node.is_some_and(|node| node.async_payments_role.is_some()),
            ),
            (
                "`node.enable_zero_fee_commitments`",
                node.is_some_and(|node| node.enable_zero_fee_commitments == Some(true)),
            ),
            (
                "`node.forwarded_payment_tracking_mode`",
                node.is_some_and(|node| node.forwarded_payment_tracking_mode.is_some()),
            ),
        ];
        match present.into_iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(ConfigError::Unsupported(key)),
            None => Ok(()),
        }
    }
}

impl BitcoindTable {
    fn check(self) -> Result<Bitcoind, ConfigError> {
        const KEY: &str = "bitcoind.rpc_address";
        let address = self.rpc_address.ok_or(ConfigError::Missing(KEY))?;
        let refuse = |why: &str| ConfigError::Value {
            key: KEY,
            value: address.clone(),
            why: why.to_owned(),
        };
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| refuse("expected host:port"))?;
        let port = port
            .parse()
            .map_err(|_| refuse("the port is no number from 0 to 65535"))?;
        if host.is_empty() {
            return Err(refuse("expected host:port"));
        }
        Ok(Bitcoind {
            host: host.to_owned(),
            port,
            user: self
                .rpc_user
                .ok_or(ConfigError::Missing("bitcoind.rpc_user"))?,
            password: self
                .rpc_password
                .ok_or(ConfigError::Missing("bitcoind.rpc_password"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
[node]
network = "regtest"

[storage.disk]
dir_path = "/tmp/alice"

[bitcoind]
rpc_address = "127.0.0.1:18443"
rpc_user = "user"
rpc_password = "secret"
"#;

    #[test]
    fn defaults_are_upstreams() {
        let config = Config::parse(MINIMAL).unwrap();
        assert_eq!(
            config.grpc_service_address,
            "127.0.0.1:3536".parse().unwrap()
        );
        assert_eq!(config.log_level, LevelFilter::Debug);
        assert_eq!(
            config.log_file.as_deref(),
            Some(Path::new("/tmp/alice/regtest/ldk-server.log"))
        );
        assert_eq!(config.network_dir(), Path::new("/tmp/alice/regtest"));
        assert_eq!(config.listening_addresses, None);
    }

    #[test]
    fn every_portable_key_arrives() {
        let text = MINIMAL.replace(
            "network = \"regtest\"",
            "network = \"signet\"\nalias = \"alice\"\nlistening_addresses = [\"127.0.0.1:9735\", \"[::1]:9735\"]\n\
             announcement_addresses = [\"example.org:9735\"]\ngrpc_service_address = \"127.0.0.1:4000\"",
        ) + "[log]\nlevel = \"Trace\"\nfile = \"/tmp/a.log\"\nmax_size_mb = 5\n[tls]\nhosts = [\"node.example\"]\n";
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.network, Network::Signet);
        assert_eq!(config.alias.as_deref(), Some("alice"));
        assert_eq!(config.listening_addresses.unwrap().len(), 2);
        assert_eq!(
            config.announcement_addresses.unwrap()[0].to_string(),
            "example.org:9735"
        );
        assert_eq!(config.grpc_service_address.port(), 4000);
        assert_eq!(config.log_level, LevelFilter::Trace);
        assert_eq!(config.log_file.as_deref(), Some(Path::new("/tmp/a.log")));
        assert_eq!(config.tls.hosts, ["node.example"]);
        assert_eq!(config.bitcoind.port, 18443);
    }

    #[test]
    fn mistakes_are_named() {
        let without = |line: &str| MINIMAL.replace(line, "");
        let with = |from: &str, to: &str| MINIMAL.replace(from, to);
        let cases = [
            (
                without("network = \"regtest\""),
                "`node.network` is missing",
            ),
            (
                without("dir_path = \"/tmp/alice\""),
                "`storage.disk.dir_path` is missing",
            ),
            (
                without("rpc_user = \"user\""),
                "`bitcoind.rpc_user` is missing",
            ),
            (
                without("rpc_password = \"secret\""),
                "`bitcoind.rpc_password` is missing",
            ),
            (
                MINIMAL[..MINIMAL.find("[bitcoind]").unwrap()].to_owned(),
                "`bitcoind` is missing",
            ),
            (
                with("127.0.0.1:18443", "127.0.0.1"),
                "`bitcoind.rpc_address` = \"127.0.0.1\": expected host:port",
            ),
            (
                with("18443", "184430"),
                "`bitcoind.rpc_address` = \"127.0.0.1:184430\": the port is no number from 0 to 65535",
            ),
            (
                with(
                    "network = \"regtest\"",
                    "network = \"regtest\"\ngrpc_service_address = \"here\"",
                ),
                "`node.grpc_service_address` = \"here\": invalid socket address syntax",
            ),
            (
                with(
                    "network = \"regtest\"",
                    "network = \"regtest\"\nlistening_addresses = [\"nowhere\"]",
                ),
                "`node.listening_addresses` = \"nowhere\": Invalid input format. Expected: \"<ipv4>:<port>\", \
                 \"[<ipv6>]:<port>\", \"<onion address>.onion:<port>\" or \"<hostname>:<port>\"",
            ),
            (
                with(
                    "network = \"regtest\"",
                    "network = \"regtest\"\nalias = \"a name that is longer than it may be\"",
                ),
                "`node.alias` = \"a name that is longer than it may be\": an alias has at most 32 bytes, this one has 36",
            ),
            (
                format!("{MINIMAL}[log]\nlevel = \"loud\"\n"),
                "`log.level` = \"loud\": attempted to convert a string that doesn't match an existing log level",
            ),
            (
                format!("{MINIMAL}[tor]\nproxy_address = \"127.0.0.1:9050\"\n"),
                "[tor] is not supported by the bundled ldk-server; remove it, or run upstream's ldk-server",
            ),
            (
                format!("{MINIMAL}[metrics]\nenabled = true\n"),
                "`metrics.enabled` is not supported by the bundled ldk-server; remove it, or run upstream's ldk-server",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(Config::parse(&text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        let cases = [
            (
                "[node]",
                "[node]\nrest_service_address = \"127.0.0.1:3000\"",
                "rest_service_address",
            ),
            ("[bitcoind]", "[bitcoind]\ncookie = \"x\"", "cookie"),
            ("[storage.disk]", "[storage.disk]\npath = \"x\"", "path"),
            ("[node]", "[rabbitmq]\n[node]", "rabbitmq"),
        ];
        for (from, to, key) in cases {
            let message = Config::parse(&MINIMAL.replace(from, to))
                .unwrap_err()
                .to_string();
            assert!(
                message.contains(&format!("unknown field `{key}`")),
                "{message}"
            );
            assert!(message.contains("line "), "{message}");
        }
    }
}
