//! Listens to the index: tells of new tips and of scripts whose history changed, as soon as the server says so.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use elements::Script;
use serde_json::{Value, json};
use swaprig_units::Height;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, timeout_at};

use super::connection::{CallError, Connection, Said};
use super::index::{Index, IndexError, pause, script_hash};

/// Room for events that nobody has taken yet. More is not needed: what waits behind is merged.
pub(super) const EVENTS: usize = 64;
/// Room for requests to watch; whoever asks for more waits.
const REQUESTS: usize = 64;
/// How often a silent server is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Scripts that are subscribed to at once.
const BATCH: usize = 500;

/// What the index said. `S` is how the chain calls a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent<S = Script> {
    /// The chain has another tip, at this height; after a reorganisation it may be lower.
    Tip(Height),
    /// The history of a watched script is another.
    Changed(S),
    /// The index is gone. Nothing is seen until `Reconnected`.
    Lost,
    /// The index is back and everything is watched again. What happened in between may not have been told: look at everything.
    Reconnected,
}

enum Request {
    Watch(Vec<Script>, oneshot::Sender<Result<(), IndexError>>),
    Unwatch(Script),
}

/// The listener. It ends when this is dropped.
#[derive(Debug)]
pub struct Watcher {
    requests: mpsc::Sender<Request>,
}

impl Watcher {
    /// Starts to listen to `index`, over a connection of its own. Events wait in the receiver; those that nobody takes are
    /// merged, and none is lost. The first tip is told as soon as the index is reached.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(index: &Index) -> (Watcher, mpsc::Receiver<WatchEvent>) {
        let (requests, asked) = mpsc::channel(REQUESTS);
        let (events, told) = mpsc::channel(EVENTS);
        let listener = Listener {
            index: index.clone(),
            asked,
            events,
            outbox: Outbox::default(),
            watched: HashMap::new(),
            tip: None,
        };
        tokio::spawn(listener.run());
        (Watcher { requests }, told)
    }

    /// Watches `scripts` from now on. When this returns, every later change will be told; look at each script once after.
    /// Those that are watched already stay.
    ///
    /// # Errors
    ///
    /// When the index is not there: they are watched as soon as it is back.
    pub async fn watch(&self, scripts: impl IntoIterator<Item = Script>) -> Result<(), IndexError> {
        let (done, is_done) = oneshot::channel();
        let request = Request::Watch(scripts.into_iter().collect(), done);
        let ended = || IndexError::Unreachable("the watcher has ended".to_owned());
        self.requests.send(request).await.map_err(|_| ended())?;
        is_done.await.map_err(|_| ended())?
    }

    /// No longer watches `script`. A change that was seen before may still be told.
    pub async fn unwatch(&self, script: Script) {
        // When it has ended, nothing is watched.
        let _ = self.requests.send(Request::Unwatch(script)).await;
    }
}

/// What is known of a script that is watched.
struct Watched {
    script: Script,
    /// The status that the server said last; `None` before it said any.
    status: Option<Option<String>>,
}

struct Listener {
    index: Index,
    asked: mpsc::Receiver<Request>,
    events: mpsc::Sender<WatchEvent>,
    outbox: Outbox,
    /// By script hash.
    watched: HashMap<String, Watched>,
    tip: Option<Value>,
}

/// Why the listener stops, or goes on with another connection.
enum End {
    /// Nobody holds the watcher, or nobody hears it.
    Over,
    /// The connection is lost.
    Lost,
}

impl Listener {
    async fn run(mut self) {
        let mut failed = 0;
        // Whether `Lost` was told, or nothing yet.
        let mut was_lost = false;
        loop {
            let opened = Connection::open(self.index.endpoint(), self.index.timeout()).await;
            match opened {
                Ok(connection) => {
                    if self.subscribe_all(&connection).await.is_ok() {
                        failed = 0;
                        if std::mem::take(&mut was_lost) {
                            self.outbox.add(WatchEvent::Reconnected);
                        }
                        if let End::Over = self.listen(&connection).await {
                            return;
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "the index cannot be watched"),
            }
            if !std::mem::replace(&mut was_lost, true) {
                tracing::warn!(index = %self.index.endpoint(), "the index is lost");
                self.outbox.add(WatchEvent::Lost);
            }
            failed += 1;
            if let End::Over = self.wait(Instant::now() + pause(failed)).await {
                return;
            }
        }
    }

    /// Until `until`, only keeps in mind what is asked for.
    async fn wait(&mut self, until: Instant) -> End {
        loop {
            let Listener {
                asked,
                events,
                outbox,
                ..
            } = self;
            let next = async {
                tokio::select! {
                    request = asked.recv() => request.map(Some),
                    sent = outbox.deliver(events) => sent.then_some(None),
                }
            };
            match timeout_at(until, next).await {
                Err(_) => return End::Lost,
                Ok(None) => return End::Over,
                Ok(Some(None)) => {}
                Ok(Some(Some(Request::Unwatch(script)))) => self.forget(&script),
                Ok(Some(Some(Request::Watch(scripts, done)))) => {
                    self.keep(scripts);
                    let why = format!("{} is not there", self.index.endpoint());
                    let _ = done.send(Err(IndexError::Unreachable(why)));
                }
            }
        }
    }

    /// Passes on what the server says, until the connection is lost.
    async fn listen(&mut self, connection: &Connection) -> End {
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            let Listener {
                asked,
                events,
                outbox,
                ..
            } = self;
            tokio::select! {
                request = asked.recv() => match request {
                    None => return End::Over,
                    Some(Request::Unwatch(script)) => {
                        self.forget(&script);
                        // Older servers cannot; then what they say of it is passed over.
                        let _ = connection
                            .call("blockchain.scripthash.unsubscribe", json!([script_hash(&script)]))
                            .await;
                    }
                    Some(Request::Watch(scripts, done)) => {
                        let hashes = self.keep(scripts);
                        let subscribed = self.subscribe(connection, hashes).await;
                        let is_lost = subscribed.is_err();
                        let _ = done.send(subscribed.map_err(|error| IndexError::Unreachable(error.to_string())));
                        if is_lost {
                            return End::Lost;
                        }
                    }
                },
                sent = outbox.deliver(events) => if !sent { return End::Over },
                () = connection.news.came.notified() => self.hear(connection.news.take()),
                reason = connection.until_lost() => {
                    tracing::debug!(reason, "the watcher's connection is lost");
                    return End::Lost;
                }
                _ = ping.tick() => {
                    if connection.call("server.ping", json!([])).await.is_err() {
                        return End::Lost;
                    }
                }
            }
        }
    }

    /// Has `scripts` in mind, and gives the hashes of those that were not.
    fn keep(&mut self, scripts: Vec<Script>) -> Vec<String> {
        let mut new = Vec::new();
        for script in scripts {
            let hash = script_hash(&script);
            if let Entry::Vacant(vacant) = self.watched.entry(hash.clone()) {
                vacant.insert(Watched {
                    script,
                    status: None,
                });
                new.push(hash);
            }
        }
        new
    }

    fn forget(&mut self, script: &Script) {
        self.watched.remove(&script_hash(script));
    }

    /// Subscribes to the tip and to everything that is watched; what changed meanwhile is told.
    async fn subscribe_all(&mut self, connection: &Connection) -> Result<(), CallError> {
        let tip = connection
            .call("blockchain.headers.subscribe", json!([]))
            .await?;
        self.hear_tip(tip);
        let hashes = self.watched.keys().cloned().collect();
        self.subscribe(connection, hashes).await
    }

    async fn subscribe(
        &mut self,
        connection: &Connection,
        hashes: Vec<String>,
    ) -> Result<(), CallError> {
        for chunk in hashes.chunks(BATCH) {
            let calls = chunk
                .iter()
                .map(|hash| ("blockchain.scripthash.subscribe", json!([hash])));
            let answers = connection.batch(calls.collect()).await;
            for (hash, answer) in chunk.iter().zip(answers) {
                let status = answer?.as_str().map(str::to_owned);
                self.hear_status(hash, status);
            }
        }
        Ok(())
    }

    fn hear(&mut self, said: Said) {
        // The scripts first: whoever looks at everything at a new tip finds them told.
        for (hash, status) in said.changed {
            self.hear_status(&hash, status);
        }
        if let Some(tip) = said.tip {
            self.hear_tip(tip);
        }
    }

    fn hear_tip(&mut self, tip: Value) {
        if self.tip.as_ref() == Some(&tip) {
            return;
        }
        // Not the height in the header, which Bitcoin's have not.
        let height = tip["height"].as_u64().map(u32::try_from);
        match height {
            Some(Ok(height)) => self.outbox.add(WatchEvent::Tip(Height(height))),
            _ => tracing::warn!(%tip, "a tip that cannot be read"),
        }
        self.tip = Some(tip);
    }

    fn hear_status(&mut self, hash: &str, status: Option<String>) {
        let Some(watched) = self.watched.get_mut(hash) else {
            return;
        };
        let before = watched.status.replace(status.clone());
        if before.is_some_and(|before| before != status) {
            self.outbox.add(WatchEvent::Changed(watched.script.clone()));
        }
    }
}

/// Events that are to be told, each at most once.
pub(super) struct Outbox<S = Script> {
    queue: VecDeque<WatchEvent<S>>,
    changed: HashSet<S>,
}

impl<S> Default for Outbox<S> {
    fn default() -> Self {
        Outbox {
            queue: VecDeque::new(),
            changed: HashSet::new(),
        }
    }
}

impl<S: Clone + Eq + Hash> Outbox<S> {
    pub(super) fn add(&mut self, event: WatchEvent<S>) {
        match &event {
            WatchEvent::Changed(script) => {
                if !self.changed.insert(script.clone()) {
                    return;
                }
            }
            // Only the last one of each kind matters.
            WatchEvent::Tip(_) => self.queue.retain(|one| !matches!(one, WatchEvent::Tip(_))),
            WatchEvent::Lost => self.queue.retain(|one| !matches!(one, WatchEvent::Lost)),
            WatchEvent::Reconnected => {
                self.queue
                    .retain(|one| !matches!(one, WatchEvent::Reconnected));
            }
        }
        self.queue.push_back(event);
    }

    /// Tells the first event as soon as there is room; pending while there is none to tell. False when nobody listens.
    pub(super) async fn deliver(&mut self, events: &mpsc::Sender<WatchEvent<S>>) -> bool {
        if self.queue.is_empty() {
            tokio::select! {
                () = events.closed() => return false,
                () = std::future::pending() => {}
            }
        }
        let Ok(room) = events.reserve().await else {
            return false;
        };
        if let Some(event) = self.pop() {
            room.send(event);
        }
        true
    }

    /// Tells what there is room for, from outside of a runtime. What nobody listens to is forgotten.
    pub(super) fn deliver_now(&mut self, events: &mpsc::Sender<WatchEvent<S>>) {
        while !self.queue.is_empty() {
            match events.try_reserve() {
                Ok(room) => {
                    if let Some(event) = self.pop() {
                        room.send(event);
                    }
                }
                Err(mpsc::error::TrySendError::Full(())) => return,
                Err(mpsc::error::TrySendError::Closed(())) => *self = Outbox::default(),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn pop(&mut self) -> Option<WatchEvent<S>> {
        let event = self.queue.pop_front();
        if let Some(WatchEvent::Changed(script)) = &event {
            self.changed.remove(script);
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_that_nobody_takes_are_merged_and_none_is_lost() {
        let (events, mut told) = mpsc::channel(1);
        let mut outbox = Outbox::default();
        let script = |byte: u8| Script::from(vec![byte]);
        for _ in 0..3 {
            outbox.add(WatchEvent::Changed(script(1)));
            outbox.add(WatchEvent::Tip(Height(7)));
            outbox.add(WatchEvent::Lost);
            outbox.add(WatchEvent::Reconnected);
            outbox.add(WatchEvent::Changed(script(2)));
            outbox.add(WatchEvent::Tip(Height(8)));
        }
        let mut all = Vec::new();
        while !outbox.queue.is_empty() {
            assert!(outbox.deliver(&events).await);
            all.push(told.recv().await.unwrap());
        }
        let wanted = [
            WatchEvent::Changed(script(1)),
            WatchEvent::Changed(script(2)),
            WatchEvent::Lost,
            WatchEvent::Reconnected,
            WatchEvent::Tip(Height(8)),
        ];
        assert_eq!(all, wanted);
        // Told once, a script may change again.
        outbox.add(WatchEvent::Changed(script(1)));
        assert_eq!(outbox.queue.len(), 1);
        drop(told);
        assert!(!outbox.deliver(&events).await);
    }
}
