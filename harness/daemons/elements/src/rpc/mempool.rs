//! Methods that look at what waits for a block, and at fees.

use super::args::{self, Kind};
use super::error::{RpcError, RpcResult};
use super::json::{Json, Object};
use super::request::Call;
use super::{amount, encode};

/// The furthest target of the fee estimator.
const MAX_CONFIRM_TARGET: i32 = 1008;
/// `-maxmempool`, bytes.
const MAX_MEMPOOL: u64 = 300_000_000;

pub(super) fn get_raw_mempool(call: Call<'_>) -> RpcResult {
    let verbose = call.args.opt_bool(0)?.unwrap_or(false);
    let with_sequence = call.args.opt_bool(1)?.unwrap_or(false);
    if verbose && with_sequence {
        return Err(RpcError::invalid_parameter(
            "Verbose results cannot contain mempool sequence values.",
        ));
    }
    let state = call.shared.lock();
    let mempool = state.node.mempool();
    if verbose {
        let mut out = Object::new();
        for entry in mempool.iter() {
            out.put(
                &entry.txid.to_string(),
                encode::mempool_entry(&state.node, entry),
            );
        }
        return Ok(out.into());
    }
    let txids: Vec<String> = mempool.iter().map(|entry| entry.txid.to_string()).collect();
    if !with_sequence {
        return Ok(txids.into());
    }
    let mut out = Object::new();
    out.put("txids", txids);
    // elementsd counts from one.
    out.put("mempool_sequence", mempool.sequence() + 1);
    Ok(out.into())
}

pub(super) fn get_mempool_entry(call: Call<'_>) -> RpcResult {
    let txid = args::txid(call.args.get(0), "parameter 1")?;
    let state = call.shared.lock();
    let entry = state
        .node
        .mempool()
        .get(&txid)
        .ok_or_else(|| RpcError::not_found("Transaction not in mempool"))?;
    Ok(encode::mempool_entry(&state.node, entry).into())
}

pub(super) fn get_mempool_info(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let mempool = state.node.mempool();
    let min_fee = amount::to_json(state.node.params().min_relay_fee.sat_per_kvb());
    let mut out = Object::new();
    out.put("loaded", true);
    out.put("size", mempool.len());
    out.put("bytes", mempool.total_vsize());
    // Bytes of memory: about what the transactions take.
    let sizes = mempool.iter().map(|entry| entry.tx.size() as u64);
    out.put("usage", sizes.sum::<u64>());
    out.put("total_fee", amount::to_json(mempool.total_fee()));
    out.put("maxmempool", MAX_MEMPOOL);
    out.put("mempoolminfee", min_fee.clone());
    out.put("minrelaytxfee", min_fee);
    // There is no peer to broadcast them to.
    out.put("unbroadcastcount", mempool.len());
    Ok(out.into())
}

/// A number of blocks within which a transaction should confirm.
pub(super) fn confirm_target(value: &Json) -> RpcResult<i32> {
    let target = args::integer(value)?;
    if (1..=MAX_CONFIRM_TARGET).contains(&target) {
        return Ok(target);
    }
    Err(RpcError::invalid_parameter(format!(
        "Invalid conf_target, must be between 1 and {MAX_CONFIRM_TARGET}"
    )))
}

/// A mode of the fee estimator, which makes no difference where nothing can be estimated.
pub(super) fn check_estimate_mode(mode: &str) -> RpcResult<()> {
    match mode.to_ascii_lowercase().as_str() {
        "unset" | "economical" | "conservative" => Ok(()),
        _ => Err(RpcError::invalid_parameter(
            "Invalid estimate_mode parameter, must be one of: \"unset\", \"economical\", \"conservative\"",
        )),
    }
}

/// Always without an estimate: on a regtest chain nobody waits for blocks.
pub(super) fn estimate_smart_fee(call: Call<'_>) -> RpcResult {
    call.args.expect_or_null(&[None, Some(Kind::Str)])?;
    Kind::Num.check(call.args.get(0))?;
    confirm_target(call.args.get(0))?;
    if let Some(mode) = call.args.opt_str(1)? {
        check_estimate_mode(mode)?;
    }
    let mut out = Object::new();
    out.put("errors", vec!["Insufficient data or no feerate found"]);
    out.put("blocks", 0);
    Ok(out.into())
}
