//! The spends of an HTLC, by P2WSH v0 and by a taproot script path, of explicit and of confidential outputs: those that
//! are right go through, the others fail with the script's own reason.

use elements::Script;

use super::case;
use crate::Case;
use crate::lab::Wanted;
use crate::trial::{Step, Trial, Verdict};
use crate::tx::{Coin, Draft, FEE, Htlc, Key, Seeded, Spend};

pub(super) const CASES: &[Case] = &[
    case!(
        "htlc/v0-explicit",
        Shared,
        "P2WSH with an explicit amount",
        v0_explicit
    ),
    case!(
        "htlc/v0-confidential",
        Shared,
        "P2WSH with a confidential amount",
        v0_confidential
    ),
    case!(
        "htlc/taproot-explicit",
        Shared,
        "taproot script path with an explicit amount",
        taproot_explicit
    ),
    case!(
        "htlc/taproot-confidential",
        Shared,
        "taproot script path with a confidential amount",
        taproot_confidential
    ),
];

/// How the output is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    V0,
    Taproot,
}

async fn v0_explicit(t: &mut Trial<'_>) -> Step<()> {
    spends(t, Lock::V0, false).await
}

async fn v0_confidential(t: &mut Trial<'_>) -> Step<()> {
    spends(t, Lock::V0, true).await
}

async fn taproot_explicit(t: &mut Trial<'_>) -> Step<()> {
    spends(t, Lock::Taproot, false).await
}

async fn taproot_confidential(t: &mut Trial<'_>) -> Step<()> {
    spends(t, Lock::Taproot, true).await
}

const EQUALVERIFY: Verdict<'static> = Verdict::Refused {
    reason: "mempool-script-verify-flag-failed (Script failed an OP_EQUALVERIFY operation)",
    error: "-26: mempool-script-verify-flag-failed (Script failed an OP_EQUALVERIFY operation)",
};
const NULLFAIL: Verdict<'static> = Verdict::Refused {
    reason: "mempool-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)",
    error: "-26: mempool-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)",
};
const SCHNORR: Verdict<'static> = Verdict::Refused {
    reason: "mempool-script-verify-flag-failed (Invalid Schnorr signature)",
    error: "-26: mempool-script-verify-flag-failed (Invalid Schnorr signature)",
};
const LOCKTIME: Verdict<'static> = Verdict::Refused {
    reason: "mempool-script-verify-flag-failed (Locktime requirement not satisfied)",
    error: "-26: mempool-script-verify-flag-failed (Locktime requirement not satisfied)",
};
const NON_FINAL: Verdict<'static> = Verdict::Refused {
    reason: "non-final",
    error: "-26: non-final",
};

async fn spends(t: &mut Trial<'_>, lock: Lock, confidential: bool) -> Step<()> {
    // Two of the same HTLC: one is claimed, the other refunded.
    let blinding = Key::new(&mut t.random);
    let timeout = t.lab.height().await? + 6;
    let htlc = Htlc::new(&mut t.random, timeout);
    let script = match lock {
        Lock::V0 => htlc.p2wsh(),
        Lock::Taproot => htlc.p2tr(),
    };
    let wanted = Wanted {
        script,
        value: 100_000,
        blinder: confidential.then(|| blinding.blinder()),
    };
    let coins = t.lab.fund(&mut t.random, &[wanted.clone(), wanted]).await?;
    let to = Key::new(&mut t.random);
    let spending = Spending {
        htlc: &htlc,
        lock,
        to: to.script(),
        blinding: confidential.then_some(&blinding),
        t_genesis: t.lab.genesis,
        lbtc: t.lab.lbtc,
        random: t.random.clone(),
    };
    let wrong_key = match lock {
        Lock::V0 => NULLFAIL,
        Lock::Taproot => SCHNORR,
    };
    let make = |coin: &Coin, spend: Spend, lock_time: u32| spending.make(coin, spend, lock_time);
    for (label, spend, verdict) in [
        ("wrong preimage", Spend::WrongPreimage, EQUALVERIFY),
        ("preimage of 31 bytes", Spend::WrongLength, EQUALVERIFY),
        ("wrong key", Spend::WrongKey, wrong_key),
    ] {
        t.verdict(label, &make(&coins[0], spend, 0), verdict)
            .await?;
    }
    t.verdict(
        "refund with no nLockTime",
        &make(&coins[1], Spend::Refund, 0),
        LOCKTIME,
    )
    .await?;
    t.verdict(
        "refund with an nLockTime before the timeout",
        &make(&coins[1], Spend::Refund, timeout - 5),
        LOCKTIME,
    )
    .await?;
    t.verdict(
        "refund before the timeout",
        &make(&coins[1], Spend::Refund, timeout),
        NON_FINAL,
    )
    .await?;
    t.verdict(
        "claim",
        &make(&coins[0], Spend::Claim, 0),
        Verdict::Accepted,
    )
    .await?;
    let height = t.lab.height().await?;
    // nLockTime names the last block that may not have it: at this height the next block is the first that may.
    t.lab.mine(timeout - 1 - height).await?;
    t.verdict(
        "refund one block before the timeout",
        &make(&coins[1], Spend::Refund, timeout),
        NON_FINAL,
    )
    .await?;
    t.lab.mine(1).await?;
    let final_sequence = make(&coins[1], Spend::Refund, timeout);
    let mut final_sequence = final_sequence;
    final_sequence.tx.input[0].sequence = elements::Sequence::MAX;
    let final_sequence = spending.sign(final_sequence, Spend::Refund);
    t.verdict("refund with a final sequence", &final_sequence, LOCKTIME)
        .await?;
    t.verdict(
        "refund at the timeout",
        &make(&coins[1], Spend::Refund, timeout),
        Verdict::Accepted,
    )
    .await?;
    let block = t.lab.mine(1).await?.remove(0);
    let block = t.node("getblock", serde_json::json!([block])).await?;
    t.expect("the refund is mined", block["nTx"].to_string(), "2");
    Ok(())
}

/// What all spends of one HTLC have in common.
struct Spending<'a> {
    htlc: &'a Htlc,
    lock: Lock,
    to: Script,
    blinding: Option<&'a Key>,
    t_genesis: elements::BlockHash,
    lbtc: elements::AssetId,
    random: Seeded,
}

impl Spending<'_> {
    fn make(&self, coin: &Coin, spend: Spend, lock_time: u32) -> Draft {
        let draft = Draft::spending(&[coin]).lock_time(lock_time);
        let value = coin.value() - FEE;
        let draft = match self.blinding {
            // An explicit output beside it, as a claim to an explicit address would have.
            Some(key) => draft
                .pay(self.to.clone(), value - 10_000, self.lbtc)
                .pay_blinded(self.to.clone(), 10_000, self.lbtc, key.blinder())
                .fee(FEE, self.lbtc)
                .blind(&mut self.random.clone()),
            None => draft
                .pay(self.to.clone(), value, self.lbtc)
                .fee(FEE, self.lbtc),
        };
        self.sign(draft, spend)
    }

    fn sign(&self, draft: Draft, spend: Spend) -> Draft {
        match self.lock {
            Lock::V0 => self.htlc.spend_v0(draft, spend),
            Lock::Taproot => self.htlc.spend_taproot(draft, spend, self.t_genesis),
        }
    }
}
