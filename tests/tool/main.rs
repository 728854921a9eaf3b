//! The tool around the scenarios, as its users meet it: what is selected, what CI gets to read, other programs in a world,
//! a world that stays.

#[path = "../support/mod.rs"]
mod support;

mod ci;
mod junit;
mod new;
mod outcomes;
mod record;
mod reference;
mod reports;
mod schema;
mod selection;
mod setup;
#[cfg(target_os = "linux")]
mod step_in;
mod worlds;

use serde_json::Value;

use support::sandbox::Sandbox;

/// A sandbox for real worlds; `None`, said aloud, when `RUN_LDK_E2E=0` asks to skip.
async fn sandbox() -> Option<Sandbox> {
    support::binaries().await.map(|_| Sandbox::new())
}

/// A scenario on a bitcoind alone.
fn scenario(title: &str, top: &str, steps: &str) -> String {
    format!(
        "title = \"{title}\"\n{top}\nworld = {{ preset = \"bitcoin\" }}\nsteps = [\n{steps}\n]\n"
    )
}

/// Mines and passes.
const MINES: &str = "  { mine = 2 },";
/// Expects what does not come.
const FAILS: &str = "  { mine = 1 },\n  { expect = \"height\", is = 999, within = \"200 ms\" },";

/// Four scenarios below `all`: ids `all/a` (fast), `all/b` (fast, slow), `all/sub/c`, `all/sub/d` (slow).
fn four(sandbox: &Sandbox) {
    for (name, title, tags) in [
        ("a", "Alpha mines", "tags = [\"fast\"]"),
        ("b", "Beta mines", "tags = [\"fast\", \"slow\"]"),
        ("sub/c", "Gamma looks", ""),
        ("sub/d", "Delta looks", "tags = [\"slow\"]"),
    ] {
        sandbox.file(
            &format!("all/{name}.scenario.toml"),
            &scenario(title, tags, MINES),
        );
    }
}

/// The ids that `list` prints.
async fn listed(sandbox: &Sandbox, flags: &[&str]) -> Vec<String> {
    let args = [&["list", "all", "--json"], flags].concat();
    let done = sandbox.swaprig(&args).await.code(0);
    let list: Value = serde_json::from_str(&done.stdout).unwrap();
    let ids = list.as_array().unwrap().iter();
    ids.map(|entry| entry["id"].as_str().unwrap().to_owned())
        .collect()
}
