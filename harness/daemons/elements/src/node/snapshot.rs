//! The node's state as bytes, for a file: its parameters, every block, the mempool, the clock.
//!
//! Layout: magic, version, body, SHA-256 of all before it. The checksum is against accidents, not against forgers.

use super::{Node, Params, SnapshotError};

impl Node {
    /// The node's whole state as bytes for a file.
    pub fn snapshot(&self) -> Vec<u8> {
        todo!()
    }

    /// The node of a snapshot.
    ///
    /// # Errors
    /// See [`SnapshotError`]. With `wanted`, a snapshot of other parameters is refused.
    pub fn restore(_snapshot: &[u8], _wanted: Option<&Params>) -> Result<Self, SnapshotError> {
        todo!()
    }
}
