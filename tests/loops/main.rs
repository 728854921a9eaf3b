//! Loops over real daemons: Lightning into Bitcoin and back.

#[path = "../support/mod.rs"]
mod support;

mod chain;
mod client;
mod desk;
mod flows;
mod taproot;
