//! The HTLC's script, its outputs, the tag, and the keys.

use elements::script::Builder;
use elements::{AddressParams, LockTime, OutPoint, Script, Transaction, TxIn, TxInWitness, TxOut};
use proptest::prelude::*;

use super::*;

fn any_htlc() -> impl Strategy<Value = Htlc> {
    let key = |byte: u8| public(byte.clamp(1, 250));
    (
        any::<[u8; 32]>(),
        any::<u8>(),
        any::<u8>(),
        1..500_000_000_u32,
    )
        .prop_map(move |(hash, claimer, refunder, timeout)| Htlc {
            payment_hash: swaprig_units::PaymentHash(hash),
            claimer: key(claimer),
            refunder: key(refunder),
            timeout: Height(timeout),
        })
}

proptest! {
    #[test]
    fn what_is_built_is_parsed(htlc in any_htlc()) {
        prop_assert_eq!(Htlc::parse(&htlc.witness_script()), Ok(htlc));
    }

    #[test]
    fn no_script_panics(bytes in proptest::collection::vec(any::<u8>(), 0..130)) {
        let _ = Htlc::parse(&Script::from(bytes));
    }

    #[test]
    fn a_tag_is_read_back(index: u32, timeout: u32, claimer in 1..250_u8) {
        let terms = Terms { timeout: Height(timeout), claimer: public(claimer), ..terms() };
        let expected = Tag { index, timeout: Height(timeout), claimer: public(claimer), payment_hash: None };
        prop_assert_eq!(read_tag(&tag(index, &terms)), Some(expected));
        let expected = Tag { payment_hash: Some(terms.payment_hash), ..expected };
        let terms = Terms { chain: ChainName::Bitcoin, ..terms };
        let output = tag_of(index, &terms).bitcoin_output();
        prop_assert_eq!(Tag::read(output.script_pubkey.as_bytes()), Some(expected));
        prop_assert!(output.script_pubkey.len() <= 83, "relayed by everybody");
    }
}

#[test]
fn timeouts_of_every_length_are_parsed_and_others_refused() {
    for timeout in [
        1,
        16,
        17,
        127,
        128,
        255,
        256,
        32_767,
        32_768,
        8_388_607,
        8_388_608,
        499_999_999,
    ] {
        let htlc = Htlc {
            timeout: Height(timeout),
            ..Htlc::of(&terms())
        };
        assert_eq!(Htlc::parse(&htlc.witness_script()), Ok(htlc), "{timeout}");
    }
    for timeout in [500_000_000, u32::MAX] {
        let htlc = Htlc {
            timeout: Height(timeout),
            ..Htlc::of(&terms())
        };
        assert_eq!(
            Htlc::parse(&htlc.witness_script()),
            Err(ParseError::Timeout),
            "{timeout}"
        );
    }
    let zero = Htlc {
        timeout: Height(0),
        ..Htlc::of(&terms())
    };
    assert!(Htlc::parse(&zero.witness_script()).is_err());
    let size = Htlc {
        timeout: Height(1_000_000),
        ..Htlc::of(&terms())
    };
    assert_eq!(size.witness_script().len(), 117);
}

/// The bytes written out, so that the builder is not its own judge.
#[test]
fn the_script_is_the_one_that_is_documented() {
    let htlc = Htlc {
        timeout: Height(0x12_3456),
        ..Htlc::of(&terms())
    };
    let mut bytes = vec![0x63, 0x82, 0x01, 0x20, 0x88, 0xa8, 0x20];
    bytes.extend_from_slice(&PREIMAGE.payment_hash().0);
    bytes.extend_from_slice(&[0x88, 0x21]);
    bytes.extend_from_slice(&public(1).serialize());
    bytes.extend_from_slice(&[0x67, 0x03, 0x56, 0x34, 0x12, 0xb1, 0x75, 0x21]);
    bytes.extend_from_slice(&public(2).serialize());
    bytes.extend_from_slice(&[0x68, 0xac]);
    assert_eq!(htlc.witness_script().as_bytes(), bytes);
    let address = htlc.address(&AddressParams::ELEMENTS);
    assert_eq!(address.script_pubkey(), htlc.script_pubkey());
    assert!(!address.is_blinded());
}

#[test]
fn every_other_byte_makes_another_htlc_or_none() {
    for timeout in [9, 3_000, 1_000_000] {
        let htlc = Htlc {
            timeout: Height(timeout),
            ..Htlc::of(&terms())
        };
        let script = htlc.witness_script().to_bytes();
        let mut parsed = 0;
        for at in 0..script.len() {
            for byte in 0..=u8::MAX {
                let mut mutant = script.clone();
                mutant[at] = byte;
                let same = mutant == script;
                let found = Htlc::parse(&Script::from(mutant.clone()));
                assert_eq!(found == Ok(htlc), same, "byte {at} as {byte:#x}");
                // What is parsed is what is built, to the byte.
                if let Ok(other) = found {
                    parsed += 1;
                    assert_eq!(other.witness_script().as_bytes(), mutant);
                }
            }
        }
        // All of the hash, some timeouts, and the keys that are on the curve.
        assert!(parsed > 32 * 255, "{parsed}");
    }
}

#[test]
fn longer_pushes_and_trailing_bytes_are_refused() {
    let script = Htlc::of(&terms()).witness_script().to_bytes();
    let trailing = |byte: u8| [script.as_slice(), &[byte]].concat();
    for byte in 0..=u8::MAX {
        assert!(
            Htlc::parse(&Script::from(trailing(byte))).is_err(),
            "{byte}"
        );
    }
    for end in 0..script.len() {
        assert!(
            Htlc::parse(&Script::from(script[..end].to_vec())).is_err(),
            "{end}"
        );
    }
    // The hash by OP_PUSHDATA1; the timeout with a zero byte too many.
    let long_push = [&script[..6], &[0x4c], &script[6..]].concat();
    assert!(Htlc::parse(&Script::from(long_push)).is_err());
    let at = script
        .iter()
        .rposition(|byte| *byte == 0xb1)
        .expect("OP_CLTV");
    let padded = [
        &script[..at - 3],
        &[3],
        &script[at - 2..at],
        &[0],
        &script[at..],
    ]
    .concat();
    assert_eq!(script[at - 3], 2);
    assert!(Htlc::parse(&Script::from(padded)).is_err());
}

fn funding_tx(terms: &Terms) -> (Transaction, FundingTx) {
    let mut output = vec![tag_output(3, terms, lbtc())];
    output.extend(expected_outputs(terms, lbtc()));
    output.push(TxOut::new_fee(50, lbtc()));
    let tx = Transaction {
        version: 2,
        lock_time: LockTime::ZERO,
        input: vec![TxIn::default()],
        output,
    };
    let funding = FundingTx {
        txid: neutral_txid(tx.txid()),
        vout: 1,
        fee_vout: (terms.fee_value.0 != 0).then_some(2),
        raw: String::new(),
    };
    (tx, funding)
}

#[test]
fn a_funding_is_exactly_what_was_agreed() {
    let bitcoin = terms();
    let asset = Terms {
        asset: gold().into(),
        fee_value: Sat(500),
        ..terms()
    };
    for terms in [&bitcoin, &asset] {
        let (tx, funding) = funding_tx(terms);
        let check =
            |tx: &Transaction, funding: &FundingTx| matches_funding(terms, lbtc(), tx, funding);
        assert_eq!(check(&tx, &funding), Ok(()));
        assert_eq!(
            check(
                &tx,
                &FundingTx {
                    txid: txid(9),
                    ..funding.clone()
                }
            ),
            Err(FundingMismatch::Txid)
        );
        assert_eq!(
            check(
                &tx,
                &FundingTx {
                    vout: 99,
                    ..funding.clone()
                }
            ),
            Err(FundingMismatch::NoOutput(99))
        );
        assert_eq!(
            check(
                &tx,
                &FundingTx {
                    vout: 0,
                    ..funding.clone()
                }
            ),
            Err(FundingMismatch::Output(0))
        );
        let other = match funding.fee_vout {
            Some(_) => None,
            None => Some(0),
        };
        assert_eq!(
            check(
                &tx,
                &FundingTx {
                    fee_vout: other,
                    ..funding.clone()
                }
            ),
            Err(FundingMismatch::FeeOutput)
        );
        for value in [terms.amount.0 - 1, terms.amount.0 + 1] {
            let mut wrong = tx.clone();
            wrong.output[1].value = elements::confidential::Value::Explicit(value);
            let named = FundingTx {
                txid: neutral_txid(wrong.txid()),
                ..funding.clone()
            };
            assert_eq!(check(&wrong, &named), Err(FundingMismatch::Output(1)));
        }
        let mut stray = tx.clone();
        stray.output.push(expected_outputs(terms, lbtc()).remove(0));
        let at = stray.output.len() as u32 - 1;
        let named = FundingTx {
            txid: neutral_txid(stray.txid()),
            ..funding.clone()
        };
        assert_eq!(check(&stray, &named), Err(FundingMismatch::Stray(at)));
    }
}

#[test]
fn a_spend_is_known_by_its_witness() {
    let htlc = Htlc::of(&terms());
    let script = htlc.witness_script().into_bytes();
    let outpoint = OutPoint::new(liquid_txid(txid(1)), 4);
    let spend = |stack: &[&[u8]]| {
        let witness = TxInWitness {
            script_witness: elements::Witness::from_slice(stack),
            ..TxInWitness::empty()
        };
        let input = TxIn {
            previous_output: outpoint,
            witness,
            ..TxIn::default()
        };
        let tx = Transaction {
            version: 2,
            lock_time: LockTime::ZERO,
            input: vec![TxIn::default(), input],
            output: Vec::new(),
        };
        classify(&htlc, &tx, outpoint)
    };
    let (sig, wrong) = ([0x30; 71], [8; 32]);
    let claim = Some(Spend::Claim(PREIMAGE));
    let cases: &[(&[&[u8]], Option<Spend>)] = &[
        (&[&sig, &PREIMAGE.0, &[1], &script], claim),
        (&[&sig, &PREIMAGE.0, &[2], &script], claim),
        (&[&sig, &[], &script], Some(Spend::Refund)),
        (&[&sig, &[0x80], &script], Some(Spend::Refund)),
        (&[&sig, &wrong, &[1], &script], None),
        (&[&sig, &PREIMAGE.0[..31], &[1], &script], None),
        (&[&sig, &PREIMAGE.0, &[], &script], None),
        (&[&sig, &[1], &script], None),
        (&[&sig, &[1], &PREIMAGE.0, &[1], &script], None),
        (&[&sig, &[], &[0x51]], None),
        (&[], None),
    ];
    for (stack, expected) in cases {
        assert_eq!(spend(stack), *expected, "{stack:?}");
    }
}

#[test]
fn only_a_tag_is_read_as_one() {
    let tag = tag(3, &terms());
    assert_eq!(tag.len(), 47);
    let bytes = tag.to_bytes();
    for end in 0..bytes.len() {
        assert_eq!(read_tag(&Script::from(bytes[..end].to_vec())), None);
    }
    let trailing = [bytes.as_slice(), &[0]].concat();
    assert_eq!(read_tag(&Script::from(trailing)), None);
    for (at, byte) in [(0, 0x6b), (1, 0x2c), (2, b'S'), (5, b'2'), (14, 4)] {
        let mut wrong = bytes.clone();
        wrong[at] = byte;
        assert_eq!(read_tag(&Script::from(wrong)), None, "{at}");
    }
    let empty = Builder::new().into_script();
    assert_eq!(read_tag(&empty), None);
}

const MNEMONIC: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// The vectors never change: coins are locked to them.
#[test]
fn keys_follow_from_the_seed() {
    let signer =
        lwk_signer::SwSigner::new_with_network(MNEMONIC, lwk_common::Network::default_regtest())
            .expect("a mnemonic");
    let seed = SwapSeed::from_signer(&signer).expect("a seed");
    let keys = seed.keys(0).expect("keys");
    assert_eq!(format!("{seed:?}"), "SwapSeed(secret)");
    let shown = format!("{keys:?}");
    assert!(!shown.contains(&keys.preimage.to_string()), "{shown}");
    assert!(
        !shown.contains(&keys.key.display_secret().to_string()),
        "{shown}"
    );
    let vector = |index: u32| {
        let keys = seed.keys(index).expect("keys");
        (
            keys.preimage.payment_hash().to_string(),
            keys.public().to_string(),
        )
    };
    let same = SwapSeed::from_seed(&signer.seed().expect("from a mnemonic"), false);
    assert_eq!(
        same.expect("a seed").keys(70_000).expect("keys"),
        seed.keys(70_000).expect("keys")
    );
    let liquid =
        SwapSeed::from_seed(&signer.seed().expect("from a mnemonic"), true).expect("a seed");
    assert_ne!(liquid.keys(0).expect("keys"), keys);
    let mut seen = std::collections::HashSet::new();
    for index in [0, 1, 2, 65_535, 65_536, 65_537, 131_072, u32::MAX] {
        let (hash, refunder) = vector(index);
        assert!(seen.insert(hash) && seen.insert(refunder), "{index}");
    }
    let expected = (
        "77a0cc56aea5d3d3fadd469a12ab50a7188dea70fc6a9ed8e3183461c5c0f833".to_owned(),
        "026b9b5dcf271b07cdb88d7fdd8e8661bf0eda8b8976426202674c70ff9c63f63c".to_owned(),
    );
    assert_eq!(vector(0), expected);
    let expected = (
        "b88d50c7b9336ea8d587b835aedaba19b195da265c9f9bfae10f8dce613ecc9e".to_owned(),
        "0230a43875c3d40a9e1bae0ef156371791befc7f1d7e7d14f6542bac799d3d94e9".to_owned(),
    );
    assert_eq!(vector(65_537), expected);
}

#[test]
fn a_swap_is_named_after_its_hash() {
    let of = |byte: u8| SwapId::of(Preimage([byte; 32]).payment_hash());
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    let name = of(1).0;
    assert_eq!(name.get_version_num(), 8);
    assert_eq!(name.get_variant(), uuid::Variant::RFC4122);
}
