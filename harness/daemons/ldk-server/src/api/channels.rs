//! Channels: open, close, configure, list.

use ldk_node::config::{ChannelConfig, MaxDustHTLCExposure};
use ldk_server_protos::api::open_channel_request::Amount;
use ldk_server_protos::api::{
    CloseChannelRequest, CloseChannelResponse, ForceCloseChannelRequest, ForceCloseChannelResponse,
    ListChannelsRequest, ListChannelsResponse, OpenChannelRequest, OpenChannelResponse,
    UpdateChannelConfigRequest, UpdateChannelConfigResponse,
};
use ldk_server_protos::grpc::{Code, Status};
use ldk_server_protos::types;
use ldk_server_protos::types::channel_config::MaxDustHtlcExposure as Exposure;

use super::{Context, parse};
use crate::convert;
use crate::error::{from_node, invalid};

pub(super) fn open_channel(
    context: &Context,
    request: OpenChannelRequest,
) -> Result<OpenChannelResponse, Status> {
    let node_id = parse::node_id(&request.node_pubkey)?;
    let address = parse::address(&request.address)?;
    let amount = match request.amount {
        Some(Amount::ChannelAmountSats(amount)) => amount,
        Some(Amount::AllFunds(_)) => {
            return Err(invalid(
                "all_funds is not supported by the bundled ldk-server",
            ));
        }
        None => return Err(invalid("Must specify an exact channel amount")),
    };
    if request.disable_counterparty_reserve {
        return Err(invalid(
            "disable_counterparty_reserve is not supported by the bundled ldk-server",
        ));
    }
    let config = request
        .channel_config
        .map(|changes| apply(changes, ChannelConfig::default()))
        .transpose()?;
    let push = request.push_to_counterparty_msat;
    let opened = if request.announce_channel {
        context
            .node
            .open_announced_channel(node_id, address, amount, push, config)
    } else {
        context
            .node
            .open_channel(node_id, address, amount, push, config)
    };
    let user_channel_id = opened.map_err(from_node)?.0.to_string();
    Ok(OpenChannelResponse { user_channel_id })
}

/// As upstream, this succeeds when there is no such channel.
pub(super) fn close_channel(
    context: &Context,
    request: CloseChannelRequest,
) -> Result<CloseChannelResponse, Status> {
    let channel = parse::user_channel_id(&request.user_channel_id)?;
    let counterparty = parse::counterparty(&request.counterparty_node_id)?;
    context
        .node
        .close_channel(&channel, counterparty)
        .map_err(from_node)?;
    Ok(CloseChannelResponse {})
}

/// As upstream, this succeeds when there is no such channel.
pub(super) fn force_close_channel(
    context: &Context,
    request: ForceCloseChannelRequest,
) -> Result<ForceCloseChannelResponse, Status> {
    let channel = parse::user_channel_id(&request.user_channel_id)?;
    let counterparty = parse::counterparty(&request.counterparty_node_id)?;
    context
        .node
        .force_close_channel(&channel, counterparty, request.force_close_reason)
        .map_err(from_node)?;
    Ok(ForceCloseChannelResponse {})
}

pub(super) fn update_channel_config(
    context: &Context,
    request: UpdateChannelConfigRequest,
) -> Result<UpdateChannelConfigResponse, Status> {
    let id = parse::user_channel_id(&request.user_channel_id)?;
    let present = context
        .node
        .list_channels()
        .into_iter()
        .find(|channel| channel.user_channel_id == id);
    let present = present.ok_or_else(|| invalid("Channel not found for given user_channel_id."))?;
    let changes = request
        .channel_config
        .ok_or_else(|| invalid("Channel config must be provided."))?;
    let config = apply(changes, present.config)?;
    let counterparty = parse::counterparty(&request.counterparty_node_id)?;
    context
        .node
        .update_channel_config(&id, counterparty, config)
        .map_err(|error| {
            Status::new(
                Code::FailedPrecondition,
                format!("Failed to update channel config: {error}"),
            )
        })?;
    Ok(UpdateChannelConfigResponse {})
}

pub(super) fn list_channels(
    context: &Context,
    _: ListChannelsRequest,
) -> Result<ListChannelsResponse, Status> {
    context.nudge.look_now();
    Ok(ListChannelsResponse {
        channels: context
            .node
            .list_channels()
            .into_iter()
            .map(convert::channel)
            .collect(),
    })
}

/// A configuration with some fields changed.
fn apply(
    changes: types::ChannelConfig,
    mut config: ChannelConfig,
) -> Result<ChannelConfig, Status> {
    if let Some(fee) = changes.forwarding_fee_proportional_millionths {
        config.forwarding_fee_proportional_millionths = fee;
    }
    if let Some(fee) = changes.forwarding_fee_base_msat {
        config.forwarding_fee_base_msat = fee;
    }
    if let Some(delta) = changes.cltv_expiry_delta {
        config.cltv_expiry_delta = u16::try_from(delta).map_err(|_| {
            invalid(format!(
                "Invalid cltv_expiry_delta, must be between 0 and {}",
                u16::MAX
            ))
        })?;
    }
    if let Some(fee) = changes.force_close_avoidance_max_fee_satoshis {
        config.force_close_avoidance_max_fee_satoshis = fee;
    }
    if let Some(accept) = changes.accept_underpaying_htlcs {
        config.accept_underpaying_htlcs = accept;
    }
    match changes.max_dust_htlc_exposure {
        Some(Exposure::FixedLimitMsat(limit_msat)) => {
            config.max_dust_htlc_exposure = MaxDustHTLCExposure::FixedLimit { limit_msat };
        }
        Some(Exposure::FeeRateMultiplier(multiplier)) => {
            config.max_dust_htlc_exposure = MaxDustHTLCExposure::FeeRateMultiplier { multiplier };
        }
        None => {}
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_fields_stay_as_they_are() {
        let present = ChannelConfig {
            forwarding_fee_base_msat: 7,
            cltv_expiry_delta: 99,
            ..Default::default()
        };
        let changes = types::ChannelConfig {
            forwarding_fee_proportional_millionths: Some(5),
            max_dust_htlc_exposure: Some(Exposure::FixedLimitMsat(11)),
            ..Default::default()
        };
        let expected = ChannelConfig {
            forwarding_fee_proportional_millionths: 5,
            max_dust_htlc_exposure: MaxDustHTLCExposure::FixedLimit { limit_msat: 11 },
            ..present
        };
        assert_eq!(apply(changes, present), Ok(expected));
        let too_large = types::ChannelConfig {
            cltv_expiry_delta: Some(65_536),
            ..Default::default()
        };
        assert_eq!(
            apply(too_large, present).unwrap_err().code,
            Code::InvalidArgument
        );
    }
}
