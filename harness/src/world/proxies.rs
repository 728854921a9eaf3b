//! The proxies of a world: which links can have one, and who is led through it.

use super::builder::Parts;
use super::{Chain, World, WorldError, WorldErrorKind};
use crate::bitcoind::Bitcoind;
use crate::daemon::StartError;
use crate::elementsd::Elementsd;
use crate::ldk_server::LdkServer;
use crate::proxy::{End, Grpc, Kind, Link, Proxy, ServerEnd, Upstream};
use crate::server::{Server, ServerSpec};

/// A proxy and the link that it is on.
pub(super) type OnLink = (Link, Proxy);

/// Refuses links that no connection goes over, that are there twice, or whose ends are not in the world.
pub(super) fn check(
    links: &[Link],
    nodes: &[String],
    servers: &[ServerEnd],
    parts: Parts<'_>,
) -> Result<(), String> {
    let servers_names = servers.iter().map(|server| &server.name);
    let names: Vec<&str> = nodes
        .iter()
        .chain(servers_names)
        .map(String::as_str)
        .collect();
    for (i, link) in links.iter().enumerate() {
        for end in [&link.from, &link.to] {
            if !parts.has(end) {
                return Err(format!(
                    "the proxy `{link}` has no `{}`: this world has none",
                    end.name()
                ));
            }
        }
        for end in [&link.from, &link.to] {
            if let End::Node(name) = end
                && !names.contains(&name.as_str())
            {
                return Err(format!(
                    "the proxy `{link}` has no `{name}`: this world has {}",
                    names.join(", ")
                ));
            }
        }
        link.kind(servers).map_err(|error| error.to_string())?;
        if links[..i].contains(link) {
            return Err(format!("the proxy `{link}` is there twice"));
        }
    }
    Ok(())
}

pub(super) fn find<'p>(proxies: &'p [OnLink], link: &Link) -> Option<&'p Proxy> {
    let found = proxies.iter().find(|(own, _)| own == link);
    found.map(|(_, proxy)| proxy)
}

/// Starts the proxies in front of bitcoind, and leads the harness through its own.
pub(super) async fn to_bitcoind(
    links: &[Link],
    bitcoind: &mut Bitcoind,
) -> Result<Vec<OnLink>, StartError> {
    let mut proxies = Vec::new();
    for link in links.iter().filter(|link| link.to == End::Bitcoind) {
        let upstream = Upstream::JsonRpc(bitcoind.rpc_address());
        let proxy = Proxy::start(link.to_string(), upstream).await?;
        if link.from == End::Harness {
            bitcoind.go_through(proxy.port());
        }
        proxies.push((link.clone(), proxy));
    }
    Ok(proxies)
}

/// The servers as ends of links.
pub(super) fn server_ends(servers: &[ServerSpec]) -> Vec<ServerEnd> {
    servers.iter().map(ServerSpec::end).collect()
}

/// Starts the proxies in front of the nodes, and leads the harness through its own.
pub(super) async fn to_nodes(
    links: &[Link],
    nodes: &mut [LdkServer],
    servers: &[ServerEnd],
) -> Result<Vec<OnLink>, StartError> {
    let mut proxies = Vec::new();
    for link in links {
        let target = nodes.iter_mut().find(|node| node.name() == link.to.name());
        let (Some(node), Ok(kind)) = (target, link.kind(servers)) else {
            continue;
        };
        let upstream = match kind {
            Kind::Tcp => Upstream::Tcp(node.p2p_address()),
            Kind::Grpc => Upstream::Grpc(node.behind_proxy()),
            Kind::JsonRpc | Kind::Http | Kind::Electrum => continue,
        };
        let proxy = Proxy::start(link.to_string(), upstream).await?;
        if kind == Kind::Grpc && link.from == End::Harness {
            node.go_through(proxy.address())?;
        }
        proxies.push((link.clone(), proxy));
    }
    Ok(proxies)
}

/// Starts the proxies in front of elementsd, and leads the harness through its own.
pub(super) async fn to_elementsd(
    links: &[Link],
    elementsd: &mut Elementsd,
) -> Result<Vec<OnLink>, StartError> {
    let mut proxies = Vec::new();
    for link in links.iter().filter(|link| link.to == End::Elementsd) {
        let upstream = Upstream::JsonRpc(elementsd.rpc_address());
        let proxy = Proxy::start(link.to_string(), upstream).await?;
        if link.from == End::Harness {
            elementsd.go_through(proxy.port());
        }
        proxies.push((link.clone(), proxy));
    }
    Ok(proxies)
}

impl Parts<'_> {
    /// Whether a daemon of which a world has one at most is in it.
    fn has(self, end: &End) -> bool {
        match end {
            End::Harness | End::Bitcoind | End::Node(_) => true,
            End::Elementsd => self.liquid.is_some(),
            End::Electrs => self.index.contains(&Chain::Bitcoin),
            End::ElectrsLiquid => self.index.contains(&Chain::Liquid),
        }
    }
}

/// Starts the proxies in front of a server that runs.
pub(super) async fn to_server(
    links: &[Link],
    server: &Server,
    proxies: &mut Vec<OnLink>,
) -> Result<(), StartError> {
    for link in links.iter().filter(|link| link.to.name() == server.name()) {
        let address = server.address();
        let upstream = match (server.speaks(), server.api()) {
            (Kind::Grpc, Some(api)) => Upstream::Grpc(Grpc {
                address,
                tls: None,
                api: api.clone(),
            }),
            (Kind::Http, _) => Upstream::Http(address),
            _ => Upstream::Tcp(address),
        };
        let proxy = Proxy::start(link.to_string(), upstream).await?;
        proxies.push((link.clone(), proxy));
    }
    Ok(())
}

impl World {
    /// The proxies, each with its link, those in front of bitcoind first.
    pub fn proxies(&self) -> impl Iterator<Item = (&Link, &Proxy)> {
        self.proxies.iter().map(|(link, proxy)| (link, proxy))
    }

    /// The proxy on a link.
    ///
    /// # Errors
    /// When the world was not asked for one there.
    pub fn proxy(&self, link: &Link) -> Result<&Proxy, WorldError> {
        find(&self.proxies, link).ok_or_else(|| {
            let text = format!(
                "this world has no proxy on `{link}`; ask for it when the world is described: \
                 proxies = [\"{link}\"]"
            );
            self.error(WorldErrorKind::Setup(text))
        })
    }

    /// `127.0.0.1:PORT` under which node `from` reaches the Lightning peer `to`: a proxy, where there is one.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn peer_address(&self, from: &str, to: &str) -> Result<String, WorldError> {
        let direct = self.node(to)?.p2p_address();
        let proxy = find(&self.proxies, &Link::new(from, to));
        Ok(proxy.map_or(direct, Proxy::address))
    }
}
