//! What a world writes down by itself while it is recorded: who is in it, its processes, its chains, its Lightning nodes.
//! It only looks; what steps do and find is recorded by whoever runs them.

mod chain;
mod tx;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use swaprig_record::{Event, Exited, Party, PartyRole, Recorder, Stands, Started};
use tokio::task::JoinSet;

use super::World;
use crate::process::{LogFiles, Running};
use crate::time::Deadline;
use chain::ChainFollower;

/// How often the chains are looked at beside the looks that [`World::look`] takes.
const TICK: Duration = Duration::from_millis(100);

/// What is needed to record a world; nothing when it is not recorded.
#[derive(Debug, Default)]
pub(super) struct Recording {
    recorder: Recorder,
    chains: Vec<Arc<ChainFollower>>,
    /// The processes that were told of, by their ids.
    seen: Mutex<HashSet<u32>>,
    /// What waits for the ends of processes. Dropping it ends what is in it.
    exits: tokio::sync::Mutex<JoinSet<()>>,
    /// What goes on beside the world, until it is dropped: looks at the chains, and what others have put there.
    beside: Mutex<JoinSet<()>>,
}

impl Recording {
    /// Follows the chains at these ports of this machine.
    pub(super) fn new(recorder: Recorder, bitcoind: u16, elementsd: Option<u16>) -> Self {
        if !recorder.is_on() {
            return Recording::default();
        }
        let bitcoin = ChainFollower::bitcoin(recorder.clone(), bitcoind);
        let liquid = elementsd.map(|port| ChainFollower::liquid(recorder.clone(), port));
        let chains: Vec<_> = std::iter::once(bitcoin)
            .chain(liquid)
            .map(Arc::new)
            .collect();
        let mut beside = JoinSet::new();
        for chain in &chains {
            let chain = chain.clone();
            beside.spawn(async move {
                loop {
                    Deadline::after(TICK).reach().await;
                    chain.look().await;
                }
            });
        }
        Recording {
            recorder,
            chains,
            seen: Mutex::default(),
            exits: tokio::sync::Mutex::default(),
            beside: Mutex::new(beside),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Where what happens in it is recorded.
    pub fn recorder(&self) -> &Recorder {
        &self.recording.recorder
    }

    /// Records what is new: processes that were started, blocks, transactions. What happened before this returns is in the
    /// record. It does nothing in a world that is not recorded.
    pub async fn look(&self) {
        if !self.recorder().is_on() {
            return;
        }
        self.look_at_processes().await;
        let looks = self.recording.chains.iter().map(|chain| chain.look());
        futures_util::future::join_all(looks).await;
    }

    /// Runs `work` as long as the world stands, or until it is done.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        lock(&self.recording.beside).spawn(work);
    }

    /// Records who is in it, and which node is whose.
    pub(super) async fn record_parties(&self, node_of: &HashMap<String, String>) {
        if !self.recorder().is_on() {
            return;
        }
        let names = self
            .nodes
            .iter()
            .map(|node| (node.node_id().to_string(), node.name().to_owned()));
        let names: HashMap<String, String> = names.collect();
        for node in &self.nodes {
            node.record(self.recorder().clone(), names.clone());
        }
        let parties = self.parties(node_of);
        self.recorder().record(Event::Stands(Stands { parties }));
        self.look().await;
    }

    /// Waits until the ends of all processes are recorded, which all have ended.
    pub(super) async fn record_exits(&self) {
        let mut exits = self.recording.exits.lock().await;
        while exits.join_next().await.is_some() {}
    }

    async fn look_at_processes(&self) {
        let mut exits = self.recording.exits.lock().await;
        for process in self.processes() {
            if lock(&self.recording.seen).insert(process.pid()) {
                exits.spawn(self.record_process(&process));
            }
        }
    }

    /// Records the start of a process; what is given back records its end.
    fn record_process(&self, process: &Running) -> impl Future<Output = ()> + use<> {
        let recorder = self.recorder().clone();
        let (name, pid) = (process.name().to_owned(), process.pid());
        let started = Started {
            name: name.clone(),
            pid,
            command: process.spec().to_string(),
        };
        recorder.record_at(process.started(), Event::Started(started));
        let exited = process.exit_to_come();
        async move {
            if let Some(exit) = exited.await {
                let how = exit.status.to_string();
                recorder.record(Event::Exited(Exited { name, pid, how }));
            }
        }
    }

    fn parties(&self, node_of: &HashMap<String, String>) -> Vec<Party> {
        let party = |name: &str, role, logs: Option<&LogFiles>| Party {
            name: name.to_owned(),
            role,
            logs: logs.map(|logs| self.log_names(logs)).unwrap_or_default(),
            node: node_of.get(name).cloned(),
        };
        let running =
            |role, process: Arc<Running>| party(process.name(), role, Some(process.logs()));
        let mut parties = vec![running(PartyRole::Bitcoind, self.bitcoind.running())];
        let liquid = self.liquid.as_ref();
        parties.extend(
            liquid.map(|liquid| running(PartyRole::Elementsd, liquid.elementsd().running())),
        );
        parties.extend(
            self.indexes()
                .map(|index| running(PartyRole::Index, index.running())),
        );
        for node in &self.nodes {
            let mut lightning = running(PartyRole::Lightning, node.running());
            let own = node.own_log();
            let own = own.strip_prefix(self.dir()).unwrap_or(&own);
            lightning.logs.push(own.display().to_string());
            parties.push(lightning);
        }
        parties.extend(
            self.servers
                .iter()
                .map(|server| running(PartyRole::Server, server.running())),
        );
        let wallets = liquid.into_iter().flat_map(|liquid| liquid.wallets());
        let nodes: HashSet<_> = self.nodes.iter().map(|node| node.name()).collect();
        let alone = wallets.filter(|name| !nodes.contains(name));
        parties.extend(alone.map(|name| party(name, PartyRole::Wallet, None)));
        parties
    }

    fn log_names(&self, logs: &LogFiles) -> Vec<String> {
        let name = |path: &std::path::Path| {
            let path = path.strip_prefix(self.dir()).unwrap_or(path);
            path.display().to_string()
        };
        vec![name(&logs.stdout), name(&logs.stderr)]
    }
}
