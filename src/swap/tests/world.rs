//! A small model of everything around a swap: two chains, a Lightning node, a buyer, and an engine that stores and performs.

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

pub(super) type Step = fn(&Swap, &Event) -> Result<Transition, Refused>;

/// What plays the machine; a planted bug is another one.
#[derive(Clone, Copy)]
pub(super) struct Machine {
    pub(super) step: Step,
    /// Whether the engine asks before it performs.
    pub(super) asks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Unseen,
    Mempool,
    Block(u32),
}

pub(super) struct World {
    machine: Machine,
    pub(super) swap: Swap,
    pub(super) pending: Vec<Effect>,
    seen: Option<Observation>,
    pub(super) liquid: u32,
    pub(super) bitcoin: u32,
    funding: Place,
    conflict: Option<u32>,
    spend: Option<(Spend, Place)>,
    pub(super) node: Node,
    pub(super) preimage_known: bool,
    refund_known: bool,
}

impl World {
    pub(super) fn new(machine: Machine) -> World {
        World {
            machine,
            swap: swap(terms()),
            pending: vec![Effect::MakeInvoice],
            seen: None,
            liquid: 1_000,
            bitcoin: 500,
            funding: Place::Unseen,
            conflict: None,
            spend: None,
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
            Action::Liquid { blocks, full } => self.mine_liquid(blocks, full),
            Action::Bitcoin(blocks) => self.mine_bitcoin(blocks),
            Action::Reorg { blocks, gone } => self.reorg(blocks, gone),
            Action::Evict => self.evict(),
            Action::Conflict => {
                let unsettled = !matches!(self.funding, Place::Block(_)) && !self.swap.settle_tried;
                if self.swap.funding.is_some() && unsettled {
                    self.liquid += 1;
                    (self.funding, self.spend) = (Place::Unseen, None);
                    (self.conflict, self.seen) = (Some(self.liquid), None);
                }
            }
            Action::Pay { blocks } => {
                if self.node == Node::Absent && self.swap.invoice.is_some() {
                    self.node = Node::Held(self.bitcoin + blocks);
                }
            }
            Action::BuyerClaims => {
                if self.preimage_known {
                    self.send_spend(Spend::Claim(PREIMAGE));
                }
            }
            Action::Look => self.seen = Some(self.look()),
            Action::Deliver => {
                if let Some(seen) = self.seen.take() {
                    self.tell(Event::Observed(seen))?;
                }
            }
            Action::Perform { at, again } => {
                if !self.pending.is_empty() {
                    let at = at % self.pending.len();
                    let effect = self.pending[at].clone();
                    if !again {
                        self.pending.remove(at);
                    }
                    self.perform(&effect)?;
                }
            }
            Action::Force => self.tell(Event::ForceRefund(self.look()))?,
        }
        self.check()
    }

    fn mine_liquid(&mut self, blocks: u32, full: bool) {
        for place in [
            Some(&mut self.funding),
            self.spend.as_mut().map(|(_, place)| place),
        ] {
            match place {
                Some(place) if *place == Place::Mempool && full => {
                    *place = Place::Block(self.liquid + 1);
                }
                Some(_) | None => {}
            }
        }
        self.liquid += blocks;
    }

    pub(super) fn mine_bitcoin(&mut self, blocks: u32) {
        self.bitcoin += blocks;
        self.node = match self.node {
            Node::Held(until) if self.bitcoin >= until => Node::Absent,
            Node::Taking => Node::Succeeded,
            node @ (Node::Held(_) | Node::Absent | Node::Succeeded) => node,
        };
    }

    fn reorg(&mut self, blocks: u32, gone: bool) {
        let tip = self.liquid.saturating_sub(blocks).max(1_000);
        self.liquid = tip;
        let back = |place: Place| match place {
            Place::Block(height) if height > tip && gone => Place::Unseen,
            Place::Block(height) if height > tip => Place::Mempool,
            other => other,
        };
        self.funding = back(self.funding);
        self.conflict = self.conflict.filter(|height| *height <= tip);
        self.spend = self
            .spend
            .map(|(spend, place)| (spend, back(place)))
            .filter(|(_, place)| *place != Place::Unseen && self.funding != Place::Unseen);
    }

    fn evict(&mut self) {
        if self.funding == Place::Mempool {
            self.funding = Place::Unseen;
        }
        self.spend = self
            .spend
            .filter(|(_, place)| *place != Place::Mempool && self.funding != Place::Unseen);
    }

    /// The later of two in the mempool is taken; a block's stays.
    fn send_spend(&mut self, spend: Spend) {
        let in_block = matches!(self.spend, Some((_, Place::Block(_))));
        if self.funding != Place::Unseen && !in_block {
            self.spend = Some((spend, Place::Mempool));
        }
    }

    pub(super) fn look(&self) -> Observation {
        let depth = |place: Place| match place {
            Place::Unseen => Depth::Unseen,
            Place::Mempool => Depth::Mempool,
            Place::Block(height) => Depth::Block(Height(height)),
        };
        Observation {
            tips: Tips {
                liquid: Height(self.liquid),
                bitcoin: Height(self.bitcoin),
                lightning: Height(self.bitcoin),
            },
            chain: self.swap.funding.as_ref().map(|_| ChainState {
                outputs: Vec::new(),
                funding: depth(self.funding),
                conflicted: self.conflict.is_some(),
                spend: self.spend.map(|(spend, place)| ChainSpend {
                    txid: txid(0xcc),
                    spend,
                    depth: depth(place),
                    whole: true,
                }),
            }),
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
        let Ok(next) = (self.machine.step)(&self.swap, &event) else {
            return Ok(());
        };
        let (old, new) = (&self.swap, &next.swap);
        if let (Event::Observed(seen), false, true) = (&event, old.settle_tried, new.settle_tried) {
            may_be_taken(old, seen)?;
        }
        let forgotten = (old.paid && !new.paid)
            || (old.settle_tried && !new.settle_tried)
            || (old.never_settle && !new.never_settle);
        if forgotten {
            return Err("a latch was undone".to_owned());
        }
        self.swap = next.swap;
        for effect in next.effects {
            if !self.pending.contains(&effect) {
                self.pending.push(effect);
            }
        }
        Ok(())
    }

    pub(super) fn perform(&mut self, effect: &Effect) -> Result<(), String> {
        if self.machine.asks && !is_due(&self.swap, effect) {
            return Ok(());
        }
        match effect {
            Effect::MakeInvoice => self.tell(Event::InvoiceMade {
                invoice: "lnbcrt1".to_owned(),
                prepay: None,
            })?,
            Effect::SignFunding => self.tell(Event::FundingSigned(funding(&self.swap.terms)))?,
            Effect::BroadcastFunding => {
                if self.funding == Place::Unseen && self.conflict.is_none() {
                    self.funding = Place::Mempool;
                }
            }
            Effect::ClaimPayment => {
                let may = !self.machine.asks || may_claim(&self.swap, self.payment());
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
                if self.liquid >= self.swap.terms.timeout.0 && self.funding != Place::Unseen {
                    self.refund_known = true;
                    self.send_spend(Spend::Refund);
                    self.tell(Event::SpendSigned(txid(0xcc)))?;
                }
            }
            Effect::ReleaseCoins => {
                if self.funding != Place::Unseen {
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
        self.seen = None;
        for round in 0..40 {
            self.act(Action::Bitcoin(10))?;
            self.act(Action::Look)?;
            self.act(Action::Deliver)?;
            for effect in std::mem::take(&mut self.pending) {
                self.perform(&effect)?;
                self.check()?;
            }
            self.act(Action::BuyerClaims)?;
            let blocks = if round == 20 { 3_000 } else { 1 };
            self.act(Action::Liquid { blocks, full: true })?;
            if round > 30 && !is_final(&self.swap, self.look().tips, 2) {
                self.act(Action::Force)?;
            }
        }
        let settled = match self.spend {
            Some((Spend::Claim(_), Place::Block(_))) => self.swap.phase == Phase::Claimed,
            Some((Spend::Refund, Place::Block(_))) => self.swap.phase == Phase::Refunded,
            Some(_) => false,
            None => self.funding == Place::Unseen && matches!(self.swap.phase, Phase::Failed(_)),
        };
        match settled && is_final(&self.swap, self.look().tips, 2) {
            true => Ok(()),
            false => Err(format!("stuck: {:?}, spend {:?}", self.swap, self.spend)),
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
