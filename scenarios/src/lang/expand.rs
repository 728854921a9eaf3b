//! A plan written out as a file that needs no fragments, no cases and no inputs: `check --expand`.

use std::fmt::Write as _;

use swaprig_harness::template::{Part, Template};
use toml::de::{DeArray, DeTable, DeValue};

use super::plan::{Plan, PlannedStep};
use super::reference::{Reference, Text};

impl Plan {
    /// The plan as a scenario file that stands for itself: every fragment is written out as `steps`, and every input as
    /// its value. It checks, and does the same.
    pub fn expanded(&self) -> String {
        let mut text = self.header.clone();
        text.push_str("steps = [\n");
        for step in &self.steps {
            write_step(step, 1, &mut text);
        }
        text.push_str("]\n");
        text
    }
}

fn write_step(step: &PlannedStep, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let rest: Vec<String> = step
        .text
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let inner = step.inner();
    if inner.is_empty() {
        let _ = writeln!(out, "{indent}{{ {} }},", rest.join(", "));
        return;
    }
    let key = if step.key == "together" {
        "together"
    } else {
        "steps"
    };
    // Steps that are only grouped need no group, unless an event must be seen before the group ends.
    let waits = inner.iter().any(|step| step.on.is_some());
    let in_list = step.text.is_empty() && key == "steps" && step.is_in_sequence && !waits;
    if in_list {
        for step in inner {
            write_step(step, depth, out);
        }
        return;
    }
    let _ = writeln!(out, "{indent}{{ {key} = [");
    for step in inner {
        write_step(step, depth + 1, out);
    }
    let rest: String = rest.iter().map(|pair| format!(", {pair}")).collect();
    let _ = writeln!(out, "{indent}]{rest} }},");
}

/// A value as it is typed in a file; `rename` gives references their names in the whole plan.
pub(super) fn value_text(value: &DeValue<'_>, rename: &dyn Fn(Reference) -> Reference) -> String {
    match value {
        DeValue::String(text) => match Text::of(text) {
            Text::Reference(reference) => quote(&rename(reference).to_string()),
            Text::Literal(_) | Text::Malformed => quote(text),
        },
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(items) => array_text(items, rename),
        DeValue::Table(table) => table_text(table, rename),
    }
}

/// Gives what stands in braces in the texts of a value its name in the whole plan.
pub(super) fn rename_in_braces(value: &mut DeValue<'_>, rename: &dyn Fn(Reference) -> Reference) {
    match value {
        DeValue::String(text) => {
            let Ok(mut template) = Template::parse(text) else {
                return;
            };
            for part in &mut template.0 {
                if let Part::Name(name) = part
                    && let Text::Reference(reference) = Text::of(&format!("${name}"))
                {
                    *name = rename(reference).path();
                }
            }
            *text = template.to_string().into();
        }
        DeValue::Array(items) => {
            let renamed = items.iter().cloned().map(|mut item| {
                rename_in_braces(item.get_mut(), rename);
                item
            });
            *items = renamed.collect();
        }
        DeValue::Table(table) => {
            for (_, value) in table.iter_mut() {
                rename_in_braces(value.get_mut(), rename);
            }
        }
        _ => {}
    }
}

fn array_text(items: &DeArray<'_>, rename: &dyn Fn(Reference) -> Reference) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|item| value_text(item.get_ref(), rename))
        .collect();
    format!("[{}]", items.join(", "))
}

fn table_text(table: &DeTable<'_>, rename: &dyn Fn(Reference) -> Reference) -> String {
    let pair = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, _)| {
        let value: &super::words::Node<'_> = value;
        format!(
            "{} = {}",
            key_text(key.get_ref()),
            value_text(value.get_ref(), rename)
        )
    };
    let pairs: Vec<String> = table.iter().map(pair).collect();
    match pairs.is_empty() {
        true => "{}".to_owned(),
        false => format!("{{ {} }}", pairs.join(", ")),
    }
}

/// A key, in quotes where it needs them.
pub(super) fn key_text(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        quote(key)
    }
}

/// A text in quotes, as TOML escapes it.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
