//! What the models of all directions share: a chain with a mempool, and an engine that stores what the machine says.

use bitcoin::OutPoint;

use super::*;

pub(super) type Step = fn(&Swap, &Event) -> Result<Transition, Refused>;

/// A planted bug: the machine, with what it says changed.
pub(super) fn changed(
    swap: &Swap,
    event: &Event,
    change: impl FnOnce(&mut Transition),
) -> Result<Transition, Refused> {
    step(swap, event).map(|mut next| {
        change(&mut next);
        next
    })
}

/// What plays the machine; a planted bug is another one.
#[derive(Clone, Copy)]
pub(super) struct Machine {
    pub(super) step: Step,
    /// Whether the engine asks before it performs.
    pub(super) asks: bool,
}

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Unseen,
    Mempool,
    Block(u32),
}

impl Place {
    pub(super) fn depth(self) -> Depth {
        match self {
            Place::Unseen => Depth::Unseen,
            Place::Mempool => Depth::Mempool,
            Place::Block(height) => Depth::Block(Height(height)),
        }
    }

    pub(super) fn in_block(self) -> bool {
        matches!(self, Place::Block(_))
    }

    fn mined(&mut self, height: u32) {
        if *self == Place::Mempool {
            *self = Place::Block(height);
        }
    }

    fn back(&mut self, tip: u32, gone: bool) {
        match *self {
            Place::Block(height) if height > tip && gone => *self = Place::Unseen,
            Place::Block(height) if height > tip => *self = Place::Mempool,
            Place::Block(_) | Place::Mempool | Place::Unseen => {}
        }
    }
}

/// An output that is paid to the HTLC, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coin {
    pub(super) outpoint: OutPoint,
    pub(super) value: Units,
    /// Those with the same number spend the same inputs.
    pub(super) inputs: u8,
    pub(super) place: Place,
    pub(super) spend: Option<(Spend, Place)>,
}

/// A chain, as far as it is of the swap.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) height: u32,
    /// No reorganisation goes below.
    pub(super) lowest: u32,
    pub(super) coins: Vec<Coin>,
    /// Where something else spent the inputs of the first coin.
    pub(super) conflict: Option<u32>,
}

impl Chain {
    pub(super) fn new(height: u32) -> Chain {
        Chain {
            height,
            lowest: height,
            coins: Vec::new(),
            conflict: None,
        }
    }

    /// Another output that can be sent.
    pub(super) fn add(&mut self, outpoint: OutPoint, value: Units, inputs: u8) -> usize {
        self.coins.push(Coin {
            outpoint,
            value,
            inputs,
            place: Place::Unseen,
            spend: None,
        });
        self.coins.len() - 1
    }

    pub(super) fn mine(&mut self, blocks: u32, full: bool) {
        if full {
            for coin in &mut self.coins {
                coin.place.mined(self.height + 1);
                if let Some((_, place)) = &mut coin.spend {
                    place.mined(self.height + 1);
                }
            }
        }
        self.height += blocks;
    }

    pub(super) fn reorg(&mut self, blocks: u32, gone: bool) {
        let tip = self.height.saturating_sub(blocks).max(self.lowest);
        self.height = tip;
        self.conflict = self.conflict.filter(|height| *height <= tip);
        for coin in &mut self.coins {
            coin.place.back(tip, gone);
            if let Some((_, place)) = &mut coin.spend {
                place.back(tip, gone);
            }
        }
        self.drop_unseen();
    }

    /// What waits in the mempool is dropped from it.
    pub(super) fn evict(&mut self) {
        for coin in &mut self.coins {
            if coin.place == Place::Mempool {
                coin.place = Place::Unseen;
            }
            coin.spend = coin.spend.filter(|(_, place)| *place != Place::Mempool);
        }
        self.drop_unseen();
    }

    fn drop_unseen(&mut self) {
        for coin in &mut self.coins {
            let there = coin.place != Place::Unseen;
            coin.spend = coin
                .spend
                .filter(|(_, place)| there && *place != Place::Unseen);
        }
    }

    /// Into the mempool, in the place of what spends the same inputs there. Whether it is there.
    pub(super) fn send(&mut self, at: usize) -> bool {
        let inputs = self.coins[at].inputs;
        let rival = |other: &&mut Coin| other.inputs == inputs;
        let taken = self.conflict.is_some() && at == 0;
        let mut rivals = self.coins.iter_mut().filter(rival);
        if taken || rivals.any(|rival| rival.place.in_block()) {
            return self.coins[at].place != Place::Unseen;
        }
        for rival in self.coins.iter_mut().filter(rival) {
            rival.place = Place::Unseen;
        }
        self.coins[at].place = Place::Mempool;
        self.drop_unseen();
        true
    }

    /// The later of two in the mempool is taken; a block's stays.
    pub(super) fn spend(&mut self, at: usize, spend: Spend) {
        let coin = &mut self.coins[at];
        let settled = coin.spend.is_some_and(|(_, place)| place.in_block());
        if coin.place != Place::Unseen && !settled {
            coin.spend = Some((spend, Place::Mempool));
        }
    }

    /// Something else spends the inputs of the first coin.
    pub(super) fn double_spend(&mut self) {
        self.height += 1;
        self.conflict = Some(self.height);
        self.coins[0].place = Place::Unseen;
        self.drop_unseen();
    }

    /// What the engine is told of a coin.
    pub(super) fn look(&self, at: usize) -> ChainState {
        let coin = &self.coins[at];
        ChainState {
            outputs: Vec::new(),
            funding: coin.place.depth(),
            conflicted: self.conflict.is_some(),
            spend: spent(coin),
        }
    }

    /// What the engine is told of all that was paid to the HTLC.
    pub(super) fn look_at_all(&self) -> ChainState {
        let there = self.coins.iter().filter(|coin| coin.place != Place::Unseen);
        let outputs = there.map(|coin| Output {
            outpoint: coin.outpoint,
            value: coin.value,
            depth: coin.place.depth(),
            spend: spent(coin),
        });
        ChainState {
            outputs: outputs.collect(),
            funding: Depth::Unseen,
            conflicted: false,
            spend: None,
        }
    }
}

fn spent(coin: &Coin) -> Option<ChainSpend> {
    coin.spend.map(|(spend, place)| ChainSpend {
        txid: txid(0xcc),
        spend,
        depth: place.depth(),
        whole: true,
    })
}

/// The engine: what is stored of the swap, and what is to be done.
pub(super) struct Desk {
    pub(super) machine: Machine,
    pub(super) swap: Swap,
    pub(super) pending: Vec<Effect>,
    /// What was seen and not told yet.
    pub(super) seen: Option<Observation>,
}

impl Desk {
    pub(super) fn new(machine: Machine, swap: Swap, pending: Vec<Effect>) -> Desk {
        Desk {
            machine,
            swap,
            pending,
            seen: None,
        }
    }

    /// Stores what the machine says, with the effects that are not pending already. Whether it said anything.
    ///
    /// # Errors
    /// When it undid a latch.
    pub(super) fn tell(&mut self, event: &Event) -> Result<bool, String> {
        let Ok(next) = (self.machine.step)(&self.swap, event) else {
            return Ok(false);
        };
        let (old, new) = (&self.swap, &next.swap);
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
        Ok(true)
    }

    /// The effect at a place of the queue, which perhaps stays there to be done again.
    pub(super) fn next(&mut self, at: usize, again: bool) -> Option<Effect> {
        let at = at.checked_rem(self.pending.len())?;
        Some(match again {
            true => self.pending[at].clone(),
            false => self.pending.remove(at),
        })
    }

    /// Whether an effect is still to be done, as far as the engine asks.
    pub(super) fn is_due(&self, effect: &Effect) -> bool {
        !self.machine.asks || is_due(&self.swap, effect)
    }
}
