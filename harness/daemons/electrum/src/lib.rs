//! The bundled Electrum server: an index in memory over a node's RPC, for Bitcoin and Elements.
//!
//! It follows the node within milliseconds, keeps nothing on disk and speaks protocol 1.4 to 1.6. It contains no
//! faults: to be late or to lie is for a proxy before it.

mod chain;
mod follow;
mod index;
mod logger;
mod merkle;
mod node;
mod protocol;
mod server;
mod stop;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use log::{error, info};
use tokio::net::TcpListener;
use tokio::sync::watch;

use chain::Chain;
use follow::Shared;
use node::Calls;
pub use node::{Auth, Node, NodeError};
use protocol::Server;

/// What the server calls itself.
pub(crate) const SOFTWARE: &str = concat!("swaprig-electrum ", env!("CARGO_PKG_VERSION"));

/// The chains that it can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Bitcoin's regression test chain.
    Regtest,
    /// Liquid's, or any other chain of Elements.
    LiquidRegtest,
}

impl Network {
    /// Every network, with the name that electrs has for it.
    pub const ALL: [(Network, &'static str); 2] = [
        (Network::Regtest, "regtest"),
        (Network::LiquidRegtest, "liquidregtest"),
    ];

    fn chain(self) -> &'static dyn Chain {
        match self {
            Network::Regtest => &chain::Bitcoin,
            Network::LiquidRegtest => &chain::Elements,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Network::ALL.into_iter().find(|(_, name)| *name == text);
        found
            .map(|(network, _)| network)
            .ok_or_else(|| format!("`{text}` is none of regtest, liquidregtest"))
    }
}

/// What the command line decides.
#[derive(Debug, Clone)]
pub struct Options {
    /// The chain.
    pub network: Network,
    /// The node that it follows.
    pub node: Node,
    /// Where clients connect; a loopback address. Port 0 takes any, which is then written to standard output.
    pub electrum_rpc_addr: SocketAddr,
    /// What `server.banner` answers.
    pub banner: String,
    /// Stop at the end of standard input, too: the process that started this one holds the other end of the pipe, so
    /// its death ends this one.
    pub exit_with_stdin: bool,
}

/// Runs the server until SIGTERM, Ctrl-C or, if asked for, the end of standard input. Blocks; to be called once, from
/// outside any async runtime, by a process that ends when this returns. A panic anywhere ends the process at once.
///
/// # Errors
/// When the address is not on this machine's loopback interface or cannot be listened on.
pub fn run(options: Options) -> anyhow::Result<()> {
    abort_on_panic();
    logger::init()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let is_stopping = stop::on_request(options.exit_with_stdin)?;
        let listening = Listening::start(&options).await?;
        info!("Electrum RPC will be served on {}", listening.address);
        println!("listening on {}", listening.address);
        listening.serve(is_stopping).await;
        anyhow::Ok(())
    });
    // What is asked of the node at this moment ends with the process.
    runtime.shutdown_background();
    if let Err(error) = &result {
        error!("{error:#}");
    }
    result
}

/// A server in the making: its address is taken, and nobody is answered yet.
#[derive(Debug)]
pub struct Listening {
    /// Where clients connect.
    pub address: SocketAddr,
    listener: TcpListener,
    options: Options,
}

impl Listening {
    /// Takes the address.
    ///
    /// # Errors
    /// When it is not on this machine's loopback interface or cannot be listened on.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let asked = options.electrum_rpc_addr;
        ensure!(
            asked.ip().is_loopback(),
            "{asked} is not an address of this machine alone; use 127.0.0.1:PORT"
        );
        let listener = TcpListener::bind(asked)
            .await
            .with_context(|| format!("cannot listen on {asked}"))?;
        Ok(Listening {
            address: listener.local_addr()?,
            listener,
            options: options.clone(),
        })
    }

    /// Follows the node and, once the index has reached its tip, answers clients, until `is_stopping` becomes true.
    pub async fn serve(self, mut is_stopping: watch::Receiver<bool>) {
        let Options {
            network,
            node,
            banner,
            ..
        } = self.options;
        let shared = Shared::new(network.chain());
        let following = tokio::spawn(follow::follow(node.clone(), shared.clone()));
        let server = Server {
            shared: shared.clone(),
            node: Calls::new(node),
            banner,
            port: self.address.port(),
        };
        let mut version = shared.version.subscribe();
        let is_ready = tokio::select! {
            _ = is_stopping.wait_for(|stopping| *stopping) => false,
            _ = version.wait_for(|version| *version > 0) => true,
        };
        if is_ready {
            info!("Electrum RPC server running on {}", self.address);
            server::serve(self.listener, Arc::new(server), is_stopping).await;
        }
        following.abort();
    }
}

/// A server that goes on after one of its tasks has panicked looks alive and is not.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        error!("{panic}; the server ends here, because the rest of it could not be trusted");
        std::process::abort();
    }));
}
