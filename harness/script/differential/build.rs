//! Finds Bitcoin Core's published test vectors in the package that carries its source.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told by its environment and asks cargo"
)]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=Cargo.lock");
    let cargo = std::env::var("CARGO").expect("cargo sets CARGO for build scripts");
    let target = std::env::var("TARGET").expect("cargo sets TARGET for build scripts");
    // Only what this build has fetched already: no packages of other platforms.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline"])
        .args(["--filter-platform", &target])
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|packages| {
            packages
                .iter()
                .find(|package| package["name"] == "libbitcoinkernel-sys")
        })
        .and_then(|package| package["manifest_path"].as_str())
        .expect("libbitcoinkernel-sys is a dependency");
    let data = Path::new(manifest)
        .with_file_name("bitcoin")
        .join("src/test/data");
    println!("cargo:rustc-env=CORE_TEST_DATA={}", data.display());
}
