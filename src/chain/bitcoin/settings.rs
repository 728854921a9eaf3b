//! Where the chain is read, and how transactions pay.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use swaprig_units::{Height, Sat};

use super::super::index::IndexSettings;
use crate::swap::FeeRate;

/// How Bitcoin is reached, and where the wallet is.
#[derive(Debug, Clone)]
pub struct BitcoinSettings {
    /// The network.
    pub network: bitcoin::Network,
    /// What is asked and told.
    pub source: BitcoinSource,
    /// A directory for the wallet's database; made when it is missing. It can be lost: the chain is scanned again from `birthday`.
    pub dir: PathBuf,
    /// No coin of the seed is in a block below this height. 0 is always right, and slow on a long chain.
    pub birthday: Height,
    /// How transactions pay.
    pub fees: BitcoinFees,
}

/// Who knows the chain.
#[derive(Debug, Clone)]
pub enum BitcoinSource {
    /// A bitcoind. It needs no index of transactions and no wallet.
    Node(NodeSettings),
    /// An Electrum server.
    Electrum(IndexSettings),
}

/// How a bitcoind is reached.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// `http://HOST:PORT`.
    pub url: String,
    /// What it is told to let us in.
    pub auth: NodeAuth,
    /// How long one call may take.
    pub timeout: Duration,
}

/// What lets us in. Never shown by `Debug`.
#[derive(Clone)]
pub enum NodeAuth {
    /// Those of `rpcauth` or `rpcuser` and `rpcpassword`.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// The file that bitcoind writes at each start.
    Cookie(PathBuf),
}

impl fmt::Debug for NodeAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeAuth::Password { user, .. } => write!(f, "Password({user:?}, …)"),
            NodeAuth::Cookie(path) => write!(f, "Cookie({})", path.display()),
        }
    }
}

/// What fundings pay.
#[derive(Debug, Clone)]
pub struct BitcoinFees {
    /// Never less than this.
    pub floor: FeeRate,
    /// Never more than this, whatever an estimate says.
    pub cap: FeeRate,
    /// When nobody can tell, as on a new regtest.
    pub fallback: FeeRate,
    /// Asked instead of the source: the address of a service that answers `/api/v1/fees/recommended` as mempool.space does, such as
    /// `https://mempool.space`. Without an answer the source is asked.
    pub service: Option<String>,
    /// The least that is worth an output; less goes to the fee.
    pub dust: Sat,
}

impl Default for BitcoinFees {
    /// From 1 to 500 sat/vB, 5 when nobody can tell; the dust of a taproot output at Core's default of 3 sat/vB.
    fn default() -> Self {
        BitcoinFees {
            floor: FeeRate(1_000),
            cap: FeeRate(500_000),
            fallback: FeeRate(5_000),
            service: None,
            dust: Sat(330),
        }
    }
}

/// An address of a source that is none. The password in it is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSource {
    /// It is none that is known.
    #[error(
        "this is no address of a bitcoind or an Electrum server; write http://USER:PASSWORD@HOST:PORT, http://HOST:PORT with a cookie file, \
         tcp://HOST:PORT or ssl://HOST:PORT"
    )]
    Url,
    /// It says nothing to be let in with.
    #[error(
        "nothing to be let in with: name bitcoind's cookie file, or write http://USER:PASSWORD@HOST:PORT"
    )]
    NoAuth,
    /// It says two things.
    #[error("a cookie file and a password are both named: take one away")]
    TwoAuths,
    /// Electrum servers let everybody in.
    #[error("a cookie file is named for an Electrum server: take it away")]
    CookieForElectrum,
}

impl BitcoinSource {
    /// Reads `http://[USER:PASSWORD@]HOST:PORT`, `tcp://HOST:PORT` or `ssl://HOST:PORT`; `cookie` is bitcoind's file.
    ///
    /// # Errors
    ///
    /// When it is none of these, and when it is not clear what to be let in with.
    pub fn parse(url: &str, cookie: Option<PathBuf>) -> Result<BitcoinSource, BadSource> {
        let (scheme, rest) = url.split_once("://").ok_or(BadSource::Url)?;
        match scheme {
            "tcp" | "ssl" => match cookie {
                Some(_) => Err(BadSource::CookieForElectrum),
                None if rest.contains('@') || !has_port(rest) => Err(BadSource::Url),
                None => Ok(BitcoinSource::Electrum(IndexSettings::new(url))),
            },
            "http" => {
                let (login, host) = match rest.rsplit_once('@') {
                    Some((login, host)) => (Some(login), host),
                    None => (None, rest),
                };
                let host = host.trim_end_matches('/');
                if !has_port(host) {
                    return Err(BadSource::Url);
                }
                let auth = match (login, cookie) {
                    (Some(_), Some(_)) => return Err(BadSource::TwoAuths),
                    (None, None) => return Err(BadSource::NoAuth),
                    (None, Some(path)) => NodeAuth::Cookie(path),
                    (Some(login), None) => {
                        let (user, password) = login.split_once(':').ok_or(BadSource::NoAuth)?;
                        NodeAuth::Password {
                            user: user.to_owned(),
                            password: password.to_owned(),
                        }
                    }
                };
                Ok(BitcoinSource::Node(NodeSettings {
                    url: format!("http://{host}"),
                    auth,
                    timeout: Duration::from_secs(10),
                }))
            }
            _ => Err(BadSource::Url),
        }
    }
}

fn has_port(host: &str) -> bool {
    let parts = host.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_from_its_address() {
        let read = BitcoinSource::parse("http://me:a:b@h@127.0.0.1:8332/", None).unwrap();
        let BitcoinSource::Node(node) = read else {
            panic!("{read:?}");
        };
        assert_eq!(node.url, "http://127.0.0.1:8332");
        assert!(
            matches!(&node.auth, NodeAuth::Password { user, password } if user == "me" && password == "a:b@h")
        );
        assert!(!format!("{node:?}").contains("a:b"));
        let cookie = || Some(PathBuf::from("/c"));
        let read = BitcoinSource::parse("http://h:1", cookie()).unwrap();
        assert!(matches!(
            read,
            BitcoinSource::Node(NodeSettings {
                auth: NodeAuth::Cookie(_),
                ..
            })
        ));
        let read = BitcoinSource::parse("tcp://h:50001", None).unwrap();
        assert!(matches!(read, BitcoinSource::Electrum(_)));
        for (url, cookie, error) in [
            ("h:1", None, BadSource::Url),
            ("http://h", cookie(), BadSource::Url),
            ("http://h/w:1", cookie(), BadSource::Url),
            ("tcp://h", None, BadSource::Url),
            ("tcp://a:b@h:1", None, BadSource::Url),
            ("https://h:1", cookie(), BadSource::Url),
            ("http://h:1", None, BadSource::NoAuth),
            ("http://me@h:1", None, BadSource::NoAuth),
            ("http://me:x@h:1", cookie(), BadSource::TwoAuths),
            ("tcp://h:1", cookie(), BadSource::CookieForElectrum),
        ] {
            assert_eq!(
                BitcoinSource::parse(url, cookie).unwrap_err(),
                error,
                "{url}"
            );
        }
    }
}
