//! The proxy for JSON-RPC over HTTP. A call that no fault is for passes byte for byte, both ways.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::exchange::{Answer, Talk};
use super::faults::{Failure, Faults, Way};
use super::http::{self, Message};
use crate::time::Deadline;

const JSON: &str = "application/json";
/// `RPC_MISC_ERROR` in Bitcoin Core's `rpc/protocol.h`.
const MISC_ERROR: i32 = -1;

/// A call in a request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) id: Value,
    pub(super) is_version_2: bool,
    /// The code of an error that this proxy makes.
    pub(super) code: i32,
    /// How it fails, and whether it is carried out before.
    failure: Option<(Failure, bool)>,
}

/// The calls of a request.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) list: Vec<Call>,
    /// The request as it was parsed; an array when it is a batch.
    pub(super) parsed: Value,
    /// How long the slowest is held up, there and back.
    pub(super) late: (Duration, Duration),
}

impl Calls {
    /// None in a body that is no JSON-RPC.
    pub(super) fn of(body: &[u8]) -> Self {
        let Ok(parsed) = serde_json::from_slice::<Value>(body) else {
            return Calls::default();
        };
        let one = |call: &Value| {
            Some(Call {
                method: call.get("method")?.as_str()?.to_owned(),
                id: call.get("id").cloned().unwrap_or_default(),
                is_version_2: call.get("jsonrpc").is_some_and(|version| version == "2.0"),
                code: MISC_ERROR,
                failure: None,
            })
        };
        let list = match &parsed {
            Value::Array(calls) => calls.iter().map(one).collect::<Option<Vec<_>>>(),
            call => one(call).map(|call| vec![call]),
        };
        Calls {
            list: list.unwrap_or_default(),
            parsed,
            ..Calls::default()
        }
    }

    /// What is left of the request without the calls that fail before they are carried out.
    pub(super) fn left(&self) -> Left {
        let kept = |call: &&Call| !matches!(call.failure, Some((_, false)));
        let left = self.list.iter().filter(kept).count();
        if left == self.list.len() {
            return Left::All;
        }
        let Some(batch) = self.parsed.as_array().filter(|_| left > 0) else {
            return Left::None;
        };
        let pairs = batch.iter().zip(&self.list);
        let kept: Vec<&Value> = pairs
            .filter(|(_, call)| kept(call))
            .map(|(one, _)| one)
            .collect();
        serde_json::to_vec(&kept).map_or(Left::None, Left::Some)
    }

    /// Whether the answers are to be another one than the server's.
    pub(super) fn changes(&self, faults: &Faults) -> bool {
        let changes = |call: &Call| call.failure.is_some() || faults.tampers(Some(&call.method));
        self.list.iter().any(changes)
    }

    /// The call of a request that is no batch.
    fn single(&self) -> Option<&Call> {
        self.list.first().filter(|_| !self.parsed.is_array())
    }
}

impl Talk for Calls {
    fn read(request: &Message) -> Self {
        Calls::of(&request.body)
    }

    fn meet(&mut self, faults: &Faults) {
        if self.list.is_empty() {
            self.late = faults.call_delays(None);
        }
        for call in &mut self.list {
            call.failure = faults.failure(Some(&call.method));
            let (there, back) = faults.call_delays(Some(&call.method));
            self.late = (self.late.0.max(there), self.late.1.max(back));
        }
    }

    /// Waits as long as the slowest of the calls is held up. A body without calls waits for what is for all.
    async fn travel(&self, way: Way, faults: &Faults) {
        Deadline::after(way.of(self.late)).reach().await;
        if self.list.is_empty() {
            faults.pass(way, None).await;
        }
        for call in &self.list {
            faults.pass(way, Some(&call.method)).await;
        }
    }

    /// It leaves no place for other answers.
    fn whole_failure(&self) -> Option<(&Failure, bool)> {
        let failures = self.list.iter().filter_map(|call| call.failure.as_ref());
        failures
            .filter(|(failure, _)| !matches!(failure, Failure::Error(_)))
            .map(|(failure, carried_out)| (failure, *carried_out))
            .next()
    }

    /// What the server gets: the request, without the calls of a batch that are not carried out; `None` when none is
    /// left.
    fn forwarded(&self, request: &Message) -> Option<Bytes> {
        match self.left() {
            Left::All => Some(request.raw.clone()),
            Left::Some(body) => Some(request.with_body(&body)),
            Left::None => None,
        }
    }

    /// What the client gets for `answer`: the same, with the errors and the lies that there are for it.
    fn answered(&self, answer: Option<Message>, faults: &Faults) -> Option<Answer> {
        let fails = self.list.iter().any(|call| call.failure.is_some());
        let message = match answer {
            Some(answer) if !self.changes(faults) => return Some(answer.into()),
            answer => answer,
        };
        // An error has another HTTP status than the result in whose place it stands.
        if let Some(call) = self.single().filter(|_| fails) {
            return Some(call.own_answer());
        }
        let mut parsed = message
            .as_ref()
            .and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok())
            .unwrap_or_else(|| Value::Array(Vec::new()));
        let before = parsed.clone();
        for call in &self.list {
            call.change(&mut parsed, faults);
        }
        let body = serde_json::to_vec(&parsed).unwrap_or_default();
        Some(match message {
            Some(answer) if parsed == before => answer.into(),
            Some(answer) => Answer::with_body(&answer, &body),
            None => Answer::own(http::response(200, JSON, &body)),
        })
    }
}

/// What is left of a request.
pub(super) enum Left {
    /// The whole of it.
    All,
    /// A smaller batch.
    Some(Vec<u8>),
    /// Nothing.
    None,
}

impl Call {
    /// The error of a call that is no part of a batch, with the HTTP status that bitcoind gives with it.
    fn own_answer(&self) -> Answer {
        let status = if self.is_version_2 { 200 } else { 500 };
        let body = serde_json::to_vec(&self.error().unwrap_or_default()).unwrap_or_default();
        Answer::own(http::response(status, JSON, &body))
    }

    /// Changes the answer to it in `answers`, or adds one.
    pub(super) fn change(&self, answers: &mut Value, faults: &Faults) {
        let own = match answers {
            Value::Array(answers) => {
                let own = answers
                    .iter()
                    .position(|answer| answer.get("id") == Some(&self.id));
                match (own, self.error()) {
                    (None, Some(error)) => return answers.push(error),
                    (own, _) => own.and_then(|own| answers.get_mut(own)),
                }
            }
            answer => Some(answer),
        };
        let Some(own) = own else { return };
        if let Some(error) = self.error() {
            *own = error;
        } else if let Some(result) = own.get_mut("result") {
            faults.tamper(Some(&self.method), |lie| {
                super::tamper::in_json(result, lie)
            });
        }
    }

    /// Its answer when it fails with an error.
    pub(super) fn error(&self) -> Option<Value> {
        let Some((Failure::Error(message), _)) = &self.failure else {
            return None;
        };
        let error = json!({ "code": self.code, "message": message });
        Some(match self.is_version_2 {
            true => json!({ "jsonrpc": "2.0", "error": error, "id": self.id }),
            false => json!({ "result": null, "error": error, "id": self.id }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{Action, Calls as Which};
    use super::super::http::Expect;
    use super::super::tamper::{FieldValue, Lie};
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn message(text: &str) -> Message {
        let expect = if text.starts_with("POST") {
            Expect::Request
        } else {
            Expect::Response { to_head: false }
        };
        http::take(&mut BytesMut::from(text), expect, false)
            .unwrap()
            .unwrap()
    }

    fn request(body: &str) -> Message {
        message(&format!(
            "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn answer(body: &str) -> Message {
        message(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn body(bytes: &[u8]) -> Value {
        let at = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        serde_json::from_slice(&bytes[at..]).unwrap()
    }

    #[test]
    fn a_batch_loses_the_calls_that_fail_and_keeps_the_others() {
        let faults = Faults::default();
        let action = Action::Fail {
            failure: Failure::Error("no".into()),
            carried_out: false,
        };
        faults.add(Which::of("b"), action);
        let text = r#"[{"method":"a","id":1},{"method":"b","id":2},{"method":"a","id":3}]"#;
        let request = request(text);
        let mut calls = Calls::of(&request.body);
        for call in &mut calls.list {
            call.failure = faults.failure(Some(&call.method));
        }
        let forwarded = calls.forwarded(&request).unwrap();
        assert_eq!(
            body(&forwarded),
            json!([{ "method": "a", "id": 1 }, { "method": "a", "id": 3 }])
        );
        let came = answer(r#"[{"result":1,"id":1},{"result":3,"id":3}]"#);
        let got = calls.answered(Some(came), &faults).unwrap();
        let error = json!({ "result": null, "error": { "code": -1, "message": "no" }, "id": 2 });
        let ok = |id: u32| json!({ "result": id, "id": id });
        assert_eq!(body(&got.bytes), json!([ok(1), ok(3), error]));
    }

    #[test]
    fn a_lie_is_told_in_the_answer_to_its_call_and_only_there() {
        let faults = Faults::default();
        let action = Action::Tamper(Lie {
            field: Some("blocks".into()),
            value: FieldValue::Integer(7),
            adds: false,
        });
        let fault = faults.add(Which::of("a").next(1), action);
        let asks = request(r#"[{"method":"b","id":"x"},{"method":"a","id":"y"}]"#);
        let calls = Calls::of(&asks.body);
        // The field is not there: nothing is changed, byte for byte, and the lie is still to come.
        let came = answer(r#"[{"result":{ "b":1 },"id":"y"}]"#);
        let raw = came.raw.clone();
        assert_eq!(calls.answered(Some(came), &faults).unwrap().bytes, raw);
        assert_eq!(fault.hits(), 0);
        let came = answer(r#"[{"result":{"blocks":1},"id":"x"},{"result":{"blocks":1},"id":"y"}]"#);
        let told = calls.answered(Some(came), &faults).unwrap();
        let told = body(&told.bytes);
        assert_eq!(told.pointer("/0/result/blocks"), Some(&json!(1)));
        assert_eq!(told.pointer("/1/result/blocks"), Some(&json!(7)));
        assert_eq!(fault.hits(), 1);
    }

    #[test]
    fn an_error_has_the_status_that_bitcoind_gives_with_it() {
        for (version, status) in [("", 500), (r#""jsonrpc":"2.0","#, 200)] {
            let asks = request(&format!(r#"{{{version}"method":"a","id":9}}"#));
            let mut calls = Calls::of(&asks.body);
            calls.list[0].failure = Some((Failure::Error("no".into()), false));
            assert!(calls.forwarded(&asks).is_none());
            let got = calls.answered(None, &Faults::default()).unwrap().bytes;
            assert!(got.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
            assert_eq!(body(&got)["error"]["message"], "no");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_passed_on(bytes in prop::collection::vec(any::<u8>(), 0..64), json in r#"[\[\]{}":,a-z0-9]{0,40}"#) {
            let _ = Calls::of(&bytes);
            let calls = Calls::of(json.as_bytes());
            let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            let came = message(text);
            prop_assert_eq!(&calls.answered(Some(came), &Faults::default()).unwrap().bytes[..], text.as_bytes());
        }
    }
}
