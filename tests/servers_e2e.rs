//! Servers that this project did not write: in worlds from Rust, and in scenario files as their authors meet them.

mod support;

use std::path::Path;
use std::time::Duration;

use swaprig_harness::http::{Request, send};
use swaprig_harness::server::{Ready, ServerSpec};
use swaprig_harness::template::Template;
use swaprig_harness::time::Deadline;

use support::assert_says;
use support::sandbox::{Done, Sandbox};

/// A sandbox for real worlds; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
async fn sandbox() -> Option<Sandbox> {
    support::binaries().await.map(|_| Sandbox::new())
}

/// A scenario on a bitcoind alone.
fn scenario(top: &str, steps: &str) -> String {
    format!(
        "title = \"A server\"\nworld = {{ preset = \"bitcoin\" }}\n{top}\nsteps = [\n{steps}\n]\n"
    )
}

async fn run(sandbox: &Sandbox, top: &str, steps: &str) -> Done {
    sandbox.file("s.scenario.toml", &scenario(top, steps));
    sandbox.swaprig(&["run", "s.scenario.toml"]).await
}

/// A server of a line of shell.
fn shell(line: &str, ready: &str) -> String {
    format!("servers = {{ maker = {{ run = [\"sh\", \"-c\", '{line}'], ready = {ready} }} }}")
}

/// The example server of the shipped scenarios.
fn desk() -> ServerSpec {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/servers/order_desk.py");
    let filled = |text| Template::parse(text).unwrap();
    let words = "--listen {listen} --bitcoind {bitcoind.rpc} --data {dir}";
    let run = [
        Template::plain("python3"),
        Template::plain(script.to_string_lossy()),
    ];
    ServerSpec {
        name: "desk".into(),
        run: run
            .into_iter()
            .chain(words.split(' ').map(filled))
            .collect(),
        env: vec![
            ("RPC_USER".into(), filled("{bitcoind.user}")),
            ("RPC_PASSWORD".into(), filled("{bitcoind.password}")),
        ],
        ready: Ready::Http("/health".into()),
        api: None,
        tls: None,
    }
}

/// Whether the example server can run here; when not, that is said aloud.
fn has_python() -> bool {
    let found = support::settings().environment.on_path("python3");
    if found.is_none() {
        eprintln!("SKIPPED: needs python3, which is not on PATH");
    }
    found.is_some()
}

async fn status(address: &str) -> Option<u16> {
    let request = Request {
        method: "GET".into(),
        url: format!("http://{address}/health"),
        json: None,
    };
    let answer = send(request, Deadline::after(support::SOON)).await;
    answer.ok().map(|answer| answer.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_killed_and_comes_back_where_it_was() {
    let Some(builder) = support::world().filter(|_| has_python()) else {
        return;
    };
    let world = builder.server(desk()).start().await.unwrap();
    let server = world.server("desk").unwrap();
    let address = server.address();
    assert_eq!(world.endpoint("desk.listen").unwrap(), address);
    assert_eq!(status(&address).await, Some(200));
    server.kill().await;
    assert_eq!(status(&address).await, None);
    assert!(!world.is_whole());
    server
        .restart(Deadline::after(support::SOON))
        .await
        .unwrap();
    assert_eq!(
        (server.address(), status(&address).await),
        (address, Some(200))
    );
    let unknown = world.server("other").unwrap_err().to_string();
    assert_says(&unknown, &["no server called `other`; it has desk"]);
    world.finish().await.unwrap();
}

#[tokio::test]
async fn a_server_that_lies_fails_its_scenario_and_the_screen_says_how() {
    let Some(sandbox) = sandbox().await.filter(|_| has_python()) else {
        return;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/servers/order-confirmed-too-early.scenario.toml");
    let done = sandbox.swaprig(&["run", &file.to_string_lossy()]).await;
    let done = done.code(1);
    assert_says(
        &done.stdout,
        &[
            "FAIL",
            "step 3 of 3",
            "did not give $.state to be \"sent\" within",
            "last seen: \"confirmed\"",
            "  desk ",
            "\"GET /orders/",
            "--seed",
        ],
    );
}

#[tokio::test]
async fn a_program_that_is_not_there_skips_the_scenario_aloud() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let top = "needs = [\"sh\", \"no-such-program\"]";
    let text = scenario(top, "  { mine = 1 },");
    sandbox.file("s.scenario.toml", &text);
    let done = sandbox.swaprig(&["run", "s.scenario.toml"]).await;
    assert_says(
        &done.stdout,
        &["SKIP", "needs no-such-program, which is not on PATH"],
    );
    let all = ["run", "s.scenario.toml", "--require-all"];
    sandbox.swaprig(&all).await.code(3);
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_reported_like_a_daemon() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let top = shell("echo no licence: {listen} >&2; exit 7", "{ tcp = true }");
    let done = run(&sandbox, &top, "  { mine = 1 },").await.code(3);
    assert_says(
        &done.stdout,
        &[
            "maker exited with status 7",
            "before it was ready",
            "no licence: 127.0.0.1:",
        ],
    );
    let top = "servers = { maker = { run = [\"./missing\", \"{listen}\"] } }";
    let done = run(&sandbox, top, "  { mine = 1 },").await.code(3);
    assert_says(
        &done.stdout,
        &[
            "could not start the program for maker",
            "/missing 127.0.0.1:",
        ],
    );
    let top = shell("exec sleep 600", "{ log = \"up\" }");
    let top = top + "\n";
    let text = scenario(&top, "  { mine = 1 },").replace(
        "{ preset = \"bitcoin\" }",
        "{ preset = \"bitcoin\", deadline = \"4 s\" }",
    );
    sandbox.file("late.scenario.toml", &text);
    let done = sandbox
        .swaprig(&["run", "late.scenario.toml"])
        .await
        .code(3);
    assert_says(
        &done.stdout,
        &["maker is not ready", "to print \"up\"", "it has not"],
    );
}

#[tokio::test]
async fn a_server_that_crashes_fails_a_run_that_did_not_ask_for_it() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let waits = "while [ ! -e go ]; do sleep 0.05; done; touch gone; exit 9";
    let top = shell(&format!("echo up; {waits}"), "{ log = \"up\" }");
    let steps = "  { run = [\"sh\", \"-c\", \"touch $1/go; until [ -e $1/gone ]; do sleep 0.05; done; sleep 0.3\", \"sh\", \"{maker.dir}\"] },";
    let done = run(&sandbox, &top, steps).await.code(3);
    assert_says(&done.stdout, &["maker exited with status 9"]);

    // What a step ended is no crash, whatever the status that the server makes of it.
    let line = "trap \"exit 9\" TERM; echo up; while true; do sleep 0.05; done";
    let top = shell(line, "{ log = \"up\" }");
    let steps = "  { kill = \"maker\", signal = \"term\" },\n  { restart = \"maker\" },\n  { kill = \"maker\" },";
    run(&sandbox, &top, steps).await.code(0);
}

#[tokio::test]
async fn programs_are_judged_by_their_status_and_their_output() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let steps = r#"
  { run = ["sh", "-c", "echo $WHAT $1; pwd", "sh", "{bitcoind.user}"], env = { WHAT = "it is {word} {{}}" }, stdout = "it is fine {{}}", as = "said" },
  { expect = "$said.status", is = 0 },
  { run = ["sh", "-c", "exit 3"], expect_exit = 3 },
  { run = ["sh", "-c", "echo out of eggs >&2; exit 4"], fails = "out of eggs" },
"#;
    let text = scenario("", steps) + "[cases]\none = { word = \"fine\" }\n";
    sandbox.file("s.scenario.toml", &text);
    sandbox.swaprig(&["run", "s.scenario.toml"]).await.code(0);

    let bad = "  { run = [\"sh\", \"-c\", \"echo out of eggs >&2; exit 4\"] },";
    let done = run(&sandbox, "", bad).await.code(1);
    assert_says(
        &done.stdout,
        &["exited with status 4", "not with status 0", "out of eggs"],
    );
    let slow = "  { run = [\"sleep\", \"600\"], within = \"300 ms\" },";
    let started = std::time::Instant::now();
    let done = run(&sandbox, "", slow).await.code(1);
    assert_says(&done.stdout, &["`sleep 600` did not end within"]);
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn requests_are_judged_by_their_answers() {
    let Some(sandbox) = sandbox().await.filter(|_| has_python()) else {
        return;
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/servers");
    let top = format!(
        "servers = {{ desk = {{ run = [\"python3\", \"{}/order_desk.py\", \"--listen\", \"{{listen}}\", \"--bitcoind\", \
         \"{{bitcoind.rpc}}\", \"--data\", \"{{dir}}\"], env = {{ RPC_USER = \"{{bitcoind.user}}\", RPC_PASSWORD = \
         \"{{bitcoind.password}}\" }}, ready = {{ http = \"/health\" }} }} }}",
        dir.display()
    );
    let health = "http = \"GET\", url = \"{desk.listen}/health\"";
    for (step, said) in [
        (
            format!("{health}, take = {{ h = {{ height = \"$.height\" }} }}, as = \"a\" }},\n  {{ expect = \"$a.h\", is = 7"),
            "did not become height 7",
        ),
        (
            format!("{health}, take = {{ id = \"$.height\" }}, as = \"a\""),
            "$.height is 101, not a text",
        ),
        (
            format!("{health}, take = {{ id = \"$.id\" }}, as = \"a\""),
            "the answer has nothing at $.id",
        ),
        (
            "http = \"GET\", url = \"http://192.0.2.1/\"".to_owned(),
            "is not an address on this machine",
        ),
        (
            "http = \"POST\", url = \"{desk.listen}/none\", send = { a = [1, \"{desk.dir}\"] }".to_owned(),
            "was answered with 404 {\"error\": \"no such place\"}, expected a status from 200",
        ),
        (
            "kill = \"desk\" },\n  { http = \"POST\", url = \"{desk.listen}/orders\"".to_owned(),
            "refused",
        ),
        (
            "kill = \"desk\" },\n  { http = \"GET\", url = \"{desk.listen}/orders\", within = \"500 ms\"".to_owned(),
            "did not give an answer within",
        ),
    ] {
        let done = run(&sandbox, &top, &format!("  {{ {step} }},")).await.code(1);
        assert_says(&done.stdout, &[said]);
    }
}
