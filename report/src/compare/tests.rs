//! Pairs of runs, and the step where they must be said to part.

use std::path::Path;

use swaprig_record::{
    Call, Chain, Event, Fault, Htlc, Input, Output, Payment, PaymentState, Seen, StepOutcome,
    SwapState, Tx,
};

use super::*;
use crate::testing::Record;

fn compared(left: &Record, right: &Record) -> Comparison {
    let (left, right) = (left.contents(), right.contents());
    compare((Path::new("l"), &left), (Path::new("r"), &right)).unwrap()
}

fn swap(party: &str, state: &str) -> Event {
    Event::Swap(SwapState {
        party: party.to_owned(),
        swap: "0190163d".to_owned(),
        state: state.to_owned(),
        before: None,
    })
}

fn call(from: &str, method: &str, reply: &str, error: Option<&str>) -> Event {
    Event::Call(Box::new(Call {
        from: from.to_owned(),
        to: "seller".to_owned(),
        method: method.to_owned(),
        request: String::new(),
        reply: reply.to_owned(),
        error: error.map(str::to_owned),
        took_us: 7,
    }))
}

fn payment(state: PaymentState, hash: &str) -> Event {
    Event::Payment(Payment {
        node: "alice".to_owned(),
        peer: None,
        hash: hash.to_owned(),
        state,
        amount_msat: None,
        fee_msat: None,
        claim_deadline: None,
    })
}

fn tx(txid: &str, inputs: &[(&str, &[&str])], outputs: &[(&str, Option<&str>)]) -> Event {
    Event::Tx(Box::new(Tx {
        chain: Chain::Liquid,
        txid: txid.to_owned(),
        vsize: 200,
        fee_sat: Some(20),
        lock_time: 0,
        inputs: inputs
            .iter()
            .map(|(txid, witness)| Input {
                txid: (*txid).to_owned(),
                vout: 0,
                witness: witness
                    .iter()
                    .map(|element| (*element).to_owned())
                    .collect(),
            })
            .collect(),
        outputs: outputs
            .iter()
            .map(|(kind, address)| Output {
                value: Some(1),
                asset: None,
                address: address.map(str::to_owned),
                kind: (*kind).to_owned(),
            })
            .collect(),
    }))
}

/// Three steps, with what `in_second` does in the second one.
fn three(in_second: impl Fn(&mut Record)) -> Record {
    let mut record = Record::new("a/b");
    record.step("1", "mine").done();
    record.step("2", "pay");
    in_second(&mut record);
    record.done().step("3", "expect").done();
    record
}

#[test]
fn what_always_differs_parts_nobody() {
    let run = |number: u32| {
        let id = format!("{number:064x}");
        let mut record = three(|record| {
            record.event(payment(PaymentState::Succeeded, &id));
            record.event(tx(
                &id,
                &[],
                &[("witness_v0_keyhash", Some(&id)), ("fee", None)],
            ));
            // Another number of looks, of a party that asks again and again.
            for _ in 0..number {
                record.event(call("harness", "Get", "{}", None));
                record.event(call("buyer", "Get", "{}", None));
            }
            record.after_ms(u64::from(number) * 20);
        });
        record.began.seed = u64::from(number);
        record.began.unix_ms += u64::from(number);
        record
    };
    let compared = compared(&run(1).passed(), &run(9).passed());
    assert!(compared.parted.is_none(), "{compared:#?}");
    assert_eq!((compared.same, compared.noticed.len()), (3, 0));
    assert!(compared.slower.is_empty());
}

#[test]
fn runs_part_at_the_first_step_that_is_not_the_same() {
    let nothing = |_: &mut Record| {};
    let green = three(nothing).passed();
    let funded = |record: &mut Record| {
        record.event(swap("seller", "Funded"));
    };
    let fault = |record: &mut Record| {
        record.event(Event::Fault(Fault {
            link: "alice->bob".to_owned(),
            what: "delay 500ms".to_owned(),
        }));
    };
    let refused = |record: &mut Record| {
        record.event(call(
            "harness",
            "Create",
            "",
            Some("NOT_FOUND: no swap 0190163d86"),
        ));
    };
    type Change<'a> = &'a dyn Fn(&mut Record);
    let changes: [(Change<'_>, &str); 3] = [
        (&funded, "seller: swap is Funded"),
        (&fault, "alice->bob: delay …"),
        (
            &refused,
            "harness → seller Create fails: NOT_FOUND: no swap …",
        ),
    ];
    for (change, what) in changes {
        // Whether the first or the second run has it.
        for (left, right) in [
            (three(change).passed(), green.clone()),
            (green.clone(), three(change).passed()),
        ] {
            let compared = compared(&left, &right);
            let parted = compared.parted.unwrap();
            assert_eq!(
                (parted.place.step.as_str(), compared.same),
                ("2", 1),
                "{what}"
            );
            let told = &parted.differences[0];
            let only = told.left.as_ref().or(told.right.as_ref());
            assert_eq!(only.map(String::as_str), Some(what));
            assert!(told.left.is_none() != told.right.is_none());
        }
    }
}

#[test]
fn the_failing_run_is_on_the_left_and_its_step_is_told_beside_the_first_that_parts() {
    let green = three(|record| {
        record.event(swap("seller", "Funded"));
    });
    let green = green.passed();
    let mut red = Record::new("a/b");
    red.step("1", "mine").done().step("2", "pay").done();
    red.step("3", "expect")
        .after_ms(5_000)
        .fails("height did not become 3");
    let red = red.failed("height did not become 3");
    for (left, right) in [(&green, &red), (&red, &green)] {
        let compared = compared(left, right);
        assert_eq!(compared.left.verdict, Verdict::Failed);
        assert_eq!(
            compared.left.failure.as_deref(),
            Some("height did not become 3")
        );
        let parted = compared.parted.unwrap();
        assert_eq!((parted.place.step.as_str(), parted.line), ("2", 12));
        assert_eq!(
            parted.differences[0].right.as_deref(),
            Some("seller: swap is Funded")
        );
        let failed = compared.failed.unwrap();
        assert_eq!(failed.place.step, "3");
        let (left, right) = (failed.left.unwrap(), failed.right.unwrap());
        assert_eq!(left.outcome, Some(StepOutcome::Failed));
        assert_eq!(right.outcome, Some(StepOutcome::Passed));
        // The time that the failing step waited is told there, and lost nowhere.
        assert!(compared.slower.is_empty() && left.took_us > 5_000_000);
    }
}

#[test]
fn an_inner_step_is_told_rather_than_the_one_around_it() {
    let run = |fails: bool| {
        let mut record = Record::new("a/b");
        for time in 0..3 {
            record
                .step("1", "times")
                .step("1.1", "mine")
                .done()
                .step("1.2", "pay");
            if fails && time == 2 {
                record.fails("no route");
                record.fails("no route");
                return record.failed("no route");
            }
            record.done().done();
        }
        record.step("2", "mine").done();
        record.passed()
    };
    let compared = compared(&run(true), &run(false));
    let parted = compared.parted.unwrap();
    assert_eq!((parted.place.step.as_str(), parted.place.time), ("1.2", 3));
    assert!(compared.failed.is_none());
    // Two whole rounds of three steps, and the first inner step of the third.
    assert_eq!(compared.same, 7);
}

#[test]
fn a_run_that_ended_in_between_parts_where_it_ended() {
    let green = three(|_| {}).passed();
    let mut cut = Record::new("a/b");
    cut.step("1", "mine").done().step("2", "pay");
    let comparison = compared(&cut, &green);
    assert_eq!(comparison.left.verdict, Verdict::Cut);
    let parted = comparison.parted.unwrap();
    assert_eq!(
        (parted.place.step.as_str(), parted.left.unwrap().outcome),
        ("2", None)
    );
    // Between two steps: the next one was never begun.
    cut.done();
    let parted = compared(&cut, &green).parted.unwrap();
    assert_eq!(
        (parted.place.step.as_str(), parted.left.is_none()),
        ("3", true)
    );
}

#[test]
fn a_state_that_was_missed_or_came_later_parts_nobody() {
    let full = three(|record| {
        record.event(swap("seller", "Created"));
        record.event(swap("seller", "Funded"));
        record.event(swap("seller", "Paid"));
    });
    let missed = three(|record| {
        record.event(swap("seller", "Created"));
        record.event(swap("seller", "Paid"));
    });
    let comparison = compared(&full.passed(), &missed.passed());
    assert!(comparison.parted.is_none(), "{comparison:#?}");
    assert_eq!(comparison.noticed.len(), 1);
    // The same states, the last one a step later.
    let mut late = Record::new("a/b");
    late.step("1", "mine").done().step("2", "pay");
    late.event(swap("seller", "Created"))
        .event(swap("seller", "Funded"));
    late.done()
        .step("3", "expect")
        .event(swap("seller", "Paid"))
        .done();
    assert!(compared(&full.passed(), &late.passed()).parted.is_none());
    // One that never came to its end did part.
    let stuck = three(|record| {
        record.event(swap("seller", "Created"));
        record.event(swap("seller", "Funded"));
    });
    assert!(compared(&stuck.passed(), &full.passed()).parted.is_some());
}

#[test]
fn transactions_are_told_by_what_they_are_for() {
    let (preimage, script) = ("11".repeat(32), "63a820".to_owned());
    let run = |preimage: &str, id: &str| {
        three(|record| {
            record.event(Event::Htlc(Box::new(Htlc {
                name: Some("swap".to_owned()),
                chain: Chain::Liquid,
                address: format!("ert1{id}"),
                hash: id.to_owned(),
                timeout: 1_556,
                value: None,
                asset: None,
                claimer: None,
                refunder: None,
            })));
            let address = format!("ert1{id}");
            record.event(tx(id, &[], &[("witness_v0_scripthash", Some(&address))]));
            let witness = ["30".repeat(71), preimage.to_owned(), script.clone()];
            let witness: Vec<&str> = witness.iter().map(String::as_str).collect();
            record.event(tx(
                &format!("{id}ff"),
                &[(id, &witness)],
                &[("witness_v0_keyhash", None)],
            ));
        })
    };
    let (claimed, again) = (run(&preimage, "aa").passed(), run(&preimage, "bb").passed());
    assert!(compared(&claimed, &again).parted.is_none());
    let refunded = run("", "cc").passed();
    let parted = compared(&claimed, &refunded).parted.unwrap();
    let told: Vec<Option<&str>> = parted
        .differences
        .iter()
        .flat_map(|found| [found.left.as_deref(), found.right.as_deref()])
        .collect();
    let expected = [
        Some("the claim of the HTLC of swap on liquid is seen"),
        None,
        None,
        Some("the refund of the HTLC of swap on liquid is seen"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_may_be_chance_is_noted_and_decides_nothing() {
    let run = |state: &str, timeout: u32| {
        let mut record = Record::new("a/b");
        record.step("1", "create").event(call(
            "harness",
            "Create",
            &format!("{{\"timeout\":{timeout}}}"),
            None,
        ));
        record.ends(
            StepOutcome::Passed,
            None,
            &[("height", &timeout.to_string()), ("fee", state)],
        );
        record.step("2", "expect").event(Event::Seen(Seen {
            step: "2".to_owned(),
            wait: "swap to be Claimed".to_owned(),
            seen: state.to_owned(),
            after_ms: 10,
        }));
        record.ends(StepOutcome::FailedAsExpected, Some("not Claimed"), &[]);
        record.passed()
    };
    let compared = compared(&run("Funded", 1), &run("Paid", 2));
    assert!(compared.parted.is_none());
    let noticed: Vec<String> = compared
        .noticed
        .iter()
        .map(|(step, found)| {
            let side = |side: &Option<String>| side.clone().unwrap_or_default();
            format!(
                "{step}: {}: {}, {}",
                found.what,
                side(&found.left),
                side(&found.right)
            )
        })
        .collect();
    let expected = [
        "step 1 (create): made height: 1, 2",
        "step 1 (create): $.timeout of Create: 1, 2",
        "step 2 (expect): last seen: Funded, Paid",
    ];
    assert_eq!(noticed, expected);
}

#[test]
fn lost_time_is_told_where_it_was_lost() {
    let run = |ms: [u64; 3]| {
        let mut record = Record::new("a/b");
        record
            .step("1", "together")
            .step("1.1", "mine")
            .after_ms(ms[0])
            .done()
            .done();
        record.step("2", "pay").after_ms(ms[1]).done();
        record.step("3", "expect").after_ms(ms[2]).done();
        record.passed()
    };
    let compared = compared(&run([900, 10, 2_000]), &run([100, 150, 1_500]));
    let slower: Vec<&str> = compared
        .slower
        .iter()
        .map(|slow| slow.what.as_str())
        .collect();
    // 140 ms are not worth a word, and 2 s are not twice as much as 1.5 s; the step around the slow one is not told.
    assert_eq!(slower, ["step 1.1 (mine)"]);
}

#[test]
fn a_changed_file_and_other_programs_are_told_and_other_scenarios_refused() {
    let mut changed = three(|_| {}).passed();
    changed.began.scenario = "a/b#gold".to_owned();
    changed.began.swaprig = "0.2.0".to_owned();
    let compared = compared(&three(|_| {}).passed(), &changed);
    let told: Vec<&str> = compared
        .circumstances
        .iter()
        .map(|found| found.what.as_str())
        .collect();
    assert_eq!(told, ["case", "swaprig"]);
    let (one, other) = (Record::new("a/b").contents(), Record::new("a/c").contents());
    let error = compare((Path::new("l"), &one), (Path::new("r"), &other)).unwrap_err();
    assert!(error.to_string().contains("a/b and a/c"), "{error}");
}
