//! Events of a node, and one reading of both generations of their encoding.

use bytes::Bytes;
use prost::Message;

use crate::types::Payment;

include!(concat!(env!("OUT_DIR"), "/events.rs"));

/// An event as this project reads it, whichever generation of server sent it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A payment arrived and is settled.
    PaymentReceived(Payment),
    /// A payment we sent is settled.
    PaymentSuccessful(Payment),
    /// A payment we sent has failed for good.
    PaymentFailed(Payment),
    /// A payment for a hold invoice arrived; it waits for a claim or a fail.
    PaymentClaimable {
        /// The payment as stored.
        payment: Payment,
        /// Height at which the server fails it back by itself.
        claim_deadline: Option<u32>,
    },
    /// A payment passed through this node.
    PaymentForwarded {
        /// What we earned; unset when it was settled on chain.
        total_fee_earned_msat: Option<u64>,
        /// What was passed on.
        outbound_amount_forwarded_msat: Option<u64>,
    },
    /// A channel was negotiated, became ready, failed to open or was closed.
    ChannelStateChanged(ChannelStateChanged),
    /// An event that this version does not know. It can still serve as a hint that something happened.
    Unknown,
}

impl EventEnvelope {
    /// Decodes the event inside.
    ///
    /// # Errors
    /// When the body fits neither generation.
    pub fn decode_event(&self) -> Result<Event, prost::DecodeError> {
        use event_envelope::Event as Raw;
        Ok(match &self.event {
            Some(Raw::PaymentReceived(body)) => Event::PaymentReceived(decode_payment(body)?),
            Some(Raw::PaymentSuccessful(body)) => Event::PaymentSuccessful(decode_payment(body)?),
            Some(Raw::PaymentFailed(body)) => Event::PaymentFailed(decode_payment(body)?),
            Some(Raw::PaymentClaimable(body)) => decode_claimable(body)?,
            Some(Raw::PaymentForwarded(body)) => decode_forwarded(body)?,
            Some(Raw::ChannelStateChanged(change)) => Event::ChannelStateChanged(change.clone()),
            None => Event::Unknown,
        })
    }

    /// Encodes a settled or failed payment as servers up to mid 2026 do.
    pub fn older_payment(
        wrap: fn(Bytes) -> event_envelope::Event,
        event: &OlderPaymentEvent,
    ) -> Self {
        Self {
            event: Some(wrap(event.encode_to_vec().into())),
        }
    }
}

/// In the newer generation field 2 is the payment, in the older one field 1. A newer body has an id in field 1, which
/// is no payment, so trying the newer first and requiring a payment in it tells them apart.
fn is_newer(body: &Bytes) -> bool {
    matches!(NewerPaymentEvent::decode(body.clone()), Ok(NewerPaymentEvent { payment: Some(payment), payment_id })
        if payment.kind.is_some() && is_hex_id(&payment_id))
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn decode_payment(body: &Bytes) -> Result<Payment, prost::DecodeError> {
    if is_newer(body) {
        Ok(NewerPaymentEvent::decode(body.clone())?
            .payment
            .unwrap_or_default())
    } else {
        Ok(OlderPaymentEvent::decode(body.clone())?
            .payment
            .unwrap_or_default())
    }
}

fn decode_claimable(body: &Bytes) -> Result<Event, prost::DecodeError> {
    let (payment, claim_deadline) = if is_newer(body) {
        let event = NewerPaymentClaimable::decode(body.clone())?;
        (event.payment, event.claim_deadline)
    } else {
        let event = OlderPaymentEvent::decode(body.clone())?;
        (event.payment, event.claim_deadline)
    };
    Ok(Event::PaymentClaimable {
        payment: payment.unwrap_or_default(),
        claim_deadline,
    })
}

fn decode_forwarded(body: &Bytes) -> Result<Event, prost::DecodeError> {
    // Every newer body lists the HTLCs it came in by; read as one, an older body does not decode, or names no channel.
    let newer = NewerPaymentForwarded::decode(body.clone())
        .ok()
        .filter(|event| {
            !event.prev_htlcs.is_empty()
                && event
                    .prev_htlcs
                    .iter()
                    .all(|htlc| is_hex_id(&htlc.channel_id))
        });
    Ok(match newer {
        Some(event) => Event::PaymentForwarded {
            total_fee_earned_msat: event.total_fee_earned_msat,
            outbound_amount_forwarded_msat: event.outbound_amount_forwarded_msat,
        },
        None => {
            let event = OlderPaymentForwarded::decode(body.clone())?
                .forwarded_payment
                .unwrap_or_default();
            Event::PaymentForwarded {
                total_fee_earned_msat: event.total_fee_earned_msat,
                outbound_amount_forwarded_msat: event.outbound_amount_forwarded_msat,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::event_envelope::Event as Raw;
    use super::*;
    use crate::types::{Bolt11, CustomTlvRecord, PaymentKind, payment_kind::Kind};

    fn payment() -> Payment {
        let hash = "cd".repeat(32);
        Payment {
            id: hash.clone(),
            kind: Some(PaymentKind {
                kind: Some(Kind::Bolt11(Bolt11 {
                    hash,
                    ..Default::default()
                })),
            }),
            amount_msat: Some(10_000_000),
            ..Default::default()
        }
    }

    fn through_the_wire(event: Raw) -> Event {
        let bytes = EventEnvelope { event: Some(event) }.encode_to_vec();
        EventEnvelope::decode(&bytes[..])
            .unwrap()
            .decode_event()
            .unwrap()
    }

    fn record() -> CustomTlvRecord {
        CustomTlvRecord {
            type_num: 65_537,
            value: Bytes::from_static(b"note"),
        }
    }

    #[test]
    fn payments_of_both_generations() {
        let older = OlderPaymentEvent {
            payment: Some(payment()),
            custom_records: vec![record()],
            claim_deadline: None,
        };
        let newer = NewerPaymentEvent {
            payment_id: payment().id,
            payment: Some(payment()),
        };
        for body in [
            Bytes::from(older.encode_to_vec()),
            newer.encode_to_vec().into(),
        ] {
            assert_eq!(
                through_the_wire(Raw::PaymentReceived(body.clone())),
                Event::PaymentReceived(payment())
            );
            assert_eq!(
                through_the_wire(Raw::PaymentSuccessful(body.clone())),
                Event::PaymentSuccessful(payment())
            );
            assert_eq!(
                through_the_wire(Raw::PaymentFailed(body)),
                Event::PaymentFailed(payment())
            );
        }
    }

    #[test]
    fn held_payments_of_both_generations() {
        let older = OlderPaymentEvent {
            payment: Some(payment()),
            custom_records: vec![record()],
            claim_deadline: Some(117),
        };
        let newer = NewerPaymentClaimable {
            payment_id: payment().id,
            payment: Some(payment()),
            custom_records: vec![record()],
            claim_deadline: Some(117),
            claimable_amount_msat: 10_000_000,
        };
        let expected = Event::PaymentClaimable {
            payment: payment(),
            claim_deadline: Some(117),
        };
        for body in [
            Bytes::from(older.encode_to_vec()),
            newer.encode_to_vec().into(),
        ] {
            assert_eq!(through_the_wire(Raw::PaymentClaimable(body)), expected);
        }
    }

    #[test]
    fn forwarded_payments_of_both_generations() {
        let htlc = HtlcLocator {
            channel_id: "ab".repeat(32),
            ..Default::default()
        };
        for fee in [Some(1000), None] {
            let older = OlderPaymentForwarded {
                forwarded_payment: Some(OlderForwardedPayment {
                    total_fee_earned_msat: fee,
                    outbound_amount_forwarded_msat: Some(5_000_000),
                    prev_htlcs: vec![htlc.clone()],
                    next_htlcs: vec![htlc.clone()],
                    ..Default::default()
                }),
            };
            let newer = NewerPaymentForwarded {
                total_fee_earned_msat: fee,
                outbound_amount_forwarded_msat: Some(5_000_000),
                prev_htlcs: vec![htlc.clone()],
                next_htlcs: vec![htlc.clone()],
                ..Default::default()
            };
            let expected = Event::PaymentForwarded {
                total_fee_earned_msat: fee,
                outbound_amount_forwarded_msat: Some(5_000_000),
            };
            for body in [
                Bytes::from(older.encode_to_vec()),
                newer.encode_to_vec().into(),
            ] {
                assert_eq!(through_the_wire(Raw::PaymentForwarded(body)), expected);
            }
        }
    }

    #[test]
    fn an_event_of_the_future_is_unknown_rather_than_an_error() {
        // Field 9, length-delimited, one byte.
        let envelope = EventEnvelope::decode(&[0x4a, 0x01, 0x00][..]).unwrap();
        assert_eq!(envelope.decode_event().unwrap(), Event::Unknown);
    }
}
