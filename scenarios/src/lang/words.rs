//! Helpers for messages: the nearest word, lists, and what a value in a file is called.

use toml::Spanned;
use toml::de::DeValue;

/// A value in a file together with its place.
pub type Node<'a> = Spanned<DeValue<'a>>;

/// How alike two words must be for one to be offered for the other (Jaro-Winkler, 1 is equal).
const ALIKE: f64 = 0.8;

/// The candidate that was most likely meant by `word`.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_lowercase().replace('-', "_");
    let alike = |candidate: &str| {
        let candidate = candidate.to_lowercase().replace('-', "_");
        let score = strsim::jaro_winkler(&word, &candidate);
        if shortens(&word, &candidate) {
            score.max(ALIKE)
        } else {
            score
        }
    };
    candidates
        .into_iter()
        .map(|candidate| (alike(candidate), candidate))
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Whether `word` is `candidate` with letters left out, such as `amt` for `amount`.
fn shortens(word: &str, candidate: &str) -> bool {
    let mut rest = candidate.chars();
    word.len() >= 3
        && word.chars().next() == candidate.chars().next()
        && word.chars().all(|letter| rest.any(|other| other == letter))
}

/// `a`, `b` or `c`, each in backticks.
pub fn one_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    join(words.into_iter().map(|word| format!("`{word}`")), "or")
}

/// "a", "b" or "c", each in the quotes that it needs in a file.
pub fn one_of_quoted<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    join(words.into_iter().map(|word| format!("\"{word}\"")), "or")
}

/// `a`, `b` and `c`, each in backticks.
pub fn all_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    join(words.into_iter().map(|word| format!("`{word}`")), "and")
}

fn join(words: impl Iterator<Item = String>, last: &str) -> String {
    let mut words: Vec<String> = words.collect();
    match words.pop() {
        None => "nothing".to_owned(),
        Some(only) if words.is_empty() => only,
        Some(end) => format!("{} {last} {end}", words.join(", ")),
    }
}

/// `an invoice`, `a channel`.
pub(super) fn with_article(noun: &str) -> String {
    // The name of a letter may begin with a vowel where the letter itself is none.
    let spelled = noun.split(' ').next() == Some("htlc");
    let article = if spelled || noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}

/// What a value is called in "expected X, found Y".
pub(super) fn describe(node: &Node<'_>) -> String {
    match node.get_ref() {
        DeValue::String(text) if text.is_empty() => "an empty text".to_owned(),
        DeValue::String(text) => format!("the text {}", quoted(text)),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(flag) => format!("`{flag}`"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A text in quotes, short enough for one line of a message.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Whether `word` is a lowercase letter followed by lowercase letters, digits and `joiner`.
pub(super) fn is_name(word: &str, joiner: char) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joiner)
}

/// `word` made into what [`is_name`] accepts, when something of it is left.
pub(super) fn to_name(word: &str, joiner: char) -> Option<String> {
    let mapped: String = word
        .trim()
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                c
            } else {
                joiner
            }
        })
        .collect();
    let name = mapped.trim_matches(|c: char| c == joiner).to_owned();
    is_name(&name, joiner).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        let keys = ["open_channel", "invoice", "amount", "within"];
        for (word, expected) in [
            ("openchannel", Some("open_channel")),
            ("open-channel", Some("open_channel")),
            ("Invoice", Some("invoice")),
            ("amt", Some("amount")),
            ("witihn", Some("within")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
    }

    #[test]
    fn lists_read_as_a_sentence() {
        assert_eq!(one_of(["a"]), "`a`");
        assert_eq!(one_of_quoted(["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
        assert_eq!(all_of([]), "nothing");
    }

    #[test]
    fn a_name_is_made_of_what_was_written() {
        assert_eq!(to_name("My Invoice", '_').as_deref(), Some("my_invoice"));
        assert_eq!(to_name("1st", '_'), None);
        assert_eq!(to_name("ünï", '-').as_deref(), Some("n"));
    }
}
