//! A running server, without bitcoind: what it answers before any coin is involved.
//!
//! The server runs as a process of its own, because it ends its process when it panics. The process is this test
//! binary again, told by its environment to be the server.

mod process;

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use ldk_server_client::{ClientError, api};
use ldk_server_protos::endpoints::{OTHER_METHODS, method};
use ldk_server_protos::grpc::{self, Code};

use process::{
    CONFIG_VARIABLE, Call, EMPTY_FRAME, GOOD, LIMIT, SOME_NODE, Server, config_text, free_port,
    spawn,
};

/// Not a test: the server process.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the parent tells its child what to be"
)]
fn serve_as_child() {
    if let Some(config) = std::env::var_os(CONFIG_VARIABLE) {
        let options = swaprig_ldk_server::Options {
            config: config.into(),
            exit_with_stdin: true,
        };
        if let Err(error) = swaprig_ldk_server::run(options) {
            eprintln!("{error:#}");
            std::process::exit(1);
        }
        std::process::exit(0);
    }
}

#[tokio::test]
async fn raw_requests_get_the_documented_status() {
    let (server, _client) = Server::start().await;
    let unknown = Call {
        path: "/api.LightningNode/Bolt13Send",
        ..GOOD
    };
    let cases = [
        (GOOD, Code::Ok, ""),
        (
            Call {
                content_type: "application/grpc",
                ..GOOD
            },
            Code::Ok,
            "",
        ),
        (
            Call {
                clock_offset: -55,
                ..GOOD
            },
            Code::Ok,
            "",
        ),
        (
            Call {
                clock_offset: -65,
                ..GOOD
            },
            Code::Unauthenticated,
            "Request timestamp expired",
        ),
        (
            Call {
                clock_offset: 65,
                ..GOOD
            },
            Code::Unauthenticated,
            "Request timestamp expired",
        ),
        (
            Call {
                signed: Some(b""),
                ..GOOD
            },
            Code::Unauthenticated,
            "Invalid credentials",
        ),
        (
            Call {
                auth: Some("Bearer x"),
                ..GOOD
            },
            Code::Unauthenticated,
            "Invalid x-auth format",
        ),
        (
            Call {
                auth: Some("HMAC 1:00"),
                ..GOOD
            },
            Code::Unauthenticated,
            "Request timestamp expired",
        ),
        (
            Call {
                auth: Some("Bearer x"),
                ..unknown
            },
            Code::Unauthenticated,
            "Invalid x-auth format",
        ),
        (unknown, Code::Unimplemented, "Unknown method: Bolt13Send"),
        (
            Call {
                path: "/GetNodeInfo",
                ..GOOD
            },
            Code::Unimplemented,
            "Unknown path: /GetNodeInfo",
        ),
        (
            Call {
                http_method: "PUT",
                ..GOOD
            },
            Code::Unimplemented,
            "gRPC requires POST method",
        ),
        (
            Call {
                content_type: "application/json",
                ..GOOD
            },
            Code::InvalidArgument,
            "Invalid content-type for gRPC",
        ),
        (
            Call { body: b"", ..GOOD },
            Code::InvalidArgument,
            "a gRPC frame starts with 5 bytes, the body has 0",
        ),
        (
            Call {
                body: &[0, 0, 0, 0, 9],
                ..GOOD
            },
            Code::InvalidArgument,
            "the gRPC frame announces 9 bytes, the body has 0",
        ),
        (
            Call {
                body: &[0, 0, 0, 0, 0, 7],
                ..GOOD
            },
            Code::InvalidArgument,
            "1 bytes follow the gRPC frame",
        ),
        (
            Call {
                body: &[1, 0, 0, 0, 0],
                ..GOOD
            },
            Code::Unimplemented,
            "gRPC compression is not supported (flag byte 1)",
        ),
        (
            Call {
                header: Some(("grpc-timeout", "soon")),
                ..GOOD
            },
            Code::InvalidArgument,
            "Invalid grpc-timeout header",
        ),
    ];
    for (index, (call, code, message)) in cases.into_iter().enumerate() {
        assert_eq!(
            server.status(call).await,
            (code, message.to_owned()),
            "case {index}"
        );
    }
    let garbage = Call {
        body: &[0, 0, 0, 0, 1, 0xff],
        ..GOOD
    };
    let (code, message) = server.status(garbage).await;
    assert!(
        code == Code::InvalidArgument && message.starts_with("Malformed request"),
        "{message}"
    );

    let without_auth = Request::post(format!("https://localhost{}", GOOD.path))
        .header("content-type", GOOD.content_type);
    let (_, headers) = server
        .raw(
            without_auth
                .body(Full::new(Bytes::from_static(EMPTY_FRAME)))
                .unwrap(),
        )
        .await;
    assert_eq!(headers.get("grpc-status").unwrap(), "16");
    assert_eq!(
        headers.get("grpc-message").unwrap(),
        "Missing x-auth metadata"
    );

    let metrics = Request::get("https://localhost/metrics")
        .body(Full::default())
        .unwrap();
    assert_eq!(server.raw(metrics).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let (server, client) = Server::start().await;
    // The kernel accepts connections to it, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let request = api::ConnectPeerRequest {
        node_pubkey: SOME_NODE.to_owned(),
        address: silent.local_addr().unwrap().to_string(),
        persist: false,
    };
    let body = grpc::encode_message(&request);
    let path = "/api.LightningNode/ConnectPeer";
    let call = Call {
        path,
        body: &body,
        header: Some(("grpc-timeout", "50m")),
        ..GOOD
    };
    let answer = server.status(call).await;
    assert_eq!(
        answer,
        (Code::DeadlineExceeded, "Deadline exceeded".to_owned())
    );
    let impatient = client.with_timeout(Duration::from_millis(50));
    let error = impatient.connect_peer(request).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn every_method_is_served_or_refused_by_name() {
    let (server, client) = Server::start().await;
    let status = async |name: &str| {
        let path = format!("/api.LightningNode/{name}");
        let call = Call {
            path: &path,
            ..GOOD
        };
        server.status(call).await
    };
    let answered = method::ALL.iter();
    for name in answered.filter(|name| **name != method::SUBSCRIBE_EVENTS) {
        let (code, message) = status(name).await;
        assert_ne!(code, Code::Unimplemented, "{name}: {message}");
        assert_ne!(code, Code::Internal, "{name}: {message}");
    }
    for name in OTHER_METHODS {
        let (code, message) = status(name).await;
        assert_eq!(code, Code::Unimplemented, "{name}");
        let start = format!("{name} is not implemented by the bundled ldk-server");
        assert!(message.starts_with(&start), "{message}");
    }
    drop(client.subscribe_events().await.unwrap());
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (Code, String) {
    match answer {
        Err(ClientError::Status { code, message, .. }) => (code, message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Asserts of each call that it is an invalid argument, and what it is told.
macro_rules! refuses {
    ($client:ident, $($method:ident($request:expr) => $text:literal,)+) => {
        $(
            let answer = refused($client.$method($request).await);
            assert_eq!(answer, (Code::InvalidArgument, $text.to_owned()));
        )+
    };
}

#[tokio::test]
async fn malformed_values_are_invalid_arguments() {
    let (_server, client) = Server::start().await;
    let id = client
        .get_node_info(api::GetNodeInfoRequest {})
        .await
        .unwrap()
        .node_id;
    let close = |channel: &str, node: &str| api::CloseChannelRequest {
        user_channel_id: channel.to_owned(),
        counterparty_node_id: node.to_owned(),
    };
    let hash = |text: &str| api::Bolt11FailForHashRequest {
        payment_hash: text.to_owned(),
    };
    let unpaged = api::ListPaymentsRequest {
        page_token: Some(Bytes::from_static(b"x")),
    };
    let payment = api::GetPaymentDetailsRequest {
        payment_id: "zz".into(),
    };
    let send = api::Bolt11SendRequest {
        invoice: "lnbcrt1x".into(),
        ..Default::default()
    };
    let nowhere = api::OpenChannelRequest {
        node_pubkey: id.clone(),
        ..Default::default()
    };
    let config = api::UpdateChannelConfigRequest {
        user_channel_id: "1".into(),
        ..Default::default()
    };
    refuses! { client,
        close_channel(close("0x1", &id)) => "Invalid UserChannelId.",
        close_channel(close("1", "02")) => "Invalid counterparty node ID, error: malformed public key",
        bolt11_fail_for_hash(hash("abc")) => "Invalid payment_hash, must be a 32-byte hex string.",
        bolt11_fail_for_hash(hash(&"ab".repeat(32))) => "The given payment hash is invalid.",
        get_payment_details(payment) => "Invalid payment_id, must be a 32-byte hex string.",
        list_payments(unpaged) => "Invalid page_token, must be one that ListPayments gave.",
        bolt11_send(send) => "The given invoice is invalid.",
        decode_invoice(Default::default()) => "The given invoice is invalid.",
        onchain_send(api::OnchainSendRequest { address: "x".into(), ..Default::default() }) => "The given address is invalid.",
        open_channel(nowhere) => "The given network address is invalid.",
        disconnect_peer(api::DisconnectPeerRequest { node_pubkey: "03".into() }) => "The given public key is invalid.",
        update_channel_config(config) => "Channel not found for given user_channel_id.",
    }
}

#[tokio::test]
async fn what_needs_no_coins_works() {
    let (_server, client) = Server::start().await;
    let info = client
        .get_node_info(api::GetNodeInfoRequest {})
        .await
        .unwrap();
    assert!(info.version.contains("ldk-node"), "{}", info.version);
    assert_eq!(info.node_id.len(), 66);

    let message = Bytes::from_static(b"hello");
    let request = api::SignMessageRequest {
        message: message.clone(),
    };
    let signature = client.sign_message(request).await.unwrap().signature;
    for (message, valid) in [(message, true), (Bytes::from_static(b"goodbye"), false)] {
        let request = api::VerifySignatureRequest {
            message,
            signature: signature.clone(),
            public_key: info.node_id.clone(),
        };
        assert_eq!(client.verify_signature(request).await.unwrap().valid, valid);
    }

    let request = api::Bolt11ReceiveRequest {
        amount_msat: Some(5_000_000),
        description: None,
        expiry_secs: 60,
    };
    let made = client.bolt11_receive(request).await.unwrap();
    let decoded = client
        .decode_invoice(api::DecodeInvoiceRequest {
            invoice: made.invoice,
        })
        .await
        .unwrap();
    assert_eq!((decoded.amount_msat, decoded.expiry), (Some(5_000_000), 60));
    assert_eq!(
        (decoded.payment_hash.as_str(), decoded.destination),
        (made.payment_hash.as_str(), info.node_id)
    );
    let listed = client.list_all_payments().await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|payment| payment.id.as_str())
            .collect::<Vec<_>>(),
        [made.payment_hash]
    );

    // As upstream: closing what does not exist succeeds.
    let close = api::CloseChannelRequest {
        user_channel_id: "1".into(),
        counterparty_node_id: SOME_NODE.to_owned(),
    };
    client.close_channel(close).await.unwrap();
}

#[tokio::test]
async fn the_end_of_standard_input_ends_it_and_its_streams() {
    let (mut server, client) = Server::start().await;
    let mut events = client.subscribe_events().await.unwrap();
    drop(server.child.stdin.take());
    let end = tokio::time::timeout(LIMIT, events.next())
        .await
        .expect("the stream did not end");
    assert_eq!(
        refused(end),
        (Code::Unavailable, "server shutting down".to_owned())
    );
    assert!(server.wait_for_end().await.success());
}

#[tokio::test]
async fn a_killed_server_keeps_its_identity() {
    let (mut server, client) = Server::start().await;
    let before = client
        .get_node_info(api::GetNodeInfoRequest {})
        .await
        .unwrap()
        .node_id;
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    server.child = spawn(&server.dir.path().join("config.toml"));
    let client = tokio::time::timeout(LIMIT, server.ready())
        .await
        .expect("the server did not become ready again");
    assert_eq!(
        client
            .get_node_info(api::GetNodeInfoRequest {})
            .await
            .unwrap()
            .node_id,
        before
    );
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let cases: [(&str, String, &str); 3] = [
        (
            "[node]",
            "[node]\nrest_service_address = \"x\"".to_owned(),
            "unknown field `rest_service_address`",
        ),
        (
            "rpc_user = \"u\"",
            String::new(),
            "config.toml: `bitcoind.rpc_user` is missing",
        ),
        (
            "network = \"regtest\"",
            format!("network = \"regtest\"\nlistening_addresses = [\"{taken}\"]"),
            "cannot start the node (peer addresses: [127.0.0.1:",
        ),
    ];
    for (from, to, message) in cases {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(
            &config,
            config_text(dir.path(), free_port()).replacen(from, &to, 1),
        )
        .unwrap();
        let mut server = Server {
            child: spawn(&config),
            dir,
            address: String::new(),
        };
        assert!(!server.wait_for_end().await.success());
        let stderr = server.stderr();
        assert!(stderr.contains(message), "{message}: {stderr}");
    }
}
