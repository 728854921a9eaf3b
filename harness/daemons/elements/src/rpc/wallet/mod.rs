//! Methods of wallets. Which wallet is meant: the one in the path, or the only one.

mod addresses;
mod balances;
mod history;
mod raw;
mod sending;

pub(super) use addresses::{dump_blinding_key, get_address_info, get_new_address, set_label};
pub(super) use balances::{get_balance, get_balances, list_unspent};
pub(super) use history::{get_transaction, list_transactions, rescan_blockchain};
pub(super) use raw::{
    blind_raw_transaction, fund_raw_transaction, sign_raw_transaction, unblind_raw_transaction,
};
pub(super) use sending::{issue_asset, reissue_asset, send_many, send_to_address};

use std::collections::BTreeMap;

use elements::AssetId;

use super::error::{RpcError, RpcResult};
use super::json::{Json, Object};
use super::request::Call;
use super::state::State;
use super::{amount, args};
use crate::node::Node;
use crate::wallet::{Tools, Wallet, Wallets};

/// The name of the wallet that a call is for.
fn wallet_name(call: Call<'_>, wallets: &Wallets) -> RpcResult<String> {
    if let Some(name) = call.wallet {
        return if wallets.is_loaded(name) {
            Ok(name.to_owned())
        } else {
            Err(RpcError::no_wallet(
                "Requested wallet does not exist or is not loaded",
            ))
        };
    }
    let mut names = wallets.names();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.to_owned()),
        (None, _) => Err(RpcError::no_wallet(
            "No wallet is loaded. Load a wallet using loadwallet or create a new one with createwallet. (Note: A default wallet is no longer automatically created)",
        )),
        _ => Err(RpcError::which_wallet(
            "Wallet file not specified (must request wallet RPC through /wallet/<filename> uri-path).",
        )),
    }
}

/// The wallet that a call is for, to look at.
fn look<'s>(call: Call<'_>, state: &'s State) -> RpcResult<&'s Wallet> {
    let name = wallet_name(call, &state.wallets)?;
    let wallet = state.wallets.get(&name);
    wallet.ok_or_else(|| RpcError::internal("A loaded wallet is not there"))
}

/// The wallet that a call is for, what it takes to spend from it, and the node.
fn change<'s>(
    call: Call<'_>,
    state: &'s mut State,
) -> RpcResult<(&'s mut Wallet, Tools<'s>, &'s Node)> {
    let name = wallet_name(call, &state.wallets)?;
    let now = state.node.now();
    let parts = state.wallets.parts(&name);
    let (wallet, tools) =
        parts.ok_or_else(|| RpcError::internal("A loaded wallet is not there"))?;
    wallet.set_now(now);
    Ok((wallet, tools, &state.node))
}

/// The asset of a label or an id.
fn asset_of(text: &str, policy_asset: AssetId) -> Option<AssetId> {
    match text {
        "bitcoin" => Some(policy_asset),
        text if text.len() == 64 => text.parse().ok(),
        _ => None,
    }
}

fn asset_or_error(text: &str, policy_asset: AssetId) -> RpcResult<AssetId> {
    asset_of(text, policy_asset).ok_or_else(|| {
        RpcError::wallet(format!(
            "Unknown label and invalid asset hex: {}",
            "0".repeat(64)
        ))
    })
}

/// Amounts by asset label or id; the policy asset is always there. With a label or id the amount of that asset alone.
fn amount_map(map: &BTreeMap<AssetId, i64>, policy_asset: AssetId, asset: Option<&str>) -> Json {
    let amount = |asset: AssetId| amount::signed_to_json(map.get(&asset).copied().unwrap_or(0));
    if let Some(text) = asset.filter(|text| !text.is_empty()) {
        return asset_of(text, policy_asset).map_or_else(|| amount::to_json(0), amount);
    }
    let mut assets: Vec<AssetId> = map.keys().copied().collect();
    if !map.contains_key(&policy_asset) {
        assets.push(policy_asset);
    }
    // elementsd orders by the bytes of the id.
    assets.sort_by_key(|asset| asset.to_byte_array());
    let mut out = Object::new();
    for asset in assets {
        let label = if asset == policy_asset {
            "bitcoin".to_owned()
        } else {
            asset.to_string()
        };
        out.put(&label, amount(asset));
    }
    out.into()
}

/// Unsigned amounts by asset, with signs.
fn signed(map: &BTreeMap<AssetId, u64>) -> BTreeMap<AssetId, i64> {
    let signed = |value: &u64| i64::try_from(*value).unwrap_or(i64::MAX);
    map.iter()
        .map(|(asset, value)| (*asset, signed(value)))
        .collect()
}

fn refuse_flag(call: Call<'_>, at: usize, what: &str) -> RpcResult<()> {
    if call.args.opt_bool(at)?.unwrap_or(false) {
        return Err(RpcError::wallet(format!(
            "The bundled node has no {what}; run elementsd for that"
        )));
    }
    Ok(())
}

fn named(name: &str, warning: &str) -> Json {
    let mut out = Object::new();
    out.put("name", name);
    out.put("warning", warning);
    out.into()
}

/// Makes a wallet. Whether `descriptors` asks for it or not, it is a descriptor wallet: elementsd makes a legacy one
/// by default, in whose place this is.
pub(super) fn create_wallet(call: Call<'_>) -> RpcResult {
    refuse_flag(call, 1, "wallets without private keys")?;
    let blank = call.args.opt_bool(2)?.unwrap_or(false);
    let mut warning = "";
    match call.args.opt_str(3)? {
        None => {}
        Some("") => warning = "Empty string given as passphrase, wallet will not be encrypted.",
        Some(_) => {
            return Err(RpcError::wallet(
                "The bundled node has no encrypted wallets; run elementsd for that",
            ));
        }
    }
    refuse_flag(call, 4, "avoid_reuse")?;
    call.args.opt_bool(5)?;
    call.args.opt_bool(6)?;
    refuse_flag(call, 7, "external signers")?;
    let name = call.args.str(0)?;
    let mut state = call.shared.lock();
    let state = &mut *state;
    if state.wallets.exists(name) {
        return Err(RpcError::wallet(format!(
            "Wallet file verification failed. Failed to create database path '{name}'. Database already exists."
        )));
    }
    state.wallets.create(name, blank, &state.node);
    Ok(named(name, warning))
}

pub(super) fn load_wallet(call: Call<'_>) -> RpcResult {
    let name = call.args.str(0)?;
    call.args.opt_bool(1)?;
    let mut state = call.shared.lock();
    let state = &mut *state;
    if state.wallets.is_loaded(name) {
        // elementsd's words for descriptor wallets, which are SQLite files there.
        return Err(RpcError::wallet(
            "Wallet file verification failed. SQLiteDatabase: Unable to obtain an exclusive lock on the database, is it being used by another instance of Elements Core?\n",
        ));
    }
    if !state.wallets.load(name, &state.node) {
        return Err(RpcError::no_wallet(format!(
            "Wallet file verification failed. Failed to load database path '{name}'. Path does not exist."
        )));
    }
    Ok(named(name, ""))
}

pub(super) fn unload_wallet(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    let by_name = call.args.opt_str(0)?;
    call.args.opt_bool(1)?;
    let name = match (by_name, call.wallet) {
        (Some(name), Some(path)) if name != path => {
            return Err(RpcError::invalid_parameter(
                "RPC endpoint wallet and wallet_name parameter specify different wallets",
            ));
        }
        (Some(name), _) => name.to_owned(),
        (None, Some(path)) => path.to_owned(),
        (None, None) => {
            return Err(RpcError::misc("JSON value is not a string as expected"));
        }
    };
    if !state.wallets.unload(&name) {
        return Err(RpcError::no_wallet(
            "Requested wallet does not exist or is not loaded",
        ));
    }
    let mut out = Object::new();
    out.put("warning", "");
    Ok(out.into())
}

pub(super) fn list_wallets(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let names: Vec<&str> = state.wallets.names().collect();
    Ok(names.into())
}

pub(super) fn get_wallet_info(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    let name = wallet_name(call, &state.wallets)?;
    let balance = wallet.balance();
    let policy_asset = wallet.policy_asset();
    let map = |map| amount_map(&signed(map), policy_asset, None);
    let mut out = Object::new();
    out.put("walletname", name);
    out.put("walletversion", 169_900);
    out.put("format", "memory");
    out.put("balance", map(&balance.trusted));
    out.put("unconfirmed_balance", map(&balance.pending));
    out.put("immature_balance", map(&balance.immature));
    out.put("txcount", wallet.tx_count());
    out.put("keypoolsize", 1);
    out.put("keypoolsize_hd_internal", 1);
    out.put("paytxfee", amount::to_json(0));
    out.put("private_keys_enabled", true);
    out.put("avoid_reuse", false);
    out.put("scanning", false);
    out.put("descriptors", true);
    out.put("external_signer", false);
    Ok(out.into())
}
