//! The scenario language against whole files: those that are shipped, those with a mistake, and noise.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use swaprig_scenarios::lang::{Action, AnyStep, Plan, PlannedStep, Problem, Registry, Source, check, load};
use swaprig_scenarios::steps::core_steps;

/// How wide golden messages are.
const WIDTH: usize = 110;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn registry() -> Registry {
    core_steps().expect("distinct step names")
}

fn render(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| problem.render_plain(WIDTH))
        .collect::<Vec<_>>()
        .join("\n")
}

fn must_pass(text: &str) -> Plan {
    let source = Source::new("test", "test.scenario.toml", text);
    let mut plans = all_of(&source);
    assert_eq!(plans.len(), 1);
    plans.remove(0)
}

/// The step of the registry that it is.
fn single(step: &PlannedStep) -> &dyn AnyStep {
    match &step.action {
        Action::Step(step) => step.as_ref(),
        other => panic!("{other:?}"),
    }
}

/// The plans of a file that has no problem.
fn all_of(source: &Source) -> Vec<Plan> {
    check(source, &registry()).unwrap_or_else(|problems| panic!("{}", render(&problems)))
}

#[test]
fn every_shipped_scenario_is_valid() {
    let sources = load(&[here(".")]).unwrap();
    assert!(sources.len() >= 16);
    for source in sources {
        if let Err(problems) = check(&source, &registry()) {
            panic!("{}", render(&problems));
        }
    }
}

/// Every file in `tests/invalid` has one mistake, or one kind of mistake, and beside it the whole message that it gets.
/// `UPDATE_GOLDEN=1 cargo test -p swaprig-scenarios` writes the messages anew; read them as a stranger would.
#[test]
fn every_mistake_gets_its_message() {
    let update = option_env_now("UPDATE_GOLDEN");
    // Where the fragments of the mistakes are; every other path of these tests is absolute.
    std::env::set_current_dir(here("tests/invalid")).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut files: Vec<PathBuf> = std::fs::read_dir(here("tests/invalid"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    for path in files {
        count += 1;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = Source::from_bytes("test", &name, &std::fs::read(&path).unwrap());
        let message = match check(&source, &registry()) {
            Ok(_) => panic!("{name} is valid"),
            Err(problems) => render(&problems),
        };
        let golden = path.with_extension("err");
        if update {
            std::fs::write(&golden, &message).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != message {
            wrong.push(format!("{name}:\n{message}"));
        }
    }
    assert!(count >= 100, "only {count} mistakes");
    assert!(
        wrong.is_empty(),
        "messages differ from their golden file:\n{}",
        wrong.join("\n")
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the switch that rewrites golden files"
)]
fn option_env_now(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

#[test]
fn a_plan_has_what_the_file_says() {
    let plan = must_pass(
        r#"
title = "Pay"
tags  = ["smoke"]
world = { lightning = ["carol", "dave-2"], deadline = "90 s" }
steps = [
  { open_channel = "dave-2", by = "carol", size = "0.01 btc", as = "channel" },
  { invoice = "dave-2", description = "$$5", as = "inv" },
  { pay = "$inv", by = "carol", amount = "$channel.size", within = "2 s", fails = "too much" },
  { expect = "$channel.outbound", at_most = "$channel.size" },
]
"#,
    );
    assert_eq!(
        (plan.id(), plan.title.as_str(), plan.tags.len()),
        ("test", "Pay", 1)
    );
    assert_eq!(plan.world.lightning, ["carol", "dave-2"]);
    assert_eq!(plan.world.deadline.as_secs(), 90);
    let names: Vec<_> = plan.steps.iter().map(PlannedStep::name).collect();
    assert_eq!(names, ["open_channel", "invoice", "pay", "expect"]);
    assert_eq!(plan.steps[0].bind.as_deref(), Some("channel"));
    let invoice = single(&plan.steps[1]).as_any();
    let invoice = invoice
        .downcast_ref::<swaprig_scenarios::steps::MakeInvoice>()
        .unwrap();
    assert_eq!(invoice.description.as_deref(), Some("$5"));
    let pay = &plan.steps[2];
    assert_eq!(pay.fails.as_deref(), Some("too much"));
    assert_eq!(pay.within.unwrap().as_secs(), 2);
    let references: Vec<_> = single(pay)
        .references()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(references, ["$inv", "$channel.size"]);
    assert!(plan.step_text(pay).starts_with("{ pay ="));
    assert_eq!(&plan.source.text()[pay.value_span("by")], "\"carol\"");
    assert_eq!(
        plan.steps[3].within.unwrap().as_secs(),
        5,
        "what `expect` says itself"
    );
    assert_eq!(plan.steps[0].within, None);
}

#[test]
fn an_array_of_tables_is_the_same_as_braces() {
    let plan = must_pass(
        "title = \"Mine\"\n[[steps]]\nmine = 1\n[[steps]]\nmine = 2\n[world]\npreset = \"bitcoin\"\n",
    );
    assert_eq!(plan.steps.len(), 2);
    assert!(plan.world.lightning.is_empty());
}

/// Parses and renders; a panic is the failure.
fn swallow(bytes: &[u8]) {
    let source = Source::from_bytes("noise", "noise.scenario.toml", bytes);
    match check(&source, &registry()) {
        Ok(plans) => assert!(plans.iter().all(|plan| !plan.steps.is_empty())),
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                let (line, column) = problem.position();
                assert!(line > 0 && column > 0);
                assert!(!problem.render_plain(WIDTH).is_empty());
            }
        }
    }
}

fn shipped() -> Vec<String> {
    let sources = load(&[here("lightning"), here("language")]).unwrap();
    sources
        .iter()
        .map(|source| source.text().to_owned())
        .collect()
}

/// A scenario with stretches of it replaced by noise that TOML or the language could stumble over.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop_oneof![
        Just(String::new()),
        prop::sample::select(vec![
            "\"",
            "'",
            "{",
            "}",
            "[",
            "]",
            ",",
            "=",
            "$",
            "$$",
            ".",
            "\n",
            "\r",
            "\t",
            "\0",
            "#",
            "é",
            "🜚",
            "-1",
            "99999999999999999999",
            "0x",
            "nan",
            "1979-05-27",
            "\"\"\"",
            "[[steps]]",
            "[world]",
            "true",
            "sat",
        ])
        .prop_map(str::to_owned),
        "[a-z$.\"{}= ]{0,8}",
    ];
    let cut = (any::<prop::sample::Index>(), 0..6_usize, noise);
    let cuts = prop::collection::vec(cut, 1..5);
    (prop::sample::select(shipped()), cuts).prop_map(|(text, cuts)| {
        let mut bytes = text.into_bytes();
        for (index, len, noise) in cuts {
            let start = index.index(bytes.len() + 1);
            let end = (start + len).min(bytes.len());
            bytes.splice(start..end, noise.into_bytes());
        }
        bytes
    })
}

/// Values of every kind at every key of every step.
fn shuffled() -> impl Strategy<Value = String> {
    let keys: Vec<&'static str> = registry()
        .entries()
        .flat_map(|entry| entry.keys().collect::<Vec<_>>())
        .chain([
            "title",
            "tags",
            "world",
            "steps",
            "preset",
            "lightning",
            "deadline",
        ])
        .collect();
    let value = prop::sample::select(vec![
        "\"alice\"",
        "\"$a\"",
        "\"$a.hash\"",
        "\"$b.state\"",
        "\"a\"",
        "\"5 sat\"",
        "\"5 s\"",
        "5",
        "-5",
        "0.5",
        "true",
        "[]",
        "{}",
        "[\"alice\"]",
        "\"\"",
        "\"$\"",
        "1979-05-27",
        "\"height\"",
        "{ mine = 1 }",
        "[{ mine = 1 }]",
        "{ preset = \"lightning\" }",
    ]);
    let pair =
        (prop::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}"));
    let step = prop::collection::vec(pair.clone(), 0..5)
        .prop_map(|keys| format!("{{ {} }}", keys.join(", ")));
    (
        prop::collection::vec(step, 0..5),
        prop::collection::vec(pair, 0..3),
    )
        .prop_map(|(steps, rest)| {
            format!(
                "title = \"x\"\nworld = {{ preset = \"lightning\" }}\nsteps = [{}]\n{}\n",
                steps.join(",\n"),
                rest.join("\n")
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        swallow(&bytes);
    }

    #[test]
    fn no_text_panics(text in "\\PC*") {
        swallow(text.as_bytes());
    }

    #[test]
    fn no_mutation_of_a_scenario_panics(bytes in mutated()) {
        swallow(&bytes);
    }

    #[test]
    fn no_shuffle_of_keys_and_values_panics(text in shuffled()) {
        swallow(text.as_bytes());
    }
}
