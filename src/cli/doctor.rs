//! `swaprig doctor`: what the machine has and lacks, and getting what can be had.

use std::path::Path;

use clap::Args;
use serde_json::json;
use swaprig_harness::binary::Stderr;
use swaprig_harness::{doctor, run_dir};

use super::exit::complain;
use super::select::count;
use super::stored::{Extent, RecordsFlag, clear, extent};
use super::{BaseFlag, DaemonFlags, Exit};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Get what is missing and can be had
    #[arg(long)]
    fix: bool,
    /// Delete the directories of runs that have ended, and the event records, and say which; first of all
    #[arg(long)]
    clean: bool,
    /// Print the report as one JSON object, and everything else to standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemons: DaemonFlags,
    #[command(flatten)]
    base: BaseFlag,
    #[command(flatten)]
    records: RecordsFlag,
}

pub(super) fn doctor(args: &DoctorArgs) -> Exit {
    let settings = args.daemons.settings();
    let runs = args.base.settings().base;
    let records = args.records.dir(&args.base);
    let mut is_clean = true;
    if args.clean {
        is_clean &= clean_records(&records, &runs, args.json);
        for cleaned in doctor::clean(&runs) {
            is_clean &= cleaned.deleted.is_ok();
            match args.json {
                true => eprintln!("{cleaned}"),
                false => println!("{cleaned}"),
            }
        }
    }
    if args.fix {
        for (_, outcome) in doctor::fix(&settings, &Stderr::default()) {
            if let Err(error) = outcome {
                complain(&error);
            }
        }
    }
    let report = doctor::examine(&settings, &runs);
    match args.json {
        true => {
            let Extent { records: n, bytes } = extent(&records);
            let mut report = report.to_json();
            report["records"] = json!({ "dir": records, "records": n, "bytes": bytes });
            println!("{report:#}");
        }
        false => {
            println!("{report}");
            if let Some(text) = told(&records) {
                println!("{:<16}{text}", "records");
            }
        }
    }
    if report.is_ready() && is_clean {
        Exit::Passed
    } else {
        Exit::Environment
    }
}

/// What the records in `dir` take up, if there are any.
fn told(dir: &Path) -> Option<String> {
    let Extent { records, bytes } = extent(dir);
    let size = bytes as f64 / 1e6;
    let records = count(records, "record");
    (bytes > 0).then(|| format!("{size:.1} MB in {records}   {}", dir.display()))
}

/// Deletes the records, unless a run writes some; whether nothing went wrong.
fn clean_records(dir: &Path, runs: &Path, json: bool) -> bool {
    let Some(told) = told(dir) else { return true };
    let in_use = run_dir::runs_in(runs);
    let (text, is_clean) = if in_use.iter().any(|run| run_dir::is_in_use(run)) {
        (format!("left {told}: a run writes there"), true)
    } else {
        match clear(dir) {
            Ok(()) => (format!("deleted {told}"), true),
            Err(error) => (
                format!("could not delete the records in {}: {error}", dir.display()),
                false,
            ),
        }
    };
    match json {
        true => eprintln!("{text}"),
        false => println!("{text}"),
    }
    is_clean
}
