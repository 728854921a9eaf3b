//! The indexes of a world: Electrum servers over the nodes of its chains, and the barrier that they must pass.

use std::path::Path;

use super::proxies::{OnLink, find};
use super::{Binaries, Chain, Liquid, World, WorldError, WorldErrorKind};
use crate::binary::{Binary, Role};
use crate::bitcoind::{self, Bitcoind, Tip};
use crate::daemon::StartError;
use crate::electrs::{Electrs, FollowedNode};
use crate::elementsd::{self, Elementsd};
use crate::proxy::{BITCOIND, ELECTRS, ELECTRS_LIQUID, ELEMENTSD, End, Link, Proxy, Upstream};
use crate::time::Deadline;

/// The program for a role that this world has.
pub(super) fn needed(binaries: &Binaries, role: Role) -> Result<&Binary, StartError> {
    binaries.of(role).ok_or_else(|| StartError::Endpoint {
        name: role.name().to_owned(),
        why: "the programs that were given for this world have none; resolve them with its needs"
            .to_owned(),
    })
}

/// The node that an index stands over.
pub(super) struct Over {
    chain: Chain,
    node: FollowedNode,
}

impl Over {
    pub(super) fn bitcoind(node: &Bitcoind) -> Self {
        Over {
            chain: Chain::Bitcoin,
            node: FollowedNode {
                rpc: node.rpc_address(),
                p2p: node.p2p_address(),
                user: bitcoind::USER.to_owned(),
                password: bitcoind::PASSWORD.to_owned(),
                dir: node.dir().to_owned(),
            },
        }
    }

    pub(super) fn elementsd(node: &Elementsd) -> Self {
        Over {
            chain: Chain::Liquid,
            node: FollowedNode {
                rpc: node.rpc_address(),
                p2p: String::new(),
                user: elementsd::USER.to_owned(),
                password: elementsd::PASSWORD.to_owned(),
                dir: node.dir().to_owned(),
            },
        }
    }
}

/// Starts the index of a chain over its node, or over the proxy in front of it; then the proxies in front of the index.
pub(super) async fn start(
    over: Over,
    links: &[Link],
    proxies: &mut Vec<OnLink>,
    binaries: &Binaries,
    (dir, deadline): (&Path, Deadline),
) -> Result<Electrs, StartError> {
    let Over { chain, mut node } = over;
    let (own, followed) = match chain {
        Chain::Bitcoin => (ELECTRS, BITCOIND),
        Chain::Liquid => (ELECTRS_LIQUID, ELEMENTSD),
    };
    let binary = needed(binaries, chain.index_role())?;
    if let Some(proxy) = find(proxies, &Link::new(own, followed)) {
        node.rpc = proxy.address();
    }
    let mut index = Electrs::start(binary, dir, chain, &node, deadline).await?;
    for link in links.iter().filter(|link| link.to.name() == own) {
        let upstream = Upstream::Electrum(index.electrum_address());
        let proxy = Proxy::start(link.to_string(), upstream).await?;
        if link.from == End::Harness {
            index.go_through(proxy.address());
        }
        proxies.push((link.clone(), proxy));
    }
    Ok(index)
}

impl World {
    /// Its indexes, that of the Bitcoin chain first.
    pub fn indexes(&self) -> impl Iterator<Item = &Electrs> {
        let liquid = self.liquid.as_ref().and_then(Liquid::index);
        self.electrs.iter().chain(liquid)
    }

    /// The index of a chain.
    ///
    /// # Errors
    /// When there is none.
    pub fn index(&self, chain: Chain) -> Result<&Electrs, WorldError> {
        let found = match chain {
            Chain::Bitcoin => self.electrs.as_ref(),
            Chain::Liquid => self.liquid.as_ref().and_then(Liquid::index),
        };
        found.ok_or_else(|| {
            let name = match chain {
                Chain::Bitcoin => "bitcoin",
                Chain::Liquid => "liquid",
            };
            let text = format!(
                "this world has no index of the {name} chain; ask for it when the world is described: \
                 index = [\"{name}\"]"
            );
            self.error(WorldErrorKind::Setup(text))
        })
    }

    /// Waits until the index of a chain, where there is one that runs, has reached `tip`.
    pub(super) async fn index_follows(
        &self,
        chain: Chain,
        tip: Tip,
        deadline: Deadline,
    ) -> Result<(), WorldError> {
        let Ok(index) = self.index(chain) else {
            return Ok(());
        };
        follow(index, tip, deadline)
            .await
            .map_err(|error| self.error(error))
    }
}

/// Waits until an index that runs has reached `tip`.
pub(super) async fn follow(
    index: &Electrs,
    tip: Tip,
    deadline: Deadline,
) -> Result<(), WorldErrorKind> {
    let running = index.running();
    if running.exit().is_some() {
        return Ok(());
    }
    let followed = running.unless_exited(index.wait_tip(tip, deadline)).await;
    followed.map_err(|exit| {
        let (name, height) = (index.name(), tip.height);
        let tail = running.log_tail();
        WorldErrorKind::Ruled(format!(
            "{name} {exit}, while it was to reach {height}\n{tail}"
        ))
    })??;
    Ok(())
}
