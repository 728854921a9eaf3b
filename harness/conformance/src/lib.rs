//! Asks a Liquid node and an index of its chain a list of questions, compares the answers of our daemons with those of
//! upstream's, and tells what differs and whether that is known.
//!
//! Every [`Case`] states what it expects, and notes everything that a caller could act on. The same cases run on both
//! kinds of daemons; what upstream's said is recorded beside this crate, so that a machine without them has something to
//! compare with, too.

mod cases;
pub mod electrum;
pub mod known;
pub mod lab;
pub mod observe;
pub mod report;
pub mod rpc;
pub mod run;
pub mod start;
pub mod transcript;
pub mod trial;
pub mod tx;

use std::future::Future;
use std::pin::Pin;

pub use cases::all;
use trial::{Step, Trial};

/// What a case does, once it has daemons.
pub type Run = for<'t, 'l> fn(&'t mut Trial<'l>) -> Pin<Box<dyn Future<Output = Step<()>> + 't>>;

/// Which daemons a case gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Those that other cases use, too, one after the other: it only adds to the chain.
    Shared,
    /// Its own: it takes blocks away, moves the clock, or counts.
    Fresh,
}

/// One question, or a handful that belong together.
#[derive(Clone, Copy)]
pub struct Case {
    /// `area/what`.
    pub name: &'static str,
    /// What it is about, in one line.
    pub about: &'static str,
    /// Which daemons it gets.
    pub isolation: Isolation,
    /// What it does.
    pub run: Run,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Case({})", self.name)
    }
}
