//! The proxy for plain HTTP whose bodies are JSON: each request is a call, named by its method and path. A call that no fault is
//! for passes byte for byte, both ways, and so does a body that is no JSON.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::exchange::{Answer, Talk};
use super::faults::{ANY, Failure, Faults, Way};
use super::http::Message;
use super::tamper;
use crate::time::Deadline;

/// The methods that a call can have (RFC 9110, section 9; RFC 5789).
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// A text that names no call over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{call}` is no call over HTTP: {why}")]
pub struct CallError {
    /// The text.
    pub call: String,
    /// What is wrong with it.
    pub why: String,
}

/// Checks that `call` is a method and a path, such as `GET /swaps/*`: a segment `*` stands for any one.
///
/// # Errors
/// What is wrong with it.
pub fn check_call(call: &str) -> Result<(), CallError> {
    let (method, path) = call.split_once(' ').unwrap_or((call, ""));
    let why = if !METHODS.contains(&method) {
        format!("it must begin with a method, {}", METHODS.join(", "))
    } else if !path.starts_with('/') || path.contains(char::is_whitespace) {
        "after the method comes one space and a path that begins with `/`".to_owned()
    } else if path.contains(['?', '#']) {
        "a query is not looked at, leave it out".to_owned()
    } else if path
        .split('/')
        .any(|part| part.contains(ANY) && part.len() > 1)
    {
        format!("`{ANY}` stands for a whole segment of the path")
    } else {
        return Ok(());
    };
    let call = call.to_owned();
    Err(CallError { call, why })
}

/// A request.
#[derive(Debug, Default)]
pub(super) struct Call {
    name: Option<String>,
    /// How long it is held up, there and back.
    late: (Duration, Duration),
    /// How it fails, and whether it is carried out before.
    failure: Option<(Failure, bool)>,
}

impl Call {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Talk for Call {
    fn read(request: &Message) -> Self {
        Call {
            name: request.method_and_path(),
            ..Call::default()
        }
    }

    fn meet(&mut self, faults: &Faults) {
        self.failure = faults.failure(self.name());
        self.late = faults.call_delays(self.name());
    }

    async fn travel(&self, way: Way, faults: &Faults) {
        Deadline::after(way.of(self.late)).reach().await;
        faults.pass(way, self.name()).await;
    }

    fn whole_failure(&self) -> Option<(&Failure, bool)> {
        let (failure, carried_out) = self.failure.as_ref()?;
        Some((failure, *carried_out))
    }

    fn forwarded(&self, request: &Message) -> Option<Bytes> {
        Some(request.raw.clone())
    }

    fn answered(&self, answer: Option<Message>, faults: &Faults) -> Option<Answer> {
        let answer = answer?;
        if !faults.tampers(self.name()) {
            return Some(answer.into());
        }
        let Ok(mut parsed) = serde_json::from_slice::<Value>(&answer.body) else {
            return Some(answer.into());
        };
        let before = parsed.clone();
        faults.tamper(self.name(), |lie| tamper::in_json(&mut parsed, lie));
        Some(match parsed == before {
            true => answer.into(),
            false => Answer::with_body(&answer, parsed.to_string().as_bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_call_is_named_by_its_method_and_path() {
        for call in [
            "GET /",
            "POST /loop/out",
            "GET /loop/*/events",
            "PATCH /a-b_c/%20",
        ] {
            assert_eq!(check_call(call), Ok(()), "{call}");
        }
        for (call, why) in [
            ("", "method"),
            ("/loop/out", "method"),
            ("post /loop/out", "method"),
            ("FETCH /loop/out", "method"),
            ("GET", "begins with `/`"),
            ("GET loop", "begins with `/`"),
            ("GET  /loop", "begins with `/`"),
            ("GET /loop out", "begins with `/`"),
            ("GET /loop?state=funded", "query"),
            ("GET /loop/a*", "whole segment"),
            ("GET /loop/**", "whole segment"),
        ] {
            let error = check_call(call).unwrap_err();
            assert!(error.why.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_a_call_or_refused(call in r"(GET|POST)? ?[/*a-z? ]{0,12}") {
            let _ = check_call(&call);
        }
    }
}
