//! The scenario language, its steps and its runner.

pub mod entities;
pub mod lang;
pub mod run;
pub mod steps;

pub use swaprig_harness::World;

pub use entities::{
    Asset, Channel, ChannelState, Closing, Fault, FundingTx, HoldInvoice, Invoice, InvoiceStatus,
    LiquidTransaction, Mined, Payment, PaymentStatus,
};
