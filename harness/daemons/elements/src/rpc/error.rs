//! Errors as elementsd answers them: a code and a message.

use super::json::{Json, Object};

/// What a call failed with (`rpc/protocol.h` has the codes).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RpcError {
    /// The kind of error.
    pub code: i32,
    /// What elementsd says.
    pub message: String,
}

/// What a call answers.
pub type RpcResult<T = Json> = Result<T, RpcError>;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl RpcError {
            $($(#[$doc])*
            pub fn $name(message: impl Into<String>) -> Self {
                Self { code: $code, message: message.into() }
            })*
        }
    };
}

kinds! {
    /// No JSON.
    parse = -32700;
    /// No request object, or one without a usable method.
    invalid_request = -32600;
    /// Not a method of this node.
    method_not_found = -32601;
    /// The node went wrong.
    internal = -32603;
    /// Anything without a code of its own, wrong types by position among it.
    misc = -1;
    /// A value of the wrong type.
    wrong_type = -3;
    /// The wallet would not.
    wallet = -4;
    /// An address, key, block or transaction that does not exist.
    not_found = -5;
    /// Not enough coins.
    insufficient_funds = -6;
    /// A parameter out of range or of the wrong form.
    invalid_parameter = -8;
    /// A label that cannot be.
    invalid_label = -11;
    /// No such wallet.
    no_wallet = -18;
    /// More than one wallet, and none was named.
    which_wallet = -19;
    /// Bytes that do not decode.
    deserialization = -22;
    /// A transaction that cannot be sent.
    transaction = -25;
    /// A transaction that the node does not accept.
    rejected = -26;
    /// A transaction that is in a block already.
    already_in_chain = -27;
    /// A parameter that has lost its meaning.
    deprecated = -32;
}

impl RpcError {
    /// The error object of an answer.
    pub fn to_json(&self) -> Json {
        let mut object = Object::new();
        object.put("code", self.code);
        object.put("message", self.message.as_str());
        object.into()
    }
}
