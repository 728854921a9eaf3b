//! From the body of a request to the body of its answer: JSON-RPC 1.0 with the manners of Bitcoin Core 23.

use std::collections::HashMap;

use super::args::Args;
use super::error::{RpcError, RpcResult};
use super::json::{Json, Object, ParseError};
use super::methods::{self, Method};
use super::state::Shared;
use super::wait::Wait;

/// What a batch may answer in all; the members after that get an error. One request cannot fill the memory.
const MAX_BATCH_ANSWER_BYTES: usize = 128 * 1024 * 1024;

/// The answer to one HTTP request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body: one line of JSON.
    pub body: String,
}

/// Where a call came in.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The state that all calls share.
    pub shared: &'a Shared,
    /// The wallet that the path names.
    pub wallet: Option<&'a str>,
    /// The parameters.
    pub args: Args<'a>,
}

/// A request that came in at the path of a wallet, or at `/`, on the way to its answer.
#[derive(Debug)]
pub struct Work {
    wallet: Option<String>,
    request: Result<Json, ParseError>,
    /// The answers to the members of a batch so far.
    body: String,
    /// How many members that are.
    done: usize,
    /// Whether what the next call waits for is over.
    waited: bool,
}

/// How far a request got.
#[derive(Debug)]
pub enum Step {
    /// To its answer.
    Done(Answer),
    /// To a call that has to wait; the next step is to be made when that is over.
    Wait(Wait),
}

/// What came of one call.
enum Outcome {
    Done(RpcResult),
    Wait(Wait),
}

impl Work {
    /// Reads a request.
    pub fn new(wallet: Option<String>, body: &[u8]) -> Self {
        Work {
            wallet,
            request: Json::parse(body),
            body: "[".to_owned(),
            done: 0,
            waited: false,
        }
    }

    /// Goes on with it. Blocks while the node works, but waits for nothing else.
    pub fn step(&mut self, shared: &Shared) -> Step {
        let waited = std::mem::take(&mut self.waited);
        let wallet = self.wallet.as_deref();
        let outcome = match &self.request {
            Err(error) => failed(&RpcError::parse(error.to_string()), &Json::Null),
            Ok(request @ Json::Obj(_)) => {
                let id = request.get("id");
                match execute(shared, wallet, request, waited) {
                    Outcome::Done(Ok(result)) => Answer {
                        status: 200,
                        body: reply(result, None, id).write() + "\n",
                    },
                    Outcome::Done(Err(error)) => failed(&error, id),
                    Outcome::Wait(wait) => return self.wait(wait),
                }
            }
            Ok(Json::Arr(_)) => return self.batch(shared, waited),
            Ok(_) => failed(
                &RpcError::parse("Top-level object parse error"),
                &Json::Null,
            ),
        };
        Step::Done(outcome)
    }

    fn wait(&mut self, wait: Wait) -> Step {
        self.waited = true;
        Step::Wait(wait)
    }

    fn batch(&mut self, shared: &Shared, mut waited: bool) -> Step {
        let members = self.request.as_ref().ok().and_then(Json::as_arr);
        for member in members.into_iter().flatten().skip(self.done) {
            let result = if self.body.len() > MAX_BATCH_ANSWER_BYTES {
                Err(RpcError::internal(
                    "The answer to the batch is too large; send smaller batches",
                ))
            } else {
                match execute(shared, self.wallet.as_deref(), member, waited) {
                    Outcome::Done(result) => result,
                    Outcome::Wait(wait) => return self.wait(wait),
                }
            };
            waited = false;
            let answer = match result {
                Ok(result) => reply(result, None, member.get("id")),
                Err(error) => reply(Json::Null, Some(&error), member.get("id")),
            };
            if self.done > 0 {
                self.body.push(',');
            }
            self.done += 1;
            answer.write_to(&mut self.body);
        }
        Step::Done(Answer {
            status: 200,
            body: std::mem::take(&mut self.body) + "]\n",
        })
    }
}

/// Answers a request at once, as though all that its calls wait for were over. Blocks while the node works.
pub fn answer(shared: &Shared, wallet: Option<&str>, body: &[u8]) -> Answer {
    let mut work = Work::new(wallet.map(str::to_owned), body);
    loop {
        if let Step::Done(answer) = work.step(shared) {
            return answer;
        }
    }
}

fn reply(result: Json, error: Option<&RpcError>, id: &Json) -> Json {
    let mut out = Object::new();
    out.put("result", result);
    out.put("error", error.map_or(Json::Null, RpcError::to_json));
    out.put("id", id.clone());
    out.into()
}

fn failed(error: &RpcError, id: &Json) -> Answer {
    let status = match error.code {
        -32600 => 400,
        -32601 => 404,
        _ => 500,
    };
    Answer {
        status,
        body: reply(Json::Null, Some(error), id).write() + "\n",
    }
}

/// Runs one call; with `waited`, one that has waited already.
fn execute(shared: &Shared, wallet: Option<&str>, request: &Json, waited: bool) -> Outcome {
    run(shared, wallet, request, waited).unwrap_or_else(|error| Outcome::Done(Err(error)))
}

fn run(shared: &Shared, wallet: Option<&str>, request: &Json, waited: bool) -> RpcResult<Outcome> {
    if !matches!(request, Json::Obj(_)) {
        return Err(RpcError::invalid_request("Invalid Request object"));
    }
    let name = match request.get("method") {
        Json::Null => return Err(RpcError::invalid_request("Missing method")),
        Json::Str(name) => name,
        _ => return Err(RpcError::invalid_request("Method must be a string")),
    };
    let params = request.get("params");
    if !matches!(params, Json::Null | Json::Arr(_) | Json::Obj(_)) {
        return Err(RpcError::invalid_request(
            "Params must be an array or object",
        ));
    }
    let method =
        methods::find(name).ok_or_else(|| RpcError::method_not_found("Method not found"))?;
    let by_name;
    let args = match params {
        Json::Arr(items) => items.as_slice(),
        Json::Obj(entries) => {
            by_name = positions(method, entries)?;
            &by_name
        }
        _ => &[],
    };
    if args.len() < method.required || args.len() > method.params.len() {
        return Err(RpcError::misc(method.usage()));
    }
    let call = Call {
        shared,
        wallet,
        args: Args(args),
    };
    if !waited {
        log::debug!("{name}");
        if let Some(wait) = Wait::before(name, call)? {
            return Ok(Outcome::Wait(wait));
        }
    }
    Ok(Outcome::Done((method.run)(call)))
}

/// Named parameters by position.
fn positions(method: &Method, entries: &[(String, Json)]) -> RpcResult<Vec<Json>> {
    // Of a name that comes twice, the last counts.
    let mut given: HashMap<&str, &Json> = entries
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    let mut args = Vec::new();
    for (at, names) in method.params.iter().enumerate() {
        if let Some(value) = names.split('|').find_map(|name| given.remove(name)) {
            args.resize(at, Json::Null);
            args.push(value.clone());
        }
    }
    // Elementsd names any of the unknown ones; this names the first that was sent.
    match entries
        .iter()
        .find(|(name, _)| given.contains_key(name.as_str()))
    {
        Some((name, _)) => Err(RpcError::invalid_parameter(format!(
            "Unknown named parameter {name}"
        ))),
        None => Ok(args),
    }
}
