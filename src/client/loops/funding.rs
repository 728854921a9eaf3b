//! The funding of a loop in, from the client's own wallet: signed, stored, sent, and sent again.

use std::collections::HashSet;

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut};
use swaprig_units::{Height, Sat};

use super::super::drive::Step;
use super::super::{Reason, Refusal, StoreError};
use super::record::{Contract, Record, Signed, Stage};
use super::{LoopError, Looper, check};
use crate::chain::BroadcastError;
use crate::failpoint::boundary;
use crate::swap::FeeRate;

impl Looper {
    /// Locks the coins: signs and stores the funding when there is none, and sends it.
    pub(super) async fn fund(&self, record: &mut Record, tip: Height) -> Result<Step, LoopError> {
        if record.funding.is_none() {
            let Some(contract) = record.contract else {
                return Err(
                    StoreError::Row("it is to be funded and has no contract".into()).into(),
                );
            };
            if let Err(refusal) = check::time(&self.config.policy, &record.ask, &contract, tip) {
                return self.end(record, Stage::Refunding, refusal);
            }
            match self.sign_funding(record, &contract).await {
                Ok(()) => {}
                Err(LoopError::Refused(refusal)) => {
                    return self.end(record, Stage::Refunding, refusal);
                }
                Err(error) => return Err(error),
            }
            boundary("loops.funding-stored");
        }
        let Some(funding) = &record.funding else {
            return Ok(Step::Waiting("the funding to be signed".into()));
        };
        let transaction = read(&funding.raw)?;
        let sent = self.chain.broadcast(&transaction).await;
        boundary("loops.funding-sent");
        match sent {
            Ok(txid) => Ok(Step::Waiting(format!("the funding {txid} was sent"))),
            Err(BroadcastError::MissingInputs { text }) => {
                let standing = self.chain.standing(&transaction).await?;
                if !standing.conflicted {
                    return Ok(Step::Waiting(format!("the funding was not taken: {text}")));
                }
                // Its coins went elsewhere, in a block: it can never be in this chain.
                record.funding = None;
                self.store.update(record)?;
                Ok(Step::Moved)
            }
            Err(BroadcastError::Rejected { text }) => {
                Ok(Step::Waiting(format!("the funding was not taken: {text}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the wallet has enough, as far as that is known before the server tells its fee.
    pub(super) async fn dry_run(&self, record: &Record) -> Result<(), LoopError> {
        let rate = self.chain.fee_rate(record.ask.conf_target).await;
        // Any taproot output: they have one size.
        let script = self.chain.change_script(record.key_index);
        self.chain.sync().await?;
        let outputs = [output(record.ask.amount, script)];
        self.chain.select(&outputs, rate, &self.reserved()?)?;
        Ok(())
    }

    async fn sign_funding(
        &self,
        record: &mut Record,
        contract: &Contract,
    ) -> Result<(), LoopError> {
        let rate = self.chain.fee_rate(record.ask.conf_target).await;
        let Some(taproot) = record.taproot() else {
            return Err(StoreError::Row("it is to be funded and has no offer".into()).into());
        };
        let outputs = vec![output(contract.value, taproot?.script_pubkey())];
        let _choosing = self.choosing.lock().await;
        let chosen = self.chain.select(&outputs, rate, &self.reserved()?)?;
        let cap = record.ask.caps.miner_fee;
        if chosen.fee > cap {
            let seen = format!("the funding would cost {}, the most is {cap}", chosen.fee);
            return Err(Refusal::new(Reason::MinerFeeAboveCap, seen).into());
        }
        let coins: Vec<OutPoint> = chosen.outpoints().collect();
        let signed = self.chain.fund(&coins, outputs, record.key_index, rate)?;
        record.funding = Some(signed_of(&signed, None, chosen.fee, rate, false));
        self.store.update(record)?;
        Ok(())
    }

    /// The coins that fundings of loops spend, which are not over or may still be sent.
    fn reserved(&self) -> Result<HashSet<OutPoint>, LoopError> {
        let mut reserved = HashSet::new();
        for record in self.store.all()? {
            if let Some(funding) = &record.funding {
                let inputs = read(&funding.raw)?.input;
                reserved.extend(inputs.iter().map(|input| input.previous_output));
            }
        }
        Ok(reserved)
    }
}

fn output(value: Sat, script_pubkey: ScriptBuf) -> TxOut {
    TxOut {
        value: Amount::from_sat(value.0),
        script_pubkey,
    }
}

/// A transaction that this client stored.
pub(super) fn read(raw: &str) -> Result<Transaction, StoreError> {
    deserialize_hex(raw).map_err(|error| StoreError::Row(format!("a stored transaction: {error}")))
}

/// A transaction as it is stored.
pub(super) fn signed_of(
    transaction: &Transaction,
    spends: Option<OutPoint>,
    fee: Sat,
    bid: FeeRate,
    cooperative: bool,
) -> Signed {
    Signed {
        txid: transaction.compute_txid(),
        spends,
        raw: serialize_hex(transaction),
        fee,
        bid: bid.0,
        cooperative,
    }
}
