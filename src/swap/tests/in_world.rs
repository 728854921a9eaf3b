//! A model of what is around a loop in. The client locks whatever it likes, and is hostile.
//!
//! What is taken for granted: in the last blocks before the timeout a server that has paid looks after each block, and they take what
//! waits. No reorganisation undoes more than two blocks.

use bitcoin::OutPoint;

use super::model::{Chain, Coin, Desk, Machine, Place};
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
    /// The client locks the agreed amount, or another one. Those with the same inputs replace each other.
    Lock {
        agreed: bool,
        inputs: u8,
    },
    /// What was locked is sent again.
    Resend(usize),
    ClientRefunds(usize),
    /// The client asks the server to sign with it, and spends.
    Cooperates(usize),
    Cancel,
    /// Its payee takes the payment, or fails it.
    PayeeTakes,
    PayeeFails,
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

/// How the server's payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Unknown,
    /// Until it lapses.
    Pending(u32),
    Succeeded,
    Failed,
}

const DEEPEST: u32 = 2;
const MOST_COINS: usize = 4;
/// Blocks before the timeout in which a server that has paid is awake.
const AWAKE: u32 = 18;

/// Whether the server signs with the client for an output of that value; a planted bug is another one.
pub(super) type Cosigns = fn(&Swap, Units) -> bool;

/// As the engine asks.
pub(super) fn cosigns(swap: &Swap, value: Units) -> bool {
    may_cosign(swap) || (swap.settle_tried && value != swap.terms.amount)
}

pub(super) struct InWorld {
    desk: Desk,
    chain: Chain,
    node: Node,
    cosigns: Cosigns,
    cosigned: Vec<usize>,
    /// Whether a look that began before an order to pay may still be told.
    ordered: bool,
}

impl InWorld {
    pub(super) fn new(machine: Machine, cosigns: Cosigns) -> InWorld {
        InWorld {
            desk: Desk::new(machine, loop_in(), Vec::new()),
            chain: Chain::new(1_000),
            node: Node::Unknown,
            cosigns,
            cosigned: Vec::new(),
            ordered: false,
        }
    }

    /// One action.
    ///
    /// # Errors
    /// The rule that it broke.
    pub(super) fn act(&mut self, action: Action) -> Result<(), String> {
        let coins = self.chain.coins.len();
        match action {
            Action::Mine { blocks, full } => {
                for _ in 0..blocks {
                    self.block(full)?;
                }
            }
            Action::Reorg { blocks, gone } => self.chain.reorg(blocks, gone),
            Action::Evict if !self.is_late() => self.chain.evict(),
            Action::Evict => {}
            Action::Lock { agreed, inputs } => {
                if coins < MOST_COINS {
                    let amount = self.desk.swap.terms.amount.0;
                    let value = Units(if agreed { amount } else { amount - 1 });
                    let txid = txid(0xa0 + u8::try_from(coins).unwrap_or(0));
                    let at = self.chain.add(OutPoint::new(txid, 0), value, inputs);
                    self.chain.send(at);
                }
            }
            Action::Resend(at) if at < coins => drop(self.chain.send(at)),
            Action::ClientRefunds(at) if at < coins => self.refund(at),
            Action::Cooperates(at) if at < coins => self.cooperate(at)?,
            Action::Resend(_) | Action::ClientRefunds(_) | Action::Cooperates(_) => {}
            Action::Cancel => {
                let seen = self.masked(self.look());
                self.desk.tell(&Event::CancelAsked(seen))?;
            }
            Action::PayeeTakes => {
                if let Node::Pending(_) = self.node {
                    self.node = Node::Succeeded;
                }
            }
            Action::PayeeFails => {
                if let Node::Pending(_) = self.node {
                    self.node = Node::Failed;
                }
            }
            Action::Look => {
                self.desk.seen = Some(self.look());
                self.ordered = false;
            }
            Action::Deliver => self.deliver()?,
            Action::Crash => self.desk.seen = None,
            Action::Perform { at, again } => {
                if let Some(effect) = self.desk.next(at, again) {
                    self.perform(&effect)?;
                }
            }
            Action::Force => {
                let seen = self.look();
                if self.desk.tell(&Event::ForceRefund(seen))? {
                    return Err("the server refunds what it did not lock".to_owned());
                }
            }
        }
        self.check()
    }

    fn is_late(&self) -> bool {
        let awake = self.desk.swap.terms.timeout.0 - AWAKE;
        self.node == Node::Succeeded && self.chain.height >= awake
    }

    fn block(&mut self, full: bool) -> Result<(), String> {
        let late = self.is_late();
        self.chain.mine(1, full || late);
        let height = self.chain.height;
        self.chain.lowest = self.chain.lowest.max(height - DEEPEST);
        if let Node::Pending(until) = self.node
            && height >= until
        {
            self.node = Node::Failed;
        }
        if late {
            self.attend()?;
        }
        Ok(())
    }

    /// The server looks and does what is to be done.
    fn attend(&mut self) -> Result<(), String> {
        self.desk.seen = Some(self.look());
        self.ordered = false;
        self.deliver()?;
        for effect in std::mem::take(&mut self.desk.pending) {
            self.perform(&effect)?;
            self.check()?;
        }
        self.nobody_waits()
    }

    /// The rule for a server that has just looked: what it neither pays for nor may yet pay for, it signs for. The timeout is the way
    /// out of a client whose server is gone, and no other.
    fn nobody_waits(&self) -> Result<(), String> {
        let swap = &self.desk.swap;
        let pays = swap.settle_tried && self.node != Node::Failed;
        let may_come = !swap.settle_tried && swap.funding.is_some();
        let waits = |coin: &&Coin| {
            let agreed = coin.value == swap.terms.amount;
            let is_for = match agreed {
                true => pays,
                false => may_come,
            };
            self.is_deep(coin) && !is_for && !(self.cosigns)(swap, coin.value)
        };
        match self.chain.coins.iter().find(waits) {
            None => Ok(()),
            Some(coin) => Err(format!("left to the timeout: {coin:?}")),
        }
    }

    fn is_deep(&self, coin: &Coin) -> bool {
        match coin.place {
            Place::Block(height) => {
                self.chain.height + 1 - height >= self.desk.swap.terms.min_confirmations
            }
            Place::Mempool | Place::Unseen => false,
        }
    }

    fn look(&self) -> Observation {
        let payment = match self.node {
            Node::Unknown => Payment::Absent,
            Node::Pending(_) => Payment::Sent(Sent::Pending),
            Node::Succeeded => Payment::Sent(Sent::Succeeded(PREIMAGE)),
            Node::Failed => Payment::Sent(Sent::Failed),
        };
        Observation {
            tips: bitcoin_tips(self.chain.height),
            chain: Some(self.chain.look_at_all()),
            payment,
        }
    }

    /// As the engine has it: while, or after, it was ordered, what the node did not know it may know now.
    fn masked(&self, mut seen: Observation) -> Observation {
        let ordered = self.ordered || self.desk.pending.contains(&Effect::PayInvoice);
        if ordered && seen.payment == Payment::Absent {
            seen.payment = Payment::Sent(Sent::Pending);
        }
        seen
    }

    fn deliver(&mut self) -> Result<(), String> {
        match self.desk.seen.take() {
            Some(seen) => {
                let seen = self.masked(seen);
                self.desk.tell(&Event::Observed(seen)).map(drop)
            }
            None => Ok(()),
        }
    }

    fn bound(&self) -> Option<usize> {
        let outpoint = self.desk.swap.funding.as_ref()?.outpoint();
        self.chain
            .coins
            .iter()
            .position(|coin| coin.outpoint == outpoint)
    }

    fn perform(&mut self, effect: &Effect) -> Result<(), String> {
        if !self.desk.is_due(effect) {
            return Ok(());
        }
        match effect {
            Effect::PayInvoice => {
                let tips = bitcoin_tips(self.chain.height);
                let all = self.chain.look_at_all();
                let may = !self.desk.machine.asks || may_pay(&self.desk.swap, &all, tips);
                self.ordered = true;
                if may && self.node == Node::Unknown {
                    self.may_be_paid()?;
                    self.node = Node::Pending(self.chain.height + 144);
                }
            }
            Effect::Claim => {
                let at = self.bound().ok_or("claims what is not bound")?;
                if self.node != Node::Succeeded {
                    return Err("claims what it has not paid for".to_owned());
                }
                if self.desk.tell(&Event::SpendSigned(txid(0xcc)))? {
                    self.chain.spend(at, Spend::Claim(PREIMAGE));
                }
            }
            Effect::Alarm(_) => {}
            Effect::MakeInvoice
            | Effect::SignFunding
            | Effect::BroadcastFunding
            | Effect::ClaimPayment
            | Effect::FailPayment
            | Effect::Refund
            | Effect::ReleaseCoins => return Err(format!("{effect:?} of a loop in")),
        }
        Ok(())
    }

    /// The rule for paying, written another way than the machine has it.
    fn may_be_paid(&self) -> Result<(), String> {
        let at = self.bound().ok_or("paid for nothing")?;
        let coin = &self.chain.coins[at];
        let terms = &self.desk.swap.terms;
        let deep = self.is_deep(coin);
        let in_time = self.chain.height + terms.claim_window.0 < terms.timeout.0;
        let free = coin.spend.is_none() && !self.cosigned.contains(&at);
        let whole = coin.value == terms.amount;
        match deep && in_time && free && whole && !self.desk.swap.never_settle {
            true => Ok(()),
            false => Err(format!("paid when it must not be: {coin:?}")),
        }
    }

    fn refund(&mut self, at: usize) {
        if self.chain.height >= self.desk.swap.terms.timeout.0 {
            self.chain.spend(at, Spend::Refund);
        }
    }

    fn cooperate(&mut self, at: usize) -> Result<(), String> {
        let agreed = self.chain.coins[at].value == self.desk.swap.terms.amount;
        if !(self.cosigns)(&self.desk.swap, self.chain.coins[at].value) {
            return Ok(());
        }
        if matches!(self.node, Node::Pending(_) | Node::Succeeded) && agreed {
            return Err("co-signed what is paid for".to_owned());
        }
        self.cosigned.push(at);
        self.chain.spend(at, Spend::Cooperative);
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let paid = matches!(self.node, Node::Pending(_) | Node::Succeeded);
        match self.desk.swap.never_settle && paid {
            true => Err("paid, though it was never to be".to_owned()),
            false => Ok(()),
        }
    }

    /// Nothing else happens: blocks come, the engine looks and performs, and the client takes back what it can.
    ///
    /// # Errors
    /// The rule that was broken, or where the swap got stuck.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        for round in 0..60 {
            self.attend()?;
            for at in 0..self.chain.coins.len() {
                self.refund(at);
            }
            let blocks = match round {
                20 => 400,
                40 => 2_000,
                _ => 1,
            };
            self.act(Action::Mine { blocks, full: true })?;
        }
        self.attend()?;
        let swap = &self.desk.swap;
        let claims = |coin: &&Coin| matches!(coin.spend, Some((Spend::Claim(_), _)));
        let claimed = self.chain.coins.iter().filter(claims).count();
        let settled = match self.node {
            Node::Succeeded => claimed == 1 && swap.phase == Phase::Claimed,
            Node::Unknown | Node::Failed => {
                claimed == 0
                    && matches!(
                        swap.phase,
                        Phase::Failed(_) | Phase::Refunded | Phase::Cancelling
                    )
            }
            Node::Pending(_) => false,
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
