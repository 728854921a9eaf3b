//! The swap server, as a buyer calls it. Its words are believed by nobody here.

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

#[derive(Debug, Clone)]
pub(crate) struct Server {
    address: String,
    client: SwapServiceClient<Channel>,
}

impl Server {
    /// A server that is connected to when it is needed. Must be called inside a tokio runtime.
    pub(crate) fn new(address: &str) -> Result<Self, ServerError> {
        let url = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        let endpoint =
            Endpoint::from_shared(url).map_err(|_| ServerError::Address(address.to_owned()))?;
        Ok(Server {
            address: address.to_owned(),
            client: SwapServiceClient::new(endpoint.connect_lazy()),
        })
    }

    async fn swap<T>(
        &self,
        deadline: Deadline,
        call: impl Future<Output = Result<Response<T>, Status>>,
        inner: impl FnOnce(T) -> Option<v1::Swap>,
    ) -> Result<v1::Swap, ServerError> {
        let address = || self.address.clone();
        let answer = deadline.bound(call).await;
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
        let mut client = self.client.clone();
        self.swap(deadline, client.create_swap(message), |answer| answer.swap)
            .await
    }

    pub(crate) async fn get(
        &self,
        swap_id: SwapId,
        deadline: Deadline,
    ) -> Result<v1::Swap, ServerError> {
        let message = v1::GetSwapRequest {
            swap_id: swap_id.to_string(),
        };
        let mut client = self.client.clone();
        self.swap(deadline, client.get_swap(message), |answer| answer.swap)
            .await
    }
}
