//! The steps of a list: which step a table is, its own fields, and in which order names come to be known.

use std::time::Duration;

use swaprig_units::show_duration;
use toml::de::{DeArray, DeTable, DeValue};

use super::block::BLOCKS;
use super::common::Common;
use super::cx::StepCx;
use super::expand::value_text;
use super::frame::{File, Frame};
use super::inputs::Replaced;
use super::plan::{Action, KeySpan, PlannedStep};
use super::problem::{Report, Span};
use super::scope::State;
use super::step::{COMMON_KEYS, StepEntry};
use super::tasks::{Tasks, none_beside};
use super::words::{Node, all_of, describe, is_name, nearest, one_of, quoted, to_name};
use super::world::RESERVED;

/// Where a list of steps is.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    /// The step of the file that it is in; `None` for the steps of the file themselves.
    pub(super) number: Option<usize>,
    /// What stands before the numbers of its steps, such as `3.`.
    pub(super) prefix: &'p str,
    /// Whether its steps start at the same time.
    pub(super) together: bool,
}

/// Which step a table is.
enum Which<'r> {
    Step(&'r StepEntry),
    Block(&'static str),
}

impl<'a> File<'a> {
    /// Reads all steps of a list; `None` when one of them has a problem.
    pub(super) fn read(
        &self,
        items: &DeArray<'a>,
        frame: &Frame<'a>,
        place: Place<'_>,
        report: &mut Report,
    ) -> Option<Vec<PlannedStep>> {
        let first = if place.together {
            State::Beside
        } else {
            State::Later
        };
        for item in items.iter() {
            frame.scope.mark(&item.span(), first);
        }
        let tasks = match place.together {
            true => {
                none_beside(items, report);
                Tasks::private_of(items)
            }
            false => self.tasks(items, frame, report),
        };
        let mut steps = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let step = self.read_step(index + 1, item, frame, place, report);
            let span = item.span();
            let state = match tasks.state_after(item) {
                Some(state) => state,
                None if place.together => State::Beside,
                None => State::Now,
            };
            frame.scope.mark(&span, state);
            if let Some((awaited, state)) = tasks.awaited(item) {
                frame.scope.mark(&awaited, state);
            }
            steps.extend(step);
        }
        (steps.len() == items.len()).then_some(steps)
    }

    fn read_step(
        &self,
        index: usize,
        item: &Node<'a>,
        frame: &Frame<'a>,
        place: Place<'_>,
        report: &mut Report,
    ) -> Option<PlannedStep> {
        let own_place = format!("{}{index}", place.prefix);
        let DeValue::Table(table) = item.get_ref() else {
            let title = format!("expected a step, found {}", describe(item));
            let help = "a step is a table in braces, such as { mine = 6 }";
            report
                .push(item.span(), title)
                .label(format!("step {own_place}"))
                .help(help);
            return None;
        };
        let which = self.which_step(&own_place, item.span(), table, report)?;
        let number = place.number.unwrap_or(index);
        let replaced = frame.values.replace(table);
        let before = report.count();
        let inside = Place {
            number: Some(number),
            prefix: &format!("{own_place}."),
            together: place.together,
        };
        let read = match which {
            Which::Step(entry) => self.read_entry(entry, &replaced, item, frame, report),
            Which::Block(key) => self.read_block(key, &replaced, item, frame, inside, report),
        };
        frame.values.explain(&replaced, report.since(before));
        let read = read?;
        let on = match replaced.table.get("on") {
            Some(node) => Some(Box::new(
                self.read_event(node, &replaced, frame, inside, report)?,
            )),
            None => None,
        };
        let Common {
            within,
            fails,
            times,
            start,
        } = read.common;
        Some(PlannedStep {
            number,
            place: own_place,
            key: read.key,
            action: read.action,
            bind: read
                .bind
                .map(|name| super::frame::flat(&frame.prefix, &name)),
            within,
            fails,
            times,
            start: start.map(|name| super::frame::flat(&frame.prefix, &name)),
            on,
            source: frame.source.clone(),
            span: item.span(),
            keys: key_spans(table),
            used: frame.used.clone(),
            names: frame.targets.clone(),
            text: self.text(&replaced, frame),
            is_in_sequence: !place.together,
        })
    }

    /// A step of the registry.
    fn read_entry(
        &self,
        entry: &StepEntry,
        replaced: &Replaced<'_>,
        item: &Node<'_>,
        frame: &Frame<'_>,
        report: &mut Report,
    ) -> Option<Read> {
        let misspelt = self.unknown_keys(entry, &replaced.table, report);
        let mut cx = StepCx {
            report,
            scope: &frame.scope,
            table: &replaced.table,
            span: item.span(),
            step: entry.name,
            field: String::new(),
            misspelt,
            observed: None,
        };
        let step = (entry.read)(&mut cx);
        let common = self.common(&mut cx);
        let bind = self.bind(Some(entry), &mut cx);
        let mut common = common?;
        common.within = common.within.or(entry.within);
        Some(Read {
            key: entry.name.to_owned(),
            action: Action::Step(step?),
            bind: bind?,
            common,
        })
    }

    /// Its keys as the expanded plan writes them: without inputs, and with the names of the whole plan.
    fn text(&self, replaced: &Replaced<'_>, frame: &Frame<'_>) -> Vec<(String, String)> {
        let table = &replaced.table;
        let is_use = table.contains_key("use");
        let common = |key: &str| COMMON_KEYS.iter().any(|(common, ..)| *common == key);
        let fills = super::inputs::fills(table);
        let mut text = Vec::new();
        for (key, value) in table {
            let key: &str = key.get_ref();
            if matches!(key, "steps" | "together") || is_use && (key == "as" || !common(key)) {
                continue;
            }
            let value = match value.get_ref() {
                DeValue::String(name) if matches!(key, "as" | "start" | "await") => {
                    super::expand::quote(&super::frame::flat(&frame.prefix, name))
                }
                value if fills => {
                    let mut value = value.clone();
                    super::expand::rename_in_braces(&mut value, &|name| frame.rename(name));
                    value_text(&value, &|reference| frame.rename(reference))
                }
                value => value_text(value, &|reference| frame.rename(reference)),
            };
            text.push((super::expand::key_text(key), value));
        }
        text
    }

    /// The one key that is the name of a step.
    fn which_step(
        &self,
        place: &str,
        span: Span,
        table: &DeTable<'_>,
        report: &mut Report,
    ) -> Option<Which<'_>> {
        let block = BLOCKS
            .iter()
            .find_map(|(block, ..)| Some((*block, table.get_key_value(*block)?.0.span())));
        // The inputs of a fragment may be called like steps.
        if let Some(("use", _)) = block {
            return Some(Which::Block("use"));
        }
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
            let Some((block, at)) = block else {
                return Some(Which::Step(entry));
            };
            let title = format!("one step is `{block}` and `{}` at once", entry.name);
            let own = table.get_key_value(entry.name).map(|(key, _)| key.span());
            report
                .push(at, title)
                .label(format!("`{block}` is a step"))
                .also(
                    own.unwrap_or(span),
                    format!("`{}` is a step, too", entry.name),
                )
                .help("write two steps, each in braces of its own");
            return None;
        }
        match named.as_slice() {
            [] => match block {
                Some((block, _)) => return Some(Which::Block(block)),
                None => self.no_step(place, span, table, report),
            },
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

    fn no_step(&self, place: &str, span: Span, table: &DeTable<'_>, report: &mut Report) {
        let common = |key: &str| COMMON_KEYS.iter().any(|(common, ..)| *common == key);
        let unknown = |key: &&str| !common(key) && !self.strays.contains(key);
        let spans = table.keys().map(|key| (key.get_ref().as_ref(), key.span()));
        let guesses: Vec<(&str, Span)> = spans.filter(|(key, _)| unknown(key)).collect();
        let blocks = || BLOCKS.iter().map(|(block, ..)| *block);
        let names = || self.registry.names().chain(blocks());
        let guess = guesses
            .iter()
            .find_map(|(key, at)| Some((*key, at, nearest(key, names())?)));
        let list = one_of(names());
        match (guess, guesses.first()) {
            (Some((key, at, meant)), _) => report
                .push(at.clone(), format!("unknown step `{key}`"))
                .label(format!("step {place}"))
                .help(format!("did you mean `{meant}`? a step is {list}")),
            (None, Some((key, _))) => report
                .push(span, format!("step {place} has no key that is a step"))
                .label(format!("`{key}` is no step"))
                .help(format!("a step is {list}")),
            (None, None) => report
                .push(span, format!("step {place} does nothing"))
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
    pub(super) fn within(
        &self,
        within: Option<Duration>,
        cx: &mut StepCx<'_>,
    ) -> Option<Option<Duration>> {
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
    pub(super) fn bind(
        &self,
        entry: Option<&StepEntry>,
        cx: &mut StepCx<'_>,
    ) -> Option<Option<String>> {
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
        if cx.scope.inputs.contains(name) {
            cx.problem(
                span,
                format!("`{name}` is an input, it cannot name the result of a step"),
            )
            .label("an input")
            .help("choose another name");
            return None;
        }
        let parties = cx.scope.parties.iter().flatten();
        let servers = cx.scope.servers.iter().flatten();
        let party = parties.chain(servers).any(|party| party == name);
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
        let first = cx.scope.names.get(name);
        if let Some(first) = first.filter(|first| first.span != span) {
            let title = format!("`{name}` is already bound by step {}", first.place);
            let first = first.span.clone();
            cx.problem(span, title)
                .label("the second time")
                .also(first, "the first time")
                .help("choose another name; a name keeps its meaning through the whole file");
            return None;
        }
        makes_something(entry, span, cx).then(|| Some(name.to_owned()))
    }
}

/// A step before its place is known.
pub(super) struct Read {
    pub(super) key: String,
    pub(super) action: Action,
    pub(super) bind: Option<String>,
    pub(super) common: Common,
}

/// Where the keys of a step are.
pub(super) fn key_spans(table: &DeTable<'_>) -> Vec<KeySpan> {
    let spans = table.iter().map(|(key, value)| KeySpan {
        name: key.get_ref().to_string(),
        key: key.span(),
        value: value.span(),
    });
    spans.collect()
}

/// Whether there is anything that `as` could name; when not, that is said of its value at `span`.
fn makes_something(entry: Option<&StepEntry>, span: Span, cx: &mut StepCx<'_>) -> bool {
    // What a use names are the outputs of its fragment, which it checks itself.
    if entry.is_some_and(|entry| entry.output.is_none()) {
        let title = format!("`{}` makes nothing that could have a name", cx.step());
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
    for (key, why) in [
        (
            "times",
            "a step that is repeated makes many things, and one name has room for one",
        ),
        (
            "on",
            "what a step at an event makes comes too late for a name",
        ),
    ] {
        if cx.has(key) {
            let at = cx.key_span(key);
            cx.problem(span, why)
                .label("names nothing")
                .also(at, "because of this")
                .help("leave `as` out");
            return false;
        }
    }
    true
}
