//! What all calls share: the node, its wallets, and one lock around both.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::error::{RpcError, RpcResult};
use crate::node::{Event, Node, Rejection, Tip};
use crate::wallet::{Settings, Wallets};

/// How many checkpoints may be kept at once; each keeps its blocks alive.
const MAX_CHECKPOINTS: usize = 64;

/// The node and its wallets, which follow it.
pub struct State {
    /// The chain and the mempool. Whoever changes it calls [`State::settle`] afterwards.
    pub node: Node,
    /// The wallets.
    pub wallets: Wallets,
    checkpoints: BTreeMap<u64, (Node, Wallets)>,
    next_checkpoint: u64,
    block_bytes: u64,
    max_tip_age: u64,
    in_initial_download: bool,
    /// The tip, for whoever waits for another one.
    tips: watch::Sender<Tip>,
}

impl State {
    /// A state around a node. `max_tip_age` is `-maxtipage`, seconds.
    pub fn new(mut node: Node, settings: Settings, max_tip_age: u64) -> Self {
        let wallets = Wallets::new(&node, settings);
        // Wallets are made later and look at the chain then.
        drop(node.take_events());
        let heights = 0..=node.tip().height;
        let blocks = heights.filter_map(|height| node.block(&node.block_hash(height)?));
        let block_bytes = blocks.map(|block| block.size() as u64).sum();
        State {
            tips: watch::Sender::new(node.tip()),
            node,
            wallets,
            checkpoints: BTreeMap::new(),
            next_checkpoint: 1,
            block_bytes,
            max_tip_age,
            in_initial_download: true,
        }
    }

    /// Shows the wallets what happened to the chain and the mempool, and tells those who wait of a new tip.
    pub fn settle(&mut self) {
        for event in self.node.take_events() {
            if let Event::Connected(block) = &event {
                self.block_bytes += block.size() as u64;
            }
            self.wallets.follow(&event);
        }
        self.announce();
    }

    /// The tip as it is and becomes.
    pub(crate) fn tips(&self) -> watch::Receiver<Tip> {
        self.tips.subscribe()
    }

    fn announce(&self) {
        let tip = self.node.tip();
        self.tips.send_if_modified(|last| {
            let is_new = *last != tip;
            *last = tip;
            is_new
        });
    }

    /// Bytes of all blocks that were on the main chain.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// `initialblockdownload`: true until the tip has been young once.
    pub(crate) fn in_initial_download(&mut self) -> bool {
        if self.in_initial_download {
            let tip = self.node.tip();
            let time = self
                .node
                .block(&tip.hash)
                .map_or(0, |block| block.header().time);
            self.in_initial_download =
                u64::from(time).saturating_add(self.max_tip_age) < self.node.now();
        }
        self.in_initial_download
    }

    /// Keeps a copy of the node and its wallets to come back to, and returns its number.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn checkpoint(&mut self) -> RpcResult<u64> {
        if self.checkpoints.len() >= MAX_CHECKPOINTS {
            return Err(RpcError::misc(format!(
                "There are {MAX_CHECKPOINTS} snapshots already; revert to an early one"
            )));
        }
        let number = self.next_checkpoint;
        self.next_checkpoint += 1;
        self.checkpoints
            .insert(number, (self.node.clone(), self.wallets.clone()));
        Ok(number)
    }

    /// Goes back to a checkpoint; later ones are forgotten. The clock goes on.
    ///
    /// # Errors
    /// When there is none of that number.
    pub(crate) fn revert(&mut self, number: u64) -> RpcResult<()> {
        let (node, wallets) =
            self.checkpoints.get(&number).cloned().ok_or_else(|| {
                RpcError::invalid_parameter(format!("There is no snapshot {number}"))
            })?;
        self.checkpoints.retain(|other, _| *other <= number);
        self.node = node;
        self.wallets = wallets;
        self.announce();
        Ok(())
    }
}

/// The state behind its lock, and what stops the process. A call holds the lock while it looks or changes, never
/// while it waits.
pub struct Shared {
    state: Mutex<State>,
    stop: watch::Sender<bool>,
    started: Instant,
}

impl Shared {
    /// Shares a state. `stop` becomes true when a client asks the process to end.
    pub fn new(state: State, stop: watch::Sender<bool>) -> Self {
        Shared {
            state: Mutex::new(state),
            stop,
            started: Instant::now(),
        }
    }

    /// The state, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic ends the process (`process`), so nobody sees what it left behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the process end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the process is to end.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Since when there is this state.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }
}

impl From<Rejection> for RpcError {
    fn from(rejection: Rejection) -> Self {
        RpcError {
            code: rejection.code,
            message: rejection.message,
        }
    }
}
