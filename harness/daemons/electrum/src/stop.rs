//! What ends the server: SIGTERM, Ctrl-C and, if wanted, the end of standard input.

use std::io::Read;
use std::sync::Arc;

use anyhow::Context as _;
use log::info;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Makes the watched value true when the server is to end.
pub(crate) fn on_request(exit_with_stdin: bool) -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, is_stopping) = watch::channel(false);
    let stop = Arc::new(stop);
    for (kind, name) in [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
    ] {
        let mut signals = signal(kind).with_context(|| format!("cannot wait for {name}"))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            info!("Received {name}, shutting down");
            stop.send_replace(true);
        });
    }
    if exit_with_stdin {
        let stop = stop.clone();
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || {
                wait_for_end(std::io::stdin().lock());
                info!("Standard input has ended, shutting down");
                stop.send_replace(true);
            })?;
    }
    Ok(is_stopping)
}

/// Nobody writes to the pipe; it ends when the process that holds the other end does, however that happens.
fn wait_for_end(mut input: impl Read) {
    let mut ignored = [0; 64];
    while matches!(input.read(&mut ignored), Ok(1..)) {}
}
