//! What a step's fields are read against: the parties of the world, the names bound so far, the report.

use serde_json::Value as Json;
use swaprig_harness::proxy::{Link, ServerEnd};
use swaprig_harness::server::ServerSpec;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Report, Span};
use super::reference::{Reference, Text};
use super::scope::Scope;
use super::types::Type;
use super::words::{Node, describe, quoted};

/// What [`StepCx::text`] is told where any text will do.
pub(super) const ANY_TEXT: &str = "a text";

/// How a field is described: to people, to the schema, and in messages.
#[derive(Debug, Clone)]
pub struct FieldType {
    /// What the value is, such as "an amount".
    pub name: String,
    /// A value as it is typed, quotes included.
    pub example: String,
    /// Its JSON Schema.
    pub schema: Json,
}

/// A type that a field of a step can have.
pub trait Field: Sized {
    /// How it is described.
    fn field_type() -> FieldType;

    /// Reads it; on `None` the problem is in `cx`, or follows from one that is.
    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self>;

    /// Adds the references that it holds.
    fn references(&self, _out: &mut Vec<Reference>) {}

    /// The default value as it is typed; `None` when leaving the field out is not the same as any value.
    fn shown(&self) -> Option<String> {
        None
    }
}

/// One step that is being read.
#[derive(Debug)]
pub struct StepCx<'a> {
    pub(super) report: &'a mut Report,
    pub(super) scope: &'a Scope,
    pub(super) table: &'a DeTable<'a>,
    /// The braces of the step.
    pub(super) span: Span,
    /// The name of the step.
    pub(super) step: &'a str,
    /// The field that is being read.
    pub(super) field: String,
    /// Fields that a misspelt key stands for; that they are missing has then been said.
    pub(super) misspelt: Vec<String>,
    /// What `expect` observes, which is the type of what it compares with.
    pub(super) observed: Option<Type>,
}

/// Where a raw identifier is needed in Rust (`r#use`), files have the plain word.
fn plain(name: &str) -> &str {
    name.trim_start_matches("r#")
}

/// The name of a Rust field as files write it: without the mark of a raw identifier, `r#pub`.
pub const fn plain_name(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

impl<'a> StepCx<'a> {
    /// Reads a field that must be there.
    pub fn required<T: Field>(&mut self, name: &'static str) -> Option<T> {
        let table = self.table;
        match table.get(plain(name)) {
            Some(node) => self.read_field(plain(name), node),
            None => {
                self.missing::<T>(plain(name));
                None
            }
        }
    }

    /// Reads a field that may be left out.
    pub fn optional<T: Field>(
        &mut self,
        name: &'static str,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        let table = self.table;
        match table.get(plain(name)) {
            Some(node) => self.read_field(plain(name), node),
            None => Some(default()),
        }
    }

    fn read_field<T: Field>(&mut self, name: &str, node: &Node<'a>) -> Option<T> {
        self.field = name.to_owned();
        T::read(node, self)
    }

    fn missing<T: Field>(&mut self, name: &str) {
        if self.misspelt.iter().any(|field| field == name) {
            return;
        }
        let FieldType {
            name: kind,
            example,
            ..
        } = T::field_type();
        let title = format!("`{}` has no `{name}`", self.step);
        let help = format!("add {name} = {example}");
        let span = self.span.clone();
        self.report
            .push(span, title)
            .label(format!("`{name}` is missing: {kind}"))
            .help(help);
    }

    /// Adds a problem.
    pub fn problem(&mut self, span: Span, title: impl Into<String>) -> &mut Problem {
        self.report.push(span, title)
    }

    /// The name of the step.
    pub fn step(&self) -> &str {
        self.step
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The place of a key; that of the whole step when it is not there.
    pub fn key_span(&self, key: &str) -> Span {
        self.table
            .get_key_value(key)
            .map_or(self.span.clone(), |(key, _)| key.span())
    }

    /// The place of a key's value; that of the whole step when it is not there.
    pub fn value_span(&self, key: &str) -> Span {
        self.table
            .get(key)
            .map_or(self.span.clone(), |value| value.span())
    }

    /// The key of the field that is being read, and its step, for a label.
    pub(super) fn whose(&self) -> String {
        if self.field == self.step {
            format!("the value of `{}`", self.step)
        } else {
            format!("`{}` of `{}`", self.field, self.step)
        }
    }

    /// A value of the wrong kind: "expected `what`, found …".
    pub fn expected(&mut self, node: &Node<'_>, what: &str) -> &mut Problem {
        let label = self.whose();
        let title = format!("expected {what}, found {}", describe(node));
        self.report.push(node.span(), title).label(label)
    }

    /// Reads a text that cannot be a reference. `what` says what is wanted, such as "the name of a party".
    pub fn text(&mut self, node: &Node<'_>, what: &str) -> Option<String> {
        let DeValue::String(text) = node.get_ref() else {
            self.expected(node, what).help(format!("write {what}"));
            return None;
        };
        match Text::of(text) {
            Text::Literal(text) => Some(text),
            Text::Reference(reference) if self.means_an_input(&reference) => {
                self.unbound(node, &reference);
                None
            }
            Text::Reference(_) | Text::Malformed => {
                let whose = self.whose();
                let title = format!("{whose} does not take a reference");
                let bare = text.trim_start_matches('$');
                let help = if self
                    .parties()
                    .is_some_and(|all| all.iter().any(|one| one == bare))
                {
                    format!("write \"{bare}\", without the dollar sign")
                } else if what == ANY_TEXT {
                    let text = text.escape_debug();
                    format!("write {what}; one that starts with a dollar sign has two: \"${text}\"")
                } else {
                    format!("write {what}")
                };
                self.report
                    .push(node.span(), title)
                    .label("a reference")
                    .help(help);
                None
            }
        }
    }

    /// Reads a reference when the value is one. `Some(None)`: it is written like one and is wrong, which has been said.
    pub fn reference(&mut self, node: &Node<'_>) -> Option<Option<Reference>> {
        let DeValue::String(text) = node.get_ref() else {
            return None;
        };
        match Text::of(text) {
            Text::Literal(_) => None,
            Text::Reference(reference) => {
                let whole = reference.path();
                let is_output = self.scope.names.contains_key(&whole);
                Some(Some(if is_output {
                    Reference::to(whole)
                } else {
                    reference
                }))
            }
            Text::Malformed => {
                let help = format!(
                    "a reference is a `$`, a name in lowercase, and perhaps a dot and a field: \"$inv\" or \
                     \"$inv.hash\"; for a text that starts with a dollar sign write \"${}\"",
                    text.escape_debug()
                );
                let title = format!("{} is not a reference", quoted(text));
                self.report
                    .push(node.span(), title)
                    .label("starts with `$`")
                    .help(help);
                Some(None)
            }
        }
    }

    /// The Lightning nodes of the world; `None` when the world itself has a problem.
    pub fn parties(&self) -> Option<&'a [String]> {
        self.scope.parties.as_deref()
    }
}

impl<'a> StepCx<'a> {
    /// The proxies of the world; `None` when the world itself has a problem.
    pub fn proxies(&self) -> Option<&'a [Link]> {
        self.scope.proxies.as_deref()
    }
}

impl<'a> StepCx<'a> {
    /// The servers of the file; `None` when they have a problem.
    pub fn servers(&self) -> Option<&'a [String]> {
        self.scope.servers.as_deref()
    }

    /// What is known of a server of the file.
    pub fn server(&self, name: &str) -> Option<&'a ServerSpec> {
        self.scope.specs.iter().find(|server| server.name == name)
    }

    /// The servers as ends of links.
    pub(super) fn server_ends(&self) -> Vec<ServerEnd> {
        self.scope.specs.iter().map(ServerSpec::end).collect()
    }
}

/// What `expect` needs to know between its fields.
impl StepCx<'_> {
    /// The type of what is observed, once it has been read without a problem.
    pub fn observed(&self) -> Option<Type> {
        self.observed
    }

    /// Says what is observed; the fields that are read later compare with it.
    pub fn set_observed(&mut self, ty: Type) {
        self.observed = Some(ty);
    }

    /// Whether some step of the file binds the name.
    pub fn is_bound(&self, name: &str) -> bool {
        self.scope.names.contains_key(name)
    }
}
