//! Every phase with every event, and the paths that a swap takes.

use super::*;

const ALL: [Phase; 12] = [
    Phase::Reserved,
    Phase::AwaitingPrepay,
    Phase::Building,
    Phase::Funding,
    Phase::Confirmed,
    Phase::PaymentHeld,
    Phase::Paid,
    Phase::Cancelling,
    Phase::Refunding,
    Phase::Claimed,
    Phase::Refunded,
    Phase::Failed(FailureReason::Funding),
];

fn look(liquid: u32, funding: Depth, payment: Payment) -> Observation {
    Observation {
        tips: Tips {
            liquid: Height(liquid),
            bitcoin: Height(500),
            lightning: Height(500),
        },
        chain: Some(ChainState {
            outputs: Vec::new(),
            funding,
            conflicted: false,
            spend: None,
        }),
        payment,
    }
}

const BURIED: Depth = Depth::Block(Height(1_001));
const HELD: Payment = Payment::Held { until: Height(600) };

fn spent(mut seen: Observation, spend: Spend, depth: Depth, whole: bool) -> Observation {
    if let Some(chain) = &mut seen.chain {
        chain.spend = Some(ChainSpend {
            txid: txid(0xcc),
            spend,
            depth,
            whole,
        });
    }
    seen
}

/// A swap in that phase, with the latches that lead there.
fn at(phase: &Phase) -> Swap {
    let mut swap = swap(terms());
    swap.phase = phase.clone();
    let has = |names: &[&str]| names.contains(&phase.name());
    if !has(&["Reserved"]) {
        swap.invoice = Some("lnbcrt1".to_owned());
    }
    if !has(&["Reserved", "AwaitingPrepay", "Building", "Failed"]) {
        swap.funding = Some(funding(&swap.terms));
    }
    swap.settle_tried = has(&["PaymentHeld", "Paid", "Claimed"]);
    swap.held_until = swap.settle_tried.then_some(Height(600));
    swap.paid = has(&["Paid", "Claimed"]);
    swap.never_settle = has(&["Cancelling", "Refunding", "Refunded", "Failed"]);
    swap
}

/// The rows are phases, the columns events; `-` is a refusal.
#[test]
fn every_phase_and_every_event() {
    let confirmed = || look(1_002, BURIED, Payment::Absent);
    let timed_out = || look(3_000, BURIED, Payment::Absent);
    let events = [
        Event::InvoiceMade {
            invoice: "lnbcrt1".to_owned(),
            prepay: None,
        },
        Event::Prepaid,
        Event::CreationFailed(FailureReason::Funding),
        Event::FundingSigned(funding(&terms())),
        Event::Observed(look(1_002, Depth::Unseen, Payment::Absent)),
        Event::Observed(confirmed()),
        Event::Observed(look(1_002, BURIED, HELD)),
        Event::Observed(look(1_002, BURIED, Payment::Succeeded)),
        Event::Observed(timed_out()),
        Event::Observed(spent(confirmed(), Spend::Claim(PREIMAGE), BURIED, true)),
        Event::Observed(spent(
            timed_out(),
            Spend::Refund,
            Depth::Block(Height(3_000)),
            true,
        )),
        Event::SpendSigned(txid(0xcc)),
        Event::ForceRefund(timed_out()),
    ];
    let table = "
        Reserved       | Building - Failed -       Reserved Reserved Reserved Reserved Failed Reserved Failed - -
        AwaitingPrepay | - Building Failed -       AwaitingPrepay AwaitingPrepay AwaitingPrepay AwaitingPrepay Failed AwaitingPrepay Failed - -
        Building       | - - Failed Funding        Building Building Building Building Failed Building Failed - -
        Funding        | - - - -       Funding     Confirmed PaymentHeld Paid Refunding Claimed Refunded - Refunding
        Confirmed      | - - - -       Funding     Confirmed PaymentHeld Paid Refunding Claimed Refunded - Refunding
        PaymentHeld    | - - - -       PaymentHeld PaymentHeld PaymentHeld Paid PaymentHeld Claimed Refunded - -
        Paid           | - - - -       Paid        Paid Paid Paid Paid Claimed Refunded - -
        Cancelling     | - - - -       Cancelling  Cancelling Cancelling Paid Refunding Claimed Refunded Cancelling Refunding
        Refunding      | - - - -       Refunding   Refunding Refunding Paid Refunding Claimed Refunded Refunding Refunding
        Claimed        | - - - -       Paid        Paid Paid Paid Paid Claimed Refunded - -
        Refunded       | - - - -       Refunding   Refunding Refunding Paid Refunding Claimed Refunded Refunded Refunding
        Failed         | - - - -       Failed      Failed Failed Failed Failed Failed Failed - -
    ";
    let rows: Vec<&str> = table
        .lines()
        .map(str::trim)
        .filter(|row| !row.is_empty())
        .collect();
    assert_eq!(rows.len(), ALL.len());
    for (phase, row) in ALL.iter().zip(rows) {
        let (name, cells) = row.split_once('|').expect("a row");
        assert_eq!(name.trim(), phase.name());
        let cells: Vec<&str> = cells.split_whitespace().collect();
        assert_eq!(cells.len(), events.len(), "{name}");
        for (event, expected) in events.iter().zip(cells) {
            let next = step(&at(phase), event);
            let found = next.as_ref().map_or("-", |next| next.swap.phase.name());
            assert_eq!(found, expected, "{name} × {event:?}: {next:?}");
            if let Err(refused) = next {
                assert!(!refused.to_string().is_empty());
            }
        }
    }
}

/// One observation, the phase it leads to, and all that is asked for.
#[test]
fn what_is_done_about_what_is_seen() {
    use Effect::{BroadcastFunding, ClaimPayment, FailPayment, Refund, ReleaseCoins};
    let claim = Spend::Claim(PREIMAGE);
    let lost = Observation {
        tips: Tips {
            liquid: Height(1_002),
            bitcoin: Height(601),
            lightning: Height(601),
        },
        ..look(0, BURIED, Payment::Absent)
    };
    let mut conflict = look(1_002, Depth::Unseen, Payment::Absent);
    if let Some(chain) = &mut conflict.chain {
        chain.conflicted = true;
    }
    let alarm = Effect::Alarm;
    let lapsing = Payment::Held { until: Height(502) };
    let cases = [
        (
            Phase::Reserved,
            look(1_002, Depth::Unseen, Payment::Absent),
            "Reserved",
            vec![Effect::MakeInvoice],
        ),
        (
            Phase::Building,
            look(1_002, Depth::Unseen, Payment::Absent),
            "Building",
            vec![Effect::SignFunding],
        ),
        (
            Phase::Building,
            look(1_120, Depth::Unseen, Payment::Absent),
            "Failed",
            vec![ReleaseCoins, FailPayment],
        ),
        (
            Phase::Funding,
            look(1_002, Depth::Unseen, Payment::Absent),
            "Funding",
            vec![BroadcastFunding],
        ),
        (
            Phase::Funding,
            look(1_002, Depth::Mempool, HELD),
            "Funding",
            vec![],
        ),
        (Phase::Funding, look(1_001, BURIED, HELD), "Funding", vec![]),
        (
            Phase::Funding,
            look(1_120, Depth::Mempool, HELD),
            "Cancelling",
            vec![FailPayment],
        ),
        (
            Phase::Funding,
            conflict.clone(),
            "Failed",
            vec![ReleaseCoins],
        ),
        (
            Phase::Confirmed,
            look(2_879, BURIED, HELD),
            "PaymentHeld",
            vec![ClaimPayment],
        ),
        (
            Phase::Confirmed,
            look(2_880, BURIED, HELD),
            "Cancelling",
            vec![FailPayment],
        ),
        (
            Phase::Confirmed,
            look(1_002, BURIED, lapsing),
            "Confirmed",
            vec![],
        ),
        (
            Phase::Confirmed,
            look(3_000, BURIED, HELD),
            "Refunding",
            vec![FailPayment, Refund],
        ),
        (
            Phase::PaymentHeld,
            look(1_002, BURIED, HELD),
            "PaymentHeld",
            vec![ClaimPayment],
        ),
        (
            Phase::PaymentHeld,
            look(3_000, BURIED, HELD),
            "PaymentHeld",
            vec![ClaimPayment, alarm(Alarm::PaidUnclaimed)],
        ),
        (
            Phase::PaymentHeld,
            lost,
            "PaymentHeld",
            vec![alarm(Alarm::PaymentLost)],
        ),
        (
            Phase::PaymentHeld,
            conflict,
            "PaymentHeld",
            vec![alarm(Alarm::FundingLost)],
        ),
        (
            Phase::Paid,
            look(3_000, BURIED, Payment::Succeeded),
            "Paid",
            vec![alarm(Alarm::PaidUnclaimed)],
        ),
        (
            Phase::Paid,
            look(1_002, Depth::Unseen, Payment::Succeeded),
            "Paid",
            vec![BroadcastFunding],
        ),
        (
            Phase::Paid,
            spent(
                look(1_002, BURIED, Payment::Succeeded),
                claim,
                BURIED,
                false,
            ),
            "Paid",
            vec![alarm(Alarm::PartlySpent)],
        ),
        (
            Phase::Confirmed,
            spent(
                look(1_002, BURIED, Payment::Absent),
                claim,
                Depth::Mempool,
                true,
            ),
            "Confirmed",
            vec![],
        ),
        (
            Phase::Confirmed,
            spent(look(1_002, BURIED, Payment::Absent), claim, BURIED, true),
            "Claimed",
            vec![alarm(Alarm::ClaimedUnpaid)],
        ),
        (
            Phase::Confirmed,
            spent(look(2_900, BURIED, HELD), claim, BURIED, true),
            "Claimed",
            vec![ClaimPayment, alarm(Alarm::ClaimedUnpaid)],
        ),
        (
            Phase::Cancelling,
            spent(look(2_900, BURIED, HELD), claim, BURIED, true),
            "Claimed",
            vec![FailPayment, alarm(Alarm::ClaimedUnpaid)],
        ),
        (
            Phase::Refunding,
            spent(
                look(3_001, BURIED, Payment::Absent),
                Spend::Refund,
                Depth::Mempool,
                true,
            ),
            "Refunding",
            vec![Refund],
        ),
        (
            Phase::Refunded,
            look(2_999, BURIED, HELD),
            "Refunding",
            vec![FailPayment],
        ),
    ];
    for (phase, seen, expected, effects) in cases {
        let next = step(&at(&phase), &Event::Observed(seen.clone())).expect("it happens");
        assert_eq!(next.swap.phase.name(), expected, "{phase:?} × {seen:?}");
        assert_eq!(next.effects, effects, "{phase:?} × {seen:?}");
    }
}

#[test]
fn a_forced_refund_says_why_not() {
    let force = |phase: Phase, seen: Observation| {
        step(&at(&phase), &Event::ForceRefund(seen))
            .map(|next| (next.swap.never_settle, next.effects))
    };
    let late = |bitcoin: u32| Observation {
        tips: Tips {
            liquid: Height(3_000),
            bitcoin: Height(bitcoin),
            lightning: Height(bitcoin),
        },
        ..look(0, BURIED, Payment::Absent)
    };
    let claim = Spend::Claim(PREIMAGE);
    let cases = [
        (Phase::Building, late(500), Refused::NothingLocked),
        (
            Phase::Confirmed,
            look(2_999, BURIED, Payment::Absent),
            Refused::BeforeTimeout {
                chain: ChainName::Liquid,
                timeout: Height(3_000),
                tip: Height(2_999),
            },
        ),
        (
            Phase::Cancelling,
            look(3_000, Depth::Mempool, Payment::Absent),
            Refused::FundingNotInChain,
        ),
        (Phase::Paid, late(9_000), Refused::Paid),
        (
            Phase::PaymentHeld,
            look(3_000, BURIED, Payment::Succeeded),
            Refused::Paid,
        ),
        (
            Phase::PaymentHeld,
            late(744),
            Refused::MayBePaid { after: Height(744) },
        ),
        (
            Phase::PaymentHeld,
            Observation {
                payment: HELD,
                ..late(745)
            },
            Refused::MayBePaid { after: Height(744) },
        ),
        (
            Phase::Cancelling,
            spent(late(500), claim, Depth::Mempool, true),
            Refused::Spent,
        ),
        (
            Phase::Refunded,
            spent(late(500), Spend::Refund, BURIED, true),
            Refused::Spent,
        ),
        (
            Phase::Confirmed,
            Observation {
                chain: None,
                ..late(500)
            },
            Refused::NoChain,
        ),
    ];
    for (phase, seen, expected) in cases {
        assert_eq!(force(phase.clone(), seen), Err(expected), "{phase:?}");
    }
    assert_eq!(
        force(Phase::PaymentHeld, late(745)),
        Ok((true, vec![Effect::Refund]))
    );
    assert_eq!(
        force(Phase::Cancelling, late(500)),
        Ok((true, vec![Effect::Refund]))
    );
}

#[test]
fn an_effect_that_waited_is_asked_about() {
    let mut swap = at(&Phase::PaymentHeld);
    let held = |until: u32| Payment::Held {
        until: Height(until),
    };
    assert!(is_due(&swap, &Effect::ClaimPayment) && may_claim(&swap, held(600)));
    assert!(!may_claim(&swap, held(601)) && !may_claim(&swap, Payment::Absent));
    assert!(!is_due(&swap, &Effect::FailPayment) && !is_due(&swap, &Effect::Refund));
    swap.never_settle = true;
    assert!(!is_due(&swap, &Effect::ClaimPayment) && !may_claim(&swap, held(600)));
    assert!(!is_due(&swap, &Effect::FailPayment));
}

#[test]
fn final_is_deep_and_paid() {
    let tips = |liquid: u32, bitcoin: u32| Tips {
        liquid: Height(liquid),
        bitcoin: Height(bitcoin),
        lightning: Height(bitcoin),
    };
    let mut swap = at(&Phase::Claimed);
    swap.spend = Some(ChainSpend {
        txid: txid(1),
        spend: Spend::Claim(PREIMAGE),
        depth: Depth::Block(Height(100)),
        whole: true,
    });
    assert!(!is_final(&swap, tips(100, 500), 2));
    assert!(is_final(&swap, tips(101, 500), 2));
    swap.paid = false;
    assert!(!is_final(&swap, tips(101, 744), 2));
    assert!(is_final(&swap, tips(101, 745), 2));
    for phase in ALL {
        let settled = matches!(phase, Phase::Claimed | Phase::Refunded | Phase::Failed(_));
        assert_eq!(is_exposed(&at(&phase)), !settled);
        assert_eq!(
            is_final(&at(&phase), tips(9_000, 9_000), 1),
            matches!(phase, Phase::Failed(_))
        );
    }
}

/// Whoever locks nothing takes no place from those who do: what counts is the agreed amount, seen.
#[test]
fn a_loop_in_counts_once_what_was_agreed_is_seen() {
    let coin = |value: u64, depth| Output {
        outpoint: funding(&loop_in().terms).outpoint(),
        value: Units(value),
        depth,
        spend: None,
    };
    let told = |swap: &Swap, height, outputs| {
        let seen = Observation {
            tips: bitcoin_tips(height),
            chain: Some(ChainState {
                outputs,
                funding: Depth::Unseen,
                conflicted: false,
                spend: None,
            }),
            payment: Payment::Absent,
        };
        step(swap, &Event::Observed(seen)).unwrap().swap
    };
    let counts = |swap: &Swap| (is_unfunded(swap), is_exposed(swap));
    let waits = loop_in();
    let agreed = waits.terms.amount.0;
    assert_eq!(counts(&waits), (true, false));
    // Another amount is not what was agreed, as long as it waits and when it is deep.
    let other = told(&waits, 1_001, vec![coin(agreed - 1, Depth::Mempool)]);
    assert_eq!(counts(&other), (true, false));
    let other = told(
        &other,
        1_005,
        vec![coin(agreed - 1, Depth::Block(Height(1_002)))],
    );
    assert_eq!(counts(&other), (false, false));
    // What was agreed counts as soon as it is seen, and no more when it is gone again.
    let seen = told(&waits, 1_001, vec![coin(agreed, Depth::Mempool)]);
    assert_eq!(counts(&seen), (false, true));
    assert_eq!(counts(&told(&seen, 1_001, Vec::new())), (true, false));
    let deep = told(
        &seen,
        1_005,
        vec![coin(agreed, Depth::Block(Height(1_002)))],
    );
    assert_eq!((counts(&deep), deep.phase), ((false, true), Phase::Paying));
    // From the deadline on nothing is waited for.
    let deadline = funding_deadline(&waits.terms).0;
    assert_eq!(
        counts(&told(&waits, deadline - 1, Vec::new())),
        (true, false)
    );
    assert_eq!(counts(&told(&waits, deadline, Vec::new())), (false, false));
    // What the server locks counts from the beginning.
    assert_eq!(counts(&swap(loop_terms(Direction::OutHeld))), (false, true));
}
