//! The steps of a scenario in their order: one after the other, side by side, repeated, at an event.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use swaprig_harness::World;
use swaprig_harness::time::{Deadline, observed};
use tokio::sync::watch;

use super::oracle::{Oracle, Sheet};
use super::oracle_liquid::LiquidOracle;
use super::outcome::StepRecord;
use super::runner::RunSettings;
use super::step_in::Gate;
use super::telling::Telling;
use super::{BoxFuture, FailureKind, Random, Run, StepFailure};
use crate::lang::{Action, AnyStep, Bindings, Plan, PlannedStep, Value};

/// How long an event may still come when every other step of its list has ended.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// The step that failed, and why.
pub(super) type Failed<'p> = (&'p PlannedStep, StepFailure);

/// Runs the steps of one plan.
pub(super) struct Exec<'p> {
    pub(super) world: &'p World,
    telling: &'p Telling,
    settings: &'p RunSettings,
    random: &'p Random,
    bindings: Mutex<Bindings>,
    /// Where the scenario is to stop, if it is.
    pub(super) gate: Gate<'p>,
    records: &'p Mutex<Vec<StepRecord>>,
    oracle: tokio::sync::Mutex<Oracle>,
    liquid_oracle: tokio::sync::Mutex<LiquidOracle>,
    /// Who held what when it was last told exactly.
    money: Mutex<Option<Sheet>>,
    /// How many steps run beside others: meanwhile coins may be on their way and daemons down.
    beside: AtomicUsize,
}

/// One of them, until it is dropped.
struct Beside<'a>(&'a AtomicUsize);

impl<'a> Beside<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Beside(count)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A step that runs beside others: the name that awaits it, unless it runs at an event, and how it ended.
type Ended<'p> = (Option<&'p str>, Result<(), Failed<'p>>);

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'p> Exec<'p> {
    pub(super) fn new(
        world: &'p World,
        plan: &'p Plan,
        settings: &'p RunSettings,
        random: &'p Random,
        telling: &'p Telling,
        records: &'p Mutex<Vec<StepRecord>>,
    ) -> Self {
        Exec {
            world,
            telling,
            settings,
            random,
            bindings: Mutex::default(),
            gate: Gate::new(settings.step_in.as_deref()),
            records,
            oracle: tokio::sync::Mutex::new(Oracle::with_servers(plan.world.books.clone())),
            liquid_oracle: tokio::sync::Mutex::new(LiquidOracle::with_servers(&plan.world.books)),
            money: Mutex::default(),
            beside: AtomicUsize::new(0),
        }
    }

    /// Who held what when it was last told exactly.
    pub(super) fn money(&self) -> Option<Sheet> {
        locked(&self.money).clone()
    }

    /// What the steps have bound so far.
    pub(super) fn bindings(&self) -> Bindings {
        locked(&self.bindings).clone()
    }

    /// Has the oracle look after `step`, when nothing runs beside it.
    async fn account(&self, step: &'p PlannedStep, deadline: Deadline) -> Result<(), Failed<'p>> {
        if self.beside.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let look = async {
            let told = self.oracle.lock().await.check(self.world, deadline).await?;
            let mut liquid_oracle = self.liquid_oracle.lock().await;
            Ok((told, liquid_oracle.check(self.world, deadline).await?))
        };
        let (told, liquid) = observed(self.telling.waits(step), look)
            .await
            .map_err(|failure| {
                self.telling.money_lost();
                (step, failure)
            })?;
        self.telling.money(told.as_ref(), liquid.as_ref());
        let mut money = locked(&self.money);
        let before = money.as_ref().and_then(|sheet| sheet.liquid.clone());
        if let Some(sheet) = told {
            *money = Some(sheet);
        }
        if let Some(sheet) = money.as_mut() {
            sheet.liquid = liquid.or(before);
        }
        Ok(())
    }

    /// Runs a list of steps one after the other, and beside them what they start.
    pub(super) fn list<'a>(
        &'a self,
        steps: &'p [PlannedStep],
        deadline: Deadline,
    ) -> BoxFuture<'a, Result<(), Failed<'p>>>
    where
        'p: 'a,
    {
        Box::pin(async move {
            let (ended, is_ended) = watch::channel(false);
            let mut beside = FuturesUnordered::<BoxFuture<'a, Ended<'p>>>::new();
            let mut done = HashMap::new();
            for step in steps {
                if step.on.is_some() {
                    let is_ended = is_ended.clone();
                    let counted = Beside::enter(&self.beside);
                    beside.push(Box::pin(async move {
                        let _counted = counted;
                        (None, self.at_event(step, deadline, is_ended).await)
                    }));
                } else if let Some(name) = &step.start {
                    let counted = Beside::enter(&self.beside);
                    beside.push(Box::pin(async move {
                        let _counted = counted;
                        let ended = self.repeated(step, deadline).await;
                        if ended.is_ok() {
                            self.gate.after(step).await;
                        }
                        (Some(name.as_str()), ended)
                    }));
                } else if let Action::Await(name) = &step.action {
                    self.until_done(step, name, deadline, &mut beside, &mut done)
                        .await?;
                } else {
                    let main = self.repeated(step, deadline);
                    while_beside(main, &mut beside, &mut done).await?;
                }
                self.account(step, deadline).await?;
                // What only has been started comes to its own end.
                if step.on.is_none() && step.start.is_none() {
                    self.gate.after(step).await;
                }
            }
            // What is started is awaited in the same list, so only steps at events are left.
            let _ = ended.send(true);
            while let Some((_, result)) = beside.next().await {
                result?;
            }
            Ok(())
        })
    }

    /// Waits for a started step, and gives its end as that of the `await`.
    async fn until_done<'a>(
        &'a self,
        step: &'p PlannedStep,
        name: &'p str,
        deadline: Deadline,
        beside: &mut FuturesUnordered<BoxFuture<'a, Ended<'p>>>,
        done: &mut HashMap<&'p str, Result<(), Failed<'p>>>,
    ) -> Result<(), Failed<'p>> {
        self.gate.before(step).await;
        let started = Instant::now();
        let own = self.own_deadline(step, deadline);
        self.telling.begins(step, own.remaining());
        let wait = async {
            loop {
                if let Some(result) = done.remove(name) {
                    return result;
                }
                match beside.next().await {
                    Some(ended) => keep(ended, done)?,
                    None => {
                        let title = format!("no step was started as `{name}`");
                        return Err((step, StepFailure::refused(title)));
                    }
                }
            }
        };
        let result = own
            .bound(wait)
            .await
            .unwrap_or_else(|| Err((step, too_long(step, started))));
        self.ended(step, started, result.map(|()| None)).await?;
        Ok(())
    }

    /// Runs a step once its event has been seen. `is_ended`: nothing else of the list runs any more.
    async fn at_event(
        &self,
        step: &'p PlannedStep,
        deadline: Deadline,
        mut is_ended: watch::Receiver<bool>,
    ) -> Result<(), Failed<'p>> {
        if let Some(event) = &step.on
            && let Action::Step(expect) = &event.action
        {
            let look = |deadline| self.act(event, expect.as_ref(), deadline);
            let seen = tokio::select! {
                biased;
                seen = look(deadline) => Some(seen),
                _ = is_ended.wait_for(|ended| *ended) => None,
            };
            let seen = match seen {
                Some(seen) => seen,
                None => look(deadline.at_most(LAST_CHANCE)).await,
            };
            seen.map_err(|failure| {
                let why = format!("`{}` waits for this and never ran", step.name());
                let why = match failure.why {
                    Some(before) => format!("{why}; {before}"),
                    None => why,
                };
                (
                    &**event,
                    StepFailure {
                        why: Some(why),
                        ..failure
                    },
                )
            })?;
        }
        self.repeated(step, deadline).await?;
        self.gate.after(step).await;
        Ok(())
    }

    async fn repeated(&self, step: &'p PlannedStep, deadline: Deadline) -> Result<(), Failed<'p>> {
        self.gate.before(step).await;
        for _ in 0..step.times {
            self.once(step, deadline).await?;
        }
        Ok(())
    }

    async fn once(&self, step: &'p PlannedStep, deadline: Deadline) -> Result<(), Failed<'p>> {
        let started = Instant::now();
        let own = self.own_deadline(step, deadline);
        self.telling.begins(step, own.remaining());
        let work = async {
            match &step.action {
                Action::Step(action) => {
                    let result = self.act(step, action.as_ref(), own).await;
                    result.map_err(|failure| (step, failure))
                }
                Action::Steps(steps) => self.list(steps, own).await.map(|()| None),
                Action::Together(steps) => self.together(steps, own).await.map(|()| None),
                // Lists take these themselves.
                Action::Await(_) => Ok(None),
            }
        };
        // A step keeps to its deadline itself and says what it saw last; this ends one that does not.
        let result = own
            .bound(work)
            .await
            .unwrap_or_else(|| Err((step, too_long(step, started))));
        let value = self.ended(step, started, result).await?;
        if let (Some(name), Some(value)) = (&step.bind, value) {
            locked(&self.bindings).bind(name, value);
        }
        Ok(())
    }

    /// Runs steps at the same time. The first that fails ends the others, which are dropped where they wait.
    async fn together(
        &self,
        steps: &'p [PlannedStep],
        deadline: Deadline,
    ) -> Result<(), Failed<'p>> {
        let _counted = Beside::enter(&self.beside);
        let one = |step: &'p PlannedStep| self.list(std::slice::from_ref(step), deadline);
        let mut running: FuturesUnordered<_> = steps.iter().map(one).collect();
        while let Some(result) = running.next().await {
            result?;
        }
        Ok(())
    }

    async fn act(
        &self,
        step: &PlannedStep,
        action: &dyn AnyStep,
        deadline: Deadline,
    ) -> Result<Option<Value>, StepFailure> {
        let bindings = locked(&self.bindings).view(&step.names);
        let run = Run {
            world: self.world,
            bindings: &bindings,
            deadline,
            random: self.random,
            name: step.bind.as_deref(),
        };
        observed(self.telling.waits(step), action.run(&run)).await
    }

    fn own_deadline(&self, step: &PlannedStep, deadline: Deadline) -> Deadline {
        let within = step.within.map(|within| self.settings.scaled(within));
        within.map_or(deadline, |within| deadline.at_most(within))
    }

    /// What a step has come to, `fails` included, after it was told.
    async fn ended(
        &self,
        step: &'p PlannedStep,
        started: Instant,
        result: Result<Option<Value>, Failed<'p>>,
    ) -> Result<Option<Value>, Failed<'p>> {
        let (value, failure) = match &result {
            Ok(value) => (value.clone(), None),
            Err((_, failure)) => (None, Some(failure.clone())),
        };
        self.record(step, started);
        let took = started.elapsed();
        let judged = judge(step, result);
        // What the step did to the chains comes before its end. After a failure nothing may stand in its way: what it is
        // inside of has the same deadline, and less to say.
        if judged.is_ok() {
            self.world.look().await;
        }
        let own = failure.as_ref().map_or(Ok(value.as_ref()), Err);
        self.telling.done(step, took, own, judged.is_ok());
        judged
    }

    fn record(&self, step: &PlannedStep, started: Instant) {
        locked(self.records).push(StepRecord {
            number: step.number,
            place: step.place.clone(),
            name: step.key.clone(),
            took: started.elapsed(),
        });
    }
}

fn too_long(step: &PlannedStep, started: Instant) -> StepFailure {
    let title = format!(
        "`{}` was not done within {:.1?}",
        step.name(),
        started.elapsed()
    );
    StepFailure {
        kind: FailureKind::TimedOut,
        ..StepFailure::refused(title)
    }
}

/// Keeps the end of a started step for its `await`; a step at an event has none, and fails the list at once.
fn keep<'p>(
    (name, result): Ended<'p>,
    done: &mut HashMap<&'p str, Result<(), Failed<'p>>>,
) -> Result<(), Failed<'p>> {
    match name {
        Some(name) => {
            done.insert(name, result);
            Ok(())
        }
        None => result,
    }
}

/// Runs `main`, and meanwhile what runs beside it.
async fn while_beside<'a, 'p>(
    main: impl Future<Output = Result<(), Failed<'p>>>,
    beside: &mut FuturesUnordered<BoxFuture<'a, Ended<'p>>>,
    done: &mut HashMap<&'p str, Result<(), Failed<'p>>>,
) -> Result<(), Failed<'p>> {
    let mut main = std::pin::pin!(main);
    loop {
        tokio::select! {
            biased;
            // First, so that what was started has begun before `main` ends, however fast that is.
            Some(ended) = beside.next(), if !beside.is_empty() => keep(ended, done)?,
            result = &mut main => return result.map_err(|failed| also_failed(failed, done)),
        }
    }
}

/// A failure while a started step has failed before: that is most likely why.
fn also_failed<'p>(
    (step, failure): Failed<'p>,
    done: &HashMap<&'p str, Result<(), Failed<'p>>>,
) -> Failed<'p> {
    let failed = done.iter().find_map(|(name, result)| {
        let (other, failure) = result.as_ref().err()?;
        Some(format!(
            "`{}`, started as `{name}`, had failed: {failure}",
            other.name()
        ))
    });
    let why = match (failure.why, failed) {
        (Some(why), Some(failed)) => Some(format!("{why}\n{failed}")),
        (why, failed) => why.or(failed),
    };
    (step, StepFailure { why, ..failure })
}

/// Whether the step ended as the file says, `fails` included.
fn judge<'p>(
    step: &'p PlannedStep,
    result: Result<Option<Value>, Failed<'p>>,
) -> Result<Option<Value>, Failed<'p>> {
    let Some(reason) = &step.fails else {
        return result;
    };
    match result {
        Ok(_) => {
            let title = format!(
                "`{}` succeeded, and must fail with \"{reason}\"",
                step.name()
            );
            Err((step, StepFailure::refused(title).at("fails")))
        }
        Err((_, failure)) if failure.is_reason(reason) => Ok(None),
        Err((_, failure)) if failure.kind == FailureKind::Refused => {
            let title = format!("`{}` failed, but not with \"{reason}\"", step.name());
            let wrong = StepFailure {
                seen: Some(failure.title),
                why: failure.why,
                ..StepFailure::refused(title).at("fails")
            };
            Err((step, wrong))
        }
        Err(failed) => Err(failed),
    }
}
