//! From a file to a plan, or to every problem in it. Nothing is started and nothing is asked.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable, DeValue};

use super::cx::{Name, Scope};
use super::plan::Plan;
use super::problem::{Problem, Report, Source, Span};
use super::step::Registry;
use super::words::{Node, all_of, describe, is_name, nearest, quoted, to_name};
use super::world::{self, ReadWorld, WorldPlan};
use super::{steps, syntax};

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
    ("steps", "[ { mine = 6 } ]", "what is done, in order"),
];

/// Keys that people try, and what they are called here.
const OTHER_NAMES: &[(&str, &str)] =
    &[("name", "title"), ("scenario", "title"), ("labels", "tags")];

/// Checks a file. On success it is ready to run; otherwise every problem is there, from top to bottom.
pub fn check(source: &Source, registry: &Registry) -> Result<Plan, Vec<Problem>> {
    let mut report = Report::new(source);
    let plan = syntax::parse(source, &mut report)
        .and_then(|table| read_file(table.get_ref(), registry, &mut report));
    match plan {
        Some(plan) if report.is_empty() => Ok(plan),
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
struct Misplaced<'a> {
    key: &'static str,
    value: &'a Node<'a>,
}

fn read_file(table: &DeTable<'_>, registry: &Registry, report: &mut Report) -> Option<Plan> {
    if report.source().text().trim().is_empty() {
        let lines = FILE_KEYS
            .iter()
            .map(|(key, example, _)| format!("{key} = {example}"));
        let help = format!("write {}", lines.collect::<Vec<_>>().join("\n"));
        report.push(0..0, "the file is empty").help(help);
        return None;
    }
    let misplaced = find_misplaced(table, report);
    let misspelt = unknown_keys(table, report);
    let lookup = |name: &str| {
        let stray = || {
            misplaced
                .iter()
                .find(|stray| stray.key == name)
                .map(|stray| stray.value)
        };
        table.get(name).or_else(stray)
    };
    let required = |key: &str, report: &mut Report| {
        let node = lookup(key);
        // That a misspelt key is missing has been said.
        if node.is_none() && !misspelt.contains(&key) {
            missing(key, report);
        }
        node
    };
    let title = required("title", report).and_then(|node| title(node, report));
    let tags = lookup("tags").map_or(Some(Vec::new()), |node| tags(node, report));
    let strays: Vec<&str> = misplaced.iter().map(|stray| stray.key).collect();
    let read = required("world", report)
        .map(|node| world::read(node, &strays, report))
        .unwrap_or(ReadWorld {
            lightning: None,
            proxies: None,
            deadline: world::DEFAULT_DEADLINE,
        });
    let steps_node = required("steps", report);
    let items = steps_node.and_then(|node| step_items(node, report));
    let scope = Scope {
        names: names(items, registry),
        parties: read.lightning,
        proxies: read.proxies,
    };
    let steps = items.and_then(|items| {
        let file = steps::File {
            registry,
            scope: &scope,
            strays: &strays,
            deadline: read.deadline,
        };
        file.read(items, report)
    });
    Some(Plan {
        title: title?,
        tags: tags?,
        world: WorldPlan {
            lightning: scope.parties?,
            proxies: scope.proxies?,
            deadline: read.deadline,
        },
        steps: steps?,
        source: report.source().clone(),
    })
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
fn find_misplaced<'a>(table: &'a DeTable<'a>, report: &mut Report) -> Vec<Misplaced<'a>> {
    let mut found: Vec<Misplaced<'a>> = Vec::new();
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

fn step_items<'a>(node: &'a Node<'a>, report: &mut Report) -> Option<&'a DeArray<'a>> {
    const HELP: &str = "write steps = [ { mine = 6 } ], one table for every step";
    let DeValue::Array(items) = node.get_ref() else {
        let title = format!("expected an array of steps, found {}", describe(node));
        report
            .push(node.span(), title)
            .label("the value of `steps`")
            .help(HELP);
        return None;
    };
    if items.is_empty() {
        report
            .push(node.span(), "a scenario without steps")
            .label("empty")
            .help(HELP);
        return None;
    }
    Some(items)
}

/// Every name that a step binds. A name that is bound twice keeps its first step; the second is a problem of its own.
fn names(items: Option<&DeArray<'_>>, registry: &Registry) -> BTreeMap<String, Name> {
    let mut names = BTreeMap::new();
    for (index, item) in items.into_iter().flatten().enumerate() {
        let DeValue::Table(table) = item.get_ref() else {
            continue;
        };
        let Some(DeValue::String(name)) = table.get("as").map(|node| node.get_ref()) else {
            continue;
        };
        let span = table.get("as").map(|node| node.span()).unwrap_or_default();
        let entry = table.keys().find_map(|key| registry.get(key.get_ref()));
        let by = entry.map_or("", |entry| entry.name).to_owned();
        let entity = entry.and_then(|entry| entry.output);
        names.entry(name.to_string()).or_insert(Name {
            step: index + 1,
            span,
            by,
            entity,
        });
    }
    names
}
