//! Packing the lines into the page: deflated, in base64, and only as many as fit.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use swaprig_record::{Contents, Event};

use super::{Level, Lines};
use crate::page::words;

/// What is deflated at most, in bytes: more never fits.
const TEXT_MAX: usize = 24 << 20;

/// zlib's middle: a better one takes three times as long for a fiftieth of the size.
const EFFORT: u8 = 6;

/// Lines as they are in the page.
pub(super) struct Packed {
    /// Zlib's format, in base64. Unpacked: the processes as JSON, then for each line its time, process, level and words.
    pub base64: String,
    /// What was left out, in a sentence.
    pub cut: Option<String>,
}

pub(super) fn pack(contents: &Contents, lines: &Lines<'_>, budget: usize) -> Packed {
    let compressed_max = budget / 4 * 3;
    let order = by_worth(contents, lines);
    let mut keep = within(lines, &order, TEXT_MAX);
    for _ in 0..12 {
        let bytes = compress_to_vec_zlib(text(lines, &order[..keep]).as_bytes(), EFFORT);
        if bytes.len() <= compressed_max || keep == 0 {
            return Packed {
                base64: STANDARD.encode(&bytes),
                cut: cut(lines, &order, keep),
            };
        }
        keep = keep * compressed_max / bytes.len() * 95 / 100;
    }
    Packed {
        base64: String::new(),
        cut: Some("No line of the logs is short enough for this page.".to_owned()),
    }
}

/// A line, what it is worth, and how far it is from any event.
struct Ranked {
    line: usize,
    is_detail: bool,
    /// Microseconds.
    far: u64,
}

/// All lines, those first that are given up last: details go before the rest, and what is far from any event before what is
/// near one.
fn by_worth(contents: &Contents, lines: &Lines<'_>) -> Vec<Ranked> {
    let events: Vec<i64> = (contents.lines.iter())
        .filter(|line| !matches!(line.event, Event::Seen(_) | Event::Began(_)))
        .map(|line| i64::try_from(line.t).unwrap_or(i64::MAX))
        .collect();
    let far = |t: i64| {
        let next = events.partition_point(|event| *event < t);
        let near = [next.checked_sub(1), Some(next)];
        let distances = near.into_iter().flatten().filter_map(|at| events.get(at));
        distances
            .map(|event| event.abs_diff(t))
            .min()
            .unwrap_or(u64::MAX)
    };
    let mut order: Vec<Ranked> = (lines.all.iter().enumerate())
        .map(|(at, line)| Ranked {
            line: at,
            is_detail: line.level <= Level::Debug,
            far: far(line.t),
        })
        .collect();
    order.sort_by_key(|ranked| (ranked.is_detail, ranked.far));
    order
}

/// How many lines of `order` have `max` bytes.
fn within(lines: &Lines<'_>, order: &[Ranked], max: usize) -> usize {
    let mut sum = 0;
    let fits = |ranked: &&Ranked| {
        sum += lines.all[ranked.line].words().len() + 16;
        sum <= max
    };
    order.iter().take_while(fits).count()
}

fn text(lines: &Lines<'_>, kept: &[Ranked]) -> String {
    use std::fmt::Write as _;

    let mut places: Vec<usize> = kept.iter().map(|ranked| ranked.line).collect();
    places.sort_unstable();
    let who: Vec<_> = (lines.who.iter())
        .map(|who| (who.name, who.lane.as_deref()))
        .collect();
    let mut text = serde_json::to_string(&who).unwrap_or_default();
    // Times are written as differences: they are short, and alike.
    let mut before = 0;
    for place in places {
        let line = &lines.all[place];
        let _ = write!(
            text,
            "\n{}\t{}\t{}\t",
            line.t - before,
            line.who,
            line.level as u8
        );
        text.extend(
            line.words()
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c }),
        );
        before = line.t;
    }
    text
}

fn cut(lines: &Lines<'_>, order: &[Ranked], keep: usize) -> Option<String> {
    let gone = order.get(keep..).filter(|gone| !gone.is_empty())?;
    let total = words::grouped(lines.all.len() as u64);
    let number = words::grouped(gone.len() as u64);
    let others = gone.iter().filter(|ranked| !ranked.is_detail).count() as u64;
    let (which, nearest) = match others {
        0 => ("debug lines that are", gone[0].far),
        _ => (
            "all debug lines, and others that are",
            gone.iter().find(|r| !r.is_detail)?.far,
        ),
    };
    Some(format!(
        "{number} of {total} lines are not in this page: {which} farther than {} from any event of the record.",
        words::took(nearest)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::logs::{LogFile, Logs};
    use crate::page::model::Model;
    use swaprig_record::Began;

    fn contents() -> Contents {
        Contents {
            began: Began {
                unix_ms: 1_795_298_024_000,
                ..Began::default()
            },
            lines: Vec::new(),
            unknown: 0,
            is_cut: false,
        }
    }

    fn noisy(lines: usize) -> Logs {
        use std::fmt::Write as _;

        // Numbers that no compression foresees.
        let (mut text, mut number) = (String::new(), 1_u64);
        for line in 0..lines {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let level = if line % 10 == 0 { "INFO" } else { "DEBUG" };
            let _ = writeln!(
                text,
                "2026-11-21T21:53:{:02}.{:06}Z {level} {number:x}",
                line / 1000 % 60,
                line % 1000
            );
        }
        let file = LogFile {
            party: "bob".to_owned(),
            path: "bob.log".to_owned(),
            text,
            skipped: 0,
        };
        Logs {
            files: vec![file],
            ..Logs::default()
        }
    }

    #[test]
    fn what_is_packed_fits_and_is_read_again() {
        let (contents, logs) = (contents(), noisy(20_000));
        let model = Model::of(&contents);
        let lines = Lines::of(&model, &logs);
        let packed = pack(&contents, &lines, 100_000);
        assert!(packed.base64.len() <= 100_000, "{}", packed.base64.len());
        assert!(packed.base64.len() > 50_000, "{}", packed.base64.len());
        let said = packed.cut.expect("most of it is left out");
        assert!(
            said.contains("of 20\u{202f}000 lines are not in this page"),
            "{said}"
        );
        let bytes = STANDARD.decode(&packed.base64).unwrap();
        let text = String::from_utf8(miniz_oxide::inflate::decompress_to_vec_zlib(&bytes).unwrap())
            .unwrap();
        // What is no detail stays as long as there is detail to leave out.
        let informs = text
            .lines()
            .filter(|line| line.split('\t').nth(2) == Some("2"))
            .count();
        assert_eq!(informs, 2_000);
    }

    #[test]
    fn what_fits_is_whole() {
        let (contents, logs) = (contents(), noisy(50));
        let model = Model::of(&contents);
        let lines = Lines::of(&model, &logs);
        let packed = pack(&contents, &lines, 100_000);
        assert_eq!(packed.cut, None);
        let bytes = STANDARD.decode(&packed.base64).unwrap();
        let text = String::from_utf8(miniz_oxide::inflate::decompress_to_vec_zlib(&bytes).unwrap())
            .unwrap();
        assert_eq!(text.lines().count(), 51);
        assert_eq!(text.lines().next(), Some(r#"[["bob",null]]"#));
    }
}
