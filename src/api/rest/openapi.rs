//! The OpenAPI document (3.1), from the types of the requests and replies and from the list of routes.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use swaprig_proto::loops;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Ref, Required};
use utoipa::{IntoParams, ToSchema};

use super::problem::Kind;
use super::routes;

/// What every operation may answer.
const ALWAYS: [Kind; 2] = [Kind::Internal, Kind::NotReady];

/// What is written of a route, as a sentence each.
pub(super) trait Written {
    /// The payment hash in its address.
    fn hash(self) -> Self;
    /// The header by which two requests are one.
    fn key(self) -> Self;
    /// What may stand behind the `?`.
    fn query<T: IntoParams>(self) -> Self;
    /// The JSON that it takes.
    fn takes<T: ToSchema>(self) -> Self;
    /// The JSON that it answers with.
    fn answers<T: ToSchema>(self, what: &str) -> Self;
    /// An object of no type of ours.
    fn answers_object(self, what: &str) -> Self;
    /// Server-sent events.
    fn answers_events(self) -> Self;
    /// What can go wrong.
    fn problems<'a>(self, kinds: impl IntoIterator<Item = &'a Kind>) -> Self;
}

/// The beginning of what is written of a route.
pub(super) fn operation(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new()
        .operation_id(Some(id))
        .summary(Some(summary))
        .tag(match id {
            _ if id.ends_with("_in") || id == "cancel" => "loop in",
            _ if id.ends_with("_out") || id == "show_preimage" => "loop out",
            _ => "server",
        })
}

fn schema<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

impl Written for OperationBuilder {
    fn hash(self) -> Self {
        self.parameter(
            ParameterBuilder::new()
                .name("payment_hash")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("The loop's payment hash, 32 bytes"))
                .schema(Some(schema::<loops::form::PaymentHash>())),
        )
    }

    fn key(self) -> Self {
        let uuid = text()
            .format(Some(SchemaFormat::Custom("uuid".into())))
            .examples(["0b8d2f0e-7d5c-4a56-9c39-1f0b0a6a7c11"]);
        self.parameter(
            ParameterBuilder::new()
                .name("Idempotency-Key")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some(
                    "A UUID that the client draws for each loop it wants. The same key and the same request give the same loop, \
                     as it is then; with another request it is an error.",
                ))
                .schema(Some(uuid.build())),
        )
    }

    fn query<T: IntoParams>(self) -> Self {
        self.parameters(Some(T::into_params(|| Some(ParameterIn::Query))))
    }

    fn takes<T: ToSchema>(self) -> Self {
        self.request_body(Some(
            RequestBodyBuilder::new()
                .required(Some(Required::True))
                .content(
                    "application/json",
                    ContentBuilder::new().schema(Some(schema::<T>())).build(),
                )
                .build(),
        ))
    }

    fn answers<T: ToSchema>(self, what: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(schema::<T>())).build();
        let response = ResponseBuilder::new().description(what);
        self.response("200", response.content("application/json", content).build())
    }

    fn answers_object(self, what: &str) -> Self {
        let object = ObjectBuilder::new().schema_type(Type::Object).build();
        let content = ContentBuilder::new().schema(Some(object)).build();
        let response = ResponseBuilder::new().description(what);
        self.response("200", response.content("application/json", content).build())
    }

    fn answers_events(self) -> Self {
        let content = ContentBuilder::new().schema(Some(text().build())).build();
        let response = ResponseBuilder::new().description(
            "Events named `update`, each with a Loop as its data. The stream ends when the loop is final (`is_final`), and \
             before that when the server stops.",
        );
        self.response(
            "200",
            response.content("text/event-stream", content).build(),
        )
    }

    fn problems<'a>(self, kinds: impl IntoIterator<Item = &'a Kind>) -> Self {
        let mut by_status: BTreeMap<StatusCode, Vec<Kind>> = BTreeMap::new();
        for kind in kinds.into_iter().chain(&ALWAYS) {
            by_status.entry(kind.status()).or_default().push(*kind);
        }
        by_status
            .into_iter()
            .fold(self, |operation, (status, kinds)| {
                operation.response(status.as_str(), problem(&kinds))
            })
    }
}

/// The response of some kinds of problems that share a status.
fn problem(kinds: &[Kind]) -> utoipa::openapi::Response {
    let lines = kinds
        .iter()
        .map(|kind| format!("`{}`: {}", kind.word(), kind.title()));
    let content = ContentBuilder::new()
        .schema(Some(schema::<loops::Problem>()))
        .build();
    let mut response = ResponseBuilder::new()
        .description(lines.collect::<Vec<_>>().join(". "))
        .content(loops::PROBLEM_JSON, content);
    if kinds
        .iter()
        .any(|kind| matches!(kind, Kind::Busy | Kind::NotReady))
    {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("When to ask again, seconds"));
        response = response.header("Retry-After", header.build());
    }
    response.build()
}

/// The whole document.
pub fn document() -> OpenApi {
    let paths = routes::all()
        .into_iter()
        .fold(PathsBuilder::new(), |paths, route| {
            paths.path(route.path, PathItem::new(route.method, route.operation))
        });
    let schemas = loops::form::add(ComponentsBuilder::new())
        .schema_from::<loops::Direction>()
        .schema_from::<loops::InternalKeyChoice>()
        .schema_from::<loops::State>()
        .schema_from::<loops::SpendKind>()
        .schema_from::<loops::LoopOutRequest>()
        .schema_from::<loops::LoopInRequest>()
        .schema_from::<loops::PreimageRequest>()
        .schema_from::<loops::CosignRequest>()
        .schema_from::<loops::CosignReply>()
        .schema_from::<loops::Terms>()
        .schema_from::<loops::Quote>()
        .schema_from::<loops::Script>()
        .schema_from::<loops::Funding>()
        .schema_from::<loops::Spend>()
        .schema_from::<loops::Loop>()
        .schema_from::<loops::LoopPage>()
        .schema_from::<loops::Health>()
        .schema_from::<loops::Problem>();
    let info = InfoBuilder::new()
        .title("swaprig: loop out and loop in")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Moves Bitcoin between Lightning and the chain. Unauthenticated: it belongs on a closed network.\n\n\
             Amounts are whole satoshi. Hashes, keys, scripts and transactions are lower-case hexadecimal. In both directions \
             `amount` is what the client receives and `fee` what it pays on top. Whatever is wrong with a request is told as \
             application/problem+json (RFC 9457), with the name of the parameter in `param`; a request whose HTTP is malformed \
             gets a status alone, and the connection is closed.",
        ));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(paths)
        .components(Some(schemas.build()))
        .build()
}
