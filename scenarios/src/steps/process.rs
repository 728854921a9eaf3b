//! Steps on the processes of a world.

use crate::lang::Daemon;
use crate::{step, words};

words! {
    /// How a process is ended.
    pub enum Signal("signal") {
        /// At once: SIGKILL. Nothing is written any more.
        Kill = "kill",
        /// In an orderly way: SIGTERM.
        Term = "term",
    }
}

step! {
    /// Ends a daemon and waits until it is gone. Its data stays, for `restart`.
    pub struct Kill("kill") -> () {
        /// Which daemon.
        kill: Daemon,
    } optional {
        /// How.
        signal: Signal = Signal::Kill,
    }
}

step! {
    /// Starts a daemon again on the data that it left, and waits until it answers. It ends it first where it
    /// still runs. Lightning peers are not connected again: use `connect`.
    pub struct Restart("restart") -> () {
        /// Which daemon.
        restart: Daemon,
    } optional {}
}
