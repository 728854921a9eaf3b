//! `run -v`: what all processes of the running worlds say, as they say it, each line under the name of who says it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use swaprig_harness::World;
use swaprig_harness::ldk_server::LdkServer;
use swaprig_harness::time::Deadline;
use swaprig_scenarios::lang::Plan;
use swaprig_scenarios::run::{RunEnded, Watch, stable_hash};
use tokio::task::JoinHandle;

use super::select::colour;
use super::tail::Tail;

/// How often logs are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Foreground colours that can be read on black and on white (ECMA-48, SGR).
const COLOURS: [u8; 6] = [31, 32, 33, 34, 35, 36];

/// Says a line to whoever looks.
pub(super) type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// Says the logs of every world while it stands.
pub(super) struct Verbose {
    say: Say,
    /// Whether several worlds run at once, so that a line has to say of which it is.
    several: bool,
    following: Mutex<HashMap<(String, u32), Following>>,
}

struct Following {
    logs: Arc<Mutex<Vec<Log>>>,
    task: JoinHandle<()>,
}

/// A log of a world.
struct Log {
    prefix: String,
    tail: Tail,
    /// Whether it is the own log of a Lightning node, of which the chatter is left out.
    is_chatty: bool,
}

impl Log {
    fn say(&mut self, say: &Say) {
        for line in self.tail.take().unwrap_or_default() {
            if !(self.is_chatty && is_chatter(&line)) {
                say(&format!("{}{line}", self.prefix));
            }
        }
    }
}

/// Whether a line of a Lightning node's log is below the level INFO.
fn is_chatter(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| matches!(word, "DEBUG" | "TRACE" | "GOSSIP"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Verbose {
    pub(super) fn new(say: Say, several: bool) -> Self {
        Verbose {
            say,
            several,
            following: Mutex::default(),
        }
    }

    fn logs(&self, plan: &Plan, world: &World) -> Vec<Log> {
        let is_node = |name: &str| world.nodes().iter().any(|node| node.name() == name);
        let logs = world.logs().into_iter();
        let printed = logs.flat_map(|(name, files)| {
            // What a node prints is in its own log, too.
            let stdout = (!is_node(&name)).then(|| (name.clone(), files.stdout, false));
            [stdout, Some((name, files.stderr, false))]
        });
        let printed = printed.flatten();
        let own = |node: &LdkServer| (node.name().to_owned(), node.own_log(), true);
        let all: Vec<(String, PathBuf, bool)> =
            printed.chain(world.nodes().iter().map(own)).collect();
        let width = all.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        let scenario = match self.several {
            true => format!("{} ", plan.id()),
            false => String::new(),
        };
        let log = |(name, path, is_chatty): (String, PathBuf, bool)| Log {
            prefix: format!("{scenario}{} | ", painted(&name, width)),
            tail: Tail::new(&path),
            is_chatty,
        };
        all.into_iter().map(log).collect()
    }
}

/// A name in its own colour, always the same one, where colours are wanted.
fn painted(name: &str, width: usize) -> String {
    if !colour() {
        return format!("{name:<width$}");
    }
    let count = COLOURS.len() as u64;
    let choice = usize::try_from(stable_hash(name) % count).unwrap_or_default();
    format!("\x1b[{}m{name:<width$}\x1b[0m", COLOURS[choice])
}

impl Watch for Verbose {
    fn stands(&self, plan: &Plan, round: u32, world: &World) {
        let logs = Arc::new(Mutex::new(self.logs(plan, world)));
        let (followed, say) = (logs.clone(), self.say.clone());
        let task = tokio::spawn(async move {
            loop {
                lock(&followed).iter_mut().for_each(|log| log.say(&say));
                Deadline::after(LOOK).reach().await;
            }
        });
        let following = Following { logs, task };
        lock(&self.following).insert((plan.id().to_owned(), round), following);
    }

    fn ended(&self, plan: &Plan, ended: &RunEnded<'_>) {
        let key = (plan.id().to_owned(), ended.round);
        if let Some(following) = lock(&self.following).remove(&key) {
            following.task.abort();
            lock(&following.logs)
                .iter_mut()
                .for_each(|log| log.say(&self.say));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_chatter_is_told_from_what_it_says() {
        assert!(is_chatter(
            "2026-01-01T00:00:00Z DEBUG [lightning::ln] Handling"
        ));
        assert!(is_chatter("[TRACE lightning] x"));
        assert!(!is_chatter(
            "2026-01-01T00:00:00Z INFO  [ldk_node] Startup complete."
        ));
        assert!(!is_chatter("ERROR DEBUGGING failed"));
    }
}
