//! The swap server as a program of its own; `swaprig server` is the same.

use std::process::ExitCode;

use clap::Parser;

/// Sells L-BTC and other Liquid assets for Lightning payments, and loops between Lightning and Bitcoin
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    args: swaprig::api::ServerArgs,
}

fn main() -> ExitCode {
    match swaprig::api::run(Cli::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("swap_server: {}", swaprig_harness::error_chain(&error));
            ExitCode::FAILURE
        }
    }
}
