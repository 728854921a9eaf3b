//! Why something was refused, in elementsd's words.

use std::fmt;

/// A transaction or block that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Rejection {
    /// `reject-reason` of `testmempoolaccept`, `"missing-inputs"` included; for blocks what `submitblock` answers.
    pub reason: String,
    /// The error code of `sendrawtransaction`: -25 (`RPC_TRANSACTION_ERROR`), -26 (`RPC_TRANSACTION_REJECTED`), -27
    /// (`RPC_TRANSACTION_ALREADY_IN_CHAIN`).
    pub code: i32,
    /// The error message of `sendrawtransaction`; for blocks the reason and its details.
    pub message: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Rejection {
    /// `RPC_TRANSACTION_ERROR`.
    pub const TRANSACTION_ERROR: i32 = -25;
    /// `RPC_TRANSACTION_REJECTED`.
    pub const TRANSACTION_REJECTED: i32 = -26;
    /// `RPC_TRANSACTION_ALREADY_IN_CHAIN`.
    pub const ALREADY_IN_CHAIN: i32 = -27;

    /// Refused for `reason`, without details.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Rejection {
            message: reason.clone(),
            reason,
            code: Self::TRANSACTION_REJECTED,
        }
    }

    /// Refused for `reason`; messages go on with `details`.
    pub(crate) fn with(reason: impl Into<String>, details: impl fmt::Display) -> Self {
        let reason = reason.into();
        Rejection {
            message: format!("{reason}, {details}"),
            reason,
            code: Self::TRANSACTION_REJECTED,
        }
    }

    /// An input is not there: `testmempoolaccept` and `sendrawtransaction` have different words for it.
    pub(crate) fn missing_inputs() -> Self {
        Rejection {
            reason: "missing-inputs".into(),
            code: Self::TRANSACTION_ERROR,
            message: "bad-txns-inputs-missingorspent".into(),
        }
    }

    pub(crate) fn max_fee_exceeded() -> Self {
        Rejection {
            reason: "max-fee-exceeded".into(),
            code: Self::TRANSACTION_ERROR,
            message: "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)".into(),
        }
    }

    pub(crate) fn already_in_chain() -> Self {
        Rejection {
            reason: "txn-already-known".into(),
            code: Self::ALREADY_IN_CHAIN,
            message: "Transaction already in block chain".into(),
        }
    }
}

impl Rejection {
    /// The bundled node cannot judge it. Never in elementsd's words, so that nobody takes it for elementsd's verdict.
    pub(crate) fn not_supported(what: &str) -> Self {
        Self::with("not supported by the bundled node", what)
    }
}
