//! Calls over gRPC to a server whose API is known by its descriptors only: unary calls, reflection, health.
//!
//! Source of the rules: "gRPC over HTTP2", "Server Reflection Protocol" and "Health Checking Protocol" in the gRPC
//! repository.

mod channel;
mod health;
mod message;
mod reflection;

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE};
use hyper::{Request, Response, StatusCode, Uri};
use ldk_server_protos::grpc::{
    MAX_UNARY_LEN, Status, decode_unary, encode_message, format_timeout, percent_decode,
};
use prost::bytes::Bytes;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

use crate::time::Deadline;

pub(crate) use channel::{ALPN_H2, certificates, connect};
pub use health::{NoHealth, is_serving};
pub use ldk_server_protos::grpc::Code;
pub use message::{Misfit, describe, element_kind, encode, fits, kind_name, to_json};
pub(crate) use message::{key_text, scalar};
pub use reflection::{ReflectionError, reflect};

/// A gRPC server on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT`.
    pub address: String,
    /// The certificate (PEM) that it shows, which alone is trusted; without one the connection is not encrypted.
    pub certificate: Option<PathBuf>,
}

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server's own error.
    #[error("{}: {}", code_name(.0.code), .0.message)]
    Status(Status),
    /// Nobody listens, the connection broke, or what came back is not gRPC.
    #[error("{0}")]
    Failed(String),
    /// No whole answer came in time.
    #[error("no answer within {0:.1?}")]
    TimedOut(Duration),
}

/// The name that gRPC gives a code: `NOT_FOUND`.
pub fn code_name(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() && code != Code::Ok {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

/// A method that an API does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoMethod {
    /// Nothing is called so.
    #[error("there is no method `{0}`")]
    Unknown(String),
    /// Several services have one of that name.
    #[error("`{method}` is a method of {}", services.join(" and of "))]
    Several {
        /// What was asked for.
        method: String,
        /// The services.
        services: Vec<String>,
    },
    /// It does not take one message and give one.
    #[error("`{0}` is a stream; only calls with one request and one reply can be made")]
    Stream(String),
}

/// `SERVICE/METHOD` of a method.
pub fn method_path(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

/// The methods of an API.
pub fn methods(api: &DescriptorPool) -> Vec<MethodDescriptor> {
    let services = api.services();
    services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

/// The unary method called `SERVICE/METHOD`, or `METHOD` alone where only one service has it.
///
/// # Errors
/// [`NoMethod`].
pub fn method(api: &DescriptorPool, name: &str) -> Result<MethodDescriptor, NoMethod> {
    let is_it = |method: &MethodDescriptor| match name.contains('/') {
        true => method_path(method) == name.trim_start_matches('/'),
        false => method.name() == name,
    };
    let mut found: Vec<_> = methods(api).into_iter().filter(is_it).collect();
    let Some(first) = found.pop() else {
        return Err(NoMethod::Unknown(name.to_owned()));
    };
    if !found.is_empty() {
        found.push(first);
        let services = found.iter().map(|one| one.parent_service());
        return Err(NoMethod::Several {
            method: name.to_owned(),
            services: services
                .map(|service| service.full_name().to_owned())
                .collect(),
        });
    }
    match first.is_client_streaming() || first.is_server_streaming() {
        true => Err(NoMethod::Stream(name.to_owned())),
        false => Ok(first),
    }
}

/// Calls `method` with `message`, once.
///
/// # Errors
/// [`CallError`].
pub async fn call(
    target: &Target,
    method: &MethodDescriptor,
    message: &DynamicMessage,
    deadline: Deadline,
) -> Result<DynamicMessage, CallError> {
    let path = method_path(method);
    let reply = exchange(target, &path, message, deadline).await?;
    DynamicMessage::decode(method.output(), reply)
        .map_err(|error| CallError::Failed(format!("the reply cannot be read: {error}")))
}

/// Sends one message to `SERVICE/METHOD` and gives the one that comes back.
async fn exchange(
    target: &Target,
    path: &str,
    message: &impl prost::Message,
    deadline: Deadline,
) -> Result<Bytes, CallError> {
    let limit = deadline.remaining();
    let frame = encode_message(message);
    let answer = deadline.bound(send(target, path, frame, limit)).await;
    answer.unwrap_or(Err(CallError::TimedOut(limit)))
}

async fn send(
    target: &Target,
    path: &str,
    frame: Bytes,
    limit: Duration,
) -> Result<Bytes, CallError> {
    let (mut sender, connection) =
        connect::<Full<Bytes>>(&target.address, target.certificate.as_deref())
            .await
            .map_err(|error| CallError::Failed(crate::error_chain(&error)))?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        let text = crate::error_chain(error);
        CallError::Failed(format!("{text}; does it speak gRPC here?"))
    };
    let scheme = match target.certificate {
        Some(_) => "https",
        None => "http",
    };
    let uri: Uri = format!("{scheme}://{}/{path}", target.address)
        .parse()
        .map_err(|error| failed(&error))?;
    let request = Request::post(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header("grpc-timeout", format_timeout(limit))
        .body(Full::new(frame))
        .map_err(|error| failed(&error))?;
    let talk = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| failed(&error))?;
        read(response).await
    };
    // The connection ends with this call; what it says of its end says less than the call itself.
    tokio::select! {
        answer = talk => answer,
        ended = never_ending(connection) => match ended {},
    }
}

/// Drives a connection for as long as somebody waits for something else.
async fn never_ending(
    connection: impl Future<Output = hyper::Result<()>>,
) -> std::convert::Infallible {
    let _ = connection.await;
    std::future::pending().await
}

async fn read(response: Response<Incoming>) -> Result<Bytes, CallError> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        let text = format!("HTTP status {} in place of a gRPC answer", head.status);
        return Err(CallError::Failed(text));
    }
    let body = Limited::new(body, MAX_UNARY_LEN).collect().await;
    let body = body.map_err(|error| CallError::Failed(crate::error_chain(&*error)))?;
    let status = status(body.trailers()).or_else(|| status(Some(&head.headers)));
    match status {
        Some(status) if status.code != Code::Ok => return Err(CallError::Status(status)),
        Some(_) => {}
        None => {
            let text = "the answer has no gRPC status".to_owned();
            return Err(CallError::Failed(text));
        }
    }
    let whole = body.to_bytes();
    let payload = decode_unary(&whole).map_err(|error| CallError::Failed(error.to_string()))?;
    Ok(whole.slice_ref(payload))
}

fn status(headers: Option<&HeaderMap>) -> Option<Status> {
    let headers = headers?;
    let code = Code::parse(headers.get("grpc-status")?.as_bytes())?;
    let message = headers.get("grpc-message");
    let message = message.map_or_else(String::new, |text| percent_decode(text.as_bytes()));
    Some(Status::new(code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_that_grpc_gives_them() {
        for (code, name) in [
            (Code::Ok, "OK"),
            (Code::NotFound, "NOT_FOUND"),
            (Code::DataLoss, "DATA_LOSS"),
            (Code::Internal, "INTERNAL"),
        ] {
            assert_eq!(code_name(code), name);
        }
    }

    #[test]
    fn a_method_is_found_by_its_whole_name_or_by_its_own() {
        let api = crate::proxy::ldk_server_descriptors();
        let path = method_path(&method(api, "GetNodeInfo").unwrap());
        assert_eq!(path.split('/').next_back(), Some("GetNodeInfo"));
        for name in [path.as_str(), &format!("/{path}")] {
            assert_eq!(method_path(&method(api, name).unwrap()), path);
        }
        for name in ["GetNodeinfo", "other.Service/GetNodeInfo"] {
            assert_eq!(
                method(api, name).err(),
                Some(NoMethod::Unknown(name.into())),
                "{name}"
            );
        }
        let stream = methods(api).into_iter().find(|m| m.is_server_streaming());
        if let Some(stream) = stream {
            assert!(matches!(
                method(api, stream.name()),
                Err(NoMethod::Stream(_))
            ));
        }
    }
}
