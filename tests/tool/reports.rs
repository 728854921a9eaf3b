//! Records, and what is made of them: pages, comparisons, shards as one result, flakes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::junit::check_junit;
use super::support::sandbox::Done;
use super::support::{assert_says, files_called};
use super::{FAILS, MINES, Sandbox, four, sandbox, scenario};

/// The records of a scenario, the oldest first.
fn records(sandbox: &Sandbox, id: &str) -> Vec<PathBuf> {
    let dir = sandbox.path().join(".swaprig/records").join(id);
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut records: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|is| is == "jsonl"))
        .collect();
    records.sort();
    records
}

fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap()
}

/// `all/good` passes and `all/bad` fails.
fn good_and_bad(sandbox: &Sandbox) {
    sandbox.file("all/good.scenario.toml", &scenario("Mines", "", MINES));
    sandbox.file("all/bad.scenario.toml", &scenario("Fails", "", FAILS));
}

#[tokio::test]
async fn a_failure_leaves_its_page_and_its_record_and_the_screen_names_them() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    good_and_bad(&sandbox);
    let run = ["run", "all", "--html", "out/all.html", "--junit", "j.xml"];
    let done = sandbox.swaprig(&run).await.code(1);
    assert_says(
        &done.stdout,
        &["  report    .swaprig/runs/1/all/bad/report.html\n"],
    );
    let kept = sandbox.first_run().join("all/bad");
    assert_says(
        &text(kept.join("report.html")),
        &["<html", "did not become height 999"],
    );
    assert_eq!(
        text(kept.join("record.jsonl")),
        text(&records(&sandbox, "all/bad")[0])
    );
    // What passed has its record and the page that was asked for, and no directory.
    assert_eq!(records(&sandbox, "all/good").len(), 1);
    assert!(!sandbox.first_run().join("all/good").exists());
    assert_says(
        &text(sandbox.path().join("out/all/all/good.html")),
        &["<html"],
    );
    let index = text(sandbox.path().join("out/all.html"));
    assert_says(
        &index,
        &["href=\"all/all/good.html\"", "1 failed, 1 passed of 2 runs"],
    );
    assert!(index.find("all/bad").unwrap() < index.find("all/good").unwrap());
    // The page is what CI shows first.
    let junit = text(sandbox.path().join("j.xml"));
    check_junit(&junit);
    let first = junit.find("[[ATTACHMENT|").unwrap();
    let page = kept.join("report.html");
    assert!(junit[first..].starts_with(&format!("[[ATTACHMENT|{}]]", page.display())));

    // One scenario has its own page there, and without records there is none.
    let one = ["run", "all/good.scenario.toml", "--html", "one.html"];
    sandbox.swaprig(&one).await.code(0);
    assert_says(&text(sandbox.path().join("one.html")), &["Mines"]);
    let none = ["run", "all/bad.scenario.toml", "--no-record"];
    let done = sandbox.swaprig(&none).await.code(1);
    assert!(!done.stdout.contains("report.html"), "{}", done.stdout);
    assert_eq!(records(&sandbox, "all/bad").len(), 1);
    // A page that cannot be written is said, and fails nothing.
    sandbox.file("file", "");
    let run = ["run", "all/good.scenario.toml", "--html", "file/x.html"];
    let done = sandbox.swaprig(&run).await.code(0);
    assert_says(&done.stderr, &["could not write file/x.html"]);
}

#[tokio::test]
async fn the_newest_failure_is_compared_with_the_last_run_that_passed() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let steps = |height: u32| {
        format!(
            "  {{ mine = 1 }},\n  {{ expect = \"height\", is = {height}, within = \"200 ms\" }},\n  {{ mine = 1 }},"
        )
    };
    let file = |height| {
        sandbox.file("all/a.scenario.toml", &scenario("A", "", &steps(height)));
    };
    file(102);
    sandbox.swaprig(&["run", "all"]).await.code(0);
    file(999);
    sandbox.swaprig(&["run", "all"]).await.code(1);
    let done = sandbox.swaprig(&["report", "all/a"]).await.code(0);
    assert_says(
        &done.stdout,
        &[
            "FAIL all/a   step 2",
            "The last green run parted from it at step 2.",
            "1 step the same. They part at step 2: expect",
            "all/a.scenario.toml:6:3",
            "last seen: height 102",
            "change of all/a.scenario.toml",
        ],
    );
    // Its page is beside it, with the logs that the run left.
    let found = records(&sandbox, "all/a");
    let [green, red] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_says(&text(red.with_extension("html")), &["AddToWallet"]);
    // By name, in either order, and for programs.
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    for pair in [[path(green), path(red)], [path(red), path(green)]] {
        let [one, other] = &pair;
        let done = sandbox.swaprig(&["report", one, other, "--json"]).await;
        let compared = json(&done.code(0));
        assert_eq!(compared["left"]["verdict"], "failed");
        assert_eq!(compared["parted"]["place"]["step"], "2");
        assert_eq!(compared["parted"]["left"]["outcome"], "failed");
        assert_eq!(compared["parted"]["right"]["outcome"], "passed");
    }
    // Two runs that went the same way.
    file(102);
    sandbox.swaprig(&["run", "all"]).await.code(0);
    let newest = path(&records(&sandbox, "all/a")[2]);
    let done = sandbox
        .swaprig(&["report", &newest, &path(green)])
        .await
        .code(0);
    assert_says(&done.stdout, &["Both went the same way, in 3 steps."]);
}

#[tokio::test]
async fn two_shards_are_what_one_run_is() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    four(&sandbox);
    sandbox.file("all/bad.scenario.toml", &scenario("Fails", "", FAILS));
    let skips = scenario("Skips", "needs = [\"no-such-program\"]", MINES);
    sandbox.file("all/skips.scenario.toml", &skips);
    let known = "known_failure = { issue = \"#7\", match = \"999\" }";
    sandbox.file("all/known.scenario.toml", &scenario("Known", known, FAILS));
    for shard in ["1", "2", "3"] {
        let (part, dir) = (format!("hash:{shard}/3"), format!("shards/{shard}"));
        let run = [
            "run",
            "all",
            "--partition",
            &part,
            "--seed",
            "7",
            "--records",
            &dir,
        ];
        let done = sandbox.swaprig(&run).await;
        assert!(
            matches!(done.exit.status.code(), Some(0 | 1)),
            "{}",
            done.stderr
        );
    }
    let one = [
        "run",
        "all",
        "--seed",
        "7",
        "--junit",
        "one.xml",
        "--records",
        "one",
    ];
    let one = sandbox.swaprig(&one).await.code(1);
    let merge = [
        "report", "--merge", "shards", "--junit", "m.xml", "--html", "m.html",
    ];
    let merged = sandbox.swaprig(&merge).await.code(1);
    let totals = "1 failed, 4 passed, 1 known to fail, 1 skipped of 7 runs";
    for done in [&one, &merged] {
        assert_says(&done.stdout, &[totals, "FAIL all/bad", "SKIP all/skips"]);
    }
    assert!(merged.stderr.is_empty(), "{}", merged.stderr);
    // The same cases with the same outcomes.
    let cases = |file: &str| {
        let text = text(sandbox.path().join(file));
        check_junit(&text);
        let document = roxmltree::Document::parse(&text).unwrap();
        let cases = document
            .descendants()
            .filter(|node| node.has_tag_name("testcase"));
        let mut cases: Vec<String> = cases
            .map(|case| {
                let outcome = case.children().find(|node| node.is_element()).unwrap();
                let (name, outcome) = (case.attribute("name").unwrap(), outcome.tag_name().name());
                let message = outcome == "failure" || outcome == "skipped";
                let verdict = if message { outcome } else { "passed" };
                format!("{} {name} {verdict}", case.attribute("classname").unwrap())
            })
            .collect();
        cases.sort();
        cases
    };
    assert_eq!(cases("one.xml"), cases("m.xml"));
    assert_eq!(cases("m.xml").len(), 7);
    assert_says(&text(sandbox.path().join("m/all/bad.html")), &["<html"]);
    // A shard that was killed: a record without an end, and what it never came to.
    let cut = files_called_jsonl(&sandbox.path().join("shards"), "all/a");
    let whole = text(&cut);
    let until = whole.trim_end().rfind('\n').unwrap() + 9;
    std::fs::write(&cut, &whole[..until]).unwrap();
    let log = run_log(&sandbox.path().join("shards/1"));
    let lines: Vec<String> = text(&log).lines().take(1).map(str::to_owned).collect();
    std::fs::write(&log, lines.join("\n") + "\n").unwrap();
    let merged = sandbox
        .swaprig(&["report", "--merge", "shards"])
        .await
        .code(1);
    assert_says(&merged.stdout, &["ERROR all/a"]);
    assert_says(
        &merged.stderr,
        &[
            "all/a: its record has no end",
            "was killed: its log has no end",
        ],
    );
}

/// The record of `id` somewhere below `dir`.
fn files_called_jsonl(dir: &Path, id: &str) -> PathBuf {
    let shards = std::fs::read_dir(dir).unwrap().flatten();
    let dirs = shards
        .map(|shard| shard.path().join(id))
        .filter(|dir| dir.is_dir());
    let mut files = dirs.flat_map(|dir| std::fs::read_dir(dir).unwrap().flatten());
    files.next().unwrap().path()
}

fn run_log(dir: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let is_log = |path: &PathBuf| path.to_string_lossy().contains("/run-");
    files.find(is_log).unwrap()
}

#[tokio::test]
async fn failures_are_counted_over_rounds_and_over_runs() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    good_and_bad(&sandbox);
    let done = sandbox
        .swaprig(&["run", "all", "--repeat", "2"])
        .await
        .code(1);
    assert_says(
        &done.stdout,
        &[
            "all/bad       2       2   100 %",
            "all/good      2       0     0 %",
        ],
    );
    // A green run needs no table.
    let good = ["run", "all/good.scenario.toml", "--repeat", "12"];
    let done = sandbox.swaprig(&good).await.code(0);
    assert!(!done.stdout.contains("slowest"), "{}", done.stdout);
    let flakes = json(
        &sandbox
            .swaprig(&["report", "--flakes", "--json"])
            .await
            .code(0),
    );
    let told = |at: usize| {
        let flake = &flakes["scenarios"][at];
        (
            flake["scenario"].as_str(),
            flake["runs"].as_u64(),
            flake["failures"].as_u64(),
        )
    };
    assert_eq!(told(0), (Some("all/bad"), Some(2), Some(2)));
    // All of them count, and the newest ten are kept.
    assert_eq!(told(1), (Some("all/good"), Some(14), Some(0)));
    assert_eq!(records(&sandbox, "all/good").len(), 10);
    assert_says(
        flakes["scenarios"][0]["last"]["failure"].as_str().unwrap(),
        &["height did not become height 999"],
    );
    // They are known to whoever cleans up.
    let clean = sandbox.swaprig(&["doctor", "--clean"]).await;
    assert_says(&clean.stdout, &["12 records"]);
    assert!(records(&sandbox, "all/good").is_empty());
    assert!(files_called("record.jsonl", &sandbox.path().join(".swaprig")).is_empty());
}

#[tokio::test]
async fn what_is_no_record_is_refused_with_a_reason() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("empty")).unwrap();
    sandbox.file("other.jsonl", "{\"x\":1}\n");
    sandbox.file("a.scenario.toml", "title = 1\n");
    let began = |version: u32, scenario: &str| {
        format!(
            "{{\"t\":0,\"event\":{{\"began\":{{\"version\":{version},\"swaprig\":\"0.1.0\",\"scenario\":\"{scenario}\",\
             \"title\":\"\",\"path\":\"\",\"sources\":[],\"round\":1,\"attempt\":1,\"seed\":1,\"unix_ms\":1,\
             \"daemons\":[],\"machine\":{{\"cores\":1,\"jobs\":1,\"system\":\"\"}},\"again\":\"\"}}}}}}\n"
        )
    };
    sandbox.file("newer.jsonl", &began(9, "a"));
    sandbox.file("one.jsonl", &began(1, "a"));
    sandbox.file("two.jsonl", &began(1, "b"));
    sandbox.file(
        "damaged/x.jsonl",
        &(began(1, "a") + "nonsense\n{\"t\":1}\n"),
    );
    for (args, says) in [
        (&["report"] as &[&str], "<RECORD|SCENARIO>"),
        (
            &["report", "none.jsonl"],
            "no such file, and no record of a scenario by that name",
        ),
        (&["report", "empty"], "this is a directory"),
        (&["report", "other.jsonl"], "this is no event record"),
        (&["report", "a.scenario.toml"], "this is a scenario file"),
        (
            &["report", "newer.jsonl"],
            "has version 9; this swaprig reads version 1",
        ),
        (
            &["report", "damaged/x.jsonl"],
            "line 2 of the record is no event",
        ),
        (
            &["report", "one.jsonl", "two.jsonl"],
            "different scenarios, a and b",
        ),
        (
            &["report", "one.jsonl", "one.jsonl", "--html", "x"],
            "--html is for one record",
        ),
        (&["report", "a", "b", "c"], "there are 3"),
        (
            &["report", "--merge", "empty"],
            "there is no event record in it",
        ),
        (&["report", "--merge", "none"], "none: No such file"),
        (&["report", "--merge", "newer.jsonl"], "has version 9"),
        (
            &["report", "--merge", "empty", "one.jsonl"],
            "cannot be used with",
        ),
        (&["report", "--flakes"], "there is no event record in it"),
        (&["report", "one.jsonl", "--junit", "x"], "--merge"),
    ] {
        let done = sandbox.swaprig(args).await.code(2);
        assert_says(&done.stderr, &[says]);
    }
    // A run that was killed is reported all the same.
    let done = sandbox.swaprig(&["report", "one.jsonl"]).await.code(0);
    assert_says(&done.stdout, &["ERROR a", "the run was killed", "one.html"]);
}
