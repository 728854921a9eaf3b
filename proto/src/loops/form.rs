//! The forms that strings have in the JSON of loops, each a schema of the OpenAPI document. In Rust such a field is a `String`,
//! and who reads it checks it.

use utoipa::ToSchema;
use utoipa::openapi::ComponentsBuilder;

macro_rules! forms {
    ($($(#[doc = $what:literal])+ $name:ident: $pattern:literal, $example:literal;)+) => {
        $(
        $(#[doc = $what])+
        #[derive(Debug, Clone, ToSchema)]
        #[schema(value_type = String, pattern = $pattern, example = $example)]
        pub struct $name(pub String);
        )+

        /// Adds every form to what a document is made of.
        pub fn add(components: ComponentsBuilder) -> ComponentsBuilder {
            components$(.schema_from::<$name>())+
        }
    };
}

forms! {
    /// A public key: 33 bytes, compressed.
    PublicKey: "^0[23][0-9a-f]{64}$",
        "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    /// A public key of BIP 340: 32 bytes.
    XOnlyKey: "^[0-9a-f]{64}$",
        "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    /// A preimage: 32 bytes.
    Preimage: "^[0-9a-f]{64}$",
        "0000000000000000000000000000000000000000000000000000000000000000";
    /// SHA-256 of a preimage: 32 bytes.
    PaymentHash: "^[0-9a-f]{64}$",
        "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
    /// The id of a transaction, as block explorers write it.
    Txid: "^[0-9a-f]{64}$",
        "0303030303030303030303030303030303030303030303030303030303030303";
    /// 32 bytes.
    Bytes32: "^[0-9a-f]{64}$",
        "0101010101010101010101010101010101010101010101010101010101010101";
    /// A public nonce of BIP 327: 66 bytes.
    Nonce: "^[0-9a-f]{132}$",
        "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee502c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    /// The script of a leaf of a taproot tree.
    LeafScript: "^([0-9a-f]{2})+$",
        "82012088a8";
    /// A transaction, serialised.
    Transaction: "^([0-9a-f]{2})+$",
        "020000000101010101010101010101010101010101010101010101010101010101010101010000000000fdffffff0190d0030000000000225120c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee500000000";
}
