//! Relay policy: which transactions are usual enough (`IsStandardTx` and its kin). Blocks may hold others.

use elements::{Script, Transaction, TxIn, TxOut};

use super::fee_rate::FeeRate;
use super::params::{ChainConstants, MAX_MONEY, Params};
use super::rejection::Rejection;
use super::script_kind::{ScriptKind, is_push_only, last_push, sigops, witness_program};
use super::tx_check::output_size;

/// The highest weight of a standard transaction.
const MAX_WEIGHT: usize = 400_000;
/// The longest standard scriptSig, in bytes.
const MAX_SCRIPT_SIG: usize = 1650;
/// Bytes of all `OP_RETURN` outputs together (`-datacarriersize`).
const MAX_DATA: usize = 100_000;
/// The most signature checks in a P2SH redeem script.
const MAX_P2SH_SIGOPS: u64 = 15;
const MAX_P2WSH_SCRIPT: usize = 3600;
const MAX_P2WSH_ITEMS: usize = 100;
const MAX_ITEM: usize = 80;
/// Elements' tapscript leaf.
const TAPSCRIPT_LEAF: u8 = 0xc4;
const ANNEX_TAG: u8 = 0x50;

/// Version, sizes, scripts and dust.
pub(crate) fn transaction(
    tx: &Transaction,
    params: &Params,
    constants: &ChainConstants,
) -> Result<(), Rejection> {
    if !(1..=2).contains(&tx.version) {
        return Err(Rejection::new("version"));
    }
    if tx.weight() > MAX_WEIGHT {
        return Err(Rejection::new("tx-size"));
    }
    for input in &tx.input {
        if input.script_sig.len() > MAX_SCRIPT_SIG {
            return Err(Rejection::new("scriptsig-size"));
        }
        if !is_push_only(input.script_sig.as_bytes()) {
            return Err(Rejection::new("scriptsig-not-pushonly"));
        }
    }
    let mut data = 0;
    let mut data_outputs = 0;
    for output in &tx.output {
        match ScriptKind::of(&output.script_pubkey) {
            ScriptKind::NonStandard => return Err(Rejection::new("scriptpubkey")),
            ScriptKind::Multisig { keys, .. } if keys > 3 => {
                return Err(Rejection::new("scriptpubkey"));
            }
            ScriptKind::NullData => {
                data_outputs += 1;
                data += output.script_pubkey.len();
                if data > MAX_DATA {
                    return Err(Rejection::new("datacarrier"));
                }
            }
            ScriptKind::Multisig { .. } if !params.permit_bare_multisig => {
                return Err(Rejection::new("bare-multisig"));
            }
            _ if is_dust(output, params.dust_relay_fee, constants) => {
                return Err(Rejection::new("dust"));
            }
            _ => {}
        }
    }
    if data_outputs > 1 && !params.multi_data_permitted {
        return Err(Rejection::new("multi-op-return"));
    }
    Ok(())
}

/// Whether an output costs more to spend than it is worth. Only explicit amounts of the policy asset can be told.
fn is_dust(output: &TxOut, rate: FeeRate, constants: &ChainConstants) -> bool {
    let (Some(asset), Some(value)) = (output.asset.explicit(), output.value.explicit()) else {
        return false;
    };
    asset == constants.policy_asset && !output.is_fee() && value < dust_threshold(output, rate)
}

/// The least satoshi that an output must hold not to be dust.
fn dust_threshold(output: &TxOut, rate: FeeRate) -> u64 {
    if super::amounts::is_unspendable(&output.script_pubkey) {
        return 0;
    }
    // The outpoint, the sequence, the scriptSig's length, and a signature with its key, a quarter in a witness.
    let spend = 32
        + 4
        + 1
        + 4
        + if witness_program(&output.script_pubkey).is_some() {
            107 / 4
        } else {
            107
        };
    rate.fee(output_size(output) + spend)
}

/// Explicit issuances above [`MAX_MONEY`] are not relayed unless that is switched on.
pub(crate) fn issuances_in_range(tx: &Transaction) -> Result<(), Rejection> {
    let over = |value: elements::confidential::Value| {
        value.explicit().is_some_and(|amount| amount > MAX_MONEY)
    };
    let issuances = tx.input.iter().map(|input| &input.asset_issuance);
    if issuances
        .clone()
        .any(|issuance| over(issuance.amount) || over(issuance.inflation_keys))
    {
        let details =
            "Issuance is greater than 21 million and acceptunlimitedissuances is not enabled.";
        return Err(Rejection::with("issuance-out-of-range", details));
    }
    Ok(())
}

/// Range proofs belong to issuances that hide their amounts.
pub(crate) fn issuance_proofs(tx: &Transaction) -> Result<(), Rejection> {
    for input in &tx.input {
        let issuance = &input.asset_issuance;
        if !issuance.amount.is_confidential() && !input.witness.amount_rangeproof.is_empty() {
            return Err(Rejection::new("bad-txin-extra-issuance-rangeproof"));
        }
        if !issuance.inflation_keys.is_confidential()
            && !input.witness.inflation_keys_rangeproof.is_empty()
        {
            return Err(Rejection::new("bad-txin-extra-inflation-rangeproof"));
        }
    }
    Ok(())
}

/// The kinds of output that may be spent.
pub(crate) fn inputs<'a>(
    tx: &Transaction,
    spent: impl Iterator<Item = &'a TxOut>,
) -> Result<(), Rejection> {
    let standard = |(input, output): (&TxIn, &TxOut)| match ScriptKind::of(&output.script_pubkey) {
        ScriptKind::NonStandard | ScriptKind::WitnessUnknown => false,
        ScriptKind::ScriptHash => last_push(&input.script_sig)
            .is_some_and(|redeem| sigops(&redeem, true) <= MAX_P2SH_SIGOPS),
        _ => true,
    };
    match tx.input.iter().zip(spent).all(standard) {
        true => Ok(()),
        false => Err(Rejection::new("bad-txns-nonstandard-inputs")),
    }
}

/// Witnesses: only for witness outputs, within limits, without annex.
pub(crate) fn witnesses<'a>(
    tx: &Transaction,
    spent: impl Iterator<Item = &'a TxOut>,
) -> Result<(), Rejection> {
    let with_witness = |(input, _): &(&TxIn, &TxOut)| !input.witness.script_witness.is_empty();
    match tx
        .input
        .iter()
        .zip(spent)
        .filter(with_witness)
        .all(|(input, output)| witness(input, output))
    {
        true => Ok(()),
        false => Err(Rejection::new("bad-witness-nonstandard")),
    }
}

fn witness(input: &TxIn, spent: &TxOut) -> bool {
    let p2sh = spent.script_pubkey.is_p2sh();
    let script = if p2sh {
        last_push(&input.script_sig)
    } else {
        Some(spent.script_pubkey.clone())
    };
    let Some(program) = script.as_ref().and_then(program_size) else {
        return false;
    };
    let items: Vec<&[u8]> = input.witness.script_witness.iter().collect();
    match program {
        (0, 32) => p2wsh(&items),
        (1, 32) if !p2sh => taproot(&items),
        _ => true,
    }
}

fn program_size(script: &Script) -> Option<(u8, usize)> {
    witness_program(script).map(|(version, program)| (version, program.len()))
}

fn p2wsh(items: &[&[u8]]) -> bool {
    let Some((script, items)) = items.split_last() else {
        return false;
    };
    script.len() <= MAX_P2WSH_SCRIPT
        && items.len() <= MAX_P2WSH_ITEMS
        && items.iter().all(|item| item.len() <= MAX_ITEM)
}

fn taproot(items: &[&[u8]]) -> bool {
    match items {
        [] => false,
        [_] => true,
        [.., last] if last.first() == Some(&ANNEX_TAG) => false,
        [items @ .., _script, control] => match control.first() {
            None => false,
            Some(leaf) if leaf & 0xfe == TAPSCRIPT_LEAF => {
                items.iter().all(|item| item.len() <= MAX_ITEM)
            }
            Some(_) => true,
        },
    }
}
