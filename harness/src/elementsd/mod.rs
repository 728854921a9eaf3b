//! The driver of elementsd, upstream's or the bundled one, on `liquidregtest`: start, mine, pay, issue, crash, restart,
//! stop. It does not know which index follows its chain; the barrier after mining belongs to the world.
//!
//! The free coins of the first block belong to nobody: anyone may spend them. The node gives them to a wallet of its own,
//! the faucet, which pays for everything.

mod amount;
mod client;
mod conf;
mod rpc;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoin::BlockHash;
use elements::Address;
use serde_json::{Value, json};
use swaprig_units::{BlockDelta, Height};

pub use amount::{Amounts, AssetAmount, LBTC, decimal, lbtc, parts};
pub use client::Call;
pub(crate) use client::Client as JsonRpc;
pub use rpc::{AddressPair, Issuance, PASSWORD, Rpc, USER, WalletOutput};

use crate::binary::Binary;
use crate::bitcoind::{RpcError, RpcErrorKind, Tip};
use crate::daemon::{StartError, port_lost, ports_taken, wait_ready};
use crate::port::PortClaim;
use crate::process::{Exit, LogFiles, Running, Spec, Stdin, Stopped};
use crate::time::{Deadline, Probe};

/// Name of the instance.
pub const NAME: &str = "elementsd";
/// The wallet that gets the free coins and the fees.
pub const FAUCET: &str = "faucet";
/// The first block of `liquidregtest` with the free coins of [`FREE_COINS`].
pub const GENESIS: &str = "00902a6b70c2ca83b5d9c815d96a0e2f4202179316970d14ea1847dae5b1ca21";
/// All L-BTC that there ever are, in satoshi: no block brings more.
pub const FREE_COINS: u64 = 2_100_000_000_000_000;
/// The output of the first block that holds them.
const FREE_COINS_TXID: &str = "12a51d3e6441abbdb3a5b35983260dec3ff457a301a24a4e76d41b0c0adfb99b";
/// What the first transaction pays the miner, in satoshi.
const FIRST_FEE: u64 = 100_000;
/// Into how many outputs the free coins are split: a wallet with one output chains its payments, and a mempool takes no
/// chain of more than 25.
const FAUCET_OUTPUTS: u64 = 8;
/// How long a node has for one call that only reads.
const CALL: Duration = Duration::from_secs(20);

/// An elementsd with a wallet that owns all coins that nobody else was given.
#[derive(Debug)]
pub struct Elementsd {
    dir: PathBuf,
    binary: Binary,
    logs: LogFiles,
    rpc_port: PortClaim,
    /// What the harness asks through: a proxy's, where there is one.
    rpc: Rpc,
    /// For starting and stopping, which no fault of a test is to stand in the way of.
    own_rpc: Rpc,
    wallets: Vec<String>,
    running: Mutex<Arc<Running>>,
}

impl Elementsd {
    /// Starts a node in `dir/elementsd` with one block, which gives the free coins to the faucet, and with these
    /// `wallets`, which are empty.
    ///
    /// A port that a stranger takes between claim and bind is answered with a fresh one, three times.
    ///
    /// # Errors
    /// [`StartError`], with the end of the node's logs; also when its chain has other parameters.
    pub async fn start(
        binary: &Binary,
        dir: &Path,
        wallets: &[String],
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        let home = dir.join(NAME);
        let logs = LogFiles::in_dir(dir, NAME);
        std::fs::create_dir_all(&home).map_err(|source| StartError::Write {
            path: home.clone(),
            source,
        })?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let rpc_port = PortClaim::new()?;
            let rpc = Rpc::new(NAME, rpc_port.port());
            let error = match launch(binary, &home, &logs, rpc_port.port(), deadline).await {
                Ok(running) => {
                    let all = std::iter::once(FAUCET.to_owned()).chain(wallets.iter().cloned());
                    let node = Elementsd {
                        dir: home,
                        binary: binary.clone(),
                        logs,
                        rpc_port,
                        own_rpc: rpc.clone(),
                        rpc,
                        wallets: all.collect(),
                        running: Mutex::new(Arc::new(running)),
                    };
                    node.prepare(deadline).await?;
                    return Ok(node);
                }
                Err(error @ StartError::Exited { .. }) => error,
                Err(error) => return Err(error),
            };
            let taken = ports_taken(&[&rpc_port]);
            if taken.is_empty() {
                return Err(error);
            }
            port_lost(NAME, attempts, &taken, &logs, error)?;
        }
    }

    /// Checks the chain, makes the wallets, gives the free coins to the faucet.
    async fn prepare(&self, deadline: Deadline) -> Result<(), StartError> {
        let work = async {
            if let Some(why) = self.other_chain(deadline).await? {
                return Ok(Some(why));
            }
            for wallet in &self.wallets {
                self.rpc.open_wallet(wallet, deadline).await?;
            }
            self.sweep_free_coins(deadline).await?;
            Ok::<_, RpcError>(None)
        };
        match work.await {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(unusable(&self.running(), why)),
            Err(error) => Err(unusable(&self.running(), error.into())),
        }
    }

    /// In words how the chain differs from the one that everything here counts on.
    async fn other_chain(&self, deadline: Deadline) -> Result<Option<Cause>, RpcError> {
        let (genesis, asset) = self.rpc.parameters(deadline).await?;
        if genesis == GENESIS && asset == LBTC {
            return Ok(None);
        }
        let text = format!(
            "its chain is another one: it begins with block {genesis} and pays fees in {asset}; {} with \
             initialfreecoins={FREE_COINS} begins with {GENESIS} and has {LBTC}",
            conf::CHAIN
        );
        Ok(Some(text.into()))
    }

    /// Spends the output of the first block, which asks for no signature, and mines that.
    async fn sweep_free_coins(&self, deadline: Deadline) -> Result<(), RpcError> {
        let input = json!([{ "txid": FREE_COINS_TXID, "vout": 0 }]);
        let rest = FREE_COINS - FIRST_FEE;
        let mut outputs = vec![json!({ "fee": decimal(FIRST_FEE) })];
        for i in 0..FAUCET_OUTPUTS {
            let address = self.rpc.new_address(FAUCET, deadline).await?;
            let share = rest / FAUCET_OUTPUTS + if i == 0 { rest % FAUCET_OUTPUTS } else { 0 };
            outputs.push(json!({ address.explicit.to_string(): decimal(share) }));
        }
        let hex: String = self
            .rpc
            .call("createrawtransaction", &[input, json!(outputs)], deadline)
            .await?;
        self.rpc.send_raw(&hex, deadline).await?;
        self.generate(BlockDelta(1), deadline).await?;
        Ok(())
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

    /// Its data directory.
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

    /// Its wallets, the faucet first.
    pub fn wallets(&self) -> &[String] {
        &self.wallets
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

    /// An address of the faucet for fees: another one each time, because the same coinbase in the same second would make
    /// the same block again, and a node refuses that one when it was declared invalid.
    async fn miner(&self, deadline: Deadline) -> Result<Address, RpcError> {
        Ok(self.rpc.new_address(FAUCET, deadline).await?.explicit)
    }

    /// Mines `blocks` blocks. The index may not have seen them yet: see `World::mine_liquid`.
    ///
    /// # Errors
    /// When the node does not answer before `deadline`.
    pub async fn generate(
        &self,
        blocks: BlockDelta,
        deadline: Deadline,
    ) -> Result<Vec<BlockHash>, RpcError> {
        let miner = self.miner(deadline).await?;
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
            let miner = self.miner(deadline).await?;
            self.rpc.generate_block(&miner, &[], deadline).await?;
        }
        Ok(())
    }

    /// Ends it: RPC `stop`, then SIGTERM, then SIGKILL.
    pub async fn stop(&self, deadline: Deadline) -> Stopped {
        let ask = async {
            // A node that does not answer is ended by the signals that follow.
            let _ = self.own_rpc.stop(deadline.at_most(CALL)).await;
        };
        self.running().stop(deadline, ask).await
    }

    /// Ends it with SIGTERM and waits for it.
    pub async fn terminate(&self, deadline: Deadline) -> Stopped {
        self.running().terminate(deadline).await
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub async fn kill(&self) -> Exit {
        self.running().kill().await
    }

    /// Starts it again on the same data and port, after it ended.
    ///
    /// # Errors
    /// [`StartError`]; the node is then not running.
    pub async fn restart(&self, deadline: Deadline) -> Result<(), StartError> {
        self.stop(deadline).await;
        let port = self.rpc_port.port();
        let running = launch(&self.binary, &self.dir, &self.logs, port, deadline).await?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(running);
        for wallet in &self.wallets {
            let loaded = self.own_rpc.load_wallet(wallet, deadline).await;
            loaded.map_err(|error| unusable(&self.running(), error.into()))?;
        }
        Ok(())
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn unusable(running: &Running, source: Cause) -> StartError {
    StartError::Unusable {
        name: NAME.into(),
        source,
        command: running.spec().to_string(),
        log_tail: running.log_tail(),
    }
}

async fn launch(
    binary: &Binary,
    home: &Path,
    logs: &LogFiles,
    rpc_port: u16,
    deadline: Deadline,
) -> Result<Running, StartError> {
    let spec = Spec {
        name: NAME.into(),
        program: binary.program.clone(),
        args: binary.with_args(conf::arguments(home, rpc_port)),
        hidden_env: &["ELEMENTS"],
        env: Vec::new(),
        dir: home.to_owned(),
        logs: logs.clone(),
        stdin: Stdin::Lifeline,
    };
    let running = spec.start()?;
    let rpc = Rpc::new(NAME, rpc_port);
    wait_ready(
        &running,
        format!("{NAME} to answer getblockchaininfo"),
        deadline,
        || async {
            match rpc.call::<Value>("getblockchaininfo", &[], deadline).await {
                Ok(_) => Probe::Ready(()),
                Err(error) if error.kind.is_warmup() => Probe::Pending(error.kind.to_string()),
                Err(RpcError {
                    kind: RpcErrorKind::Broken(why),
                    ..
                }) => Probe::Pending(why),
                Err(error) => Probe::Fatal(error),
            }
        },
    )
    .await?;
    Ok(running)
}
