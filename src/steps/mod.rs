//! The steps of scenarios that know what a swap is: primitives of a scripted party (keys, preimages, HTLCs), of which
//! either side of a swap can be played by hand, and a buyer that uses our own library. They stand on the public interface of `swaprig_scenarios`, as those of
//! another crate would.

mod buyer;
mod crowd;
mod either;
mod history;
mod htlc;
mod look;
mod recorded;
mod secrets;
mod spend;
mod swap;
mod taproot;
mod taproot_spend;

pub use crowd::{CreateSwaps, Crowd};
pub use either::{HtlcOf, HtlcTransaction, Purse};
pub use htlc::{FundHtlc, Htlc, HtlcChain, MadeHtlc, MakeHtlc};
pub use secrets::{Key, KeyOf, MakeKey, MakePreimage, Revealed, Secret};
pub use spend::SpendHtlc;
pub use swap::{
    BuyerStage, ClaimSwap, CreateSwap, PaidUntil, PaySwap, RefundSwap, Swap, SwapPhase, SwapStatus,
    VerifySwap,
};
pub use taproot::{BitcoinHtlc, Internal, SpendPath};

use swaprig_scenarios::lang::{Registry, RegistryError};
use swaprig_scenarios::steps::core_steps;

/// Every step that files can use with this command line: those of `swaprig_scenarios` and those of swaps.
///
/// # Errors
/// None as long as no two steps have one name, which a test holds.
pub fn all_steps() -> Result<Registry, RegistryError> {
    let mut registry = core_steps()?;
    registry
        .add::<MakeKey>()?
        .add::<MakePreimage>()?
        .add::<MakeHtlc>()?
        .add::<FundHtlc>()?
        .add::<SpendHtlc>()?
        .add::<CreateSwap>()?
        .add::<CreateSwaps>()?
        .add::<VerifySwap>()?
        .add::<PaySwap>()?
        .add::<ClaimSwap>()?
        .add::<RefundSwap>()?;
    Ok(registry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_have_distinct_names_and_documentation() {
        let registry = all_steps().expect("distinct names");
        for entry in registry.entries() {
            assert!(!entry.doc.trim().is_empty(), "{}", entry.name);
            for field in &entry.fields {
                assert!(
                    !field.doc.trim().is_empty(),
                    "{} of {}",
                    field.name,
                    entry.name
                );
            }
        }
    }
}
