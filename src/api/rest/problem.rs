//! Errors as RFC 9457 writes them: every one of the API, with a status, a type that programs can rely on, and words.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use swaprig_proto::loops;

use super::desk::LoopError;

/// What every type begins with.
const PREFIX: &str = "urn:swaprig:problem:";
/// When to ask a server again that cannot answer now, seconds.
const RETRY_AFTER: &str = "1";

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $status:ident, $word:literal, $title:literal;)*) => {
        /// The kinds of problems. Names and statuses are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $title] $(#[$doc])* $variant,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Kind] = &[$(Kind::$variant),*];

            /// The end of its type.
            pub const fn word(self) -> &'static str {
                match self { $(Kind::$variant => $word,)* }
            }

            /// In words.
            pub const fn title(self) -> &'static str {
                match self { $(Kind::$variant => $title,)* }
            }

            /// Its HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Kind::$variant => StatusCode::$status,)* }
            }
        }
    };
}

kinds! {
    InvalidParameter = BAD_REQUEST, "invalid-parameter", "A parameter is invalid";
    InvalidBody = BAD_REQUEST, "invalid-body", "The body is not what this request takes";
    NotFound = NOT_FOUND, "not-found", "There is nothing at this address";
    UnknownLoop = NOT_FOUND, "unknown-loop", "There is no such loop";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "This address takes other methods";
    SlowRequest = REQUEST_TIMEOUT, "slow-request", "The request did not arrive in time";
    IdempotencyConflict = CONFLICT, "idempotency-conflict", "The idempotency key was used by another request";
    PaymentHashUsed = CONFLICT, "payment-hash-used", "The payment hash belongs to another loop";
    WrongState = CONFLICT, "wrong-state", "The loop is not where this can be done";
    LoopFailed = CONFLICT, "loop-failed", "The loop ended before it was agreed";
    Shortage = CONFLICT, "shortage", "Not enough is free for this loop";
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "The body is too large";
    MediaType = UNSUPPORTED_MEDIA_TYPE, "media-type", "The body must be JSON";
    Busy = TOO_MANY_REQUESTS, "busy", "Too much is going on";
    Internal = INTERNAL_SERVER_ERROR, "internal", "The server failed";
    NotReady = SERVICE_UNAVAILABLE, "not-ready", "The server cannot do this now";
}

/// A problem of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    pub(super) detail: String,
    pub(super) param: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem {
            kind,
            detail: detail.into(),
            param: None,
        }
    }

    /// About a field, a query parameter or a header.
    pub(super) fn param(param: &str, reason: impl std::fmt::Display) -> Self {
        Problem::new(Kind::InvalidParameter, format!("{param}: {reason}")).about(param)
    }

    pub(super) fn about(mut self, param: &str) -> Self {
        self.param = Some(param.to_owned());
        self
    }

    /// As it is sent.
    pub(super) fn message(&self) -> loops::Problem {
        loops::Problem {
            kind: format!("{PREFIX}{}", self.kind.word()),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
            message: self.detail.clone(),
            param: self.param.clone(),
        }
    }
}

impl From<LoopError> for Problem {
    fn from(error: LoopError) -> Self {
        let detail = swaprig_harness::error_chain(&error);
        match error {
            LoopError::Param { param, .. } => {
                Problem::new(Kind::InvalidParameter, detail).about(param)
            }
            LoopError::Unknown(..) => Problem::new(Kind::UnknownLoop, detail).about("payment_hash"),
            LoopError::KeyConflict(_) => {
                Problem::new(Kind::IdempotencyConflict, detail).about(loops::IDEMPOTENCY_KEY)
            }
            LoopError::HashUsed(_) => {
                Problem::new(Kind::PaymentHashUsed, detail).about("payment_hash")
            }
            LoopError::WrongState(_) => Problem::new(Kind::WrongState, detail),
            LoopError::Failed(_) => Problem::new(Kind::LoopFailed, detail),
            LoopError::Shortage(_) => Problem::new(Kind::Shortage, detail),
            LoopError::Busy(_) => Problem::new(Kind::Busy, detail),
            LoopError::NotReady(_) => Problem::new(Kind::NotReady, detail),
            LoopError::Internal(_) => Problem::new(Kind::Internal, detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        if status.is_server_error() && self.kind != Kind::NotReady {
            tracing::error!(detail = self.detail, "a request failed");
        }
        let mut response = (status, Json(self.message())).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(loops::PROBLEM_JSON),
        );
        if matches!(self.kind, Kind::NotReady | Kind::Busy) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}
