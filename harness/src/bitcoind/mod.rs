//! The driver of bitcoind (Bitcoin Core or Knots) on regtest: start, mine, pay, crash, restart, stop.
//! It does not know which other daemons follow its chain; the barrier after mining belongs to the world.

mod chain_cache;
mod conf;
mod rpc;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::{Address, BlockHash, Txid};
use serde_json::{Value, json};
use swaprig_units::{BlockDelta, Height, Sat};

pub use chain_cache::ChainCache;
pub use rpc::{NO_WALLET, PASSWORD, Rpc, RpcError, RpcErrorKind, Tip, USER};

use crate::binary::Binary;
use crate::daemon::{StartError, port_lost, ports_taken, wait_ready};
use crate::port::PortClaim;
use crate::process::{Exit, LogFiles, Running, Spec, Stdin, Stopped};
use crate::time::{Deadline, Probe};
use conf::Conf;

/// Blocks of a fresh world: one coinbase of 50 BTC is mature (100 confirmations on top of its own block).
pub const FIRST_BLOCKS: BlockDelta = BlockDelta(101);
/// Name of the instance.
const NAME: &str = "bitcoind";
/// The directory of the chain in the data directory.
const CHAIN: &str = "regtest";
/// How long a node has for one call that only reads.
const CALL: Duration = Duration::from_secs(20);

/// A bitcoind on regtest with a wallet that owns all rewards.
#[derive(Debug)]
pub struct Bitcoind {
    dir: PathBuf,
    binary: Binary,
    logs: LogFiles,
    rpc_port: PortClaim,
    p2p_port: PortClaim,
    /// What the harness asks through: a proxy's, where there is one.
    rpc: Rpc,
    /// For starting and stopping, which no fault of a test is to stand in the way of.
    own_rpc: Rpc,
    running: Mutex<Arc<Running>>,
}

impl Bitcoind {
    /// Starts a node in `dir/bitcoind` with [`FIRST_BLOCKS`] blocks, of `cache` when they are there; otherwise it mines
    /// them and leaves them there for the next world.
    ///
    /// A port that a stranger takes between claim and bind is answered with fresh ports, three times.
    ///
    /// # Errors
    /// [`StartError`], with the end of the node's logs.
    pub async fn start(
        binary: &Binary,
        dir: &Path,
        cache: Option<&ChainCache>,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        let home = dir.join(NAME);
        let logs = LogFiles::in_dir(dir, NAME);
        let cached = match cache {
            Some(cache) => Started::on_cached_blocks(cache, binary, &home, &logs, deadline).await?,
            None => Cached::None,
        };
        let started = match cached {
            Cached::Started(started) => *started,
            Cached::None | Cached::Unusable => {
                let replaces = matches!(cached, Cached::Unusable);
                Started::on_first_blocks(cache, replaces, binary, &home, &logs, deadline).await?
            }
        };
        let Started {
            rpc_port,
            p2p_port,
            rpc,
            running,
        } = started;
        let running = Mutex::new(Arc::new(running));
        Ok(Bitcoind {
            dir: home,
            binary: binary.clone(),
            logs,
            own_rpc: Rpc::new(NAME, rpc_port.port()),
            rpc_port,
            p2p_port,
            rpc,
            running,
        })
    }

    /// Sends the harness's calls to another port, where a proxy stands.
    pub(crate) fn go_through(&mut self, port: u16) {
        self.rpc = Rpc::new(NAME, port);
    }

    /// The process that runs now, or ran last.
    pub fn running(&self) -> Arc<Running> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Its JSON-RPC.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// What was started.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// Its data directory, with `bitcoin.conf` in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The port of its JSON-RPC.
    pub(crate) fn rpc_port(&self) -> u16 {
        self.rpc_port.port()
    }

    /// `127.0.0.1:PORT` of its JSON-RPC.
    pub fn rpc_address(&self) -> String {
        self.rpc_port.address()
    }

    /// `127.0.0.1:PORT` of its peer-to-peer port.
    pub fn p2p_address(&self) -> String {
        self.p2p_port.address()
    }

    /// The end of its best chain.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn tip(&self) -> Result<Tip, RpcError> {
        self.rpc.tip(Deadline::after(CALL)).await
    }

    /// The height of its best chain.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn height(&self) -> Result<Height, RpcError> {
        Ok(self.tip().await?.height)
    }

    /// Mines `blocks` blocks to the miner's wallet. Other daemons may not have seen them yet: see `World::mine`.
    ///
    /// # Errors
    /// When the node does not answer before `deadline`.
    pub async fn generate(
        &self,
        blocks: BlockDelta,
        deadline: Deadline,
    ) -> Result<Vec<BlockHash>, RpcError> {
        // Another address each time: the same coinbase in the same second would make the same block again, and a node
        // refuses that one when it was declared invalid.
        let miner = self.rpc.new_address(deadline).await?;
        self.rpc.generate(blocks, &miner, deadline).await
    }

    /// Mines `blocks` blocks that leave what waits in the mempool where it is.
    ///
    /// # Errors
    /// When the node does not answer before `deadline`.
    pub async fn generate_empty(
        &self,
        blocks: BlockDelta,
        deadline: Deadline,
    ) -> Result<(), RpcError> {
        for _ in 0..blocks.0 {
            let miner = self.rpc.new_address(deadline).await?;
            let params = [json!(miner.to_string()), json!([])];
            self.rpc
                .call::<Value>("generateblock", &params, deadline)
                .await?;
        }
        Ok(())
    }

    /// Pays `amount` from the miner's wallet to `address`; the fee comes on top. It needs a block to confirm.
    ///
    /// # Errors
    /// When the wallet cannot pay it or the node does not answer.
    pub async fn send(&self, address: &Address, amount: Sat) -> Result<Txid, RpcError> {
        self.rpc
            .send_to_address(address, amount, Deadline::after(CALL))
            .await
    }

    /// Ends it: RPC `stop`, then SIGTERM, then SIGKILL.
    pub async fn stop(&self, deadline: Deadline) -> Stopped {
        stop(&self.running(), &self.own_rpc, deadline).await
    }

    /// Ends it with SIGTERM and waits for it.
    pub async fn terminate(&self, deadline: Deadline) -> Stopped {
        self.running().terminate(deadline).await
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub async fn kill(&self) -> Exit {
        self.running().kill().await
    }

    /// Starts it again on the same data and ports, after it ended.
    ///
    /// # Errors
    /// [`StartError`]; the node is then not running.
    pub async fn restart(&self, deadline: Deadline) -> Result<(), StartError> {
        self.stop(deadline).await;
        let running = launch(&self.binary, &self.dir, &self.logs, &self.own_rpc, deadline).await?;
        let load = self
            .own_rpc
            .call::<Value>("loadwallet", &[json!(rpc::WALLET)], deadline)
            .await;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(running);
        match load {
            // Loaded already: by the setting, or by the node's own list.
            Err(RpcError {
                kind:
                    RpcErrorKind::Refused {
                        code: ALREADY_LOADED,
                        ..
                    },
                ..
            })
            | Ok(_) => Ok(()),
            Err(error) => Err(unusable(&self.running(), error)),
        }
    }
}

/// `RPC_WALLET_ALREADY_LOADED` in Bitcoin Core's `rpc/protocol.h`.
const ALREADY_LOADED: i32 = -35;

fn unusable(running: &Running, source: RpcError) -> StartError {
    StartError::Unusable {
        name: NAME.into(),
        source: source.into(),
        command: running.spec().to_string(),
        log_tail: running.log_tail(),
    }
}

/// What became of a start on cached blocks.
enum Cached {
    /// There are none.
    None,
    /// There are some that the node cannot use.
    Unusable,
    /// It runs on them.
    Started(Box<Started>),
}

/// A node that answers, before its wallet is known.
struct Started {
    rpc_port: PortClaim,
    p2p_port: PortClaim,
    rpc: Rpc,
    running: Running,
}

impl Started {
    /// Starts the process, with fresh ports as often as a stranger takes one.
    async fn with_fresh_ports(
        binary: &Binary,
        home: &Path,
        logs: &LogFiles,
        with_wallet: bool,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (rpc_port, p2p_port) = (PortClaim::new()?, PortClaim::new()?);
            let knots = binary.is_knots();
            let conf = Conf {
                rpc_port: rpc_port.port(),
                p2p_port: p2p_port.port(),
                knots,
                with_wallet,
            };
            let path = home.join("bitcoin.conf");
            let write = |source| StartError::Write {
                path: path.clone(),
                source,
            };
            std::fs::create_dir_all(home).map_err(write)?;
            std::fs::write(&path, conf.text()).map_err(write)?;
            let rpc = Rpc::new(NAME, rpc_port.port());
            let error = match launch(binary, home, logs, &rpc, deadline).await {
                Ok(running) => {
                    return Ok(Started {
                        rpc_port,
                        p2p_port,
                        rpc,
                        running,
                    });
                }
                Err(error @ StartError::Exited { .. }) => error,
                Err(error) => return Err(error),
            };
            let taken = ports_taken(&[&rpc_port, &p2p_port]);
            if taken.is_empty() {
                return Err(error);
            }
            port_lost(NAME, attempts, &taken, logs, error)?;
        }
    }

    /// Starts on a copy of the cached blocks. An entry that the node cannot use is told of, and passed over: it costs
    /// half a second, not the run.
    async fn on_cached_blocks(
        cache: &ChainCache,
        binary: &Binary,
        home: &Path,
        logs: &LogFiles,
        deadline: Deadline,
    ) -> Result<Cached, StartError> {
        let chain = home.join(CHAIN);
        let why = match cache.restore(&cache_key(binary), &chain) {
            Ok(false) => return Ok(Cached::None),
            Ok(true) => {
                let complete = async {
                    let started =
                        Started::with_fresh_ports(binary, home, logs, true, deadline).await?;
                    started.has_first_blocks(deadline).await?;
                    Ok(started)
                };
                match complete.await {
                    Ok(started) => return Ok(Cached::Started(started.into())),
                    Err(error @ (StartError::Exited { .. } | StartError::Unusable { .. })) => {
                        error.to_string()
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) => error.to_string(),
        };
        eprintln!("swaprig: the cached blocks cannot be used, so new ones are mined: {why}");
        match std::fs::remove_dir_all(&chain) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StartError::Write {
                    path: chain,
                    source,
                })
            }
            Ok(()) | Err(_) => Ok(Cached::Unusable),
        }
    }

    /// Starts on no blocks, mines the first ones and leaves them in `cache`, in place of an entry that cannot be used.
    async fn on_first_blocks(
        cache: Option<&ChainCache>,
        replaces: bool,
        binary: &Binary,
        home: &Path,
        logs: &LogFiles,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        let mut started = Started::with_fresh_ports(binary, home, logs, false, deadline).await?;
        started.mine_first_blocks(deadline).await?;
        if let Some(cache) = cache {
            started.stop(deadline).await;
            let key = cache_key(binary);
            let discarded = if replaces {
                cache.discard(&key)
            } else {
                Ok(())
            };
            if let Err(error) = discarded.and_then(|()| cache.store(&key, &home.join(CHAIN))) {
                eprintln!("swaprig: the first blocks were not cached: {error}");
            }
            started = Started::with_fresh_ports(binary, home, logs, true, deadline).await?;
        }
        started.has_first_blocks(deadline).await?;
        Ok(started)
    }

    /// Looks at what a world counts on: the chain, and the miner's wallet with a reward that it can spend.
    async fn has_first_blocks(&self, deadline: Deadline) -> Result<(), StartError> {
        let unusable = |error| unusable(&self.running, error);
        let tip = self.rpc.tip(deadline).await.map_err(unusable)?;
        let balance = self.rpc.balance(deadline).await.map_err(unusable)?;
        if tip.height.0 == FIRST_BLOCKS.0 && balance > Sat(0) {
            return Ok(());
        }
        let text = format!(
            "its chain ends at {} and its wallet has {balance}; it should have {} blocks",
            tip.height, FIRST_BLOCKS.0
        );
        Err(StartError::Unusable {
            name: NAME.into(),
            source: text.into(),
            command: self.running.spec().to_string(),
            log_tail: self.running.log_tail(),
        })
    }

    async fn mine_first_blocks(&self, deadline: Deadline) -> Result<(), StartError> {
        let work = async {
            self.rpc
                .call::<Value>("createwallet", &[json!(rpc::WALLET)], deadline)
                .await?;
            let miner = self.rpc.new_address(deadline).await?;
            self.rpc.generate(FIRST_BLOCKS, &miner, deadline).await
        };
        work.await
            .map(drop)
            .map_err(|error| unusable(&self.running, error))
    }

    async fn stop(&self, deadline: Deadline) {
        stop(&self.running, &self.rpc, deadline).await;
    }
}

async fn stop(running: &Running, rpc: &Rpc, deadline: Deadline) -> Stopped {
    let ask = async {
        // A node that does not answer is ended by the signals that follow.
        let _ = rpc.stop(deadline.at_most(CALL)).await;
    };
    running.stop(deadline, ask).await
}

async fn launch(
    binary: &Binary,
    home: &Path,
    logs: &LogFiles,
    rpc: &Rpc,
    deadline: Deadline,
) -> Result<Running, StartError> {
    let mut datadir = std::ffi::OsString::from("-datadir=");
    datadir.push(home);
    let spec = Spec {
        name: NAME.into(),
        program: binary.program.clone(),
        args: binary.with_args([datadir]),
        hidden_env: &["BITCOIN"],
        env: Vec::new(),
        dir: home.to_owned(),
        logs: logs.clone(),
        stdin: Stdin::Null,
    };
    let running = spec.start()?;
    wait_ready(
        &running,
        format!("{NAME} to answer getblockchaininfo"),
        deadline,
        || async {
            match rpc.tip(deadline).await {
                Ok(_) => Probe::Ready(()),
                Err(error) if error.kind.is_warmup() => Probe::Pending(error.kind.to_string()),
                Err(RpcError {
                    kind: RpcErrorKind::Transport(error),
                    ..
                }) => Probe::Pending(error.to_string()),
                Err(error) => Probe::Fatal(error),
            }
        },
    )
    .await?;
    Ok(running)
}

/// Nodes of one key read each other's data.
fn cache_key(binary: &Binary) -> String {
    let flavour = if binary.is_knots() { "knots" } else { "core" };
    format!("{flavour}-{}", binary.version.text)
}
