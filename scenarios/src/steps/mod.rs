//! The steps that come with swaprig, as they are written. What they do is said by their `run`.

mod chain;
mod expect;
mod faults;
mod lightning;
mod liquid;
mod outside;
mod process;

pub use chain::{Chain, Fund, Mine, MineTo, Owner, Reorg};
pub use expect::{Expect, Observable, Observed, Operand};
pub use faults::{
    Delay, Direction, DropConnections, Fail, Freeze, Heal, Partition, Tamper, Thaw, With,
};
pub use lightning::{
    ClaimHoldInvoice, CloseChannel, Connect, FailHoldInvoice, MakeHoldInvoice, MakeInvoice,
    OpenChannel, Pay, ReadInvoice, Until,
};
pub use liquid::{FundLiquid, IssueAsset, SendLiquid};
pub use outside::{EndedProgram, Grpc, Http, Method, RunProgram};
pub use process::{Kill, Restart, Signal};

use crate::lang::{Registry, RegistryError};

/// All steps of this crate, to which others can be added.
///
/// # Errors
///
/// None as long as no two steps of this crate have one name, which a test holds.
pub fn core_steps() -> Result<Registry, RegistryError> {
    let mut registry = Registry::empty();
    registry
        .add::<Fund>()?
        .add::<Owner>()?
        .add::<Mine>()?
        .add::<MineTo>()?
        .add::<Reorg>()?
        .add::<FundLiquid>()?
        .add::<SendLiquid>()?
        .add::<IssueAsset>()?
        .add::<Connect>()?
        .add::<OpenChannel>()?
        .add::<CloseChannel>()?
        .add::<MakeInvoice>()?
        .add::<MakeHoldInvoice>()?
        .add::<ReadInvoice>()?
        .add::<ClaimHoldInvoice>()?
        .add::<FailHoldInvoice>()?
        .add::<Pay>()?
        .add::<Kill>()?
        .add::<Restart>()?
        .add::<RunProgram>()?
        .add::<Http>()?
        .add::<Grpc>()?
        .add::<Partition>()?
        .add::<Heal>()?
        .add::<DropConnections>()?
        .add::<Delay>()?
        .add::<Freeze>()?
        .add::<Thaw>()?
        .add::<Fail>()?
        .add::<Tamper>()?
        .add::<Expect>()?;
    Ok(registry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Arg;
    use swaprig_units::Sat;

    #[test]
    fn the_core_steps_have_distinct_names_and_documentation() {
        let registry = core_steps().expect("distinct names");
        for entry in registry.entries() {
            assert!(
                !entry.doc.trim().is_empty(),
                "{} is not documented",
                entry.name
            );
            for field in &entry.fields {
                let (step, name) = (entry.name, field.name);
                assert!(
                    !field.doc.trim().is_empty(),
                    "{step}.{name} is not documented"
                );
            }
        }
        assert!(core_steps().unwrap().add::<Pay>().is_err());
    }

    #[test]
    fn a_step_is_a_rust_value_too() {
        let open = OpenChannel {
            announce: true,
            ..OpenChannel::new("bob", "alice", Sat(1))
        };
        assert_eq!(
            (open.by.0.as_str(), open.push, open.announce),
            ("alice", None, true)
        );
        let expect = Expect::new(Observable::Height).at_least(Operand::Value(
            crate::lang::Value::Height(swaprig_units::Height(7)),
        ));
        assert!(expect.at_least.is_some() && expect.is.is_none());
        let _: fn(&Pay) -> &Arg<crate::Invoice> = |pay| &pay.pay;
    }
}
