//! What GitHub Actions shows of a run: annotations at the lines of scenario files, and a summary of the step.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::record::{Case, Run, State, Told};
use super::select::count;

/// When to tell GitHub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum When {
    // Not a doc comment: one value with a text of its own makes the whole help four times as long.
    // In GitHub Actions, which sets GITHUB_ACTIONS=true.
    Auto,
    Always,
    Never,
}

/// The parts of the environment that GitHub Actions makes.
#[derive(Debug)]
pub(super) struct GitHub {
    /// Paths of annotations begin there.
    workspace: Option<PathBuf>,
    summary: Option<PathBuf>,
    /// Where somebody who reads the summary finds what the workflow keeps.
    artifacts: Option<String>,
}

impl GitHub {
    /// Where to tell it; `None` where nobody is to be told.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of what GitHub Actions sets"
    )]
    pub(super) fn from_env(when: When) -> Option<Self> {
        let wanted = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true"),
        };
        let path = |name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let artifacts = || {
            let server = text("GITHUB_SERVER_URL")?;
            let (repository, run) = (text("GITHUB_REPOSITORY")?, text("GITHUB_RUN_ID")?);
            Some(format!(
                "{server}/{repository}/actions/runs/{run}#artifacts"
            ))
        };
        wanted.then(|| GitHub {
            workspace: path("GITHUB_WORKSPACE"),
            summary: path("GITHUB_STEP_SUMMARY"),
            artifacts: artifacts(),
        })
    }

    /// One line for every scenario that somebody has to look at.
    pub(super) fn annotations(&self, run: &Run) -> Vec<String> {
        let mut lines = Vec::new();
        for case in &run.cases {
            let (command, told, note) = match &case.state {
                State::Failed(told) => ("error", told, "failed"),
                State::Broken(told) => ("error", told, "could not run"),
                State::Flaky(told) => ("warning", told, "is flaky"),
                State::Known { told, .. } => ("notice", told, "is a known failure"),
                State::Waiting
                | State::Running
                | State::Passed
                | State::Skipped(_)
                | State::Interrupted => continue,
            };
            lines.push(self.annotation(command, &case.path, told, &format!("{} {note}", case.id)));
        }
        lines
    }

    fn annotation(&self, command: &str, file: &Path, told: &Told, title: &str) -> String {
        let mut line = format!("::{command} file={}", property(&self.in_workspace(file)));
        if let Some((row, column)) = told.place {
            let _ = write!(line, ",line={row},col={column}");
        }
        let _ = write!(line, ",title={}::{}", property(title), data(&told.title));
        line
    }

    fn in_workspace(&self, file: &Path) -> String {
        let whole = std::fs::canonicalize(file).ok();
        let root = self
            .workspace
            .as_ref()
            .and_then(|dir| std::fs::canonicalize(dir).ok());
        let below = whole.as_deref().zip(root.as_deref());
        let below = below.and_then(|(file, root)| file.strip_prefix(root).ok());
        below.unwrap_or(file).display().to_string()
    }

    /// Adds to the summary of the step.
    ///
    /// # Errors
    /// When the file cannot be written to.
    pub(super) fn summarize(&self, run: &Run, totals: &str) -> io::Result<()> {
        let Some(path) = &self.summary else {
            return Ok(());
        };
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        file.write_all(self.text(run, totals).as_bytes())
    }

    fn text(&self, run: &Run, totals: &str) -> String {
        let mut text = format!(
            "### swaprig: {totals}\n\n`{}` · seed {}\n",
            run.programs.text, run.seed
        );
        let (mut table, mut screens, mut has_pages) = (String::new(), String::new(), false);
        for case in &run.cases {
            let Some(word) = word(case) else { continue };
            let told = case.state.told();
            let title = told.and_then(|told| told.title.lines().next());
            let step = told.and_then(|told| told.step.as_deref());
            let page = case.page.as_ref().map(|page| self.in_workspace(page));
            has_pages |= page.is_some();
            let page = page.map_or(String::new(), |page| format!("`{}`", cell(&page)));
            let _ = writeln!(
                table,
                "| `{}` | {} | {} | {:.1} s | {} | {page} |",
                cell(&case.name()),
                cell(&word),
                cell(step.unwrap_or_default()),
                case.took.as_secs_f64(),
                cell(title.unwrap_or_default()),
            );
            if let (State::Failed(_) | State::Broken(_), Some(told)) = (&case.state, told) {
                let _ = write!(
                    screens,
                    "\n<details><summary><code>{}</code></summary>\n\n````\n{}\n````\n\n</details>\n",
                    case.id, told.text
                );
            }
        }
        if !table.is_empty() {
            let _ = write!(
                text,
                "\n| scenario | outcome | step | time | first line | page |\n|---|---|---|---|---|---|\n{table}"
            );
        }
        if let (Some(artifacts), true) = (&self.artifacts, has_pages) {
            let _ = writeln!(
                text,
                "\nThe pages tell each failure with its logs: they are in [the artifacts of this run]({artifacts})."
            );
        }
        text + &screens + "\n"
    }
}

/// What came out of a case that somebody may want to look at.
fn word(case: &Case) -> Option<String> {
    Some(match &case.state {
        State::Passed => return None,
        State::Failed(_) => "failed".to_owned(),
        State::Broken(_) => "could not run".to_owned(),
        State::Flaky(_) => format!("flaky, {}", count(case.attempts as usize, "attempt")),
        State::Known { issue, .. } => format!("known failure {issue}"),
        State::Skipped(why) => format!("skipped: {why}"),
        State::Interrupted | State::Running => "interrupted".to_owned(),
        State::Waiting => "not begun".to_owned(),
    })
}

/// Text in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// The message of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The value of a property of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_keeps_to_one_line() {
        let github = GitHub {
            workspace: None,
            summary: None,
            artifacts: None,
        };
        let told = Told {
            title: "100 %\nlost, really".to_owned(),
            place: Some((5, 29)),
            ..Told::default()
        };
        let line = github.annotation("error", Path::new("a,b.toml"), &told, "x: failed");
        assert_eq!(
            line,
            "::error file=a%2Cb.toml,line=5,col=29,title=x%3A failed::100 %25%0Alost, really"
        );
    }
}
