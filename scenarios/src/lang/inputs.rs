//! The types of a fragment's inputs, and the values that stand for inputs in steps.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swaprig_harness::template::{Part, Template};
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage, Sat, Units};
use toml::de::{DeArray, DeTable, DeValue};

use super::cx::{Field, StepCx};
use super::liquid::Wallet;
use super::parties::{Daemon, Party};
use super::problem::{Problem, Source, Span};
use super::reference::{Arg, Bound, Reference, Text};
use super::step::Registry;
use super::types::{EntityType, Type};
use super::words::Node;

/// Names that no input can have: a use of a fragment takes these keys itself.
pub(super) const RESERVED_INPUTS: &[&str] = &[
    "use", "as", "within", "fails", "times", "start", "on", "await", "together", "steps",
];

/// The type of an input.
#[derive(Debug, Clone)]
pub(super) struct InputType {
    /// As files write it.
    pub(super) name: String,
    /// What a value of it is, as the documentation says it.
    pub(super) doc: String,
    /// A value as it is typed.
    pub(super) example: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Written out where it is given.
    Literal(fn(&Node<'_>, &mut StepCx<'_>) -> bool),
    /// Written out, or what a step bound.
    Value(
        fn(&Node<'_>, &mut StepCx<'_>) -> Option<Option<Reference>>,
        Type,
    ),
    /// What a step bound.
    Entity(&'static EntityType),
}

/// What was given for an input.
pub(super) enum Given {
    /// The value itself.
    Literal,
    /// What stands behind a reference.
    Reference(Reference, Type),
}

fn literal<T: Field>(name: &str) -> InputType {
    InputType {
        name: name.to_owned(),
        doc: T::field_type().name,
        example: T::field_type().example,
        kind: Kind::Literal(|node, cx| T::read(node, cx).is_some()),
    }
}

fn value<T: Field + Bound>(name: &str) -> InputType {
    let read = |node: &Node<'_>, cx: &mut StepCx<'_>| {
        Some(match Arg::<T>::read(node, cx)? {
            Arg::Literal(_) => None,
            Arg::Reference(reference) => Some(reference),
        })
    };
    InputType {
        name: name.to_owned(),
        doc: T::field_type().name,
        example: T::field_type().example,
        kind: Kind::Value(read, T::TYPE),
    }
}

/// Every type that an input can have; `channel`, `invoice` and their like from the steps of the registry.
pub(super) fn input_types(registry: &Registry) -> Vec<InputType> {
    let mut types = vec![
        literal::<Party>("party"),
        literal::<Daemon>("daemon"),
        value::<Sat>("sat"),
        value::<Msat>("msat"),
        value::<Units>("units"),
        literal::<Wallet>("wallet"),
        literal::<BlockDelta>("blocks"),
        value::<Height>("height"),
        literal::<Duration>("duration"),
        literal::<u64>("number"),
        literal::<bool>("flag"),
        literal::<String>("text"),
        value::<PaymentHash>("hash"),
        value::<Preimage>("preimage"),
        value::<bitcoin::Txid>("txid"),
    ];
    for entity in registry.entries().filter_map(|entry| entry.output) {
        let name = entity.name.replace(' ', "_");
        if types.iter().all(|ty| ty.name != name) {
            types.push(InputType {
                example: format!("\"${name}\""),
                name,
                doc: format!("{}, by reference", Type::Entity(entity).a_name()),
                kind: Kind::Entity(entity),
            });
        }
    }
    types
}

impl InputType {
    /// Reads what is given for an input of this type; on `None` the problem is in `cx`.
    pub(super) fn read(&self, node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Given> {
        match self.kind {
            Kind::Literal(read) => read(node, cx).then_some(Given::Literal),
            Kind::Value(read, ty) => Some(match read(node, cx)? {
                None => Given::Literal,
                Some(reference) => Given::Reference(reference, ty),
            }),
            Kind::Entity(entity) => {
                let ty = Type::Entity(entity);
                let Some(reference) = cx.reference(node) else {
                    cx.wants_reference(node, ty);
                    return None;
                };
                let reference = reference?;
                let fits = cx.check_reference(node, &reference, ty);
                fits.then_some(Given::Reference(reference, ty))
            }
        }
    }
}

/// The values that stand for inputs in one case, or in one use of a fragment.
#[derive(Debug, Default)]
pub(super) struct Values<'a> {
    values: BTreeMap<String, Value<'a>>,
    used: RefCell<BTreeSet<String>>,
}

#[derive(Debug)]
struct Value<'a> {
    node: Node<'a>,
    origin: Origin,
}

/// Where a value that stands for an input is written.
#[derive(Debug)]
pub(super) enum Origin {
    /// In the same file, in a case.
    Here(Span),
    /// Where the fragment is used.
    Use(Source, Span),
    /// In the fragment, as the default of the input.
    Default,
}

/// A table in which inputs were replaced, and where.
pub(super) struct Replaced<'a> {
    pub(super) table: DeTable<'a>,
    places: Vec<(Span, String)>,
}

/// Keys whose values are names or steps of their own, in which nothing is replaced.
const VERBATIM: &[&str] = &["use", "as", "start", "await", "steps", "together"];

/// Steps in whose texts names stand in braces.
const FILLING: &[&str] = &["run", "http", "grpc"];

/// Whether names stand in braces in the texts of a step.
pub(super) fn fills(table: &DeTable<'_>) -> bool {
    FILLING.iter().any(|key| table.contains_key(*key))
}

impl<'a> Values<'a> {
    pub(super) fn insert(&mut self, name: &str, node: Node<'a>, origin: Origin) {
        self.values.insert(name.to_owned(), Value { node, origin });
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.values.keys().cloned().collect()
    }

    /// The inputs that some step has read.
    pub(super) fn used(&self) -> BTreeSet<String> {
        self.used.borrow().clone()
    }

    /// The table of a step with every input replaced by its value, which stands at the place of the input.
    pub(super) fn replace(&self, table: &DeTable<'a>) -> Replaced<'a> {
        let mut places = Vec::new();
        let mut table = table.clone();
        if !self.values.is_empty() {
            let fills = fills(&table);
            for (key, value) in &mut table {
                if !VERBATIM.contains(&key.get_ref().as_ref()) {
                    self.replace_in(value, &mut places);
                    if fills {
                        self.fill_in(value);
                    }
                }
            }
        }
        Replaced { table, places }
    }

    /// Fills the inputs that stand in braces into the texts of a value.
    fn fill_in(&self, node: &mut Node<'a>) {
        let span = node.span();
        match node.get_mut() {
            DeValue::String(text) => {
                let Ok(mut template) = Template::parse(text) else {
                    return;
                };
                let mut changed = false;
                for part in &mut template.0 {
                    let Part::Name(name) = part else { continue };
                    let Some(value) = self.values.get(name) else {
                        continue;
                    };
                    let with = match value.node.get_ref() {
                        DeValue::String(text) => Part::Text(text.to_string()),
                        DeValue::Integer(number) => Part::Text(number.to_string()),
                        DeValue::Boolean(flag) => Part::Text(flag.to_string()),
                        _ => continue,
                    };
                    self.used.borrow_mut().insert(name.clone());
                    *part = with;
                    changed = true;
                }
                if changed {
                    *node = Node::new(span, DeValue::String(template.to_string().into()));
                }
            }
            DeValue::Array(items) => {
                let filled = items.iter().cloned().map(|mut item| {
                    self.fill_in(&mut item);
                    item
                });
                *items = filled.collect();
            }
            DeValue::Table(table) => {
                for (_, value) in table.iter_mut() {
                    self.fill_in(value);
                }
            }
            _ => {}
        }
    }

    fn replace_in(&self, node: &mut Node<'a>, places: &mut Vec<(Span, String)>) {
        let span = node.span();
        match node.get_mut() {
            DeValue::String(text) => {
                let Text::Reference(Reference { name, field: None }) = Text::of(text) else {
                    return;
                };
                if let Some(value) = self.values.get(&name) {
                    self.used.borrow_mut().insert(name.clone());
                    *node = Node::new(span.clone(), value.node.get_ref().clone());
                    places.push((span, name));
                }
            }
            DeValue::Array(items) => {
                let mut replaced = DeArray::new();
                for item in items.iter() {
                    let mut item = item.clone();
                    self.replace_in(&mut item, places);
                    replaced.push(item);
                }
                *items = replaced;
            }
            DeValue::Table(table) => {
                for (_, value) in table.iter_mut() {
                    self.replace_in(value, places);
                }
            }
            _ => {}
        }
    }

    /// A problem with a value that stands for an input belongs to where that value is written.
    pub(super) fn explain(&self, replaced: &Replaced<'_>, problems: &mut [Problem]) {
        for problem in problems {
            let (main, places) = (problem.span(), problem.places());
            let at = |span: &Span| {
                let (_, name) = replaced.places.iter().find(|(place, _)| place == span)?;
                Some(&self.values.get(name)?.origin)
            };
            let Some(origin) = at(&main).or_else(|| places.iter().find_map(at)) else {
                continue;
            };
            match origin {
                Origin::Here(span) if at(&main).is_some() => {
                    problem.move_to(span.clone(), "is read here");
                }
                Origin::Here(span) => {
                    problem.also(span.clone(), "given in this case");
                }
                Origin::Use(source, span) => {
                    problem.note(
                        source,
                        span.clone(),
                        "with the value that is given here",
                        "",
                    );
                }
                Origin::Default => {}
            }
        }
    }
}
