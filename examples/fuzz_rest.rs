//! Throws requests made from the served OpenAPI document at a REST service of loops: as it says, and with something changed.
//!
//!     cargo run --example fuzz_rest -- --seconds 60 --seed 7 [--url http://127.0.0.1:9747]
//!
//! Without a URL it serves a desk in memory by itself; with `--serve` it does only that, for other fuzzers. It counts statuses; a
//! 5xx, an undocumented answer or none at all ends it, with the seed and the request.

#[path = "../tests/rest_api/desk.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod desk;
#[path = "../tests/rest_api/generate.rs"]
mod generate;
#[path = "../tests/rest_api/requests.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod requests;
#[path = "../tests/rest_api/schema.rs"]
mod schema;
#[path = "../tests/rest_api/service.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod service;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use swaprig::api::rest::Limits;
use swaprig::client::rest::RestClient;
use swaprig_harness::time::Deadline;
use swaprig_proto::loops::SpendKind;

use generate::Generator;
use requests::{into, out, preimage};
use schema::Document;
use service::{Service, send, soon};

const USAGE: &str = "usage: fuzz_rest [--seconds N] [--seed N] [--url URL | --serve]";
/// Loops that are asked about; more would be asked about once each.
const KNOWN: usize = 64;

struct Options {
    seconds: u64,
    seed: u64,
    url: Option<String>,
    serve: bool,
}

fn options() -> Result<Options, &'static str> {
    let mut options = Options {
        seconds: 10,
        seed: 1,
        url: None,
        serve: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        if name == "--serve" {
            options.serve = true;
            continue;
        }
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--seconds" => options.seconds = value.parse().map_err(|_| USAGE)?,
            "--seed" => options.seed = value.parse().map_err(|_| USAGE)?,
            "--url" => options.url = Some(value),
            _ => return Err(USAGE),
        }
    }
    Ok(options)
}

/// Loops in every state, so that requests about them get somewhere.
async fn fill(service: &Service) -> Result<(), String> {
    let client = service.client();
    let text = |error: &dyn std::error::Error| error.to_string();
    for number in 1..=8 {
        let made = match number % 2 {
            0 => client.loop_in(&into(number), None, soon()).await,
            _ => client.loop_out(&out(number), None, soon()).await,
        };
        made.map_err(|error| text(&error))?;
    }
    let hash = |number| preimage(number).payment_hash();
    for held in [3, 5, 7] {
        service.desk.payment_arrives(hash(held));
    }
    for funded in [4, 5, 6, 7, 8] {
        service.desk.coins_are_locked(hash(funded));
    }
    service.desk.is_being_paid(hash(6));
    service.desk.coins_are_spent(hash(7), SpendKind::Claim);
    service.desk.coins_are_spent(hash(8), SpendKind::Refund);
    Ok(())
}

/// What came of it: how often each status was answered, and the slowest answer.
#[derive(Default)]
struct Tally {
    statuses: BTreeMap<u16, u64>,
    slowest: Duration,
}

async fn fuzz(address: SocketAddr, options: &Options) -> Result<Tally, String> {
    let text = |error: swaprig::client::rest::RestError| error.to_string();
    let client = RestClient::new(&address.to_string()).map_err(text)?;
    let document = Document(client.openapi(soon()).await.map_err(text)?);
    let known = (1..=8).map(|number| preimage(number).payment_hash().to_string());
    let mut generator = Generator {
        document: &document,
        rng: StdRng::seed_from_u64(options.seed),
        known: known.collect(),
    };
    let mut tally = Tally::default();
    let end = Instant::now() + Duration::from_secs(options.seconds);
    while Instant::now() < end {
        let request = generator.request();
        let (method, path) = (request.method().clone(), request.uri().to_string());
        // A stream ends when its loop does.
        let of_one = generator.known.iter().any(|hash| path.contains(hash));
        if path.contains("/events") && of_one {
            continue;
        }
        let shown = format!("seed {}: {request:?}", options.seed);
        let begun = Instant::now();
        let answer = send(address, request).await;
        let answer = answer.map_err(|error| format!("{error}\n{shown}"))?;
        tally.slowest = tally.slowest.max(begun.elapsed());
        *tally.statuses.entry(answer.status.as_u16()).or_default() += 1;
        document
            .check(&method, &path, &answer)
            .map_err(|error| format!("{error}\n{shown}\n{answer:?}"))?;
        if answer.status.is_server_error() {
            return Err(format!("{answer:?}\n{shown}"));
        }
        let made = answer.status.is_success() && method == "POST" && generator.known.len() < KNOWN;
        if let Some(hash) = made.then(|| answer.json()["payment_hash"].as_str().map(str::to_owned))
        {
            generator.known.extend(hash);
        }
    }
    client.health(soon()).await.map_err(text)?;
    Ok(tally)
}

#[tokio::main]
async fn main() -> Result<(), String> {
    let options = options()?;
    let (address, service) = match &options.url {
        Some(url) => {
            let address = url.trim_start_matches("http://").trim_end_matches('/');
            let address = address.parse().map_err(|_| USAGE)?;
            (address, None)
        }
        None => {
            let service = Service::start(Limits::default()).await;
            fill(&service).await?;
            (service.address, Some(service))
        }
    };
    if options.serve {
        println!("http://{address}");
        Deadline::after(Duration::from_secs(options.seconds))
            .reach()
            .await;
    } else {
        let tally = fuzz(address, &options).await?;
        let requests: u64 = tally.statuses.values().sum();
        println!(
            "{requests} requests in {} s, seed {}: no 5xx, nothing undocumented; the slowest took {:?}; {:?}",
            options.seconds, options.seed, tally.slowest, tally.statuses,
        );
    }
    if let Some(service) = service {
        service.stop().await;
    }
    Ok(())
}
