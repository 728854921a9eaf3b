//! Scripts, transactions and blocks as elementsd shows them (`core_write.cpp`, `rpc/blockchain.cpp` of Elements 23.4).

mod block;
mod opcode_names;
mod script;
mod tx;

pub(crate) use block::{Detail, block, header, mempool_entry};
pub(crate) use script::{asm, descriptor_with_checksum, inferred_descriptor, script_pub_key};
pub(crate) use tx::{commitment_hex, transaction};

use elements::encode::Encodable;
use elements::hex::DisplayHex as _;

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.to_lower_hex_string()
}

/// The bytes of hexadecimal text.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    elements::hex::decode_to_vec(text).ok()
}

/// The consensus encoding in hexadecimal.
pub(crate) fn encode_hex<T: Encodable>(value: &T) -> String {
    elements::encode::serialize_hex(value)
}
