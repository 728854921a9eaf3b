//! How a world is described and started.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::proxies::{self, find as find_proxy};
use super::servers;
use super::{START, World, WorldError, WorldErrorKind};
use crate::binary::{Binary, Passport, Progress, ResolveError, Role, Settings, Stderr, resolve};
use crate::bitcoind::{Bitcoind, ChainCache};
use crate::daemon::StartError;
use crate::ldk_server::LdkServer;
use crate::proxy::{BITCOIND, Link, Proxy};
use crate::run_dir::{RunDir, RunDirSettings, temporary_base};
use crate::server::ServerSpec;
use crate::time::Deadline;

/// The programs of a world, resolved once and used for any number of worlds.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The Bitcoin node.
    pub bitcoind: Binary,
    /// The Lightning node; not needed by a world without one.
    pub ldk_server: Option<Binary>,
}

impl Binaries {
    /// Finds the programs for a world with or without Lightning nodes. It may download bitcoind, so it may block for
    /// long; call it outside async code.
    ///
    /// # Errors
    /// When one of them is not to be had; the message lists what was tried.
    pub fn resolve(
        settings: &Settings,
        lightning: bool,
        progress: &dyn Progress,
    ) -> Result<Self, StartError> {
        Ok(Binaries {
            bitcoind: resolve(Role::Bitcoind, settings, progress)?,
            ldk_server: if lightning {
                Some(resolve(Role::LdkServer, settings, progress)?)
            } else {
                None
            },
        })
    }

    /// As [`Binaries::resolve`], but a Lightning node that is nowhere to be found is no error: the second value says why
    /// there is none, and worlds without one can still run.
    ///
    /// # Errors
    /// When there is no bitcoind, or a program that was named cannot be used.
    pub fn resolve_available(
        settings: &Settings,
        progress: &dyn Progress,
    ) -> Result<(Self, Option<String>), StartError> {
        let bitcoind = resolve(Role::Bitcoind, settings, progress)?;
        match resolve(Role::LdkServer, settings, progress) {
            Ok(found) => Ok((
                Binaries {
                    bitcoind,
                    ldk_server: Some(found),
                },
                None,
            )),
            Err(missing @ ResolveError::NothingFound { .. }) => Ok((
                Binaries {
                    bitcoind,
                    ldk_server: None,
                },
                Some(missing.to_string()),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Which programs they are.
    pub fn passport(&self) -> Passport {
        std::iter::once(&self.bitcoind)
            .chain(&self.ldk_server)
            .collect()
    }
}

/// Describes a world. Without calls it is a bitcoind alone, found as the environment says.
#[derive(Debug, Default)]
#[must_use = "a description starts nothing; call `start`"]
pub struct Builder {
    lightning: Vec<String>,
    proxies: Vec<Link>,
    servers: Vec<ServerSpec>,
    settings: Option<Settings>,
    binaries: Option<Arc<Binaries>>,
    dir: Option<RunDir>,
    base: Option<PathBuf>,
    within: Option<Duration>,
    no_block_cache: bool,
}

impl Builder {
    /// Adds Lightning nodes with these names.
    pub fn lightning(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lightning.extend(names.into_iter().map(Into::into));
        self
    }

    /// Puts a proxy on each of these links, for faults: a Lightning node to its peer, a node, a server or the harness to
    /// bitcoind's JSON-RPC, a server or the harness to a node's API or to a server.
    ///
    /// ```
    /// # use swaprig_harness::{World, proxy::Link};
    /// let world = World::builder()
    ///     .lightning(["alice", "bob"])
    ///     .proxies([Link::new("alice", "bob"), Link::new("bob", "bitcoind")]);
    /// ```
    pub fn proxies(mut self, links: impl IntoIterator<Item = Link>) -> Self {
        self.proxies.extend(links);
        self
    }

    /// Adds a server, which is started after the daemons and after the servers before it.
    pub fn server(mut self, server: ServerSpec) -> Self {
        self.servers.push(server);
        self
    }

    /// Which programs to use. Default: what the environment says.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Programs that were resolved before; the settings then only tell where the cached blocks are.
    pub fn binaries(mut self, binaries: Arc<Binaries>) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// The directory to run in. Default: a fresh one in `SWAPRIG_RUN_DIR` or among the temporary files.
    pub fn run_dir(mut self, dir: RunDir) -> Self {
        self.dir = Some(dir);
        self
    }

    /// Where a fresh run directory is made, when [`Builder::run_dir`] gives none.
    pub fn run_dir_in(mut self, base: impl Into<PathBuf>) -> Self {
        self.base = Some(base.into());
        self
    }

    /// How long all daemons have to come up. Default: a minute.
    pub fn within(mut self, budget: Duration) -> Self {
        self.within = Some(budget);
        self
    }

    /// Mines the first blocks in this world and keeps no copy of them.
    pub fn without_block_cache(mut self) -> Self {
        self.no_block_cache = true;
        self
    }

    /// Starts the daemons along their dependencies, side by side where they have none.
    ///
    /// # Errors
    /// When a program is not to be had or a daemon does not come up; nothing is left running.
    pub async fn start(self) -> Result<World, WorldError> {
        let environment = RunDirSettings::from_env(&temporary_base());
        let base = self.base.unwrap_or(environment.base);
        let early = |kind: WorldErrorKind, dir: PathBuf| WorldError {
            kind,
            dir,
            logs: Vec::new(),
        };
        let dir = match self.dir {
            Some(dir) => dir,
            None => RunDir::numbered(&base, environment.keep).map_err(|e| early(e.into(), base))?,
        };
        let path = dir.path().to_owned();
        let failed = |error: StartError| early(error.into(), path.clone());
        let servers = self.servers.iter().map(|server| server.name.as_str());
        let names: Vec<&str> = self
            .lightning
            .iter()
            .map(String::as_str)
            .chain(servers)
            .collect();
        if let Some(name) = unusable_name(&names) {
            let text = format!(
                "`{name}` cannot name a Lightning node or a server: names are distinct, and `bitcoind` is taken"
            );
            return Err(early(WorldErrorKind::Setup(text), path));
        }
        let server_ends = proxies::server_ends(&self.servers);
        proxies::check(&self.proxies, &self.lightning, &server_ends)
            .map_err(|text| early(WorldErrorKind::Setup(text), path.clone()))?;
        let settings = self.settings.unwrap_or_else(Settings::from_env);
        let cache = settings.cache_dir.as_ref().filter(|_| !self.no_block_cache);
        let cache = cache.map(|dir| ChainCache::in_dir(dir.join("chains")));
        let binaries = match self.binaries {
            Some(binaries) => binaries,
            None => find(settings, !self.lightning.is_empty())
                .await
                .map_err(failed)?,
        };

        let deadline = Deadline::after(self.within.unwrap_or(START));
        let mut bitcoind = Bitcoind::start(&binaries.bitcoind, &path, cache.as_ref(), deadline)
            .await
            .map_err(failed)?;
        let started = async {
            let mut proxies = proxies::to_bitcoind(&self.proxies, &mut bitcoind).await?;
            let rpc_for = |name: &str| {
                let link = Link::new(name, BITCOIND);
                find_proxy(&proxies, &link).map_or_else(|| bitcoind.rpc_address(), Proxy::address)
            };
            let mut nodes =
                start_nodes(&self.lightning, &binaries, &path, rpc_for, deadline).await?;
            proxies.extend(proxies::to_nodes(&self.proxies, &mut nodes, &server_ends).await?);
            let before = servers::Before {
                bitcoind: &bitcoind,
                nodes: &nodes,
                links: &self.proxies,
            };
            let servers =
                servers::start(&self.servers, before, &mut proxies, &path, deadline).await?;
            Ok((nodes, proxies, servers))
        };
        match started.await {
            Ok((nodes, proxies, servers)) => Ok(World {
                dir,
                bitcoind,
                nodes,
                proxies,
                servers,
                programs: AtomicU32::new(0),
                passport: binaries.passport(),
            }),
            Err(error) => {
                bitcoind.stop(Deadline::after(START)).await;
                Err(failed(error))
            }
        }
    }
}

/// A name that stands twice, or that would be another daemon's.
fn unusable_name<'n>(names: &[&'n str]) -> Option<&'n str> {
    let names = || names.iter().copied();
    names()
        .enumerate()
        .find(|(i, name)| *name == "bitcoind" || names().take(*i).any(|other| other == *name))
        .map(|(_, name)| name)
}

/// Resolving may download for minutes, with calls that block.
async fn find(settings: Settings, lightning: bool) -> Result<Arc<Binaries>, StartError> {
    let found = tokio::task::spawn_blocking(move || {
        Binaries::resolve(&settings, lightning, &Stderr::default())
    });
    let binaries = found
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
    Ok(Arc::new(binaries))
}

async fn start_nodes(
    names: &[String],
    binaries: &Binaries,
    dir: &std::path::Path,
    rpc_for: impl Fn(&str) -> String,
    deadline: Deadline,
) -> Result<Vec<LdkServer>, StartError> {
    let Some(binary) = &binaries.ldk_server else {
        return Ok(Vec::new());
    };
    let starts = names.iter().map(|name| {
        let rpc = rpc_for(name);
        async move { LdkServer::start(binary, name, dir, &rpc, deadline).await }
    });
    // The first failure ends the other starts, too: dropping a start kills its process.
    try_join_all(starts).await
}
