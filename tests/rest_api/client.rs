//! The typed client, each of its methods, against the service, and against servers that are none.

use std::time::Duration;

use swaprig::api::rest::Limits;
use swaprig::client::rest::{RestClient, RestError};
use swaprig_harness::time::Deadline;
use swaprig_proto::loops::{CosignRequest, Direction, InternalKeyChoice, SpendKind, State};
use swaprig_units::Sat;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::desk::fee;
use super::requests::{PUBKEY, TRANSACTION, into, out, preimage};
use super::service::{Service, soon};

fn spend() -> CosignRequest {
    CosignRequest {
        transaction: TRANSACTION.into(),
        nonce: PUBKEY.repeat(2),
    }
}

fn status(error: RestError) -> (u16, String) {
    let problem = error.problem().unwrap_or_else(|| panic!("{error}"));
    let word = problem.kind.rsplit(':').next().unwrap();
    (problem.status, word.to_owned())
}

#[tokio::test]
async fn a_loop_out_from_its_terms_to_its_end() {
    let service = Service::start(Limits::default()).await;
    let client = service.client();
    assert_eq!(client.health(soon()).await.unwrap().status, "ready");
    assert!(client.openapi(soon()).await.unwrap()["paths"].is_object());
    let terms = client.terms(Direction::Out, soon()).await.unwrap();
    assert_eq!(terms.direction, Direction::Out);
    let quote = client.quote_out(Sat(250_000), 2, soon()).await.unwrap();
    assert_eq!((quote.fee, quote.confirmations), (fee(250_000), 2));
    let made = client.loop_out(&out(1), None, soon()).await.unwrap();
    assert_eq!((made.fee, made.cltv_expiry), (quote.fee, None));
    let hash = preimage(1).payment_hash();
    let early = client.show_preimage(hash, &preimage(1), soon()).await;
    assert_eq!(status(early.unwrap_err()), (409, "wrong-state".into()));
    service.desk.payment_arrives(hash);
    service.desk.coins_are_locked(hash);
    let unpaid = client.cosign(Direction::Out, hash, &spend(), soon()).await;
    assert_eq!(status(unpaid.unwrap_err()), (409, "wrong-state".into()));
    let paid = client
        .show_preimage(hash, &preimage(1), soon())
        .await
        .unwrap();
    assert_eq!(paid.phase, "paid");
    let first = client
        .cosign(Direction::Out, hash, &spend(), soon())
        .await
        .unwrap();
    let second = client
        .cosign(Direction::Out, hash, &spend(), soon())
        .await
        .unwrap();
    assert_ne!(first.partial_signature, second.partial_signature);
    service.desk.coins_are_spent(hash, SpendKind::Cooperative);
    let done = client.get(Direction::Out, hash, soon()).await.unwrap();
    assert_eq!((done.state, done.is_final), (State::Claimed, true));
    service.stop().await;
}

#[tokio::test]
async fn a_loop_in_that_is_given_up_and_one_that_is_paid() {
    let service = Service::start(Limits::default()).await;
    let client = service.client();
    let quote = client.quote_in(Sat(250_000), soon()).await.unwrap();
    assert_eq!(quote.direction, Direction::In);
    let [given_up, paid, plain] = [1, 2, 3].map(|number| preimage(number).payment_hash());
    client.loop_in(&into(1), None, soon()).await.unwrap();
    service.desk.coins_are_locked(given_up);
    let early = client
        .cosign(Direction::In, given_up, &spend(), soon())
        .await;
    assert_eq!(status(early.unwrap_err()).0, 409);
    let cancelled = client.cancel(given_up, soon()).await.unwrap();
    assert_eq!(cancelled.reason.as_deref(), Some("cancelled"));
    client
        .cosign(Direction::In, given_up, &spend(), soon())
        .await
        .unwrap();
    client.loop_in(&into(2), None, soon()).await.unwrap();
    service.desk.coins_are_locked(paid);
    service.desk.is_being_paid(paid);
    let late = client.cancel(paid, soon()).await;
    assert_eq!(status(late.unwrap_err()), (409, "wrong-state".into()));
    let mut scripted = into(3);
    scripted.internal_key = InternalKeyChoice::Unspendable;
    client.loop_in(&scripted, None, soon()).await.unwrap();
    service.desk.coins_are_locked(plain);
    client.cancel(plain, soon()).await.unwrap();
    let never = client.cosign(Direction::In, plain, &spend(), soon()).await;
    assert_eq!(status(never.unwrap_err()).0, 409);
    service.stop().await;
}

#[tokio::test]
async fn a_server_whose_daemons_are_away_says_so_and_can_be_asked_again() {
    let service = Service::start(Limits::default()).await;
    let client = service.client();
    service.desk.set_away(true);
    let errors = [
        client.health(soon()).await.unwrap_err(),
        client.terms(Direction::In, soon()).await.unwrap_err(),
        client.loop_out(&out(1), None, soon()).await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_transient());
        assert_eq!(status(error), (503, "not-ready".into()));
    }
    // What is written of the API is there all the same.
    client.openapi(soon()).await.unwrap();
    service.desk.set_away(false);
    client.loop_out(&out(1), None, soon()).await.unwrap();
    service.stop().await;
}

/// Somebody who answers every connection with the same bytes, and then keeps it open.
async fn liar(answer: Vec<u8>) -> RestClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            open.push(stream);
        }
    });
    RestClient::new(&address.to_string()).unwrap()
}

fn answer(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    (head + body).into_bytes()
}

#[tokio::test]
async fn what_is_no_answer_of_the_api_is_an_error_and_never_a_panic() {
    let json = "application/json";
    let problem = r#"{"type":"t","title":"t","status":404,"detail":"d","message":"m"}"#;
    let unreadable = [
        answer(200, json, "{}"),
        answer(200, json, ""),
        answer(200, json, "\u{0}"),
        answer(200, "text/html", "<html>"),
        answer(404, json, problem),
        answer(400, "application/problem+json", problem),
        answer(502, "text/html", "bad gateway"),
        answer(204, json, ""),
        answer(301, json, ""),
    ];
    for bytes in unreadable {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let error = liar(bytes).await.health(soon()).await.unwrap_err();
        assert!(
            matches!(error, RestError::Unreadable { .. }),
            "{shown}: {error}"
        );
    }
    for bytes in [
        b"SSH-2.0-x\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_vec(),
    ] {
        let error = liar(bytes).await.health(soon()).await.unwrap_err();
        assert!(matches!(error, RestError::Unreachable { .. }), "{error}");
    }
    let known = liar(answer(404, "application/problem+json", problem)).await;
    assert_eq!(
        known
            .health(soon())
            .await
            .unwrap_err()
            .problem()
            .unwrap()
            .detail,
        "d"
    );
}

#[tokio::test]
async fn an_endless_answer_and_a_silent_server_have_an_end() {
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 5 << 20]].concat();
    let error = liar(endless).await.health(soon()).await.unwrap_err();
    assert!(matches!(error, RestError::Unreadable { .. }), "{error}");
    let soon_over = || Deadline::after(Duration::from_millis(50));
    let silent = liar(Vec::new()).await;
    let error = silent.health(soon_over()).await.unwrap_err();
    assert!(matches!(error, RestError::TimedOut { .. }), "{error}");
    let stream = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: nothing yet\n\n";
    let hash = preimage(1).payment_hash();
    let quiet = liar(stream.to_vec()).await;
    let mut updates = quiet.updates(Direction::Out, hash, soon()).await.unwrap();
    for _ in 0..2 {
        let error = updates.next(soon_over()).await.unwrap_err();
        assert!(matches!(error, RestError::TimedOut { .. }), "{error}");
    }
    let long = [&stream[..], b"data: ", &vec![b'x'; 100 << 10]].concat();
    let mut updates = liar(long)
        .await
        .updates(Direction::Out, hash, soon())
        .await
        .unwrap();
    let error = updates.next(soon()).await.unwrap_err();
    assert!(matches!(error, RestError::Unreadable { .. }), "{error}");
}
