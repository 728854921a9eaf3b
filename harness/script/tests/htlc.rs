//! The spends of a hash-time-lock, on both chains, in P2WSH and in tapscript: who may take the money, and who may not, why.

mod common;

use bitcoin::hashes::{Hash, sha256};
use common::{Chain, Kind, Lock, Spend};
use swaprig_script::ScriptError;

const PREIMAGE: [u8; 32] = [0x42; 32];
const TIMEOUT: u32 = 144;

const CLAIMER: u8 = 1;
const REFUNDER: u8 = 2;

/// `IF SIZE 32 EQUALVERIFY SHA256 <hash> EQUALVERIFY <claimer> ELSE <timeout> CLTV DROP <refunder> ENDIF CHECKSIG`
fn htlc(kind: Kind) -> Vec<u8> {
    let hash = sha256::Hash::hash(&PREIMAGE);
    [
        &[0x63, 0x82, 0x01, 32, 0x88, 0xa8, 32][..],
        &hash[..],
        &[0x88],
        &common::push(&kind.key(CLAIMER)),
        &[0x67, 0x02, TIMEOUT as u8, 0, 0xb1, 0x75],
        &common::push(&kind.key(REFUNDER)),
        &[0x68, 0xac],
    ]
    .concat()
}

fn claim(preimage: &[u8], signer: u8) -> Spend {
    Spend {
        signer,
        below: Vec::new(),
        above: vec![preimage.to_vec(), vec![1]],
        lock: Lock {
            lock_time: 0,
            sequence: 0xffff_ffff,
        },
    }
}

fn refund(lock_time: u32, sequence: u32, signer: u8) -> Spend {
    Spend {
        signer,
        below: Vec::new(),
        above: vec![Vec::new()],
        lock: Lock {
            lock_time,
            sequence,
        },
    }
}

#[test]
fn six_spends() {
    use ScriptError::*;
    for chain in Chain::ALL {
        for kind in Kind::ALL {
            let bad_signature = match kind {
                Kind::P2wsh => SigNullFail,
                Kind::Tapscript => SchnorrSig,
            };
            let cases = [
                ("preimage", claim(&PREIMAGE, CLAIMER), Ok(())),
                ("wrong preimage", claim(&[7; 32], CLAIMER), Err(EqualVerify)),
                (
                    "short preimage",
                    claim(&[0x42; 31], CLAIMER),
                    Err(EqualVerify),
                ),
                ("wrong key", claim(&PREIMAGE, REFUNDER), Err(bad_signature)),
                (
                    "refund early",
                    refund(TIMEOUT - 1, 0, REFUNDER),
                    Err(UnsatisfiedLocktime),
                ),
                ("refund", refund(TIMEOUT, 0, REFUNDER), Ok(())),
                // Beyond the six.
                (
                    "refund late",
                    refund(TIMEOUT + 1, 0xffff_fffe, REFUNDER),
                    Ok(()),
                ),
                (
                    "refund by a final input",
                    refund(TIMEOUT, 0xffff_ffff, REFUNDER),
                    Err(UnsatisfiedLocktime),
                ),
                (
                    "refund by a time",
                    refund(1_700_000_000, 0, REFUNDER),
                    Err(UnsatisfiedLocktime),
                ),
                (
                    "refund by the claimer",
                    refund(TIMEOUT, 0, CLAIMER),
                    Err(bad_signature),
                ),
            ];
            for (name, spend, expected) in cases {
                let verdict = common::verify(chain, kind, &htlc(kind), &spend);
                assert_eq!(verdict, expected, "{chain:?} {kind:?}: {name}");
            }
        }
    }
}

/// A signature made for one chain, amount, output or input does not serve another.
#[test]
fn signatures_commit() {
    for chain in Chain::ALL {
        for kind in Kind::ALL {
            for change in common::Change::ALL {
                let verdict = common::verify_changed(
                    chain,
                    kind,
                    &htlc(kind),
                    &claim(&PREIMAGE, CLAIMER),
                    change,
                );
                let expected = match (change.is_covered(chain, kind), kind) {
                    (false, _) => Ok(()),
                    (true, Kind::P2wsh) => Err(ScriptError::SigNullFail),
                    (true, Kind::Tapscript) => Err(ScriptError::SchnorrSig),
                };
                assert_eq!(verdict, expected, "{chain:?} {kind:?} {change:?}");
            }
        }
    }
}

#[test]
fn another_script_is_not_the_one_committed_to() {
    for chain in Chain::ALL {
        for kind in Kind::ALL {
            let other = |script: &mut Vec<u8>| script.push(0x61);
            let verdict = common::verify_with(
                chain,
                kind,
                &htlc(kind),
                &claim(&PREIMAGE, CLAIMER),
                None,
                other,
            );
            assert_eq!(
                verdict,
                Err(ScriptError::WitnessProgramMismatch),
                "{chain:?} {kind:?}"
            );
        }
    }
}
