//! The swap server, as a buyer calls it. Its words are believed by nobody here.

use std::sync::Arc;
use std::time::Instant;

use prost::Message;
use swaprig_harness::time::Deadline;
use swaprig_proto::v1;
use swaprig_proto::v1::swap_service_client::SwapServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::record::Request;
use crate::swap::SwapId;

/// Why the server gave no answer that can be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its address is none.
    #[error("`{0}` is no address of a swap server; write http://HOST:PORT")]
    Address(String),
    /// It answered with an error, or could not be reached.
    #[error("the swap server at {address} says {code:?}: {message}")]
    Status {
        /// Its address.
        address: String,
        /// The gRPC code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// It did not answer in time.
    #[error("the swap server at {address} did not answer in time")]
    TimedOut {
        /// Its address.
        address: String,
    },
    /// Its answer has nothing in it.
    #[error("the swap server at {address} answered without a swap")]
    Empty {
        /// Its address.
        address: String,
    },
}

impl ServerError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            ServerError::Status { code, .. } => matches!(
                code,
                Code::Unavailable
                    | Code::Internal
                    | Code::DeadlineExceeded
                    | Code::Unknown
                    | Code::Cancelled
            ),
            ServerError::TimedOut { .. } => true,
            ServerError::Address(_) | ServerError::Empty { .. } => false,
        }
    }
}

/// A call to the swap server and what came of it.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The method of SwapService, such as `CreateSwap`.
    pub method: &'static str,
    /// The request, encoded.
    pub request: &'a [u8],
    /// The reply, encoded, or the server's refusal.
    pub answer: Result<&'a [u8], &'a Status>,
    /// When it began.
    pub started: Instant,
}

/// Who sees the calls to the swap server after they were made. It must not block.
#[derive(Clone)]
pub struct Witness(Arc<dyn Fn(&Exchange<'_>) + Send + Sync>);

impl Witness {
    /// Has every call shown to `see`.
    pub fn new(see: impl Fn(&Exchange<'_>) + Send + Sync + 'static) -> Self {
        Witness(Arc::new(see))
    }
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Witness")
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    address: String,
    client: SwapServiceClient<Channel>,
    witness: Option<Witness>,
}

impl Server {
    /// A server that is connected to when it is needed. Must be called inside a tokio runtime.
    pub(crate) fn new(address: &str, witness: Option<Witness>) -> Result<Self, ServerError> {
        let url = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        let endpoint =
            Endpoint::from_shared(url).map_err(|_| ServerError::Address(address.to_owned()))?;
        Ok(Server {
            address: address.to_owned(),
            client: SwapServiceClient::new(endpoint.connect_lazy()),
            witness,
        })
    }

    async fn swap<T: Message>(
        &self,
        (method, request): (&'static str, Vec<u8>),
        deadline: Deadline,
        call: impl Future<Output = Result<Response<T>, Status>>,
        inner: impl FnOnce(T) -> Option<v1::Swap>,
    ) -> Result<v1::Swap, ServerError> {
        let address = || self.address.clone();
        let started = Instant::now();
        let answer = deadline.bound(call).await;
        if let Some(witness) = &self.witness {
            let late = Status::deadline_exceeded("no answer in time");
            let reply = answer.as_ref().map(|answer| match answer {
                Ok(reply) => Ok(reply.get_ref().encode_to_vec()),
                Err(status) => Err(status),
            });
            let reply = reply.unwrap_or(Err(&late));
            (witness.0)(&Exchange {
                method,
                request: &request,
                answer: reply.as_deref().map_err(|status| *status),
                started,
            });
        }
        let answer = answer.ok_or_else(|| ServerError::TimedOut { address: address() })?;
        let answer = answer.map_err(|status| ServerError::Status {
            address: address(),
            code: status.code(),
            message: status.message().to_owned(),
        })?;
        inner(answer.into_inner()).ok_or_else(|| ServerError::Empty { address: address() })
    }

    pub(crate) async fn create(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<v1::Swap, ServerError> {
        let message = v1::CreateSwapRequest {
            request_id: request.request_id.to_string(),
            asset_id: request.asset.to_string(),
            amount: request.amount.0,
            claim_pubkey: request.claimer.to_string(),
            min_confirmations: request.min_confirmations,
            max_total_price_msat: request.max_price.0,
            wait_for_confirmations: false,
        };
        let call = ("CreateSwap", message.encode_to_vec());
        let mut client = self.client.clone();
        let sent = client.create_swap(message);
        self.swap(call, deadline, sent, |answer| answer.swap).await
    }

    pub(crate) async fn get(
        &self,
        swap_id: SwapId,
        deadline: Deadline,
    ) -> Result<v1::Swap, ServerError> {
        let message = v1::GetSwapRequest {
            swap_id: swap_id.to_string(),
        };
        let call = ("GetSwap", message.encode_to_vec());
        let mut client = self.client.clone();
        let sent = client.get_swap(message);
        self.swap(call, deadline, sent, |answer| answer.swap).await
    }
}
