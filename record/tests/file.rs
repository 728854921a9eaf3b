//! Records on real files: what was written is read again, whatever happened to its end.

use std::io::Write as _;

use swaprig_record::{
    Began, Block, Chain, Confirmed, Event, ReadError, Recorder, VERSION, read, read_file,
};

fn began() -> Event {
    Event::Began(Box::new(Began {
        version: VERSION,
        scenario: "lightning/pay".to_owned(),
        ..Began::default()
    }))
}

fn confirmed(height: u32) -> Event {
    Event::Confirmed(Confirmed {
        chain: Chain::Liquid,
        txid: "ab".repeat(32),
        height,
    })
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record.jsonl");
    let recorder = Recorder::create(&path).unwrap();
    recorder.record(began());
    recorder.reached(Chain::Bitcoin, 0);
    recorder.clone().record(confirmed(7));
    recorder.reached(Chain::Liquid, 7);
    recorder.record(confirmed(8));
    let contents = read_file(&path).unwrap();
    assert_eq!(contents.began.scenario, "lightning/pay");
    let heights: Vec<_> = contents
        .lines
        .iter()
        .map(|l| (l.bitcoin, l.liquid))
        .collect();
    assert_eq!(heights, [(None, None), (Some(0), None), (Some(0), Some(7))]);
    assert_eq!(contents.lines[2].event, confirmed(8));
    assert!(!contents.is_cut && contents.unknown == 0);
}

#[test]
fn what_is_told_late_is_read_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record.jsonl");
    let recorder = Recorder::create(&path).unwrap();
    let early = std::time::Instant::now();
    recorder.record_at(early, began());
    std::thread::yield_now();
    recorder.record(confirmed(8));
    recorder.record_at(early, confirmed(7));
    let contents = read_file(&path).unwrap();
    assert_eq!(contents.lines[1].event, confirmed(7));
    assert_eq!(contents.lines[2].event, confirmed(8));
}

#[test]
fn a_recorder_that_is_off_does_nothing() {
    let off = Recorder::off();
    off.record(began());
    off.reached(Chain::Bitcoin, 1);
    assert!(!off.is_on());
}

#[test]
fn a_record_that_cannot_be_written_does_not_stop_the_run() {
    let full = Recorder::create("/dev/full".as_ref()).unwrap();
    full.record(began());
    full.record(confirmed(1));
}

/// The lines of a record of two events, and then some.
fn record(rest: &str) -> String {
    let line = |event| {
        serde_json::to_string(&swaprig_record::Line {
            t: 1,
            bitcoin: None,
            liquid: None,
            event,
        })
    };
    let (first, second) = (line(began()).unwrap(), line(confirmed(1)).unwrap());
    format!("{first}\n{second}\n{rest}")
}

#[test]
fn a_line_that_a_crash_cut_is_left_out() {
    let contents = read(record("{\"t\":2,\"event\":{\"conf").as_bytes()).unwrap();
    assert!(contents.is_cut);
    assert_eq!(contents.lines.len(), 2);
}

#[test]
fn damage_in_the_middle_is_told_by_its_line() {
    let damaged = record("{\"t\":2,\"event\":{\"confirmed\":{}}}\n") + &record("");
    let error = read(damaged.as_bytes()).unwrap_err();
    assert!(matches!(error, ReadError::Line { line: 3, .. }), "{error}");
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    let later = record("{\"t\":2,\"event\":{\"moon_phase\":{\"full\":true}}}\n");
    let later = later.replace("\"height\":1", "\"height\":1,\"depth\":3");
    let contents = read(later.as_bytes()).unwrap();
    assert_eq!((contents.lines.len(), contents.unknown), (2, 1));
}

#[test]
fn another_version_is_not_read() {
    let next = record("").replacen("\"version\":1", "\"version\":2", 1);
    assert!(matches!(
        read(next.as_bytes()).unwrap_err(),
        ReadError::Version { found: 2 }
    ));
}

#[test]
fn what_is_no_record_is_told_from_one() {
    for text in [
        "",
        "{}",
        "rubbish\n",
        "{\"t\":1,\"event\":{\"confirmed\":{}}}\n",
    ] {
        assert!(
            matches!(read(text.as_bytes()).unwrap_err(), ReadError::NoRecord),
            "{text}"
        );
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"rubbish\n").unwrap();
    let error = read_file(file.path()).unwrap_err().to_string();
    assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    let block = Block {
        chain: Chain::Bitcoin,
        height: 1,
        hash: String::new(),
        txs: 0,
    };
    assert!(
        serde_json::to_string(&Event::Orphaned(block))
            .unwrap()
            .starts_with("{\"orphaned\"")
    );
}
