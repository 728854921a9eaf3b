//! Listening, and stopping without cutting anybody off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use swaprig_proto::v1::admin_service_server::AdminServiceServer;
use swaprig_proto::v1::swap_service_server::SwapServiceServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;

use super::admin::Admin;
use super::rest::{self, Limits};
use super::swaps::Swaps;
use crate::config::{Config, LogFormat};
use crate::watch::{Engine, StartError};

/// The largest request; the largest one that makes sense has less than 400 bytes.
const MOST_BYTES: usize = 16 * 1024;
/// Requests that one connection may have at once.
const MOST_REQUESTS: u32 = 256;
/// How long calls that run may take when the server stops.
const STOP: Duration = Duration::from_secs(5);

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    engine: Arc<Engine>,
    stopping: watch::Sender<bool>,
    listeners: JoinSet<Result<(), tonic::transport::Error>>,
    /// Where buyers connect.
    pub listen: SocketAddr,
    /// Where the operator connects.
    pub admin_listen: SocketAddr,
    /// Where clients of loops connect, if they can.
    pub rest_listen: Option<SocketAddr>,
}

/// Begins to write the log to standard error. Call it once.
pub fn log(format: LogFormat, level: tracing::Level) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A second call changes nothing.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

async fn bind(
    what: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen = |source| StartError::Listen {
        what,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    Ok((listener, bound))
}

impl Server {
    /// Starts everything. Calls are answered from now on; swaps are made as soon as the daemons answer, which the health
    /// service tells.
    ///
    /// # Errors
    ///
    /// When what is this server's own cannot be opened, or a port is taken.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let (swap_listener, listen) = bind("the swap service", config.listen).await?;
        let (admin_listener, admin_listen) = bind("the admin service", config.admin_listen).await?;
        if let Some(address) = config.metrics_listen {
            metrics_exporter_prometheus::PrometheusBuilder::new()
                .with_http_listener(address)
                .install()
                .map_err(|error| StartError::Metrics(error.to_string()))?;
        }
        let for_rest = match config.rest_listen {
            Some(address) => Some(bind("the REST service", address).await?),
            None => None,
        };
        let engine = Engine::start(config).await?;
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_not_serving::<SwapServiceServer<Swaps>>().await;
        // Of the server as a whole it would say otherwise until the first look at the engine.
        health
            .set_service_status("", tonic_health::ServingStatus::NotServing)
            .await;
        let stopping = watch::Sender::new(false);
        let mut listeners = JoinSet::new();
        let until_stopped = || {
            let mut stopping = stopping.subscribe();
            async move {
                // An error: the server is gone, which is an end, too.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            }
        };
        let swaps = SwapServiceServer::new(Swaps {
            engine: engine.clone(),
            stopping: stopping.subscribe(),
        });
        let swap_server = builder()
            .add_service(swaps.max_decoding_message_size(MOST_BYTES))
            .add_service(health_service.clone())
            .add_service(reflection_v1())
            .add_service(reflection_v1alpha());
        let incoming = TcpIncoming::from(swap_listener).with_nodelay(Some(true));
        listeners.spawn(swap_server.serve_with_incoming_shutdown(incoming, until_stopped()));
        let admin = AdminServiceServer::new(Admin {
            engine: engine.clone(),
        });
        let admin_server = builder()
            .add_service(admin.max_decoding_message_size(MOST_BYTES))
            .add_service(health_service)
            .add_service(reflection_v1())
            .add_service(reflection_v1alpha());
        let incoming = TcpIncoming::from(admin_listener).with_nodelay(Some(true));
        listeners.spawn(admin_server.serve_with_incoming_shutdown(incoming, until_stopped()));
        let rest_listen = for_rest.as_ref().map(|(_, address)| *address);
        if let Some((listener, address)) = for_rest {
            let desk = Arc::new(rest::Loops(engine.clone()));
            let rest = rest::serve(listener, desk, Limits::default(), stopping.subscribe());
            listeners.spawn(rest.map(Ok));
            tracing::info!(%address, "listening for loops");
        }
        tokio::spawn(tell_health(engine.readiness(), health));
        tracing::info!(%listen, %admin_listen, "listening");
        Ok(Server {
            engine,
            stopping,
            listeners,
            listen,
            admin_listen,
            rest_listen,
        })
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes no more calls, lets those that run end for a few seconds, and stores what was going on.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        self.engine.stop().await;
        let all = async { while self.listeners.join_next().await.is_some() {} };
        // Streams end with their caller; whoever is still there after that long is cut off.
        let _ = tokio::time::timeout(STOP, all).await;
        tracing::info!("stopped");
    }
}

/// Has the health service say what the engine's readiness is, from now on.
async fn tell_health(
    readiness: watch::Receiver<Option<String>>,
    health: tonic_health::server::HealthReporter,
) {
    let readiness = tokio_stream::wrappers::WatchStream::new(readiness);
    let told = readiness.for_each(move |unready| {
        let health = health.clone();
        async move {
            let serving = match unready {
                None => tonic_health::ServingStatus::Serving,
                Some(_) => tonic_health::ServingStatus::NotServing,
            };
            let swaps = <SwapServiceServer<Swaps> as tonic::server::NamedService>::NAME;
            health.set_service_status(swaps, serving).await;
            // The server as a whole.
            health.set_service_status("", serving).await;
        }
    });
    told.await;
}

fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .concurrency_limit_per_connection(usize::try_from(MOST_REQUESTS).unwrap_or(usize::MAX))
        .max_concurrent_streams(MOST_REQUESTS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
}

fn reflection_v1() -> tonic_reflection::server::v1::ServerReflectionServer<
    impl tonic_reflection::server::v1::ServerReflection,
> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(swaprig_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were compiled with this program")
}

fn reflection_v1alpha() -> tonic_reflection::server::v1alpha::ServerReflectionServer<
    impl tonic_reflection::server::v1alpha::ServerReflection,
> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(swaprig_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1alpha()
        .expect("the descriptors were compiled with this program")
}
