//! A frame: the steps of a file, or of one use of a fragment, with the names, inputs and places that are its own.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use swaprig_harness::server::ServerSpec;
use toml::de::{DeArray, DeTable, DeValue};

use super::fragment::{Fragments, read_header};
use super::inputs::{InputType, Values};
use super::plan::Site;
use super::problem::{Report, Source, Span};
use super::reference::Reference;
use super::scope::{Name, NameKind, Scope, State};
use super::step::{Registry, StepEntry};
use super::types::Type;

/// What the steps of a file are read against, in every frame.
pub(super) struct File<'a> {
    pub(super) registry: &'a Registry,
    pub(super) fragments: &'a Fragments<'a>,
    pub(super) types: Vec<InputType>,
    /// Keys of the file that landed in a table by mistake, which has been said.
    pub(super) strays: &'a [&'a str],
    pub(super) servers: Arc<[ServerSpec]>,
    pub(super) deadline: std::time::Duration,
}

/// One list of steps and what it knows.
pub(super) struct Frame<'a> {
    pub(super) source: Source,
    pub(super) scope: Scope,
    pub(super) values: Values<'a>,
    /// What each name is called in the whole plan.
    pub(super) targets: Arc<BTreeMap<String, Reference>>,
    /// What stands before its names in the whole plan; nothing in the frame of the file.
    pub(super) prefix: String,
    /// The same for each fragment that it uses, by the place of the use.
    pub(super) prefixes: BTreeMap<usize, String>,
    /// Where the fragments that it is in are used, from the inside out.
    pub(super) used: Arc<[Site]>,
    /// The fragments that it is in, from the outside in, as files call them.
    pub(super) chain: Vec<(PathBuf, String)>,
    /// The names under which steps were started, with the place of each.
    pub(super) started: RefCell<BTreeMap<String, Span>>,
}

/// The names that a list of steps binds, before anything else is known.
#[derive(Default)]
pub(super) struct Names {
    pub(super) names: BTreeMap<String, Name>,
    pub(super) prefixes: BTreeMap<usize, String>,
}

/// A name in the whole plan.
pub(super) fn flat(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}__{name}"),
    }
}

impl Frame<'_> {
    /// Fills in what each name is called in the whole plan.
    pub(super) fn with_targets(mut self) -> Self {
        let value = |name: &Name| name.kind != NameKind::Outputs;
        let targets = self.scope.names.iter().filter(|(_, name)| value(name));
        let targets = targets.map(|(name, bound)| (name.clone(), bound.target.clone()));
        self.targets = Arc::new(targets.collect());
        self
    }

    /// A reference as the whole plan has it.
    pub(super) fn rename(&self, reference: Reference) -> Reference {
        if let Some(target) = self.targets.get(&reference.path()) {
            return target.clone();
        }
        match self.targets.get(&reference.name) {
            Some(target) => Reference {
                name: target.name.clone(),
                field: reference.field,
            },
            None => reference,
        }
    }
}

impl File<'_> {
    /// Every name that a step of `items` binds. A name that is bound twice keeps its first step; the second is a problem
    /// of its own.
    pub(super) fn names(
        &self,
        source: &Source,
        items: &DeArray<'_>,
        prefix: &str,
        chain: &mut Vec<PathBuf>,
    ) -> Names {
        let mut found = Names::default();
        let mut taken = BTreeSet::new();
        own_names(items, &mut taken);
        let mut collect = Collect {
            file: self,
            source,
            prefix,
            taken,
            found: &mut found,
        };
        collect.list(items, "", chain);
        found
    }

    /// The step that a table is, as far as that can be told without a word.
    pub(super) fn entry(&self, table: &DeTable<'_>) -> Option<&StepEntry> {
        table
            .keys()
            .find_map(|key| self.registry.get(key.get_ref()))
    }
}

/// Every `as` of a list, however deep.
fn own_names(items: &DeArray<'_>, out: &mut BTreeSet<String>) {
    for item in items.iter() {
        let DeValue::Table(table) = item.get_ref() else {
            continue;
        };
        if let Some(DeValue::String(name)) = table.get("as").map(|node| node.get_ref()) {
            out.insert(name.to_string());
        }
        for inner in inner_lists(table) {
            own_names(inner, out);
        }
    }
}

/// The lists of steps inside a step.
fn inner_lists<'t, 'a>(table: &'t DeTable<'a>) -> impl Iterator<Item = &'t DeArray<'a>> {
    ["steps", "together"].into_iter().filter_map(|key| {
        match table.get(key).map(|node| node.get_ref()) {
            Some(DeValue::Array(items)) => Some(items),
            _ => None,
        }
    })
}

struct Collect<'c, 'a> {
    file: &'c File<'a>,
    source: &'c Source,
    prefix: &'c str,
    /// Names and prefixes that a new prefix must not be mistaken for.
    taken: BTreeSet<String>,
    found: &'c mut Names,
}

impl Collect<'_, '_> {
    fn list(&mut self, items: &DeArray<'_>, place: &str, chain: &mut Vec<PathBuf>) {
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else {
                continue;
            };
            let place = format!("{place}{}", index + 1);
            if let Some(DeValue::String(literal)) = table.get("use").map(|node| node.get_ref()) {
                self.outputs(literal, item.span().start, table, &place, chain);
                continue;
            }
            for inner in inner_lists(table) {
                self.list(inner, &format!("{place}."), chain);
            }
            let Some((name, span)) = given_name(table) else {
                continue;
            };
            let entry = self.file.entry(table);
            let kind = entry.and_then(|entry| (entry.output_of)(table, &self.file.servers));
            let kind = kind.map_or(NameKind::Unknown, |entity| {
                NameKind::Value(Type::Entity(entity))
            });
            let target = Reference::to(flat(self.prefix, name));
            self.add(
                name,
                &place,
                span,
                entry.map_or("", |e| e.name),
                kind,
                target,
            );
        }
    }

    fn add(
        &mut self,
        name: &str,
        place: &str,
        span: Span,
        by: &str,
        kind: NameKind,
        target: Reference,
    ) {
        let new = Name {
            place: place.to_owned(),
            span,
            by: by.to_owned(),
            kind,
            target,
            state: Cell::new(State::Later),
        };
        self.found.names.entry(name.to_owned()).or_insert(new);
    }

    /// A prefix for the names of a fragment: the name of its use, or that of its file.
    fn prefix_for(&mut self, literal: &str, name: Option<&str>) -> String {
        let file = literal.rsplit('/').next().unwrap_or_default();
        let base = name.map_or_else(|| super::words::to_name(file, '_'), |n| Some(n.to_owned()));
        let base = base.unwrap_or_else(|| "fragment".to_owned());
        let free = |candidate: &str| {
            let inside = format!("{candidate}__");
            let mistaken = |taken: &String| taken.starts_with(&inside);
            !self.taken.iter().any(mistaken) && !self.taken.contains(&format!("{candidate} prefix"))
        };
        let numbered = (2..).map(|n: u32| format!("{base}_{n}"));
        let chosen = std::iter::once(base.clone())
            .chain(numbered)
            .find(|c| free(c));
        let chosen = chosen.unwrap_or(base);
        // Prefixes have a space in them here, which no name has.
        self.taken.insert(format!("{chosen} prefix"));
        chosen
    }

    /// The names of what a fragment gives.
    fn outputs(
        &mut self,
        literal: &str,
        at: usize,
        table: &DeTable<'_>,
        place: &str,
        chain: &mut Vec<PathBuf>,
    ) {
        let given = given_name(table);
        let prefix = self.prefix_for(literal, given.as_ref().map(|(name, _)| *name));
        let prefix = flat(self.prefix, &prefix);
        self.found.prefixes.insert(at, prefix.clone());
        let Some((name, span)) = given else { return };
        let nothing = Reference::to(flat(self.prefix, name));
        let unknown = |this: &mut Self| {
            this.add(
                name,
                place,
                span.clone(),
                "use",
                NameKind::Unknown,
                nothing.clone(),
            );
        };
        let fragment = self.file.fragments.get(self.source, literal);
        let Some((fragment, parsed)) = fragment.and_then(|f| Some((f, f.table.as_ref()?))) else {
            return unknown(self);
        };
        if chain.iter().any(|path| path == fragment.path) {
            return unknown(self);
        }
        let mut unsaid = Report::new(fragment.source);
        let header = read_header(parsed.get_ref(), &self.file.types, &mut unsaid);
        let Some(items) = header.items else {
            return unknown(self);
        };
        chain.push(fragment.path.to_owned());
        let inner = self.file.names(fragment.source, items, &prefix, chain);
        chain.pop();
        self.add(name, place, span.clone(), "use", NameKind::Outputs, nothing);
        for output in header.outputs {
            let bound = inner.names.get(&output.of);
            let kind = bound.map_or(NameKind::Unknown, |bound| bound.kind);
            let target = bound.map_or_else(|| Reference::to(""), |bound| bound.target.clone());
            let name = format!("{name}.{}", output.name);
            self.add(&name, place, span.clone(), "use", kind, target);
        }
    }
}

/// The name that `as` gives.
fn given_name<'t>(table: &'t DeTable<'_>) -> Option<(&'t str, Span)> {
    let node = table.get("as")?;
    match node.get_ref() {
        DeValue::String(name) => Some((name, node.span())),
        _ => None,
    }
}
