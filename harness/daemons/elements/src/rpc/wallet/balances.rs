//! Methods about what a wallet has.

use std::collections::HashSet;

use elements::Script;

use super::{amount, amount_map, args, asset_of, look, signed};
use crate::rpc::args::Kind;
use crate::rpc::encode;
use crate::rpc::error::{RpcError, RpcResult};
use crate::rpc::json::{Json, Object};
use crate::rpc::request::Call;
use crate::rpc::state::State;
use crate::wallet::{AddressType, Coin, Wallet, WalletTx, address_of, witness_program};

pub(crate) fn get_balance(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    if call.args.opt_str(0)?.is_some_and(|dummy| dummy != "*") {
        return Err(RpcError::deprecated(
            "dummy first argument must be excluded or set to \"*\".",
        ));
    }
    let min_depth = call.args.opt_int(1)?.unwrap_or(0);
    call.args.opt_bool(2)?;
    if call.args.opt_bool(3)?.unwrap_or(false) {
        return Err(RpcError::wallet(
            "wallet does not have the \"avoid reuse\" feature enabled",
        ));
    }
    let asset = call.args.get(4).as_str();
    let trusted = if min_depth <= 0 {
        wallet.balance().trusted
    } else {
        let mut trusted = std::collections::BTreeMap::new();
        for (coin, _) in wallet.unspent() {
            let tx = wallet.tx(&coin.outpoint.txid);
            if tx.is_some_and(|tx| wallet.depth(tx) >= i64::from(min_depth)) {
                *trusted.entry(coin.secrets.asset).or_insert(0) += coin.secrets.value;
            }
        }
        trusted
    };
    Ok(amount_map(&signed(&trusted), wallet.policy_asset(), asset))
}

pub(crate) fn get_balances(call: Call<'_>) -> RpcResult {
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    let balance = wallet.balance();
    let map = |map| amount_map(&signed(map), wallet.policy_asset(), None);
    let mut mine = Object::new();
    mine.put("trusted", map(&balance.trusted));
    mine.put("untrusted_pending", map(&balance.pending));
    mine.put("immature", map(&balance.immature));
    let mut out = Object::new();
    out.put("mine", mine);
    Ok(out.into())
}

/// What `listunspent` was asked for.
struct Filter {
    min_depth: i64,
    max_depth: i64,
    scripts: HashSet<Script>,
    unsafe_too: bool,
    min_amount: u64,
    max_amount: u64,
    max_count: u64,
    min_sum: u64,
    asset: Option<String>,
}

impl Filter {
    fn of(call: Call<'_>) -> RpcResult<Self> {
        let depth = |at, default| -> RpcResult<i64> {
            match call.args.given(at) {
                None => Ok(default),
                Some(value) => {
                    Kind::Num.check(value)?;
                    Ok(i64::from(call.args.int(at)?))
                }
            }
        };
        let mut filter = Filter {
            min_depth: depth(0, 1)?,
            max_depth: depth(1, 9_999_999)?,
            scripts: HashSet::new(),
            unsafe_too: true,
            min_amount: 0,
            max_amount: u64::MAX,
            max_count: 0,
            min_sum: u64::MAX,
            asset: None,
        };
        if let Some(addresses) = call.args.given(2) {
            Kind::Arr.check(addresses)?;
            for value in args::array(addresses)? {
                let text = args::string(value)?;
                let address = args::address(text).ok_or_else(|| {
                    RpcError::not_found(format!("Invalid Bitcoin address: {text}"))
                })?;
                if !filter.scripts.insert(address.script_pubkey()) {
                    return Err(RpcError::invalid_parameter(format!(
                        "Invalid parameter, duplicated address: {text}"
                    )));
                }
            }
        }
        if let Some(value) = call.args.given(3) {
            Kind::Bool.check(value)?;
            filter.unsafe_too = args::boolean(value)?;
        }
        if let Some(options) = call.args.given(4) {
            filter.options(options)?;
        }
        Ok(filter)
    }

    fn options(&mut self, options: &Json) -> RpcResult<()> {
        for (key, value) in args::object(options)? {
            match key.as_str() {
                "minimumAmount" => self.min_amount = amount::from_json(value)?,
                "maximumAmount" => self.max_amount = amount::from_json(value)?,
                "minimumSumAmount" => self.min_sum = amount::from_json(value)?,
                "maximumCount" => {
                    Kind::Num.check(value)?;
                    self.max_count = args::integer(value)?;
                }
                "asset" => self.asset = Some(args::string(value)?.to_owned()),
                _ => return Err(RpcError::wrong_type(format!("Unexpected key {key}"))),
            }
        }
        Ok(())
    }
}

pub(crate) fn list_unspent(call: Call<'_>) -> RpcResult {
    let filter = Filter::of(call)?;
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    let asset = filter.asset.as_deref().filter(|text| !text.is_empty());
    let asset = asset.map(|text| asset_of(text, wallet.policy_asset()));
    let mut listed: Vec<(u64, Json)> = Vec::new();
    let mut sum = 0u64;
    for (coin, is_safe) in wallet.unspent() {
        let Some(tx) = wallet.tx(&coin.outpoint.txid) else {
            continue;
        };
        let depth = wallet.depth(tx);
        let is_listed = (filter.min_depth..=filter.max_depth).contains(&depth)
            && (is_safe || filter.unsafe_too)
            && asset.is_none_or(|asset| asset == Some(coin.secrets.asset))
            && (filter.min_amount..=filter.max_amount).contains(&coin.secrets.value);
        if !is_listed {
            continue;
        }
        sum = sum.saturating_add(coin.secrets.value);
        let of_addresses =
            filter.scripts.is_empty() || filter.scripts.contains(&coin.output.script_pubkey);
        if of_addresses {
            listed.push((tx.order, entry(&state, wallet, tx, coin, is_safe)));
        }
        let enough = filter.max_count > 0 && listed.len() as u64 >= filter.max_count;
        if enough || sum >= filter.min_sum {
            break;
        }
    }
    listed.sort_by_key(|(order, _)| *order);
    Ok(Json::Arr(
        listed.into_iter().map(|(_, entry)| entry).collect(),
    ))
}

fn entry(state: &State, wallet: &Wallet, tx: &WalletTx, coin: &Coin, is_safe: bool) -> Json {
    let secp = &state.wallets.secp;
    let script = &coin.output.script_pubkey;
    let depth = wallet.depth(tx);
    let key = wallet
        .keys()
        .private_key(secp, coin.origin)
        .public_key(secp)
        .serialize();
    let mut out = Object::new();
    out.put("txid", coin.outpoint.txid.to_string());
    out.put("vout", coin.outpoint.vout);
    if let Some(address) = address_of(script) {
        out.put("address", address.to_string());
        if let Some(label) = wallet.label(script) {
            out.put("label", label);
        }
        if coin.origin.kind == AddressType::P2shSegwit {
            out.put(
                "redeemScript",
                encode::hex(witness_program(&key).as_bytes()),
            );
        }
    }
    out.put("scriptPubKey", encode::hex(script.as_bytes()));
    out.put("amount", amount::to_json(coin.secrets.value));
    if !coin.output.asset.is_explicit() {
        out.put(
            "assetcommitment",
            encode::commitment_hex(&coin.output.asset),
        );
    }
    out.put("asset", coin.secrets.asset.to_string());
    if !coin.output.value.is_explicit() {
        out.put(
            "amountcommitment",
            encode::commitment_hex(&coin.output.value),
        );
    }
    out.put("amountblinder", coin.secrets.value_bf.to_string());
    out.put("assetblinder", coin.secrets.asset_bf.to_string());
    out.put("confirmations", depth);
    if let Some(waiting) = state.node.mempool().get(&coin.outpoint.txid) {
        let mempool = state.node.mempool();
        let ancestors = mempool.ancestors(&coin.outpoint.txid);
        let ancestors = ancestors.iter().filter_map(|txid| mempool.get(txid));
        let start = (1u64, waiting.vsize, waiting.fee);
        let (count, size, fees) = ancestors.fold(start, |(count, size, fees), entry| {
            (count + 1, size + entry.vsize, fees + entry.fee)
        });
        out.put("ancestorcount", count);
        out.put("ancestorsize", size);
        out.put("ancestorfees", fees);
    }
    out.put("spendable", true);
    out.put("solvable", true);
    let key = format!(
        "[{}/{}]{}",
        wallet.keys().fingerprint(),
        coin.origin.path(),
        encode::hex(&key)
    );
    let descriptor = coin.origin.kind.descriptor(&key);
    out.put("desc", encode::descriptor_with_checksum(&descriptor));
    out.put("safe", is_safe);
    out.into()
}
