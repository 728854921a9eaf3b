//! A swap server in a world, as the tests of all that it serves see it: what it says, who its neighbours are, and where it is made
//! to die.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use swaprig::lightning::{LdkServer, LdkServerConfig, LightningNode};
use swaprig_harness::World;
use swaprig_harness::server::{Ready, Server, ServerSpec};
use swaprig_harness::template::Template;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_proto::v1;
use swaprig_proto::v1::admin_service_client::AdminServiceClient;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use crate::support;

/// The server's name in its world.
pub(crate) const SERVER: &str = "desk";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// More boundaries than this are not on the way of a single swap.
const MOST_BOUNDARIES: u64 = 200;

pub(crate) fn soon() -> Deadline {
    Deadline::after(support::SOON)
}

/// The server, on the Lightning node `seller`, with further arguments. Where it dies is in its file `failpoint`.
pub(crate) fn spec<'a>(ready: Ready, args: impl IntoIterator<Item = &'a str>) -> ServerSpec {
    let all = [
        "{swaprig}",
        "server",
        "--admin-listen",
        "{admin}",
        "--data-dir",
        "{dir}",
        "--ldk-address",
        "{seller.grpc}",
        "--ldk-cert",
        "{seller.cert}",
        "--ldk-credential",
        "{seller.api_key_file}",
        "--failpoint",
        "file:{dir}/failpoint",
        "--poll-interval-millis",
        "200",
    ];
    let all = all.into_iter().chain(args);
    ServerSpec {
        name: SERVER.into(),
        run: all.map(|arg| Template::parse(arg).unwrap()).collect(),
        env: Vec::new(),
        ready,
        api: None,
        tls: None,
    }
}

/// The server and its world.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) world: Arc<World>,
}

impl Served {
    pub(crate) fn server(&self) -> &Server {
        self.world.server(SERVER).unwrap()
    }

    /// The server's own files.
    pub(crate) fn dir(&self) -> &Path {
        self.server().dir()
    }

    /// All that the server has said.
    pub(crate) fn log(&self) -> String {
        let running = self.server().running();
        let logs = running.logs();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        read(&logs.stdout) + &read(&logs.stderr)
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(channel(&self.server().admin_address()))
    }

    /// What the server has.
    pub(crate) async fn stocks(&self) -> Result<v1::GetInventoryResponse, tonic::Status> {
        let stocks = self.admin().get_inventory(v1::GetInventoryRequest {}).await;
        Ok(stocks?.into_inner())
    }

    /// A Lightning node, as its owner sees it.
    pub(crate) fn node(&self, name: &str) -> Arc<dyn LightningNode> {
        let node = self.world.node(name).unwrap();
        let storage = node.tls_cert().parent().unwrap().to_owned();
        let config = LdkServerConfig::local(&node.grpc_address(), &storage, "regtest");
        Arc::new(LdkServer::new(&config).unwrap())
    }

    /// Waits until `look` is content.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<T, String>,
    ) -> T {
        let deadline = soon();
        loop {
            let last = match look().await {
                Ok(found) => return found,
                Err(last) => last,
            };
            assert!(
                !deadline.has_passed(),
                "waited for {what}; last: {last}\n{}",
                self.log_tail()
            );
            pause(LOOK).await;
        }
    }

    /// Repeats what a dead server left unanswered: an error that `is_transient` says may pass.
    pub(crate) async fn insist<T, E: std::fmt::Display>(
        &self,
        what: &str,
        is_transient: impl Fn(&E) -> bool,
        mut ask: impl AsyncFnMut() -> Result<T, E>,
    ) -> T {
        self.until(what, async || match ask().await {
            Ok(done) => Ok(done),
            Err(error) if is_transient(&error) => Err(error.to_string()),
            Err(error) => panic!("{what}: {error}\n{}", self.log_tail()),
        })
        .await
    }

    /// The server starts anew, with a failpoint.
    pub(crate) async fn restart_with(&self, failpoint: &str) {
        std::fs::write(self.dir().join("failpoint"), failpoint).unwrap();
        self.server().restart(soon()).await.unwrap();
    }

    /// What the server wrote when it last died at a failpoint, if that says so.
    pub(crate) fn last_words(&self, said: &str) -> Option<String> {
        let log = self.log();
        let is_it = |line: &&str| line.starts_with("failpoint ") && line.contains(said);
        let line = log.lines().rev().find(is_it);
        line.map(str::to_owned)
    }

    /// Starts the server again whenever it is dead, as a supervisor does, until `enough` is told; it runs then.
    fn supervise(&self, mut enough: oneshot::Receiver<()>) -> JoinHandle<()> {
        let served = self.clone();
        tokio::spawn(async move {
            loop {
                let running = served.server().running();
                tokio::select! {
                    biased;
                    _ = running.exited() => served.server().restart(soon()).await.unwrap(),
                    _ = &mut enough => return,
                }
            }
        })
    }

    /// Does something while the server dies where `failpoint` says and is started again; in the end it lives.
    pub(crate) async fn while_it_dies<T>(
        &self,
        failpoint: &str,
        work: impl Future<Output = T>,
    ) -> T {
        self.restart_with(failpoint).await;
        let (tell, enough) = oneshot::channel();
        let supervisor = self.supervise(enough);
        let done = work.await;
        tell.send(()).unwrap();
        supervisor.await.unwrap();
        // It may have died when all was over, and nobody is there any more to start it. It dies once only: this one lives.
        self.server().restart(soon()).await.unwrap();
        done
    }
}

/// Calls `killed` for each boundary that the server passes in it, with the failpoint that kills the server there, until one more
/// is not reached; `None` when there are no worlds to be had. Their order differs a little from run to run, so that one can be
/// passed over: those of `wanted` are gone to by their names then. After so many boundaries as a world lasts it is a new one.
pub(crate) async fn killed_everywhere<D: Deref<Target = Served>>(
    open: impl AsyncFn() -> Option<D>,
    a_world_lasts: u64,
    killed: impl AsyncFn(&D, &str),
    wanted: &[&str],
) -> Option<()> {
    let mut desk = open().await?;
    let mut died_at = Vec::new();
    for boundary in 1.. {
        assert!(
            boundary < MOST_BOUNDARIES,
            "the server passes more than {MOST_BOUNDARIES} boundaries: {died_at:?}"
        );
        if boundary % a_world_lasts == 0 {
            desk = open().await?;
        }
        killed(&desk, &format!("abort:{boundary}")).await;
        match desk.last_words(&format!("failpoint {boundary}: ")) {
            Some(words) => died_at.push(words),
            None => break,
        }
    }
    for name in wanted {
        if !died_at.iter().any(|words| words.ends_with(name)) {
            killed(&desk, &format!("abort-at:{name}")).await;
            let words = desk.last_words(name);
            died_at.push(words.unwrap_or_else(|| panic!("never {name}: {died_at:?}")));
        }
    }
    println!("{} boundaries:\n{}", died_at.len(), died_at.join("\n"));
    Some(())
}

/// A connection of its own.
pub(crate) fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_lazy()
}

/// Waits, for want of anything that tells.
pub(crate) async fn pause(time: Duration) {
    let over = Deadline::after(time);
    let waited = poll_until::<(), std::convert::Infallible, _>("a moment", over, || async {
        Probe::Pending(String::new())
    });
    assert!(waited.await.is_err());
}
