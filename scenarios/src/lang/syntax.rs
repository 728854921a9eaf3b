//! From the text of a file to TOML with a place for every value, and what to say when it is not TOML.

use toml::Spanned;
use toml::de::DeTable;

use super::problem::{Report, Source, Span};

/// Parses the text. The problems of its syntax are in the report; with some of them there is still a table.
pub(super) fn parse<'s>(source: &'s Source, report: &mut Report) -> Option<Spanned<DeTable<'s>>> {
    if let Some(at) = source.not_utf8_at() {
        report
            .push(at..at + 1, "the file is not UTF-8 text")
            .label("from this byte on")
            .help("save it as UTF-8");
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(source.text());
    // What is only written twice leaves a table that can be checked; after anything else the parser guesses.
    let mut sound = true;
    let mut last_line = 0;
    for error in errors {
        let twice = error.message().starts_with("duplicate key");
        let span = error.span().unwrap_or(0..0);
        let (line, _) = source.position(span.start);
        sound &= twice;
        // A second error on one line is mostly the parser's confusion about the first.
        if line == last_line {
            continue;
        }
        last_line = line;
        let (title, label, help) = explain(error.message(), source.text(), &span);
        let span = visible(source.text(), span);
        report.push(span, title).label(label).help(help);
    }
    sound.then_some(table)
}

/// Nothing can be drawn under the end of a line: points at the character before it.
fn visible(text: &str, span: Span) -> Span {
    let before = text
        .get(..span.start)
        .and_then(|before| before.chars().next_back());
    let at_end = text
        .get(span.start..)
        .is_none_or(|rest| rest.is_empty() || rest.starts_with(['\n', '\r']));
    match before {
        Some(last) if span.is_empty() && at_end && last != '\n' => {
            span.start - last.len_utf8()..span.start
        }
        _ => span,
    }
}

/// Title, label and help for a message of the TOML parser.
fn explain(message: &str, text: &str, span: &Span) -> (String, String, String) {
    if message.starts_with("duplicate key") {
        let key = text.get(span.clone()).unwrap_or_default();
        let title = format!("the key `{key}` is there twice");
        return (
            title,
            "the second one".to_owned(),
            "keep one of the two".to_owned(),
        );
    }
    let title = format!("not TOML: {message}");
    let found = text.get(span.clone()).unwrap_or_default();
    let label = match found {
        "" if span.start >= text.len() => "the file ends here",
        _ => "here",
    };
    let help = if message.contains("must be quoted") || looks_like_a_bare_word(found) {
        format!("put the text in quotes: \"{}\"", found.trim())
    } else if message.contains("missing comma") {
        "put a comma after the one before".to_owned()
    } else if message.contains("unclosed") || found.is_empty() && span.start >= text.len() {
        "a bracket or a brace that was opened is not closed".to_owned()
    } else if message.contains("string") {
        "a text begins and ends with a quote on one line; quotes inside it are written \\\""
            .to_owned()
    } else {
        "check the quotes, commas and brackets up to here: a step is { pay = \"$inv\", by = \"alice\" }, \
         steps are separated by commas"
            .to_owned()
    };
    (title, label.to_owned(), help)
}

fn looks_like_a_bare_word(found: &str) -> bool {
    found.starts_with(|c: char| c.is_alphabetic() || c == '$')
        && found
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '.'))
}
