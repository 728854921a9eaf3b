//! What all end-to-end tests need: where their worlds run, and whether they run at all (`RUN_LDK_E2E`).

use swaprig_harness::World;
use swaprig_harness::binary::Settings;
use swaprig_harness::world::Builder;

/// A world of this build's own executable; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
pub fn world() -> Option<Builder> {
    runs().then(|| World::builder().settings(settings()))
}

/// The settings of this build: its own executable holds the bundled daemons.
pub fn settings() -> Settings {
    Settings { self_exe: Some(env!("CARGO_BIN_EXE_swaprig").into()), ..Settings::from_env() }
}

/// Whether end-to-end tests run here.
#[expect(clippy::disallowed_methods, reason = "the gate of the tests is an environment variable (design D11)")]
pub fn runs() -> bool {
    let skip = std::env::var_os("RUN_LDK_E2E").is_some_and(|value| value == "0");
    if skip {
        eprintln!("SKIPPED: RUN_LDK_E2E=0 asks for no end-to-end tests");
    }
    !skip
}
