//! The REST API of loop out and loop in, as a client calls it: one method for each endpoint. Its words are believed by nobody here.
//!
//! Plain HTTP, one connection for each call. A call that timed out may have been done; with an idempotency key it can be repeated.

mod events;

pub use events::Updates;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use swaprig_harness::time::Deadline;
use swaprig_proto::loops::{
    CosignReply, CosignRequest, Direction, Health, IDEMPOTENCY_KEY, ListQuery, Loop, LoopInRequest,
    LoopOutRequest, LoopPage, PROBLEM_JSON, PreimageRequest, Problem, Quote, Terms,
};
use swaprig_units::{PaymentHash, Preimage, Sat};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The largest answer; a full page of loops has less than half of it.
const MOST_BYTES: usize = 4 << 20;

/// Why the server gave no answer that can be looked at.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// Its address is none.
    #[error("`{0}` is no address of a swap server's REST service; write http://HOST:PORT")]
    Address(String),
    /// Nobody is there, or the connection broke.
    #[error("the swap server at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Its address.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the swap server at {address} did not answer in time")]
    TimedOut {
        /// Its address.
        address: String,
    },
    /// It refuses, or cannot.
    #[error("the swap server at {address} says: {} ({})", problem.detail, problem.status)]
    Problem {
        /// Its address.
        address: String,
        /// Its words.
        problem: Box<Problem>,
    },
    /// What it sent is not what the API says.
    #[error("the swap server at {address} sent what cannot be read: {reason}")]
    Unreadable {
        /// Its address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RestError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            RestError::Unreachable { .. } | RestError::TimedOut { .. } => true,
            RestError::Problem { problem, .. } => {
                problem.status >= 500 || problem.status == 429 || problem.status == 408
            }
            RestError::Address(_) | RestError::Unreadable { .. } => false,
        }
    }

    /// What the server refuses with.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            RestError::Problem { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

/// A server's REST service. Cheap to clone; connects when it is called.
#[derive(Debug, Clone)]
pub struct RestClient {
    authority: Authority,
}

/// The task that moves a connection's bytes; it ends with its owner.
#[derive(Debug)]
struct Wire(JoinHandle<()>);

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request before it has an address.
struct Call<'a> {
    method: Method,
    path: &'a str,
    key: Option<Uuid>,
    body: Option<Vec<u8>>,
}

fn get(path: &str) -> Call<'_> {
    Call {
        method: Method::GET,
        path,
        key: None,
        body: None,
    }
}

fn path(direction: Direction, hash: PaymentHash, more: &str) -> String {
    format!("/loop/{}/{hash}{more}", direction.word())
}

impl RestClient {
    /// A server at `http://HOST:PORT`.
    ///
    /// # Errors
    ///
    /// When that is no such address.
    pub fn new(address: &str) -> Result<Self, RestError> {
        let wrong = || RestError::Address(address.to_owned());
        let rest = address.strip_prefix("http://").unwrap_or(address);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| wrong())?;
        match authority.port_u16() {
            Some(_) if !rest.contains('@') => Ok(RestClient { authority }),
            Some(_) | None => Err(wrong()),
        }
    }

    fn unreachable(&self, error: impl std::fmt::Display) -> RestError {
        RestError::Unreachable {
            address: self.authority.to_string(),
            reason: error.to_string(),
        }
    }

    fn unreadable(&self, reason: impl Into<String>) -> RestError {
        RestError::Unreadable {
            address: self.authority.to_string(),
            reason: reason.into(),
        }
    }

    fn timed_out(&self) -> RestError {
        RestError::TimedOut {
            address: self.authority.to_string(),
        }
    }

    async fn send(&self, call: Call<'_>) -> Result<(Response<Incoming>, Wire), RestError> {
        let stream = TcpStream::connect(self.authority.as_str()).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        // A request is small; it must not wait for another.
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(error))?;
        // How it ended is told to whoever waits for the answer.
        let wire = Wire(tokio::spawn(async { drop(connection.await) }));
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, self.authority.as_str())
            .header(ACCEPT, "*/*");
        if let Some(key) = call.key {
            request = request.header(IDEMPOTENCY_KEY, key.to_string());
        }
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(call.body.unwrap_or_default())))
            .map_err(|error| self.unreachable(error))?;
        let response = sender.send_request(request).await;
        Ok((response.map_err(|error| self.unreachable(error))?, wire))
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, RestError> {
        let all = Limited::new(response.into_body(), MOST_BYTES)
            .collect()
            .await;
        all.map(|all| all.to_bytes())
            .map_err(|error| match error.is::<LengthLimitError>() {
                true => self.unreadable(format!("an answer of more than {MOST_BYTES} bytes")),
                false => self.unreachable(error),
            })
    }

    /// The refusal in an answer that is none.
    async fn refusal(&self, response: Response<Incoming>) -> RestError {
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE).cloned();
        let is_problem = kind.is_some_and(|kind| kind == PROBLEM_JSON);
        let body = match self.collect(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if is_problem && problem.status == status.as_u16() => RestError::Problem {
                address: self.authority.to_string(),
                problem: Box::new(problem),
            },
            _ => self.unreadable(format!(
                "status {status} without a problem that explains it"
            )),
        }
    }

    async fn bytes(&self, call: Call<'_>, deadline: Deadline) -> Result<Bytes, RestError> {
        let answered = deadline.bound(async {
            let (response, _wire) = self.send(call).await?;
            match response.status() {
                StatusCode::OK => self.collect(response).await,
                _ => Err(self.refusal(response).await),
            }
        });
        answered.await.unwrap_or_else(|| Err(self.timed_out()))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
        deadline: Deadline,
    ) -> Result<T, RestError> {
        let body = self.bytes(call, deadline).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(error.to_string()))
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        key: Option<Uuid>,
        body: &impl Serialize,
        deadline: Deadline,
    ) -> Result<T, RestError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreadable(error.to_string()))?;
        let call = Call {
            method: Method::POST,
            path,
            key,
            body: Some(body),
        };
        self.call(call, deadline).await
    }

    /// Whether loops can be made now.
    ///
    /// # Errors
    ///
    /// As of every method: when the server cannot be reached or does not answer in time, refuses, or sends what cannot be read.
    pub async fn health(&self, deadline: Deadline) -> Result<Health, RestError> {
        self.call(get("/health"), deadline).await
    }

    /// The server's OpenAPI document.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`].
    pub async fn openapi(&self, deadline: Deadline) -> Result<serde_json::Value, RestError> {
        self.call(get("/openapi.json"), deadline).await
    }

    /// What is offered in a direction now.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`].
    pub async fn terms(
        &self,
        direction: Direction,
        deadline: Deadline,
    ) -> Result<Terms, RestError> {
        let path = format!("/loop/{}/terms", direction.word());
        self.call(get(&path), deadline).await
    }

    /// What a loop out would cost now.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`].
    pub async fn quote_out(
        &self,
        amount: Sat,
        confirmations: u32,
        deadline: Deadline,
    ) -> Result<Quote, RestError> {
        let amount = amount.0;
        let path = format!("/loop/out/quote?amount={amount}&confirmations={confirmations}");
        self.call(get(&path), deadline).await
    }

    /// What a loop in would cost now.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`].
    pub async fn quote_in(&self, amount: Sat, deadline: Deadline) -> Result<Quote, RestError> {
        let path = format!("/loop/in/quote?amount={}", amount.0);
        self.call(get(&path), deadline).await
    }

    /// Makes a loop out. With a key the call can be repeated without making two.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`].
    pub async fn loop_out(
        &self,
        request: &LoopOutRequest,
        key: Option<Uuid>,
        deadline: Deadline,
    ) -> Result<Loop, RestError> {
        self.post("/loop/out", key, request, deadline).await
    }

    /// Makes a loop in. With a key the call can be repeated without making two.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`].
    pub async fn loop_in(
        &self,
        request: &LoopInRequest,
        key: Option<Uuid>,
        deadline: Deadline,
    ) -> Result<Loop, RestError> {
        self.post("/loop/in", key, request, deadline).await
    }

    /// A loop as it is now.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`]; a loop that is not there is a problem of status 404.
    pub async fn get(
        &self,
        direction: Direction,
        hash: PaymentHash,
        deadline: Deadline,
    ) -> Result<Loop, RestError> {
        self.call(get(&path(direction, hash, "")), deadline).await
    }

    /// A page of loops, the newest first.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`].
    pub async fn list(
        &self,
        direction: Direction,
        query: &ListQuery,
        deadline: Deadline,
    ) -> Result<LoopPage, RestError> {
        let mut path = format!("/loop/{}?", direction.word());
        if let Some(state) = query.state {
            path += &format!("state={}&", state.word());
        }
        if let Some(limit) = query.limit {
            path += &format!("limit={limit}&");
        }
        if let Some(page) = &query.page {
            // Tokens have nothing that must be escaped; of another server's, no second parameter is made.
            let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            path += &format!("page={}", page.chars().filter(plain).collect::<String>());
        }
        self.call(get(&path), deadline).await
    }

    /// Shows the preimage of a loop out: the server settles the payment that it holds.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`]; 409 while it holds none.
    pub async fn show_preimage(
        &self,
        hash: PaymentHash,
        preimage: &Preimage,
        deadline: Deadline,
    ) -> Result<Loop, RestError> {
        let preimage = PreimageRequest {
            preimage: preimage.to_string(),
        };
        let path = path(Direction::Out, hash, "/preimage");
        self.post(&path, None, &preimage, deadline).await
    }

    /// The server's half of a key-path spend.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`]; 409 while it might lose by it.
    pub async fn cosign(
        &self,
        direction: Direction,
        hash: PaymentHash,
        request: &CosignRequest,
        deadline: Deadline,
    ) -> Result<CosignReply, RestError> {
        let path = path(direction, hash, "/cosign");
        self.post(&path, None, request, deadline).await
    }

    /// Gives a loop in up.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`]; 409 when the server has tried to pay.
    pub async fn cancel(&self, hash: PaymentHash, deadline: Deadline) -> Result<Loop, RestError> {
        let call = Call {
            method: Method::POST,
            path: &path(Direction::In, hash, "/cancel"),
            key: None,
            body: None,
        };
        self.call(call, deadline).await
    }

    /// A loop as it is now and again whenever it changes. `deadline` is for the beginning of the stream.
    ///
    /// # Errors
    ///
    /// As [`RestClient::health`]; a loop that is not there is a problem of status 404.
    pub async fn updates(
        &self,
        direction: Direction,
        hash: PaymentHash,
        deadline: Deadline,
    ) -> Result<Updates, RestError> {
        let path = path(direction, hash, "/events");
        let begun = deadline.bound(async {
            let (response, wire) = self.send(get(&path)).await?;
            match response.status() {
                StatusCode::OK => Ok((response, wire)),
                _ => Err(self.refusal(response).await),
            }
        });
        let (response, wire) = begun.await.unwrap_or_else(|| Err(self.timed_out()))?;
        let kind = response.headers().get(CONTENT_TYPE);
        if kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"text/event-stream")) {
            return Err(self.unreadable("no stream of events"));
        }
        Ok(Updates::new(self.clone(), response.into_body(), wire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["http://127.0.0.1:80", "127.0.0.1:1", "http://[::1]:9747/"] {
            assert!(RestClient::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://",
            "https://a:1",
            "http://a",
            "http://a:1/b",
            "http://u@a:1",
            "a:99999",
        ] {
            assert!(RestClient::new(bad).is_err(), "{bad}");
        }
    }
}
