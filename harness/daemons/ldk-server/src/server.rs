//! The listener and its connections, and what stops them.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use log::{debug, info};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::service::Service;

/// How long clients may take to receive what is under way when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `is_stopping` becomes true, and then lets the connections finish.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    service: Arc<Service>,
    mut is_stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopping(&mut is_stopping) => break,
            // Forgets connections that have ended.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(handle(
                    stream,
                    tls.clone(),
                    Arc::clone(&service),
                    is_stopping.clone(),
                ));
            }
            // A client that went away again, or no free descriptor: either way the next one may succeed.
            Err(error) => debug!("Cannot accept a connection: {error}"),
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        debug!("Some clients did not finish within {DRAIN_TIMEOUT:?}");
    }
}

async fn handle(
    stream: TcpStream,
    tls: TlsAcceptor,
    service: Arc<Service>,
    mut is_stopping: watch::Receiver<bool>,
) {
    // Answers are small; waiting to fill a packet would cost more than the call.
    if let Err(error) = stream.set_nodelay(true) {
        debug!("Cannot set TCP_NODELAY: {error}");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!("TLS handshake failed: {error}"),
        Err(_) => {
            return debug!(
                "A client did not finish its TLS handshake within {HANDSHAKE_TIMEOUT:?}"
            );
        }
    };
    let respond = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, std::convert::Infallible>(service.respond(request).await) }
    });
    let mut connection = std::pin::pin!(
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), respond)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping(&mut is_stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!("A connection ended: {error}");
    }
}

/// Returns once the server is to stop.
pub(crate) async fn stopping(is_stopping: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which happens at the end of the process only.
    let _ = is_stopping.wait_for(|is_stopping| *is_stopping).await;
}

/// Makes the watched value true at SIGTERM or Ctrl-C, and, if wanted, at the end of standard input.
pub(crate) fn stop_on_request(exit_with_stdin: bool) -> anyhow::Result<watch::Receiver<bool>> {
    let (stop, is_stopping) = watch::channel(false);
    let stop = Arc::new(stop);
    for (kind, name) in [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
    ] {
        let mut signals = signal(kind).with_context(|| format!("cannot wait for {name}"))?;
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            signals.recv().await;
            info!("Received {name}, shutting down..");
            stop.send_replace(true);
        });
    }
    if exit_with_stdin {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                wait_for_end(std::io::stdin().lock());
                info!("Standard input has ended, shutting down..");
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
