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

#[cfg(test)]
mod tests {
    use bitcoin::Txid;
    use bitcoin::hashes::Hash as _;
    use proptest::prelude::*;

    use super::*;

    const DUST: Sat = Sat(330);

    fn taproot(number: u8) -> ScriptBuf {
        let mut bytes = vec![0x51, 0x20];
        bytes.extend([number; 32]);
        ScriptBuf::from(bytes)
    }

    fn coin(number: u32, value: u64, height: Option<u32>) -> BtcCoin {
        let output = paying(Sat(value), taproot(1));
        BtcCoin {
            outpoint: OutPoint {
                txid: Txid::from_byte_array([7; 32]),
                vout: number,
            },
            value: Sat(value),
            height: height.map(Height),
            change: false,
            path: (KeychainKind::External, number),
            output,
        }
    }

    fn signed_size(mut transaction: Transaction) -> usize {
        for input in &mut transaction.input {
            input.witness.push([0; 64]);
        }
        transaction.vsize()
    }

    proptest! {
        /// What is selected is confirmed, not reserved and enough, is the same in any order, and builds a transaction that pays its
        /// rate, not a satoshi more when something comes back.
        #[test]
        fn a_selection_becomes_a_transaction_that_pays_its_rate(
            values in proptest::collection::vec((1_000..100_000_u64, proptest::option::weighted(0.8, 1..9_u32)), 1..300),
            amount in 330..2_000_000_u64,
            has_tag in any::<bool>(),
            rate in 100..50_000_u64,
            reserved in proptest::collection::hash_set(0..300_u32, 0..30),
        ) {
            let rate = FeeRate(rate);
            let coins: Vec<BtcCoin> = (0..).zip(&values).map(|(number, (value, height))| coin(number, *value, *height)).collect();
            let reserved: HashSet<OutPoint> = coins.iter().filter(|coin| reserved.contains(&coin.outpoint.vout)).map(|coin| coin.outpoint).collect();
            let mut outputs = vec![paying(Sat(amount), taproot(2))];
            if has_tag {
                outputs.push(paying(Sat(0), ScriptBuf::new_op_return([0; 45])));
            }
            let chosen = match select(&coins, &outputs, rate, DUST, &reserved) {
                Ok(chosen) => chosen,
                Err(short) => {
                    let all: u64 = values.iter().map(|(value, _)| value).sum();
                    prop_assert_eq!(short.available.0 + short.elsewhere.0, all);
                    prop_assert!(short.wanted > short.available);
                    return Ok(());
                }
            };
            let mut turned = coins.clone();
            turned.reverse();
            prop_assert_eq!(select(&turned, &outputs, rate, DUST, &reserved).unwrap(), chosen.clone());
            for coin in &chosen.coins {
                prop_assert!(coin.height.is_some() && !reserved.contains(&coin.outpoint));
            }
            let own: Vec<_> = chosen.coins.iter().map(|coin| (coin.outpoint, coin.value)).collect();
            let transaction = unsigned(&own, outputs.clone(), taproot(3), rate, DUST).unwrap();
            let (held, paid) = (own.iter().map(|(_, value)| value.0).sum::<u64>(), sum(&transaction.output));
            prop_assert_eq!(u128::from(held), paid + u128::from(chosen.fee.0));
            prop_assert_eq!(&transaction.output[..outputs.len()], &outputs[..]);
            let change = transaction.output.get(outputs.len()).map_or(0, |output| output.value.to_sat());
            prop_assert_eq!(change, chosen.change.0);
            let least = rate.fee(signed_size(transaction));
            prop_assert!(chosen.fee >= least);
            if change > 0 {
                prop_assert!(chosen.fee == least && change >= DUST.0);
            }
        }

        /// A fan-out makes as many pieces as asked for, or as many as there can be, and pays its rate.
        #[test]
        fn coins_are_divided_into_as_many_as_there_can_be(
            values in proptest::collection::vec(1_000..1_000_000_u64, 1..20),
            count in 1..60_usize,
            size in 330..200_000_u64,
            rate in 100..20_000_u64,
        ) {
            let (rate, size) = (FeeRate(rate), Sat(size));
            let own: Vec<_> = (0..).zip(&values).map(|(vout, value)| (OutPoint { txid: Txid::from_byte_array([1; 32]), vout }, Sat(*value))).collect();
            let held: u64 = values.iter().sum();
            let fits = |count: usize| {
                let outputs = vec![paying(size, taproot(1)); count];
                let bare = rate.fee(vsize(own.len(), &outputs, 0));
                u128::from(held) >= u128::from(size.0) * count as u128 + u128::from(bare.0)
            };
            match divided(&own, count, size, (taproot(1), taproot(2)), rate, DUST) {
                Ok((transaction, pieces)) => {
                    prop_assert!(pieces <= count && fits(pieces) && (pieces == count || !fits(pieces + 1)));
                    let is_piece = |output: &&TxOut| output.script_pubkey == taproot(1) && output.value.to_sat() == size.0;
                    prop_assert_eq!(transaction.output.iter().filter(is_piece).count(), pieces);
                    let fee = u128::from(held) - sum(&transaction.output);
                    prop_assert!(fee >= u128::from(rate.fee(signed_size(transaction)).0));
                }
                Err(_) => prop_assert!(!fits(1)),
            }
        }
    }
}
