//! What the steps that make a link go wrong do.

use std::time::Duration;
use swaprig_harness::proxy::{Calls, Fault as HarnessFault, FaultError, Proxy};
use swaprig_record::Event;

use super::{BoxFuture, Look, Run, Step, StepFailure};
use crate::World;
use crate::entities::Fault;
use crate::lang::{BindingError, Lie, OnProxy, Readable as _, Value, on_the_wire};
use crate::steps::{
    Delay, Direction, DropConnections, Fail, Freeze, Heal, Partition, Tamper, Thaw,
};

/// The proxy that a step names.
fn proxy<'w>(run: &Run<'w>, on: &OnProxy) -> Result<&'w Proxy, StepFailure> {
    Ok(run.world.proxy(&on.link)?)
}

fn calls(rpc: Option<&String>, next: Option<u64>) -> Calls {
    Calls {
        method: rpc.cloned(),
        next,
    }
}

/// Records what is done to a link.
fn record(run: &Run<'_>, on: &OnProxy, what: impl Into<String>) {
    let (link, what) = (on.link.to_string(), what.into());
    let fault = swaprig_record::Fault { link, what };
    run.world.recorder().record(Event::Fault(fault));
}

/// ` of GetSwap`, ` (next 2)`, or nothing.
fn of(rpc: Option<&str>, next: Option<u64>) -> String {
    let rpc = rpc.map(|rpc| format!(" of {rpc}")).unwrap_or_default();
    let next = next
        .map(|next| format!(", next {next}"))
        .unwrap_or_default();
    format!("{rpc}{next}")
}

/// What `as` names; `refused` is what a checked file rules out.
fn made(on: &OnProxy, fault: Result<HarnessFault, FaultError>) -> Result<Fault, StepFailure> {
    let fault = fault.map_err(|refused| StepFailure::refused(refused.to_string()))?;
    Ok(Fault {
        link: on.to_string(),
        fault,
    })
}

impl Step for Partition {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        proxy(run, &self.partition)?.partition();
        record(run, &self.partition, "partition");
        Ok(())
    }
}

impl Step for Heal {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        proxy(run, &self.heal)?.heal();
        record(run, &self.heal, "heal");
        Ok(())
    }
}

impl Step for DropConnections {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        proxy(run, &self.drop)?.drop_connections();
        record(run, &self.drop, "drop all connections");
        Ok(())
    }
}

impl Step for Delay {
    async fn run(&self, run: &Run<'_>) -> Result<Fault, StepFailure> {
        let (there, back) = match self.way {
            Direction::Both => (self.by, self.by),
            Direction::There => (self.by, Duration::ZERO),
            Direction::Back => (Duration::ZERO, self.by),
        };
        let calls = calls(self.rpc.as_ref(), self.next);
        let what = format!(
            "delay by {:?}{}",
            self.by,
            of(self.rpc.as_deref(), self.next)
        );
        record(run, &self.delay, what);
        let delayed = proxy(run, &self.delay)?.delay(calls, there, back);
        made(&self.delay, delayed)
    }
}

impl Step for Freeze {
    async fn run(&self, run: &Run<'_>) -> Result<Fault, StepFailure> {
        let what = format!("freeze{}", of(self.rpc.as_deref(), None));
        record(run, &self.freeze, what);
        let frozen = proxy(run, &self.freeze)?.freeze(calls(self.rpc.as_ref(), None));
        made(&self.freeze, frozen)
    }
}

impl Step for Thaw {
    async fn run(&self, run: &Run<'_>) -> Result<(), StepFailure> {
        match proxy(run, &self.thaw)?.thaw(self.rpc.as_deref()) {
            0 => {
                let title = format!("nothing is frozen on {}", self.thaw);
                Err(StepFailure::refused(title).at("thaw"))
            }
            _ => {
                let what = format!("thaw{}", of(self.rpc.as_deref(), None));
                record(run, &self.thaw, what);
                Ok(())
            }
        }
    }
}

impl Step for Fail {
    async fn run(&self, run: &Run<'_>) -> Result<Fault, StepFailure> {
        let calls = calls(self.rpc.as_ref(), Some(self.next));
        let what = format!("fail{}", of(self.rpc.as_deref(), Some(self.next)));
        record(run, &self.fail, what);
        let failing = proxy(run, &self.fail)?.fail(calls, self.failure(), self.carried_out);
        made(&self.fail, failing)
    }
}

impl Step for Tamper {
    async fn run(&self, run: &Run<'_>) -> Result<Fault, StepFailure> {
        let value = match &self.value {
            Lie::Value(value) => value.clone(),
            Lie::Reference(reference) => {
                let absent = || BindingError::Absent {
                    reference: reference.clone(),
                };
                let value = run.look(reference).await?.ok_or_else(absent)?;
                on_the_wire(&value).ok_or_else(|| {
                    let title = format!("`{reference}` is not a single value");
                    StepFailure::refused(title).at("value")
                })?
            }
        };
        let calls = calls(Some(&self.rpc.0), self.next);
        let field = self.field.as_deref().unwrap_or("the whole reply");
        let what = format!(
            "tamper {field} = {value}{}",
            of(Some(&self.rpc.0), self.next)
        );
        record(run, &self.tamper, what);
        let proxy = proxy(run, &self.tamper)?;
        let lying = match self.field.as_deref() {
            Some(field) if self.add => proxy.tamper_or_add(calls, field, value),
            field => proxy.tamper(calls, field, value),
        };
        made(&self.tamper, lying)
    }
}

impl Look for Fault {
    fn look<'a>(
        &'a self,
        field: &'a str,
        _world: &'a World,
    ) -> BoxFuture<'a, Result<Option<Value>, StepFailure>> {
        let hits = (field == "hits").then(|| self.fault.hits());
        Box::pin(std::future::ready(Ok(hits.and_then(|hits| hits.read()))))
    }
}
