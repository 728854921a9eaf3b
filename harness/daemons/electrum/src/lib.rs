//! The bundled Electrum server: an index in memory over a node's RPC, for Bitcoin and Elements.
