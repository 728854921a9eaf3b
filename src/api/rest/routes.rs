//! Every route of the REST API: its address, what it does, and what is written of it. The router and the OpenAPI document are
//! made from the same list.

use std::convert::Infallible;

use axum::Json;
use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{Request, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use bitcoin::hex::DisplayHex as _;
use futures_util::StreamExt as _;
use swaprig_proto::loops::{self, Direction, Health, Loop, LoopPage, State};
use swaprig_units::PaymentHash;
use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::OperationBuilder;
use uuid::Uuid;

use super::Rest;
use super::desk::{LoopError, Place};
use super::openapi::{self, Written as _};
use super::problem::{Kind, Problem};
use super::read::{self, Pairs};

/// A route.
pub(super) struct Route {
    pub(super) method: HttpMethod,
    pub(super) path: String,
    pub(super) handler: MethodRouter<Rest>,
    pub(super) operation: OperationBuilder,
}

type Answer = Result<Response, Problem>;

/// A route: its method, its address, the function that answers, and what is written of it. The function is called with what it
/// serves, the arguments, and the request.
macro_rules! route {
    (get, $($rest:tt)+) => { route!(@ HttpMethod::Get, get, $($rest)+) };
    (post, $($rest:tt)+) => { route!(@ HttpMethod::Post, post, $($rest)+) };
    (@ $name:expr, $method:ident, $path:expr, $function:ident($($argument:expr),*), $operation:expr $(,)?) => {
        Route {
            method: $name,
            path: $path.into(),
            handler: $method(move |Extract(rest): Extract<Rest>, request: Request<Body>| async move {
                $function(rest $(, $argument)*, request).await
            }),
            operation: $operation,
        }
    };
}

/// What can go wrong when a loop is made.
const MAKING: [Kind; 10] = [
    Kind::InvalidParameter,
    Kind::InvalidBody,
    Kind::SlowRequest,
    Kind::IdempotencyConflict,
    Kind::PaymentHashUsed,
    Kind::LoopFailed,
    Kind::Shortage,
    Kind::TooLarge,
    Kind::MediaType,
    Kind::Busy,
];

/// What can go wrong when something is asked of a loop.
const ASKING: [Kind; 6] = [
    Kind::InvalidParameter,
    Kind::InvalidBody,
    Kind::UnknownLoop,
    Kind::SlowRequest,
    Kind::WrongState,
    Kind::TooLarge,
];

/// What can go wrong when it is asked in JSON.
fn asking_in_json() -> impl Iterator<Item = &'static Kind> {
    ASKING.iter().chain(&[Kind::MediaType])
}

/// All of them.
pub(super) fn all() -> Vec<Route> {
    let mut routes = vec![
        route!(
            get,
            "/health",
            health(),
            openapi::operation("health", "Whether loops can be made now")
                .answers::<Health>("They can")
                .problems(&[Kind::InvalidParameter]),
        ),
        route!(
            get,
            "/openapi.json",
            document(),
            openapi::operation("openapi", "This document")
                .answers_object("OpenAPI 3.1")
                .problems(&[Kind::InvalidParameter]),
        ),
    ];
    routes.extend(out_only());
    routes.extend(in_only());
    routes.extend(of(Direction::Out));
    routes.extend(of(Direction::In));
    routes
}

fn out_only() -> [Route; 3] {
    let way = Direction::Out;
    [
        route!(
            get,
            "/loop/out/quote",
            quote(way),
            quoting(way).query::<loops::OutQuoteQuery>(),
        ),
        route!(
            post,
            "/loop/out",
            loop_out(),
            making(way).takes::<loops::LoopOutRequest>(),
        ),
        route!(
            post,
            "/loop/out/{payment_hash}/preimage",
            preimage(),
            openapi::operation(
                "show_preimage",
                "Shows the preimage: the server settles the payment that it holds, and co-signs from then on",
            )
            .hash()
            .takes::<loops::PreimageRequest>()
            .answers::<Loop>("The loop, whose payment is being settled")
            .problems(asking_in_json()),
        ),
    ]
}

fn in_only() -> [Route; 3] {
    let way = Direction::In;
    [
        route!(
            get,
            "/loop/in/quote",
            quote(way),
            quoting(way).query::<loops::InQuoteQuery>(),
        ),
        route!(
            post,
            "/loop/in",
            loop_in(),
            making(way).takes::<loops::LoopInRequest>(),
        ),
        route!(
            post,
            "/loop/in/{payment_hash}/cancel",
            cancel(),
            openapi::operation(
                "cancel",
                "Gives a loop in up: the server will never pay its invoice, unless it has tried, and co-signs a refund",
            )
            .hash()
            .answers::<Loop>("The loop, which will not be paid")
            .problems(&ASKING),
        ),
    ]
}

/// What is written of a route that both directions have; `{}` in the summary stands for the direction.
fn operation(name: &str, direction: Direction, summary: &str) -> OperationBuilder {
    let word = direction.word();
    let summary = summary.replace("{}", &format!("loop {word}"));
    openapi::operation(&format!("{name}_{word}"), &summary)
}

fn quoting(direction: Direction) -> OperationBuilder {
    operation("quote", direction, "What a {} would cost now")
        .answers::<loops::Quote>("What it costs; it is not reserved")
        .problems(&[Kind::InvalidParameter, Kind::Shortage])
}

fn making(direction: Direction) -> OperationBuilder {
    operation("loop", direction, "Makes a {}")
        .key()
        .answers::<Loop>("The loop, made now or by the same request before")
        .problems(&MAKING)
}

/// The routes that are the same in both directions.
fn of(direction: Direction) -> [Route; 5] {
    let word = direction.word();
    let all = format!("/loop/{word}");
    let one = format!("{all}/{{payment_hash}}");
    let operation = |name: &str, summary: &str| operation(name, direction, summary);
    [
        route!(
            get,
            format!("{all}/terms"),
            terms(direction),
            operation("terms", "What is offered for a {} now")
                .answers::<loops::Terms>("The terms")
                .problems(&[Kind::InvalidParameter]),
        ),
        route!(
            get,
            all,
            list(direction),
            operation("list", "Each {}, newest first, in pages")
                .query::<loops::ListQuery>()
                .answers::<LoopPage>("A page")
                .problems(&[Kind::InvalidParameter]),
        ),
        route!(
            get,
            one.clone(),
            find(direction),
            operation("get", "A {} as it is now")
                .hash()
                .answers::<Loop>("The loop")
                .problems(&[Kind::InvalidParameter, Kind::UnknownLoop]),
        ),
        route!(
            get,
            format!("{one}/events"),
            events(direction),
            operation(
                "events",
                "A {} as it is now, and again whenever it changes, as server-sent events",
            )
            .hash()
            .answers_events()
            .problems(&[Kind::InvalidParameter, Kind::UnknownLoop]),
        ),
        route!(
            post,
            format!("{one}/cosign"),
            cosign(direction),
            operation(
                "cosign",
                "The server's half of a key-path spend of a {} (BIP 327), as soon as it cannot lose by it",
            )
            .hash()
            .takes::<loops::CosignRequest>()
            .answers::<loops::CosignReply>("Nonce and partial signature")
            .problems(asking_in_json()),
        ),
    ]
}

/// Of a request that has neither query nor body.
async fn bare(request: Request<Body>) -> Result<axum::http::request::Parts, Problem> {
    let (mut parts, _) = request.into_parts();
    Pairs::of(&mut parts).await?.end()?;
    Ok(parts)
}

/// The JSON of a request without query, and the rest of it.
async fn json<T: serde::de::DeserializeOwned>(
    rest: &Rest,
    request: Request<Body>,
) -> Result<(axum::http::request::Parts, T), Problem> {
    let (mut parts, body) = request.into_parts();
    Pairs::of(&mut parts).await?.end()?;
    let json = read::json(&parts.headers, body, &rest.limits).await?;
    Ok((parts, json))
}

async fn health(rest: Rest, request: Request<Body>) -> Answer {
    bare(request).await?;
    let height = rest.desk.health().await?;
    Ok(Json(Health {
        status: "ready".into(),
        height: Some(height.0),
    })
    .into_response())
}

async fn document(rest: Rest, request: Request<Body>) -> Answer {
    bare(request).await?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, rest.document.clone()).into_response())
}

async fn terms(rest: Rest, direction: Direction, request: Request<Body>) -> Answer {
    bare(request).await?;
    Ok(Json(rest.desk.terms(direction).await?).into_response())
}

async fn quote(rest: Rest, direction: Direction, request: Request<Body>) -> Answer {
    let (mut parts, _) = request.into_parts();
    let mut query = Pairs::of(&mut parts).await?;
    let amount = query.take("amount", "a whole number of satoshi")?;
    let amount = amount.ok_or_else(|| Problem::param("amount", "is missing"))?;
    let amount = read::amount(amount)?;
    let confirmations = match direction {
        Direction::In => None,
        Direction::Out => {
            let count = query.take("confirmations", "a whole number")?;
            Some(read::confirmations(count.unwrap_or(1))?)
        }
    };
    query.end()?;
    let quote = rest.desk.quote(direction, amount, confirmations).await?;
    Ok(Json(quote).into_response())
}

async fn loop_out(rest: Rest, request: Request<Body>) -> Answer {
    let (parts, asked) = json(&rest, request).await?;
    let key = read::idempotency_key(&parts.headers)?;
    let wanted = read::out_wanted(&asked, key)?;
    Ok(Json(rest.desk.loop_out(wanted).await?).into_response())
}

async fn loop_in(rest: Rest, request: Request<Body>) -> Answer {
    let (parts, asked) = json(&rest, request).await?;
    let key = read::idempotency_key(&parts.headers)?;
    let wanted = read::in_wanted(&asked, key)?;
    Ok(Json(rest.desk.loop_in(wanted).await?).into_response())
}

async fn preimage(rest: Rest, request: Request<Body>) -> Answer {
    let (mut parts, asked) = json::<loops::PreimageRequest>(&rest, request).await?;
    let hash = read::hash_in_path(&mut parts).await?;
    let preimage = read::preimage(&asked.preimage)?;
    if preimage.payment_hash() != hash {
        return Err(Problem::param(
            "preimage",
            "has another SHA-256 than the payment hash",
        ));
    }
    let shown = rest.desk.show_preimage(hash, preimage).await?;
    Ok(Json(shown).into_response())
}

async fn cosign(rest: Rest, direction: Direction, request: Request<Body>) -> Answer {
    let (mut parts, asked) = json(&rest, request).await?;
    let hash = read::hash_in_path(&mut parts).await?;
    let (transaction, nonce) = read::cosign(&asked)?;
    let signed = rest.desk.cosign(direction, hash, transaction, nonce);
    let signed = signed.await?;
    Ok(Json(loops::CosignReply {
        nonce: signed.nonce.to_lower_hex_string(),
        partial_signature: signed.partial_signature.to_lower_hex_string(),
    })
    .into_response())
}

async fn cancel(rest: Rest, request: Request<Body>) -> Answer {
    let (mut parts, body) = request.into_parts();
    Pairs::of(&mut parts).await?.end()?;
    read::empty(body, &rest.limits).await?;
    let hash = read::hash_in_path(&mut parts).await?;
    Ok(Json(rest.desk.cancel(hash).await?).into_response())
}

fn unknown(direction: Direction, hash: PaymentHash) -> Problem {
    LoopError::Unknown(direction, hash).into()
}

async fn find(rest: Rest, direction: Direction, request: Request<Body>) -> Answer {
    let mut parts = bare(request).await?;
    let hash = read::hash_in_path(&mut parts).await?;
    let found = rest.desk.find(direction, hash).await?;
    let found = found.ok_or_else(|| unknown(direction, hash))?;
    Ok(Json(found).into_response())
}

fn state(word: &str) -> Result<State, Problem> {
    let mut all = State::ALL.into_iter();
    all.find(|state| state.word() == word).ok_or_else(|| {
        let words = State::ALL.map(State::word).join(", ");
        Problem::param("state", format!("is none of {words}"))
    })
}

async fn list(rest: Rest, direction: Direction, request: Request<Body>) -> Answer {
    let (mut parts, _) = request.into_parts();
    let mut query = Pairs::of(&mut parts).await?;
    let wanted = query.take::<String>("state", "a word")?;
    let wanted = wanted.as_deref().map(state).transpose()?;
    let size = match query.take("limit", "a whole number")? {
        None => loops::LOOPS,
        Some(size @ 1..=loops::MOST_LOOPS) => size,
        Some(_) => {
            let most = loops::MOST_LOOPS;
            return Err(Problem::param("limit", format!("is not 1 to {most}")));
        }
    };
    let after = query.take::<String>("page", "a word")?;
    let after = after.map(|token| {
        read_token(&token).ok_or_else(|| Problem::param("page", "was not given by this server"))
    });
    query.end()?;
    let page = rest.desk.page(direction, wanted, after.transpose()?, size);
    let loops = page.await?;
    let full = u32::try_from(loops.len()).is_ok_and(|length| length == size);
    let next_page = loops.last().filter(|_| full).map(token);
    Ok(Json(LoopPage { loops, next_page }).into_response())
}

fn token(last: &Loop) -> String {
    format!("{:x}.{}", last.created_at, last.id.replace('-', ""))
}

fn read_token(token: &str) -> Option<Place> {
    let (time, id) = token.split_once('.')?;
    let id: Uuid = id.parse().ok()?;
    let created_at = u64::from_str_radix(time, 16).ok()?;
    // No store has greater ones.
    i64::try_from(created_at).ok()?;
    Some(Place { created_at, id })
}

async fn events(rest: Rest, direction: Direction, request: Request<Body>) -> Answer {
    let mut parts = bare(request).await?;
    let hash = read::hash_in_path(&mut parts).await?;
    let updates = rest.desk.updates(direction, hash).await?;
    let updates = updates.ok_or_else(|| unknown(direction, hash))?;
    let mut stopping = rest.stopping.clone();
    let stopped = async move {
        // An error: the server is gone, which is an end, too. A caller whose loop is not final asks again.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    let events = updates.take_until(stopped).map(|update| {
        let event = Event::default().event(loops::UPDATE);
        // Of a type whose keys are words: there is always JSON for it.
        Ok::<_, Infallible>(event.json_data(&update).unwrap_or_default())
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rubbish_is_no_token() {
        for rubbish in ["", ".", "zz.00", "12", "12.34", "12.00000000-0000"] {
            assert_eq!(read_token(rubbish), None, "{rubbish}");
        }
        assert_eq!(
            read_token("ffffffffffffffff.7f1f9d6e0f0e4b578f2d4d0a6f0f5a11"),
            None
        );
    }
}
