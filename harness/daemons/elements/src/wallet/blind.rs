//! Blinding a transaction: commitments, surjection and range proofs that balance.

use std::collections::HashMap;

use elements::confidential::{Asset, AssetBlindingFactor, Nonce, Value, ValueBlindingFactor};
use elements::secp256k1_zkp::rand::rngs::StdRng;
use elements::secp256k1_zkp::{All, PublicKey, Secp256k1, SecretKey};
use elements::{
    AssetId, RangeProof, RangeProofMessage, SurjectionInput, Transaction, TxIn, TxOut,
    TxOutSecrets, TxOutWitness,
};

use super::coins::explicit_secrets;

/// What is known of an input's coin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InputSecrets {
    /// Everything.
    Known(TxOutSecrets),
    /// The commitment of its asset alone.
    Unknown(Asset),
}

/// Blinds one transaction.
pub(crate) struct Blinder<'a> {
    pub secp: &'a Secp256k1<All>,
    pub rng: &'a mut StdRng,
}

/// A transaction could not be blinded so that it balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CannotBlind;

impl Blinder<'_> {
    /// Blinds the outputs whose nonce is a key, for that key, and the issuances of the inputs for which there is a
    /// key. All amounts must be explicit but those of inputs. Returns what is in the outputs, by position.
    ///
    /// The caller has seen to it that the result can balance: at least two things blinded, or one and a blinded input.
    pub(crate) fn blind(
        &mut self,
        tx: &mut Transaction,
        inputs: &[InputSecrets],
        issuance_keys: &HashMap<usize, SecretKey>,
    ) -> Result<HashMap<u32, TxOutSecrets>, CannotBlind> {
        let mut spent: Vec<TxOutSecrets> = Vec::new();
        let mut domain: Vec<SurjectionInput> = Vec::new();
        for (index, input) in tx.input.iter_mut().enumerate() {
            match inputs.get(index).ok_or(CannotBlind)? {
                InputSecrets::Known(secrets) => {
                    spent.push(*secrets);
                    domain.push(SurjectionInput::from_txout_secrets(*secrets));
                }
                InputSecrets::Unknown(asset) => domain.push(SurjectionInput::from_comm(*asset)),
            }
            for secrets in self.blind_issuance(input, issuance_keys.get(&index))? {
                spent.push(secrets);
                domain.push(SurjectionInput::from_txout_secrets(secrets));
            }
        }
        let keys: Vec<Option<PublicKey>> = tx.output.iter().map(blinding_key).collect();
        let last = keys.iter().rposition(Option::is_some).ok_or(CannotBlind)?;
        // The last one balances the others, so those that stay explicit come first.
        let mut secrets: HashMap<u32, TxOutSecrets> = HashMap::new();
        let mut made: Vec<TxOutSecrets> = Vec::new();
        for ((vout, output), key) in (0u32..).zip(&tx.output).zip(&keys) {
            if key.is_none() {
                if let (Some(asset), Some(value)) =
                    (output.asset.explicit(), output.value.explicit())
                {
                    let explicit = explicit_secrets(asset, value);
                    secrets.insert(vout, explicit);
                    made.push(explicit);
                } else {
                    return Err(CannotBlind);
                }
            }
        }
        for (index, key) in keys.iter().enumerate() {
            let (Some(key), Some(output)) = (key, tx.output.get_mut(index)) else {
                continue;
            };
            let asset = output.asset.explicit().ok_or(CannotBlind)?;
            let value = output.value.explicit().ok_or(CannotBlind)?;
            let asset_bf = AssetBlindingFactor::new(self.rng);
            let value_bf = if index == last {
                let of = |all: &[TxOutSecrets]| {
                    all.iter()
                        .map(TxOutSecrets::value_blind_inputs)
                        .collect::<Vec<_>>()
                };
                ValueBlindingFactor::last(self.secp, value, asset_bf, &of(&spent), &of(&made))
            } else {
                ValueBlindingFactor::new(self.rng)
            };
            let opened = TxOutSecrets::new(asset, asset_bf, value, value_bf);
            *output = self.blind_output(output, *key, opened, &domain)?;
            made.push(opened);
            secrets.insert(u32::try_from(index).map_err(|_| CannotBlind)?, opened);
        }
        Ok(secrets)
    }

    fn blind_output(
        &mut self,
        output: &TxOut,
        key: PublicKey,
        secrets: TxOutSecrets,
        domain: &[SurjectionInput],
    ) -> Result<TxOut, CannotBlind> {
        let (asset, surjection_proof) = Asset::Explicit(secrets.asset)
            .blind(self.rng, self.secp, secrets.asset_bf, domain)
            .map_err(|_| CannotBlind)?;
        let (nonce, shared) = Nonce::with_ephemeral_sk(self.secp, SecretKey::new(self.rng), &key);
        let message = RangeProofMessage::new(secrets.asset, secrets.asset_bf);
        let generator = message.commitment(self.secp);
        let value = Value::new_confidential(self.secp, secrets.value, generator, secrets.value_bf);
        // Consensus lets a commitment be to nothing only where nobody can spend it.
        let minimum = u64::from(!output.script_pubkey.is_provably_unspendable());
        let rangeproof = RangeProof::new(
            self.secp,
            minimum,
            value.commitment().ok_or(CannotBlind)?,
            secrets.value,
            secrets.value_bf.into_inner(),
            &message.to_byte_array(),
            output.script_pubkey.as_bytes(),
            shared,
            TxOut::RANGEPROOF_EXP_SHIFT,
            TxOut::RANGEPROOF_MIN_PRIV_BITS,
            generator,
        )
        .map_err(|_| CannotBlind)?;
        Ok(TxOut {
            asset,
            value,
            nonce,
            script_pubkey: output.script_pubkey.clone(),
            witness: TxOutWitness {
                surjection_proof,
                rangeproof,
            },
        })
    }

    /// What an input issues, blinded if there is a key.
    fn blind_issuance(
        &mut self,
        input: &mut TxIn,
        key: Option<&SecretKey>,
    ) -> Result<Vec<TxOutSecrets>, CannotBlind> {
        if !input.has_issuance() {
            return Ok(Vec::new());
        }
        let (asset, token) = issued_assets(input, key.is_some());
        let amounts = [
            (asset, input.asset_issuance.amount),
            (token, input.asset_issuance.inflation_keys),
        ];
        let mut issued = Vec::new();
        for (position, (asset, amount)) in amounts.into_iter().enumerate() {
            let value = match amount {
                Value::Null => continue,
                Value::Explicit(value) => value,
                Value::Confidential(_) => return Err(CannotBlind),
            };
            let mut secrets = explicit_secrets(asset, value);
            if let Some(key) = key {
                secrets.value_bf = ValueBlindingFactor::new(self.rng);
                let message = RangeProofMessage::new(asset, AssetBlindingFactor::zero());
                let generator = message.commitment(self.secp);
                let commitment =
                    Value::new_confidential(self.secp, value, generator, secrets.value_bf);
                let proof = RangeProof::new(
                    self.secp,
                    // A token without an asset issues a commitment to none of it.
                    u64::from(value > 0),
                    commitment.commitment().ok_or(CannotBlind)?,
                    value,
                    secrets.value_bf.into_inner(),
                    &message.to_byte_array(),
                    &[],
                    *key,
                    TxOut::RANGEPROOF_EXP_SHIFT,
                    TxOut::RANGEPROOF_MIN_PRIV_BITS,
                    generator,
                )
                .map_err(|_| CannotBlind)?;
                if position == 0 {
                    input.asset_issuance.amount = commitment;
                    input.witness.amount_rangeproof = proof;
                } else {
                    input.asset_issuance.inflation_keys = commitment;
                    input.witness.inflation_keys_rangeproof = proof;
                }
            }
            issued.push(secrets);
        }
        Ok(issued)
    }
}

/// The asset and the token that an input issues. What the token is depends on whether the issuance is blinded, which
/// it may be about to be.
pub(super) fn issued_assets(input: &TxIn, blinded: bool) -> (AssetId, AssetId) {
    let issuance = &input.asset_issuance;
    let entropy = if issuance.asset_blinding_nonce.is_null() {
        let contract = issuance.asset_entropy.into_contract_hash();
        AssetId::generate_asset_entropy(input.previous_output, contract)
    } else {
        issuance.asset_entropy
    };
    let blinded = blinded || issuance.amount.is_confidential();
    (
        AssetId::from_entropy(entropy),
        AssetId::reissuance_token_from_entropy(entropy, blinded),
    )
}

/// The key an output is to be blinded for: until then it stands in the nonce.
pub(crate) fn blinding_key(output: &TxOut) -> Option<PublicKey> {
    match (output.value, output.nonce) {
        (Value::Explicit(_), Nonce::Confidential(key)) if !output.is_fee() => Some(key),
        _ => None,
    }
}
