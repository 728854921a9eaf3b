//! A client of the ldk-server API over gRPC: one multiplexed connection, typed calls, an event stream.
//!
//! It speaks to upstream's server and to the bundled daemon alike and adapts to the server's way of authentication.
//! It never repeats a request that may have been received: a payment is sent once or reported as failed.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ldk_server_client::{Config, Credential, Detected, LdkServerClient, api};
//!
//! let storage = std::path::Path::new("/tmp/alice");
//! let Detected::Ready(credential) = Credential::detect(storage, "regtest")? else {
//!     return Err("the server has not written its credential yet".into());
//! };
//! let client = LdkServerClient::new(Config {
//!     address: "127.0.0.1:3536".into(),
//!     tls_cert_pem: std::fs::read(storage.join("tls.crt"))?,
//!     credential,
//! })?;
//! let info = client.get_node_info(api::GetNodeInfoRequest {}).await?;
//! println!("{}", info.node_id);
//! # Ok(())
//! # }
//! ```

mod connection;
mod credential;
mod error;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response};
use ldk_server_protos::Message;
use ldk_server_protos::auth::{self, HmacScope};
use ldk_server_protos::endpoints::{self, method};
use ldk_server_protos::grpc::{self, Code};

use connection::Connection;
pub use credential::{Credential, CredentialError, Detected};
pub use error::ClientError;
pub use ldk_server_protos::{api, events, types};
pub use stream::EventStream;

/// How long a call may take unless [`LdkServerClient::with_timeout`] says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a server is and how to prove ourselves to it.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port` of the server's gRPC listener.
    pub address: String,
    /// Content of the server's `tls.crt`, the only certificate that is trusted.
    pub tls_cert_pem: Vec<u8>,
    /// What to authenticate with; see [`Credential::detect`].
    pub credential: Credential,
}

/// A client of one server. Clones share the connection; calls on it run side by side.
#[derive(Debug, Clone)]
pub struct LdkServerClient {
    shared: Arc<Shared>,
    timeout: Duration,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    credential: Credential,
    /// What the server's HMAC covers, once that is known.
    hmac_scope: AtomicU8,
}

const SCOPE_UNKNOWN: u8 = 0;
const SCOPE_BODY: u8 = 1;
const SCOPE_TIMESTAMP: u8 = 2;

macro_rules! unary_calls {
    ($($(#[$doc:meta])* $name:ident, $method:ident, $request:ident => $response:ident;)*) => {
        impl LdkServerClient {
            $(
                $(#[$doc])*
                pub async fn $name(&self, request: api::$request) -> Result<api::$response, ClientError> {
                    self.unary(method::$method, &request).await
                }
            )*
        }
    };
}

unary_calls! {
    /// The node's identity, addresses and best block.
    get_node_info, GET_NODE_INFO, GetNodeInfoRequest => GetNodeInfoResponse;
    /// On-chain and channel balances. Held HTLCs above dust appear here, even after a restart.
    get_balances, GET_BALANCES, GetBalancesRequest => GetBalancesResponse;
    /// A new on-chain address.
    onchain_receive, ONCHAIN_RECEIVE, OnchainReceiveRequest => OnchainReceiveResponse;
    /// Sends on chain, keeping the anchor reserve.
    onchain_send, ONCHAIN_SEND, OnchainSendRequest => OnchainSendResponse;
    /// Starts opening a channel. The answer precedes negotiation and funding.
    open_channel, OPEN_CHANNEL, OpenChannelRequest => OpenChannelResponse;
    /// Starts a co-operative close. An unknown channel is no error: check [`Self::list_channels`] first.
    close_channel, CLOSE_CHANNEL, CloseChannelRequest => CloseChannelResponse;
    /// Broadcasts the latest commitment transaction. An unknown channel is no error.
    force_close_channel, FORCE_CLOSE_CHANNEL, ForceCloseChannelRequest => ForceCloseChannelResponse;
    /// Changes fees and limits of a channel; unset fields stay as they are.
    update_channel_config, UPDATE_CHANNEL_CONFIG, UpdateChannelConfigRequest => UpdateChannelConfigResponse;
    /// All channels that are not closed.
    list_channels, LIST_CHANNELS, ListChannelsRequest => ListChannelsResponse;
    /// Connects to a peer and returns when the handshake is done.
    connect_peer, CONNECT_PEER, ConnectPeerRequest => ConnectPeerResponse;
    /// Disconnects a peer and forgets it.
    disconnect_peer, DISCONNECT_PEER, DisconnectPeerRequest => DisconnectPeerResponse;
    /// Connected and remembered peers.
    list_peers, LIST_PEERS, ListPeersRequest => ListPeersResponse;
    /// A BOLT 11 invoice.
    bolt11_receive, BOLT11_RECEIVE, Bolt11ReceiveRequest => Bolt11ReceiveResponse;
    /// A hold invoice for a hash whose preimage the server does not know.
    bolt11_receive_for_hash, BOLT11_RECEIVE_FOR_HASH, Bolt11ReceiveForHashRequest => Bolt11ReceiveForHashResponse;
    /// Claims a held payment. Success does not mean that there was one: claim only what was seen held.
    bolt11_claim_for_hash, BOLT11_CLAIM_FOR_HASH, Bolt11ClaimForHashRequest => Bolt11ClaimForHashResponse;
    /// Fails a held payment back. The invoice can be paid again afterwards; never call this after a claim.
    bolt11_fail_for_hash, BOLT11_FAIL_FOR_HASH, Bolt11FailForHashRequest => Bolt11FailForHashResponse;
    /// Starts a payment. The answer means that it is on its way, not that it is settled.
    bolt11_send, BOLT11_SEND, Bolt11SendRequest => Bolt11SendResponse;
    /// One payment by id; no error when there is none.
    get_payment_details, GET_PAYMENT_DETAILS, GetPaymentDetailsRequest => GetPaymentDetailsResponse;
    /// One page of payments, newest first; [`Self::list_all_payments`] reads all pages.
    list_payments, LIST_PAYMENTS, ListPaymentsRequest => ListPaymentsResponse;
    /// What a BOLT 11 invoice says.
    decode_invoice, DECODE_INVOICE, DecodeInvoiceRequest => DecodeInvoiceResponse;
    /// Signs a message with the node's key.
    sign_message, SIGN_MESSAGE, SignMessageRequest => SignMessageResponse;
    /// Checks a signature made by `sign_message`.
    verify_signature, VERIFY_SIGNATURE, VerifySignatureRequest => VerifySignatureResponse;
}

#[expect(
    clippy::disallowed_methods,
    reason = "a credential is bound to the time of day"
)]
fn seconds_since_epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn is_refused(result: &Result<Response<Incoming>, ClientError>) -> bool {
    matches!(
        result,
        Err(ClientError::Status {
            code: Code::Unauthenticated,
            ..
        })
    )
}

impl LdkServerClient {
    /// A client; it connects at the first call.
    ///
    /// # Errors
    /// [`ClientError::Config`] when the address or the certificate cannot be read.
    pub fn new(config: Config) -> Result<Self, ClientError> {
        let Config {
            address,
            tls_cert_pem,
            credential,
        } = config;
        let connection = Connection::new(address, &tls_cert_pem)?;
        let hmac_scope = AtomicU8::new(SCOPE_UNKNOWN);
        Ok(Self {
            shared: Arc::new(Shared {
                connection,
                credential,
                hmac_scope,
            }),
            timeout: DEFAULT_TIMEOUT,
        })
    }

    /// The same client, on the same connection, whose calls may take this long, connecting included.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            timeout,
        }
    }

    /// `host:port` of the server.
    pub fn address(&self) -> &str {
        self.shared.connection.address()
    }

    /// All payments, newest first. The timeout applies to each page.
    pub async fn list_all_payments(&self) -> Result<Vec<types::Payment>, ClientError> {
        let mut payments = Vec::new();
        let mut page_token = None;
        loop {
            let page = self
                .list_payments(api::ListPaymentsRequest {
                    page_token: page_token.clone(),
                })
                .await?;
            payments.extend(page.payments);
            if page.next_page_token.is_none() {
                return Ok(payments);
            }
            if page.next_page_token == page_token {
                return Err(self.incompatible("ListPayments gave the same page token twice".into()));
            }
            page_token = page.next_page_token;
        }
    }

    /// Subscribes to events. What happens after this returns is in the stream, unless the subscriber is too slow.
    pub async fn subscribe_events(&self) -> Result<EventStream, ClientError> {
        let method = method::SUBSCRIBE_EVENTS;
        let body = grpc::encode_message(&api::SubscribeEventsRequest {});
        let response = self
            .within_timeout(method, self.send_authenticated(method, body, None))
            .await?;
        Ok(EventStream::new(self.clone(), response.into_body()))
    }

    async fn unary<Q: Message, A: Message + Default>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<A, ClientError> {
        let payload = self.call(method, request).await?;
        A::decode(payload).map_err(|source| self.malformed(method, source.into()))
    }

    /// Calls any unary method with any message, and gives the message of the answer as it came. For callers that know the
    /// API by its descriptors.
    ///
    /// # Errors
    /// As every other call; a message that is not the method's is for the server to refuse.
    pub async fn call(
        &self,
        method: &'static str,
        request: &impl Message,
    ) -> Result<Bytes, ClientError> {
        let body = grpc::encode_message(request);
        let answer = self.within_timeout(method, async {
            let response = self
                .send_authenticated(method, body, Some(self.timeout))
                .await?;
            self.read_unary(method, response).await
        });
        let answer = answer.await?;
        let payload =
            grpc::decode_unary(&answer).map_err(|source| self.malformed(method, source.into()))?;
        Ok(answer.slice_ref(payload))
    }

    async fn within_timeout<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(self.timeout, call).await {
            // The server's clock for the same limit may run out a moment earlier than ours.
            Ok(Err(ClientError::Status {
                code: Code::DeadlineExceeded,
                ..
            }))
            | Err(_) => Err(ClientError::Timeout {
                method,
                address: self.address().to_owned(),
                timeout: self.timeout,
            }),
            Ok(result) => result,
        }
    }

    /// Sends a request and returns once the response headers say that it was accepted.
    async fn send_authenticated(
        &self,
        method: &'static str,
        body: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Response<Incoming>, ClientError> {
        let known = self.shared.hmac_scope.load(Ordering::Relaxed);
        let scope = if known == SCOPE_TIMESTAMP {
            HmacScope::Timestamp
        } else {
            HmacScope::TimestampAndBody
        };
        let first = self.send_once(method, body.clone(), timeout, scope).await;
        if !is_refused(&first) {
            self.remember(known, SCOPE_BODY, &first);
            return first;
        }
        // A server of April or May 2026 refuses an HMAC that covers the body. It refused before it looked at the
        // request, so trying its way cannot do anything twice.
        if known == SCOPE_UNKNOWN && matches!(self.shared.credential, Credential::ApiKey(_)) {
            let second = self
                .send_once(method, body, timeout, HmacScope::Timestamp)
                .await;
            if !is_refused(&second) {
                self.remember(known, SCOPE_TIMESTAMP, &second);
                return second;
            }
        }
        first.map_err(|error| self.name_other_authentication(error))
    }

    /// Notes what the HMAC must cover, once the server has accepted one: an answer or a refusal of another kind.
    fn remember(&self, known: u8, scope: u8, result: &Result<Response<Incoming>, ClientError>) {
        let is_accepted = matches!(result, Ok(_) | Err(ClientError::Status { .. }));
        if known == SCOPE_UNKNOWN && is_accepted {
            self.shared.hmac_scope.store(scope, Ordering::Relaxed);
        }
    }

    async fn send_once(
        &self,
        method: &'static str,
        body: Bytes,
        timeout: Option<Duration>,
        scope: HmacScope,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = self.build_request(method, body, timeout, scope)?;
        let response = self.shared.connection.send(method, request).await?;
        self.check_headers(method, response)
    }

    fn build_request(
        &self,
        method: &'static str,
        body: Bytes,
        timeout: Option<Duration>,
        scope: HmacScope,
    ) -> Result<Request<connection::RequestBody>, ClientError> {
        let now = seconds_since_epoch();
        let (name, value) = match &self.shared.credential {
            Credential::ApiKey(key) => (auth::X_AUTH, key.x_auth(scope, now, &body)),
            Credential::Macaroon(macaroon) => {
                let bound = macaroon.for_request(now, method, &body);
                (
                    auth::MACAROON,
                    bound.map_err(|source| ClientError::Config(source.into()))?,
                )
            }
        };
        let mut request = Request::post(format!(
            "https://{}{}",
            self.address(),
            endpoints::path(method)
        ))
        .header("content-type", grpc::CONTENT_TYPE)
        .header("te", "trailers")
        .header("content-length", body.len())
        .header(name, value);
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", grpc::format_timeout(timeout));
        }
        request
            .body(connection::RequestBody::new(body))
            .map_err(|source| ClientError::Config(source.into()))
    }

    /// Accepts the headers of a gRPC response, or turns those of a failure into an error.
    fn check_headers(
        &self,
        method: &'static str,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>, ClientError> {
        let content_type = response
            .headers()
            .get("content-type")
            .map(|value| value.as_bytes().to_vec());
        let is_grpc = content_type
            .as_deref()
            .is_some_and(|value| value.starts_with(b"application/grpc"));
        if !response.status().is_success() || !is_grpc {
            return Err(self.incompatible(format!(
                "{method} was answered with HTTP {} and content type {:?} instead of gRPC",
                response.status(),
                content_type
                    .map(|value| String::from_utf8_lossy(&value).into_owned())
                    .unwrap_or_default(),
            )));
        }
        match self.status_in(method, response.headers()) {
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(response),
        }
    }

    async fn read_unary(
        &self,
        method: &'static str,
        response: Response<Incoming>,
    ) -> Result<Bytes, ClientError> {
        let (parts, body) = response.into_parts();
        let limit = grpc::MAX_UNARY_LEN + grpc::FRAME_HEADER_LEN;
        let collected = Limited::new(body, limit)
            .collect()
            .await
            .map_err(|source| ClientError::Transport {
                method,
                address: self.address().to_owned(),
                doing: "reading the answer",
                source,
            })?;
        let trailers = collected
            .trailers()
            .and_then(|trailers| self.status_in(method, trailers));
        match trailers.or_else(|| self.status_in(method, &parts.headers)) {
            Some(status) => status.map(|()| collected.to_bytes()),
            None => Err(self.malformed(method, "the answer has no grpc-status".into())),
        }
    }

    /// The gRPC status in headers or trailers, if they hold one.
    fn status_in(
        &self,
        method: &'static str,
        headers: &HeaderMap,
    ) -> Option<Result<(), ClientError>> {
        let code = headers.get("grpc-status")?;
        let message = headers
            .get("grpc-message")
            .map(|value| grpc::percent_decode(value.as_bytes()));
        Some(match Code::parse(code.as_bytes()) {
            Some(Code::Ok) => Ok(()),
            Some(code) => Err(ClientError::Status {
                method,
                address: self.address().to_owned(),
                code,
                message: message.unwrap_or_default(),
            }),
            None => {
                Err(self.malformed(method, format!("grpc-status {code:?} is no number").into()))
            }
        })
    }

    /// A refusal that asks for the other kind of credential is a difference of versions, not a wrong key.
    fn name_other_authentication(&self, error: ClientError) -> ClientError {
        let ClientError::Status { message, .. } = &error else {
            return error;
        };
        let lower = message.to_lowercase();
        let (ours, wants_other) = match &self.shared.credential {
            Credential::ApiKey(_) => ("an API key (x-auth)", lower.contains("macaroon")),
            Credential::Macaroon(_) => ("a macaroon", lower.contains("x-auth")),
        };
        if wants_other {
            self.incompatible(format!(
                "we authenticate with {ours}, the server answered {message:?}"
            ))
        } else {
            error
        }
    }

    fn incompatible(&self, difference: String) -> ClientError {
        ClientError::Incompatible {
            address: self.address().to_owned(),
            difference,
        }
    }

    fn malformed(&self, method: &'static str, source: error::BoxError) -> ClientError {
        ClientError::Decode {
            method,
            address: self.address().to_owned(),
            source,
        }
    }
}
