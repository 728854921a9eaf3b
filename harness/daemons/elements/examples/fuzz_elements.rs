//! Throws wrong, mutated and random requests at a node:
//!
//!     cargo run -p swaprig-elements --example fuzz_elements -- --seconds 60 --seed 7
//!
//! A panic or a call that takes too long ends it with the seed and the request. What it sends: calls of every method with
//! values that fit, nearly fit or do not; transactions with changed bytes; bodies that are no JSON; heads that are no HTTP.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use elements::secp256k1_zkp::rand::rngs::StdRng;
use elements::secp256k1_zkp::rand::seq::SliceRandom as _;
use elements::secp256k1_zkp::rand::{Rng as _, RngCore as _, SeedableRng as _};
use serde_json::{Value, json};
use swaprig_elements::http::{self, Credentials};
use swaprig_elements::node::{FeeRate, Node, Params};
use swaprig_elements::rpc::{Shared, State};
use swaprig_elements::wallet::Settings;
use tokio::sync::watch;

/// No call may take longer.
const LIMIT: Duration = Duration::from_secs(20);
/// A node is thrown away after this many requests, before its chain grows slow.
const REQUESTS_PER_NODE: u64 = 1_500;
const FREE_COINS: &str = "12a51d3e6441abbdb3a5b35983260dec3ff457a301a24a4e76d41b0c0adfb99b";

fn main() -> anyhow::Result<()> {
    let mut seconds = 10;
    let mut seed = 1;
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .context("usage: fuzz_elements [--seconds N] [--seed N]")?;
        match name.as_str() {
            "--seconds" => seconds = value.parse()?,
            "--seed" => seed = value.parse()?,
            _ => bail!("usage: fuzz_elements [--seconds N] [--seed N]"),
        }
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let watch = Watch::start(seed);
    let mut round = 0;
    let mut counts = Counts::default();
    while Instant::now() < end {
        let mut fuzzer = Fuzzer::new(seed.wrapping_add(round), Arc::clone(&watch))?;
        fuzzer.run(end, &mut counts)?;
        round += 1;
    }
    println!(
        "{} requests to {round} nodes in {seconds} s, seed {seed}: {} answered, {} refused, {} of them for HTTP's sake; the slowest took {:?}",
        counts.answered + counts.refused,
        counts.answered,
        counts.refused,
        counts.not_http,
        counts.slowest,
    );
    Ok(())
}

#[derive(Default)]
struct Counts {
    answered: u64,
    refused: u64,
    not_http: u64,
    slowest: Duration,
}

/// What is under way, for the report when something goes wrong.
struct Watch {
    request: Mutex<(Instant, String)>,
    number: AtomicU64,
}

impl Watch {
    fn start(seed: u64) -> Arc<Self> {
        let watch = Arc::new(Watch {
            request: Mutex::new((Instant::now(), String::new())),
            number: AtomicU64::new(0),
        });
        let on_panic = Arc::clone(&watch);
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            if let Ok(request) = on_panic.request.try_lock() {
                eprintln!("seed {seed}, request: {}", request.1);
            }
            std::process::abort();
        }));
        let looks = Arc::clone(&watch);
        std::thread::spawn(move || {
            loop {
                // Waits for the time to pass, and for nothing else.
                std::thread::park_timeout(Duration::from_secs(1));
                if let Ok(request) = looks.request.lock()
                    && request.0.elapsed() > LIMIT
                {
                    eprintln!("hangs: seed {seed}, request: {}", request.1);
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn begin(&self, request: &str) {
        self.number.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut current) = self.request.lock() {
            let end = (0..=request.len().min(4000))
                .rev()
                .find(|at| request.is_char_boundary(*at));
            *current = (Instant::now(), request[..end.unwrap_or(0)].to_owned());
        }
    }
}

/// Values that calls have answered, to be used again.
#[derive(Default)]
struct Known {
    txids: Vec<String>,
    blocks: Vec<String>,
    addresses: Vec<String>,
    raw: Vec<String>,
    assets: Vec<String>,
    snapshots: Vec<u64>,
}

struct Fuzzer {
    rng: StdRng,
    watch: Arc<Watch>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<std::thread::JoinHandle<()>>,
    shared: Arc<Shared>,
    known: Known,
    methods: Vec<(String, usize)>,
}

impl Drop for Fuzzer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

impl Fuzzer {
    fn new(seed: u64, watch: Arc<Watch>) -> anyhow::Result<Self> {
        let rng = StdRng::seed_from_u64(seed);
        let mut settings = Settings::defaults([9; 32]);
        settings.fallback_fee = Some(FeeRate::from_sat_per_kvb(100));
        let node = Node::new(Params::liquid_regtest()).map_err(anyhow::Error::msg)?;
        // The stop of the calls is not that of the server: `stop` must not end the run.
        let (ignored, _) = tokio::sync::watch::channel(false);
        let shared = Arc::new(Shared::new(State::new(node, settings, 86_400), ignored));
        let (stop, is_stopping) = tokio::sync::watch::channel(false);
        let (tell, told) = std::sync::mpsc::channel();
        let served = Arc::clone(&shared);
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a port");
                tell.send(listener.local_addr().expect("an address"))
                    .expect("a listener");
                let credentials = Credentials {
                    passwords: vec![("user".to_owned(), "secret".to_owned())],
                    hashed: Vec::new(),
                };
                http::serve(listener, served, credentials, is_stopping).await;
            });
        });
        let mut fuzzer = Fuzzer {
            rng,
            watch,
            address: told.recv()?,
            stop,
            server: Some(server),
            shared,
            known: Known::default(),
            methods: Vec::new(),
        };
        fuzzer.prepare()?;
        Ok(fuzzer)
    }

    /// A call that must work.
    fn must(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        let answer = self.call(&json!({"method": method, "params": params}).to_string());
        let answer: Value = serde_json::from_str(&answer)?;
        if answer["error"].is_null() {
            Ok(answer["result"].clone())
        } else {
            bail!("{method}: {}", answer["error"])
        }
    }

    fn call(&mut self, body: &str) -> String {
        self.watch.begin(body);
        let wallet = if self.rng.gen_ratio(1, 20) {
            Some("w")
        } else {
            None
        };
        swaprig_elements::rpc::answer(&self.shared, wallet, body.as_bytes()).body
    }

    /// A funded wallet, an asset, some blocks.
    fn prepare(&mut self) -> anyhow::Result<()> {
        let help = self.must("help", json!([]))?;
        for line in help.as_str().unwrap_or_default().lines() {
            let mut words = line
                .split_whitespace()
                .filter(|word| !["(", ")"].contains(word));
            // To wait for a block that never comes is what those methods are for, and no hang.
            if let Some(name) = words.next().filter(|name| !name.starts_with("waitfor")) {
                self.methods.push((name.to_owned(), words.count()));
            }
        }
        self.must("createwallet", json!(["w"]))?;
        let address = self.must("getnewaddress", json!(["", "bech32"]))?;
        let address = address.as_str().unwrap_or_default().to_owned();
        let raw = self.must(
            "createrawtransaction",
            json!([[{"txid": FREE_COINS, "vout": 0}], [{ &address: 20999999.999 }, {"fee": 0.001}]]),
        )?;
        self.must("sendrawtransaction", json!([raw]))?;
        self.must("generatetoaddress", json!([2, address]))?;
        self.must("issueasset", json!([1000, 1, true]))?;
        let to = self.must("getnewaddress", json!([]))?;
        self.must("sendtoaddress", json!([to, 5]))?;
        self.must("generatetoaddress", json!([1, address]))?;
        self.must("sendtoaddress", json!([to, 7]))?;
        for kind in ["legacy", "p2sh-segwit"] {
            let more = self.must("getnewaddress", json!(["", kind]))?;
            self.known
                .addresses
                .extend(more.as_str().map(str::to_owned));
        }
        self.known
            .addresses
            .extend([address, to.as_str().unwrap_or_default().to_owned()]);
        self.known.txids.push(FREE_COINS.to_owned());
        self.learn()
    }

    /// Takes new values from the chain as it is.
    fn learn(&mut self) -> anyhow::Result<()> {
        let tip = self.must("getbestblockhash", json!([]))?;
        let block = self.must("getblock", json!([tip, 2]))?;
        self.known.blocks.extend(tip.as_str().map(str::to_owned));
        for tx in block["tx"].as_array().into_iter().flatten() {
            self.known
                .txids
                .extend(tx["txid"].as_str().map(str::to_owned));
            self.known.raw.extend(tx["hex"].as_str().map(str::to_owned));
        }
        let waiting = self.must("getrawmempool", json!([]))?;
        for txid in waiting.as_array().into_iter().flatten().take(3) {
            self.known.txids.extend(txid.as_str().map(str::to_owned));
            if let Ok(raw) = self.must("getrawtransaction", json!([txid])) {
                self.known.raw.extend(raw.as_str().map(str::to_owned));
            }
        }
        if let Value::Object(assets) = self.must("getbalance", json!([]))? {
            self.known.assets = assets.keys().cloned().collect();
        }
        Ok(())
    }

    fn run(&mut self, end: Instant, counts: &mut Counts) -> anyhow::Result<()> {
        for number in 0..REQUESTS_PER_NODE {
            if Instant::now() > end {
                return Ok(());
            }
            let started = Instant::now();
            if self.rng.gen_ratio(1, 25) {
                self.http()?;
                counts.not_http += 1;
                counts.refused += 1;
            } else {
                let body = self.body();
                let answer = self.call(&body);
                let answered = answer.contains("\"error\":null");
                counts.answered += u64::from(answered);
                counts.refused += u64::from(!answered);
                self.keep(&answer);
            }
            counts.slowest = counts.slowest.max(started.elapsed());
            // The wallet may have been unloaded meanwhile, or another one loaded.
            if number % 100 == 99 {
                let _ = self.learn();
            }
        }
        Ok(())
    }

    /// Keeps what an answer gives to mutate further.
    fn keep(&mut self, answer: &str) {
        let Ok(answer) = serde_json::from_str::<Value>(answer) else {
            return;
        };
        let result = &answer["result"];
        let hex = result
            .as_str()
            .or(result["hex"].as_str())
            .unwrap_or_default();
        if hex.len() > 150 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.known.raw.push(hex.to_owned());
        }
        if result.as_u64().is_some() {
            self.known.snapshots.extend(result.as_u64());
        }
        for list in [
            &mut self.known.raw,
            &mut self.known.txids,
            &mut self.known.blocks,
        ] {
            if list.len() > 200 {
                list.drain(..100);
            }
        }
    }

    fn body(&mut self) -> String {
        let body = match self.rng.gen_range(0..40) {
            0 => {
                let members: Vec<Value> = (0..self.rng.gen_range(0..6))
                    .map(|_| self.request())
                    .collect();
                Value::Array(members).to_string()
            }
            _ => self.request().to_string(),
        };
        if !self.rng.gen_ratio(1, 12) {
            return body;
        }
        let mut bytes = body.into_bytes();
        self.mutate(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn request(&mut self) -> Value {
        let (method, count) = self
            .methods
            .choose(&mut self.rng)
            .cloned()
            .unwrap_or_default();
        if self.rng.gen_ratio(1, 2)
            && let Some(params) = self.fitting(&method)
        {
            return json!({"id": 1, "method": method, "params": params});
        }
        let count = match self.rng.gen_range(0..8) {
            0 => self.rng.gen_range(0..count + 3),
            _ => count,
        };
        let params: Vec<Value> = (0..count).map(|_| self.value(3)).collect();
        json!({"id": self.value(1), "method": method, "params": params})
    }

    /// Parameters that nearly always make sense, for the methods that do more than look.
    fn fitting(&mut self, method: &str) -> Option<Value> {
        let address = self.pick(|known| &known.addresses);
        let amount = f64::from(self.rng.gen_range(1..2_000_000_u32)) / 1e5;
        let asset = self.pick(|known| &known.assets);
        Some(match method {
            "sendtoaddress" => json!([
                address,
                amount,
                "",
                "",
                self.rng.r#gen::<bool>(),
                null,
                null,
                null,
                null,
                asset
            ]),
            "generatetoaddress" => json!([self.rng.gen_range(0..12), address]),
            "sim_generate_on" => json!([
                self.pick(|known| &known.blocks),
                self.rng.gen_range(0..4),
                address
            ]),
            "generateblock" => json!([address, [self.transaction()]]),
            "invalidateblock" | "reconsiderblock" => json!([self.pick(|known| &known.blocks)]),
            "getblock" => json!([self.pick(|known| &known.blocks), self.rng.gen_range(0..4)]),
            "sendrawtransaction"
            | "decoderawtransaction"
            | "fundrawtransaction"
            | "blindrawtransaction"
            | "unblindrawtransaction"
            | "signrawtransactionwithwallet" => json!([self.transaction()]),
            "testmempoolaccept" => {
                let txs: Vec<Value> = (0..self.rng.gen_range(1..4))
                    .map(|_| self.transaction())
                    .collect();
                json!([txs])
            }
            "createrawtransaction" => {
                let input = json!({"txid": self.pick(|known| &known.txids), "vout": self.rng.gen_range(0..4)});
                json!([[input], [{ address.as_str()?: amount }, {"fee": 0.000_01}, {"data": "00"}]])
            }
            "issueasset" => json!([amount, amount, self.rng.r#gen::<bool>()]),
            "reissueasset" => json!([asset, amount]),
            "sim_revert" => json!([self.known.snapshots.choose(&mut self.rng)]),
            "gettransaction" | "getrawtransaction" => {
                json!([self.pick(|known| &known.txids), true])
            }
            "gettxout" => json!([self.pick(|known| &known.txids), self.rng.gen_range(0..4)]),
            "setmocktime" => json!([self.rng.gen_range(0..4_000_000_000_u64)]),
            _ => return None,
        })
    }

    fn pick(&mut self, of: impl Fn(&Known) -> &Vec<String>) -> Value {
        of(&self.known)
            .choose(&mut self.rng)
            .map_or(Value::Null, |text| json!(text))
    }

    /// A transaction in hexadecimal, changed more often than not.
    fn transaction(&mut self) -> Value {
        let text = self
            .known
            .raw
            .choose(&mut self.rng)
            .cloned()
            .unwrap_or_default();
        if self.rng.gen_ratio(1, 4) {
            return json!(text);
        }
        let mut bytes: Vec<u8> = (0..text.len() / 2)
            .filter_map(|at| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        self.mutate(&mut bytes);
        let mut text = String::new();
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        json!(text)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.rng.gen_range(1..4) {
            if bytes.is_empty() {
                return;
            }
            // Heads of transactions are the more interesting part of them.
            let end = if self.rng.r#gen() {
                bytes.len()
            } else {
                bytes.len().min(300)
            };
            let at = self.rng.gen_range(0..end);
            match self.rng.gen_range(0..6) {
                0 => bytes[at] ^= 1 << self.rng.gen_range(0..8),
                1 => {
                    bytes[at] = *[0, 1, 0x7f, 0x80, 0xfc, 0xfd, 0xfe, 0xff]
                        .choose(&mut self.rng)
                        .unwrap_or(&0)
                }
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.rng.r#gen()),
                4 => {
                    bytes.remove(at);
                }
                _ => {
                    let from = self.rng.gen_range(0..bytes.len());
                    let to = self.rng.gen_range(from..bytes.len()).min(from + 64);
                    let copy = bytes[from..to].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
    }

    fn value(&mut self, depth: u32) -> Value {
        match self.rng.gen_range(0..if depth > 0 { 14 } else { 11 }) {
            0 => Value::Null,
            1 => json!(self.rng.r#gen::<bool>()),
            2 => self.number(),
            3 => self.pick(|known| &known.txids),
            4 => self.pick(|known| &known.blocks),
            5 => self.pick(|known| &known.addresses),
            6 => self.pick(|known| &known.assets),
            7 => self.transaction(),
            8 => self.text(),
            9 => json!(self.rng.gen_range(-3..20)),
            10 => json!(
                [
                    "start", "*", "", "bech32", "blech32", "ALL", "w", "raw(51)", "addr(x)"
                ]
                .choose(&mut self.rng)
            ),
            11 => {
                let count = self.rng.gen_range(0..4);
                Value::Array((0..count).map(|_| self.value(depth - 1)).collect())
            }
            _ => {
                let count = self.rng.gen_range(0..4);
                let entries = (0..count).map(|_| (self.key(), self.value(depth - 1)));
                Value::Object(entries.collect())
            }
        }
    }

    fn key(&mut self) -> String {
        let keys = [
            "txid",
            "vout",
            "sequence",
            "scriptPubKey",
            "amount",
            "asset",
            "fee",
            "data",
            "vdata",
            "burn",
            "changePosition",
            "subtractFeeFromOutputs",
            "feeRate",
            "fee_rate",
            "changeAddress",
            "minimumAmount",
            "maximumCount",
            "desc",
            "amountcommitment",
            "issuance_amount",
            "asset_entropy",
            "blinder_index",
            "add_inputs",
            "change_type",
            "replaceable",
        ];
        if self.rng.gen_ratio(1, 4) {
            return self
                .pick(|known| &known.addresses)
                .as_str()
                .unwrap_or_default()
                .to_owned();
        }
        (*keys.choose(&mut self.rng).unwrap_or(&"txid")).to_owned()
    }

    fn number(&mut self) -> Value {
        let numbers = [
            "0",
            "-1",
            "1",
            "0.00000001",
            "1e-9",
            "21000000",
            "21000000.00000001",
            "2147483647",
            "2147483648",
            "4294967295",
            "4294967296",
            "-2147483649",
            "9223372036854775807",
            "18446744073709551615",
            "0.1",
            "1e308",
            "-0.0",
            "184467440737.09551615",
            "92233720368.54775807",
            "1e3",
        ];
        let text = numbers.choose(&mut self.rng).copied().unwrap_or("0");
        serde_json::from_str(text).unwrap_or(Value::Null)
    }

    fn text(&mut self) -> Value {
        let length = self.rng.gen_range(0..80);
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        json!(String::from_utf8_lossy(&bytes))
    }

    /// Bytes that are HTTP, nearly or not; and then a request that must be answered.
    fn http(&mut self) -> anyhow::Result<()> {
        let body = self.body();
        let good = format!(
            "POST / HTTP/1.1\r\nHost: node\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut bytes = good.into_bytes();
        for _ in 0..self.rng.gen_range(0..4) {
            let head = bytes.len().min(140);
            let at = self.rng.gen_range(0..head);
            bytes[at] = self.rng.r#gen();
        }
        self.watch.begin(&String::from_utf8_lossy(&bytes));
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let ping = "{\"method\":\"getblockcount\"}";
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: node\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{ping}",
            ping.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200") {
            bail!("the node answers no more: {answer}");
        }
        Ok(())
    }
}
