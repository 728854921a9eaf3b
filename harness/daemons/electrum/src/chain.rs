//! What the index knows of a block and a transaction, whichever chain it is, and the codecs that bring it there.
//!
//! [`Bitcoin`] and [`Elements`] differ here alone: in their encodings, in which outputs are indexed, in what a fee is.

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::{BlockHash, OutPoint, Txid};
use serde_json::{Value, json};

/// The hash by which Electrum clients name a script: SHA-256 of it, shown with its bytes reversed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ScriptHash([u8; 32]);

impl ScriptHash {
    /// The hash of a script.
    pub(crate) fn of(script: &[u8]) -> Self {
        ScriptHash(sha256::Hash::hash(script).to_byte_array())
    }

    /// Reads the 64 hexadecimal digits that clients write; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // A block hash is shown reversed, too.
        let hash: BlockHash = text.parse().ok()?;
        Some(ScriptHash(hash.to_byte_array()))
    }
}

impl std::fmt::Display for ScriptHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        BlockHash::from_byte_array(self.0).fmt(f)
    }
}

impl std::fmt::Debug for ScriptHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Its hash.
    pub(crate) hash: BlockHash,
    /// The hash of the block before it.
    pub(crate) prev: BlockHash,
    /// Its header as the node encodes it: 80 bytes on Bitcoin, of any length on Liquid.
    pub(crate) header: Box<[u8]>,
    /// Its transactions, in their order.
    pub(crate) txs: Vec<Tx>,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tx {
    /// Its id.
    pub(crate) txid: Txid,
    /// Its encoding with witnesses.
    pub(crate) raw: Box<[u8]>,
    /// Its virtual size in vbytes.
    pub(crate) vsize: u64,
    /// What it spends on this chain: neither the input of a coinbase nor a peg-in.
    pub(crate) inputs: Vec<OutPoint>,
    /// Its outputs, in their order.
    pub(crate) outputs: Vec<Output>,
    /// The fee in satoshi, on a chain where transactions say it.
    pub(crate) fee: Option<u64>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its script; `None` when it is not indexed, because nobody can spend it.
    pub(crate) script: Option<ScriptHash>,
    /// What it holds.
    pub(crate) amount: Amount,
}

/// What an output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amount {
    /// Satoshi.
    Sat(u64),
    /// A Liquid output, any part of which may be hidden.
    Liquid {
        /// Which asset.
        asset: elements::confidential::Asset,
        /// How much of it.
        value: elements::confidential::Value,
        /// What the receiver needs to see what is hidden.
        nonce: elements::confidential::Nonce,
    },
}

impl Amount {
    /// The amount in satoshi, where it is not hidden.
    pub(crate) fn sat(self) -> Option<u64> {
        match self {
            Amount::Sat(sat) => Some(sat),
            Amount::Liquid { value, .. } => value.explicit(),
        }
    }

    /// As `listunspent` shows it. A Liquid output looks as electrs's Liquid build shows it: each part is a list of its
    /// kind (0 nothing, 1 explicit, 2 hidden) and what it is; the bytes of an explicit value are in the reverse order.
    pub(crate) fn to_json(self) -> Value {
        match self {
            Amount::Sat(sat) => json!({ "value": sat }),
            Amount::Liquid {
                asset,
                value,
                nonce,
            } => json!({ "asset": asset, "value": value, "nonce": nonce }),
        }
    }
}

/// Bytes that are no block or transaction of the chain.
#[derive(Debug, thiserror::Error)]
#[error("the node's {what} cannot be read: {why}")]
pub(crate) struct CodecError {
    what: &'static str,
    why: String,
}

/// The encodings of a chain and what is peculiar to it.
pub(crate) trait Chain: Send + Sync + 'static {
    /// Reads a block.
    ///
    /// # Errors
    /// When it is none.
    fn block(&self, bytes: &[u8]) -> Result<Block, CodecError>;

    /// Reads a transaction.
    ///
    /// # Errors
    /// When it is none.
    fn tx(&self, bytes: &[u8]) -> Result<Tx, CodecError>;

    /// Whether the outputs of the first block can be spent, and so are indexed.
    fn spends_genesis(&self) -> bool;

    /// Whether amounts are public, so that a balance can be told.
    fn has_balances(&self) -> bool;
}

/// The Bitcoin chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bitcoin;

/// A chain of Elements, such as Liquid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elements;

fn unreadable<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> CodecError {
    move |error| CodecError {
        what,
        why: error.to_string(),
    }
}

impl Chain for Bitcoin {
    fn block(&self, bytes: &[u8]) -> Result<Block, CodecError> {
        let block: bitcoin::Block =
            bitcoin::consensus::deserialize(bytes).map_err(unreadable("block"))?;
        Ok(Block {
            hash: block.block_hash(),
            prev: block.header.prev_blockhash,
            header: bitcoin::consensus::serialize(&block.header).into(),
            txs: block.txdata.iter().map(bitcoin_tx).collect(),
        })
    }

    fn tx(&self, bytes: &[u8]) -> Result<Tx, CodecError> {
        let tx: bitcoin::Transaction =
            bitcoin::consensus::deserialize(bytes).map_err(unreadable("transaction"))?;
        Ok(bitcoin_tx(&tx))
    }

    fn spends_genesis(&self) -> bool {
        false
    }

    fn has_balances(&self) -> bool {
        true
    }
}

fn bitcoin_tx(tx: &bitcoin::Transaction) -> Tx {
    let spends = tx.input.iter().map(|input| input.previous_output);
    let output = |output: &bitcoin::TxOut| Output {
        script: (!output.script_pubkey.is_op_return())
            .then(|| ScriptHash::of(output.script_pubkey.as_bytes())),
        amount: Amount::Sat(output.value.to_sat()),
    };
    Tx {
        txid: tx.compute_txid(),
        raw: bitcoin::consensus::serialize(tx).into(),
        vsize: tx.vsize() as u64,
        inputs: spends.filter(|spent| !spent.is_null()).collect(),
        outputs: tx.output.iter().map(output).collect(),
        fee: None,
    }
}

impl Chain for Elements {
    fn block(&self, bytes: &[u8]) -> Result<Block, CodecError> {
        let block: elements::Block =
            elements::encode::deserialize(bytes).map_err(unreadable("block"))?;
        Ok(Block {
            hash: BlockHash::from_byte_array(block.block_hash().to_byte_array()),
            prev: BlockHash::from_byte_array(block.header.prev_blockhash.to_byte_array()),
            header: elements::encode::serialize(&block.header).into(),
            txs: block.txdata.iter().map(elements_tx).collect(),
        })
    }

    fn tx(&self, bytes: &[u8]) -> Result<Tx, CodecError> {
        let tx: elements::Transaction =
            elements::encode::deserialize(bytes).map_err(unreadable("transaction"))?;
        Ok(elements_tx(&tx))
    }

    fn spends_genesis(&self) -> bool {
        true
    }

    fn has_balances(&self) -> bool {
        false
    }
}

fn elements_tx(tx: &elements::Transaction) -> Tx {
    let here = tx.input.iter().filter(|input| !input.is_pegin);
    let spends = here.map(|input| OutPoint {
        txid: Txid::from_byte_array(input.previous_output.txid.to_byte_array()),
        vout: input.previous_output.vout,
    });
    let output = |output: &elements::TxOut| Output {
        // This covers fees: their script is empty.
        script: (!output.script_pubkey.is_provably_unspendable())
            .then(|| ScriptHash::of(output.script_pubkey.as_bytes())),
        amount: Amount::Liquid {
            asset: output.asset,
            value: output.value,
            nonce: output.nonce,
        },
    };
    let fees = tx.output.iter().filter(|output| output.is_fee());
    Tx {
        txid: Txid::from_byte_array(tx.txid().to_byte_array()),
        raw: elements::encode::serialize(tx).into(),
        vsize: tx.vsize() as u64,
        inputs: spends.filter(|spent| !spent.is_null()).collect(),
        outputs: tx.output.iter().map(output).collect(),
        fee: Some(
            fees.filter_map(|fee| fee.value.explicit())
                .fold(0, u64::saturating_add),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_hash_is_shown_reversed() {
        // From the protocol's documentation: the output script of the first block's P2PKH address.
        let script = [
            &[0x76, 0xa9, 0x14][..],
            &[
                0x62, 0xe9, 0x07, 0xb1, 0x5c, 0xbf, 0x27, 0xd5, 0x42, 0x53, 0x99, 0xeb, 0xf6, 0xf0,
                0xfb, 0x50, 0xeb, 0xb8, 0x8f, 0x18,
            ],
            &[0x88, 0xac],
        ]
        .concat();
        let shown = "8b01df4e368ea28f8dc0423bcf7a4923e3a12d307c875e47a0cfbf90b5c39161";
        assert_eq!(ScriptHash::of(&script).to_string(), shown);
        assert_eq!(ScriptHash::parse(shown), Some(ScriptHash::of(&script)));
        for bad in ["", "8b01", &shown[1..], &format!("{shown}00"), "zz"] {
            assert_eq!(ScriptHash::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn junk_is_no_block() {
        for chain in [&Bitcoin as &dyn Chain, &Elements] {
            for bytes in [&[][..], &[0xff; 200], &[0; 78]] {
                assert!(chain.block(bytes).is_err());
                assert!(chain.tx(bytes).is_err());
            }
        }
    }
}
