//! Methods about what a wallet did.

use std::collections::BTreeMap;

use elements::{AssetId, OutPoint, TxOutSecrets, Txid};

use super::{amount, amount_map, args, change, look};
use crate::rpc::encode;
use crate::rpc::error::{RpcError, RpcResult};
use crate::rpc::json::{Json, Object};
use crate::rpc::request::Call;
use crate::rpc::state::State;
use crate::wallet::{Status, Wallet, WalletTx, address_of};

/// What moved, satoshi by asset.
type Amounts = BTreeMap<AssetId, i64>;

fn add(map: &mut Amounts, asset: AssetId, value: u64, sign: i64) {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    let sum = map.entry(asset).or_insert(0);
    *sum = sum.saturating_add(sign * value);
}

/// `WalletTxToJSON`.
fn common(state: &State, wallet: &Wallet, txid: &Txid, tx: &WalletTx) -> Object {
    let depth = wallet.depth(tx);
    let mut out = Object::new();
    out.put("confirmations", depth);
    if tx.tx.is_coinbase() {
        out.put("generated", true);
    }
    let time = match tx.status {
        Status::Confirmed {
            block,
            height,
            index,
            time,
        } => {
            out.put("blockhash", block.to_string());
            out.put("blockheight", height);
            out.put("blockindex", index);
            out.put("blocktime", time);
            tx.received.min(u64::from(time))
        }
        Status::Waiting | Status::Gone => {
            let trusted = tx.status == Status::Waiting && wallet.is_trusted(&tx.tx);
            out.put("trusted", trusted);
            tx.received
        }
    };
    out.put("txid", txid.to_string());
    let conflicts = wallet.conflicts(txid, &tx.tx);
    let conflicts: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
    out.put("walletconflicts", conflicts);
    out.put("time", time);
    out.put("timereceived", tx.received);
    let mempool = state.node.mempool();
    let replaceable = match tx.status {
        Status::Confirmed { .. } => "no",
        _ if mempool.is_bip125_replaceable(txid) => "yes",
        Status::Gone => "unknown",
        Status::Waiting => "no",
    };
    out.put("bip125-replaceable", replaceable);
    for (key, text) in &tx.comments {
        out.put(key, text.as_str());
    }
    out
}

fn blinders(out: &mut Object, secrets: &TxOutSecrets) {
    out.put("amountblinder", secrets.value_bf.to_string());
    out.put("asset", secrets.asset.to_string());
    out.put("assetblinder", secrets.asset_bf.to_string());
}

/// `ListTransactions`: what the transaction paid and got; `long` adds what is common to all its entries.
fn entries(
    state: &State,
    wallet: &Wallet,
    txid: &Txid,
    tx: &WalletTx,
    long: bool,
    label: Option<&str>,
) -> Vec<Json> {
    let from_me = wallet.is_from_me(&tx.tx);
    let mut sent = Vec::new();
    let mut received = Vec::new();
    let policy_asset = wallet.policy_asset();
    let fee = i64::try_from(tx.tx.fee_in(policy_asset)).unwrap_or(i64::MAX);
    for (vout, output) in (0u32..).zip(&tx.tx.output) {
        if output.is_fee() {
            continue;
        }
        let known = secrets_of(tx, vout, output);
        let mine = wallet.coin(&OutPoint::new(*txid, vout)).is_some();
        let script = &output.script_pubkey;
        let address = address_of(script).map(|address| address.to_string());
        let own_label = wallet.label(script);
        let is_change = mine && own_label.is_none();
        let Some(secrets) = known else {
            continue;
        };
        if from_me && !is_change && label.is_none() {
            let mut out = Object::new();
            if let Some(address) = &address {
                out.put("address", address.as_str());
            }
            out.put("category", "send");
            let value = i64::try_from(secrets.value).unwrap_or(i64::MAX);
            out.put("amount", amount::signed_to_json(-value));
            blinders(&mut out, &secrets);
            if let Some(label) = own_label {
                out.put("label", label);
            }
            out.put("vout", vout);
            // Positive, as elementsd has it, though Bitcoin Core has it negative.
            out.put("fee", amount::signed_to_json(fee));
            if long {
                out.append(common(state, wallet, txid, tx));
            }
            out.put("abandoned", false);
            sent.push(out.into());
        }
        if mine && !(from_me && is_change) && label.is_none_or(|label| own_label == Some(label)) {
            let mut out = Object::new();
            if let Some(address) = &address {
                out.put("address", address.as_str());
            }
            out.put("category", category(wallet, tx));
            out.put("amount", amount::to_json(secrets.value));
            blinders(&mut out, &secrets);
            if let Some(label) = own_label {
                out.put("label", label);
            }
            out.put("vout", vout);
            if long {
                out.append(common(state, wallet, txid, tx));
            }
            received.push(out.into());
        }
    }
    sent.append(&mut received);
    sent
}

/// What is in an output: the wallet knows, or everybody does.
fn secrets_of(tx: &WalletTx, vout: u32, output: &elements::TxOut) -> Option<TxOutSecrets> {
    let known = tx.secrets.get(&vout).copied();
    known.or_else(|| {
        let (asset, value) = (output.asset.explicit()?, output.value.explicit()?);
        Some(crate::wallet::explicit_secrets(asset, value))
    })
}

fn category(wallet: &Wallet, tx: &WalletTx) -> &'static str {
    if !tx.tx.is_coinbase() {
        return "receive";
    }
    match wallet.depth(tx) {
        ..=0 => "orphan",
        1..=100 => "immature",
        _ => "generate",
    }
}

pub(crate) fn get_transaction(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    let txid = args::txid(call.args.get(0), "txid")?;
    call.args.opt_bool(1)?;
    let verbose = call.args.opt_bool(2)?.unwrap_or(false);
    let asset = call.args.get(3).as_str();
    let tx = wallet
        .tx(&txid)
        .ok_or_else(|| RpcError::not_found("Invalid or non-wallet transaction id"))?;
    let policy_asset = wallet.policy_asset();
    let from_me = wallet.is_from_me(&tx.tx);
    let mut net = Amounts::new();
    for vout in 0..u32::try_from(tx.tx.output.len()).unwrap_or(u32::MAX) {
        if let Some(coin) = wallet.coin(&OutPoint::new(txid, vout)) {
            add(&mut net, coin.secrets.asset, coin.secrets.value, 1);
        }
    }
    for input in &tx.tx.input {
        if let Some(coin) = wallet.coin(&input.previous_output) {
            add(&mut net, coin.secrets.asset, coin.secrets.value, -1);
        }
    }
    let mut fees = Amounts::new();
    if from_me {
        for output in tx.tx.output.iter().filter(|output| output.is_fee()) {
            if let (Some(asset), Some(value)) = (output.asset.explicit(), output.value.explicit()) {
                add(&mut fees, asset, value, -1);
                // The fee is not part of the amount.
                add(&mut net, asset, value, 1);
            }
        }
    }
    let mut out = Object::new();
    out.put("amount", amount_map(&net, policy_asset, asset));
    if from_me {
        out.put("fee", amount_map(&fees, policy_asset, None));
    }
    out.append(common(&state, wallet, &txid, tx));
    out.put("details", entries(&state, wallet, &txid, tx, false, None));
    out.put("hex", encode::encode_hex(&*tx.tx));
    if verbose {
        let accept_discount_ct = state.node.params().accept_discount_ct;
        out.put(
            "decoded",
            encode::transaction(&tx.tx, accept_discount_ct, false),
        );
    }
    Ok(out.into())
}

pub(crate) fn list_transactions(call: Call<'_>) -> RpcResult {
    let label = call.args.opt_str(0)?.filter(|label| *label != "*");
    if label == Some("") {
        return Err(RpcError::invalid_parameter(
            "Label argument must be a valid label name or \"*\".",
        ));
    }
    let unsigned = |at, default, complaint: &str| {
        let value = call.args.opt_int(at)?.unwrap_or(default);
        usize::try_from(value).map_err(|_| RpcError::invalid_parameter(complaint))
    };
    let count = unsigned(1, 10, "Negative count")?;
    let skip = unsigned(2, 0, "Negative from")?;
    call.args.opt_bool(3)?;
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    // The newest first, until there are enough.
    let mut listed: Vec<Json> = Vec::new();
    for (txid, tx) in wallet.latest_txs() {
        if listed.len() >= count.saturating_add(skip) {
            break;
        }
        listed.extend(entries(&state, wallet, txid, tx, true, label));
    }
    let mut listed: Vec<Json> = listed.into_iter().skip(skip).take(count).collect();
    listed.reverse();
    Ok(Json::Arr(listed))
}

pub(crate) fn rescan_blockchain(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    let tip = state.node.tip().height;
    let height = |at, default: u32, complaint: &str| match call.args.opt_int(at)? {
        None => Ok(default),
        Some(height) => u32::try_from(height)
            .ok()
            .filter(|height| *height <= tip)
            .ok_or_else(|| RpcError::invalid_parameter(complaint)),
    };
    let start = height(0, 0, "Invalid start_height")?;
    let stop = height(1, tip, "Invalid stop_height")?;
    if stop < start {
        return Err(RpcError::invalid_parameter(
            "stop_height must be greater than start_height",
        ));
    }
    let (wallet, tools, node) = change(call, &mut state)?;
    // Looking everywhere finds what looking in a part would.
    wallet.rescan(tools.secp, node);
    let mut out = Object::new();
    out.put("start_height", start);
    out.put("stop_height", stop);
    Ok(out.into())
}
