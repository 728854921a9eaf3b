//! What the measurements of the swap server have in common, whatever it swaps: its part of the world, how often and how many at
//! once, and what of that is told.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use swaprig::lightning::{LdkServer, LdkServerConfig};
use swaprig_harness::World;
use swaprig_harness::binary::Settings;
use swaprig_harness::server::{Ready, Server, ServerSpec};
use swaprig_harness::template::Template;
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_proto::v1;
use swaprig_proto::v1::admin_service_client::AdminServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::bench::millis;
use super::stats::Samples;

pub(super) type BoxError = Box<dyn std::error::Error>;

/// Callers at once.
pub(super) const CALLERS: u32 = 16;
/// How many swaps are made one after the other.
pub(super) const ONE_BY_ONE: u32 = 200;
/// How many swaps in a warm world are followed from the call to the claim.
pub(super) const WARM: u32 = 5;
/// How many swaps are made, paid and claimed side by side, and how many of those at once.
pub(super) const SIDE_BY_SIDE: u32 = 96;
const LANES: u32 = 16;
/// How long one part of a run may take.
const PART: Duration = Duration::from_secs(600);
/// The server's name in the world, which names its directory, too.
const SERVER: &str = "desk";

pub(super) fn soon() -> Deadline {
    Deadline::after(PART)
}

/// The server, on the Lightning node `seller`, with further arguments.
pub(super) fn spec(ready: Ready, args: &[&str]) -> Result<ServerSpec, BoxError> {
    let all = [
        "{swaprig}",
        "server",
        "--admin-listen",
        "{admin}",
        "--data-dir",
        "{dir}",
        "--ldk-address",
        "{seller.grpc}",
        "--ldk-cert",
        "{seller.cert}",
        "--ldk-credential",
        "{seller.api_key_file}",
        "--max-in-flight",
        "10000",
    ];
    let all = all.iter().chain(args).copied();
    let run: Result<Vec<Template>, _> = all.map(Template::parse).collect();
    Ok(ServerSpec {
        name: SERVER.into(),
        run: run?,
        env: Vec::new(),
        ready,
        api: None,
        tls: None,
    })
}

pub(super) fn server(world: &World) -> Result<&Server, BoxError> {
    Ok(world.server(SERVER)?)
}

/// Calls over a connection of its own.
pub(super) fn admin(world: &World) -> Result<AdminServiceClient<Channel>, BoxError> {
    let address = server(world)?.admin_address();
    Ok(AdminServiceClient::new(lazy(&address)?))
}

pub(super) fn lazy(address: &str) -> Result<Channel, BoxError> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect_lazy())
}

/// What the server has.
pub(super) async fn stocks(world: &World) -> Result<v1::GetInventoryResponse, BoxError> {
    let mut admin = admin(world)?;
    let answer = admin.get_inventory(v1::GetInventoryRequest {}).await?;
    Ok(answer.into_inner())
}

/// A Lightning node of the world's, as its owner sees it.
pub(super) fn lightning(world: &World, name: &str) -> Result<LdkServer, BoxError> {
    let node = world.node(name)?;
    let certificate = node.tls_cert();
    let storage = certificate
        .parent()
        .ok_or("a certificate without a directory")?;
    let config = LdkServerConfig::local(&node.grpc_address(), storage, "regtest");
    Ok(LdkServer::new(&config)?)
}

/// Waits until `look` is content; an error of its own ends the wait.
pub(super) async fn until<T>(
    what: &str,
    look: impl AsyncFn() -> Result<Result<T, String>, BoxError>,
) -> Result<T, BoxError> {
    let found = poll_until(what, soon(), || async {
        match look().await {
            Ok(Ok(found)) => Probe::Ready(found),
            Ok(Err(reason)) => Probe::Pending(reason),
            Err(error) => Probe::Fatal(error.to_string()),
        }
    });
    Ok(found.await.map_err(|error| error.to_string())?)
}

/// A machine on which no world was started yet: an empty cache, as long as the directory is kept.
pub(super) fn cold(settings: &Settings) -> Result<(tempfile::TempDir, Settings), BoxError> {
    let empty = tempfile::tempdir()?;
    let cold = Settings {
        cache_dir: Some(empty.path().to_owned()),
        ..settings.clone()
    };
    Ok((empty, cold))
}

/// Makes [`ONE_BY_ONE`] swaps one after the other, and tells how long making one took.
pub(super) async fn one_by_one(
    samples: &mut Samples,
    mut create: impl AsyncFnMut() -> Result<Duration, BoxError>,
) -> Result<(), BoxError> {
    let mut times = Vec::new();
    for _ in 0..ONE_BY_ONE {
        times.push(create().await?);
    }
    times.sort_unstable();
    samples.add("create_p50", "ms", millis(percentile(&times, 50)));
    samples.add("create_p99", "ms", millis(percentile(&times, 99)));
    Ok(())
}

/// Does something `count` times, [`LANES`] at once, and mines all the time: how long it took.
pub(super) async fn in_lanes(
    count: u32,
    one: impl AsyncFn() -> Result<(), BoxError>,
    mining: impl Future<Output = Result<Infallible, BoxError>>,
) -> Result<Duration, BoxError> {
    let started = Instant::now();
    let one = &one;
    let lanes = (0..LANES).map(|lane| async move {
        for _ in (lane..count).step_by(LANES as usize) {
            one().await?;
        }
        Ok::<_, BoxError>(())
    });
    tokio::select! {
        all = futures_util::future::try_join_all(lanes) => all.map(drop)?,
        failed = mining => match failed? {},
    }
    Ok(started.elapsed())
}

/// Tells how many swaps were claimed in a minute when [`SIDE_BY_SIDE`] were made.
pub(super) fn tell_side_by_side(samples: &mut Samples, taken: Duration) {
    let rate = 60.0 * per_second(SIDE_BY_SIDE, taken);
    samples.add("swaps_per_minute", "1/min", rate);
}

pub(super) fn per_second(count: u32, taken: Duration) -> f64 {
    f64::from(count) / taken.as_secs_f64()
}

/// Of sorted times, the one that so many per cent do not exceed.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_samples_themselves() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
