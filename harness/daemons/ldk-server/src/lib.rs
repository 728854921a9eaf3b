//! The bundled ldk-server: ldk-node behind upstream's gRPC API, made quick for tests.
//!
//! It is a real Lightning node with upstream's configuration file, credential files, methods and status codes, for the
//! methods that swaprig uses; the others answer UNIMPLEMENTED. Compared with upstream's binary, on regtest, it takes in
//! a block within tens of milliseconds, sends its first payment at once and does not wait for the disk. What it stores
//! is its own: a storage directory belongs to either binary, never to both.

mod api;
mod body;
mod config;
mod convert;
mod error;
mod events;
mod files;
mod logger;
mod node;
mod server;
mod service;
mod store;
mod watcher;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use log::{error, info};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use config::Config;
use service::Service;

/// What the server reports as its version.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (swaprig, ldk-node 0.7.1)");

/// What the command line decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The configuration file, with upstream's keys.
    pub config: PathBuf,
    /// Stop at the end of standard input, too: the process that started this one holds the other end of the pipe, so
    /// its death ends this one.
    pub exit_with_stdin: bool,
}

/// Runs the server until SIGTERM, Ctrl-C or, if asked for, the end of standard input. Blocks; to be called once, from
/// outside any async runtime, by a process that ends when this returns. A panic anywhere ends the process at once.
///
/// # Errors
/// When the configuration is invalid (the message starts with "Invalid configuration"), a file cannot be used, or the
/// node or the listener cannot be started.
pub fn run(options: Options) -> anyhow::Result<()> {
    abort_on_panic();
    let config = Config::load(&options.config)
        .with_context(|| format!("Invalid configuration file: {}", options.config.display()))?;
    let network_dir = config.network_dir();
    std::fs::create_dir_all(&network_dir)
        .with_context(|| format!("cannot create {}", network_dir.display()))?;
    logger::init(config.log_level, config.log_file.as_deref())?;
    let result = serve(&config, options.exit_with_stdin);
    if let Err(error) = &result {
        error!("{error:#}");
    }
    result
}

fn serve(config: &Config, exit_with_stdin: bool) -> anyhow::Result<()> {
    let api_key = files::api_key(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let running = node::start(config)?;
    let node = running.node;
    let addresses = node
        .announcement_addresses()
        .filter(|addresses| !addresses.is_empty());
    for address in addresses
        .or_else(|| node.listening_addresses())
        .unwrap_or_default()
    {
        info!("NODE_URI: {}@{address}", node.node_id());
    }
    let nudge = watcher::spawn(Arc::clone(&node), config.bitcoind.clone())?;
    let events = events::spawn(Arc::clone(&node))?;
    let context = api::Context {
        node: Arc::clone(&node),
        nudge,
    };
    let node_runtime = running.runtime;
    let served = runtime.block_on(async {
        let is_stopping = server::stop_on_request(exit_with_stdin)?;
        let listener = TcpListener::bind(config.grpc_service_address)
            .await
            .with_context(|| {
                format!(
                    "cannot listen for the API on {}",
                    config.grpc_service_address
                )
            })?;
        let tls = TlsAcceptor::from(files::tls(config)?);
        info!("gRPC service listening on {}", config.grpc_service_address);
        let service = Service::new(context, node_runtime, api_key, events, is_stopping.clone());
        server::serve(listener, tls, Arc::new(service), is_stopping).await;
        anyhow::Ok(())
    });
    // A call that is still under way may block for long; it ends with the process.
    runtime.shutdown_background();
    node.stop().context("the node did not stop cleanly")?;
    info!("Shutdown complete..");
    served
}

/// A node that goes on after one of its tasks has panicked looks alive and is not.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        error!("{panic}; the daemon ends here, because the rest of it could not be trusted");
        std::process::abort();
    }));
}
