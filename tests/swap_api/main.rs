//! The swap server's API as strangers meet it: what is written of it, and what hostile requests get.

mod attack;
mod documentation;
mod hostile;
#[path = "../support/mod.rs"]
mod support;
