//! `swaprig daemon`: this executable as one of the bundled daemons. The harness starts it as a process of its own.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
}

pub(super) fn run(args: DaemonArgs) -> Exit {
    let Daemon::LdkServer { detached, config } = args.daemon;
    match swaprig_ldk_server::run(swaprig_ldk_server::Options {
        config,
        exit_with_stdin: !detached,
    }) {
        Ok(()) => Exit::Passed,
        Err(error) => {
            eprintln!("swaprig daemon ldk-server: {error:#}");
            Exit::Failed
        }
    }
}
