//! The scenario language, its steps and its runner.

pub mod entities;
pub mod lang;
pub mod steps;

pub use entities::{
    Channel, ChannelState, Closing, FundingTx, HoldInvoice, Invoice, InvoiceStatus, Mined, Payment,
    PaymentStatus,
};
