//! The client against servers that are old, odd, broken or gone.

mod fake;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Response;
use hyper::body::Frame;
use ldk_server_client::events::{ChannelStateChanged, Event, EventEnvelope, event_envelope};
use ldk_server_client::{ClientError, Config, Credential, LdkServerClient, api, types};
use ldk_server_protos::Message;
use ldk_server_protos::auth::HmacScope;
use ldk_server_protos::grpc::{self, Code};
use ldk_server_protos::macaroon::Macaroon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use fake::{Fake, Frames, ask, both, info, key, now, ok, refuse, respond, status, verify};

#[tokio::test]
async fn a_call_is_authenticated_and_answered() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = fake.serve_one(|seen| {
        assert!(verify(&seen, HmacScope::TimestampAndBody));
        assert_eq!(seen.headers.get("te").unwrap(), "trailers");
        assert_eq!(seen.headers.get("grpc-timeout").unwrap(), "10000000u");
        let request =
            api::SignMessageRequest::decode(grpc::decode_unary(&seen.body).unwrap()).unwrap();
        ok(&api::SignMessageResponse {
            signature: format!("signed {:?}", request.message),
        })
    });
    let request = api::SignMessageRequest {
        message: Bytes::from_static(b"hello"),
    };
    let (_server, answer) = both(server, client.sign_message(request)).await;
    assert_eq!(answer.unwrap().signature, "signed b\"hello\"");
}

#[tokio::test]
async fn the_first_grpc_servers_are_recognised_once() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let requests = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&requests);
    let server = fake.serve_one(move |seen| {
        *counter.lock().unwrap() += 1;
        if verify(&seen, HmacScope::Timestamp) {
            ok(&info("old"))
        } else {
            refuse(Code::Unauthenticated, "Invalid credentials")
        }
    });
    let (_server, first) = both(server, ask(&client)).await;
    assert_eq!(first.unwrap(), "old");
    assert_eq!(*requests.lock().unwrap(), 2);
    assert_eq!(ask(&client).await.unwrap(), "old");
    assert_eq!(*requests.lock().unwrap(), 3);
}

#[tokio::test]
async fn a_wrong_key_is_reported_in_the_servers_words() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = fake.serve_one(|_| refuse(Code::Unauthenticated, "Invalid credentials"));
    let (_server, answer) = both(server, ask(&client)).await;
    let error = answer.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unauthenticated));
    assert_eq!(
        error.to_string(),
        format!(
            "GetNodeInfo at {} failed: Invalid credentials (gRPC Unauthenticated (16))",
            fake.address()
        )
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_macaroon_is_bound_to_its_request() {
    const MACAROON: &str =
        "02020161000006200909090909090909090909090909090909090909090909090909090909090909";
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client_with(Credential::Macaroon(Macaroon::parse_hex(MACAROON).unwrap()));
    let server = fake.serve_one(|seen| {
        let macaroon =
            Macaroon::parse_hex(seen.headers.get("macaroon").unwrap().to_str().unwrap()).unwrap();
        let caveat = String::from_utf8(macaroon.caveats().next().unwrap().to_vec()).unwrap();
        let words: Vec<_> = caveat.split(' ').collect();
        assert!(now() - words[2].parse::<u64>().unwrap() < 60);
        assert_eq!(words[..2], ["request", "="]);
        assert_eq!(words[3], "GetNodeInfo");
        // SHA-256 of five zero bytes, the frame of an empty message.
        assert_eq!(
            words[4],
            "8855508aade16ec573d21e6a485dfd0a7624085c1a14b5ecdd6485de0c6839a4"
        );
        assert!(!seen.headers.contains_key("x-auth"));
        ok(&info("new"))
    });
    let (_server, answer) = both(server, ask(&client)).await;
    assert_eq!(answer.unwrap(), "new");
}

#[tokio::test]
async fn a_server_that_wants_the_other_credential_is_incompatible() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = fake.serve_one(|_| refuse(Code::Unauthenticated, "Missing macaroon"));
    let (_server, answer) = both(server, ask(&client)).await;
    let message = answer.unwrap_err().to_string();
    assert!(
        message.contains(
            "we authenticate with an API key (x-auth), the server answered \"Missing macaroon\""
        ),
        "{message}"
    );
}

#[tokio::test]
async fn a_rest_server_is_named() {
    for alpn in [&[][..], &[b"http/1.1".as_slice()][..]] {
        let fake = Fake::new(alpn).await;
        let client = fake.client();
        let server = async {
            let (tcp, _) = fake.listener.accept().await.unwrap();
            let _ = fake.tls.accept(tcp).await;
        };
        let ((), answer) = both(server, ask(&client)).await;
        let error = answer.unwrap_err();
        assert!(
            matches!(error, ClientError::Incompatible { .. }),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .contains("it has the REST API from before April 2026"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_named() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = async {
        let (mut tcp, _) = fake.listener.accept().await.unwrap();
        let mut ignored = [0; 16];
        tcp.read_exact(&mut ignored).await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        tcp
    };
    let (_tcp, answer) = both(server, ask(&client)).await;
    assert!(
        answer
            .unwrap_err()
            .to_string()
            .contains("it does not speak TLS")
    );
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let fake = Fake::new(&[b"h2"]).await;
    let other = Fake::new(&[b"h2"]).await;
    let config = Config {
        address: fake.address().to_string(),
        tls_cert_pem: other.cert_pem.clone(),
        credential: Credential::ApiKey(key()),
    };
    let client = LdkServerClient::new(config).unwrap();
    let server = async {
        let (tcp, _) = fake.listener.accept().await.unwrap();
        let _ = fake.tls.accept(tcp).await;
    };
    let ((), answer) = both(server, ask(&client)).await;
    let message = answer.unwrap_err().to_string();
    assert!(
        message.contains("verifying the server's certificate against its tls.crt failed"),
        "{message}"
    );
}

#[tokio::test]
async fn a_broken_connection_is_made_again() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let (server, answer) = both(fake.serve_one(|_| ok(&info("first"))), ask(&client)).await;
    assert_eq!(answer.unwrap(), "first");
    drop(server);
    // Until the client has noticed, a request may go into the dead connection; that is not repeated, but reported.
    let asked_until_answered = async {
        loop {
            match ask(&client).await {
                Err(error) if error.is_transient() => tokio::task::yield_now().await,
                answer => break answer,
            }
        }
    };
    let (_server, answer) = both(
        fake.serve_one(|_| ok(&info("second"))),
        asked_until_answered,
    )
    .await;
    assert_eq!(answer.unwrap(), "second");
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_repeated() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = async {
        let (tcp, _) = fake.listener.accept().await.unwrap();
        let mut tls = fake.tls.accept(tcp).await.unwrap();
        // The preface, the settings and the request, and then the server dies.
        let mut seen = Vec::new();
        while !seen.windows(5).any(|bytes| bytes == [0, 0, 0, 0, 0]) || seen.len() < 200 {
            let mut chunk = [0; 4096];
            let read = tls.read(&mut chunk).await.unwrap();
            seen.extend_from_slice(&chunk[..read]);
        }
        drop(tls);
        tokio::time::timeout(Duration::from_millis(300), fake.listener.accept())
            .await
            .is_err()
    };
    let (nobody_came_again, answer) = both(server, ask(&client)).await;
    let error = answer.unwrap_err();
    assert!(nobody_came_again);
    assert!(error.is_transient(), "{error:?}");
    assert!(
        error.to_string().contains("sending the request failed"),
        "{error}"
    );
}

#[tokio::test]
async fn nobody_there() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    drop(fake);
    let error = ask(&client).await.unwrap_err();
    assert!(error.to_string().ends_with("connecting failed"), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_timeout() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client().with_timeout(Duration::from_millis(100));
    let started = Instant::now();
    // The kernel accepts the connection; nobody answers the handshake.
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn answers_that_are_none() {
    let empty = || Frame::data(grpc::encode_message(&api::GetNodeInfoRequest {}));
    let done = || Frame::trailers(status(Code::Ok, ""));
    let garbage = Frame::data(Bytes::from_static(&[0, 0, 0, 0, 1, 0xff]));
    let bad_gateway = Response::builder()
        .status(502)
        .body(Frames(VecDeque::new()))
        .unwrap();
    let cases = [
        (
            respond([done()]),
            "a gRPC frame starts with 5 bytes, the body has 0",
        ),
        (
            respond([empty(), empty(), done()]),
            "5 bytes follow the gRPC frame",
        ),
        (respond([empty()]), "the answer has no grpc-status"),
        (respond([garbage, done()]), "failed to decode"),
        (bad_gateway, "HTTP 502"),
    ];
    let fake = Fake::new(&[b"h2"]).await;
    for (response, expected) in cases {
        let client = fake.client();
        let response = Mutex::new(Some(response));
        let server = fake.serve_one(move |_| response.lock().unwrap().take().unwrap());
        let (_server, answer) = both(server, ask(&client)).await;
        let error = answer.unwrap_err();
        let chain = format!("{:#}", anyhow::Error::new(error));
        assert!(chain.contains(expected), "{expected}: {chain}");
    }
}

#[tokio::test]
async fn all_pages_are_read() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let server = fake.serve_one(|seen| {
        let request =
            api::ListPaymentsRequest::decode(grpc::decode_unary(&seen.body).unwrap()).unwrap();
        let page = request.page_token.map_or(0, |token| token[0]);
        let payment = types::Payment {
            id: format!("payment {page}"),
            ..Default::default()
        };
        let next_page_token = (page < 2).then(|| Bytes::from(vec![page + 1]));
        ok(&api::ListPaymentsResponse {
            payments: vec![payment],
            next_page_token,
        })
    });
    let (_server, payments) = both(server, client.list_all_payments()).await;
    let ids: Vec<_> = payments
        .unwrap()
        .into_iter()
        .map(|payment| payment.id)
        .collect();
    assert_eq!(ids, ["payment 0", "payment 1", "payment 2"]);
}

#[tokio::test]
async fn a_server_that_repeats_a_page_is_not_asked_for_ever() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let same = || api::ListPaymentsResponse {
        payments: vec![],
        next_page_token: Some(Bytes::from_static(b"x")),
    };
    let (_server, payments) = both(
        fake.serve_one(move |_| ok(&same())),
        client.list_all_payments(),
    )
    .await;
    assert!(
        payments
            .unwrap_err()
            .to_string()
            .contains("the same page token twice")
    );
}

#[tokio::test]
async fn events_until_the_server_stops() {
    let fake = Fake::new(&[b"h2"]).await;
    let client = fake.client();
    let change = ChannelStateChanged {
        channel_id: "c".into(),
        ..Default::default()
    };
    let event = event_envelope::Event::ChannelStateChanged(change.clone());
    let frame = grpc::encode_message(&EventEnvelope { event: Some(event) });
    let server = fake.serve_one(move |_| {
        // Two events in three chunks.
        let both = [&frame[..], &frame[..]].concat();
        let chunks = both
            .chunks(both.len() / 2 - 3)
            .map(|chunk| Frame::data(Bytes::copy_from_slice(chunk)));
        let end = Frame::trailers(status(Code::Unavailable, "server shutting down"));
        respond(chunks.chain([end]).collect::<Vec<_>>())
    });
    let (_server, stream) = both(server, client.subscribe_events()).await;
    let mut stream = stream.unwrap();
    for _ in 0..2 {
        assert_eq!(
            stream.next().await.unwrap(),
            Some(Event::ChannelStateChanged(change.clone()))
        );
    }
    let error = stream.next().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert!(error.is_transient());
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test]
async fn what_cannot_be_a_client() {
    let fake = Fake::new(&[b"h2"]).await;
    let new = |address: &str, pem: &[u8]| {
        let credential = Credential::ApiKey(key());
        let config = Config {
            address: address.into(),
            tls_cert_pem: pem.to_vec(),
            credential,
        };
        format!(
            "{:#}",
            anyhow::Error::new(LdkServerClient::new(config).unwrap_err())
        )
    };
    assert!(
        new("127.0.0.1", &fake.cert_pem).contains("the address \"127.0.0.1\" is not host:port")
    );
    assert!(new("127.0.0.1:1", b"").contains("tls.crt holds no certificate"));
    assert!(new("127.0.0.1:1", &fake.cert_pem[..100]).contains("tls.crt"));
}
