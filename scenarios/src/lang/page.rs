//! The reference of the language as a page of Markdown: every step with its keys, what it binds, and an example out of
//! scenario files that are run.

use std::fmt::Write as _;

use super::docs::{
    BlockDocs, KeyDocs, StepDocs, block_docs, common_docs, docs, file_docs, fragment_docs,
    input_type_docs, preset_docs, server_docs, world_docs,
};
use super::problem::Source;
use super::step::Registry;

/// Steps that no file uses, so that there is no example for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no scenario shows {}: write one that uses it", super::words::all_of(.0.iter().copied()))]
pub struct NoExample(pub Vec<&'static str>);

/// The reference of a registry's language. Each step's example is its first use in `sources`, preferably one that succeeds and
/// fits on a line; `link` gives the address of a file.
///
/// # Errors
/// [`NoExample`].
pub fn reference_page(
    registry: &Registry,
    sources: &[Source],
    link: impl Fn(&Source) -> String,
) -> Result<String, NoExample> {
    let steps = docs(registry);
    let blocks = block_docs();
    let names = steps.iter().map(|step| step.name);
    let names = names.chain(blocks.iter().map(|block| block.name));
    let missing: Vec<_> = names
        .filter(|name| example(name, sources).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(NoExample(missing));
    }
    let shown = |name: &str| {
        let (text, source) = example(name, sources).unwrap_or_default();
        let link = source.map(&link).unwrap_or_default();
        let id = source.map(Source::id).unwrap_or_default();
        format!("```toml\n{text}\n```\n\nFrom [{id}]({link}).\n")
    };
    let mut page = "\nSteps: ".to_owned();
    let names = steps.iter().map(|step| step.name);
    let names = names.chain(blocks.iter().map(|block| block.name));
    let names: Vec<_> = names.map(|name| format!("[`{name}`](#{name})")).collect();
    let _ = writeln!(page, "{}.", names.join(", "));
    keys(&mut page, "### Keys of a file", &file_docs());
    keys(&mut page, "### Keys of `world`", &world_docs());
    let _ = writeln!(page, "\n| preset | what it is |\n|---|---|");
    for (name, doc) in preset_docs() {
        let _ = writeln!(page, "| `{name}` | {} |", cell(doc));
    }
    keys(
        &mut page,
        "### Keys of a server in `servers`",
        &server_docs(),
    );
    keys(&mut page, "### Keys of a fragment", &fragment_docs());
    let _ = writeln!(
        page,
        "\nAn input has one of these types:\n\n| type | what is given for it |\n|---|---|"
    );
    for (name, doc) in input_type_docs(registry) {
        let _ = writeln!(page, "| `{name}` | {} |", cell(&doc));
    }
    keys(&mut page, "### Keys of every step", &common_docs());
    for step in &steps {
        let _ = writeln!(page, "\n### `{}`\n\n{}\n", step.name, step.doc);
        page += &shown(step.name);
        step_keys(&mut page, step);
    }
    for block in &blocks {
        let _ = writeln!(page, "\n### `{}`\n\n{}\n", block.name, block.doc);
        page += &shown(block.name);
    }
    Ok(page)
}

/// A text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    format!("`{}`", cell(text))
}

/// A section with a table of keys.
fn keys(page: &mut String, title: &str, keys: &[BlockDocs]) {
    let _ = writeln!(
        page,
        "\n{title}\n\n| key | what it is | such as |\n|---|---|---|"
    );
    for key in keys {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            key.name,
            cell(key.doc),
            code(key.example)
        );
    }
}

/// The keys of a step, how long it may take, and what it binds.
fn step_keys(page: &mut String, step: &StepDocs) {
    let common = common_docs();
    let is_own = |key: &&KeyDocs| common.iter().all(|common| common.name != key.name);
    let _ = writeln!(
        page,
        "\n| key | what it is | value | left out |\n|---|---|---|---|"
    );
    for key in step.keys.iter().filter(is_own) {
        let mut value = cell(&key.ty);
        if let Some(example) = &key.example {
            let _ = write!(value, "; {}", code(example));
        }
        if key.reference && !key.ty.contains("reference") && !key.ty.contains('$') {
            value += "; or a reference";
        }
        let default = match (&key.default, key.required) {
            (_, true) => "must be there".to_owned(),
            (Some(default), false) => code(default),
            (None, false) => String::new(),
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {value} | {default} |",
            key.name,
            cell(&key.doc)
        );
    }
    let within = step.keys.iter().find(|key| key.name == "within");
    let within = match within.and_then(|key| key.default.as_deref()) {
        Some(default) => format!("`within` is `{default}` when it is left out."),
        None => {
            "`within` is what is left of the world's `deadline` when it is left out.".to_owned()
        }
    };
    let _ = writeln!(page, "\n{within}");
    let Some(output) = &step.output else { return };
    let _ = writeln!(
        page,
        "\n`as` names the {}. {}\n\n| `$name.…` | what it is | type | known |\n|---|---|---|---|",
        output.name, output.doc
    );
    for field in &output.fields {
        let known = match field.required {
            true => "when the step ends",
            false => "live: looked up when it is read",
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {known} |",
            field.name,
            cell(&field.doc),
            cell(&field.ty)
        );
    }
}

/// The first use of a step, with the file that it is in.
fn example<'s>(name: &str, sources: &'s [Source]) -> Option<(String, Option<&'s Source>)> {
    let uses = sources.iter().flat_map(|source| {
        let uses = uses(name, source.text());
        uses.into_iter().map(move |text| (text, Some(source)))
    });
    // `min_by_key` gives the first of several.
    uses.min_by_key(|(text, _)| (text.contains("fails ="), text.lines().count() > 1))
}

/// The tables of a file that are this step, each from brace to brace.
fn uses(name: &str, text: &str) -> Vec<String> {
    let start = format!("{{ {name} = ");
    let found = text.match_indices(&start).filter(|(at, _)| {
        let line = text[..*at].rfind('\n').map_or(0, |end| end + 1);
        // Neither in a comment nor the value of a key.
        let before = text[line..*at].trim_end();
        !before.contains('#') && !before.ends_with('=')
    });
    let whole = found.filter_map(|(at, _)| {
        let length = closing(&text[at..])?;
        let table = &text[at..at + length];
        let is_whole = toml::from_str::<toml::Table>(&format!("step = {table}")).is_ok();
        is_whole.then(|| indented(table))
    });
    whole.collect()
}

/// How long a table in braces is.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + c.len_utf8());
                }
            }
            _ => {}
        }
    }
    None
}

/// A table over several lines, with what stands before its last brace taken away from all.
fn indented(text: &str) -> String {
    let indent = text.lines().last().unwrap_or_default();
    let indent = indent.len() - indent.trim_start().len();
    let lines = text.lines().enumerate().map(|(index, line)| match index {
        0 => line,
        _ => line.get(indent..).unwrap_or(line.trim_start()),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_a_whole_step_out_of_a_file() {
        let file = "# { mine = 9 }\nsteps = [\n  { mine = 1, fails = \"x\" },\n  { together = [\n    { mine = 2 },\n    { \
                    fund = \"a}b\" },\n  ] },\n  { mine = 3 },\n]\nx = { mine = 4 }\n";
        let sources = [Source::new("a", "a.scenario.toml", file)];
        let text = |name| example(name, &sources).map(|(text, _)| text);
        assert_eq!(text("mine").as_deref(), Some("{ mine = 2 }"));
        assert_eq!(text("fund").as_deref(), Some("{ fund = \"a}b\" }"));
        let together = "{ together = [\n  { mine = 2 },\n  { fund = \"a}b\" },\n] }";
        assert_eq!(text("together").as_deref(), Some(together));
        assert_eq!(text("pay"), None);
    }

    #[test]
    fn a_step_without_an_example_is_refused() {
        let registry = crate::steps::core_steps().unwrap();
        let error = reference_page(&registry, &[], |_| String::new()).unwrap_err();
        assert!(error.0.contains(&"pay") && error.0.contains(&"use"));
    }
}
