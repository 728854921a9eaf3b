use std::sync::atomic::AtomicU32;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::*;

#[test]
fn the_words_of_a_node_have_a_meaning() {
    let of = |text: &str| verdict(text.to_owned());
    for known in [
        "txn-already-in-mempool",
        "Transaction already in block chain",
        "Transaction outputs already in utxo set",
    ] {
        assert_eq!(of(known), Ok(()));
    }
    let wrapped =
        r#"sendrawtransaction RPC error: {"code":-25,"message":"bad-txns-inputs-missingorspent"}"#;
    assert!(matches!(
        of(wrapped),
        Err(BroadcastError::MissingInputs { .. })
    ));
    for no in [
        "min relay fee not met, 0 < 25",
        "non-final",
        "bad-txns-in-ne-out",
        "txn-mempool-conflict",
    ] {
        assert!(
            matches!(of(no), Err(BroadcastError::Rejected { .. })),
            "{no}"
        );
    }
    assert!(matches!(
        of("Loading block index…"),
        Err(BroadcastError::Unreachable(_))
    ));
}

#[test]
fn attempts_to_connect_become_rarer_to_a_limit() {
    assert_eq!(pause(1), FIRST_PAUSE);
    assert_eq!(pause(2), FIRST_PAUSE * 2);
    assert_eq!(pause(99), LONGEST_PAUSE);
}

#[test]
fn a_script_is_called_by_its_reversed_hash() {
    // SHA-256 of nothing.
    assert_eq!(
        script_hash(&Script::new()),
        "55b852781b9995a44c939b64e441ae2724b96f99c8f4fb9a141cfc9842c4b0e3"
    );
}

/// What a scripted server does about a call.
enum Reply {
    Result(Value),
    Error(&'static str),
    Line(&'static str),
    Silence,
    Close,
}

/// A server on a port of its own that answers as `reply` says; how often it was connected to is counted.
async fn server(
    reply: impl Fn(&str, &Value) -> Reply + Clone + Send + 'static,
) -> (Index, Arc<AtomicU32>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, reply.clone()));
        }
    });
    let settings = IndexSettings {
        timeout: Duration::from_millis(300),
        ..IndexSettings::new(url)
    };
    (Index::new(settings).unwrap(), count)
}

async fn serve(stream: tokio::net::TcpStream, reply: impl Fn(&str, &Value) -> Reply) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let call: Value = serde_json::from_str(&line).unwrap();
        let method = call["method"].as_str().unwrap();
        let reply = match method {
            "server.version" => Reply::Result(json!(["scripted", "1.4"])),
            _ => reply(method, &call["params"]),
        };
        let line = match reply {
            Reply::Result(result) => json!({"id": call["id"], "result": result}).to_string(),
            Reply::Error(text) => {
                json!({"id": call["id"], "error": {"code": 1, "message": text}}).to_string()
            }
            Reply::Line(line) => line.to_owned(),
            Reply::Silence => continue,
            Reply::Close => return,
        };
        if write
            .write_all(format!("{line}\n").as_bytes())
            .await
            .is_err()
        {
            return;
        }
    }
}

fn some_transaction(lock_time: u32) -> Transaction {
    Transaction {
        version: 2,
        lock_time: elements::LockTime::from_consensus(lock_time),
        input: Vec::new(),
        output: Vec::new(),
    }
}

#[tokio::test]
async fn another_transaction_than_the_one_that_was_asked_for_is_refused() {
    let raw = serialize_hex(&some_transaction(1));
    let (index, _) = server(move |_, _| Reply::Result(json!(raw))).await;
    let (right, wrong) = (some_transaction(1), some_transaction(2));
    assert_eq!(index.transaction(right.txid()).await, Ok(right));
    let error = index.transaction(wrong.txid()).await.unwrap_err();
    assert!(matches!(error, IndexError::Malformed { .. }), "{error}");
    let error = index.broadcast(&wrong).await.unwrap_err();
    assert!(matches!(error, BroadcastError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn nonsense_silence_and_a_closed_connection_are_told_and_the_next_call_is_made_anew() {
    let (index, connected) = server(|_, params| match params[0].as_u64() {
        Some(1) => Reply::Silence,
        Some(2) => Reply::Close,
        Some(3) => Reply::Line("no JSON"),
        Some(4) => Reply::Error("Loading"),
        Some(5) => Reply::Result(json!("no number")),
        _ => Reply::Result(json!(0.000_001)),
    })
    .await;
    for (blocks, says) in [(1, "no answer in 300ms"), (2, "closed"), (3, "not JSON")] {
        let error = index.fee_rate(blocks).await.unwrap_err();
        assert!(
            matches!(&error, IndexError::Unreachable(why) if why.contains(says)),
            "{error}"
        );
    }
    let error = index.fee_rate(4).await.unwrap_err();
    assert!(matches!(error, IndexError::Refused { .. }), "{error}");
    let error = index.fee_rate(5).await.unwrap_err();
    assert!(matches!(error, IndexError::Malformed { .. }), "{error}");
    assert_eq!(index.fee_rate(6).await, Ok(Some(FeeRate(100))));
    assert_eq!(
        connected.load(Ordering::Relaxed),
        3,
        "silence is no reason to connect again"
    );
}

#[tokio::test]
async fn a_call_that_hangs_holds_up_no_other() {
    let (index, connected) = server(|_, params| match params[0].as_u64() {
        Some(1) => Reply::Silence,
        _ => Reply::Result(json!(0.000_001)),
    })
    .await;
    let hanging = tokio::spawn({
        let index = index.clone();
        async move { index.fee_rate(1).await }
    });
    // It is on its way when the other one has its own connection.
    while connected.load(Ordering::Relaxed) < 2 {
        assert_eq!(index.fee_rate(2).await, Ok(Some(FeeRate(100))));
        assert!(!hanging.is_finished());
    }
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_ever_more_rarely() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    drop(listener);
    let settings = IndexSettings {
        connections: 1,
        ..IndexSettings::new(url)
    };
    let index = Index::new(settings).unwrap();
    for _ in 0..200 {
        let error = index.tip().await.unwrap_err();
        assert!(matches!(error, IndexError::Unreachable(_)), "{error}");
    }
    let slot = index.0.slots[0].lock().await;
    let (times, ..) = slot.failed.as_ref().unwrap();
    assert!(*times < 20, "{times} attempts for 200 calls in a row");
}
