//! The claim: signed, stored, sent, sent again, and outbid, until it is as deep as the policy asks. What happened is read from
//! the chain each time, so that a reorganisation is nothing special.

use elements::encode::serialize_hex;
use elements::secp256k1_zkp::rand::rngs::OsRng;
use elements::{OutPoint, Transaction};
use swaprig_units::{Preimage, Sat};
use uuid::Uuid;

use super::buyer::Buyer;
use super::drive::{Step, call};
use super::policy::affordable;
use super::record::{Claim, Offer, Record, Stage};
use super::source::View;
use super::{BuyError, Policy, SourceError, StoreError, from_hex};
use crate::failpoint::boundary;
use crate::swap::{FeeRate, Locked, Spend, claim, classify};

impl Buyer {
    /// One look at the payment and at the claim: sends it, sends it again, or outbids it where that is due.
    ///
    /// # Errors
    /// When the preimage is not known yet, or nobody answers.
    pub async fn claim(&self, id: Uuid) -> Result<Record, BuyError> {
        let mut record = self.status(id)?;
        if record.stage == Stage::Paying {
            // The preimage may be there by now.
            record = self.pay(id).await?;
        }
        match record.stage {
            Stage::Claiming => {
                self.claim_record(&mut record).await?;
                Ok(record)
            }
            Stage::Claimed => Ok(record),
            stage => Err(BuyError::NotNow {
                stage,
                what: "there is no preimage to claim with",
            }),
        }
    }

    pub(super) async fn claim_record(&self, record: &mut Record) -> Result<Step, BuyError> {
        let (Some(offer), Some(preimage)) = (record.offer.clone(), record.preimage) else {
            return Err(
                StoreError::Row("it is being claimed and lacks offer or preimage".into()).into(),
            );
        };
        let locked = self.locked(record, &offer);
        let script = locked.htlc.script_pubkey();
        let view = self.source.view(&script, call()).await?;
        let depth = self.config.policy.claim_depth.max(1);
        match spent(&locked, &view) {
            Spent::Claimed(found) if found >= depth => {
                record.stage = Stage::Claimed;
                self.store.update(record)?;
                Ok(Step::Over)
            }
            Spent::Claimed(found) if found > 0 => Ok(Step::Waiting(format!(
                "the claim is {found} of {depth} blocks deep"
            ))),
            Spent::Refunded(found) if found >= depth => {
                record.stage = Stage::Lost;
                self.store.update(record)?;
                Ok(Step::Over)
            }
            Spent::Claimed(_) => {
                self.bid(record, &offer, &locked, &preimage, &view, true)
                    .await
            }
            // Also against a refund that is not deep: who is in the chain in the end decides.
            Spent::Refunded(_) | Spent::Not => {
                self.bid(record, &offer, &locked, &preimage, &view, false)
                    .await
            }
        }
    }

    /// Sends what the time that is left asks for: the claim of before, or one that bids more.
    async fn bid(
        &self,
        record: &mut Record,
        offer: &Offer,
        locked: &Locked,
        preimage: &Preimage,
        view: &View,
        is_waiting: bool,
    ) -> Result<Step, BuyError> {
        if let Some(funding) = &offer.funding
            && view.find(funding.txid).is_none()
        {
            // A reorganisation has dropped it. Whoever sends it first: that it is there already is no failure.
            let raw = from_hex(&funding.raw);
            let sent: Result<(), SourceError> = self.source.broadcast(&raw, call()).await;
            tracing::info!(swap = %record.request.request_id, "sent the funding again: {sent:?}");
        }
        let made = self.sign(record, locked, preimage, view)?;
        let higher = made.is_some();
        if let Some(claim) = made {
            record.claims.push(claim);
            self.store.update(record)?;
            boundary("client.claim-stored");
        }
        if is_waiting && !higher {
            return Ok(Step::Waiting("the claim waits for a block".into()));
        }
        let Some(last) = record.claims.last() else {
            return Ok(Step::Waiting("no claim can be paid for".into()));
        };
        let sent = self.source.broadcast(&from_hex(&last.raw), call()).await;
        boundary("client.claim-sent");
        match sent {
            Ok(()) => Ok(Step::Waiting("the claim was sent".into())),
            Err(error) if error.is_refusal() => {
                Ok(Step::Waiting(format!("the claim was not taken: {error}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A claim that bids more than the last one, when that is due.
    fn sign(
        &self,
        record: &Record,
        locked: &Locked,
        preimage: &Preimage,
        view: &View,
    ) -> Result<Option<Claim>, BuyError> {
        let Policy { bid, .. } = &self.config.policy;
        let key = self.config.seed.claim_key(record.key_index);
        let asked = bid.at(view.tip, locked.htlc.timeout);
        if record.claims.last().is_some_and(|last| asked.0 <= last.bid) {
            return Ok(None);
        }
        let destination = &self.config.destination;
        let signed = affordable(asked, FeeRate::MIN_RELAY, |rate| {
            claim(locked, preimage, &key, destination, rate, &mut OsRng)
        })?;
        let claim = Claim {
            txid: signed.txid(),
            fee: Sat(signed.fee_in(locked.lbtc)),
            raw: serialize_hex(&signed),
            bid: asked.0,
        };
        let is_due = record
            .claims
            .last()
            .is_none_or(|last| claim.fee >= least_to_replace(last, &signed));
        Ok(is_due.then_some(claim))
    }
}

/// A replacement pays for what it replaces and for its own way through the network (BIP 125, rule 4), whether or not the
/// network discounts confidential outputs.
fn least_to_replace(last: &Claim, next: &Transaction) -> Sat {
    let own = FeeRate::MIN_RELAY.fee(next.vsize());
    Sat(last.fee.0.saturating_add(own.0))
}

/// How an HTLC was spent, with the depth of what spent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    Not,
    Claimed(u32),
    Refunded(u32),
}

/// What the chain shows. Of two outputs the less favourable counts: a claim is whole or is none.
fn spent(locked: &Locked, view: &View) -> Spent {
    let how = |outpoint: OutPoint| {
        let Some(found) = view.spender(outpoint) else {
            return Spent::Not;
        };
        let depth = view.depth(found);
        match classify(&locked.htlc, &found.transaction, outpoint) {
            Some(Spend::Claim(_)) => Spent::Claimed(depth),
            Some(Spend::Refund) => Spent::Refunded(depth),
            // No other spend is valid: the source shows one that no node has checked.
            Some(Spend::Cooperative) | None => Spent::Not,
        }
    };
    let all = locked.coins.iter().map(|coin| how(coin.outpoint));
    all.reduce(|one, other| match (one, other) {
        (Spent::Refunded(a), Spent::Refunded(b)) => Spent::Refunded(a.max(b)),
        (Spent::Refunded(a), _) | (_, Spent::Refunded(a)) => Spent::Refunded(a),
        (Spent::Not, _) | (_, Spent::Not) => Spent::Not,
        (Spent::Claimed(a), Spent::Claimed(b)) => Spent::Claimed(a.min(b)),
    })
    .unwrap_or(Spent::Not)
}
