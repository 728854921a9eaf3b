//! What is offered in a direction, and what a loop would cost.

use std::sync::atomic::Ordering;

use swaprig_units::{BlockDelta, Height, Msat, Sat};

use super::{Engine, LoopError, wrong};
use crate::swap::ChainName;

/// Of a loop out's funding, which its client pays for; virtual bytes.
const FUNDING_VSIZE: usize = 240;
/// Of the server's claim of a loop in, which its client pays for; virtual bytes.
const CLAIM_VSIZE: usize = 155;
/// Of a client's own claim, or funding, for its quote; virtual bytes.
const CLIENT_VSIZE: usize = 155;

/// What is offered in a direction now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopTerms {
    /// The network.
    pub network: bitcoin::Network,
    /// The height at which this is so.
    pub height: Height,
    /// The smallest amount.
    pub least: Sat,
    /// The largest amount now; less than `least` when nothing can be looped.
    pub most: Sat,
    /// The part of the fee that does not depend on the amount, what the chain costs the server in it.
    pub base_fee: Sat,
    /// The part that does, millionths of the amount.
    pub fee_ppm: u32,
    /// What is paid in advance when the server locks coins first.
    pub prepay: Sat,
    /// Out: the most confirmations that can be asked for. In: what the server waits for.
    pub confirmations: u32,
    /// From the making of a loop to its timeout, at most.
    pub delta: BlockDelta,
}

/// What a loop would cost now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopQuote {
    /// What the client pays on top of the amount.
    pub fee: Sat,
    /// What the client's own transaction would cost.
    pub miner_fee: Sat,
    /// The depth at which the loop would count as funded.
    pub confirmations: u32,
    /// What the rest of the terms are.
    pub terms: LoopTerms,
}

/// The part of an amount in millionths, rounded up.
pub(super) fn ppm(amount: Sat, ppm: u32) -> Sat {
    let part = u128::from(amount.0) * u128::from(ppm);
    Sat(u64::try_from(part.div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

impl LoopTerms {
    pub(super) fn fee(&self, amount: Sat) -> Sat {
        Sat(self.base_fee.0.saturating_add(ppm(amount, self.fee_ppm).0))
    }

    /// Refuses an amount that is not offered.
    pub(super) fn offers(&self, amount: Sat) -> Result<(), LoopError> {
        let (least, most) = (self.least, self.most);
        if amount < least {
            let reason = format!("{amount} is less than {least}, the least that is looped");
            return Err(wrong("amount", reason));
        }
        if amount > most {
            let reason = format!("{amount} is more than {most}, the most that can be looped now");
            return Err(wrong("amount", reason));
        }
        Ok(())
    }

    /// Refuses, for a loop out, a number of confirmations that is not offered.
    pub(super) fn waits_for(&self, confirmations: u32) -> Result<(), LoopError> {
        match (1..=self.confirmations).contains(&confirmations) {
            true => Ok(()),
            false => {
                let reason = format!("must be 1 to {}", self.confirmations);
                Err(wrong("confirmations", reason))
            }
        }
    }

    /// Refuses a fee of more than the client would pay.
    pub(super) fn costs_at_most(&self, amount: Sat, most: Option<Sat>) -> Result<(), LoopError> {
        let fee = self.fee(amount);
        match most.filter(|most| fee > *most) {
            Some(most) => Err(wrong(
                "max_fee",
                format!("the fee is {fee}, more than {most}"),
            )),
            None => Ok(()),
        }
    }
}

impl Engine {
    /// What is offered out now.
    ///
    /// # Errors
    /// [`LoopError::None`].
    pub fn loop_out_terms(&self) -> Result<LoopTerms, LoopError> {
        let terms = LoopTerms {
            prepay: self.config.prepay.ceil_sat(),
            confirmations: self.config.max_confirmations,
            ..self.loop_terms(FUNDING_VSIZE)?
        };
        // The client pays its fee over Lightning, too.
        let receivable = Msat(self.receivable.load(Ordering::Relaxed)).floor_sat();
        let left = Sat(receivable.0.saturating_sub(terms.base_fee.0));
        let left = Sat(left.0.saturating_sub(ppm(left, terms.fee_ppm).0));
        Ok(LoopTerms {
            most: terms.most.min(self.bitcoin()?.most()).min(left),
            ..terms
        })
    }

    /// What is offered in now.
    ///
    /// # Errors
    /// [`LoopError::None`].
    pub fn loop_in_terms(&self) -> Result<LoopTerms, LoopError> {
        self.loop_terms(CLAIM_VSIZE)
    }

    /// What is offered in either direction, when the server's transaction in it has that many virtual bytes: as it is for a
    /// loop in.
    fn loop_terms(&self, vsize: usize) -> Result<LoopTerms, LoopError> {
        let bitcoin = self.bitcoin()?;
        let loops = &self.config.loops;
        let chain_fee = bitcoin.rate().fee(vsize);
        Ok(LoopTerms {
            network: bitcoin.network(),
            height: self.height(ChainName::Bitcoin),
            least: loops.least,
            most: loops
                .most
                .unwrap_or(Sat(bitcoin::Amount::MAX_MONEY.to_sat())),
            base_fee: Sat(loops.base_fee.0.saturating_add(chain_fee.0)),
            fee_ppm: loops.fee_ppm,
            prepay: Sat(0),
            confirmations: loops.in_confirmations,
            delta: loops.delta,
        })
    }

    /// What a loop out would cost now.
    ///
    /// # Errors
    /// [`LoopError::Param`] for an amount or a number of confirmations that is not offered.
    pub fn loop_out_quote(&self, amount: Sat, confirmations: u32) -> Result<LoopQuote, LoopError> {
        self.is_ready()?;
        let terms = self.loop_out_terms()?;
        terms.offers(amount)?;
        terms.waits_for(confirmations)?;
        self.loop_quote(terms, amount, confirmations)
    }

    /// What a loop in would cost now.
    ///
    /// # Errors
    /// [`LoopError::Param`] for an amount that is not offered.
    pub fn loop_in_quote(&self, amount: Sat) -> Result<LoopQuote, LoopError> {
        self.is_ready()?;
        let terms = self.loop_in_terms()?;
        terms.offers(amount)?;
        self.loop_quote(terms, amount, terms.confirmations)
    }

    fn loop_quote(
        &self,
        terms: LoopTerms,
        amount: Sat,
        confirmations: u32,
    ) -> Result<LoopQuote, LoopError> {
        Ok(LoopQuote {
            fee: terms.fee(amount),
            miner_fee: self.bitcoin()?.rate().fee(CLIENT_VSIZE),
            confirmations,
            terms,
        })
    }
}
