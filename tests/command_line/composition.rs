//! Scenarios that are composed: cases on the command line, failures inside fragments and beside other steps.

use super::support::assert_says;
use super::{BITCOIN, sandbox, scenario};

const CASES: &str =
    "[cases]\none = { blocks = 1, height = 102 }\ntwo = { blocks = 2, height = 999 }\n";

#[tokio::test]
async fn a_case_is_run_and_told_on_its_own() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let steps = "  { mine = \"$blocks\" },\n  { expect = \"height\", is = \"$height\", within = \"200 ms\" },";
    sandbox.file(
        "scenarios/mines.scenario.toml",
        &(scenario(BITCOIN, steps) + CASES),
    );
    let listed = sandbox.swaprig(&["list", "scenarios"]).await.code(0);
    assert_says(&listed.stdout, &["mines#one  ", "mines#two  "]);
    for named in [
        "scenarios/mines.scenario.toml#one",
        "mines#one",
        "scenarios/mines#one",
    ] {
        let done = sandbox.swaprig(&["run", named]).await.code(0);
        assert_says(&done.stdout, &["PASS mines#one", "1 passed of 1 run"]);
    }
    let all = sandbox.swaprig(&["run", "scenarios"]).await.code(1);
    let again = "  again     swaprig run scenarios/mines.scenario.toml#two --keep";
    assert_says(
        &all.stdout,
        &[
            "PASS mines#one",
            "FAIL mines#two   step 2 of 2",
            again,
            "1 failed, 1 passed of 2 runs",
        ],
    );
    let json = sandbox.swaprig(&["run", "mines", "--json"]).await.code(1);
    let report = json.json();
    let two = &report["scenarios"][1];
    assert_eq!(
        (&two["id"], &two["case"]),
        (&"mines#two".into(), &"two".into())
    );
    assert_eq!(
        (&two["failure"]["step"], &two["failure"]["step_place"]),
        (&2.into(), &"2".into())
    );
}

#[tokio::test]
async fn a_case_that_is_not_there_is_wrong_usage() {
    let sandbox = super::Sandbox::new();
    let text = scenario(
        BITCOIN,
        "  { mine = \"$blocks\" },\n  { expect = \"height\", is = \"$height\" },",
    );
    sandbox.file("all/mines.scenario.toml", &(text + CASES));
    sandbox.file("all/plain.scenario.toml", &scenario(BITCOIN, super::MINES));
    for (named, says) in [
        (
            "all/mines.scenario.toml#twos",
            "there is no case `twos`; did you mean #two?",
        ),
        (
            "all/plain.scenario.toml#one",
            "there is no case `one`; it has no cases",
        ),
        ("all#one", "write all/FILE.scenario.toml#one"),
        ("all/nothing#one", "all/nothing: there is no such file"),
    ] {
        let done = sandbox.swaprig(&["check", named]).await.code(2);
        assert_says(&done.stderr, &[says]);
    }
}

#[tokio::test]
async fn what_is_expanded_checks() {
    let sandbox = super::Sandbox::new();
    sandbox.file(
        "some.fragment.toml",
        "inputs = { blocks = \"blocks\" }\nsteps = [ { mine = \"$blocks\" } ]\n",
    );
    let steps = "  { use = \"some\", blocks = \"$blocks\", times = 2 },\n  { expect = \"height\", is = \"$height\" },";
    sandbox.file("mines.scenario.toml", &(scenario(BITCOIN, steps) + CASES));
    let done = sandbox
        .swaprig(&["check", "--expand", "mines.scenario.toml#two"])
        .await
        .code(0);
    assert_says(
        &done.stdout,
        &["{ mine = 2 },", "], times = 2 },", "is = 999 }"],
    );
    sandbox.file("expanded.scenario.toml", &done.stdout);
    sandbox
        .swaprig(&["check", "expanded.scenario.toml"])
        .await
        .code(0);
}

#[tokio::test]
async fn a_failure_in_a_fragment_shows_both_places() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    sandbox.file(
        "scenarios/lib/mined.fragment.toml",
        "inputs = { height = \"height\" }\nsteps = [\n  { mine = 1 },\n  { expect = \"height\", is = \"$height\", \
         within = \"200 ms\" },\n]\n",
    );
    let steps = "  { mine = 1 },\n  { use = \"lib/mined\", height = 999 },";
    sandbox.file("scenarios/fails.scenario.toml", &scenario(BITCOIN, steps));
    let done = sandbox.swaprig(&["run", "fails"]).await.code(1);
    assert_says(
        &done.stdout,
        &[
            "FAIL fails   step 2.2 of 2",
            "did not become height 999",
            "scenarios/lib/mined.fragment.toml:4:29",
            "in a fragment that is used here",
            "scenarios/fails.scenario.toml:5:11",
        ],
    );
}

/// Each of these runs a step beside others, and fails or passes at once, without waiting for what is still running.
#[tokio::test]
async fn steps_beside_others_end_as_they_should() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let never = "{ expect = \"height\", is = 999, within = \"50 s\" }";
    let soon = "{ expect = \"height\", is = 998, within = \"300 ms\" }";
    let kill = "{ kill = \"bitcoind\" }";
    for (name, steps, code, says) in [
        (
            "together",
            format!("{{ together = [{never}, {soon}] }}"),
            1,
            vec!["step 1.2 of 1", "did not become height 998"],
        ),
        (
            "together-fails",
            format!("{kill}, {{ together = [{kill}, {kill}], fails = \"does not run\" }}, {{ restart = \"bitcoind\" }}"),
            0,
            vec!["PASS"],
        ),
        (
            "awaited",
            "{ expect = \"height\", is = 103, within = \"50 s\", start = \"seen\" }, { mine = 2 }, { await = \"seen\" }".into(),
            0,
            vec!["PASS"],
        ),
        (
            "awaited-failure",
            format!("{kill}, {{ kill = \"bitcoind\", start = \"k\" }}, {{ await = \"k\" }}"),
            1,
            vec!["step 2 of 3", "bitcoind does not run"],
        ),
        (
            "awaited-reason",
            format!("{kill}, {{ kill = \"bitcoind\", start = \"k\" }}, {{ await = \"k\", fails = \"does not run\" }}, {{ restart = \"bitcoind\" }}"),
            0,
            vec!["PASS"],
        ),
        (
            "wrong-reason",
            format!("{kill}, {{ kill = \"bitcoind\", start = \"k\" }}, {{ await = \"k\", fails = \"other\" }}"),
            1,
            vec!["step 3 of 3", "`await` failed, but not with \"other\""],
        ),
        (
            "failed-meanwhile",
            format!("{kill}, {{ kill = \"bitcoind\", start = \"k\" }}, {{ mine = 1, fails = \"nonsense\" }}, {{ await = \"k\" }}"),
            1,
            vec!["step 3 of 4", "`kill`, started as `k`, had failed: bitcoind does not run"],
        ),
        (
            "event",
            "{ on = { expect = \"height\", at_least = 102 }, mine = 1 }, { mine = 1 }, { expect = \"height\", is = 103 }".into(),
            0,
            vec!["PASS"],
        ),
        (
            "event-at-the-end",
            "{ on = { expect = \"height\", at_least = 102 }, mine = 1 }, { mine = 1 }".into(),
            0,
            vec!["PASS"],
        ),
        (
            "no-event",
            "{ on = { expect = \"height\", is = 999 }, mine = 1 }, { mine = 1 }".into(),
            1,
            vec!["step 1 of 2", "did not become height 999", "`mine` waits for this and never ran"],
        ),
        (
            "event-step-fails",
            format!("{{ on = {{ expect = \"height\", is = 102 }}, expect = \"height\", is = 5, within = \"200 ms\" }}, {{ mine = 1 }}, {never}"),
            1,
            vec!["step 1 of 3", "did not become height 5"],
        ),
        (
            "times",
            "{ mine = 1, times = 3 }, { expect = \"height\", is = 104 }".into(),
            0,
            vec!["PASS"],
        ),
        (
            "times-of-a-block",
            "{ steps = [{ mine = 1, as = \"m\" }, { expect = \"height\", is = \"$m.height\" }], times = 3 }, { expect = \"height\", is = 104 }".into(),
            0,
            vec!["PASS"],
        ),
        (
            "block-too-long",
            format!("{{ steps = [{{ mine = 1 }}, {never}], within = \"500 ms\" }}"),
            1,
            vec!["did not become height 999 within"],
        ),
    ] {
        let file = format!("{name}.scenario.toml");
        sandbox.file(&file, &scenario(BITCOIN, &steps));
        let began = std::time::Instant::now();
        let done = sandbox.swaprig(&["run", &file]).await.code(code);
        assert_says(&done.stdout, &says);
        assert!(began.elapsed().as_secs() < 30, "{name} waited for what had no say");
    }
}
