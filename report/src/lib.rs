//! What is made of event records: the page of a run, how two runs part, what a pile of them says about flakiness.
//! It runs nothing, and knows records alone.

mod brief;
mod calendar;
mod compare;
mod flakes;
mod happening;
mod index;
mod load;
mod merge;
mod page;
mod plain;
mod run_log;
mod steps;
#[cfg(test)]
mod testing;

pub use brief::{Brief, Verdict, brief};
pub use calendar::{date_time, utc};
pub use compare::{
    CompareError, Comparison, Difference, Facts, Slower, StepPair, StepSide, compare,
};
pub use flakes::{Attempt, Flake, flakes};
pub use index::{Index, Row, Tone, index_page};
pub use load::{Loaded, Trouble, load};
pub use merge::{CaseState, Merged, MergedCase, merge};
pub use page::{LogFile, Logs, PageError, page, write_page};
pub use run_log::{
    AttemptEnded, CaseEnded, PlannedCase, RUN_LOG_VERSION, RunBegan, RunLine, RunLog, RunLogError,
    is_run_log, read_run_log,
};
