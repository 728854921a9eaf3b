//! Lines of logs: when, how grave, and what. Each daemon writes its time in its own way.

use std::collections::HashSet;

use swaprig_record::{Contents, Event};

use super::LogFile;
use crate::page::words::days;

/// One line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogLine<'a> {
    /// Microseconds since the run began; negative before.
    pub t: i64,
    /// Whose, in [`super::Lines::who`].
    pub who: usize,
    pub level: Level,
    /// What it says, without its time and its level.
    text: &'a str,
}

impl<'a> LogLine<'a> {
    /// What it says.
    pub(crate) fn words(&self) -> &'a str {
        self.text
    }
}

/// How grave a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// As daemons write it; nothing for what is neither grave nor detail.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            Level::Trace | Level::Debug => "l1",
            Level::Info => "l2",
            Level::Warn => "l3",
            Level::Error => "l4",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_uppercase().as_str() {
            "TRACE" | "GOSSIP" => Level::Trace,
            "DEBUG" => Level::Debug,
            "INFO" => Level::Info,
            "WARN" | "WARNING" => Level::Warn,
            "ERROR" | "FATAL" => Level::Error,
            _ => return None,
        })
    }
}

/// Adds the lines of `file`. One without a time has that of the line before it, the first ones that of the process's start.
pub(super) fn read<'a>(
    contents: &Contents,
    file: &'a LogFile,
    who: usize,
    lines: &mut Vec<LogLine<'a>>,
) {
    let began_us = i64::try_from(contents.began.unix_ms).unwrap_or(0) * 1000;
    let mut starts = starts(contents, &file.party).into_iter();
    // Where times count from the start of a process, they fall back when it is started again.
    let mut start = starts.next().unwrap_or(0);
    let (mut t, mut level, mut since_start) = (start, Level::Info, 0);
    for line in file.text.lines() {
        let mut text = line;
        match stamp(line) {
            Some((Stamp::Unix(unix_us), rest)) => (t, text) = (unix_us - began_us, rest),
            Some((Stamp::SinceStart(us), rest)) => {
                if us + 1000 < since_start {
                    start = starts.next().unwrap_or(start);
                }
                since_start = us;
                (t, text) = (start + us, rest);
            }
            None => {}
        }
        if text.len() != line.len() {
            (level, text) = leveled(text);
        }
        if !text.trim().is_empty() {
            lines.push(LogLine {
                t,
                who,
                level,
                text,
            });
        }
    }
}

/// Leaves out what a process has said at the same time in the same words in another file.
pub(super) fn drop_twins(lines: &mut Vec<LogLine<'_>>) {
    let mut said: HashSet<(usize, &str)> = HashSet::new();
    let mut moment = i64::MIN;
    lines.retain(|line| {
        // Times of the two differ by the rounding to milliseconds.
        if line.t / 1000 != moment {
            moment = line.t / 1000;
            said.clear();
        }
        said.insert((line.who, line.text))
    });
}

enum Stamp {
    Unix(i64),
    SinceStart(i64),
}

/// Reads the time at the beginning of a line, and gives what follows.
fn stamp(line: &str) -> Option<(Stamp, &str)> {
    let line = line.strip_prefix('[').unwrap_or(line);
    let bytes = line.as_bytes();
    if bytes.len() > 19 && bytes[4] == b'-' && bytes[7] == b'-' {
        let number = |from: usize, to: usize| line.get(from..to)?.parse::<i64>().ok();
        let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
        let (fraction, rest) = fraction(line.get(19..)?);
        let rest = rest
            .strip_prefix('Z')
            .or_else(|| rest.strip_prefix("+00:00"))
            .unwrap_or(rest);
        return Some((
            Stamp::Unix((days * 86_400 + seconds) * 1_000_000 + fraction),
            rest,
        ));
    }
    let (seconds, rest) = line.split_once('.')?;
    let is_short = (1..=7).contains(&seconds.len());
    if !is_short || !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let at = line.len() - rest.len() - 1;
    let (fraction, rest) = fraction(&line[at..]);
    let rest = rest.strip_prefix(' ')?;
    Some((Stamp::SinceStart(seconds * 1_000_000 + fraction), rest))
}

/// `.905` as microseconds.
fn fraction(text: &str) -> (i64, &str) {
    let Some(digits) = text.strip_prefix('.') else {
        return (0, text);
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let six: String = digits.chars().chain("000000".chars()).take(6).collect();
    (six.parse().unwrap_or(0), rest)
}

/// Reads the level behind the time, and gives what follows.
fn leveled(text: &str) -> (Level, &str) {
    let text = text.trim_start_matches([' ', '-', '[', ']']);
    let end = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    match Level::of(&text[..end]) {
        // `Error: …` is how bitcoind says it, and part of the sentence.
        Some(level) => {
            let rest = text[end..].trim_start_matches([' ', ']', '-', ':']);
            (level, rest)
        }
        None => (Level::Info, text),
    }
}

/// When the processes of a party were started, in microseconds since the run began.
fn starts(contents: &Contents, party: &str) -> Vec<i64> {
    let is_start = |event: &Event| matches!(event, Event::Started(start) if start.name == party);
    (contents.lines.iter())
        .filter(|line| is_start(&line.event))
        .map(|line| i64::try_from(line.t).unwrap_or(i64::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use swaprig_record::{Began, Line, Started};

    use super::*;

    fn parsed(text: &str) -> Vec<(i64, Level, String)> {
        let start = |t| Line {
            t,
            bitcoin: None,
            liquid: None,
            event: Event::Started(Started {
                name: "electrs".to_owned(),
                pid: 7,
                command: "electrs".to_owned(),
            }),
        };
        let contents = Contents {
            began: Began {
                unix_ms: 1_795_298_024_000,
                ..Began::default()
            },
            lines: vec![start(100), start(9_000_000)],
            unknown: 0,
            is_cut: false,
        };
        let file = LogFile {
            party: "electrs".to_owned(),
            text: text.to_owned(),
            ..LogFile::default()
        };
        let mut lines = Vec::new();
        read(&contents, &file, 0, &mut lines);
        (lines.iter())
            .map(|line| (line.t, line.level, line.text.to_owned()))
            .collect()
    }

    #[test]
    fn each_daemon_is_understood() {
        let table = [
            (
                "[2026-11-21T21:53:44.905Z INFO  ldk_server:92] made",
                905_000,
                Level::Info,
                "ldk_server:92] made",
            ),
            (
                "2026-11-21T21:53:44.708272Z [miner] ok",
                708_272,
                Level::Info,
                "miner] ok",
            ),
            ("2026-11-21T21:53:44Z Error: no", 0, Level::Error, "no"),
            (
                "2026-11-21T21:53:45.038621Z  WARN swaprig::api: x=1",
                1_038_621,
                Level::Warn,
                "swaprig::api: x=1",
            ),
            (
                "2026-11-21T21:53:45.5+00:00 - DEBUG - at it",
                1_500_000,
                Level::Debug,
                "at it",
            ),
            (
                "2026-11-21 21:53:43 TRACE gone",
                -1_000_000,
                Level::Trace,
                "gone",
            ),
            ("0.005 INFO up", 5_100, Level::Info, "up"),
            (
                "listening on 127.0.0.1:29932",
                100,
                Level::Info,
                "listening on 127.0.0.1:29932",
            ),
            (
                "2026 is no date, nor is 3.14",
                100,
                Level::Info,
                "2026 is no date, nor is 3.14",
            ),
            (
                "2026-á1-21T21:53:44Z odd",
                100,
                Level::Info,
                "2026-á1-21T21:53:44Z odd",
            ),
        ];
        for (line, t, level, text) in table {
            assert_eq!(parsed(line), [(t, level, text.to_owned())], "{line}");
        }
    }

    #[test]
    fn times_from_the_start_follow_a_restart() {
        let times: Vec<_> = parsed("1.0 INFO a\n  more\n0.5 INFO b\n")
            .iter()
            .map(|line| line.0)
            .collect();
        assert_eq!(times, [1_000_100, 1_000_100, 9_500_000]);
    }
}
