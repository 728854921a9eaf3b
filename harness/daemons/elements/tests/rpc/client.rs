//! A node that serves on a free port, and a client that knows just enough HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use swaprig_elements::http::{self, Credentials};
use swaprig_elements::node::{FeeRate, Node, Params};
use swaprig_elements::rpc::{Shared, State};
use swaprig_elements::wallet::Settings;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// `user:secret`
const AUTHORIZATION: &str = "Basic dXNlcjpzZWNyZXQ=";
/// The transaction whose output 0 anybody can spend, and what it is worth.
pub(crate) const FREE_COINS: &str =
    "12a51d3e6441abbdb3a5b35983260dec3ff457a301a24a4e76d41b0c0adfb99b";

pub(crate) struct TestNode {
    pub(crate) address: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<std::thread::JoinHandle<()>>,
}

impl TestNode {
    /// A node with the flags of the facts page.
    pub(crate) fn start() -> Self {
        let mut settings = Settings::defaults([7; 32]);
        settings.fallback_fee = Some(FeeRate::from_sat_per_kvb(100));
        let node = Node::new(Params::liquid_regtest()).unwrap();
        let state = State::new(node, settings, 86_400);
        let (stop, is_stopping) = watch::channel(false);
        let shared = Arc::new(Shared::new(state, stop.clone()));
        let credentials = Credentials {
            passwords: vec![("user".to_owned(), "secret".to_owned())],
            hashed: Vec::new(),
        };
        let (tell, told) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                http::serve(listener, shared, credentials, is_stopping).await;
            });
        });
        TestNode {
            address: told.recv().unwrap(),
            stop,
            server: Some(server),
        }
    }

    /// A node with a wallet `w` that has all free coins but a fee of 0.001, in one confirmed coin.
    pub(crate) fn funded() -> Self {
        let node = TestNode::start();
        node.ok("createwallet", json!(["w"]));
        let address = node.address_of("bech32");
        let raw = node.ok(
            "createrawtransaction",
            json!([[{"txid": FREE_COINS, "vout": 0}], [{ &address: 20999999.999 }, {"fee": 0.001}]]),
        );
        node.ok("sendrawtransaction", json!([raw]));
        node.mine(1);
        node
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// The status and the answer to a request.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let (status, text) = self.post_as(AUTHORIZATION, path, body);
        (status, serde_json::from_str(&text).unwrap())
    }

    pub(crate) fn post_as(&self, authorization: &str, path: &str, body: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        let head = head(
            authorization,
            path,
            &format!("Content-Length: {}", body.len()),
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that has heard enough answers and closes before it has read all.
        let _ = stream.write_all(body);
        read_answer(&mut stream)
    }

    pub(crate) fn call_at(&self, path: &str, method: &str, params: Value) -> (u16, Value) {
        let request = json!({"id": "test", "method": method, "params": params});
        self.post(path, request.to_string().as_bytes())
    }

    /// What a call answers.
    pub(crate) fn ok(&self, method: &str, params: Value) -> Value {
        let (status, answer) = self.call_at("/", method, params.clone());
        assert_eq!(status, 200, "{method} {params}: {answer}");
        answer["result"].clone()
    }

    /// The code and the message that a call fails with.
    pub(crate) fn fails(&self, method: &str, params: Value) -> (i64, String) {
        let (status, answer) = self.call_at("/", method, params.clone());
        assert_ne!(status, 200, "{method} {params}: {answer}");
        let error = &answer["error"];
        (
            error["code"].as_i64().unwrap(),
            error["message"].as_str().unwrap().to_owned(),
        )
    }

    pub(crate) fn address_of(&self, kind: &str) -> String {
        let address = self.ok("getnewaddress", json!(["", kind]));
        address.as_str().unwrap().to_owned()
    }

    /// Mines to nobody's address, so that fees do not come back to the wallet.
    pub(crate) fn mine(&self, count: u32) -> Vec<String> {
        let hashes = self.ok("generatetoaddress", json!([count, NOBODY]));
        serde_json::from_value(hashes).unwrap()
    }

    /// The trusted balance of an asset, exactly as written.
    pub(crate) fn balance(&self, asset: &str) -> String {
        self.ok("getbalances", json!([]))["mine"]["trusted"][asset].to_string()
    }
}

/// The address of no key anybody knows.
pub(crate) const NOBODY: &str = "XBMEr9McFXkiLWTVqTyuNQR1CqKkMPMn6L";

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the server panicked"
            );
        }
    }
}

pub(crate) fn head(authorization: &str, path: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: node\r\nAuthorization: {authorization}\r\n{more}\r\n\r\n"
    )
}

pub(crate) fn authorized_head(path: &str, more: &str) -> String {
    head(AUTHORIZATION, path, more)
}

/// Reads one answer: the status and the body.
pub(crate) fn read_answer(stream: &mut TcpStream) -> (u16, String) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}
