//! The proxies of a file's world, and the steps' names for them: `alice->bob`.

use std::fmt;

use serde_json::json;
use swaprig_harness::proxy::{
    BITCOIND, ELECTRS, ELECTRS_LIQUID, ELEMENTSD, End, FieldValue, HARNESS, Kind, Link, LinkError,
    ServerEnd,
};
use swaprig_harness::world::Chain;
use toml::de::DeValue;

use super::chains::Chains;
use super::cx::{Field, FieldType, StepCx};
use super::problem::{Report, Span};
use super::reference::Reference;
use super::value::Value;
use super::words::{Node, describe, nearest, one_of_quoted, quoted};

const EXAMPLE: &str = "proxies = [\"alice->bob\", \"bob->bitcoind\", \"harness->bob\"]";

/// What can have a proxy, for messages.
const PAIRS: &str = "a proxy goes from a Lightning node to its peer (\"alice->bob\"), from a node or the harness to \
                     bitcoind (\"bob->bitcoind\"), or from the harness to a node (\"harness->bob\"); a server \
                     calls bitcoind, nodes and servers, and the harness calls servers";

/// The same in a world with an index.
const INDEXES: &str = "; an index is called by the harness (\"harness->electrs-liquid\") and calls the node of its chain \
                       (\"electrs-liquid->elementsd\")";

/// What can have a proxy in this world.
fn pairs(chains: Option<&Chains>) -> String {
    match chains.is_some_and(|chains| !chains.index.is_empty()) {
        true => format!("{PAIRS}{INDEXES}"),
        false => PAIRS.to_owned(),
    }
}

/// The daemons of which a world has one at most.
fn daemons(chains: Option<&Chains>) -> Vec<&'static str> {
    let chains = chains.cloned().unwrap_or_default();
    let elementsd = chains.liquid.is_some().then_some(ELEMENTSD);
    let indexes = chains.index.iter().map(|chain| match chain {
        Chain::Bitcoin => ELECTRS,
        Chain::Liquid => ELECTRS_LIQUID,
    });
    [BITCOIND]
        .into_iter()
        .chain(elementsd)
        .chain(indexes)
        .collect()
}

/// What can be an end of a link beside Lightning nodes.
#[derive(Clone, Copy)]
pub(super) struct Ends<'e> {
    pub(super) servers: &'e [ServerEnd],
    /// `None` when they could not be read.
    pub(super) chains: Option<&'e Chains>,
}

/// A proxy of the world, by its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnProxy {
    /// Who calls whom.
    pub link: Link,
    kind: Kind,
}

impl OnProxy {
    fn on(link: Link, servers: &[ServerEnd]) -> Self {
        // The link of a checked file has a kind.
        let kind = link.kind(servers).unwrap_or(Kind::Tcp);
        OnProxy { link, kind }
    }

    /// What passes through it.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<&str> for OnProxy {
    /// A text that is no link stands for a proxy that no world has, which is said when the step runs. Ends that are not
    /// `harness` and `bitcoind` are Lightning nodes.
    fn from(text: &str) -> Self {
        let link = text.parse().unwrap_or_else(|_| Link::new(text, text));
        OnProxy::on(link, &[])
    }
}

impl fmt::Display for OnProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.fmt(f)
    }
}

/// Reads `proxies` of a world with these Lightning nodes, which are `None` when they could not be read.
pub(super) fn read(
    node: &Node<'_>,
    parties: Option<&[String]>,
    ends: Ends<'_>,
    report: &mut Report,
) -> Option<Vec<Link>> {
    let DeValue::Array(items) = node.get_ref() else {
        let help = match node.get_ref() {
            DeValue::String(text) => format!("write proxies = [{}]", quoted(text)),
            _ => format!("write {EXAMPLE}"),
        };
        report
            .push(
                node.span(),
                format!("expected an array of links, found {}", describe(node)),
            )
            .label("the value of `proxies`")
            .help(help);
        return None;
    };
    let mut links: Vec<(Link, Span)> = Vec::new();
    let mut sound = true;
    for item in items {
        let Some(link) = read_link(item, parties, ends, report) else {
            sound = false;
            continue;
        };
        if let Some((_, first)) = links.iter().find(|(other, _)| *other == link) {
            sound = false;
            report
                .push(item.span(), format!("the proxy \"{link}\" is there twice"))
                .label("the second")
                .also(first.clone(), "the first")
                .help("keep one of the two");
        }
        links.push((link, item.span()));
    }
    sound.then(|| links.into_iter().map(|(link, _)| link).collect())
}

fn read_link(
    node: &Node<'_>,
    parties: Option<&[String]>,
    ends: Ends<'_>,
    report: &mut Report,
) -> Option<Link> {
    let what = "a link such as \"alice->bob\"";
    let DeValue::String(text) = node.get_ref() else {
        report
            .push(
                node.span(),
                format!("expected {what}, found {}", describe(node)),
            )
            .label("in `proxies`")
            .help(format!("write {EXAMPLE}"));
        return None;
    };
    let link: Link = match text.parse() {
        Ok(link) => link,
        Err(_) => {
            report
                .push(node.span(), format!("{} is not a link", quoted(text)))
                .label("in `proxies`")
                .help(format!(
                    "write who calls, `->`, and who is called; {}",
                    pairs(ends.chains)
                ));
            return None;
        }
    };
    let mut known = true;
    for end in [&link.from, &link.to] {
        known &= is_known(end, node, parties, ends, report);
    }
    if !known {
        return None;
    }
    if let Err(error) = link.kind(ends.servers) {
        let help = match error {
            LinkError::FromBitcoind(_) | LinkError::ToHarness(_) | LinkError::NodeToServer(_)
                if link.reversed().kind(ends.servers).is_ok() =>
            {
                format!("did you mean \"{}\"?", link.reversed())
            }
            _ => pairs(ends.chains),
        };
        report
            .push(node.span(), error.to_string())
            .label("no connection goes that way")
            .help(help);
        return None;
    }
    Some(link)
}

fn is_known(
    end: &End,
    node: &Node<'_>,
    parties: Option<&[String]>,
    ends: Ends<'_>,
    report: &mut Report,
) -> bool {
    let daemons = daemons(ends.chains);
    let is_there = match end {
        End::Harness | End::Bitcoind => true,
        End::Node(name) => {
            let server = ends.servers.iter().any(|server| server.name == *name);
            server || parties.is_none_or(|parties| parties.contains(name))
        }
        End::Elementsd | End::Electrs | End::ElectrsLiquid => {
            ends.chains.is_none() || daemons.contains(&end.name())
        }
    };
    if is_there {
        return true;
    }
    let name = end.name();
    let known = || {
        let parties = parties.unwrap_or_default().iter().map(String::as_str);
        let servers = ends.servers.iter().map(|server| server.name.as_str());
        let daemons = daemons.iter().copied().chain([HARNESS]);
        parties.chain(servers).chain(daemons)
    };
    let list = one_of_quoted(known());
    let help = match nearest(name, known()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write {list} for it"),
    };
    report
        .push(
            node.span(),
            format!("\"{name}\" is not in this world, so it can be no end of a link"),
        )
        .label(format!("known: {list}"))
        .help(help);
    false
}

/// Every link that a proxy can be on, in a world of these nodes, servers and chains.
fn possible(parties: &[String], own: Ends<'_>) -> Vec<Link> {
    let Ends { servers, chains } = own;
    let daemons = daemons(chains);
    let ends = || {
        let parties = parties.iter().map(String::as_str);
        let servers = servers.iter().map(|server| server.name.as_str());
        let daemons = daemons.iter().copied().chain([HARNESS]);
        parties.chain(servers).chain(daemons)
    };
    let all = ends().flat_map(|from| ends().map(move |to| Link::new(from, to)));
    all.filter(|link| link.kind(servers).is_ok()).collect()
}

impl Field for OnProxy {
    fn field_type() -> FieldType {
        let schema = json!({
            "type": "string",
            "pattern": r"^\s*[a-z][a-z0-9-]*\s*->\s*[a-z][a-z0-9-]*\s*$",
        });
        FieldType::new("a proxy of the world", "\"alice->bob\"", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let text = cx.text(node, "a proxy of this world, such as \"alice->bob\"")?;
        let Some(proxies) = cx.proxies() else {
            // What is wrong with the world has been said.
            let link = text.parse().ok();
            return link.map(|link| OnProxy::on(link, &cx.server_ends()));
        };
        let found = text
            .parse()
            .ok()
            .filter(|link: &Link| proxies.contains(link));
        if let Some(link) = found {
            return Some(OnProxy::on(link, &cx.server_ends()));
        }
        let written: Vec<String> = proxies.iter().map(Link::to_string).collect();
        let parties = cx.parties().unwrap_or_default();
        let ends = Ends {
            servers: &cx.server_ends(),
            chains: cx.scope.chains.as_ref(),
        };
        let possible: Vec<String> = possible(parties, ends)
            .iter()
            .map(Link::to_string)
            .collect();
        let tidy = text.parse::<Link>().map(|link| link.to_string());
        let known = tidy.ok().filter(|link| possible.contains(link));
        let reversed = text.parse().ok().map(|link: Link| link.reversed());
        let reversed = reversed.filter(|other| proxies.contains(other));
        let add = |link: &str| {
            let all = written.iter().map(String::as_str).chain([link]);
            let all: Vec<String> = all.map(|link| format!("\"{link}\"")).collect();
            format!("world = {{ …, proxies = [{}] }}", all.join(", "))
        };
        let named_by_one_end = !text.contains("->");
        let candidates = written.iter().chain(&possible).map(String::as_str);
        let help = match (known, reversed, nearest(&text, candidates)) {
            (_, Some(reversed), _) => {
                format!("the world has \"{reversed}\": a link is named by who calls whom")
            }
            (Some(link), None, _) => format!("add it: {}", add(&link)),
            _ if named_by_one_end => {
                let example = written.first().map_or("alice->bob", String::as_str);
                format!("a proxy is named by who calls and who is called, such as \"{example}\"")
            }
            (None, None, Some(meant)) if written.iter().any(|link| link == meant) => {
                format!("did you mean \"{meant}\"?")
            }
            (None, None, Some(meant)) => {
                format!("did you mean \"{meant}\"? then add it: {}", add(meant))
            }
            (None, None, None) => pairs(ends.chains),
        };
        let label = match written.as_slice() {
            [] => "it has none".to_owned(),
            written => format!(
                "known: {}",
                one_of_quoted(written.iter().map(String::as_str))
            ),
        };
        cx.problem(
            node.span(),
            format!("{} is not a proxy of this world", quoted(&text)),
        )
        .label(label)
        .help(help);
        None
    }
}

/// What a lie says: a value of its own, or what an earlier step bound.
#[derive(Debug, Clone, PartialEq)]
pub enum Lie {
    /// The value itself.
    Value(FieldValue),
    /// What a step before bound.
    Reference(Reference),
}

impl<T: Into<LieValue>> From<T> for Lie {
    fn from(value: T) -> Self {
        Lie::Value(value.into().0)
    }
}

/// A Rust value that a lie can say.
#[derive(Debug)]
pub struct LieValue(FieldValue);

impl From<&str> for LieValue {
    fn from(text: &str) -> Self {
        LieValue(FieldValue::Text(text.to_owned()))
    }
}

impl From<i64> for LieValue {
    fn from(number: i64) -> Self {
        LieValue(FieldValue::Integer(number))
    }
}

impl From<bool> for LieValue {
    fn from(flag: bool) -> Self {
        LieValue(FieldValue::Flag(flag))
    }
}

/// `value` as it stands on the wire; `None` when it is no single value there.
pub(crate) fn on_the_wire(value: &Value) -> Option<FieldValue> {
    let number = |number: u64| i64::try_from(number).ok().map(FieldValue::Integer);
    match value {
        Value::Sat(sat) => number(sat.0),
        Value::Msat(msat) => number(msat.0),
        Value::Units(units) => number(units.0),
        Value::Height(height) => number(height.0.into()),
        Value::Count(count) => number(*count),
        Value::Flag(flag) => Some(FieldValue::Flag(*flag)),
        Value::Entity(_) => None,
        Value::Text(_) | Value::Hash(_) | Value::Preimage(_) | Value::Txid(_) | Value::Word(..) => {
            Some(FieldValue::Text(value.to_string()))
        }
    }
}

impl Field for Lie {
    fn field_type() -> FieldType {
        let schema = json!({ "type": ["string", "integer", "number", "boolean"] });
        FieldType::new("a text, a number, `true` or `false`", "7", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        const WHAT: &str = "a text, a number, `true` or `false`";
        if let Some(reference) = cx.reference(node) {
            let reference = reference?;
            let ty = cx.type_of(node, &reference)?;
            if let super::types::Type::Entity(entity) = ty {
                let field = entity.all_fields().first().map_or("", |field| field.name);
                let title = format!("`{reference}` is {}, not a single value", ty.a_name());
                cx.problem(node.span(), title)
                    .label("no field")
                    .help(format!(
                        "write a field of it, such as \"{reference}.{field}\""
                    ));
                return None;
            }
            return Some(Lie::Reference(reference));
        }
        let value = match node.get_ref() {
            DeValue::String(_) => FieldValue::Text(cx.text(node, "any text")?),
            DeValue::Boolean(flag) => FieldValue::Flag(*flag),
            DeValue::Integer(number) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => FieldValue::Integer(number),
                    Err(_) => {
                        cx.expected(node, "a number of 64 bits")
                            .help("it is too large");
                        return None;
                    }
                }
            }
            DeValue::Float(number) if number.as_str().parse::<f64>().is_ok() => {
                FieldValue::Decimal(number.as_str().parse().unwrap_or_default())
            }
            _ => {
                cx.expected(node, WHAT).help(format!("write {WHAT}"));
                return None;
            }
        };
        Some(Lie::Value(value))
    }

    fn references(&self, out: &mut Vec<Reference>) {
        if let Lie::Reference(reference) = self {
            out.push(reference.clone());
        }
    }
}
