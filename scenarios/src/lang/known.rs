//! The key `known_failure`: a failure that is written down elsewhere, and how it is told from another one.

use toml::de::{DeTable, DeValue};

use super::plan::KnownFailure;
use super::problem::Report;
use super::words::{Node, all_of, describe, nearest, quoted};

/// The keys of a known failure: name, example, what it is.
pub(super) const KNOWN_KEYS: &[(&str, &str, &str)] = &[
    (
        "issue",
        "\"#12\"",
        "where it is written down: an address, or a number such as #12",
    ),
    (
        "match",
        "\"did not settle\"",
        "a part of what the failure says; another failure fails the run",
    ),
];

const EXAMPLE: &str = "write known_failure = { issue = \"#12\", match = \"did not settle\" }";

/// Reads the value of `known_failure`; `None`: there is a problem with it.
pub(super) fn read(node: &Node<'_>, report: &mut Report) -> Option<KnownFailure> {
    let DeValue::Table(table) = node.get_ref() else {
        report
            .push(
                node.span(),
                format!("expected a table, found {}", describe(node)),
            )
            .label("the value of `known_failure`")
            .help(EXAMPLE);
        return None;
    };
    let sound = unknown_keys(table, report);
    let issue = text(node, table, "issue", sound, report);
    let matches = text(node, table, "match", sound, report);
    let (issue, matches) = (issue?, matches?);
    if !is_issue(&issue) {
        let span = table
            .get("issue")
            .map(|node| node.span())
            .unwrap_or_default();
        let help = match issue.parse::<u64>() {
            Ok(number) => format!("write \"#{number}\""),
            Err(_) => "write its whole address, or its number with `#`: \"#12\"".to_owned(),
        };
        report
            .push(
                span,
                format!("{} does not lead to an issue", quoted(&issue)),
            )
            .label("expected an address, or a number such as #12")
            .help(help);
        return None;
    }
    sound.then(|| KnownFailure {
        issue,
        matches,
        span: node.span(),
    })
}

fn is_issue(text: &str) -> bool {
    let digits = |number: &str| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let address = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    text.strip_prefix('#').is_some_and(digits)
        || address.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

fn unknown_keys(table: &DeTable<'_>, report: &mut Report) -> bool {
    let keys = || KNOWN_KEYS.iter().map(|(key, ..)| *key);
    let mut sound = true;
    for (key, _) in table {
        let name: &str = key.get_ref();
        if keys().any(|known| known == name) {
            continue;
        }
        sound = false;
        let help = match nearest(name, keys()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("a known failure has {}", all_of(keys())),
        };
        let title = format!("unknown key `{name}` in `known_failure`");
        report.push(key.span(), title).label("unknown").help(help);
    }
    sound
}

/// The text of a key. That it is missing is not said where an unknown key may be meant for it.
fn text(
    node: &Node<'_>,
    table: &DeTable<'_>,
    key: &str,
    sound: bool,
    report: &mut Report,
) -> Option<String> {
    match table.get(key).map(|value| (value, value.get_ref())) {
        Some((_, DeValue::String(text))) if !text.trim().is_empty() => Some(text.to_string()),
        Some((value, DeValue::String(_))) => {
            report
                .push(value.span(), format!("an empty `{key}`"))
                .label("empty")
                .help(EXAMPLE);
            None
        }
        Some((value, _)) => {
            report
                .push(
                    value.span(),
                    format!("expected a text, found {}", describe(value)),
                )
                .label(format!("the value of `{key}`"))
                .help(EXAMPLE);
            None
        }
        None if sound => {
            report
                .push(node.span(), format!("the known failure has no `{key}`"))
                .label("here")
                .help(EXAMPLE);
            None
        }
        None => None,
    }
}
