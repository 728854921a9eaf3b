//! What the live view of a world says, line by line, for any width.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use serde_json::Value;
use swaprig_harness::elementsd::LBTC;
use swaprig_harness::units::{Msat, Sat};

use super::remote::{not_there, text};

/// Below this many columns a thing gets two lines.
const NARROW: usize = 64;
/// Columns of a channel's bar.
const BAR: usize = 16;
/// Of an asset or a swap as many characters are shown.
const ID: usize = 8;

/// How things are coloured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub colour: bool,
}

impl Paint {
    fn good(self) -> Style {
        self.colour(Color::Green)
    }

    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn waiting(self) -> Style {
        self.colour(Color::Yellow)
    }

    fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn colour(self, colour: Color) -> Style {
        match self.colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }
}

fn items<'a>(state: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    state[key].as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// The line at the top: the world and its chains.
pub(super) fn header(world: u32, state: &Value, width: usize) -> String {
    let mut parts = vec![format!("world {world}"), chain("bitcoin", state)];
    if !state["liquid"].is_null() {
        parts.push(chain("liquid", &state["liquid"]));
    }
    let whole = parts.join("   ");
    // The mempools are below, too.
    match whole.chars().count() <= width {
        true => whole,
        false => {
            let short = parts
                .iter()
                .map(|part| part.split(',').next().unwrap_or(part));
            short.collect::<Vec<_>>().join(" ")
        }
    }
}

fn chain(name: &str, state: &Value) -> String {
    match state["height"].as_u64() {
        Some(height) => format!("{name} {height}, mempool {}", number(&state["mempool"])),
        None => format!("{name} down"),
    }
}

/// Everything below it.
pub(super) fn lines(state: &Value, width: usize, paint: Paint) -> Vec<Line<'static>> {
    let mut all = Vec::new();
    let mut section = |title: &str, lines: Vec<Line<'static>>| {
        if !lines.is_empty() {
            all.push(Line::default());
            all.push(Line::styled(title.to_owned(), paint.title()));
            all.extend(lines);
        }
    };
    section("Channels", channels(state, width, paint));
    section("Wallets", wallets(state, width));
    section("Swaps", swaps(state, width, paint));
    section("Processes", processes(state, width, paint));
    all
}

/// A text that is cut to `width`.
fn fit(text: String, width: usize) -> String {
    match text.chars().count() <= width {
        true => text,
        false => text
            .chars()
            .take(width.saturating_sub(1))
            .chain(['…'])
            .collect(),
    }
}

/// Each channel once, seen by the first of its nodes.
fn channels(state: &Value, width: usize, paint: Paint) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut seen = Vec::new();
    for node in items(state, "nodes") {
        for channel in items(node, "channel_list") {
            let id = text(&channel["channel_id"]);
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let with = text(&channel["with"]);
            // A key in place of a name: a node that is not of this world.
            let with: String = with
                .chars()
                .take(if with.len() == 66 { ID } else { 66 })
                .collect();
            let names = format!("  {} → {with}", text(&node["name"]));
            let word = text(&channel["state"]).to_owned();
            let style = if word == "usable" {
                paint.good()
            } else {
                paint.waiting()
            };
            let (bar, amounts) = (bar(channel, BAR.min(width / 2)), amounts(channel));
            match width < NARROW {
                true => {
                    lines.push(Line::from(vec![
                        Span::raw(fit(format!("{names}  "), width)),
                        Span::styled(word, style),
                    ]));
                    lines.push(Line::raw(fit(format!("    {bar}"), width)));
                    lines.push(Line::raw(fit(format!("    {amounts}"), width)));
                }
                false => {
                    let (names, word) = (format!("{names:<18} "), format!("{word:<13} "));
                    let before = names.chars().count() + word.chars().count();
                    let rest = fit(format!("{bar} {amounts}"), width.saturating_sub(before));
                    lines.push(Line::from(vec![
                        Span::raw(names),
                        Span::styled(word, style),
                        Span::raw(rest),
                    ]));
                }
            }
        }
    }
    lines
}

/// How much of a channel either side could send: `█` ours, `░` theirs, `·` neither's: reserves, fees, HTLCs.
fn bar(channel: &Value, columns: usize) -> String {
    let size = number(&channel["size_sat"]).saturating_mul(1000).max(1);
    let cells = |msat: u64| {
        let cells = u128::from(msat) * columns as u128 / u128::from(size);
        usize::try_from(cells).unwrap_or(columns).min(columns)
    };
    let ours = cells(number(&channel["outbound_msat"]));
    let theirs = cells(number(&channel["inbound_msat"])).min(columns - ours);
    let between = columns - ours - theirs;
    format!(
        "{}{}{}",
        "█".repeat(ours),
        "·".repeat(between),
        "░".repeat(theirs)
    )
}

fn amounts(channel: &Value) -> String {
    let sat = |key: &str| number(&channel[key]) / 1000;
    let (ours, theirs) = (grouped(sat("outbound_msat")), grouped(sat("inbound_msat")));
    let held = Msat(number(&channel["committed_msat"]));
    match held.0 {
        0 => format!("{ours} | {theirs} sat"),
        _ => format!("{ours} | {theirs} sat, held {held}"),
    }
}

/// `1_000_000`.
fn grouped(amount: u64) -> String {
    let text = Sat(amount).to_string();
    text.trim_end_matches(" sat").to_owned()
}

fn wallets(state: &Value, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut put = |name: &str, what: String| {
        lines.push(Line::raw(fit(format!("  {name:<9} {what}"), width)));
    };
    for node in items(state, "nodes").filter(|node| not_there(node).is_none()) {
        let (name, sat) = (text(&node["name"]), |key: &str| number(&node[key]));
        let (onchain, lightning) = (grouped(sat("onchain_sat")), Sat(sat("lightning_sat")));
        match width < NARROW {
            true => {
                put(name, format!("on chain {onchain}"));
                put("", format!("lightning {lightning}"));
            }
            false => put(name, format!("on chain {onchain}, lightning {lightning}")),
        }
    }
    for wallet in items(&state["liquid"], "wallets") {
        let held = wallet["balances"].as_object().into_iter().flatten();
        let held: Vec<String> = held
            .map(|(asset, parts)| match asset == LBTC {
                true => Sat(number(parts)).to_string(),
                false => format!("{} of {}…", grouped(number(parts)), cut(asset)),
            })
            .collect();
        let name = text(&wallet["name"]);
        match held.split_first() {
            None => put(name, "liquid nothing".to_owned()),
            Some((first, more)) if width < NARROW => {
                put(name, format!("liquid {first}"));
                more.iter()
                    .for_each(|held| put("", format!("liquid {held}")));
            }
            Some(_) => put(name, format!("liquid {}", held.join(", "))),
        }
    }
    lines
}

fn cut(id: &str) -> &str {
    id.get(..ID).unwrap_or(id)
}

fn swaps(state: &Value, width: usize, paint: Paint) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for server in items(state, "servers") {
        for swap in items(server, "swaps") {
            let status = text(&swap["status"]);
            let style = match status {
                "claimed" => paint.good(),
                "failed" => paint.bad(),
                "refunded" => paint.waiting(),
                _ => Style::new(),
            };
            let amount = number(&swap["amount"]);
            let amount = match text(&swap["asset_id"]) {
                LBTC => Sat(amount).to_string(),
                asset => format!("{} of {}…", grouped(amount), cut(asset)),
            };
            let id = cut(text(&swap["swap_id"]));
            let head = format!("  {:<9} {id} ", text(&server["name"]));
            let phase = text(&swap["phase"]).replace('_', " ");
            let rest = format!("{amount}, {phase}, timeout {}", number(&swap["timeout"]));
            let status_text = format!("{status:<9}");
            match width < NARROW {
                true => {
                    lines.push(Line::from(vec![
                        Span::raw(fit(head, width)),
                        Span::styled(status_text, style),
                    ]));
                    lines.push(Line::raw(fit(format!("    {rest}"), width)));
                }
                false => {
                    let room = width.saturating_sub(head.chars().count() + 10);
                    lines.push(Line::from(vec![
                        Span::raw(head),
                        Span::styled(status_text, style),
                        Span::raw(format!(" {}", fit(rest, room))),
                    ]));
                }
            }
        }
    }
    lines
}

fn processes(state: &Value, width: usize, paint: Paint) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut put = |name: &str, part: &Value, there: String| {
        let (style, what) = match not_there(part) {
            Some(why) => (paint.bad(), why.to_owned()),
            None => (paint.good(), there),
        };
        let head = format!("  {name:<14} ");
        let room = width.saturating_sub(head.chars().count());
        lines.push(Line::from(vec![
            Span::raw(head),
            Span::styled(fit(what, room), style),
        ]));
    };
    let height = |part: &Value| format!("running, height {}", number(&part["height"]));
    put("bitcoind", state, height(state));
    if !state["liquid"].is_null() {
        put("elementsd", &state["liquid"], height(&state["liquid"]));
    }
    for part in items(state, "indexes").chain(items(state, "nodes")) {
        put(text(&part["name"]), part, height(part));
    }
    for server in items(state, "servers") {
        let there = format!("running, {}", text(&server["address"]));
        put(text(&server["name"]), server, there);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn world() -> Value {
        let channel = |with: &str, out: u64, inbound: u64| {
            json!({ "channel_id": "c1", "with": with, "state": "usable", "size_sat": 1_000_000,
                    "outbound_msat": out * 1000, "inbound_msat": inbound * 1000, "committed_msat": 0 })
        };
        json!({
            "height": 108, "mempool": 2,
            "nodes": [
                { "name": "alice", "height": 108, "onchain_sat": 999_775, "lightning_sat": 750_000,
                  "channel_list": [channel("bob", 740_000, 240_000)] },
                { "name": "bob", "ended": "killed by signal 9" },
            ],
            "liquid": { "height": 5, "mempool": 0, "wallets": [
                { "name": "alice", "balances": { LBTC: 50_000, "f012db12e568": 7 } },
                { "name": "bob", "balances": {} },
            ]},
            "indexes": [{ "name": "electrs-liquid", "height": 5 }],
            "servers": [{ "name": "seller", "address": "127.0.0.1:1", "swaps": [
                { "swap_id": "d3885df9-8191", "status": "created", "phase": "funding", "asset_id": LBTC,
                  "amount": 50_000, "timeout": 2005 },
            ]}],
        })
    }

    fn shown(state: &Value, width: usize) -> Vec<String> {
        let lines = lines(state, width, Paint { colour: false });
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wide_terminal_has_a_line_for_each() {
        assert_eq!(
            header(1, &world(), 80),
            "world 1   bitcoin 108, mempool 2   liquid 5, mempool 0"
        );
        let expected = "
Channels
  alice → bob      usable        ███████████··░░░ 740_000 | 240_000 sat

Wallets
  alice     on chain 999_775, lightning 750_000 sat
  alice     liquid 50_000 sat, 7 of f012db12…
  bob       liquid nothing

Swaps
  seller    d3885df9 created   50_000 sat, funding, timeout 2005

Processes
  bitcoind       running, height 108
  elementsd      running, height 5
  electrs-liquid running, height 5
  alice          running, height 108
  bob            killed by signal 9
  seller         running, 127.0.0.1:1";
        assert_eq!(shown(&world(), 80).join("\n"), expected);
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        for width in [20, 40, 63, 64, 80] {
            assert!(
                header(1, &world(), width).chars().count() <= width.max(28),
                "{width}"
            );
            for line in shown(&world(), width) {
                // Names and states are short words, which are not cut.
                assert!(line.chars().count() <= width.max(34), "{width}: {line}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_shown() {
        let state = json!({ "height": null, "ended": "exit status 1", "nodes": [], "indexes": [], "servers": [] });
        assert_eq!(header(2, &state, 80), "world 2   bitcoin down");
        assert_eq!(
            shown(&state, 80).join("\n"),
            "\nProcesses\n  bitcoind       exit status 1"
        );
    }
}
