//! The event record of real runs: that everything which happens in a swap is in it, in an order that makes sense.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use swaprig_record::{Chain, Contents, Event, PaymentState, StepOutcome, read_file};

use super::{MINES, sandbox, scenario};
use crate::support::assert_says;
use crate::support::sandbox::Sandbox;

/// The records of scenarios below `dir`; the log of the run that lies beside them is none.
fn records(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries
        .map(|entry| entry.path())
        .flat_map(|path| match path.is_dir() {
            true => records(&path),
            false => vec![path],
        });
    let is_record = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".jsonl") && !name.starts_with("run-")
    };
    paths.filter(is_record).collect()
}

/// The record of the one scenario that was run in a sandbox.
fn record(sandbox: &Sandbox) -> Contents {
    let found = records(sandbox.path());
    let [path] = found.as_slice() else {
        panic!("{found:?}")
    };
    read_file(path).unwrap()
}

fn all<'c, T: 'c>(
    contents: &'c Contents,
    pick: impl Fn(&'c Event) -> Option<T> + 'c,
) -> impl Iterator<Item = T> + 'c {
    contents
        .lines
        .iter()
        .filter_map(move |line| pick(&line.event))
}

/// What holds of every record of a run that has passed.
fn is_sound(contents: &Contents) {
    assert!(!contents.is_cut && contents.unknown == 0);
    let last = contents.lines.last().unwrap();
    let Event::Ended(ended) = &last.event else {
        panic!("{last:?}")
    };
    assert_eq!(ended.verdict, "passed");
    let mut open: BTreeMap<&str, u32> = BTreeMap::new();
    for line in &contents.lines {
        match &line.event {
            Event::Step(step) => *open.entry(&step.step).or_default() += 1,
            Event::Done(done) => {
                assert_ne!(done.outcome, StepOutcome::Failed, "{done:?}");
                *open.get_mut(done.step.as_str()).unwrap() -= 1;
            }
            Event::Seen(seen) => assert!(open[seen.step.as_str()] > 0, "{seen:?}"),
            Event::Money(money) => assert!(money.conserved),
            _ => {}
        }
    }
    assert!(open.values().all(|open| *open == 0), "{open:?}");
    let started = all(contents, |event| match event {
        Event::Started(started) => Some((&started.name, started.pid)),
        _ => None,
    });
    let exited = all(contents, |event| match event {
        Event::Exited(exited) => Some((&exited.name, exited.pid)),
        _ => None,
    });
    let (mut started, mut exited) = (started.collect::<Vec<_>>(), exited.collect::<Vec<_>>());
    started.sort();
    exited.sort();
    assert_eq!(started, exited);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_swap_is_in_its_record_from_the_first_call_to_the_last_block() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/scenarios/ln-to-liquid/claim.scenario.toml"
    );
    sandbox
        .swaprig(&["run", &format!("{file}#lbtc")])
        .await
        .code(0);
    let contents = record(&sandbox);
    is_sound(&contents);
    assert_eq!(contents.began.scenario, "ln-to-liquid/claim#lbtc");
    assert!(
        contents
            .began
            .sources
            .iter()
            .any(|source| source.file == file)
    );

    let htlc = all(&contents, |event| match event {
        Event::Htlc(htlc) => Some(htlc),
        _ => None,
    });
    let [htlc] = htlc.collect::<Vec<_>>()[..] else {
        panic!("one HTLC was agreed on")
    };
    assert_eq!(
        (htlc.chain, htlc.value, htlc.asset.as_deref()),
        (Chain::Liquid, Some(50_000), Some("lbtc"))
    );
    // Its funding and what spends it, each seen before it is confirmed.
    let txs: HashMap<&str, _> = all(&contents, |event| match event {
        Event::Tx(tx) => Some((tx.txid.as_str(), &**tx)),
        _ => None,
    })
    .collect();
    let pays_it = |address: &Option<String>| address.as_ref() == Some(&htlc.address);
    let mut fundings = txs
        .values()
        .filter(|tx| tx.outputs.iter().any(|o| pays_it(&o.address)));
    let funding = fundings.next().unwrap();
    let vout = funding
        .outputs
        .iter()
        .position(|o| pays_it(&o.address))
        .unwrap();
    assert_eq!(funding.outputs[vout].value, Some(50_000));
    let spends = |tx: &&&swaprig_record::Tx| {
        tx.inputs
            .iter()
            .any(|i| i.txid == funding.txid && i.vout as usize == vout)
    };
    let claim = txs.values().find(spends).unwrap();
    let confirmed: HashMap<&str, u32> = all(&contents, |event| match event {
        Event::Confirmed(confirmed) => Some((confirmed.txid.as_str(), confirmed.height)),
        _ => None,
    })
    .collect();
    assert!(confirmed[claim.txid.as_str()] > confirmed[funding.txid.as_str()]);
    let ended = |wanted: &str| {
        let mut done = contents.lines.iter().filter_map(|line| match &line.event {
            Event::Done(done) if done.step == wanted => Some((line.t, done)),
            _ => None,
        });
        done.next().unwrap()
    };
    // The step that claims is number 12: what it did to the chain comes before its end.
    let seen = contents
        .lines
        .iter()
        .find(|line| matches!(&line.event, Event::Tx(tx) if tx.txid == claim.txid));
    let (claimed_at, done) = ended("12");
    assert!(seen.unwrap().t <= claimed_at);
    assert!(
        done.made.contains(&("txid".to_owned(), claim.txid.clone())),
        "{done:?}"
    );

    let payments: Vec<_> = all(&contents, |event| match event {
        Event::Payment(payment) if payment.hash == htlc.hash => {
            Some((payment.node.as_str(), payment.state))
        }
        _ => None,
    })
    .collect();
    for wanted in [
        ("alice", PaymentState::Sent),
        ("bob", PaymentState::Held),
        ("bob", PaymentState::Received),
        ("alice", PaymentState::Succeeded),
    ] {
        assert!(payments.contains(&wanted), "{payments:?}");
    }
    let phases: Vec<_> = all(&contents, |event| match event {
        Event::Swap(swap) if swap.party == "seller" => Some(swap.state.as_str()),
        _ => None,
    })
    .collect();
    // Whoever listens hears the newest state, so one that lasts a moment may be missing.
    assert_eq!(
        (phases.first(), phases.last()),
        (Some(&"funding"), Some(&"claimed")),
        "{phases:?}"
    );
    let calls: Vec<_> = all(&contents, |event| match event {
        Event::Call(call) => Some((call.from.as_str(), call.to.as_str(), call.method.as_str())),
        _ => None,
    })
    .collect();
    for wanted in [
        (
            "harness",
            "seller",
            "ln_liquid_swap.v1.AdminService/GetInventory",
        ),
        (
            "alice",
            "seller",
            "ln_liquid_swap.v1.SwapService/CreateSwap",
        ),
        ("alice", "seller", "ln_liquid_swap.v1.SwapService/GetSwap"),
    ] {
        assert!(calls.contains(&wanted), "{calls:?}");
    }
    let refused = ended("5").1;
    assert_eq!(refused.outcome, StepOutcome::FailedAsExpected);
    assert!(
        refused
            .failure
            .as_ref()
            .unwrap()
            .title
            .contains("TOO_FEW_CONFIRMATIONS")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_go_and_ranges_of_blocks_are_in_the_record() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let steps = "  { mine = 1 },\n  { reorg = 1, blocks = 2, empty = true },\n  { mine = 200 },";
    sandbox.file("deep.scenario.toml", &scenario("Deep", "", steps));
    sandbox
        .swaprig(&["run", "deep.scenario.toml"])
        .await
        .code(0);
    let contents = record(&sandbox);
    is_sound(&contents);
    let chain: Vec<_> = all(&contents, |event| match event {
        Event::Block(block) => Some(("block", block.height, block.height)),
        Event::Orphaned(block) => Some(("orphaned", block.height, block.height)),
        Event::Blocks(blocks) => Some(("blocks", blocks.from, blocks.to)),
        _ => None,
    })
    .collect();
    let first = [
        ("block", 102, 102),
        ("orphaned", 102, 102),
        ("block", 102, 102),
        ("block", 103, 103),
    ];
    assert_eq!(chain[..4], first);
    // Every height up to the tip is told of once, by itself or in a range.
    let mut next = 104;
    for (_, from, to) in &chain[4..] {
        assert_eq!(*from, next, "{chain:?}");
        next = to + 1;
    }
    assert_eq!(next, 304);
    assert!(chain.iter().any(|(kind, ..)| *kind == "blocks"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_can_have_no_records_is_named_and_what_to_do() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    sandbox.file("a.scenario.toml", &scenario("A", "", MINES));
    sandbox.file("taken", "no directory");
    let run = ["run", "a.scenario.toml", "--records", "taken"];
    let done = sandbox.swaprig(&run).await.code(3);
    assert_says(
        &done.stdout,
        &[
            "ERROR",
            "the event record cannot be made: taken/a/",
            "--records",
            "--no-record",
        ],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_without_a_record_leaves_none() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    sandbox.file("a.scenario.toml", &scenario("A", "", MINES));
    sandbox
        .swaprig(&["run", "a.scenario.toml", "--no-record"])
        .await
        .code(0);
    assert!(records(sandbox.path()).is_empty());
}
