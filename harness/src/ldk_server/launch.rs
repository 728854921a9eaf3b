//! How an ldk-server comes up: its configuration, its credential, its first answer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use ldk_server_client::api;
use ldk_server_client::{ClientError, Config, Credential, Detected, LdkServerClient};

use super::held::{Held, Listening};
use super::told::Told;
use super::{Api, CALL, LdkServer, NodeInfo, Ports};
use crate::binary::Binary;
use crate::bitcoind::{PASSWORD, USER};
use crate::daemon::{StartError, port_lost, ports_taken, wait_ready};
use crate::port::PortClaim;
use crate::process::{LogFiles, Running, Spec, Stdin};
use crate::time::{Deadline, Probe};

/// The file an ldk-server is started with.
const CONFIG: &str = "ldk-server.toml";
/// The node's certificate, in its storage.
pub(super) const CERTIFICATE: &str = "tls.crt";
/// The network, as it names a directory in the node's storage.
pub(super) const NETWORK: &str = "regtest";

pub(super) async fn start(
    binary: &Binary,
    name: &str,
    dir: &Path,
    bitcoind_rpc: &str,
    deadline: Deadline,
) -> Result<LdkServer, StartError> {
    let home = dir.join(name);
    let logs = LogFiles::in_dir(dir, name);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let ports = Ports {
            grpc: PortClaim::new()?,
            p2p: PortClaim::new()?,
        };
        let path = home.join(CONFIG);
        let write = |source| StartError::Write {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&home).map_err(write)?;
        std::fs::write(&path, config(name, &home, &ports, bitcoind_rpc)).map_err(write)?;
        let told = Told::default();
        let listening = Listening {
            told: &told,
            after_restart: false,
        };
        let launched =
            Launched::start(binary, name, &home, &logs, &ports, listening, deadline).await;
        let error = match launched {
            Ok(Launched { running, api, info }) => {
                return Ok(LdkServer {
                    name: name.to_owned(),
                    dir: home,
                    binary: binary.clone(),
                    logs,
                    ports,
                    node_id: info.node_id,
                    running: Mutex::new(Arc::new(running)),
                    api: RwLock::new(api),
                    through: None,
                    told,
                });
            }
            Err(error @ StartError::Exited { .. }) => error,
            Err(error) => return Err(error),
        };
        let taken = ports_taken(&[&ports.grpc, &ports.p2p]);
        if taken.is_empty() {
            return Err(error);
        }
        port_lost(name, attempts, &taken, &logs, error)?;
    }
}

/// Only keys that every version since the move to gRPC knows: an unknown key ends the daemon.
fn config(name: &str, home: &Path, ports: &Ports, bitcoind_rpc: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    format!(
        "# Written by swaprig for one world.\n\
         [node]\n\
         network = \"{NETWORK}\"\n\
         listening_addresses = [{p2p}]\n\
         grpc_service_address = {grpc}\n\
         alias = {alias}\n\
         \n\
         [storage.disk]\n\
         dir_path = {storage}\n\
         \n\
         [log]\n\
         level = \"Debug\"\n\
         \n\
         [bitcoind]\n\
         rpc_address = {rpc}\n\
         rpc_user = {user}\n\
         rpc_password = {password}\n",
        p2p = quoted(&ports.p2p.address()),
        grpc = quoted(&ports.grpc.address()),
        alias = quoted(name),
        storage = quoted(&storage(home).to_string_lossy()),
        rpc = quoted(bitcoind_rpc),
        user = quoted(USER),
        password = quoted(PASSWORD),
    )
}

pub(super) fn storage(home: &Path) -> PathBuf {
    home.join("storage")
}

/// A process that answers.
pub(super) struct Launched {
    pub running: Running,
    pub api: Api,
    pub info: NodeInfo,
}

impl Launched {
    /// Starts the process and waits until it answers.
    pub(super) async fn start(
        binary: &Binary,
        name: &str,
        home: &Path,
        logs: &LogFiles,
        ports: &Ports,
        listening: Listening<'_>,
        deadline: Deadline,
    ) -> Result<Self, StartError> {
        let spec = Spec {
            name: name.to_owned(),
            program: binary.program.clone(),
            args: binary.with_args([home.join(CONFIG)]),
            // Upstream reads settings from there.
            hidden_env: &["LDK_SERVER_"],
            env: Vec::new(),
            dir: home.to_owned(),
            logs: logs.clone(),
            stdin: Stdin::Lifeline,
        };
        let running = spec.start()?;
        let storage = storage(home);
        let address = ports.grpc.address();
        let ready = wait_ready(
            &running,
            format!("{name} to answer GetNodeInfo"),
            deadline,
            || async {
                match connect(&storage, &address) {
                    Ok(client) => probe(client, listening).await,
                    Err(reason) => Probe::Pending(reason),
                }
            },
        );
        let (api, info) = ready.await?;
        Ok(Launched { running, api, info })
    }
}

/// A client of the node, once the files with its certificate and its credential are there.
///
/// # Errors
/// The reason why that is not yet so.
fn connect(storage: &Path, address: &str) -> Result<LdkServerClient, String> {
    let credential = match Credential::detect(storage, NETWORK).map_err(|e| e.to_string())? {
        Detected::Ready(credential) => credential,
        Detected::Pending(reason) => return Err(reason),
    };
    let certificate = storage.join(CERTIFICATE);
    let tls_cert_pem =
        std::fs::read(&certificate).map_err(|e| format!("{}: {e}", certificate.display()))?;
    let config = Config {
        address: address.to_owned(),
        tls_cert_pem,
        credential,
    };
    let client = LdkServerClient::new(config).map_err(|e| e.to_string())?;
    Ok(client.with_timeout(CALL))
}

pub(super) fn client_at(node: &LdkServer, address: &str) -> Result<LdkServerClient, StartError> {
    connect(&storage(&node.dir), address).map_err(|reason| StartError::Unusable {
        name: node.name.clone(),
        source: reason.into(),
        command: node.running().spec().to_string(),
        log_tail: node.running().log_tail(),
    })
}

/// Asks the node who it is and, once it answers, listens to its events.
async fn probe(
    client: LdkServerClient,
    listening: Listening<'_>,
) -> Probe<(Api, NodeInfo), ClientError> {
    let answers = async {
        let info = client.get_node_info(api::GetNodeInfoRequest {}).await?;
        Ok((info, Held::watch(&client, listening).await?))
    };
    match answers.await {
        Ok((info, held)) => match NodeInfo::try_from(info) {
            Ok(info) => Probe::Ready((Api { client, held }, info)),
            // A node that has not seen a block yet tells none.
            Err(malformed) => Probe::Pending(malformed.to_string()),
        },
        Err(error) if ClientError::is_transient(&error) => {
            Probe::Pending(crate::error_chain(&error))
        }
        Err(error) => Probe::Fatal(error),
    }
}
