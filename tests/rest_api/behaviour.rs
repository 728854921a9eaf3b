//! What the API promises over several requests: one loop for a key, pages without gaps, streams that end.

use std::collections::HashSet;

use bytes::Bytes;
use hyper::Request;
use serde_json::Value;
use swaprig::api::rest::Limits;
use swaprig_proto::loops::{Direction, ListQuery, SpendKind, State};
use uuid::Uuid;

use super::requests::{into, out, preimage};
use super::service::{Answer, Service, soon};

async fn make(service: &Service, path: &str, key: Option<&str>, body: String) -> Answer {
    let mut request = Request::post(path).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    service.send(request.body(Bytes::from(body)).unwrap()).await
}

#[tokio::test]
async fn the_same_key_gives_the_same_loop_as_it_is_now() {
    let service = Service::start(Limits::default()).await;
    let body = serde_json::to_string(&out(1)).unwrap();
    let key = Uuid::from_u128(1).to_string();
    let first = make(&service, "/loop/out", Some(&key), body.clone()).await;
    assert_eq!(first.status, 200);
    let hash = preimage(1).payment_hash();
    service.desk.payment_arrives(hash);
    service.desk.coins_are_locked(hash);
    // Other white space, another order, and a default that is said: the same request.
    let mut pairs: Vec<(String, Value)> = serde_json::from_str::<serde_json::Map<_, _>>(&body)
        .unwrap()
        .into_iter()
        .collect();
    pairs.reverse();
    let fields = pairs
        .iter()
        .map(|(name, value)| format!("\n {name:?} : {value}"));
    let other = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
    let again = make(&service, "/loop/out", Some(&key.to_uppercase()), other).await;
    assert_eq!(again.status, 200);
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(again.json()["state"], "funded");
    assert_eq!(service.desk.len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn the_same_key_for_something_else_is_a_conflict() {
    let service = Service::start(Limits::default()).await;
    let key = Uuid::from_u128(1).to_string();
    let text = |value: &dyn erased::Json| value.json();
    make(&service, "/loop/out", Some(&key), text(&out(1))).await;
    let mut more = out(1);
    more.amount += 1;
    let mut deeper = out(1);
    deeper.confirmations += 1;
    for (path, body) in [
        ("/loop/out", text(&more)),
        ("/loop/out", text(&deeper)),
        ("/loop/out", text(&out(2))),
        ("/loop/in", text(&into(3))),
    ] {
        let answer = make(&service, path, Some(&key), body).await;
        assert_eq!(answer.status, 409, "{answer:?}");
        assert_eq!(answer.param().as_deref(), Some("idempotency-key"));
        assert_eq!(
            answer.json()["type"],
            "urn:swaprig:problem:idempotency-conflict"
        );
    }
    assert_eq!(service.desk.len(), 1);
    // Another key, or none, with a hash that was used.
    for key in [None, Some("00000000-0000-0000-0000-000000000002")] {
        let answer = make(&service, "/loop/out", key, text(&out(1))).await;
        assert_eq!(answer.status, 409);
        assert_eq!(answer.param().as_deref(), Some("payment_hash"));
    }
    service.stop().await;
}

/// One word for JSON of whatever has some.
mod erased {
    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("it has words for keys")
        }
    }
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one_loop() {
    let service = Service::start(Limits::default()).await;
    let client = service.client();
    let key = Uuid::from_u128(1);
    let calls = (0..20).map(|_| {
        let client = client.clone();
        async move {
            client
                .loop_out(&out(1), Some(key), soon())
                .await
                .unwrap()
                .id
        }
    });
    let ids: HashSet<String> = futures_util::future::join_all(calls)
        .await
        .into_iter()
        .collect();
    assert_eq!((ids.len(), service.desk.len()), (1, 1));
    service.stop().await;
}

#[tokio::test]
async fn pages_show_each_loop_once_newest_first() {
    let service = Service::start(Limits::default()).await;
    let client = service.client();
    for number in 1..=7 {
        client.loop_out(&out(number), None, soon()).await.unwrap();
    }
    client.loop_in(&into(8), None, soon()).await.unwrap();
    service.desk.payment_arrives(preimage(3).payment_hash());
    service.desk.coins_are_locked(preimage(3).payment_hash());
    let wanted: Vec<String> = (1..=7_u8)
        .rev()
        .map(|number| preimage(number).payment_hash().to_string())
        .collect();
    for limit in 1..=8 {
        let mut query = ListQuery {
            limit: Some(limit),
            ..ListQuery::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = client.list(Direction::Out, &query, soon()).await.unwrap();
            assert!(page.loops.len() <= limit as usize);
            seen.extend(page.loops.into_iter().map(|one| one.payment_hash));
            match page.next_page {
                Some(next) => query.page = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, wanted, "pages of {limit}");
    }
    let query = ListQuery {
        state: Some(State::Funded),
        ..ListQuery::default()
    };
    let funded = client.list(Direction::Out, &query, soon()).await.unwrap();
    assert_eq!(funded.loops.len(), 1);
    assert_eq!(funded.loops[0].payment_hash, wanted[4]);
    let inward = client
        .list(Direction::In, &ListQuery::default(), soon())
        .await
        .unwrap();
    assert_eq!((inward.loops.len(), inward.next_page), (1, None));
    service.stop().await;
}

#[tokio::test]
async fn a_stream_begins_with_the_present_and_ends_when_the_loop_is_final() {
    let service = Service::start(Limits::default()).await;
    let client = service.client();
    let made = client.loop_out(&out(1), None, soon()).await.unwrap();
    let hash = preimage(1).payment_hash();
    let mut updates = client.updates(Direction::Out, hash, soon()).await.unwrap();
    let mut next = async || updates.next(soon()).await.unwrap();
    assert_eq!(next().await, Some(made));
    service.desk.payment_arrives(hash);
    let held = next().await.unwrap();
    assert_eq!(
        (held.phase.as_str(), held.state),
        ("payment_held", State::Created)
    );
    assert_eq!(
        client.get(Direction::Out, hash, soon()).await.unwrap(),
        held
    );
    service.desk.coins_are_locked(hash);
    assert_eq!(next().await.unwrap().state, State::Funded);
    service.desk.coins_are_spent(hash, SpendKind::Claim);
    let last = next().await.unwrap();
    assert!(last.is_final && last.state == State::Claimed);
    assert_eq!(next().await, None);
    // Of one that is over, the stream has one event.
    let mut updates = client.updates(Direction::Out, hash, soon()).await.unwrap();
    assert_eq!(updates.next(soon()).await.unwrap(), Some(last));
    assert_eq!(updates.next(soon()).await.unwrap(), None);
    // Not in the other direction.
    let other = client
        .updates(Direction::In, hash, soon())
        .await
        .unwrap_err();
    assert_eq!(other.problem().unwrap().status, 404);
    service.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_at_once() {
    let service = Service::start(Limits::default()).await;
    let client = service.client();
    client.loop_out(&out(1), None, soon()).await.unwrap();
    let hash = preimage(1).payment_hash();
    let mut updates = client.updates(Direction::Out, hash, soon()).await.unwrap();
    updates.next(soon()).await.unwrap();
    let begun = std::time::Instant::now();
    service.stop().await;
    assert!(begun.elapsed() < Limits::default().stop_time);
    assert_eq!(updates.next(soon()).await.unwrap(), None);
    let gone = client.health(soon()).await.unwrap_err();
    assert!(gone.is_transient(), "{gone}");
}

#[tokio::test]
async fn the_stream_is_written_as_browsers_read_it() {
    let service = Service::start(Limits::default()).await;
    service
        .client()
        .loop_out(&out(1), None, soon())
        .await
        .unwrap();
    let hash = preimage(1).payment_hash();
    service.desk.payment_arrives(hash);
    service.desk.coins_are_locked(hash);
    service.desk.coins_are_spent(hash, SpendKind::Refund);
    let now = service.get(&format!("/loop/out/{hash}")).await;
    let stream = service.get(&format!("/loop/out/{hash}/events")).await;
    assert_eq!(stream.kind, "text/event-stream");
    let text = String::from_utf8(stream.body.to_vec()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let data = format!("data: {}", String::from_utf8_lossy(&now.body));
    assert_eq!(lines, ["event: update", &data, ""]);
    service.stop().await;
}
