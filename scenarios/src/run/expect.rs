//! What `expect` does: look until it is as expected, and say what was seen when it never was.

use std::cmp::Ordering;

use swaprig_harness::World;
use swaprig_harness::ldk_server::{LdkServer, NodeError};
use swaprig_harness::time::{Deadline, Probe, WaitError, poll_until};
use swaprig_units::{Sat, Units};

use super::{Run, Step, StepFailure};
use crate::lang::{AssetOf, BindingError, Value};
use crate::steps::{Chain, Expect, Observable, Observed, Operand};

/// What a comparison asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Is,
    AtLeast,
    AtMost,
}

impl Comparison {
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Comparison::Is => ordering == Some(Ordering::Equal),
            Comparison::AtLeast => matches!(ordering, Some(Ordering::Equal | Ordering::Greater)),
            Comparison::AtMost => matches!(ordering, Some(Ordering::Equal | Ordering::Less)),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Comparison::Is => "",
            Comparison::AtLeast => "at least ",
            Comparison::AtMost => "at most ",
        }
    }
}

impl Step for Expect {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        let (comparison, operand, key) = self.comparison()?;
        let wanted = match operand {
            Operand::Value(value) => value.clone(),
            Operand::Reference(reference) => {
                let absent = || BindingError::Absent {
                    reference: reference.clone(),
                };
                run.look(reference).await?.ok_or_else(absent)?
            }
        };
        let subject = self.subject();
        let what = format!("{subject} to be {}{wanted}", comparison.text());
        let seen = poll_until(what.clone(), run.deadline, || async {
            match self.look(run).await {
                Ok(Some(seen)) if comparison.holds(seen.compare(&wanted)) => Probe::Ready(()),
                Ok(Some(seen)) => Probe::Pending(seen.to_string()),
                Ok(None) => Probe::Pending("no value yet".to_owned()),
                Err(failure) => Probe::Fatal(failure),
            }
        });
        match seen.await {
            Ok(()) => Ok(()),
            Err(WaitError::Fatal(failure)) => Err(failure),
            Err(WaitError::TimedOut(timeout)) => {
                let title = format!(
                    "{subject} did not become {}{wanted} within {:.1?}",
                    comparison.text(),
                    timeout.waited
                );
                Err(StepFailure::timed_out(title, &timeout).at(key))
            }
        }
    }
}

impl Expect {
    fn comparison(&self) -> Result<(Comparison, &Operand, &'static str), StepFailure> {
        let given = [
            (Comparison::Is, &self.is, "is"),
            (Comparison::AtLeast, &self.at_least, "at_least"),
            (Comparison::AtMost, &self.at_most, "at_most"),
        ];
        let mut given = given
            .into_iter()
            .filter_map(|(how, operand, key)| Some((how, operand.as_ref()?, key)));
        // Files are checked before they run; Rust may build what no file can say.
        let only = given.next().filter(|_| given.next().is_none());
        only.ok_or_else(|| {
            StepFailure::refused("`expect` needs one of `is`, `at_least` and `at_most`")
        })
    }

    /// What is looked at, in words.
    fn subject(&self) -> String {
        match (&self.expect, &self.of) {
            (Observed::Reference(reference), _) => reference.to_string(),
            (Observed::World(observable), Some(party)) => format!("{party}'s {observable}"),
            (Observed::World(observable), None) => observable.to_string(),
        }
    }

    async fn look(&self, run: &Run<'_>) -> Result<Option<Value>, StepFailure> {
        match &self.expect {
            Observed::Reference(reference) => run.look(reference).await,
            Observed::World(observable) => {
                let party = self.of.as_ref().map(|party| party.0.as_str());
                match observable {
                    Observable::LiquidBalance => self.liquid_balance(run).await,
                    observable if observable.is_of_a_chain() && party.is_none() => {
                        look_at_chain(run.world, *observable, self.chain, run.deadline).await
                    }
                    observable => look_at_party(run.world, *observable, party).await,
                }
                .map(Some)
            }
        }
    }
}

impl Expect {
    async fn liquid_balance(&self, run: &Run<'_>) -> Result<Value, StepFailure> {
        let Some(holder) = &self.of else {
            return Err(of_whom(Observable::LiquidBalance));
        };
        let id = run.asset(&self.asset).await?;
        let rpc = run.world.liquid()?.elementsd().rpc();
        let balances = rpc.balances(&holder.0, run.deadline).await;
        let balances = balances.map_err(|error| run.world.error(error))?;
        let parts = balances.get(&id).copied().unwrap_or(0);
        Ok(match self.asset {
            AssetOf::Lbtc => Value::Sat(Sat(parts)),
            AssetOf::Issued(_) => Value::Units(Units(parts)),
        })
    }
}

fn of_whom(observable: Observable) -> StepFailure {
    StepFailure::refused(format!("`{observable}` of whom?"))
}

async fn look_at_chain(
    world: &World,
    observable: Observable,
    chain: Chain,
    deadline: Deadline,
) -> Result<Value, StepFailure> {
    let fail = |error| StepFailure::from(world.error(error));
    let bitcoind = world.bitcoind();
    Ok(match (observable, chain) {
        (Observable::IndexHeight, chain) => {
            let index = world.index(chain.into())?;
            let height = index.height(deadline).await;
            Value::Height(height.map_err(|error| world.error(error))?)
        }
        (Observable::Mempool, Chain::Bitcoin) => {
            count(bitcoind.rpc().mempool(deadline).await.map_err(fail)?.len())
        }
        (Observable::Mempool, Chain::Liquid) => {
            let rpc = world.liquid()?.elementsd().rpc();
            count(rpc.mempool(deadline).await.map_err(fail)?.len())
        }
        (_, Chain::Bitcoin) => Value::Height(bitcoind.height().await.map_err(fail)?),
        (_, Chain::Liquid) => {
            let elementsd = world.liquid()?.elementsd();
            Value::Height(elementsd.height().await.map_err(fail)?)
        }
    })
}

async fn look_at_party(
    world: &World,
    observable: Observable,
    party: Option<&str>,
) -> Result<Value, StepFailure> {
    let node = world.node(party.ok_or_else(|| of_whom(observable))?)?;
    look_at_node(node, observable)
        .await
        .map_err(|error| world.error(error).into())
}

async fn look_at_node(node: &LdkServer, observable: Observable) -> Result<Value, NodeError> {
    Ok(match observable {
        Observable::Height => Value::Height(node.info().await?.height),
        Observable::OnchainBalance => Value::Sat(node.balances().await?.onchain_total),
        Observable::LightningBalance => Value::Sat(node.balances().await?.lightning),
        Observable::Sweeps => count(node.balances().await?.sweeps),
        Observable::Channels => count(node.channels().await?.len()),
        Observable::Payments => count(node.payments().await?.len()),
        Observable::Peers => count(node.connected_peers().await?.len()),
        Observable::Mempool | Observable::IndexHeight | Observable::LiquidBalance => {
            unreachable!("no Lightning node has it, and it was looked at elsewhere")
        }
    })
}

fn count(n: usize) -> Value {
    Value::Count(n as u64)
}
