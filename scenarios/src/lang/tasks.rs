//! Steps that run beside others: every `start` has its `await` after it in the same list.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable, DeValue};

use super::frame::{File, Frame};
use super::problem::{Report, Span};
use super::scope::{Private, State};
use super::words::{Node, is_name, nearest, one_of_quoted};

/// What is started and awaited in one list, by the place of each step.
#[derive(Default)]
pub(super) struct Tasks {
    /// What can be read of a step's names after it, where that is not simply "now".
    states: BTreeMap<usize, State>,
    /// For an `await`: the step that it awaits, and what can be read of its names from then on.
    awaited: BTreeMap<usize, (Span, State)>,
}

impl Tasks {
    /// For a list in which nothing is started.
    pub(super) fn private_of(items: &DeArray<'_>) -> Self {
        let mut tasks = Tasks::default();
        for item in items.iter() {
            if let DeValue::Table(table) = item.get_ref()
                && let Some(state) = private(table)
            {
                tasks.states.insert(item.span().start, state);
            }
        }
        tasks
    }

    pub(super) fn state_after(&self, item: &Node<'_>) -> Option<State> {
        self.states.get(&item.span().start).copied()
    }

    pub(super) fn awaited(&self, item: &Node<'_>) -> Option<(Span, State)> {
        self.awaited.get(&item.span().start).cloned()
    }
}

/// What runs beside others belongs into a list whose steps come one after the other: says where it is in a `together`.
pub(super) fn none_beside(items: &DeArray<'_>, report: &mut Report) {
    for item in items.iter() {
        let DeValue::Table(table) = item.get_ref() else {
            continue;
        };
        for (key, help) in [
            (
                "start",
                "leave `start` out: its steps run side by side already",
            ),
            (
                "await",
                "put the `await` after the `together`, or into { steps = [ … ] } with the step that is started",
            ),
            (
                "on",
                "put the step before the `together`, or into { steps = [ … ] } with the steps beside which it waits",
            ),
        ] {
            if let Some((found, _)) = table.get_key_value(key) {
                report
                    .push(
                        found.span(),
                        format!("`{key}` cannot be in a step of a `together`"),
                    )
                    .label("in a `together`")
                    .help(help);
            }
        }
    }
}

/// A started step of a list.
struct Started<'t> {
    step: Span,
    name: Span,
    index: usize,
    awaited: Option<Span>,
    named: Option<&'t Node<'t>>,
    at_event: bool,
}

fn text<'t>(table: &'t DeTable<'_>, key: &str) -> Option<(&'t str, Span)> {
    let node = table.get(key)?;
    match node.get_ref() {
        DeValue::String(text) => Some((text, node.span())),
        _ => None,
    }
}

fn private(table: &DeTable<'_>) -> Option<State> {
    let once = |node: &Node<'_>| matches!(node.get_ref(), DeValue::Integer(n) if n.as_str() == "1");
    let times = table.get("times").is_some_and(|node| !once(node));
    let all = [
        (times, Private::Times),
        (table.contains_key("fails"), Private::Fails),
        (table.contains_key("on"), Private::On),
    ];
    let found = all.into_iter().find(|(is, _)| *is);
    found.map(|(_, private)| State::Inside(private))
}

impl File<'_> {
    /// Matches every `await` of a list with its `start`, and says where that cannot be done.
    pub(super) fn tasks(
        &self,
        items: &DeArray<'_>,
        frame: &Frame<'_>,
        report: &mut Report,
    ) -> Tasks {
        let mut tasks = Tasks::default();
        let mut started: BTreeMap<String, Started<'_>> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else {
                continue;
            };
            let own = private(table);
            if let Some((name, span)) = text(table, "start") {
                let state = own.unwrap_or(State::Started);
                tasks.states.insert(item.span().start, state);
                let mut names = frame.started.borrow_mut();
                if let Some(first) = names.get(name).filter(|first| **first != span) {
                    report
                        .push(span, format!("a step was already started as `{name}`"))
                        .label("the second")
                        .also(first.clone(), "the first")
                        .help("choose another name");
                    continue;
                }
                names.insert(name.to_owned(), span.clone());
                let step = Started {
                    step: item.span(),
                    name: span,
                    index,
                    awaited: None,
                    named: table.get("as"),
                    at_event: table.contains_key("on"),
                };
                started.insert(name.to_owned(), step);
            } else if let Some(own) = own {
                tasks.states.insert(item.span().start, own);
            }
        }
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else {
                continue;
            };
            if let Some((name, span)) = text(table, "await") {
                let awaits = Await {
                    name,
                    span,
                    index,
                    fails: table.get("fails").map(|node| node.span()),
                };
                if let Some(found) = awaits.find(&mut started, report) {
                    tasks.awaited.insert(item.span().start, found);
                }
            }
        }
        for (name, step) in started {
            // Of what is wrong in itself, that has been said.
            if step.awaited.is_none() && is_name(&name, '_') && !step.at_event {
                report
                    .push(step.name, format!("the step that is started as `{name}` is never awaited"))
                    .label("started here")
                    .help(format!("add {{ await = \"{name}\" }} after it in the same list: a step that nobody awaits could fail unseen"));
            }
        }
        tasks
    }
}

struct Await<'t> {
    name: &'t str,
    span: Span,
    index: usize,
    fails: Option<Span>,
}

impl Await<'_> {
    fn find(
        &self,
        started: &mut BTreeMap<String, Started<'_>>,
        report: &mut Report,
    ) -> Option<(Span, State)> {
        let Some(step) = started.get_mut(self.name) else {
            let names = || started.keys().map(String::as_str);
            let help = match nearest(self.name, names()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None if started.is_empty() => {
                    format!(
                        "add start = \"{}\" to the step that is to run beside others, in the same list",
                        self.name
                    )
                }
                None => format!("write {}", one_of_quoted(names())),
            };
            let title = format!("no step of this list is started as `{}`", self.name);
            report
                .push(self.span.clone(), title)
                .label("awaits nothing")
                .help(help);
            return None;
        };
        if self.index <= step.index {
            step.awaited = Some(self.span.clone());
            report
                .push(
                    self.span.clone(),
                    format!("`{}` is awaited before it is started", self.name),
                )
                .label("too early")
                .also(step.name.clone(), "started here")
                .help("move the `await` below it");
            return None;
        }
        if let Some(first) = step.awaited.replace(self.span.clone()) {
            report
                .push(
                    self.span.clone(),
                    format!("`{}` is awaited twice", self.name),
                )
                .label("the second")
                .also(first, "the first")
                .help("keep one of the two");
            return None;
        }
        let state = match (&self.fails, step.named) {
            (Some(fails), Some(named)) => {
                report
                    .push(
                        named.span(),
                        "a step that must fail makes nothing that could have a name",
                    )
                    .label("names nothing")
                    .also(fails.clone(), "must fail")
                    .help("leave `as` out");
                return None;
            }
            (Some(_), None) => State::Inside(Private::Fails),
            (None, _) => State::Now,
        };
        Some((step.step.clone(), state))
    }
}
