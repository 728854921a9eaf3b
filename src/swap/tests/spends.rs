//! Claims and refunds, judged by the script interpreter, the proofs of amounts, and a scale.

use bitcoin::secp256k1::SECP256K1;
use elements::{Address, AddressParams, BlockHash, OutPoint, Transaction, TxOut};
use proptest::prelude::*;
use swaprig_script::{ElementsSpends, Flags};

use super::*;

const RATE: FeeRate = FeeRate::MIN_RELAY;

fn p2tr(confidential: bool) -> Address {
    let (key, _) = public(3).x_only_public_key();
    let blinder = confidential.then(|| public(4));
    Address::p2tr(SECP256K1, key, None, blinder, &AddressParams::ELEMENTS)
}

fn p2wpkh(confidential: bool) -> Address {
    let blinder = confidential.then(|| public(4));
    let key = bitcoin::PublicKey::new(public(3));
    Address::p2wpkh(&key, blinder, &AddressParams::ELEMENTS)
}

fn high() -> Terms {
    Terms {
        timeout: Height(1_000_000),
        ..terms()
    }
}

fn asset_terms(fee_value: u64) -> Terms {
    Terms {
        asset: gold().into(),
        amount: Units(7),
        fee_value: Sat(fee_value),
        ..high()
    }
}

fn locked(terms: &Terms) -> Locked {
    Locked::of(terms, lbtc(), &funding(terms))
}

fn claimed(locked: &Locked, to: &Address, rate: FeeRate) -> Result<Transaction, SpendError> {
    claim(locked, &PREIMAGE, &secret(1), to, rate, &mut rng())
}

fn refunded(locked: &Locked, to: &Address, rate: FeeRate) -> Result<Transaction, SpendError> {
    refund(locked, &secret(2), to, rate, &mut rng())
}

/// Scripts, amounts, and the fee rate.
fn check(tx: &Transaction, locked: &Locked, rate: FeeRate) {
    let spent = locked.outputs();
    let genesis = BlockHash::from_byte_array([1; 32]);
    let spends = ElementsSpends::new(tx, &spent, genesis).expect("one output for each input");
    for input in 0..tx.input.len() {
        assert_eq!(
            spends.verify(input, Flags::ELEMENTS_STANDARD),
            Ok(()),
            "input {input}"
        );
    }
    tx.verify_tx_amt_proofs(&elements::secp256k1_zkp::Secp256k1::new(), &spent)
        .expect("it balances");
    let fee = tx.fee_in(locked.lbtc);
    assert!(
        fee >= rate.fee(tx.discount_vsize()).0,
        "{fee} for {}",
        tx.discount_vsize()
    );
}

#[test]
fn sizes_are_those_that_are_documented() {
    let bitcoin = locked(&high());
    let with_remainder = locked(&asset_terms(500));
    let without = locked(&asset_terms(60));
    let to = p2tr(true);
    let cases = [
        ("L-BTC", &bitcoin, 233, 224),
        ("asset, L-BTC remains", &with_remainder, 409, 392),
        ("asset, nothing remains", &without, 331, 314),
    ];
    for (name, locked, claim_size, refund_size) in cases {
        let claim = claimed(locked, &to, RATE).expect("a claim");
        let refund = refunded(locked, &to, RATE).expect("a refund");
        check(&claim, locked, RATE);
        check(&refund, locked, RATE);
        let sizes = (claim.discount_vsize(), refund.discount_vsize());
        println!(
            "{name}: claim {}, refund {} discounted vB; {} and {} vB whole",
            sizes.0,
            sizes.1,
            claim.vsize(),
            refund.vsize()
        );
        assert_eq!(sizes, (claim_size, refund_size), "{name}");
    }
}

#[test]
fn what_is_locked_arrives_whole_but_for_the_fee() {
    let blinding = secret(4);
    let secp = elements::secp256k1_zkp::Secp256k1::new();
    for terms in [high(), asset_terms(500), asset_terms(60)] {
        let locked = locked(&terms);
        for to in [p2tr(true), p2tr(false), p2wpkh(true), p2wpkh(false)] {
            for tx in [claimed(&locked, &to, RATE), refunded(&locked, &to, RATE)] {
                let tx = tx.expect("a spend");
                check(&tx, &locked, RATE);
                let mut sums = std::collections::BTreeMap::new();
                for output in &tx.output {
                    let (asset, value) = amount(output, &secp, blinding);
                    *sums.entry(asset).or_insert(0) += value;
                    let paid = output.is_fee() || output.script_pubkey == to.script_pubkey();
                    assert!(paid, "{output:?}");
                    assert_eq!(
                        output.value.is_confidential(),
                        to.is_blinded() && !output.is_fee()
                    );
                }
                for asset in [lbtc(), gold()] {
                    let coins = locked.coins.iter().filter(|coin| coin.asset == asset);
                    let had: u64 = coins.map(|coin| coin.value).sum();
                    assert_eq!(sums.get(&asset).copied().unwrap_or(0), had);
                }
            }
        }
    }
}

fn amount(
    output: &TxOut,
    secp: &elements::secp256k1_zkp::Secp256k1<elements::secp256k1_zkp::All>,
    key: bitcoin::secp256k1::SecretKey,
) -> (elements::AssetId, u64) {
    match (output.asset.explicit(), output.value.explicit()) {
        (Some(asset), Some(value)) => (asset, value),
        _ => {
            let secrets = output.unblind(secp, key).expect("blinded to that key");
            (secrets.asset, secrets.value)
        }
    }
}

#[test]
fn spends_are_classified_and_timed() {
    for terms in [high(), asset_terms(500)] {
        let locked = locked(&terms);
        let claim = claimed(&locked, &p2tr(true), RATE).expect("a claim");
        let refund = refunded(&locked, &p2tr(true), RATE).expect("a refund");
        for coin in &locked.coins {
            let of = |tx: &Transaction| classify(&locked.htlc, tx, coin.outpoint);
            assert_eq!(of(&claim), Some(Spend::Claim(PREIMAGE)));
            assert_eq!(of(&refund), Some(Spend::Refund));
            assert_eq!(
                classify(&locked.htlc, &claim, OutPoint::new(liquid_txid(txid(9)), 0)),
                None
            );
        }
        assert_eq!(refund.lock_time.to_consensus_u32(), 1_000_000);
        assert_eq!(claim.lock_time.to_consensus_u32(), 0);
        assert!(
            refund
                .input
                .iter()
                .all(|input| input.sequence.0 == 0xffff_fffd)
        );
        assert!(
            claim
                .input
                .iter()
                .all(|input| input.sequence.0 == 0xffff_fffd)
        );
    }
}

#[test]
fn a_wrong_key_a_wrong_preimage_or_an_early_refund_spends_nothing() {
    let locked = locked(&high());
    let to = p2tr(true);
    let wrong = claim(&locked, &PREIMAGE, &secret(2), &to, RATE, &mut rng());
    assert!(matches!(wrong, Err(SpendError::Key("claimer"))));
    let wrong = claim(
        &locked,
        &swaprig_units::Preimage([8; 32]),
        &secret(1),
        &to,
        RATE,
        &mut rng(),
    );
    assert!(matches!(wrong, Err(SpendError::Preimage)));
    let wrong = refund(&locked, &secret(1), &to, RATE, &mut rng());
    assert!(matches!(wrong, Err(SpendError::Key("refunder"))));
    // The interpreter itself refuses what the functions would not make.
    let mut early = refunded(&locked, &to, RATE).expect("a refund");
    early.lock_time = elements::LockTime::from_consensus(999_999);
    let spent = locked.outputs();
    let genesis = BlockHash::from_byte_array([1; 32]);
    let spends = ElementsSpends::new(&early, &spent, genesis).expect("one output");
    assert!(spends.verify(0, Flags::ELEMENTS_STANDARD).is_err());
}

#[test]
fn too_little_is_said_by_name() {
    let to = p2tr(true);
    let bitcoin = |sat: u64| {
        locked(&Terms {
            amount: Units(sat),
            ..high()
        })
    };
    let of = |locked: &Locked, to: &Address| claimed(locked, to, RATE).map(|tx| tx.fee_in(lbtc()));
    // 233 vB at 100 sat for 1,000 are 24 sat.
    assert!(matches!(of(&bitcoin(124), &to), Ok(24)));
    assert!(matches!(
        of(&bitcoin(123), &to),
        Err(SpendError::Dust {
            left: Sat(99),
            dust: Sat(100)
        })
    ));
    assert!(matches!(
        of(&bitcoin(25), &to),
        Err(SpendError::Dust { left: Sat(1), .. })
    ));
    for sat in [23, 24] {
        assert!(
            matches!(
                of(&bitcoin(sat), &to),
                Err(SpendError::FeeAboveValue { fee: Sat(24), .. })
            ),
            "{sat}"
        );
    }
    assert_eq!(dust(&p2tr(false)), Sat(435));
    assert!(matches!(of(&bitcoin(459), &p2tr(false)), Ok(24)));
    assert!(matches!(
        of(&bitcoin(458), &p2tr(false)),
        Err(SpendError::Dust {
            left: Sat(434),
            dust: Sat(435)
        })
    ));
    // Another asset: 331 vB without a remainder, 409 with one.
    assert!(matches!(of(&locked(&asset_terms(140)), &to), Ok(140)));
    assert!(matches!(of(&locked(&asset_terms(141)), &to), Ok(41)));
    assert!(matches!(of(&locked(&asset_terms(34)), &to), Ok(34)));
    assert!(matches!(
        of(&locked(&asset_terms(33)), &to),
        Err(SpendError::FeeAboveValue {
            fee: Sat(34),
            available: Sat(33)
        })
    ));
    let no_lbtc = Locked::of(
        &Terms {
            fee_value: Sat(0),
            ..asset_terms(1)
        },
        lbtc(),
        &funding(&high()),
    );
    assert!(matches!(
        of(&no_lbtc, &to),
        Err(SpendError::FeeAboveValue { .. })
    ));
    let huge = claimed(&bitcoin(100_000), &to, FeeRate(u64::MAX));
    assert!(matches!(huge, Err(SpendError::FeeAboveValue { .. })));
}

#[test]
fn what_is_left_of_a_partly_spent_htlc_can_be_spent() {
    let terms = asset_terms(500);
    let all = locked(&terms);
    let asset = all.coins[0].outpoint;
    let rest = all.clone().without(asset);
    let tx = refunded(&rest, &p2tr(true), RATE).expect("a refund of the L-BTC");
    check(&tx, &rest, RATE);
    let none = rest.without(OutPoint::new(asset.txid, 1));
    assert!(matches!(
        refunded(&none, &p2tr(true), RATE),
        Err(SpendError::Nothing)
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_spend_is_valid_at_every_rate(sat in 600..10_000_000_u64, rate in 100..2_000_u64, confidential: bool, asset: bool) {
        let terms = match asset {
            true => asset_terms(sat),
            false => Terms { amount: Units(sat), ..high() },
        };
        let locked = locked(&terms);
        let rate = FeeRate(rate);
        for tx in [claimed(&locked, &p2tr(confidential), rate), refunded(&locked, &p2tr(confidential), rate)] {
            match tx {
                Ok(tx) => check(&tx, &locked, rate),
                Err(error) => prop_assert!(sat < 2_000, "{error}"),
            }
        }
    }
}
