//! The server as a process: its arguments, its signals, its end.

use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::serve::{Server, log};
use crate::config::{ConfigError, Settings};
use crate::watch::StartError;

/// How the server is called.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The configuration file, TOML; its keys are the names of the flags below, with `_` for `-`
    #[arg(long, short, env = "SWAPRIG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, print nothing, and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    settings: Settings,
    /// For crash tests: abort:N, abort-at:NAME, fund-before-store or pay-before-store; refused outside regtest
    #[cfg(feature = "failpoints")]
    #[arg(long, hide = true)]
    failpoint: Option<crate::failpoint::Failpoint>,
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A part of it has panicked. What was stored is whole; start it again.
    #[error("a bug ended {0}; start the server again, and report what the log says of it")]
    Broken(&'static str),
    /// The system gives no threads or no signals.
    #[error("the operating system: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the server until SIGINT or SIGTERM. It stops in order: nothing that it began is lost.
///
/// # Errors
///
/// When it is not configured soundly or cannot start.
pub fn run(args: ServerArgs) -> Result<(), ServerError> {
    let file = match &args.config {
        Some(path) => Settings::read(path)?,
        None => Settings::default(),
    };
    let config = args.settings.over(file).check()?;
    if args.check {
        return Ok(());
    }
    #[cfg(feature = "failpoints")]
    if let Some(failpoint) = args.failpoint {
        if config.network != crate::config::Network::LiquidRegtest {
            return Err(ServerError::Config(ConfigError::Unsound {
                key: "failpoint",
                reason: "is for regtest only".into(),
            }));
        }
        crate::failpoint::choose(failpoint).map_err(|reason| {
            ServerError::Config(ConfigError::Unsound {
                key: "failpoint",
                reason,
            })
        })?;
    }
    log(config.log_format, config.log_level);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let server = Server::start(config).await?;
        // For whoever started it with port 0.
        println!("listen {}", server.listen);
        println!("admin_listen {}", server.admin_listen);
        if let Some(address) = server.rest_listen {
            println!("rest_listen {address}");
        }
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            what = server.engine().broken() => return Err(ServerError::Broken(what)),
        }
        server.stop().await;
        Ok(())
    })
}
