//! Steps on the Liquid chain.

use swaprig_units::Units;

use crate::entities::{Asset, LiquidTransaction};
use crate::lang::{Arg, AssetOf, LiquidAmount, StepCx, To, Wallet};
use crate::step;

step! {
    /// Sends coins on Liquid out of nowhere, which is the faucet's wallet. They can be relied on after one `mine` on Liquid.
    pub struct FundLiquid("fund_liquid") -> LiquidTransaction {
        /// Who receives them.
        fund_liquid: To,
        /// How much.
        amount: LiquidAmount,
    } optional {
        /// Of which asset.
        asset: AssetOf = AssetOf::Lbtc,
        /// Whether only the wallet that receives them can read amount and asset. An address says that itself.
        confidential: bool = true,
    }
    keys has_liquid;
    check fund_fits;
}

step! {
    /// Sends coins on Liquid from a wallet, which pays the fee on top, in L-BTC. They can be relied on after one `mine` on Liquid.
    pub struct SendLiquid("send_liquid") -> LiquidTransaction {
        /// Who receives them.
        send_liquid: To,
        /// Whose coins.
        by: Wallet,
        /// How much.
        amount: LiquidAmount,
    } optional {
        /// Of which asset.
        asset: AssetOf = AssetOf::Lbtc,
        /// Whether only the wallet that receives them can read amount and asset. An address says that itself.
        confidential: bool = true,
    }
    keys has_liquid;
    check send_fits;
}

step! {
    /// Makes a new asset on Liquid, all of it for one wallet. It takes one `mine` on Liquid to confirm.
    pub struct IssueAsset("issue_asset") -> Asset {
        /// How much of it.
        issue_asset: Arg<Units>,
    } optional {
        /// The wallet that makes it, gets it and pays the fee.
        by: Wallet = Wallet(swaprig_harness::elementsd::FAUCET.to_owned()),
        /// Whether nobody else can read how much was made.
        blind: bool = false,
        /// How many tokens are made that allow to issue more of it.
        tokens: Units = Units(0),
    }
    keys has_liquid;
    check issues_something;
}

fn has_liquid(cx: &mut StepCx<'_>) -> bool {
    let span = cx.key_span(cx.step());
    cx.needs_liquid(span)
}

fn fund_fits(step: &FundLiquid, cx: &mut StepCx<'_>) -> bool {
    fits(&step.fund_liquid, &step.amount, &step.asset, cx)
}

fn send_fits(step: &SendLiquid, cx: &mut StepCx<'_>) -> bool {
    fits(&step.send_liquid, &step.amount, &step.asset, cx)
}

fn fits(to: &To, amount: &LiquidAmount, asset: &AssetOf, cx: &mut StepCx<'_>) -> bool {
    if !matches!(to, To::Wallet(_)) && cx.has("confidential") {
        let (span, to) = (cx.key_span("confidential"), cx.value_span(cx.step()));
        cx.problem(span, "`confidential` beside an address, which says itself whether it is")
            .label("too much")
            .also(to, "an address")
            .help("leave `confidential` out; addresses that begin with el1 are confidential, with ert1 not");
        return false;
    }
    amount.fits(asset, cx)
}

fn issues_something(step: &IssueAsset, cx: &mut StepCx<'_>) -> bool {
    if step.issue_asset != Arg::Literal(Units(0)) {
        return true;
    }
    let span = cx.value_span("issue_asset");
    cx.problem(span, "`issue_asset` makes nothing")
        .label("no units")
        .help("write how many, such as \"1_000 units\"");
    false
}
