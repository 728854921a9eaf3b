//! The tables of loops: one observation, the phase it leads to, and what is asked for; and the paths that matter most.

use bitcoin::OutPoint;

use super::*;

const HELD: Payment = Payment::Held {
    until: Height(1_400),
};
const BURIED: Depth = Depth::Block(Height(1_010));
const PENDING: Payment = Payment::Sent(Sent::Pending);

fn look(tip: u32, funding: Depth, payment: Payment) -> Observation {
    Observation {
        tips: bitcoin_tips(tip),
        chain: Some(ChainState {
            outputs: Vec::new(),
            funding,
            conflicted: false,
            spend: None,
        }),
        payment,
    }
}

fn spent(mut seen: Observation, spend: Spend, depth: Depth) -> Observation {
    let chain = seen.chain.as_mut().expect("a chain");
    chain.spend = Some(ChainSpend {
        txid: txid(0xcc),
        spend,
        depth,
        whole: true,
    });
    seen
}

fn told(swap: &Swap, events: &[Event]) -> Transition {
    let mut last = Transition {
        swap: swap.clone(),
        effects: Vec::new(),
    };
    for event in events {
        last = step(&last.swap, event).expect("it happens");
    }
    last
}

/// A loop out that waits for its payment.
fn awaiting() -> Swap {
    let made = Event::InvoiceMade {
        invoice: "lnbcrt1".to_owned(),
        prepay: None,
    };
    told(&swap(loop_terms(Direction::OutHeld)), &[made]).swap
}

/// A loop out whose funding is signed, timeout 1,288.
fn funded() -> Swap {
    let signed = Event::FundingSigned(funding(&awaiting().terms));
    let seen = Event::Observed(look(1_001, Depth::Unseen, HELD));
    told(&awaiting(), &[seen, signed]).swap
}

fn at_block(height: u32) -> Depth {
    Depth::Block(Height(height))
}

#[test]
fn the_timeout_follows_from_what_is_held() {
    let until = |until: u32| Payment::Held {
        until: Height(until),
    };
    // 1,001 + 2 confirmations + 24 to claim + 12 to refund.
    let cases = [
        (1_400, Some(1_288)),
        (1_299, Some(1_287)),
        (1_039, Some(1_027)),
        (1_038, None),
    ];
    for (lapse, expected) in cases {
        let seen = Event::Observed(look(1_001, Depth::Unseen, until(lapse)));
        let next = told(&awaiting(), &[seen]);
        match expected {
            Some(timeout) => {
                assert_eq!(next.swap.phase, Phase::Building, "{lapse}");
                assert_eq!(next.swap.terms.timeout, Height(timeout), "{lapse}");
                assert_eq!(next.effects, [Effect::SignFunding], "{lapse}");
            }
            None => {
                assert_eq!(next.swap, awaiting(), "{lapse}");
                assert_eq!(next.effects, [Effect::FailPayment], "{lapse}");
            }
        }
    }
}

/// The payment went, or another one that lapses earlier took its place, or the time did not stand still.
#[test]
fn nothing_is_signed_or_sent_for_another_payment() {
    let shorter = Payment::Held {
        until: Height(1_299),
    };
    let building = told(
        &awaiting(),
        &[Event::Observed(look(1_001, Depth::Unseen, HELD))],
    )
    .swap;
    for (tip, payment) in [(1_001, Payment::Absent), (1_001, shorter), (1_263, HELD)] {
        let next = told(
            &building,
            &[Event::Observed(look(tip, Depth::Unseen, payment))],
        );
        assert!(
            matches!(next.swap.phase, Phase::Failed(_)),
            "{tip} {payment:?}"
        );
        assert_eq!(next.effects, [Effect::ReleaseCoins, Effect::FailPayment]);
    }
    let send = [Effect::BroadcastFunding];
    for (tip, payment, expected) in [
        (1_002, HELD, true),
        (1_002, shorter, false),
        (1_002, Payment::Absent, false),
        (1_388, HELD, true),
        (1_389, HELD, false),
        (
            1_545,
            Payment::Held {
                until: Height(1_800),
            },
            false,
        ),
    ] {
        let seen = look(tip, Depth::Unseen, payment);
        let next = told(&funded(), &[Event::Observed(seen.clone())]);
        assert_eq!(
            next.effects.contains(&send[0]),
            expected,
            "{tip} {payment:?}"
        );
        assert_eq!(may_fund(&funded(), payment, seen.tips), expected);
    }
}

/// Each begins with a loop out whose funding is signed.
#[test]
fn what_a_loop_out_does_about_what_is_seen() {
    use Effect::{
        Alarm as Tell, BroadcastFunding, ClaimPayment, FailPayment, Refund, ReleaseCoins,
    };
    let claim = Spend::Claim(PREIMAGE);
    let refunding = told(
        &funded(),
        &[
            Event::Observed(look(1_288, BURIED, HELD)),
            Event::SpendSigned(txid(0xcc)),
        ],
    )
    .swap;
    let refunded = |tip: u32| spent(look(tip, BURIED, HELD), Spend::Refund, at_block(1_289));
    let claimed = |tip: u32| spent(look(tip, BURIED, HELD), claim, at_block(1_289));
    let waits = |tip: u32| spent(look(tip, BURIED, HELD), claim, Depth::Mempool);
    let gone = |tip: u32, funding| look(tip, funding, Payment::Absent);
    let cases = [
        (
            funded(),
            look(1_002, Depth::Unseen, HELD),
            "Funding",
            vec![BroadcastFunding],
        ),
        (
            funded(),
            look(1_060, Depth::Mempool, HELD),
            "Funding",
            vec![],
        ),
        (funded(), look(1_011, BURIED, HELD), "Confirmed", vec![]),
        (funded(), waits(1_012), "PaymentHeld", vec![ClaimPayment]),
        (
            funded(),
            look(1_288, BURIED, HELD),
            "Refunding",
            vec![Refund],
        ),
        // With the refund sent, only a block decides.
        (refunding.clone(), waits(1_290), "Refunding", vec![Refund]),
        (refunding.clone(), claimed(1_289), "Claimed", vec![]),
        (
            refunding.clone(),
            claimed(1_290),
            "Claimed",
            vec![ClaimPayment],
        ),
        (refunding.clone(), refunded(1_289), "Refunded", vec![]),
        (
            refunding.clone(),
            refunded(1_290),
            "Refunded",
            vec![FailPayment],
        ),
        // There is no time left to wait for more.
        (
            refunding.clone(),
            waits(1_396),
            "PaymentHeld",
            vec![
                ClaimPayment,
                Tell(Alarm::PaidUnclaimed),
                Tell(Alarm::LapsesUnclaimed),
            ],
        ),
        (
            refunding.clone(),
            spent(look(1_396, BURIED, HELD), Spend::Refund, Depth::Mempool),
            "Refunding",
            vec![Refund, Tell(Alarm::LapsesUnclaimed)],
        ),
        (
            refunding,
            spent(gone(1_401, BURIED), claim, at_block(1_400)),
            "Claimed",
            vec![Tell(Alarm::ClaimedUnpaid)],
        ),
        // A funding that was never confirmed is given up long after its payment has lapsed.
        (funded(), gone(1_544, Depth::Unseen), "Funding", vec![]),
        (
            funded(),
            gone(1_545, Depth::Unseen),
            "Cancelling",
            vec![ReleaseCoins],
        ),
        (
            funded(),
            gone(1_545, Depth::Mempool),
            "Funding",
            vec![Tell(Alarm::LapsesUnclaimed)],
        ),
    ];
    for (swap, seen, phase, effects) in cases {
        let next = told(&swap, &[Event::Observed(seen.clone())]);
        assert_eq!(next.swap.phase.name(), phase, "{seen:?}");
        assert_eq!(next.effects, effects, "{seen:?}");
    }
}

/// The first order to send it may still be waiting then.
#[test]
fn a_funding_that_was_given_up_is_not_sent_for_another_payment() {
    let gone = look(1_545, Depth::Unseen, Payment::Absent);
    let swap = told(&funded(), &[Event::Observed(gone)]).swap;
    let later = Payment::Held {
        until: Height(1_800),
    };
    assert!(!may_fund(&swap, later, bitcoin_tips(1_546)));
    let next = told(&swap, &[Event::Observed(look(1_546, Depth::Unseen, later))]);
    assert_eq!(next.effects, [Effect::FailPayment]);
}

#[test]
fn a_preimage_is_used_only_when_the_coins_are_there_to_stay() {
    let confirmed = told(&funded(), &[Event::Observed(look(1_012, BURIED, HELD))]).swap;
    let show = |swap: &Swap, preimage, seen| step(swap, &Event::PreimageShown(preimage, seen));
    let lapsing = Payment::Held {
        until: Height(1_014),
    };
    for seen in [
        look(1_010, BURIED, HELD),
        look(1_012, Depth::Mempool, HELD),
        look(1_012, BURIED, Payment::Absent),
        look(1_012, BURIED, lapsing),
        look(1_288, BURIED, HELD),
        spent(look(1_012, BURIED, HELD), Spend::Refund, Depth::Mempool),
    ] {
        assert!(
            show(&confirmed, PREIMAGE, seen.clone()).is_err(),
            "{seen:?}"
        );
    }
    let wrong = Preimage([8; 32]);
    assert_eq!(
        show(&confirmed, wrong, look(1_012, BURIED, HELD)),
        Err(Refused::Preimage)
    );
    let next = show(&confirmed, PREIMAGE, look(1_012, BURIED, HELD)).expect("it is taken");
    assert_eq!(next.effects, [Effect::ClaimPayment]);
    assert!(next.swap.settle_tried && !may_cosign(&next.swap));
    let paid = told(
        &next.swap,
        &[Event::Observed(look(1_013, BURIED, Payment::Succeeded))],
    )
    .swap;
    assert!(may_cosign(&paid) && !is_due(&paid, &Effect::Refund));
}

fn coin(byte: u8) -> OutPoint {
    OutPoint::new(txid(byte), 0)
}

fn shown(tip: u32, outputs: &[(OutPoint, u64, Depth)], payment: Payment) -> Observation {
    let mut seen = look(tip, Depth::Unseen, payment);
    let chain = seen.chain.as_mut().expect("a chain");
    let outputs = outputs.iter().map(|(outpoint, value, depth)| Output {
        outpoint: *outpoint,
        value: Units(*value),
        depth: *depth,
        spend: None,
    });
    chain.outputs = outputs.collect();
    seen
}

fn bound(swap: &Swap) -> Option<OutPoint> {
    swap.funding.as_ref().map(FundingTx::outpoint)
}

#[test]
fn what_a_loop_in_does_about_what_is_locked() {
    let (absent, whole, less) = (Payment::Absent, 100_000, 99_999);
    let (a, b) = (coin(1), coin(2));
    let mempool = Depth::Mempool;
    let pay = vec![Effect::PayInvoice];
    let cases = [
        (shown(1_000, &[], absent), "AwaitingFunding", None, vec![]),
        (shown(1_036, &[], absent), "Failed", None, vec![]),
        (
            shown(1_000, &[(a, whole, mempool)], absent),
            "Funding",
            Some(a),
            vec![],
        ),
        (
            shown(1_036, &[(a, whole, mempool)], absent),
            "Cancelling",
            Some(a),
            vec![],
        ),
        (
            shown(1_011, &[(a, whole, BURIED)], absent),
            "Funding",
            Some(a),
            vec![],
        ),
        (
            shown(1_012, &[(a, whole, BURIED)], absent),
            "Paying",
            Some(a),
            pay.clone(),
        ),
        (
            shown(1_126, &[(a, whole, BURIED)], absent),
            "Cancelling",
            Some(a),
            vec![],
        ),
        (
            shown(1_012, &[(a, less, mempool)], absent),
            "Funding",
            None,
            vec![],
        ),
        (
            shown(1_012, &[(a, less, BURIED)], absent),
            "Cancelling",
            None,
            vec![],
        ),
        (
            shown(1_012, &[(a, less, BURIED), (b, whole, mempool)], absent),
            "Funding",
            Some(b),
            vec![],
        ),
        (
            shown(1_012, &[(a, whole, mempool), (b, whole, BURIED)], absent),
            "Paying",
            Some(b),
            pay,
        ),
    ];
    for (seen, phase, chosen, effects) in cases {
        let next = told(&loop_in(), &[Event::Observed(seen.clone())]);
        assert_eq!(next.swap.phase.name(), phase, "{seen:?}");
        assert_eq!(bound(&next.swap), chosen, "{seen:?}");
        assert_eq!(next.effects, effects, "{seen:?}");
    }
}

#[test]
fn a_loop_in_is_paid_for_what_is_there_and_claimed_where_it_is() {
    let (a, b) = (coin(1), coin(2));
    let there = [(a, 100_000, BURIED)];
    let paying = told(
        &loop_in(),
        &[Event::Observed(shown(1_012, &there, Payment::Absent))],
    )
    .swap;
    let may = |tip, outputs: &[_]| {
        let seen = shown(tip, outputs, Payment::Absent);
        let chain = seen.chain.expect("a chain");
        may_pay(&paying, &chain, seen.tips)
    };
    assert!(may(1_012, &there) && may(1_125, &there));
    assert!(!may(1_126, &there) && !may(1_012, &[]) && !may(1_011, &there));
    assert!(!may(1_012, &[(b, 100_000, BURIED)]));
    // A reorganisation took it: nothing is paid, and nothing is given up before it is certain that nothing was sent.
    for (tip, payment, phase) in [
        (1_013, Payment::Absent, "Paying"),
        (1_131, Payment::Absent, "Paying"),
        (1_132, PENDING, "Paying"),
        (1_132, Payment::Absent, "Cancelling"),
        (1_013, Payment::Sent(Sent::Failed), "Cancelling"),
    ] {
        let next = told(&paying, &[Event::Observed(shown(tip, &[], payment))]);
        assert_eq!(next.swap.phase.name(), phase, "{tip} {payment:?}");
        assert_eq!(next.effects, [], "{tip} {payment:?}");
        assert_eq!(
            may_cosign(&next.swap),
            phase == "Cancelling",
            "{tip} {payment:?}"
        );
    }
    let cancel = Event::CancelAsked(shown(1_013, &there, PENDING));
    assert!(step(&paying, &cancel).is_err());
    // The client replaced it: what took its place is claimed.
    let arrived = Payment::Sent(Sent::Succeeded(PREIMAGE));
    let both = [(a, 100_000, BURIED), (b, 100_000, at_block(1_014))];
    let only = [(b, 100_000, at_block(1_014))];
    for (outputs, chosen) in [(&both[..], a), (&only[..], b)] {
        let next = told(&paying, &[Event::Observed(shown(1_016, outputs, arrived))]);
        assert_eq!(
            (bound(&next.swap), next.swap.phase.name()),
            (Some(chosen), "Paid")
        );
        assert_eq!(next.effects, [Effect::Claim]);
        assert!(!may_cosign(&next.swap));
    }
    // It had failed, and has arrived all the same: then it is claimed.
    let failed = told(
        &paying,
        &[Event::Observed(shown(
            1_013,
            &there,
            Payment::Sent(Sent::Failed),
        ))],
    );
    let next = told(
        &failed.swap,
        &[Event::Observed(shown(1_014, &there, arrived))],
    );
    assert_eq!(next.effects, [Effect::Claim]);
    assert!(!may_cosign(&next.swap));
}

#[test]
fn a_loop_is_final_when_nothing_can_happen_to_it() {
    let there = [(coin(1), 100_000, BURIED)];
    let refunded = |payment| {
        let mut seen = shown(1_290, &there, payment);
        let spend = ChainSpend {
            txid: txid(9),
            spend: Spend::Refund,
            depth: at_block(1_289),
            whole: true,
        };
        seen.chain.as_mut().expect("a chain").outputs[0].spend = Some(spend);
        Event::Observed(seen)
    };
    let paying = told(
        &loop_in(),
        &[Event::Observed(shown(1_012, &there, Payment::Absent))],
    )
    .swap;
    let pending = told(&paying, &[refunded(PENDING)]).swap;
    assert!(
        !is_final(&pending, bitcoin_tips(5_000), 2),
        "it may yet arrive"
    );
    let failed = told(&paying, &[refunded(Payment::Sent(Sent::Failed))]).swap;
    assert!(is_final(&failed, bitcoin_tips(1_290), 2));
    let wrong = [(coin(1), 99_999, BURIED)];
    let wrong = told(
        &loop_in(),
        &[Event::Observed(shown(1_012, &wrong, Payment::Absent))],
    )
    .swap;
    assert!(!is_final(&wrong, bitcoin_tips(2_295), 2) && is_final(&wrong, bitcoin_tips(2_296), 2));

    let claim = spent(
        look(1_303, BURIED, Payment::Absent),
        Spend::Claim(PREIMAGE),
        at_block(1_302),
    );
    let unpaid = told(&funded(), &[Event::Observed(claim)]).swap;
    assert!(
        !is_final(&unpaid, bitcoin_tips(1_544), 2),
        "it may be paid yet"
    );
    assert!(is_final(&unpaid, bitcoin_tips(1_545), 2));
    let refund = |tip| spent(look(tip, BURIED, HELD), Spend::Refund, at_block(1_289));
    let fresh = told(&funded(), &[Event::Observed(refund(1_289))]).swap;
    assert!(
        !is_final(&fresh, bitcoin_tips(1_290), 2),
        "the payment is still held"
    );
    let deep = told(&fresh, &[Event::Observed(refund(1_290))]).swap;
    assert!(is_final(&deep, bitcoin_tips(1_290), 2));
}
