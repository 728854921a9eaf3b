//! Hostile requests to a swap server over the wire, and what it may answer. Shared by the tests and the fuzzer
//! (`examples/fuzz_swap_server.rs`).

#![allow(dead_code, reason = "the tests and the fuzzer each use their part")]

// The fuzzer includes this file by its path, which makes its folder that of its modules.
#[path = "corpus.rs"]
mod corpus;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use swaprig_harness::process::{LogFiles, Running, Spec, Stdin};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::world::{Chain, World};
use swaprig_proto::v1;
use swaprig_proto::validate::{Checked, check};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) use corpus::{known, random};

/// An answer that takes longer is a hang.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a connection that was sent no HTTP/2 is listened to. What the server does with it is its own matter.
const LISTEN: Duration = Duration::from_millis(200);
/// No answer's message is longer: whatever was sent is not sent back.
const LONGEST_MESSAGE: usize = 4096;
/// The largest request that the server takes.
pub(crate) const MOST_BYTES: usize = 16 * 1024;

/// Codes of gRPC.
pub(crate) mod code {
    pub(crate) const OK: i32 = 0;
    pub(crate) const CANCELLED: i32 = 1;
    pub(crate) const INVALID_ARGUMENT: i32 = 3;
    pub(crate) const DEADLINE_EXCEEDED: i32 = 4;
    pub(crate) const NOT_FOUND: i32 = 5;
    pub(crate) const ALREADY_EXISTS: i32 = 6;
    pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(crate) const FAILED_PRECONDITION: i32 = 9;
    pub(crate) const ABORTED: i32 = 10;
    pub(crate) const OUT_OF_RANGE: i32 = 11;
    pub(crate) const UNIMPLEMENTED: i32 = 12;
    pub(crate) const INTERNAL: i32 = 13;
    pub(crate) const UNAVAILABLE: i32 = 14;
}

/// A method, what it may answer to a request that its constraints allow, and requests to begin from.
pub(crate) struct Method {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    /// Codes that its documentation names, but `INVALID_ARGUMENT` and `INTERNAL`.
    codes: &'static [i32],
    /// What its constraints say of an encoded request; `Err(None)`: it does not decode.
    judge: fn(&[u8]) -> Result<(), Option<String>>,
    /// A request that its constraints allow. It changes nothing: it asks for what is not there.
    pub(crate) fair: fn() -> Vec<u8>,
}

/// What an HTTP request was answered with.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    /// From the trailers, or the headers of an answer without a body.
    pub(crate) grpc: Option<i32>,
    pub(crate) message: String,
}

fn judge<M: Checked + Default>(encoded: &[u8]) -> Result<(), Option<String>> {
    let message = M::decode(encoded).map_err(|_| None)?;
    check(&message).map_err(|violations| Some(violations.to_string()))
}

const SWAP: &str = "SwapService";
const ADMIN: &str = "AdminService";
/// Nobody has such an asset, or such a swap.
const NO_ASSET: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
const NO_SWAP: &str = "00000000-0000-4000-8000-000000000000";
/// A point of secp256k1: the generator.
const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

/// Every method of both services.
pub(crate) const METHODS: &[Method] = &[
    Method {
        service: SWAP,
        name: "GetOffer",
        codes: &[code::OK, code::NOT_FOUND],
        judge: judge::<v1::GetOfferRequest>,
        fair: || {
            let asset_id = NO_ASSET.into();
            v1::GetOfferRequest { asset_id }.encode_to_vec()
        },
    },
    Method {
        service: SWAP,
        name: "CreateSwap",
        // Never OK: there are no coins.
        codes: &[
            code::NOT_FOUND,
            code::ALREADY_EXISTS,
            code::FAILED_PRECONDITION,
            code::RESOURCE_EXHAUSTED,
            code::UNAVAILABLE,
            code::ABORTED,
            code::DEADLINE_EXCEEDED,
        ],
        judge: judge::<v1::CreateSwapRequest>,
        fair: || {
            v1::CreateSwapRequest {
                request_id: NO_SWAP.into(),
                asset_id: swaprig_harness::elementsd::lbtc().to_string(),
                amount: 50_000,
                claim_pubkey: KEY.into(),
                min_confirmations: 1,
                max_total_price_msat: 1_000_000_000,
                wait_for_confirmations: true,
            }
            .encode_to_vec()
        },
    },
    Method {
        service: SWAP,
        name: "GetSwap",
        codes: &[code::NOT_FOUND],
        judge: judge::<v1::GetSwapRequest>,
        fair: || {
            let swap_id = NO_SWAP.into();
            v1::GetSwapRequest { swap_id }.encode_to_vec()
        },
    },
    Method {
        service: SWAP,
        name: "ListSwaps",
        codes: &[code::OK],
        judge: judge::<v1::ListSwapsRequest>,
        fair: || {
            v1::ListSwapsRequest {
                page_size: 10,
                page_token: String::new(),
                status: 3,
            }
            .encode_to_vec()
        },
    },
    Method {
        service: SWAP,
        name: "SubscribeSwap",
        codes: &[code::NOT_FOUND],
        judge: judge::<v1::SubscribeSwapRequest>,
        fair: || {
            let swap_id = NO_SWAP.into();
            v1::SubscribeSwapRequest { swap_id }.encode_to_vec()
        },
    },
    Method {
        service: ADMIN,
        name: "PauseSwaps",
        codes: &[code::OK, code::NOT_FOUND],
        judge: judge::<v1::PauseSwapsRequest>,
        fair: || {
            let asset_id = NO_ASSET.into();
            v1::PauseSwapsRequest { asset_id }.encode_to_vec()
        },
    },
    Method {
        service: ADMIN,
        name: "ResumeSwaps",
        codes: &[code::OK, code::NOT_FOUND],
        judge: judge::<v1::ResumeSwapsRequest>,
        fair: || {
            let asset_id = NO_ASSET.into();
            v1::ResumeSwapsRequest { asset_id }.encode_to_vec()
        },
    },
    Method {
        service: ADMIN,
        name: "SetSale",
        // At its price nobody can buy: nothing follows from it.
        codes: &[code::OK],
        judge: judge::<v1::SetSaleRequest>,
        fair: || {
            v1::SetSaleRequest {
                asset_id: NO_ASSET.into(),
                price_msat_per_unit: u64::MAX,
                min_amount: 0,
                max_amount: 0,
                coin_amount: 0,
            }
            .encode_to_vec()
        },
    },
    Method {
        service: ADMIN,
        name: "GetInventory",
        codes: &[code::OK],
        judge: judge::<v1::GetInventoryRequest>,
        fair: Vec::new,
    },
    Method {
        service: ADMIN,
        name: "SplitCoins",
        // Never OK: there are no coins.
        codes: &[
            code::FAILED_PRECONDITION,
            code::NOT_FOUND,
            code::UNAVAILABLE,
        ],
        judge: judge::<v1::SplitCoinsRequest>,
        fair: || {
            v1::SplitCoinsRequest {
                asset_id: NO_ASSET.into(),
                coin_amount: 2_100_000_000_000_000,
                coins: 500,
            }
            .encode_to_vec()
        },
    },
    Method {
        service: ADMIN,
        name: "ForceRefund",
        codes: &[code::NOT_FOUND],
        judge: judge::<v1::ForceRefundRequest>,
        fair: || {
            let swap_id = NO_SWAP.into();
            v1::ForceRefundRequest { swap_id }.encode_to_vec()
        },
    },
];

impl Method {
    pub(crate) fn path(&self) -> String {
        format!("/ln_liquid_swap.v1.{}/{}", self.service, self.name)
    }

    /// Whether the answer to one request, in one proper frame, is the documented one; else what is wrong with it.
    pub(crate) fn verdict(&self, request: &[u8], answer: &Answer) -> Result<(), String> {
        answer.is_short()?;
        let got = answer.grpc.ok_or("no gRPC status")?;
        let told = &answer.message;
        if request.len() > MOST_BYTES {
            return expected(got, &[code::OUT_OF_RANGE], told);
        }
        match (self.judge)(request) {
            Err(None) => expected(got, &[code::INTERNAL], told),
            Err(Some(violations)) => {
                expected(got, &[code::INVALID_ARGUMENT], told)?;
                match *told == violations {
                    true => Ok(()),
                    false => Err(format!("`{told}` instead of `{violations}`")),
                }
            }
            // What constraints cannot say is still an invalid argument: a key off the curve, a price above the limit.
            Ok(()) if got == code::INVALID_ARGUMENT => Ok(()),
            Ok(()) => expected(got, self.codes, told),
        }
    }
}

fn expected(got: i32, wanted: &[i32], told: &str) -> Result<(), String> {
    match wanted.contains(&got) {
        true => Ok(()),
        false => Err(format!(
            "status {got} (`{told}`), documented are {wanted:?}"
        )),
    }
}

impl Answer {
    fn is_short(&self) -> Result<(), String> {
        match self.message.len() <= LONGEST_MESSAGE {
            true => Ok(()),
            false => Err(format!("a message of {} bytes", self.message.len())),
        }
    }

    /// Whether something that is no proper call was refused, by HTTP or by gRPC.
    pub(crate) fn is_refusal(&self) -> Result<(), String> {
        self.is_short()?;
        match (self.http, self.grpc) {
            (200, Some(code::OK) | None) => Err(format!("it was taken for a call: {self:?}")),
            (200, Some(_)) | (400..=499, _) => Ok(()),
            (http, _) => Err(format!("HTTP status {http}")),
        }
    }
}

/// A frame of gRPC: a flag, the length, the message.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("requests are small");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// A server under attack, with its world.
pub(crate) struct Target {
    world: World,
    server: Running,
    swap: String,
    admin: String,
    connections: BTreeMap<String, SendRequest<Full<Bytes>>>,
    pub(crate) sent: u64,
}

impl Target {
    /// Starts a world and a server in it that sells L-BTC and has none: nothing that is asked of it may change anything.
    pub(crate) async fn start(world: World, exe: &Path, dir: &Path) -> Target {
        let node = world.node("seller").expect("the world has it");
        let index = world.index(Chain::Liquid).expect("the world has it");
        let certificate = node.tls_cert();
        let storage = certificate.parent().expect("a file is in a directory");
        let sale = format!("{}=1000,min=1000", swaprig_harness::elementsd::lbtc());
        let words = [
            "server",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--data-dir",
            "data",
            "--sell",
            &sale,
            "--electrum-url",
            &format!("tcp://{}", index.electrum_address()),
            "--ldk-address",
            &node.grpc_address(),
            "--ldk-dir",
            &storage.to_string_lossy(),
        ];
        let spec = Spec {
            name: "swap-server".into(),
            program: exe.into(),
            args: words.into_iter().map(Into::into).collect(),
            hidden_env: &[],
            env: Vec::new(),
            dir: dir.to_owned(),
            logs: LogFiles::in_dir(dir, "swap-server"),
            stdin: Stdin::Null,
        };
        let server = spec.start().expect("it can be started");
        let log = said(&server, &server.logs().stderr, "ready swaps=").await;
        drop(log);
        let ports = said(&server, &server.logs().stdout, "admin_listen ").await;
        let port = |name: &str| {
            let found = ports.lines().find_map(|line| line.strip_prefix(name));
            found.expect("both ports are told").trim().to_owned()
        };
        let (swap, admin) = (port("listen "), port("admin_listen "));
        Target {
            world,
            server,
            swap,
            admin,
            connections: BTreeMap::new(),
            sent: 0,
        }
    }

    pub(crate) fn address(&self, service: &str) -> &str {
        match service {
            ADMIN => &self.admin,
            _ => &self.swap,
        }
    }

    async fn connection(&mut self, service: &str) -> Result<SendRequest<Full<Bytes>>, String> {
        let address = self.address(service).to_owned();
        if let Some(open) = self.connections.get_mut(&address)
            && open.ready().await.is_ok()
        {
            return Ok(open.clone());
        }
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|error| format!("nobody listens any more: {error}"))?;
        // Or each call waits 40 ms for an acknowledgement.
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let shaken =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = shaken.await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            // Its end is noticed by who uses it next.
            let _ = connection.await;
        });
        self.connections.insert(address, sender.clone());
        Ok(sender)
    }

    /// Sends a request with a body and headers of any kind; an error when the connection broke instead of an answer.
    pub(crate) async fn send(
        &mut self,
        service: &str,
        verb: &str,
        path: &str,
        headers: &[(&str, &[u8])],
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        self.sent += 1;
        let mut sender = self.connection(service).await?;
        let mut request = hyper::Request::builder()
            .method(verb)
            .uri(format!("http://{}{path}", self.address(service)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| format!("not a request: {error}"))?;
        let exchange = async {
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(|error| format!("broken: {error:?}"))?;
            let (head, body) = answer.into_parts();
            let collected = body
                .collect()
                .await
                .map_err(|error| format!("broken: {error:?}"))?;
            let trailers = collected.trailers().cloned().unwrap_or_default();
            let text = |name: &str| {
                let value = trailers.get(name).or(head.headers.get(name))?;
                Some(percent_decoded(value.as_bytes()))
            };
            Ok(Answer {
                http: head.status.as_u16(),
                grpc: text("grpc-status").and_then(|code| code.parse().ok()),
                message: text("grpc-message").unwrap_or_default(),
            })
        };
        let answer = Deadline::after(LIMIT).bound(exchange).await;
        answer.unwrap_or_else(|| Err(format!("hangs: no answer within {LIMIT:?}")))
    }

    /// Calls a method with a request in a proper frame and judges the answer.
    pub(crate) async fn call(&mut self, method: &Method, request: &[u8]) -> Result<Answer, String> {
        let answer = self
            .send(method.service, "POST", &method.path(), GRPC, frame(request))
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            // The server may answer before it has read all of what it will not take, and reset the stream then.
            Err(error) if request.len() > MOST_BYTES && error.starts_with("broken") => {
                return Ok(Answer {
                    http: 200,
                    grpc: Some(code::OUT_OF_RANGE),
                    message: String::new(),
                });
            }
            Err(error) => return Err(error),
        };
        method.verdict(request, &answer)?;
        Ok(answer)
    }

    /// Sends bytes that need not be HTTP, then ends its side; what comes back does not matter.
    pub(crate) async fn send_raw(&mut self, service: &str, bytes: &[u8]) -> Result<(), String> {
        self.sent += 1;
        let mut stream = TcpStream::connect(self.address(service))
            .await
            .map_err(|error| format!("nobody listens any more: {error}"))?;
        let exchange = async {
            // The server may end the connection at any time; that is an answer.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
        };
        // Whoever is silent on both sides is left alone.
        let _ = Deadline::after(LISTEN).bound(exchange).await;
        Ok(())
    }

    /// Whether the server still runs, answers as it should, and has not panicked.
    pub(crate) async fn still_serves(&mut self) -> Result<(), String> {
        if let Some(exit) = self.server.exit() {
            return Err(format!(
                "the server has ended: {exit}\n{}",
                self.server.log_tail()
            ));
        }
        let log = std::fs::read_to_string(&self.server.logs().stderr).unwrap_or_default();
        if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
            return Err(format!("the server has panicked: {line}"));
        }
        let offer = v1::GetOfferRequest {
            asset_id: swaprig_harness::elementsd::lbtc().to_string(),
        };
        let answer = self.call(&METHODS[0], &offer.encode_to_vec()).await?;
        expected(answer.grpc.unwrap_or(-1), &[code::OK], &answer.message)
    }

    /// What the server has: swaps, coins, addresses are as they were, but for pauses.
    pub(crate) async fn state(&mut self) -> Result<String, String> {
        let channel = |address: &str| {
            tonic::transport::Endpoint::from_shared(format!("http://{address}"))
                .map_err(|error| error.to_string())
                .map(|endpoint| endpoint.timeout(LIMIT))
        };
        let swaps = channel(&self.swap)?
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let admin = channel(&self.admin)?
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let mut swaps = v1::swap_service_client::SwapServiceClient::new(swaps);
        let mut admin = v1::admin_service_client::AdminServiceClient::new(admin);
        let failed = |status: tonic::Status| status.to_string();
        let listed = swaps
            .list_swaps(v1::ListSwapsRequest::default())
            .await
            .map_err(failed)?;
        admin
            .resume_swaps(v1::ResumeSwapsRequest::default())
            .await
            .map_err(failed)?;
        let inventory = admin
            .get_inventory(v1::GetInventoryRequest {})
            .await
            .map_err(failed)?;
        let mut inventory = inventory.into_inner();
        // A fresh one each time.
        inventory.deposit_address.clear();
        // SetSale does what it is asked for with any asset: on sale there may be more than before, in stock not.
        inventory.assets.retain(|asset| {
            let v1::Inventory {
                asset_id: _,
                free,
                free_coins,
                reserved,
                locked,
                pending,
                paused,
            } = asset;
            *paused || free | reserved | locked | pending | u64::from(*free_coins) != 0
        });
        Ok(format!("{:?} {inventory:?}", listed.into_inner().swaps))
    }

    /// Its memory in bytes, where the system tells.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kilobytes * 1024)
    }

    /// Ends it in order, which it has to do in time.
    pub(crate) async fn stop(self) -> Result<(), String> {
        self.server.terminate(Deadline::after(LIMIT)).await;
        let exit = self.server.exit().ok_or("it does not end")?;
        if exit.status.code() != Some(0) {
            return Err(format!("it did not end in order: {exit}"));
        }
        let finished = self.world.finish().await;
        finished.map(drop).map_err(|error| error.to_string())
    }
}

/// Headers of a proper call.
pub(crate) const GRPC: &[(&str, &[u8])] =
    &[("content-type", b"application/grpc"), ("te", b"trailers")];

fn percent_decoded(text: &[u8]) -> String {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

async fn said(server: &Running, path: &Path, text: &str) -> String {
    let what = format!("{} to say `{text}`", path.display());
    let said = poll_until(what, Deadline::after(Duration::from_secs(60)), || async {
        if let Some(exit) = server.exit() {
            return Probe::Fatal(format!("{exit}\n{}", server.log_tail()));
        }
        match std::fs::read_to_string(path) {
            Ok(all) if all.contains(text) => Probe::Ready(all),
            Ok(all) => Probe::Pending(all.lines().last().unwrap_or("nothing yet").to_owned()),
            Err(error) => Probe::Pending(error.to_string()),
        }
    });
    said.await.unwrap_or_else(|error| panic!("{error}"))
}

/// Something hostile, for a report.
#[derive(Debug, Clone)]
pub(crate) enum Attack {
    /// A request of any bytes, in a proper frame, to the method of this number.
    Request(usize, Vec<u8>),
    /// A body of any bytes to the method of this number.
    Body(usize, Vec<u8>),
    /// A call with another verb, path or header.
    Head(usize, String, String, Vec<(String, Vec<u8>)>),
    /// Bytes that are no HTTP/2, or that begin as such.
    Raw(&'static str, Vec<u8>),
}

impl Attack {
    /// Carries it out and judges the answer.
    pub(crate) async fn on(&self, target: &mut Target) -> Result<(), String> {
        match self {
            Attack::Request(number, request) => {
                target.call(&METHODS[*number], request).await.map(drop)
            }
            Attack::Body(number, body) => {
                let method = &METHODS[*number];
                let sent = target
                    .send(method.service, "POST", &method.path(), GRPC, body.clone())
                    .await;
                match (first_frame(body), sent) {
                    (Some((request, [])), Ok(answer)) => method.verdict(request, &answer),
                    // What follows the request of a method that takes one may be left unread, as tonic does.
                    (Some((request, _)), Ok(answer)) => {
                        let verdict = method.verdict(request, &answer);
                        verdict.or_else(|error| answer.is_refusal().map_err(|_| error))
                    }
                    (None, Ok(answer)) => answer.is_refusal(),
                    // Reset before all of it was read.
                    (_, Err(error)) if error.starts_with("broken") => Ok(()),
                    (_, Err(error)) => Err(error),
                }
            }
            Attack::Head(number, verb, path, headers) => {
                let method = &METHODS[*number];
                let headers: Vec<(&str, &[u8])> = headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_slice()))
                    .collect();
                let body = frame(&(method.fair)());
                let sent = target
                    .send(method.service, verb, path, &headers, body)
                    .await;
                match sent {
                    Ok(answer) if *path == method.path() => answer.is_short(),
                    Ok(answer) => answer.is_refusal(),
                    Err(error) if error.starts_with("hangs") => Err(error),
                    // Not to be sent at all, or reset.
                    Err(_) => Ok(()),
                }
            }
            Attack::Raw(service, bytes) => target.send_raw(service, bytes).await,
        }
    }
}

/// The message of a body that begins with a whole frame, not compressed, and what follows it.
fn first_frame(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    let frame = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (head[0] == 0).then_some(frame)
}
