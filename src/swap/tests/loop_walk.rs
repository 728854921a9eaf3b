//! Random walks of loops: never both, never neither, and nothing is stuck. And bugs that are planted to show that the walks see.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

use super::held_world::{self, HeldWorld};
use super::in_world::{self, Cosigns, InWorld, cosigns};
use super::model::Machine;
use super::*;

fn held_action() -> impl Strategy<Value = held_world::Action> {
    use held_world::Action;
    let blocks = prop_oneof![
        5 => Just(1_u32), 3 => Just(2), 2 => Just(3), 1 => Just(20), 1 => Just(120), 1 => Just(240)
    ];
    prop_oneof![
        5 => (blocks, any::<bool>()).prop_map(|(blocks, full)| Action::Mine { blocks, full }),
        1 => (1..3_u32, any::<bool>()).prop_map(|(blocks, gone)| Action::Reorg { blocks, gone }),
        1 => Just(Action::Evict),
        3 => prop_oneof![3..60_u32, 200..400_u32].prop_map(|blocks| Action::Pay { blocks }),
        2 => Just(Action::ClientClaims),
        1 => Just(Action::ClientSendsFunding),
        1 => Just(Action::ShowsPreimage),
        1 => Just(Action::Cooperates),
        6 => Just(Action::Look),
        6 => Just(Action::Deliver),
        1 => Just(Action::Crash),
        9 => (0..6_usize, any::<bool>()).prop_map(|(at, again)| Action::Perform { at, again }),
        1 => Just(Action::Force),
    ]
}

fn in_action() -> impl Strategy<Value = in_world::Action> {
    use in_world::Action;
    let blocks = prop_oneof![
        5 => Just(1_u32), 3 => Just(2), 2 => Just(3), 1 => Just(20), 1 => Just(90), 1 => Just(150)
    ];
    let coin = || 0..4_usize;
    prop_oneof![
        5 => (blocks, any::<bool>()).prop_map(|(blocks, full)| Action::Mine { blocks, full }),
        1 => (1..3_u32, any::<bool>()).prop_map(|(blocks, gone)| Action::Reorg { blocks, gone }),
        1 => Just(Action::Evict),
        2 => (prop::bool::weighted(0.8), 0..2_u8)
            .prop_map(|(agreed, inputs)| Action::Lock { agreed, inputs }),
        1 => coin().prop_map(Action::Resend),
        1 => coin().prop_map(Action::ClientRefunds),
        2 => coin().prop_map(Action::Cooperates),
        1 => prop_oneof![4 => Just(Action::Look), 1 => Just(Action::Cancel)],
        1 => Just(Action::PayeeTakes),
        1 => prop_oneof![1 => Just(Action::Look), 1 => Just(Action::PayeeFails)],
        6 => Just(Action::Look),
        6 => Just(Action::Deliver),
        1 => Just(Action::Crash),
        9 => (0..6_usize, any::<bool>()).prop_map(|(at, again)| Action::Perform { at, again }),
        1 => Just(Action::Force),
    ]
}

fn runner(cases: u32, shrink: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: shrink,
        ..Config::default()
    };
    // Always the same walks.
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    TestRunner::new_with_rng(config, rng)
}

fn walk_held(machine: Machine, cases: u32, shrink: u32) -> Result<(), String> {
    let walks = (
        proptest::collection::vec(held_action(), 0..90),
        any::<bool>(),
    );
    runner(cases, shrink)
        .run(&walks, |(actions, claims)| {
            use held_world::Action;
            let mut world = HeldWorld::new(machine);
            // Most walks start where something can go wrong.
            let start = [
                Action::Perform {
                    at: 0,
                    again: false,
                },
                Action::Pay { blocks: 300 },
                Action::Look,
                Action::Deliver,
                Action::Perform {
                    at: 0,
                    again: false,
                },
            ];
            for action in start.into_iter().chain(actions) {
                world.act(action).map_err(TestCaseError::fail)?;
            }
            world.settle(claims).map_err(TestCaseError::fail)
        })
        .map_err(|error| error.to_string())
}

fn walk_in(machine: Machine, cosigns: Cosigns, cases: u32, shrink: u32) -> Result<(), String> {
    let walks = proptest::collection::vec(in_action(), 0..90);
    runner(cases, shrink)
        .run(&walks, |actions| {
            let mut world = InWorld::new(machine, cosigns);
            for action in actions {
                world.act(action).map_err(TestCaseError::fail)?;
            }
            world.settle().map_err(TestCaseError::fail)
        })
        .map_err(|error| error.to_string())
}

#[test]
fn a_held_payment_and_the_coins_change_hands_or_neither_does() {
    if let Err(broken) = walk_held(Machine { step, asks: true }, 2_000, 5_000) {
        panic!("{broken}");
    }
}

#[test]
fn a_loop_in_is_paid_and_claimed_or_neither() {
    if let Err(broken) = walk_in(Machine { step, asks: true }, cosigns, 2_000, 5_000) {
        panic!("{broken}");
    }
}
