//! What the steps on Lightning nodes do.

use std::time::{Duration, Instant};

use bitcoin::OutPoint;
use serde_json::json;
use swaprig_harness::ldk_server::{
    Direction, InvoiceRequest, PaymentStatus as NodeStatus, RouteLimits,
};
use swaprig_harness::time::{Probe, poll_until, unix_ms};
use swaprig_record::{Event, PaymentState};
use swaprig_units::Preimage;

use super::look::{is_held, payment};
use super::{Run, Step, StepFailure};
use crate::entities::{Channel, Closing, HoldInvoice, Invoice, Payment};
use crate::steps::{
    ClaimHoldInvoice, CloseChannel, Connect, FailHoldInvoice, MakeHoldInvoice, MakeInvoice,
    OpenChannel, Pay, ReadInvoice, Until,
};

/// A claim that reached a node before it was ready to claim is lost without a word, so it is repeated until the payment
/// has settled. A claim of what was claimed does nothing.
const CLAIM_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Step for Connect {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let world = run.world;
        let (from, to) = (world.node(&self.connect.0)?, world.node(&self.to.0)?);
        let address = world.peer_address(&self.connect.0, &self.to.0)?;
        let connected = from.connect(to.node_id(), &address, true).await;
        connected.map_err(|error| world.error(error).into())
    }
}

impl Step for OpenChannel {
    async fn run(&self, run: &Run<'_>) -> Result<Channel, StepFailure> {
        let (by, to) = (&self.by.0, &self.open_channel.0);
        let opened = run
            .world
            .open_channel(by, to, self.size, self.push, self.announce, run.deadline)
            .await?;
        Ok(Channel {
            id: opened.funding.to_string(),
            size: self.size,
            opened,
        })
    }
}

impl Step for CloseChannel {
    async fn run(&self, run: &Run<'_>) -> Result<Closing, StepFailure> {
        let world = run.world;
        let channel = run.get(&self.close_channel).await?;
        let node = world.node(&self.by.0)?;
        let view = world.channel_of(&self.by.0, &channel.opened).await?;
        let Some(view) = view else {
            let title = format!("{} has no such channel, or has closed it before", self.by);
            return Err(StepFailure::refused(title).at("close_channel"));
        };
        let begun = match self.force {
            true => node.force_close_channel(&view).await,
            false => node.close_channel(&view).await,
        };
        begun.map_err(|error| world.error(error))?;
        let funding = channel.opened.funding;
        let what = format!(
            "a transaction that closes {} to be in the mempool",
            funding.txid
        );
        let closed = poll_until(what, run.deadline, || async {
            match is_spent(run, funding).await {
                Ok(true) => Probe::Ready(()),
                Ok(false) => Probe::Pending("its funding output is unspent".to_owned()),
                Err(failure) => Probe::Fatal(failure),
            }
        });
        closed.await?;
        Ok(Closing {
            id: channel.id.clone(),
            channel,
            by: self.by.clone(),
        })
    }
}

/// Whether a transaction in the mempool spends `funding`.
async fn is_spent(run: &Run<'_>, funding: OutPoint) -> Result<bool, StepFailure> {
    let outputs = [json!([{ "txid": funding.txid, "vout": funding.vout }])];
    let rpc = run.world.bitcoind().rpc();
    let answer = rpc
        .call::<serde_json::Value>("gettxspendingprevout", &outputs, run.deadline)
        .await;
    let answer = answer.map_err(|error| run.world.error(error))?;
    Ok(answer[0].get("spendingtxid").is_some())
}

impl Step for MakeInvoice {
    async fn run(&self, run: &Run<'_>) -> Result<Invoice, StepFailure> {
        let amount = run.get_optional(self.amount.as_ref()).await?;
        let description = self.description.clone().unwrap_or_default();
        let request = InvoiceRequest {
            amount,
            description,
            expiry: self.expiry,
        };
        let made = run
            .world
            .node(&self.invoice.0)?
            .invoice(&request)
            .await
            .map_err(|e| run.world.error(e))?;
        let invoice = Invoice {
            bolt11: made.bolt11,
            hash: made.hash,
            amount,
            payee: self.invoice.clone(),
        };
        record_invoice(run, &invoice, self.expiry);
        Ok(invoice)
    }
}

fn record_invoice(run: &Run<'_>, invoice: &Invoice, expiry: Duration) {
    let expiry = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
    let made = swaprig_record::Invoice {
        payee: invoice.payee.0.clone(),
        hash: invoice.hash.to_string(),
        amount_msat: invoice.amount.map(|amount| amount.0),
        expires_unix_ms: unix_ms().saturating_add(expiry),
    };
    run.world.recorder().record(Event::Invoice(made));
}

impl Step for MakeHoldInvoice {
    async fn run(&self, run: &Run<'_>) -> Result<HoldInvoice, StepFailure> {
        let amount = run.get(&self.amount).await?;
        let given = run.get_optional(self.preimage.as_ref()).await?;
        let hash = run.get_optional(self.hash.as_ref()).await?;
        let (preimage, hash) = match (given, hash) {
            (None, Some(hash)) => (None, hash),
            (given, _) => {
                let preimage = given.unwrap_or_else(|| Preimage(run.random.bytes()));
                (Some(preimage), preimage.payment_hash())
            }
        };
        let description = self.description.clone().unwrap_or_default();
        let request = InvoiceRequest {
            amount: Some(amount),
            description,
            expiry: self.expiry,
        };
        let node = run.world.node(&self.hold_invoice.0)?;
        let made = node
            .hold_invoice(&request, hash)
            .await
            .map_err(|e| run.world.error(e))?;
        let payee = self.hold_invoice.clone();
        let invoice = Invoice {
            bolt11: made.bolt11,
            hash: made.hash,
            amount: Some(amount),
            payee,
        };
        record_invoice(run, &invoice, self.expiry);
        Ok(HoldInvoice { invoice, preimage })
    }
}

impl Step for ReadInvoice {
    async fn run(&self, run: &Run<'_>) -> Result<Invoice, StepFailure> {
        let bolt11 = run.get(&self.read_invoice).await?;
        let nodes = run.world.nodes();
        let Some(reader) = nodes.first() else {
            return Err(StepFailure::refused("this world has no Lightning node"));
        };
        let read = reader.read_invoice(&bolt11).await;
        let read =
            read.map_err(|error| StepFailure::from(run.world.error(error)).at("read_invoice"))?;
        let payee = nodes.iter().find(|node| node.node_id() == read.payee);
        let payee = payee.ok_or_else(|| {
            let title = format!("the invoice is one of {}", read.payee);
            let why =
                "that is no Lightning node of this world, so nothing could be seen of its payment";
            StepFailure::refused(title).why(why).at("read_invoice")
        })?;
        Ok(Invoice {
            bolt11,
            hash: read.hash,
            amount: read.amount,
            payee: payee.name().into(),
        })
    }
}

impl Step for ClaimHoldInvoice {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let world = run.world;
        let HoldInvoice { invoice, preimage } = run.get(&self.claim_hold_invoice).await?;
        let given = run.get_optional(self.preimage.as_ref()).await?;
        let Some(preimage) = given.or(preimage) else {
            let title = "the invoice was made for a hash, and nobody said the preimage";
            let why = "add preimage = \"$p.preimage\"";
            return Err(StepFailure::refused(title)
                .why(why)
                .at("claim_hold_invoice"));
        };
        let payee = world.node(&invoice.payee.0)?;
        if !is_held(world, payee.name(), invoice.hash).await? {
            let title = format!("{} holds no payment of this invoice", payee.name());
            let why = "a claim of what is not held is answered with OK and does nothing";
            return Err(StepFailure::refused(title)
                .why(why)
                .at("claim_hold_invoice"));
        }
        let asked = std::sync::Mutex::new(None::<Instant>);
        let settled = poll_until(
            format!("{} to have claimed {}", payee.name(), invoice.hash),
            run.deadline,
            || async {
                let due = {
                    let mut asked = asked
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    let due = asked.is_none_or(|at| at.elapsed() > CLAIM_AGAIN_AFTER);
                    if due {
                        *asked = Some(Instant::now());
                    }
                    due
                };
                if due && let Err(error) = payee.claim(preimage).await {
                    return Probe::Fatal(StepFailure::from(world.error(error)));
                }
                match payment(world, payee.name(), invoice.hash, Direction::Inbound).await {
                    Ok(Some(view)) if view.status == NodeStatus::Succeeded => Probe::Ready(()),
                    Ok(Some(view)) => {
                        Probe::Pending(format!("{} says {}", payee.name(), view.status))
                    }
                    Ok(None) => Probe::Pending(format!("{} does not list it", payee.name())),
                    Err(failure) => Probe::Fatal(failure),
                }
            },
        );
        settled.await?;
        world
            .wait_settled(payee.name(), invoice.hash, Direction::Inbound, run.deadline)
            .await?;
        Ok(())
    }
}

impl Step for FailHoldInvoice {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let world = run.world;
        let HoldInvoice { invoice, .. } = run.get(&self.fail_hold_invoice).await?;
        let payee = world.node(&invoice.payee.0)?;
        let stored = payment(world, payee.name(), invoice.hash, Direction::Inbound).await?;
        if stored.is_some_and(|view| view.status == NodeStatus::Succeeded) {
            let title = format!("{} has claimed this payment already", payee.name());
            return Err(StepFailure::refused(title).at("fail_hold_invoice"));
        }
        payee
            .fail(invoice.hash)
            .await
            .map_err(|error| world.error(error).into())
    }
}

impl Step for Pay {
    async fn run(&self, run: &Run<'_>) -> Result<Payment, StepFailure> {
        let world = run.world;
        let invoice = run.get(&self.pay).await?;
        let amount = run.get_optional(self.amount.as_ref()).await?;
        let payer = world.node(&self.by.0)?;
        let limits = RouteLimits {
            max_fee: self.max_fee,
            max_cltv: self.max_cltv,
        };
        run.world
            .recorder()
            .record(Event::Payment(swaprig_record::Payment {
                node: self.by.0.clone(),
                peer: Some(invoice.payee.0.clone()),
                hash: invoice.hash.to_string(),
                state: PaymentState::Sent,
                amount_msat: amount.or(invoice.amount).map(|amount| amount.0),
                fee_msat: None,
                claim_deadline: None,
            }));
        payer
            .pay(&invoice.bolt11, amount, limits)
            .await
            .map_err(|error| world.error(error))?;
        let mut paid = Payment {
            hash: invoice.hash,
            preimage: None,
            fee: None,
            payer: self.by.clone(),
            payee: invoice.payee.clone(),
        };
        match self.until {
            Until::Sent => {}
            Until::Held => self.wait_held(run, &invoice).await?,
            Until::Settled => {
                let view = world
                    .wait_settled(
                        payer.name(),
                        invoice.hash,
                        Direction::Outbound,
                        run.deadline,
                    )
                    .await?;
                world
                    .wait_settled(
                        &invoice.payee.0,
                        invoice.hash,
                        Direction::Inbound,
                        run.deadline,
                    )
                    .await?;
                paid.preimage = view.preimage;
                paid.fee = view.fee;
            }
        }
        Ok(paid)
    }
}

impl Pay {
    async fn wait_held(&self, run: &Run<'_>, invoice: &Invoice) -> Result<(), StepFailure> {
        let payee = &invoice.payee.0;
        let held = poll_until(
            format!("{payee} to hold {}", invoice.hash),
            run.deadline,
            || async {
                let look = async {
                    let held = is_held(run.world, payee, invoice.hash).await?;
                    let sent =
                        payment(run.world, &self.by.0, invoice.hash, Direction::Outbound).await?;
                    Ok::<_, StepFailure>((held, sent.map(|view| view.status)))
                };
                match look.await {
                    Ok((true, _)) => Probe::Ready(()),
                    Ok((false, Some(NodeStatus::Failed))) => Probe::Fatal(StepFailure::refused(
                        format!("{}'s payment failed", self.by),
                    )),
                    Ok((false, Some(NodeStatus::Succeeded))) => {
                        let title =
                            format!("{}'s payment settled: {payee} did not hold it", self.by);
                        Probe::Fatal(StepFailure::refused(title))
                    }
                    Ok((false, _)) => Probe::Pending(format!("{payee} holds nothing")),
                    Err(failure) => Probe::Fatal(failure),
                }
            },
        );
        Ok(held.await?)
    }
}
