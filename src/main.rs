//! The `swaprig` command line: reads arguments, calls the libraries, turns outcomes into exit codes.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::main(cli::Cli::parse())
}
