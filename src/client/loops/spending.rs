//! Claims and refunds: signed, stored, sent, sent again, and outbid, until they are as deep as the policy asks; with the server's
//! signature where that is to be had, and without it where not.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, ScriptBuf, Transaction};
use elements::secp256k1_zkp::rand::rngs::OsRng;
use swaprig_harness::time::Deadline;
use swaprig_proto::loops::CosignRequest;
use swaprig_units::{Height, Sat};

use super::super::StoreError;
use super::super::drive::{Step, call};
use super::super::policy::affordable;
use super::funding::{read, signed_of};
use super::plan::Seen;
use super::policy::{MIN_RELAY, Policy};
use super::record::{Coin, Contract, Mode, Record, Signed};
use super::{LoopError, Looper, check};
use crate::chain::BroadcastError;
use crate::failpoint::boundary;
use crate::lightning::Outgoing;
use crate::swap::FeeRate;
use crate::swap::musig::{PartialSignature, PublicNonce, Session};
use crate::swap::taproot::{
    Locked, claim, cooperative, cooperative_sighash, finish_cooperative, refund,
};

/// What came of an attempt to spend.
enum Attempt {
    /// This is to be sent.
    Signed(Transaction, bool),
    /// It is too early, or the server has not signed yet.
    NotYet(String),
}

impl Looper {
    /// Sends what the time that is left asks for: the claim of before, or one that bids more.
    pub(super) async fn claim(
        &self,
        record: &mut Record,
        seen: &Seen,
        coin: Coin,
        is_waiting: bool,
    ) -> Result<Step, LoopError> {
        let (locked, contract) = locked(record, coin)?;
        let rate = self
            .rate(record, seen.tip, contract.timeout, Policy::claim_rate)
            .await;
        if !is_due(record.last_spend(coin.outpoint), rate) {
            return self.send(record, coin, is_waiting).await;
        }
        let attempt = match self.may_cooperate(record, &contract, seen.tip) {
            true => self.claim_together(record, &locked, rate).await?,
            false => self.claim_alone(record, &locked, rate)?,
        };
        self.bid(record, coin, attempt, rate, is_waiting).await
    }

    /// Takes an output of a loop in back: with the server's signature at once, or alone from the timeout on.
    pub(super) async fn take_back(
        &self,
        record: &mut Record,
        seen: &Seen,
        coin: Coin,
        is_waiting: bool,
    ) -> Result<Step, LoopError> {
        let (locked, contract) = locked(record, coin)?;
        let timeout = contract.timeout;
        let rate = self
            .rate(record, seen.tip, timeout, Policy::refund_rate)
            .await;
        if !is_due(record.last_spend(coin.outpoint), rate) {
            return self.send(record, coin, is_waiting).await;
        }
        let mut attempt = Attempt::NotYet(String::new());
        if record.ask.cooperative && check::can_cooperate(&contract) {
            attempt = self.refund_together(record, &locked, rate).await?;
        }
        if let Attempt::NotYet(why) = &attempt {
            // The block after the tip must be higher than the timeout.
            if seen.tip < timeout {
                let why = format!("the timeout at {timeout}, or the server's signature: {why}");
                return Ok(Step::Waiting(why));
            }
            let (key, to) = (self.key(record), self.destination(record)?);
            let signed = affordable(rate, MIN_RELAY, |rate| {
                refund(&locked, &key, &to, rate, &mut OsRng)
            })?;
            attempt = Attempt::Signed(signed, false);
        }
        self.bid(record, coin, attempt, rate, is_waiting).await
    }

    /// What is bid now, by a rule of the policy.
    async fn rate(
        &self,
        record: &Record,
        tip: Height,
        timeout: Height,
        rule: impl Fn(&Policy, FeeRate, Sat, Height, Height) -> FeeRate,
    ) -> FeeRate {
        let estimate = self.chain.fee_rate(record.ask.conf_target).await;
        let cap = record.ask.caps.miner_fee;
        rule(&self.config.policy, estimate, cap, tip, timeout)
    }

    fn key(&self, record: &Record) -> bitcoin::secp256k1::SecretKey {
        self.config.seed.loop_key(record.key_index)
    }

    fn destination(&self, record: &Record) -> Result<ScriptBuf, StoreError> {
        destination(&record.ask.destination)
    }

    /// Stores what was signed, when it pays for replacing the one before, and sends it.
    async fn bid(
        &self,
        record: &mut Record,
        coin: Coin,
        attempt: Attempt,
        rate: FeeRate,
        is_waiting: bool,
    ) -> Result<Step, LoopError> {
        let (transaction, together) = match attempt {
            Attempt::Signed(transaction, together) => (transaction, together),
            Attempt::NotYet(why) => return Ok(Step::Waiting(why)),
        };
        let left = transaction.output.iter().map(|o| o.value.to_sat()).sum();
        let fee = Sat(coin.value.0.saturating_sub(left));
        let last = record.last_spend(coin.outpoint);
        if last.is_some_and(|last| fee < least_to_replace(last, &transaction)) {
            return self.send(record, coin, is_waiting).await;
        }
        let outpoint = Some(coin.outpoint);
        let signed = signed_of(&transaction, outpoint, fee, rate, together);
        record.spends.push(signed);
        self.store.update(record)?;
        boundary("loops.spend-stored");
        self.send(record, coin, false).await
    }

    /// Sends the last one that was signed, unless it waits in the mempool.
    async fn send(&self, record: &Record, coin: Coin, is_waiting: bool) -> Result<Step, LoopError> {
        let Some(last) = record.last_spend(coin.outpoint) else {
            return Ok(Step::Waiting("nothing that can be sent".into()));
        };
        if is_waiting {
            return Ok(Step::Waiting(format!("{} waits for a block", last.txid)));
        }
        let sent = self.chain.broadcast(&read(&last.raw)?).await;
        boundary("loops.spend-sent");
        match sent {
            Ok(txid) => Ok(Step::Waiting(format!("{txid} was sent"))),
            Err(error @ BroadcastError::Unreachable(_)) => Err(error.into()),
            Err(error) => Ok(Step::Waiting(error.to_string())),
        }
    }

    fn claim_alone(
        &self,
        record: &Record,
        locked: &Locked,
        rate: FeeRate,
    ) -> Result<Attempt, LoopError> {
        let Some(preimage) = record.preimage else {
            return Err(StoreError::Row("it is being claimed and has no preimage".into()).into());
        };
        let (key, to) = (self.key(record), self.destination(record)?);
        let signed = affordable(rate, MIN_RELAY, |rate| {
            claim(locked, &preimage, &key, &to, rate, &mut OsRng)
        })?;
        Ok(Attempt::Signed(signed, false))
    }

    /// Whether the server is still waited for: not for long, and never into the blocks where the bid rises.
    fn may_cooperate(&self, record: &Record, contract: &Contract, tip: Height) -> bool {
        let policy = &self.config.policy;
        let since = record.revealed_at.unwrap_or(tip);
        let in_time = tip.0 <= since.0.saturating_add(policy.cooperation_blocks.0)
            && tip.0.saturating_add(policy.rises_for.0) < contract.timeout.0;
        record.ask.cooperative && !record.is_alone && in_time && check::can_cooperate(contract)
    }

    /// The claim with the server's signature; alone when the server does not sign, or not soon enough.
    async fn claim_together(
        &self,
        record: &mut Record,
        locked: &Locked,
        rate: FeeRate,
    ) -> Result<Attempt, LoopError> {
        let within = self.config.policy.cooperation;
        let id = record.ask.id;
        let until = *self
            .memory()
            .cooperation
            .entry(id)
            .or_insert_with(|| Deadline::after(within));
        let why = match self.ask_to_sign_claim(record, locked, rate, until).await {
            Ok(signed) => return Ok(Attempt::Signed(signed, true)),
            Err(error) => error,
        };
        let is_hopeless = matches!(why, LoopError::Musig(_) | LoopError::NotTheSpend(_));
        // A claim that was sent and is to be outbid does not wait again.
        let is_bump = record.last_spend(locked.coins[0].0).is_some();
        if !is_hopeless && !is_bump && !until.has_passed() {
            return Ok(Attempt::NotYet(format!("the server to sign: {why}")));
        }
        tracing::info!(loop_id = %id, "going on without the server's signature: {why}");
        record.is_alone = true;
        self.store.update(record)?;
        self.claim_alone(record, locked, rate)
    }

    async fn ask_to_sign_claim(
        &self,
        record: &Record,
        locked: &Locked,
        rate: FeeRate,
        until: Deadline,
    ) -> Result<Transaction, LoopError> {
        let hash = locked.taproot.htlc().payment_hash;
        let id = record.ask.id;
        let call = || until.at_most(call().remaining());
        if record.ask.mode == Mode::Out {
            let is_shown = self.memory().shown.contains(&id);
            if let (false, Some(preimage)) = (is_shown, &record.preimage) {
                self.server.show_preimage(hash, preimage, call()).await?;
                self.memory().shown.insert(id);
                boundary("loops.preimage-shown");
            }
            let stands = self.config.lightning.outgoing(hash).await?;
            if !matches!(stands, Outgoing::Succeeded(_)) {
                let what = "its payment was not taken yet";
                let stage = record.stage;
                return Err(LoopError::NotNow { stage, what });
            }
        }
        self.together(record, locked, rate, call()).await
    }

    /// The refund with the server's signature, which it gives when it will never pay.
    async fn refund_together(
        &self,
        record: &Record,
        locked: &Locked,
        rate: FeeRate,
    ) -> Result<Attempt, LoopError> {
        let hash = locked.taproot.htlc().payment_hash;
        let id = record.ask.id;
        let is_told = record.is_paid || self.memory().cancelled.contains(&id);
        if !is_told {
            match self.server.cancel(hash, call()).await {
                Ok(_) => {
                    self.memory().cancelled.insert(id);
                    boundary("loops.cancelled");
                }
                Err(error) => return Ok(Attempt::NotYet(error.to_string())),
            }
        }
        match self.together(record, locked, rate, call()).await {
            Ok(signed) => Ok(Attempt::Signed(signed, true)),
            // It may have to wait for its own payment to fail; a lie is no worse than a refusal.
            Err(
                error @ (LoopError::Server(_) | LoopError::Musig(_) | LoopError::NotTheSpend(_)),
            ) => Ok(Attempt::NotYet(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// One round of MuSig2: asks with a fresh nonce, which is forgotten with the answer.
    async fn together(
        &self,
        record: &Record,
        locked: &Locked,
        rate: FeeRate,
        deadline: Deadline,
    ) -> Result<Transaction, LoopError> {
        let to = self.destination(record)?;
        let mut transaction = affordable(rate, MIN_RELAY, |rate| cooperative(locked, &to, rate))?;
        let sighash = cooperative_sighash(locked, &transaction, 0)?;
        let Some(signers) = locked.taproot.signers() else {
            return Err(StoreError::Row("nobody can sign by its internal key".into()).into());
        };
        let session = Session::begin(&signers, &self.key(record), sighash, &mut OsRng)?;
        let request = CosignRequest {
            transaction: serialize_hex(&transaction),
            nonce: session.nonce().to_string(),
        };
        let hash = locked.taproot.htlc().payment_hash;
        let direction = record.ask.mode.direction();
        let answer = self
            .server
            .cosign(direction, hash, &request, deadline)
            .await?;
        let nonce: PublicNonce = answer.nonce.parse()?;
        let partial: PartialSignature = answer.partial_signature.parse()?;
        let signature = session.finish(&nonce, &partial)?;
        finish_cooperative(&mut transaction, 0, &signature);
        Ok(transaction)
    }
}

/// Where coins go, as it was stored when the loop was asked for: checked then to be of the network.
pub(super) fn destination(text: &str) -> Result<ScriptBuf, StoreError> {
    let address: Result<Address<_>, _> = text.parse();
    let address = address.map_err(|error| StoreError::Row(format!("destination: {error}")))?;
    Ok(address.assume_checked().script_pubkey())
}

fn locked(record: &Record, coin: Coin) -> Result<(Locked, Contract), LoopError> {
    let (Some(taproot), Some(contract)) = (record.taproot(), record.contract) else {
        return Err(
            StoreError::Row("coins are to be spent and no contract is there".into()).into(),
        );
    };
    let locked = Locked {
        taproot: taproot?,
        coins: vec![(coin.outpoint, coin.value)],
    };
    Ok((locked, contract))
}

/// Whether another transaction is to be signed.
fn is_due(last: Option<&Signed>, rate: FeeRate) -> bool {
    last.is_none_or(|last| rate.0 > last.bid)
}

/// A replacement pays for what it replaces and for its own way through the network (BIP 125, rule 4).
fn least_to_replace(last: &Signed, next: &Transaction) -> Sat {
    let own = MIN_RELAY.fee(next.vsize());
    Sat(last.fee.0.saturating_add(own.0))
}
