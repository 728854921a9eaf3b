//! All cases, on each kind of daemons.

use std::fmt::Write as _;
use std::path::Path;

use swaprig_conformance::all;
use swaprig_conformance::report::{differences, is_good, stale, unmet};
use swaprig_conformance::run::run_cases;
use swaprig_conformance::start::Programs;
use swaprig_conformance::transcript::Transcript;
use swaprig_conformance::trial::CaseRun;
use swaprig_harness::binary::Kind;

use super::support;
use super::support::sandbox::Sandbox;

async fn run(programs: &Programs) -> Vec<CaseRun> {
    let sandbox = Sandbox::new();
    let runs = run_cases(programs, &all(), sandbox.path(), |_| ()).await;
    runs.unwrap_or_else(|stop| panic!("{stop}"))
}

/// What is wrong with `runs`, in words; empty when nothing is.
fn complaints(kind: Kind, runs: &[CaseRun]) -> String {
    let mut text = String::new();
    for run in runs.iter().filter(|run| !is_good(kind, run)) {
        let _ = writeln!(
            text,
            "{}: {}",
            run.name,
            run.stopped.as_deref().unwrap_or("not as expected")
        );
        for unmet in unmet(kind, run) {
            let _ = writeln!(
                text,
                "  {}\n    saw       {}\n    expected  {}",
                unmet.label, unmet.saw, unmet.expected
            );
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundled_daemons_answer_as_expected_and_as_upstream_was_recorded() {
    if !support::runs() {
        return;
    }
    let programs = super::programs(Kind::Bundled).expect("this build contains them");
    let runs = run(&programs).await;
    let mut text = complaints(Kind::Bundled, &runs);
    let bundled = Transcript::of(programs.passport().to_string(), &runs);
    let recorded = Transcript::recorded();
    assert_eq!(recorded.cases.len(), all().len(), "every case is recorded");
    let found = differences(&bundled, recorded);
    for new in found.iter().filter(|one| one.known.is_none()) {
        let _ = writeln!(
            text,
            "{} | {}\n    bundled   {:?}\n    upstream  {:?}",
            new.case, new.label, new.bundled, new.upstream
        );
    }
    for (known, case, label) in stale(&bundled, recorded, &found) {
        let _ = writeln!(text, "{} | {} differs no more: {}", case, label, known.what);
    }
    assert!(text.is_empty(), "against {}:\n{text}", recorded.passport);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstreams_daemons_answer_as_expected_and_as_they_were_recorded() {
    if !support::runs() {
        return;
    }
    let Some(programs) = super::programs(Kind::Upstream) else {
        return;
    };
    let runs = run(&programs).await;
    let text = complaints(Kind::Upstream, &runs);
    assert!(text.is_empty(), "{}:\n{text}", programs.passport());
    let own = Transcript::of(programs.passport().to_string(), &runs);
    if update_golden() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("harness/conformance/recorded/upstream.json");
        std::fs::write(&path, own.text()).unwrap();
        eprintln!("{} is written anew; build again to use it", path.display());
        return;
    }
    if own.passport != Transcript::recorded().passport {
        eprintln!(
            "SKIPPED: {} were not recorded ({} were), so that only their expectations are checked",
            own.passport,
            Transcript::recorded().passport
        );
        return;
    }
    let changed = differences(Transcript::recorded(), &own);
    assert!(
        changed.is_empty(),
        "they do not say the same twice: {changed:#?}"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the switch of golden files is an environment variable"
)]
pub(super) fn update_golden() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}
