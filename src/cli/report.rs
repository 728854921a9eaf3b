//! `swaprig report`: what records tell, after the runs.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use swaprig_harness::run_dir;
use swaprig_record::{Contents, FILE_NAME, read_file};
use swaprig_report::{Brief, Comparison, Loaded, Verdict, brief, compare, flakes, load};
use swaprig_scenarios::lang;

use super::exit::complain;
use super::github::When;
use super::merge::{self, dir_of, merged, screen};
use super::pages::{self, PAGE};
use super::run::shown;
use super::stored::{self, RecordsFlag, known_scenarios};
use super::{BaseFlag, Exit, compare as beside};

/// Columns where nobody says how many there are.
const WIDTH: usize = 100;
/// More columns than this are not easier to read.
const WIDEST: usize = 140;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReportArgs {
    /// One event record: write its page. Two of one scenario: tell where they part. Instead of a record the id of a
    /// scenario stands for the newest one that is kept; one that failed is compared with the last that passed.
    /// With --flakes: directories or records [default: the records that are kept]
    #[arg(value_name = "RECORD|SCENARIO", required_unless_present_any = ["merge", "flakes"])]
    what: Vec<PathBuf>,
    /// Where to write the page, or with --merge the table [default: beside the record; none with --merge]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Put together what several shards of a run left below DIR, and end as one run would have
    #[arg(long, value_name = "DIR", conflicts_with_all = ["what", "flakes"])]
    merge: Vec<PathBuf>,
    /// With --merge, write a JUnit report
    #[arg(long, value_name = "FILE", requires = "merge")]
    junit: Option<PathBuf>,
    /// With --merge, annotate files and summarize the step on GitHub; `auto`: where GITHUB_ACTIONS=true
    #[arg(long, value_name = "WHEN", num_args = 0..=1, default_value = "auto", default_missing_value = "always", require_equals = true)]
    github: When,
    /// Tell how often scenarios fail, the worst first
    #[arg(long, conflicts_with = "html")]
    flakes: bool,
    /// Print JSON to standard output, and everything else to standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    records: RecordsFlag,
    #[command(flatten)]
    base: BaseFlag,
}

const EXAMPLES: &str = "\
Examples:
  swaprig report ln-to-liquid/claim                 the newest run of it, and how it differs from the last green one
  swaprig report .swaprig/runs/41/pay/record.jsonl  the page of a run, with its logs
  swaprig report failed.jsonl green.jsonl           the first step where two runs part
  swaprig report --merge shards --junit junit.xml   one result of several shards
  swaprig report --flakes                           how often scenarios fail

Exit status: 0; 2 when something is no record, or there is none; with --merge, that of a run.";

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    #[error("{}: no such file, and no record of a scenario by that name is kept in {}{}", what.display(), records.display(), hint)]
    NotFound {
        what: PathBuf,
        records: PathBuf,
        hint: String,
    },
    #[error("{}: this is a scenario file; write the id of the scenario, as `swaprig list` has it, or run it first", .0.display())]
    ScenarioFile(PathBuf),
    #[error("{}: this is a directory; name a record in it, or use --merge or --flakes", .0.display())]
    Directory(PathBuf),
    #[error("{}: there is no event record in it; `swaprig run` keeps them in .swaprig/records, or where --records says", .0.display())]
    NoRecords(PathBuf),
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("give one record, or two to compare; there are {0}")]
    TooMany(usize),
    #[error(
        "--html is for one record, or for --merge; two are compared on the terminal or with --json"
    )]
    PageOfTwo,
    #[error("--junit is for --merge")]
    JunitOfNoMerge,
    #[error(transparent)]
    Record(#[from] swaprig_record::ReadError),
    #[error(transparent)]
    Compare(#[from] swaprig_report::CompareError),
    #[error("what is not to be read cannot be merged: an outcome would be missing")]
    Incomplete,
}

pub(super) fn report(args: &ReportArgs) -> Exit {
    let done = if !args.merge.is_empty() {
        merge_shards(args)
    } else if args.junit.is_some() {
        // clap does not ask for --merge beside a record, because the two exclude each other.
        Err(ReportError::JunitOfNoMerge)
    } else if args.flakes {
        tell_flakes(args)
    } else {
        match args.what.as_slice() {
            [one] => tell_one(args, one),
            [_, _] if args.html.is_some() => Err(ReportError::PageOfTwo),
            [left, right] => tell_two(args, left, right),
            many => Err(ReportError::TooMany(many.len())),
        }
    };
    done.unwrap_or_else(|error| {
        complain(&error);
        Exit::Usage
    })
}

/// A record, and whether its scenario was named instead of it.
struct Found {
    brief: Brief,
    is_newest: bool,
}

fn find(args: &ReportArgs, what: &Path) -> Result<Found, ReportError> {
    if what.to_string_lossy().ends_with(".scenario.toml") {
        return Err(ReportError::ScenarioFile(what.to_owned()));
    }
    if what.is_file() {
        let brief = brief(what)?;
        return Ok(Found {
            brief,
            is_newest: false,
        });
    }
    let records = args.records.dir(&args.base);
    let name = what.to_string_lossy();
    let known = known_scenarios(&records);
    let is_meant = |id: &&String| **id == name || (id.split('#').next() == Some(&*name));
    let mut newest: Option<Brief> = None;
    for id in known.iter().filter(is_meant) {
        let found = stored::briefs(&records, id);
        let mut found = found.map_err(|source| ReportError::Unreadable {
            path: records.join(id),
            source,
        })?;
        let found = found.next();
        let is_newer = |found: &Brief| {
            newest
                .as_ref()
                .is_none_or(|old| old.unix_ms < found.unix_ms)
        };
        if found.as_ref().is_some_and(is_newer) {
            newest = found;
        }
    }
    if let Some(brief) = newest {
        return Ok(Found {
            brief,
            is_newest: true,
        });
    }
    if what.is_dir() {
        return Err(ReportError::Directory(what.to_owned()));
    }
    let is_end = |id: &&str| id.ends_with(&format!("/{name}"));
    let mut ids = known.iter().map(String::as_str);
    let meant = ids
        .find(is_end)
        .or_else(|| lang::nearest(&name, known.iter().map(String::as_str)));
    let hint = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
    Err(ReportError::NotFound {
        what: what.to_owned(),
        records,
        hint,
    })
}

fn tell_one(args: &ReportArgs, what: &Path) -> Result<Exit, ReportError> {
    let Found { brief, is_newest } = find(args, what)?;
    // The whole of it must be readable, and not its ends alone.
    let contents = read_file(&brief.record)?;
    let dir = match is_newest {
        true => run_dir_of(&args.base.settings().base, &brief),
        false => None,
    };
    let dir = dir.unwrap_or_else(|| dir_of(&brief.record).to_owned());
    let out = args.html.clone().unwrap_or_else(|| page_of(&brief.record));
    let is_written = pages::write(&brief.record, &dir, &out).is_ok();
    let green = match is_newest && brief.verdict != Verdict::Passed {
        true => Some(compare_with_green(args, &brief, &contents)?),
        false => None,
    };
    if args.json {
        let page = is_written.then_some(&out);
        let compared = green.flatten();
        println!(
            "{:#}",
            json!({ "run": brief, "report": page, "compared": compared })
        );
    } else {
        println!(
            "{}",
            screen(word(&brief), &brief, is_written.then_some(out.as_path()))
        );
        match green {
            None => {}
            Some(None) => println!("\nNo run of it that passed is kept to compare it with."),
            Some(Some(compared)) => {
                let parted = match &compared.parted {
                    Some(parted) => format!("parted from it at step {}", parted.place.step),
                    None => "went the same way".to_owned(),
                };
                println!("\nThe last green run {parted}.\n");
                println!("{}", beside::text(&compared, width()));
            }
        }
    }
    Ok(if is_written {
        Exit::Passed
    } else {
        Exit::Environment
    })
}

fn word(brief: &Brief) -> &'static str {
    match brief.verdict {
        Verdict::Passed => "PASS",
        Verdict::Failed => "FAIL",
        Verdict::Broken | Verdict::Cut => "ERROR",
        Verdict::Interrupted => "STOP",
    }
}

/// The page of a record that nobody gave a place.
fn page_of(record: &Path) -> PathBuf {
    match record.file_name().is_some_and(|name| name == FILE_NAME) {
        true => record.with_file_name(PAGE),
        false => record.with_extension("html"),
    }
}

/// The directory of the run that `brief` tells, where it was kept: the logs are in it.
fn run_dir_of(base: &Path, told: &Brief) -> Option<PathBuf> {
    let runs = run_dir::runs_in(base).into_iter().rev();
    let places = runs.flat_map(|run| {
        let round = run.join(told.round.to_string());
        [run.join(&told.scenario), round.join(&told.scenario)]
    });
    places.into_iter().find(|dir| {
        let found = brief(&dir.join(FILE_NAME)).ok();
        found.is_some_and(|found| found.unix_ms == told.unix_ms && found.attempt == told.attempt)
    })
}

fn compare_with_green(
    args: &ReportArgs,
    failed: &Brief,
    contents: &Contents,
) -> Result<Option<Comparison>, ReportError> {
    let records = args.records.dir(&args.base);
    let found = stored::briefs(&records, &failed.scenario);
    let mut found = found.map_err(|source| ReportError::Unreadable {
        path: records.clone(),
        source,
    })?;
    let Some(green) = found.find(|brief| brief.verdict == Verdict::Passed) else {
        return Ok(None);
    };
    let passed = read_file(&green.record)?;
    let compared = compare((&failed.record, contents), (&green.record, &passed))?;
    Ok(Some(compared))
}

fn tell_two(args: &ReportArgs, left: &Path, right: &Path) -> Result<Exit, ReportError> {
    let (left, right) = (find(args, left)?.brief, find(args, right)?.brief);
    let (one, other) = read_both(&left.record, &right.record)?;
    let compared = compare((&left.record, &one), (&right.record, &other))?;
    match args.json {
        true => println!("{:#}", json!(compared)),
        false => println!("{}", beside::text(&compared, width())),
    }
    Ok(Exit::Passed)
}

/// Two records, read side by side: that is most of what comparing long ones takes.
fn read_both(left: &Path, right: &Path) -> Result<(Contents, Contents), ReportError> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| read_file(right));
        let one = read_file(left);
        let other = other.join();
        let other = other.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
        Ok((one?, other?))
    })
}

/// Columns of the terminal.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    match size {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col).min(WIDEST),
        _ => WIDTH,
    }
}

/// Everything below `roots`. What is something else is said and passed over.
fn loaded(roots: &[PathBuf]) -> Result<Loaded, ReportError> {
    for root in roots {
        std::fs::metadata(root).map_err(|source| ReportError::Unreadable {
            path: root.clone(),
            source,
        })?;
    }
    let loaded = load(roots.iter().map(PathBuf::as_path));
    let loaded = loaded.map_err(|source| ReportError::Unreadable {
        path: roots.first().cloned().unwrap_or_default(),
        source,
    })?;
    for (path, trouble) in &loaded.troubles {
        let file = path.display();
        match trouble.is_other_file() {
            true => eprintln!("swaprig: passed over {file}: it is no event record"),
            false => eprintln!("swaprig: {file}: {trouble}"),
        }
    }
    if loaded.briefs.is_empty() && loaded.logs.is_empty() {
        return Err(
            match loaded.troubles.iter().all(|(_, it)| it.is_other_file()) {
                true => ReportError::NoRecords(roots.first().cloned().unwrap_or_default()),
                false => ReportError::Incomplete,
            },
        );
    }
    Ok(loaded)
}

fn merge_shards(args: &ReportArgs) -> Result<Exit, ReportError> {
    let loaded = loaded(&args.merge)?;
    if loaded
        .troubles
        .iter()
        .any(|(_, trouble)| !trouble.is_other_file())
    {
        return Err(ReportError::Incomplete);
    }
    let wanted = merge::Wanted {
        junit: args.junit.as_deref(),
        html: args.html.as_deref(),
        github: args.github,
        json: args.json,
    };
    Ok(merged(loaded, &wanted))
}

fn tell_flakes(args: &ReportArgs) -> Result<Exit, ReportError> {
    let records = args.records.dir(&args.base);
    if args.what.is_empty() && !records.exists() {
        return Err(ReportError::NoRecords(records));
    }
    let kept = vec![records];
    let roots = if args.what.is_empty() {
        &kept
    } else {
        &args.what
    };
    let attempts = loaded(roots)?.attempts();
    let table = flakes(&attempts);
    match args.json {
        true => println!("{:#}", json!({ "version": 1, "scenarios": table })),
        false => {
            println!("{}", super::flakes::table(&table));
            let roots: Vec<String> = roots.iter().map(|root| shown(root)).collect();
            println!("{} runs in {}", attempts.len(), roots.join(", "));
        }
    }
    Ok(Exit::Passed)
}
