//! How a world is described and started.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use futures_util::future::try_join_all;
use swaprig_record::Recorder;

use super::liquid::{self, OUTSIDE};
use super::proxies::{self, find as find_proxy};
use super::record::Recording;
use super::{Chain, START, World, WorldError, WorldErrorKind, index, servers};
use crate::binary::{Binary, Passport, Progress, ResolveError, Role, Settings, Stderr, resolve};
use crate::bitcoind::{Bitcoind, ChainCache};
use crate::daemon::StartError;
use crate::elementsd::FAUCET;
use crate::ldk_server::LdkServer;
use crate::proxy::{BITCOIND, ELECTRS, ELECTRS_LIQUID, ELEMENTSD, Link, Proxy};
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
    /// The Liquid node; not needed by a world without one.
    pub elementsd: Option<Binary>,
    /// The index of the Bitcoin chain; not needed by a world without one.
    pub electrs: Option<Binary>,
    /// The index of the Liquid chain; not needed by a world without one.
    pub electrs_liquid: Option<Binary>,
}

/// The roles that a world, or several of them, need beside bitcoind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs(BTreeSet<Role>);

impl Needs {
    /// A bitcoind alone.
    pub fn nothing() -> Self {
        Needs::default()
    }

    /// Every role.
    pub fn everything() -> Self {
        Role::ALL.into_iter().collect()
    }

    /// What a world needs with or without Lightning nodes, with or without Liquid, and with indexes of these chains.
    pub fn of(lightning: bool, liquid: bool, index: &BTreeSet<Chain>) -> Self {
        let roles = [
            (Role::LdkServer, lightning),
            (Role::Elementsd, liquid),
            (Role::Electrs, index.contains(&Chain::Bitcoin)),
            (Role::ElectrsLiquid, index.contains(&Chain::Liquid)),
        ];
        let needed = roles.into_iter().filter(|(_, needed)| *needed);
        needed.map(|(role, _)| role).collect()
    }

    /// Adds what another world needs.
    pub fn extend(&mut self, other: &Needs) {
        self.0.extend(&other.0);
    }

    /// Whether `role` is among them.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// The roles.
    pub fn roles(&self) -> impl Iterator<Item = Role> {
        self.0.iter().copied()
    }
}

/// bitcoind may be among them, which says nothing: every world needs one.
impl FromIterator<Role> for Needs {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Needs(
            roles
                .into_iter()
                .filter(|role| *role != Role::Bitcoind)
                .collect(),
        )
    }
}

impl Binaries {
    /// A bitcoind and nothing else.
    pub fn only(bitcoind: Binary) -> Self {
        Binaries {
            bitcoind,
            ldk_server: None,
            elementsd: None,
            electrs: None,
            electrs_liquid: None,
        }
    }

    /// The program for a role, where it was looked for and found.
    pub fn of(&self, role: Role) -> Option<&Binary> {
        match role {
            Role::Bitcoind => Some(&self.bitcoind),
            Role::LdkServer => self.ldk_server.as_ref(),
            Role::Elementsd => self.elementsd.as_ref(),
            Role::Electrs => self.electrs.as_ref(),
            Role::ElectrsLiquid => self.electrs_liquid.as_ref(),
        }
    }

    fn put(&mut self, binary: Binary) {
        match binary.role {
            Role::Bitcoind => self.bitcoind = binary,
            Role::LdkServer => self.ldk_server = Some(binary),
            Role::Elementsd => self.elementsd = Some(binary),
            Role::Electrs => self.electrs = Some(binary),
            Role::ElectrsLiquid => self.electrs_liquid = Some(binary),
        }
    }

    /// Finds the programs for worlds with these needs. It may download bitcoind, so it may block for long; call it outside
    /// async code.
    ///
    /// # Errors
    /// When one of them is not to be had; the message lists what was tried.
    pub fn resolve(
        settings: &Settings,
        needs: &Needs,
        progress: &dyn Progress,
    ) -> Result<Self, StartError> {
        let mut found = Binaries::only(resolve(Role::Bitcoind, settings, progress)?);
        for role in needs.roles() {
            found.put(resolve(role, settings, progress)?);
        }
        Ok(found)
    }

    /// As [`Binaries::resolve`], but a program other than bitcoind that is nowhere to be found is no error: the second
    /// value says what is missing and where it was looked for, and worlds without it can still run.
    ///
    /// # Errors
    /// When there is no bitcoind, or a program that was named cannot be used.
    pub fn resolve_available(
        settings: &Settings,
        needs: &Needs,
        progress: &dyn Progress,
    ) -> Result<(Self, Option<String>), StartError> {
        let mut found = Binaries::only(resolve(Role::Bitcoind, settings, progress)?);
        let mut missing = Vec::new();
        for role in needs.roles() {
            match resolve(role, settings, progress) {
                Ok(binary) => found.put(binary),
                Err(error @ ResolveError::NothingFound { .. }) => missing.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        let missing = (!missing.is_empty()).then(|| missing.join("\n"));
        Ok((found, missing))
    }

    /// Which programs they are.
    pub fn passport(&self) -> Passport {
        Role::ALL
            .into_iter()
            .filter_map(|role| self.of(role))
            .collect()
    }

    /// Which of them worlds with these needs use.
    fn passport_for(&self, needs: &Needs) -> Passport {
        let used = |role: &Role| *role == Role::Bitcoind || needs.has(*role);
        Role::ALL
            .into_iter()
            .filter(used)
            .filter_map(|role| self.of(role))
            .collect()
    }
}

/// Describes a world. Without calls it is a bitcoind alone, found as the environment says.
#[derive(Debug, Default)]
#[must_use = "a description starts nothing; call `start`"]
pub struct Builder {
    lightning: Vec<String>,
    /// The names of its wallets.
    liquid: Option<Vec<String>>,
    index: BTreeSet<Chain>,
    proxies: Vec<Link>,
    servers: Vec<ServerSpec>,
    settings: Option<Settings>,
    binaries: Option<Arc<Binaries>>,
    dir: Option<RunDir>,
    base: Option<PathBuf>,
    within: Option<Duration>,
    no_block_cache: bool,
    recorder: Recorder,
    node_of: HashMap<String, String>,
}

impl Builder {
    /// Adds Lightning nodes with these names.
    pub fn lightning(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.lightning.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds a Liquid chain with an index of it.
    pub fn liquid(mut self) -> Self {
        self.liquid.get_or_insert_default();
        self.index.insert(Chain::Liquid);
        self
    }

    /// Adds a Liquid chain as [`Builder::liquid`], on whose node each of these parties has a wallet.
    pub fn liquid_wallets(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let wallets = self.liquid.get_or_insert_default();
        wallets.extend(names.into_iter().map(Into::into));
        self.index.insert(Chain::Liquid);
        self
    }

    /// Which chains have an index. Default: Liquid, where there is one.
    pub fn indexes(mut self, chains: impl IntoIterator<Item = Chain>) -> Self {
        self.index = chains.into_iter().collect();
        self
    }

    /// A Liquid chain with these wallets, or none; and which chains have an index.
    pub fn parts(mut self, liquid: Option<Vec<String>>, index: BTreeSet<Chain>) -> Self {
        self.liquid = liquid;
        self.index = index;
        self
    }

    /// Puts a proxy on each of these links, for faults: a Lightning node to its peer, a node, a server or the harness to
    /// bitcoind's JSON-RPC, a server or the harness to a node's API or to a server, a server or the harness to elementsd
    /// and to an index, an index to its node.
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

    /// Records what happens in the world. Default: nothing is recorded.
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = recorder;
        self
    }

    /// Says that a server of the world has a Lightning node of its own, for the record.
    pub fn node_of(mut self, server: impl Into<String>, node: impl Into<String>) -> Self {
        self.node_of.insert(server.into(), node.into());
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
                "`{name}` cannot name a Lightning node or a server: names are distinct, and those of the other daemons \
                 ({}) are taken",
                DAEMONS.join(", ")
            );
            return Err(early(WorldErrorKind::Setup(text), path));
        }
        let parts = Parts {
            liquid: self.liquid.as_deref(),
            index: &self.index,
        };
        parts
            .check()
            .map_err(|text| early(WorldErrorKind::Setup(text), path.clone()))?;
        let server_ends = proxies::server_ends(&self.servers);
        proxies::check(&self.proxies, &self.lightning, &server_ends, parts)
            .map_err(|text| early(WorldErrorKind::Setup(text), path.clone()))?;
        let settings = self.settings.unwrap_or_else(Settings::from_env);
        let exe = settings.self_exe.clone();
        let exe = exe.map(|exe| std::path::absolute(&exe).unwrap_or(exe));
        let cache = settings.cache_dir.as_ref().filter(|_| !self.no_block_cache);
        let cache = cache.map(|dir| ChainCache::in_dir(dir.join("chains")));
        let needs = parts.needs(!self.lightning.is_empty());
        let binaries = match self.binaries {
            Some(binaries) => binaries,
            None => find(settings, needs.clone()).await.map_err(failed)?,
        };

        let deadline = Deadline::after(self.within.unwrap_or(START));
        let bitcoind = Bitcoind::start(&binaries.bitcoind, &path, cache.as_ref(), deadline);
        // The chains do not depend on each other. The first failure ends the other start, too: dropping it kills.
        let liquid = liquid::start(parts, &self.proxies, &binaries, &path, deadline);
        let (mut bitcoind, liquid) = tokio::try_join!(bitcoind, liquid).map_err(failed)?;
        let (liquid, on_liquid) = liquid.unzip();
        let started = async {
            let mut proxies = proxies::to_bitcoind(&self.proxies, &mut bitcoind).await?;
            let rpc_for = |name: &str| {
                let link = Link::new(name, BITCOIND);
                find_proxy(&proxies, &link).map_or_else(|| bitcoind.rpc_address(), Proxy::address)
            };
            let mut nodes =
                start_nodes(&self.lightning, &binaries, &path, rpc_for, deadline).await?;
            proxies.extend(proxies::to_nodes(&self.proxies, &mut nodes, &server_ends).await?);
            proxies.extend(on_liquid.into_iter().flatten());
            let electrs = match parts.index.contains(&Chain::Bitcoin) {
                true => {
                    let over = index::Over::bitcoind(&bitcoind);
                    let place = (path.as_path(), deadline);
                    Some(index::start(over, &self.proxies, &mut proxies, &binaries, place).await?)
                }
                false => None,
            };
            let before = servers::Before {
                bitcoind: &bitcoind,
                nodes: &nodes,
                liquid: liquid.as_ref(),
                electrs: electrs.as_ref(),
                links: &self.proxies,
                exe: exe.as_deref(),
            };
            let servers =
                servers::start(&self.servers, before, &mut proxies, &path, deadline).await?;
            Ok((nodes, proxies, electrs, servers))
        };
        match started.await {
            Ok((nodes, proxies, electrs, servers)) => {
                let elementsd = liquid.as_ref().map(|liquid| liquid.elementsd().rpc_port());
                let recording = Recording::new(self.recorder, bitcoind.rpc_port(), elementsd);
                let world = World {
                    dir,
                    bitcoind,
                    nodes,
                    liquid,
                    electrs,
                    proxies,
                    servers,
                    programs: AtomicU32::new(0),
                    exe,
                    passport: binaries.passport_for(&needs),
                    recording,
                    owners: std::sync::Mutex::default(),
                };
                world.record_parties(&self.node_of).await;
                Ok(world)
            }
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
        .find(|(i, name)| DAEMONS.contains(name) || names().take(*i).any(|other| other == *name))
        .map(|(_, name)| name)
}

/// The names of the daemons of which a world has one.
const DAEMONS: &[&str] = &[BITCOIND, ELEMENTSD, ELECTRS, ELECTRS_LIQUID];

/// What a world has beside bitcoind and the Lightning nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'b> {
    /// The names of the Liquid wallets.
    pub(super) liquid: Option<&'b [String]>,
    /// Which chains have an index.
    pub(super) index: &'b BTreeSet<Chain>,
}

impl Parts<'_> {
    /// What cannot be, in words.
    fn check(self) -> Result<(), String> {
        let wallets = self.liquid.unwrap_or_default();
        if self.liquid.is_none() && self.index.contains(&Chain::Liquid) {
            return Err("an index of Liquid in a world without Liquid".to_owned());
        }
        let taken = |(i, name): &(usize, &String)| {
            *name == FAUCET || *name == OUTSIDE || wallets[..*i].contains(name)
        };
        match wallets.iter().enumerate().find(taken) {
            Some((_, name)) => Err(format!(
                "`{name}` cannot name a Liquid wallet: names are distinct, and `{FAUCET}` and `{OUTSIDE}` are taken"
            )),
            None => Ok(()),
        }
    }

    fn needs(self, lightning: bool) -> Needs {
        Needs::of(lightning, self.liquid.is_some(), self.index)
    }
}

/// Resolving may download for minutes, with calls that block.
async fn find(settings: Settings, needs: Needs) -> Result<Arc<Binaries>, StartError> {
    let found = tokio::task::spawn_blocking(move || {
        Binaries::resolve(&settings, &needs, &Stderr::default())
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
