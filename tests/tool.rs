//! The tool around the scenarios, as its users meet it: what is selected, what CI gets to read, other programs in a world,
//! a world that stays.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use roxmltree::{Document, Node};
use serde_json::Value;

use support::assert_says;
use support::sandbox::{Done, Sandbox};

/// A sandbox for real worlds; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
async fn sandbox() -> Option<Sandbox> {
    support::binaries().await.map(|_| Sandbox::new())
}

/// A scenario on a bitcoind alone.
fn scenario(title: &str, top: &str, steps: &str) -> String {
    format!(
        "title = \"{title}\"\n{top}\nworld = {{ preset = \"bitcoin\" }}\nsteps = [\n{steps}\n]\n"
    )
}

/// Mines and passes.
const MINES: &str = "  { mine = 2 },";
/// Expects what does not come.
const FAILS: &str = "  { mine = 1 },\n  { expect = \"height\", is = 999, within = \"200 ms\" },";

/// Four scenarios below `all`: ids `all/a` (fast), `all/b` (fast, slow), `all/sub/c`, `all/sub/d` (slow).
fn four(sandbox: &Sandbox) {
    for (name, title, tags) in [
        ("a", "Alpha mines", "tags = [\"fast\"]"),
        ("b", "Beta mines", "tags = [\"fast\", \"slow\"]"),
        ("sub/c", "Gamma looks", ""),
        ("sub/d", "Delta looks", "tags = [\"slow\"]"),
    ] {
        sandbox.file(
            &format!("all/{name}.scenario.toml"),
            &scenario(title, tags, MINES),
        );
    }
}

/// The ids that `list` prints.
async fn listed(sandbox: &Sandbox, flags: &[&str]) -> Vec<String> {
    let args = [&["list", "all", "--json"], flags].concat();
    let done = sandbox.swaprig(&args).await.code(0);
    let list: Value = serde_json::from_str(&done.stdout).unwrap();
    let ids = list.as_array().unwrap().iter();
    ids.map(|entry| entry["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn selections_narrow_what_is_listed() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    for (flags, expected) in [
        (&["-t", "fast"] as &[&str], &["all/a", "all/b"] as &[&str]),
        (
            &["--tag", "fast", "--tag", "slow"],
            &["all/a", "all/b", "all/sub/d"],
        ),
        (&["-t", "fast", "--skip-tag", "slow"], &["all/a"]),
        (&["-k", "SUB/"], &["all/sub/c", "all/sub/d"]),
        (&["-k", "looks", "--skip-tag", "slow"], &["all/sub/c"]),
    ] {
        assert_eq!(listed(&sandbox, flags).await, expected, "{flags:?}");
    }
}

#[tokio::test]
async fn shards_are_disjoint_and_together_they_are_everything() {
    let sandbox = Sandbox::new();
    let all: BTreeSet<String> = (0..40).map(|n| format!("all/s{n}")).collect();
    for id in &all {
        sandbox.file(&format!("{id}.scenario.toml"), &scenario("x", "", MINES));
    }
    let mut seen = Vec::new();
    for part in 1..=4 {
        let shard = listed(&sandbox, &["--partition", &format!("hash:{part}/4")]).await;
        assert!((3..20).contains(&shard.len()), "{shard:?}");
        seen.extend(shard);
    }
    assert_eq!(seen.len(), all.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    for wrong in ["2/4", "hash:0/4", "hash:5/4"] {
        let done = sandbox
            .swaprig(&["list", "all", "--partition", wrong])
            .await
            .code(2);
        assert_says(&done.stderr, &["--partition", "hash:"]);
    }
}

#[tokio::test]
async fn an_empty_selection_is_four_and_says_what_took_what_away() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    for command in ["run", "list"] {
        let done = sandbox
            .swaprig(&[command, "all", "-t", "slow", "-k", "alpha"])
            .await
            .code(4);
        assert_says(
            &done.stderr,
            &[
                "nothing is selected",
                "4 scenarios found; --tag slow leaves 2; -k alpha leaves 0",
            ],
        );
        let done = sandbox.swaprig(&[command, "all", "--failed"]).await.code(4);
        assert_says(&done.stderr, &["--failed: no run is recorded in"]);
    }
    assert!(!sandbox.path().join(".swaprig").exists());
}

#[tokio::test]
async fn what_failed_is_run_again_until_it_passes() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    four(&sandbox);
    let fails = sandbox.file("all/b.scenario.toml", &scenario("Beta", "", FAILS));
    sandbox.swaprig(&["run", "all"]).await.code(1);
    assert_eq!(listed(&sandbox, &["--failed"]).await, ["all/b"]);
    let done = sandbox.swaprig(&["run", "all", "--failed"]).await.code(1);
    assert_says(&done.stdout, &["1 failed of 1 run"]);
    std::fs::write(fails, scenario("Beta", "", MINES)).unwrap();
    sandbox.swaprig(&["run", "all", "--failed"]).await.code(0);
    let done = sandbox.swaprig(&["run", "all", "--failed"]).await.code(4);
    assert_says(
        &done.stderr,
        &["--failed (all of the last run passed) leaves 0"],
    );
}

/// The ids in the order in which a run of one world at a time told them.
fn order(done: &Done) -> Vec<String> {
    let passes = done
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("PASS "));
    passes
        .map(|rest| rest.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_seed_brings_an_order_again() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    four(&sandbox);
    let run = ["run", "all", "--jobs", "1"];
    let plain = sandbox.swaprig(&run).await.code(0);
    assert_eq!(order(&plain), ["all/a", "all/b", "all/sub/c", "all/sub/d"]);
    let shuffled = |seed: &'static str| {
        let args = [&run as &[&str], &["--shuffle", "--seed", seed]].concat();
        let sandbox = &sandbox;
        async move { sandbox.swaprig(&args).await.code(0) }
    };
    let (one, again, other) = (
        shuffled("2").await,
        shuffled("2").await,
        shuffled("3").await,
    );
    assert_says(&one.stdout, &["seed 2"]);
    assert_eq!(order(&one), order(&again));
    assert_ne!(order(&one), order(&other));
    assert_ne!(order(&one), order(&plain));
}

#[tokio::test]
async fn times_are_scaled_for_slow_machines() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let file = sandbox.file("fails.scenario.toml", &scenario("x", "", FAILS));
    let run = [
        "run",
        file.to_str().unwrap(),
        "--json",
        "--timeout-scale",
        "5",
    ];
    let done = sandbox.swaprig(&run).await.code(1);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let waited = report["scenarios"][0]["steps"][1]["seconds"]
        .as_f64()
        .unwrap();
    assert!((0.9..5.0).contains(&waited), "waited {waited} s");
    for wrong in ["0", "-1", "nan", "inf", "x"] {
        let flag = format!("--timeout-scale={wrong}");
        let done = sandbox
            .swaprig(&["run", "fails.scenario.toml", &flag])
            .await
            .code(2);
        assert_says(&done.stderr, &["0.01 to 1000"]);
    }
}

/// A bitcoind that dies at its first start, and is a real one from then on.
async fn flaky_bitcoind(sandbox: &Sandbox) -> Option<String> {
    let real = support::binaries().await?.bitcoind.clone();
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let mut words = vec![quoted(real.program.as_os_str())];
    words.extend(real.args.iter().map(|arg| quoted(arg)));
    let mark = sandbox.path().join("mark");
    let body = format!(
        "if [ \"$1\" != --version ] && [ ! -e '{mark}' ]; then : > '{mark}'; exit 3; fi\nexec {} \"$@\"",
        words.join(" "),
        mark = mark.display()
    );
    let script = sandbox.script("flaky-bitcoind", &body).await;
    Some(script.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_pass_after_a_failure_is_flaky_and_fails_unless_allowed() {
    let sandbox = Sandbox::new();
    let Some(bitcoind) = flaky_bitcoind(&sandbox).await else {
        return;
    };
    sandbox.file("mines.scenario.toml", &scenario("x", "", MINES));
    let run = [
        "run",
        "mines.scenario.toml",
        "--bitcoind",
        &bitcoind,
        "--junit",
        "out.xml",
    ];
    let retries = [&run as &[&str], &["--retries", "2"]].concat();
    // A start that fails with cached blocks is repeated without them, so each of these begins with an empty cache.
    let cache = |name| [("SWAPRIG_CACHE_DIR", Some(name))];
    let done = sandbox.swaprig_with(&retries, &cache("one")).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "FLAKY mines",
            "exited with status 3",
            "attempt 2",
            "1 flaky of 1 run",
            "kept ",
        ],
    );
    let text = std::fs::read_to_string(sandbox.path().join("out.xml")).unwrap();
    check_junit(&text);
    assert_says(&text, &["type=\"flaky\"", "2 attempts"]);

    let mark = sandbox.path().join("mark");
    std::fs::remove_file(&mark).unwrap();
    let allowed = [&retries as &[&str], &["--allow-flaky"]].concat();
    let done = sandbox.swaprig_with(&allowed, &cache("two")).await.code(0);
    assert_says(&done.stdout, &["1 flaky of 1 run"]);
    // Without a second attempt it is what it always was.
    std::fs::remove_file(&mark).unwrap();
    sandbox.swaprig_with(&run, &cache("three")).await.code(3);
}

#[tokio::test]
async fn a_known_failure_is_reported_and_does_not_fail_until_it_passes() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let known = |text: &str| format!("known_failure = {{ issue = \"#12\", match = \"{text}\" }}");
    sandbox.file(
        "known.scenario.toml",
        &scenario("x", &known("did not become height 999"), FAILS),
    );
    let done = sandbox
        .swaprig(&[
            "run",
            "known.scenario.toml",
            "--junit",
            "out.xml",
            "--retries",
            "3",
        ])
        .await
        .code(0);
    assert_says(
        &done.stdout,
        &[
            "KNOWN known   #12: ",
            "did not become height 999",
            "1 known to fail of 1 run",
        ],
    );
    let text = std::fs::read_to_string(sandbox.path().join("out.xml")).unwrap();
    check_junit(&text);
    assert_says(&text, &["<skipped message=\"known failure #12: "]);

    sandbox.file(
        "other.scenario.toml",
        &scenario("x", &known("no route"), FAILS),
    );
    let done = sandbox
        .swaprig(&["run", "other.scenario.toml"])
        .await
        .code(1);
    assert_says(&done.stdout, &["FAIL other   step 2 of 2"]);

    sandbox.file(
        "passes.scenario.toml",
        &scenario("x", &known("no route"), MINES),
    );
    let done = sandbox
        .swaprig(&["run", "passes.scenario.toml"])
        .await
        .code(1);
    assert_says(
        &done.stdout,
        &[
            "FAIL passes",
            "it passed, and is a known failure (#12)",
            "passes.scenario.toml:2:17",
            "remove `known_failure`",
        ],
    );
}

/// Asserts that `text` is what the schema that CI services have in common (Jenkins' junit-10.xsd, which the one of Apache
/// Ant's task is a part of) allows, and that its totals are those of its parts.
#[track_caller]
fn check_junit(text: &str) {
    let document = Document::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let root = document.root_element();
    element(
        root,
        "testsuites",
        &["name", "tests", "failures", "errors", "time"],
        &["testsuite"],
    );
    for suite in root.children().filter(Node::is_element) {
        let attributes = [
            "name",
            "tests",
            "failures",
            "errors",
            "skipped",
            "time",
            "timestamp",
            "hostname",
        ];
        element(suite, "testsuite", &attributes, &["properties", "testcase"]);
        let children: Vec<_> = suite.children().filter(Node::is_element).collect();
        // Ant's wants the properties first, and always.
        element(children[0], "properties", &[], &["property"]);
        for property in children[0].children().filter(Node::is_element) {
            element(property, "property", &["name", "value"], &[]);
        }
        let mut counts = [0; 3];
        for case in &children[1..] {
            check_case(*case, &mut counts);
        }
        for (name, count) in ["failures", "errors", "skipped"].iter().zip(counts) {
            assert_eq!(
                suite.attribute(*name),
                Some(count.to_string().as_str()),
                "{name} in\n{text}"
            );
        }
        assert_eq!(
            suite.attribute("tests"),
            Some((children.len() - 1).to_string().as_str())
        );
        let timestamp = suite.attribute("timestamp").unwrap();
        let shape: String = timestamp
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00");
    }
}

#[track_caller]
fn check_case(case: Node<'_, '_>, counts: &mut [usize; 3]) {
    let results = ["failure", "error", "skipped"];
    let all: Vec<&str> = results
        .iter()
        .copied()
        .chain(["system-out", "system-err"])
        .collect();
    element(
        case,
        "testcase",
        &["name", "classname", "time", "file", "line"],
        &all,
    );
    for required in ["name", "classname", "time"] {
        assert!(
            case.has_attribute(required),
            "a test case without {required}"
        );
    }
    let names: Vec<_> = case.children().filter(Node::is_element).collect();
    let names: Vec<_> = names.iter().map(|node| node.tag_name().name()).collect();
    let verdicts = names.iter().filter(|name| results.contains(name)).count();
    assert!(verdicts <= 1, "{names:?}");
    // The order of the schema.
    let mut sorted = names.clone();
    sorted.sort_by_key(|name| all.iter().position(|known| known == name));
    assert_eq!(names, sorted);
    for node in case.children().filter(Node::is_element) {
        match node.tag_name().name() {
            "skipped" => element(node, "skipped", &["message", "type"], &[]),
            name @ ("failure" | "error") => {
                element(node, name, &["message", "type"], &[]);
                assert!(node.has_attribute("type"));
            }
            name => element(node, name, &[], &[]),
        }
        if let Some(at) = results
            .iter()
            .position(|name| *name == node.tag_name().name())
        {
            counts[at] += 1;
        }
    }
}

/// Asserts the name of an element, and that it has no other attributes and children than these.
#[track_caller]
fn element(node: Node<'_, '_>, name: &str, attributes: &[&str], children: &[&str]) {
    assert_eq!(node.tag_name().name(), name);
    for attribute in node.attributes() {
        assert!(
            attributes.contains(&attribute.name()),
            "{name} has {}",
            attribute.name()
        );
        if matches!(
            attribute.name(),
            "tests" | "failures" | "errors" | "skipped" | "line"
        ) {
            attribute.value().parse::<u32>().unwrap();
        }
        if attribute.name() == "time" {
            attribute.value().parse::<f64>().unwrap();
        }
    }
    for child in node.children().filter(Node::is_element) {
        let child = child.tag_name().name();
        assert!(children.contains(&child), "{name} has {child}");
    }
}

#[tokio::test]
async fn ci_gets_a_report_it_can_read() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    sandbox.file(
        "all/good.scenario.toml",
        &scenario("Mines <two> & \\\"more\\\"", "", MINES),
    );
    sandbox.file("all/bad.scenario.toml", &scenario("Fails", "", FAILS));
    let summary = sandbox.file("summary.md", "before\n");
    let env = [
        ("GITHUB_ACTIONS", Some("true")),
        ("GITHUB_WORKSPACE", sandbox.path().to_str()),
        ("GITHUB_STEP_SUMMARY", summary.to_str()),
    ];
    let run = ["run", "all", "--junit", "reports/out.xml", "--seed", "7"];
    let done = sandbox.swaprig_with(&run, &env).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "::error file=all/bad.scenario.toml,line=6,col=29,title=all/bad failed::height did not become height 999 within",
        ],
    );
    let summary = std::fs::read_to_string(&summary).unwrap();
    assert_says(
        &summary,
        &[
            "before\n### swaprig: 1 failed, 1 passed of 2 runs",
            "seed 7",
            "| `all/bad` | failed |",
            "last seen: ",
        ],
    );

    let text = std::fs::read_to_string(sandbox.path().join("reports/out.xml")).unwrap();
    check_junit(&text);
    let document = Document::parse(&text).unwrap();
    let find = |name: &str| {
        let mut nodes = document.descendants();
        nodes
            .find(|node| node.attribute("name") == Some(name))
            .unwrap()
    };
    let bad = find("bad");
    assert_eq!(
        (bad.attribute("classname"), bad.attribute("line")),
        (Some("swaprig.all"), Some("6"))
    );
    let failure = bad
        .children()
        .find(|node| node.has_tag_name("failure"))
        .unwrap();
    assert_says(
        failure.text().unwrap(),
        &["bad.scenario.toml:6:29", "last seen: ", "--seed 7"],
    );
    let out = bad
        .children()
        .find(|node| node.has_tag_name("system-out"))
        .unwrap();
    let attachment = out
        .text()
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("[[ATTACHMENT|"));
    assert!(Path::new(attachment.unwrap().trim_end_matches("]]")).is_file());
    assert_says(
        find("good")
            .children()
            .find_map(|node| node.text().filter(|t| t.contains("Mines")))
            .unwrap(),
        &["Mines <two> & \"more\""],
    );
    assert_eq!(find("seed").attribute("value"), Some("7"));
    assert_says(find("passport").attribute("value").unwrap(), &["bitcoind "]);

    // Nobody who is not GitHub is told in its language.
    let plain = sandbox.swaprig(&["run", "all"]).await.code(1);
    assert!(!plain.stdout.contains("::error"), "{}", plain.stdout);
    let never = [&run as &[&str], &["--github=never"]].concat();
    let plain = sandbox.swaprig_with(&never, &env).await.code(1);
    assert!(!plain.stdout.contains("::error"), "{}", plain.stdout);
}

#[tokio::test]
async fn there_is_a_report_when_there_is_nothing_to_run_with() {
    let sandbox = Sandbox::new();
    four(&sandbox);
    let env = [("BITCOIND_EXE", Some("/nowhere/bitcoind"))];
    let run = ["run", "all", "--junit", "out.xml", "--github"];
    let done = sandbox.swaprig_with(&run, &env).await.code(3);
    assert_says(
        &done.stdout,
        &["::error file=all/a.scenario.toml,title=all/a could not run::"],
    );
    let text = std::fs::read_to_string(sandbox.path().join("out.xml")).unwrap();
    check_junit(&text);
    assert_says(
        &text,
        &["errors=\"4\"", "failures=\"0\"", "/nowhere/bitcoind"],
    );
    // A report that cannot be written is no success.
    sandbox.file("file", "");
    let Some(_) = support::binaries().await else {
        return;
    };
    let done = sandbox
        .swaprig(&["run", "all/a.scenario.toml", "--junit", "file/out.xml"])
        .await
        .code(3);
    assert_says(&done.stderr, &["file/out.xml"]);
}

/// Linux tells of any process what it was started with, which is what these look at.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_signal_leaves_a_report_on_disk() {
    use rustix::process::Signal;
    let waits = "  { mine = 1 },\n  { expect = \"height\", is = 999, within = \"50 s\" },";
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let Some(sandbox) = sandbox().await else {
            return;
        };
        sandbox.file("all/a.scenario.toml", &scenario("x", "", MINES));
        sandbox.file("all/b.scenario.toml", &scenario("x", "", waits));
        sandbox.file("all/c.scenario.toml", &scenario("x", "", MINES));
        let args = ["run", "all", "--jobs", "1", "--junit", "out.xml"];
        let run = sandbox.start(support::sandbox::swaprig(), &args, &[]);
        let log = sandbox.first_run().join("all/b/bitcoind.stdout.log");
        support::file_says(&log, "height=102").await;
        run.running().signal(signal);
        run.done().await.code(code);
        let text = std::fs::read_to_string(sandbox.path().join("out.xml")).unwrap();
        check_junit(&text);
        assert_says(
            &text,
            &[
                "tests=\"3\"",
                "errors=\"1\"",
                "skipped=\"1\"",
                "<error type=\"interrupted\"",
                "not begun",
            ],
        );
        assert_eq!(listed(&sandbox, &["--failed"]).await, ["all/b", "all/c"]);
    }
}

#[tokio::test]
async fn another_program_runs_in_a_world_of_its_own() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    // Nothing of this repository is in sight: an empty directory, the executable, a shell.
    let script = r#"
        set -e
        [ "$(. "$SWAPRIG_ENV_FILE"; echo "$SWAPRIG_ALICE_P2P")" = "$SWAPRIG_ALICE_P2P" ]
        [ -s "$SWAPRIG_DAVE_2_TLS_CERT" ] && [ -d "$SWAPRIG_RUN_DIR" ]
        [ "${#SWAPRIG_ALICE_NODE_ID}" = 66 ]
        [ -s "${SWAPRIG_ALICE_API_KEY_FILE:-$SWAPRIG_ALICE_MACAROON_FILE}" ]
        [ "${#SWAPRIG_ALICE_API_KEY}" = 64 ] || [ -n "$SWAPRIG_ALICE_MACAROON" ]
        echo "$SWAPRIG_BITCOIND_RPC_URL $SWAPRIG_BITCOIND_RPC_USER $SWAPRIG_BITCOIND_RPC_PASSWORD"
        echo "$SWAPRIG_BITCOIND_P2P $SWAPRIG_ALICE_GRPC $SWAPRIG_DAVE_2_GRPC"
        exit "$1""#;
    let exec = |code: &'static str| {
        let args = [
            "exec",
            "--lightning",
            "alice,dave-2",
            "--",
            "sh",
            "-c",
            script,
            "sh",
            code,
        ];
        let sandbox = &sandbox;
        async move { sandbox.swaprig(&args).await }
    };
    let done = exec("0").await.code(0);
    assert_eq!(done.stderr, "");
    let words: Vec<&str> = done.stdout.split_whitespace().collect();
    assert_eq!(words.len(), 6, "{}", done.stdout);
    assert!(words[0].starts_with("http://127.0.0.1:"));
    let distinct: BTreeSet<_> = [words[0], words[3], words[4], words[5]].into();
    assert_eq!(distinct.len(), 4, "{}", done.stdout);
    assert!(!sandbox.first_run().exists());

    let done = exec("37").await.code(37);
    assert_says(
        &done.stderr,
        &[&format!("kept {}", sandbox.first_run().display())],
    );
    assert!(sandbox.first_run().join("alice.stdout.log").exists());
    let bitcoin = ["exec", "--preset", "bitcoin"];
    for (command, code) in [
        (&["--", "sh", "-c", "kill -9 $$"] as &[&str], 137),
        (&["--", "/nowhere/program"], 127),
        (&["--", "/"], 126),
    ] {
        sandbox
            .swaprig(&[&bitcoin as &[&str], command].concat())
            .await
            .code(code);
    }
    for wrong in [
        &["exec"] as &[&str],
        &["exec", "--preset", "moon", "--", "true"],
        &["exec", "--lightning", "Alice", "--", "true"],
        &["exec", "--lightning", "bitcoind", "--", "true"],
    ] {
        let done = sandbox.swaprig(wrong).await.code(2);
        assert!(!done.stderr.is_empty());
    }
    let nowhere = ["exec", "--bitcoind", "/nowhere/bitcoind", "--", "true"];
    sandbox.swaprig(&nowhere).await.code(3);
}

/// A world of `up` in a sandbox.
async fn up(sandbox: &Sandbox, flags: &[&str]) -> support::sandbox::Started {
    let args = [&["up"], flags].concat();
    let up = sandbox.start(support::sandbox::swaprig(), &args, &[]);
    support::file_says(up.stdout(), "ready;").await;
    up
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn signals_reach_the_program_and_the_world_ends_with_it() {
    use rustix::process::Signal;
    for (signal, name, code) in [(Signal::TERM, "TERM", 41), (Signal::INT, "INT", 42)] {
        let Some(sandbox) = sandbox().await else {
            return;
        };
        let script =
            format!("trap 'exit {code}' {name}; echo waiting; while :; do sleep 0.05; done");
        let args = ["exec", "--preset", "bitcoin", "--", "sh", "-c", &script];
        let exec = sandbox.start(support::sandbox::swaprig(), &args, &[]);
        support::file_says(exec.stdout(), "waiting").await;
        // To this one process, not to its group as a terminal would.
        let pid = i32::try_from(exec.running().pid()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal)
            .unwrap();
        exec.done().await.code(code);
        support::processes::no_process_left(&sandbox.first_run()).await;
        let log = std::fs::read_to_string(sandbox.first_run().join("bitcoind.stdout.log"));
        assert_says(&log.unwrap(), &["Shutdown: done"]);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_standing_world_does_what_other_terminals_ask() {
    use rustix::process::Signal;
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let done = sandbox.swaprig(&["status"]).await.code(3);
    assert_says(
        &done.stderr,
        &["no world is up in this directory", "swaprig up"],
    );
    let world = up(&sandbox, &["--channels"]).await;
    let text = std::fs::read_to_string(world.stdout()).unwrap();
    assert_says(
        &text,
        &[
            "world 1",
            "SWAPRIG_BITCOIND_RPC_URL=http://127.0.0.1:",
            ". .swaprig/up/1.env",
        ],
    );
    let env = std::fs::read_to_string(sandbox.path().join(".swaprig/up/1.env")).unwrap();
    assert_says(
        &env,
        &[
            "export SWAPRIG_ALICE_GRPC='127.0.0.1:",
            "export SWAPRIG_ENV_FILE='",
        ],
    );

    let json = |done: Done| serde_json::from_str::<Value>(&done.stdout).unwrap();
    let before = json(sandbox.swaprig(&["status", "--json"]).await.code(0));
    let height = before["height"].as_u64().unwrap();
    assert_eq!(before["nodes"][0]["usable_channels"], 1, "{before:#}");
    let done = sandbox.swaprig(&["mine", "3"]).await.code(0);
    assert_eq!(done.stdout.trim(), format!("height {}", height + 3));
    let done = sandbox.swaprig(&["fund", "bob", "0.5 btc"]).await.code(0);
    assert_says(
        &done.stdout,
        &[
            "bob has 50_000_000 sat more",
            &format!("block {}", height + 4),
        ],
    );
    let done = sandbox
        .swaprig(&["pay", "alice", "bob", "10_000sat"])
        .await
        .code(0);
    assert_says(&done.stdout, &["alice paid bob 10_000 sat"]);
    let after = json(sandbox.swaprig(&["status", "--json"]).await.code(0));
    let of = |status: &Value, key: &str| status["nodes"][1][key].as_u64().unwrap();
    assert_eq!(
        of(&after, "onchain_sat") - of(&before, "onchain_sat"),
        50_000_000
    );
    assert_eq!(
        of(&after, "lightning_sat") - of(&before, "lightning_sat"),
        10_000
    );
    let done = sandbox.swaprig(&["status"]).await.code(0);
    assert_says(
        &done.stdout,
        &[
            "bitcoind  height ",
            "alice     height ",
            "1 of 1 channels usable",
        ],
    );

    for (refused, why) in [
        (
            ["pay", "alice", "carol", "1 sat"],
            "no Lightning node called `carol`",
        ),
        (["pay", "alice", "bob", "1 btc"], "alice"),
    ] {
        let done = sandbox.swaprig(&refused).await.code(1);
        assert_says(&done.stderr, &[why]);
    }
    sandbox.swaprig(&["fund", "bob", "5"]).await.code(2);
    sandbox.swaprig(&["mine", "--world", "2"]).await.code(2);

    let logs = sandbox.swaprig(&["logs"]).await.code(0);
    assert_says(&logs.stdout, &["bitcoind | ", "alice    | "]);
    sandbox.swaprig(&["logs", "carol"]).await.code(2);
    let follow = sandbox.start(
        support::sandbox::swaprig(),
        &["logs", "-f", "bitcoind"],
        &[],
    );
    sandbox.swaprig(&["mine"]).await.code(0);
    support::file_says(follow.stdout(), &format!("height={}", height + 5)).await;

    world.running().signal(Signal::INT);
    world.done().await.code(0);
    follow.done().await.code(0);
    assert_eq!(
        std::fs::read_dir(sandbox.path().join(".swaprig/up"))
            .unwrap()
            .count(),
        0
    );
    assert!(!sandbox.first_run().exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn two_worlds_at_once_do_not_see_each_other() {
    use rustix::process::Signal;
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let flags = ["--preset", "bitcoin"];
    let (one, two) = tokio::join!(up(&sandbox, &flags), up(&sandbox, &flags));
    let done = sandbox.swaprig(&["mine"]).await.code(2);
    assert_says(
        &done.stderr,
        &["worlds 1, 2 are up; choose one with --world"],
    );
    sandbox
        .swaprig(&["mine", "5", "--world", "2"])
        .await
        .code(0);
    for (world, height) in [("1", 101), ("2", 106)] {
        let done = sandbox.swaprig(&["status", "--world", world]).await.code(0);
        assert_eq!(done.stdout.trim(), format!("bitcoind  height {height}"));
    }
    // One that is killed leaves its files, and they mislead nobody.
    let (first, other) = match std::fs::read_to_string(one.stdout())
        .unwrap()
        .contains("world 1")
    {
        true => (one, two),
        false => (two, one),
    };
    first.running().signal(Signal::KILL);
    first.done().await;
    let done = sandbox.swaprig(&["mine"]).await.code(0);
    assert_eq!(done.stdout.trim(), "height 107");
    let again = up(&sandbox, &flags).await;
    assert_says(
        &std::fs::read_to_string(again.stdout()).unwrap(),
        &["world 1"],
    );
    again.running().signal(Signal::TERM);
    again.done().await.code(143);
    other.running().signal(Signal::INT);
    other.done().await.code(0);
}

#[tokio::test]
async fn the_schema_and_the_help_come_from_an_empty_directory() {
    let sandbox = Sandbox::new();
    let done = sandbox.swaprig(&["schema"]).await.code(0);
    let schema: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(schema["title"], "swaprig scenario");
    assert!(schema["properties"]["known_failure"].is_object());

    let help = sandbox.swaprig(&["--help"]).await.code(0).stdout;
    let at = |part: &str| {
        help.find(part)
            .unwrap_or_else(|| panic!("no `{part}` in:\n{help}"))
    };
    let order = [
        "Usage: swaprig",
        "\nScenarios:\n  run ",
        "\n  schema ",
        "\nWorld:\n  exec ",
        "\n  pay ",
        "\nSetup:\n  doctor ",
        "\nOptions:",
        "Exit status:",
    ];
    assert!(order.iter().map(|part| at(part)).is_sorted(), "{help}");
    assert!(!help.contains("daemon "), "{help}");
    assert_eq!(
        std::fs::read_dir(sandbox.path()).unwrap().count(),
        4,
        "only the two calls' own logs"
    );
}

#[tokio::test]
async fn the_doctor_answers_programs_and_cleans_up_after_runs_that_have_ended() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let report = sandbox.swaprig(&["doctor", "--json"]).await.code(0);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(
        (&report["ready"], &report["leftovers"]),
        (&true.into(), &Value::Null),
        "{report:#}"
    );
    assert_eq!(report["roles"][0]["role"], "bitcoind");
    assert!(
        report["roles"][0]["program"]["version"].is_string(),
        "{report:#}"
    );

    let file = sandbox.file("mines.scenario.toml", &scenario("x", "", MINES));
    let keep = ["run", file.to_str().unwrap(), "--keep"];
    sandbox.swaprig(&keep).await.code(0);
    // A run that goes on, seen from the inside.
    let exe = support::sandbox::swaprig();
    let inner = [
        "exec",
        "--preset",
        "bitcoin",
        "--",
        exe.to_str().unwrap(),
        "doctor",
        "--clean",
        "--run-dir",
        ".swaprig/runs",
    ];
    let done = sandbox.swaprig(&inner).await.code(0);
    assert_says(
        &done.stdout,
        &[
            "deleted .swaprig/runs/1 (",
            "left .swaprig/runs/2 (",
            ": a process uses it",
        ],
    );
    assert!(!sandbox.first_run().exists());
    let done = sandbox.swaprig(&["doctor", "--clean"]).await.code(0);
    assert!(
        !done.stdout.contains("deleted") && !done.stdout.contains("leftovers"),
        "{}",
        done.stdout
    );
}
