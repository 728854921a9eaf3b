//! The logs of all processes: read, merged by time, cut to what a page can carry, and packed into it.

mod pack;
mod parse;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use maud::{Markup, PreEscaped, html};
use swaprig_record::{Contents, Event};

pub(super) use parse::{Level, LogLine};

use super::model::Model;
use super::words;

/// What is read of a log at most, its end: a process that writes more than this in a run has something else to say.
const READ_MAX: u64 = 32 << 20;

/// The logs of a run, as they are on disk, and where to find more.
#[derive(Debug, Clone, Default)]
pub struct Logs {
    /// The files.
    pub files: Vec<LogFile>,
    /// The directory of the run, where the whole logs are; empty when nobody knows.
    pub dir: String,
    /// The record's own file; empty when nobody knows.
    pub record: String,
    /// The record of an earlier run of the same scenario that passed.
    pub previous: Option<String>,
}

/// One log file.
#[derive(Debug, Clone, Default)]
pub struct LogFile {
    /// The party whose log it is.
    pub party: String,
    /// Its path below [`Logs::dir`].
    pub path: String,
    /// Its text.
    pub text: String,
    /// How many bytes at its beginning were not read, because it is too long.
    pub skipped: u64,
}

impl Logs {
    /// Reads the logs that the record names, and whatever else processes have written to files beside it: a world that did
    /// not stand up names none. A file that is missing or unreadable is passed over.
    pub fn read(contents: &Contents, run_dir: &Path) -> Self {
        let mut logs = Logs {
            dir: run_dir.display().to_string(),
            ..Logs::default()
        };
        for line in &contents.lines {
            if let Event::Stands(stands) = &line.event {
                for party in &stands.parties {
                    for path in &party.logs {
                        logs.add(run_dir, &party.name, path);
                    }
                }
            }
        }
        let mut others: Vec<String> = (run_dir.read_dir().into_iter().flatten().flatten())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".log"))
            .collect();
        others.sort();
        for name in others {
            let party = name.split('.').next().unwrap_or_default();
            logs.add(run_dir, party, &name);
        }
        logs
    }

    fn add(&mut self, dir: &Path, party: &str, path: &str) {
        if self.files.iter().any(|known| known.path == path) {
            return;
        }
        if let Ok((text, skipped)) = end_of(&dir.join(path)) {
            self.files.push(LogFile {
                party: party.to_owned(),
                path: path.to_owned(),
                text,
                skipped,
            });
        }
    }
}

/// The end of a file, and how many bytes before it were not read.
fn end_of(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(READ_MAX);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), skipped))
}

/// All lines of all logs by their time.
#[derive(Debug, Default)]
pub(super) struct Lines<'a> {
    pub all: Vec<LogLine<'a>>,
    pub who: Vec<Who<'a>>,
    pub dir: &'a str,
    pub record: &'a str,
    pub previous: Option<&'a str>,
}

/// A process with logs.
#[derive(Debug)]
pub(super) struct Who<'a> {
    pub name: &'a str,
    /// The lane in which it is drawn.
    pub lane: Option<String>,
}

impl<'a> Lines<'a> {
    /// Reads the lines of `logs`, with times in microseconds since the run began.
    pub(super) fn of(model: &Model<'_>, logs: &'a Logs) -> Self {
        let mut lines = Lines {
            dir: &logs.dir,
            record: &logs.record,
            previous: logs.previous.as_deref(),
            ..Lines::default()
        };
        for file in &logs.files {
            let who = lines.who(model, &file.party);
            parse::read(model.contents, file, who, &mut lines.all);
        }
        // Stable: lines of one file stay in order. A daemon that writes a file beside its output says most things twice.
        lines.all.sort_by_key(|line| line.t);
        parse::drop_twins(&mut lines.all);
        lines
    }

    /// The lines of the processes in a lane.
    pub(super) fn of_lane(&self, lane: &str) -> impl Iterator<Item = &LogLine<'a>> {
        let is_there = |who: &Who<'_>| who.name == lane || who.lane.as_deref() == Some(lane);
        let wanted: Vec<bool> = self.who.iter().map(is_there).collect();
        self.all.iter().filter(move |line| wanted[line.who])
    }

    fn who(&mut self, model: &Model<'_>, name: &'a str) -> usize {
        let known = self.who.iter().position(|who| who.name == name);
        known.unwrap_or_else(|| {
            let lane = model
                .lanes
                .of_name(name)
                .map(|lane| model.lanes.lanes[lane].name.clone());
            self.who.push(Who { name, lane });
            self.who.len() - 1
        })
    }
}

/// The section with the merged logs, in at most `budget` bytes.
pub(super) fn section(model: &Model<'_>, logs: &Logs, lines: &Lines<'_>, budget: usize) -> Markup {
    let packed = pack::pack(model.contents, lines, budget);
    let total = lines.all.len();
    html! {
        section #logs aria-labelledby="h-logs" {
            h2 #h-logs { "Logs of all processes" }
            @if total == 0 { p { "No logs were found" @if !logs.dir.is_empty() { " in " code { (logs.dir) } } "." } }
            @else {
                @if let Some(cut) = &packed.cut { p.hint { (cut) " The whole logs are in " code { (logs.dir) } "." } }
                div.tools.js #log-tools {
                    div #log-who role="group" aria-label="Processes" {}
                    label { "Level " select #log-level { option value="0" { "all" } option value="2" { "info and above" } option value="3" { "warnings and errors" } } }
                    label { "Text " input #log-text type="search" autocomplete="off" spellcheck="false"; }
                    button #log-all type="button" { "Show all" }
                    p #log-count aria-live="polite" {}
                }
                div.loglist.js #log-list tabindex="0" role="region" aria-label="Log lines" {}
                noscript { p.hint { "The logs are packed into this page and need JavaScript to be shown. They are files, too:" } }
                (files(logs))
                script #log-data type="application/octet-stream" { (PreEscaped(&packed.base64)) }
            }
        }
    }
}

fn files(logs: &Logs) -> Markup {
    html! {
        details.files {
            summary { "The files" }
            table {
                thead { tr { th scope="col" { "Process" } th scope="col" { "File" } th.num scope="col" { "Bytes" } } }
                tbody {
                    @for file in &logs.files {
                        tr { th scope="row" { (file.party) } td.id { (file.path) }
                            td.num { (words::grouped(file.text.len() as u64 + file.skipped)) @if file.skipped > 0 { ", the first " (words::grouped(file.skipped)) " not read" } } }
                    }
                }
            }
        }
    }
}
