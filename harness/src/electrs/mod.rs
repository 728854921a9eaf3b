//! The driver of an index: romanz's electrs on Bitcoin, Blockstream's on Liquid, or the bundled one on either.
//! It knows the node by its addresses alone; which blocks there are to wait for is said by the caller.

mod client;
mod launch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
use rustix::process::Signal;
use swaprig_units::Height;

pub use client::{Balance, ElectrumClient, ElectrumError, HistoryItem, ScriptHash};

use crate::binary::{Binary, Role};
use crate::bitcoind::Tip;
use crate::daemon::StartError;
use crate::port::PortClaim;
use crate::process::{Exit, LogFiles, Running, Stopped};
use crate::time::{Deadline, Probe, TimedOut, WaitError, poll_until};
use launch::Program;

/// A chain that can be indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Bitcoin.
    Bitcoin,
    /// Liquid.
    Liquid,
}

impl Chain {
    /// The role of an index of it.
    pub fn index_role(self) -> Role {
        match self {
            Chain::Bitcoin => Role::Electrs,
            Chain::Liquid => Role::ElectrsLiquid,
        }
    }
}

/// The node that an index follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedNode {
    /// `127.0.0.1:PORT` of its JSON-RPC, or of a proxy before it.
    pub rpc: String,
    /// `127.0.0.1:PORT` for its peers. romanz's electrs fetches blocks there.
    pub p2p: String,
    /// The user of its JSON-RPC.
    pub user: String,
    /// The password of its JSON-RPC.
    pub password: String,
    /// Its data directory.
    pub dir: PathBuf,
}

/// An Electrum server over a node.
#[derive(Debug)]
pub struct Electrs {
    name: &'static str,
    chain: Chain,
    dir: PathBuf,
    binary: Binary,
    program: Program,
    logs: LogFiles,
    node: FollowedNode,
    ports: Ports,
    running: Mutex<Arc<Running>>,
    /// Where the harness's calls go, when a proxy stands before it.
    through: Option<String>,
}

/// The ports of one index; it keeps them over restarts.
#[derive(Debug)]
struct Ports {
    electrum: PortClaim,
    /// Metrics and, where there is one, a REST API; nobody asks for them, and they cannot be switched off.
    others: [PortClaim; 2],
}

impl Electrs {
    /// Starts an index of `chain` in `dir/electrs` or `dir/electrs-liquid` over a node that answers already. It is ready
    /// when it answers; whether it has the node's tip is for [`Electrs::wait_tip`].
    ///
    /// A port that a stranger takes between claim and bind is answered with fresh ports, three times.
    ///
    /// # Errors
    /// [`StartError`], with the end of its logs.
    pub async fn start(
        binary: &Binary,
        dir: &Path,
        chain: Chain,
        node: &FollowedNode,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        launch::start(binary, dir, chain, node, deadline).await
    }

    /// The instance's name: that of its role.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The chain.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// What was started.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// Its directory, with its data in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `127.0.0.1:PORT` for Electrum clients.
    pub fn electrum_address(&self) -> String {
        self.ports.electrum.address()
    }

    /// Sends the harness's own calls to `address`, where a proxy stands. Barriers go there, too: an index that is late
    /// behind it is late.
    pub(crate) fn go_through(&mut self, address: String) {
        self.through = Some(address);
    }

    /// The process that runs now, or ran last.
    pub fn running(&self) -> Arc<Running> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.running().exit().is_none()
    }

    /// A connection of the harness to it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn client(&self, deadline: Deadline) -> Result<ElectrumClient, ElectrumError> {
        let own = self.electrum_address();
        let address = self.through.as_ref().unwrap_or(&own);
        ElectrumClient::connect(address, deadline).await
    }

    /// Has it look at its node now. Upstream's sleep between two looks; a signal wakes them. The bundled one looks all
    /// the time.
    pub fn poke(&self) {
        if self.program.wakes_at_signal() {
            self.running().signal(Signal::USR1);
        }
    }

    /// Waits until it has the block `tip` in its chain, as the node told it.
    ///
    /// # Errors
    /// When it has not before `deadline`.
    pub async fn wait_tip(&self, tip: Tip, deadline: Deadline) -> Result<(), TimedOut> {
        let what = format!("{} to have block {} at {}", self.name, tip.hash, tip.height);
        let client = tokio::sync::Mutex::new(None);
        let waited = poll_until(what, deadline, || async {
            self.poke();
            let mut client = client.lock().await;
            match self.looks(&mut client, tip, deadline).await {
                Ok(None) => Probe::Ready(()),
                Ok(Some(seen)) => Probe::Pending(seen),
                Err(error) => {
                    // The next look is over a connection of its own.
                    *client = None;
                    Probe::<_, std::convert::Infallible>::Pending(error.to_string())
                }
            }
        });
        waited.await.map_err(|error| match error {
            WaitError::TimedOut(timeout) => timeout,
            WaitError::Fatal(never) => match never {},
        })
    }

    /// What it has instead of `tip`.
    async fn looks(
        &self,
        client: &mut Option<ElectrumClient>,
        tip: Tip,
        deadline: Deadline,
    ) -> Result<Option<String>, ElectrumError> {
        let client = match client {
            Some(client) => client,
            None => client.insert(self.client(deadline).await?),
        };
        let (height, header) = client.tip(deadline).await?;
        if height < tip.height {
            return Ok(Some(height.to_string()));
        }
        let header = match height == tip.height {
            true => header,
            false => client.header(tip.height, deadline).await?,
        };
        let hash = self.hash_of(&header)?;
        Ok((hash != tip.hash).then(|| format!("another block {hash} at {}", tip.height)))
    }

    /// The hash of a block with this header.
    fn hash_of(&self, header: &[u8]) -> Result<BlockHash, ElectrumError> {
        let malformed = |why: String| ElectrumError::Malformed {
            method: "blockchain.headers.subscribe".to_owned(),
            why,
        };
        match self.chain {
            Chain::Bitcoin => bitcoin::consensus::deserialize::<bitcoin::block::Header>(header)
                .map(|header| header.block_hash())
                .map_err(|error| malformed(error.to_string())),
            Chain::Liquid => elements::encode::deserialize::<elements::BlockHeader>(header)
                .map(|header| BlockHash::from_byte_array(header.block_hash().to_byte_array()))
                .map_err(|error| malformed(error.to_string())),
        }
    }

    /// The height of its tip.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn height(&self, deadline: Deadline) -> Result<Height, ElectrumError> {
        Ok(self.client(deadline).await?.tip(deadline).await?.0)
    }

    /// Ends it: it has no method for that, so SIGTERM, then SIGKILL.
    pub async fn stop(&self, deadline: Deadline) -> Stopped {
        self.running().terminate(deadline).await
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub async fn kill(&self) -> Exit {
        self.running().kill().await
    }

    /// Starts it again on the same data and ports, after it ended.
    ///
    /// # Errors
    /// [`StartError`]; it is then not running.
    pub async fn restart(&self, deadline: Deadline) -> Result<(), StartError> {
        self.stop(deadline).await;
        let running = self.launch_again(deadline).await?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(running);
        Ok(())
    }
}
