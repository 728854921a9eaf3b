//! One HTTP request to a program on this machine.

use std::net::IpAddr;
use std::time::Duration;

use crate::time::Deadline;

/// How much of an answer is read. A server of a test says less.
const MOST: u64 = 8 * 1024 * 1024;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST` and their like.
    pub method: String,
    /// `http://127.0.0.1:PORT/…`; without `http://` it means the same.
    pub url: String,
    /// A JSON text to send.
    pub json: Option<String>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The address is not on this machine, or is none.
    #[error("`{url}` is not an address on this machine; write http://127.0.0.1:PORT/…")]
    NotHere { url: String },
    /// Nobody listens, or the connection broke.
    #[error("{0}")]
    Failed(String),
    /// No whole answer came in time.
    #[error("no answer within {0:.1?}")]
    TimedOut(Duration),
}

/// Sends `request` and reads the whole answer, whatever its status; redirects are not followed.
///
/// # Errors
/// [`HttpError`].
pub async fn send(request: Request, deadline: Deadline) -> Result<Answer, HttpError> {
    let url = match request.url.contains("://") {
        true => request.url.clone(),
        false => format!("http://{}", request.url),
    };
    let not_here = || HttpError::NotHere { url: url.clone() };
    let uri: ureq::http::Uri = url.parse().map_err(|_| not_here())?;
    let is_here = |host: &str| {
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    if uri.scheme_str() != Some("http") || !uri.host().is_some_and(is_here) {
        return Err(not_here());
    }
    let limit = deadline.remaining();
    let asking =
        tokio::task::spawn_blocking(move || ask(&request.method, uri, request.json, limit));
    let answer = asking
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
    answer.map_err(|error| match error {
        ureq::Error::Timeout(_) => HttpError::TimedOut(limit),
        other => HttpError::Failed(crate::error_chain(&other)),
    })
}

fn ask(
    method: &str,
    uri: ureq::http::Uri,
    json: Option<String>,
    limit: Duration,
) -> Result<Answer, ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        // What the environment says of proxies is not meant for this machine.
        .proxy(None)
        .allow_non_standard_methods(true)
        .build()
        .new_agent();
    let request = ureq::http::Request::builder().method(method).uri(uri);
    let mut response = match json {
        Some(json) => agent.run(
            request
                .header("content-type", "application/json")
                .body(json)?,
        )?,
        None => agent.run(request.body(())?)?,
    };
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(MOST)
        .lossy_utf8(true);
    Ok(Answer {
        status,
        body: body.read_to_string()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_machine_is_asked() {
        for url in [
            "http://example.org/",
            "https://127.0.0.1:1/",
            "10.0.0.1:80",
            "::",
        ] {
            let request = Request {
                method: "GET".into(),
                url: url.into(),
                json: None,
            };
            let error = send(request, Deadline::after(Duration::from_secs(5))).await;
            assert!(matches!(error, Err(HttpError::NotHere { .. })), "{error:?}");
        }
    }
}
