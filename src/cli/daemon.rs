//! `swaprig daemon`: this executable as one of the bundled daemons. The harness starts it as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use swaprig_electrum::{Auth, Network, Node};

use super::Exit;

#[derive(Debug, Args)]
pub(super) struct DaemonArgs {
    #[command(subcommand)]
    daemon: Daemon,
}

#[derive(Debug, Subcommand)]
enum Daemon {
    /// A Lightning node with the API of ldk-server
    LdkServer {
        /// Go on when standard input ends; without it, that ends the daemon
        #[arg(long)]
        detached: bool,
        /// The configuration, as upstream's ldk-server reads it
        config: PathBuf,
    },
    /// An Electrum server over a Bitcoin or an Elements node
    Electrum(ElectrumArgs),
    /// A Liquid node with the JSON-RPC of elementsd
    #[command(disable_help_flag = true)]
    Elements {
        /// Go on when standard input ends; without it, that ends the daemon
        #[arg(long)]
        detached: bool,
        /// Options as elementsd takes them: -chain=liquidregtest -datadir=DIR …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ElectrumArgs {
    /// The chain: regtest (Bitcoin) or liquidregtest (Elements)
    #[arg(long)]
    network: Network,
    /// Go on when standard input ends; without it, that ends the daemon
    #[arg(long)]
    detached: bool,
    /// HOST:PORT of the node's JSON-RPC
    #[arg(long, value_name = "ADDR")]
    daemon_rpc_addr: String,
    /// USER:PASSWORD of the node's JSON-RPC
    #[arg(
        long,
        value_name = "USER:PASSWORD",
        required_unless_present = "cookie_file"
    )]
    cookie: Option<String>,
    /// A file that holds it, as the node writes one
    #[arg(long, value_name = "FILE", conflicts_with = "cookie")]
    cookie_file: Option<PathBuf>,
    /// Where Electrum clients connect; port 0 takes any, which is then printed
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    electrum_rpc_addr: SocketAddr,
    /// What the server says to people
    #[arg(long, default_value = "Welcome to swaprig's Electrum server.")]
    electrum_banner: String,
}

impl ElectrumArgs {
    fn options(self) -> swaprig_electrum::Options {
        let auth = match (self.cookie, self.cookie_file) {
            (Some(cookie), _) => Auth::Cookie(cookie),
            (None, file) => Auth::CookieFile(file.expect("clap asks for one of both")),
        };
        swaprig_electrum::Options {
            network: self.network,
            node: Node {
                address: self.daemon_rpc_addr,
                auth,
            },
            electrum_rpc_addr: self.electrum_rpc_addr,
            banner: self.electrum_banner,
            exit_with_stdin: !self.detached,
        }
    }
}

pub(super) fn run(args: DaemonArgs) -> Exit {
    let (says, ended) = match args.daemon {
        Daemon::LdkServer { detached, config } => {
            let options = swaprig_ldk_server::Options {
                config,
                exit_with_stdin: !detached,
            };
            (
                "swaprig daemon ldk-server",
                swaprig_ldk_server::run(options),
            )
        }
        Daemon::Electrum(args) => (
            "swaprig daemon electrum",
            swaprig_electrum::run(args.options()),
        ),
        // As elementsd says it, for who reads logs of either.
        Daemon::Elements { detached, options } => {
            ("Error", swaprig_elements::run(&options, !detached))
        }
    };
    match ended {
        Ok(()) => Exit::Passed,
        Err(error) => {
            eprintln!("{says}: {error:#}");
            Exit::Failed
        }
    }
}
