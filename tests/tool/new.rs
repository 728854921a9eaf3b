//! `swaprig new`: what it writes runs as it is, in anybody's directory.

use serde_json::Value;

use super::schema::wrongs;
use super::support::{self, assert_says};
use super::{Sandbox, sandbox};

/// What editors check `text` against, as `new` has left it in the sandbox.
fn fits_the_schema_beside_it(sandbox: &Sandbox, text: &str) {
    let schema = sandbox.path().join(".swaprig/scenario.schema.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(schema).unwrap()).unwrap();
    assert_eq!(wrongs(&schema, text), Vec::<String>::new(), "{text}");
}

#[tokio::test]
async fn a_new_scenario_of_every_preset_runs_and_fits_the_schema() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    for preset in ["lightning", "bitcoin", "liquid", "ln-liquid"] {
        let new = ["new", preset, "--preset", preset];
        let done = sandbox.swaprig(&new).await.code(0);
        let file = format!("{preset}.scenario.toml");
        assert_says(
            &done.stdout,
            &[&format!("wrote     {file}"), &format!("swaprig run {file}")],
        );
        let text = std::fs::read_to_string(sandbox.path().join(&file)).unwrap();
        assert!(text.starts_with("#:schema ./.swaprig/scenario.schema.json\n"));
        assert!(is_toml_1_0(&text), "{text}");
        fits_the_schema_beside_it(&sandbox, &text);
    }
    let done = sandbox.swaprig(&["run", "."]).await.code(0);
    assert_says(&done.stdout, &["4 passed of 4 runs"]);
    let printed = sandbox.swaprig(&["schema"]).await.code(0).stdout;
    let written = sandbox.path().join(".swaprig/scenario.schema.json");
    assert_eq!(std::fs::read_to_string(written).unwrap(), printed);
}

/// Editors that know TOML 1.0 alone do not read a table in braces over several lines, or one with a comma at its end.
fn is_toml_1_0(text: &str) -> bool {
    let code = text.lines().map(|line| line.split(" #").next().unwrap());
    let code = code.filter(|line| !line.starts_with('#'));
    code.clone()
        .all(|line| line.matches('{').count() == line.matches('}').count())
        && code.clone().all(|line| !line.contains(", }"))
}

#[tokio::test]
async fn what_is_there_stays_and_names_that_cannot_be_are_refused() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("mine.scenario.toml", "mine");
    std::fs::create_dir(sandbox.path().join("sub")).unwrap();
    for (name, said) in [
        ("mine", "mine.scenario.toml: there is such a file already"),
        ("./mine.scenario.toml", "there is such a file already"),
        (
            "My Swap",
            "`My Swap` is no name for a scenario: write lowercase letters",
        ),
        ("My Swap", "such as my-swap"),
        ("sub/..", "is no name for a scenario"),
        ("", "a value is required for '<NAME>'"),
        ("swap.toml", "such as swap"),
        (
            "nowhere/swap",
            "nowhere: there is no such directory; make it first: mkdir -p nowhere",
        ),
    ] {
        let done = sandbox.swaprig(&["new", name]).await.code(2);
        assert_says(&done.stderr, &[said]);
    }
    let endpoint = ["new", "swap", "--server", "./my-server {carol.grpc}"];
    let done = sandbox.swaprig(&endpoint).await.code(2);
    assert_says(
        &done.stderr,
        &["`{carol.grpc}` stands for nothing", "nothing was written"],
    );
    let quotes = ["new", "swap", "--server", "./my-server 'a b'"];
    let done = sandbox.swaprig(&quotes).await.code(2);
    assert_says(&done.stderr, &["no shell reads the command"]);
    let preset = ["new", "swap", "--preset", "lihgtning"];
    let done = sandbox.swaprig(&preset).await.code(2);
    assert_says(&done.stderr, &["ln-liquid"]);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
    assert!(!sandbox.path().join("swap.scenario.toml").exists());
    assert!(!sandbox.path().join(".swaprig").exists());
}

#[tokio::test]
async fn a_server_is_started_and_asked_from_wherever_the_file_is() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    let found = support::settings().environment.on_path("python3");
    if found.is_none() {
        eprintln!("SKIPPED: needs python3, which is not on PATH");
        return;
    }
    let serve = "test -f \"$3\" && exec python3 -m http.server \"${2##*:}\" --bind 127.0.0.1";
    sandbox.script("my-server", serve).await;
    sandbox.file("settings.toml", "");
    std::fs::create_dir_all(sandbox.path().join("tests/swaps")).unwrap();
    let command = "./my-server --listen {listen} settings.toml";
    let new = [
        "new",
        "tests/swaps/asks",
        "--preset",
        "liquid",
        "--server",
        command,
    ];
    sandbox.swaprig(&new).await.code(0);
    let file = "tests/swaps/asks.scenario.toml";
    let text = std::fs::read_to_string(sandbox.path().join(file)).unwrap();
    assert_says(
        &text,
        &[
            "#:schema ../../.swaprig/scenario.schema.json\n",
            "run   = [\"../../my-server\", \"--listen\", \"{listen}\", \"{here}/../../settings.toml\"]",
            "{elementsd.rpc} ",
        ],
    );
    fits_the_schema_beside_it(&sandbox, &text);
    let done = sandbox.swaprig(&["run", file]).await.code(0);
    assert_says(&done.stdout, &["PASS tests/swaps/asks"]);

    // Beside the file, the address by itself, a program that is on PATH, and one that is not there yet.
    let plain = [
        "new",
        "plain",
        "--server",
        "python3 -m http.server --listen x",
    ];
    sandbox.swaprig(&plain).await.code(0);
    let text = std::fs::read_to_string(sandbox.path().join("plain.scenario.toml")).unwrap();
    assert_says(
        &text,
        &[
            "needs = [\"python3\"]",
            "\"--listen\", \"x\", \"--listen\", \"{listen}\"]",
        ],
    );
    fits_the_schema_beside_it(&sandbox, &text);
    // A program that is here and not on PATH, as somebody may type it.
    let typed = ["new", "typed", "--server", "my-server"];
    sandbox.swaprig(&typed).await.code(0);
    let text = std::fs::read_to_string(sandbox.path().join("typed.scenario.toml")).unwrap();
    assert_says(&text, &["run   = [\"./my-server\", \"--listen\""]);
    let done = sandbox
        .swaprig(&["new", "later", "--server", "./later"])
        .await;
    let done = done.code(0);
    assert_says(
        &done.stdout,
        &["missing   ./later: there is no such program yet"],
    );
}
