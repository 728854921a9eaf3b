//! A world: its daemons, their chain, one run directory. Mining belongs to it, because everybody must follow.

mod builder;
pub mod endpoints;
mod index;
mod lightning;
mod liquid;
mod proxies;
mod record;
mod servers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::{BlockHash, ScriptBuf, Txid};
use futures_util::future::join_all;
use swaprig_units::{BlockDelta, Height, Sat};

pub use builder::{Binaries, Builder, Needs};
pub use lightning::{CHANNEL_DEPTH, INVOICE_EXPIRY, OpenedChannel};
use liquid::too_short;
pub use liquid::{Liquid, OUTSIDE, Recipient, liquid_address};
pub use servers::{Ended, Program};

use crate::binary::Passport;
use crate::bitcoind::{Bitcoind, FIRST_BLOCKS, RpcError, Tip};
use crate::daemon::StartError;
pub use crate::electrs::Chain;
use crate::electrs::{Electrs, ElectrumError};
use crate::ldk_server::{LdkServer, NodeError};
use crate::process::{LogFiles, Running, Stopped, Usage};
use crate::proxy::{BITCOIND, ELEMENTSD};
use crate::run_dir::{RunDir, RunDirError};
use crate::server::Server;
use crate::time::{Deadline, Probe, TimedOut, WaitError, poll_until};

/// How long daemons have to come up when the caller does not say. Upstream's need about a second.
pub const START: Duration = Duration::from_secs(60);
/// How long anything that a world waits for may take when the caller does not say.
pub const WAIT: Duration = Duration::from_secs(60);
/// How long daemons have to end: an ldk-node may take 35 s.
const END: Duration = Duration::from_secs(90);

/// A Bitcoin network with Lightning nodes on it, all of it on this machine and gone when it is dropped.
#[derive(Debug)]
pub struct World {
    dir: RunDir,
    bitcoind: Bitcoind,
    nodes: Vec<LdkServer>,
    liquid: Option<Liquid>,
    /// The index of the Bitcoin chain.
    electrs: Option<Electrs>,
    proxies: Vec<proxies::OnLink>,
    servers: Vec<Server>,
    /// How many programs have run to their end, for the names of their logs.
    programs: AtomicU32,
    /// The `swaprig` executable, when it is known.
    exe: Option<PathBuf>,
    passport: Passport,
    recording: record::Recording,
    /// Who owns what is paid to a script on Bitcoin that is no daemon's.
    owners: Mutex<BTreeMap<ScriptBuf, String>>,
}

/// Something in a world went wrong. The message ends with the run directory, which is kept, and the logs.
#[derive(Debug, thiserror::Error)]
#[error("{kind}\n  run directory: {}{}", dir.display(), LogList(logs))]
pub struct WorldError {
    /// What went wrong.
    #[source]
    pub kind: WorldErrorKind,
    /// The run directory.
    pub dir: PathBuf,
    /// The logs of every process.
    pub logs: Vec<(String, LogFiles)>,
}

/// What went wrong in a world.
#[derive(Debug, thiserror::Error)]
pub enum WorldErrorKind {
    /// A daemon did not come up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no directory to run in.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// bitcoind or elementsd did not do what it was asked.
    #[error(transparent)]
    Bitcoind(#[from] RpcError),
    /// An index did not do what it was asked.
    #[error("{}", crate::error_chain(.0))]
    Index(#[from] ElectrumError),
    /// A Lightning node did not do what it was asked.
    #[error("{}", crate::error_chain(.0))]
    Node(#[from] NodeError),
    /// Something did not happen in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// There is no such node.
    #[error("this world has no Lightning node called `{name}`; it has {known}")]
    NoSuchNode { name: String, known: String },
    /// The world is not set up in a way that can work.
    #[error("{0}")]
    Setup(String),
    /// Something happened that rules out what was waited for.
    #[error("{0}")]
    Ruled(String),
}

impl<E: Into<WorldErrorKind>> From<WaitError<E>> for WorldErrorKind {
    fn from(error: WaitError<E>) -> Self {
        match error {
            WaitError::TimedOut(timeout) => timeout.into(),
            WaitError::Fatal(error) => error.into(),
        }
    }
}

/// The logs, a line each, at the end of a message.
struct LogList<'a>(&'a [(String, LogFiles)]);

impl std::fmt::Display for LogList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, logs) in self.0 {
            write!(f, "\n  log of {name}: {}", logs.stdout.display())?;
        }
        Ok(())
    }
}

impl World {
    /// Starts to describe a world.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its run directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Which programs it runs.
    pub fn passport(&self) -> &Passport {
        &self.passport
    }

    /// Its Bitcoin node.
    pub fn bitcoind(&self) -> &Bitcoind {
        &self.bitcoind
    }

    /// Its Lightning nodes, in the order in which they were named.
    pub fn nodes(&self) -> &[LdkServer] {
        &self.nodes
    }

    /// The Lightning node called `name`.
    ///
    /// # Errors
    /// [`WorldErrorKind::NoSuchNode`].
    pub fn node(&self, name: &str) -> Result<&LdkServer, WorldError> {
        self.nodes
            .iter()
            .find(|node| node.name() == name)
            .ok_or_else(|| {
                let known = self
                    .nodes
                    .iter()
                    .map(LdkServer::name)
                    .collect::<Vec<_>>()
                    .join(", ");
                self.error(WorldErrorKind::NoSuchNode {
                    name: name.to_owned(),
                    known,
                })
            })
    }

    /// Every process that belongs to it for as long as it lives.
    fn processes(&self) -> impl Iterator<Item = Arc<Running>> {
        let nodes = self.nodes.iter().map(LdkServer::running);
        let servers = self.servers.iter().map(Server::running);
        let bitcoind = std::iter::once(self.bitcoind.running());
        let elementsd = self
            .liquid
            .iter()
            .map(|liquid| liquid.elementsd().running());
        let indexes = self.indexes().map(Electrs::running);
        let chains = bitcoind.chain(elementsd).chain(indexes);
        chains.chain(nodes).chain(servers)
    }

    /// The logs of every process.
    pub fn logs(&self) -> Vec<(String, LogFiles)> {
        self.processes()
            .map(|process| (process.name().to_owned(), process.logs().clone()))
            .collect()
    }

    /// Whether all its daemons run.
    pub fn is_whole(&self) -> bool {
        self.processes().all(|process| process.exit().is_none())
    }

    /// What its daemons have used together.
    pub fn usage(&self) -> Usage {
        self.processes()
            .filter_map(|process| Usage::of(process.pid()))
            .fold(Usage::default(), Usage::and)
    }

    /// `kind` with the directory and the logs of this world.
    pub fn error(&self, kind: impl Into<WorldErrorKind>) -> WorldError {
        WorldError {
            kind: kind.into(),
            dir: self.dir().to_owned(),
            logs: self.logs(),
        }
    }

    /// Mines `blocks` blocks; returns when every daemon that runs has reached the new tip.
    ///
    /// # Errors
    /// When bitcoind does not answer, or a daemon does not follow within a minute.
    pub async fn mine(&self, blocks: BlockDelta) -> Result<Height, WorldError> {
        self.mine_within(blocks, Deadline::after(WAIT)).await
    }

    /// As [`World::mine`], with the caller's deadline.
    ///
    /// # Errors
    /// When bitcoind does not answer, or a daemon does not follow before `deadline`.
    pub async fn mine_within(
        &self,
        blocks: BlockDelta,
        deadline: Deadline,
    ) -> Result<Height, WorldError> {
        self.bitcoind
            .generate(blocks, deadline)
            .await
            .map_err(|e| self.error(e))?;
        // What comes of the blocks is recorded after them.
        let ((), tip) = tokio::join!(self.look(), self.barrier(deadline));
        Ok(tip?.height)
    }

    /// Pays `amount` from the miner to the on-chain wallet of `node`. It takes a block to confirm.
    ///
    /// # Errors
    /// When a daemon refuses or does not answer.
    pub async fn fund(&self, node: &str, amount: Sat) -> Result<Txid, WorldError> {
        let address = self
            .node(node)?
            .new_address()
            .await
            .map_err(|e| self.error(e))?;
        self.bitcoind
            .send(&address, amount)
            .await
            .map_err(|e| self.error(e))
    }

    /// Says that what is paid to `script` on Bitcoin belongs to `owner`, who is no daemon of the world.
    pub fn belongs_to(&self, script: ScriptBuf, owner: impl Into<String>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.entry(script).or_insert(owner.into());
    }

    /// The scripts on Bitcoin of which that was said, and their owners.
    pub fn owned_scripts(&self) -> BTreeMap<ScriptBuf, String> {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.clone()
    }

    /// Waits until every Lightning node that runs, and the index of the Bitcoin chain, where there is one, has reached the
    /// tip of bitcoind's chain.
    ///
    /// # Errors
    /// When a daemon does not answer, or does not follow before `deadline`.
    pub async fn barrier(&self, deadline: Deadline) -> Result<Tip, WorldError> {
        let tip = self.bitcoind.tip().await.map_err(|e| self.error(e))?;
        let follow = self
            .nodes
            .iter()
            .filter(|node| node.is_running())
            .map(|node| self.follow(node, tip, deadline));
        let index = self.index_follows(Chain::Bitcoin, tip, deadline);
        let (followed, indexed) = tokio::join!(join_all(follow), index);
        for reached in followed {
            reached?;
        }
        indexed?;
        Ok(tip)
    }

    async fn follow(
        &self,
        node: &LdkServer,
        tip: Tip,
        deadline: Deadline,
    ) -> Result<(), WorldError> {
        let what = format!("{} to reach {}", node.name(), tip.height);
        let reached = poll_until(what, deadline, || async {
            match node.info().await {
                Ok(info) if info.block_hash == tip.hash => Probe::Ready(()),
                // Somebody else may have mined meanwhile: then it is the tip of now that counts.
                Ok(info) if info.height >= tip.height => match self.bitcoind.tip().await {
                    Ok(now) if now.hash == info.block_hash => Probe::Ready(()),
                    _ => Probe::Pending(format!("{} is at {}", node.name(), info.height)),
                },
                Ok(info) => Probe::Pending(format!("{} is at {}", node.name(), info.height)),
                Err(error) => Probe::Fatal(WorldErrorKind::Node(error)),
            }
        });
        match node.running().unless_exited(reached).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.error(error)),
            Err(exit) => {
                let tail = node.running().log_tail();
                let text = format!(
                    "{} {exit}, while it was to reach {}\n{tail}",
                    node.name(),
                    tip.height
                );
                Err(self.error(WorldErrorKind::Ruled(text)))
            }
        }
    }

    /// Takes the last `depth` blocks away and mines `blocks` in their place, `empty` of what the old ones held or not; returns
    /// when every daemon that runs has followed. They do only when there are more new blocks than old ones.
    ///
    /// # Errors
    /// When the chain is shorter than that, a daemon does not answer, or one does not follow before `deadline`.
    pub async fn reorg(
        &self,
        depth: BlockDelta,
        blocks: BlockDelta,
        empty: bool,
        deadline: Deadline,
    ) -> Result<Tip, WorldError> {
        let rpc = self.bitcoind.rpc();
        let tip = rpc.tip(deadline).await.map_err(|e| self.error(e))?;
        // The miner's first reward is mature only on top of the first blocks.
        let kept = tip.height.0.checked_sub(depth.0);
        let Some(kept) = kept.filter(|kept| *kept >= FIRST_BLOCKS.0) else {
            return Err(self.error(WorldErrorKind::Ruled(too_short(depth, tip.height))));
        };
        let work = async {
            let first: BlockHash = rpc
                .call("getblockhash", &[serde_json::json!(kept + 1)], deadline)
                .await?;
            rpc.invalidate_block(first, deadline).await?;
            match empty {
                true => self.bitcoind.generate_empty(blocks, deadline).await,
                false => self.bitcoind.generate(blocks, deadline).await.map(drop),
            }
        };
        work.await.map_err(|e| self.error(e))?;
        self.barrier(deadline).await
    }

    /// Declares the block `hash` and all on top of it invalid; see `Rpc::invalidate_block`.
    /// A Lightning node stays on the chain with the most work that it has seen: it follows, and [`World::barrier`] comes
    /// back, only when more blocks were mined than were taken away.
    ///
    /// # Errors
    /// When bitcoind refuses or does not answer.
    pub async fn invalidate(&self, hash: BlockHash) -> Result<(), WorldError> {
        self.bitcoind
            .rpc()
            .invalidate_block(hash, Deadline::after(WAIT))
            .await
            .map_err(|e| self.error(e))
    }

    /// Ends all daemons, in parallel, and deletes the run directory unless it is to be kept, which gives its path.
    ///
    /// # Errors
    /// When a daemon had ended by itself with an error, or had to be killed; the directory is then kept.
    pub async fn finish(self) -> Result<Option<PathBuf>, WorldError> {
        Ok(self.end().await?.succeed())
    }

    /// Ends all daemons, in parallel; the run directory is there until [`RunDir::succeed`].
    ///
    /// # Errors
    /// As [`World::finish`].
    pub async fn end(mut self) -> Result<RunDir, WorldError> {
        let crashed = self.crashed();
        let killed = self.stop().await;
        for (_, proxy) in self.proxies.drain(..) {
            proxy.end().await;
        }
        let complaint = match (crashed.as_slice(), killed.as_slice()) {
            ([], []) => return Ok(self.dir),
            ([], killed) => format!(
                "{} had to be killed: SIGTERM did not end it",
                killed.join(", ")
            ),
            (crashed, _) => crashed.join("\n"),
        };
        Err(self.error(WorldErrorKind::Ruled(complaint)))
    }

    /// Ends all daemons, in parallel, and keeps the run directory. Gives the names of those that had to be killed.
    pub async fn stop(&self) -> Vec<String> {
        // No fault of a test stands in the way of its end.
        for (_, proxy) in &self.proxies {
            proxy.heal();
        }
        self.look().await;
        let deadline = Deadline::after(END);
        // They use the daemons, which must not go away under them.
        let servers = join_all(
            self.servers
                .iter()
                .map(|server| async { (server.name(), server.stop(deadline).await) }),
        )
        .await;
        let nodes = join_all(
            self.nodes
                .iter()
                .map(|node| async { (node.name(), node.stop(deadline).await) }),
        );
        let indexes = join_all(
            self.indexes()
                .map(|index| async { (index.name(), index.stop(deadline).await) }),
        );
        let elementsd = async {
            match &self.liquid {
                Some(liquid) => Some((ELEMENTSD, liquid.elementsd().stop(deadline).await)),
                None => None,
            }
        };
        let (nodes, indexes, elementsd, bitcoind) =
            tokio::join!(nodes, indexes, elementsd, self.bitcoind.stop(deadline));
        let all = servers
            .into_iter()
            .chain(nodes)
            .chain(indexes)
            .chain(elementsd);
        let all = all.chain([(BITCOIND, bitcoind)]);
        self.record_exits().await;
        all.filter(|(_, how)| *how == Stopped::Killed)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Daemons that ended by themselves, a sentence each. One that was killed by a signal was killed by the test.
    fn crashed(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(LdkServer::running);
        let elementsd = self
            .liquid
            .iter()
            .map(|liquid| liquid.elementsd().running());
        let all = nodes
            .chain([self.bitcoind.running()])
            .chain(elementsd)
            .chain(self.indexes().map(Electrs::running));
        let ended = all.filter_map(|process| Some((process.exit()?, process)));
        let failed = ended.filter(|(exit, _)| exit.status.code().is_some_and(|code| code != 0));
        let servers = self.servers.iter().filter(|server| server.has_crashed());
        let servers = servers.map(Server::running);
        let servers = servers.filter_map(|process| Some((process.exit()?, process)));
        failed
            .chain(servers)
            .map(|(exit, process)| format!("{} {exit}\n{}", process.name(), process.log_tail()))
            .collect()
    }
}
