//! Blocks, their headers, and what waits for one.

use elements::dynafed::{FullParams, Params};
use elements::{BlockExtData, OutPoint};

use super::hex;
use super::script::{asm, script_pub_key};
use super::tx::with_prevouts;
use crate::node::{MempoolEntry, Node, StoredBlock};
use crate::rpc::amount;
use crate::rpc::json::{Json, Object};

/// `blockheaderToJSON`.
pub(crate) fn header(node: &Node, block: &StoredBlock) -> Object {
    let header = block.header();
    let mut out = Object::new();
    out.put("hash", block.hash().to_string());
    out.put(
        "confirmations",
        node.confirmations(&block.hash()).unwrap_or(-1),
    );
    out.put("height", block.height());
    // A signed number in elementsd.
    out.put("version", header.version.cast_signed());
    out.put("versionHex", format!("{:08x}", header.version));
    out.put("merkleroot", header.merkle_root.to_string());
    out.put("time", header.time);
    out.put("mediantime", block.median_time_past());
    match &header.ext {
        BlockExtData::Proof {
            challenge,
            solution,
        } => {
            out.put("signblock_witness_asm", asm(solution, false));
            out.put("signblock_witness_hex", hex(solution.as_bytes()));
            out.put("signblock_challenge", hex(challenge.as_bytes()));
        }
        BlockExtData::Dynafed {
            current,
            proposed,
            signblock_witness,
        } => {
            let items: Vec<String> = signblock_witness.iter().map(|item| hex(item)).collect();
            out.put("signblock_witness_hex", items);
            let mut params = Object::new();
            params.put("current", dynafed_params(current));
            params.put("proposed", dynafed_params(proposed));
            out.put("dynamic_parameters", params);
        }
    }
    out.put("nTx", block.transactions().len());
    if block.height() > 0 {
        out.put("previousblockhash", header.prev_blockhash.to_string());
    }
    if let Some(next) = node.next_block_hash(&block.hash()) {
        out.put("nextblockhash", next.to_string());
    }
    out
}

fn dynafed_params(params: &Params) -> Json {
    let mut out = Object::new();
    let kind = match params {
        Params::Null => "null",
        Params::Compact { .. } => "compact",
        Params::Full(_) => "full",
    };
    out.put("type", kind);
    if let (Some(script), Some(limit)) =
        (params.signblockscript(), params.signblock_witness_limit())
    {
        out.put("root", params.calculate_root().to_string());
        out.put("signblockscript", hex(script.as_bytes()));
        out.put("max_block_witness", limit);
    }
    match params {
        Params::Null => {}
        Params::Compact { elided_root, .. } => out.put("extra_root", elided_root.to_string()),
        Params::Full(full) => {
            if let Params::Compact { elided_root, .. } = full.clone().into_compact() {
                out.put("extra_root", elided_root.to_string());
            }
            out.append(params_entry(full));
        }
    }
    out.into()
}

/// The federation's fields of full parameters.
pub(crate) fn params_entry(full: &FullParams) -> Object {
    let mut out = Object::new();
    out.put("fedpeg_program", hex(full.fedpeg_program.as_bytes()));
    out.put("fedpegscript", hex(&full.fedpegscript));
    let extension: Vec<String> = full.extension_space.iter().map(|item| hex(item)).collect();
    out.put("extension_space", extension);
    out
}

/// How much of a block's transactions to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// Their ids.
    Txids,
    /// All of them.
    Transactions,
    /// All of them, with the outputs they spend.
    TransactionsAndPrevouts,
}

/// `blockToJSON`.
pub(crate) fn block(node: &Node, block: &StoredBlock, detail: Detail) -> Object {
    let mut out = header(node, block);
    out.put("strippedsize", block.stripped_size());
    out.put("size", block.size());
    out.put("weight", block.weight());
    let transactions: Vec<Json> = match detail {
        Detail::Txids => block
            .txids()
            .iter()
            .map(|txid| Json::from(txid.to_string()))
            .collect(),
        Detail::Transactions | Detail::TransactionsAndPrevouts => block
            .transactions()
            .iter()
            .map(|tx| {
                let discount = node.params().accept_discount_ct;
                with_prevouts(tx, discount, true, |outpoint| match detail {
                    Detail::TransactionsAndPrevouts => prevout(node, outpoint),
                    Detail::Txids | Detail::Transactions => None,
                })
                .into()
            })
            .collect(),
    };
    out.put("tx", transactions);
    out
}

/// The output of the main chain that an input spends.
fn prevout(node: &Node, outpoint: &OutPoint) -> Option<Object> {
    let found = node.transaction(&outpoint.txid)?;
    let output = found.tx.output.get(usize::try_from(outpoint.vout).ok()?)?;
    let mut out = Object::new();
    out.put("generated", found.tx.is_coinbase());
    out.put("height", node.block(&found.block?)?.height());
    match output.value.explicit() {
        Some(sat) => out.put("value", amount::to_json(sat)),
        None => out.put("value", "<confidential>"),
    }
    out.put("scriptPubKey", script_pub_key(&output.script_pubkey));
    Some(out)
}

/// `entryToJSON`: an entry of the mempool.
pub(crate) fn mempool_entry(node: &Node, entry: &MempoolEntry) -> Object {
    let mempool = node.mempool();
    let family = |txids: &std::collections::BTreeSet<elements::Txid>| {
        let entries = txids.iter().filter_map(|txid| mempool.get(txid));
        entries.fold((1, entry.vsize, entry.fee), |(count, size, fee), entry| {
            (count + 1, size + entry.vsize, fee + entry.fee)
        })
    };
    let ancestors = family(&mempool.ancestors(&entry.txid));
    let descendants = family(&mempool.descendants(&entry.txid));
    let texts = |txids: &std::collections::BTreeSet<elements::Txid>| {
        txids.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut out = Object::new();
    out.put("vsize", entry.vsize);
    out.put("weight", entry.weight);
    out.put("time", entry.time);
    out.put("height", entry.height);
    out.put("descendantcount", descendants.0);
    out.put("descendantsize", descendants.1);
    out.put("ancestorcount", ancestors.0);
    out.put("ancestorsize", ancestors.1);
    out.put("wtxid", entry.wtxid.to_string());
    let mut fees = Object::new();
    fees.put("base", amount::to_json(entry.fee));
    fees.put("modified", amount::to_json(entry.fee));
    fees.put("ancestor", amount::to_json(ancestors.2));
    fees.put("descendant", amount::to_json(descendants.2));
    out.put("fees", fees);
    let mut depends = texts(&entry.parents);
    depends.sort();
    out.put("depends", depends);
    out.put("spentby", texts(&entry.children));
    out.put(
        "bip125-replaceable",
        mempool.is_bip125_replaceable(&entry.txid),
    );
    // There is no peer to broadcast it to.
    out.put("unbroadcast", true);
    out
}
