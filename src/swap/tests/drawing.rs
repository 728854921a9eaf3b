//! The diagrams in `docs/swap` are those of the machine. `UPDATE_GOLDEN=1 cargo test -p swaprig --lib swap::` writes them anew.

use std::path::Path;

use super::*;

#[expect(
    clippy::disallowed_methods,
    reason = "the switch of golden files is an environment variable"
)]
fn update_golden() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// Holds `docs/swap/states-NAME.mmd` to what the machine does with `starts`; each of `phases` leads somewhere.
fn is_drawn(name: &str, starts: &[Swap], phases: &[&str]) {
    let funding = funding(&starts[0].terms);
    let drawn = format!(
        "%% Drawn by src/swap/diagram; UPDATE_GOLDEN=1 cargo test -p swaprig --lib swap::\n{}",
        mermaid(starts, &funding, PREIMAGE)
    );
    let path = format!("docs/swap/states-{name}.mmd");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if update_golden() {
        std::fs::create_dir_all(path.parent().expect("docs/swap")).expect("a directory");
        std::fs::write(&path, &drawn).expect("written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed, drawn,
        "run it with UPDATE_GOLDEN=1 and read the difference"
    );
    for phase in phases {
        assert!(
            drawn.contains(&format!("{phase} --> ")),
            "{phase} leads nowhere"
        );
    }
}

#[test]
fn the_committed_diagram_of_out_is_that_of_the_machine() {
    let with_prepay = Terms {
        prepay: Msat(1_000),
        ..terms()
    };
    let starts = [
        swap(with_prepay),
        swap(terms()),
        swap(loop_terms(Direction::Out)),
    ];
    let phases = [
        "AwaitingPrepay",
        "PaymentHeld",
        "Cancelling",
        "Refunding",
        "Refunded",
    ];
    is_drawn("out", &starts, &phases);
}

#[test]
fn the_committed_diagram_of_out_held_is_that_of_the_machine() {
    let starts = [swap(loop_terms(Direction::OutHeld))];
    let phases = [
        "AwaitingPayment",
        "PaymentHeld",
        "Cancelling",
        "Refunding",
        "Refunded",
    ];
    is_drawn("out-held", &starts, &phases);
}

#[test]
fn the_committed_diagram_of_in_is_that_of_the_machine() {
    let phases = ["AwaitingFunding", "Paying", "Paid", "Cancelling", "Claimed"];
    is_drawn("in", &[loop_in()], &phases);
}
