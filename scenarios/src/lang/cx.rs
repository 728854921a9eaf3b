//! What a step's fields are read against: the parties of the world, the names bound so far, the report.

use serde_json::Value as Json;
use swaprig_harness::proxy::Link;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Report, Span};
use super::reference::{Reference, Text};
use super::scope::{Name, NameKind, Scope, State};
use super::types::Type;
use super::words::{Node, all_of, describe, nearest, one_of, one_of_quoted, quoted};

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
    fn whose(&self) -> String {
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

    /// The type of what a reference stands for; `None` when there is none, which has been said.
    pub fn type_of(&mut self, node: &Node<'_>, reference: &Reference) -> Option<Type> {
        let scope = self.scope;
        let Some(name) = scope.names.get(&reference.name) else {
            self.unbound(node, reference);
            return None;
        };
        if !name.is_readable() {
            self.not_readable(node, reference, name);
            return None;
        }
        let ty = match name.kind {
            NameKind::Value(ty) => ty,
            NameKind::Unknown => return None,
            NameKind::Outputs => {
                self.no_output(node, reference, &reference.name, reference.field.as_deref());
                return None;
            }
        };
        let Some(field) = &reference.field else {
            return Some(ty);
        };
        let fields = match ty {
            Type::Entity(entity) => entity.all_fields(),
            _ => Vec::new(),
        };
        if let Some(field) = fields.iter().find(|known| known.name == field) {
            return Some(field.ty);
        }
        let fields = || fields.iter().map(|field| field.name);
        let kind = ty.a_name();
        let mut help = format!("{kind} has {}", all_of(fields()));
        if fields().next().is_none() {
            help = format!("write \"${}\"; {kind} has no fields", reference.name);
        } else if let Some(meant) = nearest(field, fields()) {
            help = format!("did you mean \"${}.{meant}\"? {help}", reference.name);
        }
        let title = format!("`${}` has no field `{field}`", reference.name);
        let label = format!("{kind}, bound by step {}", name.place);
        self.report.push(node.span(), title).label(label).help(help);
        None
    }

    /// Says why a name that is bound somewhere cannot be used here.
    fn not_readable(&mut self, node: &Node<'_>, reference: &Reference, name: &Name) {
        let (own, text) = (self.span.clone(), format!("`${}`", reference.name));
        let itself = own.start <= name.span.start && name.span.end <= own.end;
        let problem = |report: &mut Report, title: String, label: String, help: String| {
            report.push(node.span(), title).label(label).help(help);
        };
        let (place, report) = (&name.place, &mut *self.report);
        let unbound = format!("{text} is not bound yet");
        match name.state.get() {
            State::Now => {}
            State::Later if itself => {
                let help = "a step can only use what a step before it has bound".to_owned();
                problem(
                    report,
                    unbound,
                    "is bound by this step itself".to_owned(),
                    help,
                );
            }
            State::Later => {
                let help = format!("move step {place} (`{}`) above this one", name.by);
                problem(
                    report,
                    unbound,
                    format!("is bound by step {place}, later"),
                    help,
                );
            }
            State::Started => {
                let label = format!("step {place} was started and not awaited before this one");
                let help = "put the `await` of that step above this one".to_owned();
                problem(report, unbound, label, help);
            }
            State::Beside => {
                let title = format!("{text} is bound by a step that runs at the same time");
                let label = format!("step {place} of the same `together`");
                let help = "steps of one `together` cannot use what another of them makes; put the two into \
                            one { steps = [ … ] }, or one of them after the `together`";
                problem(report, title, label, help.to_owned());
            }
            State::Inside(private) => {
                let key = private.key();
                let title = format!("{text} can only be used inside the step that has `{key}`");
                let label = format!("is bound inside a step with `{key}`, at step {place}");
                let help = format!("move this step into it, or bind {text} outside of it");
                problem(report, title, label, help);
            }
        }
    }

    /// A reference to the outputs of a fragment that names none of them.
    fn no_output(&mut self, node: &Node<'_>, whole: &Reference, of: &str, output: Option<&str>) {
        let scope = self.scope;
        let prefix = format!("{of}.");
        let outputs = || {
            scope
                .names
                .keys()
                .filter_map(|name| name.strip_prefix(&prefix))
        };
        let known = all_of(outputs());
        let title = match output {
            Some(output) => format!("`${of}` has no output `{output}`"),
            None => format!("`{whole}` is what a fragment gives, not one thing"),
        };
        let meant = output.and_then(|output| nearest(output, outputs()));
        let help = match meant.or(outputs().next()) {
            Some(meant) => format!("write \"${of}.{meant}\"; its outputs are {known}"),
            None => "the fragment has no outputs; leave its `as` out".to_owned(),
        };
        let place = scope.names.get(of).map_or("", |name| &name.place);
        let label = format!("the outputs of step {place}");
        self.report.push(node.span(), title).label(label).help(help);
    }

    fn unbound(&mut self, node: &Node<'_>, reference: &Reference) {
        let scope = self.scope;
        let (root, rest) = reference
            .name
            .split_once('.')
            .unwrap_or((&reference.name, ""));
        if !rest.is_empty()
            && let Some(name) = scope.names.get(root)
        {
            if name.kind == NameKind::Outputs {
                self.no_output(node, reference, root, Some(rest));
            } else {
                let title = format!("`{reference}` has a dot too many");
                let label = format!("`${root}` has fields, and its fields have none");
                let help = format!("write \"${root}\", or \"${root}.{rest}\"");
                self.report.push(node.span(), title).label(label).help(help);
            }
            return;
        }
        let parties = scope.parties.as_deref().unwrap_or_default();
        let before = || {
            let inputs = scope.inputs.iter().map(String::as_str);
            scope.readable().map(|(name, _)| name).chain(inputs)
        };
        let name = &reference.name;
        if scope.inputs.contains(name) {
            let title = format!("`{reference}` is a field of an input that stands for a value");
            let help = format!("write \"${name}\"; it has no fields");
            self.report
                .push(node.span(), title)
                .label("an input")
                .help(help);
            return;
        }
        let help = if parties.contains(name) {
            format!("{name} is a party, not something that a step bound; write \"{name}\"")
        } else if let Some(meant) = nearest(name, before()) {
            let field = reference
                .field
                .as_ref()
                .map(|f| format!(".{f}"))
                .unwrap_or_default();
            format!("did you mean \"${meant}{field}\"?")
        } else if before().next().is_some() {
            let names: Vec<String> = before().map(|name| format!("${name}")).collect();
            let names = one_of(names.iter().map(String::as_str));
            format!("use {names}, or add as = \"{name}\" to the step that makes it")
        } else {
            format!("add as = \"{name}\" to the step that makes it")
        };
        let title = format!("`${name}` is not bound by any step");
        self.report
            .push(node.span(), title)
            .label("unknown name")
            .help(help);
    }

    /// Checks that a reference stands for a value of type `wanted`.
    pub fn check_reference(
        &mut self,
        node: &Node<'_>,
        reference: &Reference,
        wanted: Type,
    ) -> bool {
        let Some(found) = self.type_of(node, reference) else {
            return false;
        };
        if wanted.accepts(found) {
            return true;
        }
        let title = format!(
            "`{reference}` is {}, `{}` wants {}",
            found.a_name(),
            self.field,
            wanted.a_name()
        );
        let label = self.whose();
        let help = self.instead_of(reference, wanted);
        let problem = self.report.push(node.span(), title);
        problem.label(label);
        problem.help(help);
        false
    }

    /// A value where only a reference to a value of type `wanted` will do.
    pub fn wants_reference(&mut self, node: &Node<'_>, wanted: Type) {
        let guess = match node.get_ref() {
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let help = self.instead_of(
            &Reference {
                name: guess,
                field: None,
            },
            wanted,
        );
        self.expected(node, &format!("a reference to {}", wanted.a_name()))
            .help(help);
    }

    /// What could be written where `wanted` is wanted and `reference` does not fit.
    fn instead_of(&self, reference: &Reference, wanted: Type) -> String {
        let fits = |found: Type| {
            wanted.accepts(found)
                || self
                    .observed
                    .is_some_and(|observed| observed.comparable(found))
        };
        let mut fitting = Vec::new();
        for (name, bound) in self.scope.readable() {
            let NameKind::Value(ty) = bound.kind else {
                continue;
            };
            if fits(ty) {
                fitting.push((name != reference.name, format!("${name}")));
            } else if let Type::Entity(entity) = ty {
                for field in entity.all_fields().into_iter().filter(|f| fits(f.ty)) {
                    fitting.push((name != reference.name, format!("${name}.{}", field.name)));
                }
            }
        }
        // What the same name has comes first: most likely only the field was forgotten.
        fitting.sort();
        match fitting.as_slice() {
            [] if matches!(wanted, Type::Entity(_)) => {
                format!(
                    "no step before this one binds {}; add one that does",
                    wanted.a_name()
                )
            }
            [] => format!(
                "write {} itself; no step before this one binds one",
                wanted.a_name()
            ),
            fitting => {
                const SHOWN: usize = 4;
                let shown = fitting.iter().take(SHOWN).map(|(_, text)| text.as_str());
                format!("write {}", one_of_quoted(shown))
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
