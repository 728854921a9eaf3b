//! The driver of ldk-server, upstream's binary and the bundled one alike: start, channels, payments, crash, restart.
//! Calls return what the node says; waiting for the other side or for the chain belongs to the caller.

mod held;
mod launch;
mod model;
mod ops;
mod told;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use ldk_server_client::{ClientError, LdkServerClient};
use swaprig_record::Recorder;

use model::Htlc;
pub use model::{
    Balances, ChannelView, Direction, MalformedAnswer, NodeInfo, PaymentStatus, PaymentView,
};
pub use ops::{Invoice, InvoiceRequest, OpenChannel, ReadInvoice, RouteLimits};

use crate::binary::Binary;
use crate::daemon::StartError;
use crate::port::PortClaim;
use crate::process::{Exit, LogFiles, Running, Stopped};
use crate::proxy::{Grpc, Tls, ldk_server_descriptors};
use crate::time::Deadline;
use held::{Held, Listening};
use launch::Launched;
use told::Told;

/// How long a node has for one call.
const CALL: Duration = Duration::from_secs(20);

/// A Lightning node.
#[derive(Debug)]
pub struct LdkServer {
    name: String,
    dir: PathBuf,
    binary: Binary,
    logs: LogFiles,
    ports: Ports,
    node_id: PublicKey,
    running: Mutex<Arc<Running>>,
    api: RwLock<Api>,
    /// Where the harness's calls go: to a proxy, when it says so.
    through: Option<String>,
    /// Where its events are recorded.
    told: Told,
}

/// Where a node's credential is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialFile {
    /// An API key: 32 bytes.
    ApiKey(PathBuf),
    /// A macaroon that may do everything, in hexadecimal digits.
    Macaroon(PathBuf),
}

/// What belongs to one run of the process.
#[derive(Debug)]
struct Api {
    client: LdkServerClient,
    held: Held,
}

/// The ports of one node; it keeps them over restarts.
#[derive(Debug)]
struct Ports {
    grpc: PortClaim,
    p2p: PortClaim,
}

/// A call to a node that did not bring what it should.
#[derive(Debug, thiserror::Error)]
#[error("{node}: {kind}")]
pub struct NodeError {
    /// The instance.
    pub node: String,
    /// The method of the API.
    pub method: &'static str,
    /// What went wrong.
    #[source]
    pub kind: NodeErrorKind,
}

/// What went wrong with a call to a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeErrorKind {
    /// The node refused, or could not be reached.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// The node's answer does not have the form that its API promises.
    #[error("its answer cannot be used: {0}")]
    Malformed(#[from] MalformedAnswer),
}

impl LdkServer {
    /// Starts a node called `name` in `dir/name`, following the chain of the bitcoind at `bitcoind_rpc`
    /// (`127.0.0.1:PORT`), which must answer already.
    ///
    /// A port that a stranger takes between claim and bind is answered with fresh ports, three times.
    ///
    /// # Errors
    /// [`StartError`], with the end of the node's logs.
    pub async fn start(
        binary: &Binary,
        name: &str,
        dir: &Path,
        bitcoind_rpc: &str,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        launch::start(binary, name, dir, bitcoind_rpc, deadline).await
    }

    /// The instance's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public key.
    pub fn node_id(&self) -> PublicKey {
        self.node_id
    }

    /// `127.0.0.1:PORT` for other Lightning nodes.
    pub fn p2p_address(&self) -> String {
        self.ports.p2p.address()
    }

    /// `127.0.0.1:PORT` of its API.
    pub fn grpc_address(&self) -> String {
        self.ports.grpc.address()
    }

    /// Its data directory, with its configuration in it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node's own log; what it prints is little.
    pub fn own_log(&self) -> PathBuf {
        let network = launch::storage(&self.dir).join(launch::NETWORK);
        network.join("ldk-server.log")
    }

    /// The file with its certificate (PEM), for clients of its API.
    pub fn tls_cert(&self) -> PathBuf {
        launch::storage(&self.dir).join(launch::CERTIFICATE)
    }

    /// The file with its credential. Which kind there is depends on its version.
    pub fn credential_file(&self) -> CredentialFile {
        let network = launch::storage(&self.dir).join(launch::NETWORK);
        let macaroon = network.join("macaroons").join("admin.macaroon");
        match macaroon.exists() {
            true => CredentialFile::Macaroon(macaroon),
            false => CredentialFile::ApiKey(network.join("api_key")),
        }
    }

    /// What was started.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// The process that runs now, or ran last.
    pub fn running(&self) -> Arc<Running> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Its whole API, for calls that this driver does not wrap.
    pub fn client(&self) -> LdkServerClient {
        self.api
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .client
            .clone()
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.running().exit().is_none()
    }

    /// A client that reaches its API at another address, such as a proxy's.
    ///
    /// # Errors
    /// When its certificate or its credential cannot be read.
    pub fn client_at(&self, address: &str) -> Result<LdkServerClient, StartError> {
        launch::client_at(self, address)
    }

    /// What a proxy in front of its API needs to know.
    pub fn behind_proxy(&self) -> Grpc {
        let storage = launch::storage(&self.dir);
        Grpc {
            address: self.grpc_address(),
            tls: Some(Tls {
                certificate: storage.join("tls.crt"),
                key: storage.join("tls.key"),
            }),
            api: ldk_server_descriptors().clone(),
        }
    }

    /// Sends the harness's calls to `address`, where a proxy stands. What it is told of by events it hears directly:
    /// a closed stream would lose them.
    pub(crate) fn go_through(&mut self, address: String) -> Result<(), StartError> {
        let client = self.client_at(&address)?;
        self.api
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .client = client;
        self.through = Some(address);
        Ok(())
    }

    /// Records its events from now on; `names` has the names of all nodes by their public keys.
    pub(crate) fn record(&self, recorder: Recorder, names: HashMap<String, String>) {
        self.told.record(recorder, &self.name, names);
    }

    /// Ends it: its API has no method for it, so SIGTERM, then SIGKILL.
    pub async fn stop(&self, deadline: Deadline) -> Stopped {
        self.running().terminate(deadline).await
    }

    /// Ends it with SIGKILL, as a power cut would.
    pub async fn kill(&self) -> Exit {
        self.running().kill().await
    }

    /// Starts it again on the same data and ports, after it ended. Its peers are not connected by that.
    ///
    /// # Errors
    /// [`StartError`]; the node is then not running.
    pub async fn restart(&self, deadline: Deadline) -> Result<(), StartError> {
        self.stop(deadline).await;
        let listening = Listening {
            told: &self.told,
            after_restart: true,
        };
        let again = Launched::start(
            &self.binary,
            &self.name,
            &self.dir,
            &self.logs,
            &self.ports,
            listening,
            deadline,
        );
        let Launched {
            running, mut api, ..
        } = again.await?;
        if let Some(address) = &self.through {
            api.client = self.client_at(address)?;
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(running);
        *self.api.write().unwrap_or_else(PoisonError::into_inner) = api;
        Ok(())
    }
}
