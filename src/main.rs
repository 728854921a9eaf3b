//! The `swaprig` command line: reads arguments, calls the libraries, turns outcomes into exit codes.

#![cfg_attr(not(test), deny(clippy::unwrap_used))]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
