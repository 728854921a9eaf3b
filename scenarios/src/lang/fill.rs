//! Texts with names in braces, `http://{maker.listen}/swaps/{order.id}`: endpoints of the world and what steps bound.

use std::path::Path;

use serde_json::json;
use swaprig_harness::proxy::{ELECTRS, ELECTRS_LIQUID, ELEMENTSD};
use swaprig_harness::server::OWN;
use swaprig_harness::template::{Part, Template, TemplateError};
use swaprig_harness::world::Chain;
use swaprig_harness::world::endpoints::{
    BITCOIND as OF_BITCOIND, ELEMENTSD as OF_ELEMENTSD, INDEX, NODE, SERVER, SWAPRIG,
};
use toml::de::DeValue;

use super::chains::Chains;
use super::cx::{Field, FieldType, StepCx};
use super::parties::BITCOIND;
use super::reference::{Reference, Text};
use super::types::Type;
use super::words::{Node, all_of, nearest, one_of, quoted};

/// The name of the directory of the file in which it stands.
pub(super) const HERE: &str = "here";

/// A text that is filled in when its step runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filled(pub Vec<Filling>);

/// A part of such a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filling {
    /// Text that stays as it is.
    Text(String),
    /// An endpoint of the world, such as `alice.grpc`.
    Endpoint(String),
    /// What a step before bound.
    Value(Reference),
}

impl From<&str> for Filled {
    /// Every name in braces is an endpoint; a text with a lone brace has none.
    fn from(text: &str) -> Self {
        let template = Template::parse(text).unwrap_or_else(|_| Template::plain(text));
        let part = |part| match part {
            Part::Text(text) => Filling::Text(text),
            Part::Name(name) => Filling::Endpoint(name),
        };
        Filled(template.0.into_iter().map(part).collect())
    }
}

/// What a text can be filled with where no step has run yet.
pub(super) struct Known<'k> {
    /// The Lightning nodes; `None` when they could not be read.
    pub(super) parties: Option<&'k [String]>,
    /// The other chains; `None` when they could not be read.
    pub(super) chains: Option<&'k Chains>,
    /// The servers; `None` when they could not be read.
    pub(super) servers: Option<&'k [String]>,
    /// Whether it is of a server, which has names of its own.
    pub(super) own: bool,
}

impl Known<'_> {
    /// What `owner` has, when it is in this world.
    fn of(&self, owner: &str) -> Option<&'static [(&'static str, &'static str)]> {
        let has =
            |names: Option<&[String]>| names.is_some_and(|all| all.iter().any(|n| n == owner));
        match owner {
            BITCOIND => Some(OF_BITCOIND),
            ELEMENTSD if self.chains?.liquid.is_some() => Some(OF_ELEMENTSD),
            ELECTRS if self.chains?.index.contains(&Chain::Bitcoin) => Some(INDEX),
            ELECTRS_LIQUID if self.chains?.index.contains(&Chain::Liquid) => Some(INDEX),
            _ if has(self.parties) => Some(NODE),
            _ if has(self.servers) => Some(SERVER),
            _ => None,
        }
    }

    /// Whether something that is not known may have any name.
    fn is_unsure(&self) -> bool {
        self.parties.is_none() || self.servers.is_none() || self.chains.is_none()
    }

    /// The names without a dot.
    fn plain(&self) -> impl Iterator<Item = &'static str> {
        let own: &[_] = if self.own { OWN } else { &[] };
        own.iter().map(|(name, _)| *name).chain([HERE, SWAPRIG])
    }

    /// Who has endpoints.
    fn owners(&self) -> impl Iterator<Item = &str> {
        let all = self.parties.into_iter().chain(self.servers).flatten();
        let daemons = [BITCOIND, ELEMENTSD, ELECTRS, ELECTRS_LIQUID];
        let there = daemons.into_iter().filter(|name| self.of(name).is_some());
        all.map(String::as_str).chain(there)
    }

    /// What to write instead of a name that stands for nothing; `None` when it is an endpoint.
    pub(super) fn instead_of(&self, name: &str) -> Option<String> {
        if self.plain().any(|plain| plain == name) {
            return None;
        }
        let Some((owner, what)) = name.split_once('.') else {
            if let Some(meant) = nearest(name, self.plain()) {
                return Some(format!("did you mean \"{{{meant}}}\"?"));
            }
            if let Some(endpoints) = self.of(name) {
                let all = endpoints
                    .iter()
                    .map(|(what, _)| format!("{{{name}.{what}}}"));
                let all: Vec<String> = all.collect();
                return Some(format!("write {}", one_of(all.iter().map(String::as_str))));
            }
            return Some(self.overview());
        };
        let Some(endpoints) = self.of(owner) else {
            if self.is_unsure() {
                return None;
            }
            return Some(match nearest(owner, self.owners()) {
                Some(meant) => format!("did you mean \"{{{meant}.{what}}}\"?"),
                None if SERVER.iter().any(|(known, _)| *known == what) => {
                    format!(
                        "there is no server `{owner}`; add servers = {{ {owner} = {{ run = {ARGV} }} }}"
                    )
                }
                None => self.overview(),
            });
        };
        let names = || endpoints.iter().map(|(what, _)| *what);
        if names().any(|known| known == what) {
            return None;
        }
        let has = format!("{owner} has {}", all_of(names()));
        Some(match nearest(what, names()) {
            Some(meant) => format!("did you mean \"{{{owner}.{meant}}}\"? {has}"),
            None => has,
        })
    }

    fn overview(&self) -> String {
        let endpoint = |owner: &str| {
            let first = self.of(owner).and_then(|all| all.first());
            format!("{{{owner}.{}}}", first.map_or("", |(what, _)| what))
        };
        let all: Vec<String> = self
            .plain()
            .map(|name| format!("{{{name}}}"))
            .chain(self.owners().map(endpoint))
            .collect();
        format!(
            "write {} and the like; braces that stand for themselves are doubled: {{{{ }}}}",
            one_of(all.iter().map(String::as_str))
        )
    }
}

/// Why a text is no template, as a title and a help.
pub(super) fn no_template(text: &str, error: &TemplateError) -> (String, String) {
    let help = match error {
        TemplateError::NoName(_) => "write a name between them, such as {alice.grpc}",
        TemplateError::Unclosed | TemplateError::Unopened => "write the other brace, too",
    };
    let doubled = "for braces that stand for themselves write two: {{ }}";
    (
        format!("{}: {error}", quoted(text)),
        format!("{help}; {doubled}"),
    )
}

/// The directory of a file, for `{here}` and for programs that are named from there.
pub(super) fn directory(file: &Path) -> String {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let dir = file.parent().unwrap_or(Path::new("/"));
    dir.to_string_lossy().into_owned()
}

/// A program that is named by a path is found from the directory of its file.
pub(super) fn from_here(program: &str, here: &str) -> String {
    let relative = program.contains('/') && !program.starts_with('/');
    match relative {
        true => format!("{here}/{}", program.trim_start_matches("./")),
        false => program.to_owned(),
    }
}

impl StepCx<'_> {
    fn known(&self) -> Known<'_> {
        Known {
            parties: self.scope.parties.as_deref(),
            chains: self.scope.chains.as_ref(),
            servers: self.scope.servers.as_deref(),
            own: false,
        }
    }

    /// Reads a text with names in braces.
    pub(super) fn filled(&mut self, node: &Node<'_>, text: &str) -> Option<Filled> {
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(error) => {
                let (title, help) = no_template(text, &error);
                self.problem(node.span(), title)
                    .label("a lone brace")
                    .help(help);
                return None;
            }
        };
        let here = directory(self.report.source().path());
        let mut parts = Vec::new();
        for part in template.0 {
            parts.push(match part {
                Part::Text(text) => Filling::Text(text),
                Part::Name(name) if name == HERE => Filling::Text(here.clone()),
                Part::Name(name) => self.filling(node, name)?,
            });
        }
        Some(Filled(parts))
    }

    fn filling(&mut self, node: &Node<'_>, name: String) -> Option<Filling> {
        let root = name.split('.').next().unwrap_or_default();
        let is_bound = self.is_bound(root) || self.scope.inputs.contains(root);
        if !is_bound {
            let Some(help) = self.known().instead_of(&name) else {
                return Some(Filling::Endpoint(name));
            };
            let bound: Vec<&str> = self.scope.readable().map(|(name, _)| name).collect();
            let help = match nearest(root, bound.iter().copied()) {
                Some(meant) => format!("did you mean \"{{{meant}{}}}\"?", &name[root.len()..]),
                None => help,
            };
            self.problem(node.span(), format!("`{{{name}}}` stands for nothing"))
                .label("no endpoint of this world, and no step binds it")
                .help(help);
            return None;
        }
        let Text::Reference(reference) = Text::of(&format!("${name}")) else {
            let title = format!("`{{{name}}}` is not a reference");
            self.problem(node.span(), title)
                .label("in braces")
                .help(format!("write \"{{{root}}}\" or a field of it"));
            return None;
        };
        let path = reference.path();
        let reference = match self.scope.names.contains_key(&path) {
            true => Reference::to(path),
            false => reference,
        };
        let ty = self.type_of(node, &reference)?;
        if let Type::Entity(entity) = ty {
            let field = entity.all_fields().first().map_or("", |field| field.name);
            let title = format!("`{{{name}}}` is {}, not a text", ty.a_name());
            self.problem(node.span(), title)
                .label("no field")
                .help(format!(
                    "write a field of it, such as \"{{{name}.{field}}}\""
                ));
            return None;
        }
        Some(Filling::Value(reference))
    }
}

impl Field for Filled {
    fn field_type() -> FieldType {
        FieldType::new(
            "a text; names in braces are filled in",
            "\"{maker.listen}/swaps\"",
            json!({ "type": "string" }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let text = cx.text(node, "a text such as \"{maker.listen}/swaps\"")?;
        cx.filled(node, &text)
    }

    fn references(&self, out: &mut Vec<Reference>) {
        out.extend(self.0.iter().filter_map(|part| match part {
            Filling::Value(reference) => Some(reference.clone()),
            Filling::Text(_) | Filling::Endpoint(_) => None,
        }));
    }
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Argv(pub Vec<Filled>);

impl<T: Into<Filled>> FromIterator<T> for Argv {
    fn from_iter<I: IntoIterator<Item = T>>(words: I) -> Self {
        Argv(words.into_iter().map(Into::into).collect())
    }
}

/// What a command line looks like, for messages.
pub(super) const ARGV: &str = "[\"./maker\", \"--listen\", \"{listen}\"]";

impl Field for Argv {
    fn field_type() -> FieldType {
        FieldType::new(
            "a program and its arguments, an array of texts in which names in braces are filled in",
            "[\"./pay-them\", \"{maker.listen}\"]",
            json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let DeValue::Array(items) = node.get_ref() else {
            let help = match node.get_ref() {
                DeValue::String(text) => super::fill::words_of(text),
                _ => "write [\"./pay-them\", \"{maker.listen}\"]".to_owned(),
            };
            cx.expected(node, "an array of texts, the program first")
                .help(help);
            return None;
        };
        if items.is_empty() {
            cx.expected(node, "a program")
                .help("write it first: [\"./pay-them\", \"{maker.listen}\"]");
            return None;
        }
        let words: Vec<Option<Filled>> = items.iter().map(|item| Filled::read(item, cx)).collect();
        let mut words = words.into_iter().collect::<Option<Vec<Filled>>>()?;
        if let Some(Filling::Text(program)) = words.first_mut().and_then(|word| word.0.first_mut())
        {
            *program = from_here(program, &directory(cx.report.source().path()));
        }
        Some(Argv(words))
    }

    fn references(&self, out: &mut Vec<Reference>) {
        for word in &self.0 {
            word.references(out);
        }
    }
}

/// A command line as it would be typed, made into an array.
pub(super) fn words_of(line: &str) -> String {
    let words: Vec<String> = line
        .split_whitespace()
        .map(|word| format!("{word:?}"))
        .collect();
    match words.is_empty() {
        true => format!("write {ARGV}"),
        false => format!("no shell reads it; write [{}]", words.join(", ")),
    }
}

/// Variables of a program's environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Env(pub Vec<(String, Filled)>);

impl Field for Env {
    fn field_type() -> FieldType {
        FieldType::new(
            "a table of variables, in whose texts names in braces are filled in",
            "{ RPC = \"{bitcoind.rpc}\" }",
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let DeValue::Table(table) = node.get_ref() else {
            cx.expected(node, "a table of variables")
                .help("write env = { RPC = \"{bitcoind.rpc}\" }");
            return None;
        };
        let pairs: Vec<Option<(String, Filled)>> = table
            .iter()
            .map(|(key, value)| Some((key.get_ref().to_string(), Filled::read(value, cx)?)))
            .collect();
        Some(Env(pairs.into_iter().collect::<Option<_>>()?))
    }

    fn references(&self, out: &mut Vec<Reference>) {
        for (_, value) in &self.0 {
            value.references(out);
        }
    }
}
