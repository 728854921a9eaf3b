//! What a reference stands for where it is written, and what to say when it stands for nothing, or for the wrong thing.

use toml::de::DeValue;

use super::answer::Answer;
use super::cx::StepCx;
use super::problem::Report;
use super::reference::Reference;
use super::scope::{Name, NameKind, State};
use super::types::Type;
use super::words::{Node, all_of, nearest, one_of, one_of_quoted};
use crate::entities::Invoice;

impl StepCx<'_> {
    /// Whether it was most likely written for an input: values of those stand where no other reference can.
    pub(super) fn means_an_input(&self, reference: &Reference) -> bool {
        let inputs = || self.scope.inputs.iter().map(String::as_str);
        let known = self.scope.names.contains_key(&reference.name);
        !known && nearest(&reference.name, inputs()).is_some()
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
        } else if matches!(ty, Type::Entity(entity) if entity.is(Answer::BASE) || entity.is(Answer::REPLY))
        {
            help = format!(
                "{help}; to keep more of it, write take = {{ {field} = \"$.{field}\" }} where it is bound"
            );
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

    pub(super) fn unbound(&mut self, node: &Node<'_>, reference: &Reference) {
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
            let things = scope
                .readable()
                .filter(|(_, name)| name.kind != NameKind::Outputs);
            things.map(|(name, _)| name).chain(inputs)
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
        let title = match self.scope.inputs.is_empty() {
            true => format!("`${name}` is not bound by any step"),
            false => format!("`${name}` is not bound by any step, and no input"),
        };
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
        let invoice = Invoice::ENTITY_TYPE.name;
        let is_invoice = matches!(wanted, Type::Entity(entity) if entity.name == invoice);
        let help = match is_invoice && matches!(found, Type::Text) {
            true => format!(
                "read it first, {{ read_invoice = \"{reference}\", as = \"invoice\" }}, and write \"$invoice\""
            ),
            false => self.instead_of(reference, wanted),
        };
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
}
