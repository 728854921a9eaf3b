//! `docs/event-record.md` lists every event and every field as the types have them.

use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- events: begin (made from record/src/event.rs) -->\n";
const END: &str = "<!-- events: end -->";
const SOURCE: &str = include_str!("../src/event.rs");

/// A type of the record.
#[derive(Default)]
struct Type {
    name: String,
    what: String,
    is_enum: bool,
    /// Names as they are written, types, whether they may be absent, what they mean.
    parts: Vec<(String, String, bool, String)>,
}

/// The types of the source. It is our own, formatted, and has one item, attribute or field a line.
fn types() -> Vec<Type> {
    let mut types: Vec<Type> = Vec::new();
    let (mut comment, mut optional, mut inside) = (String::new(), false, false);
    for line in SOURCE.lines() {
        let text = line.trim();
        if let Some(words) = text.strip_prefix("///") {
            comment = format!("{comment} {}", words.trim()).trim().to_owned();
        } else if text.starts_with("#[serde(default") {
            optional = true;
        } else if let Some(item) = text
            .strip_prefix("pub struct ")
            .or(text.strip_prefix("pub enum "))
        {
            inside = true;
            types.push(Type {
                name: item.trim_end_matches([' ', '{']).to_owned(),
                what: std::mem::take(&mut comment),
                is_enum: text.starts_with("pub enum"),
                parts: Vec::new(),
            });
        } else if line == "}" {
            inside = false;
            comment.clear();
        } else if inside && !text.starts_with(['#', '/']) && text.ends_with(',') {
            let last = types.last_mut().expect("a part is inside of a type");
            let part = text.trim_end_matches(',');
            let (name, kind) = match part
                .strip_prefix("pub ")
                .and_then(|part| part.split_once(": "))
            {
                Some((name, kind)) => (name.to_owned(), kind.to_owned()),
                None => variant(part),
            };
            let what = std::mem::take(&mut comment);
            last.parts
                .push((name, kind, std::mem::take(&mut optional), what));
        } else if text.starts_with("impl") {
            comment.clear();
        }
    }
    types
}

/// `Began(Box<Began>)`: its name as it is written, and the type in it.
fn variant(text: &str) -> (String, String) {
    let (name, kind) = text.split_once('(').unwrap_or((text, ""));
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    (snake, kind.trim_end_matches(')').to_owned())
}

/// A type as JSON has it.
fn json_type(kind: &str) -> String {
    let inner = |wrapper: &str| kind.strip_prefix(wrapper)?.strip_suffix('>');
    if let Some(kind) = inner("Box<").or(inner("Option<")) {
        return json_type(kind);
    }
    if let Some(kind) = inner("Vec<") {
        return format!("list of {}", json_type(kind));
    }
    match kind {
        "String" => "text".to_owned(),
        "bool" => "true or false".to_owned(),
        "u32" | "u64" => "whole number".to_owned(),
        "(String, String)" => "`[text, text]`".to_owned(),
        other => format!("[{other}](#{})", other.to_lowercase()),
    }
}

/// Links between items mean nothing outside of the code.
fn plain(text: &str) -> String {
    text.replace("[`", "`")
        .replace("`]", "`")
        .replace('|', "\\|")
}

fn markdown() -> String {
    let mut text = String::new();
    for kind in types() {
        let _ = writeln!(text, "### {}\n\n{}\n", kind.name, plain(&kind.what));
        let is_words = kind.is_enum && kind.parts.iter().all(|(_, inner, ..)| inner.is_empty());
        let head = match (kind.is_enum, is_words) {
            (true, true) => "| word | |\n|---|---|",
            (true, false) => "| event | of type | |\n|---|---|---|",
            (false, _) => "| field | type | |\n|---|---|---|",
        };
        let _ = writeln!(text, "{head}");
        for (name, inner, optional, what) in &kind.parts {
            let name = if *optional {
                format!("`{name}`?")
            } else {
                format!("`{name}`")
            };
            let what = plain(what);
            let _ = match is_words {
                true => writeln!(text, "| {name} | {what} |"),
                false => writeln!(text, "| {name} | {} | {what} |", json_type(inner)),
            };
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_documentation_has_every_event_and_every_field() {
    let own = markdown();
    // What the reader of the source must not have missed: every type, with something in it.
    let all = types();
    assert!(
        all.iter()
            .all(|kind| !kind.parts.is_empty() && !kind.what.is_empty())
    );
    let declared = SOURCE
        .lines()
        .filter(|line| line.starts_with("pub struct ") || line.starts_with("pub enum "));
    assert_eq!(all.len(), declared.count());
    let fields = SOURCE
        .lines()
        .filter(|line| line.starts_with("    pub ") && !line.contains("fn "));
    let told = all
        .iter()
        .filter(|kind| !kind.is_enum)
        .map(|kind| kind.parts.len());
    assert_eq!(told.sum::<usize>(), fields.count());

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/event-record.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the list has a beginning");
    let (list, after) = rest.split_once(END).expect("the list has an end");
    if update_golden() {
        std::fs::write(&path, format!("{before}{BEGIN}{own}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(
        list, own,
        "run `UPDATE_GOLDEN=1 cargo test -p swaprig-record`"
    );
    let version = format!("version {}", swaprig_record::VERSION);
    assert!(
        text.contains(&version),
        "the documentation is not of {version}"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "asked for by whoever runs the test"
)]
fn update_golden() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}
