//! `swaprig` as its users meet it: exit codes, what stands on which stream, what is kept, and how it ends when it is
//! interrupted or killed.

#[path = "command_line/composition.rs"]
mod composition;
#[cfg(target_os = "linux")]
#[path = "command_line/interrupted.rs"]
mod interrupted;
mod support;

use serde_json::Value;

use support::assert_says;
use support::sandbox::{Done, Sandbox};

/// A sandbox for real worlds; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
async fn sandbox() -> Option<Sandbox> {
    support::binaries().await.map(|_| Sandbox::new())
}

/// The steps in a scenario with `world`.
fn scenario(world: &str, steps: &str) -> String {
    format!("title = \"One of a test's\"\nworld = {world}\nsteps = [\n{steps}\n]\n")
}

/// A bitcoind alone.
const BITCOIN: &str = "{ preset = \"bitcoin\" }";
/// Mines and passes.
const MINES: &str = "  { mine = 2 },\n  { expect = \"height\", is = 103 },";
/// Expects what does not come.
const FAILS: &str = "  { mine = 1 },\n  { expect = \"height\", is = 999, within = \"200 ms\" },";

impl Done {
    /// Standard output, which must be one JSON object and nothing else.
    #[track_caller]
    fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in standard output:\n{}", self.stdout));
        assert!(value.is_object());
        value
    }
}

#[tokio::test]
async fn a_run_that_passes_leaves_nothing_behind() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    sandbox.file("all/mines.scenario.toml", &scenario(BITCOIN, MINES));
    let done = sandbox.swaprig(&["run", "all"]).await.code(0);
    assert_says(
        &done.stdout,
        &["PASS all/mines", "1 passed of 1 run", "bitcoind "],
    );
    assert!(!done.stdout.contains("kept "), "{}", done.stdout);
    assert!(!sandbox.first_run().exists());
    assert_eq!(done.stderr, "");
}

#[tokio::test]
async fn a_run_is_kept_on_request() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let file = sandbox.file("mines.scenario.toml", &scenario(BITCOIN, MINES));
    let file = file.to_str().unwrap();
    let keep = [("KEEP_E2E_ARTIFACTS", Some("1"))];
    let asked = sandbox.swaprig(&["run", file, "--keep"]).await.code(0);
    let told = sandbox.swaprig_with(&["run", file], &keep).await.code(0);
    let elsewhere = sandbox.path().join("elsewhere");
    let place = [("SWAPRIG_RUN_DIR", elsewhere.to_str()), keep[0]];
    let placed = sandbox.swaprig_with(&["run", file], &place).await.code(0);
    let first = sandbox.first_run();
    for (done, dir) in [
        (asked, &first),
        (told, &first.with_file_name("2")),
        (placed, &elsewhere.join("1")),
    ] {
        assert_says(&done.stdout, &[&format!("kept {}", dir.display())]);
        let log = dir.join("mines/bitcoind.stdout.log");
        assert!(
            std::fs::read_to_string(&log)
                .unwrap()
                .contains("height=103"),
            "{}",
            log.display()
        );
    }
}

#[tokio::test]
async fn a_failure_fits_one_screen() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let text = scenario("{ lightning = [\"alice\"] }", FAILS);
    sandbox.file("fails.scenario.toml", &text);
    let done = sandbox
        .swaprig(&["run", "fails.scenario.toml"])
        .await
        .code(1);
    assert_says(
        &done.stdout,
        &[
            "FAIL fails   step 2 of 2",
            // File, line and column of the value that the step is about, and a mark under it.
            "fails.scenario.toml:5:29",
            "{ expect = \"height\", is = 999, within = \"200 ms\" },",
            "last seen: ",
            "102",
            "looks",
            "  alice     ",
            "  bitcoind  ",
            "  daemons   bitcoind ",
            "  logs      .swaprig/runs/1/fails/*.log",
            "  again     swaprig run fails.scenario.toml --keep",
            "1 failed of 1 run",
            &format!("kept {}", sandbox.first_run().display()),
        ],
    );
    let lines: Vec<_> = done.stdout.lines().collect();
    let source = lines
        .iter()
        .position(|line| line.contains("expect = \"height\""))
        .unwrap();
    let column = |line: &str, part: &str| line.find(part).map(|at| line[..at].chars().count());
    assert_eq!(
        column(lines[source + 1], "─"),
        column(lines[source], "999"),
        "{}",
        done.stdout
    );
    assert!(lines.len() <= 24, "{} lines:\n{}", lines.len(), done.stdout);
    assert!(sandbox.first_run().join("fails/alice.stdout.log").exists());

    // What it says to type fails in the same way.
    let again = sandbox
        .swaprig(&["run", "fails.scenario.toml", "--keep"])
        .await
        .code(1);
    assert_says(
        &again.stdout,
        &["FAIL fails   step 2 of 2", ".swaprig/runs/2/fails/*.log"],
    );
}

#[tokio::test]
async fn json_is_one_object_whatever_comes_out() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    sandbox.file("all/a.scenario.toml", &scenario(BITCOIN, MINES));
    sandbox.file("all/b.scenario.toml", &scenario(BITCOIN, FAILS));
    let done = sandbox
        .swaprig(&["run", "all", "--json", "--repeat", "2"])
        .await
        .code(1);
    let report = done.json();
    let tally = &report["tally"];
    assert_eq!(
        (&tally["passed"], &tally["failed"]),
        (&2.into(), &2.into()),
        "{report:#}"
    );
    let runs = report["scenarios"].as_array().unwrap();
    let told = |run: &Value| {
        (
            run["id"].clone(),
            run["round"].clone(),
            run["outcome"].clone(),
        )
    };
    let expected = [
        ("all/a", 1, "passed"),
        ("all/b", 1, "failed"),
        ("all/a", 2, "passed"),
        ("all/b", 2, "failed"),
    ];
    let expected = expected.map(|(id, round, word)| (id.into(), round.into(), word.into()));
    assert_eq!(runs.iter().map(told).collect::<Vec<_>>(), expected);
    let failure = &runs[1]["failure"];
    assert_eq!(
        (&failure["step"], &failure["place"]["line"]),
        (&2.into(), &5.into()),
        "{failure:#}"
    );
    assert_eq!(report["kept"], sandbox.first_run().to_str().unwrap());
    assert_eq!(report["passport"][0]["role"], "bitcoind", "{report:#}");
    // People read the other stream.
    assert_says(
        &done.stderr,
        &[
            "PASS all/a",
            "FAIL all/b",
            "PASS all/a (round 2)",
            "2 failed, 2 passed of 4 runs",
        ],
    );

    let listed = sandbox.swaprig(&["list", "all", "--json"]).await.code(0);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(
        (&listed[1]["id"], &listed[1]["steps"]),
        (&"all/b".into(), &2.into()),
        "{listed:#}"
    );
}

#[tokio::test]
async fn a_step_that_must_fail_fails_for_the_given_reason_or_not_at_all() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    // More than there will ever be, and less than there is.
    let fund = |amount: &str, reason: &str| {
        let step =
            format!("  {{ fund = \"alice\", amount = \"{amount} sat\", fails = \"{reason}\" }},");
        scenario("{ lightning = [\"alice\"] }", &step)
    };
    sandbox.file(
        "all/right.scenario.toml",
        &fund("2_000_000_000_000", "insufficient funds"),
    );
    sandbox.file(
        "all/other.scenario.toml",
        &fund("2_000_000_000_000", "no route"),
    );
    sandbox.file(
        "all/none.scenario.toml",
        &fund("1_000_000", "insufficient funds"),
    );
    let done = sandbox.swaprig(&["run", "all"]).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "PASS all/right",
            "FAIL all/other   step 1 of 1",
            "`fund` failed, but not with \"no route\"",
            "Insufficient funds",
            "FAIL all/none   step 1 of 1",
            "`fund` succeeded, and must fail with \"insufficient funds\"",
            "2 failed, 1 passed of 3 runs",
        ],
    );
}

#[tokio::test]
async fn wrong_files_and_wrong_usage_are_two() {
    let sandbox = Sandbox::new();
    sandbox.file("all/good.scenario.toml", &scenario(BITCOIN, MINES));
    let checked = sandbox.swaprig(&["check", "all"]).await.code(0);
    assert_says(&checked.stdout, &["1 scenario checked"]);
    let listed = sandbox.swaprig(&["list", "all"]).await.code(0);
    assert_says(&listed.stdout, &["good  One of a test's"]);

    sandbox.file(
        "all/bad.scenario.toml",
        &scenario(BITCOIN, "  { mien = 2 },"),
    );
    for command in ["check", "run", "list"] {
        let done = sandbox.swaprig(&[command, "all"]).await.code(2);
        assert_says(
            &done.stderr,
            &[
                "bad.scenario.toml:4:5",
                "mien",
                "mine",
                "1 problem in 1 file; nothing was run",
            ],
        );
        assert_eq!(done.stdout, "");
    }
    for usage in [
        vec!["run"],
        vec!["run", "all", "--jobs", "0"],
        vec!["run", "all", "--repeat", "0"],
        vec!["run", "all", "--daemons", "borrowed"],
        vec!["run", "nowhere"],
        vec!["run", "all", "--nonsense"],
        vec!["dance"],
    ] {
        let done = sandbox.swaprig(&usage).await.code(2);
        assert!(
            !done.stderr.is_empty() && done.stdout.is_empty(),
            "{usage:?}: {done:?}"
        );
    }
    assert!(!sandbox.path().join(".swaprig").exists());
}

#[tokio::test]
async fn a_reader_that_goes_ends_it_without_a_word() {
    let sandbox = Sandbox::new();
    let pipe = r#"{ "$0" schema; echo "$?" >status; } | head -c 1 >/dev/null; cat status"#;
    let swaprig = support::sandbox::swaprig();
    let args = ["-c", pipe, swaprig.to_str().unwrap()];
    let done = sandbox.start("sh", &args, &[]).done().await.code(0);
    assert_eq!((done.stdout.trim(), done.stderr.as_str()), ("141", ""));
}

#[tokio::test]
async fn nothing_selected_is_four() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("empty")).unwrap();
    for command in ["run", "check", "list"] {
        let done = sandbox.swaprig(&[command, "empty"]).await.code(4);
        assert_says(&done.stderr, &["empty"]);
    }
    assert!(!sandbox.path().join(".swaprig").exists());
}

#[tokio::test]
async fn a_broken_environment_is_three() {
    let sandbox = Sandbox::new();
    sandbox.file("mines.scenario.toml", &scenario(BITCOIN, MINES));
    let run = ["run", "mines.scenario.toml"];
    let nowhere = [("BITCOIND_EXE", Some("/nowhere/bitcoind"))];
    let done = sandbox.swaprig_with(&run, &nowhere).await.code(3);
    assert_says(
        &done.stderr,
        &["BITCOIND_EXE names /nowhere/bitcoind, which does not exist"],
    );

    let old = sandbox
        .script("old-bitcoind", "echo 'Bitcoin Core daemon version v27.2.0'")
        .await;
    let old = old.to_str().unwrap();
    let done = sandbox
        .swaprig(&["run", "mines.scenario.toml", "--bitcoind", old])
        .await
        .code(3);
    assert_says(
        &done.stderr,
        &[old, "is Bitcoin Core 27.2.0", "Bitcoin Core ≥ 28"],
    );

    // It is the right version, and then it is not a node: the run has begun, so it is told as the scenario's.
    let dies = "[ \"$1\" = --version ] && exec echo 'Bitcoin Core daemon version v99.0.0'; echo 'no luck' >&2; exit 3";
    let dies = sandbox.script("dying-bitcoind", dies).await;
    let dies = dies.to_str().unwrap();
    let done = sandbox
        .swaprig(&["run", "mines.scenario.toml", "--bitcoind", dies])
        .await
        .code(3);
    let kept = sandbox.first_run();
    assert_says(
        &done.stdout,
        &[
            "ERROR mines",
            "exited with status 3",
            "no luck",
            kept.join("mines/bitcoind.stderr.log").to_str().unwrap(),
            "1 broken of 1 run",
            &format!("kept {}", kept.display()),
        ],
    );

    let file = sandbox.file("file", "");
    let done = sandbox
        .swaprig(&["run", "mines.scenario.toml", "--run-dir", "file"])
        .await
        .code(3);
    assert_says(
        &done.stderr,
        &["could not make a run directory in file", "--run-dir"],
    );
    assert!(file.is_file());
}

#[tokio::test]
async fn what_cannot_run_is_skipped_aloud_unless_everything_is_required() {
    let Some(binaries) = support::binaries().await else {
        return;
    };
    let sandbox = Sandbox::new();
    sandbox.file("all/mines.scenario.toml", &scenario(BITCOIN, MINES));
    sandbox.file(
        "all/pays.scenario.toml",
        &scenario("{ preset = \"lightning\" }", MINES),
    );
    std::fs::create_dir(sandbox.path().join("bin")).unwrap();
    let bin = sandbox.path().join("bin");
    let mut env = vec![("PATH", bin.to_str()), ("LDK_SERVER_EXE", None)];
    // One from the tool cache is found there again.
    if binaries.bitcoind.provenance.is_none() {
        env.push(("BITCOIND_EXE", binaries.bitcoind.path.to_str()));
    }
    let run = ["run", "all", "--daemons", "upstream"];
    let done = sandbox.swaprig_with(&run, &env).await.code(0);
    assert_says(
        &done.stdout,
        &[
            "no ldk-server was found",
            "LDK_SERVER_EXE",
            "SKIP all/pays",
            "PASS all/mines",
            "1 passed, 1 skipped of 2 runs",
        ],
    );
    let all: Vec<_> = run.iter().copied().chain(["--require-all"]).collect();
    let done = sandbox.swaprig_with(&all, &env).await.code(3);
    assert_says(
        &done.stdout,
        &[
            "SKIP all/pays",
            "PASS all/mines",
            "1 passed, 1 skipped of 2 runs",
        ],
    );

    // A failure of the scenario's own outranks that.
    sandbox.file("all/fails.scenario.toml", &scenario(BITCOIN, FAILS));
    let done = sandbox.swaprig_with(&all, &env).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "SKIP all/pays",
            "FAIL all/fails",
            "1 failed, 1 passed, 1 skipped of 3 runs",
        ],
    );
}

#[tokio::test]
async fn two_harnesses_at_once_do_not_collide() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    for name in ["a", "b"] {
        sandbox.file(
            &format!("all/{name}.scenario.toml"),
            &scenario("{ lightning = [\"alice\"] }", MINES),
        );
    }
    let run = ["run", "all", "--jobs", "2", "--repeat", "2"];
    let (one, two) = tokio::join!(sandbox.swaprig(&run), sandbox.swaprig(&run));
    for done in [one, two] {
        assert_says(&done.code(0).stdout, &["4 passed of 4 runs"]);
    }
}
