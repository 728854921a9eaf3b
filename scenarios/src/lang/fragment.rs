//! Fragments: finding the files that a scenario uses, and what each of them asks for and gives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::check::step_items;
use super::inputs::{InputType, RESERVED_INPUTS};
use super::load::{FRAGMENT, root_of};
use super::problem::{Report, Source, Span};
use super::reference::Text;
use super::syntax;
use super::words::{Node, all_of, describe, is_name, nearest, one_of, quoted, to_name};

/// The keys of a fragment: name, example, what it does.
pub(super) const FRAGMENT_KEYS: &[(&str, &str, &str)] = &[
    (
        "title",
        "\"A channel that can be used\"",
        "what the fragment does, in one line",
    ),
    (
        "inputs",
        "{ from = \"party\", size = { type = \"sat\", default = \"1_000_000 sat\" } }",
        "what a use must give: each with its type, or with its type and a default",
    ),
    (
        "outputs",
        "[\"channel\"]",
        "the names of its steps that a use can read; or { channel = \"$opened.channel\" } to give them other names",
    ),
    ("steps", "[ { mine = 6 } ]", "what is done, in order"),
];

/// Every fragment that a scenario uses, directly or through another one, as text.
#[derive(Debug, Default)]
pub(super) struct Library {
    sources: BTreeMap<PathBuf, Source>,
    /// By the file that uses it and the path that is written there.
    found: BTreeMap<(PathBuf, String), Found>,
}

/// Where a fragment was looked for.
#[derive(Debug, Clone)]
pub(super) enum Found {
    At(PathBuf),
    Nowhere { tried: Vec<PathBuf> },
    Unreadable { path: PathBuf, why: String },
}

/// The fragments, parsed.
#[derive(Debug)]
pub(super) struct Fragments<'l> {
    library: &'l Library,
    files: BTreeMap<&'l Path, Parsed<'l>>,
}

/// One fragment file. Without a table there are problems of its syntax.
#[derive(Debug)]
pub(super) struct Parsed<'l> {
    pub(super) path: &'l Path,
    pub(super) source: &'l Source,
    pub(super) table: Option<Spanned<DeTable<'l>>>,
}

/// What a fragment asks for, gives and does.
pub(super) struct Header<'a> {
    pub(super) inputs: Vec<InputSpec<'a>>,
    pub(super) outputs: Vec<Output>,
    pub(super) items: Option<&'a DeArray<'a>>,
    /// Whether every line of it could be read.
    pub(super) sound: bool,
}

/// An input of a fragment.
pub(super) struct InputSpec<'a> {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) ty: InputType,
    pub(super) default: Option<&'a Node<'a>>,
}

/// An output of a fragment.
pub(super) struct Output {
    /// What the use calls it.
    pub(super) name: String,
    /// What it is called inside.
    pub(super) of: String,
    pub(super) span: Span,
}

impl Library {
    /// Reads every fragment that can be reached from `source`.
    pub(super) fn load(source: &Source) -> Self {
        let mut library = Library::default();
        let mut pending = vec![source.clone()];
        while let Some(source) = pending.pop() {
            let mut report = Report::new(&source);
            let Some(table) = syntax::parse(&source, &mut report) else {
                continue;
            };
            let mut literals = Vec::new();
            if let Some(steps) = table.get_ref().get("steps") {
                uses(steps.get_ref(), &mut literals);
            }
            for literal in literals {
                let from = source.path().to_owned();
                let found = find(&from, &literal);
                if let (Found::Nowhere { .. }, Some((path, text))) = (&found, shipped(&literal)) {
                    let read = Source::new(literal.clone(), &path, text);
                    library.sources.insert(path.clone(), read);
                    library.found.insert((from, literal), Found::At(path));
                    continue;
                }
                if let Found::At(path) = &found
                    && !library.sources.contains_key(path)
                {
                    match fs::read(path) {
                        Ok(bytes) => {
                            let read = Source::from_bytes(literal.clone(), path, &bytes);
                            library.sources.insert(path.clone(), read.clone());
                            pending.push(read);
                        }
                        Err(error) => {
                            let (path, why) = (path.clone(), error.to_string());
                            let unreadable = Found::Unreadable { path, why };
                            library.found.insert((from, literal), unreadable);
                            continue;
                        }
                    }
                }
                library.found.insert((from, literal), found);
            }
        }
        library
    }

    /// Parses them all.
    pub(super) fn parse(&self) -> Fragments<'_> {
        let files = self.sources.iter().map(|(path, source)| {
            let table = syntax::parse(source, &mut Report::new(source));
            let path = path.as_path();
            (
                path,
                Parsed {
                    path,
                    source,
                    table,
                },
            )
        });
        Fragments {
            library: self,
            files: files.collect(),
        }
    }
}

impl<'l> Fragments<'l> {
    /// Where the fragment that `from` calls `literal` was found.
    pub(super) fn found(&self, from: &Source, literal: &str) -> Option<&'l Found> {
        let key = (from.path().to_owned(), literal.to_owned());
        self.library.found.get(&key)
    }

    /// The fragment that `from` calls `literal`.
    pub(super) fn get<'s>(&'s self, from: &Source, literal: &str) -> Option<&'s Parsed<'l>> {
        match self.found(from, literal)? {
            Found::At(path) => self.files.get(path.as_path()),
            Found::Nowhere { .. } | Found::Unreadable { .. } => None,
        }
    }
}

/// Every text under a key `use` in a list of steps, however deep.
fn uses(value: &DeValue<'_>, out: &mut Vec<String>) {
    match value {
        DeValue::Array(items) => items.iter().for_each(|item| uses(item.get_ref(), out)),
        DeValue::Table(table) => {
            for (key, value) in table {
                match (key.get_ref().as_ref(), value.get_ref()) {
                    ("use", DeValue::String(literal)) if is_literal_path(literal) => {
                        out.push(literal.to_string());
                    }
                    ("steps" | "together", inner) => uses(inner, out),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Whether it is the path of a fragment as files write it: names with slashes between them.
pub(super) fn is_literal_path(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    text.split('/').all(part)
}

/// The fragments that are part of the program, for files in directories without any. They use no others.
const SHIPPED: &[(&str, &str)] = &[
    (
        "lib/channel",
        include_str!("../../lib/channel.fragment.toml"),
    ),
    ("lib/funded", include_str!("../../lib/funded.fragment.toml")),
];

/// A fragment that is part of the program, with the path that messages give it.
fn shipped(literal: &str) -> Option<(PathBuf, &'static str)> {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == literal)?;
    Some((format!("(swaprig)/{literal}{FRAGMENT}").into(), text))
}

/// First below the directory where ids begin, then beside the file.
fn find(from: &Path, literal: &str) -> Found {
    let file = format!("{literal}{FRAGMENT}");
    let beside = from.parent().unwrap_or(Path::new("")).join(&file);
    let below = root_of(from).map(|root| root.join(&file));
    let mut tried: Vec<PathBuf> = below.into_iter().collect();
    if !tried.contains(&beside) {
        tried.push(beside);
    }
    match tried.iter().find(|path| path.is_file()) {
        Some(path) => Found::At(path.clone()),
        None => Found::Nowhere { tried },
    }
}

/// The fragments below the same directories, for "did you mean".
pub(super) fn neighbours(tried: &[PathBuf], literal: &str) -> Vec<String> {
    let (dir, _) = literal.rsplit_once('/').unwrap_or(("", ""));
    let mut names = Vec::new();
    for path in tried {
        let entries = path.parent().and_then(|dir| fs::read_dir(dir).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(FRAGMENT) {
                names.push(match dir {
                    "" => name.to_owned(),
                    dir => format!("{dir}/{name}"),
                });
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Reads what a fragment asks for and gives.
pub(super) fn read_header<'a>(
    table: &'a DeTable<'a>,
    types: &[InputType],
    report: &mut Report,
) -> Header<'a> {
    let before = report.count();
    let keys = || FRAGMENT_KEYS.iter().map(|(key, ..)| *key);
    for (key, _) in table {
        let name: &str = key.get_ref();
        if keys().any(|known| known == name) {
            continue;
        }
        let title = format!("unknown key `{name}` in a fragment");
        let meant = nearest(name, keys()).filter(|key| !table.contains_key(*key));
        let help = match (name, meant) {
            ("world" | "tags" | "cases" | "matrix", _) => {
                format!("`{name}` belongs into the scenario that uses the fragment")
            }
            (_, Some(meant)) => format!("did you mean `{meant}`?"),
            (_, None) => format!("a fragment has {}", all_of(keys())),
        };
        report.push(key.span(), title).label("unknown").help(help);
    }
    let inputs = table
        .get("inputs")
        .map(|node| inputs(node, types, report))
        .unwrap_or_default();
    let outputs = table
        .get("outputs")
        .map(|node| outputs(node, report))
        .unwrap_or_default();
    let items = match table.get("steps") {
        Some(node) => step_items(node, "steps", "a fragment without steps", report),
        None => {
            let first_line = report.source().text().lines().next().map_or(0, str::len);
            report
                .push(0..first_line, "the fragment has no `steps`")
                .label("in this file")
                .help("add steps = [ { mine = 6 } ]");
            None
        }
    };
    Header {
        inputs,
        outputs,
        items,
        sound: report.count() == before,
    }
}

fn inputs<'a>(node: &'a Node<'a>, types: &[InputType], report: &mut Report) -> Vec<InputSpec<'a>> {
    const HELP: &str = "write inputs = { from = \"party\", size = { type = \"sat\", default = \"1_000_000 sat\" } }";
    let DeValue::Table(table) = node.get_ref() else {
        let title = format!("expected a table, found {}", describe(node));
        report
            .push(node.span(), title)
            .label("the value of `inputs`")
            .help(HELP);
        return Vec::new();
    };
    let mut specs = Vec::new();
    for (key, value) in table {
        let name: &str = key.get_ref();
        if !input_name(name, key.span(), report) || is_reserved(name, key.span(), report) {
            continue;
        }
        let (ty, default) = match value.get_ref() {
            DeValue::Table(table) => {
                for (key, _) in table {
                    if !matches!(key.get_ref().as_ref(), "type" | "default") {
                        let title =
                            format!("unknown key `{}` in the input `{name}`", key.get_ref());
                        report
                            .push(key.span(), title)
                            .label("unknown")
                            .help("an input has `type` and, where it may be left out, `default`");
                    }
                }
                (table.get("type"), table.get("default"))
            }
            _ => (Some(value), None),
        };
        let Some(ty) = ty else {
            report
                .push(value.span(), format!("the input `{name}` has no type"))
                .label("`type` is missing")
                .help("add type = \"sat\"");
            continue;
        };
        if let Some(ty) = input_type(name, ty, types, report) {
            specs.push(InputSpec {
                name: name.to_owned(),
                span: key.span(),
                ty,
                default,
            });
        }
    }
    specs
}

/// Whether an input can have that name; when not, that is said.
pub(super) fn input_name(name: &str, span: Span, report: &mut Report) -> bool {
    if !is_name(name, '_') {
        let example = to_name(name, '_').unwrap_or_else(|| "amount".to_owned());
        report
            .push(span, format!("{} is not a name for an input", quoted(name)))
            .label("a lowercase letter, then lowercase letters, digits and `_`")
            .help(format!("write {example}"));
        return false;
    }
    true
}

/// Whether a use of a fragment has another meaning for the name, which is then said.
fn is_reserved(name: &str, span: Span, report: &mut Report) -> bool {
    let reserved = RESERVED_INPUTS.contains(&name);
    if reserved {
        report
            .push(
                span,
                format!("no input of a fragment can be called `{name}`"),
            )
            .label("the step that uses it has this key for itself")
            .help("choose another name");
    }
    reserved
}

fn input_type(
    name: &str,
    node: &Node<'_>,
    types: &[InputType],
    report: &mut Report,
) -> Option<InputType> {
    let known = || types.iter().map(|ty| ty.name.as_str());
    let DeValue::String(text) = node.get_ref() else {
        let title = format!("expected the type of `{name}`, found {}", describe(node));
        let help = format!("write {}", one_of(known()));
        report
            .push(node.span(), title)
            .label("the type of an input")
            .help(help);
        return None;
    };
    if let Some(ty) = types.iter().find(|ty| ty.name == text.as_ref()) {
        return Some(ty.clone());
    }
    let help = match nearest(text, known()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("a type is {}", one_of(known())),
    };
    report
        .push(node.span(), format!("unknown type {}", quoted(text)))
        .label(format!("the type of `{name}`"))
        .help(help);
    None
}

fn outputs(node: &Node<'_>, report: &mut Report) -> Vec<Output> {
    const HELP: &str =
        "write outputs = [\"channel\"], or outputs = { channel = \"$opened.channel\" }";
    let mut outputs = Vec::new();
    let wrong = |node: &Node<'_>, report: &mut Report| {
        let title = format!("expected the name of an output, found {}", describe(node));
        report
            .push(node.span(), title)
            .label("in `outputs`")
            .help(HELP);
    };
    match node.get_ref() {
        DeValue::Array(items) => {
            for item in items {
                match item.get_ref() {
                    DeValue::String(name) if is_name(name, '_') => outputs.push(Output {
                        name: name.to_string(),
                        of: name.to_string(),
                        span: item.span(),
                    }),
                    _ => wrong(item, report),
                }
            }
        }
        DeValue::Table(table) => {
            for (key, value) in table {
                let of = match value.get_ref() {
                    DeValue::String(text) => match Text::of(text) {
                        Text::Reference(reference) => Some(reference.path()),
                        Text::Literal(_) | Text::Malformed => None,
                    },
                    _ => None,
                };
                match of {
                    Some(of) if is_name(key.get_ref(), '_') => outputs.push(Output {
                        name: key.get_ref().to_string(),
                        of,
                        span: value.span(),
                    }),
                    _ => wrong(value, report),
                }
            }
        }
        _ => wrong(node, report),
    }
    let mut seen = std::collections::BTreeSet::new();
    for output in &outputs {
        if !seen.insert(output.name.clone()) {
            report
                .push(
                    output.span.clone(),
                    format!("the output `{}` is there twice", output.name),
                )
                .label("the second")
                .help("keep one of the two");
        }
    }
    outputs
}
