//! Values of ldk-node as values of the API.

use std::collections::HashMap;

use ldk_node::config::{ChannelConfig, MaxDustHTLCExposure};
use ldk_node::lightning::chain::channelmonitor::BalanceSource;
use ldk_node::payment::{
    ConfirmationStatus, PaymentDetails, PaymentDirection, PaymentKind, PaymentStatus,
};
use ldk_node::{ChannelDetails, LightningBalance, PeerDetails, PendingSweepBalance};
use ldk_server_protos::types;

pub(crate) fn peer(peer: PeerDetails) -> types::Peer {
    types::Peer {
        node_id: peer.node_id.to_string(),
        address: peer.address.to_string(),
        is_persisted: peer.is_persisted,
        is_connected: peer.is_connected,
    }
}

pub(crate) fn channel(channel: ChannelDetails) -> types::Channel {
    types::Channel {
        channel_id: channel.channel_id.to_string(),
        counterparty_node_id: channel.counterparty_node_id.to_string(),
        funding_txo: channel.funding_txo.map(|outpoint| types::OutPoint {
            txid: outpoint.txid.to_string(),
            vout: outpoint.vout,
        }),
        user_channel_id: channel.user_channel_id.0.to_string(),
        unspendable_punishment_reserve: channel.unspendable_punishment_reserve,
        channel_value_sats: channel.channel_value_sats,
        feerate_sat_per_1000_weight: channel.feerate_sat_per_1000_weight,
        outbound_capacity_msat: channel.outbound_capacity_msat,
        inbound_capacity_msat: channel.inbound_capacity_msat,
        confirmations_required: channel.confirmations_required,
        confirmations: channel.confirmations,
        is_outbound: channel.is_outbound,
        is_channel_ready: channel.is_channel_ready,
        is_usable: channel.is_usable,
        is_announced: channel.is_announced,
        channel_config: Some(channel_config(&channel.config)),
        next_outbound_htlc_limit_msat: channel.next_outbound_htlc_limit_msat,
        next_outbound_htlc_minimum_msat: channel.next_outbound_htlc_minimum_msat,
        force_close_spend_delay: channel.force_close_spend_delay.map(u32::from),
        counterparty_outbound_htlc_minimum_msat: channel.counterparty_outbound_htlc_minimum_msat,
        counterparty_outbound_htlc_maximum_msat: channel.counterparty_outbound_htlc_maximum_msat,
        counterparty_unspendable_punishment_reserve: channel
            .counterparty_unspendable_punishment_reserve,
        counterparty_forwarding_info_fee_base_msat: channel
            .counterparty_forwarding_info_fee_base_msat,
        counterparty_forwarding_info_fee_proportional_millionths: channel
            .counterparty_forwarding_info_fee_proportional_millionths,
        counterparty_forwarding_info_cltv_expiry_delta: channel
            .counterparty_forwarding_info_cltv_expiry_delta
            .map(u32::from),
        short_channel_id: channel.short_channel_id,
        outbound_scid_alias: channel.outbound_scid_alias,
        inbound_scid_alias: channel.inbound_scid_alias,
        inbound_htlc_minimum_msat: channel.inbound_htlc_minimum_msat,
        inbound_htlc_maximum_msat: channel.inbound_htlc_maximum_msat,
    }
}

fn channel_config(config: &ChannelConfig) -> types::ChannelConfig {
    use types::channel_config::MaxDustHtlcExposure as Exposure;
    types::ChannelConfig {
        forwarding_fee_proportional_millionths: Some(config.forwarding_fee_proportional_millionths),
        forwarding_fee_base_msat: Some(config.forwarding_fee_base_msat),
        cltv_expiry_delta: Some(config.cltv_expiry_delta.into()),
        force_close_avoidance_max_fee_satoshis: Some(config.force_close_avoidance_max_fee_satoshis),
        accept_underpaying_htlcs: Some(config.accept_underpaying_htlcs),
        max_dust_htlc_exposure: Some(match config.max_dust_htlc_exposure {
            MaxDustHTLCExposure::FixedLimit { limit_msat } => Exposure::FixedLimitMsat(limit_msat),
            MaxDustHTLCExposure::FeeRateMultiplier { multiplier } => {
                Exposure::FeeRateMultiplier(multiplier)
            }
        }),
    }
}

pub(crate) fn payment(payment: PaymentDetails) -> types::Payment {
    let direction = match payment.direction {
        PaymentDirection::Inbound => types::PaymentDirection::Inbound,
        PaymentDirection::Outbound => types::PaymentDirection::Outbound,
    };
    let status = match payment.status {
        PaymentStatus::Pending => types::PaymentStatus::Pending,
        PaymentStatus::Succeeded => types::PaymentStatus::Succeeded,
        PaymentStatus::Failed => types::PaymentStatus::Failed,
    };
    types::Payment {
        id: payment.id.to_string(),
        kind: Some(types::PaymentKind {
            kind: payment_kind(payment.kind),
        }),
        amount_msat: payment.amount_msat,
        fee_paid_msat: payment.fee_paid_msat,
        direction: direction.into(),
        status: status.into(),
        latest_update_timestamp: payment.latest_update_timestamp,
    }
}

/// Kinds whose number depends on the server's version have no kind here.
fn payment_kind(kind: PaymentKind) -> Option<types::payment_kind::Kind> {
    use types::payment_kind::Kind;
    match kind {
        PaymentKind::Onchain { txid, status } => Some(Kind::Onchain(types::Onchain {
            txid: txid.to_string(),
            status: Some(types::ConfirmationStatus {
                status: Some(confirmation(status)),
            }),
        })),
        PaymentKind::Bolt11 {
            hash,
            preimage,
            secret,
        } => Some(Kind::Bolt11(types::Bolt11 {
            hash: hash.to_string(),
            preimage: preimage.map(|preimage| preimage.to_string()),
            secret: secret.map(|secret| secret.0.to_vec().into()),
            counterparty_skimmed_fee_msat: None,
        })),
        PaymentKind::Bolt11Jit { .. }
        | PaymentKind::Bolt12Offer { .. }
        | PaymentKind::Bolt12Refund { .. }
        | PaymentKind::Spontaneous { .. } => None,
    }
}

fn confirmation(status: ConfirmationStatus) -> types::confirmation_status::Status {
    use types::confirmation_status::Status;
    match status {
        ConfirmationStatus::Confirmed {
            block_hash,
            height,
            timestamp,
        } => Status::Confirmed(types::Confirmed {
            block_hash: block_hash.to_string(),
            height,
            timestamp,
        }),
        ConfirmationStatus::Unconfirmed => Status::Unconfirmed(types::Unconfirmed {}),
    }
}

pub(crate) fn lightning_balance(balance: LightningBalance) -> types::LightningBalance {
    use types::lightning_balance::BalanceType;
    let balance_type = match balance {
        LightningBalance::ClaimableOnChannelClose {
            channel_id,
            counterparty_node_id,
            amount_satoshis,
            transaction_fee_satoshis,
            outbound_payment_htlc_rounded_msat,
            outbound_forwarded_htlc_rounded_msat,
            inbound_claiming_htlc_rounded_msat,
            inbound_htlc_rounded_msat,
        } => BalanceType::ClaimableOnChannelClose(types::ClaimableOnChannelClose {
            channel_id: channel_id.to_string(),
            counterparty_node_id: counterparty_node_id.to_string(),
            amount_satoshis,
            transaction_fee_satoshis,
            outbound_payment_htlc_rounded_msat,
            outbound_forwarded_htlc_rounded_msat,
            inbound_claiming_htlc_rounded_msat,
            inbound_htlc_rounded_msat,
        }),
        LightningBalance::ClaimableAwaitingConfirmations {
            channel_id,
            counterparty_node_id,
            amount_satoshis,
            confirmation_height,
            source,
        } => BalanceType::ClaimableAwaitingConfirmations(types::ClaimableAwaitingConfirmations {
            channel_id: channel_id.to_string(),
            counterparty_node_id: counterparty_node_id.to_string(),
            amount_satoshis,
            confirmation_height,
            source: balance_source(source).into(),
        }),
        LightningBalance::ContentiousClaimable {
            channel_id,
            counterparty_node_id,
            amount_satoshis,
            timeout_height,
            payment_hash,
            payment_preimage,
        } => BalanceType::ContentiousClaimable(types::ContentiousClaimable {
            channel_id: channel_id.to_string(),
            counterparty_node_id: counterparty_node_id.to_string(),
            amount_satoshis,
            timeout_height,
            payment_hash: payment_hash.to_string(),
            payment_preimage: payment_preimage.to_string(),
        }),
        LightningBalance::MaybeTimeoutClaimableHTLC {
            channel_id,
            counterparty_node_id,
            amount_satoshis,
            claimable_height,
            payment_hash,
            outbound_payment,
        } => BalanceType::MaybeTimeoutClaimableHtlc(types::MaybeTimeoutClaimableHtlc {
            channel_id: channel_id.to_string(),
            counterparty_node_id: counterparty_node_id.to_string(),
            amount_satoshis,
            claimable_height,
            payment_hash: payment_hash.to_string(),
            outbound_payment,
        }),
        LightningBalance::MaybePreimageClaimableHTLC {
            channel_id,
            counterparty_node_id,
            amount_satoshis,
            expiry_height,
            payment_hash,
        } => BalanceType::MaybePreimageClaimableHtlc(types::MaybePreimageClaimableHtlc {
            channel_id: channel_id.to_string(),
            counterparty_node_id: counterparty_node_id.to_string(),
            amount_satoshis,
            expiry_height,
            payment_hash: payment_hash.to_string(),
        }),
        LightningBalance::CounterpartyRevokedOutputClaimable {
            channel_id,
            counterparty_node_id,
            amount_satoshis,
        } => BalanceType::CounterpartyRevokedOutputClaimable(
            types::CounterpartyRevokedOutputClaimable {
                channel_id: channel_id.to_string(),
                counterparty_node_id: counterparty_node_id.to_string(),
                amount_satoshis,
            },
        ),
    };
    types::LightningBalance {
        balance_type: Some(balance_type),
    }
}

fn balance_source(source: BalanceSource) -> types::BalanceSource {
    match source {
        BalanceSource::HolderForceClosed => types::BalanceSource::HolderForceClosed,
        BalanceSource::CounterpartyForceClosed => types::BalanceSource::CounterpartyForceClosed,
        BalanceSource::CoopClose => types::BalanceSource::CoopClose,
        BalanceSource::Htlc => types::BalanceSource::Htlc,
    }
}

pub(crate) fn pending_sweep(balance: PendingSweepBalance) -> types::PendingSweepBalance {
    use types::pending_sweep_balance::BalanceType;
    let balance_type = match balance {
        PendingSweepBalance::PendingBroadcast {
            channel_id,
            amount_satoshis,
        } => BalanceType::PendingBroadcast(types::PendingBroadcast {
            channel_id: channel_id.map(|id| id.to_string()),
            amount_satoshis,
        }),
        PendingSweepBalance::BroadcastAwaitingConfirmation {
            channel_id,
            latest_broadcast_height,
            latest_spending_txid,
            amount_satoshis,
        } => BalanceType::BroadcastAwaitingConfirmation(types::BroadcastAwaitingConfirmation {
            channel_id: channel_id.map(|id| id.to_string()),
            latest_broadcast_height,
            latest_spending_txid: latest_spending_txid.to_string(),
            amount_satoshis,
        }),
        PendingSweepBalance::AwaitingThresholdConfirmations {
            channel_id,
            latest_spending_txid,
            confirmation_hash,
            confirmation_height,
            amount_satoshis,
        } => BalanceType::AwaitingThresholdConfirmations(types::AwaitingThresholdConfirmations {
            channel_id: channel_id.map(|id| id.to_string()),
            latest_spending_txid: latest_spending_txid.to_string(),
            confirmation_hash: confirmation_hash.to_string(),
            confirmation_height,
            amount_satoshis,
        }),
    };
    types::PendingSweepBalance {
        balance_type: Some(balance_type),
    }
}

/// The feature bits (BOLT 9) that are set in little-endian flags.
///
/// `names` is LDK's text for features of exactly these flags, `name: status, …`, from which each bit takes its name.
pub(crate) fn features(
    flags: &[u8],
    names: impl Fn(Vec<u8>) -> String,
) -> HashMap<u32, types::Feature> {
    let is_set = |bit: usize| flags[bit / 8] & (1 << (bit % 8)) != 0;
    (0..flags.len() * 8)
        .filter(|bit| is_set(*bit))
        .map(|bit| {
            let mut only_this = vec![0; flags.len()];
            only_this[bit / 8] = 1 << (bit % 8);
            let feature = types::Feature {
                name: feature_name(&names(only_this)),
                is_required: bit % 2 == 0,
            };
            (
                u32::try_from(bit).expect("feature flags are a few dozen bytes"),
                feature,
            )
        })
        .collect()
}

/// The one feature that is not "not supported" in LDK's text.
fn feature_name(text: &str) -> String {
    text.split(", ")
        .filter_map(|part| part.split_once(": "))
        .find(|(_, status)| matches!(*status, "required" | "supported"))
        .map_or_else(|| "unknown".to_owned(), |(name, _)| name.to_owned())
}
