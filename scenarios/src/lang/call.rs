//! The step `use`: which fragment it names, what it gives it, and the steps that it comes to.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::DeValue;

use super::cx::StepCx;
use super::fragment::{Found, Header, InputSpec, Parsed, is_literal_path, neighbours, read_header};
use super::frame::{File, Frame, Names};
use super::inputs::{Given, Origin, RESERVED_INPUTS, Replaced, Values};
use super::load::FRAGMENT;
use super::plan::{Action, PlannedStep, Site, USED_HERE};
use super::problem::Report;
use super::reference::Reference;
use super::scope::{Name, NameKind, Scope, State};
use super::steps::{Place, Read};
use super::syntax;
use super::words::{Node, all_of, nearest, quoted};

impl<'a> File<'a> {
    /// Reads a `use`.
    pub(super) fn read_use(
        &self,
        replaced: &Replaced<'a>,
        item: &Node<'a>,
        frame: &Frame<'a>,
        place: Place<'_>,
        report: &mut Report,
    ) -> Option<Read> {
        let mut cx = self.cx("use", replaced, item, frame, report);
        let common = self.common(&mut cx);
        let bind = self.bind(None, &mut cx);
        let node = replaced.table.get("use")?;
        let fragment = self.fragment(node, frame, report)?;
        let DeValue::String(literal) = node.get_ref() else {
            return None;
        };
        let mut inner = Report::new(fragment.source);
        let site = Site {
            source: frame.source.clone(),
            span: node.span(),
        };
        let steps = match &fragment.table {
            Some(table) => {
                let header = read_header(table.get_ref(), &self.types, &mut inner);
                let call = Call {
                    fragment,
                    literal,
                    header: &header,
                    replaced,
                    item,
                    site: &site,
                };
                self.read_call(&call, frame, place, &mut inner, report)
            }
            None => {
                syntax::parse(fragment.source, &mut inner);
                None
            }
        };
        for problem in inner.since(0) {
            problem.note(&site.source, site.span.clone(), USED_HERE, "");
        }
        report.absorb(inner, node.span().start);
        let (common, steps) = (common?, steps?);
        bind?;
        Some(Read {
            key: "use".to_owned(),
            action: Action::Steps(steps),
            bind: None,
            common,
        })
    }

    /// The fragment that a use names; when there is none, that is said.
    fn fragment(
        &self,
        node: &Node<'_>,
        frame: &Frame<'a>,
        report: &mut Report,
    ) -> Option<&'a Parsed<'a>> {
        const HELP: &str = "write its path without `.fragment.toml`, such as \"lib/channel\"";
        let label = "the path of a fragment";
        let DeValue::String(literal) = node.get_ref() else {
            let title = format!(
                "expected the path of a fragment, found {}",
                super::words::describe(node)
            );
            report
                .push(node.span(), title)
                .label("the value of `use`")
                .help(HELP);
            return None;
        };
        if !is_literal_path(literal) {
            let title = format!("{} is not the path of a fragment", quoted(literal));
            let help = match literal.strip_suffix(FRAGMENT) {
                Some(path) if is_literal_path(path) => format!("write \"{path}\""),
                _ if literal.starts_with('$') => {
                    "the path is written out: which fragment is used does not depend on inputs".to_owned()
                }
                _ if literal.contains("..") || literal.starts_with('/') => {
                    "the path begins below the directory `scenarios`, or beside this file, and goes only down from there"
                        .to_owned()
                }
                _ => HELP.to_owned(),
            };
            report.push(node.span(), title).label(label).help(help);
            return None;
        }
        let problem = match self.fragments.found(&frame.source, literal)? {
            Found::At(_) => {
                let fragment = self.fragments.get(&frame.source, literal)?;
                return self.no_circle(node, fragment, literal, frame, report);
            }
            Found::Unreadable { path, why } => {
                let title = format!("the fragment {} cannot be read", path.display());
                (title, why.clone())
            }
            Found::Nowhere { tried } => {
                let names = neighbours(tried, literal);
                let below = match tried.len() {
                    1 => "",
                    _ => " below the directory `scenarios` and",
                };
                let tried = format!("looked for {literal}{FRAGMENT}{below} beside this file");
                let help = match nearest(literal, names.iter().map(String::as_str)) {
                    Some(meant) => format!("did you mean \"{meant}\"? {tried}"),
                    None => tried,
                };
                (format!("there is no fragment \"{literal}\""), help)
            }
        };
        let (title, help) = problem;
        report.push(node.span(), title).label(label).help(help);
        None
    }

    fn no_circle(
        &self,
        node: &Node<'_>,
        fragment: &'a Parsed<'a>,
        literal: &str,
        frame: &Frame<'_>,
        report: &mut Report,
    ) -> Option<&'a Parsed<'a>> {
        let at = frame
            .chain
            .iter()
            .position(|(path, _)| path == fragment.path);
        let Some(at) = at else { return Some(fragment) };
        let names = frame.chain[at..].iter().map(|(_, name)| name.as_str());
        let circle: Vec<&str> = names.chain([literal]).collect();
        report
            .push(
                node.span(),
                format!("the fragment \"{literal}\" uses itself"),
            )
            .label(circle.join(" → "))
            .help(
                "a fragment cannot use itself, directly or through another; `times` repeats steps",
            );
        None
    }
}

/// A use of a fragment.
struct Call<'c, 'a> {
    fragment: &'c Parsed<'a>,
    literal: &'c str,
    header: &'c Header<'a>,
    replaced: &'c Replaced<'a>,
    item: &'c Node<'a>,
    site: &'c Site,
}

impl<'a> File<'a> {
    /// Reads the steps of a fragment with what this use gives it. Problems of the use are in `outer`.
    fn read_call(
        &self,
        call: &Call<'_, 'a>,
        frame: &Frame<'a>,
        place: Place<'_>,
        inner: &mut Report,
        outer: &mut Report,
    ) -> Option<Vec<PlannedStep>> {
        let header = call.header;
        if let Some(name) = call.replaced.table.get("as")
            && header.outputs.is_empty()
        {
            let title = format!("\"{}\" gives nothing that could have a name", call.literal);
            outer
                .push(name.span(), title)
                .label("names nothing")
                .help("leave `as` out");
            return None;
        }
        let known = header.sound && self.known_inputs(call, outer);
        let given = self.inputs(call, frame, inner, outer);
        let (Some((values, given)), true, true) = (given, known, header.sound) else {
            return None;
        };
        let items = header.items?;
        let own = self.inner_frame(call, frame, values, given);
        let place = Place {
            together: false,
            ..place
        };
        let steps = self.read(items, &own, place, inner);
        for output in &header.outputs {
            let bound = own.scope.names.get(&output.of);
            if bound.is_none_or(|name| !name.is_readable() || name.kind == NameKind::Outputs) {
                let title = format!("the output `{}` is not bound", output.name);
                let label = format!(
                    "no step of the fragment binds `{}` for those after it",
                    output.of
                );
                let help = format!("add as = \"{}\" to the step that makes it", output.of);
                inner
                    .push(output.span.clone(), title)
                    .label(label)
                    .help(help);
            }
        }
        steps
    }

    /// The frame of the fragment's own steps.
    fn inner_frame(
        &self,
        call: &Call<'_, 'a>,
        frame: &Frame<'a>,
        values: Values<'a>,
        given: BTreeMap<String, Name>,
    ) -> Frame<'a> {
        let mut chain = frame.chain.clone();
        chain.push((call.fragment.path.to_owned(), call.literal.to_owned()));
        let prefix = frame.prefixes.get(&call.item.span().start);
        let prefix = prefix.cloned().unwrap_or_default();
        let mut paths = chain.iter().map(|(path, _)| path.clone()).collect();
        let found = call.header.items.map_or_else(Names::default, |items| {
            self.names(call.fragment.source, items, &prefix, &mut paths)
        });
        let mut names = found.names;
        names.extend(given);
        let site = std::iter::once(call.site.clone());
        let used: Vec<Site> = site.chain(frame.used.iter().cloned()).collect();
        let own = Frame {
            source: call.fragment.source.clone(),
            scope: Scope {
                parties: frame.scope.parties.clone(),
                chains: frame.scope.chains.clone(),
                proxies: frame.scope.proxies.clone(),
                servers: frame.scope.servers.clone(),
                specs: frame.scope.specs.clone(),
                names,
                inputs: values.names(),
            },
            values,
            targets: Arc::default(),
            prefix,
            prefixes: found.prefixes,
            used: used.into(),
            chain,
            started: Default::default(),
        };
        own.with_targets()
    }

    /// Says which keys of a use are no inputs of its fragment.
    fn known_inputs(&self, call: &Call<'_, '_>, outer: &mut Report) -> bool {
        let specs = &call.header.inputs;
        let mut sound = true;
        for (key, _) in &call.replaced.table {
            let name: &str = key.get_ref();
            let input = specs.iter().any(|spec| spec.name == name);
            let taken = matches!(name, "together" | "steps" | "await");
            if input || RESERVED_INPUTS.contains(&name) && !taken || self.strays.contains(&name) {
                continue;
            }
            sound = false;
            let absent = specs.iter().map(|spec| spec.name.as_str());
            let absent = absent.filter(|spec| !call.replaced.table.contains_key(*spec));
            let takes = match specs.as_slice() {
                [] => "it has no inputs".to_owned(),
                specs => format!(
                    "it has {}",
                    all_of(specs.iter().map(|spec| spec.name.as_str()))
                ),
            };
            let help = match nearest(name, absent) {
                Some(meant) => format!("did you mean `{meant}`? {takes}"),
                None if taken || self.registry.get(name).is_some() => {
                    format!(
                        "{takes}; `{name}` is a step: write two steps, each in braces of its own"
                    )
                }
                None => takes,
            };
            outer
                .push(
                    key.span(),
                    format!("\"{}\" has no input `{name}`", call.literal),
                )
                .label("unknown")
                .help(help);
        }
        sound
    }

    /// What is given for every input: as values, or as names for what steps of the outer frame bound.
    fn inputs(
        &self,
        call: &Call<'_, 'a>,
        frame: &Frame<'a>,
        inner: &mut Report,
        outer: &mut Report,
    ) -> Option<(Values<'a>, BTreeMap<String, Name>)> {
        let (mut values, mut names) = (Values::default(), BTreeMap::new());
        let mut sound = true;
        for spec in &call.header.inputs {
            let table = &call.replaced.table;
            let read = match (table.get(spec.name.as_str()), spec.default) {
                (Some(node), _) => {
                    let mut cx = self.cx(call.literal, call.replaced, call.item, frame, outer);
                    spec.name.clone_into(&mut cx.field);
                    spec.ty.read(node, &mut cx).map(|given| (node, given))
                }
                (None, Some(default)) => self
                    .default(call, spec, default, inner)
                    .map(|given| (default, given)),
                (None, None) => {
                    let title = format!("\"{}\" needs `{}`", call.literal, spec.name);
                    outer
                        .push(call.item.span(), title)
                        .label(format!("`{}` is missing: {}", spec.name, spec.ty.doc))
                        .note(call.fragment.source, spec.span.clone(), "the input", "")
                        .help(format!("add {} = {}", spec.name, spec.ty.example));
                    None
                }
            };
            match read {
                Some((node, Given::Literal)) => {
                    let origin = match table.contains_key(spec.name.as_str()) {
                        true => Origin::Use(frame.source.clone(), node.span()),
                        false => Origin::Default,
                    };
                    values.insert(&spec.name, node.clone(), origin);
                }
                Some((_, Given::Reference(reference, ty))) => {
                    let name = Name {
                        place: place_of(frame, &reference),
                        span: spec.span.clone(),
                        by: "use".to_owned(),
                        kind: NameKind::Value(ty),
                        target: frame.rename(reference),
                        state: std::cell::Cell::new(State::Now),
                    };
                    names.insert(spec.name.clone(), name);
                }
                None => sound = false,
            }
        }
        sound.then_some((values, names))
    }

    /// A default is written out in the fragment, and is checked there.
    fn default(
        &self,
        call: &Call<'_, 'a>,
        spec: &InputSpec<'a>,
        node: &Node<'a>,
        inner: &mut Report,
    ) -> Option<Given> {
        let nothing = Scope {
            parties: None,
            ..Scope::default()
        };
        let mut cx = StepCx {
            report: inner,
            scope: &nothing,
            table: &call.replaced.table,
            span: node.span(),
            step: call.literal,
            field: spec.name.clone(),
            misspelt: Vec::new(),
            observed: None,
        };
        spec.ty.read(node, &mut cx)
    }
}

fn place_of(frame: &Frame<'_>, reference: &Reference) -> String {
    let name = frame.scope.names.get(&reference.name);
    name.map_or_else(String::new, |name| name.place.clone())
}
