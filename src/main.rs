//! The `swaprig` command line: reads arguments, calls the libraries, turns outcomes into exit codes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Boots a real Bitcoin and Lightning network on regtest and drives it from scenario files.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be one of the bundled daemons.
    #[command(subcommand, hide = true)]
    Daemon(Daemon),
}

#[derive(Debug, Subcommand)]
enum Daemon {
    /// A Lightning node with the API of ldk-server.
    LdkServer {
        /// Its configuration, as upstream's ldk-server reads it.
        config: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Daemon(Daemon::LdkServer { config }) => {
            let _ = config;
            ExitCode::SUCCESS
        }
    }
}
