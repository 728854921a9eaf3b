//! The genesis block of a custom Elements chain, built by hand: `elements::genesis` commits to an all-zero parent chain,
//! which is wrong for chains whose parent is Bitcoin's regtest.

use elements::confidential::{Asset, Nonce, Value};
use elements::dynafed::FullParams;
use elements::hashes::{HashEngine, hash160, sha256};
use elements::hex::DisplayHex;
use elements::opcodes::all::{OP_EQUAL, OP_HASH160, OP_RETURN};
use elements::script::Builder;
use elements::{
    AssetBlindingNonce, AssetEntropy, AssetId, AssetIssuance, Block, BlockExtData, BlockHash,
    BlockHeader, ContractHash, LockTime, OutPoint, Script, Sequence, Transaction, TxIn,
    TxInWitness, TxMerkleNode, TxOut, TxOutWitness, Txid,
};

use super::merkle::merkle_root;
use super::params::{ChainConstants, MAX_MONEY, PARENT_GENESIS_HASH, Params};

/// Seconds of the genesis block, Bitcoin's regtest's too.
const GENESIS_TIME: u32 = 1_296_688_602;
/// The most bytes of a block's signature: a dummy push and one DER signature.
const MAX_BLOCK_SIGNATURE_SIZE: u32 = 74;
/// The extension space of a custom chain's first parameters: a pair of keys that nobody uses.
const EXTENSION_KEY: &str = "02fcba7ecf41bc7e1be4ee122d9d22e3333671eb0a3a87b5cdf099d59874e1940f";

/// `OP_TRUE`: the script of the free coins, of the block signers and of the federation.
pub(crate) fn op_true() -> Script {
    Script::from(vec![0x51])
}

/// Block 0 and what follows from it.
pub(crate) fn genesis(params: &Params) -> Result<(Block, ChainConstants), String> {
    if params.initial_free_coins > MAX_MONEY {
        return Err(format!(
            "initialfreecoins is {}, more than {MAX_MONEY} satoshi",
            params.initial_free_coins
        ));
    }
    let commitment = commitment(&params.chain);
    let parent: BlockHash = PARENT_GENESIS_HASH
        .parse()
        .map_err(|error| format!("parent genesis hash: {error}"))?;
    let contract = ContractHash::from_byte_array(parent.to_byte_array());
    let outpoint = OutPoint::new(Txid::from_byte_array(commitment), 0);
    let entropy = AssetId::generate_asset_entropy(outpoint, contract);
    let policy_asset = AssetId::from_entropy(entropy);
    let mut txdata = vec![commitment_transaction(&commitment)];
    if params.initial_free_coins > 0 {
        txdata.push(free_coins(
            outpoint,
            contract,
            policy_asset,
            params.initial_free_coins,
        ));
    }
    let txids: Vec<_> = txdata.iter().map(|tx| tx.txid().to_byte_array()).collect();
    let header = BlockHeader {
        version: 1,
        prev_blockhash: BlockHash::from_byte_array([0; 32]),
        merkle_root: TxMerkleNode::from_byte_array(merkle_root(&txids).0),
        time: GENESIS_TIME,
        height: 0,
        ext: BlockExtData::Proof {
            challenge: op_true(),
            solution: Script::new(),
        },
    };
    let block = Block { header, txdata };
    let genesis_hash = block.block_hash();
    Ok((
        block,
        ChainConstants {
            policy_asset,
            genesis_hash,
        },
    ))
}

/// The dynafed parameters in force from block 1 on: the genesis block's, in dynafed's form.
pub(crate) fn first_dynafed_params() -> FullParams {
    let program = op_true().to_v0_p2wsh();
    let hash = hash160::Hash::hash(program.as_bytes());
    let fedpeg = Builder::new()
        .push_opcode(OP_HASH160)
        .push_slice(hash.as_byte_array())
        .push_opcode(OP_EQUAL);
    let key: Vec<u8> = elements::hex::decode_to_vec(EXTENSION_KEY).unwrap_or_default();
    FullParams::new(
        program,
        MAX_BLOCK_SIGNATURE_SIZE,
        fedpeg.into_script().into_bytes().into(),
        op_true().into_bytes(),
        vec![[key.clone(), key].concat()],
    )
}

/// What the genesis block commits to: the chain's name, the federation's script and the block signers' script, both hex.
fn commitment(chain: &str) -> [u8; 32] {
    let mut engine = sha256::Hash::engine();
    engine.input(chain.as_bytes());
    engine.input(op_true().as_bytes().to_lower_hex_string().as_bytes());
    engine.input(op_true().as_bytes().to_lower_hex_string().as_bytes());
    sha256::Hash::from_engine(engine).to_byte_array()
}

fn commitment_transaction(commitment: &[u8; 32]) -> Transaction {
    let script_sig = Builder::new().push_slice(commitment).into_script();
    let script_pubkey = Builder::new().push_opcode(OP_RETURN).into_script();
    let input = TxIn {
        script_sig,
        ..input(OutPoint::null(), AssetIssuance::null())
    };
    transaction(
        input,
        output(AssetId::from_byte_array([0; 32]), 0, script_pubkey),
    )
}

fn free_coins(
    outpoint: OutPoint,
    contract: ContractHash,
    asset: AssetId,
    amount: u64,
) -> Transaction {
    let issuance = AssetIssuance {
        asset_blinding_nonce: AssetBlindingNonce::NEW_ISSUANCE,
        asset_entropy: AssetEntropy::from_byte_array(contract.to_byte_array()),
        amount: Value::Explicit(amount),
        inflation_keys: Value::Explicit(0),
    };
    transaction(input(outpoint, issuance), output(asset, amount, op_true()))
}

fn input(previous_output: OutPoint, asset_issuance: AssetIssuance) -> TxIn {
    TxIn {
        previous_output,
        is_pegin: false,
        script_sig: Script::new(),
        sequence: Sequence::MAX,
        asset_issuance,
        witness: TxInWitness::default(),
    }
}

fn output(asset: AssetId, value: u64, script_pubkey: Script) -> TxOut {
    TxOut {
        asset: Asset::Explicit(asset),
        value: Value::Explicit(value),
        nonce: Nonce::Null,
        script_pubkey,
        witness: TxOutWitness::default(),
    }
}

fn transaction(input: TxIn, output: TxOut) -> Transaction {
    Transaction {
        version: 1,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![output],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of published and measured values: chain, free coins, policy asset, genesis hash.
    #[test]
    fn the_genesis_blocks_that_everybody_has() {
        let liquid = "5ac9f65c0efcc4775e0baec4ec03abdde22473cd3cf33c0419ca290e0751b225";
        let elements = "b2e15d0d7a0c94e4e2ce0fe6e8691b9e451377f6e46e8045a86f7c4b5d4f0f23";
        let table = [
            (
                "liquidregtest",
                MAX_MONEY,
                liquid,
                "00902a6b70c2ca83b5d9c815d96a0e2f4202179316970d14ea1847dae5b1ca21",
            ),
            (
                "liquidregtest",
                2_100_000_000,
                liquid,
                "c7af03b0774a3498a574902bd41045c1633fd40b69ca163345c5d9c78bfd6af7",
            ),
            (
                "elementsregtest",
                MAX_MONEY,
                elements,
                "209577bda6bf4b5804bd46f8621580dd6d4e8bfa2d190e1c50e932492baca07d",
            ),
            (
                "elementsregtest",
                0,
                elements,
                "cd179c84c35f51825f20a3b91a18d45f0c53b5ceb744a5b6ef8f0babe809396f",
            ),
        ];
        for (chain, coins, asset, hash) in table {
            let params = Params {
                chain: chain.into(),
                initial_free_coins: coins,
                ..Params::liquid_regtest()
            };
            let (block, constants) = genesis(&params).unwrap();
            assert_eq!(constants.policy_asset.to_string(), asset, "{chain} {coins}");
            assert_eq!(block.block_hash().to_string(), hash, "{chain} {coins}");
            assert_eq!(block.txdata.len(), 1 + usize::from(coins > 0));
        }
    }

    #[test]
    fn the_free_coins_are_where_elementsd_has_them() {
        let (block, constants) = genesis(&Params::liquid_regtest()).unwrap();
        let root = "bb41199b48c21b133f15978d4689d173ae94af6cfca4ba382ec38640e1f94b2e";
        assert_eq!(block.header.merkle_root.to_string(), root);
        let coins = "12a51d3e6441abbdb3a5b35983260dec3ff457a301a24a4e76d41b0c0adfb99b";
        assert_eq!(block.txdata[1].txid().to_string(), coins);
        assert_eq!(
            block.txdata[1].output,
            vec![output(constants.policy_asset, MAX_MONEY, op_true())]
        );
    }

    #[test]
    fn more_coins_than_there_is_money_are_refused() {
        let params = Params {
            initial_free_coins: MAX_MONEY + 1,
            ..Params::liquid_regtest()
        };
        assert!(genesis(&params).unwrap_err().contains("initialfreecoins"));
    }
}
