//! From the body of a request to the body of its answer: JSON-RPC 1.0 with the manners of Bitcoin Core 23.

use std::collections::HashMap;

use super::args::Args;
use super::error::{RpcError, RpcResult};
use super::json::{Json, Object};
use super::methods::{self, Method};
use super::state::Shared;

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

/// Answers a request that came in at the path of a wallet, or at `/`. Blocks while the node works.
pub fn answer(shared: &Shared, wallet: Option<&str>, body: &[u8]) -> Answer {
    let request = match Json::parse(body) {
        Ok(request) => request,
        Err(error) => return failed(&RpcError::parse(error.to_string()), &Json::Null),
    };
    match &request {
        Json::Obj(_) => {
            let id = request.get("id");
            match execute(shared, wallet, &request) {
                Ok(result) => Answer {
                    status: 200,
                    body: reply(result, None, id).write() + "\n",
                },
                Err(error) => failed(&error, id),
            }
        }
        Json::Arr(members) => Answer {
            status: 200,
            body: batch(shared, wallet, members),
        },
        _ => failed(
            &RpcError::parse("Top-level object parse error"),
            &Json::Null,
        ),
    }
}

fn batch(shared: &Shared, wallet: Option<&str>, members: &[Json]) -> String {
    let mut body = "[".to_owned();
    for (index, member) in members.iter().enumerate() {
        let result = if body.len() > MAX_BATCH_ANSWER_BYTES {
            Err(RpcError::internal(
                "The answer to the batch is too large; send smaller batches",
            ))
        } else {
            execute(shared, wallet, member)
        };
        let answer = match result {
            Ok(result) => reply(result, None, member.get("id")),
            Err(error) => reply(Json::Null, Some(&error), member.get("id")),
        };
        if index > 0 {
            body.push(',');
        }
        body.push_str(&answer.write());
    }
    body + "]\n"
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

fn execute(shared: &Shared, wallet: Option<&str>, request: &Json) -> RpcResult {
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
    log::debug!("{name}");
    (method.run)(Call {
        shared,
        wallet,
        args: Args(args),
    })
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
