//! Methods about raw transactions.

use std::collections::HashSet;

use elements::confidential::{Asset, Nonce, Value};
use elements::script::Builder;
use elements::{
    AssetId, AssetIssuance, LockTime, OutPoint, Script, Sequence, Transaction, TxIn, TxInWitness,
    TxOut, TxOutWitness, opcodes,
};

use super::args::{self, Kind};
use super::error::{RpcError, RpcResult};
use super::json::{Json, Object};
use super::request::Call;
use super::{amount, encode};
use crate::node::FeeRate;

/// The highest fee rate that raw transactions may pay unless the caller says otherwise: 0.1 for 1,000 virtual bytes.
const DEFAULT_MAX_FEE_RATE: FeeRate = FeeRate::from_sat_per_kvb(10_000_000);
/// How many transactions are judged at once.
const MAX_PACKAGE_COUNT: usize = 25;

pub(super) fn get_raw_transaction(call: Call<'_>) -> RpcResult {
    let txid = args::txid(call.args.get(0), "parameter 1")?;
    let verbose = match call.args.given(1) {
        None => false,
        Some(Json::Num(_)) => call.args.int(1)? != 0,
        Some(value) => args::boolean(value)?,
    };
    let state = call.shared.lock();
    let node = &state.node;
    let (tx, block) = match call.args.given(2) {
        None => {
            let found = node.transaction(&txid).ok_or_else(|| {
                RpcError::not_found(
                    "No such mempool or blockchain transaction. Use gettransaction for wallet transactions.",
                )
            })?;
            (found.tx, found.block)
        }
        Some(value) => {
            let hash = args::block_hash(value, "parameter 3")?;
            let block = node
                .block(&hash)
                .ok_or_else(|| RpcError::not_found("Block hash not found"))?;
            let at = block.txids().iter().position(|other| *other == txid);
            let tx = at.and_then(|at| block.transactions().get(at)).cloned();
            let tx = tx.ok_or_else(|| {
                RpcError::not_found(
                    "No such transaction found in the provided block. Use gettransaction for wallet transactions.",
                )
            })?;
            (tx, Some(hash))
        }
    };
    if !verbose {
        return Ok(encode::encode_hex(&*tx).into());
    }
    let mut out = Object::new();
    let confirmations = block.and_then(|hash| node.confirmations(&hash));
    if call.args.given(2).is_some() {
        out.put(
            "in_active_chain",
            confirmations.is_some_and(|depth| depth > 0),
        );
    }
    let accept_discount_ct = node.params().accept_discount_ct;
    out.append(encode::transaction(&tx, accept_discount_ct, true));
    if let Some(block) = block.and_then(|hash| node.block(&hash)) {
        out.put("blockhash", block.hash().to_string());
        match confirmations {
            Some(depth @ 1..) => {
                out.put("confirmations", depth);
                out.put("time", block.header().time);
                out.put("blocktime", block.header().time);
            }
            _ => out.put("confirmations", 0),
        }
    }
    Ok(out.into())
}

/// A transaction in hexadecimal, or elementsd's complaint.
pub(super) fn decode(text: &str, complaint: &str) -> RpcResult<Transaction> {
    args::transaction(text).ok_or_else(|| RpcError::deserialization(complaint))
}

pub(super) fn decode_raw_transaction(call: Call<'_>) -> RpcResult {
    call.args.expect(&[Some(Kind::Str), Some(Kind::Bool)])?;
    let tx = decode(call.args.str(0)?, "TX decode failed")?;
    let accept_discount_ct = call.shared.lock().node.params().accept_discount_ct;
    Ok(encode::transaction(&tx, accept_discount_ct, false).into())
}

fn max_fee_rate(value: Option<&Json>) -> RpcResult<Option<FeeRate>> {
    match value {
        None => Ok(Some(DEFAULT_MAX_FEE_RATE)),
        Some(value) => Ok(Some(FeeRate::from_sat_per_kvb(amount::from_json(value)?))),
    }
}

pub(super) fn send_raw_transaction(call: Call<'_>) -> RpcResult {
    call.args.expect(&[Some(Kind::Str)])?;
    let tx = decode(
        call.args.str(0)?,
        "TX decode failed. Make sure the tx has at least one input.",
    )?;
    let max_fee_rate = max_fee_rate(call.args.given(1))?;
    let smuggled_key = |output: &TxOut| !output.nonce.is_null() && output.value.is_explicit();
    if tx.output.iter().any(smuggled_key) {
        return Err(RpcError::transaction(
            "Transaction output has nonce, but is not blinded. Did you forget to call blindrawtransaction, or rawblindrawtransaction?",
        ));
    }
    let mut state = call.shared.lock();
    let accepted = state.node.accept(tx, max_fee_rate);
    state.settle();
    Ok(accepted?.to_string().into())
}

pub(super) fn test_mempool_accept(call: Call<'_>) -> RpcResult {
    call.args.expect(&[Some(Kind::Arr)])?;
    let texts = args::array(call.args.get(0))?;
    if texts.is_empty() || texts.len() > MAX_PACKAGE_COUNT {
        return Err(RpcError::invalid_parameter(format!(
            "Array must contain between 1 and {MAX_PACKAGE_COUNT} transactions."
        )));
    }
    let max_fee_rate = max_fee_rate(call.args.given(1))?;
    let txs: Vec<Transaction> = texts
        .iter()
        .map(|value| {
            let text = args::string(value)?;
            decode(
                text,
                &format!("TX decode failed: {text} Make sure the tx has at least one input."),
            )
        })
        .collect::<RpcResult<_>>()?;
    let state = call.shared.lock();
    let verdicts = state.node.test_accept(&txs, max_fee_rate);
    let verdicts = verdicts.into_iter().map(|verdict| {
        let mut out = Object::new();
        out.put("txid", verdict.txid.to_string());
        out.put("wtxid", verdict.wtxid.to_string());
        match verdict.verdict {
            None => {}
            Some(Ok(accepted)) => {
                out.put("allowed", true);
                out.put("vsize", accepted.vsize);
                let mut fees = Object::new();
                fees.put("base", amount::to_json(accepted.fee));
                out.put("fees", fees);
            }
            Some(Err(rejection)) => {
                out.put("allowed", false);
                out.put("reject-reason", rejection.reason);
            }
        }
        Json::from(out)
    });
    Ok(Json::Arr(verdicts.collect()))
}

pub(super) fn create_raw_transaction(call: Call<'_>) -> RpcResult {
    call.args.expect_or_null(&[
        Some(Kind::Arr),
        Some(Kind::Arr),
        Some(Kind::Num),
        Some(Kind::Bool),
    ])?;
    if call.args.get(1).is_null() {
        return Err(RpcError::invalid_parameter(
            "Invalid parameter, output argument must be non-null",
        ));
    }
    let lock_time = match call.args.given(2) {
        None => 0,
        Some(value) => u32::try_from(args::integer::<i64>(value)?)
            .map_err(|_| RpcError::invalid_parameter("Invalid parameter, locktime out of range"))?,
    };
    let replaceable = call.args.opt_bool(3)?.unwrap_or(false);
    let inputs = match call.args.given(0) {
        None => &[],
        Some(value) => args::array(value)?,
    };
    let sequence = match (replaceable, lock_time) {
        (true, _) => 0xffff_fffd,
        (false, 0) => 0xffff_ffff,
        (false, _) => 0xffff_fffe,
    };
    let policy_asset = call.shared.lock().node.policy_asset();
    let tx = Transaction {
        version: 2,
        lock_time: LockTime::from_consensus(lock_time),
        input: inputs
            .iter()
            .map(|value| input(value, sequence))
            .collect::<RpcResult<_>>()?,
        output: outputs(args::array(call.args.get(1))?, policy_asset)?,
    };
    let signals = tx.input.iter().any(|input| input.sequence.0 <= 0xffff_fffd);
    if replaceable && !tx.input.is_empty() && !signals {
        return Err(RpcError::invalid_parameter(
            "Invalid parameter combination: Sequence number(s) contradict replaceable option",
        ));
    }
    Ok(encode::encode_hex(&tx).into())
}

/// The output that an object with `txid` and `vout` names.
pub(super) fn outpoint(value: &Json) -> RpcResult<OutPoint> {
    args::object(value)?;
    let txid = args::txid(value.get("txid"), "txid")?;
    let Json::Num(_) = value.get("vout") else {
        return Err(RpcError::invalid_parameter(
            "Invalid parameter, missing vout key",
        ));
    };
    let vout: i32 = args::integer(value.get("vout"))?;
    let vout = u32::try_from(vout)
        .map_err(|_| RpcError::invalid_parameter("Invalid parameter, vout cannot be negative"))?;
    Ok(OutPoint::new(txid, vout))
}

fn input(value: &Json, sequence: u32) -> RpcResult<TxIn> {
    let previous_output = outpoint(value)?;
    let sequence = match value.get("sequence") {
        number @ Json::Num(_) => u32::try_from(args::integer::<i64>(number)?).map_err(|_| {
            RpcError::invalid_parameter("Invalid parameter, sequence number is out of range")
        })?,
        _ => sequence,
    };
    for key in [
        "pegin_bitcoin_tx",
        "pegin_txout_proof",
        "pegin_claim_script",
    ] {
        if !value.get(key).is_null() {
            return Err(RpcError::invalid_parameter(
                "pegin_ arguments provided but this command does not support peg-ins",
            ));
        }
    }
    for key in [
        "asset_blinding_nonce",
        "asset_entropy",
        "issuance_tokens",
        "blind_reissuance",
    ] {
        if !value.get(key).is_null() {
            return Err(RpcError::invalid_parameter(
                "auxiliary issuance arguments provided without issuance amount",
            ));
        }
    }
    Ok(TxIn {
        previous_output,
        is_pegin: false,
        script_sig: Script::new(),
        sequence: Sequence(sequence),
        asset_issuance: AssetIssuance::null(),
        witness: TxInWitness::empty(),
    })
}

fn outputs(values: &[Json], policy_asset: AssetId) -> RpcResult<Vec<TxOut>> {
    let mut outputs = Vec::new();
    let mut fee = None;
    let mut seen: HashSet<(Script, AssetId)> = HashSet::new();
    let mut has_data = false;
    for value in values {
        let (output, address) = output(value, policy_asset, &mut has_data)?;
        let asset = output.asset.explicit().unwrap_or(policy_asset);
        if let Some(address) = address
            && !seen.insert((output.script_pubkey.clone(), asset))
        {
            return Err(RpcError::invalid_parameter(format!(
                "Invalid parameter, duplicated address and asset: {address} {asset}"
            )));
        }
        if output.is_fee() {
            fee = Some(output);
        } else {
            outputs.push(output);
        }
    }
    // The fee stands last.
    outputs.extend(fee.filter(|fee| fee.value != Value::Explicit(0)));
    Ok(outputs)
}

/// One output, and its address if it has one.
fn output(
    value: &Json,
    policy_asset: AssetId,
    has_data: &mut bool,
) -> RpcResult<(TxOut, Option<String>)> {
    let mut output = TxOut {
        asset: Asset::Explicit(policy_asset),
        value: Value::Explicit(0),
        nonce: Nonce::Null,
        script_pubkey: Script::new(),
        witness: TxOutWitness::empty(),
    };
    let mut to = None;
    for (key, value) in args::object(value)? {
        match key.as_str() {
            "data" => {
                if *has_data {
                    return Err(RpcError::invalid_parameter(
                        "Invalid parameter, duplicate key: data",
                    ));
                }
                *has_data = true;
                output.script_pubkey = op_return(std::slice::from_ref(value))?;
            }
            "vdata" => output.script_pubkey = op_return(args::array(value)?)?,
            "fee" => {
                output.value = Value::Explicit(amount::from_json(value)?);
                output.script_pubkey = Script::new();
                break;
            }
            "burn" => {
                output.value = Value::Explicit(amount::from_json(value)?);
                output.script_pubkey = op_return(&[])?;
            }
            "asset" => output.asset = Asset::Explicit(args::hash(value, "asset")?),
            "blinder_index" => {
                args::integer::<i32>(value)?;
            }
            text => {
                let address = args::address(text).ok_or_else(|| {
                    RpcError::not_found(format!("Invalid Bitcoin address: {text}"))
                })?;
                output.value = Value::Explicit(amount::from_json(value)?);
                output.script_pubkey = address.script_pubkey();
                // The key to blind with travels in the nonce until the output is blinded.
                output.nonce = address
                    .blinding_pubkey
                    .map_or(Nonce::Null, Nonce::Confidential);
                to = Some(text.to_owned());
            }
        }
    }
    Ok((output, to))
}

fn op_return(pushes: &[Json]) -> RpcResult<Script> {
    let mut builder = Builder::new().push_opcode(opcodes::all::OP_RETURN);
    for push in pushes {
        builder = builder.push_slice(&args::bytes(push, "Data")?);
    }
    Ok(builder.into_script())
}
