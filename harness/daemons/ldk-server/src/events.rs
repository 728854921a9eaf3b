//! Takes the node's events one by one, logs them and passes them to whoever has subscribed.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use ldk_node::lightning::events::ClosureReason;
use ldk_node::lightning::ln::channelmanager::PaymentId;
use ldk_node::lightning::ln::types::ChannelId;
use ldk_node::{CustomTlvRecord, Event, Node, UserChannelId};
use ldk_server_protos::events::event_envelope::Event as Wire;
use ldk_server_protos::events::{
    ChannelClosureInitiator as Initiator, ChannelState, ChannelStateChangeReason,
    ChannelStateChangeReasonKind as Kind, ChannelStateChanged, EventEnvelope, HtlcLocator,
    OlderForwardedPayment, OlderPaymentEvent, OlderPaymentForwarded,
};
use ldk_server_protos::{Message, grpc, types};
use log::{error, info};
use tokio::sync::broadcast;

use crate::convert;

/// Events that a slow subscriber may be behind before it loses some; upstream's number.
const CAPACITY: usize = 1024;

/// Starts handling events on a thread of its own; subscribers get encoded frames.
pub(crate) fn spawn(node: Arc<Node>) -> std::io::Result<broadcast::Sender<Bytes>> {
    let (sender, _) = broadcast::channel(CAPACITY);
    let ready = node
        .list_channels()
        .into_iter()
        .filter(|channel| channel.is_channel_ready);
    let handler = Handler {
        ready: ready.map(|channel| channel.channel_id).collect(),
        node,
        sender: sender.clone(),
    };
    std::thread::Builder::new()
        .name("events".to_owned())
        .spawn(move || handler.run())?;
    Ok(sender)
}

struct Handler {
    node: Arc<Node>,
    sender: broadcast::Sender<Bytes>,
    /// Channels that were ready at some time: closing one of them is no failure to open it.
    ready: HashSet<ChannelId>,
}

impl Handler {
    fn run(mut self) {
        loop {
            let event = self.node.wait_next_event();
            if let Some(event) = self.translate(event) {
                // Nobody being subscribed is fine: the truth is in the store.
                let _ = self
                    .sender
                    .send(grpc::encode_message(&EventEnvelope { event: Some(event) }));
            }
            if let Err(error) = self.node.event_handled() {
                error!("Cannot mark an event as handled: {error}");
            }
        }
    }

    fn translate(&mut self, event: Event) -> Option<Wire> {
        match event {
            Event::PaymentSuccessful { payment_id, .. } => self
                .payment(payment_id?, &[], None)
                .map(Wire::PaymentSuccessful),
            Event::PaymentFailed { payment_id, .. } => self
                .payment(payment_id?, &[], None)
                .map(Wire::PaymentFailed),
            Event::PaymentReceived {
                payment_id,
                payment_hash,
                amount_msat,
                custom_records,
            } => {
                info!("PAYMENT_RECEIVED: hash {payment_hash}, amount_msat {amount_msat}");
                self.payment(payment_id?, &custom_records, None)
                    .map(Wire::PaymentReceived)
            }
            Event::PaymentClaimable {
                payment_id,
                payment_hash,
                claimable_amount_msat,
                claim_deadline,
                custom_records,
            } => {
                info!(
                    "PAYMENT_CLAIMABLE: hash {payment_hash}, amount_msat {claimable_amount_msat}"
                );
                self.payment(payment_id, &custom_records, claim_deadline)
                    .map(Wire::PaymentClaimable)
            }
            event @ Event::PaymentForwarded { .. } => forwarded(&event),
            event @ (Event::ChannelPending { .. }
            | Event::ChannelReady { .. }
            | Event::ChannelClosed { .. }) => self.channel(event).map(Wire::ChannelStateChanged),
            Event::SplicePending { channel_id, .. } => {
                info!("SPLICE_PENDING: {channel_id}");
                None
            }
            Event::SpliceFailed { channel_id, .. } => {
                info!("SPLICE_FAILED: {channel_id}");
                None
            }
        }
    }

    fn payment(
        &self,
        id: PaymentId,
        records: &[CustomTlvRecord],
        claim_deadline: Option<u32>,
    ) -> Option<Bytes> {
        let Some(payment) = self.node.payment(&id) else {
            error!("There is an event for payment {id}, which is not in the store");
            return None;
        };
        let custom_records = records
            .iter()
            .map(|record| types::CustomTlvRecord {
                type_num: record.type_num,
                value: record.value.clone().into(),
            })
            .collect();
        let event = OlderPaymentEvent {
            payment: Some(convert::payment(payment)),
            custom_records,
            claim_deadline,
        };
        Some(event.encode_to_vec().into())
    }

    fn channel(&mut self, event: Event) -> Option<ChannelStateChanged> {
        let change = |channel_id: ChannelId,
                      user_channel_id: UserChannelId,
                      state: ChannelState| ChannelStateChanged {
            channel_id: channel_id.to_string(),
            user_channel_id: user_channel_id.0.to_string(),
            state: state.into(),
            ..Default::default()
        };
        match event {
            Event::ChannelPending {
                channel_id,
                user_channel_id,
                counterparty_node_id,
                funding_txo,
                ..
            } => {
                info!(
                    "CHANNEL_PENDING: {channel_id} with {counterparty_node_id}, funded by {funding_txo}"
                );
                Some(ChannelStateChanged {
                    counterparty_node_id: Some(counterparty_node_id.to_string()),
                    funding_txo: Some(funding_txo.to_string()),
                    ..change(channel_id, user_channel_id, ChannelState::Pending)
                })
            }
            Event::ChannelReady {
                channel_id,
                user_channel_id,
                counterparty_node_id,
                funding_txo,
            } => {
                info!("CHANNEL_READY: {channel_id}");
                self.ready.insert(channel_id);
                Some(ChannelStateChanged {
                    counterparty_node_id: counterparty_node_id.map(|id| id.to_string()),
                    funding_txo: funding_txo.map(|outpoint| outpoint.to_string()),
                    ..change(channel_id, user_channel_id, ChannelState::Ready)
                })
            }
            Event::ChannelClosed {
                channel_id,
                user_channel_id,
                counterparty_node_id,
                reason,
            } => {
                let why = reason
                    .as_ref()
                    .map_or_else(|| "for an unknown reason".to_owned(), ToString::to_string);
                info!("CHANNEL_CLOSED: {channel_id}: {why}");
                let was_ready = self.ready.remove(&channel_id);
                let reason = reason.map(|reason| describe(&reason));
                let never_opened =
                    !was_ready && reason.as_ref().is_some_and(|reason| reason.is_open_failure);
                let state = if never_opened {
                    ChannelState::OpenFailed
                } else {
                    ChannelState::Closed
                };
                let initiator = reason
                    .as_ref()
                    .map_or(Initiator::Unspecified, |reason| reason.initiator);
                Some(ChannelStateChanged {
                    counterparty_node_id: counterparty_node_id.map(|id| id.to_string()),
                    closure_initiator: initiator.into(),
                    reason: reason.map(|reason| ChannelStateChangeReason {
                        kind: reason.kind.into(),
                        message: why,
                    }),
                    ..change(channel_id, user_channel_id, state)
                })
            }
            _ => None,
        }
    }
}

fn forwarded(event: &Event) -> Option<Wire> {
    let Event::PaymentForwarded {
        prev_channel_id,
        next_channel_id,
        prev_user_channel_id,
        next_user_channel_id,
        prev_node_id,
        next_node_id,
        total_fee_earned_msat,
        skimmed_fee_msat,
        claim_from_onchain_tx,
        outbound_amount_forwarded_msat,
    } = event
    else {
        return None;
    };
    info!(
        "PAYMENT_FORWARDED: amount_msat {outbound_amount_forwarded_msat:?}, fee_msat {total_fee_earned_msat:?}"
    );
    let htlc =
        |channel: &ChannelId, user: &Option<UserChannelId>, node: Option<String>| HtlcLocator {
            channel_id: channel.to_string(),
            user_channel_id: user.map(|id| id.0.to_string()),
            node_id: node,
        };
    let forwarded_payment = OlderForwardedPayment {
        total_fee_earned_msat: *total_fee_earned_msat,
        skimmed_fee_msat: *skimmed_fee_msat,
        claim_from_onchain_tx: *claim_from_onchain_tx,
        outbound_amount_forwarded_msat: *outbound_amount_forwarded_msat,
        prev_htlcs: vec![htlc(
            prev_channel_id,
            prev_user_channel_id,
            prev_node_id.map(|id| id.to_string()),
        )],
        next_htlcs: vec![htlc(
            next_channel_id,
            next_user_channel_id,
            next_node_id.map(|id| id.to_string()),
        )],
    };
    let body = OlderPaymentForwarded {
        forwarded_payment: Some(forwarded_payment),
    };
    Some(Wire::PaymentForwarded(body.encode_to_vec().into()))
}

struct Closure {
    kind: Kind,
    initiator: Initiator,
    /// Whether it means that the channel failed to open, if it never was ready.
    is_open_failure: bool,
}

fn describe(reason: &ClosureReason) -> Closure {
    use ClosureReason as R;
    let (kind, initiator, is_open_failure) = match reason {
        R::CounterpartyForceClosed { .. } => {
            (Kind::CounterpartyForceClosed, Initiator::Remote, false)
        }
        R::HolderForceClosed { .. } => (Kind::HolderForceClosed, Initiator::Local, false),
        R::LegacyCooperativeClosure => (Kind::LegacyCooperativeClosure, Initiator::Unknown, false),
        R::CounterpartyInitiatedCooperativeClosure => (
            Kind::CounterpartyInitiatedCooperativeClosure,
            Initiator::Remote,
            false,
        ),
        R::LocallyInitiatedCooperativeClosure => (
            Kind::LocallyInitiatedCooperativeClosure,
            Initiator::Local,
            false,
        ),
        R::CommitmentTxConfirmed => (Kind::CommitmentTxConfirmed, Initiator::Unknown, false),
        R::FundingTimedOut => (Kind::FundingTimedOut, Initiator::Unknown, true),
        R::ProcessingError { .. } => (Kind::ProcessingError, Initiator::Unknown, false),
        R::DisconnectedPeer => (Kind::DisconnectedPeer, Initiator::Unknown, true),
        R::OutdatedChannelManager => (Kind::OutdatedChannelManager, Initiator::Unknown, false),
        R::CounterpartyCoopClosedUnfundedChannel => (
            Kind::CounterpartyCoopClosedUnfundedChannel,
            Initiator::Remote,
            true,
        ),
        R::LocallyCoopClosedUnfundedChannel => (
            Kind::LocallyCoopClosedUnfundedChannel,
            Initiator::Local,
            true,
        ),
        R::FundingBatchClosure => (Kind::FundingBatchClosure, Initiator::Unknown, true),
        R::HTLCsTimedOut { .. } => (Kind::HtlcsTimedOut, Initiator::Unknown, false),
        R::PeerFeerateTooLow { .. } => (Kind::PeerFeerateTooLow, Initiator::Unknown, false),
    };
    Closure {
        kind,
        initiator,
        is_open_failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_channel_closed() {
        let cases = [
            (
                ClosureReason::DisconnectedPeer,
                Kind::DisconnectedPeer,
                Initiator::Unknown,
                true,
            ),
            (
                ClosureReason::CommitmentTxConfirmed,
                Kind::CommitmentTxConfirmed,
                Initiator::Unknown,
                false,
            ),
            (
                ClosureReason::HolderForceClosed {
                    broadcasted_latest_txn: Some(true),
                    message: String::new(),
                },
                Kind::HolderForceClosed,
                Initiator::Local,
                false,
            ),
            (
                ClosureReason::CounterpartyInitiatedCooperativeClosure,
                Kind::CounterpartyInitiatedCooperativeClosure,
                Initiator::Remote,
                false,
            ),
        ];
        for (reason, kind, initiator, is_open_failure) in cases {
            let closure = describe(&reason);
            assert_eq!(
                (closure.kind, closure.initiator, closure.is_open_failure),
                (kind, initiator, is_open_failure)
            );
        }
    }
}
