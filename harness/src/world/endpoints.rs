//! The endpoints of a world by name, for texts that are filled in: `alice.grpc`, `bitcoind.rpc`, `maker.listen`.

use std::path::Path;

use super::proxies::{OnLink, find};
use super::{Liquid, World, WorldError, WorldErrorKind};
use crate::bitcoind::{Bitcoind, PASSWORD, USER};
use crate::daemon::StartError;
use crate::electrs::Electrs;
use crate::elementsd::{self, Elementsd};
use crate::ldk_server::{CredentialFile, LdkServer};
use crate::proxy::{self, HARNESS, Link, Proxy};
use crate::server::Server;

/// What bitcoind has, with what each is.
pub const BITCOIND: &[(&str, &str)] = &[
    ("rpc", "127.0.0.1:PORT of its JSON-RPC"),
    ("user", "the user of its JSON-RPC"),
    ("password", "the password of its JSON-RPC"),
    ("p2p", "127.0.0.1:PORT for other Bitcoin nodes"),
];

/// What elementsd has, with what each is.
pub const ELEMENTSD: &[(&str, &str)] = &[
    ("rpc", "127.0.0.1:PORT of its JSON-RPC"),
    ("user", "the user of its JSON-RPC"),
    ("password", "the password of its JSON-RPC"),
];

/// What an index has, of Bitcoin (`electrs`) or of Liquid (`electrs-liquid`), with what each is.
pub const INDEX: &[(&str, &str)] = &[(
    "electrum",
    "127.0.0.1:PORT on which it speaks the Electrum protocol",
)];

/// What a Lightning node has, with what each is.
pub const NODE: &[(&str, &str)] = &[
    ("grpc", "127.0.0.1:PORT of its gRPC API"),
    ("p2p", "127.0.0.1:PORT for other Lightning nodes"),
    ("cert", "the file with its TLS certificate"),
    (
        "api_key_file",
        "the file with its API key; a node of another generation has none",
    ),
    (
        "macaroon_file",
        "the file with its macaroon; a node of another generation has none",
    ),
    ("id", "its public key, in hexadecimal digits"),
];

/// What a server has, with what each is.
pub const SERVER: &[(&str, &str)] = &[
    ("listen", "127.0.0.1:PORT that it listens on"),
    (
        "admin",
        "127.0.0.1:PORT, the second one that was claimed for it",
    ),
    ("dir", "its directory"),
];

/// This very program: `run = ["{swaprig}", "server", …]`.
pub const SWAPRIG: &str = "swaprig";

/// The parts of a world that have endpoints; while it starts, those that run already.
pub(super) struct Endpoints<'w> {
    pub(super) bitcoind: &'w Bitcoind,
    pub(super) nodes: &'w [LdkServer],
    pub(super) servers: &'w [Server],
    pub(super) liquid: Option<&'w Liquid>,
    pub(super) electrs: Option<&'w Electrs>,
    pub(super) proxies: &'w [OnLink],
    /// The `swaprig` executable.
    pub(super) exe: Option<&'w Path>,
    /// Who is to use them: a server, or the harness and the programs that it runs.
    pub(super) caller: &'w str,
}

impl Endpoints<'_> {
    /// The value of `OWNER.WHAT`; an error says why there is none.
    pub(super) fn value(&self, name: &str) -> Result<String, String> {
        let unknown = || format!("there is no endpoint `{name}` in this world");
        if name == SWAPRIG {
            let exe = self.exe.map(|exe| exe.to_string_lossy().into_owned());
            return exe.ok_or_else(|| {
                "this program is not swaprig: set SWAPRIG_EXE to the swaprig executable".to_owned()
            });
        }
        let (owner, what) = name.split_once('.').ok_or_else(unknown)?;
        let node = self.nodes.iter().find(|node| node.name() == owner);
        let server = self.servers.iter().find(|server| server.name() == owner);
        if let Some(proxy) = self.in_front_of(owner, what) {
            return Ok(proxy.address());
        }
        let found = match (owner, node, server) {
            (proxy::BITCOIND, ..) => of_bitcoind(self.bitcoind, what),
            (proxy::ELEMENTSD, ..) => self
                .liquid
                .and_then(|liquid| of_elementsd(liquid.elementsd(), what)),
            (proxy::ELECTRS, ..) => self.electrs.and_then(|index| of_index(index, what)),
            (proxy::ELECTRS_LIQUID, ..) => self
                .liquid
                .and_then(Liquid::index)
                .and_then(|index| of_index(index, what)),
            (_, Some(node), _) => of_node(node, what)?,
            (_, _, Some(server)) => match what {
                "listen" => Some(server.address()),
                "admin" => Some(server.admin_address()),
                "dir" => Some(server.dir().to_string_lossy().into_owned()),
                _ => None,
            },
            _ => None,
        };
        found.ok_or_else(unknown)
    }

    /// The proxy through which the caller reaches `owner`, where `what` is the address that the proxy stands in front
    /// of. The harness has its own way to daemons.
    fn in_front_of(&self, owner: &str, what: &str) -> Option<&Proxy> {
        let is_called = match what {
            "rpc" | "grpc" | "electrum" => self.caller != HARNESS,
            what => what == "listen",
        };
        let proxy = || find(self.proxies, &Link::new(self.caller, owner));
        is_called.then(proxy).flatten()
    }
}

fn of_bitcoind(bitcoind: &Bitcoind, what: &str) -> Option<String> {
    match what {
        "rpc" => Some(bitcoind.rpc_address()),
        "user" => Some(USER.to_owned()),
        "password" => Some(PASSWORD.to_owned()),
        "p2p" => Some(bitcoind.p2p_address()),
        _ => None,
    }
}

fn of_elementsd(elementsd: &Elementsd, what: &str) -> Option<String> {
    match what {
        "rpc" => Some(elementsd.rpc_address()),
        "user" => Some(elementsd::USER.to_owned()),
        "password" => Some(elementsd::PASSWORD.to_owned()),
        _ => None,
    }
}

fn of_index(index: &Electrs, what: &str) -> Option<String> {
    (what == "electrum").then(|| index.electrum_address())
}

fn of_node(node: &LdkServer, what: &str) -> Result<Option<String>, String> {
    let name = node.name();
    Ok(match (what, node.credential_file()) {
        ("grpc", _) => Some(node.grpc_address()),
        ("p2p", _) => Some(node.p2p_address()),
        ("cert", _) => Some(node.tls_cert().to_string_lossy().into_owned()),
        ("id", _) => Some(node.node_id().to_string()),
        ("api_key_file", CredentialFile::ApiKey(path))
        | ("macaroon_file", CredentialFile::Macaroon(path)) => {
            Some(path.to_string_lossy().into_owned())
        }
        ("api_key_file", _) => {
            return Err(format!(
                "{name} has no API key, it has a macaroon: write {{{name}.macaroon_file}}"
            ));
        }
        ("macaroon_file", _) => {
            return Err(format!(
                "{name} has no macaroon, it has an API key: write {{{name}.api_key_file}}"
            ));
        }
        _ => None,
    })
}

impl World {
    /// The value of an endpoint such as `alice.grpc`: see [`BITCOIND`], [`ELEMENTSD`],
    /// [`INDEX`], [`NODE`] and [`SERVER`].
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn endpoint(&self, name: &str) -> Result<String, WorldError> {
        let endpoints = Endpoints {
            bitcoind: &self.bitcoind,
            nodes: &self.nodes,
            servers: &self.servers,
            liquid: self.liquid.as_ref(),
            electrs: self.electrs.as_ref(),
            proxies: &self.proxies,
            exe: self.exe.as_deref(),
            caller: HARNESS,
        };
        endpoints
            .value(name)
            .map_err(|text| self.error(WorldErrorKind::Setup(text)))
    }
}

pub(super) fn missing(server: &str, why: String) -> StartError {
    StartError::Endpoint {
        name: server.to_owned(),
        why,
    }
}
