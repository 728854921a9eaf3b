//! Child processes: the only module that spawns and signals.
//!
//! A [`Spec`] says what to run and can be printed; [`Spec::start`] makes a [`Running`] guard in the statement after the
//! spawn. Every process leads its own process group, writes both its streams to files from the first byte, and is
//! killed and reaped when the guard is dropped. No daemon outlives the harness, even when that is SIGKILLed: see
//! the module `spawner`. This module knows nothing of particular daemons.

mod exit;
mod foreground;
mod run;
mod running;
mod spawner;
mod spec;
#[cfg(test)]
mod tests;
mod usage;

pub use exit::{Exit, Stopped};
pub use foreground::Foreground;
pub(crate) use run::{RunError, Said, run_to_end, run_watching};
pub use running::Running;
pub use spec::{LogFiles, SpawnError, Spec, Stdin};
pub use usage::{Usage, load_milli};
