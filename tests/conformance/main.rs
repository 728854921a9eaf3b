//! The bundled Liquid daemons held to upstream's: the same cases on both, what upstream's said recorded for machines that
//! have none, other people's wallet on both, and proof that the cases notice a lie.

mod cases;
mod documentation;
mod lies;
mod lwk;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use swaprig_conformance::start::{Daemons, Programs};
use swaprig_harness::binary::{Kind, Stderr};
use swaprig_harness::time::Deadline;

/// The daemons of `kind`; `None`, said aloud, when this machine has none.
fn programs(kind: Kind) -> Option<Programs> {
    match Programs::find(kind, &support::settings(), &Stderr::default()) {
        Ok(programs) => Some(programs),
        Err(error) if kind == Kind::Upstream => {
            eprintln!("SKIPPED: no upstream Liquid daemons on this machine: {error}");
            None
        }
        Err(error) => panic!("this build contains them: {error}"),
    }
}

/// Those of every kind that this machine has; none, said aloud, when no end-to-end tests are asked for.
fn all_programs() -> Vec<Programs> {
    if !support::runs() {
        return Vec::new();
    }
    [Kind::Bundled, Kind::Upstream]
        .into_iter()
        .filter_map(programs)
        .collect()
}

/// Starts daemons in `dir`.
async fn start(programs: &Programs, dir: &Path) -> Daemons {
    let own = dir.join(programs.kind().to_string());
    std::fs::create_dir_all(&own).unwrap();
    Daemons::start(programs, &own, Deadline::after(support::SOON))
        .await
        .unwrap()
}
