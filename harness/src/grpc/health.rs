//! `grpc.health.v1.Health/Check`.

use super::{CallError, Code, Target, exchange};
use crate::time::Deadline;

/// `HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The words of `ServingStatus`, in the order of their numbers; the second one is what is waited for.
const STATUS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: i32 = 1;

/// Whether a service is serving; `""` is the server as a whole. The inner error says what it said instead.
///
/// # Errors
/// The outer one when it can never become so: the server has no health service.
pub async fn is_serving(
    target: &Target,
    service: &str,
    deadline: Deadline,
) -> Result<Result<(), String>, NoHealth> {
    let request = Request {
        service: service.to_owned(),
    };
    let reply = exchange(target, "grpc.health.v1.Health/Check", &request, deadline).await;
    let bytes = match reply {
        Ok(bytes) => bytes,
        Err(CallError::Status(status)) if status.code == Code::Unimplemented => {
            return Err(NoHealth);
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    let response: Response = match prost::Message::decode(bytes) {
        Ok(response) => response,
        Err(error) => return Ok(Err(format!("its answer cannot be read: {error}"))),
    };
    if response.status == SERVING {
        return Ok(Ok(()));
    }
    let word = usize::try_from(response.status)
        .ok()
        .and_then(|at| STATUS.get(at));
    Ok(Err(match word {
        Some(word) => format!("it is {word}"),
        None => format!("its status is {}", response.status),
    }))
}

/// The server answers, and does not know the health service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has no service grpc.health.v1.Health; write ready = {{ tcp = true }} or {{ log = \"…\" }} instead of \
     grpc_health"
)]
pub struct NoHealth;
