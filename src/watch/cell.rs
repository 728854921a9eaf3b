//! A swap in memory: its state behind a lock of its own, and what others see of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitcoin::ScriptBuf;
use swaprig_units::{Height, PaymentHash};
use tokio::sync::watch;
use uuid::Uuid;

use crate::chain::{Lock, Watch};
use crate::store::StoredSwap;
use crate::swap::{
    Alarm, ChainName, ChainState, Depth, Direction, Effect, Payment, Phase, Sent, Status, Swap,
    SwapId, status,
};

/// A swap as others see it.
#[derive(Debug, Clone)]
pub struct View {
    /// The swap.
    pub swap: Swap,
    /// The key of the request that made it.
    pub request_id: Uuid,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub updated_at: i64,
    /// How deep the funding is, as far as it was looked at.
    pub funding_depth: Option<Depth>,
    /// The height of its chain that this is about.
    pub height: Height,
    /// Its HTLC.
    pub lock: Lock,
    /// Whether something must still be done before a caller of CreateSwap has its answer.
    pub(super) unanswered: bool,
}

impl View {
    /// Whether a caller of CreateSwap has its answer; `confirmed`: one that waits until the funding has its confirmations.
    pub(super) fn answers(&self, confirmed: bool) -> bool {
        let waits = confirmed
            && self.swap.phase != Phase::AwaitingPrepay
            && self.swap.terms.direction == Direction::Out
            && status(&self.swap) == Status::Created;
        !self.unanswered && !waits
    }
}

/// What a swap's lock protects.
#[derive(Debug)]
pub(super) struct State {
    pub(super) swap: Swap,
    /// What the chain shows; `None`: not looked at since the start.
    pub(super) chain: Option<ChainState>,
    /// The height that was the tip when that was looked at; the chain may have had another end since.
    pub(super) looked_at: Height,
    /// What Lightning shows.
    pub(super) payment: Payment,
    /// How many orders to pay were carried out since the start.
    pub(super) orders: u32,
    /// Effects that are being performed.
    pub(super) pending: HashSet<Effect>,
    /// Alarms that were given.
    pub(super) alarms: HashSet<Alarm>,
    /// Where a refund, or a claim, goes, once that is chosen.
    pub(super) spend_to: Option<String>,
    /// When that was sent first and last.
    pub(super) spend_sent: Option<(Height, Height)>,
    pub(super) updated_at: i64,
    /// The store failed: nothing is done with this swap until a restart.
    pub(super) halted: bool,
}

/// A swap in memory.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) id: SwapId,
    pub(super) hash: PaymentHash,
    pub(super) chain: ChainName,
    /// Another one once the timeout is fixed.
    lock: Mutex<Lock>,
    pub(super) created_at: i64,
    pub(super) state: tokio::sync::Mutex<State>,
    /// Held while the chain is looked at, so that an older look never replaces a newer one.
    pub(super) looking: tokio::sync::Mutex<()>,
    pub(super) view: watch::Sender<View>,
}

impl Cell {
    pub(super) fn new(
        stored: StoredSwap,
        pending: HashSet<Effect>,
        height: Height,
        lock: Lock,
    ) -> Self {
        let StoredSwap {
            swap,
            request_id,
            created_at,
            updated_at,
        } = stored;
        let state = State {
            chain: None,
            looked_at: Height(0),
            payment: match (swap.paid, swap.terms.direction) {
                (true, _) => Payment::Succeeded,
                // Until the node was asked it may be on its way.
                (false, Direction::In) if swap.settle_tried => Payment::Sent(Sent::Pending),
                (false, _) => Payment::Absent,
            },
            orders: 0,
            pending,
            alarms: HashSet::new(),
            spend_to: None,
            spend_sent: None,
            updated_at,
            halted: false,
            swap,
        };
        let view = View {
            swap: state.swap.clone(),
            request_id,
            created_at,
            updated_at,
            funding_depth: None,
            height,
            lock: lock.clone(),
            unanswered: state.unanswered(),
        };
        Cell {
            id: state.swap.id,
            hash: state.swap.terms.payment_hash,
            chain: state.swap.terms.chain,
            lock: Mutex::new(lock),
            created_at,
            state: tokio::sync::Mutex::new(state),
            looking: tokio::sync::Mutex::new(()),
            view: watch::Sender::new(view),
        }
    }

    /// Its HTLC.
    pub(super) fn lock(&self) -> Lock {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.clone()
    }

    /// What is to be watched of it.
    pub(super) fn watch(&self) -> Watch {
        Watch {
            script: self.lock().script,
            since: self.view.borrow().swap.terms.made_at,
        }
    }

    /// The terms lead to another HTLC now: the timeout is fixed.
    pub(super) fn relock(&self, cells: &Cells, lock: Lock) {
        cells.relock(self, &lock);
        self.view.send_modify(|view| view.lock = lock.clone());
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
    }

    /// Shows others what the state is now.
    pub(super) fn show(&self, state: &State, height: Height) {
        self.view.send_if_modified(|view| {
            let funding_depth = state.chain.as_ref().map(|chain| chain.funding);
            let unanswered = state.unanswered();
            let same = view.swap == state.swap
                && view.funding_depth == funding_depth
                && view.height == height
                && view.unanswered == unanswered;
            if same {
                return false;
            }
            view.swap.clone_from(&state.swap);
            view.updated_at = state.updated_at;
            view.funding_depth = funding_depth;
            view.height = height;
            view.unanswered = unanswered;
            true
        });
    }
}

impl State {
    fn unanswered(&self) -> bool {
        match self.swap.phase {
            Phase::Reserved => true,
            // That of a payment that is held first follows long after the answer.
            Phase::Building => self.swap.terms.direction == Direction::Out,
            Phase::Funding => self.pending.contains(&Effect::BroadcastFunding),
            Phase::AwaitingPrepay
            | Phase::AwaitingPayment
            | Phase::AwaitingFunding
            | Phase::Confirmed
            | Phase::PaymentHeld
            | Phase::Paying
            | Phase::Paid
            | Phase::Cancelling
            | Phase::Refunding
            | Phase::Claimed
            | Phase::Refunded
            | Phase::Failed(_) => false,
        }
    }
}

/// All swaps to which something can still happen.
#[derive(Debug, Default)]
pub(super) struct Cells {
    inner: Mutex<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_id: HashMap<SwapId, Arc<Cell>>,
    by_script: HashMap<(ChainName, ScriptBuf), SwapId>,
    by_hash: HashMap<PaymentHash, SwapId>,
}

impl Cells {
    fn lock(&self) -> MutexGuard<'_, Maps> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, cell: &Arc<Cell>) {
        let mut maps = self.lock();
        maps.by_script
            .insert((cell.chain, cell.lock().script), cell.id);
        maps.by_hash.insert(cell.hash, cell.id);
        maps.by_id.insert(cell.id, cell.clone());
    }

    pub(super) fn remove(&self, cell: &Cell) {
        let mut maps = self.lock();
        maps.by_script.remove(&(cell.chain, cell.lock().script));
        maps.by_hash.remove(&cell.hash);
        maps.by_id.remove(&cell.id);
    }

    fn relock(&self, cell: &Cell, lock: &Lock) {
        let mut maps = self.lock();
        maps.by_script.remove(&(cell.chain, cell.lock().script));
        maps.by_script
            .insert((cell.chain, lock.script.clone()), cell.id);
    }

    pub(super) fn get(&self, id: SwapId) -> Option<Arc<Cell>> {
        self.lock().by_id.get(&id).cloned()
    }

    pub(super) fn by_script(&self, chain: ChainName, script: ScriptBuf) -> Option<Arc<Cell>> {
        let maps = self.lock();
        maps.by_id
            .get(maps.by_script.get(&(chain, script))?)
            .cloned()
    }

    pub(super) fn by_hash(&self, hash: PaymentHash) -> Option<Arc<Cell>> {
        let maps = self.lock();
        maps.by_id.get(maps.by_hash.get(&hash)?).cloned()
    }

    /// Those on a chain.
    pub(super) fn on(&self, chain: ChainName) -> Vec<Arc<Cell>> {
        let mut cells = self.all();
        cells.retain(|cell| cell.chain == chain);
        cells
    }

    pub(super) fn all(&self) -> Vec<Arc<Cell>> {
        self.lock().by_id.values().cloned().collect()
    }
}
