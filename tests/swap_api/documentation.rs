//! What is written of the swap says all that a reader comes for, and nothing that is not there any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use swaprig::config::{Sale, Settings};

const PROTOCOL: &str = "docs/swap/ln-liquid-swap.mdx";
const LOOPS: &str = "docs/swap/loop.mdx";
const OPERATING: &str = "docs/swap/operating.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    let path = root().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Headings of all levels, without those of other languages' comments in blocks of code.
fn headings(text: &str) -> BTreeSet<&str> {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        !in_code
    });
    let headings = lines.filter_map(|line| {
        line.trim_start_matches('#')
            .strip_prefix(' ')
            .filter(|_| line.starts_with('#'))
    });
    headings.collect()
}

#[track_caller]
fn assert_headings(name: &str, wanted: &[&str]) {
    let text = read(name);
    let found = headings(&text);
    for heading in wanted {
        assert!(
            found.contains(heading),
            "{name} has no heading `{heading}`: {found:?}"
        );
    }
}

#[test]
fn the_protocol_page_has_what_a_buyer_needs() {
    assert_headings(
        PROTOCOL,
        &[
            "The protocol",
            "Terms and units",
            "What a status means",
            "The buyer's checklist",
            "Retries with `request_id`",
            "What blocks, and for how long",
            "Recommended confirmations",
            "Timelocks and the two clocks",
            "Assumptions",
            "What the seed recovers, and what it does not",
        ],
    );
    let text = read(PROTOCOL);
    for needed in [
        "sequenceDiagram",
        "A closed network",
        "One instance",
        "Explicit outputs",
        "Explicit inventory",
    ] {
        assert!(text.contains(needed), "{PROTOCOL} does not say `{needed}`");
    }
}

#[test]
fn the_loops_page_has_what_a_client_needs() {
    assert_headings(
        LOOPS,
        &[
            "The three modes",
            "The protocol",
            "The HTLC",
            "Amounts and fees",
            "Timelocks",
            "Signing together",
            "When one of them disappears",
            "What the states mean",
            "A loop by hand",
            "Retries",
            "Limits",
            "The client",
            "Assumptions",
        ],
    );
    let text = read(LOOPS);
    for needed in [
        "sequenceDiagram",
        "claim_deadline",
        "A closed network",
        "155 vB",
        "138 vB",
        "111 vB",
    ] {
        assert!(text.contains(needed), "{LOOPS} does not say `{needed}`");
    }
}

#[test]
fn every_route_of_loops_is_listed_and_no_other() {
    // Where the router and the OpenAPI document are made from; a route of both directions is written with `{word}`.
    let document = swaprig::api::rest::document();
    let mut served = BTreeSet::new();
    for (path, item) in &document.paths.paths {
        let methods = [("GET", &item.get), ("POST", &item.post)];
        let methods = methods.iter().filter(|(_, operation)| operation.is_some());
        served.extend(methods.map(|(method, _)| format!("{method} {path}")));
    }
    assert!(served.len() > 10, "{served:?}");
    assert_eq!(first_column(&read(LOOPS), "Every request"), served);
}

/// The words in backticks of a text that are made of small letters and `_` alone.
fn words(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect()
}

#[test]
fn every_state_phase_and_reason_is_explained() {
    let page = read(LOOPS);
    let (_, rest) = page
        .split_once("## What the states mean")
        .expect("the heading is there");
    let told = words(rest.split("\n## ").next().unwrap_or_default());
    let view = read("src/swap/view.rs");
    let (_, phases) = view.split_once("pub fn word(").expect("phases have words");
    let phases = phases.split("\n    }\n").next().unwrap_or_default();
    let engine = read("src/api/rest/engine.rs");
    let (_, reasons) = engine
        .split_once("fn reason(")
        .expect("failures have reasons");
    let reasons = reasons.split("\n}").next().unwrap_or_default();
    let both = [phases, reasons].into_iter();
    let mut all: Vec<&str> = both
        .flat_map(|text| text.split('"').skip(1).step_by(2))
        .collect();
    all.extend(swaprig_proto::loops::State::ALL.map(swaprig_proto::loops::State::word));
    assert!(all.len() > 20, "{all:?}");
    for word in all {
        assert!(
            told.contains(word),
            "{LOOPS} does not explain {word}: {told:?}"
        );
    }
}

#[test]
fn the_operators_page_has_what_an_operator_needs() {
    assert_headings(
        OPERATING,
        &[
            "Configuration",
            "The seed file",
            "Deposit",
            "Split",
            "Pause and resume",
            "Force refund",
            "Metrics and alarms",
            "Backup",
            "Recovery",
            "Upgrade",
            "What to watch",
        ],
    );
}

/// The names in the first column of the tables below a heading, up to the next heading of its level.
fn first_column(text: &str, heading: &str) -> BTreeSet<String> {
    let (_, rest) = text
        .split_once(&format!("\n## {heading}\n"))
        .expect("the heading is there");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    names.map(str::to_owned).collect()
}

/// The keys of the configuration, those of a sale among them.
fn keys() -> BTreeSet<String> {
    let sale: Sale = format!("{}=1", "00".repeat(32)).parse().unwrap();
    let keys = |value: Value| match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, _)| key)
            .collect::<BTreeSet<_>>(),
        other => panic!("{other} is no object"),
    };
    let mut all = keys(serde_json::to_value(Settings::default()).unwrap());
    all.extend(keys(serde_json::to_value(sale).unwrap()));
    // Explained with `sell`.
    all.remove("asset");
    all
}

#[test]
fn every_key_of_the_configuration_is_explained_and_no_other() {
    assert_eq!(first_column(&read(OPERATING), "Configuration"), keys());
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Names of metrics that the sources count, by the macros that do.
fn metrics() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in rust_files(&root().join("src")) {
        // A call may be broken over lines.
        let text: String = std::fs::read_to_string(&path)
            .unwrap()
            .split_whitespace()
            .collect();
        for kind in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
            let calls = text.split(kind).skip(1);
            let names_of = calls.filter_map(|rest| rest.split('"').next());
            names.extend(names_of.map(str::to_owned));
        }
    }
    names
}

/// `PaidUnclaimed` → `paid_unclaimed`, for each alarm that there is.
fn alarms() -> BTreeSet<String> {
    let source = read("src/swap/state.rs");
    let (_, rest) = source
        .split_once("pub enum Alarm {")
        .expect("the alarms are an enum");
    let body = rest.split("\n}").next().unwrap_or_default();
    let variants = body
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let snake = variants.map(|variant| {
        let mut name = String::new();
        for c in variant.trim_end_matches(',').chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    });
    snake.collect()
}

#[test]
fn every_metric_and_alarm_is_explained_and_no_other() {
    let told = first_column(&read(OPERATING), "Metrics and alarms");
    let (told_metrics, told_alarms): (BTreeSet<String>, BTreeSet<String>) = told
        .into_iter()
        .partition(|name| name.starts_with("swaprig_"));
    let counted = metrics();
    assert!(counted.len() > 5, "{counted:?}");
    assert_eq!(told_metrics, counted);
    // `alarm` heads the column.
    let told_alarms: BTreeSet<String> = told_alarms
        .into_iter()
        .filter(|name| name != "alarm")
        .collect();
    assert_eq!(told_alarms, alarms());
    // As they are counted.
    let counts = read("src/watch/alarm.rs");
    for alarm in alarms() {
        assert!(
            counts.contains(&format!("\"{alarm}\"")),
            "{alarm} is counted under another name"
        );
    }
}

/// Names of status codes in a text: words in capitals that gRPC knows.
fn codes(text: &str) -> BTreeSet<&str> {
    const KNOWN: [&str; 16] = [
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words.filter(|word| KNOWN.contains(word)).collect()
}

#[test]
fn every_status_of_create_swap_has_its_answer_in_the_table_of_retries() {
    let proto = read("proto/proto/ln_liquid_swap/v1/swap.proto");
    let (before, _) = proto
        .split_once("rpc CreateSwap(")
        .expect("the method is there");
    // What every method may return stands above the service; what this one may, above it.
    let (_, comments) = before
        .split_once("// What a buyer calls.")
        .expect("the service is there");
    let comments: Vec<&str> = comments.split("rpc GetOffer(").collect();
    let documented: BTreeSet<&str> = comments.iter().flat_map(|text| codes(text)).collect();
    let page = read(PROTOCOL);
    let (_, rest) = page
        .split_once("## Retries with `request_id`")
        .expect("the heading is there");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let answered = codes(section);
    assert!(documented.len() >= 9, "{documented:?}");
    for code in documented {
        assert!(
            answered.contains(code),
            "what to do after {code}? {answered:?}"
        );
    }
}

/// Targets of links in Markdown, without those of the web.
fn links(text: &str) -> Vec<&str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}

/// The name under which a heading is linked, as on the common forges.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| {
        if c == ' ' {
            '-'
        } else {
            c.to_ascii_lowercase()
        }
    })
    .collect()
}

#[test]
fn links_lead_somewhere_and_the_pages_are_linked() {
    for name in [
        PROTOCOL,
        LOOPS,
        OPERATING,
        "README.md",
        "docs/architecture.md",
    ] {
        let text = read(name);
        let dir = Path::new(name).parent().expect("a file is in a directory");
        for link in links(&text) {
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match file.is_empty() {
                true => PathBuf::from(name),
                false => dir.join(file),
            };
            assert!(root().join(&target).exists(), "{name} links to {link}");
            if !fragment.is_empty() {
                let text = read(&target.to_string_lossy());
                let anchors: Vec<String> = headings(&text).into_iter().map(anchor).collect();
                assert!(
                    anchors.iter().any(|anchor| anchor == fragment),
                    "{name} links to {link}: {anchors:?}"
                );
            }
        }
    }
    for (from, to) in [
        ("README.md", "docs/swap/ln-liquid-swap.mdx"),
        ("README.md", "docs/swap/operating.md"),
        ("docs/architecture.md", "swap/ln-liquid-swap.mdx"),
        ("docs/architecture.md", "swap/operating.md"),
        ("docs/architecture.md", "swap/loop.mdx"),
        (PROTOCOL, "loop.mdx"),
        (OPERATING, "loop.mdx"),
    ] {
        assert!(
            links(&read(from)).contains(&to),
            "{from} does not link to {to}"
        );
    }
}
