//! The diagram in `docs/swap` is that of the machine. `UPDATE_GOLDEN=1 cargo test -p swaprig --lib swap::` writes it anew.

use std::path::Path;

use super::*;

#[expect(
    clippy::disallowed_methods,
    reason = "the switch of golden files is an environment variable"
)]
fn update_golden() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

#[test]
fn the_committed_diagram_is_that_of_the_machine() {
    let terms = Terms {
        prepay: Msat(1_000),
        ..terms()
    };
    let funding = funding(&terms);
    let with_prepay = mermaid(&swap(terms.clone()), &funding, Spend::Claim(PREIMAGE));
    let without = Terms {
        prepay: Msat(0),
        ..terms
    };
    let without = mermaid(&swap(without), &funding, Spend::Claim(PREIMAGE));
    let drawn = format!(
        "%% Drawn by src/swap/diagram.rs; UPDATE_GOLDEN=1 cargo test -p swaprig --lib swap::\n{}",
        merged(&with_prepay, &without)
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/swap/states.mmd");
    if update_golden() {
        std::fs::create_dir_all(path.parent().expect("docs/swap")).expect("a directory");
        std::fs::write(&path, &drawn).expect("written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed, drawn,
        "run it with UPDATE_GOLDEN=1 and read the difference"
    );
    for phase in [
        "AwaitingPrepay",
        "PaymentHeld",
        "Cancelling",
        "Refunding",
        "Refunded",
    ] {
        assert!(
            drawn.contains(&format!("{phase} --> ")),
            "{phase} leads nowhere"
        );
    }
}

/// A prepay is an option of the terms: both ways out of `Reserved` are drawn.
fn merged(with_prepay: &str, without: &str) -> String {
    let direct = without
        .lines()
        .find(|line| line.contains("Reserved --> Building"))
        .expect("the way without a prepay");
    with_prepay.replacen(
        "[*] --> Reserved\n",
        &format!("[*] --> Reserved\n{direct}\n"),
        1,
    )
}
