//! What differs between two runs and decides nothing: what they ran with, values that were made, last looks, fields of
//! answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use swaprig_record::{Call, Contents, Event};

use super::Difference;
use crate::brief::Brief;
use crate::plain::plain;
use crate::steps::{Step, Steps};

/// How many fields of one answer are told.
const FIELDS_TOLD: usize = 8;

fn note(what: String, left: Option<String>, right: Option<String>) -> Difference {
    Difference {
        what,
        left,
        right,
        decides: false,
    }
}

/// What the runs did not have in common from the start.
pub(super) fn circumstances(
    left: (&Brief, &Contents),
    right: (&Brief, &Contents),
) -> Vec<Difference> {
    let facts = |(brief, contents): (&Brief, &Contents)| {
        let began = &contents.began;
        let mut facts = BTreeMap::new();
        for daemon in &brief.daemons {
            facts.insert(
                daemon.role.clone(),
                format!("{} {}", daemon.kind, daemon.version),
            );
        }
        facts.insert("swaprig".to_owned(), began.swaprig.clone());
        facts.insert("system".to_owned(), began.machine.system.clone());
        facts.insert("cores".to_owned(), began.machine.cores.to_string());
        facts.insert("at once".to_owned(), brief.jobs.to_string());
        facts.insert("case".to_owned(), brief.scenario.clone());
        facts
    };
    let (one, other) = (facts(left), facts(right));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let mut found: Vec<Difference> = names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| {
            note(
                name.clone(),
                one.get(name).cloned(),
                other.get(name).cloned(),
            )
        })
        .collect();
    let (old, new) = (&left.1.began.sources, &right.1.began.sources);
    for source in old {
        let same = new.iter().find(|other| other.file == source.file);
        if same.is_some_and(|other| other.text != source.text) {
            let is_older = left.0.unix_ms <= right.0.unix_ms;
            let is = |older: bool| Some(if older { "before" } else { "after" }.to_owned());
            found.push(note(
                format!("change of {}", source.file),
                is(is_older),
                is(!is_older),
            ));
        }
    }
    found
}

/// Fields that a step made with another value.
pub(super) fn made(left: &Step<'_>, right: &Step<'_>, found: &mut Vec<Difference>) {
    let made = |step: &Step<'_>| -> BTreeMap<String, String> {
        let made = step.done.map_or(&[][..], |done| &done.made);
        let made = made.iter().filter(|(field, _)| !is_volatile(field));
        made.cloned().collect()
    };
    let (one, other) = (made(left), made(right));
    for (field, value) in &one {
        if let Some(there) = other.get(field)
            // An answer is told field by field.
            && !value.starts_with(['{', '['])
            && plain(value) != plain(there)
        {
            found.push(note(
                format!("made {field}"),
                Some(value.clone()),
                Some(there.clone()),
            ));
        }
    }
}

/// The last look of a step that waits.
pub(super) fn last_seen(left: &Step<'_>, right: &Step<'_>, found: &mut Vec<Difference>) {
    let last = |step: &Step<'_>| step.seen.last().map(|seen| plain(&seen.seen));
    let (one, other) = (last(left), last(right));
    // Of steps that saw in the end what they waited for, the look before is chance.
    let has_failed = left.failure().is_some() || right.failure().is_some();
    // Where one of them did not have to look again, nothing can be said.
    if has_failed && one.is_some() && other.is_some() && one != other {
        found.push(note("last seen".to_owned(), one, other));
    }
}

/// The harness's answered calls of a step, by whom and what was called; of several the last.
pub(super) fn calls<'a>(
    contents: &'a Contents,
    steps: &Steps<'_>,
    at: usize,
) -> BTreeMap<(&'a str, &'a str), &'a Call> {
    let (from, to) = steps.list[at].span;
    let first = contents.lines.partition_point(|line| line.t < from);
    let end = contents.lines.partition_point(|line| line.t <= to);
    (first..end)
        .filter(|line| steps.of_line[*line] == Some(at))
        .filter_map(|line| match &contents.lines[line].event {
            Event::Call(call) if call.error.is_none() && call.from == "harness" => {
                Some(((call.to.as_str(), call.method.as_str()), &**call))
            }
            _ => None,
        })
        .collect()
}

/// Fields of answers that have another value.
pub(super) fn replies(
    left: &BTreeMap<(&str, &str), &Call>,
    right: &BTreeMap<(&str, &str), &Call>,
    found: &mut Vec<Difference>,
) {
    for (key, call) in left {
        let Some(other) = right.get(key) else {
            continue;
        };
        if call.reply == other.reply {
            continue;
        }
        // One that was cut is no JSON any more.
        let parsed = |call: &Call| serde_json::from_str::<Value>(&call.reply);
        let (Ok(one), Ok(other)) = (parsed(call), parsed(other)) else {
            continue;
        };
        let mut fields = Vec::new();
        walk("$", &one, &other, &mut fields);
        for (path, left, right) in fields.into_iter().take(FIELDS_TOLD) {
            found.push(note(format!("{} of {}", path, call.method), left, right));
        }
    }
}

fn walk(
    path: &str,
    left: &Value,
    right: &Value,
    found: &mut Vec<(String, Option<String>, Option<String>)>,
) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for name in names.into_iter().filter(|name| !is_volatile(name)) {
                let path = format!("{path}.{name}");
                match (left.get(name), right.get(name)) {
                    (Some(one), Some(other)) => walk(&path, one, other, found),
                    (one, other) => {
                        let text = |value: &Value| value.to_string();
                        found.push((path, one.map(text), other.map(text)));
                    }
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            // Many lists are in the order of ids, which is another one each time.
            let in_order = |list: &[Value]| {
                let mut list = list.to_vec();
                list.sort_by_cached_key(|value| plain(&value.to_string()));
                list
            };
            let (left, right) = (in_order(left), in_order(right));
            for (at, (one, other)) in left.iter().zip(&right).enumerate() {
                walk(&format!("{path}[{at}]"), one, other, found);
            }
        }
        (one, other) => {
            let (one, other) = (plain(&one.to_string()), plain(&other.to_string()));
            if one != other {
                found.push((path.to_owned(), Some(one), Some(other)));
            }
        }
    }
}

/// Whether the values of a field by that name differ in any two runs.
fn is_volatile(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    let words = [
        "fee",
        "time_",
        "_time",
        "timestamp",
        "expir",
        "created",
        "updated",
        "port",
        "pid",
        "seed",
    ];
    field == "time"
        || field.ends_with("_at")
        || field.ends_with("_ms")
        || field.contains("unix")
        || words.iter().any(|word| field.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_differ_where_their_fields_do() {
        let one = serde_json::json!({
            "id": "0190163d-8694-739b-aea5-966c26f8ad91", "state": "Funded", "fee_sat": 12,
            "htlc": { "timeout": 1556, "address": "ert1qw508d6qejxtdg4y5r3zarvary0c5xw7k" },
            "steps": [1, 2], "created_at": 1,
        });
        let other = serde_json::json!({
            "id": "0190163d-8694-739b-aea5-966c26f8ad92", "state": "Claimed", "fee_sat": 13,
            "htlc": { "timeout": 1, "address": "ert1qw508d6qejxtdg4y5r3zarvary0c5xw7q" },
            "steps": [1, 3], "created_at": 2, "more": null,
        });
        let mut found = Vec::new();
        walk("$", &one, &other, &mut found);
        let text = |text: &str| Some(text.to_owned());
        let expected = [
            ("$.htlc.timeout".to_owned(), text("1556"), text("1")),
            ("$.more".to_owned(), None, text("null")),
            (
                "$.state".to_owned(),
                text("\"Funded\""),
                text("\"Claimed\""),
            ),
            ("$.steps[1]".to_owned(), text("2"), text("3")),
        ];
        assert_eq!(found, expected);
    }
}
