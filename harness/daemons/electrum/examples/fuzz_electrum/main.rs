//! Sends lines that are nearly right to a server for some time, and fails when it stops answering.
//!
//!     cargo run -p swaprig-electrum --example fuzz_electrum -- --seconds 60 --seed 7
//!
//! The node under the server is a small one in this process, which now and then answers nonsense. Several clients at a
//! time send; one that does nothing wrong asks for a ping in between, and must get its answer within thirty seconds. The
//! server is a thread of this process: a panic anywhere ends it.

#![expect(
    clippy::disallowed_methods,
    reason = "a fuzzer is told by its command line, and has a clock of its own"
)]

mod fuzz_support;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use fuzz_support::{Random, fake_node, line};
use swaprig_electrum::{Auth, Listening, Network, Node, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long a client that does nothing wrong may wait for an answer. It takes milliseconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients that send nearly right lines at a time.
const CLIENTS: u64 = 4;

fn main() {
    // What is still under way when a task panics must not hide it.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    let (seconds, seed) = (argument("--seconds", 10), argument("--seed", 1));
    println!("seed {seed}, {seconds} s");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let (lines, slowest) = runtime.block_on(run(Duration::from_secs(seconds), seed));
    println!("{lines} lines, every ping answered, the slowest after {slowest:?}");
}

fn argument(name: &str, default: u64) -> u64 {
    let mut words = std::env::args().skip_while(|word| word != name);
    words.next();
    words.next().map_or(default, |word| {
        word.parse()
            .unwrap_or_else(|_| panic!("{name} is followed by a whole number"))
    })
}

async fn run(time: Duration, seed: u64) -> (u64, Duration) {
    let node = fake_node(seed).await;
    let options = Options {
        network: Network::Regtest,
        node: Node {
            address: node.to_string(),
            auth: Auth::Cookie("user:password".into()),
        },
        electrum_rpc_addr: "127.0.0.1:0".parse().expect("it is an address"),
        banner: "fuzz".into(),
        exit_with_stdin: false,
    };
    let address = serve(options);
    let end = Instant::now() + time;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|i| {
            let seed = seed.wrapping_mul(1_000_003).wrapping_add(i);
            tokio::spawn(client(address.clone(), Random(seed | 1), end))
        })
        .collect();
    // On a thread of its own, so that the work of the others here does not count.
    let pings = std::thread::spawn({
        let address = address.clone();
        move || {
            let mut slowest = Duration::ZERO;
            while Instant::now() < end {
                slowest = slowest.max(ping(&address));
                std::thread::sleep(Duration::from_millis(50));
            }
            slowest
        }
    });
    let mut lines = 0;
    for client in clients {
        lines += client.await.expect("a client comes to its end");
    }
    let slowest = pings.join().expect("every ping is answered");
    (lines, slowest)
}

/// Starts the server on a thread of its own; gives its address.
fn serve(options: Options) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let listening = Listening::start(&options).await.expect("a free port");
            tell.send(listening.address.to_string())
                .expect("the main thread waits");
            let (_stop, is_stopping) = watch::channel(false);
            listening.serve(is_stopping).await;
        });
    });
    told.recv().expect("the server tells its address")
}

/// A client that does nothing wrong; gives how long its answer took.
fn ping(address: &str) -> Duration {
    let asked = Instant::now();
    let mut stream = std::net::TcpStream::connect(address).expect("the server listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket has timeouts");
    let request = b"{\"id\":1,\"method\":\"server.ping\"}\n";
    stream.write_all(request).expect("the server reads");
    let mut answer = [0; 256];
    let read = stream.read(&mut answer);
    let n = read.expect("the server answers a ping while others send nonsense");
    let said = String::from_utf8_lossy(&answer[..n]);
    assert!(said.contains("\"result\":null"), "{said}");
    asked.elapsed()
}

/// Sends until the end; reads what comes, mostly. Gives how many lines it sent.
async fn client(address: String, mut random: Random, end: Instant) -> u64 {
    let mut lines = 0;
    while Instant::now() < end {
        let Ok(stream) = TcpStream::connect(&address).await else {
            panic!("the server no longer listens");
        };
        let (mut reader, mut writer) = stream.into_split();
        let reads = random.below(8) != 0;
        let drain = tokio::spawn(async move {
            let mut bytes = vec![0; 64 * 1024];
            while reads && matches!(reader.read(&mut bytes).await, Ok(1..)) {}
            // Without reading it keeps the connection, and so the answers, for a moment.
            if !reads {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        for _ in 0..random.below(60) {
            let text = line(&mut random);
            let sent = tokio::time::timeout(Duration::from_secs(1), writer.write_all(&text));
            // The server closes what goes too far, and a client that does not read is not read either.
            if !matches!(sent.await, Ok(Ok(()))) || Instant::now() >= end {
                break;
            }
            lines += 1;
        }
        drop(writer);
        let _ = tokio::time::timeout(Duration::from_millis(300), drain).await;
    }
    lines
}
