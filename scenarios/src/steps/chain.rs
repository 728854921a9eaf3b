//! Steps on the Bitcoin chain.

use swaprig_units::{BlockDelta, Sat};

use crate::entities::{FundingTx, Mined};
use crate::lang::{Arg, Party, StepCx};
use crate::step;

step! {
    /// Sends coins to a party's on-chain wallet. They can be spent after one `mine`.
    pub struct Fund("fund") -> FundingTx {
        /// Who receives them.
        fund: Party,
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
    /// Mines blocks and waits until every daemon has seen the last one.
    pub struct Mine("mine") -> Mined {
        /// How many.
        mine: BlockDelta,
    } optional {}
    check at_least_one;
}

fn at_least_one(step: &Mine, cx: &mut StepCx<'_>) -> bool {
    if step.mine.0 > 0 {
        return true;
    }
    let span = cx.value_span("mine");
    cx.problem(span, "`mine` mines nothing")
        .label("no blocks")
        .help("write how many blocks to mine, such as 1, or leave the step out");
    false
}
