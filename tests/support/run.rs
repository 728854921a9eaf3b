//! One scenario, from its text, in this process: for tests that bring steps of their own.

use std::num::NonZeroUsize;
use std::sync::Arc;

use swaprig_harness::binary::Quiet;
use swaprig_harness::run_dir::{Keep, RunDir};
use swaprig_harness::world::{Binaries, Needs};
use swaprig_scenarios::lang::{self, Plan, Registry, Source};
use swaprig_scenarios::run::{Interrupt, Outcome, RunSettings, Watch, run_all};

struct Silent;

impl Watch for Silent {}

/// Runs a file with this text, which has no cases.
pub(crate) async fn outcome_of(text: &str, registry: &Registry) -> Outcome {
    let source = Source::new("theft", "theft.scenario.toml", text);
    let plans = lang::check(&source, registry).unwrap().into_iter();
    let plans: Vec<Arc<Plan>> = plans.map(Arc::new).collect();
    let mut needs = Needs::nothing();
    for plan in &plans {
        needs.extend(&plan.world.needs());
    }
    let settings = super::settings();
    let resolving = settings.clone();
    let binaries =
        tokio::task::spawn_blocking(move || Binaries::resolve(&resolving, &needs, &Quiet))
            .await
            .unwrap();
    let run = RunSettings {
        jobs: NonZeroUsize::MIN,
        rounds: 1,
        binaries: Arc::new(binaries.unwrap()),
        settings,
        records: None,
        retries: 0,
        seed: 0,
        timeout_scale: 1.0,
        step_in: None,
    };
    let base = tempfile::tempdir().unwrap();
    let dir = RunDir::numbered(base.path(), Keep::OnFailure).unwrap();
    let (_raise, interrupt) = Interrupt::new();
    let mut outcomes = run_all(plans, run, &dir, Arc::new(Silent), interrupt).await;
    outcomes.remove(0)
}
