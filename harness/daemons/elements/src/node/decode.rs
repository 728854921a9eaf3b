//! Transactions and blocks from bytes, as strictly as elementsd takes them.

use elements::encode::{Error, deserialize};
use elements::{Block, Transaction};

/// A transaction from its consensus encoding, nothing left over.
///
/// # Errors
/// If the bytes are not one. `elements` alone would also take outputs without an asset or a value.
pub fn decode_transaction(bytes: &[u8]) -> Result<Transaction, Error> {
    let tx: Transaction = deserialize(bytes)?;
    check(&tx)?;
    Ok(tx)
}

/// A block from its consensus encoding, nothing left over.
///
/// # Errors
/// As [`decode_transaction`].
pub fn decode_block(bytes: &[u8]) -> Result<Block, Error> {
    let block: Block = deserialize(bytes)?;
    block.txdata.iter().try_for_each(check)?;
    Ok(block)
}

fn check(tx: &Transaction) -> Result<(), Error> {
    match tx
        .output
        .iter()
        .any(|output| output.asset.is_null() || output.value.is_null())
    {
        true => Err(Error::ParseFailed("confidential values may not be null")),
        false => Ok(()),
    }
}
