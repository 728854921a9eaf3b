//! What is written of the API: that it is complete, that it is true, that its examples work.

use std::collections::BTreeSet;

use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use swaprig::api::rest::{Kind, Limits, document};

use super::requests::{PUBKEY, out, preimage};
use super::schema::Document;
use super::service::Service;

fn written() -> Document {
    Document(serde_json::to_value(document()).unwrap())
}

#[tokio::test]
async fn the_served_document_is_the_one_of_the_program_and_openapi_3_1() {
    let service = Service::start(Limits::default()).await;
    let served = service.get("/openapi.json").await;
    assert_eq!(served.kind, "application/json");
    let served = served.json();
    assert_eq!(served, written().0);
    assert_eq!(served["openapi"], "3.1.0");
    assert!(served["info"]["title"].is_string());
    service.stop().await;
}

#[tokio::test]
async fn what_is_documented_is_routed_and_other_methods_are_refused() {
    let service = Service::start(Limits::default()).await;
    let document = written();
    let hash = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
    let paths: BTreeSet<&str> = document
        .operations()
        .iter()
        .map(|operation| operation.path)
        .collect();
    for path in paths {
        let path = path.replace("{payment_hash}", hash);
        let taken: Vec<Method> = document
            .at(&path)
            .into_iter()
            .map(|one| one.method)
            .collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let method: Method = method.parse().unwrap();
            let request = Request::builder().method(method.clone()).uri(&path);
            let answer = service.send(request.body(Bytes::new()).unwrap()).await;
            let refused = answer.status == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(refused, !taken.contains(&method), "{method} {path}");
            document
                .check(&method, &path, &answer)
                .unwrap_or_else(|error| panic!("{method} {path}: {error}\n{answer:?}"));
            if answer.status == StatusCode::NOT_FOUND {
                let kind = answer.json()["type"].clone();
                assert_eq!(kind, "urn:swaprig:problem:unknown-loop", "{method} {path}");
            }
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn the_addresses_are_those_that_were_agreed() {
    let written = written();
    let written: BTreeSet<String> = written
        .operations()
        .iter()
        .map(|operation| format!("{} {}", operation.method, operation.path))
        .collect();
    let mut agreed = BTreeSet::from(
        [
            "GET /health",
            "GET /openapi.json",
            "POST /loop/out/{payment_hash}/preimage",
            "POST /loop/in/{payment_hash}/cancel",
        ]
        .map(str::to_owned),
    );
    for way in ["out", "in"] {
        agreed.extend(
            [
                "GET /terms",
                "GET /quote",
                "POST ",
                "GET ",
                "GET /{payment_hash}",
                "GET /{payment_hash}/events",
                "POST /{payment_hash}/cosign",
            ]
            .map(|one| one.replacen(' ', &format!(" /loop/{way}"), 1)),
        );
    }
    assert_eq!(written, agreed);
}

#[test]
fn every_operation_has_an_id_a_summary_and_its_errors() {
    let document = written();
    let mut ids = BTreeSet::new();
    for operation in document.operations() {
        let written = operation.written;
        let id = written["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} is there twice");
        assert!(
            written["summary"]
                .as_str()
                .is_some_and(|text| text.len() > 10)
        );
        let responses = written["responses"].as_object().unwrap();
        for status in ["200", "400", "500", "503"] {
            assert!(responses.contains_key(status), "{id} lacks {status}");
        }
        for (status, response) in responses {
            assert!(!response["description"].as_str().unwrap().is_empty());
            let of_problem = status != "200";
            let content = response["content"].as_object().unwrap();
            let is_problem = content.contains_key("application/problem+json");
            assert_eq!(of_problem, is_problem, "{id} {status}");
        }
        if operation.path.contains("{payment_hash}") {
            assert!(responses.contains_key("404"), "{id} lacks 404");
        }
        if operation.method == Method::POST && id != "cancel" {
            assert!(responses.contains_key("415"), "{id} lacks 415");
        }
    }
}

#[test]
fn kinds_of_problems_are_told_apart_and_never_422() {
    let mut words = BTreeSet::new();
    for kind in Kind::ALL {
        assert!(words.insert(kind.word()), "{} is there twice", kind.word());
        assert_ne!(kind.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(kind.status().is_client_error() || kind.status().is_server_error());
    }
}

/// An example of a schema out of those of its properties.
fn example(document: &Document, schema: &Value) -> Value {
    let schema = document.resolve(schema);
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(all) = schema["oneOf"].as_array() {
        let real = all.iter().find(|one| one["type"] != "null").unwrap();
        return example(document, real);
    }
    if schema["type"] == "array" {
        return json!([example(document, &schema["items"])]);
    }
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    let properties = schema["properties"].as_object();
    let properties = properties.unwrap_or_else(|| panic!("no example of {schema}"));
    let all = properties
        .iter()
        .map(|(name, schema)| (name.clone(), example(document, schema)));
    Value::Object(all.collect::<Map<_, _>>())
}

#[test]
fn every_schema_has_an_example_that_is_valid() {
    let document = written();
    let schemas = document.0["components"]["schemas"].as_object().unwrap();
    assert!(schemas.len() >= 18);
    for (name, schema) in schemas {
        let example = example(&document, schema);
        document
            .valid(schema, &example)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if schema["type"] == "object" {
            let requests = [
                "LoopOutRequest",
                "LoopInRequest",
                "PreimageRequest",
                "CosignRequest",
            ];
            let closed = schema["additionalProperties"] == json!(false);
            assert_eq!(closed, requests.contains(&name.as_str()), "{name}");
            for (field, schema) in schema["properties"].as_object().unwrap() {
                let told = schema
                    .get("description")
                    .or(schema["oneOf"][0].get("description"));
                assert!(told.is_some(), "{name}.{field} is not described");
            }
        }
    }
}

#[tokio::test]
async fn the_examples_of_requests_are_accepted() {
    let service = Service::start(Limits::default()).await;
    let document = written();
    let schema = |name: &str| document.0["components"]["schemas"][name].clone();
    for (path, name) in [
        ("/loop/out", "LoopOutRequest"),
        ("/loop/in", "LoopInRequest"),
    ] {
        let body = example(&document, &schema(name)).to_string();
        let answer = service.post(path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        document.check(&Method::POST, path, &answer).unwrap();
    }
    let hash = preimage(0).payment_hash();
    service.desk.payment_arrives(hash);
    service.desk.coins_are_locked(hash);
    for (word, name) in [("preimage", "PreimageRequest"), ("cosign", "CosignRequest")] {
        let path = format!("/loop/out/{hash}/{word}");
        let answer = service
            .post(&path, example(&document, &schema(name)).to_string())
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        document.check(&Method::POST, &path, &answer).unwrap();
    }
    for operation in document.operations() {
        let parameters = operation.written["parameters"].as_array();
        let parameters = parameters.into_iter().flatten();
        let pairs: Vec<String> = parameters
            .filter(|parameter| parameter["in"] == "query" && parameter["name"] != "page")
            .map(|parameter| {
                let name = parameter["name"].as_str().unwrap();
                let example = &parameter["example"];
                let text = example.as_str().map_or(example.to_string(), str::to_owned);
                format!("{name}={text}")
            })
            .collect();
        if !pairs.is_empty() && operation.method == Method::GET {
            let path = format!("{}?{}", operation.path, pairs.join("&"));
            let answer = service.get(&path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
            document.check(&Method::GET, &path, &answer).unwrap();
        }
    }
    service.stop().await;
}

#[test]
fn the_judge_judges() {
    let document = written();
    let schema = document.0["components"]["schemas"]["LoopOutRequest"].clone();
    let good = serde_json::to_value(out(1)).unwrap();
    assert_eq!(document.valid(&schema, &good), Ok(()));
    for (field, value) in [
        ("amount", json!(0)),
        ("amount", json!(-1)),
        ("amount", json!(1.5)),
        ("amount", json!("1")),
        ("confirmations", json!(145)),
        ("pubkey", json!(&PUBKEY[2..])),
        ("pubkey", Value::Null),
        ("internal_key", json!("none")),
        ("other", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[field] = value.clone();
        assert!(document.valid(&schema, &bad).is_err(), "{field} {value}");
    }
}
