//! The process: what it is started with, what stops it, what it leaves behind.

use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use elements::hex::DisplayHex as _;
use log::{error, info};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::http::{self, Credentials};
use crate::options::{Login, Options};
use crate::rpc::{Shared, State};
use crate::{log as logging, snapshot};

/// Runs a node until SIGTERM, Ctrl-C, the method `stop` or, if asked for, the end of standard input. Blocks; to be
/// called once, from outside any async runtime, by a process that ends when this returns. A panic anywhere ends the
/// process at once.
///
/// # Errors
/// With elementsd's message when the arguments are wrong; when a file cannot be used or the port is taken.
pub fn run(arguments: &[String], exit_with_stdin: bool) -> anyhow::Result<()> {
    abort_on_panic();
    let options = Options::parse(arguments)?;
    logging::init(options.debug);
    info!(
        "Bundled Elements node of swaprig {}, in the manner of Elements Core 23.4, chain {}",
        env!("CARGO_PKG_VERSION"),
        options.params.chain
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(&options, exit_with_stdin));
    // A call that is still under way ends with the process.
    runtime.shutdown_background();
    info!("Shutdown: done");
    served
}

async fn serve(options: &Options, exit_with_stdin: bool) -> anyhow::Result<()> {
    let (stop, is_stopping) = watch::channel(false);
    stop_on_request(&stop, exit_with_stdin)?;
    let state = state(options)?;
    let shared = Arc::new(Shared::new(state, stop));
    let listener = TcpListener::bind(options.rpc_address)
        .await
        .with_context(|| {
            format!(
                "Unable to bind to {} for the RPC server; is it running already?",
                options.rpc_address
            )
        })?;
    let address = listener.local_addr()?;
    // After the port: a node that cannot start leaves the cookie of another one alone.
    let (credentials, cookie) = credentials(options)?;
    // elementsd does not say this; whoever asks for port 0 has to know.
    info!("RPC server listening on {address}");
    http::serve(listener, Arc::clone(&shared), credentials, is_stopping).await;
    info!("Shutdown: In progress...");
    if let Some(path) = &options.snapshot {
        snapshot::save(path, &shared.lock())?;
    }
    if let Some(path) = cookie {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn state(options: &Options) -> anyhow::Result<State> {
    let (mut node, wallets) = snapshot::load(
        options.snapshot.as_deref(),
        &options.params,
        options.settings.clone(),
    )?;
    if options.mock_time.is_some() {
        node.set_mock_time(options.mock_time);
    }
    let mut state = State::new(node, options.settings.clone(), options.max_tip_age);
    if let Some(wallets) = wallets {
        state.wallets = wallets;
    }
    Ok(state)
}

/// Who may call, and the cookie file if there is one.
fn credentials(options: &Options) -> anyhow::Result<(Credentials, Option<PathBuf>)> {
    let hashed = options.rpc_auth.clone();
    match &options.login {
        Login::Password { user, password } => Ok((
            Credentials {
                passwords: vec![(user.clone(), password.clone())],
                hashed,
            },
            None,
        )),
        Login::Cookie(path) => {
            let mut random = [0; 32];
            getrandom::fill(&mut random)
                .map_err(|error| anyhow::anyhow!("no randomness for the cookie: {error}"))?;
            let password = random.to_lower_hex_string();
            write_cookie(path, &password)
                .with_context(|| format!("cannot write the cookie {}", path.display()))?;
            let passwords = vec![("__cookie__".to_owned(), password)];
            Ok((Credentials { passwords, hashed }, Some(path.clone())))
        }
    }
}

/// Written aside and renamed, so that nobody reads half of it.
fn write_cookie(path: &Path, password: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let part = path.with_extension("tmp");
    let _ = std::fs::remove_file(&part);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(format!("__cookie__:{password}").as_bytes())?;
    std::fs::rename(&part, path)
}

/// Makes the watched value true at SIGTERM or Ctrl-C, and, if wanted, at the end of standard input.
fn stop_on_request(stop: &watch::Sender<bool>, exit_with_stdin: bool) -> anyhow::Result<()> {
    for (kind, name) in [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
    ] {
        let mut signals = signal(kind).with_context(|| format!("cannot wait for {name}"))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            info!("Received {name}");
            stop.send_replace(true);
        });
    }
    if exit_with_stdin {
        let stop = stop.clone();
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                wait_for_end(std::io::stdin().lock());
                info!("Standard input has ended");
                stop.send_replace(true);
            })?;
    }
    Ok(())
}

/// Nobody writes to the pipe; it ends when the process that holds the other end does, however that happens.
fn wait_for_end(mut input: impl Read) {
    let mut ignored = [0; 64];
    while matches!(input.read(&mut ignored), Ok(1..)) {}
}

/// A node that goes on after one of its threads has panicked looks alive, and its state cannot be trusted.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        error!("{panic}; the node ends here, because the rest of it could not be trusted");
        std::process::abort();
    }));
}
