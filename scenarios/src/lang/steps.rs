//! The `steps` of a file: which step a table is, its common keys, its own fields.

use std::time::Duration;

use swaprig_units::show_duration;
use toml::de::{DeArray, DeTable, DeValue};

use super::cx::{Field, Scope, StepCx};
use super::plan::{KeySpan, PlannedStep};
use super::problem::{Report, Span};
use super::step::{COMMON_KEYS, Registry, StepEntry};
use super::words::{Node, all_of, describe, is_name, nearest, one_of, quoted, to_name};
use super::world::RESERVED;

/// What all steps of a file are read against.
pub(super) struct File<'a> {
    pub(super) registry: &'a Registry,
    pub(super) scope: &'a Scope,
    /// Keys of the file that landed in a table by mistake, which has been said.
    pub(super) strays: &'a [&'a str],
    pub(super) deadline: Duration,
}

impl File<'_> {
    /// Reads all steps; `None` when one of them has a problem.
    pub(super) fn read(
        &self,
        items: &DeArray<'_>,
        report: &mut Report,
    ) -> Option<Vec<PlannedStep>> {
        let mut steps = Vec::new();
        for (index, item) in items.iter().enumerate() {
            steps.extend(self.read_step(index + 1, item, report));
        }
        (steps.len() == items.len()).then_some(steps)
    }

    fn read_step(
        &self,
        number: usize,
        item: &Node<'_>,
        report: &mut Report,
    ) -> Option<PlannedStep> {
        let DeValue::Table(table) = item.get_ref() else {
            let title = format!("expected a step, found {}", describe(item));
            let help = "a step is a table in braces, such as { mine = 6 }";
            report
                .push(item.span(), title)
                .label(format!("step {number}"))
                .help(help);
            return None;
        };
        let entry = self.which_step(number, item.span(), table, report)?;
        let misspelt = self.unknown_keys(entry, table, report);
        let mut cx = StepCx {
            report,
            scope: self.scope,
            table,
            span: item.span(),
            step: entry.name,
            number,
            field: String::new(),
            misspelt,
            observed: None,
        };
        let step = (entry.read)(&mut cx);
        let within = cx.optional::<Option<Duration>>("within", || None);
        let within = within.and_then(|within| self.within(within, &mut cx));
        let fails = fails(&mut cx);
        let bind = self.bind(entry, &mut cx);
        let keys = table.iter().map(|(key, value)| KeySpan {
            name: key.get_ref().to_string(),
            key: key.span(),
            value: value.span(),
        });
        Some(PlannedStep {
            number,
            step: step?,
            bind: bind?,
            within: within?.or(entry.within),
            fails: fails?,
            span: item.span(),
            keys: keys.collect(),
        })
    }

    /// The one key that is the name of a step.
    fn which_step(
        &self,
        number: usize,
        span: Span,
        table: &DeTable<'_>,
        report: &mut Report,
    ) -> Option<&StepEntry> {
        let named: Vec<(&StepEntry, Span)> = table
            .keys()
            .filter_map(|key| Some((self.registry.get(key.get_ref())?, key.span())))
            .collect();
        // A step may have a field that is called like another step.
        let owns = |entry: &StepEntry| {
            named
                .iter()
                .all(|(other, _)| entry.fields.iter().any(|f| f.name == other.name))
        };
        let mut owners = named.iter().filter(|(entry, _)| owns(entry));
        if let (Some((entry, _)), None) = (owners.next(), owners.next()) {
            return Some(entry);
        }
        match named.as_slice() {
            [] => self.no_step(number, span, table, report),
            [(first, one), .., (last, two)] => {
                let names = all_of(named.iter().map(|(entry, _)| entry.name));
                let names_fail = named.iter().any(|(entry, _)| entry.name == "fail");
                report
                    .push(two.clone(), format!("one step is {names} at once"))
                    .label(format!("`{}` is a step", last.name))
                    .also(one.clone(), format!("`{}` is a step, too", first.name))
                    .help(if names_fail {
                        "to say that a step must fail, write `fails` with its reason; `fail` is a step that makes \
                         calls fail"
                    } else {
                        "write two steps, each in braces of its own"
                    });
            }
            [_] => {}
        }
        None
    }

    fn no_step(&self, number: usize, span: Span, table: &DeTable<'_>, report: &mut Report) {
        let common = |key: &str| COMMON_KEYS.iter().any(|(common, ..)| *common == key);
        let unknown = |key: &&str| !common(key) && !self.strays.contains(key);
        let spans = table.keys().map(|key| (key.get_ref().as_ref(), key.span()));
        let guesses: Vec<(&str, Span)> = spans.filter(|(key, _)| unknown(key)).collect();
        let names = || self.registry.names();
        let guess = guesses
            .iter()
            .find_map(|(key, at)| Some((*key, at, nearest(key, names())?)));
        let list = one_of(names());
        match (guess, guesses.first()) {
            (Some((key, at, meant)), _) => report
                .push(at.clone(), format!("unknown step `{key}`"))
                .label(format!("step {number}"))
                .help(format!("did you mean `{meant}`? a step is {list}")),
            (None, Some((key, _))) => report
                .push(span, format!("step {number} has no key that is a step"))
                .label(format!("`{key}` is no step"))
                .help(format!("a step is {list}")),
            (None, None) => report
                .push(span, format!("step {number} does nothing"))
                .label("no key that is a step")
                .help(format!("a step is {list}")),
        };
    }

    /// Says which keys are unknown, and gives back what they most likely stand for.
    fn unknown_keys(
        &self,
        entry: &StepEntry,
        table: &DeTable<'_>,
        report: &mut Report,
    ) -> Vec<String> {
        let mut misspelt = Vec::new();
        for (key, _) in table {
            let name: &str = key.get_ref();
            if entry.keys().any(|known| known == name) || self.strays.contains(&name) {
                continue;
            }
            let absent = entry.keys().filter(|known| !table.contains_key(*known));
            let own = all_of(entry.fields.iter().map(|field| field.name));
            let common = all_of(COMMON_KEYS.iter().map(|(key, ..)| *key));
            let takes = format!("`{}` takes {own}; every step takes {common}", entry.name);
            let help = match nearest(name, absent) {
                Some(meant) => {
                    misspelt.push(meant.to_owned());
                    format!("did you mean `{meant}`? {takes}")
                }
                None => takes,
            };
            let title = format!("unknown key `{name}` in `{}`", entry.name);
            report.push(key.span(), title).label("unknown").help(help);
        }
        misspelt
    }

    /// Nothing can take longer than the world lives.
    fn within(&self, within: Option<Duration>, cx: &mut StepCx<'_>) -> Option<Option<Duration>> {
        let Some(given) = within.filter(|given| *given > self.deadline) else {
            return Some(within);
        };
        let title = format!(
            "`within` is {}, the world ends after {}",
            show_duration(given),
            show_duration(self.deadline)
        );
        let span = cx.value_span("within");
        let help = format!(
            "make it shorter, or give the world a deadline = \"{}\"",
            show_duration(given)
        );
        cx.problem(span, title)
            .label("longer than the world lives")
            .help(help);
        None
    }

    /// The name that `as` gives. `None`: there is a problem with it.
    fn bind(&self, entry: &StepEntry, cx: &mut StepCx<'_>) -> Option<Option<String>> {
        let Some(node) = cx.table.get("as") else {
            return Some(None);
        };
        cx.field = "as".to_owned();
        let span = node.span();
        let DeValue::String(name) = node.get_ref() else {
            cx.expected(node, "a name such as \"inv\"")
                .help("write a name in quotes");
            return None;
        };
        let name: &str = name;
        if !is_name(name, '_') {
            let example = to_name(name, '_').unwrap_or_else(|| "inv".to_owned());
            cx.problem(span, format!("{} is not a name", quoted(name)))
                .label("a lowercase letter, then lowercase letters, digits and `_`")
                .help(format!("write \"{example}\""));
            return None;
        }
        let party = self
            .scope
            .parties
            .iter()
            .flatten()
            .any(|party| party == name);
        if party || RESERVED.contains(&name) {
            let what = if party { "a party" } else { "reserved" };
            cx.problem(
                span,
                format!("\"{name}\" is {what}, it cannot name the result of a step"),
            )
            .label(what)
            .help("choose another name");
            return None;
        }
        let first = self.scope.names.get(name);
        if let Some(first) = first.filter(|first| first.step != cx.number) {
            let title = format!("`{name}` is already bound by step {}", first.step);
            cx.problem(span, title)
                .label("the second time")
                .also(first.span.clone(), "the first time")
                .help("choose another name; a name keeps its meaning through the whole file");
            return None;
        }
        makes_something(entry, span, cx).then(|| Some(name.to_owned()))
    }
}

/// Whether there is anything that `as` could name; when not, that is said of its value at `span`.
fn makes_something(entry: &StepEntry, span: Span, cx: &mut StepCx<'_>) -> bool {
    if entry.output.is_none() {
        let title = format!("`{}` makes nothing that could have a name", entry.name);
        cx.problem(span, title)
            .label("names nothing")
            .help("leave `as` out");
        return false;
    }
    if cx.has("fails") {
        let fails = cx.key_span("fails");
        let title = "a step that must fail makes nothing that could have a name";
        cx.problem(span, title)
            .label("names nothing")
            .also(fails, "must fail")
            .help("leave `as` out");
        return false;
    }
    true
}

fn fails(cx: &mut StepCx<'_>) -> Option<Option<String>> {
    let table = cx.table;
    let Some(node) = table.get("fails") else {
        return Some(None);
    };
    cx.field = "fails".to_owned();
    let what = "a part of the reason, such as \"expired\"";
    let help = match node.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => {
            "every reason contains an empty text; write a part of the one that is meant: fails = \"expired\""
        }
        DeValue::String(_) => return String::read(node, cx).map(Some),
        DeValue::Boolean(_) => {
            "say why it must fail, for a failure for another reason is no success: fails = \"expired\""
        }
        _ => "write a part of the reason in quotes",
    };
    cx.expected(node, what).help(help);
    None
}
