//! What a run came to, from the first and the last lines of its record: enough for tables, however long the record is.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use swaprig_record::{Contents, Daemon, Event, Failure, ReadError};

/// How much is read from the end of a record first. Nearly every last line is in it.
const TAIL_BYTES: u64 = 64 * 1024;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Brief {
    /// Its record.
    pub record: PathBuf,
    /// The scenario, or the case of it, by its stable name.
    pub scenario: String,
    /// What it shows.
    pub title: String,
    /// Its file, with the case behind `#`.
    pub path: String,
    /// Which of several runs of it, from 1.
    pub round: u32,
    /// Which try in this round, from 1.
    pub attempt: u32,
    /// What everything random came from.
    pub seed: u64,
    /// When it began, in milliseconds since 1970, UTC.
    pub unix_ms: u64,
    /// The load of the machine before, in thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_milli: Option<u64>,
    /// How many scenarios were run at once.
    pub jobs: u32,
    /// Which programs played the daemons.
    pub daemons: Vec<Daemon>,
    /// The command that runs it again.
    pub again: String,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took, in microseconds; of a record that is cut, until its last line.
    pub took_us: u64,
    /// The step that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The place of the failure in its file, drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The last line of each process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<(String, String)>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every step did what it says.
    Passed,
    /// It was ended from outside before it had an outcome.
    Interrupted,
    /// Its record has no end: it was killed, or the disk was full.
    Cut,
    /// The world could not be set up or broke down.
    Broken,
    /// A step did not do what it says.
    Failed,
}

impl Verdict {
    /// One word for it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Interrupted => "interrupted",
            Verdict::Cut => "cut",
            Verdict::Broken => "broken",
            Verdict::Failed => "failed",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "passed" => Verdict::Passed,
            "failed" => Verdict::Failed,
            "interrupted" => Verdict::Interrupted,
            // `broken`, and whatever a later version calls a run that did not pass.
            _ => Verdict::Broken,
        }
    }
}

impl Brief {
    /// What the whole record `contents` at `record` comes to.
    pub fn of(record: &Path, contents: &Contents) -> Self {
        let began = &contents.began;
        let mut brief = Brief {
            record: record.to_owned(),
            scenario: began.scenario.clone(),
            title: began.title.clone(),
            path: began.path.clone(),
            round: began.round,
            attempt: began.attempt,
            seed: began.seed,
            unix_ms: began.unix_ms,
            load_milli: began.machine.load_milli,
            jobs: began.machine.jobs,
            daemons: began.daemons.clone(),
            again: began.again.clone(),
            verdict: Verdict::Cut,
            took_us: contents.lines.last().map_or(0, |line| line.t),
            step: None,
            failure: None,
            problem: None,
            last_words: Vec::new(),
        };
        let ended = contents
            .lines
            .iter()
            .rev()
            .find_map(|line| match &line.event {
                Event::Ended(ended) => Some(ended),
                _ => None,
            });
        if let Some(ended) = ended {
            brief.verdict = Verdict::of(&ended.verdict);
            brief.took_us = ended.took_us;
            brief.step = ended.step.clone();
            brief.failure = ended.failure.clone();
            brief.problem = ended.problem.clone();
            brief.last_words = ended.last_words.clone();
        }
        brief
    }

    /// Why it did not pass, on one line.
    pub fn first_line(&self) -> Option<String> {
        match (self.verdict, &self.failure) {
            (Verdict::Passed, _) => None,
            (Verdict::Cut, _) => Some(format!(
                "the record ends after {:.1} s without an outcome: the run was killed",
                self.took_us as f64 / 1e6
            )),
            (Verdict::Interrupted, None) => Some("interrupted".to_owned()),
            (_, Some(failure)) => Some(failure.title.lines().next().unwrap_or("").to_owned()),
            (_, None) => Some("no reason was recorded".to_owned()),
        }
    }

    /// What one run is, however often its record was copied.
    pub(crate) fn identity(&self) -> (&str, u32, u32, u64, u64) {
        (
            &self.scenario,
            self.round,
            self.attempt,
            self.seed,
            self.unix_ms,
        )
    }
}

/// What the run whose record is the file at `path` came to. Reads its first and its last lines alone, so that what is
/// wrong between them is not noticed.
///
/// # Errors
/// When the file cannot be read, is no record, or is of another version.
pub fn brief(path: &Path) -> Result<Brief, ReadError> {
    let named = |source: ReadError| ReadError::File {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let ends = ends(path).map_err(|error| named(error.into()))?;
    let contents = swaprig_record::read(ends.as_slice()).map_err(named)?;
    Ok(Brief::of(path, &contents))
}

/// The first line of a file and its last two; the last one may be cut.
fn ends(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut ends = Vec::new();
    let first = file.read_until(b'\n', &mut ends)? as u64;
    let mut file = file.into_inner();
    let length = file.seek(SeekFrom::End(0))?;
    let mut size = TAIL_BYTES;
    loop {
        let from = length.saturating_sub(size).max(first);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        (&file)
            .take(length.saturating_sub(from))
            .read_to_end(&mut tail)?;
        let lines = line_starts(&tail);
        // The first start is a line's only where the first line of the file ends; with three, the last two are lines.
        if from == first {
            let at = lines.len().checked_sub(2).map_or(0, |at| lines[at]);
            ends.extend_from_slice(&tail[at..]);
            return Ok(ends);
        }
        if let Some(at) = lines.len().checked_sub(2).filter(|at| *at > 0) {
            ends.extend_from_slice(&tail[lines[at]..]);
            return Ok(ends);
        }
        size *= 4;
    }
}

/// Where lines begin in `tail`; its start is the first.
fn line_starts(tail: &[u8]) -> Vec<usize> {
    let newlines = tail.iter().enumerate().filter(|(_, c)| **c == b'\n');
    let starts = newlines.map(|(at, _)| at + 1).filter(|at| *at < tail.len());
    std::iter::once(0)
        .filter(|_| !tail.is_empty())
        .chain(starts)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Record;

    #[test]
    fn the_ends_say_what_the_whole_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.jsonl");
        // From nothing between the ends to far more than is read at once.
        for steps in [0, 1, 3, 2_000] {
            let mut record = Record::new("a/b#c");
            for step in 1..=steps {
                record.step(&step.to_string(), "mine").done();
            }
            let record = record.failed("boom\nmore");
            record.write(&path);
            let found = brief(&path).unwrap();
            assert_eq!(found, Brief::of(&path, &record.contents()), "{steps} steps");
            assert_eq!(found.verdict, Verdict::Failed);
            assert_eq!(found.first_line().as_deref(), Some("boom"));
        }
    }

    #[test]
    fn a_run_that_was_killed_is_cut_wherever_that_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.jsonl");
        let mut record = Record::new("a");
        record.step("1", "mine").after_ms(1500).done();
        let text = record.text();
        let began = text.find('\n').unwrap() + 1;
        for end in [began, began + 3, text.len() - 4, text.len()] {
            std::fs::write(&path, &text[..end]).unwrap();
            let found = brief(&path).unwrap();
            assert_eq!(found.verdict, Verdict::Cut, "{end}");
            assert!(found.first_line().unwrap().contains("was killed"));
        }
        std::fs::write(&path, &text[..began - 5]).unwrap();
        assert!(brief(&path).is_err());
        std::fs::write(&path, "").unwrap();
        assert!(brief(&path).is_err());
        assert!(brief(&dir.path().join("none")).is_err());
    }
}
