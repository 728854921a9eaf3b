//! Methods that pay and issue.

use std::collections::HashSet;

use elements::{AssetId, Txid};

use super::{amount, args, asset_or_error, change};
use crate::node::FeeRate;
use crate::rpc::error::{RpcError, RpcResult};
use crate::rpc::json::{Json, Object};
use crate::rpc::mempool::{check_estimate_mode, confirm_target};
use crate::rpc::request::Call;
use crate::rpc::state::State;
use crate::wallet::{
    AddressType, Funded, Issuance, Order, Recipient, STANDS_FOR_ASSET, STANDS_FOR_TOKEN,
};

/// The fee rate that a caller asks for, satoshi for each virtual byte with up to three decimals.
pub(super) fn fee_rate(
    target: Option<&Json>,
    mode: Option<&Json>,
    rate: Option<&Json>,
) -> RpcResult<Option<FeeRate>> {
    let mode = mode.map(args::string).transpose()?;
    let Some(rate) = rate else {
        if let Some(mode) = mode {
            check_estimate_mode(mode)?;
        }
        target.map(confirm_target).transpose()?;
        return Ok(None);
    };
    if target.is_some() {
        return Err(RpcError::invalid_parameter(
            "Cannot specify both conf_target and fee_rate. Please provide either a confirmation target in blocks for automatic fee estimation, or an explicit fee rate.",
        ));
    }
    if mode.is_some_and(|mode| mode != "unset") {
        return Err(RpcError::invalid_parameter(
            "Cannot specify both estimate_mode and fee_rate",
        ));
    }
    Ok(Some(FeeRate::from_sat_per_kvb(amount::fixed_point(
        rate, 3,
    )?)))
}

fn recipient(text: &str, value: &Json, asset: AssetId, policy: AssetId) -> RpcResult<Recipient> {
    let address = args::address(text)
        .ok_or_else(|| RpcError::not_found(format!("Invalid Bitcoin address: {text}")))?;
    let sat = if asset == policy {
        amount::from_json(value)?
    } else {
        amount::in_any_asset(value)?
    };
    Ok(Recipient::to(&address, asset, sat))
}

/// Makes the transaction of an order, and sends it.
fn send(
    call: Call<'_>,
    state: &mut State,
    order: &Order,
    comments: Vec<(&'static str, String)>,
    refusal: fn(String) -> RpcError,
) -> RpcResult<(Txid, Funded)> {
    let (wallet, mut tools, node) = change(call, state)?;
    if wallet.blank {
        return Err(RpcError::wallet("Error: This wallet has no available keys"));
    }
    let funded = wallet
        .fund(&mut tools, node, order)
        .map_err(|error| refusal(error.0))?;
    // What is about to come is no news to this wallet: it need not open its own change.
    wallet.expect(funded.tx.txid(), &funded.secrets);
    let accepted = state.node.accept(funded.tx.clone(), None);
    state.settle();
    let (wallet, _, _) = change(call, state)?;
    wallet.expect_nothing();
    // elementsd would keep it and try again; here everybody should hear of it.
    let txid = accepted.map_err(|error| {
        if error.reason == "too-long-mempool-chain" {
            return refusal("Transaction has too long of a mempool chain".to_owned());
        }
        RpcError::wallet(error.message)
    })?;
    wallet.annotate(&txid, &funded.secrets, comments);
    Ok((txid, funded))
}

fn sent(txid: Txid, verbose: bool) -> Json {
    if !verbose {
        return txid.to_string().into();
    }
    let mut out = Object::new();
    out.put("txid", txid.to_string());
    out.put("fee_reason", "Fallback fee");
    out.into()
}

fn comments(
    call: Call<'_>,
    keys: &[(&'static str, usize)],
) -> RpcResult<Vec<(&'static str, String)>> {
    let mut comments = Vec::new();
    for (key, at) in keys {
        if let Some(text) = call.args.opt_str(*at)?.filter(|text| !text.is_empty()) {
            comments.push((*key, text.to_owned()));
        }
    }
    Ok(comments)
}

pub(crate) fn send_to_address(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    super::wallet_name(call, &state.wallets)?;
    let comments = comments(call, &[("comment", 2), ("to", 3)])?;
    let pays_fee = call.args.opt_bool(4)?.unwrap_or(false);
    let signal_rbf = call.args.opt_bool(5)?;
    if call.args.opt_bool(8)?.unwrap_or(false) {
        return Err(RpcError::wallet(
            "wallet does not have the \"avoid reuse\" feature enabled",
        ));
    }
    let policy_asset = state.node.policy_asset();
    let asset = match call.args.get(9).as_str().filter(|text| !text.is_empty()) {
        None => policy_asset,
        Some(text) => asset_or_error(text, policy_asset)?,
    };
    let ignore_blind_fail = call.args.opt_bool(10)?.unwrap_or(true);
    let fee_rate = fee_rate(call.args.given(6), call.args.given(7), call.args.given(11))?;
    let mut to = recipient(call.args.str(0)?, call.args.get(1), asset, policy_asset)?;
    let verbose = call.args.opt_bool(12)?.unwrap_or(false);
    to.pays_fee = pays_fee;
    if pays_fee && asset != policy_asset {
        return Err(one_fee_asset(policy_asset, asset));
    }
    let order = Order {
        recipients: vec![to],
        fee_rate,
        signal_rbf: signal_rbf.or(fee_rate.map(|_| true)),
        ignore_blind_fail,
        lock_time: state.node.tip().height,
        ..Order::default()
    };
    let (txid, _) = send(
        call,
        &mut state,
        &order,
        comments,
        RpcError::insufficient_funds,
    )?;
    Ok(sent(txid, verbose))
}

fn one_fee_asset(policy_asset: AssetId, asset: AssetId) -> RpcError {
    RpcError::insufficient_funds(format!(
        "Wallet does not support more than one type of fee at a time, therefore can not subtract fee from address amount, which is of a different asset id. fee asset: {policy_asset} recipient asset: {asset}"
    ))
}

pub(crate) fn send_many(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    super::wallet_name(call, &state.wallets)?;
    if call.args.opt_str(0)?.is_some_and(|dummy| !dummy.is_empty()) {
        return Err(RpcError::invalid_parameter(
            "Dummy value must be set to \"\"",
        ));
    }
    let amounts = args::object(call.args.get(1))?;
    let comments = comments(call, &[("comment", 3)])?;
    let payers = call
        .args
        .given(4)
        .map(args::array)
        .transpose()?
        .unwrap_or_default();
    let signal_rbf = call.args.opt_bool(5)?;
    let fee_rate = fee_rate(call.args.given(6), call.args.given(7), call.args.given(10))?;
    let assets = call.args.get(8);
    if !assets.is_null() {
        args::object(assets)?;
    }
    let ignore_blind_fail = call.args.opt_bool(9)?.unwrap_or(true);
    let policy_asset = state.node.policy_asset();
    let mut recipients = Vec::new();
    let mut seen = HashSet::new();
    for (text, value) in amounts {
        let asset = match assets.get(text).as_str() {
            None => policy_asset,
            Some(label) => asset_or_error(label, policy_asset)?,
        };
        let mut to = recipient(text, value, asset, policy_asset)?;
        if !seen.insert(to.script.clone()) {
            return Err(RpcError::invalid_parameter(format!(
                "Invalid parameter, duplicated address: {text}"
            )));
        }
        for payer in payers {
            to.pays_fee |= args::string(payer)? == text;
        }
        if to.pays_fee && asset != policy_asset {
            return Err(one_fee_asset(policy_asset, asset));
        }
        recipients.push(to);
    }
    if recipients.is_empty() {
        return Err(RpcError::insufficient_funds(
            "Transaction must have at least one recipient",
        ));
    }
    let verbose = call.args.opt_bool(11)?.unwrap_or(false);
    let order = Order {
        recipients,
        fee_rate,
        signal_rbf: signal_rbf.or(fee_rate.map(|_| true)),
        ignore_blind_fail,
        lock_time: state.node.tip().height,
        ..Order::default()
    };
    let (txid, _) = send(
        call,
        &mut state,
        &order,
        comments,
        RpcError::insufficient_funds,
    )?;
    Ok(sent(txid, verbose))
}

/// A payment of what is issued to the wallet itself.
fn to_self(call: Call<'_>, state: &mut State, asset: AssetId, value: u64) -> RpcResult<Recipient> {
    let (wallet, tools, _) = change(call, state)?;
    let address = wallet.new_address(tools.secp, AddressType::Bech32, false, true);
    wallet.set_label(address.script_pubkey(), String::new());
    Ok(Recipient::to(&address, asset, value))
}

pub(crate) fn issue_asset(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    super::wallet_name(call, &state.wallets)?;
    let asset_value = amount::in_any_asset(call.args.get(0))?;
    let token_value = amount::in_any_asset(call.args.get(1))?;
    if asset_value == 0 && token_value == 0 {
        return Err(RpcError::wrong_type(
            "Issuance must have one non-zero component",
        ));
    }
    let blinded = call.args.opt_bool(2)?.unwrap_or(true);
    let contract = match call.args.given(3) {
        None => elements::ContractHash::from_byte_array([0; 32]),
        Some(value) => args::hash(value, "contract_hash")?,
    };
    let mut recipients = Vec::new();
    for (asset, value) in [
        (STANDS_FOR_ASSET, asset_value),
        (STANDS_FOR_TOKEN, token_value),
    ] {
        if value > 0 {
            recipients.push(to_self(call, &mut state, asset, value)?);
        }
    }
    let order = Order {
        recipients,
        issuance: Some(Issuance::New {
            contract,
            asset_value,
            token_value,
            blinded,
        }),
        ignore_blind_fail: true,
        lock_time: state.node.tip().height,
        ..Order::default()
    };
    let (txid, funded) = send(call, &mut state, &order, Vec::new(), RpcError::wallet)?;
    let vin = funded.issuing_input.unwrap_or(0);
    let input = funded.tx.input.get(vin);
    let input = input.ok_or_else(|| RpcError::internal("The issuance has no input"))?;
    let entropy = AssetId::generate_asset_entropy(input.previous_output, contract);
    let mut entropy_bytes = entropy.to_byte_array();
    entropy_bytes.reverse();
    let mut out = Object::new();
    out.put("txid", txid.to_string());
    out.put("vin", vin);
    out.put("entropy", crate::rpc::encode::hex(&entropy_bytes));
    out.put("asset", AssetId::from_entropy(entropy).to_string());
    let token = AssetId::reissuance_token_from_entropy(entropy, blinded);
    out.put("token", token.to_string());
    Ok(out.into())
}

pub(crate) fn reissue_asset(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    super::wallet_name(call, &state.wallets)?;
    let policy_asset = state.node.policy_asset();
    let asset = super::asset_of(call.args.str(0)?, policy_asset).ok_or_else(|| {
        RpcError::wallet("Asset reissuance token definition could not be found in wallet.")
    })?;
    let value = amount::in_any_asset(call.args.get(1))?;
    if value == 0 {
        return Err(RpcError::wrong_type(
            "Reissuance must create a non-zero amount.",
        ));
    }
    let order = Order {
        recipients: vec![to_self(call, &mut state, STANDS_FOR_ASSET, value)?],
        issuance: Some(Issuance::Again { asset, value }),
        ignore_blind_fail: true,
        lock_time: state.node.tip().height,
        ..Order::default()
    };
    let (txid, funded) = send(call, &mut state, &order, Vec::new(), RpcError::wallet)?;
    let mut out = Object::new();
    out.put("txid", txid.to_string());
    out.put("vin", funded.issuing_input.unwrap_or(0));
    Ok(out.into())
}
