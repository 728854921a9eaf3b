//! Do the amounts of a transaction add up, asset by asset? Elements' `VerifyAmounts`, rule for rule.
//!
//! `Transaction::verify_tx_amt_proofs` of the `elements` crate asks less (it knows no issuance proofs, no reissuance
//! tokens and no range of money) and here and there more (zero-value `OP_RETURN` outputs), so the same primitives are
//! put together here as Elements puts them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use elements::confidential::{Asset, Value};
use elements::secp256k1_zkp::{
    All, Generator, PedersenCommitment, Secp256k1, Tweak, verify_commitments_sum_to_equal,
};
use elements::{AssetId, RangeProof, Script, Transaction, TxIn, TxOut};

use super::params::MAX_MONEY;
use super::rejection::Rejection;

static SECP: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

/// Amounts by asset, in satoshi.
pub(crate) type AmountMap = BTreeMap<AssetId, u64>;

/// Why amounts do not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AmountError {
    /// Elements has one word for all of it.
    Unequal,
    /// Elements may accept it, the bundled node does not know how to tell.
    NotSupported(&'static str),
}

impl From<AmountError> for Rejection {
    fn from(error: AmountError) -> Self {
        match error {
            AmountError::Unequal => Rejection::with("bad-txns-in-ne-out", "value in != value out"),
            AmountError::NotSupported(what) => Rejection::not_supported(what),
        }
    }
}

use AmountError::Unequal;

/// The fees of a transaction by asset. None if one is zero or one asset's sum is out of range.
pub(crate) fn fees(tx: &Transaction) -> Option<AmountMap> {
    let mut fees = AmountMap::new();
    for output in tx.output.iter().filter(|output| output.is_fee()) {
        let (asset, amount) = (output.asset.explicit()?, output.value.explicit()?);
        if amount == 0 || !add(&mut fees, asset, amount) {
            return None;
        }
    }
    Some(fees)
}

/// Adds an amount; false if the sum is out of range.
#[must_use]
pub(crate) fn add(map: &mut AmountMap, asset: AssetId, amount: u64) -> bool {
    let sum = map.entry(asset).or_default();
    *sum = sum.saturating_add(amount);
    *sum <= MAX_MONEY
}

/// Whether the coinbase takes no more than there is, asset by asset, and hides nothing.
pub(crate) fn coinbase_fits(coinbase: &Transaction, reward: &AmountMap) -> bool {
    let mut taken = AmountMap::new();
    for output in &coinbase.output {
        let (Some(asset), Some(amount)) = (output.asset.explicit(), output.value.explicit()) else {
            return false;
        };
        if !output.witness.is_empty() || (amount == 0 && !is_unspendable(&output.script_pubkey)) {
            return false;
        }
        if !add(&mut taken, asset, amount) {
            return false;
        }
    }
    taken
        .iter()
        .all(|(asset, amount)| reward.get(asset).copied().unwrap_or(0) >= *amount)
}

/// Whether no signature can ever spend an output: `OP_RETURN`, a script too long, or a fee.
pub(crate) fn is_unspendable(script: &Script) -> bool {
    script.is_provably_unspendable()
}

/// Checks the amounts of a transaction that is not a coinbase against the outputs that it spends.
pub(crate) fn verify(
    tx: &Transaction,
    spent: &[TxOut],
    policy_asset: AssetId,
) -> Result<(), AmountError> {
    if spent.len() != tx.input.len() {
        return Err(Unequal);
    }
    let has_witness = tx.has_witness();
    let mut generators = Vec::new();
    let mut coming_in = Vec::new();
    for (input, output) in tx.input.iter().zip(spent) {
        let generator = generator(&output.asset)?;
        generators.push(generator);
        coming_in.push(spent_commitment(&output.value, generator)?);
        if input.has_issuance() {
            for (generator, commitment) in issued(input, output, has_witness, policy_asset)? {
                generators.push(generator);
                coming_in.push(commitment);
            }
        }
    }
    let mut going_out = Vec::new();
    for output in &tx.output {
        going_out.extend(output_commitment(output)?);
    }
    if !verify_commitments_sum_to_equal(&SECP, &coming_in, &going_out) {
        return Err(Unequal);
    }
    tx.output
        .iter()
        .try_for_each(|output| verify_proofs(output, &generators))
}

fn generator(asset: &Asset) -> Result<Generator, AmountError> {
    match asset {
        Asset::Null => Err(Unequal),
        Asset::Explicit(asset) => Ok(Generator::new_unblinded(&SECP, asset.into_tag())),
        Asset::Confidential(generator) => Ok(*generator),
    }
}

/// Of an explicit amount that is not zero.
fn explicit_commitment(
    amount: u64,
    generator: Generator,
) -> Result<PedersenCommitment, AmountError> {
    match amount {
        0 => Err(Unequal),
        _ => Ok(PedersenCommitment::new_unblinded(&SECP, amount, generator)),
    }
}

fn spent_commitment(
    value: &Value,
    generator: Generator,
) -> Result<PedersenCommitment, AmountError> {
    match value {
        Value::Explicit(amount) if *amount <= MAX_MONEY => explicit_commitment(*amount, generator),
        Value::Confidential(commitment) => Ok(*commitment),
        Value::Null | Value::Explicit(_) => Err(Unequal),
    }
}

/// None for outputs of nothing to nobody, which do not count.
fn output_commitment(output: &TxOut) -> Result<Option<PedersenCommitment>, AmountError> {
    let generator = generator(&output.asset)?;
    match output.value {
        Value::Explicit(0) if is_unspendable(&output.script_pubkey) => Ok(None),
        _ => spent_commitment(&output.value, generator).map(Some),
    }
}

/// What an issuance brings in: the asset and, the first time, the tokens that allow more of it.
fn issued(
    input: &TxIn,
    spent: &TxOut,
    has_witness: bool,
    policy_asset: AssetId,
) -> Result<Vec<(Generator, PedersenCommitment)>, AmountError> {
    let issuance = &input.asset_issuance;
    let (asset, token) = input.issuance_ids();
    let first = issuance.asset_blinding_nonce.is_null();
    if !first {
        // Whoever reissues shows that the spent output is the token, by its blinding factor.
        let blinding = Tweak::from_inner(issuance.asset_blinding_nonce.to_byte_array())
            .map_err(|_| Unequal)?;
        let derived = Generator::new_blinded(&SECP, token.into_tag(), blinding);
        if spent.asset.commitment() != Some(derived) || !issuance.inflation_keys.is_null() {
            return Err(Unequal);
        }
    }
    let parts = [
        (issuance.amount, asset, &input.witness.amount_rangeproof),
        (
            issuance.inflation_keys,
            token,
            &input.witness.inflation_keys_rangeproof,
        ),
    ];
    let mut issued = Vec::new();
    for (value, asset, proof) in parts {
        if value.is_null() {
            continue;
        }
        // Elements refuses issuances in transactions without any witness, whatever they issue.
        if !has_witness {
            return Err(Unequal);
        }
        let generator = Generator::new_unblinded(&SECP, asset.into_tag());
        let commitment = match value {
            Value::Explicit(amount) => {
                let in_range = asset != policy_asset || amount <= MAX_MONEY;
                if !in_range || i64::try_from(amount).is_err() || !proof.is_empty() {
                    return Err(Unequal);
                }
                explicit_commitment(amount, generator)?
            }
            Value::Confidential(commitment) => {
                verify_range(proof, commitment, &Script::new(), generator)?;
                commitment
            }
            Value::Null => continue,
        };
        issued.push((generator, commitment));
    }
    Ok(issued)
}

fn verify_proofs(output: &TxOut, generators: &[Generator]) -> Result<(), AmountError> {
    match output.value {
        Value::Confidential(commitment) => {
            let generator = generator(&output.asset)?;
            verify_range(
                &output.witness.rangeproof,
                commitment,
                &output.script_pubkey,
                generator,
            )?;
        }
        Value::Null | Value::Explicit(_) if !output.witness.rangeproof.is_empty() => {
            return Err(Unequal);
        }
        Value::Null | Value::Explicit(_) => {}
    }
    let proof = output.witness.surjection_proof.as_ref();
    match (output.asset, proof) {
        (Asset::Confidential(asset), Some(proof)) if proof.verify(&SECP, asset, generators) => {
            Ok(())
        }
        (Asset::Explicit(_), None) => Ok(()),
        _ => Err(Unequal),
    }
}

fn verify_range(
    proof: &RangeProof,
    commitment: PedersenCommitment,
    script: &Script,
    generator: Generator,
) -> Result<(), AmountError> {
    let (min, max) = proven_range(&proof.to_vec()).ok_or(Unequal)?;
    if max == u64::MAX {
        // The library's answer is an exclusive end, which has no room for this.
        return Err(AmountError::NotSupported("a range proof up to 2^64-1"));
    }
    let proof = proof.as_ref().ok_or(Unequal)?;
    proof
        .verify(&SECP, commitment, script.as_bytes(), generator)
        .map_err(|_| Unequal)?;
    // An amount that may be zero must not be spendable: zero tokens would allow reissuance.
    match min {
        0 if !is_unspendable(script) => Err(Unequal),
        _ => Ok(()),
    }
}

/// The lowest and the highest amount that a range proof speaks of, from its header alone. None if the header is wrong.
fn proven_range(proof: &[u8]) -> Option<(u64, u64)> {
    let (flags, mut rest) = proof.split_first()?;
    if flags & 0x80 != 0 {
        return None;
    }
    let mut span = 0_u64;
    if flags & 0x40 != 0 {
        let (mantissa, after) = rest.split_first()?;
        rest = after;
        let mantissa = u32::from(*mantissa) + 1;
        let exponent = u32::from(flags & 0x1f);
        if mantissa > 64 || exponent > 18 {
            return None;
        }
        span = (u64::MAX >> (64 - mantissa)).checked_mul(10_u64.pow(exponent))?;
    }
    let min = match flags & 0x20 {
        0 => 0,
        _ => u64::from_be_bytes(*rest.first_chunk()?),
    };
    Some((min, min.checked_add(span)?))
}

#[cfg(test)]
mod tests {
    use super::proven_range;

    #[test]
    fn the_header_of_a_range_proof_tells_its_range() {
        let exact_five = [0x20, 0, 0, 0, 0, 0, 0, 0, 5];
        assert_eq!(proven_range(&exact_five), Some((5, 5)));
        let bits_52_from_one = [0x60, 51, 0, 0, 0, 0, 0, 0, 0, 1];
        assert_eq!(proven_range(&bits_52_from_one), Some((1, 1 << 52)));
        assert_eq!(proven_range(&[0x40, 63]), Some((0, u64::MAX)));
        assert_eq!(proven_range(&[0x41, 63]), None);
        assert_eq!(proven_range(&[0x80]), None);
        assert_eq!(proven_range(&[0x20, 0]), None);
        assert_eq!(proven_range(&[]), None);
    }
}
