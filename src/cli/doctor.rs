//! `swaprig doctor`: what the machine has and lacks, and getting what can be had.

use clap::Args;
use swaprig_harness::binary::Stderr;
use swaprig_harness::doctor;

use super::exit::complain;
use super::{DaemonFlags, Exit, RunDirFlags};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Get what is missing and can be had
    #[arg(long)]
    fix: bool,
    #[command(flatten)]
    daemons: DaemonFlags,
    #[command(flatten)]
    run_dir: RunDirFlags,
}

pub(super) fn doctor(args: &DoctorArgs) -> Exit {
    let settings = args.daemons.settings();
    let runs = args.run_dir.settings().base;
    if args.fix {
        for (_, outcome) in doctor::fix(&settings, &Stderr::default()) {
            if let Err(error) = outcome {
                complain(&error);
            }
        }
    }
    let report = doctor::examine(&settings, &runs);
    println!("{report}");
    if report.is_ready() {
        Exit::Passed
    } else {
        Exit::Environment
    }
}
