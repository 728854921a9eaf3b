//! Which coins a transaction spends and what it is made of. Pure.

use std::collections::HashSet;

use bdk_wallet::KeychainKind;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, VarInt, Witness};
use swaprig_units::{Height, Sat};

use super::super::coins::{Costs, Judgement, Outcome, pick};
use crate::swap::FeeRate;

/// Coins that one transaction spends at most: 400 make 23,000 vB, and the network relays 100,000.
const MOST_COINS: usize = 400;
/// Coins that one fan-out makes at most.
const MOST_PIECES: usize = 500;
/// Weight of an input: outpoint, empty script, sequence; one signature of 64 bytes.
const INPUT: usize = 4 * (36 + 1 + 4) + 1 + 1 + 64;
/// Weight of a taproot output, which change is.
const CHANGE: usize = 4 * (8 + 1 + 34);

/// An unspent output of the wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtcCoin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// How much it holds.
    pub value: Sat,
    /// The height of its block; `None` in the mempool, where fundings cannot use it.
    pub height: Option<Height>,
    /// Whether it came back from a transaction of the wallet.
    pub change: bool,
    /// The key that spends it.
    pub(super) path: (KeychainKind, u32),
    /// The output.
    pub(super) output: TxOut,
}

/// The coins for one funding, and what comes back of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtcSelection {
    /// The coins, in the order of their outpoints.
    pub coins: Vec<BtcCoin>,
    /// What is sent back; zero when it is not worth an output.
    pub change: Sat,
    /// What the network gets.
    pub fee: Sat,
}

impl BtcSelection {
    /// What is to be reserved.
    pub fn outpoints(&self) -> impl Iterator<Item = OutPoint> + '_ {
        self.coins.iter().map(|coin| coin.outpoint)
    }
}

/// There are not enough coins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} sat are wanted and {available} are there in confirmed coins that nobody reserved ({elsewhere} more are unconfirmed or \
     reserved)"
)]
pub struct BtcShortage {
    /// How much is needed at least, with the fee.
    pub wanted: Sat,
    /// How much could be used now.
    pub available: Sat,
    /// How much more there is that could be used later.
    pub elsewhere: Sat,
}

/// Why a funding cannot be built from coins that were chosen for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FundError {
    /// The wallet never had it.
    #[error("the coin {0} is not the wallet's")]
    Unknown(OutPoint),
    /// They do not hold what is needed.
    #[error("the coins that were chosen do not hold the outputs and the fee")]
    TooLittle,
}

/// A signed transaction that makes coins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtcFanOut {
    /// It. Send it; it can be lost without harm.
    pub transaction: Transaction,
    /// How many coins of the size that was asked for it makes.
    pub pieces: usize,
}

impl BtcFanOut {
    /// What it spends, to be reserved until it is confirmed.
    pub fn outpoints(&self) -> impl Iterator<Item = OutPoint> + '_ {
        let inputs = self.transaction.input.iter();
        inputs.map(|input| input.previous_output)
    }
}

fn sum(outputs: &[TxOut]) -> u128 {
    outputs
        .iter()
        .map(|output| u128::from(output.value.to_sat()))
        .sum()
}

fn sat(amount: u128) -> Sat {
    Sat(u64::try_from(amount).unwrap_or(u64::MAX))
}

/// Size of a signed transaction that spends so many of the wallet's coins, in virtual bytes.
fn vsize(inputs: usize, outputs: &[TxOut], change: usize) -> usize {
    let counts = VarInt::from(inputs).size() + VarInt::from(outputs.len() + change).size();
    let own: usize = outputs.iter().map(|output| output.size() * 4).sum();
    let weight = 4 * (4 + counts + 4) + 2 + INPUT * inputs + own + CHANGE * change;
    weight.div_ceil(4)
}

fn costs(inputs: usize, outputs: &[TxOut], rate: FeeRate, dust: Sat) -> Costs {
    Costs {
        bare: rate.fee(vsize(inputs, outputs, 0)),
        with_change: rate.fee(vsize(inputs, outputs, 1)),
        dust,
    }
}

/// Chooses confirmed coins that are not in `reserved` for a transaction with `outputs`, as [`select`](super::super::select) does on Liquid:
/// the same coins give the same choice.
pub(super) fn select(
    coins: &[BtcCoin],
    outputs: &[TxOut],
    rate: FeeRate,
    dust: Sat,
    reserved: &HashSet<OutPoint>,
) -> Result<BtcSelection, BtcShortage> {
    let is_usable = |coin: &&BtcCoin| coin.height.is_some() && !reserved.contains(&coin.outpoint);
    let mut usable: Vec<&BtcCoin> = coins.iter().filter(is_usable).collect();
    usable.sort_by_key(|coin| (coin.value, coin.outpoint));
    let locked = sum(outputs);
    let judge = |count: usize, sum: u128| {
        let outcome = Outcome::of(sum, locked, costs(count, outputs, rate, dust));
        let outcome = outcome.filter(|_| (1..=MOST_COINS).contains(&count));
        outcome.map_or(Judgement::TooLittle, Outcome::judgement)
    };
    let Some(picked) = pick(&usable, |coin| coin.value.0, judge) else {
        let total = |coins: &mut dyn Iterator<Item = &BtcCoin>| -> u128 {
            coins.map(|coin| u128::from(coin.value.0)).sum()
        };
        let available = total(&mut usable.iter().copied());
        let fee = costs(usable.len().max(1), outputs, rate, dust).bare;
        return Err(BtcShortage {
            wanted: sat(locked + u128::from(fee.0)),
            available: sat(available),
            elsewhere: sat(total(&mut coins.iter()) - available),
        });
    };
    let total = picked.iter().map(|coin| u128::from(coin.value.0)).sum();
    let outcome = Outcome::of(total, locked, costs(picked.len(), outputs, rate, dust))
        .expect("these were judged to suffice");
    let mut coins: Vec<BtcCoin> = picked.into_iter().cloned().collect();
    coins.sort_by_key(|coin| coin.outpoint);
    Ok(BtcSelection {
        coins,
        change: Sat(outcome.change),
        fee: Sat(outcome.fee),
    })
}

/// The transaction from coins of these values to `outputs`, not signed; the change comes last. The same for the same arguments.
pub(super) fn unsigned(
    coins: &[(OutPoint, Sat)],
    mut outputs: Vec<TxOut>,
    change: ScriptBuf,
    rate: FeeRate,
    dust: Sat,
) -> Result<Transaction, FundError> {
    let total = coins.iter().map(|(_, value)| u128::from(value.0)).sum();
    let outcome = Outcome::of(
        total,
        sum(&outputs),
        costs(coins.len(), &outputs, rate, dust),
    )
    .ok_or(FundError::TooLittle)?;
    if outcome.change > 0 {
        outputs.push(paying(Sat(outcome.change), change));
    }
    Ok(spend(coins, outputs))
}

/// The transaction that makes up to `count` coins of `size` of `coins`, and one of what is left; not signed.
pub(super) fn divided(
    coins: &[(OutPoint, Sat)],
    count: usize,
    size: Sat,
    (pieces, rest): (ScriptBuf, ScriptBuf),
    rate: FeeRate,
    dust: Sat,
) -> Result<(Transaction, usize), FundError> {
    let total: u128 = coins.iter().map(|(_, value)| u128::from(value.0)).sum();
    if size < dust {
        return Err(FundError::TooLittle);
    }
    let most = usize::try_from(total / u128::from(size.0.max(1))).unwrap_or(usize::MAX);
    let mut count = count.min(most).min(MOST_PIECES);
    // What the fee takes away is seldom more than one piece.
    while count > 0 {
        let outputs = vec![paying(size, pieces.clone()); count];
        match unsigned(coins, outputs, rest.clone(), rate, dust) {
            Ok(transaction) => return Ok((transaction, count)),
            Err(_) => count -= 1,
        }
    }
    Err(FundError::TooLittle)
}

fn paying(value: Sat, script_pubkey: ScriptBuf) -> TxOut {
    TxOut {
        value: Amount::from_sat(value.0),
        script_pubkey,
    }
}

fn spend(coins: &[(OutPoint, Sat)], output: Vec<TxOut>) -> Transaction {
    let mut outpoints: Vec<OutPoint> = coins.iter().map(|(outpoint, _)| *outpoint).collect();
    outpoints.sort();
    let input = |previous_output| TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: outpoints.into_iter().map(input).collect(),
        output,
    }
}
