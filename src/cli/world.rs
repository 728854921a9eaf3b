//! A world of the command line's own: which daemons it has, how it is started, and what other programs are told of it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use swaprig_harness::binary::Stderr;
use swaprig_harness::bitcoind::{PASSWORD, USER};
use swaprig_harness::elementsd;
use swaprig_harness::ldk_server::{CredentialFile, LdkServer};
use swaprig_harness::proxy::{ELEMENTSD, HARNESS, Link, Proxy};
use swaprig_harness::run_dir::RunDir;
use swaprig_harness::units::Sat;
use swaprig_harness::world::{Binaries, Chain, Needs};
use swaprig_harness::{World, WorldError};
use swaprig_scenarios::lang::{BITCOIND, Chains, is_party_name, preset, preset_names};

use super::exit::complain;
use super::{DaemonFlags, Exit, RunDirFlags};

/// The size of a channel that `--channels` opens.
const CHANNEL: Sat = Sat(1_000_000);

#[derive(Debug, Args)]
#[command(next_help_heading = "World")]
pub(super) struct WorldFlags {
    /// A named set of daemons, as scenario files name it: lightning (alice and bob), bitcoin, liquid or
    /// ln-liquid
    #[arg(long, value_name = "PRESET", default_value = "lightning")]
    preset: String,
    /// The names of the Lightning nodes, in place of a preset
    #[arg(
        long,
        value_name = "NAME,NAME",
        value_delimiter = ',',
        conflicts_with = "preset"
    )]
    lightning: Option<Vec<String>>,
    /// Add a Liquid chain with an index, on which every Lightning node has a wallet
    #[arg(long)]
    liquid: bool,
    /// Add an index of the Bitcoin chain
    #[arg(long)]
    index_bitcoin: bool,
    /// Open a channel of 1,000,000 sat from each Lightning node to the next
    #[arg(long)]
    channels: bool,
    /// Put a proxy on a link, for `fault`: alice->bob, bob->bitcoind; harness-> is what the command is given
    #[arg(long = "proxy", value_name = "FROM->TO")]
    proxies: Vec<Link>,
    #[command(flatten)]
    pub(super) daemons: DaemonFlags,
    #[command(flatten)]
    pub(super) run_dir: RunDirFlags,
}

/// What is settled before a world starts.
pub(super) struct Prepared {
    nodes: Vec<String>,
    chains: Chains,
    channels: bool,
    proxies: Vec<Link>,
    binaries: Arc<Binaries>,
    settings: swaprig_harness::binary::Settings,
    dir: RunDir,
}

impl WorldFlags {
    /// Finds the programs and makes the run directory; blocks while bitcoind is downloaded.
    pub(super) fn prepare(&self) -> Result<Prepared, Exit> {
        let (nodes, chains) = self.parts().map_err(|why| {
            eprintln!("swaprig: {why}");
            Exit::Usage
        })?;
        let broken = |error: &(dyn std::error::Error + 'static)| {
            complain(error);
            Exit::Environment
        };
        let settings = self.daemons.settings();
        let needs = Needs::of(!nodes.is_empty(), chains.liquid.is_some(), &chains.index);
        let binaries = Binaries::resolve(&settings, &needs, &Stderr::default())
            .map_err(|error| broken(&error))?;
        let place = self.run_dir.settings();
        let dir = RunDir::numbered(&place.base, place.keep).map_err(|error| broken(&error))?;
        Ok(Prepared {
            nodes,
            chains,
            channels: self.channels,
            proxies: self.proxies.clone(),
            binaries: Arc::new(binaries),
            settings,
            dir,
        })
    }

    /// The Lightning nodes, and the other chains.
    fn parts(&self) -> Result<(Vec<String>, Chains), String> {
        let (nodes, mut chains) = self.named()?;
        if self.liquid && chains.liquid.is_none() {
            chains.liquid = Some(nodes.clone());
            chains.index.insert(Chain::Liquid);
        }
        if self.index_bitcoin {
            chains.index.insert(Chain::Bitcoin);
        }
        Ok((nodes, chains))
    }

    fn named(&self) -> Result<(Vec<String>, Chains), String> {
        let Some(names) = &self.lightning else {
            let known = || preset_names().collect::<Vec<_>>().join(" and ");
            let preset = preset(&self.preset).ok_or_else(|| {
                format!(
                    "there is no preset `{}`; there are {}",
                    self.preset,
                    known()
                )
            })?;
            let nodes = preset.lightning.iter().map(|name| (*name).to_owned());
            return Ok((nodes.collect(), preset.chains()));
        };
        match names.iter().find(|name| !is_party_name(name)) {
            Some(name) => Err(format!(
                "`{name}` cannot name a Lightning node: write lowercase letters, digits and `-`, a letter first, and \
                 none of the names that swaprig uses itself (bitcoin, liquid, bitcoind, elementsd, electrs, \
                 electrs-liquid, miner)"
            )),
            None => Ok((names.clone(), Chains::default())),
        }
    }
}

impl Prepared {
    /// Starts the world.
    ///
    /// # Errors
    /// When a daemon does not come up or a channel is not usable in time.
    pub(super) async fn start(self) -> Result<World, WorldError> {
        let world = World::builder()
            .lightning(self.nodes.clone())
            .parts(self.chains.liquid, self.chains.index)
            .proxies(self.proxies)
            .settings(self.settings)
            .binaries(self.binaries)
            .run_dir(self.dir)
            .start()
            .await?;
        if self.channels {
            for pair in self.nodes.windows(2) {
                if let [from, to] = pair
                    && let Err(error) = world.open_usable_channel(from, to, CHANNEL).await
                {
                    world.stop().await;
                    return Err(error);
                }
            }
        }
        Ok(world)
    }
}

/// What the daemons of `world` can be reached by, as environment variables.
pub(super) fn endpoints(world: &World) -> Vec<(String, String)> {
    let bitcoind = world.bitcoind();
    let mut all = Vec::new();
    let mut put = |name: String, value: String| all.push((name, value));
    put(
        "SWAPRIG_BITCOIND_RPC_URL".into(),
        format!("http://{}", given(world, BITCOIND, bitcoind.rpc_address())),
    );
    put("SWAPRIG_BITCOIND_RPC_USER".into(), USER.into());
    put("SWAPRIG_BITCOIND_RPC_PASSWORD".into(), PASSWORD.into());
    put("SWAPRIG_BITCOIND_P2P".into(), bitcoind.p2p_address());
    if let Ok(liquid) = world.liquid() {
        let elementsd = liquid.elementsd();
        let address = given(world, ELEMENTSD, elementsd.rpc_address());
        put(
            "SWAPRIG_ELEMENTSD_RPC_URL".into(),
            format!("http://{address}"),
        );
        put("SWAPRIG_ELEMENTSD_RPC_USER".into(), elementsd::USER.into());
        put(
            "SWAPRIG_ELEMENTSD_RPC_PASSWORD".into(),
            elementsd::PASSWORD.into(),
        );
        put(
            "SWAPRIG_ELEMENTSD_POLICY_ASSET".into(),
            elementsd::LBTC.into(),
        );
    }
    for index in world.indexes() {
        let address = given(world, index.name(), index.electrum_address());
        put(
            format!("SWAPRIG_{}_ELECTRUM", variable(index.name())),
            address,
        );
    }
    for node in world.nodes() {
        let address = given(world, node.name(), node.grpc_address());
        put(format!("SWAPRIG_{}_GRPC", variable(node.name())), address);
        for (what, value) in node_endpoints(node) {
            put(format!("SWAPRIG_{}_{what}", variable(node.name())), value);
        }
    }
    for server in world.servers() {
        let name = variable(server.name());
        let address = given(world, server.name(), server.address());
        put(format!("SWAPRIG_{name}_LISTEN"), address);
        put(format!("SWAPRIG_{name}_ADMIN"), server.admin_address());
        put(
            format!("SWAPRIG_{name}_DIR"),
            server.dir().display().to_string(),
        );
    }
    put("SWAPRIG_RUN_DIR".into(), world.dir().display().to_string());
    all
}

/// The address of a daemon for others: that of the proxy on the harness's link to it, if there is one.
fn given(world: &World, daemon: &str, own: String) -> String {
    world
        .proxy(&Link::new(HARNESS, daemon))
        .map_or(own, Proxy::address)
}

fn node_endpoints(node: &LdkServer) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("TLS_CERT", node.tls_cert().display().to_string()),
        ("P2P", node.p2p_address()),
        ("NODE_ID", node.node_id().to_string()),
    ];
    // A macaroon's file holds hexadecimal digits, a key's the bytes themselves.
    match node.credential_file() {
        CredentialFile::ApiKey(path) => {
            let bytes = std::fs::read(&path).unwrap_or_default();
            all.push((
                "API_KEY",
                bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            ));
            all.push(("API_KEY_FILE", path.display().to_string()));
        }
        CredentialFile::Macaroon(path) => {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            all.push(("MACAROON", text.trim().to_owned()));
            all.push(("MACAROON_FILE", path.display().to_string()));
        }
    }
    all
}

/// The name of a node as a part of a variable: `DAVE_2`.
fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

/// Writes variables as a file for `.` of any shell, and adds `SWAPRIG_ENV_FILE` to them.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_env_file(
    path: &Path,
    variables: &mut Vec<(String, String)>,
) -> std::io::Result<()> {
    let whole = std::path::absolute(path)?;
    variables.push(("SWAPRIG_ENV_FILE".to_owned(), whole.display().to_string()));
    let mut text = String::new();
    for (name, value) in variables.iter() {
        let _ = writeln!(text, "export {name}='{}'", value.replace('\'', r"'\''"));
    }
    std::fs::write(path, text)
}

/// Variables for a process.
pub(super) fn for_process(variables: Vec<(String, String)>) -> Vec<(String, OsString)> {
    let all = variables.into_iter();
    all.map(|(name, value)| (name, value.into())).collect()
}
