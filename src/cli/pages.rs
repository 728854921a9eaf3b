//! The pages of a run: one for each scenario that was asked for, one for each failure, and the table over them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use swaprig_report::{Index, Row, Tone, index_page, write_page};
use swaprig_scenarios::lang::Plan;
use swaprig_scenarios::run::{RunEnded, Verdict};

use super::exit::complain;
use super::junit::whole_file;
use super::record::{Case, Run, State};

/// The page of a failure, in the directory of its run.
pub(super) const PAGE: &str = "report.html";

/// Writes pages while scenarios end.
#[derive(Debug)]
pub(super) struct Pages {
    /// Where a page was asked for.
    html: Option<PathBuf>,
    /// Whether one scenario is run, once: then that is its page, and else the table.
    is_single: bool,
    /// The pages that were asked for and are there, by scenario and round.
    written: Mutex<BTreeMap<(String, u32), PathBuf>>,
}

impl Pages {
    /// `runs`: how many scenarios are run, each round counted.
    pub(super) fn new(html: Option<PathBuf>, runs: usize) -> Self {
        Pages {
            html,
            is_single: runs == 1,
            written: Mutex::default(),
        }
    }

    /// An attempt has ended, and its logs are still there. What cannot be written is said, and nothing more.
    pub(super) fn ended(&self, plan: &Plan, ended: &RunEnded<'_>) {
        let Some(record) = ended.record else { return };
        let passed = matches!(ended.verdict, Verdict::Passed);
        let (record, dir) = (record.to_owned(), ended.dir.to_owned());
        // Whoever tells of an end waits for what is made of it, and others must not wait with them.
        tokio::task::block_in_place(|| {
            if !passed {
                let _ = write(&record, &dir, &dir.join(PAGE));
            }
            // A failure that did not come again says more than the attempt that passed.
            let is_later_pass = passed && ended.attempt > 1;
            let Some(out) = self.place(plan.id(), ended.round) else {
                return;
            };
            if !is_later_pass && write(&record, &dir, &out).is_ok() {
                let key = (plan.id().to_owned(), ended.round);
                self.lock().insert(key, out);
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, u32), PathBuf>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, id: &str, round: u32) -> Option<PathBuf> {
        let html = self.html.as_deref()?;
        match self.is_single {
            true => Some(html.to_owned()),
            false => Some(beside(html, id, round)),
        }
    }

    /// The page that was asked for, of a scenario in a round.
    pub(super) fn of(&self, id: &str, round: u32) -> Option<PathBuf> {
        self.lock().get(&(id.to_owned(), round)).cloned()
    }

    /// Writes the table, where one was asked for. Of a single scenario its own page is enough, if it is there.
    pub(super) fn write_index(&self, index: impl FnOnce(&Path) -> Index) {
        let Some(html) = &self.html else { return };
        if !self.is_single || self.lock().is_empty() {
            let _ = write_index(html, &index(html));
        }
    }
}

/// The page of a scenario beside the table at `html`: `out/lightning/pay.html` beside `out.html`.
pub(super) fn beside(html: &Path, id: &str, round: u32) -> PathBuf {
    let mut dir = html.with_extension("");
    if dir == html {
        dir.as_mut_os_string().push(".pages");
    }
    let round = match round {
        1 => String::new(),
        round => format!(".{round}"),
    };
    dir.join(format!("{id}{round}.html"))
}

/// How the page at `page` is linked from the table at `html`.
pub(super) fn link(html: &Path, page: &Path) -> String {
    let from = html.parent().unwrap_or(Path::new(""));
    let below = page.strip_prefix(from).unwrap_or(page);
    below.to_string_lossy().into_owned()
}

/// The table over `run`; `page` links the page of a case.
pub(super) fn index_of(run: &Run, totals: &str, page: impl Fn(&Case) -> Option<String>) -> Index {
    let row = |case: &Case| {
        let (outcome, tone, failure) = match &case.state {
            State::Passed => ("passed", Tone::Good, None),
            State::Failed(told) => ("failed", Tone::Bad, Some(told.title.clone())),
            State::Broken(told) => ("broken", Tone::Bad, Some(told.title.clone())),
            State::Flaky(told) => ("flaky", Tone::Doubtful, Some(told.title.clone())),
            State::Interrupted | State::Running => ("interrupted", Tone::Doubtful, None),
            State::Waiting => ("not begun", Tone::Doubtful, None),
            State::Known { issue, told } => {
                let title = &told.title;
                ("known", Tone::Quiet, Some(format!("{issue}: {title}")))
            }
            State::Skipped(why) => ("skipped", Tone::Quiet, Some(why.clone())),
        };
        Row {
            name: case.name(),
            title: case.title.clone(),
            outcome: outcome.to_owned(),
            tone,
            seconds: case.took.as_secs_f64(),
            failure: failure.and_then(|text| text.lines().next().map(str::to_owned)),
            page: page(case),
        }
    };
    Index {
        totals: totals.to_owned(),
        about: vec![format!("{} · seed {}", run.programs.text, run.seed)],
        rows: run.cases.iter().map(row).collect(),
    }
}

/// Writes the table. What cannot be written is said.
pub(super) fn write_index(html: &Path, index: &Index) -> io::Result<()> {
    said(html, whole_file(html, index_page(index).as_bytes()))
}

/// Writes the page of the run whose record is `record`; its logs are in `run_dir`, if they are anywhere. What cannot be
/// written is said.
pub(super) fn write(record: &Path, run_dir: &Path, out: &Path) -> io::Result<()> {
    let parent = out.parent().filter(|dir| !dir.as_os_str().is_empty());
    let made = parent.map_or(Ok(()), std::fs::create_dir_all);
    let page = || write_page(record, run_dir, out).map_err(io::Error::other);
    let written = made.and_then(|()| page());
    said(out, written)
}

fn said(path: &Path, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| {
        let text = format!("could not write {}: {error}", path.display());
        let error = io::Error::new(error.kind(), text);
        complain(&error);
        error
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lie_beside_their_table_and_are_linked_from_there() {
        let html = Path::new("target/pages/index.html");
        let page = beside(html, "ln/claim#gold", 1);
        assert_eq!(page, Path::new("target/pages/index/ln/claim#gold.html"));
        assert_eq!(link(html, &page), "index/ln/claim#gold.html");
        let page = beside(Path::new("out"), "a", 3);
        assert_eq!(page, Path::new("out.pages/a.3.html"));
        assert_eq!(link(Path::new("out"), &page), "out.pages/a.3.html");
    }
}
