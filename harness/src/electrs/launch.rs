//! How an index comes up: three programs, three command lines, one first answer.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Chain, Electrs, ElectrumClient, ElectrumError, FollowedNode, Ports};
use crate::binary::{Binary, Kind};
use crate::daemon::{StartError, port_lost, ports_taken, wait_ready};
use crate::port::PortClaim;
use crate::process::{LogFiles, Running, Spec, Stdin, run_to_end};
use crate::time::{Deadline, Probe};

/// The configuration of romanz's electrs, in its directory: a password on its command line is refused.
const CONFIG: &str = "electrs.toml";
/// How long a program may take to print its options.
const HELP: Duration = Duration::from_secs(20);
/// How long mempool's electrs sleeps between two looks at its node, in milliseconds; its default is 500.
const MAIN_LOOP_DELAY: &str = "20";

/// Which program it is, as far as its options differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// `swaprig daemon electrum`.
    Bundled,
    /// romanz's, for Bitcoin.
    Romanz,
    /// Blockstream's.
    Blockstream,
    /// Mempool's, made from Blockstream's, whose pause between two looks is an option.
    Mempool,
}

impl Program {
    async fn of(binary: &Binary, chain: Chain) -> Self {
        match (binary.kind, chain) {
            (Kind::Bundled, _) => Program::Bundled,
            (Kind::Upstream, Chain::Bitcoin) => Program::Romanz,
            (Kind::Upstream, Chain::Liquid) => {
                let mut command = Command::new(&binary.program);
                command.args(binary.with_args(["--help"]));
                let asked = tokio::task::spawn_blocking(move || run_to_end(command, HELP));
                let help = match asked.await {
                    Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
                    // What is wrong with it shows when it is started.
                    Ok(Err(_)) | Err(_) => String::new(),
                };
                match help.contains("--main-loop-delay") {
                    true => Program::Mempool,
                    false => Program::Blockstream,
                }
            }
        }
    }

    /// Whether SIGUSR1 has it look at its node.
    pub(super) fn wakes_at_signal(self) -> bool {
        match self {
            Program::Bundled | Program::Mempool => false,
            Program::Romanz | Program::Blockstream => true,
        }
    }

    fn args(self, home: &Path, chain: Chain, node: &FollowedNode, ports: &Ports) -> Vec<OsString> {
        let network = match chain {
            Chain::Bitcoin => "regtest",
            Chain::Liquid => "liquidregtest",
        };
        let cookie = format!("{}:{}", node.user, node.password);
        let electrum = ports.electrum.address();
        let mut args: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| args.extend([name.into(), value]);
        match self {
            Program::Romanz => {
                option("--conf", home.join(CONFIG).into());
                args.push("--skip-default-conf-files".into());
            }
            Program::Bundled => {
                option("--network", network.into());
                option("--daemon-rpc-addr", node.rpc.clone().into());
                option("--cookie", cookie.into());
                option("--electrum-rpc-addr", electrum.into());
            }
            Program::Blockstream | Program::Mempool => {
                let [monitoring, http] = &ports.others;
                option("--network", network.into());
                option("--daemon-dir", node.dir.clone().into());
                option("--daemon-rpc-addr", node.rpc.clone().into());
                option("--cookie", cookie.into());
                option("--electrum-rpc-addr", electrum.into());
                option("--http-addr", http.address().into());
                option("--monitoring-addr", monitoring.address().into());
                option("--db-dir", home.join("db").into());
                if self == Program::Mempool {
                    option("--main-loop-delay", MAIN_LOOP_DELAY.into());
                }
                // The node's files may be read while they are written to; its API may not.
                args.extend([
                    "--jsonrpc-import".into(),
                    "--timestamp".into(),
                    "-vv".into(),
                ]);
            }
        }
        args
    }
}

/// What romanz's electrs is started with. Every key is there: it would look for others in the user's own files.
fn romanz_config(home: &Path, node: &FollowedNode, ports: &Ports) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let [monitoring, _] = &ports.others;
    format!(
        "# Written by swaprig for one world.\n\
         network = \"regtest\"\n\
         auth = {auth}\n\
         daemon_dir = {daemon_dir}\n\
         daemon_rpc_addr = {rpc}\n\
         daemon_p2p_addr = {p2p}\n\
         electrum_rpc_addr = {electrum}\n\
         monitoring_addr = {monitoring}\n\
         db_dir = {db}\n\
         log_filters = \"INFO\"\n\
         skip_block_download_wait = true\n\
         wait_duration_secs = 1\n",
        auth = quoted(&format!("{}:{}", node.user, node.password)),
        daemon_dir = quoted(&node.dir.to_string_lossy()),
        rpc = quoted(&node.rpc),
        p2p = quoted(&node.p2p),
        electrum = quoted(&ports.electrum.address()),
        monitoring = quoted(&monitoring.address()),
        db = quoted(&home.join("db").to_string_lossy()),
    )
}

pub(super) async fn start(
    binary: &Binary,
    dir: &Path,
    chain: Chain,
    node: &FollowedNode,
    deadline: Deadline,
) -> Result<Electrs, StartError> {
    let name = chain.index_role().name();
    let home = dir.join(name);
    let logs = LogFiles::in_dir(dir, name);
    let program = Program::of(binary, chain).await;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let ports = Ports {
            electrum: PortClaim::new()?,
            others: [PortClaim::new()?, PortClaim::new()?],
        };
        let what = What {
            name,
            binary,
            program,
            home: &home,
            logs: &logs,
            chain,
            node,
            ports: &ports,
        };
        let error = match what.launch(deadline).await {
            Ok(running) => {
                return Ok(Electrs {
                    name,
                    chain,
                    binary: binary.clone(),
                    program,
                    node: node.clone(),
                    running: Mutex::new(Arc::new(running)),
                    through: None,
                    dir: home,
                    logs,
                    ports,
                });
            }
            Err(error @ StartError::Exited { .. }) => error,
            Err(error) => return Err(error),
        };
        let [monitoring, http] = &ports.others;
        let taken = ports_taken(&[&ports.electrum, monitoring, http]);
        if taken.is_empty() {
            return Err(error);
        }
        port_lost(name, attempts, &taken, &logs, error)?;
    }
}

impl Electrs {
    /// Starts the process on the data and ports that it had.
    pub(super) async fn launch_again(&self, deadline: Deadline) -> Result<Running, StartError> {
        let what = What {
            name: self.name,
            binary: &self.binary,
            program: self.program,
            home: &self.dir,
            logs: &self.logs,
            chain: self.chain,
            node: &self.node,
            ports: &self.ports,
        };
        what.launch(deadline).await
    }
}

/// All that a start needs to know.
struct What<'a> {
    name: &'static str,
    binary: &'a Binary,
    program: Program,
    home: &'a Path,
    logs: &'a LogFiles,
    chain: Chain,
    node: &'a FollowedNode,
    ports: &'a Ports,
}

impl What<'_> {
    /// Starts the process and waits until it answers.
    async fn launch(&self, deadline: Deadline) -> Result<Running, StartError> {
        let write = |path: &Path, source| StartError::Write {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(self.home).map_err(|e| write(self.home, e))?;
        if self.program == Program::Romanz {
            let path = self.home.join(CONFIG);
            let text = romanz_config(self.home, self.node, self.ports);
            std::fs::write(&path, text).map_err(|e| write(&path, e))?;
        }
        let own = self
            .program
            .args(self.home, self.chain, self.node, self.ports);
        let spec = Spec {
            name: self.name.to_owned(),
            program: self.binary.program.clone(),
            args: self.binary.with_args(own),
            // romanz's reads settings there.
            hidden_env: &["ELECTRS_"],
            env: Vec::new(),
            dir: self.home.to_owned(),
            logs: self.logs.clone(),
            stdin: match self.program {
                Program::Bundled => Stdin::Lifeline,
                Program::Romanz | Program::Blockstream | Program::Mempool => Stdin::Null,
            },
        };
        let running = spec.start()?;
        let address = self.ports.electrum.address();
        let what = format!("{} to answer server.version", self.name);
        wait_ready(&running, what, deadline, || async {
            match answers(&address, deadline).await {
                Ok(()) => Probe::Ready(()),
                Err(error @ ElectrumError::Malformed { .. }) => Probe::Fatal(error),
                Err(error) => Probe::Pending(error.to_string()),
            }
        })
        .await?;
        Ok(running)
    }
}

/// Whether it answers, with a tip.
async fn answers(address: &str, deadline: Deadline) -> Result<(), ElectrumError> {
    let mut client = ElectrumClient::connect(address, deadline).await?;
    client.tip(deadline).await?;
    Ok(())
}
