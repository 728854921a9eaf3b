//! Methods that make blocks, undo them, move the clock, and end the process.

use elements::{Script, Transaction, Txid};

use super::error::{RpcError, RpcResult};
use super::json::{Json, Object};
use super::request::Call;
use super::state::State;
use super::{args, methods};
use crate::node::Submitted;

/// Blocks that are mined under one hold of the lock.
const CHUNK: u32 = 100;
/// Blocks that one call may mine. elementsd would go on for as long as it takes.
const MAX_BLOCKS: u32 = 100_000;

fn count(value: i32) -> RpcResult<u32> {
    // As with elementsd, a negative number of blocks is none.
    let count = u32::try_from(value).unwrap_or(0);
    if count > MAX_BLOCKS {
        return Err(RpcError::invalid_parameter(format!(
            "The bundled node mines at most {MAX_BLOCKS} blocks at once"
        )));
    }
    Ok(count)
}

fn script_of_address(text: &str) -> RpcResult<Script> {
    let address =
        args::address(text).ok_or_else(|| RpcError::not_found("Error: Invalid address"))?;
    Ok(address.script_pubkey())
}

pub(super) fn generate_to_address(call: Call<'_>) -> RpcResult {
    let total = count(call.args.int(0)?)?;
    call.args.opt_int(2)?;
    let script = script_of_address(call.args.str(1)?)?;
    let mut hashes: Vec<String> = Vec::new();
    let mut left = total;
    while left > 0 && !call.shared.is_stopping() {
        let now = left.min(CHUNK);
        left -= now;
        let mut state = call.shared.lock();
        let mined = state.node.generate(now, &script);
        state.settle();
        let mined = mined.map_err(|error| {
            RpcError::misc(format!(
                "CreateNewBlock: TestBlockValidity failed: {}",
                error.message
            ))
        })?;
        hashes.extend(mined.iter().map(ToString::to_string));
    }
    Ok(hashes.into())
}

/// A transaction in hexadecimal, or the id of one that waits.
fn named_transaction(state: &State, value: &Json) -> RpcResult<Transaction> {
    let text = args::string(value)?;
    if let Ok(txid) = text.parse::<Txid>() {
        let waiting = state.node.mempool().get(&txid);
        return waiting
            .map(|entry| (*entry.tx).clone())
            .ok_or_else(|| RpcError::not_found(format!("Transaction {text} not in mempool.")));
    }
    args::transaction(text)
        .filter(|tx| !tx.input.is_empty())
        .ok_or_else(|| {
            RpcError::deserialization(format!(
                "Transaction decode failed for {text}. Make sure the tx has at least one input."
            ))
        })
}

pub(super) fn generate_block(call: Call<'_>) -> RpcResult {
    let output = call.args.str(0)?;
    let script = args::descriptor_script(output)
        .or_else(|| Some(args::address(output)?.script_pubkey()))
        .ok_or_else(|| RpcError::not_found("Error: Invalid address or descriptor"))?;
    let mut state = call.shared.lock();
    let txs: Vec<Transaction> = args::array(call.args.get(1))?
        .iter()
        .map(|value| named_transaction(&state, value))
        .collect::<RpcResult<_>>()?;
    let mined = state.node.generate_block(&script, txs);
    state.settle();
    let hash = mined.map_err(|error| RpcError {
        code: -25,
        message: format!("TestBlockValidity failed: {}", error.message),
    })?;
    let mut out = Object::new();
    out.put("hash", hash.to_string());
    Ok(out.into())
}

/// Mines a branch on any block, without touching what waits: fork, then switch.
pub(super) fn sim_generate_on(call: Call<'_>) -> RpcResult {
    let parent = args::block_hash(call.args.get(0), "parent")?;
    let total = count(call.args.int(1)?)?;
    let script = script_of_address(call.args.str(2)?)?;
    let mut state = call.shared.lock();
    let txs: Vec<Transaction> = match call.args.given(3) {
        Some(value) => args::array(value)?
            .iter()
            .map(|value| named_transaction(&state, value))
            .collect::<RpcResult<_>>()?,
        None => Vec::new(),
    };
    let mined = state.node.generate_on(&parent, total, &script, txs);
    state.settle();
    let hashes = mined.map_err(|error| RpcError::transaction(error.message))?;
    let hashes: Vec<String> = hashes.iter().map(ToString::to_string).collect();
    Ok(hashes.into())
}

pub(super) fn submit_block(call: Call<'_>) -> RpcResult {
    let block = args::block(call.args.str(0)?)
        .ok_or_else(|| RpcError::deserialization("Block decode failed"))?;
    if !block.txdata.first().is_some_and(Transaction::is_coinbase) {
        return Err(RpcError::deserialization(
            "Block does not start with a coinbase",
        ));
    }
    let mut state = call.shared.lock();
    let submitted = state.node.submit_block(block);
    state.settle();
    Ok(match submitted {
        Ok(Submitted::Connected) => Json::Null,
        Ok(Submitted::SideBranch) => "inconclusive".into(),
        Ok(Submitted::Duplicate | Submitted::DuplicateInconclusive) => "duplicate".into(),
        Ok(Submitted::DuplicateInvalid) => "duplicate-invalid".into(),
        Err(rejection) => rejection.reason.into(),
    })
}

pub(super) fn invalidate_block(call: Call<'_>) -> RpcResult {
    let hash = args::block_hash(call.args.get(0), "blockhash")?;
    let mut state = call.shared.lock();
    if hash == state.node.genesis_hash() {
        return Err(RpcError::misc("The genesis block cannot be invalidated"));
    }
    let known = state.node.invalidate(&hash);
    state.settle();
    if known {
        Ok(Json::Null)
    } else {
        Err(RpcError::not_found("Block not found"))
    }
}

pub(super) fn reconsider_block(call: Call<'_>) -> RpcResult {
    let hash = args::block_hash(call.args.get(0), "blockhash")?;
    let mut state = call.shared.lock();
    let known = state.node.reconsider(&hash);
    state.settle();
    if known {
        Ok(Json::Null)
    } else {
        Err(RpcError::not_found("Block not found"))
    }
}

pub(super) fn set_mock_time(call: Call<'_>) -> RpcResult {
    args::Kind::Num.check(call.args.get(0))?;
    let time: i64 = args::integer(call.args.get(0))?;
    let time = u64::try_from(time).map_err(|_| {
        RpcError::invalid_parameter(format!("Mocktime cannot be negative: {time}."))
    })?;
    let mut state = call.shared.lock();
    state.node.set_mock_time((time > 0).then_some(time));
    state.settle();
    Ok(Json::Null)
}

/// Keeps the whole state to come back to.
pub(super) fn sim_snapshot(call: Call<'_>) -> RpcResult {
    Ok(call.shared.lock().checkpoint()?.into())
}

/// Goes back to what `sim_snapshot` kept.
pub(super) fn sim_revert(call: Call<'_>) -> RpcResult {
    let number = args::integer(call.args.get(0))?;
    call.shared.lock().revert(number)?;
    Ok(Json::Null)
}

pub(super) fn stop(call: Call<'_>) -> RpcResult {
    call.shared.stop();
    Ok("Elements Core stopping".into())
}

pub(super) fn uptime(call: Call<'_>) -> RpcResult {
    Ok(call.shared.started().elapsed().as_secs().into())
}

pub(super) fn help(call: Call<'_>) -> RpcResult {
    let Some(name) = call.args.opt_str(0)? else {
        let usages = methods::names().filter_map(methods::find);
        let usages = usages.map(|method| method.usage());
        return Ok(usages.collect::<String>().trim_end().into());
    };
    Ok(match methods::find(name) {
        Some(method) => method.usage().trim_end().into(),
        None => format!("help: unknown command: {name}").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_blocks() {
        assert_eq!(count(-1), Ok(0));
        assert_eq!(count(100_000), Ok(100_000));
        assert!(count(100_001).is_err());
    }
}
