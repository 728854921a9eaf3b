//! The wallet's coins, and which of them a funding spends. Pure.

use std::collections::HashSet;

use elements::{AssetId, OutPoint, TxOut, TxOutSecrets};
use swaprig_units::{Height, Sat, Units};

use super::fee::FeePolicy;
use super::keys::KeyPath;
use super::reservations::Owned;
use super::size::FundingSize;
use super::swap_chain::Shortage;
use crate::swap::{Asset, Terms, neutral_outpoint};

/// An unspent output of the wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// Of which asset.
    pub asset: AssetId,
    /// How much of it, in its smallest parts; satoshi for L-BTC.
    pub value: Units,
    /// Whether everybody sees asset and value. Only such coins are used for fundings.
    pub explicit: bool,
    /// The height of its block; `None` in the mempool.
    pub height: Option<Height>,
    /// The key that spends it.
    pub(super) path: KeyPath,
    /// The output, without its proofs.
    pub(super) output: TxOut,
    /// What its commitments hide.
    pub(super) secrets: TxOutSecrets,
}

impl Owned for Coin {
    fn outpoint(&self) -> bitcoin::OutPoint {
        neutral_outpoint(self.outpoint)
    }

    fn height(&self) -> Option<Height> {
        self.height
    }

    fn asset(&self) -> Asset {
        self.asset.into()
    }

    fn value(&self) -> u64 {
        self.value.0
    }

    fn is_usable(&self) -> bool {
        self.explicit && self.height.is_some()
    }
}

/// What a funding has to lock and to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// What is sold.
    pub asset: AssetId,
    /// How much of it.
    pub amount: Units,
    /// L-BTC beside it, for the claim; zero when L-BTC is sold.
    pub fee_value: Sat,
    /// The asset that fees are paid in: L-BTC.
    pub policy_asset: AssetId,
    /// How the funding itself pays.
    pub fees: FeePolicy,
}

/// The coins for one funding, and what comes back of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The coins, in the order of their outpoints.
    pub coins: Vec<Coin>,
    /// What is sent back, per asset; never zero, at most one entry for each asset.
    pub change: Vec<(AssetId, Units)>,
    /// What the network gets.
    pub fee: Sat,
}

impl Selection {
    /// What is to be reserved.
    pub fn outpoints(&self) -> impl Iterator<Item = OutPoint> + '_ {
        self.coins.iter().map(|coin| coin.outpoint)
    }
}

/// Chooses coins for `needs`: confirmed and explicit ones that are not in `reserved`; as few as possible, of those the smallest that
/// suffice, and rather without change or with change that is worth an output than with a rest that is lost to the fee.
/// The same coins give the same choice, whatever their order.
///
/// # Errors
///
/// When there are not enough.
pub fn select(
    coins: &[Coin],
    needs: &Needs,
    reserved: &HashSet<OutPoint>,
) -> Result<Selection, Shortage> {
    let usable = |asset: AssetId| {
        let mut usable: Vec<&Coin> = coins
            .iter()
            .filter(|coin| {
                coin.asset == asset && coin.is_usable() && !reserved.contains(&coin.outpoint)
            })
            .collect();
        usable.sort_by_key(|coin| (coin.value, coin.outpoint));
        usable
    };
    let short = |asset, wanted: u128| shortage(coins, asset, wanted, reserved);
    let mut chosen: Vec<&Coin> = Vec::new();
    let mut size = FundingSize::new(needs.fee_value != Sat(0));
    if !needs.is_lbtc() {
        let wanted = u128::from(needs.amount.0);
        let judge = |_, sum: u128| match sum.checked_sub(wanted) {
            None => Judgement::TooLittle,
            Some(0) => Judgement::Exact,
            Some(_) => Judgement::Change,
        };
        chosen =
            pick(&usable(needs.asset), worth, judge).ok_or_else(|| short(needs.asset, wanted))?;
        size.change += usize::from(sum(&chosen) > wanted);
        size.inputs += chosen.len();
    }
    let all = usable(needs.policy_asset);
    let with = |count: usize| FundingSize {
        inputs: size.inputs + count,
        ..size
    };
    let judge = |count, sum| {
        let outcome = Outcome::of(sum, needs.locked_lbtc(), Costs::of(with(count), needs.fees));
        outcome.map_or(Judgement::TooLittle, Outcome::judgement)
    };
    let picked = pick(&all, worth, judge).ok_or_else(|| {
        let fee = needs.fees.rate.fee(with(all.len().max(1)).vsize());
        short(needs.policy_asset, needs.locked_lbtc() + u128::from(fee.0))
    })?;
    chosen.extend(picked);
    Ok(settle(chosen, needs).expect("these were judged to suffice"))
}

/// The selection that [`select`] made for `needs` when it chose `outpoints`, from the coins as they are now. For a funding that
/// was not signed yet when the server went down.
///
/// # Errors
///
/// When one of them is not the wallet's any more, or they do not suffice: they were chosen for something else.
pub fn reselect(
    coins: &[Coin],
    needs: &Needs,
    outpoints: &HashSet<OutPoint>,
) -> Result<Selection, Reselect> {
    let chosen: Vec<&Coin> = coins
        .iter()
        .filter(|coin| outpoints.contains(&coin.outpoint))
        .collect();
    let is_found = |outpoint: &&OutPoint| chosen.iter().any(|coin| coin.outpoint == **outpoint);
    if let Some(gone) = outpoints.iter().find(|outpoint| !is_found(outpoint)) {
        return Err(Reselect::Gone(*gone));
    }
    settle(chosen, needs).ok_or(Reselect::TooLittle)
}

/// Why coins that were chosen before are of no use now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reselect {
    /// It is spent, or was never there.
    #[error("the coin {0} is not in the wallet any more")]
    Gone(OutPoint),
    /// They do not hold what is needed.
    #[error("the coins that were chosen do not hold what is needed")]
    TooLittle,
}

impl Needs {
    /// What a funding of `terms` needs.
    pub fn of(terms: &Terms, policy_asset: AssetId, fees: FeePolicy) -> Needs {
        Needs {
            asset: terms.asset.on_liquid(),
            amount: terms.amount,
            fee_value: terms.fee_value,
            policy_asset,
            fees,
        }
    }

    fn is_lbtc(&self) -> bool {
        self.asset == self.policy_asset
    }

    /// L-BTC in all outputs of the HTLC.
    fn locked_lbtc(&self) -> u128 {
        let sold = if self.is_lbtc() { self.amount.0 } else { 0 };
        u128::from(sold) + u128::from(self.fee_value.0)
    }
}

/// What becomes of `chosen`; `None` when they do not suffice.
fn settle(chosen: Vec<&Coin>, needs: &Needs) -> Option<Selection> {
    let of = |asset: AssetId| -> u128 {
        let own = chosen.iter().filter(|coin| coin.asset == asset);
        own.map(|coin| u128::from(coin.value.0)).sum()
    };
    let mut change = Vec::new();
    if !needs.is_lbtc() {
        let rest = of(needs.asset).checked_sub(u128::from(needs.amount.0))?;
        if rest > 0 {
            change.push((needs.asset, units(rest)));
        }
    }
    let size = FundingSize {
        inputs: chosen.len(),
        change: change.len(),
        ..FundingSize::new(needs.fee_value != Sat(0))
    };
    let outcome = Outcome::of(
        of(needs.policy_asset),
        needs.locked_lbtc(),
        Costs::of(size, needs.fees),
    )?;
    if outcome.change > 0 {
        change.push((needs.policy_asset, Units(outcome.change)));
    }
    let mut coins: Vec<Coin> = chosen.into_iter().cloned().collect();
    coins.sort_by_key(|coin| coin.outpoint);
    Some(Selection {
        coins,
        change,
        fee: Sat(outcome.fee),
    })
}

fn worth(coin: &Coin) -> u64 {
    coin.value.0
}

fn sum(coins: &[&Coin]) -> u128 {
    coins.iter().map(|coin| u128::from(coin.value.0)).sum()
}

fn units(amount: u128) -> Units {
    Units(u64::try_from(amount).unwrap_or(u64::MAX))
}

fn shortage(
    coins: &[Coin],
    asset: AssetId,
    wanted: u128,
    reserved: &HashSet<OutPoint>,
) -> Shortage {
    let (mut available, mut elsewhere) = (0_u128, 0_u128);
    for coin in coins.iter().filter(|coin| coin.asset == asset) {
        if coin.is_usable() && !reserved.contains(&coin.outpoint) {
            available += u128::from(coin.value.0);
        } else {
            elsewhere += u128::from(coin.value.0);
        }
    }
    Shortage {
        asset: asset.into(),
        wanted: units(wanted),
        available: units(available),
        elsewhere: units(elsewhere),
    }
}

/// What a transaction pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Costs {
    /// Without change.
    pub(super) bare: Sat,
    /// With one output for change more.
    pub(super) with_change: Sat,
    /// The least that is worth an output.
    pub(super) dust: Sat,
}

impl Costs {
    /// `size` is the funding's without change of L-BTC.
    fn of(size: FundingSize, fees: FeePolicy) -> Costs {
        let with_change = FundingSize {
            change: size.change + 1,
            ..size
        };
        Costs {
            bare: fees.rate.fee(size.vsize()),
            with_change: fees.rate.fee(with_change.vsize()),
            dust: fees.dust,
        }
    }
}

/// What becomes of the coins that are not locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) change: u64,
    pub(super) fee: u64,
    is_exact: bool,
}

impl Outcome {
    /// `None` when `sum` does not suffice.
    pub(super) fn of(sum: u128, locked: u128, costs: Costs) -> Option<Outcome> {
        let bare = u128::from(costs.bare.0);
        let rest = sum.checked_sub(locked + bare)?;
        let fee = costs.with_change.0;
        let change = sum.saturating_sub(locked + u128::from(fee));
        let kept = change >= u128::from(costs.dust.0.max(1));
        Some(Outcome {
            change: if kept { units(change).0 } else { 0 },
            fee: if kept { fee } else { units(bare + rest).0 },
            is_exact: rest == 0,
        })
    }

    pub(super) fn judgement(self) -> Judgement {
        match self {
            Outcome { is_exact: true, .. } => Judgement::Exact,
            Outcome { change: 0, .. } => Judgement::Waste,
            Outcome { .. } => Judgement::Change,
        }
    }
}

/// What some coins are worth for a purpose, best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Judgement {
    TooLittle,
    /// A rest goes to the fee that is not worth an output.
    Waste,
    Change,
    Exact,
}

/// The smallest number of coins that suffice: of the runs of so many neighbours, and of the largest ones with one other coin, the
/// best, and of those the smallest. `coins` ascend in what they are worth.
pub(super) fn pick<'c, C>(
    coins: &[&'c C],
    worth: impl Fn(&C) -> u64,
    judge: impl Fn(usize, u128) -> Judgement,
) -> Option<Vec<&'c C>> {
    let sum = |coins: &[&C]| -> u128 { coins.iter().map(|coin| u128::from(worth(coin))).sum() };
    if judge(0, 0) == Judgement::Exact {
        return Some(Vec::new());
    }
    let value = |at: usize| u128::from(worth(coins[at]));
    let mut largest = 0;
    let count = (1..=coins.len()).find(|count| {
        largest += value(coins.len() - count);
        judge(*count, largest) > Judgement::TooLittle
    })?;
    // The largest ones but one, and where they begin.
    let (top, others) = (
        sum(&coins[coins.len() - count + 1..]),
        coins.len() - count + 1,
    );
    let mut run = sum(&coins[..count - 1]);
    let mut best: Option<(Judgement, u128, Vec<&'c C>)> = None;
    for start in 0..others {
        run += value(start + count - 1);
        for (sum, is_run) in [(run, true), (top + value(start), false)] {
            let judgement = judge(count, sum);
            let is_better = match &best {
                None => judgement > Judgement::TooLittle,
                Some((found, least, _)) => {
                    judgement > *found || (judgement == *found && sum < *least)
                }
            };
            if is_better {
                let mut chosen = coins[if is_run {
                    start..start + count
                } else {
                    others..coins.len()
                }]
                .to_vec();
                if !is_run {
                    chosen.push(coins[start]);
                }
                best = Some((judgement, sum, chosen));
            }
        }
        run -= value(start);
    }
    best.map(|(_, _, chosen)| chosen)
}

#[cfg(test)]
pub(super) mod tests;
