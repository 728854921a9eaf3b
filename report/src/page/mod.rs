//! The page of one run: a self-contained HTML file that tells what happened. It needs no network, shows everything but the
//! logs without a script, and stays below 1 MB.
//!
//! What comes from a record or a log is escaped by `maud`; should something ever get through, the page's own policy lets no
//! script run but the page's, and no request leave.

mod boxes;
mod chain;
mod diagram;
mod failure;
mod labels;
mod lanes;
mod logs;
mod model;
mod money;
mod plan;
mod previous;
mod ruler;
mod sources;
mod steps;
mod summary;
mod words;

use std::path::{Path, PathBuf};
use std::{fs, io};

use base64::Engine as _;
use bitcoin_hashes::{Hash as _, sha256};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use swaprig_record::{Contents, ReadError, read_file};

pub use logs::{LogFile, Logs};

use logs::Lines;
use model::Model;

/// What a page has at most, in bytes.
const SIZE_MAX: usize = 1_000_000;

/// What the logs get at least, in bytes, however large the rest is.
const LOGS_MIN: usize = 100_000;

/// What the rows of the diagram get at most, in bytes of markup; the boxes of the transactions get half as much.
const ROWS_MAX: usize = 400_000;

/// What the script, the list of log files and the rest of the document take, in bytes, generously.
const REST: usize = SCRIPT.len() + 20_000;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Why no page was written.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The record cannot be read.
    #[error(transparent)]
    Record(#[from] ReadError),
    /// The page cannot be written.
    #[error("could not write the page {}: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Writes the page of the record at `record` to `out`, with the logs that are in `run_dir`.
///
/// # Errors
/// When the record cannot be read or the page not be written. Logs that are missing are passed over.
///
/// `run_dir` is the directory of this scenario's run, to which the logs in the record are relative. An earlier run of it that
/// passed is named on the page when its record is still there.
pub fn write_page(record: &Path, run_dir: &Path, out: &Path) -> Result<(), PageError> {
    let contents = read_file(record)?;
    let mut logs = Logs::read(&contents, run_dir);
    logs.record = record.display().to_string();
    logs.previous = previous::green(record, run_dir).map(|record| record.display().to_string());
    fs::write(out, page(&contents, &logs)).map_err(|source| PageError::Write {
        path: out.to_owned(),
        source,
    })
}

/// The page of a record and the logs of its run.
pub fn page(contents: &Contents, logs: &Logs) -> String {
    let mut model = Model::of(contents);
    let lines = Lines::of(&model, logs);
    let room = SIZE_MAX - LOGS_MIN - REST;
    // Nearly every run fits at once.
    let mut rows = ROWS_MAX;
    let (body, style) = loop {
        let (body, style) = body(&mut model, &lines, rows);
        if body.0.len() + style.len() <= room || rows < ROWS_MAX / 10 {
            break (body, style);
        }
        rows /= 3;
    };
    let used = body.0.len() + style.len() + REST;
    let budget = SIZE_MAX.saturating_sub(used).max(LOGS_MIN);
    let logs = logs::section(&model, logs, &lines, budget);
    document(&model, &style, &body, &logs).into_string()
}

/// Everything but the logs, and the style sheet, with a diagram of about `rows` bytes.
fn body(model: &mut Model<'_>, lines: &Lines<'_>, rows: usize) -> (Markup, String) {
    let diagram = diagram::draw(model, rows);
    let failed = !model.passed();
    let style = format!("{STYLE}\n{}", diagram.style);
    let markup = html! {
        a.skip href="#main" { "Skip to what happened" }
        (summary::header(model, &parts(model)))
        main #main tabindex="-1" {
            @if failed { (failure::section(model, lines)) }
            (summary::section(model))
            (diagram.markup)
            (ruler::section(model))
            (boxes::section(model, rows / 2))
            (money::section(model))
            (steps::section(model))
            (sources::section(model))
        }
    };
    (markup, style)
}

/// The sections that the head of the page leads to.
fn parts(model: &Model<'_>) -> Vec<(&'static str, &'static str)> {
    let mut parts = vec![
        ("failure", "Failure"),
        ("summary", "Summary"),
        ("diagram", "Diagram"),
        ("ruler", "Heights"),
        ("transactions", "Transactions"),
        ("money", "Money"),
        ("steps", "Steps"),
        ("sources", "Source"),
        ("logs", "Logs"),
    ];
    parts.retain(|(part, _)| match *part {
        "failure" => !model.passed(),
        "sources" => !model.contents.began.sources.is_empty(),
        _ => true,
    });
    parts
}

fn document(model: &Model<'_>, style: &str, before: &Markup, logs: &Markup) -> Markup {
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        digest(style),
        digest(SCRIPT)
    );
    let (class, verdict) = summary::verdict(model);
    html! {
        (DOCTYPE)
        html lang="en" class=(class) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "swaprig " (model.contents.began.swaprig) };
                title { (verdict) ": " (model.contents.began.scenario) }
                style { (PreEscaped(style)) }
            }
            body {
                (before)
                (logs)
                (footer(model))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn footer(model: &Model<'_>) -> Markup {
    let contents = model.contents;
    html! {
        footer {
            p {
                "Made from an event record of " (words::count(contents.lines.len() as u64, "event")) ", version " (contents.began.version) "."
                @if contents.is_cut { " Its last line was cut short, as a crash does." }
                @if contents.unknown > 0 { " " (words::count(contents.unknown as u64, "line")) " of kinds that this version does not know were passed over." }
            }
        }
    }
}

/// How a policy names a text that it allows.
fn digest(text: &str) -> String {
    let hash = sha256::Hash::hash(text.as_bytes());
    let base64 = base64::engine::general_purpose::STANDARD.encode(hash.as_byte_array());
    format!("sha256-{base64}")
}
