//! Building, starting and stopping the LDK node, and the runtime that it lives on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use ldk_node::bitcoin::Network;
use ldk_node::{Builder, Node};
use log::info;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::store::Store;
use crate::{VERSION, files};

/// LDK's background processor delivers the first HTLCs two seconds after its start, to give peers time to reconnect;
/// there is no setting for it. The clock is moved this far.
const FIRST_FORWARD_DELAY: Duration = Duration::from_millis(2001);

/// A started node.
pub(crate) struct RunningNode {
    /// What the API calls.
    pub(crate) node: Arc<Node>,
    /// The runtime that the node's tasks run on; calls enter it, so that whatever they start runs there, too.
    pub(crate) runtime: Handle,
}

/// Builds the node from the configuration and what is on disk, and starts it.
pub(crate) fn start(config: &Config) -> anyhow::Result<RunningNode> {
    let runtime = spawn_runtime(config.network)?;
    let node = Arc::new(build(config, &runtime)?);
    info!("Starting ldk-server version {VERSION}");
    node.start().with_context(|| {
        let addresses = config
            .listening_addresses
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        format!(
            "cannot start the node (peer addresses: [{}]); its log says more",
            addresses.join(", ")
        )
    })?;
    if config.network == Network::Regtest {
        skip_first_forward_delay(&runtime)?;
    }
    Ok(RunningNode { node, runtime })
}

fn build(config: &Config, runtime: &Handle) -> anyhow::Result<Node> {
    let network_dir = config.network_dir();
    let mut builder = Builder::from_config(ldk_node::config::Config {
        storage_dir_path: network_dir
            .to_str()
            .ok_or_else(|| anyhow!("the storage directory is not UTF-8"))?
            .to_owned(),
        network: config.network,
        listening_addresses: config.listening_addresses.clone(),
        announcement_addresses: config.announcement_addresses.clone(),
        ..Default::default()
    });
    let bitcoind = config.bitcoind.clone();
    builder
        .set_runtime(runtime.clone())
        .set_log_facade_logger()
        .set_entropy_bip39_mnemonic(files::mnemonic(config)?, None)
        .set_chain_source_bitcoind_rpc(
            bitcoind.host,
            bitcoind.port,
            bitcoind.user,
            bitcoind.password,
        );
    if let Some(alias) = &config.alias {
        builder.set_node_alias(alias.clone())?;
    }
    let node = match config.network {
        Network::Regtest => builder.build_with_store(Arc::new(Store::open(&network_dir)?)),
        Network::Bitcoin | Network::Testnet | Network::Testnet4 | Network::Signet => {
            builder.build()
        }
    };
    node.context("cannot build the node; its log says more")
}

/// A runtime that lives as long as the process: LDK may still be using it when `stop` has given up waiting.
fn spawn_runtime(network: Network) -> anyhow::Result<Handle> {
    let runtime = match network {
        // Only a single-threaded runtime lets its clock be moved.
        Network::Regtest => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        Network::Bitcoin | Network::Testnet | Network::Testnet4 | Network::Signet => {
            tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
        }
    }?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("ldk".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))
        .context("cannot start a thread for the node")?;
    Ok(handle)
}

/// Moves the clock of the node's runtime past [`FIRST_FORWARD_DELAY`], so that the first payment goes at once. Right
/// after the start no peer is connected that could mind.
fn skip_first_forward_delay(runtime: &Handle) -> anyhow::Result<()> {
    let (done, wait) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        tokio::time::pause();
        tokio::time::advance(FIRST_FORWARD_DELAY).await;
        tokio::time::resume();
        // The receiver waits for as long as it takes.
        let _ = done.send(());
    });
    wait.recv().context("the node's runtime has ended")
}
