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

pub(super) fn run(args: DaemonArgs) -> Exit {
    match args.daemon {
        Daemon::LdkServer { detached, config } => {
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
        Daemon::Elements { detached, options } => {
            match swaprig_elements::run(&options, !detached) {
                Ok(()) => Exit::Passed,
                // As elementsd says it, for who reads logs of either.
                Err(error) => {
                    eprintln!("Error: {error:#}");
                    Exit::Failed
                }
            }
        }
    }
}
