//! Which payments a node holds and offers to be claimed.
//!
//! The event says when it is offered; a claim that comes before it is lost, although the node answers OK. Whether it is
//! still held, the HTLCs in the node's channels say, and they alone after a restart: events are not replayed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldk_server_client::events::Event;
use ldk_server_client::{ClientError, LdkServerClient};
use swaprig_units::PaymentHash;
use tokio::task::JoinHandle;

use super::PaymentView;
use super::told::Told;

/// The payments that one run of a node has offered, collected until it ends.
#[derive(Debug)]
pub(super) struct Held {
    offered: Arc<Mutex<HashSet<PaymentHash>>>,
    listener: JoinHandle<()>,
    /// Whether an earlier run of the node may have offered more.
    after_restart: bool,
}

/// What is to become of the events of one run of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listening<'a> {
    /// Where they are recorded.
    pub(super) told: &'a Told,
    /// Whether an earlier run of the node may have offered payments.
    pub(super) after_restart: bool,
}

impl Held {
    /// Subscribes before anybody can pay, so that no offer is missed.
    pub(super) async fn watch(
        client: &LdkServerClient,
        Listening {
            told,
            after_restart,
        }: Listening<'_>,
    ) -> Result<Self, ClientError> {
        let mut stream = client.subscribe_events().await?;
        let offered = Arc::new(Mutex::new(HashSet::new()));
        let (seen, told) = (offered.clone(), told.clone());
        let listener = tokio::spawn(async move {
            // The stream ends with the node; what an event means is looked up by whoever waits for it.
            while let Ok(Some(event)) = stream.next().await {
                told.event(&event);
                if let Event::PaymentClaimable { payment, .. } = event
                    && let Ok(Some(view)) = PaymentView::bolt11(&payment)
                {
                    lock(&seen).insert(view.hash);
                }
            }
        });
        Ok(Held {
            offered,
            listener,
            after_restart,
        })
    }

    /// Whether this run of the node has offered the payment.
    pub(super) fn was_offered(&self, hash: PaymentHash) -> bool {
        lock(&self.offered).contains(&hash)
    }

    /// Whether an earlier run of the node may have offered payments that this one does not speak of.
    pub(super) fn is_after_restart(&self) -> bool {
        self.after_restart
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

fn lock(set: &Mutex<HashSet<PaymentHash>>) -> MutexGuard<'_, HashSet<PaymentHash>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
