//! Exit codes (design D8).

use std::process::ExitCode;

use swaprig_scenarios::run::Tally;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All that was asked for has passed.
    Passed,
    /// A scenario failed.
    Failed,
    /// A scenario file or the usage is wrong.
    Usage,
    /// The environment could not be set up, or something was skipped under `--require-all`.
    Environment,
    /// Nothing was selected.
    Nothing,
    /// Another program's exit code.
    Code(u8),
    /// A signal ended it: 128 and the signal's number.
    Signalled(u8),
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Exit::Passed => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Environment => 3,
            Exit::Nothing => 4,
            Exit::Code(code) => code,
            Exit::Signalled(signal) => 128 + signal,
        }
    }
}

impl Exit {
    /// How a run with these outcomes ends. A verdict on what was tested outranks what could not be tested.
    pub(super) fn of(tally: Tally, allow_flaky: bool, require_all: bool) -> Self {
        let Tally {
            failed,
            broken,
            flaky,
            skipped,
            interrupted,
            passed: _,
            known: _,
        } = tally;
        if failed > 0 || (flaky > 0 && !allow_flaky) {
            Exit::Failed
        } else if broken + interrupted > 0 || (skipped > 0 && require_all) {
            Exit::Environment
        } else {
            Exit::Passed
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Says on standard error why a command cannot go on.
pub(super) fn complain(error: &(dyn std::error::Error + 'static)) {
    eprintln!("swaprig: {}", swaprig_harness::error_chain(error));
}
