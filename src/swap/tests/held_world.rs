//! A model of what is around a loop out whose payment is held first. The client has the preimage from the start, and is hostile.
//!
//! What is taken for granted: before the timeout anything can happen; from the timeout on blocks take what waits, the server
//! looks after each of them, and what is in the mempool stays known to it. No reorganisation undoes what counts as final: it takes one
//! block back, of two.

use super::model::{Chain, Desk, Machine, Place};
use super::*;

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// Blocks; whether they take what waits in the mempool.
    Mine {
        blocks: u32,
        full: bool,
    },
    /// Blocks are undone; what was in them waits again, or is gone.
    Reorg {
        blocks: u32,
        gone: bool,
    },
    Evict,
    /// A payment that lapses after so many blocks.
    Pay {
        blocks: u32,
    },
    ClientClaims,
    /// Miners take the server's refund, which they have seen, rather than what replaced it.
    RefundWins,
    /// Whoever saw the funding can send it.
    ClientSendsFunding,
    ShowsPreimage,
    /// The client asks the server to sign with it, and spends.
    Cooperates,
    Look,
    Deliver,
    /// What was seen is forgotten with the memory.
    Crash,
    Perform {
        at: usize,
        again: bool,
    },
    Force,
}

/// What the node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Absent,
    Held(u32),
    /// Claimed, not yet shown as arrived.
    Taking,
    Succeeded,
}

const DEEPEST: u32 = 1;

pub(super) struct HeldWorld {
    desk: Desk,
    chain: Chain,
    node: Node,
    /// Whether the funding was ever sent.
    sent: bool,
    released: bool,
    /// Whether the refund was ever sent.
    refund_sent: bool,
    /// Whether the refund was ever final.
    refunded: bool,
}

impl HeldWorld {
    pub(super) fn new(machine: Machine, terms: Terms) -> HeldWorld {
        let swap = swap(terms);
        let mut chain = Chain::new(1_000);
        chain.add(funding(&swap.terms).outpoint(), swap.terms.amount, 0);
        HeldWorld {
            desk: Desk::new(machine, swap, vec![Effect::MakeInvoice]),
            chain,
            node: Node::Absent,
            sent: false,
            released: false,
            refund_sent: false,
            refunded: false,
        }
    }

    /// One action.
    ///
    /// # Errors
    /// The rule that it broke.
    pub(super) fn act(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Mine { blocks, full } => {
                for _ in 0..blocks {
                    self.block(full)?;
                }
            }
            Action::Reorg { blocks, gone } => self.chain.reorg(blocks, gone && !self.is_late()),
            Action::Evict if !self.is_late() => self.chain.evict(),
            Action::Evict => {}
            Action::Pay { blocks } => {
                if self.node == Node::Absent && self.desk.swap.invoice.is_some() {
                    self.node = Node::Held(self.chain.height + blocks);
                }
            }
            Action::ClientClaims => self.chain.spend(0, Spend::Claim(PREIMAGE)),
            Action::RefundWins if self.refund_sent => self.chain.spend(0, Spend::Refund),
            Action::RefundWins => {}
            Action::ClientSendsFunding => {
                if self.sent && !self.is_late() {
                    self.chain.send(0);
                }
            }
            Action::ShowsPreimage => {
                let seen = self.look();
                self.desk.tell(&Event::PreimageShown(PREIMAGE, seen))?;
            }
            Action::Cooperates => self.cooperate()?,
            Action::Look => self.desk.seen = Some(self.look()),
            Action::Deliver => self.deliver()?,
            Action::Crash => self.desk.seen = None,
            Action::Perform { at, again } => {
                if let Some(effect) = self.desk.next(at, again) {
                    self.perform(&effect)?;
                }
            }
            Action::Force => {
                let seen = self.look();
                self.desk.tell(&Event::ForceRefund(seen))?;
            }
        }
        self.check()
    }

    fn is_late(&self) -> bool {
        self.sent && self.chain.height >= self.desk.swap.terms.timeout.0
    }

    fn block(&mut self, full: bool) -> Result<(), String> {
        let late = self.is_late();
        self.chain.mine(1, full || late);
        let height = self.chain.height;
        self.chain.lowest = self.chain.lowest.max(height - DEEPEST);
        if let Some((Spend::Refund, Place::Block(mined))) = self.chain.coins[0].spend {
            self.refunded |= height + 1 - mined >= self.desk.swap.terms.finality;
        }
        self.node = match self.node {
            Node::Held(until) if height >= until => Node::Absent,
            Node::Taking => Node::Succeeded,
            node @ (Node::Held(_) | Node::Absent | Node::Succeeded) => node,
        };
        if late {
            self.attend()?;
        }
        Ok(())
    }

    /// The server looks and does what is to be done.
    fn attend(&mut self) -> Result<(), String> {
        self.desk.seen = Some(self.look());
        self.deliver()?;
        for effect in std::mem::take(&mut self.desk.pending) {
            self.perform(&effect)?;
            self.check()?;
        }
        Ok(())
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

    fn look(&self) -> Observation {
        Observation {
            tips: bitcoin_tips(self.chain.height),
            chain: self.desk.swap.funding.as_ref().map(|_| self.chain.look(0)),
            payment: self.payment(),
        }
    }

    /// As the engine has it: while a payment is being failed it counts as gone.
    fn deliver(&mut self) -> Result<(), String> {
        let Some(mut seen) = self.desk.seen.take() else {
            return Ok(());
        };
        let failing = self.desk.swap.phase == Phase::AwaitingPayment
            && self.desk.pending.contains(&Effect::FailPayment);
        if failing && matches!(seen.payment, Payment::Held { .. }) {
            seen.payment = Payment::Absent;
        }
        self.desk.tell(&Event::Observed(seen))?;
        // The store does it itself, together with the transition.
        match self.desk.pending.contains(&Effect::ReleaseCoins) {
            true => {
                self.desk
                    .pending
                    .retain(|effect| *effect != Effect::ReleaseCoins);
                self.perform(&Effect::ReleaseCoins)
            }
            false => Ok(()),
        }
    }

    fn perform(&mut self, effect: &Effect) -> Result<(), String> {
        if !self.desk.is_due(effect) {
            return Ok(());
        }
        let asks = self.desk.machine.asks;
        match effect {
            Effect::MakeInvoice => drop(self.desk.tell(&Event::InvoiceMade {
                invoice: "lnbcrt1".to_owned(),
                prepay: None,
            })?),
            Effect::SignFunding => {
                let funding = funding(&self.desk.swap.terms);
                self.desk.tell(&Event::FundingSigned(funding))?;
            }
            Effect::BroadcastFunding => {
                let tips = bitcoin_tips(self.chain.height);
                if !asks || may_fund(&self.desk.swap, self.payment(), tips) {
                    self.send_funding()?;
                }
            }
            Effect::ClaimPayment => {
                let may = !asks || may_claim(&self.desk.swap, self.payment());
                if may && matches!(self.node, Node::Held(_)) {
                    self.desk
                        .swap
                        .preimage
                        .ok_or("taken without the preimage")?;
                    self.node = Node::Taking;
                }
            }
            Effect::FailPayment => self.give_back()?,
            Effect::Refund => {
                let visible = self.chain.coins[0].place != Place::Unseen;
                let timed_out = self.chain.height >= self.desk.swap.terms.timeout.0;
                if visible && timed_out && self.desk.tell(&Event::SpendSigned(txid(0xcc)))? {
                    self.refund_sent = true;
                    self.chain.spend(0, Spend::Refund);
                }
            }
            Effect::ReleaseCoins => {
                if self.chain.coins[0].place != Place::Unseen {
                    return Err("coins let go that are locked".to_owned());
                }
                self.released = true;
            }
            Effect::Alarm(_) => {}
            Effect::PayInvoice | Effect::Claim => return Err(format!("{effect:?} of a loop out")),
        }
        Ok(())
    }

    fn send_funding(&mut self) -> Result<(), String> {
        let terms = &self.desk.swap.terms;
        let lasts = match self.node {
            Node::Held(until) => until >= terms.timeout.0 + terms.refund_window.0,
            Node::Taking | Node::Succeeded => true,
            Node::Absent => false,
        };
        if !lasts {
            return Err("locked for a payment that does not last".to_owned());
        }
        self.sent = true;
        self.chain.send(0);
        Ok(())
    }

    fn give_back(&mut self) -> Result<(), String> {
        // Coins that were let go are lost or not, whatever becomes of a payment that comes after that.
        let safe = !self.sent || self.released || self.chain.conflict.is_some() || self.refunded;
        match self.node {
            Node::Absent => Ok(()),
            Node::Held(_) if safe => {
                self.node = Node::Absent;
                Ok(())
            }
            Node::Held(_) => Err("given back while the client can claim".to_owned()),
            Node::Taking | Node::Succeeded => Err("failed after a claim".to_owned()),
        }
    }

    fn cooperate(&mut self) -> Result<(), String> {
        if !may_cosign(&self.desk.swap) {
            return Ok(());
        }
        self.chain.spend(0, Spend::Cooperative);
        match self.node {
            Node::Succeeded => Ok(()),
            Node::Absent | Node::Held(_) | Node::Taking => {
                Err("signed for what is not paid".to_owned())
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let taken = matches!(self.node, Node::Taking | Node::Succeeded);
        match self.chain.coins[0].spend {
            Some((Spend::Refund, place)) if taken && place.in_block() => {
                Err("refunded, and the payment taken".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing else happens: blocks come, the engine looks and performs; an honest client claims in time, another one waits.
    ///
    /// # Errors
    /// The rule that was broken, or where the swap got stuck.
    pub(super) fn settle(&mut self, claims: bool) -> Result<(), String> {
        let begun = self.chain.height;
        for round in 0..60 {
            self.attend()?;
            let in_time = self.chain.height < self.desk.swap.terms.timeout.0;
            // Whoever has paid takes the coins in any case.
            let wants = (claims && in_time) || self.desk.swap.paid;
            if wants && self.chain.coins[0].place.in_block() {
                self.chain.spend(0, Spend::Claim(PREIMAGE));
            }
            // Coins that were let go are used for something else.
            if self.released && self.chain.conflict.is_none() && self.chain.height > begun {
                self.chain.double_spend();
                self.chain.lowest = self.chain.height;
            }
            let blocks = if round == 20 || round == 40 { 700 } else { 1 };
            self.act(Action::Mine { blocks, full: true })?;
        }
        let swap = &self.desk.swap;
        let settled = match self.chain.coins[0].spend {
            Some((Spend::Refund, Place::Block(_))) => {
                swap.phase == Phase::Refunded && self.node == Node::Absent
            }
            Some((_, Place::Block(_))) => {
                swap.phase == Phase::Claimed && self.node == Node::Succeeded
            }
            Some(_) => false,
            None => matches!(swap.phase, Phase::Failed(_)) && self.node == Node::Absent,
        };
        match settled && is_final(swap, bitcoin_tips(self.chain.height), 2) {
            true => Ok(()),
            false => Err(format!(
                "stuck: {swap:?}, {:?}, {:?}",
                self.chain, self.node
            )),
        }
    }
}
