//! The queue between a node's events and whoever acts on them: it forgets no hash and cannot grow without bound.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use swaprig_units::PaymentHash;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// More hashes than this at once are told as one [`Wake::Rescan`]: looking at all is cheaper by then.
const MOST: usize = 1_024;

/// Something may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// With the payment of this hash, incoming or outgoing.
    Payment(PaymentHash),
    /// With any payment: events were missed, or may have been. Comes first, and after each loss of the node.
    Rescan,
}

/// Where wakes are read. Several of one payment that nobody has read yet are one.
#[derive(Debug)]
pub struct Wakes {
    queue: Arc<Queue>,
    source: JoinHandle<()>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pending: Mutex<Pending>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    rescan: bool,
    hashes: BTreeSet<PaymentHash>,
}

impl Queue {
    pub(super) fn push(&self, wake: Wake) {
        let mut pending = self.lock();
        match wake {
            Wake::Rescan => pending.rescan = true,
            Wake::Payment(hash) => {
                pending.hashes.insert(hash);
            }
        }
        if pending.rescan || pending.hashes.len() > MOST {
            pending.rescan = true;
            pending.hashes.clear();
        }
        drop(pending);
        self.news.notify_one();
    }

    fn take(&self) -> Option<Wake> {
        let mut pending = self.lock();
        if std::mem::take(&mut pending.rescan) {
            return Some(Wake::Rescan);
        }
        pending.hashes.pop_first().map(Wake::Payment)
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wakes {
    /// Wakes that `source` pushes, in a task of its own that ends with them.
    pub(super) fn fed_by<F>(source: impl FnOnce(Arc<Queue>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let queue = Arc::new(Queue::default());
        let source = tokio::spawn(source(queue.clone()));
        Wakes { queue, source }
    }

    /// The next wake. No time limit: the caller has one. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Wake {
        loop {
            if let Some(wake) = self.queue.take() {
                return wake;
            }
            // A push between the look and here has left its permit.
            self.queue.news.notified().await;
        }
    }

    /// A wake that is there already.
    pub fn try_next(&mut self) -> Option<Wake> {
        self.queue.take()
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.source.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u32) -> PaymentHash {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PaymentHash(bytes)
    }

    #[test]
    fn the_same_payment_waits_once_and_a_rescan_covers_all() {
        let queue = Queue::default();
        for n in [2, 1, 2] {
            queue.push(Wake::Payment(hash(n)));
        }
        assert_eq!(queue.take(), Some(Wake::Payment(hash(1))));
        queue.push(Wake::Rescan);
        queue.push(Wake::Payment(hash(3)));
        assert_eq!(queue.take(), Some(Wake::Rescan));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_reader_that_is_too_slow_is_told_to_look_at_everything() {
        let queue = Queue::default();
        for n in 0..=MOST as u32 {
            queue.push(Wake::Payment(hash(n)));
        }
        assert_eq!(queue.take(), Some(Wake::Rescan));
        assert_eq!(queue.take(), None);
    }

    #[tokio::test]
    async fn a_reader_is_woken_by_what_comes_later() {
        let mut wakes = Wakes::fed_by(|queue| async move {
            queue.push(Wake::Rescan);
            tokio::task::yield_now().await;
            queue.push(Wake::Payment(hash(7)));
        });
        assert_eq!(wakes.next().await, Wake::Rescan);
        assert_eq!(wakes.next().await, Wake::Payment(hash(7)));
        assert_eq!(wakes.try_next(), None);
    }
}
