//! What all end-to-end tests need: whether they run at all (`RUN_LDK_E2E`), which daemons they use, and a place to run
//! in. Real daemons are found as users find them; see `Settings::from_env`.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod processes;
pub(crate) mod run;
pub(crate) mod sandbox;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use swaprig_harness::World;
use swaprig_harness::binary::{Binary, Role, Settings, Stderr, resolve};
use swaprig_harness::time::{Deadline, Probe, poll_until};
use swaprig_harness::world::{Binaries, Builder};

/// How long anything may take that takes well under a second on a quiet machine: a world's start, a run of a scenario.
/// Several of them side by side on two loaded cores have needed five seconds.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A world of this build's own executable; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
pub(crate) fn world() -> Option<Builder> {
    runs().then(|| World::builder().settings(settings()))
}

/// The settings of this build: its own executable holds the bundled daemons.
pub(crate) fn settings() -> Settings {
    Settings {
        self_exe: Some(sandbox::swaprig()),
        ..Settings::from_env()
    }
}

/// The real programs, downloaded first where they have to be, so that no deadline of a test pays for that; `None`, said
/// aloud, when `RUN_LDK_E2E=0` asks to skip.
pub(crate) async fn binaries() -> Option<Arc<Binaries>> {
    if !runs() {
        return None;
    }
    let found = tokio::task::spawn_blocking(|| {
        let found = |role| resolve(role, &settings(), &Stderr::default()).unwrap();
        Binaries {
            ldk_server: Some(found(Role::LdkServer)),
            ..Binaries::only(found(Role::Bitcoind))
        }
    });
    Some(Arc::new(found.await.unwrap()))
}

/// The real Lightning node of `binaries`.
pub(crate) fn ldk_server(binaries: &Binaries) -> &Binary {
    binaries.ldk_server.as_ref().expect("`binaries` finds one")
}

/// Whether end-to-end tests run here. They do by default, and then a daemon that is not to be had fails them; with
/// `RUN_LDK_E2E=1` the same is asked for in so many words.
#[expect(
    clippy::disallowed_methods,
    reason = "the gate of the tests is an environment variable (design D11)"
)]
pub(crate) fn runs() -> bool {
    let skip = std::env::var_os("RUN_LDK_E2E").is_some_and(|value| value == "0");
    if skip {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        // Not `eprintln`, which the test runner keeps to itself when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: RUN_LDK_E2E=0 asks for no end-to-end tests"
        );
    }
    !skip
}

/// Waits until the file at `path` says `text`, and gives all of it.
pub(crate) async fn file_says(path: &Path, text: &str) -> String {
    let what = format!("{} to say `{text}`", path.display());
    let said =
        poll_until::<_, std::convert::Infallible, _>(what, Deadline::after(SOON), || async {
            match std::fs::read_to_string(path) {
                Ok(all) if all.contains(text) => Probe::Ready(all),
                Ok(all) => Probe::Pending(all.lines().last().unwrap_or("nothing yet").to_owned()),
                Err(error) => Probe::Pending(error.to_string()),
            }
        });
    said.await.unwrap_or_else(|error| panic!("{error}"))
}

/// All files called `name` below `dir`.
pub(crate) fn files_called(name: &str, dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files_called(name, &path));
        } else if path.file_name().is_some_and(|own| own == name) {
            found.push(path);
        }
    }
    found
}

/// Asserts that `text` has all of `parts`.
#[track_caller]
pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}
