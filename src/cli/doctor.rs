//! `swaprig doctor`: what the machine has and lacks, and getting what can be had.

use clap::Args;
use swaprig_harness::binary::Stderr;
use swaprig_harness::doctor;

use super::exit::complain;
use super::{BaseFlag, DaemonFlags, Exit};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Get what is missing and can be had
    #[arg(long)]
    fix: bool,
    /// Delete the directories of runs that have ended, and say which; first of all
    #[arg(long)]
    clean: bool,
    /// Print the report as one JSON object, and everything else to standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemons: DaemonFlags,
    #[command(flatten)]
    base: BaseFlag,
}

pub(super) fn doctor(args: &DoctorArgs) -> Exit {
    let settings = args.daemons.settings();
    let runs = args.base.settings().base;
    let mut is_clean = true;
    if args.clean {
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
        true => println!("{:#}", report.to_json()),
        false => println!("{report}"),
    }
    if report.is_ready() && is_clean {
        Exit::Passed
    } else {
        Exit::Environment
    }
}
