//! gRPC over HTTP/2: from a request to the handler of its method, with upstream's checks in upstream's order.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method as HttpMethod, Request, Response, StatusCode};
use ldk_server_protos::api::SubscribeEventsRequest;
use ldk_server_protos::auth::{ApiKey, AuthError, HmacScope, X_AUTH};
use ldk_server_protos::endpoints::{self, method};
use ldk_server_protos::grpc::{self, Code, Status};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use crate::api::{self, Context};
use crate::body::{self, ResponseBody, StreamItem};
use crate::error::invalid;
use crate::server::stopping;

/// Request bodies that are read at the same time.
const MAX_BODIES: usize = 8;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Events that wait for a slow connection before they wait in the broadcast, where they can be lost.
const STREAM_BUFFER: usize = 16;

/// Everything that requests need; one for all connections.
pub(crate) struct Service {
    context: Arc<Context>,
    /// The runtime of the node. Handlers enter it, so that connections to peers live on it.
    node_runtime: Handle,
    api_key: ApiKey,
    events: broadcast::Sender<Bytes>,
    is_stopping: watch::Receiver<bool>,
    bodies: Semaphore,
}

impl Service {
    pub(crate) fn new(
        context: Context,
        node_runtime: Handle,
        api_key: ApiKey,
        events: broadcast::Sender<Bytes>,
        is_stopping: watch::Receiver<bool>,
    ) -> Self {
        let context = Arc::new(context);
        Self {
            context,
            node_runtime,
            api_key,
            events,
            is_stopping,
            bodies: Semaphore::new(MAX_BODIES),
        }
    }

    /// Answers one request.
    pub(crate) async fn respond(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if request.method() == HttpMethod::GET && request.uri().path() == endpoints::METRICS_PATH {
            return body::plain(StatusCode::NOT_FOUND, "Not Found");
        }
        self.call(request)
            .await
            .unwrap_or_else(|status| body::failure(&status))
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Response<ResponseBody>, Status> {
        check_is_grpc(&request)?;
        let timeout = read_timeout(request.headers())?;
        let path = request.uri().path();
        let name = endpoints::method_of(path)
            .ok_or_else(|| Status::new(Code::Unimplemented, format!("Unknown path: {path}")))?
            .to_owned();
        let answer = async {
            let (parts, incoming) = request.into_parts();
            let body = self.read_body(&parts.headers, incoming).await?;
            self.authenticate(&parts.headers, &body)?;
            if name == method::SUBSCRIBE_EVENTS {
                api::decode::<SubscribeEventsRequest>(&body)?;
                return Ok(body::stream(self.subscribe()));
            }
            self.run_handler(name.clone(), body).await.map(body::unary)
        };
        match timeout {
            Some(timeout) if name != method::SUBSCRIBE_EVENTS => {
                tokio::time::timeout(timeout, answer)
                    .await
                    .unwrap_or_else(|_| {
                        Err(Status::new(Code::DeadlineExceeded, "Deadline exceeded"))
                    })
            }
            _ => answer.await,
        }
    }

    async fn read_body(&self, headers: &HeaderMap, incoming: Incoming) -> Result<Bytes, Status> {
        const TOO_LARGE: &str = "Request body too large or failed to read";
        let announced = headers.get("content-length").map(|value| {
            let length = value
                .to_str()
                .ok()
                .and_then(|text| text.parse::<usize>().ok());
            length.ok_or_else(|| invalid("Invalid content-length header"))
        });
        let announced = announced.transpose()?;
        if announced.is_some_and(|length| length > grpc::MAX_UNARY_LEN) {
            return Err(invalid(TOO_LARGE));
        }
        // Sixteen callers at once are no attack: they wait for each other. Only bodies that do not come keep others out.
        let permit = tokio::time::timeout(BODY_TIMEOUT, self.bodies.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(Status::new(
                Code::Unavailable,
                format!("{MAX_BODIES} request bodies are being read already"),
            ));
        };
        let collected = tokio::time::timeout(
            BODY_TIMEOUT,
            Limited::new(incoming, grpc::MAX_UNARY_LEN).collect(),
        )
        .await
        .map_err(|_| Status::new(Code::Unavailable, "Reading the request body took too long"))?
        .map_err(|_| invalid(TOO_LARGE))?
        .to_bytes();
        match announced {
            Some(length) if length != collected.len() => {
                Err(invalid("Request body length does not match content-length"))
            }
            _ => Ok(collected),
        }
    }

    fn authenticate(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Status> {
        let now = seconds_since_epoch();
        headers
            .get(X_AUTH)
            .and_then(|value| value.to_str().ok())
            .ok_or(AuthError::Missing)
            .and_then(|header| {
                self.api_key
                    .verify(HmacScope::TimestampAndBody, header, now, body)
            })
            .map_err(|error| Status::new(Code::Unauthenticated, error.to_string()))
    }

    /// Runs a handler on a thread that may block.
    async fn run_handler(&self, name: String, body: Bytes) -> Result<Bytes, Status> {
        let context = Arc::clone(&self.context);
        let node_runtime = self.node_runtime.clone();
        let handler = move || {
            let _entered = node_runtime.enter();
            api::answer(&context, &name, &body)
        };
        tokio::task::spawn_blocking(handler)
            .await
            .unwrap_or_else(|_| Err(Status::new(Code::Unavailable, "server shutting down")))
    }

    fn subscribe(&self) -> mpsc::Receiver<StreamItem> {
        let (sender, receiver) = mpsc::channel(STREAM_BUFFER);
        tokio::spawn(pass_on(
            self.events.subscribe(),
            sender,
            self.is_stopping.clone(),
        ));
        receiver
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "requests carry the time of day at which they were made"
)]
fn seconds_since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Passes events on until the subscriber goes or the server stops.
async fn pass_on(
    mut events: broadcast::Receiver<Bytes>,
    subscriber: mpsc::Sender<StreamItem>,
    mut is_stopping: watch::Receiver<bool>,
) {
    loop {
        let item = tokio::select! {
            biased;
            () = subscriber.closed() => return,
            () = stopping(&mut is_stopping) => Err(()),
            event = events.recv() => match event {
                Ok(frame) => Ok(frame),
                // The subscriber was too slow and has lost some: events are hints, so it goes on.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => Err(()),
            },
        };
        let is_last = item.is_err();
        let item = item.map_err(|()| Status::new(Code::Unavailable, "server shutting down"));
        if subscriber.send(item).await.is_err() || is_last {
            return;
        }
    }
}

fn check_is_grpc<B>(request: &Request<B>) -> Result<(), Status> {
    if request.method() != HttpMethod::POST {
        return Err(Status::new(
            Code::Unimplemented,
            "gRPC requires POST method",
        ));
    }
    match request
        .headers()
        .get("content-type")
        .map(|value| value.as_bytes())
    {
        Some(b"application/grpc" | b"application/grpc+proto") => Ok(()),
        _ => Err(invalid("Invalid content-type for gRPC")),
    }
}

fn read_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    headers
        .get("grpc-timeout")
        .map(|value| {
            grpc::parse_timeout(value.as_bytes())
                .ok_or_else(|| invalid("Invalid grpc-timeout header"))
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscriber_gets_events_and_the_end() {
        let (events, receiver) = broadcast::channel(4);
        let (stop, is_stopping) = watch::channel(false);
        let (sender, mut subscriber) = mpsc::channel(STREAM_BUFFER);
        let task = tokio::spawn(pass_on(receiver, sender, is_stopping));
        events.send(Bytes::from_static(b"1")).unwrap();
        assert_eq!(subscriber.recv().await, Some(Ok(Bytes::from_static(b"1"))));
        stop.send(true).unwrap();
        assert_eq!(
            subscriber.recv().await,
            Some(Err(Status::new(Code::Unavailable, "server shutting down")))
        );
        assert_eq!(subscriber.recv().await, None);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_subscriber_that_lags_loses_the_oldest_and_goes_on() {
        let (events, receiver) = broadcast::channel(2);
        let (_stop, is_stopping) = watch::channel(false);
        for number in [b"1", b"2", b"3"] {
            events.send(Bytes::from_static(number)).unwrap();
        }
        let (sender, mut subscriber) = mpsc::channel(STREAM_BUFFER);
        tokio::spawn(pass_on(receiver, sender, is_stopping));
        assert_eq!(subscriber.recv().await, Some(Ok(Bytes::from_static(b"2"))));
        assert_eq!(subscriber.recv().await, Some(Ok(Bytes::from_static(b"3"))));
    }

    #[tokio::test]
    async fn a_subscriber_that_left_is_forgotten() {
        let (_events, receiver) = broadcast::channel(2);
        let (_stop, is_stopping) = watch::channel(false);
        let (sender, subscriber) = mpsc::channel(STREAM_BUFFER);
        let task = tokio::spawn(pass_on(receiver, sender, is_stopping));
        drop(subscriber);
        task.await.unwrap();
    }
}
