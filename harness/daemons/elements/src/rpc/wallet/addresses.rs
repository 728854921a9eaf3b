//! Methods about addresses.

use elements::Address;
use elements::address::Payload;

use super::{args, change, look};
use crate::rpc::encode;
use crate::rpc::error::{RpcError, RpcResult};
use crate::rpc::json::{Json, Object};
use crate::rpc::request::Call;
use crate::wallet::{AddressType, Wallet, witness_program};

/// The type that a name stands for, and whether the name says if it is confidential.
pub(super) fn address_type(name: &str) -> RpcResult<(AddressType, Option<bool>)> {
    match name {
        "legacy" => Ok((AddressType::Legacy, None)),
        "p2sh-segwit" => Ok((AddressType::P2shSegwit, None)),
        "bech32" => Ok((AddressType::Bech32, Some(false))),
        "blech32" => Ok((AddressType::Bech32, Some(true))),
        "bech32m" => Err(RpcError::invalid_parameter(
            "Wallets of the bundled node cannot provide bech32m addresses",
        )),
        _ => Err(RpcError::not_found(format!(
            "Unknown address type '{name}'"
        ))),
    }
}

fn label(text: &str) -> RpcResult<String> {
    if text == "*" {
        return Err(RpcError::invalid_label("Invalid label name"));
    }
    Ok(text.to_owned())
}

pub(crate) fn get_new_address(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    let (wallet, tools, _) = change(call, &mut state)?;
    if wallet.blank {
        return Err(RpcError::wallet("Error: This wallet has no available keys"));
    }
    let label = label(call.args.opt_str(0)?.unwrap_or_default())?;
    let (kind, blinded) = match call.args.opt_str(1)? {
        None => (AddressType::Bech32, None),
        Some(name) => address_type(name)?,
    };
    let blinded = blinded.unwrap_or(tools.settings.blinded_addresses);
    let address = wallet.new_address(tools.secp, kind, false, blinded);
    wallet.set_label(address.script_pubkey(), label);
    Ok(address.to_string().into())
}

pub(crate) fn set_label(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    let (wallet, _, _) = change(call, &mut state)?;
    let address = args::address(call.args.str(0)?)
        .ok_or_else(|| RpcError::not_found("Invalid Bitcoin address"))?;
    let label = label(call.args.str(1)?)?;
    wallet.set_label(address.script_pubkey(), label);
    Ok(Json::Null)
}

pub(crate) fn dump_blinding_key(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    let address = args::address(call.args.str(0)?)
        .ok_or_else(|| RpcError::not_found("Invalid Bitcoin address"))?;
    let script = address.script_pubkey();
    let key = wallet.keys().blinding_key(&script);
    let public = key.public_key(&state.wallets.secp);
    if address.blinding_pubkey.is_some_and(|other| other != public) {
        return Err(RpcError::not_found(
            "CT address blinding key does not match the blinding key in wallet",
        ));
    }
    Ok(encode::hex(&key.secret_bytes()).into())
}

/// What an address says about itself.
fn describe(address: &Address) -> Object {
    let mut out = Object::new();
    match &address.payload {
        Payload::PubkeyHash(_) => {
            out.put("isscript", false);
            out.put("iswitness", false);
        }
        Payload::ScriptHash(_) => {
            out.put("isscript", true);
            out.put("iswitness", false);
        }
        Payload::WitnessProgram { version, program } => {
            let version = version.to_u8();
            if (version, program.len()) == (0, 20) {
                out.put("isscript", false);
            } else if matches!((version, program.len()), (0 | 1, 32)) {
                out.put("isscript", true);
            }
            out.put("iswitness", true);
            out.put("witness_version", version);
            out.put("witness_program", encode::hex(program));
        }
    }
    out
}

/// What the wallet adds: the key, and the program inside pay-to-script-hash.
fn describe_mine(wallet: &Wallet, state_secp: &Secp, address: &Address) -> Object {
    let mut out = Object::new();
    let Some(origin) = wallet.keys().origin(&address.script_pubkey()) else {
        return out;
    };
    let key = wallet.keys().private_key(state_secp, origin);
    let public = key.public_key(state_secp).serialize();
    match origin.kind {
        AddressType::Legacy => {
            out.put("pubkey", encode::hex(&public));
            out.put("iscompressed", true);
        }
        AddressType::Bech32 => out.put("pubkey", encode::hex(&public)),
        AddressType::P2shSegwit => {
            let program = witness_program(&public);
            out.put("script", "witness_v0_keyhash");
            out.put("hex", encode::hex(program.as_bytes()));
            out.put("pubkey", encode::hex(&public));
            if let Some(inner) = crate::wallet::address_of(&program) {
                let mut embedded = describe(&inner);
                embedded.put("pubkey", encode::hex(&public));
                embedded.put("address", inner.to_string());
                embedded.put("scriptPubKey", encode::hex(program.as_bytes()));
                out.put("embedded", embedded);
            }
        }
    }
    out
}

/// elementsd's words for a text that is no address of this chain.
fn what_is_wrong_with(text: &str) -> &'static str {
    let lower = text.to_ascii_lowercase();
    let is_segwit_here = lower.starts_with("ert1") || lower.starts_with("el1");
    let is_segwit_elsewhere = lower
        .split_once("1q")
        .or(lower.split_once("1p"))
        .is_some_and(|(prefix, data)| {
            prefix.bytes().all(|byte| byte.is_ascii_lowercase())
                && data.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
    match (is_segwit_here, is_segwit_elsewhere) {
        (true, _) if text.len() < 14 => "Invalid separator position",
        (true, _) => "Invalid or unsupported Segwit (Bech32) or Base58 encoding.",
        (false, true) => "Invalid prefix for Bech32 address",
        (false, false) => "Invalid checksum or length of Base58 address",
    }
}

type Secp = elements::secp256k1_zkp::Secp256k1<elements::secp256k1_zkp::All>;

pub(crate) fn get_address_info(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    let secp = &state.wallets.secp;
    let text = call.args.str(0)?;
    let address =
        args::address(text).ok_or_else(|| RpcError::not_found(what_is_wrong_with(text)))?;
    let script = address.script_pubkey();
    let origin = wallet.keys().origin(&script);
    let blinding = wallet.keys().blinding_pubkey(secp, &script);
    let opens = address.blinding_pubkey.is_none_or(|key| key == blinding);
    let is_mine = origin.is_some() && opens;
    let unconfidential = address.to_unconfidential();
    let mut out = Object::new();
    out.put("address", address.to_string());
    out.put("scriptPubKey", encode::hex(script.as_bytes()));
    out.put("ismine", is_mine);
    out.put("solvable", origin.is_some());
    if let Some(origin) = origin {
        let key = wallet.keys().private_key(secp, origin).public_key(secp);
        let path = origin.path();
        let key = format!(
            "[{}/{path}]{}",
            wallet.keys().fingerprint(),
            encode::hex(&key.serialize())
        );
        let descriptor = origin.kind.descriptor(&key);
        out.put("desc", encode::descriptor_with_checksum(&descriptor));
        if let Some(parent) = wallet.keys().parent_descriptor(origin) {
            out.put("parent_desc", encode::descriptor_with_checksum(&parent));
        }
    }
    out.put("iswatchonly", false);
    out.append(describe(&address));
    out.append(describe_mine(wallet, secp, &address));
    let confidential = match address.blinding_pubkey {
        None if is_mine => address.to_confidential(blinding),
        _ => address.clone(),
    };
    out.put("confidential", confidential.to_string());
    let key = address.blinding_pubkey;
    out.put(
        "confidential_key",
        key.map_or_else(String::new, |key| encode::hex(&key.serialize())),
    );
    out.put("unconfidential", unconfidential.to_string());
    out.put(
        "ischange",
        origin.is_some() && wallet.label(&script).is_none(),
    );
    if let Some(origin) = origin {
        out.put("timestamp", wallet.created);
        out.put("hdkeypath", format!("m/{}", origin.path()));
        out.put("hdseedid", "0".repeat(40));
        out.put("hdmasterfingerprint", wallet.keys().fingerprint());
    }
    let labels: Vec<&str> = wallet.label(&script).into_iter().collect();
    out.put("labels", labels);
    Ok(out.into())
}
