//! Methods that look at the chain and its coins.

use std::collections::HashMap;
use std::sync::Arc;

use elements::{OutPoint, Script};

use super::args;
use super::encode::{self, Detail};
use super::error::{RpcError, RpcResult};
use super::json::{Json, Object};
use super::request::Call;
use super::state::State;
use super::{amount, args::Kind};
use crate::node::{
    BranchStatus, Coin, EPOCH_LENGTH, PARENT_GENESIS_HASH, PEGIN_CONFIRMATION_DEPTH, StoredBlock,
};

/// `CLIENT_VERSION` of the elementsd whose answers these are: 23.4.0.
const CLIENT_VERSION: u32 = 230_400;
/// Dynafed epochs whose peg-in programs count (`-total_valid_epochs`).
const TOTAL_VALID_EPOCHS: u32 = 2;
/// `-con_parentpowlimit` of custom chains.
const PARENT_POW_LIMIT: &str = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

pub(super) fn get_block_count(call: Call<'_>) -> RpcResult {
    Ok(call.shared.lock().node.tip().height.into())
}

pub(super) fn get_best_block_hash(call: Call<'_>) -> RpcResult {
    Ok(call.shared.lock().node.tip().hash.to_string().into())
}

pub(super) fn get_block_hash(call: Call<'_>) -> RpcResult {
    let height = call.args.int(0)?;
    u32::try_from(height)
        .ok()
        .and_then(|height| call.shared.lock().node.block_hash(height))
        .map(|hash| hash.to_string().into())
        .ok_or_else(|| RpcError::invalid_parameter("Block height out of range"))
}

fn find_block(state: &State, value: &Json) -> RpcResult<Arc<StoredBlock>> {
    let hash = args::block_hash(value, "blockhash")?;
    let block = state.node.block(&hash).cloned();
    block.ok_or_else(|| RpcError::not_found("Block not found"))
}

pub(super) fn get_block_header(call: Call<'_>) -> RpcResult {
    // elementsd calls the parameter another name here.
    let hash = args::block_hash(call.args.get(0), "hash")?;
    let verbose = call.args.opt_bool(1)?.unwrap_or(true);
    let state = call.shared.lock();
    let block = state
        .node
        .block(&hash)
        .ok_or_else(|| RpcError::not_found("Block not found"))?;
    if verbose {
        Ok(encode::header(&state.node, block).into())
    } else {
        Ok(encode::encode_hex(block.header()).into())
    }
}

pub(super) fn get_block(call: Call<'_>) -> RpcResult {
    let verbosity = match call.args.given(1) {
        None => 1,
        Some(Json::Bool(verbose)) => i32::from(*verbose),
        Some(_) => call.args.int(1)?,
    };
    let state = call.shared.lock();
    let block = find_block(&state, call.args.get(0))?;
    let detail = match verbosity {
        ..=0 => {
            drop(state);
            return Ok(encode::encode_hex(&block.to_block()).into());
        }
        1 => Detail::Txids,
        2 => Detail::Transactions,
        3.. => Detail::TransactionsAndPrevouts,
    };
    Ok(encode::block(&state.node, &block, detail).into())
}

pub(super) fn get_blockchain_info(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    let in_initial_download = state.in_initial_download();
    let node = &state.node;
    let tip = node.tip();
    let block = node
        .block(&tip.hash)
        .ok_or_else(|| RpcError::internal("The tip is not known"))?;
    let params = node.dynafed_params();
    let mut out = Object::new();
    out.put("chain", node.params().chain.as_str());
    out.put("blocks", tip.height);
    out.put("headers", tip.height);
    out.put("bestblockhash", tip.hash.to_string());
    out.put("time", block.header().time);
    out.put("mediantime", block.median_time_past());
    out.put("verificationprogress", 1);
    out.put("initialblockdownload", in_initial_download);
    out.put("size_on_disk", state.block_bytes());
    out.put("pruned", false);
    out.put("trim_headers", false);
    out.put("current_params_root", params.calculate_root().to_string());
    out.put(
        "current_signblock_asm",
        encode::asm(&params.signblockscript, false),
    );
    out.put(
        "current_signblock_hex",
        encode::hex(params.signblockscript.as_bytes()),
    );
    out.put("max_block_witness", params.signblock_witness_limit);
    out.put(
        "current_fedpeg_program",
        encode::hex(params.fedpeg_program.as_bytes()),
    );
    out.put("current_fedpeg_script", encode::hex(&params.fedpegscript));
    let extension: Vec<String> = params
        .extension_space
        .iter()
        .map(|item| encode::hex(item))
        .collect();
    out.put("extension_space", extension);
    out.put("epoch_length", EPOCH_LENGTH);
    out.put("total_valid_epochs", TOTAL_VALID_EPOCHS);
    out.put("epoch_age", tip.height % EPOCH_LENGTH);
    out.put("warnings", "");
    Ok(out.into())
}

pub(super) fn get_chain_tips(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let node = &state.node;
    let mut tips = node.chain_tips();
    tips.sort_by_key(|(tip, _)| std::cmp::Reverse(tip.height));
    let tips = tips.into_iter().map(|(tip, status)| {
        let mut length = 0;
        let mut hash = tip.hash;
        while let Some(block) = node.block(&hash) {
            if node.block_hash(block.height()) == Some(hash) {
                break;
            }
            length += 1;
            hash = block.header().prev_blockhash;
        }
        let mut out = Object::new();
        out.put("height", tip.height);
        out.put("hash", tip.hash.to_string());
        out.put("branchlen", length);
        out.put(
            "status",
            match status {
                BranchStatus::Active => "active",
                BranchStatus::ValidFork => "valid-fork",
                BranchStatus::ValidHeaders => "valid-headers",
                BranchStatus::Invalid => "invalid",
            },
        );
        Json::from(out)
    });
    Ok(Json::Arr(tips.collect()))
}

pub(super) fn get_network_info(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let params = state.node.params();
    let networks = ["ipv4", "ipv6", "onion", "i2p", "cjdns"].map(|name| {
        let mut out = Object::new();
        out.put("name", name);
        out.put("limited", true);
        out.put("reachable", false);
        out.put("proxy", "");
        out.put("proxy_randomize_credentials", false);
        Json::from(out)
    });
    let mut out = Object::new();
    out.put("version", CLIENT_VERSION);
    // Honest about what answers: elementsd says "Elements Core" here.
    out.put(
        "subversion",
        concat!(
            "/Elements Core:23.4.0(swaprig bundled ",
            env!("CARGO_PKG_VERSION"),
            ")/"
        ),
    );
    out.put("protocolversion", 70016);
    out.put("localservices", "0000000000000000");
    out.put("localservicesnames", Json::Arr(Vec::new()));
    out.put("localrelay", true);
    out.put("timeoffset", 0);
    out.put("networkactive", false);
    out.put("connections", 0);
    out.put("connections_in", 0);
    out.put("connections_out", 0);
    out.put("networks", Json::Arr(networks.into()));
    out.put(
        "relayfee",
        amount::to_json(params.min_relay_fee.sat_per_kvb()),
    );
    out.put(
        "incrementalfee",
        amount::to_json(params.incremental_relay_fee.sat_per_kvb()),
    );
    out.put("localaddresses", Json::Arr(Vec::new()));
    out.put("warnings", "");
    Ok(out.into())
}

pub(super) fn get_sidechain_info(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let params = state.node.dynafed_params();
    let mut out = Object::new();
    out.put("fedpegscript", encode::hex(&params.fedpegscript));
    // One for each epoch that counts for the next block; nobody votes here, so they are the same.
    let height = state.node.tip().height;
    let begins_next = u32::from(height % EPOCH_LENGTH == EPOCH_LENGTH - 1);
    let epochs = (begins_next + 1 + height / EPOCH_LENGTH).min(TOTAL_VALID_EPOCHS);
    let program = encode::hex(params.fedpeg_program.as_bytes());
    out.put("current_fedpeg_programs", vec![program; epochs as usize]);
    let script = encode::hex(&params.fedpegscript);
    out.put("current_fedpegscripts", vec![script; epochs as usize]);
    out.put("pegged_asset", state.node.policy_asset().to_string());
    out.put("min_peg_diff", PARENT_POW_LIMIT);
    out.put("parent_blockhash", PARENT_GENESIS_HASH);
    out.put("parent_chain_has_pow", true);
    out.put("enforce_pak", false);
    out.put("pegin_confirmation_depth", PEGIN_CONFIRMATION_DEPTH);
    Ok(out.into())
}

pub(super) fn dump_asset_labels(call: Call<'_>) -> RpcResult {
    let mut out = Object::new();
    out.put(
        "bitcoin",
        call.shared.lock().node.policy_asset().to_string(),
    );
    Ok(out.into())
}

pub(super) fn get_tx_out(call: Call<'_>) -> RpcResult {
    let txid = args::txid(call.args.get(0), "txid")?;
    let vout = call.args.int(1)?;
    let include_mempool = call.args.opt_bool(2)?.unwrap_or(true);
    let state = call.shared.lock();
    let node = &state.node;
    // elementsd takes a negative number for a large one; neither is there.
    let outpoint = OutPoint::new(txid, vout.cast_unsigned());
    let coin = if include_mempool {
        node.coin_with_mempool(&outpoint)
    } else {
        node.coin(&outpoint).cloned()
    };
    let Some(coin) = coin else {
        return Ok(Json::Null);
    };
    let tip = node.tip();
    let mut out = Object::new();
    out.put("bestblock", tip.hash.to_string());
    let confirmations = if coin.height == Coin::MEMPOOL_HEIGHT {
        0
    } else {
        tip.height.saturating_sub(coin.height) + 1
    };
    out.put("confirmations", confirmations);
    match coin.output.value.explicit() {
        Some(sat) => out.put("value", amount::to_json(sat)),
        None => out.put(
            "valuecommitment",
            encode::commitment_hex(&coin.output.value),
        ),
    }
    match coin.output.asset.explicit() {
        Some(asset) => out.put("asset", asset.to_string()),
        None => out.put(
            "assetcommitment",
            encode::commitment_hex(&coin.output.asset),
        ),
    }
    out.put(
        "commitmentnonce",
        encode::commitment_hex(&coin.output.nonce),
    );
    out.put(
        "scriptPubKey",
        encode::script_pub_key(&coin.output.script_pubkey),
    );
    out.put("coinbase", coin.coinbase);
    Ok(out.into())
}

pub(super) fn scan_tx_out_set(call: Call<'_>) -> RpcResult {
    call.args.expect(&[Some(Kind::Str), Some(Kind::Arr)])?;
    match call.args.str(0)? {
        // A scan is over when it has answered.
        "status" => Ok(Json::Null),
        "abort" => Ok(false.into()),
        "start" => scan(call),
        _ => Err(RpcError::invalid_parameter("Invalid command")),
    }
}

/// Scripts and the descriptors that elementsd infers for them.
fn wanted_scripts(objects: &[Json]) -> RpcResult<HashMap<Script, String>> {
    let mut wanted: HashMap<Script, String> = HashMap::new();
    for object in objects {
        let text = match object {
            Json::Str(text) => text,
            Json::Obj(_) => match object.get("desc") {
                Json::Str(text) => text,
                _ => {
                    return Err(RpcError::invalid_parameter(
                        "Descriptor needs to be provided in scan object",
                    ));
                }
            },
            _ => {
                return Err(RpcError::invalid_parameter(
                    "Scan object needs to be either a string or an object",
                ));
            }
        };
        let script = args::descriptor_script(text).ok_or_else(|| {
            if text.starts_with("addr(") && text.ends_with(')') {
                return RpcError::not_found("Address is not valid");
            }
            RpcError::not_found(format!(
                "'{text}' is not a descriptor that the bundled node knows: it knows addr(…) and raw(…)"
            ))
        })?;
        let descriptor = encode::inferred_descriptor(&script);
        wanted.insert(script, descriptor);
    }
    Ok(wanted)
}

fn scan(call: Call<'_>) -> RpcResult {
    let Some(objects) = call.args.given(1) else {
        return Err(RpcError::misc(
            "scanobjects argument is required for the start action",
        ));
    };
    let wanted = wanted_scripts(args::array(objects)?)?;
    let state = call.shared.lock();
    let node = &state.node;
    let mut found = Vec::new();
    let mut count = 0u64;
    for (outpoint, coin) in node.coins() {
        count += 1;
        if let Some(descriptor) = wanted.get(&coin.output.script_pubkey) {
            found.push((*outpoint, coin.clone(), descriptor));
        }
    }
    found.sort_by_key(|(outpoint, _, _)| *outpoint);
    let tip = node.tip();
    let policy_asset = node.policy_asset();
    let mut total = 0u64;
    let unspents = found.iter().map(|(outpoint, coin, descriptor)| {
        let output = &coin.output;
        let (value, asset) = (output.value.explicit(), output.asset.explicit());
        if asset == Some(policy_asset) {
            total = total.saturating_add(value.unwrap_or(0));
        }
        let mut out = Object::new();
        out.put("txid", outpoint.txid.to_string());
        out.put("vout", outpoint.vout);
        out.put("scriptPubKey", encode::hex(output.script_pubkey.as_bytes()));
        out.put("desc", descriptor.as_str());
        match value {
            Some(sat) => out.put("amount", amount::to_json(sat)),
            None => out.put("amountcommitment", encode::commitment_hex(&output.value)),
        }
        match asset {
            Some(asset) => out.put("asset", asset.to_string()),
            None => out.put("assetcommitment", encode::commitment_hex(&output.asset)),
        }
        out.put("height", coin.height);
        Json::from(out)
    });
    let unspents: Vec<Json> = unspents.collect();
    let mut out = Object::new();
    out.put("success", true);
    out.put("txouts", count);
    out.put("height", tip.height);
    out.put("bestblock", tip.hash.to_string());
    out.put("unspents", unspents);
    out.put("total_unblinded_bitcoin_amount", amount::to_json(total));
    Ok(out.into())
}
