//! Random spends of every type, most of them valid or one step from it.

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, HashEngine, hash160, sha256};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use fastrand::Rng;
use swaprig_script::{BitcoinSpends, Checker, Flags, SigVersion, TaprootContext};

use crate::compare::Case;
use crate::program::{self, Place, lock_number, number, push};
use crate::sign::{Key, damage, spoil_ecdsa, spoil_schnorr};

const NO_CODE_SEPARATOR: u32 = u32::MAX;

/// The case that a seed stands for.
pub fn case(seed: u64) -> Case {
    let rng = &mut Rng::with_seed(seed);
    let tx = transaction(rng);
    let index = rng.usize(..tx.input.len());
    let mut spent: Vec<TxOut> = tx
        .input
        .iter()
        .map(|_| TxOut {
            value: Amount::from_sat(rng.u64(..=2_100_000_000_000_000)),
            script_pubkey: ScriptBuf::from_bytes(bytes(rng, 0..40)),
        })
        .collect();
    let flags = flags(rng);
    let input = Input {
        tx: &tx,
        spent: &spent,
        index,
        flags,
    };
    let (kind, spend) = spend(&input, rng);
    spent[index].script_pubkey = ScriptBuf::from_bytes(spend.script_pubkey);
    let mut tx = tx;
    tx.input[index].script_sig = ScriptBuf::from_bytes(spend.script_sig);
    tx.input[index].witness = Witness::from_slice(&spend.witness);
    let mut case = Case {
        tx,
        spent,
        index,
        flags,
        kind,
    };
    if rng.u8(..100) < 20 {
        mutate(&mut case, rng);
    }
    case
}

/// How an output is locked and unlocked.
#[derive(Default)]
struct Spend {
    script_pubkey: Vec<u8>,
    script_sig: Vec<u8>,
    witness: Vec<Vec<u8>>,
}

/// The transaction before the input has its scripts; signatures do not commit to those.
struct Input<'a> {
    tx: &'a Transaction,
    spent: &'a [TxOut],
    index: usize,
    flags: Flags,
}

fn transaction(rng: &mut Rng) -> Transaction {
    let sequence = |rng: &mut Rng| match rng.u8(..4) {
        0 => Sequence::MAX,
        1 => Sequence(0xffff_fffe),
        _ => Sequence(lock_number(rng) as u32),
    };
    let inputs = (0..rng.usize(1..=3))
        .map(|_| TxIn {
            previous_output: OutPoint::new(
                Txid::from_byte_array(std::array::from_fn(|_| rng.u8(..))),
                rng.u32(..4),
            ),
            script_sig: ScriptBuf::new(),
            sequence: sequence(rng),
            witness: Witness::new(),
        })
        .collect();
    let outputs = (0..rng.usize(..=3))
        .map(|_| TxOut {
            value: Amount::from_sat(rng.u64(..=2_100_000_000_000_000)),
            script_pubkey: ScriptBuf::from_bytes(bytes(rng, 0..40)),
        })
        .collect();
    Transaction {
        version: Version(
            *rng.choice(&[2, 2, 2, 1, 0, -1, i32::MAX, 3])
                .expect("not empty"),
        ),
        lock_time: LockTime::from_consensus(lock_number(rng) as u32),
        input: inputs,
        output: outputs,
    }
}

/// All consensus rules, or a subset that Core allows.
fn flags(rng: &mut Rng) -> Flags {
    if rng.u8(..10) < 7 {
        return Flags::BITCOIN_CONSENSUS;
    }
    let mut flags = Flags::NONE;
    for flag in [
        Flags::P2SH,
        Flags::DERSIG,
        Flags::NULLDUMMY,
        Flags::CHECKLOCKTIMEVERIFY,
        Flags::CHECKSEQUENCEVERIFY,
        Flags::WITNESS,
        Flags::TAPROOT,
    ] {
        if rng.u8(..3) != 0 {
            flags = flags | flag;
        }
    }
    if flags.contains(Flags::TAPROOT) {
        flags = flags | Flags::WITNESS;
    }
    if flags.contains(Flags::WITNESS) {
        flags = flags | Flags::P2SH;
    }
    flags
}

fn spend(input: &Input<'_>, rng: &mut Rng) -> (&'static str, Spend) {
    match rng.u8(..100) {
        0..14 => ("legacy", legacy(input, rng)),
        14..26 => ("p2sh", p2sh(input, rng)),
        26..34 => ("p2wpkh", p2wpkh(input, rng)),
        34..50 => ("p2wsh", p2wsh(input, rng)),
        50..60 => ("taproot key", taproot_key(input, rng)),
        60..90 => ("taproot script", taproot_script(input, rng)),
        90..95 => ("limits", limits(rng)),
        95..97 => ("witness program", witness_program(rng)),
        _ => ("junk", junk(rng)),
    }
}

fn legacy(input: &Input<'_>, rng: &mut Rng) -> Spend {
    if rng.u8(..6) == 0 {
        return signature_in_script(input, rng);
    }
    let (script, stack) = ecdsa_script(input, SigVersion::Legacy, rng);
    Spend {
        script_pubkey: script,
        script_sig: pushes(&stack, rng),
        witness: Vec::new(),
    }
}

/// A script that holds its own signature, which the signed script code must lack (`FindAndDelete`).
fn signature_in_script(input: &Input<'_>, rng: &mut Rng) -> Spend {
    let key = Key::random(rng);
    let mut rest = push(&key.ecdsa_bytes(rng));
    rest.push(0xac);
    let signature = sign_ecdsa(input, &key, &rest, SigVersion::Legacy, rng);
    let mut script = push(&signature);
    // Once more, where it does nothing.
    if rng.bool() {
        script.extend(push(&signature));
        script.push(0x75);
        let with_drop = [&[0x75], &rest[..]].concat();
        let again = sign_ecdsa(input, &key, &with_drop, SigVersion::Legacy, rng);
        script = [push(&again), push(&again), vec![0x75]].concat();
    }
    script.extend(rest);
    Spend {
        script_pubkey: script,
        ..Spend::default()
    }
}

fn p2sh(input: &Input<'_>, rng: &mut Rng) -> Spend {
    let (redeem, inner) = match rng.u8(..6) {
        0..4 => {
            let (redeem, stack) = ecdsa_script(input, SigVersion::Legacy, rng);
            (redeem, (pushes(&stack, rng), Vec::new()))
        }
        kind => {
            let spend = match kind {
                4 => p2wpkh(input, rng),
                _ => p2wsh(input, rng),
            };
            (spend.script_pubkey, (Vec::new(), spend.witness))
        }
    };
    let (mut script_sig, witness) = inner;
    script_sig.extend(push(&redeem));
    let hash = hash160::Hash::hash(&redeem);
    Spend {
        script_pubkey: [&[0xa9, 20], &hash[..], &[0x87]].concat(),
        script_sig,
        witness,
    }
}

fn p2wpkh(input: &Input<'_>, rng: &mut Rng) -> Spend {
    let key = Key::random(rng);
    let public = key.ecdsa_bytes(rng);
    let hash = hash160::Hash::hash(&public);
    let code = [&[0x76, 0xa9, 20], &hash[..], &[0x88, 0xac]].concat();
    let signature = sign_ecdsa(input, &key, &code, SigVersion::WitnessV0, rng);
    Spend {
        script_pubkey: [&[0, 20], &hash[..]].concat(),
        script_sig: Vec::new(),
        witness: vec![signature, public],
    }
}

fn p2wsh(input: &Input<'_>, rng: &mut Rng) -> Spend {
    let (script, mut witness) = ecdsa_script(input, SigVersion::WitnessV0, rng);
    witness.push(script.clone());
    Spend {
        script_pubkey: [&[0, 32], &sha256::Hash::hash(&script)[..]].concat(),
        script_sig: Vec::new(),
        witness,
    }
}

/// A legacy or segwit v0 script with the stack that satisfies it: signatures first, then a random program.
fn ecdsa_script(input: &Input<'_>, version: SigVersion, rng: &mut Rng) -> (Vec<u8>, Vec<Vec<u8>>) {
    let below: Vec<Vec<u8>> = (0..rng.usize(..4)).map(|_| bytes(rng, 0..6)).collect();
    let rest = program_after(input, version, below.clone(), rng);
    let keys: Vec<Key> = (0..rng.usize(1..=4)).map(|_| Key::random(rng)).collect();
    let mut stack = below;
    let (script, needed) = match rng.u8(..8) {
        0..2 => return (rest, stack),
        2..5 => {
            let mut script = push(&keys[0].ecdsa_bytes(rng));
            script.push(0xad);
            (script, &keys[..1])
        }
        _ => {
            let signatures = match rng.u8(..10) {
                0 => 0,
                _ => rng.usize(1..=keys.len()),
            };
            let mut script = number(signatures as i64);
            for key in &keys {
                script.extend(push(&key.ecdsa_bytes(rng)));
            }
            script.extend(number(keys.len() as i64));
            script.push(0xaf);
            // Which keys sign; the order must be that of the keys.
            let skipped = keys.len() - signatures;
            let first = rng.usize(..=skipped);
            stack.push(match rng.u8(..20) {
                0 => vec![1],
                _ => Vec::new(),
            });
            (script, &keys[first..first + signatures])
        }
    };
    // With a CODESEPARATOR, what follows it is signed.
    let (script, signed_from) = match rng.u8(..6) {
        0 => ([&[0xab][..], &script].concat(), 1),
        _ => (script, 0),
    };
    let whole = [&script[..], &rest].concat();
    for key in needed {
        stack.push(sign_ecdsa(input, key, &whole[signed_from..], version, rng));
    }
    if rng.u8(..40) == 0 {
        rng.shuffle(&mut stack);
    }
    (whole, stack)
}

fn program_after(
    input: &Input<'_>,
    version: SigVersion,
    stack: Vec<Vec<u8>>,
    rng: &mut Rng,
) -> Vec<u8> {
    let spends = BitcoinSpends::new(input.tx, input.spent).expect("one output for each input");
    let place = Place {
        checker: spends.input(input.index).expect("the input exists"),
        version,
        flags: input.flags,
    };
    program::random(stack, &place, rng)
}

fn sign_ecdsa(
    input: &Input<'_>,
    key: &Key,
    code: &[u8],
    version: SigVersion,
    rng: &mut Rng,
) -> Vec<u8> {
    let hash_type = match rng.u8(..4) {
        0 => rng.u8(..),
        _ => *rng
            .choice(&[1, 1, 2, 3, 0x81, 0x82, 0x83])
            .expect("not empty"),
    };
    let spends = BitcoinSpends::new(input.tx, input.spent).expect("one output for each input");
    let checker = spends.input(input.index).expect("the input exists");
    let hash = checker.ecdsa_sighash(code, hash_type, version, input.flags);
    let mut signature = key.ecdsa(hash, hash_type);
    if rng.u8(..10) == 0 {
        spoil_ecdsa(&mut signature, rng);
    }
    signature
}

fn sign_schnorr(
    input: &Input<'_>,
    script_pubkey: &[u8],
    key: &Key,
    context: &TaprootContext,
    rng: &mut Rng,
) -> Vec<u8> {
    let hash_type = match rng.u8(..12) {
        0 => rng.u8(..),
        _ => *rng
            .choice(&[0, 0, 1, 2, 3, 0x81, 0x82, 0x83])
            .expect("not empty"),
    };
    // A taproot signature commits to the scripts of all spent outputs, this one included.
    let mut spent = input.spent.to_vec();
    spent[input.index].script_pubkey = ScriptBuf::from_bytes(script_pubkey.to_vec());
    let spends = BitcoinSpends::new(input.tx, &spent).expect("one output for each input");
    let checker = spends.input(input.index).expect("the input exists");
    let hash = checker.taproot_sighash(hash_type, context);
    let mut signature = key.schnorr(hash.unwrap_or([7; 32]), hash_type);
    if rng.u8(..16) == 0 {
        spoil_schnorr(&mut signature, rng);
    }
    signature
}

fn annex(rng: &mut Rng) -> Option<Vec<u8>> {
    (rng.u8(..6) == 0).then(|| [&[0x50], &bytes(rng, 0..20)[..]].concat())
}

fn taproot_key(input: &Input<'_>, rng: &mut Rng) -> Spend {
    let key = Key::random(rng);
    let script_pubkey = [&[0x51, 32], &key.x_only()[..]].concat();
    let context = TaprootContext {
        annex: annex(rng),
        leaf: None,
    };
    let mut witness = vec![sign_schnorr(input, &script_pubkey, &key, &context, rng)];
    witness.extend(context.annex);
    Spend {
        script_pubkey,
        script_sig: Vec::new(),
        witness,
    }
}

/// A tapscript before it is committed to: who signs, in the order of the stack from the bottom.
struct Leaf {
    script: Vec<u8>,
    below: Vec<Vec<u8>>,
    signers: Vec<Option<Key>>,
    code_separator: u32,
}

fn taproot_script(input: &Input<'_>, rng: &mut Rng) -> Spend {
    let leaf = match rng.u8(..12) {
        0 => budget_leaf(rng),
        1 => Leaf {
            script: bytes(rng, 0..30),
            below: (0..rng.usize(..3)).map(|_| bytes(rng, 0..4)).collect(),
            signers: Vec::new(),
            code_separator: NO_CODE_SEPARATOR,
        },
        _ => leaf(input, rng),
    };
    let version = match rng.u8(..20) {
        0 => rng.u8(..) & 0xfe,
        _ => 0xc0,
    };
    let leaf_hash = tagged("TapLeaf", |e| {
        e.input(&[version]);
        e.input(&bitcoin::consensus::serialize(&bitcoin::VarInt::from(
            leaf.script.len(),
        )));
        e.input(&leaf.script);
    });
    let nodes: Vec<[u8; 32]> = (0..rng.usize(..4))
        .map(|_| std::array::from_fn(|_| rng.u8(..)))
        .collect();
    let root = nodes.iter().fold(leaf_hash, |hash, node| {
        tagged("TapBranch", |e| {
            e.input(hash.min(*node).as_slice());
            e.input(hash.max(*node).as_slice());
        })
    });
    let internal = Key::random(rng);
    let tweak = tagged("TapTweak", |e| {
        e.input(&internal.x_only());
        e.input(&root);
    });
    let (output, parity) = internal.tweaked(tweak).expect("a hash is below the order");
    let script_pubkey = [&[0x51, 32], &output.x_only()[..]].concat();
    let context = TaprootContext {
        annex: annex(rng),
        leaf: Some((leaf_hash, leaf.code_separator)),
    };
    let mut witness = leaf.below;
    for signer in &leaf.signers {
        witness.push(match signer {
            Some(key) => sign_schnorr(input, &script_pubkey, key, &context, rng),
            None => Vec::new(),
        });
    }
    let mut control = [&[version | parity][..], &internal.x_only(), &nodes.concat()].concat();
    match rng.u8(..40) {
        0 => damage(&mut control, rng),
        1 => control.truncate(rng.usize(..control.len())),
        2 => control.push(0),
        _ => {}
    }
    witness.extend([leaf.script, control]);
    witness.extend(context.annex);
    Spend {
        script_pubkey,
        script_sig: Vec::new(),
        witness,
    }
}

fn leaf(input: &Input<'_>, rng: &mut Rng) -> Leaf {
    let below: Vec<Vec<u8>> = (0..rng.usize(..4)).map(|_| bytes(rng, 0..6)).collect();
    let rest = program_after(input, SigVersion::Tapscript, below.clone(), rng);
    let keys: Vec<Key> = (0..rng.usize(1..=4)).map(|_| Key::random(rng)).collect();
    let mut script = Vec::new();
    let mut code_separator = NO_CODE_SEPARATOR;
    if rng.u8(..5) == 0 {
        // Its position is counted in instructions.
        let nops = rng.usize(..4);
        script.extend(vec![0x61; nops]);
        script.push(0xab);
        code_separator = nops as u32;
    }
    let key_bytes = |key: &Key, rng: &mut Rng| match rng.u8(..24) {
        0 => push(&key.compressed()),
        1 => push(&bytes(rng, 0..34)),
        _ => push(&key.x_only()),
    };
    let mut signers = Vec::new();
    match rng.u8(..6) {
        0 => {}
        1..3 => {
            script.extend(key_bytes(&keys[0], rng));
            script.push(0xad);
            signers.push(Some(keys[0].clone()));
        }
        _ => {
            let mut good = 0;
            for (i, key) in keys.iter().enumerate() {
                script.extend(key_bytes(key, rng));
                script.push(if i == 0 { 0xac } else { 0xba });
                let signs = rng.u8(..4) != 0;
                good += i64::from(signs);
                signers.insert(0, signs.then(|| key.clone()));
            }
            script.extend(number(good));
            script.push(0x9d);
        }
    }
    script.extend(rest);
    Leaf {
        script,
        below,
        signers,
        code_separator,
    }
}

/// One signature checked again and again, around where the witness's weight no longer pays for it.
fn budget_leaf(rng: &mut Rng) -> Leaf {
    let key = Key::random(rng);
    let mut script = Vec::new();
    for _ in 0..rng.usize(1..12) {
        script.push(0x76);
        script.extend(match rng.u8(..4) {
            0 => push(&[9, 9]),
            _ => push(&key.x_only()),
        });
        script.push(0xad);
    }
    script.extend([0x75, 0x51]);
    // Padding in another stack element buys a few more.
    let padding = rng.usize(..120);
    Leaf {
        script: [&[0x77][..], &script].concat(),
        below: vec![vec![0; padding]],
        signers: vec![Some(key)],
        code_separator: NO_CODE_SEPARATOR,
    }
}

/// Scripts at the limits of size, count and depth.
fn limits(rng: &mut Rng) -> Spend {
    let script = match rng.u8(..6) {
        // 201 operations.
        0 => [vec![0x61; rng.usize(198..=203)], vec![0x51]].concat(),
        // 520 bytes.
        1 => [push(&vec![1; rng.usize(518..=522)]), vec![0x75, 0x51]].concat(),
        // 1,000 elements, some on the alternative stack, which the last one leaves.
        2 => {
            let mut code = [0x51, 0x6b].repeat(rng.usize(..3));
            code.extend(vec![0x51; rng.usize(996..=1001)]);
            code.extend([0x6d].repeat(rng.usize(..4)));
            code
        }
        // 10,000 bytes, in pushes that are dropped.
        3 => {
            let fill = |length: usize| [push(&vec![0; length]), vec![0x75]].concat();
            let mut code = fill(500).repeat(19);
            let left = rng.usize(9_998..=10_002) - code.len() - 1;
            code.extend(fill(left - 4));
            code.push(0x51);
            code
        }
        // 20 keys, and the operations that each of them counts for.
        4 => {
            let keys = rng.i64(18..=21);
            let mut code = vec![0x61; rng.usize(175..=185)];
            code.extend([0x00, 0x00]);
            for _ in 0..keys {
                code.extend(push(&Key::random(rng).compressed()));
            }
            code.extend(number(keys));
            code.push(0xae);
            code
        }
        // IFs, none closed or all.
        _ => {
            let depth = rng.usize(1..60);
            let mut code = [0x51, 0x63].repeat(depth);
            code.push(0x51);
            code.extend(vec![0x68; depth - usize::from(rng.u8(..4) == 0)]);
            code
        }
    };
    match rng.u8(..3) {
        0 => Spend {
            script_pubkey: script,
            ..Spend::default()
        },
        1 => Spend {
            script_pubkey: [&[0, 32], &sha256::Hash::hash(&script)[..]].concat(),
            script_sig: Vec::new(),
            witness: vec![script],
        },
        _ => tapscript(script, rng),
    }
}

/// A leaf without signatures.
fn tapscript(script: Vec<u8>, rng: &mut Rng) -> Spend {
    let leaf_hash = tagged("TapLeaf", |e| {
        e.input(&[0xc0]);
        e.input(&bitcoin::consensus::serialize(&bitcoin::VarInt::from(
            script.len(),
        )));
        e.input(&script);
    });
    let internal = Key::random(rng);
    let tweak = tagged("TapTweak", |e| {
        e.input(&internal.x_only());
        e.input(&leaf_hash);
    });
    let (output, parity) = internal.tweaked(tweak).expect("a hash is below the order");
    let mut witness = Vec::new();
    if rng.u8(..8) == 0 {
        witness = vec![Vec::new(); rng.usize(998..=1002)];
    }
    witness.extend([script, [&[0xc0 | parity][..], &internal.x_only()].concat()]);
    Spend {
        script_pubkey: [&[0x51, 32], &output.x_only()[..]].concat(),
        script_sig: Vec::new(),
        witness,
    }
}

/// Any version, any length.
fn witness_program(rng: &mut Rng) -> Spend {
    let program = match rng.u8(..4) {
        0 => vec![0x4e, 0x73],
        _ => bytes(rng, 0..44),
    };
    let mut script_pubkey = vec![match rng.u8(..18) {
        0 => 0,
        version => 0x50 + version.min(16),
    }];
    script_pubkey.extend(push(&program));
    Spend {
        script_pubkey,
        script_sig: if rng.u8(..4) == 0 {
            vec![0x51]
        } else {
            Vec::new()
        },
        witness: (0..rng.usize(..3)).map(|_| bytes(rng, 0..40)).collect(),
    }
}

fn junk(rng: &mut Rng) -> Spend {
    Spend {
        script_pubkey: bytes(rng, 0..40),
        script_sig: bytes(rng, 0..20),
        witness: (0..rng.usize(..2)).map(|_| bytes(rng, 0..20)).collect(),
    }
}

/// One change somewhere after everything was signed.
fn mutate(case: &mut Case, rng: &mut Rng) {
    let input = &mut case.tx.input[case.index];
    let mut witness = input.witness.to_vec();
    match rng.u8(..12) {
        0 => {
            let mut script = input.script_sig.to_bytes();
            damage(&mut script, rng);
            input.script_sig = ScriptBuf::from_bytes(script);
        }
        1..4 => {
            if let Some(item) = rng.choice(&mut witness) {
                damage(item, rng);
            }
        }
        4 => {
            if !witness.is_empty() {
                witness.remove(rng.usize(..witness.len()));
            }
        }
        5 => witness.insert(rng.usize(..=witness.len()), bytes(rng, 0..4)),
        6 => witness.clear(),
        7 => {
            let script = &mut case.spent[case.index].script_pubkey;
            let mut changed = script.to_bytes();
            damage(&mut changed, rng);
            *script = ScriptBuf::from_bytes(changed);
        }
        8 => case.spent[case.index].value = Amount::from_sat(rng.u64(..1_000)),
        9 => input.sequence = Sequence(input.sequence.0 ^ 1),
        10 => {
            // An operation in the scriptSig: no longer pushes only.
            let mut script = input.script_sig.to_bytes();
            script.push(0x61);
            input.script_sig = ScriptBuf::from_bytes(script);
        }
        _ => {
            if let Some(output) = rng.choice(&mut case.tx.output) {
                output.value = Amount::from_sat(1);
            }
        }
    }
    case.tx.input[case.index].witness = Witness::from_slice(&witness);
}

fn pushes(stack: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    stack
        .iter()
        .flat_map(|item| match rng.u8(..30) {
            // Longer than it need be.
            0 if item.len() < 256 => [&[0x4c, item.len() as u8][..], item].concat(),
            1 => {
                let length = (item.len() as u32).to_le_bytes();
                [&[0x4e][..], &length, item].concat()
            }
            _ => push(item),
        })
        .collect()
}

fn bytes(rng: &mut Rng, length: std::ops::Range<usize>) -> Vec<u8> {
    (0..rng.usize(length)).map(|_| rng.u8(..)).collect()
}

fn tagged(tag: &str, write: impl FnOnce(&mut sha256::HashEngine)) -> [u8; 32] {
    let tag = sha256::Hash::hash(tag.as_bytes());
    let mut engine = sha256::Hash::engine();
    engine.input(&tag[..]);
    engine.input(&tag[..]);
    write(&mut engine);
    sha256::Hash::from_engine(engine).to_byte_array()
}
