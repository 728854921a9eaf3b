//! How processes end.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// What the kernel reported.
    pub status: ExitStatus,
    /// Time from start to end.
    pub after: Duration,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => write!(f, "exited with status {code}")?,
            (None, Some(signal)) => write!(f, "was killed by {}", signal_name(signal))?,
            (None, None) => write!(f, "ended with {}", self.status)?,
        }
        write!(f, " {:.2?} after its start", self.after)
    }
}

/// The signals that end a daemon in practice, by the names that people know.
const SIGNALS: &[(Signal, &str)] = &[
    (Signal::KILL, "SIGKILL"),
    (Signal::TERM, "SIGTERM"),
    (Signal::INT, "SIGINT"),
    (Signal::ABORT, "SIGABRT"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::BUS, "SIGBUS"),
    (Signal::ILL, "SIGILL"),
    (Signal::HUP, "SIGHUP"),
    (Signal::PIPE, "SIGPIPE"),
];

fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(signal, _)| signal.as_raw() == number);
    known.map_or_else(
        || format!("signal {number}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// What it took to stop a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stopped {
    /// It had ended before.
    Already,
    /// It ended when asked over its own interface.
    Asked,
    /// SIGTERM was needed.
    Terminated,
    /// SIGKILL was needed.
    Killed,
}
