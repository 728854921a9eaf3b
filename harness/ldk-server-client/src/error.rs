//! What can go wrong with a call, by what the caller can do about it.

use std::time::Duration;

use ldk_server_protos::grpc::Code;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call did not give an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server answered, and refused.
    #[error("{method} at {address} failed: {message} (gRPC {code})")]
    Status {
        /// The method called.
        method: &'static str,
        /// `host:port` of the server.
        address: String,
        /// What kind of refusal it is.
        code: Code,
        /// The server's own words.
        message: String,
    },
    /// There is no connection, or it broke. Whether the request was carried out is not known unless `doing` says
    /// that no connection could be made.
    #[error("{method} at {address}: {doing} failed")]
    Transport {
        /// The method called.
        method: &'static str,
        /// `host:port` of the server.
        address: String,
        /// What was being done.
        doing: &'static str,
        /// What the network said.
        #[source]
        source: BoxError,
    },
    /// The time allowed for the call ran out. Whether the request was carried out is not known.
    #[error("{method} at {address}: no answer within {timeout:?}")]
    Timeout {
        /// The method called.
        method: &'static str,
        /// `host:port` of the server.
        address: String,
        /// The time that was allowed.
        timeout: Duration,
    },
    /// The server answered with bytes that are no answer to this call.
    #[error("{method} at {address}: the answer cannot be read")]
    Decode {
        /// The method called.
        method: &'static str,
        /// `host:port` of the server.
        address: String,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The server speaks another protocol or version.
    #[error(
        "the server at {address} is not compatible: {difference}. Supported are ldk-server versions with the gRPC API \
         (April 2026 and later), authenticated by api_key or admin.macaroon"
    )]
    Incompatible {
        /// `host:port` of the server.
        address: String,
        /// What differs.
        difference: String,
    },
    /// The client cannot be set up from what it was given.
    #[error("the ldk-server client is misconfigured")]
    Config(#[source] BoxError),
}

impl ClientError {
    /// The gRPC status, if the server gave one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything: the server is starting, stopping or
    /// slow. What to wait on while a server starts.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Status { code, .. } => *code == Code::Unavailable,
            Self::Decode { .. } | Self::Incompatible { .. } | Self::Config(_) => false,
        }
    }
}
