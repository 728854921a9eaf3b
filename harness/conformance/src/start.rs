//! Starts the daemons of a lab by the harness's drivers: a node, and an index that follows it.

use std::path::Path;
use std::sync::Arc;

use swaprig_harness::binary::{
    Binary, Choice, Kind, Passport, Progress, ResolveError, Role, Settings, resolve,
};
use swaprig_harness::electrs::{Chain, Electrs, FollowedNode};
use swaprig_harness::elementsd::{Elementsd, PASSWORD, USER};
use swaprig_harness::error_chain;
use swaprig_harness::time::Deadline;

use crate::lab::{Endpoints, Lab, Poke};
use crate::rpc::NodeRpc;
use crate::trial::Stop;

/// Programs of one kind.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Plays elementsd.
    pub node: Binary,
    /// Plays its electrs.
    pub index: Binary,
}

impl Programs {
    /// Finds those of `kind`.
    ///
    /// # Errors
    /// Where they were looked for, and what to do.
    pub fn find(
        kind: Kind,
        settings: &Settings,
        progress: &dyn Progress,
    ) -> Result<Self, Box<ResolveError>> {
        let choice = match kind {
            Kind::Upstream => Choice::Upstream,
            Kind::Bundled => Choice::Bundled,
        };
        let mut settings = Settings {
            choice,
            ..settings.clone()
        };
        if kind == Kind::Bundled {
            // What was named is the other kind's.
            settings.elementsd = None;
            settings.electrs_liquid = None;
        }
        let find = |role| resolve(role, &settings, progress).map_err(Box::new);
        Ok(Programs {
            node: find(Role::Elementsd)?,
            index: find(Role::ElectrsLiquid)?,
        })
    }

    /// Which programs these are.
    pub fn passport(&self) -> Passport {
        [&self.node, &self.index].into_iter().collect()
    }

    /// Whose they are.
    pub fn kind(&self) -> Kind {
        self.node.kind
    }
}

/// A lab's daemons, which run until [`Daemons::stop`].
#[derive(Debug)]
pub struct Daemons {
    node: Elementsd,
    index: Arc<Electrs>,
}

impl Daemons {
    /// Starts them in `dir`.
    ///
    /// # Errors
    /// Why one of them did not come up, with its last words.
    pub async fn start(programs: &Programs, dir: &Path, deadline: Deadline) -> Result<Self, Stop> {
        let failed = |error: &(dyn std::error::Error + 'static)| Stop(error_chain(error));
        let node = Elementsd::start(&programs.node, dir, &[], deadline)
            .await
            .map_err(|error| failed(&error))?;
        let followed = FollowedNode {
            rpc: node.rpc_address(),
            p2p: String::new(),
            user: USER.into(),
            password: PASSWORD.into(),
            dir: node.dir().to_owned(),
        };
        let index = Electrs::start(&programs.index, dir, Chain::Liquid, &followed, deadline)
            .await
            .map_err(|error| failed(&error))?;
        Ok(Daemons {
            node,
            index: Arc::new(index),
        })
    }

    /// Where they are.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            node: NodeRpc::new(self.node.rpc_address(), USER, PASSWORD),
            index: self.index.electrum_address(),
            poke: {
                let index = self.index.clone();
                // A signal to a process that has ended goes nowhere.
                Poke(Arc::new(move || index.poke()))
            },
        }
    }

    /// A lab on them.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub async fn lab(&self) -> Result<Lab, Stop> {
        Lab::new(self.endpoints()).await
    }

    /// Ends both.
    pub async fn stop(&self, deadline: Deadline) {
        self.index.stop(deadline).await;
        self.node.stop(deadline).await;
    }
}
