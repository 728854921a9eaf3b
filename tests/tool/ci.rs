//! What CI gets to read.

use std::path::Path;

use roxmltree::Document;

use super::junit::check_junit;
use super::support::{self, assert_says};
use super::{FAILS, MINES, Sandbox, four, listed, sandbox, scenario};

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
    assert_eq!(bad.attribute("classname"), Some("swaprig.all"));
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
    let out = out.text().unwrap();
    assert_says(out, &["Fails\nall/bad.scenario.toml:6:29\n"]);
    let attachment = out
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
