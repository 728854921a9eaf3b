//! The schema, the help and the doctor.

use serde_json::Value;

use super::support::{self, assert_says};
use super::{MINES, Sandbox, sandbox, scenario};

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
    // Event records are left as long as any run may write some.
    let done = sandbox.swaprig(&["doctor", "--clean"]).await.code(0);
    assert_says(&done.stdout, &["in 1 record   .swaprig/records"]);
    let done = sandbox.swaprig(&["doctor", "--clean"]).await.code(0);
    assert!(
        !done.stdout.contains("deleted") && !done.stdout.contains("leftovers"),
        "{}",
        done.stdout
    );
}
