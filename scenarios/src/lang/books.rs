//! The `books` of a server: where the money is that is its own, for the money oracle.

use std::fmt;

use prost_reflect::DescriptorPool;
use serde_json::Value as Json;
use swaprig_harness::elementsd::FAUCET;
use swaprig_harness::grpc;
use toml::de::{DeTable, DeValue};

use super::chains::{ADD_LIQUID, Chains};
use super::json::{JsonPath, JsonPaths};
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
    /// Its coins on Liquid, of whatever asset.
    pub liquid: Option<LiquidBooks>,
    /// The HTLCs on either chain that it has made with others.
    pub htlcs: Option<HtlcBooks>,
}

/// How the coins of a server on Bitcoin are told from those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BitcoinBooks {
    /// They are those of a wallet of bitcoind.
    Wallet(String),
    /// They are those that an output descriptor describes (BIP 380), of a ranged one the first 1,001.
    Descriptor(String),
    /// The same of every line of a file that the server writes; the path begins in its own directory.
    DescriptorFile(String),
}

/// How the coins of a server on Liquid are told from those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiquidBooks {
    /// They are those of a wallet of elementsd.
    Wallet(String),
    /// They are those that a CT descriptor describes (ELIP 150), on each of its chains up to 1,000 unused addresses after
    /// the last used one. What is blinded is read with its blinding key.
    Descriptor(String),
    /// The same, in a file that the server writes; the path begins in its own directory.
    DescriptorFile(String),
}

/// Where a server tells of the HTLCs that it has made. What is in them belongs to the server as long as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HtlcBooks {
    /// How it is asked for the list.
    pub list: HtlcList,
    /// Where the addresses are in a reply; an empty one stands for none.
    pub addresses: JsonPaths,
}

/// How a server is asked for its HTLCs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HtlcList {
    /// Over gRPC.
    Grpc {
        /// The method that lists them, with its service or, where only one service has it, without.
        rpc: String,
        /// The request.
        send: Json,
        /// For a list in pages: the field of the request, and where its value for the next page is in a reply.
        next: Option<(String, JsonPath)>,
    },
    /// Over HTTP, by a `GET` of each of these paths at the address that the server listens on.
    Http(Vec<String>),
}

impl fmt::Display for HtlcList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HtlcList::Grpc { rpc, .. } => f.write_str(rpc),
            HtlcList::Http(paths) => write!(f, "GET {}", paths.join(", ")),
        }
    }
}

impl fmt::Display for BitcoinBooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BitcoinBooks::Wallet(name) => write!(f, "{WALLET}{name}"),
            BitcoinBooks::Descriptor(text) => write!(f, "{DESCRIPTOR}{text}"),
            BitcoinBooks::DescriptorFile(path) => write!(f, "{DESCRIPTOR}@{path}"),
        }
    }
}

const WALLET: &str = "wallet:";
const DESCRIPTOR: &str = "descriptor:";
/// The wallet of the harness, whose coins are the miner's.
const MINER: &str = "miner";
const KEYS: &[&str] = &["lightning", "bitcoin", "liquid", "htlcs"];
const EXAMPLE: &str = "write books = { lightning = \"bob\", bitcoin = \"wallet:maker\" }";

/// Reads `books` of a server in a world with these Lightning nodes and chains, which are `None` when they could not be
/// read.
pub(super) fn read(
    node: &Node<'_>,
    server: &str,
    parties: Option<&[String]>,
    chains: Option<&Chains>,
    api: Option<&DescriptorPool>,
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
            "htlcs" => books.htlcs = htlcs(value, api, report),
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
    const HELP: &str = "write \"wallet:NAME\" for a wallet of bitcoind, \"descriptor:wpkh(…)\" for keys of its own, or \
                        \"descriptor:@{dir}/descriptors.txt\" for a file that the server writes them to";
    let DeValue::String(text) = node.get_ref() else {
        let title = format!("expected where its coins are, found {}", describe(node));
        report
            .push(node.span(), title)
            .label("in `books`")
            .help(HELP);
        return None;
    };
    if let Some(path) = text
        .strip_prefix(DESCRIPTOR)
        .and_then(|text| text.strip_prefix('@'))
    {
        return file(node, path, report).map(BitcoinBooks::DescriptorFile);
    }
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

const DIR: &str = "{dir}/";

/// A path in the server's own directory.
fn file(node: &Node<'_>, path: &str, report: &mut Report) -> Option<String> {
    let path = path.strip_prefix(DIR).unwrap_or(path);
    if !path.is_empty() && !path.contains(['{', '}']) {
        return Some(path.to_owned());
    }
    report
        .push(node.span(), format!("{} names no file", described(node)))
        .label("in `books`")
        .help("write \"descriptor:@{dir}/descriptor.txt\"; {dir} is the server's own directory");
    None
}

fn described(node: &Node<'_>) -> String {
    node.get_ref().as_str().map(quoted).unwrap_or_default()
}

fn liquid(node: &Node<'_>, chains: Option<&Chains>, report: &mut Report) -> Option<LiquidBooks> {
    const HELP: &str = "write \"wallet:NAME\" for a wallet of elementsd, \"descriptor:ct(…)\" for one of its own, or \
                        \"descriptor:@{dir}/descriptor.txt\" for a file that the server writes it to";
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
    if let Some(descriptor) = text.strip_prefix(DESCRIPTOR) {
        if let Some(path) = descriptor.strip_prefix('@') {
            return file(node, path, report).map(LiquidBooks::DescriptorFile);
        }
        return match crate::run::CtWallet::parse(descriptor) {
            Ok(_) => Some(LiquidBooks::Descriptor(descriptor.to_owned())),
            Err(why) => {
                let title = "this is no CT descriptor".to_owned();
                let help = format!(
                    "{why}; write one such as \"descriptor:ct(slip77(…),elwpkh(xpub…/<0;1>/*))\""
                );
                wrong(title, "in `books`", help)
            }
        };
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
    Some(LiquidBooks::Wallet(name.to_owned()))
}

const HTLC_KEYS: &[&str] = &["rpc", "http", "addresses", "send", "next"];
const HTLCS: &str = "write htlcs = { rpc = \"maker.v1.Maker/List\", addresses = \"$.swaps[*].htlc.address\" }, or over HTTP \
                     htlcs = { http = \"/swaps\", addresses = \"$.swaps[*].address\" }";

fn htlcs(node: &Node<'_>, api: Option<&DescriptorPool>, report: &mut Report) -> Option<HtlcBooks> {
    let DeValue::Table(table) = node.get_ref() else {
        let title = format!(
            "expected how its HTLCs are listed, found {}",
            describe(node)
        );
        report
            .push(node.span(), title)
            .label("in `books`")
            .help(HTLCS);
        return None;
    };
    let before = report.count();
    let mut misspelt = Vec::new();
    for (key, _) in table {
        let name: &str = key.get_ref();
        if HTLC_KEYS.contains(&name) {
            continue;
        }
        let meant = nearest(name, HTLC_KEYS.iter().copied());
        misspelt.extend(meant);
        let help = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("`htlcs` has {}", all_of(HTLC_KEYS.iter().copied())),
        };
        report
            .push(key.span(), format!("unknown key `{name}` in `htlcs`"))
            .label("unknown")
            .help(help);
    }
    let list = match table.get("http") {
        Some(http) => over_http(http, table, report),
        None => over_grpc(node, table, &misspelt, api, report),
    };
    let addresses = required(table, "addresses", node, &misspelt, report)
        .and_then(|(at, text)| path(at, text, JsonPaths::parse, report));
    let books = HtlcBooks {
        list: list?,
        addresses: addresses?,
    };
    (report.count() == before).then_some(books)
}

fn over_grpc(
    node: &Node<'_>,
    table: &DeTable<'_>,
    misspelt: &[&str],
    api: Option<&DescriptorPool>,
    report: &mut Report,
) -> Option<HtlcList> {
    let rpc = required(table, "rpc", node, misspelt, report)
        .and_then(|(at, text)| method(at, text, api, report));
    let send = match table.get("send") {
        None => Some(Json::Object(serde_json::Map::new())),
        Some(node) => plain(node, report),
    };
    let next = table.get("next").map(|node| next(node, report));
    Some(HtlcList::Grpc {
        rpc: rpc?,
        send: send?,
        next: next.flatten(),
    })
}

/// `http = "/swaps"`, or several such paths, beside which the keys of gRPC mean nothing.
fn over_http(http: &Node<'_>, table: &DeTable<'_>, report: &mut Report) -> Option<HtlcList> {
    for key in ["rpc", "send", "next"] {
        if let Some((spanned, _)) = table.get_key_value(key) {
            report
                .push(spanned.span(), format!("`{key}` beside `http`"))
                .label("is of gRPC")
                .help(HTLCS);
        }
    }
    let paths = match http.get_ref() {
        DeValue::Array(paths) if !paths.is_empty() => paths.iter().collect(),
        _ => vec![http],
    };
    let before = report.count();
    let mut read = Vec::new();
    for path in paths {
        match path.get_ref() {
            DeValue::String(text) if text.starts_with('/') => read.push(text.to_string()),
            _ => {
                let title = format!(
                    "expected a path that starts with `/`, found {}",
                    describe(path)
                );
                report
                    .push(path.span(), title)
                    .label("a path at {listen}")
                    .help(HTLCS);
            }
        }
    }
    (report.count() == before).then_some(HtlcList::Http(read))
}

/// A text that must be there.
fn required<'t>(
    table: &'t DeTable<'_>,
    key: &str,
    whole: &Node<'_>,
    misspelt: &[&str],
    report: &mut Report,
) -> Option<(&'t Node<'t>, &'t str)> {
    let (span, title) = match table.get(key) {
        Some(node) => match node.get_ref() {
            DeValue::String(text) => return Some((node, text)),
            _ => (
                node.span(),
                format!("expected a text, found {}", describe(node)),
            ),
        },
        None if misspelt.contains(&key) => return None,
        None => (whole.span(), format!("`htlcs` has no `{key}`")),
    };
    report.push(span, title).label("in `books`").help(HTLCS);
    None
}

/// A method, which must be one of the API where that is known.
fn method(
    node: &Node<'_>,
    name: &str,
    api: Option<&DescriptorPool>,
    report: &mut Report,
) -> Option<String> {
    let Some(api) = api else {
        if name.contains('/') {
            return Some(name.to_owned());
        }
        report
            .push(node.span(), format!("{} names no service", quoted(name)))
            .label("without `proto` the server is asked for it")
            .help(format!(
                "write \"maker.v1.Maker/{name}\", or give the server a `proto`"
            ));
        return None;
    };
    match grpc::method(api, name) {
        Ok(_) => Some(name.to_owned()),
        Err(error) => {
            let paths: Vec<String> = grpc::methods(api).iter().map(grpc::method_path).collect();
            let known = || paths.iter().map(String::as_str);
            let help = match nearest(name, known()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("it has {}", all_of(known())),
            };
            report
                .push(node.span(), error.to_string())
                .label("not in the server's `proto`")
                .help(help);
            None
        }
    }
}

fn path<T>(
    node: &Node<'_>,
    text: &str,
    parse: fn(&str) -> Result<T, String>,
    report: &mut Report,
) -> Option<T> {
    parse(text)
        .map_err(|help| {
            report
                .push(
                    node.span(),
                    format!("{} is not a place in JSON", quoted(text)),
                )
                .label("expected a path such as \"$.swaps[*].htlc.address\"")
                .help(help);
        })
        .ok()
}

/// `{ page_token = "$.next_page_token" }`.
fn next(node: &Node<'_>, report: &mut Report) -> Option<(String, JsonPath)> {
    if let DeValue::Table(table) = node.get_ref()
        && table.len() == 1
        && let Some((key, value)) = table.iter().next()
        && let DeValue::String(text) = value.get_ref()
    {
        let path = path(value, text, JsonPath::parse, report)?;
        return Some((key.get_ref().to_string(), path));
    }
    let title = format!(
        "expected how the next page is asked for, found {}",
        describe(node)
    );
    report
        .push(node.span(), title)
        .label("in `htlcs`")
        .help("write next = { page_token = \"$.next_page_token\" }: the field of the request, and its place in a reply");
    None
}

/// A request of plain values.
fn plain(node: &Node<'_>, report: &mut Report) -> Option<Json> {
    let json = match node.get_ref() {
        DeValue::String(text) => Some(Json::from(text.as_ref())),
        DeValue::Boolean(flag) => Some(Json::from(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(Json::from),
        DeValue::Array(items) => {
            let items: Option<Vec<Json>> = items.iter().map(|item| plain(item, report)).collect();
            return items.map(Json::Array);
        }
        DeValue::Table(table) => {
            let pairs: Option<serde_json::Map<String, Json>> = table
                .iter()
                .map(|(key, value)| Some((key.get_ref().to_string(), plain(value, report)?)))
                .collect();
            return pairs.map(Json::Object);
        }
        DeValue::Float(_) | DeValue::Datetime(_) => None,
    };
    if json.is_none() {
        let title = format!("expected a plain value, found {}", describe(node));
        report
            .push(node.span(), title)
            .label("in `htlcs`")
            .help("write send = { page_size = 1_000 }");
    }
    json
}
