//! A table of what can be wrong with a request, and what each is told.

use bytes::Bytes;
use hyper::{Method, Request};
use serde_json::{Value, json};
use swaprig::api::rest::{Limits, document};

use super::requests::{PUBKEY, TRANSACTION, into, invoice, out, preimage};
use super::schema::Document;
use super::service::Service;

const HASH: &str = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";

/// A good request with a field set, or, with nothing, left out.
fn with(good: &impl serde::Serialize, field: &str, value: Option<Value>) -> String {
    let mut body = serde_json::to_value(good).unwrap();
    let object = body.as_object_mut().unwrap();
    match value {
        Some(value) => drop(object.insert(field.into(), value)),
        None => drop(object.remove(field)),
    }
    body.to_string()
}

/// What is wrong with a loop out, a field each.
fn outs() -> Vec<(&'static str, Option<Value>)> {
    vec![
        ("pubkey", None),
        ("pubkey", Some(json!(""))),
        ("pubkey", Some(json!(7))),
        ("pubkey", Some(json!(null))),
        ("pubkey", Some(json!(&PUBKEY[2..]))),
        ("pubkey", Some(json!(PUBKEY.to_uppercase()))),
        ("pubkey", Some(json!(format!("05{}", &PUBKEY[2..])))),
        ("pubkey", Some(json!(format!("02{}", "ff".repeat(32))))),
        ("pubkey", Some(json!(format!("{PUBKEY}00")))),
        ("pubkey", Some(json!(format!(" {PUBKEY}")))),
        ("pubkey", Some(json!("é".repeat(33)))),
        ("amount", None),
        ("amount", Some(json!(0))),
        ("amount", Some(json!(-1))),
        ("amount", Some(json!(1))),
        ("amount", Some(json!(24_999))),
        ("amount", Some(json!(10_000_001))),
        ("amount", Some(json!(250_000.0))),
        ("amount", Some(json!("250000"))),
        ("amount", Some(json!(2_100_000_000_000_001_u64))),
        ("amount", Some(json!(u64::MAX))),
        ("amount", Some(json!([250_000]))),
        ("payment_hash", None),
        ("payment_hash", Some(json!(""))),
        ("payment_hash", Some(json!(&HASH[2..]))),
        ("payment_hash", Some(json!(HASH.to_uppercase()))),
        ("payment_hash", Some(json!(format!("{}zz", &HASH[2..])))),
        ("payment_hash", Some(json!({}))),
        ("invoice_first", Some(json!("yes"))),
        ("invoice_first", Some(json!(null))),
        ("internal_key", Some(json!("none"))),
        ("internal_key", Some(json!("MUSIG2"))),
        ("internal_key", Some(json!(1))),
        ("internal_key", Some(json!({ "musig2": null }))),
        ("internal_key", Some(json!(null))),
        ("confirmations", Some(json!(0))),
        ("confirmations", Some(json!(7))),
        ("confirmations", Some(json!(145))),
        ("confirmations", Some(json!(u64::from(u32::MAX) + 1))),
        ("publication_deadline", Some(json!(500_000_000))),
        ("publication_deadline", Some(json!(-1))),
        ("max_fee", Some(json!(999))),
        ("max_fee", Some(json!(-1))),
        ("max_fee", Some(json!(u64::MAX))),
        ("prepay", Some(json!(1))),
        ("Amount", Some(json!(250_000))),
        ("", Some(json!(1))),
    ]
}

#[tokio::test]
async fn a_wrong_field_is_named_and_nothing_is_made() {
    let service = Service::start(Limits::default()).await;
    let document = Document(serde_json::to_value(document()).unwrap());
    let mut table: Vec<(&str, String, &str)> = outs()
        .into_iter()
        .map(|(field, value)| ("/loop/out", with(&out(1), field, value), field))
        .collect();
    let plain = with(&out(1), "invoice_first", Some(json!(false)));
    table.push(("/loop/out", plain, "payment_hash"));
    let huge = with(&out(1), "amount", Some(json!(1))).replace(":1,", ":1e400,");
    table.push(("/loop/out", huge, "amount"));
    let digits = format!(":{},", "9".repeat(300));
    let long = with(&out(1), "amount", Some(json!(1))).replace(":1,", &digits);
    table.push(("/loop/out", long, "amount"));
    let double = with(&out(1), "amount", Some(json!(1)))
        .replace("\"amount\":1", "\"amount\":1,\"amount\":1");
    table.push(("/loop/out", double, "amount"));
    for (field, value) in [
        ("pubkey", json!("02")),
        ("payment_request", json!("")),
        ("payment_request", json!("lnbc1")),
        ("payment_request", json!(invoice(1, None))),
        (
            "payment_request",
            json!(invoice(1, Some(250_000_000)).replace("lnbcrt2500", "lnbcrt2600")),
        ),
        (
            "payment_request",
            json!(format!(" {}", invoice(1, Some(250_000_000)))),
        ),
        ("payment_request", json!(null)),
        ("amount", json!(250_000)),
        ("max_fee", json!(1)),
        ("internal_key", json!("taproot")),
    ] {
        table.push(("/loop/in", with(&into(1), field, Some(value)), field));
    }
    for (path, body, field) in table {
        let answer = service.post(path, body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.param().as_deref(), Some(field), "{body}\n{answer:?}");
        document.check(&Method::POST, path, &answer).unwrap();
    }
    assert_eq!(service.desk.len(), 0);
    service.stop().await;
}

#[tokio::test]
async fn a_body_that_is_no_object_is_told_so() {
    let service = Service::start(Limits::default()).await;
    let good = serde_json::to_string(&out(1)).unwrap();
    let cut = good[..good.len() - 1].to_owned();
    let twice = format!("{good}{good}");
    let latin = [&good.as_bytes()[..good.len() - 1], b",\"\xe9\":1}"].concat();
    let bodies: [Vec<u8>; 12] = [
        vec![],
        b"null".to_vec(),
        b"7".to_vec(),
        b"\"text\"".to_vec(),
        b"[]".to_vec(),
        format!("[\"{PUBKEY}\",250000,\"{HASH}\",true]").into_bytes(),
        b"{".to_vec(),
        cut.into_bytes(),
        twice.into_bytes(),
        latin,
        vec![0; 40],
        b"{\"a\":".repeat(2_000),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = service.post("/loop/out", body).await;
        assert_eq!(answer.status, 400, "{shown}");
        // Nested text is an unknown field before it is no JSON.
        let word = answer.json()["type"].as_str().unwrap().to_owned();
        let expected = ["invalid-body", "invalid-parameter"];
        assert!(
            expected.iter().any(|end| word.ends_with(end)),
            "{shown}\n{answer:?}"
        );
    }
    assert_eq!(service.desk.len(), 0);
    service.stop().await;
}

#[tokio::test]
async fn headers_are_read_strictly() {
    let service = Service::start(Limits::default()).await;
    let body = serde_json::to_string(&out(1)).unwrap();
    let send = async |headers: &[(&str, &str)]| {
        let mut request = Request::post("/loop/out");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::from(body.clone())).unwrap();
        let answer = service.send(request).await;
        (answer.status.as_u16(), answer)
    };
    let json = ("content-type", "application/json");
    for kind in [
        "",
        "text/plain",
        "application/xml",
        "application/jsonx",
        "application/json; charset=latin1",
        "multipart/form-data",
    ] {
        let (status, answer) = send(&[("content-type", kind)]).await;
        assert_eq!(
            (status, answer.param().as_deref()),
            (415, Some("content-type")),
            "{kind}"
        );
    }
    assert_eq!(send(&[]).await.0, 415);
    assert_eq!(send(&[json, json]).await.0, 415);
    for key in ["", "7", "not-a-uuid", "7f1f9d6e-0f0e-4b57-8f2d-4d0a6f0f5a1"] {
        let (status, answer) = send(&[json, ("idempotency-key", key)]).await;
        assert_eq!(
            (status, answer.param().as_deref()),
            (400, Some("idempotency-key")),
            "{key}"
        );
    }
    let key = ("idempotency-key", "7f1f9d6e-0f0e-4b57-8f2d-4d0a6f0f5a11");
    assert_eq!(send(&[json, key, key]).await.0, 400);
    assert_eq!(service.desk.len(), 0);
    let (status, _) = send(&[("content-type", "Application/JSON; charset=UTF-8"), key]).await;
    assert_eq!(status, 200);
    service.stop().await;
}

#[tokio::test]
async fn addresses_and_queries_are_read_strictly() {
    let service = Service::start(Limits::default()).await;
    let unknown = preimage(9).payment_hash();
    let table = [
        ("/", 404, None),
        ("/loop", 404, None),
        ("/loop/", 404, None),
        ("/loop/out/", 404, None),
        ("/loop/both/terms", 404, None),
        ("/loop/out/terms/", 404, None),
        ("/health?verbose=1", 400, Some("verbose")),
        ("/openapi.json?x", 400, Some("x")),
        ("/loop/out/terms?amount=1", 400, Some("amount")),
        ("/loop/out/quote", 400, Some("amount")),
        ("/loop/out/quote?amount=", 400, Some("amount")),
        ("/loop/out/quote?amount=0", 400, Some("amount")),
        ("/loop/out/quote?amount=-1", 400, Some("amount")),
        ("/loop/out/quote?amount=1.5", 400, Some("amount")),
        (
            "/loop/out/quote?amount=99999999999999999999",
            400,
            Some("amount"),
        ),
        ("/loop/out/quote?amount=24999", 400, Some("amount")),
        ("/loop/out/quote?amount=%ff", 400, Some("amount")),
        (
            "/loop/out/quote?amount=250000&amount=250000",
            400,
            Some("amount"),
        ),
        (
            "/loop/out/quote?amount=250000&confirmations=0",
            400,
            Some("confirmations"),
        ),
        (
            "/loop/in/quote?amount=250000&confirmations=1",
            400,
            Some("confirmations"),
        ),
        ("/loop/out?state=paid", 400, Some("state")),
        ("/loop/out?state=Funded", 400, Some("state")),
        ("/loop/out?limit=0", 400, Some("limit")),
        ("/loop/out?limit=501", 400, Some("limit")),
        ("/loop/out?limit=many", 400, Some("limit")),
        ("/loop/out?page=", 400, Some("page")),
        ("/loop/out?page=1.2", 400, Some("page")),
        (
            "/loop/out?page=ffffffffffffffff.7f1f9d6e0f0e4b578f2d4d0a6f0f5a11",
            400,
            Some("page"),
        ),
        ("/loop/out?offset=1", 400, Some("offset")),
        ("/loop/out/12", 400, Some("payment_hash")),
        ("/loop/out/%ff", 400, Some("payment_hash")),
        ("/loop/in/zz/events", 400, Some("payment_hash")),
        ("/loop/out/%00/events", 400, Some("payment_hash")),
    ];
    for (path, status, param) in table {
        let answer = service.get(path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.param().as_deref(), param, "{path}");
    }
    for path in [
        format!("/loop/out/{unknown}"),
        format!("/loop/in/{unknown}"),
        format!("/loop/out/{unknown}/events"),
    ] {
        let answer = service.get(&path).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.param().as_deref(), Some("payment_hash"));
        assert_eq!(answer.json()["type"], "urn:swaprig:problem:unknown-loop");
    }
    let upper = unknown.to_string().to_uppercase();
    assert_eq!(service.get(&format!("/loop/out/{upper}")).await.status, 400);
    service.stop().await;
}

#[tokio::test]
async fn actions_are_read_strictly() {
    let service = Service::start(Limits::default()).await;
    service
        .post("/loop/out", serde_json::to_string(&out(1)).unwrap())
        .await;
    let hash = preimage(1).payment_hash();
    let nonce = PUBKEY.repeat(2);
    let transaction = TRANSACTION;
    let table = [
        ("preimage", json!({}), "preimage"),
        ("preimage", json!({ "preimage": preimage(2) }), "preimage"),
        (
            "preimage",
            json!({ "preimage": "01".repeat(31) }),
            "preimage",
        ),
        (
            "preimage",
            json!({ "preimage": "01".repeat(33) }),
            "preimage",
        ),
        ("preimage", json!({ "preimage": preimage(1), "x": 1 }), "x"),
        ("cosign", json!({ "nonce": nonce }), "transaction"),
        (
            "cosign",
            json!({ "nonce": nonce, "transaction": "" }),
            "transaction",
        ),
        (
            "cosign",
            json!({ "nonce": nonce, "transaction": "0" }),
            "transaction",
        ),
        (
            "cosign",
            json!({ "nonce": nonce, "transaction": "02000000" }),
            "transaction",
        ),
        (
            "cosign",
            json!({ "nonce": nonce, "transaction": format!("{transaction}00") }),
            "transaction",
        ),
        // It claims four thousand million inputs.
        (
            "cosign",
            json!({ "nonce": nonce, "transaction": "02000000feffffffff" }),
            "transaction",
        ),
        (
            "cosign",
            json!({ "nonce": PUBKEY, "transaction": transaction }),
            "nonce",
        ),
        (
            "cosign",
            json!({ "nonce": "", "transaction": transaction }),
            "nonce",
        ),
    ];
    for (word, body, param) in table {
        let answer = service
            .post(&format!("/loop/out/{hash}/{word}"), body.to_string())
            .await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.param().as_deref(), Some(param), "{body}: {answer:?}");
    }
    let answer = service
        .post(&format!("/loop/in/{hash}/cancel"), "{\"why\":1}")
        .await;
    assert_eq!(answer.status, 400);
    for empty in ["", "{}", " { } "] {
        let answer = service
            .post(&format!("/loop/in/{hash}/cancel"), empty)
            .await;
        assert_eq!(answer.status, 404, "{empty}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_transaction_that_cannot_be_read_is_told_why() {
    let service = Service::start(Limits::default()).await;
    let (hash, nonce) = (preimage(1).payment_hash(), PUBKEY.repeat(2));
    let whole = TRANSACTION.len();
    let table = [
        (String::new(), "is cut off: 0 bytes"),
        (TRANSACTION[..whole - 2].into(), "is cut off: 93 bytes"),
        (TRANSACTION[..8].into(), "is cut off: 4 bytes"),
        ("02000000feffffffff".into(), "is cut off: 9 bytes"),
        (TRANSACTION[..whole - 1].into(), "has half a byte"),
        (
            format!("{TRANSACTION}0000"),
            "is 94 bytes long, and 2 more bytes follow it",
        ),
        (TRANSACTION.repeat(2), "94 more bytes follow it"),
        (TRANSACTION.replacen('0', "x", 1), "is no lower-case hex"),
        (TRANSACTION.to_uppercase(), "is no lower-case hex"),
        (format!("0x{TRANSACTION}"), "is no lower-case hex"),
        // The mark of a witness, and another than the only one that there is.
        ("02000000000200".into(), "is no transaction: "),
    ];
    for (transaction, said) in table {
        let body = json!({ "nonce": nonce, "transaction": transaction });
        let path = format!("/loop/in/{hash}/cosign");
        let answer = service.post(&path, body.to_string()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.param().as_deref(), Some("transaction"), "{body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{body}: {detail}");
        assert!(!detail.contains("IO"), "{detail}");
    }
    service.stop().await;
}
