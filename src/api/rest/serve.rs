//! The listener of the REST API: what a connection may take, and an end that cuts nobody off who is soon done.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use swaprig_harness::time::Deadline;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use super::desk::Desk;
use super::problem::{Kind, Problem};
use super::{Rest, openapi, routes};

/// How long no connection is accepted after one could not be.
const PAUSE: Duration = Duration::from_millis(100);

/// What one caller may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, bytes.
    pub body: usize,
    /// The largest head (request line and headers), bytes; 8192 at least.
    pub head: usize,
    /// The most headers.
    pub headers: usize,
    /// How long a head may take to arrive; an idle connection is closed after that, too.
    pub head_time: Duration,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// How long a request may take; not a stream of events, once it has begun.
    pub request_time: Duration,
    /// Connections at once; further ones wait.
    pub connections: usize,
    /// How long requests that run may take when the server stops.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body: 16 * 1024,
            head: 16 * 1024,
            headers: 64,
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(10),
            request_time: Duration::from_secs(60),
            connections: 512,
            stop_time: Duration::from_secs(5),
        }
    }
}

/// Answers requests until `stopping` says so or is gone; then takes no more, ends the streams of events, and lets other
/// requests that run end for a while.
pub async fn serve(
    listener: TcpListener,
    desk: Arc<dyn Desk>,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let router = router(desk, limits, stopping.clone());
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        // Those that have ended.
        while let Some(ended) = connections.try_join_next() {
            told(ended);
        }
        match accepted {
            Ok((stream, _)) => {
                let router = router.clone();
                let stopping = stopping.clone();
                connections.spawn(async move {
                    connection(stream, router, limits, stopping).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: there is no use in trying again at once.
                tracing::warn!(%error, "the REST service cannot accept a connection");
                Deadline::after(PAUSE).reach().await;
            }
        }
    }
    drop(listener);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            told(ended);
        }
    };
    // Whoever is still there after that long is cut off, when the set is dropped.
    let _ = Deadline::after(limits.stop_time).bound(all).await;
}

/// A panic ends the connection on which it happened, and no other; it must be seen all the same.
fn told(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection of the REST service ended by a fault of the server");
    }
}

/// The routes, with an answer for every request that has none.
fn router(desk: Arc<dyn Desk>, limits: Limits, stopping: watch::Receiver<bool>) -> Router {
    let document = openapi::document().to_json();
    let rest = Rest {
        desk,
        stopping,
        limits,
        document: document
            .map(Bytes::from)
            .expect("the document has nothing that JSON has not"),
    };
    let router = routes::all()
        .into_iter()
        .fold(Router::new(), |router, route| {
            router.route(&route.path, route.handler)
        });
    router
        .fallback(|request: Request| async move {
            let path = request.uri().path();
            Problem::new(
                Kind::NotFound,
                format!("there is nothing at {path}; see /openapi.json"),
            )
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let method = request.method();
            Problem::new(
                Kind::MethodNotAllowed,
                format!("{method} is not taken here"),
            )
        })
        .layer(middleware::from_fn_with_state(limits, in_time))
        .with_state(rest)
}

async fn in_time(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let answered = Deadline::after(limits.request_time)
        .bound(next.run(request))
        .await;
    answered.unwrap_or_else(|| {
        let seconds = limits.request_time.as_secs_f32();
        let detail = format!(
            "it takes longer than the {seconds} s that a caller may wait; what has begun goes on, and the same request finds it"
        );
        Problem::new(Kind::NotReady, detail).into_response()
    })
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    // An answer is small; it must not wait for another.
    let _ = stream.set_nodelay(true);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(limits.headers)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // What a caller does to its own connection is nobody's trouble here.
        tracing::debug!(%error, "a connection of the REST service ended");
    }
}
