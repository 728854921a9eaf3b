//! The leaves, the internal key, and reading them back.

use bitcoin::hex::FromHex as _;
use bitcoin::taproot::TapNodeHash;

use super::*;
use crate::swap::ParseError;

/// Bytes that are not those of `value`, one bit off.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_built_is_parsed(taproot in any_taproot()) {
        let parsed = Taproot::parse(&taproot.spend_info());
        prop_assert_eq!(parsed.as_ref(), Ok(&taproot));
    }

    /// One bit anywhere is another contract, to the byte, or none; and another contract does not fit the rest.
    #[test]
    fn a_flipped_bit_is_refused(taproot in any_taproot(), bit: usize, which in 0..9) {
        let mut info = taproot.spend_info();
        let script = |script: &ScriptBuf| ScriptBuf::from(flipped(script.as_bytes(), bit));
        let x_only = |key: &XOnlyPublicKey| XOnlyPublicKey::from_slice(&flipped(&key.serialize(), bit));
        let plain = |key: &PublicKey| PublicKey::from_slice(&flipped(&key.serialize(), bit));
        let control = |block: &ControlBlock| ControlBlock::decode(&flipped(&block.serialize(), bit));
        match which {
            0 => info.claim_leaf = script(&info.claim_leaf),
            1 => info.timeout_leaf = script(&info.timeout_leaf),
            // What is no key is not said at all.
            2 => info.internal_key = match x_only(&info.internal_key) { Ok(key) => key, Err(_) => return Ok(()) },
            3 => info.output_key = match x_only(&info.output_key) { Ok(key) => key, Err(_) => return Ok(()) },
            4 => info.claimer = match plain(&info.claimer) { Ok(key) => key, Err(_) => return Ok(()) },
            5 => info.refunder = match plain(&info.refunder) { Ok(key) => key, Err(_) => return Ok(()) },
            6 => {
                let root: &[u8; 32] = info.merkle_root.as_ref();
                let root: [u8; 32] = flipped(root, bit).try_into().expect("32 bytes");
                info.merkle_root = TapNodeHash::assume_hidden(root);
            }
            7 => info.claim_control = match control(&info.claim_control) { Ok(block) => block, Err(_) => return Ok(()) },
            _ => info.timeout_control = match control(&info.timeout_control) { Ok(block) => block, Err(_) => return Ok(()) },
        }
        let parsed = Taproot::parse(&info);
        // Nothing depends on the parity of plain keys but MuSig2.
        let only_parity = info.r.is_some()
            && info.claimer.x_only_public_key().0 == taproot.htlc().claimer.x_only_public_key().0
            && info.refunder.x_only_public_key().0 == taproot.htlc().refunder.x_only_public_key().0
            && matches!(which, 4 | 5);
        prop_assert_eq!(parsed.is_ok(), only_parity, "{:?}", parsed);
    }

    #[test]
    fn no_scripts_panic(claim in proptest::collection::vec(any::<u8>(), 0..90), timeout in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut info = taproot(InternalKey::Musig2).spend_info();
        info.claim_leaf = ScriptBuf::from(claim);
        prop_assert!(Taproot::parse(&info).is_err());
        info = taproot(InternalKey::Musig2).spend_info();
        info.timeout_leaf = ScriptBuf::from(timeout);
        prop_assert!(Taproot::parse(&info).is_err());
    }
}

/// The bytes written out, so that the builder is not its own judge.
#[test]
fn the_leaves_are_those_that_are_documented() {
    let htlc = Htlc {
        timeout: Height(0x12_3456),
        ..htlc()
    };
    let taproot = Taproot::new(htlc, InternalKey::Musig2).expect("an output");
    let mut claim = vec![0x82, 0x01, 0x20, 0x88, 0xa8, 0x20];
    claim.extend_from_slice(&PREIMAGE.payment_hash().0);
    claim.extend_from_slice(&[0x88, 0x20]);
    claim.extend_from_slice(&public(CLAIMER).serialize()[1..]);
    claim.push(0xac);
    assert_eq!(taproot.claim_script().as_bytes(), claim);
    assert_eq!(claim.len(), 73);
    let mut timeout = vec![0x20];
    timeout.extend_from_slice(&public(REFUNDER).serialize()[1..]);
    timeout.extend_from_slice(&[0xad, 0x03, 0x56, 0x34, 0x12, 0xb1]);
    assert_eq!(taproot.timeout_script().as_bytes(), timeout);
    assert_eq!(timeout.len(), 39);
}

fn with_claim(script: Vec<u8>) -> Result<Taproot, Mismatch> {
    let mut info = taproot(InternalKey::Musig2).spend_info();
    info.claim_leaf = ScriptBuf::from(script);
    Taproot::parse(&info)
}

fn with_timeout(script: Vec<u8>) -> Result<Taproot, Mismatch> {
    let mut info = taproot(InternalKey::Musig2).spend_info();
    info.timeout_leaf = ScriptBuf::from(script);
    Taproot::parse(&info)
}

#[test]
fn every_other_byte_of_a_leaf_is_refused() {
    let taproot = taproot(InternalKey::Musig2);
    let leaves = [
        (
            taproot.claim_script(),
            with_claim as fn(Vec<u8>) -> Result<Taproot, Mismatch>,
            Field::ClaimLeaf,
        ),
        (taproot.timeout_script(), with_timeout, Field::TimeoutLeaf),
    ];
    for (leaf, parse, field) in leaves {
        let script = leaf.to_bytes();
        assert!(parse(script.clone()).is_ok());
        for at in 0..script.len() {
            // The middle of the hash is a number like any other.
            let some = field == Field::ClaimLeaf && (8..36).contains(&at);
            let bytes = (0..=u8::MAX).step_by(if some { 51 } else { 1 });
            for byte in bytes.filter(|byte| *byte != script[at]) {
                let mut mutant = script.clone();
                mutant[at] = byte;
                let refused = parse(mutant).expect_err("another script");
                // Another hash or timeout is read, and fits no root.
                let read = refused.field == Field::MerkleRoot;
                assert!(read || refused.field == field, "{at} {byte:#x} {refused}");
            }
        }
        for byte in 0..=u8::MAX {
            assert!(
                parse([script.as_slice(), &[byte]].concat()).is_err(),
                "{byte}"
            );
        }
        for end in 0..script.len() {
            assert!(parse(script[..end].to_vec()).is_err(), "{end}");
        }
    }
}

#[test]
fn longer_pushes_are_refused_and_where_is_said() {
    let claim = taproot(InternalKey::Musig2).claim_script().to_bytes();
    let reason = |parsed: Result<Taproot, Mismatch>| parsed.expect_err("refused").reason;
    // The hash by OP_PUSHDATA1.
    let long = [&claim[..5], &[0x4c], &claim[5..]].concat();
    assert_eq!(
        reason(with_claim(long)),
        Reason::Script(ParseError::Instruction(0))
    );
    // OP_CHECKSIGVERIFY at the end.
    let mut other = claim.clone();
    other[72] = 0xad;
    assert_eq!(
        reason(with_claim(other)),
        Reason::Script(ParseError::Instruction(7))
    );
    // A timeout with a zero byte too many.
    let timeout = taproot(InternalKey::Musig2).timeout_script().to_bytes();
    let padded = [&timeout[..34], &[4], &timeout[35..38], &[0], &timeout[38..]].concat();
    assert_eq!(
        reason(with_timeout(padded)),
        Reason::Script(ParseError::Timeout)
    );
}

#[test]
fn timeouts_of_every_length_are_read_and_others_refused() {
    for timeout in [
        1,
        16,
        17,
        127,
        128,
        32_768,
        8_388_607,
        8_388_608,
        499_999_999,
    ] {
        let htlc = Htlc {
            timeout: Height(timeout),
            ..htlc()
        };
        let taproot = Taproot::new(htlc, InternalKey::Musig2).expect("an output");
        assert_eq!(
            Taproot::parse(&taproot.spend_info()),
            Ok(taproot),
            "{timeout}"
        );
    }
    for timeout in [0, 500_000_000, u32::MAX] {
        let htlc = Htlc {
            timeout: Height(timeout),
            ..htlc()
        };
        let refused = TaprootError::Timeout(Height(timeout));
        assert_eq!(Taproot::new(htlc, InternalKey::Musig2), Err(refused));
    }
}

#[test]
fn an_unspendable_key_takes_a_scalar_that_hides_h() {
    let order =
        <[u8; 32]>::from_hex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
            .expect("hex");
    for r in [[0; 32], order, [0xff; 32]] {
        let made = Taproot::new(htlc(), InternalKey::Unspendable { r });
        assert_eq!(made, Err(TaprootError::Tweak));
    }
    let drawn = |choice| InternalKey::draw(choice, &mut rng());
    assert_eq!(drawn(InternalChoice::Musig2), InternalKey::Musig2);
    let unspendable = drawn(InternalChoice::Unspendable);
    assert_eq!(unspendable.choice(), InternalChoice::Unspendable);
    Taproot::new(htlc(), unspendable).expect("r is a scalar");
    let mut rng = rng();
    let one = InternalKey::draw(InternalChoice::Unspendable, &mut rng);
    assert_ne!(
        one,
        InternalKey::draw(InternalChoice::Unspendable, &mut rng)
    );
}

#[test]
fn an_internal_key_is_written_by_name() {
    let written = |key: InternalKey| serde_json::to_string(&key).expect("JSON");
    assert_eq!(written(InternalKey::Musig2), r#""musig2""#);
    let text = written(InternalKey::Unspendable { r: R });
    assert_eq!(
        text,
        format!(r#"{{"unspendable":{{"r":"{}"}}}}"#, "77".repeat(32))
    );
    for key in both() {
        let read: InternalKey = serde_json::from_str(&written(key)).expect("as written");
        assert_eq!(read, key);
    }
    for text in [
        r#""musig""#,
        r#"{"unspendable":{"r":"77"}}"#,
        r#"{"unspendable":{}}"#,
    ] {
        assert!(serde_json::from_str::<InternalKey>(text).is_err(), "{text}");
    }
}

/// Keys as they are sent matter, in their order: the address of one contract never changes, coins are locked to it.
#[test]
fn addresses_never_change() {
    let address = |taproot: &Taproot| taproot.address(Network::Regtest).to_string();
    let [musig2, unspendable] = both().map(|internal| address(&taproot(internal)));
    assert_eq!(
        musig2,
        "bcrt1p34vkyavkcc0wpj90r3t89chvuy2mf5rytlp3wys0hl6lwy78ue4qn6w0fp"
    );
    assert_eq!(
        unspendable,
        "bcrt1pg2hsv8g9sertjyfchedtvjzelnnsz88lfj2tq5qx2qgwdne2s2qs8aecw3"
    );
    let swapped = Htlc {
        claimer: public(REFUNDER),
        refunder: public(CLAIMER),
        ..htlc()
    };
    let swapped = Taproot::new(swapped, InternalKey::Musig2).expect("an output");
    assert_ne!(
        swapped.internal_key(),
        taproot(InternalKey::Musig2).internal_key()
    );
}
