//! The keys `liquid` and `index` of a world: its second chain, who has a wallet on it, and which chains are indexed.

use std::collections::BTreeSet;

use swaprig_harness::elementsd::FAUCET;
use swaprig_harness::world::{Chain, OUTSIDE};
use toml::de::{DeTable, DeValue};

use super::problem::{Report, Span};
use super::words::{Node, describe, is_name, nearest, one_of_quoted, quoted, to_name};

/// What a world has beside bitcoind and Lightning nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains {
    /// The names of the wallets on Liquid; `None`: there is no Liquid.
    pub liquid: Option<Vec<String>>,
    /// The chains that an index follows.
    pub index: BTreeSet<Chain>,
}

impl Chains {
    /// A Liquid chain with an index and these wallets.
    pub(super) fn liquid(wallets: &[impl ToString]) -> Self {
        Chains {
            liquid: Some(wallets.iter().map(ToString::to_string).collect()),
            index: [Chain::Liquid].into(),
        }
    }

    /// The wallets on Liquid; none in a world without it.
    pub fn wallets(&self) -> &[String] {
        self.liquid.as_deref().unwrap_or_default()
    }
}

/// The name of a chain, as files write it.
pub fn chain_name(chain: Chain) -> &'static str {
    match chain {
        Chain::Bitcoin => "bitcoin",
        Chain::Liquid => "liquid",
    }
}

/// How a world comes to have a Liquid chain, for messages.
pub(super) const ADD_LIQUID: &str =
    "write world = { preset = \"liquid\" }, or add liquid = true to the world";
const WALLETS: &str = "write liquid = true, or name the wallets: liquid = [\"alice\", \"bob\"]";
const INDEX: &str = "write index = [\"bitcoin\", \"liquid\"]";
const CHAINS: [Chain; 2] = [Chain::Bitcoin, Chain::Liquid];

/// Reads both keys. `lightning` are the Lightning nodes, who have the wallets when nobody else is named; `None` is the
/// answer when something is wrong, and for `lightning` when that could not be told.
pub(super) fn read(
    table: &DeTable<'_>,
    lightning: Option<&[String]>,
    from_preset: Option<Chains>,
    report: &mut Report,
) -> Option<Chains> {
    let mut chains = match (table.get("liquid"), from_preset) {
        (None, Some(preset)) => Some(preset),
        (None, None) => Some(Chains::default()),
        (Some(node), _) => match read_wallets(node, lightning, report)? {
            Some(wallets) => Some(Chains::liquid(&wallets)),
            None => Some(Chains::default()),
        },
    };
    if let Some(node) = table.get("index") {
        let index = read_index(node, chains.as_ref(), report);
        chains = chains
            .zip(index)
            .map(|(chains, index)| Chains { index, ..chains });
    }
    chains
}

/// The outer `None`: something is wrong. The inner one: no Liquid.
fn read_wallets(
    node: &Node<'_>,
    lightning: Option<&[String]>,
    report: &mut Report,
) -> Option<Option<Vec<String>>> {
    let items = match node.get_ref() {
        DeValue::Boolean(true) => return Some(Some(lightning?.to_vec())),
        DeValue::Boolean(false) => return Some(None),
        DeValue::Array(items) => items,
        _ => {
            report
                .push(
                    node.span(),
                    format!(
                        "expected `true` or an array of names, found {}",
                        describe(node)
                    ),
                )
                .label("the value of `liquid`")
                .help(WALLETS);
            return None;
        }
    };
    let mut wallets: Vec<(String, Span)> = Vec::new();
    let mut sound = true;
    for item in items {
        let DeValue::String(name) = item.get_ref() else {
            let title = format!("expected a name, found {}", describe(item));
            report
                .push(item.span(), title)
                .label("in `liquid`")
                .help(WALLETS);
            sound = false;
            continue;
        };
        sound &= wallet_name(name, &wallets, item, report);
        wallets.push((name.to_string(), item.span()));
    }
    sound.then(|| Some(wallets.into_iter().map(|(name, _)| name).collect()))
}

fn wallet_name(
    name: &str,
    before: &[(String, Span)],
    item: &Node<'_>,
    report: &mut Report,
) -> bool {
    if !is_name(name, '-') {
        let example = to_name(name, '-').unwrap_or_else(|| "alice".to_owned());
        report
            .push(
                item.span(),
                format!("{} is not a name for a wallet", quoted(name)),
            )
            .label("a lowercase letter, then lowercase letters, digits and `-`")
            .help(format!("write \"{example}\""));
        return false;
    }
    if super::world::RESERVED.contains(&name) || [FAUCET, OUTSIDE].contains(&name) {
        report
            .push(item.span(), format!("no wallet can be called \"{name}\""))
            .label("reserved")
            .help("the name means something else in steps and reports; choose another one");
        return false;
    }
    if let Some((_, first)) = before.iter().find(|(other, _)| other == name) {
        report
            .push(item.span(), format!("two wallets are called \"{name}\""))
            .label("the second")
            .also(first.clone(), "the first")
            .help("give every wallet a name of its own");
        return false;
    }
    true
}

fn read_index(
    node: &Node<'_>,
    chains: Option<&Chains>,
    report: &mut Report,
) -> Option<BTreeSet<Chain>> {
    let list = one_of_quoted(CHAINS.map(chain_name));
    let DeValue::Array(items) = node.get_ref() else {
        report
            .push(
                node.span(),
                format!("expected an array of chains, found {}", describe(node)),
            )
            .label("the value of `index`")
            .help(INDEX);
        return None;
    };
    let mut index = BTreeSet::new();
    let mut sound = true;
    for item in items {
        let name = match item.get_ref() {
            DeValue::String(text) => text.to_string(),
            _ => describe(item),
        };
        let Some(chain) = CHAINS.into_iter().find(|chain| chain_name(*chain) == name) else {
            let help = match nearest(&name, CHAINS.map(chain_name)) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => INDEX.to_owned(),
            };
            report
                .push(item.span(), format!("there is no chain {}", quoted(&name)))
                .label(format!("expected {list}"))
                .help(help);
            sound = false;
            continue;
        };
        let has_liquid = chains.is_none_or(|chains| chains.liquid.is_some());
        if chain == Chain::Liquid && !has_liquid {
            report
                .push(item.span(), "an index of Liquid in a world without Liquid")
                .label("this world has no such chain")
                .help("add liquid = true, or leave \"liquid\" out here");
            sound = false;
        }
        if !index.insert(chain) {
            report
                .push(item.span(), format!("\"{name}\" is there twice"))
                .label("the second")
                .help("keep one of the two");
            sound = false;
        }
    }
    sound.then_some(index)
}
