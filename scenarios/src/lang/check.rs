//! From a file to its plans, or to every problem in it. Nothing is started and nothing is asked.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable, DeValue};

use super::cases::{self, Case};
use super::expand;
use super::fragment::{Fragments, Library};
use super::frame::{File, Frame};
use super::inputs::{Origin, Values, input_types};
use super::known;
use super::plan::Plan;
use super::problem::{Problem, Report, Source, Span};
use super::scope::Scope;
use super::step::Registry;
use super::steps::Place;
use super::words::{Node, all_of, describe, is_name, nearest, quoted, to_name};
use super::world::{self, ReadWorld, WorldPlan};
use super::{servers, syntax};

/// The keys of a file: name, example, what it does.
pub(super) const FILE_KEYS: &[(&str, &str, &str)] = &[
    (
        "title",
        "\"Pay an invoice\"",
        "what the scenario shows, in one line",
    ),
    ("tags", "[\"smoke\"]", "words to select it by"),
    (
        "world",
        "{ preset = \"lightning\" }",
        "the daemons that it needs",
    ),
    (
        "needs",
        "[\"python3\"]",
        "programs that must be on PATH; where one is missing, the scenario is skipped and says so",
    ),
    (
        "servers",
        "{ maker = { run = [\"./maker\", \"--listen\", \"{listen}\"], ready = { tcp = true } } }",
        "servers of your own, started after the daemons and in their order",
    ),
    (
        "known_failure",
        "{ issue = \"#12\", match = \"did not settle\" }",
        "it fails in this way, which is no news; when it passes, that is",
    ),
    ("steps", "[ { mine = 6 } ]", "what is done, in order"),
    (
        "cases",
        "{ small = { amount = \"1_000 sat\" }, large = { amount = \"50_000 sat\" } }",
        "named rows; the steps run once for each, in a world of its own, and read its keys as `$amount`",
    ),
    (
        "matrix",
        "{ payer = [\"alice\", \"bob\"], amount = { small = \"1_000 sat\", large = \"50_000 sat\" } }",
        "named axes; every combination of their values is a case, called `alice-small`",
    ),
];

/// The keys that every file has.
pub(super) const REQUIRED: &[&str] = &["title", "world", "steps"];

/// Keys that people try, and what they are called here.
const OTHER_NAMES: &[(&str, &str)] =
    &[("name", "title"), ("scenario", "title"), ("labels", "tags")];

/// Checks a file and the fragments that it uses. On success there is a plan for each of its cases, or one for a file
/// without cases; otherwise every problem is there, from top to bottom.
pub fn check(source: &Source, registry: &Registry) -> Result<Vec<Plan>, Vec<Problem>> {
    let mut report = Report::new(source);
    let library = Library::load(source);
    let fragments = library.parse();
    let plans = syntax::parse(source, &mut report)
        .and_then(|table| read_file(table.get_ref(), registry, &fragments, &mut report));
    match plans {
        Some(plans) if report.is_empty() => Ok(plans),
        _ => {
            if report.is_empty() {
                // A plan is missing only when something was said; should that ever fail, say so and do not run it.
                report
                    .push(0..0, "the file could not be read")
                    .help("please report this");
            }
            Err(report.into_problems())
        }
    }
}

/// A key of the file that landed in a table before it.
struct Misplaced<'n, 'a> {
    key: &'static str,
    value: &'n Node<'a>,
}

fn read_file<'a>(
    table: &'a DeTable<'a>,
    registry: &'a Registry,
    fragments: &'a Fragments<'a>,
    report: &mut Report,
) -> Option<Vec<Plan>> {
    if report.source().text().trim().is_empty() {
        empty_file(report);
        return None;
    }
    let misplaced = find_misplaced(table, report);
    let misspelt = unknown_keys(table, report);
    let lookup = |name: &str| find_key(table, &misplaced, name);
    let required = |key: &str, report: &mut Report| {
        debug_assert!(REQUIRED.contains(&key));
        let node = lookup(key);
        // That a misspelt key is missing has been said.
        if node.is_none() && !misspelt.contains(&key) {
            missing(key, report);
        }
        node
    };
    let title = required("title", report).and_then(|node| title(node, report));
    let tags = lookup("tags").map_or(Some(Vec::new()), |node| tags(node, report));
    let known =
        lookup("known_failure").map_or(Some(None), |node| known::read(node, report).map(Some));
    let strays: Vec<&str> = misplaced.iter().map(|stray| stray.key).collect();
    let ends = lookup("servers").map_or_else(Vec::new, servers::ends);
    let mut read = required("world", report)
        .map(|node| world::read(node, &strays, &ends, report))
        .unwrap_or(ReadWorld {
            lightning: None,
            chains: None,
            proxies: None,
            servers: None,
            books: None,
            deadline: world::DEFAULT_DEADLINE,
        });
    let needs = lookup("needs").map_or(Some(Vec::new()), |node| servers::needs(node, report));
    let servers = lookup("servers").map_or(Some(Vec::new()), |node| {
        let parties = read.lightning.as_deref();
        servers::read(node, parties, read.chains.as_ref(), report)
    });
    (read.servers, read.books) = servers.map(|all| all.into_iter().unzip()).unzip();
    let items = required("steps", report)
        .and_then(|node| step_items(node, "steps", "a scenario without steps", report));
    let cases = cases::read(lookup("cases"), lookup("matrix"), &strays, report);
    let file = File {
        registry,
        fragments,
        types: input_types(registry),
        strays: &strays,
        servers: read.servers.clone().unwrap_or_default().into(),
        deadline: read.deadline,
    };
    // Nothing can be said of steps whose inputs are not known.
    let plans = items.zip(cases.as_ref());
    let plans = plans.and_then(|(items, cases)| file.plans(items, cases, &read, report));
    let header =
        header(&["title", "tags", "needs", "world", "servers"].map(|key| (key, lookup(key))));
    let (title, tags, needs, known) = (title?, tags?, needs?, known?);
    let chains = read.chains?;
    let world = WorldPlan {
        lightning: read.lightning?,
        liquid: chains.liquid,
        index: chains.index,
        proxies: read.proxies?,
        servers: read.servers?,
        books: read.books?,
        deadline: read.deadline,
    };
    let source = report.source().clone();
    let plan = |(case, steps): CaseSteps| Plan {
        id: match &case {
            Some(case) => format!("{}#{case}", source.id()),
            None => source.id().to_owned(),
        },
        title: title.clone(),
        tags: tags.clone(),
        needs: needs.clone(),
        world: world.clone(),
        source: source.clone(),
        known_failure: known.clone(),
        header: header.clone(),
        steps,
        case,
    };
    Some(plans?.into_iter().map(plan).collect())
}

/// The value of a key of the file, be it in a table by mistake.
fn find_key<'n, 'a>(
    table: &'n DeTable<'a>,
    misplaced: &[Misplaced<'n, 'a>],
    key: &str,
) -> Option<&'n Node<'a>> {
    let stray = || misplaced.iter().find(|stray| stray.key == key);
    table.get(key).or_else(|| stray().map(|stray| stray.value))
}

fn empty_file(report: &mut Report) {
    let needed = |(key, ..): &&(&str, &str, &str)| REQUIRED.contains(key) || *key == "tags";
    let lines = FILE_KEYS
        .iter()
        .filter(needed)
        .map(|(key, example, _)| format!("{key} = {example}"));
    let help = format!("write {}", lines.collect::<Vec<_>>().join("\n"));
    report.push(0..0, "the file is empty").help(help);
}

/// The steps of a plan, and the case that they are.
type CaseSteps = (Option<String>, Vec<super::plan::PlannedStep>);

impl<'a> File<'a> {
    /// The steps of every case; of a file without cases once. `None` when there is a problem in one of them.
    fn plans(
        &self,
        items: &DeArray<'a>,
        cases: &[Case<'a>],
        world: &ReadWorld,
        report: &mut Report,
    ) -> Option<Vec<CaseSteps>> {
        let before = report.count();
        let nothing = [None];
        let cases_or_one: Vec<Option<&Case<'a>>> = match cases {
            [] => nothing.to_vec(),
            cases => cases.iter().map(Some).collect(),
        };
        let mut plans = Vec::new();
        let mut used = std::collections::BTreeSet::new();
        for case in cases_or_one {
            let mut values = Values::default();
            for (input, node) in case.iter().flat_map(|case| &case.inputs) {
                values.insert(input, node.clone(), Origin::Here(node.span()));
            }
            let source = report.source().clone();
            let names = self.names(&source, items, "", &mut Vec::new());
            let frame = Frame {
                source,
                scope: Scope {
                    parties: world.lightning.clone(),
                    chains: world.chains.clone(),
                    proxies: world.proxies.clone(),
                    servers: world.server_names(),
                    specs: self.servers.clone(),
                    names: names.names,
                    inputs: values.names(),
                },
                values,
                targets: Default::default(),
                prefix: String::new(),
                prefixes: names.prefixes,
                used: Default::default(),
                chain: Vec::new(),
                started: Default::default(),
            };
            let frame = frame.with_targets();
            let place = Place {
                number: None,
                prefix: "",
                together: false,
            };
            let steps = self.read(items, &frame, place, report);
            used.extend(frame.values.used());
            plans.extend(steps.map(|steps| (case.map(|case| case.name.clone()), steps)));
        }
        if report.count() > before {
            return None;
        }
        unused(cases, &used, report);
        (report.count() == before).then_some(plans)
    }
}

/// An input that no step reads is a mistake in its name, or too much.
fn unused(cases: &[Case<'_>], used: &std::collections::BTreeSet<String>, report: &mut Report) {
    let mut said = std::collections::BTreeSet::new();
    for (name, node) in cases.iter().flat_map(|case| &case.inputs) {
        if used.contains(name) || !said.insert(name) {
            continue;
        }
        report
            .push(node.span(), format!("no step reads the input `{name}`"))
            .label("given here")
            .help(format!("write \"${name}\" where a step is to have this value, or leave `{name}` out of every case"));
    }
}

/// The keys of the file as an expanded plan has them.
fn header(keys: &[(&str, Option<&Node<'_>>)]) -> String {
    let line = |(key, node): &(&str, Option<&Node<'_>>)| {
        let value = expand::value_text((*node)?.get_ref(), &|reference| reference);
        Some(format!("{key} = {value}\n"))
    };
    keys.iter().filter_map(line).collect()
}

fn keys() -> impl Iterator<Item = &'static str> {
    FILE_KEYS.iter().map(|(key, ..)| *key)
}

fn missing(key: &str, report: &mut Report) {
    let example = FILE_KEYS
        .iter()
        .find(|(name, ..)| *name == key)
        .map_or("", |known| known.1);
    let first_line = report.source().text().lines().next().map_or(0, str::len);
    report
        .push(0..first_line, format!("the scenario has no `{key}`"))
        .label("in this file")
        .help(format!("add {key} = {example} before the first [table]"));
}

/// Says which keys are unknown, and gives back what they most likely stand for.
fn unknown_keys(table: &DeTable<'_>, report: &mut Report) -> Vec<&'static str> {
    let mut misspelt = Vec::new();
    for (key, _) in table {
        let name: &str = key.get_ref();
        if keys().any(|known| known == name) {
            continue;
        }
        let other = OTHER_NAMES
            .iter()
            .find(|(other, _)| *other == name)
            .map(|(_, known)| *known);
        let meant = other
            .or_else(|| nearest(name, keys()))
            .filter(|key| !table.contains_key(*key));
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("a scenario has {}", all_of(keys())),
        };
        let title = format!("unknown key `{name}`");
        report.push(key.span(), title).label("unknown").help(help);
        misspelt.extend(meant);
    }
    misspelt
}

/// A key after a `[table]` header belongs to that table, which TOML cannot know to be a mistake.
fn find_misplaced<'n, 'a>(table: &'n DeTable<'a>, report: &mut Report) -> Vec<Misplaced<'n, 'a>> {
    let mut found: Vec<Misplaced<'n, 'a>> = Vec::new();
    for (owner, value) in table {
        let (inner, header, number) = match value.get_ref() {
            DeValue::Table(inner) => (inner, format!("[{}]", owner.get_ref()), None),
            DeValue::Array(items) => match items.iter().next_back() {
                Some(last) => match last.get_ref() {
                    DeValue::Table(inner) => (
                        inner,
                        format!("[[{}]]", owner.get_ref()),
                        Some((last, items.len())),
                    ),
                    _ => continue,
                },
                None => continue,
            },
            _ => continue,
        };
        let place = number.map_or(value.span(), |(last, _)| last.span());
        let text = report
            .source()
            .text()
            .get(place.start..)
            .unwrap_or_default();
        let inline = text.starts_with('{');
        for (key, value) in inner {
            let Some(name) = keys().find(|known| *known == key.get_ref().as_ref()) else {
                continue;
            };
            if table.contains_key(name) || found.iter().any(|stray| stray.key == name) {
                continue;
            }
            let owner_name = match number {
                Some((_, count)) => format!("step {count}"),
                None if inline => format!("`{}`", owner.get_ref()),
                None => header.clone(),
            };
            let problem = report.push(key.span(), format!("`{name}` belongs to {owner_name} here"));
            if inline {
                problem.label("inside the braces").help(format!(
                    "close the braces before `{name}` and write it on a line of its own"
                ));
            } else {
                let instead = match number {
                    Some(_) => "steps = [ { … }, { … } ]".to_owned(),
                    None => format!("{} = {{ … }}", owner.get_ref()),
                };
                problem.label(format!("because it comes after the table header {header}"));
                problem.also(place.clone(), "the header");
                problem.help(format!("move `{name}` above {header}, or write {instead}"));
            }
            found.push(Misplaced { key: name, value });
        }
    }
    found
}

fn title(node: &Node<'_>, report: &mut Report) -> Option<String> {
    const HELP: &str = "write one line that says what the scenario shows";
    let DeValue::String(text) = node.get_ref() else {
        let title = format!("expected a text, found {}", describe(node));
        report
            .push(node.span(), title)
            .label("the value of `title`")
            .help(HELP);
        return None;
    };
    if text.trim().is_empty() || text.contains(['\n', '\r']) {
        let title = if text.trim().is_empty() {
            "an empty title"
        } else {
            "a title of several lines"
        };
        report
            .push(node.span(), title)
            .label("the value of `title`")
            .help(HELP);
        return None;
    }
    Some(text.trim().to_owned())
}

fn tags(node: &Node<'_>, report: &mut Report) -> Option<Vec<String>> {
    let DeValue::Array(items) = node.get_ref() else {
        let help = match node.get_ref() {
            DeValue::String(text) => format!("write tags = [{}]", quoted(text)),
            _ => "write tags = [\"smoke\"]".to_owned(),
        };
        let title = format!("expected an array of words, found {}", describe(node));
        report
            .push(node.span(), title)
            .label("the value of `tags`")
            .help(help);
        return None;
    };
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    let mut tags = Vec::new();
    let mut sound = true;
    for item in items {
        let word = match item.get_ref() {
            DeValue::String(word) if is_name(word, '-') => word.to_string(),
            DeValue::String(word) => {
                sound = false;
                let example = to_name(word, '-').unwrap_or_else(|| "smoke".to_owned());
                report
                    .push(item.span(), format!("{} is not a tag", quoted(word)))
                    .label("a lowercase letter, then lowercase letters, digits and `-`")
                    .help(format!("write \"{example}\""));
                continue;
            }
            _ => {
                sound = false;
                let title = format!("expected a word, found {}", describe(item));
                report
                    .push(item.span(), title)
                    .label("in `tags`")
                    .help("write tags = [\"smoke\"]");
                continue;
            }
        };
        if let Some(first) = seen.insert(word.clone(), item.span()) {
            sound = false;
            report
                .push(item.span(), format!("the tag \"{word}\" is there twice"))
                .label("the second")
                .also(first, "the first")
                .help("keep one of the two");
        }
        tags.push(word);
    }
    sound.then_some(tags)
}

/// The steps of the list that is the value of `key`; `empty` is what a list without any is called.
pub(super) fn step_items<'n, 'a>(
    node: &'n Node<'a>,
    key: &str,
    empty: &str,
    report: &mut Report,
) -> Option<&'n DeArray<'a>> {
    let help = format!("write {key} = [ {{ mine = 6 }} ], one table for every step");
    let DeValue::Array(items) = node.get_ref() else {
        let title = format!("expected an array of steps, found {}", describe(node));
        report
            .push(node.span(), title)
            .label(format!("the value of `{key}`"))
            .help(help);
        return None;
    };
    if items.is_empty() {
        report.push(node.span(), empty).label("empty").help(help);
        return None;
    }
    Some(items)
}
