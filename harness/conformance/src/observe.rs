//! Observations in a form that two runs share: what differs by its nature (hashes, addresses, amounts of a fee) is masked,
//! and of a JSON value whose contents differ by their nature its shape is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rpc::Reply;

/// What was seen at one place of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The place; unique in its case.
    pub label: String,
    /// What was seen, masked.
    pub saw: String,
}

/// `text` with every hash, address and hexadecimal blob replaced by a word, and decimal fractions by `N`.
pub fn mask(text: &str) -> String {
    let text = mask_paths(text);
    let mut masked = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        if end == 0 {
            let other = rest.chars().next().expect("it is not empty");
            masked.push(other);
            rest = &rest[other.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(end);
        // `0.00000123` is one number.
        let fraction = after.strip_prefix('.').map(|rest| {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            (&rest[..digits], &rest[digits..])
        });
        if let Some((digits, after)) = fraction
            && !digits.is_empty()
            && word.bytes().all(|b| b.is_ascii_digit())
        {
            masked.push('N');
            rest = after;
            continue;
        }
        masked.push_str(mask_word(word));
        rest = after;
    }
    masked
}

/// `text` with every path of a file replaced by `<path>`.
fn mask_paths(text: &str) -> String {
    let mut parts = text.split('\'');
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push('\'');
        masked.push_str(if part.starts_with('/') {
            "<path>"
        } else {
            part
        });
    }
    masked
}

fn mask_word(word: &str) -> &str {
    let is_hex = word.bytes().all(|b| b.is_ascii_hexdigit());
    match word.len() {
        64 if is_hex => "<hash>",
        30.. if is_hex => "<hex>",
        30.. if word.starts_with("ert1") || word.starts_with("el1") => "<address>",
        _ => word,
    }
}

/// `text` with every number that is left replaced by `N`.
pub fn mask_numbers(text: &str) -> String {
    let mut masked = String::new();
    let mut in_number = false;
    for c in mask(text).chars() {
        if c.is_ascii_digit() {
            if !in_number {
                masked.push('N');
            }
            in_number = true;
        } else {
            masked.push(c);
            in_number = false;
        }
    }
    masked
}

/// An answer of a node, told by what a caller can act on: `HTTP 500, -26: dust`.
pub fn told(reply: &Reply) -> String {
    match &reply.result {
        Ok(_) => format!("HTTP {}, a result", reply.status),
        // How to call it is told in pages, which are for people.
        Err(refused) if refused.code == -1 && refused.message.starts_with(&*reply.method) => {
            format!("HTTP {}, -1: how to call it", reply.status)
        }
        Err(refused) => format!(
            "HTTP {}, {}: {}",
            reply.status,
            refused.code,
            mask(&first_line(&refused.message))
        ),
    }
}

/// An error of an index: a code and a text, or a text alone, as the protocol leaves open.
pub fn told_by_index(answer: &Result<Value, Value>) -> String {
    match answer {
        Ok(_) => "a result".into(),
        Err(Value::String(text)) => format!("text: {}", mask(text)),
        Err(Value::Object(error)) => {
            let code = error.get("code").cloned().unwrap_or_default();
            let message = error.get("message").and_then(Value::as_str);
            format!("{code}: {}", mask(&first_line(message.unwrap_or_default())))
        }
        Err(other) => other.to_string(),
    }
}

/// Help texts of a node have pages; their first line says which command it is.
fn first_line(text: &str) -> String {
    match text.split_once('\n') {
        Some((first, rest)) if !rest.trim().is_empty() => format!("{first} …"),
        Some((first, _)) => first.to_owned(),
        None => text.to_owned(),
    }
}

/// The type of a JSON value in one word.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The shape of a value: each path in it, and what is there. Elements of an array share one path, keys that are hashes
/// or addresses share one each.
pub fn shape(value: &Value) -> BTreeMap<String, String> {
    let mut paths = BTreeMap::new();
    walk(value, String::new(), &mut paths);
    paths
}

fn walk(value: &Value, path: String, paths: &mut BTreeMap<String, String>) {
    let here = if path.is_empty() { "." } else { &path };
    let entry = paths.entry(here.to_owned()).or_default();
    let kind = type_of(value);
    if !entry.split('|').any(|own| own == kind) {
        let mut kinds: Vec<&str> = entry.split('|').filter(|own| !own.is_empty()).collect();
        kinds.push(kind);
        kinds.sort_unstable();
        *entry = kinds.join("|");
    }
    match value {
        Value::Array(all) => all
            .iter()
            .for_each(|one| walk(one, format!("{path}[]"), paths)),
        Value::Object(all) => all
            .iter()
            .for_each(|(key, one)| walk(one, format!("{path}.{}", mask(key)), paths)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Refused;
    use serde_json::json;

    const HASH: &str = "12a51d3e6441abbdb3a5b35983260dec3ff457a301a24a4e76d41b0c0adfb99b";

    #[test]
    fn what_differs_by_its_nature_is_masked() {
        let table = [
            (
                format!("rejecting replacement {HASH}; new feerate 0.00000100 BTC/kvB <= old"),
                "rejecting replacement <hash>; new feerate N BTC/kvB <= old",
            ),
            (
                "min relay fee not met, 1 < 20".into(),
                "min relay fee not met, 1 < 20",
            ),
            ("dust".into(), "dust"),
            ("version 2.".into(), "version 2."),
            ("cafe".into(), "cafe"),
            ("no '/home/x' in 'y'".into(), "no '<path>' in 'y'"),
        ];
        for (text, masked) in table {
            assert_eq!(mask(&text), masked);
        }
        assert_eq!(mask_numbers("1 < 20 of 0.5"), "N < N of N");
    }

    #[test]
    fn a_shape_has_every_path_once() {
        let value = json!({"a": [{"b": 1}, {"b": null, "c": "x"}], HASH: 1.5});
        let shape = shape(&value);
        let paths: Vec<_> = shape
            .iter()
            .map(|(path, kind)| format!("{path} {kind}"))
            .collect();
        assert_eq!(
            paths,
            [
                ". object",
                ".<hash> number",
                ".a array",
                ".a[] object",
                ".a[].b null|number",
                ".a[].c string"
            ]
        );
    }

    #[test]
    fn of_a_text_with_pages_the_first_line_is_told_and_of_help_that_it_is_help() {
        for (message, text) in [
            (
                "getblock \"blockhash\"\n\nLong.",
                "HTTP 500, -1: how to call it",
            ),
            ("No.\nBecause.", "HTTP 500, -1: No. …"),
            ("No.\n", "HTTP 500, -1: No."),
        ] {
            let refused = Refused {
                code: -1,
                message: message.into(),
            };
            let reply = Reply {
                method: "getblock".into(),
                status: 500,
                result: Err(refused),
            };
            assert_eq!(told(&reply), text);
        }
    }
}
