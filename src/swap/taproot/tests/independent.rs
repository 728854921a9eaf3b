//! A verifier that shares no code with the module: BIP 340, 341, 342 and 327 by hand over secp256k1 and SHA-256. It is given
//! what is published and a transaction as bytes, computes the address again and accepts or refuses each witness.

use bitcoin::consensus::serialize;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use bitcoin::secp256k1::{Message, Parity, Scalar, schnorr};

use super::*;

fn sha(parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = sha256::Hash::engine();
    parts.iter().for_each(|part| engine.input(part));
    sha256::Hash::from_engine(engine).to_byte_array()
}

/// BIP 340's tagged hash.
fn tagged(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    let tag = sha(&[tag.as_bytes()]);
    let mut all: Vec<&[u8]> = vec![&tag, &tag];
    all.extend_from_slice(parts);
    sha(&all)
}

fn scalar(bytes: [u8; 32]) -> Scalar {
    Scalar::from_be_bytes(bytes).expect("below the order")
}

/// The point with an x coordinate and an even y.
fn lift(x: &[u8]) -> PublicKey {
    PublicKey::from_slice(&[&[2], x].concat()).expect("on the curve")
}

fn x_of(point: &PublicKey) -> [u8; 32] {
    point.serialize()[1..].try_into().expect("32 bytes")
}

fn is_odd(point: &PublicKey) -> bool {
    point.serialize()[0] == 3
}

/// H is SHA-256 of the uncompressed generator.
fn h() -> PublicKey {
    let one = SecretKey::from_slice(&{
        let mut one = [0; 32];
        one[31] = 1;
        one
    });
    let generator = one.expect("one").public_key(SECP256K1);
    lift(&sha(&[&generator.serialize_uncompressed()]))
}

/// BIP 327's KeyAgg of two keys: the second that differs has the coefficient one.
fn key_agg(first: &PublicKey, second: &PublicKey) -> PublicKey {
    let list = tagged("KeyAgg list", &[&first.serialize(), &second.serialize()]);
    let times = |key: &PublicKey| {
        let coefficient = tagged("KeyAgg coefficient", &[&list, &key.serialize()]);
        key.mul_tweak(SECP256K1, &scalar(coefficient))
            .expect("not zero")
    };
    let second_part = if first == second {
        times(second)
    } else {
        *second
    };
    times(first).combine(&second_part).expect("not infinity")
}

fn leaf_hash(script: &[u8]) -> [u8; 32] {
    let length = u8::try_from(script.len()).expect("a short script");
    tagged("TapLeaf", &[&[0xc0, length], script])
}

/// The output that follows from what is published, with what there is to say against it.
struct Output {
    key: PublicKey,
    script: Vec<u8>,
}

fn recompute(info: &SpendInfo) -> Output {
    let internal = match info.r {
        Some(r) => {
            let internal = h().add_exp_tweak(SECP256K1, &scalar(r)).expect("a point");
            // internal key - r·G = H, whichever y the internal key has.
            let minus_r = SecretKey::from_slice(&r).expect("a scalar").negate();
            let back = |key: PublicKey| key.add_exp_tweak(SECP256K1, &minus_r.into());
            let mut key = lift(&info.internal_key.serialize());
            if is_odd(&internal) {
                key = key.negate(SECP256K1);
            }
            assert_eq!(back(key).expect("a point"), h());
            internal
        }
        None => key_agg(&info.claimer, &info.refunder),
    };
    assert_eq!(x_of(&internal), info.internal_key.serialize());
    let mut leaves = [
        leaf_hash(info.claim_leaf.as_bytes()),
        leaf_hash(info.timeout_leaf.as_bytes()),
    ];
    leaves.sort_unstable();
    let root = tagged("TapBranch", &[&leaves[0], &leaves[1]]);
    assert_eq!(&root, AsRef::<[u8; 32]>::as_ref(&info.merkle_root));
    let tweak = tagged("TapTweak", &[&x_of(&internal), &root]);
    let key = lift(&x_of(&internal)).add_exp_tweak(SECP256K1, &scalar(tweak));
    let key = key.expect("a point");
    assert_eq!(x_of(&key), info.output_key.serialize());
    let script = [&[0x51, 0x20], x_of(&key).as_slice()].concat();
    Output { key, script }
}

/// BIP 341's signature message, SIGHASH_DEFAULT, without an annex.
fn message(
    tx: &Transaction,
    output: &Output,
    values: &[u64],
    input: u32,
    leaf: Option<[u8; 32]>,
) -> [u8; 32] {
    let joined = |parts: Vec<Vec<u8>>| sha(&[&parts.concat()]);
    let prevouts = tx
        .input
        .iter()
        .map(|input| serialize(&input.previous_output));
    let amounts = values.iter().map(|value| value.to_le_bytes().to_vec());
    let script = [&[34], output.script.as_slice()].concat();
    let scripts = values.iter().map(|_| script.clone());
    let sequences = tx
        .input
        .iter()
        .map(|input| input.sequence.0.to_le_bytes().to_vec());
    let outputs = tx.output.iter().map(serialize);
    let mut all = vec![0, 0];
    all.extend(tx.version.0.to_le_bytes());
    all.extend(tx.lock_time.to_consensus_u32().to_le_bytes());
    all.extend(joined(prevouts.collect()));
    all.extend(joined(amounts.collect()));
    all.extend(joined(scripts.collect()));
    all.extend(joined(sequences.collect()));
    all.extend(joined(outputs.collect()));
    all.push(if leaf.is_some() { 2 } else { 0 });
    all.extend(input.to_le_bytes());
    if let Some(leaf) = leaf {
        all.extend(leaf);
        all.push(0);
        all.extend(u32::MAX.to_le_bytes());
    }
    tagged("TapSighash", &[&all])
}

fn signed(signature: &[u8], key: &[u8], message: [u8; 32]) -> bool {
    let (Ok(signature), Ok(key)) = (
        schnorr::Signature::from_slice(signature),
        XOnlyPublicKey::from_slice(key),
    ) else {
        return false;
    };
    let message = Message::from_digest(message);
    SECP256K1.verify_schnorr(&signature, &message, &key).is_ok()
}

/// Whether the control block leads from the leaf to the output (BIP 341).
fn proves(control: &[u8], leaf: [u8; 32], output: &Output) -> bool {
    if control.len() != 65 || control[0] & 0xfe != 0xc0 {
        return false;
    }
    let (internal, other) = (&control[1..33], &control[33..]);
    let (low, high) = if leaf.as_slice() < other {
        (leaf.as_slice(), other)
    } else {
        (other, leaf.as_slice())
    };
    let root = tagged("TapBranch", &[low, high]);
    let tweak = tagged("TapTweak", &[internal, &root]);
    let key = lift(internal).add_exp_tweak(SECP256K1, &scalar(tweak));
    let key = key.expect("a point");
    key == output.key && is_odd(&key) == (control[0] & 1 == 1)
}

/// Whether the witness of an input spends the output, by what the two leaves and the key say.
fn accepts(info: &SpendInfo, tx: &Transaction, values: &[u64], input: u32) -> bool {
    let output = recompute(info);
    let witness = tx.input[input as usize].witness.to_vec();
    let stack: Vec<&[u8]> = witness.iter().map(Vec::as_slice).collect();
    let claim = info.claim_leaf.as_bytes();
    let timeout = info.timeout_leaf.as_bytes();
    let over = |leaf| message(tx, &output, values, input, leaf);
    match stack.as_slice() {
        [signature] => signed(signature, &x_of(&output.key), over(None)),
        [signature, preimage, script, control] if *script == claim => {
            let leaf = leaf_hash(script);
            // 82 01 20 88 a8 20 <hash> 88 20 <key> ac
            proves(control, leaf, &output)
                && preimage.len() == 32
                && sha(&[preimage]) == script[6..38]
                && signed(signature, &script[40..72], over(Some(leaf)))
        }
        [signature, script, control] if *script == timeout => {
            let leaf = leaf_hash(script);
            // 20 <key> ad 03 <height, three bytes> b1
            let height = u32::from_le_bytes([script[35], script[36], script[37], 0]);
            proves(control, leaf, &output)
                && tx.lock_time.to_consensus_u32() >= height
                && tx.input[input as usize].sequence.0 != u32::MAX
                && signed(signature, &script[1..33], over(Some(leaf)))
        }
        _ => false,
    }
}

#[test]
fn a_stranger_computes_the_address_and_accepts_each_witness() {
    let values = [40_000, 50_000];
    for internal in both() {
        let locked = locked(internal, &values);
        let info = locked.taproot.spend_info();
        let output = recompute(&info);
        assert_eq!(output.script, locked.taproot.script_pubkey().to_bytes());
        let address = locked.taproot.address(Network::Regtest).to_string();
        let program = bitcoin::bech32::segwit::decode(&address).expect("an address");
        assert_eq!(program.1.to_u8(), 1);
        assert_eq!(program.2, x_of(&output.key));
        let parity = info.claim_control.output_key_parity;
        assert_eq!(parity == Parity::Odd, is_odd(&output.key));
        let mut spends = vec![
            claimed(&locked, &p2tr(), RATE).expect("a claim"),
            refunded(&locked, &p2tr(), RATE).expect("a refund"),
        ];
        if internal == InternalKey::Musig2 {
            spends.push(together(&locked, &p2tr(), RATE).expect("a spend"));
        }
        for tx in &spends {
            assert!(accepts(&info, tx, &values, 0) && accepts(&info, tx, &values, 1));
        }
        for tx in &spends {
            refuses_what_is_changed(&info, tx, &values);
        }
    }
}

fn refuses_what_is_changed(info: &SpendInfo, tx: &Transaction, values: &[u64]) {
    assert!(
        !accepts(info, tx, &[values[0], values[1] + 1], 0),
        "amounts are signed"
    );
    let mut less = tx.clone();
    less.output[0].value -= bitcoin::Amount::from_sat(1);
    assert!(!accepts(info, &less, values, 0), "outputs are signed");
    let stack = tx.input[0].witness.to_vec();
    for at in 0..stack.len() {
        let mut bent = stack.clone();
        *bent[at].last_mut().expect("not empty") ^= 1;
        let mut tx = tx.clone();
        tx.input[0].witness = bitcoin::Witness::from_slice(&bent);
        assert!(!accepts(info, &tx, values, 0), "item {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_output_is_the_one_that_a_stranger_computes(taproot in any_taproot()) {
        let output = recompute(&taproot.spend_info());
        prop_assert_eq!(output.script, taproot.script_pubkey().to_bytes());
    }
}
