//! Methods that fund, blind and sign transactions made elsewhere.

use std::collections::{BTreeMap, HashMap};

use elements::confidential::{Asset, Nonce, Value};
use elements::secp256k1_zkp::{Generator, PublicKey};
use elements::{EcdsaSighashType, OutPoint, RangeProof, Script, Transaction, TxOut, TxOutWitness};

use super::sending::fee_rate;
use super::{addresses, amount, args, change, look};
use crate::rpc::args::Kind;
use crate::rpc::encode;
use crate::rpc::error::{RpcError, RpcResult};
use crate::rpc::json::{Json, Object};
use crate::rpc::raw::{decode, outpoint};
use crate::rpc::request::Call;
use crate::wallet::{
    Blinder, InputSecrets, Order, Recipient, Wallet, blinding_key, explicit_secrets, sign_all,
};

pub(crate) fn fund_raw_transaction(call: Call<'_>) -> RpcResult {
    call.args.expect(&[Some(Kind::Str), None, None])?;
    let tx = decode(call.args.str(0)?, "TX decode failed")?;
    let mut state = call.shared.lock();
    let mut order = order_of(&tx)?;
    match call.args.given(1) {
        None | Some(Json::Bool(_)) => {}
        Some(options) => {
            Kind::Obj.check(options)?;
            fund_options(options, &mut order, state.node.policy_asset())?;
        }
    }
    let (wallet, mut tools, node) = change(call, &mut state)?;
    let funded = wallet
        .fund(&mut tools, node, &order)
        .map_err(|error| RpcError::wallet(error.0))?;
    let mut out = Object::new();
    out.put("hex", encode::encode_hex(&funded.tx));
    out.put("fee", amount::to_json(funded.fee));
    match funded.change_position {
        Some(position) => out.put("changepos", position),
        None => out.put("changepos", -1),
    }
    Ok(out.into())
}

/// The order that a transaction stands for.
fn order_of(tx: &Transaction) -> RpcResult<Order> {
    let mut recipients = Vec::new();
    for output in tx.output.iter().filter(|output| !output.is_fee()) {
        let (Some(asset), Some(value)) = (output.asset.explicit(), output.value.explicit()) else {
            return Err(RpcError::wallet(
                "Transaction outputs must not be blinded when the transaction is funded",
            ));
        };
        recipients.push(Recipient {
            script: output.script_pubkey.clone(),
            key: blinding_key(output),
            asset,
            value,
            pays_fee: false,
        });
    }
    if tx.input.iter().any(|input| input.has_issuance()) {
        return Err(RpcError::wallet(
            "The bundled node does not fund transactions that issue; use issueasset",
        ));
    }
    let inputs = tx.input.iter();
    let inputs = inputs.map(|input| (input.previous_output, Some(input.sequence)));
    Ok(Order {
        recipients,
        inputs: inputs.collect(),
        ignore_blind_fail: true,
        unsigned: true,
        lock_time: tx.lock_time.to_consensus_u32(),
        version: tx.version,
        ..Order::default()
    })
}

fn fund_options(options: &Json, order: &mut Order, policy: elements::AssetId) -> RpcResult<()> {
    let mut fee_options: [Option<&Json>; 3] = [None; 3];
    let mut per_kvb = None;
    for (key, value) in args::object(options)? {
        match key.as_str() {
            "add_inputs" => {
                Kind::Bool.check(value)?;
                order.no_more_inputs = !args::boolean(value)?;
            }
            "changeAddress" | "change_address" => {
                order.change = change_addresses(value, policy)?;
            }
            "changePosition" | "change_position" => {
                Kind::Num.check(value)?;
                let position: i32 = args::integer(value)?;
                order.change_position = usize::try_from(position).ok();
            }
            "change_type" => {
                Kind::Str.check(value)?;
                order.change_type = Some(addresses::address_type(args::string(value)?)?.0);
            }
            "include_unsafe" | "includeWatching" | "include_watching" | "lockUnspents"
            | "lock_unspents" | "psbt" | "add_to_wallet" => {
                Kind::Bool.check(value)?;
                if args::boolean(value)? {
                    return Err(RpcError::wallet(format!(
                        "The bundled node does not support the option {key}; run elementsd for that"
                    )));
                }
            }
            "subtractFeeFromOutputs" | "subtract_fee_from_outputs" => {
                Kind::Arr.check(value)?;
                subtract_fee(args::array(value)?, order)?;
            }
            "replaceable" => {
                Kind::Bool.check(value)?;
                order.signal_rbf = Some(args::boolean(value)?);
            }
            "conf_target" => {
                Kind::Num.check(value)?;
                fee_options[0] = Some(value);
            }
            "estimate_mode" => {
                Kind::Str.check(value)?;
                fee_options[1] = Some(value);
            }
            "fee_rate" => fee_options[2] = Some(value),
            "feeRate" => per_kvb = Some(value),
            "inputs" | "input_weights" | "solving_data" | "locktime" | "include_explicit" => {
                return Err(RpcError::wallet(format!(
                    "The bundled node does not support the option {key}; run elementsd for that"
                )));
            }
            _ => return Err(RpcError::wrong_type(format!("Unexpected key {key}"))),
        }
    }
    let [target, mode, rate] = fee_options;
    order.fee_rate = fee_rate(target, mode, rate)?;
    if let Some(per_kvb) = per_kvb {
        if rate.is_some() {
            return Err(RpcError::invalid_parameter(
                "Cannot specify both fee_rate (sat/vB) and feeRate (BTC/kvB)",
            ));
        }
        let sat = amount::from_json(per_kvb)?;
        order.fee_rate = Some(crate::node::FeeRate::from_sat_per_kvb(sat));
    }
    Ok(())
}

fn change_addresses(
    value: &Json,
    policy: elements::AssetId,
) -> RpcResult<BTreeMap<elements::AssetId, elements::Address>> {
    let parse = |value: &Json| {
        let address = value.as_str().and_then(args::address);
        address.ok_or_else(|| RpcError::not_found("Change address must be a valid address"))
    };
    let mut change = BTreeMap::new();
    match value {
        Json::Str(_) => {
            change.insert(policy, parse(value)?);
        }
        Json::Obj(entries) => {
            for (label, value) in entries {
                let asset = super::asset_of(label, policy).ok_or_else(|| {
                    RpcError::invalid_parameter(
                        "Change address key must be a valid asset label or hex",
                    )
                })?;
                change.insert(asset, parse(value)?);
            }
        }
        _ => {
            return Err(RpcError::not_found(
                "Change address must be either a map or a string",
            ));
        }
    }
    Ok(change)
}

fn subtract_fee(positions: &[Json], order: &mut Order) -> RpcResult<()> {
    for value in positions {
        let position: i32 = args::integer(value)?;
        let to = usize::try_from(position).map_err(|_| {
            RpcError::invalid_parameter(format!("Invalid parameter, negative position: {position}"))
        })?;
        let to = order.recipients.get_mut(to).ok_or_else(|| {
            RpcError::invalid_parameter(format!(
                "Invalid parameter, position too large: {position}"
            ))
        })?;
        if to.pays_fee {
            return Err(RpcError::invalid_parameter(format!(
                "Invalid parameter, duplicated position: {position}"
            )));
        }
        to.pays_fee = true;
    }
    Ok(())
}

/// What each input spends, as far as the wallet and the callers' commitments tell.
fn input_secrets(
    wallet: &Wallet,
    tx: &Transaction,
    commitments: &[Json],
) -> RpcResult<Vec<InputSecrets>> {
    let mut secrets = Vec::new();
    for (index, input) in tx.input.iter().enumerate() {
        if let Some(coin) = wallet.coin(&input.previous_output) {
            secrets.push(InputSecrets::Known(coin.secrets));
            continue;
        }
        let Some(commitment) = commitments.get(index) else {
            return Err(RpcError::invalid_parameter(
                "Invalid parameter: transaction spends from non-wallet output and no assetcommitment list was given.",
            ));
        };
        let generator = commitment
            .as_str()
            .filter(|text| text.len() == 66)
            .and_then(encode::from_hex)
            .and_then(|bytes| Generator::from_slice(&bytes).ok());
        let generator = generator.ok_or_else(|| {
            RpcError::invalid_parameter(
                "Asset commitments must be a hex encoded string of length 66.",
            )
        })?;
        secrets.push(InputSecrets::Unknown(Asset::Confidential(generator)));
    }
    Ok(secrets)
}

/// Adds a blinded output of nothing, which takes up the blinding factors of the inputs.
fn push_nothing(tx: &mut Transaction, script: Script, key: PublicKey) -> RpcResult<()> {
    let asset = tx.output.last().and_then(|output| output.asset.explicit());
    let asset = asset.ok_or_else(|| {
        RpcError::invalid_parameter(
            "Unable to blind transaction: transaction has no outputs to balance blinded inputs against.",
        )
    })?;
    tx.output.push(TxOut {
        asset: Asset::Explicit(asset),
        value: Value::Explicit(0),
        nonce: Nonce::Confidential(key),
        script_pubkey: script,
        witness: TxOutWitness::empty(),
    });
    Ok(())
}

pub(crate) fn blind_raw_transaction(call: Call<'_>) -> RpcResult {
    let mut state = call.shared.lock();
    let (wallet, tools, _) = change(call, &mut state)?;
    let bytes = args::bytes(call.args.get(0), "argument 1")?;
    let mut tx: Transaction = elements::encode::deserialize(&bytes)
        .map_err(|_| RpcError::deserialization("TX decode failed"))?;
    let ignore_blind_fail = call.args.opt_bool(1)?.unwrap_or(true);
    let commitments = call
        .args
        .given(2)
        .map(args::array)
        .transpose()?
        .unwrap_or_default();
    if !commitments.is_empty() && commitments.len() < tx.input.len() {
        return Err(RpcError::invalid_parameter(
            "Asset commitment array must have at least as many entries as transaction inputs.",
        ));
    }
    let blind_issuances = call.args.opt_bool(3)?.unwrap_or(true);
    let inputs = input_secrets(wallet, &tx, commitments)?;
    let blinded_input = tx.input.iter().any(|input| {
        let coin = wallet.coin(&input.previous_output);
        coin.is_some_and(|coin| !coin.output.value.is_explicit())
    });
    let mut keys = HashMap::new();
    for (index, input) in tx.input.iter().enumerate() {
        if blind_issuances && input.has_issuance() {
            keys.insert(index, wallet.issuance_key(&input.previous_output));
        }
    }
    let to_blind = tx
        .output
        .iter()
        .filter(|output| blinding_key(output).is_some())
        .count();
    match to_blind + keys.len() {
        0 if !blinded_input => return Ok(encode::encode_hex(&tx).into()),
        0 => {
            let script = Script::from(vec![0x6a]);
            let key = wallet.keys().blinding_pubkey(tools.secp, &script);
            push_nothing(&mut tx, script, key)?;
        }
        1 if !blinded_input => {
            if !ignore_blind_fail {
                return Err(RpcError::invalid_parameter(
                    "Unable to blind transaction: Add another output to blind in order to complete the blinding.",
                ));
            }
            for output in &mut tx.output {
                output.nonce = Nonce::Null;
            }
            return Ok(encode::encode_hex(&tx).into());
        }
        _ => {}
    }
    let mut blinder = Blinder {
        secp: tools.secp,
        rng: tools.rng,
    };
    blinder.blind(&mut tx, &inputs, &keys).map_err(|_| {
        RpcError::invalid_parameter(
            "Unable to blind transaction: Are you sure each asset type to blind is represented in the inputs?",
        )
    })?;
    Ok(encode::encode_hex(&tx).into())
}

pub(crate) fn unblind_raw_transaction(call: Call<'_>) -> RpcResult {
    call.args.expect(&[Some(Kind::Str)])?;
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    let secp = &state.wallets.secp;
    let mut tx = decode(call.args.str(0)?, "TX decode failed")?;
    for output in &mut tx.output {
        if output.value.is_explicit() {
            continue;
        }
        let Some(secrets) = wallet.open(secp, output) else {
            continue;
        };
        // As it was before blinding, but for the key.
        *output = TxOut {
            asset: Asset::Explicit(secrets.asset),
            value: Value::Explicit(secrets.value),
            nonce: Nonce::Null,
            script_pubkey: output.script_pubkey.clone(),
            witness: TxOutWitness::empty(),
        };
    }
    for input in &mut tx.input {
        unblind_issuance(wallet, &state, input);
    }
    let mut out = Object::new();
    out.put("hex", encode::encode_hex(&tx));
    Ok(out.into())
}

/// Opens an issuance that the wallet blinded.
fn unblind_issuance(wallet: &Wallet, state: &crate::rpc::State, input: &mut elements::TxIn) {
    let secp = &state.wallets.secp;
    let key = wallet.issuance_key(&input.previous_output);
    let (asset, token) = input.issuance_ids();
    let open = |value: Value, proof: &RangeProof, asset: elements::AssetId| {
        let commitment = value.commitment()?;
        let generator = Generator::new_unblinded(secp, asset.into_tag());
        let (opening, _) = proof
            .as_ref()?
            .rewind(secp, commitment, key, &[], generator)
            .ok()?;
        Some(Value::Explicit(opening.value))
    };
    let issuance = &input.asset_issuance;
    let amount = open(issuance.amount, &input.witness.amount_rangeproof, asset);
    let keys = &input.witness.inflation_keys_rangeproof;
    let tokens = open(issuance.inflation_keys, keys, token);
    if let Some(amount) = amount {
        input.asset_issuance.amount = amount;
        input.witness.amount_rangeproof = RangeProof::EMPTY;
    }
    if let Some(tokens) = tokens {
        input.asset_issuance.inflation_keys = tokens;
        input.witness.inflation_keys_rangeproof = RangeProof::EMPTY;
    }
}

/// The outputs that callers say are spent, which need not be on the chain.
fn given_coins(value: Option<&Json>) -> RpcResult<HashMap<OutPoint, TxOut>> {
    let mut coins = HashMap::new();
    for value in value.map(args::array).transpose()?.unwrap_or_default() {
        let Json::Obj(_) = value else {
            return Err(RpcError::deserialization(
                "expected object with {\"txid'\",\"vout\",\"scriptPubKey\"}",
            ));
        };
        for (key, kind) in [
            ("txid", Kind::Str),
            ("vout", Kind::Num),
            ("scriptPubKey", Kind::Str),
        ] {
            if !value.has(key) {
                return Err(RpcError::wrong_type(format!("Missing {key}")));
            }
            kind.check(value.get(key))?;
        }
        let script = args::bytes(value.get("scriptPubKey"), "scriptPubKey")?;
        let amount = match (value.get("amount"), value.get("amountcommitment")) {
            (Json::Null, Json::Null) => Value::Explicit(amount::MAX_MONEY),
            (Json::Null, commitment) => {
                let bytes = args::bytes(commitment, "amountcommitment")?;
                Value::from_commitment(&bytes).map_err(|_| {
                    RpcError::deserialization("amountcommitment is no commitment to an amount")
                })?
            }
            (value, _) => Value::Explicit(amount::from_json(value)?),
        };
        let output = TxOut {
            value: amount,
            script_pubkey: Script::from(script),
            ..TxOut::default()
        };
        coins.insert(outpoint(value)?, output);
    }
    Ok(coins)
}

fn sighash_type(value: Option<&str>) -> RpcResult<EcdsaSighashType> {
    Ok(match value {
        None | Some("DEFAULT" | "ALL") => EcdsaSighashType::All,
        Some("ALL|ANYONECANPAY") => EcdsaSighashType::AllPlusAnyoneCanPay,
        Some("NONE") => EcdsaSighashType::None,
        Some("NONE|ANYONECANPAY") => EcdsaSighashType::NonePlusAnyoneCanPay,
        Some("SINGLE") => EcdsaSighashType::Single,
        Some("SINGLE|ANYONECANPAY") => EcdsaSighashType::SinglePlusAnyoneCanPay,
        Some(other) => {
            return Err(RpcError::invalid_parameter(format!(
                "{other} is not a valid sighash parameter."
            )));
        }
    })
}

pub(crate) fn sign_raw_transaction(call: Call<'_>) -> RpcResult {
    call.args
        .expect_or_null(&[Some(Kind::Str), Some(Kind::Arr), Some(Kind::Str)])?;
    let state = call.shared.lock();
    let wallet = look(call, &state)?;
    let mut tx = decode(
        call.args.str(0)?,
        "TX decode failed. Make sure the tx has at least one input.",
    )?;
    let mut coins = given_coins(call.args.given(1))?;
    for input in &tx.input {
        let outpoint = input.previous_output;
        let known = wallet.coin(&outpoint).map(|coin| coin.output.clone());
        let known = known.or_else(|| Some(state.node.coin_with_mempool(&outpoint)?.output));
        if let Some(output) = known {
            coins.insert(outpoint, output);
        }
    }
    let sighash = sighash_type(call.args.opt_str(2)?)?;
    let failures = sign_all(wallet, &state.wallets.secp, &mut tx, &coins, sighash);
    let mut out = Object::new();
    out.put("hex", encode::encode_hex(&tx));
    out.put("complete", failures.is_empty());
    if !failures.is_empty() {
        let errors = failures.iter().filter_map(|failure| {
            let input = tx.input.get(failure.index)?;
            let mut out = Object::new();
            out.put("txid", input.previous_output.txid.to_string());
            out.put("vout", input.previous_output.vout);
            let witness = input.witness.script_witness.iter().map(encode::hex);
            out.put("witness", witness.collect::<Vec<_>>());
            out.put("scriptSig", encode::hex(input.script_sig.as_bytes()));
            out.put("sequence", input.sequence.0);
            out.put("error", failure.error);
            Some(Json::from(out))
        });
        out.put("errors", errors.collect::<Vec<_>>());
    }
    if let Some(warning) = imbalance(wallet, &tx, &coins) {
        out.put("warning", warning);
    }
    Ok(out.into())
}

/// What elementsd warns of: a transaction whose explicit amounts do not add up.
fn imbalance(
    wallet: &Wallet,
    tx: &Transaction,
    coins: &HashMap<OutPoint, TxOut>,
) -> Option<&'static str> {
    let mut sums: BTreeMap<[u8; 32], i128> = BTreeMap::new();
    for input in &tx.input {
        let secrets = match wallet.coin(&input.previous_output) {
            Some(coin) => coin.secrets,
            None => {
                let output = coins.get(&input.previous_output)?;
                explicit_secrets(output.asset.explicit()?, output.value.explicit()?)
            }
        };
        if input.has_issuance() {
            return None;
        }
        *sums.entry(secrets.asset.to_byte_array()).or_insert(0) += i128::from(secrets.value);
    }
    for output in &tx.output {
        let asset = output.asset.explicit()?;
        *sums.entry(asset.to_byte_array()).or_insert(0) -= i128::from(output.value.explicit()?);
    }
    let unbalanced = sums.values().any(|sum| *sum != 0);
    unbalanced
        .then_some("Possibly incorrect values or blinding: the inputs and outputs do not add up")
}
