//! The swap protocol: terms, HTLC, timelock policy, state machine. No clock, no randomness, no SQL, no RPC, no async.

mod htlc;
mod machine;
mod spend;
mod state;

pub use htlc::{FundingMismatch, Htlc, ParseError, classify, expected_outputs, matches_funding};
pub use machine::{
    LAPSE_MARGIN, LOST_MARGIN, Refused, Transition, funding_deadline, is_due, is_exposed, is_final,
    pay_by, status, step,
};
pub use spend::{Coin, FeeRate, Locked, SpendError, claim, dust, refund};
pub use state::{
    Alarm, Chain, ChainSpend, Depth, Effect, Event, FailureReason, FundingTx, Observation, Payment,
    Phase, Spend, Status, Swap, SwapId, Terms, Tips,
};
