//! The swap protocol: terms, HTLC, timelock policy, state machine. No clock, no randomness, no SQL, no RPC, no async.

mod diagram;
mod htlc;
mod keys;
mod machine;
pub mod musig;
mod recovery;
mod spend;
mod state;
pub mod taproot;
#[cfg(test)]
mod tests;
mod timelock;
mod view;

pub use diagram::mermaid;
pub use htlc::{
    FundingMismatch, Htlc, ParseError, classify, expected_outputs, liquid_outpoint, liquid_txid,
    matches_funding, neutral_outpoint, neutral_txid,
};
pub use keys::{KeyError, SwapKeys, SwapSeed};
pub use machine::{
    FORGET_AFTER, LAPSE_MARGIN, LOST_MARGIN, Refused, Transition, UNSENT_MARGIN, funding_deadline,
    pay_by, step,
};
pub use recovery::{Tag, read_tag, tag, tag_of, tag_output};
pub use spend::{Coin, FeeRate, Locked, SpendError, claim, dust, refund};
pub use state::{
    Alarm, Asset, ChainName, ChainSpend, ChainState, Depth, Direction, Effect, Event,
    FailureReason, FundingTx, Kind, Observation, Output, Payment, Phase, Routing, Sent, Spend,
    Status, Swap, SwapId, Terms, Tips,
};
pub use taproot::{InternalChoice, InternalKey};
pub use timelock::{
    BuyerPolicy, Clocks, MIN_TOTAL_CLTV, PayRefused, Paying, PolicyError, ServerPolicy,
};
pub use view::{
    has_fixed_timeout, is_due, is_exposed, is_final, is_unfunded, may_claim, may_cosign, may_fund,
    may_pay, status,
};
