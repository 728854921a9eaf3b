//! MuSig2: the seam to its crate, and that a nonce signs once.

use bitcoin::TapSighash;
use bitcoin::hashes::Hash as _;
use bitcoin::hex::FromHex as _;
use bitcoin::secp256k1::{Message, schnorr};
use elements::secp256k1_zkp::rand::{CryptoRng, RngCore};

use super::*;
use crate::swap::musig::{Aggregate, MusigError};

/// What BIP 327 gives for these keys in these orders (`key_agg_vectors.json`).
#[test]
fn keys_are_aggregated_as_bip_327_does() {
    let keys: Vec<PublicKey> = [
        "02F9308A019258C31049344F85F89D5229B531C845836F99B08601F113BCE036F9",
        "03DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659",
        "023590A94E768F8E1815C2F24B4D80A8E3149316C3518CE7B7AD338368D038CA66",
    ]
    .iter()
    .map(|key| key.parse().expect("a key"))
    .collect();
    let vectors: [(&[usize], &str); 4] = [
        (
            &[0, 1, 2],
            "90539eede565f5d054f32cc0c220126889ed1e5d193baf15aef344fe59d4610c",
        ),
        (
            &[2, 1, 0],
            "6204de8b083426dc6eaf9502d27024d53fc826bf7d2012148a0575435df54b2b",
        ),
        (
            &[0, 0, 0],
            "b436e3bad62b8cd409969a224731c193d051162d8c5ae8b109306127da3aa935",
        ),
        (
            &[0, 0, 1, 1],
            "69bc22bfa5d106306e48a20679de1d7389386124d07571d0d872686028c26a3e",
        ),
    ];
    for (indices, expected) in vectors {
        let chosen: Vec<PublicKey> = indices.iter().map(|index| keys[*index]).collect();
        let aggregate = Aggregate::of(&chosen).expect("a key");
        assert_eq!(aggregate.key().to_string(), expected, "{indices:?}");
    }
    assert_eq!(Aggregate::of(&[]).err(), Some(MusigError::Aggregate));
}

/// Nonces and partial signatures of BIP 327 that are not points or not below the order (`sign_verify_vectors.json`).
#[test]
fn what_is_no_nonce_and_no_scalar_is_refused() {
    let nonce = "0337C87821AFD50A8644D820A8F3E02E499C931865C2360FB43D0A0D20DAFE07EA0287BF891D2A6DEAEBADC909352AA9405D1428C15F4B75F04DAE642A95C2548480";
    let read: PublicNonce = nonce.parse().expect("two points");
    assert_eq!(read.to_string(), nonce.to_lowercase());
    let json = serde_json::to_string(&read).expect("JSON");
    assert_eq!(
        serde_json::from_str::<PublicNonce>(&json).expect("as written"),
        read
    );
    let invalid = "0200000000000000000000000000000000000000000000000000000000000000090287BF891D2A6DEAEBADC909352AA9405D1428C15F4B75F04DAE642A95C2548480";
    let wrong_tag = nonce.replacen("03", "04", 1);
    let zeros = "00".repeat(66);
    for text in [invalid, &wrong_tag, &zeros, &nonce[2..], ""] {
        assert_eq!(
            text.parse::<PublicNonce>(),
            Err(MusigError::Nonce),
            "{text}"
        );
    }
    let order = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141";
    for text in [order, &order[2..], ""] {
        assert_eq!(text.parse::<PartialSignature>(), Err(MusigError::Encoding));
    }
    let partial = "012ABBCB52B3016AC03AD82395A1A415C48B93DEF78718E62A7A90052FE224FB";
    let read: PartialSignature = partial.parse().expect("a scalar");
    assert_eq!(read.to_string(), partial.to_lowercase());
}

fn sighash(byte: u8) -> TapSighash {
    TapSighash::from_byte_array([byte; 32])
}

fn signers() -> Aggregate {
    let signers = taproot(InternalKey::Musig2).signers();
    signers.expect("it has a key")
}

fn asking(message: u8, rng: &mut StdRng) -> Session {
    let session = Session::begin(&signers(), &secret(CLAIMER), sighash(message), rng);
    session.expect("a signer")
}

fn answered(session: &Session, message: u8, rng: &mut StdRng) -> (PublicNonce, PartialSignature) {
    let key = secret(REFUNDER);
    answer(&signers(), &key, &session.nonce(), sighash(message), rng).expect("a signer")
}

#[test]
fn the_aggregate_tweaked_is_the_output_key() {
    let taproot = taproot(InternalKey::Musig2);
    assert_eq!(signers().key(), taproot.spend_info().output_key);
    let plain = Aggregate::of(&[public(CLAIMER), public(REFUNDER)]).expect("a key");
    assert_eq!(plain.key(), taproot.internal_key());
    assert_ne!(plain.key(), signers().key());
}

#[test]
fn either_may_ask_and_the_signature_verifies() {
    let rng = &mut rng();
    for (asks, answers) in [(CLAIMER, REFUNDER), (REFUNDER, CLAIMER)] {
        let session = Session::begin(&signers(), &secret(asks), sighash(1), rng).expect("a signer");
        let nonce = session.nonce();
        let answer = answer(&signers(), &secret(answers), &nonce, sighash(1), rng);
        let (nonce, partial) = answer.expect("a signer");
        let signature = session.finish(&nonce, &partial).expect("a signature");
        let verify = |signature: &schnorr::Signature, message: u8| {
            let message = Message::from_digest([message; 32]);
            SECP256K1.verify_schnorr(signature, &message, &signers().key())
        };
        assert_eq!(verify(&signature, 1), Ok(()));
        assert!(verify(&signature, 2).is_err());
    }
}

#[test]
fn an_answer_to_anything_else_is_refused() {
    let rng = &mut rng();
    let refused = |session: Session, (nonce, partial): (PublicNonce, PartialSignature)| {
        session.finish(&nonce, &partial).expect_err("refused")
    };
    // Another message.
    let session = asking(1, rng);
    let other = answered(&session, 2, rng);
    assert_eq!(refused(session, other), MusigError::Partial);
    // To another nonce of the same asker.
    let (first, second) = (asking(1, rng), asking(1, rng));
    let to_first = answered(&first, 1, rng);
    assert_eq!(refused(second, to_first.clone()), MusigError::Partial);
    first.finish(&to_first.0, &to_first.1).expect("its own");
    // Another nonce than it was made with.
    let session = asking(1, rng);
    let (one, two) = (answered(&session, 1, rng), answered(&session, 1, rng));
    assert_eq!(refused(session, (one.0, two.1)), MusigError::Partial);
    // Signed by the asker itself, or for the key without its tweak.
    let session = asking(1, rng);
    let own = answer(
        &signers(),
        &secret(CLAIMER),
        &session.nonce(),
        sighash(1),
        rng,
    );
    assert_eq!(
        refused(session, own.expect("a signer")),
        MusigError::Partial
    );
    let session = asking(1, rng);
    let plain = Aggregate::of(&[public(CLAIMER), public(REFUNDER)]).expect("a key");
    let untweaked = answer(&plain, &secret(REFUNDER), &session.nonce(), sighash(1), rng);
    assert_eq!(
        refused(session, untweaked.expect("a signer")),
        MusigError::Partial
    );
    // One bit of it.
    let session = asking(1, rng);
    let (nonce, partial) = answered(&session, 1, rng);
    let mut bytes = partial.to_bytes();
    bytes[31] ^= 1;
    let bent = bitcoin::hex::DisplayHex::to_lower_hex_string(&bytes[..]);
    let bent: PartialSignature = bent.parse().expect("a scalar");
    assert_eq!(refused(session, (nonce, bent)), MusigError::Partial);
}

#[test]
fn a_stranger_signs_nothing() {
    let rng = &mut rng();
    let begun = Session::begin(&signers(), &secret(9), sighash(1), rng);
    assert_eq!(begun.err(), Some(MusigError::Signer));
    let session = asking(1, rng);
    let answered = answer(&signers(), &secret(9), &session.nonce(), sighash(1), rng);
    assert_eq!(answered.err(), Some(MusigError::Signer));
    let three = Aggregate::of(&[public(1), public(2), public(3)]).expect("a key");
    let begun = Session::begin(&three, &secret(CLAIMER), sighash(1), rng);
    assert_eq!(begun.err(), Some(MusigError::Signer));
}

/// Random bytes that never change.
struct Stuck;

impl RngCore for Stuck {
    fn next_u32(&mut self) -> u32 {
        4
    }

    fn next_u64(&mut self) -> u64 {
        4
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(4);
    }

    fn try_fill_bytes(
        &mut self,
        bytes: &mut [u8],
    ) -> Result<(), elements::secp256k1_zkp::rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Stuck {}

#[test]
fn two_answers_never_share_a_nonce() {
    let rng = &mut rng();
    let session = asking(1, rng);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..64 {
        // The very same question.
        assert!(seen.insert(answered(&session, 1, rng).0));
    }
    for _ in 0..16 {
        assert!(seen.insert(asking(1, rng).nonce()));
    }
    // Even where the randomness fails: another message, another nonce of who asks, or the other role has another nonce.
    let ask = |message: u8, by: u8| {
        let session = Session::begin(&signers(), &secret(by), sighash(message), &mut Stuck);
        session.expect("a signer").nonce()
    };
    let reply = |message: u8, asked: &PublicNonce| {
        let key = secret(REFUNDER);
        answer(&signers(), &key, asked, sighash(message), &mut Stuck).expect("a signer")
    };
    let (first, second) = (asking(1, rng).nonce(), asking(1, rng).nonce());
    let nonces = [
        ask(1, CLAIMER),
        ask(2, CLAIMER),
        ask(1, REFUNDER),
        reply(1, &first).0,
        reply(1, &second).0,
        reply(2, &first).0,
    ];
    for nonce in nonces {
        assert!(seen.insert(nonce));
    }
    // And the same nonce under it signs the same thing.
    assert_eq!(reply(1, &first), reply(1, &first));
}

#[test]
fn a_session_shows_no_secret() {
    let session = asking(0xaa, &mut rng());
    let shown = format!("{session:?}");
    assert!(shown.contains("sighash"), "{shown}");
    assert!(!shown.contains(&secret(CLAIMER).display_secret().to_string()));
    assert_eq!(shown.matches(": ").count(), 2, "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any two keys of either parity, any tree, any message.
    #[test]
    fn any_two_sign_anything(one in 1..=250_u8, two in 1..=250_u8, root: [u8; 32], message: [u8; 32], seed: u64) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let signers = Aggregate::of(&[public(one), public(two)]).expect("a key");
        let signers = signers.with_taproot_tweak(&root).expect("a tweak");
        let sighash = TapSighash::from_byte_array(message);
        let session = Session::begin(&signers, &secret(one), sighash, rng).expect("a signer");
        let (nonce, partial) = answer(&signers, &secret(two), &session.nonce(), sighash, rng).expect("a signer");
        let signature = session.finish(&nonce, &partial).expect("a signature");
        prop_assert!(SECP256K1.verify_schnorr(&signature, &Message::from_digest(message), &signers.key()).is_ok());
    }

    #[test]
    fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
        let text = bitcoin::hex::DisplayHex::to_lower_hex_string(&bytes[..]);
        let _ = text.parse::<PublicNonce>();
        let _ = text.parse::<PartialSignature>();
        prop_assert!(<Vec<u8>>::from_hex(&text).is_ok());
    }
}
