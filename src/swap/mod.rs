//! The swap protocol: terms, HTLC, timelock policy, state machine. No clock, no randomness, no SQL, no RPC, no async.

mod state;

pub use state::{
    Alarm, Chain, ChainSpend, Depth, Effect, Event, FailureReason, FundingTx, Observation, Payment,
    Phase, Spend, Status, Swap, SwapId, Terms, Tips,
};
