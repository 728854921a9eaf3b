//! The servers of a world that this project did not write, and programs that run to their end in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::endpoints::{Endpoints, missing};
use super::proxies::{self, OnLink};
use super::{Liquid, World, WorldError, WorldErrorKind};
use crate::bitcoind::Bitcoind;
use crate::daemon::StartError;
use crate::electrs::Electrs;
use crate::grpc::Target;
use crate::ldk_server::LdkServer;
use crate::process::{Exit, LogFiles, Spec, Stdin};
use crate::proxy::{HARNESS, Link, Proxy};
use crate::server::{Server, ServerSpec};
use crate::time::Deadline;

/// A program to run to its end in a world.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables that it gets beside those of this process.
    pub env: Vec<(String, OsString)>,
}

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// How; `None` when it had to be killed at its deadline.
    pub exit: Option<Exit>,
    /// The command line.
    pub command: String,
    /// Where what it printed is.
    pub logs: LogFiles,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

/// What of a world is there before its servers.
#[derive(Clone, Copy)]
pub(super) struct Before<'w> {
    pub(super) bitcoind: &'w Bitcoind,
    pub(super) nodes: &'w [LdkServer],
    pub(super) liquid: Option<&'w Liquid>,
    pub(super) electrs: Option<&'w Electrs>,
    /// Every link that is to have a proxy.
    pub(super) links: &'w [Link],
    /// The `swaprig` executable.
    pub(super) exe: Option<&'w Path>,
}

/// Starts the servers one after the other, because each may need the address of one before it, and the proxies in front
/// of each.
pub(super) async fn start(
    specs: &[ServerSpec],
    before: Before<'_>,
    proxies: &mut Vec<OnLink>,
    dir: &std::path::Path,
    deadline: Deadline,
) -> Result<Vec<Server>, StartError> {
    let mut servers = Vec::new();
    for spec in specs {
        let started = Server::start(
            spec,
            dir,
            |name| {
                let endpoints = Endpoints {
                    bitcoind: before.bitcoind,
                    nodes: before.nodes,
                    servers: &servers,
                    liquid: before.liquid,
                    electrs: before.electrs,
                    proxies,
                    exe: before.exe,
                    caller: &spec.name,
                };
                endpoints
                    .value(name)
                    .map_err(|why| missing(&spec.name, why))
            },
            deadline,
        )
        .await?;
        proxies::to_server(before.links, &started, proxies).await?;
        servers.push(started);
    }
    Ok(servers)
}

impl World {
    /// Its servers, in the order in which they were started.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn server(&self, name: &str) -> Result<&Server, WorldError> {
        let found = self.servers.iter().find(|server| server.name() == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.servers.iter().map(Server::name).collect();
            let text = format!(
                "this world has no server called `{name}`; it has {}",
                match known.as_slice() {
                    [] => "none".to_owned(),
                    known => known.join(", "),
                }
            );
            self.error(WorldErrorKind::Setup(text))
        })
    }

    /// Where the harness calls a server that speaks gRPC: at the proxy of that link, where there is one.
    ///
    /// # Errors
    /// When there is no such server.
    pub fn grpc_target(&self, name: &str) -> Result<Target, WorldError> {
        let server = self.server(name)?;
        let proxy = proxies::find(&self.proxies, &Link::new(HARNESS, name));
        Ok(Target {
            address: proxy.map_or_else(|| server.address(), Proxy::address),
            certificate: server.certificate().map(PathBuf::from),
        })
    }

    /// Runs a program to its end in the run directory; it is killed at `deadline`.
    ///
    /// # Errors
    /// When it cannot be started or what it printed cannot be read.
    pub async fn run(&self, program: Program, deadline: Deadline) -> Result<Ended, WorldError> {
        let number = self.programs.fetch_add(1, Ordering::Relaxed) + 1;
        let file = program.program.file_stem().unwrap_or_default();
        let name = format!("run-{number}-{}", file.to_string_lossy());
        let spec = Spec {
            logs: LogFiles::in_dir(self.dir(), &name),
            name,
            program: program.program,
            args: program.args,
            hidden_env: &[],
            env: program.env,
            dir: self.dir().to_owned(),
            stdin: Stdin::Null,
        };
        let command = spec.to_string();
        let logs = spec.logs.clone();
        let running = spec
            .start()
            .map_err(|error| self.error(StartError::from(error)))?;
        let exit = deadline.bound(running.exited()).await;
        if exit.is_none() {
            running.kill().await;
        }
        let read = |path: &PathBuf| {
            let bytes = std::fs::read(path).map_err(|source| {
                let path = path.clone();
                self.error(WorldErrorKind::Ruled(format!(
                    "could not read {}: {source}",
                    path.display()
                )))
            })?;
            Ok::<_, WorldError>(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Ended {
            exit,
            command,
            stdout: read(&logs.stdout)?,
            stderr: read(&logs.stderr)?,
            logs,
        })
    }
}
