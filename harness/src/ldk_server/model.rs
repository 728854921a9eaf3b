//! What an ldk-server tells, in types: ids and amounts are parsed once, here.

use std::fmt;
use std::str::FromStr;

use bitcoin::secp256k1::PublicKey;
use bitcoin::{BlockHash, OutPoint, Txid};
use ldk_server_client::{api, types};
use serde::Serialize;
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat};

/// An answer that does not have the form the API promises.
#[derive(Debug, thiserror::Error)]
#[error("field {field} is not {expected}: `{found}`")]
pub struct MalformedAnswer {
    /// The field of the message.
    pub field: &'static str,
    /// What it should hold.
    pub expected: &'static str,
    /// What it holds.
    pub found: String,
}

fn parse<T: FromStr>(
    field: &'static str,
    expected: &'static str,
    text: &str,
) -> Result<T, MalformedAnswer> {
    text.parse().map_err(|_| MalformedAnswer {
        field,
        expected,
        found: text.to_owned(),
    })
}

/// A node's identity and how far it has followed the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its public key (BOLT 1).
    pub node_id: PublicKey,
    /// The block its wallets have reached.
    pub height: Height,
    /// That block's hash.
    pub block_hash: BlockHash,
}

/// A node's coins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balances {
    /// All its coins on the chain, unconfirmed ones included.
    pub onchain_total: Sat,
    /// What it can spend of them now; the reserve for anchor channels (25,000 sat each) is left out.
    pub onchain_spendable: Sat,
    /// What it would get if all its channels closed now.
    pub lightning: Sat,
    /// Outputs of closed channels whose transaction to its wallet is broadcast and not confirmed.
    pub sweeps: usize,
}

/// One node's view of one of its channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelView {
    /// The id that both sides share (BOLT 2); temporary until the funding transaction is known.
    pub channel_id: String,
    /// The id that this node's own API takes.
    pub user_channel_id: u128,
    /// The other side.
    pub counterparty: PublicKey,
    /// The output that holds the channel's coins, once it is known.
    pub funding: Option<OutPoint>,
    /// Its capacity.
    pub size: Sat,
    /// What this side could send, reserves left out.
    pub outbound: Msat,
    /// What this side could receive, reserves left out.
    pub inbound: Msat,
    /// What HTLCs hold of it, with the anchor outputs; see [`LdkServer::is_settling`](super::LdkServer::is_settling).
    pub committed: Msat,
    /// Confirmations of the funding transaction.
    pub confirmations: BlockDelta,
    /// Both sides have seen enough confirmations.
    pub is_ready: bool,
    /// Ready, and the other side is connected.
    pub is_usable: bool,
}

/// Which way a payment goes, seen from the node that tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// Where a payment stands, in the words of the node's store. `Failed` of an inbound payment proves nothing: its invoice
/// can still be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentStatus {
    Pending,
    Succeeded,
    Failed,
}

/// One node's view of one BOLT 11 payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymentView {
    /// The hash of the invoice.
    pub hash: PaymentHash,
    /// Opens the hash; known to the payer once the payment has succeeded.
    pub preimage: Option<Preimage>,
    pub direction: Direction,
    pub status: PaymentStatus,
    /// The amount, without the fee.
    pub amount: Option<Msat>,
    /// The fee that the payer paid on top.
    pub fee: Option<Msat>,
}

impl TryFrom<api::GetNodeInfoResponse> for NodeInfo {
    type Error = MalformedAnswer;

    fn try_from(info: api::GetNodeInfoResponse) -> Result<Self, MalformedAnswer> {
        let best = info.current_best_block.ok_or_else(|| MalformedAnswer {
            field: "current_best_block",
            expected: "a block",
            found: "nothing".into(),
        })?;
        Ok(NodeInfo {
            node_id: parse("node_id", "a public key", &info.node_id)?,
            height: Height(best.height),
            block_hash: parse(
                "current_best_block.block_hash",
                "a block hash",
                &best.block_hash,
            )?,
        })
    }
}

/// An HTLC in one of a node's commitment transactions whose outcome is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Htlc {
    /// What opens it.
    pub hash: PaymentHash,
    /// Whether it goes to this node, which takes it with the preimage.
    pub inbound: bool,
    /// What it moves, rounded down.
    pub amount: Sat,
}

impl Htlc {
    /// The HTLC that a balance stands for; `None` for a balance of another kind.
    pub(super) fn of(balance: &types::LightningBalance) -> Option<Result<Self, MalformedAnswer>> {
        use types::lightning_balance::BalanceType;
        let (hash, inbound, amount) = match balance.balance_type.as_ref()? {
            BalanceType::MaybePreimageClaimableHtlc(htlc) => {
                (&htlc.payment_hash, true, htlc.amount_satoshis)
            }
            BalanceType::MaybeTimeoutClaimableHtlc(htlc) => {
                (&htlc.payment_hash, false, htlc.amount_satoshis)
            }
            BalanceType::ContentiousClaimable(_)
            | BalanceType::ClaimableOnChannelClose(_)
            | BalanceType::ClaimableAwaitingConfirmations(_)
            | BalanceType::CounterpartyRevokedOutputClaimable(_) => return None,
        };
        let hash = parse("payment_hash", "32 bytes in hex", hash);
        Some(hash.map(|hash| Htlc {
            hash,
            inbound,
            amount: Sat(amount),
        }))
    }
}

/// What HTLCs hold of a channel: what neither side can send now, reserves apart. The API does not list them all, but
/// they are missing from both capacities. Two anchor outputs of 330 sat are missing, too, where there are any.
fn committed(channel: &types::Channel) -> Msat {
    let sat = |sat: u64| sat.saturating_mul(1_000);
    let reserves = channel.unspendable_punishment_reserve.unwrap_or(0)
        + channel.counterparty_unspendable_punishment_reserve;
    let sendable = sat(channel.channel_value_sats).saturating_sub(sat(reserves));
    Msat(
        sendable.saturating_sub(
            channel
                .inbound_capacity_msat
                .saturating_add(channel.outbound_capacity_msat),
        ),
    )
}

impl From<api::GetBalancesResponse> for Balances {
    fn from(balances: api::GetBalancesResponse) -> Self {
        Balances {
            onchain_total: Sat(balances.total_onchain_balance_sats),
            onchain_spendable: Sat(balances.spendable_onchain_balance_sats),
            lightning: Sat(balances.total_lightning_balance_sats),
            sweeps: balances
                .pending_balances_from_channel_closures
                .iter()
                .filter(|sweep| is_broadcast(sweep))
                .count(),
        }
    }
}

fn is_broadcast(sweep: &types::PendingSweepBalance) -> bool {
    use types::pending_sweep_balance::BalanceType;
    matches!(
        sweep.balance_type,
        Some(BalanceType::BroadcastAwaitingConfirmation(_))
    )
}

impl TryFrom<types::Channel> for ChannelView {
    type Error = MalformedAnswer;

    fn try_from(channel: types::Channel) -> Result<Self, MalformedAnswer> {
        let committed = committed(&channel);
        let funding = match channel.funding_txo {
            Some(txo) => {
                let txid: Txid = parse("funding_txo.txid", "a transaction id", &txo.txid)?;
                Some(OutPoint::new(txid, txo.vout))
            }
            None => None,
        };
        Ok(ChannelView {
            counterparty: parse(
                "counterparty_node_id",
                "a public key",
                &channel.counterparty_node_id,
            )?,
            user_channel_id: parse(
                "user_channel_id",
                "a decimal number of 128 bits",
                &channel.user_channel_id,
            )?,
            channel_id: channel.channel_id,
            funding,
            size: Sat(channel.channel_value_sats),
            outbound: Msat(channel.outbound_capacity_msat),
            inbound: Msat(channel.inbound_capacity_msat),
            committed,
            confirmations: BlockDelta(channel.confirmations.unwrap_or(0)),
            is_ready: channel.is_channel_ready,
            is_usable: channel.is_usable,
        })
    }
}

impl PaymentView {
    /// The view of a BOLT 11 payment; `None` for one of another kind.
    pub(super) fn bolt11(payment: &types::Payment) -> Result<Option<Self>, MalformedAnswer> {
        let Some(types::payment_kind::Kind::Bolt11(bolt11)) =
            payment.kind.as_ref().and_then(|k| k.kind.as_ref())
        else {
            return Ok(None);
        };
        let preimage = bolt11
            .preimage
            .as_deref()
            .map(|p| parse("preimage", "32 bytes in hex", p))
            .transpose()?;
        Ok(Some(PaymentView {
            hash: parse("hash", "32 bytes in hex", &bolt11.hash)?,
            preimage,
            direction: match payment.direction() {
                types::PaymentDirection::Inbound => Direction::Inbound,
                types::PaymentDirection::Outbound => Direction::Outbound,
            },
            status: match payment.status() {
                types::PaymentStatus::Pending => PaymentStatus::Pending,
                types::PaymentStatus::Succeeded => PaymentStatus::Succeeded,
                types::PaymentStatus::Failed => PaymentStatus::Failed,
            },
            amount: payment.amount_msat.map(Msat),
            fee: payment.fee_paid_msat.map(Msat),
        }))
    }
}

impl fmt::Display for PaymentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PaymentStatus::Pending => "pending",
            PaymentStatus::Succeeded => "succeeded",
            PaymentStatus::Failed => "failed",
        })
    }
}
