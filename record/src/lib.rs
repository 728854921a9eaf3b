//! The event record of a scenario run: one file of JSON lines that tells what happened, for reports and for other tools.
//! It knows nothing of daemons, scenarios or pages; what an event means is at its type.
//!
//! ```json
//! {"t":1532017,"bitcoin":108,"liquid":4,"event":{"confirmed":{"chain":"liquid","txid":"…","height":4}}}
//! ```
//!
//! `t` is the time since the run began, in microseconds, on the monotonic clock. `bitcoin` and `liquid` are the heights of
//! the chains as far as the recorder had seen them, absent where there is no such chain. `event` has one key, the kind.
//!
//! The first line is [`Event::Began`], whose `version` is [`VERSION`]; the last one of a run that was not killed is
//! [`Event::Ended`]. Lines are in the order in which they were written; a few events are told after they happened (the start
//! of a process, a transaction that was found later), so whoever needs them by time sorts by `t`. A later version of
//! swaprig may add kinds of events and fields, and a reader must pass over those it does not know; whatever else changes
//! raises the version.

mod event;
mod read;
mod write;

pub use event::*;
pub use read::{Contents, ReadError, read, read_file};
pub use write::Recorder;

/// The version of the record that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The name of the file in the directory of a scenario's run.
pub const FILE_NAME: &str = "record.jsonl";
