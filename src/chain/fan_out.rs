//! Makes explicit coins of confidential and of large ones, so that many fundings can be made at once.

use std::collections::BTreeMap;

use elements::confidential::{AssetBlindingFactor, Nonce, ValueBlindingFactor};
use elements::opcodes::all::OP_RETURN;
use elements::script::Builder;
use elements::secp256k1_zkp::rand::rngs::ThreadRng;
use elements::secp256k1_zkp::rand::thread_rng;
use elements::secp256k1_zkp::{All, PublicKey, Secp256k1, SecretKey};
use elements::{
    Address, AssetId, OutPoint, RangeProof, RangeProofMessage, Script, Transaction, TxOut,
    TxOutSecrets, TxOutWitness,
};
use swaprig_units::{Sat, Units};

use super::coins::Coin;
use super::fee::FeePolicy;
use super::funding::{explicit, spend};
use super::wallet::WalletError;

/// Coins that one fan-out can spend at most: surjection proofs know 256 inputs.
const MOST_COINS: usize = 100;
/// How often the fee is set right before it is given up; sizes hardly differ between two attempts.
const ATTEMPTS: usize = 6;

/// Which coins are wanted of an asset. What is left beyond them comes back in one coin; what is left and is smaller than
/// a piece becomes an explicit coin, too, so that everything can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Of which asset.
    pub asset: AssetId,
    /// How many, at most.
    pub count: usize,
    /// How large each.
    pub size: Units,
}

/// A signed transaction that makes explicit coins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanOut {
    /// It. Send it; it can be lost without harm.
    pub transaction: Transaction,
    /// What it spends, to be reserved until it is confirmed.
    pub coins: Vec<Coin>,
    /// How many explicit coins it makes.
    pub pieces: usize,
}

impl FanOut {
    /// What it spends.
    pub fn outpoints(&self) -> impl Iterator<Item = OutPoint> + '_ {
        self.coins.iter().map(|coin| coin.outpoint)
    }
}

/// Why no explicit coins can be made.
#[derive(Debug, thiserror::Error)]
pub enum FanOutError {
    /// The coins do not hold enough for the pieces and the fee.
    #[error("the coins hold too little for the pieces and the fee")]
    TooLittle,
    /// More coins than one transaction can spend.
    #[error("{0} coins are too many for one transaction; {MOST_COINS} can be spent at once")]
    TooMany(usize),
    /// The proofs cannot be made.
    #[error("the transaction could not be blinded: {0}")]
    Blind(String),
    /// No address could be taken.
    #[error(transparent)]
    Wallet(#[from] WalletError),
}

/// Where outputs go.
struct Destinations<'a> {
    /// The explicit coins.
    pieces: &'a Script,
    /// What comes back; confidential.
    rest: &'a Address,
    policy_asset: AssetId,
}

/// The transaction that splits `coins`, not signed yet.
pub(super) fn unsigned(
    mut coins: Vec<Coin>,
    splits: &[Split],
    pieces: &Script,
    rest: &Address,
    policy_asset: AssetId,
    fees: FeePolicy,
) -> Result<FanOut, FanOutError> {
    if coins.len() > MOST_COINS {
        return Err(FanOutError::TooMany(coins.len()));
    }
    coins.sort_by_key(|coin| coin.outpoint);
    let to = Destinations {
        pieces,
        rest,
        policy_asset,
    };
    let mut fee = Sat(0);
    for _ in 0..ATTEMPTS {
        let plan = Plan::new(&coins, splits, &to, fee, fees.dust)?;
        let mut transaction = spend(&coins, plan.outputs);
        blind(&mut transaction, &coins, &plan.blinded)?;
        let wanted = fees.rate.fee(signed_vsize(&transaction));
        if plan.fee >= wanted && wanted != Sat(0) || plan.fee > Sat(0) && wanted == Sat(0) {
            return Ok(FanOut {
                transaction,
                pieces: plan.pieces,
                coins,
            });
        }
        fee = wanted.max(Sat(1));
    }
    Err(FanOutError::TooLittle)
}

/// Its size with a signature at each input.
fn signed_vsize(transaction: &Transaction) -> usize {
    let mut signed = transaction.clone();
    for input in &mut signed.input {
        input.witness.script_witness = vec![vec![0; 64]].into();
    }
    signed.vsize()
}

/// The outputs, explicit as yet.
struct Plan {
    outputs: Vec<TxOut>,
    /// Which of them are to be blinded, and for which key.
    blinded: BTreeMap<usize, PublicKey>,
    pieces: usize,
    fee: Sat,
}

impl Plan {
    fn new(
        coins: &[Coin],
        splits: &[Split],
        to: &Destinations<'_>,
        fee: Sat,
        dust: Sat,
    ) -> Result<Plan, FanOutError> {
        let mut plan = Plan {
            outputs: Vec::new(),
            blinded: BTreeMap::new(),
            pieces: 0,
            fee,
        };
        let mut totals: BTreeMap<AssetId, u64> = BTreeMap::new();
        for coin in coins {
            let total = totals.entry(coin.asset).or_default();
            *total = total
                .checked_add(coin.value.0)
                .ok_or(FanOutError::TooMany(coins.len()))?;
        }
        let paid = totals.entry(to.policy_asset).or_default();
        *paid = paid.checked_sub(fee.0).ok_or(FanOutError::TooLittle)?;
        let is_blind = coins.iter().any(|coin| !coin.explicit);
        for (asset, total) in totals {
            let split = splits
                .iter()
                .find(|split| split.asset == asset && split.size.0 > 0);
            plan.divide(asset, total, split, to, dust, is_blind);
        }
        if plan.pieces == 0 {
            return Err(FanOutError::TooLittle);
        }
        if is_blind && plan.blinded.is_empty() {
            // Confidential inputs balance only against a confidential output: one that holds nothing and nobody can spend.
            let script = Builder::new().push_opcode(OP_RETURN).into_script();
            plan.blinded.insert(plan.outputs.len(), any_key());
            plan.outputs.push(explicit(to.policy_asset, 0, script));
        }
        let paid = explicit(to.policy_asset, plan.fee.0, Script::new());
        plan.outputs.push(paid);
        Ok(plan)
    }

    fn divide(
        &mut self,
        asset: AssetId,
        total: u64,
        split: Option<&Split>,
        to: &Destinations<'_>,
        dust: Sat,
        is_blind: bool,
    ) {
        let most = split.map_or(0, |split| split.count);
        let size = split.map_or(1, |split| split.size.0);
        let count = usize::try_from(total / size)
            .unwrap_or(usize::MAX)
            .min(most);
        let mut rest = total;
        for _ in 0..count {
            self.outputs.push(explicit(asset, size, to.pieces.clone()));
            rest -= size;
        }
        self.pieces += count;
        if rest == 0 {
            return;
        }
        if asset == to.policy_asset && rest < dust.0 {
            self.fee = Sat(self.fee.0 + rest);
        } else if count < most {
            self.outputs.push(explicit(asset, rest, to.pieces.clone()));
            self.pieces += 1;
        } else if is_blind {
            if let Some(key) = to.rest.blinding_pubkey {
                self.blinded.insert(self.outputs.len(), key);
            }
            self.outputs
                .push(explicit(asset, rest, to.rest.script_pubkey()));
        } else {
            self.outputs.push(explicit(asset, rest, to.pieces.clone()));
        }
    }
}

/// A key for a proof that nobody will ever open.
fn any_key() -> PublicKey {
    SecretKey::new(&mut thread_rng()).public_key(&Secp256k1::new())
}

/// Blinds the outputs `keys` of `transaction`, the last one so that everything balances.
fn blind(
    transaction: &mut Transaction,
    coins: &[Coin],
    keys: &BTreeMap<usize, PublicKey>,
) -> Result<(), FanOutError> {
    let Some((last, _)) = keys.last_key_value() else {
        return Ok(());
    };
    let mut blinder = Blinder {
        secp: Secp256k1::new(),
        rng: thread_rng(),
        spent: coins.iter().map(|coin| coin.secrets).collect(),
    };
    let mut made = Vec::new();
    for (at, output) in transaction.output.iter().enumerate() {
        if !keys.contains_key(&at) {
            let (asset, value) = content(output);
            // What is neither an output that holds nothing nor blinded counts as it is.
            if value > 0 {
                made.push(TxOutSecrets::new(
                    asset,
                    AssetBlindingFactor::zero(),
                    value,
                    ValueBlindingFactor::zero(),
                ));
            }
        }
    }
    for (at, key) in keys {
        let (asset, value) = content(&transaction.output[*at]);
        let asset_bf = AssetBlindingFactor::new(&mut blinder.rng);
        let value_bf = if at == last {
            blinder.balance(value, asset_bf, &made)
        } else {
            ValueBlindingFactor::new(&mut blinder.rng)
        };
        // A coin that was made of explicit ones alone balances by itself, as a refund does: nothing is left to hide, and
        // there is no commitment to nothing with no blinding factor.
        if value == 0 && value_bf == ValueBlindingFactor::zero() {
            transaction.output.remove(*at);
            break;
        }
        let secrets = TxOutSecrets::new(asset, asset_bf, value, value_bf);
        made.push(secrets);
        let script = transaction.output[*at].script_pubkey.clone();
        transaction.output[*at] = blinder.output(secrets, script, *key)?;
    }
    Ok(())
}

fn content(output: &TxOut) -> (AssetId, u64) {
    let asset = output.asset.explicit().expect("a plan is explicit");
    (asset, output.value.explicit().expect("a plan is explicit"))
}

struct Blinder {
    secp: Secp256k1<All>,
    rng: ThreadRng,
    spent: Vec<TxOutSecrets>,
}

impl Blinder {
    fn balance(
        &self,
        value: u64,
        asset_bf: AssetBlindingFactor,
        made: &[TxOutSecrets],
    ) -> ValueBlindingFactor {
        let of = |all: &[TxOutSecrets]| -> Vec<_> {
            all.iter().map(TxOutSecrets::value_blind_inputs).collect()
        };
        ValueBlindingFactor::last(&self.secp, value, asset_bf, &of(&self.spent), &of(made))
    }

    /// The confidential output. elements makes none that holds nothing: its range proofs begin at 1.
    fn output(
        &mut self,
        secrets: TxOutSecrets,
        script: Script,
        key: PublicKey,
    ) -> Result<TxOut, FanOutError> {
        let failed = |error: &dyn std::fmt::Display| FanOutError::Blind(error.to_string());
        let asset = elements::confidential::Asset::Explicit(secrets.asset);
        let (asset, surjection_proof) = asset
            .blind(&mut self.rng, &self.secp, secrets.asset_bf, &self.spent)
            .map_err(|error| failed(&error))?;
        let (nonce, shared) =
            Nonce::with_ephemeral_sk(&self.secp, SecretKey::new(&mut self.rng), &key);
        let message = RangeProofMessage::new(secrets.asset, secrets.asset_bf);
        let generator = message.commitment(&self.secp);
        let value = elements::confidential::Value::new_confidential(
            &self.secp,
            secrets.value,
            generator,
            secrets.value_bf,
        );
        let rangeproof = RangeProof::new(
            &self.secp,
            u64::from(!script.is_provably_unspendable()),
            value.commitment().expect("it was just made"),
            secrets.value,
            secrets.value_bf.into_inner(),
            &message.to_byte_array(),
            script.as_bytes(),
            shared,
            TxOut::RANGEPROOF_EXP_SHIFT,
            TxOut::RANGEPROOF_MIN_PRIV_BITS,
            generator,
        )
        .map_err(|error| failed(&error))?;
        Ok(TxOut {
            asset,
            value,
            nonce,
            script_pubkey: script,
            witness: TxOutWitness {
                surjection_proof,
                rangeproof,
            },
        })
    }
}
