//! Hostile requests to a real server process: documented status codes, no change of its state, no panic.

use std::sync::{Arc, Mutex};

use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use swaprig_harness::world::Chain;

use super::attack::{Attack, METHODS, Target, known, random};
use super::support::sandbox::{Sandbox, swaprig};
use super::support::world;

/// A server without coins; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
async fn target(sandbox: &Sandbox) -> Option<Target> {
    let world = world()?
        .lightning(["seller"])
        .liquid()
        .indexes([Chain::Liquid]);
    let world = world
        .start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    Some(Target::start(world, &swaprig(), sandbox.path()).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_and_random_attacks_get_documented_answers_and_change_nothing() {
    let sandbox = Sandbox::new();
    let Some(mut target) = target(&sandbox).await else {
        return;
    };
    let before = target.state().await.unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let random = std::iter::repeat_with(|| random(&mut rng)).take(1_500);
    for attack in known().into_iter().chain(random) {
        let answered = attack.on(&mut target).await;
        answered.unwrap_or_else(|error| panic!("{error}\n{}", shown(&attack)));
        if target.sent % 100 < 2 {
            target.still_serves().await.unwrap();
        }
    }
    target.still_serves().await.unwrap();
    assert_eq!(target.state().await.unwrap(), before);
    target.stop().await.unwrap();
}

fn shown(attack: &Attack) -> String {
    let mut text = format!("{attack:?}");
    text.truncate(2_000);
    text
}

/// Requests: of any bytes, and as they should be with something changed.
fn requests(fair: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<proptest::sample::Index>(), any::<u8>(), 0..4_u8);
    let near = prop::collection::vec(change, 0..5).prop_map(move |changes| {
        let mut bytes = fair.clone();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
        bytes
    });
    prop_oneof![2 => near, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_answers_any_bytes_as_its_constraints_say() {
    let sandbox = Sandbox::new();
    let Some(mut target) = target(&sandbox).await else {
        return;
    };
    let before = target.state().await.unwrap();
    let target = Arc::new(Mutex::new(target));
    for method in METHODS {
        let target = Arc::clone(&target);
        let runtime = tokio::runtime::Handle::current();
        let property = tokio::task::spawn_blocking(move || {
            let config = Config {
                cases: 200,
                failure_persistence: None,
                ..Config::default()
            };
            TestRunner::new(config).run(&requests((method.fair)()), |request| {
                let mut target = target.lock().expect("no case panics");
                let answered = runtime.block_on(target.call(method, &request));
                answered.map(drop).map_err(TestCaseError::fail)
            })
        });
        let held = property.await.unwrap();
        held.unwrap_or_else(|error| panic!("{}: {error}", method.name));
    }
    let target = Arc::into_inner(target).expect("all properties are over");
    let mut target = target.into_inner().unwrap();
    target.still_serves().await.unwrap();
    assert_eq!(target.state().await.unwrap(), before);
    target.stop().await.unwrap();
}

#[test]
fn every_method_of_the_api_is_attacked() {
    let proto = include_str!("../../proto/proto/ln_liquid_swap/v1/swap.proto");
    let declared: Vec<&str> = proto
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next())
        .collect();
    let attacked: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
    assert_eq!(attacked, declared);
}
