//! Flaky scenarios and known failures.

use super::junit::check_junit;
use super::support::{self, assert_says};
use super::{FAILS, MINES, Sandbox, sandbox, scenario};

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
    let text = std::fs::read_to_string(sandbox.path().join("out.xml")).unwrap();
    check_junit(&text);
    assert_says(&text, &["failures=\"0\"", "<flakyFailure type=\"flaky\""]);
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
