//! The `swaprig` command line: reads arguments, calls the libraries, turns outcomes into exit codes.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
