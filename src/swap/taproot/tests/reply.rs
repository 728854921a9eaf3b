//! What a server says of an output is held to one's own data, field by field.

use bitcoin::taproot::TapNodeHash;

use super::*;

fn reply(taproot: &Taproot) -> Reply {
    let info = taproot.spend_info();
    Reply {
        payment_hash: taproot.htlc().payment_hash,
        claimer: info.claimer,
        refunder: info.refunder,
        timeout: taproot.htlc().timeout,
        internal_key: info.internal_key,
        r: info.r,
        merkle_root: info.merkle_root,
        output_key: info.output_key,
        claim_leaf: info.claim_leaf,
        timeout_leaf: info.timeout_leaf,
        address: taproot.address(Network::Regtest).into_unchecked(),
    }
}

fn expected(taproot: &Taproot, side: Side) -> Expected {
    Expected {
        payment_hash: taproot.htlc().payment_hash,
        side,
        key: match side {
            Side::Claimer => taproot.htlc().claimer,
            Side::Refunder => taproot.htlc().refunder,
        },
        internal: taproot.internal().choice(),
        network: Network::Regtest,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_true_reply_gives_the_output(taproot in any_taproot()) {
        for side in [Side::Claimer, Side::Refunder] {
            let checked = check(&expected(&taproot, side), &reply(&taproot));
            prop_assert_eq!(checked.as_ref(), Ok(&taproot));
        }
    }

    /// Any field of another swap in the place of one's own.
    #[test]
    fn a_field_of_another_swap_is_named(ours in any_taproot(), theirs in any_taproot(), which in 0..10) {
        let (mut said, other) = (reply(&ours), reply(&theirs));
        let field = match which {
            0 => { said.payment_hash = other.payment_hash; Field::PaymentHash }
            1 => { said.claimer = other.claimer; Field::Claimer }
            // The other side's key is its own to say: what follows from it is not what was said.
            2 => { said.refunder = other.refunder; Field::TimeoutLeaf }
            3 => { said.timeout = other.timeout; Field::TimeoutLeaf }
            4 => { said.internal_key = other.internal_key; Field::InternalKey }
            5 => { said.merkle_root = other.merkle_root; Field::MerkleRoot }
            6 => { said.output_key = other.output_key; Field::OutputKey }
            7 => { said.claim_leaf = other.claim_leaf; Field::ClaimLeaf }
            8 => { said.timeout_leaf = other.timeout_leaf; Field::TimeoutLeaf }
            _ => { said.address = other.address; Field::Address }
        };
        let refused = check(&expected(&ours, Side::Claimer), &said).expect_err("another swap's");
        prop_assert_eq!(refused.field, field);
    }
}

#[test]
fn another_internal_key_than_asked_for_is_named() {
    let [musig2, unspendable] = both().map(taproot);
    let refused = |own: &Taproot, said: Reply| {
        let mismatch = check(&expected(own, Side::Refunder), &said).expect_err("refused");
        mismatch.field
    };
    // A whole output of the other kind.
    assert_eq!(refused(&musig2, reply(&unspendable)), Field::Tweak);
    assert_eq!(refused(&unspendable, reply(&musig2)), Field::Tweak);
    // An `r` that does not lead to the internal key, or that is none.
    let with = |r: [u8; 32]| Reply {
        r: Some(r),
        ..reply(&unspendable)
    };
    assert_eq!(refused(&unspendable, with([0x78; 32])), Field::InternalKey);
    assert_eq!(refused(&unspendable, with([0xff; 32])), Field::Tweak);
    // A key of which the server knows the secret, said to be unspendable: nothing else of the reply can save it.
    let (own, _) = public(9).x_only_public_key();
    let said = Reply {
        internal_key: own,
        ..reply(&unspendable)
    };
    assert_eq!(refused(&unspendable, said), Field::InternalKey);
}

#[test]
fn a_timeout_that_is_none_another_network_and_a_hidden_leaf_are_named() {
    let taproot = taproot(InternalKey::Musig2);
    let refused =
        |said: Reply| check(&expected(&taproot, Side::Claimer), &said).expect_err("refused");
    let said = Reply {
        timeout: Height(500_000_000),
        ..reply(&taproot)
    };
    let mismatch = refused(said);
    assert_eq!(mismatch.field, Field::Timeout);
    assert!(mismatch.to_string().contains("`timeout`"), "{mismatch}");
    let said = Reply {
        address: taproot.address(Network::Bitcoin).into_unchecked(),
        ..reply(&taproot)
    };
    assert_eq!(refused(said).field, Field::Address);
    let said = Reply {
        merkle_root: TapNodeHash::assume_hidden([1; 32]),
        ..reply(&taproot)
    };
    assert_eq!(refused(said).field, Field::MerkleRoot);
}
