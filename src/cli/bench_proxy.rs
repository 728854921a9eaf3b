//! What a proxy without a fault adds to one call: the same call to the same daemon, directly and through it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swaprig_harness::World;
use swaprig_harness::binary::Settings;
use swaprig_harness::bitcoind::Rpc;
use swaprig_harness::proxy::{Proxy, Upstream};
use swaprig_harness::run_dir::{Keep, RunDir, RunDirSettings};
use swaprig_harness::time::Deadline;
use swaprig_harness::world::Binaries;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::RUNS;
use super::stats::Samples;

type BoxError = Box<dyn std::error::Error>;

/// Calls of which a run is the median: one call is at the mercy of whatever else the machine does.
const CALLS: usize = 100;
/// How long one call may take.
const CALL: Duration = Duration::from_secs(20);
/// Bytes of a message to the echo server: those of a Lightning message with its commitment signature are as many.
const MESSAGE: [u8; 180] = [7; 180];

pub(super) async fn calls(
    runs: u32,
    settings: &Settings,
    binaries: &Arc<Binaries>,
    samples: &mut Samples,
) -> Result<(), BoxError> {
    let base = RunDirSettings::from_env(Path::new(RUNS)).base;
    let world = World::builder()
        .lightning(["alice"])
        .settings(settings.clone())
        .binaries(binaries.clone())
        .run_dir(RunDir::numbered(&base, Keep::OnFailure)?)
        .start()
        .await?;
    let alice = world.node("alice")?;

    let json_rpc = Proxy::start(
        "bench->bitcoind",
        Upstream::JsonRpc(world.bitcoind().rpc_address()),
    )
    .await?;
    let grpc = Proxy::start("bench->alice", Upstream::Grpc(alice.behind_proxy())).await?;
    let echo = echo().await?;
    let tcp = Proxy::start("bench->echo", Upstream::Tcp(echo.to_string())).await?;

    let direct_rpc = world.bitcoind().rpc();
    let proxied_rpc = Rpc::new("bitcoind", json_rpc.port());
    let direct_api = alice.client();
    let proxied_api = alice.client_at(&grpc.address())?;
    let mut direct_tcp = connect(&echo.to_string()).await?;
    let mut proxied_tcp = connect(&tcp.address()).await?;

    // The first round opens connections and warms caches.
    for round in 0..=runs {
        let mut times: [Vec<f64>; 6] = Default::default();
        for _ in 0..CALLS {
            // One after the other, so that what slows the machine down slows both.
            times[0].push(micros(count(direct_rpc)).await?);
            times[1].push(micros(count(&proxied_rpc)).await?);
            times[2].push(micros(direct_api.get_balances(Default::default())).await?);
            times[3].push(micros(proxied_api.get_balances(Default::default())).await?);
            times[4].push(micros(turn(&mut direct_tcp)).await?);
            times[5].push(micros(turn(&mut proxied_tcp)).await?);
        }
        let medians = times.map(median);
        if round > 0 {
            let [rpc, rpc_through, api, api_through, bytes, bytes_through] = medians;
            samples.add("json_rpc_direct", "us", rpc);
            samples.add("json_rpc_through", "us", rpc_through);
            samples.add("json_rpc_added", "us", rpc_through - rpc);
            samples.add("grpc_direct", "us", api);
            samples.add("grpc_through", "us", api_through);
            samples.add("grpc_added", "us", api_through - api);
            samples.add("tcp_direct", "us", bytes);
            samples.add("tcp_through", "us", bytes_through);
            samples.add("tcp_added", "us", bytes_through - bytes);
        }
    }
    world.finish().await?;
    Ok(())
}

async fn count(rpc: &Rpc) -> Result<u64, swaprig_harness::bitcoind::RpcError> {
    rpc.call("getblockcount", &[], Deadline::after(CALL)).await
}

async fn turn(socket: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = MESSAGE;
    socket.write_all(&MESSAGE).await?;
    socket.read_exact(&mut answer).await.map(drop)
}

async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// A server that says back what it hears.
async fn echo() -> std::io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.set_nodelay(true);
                let (mut from, mut to) = socket.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Ok(address)
}

async fn micros<T, E: std::error::Error + 'static>(
    call: impl Future<Output = Result<T, E>>,
) -> Result<f64, BoxError> {
    let started = Instant::now();
    call.await?;
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
