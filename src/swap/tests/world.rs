//! A small model of everything around a swap: two chains, a Lightning node, a buyer, and an engine that stores and performs.

use super::model::{Chain, Desk, Machine, Place};
use super::*;

/// Something that happens. Nothing is ruled out that the real world can do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// Liquid blocks; whether they take what waits in the mempool.
    Liquid {
        blocks: u32,
        full: bool,
    },
    Bitcoin(u32),
    /// Blocks are undone; what was in them waits again, or is gone.
    Reorg {
        blocks: u32,
        gone: bool,
    },
    Evict,
    /// Something else spends the funding's inputs.
    Conflict,
    Pay {
        blocks: u32,
    },
    BuyerClaims,
    /// The engine looks, and remembers what it saw.
    Look,
    /// The machine is told what was seen, however long ago.
    Deliver,
    /// The effect at that place of the queue is done, and perhaps will be again.
    Perform {
        at: usize,
        again: bool,
    },
    Force,
}

/// What the node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Absent,
    Held(u32),
    /// Claimed, not yet shown as arrived.
    Taking,
    Succeeded,
}

pub(super) struct World {
    desk: Desk,
    chain: Chain,
    pub(super) bitcoin: u32,
    pub(super) node: Node,
    pub(super) preimage_known: bool,
    refund_known: bool,
}

impl World {
    pub(super) fn new(machine: Machine) -> World {
        let swap = swap(terms());
        let mut chain = Chain::new(1_000);
        chain.add(funding(&swap.terms).outpoint(), swap.terms.amount, 0);
        World {
            desk: Desk::new(machine, swap, vec![Effect::MakeInvoice]),
            chain,
            bitcoin: 500,
            node: Node::Absent,
            preimage_known: false,
            refund_known: false,
        }
    }

    /// One action.
    ///
    /// # Errors
    /// The rule that it broke.
    pub(super) fn act(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Liquid { blocks, full } => self.chain.mine(blocks, full),
            Action::Bitcoin(blocks) => self.mine_bitcoin(blocks),
            Action::Reorg { blocks, gone } => self.chain.reorg(blocks, gone),
            Action::Evict => self.chain.evict(),
            Action::Conflict => {
                let unsettled = !self.funding().in_block() && !self.desk.swap.settle_tried;
                if self.desk.swap.funding.is_some() && unsettled {
                    self.chain.double_spend();
                    self.desk.seen = None;
                }
            }
            Action::Pay { blocks } => {
                if self.node == Node::Absent && self.desk.swap.invoice.is_some() {
                    self.node = Node::Held(self.bitcoin + blocks);
                }
            }
            Action::BuyerClaims => {
                if self.preimage_known {
                    self.chain.spend(0, Spend::Claim(PREIMAGE));
                }
            }
            Action::Look => self.desk.seen = Some(self.look()),
            Action::Deliver => {
                if let Some(seen) = self.desk.seen.take() {
                    self.tell(Event::Observed(seen))?;
                }
            }
            Action::Perform { at, again } => {
                if let Some(effect) = self.desk.next(at, again) {
                    self.perform(&effect)?;
                }
            }
            Action::Force => self.tell(Event::ForceRefund(self.look()))?,
        }
        self.check()
    }

    pub(super) fn mine_bitcoin(&mut self, blocks: u32) {
        self.bitcoin += blocks;
        self.node = match self.node {
            Node::Held(until) if self.bitcoin >= until => Node::Absent,
            Node::Taking => Node::Succeeded,
            node @ (Node::Held(_) | Node::Absent | Node::Succeeded) => node,
        };
    }

    fn funding(&self) -> Place {
        self.chain.coins[0].place
    }

    fn spend(&self) -> Option<(Spend, Place)> {
        self.chain.coins[0].spend
    }

    pub(super) fn look(&self) -> Observation {
        Observation {
            tips: Tips {
                liquid: Height(self.chain.height),
                bitcoin: Height(self.bitcoin),
                lightning: Height(self.bitcoin),
            },
            chain: self.desk.swap.funding.as_ref().map(|_| self.chain.look(0)),
            payment: self.payment(),
        }
    }

    fn payment(&self) -> Payment {
        match self.node {
            Node::Absent | Node::Taking => Payment::Absent,
            Node::Held(until) => Payment::Held {
                until: Height(until),
            },
            Node::Succeeded => Payment::Succeeded,
        }
    }

    /// Stores what the machine says, with the effects that are not pending already.
    pub(super) fn tell(&mut self, event: Event) -> Result<(), String> {
        let old = self.desk.swap.clone();
        self.desk.tell(&event)?;
        let new = &self.desk.swap;
        if let (Event::Observed(seen), false, true) = (&event, old.settle_tried, new.settle_tried) {
            may_be_taken(&old, seen)?;
        }
        Ok(())
    }

    pub(super) fn perform(&mut self, effect: &Effect) -> Result<(), String> {
        if !self.desk.is_due(effect) {
            return Ok(());
        }
        match effect {
            Effect::MakeInvoice => self.tell(Event::InvoiceMade {
                invoice: "lnbcrt1".to_owned(),
                prepay: None,
            })?,
            Effect::SignFunding => {
                self.tell(Event::FundingSigned(funding(&self.desk.swap.terms)))?
            }
            Effect::BroadcastFunding => {
                self.chain.send(0);
            }
            Effect::ClaimPayment => {
                let may = !self.desk.machine.asks || may_claim(&self.desk.swap, self.payment());
                if may && matches!(self.node, Node::Held(_)) {
                    self.node = Node::Taking;
                    self.preimage_known = true;
                }
            }
            Effect::FailPayment => match self.node {
                Node::Held(_) => self.node = Node::Absent,
                Node::Absent => {}
                Node::Taking | Node::Succeeded => {
                    return Err("failed after a claim".to_owned());
                }
            },
            Effect::Refund => {
                if self.chain.height >= self.desk.swap.terms.timeout.0
                    && self.funding() != Place::Unseen
                {
                    self.refund_known = true;
                    self.chain.spend(0, Spend::Refund);
                    self.tell(Event::SpendSigned(txid(0xcc)))?;
                }
            }
            Effect::ReleaseCoins => {
                if self.funding() != Place::Unseen {
                    return Err("coins let go that are locked".to_owned());
                }
            }
            Effect::Alarm(_) => {}
            Effect::PayInvoice | Effect::Claim => {
                return Err(format!("{effect:?} of a swap whose coins are the server's"));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let taken = matches!(self.node, Node::Taking | Node::Succeeded);
        match self.refund_known && taken {
            true => Err("refunded, and the payment taken".to_owned()),
            false => Ok(()),
        }
    }

    /// Nothing else happens: blocks come, the engine looks and performs, a buyer that has the preimage uses it, and an
    /// operator tries a refund at the end.
    ///
    /// # Errors
    /// The rule that was broken, or where the swap got stuck.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.desk.seen = None;
        for round in 0..40 {
            self.act(Action::Bitcoin(10))?;
            self.act(Action::Look)?;
            self.act(Action::Deliver)?;
            for effect in std::mem::take(&mut self.desk.pending) {
                self.perform(&effect)?;
                self.check()?;
            }
            self.act(Action::BuyerClaims)?;
            let blocks = if round == 20 { 3_000 } else { 1 };
            self.act(Action::Liquid { blocks, full: true })?;
            if round > 30 && !is_final(&self.desk.swap, self.look().tips, 2) {
                self.act(Action::Force)?;
            }
        }
        let settled = match self.spend() {
            Some((Spend::Claim(_), Place::Block(_))) => self.desk.swap.phase == Phase::Claimed,
            Some((Spend::Refund, Place::Block(_))) => self.desk.swap.phase == Phase::Refunded,
            Some(_) => false,
            None => {
                self.funding() == Place::Unseen && matches!(self.desk.swap.phase, Phase::Failed(_))
            }
        };
        match settled && is_final(&self.desk.swap, self.look().tips, 2) {
            true => Ok(()),
            false => Err(format!(
                "stuck: {:?}, spend {:?}",
                self.desk.swap,
                self.spend()
            )),
        }
    }
}

/// The rule for taking a payment, written another way than the machine has it.
fn may_be_taken(old: &Swap, seen: &Observation) -> Result<(), String> {
    let chain = seen.chain.as_ref().ok_or("taken without a chain")?;
    let claimed = matches!(
        chain.spend,
        Some(ChainSpend {
            spend: Spend::Claim(_),
            depth: Depth::Block(_),
            ..
        })
    );
    let Depth::Block(height) = chain.funding else {
        return Err("taken though the funding is in no block".to_owned());
    };
    let confirmations = seen.tips.liquid.0 + 1 - height.0;
    let in_time = seen.tips.liquid.0 + old.terms.claim_window.0 < old.terms.timeout.0;
    let deep = confirmations >= old.terms.min_confirmations;
    match !old.never_settle && (claimed || (deep && in_time)) {
        true => Ok(()),
        false => Err(format!("taken when it must not be: {seen:?}")),
    }
}
