//! Each family of opcodes, by tables; what differs between the chains; and that nothing panics.

mod common;

use common::asm::parse_script;
use common::{Chain, Fixed, Lock};
use proptest::prelude::*;
use swaprig_script::ScriptError::*;
use swaprig_script::{Flags, ScriptError, verify};

/// Runs the first script, then the second on its stack, as a legacy spend.
fn legacy(chain: Chain, sig: &str, key: &str, flags: Flags) -> Result<(), ScriptError> {
    legacy_with(&Fixed::new(chain), sig, key, flags)
}

fn legacy_with(input: &Fixed, sig: &str, key: &str, flags: Flags) -> Result<(), ScriptError> {
    verify(&parse_script(sig), &parse_script(key), &[], flags, input)
}

/// Expects the same verdict on both chains.
fn check(table: &[(&str, &str, Result<(), ScriptError>)]) {
    for chain in Chain::ALL {
        for (sig, key, expected) in table {
            let flags = Flags::BITCOIN_CONSENSUS;
            let verdict = legacy(chain, sig, key, flags);
            assert_eq!(verdict, *expected, "{chain:?}: {sig} | {key}");
        }
    }
}

#[test]
fn pushes_and_truth() {
    check(&[
        ("", "", Err(EvalFalse)),
        ("0", "", Err(EvalFalse)),
        ("0x01 0x80", "", Err(EvalFalse)),
        ("0x02 0x0080", "", Err(EvalFalse)),
        ("0x02 0x8000", "", Ok(())),
        ("1", "", Ok(())),
        ("-1", "0x4f EQUAL", Ok(())),
        ("16", "0x60 EQUAL", Ok(())),
        ("0x4c 0x01 0x07", "7 EQUAL", Ok(())),
        ("0x4d 0x0100 0x07", "7 EQUAL", Ok(())),
        ("0x4e 0x01000000 0x07", "7 EQUAL", Ok(())),
        ("0x05 0x01", "", Err(BadOpcode)),
        ("0x4c", "", Err(BadOpcode)),
        ("1", "RESERVED", Err(BadOpcode)),
        ("1", "0 IF RESERVED ENDIF", Ok(())),
    ]);
}

#[test]
fn control() {
    check(&[
        ("1", "IF 1 ELSE 0 ENDIF", Ok(())),
        ("0", "IF 1 ELSE 0 ENDIF", Err(EvalFalse)),
        ("0", "NOTIF 1 ELSE 0 ENDIF", Ok(())),
        ("1", "IF 0 ELSE 1 ELSE 1 ENDIF", Ok(())),
        ("0 1", "IF IF 0 ELSE 1 ENDIF ENDIF", Ok(())),
        ("1 0", "IF IF 0 ELSE 0 ENDIF ENDIF", Ok(())),
        ("1", "IF 1", Err(UnbalancedConditional)),
        ("1", "ENDIF", Err(UnbalancedConditional)),
        ("1", "ELSE", Err(UnbalancedConditional)),
        ("1 IF", "1 ENDIF", Err(UnbalancedConditional)),
        ("1", "VERIFY 1", Ok(())),
        ("0", "VERIFY 1", Err(Verify)),
        ("", "VERIFY", Err(InvalidStackOperation)),
        ("1", "RETURN", Err(OpReturn)),
        ("1", "0 IF RETURN ENDIF", Ok(())),
        ("1", "VER", Err(BadOpcode)),
        ("1", "0 IF VER ENDIF", Ok(())),
        ("1", "0 IF VERIF ENDIF", Err(BadOpcode)),
        ("1", "0 IF VERNOTIF ENDIF", Err(BadOpcode)),
        ("1", "NOP NOP1 NOP4 NOP10", Ok(())),
        ("1", "0xbb", Err(BadOpcode)),
        ("1", "CHECKSIGADD", Err(BadOpcode)),
    ]);
}

#[test]
fn stack_operations() {
    check(&[
        (
            "1 2",
            "TOALTSTACK 1 EQUALVERIFY FROMALTSTACK 2 EQUAL",
            Ok(()),
        ),
        ("", "TOALTSTACK", Err(InvalidStackOperation)),
        ("1", "FROMALTSTACK", Err(InvalidAltstackOperation)),
        (
            "1 TOALTSTACK",
            "FROMALTSTACK",
            Err(InvalidAltstackOperation),
        ),
        ("1 2 3", "2DROP 1 EQUAL", Ok(())),
        (
            "1 2",
            "2DUP 2 EQUALVERIFY 1 EQUALVERIFY 2 EQUALVERIFY 1 EQUAL",
            Ok(()),
        ),
        (
            "1 2 3",
            "3DUP 3 EQUALVERIFY 2 EQUALVERIFY 1 EQUALVERIFY 3 EQUAL",
            Ok(()),
        ),
        (
            "1 2 3 4",
            "2OVER 2 EQUALVERIFY 1 EQUALVERIFY 4 EQUAL",
            Ok(()),
        ),
        (
            "1 2 3 4 5 6",
            "2ROT 2 EQUALVERIFY 1 EQUALVERIFY 6 EQUAL",
            Ok(()),
        ),
        (
            "1 2 3 4",
            "2SWAP 2 EQUALVERIFY 1 EQUALVERIFY 4 EQUAL",
            Ok(()),
        ),
        ("0", "IFDUP DEPTH 1 EQUAL", Ok(())),
        ("5", "IFDUP DEPTH 2 EQUAL", Ok(())),
        ("7", "DROP DEPTH NOT", Ok(())),
        ("7", "DUP EQUAL", Ok(())),
        ("1 2", "NIP DEPTH 1 EQUALVERIFY 2 EQUAL", Ok(())),
        ("1 2", "OVER 1 EQUALVERIFY 2 EQUAL", Ok(())),
        ("7 8 9", "2 PICK 7 EQUALVERIFY DEPTH 3 EQUAL", Ok(())),
        ("7 8 9", "2 ROLL 7 EQUALVERIFY DEPTH 2 EQUAL", Ok(())),
        ("7 8 9", "3 PICK", Err(InvalidStackOperation)),
        ("7 8 9", "-1 ROLL", Err(InvalidStackOperation)),
        ("1 2 3", "ROT 1 EQUALVERIFY 3 EQUALVERIFY 2 EQUAL", Ok(())),
        ("1 2", "SWAP 1 EQUALVERIFY 2 EQUAL", Ok(())),
        (
            "1 2",
            "TUCK DEPTH 3 EQUALVERIFY 2 EQUALVERIFY 1 EQUALVERIFY 2 EQUAL",
            Ok(()),
        ),
        ("0x02 0x0000", "SIZE 2 EQUAL", Ok(())),
        ("1", "SWAP", Err(InvalidStackOperation)),
        ("1 1", "EQUAL", Ok(())),
        ("1 2", "EQUALVERIFY", Err(EqualVerify)),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("1", "1ADD 2 NUMEQUAL", Ok(())),
        ("0", "1SUB -1 NUMEQUAL", Ok(())),
        ("5", "NEGATE ABS 5 NUMEQUAL", Ok(())),
        ("0", "NOT", Ok(())),
        ("2", "NOT", Err(EvalFalse)),
        ("2", "0NOTEQUAL 1 EQUAL", Ok(())),
        ("2147483647", "DUP ADD 0x05 0xfeffffff00 EQUAL", Ok(())),
        ("2 3", "SUB -1 NUMEQUAL", Ok(())),
        ("1 0", "BOOLAND", Err(EvalFalse)),
        ("1 0", "BOOLOR", Ok(())),
        ("1 2", "NUMEQUALVERIFY", Err(NumEqualVerify)),
        ("1 2", "NUMNOTEQUAL", Ok(())),
        ("1 2", "LESSTHAN", Ok(())),
        ("2 2", "LESSTHAN", Err(EvalFalse)),
        ("2 1", "GREATERTHAN", Ok(())),
        ("2 2", "LESSTHANOREQUAL", Ok(())),
        ("2 2", "GREATERTHANOREQUAL", Ok(())),
        ("-3 2", "MIN -3 NUMEQUAL", Ok(())),
        ("-3 2", "MAX 2 NUMEQUAL", Ok(())),
        ("1 1 2", "WITHIN", Ok(())),
        ("2 1 2", "WITHIN", Err(EvalFalse)),
        ("1 2", "WITHIN", Err(InvalidStackOperation)),
    ]);
    // The chains name this one differently.
    let number = |chain| legacy(chain, "2147483648", "1ADD", Flags::NONE);
    assert_eq!(number(Chain::Bitcoin), Err(ScriptNum));
    assert_eq!(number(Chain::Elements), Err(UnknownError));
}

#[test]
fn hashes() {
    check(&[
        (
            "0",
            "RIPEMD160 0x14 0x9c1185a5c5e9fc54612808977ee8f548b2258d31 EQUAL",
            Ok(()),
        ),
        (
            "0",
            "SHA1 0x14 0xda39a3ee5e6b4b0d3255bfef95601890afd80709 EQUAL",
            Ok(()),
        ),
        (
            "0",
            "SHA256 0x20 0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 EQUAL",
            Ok(()),
        ),
        (
            "0",
            "HASH160 0x14 0xb472a266d0bd89c13706a4132ccfb16f7c3b9fcb EQUALVERIFY 1",
            Ok(()),
        ),
        (
            "0",
            "HASH256 0x20 0x5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456 EQUAL",
            Ok(()),
        ),
    ]);
}

#[test]
fn locks() {
    // nLockTime 100, nSequence 10, version 2.
    check(&[
        ("100", "CHECKLOCKTIMEVERIFY", Ok(())),
        ("101", "CHECKLOCKTIMEVERIFY", Err(UnsatisfiedLocktime)),
        ("-1", "CHECKLOCKTIMEVERIFY", Err(NegativeLocktime)),
        ("500000000", "CHECKLOCKTIMEVERIFY", Err(UnsatisfiedLocktime)),
        ("", "CHECKLOCKTIMEVERIFY", Err(InvalidStackOperation)),
        ("10", "CHECKSEQUENCEVERIFY", Ok(())),
        ("11", "CHECKSEQUENCEVERIFY", Err(UnsatisfiedLocktime)),
        ("4194304", "CHECKSEQUENCEVERIFY", Err(UnsatisfiedLocktime)),
        ("65546", "CHECKSEQUENCEVERIFY", Ok(())),
        ("2147483648", "CHECKSEQUENCEVERIFY", Ok(())),
        ("-1", "CHECKSEQUENCEVERIFY", Err(NegativeLocktime)),
    ]);
    let with = |version, sequence, lock: &str| {
        let input = Fixed {
            version,
            lock: Lock {
                lock_time: 100,
                sequence,
            },
            ..Fixed::new(Chain::Bitcoin)
        };
        legacy_with(&input, "5", lock, Flags::BITCOIN_CONSENSUS)
    };
    let csv = "CHECKSEQUENCEVERIFY";
    assert_eq!(with(2, 5, csv), Ok(()));
    assert_eq!(with(1, 5, csv), Err(UnsatisfiedLocktime));
    assert_eq!(with(u32::MAX, 5, csv), Ok(()));
    assert_eq!(with(2, (1 << 31) | 5, csv), Err(UnsatisfiedLocktime));
    assert_eq!(with(2, (1 << 22) | 5, csv), Err(UnsatisfiedLocktime));
    let cltv = "CHECKLOCKTIMEVERIFY";
    assert_eq!(with(2, 5, cltv), Ok(()));
    assert_eq!(with(2, u32::MAX, cltv), Err(UnsatisfiedLocktime));
    // Without their flags both are NOPs.
    let nop = |key| legacy(Chain::Elements, "1000", key, Flags::NONE);
    assert_eq!(nop(csv), Ok(()));
    assert_eq!(nop(cltv), Ok(()));
}

#[test]
fn signature_checks_without_a_signature() {
    check(&[
        ("0 0", "CHECKSIG NOT", Ok(())),
        ("0 0", "CHECKSIGVERIFY", Err(CheckSigVerify)),
        ("0", "CHECKSIG", Err(InvalidStackOperation)),
        ("1 0", "CHECKSIG", Err(SigDer)),
        ("0 0 0", "CHECKMULTISIG", Ok(())),
        ("0 0 0 1", "CHECKMULTISIG", Ok(())),
        ("0 0 1 0 1", "CHECKMULTISIG NOT", Ok(())),
        ("1 0 0", "CHECKMULTISIG", Err(SigNullDummy)),
        ("0 2 0 1", "CHECKMULTISIG", Err(SigCount)),
        ("0 0 21", "CHECKMULTISIG", Err(PubkeyCount)),
        ("0 -1 0 1", "CHECKMULTISIG", Err(SigCount)),
        ("0 0", "CHECKMULTISIG", Err(InvalidStackOperation)),
        // The extra element is missed before the signature, which is no DER, is looked at.
        ("1 1 0 1", "CHECKMULTISIG", Err(InvalidStackOperation)),
        ("0 1 1 0 1", "CHECKMULTISIG", Err(SigDer)),
    ]);
}

#[test]
fn limits() {
    for chain in Chain::ALL {
        let run = |script: Vec<u8>| verify(&[], &script, &[], Flags::NONE, &Fixed::new(chain));
        let ops = |n| run([vec![0x61; n], vec![0x51]].concat());
        assert_eq!(ops(201), Ok(()));
        assert_eq!(ops(202), Err(OpCount));
        let element = |n: u16| run([&[0x4d][..], &n.to_le_bytes(), &vec![1; n.into()]].concat());
        assert_eq!(element(520), Ok(()));
        assert_eq!(element(521), Err(PushSize));
        assert_eq!(run(vec![0x51; 1_000]), Ok(()));
        assert_eq!(run(vec![0x51; 1_001]), Err(StackSize));
        assert_eq!(
            run([vec![0x51, 0x6b], vec![0x51; 1_000]].concat()),
            Err(StackSize)
        );
        assert_eq!(
            run([[0x51, 0x75].repeat(100), vec![0x51; 9_801]].concat()),
            Err(ScriptSize)
        );
    }
}

#[test]
fn policy() {
    let table = [
        ("0x4c 0x01 0x07", "7 EQUAL", Err(MinimalData)),
        ("0x01 0x07", "7 EQUAL", Err(MinimalData)),
        ("1", "1", Err(CleanStack)),
        ("1", "NOP1", Err(DiscourageUpgradableNops)),
        ("1", "CODESEPARATOR", Err(OpCodeSeparator)),
        ("0 0", "CHECKSIG NOT", Err(PubkeyType)),
    ];
    for (sig, key, expected) in table {
        assert_eq!(
            legacy(Chain::Bitcoin, sig, key, Flags::BITCOIN_STANDARD),
            expected
        );
        assert_eq!(
            legacy(Chain::Elements, sig, key, Flags::ELEMENTS_STANDARD),
            expected
        );
    }
}

/// Opcodes that Bitcoin disabled and Elements brought back, and its own ones: an error of their own where they are reached.
#[test]
fn elements_opcodes_are_never_accepted() {
    let revived = [
        "CAT", "SUBSTR", "LEFT", "RIGHT", "INVERT", "AND", "OR", "XOR", "LSHIFT", "RSHIFT",
    ];
    for (op, name) in [0x7e, 0x7f, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x98, 0x99]
        .into_iter()
        .zip(revived)
    {
        let executed = [0x51, 0x51, 0x51, op];
        let skipped = [0x00, 0x63, op, 0x68, 0x51];
        let run = |chain, script: &[u8]| verify(&[], script, &[], Flags::NONE, &Fixed::new(chain));
        assert_eq!(
            run(Chain::Bitcoin, &executed),
            Err(DisabledOpcode),
            "{name}"
        );
        assert_eq!(run(Chain::Bitcoin, &skipped), Err(DisabledOpcode), "{name}");
        let error = run(Chain::Elements, &executed).expect_err(name);
        assert_eq!(
            error.to_string(),
            format!("not known to this interpreter: OP_{name}")
        );
        assert_eq!(run(Chain::Elements, &skipped), Ok(()), "{name}");
    }
    for op in [0x8d, 0x8e, 0x95, 0x96, 0x97] {
        for chain in Chain::ALL {
            let verdict = verify(&[], &[0x51, op], &[], Flags::NONE, &Fixed::new(chain));
            assert_eq!(verdict, Err(DisabledOpcode), "{op:#x}");
        }
    }
}

/// All 256 opcodes as a tapscript of their own: which succeed by themselves, which this interpreter does not know.
#[test]
fn op_success_sets() {
    for op in 0x4f..=0xffu8 {
        // BIP342's list.
        let bitcoin = matches!(op, 80 | 98 | 126..=129 | 131..=134 | 137..=138 | 141..=142 | 149..=153 | 187..=254);
        // Elements took out the opcodes it gave a meaning to.
        let elements =
            matches!(op, 80 | 98 | 137..=138 | 141..=142 | 149..=151 | 187..=191 | 229..=254);
        let known_to_elements = !elements && bitcoin;
        for (chain, leaf, success) in [
            (Chain::Bitcoin, 0xc0, bitcoin),
            (Chain::Elements, 0xc4, elements),
        ] {
            let run = |flags| common::verify_leaf(chain, leaf, &[0x51, 0x51, 0x51, op], &[], flags);
            let consensus = run(Flags::ELEMENTS_CONSENSUS);
            if success {
                assert_eq!(consensus, Ok(()), "{chain:?} {op:#x}");
                assert_eq!(
                    run(chain.standard()),
                    Err(DiscourageOpSuccess),
                    "{chain:?} {op:#x}"
                );
            } else if chain == Chain::Elements && known_to_elements {
                assert!(
                    matches!(consensus, Err(NotKnown(_))),
                    "{op:#x}: {consensus:?}"
                );
            } else {
                assert!(
                    !matches!(consensus, Err(NotKnown(_))),
                    "{op:#x}: {consensus:?}"
                );
            }
        }
    }
}

#[test]
fn leaf_versions() {
    let run = |chain, version, flags| common::verify_leaf(chain, version, &[0x00], &[], flags);
    let consensus = Flags::ELEMENTS_CONSENSUS;
    // The script fails where it is run.
    assert_eq!(run(Chain::Bitcoin, 0xc0, consensus), Err(EvalFalse));
    assert_eq!(run(Chain::Elements, 0xc4, consensus), Err(EvalFalse));
    // Elsewhere any script will do, except where policy or a version without an implementation says no.
    for (chain, version) in [
        (Chain::Bitcoin, 0xc4),
        (Chain::Elements, 0xc0),
        (Chain::Bitcoin, 0xbe),
    ] {
        assert_eq!(run(chain, version, consensus), Ok(()));
        assert_eq!(
            run(chain, version, chain.standard()),
            Err(DiscourageUpgradableTaprootVersion)
        );
    }
    for flags in [
        consensus,
        consensus - Flags::SIMPLICITY,
        Flags::ELEMENTS_STANDARD,
    ] {
        assert_eq!(
            run(Chain::Elements, 0xbe, flags),
            Err(NotKnown("Simplicity leaf 0xbe"))
        );
    }
}

#[test]
fn flags_that_core_never_sees() {
    for flags in [Flags::WITNESS, Flags::CLEANSTACK | Flags::P2SH] {
        let verdict = verify(&[0x51], &[], &[], flags, &Fixed::new(Chain::Bitcoin));
        assert_eq!(verdict, Err(ScriptError::Flags));
    }
    assert_eq!(
        format!("{:?}", Flags::P2SH | Flags::DERSIG),
        "Flags(P2SH|DERSIG)"
    );
    assert_eq!(Flags::from_name("LOW_S"), Some(Flags::LOW_S));
}

/// Bytes that are often opcodes, and often pushes of the right length.
fn script() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (0x4fu8..=0xba).prop_map(|op| vec![op]),
        any::<u8>().prop_map(|op| vec![op]),
        prop::collection::vec(any::<u8>(), 0..75).prop_map(|data| common::push(&data)),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_input_panics(
        sig in script(),
        key in script(),
        mut witness in prop::collection::vec(script(), 0..5),
        bits in any::<u32>(),
        elements in any::<bool>(),
        kind in 0..5u8,
    ) {
        let chain = if elements { Chain::Elements } else { Chain::Bitcoin };
        let flags = Flags::from_bits(bits) | Flags::P2SH | Flags::WITNESS;
        if kind == 4 {
            let version = chain_leaf(chain);
            let _ = common::verify_leaf(chain, version, &sig[..sig.len().min(255)], &witness, flags);
            return Ok(());
        }
        // Make some of them witness programs or script hashes that match.
        let output = match kind {
            0 => key,
            1 => {
                let hash = <bitcoin::hashes::sha256::Hash as bitcoin::hashes::Hash>::hash(&key);
                witness.push(key);
                [&[0, 32], &hash[..]].concat()
            }
            2 => [vec![0x51, 32], vec![7; 32]].concat(),
            _ => {
                let hash = <bitcoin::hashes::hash160::Hash as bitcoin::hashes::Hash>::hash(&key);
                [&[0xa9, 20], &hash[..], &[0x87]].concat()
            }
        };
        let sig = if kind == 1 || kind == 2 { Vec::new() } else { sig };
        let _ = verify(&sig, &output, &witness, flags, &Fixed::new(chain));
    }
}

fn chain_leaf(chain: Chain) -> u8 {
    match chain {
        Chain::Bitcoin => 0xc0,
        Chain::Elements => 0xc4,
    }
}
