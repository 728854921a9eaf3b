//! The `world` of a file: which daemons there are, and how long it may live.

use std::collections::BTreeSet;
use std::time::Duration;

use swaprig_harness::proxy::{ELECTRS, ELECTRS_LIQUID, ELEMENTSD, HARNESS, Link, ServerEnd};
use swaprig_harness::server::ServerSpec;
use swaprig_harness::world::{Chain, Needs};
use swaprig_units::parse_duration;
use toml::de::{DeTable, DeValue};

use super::books::ServerBooks;
use super::chains::{self, Chains};
use super::parties::BITCOIND;
use super::problem::{Report, Span};
use super::proxies;
use super::words::{Node, all_of, describe, is_name, nearest, one_of_quoted, quoted, to_name};

/// What a run of the file starts. Every world has a bitcoind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldPlan {
    /// The names of the Lightning nodes.
    pub lightning: Vec<String>,
    /// The names of the wallets on Liquid; `None`: there is no Liquid.
    pub liquid: Option<Vec<String>>,
    /// The chains that an index follows.
    pub index: BTreeSet<Chain>,
    /// Which links have a proxy, for faults.
    pub proxies: Vec<Link>,
    /// The servers that are started in it.
    pub servers: Vec<ServerSpec>,
    /// The books of each of them.
    pub books: Vec<ServerBooks>,
    /// How long the whole run may take.
    pub deadline: Duration,
}

impl WorldPlan {
    /// The programs that it needs beside bitcoind.
    pub fn needs(&self) -> Needs {
        Needs::of(
            !self.lightning.is_empty(),
            self.liquid.is_some(),
            &self.index,
        )
    }
}

/// The deadline of a world that says none.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

/// The keys of a world: name, example, what it does.
pub(super) const WORLD_KEYS: &[(&str, &str, &str)] = &[
    ("preset", "\"lightning\"", "a named set of daemons"),
    (
        "lightning",
        "[\"alice\", \"bob\"]",
        "the names of the Lightning nodes, in place of a preset",
    ),
    (
        "liquid",
        "true",
        "a Liquid chain, on which every Lightning node has a wallet; or the names of the wallets: [\"alice\", \"bob\"]",
    ),
    (
        "index",
        "[\"bitcoin\", \"liquid\"]",
        "the chains that an Electrum server follows; Liquid, where there is one, when it is left out",
    ),
    (
        "proxies",
        "[\"alice->bob\"]",
        "the links on which faults are wanted: from a node to a peer, from a node, a server or `harness` to \
         `bitcoind`, from a server or `harness` to a node, a server, `elementsd` or an index (`electrs`, \
         `electrs-liquid`), from an index to the node of its chain",
    ),
    (
        "deadline",
        "\"60 s\"",
        "how long the whole run may take; 60 s when it is left out",
    ),
];

/// A named set of daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The names of the Lightning nodes.
    pub lightning: &'static [&'static str],
    /// The names of the wallets on Liquid; `None`: there is no Liquid.
    pub liquid: Option<&'static [&'static str]>,
    /// What it is.
    pub doc: &'static str,
}

impl Preset {
    /// What it has beside Lightning.
    pub fn chains(&self) -> Chains {
        self.liquid.map_or_else(Chains::default, Chains::liquid)
    }
}

/// The presets.
pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "lightning",
        lightning: &["alice", "bob"],
        liquid: None,
        doc: "a bitcoind and the Lightning nodes alice and bob",
    },
    Preset {
        name: "bitcoin",
        lightning: &[],
        liquid: None,
        doc: "a bitcoind alone",
    },
    Preset {
        name: "liquid",
        lightning: &[],
        liquid: Some(&["alice", "bob"]),
        doc: "a bitcoind, and a Liquid chain with an index and wallets of alice and bob",
    },
    Preset {
        name: "ln-liquid",
        lightning: &["alice", "bob"],
        liquid: Some(&["alice", "bob"]),
        doc: "a bitcoind, the Lightning nodes alice and bob, and a Liquid chain with an index and a wallet of each",
    },
];

/// Names that a party cannot have, because they mean something else in a step or a report.
pub(super) const RESERVED: &[&str] = &[
    "bitcoin",
    "liquid",
    BITCOIND,
    ELEMENTSD,
    ELECTRS,
    ELECTRS_LIQUID,
    HARNESS,
    "miner",
];

const EXAMPLE: &str = "write world = { preset = \"lightning\" }";

/// What is known of the world after reading: `lightning` is `None` when its nodes could not be told.
pub(super) struct ReadWorld {
    pub(super) lightning: Option<Vec<String>>,
    /// `None` when they could not be told.
    pub(super) chains: Option<Chains>,
    pub(super) proxies: Option<Vec<Link>>,
    /// Filled in by who reads the whole file; `None` until then and when there is a problem.
    pub(super) servers: Option<Vec<ServerSpec>>,
    /// As `servers`.
    pub(super) books: Option<Vec<ServerBooks>>,
    pub(super) deadline: Duration,
}

impl ReadWorld {
    /// The names of its servers.
    pub(super) fn server_names(&self) -> Option<Vec<String>> {
        let servers = self.servers.as_ref()?.iter();
        Some(servers.map(|server| server.name.clone()).collect())
    }
}

/// Reads the world; `ignored` are keys that were found in it and belong elsewhere, `servers` the ends that links can have
/// beside daemons.
pub(super) fn read(
    node: &Node<'_>,
    ignored: &[&str],
    servers: &[ServerEnd],
    report: &mut Report,
) -> ReadWorld {
    let unreadable = ReadWorld {
        lightning: None,
        chains: None,
        proxies: None,
        servers: None,
        books: None,
        deadline: DEFAULT_DEADLINE,
    };
    let DeValue::Table(table) = node.get_ref() else {
        let help = match node.get_ref() {
            DeValue::String(text) if preset(text).is_some() => {
                format!("write world = {{ preset = \"{text}\" }}")
            }
            _ => EXAMPLE.to_owned(),
        };
        report
            .push(
                node.span(),
                format!("expected a table, found {}", describe(node)),
            )
            .label("the value of `world`")
            .help(help);
        return unreadable;
    };
    let sound = unknown_keys(table, ignored, report);
    let deadline = table
        .get("deadline")
        .and_then(|node| read_deadline(node, report))
        .unwrap_or(DEFAULT_DEADLINE);
    let mut chosen = None;
    let named = table
        .get_key_value("lightning")
        .or_else(|| table.get_key_value("liquid"));
    let lightning = match (table.get_key_value("preset"), named) {
        (Some((_, node)), None) => {
            chosen = read_preset(node, report);
            chosen.map(|preset| preset.lightning.iter().map(ToString::to_string).collect())
        }
        (None, Some(_)) => match table.get("lightning") {
            Some(node) => read_parties(node, report),
            None => Some(Vec::new()),
        },
        (Some((one, _)), Some((two, _))) => {
            let key: &str = two.get_ref();
            report
                .push(two.span(), format!("the world has both `preset` and `{key}`"))
                .label(match key {
                    "lightning" => "names the nodes again",
                    _ => "says again what there is",
                })
                .also(one.span(), match key {
                    "lightning" => "names the nodes",
                    _ => "says what there is",
                })
                .help(match key {
                    "lightning" => {
                        "keep `lightning` to name the nodes yourself, or `preset` to have them named"
                    }
                    _ => "keep one of the two; a preset with Liquid is \"liquid\" or \"ln-liquid\"",
                });
            None
        }
        (None, None) if sound => {
            report
                .push(node.span(), "the world does not say which daemons it has")
                .label("neither `preset` nor `lightning`")
                .help(format!(
                    "{EXAMPLE}, or {{ lightning = [\"alice\", \"bob\"] }}"
                ));
            None
        }
        (None, None) => None,
    };
    let preset_chains = chosen.map(Preset::chains);
    let chains = chains::read(table, lightning.as_deref(), preset_chains, report);
    // What a preset that could not be read has is not known.
    let chains = chains.filter(|_| lightning.is_some());
    let proxies = match table.get("proxies") {
        Some(node) => {
            let ends = proxies::Ends {
                servers,
                chains: chains.as_ref(),
            };
            proxies::read(node, lightning.as_deref(), ends, report)
        }
        None => Some(Vec::new()),
    };
    ReadWorld {
        lightning,
        chains,
        proxies,
        servers: None,
        books: None,
        deadline,
    }
}

/// The names of all presets.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}

/// Whether a Lightning node can have this name.
pub fn is_party_name(name: &str) -> bool {
    is_name(name, '-') && !RESERVED.contains(&name)
}

/// The preset of that name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

fn unknown_keys(table: &DeTable<'_>, ignored: &[&str], report: &mut Report) -> bool {
    let keys = || WORLD_KEYS.iter().map(|(key, ..)| *key);
    let mut sound = true;
    for (key, _) in table {
        let name: &str = key.get_ref();
        if keys().any(|known| known == name) || ignored.contains(&name) {
            continue;
        }
        sound = false;
        let help = match nearest(name, keys()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("a world has {}", all_of(keys())),
        };
        let title = format!("unknown key `{name}` in `world`");
        report.push(key.span(), title).label("unknown").help(help);
    }
    sound
}

fn read_preset(node: &Node<'_>, report: &mut Report) -> Option<&'static Preset> {
    let list = one_of_quoted(preset_names());
    let DeValue::String(text) = node.get_ref() else {
        report
            .push(
                node.span(),
                format!("expected {list}, found {}", describe(node)),
            )
            .label("the value of `preset`")
            .help(EXAMPLE);
        return None;
    };
    if let Some(preset) = preset(text) {
        return Some(preset);
    }
    let help = match nearest(text, preset_names()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write {list}, or name the nodes: lightning = [\"alice\", \"bob\"]"),
    };
    let title = format!("unknown preset {}", quoted(text));
    report
        .push(node.span(), title)
        .label(format!("expected {list}"))
        .help(help);
    None
}

fn read_parties(node: &Node<'_>, report: &mut Report) -> Option<Vec<String>> {
    const HELP: &str = "write lightning = [\"alice\", \"bob\"]";
    let DeValue::Array(array) = node.get_ref() else {
        report
            .push(
                node.span(),
                format!("expected an array of names, found {}", describe(node)),
            )
            .label("the value of `lightning`")
            .help(HELP);
        return None;
    };
    if array.is_empty() {
        report
            .push(node.span(), "a world with Lightning nodes that has none")
            .label("empty")
            .help("name them, such as [\"alice\", \"bob\"], or write preset = \"bitcoin\"");
        return None;
    }
    let mut parties: Vec<(String, Span)> = Vec::new();
    let mut sound = true;
    for item in array {
        let DeValue::String(name) = item.get_ref() else {
            let title = format!("expected a name, found {}", describe(item));
            report
                .push(item.span(), title)
                .label("in `lightning`")
                .help(HELP);
            sound = false;
            continue;
        };
        match party_name(name, &parties, item, report) {
            true => parties.push((name.to_string(), item.span())),
            false => sound = false,
        }
    }
    sound.then(|| parties.into_iter().map(|(name, _)| name).collect())
}

fn party_name(name: &str, before: &[(String, Span)], item: &Node<'_>, report: &mut Report) -> bool {
    if !is_name(name, '-') {
        let example = to_name(name, '-').unwrap_or_else(|| "alice".to_owned());
        report
            .push(
                item.span(),
                format!("{} is not a name for a party", quoted(name)),
            )
            .label("a lowercase letter, then lowercase letters, digits and `-`")
            .help(format!("write \"{example}\""));
        return false;
    }
    if RESERVED.contains(&name) {
        report
            .push(item.span(), format!("no party can be called \"{name}\""))
            .label("reserved")
            .help("the name means something else in steps and reports; choose another one");
        return false;
    }
    if let Some((_, first)) = before.iter().find(|(other, _)| other == name) {
        report
            .push(item.span(), format!("two nodes are called \"{name}\""))
            .label("the second")
            .also(first.clone(), "the first")
            .help("give every node a name of its own");
        return false;
    }
    true
}

fn read_deadline(node: &Node<'_>, report: &mut Report) -> Option<Duration> {
    let what = "a time such as \"60 s\"";
    let help = match node.get_ref() {
        DeValue::String(text) => match parse_duration(text) {
            Ok(deadline) if !deadline.is_zero() => return Some(deadline),
            Ok(_) => format!("it must be longer than none; write {what}"),
            Err(error) => format!("{error}; write {what}"),
        },
        DeValue::Integer(number) => format!("it has no unit; write \"{number} s\""),
        _ => format!("write {what}"),
    };
    report
        .push(
            node.span(),
            format!("expected {what}, found {}", describe(node)),
        )
        .label("the value of `deadline`")
        .help(help);
    None
}
