//! Two runs of a scenario beside each other, for the terminal.

use std::fmt::Write as _;

use swaprig_record::StepOutcome;
use swaprig_report::{Comparison, Difference, Facts, StepPair, StepSide, utc};

use super::run::shown;
use super::select::count;

/// Columns of the names before the two sides.
const LABEL: usize = 12;
/// Below this the sides stand under each other.
const NARROW: usize = 76;
/// How many of the things that happened in a step are shown, the last ones.
const HAPPENED: usize = 12;
/// How many looks of a step are shown, the last ones.
const SEEN: usize = 4;
/// How many things that were noticed before are shown.
const NOTICED: usize = 8;

/// Text on `width` columns.
struct Sheet {
    text: String,
    width: usize,
    /// What the sides are called.
    names: (String, String),
}

/// The whole comparison.
pub(super) fn text(compared: &Comparison, width: usize) -> String {
    let (left, right) = (&compared.left, &compared.right);
    let names = match left.verdict == right.verdict {
        true => ("first".to_owned(), "second".to_owned()),
        false => (
            left.verdict.word().to_owned(),
            right.verdict.word().to_owned(),
        ),
    };
    let mut sheet = Sheet {
        text: format!("{}: two runs beside each other\n", left.scenario),
        width,
        names,
    };
    sheet.facts(left, right);
    for difference in &compared.circumstances {
        sheet.difference(difference);
    }
    let same = count(compared.same, "step");
    match &compared.parted {
        None => sheet.line(&format!("\nBoth went the same way, in {same}.")),
        Some(parted) => {
            let before = match compared.same {
                0 => "They part".to_owned(),
                _ => format!("{same} the same. They part"),
            };
            sheet.pair(&before, parted);
        }
    }
    if let Some(failed) = &compared.failed {
        sheet.pair("The run failed", failed);
    }
    if !compared.noticed.is_empty() {
        sheet.line("\nNoticed before, and perhaps chance:");
    }
    for (step, difference) in compared.noticed.iter().take(NOTICED) {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "–".to_owned());
        let (left, right) = (side(&difference.left), side(&difference.right));
        sheet.line(&format!("  {step}: {}: {left} | {right}", difference.what));
    }
    if compared.noticed.len() > NOTICED {
        let more = compared.noticed.len() - NOTICED;
        sheet.line(&format!("  and {more} more (--json has all)"));
    }
    if !compared.slower.is_empty() {
        sheet.line("\nTime was lost in:");
    }
    for slow in &compared.slower {
        let (left, right) = (seconds(slow.left_us), seconds(slow.right_us));
        sheet.row(&slow.what, Some(&left), Some(&right));
    }
    sheet.text.truncate(sheet.text.trim_end().len());
    sheet.text
}

impl Sheet {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
    }

    fn facts(&mut self, left: &Facts, right: &Facts) {
        let (one, other) = self.names.clone();
        self.row("", Some(&one), Some(&other));
        let mut row = |name: &str, fact: &dyn Fn(&Facts) -> Option<String>| {
            self.row(name, fact(left).as_deref(), fact(right).as_deref());
        };
        row("record", &|facts| Some(shown(&facts.record)));
        row("began", &|facts| Some(utc(facts.unix_ms)));
        row("seed", &|facts| Some(facts.seed.to_string()));
        row("took", &|facts| Some(seconds(facts.took_us)));
        row("load", &|facts| {
            let load = facts.load_milli.map(|milli| milli as f64 / 1e3)?;
            Some(format!("{load:.1}, {} at once", facts.jobs))
        });
    }

    fn pair(&mut self, what: &str, pair: &StepPair) {
        let again = match pair.place.time {
            1 => String::new(),
            time => format!(", time {time}"),
        };
        let (step, key) = (&pair.place.step, &pair.key);
        self.line(&format!("\n{what} at step {step}{again}: {key}"));
        let (file, line, column) = (&pair.file, pair.line, pair.column);
        self.line(&format!("  {file}:{line}:{column}"));
        for part in wrapped(&pair.text, self.width.saturating_sub(4)) {
            self.line(&format!("    {part}"));
        }
        let (one, other) = self.names.clone();
        self.row("", Some(&one), Some(&other));
        let mut row = |name: &str, of: &dyn Fn(&StepSide) -> Option<String>| {
            let side = |side: &Option<StepSide>| side.as_ref().and_then(of);
            let (left, right) = (side(&pair.left), side(&pair.right));
            if left.is_some() || right.is_some() {
                self.row(name, left.as_deref(), right.as_deref());
            }
        };
        row("outcome", &|side| {
            Some(format!(
                "{} after {}",
                outcome(side.outcome),
                seconds(side.took_us)
            ))
        });
        row("because", &|side| side.failure.clone());
        row("saw", &|side| {
            let from = side.seen.len().saturating_sub(SEEN);
            let dots = if from > 0 { "… → " } else { "" };
            let seen = side.seen[from..].join(" → ");
            (!seen.is_empty()).then(|| format!("{dots}{seen}"))
        });
        row("heights", &|side| heights(side));
        for difference in &pair.differences {
            // These have been told.
            if !matches!(
                difference.what.as_str(),
                "outcome" | "step" | "last seen" | "reason"
            ) {
                self.difference(difference);
            }
        }
        self.happened(pair);
    }

    fn happened(&mut self, pair: &StepPair) {
        let of = |side: &Option<StepSide>| -> Vec<String> {
            let happened = side.as_ref().map_or(&[][..], |side| &side.happened);
            let from = happened.len().saturating_sub(HAPPENED);
            let cut = (from > 0).then(|| format!("… {from} before"));
            cut.into_iter()
                .chain(happened[from..].iter().cloned())
                .collect()
        };
        let (left, right) = (of(&pair.left), of(&pair.right));
        for at in 0..left.len().max(right.len()) {
            let name = if at == 0 { "happened" } else { "" };
            let side = |side: &[String]| side.get(at).cloned().unwrap_or_default();
            self.row(name, Some(&side(&left)), Some(&side(&right)));
        }
    }

    fn difference(&mut self, difference: &Difference) {
        let (left, right) = (difference.left.as_deref(), difference.right.as_deref());
        self.row(&difference.what, left, right);
    }

    /// A name and two sides, side by side where there is room.
    fn row(&mut self, name: &str, left: Option<&str>, right: Option<&str>) {
        let (left, right) = (left.unwrap_or("–"), right.unwrap_or("–"));
        if self.width < NARROW {
            self.stacked(name, left, right);
            return;
        }
        let column = (self.width - LABEL - 2) / 2;
        let (left, right) = (wrapped(left, column - 1), wrapped(right, column));
        let mut names = wrapped(name, LABEL - 1);
        // A name that is too long has a line of its own.
        if names.len() > 1 {
            self.line(&format!("  {name}"));
            names = vec![String::new()];
        }
        for at in 0..left.len().max(right.len()).max(1) {
            let part = |parts: &[String]| parts.get(at).cloned().unwrap_or_default();
            let (name, left, right) = (part(&names), part(&left), part(&right));
            let line = format!("  {}{}{right}", padded(&name, LABEL), padded(&left, column));
            self.line(line.trim_end());
        }
    }

    fn stacked(&mut self, name: &str, left: &str, right: &str) {
        if name.is_empty() && (left, right) == (self.names.0.as_str(), self.names.1.as_str()) {
            return;
        }
        self.line(&format!("  {name}"));
        let names = self.names.clone();
        for (side, text) in [(names.0, left), (names.1, right)] {
            if text.is_empty() {
                continue;
            }
            let width = self.width.saturating_sub(LABEL + 4).max(16);
            for (at, part) in wrapped(text, width).into_iter().enumerate() {
                let side = if at == 0 { side.as_str() } else { "" };
                self.line(&format!("    {}{part}", padded(side, LABEL)));
            }
        }
    }
}

fn outcome(outcome: Option<StepOutcome>) -> &'static str {
    match outcome {
        Some(StepOutcome::Passed) => "passed",
        Some(StepOutcome::FailedAsExpected) => "failed as it must",
        Some(StepOutcome::Failed) => "failed",
        None => "did not end",
    }
}

fn heights(side: &StepSide) -> Option<String> {
    let bitcoin = side.bitcoin.map(|height| format!("Bitcoin {height}"));
    let liquid = side.liquid.map(|height| format!("Liquid {height}"));
    let heights: Vec<String> = bitcoin.into_iter().chain(liquid).collect();
    (!heights.is_empty()).then(|| heights.join(", "))
}

fn seconds(us: u64) -> String {
    format!("{:.2} s", us as f64 / 1e6)
}

fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

/// `text` in lines of at most `width` characters, broken at spaces, and inside of words that are longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let (have, more) = (line.chars().count(), word.chars().count());
            if have > 0 && have + 1 + more <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
            if have > 0 {
                lines.push(std::mem::take(&mut line));
            }
            let chars: Vec<char> = word.chars().collect();
            let mut parts = chars
                .chunks(width)
                .map(|part| part.iter().collect::<String>());
            line = parts.next_back().unwrap_or_default();
            lines.extend(parts);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_in_long_words() {
        for (text, width, expected) in [
            ("", 5, &[] as &[&str]),
            ("a bc def", 4, &["a bc", "def"]),
            ("abcdefgh ij", 3, &["abc", "def", "gh", "ij"]),
            ("grüße an alle", 8, &["grüße an", "alle"]),
            ("a\nb", 8, &["a", "b"]),
        ] {
            assert_eq!(wrapped(text, width), expected, "{text}");
        }
    }
}
