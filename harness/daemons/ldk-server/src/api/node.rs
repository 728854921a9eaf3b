//! The node itself: identity, balances, peers, signatures.

use ldk_node::bitcoin::Network;
use ldk_server_protos::api::{
    ConnectPeerRequest, ConnectPeerResponse, DisconnectPeerRequest, DisconnectPeerResponse,
    GetBalancesRequest, GetBalancesResponse, GetNodeInfoRequest, GetNodeInfoResponse,
    ListPeersRequest, ListPeersResponse, SignMessageRequest, SignMessageResponse,
    VerifySignatureRequest, VerifySignatureResponse,
};
use ldk_server_protos::grpc::Status;
use ldk_server_protos::types;

use super::{Context, parse};
use crate::error::{from_node, invalid};
use crate::{VERSION, convert};

pub(super) fn get_node_info(
    context: &Context,
    _: GetNodeInfoRequest,
) -> Result<GetNodeInfoResponse, Status> {
    context.nudge.look_now();
    let node = &context.node;
    let status = node.status();
    let texts = |addresses: Option<Vec<_>>| {
        addresses
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<String>>()
    };
    let node_id = node.node_id().to_string();
    let listening_addresses = texts(node.listening_addresses());
    let announcement_addresses = texts(node.announcement_addresses());
    let reachable = if announcement_addresses.is_empty() {
        &listening_addresses
    } else {
        &announcement_addresses
    };
    let network = match node.config().network {
        Network::Bitcoin => types::Network::Bitcoin,
        Network::Testnet => types::Network::Testnet,
        Network::Testnet4 => types::Network::Testnet4,
        Network::Signet => types::Network::Signet,
        Network::Regtest => types::Network::Regtest,
    };
    Ok(GetNodeInfoResponse {
        current_best_block: Some(types::BestBlock {
            block_hash: status.current_best_block.block_hash.to_string(),
            height: status.current_best_block.height,
        }),
        latest_lightning_wallet_sync_timestamp: status.latest_lightning_wallet_sync_timestamp,
        latest_onchain_wallet_sync_timestamp: status.latest_onchain_wallet_sync_timestamp,
        latest_fee_rate_cache_update_timestamp: status.latest_fee_rate_cache_update_timestamp,
        latest_rgs_snapshot_timestamp: status.latest_rgs_snapshot_timestamp,
        latest_node_announcement_broadcast_timestamp: status
            .latest_node_announcement_broadcast_timestamp,
        latest_pathfinding_scores_sync_timestamp: status.latest_pathfinding_scores_sync_timestamp,
        node_alias: node.node_alias().map(|alias| alias.to_string()),
        node_uris: reachable
            .iter()
            .map(|address| format!("{node_id}@{address}"))
            .collect(),
        network: network.into(),
        // ldk-node 0.7 does not tell them.
        features: Default::default(),
        version: VERSION.to_owned(),
        node_id,
        listening_addresses,
        announcement_addresses,
    })
}

pub(super) fn get_balances(
    context: &Context,
    _: GetBalancesRequest,
) -> Result<GetBalancesResponse, Status> {
    context.nudge.look_now();
    let balances = context.node.list_balances();
    Ok(GetBalancesResponse {
        total_onchain_balance_sats: balances.total_onchain_balance_sats,
        spendable_onchain_balance_sats: balances.spendable_onchain_balance_sats,
        total_anchor_channels_reserve_sats: balances.total_anchor_channels_reserve_sats,
        total_lightning_balance_sats: balances.total_lightning_balance_sats,
        lightning_balances: balances
            .lightning_balances
            .into_iter()
            .map(convert::lightning_balance)
            .collect(),
        pending_balances_from_channel_closures: balances
            .pending_balances_from_channel_closures
            .into_iter()
            .map(convert::pending_sweep)
            .collect(),
    })
}

pub(super) fn connect_peer(
    context: &Context,
    request: ConnectPeerRequest,
) -> Result<ConnectPeerResponse, Status> {
    let node_id = parse::node_id(&request.node_pubkey)?;
    let address = parse::address(&request.address)?;
    context
        .node
        .connect(node_id, address, request.persist)
        .map_err(from_node)?;
    Ok(ConnectPeerResponse {})
}

pub(super) fn disconnect_peer(
    context: &Context,
    request: DisconnectPeerRequest,
) -> Result<DisconnectPeerResponse, Status> {
    context
        .node
        .disconnect(parse::node_id(&request.node_pubkey)?)
        .map_err(from_node)?;
    Ok(DisconnectPeerResponse {})
}

pub(super) fn list_peers(
    context: &Context,
    _: ListPeersRequest,
) -> Result<ListPeersResponse, Status> {
    Ok(ListPeersResponse {
        peers: context
            .node
            .list_peers()
            .into_iter()
            .map(convert::peer)
            .collect(),
    })
}

pub(super) fn sign_message(
    context: &Context,
    request: SignMessageRequest,
) -> Result<SignMessageResponse, Status> {
    Ok(SignMessageResponse {
        signature: context.node.sign_message(&request.message),
    })
}

pub(super) fn verify_signature(
    context: &Context,
    request: VerifySignatureRequest,
) -> Result<VerifySignatureResponse, Status> {
    let public_key = request
        .public_key
        .parse()
        .map_err(|_| invalid("Invalid public_key provided."))?;
    let valid = context
        .node
        .verify_signature(&request.message, &request.signature, &public_key);
    Ok(VerifySignatureResponse { valid })
}
