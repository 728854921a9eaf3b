//! Lines that are nearly right, and a node that is nearly one.

use bitcoin::hex::DisplayHex as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A small generator of numbers (xorshift64*), so that a seed says all.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.below(from.len() as u64);
        &from[usize::try_from(at).expect("it is below a length")]
    }
}

const METHODS: &[&str] = &[
    "server.version",
    "server.ping",
    "server.banner",
    "server.features",
    "server.donation_address",
    "server.peers.subscribe",
    "blockchain.headers.subscribe",
    "blockchain.block.header",
    "blockchain.block.headers",
    "blockchain.estimatefee",
    "blockchain.relayfee",
    "blockchain.scripthash.subscribe",
    "blockchain.scripthash.unsubscribe",
    "blockchain.scripthash.get_history",
    "blockchain.scripthash.get_balance",
    "blockchain.scripthash.get_mempool",
    "blockchain.scripthash.listunspent",
    "blockchain.transaction.get",
    "blockchain.transaction.get_merkle",
    "blockchain.transaction.broadcast",
    "blockchain.transaction.broadcast_package",
    "blockchain.transaction.id_from_pos",
    "mempool.get_info",
    "mempool.get_fee_histogram",
    "nosuch",
    "",
];

const KEYS: &[&str] = &[
    "id",
    "method",
    "params",
    "jsonrpc",
    "scripthash",
    "height",
    "",
    "\u{0}",
];

fn value(random: &mut Random, depth: u64) -> Value {
    match random.below(if depth == 0 { 9 } else { 11 }) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.below(4)),
        3 => json!(random.next()),
        4 => json!(random.next().cast_signed()),
        5 => json!(f64::from_bits(random.next())),
        6 => json!(format!("{:064x}", random.next())),
        7 => json!("f".repeat(usize::try_from(random.below(70)).unwrap_or(0))),
        8 => json!(["1.4", random.pick(&["1.6", "1.4.2", "9", "x", ""])]),
        9 => (0..random.below(5))
            .map(|_| value(random, depth - 1))
            .collect(),
        _ => {
            let keys = 0..random.below(4);
            let pairs = keys.map(|_| {
                let key = (*random.pick(KEYS)).to_owned();
                (key, value(random, depth - 1))
            });
            Value::Object(pairs.collect())
        }
    }
}

fn request(random: &mut Random) -> Value {
    let mut request = json!({
        "jsonrpc": "2.0",
        "id": value(random, 0),
        "method": random.pick(METHODS),
        "params": (0..random.below(4)).map(|_| value(random, 3)).collect::<Value>(),
    });
    if random.below(6) == 0 {
        let key = *random.pick(KEYS);
        request[key] = value(random, 3);
    }
    if random.below(12) == 0
        && let Some(fields) = request.as_object_mut()
    {
        fields.remove(*random.pick(KEYS));
    }
    request
}

/// One line or several, or what should be one.
pub(crate) fn line(random: &mut Random) -> Vec<u8> {
    let mut text = match random.below(20) {
        0 => (0..random.below(40))
            .map(|_| request(random))
            .collect::<Value>()
            .to_string()
            .into_bytes(),
        1 => value(random, 5).to_string().into_bytes(),
        2 => {
            let depth = usize::try_from(random.below(100_000)).unwrap_or(0);
            random
                .pick(&["[", "{\"a\":", "[{\"id\":"])
                .repeat(depth)
                .into_bytes()
        }
        3 => {
            let size = usize::try_from(random.below(5_000_000)).unwrap_or(0);
            let text = random.pick(&["a", "0", "\u{7f}", " "]).repeat(size);
            let method = "blockchain.transaction.broadcast";
            json!({ "id": 1, "method": method, "params": [text] })
                .to_string()
                .into_bytes()
        }
        4 => (0..random.below(200))
            .map(|_| random.next().to_le_bytes()[0])
            .collect(),
        _ => request(random).to_string().into_bytes(),
    };
    // A bit is flipped, a piece is lost or comes twice.
    for _ in 0..random.below(3) {
        let at = usize::try_from(random.below(text.len() as u64 + 1)).unwrap_or(0);
        match random.below(6) {
            0 if at < text.len() => text[at] ^= 1 << random.below(8),
            1 => text.truncate(at),
            2 if text.len() < 100_000 => text.extend_from_within(at..),
            _ => {}
        }
    }
    if random.below(30) != 0 {
        text.push(b'\n');
    }
    text
}

/// A node with one block that answers calls, some of them with nonsense.
pub(crate) async fn fake_node(seed: u64) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let random = std::sync::Arc::new(std::sync::Mutex::new(Random(seed | 1)));
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let random = random.clone();
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let random = random.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let call: Value = serde_json::from_slice(&body).unwrap_or_default();
                    let mut random = random.lock().expect("nobody panics");
                    let answer = match &call {
                        Value::Array(calls) => calls
                            .iter()
                            .map(|call| node_answer(call, &mut random))
                            .collect(),
                        call => node_answer(call, &mut random),
                    };
                    let text = answer.to_string();
                    Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::from(text)))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

fn node_answer(call: &Value, random: &mut Random) -> Value {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
    let id = &call["id"];
    let refused = json!({ "result": null, "error": { "code": -5, "message": "no" }, "id": id });
    let found = match call["method"].as_str().unwrap_or_default() {
        "getbestblockhash" => json!(genesis.block_hash()),
        "getblockhash" if call["params"][0] == 0 => json!(genesis.block_hash()),
        "getblock" => json!(bitcoin::consensus::serialize(&genesis).to_lower_hex_string()),
        "getrawmempool" => json!([]),
        "waitfornewblock" | "getblockhash" => return refused,
        _ if random.below(2) == 0 => return refused,
        _ => value(random, 4),
    };
    json!({ "result": found, "error": null, "id": id })
}
