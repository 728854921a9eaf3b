//! Pages of real records: their arrows are those of the record, their links lead somewhere, they stay small, and nothing
//! that a hostile server says becomes markup. Opened in a browser where there is one.

mod arrows;
mod browser;
mod hostile;
mod html;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use swaprig_record::{Contents, Event, Line, read_file};
use swaprig_report::{LogFile, Logs, page, write_page};

use html::tags;

/// Runs that were recorded, and how they ended.
pub(crate) const RECORDS: [(&str, &str); 3] = [
    ("claim", "Passed"),
    ("refund", "Passed"),
    ("tampered", "Failed"),
];

pub(crate) fn record_file(name: &str) -> PathBuf {
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    records.join(name).with_extension("jsonl")
}

pub(crate) fn record(name: &str) -> Contents {
    read_file(&record_file(name)).unwrap()
}

/// Logs in which something is said at every moment of the run, most of it in detail.
pub(crate) fn logs(contents: &Contents, lines: u64) -> Logs {
    use std::fmt::Write as _;

    let file = |party: &str| {
        let mut text = String::new();
        let last = contents.lines.last().map_or(1, |line| line.t);
        for line in 0..lines {
            let us = contents.began.unix_ms * 1000 + line * last / lines;
            let (seconds, day) = (us / 1_000_000 % 86_400, us / 86_400_000_000);
            // The records were made on this day.
            assert_eq!(day, 20_778, "2026-11-21");
            let level = if line % 20 == 0 { "INFO " } else { "DEBUG" };
            let noise = line.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            let _ = writeln!(
                text,
                "[2026-11-21T{:02}:{:02}:{:02}.{:06}Z {level} lightning::ln::channelmanager:{}] <b>handled</b> {noise:x}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60,
                us % 1_000_000,
                line % 900,
            );
        }
        LogFile {
            party: party.to_owned(),
            path: format!("{party}.stdout.log"),
            text,
            skipped: 0,
        }
    };
    Logs {
        files: vec![file("alice"), file("seller")],
        dir: "runs/41/claim".to_owned(),
        record: "runs/41/claim/record.jsonl".to_owned(),
        previous: None,
    }
}

#[test]
fn a_page_says_how_the_run_ended_and_begins_with_why() {
    for (name, verdict) in RECORDS {
        let page = page(&record(name), &Logs::default());
        assert!(
            page.contains(&format!("<title>{verdict}: ln-to-liquid/")),
            "{name}"
        );
        let sections: Vec<String> = (tags(&page).iter())
            .filter(|tag| tag.name == "section")
            .map(|tag| tag.get("id").unwrap().to_owned())
            .collect();
        let first = if verdict == "Passed" {
            "summary"
        } else {
            "failure"
        };
        assert_eq!(sections[0], first, "{name}");
        for section in [
            "diagram",
            "ruler",
            "transactions",
            "money",
            "steps",
            "sources",
            "logs",
        ] {
            assert!(
                sections.iter().any(|id| id == section),
                "{name} has no {section}"
            );
        }
    }
}

#[test]
fn the_failure_says_what_to_do_next() {
    let contents = record("tampered");
    let page = page(&contents, &logs(&contents, 100));
    let failure = &page[page.find("<section id=\"failure\"").unwrap()
        ..page.find("<section id=\"summary\"").unwrap()];
    for said in [
        "alice refuses: WRONG_SCRIPT",
        "The script is not the one that key, hash and timeout make.",
        "{ pay_swap = &quot;$swap&quot;, within = &quot;2 s&quot; }",
        "tamper-fails.scenario.toml:23:16]",
        "--seed",
        "The log of alice around",
        "The log of seller around",
        "What alice said last",
        "tamper swap.htlc.timeout = 9000 of GetSwap",
        "runs/41/claim",
    ] {
        assert!(failure.contains(said), "{said}\n{failure}");
    }
}

#[test]
fn every_transaction_and_htlc_is_told_to_its_end() {
    let claim = page(&record("claim"), &Logs::default());
    assert!(claim.contains("claims HTLC $swap") && claim.contains("claimed with the preimage"));
    assert!(claim.contains("funds the channel alice–bob"));
    assert!(!claim.contains("refunded after the timeout"));
    let refund = page(&record("refund"), &Logs::default());
    assert!(refund.contains("refunds HTLC $swap") && refund.contains("refunded after the timeout"));
    assert!(
        refund.contains("blocks not drawn"),
        "the way to the timeout is compressed"
    );
    assert!(!refund.contains("claimed with the preimage"));
    for (name, page) in [("claim", claim), ("refund", refund)] {
        let boxes: HashSet<String> = (tags(&page).iter())
            .filter_map(|tag| tag.get("id")?.strip_prefix("tx-").map(str::to_owned))
            .collect();
        let seen: HashSet<String> = (record(name).lines.into_iter())
            .filter_map(|line| match line.event {
                Event::Tx(tx) => Some(tx.txid),
                _ => None,
            })
            .collect();
        assert_eq!(boxes, seen, "{name}");
    }
}

#[test]
fn links_lead_to_something_and_nothing_leads_outside() {
    for (name, _) in RECORDS {
        let contents = record(name);
        let page = page(&contents, &logs(&contents, 200));
        let tags = tags(&page);
        let mut ids = HashSet::new();
        for id in tags.iter().filter_map(|tag| tag.get("id")) {
            assert!(ids.insert(id), "{name}: {id} twice");
        }
        for tag in &tags {
            assert_eq!(tag.get("src"), None, "{name}: {tag:?}");
            assert_eq!(tag.get("style"), None, "the policy forbids it: {tag:?}");
            if let Some(link) = tag.get("href") {
                let id = link
                    .strip_prefix('#')
                    .unwrap_or_else(|| panic!("{name}: {link} leads outside"));
                assert!(ids.contains(id), "{name}: nothing is at {link}");
            }
        }
        let policy = tags.iter().find_map(|tag| {
            tag.get("content")
                .filter(|_| tag.get("http-equiv").is_some())
        });
        assert!(
            policy
                .unwrap()
                .starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy:?}"
        );
    }
}

#[test]
fn a_page_with_large_logs_stays_below_a_megabyte_and_says_what_is_left_out() {
    let contents = record("claim");
    // 100,000 lines, 11 MB.
    let page = page(&contents, &logs(&contents, 50_000));
    assert!(page.len() < 1_000_000, "{}", page.len());
    assert!(
        page.len() > 700_000,
        "there is room for more: {}",
        page.len()
    );
    assert!(
        page.contains("of 100\u{202f}000 lines are not in this page: debug lines"),
        "says so"
    );
}

/// The events of `contents` again and again, as if as many swaps had been made one after the other.
fn repeated(contents: &Contents, events: usize) -> Contents {
    let (mut many, period) = (contents.clone(), contents.lines.last().unwrap().t);
    let body = &contents.lines[1..contents.lines.len() - 1];
    let last = many.lines.pop().unwrap();
    for round in 1.. {
        if many.lines.len() >= events {
            break;
        }
        let other = |id: &mut String| id.replace_range(..4, &format!("{round:04x}"));
        for line in body {
            let mut line = line.clone();
            line.t += period * round;
            match &mut line.event {
                Event::Tx(tx) => {
                    other(&mut tx.txid);
                    tx.inputs
                        .iter_mut()
                        .for_each(|input| other(&mut input.txid));
                    let addresses = tx
                        .outputs
                        .iter_mut()
                        .filter_map(|output| output.address.as_mut());
                    addresses.for_each(other);
                }
                Event::Confirmed(confirmed) => other(&mut confirmed.txid),
                Event::Htlc(htlc) => other(&mut htlc.address),
                Event::Invoice(invoice) => other(&mut invoice.hash),
                Event::Payment(payment) => other(&mut payment.hash),
                _ => {}
            }
            many.lines.push(line);
        }
    }
    many.lines.push(Line {
        t: many.lines.last().unwrap().t,
        ..last
    });
    many
}

#[test]
fn a_record_of_100_000_events_makes_a_page_in_time() {
    for name in ["claim", "refund", "tampered"] {
        let contents = repeated(&record(name), 100_000);
        let start = Instant::now();
        let page = page(&contents, &Logs::default());
        let took = start.elapsed();
        println!(
            "{name}: a page of {} events: {} ms, {} bytes",
            contents.lines.len(),
            took.as_millis(),
            page.len()
        );
        assert!(page.len() < 1_000_000, "{}", page.len());
        assert!(
            page.contains("rows left out here"),
            "says what it does not draw"
        );
        // A second on a quiet machine; a loaded one is given time.
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}

#[test]
fn a_run_that_was_killed_has_a_page_with_what_is_known() {
    let mut contents = record("tampered");
    contents.lines.retain(|line| line.t < 2_400_000);
    contents.is_cut = true;
    let page = page(&contents, &Logs::default());
    assert!(page.contains("<title>Cut short: "));
    assert!(page.contains("The record stops here: the run was killed, or is still running"));
    assert!(page.contains("Its last line was cut short"));
    contents.lines.truncate(1);
    let page = swaprig_report::page(&contents, &Logs::default());
    assert!(page.contains("No step began."));
}

#[test]
fn the_last_run_that_passed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    // A copy of a record, as one of the same scenario.
    let keep = |name: &str, record: &str| {
        let path = dir.path().join(name);
        let text = std::fs::read_to_string(record_file(record)).unwrap();
        let text = text.replace("ln-to-liquid/tamper-fails", "ln-to-liquid/claim#lbtc");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let out = dir.path().join("page.html");
    let page_of = |record: &Path| {
        write_page(record, record.parent().unwrap(), &out).unwrap();
        std::fs::read_to_string(&out).unwrap()
    };
    let in_run = |number: u32| format!("runs/{number}/ln-to-liquid/claim#lbtc/record.jsonl");
    let ninth = keep(&in_run(9), "tampered");
    assert!(page_of(&ninth).contains("How it differs from the last run that passed"));
    for (number, record) in [(6, "claim"), (7, "claim"), (8, "tampered"), (10, "claim")] {
        keep(&in_run(number), record);
    }
    let page = page_of(&ninth);
    assert!(
        page.contains(&in_run(7)) && !page.contains(&in_run(6)),
        "{page}"
    );
    // Records that are kept beside each other: the claim was recorded before.
    let kept = keep("kept/1795299756609-1-1.jsonl", "tampered");
    keep("kept/1795299750053-1-1.jsonl", "claim");
    keep("kept/1795299756474-1-1.jsonl", "refund");
    assert!(page_of(&kept).contains("kept/1795299750053-1-1.jsonl"));
}

#[test]
fn a_page_is_written_with_the_logs_of_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("page.html");
    let said = "2026-11-21T22:22:39.1Z  WARN swaprig::watch: the coins are late\n";
    std::fs::write(dir.path().join("seller.stderr.log"), said).unwrap();
    std::fs::write(
        dir.path().join("newcomer.stdout.log"),
        "2026-11-21T22:22:39Z here\n",
    )
    .unwrap();
    write_page(&record_file("tampered"), dir.path(), &out).unwrap();
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(
        page.contains("the coins are late"),
        "a warning during the step stands at the failure"
    );
    assert!(page.contains("newcomer.stdout.log"));
    let error = write_page(&dir.path().join("none.jsonl"), dir.path(), &out).unwrap_err();
    assert!(error.to_string().contains("none.jsonl"), "{error}");
}
