//! What a world does with two of its nodes: channels that are usable, payments that have settled. Both sides are asked,
//! because each knows only its own.

use std::sync::atomic::{AtomicBool, Ordering};

use bitcoin::{OutPoint, Txid};
use swaprig_units::{BlockDelta, Msat, PaymentHash, Sat};

use super::{WAIT, World, WorldError, WorldErrorKind};
use crate::ldk_server::{
    ChannelView, Direction, InvoiceRequest, LdkServer, OpenChannel, PaymentStatus, PaymentView,
    RouteLimits,
};
use crate::time::{Deadline, Probe, poll_until};

/// Confirmations after which LDK calls a channel ready.
pub const CHANNEL_DEPTH: BlockDelta = BlockDelta(6);
/// What a node keeps on chain for each anchor channel (25,000 sat), with room for fees.
const ANCHOR_RESERVE: Sat = Sat(100_000);

/// A channel between two nodes of a world, by the names that both sides understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedChannel {
    /// The node that opened it.
    pub opener: String,
    /// The other one.
    pub acceptor: String,
    /// Its capacity.
    pub size: Sat,
    /// The output that holds its coins.
    pub funding: OutPoint,
}

impl World {
    /// Opens a channel and waits until its funding transaction is in the mempool. [`CHANNEL_DEPTH`] blocks make it
    /// ready.
    ///
    /// # Errors
    /// When the opener refuses, or the channel vanishes (the acceptor may refuse it: it needs 25,000 sat of its own on
    /// chain), or `deadline` passes.
    pub async fn open_channel(
        &self,
        opener: &str,
        acceptor: &str,
        size: Sat,
        push: Option<Msat>,
        announce: bool,
        deadline: Deadline,
    ) -> Result<OpenedChannel, WorldError> {
        let (from, to) = (self.node(opener)?, self.node(acceptor)?);
        let request = OpenChannel {
            peer: to.node_id(),
            address: self.peer_address(opener, acceptor)?,
            size,
            push,
            announce,
        };
        let id = from
            .open_channel(&request)
            .await
            .map_err(|e| self.error(e))?;
        let what = format!("the funding transaction of the channel from {opener} to {acceptor}");
        let listed = AtomicBool::new(false);
        let funding = poll_until(what, deadline, || {
            self.look_for_funding(from, acceptor, id, &listed)
        });
        let funding = funding.await.map_err(|e| self.error(e))?;
        Ok(OpenedChannel {
            opener: opener.to_owned(),
            acceptor: acceptor.to_owned(),
            size,
            funding,
        })
    }

    async fn look_for_funding(
        &self,
        opener: &LdkServer,
        acceptor: &str,
        id: u128,
        listed: &AtomicBool,
    ) -> Probe<OutPoint, WorldErrorKind> {
        let look = async {
            let channels = opener.channels().await?;
            let Some(channel) = channels
                .into_iter()
                .find(|channel| channel.user_channel_id == id)
            else {
                return Ok(None);
            };
            listed.store(true, Ordering::Relaxed);
            let Some(funding) = channel.funding else {
                return Ok(Some(Probe::Pending("the nodes negotiate".into())));
            };
            let mempool = self.bitcoind().rpc().mempool(Deadline::after(WAIT)).await?;
            Ok(Some(if mempool.contains(&funding.txid) {
                Probe::Ready(funding)
            } else {
                Probe::Pending(format!("{} is not in bitcoind's mempool", funding.txid))
            }))
        };
        match look.await {
            Ok(Some(probe)) => probe,
            Ok(None) if listed.load(Ordering::Relaxed) => {
                Probe::Fatal(WorldErrorKind::Ruled(format!(
                    "the channel from {} to {acceptor} vanished before it was funded: {acceptor} refused it. \
                 An acceptor needs 25 000 sat of its own on chain",
                    opener.name(),
                )))
            }
            Ok(None) => Probe::Pending("not listed".into()),
            Err(error) => Probe::Fatal(error),
        }
    }

    /// One side's view of a channel; `None` once that side has closed it.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn channel_of(
        &self,
        node: &str,
        channel: &OpenedChannel,
    ) -> Result<Option<ChannelView>, WorldError> {
        let views = self
            .node(node)?
            .channels()
            .await
            .map_err(|e| self.error(e))?;
        Ok(views
            .into_iter()
            .find(|view| view.funding == Some(channel.funding)))
    }

    /// Waits until both sides say that the channel is usable.
    ///
    /// # Errors
    /// When a node does not answer or `deadline` passes.
    pub async fn wait_usable(
        &self,
        channel: &OpenedChannel,
        deadline: Deadline,
    ) -> Result<(), WorldError> {
        for side in [&channel.opener, &channel.acceptor] {
            let what = format!(
                "the channel with {} to be usable on both sides",
                channel.funding.txid
            );
            let usable = poll_until(what, deadline, || async {
                match self.channel_of(side, channel).await {
                    Ok(Some(view)) if view.is_usable => Probe::Ready(()),
                    Ok(Some(view)) => {
                        let ready = if view.is_ready {
                            "ready, peer not connected"
                        } else {
                            "not ready"
                        };
                        Probe::Pending(format!(
                            "{side}: {} confirmations, {ready}",
                            view.confirmations.0
                        ))
                    }
                    Ok(None) => Probe::Pending(format!("{side} does not list it")),
                    Err(error) => Probe::Fatal(error.kind),
                }
            });
            usable.await.map_err(|e| self.error(e))?;
        }
        Ok(())
    }

    /// Gives both nodes coins, opens a channel of `size` and returns when both sides say that it is usable.
    ///
    /// # Errors
    /// When a daemon refuses, does not answer, or takes more than a minute for one of the steps.
    pub async fn open_usable_channel(
        &self,
        opener: &str,
        acceptor: &str,
        size: Sat,
    ) -> Result<OpenedChannel, WorldError> {
        let deadline = Deadline::after(WAIT);
        let too_large = || {
            self.error(WorldErrorKind::Setup(format!(
                "a channel of {size} is too large"
            )))
        };
        let amount = size.checked_add(ANCHOR_RESERVE).ok_or_else(too_large)?;
        tokio::try_join!(
            self.fund(opener, amount),
            self.fund(acceptor, ANCHOR_RESERVE)
        )?;
        self.mine_within(BlockDelta(1), deadline).await?;
        tokio::try_join!(
            self.wait_spendable(opener, amount, deadline),
            self.wait_spendable(acceptor, ANCHOR_RESERVE, deadline)
        )?;
        let channel = self
            .open_channel(opener, acceptor, size, None, false, deadline)
            .await?;
        self.mine_within(CHANNEL_DEPTH, deadline).await?;
        self.wait_usable(&channel, deadline).await?;
        Ok(channel)
    }

    /// Waits until the on-chain wallet of `node` can spend `amount`.
    ///
    /// # Errors
    /// When the node does not answer or `deadline` passes.
    pub async fn wait_spendable(
        &self,
        node: &str,
        amount: Sat,
        deadline: Deadline,
    ) -> Result<(), WorldError> {
        let side = self.node(node)?;
        let spendable = poll_until(
            format!("{node} to have {amount} on chain"),
            deadline,
            || async {
                match side.balances().await {
                    Ok(balances) if balances.onchain_spendable >= amount => Probe::Ready(()),
                    Ok(balances) => {
                        Probe::Pending(format!("{node} has {}", balances.onchain_spendable))
                    }
                    Err(error) => Probe::Fatal(WorldErrorKind::Node(error)),
                }
            },
        );
        spendable.await.map_err(|e| self.error(e))
    }

    /// Makes an invoice of `payee`, pays it from `payer` and returns the payer's view when both sides say that it has
    /// settled.
    ///
    /// # Errors
    /// When a node refuses or does not answer, or the payment fails or takes more than a minute.
    pub async fn pay_and_settle(
        &self,
        payer: &str,
        payee: &str,
        amount: Msat,
    ) -> Result<PaymentView, WorldError> {
        let deadline = Deadline::after(WAIT);
        let request = InvoiceRequest {
            amount: Some(amount),
            description: String::new(),
            expiry: INVOICE_EXPIRY,
        };
        let invoice = self
            .node(payee)?
            .invoice(&request)
            .await
            .map_err(|e| self.error(e))?;
        let pay = self
            .node(payer)?
            .pay(&invoice.bolt11, None, RouteLimits::default());
        pay.await.map_err(|e| self.error(e))?;
        let paid = self
            .wait_settled(payer, invoice.hash, Direction::Outbound, deadline)
            .await?;
        self.wait_settled(payee, invoice.hash, Direction::Inbound, deadline)
            .await?;
        Ok(paid)
    }

    /// Waits until `node` says that a payment has succeeded and its HTLC has left the node's commitment transactions, so
    /// that what was received can be spent.
    ///
    /// # Errors
    /// When the payer's node says that it failed, the node does not answer, or `deadline` passes.
    pub async fn wait_settled(
        &self,
        node: &str,
        hash: PaymentHash,
        direction: Direction,
        deadline: Deadline,
    ) -> Result<PaymentView, WorldError> {
        let side = self.node(node)?;
        let settled = poll_until(
            format!("{node}'s payment {hash} to settle"),
            deadline,
            || async {
                match side.payment(hash, direction).await {
                    Ok(Some(view)) => match (view.status, direction) {
                        (PaymentStatus::Succeeded, _) => match side.is_settling(hash).await {
                            Ok(false) => Probe::Ready(view),
                            Ok(true) => Probe::Pending(format!("{node} still commits to the HTLC")),
                            Err(error) => Probe::Fatal(WorldErrorKind::Node(error)),
                        },
                        (PaymentStatus::Failed, Direction::Outbound) => Probe::Fatal(
                            WorldErrorKind::Ruled(format!("{node}'s payment {hash} failed")),
                        ),
                        (status, _) => Probe::Pending(format!("{node} says {status}")),
                    },
                    Ok(None) => Probe::Pending(format!("{node} does not list it yet")),
                    Err(error) => Probe::Fatal(WorldErrorKind::Node(error)),
                }
            },
        );
        settled.await.map_err(|e| self.error(e))
    }

    /// Whether a transaction waits for a block.
    ///
    /// # Errors
    /// When bitcoind does not answer.
    pub async fn is_in_mempool(&self, txid: Txid) -> Result<bool, WorldError> {
        let mempool = self
            .bitcoind()
            .rpc()
            .mempool(Deadline::after(WAIT))
            .await
            .map_err(|e| self.error(e))?;
        Ok(mempool.contains(&txid))
    }
}

/// An hour, the default of BOLT 11.
pub const INVOICE_EXPIRY: std::time::Duration = std::time::Duration::from_secs(3600);
