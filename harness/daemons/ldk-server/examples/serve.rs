//! Runs the bundled ldk-server on its own: `cargo run -p swaprig-ldk-server --example serve -- CONFIG`.

use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let config = std::env::args_os()
        .nth(1)
        .context("usage: serve CONFIG")?
        .into();
    swaprig_ldk_server::run(swaprig_ldk_server::Options {
        config,
        exit_with_stdin: false,
    })
}
