//! The HTLC on Bitcoin before a real bitcoind: what may spend it, and what may not, by its key and by both leaves.

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::secp256k1::{Keypair, Message, PublicKey, SECP256K1, SecretKey};
use bitcoin::sighash::{Prevouts, SighashCache};
use bitcoin::taproot::{LeafVersion, TapLeafHash};
use bitcoin::{
    Network, OutPoint, ScriptBuf, Sequence, TapSighash, TapSighashType, Transaction, Txid, Witness,
};
use elements::secp256k1_zkp::rand::SeedableRng as _;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use serde_json::{Value, json};
use swaprig::swap::musig::{Session, answer};
use swaprig::swap::taproot::{
    InternalKey, Locked, SpendInfo, Taproot, claim, classify, cooperative, cooperative_sighash,
    finish_cooperative, refund,
};
use swaprig::swap::{FeeRate, Htlc, Spend};
use swaprig_harness::World;
use swaprig_harness::time::Deadline;
use swaprig_harness::units::{BlockDelta, Height, PaymentHash, Preimage, Sat};

use crate::support;

const PREIMAGE: Preimage = Preimage([7; 32]);
const CLAIMER: u8 = 1;
const REFUNDER: u8 = 2;
const STRANGER: u8 = 9;
const AMOUNT: Sat = Sat(100_000);
const RATE: FeeRate = FeeRate(2_000);
/// Blocks from the first look at the chain to the timeout.
const DELTA: u32 = 6;

fn soon() -> Deadline {
    Deadline::after(support::SOON)
}

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

fn public(byte: u8) -> PublicKey {
    secret(byte).public_key(SECP256K1)
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(11)
}

fn both() -> [InternalKey; 2] {
    [
        InternalKey::Musig2,
        InternalKey::Unspendable { r: [0x77; 32] },
    ]
}

/// A world of bitcoind alone, and where its miner wants coins.
struct Chain {
    world: World,
    destination: ScriptBuf,
    timeout: Height,
}

impl Chain {
    async fn start() -> Option<Chain> {
        let world = support::world()?.start().await.unwrap();
        let rpc = world.bitcoind().rpc();
        let destination = rpc.new_address(soon()).await.unwrap().script_pubkey();
        let height = world.bitcoind().height().await.unwrap();
        Some(Chain {
            timeout: Height(height.0 + DELTA),
            destination,
            world,
        })
    }

    fn htlc(&self) -> Htlc {
        Htlc {
            payment_hash: PREIMAGE.payment_hash(),
            claimer: public(CLAIMER),
            refunder: public(REFUNDER),
            timeout: self.timeout,
        }
    }

    async fn call(&self, method: &str, params: &[Value]) -> Value {
        let called = self.world.bitcoind().rpc().call(method, params, soon());
        called.await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Locks the amount, not confirmed yet.
    async fn lock(&self, taproot: Taproot) -> Locked {
        let address = taproot.address(Network::Regtest);
        let bitcoind = self.world.bitcoind();
        let txid = bitcoind.send(&address, AMOUNT).await.unwrap();
        let raw = self.call("getrawtransaction", &[json!(txid)]).await;
        let tx: Transaction =
            bitcoin::consensus::encode::deserialize_hex(raw.as_str().unwrap()).unwrap();
        let script = taproot.script_pubkey();
        let found = tx.output.iter().position(|out| out.script_pubkey == script);
        let vout = u32::try_from(found.unwrap()).unwrap();
        Locked {
            taproot,
            coins: vec![(OutPoint::new(txid, vout), AMOUNT)],
        }
    }

    async fn locked(&self, htlc: Htlc, internal: InternalKey) -> Locked {
        self.lock(Taproot::new(htlc, internal).unwrap()).await
    }

    async fn mine(&self, blocks: u32) -> Height {
        self.world.mine(BlockDelta(blocks)).await.unwrap()
    }

    /// `Ok`, or why the node would not take it.
    async fn verdict(&self, tx: &Transaction) -> Result<(), String> {
        let hex = json!([serialize_hex(tx)]);
        let answer = self.call("testmempoolaccept", &[hex]).await;
        match answer[0]["allowed"].as_bool() {
            Some(true) => Ok(()),
            _ => Err(answer[0].to_string()),
        }
    }

    #[track_caller]
    fn refused(name: &str, verdict: Result<(), String>, reason: &str) {
        let said = verdict.expect_err(name);
        assert!(said.contains(reason), "{name}: `{reason}` is not in {said}");
    }

    /// Sends it, mines it, and reads it back out of its block.
    async fn confirm(&self, tx: &Transaction) -> Transaction {
        self.call("sendrawtransaction", &[json!(serialize_hex(tx))])
            .await;
        self.mine(1).await;
        let block = self.call("getbestblockhash", &[]).await;
        let txid: Txid = tx.compute_txid();
        let found = self
            .call("getrawtransaction", &[json!(txid), json!(0), block])
            .await;
        bitcoin::consensus::encode::deserialize_hex(found.as_str().unwrap()).unwrap()
    }

    fn claimed(&self, locked: &Locked) -> Transaction {
        let key = secret(CLAIMER);
        claim(locked, &PREIMAGE, &key, &self.destination, RATE, &mut rng()).unwrap()
    }

    fn refunded(&self, locked: &Locked) -> Transaction {
        let key = secret(REFUNDER);
        refund(locked, &key, &self.destination, RATE, &mut rng()).unwrap()
    }

    fn together(&self, locked: &Locked) -> Transaction {
        let mut tx = cooperative(locked, &self.destination, RATE).unwrap();
        co_sign(locked, &mut tx);
        tx
    }
}

/// One round between the claimer, who asks, and the refunder.
fn co_sign(locked: &Locked, tx: &mut Transaction) {
    let sighash = cooperative_sighash(locked, tx, 0).unwrap();
    let signers = locked.taproot.signers().unwrap();
    let session = Session::begin(&signers, &secret(CLAIMER), sighash, &mut rng()).unwrap();
    let asked = session.nonce();
    let (nonce, partial) =
        answer(&signers, &secret(REFUNDER), &asked, sighash, &mut rng()).unwrap();
    let signature = session.finish(&nonce, &partial).unwrap();
    finish_cooperative(tx, 0, &signature);
}

/// What a leaf's signature signs, computed here and not by the module under test.
fn leaf_sighash(locked: &Locked, tx: &Transaction, leaf: &ScriptBuf) -> TapSighash {
    let leaf = TapLeafHash::from_script(leaf, LeafVersion::TapScript);
    let outputs = locked.outputs();
    SighashCache::new(tx)
        .taproot_script_spend_signature_hash(
            0,
            &Prevouts::All(&outputs),
            leaf,
            TapSighashType::Default,
        )
        .unwrap()
}

fn signed(sighash: TapSighash, key: &SecretKey) -> Vec<u8> {
    let keypair = Keypair::from_secret_key(SECP256K1, key);
    let message = Message::from_digest(sighash.to_byte_array());
    let signature = SECP256K1.sign_schnorr_no_aux_rand(&message, &keypair);
    signature.as_ref().to_vec()
}

/// The claim's witness by hand: any key, any preimage.
fn claim_by_hand(locked: &Locked, tx: &mut Transaction, key: u8, preimage: &[u8]) {
    let info = locked.taproot.spend_info();
    let SpendInfo {
        claim_leaf,
        claim_control,
        ..
    } = &info;
    let signature = signed(leaf_sighash(locked, tx, claim_leaf), &secret(key));
    tx.input[0].witness = Witness::from_slice(&[
        signature.as_slice(),
        preimage,
        claim_leaf.as_bytes(),
        &claim_control.serialize(),
    ]);
}

/// The refund's witness by hand: any key.
fn refund_by_hand(locked: &Locked, tx: &mut Transaction, key: u8) {
    let info = locked.taproot.spend_info();
    let signature = signed(leaf_sighash(locked, tx, &info.timeout_leaf), &secret(key));
    tx.input[0].witness = Witness::from_slice(&[
        signature.as_slice(),
        info.timeout_leaf.as_bytes(),
        &info.timeout_control.serialize(),
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preimage_and_the_claimers_key_claim_and_nothing_else_does() {
    let Some(chain) = Chain::start().await else {
        return;
    };
    for internal in both() {
        let locked = chain.locked(chain.htlc(), internal).await;
        let (outpoint, _) = locked.coins[0];
        chain.mine(1).await;
        let valid = chain.claimed(&locked);
        assert_eq!(chain.verdict(&valid).await, Ok(()));

        let by_hand = |key: u8, preimage: &[u8], change: fn(&mut Transaction)| {
            let mut tx = valid.clone();
            change(&mut tx);
            claim_by_hand(&locked, &mut tx, key, preimage);
            tx
        };
        let good = by_hand(CLAIMER, &PREIMAGE.0, |_| ());
        assert_eq!(chain.verdict(&good).await, Ok(()), "the hand is right");
        // This leaf asks for no sequence: zero is as good.
        let zero = by_hand(CLAIMER, &PREIMAGE.0, |tx| {
            tx.input[0].sequence = Sequence::ZERO
        });
        assert_eq!(chain.verdict(&zero).await, Ok(()));
        let unsigned_sequence = {
            let mut tx = valid.clone();
            tx.input[0].sequence = Sequence::ZERO;
            tx
        };
        let long = [PREIMAGE.0.as_slice(), &[7]].concat();
        let cases = [
            (
                "a sequence that was not signed",
                unsigned_sequence,
                "Invalid Schnorr signature",
            ),
            (
                "a stranger's key",
                by_hand(STRANGER, &PREIMAGE.0, |_| ()),
                "Invalid Schnorr signature",
            ),
            (
                "the refunder's key",
                by_hand(REFUNDER, &PREIMAGE.0, |_| ()),
                "Invalid Schnorr signature",
            ),
            (
                "a wrong preimage",
                by_hand(CLAIMER, &[8; 32], |_| ()),
                "EQUALVERIFY",
            ),
            (
                "31 bytes",
                by_hand(CLAIMER, &PREIMAGE.0[..31], |_| ()),
                "EQUALVERIFY",
            ),
            ("33 bytes", by_hand(CLAIMER, &long, |_| ()), "EQUALVERIFY"),
            ("no preimage", by_hand(CLAIMER, &[], |_| ()), "EQUALVERIFY"),
        ];
        for (name, tx, reason) in cases {
            Chain::refused(name, chain.verdict(&tx).await, reason);
        }
        let seen = chain.confirm(&valid).await;
        let spend = classify(&locked.taproot, &seen, outpoint);
        assert_eq!(spend, Some(Spend::Claim(PREIMAGE)));
    }
    chain.world.finish().await.unwrap();
}

/// The hash is right and the length is not: only OP_SIZE stands in the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preimage_of_another_length_claims_nothing_though_its_hash_is_right() {
    let Some(chain) = Chain::start().await else {
        return;
    };
    for length in [0, 31, 33, 64] {
        let preimage = vec![7; length];
        let htlc = Htlc {
            payment_hash: PaymentHash(sha256::Hash::hash(&preimage).to_byte_array()),
            ..chain.htlc()
        };
        let locked = chain.locked(htlc, InternalKey::Musig2).await;
        let mut tx = cooperative(&locked, &chain.destination, RATE).unwrap();
        claim_by_hand(&locked, &mut tx, CLAIMER, &preimage);
        let name = format!("{length} bytes");
        Chain::refused(&name, chain.verdict(&tx).await, "EQUALVERIFY");
    }
    chain.world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refunder_refunds_from_the_timeout_on_and_not_before() {
    let Some(chain) = Chain::start().await else {
        return;
    };
    let locked = [
        chain.locked(chain.htlc(), both()[0]).await,
        chain.locked(chain.htlc(), both()[1]).await,
    ];
    // The refund could be in the block after the timeout's: the tip is two before that.
    let height = chain.mine(DELTA - 1).await;
    assert_eq!(height.0, chain.timeout.0 - 1);
    for locked in &locked {
        let valid = chain.refunded(locked);
        Chain::refused(
            "before the timeout",
            chain.verdict(&valid).await,
            "non-final",
        );
        let early = |change: &dyn Fn(&mut Transaction)| {
            let mut tx = valid.clone();
            change(&mut tx);
            refund_by_hand(locked, &mut tx, REFUNDER);
            tx
        };
        let locktime = "Locktime requirement not satisfied";
        let by_one = early(&|tx| tx.lock_time = LockTime::from_consensus(height.0));
        Chain::refused(
            "an earlier locktime",
            chain.verdict(&by_one).await,
            locktime,
        );
        let none = early(&|tx| tx.lock_time = LockTime::ZERO);
        Chain::refused("no locktime", chain.verdict(&none).await, locktime);
        let time = early(&|tx| tx.lock_time = LockTime::from_consensus(500_000_001));
        Chain::refused("a time", chain.verdict(&time).await, locktime);
        // A final sequence switches the locktime off: the node finds it final, the script does not.
        let final_input = early(&|tx| tx.input[0].sequence = Sequence::MAX);
        Chain::refused(
            "a final sequence",
            chain.verdict(&final_input).await,
            locktime,
        );
    }
    assert_eq!(chain.mine(1).await, chain.timeout);
    for locked in &locked {
        let valid = chain.refunded(locked);
        assert_eq!(chain.verdict(&valid).await, Ok(()));
        let by = |key: u8, sequence: Sequence| {
            let mut tx = valid.clone();
            tx.input[0].sequence = sequence;
            refund_by_hand(locked, &mut tx, key);
            tx
        };
        let zero = by(REFUNDER, Sequence::ZERO);
        assert_eq!(chain.verdict(&zero).await, Ok(()), "sequence zero");
        for key in [STRANGER, CLAIMER] {
            let tx = by(key, valid.input[0].sequence);
            let verdict = chain.verdict(&tx).await;
            Chain::refused("a wrong key", verdict, "Invalid Schnorr signature");
        }
        let locktime = "Locktime requirement not satisfied";
        let verdict = chain.verdict(&by(REFUNDER, Sequence::MAX)).await;
        Chain::refused("a final sequence", verdict, locktime);
        // The claim is as good as ever: who comes first has it.
        assert_eq!(chain.verdict(&chain.claimed(locked)).await, Ok(()));
        let seen = chain.confirm(&valid).await;
        let spend = classify(&locked.taproot, &seen, locked.coins[0].0);
        assert_eq!(spend, Some(Spend::Refund));
    }
    chain.world.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_two_together_spend_at_any_time_and_neither_alone() {
    let Some(chain) = Chain::start().await else {
        return;
    };
    for after_timeout in [false, true] {
        let locked = chain.locked(chain.htlc(), InternalKey::Musig2).await;
        let blocks = if after_timeout { DELTA } else { 1 };
        chain.mine(blocks).await;
        let valid = chain.together(&locked);
        assert_eq!(chain.verdict(&valid).await, Ok(()));
        let mut zero = cooperative(&locked, &chain.destination, RATE).unwrap();
        zero.input[0].sequence = Sequence::ZERO;
        co_sign(&locked, &mut zero);
        assert_eq!(chain.verdict(&zero).await, Ok(()), "sequence zero");

        let sighash = cooperative_sighash(&locked, &valid, 0).unwrap();
        for key in [CLAIMER, REFUNDER, STRANGER] {
            let mut alone = valid.clone();
            alone.input[0].witness = Witness::from_slice(&[signed(sighash, &secret(key))]);
            let verdict = chain.verdict(&alone).await;
            Chain::refused("one alone", verdict, "Invalid Schnorr signature");
        }
        let mut elsewhere = valid.clone();
        elsewhere.output[0].value -= bitcoin::Amount::from_sat(1);
        let verdict = chain.verdict(&elsewhere).await;
        Chain::refused("another output", verdict, "Invalid Schnorr signature");
        let seen = chain.confirm(&valid).await;
        let spend = classify(&locked.taproot, &seen, locked.coins[0].0);
        assert_eq!(spend, Some(Spend::Cooperative));
    }
    chain.world.finish().await.unwrap();
}

/// Where the key is to be nobody's, what is published of it is no key to the coins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_spends_by_the_key_that_nobody_has() {
    let Some(chain) = Chain::start().await else {
        return;
    };
    let r = [0x77; 32];
    let locked = chain
        .locked(chain.htlc(), InternalKey::Unspendable { r })
        .await;
    let tx = cooperative(&locked, &chain.destination, RATE).unwrap();
    let sighash = cooperative_sighash(&locked, &tx, 0).unwrap();
    let r = SecretKey::from_slice(&r).unwrap();
    let info = locked.taproot.spend_info();
    let tweak =
        bitcoin::TapTweakHash::from_key_and_tweak(info.internal_key, Some(info.merkle_root));
    let tweaked = r.add_tweak(&tweak.to_scalar()).unwrap();
    for key in [r, tweaked, secret(CLAIMER), secret(REFUNDER)] {
        let mut tx = tx.clone();
        tx.input[0].witness = Witness::from_slice(&[signed(sighash, &key)]);
        let verdict = chain.verdict(&tx).await;
        Chain::refused("the key path", verdict, "Invalid Schnorr signature");
    }
    chain.world.finish().await.unwrap();
}
