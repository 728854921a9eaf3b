//! The arrows of a page against the record, by rules of their own: what the diagram draws is worked out here again.

use std::collections::{BTreeMap, BTreeSet};

use bitcoin_hashes::{Hash as _, sha256};
use swaprig_record::{Chain, Contents, Event, Htlc, PaymentState, Tx};
use swaprig_report::{Logs, page};

use crate::html::{Tag, tags};
use crate::{RECORDS, record};

/// Event, from, to.
type Arrow = (usize, String, String);

fn drawn(rows: &[Tag]) -> BTreeSet<Arrow> {
    let arrow = |row: &Tag| {
        let own = |name: &str| row.get(name).map(str::to_owned);
        let arrow = (
            own("data-n")?.parse().ok()?,
            own("data-from")?,
            own("data-to")?,
        );
        (row.get("data-part") != Some("answer")).then_some(arrow)
    };
    rows.iter().filter_map(arrow).collect()
}

fn expected(contents: &Contents) -> BTreeSet<Arrow> {
    let mut arrows = BTreeSet::new();
    let mut under_way: BTreeSet<&str> = BTreeSet::new();
    for (n, line) in contents.lines.iter().enumerate() {
        let ends = match &line.event {
            Event::Call(call) => Some((call.from.clone(), call.to.clone())),
            Event::Payment(payment) => {
                // Of these records: from alice's node to bob's.
                let (from, to) = ("alice".to_owned(), "bob".to_owned());
                let is_first = under_way.insert(&payment.hash);
                match payment.state {
                    PaymentState::Sent => Some((from, to)),
                    PaymentState::Held | PaymentState::Received => is_first.then_some((from, to)),
                    PaymentState::Succeeded => Some((to, from)),
                    PaymentState::Failed => {
                        under_way.remove(&*payment.hash);
                        Some((to, from))
                    }
                    PaymentState::Forwarded => None,
                }
            }
            Event::Tx(tx) => sender(contents, tx).map(|from| (from, "Liquid".to_owned())),
            _ => None,
        };
        arrows.extend(ends.map(|(from, to)| (n, from, to)));
    }
    arrows
}

/// Whoever moves the coins of an HTLC: its claimer with the preimage, else its refunder.
fn sender(contents: &Contents, tx: &Tx) -> Option<String> {
    let events = || contents.lines.iter().map(|line| &line.event);
    let htlcs: BTreeMap<&str, &Htlc> = events()
        .filter_map(|event| match event {
            Event::Htlc(htlc) => Some((&*htlc.address, &**htlc)),
            _ => None,
        })
        .collect();
    let at = |txid: &str, vout: u32| {
        let funding = events().find_map(|event| match event {
            Event::Tx(tx) if tx.txid == txid => Some(tx),
            _ => None,
        })?;
        htlcs
            .get(funding.outputs.get(vout as usize)?.address.as_deref()?)
            .copied()
    };
    for input in &tx.inputs {
        if let Some(htlc) = at(&input.txid, input.vout) {
            let is_preimage = |item: &String| {
                let bytes: Option<Vec<u8>> = (0..item.len() / 2)
                    .map(|at| u8::from_str_radix(item.get(2 * at..2 * at + 2)?, 16).ok())
                    .collect();
                bytes.is_some_and(|bytes| sha256::Hash::hash(&bytes).to_string() == htlc.hash)
            };
            let claims = input.witness.iter().any(is_preimage);
            return if claims {
                htlc.claimer.clone()
            } else {
                htlc.refunder.clone()
            };
        }
    }
    let mut addresses = tx
        .outputs
        .iter()
        .filter_map(|output| output.address.as_deref());
    addresses.find_map(|address| htlcs.get(address)?.refunder.clone())
}

#[test]
fn the_arrows_of_a_page_are_those_of_its_record() {
    for (name, _) in RECORDS {
        let contents = record(name);
        let rows = tags(&page(&contents, &Logs::default()));
        let (drawn, expected) = (drawn(&rows), expected(&contents));
        assert!(expected.len() >= 5, "{name} shows something: {expected:?}");
        assert_eq!(drawn, expected, "{name}");
    }
    let claim = expected(&record("claim"));
    assert!(
        claim
            .iter()
            .any(|(_, from, to)| from == "alice" && to == "Liquid"),
        "the claim"
    );
    assert!(
        claim
            .iter()
            .any(|(_, from, to)| from == "bob" && to == "alice"),
        "the preimage"
    );
}

#[test]
fn rows_stand_in_the_order_of_time_and_a_long_call_has_its_answer() {
    let mut contents = record("claim");
    let is_call = |event: &Event| matches!(event, Event::Call(_));
    let n = contents
        .lines
        .iter()
        .position(|line| is_call(&line.event))
        .unwrap();
    // As if the first call had been asked at the beginning of the run.
    let asked = contents.lines[n].t;
    if let Event::Call(call) = &mut contents.lines[n].event {
        call.took_us = asked;
    }
    let rows = tags(&page(&contents, &Logs::default()));
    let times: Vec<u64> = (rows.iter())
        .filter(|tag| tag.name == "li" && tag.get("data-n").is_some())
        .map(|row| row.get("data-t").unwrap().parse().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    let own = |tag: &&Tag| tag.get("data-n") == Some(&*n.to_string());
    let ends: Vec<_> = (rows.iter().filter(own))
        .map(|row| {
            (
                row.get("data-from").unwrap(),
                row.get("data-to").unwrap(),
                row.get("data-part"),
            )
        })
        .collect();
    assert_eq!(
        ends,
        [
            ("harness", "seller", None),
            ("seller", "harness", Some("answer"))
        ]
    );
}

#[test]
fn a_transaction_of_a_stranger_is_a_note_in_its_chain() {
    let contents = record("claim");
    let rows = tags(&page(&contents, &Logs::default()));
    for (n, line) in contents.lines.iter().enumerate() {
        if let Event::Tx(tx) = &line.event
            && tx.chain == Chain::Bitcoin
        {
            let row = rows
                .iter()
                .find(|tag| tag.get("data-n") == Some(&*n.to_string()))
                .unwrap();
            assert_eq!(
                (row.get("data-lane"), row.get("data-from")),
                (Some("Bitcoin"), None)
            );
        }
    }
}
