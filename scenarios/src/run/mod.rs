//! Running scenarios: what each step does, one scenario in its world, many side by side.
//! It knows nothing of terminals: what happens is told to a [`Watch`], what came out is in an [`Outcome`].

mod answers;
mod books;
mod books_liquid;
mod calls;
mod chain;
mod ct;
mod exec;
mod expect;
mod failure;
mod faults;
mod lightning;
mod liquid;
mod look;
mod oracle;
mod oracle_liquid;
mod outcome;
mod outside;
mod owned;
mod random;
mod runner;
mod scenario;
mod step;
mod step_in;
mod telling;

pub use calls::Calls;
pub(crate) use ct::Wallet as CtWallet;
pub use failure::{FailureKind, StepFailure};
pub use look::Look;
pub use oracle::{Oracle, Sheet};
pub use oracle_liquid::{AssetSheet, LiquidOracle, LiquidSheet};
pub use outcome::{Failure, Outcome, StepRecord, Tally, Verdict};
pub use random::{Random, stable_hash};
pub use runner::{Interrupt, RunEnded, RunSettings, Watch, Watches, run_all};
pub use step::{BoxFuture, Run, Step, Steps};
pub use step_in::{Reached, Stay, StepIn, Stop};
