//! The swap protocol: terms, HTLC, timelock policy, state machine. No clock, no randomness, no SQL, no RPC, no async.

mod htlc;
mod spend;
mod state;

pub use htlc::{FundingMismatch, Htlc, ParseError, classify, expected_outputs, matches_funding};
pub use spend::{Coin, FeeRate, Locked, SpendError, claim, dust, refund};
pub use state::{
    Alarm, Chain, ChainSpend, Depth, Effect, Event, FailureReason, FundingTx, Observation, Payment,
    Phase, Spend, Status, Swap, SwapId, Terms, Tips,
};
