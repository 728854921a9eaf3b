//! The scenario language against whole files: those that are shipped, those with a mistake, and noise.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use swaprig_scenarios::lang::{
    Action, AnyStep, Plan, PlannedStep, Problem, Registry, Source, check, load,
};
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
    // Those of swaps have steps of the command line's; its tests check them.
    let own = sources.iter().filter(|source| {
        !["ln-to-liquid/", "loop/", "write-a-swap/"]
            .iter()
            .any(|dir| source.id().starts_with(dir))
    });
    let own: Vec<&Source> = own.collect();
    assert!(own.len() >= 16);
    for source in own {
        if let Err(problems) = check(source, &registry()) {
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
    assert!(count >= 140, "only {count} mistakes");
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

#[test]
fn every_case_is_a_plan_of_its_own() {
    let text = r#"
title = "Mine"
world = { preset = "bitcoin" }
steps = [ { mine = "$blocks", within = "$within", times = "$rounds" } ]

[cases]
slow = { blocks = 3, within = "9 s", rounds = 1 }

[matrix]
blocks = { few = { blocks = 1, within = "1 s" }, many = { blocks = 20, within = "2 s" } }
rounds = [1, 2]
"#;
    let plans = all_of(&Source::new("test", "test.scenario.toml", text));
    let ids: Vec<&str> = plans.iter().map(Plan::id).collect();
    let expected = [
        "test#slow",
        "test#few-1",
        "test#few-2",
        "test#many-1",
        "test#many-2",
    ];
    assert_eq!(ids, expected);
    let last = &plans[4].steps[0];
    assert_eq!((last.times, last.within.unwrap().as_secs()), (2, 2));
    assert_eq!(plans[4].case.as_deref(), Some("many-2"));
    let expanded = plans[4].expanded();
    assert!(
        expanded.contains(r#"{ mine = 20, within = "2 s", times = 2 }"#),
        "{expanded}"
    );
}

#[test]
fn a_fragment_has_names_and_places_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join("scenarios").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    write(
        "lib/invoice.fragment.toml",
        "inputs = { of = \"party\", old = \"invoice\" }\noutputs = [\"inv\"]\nsteps = [\n  { expect = \"$old.status\", \
         is = \"paid\" },\n  { invoice = \"$of\", as = \"inv\" },\n]",
    );
    // The one beside the file is not taken while there is one below the root.
    write("here/lib/invoice.fragment.toml", "steps = []");
    let path = write(
        "here/x.scenario.toml",
        r#"
title = "Names"
world = { preset = "lightning" }
steps = [
  { invoice = "bob", as = "inv" },
  { together = [{ use = "lib/invoice", of = "alice", old = "$inv", as = "new" }] },
  { expect = "$new.inv.hash", is = "$new.inv.hash" },
]
"#,
    );
    let sources = load(&[path]).unwrap();
    let plan = all_of(&sources[0]).remove(0);
    let inner = plan.steps[1].inner()[0].inner();
    let places: Vec<&str> = inner.iter().map(|step| step.place.as_str()).collect();
    assert_eq!(places, ["2.1.1", "2.1.2"]);
    assert_eq!(inner[1].number, 2);
    assert_eq!(inner[1].bind.as_deref(), Some("new__inv"));
    assert_eq!(inner[0].names["old"].to_string(), "$inv");
    assert_eq!(plan.steps[2].names["new.inv"].to_string(), "$new__inv");
    assert!(
        inner[0]
            .source
            .path()
            .ends_with("scenarios/lib/invoice.fragment.toml")
    );
    let shown = inner[0].problem("is", "not yet").render_plain(WIDTH);
    assert!(shown.contains("invoice.fragment.toml:4:34"), "{shown}");
    assert!(
        shown.contains("used here") && shown.contains("x.scenario.toml:6:25"),
        "{shown}"
    );
}

/// What is left when everything is written out checks, does as many steps, and has nothing left to write out.
#[test]
fn an_expanded_plan_is_a_scenario() {
    fn count(steps: &[PlannedStep]) -> usize {
        let one = |step: &PlannedStep| match step.inner() {
            [] => 1,
            inner => count(inner),
        };
        steps.iter().map(one).sum()
    }
    for source in load(&[here("lightning"), here("language")]).unwrap() {
        for plan in all_of(&source) {
            let text = plan.expanded();
            let again = must_pass(&text);
            assert_eq!(again.expanded(), text, "{}", plan.id());
            assert_eq!(count(&again.steps), count(&plan.steps), "{text}");
            assert_eq!(
                (again.title, again.tags, again.world),
                (plan.title, plan.tags, plan.world)
            );
        }
    }
}

/// Parses and renders; a panic is the failure.
fn swallow(bytes: &[u8]) {
    swallow_source(&Source::from_bytes("noise", "noise.scenario.toml", bytes));
}

fn swallow_file(path: &Path) {
    swallow_source(&Source::from_bytes(
        "noise",
        path,
        &std::fs::read(path).unwrap(),
    ));
}

fn swallow_source(source: &Source) {
    match check(source, &registry()) {
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
    let sources = load(&[here("lightning"), here("language"), here("faults")]).unwrap();
    sources
        .iter()
        .map(|source| source.text().to_owned())
        .collect()
}

/// A scenario with stretches of it replaced by noise.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    mutations(shipped())
}

/// A fragment and what uses it.
const USED: &str = r#"
inputs  = { from = "party", to = { type = "party", default = "bob" }, old = "invoice", size = "msat" }
outputs = { first = "$inv", second = "$opened.channel" }
steps   = [
  { use = "inner", from = "$from", to = "$to", as = "opened" },
  { together = [{ invoice = "$to", amount = "$size", as = "inv" }, { expect = "$old.status", is = "paid" }] },
  { pay = "$inv", by = "$from", start = "p", as = "paid" },
  { on = { expect = "$inv.status", is = "held" }, mine = 1, times = 2 },
  { await = "p", within = "5 s" },
]
"#;
const INNER: &str = r#"
inputs  = { from = "party", to = "party" }
outputs = ["channel"]
steps   = [ { open_channel = "$to", by = "$from", size = "1 btc", as = "channel" } ]
"#;
const USER: &str = r#"
title = "Uses"
world = { preset = "lightning" }
steps = [
  { invoice = "bob", amount = "$size", as = "old" },
  { use = "used", from = "alice", old = "$old", size = "$size", as = "ab" },
  { expect = "$ab.second.state", is = "$state" },
  { steps = [{ pay = "$ab.first", by = "alice" }], times = 3, fails = "paid" },
]
[cases]
one = { size = "5 sat", state = "usable" }
[matrix]
size = { two = "6 sat" }
state = ["closed", "ready"]
"#;

/// Texts with stretches of them replaced by noise that TOML or the language could stumble over.
fn mutations(texts: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
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
            "[cases]",
            "[matrix]",
            "use = \"used\", ",
            "use = \"inner\", ",
            "together = ",
            "times = 2, ",
            "$from",
            "$ab.first",
            "true",
            "sat",
        ])
        .prop_map(str::to_owned),
        "[a-z$.\"{}= ]{0,8}",
    ];
    let cut = (any::<prop::sample::Index>(), 0..6_usize, noise);
    let cuts = prop::collection::vec(cut, 1..5);
    (prop::sample::select(texts), cuts).prop_map(|(text, cuts)| {
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
            "use",
            "together",
            "await",
            "cases",
            "matrix",
            "inputs",
            "outputs",
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
        "{ a = { b = 1 } }",
        "\"lib/channel\"",
        "{ expect = \"height\", is = 5 }",
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

    #[test]
    fn no_mutation_of_a_fragment_or_of_its_use_panics(
        texts in (mutations(vec![USER.to_owned()]), mutations(vec![USED.to_owned()]), mutations(vec![INNER.to_owned()])),
        which in 1..8_u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (user, used, inner) = texts;
        let path = dir.path().join("user.scenario.toml");
        for (bit, name, mutated, whole) in [
            (1, "user.scenario.toml", user, USER),
            (2, "used.fragment.toml", used, USED),
            (4, "inner.fragment.toml", inner, INNER),
        ] {
            let text = if which & bit == 0 { whole.into() } else { mutated };
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        swallow_file(&path);
    }
}

#[test]
fn the_fragments_that_are_mutated_are_valid() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("used.fragment.toml"), USED).unwrap();
    std::fs::write(dir.path().join("inner.fragment.toml"), INNER).unwrap();
    let source = Source::new("user", dir.path().join("user.scenario.toml"), USER);
    for plan in all_of(&source) {
        must_pass(&plan.expanded());
    }
}

#[test]
fn what_stands_in_braces_is_filled_and_renamed() {
    let text = r#"
title = "Braces"
world = { preset = "lightning" }
servers = { maker = { run = ["./maker", "{listen}"] } }
steps = [
  { invoice = "bob", as = "inv" },
  { steps = [ { http = "GET", url = "{maker.listen}/$path/{path}/{inv.hash}/{{x}}", take = { n = { number = "$.n" } }, as = "a" } ] },
  { expect = "$a.n", at_least = 1 },
  { run = ["./tool", "{a.n}", "{alice.grpc}"], env = { X = "{here}" } },
]
[cases]
one = { path = "orders" }
"#;
    let source = Source::new("test", "/somewhere/test.scenario.toml", text);
    let plan = all_of(&source).remove(0);
    let server = &plan.world.servers[0];
    assert_eq!(server.run[0].to_string(), "/somewhere/maker");
    let expanded = plan.expanded();
    assert!(
        expanded.contains("{maker.listen}/$path/orders/{inv.hash}/{{x}}"),
        "{expanded}"
    );
    let again = Source::new("test", "/somewhere/test.scenario.toml", expanded.as_str());
    assert_eq!(all_of(&again)[0].expanded(), expanded);
    let step = format!("{:?}", single(&plan.steps[3]));
    assert!(
        step.contains("/somewhere/tool") && step.contains("\"/somewhere\""),
        "{step}"
    );
}
