//! What is made of event records: the page of a run, how two runs part, what a pile of them says about flakiness.
//! It runs nothing, and knows records alone.

mod page;

pub use page::{LogFile, Logs, PageError, page, write_page};
