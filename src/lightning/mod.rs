//! The Lightning node that a swap is paid to or by: what both sides of a swap ask of it, whichever node it is.
//!
//! It decides nothing: when a payment may be taken or made is said by `crate::swap` and by the buyer.

mod ldk_server;
mod wakes;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use bitcoin::secp256k1::PublicKey;
use futures_util::future::BoxFuture;
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage};

pub use ldk_server::{CredentialSource, LdkServer, LdkServerConfig, SetupError};
pub use wakes::{Wake, Wakes};

/// A Lightning node. Every call is one question or order; none waits for another party.
///
/// After an error of an order ([`LightningError::Unreachable`] above all) it is not known whether it was carried out: ask
/// before repeating it. Nothing here is repeated by itself.
pub trait LightningNode: fmt::Debug + Send + Sync {
    /// Who it is and how far it follows Bitcoin.
    fn info(&self) -> BoxFuture<'_, Result<NodeInfo, LightningError>>;

    /// The largest payment that one of its usable channels could receive now: reserves, what is in flight already and the
    /// channel's own limit of that are left out. Zero without a channel. For a round trip after a payment was taken it may
    /// tell too much: its HTLC is still in the channel and the node does not tell of it.
    fn receivable(&self) -> BoxFuture<'_, Result<Msat, LightningError>>;

    /// Makes an invoice (BOLT 11) for a hash whose preimage the node does not know. A payment of it is held until it is
    /// claimed or failed, or lapses. The same hash asked for again gives another invoice of the same hash.
    fn hold_invoice<'a>(
        &'a self,
        hash: PaymentHash,
        amount: Msat,
        description: &'a str,
        expiry: Duration,
    ) -> BoxFuture<'a, Result<String, LightningError>>;

    /// Makes an invoice (BOLT 11) that settles as soon as it is paid.
    fn invoice<'a>(
        &'a self,
        amount: Msat,
        description: &'a str,
        expiry: Duration,
    ) -> BoxFuture<'a, Result<(String, PaymentHash), LightningError>>;

    /// All payments to it whose HTLCs are in its channels and neither claimed nor failed. Those below the dust limit of a
    /// channel (354 sat) cannot be seen.
    ///
    /// One may be listed a moment before the node would claim it, and without all its parts: see [`LightningNode::claim`].
    fn held(&self) -> BoxFuture<'_, Result<HashMap<PaymentHash, Held>, LightningError>>;

    /// Whether a payment to it has arrived for good.
    fn received(&self, hash: PaymentHash) -> BoxFuture<'_, Result<Received, LightningError>>;

    /// What the invoice of a hash that it made asks for; `None` when it made none, or one without an amount.
    fn asked(&self, hash: PaymentHash) -> BoxFuture<'_, Result<Option<Msat>, LightningError>>;

    /// Takes the held payment of the preimage's hash; `amount` is what its invoice asks for.
    ///
    /// Success proves nothing: a node takes the order silently when nothing is held, or not yet. Repeat it until
    /// [`LightningNode::received`] says yes; that is harmless.
    fn claim(&self, preimage: Preimage, amount: Msat) -> BoxFuture<'_, Result<(), LightningError>>;

    /// Gives the held payment back. The invoice stays payable. Never to be called after a claim was tried: the node would
    /// forget that the payment arrived.
    fn fail(&self, hash: PaymentHash) -> BoxFuture<'_, Result<(), LightningError>>;

    /// Sends a payment on its way; how it ends is told by [`LightningNode::outgoing`]. To be asked before, every time: a
    /// payment that is unknown there was never sent, one that failed there is over and may be sent again.
    fn pay<'a>(
        &'a self,
        invoice: &'a str,
        route: &'a Route,
    ) -> BoxFuture<'a, Result<(), LightningError>>;

    /// Where a payment of its own stands.
    fn outgoing(&self, hash: PaymentHash) -> BoxFuture<'_, Result<Outgoing, LightningError>>;

    /// Tells from now on when a payment may have changed. Hints only: they may be late or missing, so look now and then
    /// without one, too. Must be called inside a tokio runtime.
    fn events(&self) -> Wakes;
}

/// A node's identity and how far it follows the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its public key (BOLT 1).
    pub node_id: PublicKey,
    /// The height of Bitcoin that it has reached.
    pub height: Height,
}

/// A payment that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The Bitcoin height at which the node fails it by itself; of the first part to lapse, if there are several.
    pub until: Height,
    /// What is held. The node tells whole satoshis: each part may be almost a satoshi more.
    pub amount: Msat,
}

/// Whether a payment has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Not, or not yet. A payment that was failed is no different from one that never came.
    No,
    /// It has, for good.
    Yes(Msat),
}

/// Where an outgoing payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// It was never sent.
    Unknown,
    /// On its way, or held by the payee.
    Pending,
    /// It has arrived; the preimage is the proof.
    Succeeded(Preimage),
    /// It has failed for good: nothing of it is in any channel any more.
    Failed,
}

/// What a payment's route may cost, in coins and in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The most that all hops together may take as fee.
    pub max_fee: Msat,
    /// The most Bitcoin blocks for which the payment may lock the payer's coins, the payee's own delta included.
    pub max_total_cltv: BlockDelta,
    /// The most parts that it may be split into.
    pub max_paths: u32,
    /// No part may take more of a channel than one over two to this power; 0: all of it.
    pub max_saturation_power_of_half: u32,
}

impl Route {
    /// A route with limits on its cost; parts and saturation as LDK has them by default.
    pub fn new(max_fee: Msat, max_total_cltv: BlockDelta) -> Self {
        Route {
            max_fee,
            max_total_cltv,
            max_paths: 10,
            max_saturation_power_of_half: 2,
        }
    }
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum LightningError {
    /// No answer came. Whether an order was carried out is not known. It may answer later.
    #[error("the Lightning node at {address} did not answer {method}")]
    Unreachable {
        /// Its `host:port`.
        address: String,
        /// What was asked.
        method: &'static str,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered, and refused.
    #[error("the Lightning node at {address} refused {method}: {message}")]
    Refused {
        /// Its `host:port`.
        address: String,
        /// What was asked.
        method: &'static str,
        /// Its own words.
        message: String,
    },
    /// Its answer does not have the form that its API promises, or it is of a version that is not known here.
    #[error(
        "the Lightning node at {address} answered {method} in a way that cannot be used: {why}"
    )]
    Unusable {
        /// Its `host:port`.
        address: String,
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl LightningError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, LightningError::Unreachable { .. })
    }
}
