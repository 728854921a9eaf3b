//! A gRPC server in the place of one that somebody else wrote: nothing of it is shared with what calls it but the
//! `.proto` files.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ldk_server_client::{Config, Credential, Detected, LdkServerClient};
use prost::Message;
use rcgen::{CertifiedKey, KeyPair};
use serde_json::{Value, json};
use swaprig_harness::bitcoind::{Rpc, RpcError};
use swaprig_harness::elementsd::{AssetAmount, FAUCET};
use swaprig_harness::time::Deadline;
use swaprig_harness::units::Sat;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};

/// How long a daemon that it asks may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A status that is not OK: its code and its text.
type Refusal = (u8, String);

const NOT_FOUND: u8 = 5;
const UNIMPLEMENTED: u8 = 12;
const INTERNAL: u8 = 13;

#[derive(Clone, PartialEq, Message)]
struct OpenRequest {
    #[prost(uint64, tag = "1")]
    sat: u64,
    #[prost(string, tag = "2")]
    key: String,
    #[prost(bytes = "bytes", tag = "3")]
    hash: Bytes,
    #[prost(int32, tag = "4")]
    side: i32,
    #[prost(uint32, repeated, tag = "5")]
    heights: Vec<u32>,
    #[prost(map = "string, uint64", tag = "6")]
    limits: HashMap<String, u64>,
    #[prost(message, optional, tag = "7")]
    terms: Option<Terms>,
}

#[derive(Clone, PartialEq, Message)]
struct Terms {
    #[prost(uint32, tag = "1")]
    timeout: u32,
    #[prost(string, optional, tag = "2")]
    memo: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Swap {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "bytes", tag = "2")]
    hash: Bytes,
    #[prost(uint64, tag = "3")]
    sat: u64,
    #[prost(int32, tag = "4")]
    state: i32,
    #[prost(message, optional, tag = "5")]
    terms: Option<Terms>,
    #[prost(uint32, repeated, tag = "6")]
    heights: Vec<u32>,
    #[prost(map = "string, uint64", tag = "7")]
    limits: HashMap<String, u64>,
    #[prost(int32, tag = "8")]
    side: i32,
}

/// Any message whose first field is a text.
#[derive(Clone, PartialEq, Message)]
struct TextFirst {
    #[prost(string, tag = "1")]
    text: String,
}

/// Any message whose first field is a number, and whose second one is a text.
#[derive(Clone, PartialEq, Message)]
struct NumberFirst {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(string, tag = "2")]
    text: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListReply {
    #[prost(message, repeated, tag = "1")]
    swaps: Vec<Locked>,
    #[prost(string, tag = "2")]
    next: String,
}

#[derive(Clone, PartialEq, Message)]
struct Locked {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    htlc: Option<TextFirst>,
}

/// `ServerReflectionRequest`.
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "3")]
    file: String,
    #[prost(string, tag = "4")]
    symbol: String,
    #[prost(string, tag = "7")]
    list: String,
}

/// `ServerReflectionResponse`.
#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(message, optional, tag = "4")]
    files: Option<Files>,
    #[prost(message, optional, tag = "6")]
    services: Option<Services>,
    #[prost(message, optional, tag = "7")]
    error: Option<NumberFirst>,
}

#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    services: Vec<TextFirst>,
}

/// A server that runs.
struct Maker {
    args: HashMap<String, String>,
    /// Each file of its API, by its name.
    files: HashMap<String, Bytes>,
    swaps: Mutex<Vec<(Swap, u32)>>,
    health_checks: Mutex<u32>,
}

/// Serves until it is killed. The arguments are pairs, `--listen 127.0.0.1:1`.
pub(crate) fn serve(args: &[String]) -> ! {
    let pairs = args.chunks(2).map(|pair| match pair {
        [key, value] => (key.trim_start_matches('-').to_owned(), value.clone()),
        _ => panic!("no value for {pair:?}"),
    });
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers");
    let set = protox::compile(["maker.proto"], [dir]).expect("the proto files are sound");
    let files = set.file.iter();
    let files = files.map(|file| (file.name().to_owned(), file.encode_to_vec().into()));
    let maker = Arc::new(Maker {
        args: pairs.collect(),
        files: files.collect(),
        swaps: Mutex::default(),
        health_checks: Mutex::default(),
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async move {
        // The certificate is there before the port answers: that is when the server counts as ready.
        let tls = maker.tls();
        if let Some(text) = maker.args.get("descriptor") {
            std::fs::write("wallet.txt", text).expect("its directory is there");
        }
        let listener = tokio::net::TcpListener::bind(&maker.args["listen"]).await;
        let listener = listener.expect("its port is free");
        println!("up");
        let _ = std::io::stdout().flush();
        loop {
            let Ok((tcp, _)) = listener.accept().await else {
                continue;
            };
            let (maker, tls) = (maker.clone(), tls.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let maker = maker.clone();
                    async move { Ok::<_, Infallible>(maker.respond(request).await) }
                });
                let http = http2::Builder::new(TokioExecutor::new());
                // A client that goes away, or does not trust this certificate, is no matter.
                let _ = match tls {
                    None => http.serve_connection(TokioIo::new(tcp), service).await,
                    Some(tls) => match tls.accept(tcp).await {
                        Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                        Err(_) => Ok(()),
                    },
                };
            });
        }
    })
}

/// A self-signed certificate for this machine, and its key.
fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate")
}

impl Maker {
    /// With `--tls FILE` its connections are encrypted by a certificate that it makes. `--leaves` says what it leaves in the
    /// file: that one, `another`, `nonsense` or, with `nothing`, no file.
    fn tls(&self) -> Option<TlsAcceptor> {
        let path = self.args.get("tls")?;
        let own = certificate();
        let left = match self.args.get("leaves").map(String::as_str) {
            None => Some(own.cert.pem()),
            Some("another") => Some(certificate().cert.pem()),
            Some("nonsense") => Some("no certificate".to_owned()),
            Some(_) => None,
        };
        if let Some(left) = left {
            std::fs::write(path, left).expect("its directory is there");
        }
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .expect("they belong together");
        config.alpn_protocols = vec![b"h2".to_vec()];
        Some(Arc::new(config).into())
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
    ) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let body = request.into_body().collect().await;
        let frame = body.map(|body| body.to_bytes()).unwrap_or_default();
        let answer = match frame.len() {
            0..5 => Err((INTERNAL, "no message".to_owned())),
            _ => self.answer(&path, frame.slice(5..)).await,
        };
        let mut trailers = HeaderMap::new();
        let mut data = BytesMut::new();
        let (code, text) = match answer {
            Ok(message) => {
                data.put_u8(0);
                data.put_u32(u32::try_from(message.len()).expect("it is small"));
                data.put_slice(&message);
                (0, String::new())
            }
            Err(refusal) => refusal,
        };
        trailers.insert("grpc-status", u16::from(code).into());
        if let Ok(text) = text.parse() {
            trailers.insert("grpc-message", text);
        }
        let body = Full::new(data.freeze()).with_trailers(async move { Some(Ok(trailers)) });
        Response::builder()
            .header("content-type", "application/grpc")
            .body(body.boxed_unsync())
            .expect("a response")
    }

    async fn answer(&self, path: &str, message: Bytes) -> Result<Vec<u8>, Refusal> {
        let arg = |name: &str| self.args.get(name).map(String::as_str);
        match path {
            "maker.v1.Maker/Open" => self.open(decoded(message)?),
            "maker.v1.Maker/Show" => self.show(&decoded::<TextFirst>(message)?.text),
            "maker.v1.Maker/Look" => self.look().await,
            "maker.v1.Maker/Withdraw" => {
                self.withdraw(decoded::<NumberFirst>(message)?.number).await
            }
            "maker.v1.Maker/Lock" => self.lock(decoded(message)?).await,
            "maker.v1.Maker/List" => self.list(&decoded::<TextFirst>(message)?.text),
            "grpc.health.v1.Health/Check" if arg("health").is_some() => {
                self.health(&decoded::<TextFirst>(message)?.text)
            }
            path if path.split('/').next() == arg("reflection") => {
                Ok(self.tell(&decoded(message)?).encode_to_vec())
            }
            path => Err((UNIMPLEMENTED, format!("no {path} here"))),
        }
    }

    fn open(&self, asked: OpenRequest) -> Result<Vec<u8>, Refusal> {
        if asked.sat > 1_000_000 {
            return Err((NOT_FOUND, "no liquidity: 100% is out".replace('%', "%25")));
        }
        let mut swaps = self.swaps.lock().expect("no panic");
        let swap = Swap {
            id: format!("{}-{}", asked.key, swaps.len() + 1),
            hash: asked.hash,
            sat: asked.sat,
            state: 1,
            terms: asked.terms,
            heights: asked.heights,
            limits: asked.limits,
            side: asked.side,
        };
        swaps.push((swap.clone(), 0));
        Ok(swap.encode_to_vec())
    }

    fn show(&self, id: &str) -> Result<Vec<u8>, Refusal> {
        let mut swaps = self.swaps.lock().expect("no panic");
        let found = swaps.iter_mut().find(|(swap, _)| swap.id == id);
        let (swap, looks) = found.ok_or((NOT_FOUND, format!("no swap {id}")))?;
        *looks += 1;
        if *looks == 3 {
            swap.state = 2;
        }
        Ok(swap.encode_to_vec())
    }

    fn rpc(&self) -> Result<Rpc, Refusal> {
        let address = self.args.get("bitcoind").cloned().unwrap_or_default();
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let port = port.ok_or((INTERNAL, "no bitcoind".to_owned()))?;
        Ok(Rpc::new("bitcoind", port))
    }

    async fn look(&self) -> Result<Vec<u8>, Refusal> {
        let deadline = Deadline::after(PATIENCE);
        let height = self.rpc()?.call("getblockcount", &[], deadline).await;
        let mut seen = NumberFirst {
            number: height.map_err(internal)?,
            text: String::new(),
        };
        if let (Some(address), Some(cert)) = (self.args.get("ldk"), self.args.get("cert")) {
            let storage = Path::new(cert).parent().expect("a file is in a directory");
            let detected = Credential::detect(storage, "regtest").map_err(internal)?;
            let Detected::Ready(credential) = detected else {
                return Err((INTERNAL, "no credential".to_owned()));
            };
            let client = LdkServerClient::new(Config {
                address: address.clone(),
                tls_cert_pem: std::fs::read(cert).map_err(internal)?,
                credential,
            });
            let client = client.map_err(internal)?;
            let info = client.get_node_info(Default::default()).await;
            seen.text = info.map_err(internal)?.node_id;
        }
        Ok(seen.encode_to_vec())
    }

    /// Takes coins from the miner to a fixed address, or into a wallet of its own.
    async fn withdraw(&self, sat: u64) -> Result<Vec<u8>, Refusal> {
        let (rpc, deadline) = (self.rpc()?, Deadline::after(PATIENCE));
        let address = match self.args.get("to") {
            Some(fixed) => json!(fixed),
            None => own_address(&rpc, deadline).await.map_err(internal)?,
        };
        let btc = json!(format!("{}.{:08}", sat / 100_000_000, sat % 100_000_000));
        let text = rpc
            .wallet_call("sendtoaddress", &[address, btc], deadline)
            .await
            .map_err(internal)?;
        Ok(TextFirst { text }.encode_to_vec())
    }

    /// Sends coins of the faucet to an address. What it has locked it keeps in a file, as a server does that means to
    /// survive its end.
    async fn lock(&self, asked: NumberFirst) -> Result<Vec<u8>, Refusal> {
        let address = self.args.get("elementsd").cloned().unwrap_or_default();
        let port = address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let port = port.ok_or((INTERNAL, "no elementsd".to_owned()))?;
        let rpc = swaprig_harness::elementsd::Rpc::new("elementsd", port);
        let to = swaprig_harness::world::liquid_address(&asked.text).map_err(internal)?;
        let amount = AssetAmount::sat(Sat(asked.number));
        let sent = rpc.send_to_address(FAUCET, &to, amount, Deadline::after(PATIENCE));
        let txid = sent.await.map_err(internal)?;
        let mut locked = locked();
        locked.push(asked.text);
        std::fs::write(LOCKED, locked.join("\n")).map_err(internal)?;
        let text = txid.to_string();
        Ok(TextFirst { text }.encode_to_vec())
    }

    /// One of them on a page; `after` is the number of those that were told.
    fn list(&self, after: &str) -> Result<Vec<u8>, Refusal> {
        let after: usize = match after {
            "" => 0,
            number => number.parse().map_err(internal)?,
        };
        let locked = locked();
        let one = locked.get(after).map(|address| Locked {
            id: format!("lock-{after}"),
            htlc: Some(TextFirst {
                text: address.clone(),
            }),
        });
        let next = match after + 1 < locked.len() {
            true => (after + 1).to_string(),
            false => String::new(),
        };
        let swaps = one.into_iter().collect();
        Ok(ListReply { swaps, next }.encode_to_vec())
    }

    /// The first two checks find it not serving yet.
    fn health(&self, service: &str) -> Result<Vec<u8>, Refusal> {
        if !matches!(service, "" | "maker.v1.Maker") {
            return Err((NOT_FOUND, "unknown service".to_owned()));
        }
        let mut checks = self.health_checks.lock().expect("no panic");
        *checks += 1;
        let serves = *checks > 2 && self.args["health"] == "good";
        Ok(NumberFirst {
            number: if serves { 1 } else { 2 },
            text: String::new(),
        }
        .encode_to_vec())
    }

    fn tell(&self, asked: &Asked) -> Told {
        if asked.file.is_empty() && asked.symbol.is_empty() {
            let name = |text: &str| TextFirst { text: text.into() };
            return Told {
                services: Some(Services {
                    services: vec![name("maker.v1.Maker"), name(&self.args["reflection"])],
                }),
                ..Told::default()
            };
        }
        // As some servers do, it gives one file at a time; what that one imports must be asked for.
        let file = match asked.symbol.as_str() {
            "maker.v1.Maker" => "maker.proto",
            _ => asked.file.as_str(),
        };
        match self.files.get(file) {
            Some(bytes) => Told {
                files: Some(Files {
                    files: vec![bytes.clone()],
                }),
                ..Told::default()
            },
            None => Told {
                error: Some(NumberFirst {
                    number: NOT_FOUND.into(),
                    text: "not found".into(),
                }),
                ..Told::default()
            },
        }
    }
}

/// Where it keeps what it has locked, in the directory in which it runs.
const LOCKED: &str = "locked.txt";

fn locked() -> Vec<String> {
    let text = std::fs::read_to_string(LOCKED).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A fresh address of the wallet `maker`, which is made when it is not there.
async fn own_address(rpc: &Rpc, deadline: Deadline) -> Result<Value, RpcError> {
    let wallets: Vec<String> = rpc.call("listwallets", &[], deadline).await?;
    if !wallets.iter().any(|wallet| wallet == "maker") {
        let _made: Value = rpc
            .call("createwallet", &[json!("maker")], deadline)
            .await?;
    }
    rpc.call_of_wallet("maker", "getnewaddress", &[], deadline)
        .await
}

fn decoded<T: Message + Default>(message: Bytes) -> Result<T, Refusal> {
    T::decode(message).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    let text: String = error.to_string();
    let plain = text.chars().filter(|c| c.is_ascii() && !c.is_control());
    (INTERNAL, plain.collect())
}
