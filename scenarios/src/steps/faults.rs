//! Steps that make a link go wrong, and right again. They need a proxy there: `proxies` of the world.

use std::time::Duration;

use prost_reflect::DescriptorPool;
use swaprig_harness::proxy::{
    Code, Failure, FaultError, Kind, TamperError, check_call, check_method, check_tamper,
    ldk_server_descriptors,
};

use crate::entities::Fault;
use crate::lang::{Lie, LinkMethod, OnProxy, StepCx, all_of, nearest, one_of_quoted};
use crate::{step, words};

words! {
    /// A direction of a link.
    pub enum Direction("direction") {
        /// From the one who calls, and to it.
        Both = "both",
        /// From the one who calls: what it sends, its requests.
        There = "there",
        /// To the one who calls: what it hears, the answers.
        Back = "back",
    }
}

words! {
    /// How a call fails.
    pub enum With("way to fail") {
        /// The connection closes, or the call is reset, without an answer.
        Closed = "closed",
        /// A JSON-RPC error.
        Error = "error",
        /// HTTP status 500 without a body.
        Http500 = "http_500",
        /// HTTP status 503 without a body.
        Http503 = "http_503",
        /// gRPC status 1.
        Cancelled = "cancelled",
        /// gRPC status 2.
        Unknown = "unknown",
        /// gRPC status 3.
        InvalidArgument = "invalid_argument",
        /// gRPC status 4.
        DeadlineExceeded = "deadline_exceeded",
        /// gRPC status 5.
        NotFound = "not_found",
        /// gRPC status 6.
        AlreadyExists = "already_exists",
        /// gRPC status 7.
        PermissionDenied = "permission_denied",
        /// gRPC status 8.
        ResourceExhausted = "resource_exhausted",
        /// gRPC status 9.
        FailedPrecondition = "failed_precondition",
        /// gRPC status 10.
        Aborted = "aborted",
        /// gRPC status 13.
        Internal = "internal",
        /// gRPC status 14.
        Unavailable = "unavailable",
        /// gRPC status 16.
        Unauthenticated = "unauthenticated",
    }
}

impl With {
    fn code(self) -> Option<Code> {
        Some(match self {
            With::Closed | With::Error | With::Http500 | With::Http503 => return None,
            With::Cancelled => Code::Cancelled,
            With::Unknown => Code::Unknown,
            With::InvalidArgument => Code::InvalidArgument,
            With::DeadlineExceeded => Code::DeadlineExceeded,
            With::NotFound => Code::NotFound,
            With::AlreadyExists => Code::AlreadyExists,
            With::PermissionDenied => Code::PermissionDenied,
            With::ResourceExhausted => Code::ResourceExhausted,
            With::FailedPrecondition => Code::FailedPrecondition,
            With::Aborted => Code::Aborted,
            With::Internal => Code::Internal,
            With::Unavailable => Code::Unavailable,
            With::Unauthenticated => Code::Unauthenticated,
        })
    }

    fn fits(self, kind: Kind) -> bool {
        match self {
            With::Closed => kind != Kind::Tcp,
            With::Error => matches!(kind, Kind::JsonRpc | Kind::Electrum),
            With::Http500 | With::Http503 => matches!(kind, Kind::JsonRpc | Kind::Http),
            _ => kind == Kind::Grpc,
        }
    }

    /// What a call of that kind usually fails with.
    fn usual(kind: Kind) -> Self {
        match kind {
            Kind::Grpc => With::Unavailable,
            Kind::JsonRpc | Kind::Electrum => With::Error,
            Kind::Http => With::Http503,
            Kind::Tcp => With::Closed,
        }
    }

    fn failure(self, message: &str) -> Failure {
        match self {
            With::Closed => Failure::Closed,
            With::Http500 => Failure::Http(500),
            With::Http503 => Failure::Http(503),
            other => match other.code() {
                Some(code) => Failure::Status(code, message.to_owned()),
                None => Failure::Error(message.to_owned()),
            },
        }
    }
}

step! {
    /// Cuts a link until `heal`: nothing passes either way. Between Lightning peers a link is the connections that the
    /// first of the two opens, with `open_channel`, `connect` or by itself. Nothing is lost for good: what is sent is held, as a
    /// network would send it again, and connections stay open; a new one is accepted and hears nothing.
    pub struct Partition("partition") -> () {
        /// Which link.
        partition: OnProxy,
    } optional {}
}

step! {
    /// Ends every fault of a link. What was held passes, in its order.
    pub struct Heal("heal") -> () {
        /// Which link.
        heal: OnProxy,
    } optional {}
}

step! {
    /// Closes every connection that is open on a link. New ones are welcome.
    pub struct DropConnections("drop") -> () {
        /// Which link.
        drop: OnProxy,
    } optional {}
}

step! {
    /// Makes what passes over a link late, in its order, until `heal`.
    pub struct Delay("delay") -> Fault {
        /// Which link.
        delay: OnProxy,
        /// How late.
        by: Duration,
    } optional {
        /// Which direction.
        way: Direction = Direction::Both,
        /// Which method alone, such as `getblockchaininfo`, `GetNodeInfo` or `POST /swaps`; not between Lightning peers.
        rpc: Option<String> = None,
        /// How many calls; left out, all of them. Between Lightning peers: how many pieces of what they send.
        next: Option<u64> = None,
    }
    check delays_something;
}

step! {
    /// Holds the answers on a link until `thaw` or `heal`. The requests arrive, and are carried out.
    pub struct Freeze("freeze") -> Fault {
        /// Which link.
        freeze: OnProxy,
    } optional {
        /// Which method alone; not between Lightning peers.
        rpc: Option<String> = None,
    }
    check freezes_something;
}

step! {
    /// Ends what `freeze` began. The answers that were held pass.
    pub struct Thaw("thaw") -> () {
        /// Which link.
        thaw: OnProxy,
    } optional {
        /// The method that was frozen alone; left out, everything thaws.
        rpc: Option<String> = None,
    }
    check thaws_something;
}

step! {
    /// Makes calls over a link fail.
    pub struct Fail("fail") -> Fault {
        /// Which link; one with calls, so not between Lightning peers.
        fail: OnProxy,
        /// How many calls.
        next: u64,
    } optional {
        /// Of which method; left out, of any.
        rpc: Option<String> = None,
        /// How; left out, `error` before bitcoind, `unavailable` before what speaks gRPC, and `http_503` before what speaks HTTP.
        with: Option<With> = None,
        /// The text of the error.
        message: String = "failed by a fault of the scenario".to_owned(),
        /// Whether the call is carried out first, so that only its answer is lost.
        carried_out: bool = false,
    }
    check fails_something;
}

step! {
    /// Makes answers lie: a field of them has another value. An answer without that field passes as it is.
    pub struct Tamper("tamper") -> Fault {
        /// Which link; one with calls, so not between Lightning peers.
        tamper: OnProxy,
        /// To which method. Over HTTP it is method and path, without a query; a segment `*` stands for any one: `GET /swaps/*`.
        rpc: LinkMethod,
        /// What it says instead.
        value: Lie,
    } optional {
        /// Which field: `blocks`, `0.height`, `current_best_block.height`; left out, the whole result, before bitcoind, or the whole
        /// body, before what speaks HTTP.
        field: Option<String> = None,
        /// Whether JSON that has no such field gets it; a gRPC message has all its fields anyway.
        add: bool = false,
        /// How many answers; left out, all until `heal`.
        next: Option<u64> = None,
    }
    check tells_something;
}

impl Fail {
    /// What a call ends with.
    pub fn failure(&self) -> Failure {
        let with = self.with.unwrap_or_else(|| With::usual(self.fail.kind()));
        with.failure(&self.message)
    }
}

fn delays_something(step: &Delay, cx: &mut StepCx<'_>) -> bool {
    has_method(&step.delay, step.rpc.as_deref(), cx) & is_some_calls(step.next, cx)
}

fn freezes_something(step: &Freeze, cx: &mut StepCx<'_>) -> bool {
    has_method(&step.freeze, step.rpc.as_deref(), cx)
}

fn thaws_something(step: &Thaw, cx: &mut StepCx<'_>) -> bool {
    has_method(&step.thaw, step.rpc.as_deref(), cx)
}

fn fails_something(step: &Fail, cx: &mut StepCx<'_>) -> bool {
    if !has_calls(&step.fail, cx) {
        return false;
    }
    let kind = step.fail.kind();
    let sound =
        has_method(&step.fail, step.rpc.as_deref(), cx) & is_some_calls(Some(step.next), cx);
    let Some(with) = step.with.filter(|with| !with.fits(kind)) else {
        return sound;
    };
    let span = cx.value_span("with");
    let link = cx.value_span(cx.step());
    let fitting = With::WORDS.list().filter_map(With::from_word);
    let fitting: Vec<&str> = fitting
        .filter(|with| with.fits(kind))
        .map(With::as_str)
        .collect();
    let title = format!(
        "no call of {} can fail with \"{with}\": it speaks {}",
        step.fail,
        kind.name()
    );
    cx.problem(span, title)
        .label("of another protocol")
        .also(link, kind.name())
        .help(format!("write {}", one_of_quoted(fitting)));
    false
}

fn tells_something(step: &Tamper, cx: &mut StepCx<'_>) -> bool {
    if !has_calls(&step.tamper, cx) {
        return false;
    }
    let sound = has_method(&step.tamper, Some(&step.rpc.0), cx)
        & is_some_calls(step.next, cx)
        & adds_something(step, cx);
    if !sound || step.tamper.kind() != Kind::Grpc {
        return sound;
    }
    let Lie::Value(value) = &step.value else {
        return true;
    };
    let checked = check_tamper(
        api(&step.tamper, cx),
        &step.rpc.0,
        step.field.as_deref(),
        value,
    );
    let Err(error) = checked else { return true };
    let (key, help) = match &error {
        FaultError::Tamper(TamperError::NoField { field, known, .. }) => {
            let known = || known.iter().map(String::as_str);
            let help = match nearest(field, known()) {
                Some(meant) => format!("did you mean `{meant}`? it has {}", all_of(known())),
                None => format!("it has {}", all_of(known())),
            };
            ("field", help)
        }
        FaultError::Tamper(TamperError::WrongValue { is, .. }) => ("value", format!("write {is}")),
        FaultError::NoField => (
            "rpc",
            "add field = \"…\" with the name of the field".to_owned(),
        ),
        _ => (
            "field",
            "write the path to a single value, such as \"current_best_block.height\" or \
             \"channels.0.is_usable\""
                .to_owned(),
        ),
    };
    let span = cx.value_span(key);
    cx.problem(span, error.to_string())
        .label(format!("in the answer of {}", step.rpc.0))
        .help(help);
    false
}

/// What is added to an answer needs a name.
fn adds_something(step: &Tamper, cx: &mut StepCx<'_>) -> bool {
    if !step.add || step.field.is_some() {
        return true;
    }
    let span = cx.value_span("add");
    cx.problem(
        span,
        "`add` without `field`: the whole of an answer is always there",
    )
    .label("what is added?")
    .help("add field = \"…\" with the name of the field, or leave `add` out");
    false
}

/// The API that is spoken on a link of gRPC.
fn api<'c>(on: &OnProxy, cx: &StepCx<'c>) -> &'c DescriptorPool {
    let server = cx.server(on.link.to.name());
    let own = server.and_then(|server| server.api.as_ref());
    own.unwrap_or_else(|| ldk_server_descriptors())
}

/// What a link without calls carries, and what to do where calls are wanted on it.
fn bytes(on: &OnProxy, cx: &StepCx<'_>) -> (String, &'static str) {
    const INSTEAD: &str = "use `partition`, `drop`, `delay` or `freeze` here";
    match cx.server(on.link.to.name()) {
        None => (
            "encrypted bytes between Lightning peers".to_owned(),
            INSTEAD,
        ),
        Some(server) if server.tls.is_some() => (
            format!("the bytes that `{}` encrypts", server.name),
            INSTEAD,
        ),
        Some(server) => (
            format!(
                "plain bytes: `{}` has no `proto` and no `ready` over HTTP",
                server.name
            ),
            "use `partition`, `drop`, `delay` or `freeze` here, or give a server that speaks gRPC its proto = [\"….proto\"], and one \
             that speaks HTTP ready = { http = \"/…\" }",
        ),
    }
}

/// Refuses calls on a link on which nobody can tell them.
fn has_calls(on: &OnProxy, cx: &mut StepCx<'_>) -> bool {
    if on.kind() != Kind::Tcp {
        return true;
    }
    let span = cx.value_span(cx.step());
    let title = format!("`{}` needs calls, and {on} has none", cx.step());
    let (label, help) = bytes(on, cx);
    cx.problem(span, title).label(label).help(help);
    false
}

/// Refuses a method where there is none, or none of that name.
fn has_method(on: &OnProxy, rpc: Option<&str>, cx: &mut StepCx<'_>) -> bool {
    let Some(rpc) = rpc else { return true };
    let span = cx.value_span("rpc");
    let link = cx.value_span(cx.step());
    match on.kind() {
        Kind::JsonRpc | Kind::Electrum => true,
        Kind::Http => {
            let Err(error) = check_call(rpc) else {
                return true;
            };
            let method = rpc.split(' ').next().unwrap_or_default().to_uppercase();
            let path = rpc.trim_start_matches(|c: char| c != '/');
            let meant = format!("{method} {}", path.split('?').next().unwrap_or_default());
            let help = match check_call(&meant) {
                Ok(()) => format!("did you mean \"{meant}\"?"),
                Err(_) => {
                    "write method and path, such as \"POST /swaps\" or \"GET /swaps/*\"".to_owned()
                }
            };
            cx.problem(span, error.to_string())
                .label("no call")
                .also(link, Kind::Http.name())
                .help(help);
            false
        }
        Kind::Tcp => {
            let title = format!("`rpc` beside {on}, which has no methods");
            let (carries, _) = bytes(on, cx);
            cx.problem(span, title)
                .label("too much")
                .also(link, carries)
                .help("leave `rpc` out");
            false
        }
        Kind::Grpc => {
            let Err(error) = check_method(api(on, cx), rpc) else {
                return true;
            };
            let whose = match cx.server(on.link.to.name()) {
                Some(server) => format!("the server `{}`", server.name),
                None => "a Lightning node".to_owned(),
            };
            let help = match &error {
                TamperError::NoMethod { known, .. } => {
                    let small: Vec<String> = known.iter().map(|name| name.to_lowercase()).collect();
                    let meant = nearest(rpc, small.iter().map(String::as_str));
                    let meant = known
                        .iter()
                        .find(|name| Some(name.to_lowercase().as_str()) == meant);
                    match meant {
                        Some(meant) => format!("did you mean \"{meant}\"?"),
                        None => {
                            format!("{whose} has {}", all_of(known.iter().map(String::as_str)))
                        }
                    }
                }
                _ => String::new(),
            };
            cx.problem(span, error.to_string())
                .label(format!("unknown to {whose}"))
                .help(help);
            false
        }
    }
}

fn is_some_calls(next: Option<u64>, cx: &mut StepCx<'_>) -> bool {
    if next != Some(0) {
        return true;
    }
    let span = cx.value_span("next");
    cx.problem(span, format!("`{}` of no calls", cx.step()))
        .label("none")
        .help("write how many of the next calls, such as 1");
    false
}
