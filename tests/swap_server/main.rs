//! The swap server as a process over real daemons, with a real buyer: swaps, crashes, shortages, a lost store.

mod asked;
mod asset;
mod coins;
mod crash;
mod desk;
mod limits;
mod recovery;
#[path = "../support/served.rs"]
mod served;
#[path = "../support/mod.rs"]
mod support;
