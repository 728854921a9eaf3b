//! Reading a record, whole or cut short by a crash.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Began, Event, Line, VERSION};

/// What is in a record.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Its first event.
    pub began: Began,
    /// Its lines, the first one among them, by their time; those of one time in the order in which they were written.
    pub lines: Vec<Line>,
    /// Lines that are of a kind this version does not know.
    pub unknown: usize,
    /// The last line was cut short, as a crash does.
    pub is_cut: bool,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("could not read the record: {0}")]
    Io(#[from] io::Error),
    /// It is empty, or begins with something else.
    #[error("this is no event record: its first line is not `began`")]
    NoRecord,
    /// It was written by another version.
    #[error("the record has version {found}; this swaprig reads version {VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// A line in the middle is no event.
    #[error("line {line} of the record is no event: {source}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why not.
        source: serde_json::Error,
    },
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ReadError>,
    },
}

/// A line whose event may be of any kind.
#[derive(Deserialize)]
struct AnyLine {
    #[expect(dead_code, reason = "a line without it is none")]
    t: u64,
    event: serde_json::Map<String, serde_json::Value>,
}

/// The first event of any version.
#[derive(Deserialize)]
struct AnyBegan {
    version: u32,
}

/// Reads the record in the file at `path`.
///
/// # Errors
/// [`ReadError::File`].
pub fn read_file(path: &Path) -> Result<Contents, ReadError> {
    let named = |source: ReadError| ReadError::File {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let file = File::open(path).map_err(|error| named(error.into()))?;
    read(BufReader::new(file)).map_err(named)
}

/// Reads a record. A last line that was cut short is left out; kinds of events that are not known are counted.
///
/// # Errors
/// When it is no record, of another version, or damaged in the middle.
pub fn read(mut source: impl BufRead) -> Result<Contents, ReadError> {
    let mut lines = Vec::new();
    let (mut unknown, mut is_cut) = (0, false);
    let mut text = Vec::new();
    let mut broken: Option<ReadError> = None;
    for number in 1.. {
        text.clear();
        if source.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        if let Some(error) = broken {
            return Err(error);
        }
        if number == 1 {
            first(&text)?;
        }
        match line(&text) {
            Ok(Some(line)) => lines.push(line),
            Ok(None) => unknown += 1,
            Err(source) => {
                is_cut = true;
                broken = Some(ReadError::Line {
                    line: number,
                    source,
                });
            }
        }
    }
    let Some(Line {
        event: Event::Began(began),
        ..
    }) = lines.first()
    else {
        return Err(ReadError::NoRecord);
    };
    let began = (**began).clone();
    lines.sort_by_key(|line| line.t);
    Ok(Contents {
        began,
        lines,
        unknown,
        is_cut,
    })
}

fn line(text: &[u8]) -> Result<Option<Line>, serde_json::Error> {
    match serde_json::from_slice(text) {
        Ok(line) => Ok(Some(line)),
        Err(error) => match serde_json::from_slice::<AnyLine>(text) {
            // A kind that is known, in a form that is not, is damage.
            Ok(any) if any.event.keys().all(|kind| !is_known(kind)) => Ok(None),
            _ => Err(error),
        },
    }
}

fn is_known(kind: &str) -> bool {
    let error = serde_json::from_str::<Event>(&format!("{{\"{kind}\":null}}")).err();
    error.is_none_or(|error| !error.to_string().contains("unknown variant"))
}

/// Checks that the first line is the beginning of a record of this version.
fn first(text: &[u8]) -> Result<(), ReadError> {
    let any: AnyLine = serde_json::from_slice(text).map_err(|_| ReadError::NoRecord)?;
    let began = any.event.get("began").ok_or(ReadError::NoRecord)?;
    let began = AnyBegan::deserialize(began).map_err(|_| ReadError::NoRecord)?;
    match began.version {
        VERSION => Ok(()),
        found => Err(ReadError::Version { found }),
    }
}
