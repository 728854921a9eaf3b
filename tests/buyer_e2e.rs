//! The buyer's side of a swap over real daemons, and the Lightning node of both sides.

mod support;

#[path = "buyer/command.rs"]
mod command;

#[path = "buyer/lightning.rs"]
mod lightning;

#[path = "buyer/seller.rs"]
mod seller;

#[path = "buyer/swap.rs"]
mod swap;
