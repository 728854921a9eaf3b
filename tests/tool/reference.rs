//! The documentation of the language against the language: the reference in docs/scenarios.md, and the snippets of
//! docs/write-a-swap.md.

use std::path::{Path, PathBuf};

use super::support::{self, assert_says};
use super::{Sandbox, sandbox};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Copies the scenario files below `from`.
fn copy_scenarios(from: &Path, sandbox: &Sandbox, to: &str) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "src" | "tests" | "target") {
            copy_scenarios(&path, sandbox, &format!("{to}/{name}"));
        } else if name.ends_with(".py") || name.ends_with(".toml") && name != "Cargo.toml" {
            sandbox.file(&format!("{to}/{name}"), &read(&path));
        }
    }
}

#[tokio::test]
async fn the_reference_is_what_the_steps_say() {
    let sandbox = Sandbox::new();
    let committed = read(&root("docs/scenarios.md"));
    copy_scenarios(&root("scenarios"), &sandbox, "scenarios");
    let page = sandbox.file("docs/scenarios.md", &committed);
    let write = ["schema", "--docs", "docs/scenarios.md"];
    sandbox.swaprig(&write).await.code(0);
    let written = read(&page);
    for part in [
        "### `pay`\n",
        "\n| `until` | How far to wait. | \"settled\", \"held\" or \"sent\"; `\"settled\"` | `\"settled\"` |\n",
        "`within` is `\"5 s\"` when it is left out.",
        "\n| `spent_by` | What spends it first",
        "live: looked up when it is read |\n",
        "From [language/start-await](../scenarios/language/start-await.scenario.toml).",
    ] {
        assert_says(&written, &[part]);
    }
    let differs = committed
        .lines()
        .zip(written.lines())
        .find(|(old, new)| old != new);
    assert!(
        committed == written,
        "docs/scenarios.md is not what the steps say; write it anew:\n    \
         cargo run -- schema --docs docs/scenarios.md\nfirst difference: {differs:#?}"
    );

    let unmarked = sandbox.file("docs/other.md", "# No marks\n");
    let done = sandbox
        .swaprig(&["schema", "--docs", "docs/other.md"])
        .await;
    let done = done.code(2);
    assert_says(&done.stderr, &["has not both marks"]);
    assert_eq!(read(&unmarked), "# No marks\n");
}

/// A block of code of the guide, and the file that it is out of.
struct Snippet {
    file: Option<String>,
    language: String,
    code: String,
    line: usize,
}

/// The blocks of a page. `<!-- out of FILE -->` stands on the line above one that is out of a file.
fn snippets(page: &str) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    let mut above = "";
    let mut open: Option<Snippet> = None;
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => snippets.extend(open.take()),
            (Some(snippet), None) => snippet.code += &format!("{line}\n"),
            (None, Some(language)) => {
                let file = above.strip_prefix("<!-- out of ");
                let file = file.and_then(|file| file.strip_suffix(" -->"));
                open = Some(Snippet {
                    file: file.map(str::to_owned),
                    language: language.to_owned(),
                    code: String::new(),
                    line: index + 1,
                });
            }
            (None, None) => {}
        }
        above = line;
    }
    assert!(open.is_none(), "a block that does not end");
    snippets
}

/// Every snippet that is out of a file is in it, line by line, in one piece but for `…`. CI runs those files.
#[test]
fn the_snippets_of_the_guide_are_out_of_files_that_are_run() {
    let page = read(&root("docs/write-a-swap.md"));
    let mut count = 0;
    for snippet in snippets(&page) {
        let at = format!("docs/write-a-swap.md:{}", snippet.line);
        let Some(file) = &snippet.file else {
            let shown = matches!(snippet.language.as_str(), "sh" | "text" | "mermaid");
            assert!(shown, "{at}: out of which file?");
            continue;
        };
        count += 1;
        let text = read(&root(file));
        for piece in snippet.code.split("…\n") {
            let piece = piece.trim_end_matches([' ', '\n']);
            assert!(
                text.contains(piece),
                "{at}: {file} does not have these lines:\n{piece}"
            );
        }
    }
    assert!(count >= 6, "only {count} snippets");
}

/// Every `swaprig` command of the guide is one that there is, with files that there are.
#[tokio::test]
async fn the_commands_of_the_guide_can_be_typed() {
    let page = read(&root("docs/write-a-swap.md"));
    let all = snippets(&page);
    let commands = all.iter().filter(|snippet| snippet.language == "sh");
    let commands: Vec<&str> = commands.flat_map(|snippet| snippet.code.lines()).collect();
    let sandbox = Sandbox::new();
    copy_scenarios(&root("scenarios/write-a-swap"), &sandbox, "my-swap");
    let mut checked = 0;
    for command in commands {
        let words = command.split(" #").next().unwrap().split_whitespace();
        let words: Vec<&str> = words.collect();
        let ["swaprig", "run", files @ ..] = words.as_slice() else {
            continue;
        };
        let files: Vec<&str> = files
            .iter()
            .copied()
            .take_while(|word| !word.starts_with('-'))
            .filter(|file| file.starts_with("my-swap"))
            .collect();
        if files.is_empty() {
            continue;
        }
        checked += 1;
        let check = [&["check"], files.as_slice()].concat();
        sandbox.swaprig(&check).await.code(0);
    }
    assert!(checked >= 3, "only {checked} commands");
}

/// What the guide says of a copy in somebody's own directory, and of a shop that says of no coins that they are its own.
#[tokio::test]
async fn a_copy_of_the_swap_runs_and_needs_its_books() {
    let Some(sandbox) = sandbox().await else {
        return;
    };
    if support::settings().environment.on_path("python3").is_none() {
        eprintln!("SKIPPED: needs python3, which is not on PATH");
        return;
    }
    copy_scenarios(&root("scenarios/write-a-swap"), &sandbox, "my-swap");
    let claim = ["run", "my-swap/claim.scenario.toml"];
    let done = sandbox.swaprig(&claim).await.code(0);
    assert_says(&done.stdout, &["PASS my-swap/claim"]);

    let lie = read(&root("scenarios/write-a-swap/lie.scenario.toml"));
    let without = lie.replace(
        ", htlcs = { http = \"/swaps\", addresses = \"$.swaps[*].address\" }",
        "",
    );
    assert_ne!(lie, without);
    sandbox.file("my-swap/lie.scenario.toml", &without);
    let lie = ["run", "my-swap/lie.scenario.toml#hash"];
    let done = sandbox.swaprig(&lie).await.code(1);
    let said = "money vanished on Liquid: nobody owns 50_000 sat of lbtc; it is in";
    assert_says(&done.stdout, &[said]);
}
