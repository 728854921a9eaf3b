//! Steps on the Bitcoin chain, and those that either chain takes.

use swaprig_units::{BlockDelta, Height, Sat};

use crate::entities::{FundingTx, Mined};
use crate::lang::{Arg, Funded, StepCx};
use crate::{step, words};

words! {
    /// A chain of a world.
    pub enum Chain("chain") {
        /// Bitcoin.
        Bitcoin = "bitcoin",
        /// Liquid.
        Liquid = "liquid",
    }
}

impl From<Chain> for swaprig_harness::world::Chain {
    fn from(chain: Chain) -> Self {
        match chain {
            Chain::Bitcoin => swaprig_harness::world::Chain::Bitcoin,
            Chain::Liquid => swaprig_harness::world::Chain::Liquid,
        }
    }
}

impl Chain {
    /// Whether the world has an index of it; when not, that is said of what is looked at.
    pub(super) fn has_index(self, cx: &mut StepCx<'_>) -> bool {
        let name = self.as_str();
        if cx.has_index(self.into()) {
            return true;
        }
        let span = cx.value_span("expect");
        cx.problem(span, format!("this world has no index of the {name} chain"))
            .label("needs an index")
            .help(format!("add index = [\"{name}\"] to the world"));
        false
    }

    /// Whether the world has it; when not, that is said of the key `chain`.
    pub(super) fn is_there(self, cx: &mut StepCx<'_>) -> bool {
        let span = cx.value_span("chain");
        self == Chain::Bitcoin || cx.needs_liquid(span)
    }
}

step! {
    /// Sends coins to a party's on-chain wallet, or to an address that somebody told. They can be spent after one `mine`.
    pub struct Fund("fund") -> FundingTx {
        /// Who receives them.
        fund: Funded,
        /// How much.
        amount: Arg<Sat>,
    } optional {}
    check not_nothing;
}

fn not_nothing(step: &Fund, cx: &mut StepCx<'_>) -> bool {
    if step.amount != Arg::Literal(Sat(0)) {
        return true;
    }
    let span = cx.value_span("amount");
    cx.problem(span, "`fund` sends nothing")
        .label("no coins")
        .help("write an amount such as \"1_000_000 sat\", or leave the step out");
    false
}

step! {
    /// Says whose the coins at addresses or output descriptors on Bitcoin are, such as those of the wallet of a program that `run` starts:
    /// the money oracle counts them from here on. Of a ranged descriptor it is the first 100 scripts.
    pub struct Owner("owner") -> () {
        /// Whose they are, as the money sheet is to call it.
        owner: String,
        /// The addresses, or the descriptors with or without checksums, one on a line.
        coins: Arg<String>,
    } optional {}
    check somebody;
}

fn somebody(step: &Owner, cx: &mut StepCx<'_>) -> bool {
    if !step.owner.trim().is_empty() {
        return true;
    }
    let span = cx.value_span("owner");
    cx.problem(span, "nobody owns coins here")
        .label("no name")
        .help("write a name for whose they are, such as \"client\"");
    false
}

step! {
    /// Mines blocks and waits until every daemon has seen the last one.
    pub struct Mine("mine") -> Mined {
        /// How many.
        mine: BlockDelta,
    } optional {
        /// On which chain.
        chain: Chain = Chain::Bitcoin,
    }
    check at_least_one;
}

fn at_least_one(step: &Mine, cx: &mut StepCx<'_>) -> bool {
    if step.mine.0 > 0 {
        return step.chain.is_there(cx);
    }
    let span = cx.value_span("mine");
    cx.problem(span, "`mine` mines nothing")
        .label("no blocks")
        .help("write how many blocks to mine, such as 1, or leave the step out");
    false
}

step! {
    /// Mines blocks up to a height and waits until every daemon has seen the last one. It fails when that is reached already.
    pub struct MineTo("mine_to") -> Mined {
        /// Up to which height.
        mine_to: Arg<Height>,
    } optional {
        /// How many blocks below it to stop.
        less: BlockDelta = BlockDelta(0),
        /// On which chain.
        chain: Chain = Chain::Bitcoin,
    }
    check can_be_reached;
}

fn can_be_reached(step: &MineTo, cx: &mut StepCx<'_>) -> bool {
    step.chain.is_there(cx)
}

step! {
    /// Takes the last blocks of a chain away, mines others in their place, and waits until every daemon has followed.
    /// What only the old blocks held waits in the mempool again, and the new ones take it in unless they are `empty`.
    pub struct Reorg("reorg") -> Mined {
        /// How many blocks are taken away.
        reorg: BlockDelta,
    } optional {
        /// Of which chain.
        chain: Chain = Chain::Bitcoin,
        /// How many are mined in their place; one more than are taken away when it is left out. A daemon stays on the
        /// chain with the most work that it has seen, so there must be more.
        blocks: Option<BlockDelta> = None,
        /// Whether the new blocks leave what waits in the mempool where it is.
        empty: bool = false,
    }
    check replaces_something;
}

impl Reorg {
    /// How many blocks are mined.
    pub(crate) fn new_blocks(&self) -> BlockDelta {
        self.blocks
            .unwrap_or(BlockDelta(self.reorg.0.saturating_add(1)))
    }
}

fn replaces_something(step: &Reorg, cx: &mut StepCx<'_>) -> bool {
    if step.reorg.0 == 0 {
        let span = cx.value_span("reorg");
        cx.problem(span, "`reorg` takes nothing away")
            .label("no blocks")
            .help("write how many blocks are replaced, such as 1");
        return false;
    }
    if step.new_blocks() <= step.reorg {
        let (span, of) = (cx.value_span("blocks"), cx.value_span("reorg"));
        let needed = step.reorg.0.saturating_add(1);
        cx.problem(
            span,
            "no daemon would follow: the new chain is not the longer one",
        )
        .label(format!("at least {needed} are needed"))
        .also(of, "so many are taken away")
        .help(format!("write blocks = {needed} or more, or leave it out"));
        return false;
    }
    step.chain.is_there(cx)
}
