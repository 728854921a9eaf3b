//! Who calls whom through a proxy: `alice->bob`, `bob->bitcoind`, `harness->alice`.

use std::fmt;
use std::str::FromStr;

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum End {
    /// The harness itself, and so every step that asks or looks.
    Harness,
    /// The Bitcoin node.
    Bitcoind,
    /// The Liquid node.
    Elementsd,
    /// The index of the Bitcoin chain.
    Electrs,
    /// The index of the Liquid chain.
    ElectrsLiquid,
    /// The Lightning node of this name, or the server: names of both are distinct in a world.
    Node(String),
}

/// A server of a world, as the end of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEnd {
    /// Its name.
    pub name: String,
    /// What it speaks, as far as a proxy can look into it.
    pub speaks: Kind,
}

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link {
    /// Who opens the connections.
    pub from: End,
    /// Who accepts them.
    pub to: End,
}

/// What passes over a link, and with it which faults it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes that are not looked into: two Lightning peers, or a server whose messages are not known.
    Tcp,
    /// JSON-RPC over HTTP: bitcoind's API.
    JsonRpc,
    /// HTTP, with JSON as bodies: the API of a server.
    Http,
    /// Lines of JSON, with answers and with news that nobody asked for: an index.
    Electrum,
    /// gRPC: a Lightning node's API, or that of a server.
    Grpc,
}

/// Why a text or a pair of ends is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not two names with an arrow between them.
    #[error("`{0}` is not FROM->TO, such as \"alice->bob\"")]
    Malformed(String),
    /// Both ends are the same.
    #[error("`{0}` calls itself")]
    Itself(Link),
    /// A node of a chain never calls.
    #[error("{end} calls nobody: `{0}` has its ends the wrong way round", end = .0.from.name())]
    FromBitcoind(Link),
    /// An index calls the node of its chain and nobody else.
    #[error("{end} calls only the node of its chain, so `{0}` carries nothing", end = .0.from.name())]
    FromIndex(Link),
    /// The harness is never called.
    #[error("nobody calls the harness: `{0}` has its ends the wrong way round")]
    ToHarness(Link),
    /// A Lightning node knows of bitcoind alone.
    #[error("a Lightning node calls bitcoind and its peers, so `{0}` carries nothing")]
    NodeBeyondBitcoin(Link),
    /// A Lightning node never calls a server.
    #[error("a Lightning node calls no server: `{0}` has its ends the wrong way round")]
    NodeToServer(Link),
}

/// The name of the harness as an end.
pub const HARNESS: &str = "harness";
/// The name of the Bitcoin node as an end.
pub const BITCOIND: &str = "bitcoind";
/// The name of the Liquid node as an end.
pub const ELEMENTSD: &str = "elementsd";
/// The name of the index of the Bitcoin chain as an end.
pub const ELECTRS: &str = "electrs";
/// The name of the index of the Liquid chain as an end.
pub const ELECTRS_LIQUID: &str = "electrs-liquid";
const ARROW: &str = "->";

impl From<&str> for End {
    fn from(name: &str) -> Self {
        match name {
            HARNESS => End::Harness,
            BITCOIND => End::Bitcoind,
            ELEMENTSD => End::Elementsd,
            ELECTRS => End::Electrs,
            ELECTRS_LIQUID => End::ElectrsLiquid,
            name => End::Node(name.to_owned()),
        }
    }
}

impl End {
    /// Its name, as a link is written.
    pub fn name(&self) -> &str {
        match self {
            End::Harness => HARNESS,
            End::Bitcoind => BITCOIND,
            End::Elementsd => ELEMENTSD,
            End::Electrs => ELECTRS,
            End::ElectrsLiquid => ELECTRS_LIQUID,
            End::Node(name) => name,
        }
    }
}

impl Link {
    /// The link from one end to the other, by their names.
    pub fn new(from: &str, to: &str) -> Self {
        Link {
            from: from.into(),
            to: to.into(),
        }
    }

    /// The same link the other way round.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Link {
            from: self.to.clone(),
            to: self.from.clone(),
        }
    }

    /// What passes over it in a world with these servers; its other ends are Lightning nodes.
    ///
    /// # Errors
    /// When no connection ever goes that way.
    pub fn kind(&self, servers: &[ServerEnd]) -> Result<Kind, LinkError> {
        let server = |end: &End| servers.iter().find(|server| server.name == end.name());
        match (&self.from, &self.to) {
            (from, to) if from == to => Err(LinkError::Itself(self.clone())),
            (_, End::Harness) => Err(LinkError::ToHarness(self.clone())),
            (End::Bitcoind | End::Elementsd, _) => Err(LinkError::FromBitcoind(self.clone())),
            (End::Electrs, End::Bitcoind) | (End::ElectrsLiquid, End::Elementsd) => {
                Ok(Kind::JsonRpc)
            }
            (End::Electrs | End::ElectrsLiquid, _) => Err(LinkError::FromIndex(self.clone())),
            (_, End::Bitcoind) => Ok(Kind::JsonRpc),
            (from @ End::Node(_), End::Elementsd | End::Electrs | End::ElectrsLiquid)
                if server(from).is_none() =>
            {
                Err(LinkError::NodeBeyondBitcoin(self.clone()))
            }
            (_, End::Elementsd) => Ok(Kind::JsonRpc),
            (_, End::Electrs | End::ElectrsLiquid) => Ok(Kind::Electrum),
            (from, to) => match (server(from), server(to)) {
                (None, Some(_)) if *from != End::Harness => {
                    Err(LinkError::NodeToServer(self.clone()))
                }
                (_, Some(to)) => Ok(to.speaks),
                (None, None) if *from != End::Harness => Ok(Kind::Tcp),
                (_, None) => Ok(Kind::Grpc),
            },
        }
    }
}

impl Kind {
    /// What a server speaks: gRPC when its messages are known, HTTP when it is asked over HTTP whether it is ready; bytes that
    /// nobody can look into when its connections are encrypted.
    pub fn of_server(has_messages: bool, answers_http: bool, is_encrypted: bool) -> Self {
        match (has_messages, answers_http) {
            _ if is_encrypted => Kind::Tcp,
            (true, _) => Kind::Grpc,
            (false, true) => Kind::Http,
            (false, false) => Kind::Tcp,
        }
    }

    /// What it is called in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "plain bytes",
            Kind::JsonRpc => "JSON-RPC",
            Kind::Http => "HTTP",
            Kind::Electrum => "the Electrum protocol",
            Kind::Grpc => "gRPC",
        }
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let malformed = || LinkError::Malformed(text.to_owned());
        let (from, to) = text.split_once(ARROW).ok_or_else(malformed)?;
        let named = |name: &str| {
            let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !name.is_empty() && name.chars().all(sound)
        };
        let (from, to) = (from.trim(), to.trim());
        if !named(from) || !named(to) {
            return Err(malformed());
        }
        Ok(Link::new(from, to))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{ARROW}{}", self.from.name(), self.to.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_two_names_and_an_arrow() {
        for (text, kind) in [
            ("alice->bob", Ok(Kind::Tcp)),
            (" a-1 -> b ", Ok(Kind::Tcp)),
            ("alice->bitcoind", Ok(Kind::JsonRpc)),
            ("harness->bitcoind", Ok(Kind::JsonRpc)),
            ("harness->alice", Ok(Kind::Grpc)),
            ("harness->elementsd", Ok(Kind::JsonRpc)),
            ("electrs-liquid->elementsd", Ok(Kind::JsonRpc)),
            ("electrs->bitcoind", Ok(Kind::JsonRpc)),
        ] {
            assert_eq!(text.parse::<Link>().unwrap().kind(&[]), kind, "{text}");
        }
        for text in [
            "",
            "alice",
            "alice-bob",
            "->bob",
            "alice->",
            "A->b",
            "a->b->c",
        ] {
            assert!(
                matches!(text.parse::<Link>(), Err(LinkError::Malformed(_))),
                "{text}"
            );
        }
        for text in [
            "a->a",
            "bitcoind->alice",
            "alice->harness",
            "alice->elementsd",
            "elementsd->electrs-liquid",
            "electrs->elementsd",
            "electrs-liquid->bitcoind",
        ] {
            assert!(text.parse::<Link>().unwrap().kind(&[]).is_err(), "{text}");
        }
    }

    #[test]
    fn servers_call_daemons_and_are_called_by_the_harness_and_by_each_other() {
        let server = |name: &str, speaks| ServerEnd {
            name: name.to_owned(),
            speaks,
        };
        let servers = [
            server("maker", Kind::of_server(true, true, false)),
            server("desk", Kind::of_server(false, false, false)),
            server("shop", Kind::of_server(false, true, false)),
            server("vault", Kind::of_server(true, true, true)),
        ];
        for (text, kind) in [
            ("maker->bitcoind", Ok(Kind::JsonRpc)),
            ("maker->elementsd", Ok(Kind::JsonRpc)),
            ("maker->electrs-liquid", Ok(Kind::Electrum)),
            ("maker->alice", Ok(Kind::Grpc)),
            ("harness->maker", Ok(Kind::Grpc)),
            ("harness->desk", Ok(Kind::Tcp)),
            ("harness->shop", Ok(Kind::Http)),
            ("harness->vault", Ok(Kind::Tcp)),
            ("desk->maker", Ok(Kind::Grpc)),
            ("maker->desk", Ok(Kind::Tcp)),
            ("alice->bob", Ok(Kind::Tcp)),
            (
                "alice->maker",
                Err(LinkError::NodeToServer(Link::new("alice", "maker"))),
            ),
        ] {
            assert_eq!(text.parse::<Link>().unwrap().kind(&servers), kind, "{text}");
        }
    }
}
