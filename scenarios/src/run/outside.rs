//! What the steps do that reach programs which are no part of swaprig.

use std::ffi::OsString;

use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::Value as Json;
use swaprig_harness::grpc::{self, CallError, Misfit, ReflectionError, Target};
use swaprig_harness::http::{self, Answer as HttpAnswer, HttpError, Request};
use swaprig_harness::proxy::FieldValue;
use swaprig_harness::server::Server;
use swaprig_harness::time::Deadline;
use swaprig_harness::world::Program;

use super::answers::{Ask, Unanswered, Unexpected, Wanted, before, cut, judge_json, taken};
use super::calls::Calls;
use super::{FailureKind, Look, Run, Step, StepFailure};
use crate::lang::{
    Answer, BindingError, Body, Expected, Filled, Filling, Reference, Reply, all_of, nearest,
    on_the_wire, shape, typed,
};
use crate::steps::{EndedProgram, Grpc, Http, Method, RunProgram};

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

    /// What must be where in an answer.
    async fn wanted<'e>(&self, expect: &'e Expected) -> Result<Vec<Wanted<'e>>, StepFailure> {
        let mut wanted = Vec::new();
        for (path, value) in &expect.0 {
            wanted.push((path, self.json(value).await?));
        }
        Ok(wanted)
    }

    /// Where calls to the server at a URL are recorded, and its path.
    fn http_calls<'u>(&self, url: &'u str) -> (Calls, &'u str) {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_there = |server: &&Server| {
            [server.address(), server.admin_address()]
                .iter()
                .any(|own| own == address)
        };
        let server = self.world.servers().iter().find(is_there);
        let to = server.map_or(address, |server| server.name());
        (
            Calls::to(self.world, to),
            if path.is_empty() { "/" } else { path },
        )
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
        let wanted = run.wanted(&self.expect).await?;
        let (calls, path) = run.http_calls(&request.url);
        let ask = Ask {
            calls,
            method: format!("{} {path}", request.method),
            request: request.json.clone().unwrap_or_default(),
            place: format!("{} {}", request.method, request.url),
            key: "url",
            deadline: run.deadline,
        };
        let send = |deadline| {
            let request = request.clone();
            async move {
                http::send(request, deadline)
                    .await
                    .map_err(|error| match error {
                        HttpError::TimedOut(_) => Unanswered::Late(error.to_string()),
                        HttpError::NotHere { .. } => Unanswered::Never(error.to_string()),
                        HttpError::Failed(_) => Unanswered::Not(error.to_string()),
                    })
            }
        };
        let text = |answer: &HttpAnswer| format!("{} {}", answer.status, answer.body);
        let judge = |answer: &HttpAnswer| {
            self.judge(answer)?;
            if wanted.is_empty() {
                return Ok(());
            }
            let whole = serde_json::from_str(&answer.body).map_err(|error| Unexpected {
                what: "JSON".to_owned(),
                seen: format!("{} ({error})", cut(&answer.body)),
                key: "expect",
            })?;
            judge_json(&whole, &answer.body, &wanted)
        };
        let answer = match self.http {
            Method::Get => ask.again(send, text, judge).await?,
            _ => ask.once(send, text, judge).await?,
        };
        let taken = match self.take.0.is_empty() {
            true => Vec::new(),
            false => {
                let whole = serde_json::from_str(&answer.body).map_err(|error| {
                    StepFailure {
                        seen: Some(cut(&answer.body)),
                        ..StepFailure::refused(format!("the answer is not JSON: {error}"))
                    }
                    .at("take")
                })?;
                taken(&self.take, &whole, &answer.body)?
            }
        };
        Ok(Answer::new(answer.status, answer.body, taken))
    }
}

impl Http {
    fn judge(&self, answer: &HttpAnswer) -> Result<(), Unexpected> {
        let status = u64::from(answer.status);
        let (fits, what, key) = match self.status {
            Some(wanted) => (
                status == wanted,
                format!("the status to be {wanted}"),
                "status",
            ),
            None => (
                (200..300).contains(&status),
                "a status from 200 to 299".to_owned(),
                "url",
            ),
        };
        match fits {
            true => Ok(()),
            false => Err(Unexpected {
                what,
                seen: format!("{status} {}", cut(&answer.body)).trim().to_owned(),
                key,
            }),
        }
    }
}

impl Step for Grpc {
    async fn run(&self, run: &Run<'_>) -> Result<Reply, StepFailure> {
        let mut target = run.world.grpc_target(&self.grpc.0)?;
        if self.admin {
            target.address = run.world.server(&self.grpc.0)?.admin_address();
        }
        let known = run.world.server(&self.grpc.0)?.api();
        let method = match known {
            Some(api) => method_of(api, &self.rpc.0)?,
            None => self.reflected(&target, before(run.deadline)).await?,
        };
        let send = match &self.send {
            Some(body) => run.json(body).await?,
            None => Json::Object(serde_json::Map::new()),
        };
        let message = grpc::encode(&method.input(), &send)
            .map_err(|misfit| misfit_failure(&misfit).at("send"))?;
        let wanted = run.wanted(&self.expect).await?;
        let ask = Ask {
            calls: Calls::to(run.world, &self.grpc.0),
            method: grpc::method_path(&method),
            request: send.to_string(),
            place: format!("{} of {}", grpc::method_path(&method), self.grpc),
            key: "rpc",
            deadline: run.deadline,
        };
        let call = |deadline| {
            let (target, method, message) = (&target, &method, &message);
            async move {
                grpc::call(target, method, message, deadline)
                    .await
                    .map(|reply| grpc::to_json(&reply))
                    .map_err(|error| match error {
                        CallError::TimedOut(_) => Unanswered::Late(error.to_string()),
                        CallError::Status(_) => Unanswered::Said(error.to_string()),
                        CallError::Failed(_) => Unanswered::Not(error.to_string()),
                    })
            }
        };
        let judge = |reply: &Json| judge_json(reply, &reply.to_string(), &wanted);
        let reply = match self.again {
            true => ask.again(call, Json::to_string, judge).await?,
            false => ask.once(call, Json::to_string, judge).await?,
        };
        let text = reply.to_string();
        let taken = taken(&self.take, &reply, &text)?;
        let shape = shape(&method.output());
        let own = shape.iter().filter_map(|(name, ty)| {
            let value = typed(reply.get(name)?, *ty)?;
            Some((name.clone(), value))
        });
        let own: Vec<_> = own.collect();
        Ok(Reply(Answer::reply(text, shape, own, taken)))
    }
}

impl Grpc {
    /// The method as the server itself tells of it.
    async fn reflected(
        &self,
        target: &Target,
        deadline: Deadline,
    ) -> Result<MethodDescriptor, StepFailure> {
        let name = self.rpc.0.trim_start_matches('/');
        let service = name.split('/').next().unwrap_or_default();
        let failure = |error: ReflectionError| {
            let help = match &error {
                ReflectionError::None => "give the server proto = [\"….proto\"]".to_owned(),
                ReflectionError::NoService { known, .. } => {
                    let known = || known.iter().map(String::as_str);
                    match nearest(service, known()) {
                        Some(meant) => format!("did you mean \"{meant}\"?"),
                        None => format!("it has {}", all_of(known())),
                    }
                }
                ReflectionError::Unusable(_) | ReflectionError::Call(_) => String::new(),
            };
            let late = matches!(error, ReflectionError::Call(CallError::TimedOut(_)));
            let mut failure = StepFailure::refused(format!("{}: {error}", self.grpc)).at("rpc");
            failure.why = (!help.is_empty()).then_some(help);
            if late {
                failure.kind = FailureKind::TimedOut;
            }
            failure
        };
        let api = grpc::reflect(target, service, deadline)
            .await
            .map_err(failure)?;
        method_of(&api, &self.rpc.0)
    }
}

/// The method of an API; that of a checked file has it.
fn method_of(api: &DescriptorPool, rpc: &str) -> Result<MethodDescriptor, StepFailure> {
    grpc::method(api, rpc).map_err(|error| {
        let failure = StepFailure::refused(error.to_string()).at("rpc");
        let paths: Vec<String> = grpc::methods(api).iter().map(grpc::method_path).collect();
        let known = || paths.iter().map(String::as_str);
        failure.why(match nearest(rpc, known()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("it has {}", all_of(known())),
        })
    })
}

fn misfit_failure(misfit: &Misfit) -> StepFailure {
    let failure = StepFailure::refused(misfit.to_string());
    let Misfit::NoField { field, known, .. } = misfit else {
        return failure;
    };
    let known = || known.iter().map(String::as_str);
    failure.why(match nearest(field, known()) {
        Some(meant) => format!("did you mean `{meant}`? it has {}", all_of(known())),
        None => format!("it has {}", all_of(known())),
    })
}
