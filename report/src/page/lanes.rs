//! The lanes of the diagram: one for each actor that has something to show, and one for each chain.

use std::collections::{BTreeSet, HashMap};

use swaprig_record::{Chain, Contents, Event, PartyRole};

use super::model::roles;

/// Lanes from left to right, and which actor has which.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub lanes: Vec<Lane>,
    by_name: HashMap<String, usize>,
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// The actor's name, or the chain's.
    pub name: String,
    /// What it is, in a word or two.
    pub what: &'static str,
}

impl Lanes {
    /// Buyers and whoever calls stand on the left, then each server with its own Lightning node, then the chains.
    pub(super) fn of(contents: &Contents) -> Self {
        let mut parties: Vec<_> = roles(contents).collect();
        name_nodes(contents, &mut parties);
        let mut lanes = Lanes::default();
        let owned = |name: &str| parties.iter().any(|(_, _, node)| *node == Some(name));
        if calls_from(contents, "harness") {
            lanes.add("harness", "the scenario itself");
        }
        for (name, role, _) in &parties {
            match role {
                PartyRole::Wallet => lanes.add(name, "Liquid wallet"),
                PartyRole::Lightning if !owned(name) => lanes.add(name, "Lightning node"),
                _ => {}
            }
        }
        for (name, _, node) in parties
            .iter()
            .filter(|(_, role, _)| *role == PartyRole::Server)
        {
            lanes.add(name, "server");
            if let Some(node) = node {
                lanes.add(node, "Lightning node");
            }
        }
        for name in actors(contents) {
            if !parties.iter().any(|(known, ..)| *known == name) {
                lanes.add(name, "");
            }
        }
        let chains = chains(contents, &parties);
        if chains[1] {
            lanes.add_chain(Chain::Liquid, &parties);
        }
        if chains[0] {
            lanes.add_chain(Chain::Bitcoin, &parties);
        }
        lanes
    }

    /// The lane of an actor, or of what stands in for it: an index has that of its chain.
    pub(super) fn of_name(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The lane of a chain.
    pub(super) fn of_chain(&self, chain: Chain) -> Option<usize> {
        self.of_name(title(chain))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    fn add(&mut self, name: &str, what: &'static str) {
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.to_owned(), self.lanes.len());
            let name = name.to_owned();
            self.lanes.push(Lane { name, what });
        }
    }

    /// Adds a chain's lane, which is that of its node and of its index, too.
    fn add_chain(&mut self, chain: Chain, parties: &[Known<'_>]) {
        self.add(title(chain), "chain");
        let lane = self.lanes.len() - 1;
        for (name, role, _) in parties {
            let is_here = match role {
                PartyRole::Bitcoind => chain == Chain::Bitcoin,
                PartyRole::Elementsd => chain == Chain::Liquid,
                PartyRole::Index => name.contains("liquid") == (chain == Chain::Liquid),
                _ => false,
            };
            if is_here {
                self.by_name.entry((*name).to_owned()).or_insert(lane);
            }
        }
    }
}

/// A party: its name, what it is, and its Lightning node.
type Known<'a> = (&'a str, PartyRole, Option<&'a str>);

/// Of a server that does not tell its Lightning node, the oracle does: it owns `seller (bob)`.
fn name_nodes<'a>(contents: &'a Contents, parties: &mut [Known<'a>]) {
    let is_node = |name: &str, all: &[Known<'_>]| {
        all.iter()
            .any(|(known, role, _)| *known == name && *role == PartyRole::Lightning)
    };
    let owners: BTreeSet<&str> = (contents.lines.iter())
        .filter_map(|line| match &line.event {
            Event::Money(money) => Some(money.holdings.iter().map(|holding| &*holding.owner)),
            _ => None,
        })
        .flatten()
        .collect();
    for owner in owners {
        let Some((server, node)) = owner
            .strip_suffix(')')
            .and_then(|owner| owner.split_once(" ("))
        else {
            continue;
        };
        if is_node(node, parties) {
            let of_server = parties.iter_mut().find(|(name, role, own)| {
                *name == server && *role == PartyRole::Server && own.is_none()
            });
            if let Some((_, _, own)) = of_server {
                *own = Some(node);
            }
        }
    }
}

/// `Bitcoin` or `Liquid`.
pub(super) fn title(chain: Chain) -> &'static str {
    match chain {
        Chain::Bitcoin => "Bitcoin",
        Chain::Liquid => "Liquid",
    }
}

fn calls_from(contents: &Contents, name: &str) -> bool {
    let is_from = |event: &Event| matches!(event, Event::Call(call) if call.from == name);
    contents.lines.iter().any(|line| is_from(&line.event))
}

/// Everybody who does something, in the order of their first deed; a world that did not stand up has told no parties.
fn actors(contents: &Contents) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for line in &contents.lines {
        let acting: [&str; 2] = match &line.event {
            Event::Call(call) => [&call.from, &call.to],
            Event::Payment(payment) => [&payment.node, payment.peer.as_deref().unwrap_or_default()],
            Event::Channel(channel) => [&channel.node, ""],
            Event::Swap(swap) => [&swap.party, ""],
            Event::Invoice(invoice) => [&invoice.payee, ""],
            Event::Started(started) => [&started.name, ""],
            Event::Htlc(htlc) => [
                htlc.claimer.as_deref().unwrap_or_default(),
                htlc.refunder.as_deref().unwrap_or_default(),
            ],
            _ => continue,
        };
        for name in acting {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Whether there is something to show of Bitcoin and of Liquid.
fn chains(contents: &Contents, parties: &[Known<'_>]) -> [bool; 2] {
    let mut found = [false; 2];
    for (_, role, _) in parties {
        found[0] |= *role == PartyRole::Bitcoind;
        found[1] |= *role == PartyRole::Elementsd;
    }
    for line in &contents.lines {
        match &line.event {
            Event::Block(block) => found[block.chain as usize] = true,
            Event::Tx(tx) => found[tx.chain as usize] = true,
            _ => {}
        }
    }
    found
}
