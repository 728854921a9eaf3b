//! Claims, refunds and co-operative spends, judged by the script interpreter and a scale.

use super::*;
use bitcoin::absolute::LockTime;
use bitcoin::{Sequence, TxIn, Witness};

#[test]
fn sizes_are_those_that_are_documented_and_promised() {
    let keyed = locked(InternalKey::Musig2, &[100_000]);
    let cases = [(p2tr(), [155, 138, 111]), (p2wpkh(), [143, 126, 99])];
    for (to, sizes) in cases {
        let spends = [claimed, refunded, together].map(|spend| spend(&keyed, &to, RATE));
        for (tx, size) in spends.into_iter().zip(sizes) {
            let tx = tx.expect("a spend");
            assert_eq!(verdict(&tx, &keyed), Ok(()));
            println!("{} vB, {} WU", tx.vsize(), tx.weight());
            assert_eq!(tx.vsize(), size);
        }
    }
    // The same with the key that nobody has; and what is promised holds for every height of this century.
    for internal in both() {
        for timeout in [1, 200_000, 8_388_607] {
            let htlc = Htlc {
                timeout: Height(timeout),
                ..htlc()
            };
            let locked = Locked {
                taproot: Taproot::new(htlc, internal).expect("an output"),
                coins: vec![(outpoint(1), Sat(100_000))],
            };
            let claim = claimed(&locked, &p2tr(), RATE).expect("a claim");
            let refund = refunded(&locked, &p2tr(), RATE).expect("a refund");
            assert!(claim.vsize() <= 155, "{}", claim.vsize());
            assert!(refund.vsize() <= 138, "{}", refund.vsize());
        }
    }
}

/// What a further input adds, in quarters of a virtual byte.
#[test]
fn further_inputs_cost_what_is_documented() {
    let [one, two] = [&[50_000][..], &[50_000, 50_000]].map(|values| {
        let locked = locked(InternalKey::Musig2, values);
        [claimed, refunded, together].map(|spend| {
            let tx = spend(&locked, &p2tr(), RATE).expect("a spend");
            assert_eq!(verdict(&tx, &locked), Ok(()));
            tx.weight().to_wu()
        })
    });
    let added: Vec<u64> = one.iter().zip(two).map(|(one, two)| two - one).collect();
    assert_eq!(added, [403, 336, 230]);
}

#[test]
fn what_is_locked_arrives_whole_but_for_the_fee() {
    for (values, to) in [
        (&[100_000][..], p2tr()),
        (&[70_000, 20_000, 10_000], p2wpkh()),
    ] {
        let locked = locked(InternalKey::Musig2, values);
        for spend in [claimed, refunded, together] {
            let tx = spend(&locked, &to, FeeRate(2_345)).expect("a spend");
            assert_eq!(verdict(&tx, &locked), Ok(()));
            let [output] = tx.output.as_slice() else {
                panic!("{} outputs", tx.output.len());
            };
            assert_eq!(output.script_pubkey, to);
            let fee = 100_000 - output.value.to_sat();
            assert_eq!(Sat(fee), FeeRate(2_345).fee(tx.vsize()));
        }
    }
}

#[test]
fn spends_are_classified_and_timed() {
    let locked = locked(InternalKey::Musig2, &[40_000, 50_000]);
    let [claim, refund, together] =
        [claimed, refunded, together].map(|spend| spend(&locked, &p2tr(), RATE).expect("a spend"));
    for (outpoint, _) in &locked.coins {
        let of = |tx: &Transaction| classify(&locked.taproot, tx, *outpoint);
        assert_eq!(of(&claim), Some(Spend::Claim(PREIMAGE)));
        assert_eq!(of(&refund), Some(Spend::Refund));
        assert_eq!(of(&together), Some(Spend::Cooperative));
    }
    assert_eq!(classify(&locked.taproot, &claim, outpoint(9)), None);
    for (tx, lock_time) in [(&claim, 0), (&refund, 1_000_000), (&together, 0)] {
        assert_eq!(tx.lock_time.to_consensus_u32(), lock_time);
        assert!(tx.is_explicitly_rbf());
        let sequences = tx.input.iter().map(|input| input.sequence);
        assert!(sequences.eq([Sequence(0xffff_fffd); 2]));
    }
}

#[test]
fn a_spend_is_known_by_its_witness() {
    let taproot = taproot(InternalKey::Musig2);
    let info = taproot.spend_info();
    let claim_leaf = info.claim_leaf.as_bytes();
    let timeout_leaf = info.timeout_leaf.as_bytes();
    let claim_proof = info.claim_control.serialize();
    let timeout_proof = info.timeout_control.serialize();
    let spend = |stack: &[&[u8]]| {
        let input = TxIn {
            previous_output: outpoint(1),
            witness: Witness::from_slice(stack),
            ..TxIn::default()
        };
        let tx = Transaction {
            version: bitcoin::transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn::default(), input],
            output: Vec::new(),
        };
        classify(&taproot, &tx, outpoint(1))
    };
    let (sig, annex, wrong) = ([3; 64], [0x50, 1, 2], [8; 32]);
    let claim = Some(Spend::Claim(PREIMAGE));
    let cases: &[(&[&[u8]], Option<Spend>)] = &[
        (&[&sig], Some(Spend::Cooperative)),
        (&[&sig, &annex], Some(Spend::Cooperative)),
        (&[&sig, &PREIMAGE.0, claim_leaf, &claim_proof], claim),
        (
            &[&sig, &PREIMAGE.0, claim_leaf, &claim_proof, &annex],
            claim,
        ),
        (&[&sig, timeout_leaf, &timeout_proof], Some(Spend::Refund)),
        (
            &[&sig, timeout_leaf, &timeout_proof, &annex],
            Some(Spend::Refund),
        ),
        (&[&sig, &wrong, claim_leaf, &claim_proof], None),
        (&[&sig, &PREIMAGE.0[..31], claim_leaf, &claim_proof], None),
        (&[&sig, &PREIMAGE.0, claim_leaf, &timeout_proof], None),
        (&[&sig, &PREIMAGE.0, timeout_leaf, &timeout_proof], None),
        (&[&sig, claim_leaf, &claim_proof], None),
        (&[&sig, &[], timeout_leaf, &timeout_proof], None),
        (&[&sig, &[0x51], &timeout_proof], None),
        (&[timeout_leaf, &timeout_proof], None),
        (&[&sig, &sig], None),
        (&[], None),
    ];
    for (stack, expected) in cases {
        assert_eq!(spend(stack), *expected, "{stack:?}");
    }
}

#[test]
fn a_wrong_key_a_wrong_preimage_or_an_early_refund_spends_nothing() {
    let locked = locked(InternalKey::Musig2, &[100_000]);
    let to = p2tr();
    let wrong = claim(&locked, &PREIMAGE, &secret(REFUNDER), &to, RATE, &mut rng());
    assert!(matches!(wrong, Err(SpendError::Key("claimer"))));
    let preimage = Preimage([8; 32]);
    let wrong = claim(&locked, &preimage, &secret(CLAIMER), &to, RATE, &mut rng());
    assert!(matches!(wrong, Err(SpendError::Preimage)));
    let wrong = refund(&locked, &secret(CLAIMER), &to, RATE, &mut rng());
    assert!(matches!(wrong, Err(SpendError::Key("refunder"))));
    // The interpreter itself refuses what the functions would not make.
    let mut early = refunded(&locked, &to, RATE).expect("a refund");
    early.lock_time = LockTime::from_consensus(999_999);
    assert!(verdict(&early, &locked).is_err());
    let mut final_input = refunded(&locked, &to, RATE).expect("a refund");
    final_input.input[0].sequence = Sequence::MAX;
    assert!(verdict(&final_input, &locked).is_err());
    for spend in [claimed, refunded, together] {
        let mut elsewhere = spend(&locked, &to, RATE).expect("a spend");
        elsewhere.output[0].script_pubkey = p2wpkh();
        assert!(verdict(&elsewhere, &locked).is_err());
    }
}

#[test]
fn nobody_signs_for_the_key_that_nobody_has() {
    let locked = locked(InternalKey::Unspendable { r: R }, &[100_000]);
    assert!(locked.taproot.signers().is_none());
    let tx = cooperative(&locked, &p2tr(), RATE).expect("unsigned");
    assert!(verdict(&tx, &locked).is_err());
}

#[test]
fn what_is_signed_together_spends_what_is_locked_and_nothing_else() {
    let locked = locked(InternalKey::Musig2, &[40_000, 50_000]);
    let tx = cooperative(&locked, &p2tr(), RATE).expect("unsigned");
    let sighash = |tx: &Transaction, input| cooperative_sighash(&locked, tx, input);
    assert_ne!(sighash(&tx, 0), sighash(&tx, 1));
    assert_eq!(sighash(&tx, 2), Err(NotTheSpend::NoInput(2)));
    let mut more = tx.clone();
    more.input.push(TxIn {
        previous_output: outpoint(9),
        ..tx.input[0].clone()
    });
    assert_eq!(sighash(&more, 0), Err(NotTheSpend::Inputs));
    let mut fewer = tx.clone();
    fewer.input.pop();
    assert_eq!(sighash(&fewer, 0), Err(NotTheSpend::Inputs));
    let mut turned = tx.clone();
    turned.input.reverse();
    assert_eq!(sighash(&turned, 0), Err(NotTheSpend::Inputs));
    // A witness that is there already changes nothing.
    let mut signed = tx.clone();
    signed.input[0].witness = Witness::from_slice(&[[1; 64]]);
    assert_eq!(sighash(&signed, 0), sighash(&tx, 0));
}

#[test]
fn too_little_is_said_by_name() {
    let of = |sat: u64, to: &Script| claimed(&locked(InternalKey::Musig2, &[sat]), to, RATE);
    // 155 vB at 1,000 sat for 1,000; nodes relay 330 sat to P2TR and 294 to P2WPKH.
    assert!(of(485, &p2tr()).is_ok());
    assert!(matches!(
        of(484, &p2tr()),
        Err(SpendError::Dust {
            left: Sat(329),
            dust: Sat(330)
        })
    ));
    assert!(of(437, &p2wpkh()).is_ok());
    assert!(matches!(of(436, &p2wpkh()), Err(SpendError::Dust { .. })));
    for sat in [0, 154, 155] {
        assert!(
            matches!(
                of(sat, &p2tr()),
                Err(SpendError::FeeAboveValue { fee: Sat(155), .. })
            ),
            "{sat}"
        );
    }
    let nothing = locked(InternalKey::Musig2, &[100_000]).without(outpoint(1));
    for spend in [claimed, refunded, together] {
        let none = spend(&nothing, &p2tr(), RATE);
        assert!(matches!(none, Err(SpendError::Nothing)));
    }
    let huge = claimed(
        &locked(InternalKey::Musig2, &[9_000]),
        &p2tr(),
        FeeRate(u64::MAX),
    );
    assert!(matches!(huge, Err(SpendError::FeeAboveValue { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_spend_is_valid_at_every_rate(
        internal in any_internal(), values in proptest::collection::vec(1_000..10_000_000_u64, 1..4),
        rate in 100..400_000_u64, wide: bool,
    ) {
        let locked = locked(internal, &values);
        let to = if wide { p2tr() } else { p2wpkh() };
        let mut spends = vec![claimed(&locked, &to, FeeRate(rate)), refunded(&locked, &to, FeeRate(rate))];
        if internal == InternalKey::Musig2 {
            spends.push(together(&locked, &to, FeeRate(rate)));
        }
        for tx in spends {
            match tx {
                Ok(tx) => {
                    prop_assert_eq!(verdict(&tx, &locked), Ok(()));
                    let paid: u64 = values.iter().sum::<u64>() - tx.output[0].value.to_sat();
                    prop_assert_eq!(Sat(paid), FeeRate(rate).fee(tx.vsize()));
                }
                Err(error) => prop_assert!(values.iter().sum::<u64>() < 200 * rate, "{error}"),
            }
        }
    }
}
