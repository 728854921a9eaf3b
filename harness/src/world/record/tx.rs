//! Transactions as the nodes' JSON has them, for the record.

use serde_json::Value;
use swaprig_record::{Chain, Input, Output, Tx};

use crate::elementsd::{LBTC, parts};

/// How much of a witness element is recorded, in hexadecimal digits. Range proofs are no part of a witness; scripts are short.
const WITNESS_SHOWN: usize = 1_000;

/// Reads what `getrawtransaction` says, at verbosity 1 or 2. `fee` is what the mempool says of a fee.
pub(super) fn read(chain: Chain, tx: &Value, fee: Option<u64>) -> Option<Tx> {
    let number = |key: &str| tx[key].as_u64();
    let outputs: Vec<Output> = tx["vout"].as_array()?.iter().map(output).collect();
    let fees = outputs.iter().filter(|output| output.kind == "fee");
    let paid: u64 = fees.filter_map(|output| output.value).sum();
    let fee_sat = match chain {
        Chain::Liquid => Some(paid),
        Chain::Bitcoin => fee.or_else(|| parts(&tx["fee"])),
    };
    Some(Tx {
        chain,
        txid: tx["txid"].as_str()?.to_owned(),
        vsize: number("discountvsize").or_else(|| number("vsize"))?,
        fee_sat,
        lock_time: number("locktime").and_then(|time| u32::try_from(time).ok())?,
        inputs: tx["vin"].as_array()?.iter().filter_map(input).collect(),
        outputs,
    })
}

fn input(input: &Value) -> Option<Input> {
    let witness = input["txinwitness"].as_array().into_iter().flatten();
    let cut = |item: &Value| Some(item.as_str()?.chars().take(WITNESS_SHOWN).collect());
    Some(Input {
        txid: input["txid"].as_str()?.to_owned(),
        vout: u32::try_from(input["vout"].as_u64()?).ok()?,
        witness: witness.filter_map(cut).collect(),
    })
}

fn output(output: &Value) -> Output {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let script = &output["scriptPubKey"];
    let asset = output["asset"].as_str().map(|asset| match asset {
        LBTC => "lbtc".to_owned(),
        other => other.to_owned(),
    });
    Output {
        value: parts(&output["value"]),
        asset,
        address: text(&script["address"]),
        kind: text(&script["type"]).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_blinded_has_no_value() {
        let tx = json!({
            "txid": "aa", "vsize": 300, "discountvsize": 225, "locktime": 7,
            "vin": [{ "txid": "bb", "vout": 1, "txinwitness": ["00", "ff"] }],
            "vout": [
                { "valuecommitment": "09", "assetcommitment": "0b",
                  "scriptPubKey": { "type": "witness_v0_keyhash", "address": "ert1q" } },
                { "value": 0.00000051, "asset": LBTC, "scriptPubKey": { "type": "fee" } },
            ],
        });
        let read = read(Chain::Liquid, &tx, None).unwrap();
        assert_eq!(
            (read.vsize, read.fee_sat, read.lock_time),
            (225, Some(51), 7)
        );
        assert_eq!(read.inputs[0].witness, ["00", "ff"]);
        assert_eq!(
            (read.outputs[0].value, &read.outputs[0].asset),
            (None, &None)
        );
        assert_eq!(read.outputs[1].asset.as_deref(), Some("lbtc"));
    }

    #[test]
    fn a_coinbase_has_no_inputs_and_a_bitcoin_fee_is_told_by_the_mempool() {
        let tx = json!({ "txid": "aa", "vsize": 1, "locktime": 0, "vin": [{ "coinbase": "00" }], "vout": [] });
        let read = read(Chain::Bitcoin, &tx, Some(9)).unwrap();
        assert_eq!((read.inputs.len(), read.fee_sat), (0, Some(9)));
    }
}
