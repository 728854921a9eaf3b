//! Finding and checking scenario files: `check`, `list`, and the first half of `run`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use swaprig_scenarios::lang::{self, LoadError, Plan, Problem, Registry};

use super::exit::complain;
use super::filter::FilterFlags;
use super::{BaseFlag, Exit};

/// Columns of a message when the terminal does not tell its own.
pub(super) const WIDTH: usize = 110;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Scenario files, cases of them (FILE#CASE), or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print what is left of each scenario when its fragments, cases and inputs are written out
    #[arg(long)]
    expand: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Scenario files, cases of them (FILE#CASE), or directories
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

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Print the schema of fragments instead
    #[arg(long)]
    fragment: bool,
    /// Write the reference of all steps into this page of documentation instead, between its two marks, with examples out of
    /// the scenarios below `scenarios` in the directory above the page's
    #[arg(long, value_name = "FILE", hide = true)]
    docs: Option<PathBuf>,
}

pub(super) fn check(args: &CheckArgs) -> Exit {
    match plans(&args.paths) {
        Ok(plans) if args.expand => {
            for plan in &plans {
                if plans.len() > 1 {
                    println!("# {}", plan.id());
                }
                println!("{}", plan.expanded());
            }
            Exit::Passed
        }
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
            json!({ "id": plan.id(), "path": plan.source.path(), "case": plan.case, "title": plan.title, "tags": plan.tags, "steps": steps })
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
pub(super) fn schema(args: &SchemaArgs) -> Exit {
    if let Some(page) = &args.docs {
        return super::reference::write(page);
    }
    let schema = match args.fragment {
        true => lang::fragment_schema(&registry()),
        false => lang::schema(&registry()),
    };
    println!("{schema:#}");
    Exit::Passed
}

/// Every step that files can use.
pub(super) fn registry() -> Registry {
    swaprig::steps::all_steps().expect("the steps have distinct names, which a test holds")
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
    let selected = Selected::of(paths)?;
    let sources = lang::load(&selected.paths).map_err(|error| {
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
    let mut files = 0;
    for source in &sources {
        match lang::check(source, &registry) {
            Ok(found) => plans.extend(found.into_iter().map(Arc::new)),
            Err(found) => {
                files += 1;
                problems.extend(found);
            }
        }
    }
    if problems.is_empty() {
        return selected.cases_of(plans);
    }
    for problem in &problems {
        eprint!("{}", render(problem));
    }
    eprintln!(
        "{} in {}; nothing was run",
        count(problems.len(), "problem"),
        count(files, "file")
    );
    Err(Exit::Usage)
}

/// What was named on the command line: files and directories, and of some files single cases.
struct Selected {
    paths: Vec<PathBuf>,
    /// Files of which only these cases were named, and the files that were named as a whole.
    cases: Vec<(PathBuf, Option<String>)>,
}

impl Selected {
    /// A path that is there is that path. Otherwise `FILE#CASE` is a case, and FILE, or the whole, may be the id of a
    /// scenario below the current directory or its `scenarios`.
    fn of(paths: &[PathBuf]) -> Result<Self, Exit> {
        let mut selected = Selected {
            paths: Vec::new(),
            cases: Vec::new(),
        };
        for path in paths {
            let text = path.to_string_lossy();
            let (file, case) = match text.rsplit_once('#') {
                Some((file, case)) if !path.exists() => (PathBuf::from(file), Some(case)),
                _ => (path.clone(), None),
            };
            let file = by_id(&file).unwrap_or(file);
            if let Some(case) = case
                && file.is_dir()
            {
                eprintln!(
                    "swaprig: {text}: a case belongs to a file; write {}/FILE.scenario.toml#{case}",
                    file.display()
                );
                return Err(Exit::Usage);
            }
            selected.cases.push((file.clone(), case.map(str::to_owned)));
            selected.paths.push(file);
        }
        Ok(selected)
    }

    /// The plans that were named.
    fn cases_of(&self, plans: Vec<Arc<Plan>>) -> Result<Vec<Arc<Plan>>, Exit> {
        if self.cases.iter().all(|(_, case)| case.is_none()) {
            return Ok(plans);
        }
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let named: Vec<(PathBuf, Option<&str>)> = self
            .cases
            .iter()
            .map(|(path, case)| (real(path), case.as_deref()))
            .collect();
        for (path, case) in &named {
            let Some(case) = case else { continue };
            let of_file = plans
                .iter()
                .filter(|plan| real(plan.source.path()) == *path);
            let known: Vec<&str> = of_file.filter_map(|plan| plan.case.as_deref()).collect();
            if known.contains(case) {
                continue;
            }
            let help = match lang::nearest(case, known.iter().copied()) {
                Some(meant) => format!("did you mean #{meant}?"),
                None if known.is_empty() => "it has no cases".to_owned(),
                None => format!("it has {}", lang::all_of(known.iter().copied())),
            };
            eprintln!(
                "swaprig: {}: there is no case `{case}`; {help}",
                path.display()
            );
            return Err(Exit::Usage);
        }
        let is_named = |plan: &Arc<Plan>| {
            let path = real(plan.source.path());
            named.iter().any(|(named, case)| match case {
                Some(case) => *named == path && plan.case.as_deref() == Some(case),
                None => path.starts_with(named),
            })
        };
        Ok(plans.into_iter().filter(is_named).collect())
    }
}

/// The file of the scenario with that id.
fn by_id(id: &Path) -> Option<PathBuf> {
    if id.exists() {
        return None;
    }
    let file = format!("{}.scenario.toml", id.display());
    [PathBuf::from(&file), Path::new("scenarios").join(&file)]
        .into_iter()
        .find(|path| path.is_file())
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
pub(super) fn colour() -> bool {
    std::io::stderr().is_terminal() && wants_colour()
}

/// Whether colour is wanted where there is a terminal.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line reads NO_COLOR for its own output"
)]
pub(super) fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `1 file`, `2 files`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}
