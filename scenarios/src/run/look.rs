//! How the fields of channels, invoices and payments that change with time are looked up.

use bitcoin::Txid;
use swaprig_harness::World;
use swaprig_harness::ldk_server::{Direction, PaymentStatus as NodeStatus, PaymentView};
use swaprig_harness::time::Deadline;
use swaprig_harness::world::{OpenedChannel, WAIT};
use swaprig_units::PaymentHash;

use super::{BoxFuture, StepFailure};
use crate::entities::{
    Asset, Channel, ChannelState, Closing, FundingTx, HoldInvoice, Invoice, InvoiceStatus,
    LiquidTransaction, Mined, Payment, PaymentStatus,
};
use crate::lang::{Readable as _, Value};

/// Looks up the fields of an entity that are not known when its step ends.
pub trait Look {
    /// The value of `field` now; `None` when it has none yet.
    ///
    /// # Errors
    /// When a daemon does not answer.
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        let _ = (field, world);
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl Look for FundingTx {}
impl Look for Mined {}

impl Look for LiquidTransaction {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        liquid_confirmations(self.txid, field, world)
    }
}

impl Look for Asset {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        liquid_confirmations(self.txid, field, world)
    }
}

/// How deep a transaction on Liquid is.
fn liquid_confirmations<'a>(
    txid: Txid,
    field: &'a str,
    world: &'a World,
) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
    Box::pin(async move {
        if field != "confirmations" {
            return Ok(None);
        }
        let deadline = Deadline::after(WAIT);
        Ok(world.liquid_confirmations(txid, deadline).await?.read())
    })
}

impl Look for Channel {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            let OpenedChannel {
                opener, acceptor, ..
            } = &self.opened;
            let view = world.channel_of(opener, &self.opened).await?;
            Ok(match (field, view) {
                ("state", None) => ChannelState::Closed.read(),
                ("state", Some(view)) if view.is_usable => {
                    match usable(world, acceptor, &self.opened).await? {
                        true => ChannelState::Usable.read(),
                        false => ChannelState::Ready.read(),
                    }
                }
                ("state", Some(view)) if view.is_ready => ChannelState::Ready.read(),
                ("state", Some(_)) => ChannelState::Pending.read(),
                ("confirmations", Some(view)) => u64::from(view.confirmations.0).read(),
                ("outbound", Some(view)) => view.outbound.read(),
                ("inbound", Some(view)) => view.inbound.read(),
                _ => None,
            })
        })
    }
}

/// Whether a node that runs says that it can use the channel.
async fn usable(world: &World, node: &str, channel: &OpenedChannel) -> Result<bool, StepFailure> {
    if !world.node(node)?.is_running() {
        return Ok(false);
    }
    Ok(world
        .channel_of(node, channel)
        .await?
        .is_some_and(|view| view.is_usable))
}

impl Look for Closing {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            if field != "state" {
                return Ok(None);
            }
            let view = world.channel_of(&self.by.0, &self.channel.opened).await?;
            if view.is_none() {
                Ok(ChannelState::Closed.read())
            } else {
                self.channel.look(field, world).await
            }
        })
    }
}

impl Look for Invoice {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            if field == "expired" {
                let expired = world.node(&self.payee.0)?.has_expired(&self.bolt11).await;
                return Ok(expired.map_err(|e| world.error(e))?.read());
            }
            if field != "status" {
                return Ok(None);
            }
            let status = match payment(world, &self.payee.0, self.hash, Direction::Inbound)
                .await?
                .map(|p| p.status)
            {
                Some(NodeStatus::Succeeded) => InvoiceStatus::Paid,
                // Failed is no end: nodes hold and settle a later payment of the same invoice.
                Some(NodeStatus::Failed | NodeStatus::Pending) | None => {
                    match is_held(world, &self.payee.0, self.hash).await? {
                        true => InvoiceStatus::Held,
                        false => InvoiceStatus::Pending,
                    }
                }
            };
            Ok(status.read())
        })
    }
}

impl Look for HoldInvoice {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        self.invoice.look(field, world)
    }
}

impl Look for Payment {
    fn look<'a>(
        &'a self,
        field: &'a str,
        world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        Box::pin(async move {
            let view = payment(world, &self.payer.0, self.hash, Direction::Outbound).await?;
            Ok(match field {
                "status" => self.status(world, view).await?.read(),
                "preimage" => view.and_then(|view| view.preimage).read(),
                "fee" => view.and_then(|view| view.fee).read(),
                _ => None,
            })
        })
    }
}

impl Payment {
    /// The payer knows only that it is on its way; that it is held, its payee knows, if it is a node of this world.
    async fn status(
        &self,
        world: &World,
        view: Option<PaymentView>,
    ) -> Result<PaymentStatus, StepFailure> {
        Ok(match view.map(|view| view.status) {
            Some(NodeStatus::Succeeded) => PaymentStatus::Succeeded,
            Some(NodeStatus::Failed) => PaymentStatus::Failed,
            Some(NodeStatus::Pending) | None => {
                match is_held(world, &self.payee.0, self.hash).await? {
                    true => PaymentStatus::Held,
                    false => PaymentStatus::Pending,
                }
            }
        })
    }
}

pub(super) async fn payment(
    world: &World,
    node: &str,
    hash: PaymentHash,
    direction: Direction,
) -> Result<Option<PaymentView>, StepFailure> {
    world
        .node(node)?
        .payment(hash, direction)
        .await
        .map_err(|e| world.error(e).into())
}

/// Whether a node holds a payment. One that is down holds what it held, and cannot be asked.
pub(super) async fn is_held(
    world: &World,
    node: &str,
    hash: PaymentHash,
) -> Result<bool, StepFailure> {
    let node = world.node(node)?;
    if !node.is_running() {
        return Ok(false);
    }
    node.holds(hash).await.map_err(|e| world.error(e).into())
}
