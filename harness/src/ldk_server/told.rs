//! Writes the events of a node into the record of its world.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use ldk_server_client::events::{ChannelStateChanged, Event};
use ldk_server_client::types;
use swaprig_record::{Channel, Event as Recorded, Payment, PaymentState, Recorder};

use super::PaymentView;

/// Where a node's events go: nowhere until it is said. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<OnceLock<Teller>>);

#[derive(Debug)]
struct Teller {
    recorder: Recorder,
    node: String,
    /// The names of the world's nodes, by their public keys.
    names: HashMap<String, String>,
}

impl Told {
    /// From now on the events of `node` are recorded.
    pub(super) fn record(&self, recorder: Recorder, node: &str, names: HashMap<String, String>) {
        let node = node.to_owned();
        // A second call says the same.
        let _ = self.0.set(Teller {
            recorder,
            node,
            names,
        });
    }

    /// Records an event.
    pub(super) fn event(&self, event: &Event) {
        let Some(teller) = self.0.get() else { return };
        if let Some(recorded) = teller.recorded(event) {
            teller.recorder.record(recorded);
        }
    }
}

impl Teller {
    fn recorded(&self, event: &Event) -> Option<Recorded> {
        let payment = |payment, state| self.payment(payment, state).map(Recorded::Payment);
        match event {
            Event::PaymentReceived(paid) => payment(paid, PaymentState::Received),
            Event::PaymentSuccessful(paid) => payment(paid, PaymentState::Succeeded),
            Event::PaymentFailed(paid) => payment(paid, PaymentState::Failed),
            Event::PaymentClaimable {
                payment: held,
                claim_deadline,
            } => {
                let held = self.payment(held, PaymentState::Held)?;
                Some(Recorded::Payment(Payment {
                    claim_deadline: *claim_deadline,
                    ..held
                }))
            }
            Event::PaymentForwarded {
                total_fee_earned_msat,
                outbound_amount_forwarded_msat,
            } => Some(Recorded::Payment(Payment {
                node: self.node.clone(),
                peer: None,
                hash: String::new(),
                state: PaymentState::Forwarded,
                amount_msat: *outbound_amount_forwarded_msat,
                fee_msat: *total_fee_earned_msat,
                claim_deadline: None,
            })),
            Event::ChannelStateChanged(change) => Some(Recorded::Channel(self.channel(change))),
            Event::Unknown => None,
        }
    }

    fn payment(&self, payment: &types::Payment, state: PaymentState) -> Option<Payment> {
        let view = PaymentView::bolt11(payment).ok()??;
        Some(Payment {
            node: self.node.clone(),
            peer: None,
            hash: view.hash.to_string(),
            state,
            amount_msat: view.amount.map(|amount| amount.0),
            fee_msat: view.fee.map(|fee| fee.0),
            claim_deadline: None,
        })
    }

    fn channel(&self, change: &ChannelStateChanged) -> Channel {
        let peer = change.counterparty_node_id.as_ref();
        let state = change.state().as_str_name().to_lowercase();
        let reason = change.reason.as_ref().map(|reason| reason.message.clone());
        Channel {
            node: self.node.clone(),
            peer: peer.and_then(|id| self.names.get(id)).cloned(),
            channel_id: change.channel_id.clone(),
            state: state.trim_start_matches("channel_state_").to_owned(),
            funding: change.funding_txo.clone(),
            reason: reason.filter(|reason| !reason.is_empty()),
        }
    }
}
