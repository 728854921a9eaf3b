//! What the steps do that reach programs which are no part of swaprig.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::Value as Json;
use swaprig_harness::http::{self, Answer as HttpAnswer, HttpError, Request};
use swaprig_harness::proxy::FieldValue;
use swaprig_harness::time::{Deadline, Probe, WaitError, poll_until};
use swaprig_harness::world::Program;

use super::{FailureKind, Look, Run, Step, StepFailure};
use crate::lang::{
    Answer, BindingError, Body, Filled, Filling, Reference, Value, on_the_wire, typed,
};
use crate::steps::{EndedProgram, Http, Method, RunProgram};

/// What is left of a step's time for ending what has not ended by itself, and for saying so: a tenth, or less.
const RESERVE: Duration = Duration::from_millis(500);

/// A deadline that leaves the reserve.
fn before(deadline: Deadline) -> Deadline {
    let remaining = deadline.remaining();
    deadline.at_most(remaining.saturating_sub(RESERVE.min(remaining / 10)))
}

/// How many characters of what a program said a message shows.
const SHOWN: usize = 400;

impl Run<'_> {
    /// A text with its names filled in: endpoints of the world, and what steps have bound.
    ///
    /// # Errors
    /// When one of them has no value yet or a daemon does not answer.
    pub async fn fill(&self, text: &Filled) -> Result<String, StepFailure> {
        let mut filled = String::new();
        for part in &text.0 {
            match part {
                Filling::Text(text) => filled.push_str(text),
                Filling::Endpoint(name) => filled.push_str(&self.world.endpoint(name)?),
                Filling::Value(reference) => match self.single(reference).await? {
                    FieldValue::Text(text) => filled.push_str(&text),
                    other => filled.push_str(&other.to_string()),
                },
            }
        }
        Ok(filled)
    }

    /// A value as it is written outside of the language: amounts as plain numbers.
    async fn single(&self, reference: &Reference) -> Result<FieldValue, StepFailure> {
        let absent = || BindingError::Absent {
            reference: reference.clone(),
        };
        let value = self.look(reference).await?.ok_or_else(absent)?;
        let single = || StepFailure::refused(format!("`{reference}` is not a single value"));
        on_the_wire(&value).ok_or_else(single)
    }

    async fn json(&self, body: &Body) -> Result<Json, StepFailure> {
        Ok(match body {
            Body::Text(text) => Json::String(self.fill(text).await?),
            Body::Plain(json) => json.clone(),
            Body::Reference(reference) => match self.single(reference).await? {
                FieldValue::Integer(number) => number.into(),
                FieldValue::Decimal(number) => number.into(),
                FieldValue::Text(text) => text.into(),
                FieldValue::Flag(flag) => flag.into(),
                FieldValue::Json(value) => value,
            },
            Body::Array(items) => {
                let mut array = Vec::new();
                for item in items {
                    array.push(Box::pin(self.json(item)).await?);
                }
                Json::Array(array)
            }
            Body::Object(pairs) => {
                let mut object = serde_json::Map::new();
                for (key, value) in pairs {
                    object.insert(key.clone(), Box::pin(self.json(value)).await?);
                }
                Json::Object(object)
            }
        })
    }
}

impl Look for EndedProgram {}

impl Step for RunProgram {
    async fn run(&self, run: &Run<'_>) -> Result<EndedProgram, StepFailure> {
        let mut words = Vec::new();
        for word in &self.run.0 {
            words.push(OsString::from(run.fill(word).await?));
        }
        let mut env = Vec::new();
        for (name, value) in &self.env.0 {
            env.push((name.clone(), run.fill(value).await?.into()));
        }
        let mut words = words.into_iter();
        let program = Program {
            program: words.next().unwrap_or_default().into(),
            args: words.collect(),
            env,
        };
        let budget = before(run.deadline).remaining();
        let ended = run.world.run(program, before(run.deadline)).await?;
        let command = &ended.command;
        let said = match cut(&ended.stderr) {
            silent if silent.is_empty() => cut(&ended.stdout),
            said => said,
        };
        let why = format!("it said: {said}\noutput: {}", ended.logs);
        let Some(exit) = ended.exit else {
            return Err(StepFailure {
                kind: FailureKind::TimedOut,
                ..StepFailure::refused(format!("`{command}` did not end within {budget:.1?}"))
                    .why(why)
            });
        };
        let status = exit.status.code().and_then(|code| u64::try_from(code).ok());
        if status != Some(self.expect_exit) {
            let title = format!("`{command}` {exit}, not with status {}", self.expect_exit);
            return Err(StepFailure::refused(title).why(why));
        }
        if let Some(wanted) = &self.stdout {
            let wanted = run.fill(wanted).await?;
            if !ended.stdout.contains(&wanted) {
                let title = format!("`{command}` did not print {wanted:?}");
                let printed = cut(&ended.stdout);
                return Err(StepFailure {
                    seen: Some(format!("{printed:?}")),
                    ..StepFailure::refused(title).at("stdout")
                });
            }
        }
        Ok(EndedProgram {
            status: self.expect_exit,
            stdout: ended.stdout.trim_end_matches(['\r', '\n']).to_owned(),
        })
    }
}

/// The end of a text, short enough for a message.
fn cut(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SHOWN);
    let end: String = text.chars().skip(skipped).collect();
    match skipped {
        0 => end,
        _ => format!("…{end}"),
    }
}

/// An answer that is not what was expected: what is wrong with it, and the key that says so.
struct Unexpected {
    what: String,
    seen: String,
    key: &'static str,
}

impl Step for Http {
    async fn run(&self, run: &Run<'_>) -> Result<Answer, StepFailure> {
        let request = Request {
            method: self.http.to_string(),
            url: run.fill(&self.url).await?,
            json: match &self.send {
                Some(body) => Some(run.json(body).await?.to_string()),
                None => None,
            },
        };
        let mut wanted = Vec::new();
        for (path, value) in &self.expect.0 {
            wanted.push((path.to_string(), path, run.json(value).await?));
        }
        let place = format!("{} {}", request.method, request.url);
        let judge = |answer: &HttpAnswer| self.judge(answer, &wanted);
        let answer = match self.http {
            Method::Get => again(&request, &place, run.deadline, judge).await?,
            _ => once(request, &place, run.deadline, judge).await?,
        };
        let taken = self.taken(&answer)?;
        Ok(Answer::new(answer.status, answer.body, taken))
    }
}

impl Http {
    fn judge(
        &self,
        answer: &HttpAnswer,
        wanted: &[(String, &crate::lang::JsonPath, Json)],
    ) -> Result<(), Unexpected> {
        let status = u64::from(answer.status);
        let fits = match self.status {
            Some(wanted) => status == wanted,
            None => (200..300).contains(&status),
        };
        if !fits {
            let what = match self.status {
                Some(wanted) => format!("the status to be {wanted}"),
                None => "a status from 200 to 299".to_owned(),
            };
            return Err(Unexpected {
                what,
                seen: format!("{status} {}", cut(&answer.body)).trim().to_owned(),
                key: if self.status.is_some() {
                    "status"
                } else {
                    "url"
                },
            });
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let whole: Json = serde_json::from_str(&answer.body).map_err(|error| Unexpected {
            what: "JSON".to_owned(),
            seen: format!("{} ({error})", cut(&answer.body)),
            key: "expect",
        })?;
        for (text, path, wanted) in wanted {
            let found = path.find(&whole);
            if !found.is_some_and(|found| same(found, wanted)) {
                return Err(Unexpected {
                    what: format!("{text} to be {wanted}"),
                    seen: match found {
                        Some(found) => cut(&found.to_string()),
                        None => format!("nothing there in {}", cut(&answer.body)),
                    },
                    key: "expect",
                });
            }
        }
        Ok(())
    }

    fn taken(&self, answer: &HttpAnswer) -> Result<Vec<(String, Value)>, StepFailure> {
        if self.take.0.is_empty() {
            return Ok(Vec::new());
        }
        let refused = |title: String| {
            StepFailure {
                seen: Some(cut(&answer.body)),
                ..StepFailure::refused(title)
            }
            .at("take")
        };
        let whole: Json = serde_json::from_str(&answer.body)
            .map_err(|error| refused(format!("the answer is not JSON: {error}")))?;
        let take = self.take.0.iter().map(|(name, ty, path)| {
            let found = path
                .find(&whole)
                .ok_or_else(|| refused(format!("the answer has nothing at {path}")))?;
            let value = typed(found, *ty)
                .ok_or_else(|| refused(format!("{path} is {found}, not {}", ty.a_name())))?;
            Ok((name.clone(), value))
        });
        take.collect()
    }
}

/// Whether two JSON values are the same; 1 and 1.0 are.
fn same(a: &Json, b: &Json) -> bool {
    a == b
        || a.is_number() && b.is_number() && a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())
}

async fn once(
    request: Request,
    place: &str,
    deadline: Deadline,
    judge: impl Fn(&HttpAnswer) -> Result<(), Unexpected>,
) -> Result<HttpAnswer, StepFailure> {
    let answer = http::send(request, before(deadline))
        .await
        .map_err(|error| StepFailure {
            kind: match error {
                HttpError::TimedOut(_) => FailureKind::TimedOut,
                _ => FailureKind::Refused,
            },
            ..StepFailure::refused(format!("{place}: {error}")).at("url")
        })?;
    match judge(&answer) {
        Ok(()) => Ok(answer),
        Err(wrong) => {
            let title = format!(
                "{place} was answered with {}, expected {}",
                wrong.seen, wrong.what
            );
            Err(StepFailure::refused(title).at(wrong.key))
        }
    }
}

/// Asks until the answer is as expected.
async fn again(
    request: &Request,
    place: &str,
    deadline: Deadline,
    judge: impl Fn(&HttpAnswer) -> Result<(), Unexpected>,
) -> Result<HttpAnswer, StepFailure> {
    let last = std::sync::Mutex::new(("an answer".to_owned(), "url"));
    let expect = |what: &str, key: &'static str| {
        let mut last = last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = (what.to_owned(), key);
    };
    let seen = poll_until(place, deadline, || async {
        match http::send(request.clone(), deadline).await {
            Ok(answer) => match judge(&answer) {
                Ok(()) => Probe::Ready(answer),
                Err(wrong) => {
                    expect(&wrong.what, wrong.key);
                    Probe::Pending(wrong.seen)
                }
            },
            Err(error @ HttpError::NotHere { .. }) => {
                Probe::Fatal(StepFailure::refused(error.to_string()).at("url"))
            }
            Err(error) => {
                expect("an answer", "url");
                Probe::Pending(error.to_string())
            }
        }
    });
    match seen.await {
        Ok(answer) => Ok(answer),
        Err(WaitError::Fatal(failure)) => Err(failure),
        Err(WaitError::TimedOut(timeout)) => {
            let (what, key) = last
                .into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let title = format!("{place} did not give {what} within {:.1?}", timeout.waited);
            Err(StepFailure::timed_out(title, &timeout).at(key))
        }
    }
}
