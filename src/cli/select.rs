//! Finding and checking scenario files: `check`, `list`, and the first half of `run`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use swaprig_scenarios::lang::{self, LoadError, Plan, Problem, Registry};
use swaprig_scenarios::steps::core_steps;

use super::exit::complain;
use super::filter::FilterFlags;
use super::{BaseFlag, Exit};

/// Columns of a message when the terminal does not tell its own.
pub(super) const WIDTH: usize = 110;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Scenario files, or directories of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Scenario files, or directories of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterFlags,
    #[command(flatten)]
    base: BaseFlag,
}

pub(super) fn check(args: &CheckArgs) -> Exit {
    match plans(&args.paths) {
        Ok(plans) => {
            println!(
                "{} checked, nothing to complain about",
                count(plans.len(), "scenario")
            );
            Exit::Passed
        }
        Err(exit) => exit,
    }
}

pub(super) fn list(args: &ListArgs) -> Exit {
    let base = args.base.settings().base;
    let plans = match selected(&args.paths, &args.filter, &base) {
        Ok(plans) => plans,
        Err(exit) => return exit,
    };
    if args.json {
        let entry = |plan: &Arc<Plan>| {
            let steps = plan.steps.len();
            json!({ "id": plan.id(), "path": plan.source.path(), "title": plan.title, "tags": plan.tags, "steps": steps })
        };
        println!("{:#}", json!(plans.iter().map(entry).collect::<Vec<_>>()));
        return Exit::Passed;
    }
    let width = plans.iter().map(|plan| plan.id().len()).max().unwrap_or(0);
    for plan in &plans {
        println!("{:width$}  {}", plan.id(), plan.title);
    }
    Exit::Passed
}

/// `swaprig schema`.
pub(super) fn schema() -> Exit {
    println!("{:#}", lang::schema(&registry()));
    Exit::Passed
}

fn registry() -> Registry {
    core_steps().expect("the core steps have distinct names, which a test holds")
}

/// The scenarios below `paths` that `filter` leaves. `base` is where runs are recorded. When there is none, that is said
/// here.
pub(super) fn selected(
    paths: &[PathBuf],
    filter: &FilterFlags,
    base: &Path,
) -> Result<Vec<Arc<Plan>>, Exit> {
    filter.apply(plans(paths)?, base).map_err(|error| {
        complain(&error);
        Exit::Nothing
    })
}

/// Reads and checks everything below `paths`. Problems are printed here, all of them; then nothing is run.
pub(super) fn plans(paths: &[PathBuf]) -> Result<Vec<Arc<Plan>>, Exit> {
    let sources = lang::load(paths).map_err(|error| {
        complain(&error);
        match error {
            LoadError::NothingFound { .. } => Exit::Nothing,
            LoadError::NotFound { .. }
            | LoadError::NotAScenario { .. }
            | LoadError::Read { .. } => Exit::Usage,
        }
    })?;
    let registry = registry();
    let mut plans = Vec::new();
    let mut problems = Vec::new();
    for source in &sources {
        match lang::check(source, &registry) {
            Ok(plan) => plans.push(Arc::new(plan)),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        return Ok(plans);
    }
    for problem in &problems {
        eprint!("{}", render(problem));
    }
    let files = sources.len() - plans.len();
    eprintln!(
        "{} in {}; nothing was run",
        count(problems.len(), "problem"),
        count(files, "file")
    );
    Err(Exit::Usage)
}

/// The whole message, in colour where somebody looks.
pub(super) fn render(problem: &Problem) -> String {
    if colour() {
        problem.render_colour(WIDTH)
    } else {
        problem.render_plain(WIDTH)
    }
}

/// Whether standard error is a terminal that wants colour (`NO_COLOR`).
#[expect(
    clippy::disallowed_methods,
    reason = "the command line reads NO_COLOR for its own output"
)]
pub(super) fn colour() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `1 file`, `2 files`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}
