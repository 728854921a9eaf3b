//! Runs cases on the daemons of one kind: those that share daemons one after the other, the others on fresh ones.

use std::path::Path;
use std::time::Duration;

use swaprig_harness::time::Deadline;

use crate::start::{Daemons, Programs};
use crate::trial::{CaseRun, Stop, run};
use crate::{Case, Isolation};

/// How long daemons may take to come up, and to end.
const START: Duration = Duration::from_secs(60);
/// How long one case may take.
const CASE: Duration = Duration::from_secs(180);

/// Runs `cases` on `programs` in `dir`, and tells `watch` of each when it has ended.
///
/// # Errors
/// When the shared daemons do not come up. That fresh ones do not is told in their case.
pub async fn run_cases(
    programs: &Programs,
    cases: &[Case],
    dir: &Path,
    mut watch: impl FnMut(&CaseRun),
) -> Result<Vec<CaseRun>, Stop> {
    let mut runs = Vec::new();
    let of = |isolation| cases.iter().filter(move |case| case.isolation == isolation);
    if of(Isolation::Shared).next().is_some() {
        let daemons = start(programs, &dir.join("shared")).await?;
        let mut lab = daemons.lab().await?;
        for case in of(Isolation::Shared) {
            let done = bounded(case, &mut lab).await;
            watch(&done);
            runs.push(done);
        }
        daemons.stop(Deadline::after(START)).await;
    }
    for case in of(Isolation::Fresh) {
        let own = dir.join(case.name.replace('/', "-"));
        let done = match fresh(programs, case, &own).await {
            Ok(done) => done,
            Err(stop) => stopped(case, stop),
        };
        watch(&done);
        runs.push(done);
    }
    Ok(runs)
}

async fn start(programs: &Programs, dir: &Path) -> Result<Daemons, Stop> {
    std::fs::create_dir_all(dir).map_err(|error| Stop(format!("{}: {error}", dir.display())))?;
    Daemons::start(programs, dir, Deadline::after(START)).await
}

async fn fresh(programs: &Programs, case: &Case, dir: &Path) -> Result<CaseRun, Stop> {
    let daemons = start(programs, dir).await?;
    let mut lab = daemons.lab().await?;
    let done = bounded(case, &mut lab).await;
    daemons.stop(Deadline::after(START)).await;
    Ok(done)
}

async fn bounded(case: &Case, lab: &mut crate::lab::Lab) -> CaseRun {
    let done = Deadline::after(CASE).bound(run(case, lab)).await;
    done.unwrap_or_else(|| stopped(case, Stop(format!("it did not end within {CASE:?}"))))
}

fn stopped(case: &Case, stop: Stop) -> CaseRun {
    CaseRun {
        name: case.name,
        seen: Vec::new(),
        unmet: Vec::new(),
        stopped: Some(stop.0),
        took: Duration::ZERO,
    }
}
