//! Loops over real daemons: Lightning into Bitcoin and back.

#[path = "../support/served.rs"]
mod served;
#[path = "../support/mod.rs"]
mod support;

mod books;
mod chain;
mod client;
mod crash;
mod desk;
mod flows;
mod taproot;
