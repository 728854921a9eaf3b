//! The methods of the service and their paths.

/// Package and service, as they stand between the slashes of a request path.
pub const SERVICE: &str = "api.LightningNode";

/// What every path of the service starts with.
pub const SERVICE_PREFIX: &str = "/api.LightningNode/";

/// Path of the metrics page, which is plain HTTP on the same port.
pub const METRICS_PATH: &str = "/metrics";

/// Names of the methods that this crate has messages for.
pub mod method {
    macro_rules! names {
        ($($constant:ident = $name:literal),* $(,)?) => {
            $(#[doc = concat!("`", $name, "`")] pub const $constant: &str = $name;)*

            /// All of them.
            pub const ALL: &[&str] = &[$($name),*];
        };
    }

    names! {
        GET_NODE_INFO = "GetNodeInfo",
        GET_BALANCES = "GetBalances",
        ONCHAIN_RECEIVE = "OnchainReceive",
        ONCHAIN_SEND = "OnchainSend",
        OPEN_CHANNEL = "OpenChannel",
        CLOSE_CHANNEL = "CloseChannel",
        FORCE_CLOSE_CHANNEL = "ForceCloseChannel",
        UPDATE_CHANNEL_CONFIG = "UpdateChannelConfig",
        LIST_CHANNELS = "ListChannels",
        CONNECT_PEER = "ConnectPeer",
        DISCONNECT_PEER = "DisconnectPeer",
        LIST_PEERS = "ListPeers",
        BOLT11_RECEIVE = "Bolt11Receive",
        BOLT11_RECEIVE_FOR_HASH = "Bolt11ReceiveForHash",
        BOLT11_CLAIM_FOR_HASH = "Bolt11ClaimForHash",
        BOLT11_FAIL_FOR_HASH = "Bolt11FailForHash",
        BOLT11_SEND = "Bolt11Send",
        GET_PAYMENT_DETAILS = "GetPaymentDetails",
        LIST_PAYMENTS = "ListPayments",
        DECODE_INVOICE = "DecodeInvoice",
        SIGN_MESSAGE = "SignMessage",
        VERIFY_SIGNATURE = "VerifySignature",
        SUBSCRIBE_EVENTS = "SubscribeEvents",
    }
}

/// Methods that some version of upstream's server answers, and that this crate has no messages for.
pub const OTHER_METHODS: &[&str] = &[
    "OnchainBumpFee",
    "Bolt11ClaimForId",
    "Bolt11FailForId",
    "Bolt11ReceiveViaJitChannel",
    "Bolt11ReceiveVariableAmountViaJitChannel",
    "Bolt11ReceiveViaJitChannelForHash",
    "Bolt11ReceiveVariableAmountViaJitChannelForHash",
    "Bolt11SendUnderpaying",
    "Bolt12Receive",
    "Bolt12Send",
    "Bolt12ReceiveRefund",
    "Bolt12SendRefund",
    "Bolt12CreatePayerProof",
    "SpontaneousSend",
    "UnifiedSend",
    "DecodeOffer",
    "SpliceIn",
    "SpliceOut",
    "BumpChannelFundingFee",
    "ListForwardedPayments",
    "ExportPathfindingScores",
    "GraphListChannels",
    "GraphGetChannel",
    "GraphListNodes",
    "GraphGetNode",
    "CreateMacaroon",
    "ListMacaroons",
    "RevokeMacaroon",
    "GetPermissions",
];

/// What is known of a method name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// This crate has its messages.
    Supported(&'static str),
    /// A version of upstream's server has it; this crate does not.
    KnownElsewhere(&'static str),
    /// Nobody has it.
    Unknown,
}

impl Method {
    /// Looks a name up; names are case sensitive.
    pub fn find(name: &str) -> Self {
        let find =
            |table: &'static [&'static str]| table.iter().copied().find(|known| *known == name);
        if let Some(known) = find(method::ALL) {
            Self::Supported(known)
        } else if let Some(known) = find(OTHER_METHODS) {
            Self::KnownElsewhere(known)
        } else {
            Self::Unknown
        }
    }
}

/// The request path of a method.
pub fn path(method: &str) -> String {
    format!("{SERVICE_PREFIX}{method}")
}

/// The method name in a request path, if the path belongs to the service.
pub fn method_of(path: &str) -> Option<&str> {
    path.strip_prefix(SERVICE_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_exactly() {
        assert_eq!(Method::find("Bolt11Send"), Method::Supported("Bolt11Send"));
        assert_eq!(Method::find("SpliceIn"), Method::KnownElsewhere("SpliceIn"));
        for unknown in ["bolt11send", "", "Bolt11Send/", "Bolt11Send "] {
            assert_eq!(Method::find(unknown), Method::Unknown, "{unknown:?}");
        }
    }

    #[test]
    fn no_method_is_listed_twice() {
        let mut all: Vec<_> = method::ALL.iter().chain(OTHER_METHODS).collect();
        let listed = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), listed);
    }

    #[test]
    fn paths_round_trip() {
        assert_eq!(path("GetNodeInfo"), "/api.LightningNode/GetNodeInfo");
        assert_eq!(
            method_of("/api.LightningNode/GetNodeInfo"),
            Some("GetNodeInfo")
        );
        assert_eq!(method_of("/GetNodeInfo"), None);
    }
}
