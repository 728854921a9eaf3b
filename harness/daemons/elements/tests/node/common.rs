//! A chain with coins to spend, and transactions that spend them.

use elements::confidential::{Asset, Nonce, Value};
use elements::{
    AssetId, AssetIssuance, LockTime, OutPoint, Script, Sequence, Transaction, TxIn, TxInWitness,
    TxOut, TxOutWitness, Txid,
};
use swaprig_elements::node::{Node, Params};

/// Where the clock of every test begins: one hour after the genesis block.
pub(crate) const START: u64 = 1_296_688_602 + 3_600;

/// Enough for every transaction here.
pub(crate) const FEE: u64 = 1_000;

/// A fresh chain under a clock of its own.
pub(crate) fn node() -> Node {
    with(Params::liquid_regtest())
}

pub(crate) fn with(params: Params) -> Node {
    let mut node = Node::new(params).expect("parameters");
    node.set_mock_time(Some(START));
    node
}

pub(crate) fn op_true() -> Script {
    Script::from(vec![0x51])
}

/// `OP_TRUE` behind a hash: standard to pay to, spent with [`spend_wsh`].
pub(crate) fn wsh_true() -> Script {
    op_true().to_v0_p2wsh()
}

/// The output with the free coins.
pub(crate) fn free_coins(node: &Node) -> OutPoint {
    let genesis = node.block(&node.genesis_hash()).expect("genesis");
    OutPoint::new(genesis.txids()[1], 0)
}

pub(crate) fn input(previous_output: OutPoint, sequence: u32) -> TxIn {
    TxIn {
        previous_output,
        is_pegin: false,
        script_sig: Script::new(),
        sequence: Sequence(sequence),
        asset_issuance: AssetIssuance::null(),
        witness: TxInWitness::default(),
    }
}

/// An input that spends an output of [`wsh_true`].
pub(crate) fn spend_wsh(previous_output: OutPoint, sequence: u32) -> TxIn {
    let mut input = input(previous_output, sequence);
    input.witness.script_witness = elements::Witness::from(vec![vec![0x51]]);
    input
}

pub(crate) fn output(asset: AssetId, value: u64, script: Script) -> TxOut {
    TxOut {
        asset: Asset::Explicit(asset),
        value: Value::Explicit(value),
        nonce: Nonce::Null,
        script_pubkey: script,
        witness: TxOutWitness::default(),
    }
}

pub(crate) fn tx(input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
    Transaction {
        version: 2,
        lock_time: LockTime::ZERO,
        input,
        output,
    }
}

/// Splits the free coins into `count` confirmed outputs of `value` satoshi for [`wsh_true`].
pub(crate) fn fund(node: &mut Node, count: u32, value: u64) -> Vec<OutPoint> {
    let asset = node.policy_asset();
    let all = node.params().initial_free_coins;
    let mut outputs: Vec<_> = (0..count)
        .map(|_| output(asset, value, wsh_true()))
        .collect();
    outputs.push(output(
        asset,
        all - u64::from(count) * value - 100_000,
        wsh_true(),
    ));
    outputs.push(TxOut::new_fee(100_000, asset));
    let split = tx(vec![input(free_coins(node), 0xffff_ffff)], outputs);
    let txid = node.accept(split, None).expect("the split");
    node.generate(1, &wsh_true()).expect("a block");
    (0..count).map(|vout| OutPoint::new(txid, vout)).collect()
}

/// Spends one output of `value` to [`wsh_true`] with this fee.
pub(crate) fn spend(
    node: &Node,
    from: OutPoint,
    value: u64,
    fee: u64,
    sequence: u32,
) -> Transaction {
    let asset = node.policy_asset();
    let outputs = vec![
        output(asset, value - fee, wsh_true()),
        TxOut::new_fee(fee, asset),
    ];
    tx(vec![spend_wsh(from, sequence)], outputs)
}

/// Where a transaction stands: in a block of the main chain or of none but a branch, in the mempool, or nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Block(u32),
    OffChain(u32),
    Mempool,
    Nowhere,
}

pub(crate) fn whereabouts(node: &Node, txid: &Txid) -> Whereabouts {
    match node.transaction(txid) {
        None => Whereabouts::Nowhere,
        Some(found) => match found.block {
            Some(hash) => {
                let height = node.block(&hash).expect("its block").height();
                match node.block_hash(height) == Some(hash) {
                    true => Whereabouts::Block(height),
                    false => Whereabouts::OffChain(height),
                }
            }
            None => Whereabouts::Mempool,
        },
    }
}
