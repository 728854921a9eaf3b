//! The `books` of a server: where the money is that is its own, for the money oracle.

use std::fmt;

use swaprig_harness::elementsd::FAUCET;
use toml::de::DeValue;

use super::chains::{ADD_LIQUID, Chains};
use super::problem::Report;
use super::words::{Node, all_of, describe, nearest, one_of_quoted, quoted};

/// Where the money of a server is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerBooks {
    /// The server.
    pub server: String,
    /// The Lightning node that is its own; its coins are counted as the node's.
    pub lightning: Option<String>,
    /// Its coins on Bitcoin that are no node's.
    pub bitcoin: Option<BitcoinBooks>,
    /// The wallet of elementsd that is its own, with whatever assets it has.
    pub liquid: Option<String>,
}

/// How the coins of a server on Bitcoin are told from those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BitcoinBooks {
    /// They are those of a wallet of bitcoind.
    Wallet(String),
    /// They are those that an output descriptor describes (BIP 380), of a ranged one the first 1,001.
    Descriptor(String),
}

impl fmt::Display for BitcoinBooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BitcoinBooks::Wallet(name) => write!(f, "{WALLET}{name}"),
            BitcoinBooks::Descriptor(text) => write!(f, "{DESCRIPTOR}{text}"),
        }
    }
}

const WALLET: &str = "wallet:";
const DESCRIPTOR: &str = "descriptor:";
/// The wallet of the harness, whose coins are the miner's.
const MINER: &str = "miner";
const KEYS: &[&str] = &["lightning", "bitcoin", "liquid"];
const EXAMPLE: &str = "write books = { lightning = \"bob\", bitcoin = \"wallet:maker\" }";

/// Reads `books` of a server in a world with these Lightning nodes and chains, which are `None` when they could not be
/// read.
pub(super) fn read(
    node: &Node<'_>,
    server: &str,
    parties: Option<&[String]>,
    chains: Option<&Chains>,
    report: &mut Report,
) -> Option<ServerBooks> {
    let whose = format!("`books` of the server `{server}`");
    let DeValue::Table(table) = node.get_ref() else {
        let title = format!("expected a table, found {}", describe(node));
        report.push(node.span(), title).label(whose).help(EXAMPLE);
        return None;
    };
    let before = report.count();
    let mut books = ServerBooks {
        server: server.to_owned(),
        ..ServerBooks::default()
    };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "lightning" => books.lightning = lightning(value, parties, report),
            "bitcoin" => books.bitcoin = bitcoin(value, report),
            "liquid" => books.liquid = liquid(value, chains, report),
            other => {
                let help = match nearest(other, KEYS.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("books have {}", all_of(KEYS.iter().copied())),
                };
                let title = format!("unknown key `{other}` in {whose}");
                report.push(key.span(), title).label("unknown").help(help);
            }
        }
    }
    (report.count() == before).then_some(books)
}

fn lightning(node: &Node<'_>, parties: Option<&[String]>, report: &mut Report) -> Option<String> {
    let DeValue::String(name) = node.get_ref() else {
        let title = format!(
            "expected the name of a Lightning node, found {}",
            describe(node)
        );
        report
            .push(node.span(), title)
            .label("in `books`")
            .help(EXAMPLE);
        return None;
    };
    let Some(parties) = parties else {
        return Some(name.to_string());
    };
    if parties.iter().any(|party| party == name) {
        return Some(name.to_string());
    }
    let known = || parties.iter().map(String::as_str);
    let (label, help) = match (nearest(name, known()), parties) {
        (_, []) => (
            "there are none".to_owned(),
            "this world has no Lightning nodes; leave `lightning` out of `books`".to_owned(),
        ),
        (Some(meant), _) => (
            format!("known: {}", one_of_quoted(known())),
            format!("did you mean \"{meant}\"?"),
        ),
        (None, _) => (
            format!("known: {}", one_of_quoted(known())),
            format!("write {}", one_of_quoted(known())),
        ),
    };
    let title = format!("{} is not a Lightning node of this world", quoted(name));
    report.push(node.span(), title).label(label).help(help);
    None
}

fn bitcoin(node: &Node<'_>, report: &mut Report) -> Option<BitcoinBooks> {
    const HELP: &str = "write \"wallet:NAME\" for a wallet of bitcoind, or \"descriptor:wpkh(…)\" for keys of its own";
    let DeValue::String(text) = node.get_ref() else {
        let title = format!("expected where its coins are, found {}", describe(node));
        report
            .push(node.span(), title)
            .label("in `books`")
            .help(HELP);
        return None;
    };
    let wallet = text.strip_prefix(WALLET).filter(|name| !name.is_empty());
    let descriptor = text
        .strip_prefix(DESCRIPTOR)
        .filter(|text| text.contains('('));
    match (wallet, descriptor) {
        (Some(MINER), _) => {
            report
                .push(node.span(), "the wallet `miner` is not a server's")
                .label("counted as the miner's")
                .help("give the server a wallet of its own (createwallet), and name that");
            None
        }
        (Some(name), _) => Some(BitcoinBooks::Wallet(name.to_owned())),
        (None, Some(text)) => Some(BitcoinBooks::Descriptor(text.to_owned())),
        (None, None) => {
            let help = match text.contains([':', '(']) {
                false => format!("write \"wallet:{text}\" for that wallet of bitcoind; {HELP}"),
                true => HELP.to_owned(),
            };
            let title = format!("{} does not tell where its coins are", quoted(text));
            report
                .push(node.span(), title)
                .label("in `books`")
                .help(help);
            None
        }
    }
}

fn liquid(node: &Node<'_>, chains: Option<&Chains>, report: &mut Report) -> Option<String> {
    const HELP: &str = "write \"wallet:NAME\" for a wallet of elementsd";
    let mut wrong = |title: String, label: &str, help: String| {
        report.push(node.span(), title).label(label).help(help);
        None
    };
    let DeValue::String(text) = node.get_ref() else {
        let title = format!("expected where its coins are, found {}", describe(node));
        return wrong(title, "in `books`", HELP.to_owned());
    };
    if chains.is_some_and(|chains| chains.liquid.is_none()) {
        let title = "this world has no Liquid chain".to_owned();
        return wrong(title, "books on it", ADD_LIQUID.to_owned());
    }
    let Some(name) = text.strip_prefix(WALLET).filter(|name| !name.is_empty()) else {
        let title = format!("{} does not tell where its coins are", quoted(text));
        let help = match text.contains([':', '(']) {
            false => format!("write \"wallet:{text}\" for that wallet of elementsd"),
            true => HELP.to_owned(),
        };
        return wrong(title, "in `books`", help);
    };
    let parties = chains.map(Chains::wallets).unwrap_or_default();
    if name == FAUCET || parties.iter().any(|party| party == name) {
        let title = format!("the wallet `{name}` is not a server's");
        let label = format!("counted as that of {name}");
        let help = "give the server a wallet of its own (createwallet), and name that";
        return wrong(title, &label, help.to_owned());
    }
    Some(name.to_owned())
}
