//! The indexes of a world: Electrum servers over the nodes of its chains, and the barrier that they must pass.

use std::path::Path;

use super::proxies::{OnLink, find};
use super::{Binaries, Chain, Liquid, World, WorldError, WorldErrorKind};
use crate::binary::{Binary, Role};
use crate::bitcoind::{Bitcoind, Tip};
use crate::daemon::StartError;
use crate::electrs::Electrs;
use crate::elementsd::Elementsd;
use crate::proxy::{BITCOIND, ELECTRS, ELECTRS_LIQUID, ELEMENTSD, Link, Proxy};
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
    rpc: String,
}

impl Over {
    pub(super) fn bitcoind(node: &Bitcoind) -> Self {
        Over {
            chain: Chain::Bitcoin,
            rpc: node.rpc_address(),
        }
    }

    pub(super) fn elementsd(node: &Elementsd) -> Self {
        Over {
            chain: Chain::Liquid,
            rpc: node.rpc_address(),
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
    let Over { chain, rpc } = over;
    let (role, own, node) = match chain {
        Chain::Bitcoin => (Role::Electrs, ELECTRS, BITCOIND),
        Chain::Liquid => (Role::ElectrsLiquid, ELECTRS_LIQUID, ELEMENTSD),
    };
    let binary = needed(binaries, role)?;
    let through = find(proxies, &Link::new(own, node)).map(Proxy::address);
    let rpc = through.unwrap_or(rpc);
    let _ = links;
    Electrs::start(binary, dir, chain, &rpc, deadline).await
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
        let running = index.running();
        if running.exit().is_some() {
            return Ok(());
        }
        match running.unless_exited(index.wait_tip(tip, deadline)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.error(error)),
            Err(exit) => {
                let text = format!(
                    "{} {exit}, while it was to reach {}\n{}",
                    index.name(),
                    tip.height,
                    running.log_tail()
                );
                Err(self.error(WorldErrorKind::Ruled(text)))
            }
        }
    }
}
