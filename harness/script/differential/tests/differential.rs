//! The two interpreters agree; and if one opcode were wrong, the comparison would notice.

#![expect(
    clippy::disallowed_methods,
    reason = "the comparison is a short program without children; the harness is not a dependency here"
)]

use std::process::{Command, Output};

use swaprig_script_differential::generate;

fn differential(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_swaprig-script-differential"))
        .args(arguments)
        .output()
        .expect("the comparison runs")
}

#[test]
fn both_interpreters_agree() {
    let output = differential(&["--cases", "20000", "--seed", "1"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.ends_with("\n0 disagreements\n"), "{text}");
}

/// A planted bug in one opcode of each family fails the run, in a process of its own.
#[test]
fn a_broken_opcode_is_found() {
    let opcodes = [
        ("OP_IF", "0x63"),
        ("OP_VERIFY", "0x69"),
        ("OP_PICK", "0x79"),
        ("OP_SIZE", "0x82"),
        ("OP_EQUAL", "0x87"),
        ("OP_1ADD", "0x8b"),
        ("OP_WITHIN", "0xa5"),
        ("OP_SHA256", "0xa8"),
        ("OP_CHECKSIG", "0xac"),
        ("OP_CHECKMULTISIG", "0xae"),
        ("OP_CHECKLOCKTIMEVERIFY", "0xb1"),
        ("OP_CHECKSEQUENCEVERIFY", "0xb2"),
        ("OP_CHECKSIGADD", "0xba"),
    ];
    for (name, opcode) in opcodes {
        let output = differential(&["--cases", "20000", "--seed", "1", "--break", opcode]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name} broken: {text}");
        assert!(text.contains("DISAGREEMENT"), "{name} broken: {text}");
    }
}

#[test]
fn a_seed_gives_the_same_case() {
    for seed in 0..200 {
        let describe = || generate::case(seed).describe();
        assert_eq!(describe(), describe(), "seed {seed}");
    }
}
