//! Names of parties and daemons, which must be those of the file's world.

use std::fmt;

use serde_json::json;
use swaprig_harness::proxy::{ELECTRS, ELECTRS_LIQUID, ELEMENTSD};
use swaprig_harness::world::Chain;

use super::cx::{Field, FieldType, StepCx};
use super::fill::ARGV;
use super::reference::Reference;
use super::step::REFERENCE_PATTERN;
use super::types::Type;
use super::words::{Node, is_name, nearest, one_of_quoted, quoted};

/// The Lightning node of a world, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(pub String);

impl From<&str> for Party {
    fn from(name: &str) -> Self {
        Party(name.to_owned())
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A daemon of a world, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Daemon {
    /// The Bitcoin node.
    Bitcoind,
    /// The Liquid node.
    Elementsd,
    /// The index of a chain.
    Index(Chain),
    /// The Lightning node of a party.
    Party(Party),
    /// A server of the file.
    Server(String),
}

/// The name of the Bitcoin node.
pub const BITCOIND: &str = "bitcoind";

impl From<&str> for Daemon {
    fn from(name: &str) -> Self {
        match name {
            BITCOIND => Daemon::Bitcoind,
            ELEMENTSD => Daemon::Elementsd,
            ELECTRS => Daemon::Index(Chain::Bitcoin),
            ELECTRS_LIQUID => Daemon::Index(Chain::Liquid),
            name => Daemon::Party(name.into()),
        }
    }
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Daemon::Bitcoind => f.write_str(BITCOIND),
            Daemon::Elementsd => f.write_str(ELEMENTSD),
            Daemon::Index(Chain::Bitcoin) => f.write_str(ELECTRS),
            Daemon::Index(Chain::Liquid) => f.write_str(ELECTRS_LIQUID),
            Daemon::Party(party) => party.fmt(f),
            Daemon::Server(name) => f.write_str(name),
        }
    }
}

/// Reads a name out of `known`; `None` for `known` means that the world could not be read.
pub(super) fn read_name(
    node: &Node<'_>,
    cx: &mut StepCx<'_>,
    what: &str,
    extra: &[&str],
) -> Option<String> {
    let text = cx.text(node, what)?;
    let Some(parties) = cx.parties() else {
        return Some(text);
    };
    let known = || {
        parties
            .iter()
            .map(String::as_str)
            .chain(extra.iter().copied())
    };
    if known().any(|name| name == text) {
        return Some(text);
    }
    let list = one_of_quoted(known());
    let help = match nearest(&text, known()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None if parties.is_empty() && extra.is_empty() => {
            "this world has no Lightning nodes; write world = { preset = \"lightning\" } for alice and bob"
                .to_owned()
        }
        None if is_name(&text, '-') => {
            let nodes: Vec<String> = parties.iter().map(|name| format!("\"{name}\"")).collect();
            let nodes = [nodes, vec![format!("\"{text}\"")]].concat().join(", ");
            format!("write {list}, or name the nodes yourself: world = {{ lightning = [{nodes}] }}")
        }
        None => format!("write {list}"),
    };
    let title = format!("{} is not {what}", quoted(&text));
    let label = if parties.is_empty() && extra.is_empty() {
        "there are none".to_owned()
    } else {
        format!("known: {list}")
    };
    cx.problem(node.span(), title).label(label).help(help);
    None
}

impl Field for Party {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*$" });
        FieldType::new("the name of a party", "\"alice\"", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        read_name(node, cx, "a party of this world", &[]).map(Party)
    }
}

/// A party, or who has an address on Bitcoin that a step before bound as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Funded {
    /// A party of the world.
    Party(Party),
    /// The text of an address.
    Address(Reference),
}

impl From<&str> for Funded {
    fn from(name: &str) -> Self {
        Funded::Party(name.into())
    }
}

impl Field for Funded {
    fn field_type() -> FieldType {
        let name = json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*$" });
        let reference = json!({ "type": "string", "pattern": REFERENCE_PATTERN });
        FieldType::new(
            "the name of a party, or a reference to the text of an address",
            "\"alice\"",
            json!({ "anyOf": [name, reference] }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let Some(reference) = cx.reference(node) else {
            return Party::read(node, cx).map(Funded::Party);
        };
        let reference = reference?;
        let fits = cx.check_reference(node, &reference, Type::Text);
        fits.then_some(Funded::Address(reference))
    }

    fn references(&self, out: &mut Vec<Reference>) {
        if let Funded::Address(reference) = self {
            out.push(reference.clone());
        }
    }
}

impl Field for Daemon {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*$" });
        FieldType::new(
            "the name of a party or a server, or \"bitcoind\"",
            "\"alice\"",
            schema,
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let Some(servers) = cx.servers() else {
            // What is wrong with the servers has been said.
            return cx
                .text(node, "a daemon of this world")
                .map(|name| name.as_str().into());
        };
        let servers = servers.iter().map(String::as_str);
        let chains = cx.scope.chains.clone().unwrap_or_default();
        let elementsd = chains.liquid.is_some().then_some(ELEMENTSD);
        let indexes = chains.index.iter().map(|chain| match chain {
            Chain::Bitcoin => ELECTRS,
            Chain::Liquid => ELECTRS_LIQUID,
        });
        let daemons = [BITCOIND].into_iter().chain(elementsd).chain(indexes);
        let extra: Vec<&str> = servers.clone().chain(daemons).collect();
        let name = read_name(node, cx, "a daemon of this world", &extra)?;
        Some(match servers.clone().any(|server| server == name) {
            true => Daemon::Server(name),
            false => name.as_str().into(),
        })
    }
}

/// A server of the file, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName(pub String);

impl From<&str> for ServerName {
    fn from(name: &str) -> Self {
        ServerName(name.to_owned())
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Field for ServerName {
    fn field_type() -> FieldType {
        let schema = json!({ "type": "string", "pattern": "^[a-z][a-z0-9-]*$" });
        FieldType::new("the name of a server", "\"maker\"", schema)
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        let text = cx.text(node, "the name of a server")?;
        let Some(servers) = cx.servers() else {
            // What is wrong with the servers has been said.
            return Some(ServerName(text));
        };
        if servers.contains(&text) {
            return Some(ServerName(text));
        }
        let known = || servers.iter().map(String::as_str);
        let help = match nearest(&text, known()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None if servers.is_empty() => {
                let name = if is_name(&text, '-') { &text } else { "maker" };
                format!(
                    "add servers = {{ {name} = {{ run = {ARGV}, proto = [\"{name}.proto\"] }} }}"
                )
            }
            None => format!("write {}", one_of_quoted(known())),
        };
        let label = match servers {
            [] => "it has none".to_owned(),
            _ => format!("known: {}", one_of_quoted(known())),
        };
        let title = format!("{} is not a server of this file", quoted(&text));
        cx.problem(node.span(), title).label(label).help(help);
        None
    }
}
