//! Random walks: never both refunded and paid, and nothing is stuck. And bugs that are planted to show that the walks see.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

use super::model::{Machine, Step, changed};
use super::world::{Action, World};
use super::*;

fn action() -> impl Strategy<Value = Action> {
    let blocks = prop_oneof![
        Just(1_u32),
        Just(2),
        Just(3),
        Just(100),
        Just(700),
        Just(2_000)
    ];
    let bitcoin = prop_oneof![Just(1_u32), Just(6), Just(40), Just(300)];
    prop_oneof![
        4 => (blocks, any::<bool>()).prop_map(|(blocks, full)| Action::Liquid { blocks, full }),
        2 => bitcoin.prop_map(Action::Bitcoin),
        1 => (1..4_u32, any::<bool>()).prop_map(|(blocks, gone)| Action::Reorg { blocks, gone }),
        1 => Just(Action::Evict),
        1 => prop_oneof![9 => Just(Action::Evict), 1 => Just(Action::Conflict)],
        3 => (3..90_u32).prop_map(|blocks| Action::Pay { blocks }),
        2 => Just(Action::BuyerClaims),
        6 => Just(Action::Look),
        6 => Just(Action::Deliver),
        9 => (0..6_usize, any::<bool>()).prop_map(|(at, again)| Action::Perform { at, again }),
        1 => Just(Action::Force),
    ]
}

/// Walks until one breaks a rule. Always the same walks.
fn walk(machine: Machine, cases: u32, shrink: u32) -> Result<(), String> {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: shrink,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let walks = proptest::collection::vec(action(), 0..90);
    TestRunner::new_with_rng(config, rng)
        .run(&walks, |actions| {
            let mut world = World::new(machine);
            // Most walks start where something can go wrong.
            for _ in 0..3 {
                let first = Action::Perform {
                    at: 0,
                    again: false,
                };
                world.act(first).map_err(TestCaseError::fail)?;
            }
            for action in actions {
                world.act(action).map_err(TestCaseError::fail)?;
            }
            world.settle().map_err(TestCaseError::fail)
        })
        .map_err(|error| error.to_string())
}

#[test]
fn never_both_and_never_stuck() {
    let machine = Machine { step, asks: true };
    if let Err(broken) = walk(machine, 2_000, 5_000) {
        panic!("{broken}");
    }
}

fn takes_in_cancelling(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    changed(swap, event, |next| {
        if next.effects.contains(&Effect::FailPayment) {
            next.swap.settle_tried = true;
            next.effects = vec![Effect::ClaimPayment];
        }
    })
}

fn takes_before_it_is_confirmed(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    changed(swap, event, |next| {
        if let (
            Phase::Funding,
            Event::Observed(Observation {
                payment: Payment::Held { until },
                ..
            }),
        ) = (&next.swap.phase, event)
        {
            next.swap.settle_tried = true;
            next.swap.held_until = Some(*until);
            next.effects.push(Effect::ClaimPayment);
        }
    })
}

fn forgets_that_it_tried(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    let mut forgetful = swap.clone();
    forgetful.settle_tried &= forgetful.paid;
    step(&forgetful, event)
}

fn forgets_never_to_claim(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    changed(swap, event, |next| next.swap.never_settle = false)
}

fn refunds_by_time_alone(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    changed(swap, event, |next| {
        if !next.swap.paid && next.effects.contains(&Effect::Alarm(Alarm::PaidUnclaimed)) {
            next.swap.never_settle = true;
            next.swap.phase = Phase::Refunding;
            next.effects.push(Effect::Refund);
        }
    })
}

fn never_goes_back(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    changed(swap, event, |next| {
        if matches!(swap.phase, Phase::Claimed | Phase::Refunded) {
            *next = Transition {
                swap: swap.clone(),
                effects: Vec::new(),
            };
        }
    })
}

fn sends_the_funding_once(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    changed(swap, event, |next| {
        if matches!(event, Event::Observed(_)) {
            next.effects
                .retain(|effect| *effect != Effect::BroadcastFunding);
        }
    })
}

fn lets_coins_go_when_cancelling(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    changed(swap, event, |next| {
        if next.swap.phase == Phase::Cancelling {
            next.swap.phase = Phase::Failed(FailureReason::Funding);
            next.effects.push(Effect::ReleaseCoins);
        }
    })
}

fn never_refunds(swap: &Swap, event: &Event) -> Result<Transition, Refused> {
    changed(swap, event, |next| {
        next.effects.retain(|effect| *effect != Effect::Refund)
    })
}

#[test]
fn planted_bugs_are_found() {
    let bugs: &[(&str, Step, bool, &str)] = &[
        ("takes in cancelling", takes_in_cancelling, true, "taken"),
        (
            "takes before it is confirmed",
            takes_before_it_is_confirmed,
            true,
            "taken",
        ),
        ("forgets that it tried", forgets_that_it_tried, true, ""),
        ("forgets never to claim", forgets_never_to_claim, true, ""),
        (
            "refunds by time alone",
            refunds_by_time_alone,
            true,
            "refunded, and the payment taken",
        ),
        ("never goes back", never_goes_back, true, "stuck"),
        (
            "sends the funding once",
            sends_the_funding_once,
            true,
            "stuck",
        ),
        (
            "lets coins go when cancelling",
            lets_coins_go_when_cancelling,
            true,
            "coins let go",
        ),
        ("never refunds", never_refunds, true, "stuck"),
        (
            "performs without asking",
            step,
            false,
            "refunded, and the payment taken",
        ),
    ];
    for (name, step, asks, broken) in bugs {
        let machine = Machine {
            step: *step,
            asks: *asks,
        };
        let found = walk(machine, 6_000, 0).expect_err(name);
        let why = found.split(';').next().unwrap_or_default();
        assert!(why.contains(broken), "`{name}` is noticed as `{why}`");
        println!("{name}: {}", why.chars().take(90).collect::<String>());
    }
}
