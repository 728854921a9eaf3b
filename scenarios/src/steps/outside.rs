//! Steps that reach programs which are no part of swaprig: `run`, `http` and `grpc`.

use std::time::Duration;

use crate::lang::{
    Answer, Argv, Body, Env, Expected, Filled, GrpcMethod, Reply, ServerName, StepCx, Taken,
    check_call,
};
use crate::{entity, step, words};

words! {
    /// The method of an HTTP request.
    pub enum Method("method of HTTP") {
        /// Reads; it is asked again until the answer is as expected.
        Get = "GET",
        /// Sends; once.
        Post = "POST",
        /// Replaces; once.
        Put = "PUT",
        /// Changes; once.
        Patch = "PATCH",
        /// Deletes; once.
        Delete = "DELETE",
    }
}

entity! {
    /// A program that has ended.
    pub struct EndedProgram("ended program") {
        known {
            /// Its exit status.
            status: u64,
            /// What it printed on standard output, without the line end at its end.
            stdout: String,
        }
        late {}
        live {}
        private {}
    }
}

step! {
    /// Runs a program to its end in the run directory. A program that is named by a path is found from the
    /// directory of the file, which is also `{here}`.
    pub struct RunProgram("run") -> EndedProgram {
        /// The program and its arguments, in which `{alice.grpc}` and the like are filled in.
        run: Argv,
    } optional {
        /// Variables of its environment.
        env: Env = Env::default(),
        /// The exit status that it must end with.
        expect_exit: u64 = 0,
        /// What its standard output must contain.
        stdout: Option<Filled> = None,
    }
    within Duration::from_secs(30);
    check can_exit;
}

fn can_exit(step: &RunProgram, cx: &mut StepCx<'_>) -> bool {
    if step.expect_exit <= 255 {
        return true;
    }
    let span = cx.value_span("expect_exit");
    cx.problem(
        span,
        format!("no program exits with status {}", step.expect_exit),
    )
    .label("too large")
    .help("write a number from 0 to 255");
    false
}

step! {
    /// Sends one HTTP request to a server on this machine. A `GET` is sent again until the answer is as expected;
    /// every other method is sent once.
    pub struct Http("http") -> Answer {
        /// The method.
        http: Method,
        /// Where to; `http://` may be left out.
        url: Filled,
    } optional {
        /// What to send, as JSON.
        send: Option<Body> = None,
        /// The status that must come back; without it any from 200 to 299.
        status: Option<u64> = None,
        /// What must be where in the answer, which is then JSON.
        expect: Expected = Expected::default(),
        /// What to keep of the answer under the name that `as` gives: `$name.id`.
        take: Taken = Taken::default(),
    }
    within Duration::from_secs(10);
    output Answer::kind_of;
    keys takes_for_a_name;
    check can_be_sent;
}

step! {
    /// Calls a server over gRPC: one request, one reply. What is sent and expected is checked against the server's `proto`
    /// before anything starts, or, where it has none, against what the server itself tells (reflection) when the step runs.
    /// Bytes are written as hexadecimal digits, enum values by their names. With `proto`, the fields of the reply that are
    /// single values can be read as they are: `$name.id`.
    pub struct Grpc("grpc") -> Reply {
        /// The server.
        grpc: ServerName,
        /// The method: `maker.v1.Maker/Open`, or `Open` where only one service has it.
        rpc: GrpcMethod,
    } optional {
        /// What to send: the fields of the request; left out, all have their defaults.
        send: Option<Body> = None,
        /// What must be where in the reply.
        expect: Expected = Expected::default(),
        /// What to keep of the reply under the name that `as` gives, with another type or from deeper in it.
        take: Taken = Taken::default(),
        /// Whether to call again until the reply is as expected; otherwise it is called once.
        again: bool = false,
        /// Whether to call at the server's second address, `{admin}`, instead of at `{listen}`.
        admin: bool = false,
    }
    within Duration::from_secs(10);
    output Answer::kind_of_reply;
    keys takes_for_a_name;
    check can_be_called;
}

fn can_be_called(step: &Grpc, cx: &mut StepCx<'_>) -> bool {
    let server = cx.server(&step.grpc.0);
    match server.and_then(|server| server.api.as_ref()) {
        Some(api) => check_call(api, &step.rpc.0, cx),
        None => is_whole_method(&step.rpc.0, cx),
    }
}

/// Without `proto` only the server can tell its services, and it is asked for one by its name.
fn is_whole_method(rpc: &str, cx: &mut StepCx<'_>) -> bool {
    let parts = rpc.trim_start_matches('/').split_once('/');
    if parts.is_some_and(|(service, method)| !service.is_empty() && !method.is_empty()) {
        return true;
    }
    let span = cx.value_span("rpc");
    cx.problem(
        span,
        format!("`{rpc}` does not name a service and its method"),
    )
    .label("the server has no `proto` in which to look")
    .help("write both: \"maker.v1.Maker/Open\"; or give the server proto = [\"maker.proto\"]");
    false
}

fn takes_for_a_name(cx: &mut StepCx<'_>) -> bool {
    if !cx.has("take") || cx.has("as") {
        return true;
    }
    let span = cx.key_span("take");
    cx.problem(span, "`take` without `as`: nothing can read what is taken")
        .label("under which name?")
        .help("add as = \"answer\", and read \"$answer.id\"");
    false
}

fn can_be_sent(step: &Http, cx: &mut StepCx<'_>) -> bool {
    if step.http == Method::Get && step.send.is_some() {
        let span = cx.key_span("send");
        cx.problem(span, "a `GET` sends nothing")
            .label("not sent")
            .help("write http = \"POST\", or put it into the address: \"…?id={order.id}\"");
        return false;
    }
    let Some(status) = step.status.filter(|status| !(100..600).contains(status)) else {
        return true;
    };
    let span = cx.value_span("status");
    cx.problem(span, format!("{status} is no status of HTTP"))
        .label("from 100 to 599")
        .help("write one such as 200 or 404");
    false
}
